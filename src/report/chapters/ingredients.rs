//! What each ingredient of a prompt brings and costs: one way of asking beside another, on the same cases.
use crate::error::Result;
use crate::metric::Reading;
use crate::report::kit::display::{Figure, NONE, Table, detectable, difference, interval};
use crate::report::kit::figures;
use crate::run::Run;
use crate::study::{Answered, Comparison, PredictConfig, Results};
use crate::task::LabelTask;

/// Every question put to the test cases of the task: its run opened, or made.
pub fn ask(task: &LabelTask, questions: &[(&str, PredictConfig)]) -> Result<Results> {
    let runs = questions.iter().map(|(_, config)| Run::open_or_predict(config)).collect::<Result<Vec<_>>>()?;
    let named: Vec<(&str, &Run)> = questions.iter().map(|(name, _)| *name).zip(&runs).collect();
    Results::of(task.clone(), &named)
}

/// Tokens a case: of the prompt, and of all answers to it.
pub(super) fn tokens(model: &Answered) -> (f64, f64) {
    let n = model.predictions.len().max(1) as f64;
    let (asked, made) = model.predictions.iter().fold((0, 0), |(a, b), p| (a + p.prompt_tokens, b + p.new_tokens));
    (asked as f64 / n, made as f64 / n)
}

/// Every model's difference to `base` on a metric, p after Holm over them, with what it costs more in tokens a case.
fn effects(results: &Results, base: &str, metric: &str) -> Result<Vec<(Comparison, f64)>> {
    let others = results.models.iter().map(|model| model.name.as_str()).filter(|name| *name != base);
    let pairs: Vec<(&str, &str)> = others.map(|other| (base, other)).collect();
    let all = |name: &str| -> Result<f64> {
        let (asked, made) = tokens(results.get(name)?);
        Ok(asked + made)
    };
    let costs = pairs.iter().map(|(base, other)| Ok(all(other)? - all(base)?)).collect::<Result<Vec<_>>>()?;
    Ok(results.compare(&pairs, metric)?.into_iter().zip(costs).collect())
}

/// One row a way of asking, in the order of the results: tokens a case, the metric, its difference to `base` with p after Holm
/// over the rows, the smallest difference that so many cases could show, and what a hundred more tokens brought where it is real.
pub fn table(results: &Results, base: &str, metric: &str) -> Result<Table> {
    let effects = effects(results, base, metric)?;
    let mut rows = Vec::new();
    for model in &results.models {
        let (asked, made) = tokens(model);
        let score = interval(model.evaluation.get(Reading::Normalised, metric));
        let mut row = vec![model.name.clone(), model.predictions.len().to_string()];
        row.extend([format!("{asked:.0}"), format!("{made:.1}"), score]);
        match effects.iter().find(|(comparison, _)| comparison.b == model.name) {
            Some((comparison, cost)) => {
                let d = comparison.difference.as_ref();
                let p = comparison.p_holm.map_or(NONE.into(), |p| format!("{p:.3}"));
                let paid = d.filter(|_| comparison.significant() && *cost > 0.0);
                let paid = paid.map_or(NONE.into(), |d| format!("{:+.4}", 100.0 * d.value / cost).replace('-', "−"));
                row.extend([difference(d), p, detectable(d), paid]);
            }
            None => row.extend([NONE; 4].map(String::from)),
        }
        rows.push(row);
    }
    let (key, to_base) = (metric.to_string(), format!("difference to {base}"));
    let asked = ["asked", "n", "prompt tokens", "new tokens", &key, &to_base];
    let names = [&asked[..], &["p (Holm)", "detectable", "per 100 more tokens"]].concat();
    Ok(Table::from_rows(&names, &rows))
}

/// The differences to `base` as dots with intervals, each with the tokens a case that it costs more, p after Holm and what could have
/// been detected; `name` is how the metric reads.
pub fn figure(results: &Results, base: &str, metric: &str, name: &str) -> Result<Figure> {
    let effects = effects(results, base, metric)?;
    let row = |(comparison, cost): &(Comparison, f64)| {
        let cost = format!("{cost:+.0}").replace('-', "−");
        Comparison { b: format!("{} ({cost} tokens)", comparison.b), ..comparison.clone() }
    };
    let rows: Vec<_> = effects.iter().map(row).collect();
    let n = rows.iter().filter_map(|row| row.difference.as_ref().map(|d| d.n)).max().unwrap_or(0);
    let level = 100.0 * results.bootstrap.level;
    let title = format!("{name}, difference to {base} (n = {n}, {level:.0} % paired bootstrap interval)");
    figures::paired_forest(&rows, &title)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::results::tests::toy;

    #[test]
    fn gains_are_set_against_tokens_only_where_they_are_real() {
        let folder = tempfile::tempdir().unwrap();
        let mut results = toy(folder.path());
        for (model, more) in [(0, 0), (1, 50)] {
            results.models[model].predictions.iter_mut().for_each(|p| (p.prompt_tokens, p.new_tokens) = (40 + more, 8));
        }
        let text = table(&results, "bad", "micro_f1").unwrap().to_text();
        let row = text.lines().find(|line| line.starts_with("good")).unwrap();
        let gain = results.compare(&[("bad", "good")], "micro_f1").unwrap()[0].difference.clone().unwrap().value;
        assert!(row.contains(" 90 ") && row.ends_with(&format!("{:+.4}", 2.0 * gain)), "{text}");
        assert!(text.lines().find(|line| line.starts_with("bad")).unwrap().ends_with('–'));
        let figure = figure(&results, "bad", "micro_f1", "micro-F1").unwrap();
        assert!(figure.svg().contains("good (+50 tokens)") && figure.svg().contains("difference to bad (n = 20"));
        assert!(figure.svg().contains("detectable") && text.contains("detectable"), "{text}");
    }
}

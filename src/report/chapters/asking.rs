//! How far asking gets: ways of asking beside each other on validation cases, and of each kind the best, beside what needs no language
//! model, on test cases.
use super::ingredients::tokens;
use crate::error::{Error, Result};
use crate::metric::Reading;
use crate::report::kit::display::{Figure, NONE, Table, difference, interval};
use crate::report::kit::{Slider, figures};
use crate::run::{Prediction, Run};
use crate::study::{Answered, Asked, Comparison, Kind, Results};
use crate::task::Task;

/// Asks what is missing.
const ASK: &str = "dxlab prompts configs/prompts.toml";

/// The ways of one axis that were asked, one row each: tokens per case, the study's metric on the validation cases, its
/// difference to the first way with p after Holm over the whole study, and the share of answers that could be read.
pub fn axis(asked: &Asked, name: &str) -> Result<Table> {
    let ((axis, ways), metric) = (asked.axis(name)?, &asked.study.metric);
    if ways.is_empty() {
        let missing: Vec<_> = axis.ways.iter().map(|way| vec![way.name.clone(), way.about.clone()]).collect();
        return Ok(Table::from_rows(&["not asked yet", &format!("`{ASK}` asks it")], &missing));
    }
    let comparisons = asked.comparisons()?;
    let first = axis.ways.first().map_or("", |way| way.name.as_str());
    let mut rows = Vec::new();
    for way in axis.ways.iter().filter(|way| ways.contains(&way.name.as_str())) {
        let model = asked.results.get(&way.name)?;
        let ((prompt, new), read) = (tokens(model), &model.evaluation);
        let mut row = vec![way.name.clone(), format!("{prompt:.0}"), format!("{new:.0}")];
        let unread = read.get(Reading::Normalised, "parse_failure_rate").map(|e| format!("{:.2}", 1.0 - e.value));
        row.extend([unread.unwrap_or(NONE.into()), interval(read.get(Reading::Normalised, metric))]);
        match comparisons.iter().find(|row| row.a == first && row.b == way.name) {
            Some(row_) => {
                let d = row_.difference.as_ref();
                let p = row_.p_holm.map_or(NONE.into(), |p| format!("{p:.3}"));
                row.extend([difference(d), p]);
            }
            None => row.extend([NONE; 2].map(String::from)),
        }
        rows.push(row);
    }
    let to_first = format!("difference to {first}");
    let names = ["way", "prompt tokens", "new tokens", "read", metric, &to_first, "p (Holm)"];
    Ok(Table::from_rows(&names, &rows))
}

/// Precision, recall and F1 over all labels of a voting way on the validation cases, at every threshold that its samples allow.
pub fn votes(asked: &Asked, way: &str) -> Result<Slider> {
    let task = &asked.results.task;
    let Ok(model) = asked.results.get(way) else {
        return Slider::new("not asked yet", &[], vec![(format!("`{ASK}` asks it"), vec![])]);
    };
    let samples = model.predictions.iter().filter_map(|p| p.voted.as_ref()).map(|v| v.samples.len()).max().unwrap_or(0);
    let metrics = ["micro_precision", "micro_recall", "micro_f1"];
    let mut steps = Vec::new();
    for least in 1..=samples {
        let threshold = least as f64 / samples as f64 - 1e-9;
        let voted = |p: &Prediction| {
            let shares = p.voted.iter().flat_map(|voted| &voted.shares);
            let answer = shares.filter(|(_, share)| **share >= threshold).map(|(label, _)| label.clone()).collect();
            Prediction { answer, ..p.clone() }
        };
        let predictions: Vec<Prediction> = model.predictions.iter().map(voted).collect();
        let table = Task::score(task, &[&predictions], Reading::Normalised).remove(0);
        let values = metrics.iter().map(|key| Ok(table.value(key)?.unwrap_or(0.0))).collect::<Result<Vec<f64>>>()?;
        steps.push((format!("{least} of {samples}"), values));
    }
    Slider::new("samples that must name a label", &["precision", "recall", "F1"], steps)
}

/// The differences of one or more axes as dots with intervals.
pub fn differences(asked: &Asked, axes: &[&str], name: &str) -> Result<Figure> {
    let mut wanted = Vec::new();
    for axis in axes {
        let (axis, ways) = asked.axis(axis)?;
        let first = axis.ways.first().map_or("", |way| way.name.as_str());
        wanted.extend(ways.into_iter().map(|way| (first.to_string(), way.to_string())));
    }
    let of = |(first, way): &(String, String)| {
        let rows = asked.comparisons().ok()?;
        rows.into_iter().find(|row| row.a == *first && row.b == *way)
    };
    let rows: Vec<Comparison> = wanted.iter().filter_map(of).collect();
    let n = rows.iter().filter_map(|row| row.difference.as_ref().map(|d| d.n)).max().unwrap_or(0);
    let level = 100.0 * asked.results.bootstrap.level;
    let title = format!(
        "{name}, difference to the first way of each question (n = {n}, {level:.0} % paired bootstrap interval)"
    );
    figures::paired_forest(&rows, &title)
}

/// What every way of the study is, in words, and the prompt behind it.
pub fn ways(asked: &Asked) -> Result<Table> {
    let rows: Vec<_> = asked
        .study
        .ways()?
        .into_iter()
        .map(|way| vec![way.name.clone(), way.about.clone(), way.prompt.clone()])
        .collect();
    Ok(Table::from_rows(&["way", "what it is", "prompt"], &rows))
}

/// The best way of each kind on the validation cases: its name, what it is, its metric there.
pub fn chosen(asked: &Asked) -> Result<Table> {
    let mut rows = Vec::new();
    for kind in Kind::ALL {
        if let Some(way) = asked.best(kind)? {
            let score = asked.results.get(&way.name)?.evaluation.get(Reading::Normalised, &asked.study.metric);
            rows.push(vec![kind.name().into(), way.name.clone(), way.about.clone(), interval(score)]);
        }
    }
    Ok(Table::from_rows(&["answers", "best way", "what it is", &asked.study.metric], &rows))
}

/// How many ways were asked, and which were not.
pub fn standing(asked: &Asked) -> Result<String> {
    let (all, missing) = (asked.study.ways()?.len(), asked.missing()?);
    let (cases, missed) = (asked.results.task.corpus.test.len(), missing.join(", "));
    Ok(match missing.is_empty() {
        true => format!("all {all} ways were asked about {cases} validation cases"),
        false => format!(
            "{} of {all} ways were asked about {cases} validation cases; not asked: {missed}",
            all - missing.len()
        ),
    })
}

/// The model with the highest metric among all of `results`, the first of equals.
fn best<'a>(results: &'a Results, metric: &str) -> Result<&'a Answered> {
    let all: Vec<&str> = results.models.iter().map(|model| model.name.as_str()).collect();
    results.best(&all, metric)
}

/// Of each set of answers (named `free` or `constrained`) the best, against every baseline; p after Holm over all pairs.
/// That the best was chosen on these cases favours it.
pub fn best_beside(baselines: &[(&str, &Run)], asked: &[(&str, &Results)], metric: &str) -> Result<Vec<Comparison>> {
    let Some((_, first)) = asked.first() else { return Err(Error::input("the best of no answers: give at least one")) };
    let chosen = asked
        .iter()
        .map(|(how, results)| best(results, metric).map(|model| (format!("{} ({how})", model.name), &model.run)))
        .collect::<Result<Vec<_>>>()?;
    let runs: Vec<(&str, &Run)> =
        baselines.iter().copied().chain(chosen.iter().map(|(name, run)| (name.as_str(), *run))).collect();
    let results = Results::of(first.task.clone(), &runs)?;
    let names = || chosen.iter().map(|(name, _)| name.as_str());
    let pairs: Vec<(&str, &str)> =
        baselines.iter().flat_map(|(baseline, _)| names().map(move |name| (*baseline, name))).collect();
    results.compare(&pairs, metric)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::results::tests::toy;

    #[test]
    fn the_best_of_every_set_meets_every_baseline() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (free, held) = (toy(one.path()), toy(other.path()));
        let baseline = free.get("bad").unwrap().run.clone();
        let rows = best_beside(&[("constant", &baseline)], &[("free", &free), ("held", &held)], "micro_f1").unwrap();
        let pairs: Vec<(&str, &str)> = rows.iter().map(|row| (row.a.as_str(), row.b.as_str())).collect();
        assert_eq!(pairs, [("constant", "good (free)"), ("constant", "good (held)")]);
        assert!(rows.iter().all(|row| row.significant() && row.gain() > 0.0), "{rows:?}");
        assert!(best_beside(&[], &[], "micro_f1").is_err());
    }
}

//! How long answers took, from the `seconds` of every line of `preds.jsonl` and the run's `environment.json`: of the
//! machine, not of the model.
use crate::error::Result;
use crate::metric::quantile;
use crate::report::kit::display::{NONE, Table};
use crate::study::{Answered, Results};

/// One row a model that generates: tokens a case, seconds until a case was answered (with those that were decoded
/// beside it), cases a minute over the whole run, and the processor. Baselines, which answer at once, have dashes.
pub fn answering(results: &Results) -> Result<Table> {
    let rows = results.models.iter().map(row).collect::<Result<Vec<_>>>()?;
    let names = [
        "model",
        "n",
        "prompt tokens",
        "new tokens",
        "seconds to an answer, median",
        "95th percentile",
        "cases a minute",
        "processor, threads",
    ];
    Ok(Table::from_rows(&names, &rows))
}

fn row(model: &Answered) -> Result<Vec<String>> {
    let mut seconds: Vec<f64> = model.predictions.iter().map(|p| p.seconds).collect();
    seconds.sort_by(f64::total_cmp);
    let n = model.predictions.len();
    let (asked, made) =
        model.predictions.iter().fold((0, 0), |(asked, made), p| (asked + p.prompt_tokens, made + p.new_tokens));
    let mut row = vec![model.name.clone(), n.to_string()];
    if made == 0 {
        row.extend(std::iter::repeat_n(NONE.to_string(), 6));
        return Ok(row);
    }
    let mean = |sum: usize| format!("{:.1}", sum as f64 / n.max(1) as f64);
    let at = |q: f64| quantile(&seconds, q).map_or(NONE.into(), |s| format!("{s:.2}"));
    let machine = model.run.environment()?;
    row.extend([mean(asked), mean(made), at(0.5), at(0.95)]);
    row.push(format!("{:.0}", 60.0 * n as f64 / machine.wall_seconds.max(1e-9)));
    row.push(format!("{}, {}", machine.cpu.unwrap_or_else(|| "unknown".into()), machine.threads));
    Ok(row)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::results::tests::toy;

    #[test]
    fn the_median_is_over_cases_and_a_baseline_has_no_time() {
        let folder = tempfile::tempdir().unwrap();
        let mut results = toy(folder.path());
        for (i, p) in results.models[1].predictions.iter_mut().enumerate() {
            (p.prompt_tokens, p.new_tokens, p.seconds) = (100, 10, (i + 1) as f64);
        }
        let text = answering(&results).unwrap().to_text();
        let cells = |name: &str| -> Vec<String> {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(String::from).collect()
        };
        assert_eq!(cells("bad")[2..], ["–", "–", "–", "–", "–", "–"], "{text}");
        assert_eq!(cells("good")[..6], ["good", "20", "100.0", "10.0", "10.50", "19.05"], "{text}");
    }
}

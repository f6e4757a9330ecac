//! One answer out of several: what a vote costs and what it changes, and the share that must agree as something to move.
use crate::error::Result;
use crate::metric::Reading;
use crate::report::kit::Slider;
use crate::report::kit::display::{NONE, Table, detectable, difference, interval};
use crate::run::Prediction;
use crate::study::Grid;
use crate::task::{AnyPrediction, LabelTask, Task};

/// A row for `single` and one for every vote that stands beside the grid: answers and new tokens per case, the metric, its difference from
/// `single` with p after Holm over the votes. Votes that were not made are left out.
pub fn table(grid: &Grid, single: &str, votes: &[&str], metric: &str) -> Result<Table> {
    let pairs: Vec<(&str, &str)> = votes.iter().map(|vote| (single, *vote)).collect();
    let compared = grid.between(&pairs, metric)?;
    let mut rows = Vec::new();
    for name in std::iter::once(&single).chain(votes).filter(|name| grid.answers(name).is_ok()) {
        let against = compared.iter().find(|row| row.b == *name);
        let change = against.and_then(|row| row.difference.as_ref());
        let score = grid.score(name, metric)?.map(|seeded| seeded.estimate);
        let (answers, tokens) = cost(grid.answers(name)?);
        let p = against.and_then(|row| row.p_holm).map_or(NONE.into(), |p| format!("{p:.3}"));
        let cells = [name.to_string(), format!("{answers:.0}"), format!("{tokens:.0}"), interval(score.as_ref())];
        rows.push(cells.into_iter().chain([difference(change), p, detectable(change)]).collect());
    }
    let names = ["answer", "answers per case", "new tokens per case", metric, "difference", "p (Holm)", "detectable"];
    Ok(Table::from_rows(&names, &rows))
}

/// Answers behind one answer and new tokens of all of them, means over cases and seeds.
fn cost(runs: &[Vec<AnyPrediction>]) -> (f64, f64) {
    let all = || runs.iter().flatten();
    let count = all().count().max(1) as f64;
    let answers = |p: &AnyPrediction| p.voted.as_ref().map_or(1, |voted| voted.samples.len());
    (all().map(answers).sum::<usize>() as f64 / count, all().map(|p| p.new_tokens).sum::<usize>() as f64 / count)
}

/// Precision, recall and F1 over all labels of sampled answers, labels normalised, at every share of the samples that may be asked for.
pub fn thresholds(task: &LabelTask, answers: &[Prediction]) -> Result<Slider> {
    let samples = answers.iter().filter_map(|p| p.voted.as_ref()).map(|voted| voted.samples.len()).max().unwrap_or(0);
    if samples == 0 {
        let how = "`dxlab predict --samples 20 --part validation` draws them".to_string();
        return Slider::new("no drawn answers yet", &[], vec![(how, vec![])]);
    }
    let mut steps = Vec::new();
    for least in 1..=samples {
        let threshold = least as f64 / samples as f64 - 1e-9;
        let voted = |p: &Prediction| {
            let shares = p.voted.iter().flat_map(|voted| &voted.shares);
            let answer = shares.filter(|(_, share)| **share >= threshold).map(|(label, _)| label.clone()).collect();
            Prediction { answer, ..p.clone() }
        };
        let predictions: Vec<Prediction> = answers.iter().map(voted).collect();
        let table = Task::score(task, &[&predictions], Reading::Normalised).remove(0);
        let value = |key: &str| Ok(table.value(key)?.unwrap_or(0.0));
        let values =
            ["micro_precision", "micro_recall", "micro_f1"].into_iter().map(value).collect::<Result<Vec<f64>>>()?;
        steps.push((format!("{least} of {samples}"), values));
    }
    Slider::new("samples that must name a label", &["precision", "recall", "F1"], steps)
}

//! One answer out of several: what a vote costs and what it changes, and the share that must agree as something to move.
use crate::error::Result;
use crate::metric::Reading;
use crate::report::kit::Slider;
use crate::report::kit::display::{NONE, Table, detectable, difference, interval};
use crate::study::{Grid, Rule, recount};
use crate::task::{AnyPrediction, AnyTask, LabelTask};

/// A row for `single` and one for every vote that stands beside the grid: answers and new tokens per case, the metric, its difference from
/// `single` with p after Holm over the votes. Votes that were not made are left out; without any, the table says what makes them.
pub fn table(grid: &Grid, single: &str, votes: &[&str], metric: &str) -> Result<Table> {
    if votes.is_empty() {
        let how = "the commands are in the manual, *Votes*, and in `configs/grid-smollm2.toml`".to_string();
        return Ok(Table::from_rows(&["no votes on these cases yet"], &[vec![how]]));
    }
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
    let names = ["answer", "answers", "new tokens", metric, "difference", "p (Holm)", "detectable"];
    Ok(Table::from_rows(&names, &rows))
}

/// The same answers on several sets of cases, each a grid with its answers beside it: rows as in [`table`], without their cost. Sets on which `single`
/// was not asked are left out.
pub fn on_splits(splits: &[(&str, Grid)], single: &str, names: &[&str], metric: &str) -> Result<Table> {
    let mut rows = Vec::new();
    for (split, grid) in splits.iter().filter(|(_, grid)| grid.answers(single).is_ok()) {
        let compared = grid.between(&names.iter().map(|name| (single, *name)).collect::<Vec<_>>(), metric)?;
        for name in std::iter::once(&single).chain(names).filter(|name| grid.answers(name).is_ok()) {
            let against = compared.iter().find(|row| row.b == *name);
            let change = against.and_then(|row| row.difference.as_ref());
            let score = grid.score(name, metric)?.map(|seeded| seeded.estimate);
            let p = against.and_then(|row| row.p_holm).map_or(NONE.into(), |p| format!("{p:.3}"));
            rows.push(vec![split.to_string(), name.to_string(), interval(score.as_ref()), difference(change), p]);
        }
    }
    Ok(Table::from_rows(&["split", "answer", metric, "difference", "p (Holm)"], &rows))
}

/// Answers behind one answer and new tokens of all of them, means over cases and seeds.
fn cost(runs: &[Vec<AnyPrediction>]) -> (f64, f64) {
    let all = || runs.iter().flatten();
    let count = all().count().max(1) as f64;
    let answers = |p: &AnyPrediction| p.voted.as_ref().map_or(1, |voted| voted.samples.len());
    (all().map(answers).sum::<usize>() as f64 / count, all().map(|p| p.new_tokens).sum::<usize>() as f64 / count)
}

/// Precision, recall and F1 over all labels of sampled answers, labels normalised, at every share of the samples that may be asked for.
pub fn thresholds(task: &LabelTask, answers: &[AnyPrediction]) -> Result<Slider> {
    let samples = answers.iter().filter_map(|p| p.voted.as_ref()).map(|voted| voted.samples.len()).max().unwrap_or(0);
    if samples == 0 {
        let how = "`dxlab predict --samples 20 --part validation` draws them".to_string();
        return Slider::new("no drawn answers yet", &[], vec![(how, vec![])]);
    }
    let mut steps = Vec::new();
    for least in 1..=samples {
        let counted = recount(task, answers, samples, Rule::Share(least as f64 / samples as f64))?;
        let table = AnyTask::score(task, &[&counted], Reading::Normalised)?.remove(0);
        let value = |key: &str| Ok(table.value(key)?.unwrap_or(0.0));
        let metrics = ["micro_precision", "micro_recall", "micro_f1"];
        steps.push((format!("{least} of {samples}"), metrics.into_iter().map(value).collect::<Result<Vec<f64>>>()?));
    }
    Slider::new("samples that must name a label", &["precision", "recall", "F1"], steps)
}

#[cfg(test)]
mod tests {
    use super::super::grid::tests::tried;
    use super::*;

    const GRID: &str = r#"
base = "lora-plain"
seeds = [1, 2]
[[axes]]
name = "words"
question = "How many cases?"
arms = [
  { name = "few", baseline = "most-frequent", set = { cases = 50 } },
  { name = "more", baseline = "tfidf-logreg", set = { cases = 300 } },
]
"#;

    #[test]
    fn votes_over_several_members_are_counted_and_compared() {
        let folder = tempfile::tempdir().unwrap();
        let grid = tried(GRID, folder.path());
        let grid = grid.vote_beside("both", &["few", "more"], Rule::Share(0.5)).unwrap();
        let text = table(&grid, "more", &["both"], "micro_f1").unwrap().to_text();
        let row = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().to_string();
        let cells = |name: &str| row(name).split_whitespace().map(String::from).collect::<Vec<_>>();
        assert_eq!((cells("more")[1].as_str(), cells("both")[1].as_str()), ("1", "4"), "{text}");
        assert_eq!(grid.answers("both").unwrap().len(), 1, "one answer a case");
        assert_eq!(grid.between(&[("more", "both"), ("more", "never")], "micro_f1").unwrap().len(), 1);
        let refused = |name: &str, members: &[&str]| {
            let again = tried(GRID, folder.path()).vote_beside("both", &["few", "more"], Rule::Share(0.5)).unwrap();
            again.vote_beside(name, members, Rule::Share(0.5)).err().unwrap().to_string()
        };
        assert!(refused("both", &["few", "more"]).contains("stands in or beside the grid already"));
        assert!(refused("other", &["few", "lora"]).contains("lora"));
        assert!(table(&grid, "more", &[], "micro_f1").unwrap().to_text().contains("no votes on these cases yet"));
        let both = on_splits(&[("test", grid)], "more", &["few", "both", "never"], "micro_f1").unwrap();
        assert_eq!(both.height(), 3, "what is not there is left out: {}", both.to_text());
    }
}

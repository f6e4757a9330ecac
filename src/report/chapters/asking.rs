//! How far asking gets: of each way to hold answers the best prompt, beside what needs no language model.
use crate::error::{Error, Result};
use crate::run::Run;
use crate::study::{Answered, Comparison, Results};

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

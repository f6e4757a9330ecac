//! How far asking gets: of each way to hold answers the best prompt, beside what needs no language model.
use super::results::verdict;
use crate::error::{Error, Result};
use crate::run::Run;
use crate::study::{Answered, Results};

/// The model with the highest metric among all of `results`, the first of equals.
fn best<'a>(results: &'a Results, metric: &str) -> Result<&'a Answered> {
    let all: Vec<&str> = results.models.iter().map(|model| model.name.as_str()).collect();
    results.best(&all, metric)
}

/// Of each set of answers (named `free` or `held`) the best, against every baseline: a sentence a pair, p after Holm
/// over all of them. That the best was chosen on these cases favours it.
pub fn best_beside(baselines: &[(&str, &Run)], asked: &[(&str, &Results)], metric: &str) -> Result<Vec<String>> {
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
    Ok(results.compare(&pairs, metric)?.iter().map(verdict).collect())
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
        let said = best_beside(&[("constant", &baseline)], &[("free", &free), ("held", &held)], "micro_f1").unwrap();
        assert_eq!(said.len(), 2);
        assert!(
            said[0].starts_with("good (free) beats constant by") && said[1].starts_with("good (held) beats"),
            "{said:?}"
        );
        assert!(best_beside(&[], &[], "micro_f1").is_err());
    }
}

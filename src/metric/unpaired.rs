//! One model on two sets of cases that have nothing to do with each other (a test split and another one in other words): how much the metric
//! changes from the first to the second.
//!
//! Either side draws its own units, each resample with streams of its own, so the interval is that of two independent samples. Where the
//! same cases were answered twice, [`super::compare`] is the tool: it is paired, and narrower.
use super::bootstrap::recentre;
use super::{Bootstrap, Difference, ScoreTable, Statistic};
use crate::error::{Error, Result};
use std::collections::BTreeSet;

/// Apart from the resamples of the first side, which are those of its own interval.
const SECOND: u64 = 1 << 40;

/// metric(second) − metric(first); `n` is the number of cases of the smaller side. None where either is undefined, and where nothing or everything is
/// right on a side: its resamples are all alike, and the spread of the other side alone would be too narrow. Fails where a case is on both sides (such
/// sets are to be compared case by case), or a group (a patient, a publication): they are not independent then.
pub fn unpaired(
    first: &ScoreTable,
    second: &ScoreTable,
    key: &str,
    bootstrap: &Bootstrap,
) -> Result<Option<Difference>> {
    let both = |a: &[String], b: &[String]| {
        let known: BTreeSet<&String> = a.iter().collect();
        b.iter().find(|one| known.contains(one)).cloned()
    };
    if let Some(id) = both(&first.ids, &second.ids) {
        return Err(Error::input(format!(
            "case `{id}` is in both sets: compare answers to the same cases pair by pair"
        )));
    }
    if let Some(group) = both(&first.groups, &second.groups) {
        return Err(Error::input(format!("cases of group `{group}` are in both sets: these are not independent")));
    }
    let (from, to) = (&first.column(key)?.1, &second.column(key)?.1);
    let (Some(before), Some(after)) = (from.plain(), to.plain()) else { return Ok(None) };
    let alike = |table: &ScoreTable, statistic, value| {
        bootstrap.alike(statistic, &bootstrap.units(&table.groups()), value).is_some()
    };
    if alike(first, from, before) || alike(second, to, after) {
        return Ok(None);
    }
    let apart = Bootstrap { seed: bootstrap.seed ^ SECOND, ..bootstrap.clone() };
    let (a, b) = (draws(from, first, before, bootstrap), draws(to, second, after, &apart));
    let changes = a.into_iter().zip(b).filter_map(|(a, b)| Some(b? - a?)).collect();
    Ok(Difference::of(after - before, changes, first.cases().min(second.cases()), bootstrap))
}

/// Resampled values of one side, moved back where the metric needs it; none for a resample in which it is undefined.
fn draws(statistic: &Statistic, table: &ScoreTable, value: f64, bootstrap: &Bootstrap) -> Vec<Option<f64>> {
    let all = bootstrap.map_groups(&table.groups(), |weights| statistic.value(weights));
    if !statistic.needs_recentring() {
        return all;
    }
    let mut defined: Vec<f64> = all.iter().copied().flatten().collect();
    recentre(&mut defined, value);
    let mut moved = defined.into_iter();
    all.into_iter().map(|draw| draw.and_then(|_| moved.next())).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Metric, Outcome, compare};
    use super::*;

    /// `n` cases of one label each, of which every `wrong`-th is missed.
    fn table(name: &str, n: usize, wrong: usize) -> ScoreTable {
        let label = |is: bool| if is { BTreeSet::from(["cyst".to_string()]) } else { BTreeSet::new() };
        let case = |i: usize| {
            let id = format!("{name}{i}");
            let predicted = label(!i.is_multiple_of(wrong));
            Outcome { case_id: id.clone(), group: id, gold: label(true), predicted, parsed: true }
        };
        Metric::table(&[Metric::Exact], &(0..n).map(case).collect::<Vec<_>>())
    }

    #[test]
    fn the_interval_is_that_of_two_independent_shares() {
        let (a, b, bootstrap) = (table("a", 400, 10), table("b", 200, 2), Bootstrap::default());
        let found = unpaired(&a, &b, "exact_match", &bootstrap).unwrap().unwrap();
        assert!((found.value - (0.5 - 0.9)).abs() < 1e-12 && found.n == 200);
        // the textbook's standard error of a difference of two independent shares
        let se = (0.9f64 * 0.1 / 400.0 + 0.5 * 0.5 / 200.0).sqrt();
        let half = (found.high - found.low) / 2.0;
        assert!((half / (1.96 * se) - 1.0).abs() < 0.06, "{half} against {}", 1.96 * se);
        assert!((found.p - 2.0 / 2001.0).abs() < 1e-12, "{}", found.p);
    }

    #[test]
    fn two_sets_of_equal_size_do_not_share_their_resamples() {
        // alike in every place: resamples that were shared would leave no spread at all
        let (a, b) = (table("a", 100, 4), table("b", 100, 4));
        let found = unpaired(&a, &b, "exact_match", &Bootstrap::default()).unwrap().unwrap();
        assert!(found.value == 0.0 && found.high - found.low > 0.15, "{found:?}");
    }

    #[test]
    fn cases_on_both_sides_and_what_is_undefined_are_refused() {
        let a = table("a", 10, 2);
        let error = unpaired(&a, &a, "exact_match", &Bootstrap::default()).unwrap_err().to_string();
        assert!(error.contains("`a0` is in both sets"), "{error}");
        assert!(compare(&a, &a, &["exact_match"], &Bootstrap::default()).unwrap()[0].is_some());
        assert!(unpaired(&a, &table("b", 10, 2), "exakt", &Bootstrap::default()).is_err());
        let mut b = table("b", 10, 2);
        assert_eq!(unpaired(&table("c", 10, 1), &b, "exact_match", &Bootstrap::default()).unwrap(), None, "all wrong");
        b.groups[3] = "a0".into();
        let error = unpaired(&a, &b, "exact_match", &Bootstrap::default()).unwrap_err().to_string();
        assert!(error.contains("group `a0`"), "{error}");
    }
}

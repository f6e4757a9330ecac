//! Two models on the same cases: the difference of a metric with its paired bootstrap interval and p value, and Holm's
//! correction for the number of comparisons made.
//!
//! Both models enter a resample with the same cases. p is two-sided, the inverted percentile interval:
//! p = 2·min(#{d* ≤ 0} + 1, #{d* ≥ 0} + 1) / (R + 1), at most 1, so it never falls below 2/(R + 1).
use super::bootstrap::recentre;
use super::{Bootstrap, Metric, Outcome, Statistic};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// metric(b) − metric(a).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    pub value: f64,
    pub low: f64,
    pub high: f64,
    /// Two-sided, not corrected; see [`holm`].
    pub p: f64,
    /// Cases, every one answered by both models.
    pub n: usize,
}

/// The outcomes of `b` in the order of `a`. An error names the case ids that only one side has, that occur twice, or whose
/// gold labels differ.
pub fn pair(a: &[Outcome], b: &[Outcome]) -> Result<Vec<Outcome>> {
    let (in_a, in_b) = (by_id(a, "first")?, by_id(b, "second")?);
    refuse("only in the first", in_a.keys().filter(|id| !in_b.contains_key(*id)))?;
    refuse("only in the second", in_b.keys().filter(|id| !in_a.contains_key(*id)))?;
    refuse("with different gold labels", in_a.keys().filter(|id| in_a[*id].gold != in_b[*id].gold))?;
    refuse("with different groups", in_a.keys().filter(|id| in_a[*id].group != in_b[*id].group))?;
    Ok(a.iter().map(|case| in_b[case.case_id.as_str()].clone()).collect())
}

fn by_id<'a>(outcomes: &'a [Outcome], side: &str) -> Result<BTreeMap<&'a str, &'a Outcome>> {
    let mut map = BTreeMap::new();
    let twice: Vec<&str> = outcomes
        .iter()
        .filter(|case| map.insert(case.case_id.as_str(), *case).is_some())
        .map(|c| c.case_id.as_str())
        .collect();
    refuse(&format!("twice in the {side}"), twice.iter())?;
    Ok(map)
}

fn refuse<'a>(what: &str, ids: impl Iterator<Item = &'a &'a str>) -> Result<()> {
    let ids: Vec<&str> = ids.copied().collect();
    if ids.is_empty() {
        return Ok(());
    }
    let shown = ids[..ids.len().min(10)].join(", ");
    let more = if ids.len() > 10 { format!(" and {} more", ids.len() - 10) } else { String::new() };
    Err(Error::input(format!(
        "the two sets of predictions do not pair: {} case(s) {what}: {shown}{more}; compare predictions on the same file",
        ids.len()
    )))
}

/// metric(b) − metric(a) for every metric, on the same resamples. None where either side is undefined.
/// A vocabulary or label space is each side's own, as in the metric of one model.
pub fn compare(
    metrics: &[Metric],
    a: &[Outcome],
    b: &[Outcome],
    bootstrap: &Bootstrap,
) -> Result<Vec<Option<Difference>>> {
    let b = pair(a, b)?;
    let statistics: Vec<(Statistic, Statistic)> = metrics.iter().map(|m| (m.statistic(a), m.statistic(&b))).collect();
    let minus = |(a, b): &(Statistic, Statistic), weights: &[u32]| Some(b.value(weights)? - a.value(weights)?);
    let draws = bootstrap.map(a, |weights| statistics.iter().map(|pair| minus(pair, weights)).collect::<Vec<_>>());
    let difference = |(i, pair): (usize, &(Statistic, Statistic))| {
        let value = pair.1.plain()? - pair.0.plain()?;
        let mut draws: Vec<f64> = draws.iter().filter_map(|draw| draw[i]).collect();
        if pair.0.off_centre() {
            recentre(&mut draws, value);
        }
        let (below, above) = (draws.iter().filter(|d| **d <= 0.0).count(), draws.iter().filter(|d| **d >= 0.0).count());
        let p = (2.0 * (below.min(above) + 1) as f64 / (draws.len() + 1) as f64).min(1.0);
        let (low, high) = bootstrap.interval(draws)?;
        Some(Difference { value, low, high, p, n: a.len() })
    };
    Ok(statistics.iter().enumerate().map(difference).collect())
}

/// Holm's step-down correction: sorted ascending, p(i) becomes max over j ≤ i of (m − j)·p(j), j from 0, at most 1.
///
/// `holm([0.01, 0.04, 0.03]) = [0.03, 0.06, 0.06]`
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]).then(a.cmp(&b)));
    let mut corrected = vec![0.0; p.len()];
    let mut floor = 0.0f64;
    for (rank, &i) in order.iter().enumerate() {
        floor = floor.max((p.len() - rank) as f64 * p[i]).min(1.0);
        corrected[i] = floor;
    }
    corrected
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cases(right: impl Fn(usize) -> bool) -> Vec<Outcome> {
        let case = |i: usize| Outcome {
            case_id: format!("c{i:03}"),
            group: format!("c{i:03}"),
            gold: ["a".to_string()].into(),
            predicted: [if right(i) { "a" } else { "b" }.to_string()].into(),
            parsed: true,
        };
        (0..100).map(case).collect()
    }

    #[test]
    fn pairing_makes_a_small_steady_gain_visible() {
        // b is right where a is right, and on ten cases more: unpaired intervals overlap, the paired one excludes 0
        let (a, b) = (cases(|i| i % 2 == 0), cases(|i| i % 2 == 0 || i % 10 == 1));
        let difference = compare(&[Metric::Exact], &a, &b, &Bootstrap::default()).unwrap().remove(0).unwrap();
        assert!(
            (difference.value - 0.1).abs() < 1e-12 && difference.low > 0.0 && difference.p < 0.01,
            "{difference:?}"
        );
        let back = compare(&[Metric::Exact], &b, &a, &Bootstrap::default()).unwrap().remove(0).unwrap();
        assert!((back.value + difference.value).abs() < 1e-12 && (back.low + difference.high).abs() < 1e-12);
        assert_eq!(back.p, difference.p);
    }

    #[test]
    fn a_model_does_not_differ_from_itself() {
        let a = cases(|i| i % 3 == 0);
        let difference = compare(&[Metric::MicroF1], &a, &a, &Bootstrap::default()).unwrap().remove(0).unwrap();
        assert_eq!((difference.value, difference.low, difference.high, difference.p), (0.0, 0.0, 0.0, 1.0));
    }

    #[test]
    fn order_of_the_cases_does_not_matter() {
        let (a, b) = (cases(|i| i % 2 == 0), cases(|i| i % 3 == 0));
        let shuffled: Vec<Outcome> = b.iter().rev().cloned().collect();
        assert_eq!(pair(&a, &shuffled).unwrap(), b);
    }

    #[test]
    fn cases_that_do_not_pair_are_named() {
        let (a, mut b) = (cases(|_| true), cases(|_| true));
        b[3].gold = ["z".to_string()].into();
        assert!(pair(&a, &b).unwrap_err().to_string().contains("1 case(s) with different gold labels: c003"));
        b[4].case_id = "stranger".into();
        assert!(pair(&a, &b).unwrap_err().to_string().contains("only in the first: c004"));
        assert!(pair(&a[..50], &a).unwrap_err().to_string().contains("c059 and 40 more"));
        b[5].case_id = "c006".into();
        assert!(pair(&a, &b).unwrap_err().to_string().contains("twice in the second: c006"));
    }

    #[test]
    fn holm_agrees_with_the_worked_example() {
        let close = |a: Vec<f64>, b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12);
        assert!(close(holm(&[0.01, 0.04, 0.03]), &[0.03, 0.06, 0.06]));
        assert!(close(holm(&[0.9, 0.8]), &[1.0, 1.0]));
    }
}

//! The normaliser's own error, carried into the intervals of the metrics that stand on it.
//!
//! Two labels spelled alike (up to letter case) are the same, whatever the normaliser thinks. Of the others it calls some the same: a
//! share φ of those wrongly; and of those that are the same it misses a share μ. Both were counted on pairs checked by hand
//! (`label::checked`). Every resample draws φ from Beta(wrong + 1, right + 1) and μ from Beta(missed + 1, right + 1), the posteriors
//! under a uniform prior, then each match of two spellings is undone with probability φ, and each pair of a missed and an invented label of
//! one case is made a match with the probability at which the normaliser's misses are as many as μ says:
//! right matches·μ/(1 − μ), spread evenly over such pairs, at most 1. So an interval holds the uncertainty of the cases, of the
//! error rates, and of which labels they hit: a record-level probabilistic bias analysis (Fox, Lash & Greenland 2005).
//!
//! Where no two spellings were matched nothing can be undone or expected to be missed, and the interval is that of the cases; where
//! nothing is right, its exact upper end.
use super::labels::groups_of;
use super::proportion::beta;
use super::{Bootstrap, Estimate, Metric, Outcome};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// Hand-checked pairs of different spellings by what the normaliser says of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorRates {
    /// Called the same, and are.
    pub right: usize,
    /// Called the same, and are not.
    pub wrong: usize,
    /// Called different, and are the same.
    pub missed: usize,
}

/// How many of a case's right labels were spelled alike in gold and answer.
pub type Identity = usize;

/// Metrics that are computed again with errors: those that a case's numbers of gold, predicted and right labels determine.
pub const FLIPPED: [Metric; 6] =
    [Metric::MicroF1, Metric::Jaccard, Metric::Exact, Metric::MicroPrecision, Metric::MicroRecall, Metric::SampleF1];

/// Numbers of labels of one case.
#[derive(Clone, Copy)]
struct Counts {
    gold: usize,
    predicted: usize,
    /// Right and spelled alike.
    alike: usize,
    /// Right by the normaliser.
    matched: usize,
}

impl Counts {
    /// Pairs that the normaliser may have missed.
    fn open(&self) -> usize {
        let right = self.alike + self.matched;
        (self.gold - right).min(self.predicted - right)
    }
}

/// Every metric of [`FLIPPED`]: the mean over resamples with flipped labels, and their central interval. `alike[i]` belongs to
/// `outcomes[i]`, which are of normalised labels.
pub fn with_errors(
    outcomes: &[Outcome],
    alike: &[Identity],
    rates: ErrorRates,
    bootstrap: &Bootstrap,
) -> Vec<Option<Estimate>> {
    let counts: Vec<Counts> = outcomes
        .iter()
        .zip(alike)
        .map(|(case, &alike)| {
            let right = case.true_positives().count();
            let alike = alike.min(right);
            Counts { gold: case.gold.len(), predicted: case.predicted.len(), alike, matched: right - alike }
        })
        .collect();
    let total = |of: fn(&Counts) -> usize| counts.iter().map(of).sum::<usize>() as f64;
    let (matched, open) = (total(|c| c.matched), total(Counts::open));
    let resample = |number: usize, weights: &[u32]| {
        let mut rng = ChaCha8Rng::seed_from_u64(bootstrap.seed);
        rng.set_stream((1 << 41) + number as u64);
        let undone = beta(&mut rng, rates.wrong + 1, rates.right + 1);
        let missed = beta(&mut rng, rates.missed + 1, rates.right + 1);
        let made = (matched * (1.0 - undone) * missed / (1.0 - missed) / open.max(1.0)).min(1.0);
        let mut sums = [(0.0, 0.0); FLIPPED.len()];
        for (case, &weight) in counts.iter().zip(weights) {
            let mut hits = |n: usize, p: f64| (0..n).filter(|_| rng.random::<f64>() < p).count();
            let right = case.alike + hits(case.matched, 1.0 - undone) + hits(case.open(), made);
            add(&mut sums, case, right as f64, f64::from(weight));
        }
        sums.map(|(num, den)| (den > 0.0).then(|| num / den))
    };
    let groups = groups_of(outcomes);
    let (draws, units) = (bootstrap.map_numbered(&groups, resample), bootstrap.units(&groups));
    let estimate = |i: usize| {
        let values: Vec<f64> = draws.iter().filter_map(|draw| draw[i]).collect();
        let value = values.iter().sum::<f64>() / values.len() as f64;
        let exact = bootstrap.alike(&FLIPPED[i].statistic(outcomes), &units, value);
        let (low, high) = exact.or_else(|| bootstrap.interval(values))?;
        Some(Estimate { value, low, high, n: outcomes.len() })
    };
    (0..FLIPPED.len()).map(estimate).collect()
}

/// What a case adds to numerator and denominator of each metric, in the order of [`FLIPPED`].
fn add(sums: &mut [(f64, f64); FLIPPED.len()], case: &Counts, right: f64, weight: f64) {
    let (gold, predicted) = (case.gold as f64, case.predicted as f64);
    let share = |num: f64, den: f64| if den == 0.0 { 1.0 } else { num / den };
    let exact = f64::from(right == gold && right == predicted);
    let of_case = [
        (2.0 * right, gold + predicted),
        (share(right, gold + predicted - right), 1.0),
        (exact, 1.0),
        (right, predicted),
        (right, gold),
        (share(2.0 * right, gold + predicted), 1.0),
    ];
    for (sum, (num, den)) in sums.iter_mut().zip(of_case) {
        *sum = (sum.0 + weight * num, sum.1 + weight * den);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 200 cases of one gold label, four of five right.
    fn outcomes() -> Vec<Outcome> {
        let case = |i: usize| Outcome {
            case_id: i.to_string(),
            group: i.to_string(),
            gold: ["a".to_string()].into(),
            predicted: [if i.is_multiple_of(5) { "b" } else { "a" }.to_string()].into(),
            parsed: true,
        };
        (0..200).map(case).collect()
    }

    fn f1(alike: &[usize], rates: ErrorRates) -> Estimate {
        with_errors(&outcomes(), alike, rates, &Bootstrap::default()).remove(0).unwrap()
    }

    #[test]
    fn labels_spelled_alike_are_beyond_doubt() {
        let plain = Bootstrap::default().estimates(&Metric::table(&[Metric::MicroF1], &outcomes())).remove(0).unwrap();
        let same = f1(&[1; 200], ErrorRates { right: 1, wrong: 50, missed: 50 });
        assert!((same.low - plain.low).abs() < 1e-12 && (same.high - plain.high).abs() < 1e-12, "{same:?} {plain:?}");
    }

    #[test]
    fn a_perfect_normaliser_checked_often_changes_nothing_and_a_bad_one_moves_and_widens() {
        let good = f1(&[0; 200], ErrorRates { right: 20_000, wrong: 0, missed: 0 });
        assert!((good.value - 0.8).abs() < 0.005, "{good:?}");
        // a tenth of the matches is wrong, none is missed: 0.8·0.9
        let wrong = f1(&[0; 200], ErrorRates { right: 9_000, wrong: 1_000, missed: 0 });
        assert!((wrong.value - 0.72).abs() < 0.005, "{wrong:?}");
        // of 160/0.9 true matches a tenth is missed: 17.8 more
        let missed = f1(&[0; 200], ErrorRates { right: 9_000, wrong: 0, missed: 1_000 });
        assert!((missed.value - (160.0 + 17.8) / 200.0).abs() < 0.005, "{missed:?}");
        // the same rates from few pairs are less sure
        let unsure = f1(&[0; 200], ErrorRates { right: 9, wrong: 1, missed: 0 });
        assert!(unsure.high - unsure.low > 1.5 * (wrong.high - wrong.low), "{unsure:?}");
    }

    #[test]
    fn where_nothing_is_right_the_interval_is_that_of_the_cases() {
        let wrong: Vec<Outcome> =
            outcomes().into_iter().map(|c| Outcome { predicted: ["c".to_string()].into(), ..c }).collect();
        let rates = ErrorRates { right: 9, wrong: 1, missed: 3 };
        let found = with_errors(&wrong, &[0; 200], rates, &Bootstrap::default()).remove(0).unwrap();
        let plain = Bootstrap::default().estimates(&Metric::table(&[Metric::MicroF1], &wrong)).remove(0);
        assert!(found.high > 0.018 && Some(found) == plain);
    }

    #[test]
    fn the_metrics_are_those_of_the_outcomes_when_nothing_flips() {
        let rates = ErrorRates { right: 1, wrong: 0, missed: 0 };
        let bootstrap = Bootstrap { resamples: 300, ..Bootstrap::default() };
        let alike: Vec<usize> = outcomes().iter().map(|case| case.true_positives().count()).collect();
        for (with, plain) in with_errors(&outcomes(), &alike, rates, &bootstrap)
            .iter()
            .zip(bootstrap.estimates(&Metric::table(&FLIPPED, &outcomes())))
        {
            let (with, plain) = (with.as_ref().unwrap(), plain.unwrap());
            assert!((with.low - plain.low).abs() < 1e-12 && (with.high - plain.high).abs() < 1e-12);
        }
    }
}

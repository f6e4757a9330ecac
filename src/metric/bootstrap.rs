//! Percentile bootstrap over cases, or over groups of cases that belong together (patient, publication).
//!
//! A resample draws as many units as there are, with replacement; a case enters it as often as its unit was drawn.
//! Every metric sees the same resamples. The interval is that of the central `level` of the resampled values, with linear
//! interpolation (`numpy.percentile`); a resample in which the metric is undefined is left out.
//! Bit for bit the same for one seed, whatever the number of threads: resample r has its own ChaCha stream r.
//!
//! Macro-F1 over a long tail is the exception: a label with one case is absent from a third of the resamples, which moves the
//! resampled values away from the value itself. There the interval is moved back by the difference of their means.
use super::{Estimate, Outcome, Statistic};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is drawn: cases, or whole groups where cases of one group are not independent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    Case,
    Group,
}

/// How intervals are made. Printed and stored beside every interval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bootstrap {
    pub seed: u64,
    pub resamples: usize,
    /// Share of the resampled values inside the interval.
    pub level: f64,
    pub unit: Unit,
}

impl Default for Bootstrap {
    /// 2,000 resamples of groups; a group is one case where nothing else is known.
    fn default() -> Self {
        Self { seed: 7, resamples: 2000, level: 0.95, unit: Unit::Group }
    }
}

impl Bootstrap {
    /// One estimate a statistic, in order; None where the statistic is undefined on the cases themselves.
    /// The statistics must come from these outcomes.
    pub fn estimates(&self, statistics: &[Statistic], outcomes: &[Outcome]) -> Vec<Option<Estimate>> {
        let draws = self.map(outcomes, |weights| statistics.iter().map(|s| s.value(weights)).collect::<Vec<_>>());
        let estimate = |(i, statistic): (usize, &Statistic)| {
            let value = statistic.plain()?;
            let mut values: Vec<f64> = draws.iter().filter_map(|draw| draw[i]).collect();
            if statistic.off_centre() {
                recentre(&mut values, value);
            }
            let (low, high) = self.interval(values)?;
            Some(Estimate { value, low, high, n: outcomes.len() })
        };
        statistics.iter().enumerate().map(estimate).collect()
    }

    /// `f` of the case weights of every resample, in order.
    pub fn map<T: Send>(&self, outcomes: &[Outcome], f: impl Fn(&[u32]) -> T + Sync) -> Vec<T> {
        let units = self.units(outcomes);
        let draw = |resample: usize| {
            let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
            rng.set_stream(resample as u64);
            let mut weights = vec![0u32; outcomes.len()];
            for _ in 0..units.len() {
                units[rng.random_range(0..units.len())].iter().for_each(|&case| weights[case] += 1);
            }
            f(&weights)
        };
        (0..self.resamples).into_par_iter().map(draw).collect()
    }

    /// Indices of the cases of every unit, units in order of their name.
    fn units(&self, outcomes: &[Outcome]) -> Vec<Vec<usize>> {
        match self.unit {
            Unit::Case => (0..outcomes.len()).map(|case| vec![case]).collect(),
            Unit::Group => {
                let mut groups = BTreeMap::<&str, Vec<usize>>::new();
                outcomes.iter().enumerate().for_each(|(i, case)| groups.entry(&case.group).or_default().push(i));
                groups.into_values().collect()
            }
        }
    }

    /// Central interval of resampled values; None when there is none.
    pub fn interval(&self, mut values: Vec<f64>) -> Option<(f64, f64)> {
        values.sort_by(f64::total_cmp);
        let tail = (1.0 - self.level) / 2.0;
        Some((quantile(&values, tail)?, quantile(&values, 1.0 - tail)?))
    }
}

/// Moves resampled values so that their mean is the value of the cases themselves.
pub(super) fn recentre(values: &mut [f64], value: f64) {
    let shift = value - values.iter().sum::<f64>() / values.len() as f64; // no values, nothing to move
    values.iter_mut().for_each(|v| *v += shift);
}

/// The `q` quantile of ascending values with linear interpolation: `numpy.percentile(values, 100·q)`.
///
/// `quantile([1, 2, 4], 0.75) = 3`
pub fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let at = q.clamp(0.0, 1.0) * last as f64;
    let below = at.floor() as usize;
    let above = (below + 1).min(last);
    Some(sorted[below] + (sorted[above] - sorted[below]) * (at - below as f64))
}

#[cfg(test)]
mod tests {
    use super::super::{LabelSet, Metric};
    use super::*;

    /// `n` cases in groups of `size`, all cases of a group right or all wrong, half of the groups right.
    fn clustered(n: usize, size: usize) -> Vec<Outcome> {
        let case = |i: usize| Outcome {
            case_id: i.to_string(),
            group: format!("p{}", i / size),
            gold: ["a".to_string()].into(),
            predicted: if (i / size) % 2 == 0 { ["a".to_string()].into() } else { Default::default() },
            parsed: true,
        };
        (0..n).map(case).collect()
    }

    fn width(outcomes: &[Outcome], unit: Unit) -> f64 {
        let bootstrap = Bootstrap { unit, ..Default::default() };
        let estimate = bootstrap.estimates(&[Metric::Exact.statistic(outcomes)], outcomes).remove(0).unwrap();
        assert!(estimate.low <= estimate.value && estimate.value <= estimate.high && estimate.n == outcomes.len());
        estimate.high - estimate.low
    }

    #[test]
    fn interval_of_a_share_is_close_to_the_normal_one() {
        let expected = 2.0 * 1.96 * (0.25f64 / 400.0).sqrt();
        assert!((width(&clustered(400, 1), Unit::Case) - expected).abs() < 0.01);
    }

    #[test]
    fn resampling_groups_widens_the_interval_of_clustered_cases() {
        let outcomes = clustered(400, 10);
        let ratio = width(&outcomes, Unit::Group) / width(&outcomes, Unit::Case);
        assert!((2.6..3.8).contains(&ratio), "√10 = 3.16 expected, got {ratio}");
    }

    #[test]
    fn one_thread_gives_the_same_bits_as_many() {
        let outcomes = clustered(60, 3);
        let statistics: Vec<Statistic> = Metric::PLAIN.iter().map(|metric| metric.statistic(&outcomes)).collect();
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| Bootstrap::default().estimates(&statistics, &outcomes))
        };
        assert_eq!(run(1), run(4));
    }

    #[test]
    fn macro_f1_over_singletons_lies_in_its_interval() {
        // forty labels of one case each, every second one missed; without moving back the whole interval lies beside 1/2
        let case = |i: usize| Outcome {
            case_id: i.to_string(),
            group: i.to_string(),
            gold: [format!("label {i}")].into(),
            predicted: [if i % 2 == 0 { format!("label {i}") } else { format!("invented {}", i % 4) }].into(),
            parsed: true,
        };
        let outcomes: Vec<Outcome> = (0..40).map(case).collect();
        for set in [LabelSet::Gold, LabelSet::Union] {
            let statistics = [Metric::MacroF1(set).statistic(&outcomes)];
            let estimate = Bootstrap::default().estimates(&statistics, &outcomes).remove(0).unwrap();
            assert!(estimate.low < estimate.value && estimate.value < estimate.high, "{estimate:?}");
        }
    }

    #[test]
    fn undefined_statistic_has_no_estimate() {
        let outcomes: Vec<Outcome> =
            clustered(3, 1).into_iter().map(|case| Outcome { predicted: Default::default(), ..case }).collect();
        let statistics = [Metric::MicroPrecision.statistic(&outcomes), Metric::Exact.statistic(&outcomes)];
        let estimates = Bootstrap::default().estimates(&statistics, &outcomes);
        assert!(estimates[0].is_none() && estimates[1].is_some());
        assert_eq!(Bootstrap::default().estimates(&[Metric::Exact.statistic(&[])], &[]), [None]);
    }

    #[test]
    fn quantile_interpolates_as_numpy_does() {
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.75), Some(3.0));
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 1.0), Some(4.0));
        assert_eq!(quantile(&[], 0.5), None);
    }
}

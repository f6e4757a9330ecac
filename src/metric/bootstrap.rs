//! Percentile and BCa bootstrap over cases, or over groups of cases that belong together (patient, publication).
//!
//! A resample draws as many units as there are, with replacement; a case enters it as often as its unit was drawn.
//! Every metric sees the same resamples. The interval is that of the central `level` of the resampled values, with linear
//! interpolation (`numpy.percentile`); a resample in which the metric is undefined is left out.
//! Bit for bit the same for one seed, whatever the number of threads: resample r has its own ChaCha stream r.
//!
//! A mean over labels (macro, weighted) is the exception with a long tail: a label with one case is absent from a third of the resamples, which moves the
//! resampled values away from the value itself. There the interval is moved back by the difference of their means, and cut to [0, 1].
//!
//! Where nothing is right, or nothing wrong, every resample says so too and the percentile interval is a point that reads as
//! certainty. A metric that is a share then has the exact interval of a share of units that are all alike, see [`unanimous`].
//!
//! BCa (Efron 1987) reads other quantiles of the same resampled values: with z₀ = Φ⁻¹(share of values below the estimate) and the
//! acceleration a = Σd³ / 6(Σd²)^1.5 of the jackknife (one unit left out at a time, d its mean minus each value), the quantile α
//! becomes Φ(z₀ + (z₀ + z_α) / (1 − a(z₀ + z_α))). It corrects bias itself, so it reads the values as they were drawn, not moved.
use super::{Estimate, ScoreTable, Statistic, normal, unanimous};
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

/// Resamples for every one of several comparisons whose p are corrected together; see [`Bootstrap::for_comparisons`].
const RESAMPLES_A_COMPARISON: usize = 800;
/// No more than these, however many comparisons there are: 125 of them.
const MOST_RESAMPLES: usize = 100_000;

impl Bootstrap {
    /// The same with as many resamples as it takes to correct the p of `count` comparisons together, never fewer than now.
    ///
    /// p of R resamples is never below 2/(R + 1), and Holm multiplies the smallest of m by m: at 2,000 resamples fifty comparisons
    /// could not reach 5 % whatever the models do. R = 800·m has the smallest corrected p at 2m/(800m + 1) < 0.0025, a twentieth of
    /// 5 %; and a p at the edge, 0.05/m before correction, rests on R·0.05/2m = 20 resamples on its rarer side, so chance in drawing
    /// moves it by a fifth (1/√20). At most 100,000, which is 125 comparisons; beyond, the smallest p is 0.00002·m.
    pub fn for_comparisons(&self, count: usize) -> Self {
        let wanted = count.saturating_mul(RESAMPLES_A_COMPARISON).min(MOST_RESAMPLES);
        Self { resamples: self.resamples.max(wanted), ..self.clone() }
    }

    /// One estimate per column of the table, in order; None where the metric is undefined on the cases themselves.
    pub fn estimates(&self, table: &ScoreTable) -> Vec<Option<Estimate>> {
        let statistics: Vec<&Statistic> = table.columns.iter().map(|(_, statistic)| statistic).collect();
        self.of_groups(&statistics, &table.groups())
    }

    /// As [`Bootstrap::estimates`], of statistics whose cases belong to these groups.
    pub fn of_groups(&self, statistics: &[&Statistic], groups: &[&str]) -> Vec<Option<Estimate>> {
        let units = self.units(groups);
        let estimate = |(statistic, found): (&&Statistic, Option<(f64, Vec<f64>)>)| {
            let (value, mut draws) = found?;
            if statistic.needs_recentring() {
                recentre(&mut draws, value);
            }
            let exact = self.alike(statistic, &units, value);
            let (low, high) = exact.or_else(|| Some(statistic.within(self.interval(draws)?)))?;
            Some(Estimate { value, low, high, n: groups.len() })
        };
        statistics.iter().zip(self.draws(statistics, groups)).map(estimate).collect()
    }

    /// As [`Bootstrap::estimates`], with BCa intervals of the same resamples. None also where the correction is larger than the
    /// interval, see [`bca`].
    pub fn bca_estimates(&self, table: &ScoreTable) -> Vec<Option<Estimate>> {
        let groups = table.groups();
        let statistics: Vec<&Statistic> = table.columns.iter().map(|(_, statistic)| statistic).collect();
        let units = self.units(&groups);
        let estimate = |(statistic, found): (&&Statistic, Option<(f64, Vec<f64>)>)| {
            let (value, draws) = found?;
            let left_out = self.jackknife(&groups, |weights| statistic.value(weights));
            let exact = self.alike(statistic, &units, value);
            let (low, high) = exact.or_else(|| bca(draws, value, &left_out, self.level))?;
            Some(Estimate { value, low, high, n: groups.len() })
        };
        statistics.iter().zip(self.draws(&statistics, &groups)).map(estimate).collect()
    }

    /// Each statistic's value and its resampled values.
    fn draws(&self, statistics: &[&Statistic], groups: &[&str]) -> Vec<Option<(f64, Vec<f64>)>> {
        let draws = self.map_groups(groups, |weights| statistics.iter().map(|s| s.value(weights)).collect::<Vec<_>>());
        let of = |(i, statistic): (usize, &&Statistic)| {
            Some((statistic.plain()?, draws.iter().filter_map(|draw| draw[i]).collect()))
        };
        statistics.iter().enumerate().map(of).collect()
    }

    /// The interval of a share that is 0 or 1 in every unit that bears on it; None for other values and other metrics.
    ///
    /// For a mean over cases of values in [0, 1] (Jaccard, sample-F1, exact match, parse failures) it is conservative: the mean is at
    /// most the share of units with a value above 0, and that share is what [`unanimous`] bounds. For a ratio of sums (micro-F1,
    /// precision, recall, hallucinated labels) it bounds the share of units with anything in the numerator, which bounds the metric
    /// as long as such units have no more labels than others. A mean over labels (macro, weighted) has no such bound, as one case
    /// can be all there is of a label, and a mean of counts has no upper end; those keep their percentile interval.
    pub(super) fn alike(&self, statistic: &Statistic, units: &[Vec<usize>], value: f64) -> Option<(f64, f64)> {
        let bear = |unit: &&Vec<usize>| unit.iter().any(|&case| statistic.bears(case));
        match statistic {
            Statistic::Ratio(_) => unanimous(value, units.iter().filter(bear).count(), self.level),
            _ => None,
        }
    }

    /// `value` with one unit left out at a time, where that is defined.
    pub fn jackknife(&self, groups: &[&str], value: impl Fn(&[u32]) -> Option<f64> + Sync) -> Vec<f64> {
        let without = |unit: &Vec<usize>| {
            let mut weights = vec![1u32; groups.len()];
            unit.iter().for_each(|&case| weights[case] = 0);
            value(&weights)
        };
        self.units(groups).par_iter().filter_map(without).collect()
    }

    /// `f` of the case weights of every resample, in order.
    pub fn map_groups<T: Send>(&self, groups: &[&str], f: impl Fn(&[u32]) -> T + Sync) -> Vec<T> {
        self.map_numbered(groups, |_, weights| f(weights))
    }

    /// As [`Bootstrap::map_groups`]; `f` is also told which resample it is, to draw more from a stream of that number.
    pub fn map_numbered<T: Send>(&self, groups: &[&str], f: impl Fn(usize, &[u32]) -> T + Sync) -> Vec<T> {
        let units = self.units(groups);
        let draw = |resample: usize| {
            let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
            rng.set_stream(resample as u64);
            let mut weights = vec![0u32; groups.len()];
            for _ in 0..units.len() {
                units[rng.random_range(0..units.len())].iter().for_each(|&case| weights[case] += 1);
            }
            f(resample, &weights)
        };
        (0..self.resamples).into_par_iter().map(draw).collect()
    }

    /// Indices of the cases of every unit, units in order of their name.
    pub(super) fn units(&self, groups: &[&str]) -> Vec<Vec<usize>> {
        match self.unit {
            Unit::Case => (0..groups.len()).map(|case| vec![case]).collect(),
            Unit::Group => {
                let mut units = BTreeMap::<&str, Vec<usize>>::new();
                groups.iter().enumerate().for_each(|(i, group)| units.entry(group).or_default().push(i));
                units.into_values().collect()
            }
        }
    }

    /// The number of the unit that each case belongs to.
    pub fn unit_of(&self, groups: &[&str]) -> Vec<usize> {
        let mut of = vec![0; groups.len()];
        for (unit, cases) in self.units(groups).iter().enumerate() {
            cases.iter().for_each(|&case| of[case] = unit);
        }
        of
    }

    /// Central interval of resampled values; None when there is none.
    pub fn interval(&self, mut values: Vec<f64>) -> Option<(f64, f64)> {
        values.sort_by(f64::total_cmp);
        let tail = (1.0 - self.level) / 2.0;
        Some((quantile(&values, tail)?, quantile(&values, 1.0 - tail)?))
    }
}

/// The BCa interval from resampled values, the estimate and its jackknife; see the file's header. Values equal to the estimate
/// count half below it. None without values, and where the bias z₀ is so large (1.96 at 95 %: the estimate lies outside the
/// percentile interval) that the corrected interval would not hold the estimate either.
pub fn bca(mut draws: Vec<f64>, value: f64, jackknife: &[f64], level: f64) -> Option<(f64, f64)> {
    let below = draws.iter().map(|d| 0.5 * (f64::from(*d < value) + f64::from(*d <= value))).sum::<f64>();
    let z0 = normal::quantile(below / draws.len() as f64);
    let mean = jackknife.iter().sum::<f64>() / jackknife.len() as f64;
    let power = |k: i32| jackknife.iter().map(|v| (mean - v).powi(k)).sum::<f64>();
    let spread = power(2).powf(1.5);
    let acceleration = if spread > 0.0 { power(3) / (6.0 * spread) } else { 0.0 };
    let at = |alpha: f64| {
        let z = z0 + normal::quantile(alpha);
        normal::cdf(z0 + z / (1.0 - acceleration * z))
    };
    draws.sort_by(f64::total_cmp);
    let tail = (1.0 - level) / 2.0;
    match z0.abs() < normal::quantile(1.0 - tail) {
        true => Some((quantile(&draws, at(tail))?, quantile(&draws, at(1.0 - tail))?)),
        false => None,
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
    use super::super::labels::groups_of;
    use super::super::{LabelSet, Metric, Outcome};
    use super::*;

    /// `n` cases in groups of `size`, all cases of a group right or all wrong, half of the groups right.
    fn clustered(n: usize, size: usize) -> Vec<Outcome> {
        let case = |i: usize| Outcome {
            case_id: i.to_string(),
            group: format!("p{}", i / size),
            gold: ["a".to_string()].into(),
            predicted: if (i / size).is_multiple_of(2) { ["a".to_string()].into() } else { Default::default() },
            parsed: true,
        };
        (0..n).map(case).collect()
    }

    fn width(outcomes: &[Outcome], unit: Unit) -> f64 {
        let bootstrap = Bootstrap { unit, ..Default::default() };
        let estimate = bootstrap.estimates(&Metric::table(&[Metric::Exact], outcomes)).remove(0).unwrap();
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
    fn bca_is_the_percentile_interval_of_symmetric_values_and_leans_with_skewed_ones() {
        let draws: Vec<f64> = (-500..=500).map(f64::from).collect();
        let even: Vec<f64> = (-5..=5).map(f64::from).collect();
        let (low, high) = bca(draws.clone(), 0.0, &even, 0.9).unwrap();
        assert!((low + 450.0).abs() < 1e-6 && (high - 450.0).abs() < 1e-6, "{low} {high}");
        let (low, high) = bca(draws.clone(), 0.0, &[-9.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0], 0.9).unwrap();
        assert!(low > -440.0 && high > 455.0, "a long tail to the right moves both ends there: {low} {high}");
        assert_eq!(bca(draws, 501.0, &even, 0.9), None);
        assert_eq!(bca(vec![1.0; 9], 1.0, &[1.0; 4], 0.9), Some((1.0, 1.0)));
        assert_eq!(bca(vec![], 1.0, &[1.0], 0.9), None);
    }

    #[test]
    fn a_group_is_left_out_as_a_whole() {
        let outcomes = clustered(6, 3);
        let statistic = Metric::Exact.statistic(&outcomes);
        let left_out = |unit| {
            let bootstrap = Bootstrap { unit, ..Default::default() };
            bootstrap.jackknife(&groups_of(&outcomes), |weights| statistic.value(weights))
        };
        assert_eq!(left_out(Unit::Group), [0.0, 1.0]);
        assert_eq!(left_out(Unit::Case).len(), 6);
    }

    #[test]
    fn one_thread_gives_the_same_bits_as_many() {
        let outcomes = clustered(60, 3);
        let table = Metric::table(&Metric::PLAIN, &outcomes);
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| Bootstrap::default().estimates(&table))
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
            predicted: [if i.is_multiple_of(2) { format!("label {i}") } else { format!("invented {}", i % 4) }].into(),
            parsed: true,
        };
        let outcomes: Vec<Outcome> = (0..40).map(case).collect();
        for set in [LabelSet::Gold, LabelSet::Union] {
            let table = Metric::table(&[Metric::MacroF1(set)], &outcomes);
            let estimate = Bootstrap::default().estimates(&table).remove(0).unwrap();
            assert!(estimate.low < estimate.value && estimate.value < estimate.high, "{estimate:?}");
        }
    }

    #[test]
    fn the_interval_of_a_mean_over_labels_stays_in_its_range_and_bca_is_not_moved_twice() {
        // forty labels of one case each, all right, and one label that three cases invent: a resample has a third of the labels less,
        // so its mean is lower, and 1 where it lacks those three cases; moved back, those pass 1
        let case = |i: usize| Outcome {
            case_id: i.to_string(),
            group: i.to_string(),
            gold: [format!("label {i}")].into(),
            predicted: [format!("label {i}")].into_iter().chain((i < 3).then(|| "invented".to_string())).collect(),
            parsed: true,
        };
        let outcomes: Vec<Outcome> = (0..40).map(case).collect();
        let table = Metric::table(&[Metric::MacroF1(LabelSet::Union)], &outcomes);
        let statistic = &table.columns[0].1;
        let bootstrap = Bootstrap::default();
        let value = statistic.plain().unwrap();
        let mut draws: Vec<f64> =
            bootstrap.map_groups(&table.groups(), |w| statistic.value(w)).into_iter().flatten().collect();
        let left_out = bootstrap.jackknife(&table.groups(), |w| statistic.value(w));
        let found = bootstrap.bca_estimates(&table).remove(0);
        assert_eq!(found.map(|e| (e.low, e.high)), bca(draws.clone(), value, &left_out, 0.95), "of unmoved values");
        recentre(&mut draws, value);
        let moved = bootstrap.interval(draws).unwrap();
        let estimate = bootstrap.estimates(&table).remove(0).unwrap();
        assert!(moved.1 > 1.0 && moved.0 <= value, "{moved:?}");
        assert_eq!((estimate.low, estimate.high), (moved.0, 1.0));
        assert_eq!(statistic.within((-0.1, 1.1)), (0.0, 1.0));
        assert_eq!(Metric::LabelsPerCase.statistic(&outcomes).within((0.5, 3.0)), (0.5, 3.0));
    }

    #[test]
    fn a_share_that_is_nought_in_every_unit_has_an_upper_end() {
        let wrong = |n: usize, size: usize| -> Vec<Outcome> {
            clustered(n, size).into_iter().map(|c| Outcome { predicted: ["b".to_string()].into(), ..c }).collect()
        };
        let of = |metric: Metric, outcomes: &[Outcome]| {
            Bootstrap::default().estimates(&Metric::table(&[metric], outcomes)).remove(0).unwrap()
        };
        let bound = |units: f64| 1.0 - 0.025f64.powf(1.0 / units);
        for metric in [Metric::MicroF1, Metric::Jaccard, Metric::Exact, Metric::SampleF1, Metric::MicroPrecision] {
            let (cases, groups) = (of(metric.clone(), &wrong(40, 1)), of(metric.clone(), &wrong(40, 4)));
            assert_eq!((cases.value, cases.low, groups.low), (0.0, 0.0, 0.0), "{metric}");
            assert!((cases.high - bound(40.0)).abs() < 1e-12 && (groups.high - bound(10.0)).abs() < 1e-12, "{metric}");
            assert_eq!((cases.n, groups.n), (40, 40));
        }
        // only units with a predicted label say anything of precision
        let silent = |(i, case): (usize, Outcome)| match i < 10 {
            true => case,
            false => Outcome { predicted: Default::default(), ..case },
        };
        let few: Vec<Outcome> = wrong(40, 1).into_iter().enumerate().map(silent).collect();
        assert!((of(Metric::MicroPrecision, &few).high - bound(10.0)).abs() < 1e-12);
        let right: Vec<Outcome> =
            wrong(40, 1).into_iter().map(|c| Outcome { predicted: c.gold.clone(), ..c }).collect();
        let all = of(Metric::Exact, &right);
        assert!(all.high == 1.0 && (all.low - (1.0 - bound(40.0))).abs() < 1e-12, "{all:?}");
        // where there is no bound the point stays
        let (macro_f1, count) = (of(Metric::MacroF1(LabelSet::Gold), &wrong(40, 1)), of(Metric::LabelsPerCase, &right));
        assert_eq!((macro_f1.low, macro_f1.high, count.low, count.high), (0.0, 0.0, 1.0, 1.0));
        let bca = Bootstrap::default().bca_estimates(&Metric::table(&[Metric::Exact], &right)).remove(0);
        assert_eq!(bca, Some(all));
    }

    #[test]
    fn resamples_grow_with_the_comparisons_until_the_smallest_p_is_small_enough() {
        let of = |count: usize| Bootstrap::default().for_comparisons(count).resamples;
        assert_eq!((of(0), of(2), of(3), of(23), of(63), of(1000)), (2000, 2000, 2400, 18_400, 50_400, 100_000));
        for m in 1..=125 {
            assert!(2.0 * m as f64 / (of(m) + 1) as f64 <= 0.0025, "{m}");
        }
        let more = Bootstrap { resamples: 5000, seed: 3, ..Bootstrap::default() };
        assert_eq!((more.for_comparisons(2), more.for_comparisons(10).seed), (more.clone(), 3));
    }

    #[test]
    fn undefined_statistic_has_no_estimate() {
        let outcomes: Vec<Outcome> =
            clustered(3, 1).into_iter().map(|case| Outcome { predicted: Default::default(), ..case }).collect();
        let estimates =
            Bootstrap::default().estimates(&Metric::table(&[Metric::MicroPrecision, Metric::Exact], &outcomes));
        assert!(estimates[0].is_none() && estimates[1].is_some());
        assert_eq!(Bootstrap::default().estimates(&Metric::table(&[Metric::Exact], &[])), [None]);
    }

    #[test]
    fn quantile_interpolates_as_numpy_does() {
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.75), Some(3.0));
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 1.0), Some(4.0));
        assert_eq!(quantile(&[], 0.5), None);
    }
}

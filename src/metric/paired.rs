//! Two models on the same cases: the difference of a metric with its paired bootstrap intervals and p value, a permutation test,
//! McNemar's test, the smallest difference that so many cases could show, and Holm's correction for the comparisons made.
//!
//! Both models enter a resample with the same cases. p is two-sided, the inverted percentile interval:
//! p = 2·min(#{d* ≤ 0} + 1, #{d* ≥ 0} + 1) / (R + 1), at most 1, so it never falls below 2/(R + 1). How many resamples that takes
//! where p is corrected over several comparisons: [`Bootstrap::for_comparisons`].
//!
//! The permutation test asks another question: had the two models' answers been exchanged in any of the units, how often would
//! the difference be as large? It needs no resampled interval, only that under the null hypothesis the models are alike.
//!
//! The minimum detectable effect is the true difference that a two-sided test at 5 % finds in 80 % of such test sets,
//! (z₀.₉₇₅ + z₀.₈)·se = 2.80·se, with the standard error of the paired bootstrap (Cohen 1988). It is for a single comparison; where
//! Holm's correction divides the 5 %, it is larger. A difference that is not found says nothing about effects below it.
use super::bootstrap::{bca, recentre};
use super::proportion::{McNemar, mcnemar};
use super::{Bootstrap, MetricInfo, ScoreTable, Statistic, normal};
use crate::error::Result;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// What the minimum detectable effect is computed for.
pub const POWER: f64 = 0.8;
pub const ALPHA: f64 = 0.05;

/// metric(b) − metric(a).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    pub value: f64,
    pub low: f64,
    pub high: f64,
    /// Two-sided, not corrected; see [`holm`].
    pub p: f64,
    /// Cases, every one answered by both models.
    pub n: usize,
    /// BCa interval of the same resamples; none where it is undefined.
    #[serde(default)]
    pub bca: Option<(f64, f64)>,
    /// Two-sided, not corrected; see [`permutation`].
    #[serde(default)]
    pub p_permutation: Option<f64>,
    /// Of metrics that count cases (exact matches); none for others, and where several cases share a group.
    #[serde(default)]
    pub mcnemar: Option<McNemar>,
    /// Minimum detectable effect at [`ALPHA`] and [`POWER`]; none where all resamples have the same difference.
    #[serde(default)]
    pub detectable: Option<f64>,
    /// Resamples behind interval and p; 0 in files of older versions.
    #[serde(default)]
    pub resamples: usize,
}

impl Difference {
    /// Of a value and its resampled values, `n` the cases: interval, p and what could have been detected. None without values.
    pub fn of(value: f64, draws: Vec<f64>, n: usize, bootstrap: &Bootstrap) -> Option<Self> {
        let (p, detectable) = (two_sided(&draws), detectable(&draws));
        let (low, high) = bootstrap.interval(draws)?;
        Some(Self { value, low, high, p, n, detectable, resamples: bootstrap.resamples, ..Self::default() })
    }

    /// True where no resample has a difference, so that no unit has one: nothing was seen to detect.
    pub fn nothing_differs(&self) -> bool {
        self.detectable.is_none() && self.low == 0.0 && self.high == 0.0
    }
}

/// metric(b) − metric(a) of every key, on the same resamples. None where either side is undefined. The tables must have been scored
/// together: see [`ScoreTable::space`].
pub fn compare(
    a: &ScoreTable,
    b: &ScoreTable,
    keys: &[&str],
    bootstrap: &Bootstrap,
) -> Result<Vec<Option<Difference>>> {
    let b = b.paired_with(a)?;
    let both = |key: &&str| Ok((&a.column(key)?.0, [&a.column(key)?.1, &b.column(key)?.1]));
    let columns = keys.iter().map(both).collect::<Result<Vec<_>>>()?;
    let groups = a.groups();
    let draws = bootstrap
        .map_groups(&groups, |weights| columns.iter().map(|(_, both)| minus(both, weights)).collect::<Vec<_>>());
    let difference = |(i, (info, both)): (usize, &(&MetricInfo, [&Statistic; 2]))| {
        let value = minus(both, &vec![1; a.cases()])?;
        let unmoved: Vec<f64> = draws.iter().filter_map(|draw| draw[i]).collect();
        let mut moved = unmoved.clone();
        if both[0].needs_recentring() {
            recentre(&mut moved, value);
        }
        let left_out = bootstrap.jackknife(&groups, |weights| minus(both, weights));
        Some(Difference {
            bca: bca(unmoved, value, &left_out, bootstrap.level),
            p_permutation: exchanged(both, &groups, bootstrap),
            mcnemar: (info.counts_cases && a.independent()).then(|| discordant(both)).flatten(),
            ..Difference::of(value, moved, a.cases(), bootstrap)?
        })
    };
    Ok(columns.iter().enumerate().map(difference).collect())
}

/// The second statistic minus the first.
fn minus(both: &[&Statistic; 2], weights: &[u32]) -> Option<f64> {
    Some(both[1].value(weights)? - both[0].value(weights)?)
}

/// Two-sided p of resampled differences: twice the share on the rarer side of 0, (k + 1)/(R + 1) so that it is never 0.
fn two_sided(draws: &[f64]) -> f64 {
    let (below, above) = (draws.iter().filter(|d| **d <= 0.0).count(), draws.iter().filter(|d| **d >= 0.0).count());
    (2.0 * (below.min(above) + 1) as f64 / (draws.len() + 1) as f64).min(1.0)
}

/// (z₁₋α/₂ + z_power) times the standard deviation of the resampled differences.
fn detectable(draws: &[f64]) -> Option<f64> {
    let n = draws.len() as f64;
    let mean = draws.iter().sum::<f64>() / n;
    let se = (draws.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
    (se > 0.0).then(|| (normal::quantile(1.0 - ALPHA / 2.0) + normal::quantile(POWER)) * se)
}

/// McNemar's test of a metric that counts cases.
fn discordant([a, b]: &[&Statistic; 2]) -> Option<McNemar> {
    let (Statistic::Ratio(a), Statistic::Ratio(b)) = (a, b) else { return None };
    let only = |x: &[(f64, f64)], y: &[(f64, f64)]| x.iter().zip(y).filter(|(x, y)| x.0 > y.0).count();
    Some(mcnemar(only(a, b), only(b, a)))
}

/// Two-sided p of the paired permutation test: the share of exchanges of `a` and `b` in whole units whose difference is at least as
/// far from 0 as the one seen.
///
/// All 2^units exchanges where they are no more than the resamples; else as many random ones as resamples, with
/// p = (hits + 1)/(R + 1) (Phipson & Smyth 2010). Bit for bit the same for one seed: exchange r has its own ChaCha stream, apart
/// from the bootstrap's. None where the metric is undefined on a side.
pub fn permutation(a: &ScoreTable, b: &ScoreTable, key: &str, bootstrap: &Bootstrap) -> Result<Option<f64>> {
    let b = b.paired_with(a)?;
    Ok(exchanged(&[&a.column(key)?.1, &b.column(key)?.1], &a.groups(), bootstrap))
}

/// See [`permutation`]; both statistics are of the same cases in the same order.
fn exchanged([a, b]: &[&Statistic; 2], groups: &[&str], bootstrap: &Bootstrap) -> Option<f64> {
    let (both, cases) = (a.joined(b)?, groups.len());
    let units = bootstrap.units(groups);
    // the difference when the units with `swapped` are exchanged
    let difference = |swapped: &dyn Fn(usize) -> bool| {
        let (mut first, mut second) = (vec![0u32; 2 * cases], vec![0u32; 2 * cases]);
        for (unit, members) in units.iter().enumerate() {
            let swapped = swapped(unit);
            for &case in members {
                let (of_a, of_b) = (case, cases + case);
                first[if swapped { of_b } else { of_a }] = 1;
                second[if swapped { of_a } else { of_b }] = 1;
            }
        }
        Some(both.value(&second)? - both.value(&first)?)
    };
    let seen = difference(&|_| false)?.abs() - 1e-12; // a sum in another order is not another difference
    let all = (units.len() < 31).then(|| 1usize << units.len()).filter(|all| *all <= bootstrap.resamples);
    if let Some(all) = all {
        let found = |i: usize| difference(&|unit| i >> unit & 1 == 1).map(|d| d.abs() >= seen);
        let found: Vec<bool> = (0..all).into_par_iter().filter_map(found).collect();
        return Some(found.iter().filter(|hit| **hit).count() as f64 / found.len() as f64);
    }
    let random = |resample: usize| {
        let mut rng = ChaCha8Rng::seed_from_u64(bootstrap.seed);
        rng.set_stream((1 << 40) + resample as u64);
        let coins: Vec<bool> = units.iter().map(|_| rng.random()).collect();
        difference(&|unit| coins[unit]).map(|d| d.abs() >= seen)
    };
    let found: Vec<bool> = (0..bootstrap.resamples).into_par_iter().filter_map(random).collect();
    Some((found.iter().filter(|hit| **hit).count() + 1) as f64 / (found.len() + 1) as f64)
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
    use super::super::{Metric, Outcome};
    use super::*;

    fn tables(metrics: &[Metric], a: &[Outcome], b: &[Outcome]) -> (ScoreTable, ScoreTable) {
        let mut both = Metric::tables(metrics, &[a, b]);
        (both.remove(0), both.remove(0))
    }

    fn compare(
        metrics: &[Metric],
        a: &[Outcome],
        b: &[Outcome],
        bootstrap: &Bootstrap,
    ) -> Result<Vec<Option<Difference>>> {
        let (a, b) = tables(metrics, a, b);
        super::compare(&a, &b, &a.keys(), bootstrap)
    }

    fn permutation(metric: &Metric, a: &[Outcome], b: &[Outcome], bootstrap: &Bootstrap) -> Option<f64> {
        let (a, b) = tables(std::slice::from_ref(metric), a, b);
        super::permutation(&a, &b, &metric.to_string(), bootstrap).unwrap()
    }

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
        assert!(difference.nothing_differs() && difference.resamples == 2000);
        assert_eq!((difference.p_permutation, difference.detectable, difference.mcnemar), (Some(1.0), None, None));
        let all =
            compare(&[Metric::Exact], &cases(|_| false), &cases(|_| true), &Bootstrap::default()).unwrap().remove(0);
        let all = all.unwrap();
        assert_eq!((all.value, all.detectable, all.nothing_differs()), (1.0, None, false), "all cases differ alike");
    }

    #[test]
    fn a_permutation_of_few_units_counts_all_exchanges() {
        // b right on five cases that a gets wrong: only all or none exchanged is as extreme, 2 of 2⁵
        let (a, b) = (&cases(|_| false)[..5], &cases(|_| true)[..5]);
        let p = |resamples| permutation(&Metric::Exact, a, b, &Bootstrap { resamples, ..Default::default() }).unwrap();
        assert_eq!(p(32), 2.0 / 32.0);
        assert!(
            (permutation(&Metric::Exact, a, b, &Bootstrap { resamples: 31, ..Default::default() }).unwrap() - 0.0625)
                .abs()
                < 0.1
        );
        let group =
            |cases: &[Outcome]| cases.iter().cloned().map(|c| Outcome { group: "p".into(), ..c }).collect::<Vec<_>>();
        assert_eq!(
            permutation(&Metric::Exact, &group(a), &group(b), &Bootstrap::default()),
            Some(1.0),
            "one group has no other side"
        );
        assert_eq!(permutation(&Metric::MicroF1, &[], &[], &Bootstrap::default()), None);
    }

    #[test]
    fn the_smallest_detectable_difference_is_that_of_a_paired_mean() {
        // differences of exact match: 10 of 100 cases +1, the rest 0; se = √(0.1·0.9/100)
        let (a, b) = (cases(|i| i % 2 == 0), cases(|i| i % 2 == 0 || i % 10 == 1));
        let difference = compare(&[Metric::Exact], &a, &b, &Bootstrap::default()).unwrap().remove(0).unwrap();
        let expected = 2.801585 * (0.1f64 * 0.9 / 100.0).sqrt();
        assert!((difference.detectable.unwrap() / expected - 1.0).abs() < 0.05, "{difference:?}");
        let test = difference.mcnemar.unwrap();
        assert_eq!((test.only_a, test.only_b, test.p), (0, 10, 2.0 / 1024.0));
        let (low, high) = difference.bca.unwrap();
        assert!(0.0 < low && low < 0.1 && 0.1 < high && difference.p_permutation.unwrap() < 0.01);
    }

    #[test]
    fn inventing_labels_does_not_make_the_hamming_loss_better() {
        let labelled = |case: &Outcome, predicted: &[&str]| Outcome {
            predicted: predicted.iter().map(|label| label.to_string()).collect(),
            ..case.clone()
        };
        let gold = &cases(|_| true)[..10];
        // a misses the one label of three cases; b is right but for nine labels that it invents in one case
        let a: Vec<Outcome> =
            gold.iter().enumerate().map(|(i, c)| labelled(c, if i < 3 { &[] } else { &["a"] })).collect();
        let many = ["a", "q", "r", "s", "t", "u", "v", "w", "x", "y"];
        let b: Vec<Outcome> =
            gold.iter().enumerate().map(|(i, c)| labelled(c, if i < 1 { &many } else { &["a"] })).collect();
        let own = |set: &[Outcome]| Metric::Hamming.statistic(set).plain().unwrap();
        assert_eq!((own(&a), own(&b)), (0.3, 0.09), "each in its own space: 3/(10·1) and 9/(10·10)");
        let of = |a: &[Outcome], b: &[Outcome]| {
            compare(&[Metric::Hamming], a, b, &Bootstrap::default()).unwrap().remove(0).unwrap()
        };
        let found = of(&a, &b);
        assert!((found.value - 0.06).abs() < 1e-12, "in one space of ten labels b has six errors more: {found:?}");
        assert!((of(&b, &a).value + 0.06).abs() < 1e-12);
        assert!(found.p > 0.3 && found.p_permutation.unwrap() > 0.3, "one bad case is no finding: {found:?}");
    }

    #[test]
    fn a_comparison_of_macro_means_moves_its_interval_and_not_its_bca() {
        let labelled = |right: usize| -> Vec<Outcome> {
            let case = |i: usize| Outcome {
                case_id: i.to_string(),
                group: i.to_string(),
                gold: [format!("label {}", i / 2)].into(),
                predicted: [format!("label {}", if i < right { i / 2 } else { 0 })].into(),
                parsed: true,
            };
            (0..40).map(case).collect()
        };
        let (a, b, metric) = (labelled(10), labelled(30), Metric::MacroF1(super::super::LabelSet::Gold));
        let bootstrap = Bootstrap::default();
        let found = compare(std::slice::from_ref(&metric), &a, &b, &bootstrap).unwrap().remove(0).unwrap();
        let (a, b) = tables(&[metric], &a, &b);
        let (both, groups) = ([&a.columns[0].1, &b.columns[0].1], a.groups());
        let draws: Vec<f64> =
            bootstrap.map_groups(&groups, |weights| minus(&both, weights)).into_iter().flatten().collect();
        let left_out = bootstrap.jackknife(&groups, |weights| minus(&both, weights));
        assert_eq!(found.bca, bca(draws.clone(), found.value, &left_out, 0.95));
        let plain = bootstrap.interval(draws.clone()).unwrap();
        let shift = found.value - draws.iter().sum::<f64>() / draws.len() as f64;
        assert!((found.low - plain.0 - shift).abs() < 1e-9 && (found.high - plain.1 - shift).abs() < 1e-9);
    }

    #[test]
    fn order_of_the_cases_does_not_matter() {
        let (a, b) = (cases(|i| i % 2 == 0), cases(|i| i % 3 == 0));
        let shuffled: Vec<Outcome> = b.iter().rev().cloned().collect();
        let (as_given, backwards) = (tables(&Metric::PLAIN, &a, &b).1, tables(&Metric::PLAIN, &a, &shuffled));
        let found = backwards.1.paired_with(&backwards.0).unwrap();
        assert_eq!((&found.ids, &found.gold), (&as_given.ids, &as_given.gold));
        let values = |table: &ScoreTable| table.columns.iter().map(|(_, s)| s.value(&[1; 100])).collect::<Vec<_>>();
        assert_eq!(values(&found), values(&as_given));
        let few = |table: &ScoreTable| table.part(&[7, 8, 9]).value("exact_match").unwrap();
        assert_eq!(few(&found), few(&as_given));
    }

    #[test]
    fn cases_that_do_not_pair_are_named() {
        let pair = |a: &[Outcome], b: &[Outcome]| {
            let (a, b) = tables(&[Metric::Exact], a, b);
            b.paired_with(&a).map(|_| ())
        };
        let (a, mut b) = (cases(|_| true), cases(|_| true));
        b[3].gold = ["z".to_string()].into();
        assert!(pair(&a, &b).unwrap_err().to_string().contains("1 case(s) with different gold answers: c003"));
        b[4].case_id = "stranger".into();
        assert!(pair(&a, &b).unwrap_err().to_string().contains("only in the first: c004"));
        assert!(pair(&a[..50], &a).unwrap_err().to_string().contains("c059 and 40 more"));
        b[5].case_id = "c006".into();
        assert!(pair(&a, &b).unwrap_err().to_string().contains("twice in the second: c006"));
    }

    #[test]
    fn tables_that_were_not_scored_together_are_refused() {
        let (a, b) = (cases(|_| true), cases(|i| i > 3));
        let (a, b) = (Metric::table(&[Metric::Hamming], &a), Metric::table(&[Metric::Hamming], &b));
        assert!(b.paired_with(&a).unwrap_err().to_string().contains("not scored together"));
    }

    #[test]
    fn holm_agrees_with_the_worked_example() {
        let close = |a: Vec<f64>, b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12);
        assert!(close(holm(&[0.01, 0.04, 0.03]), &[0.03, 0.06, 0.06]));
        assert!(close(holm(&[0.9, 0.8]), &[1.0, 1.0]));
    }
}

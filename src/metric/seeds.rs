//! One setting trained with several seeds: the mean over seeds, with intervals that hold both kinds of chance.
//!
//! A resample draws cases (or groups) as in [`super::bootstrap`] and, apart from them, as many seeds as there are, with replacement: the
//! two-level bootstrap of Davison & Hinkley 1997, §3.8. With three seeds it is coarse; the seeds' own values are kept for the reader.
//! Two settings with the same number of seeds meet seed by seed, as they share splits and order; one that has no seed (a baseline)
//! meets every seed of the other.
use super::bootstrap::{groups_of, recentre};
use super::paired::{detectable, pair, two_sided};
use super::{Bootstrap, Difference, Estimate, Metric, Outcome, Statistic};
use crate::error::{Error, Result};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// A metric over seeds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seeded {
    /// Of the mean.
    pub estimate: Estimate,
    /// Of every seed.
    pub values: Vec<f64>,
}

/// Runs of one setting: outcomes on the same cases, a vector a seed.
pub type Runs = [Vec<Outcome>];

/// The mean of a metric over runs with its interval; None where it is undefined in a run.
pub fn over_seeds(metric: &Metric, runs: &Runs, bootstrap: &Bootstrap) -> Result<Option<Seeded>> {
    let runs = aligned(runs.first(), runs)?;
    let statistics: Vec<Statistic> = runs.iter().map(|run| metric.statistic(run)).collect();
    let Some(values) = statistics.iter().map(Statistic::plain).collect::<Option<Vec<f64>>>() else { return Ok(None) };
    let draws = bootstrap.map_numbered(&groups_of(&runs[0]), |resample, weights| {
        let drawn = draw(runs.len(), bootstrap.seed, resample);
        mean(drawn.into_iter().map(|seed| statistics[seed].value(weights)))
    });
    let mut draws: Vec<f64> = draws.into_iter().flatten().collect();
    let value = values.iter().sum::<f64>() / values.len() as f64;
    if statistics[0].off_centre() {
        recentre(&mut draws, value);
    }
    let estimate = bootstrap.interval(draws).map(|(low, high)| Estimate { value, low, high, n: runs[0].len() });
    Ok(estimate.map(|estimate| Seeded { estimate, values }))
}

/// mean(b) − mean(a); see the file's header for which seed meets which.
pub fn compare_seeds(metric: &Metric, a: &Runs, b: &Runs, bootstrap: &Bootstrap) -> Result<Option<Difference>> {
    let (a, b) = (aligned(a.first(), a)?, aligned(a.first(), b)?);
    let of = |runs: &[Vec<Outcome>]| runs.iter().map(|run| metric.statistic(run)).collect::<Vec<_>>();
    let (first, second) = (of(&a), of(&b));
    let plain = |all: &[Statistic]| mean(all.iter().map(Statistic::plain));
    let (Some(from), Some(to)) = (plain(&first), plain(&second)) else { return Ok(None) };
    let draws = bootstrap.map_numbered(&groups_of(&a[0]), |resample, weights| {
        let drawn = draw(first.len().max(second.len()), bootstrap.seed, resample);
        let side = |all: &[Statistic]| mean(drawn.iter().map(|seed| all[seed % all.len()].value(weights)));
        Some(side(&second)? - side(&first)?)
    });
    let (value, mut draws): (f64, Vec<f64>) = (to - from, draws.into_iter().flatten().collect());
    if first[0].off_centre() {
        recentre(&mut draws, value);
    }
    let (p, detectable) = (two_sided(&draws), detectable(&draws));
    let made = |(low, high)| Difference { value, low, high, p, n: a[0].len(), detectable, ..Difference::default() };
    Ok(bootstrap.interval(draws).map(made))
}

/// Every run in the order of the cases of `like`.
fn aligned(like: Option<&Vec<Outcome>>, runs: &Runs) -> Result<Vec<Vec<Outcome>>> {
    let (Some(like), false) = (like, runs.is_empty()) else {
        return Err(Error::input("nothing to average: a setting has no run"));
    };
    runs.iter().map(|run| pair(like, run)).collect()
}

/// As many seeds as there are, with replacement; of a stream of its own in every resample.
fn draw(seeds: usize, seed: u64, resample: usize) -> Vec<usize> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream((1 << 41) + resample as u64);
    (0..seeds).map(|_| rng.random_range(0..seeds)).collect()
}

fn mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let values = values.collect::<Option<Vec<f64>>>()?;
    Some(values.iter().sum::<f64>() / values.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(right: impl Fn(usize) -> bool) -> Vec<Outcome> {
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
    fn the_interval_of_a_mean_holds_the_spread_of_seeds_too() {
        let bootstrap = Bootstrap::default();
        let same = [run(|i| i % 2 == 0), run(|i| i % 2 == 0), run(|i| i % 2 == 0)];
        let apart = [run(|i| i < 30), run(|i| i < 50), run(|i| i < 70)];
        let of = |runs: &Runs| over_seeds(&Metric::Exact, runs, &bootstrap).unwrap().unwrap();
        let (same, apart) = (of(&same), of(&apart));
        assert_eq!((same.estimate.value, apart.estimate.value, same.values), (0.5, 0.5, vec![0.5; 3]));
        let width = |s: &Estimate| s.high - s.low;
        // √(0.25/100) of the cases, and of three values 0.3, 0.5, 0.7 drawn with replacement √(0.0267/3)
        assert!((width(&same.estimate) - 2.0 * 1.96 * 0.05).abs() < 0.02, "{:?}", same.estimate);
        assert!(width(&apart.estimate) > 1.8 * width(&same.estimate), "{:?}", apart.estimate);
        let one = over_seeds(&Metric::Exact, &[run(|i| i % 2 == 0)], &bootstrap).unwrap().unwrap();
        let plain = bootstrap.estimates(&[Metric::Exact.statistic(&run(|i| i % 2 == 0))], &run(|i| i % 2 == 0));
        assert_eq!(Some(one.estimate), plain[0], "one seed is the plain bootstrap");
    }

    #[test]
    fn seeds_meet_in_pairs_and_a_baseline_meets_all() {
        let bootstrap = Bootstrap::default();
        let a = [run(|i| i < 30), run(|i| i < 50), run(|i| i < 70)];
        let b = [run(|i| i < 40), run(|i| i < 60), run(|i| i < 80)];
        let paired = compare_seeds(&Metric::Exact, &a, &b, &bootstrap).unwrap().unwrap();
        assert!((paired.value - 0.1).abs() < 1e-12 && paired.p < 0.01 && paired.low > 0.0, "{paired:?}");
        let baseline = compare_seeds(&Metric::Exact, &[run(|i| i < 20)], &b, &bootstrap).unwrap().unwrap();
        assert!((baseline.value - 0.4).abs() < 1e-12, "{baseline:?}");
        assert!(baseline.high - baseline.low > paired.high - paired.low, "its seeds are not paired away");
        let refused = compare_seeds(&Metric::Exact, &[], &b, &bootstrap).unwrap_err().to_string();
        assert!(refused.contains("a setting has no run"));
        assert!(compare_seeds(&Metric::Exact, &a, &[b[0][1..].to_vec()], &bootstrap).is_err(), "another set of cases");
    }
}

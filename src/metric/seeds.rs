//! One setting trained with several seeds: the mean over seeds, with intervals that hold both kinds of chance.
//!
//! A resample draws cases (or groups) as in [`super::bootstrap`] and, apart from them, as many seeds as there are, with replacement: the
//! two-level bootstrap of Davison & Hinkley 1997, §3.8. With three seeds it is coarse; the seeds' own values are kept for the reader.
//! Two settings with the same number of seeds meet seed by seed, the first with the first and so on, as equal seeds share splits and
//! order; one that has no seed (a baseline) meets every seed of the other. Other numbers of seeds have no partners, and every side
//! draws its own: unpaired, so the interval is wider, but every seed of a side weighs the same.
use super::bootstrap::recentre;
use super::{Bootstrap, Difference, Estimate, ScoreTable, Statistic};
use crate::error::{Error, Result};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// A metric over seeds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seeded {
    /// Of the mean.
    pub estimate: Estimate,
    /// Of every seed.
    pub values: Vec<f64>,
}

/// The mean of a metric over runs (a table per seed) with its interval; None where it is undefined in a run.
pub fn over_seeds(runs: &[ScoreTable], key: &str, bootstrap: &Bootstrap) -> Result<Option<Seeded>> {
    let runs = aligned(runs.first(), runs)?;
    let statistics = column(&runs, key)?;
    let values = statistics.iter().map(|statistic| statistic.plain()).collect::<Option<Vec<f64>>>();
    let Some(values) = values else { return Ok(None) };
    let groups = runs[0].groups();
    let draws = bootstrap.map_numbered(&groups, |resample, weights| {
        let drawn = draw(runs.len(), bootstrap.seed, OWN + resample as u64);
        mean(drawn.into_iter().map(|seed| statistics[seed].value(weights)))
    });
    let mut draws: Vec<f64> = draws.into_iter().flatten().collect();
    let value = values.iter().sum::<f64>() / values.len() as f64;
    if statistics[0].needs_recentring() {
        recentre(&mut draws, value);
    }
    // where all seeds agree on nothing (or all) in every unit: the widest of their bounds, of the units and not of units times seeds
    let units = bootstrap.units(&groups);
    let exact = statistics.iter().filter_map(|statistic| bootstrap.alike(statistic, &units, value));
    let exact = exact.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
    let interval = exact.or_else(|| Some(statistics[0].within(bootstrap.interval(draws)?)));
    let estimate = interval.map(|(low, high)| Estimate { value, low, high, n: runs[0].cases() });
    Ok(estimate.map(|estimate| Seeded { estimate, values }))
}

/// mean(b) − mean(a), of tables that were scored together; see the file's header for which seed meets which.
pub fn compare_seeds(
    a: &[ScoreTable],
    b: &[ScoreTable],
    key: &str,
    bootstrap: &Bootstrap,
) -> Result<Option<Difference>> {
    let (a, b) = (aligned(a.first(), a)?, aligned(a.first(), b)?);
    let (first, second) = (column(&a, key)?, column(&b, key)?);
    let plain = |all: &[&Statistic]| mean(all.iter().map(|statistic| statistic.plain()));
    let (Some(from), Some(to)) = (plain(&first), plain(&second)) else { return Ok(None) };
    let draws = bootstrap.map_numbered(&a[0].groups(), |resample, weights| {
        let (of_a, of_b) = meeting(first.len(), second.len(), bootstrap.seed, resample as u64);
        let side = |all: &[&Statistic], drawn: Vec<usize>| mean(drawn.into_iter().map(|seed| all[seed].value(weights)));
        Some(side(&second, of_b)? - side(&first, of_a)?)
    });
    let (value, mut draws): (f64, Vec<f64>) = (to - from, draws.into_iter().flatten().collect());
    if first[0].needs_recentring() {
        recentre(&mut draws, value);
    }
    Ok(Difference::of(value, draws, a[0].cases(), bootstrap))
}

/// Every run in the order of the cases of `like`.
fn aligned(like: Option<&ScoreTable>, runs: &[ScoreTable]) -> Result<Vec<ScoreTable>> {
    let (Some(like), false) = (like, runs.is_empty()) else {
        return Err(Error::input("nothing to average: a setting has no run"));
    };
    runs.iter().map(|run| run.paired_with(like)).collect()
}

fn column<'a>(runs: &'a [ScoreTable], key: &str) -> Result<Vec<&'a Statistic>> {
    runs.iter().map(|run| Ok(&run.column(key)?.1)).collect()
}

/// Streams of the seeds' draws, apart from those of cases: of a setting with its partners, and of the other where they are no partners.
const OWN: u64 = 1 << 41;
const OTHER: u64 = 1 << 43;

/// The seeds of either side in a resample; see the file's header.
fn meeting(a: usize, b: usize, seed: u64, resample: u64) -> (Vec<usize>, Vec<usize>) {
    let (more, fewer) = (draw(a.max(b), seed, OWN + resample), draw(a.min(b), seed, OTHER + resample));
    match a.cmp(&b) {
        Ordering::Equal => (more.clone(), more),
        Ordering::Greater => (more, fewer),
        Ordering::Less => (fewer, more),
    }
}

/// As many seeds as there are, with replacement.
fn draw(seeds: usize, seed: u64, stream: u64) -> Vec<usize> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    (0..seeds).map(|_| rng.random_range(0..seeds)).collect()
}

fn mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let values = values.collect::<Option<Vec<f64>>>()?;
    Some(values.iter().sum::<f64>() / values.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::super::{Metric, Outcome};
    use super::*;

    type Runs = [Vec<Outcome>];

    fn over_seeds(metric: &Metric, runs: &Runs, bootstrap: &Bootstrap) -> Result<Option<Seeded>> {
        let sets: Vec<&[Outcome]> = runs.iter().map(Vec::as_slice).collect();
        super::over_seeds(&Metric::tables(std::slice::from_ref(metric), &sets), &metric.to_string(), bootstrap)
    }

    fn compare_seeds(metric: &Metric, a: &Runs, b: &Runs, bootstrap: &Bootstrap) -> Result<Option<Difference>> {
        let sets: Vec<&[Outcome]> = a.iter().chain(b).map(Vec::as_slice).collect();
        let tables = Metric::tables(std::slice::from_ref(metric), &sets);
        let (a, b) = tables.split_at(a.len());
        super::compare_seeds(a, b, &metric.to_string(), bootstrap)
    }

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
        let plain = bootstrap.estimates(&Metric::table(&[Metric::Exact], &run(|i| i % 2 == 0)));
        assert_eq!(Some(one.estimate), plain[0], "one seed is the plain bootstrap");
    }

    #[test]
    fn unequal_numbers_of_seeds_weigh_every_seed_alike() {
        // b's seeds are as far below a as above it; were b's first drawn twice as often as its second, b would look worse
        let bootstrap = Bootstrap::default();
        let a = [run(|i| i % 2 == 0), run(|i| i % 2 == 0), run(|i| i % 2 == 0)];
        let b = [run(|i| i < 20), run(|i| i < 80)];
        let found = compare_seeds(&Metric::Exact, &a, &b, &bootstrap).unwrap().unwrap();
        assert!(found.value.abs() < 1e-12 && found.p > 0.9, "{found:?}");
        let back = compare_seeds(&Metric::Exact, &b, &a, &bootstrap).unwrap().unwrap();
        assert!((back.low + found.high).abs() < 1e-9 && (back.high + found.low).abs() < 1e-9, "{back:?} {found:?}");
        for (a, b) in [(3, 2), (2, 3), (1, 3)] {
            let (of_a, of_b) = meeting(a, b, 7, 5);
            assert_eq!((of_a.len(), of_b.len()), (a, b));
            assert!(of_a.iter().all(|seed| *seed < a) && of_b.iter().all(|seed| *seed < b));
        }
        let (of_a, of_b) = meeting(3, 3, 7, 5);
        assert_eq!(of_a, of_b, "partners");
    }

    #[test]
    fn seeds_that_all_get_nothing_right_do_not_say_that_it_is_impossible() {
        let none = [run(|_| false), run(|_| false)];
        let found = over_seeds(&Metric::MicroF1, &none, &Bootstrap::default()).unwrap().unwrap();
        let bound = 1.0 - 0.025f64.powf(1.0 / 100.0);
        assert!(found.estimate.low == 0.0 && (found.estimate.high - bound).abs() < 1e-12, "{found:?}");
        // a mean over labels that is moved back stays in [0, 1]
        let nearly = [run(|i| i > 0), run(|i| i > 1)];
        let macro_f1 = over_seeds(&Metric::MacroF1(super::super::LabelSet::Union), &nearly, &Bootstrap::default());
        let estimate = macro_f1.unwrap().unwrap().estimate;
        assert!(estimate.low >= 0.0 && estimate.high <= 1.0, "{estimate:?}");
    }

    #[test]
    fn the_label_space_of_the_hamming_loss_is_that_of_all_runs() {
        let invents = |many: usize| -> Vec<Outcome> {
            let more = |case: Outcome| Outcome { predicted: (0..many).map(|k| format!("x{k}")).collect(), ..case };
            run(|_| true).into_iter().enumerate().map(|(i, case)| if i == 0 { more(case) } else { case }).collect()
        };
        let silent: Vec<Outcome> =
            run(|_| true).into_iter().map(|c| Outcome { predicted: Default::default(), ..c }).collect();
        let found = compare_seeds(&Metric::Hamming, &[silent], &[invents(3), invents(9)], &Bootstrap::default());
        // a and x0 to x8: 100 errors against (4 + 10)/2, of 100·10
        assert!((found.unwrap().unwrap().value - (7.0 - 100.0) / 1000.0).abs() < 1e-12);
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

//! Tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011): where to look next, given what was seen.
//!
//! ```text
//! the best tenth of the points → density l,   the rest → density g,   next = argmax l(x)/g(x) over draws from l
//! ```
//!
//! Every key on its own. A density is a mixture with equal weights of a kernel a point and the prior: for a number truncated
//! normals, as wide as the gap to the farther neighbour but not below range/(n + 2); for a choice one plus the prior over its
//! values. These are optuna's rules (its defaults, up to 24 points a side). The first points are drawn from the prior.
use super::space::{Point, Range, Space};
use crate::error::Result;
use candle_core::cpu::erf::erf_f64;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::f64::consts::{PI, SQRT_2, TAU};

#[derive(Clone, Debug)]
pub struct Tpe {
    pub seed: u64,
    /// Points drawn from the prior before anything is learnt.
    pub startup: usize,
    /// Draws of which the best is taken.
    pub candidates: usize,
}

impl Tpe {
    pub fn new(seed: u64, startup: usize) -> Self {
        Self { seed, startup, candidates: 24 }
    }

    /// The next point after those in `ranked`, the best first. The same points give the same next one.
    pub fn suggest(&self, space: &Space, ranked: &[&Point]) -> Result<Point> {
        super::space::check(space)?;
        let mut dice = ChaCha8Rng::seed_from_u64(self.seed);
        dice.set_stream(ranked.len() as u64);
        let learnt: &[&Point] = if ranked.len() < self.startup { &[] } else { ranked };
        let (good, rest) = learnt.split_at(learnt.len().div_ceil(10).min(25));
        let along = |(key, range): (&String, &Range)| {
            let of = |points: &[&Point]| points.iter().filter_map(|point| point.get(key).copied()).collect::<Vec<_>>();
            let (l, g) = (Density::of(range, &of(good)), Density::of(range, &of(rest)));
            let draws = if learnt.is_empty() { 1 } else { self.candidates };
            let drawn = (0..draws).map(|_| l.draw(&mut dice)).map(|x| (x, l.log(x) - g.log(x)));
            let best = drawn.reduce(|best, other| if other.1 > best.1 { other } else { best });
            (key.clone(), best.map_or(0.0, |(x, _)| x))
        };
        Ok(space.iter().map(along).collect())
    }
}

/// A density over one key's coordinates.
#[derive(Clone, Debug, PartialEq)]
pub enum Density {
    /// (mean, width) of kernels of equal weight, each truncated to the range.
    CpuSlice { kernels: Vec<(f64, f64)>, low: f64, high: f64 },
    /// Probability of every value.
    Choices(Vec<f64>),
}

impl Density {
    /// Of the points seen and the prior.
    pub fn of(range: &Range, seen: &[f64]) -> Self {
        match range.ends() {
            Some((low, high)) => {
                let mut kernels: Vec<(f64, f64)> = widths(seen, low, high);
                kernels.push((0.5 * (low + high), high - low));
                Self::CpuSlice { kernels, low, high }
            }
            None => {
                let Range::Choice(values) = range else { return Self::Choices(vec![]) };
                let (count, kernels) = (values.len() as f64, seen.len() as f64 + 1.0);
                // a point's kernel: one for its value and 1/kernels for every value, then made to sum to 1
                let share = |i: usize| {
                    let here = seen.iter().filter(|&&x| x as usize == i).count() as f64;
                    (here + seen.len() as f64 / kernels) / (1.0 + count / kernels)
                };
                Self::Choices((0..values.len()).map(|i| (share(i) + 1.0 / count) / kernels).collect())
            }
        }
    }

    /// ln of the density; of a value of a choice ln of its probability.
    pub fn log(&self, x: f64) -> f64 {
        match self {
            Self::Choices(p) => p.get(x as usize).map_or(f64::NEG_INFINITY, |p| p.ln()),
            Self::CpuSlice { kernels, low, high } => {
                let kernel = |&(mean, width): &(f64, f64)| {
                    let z = (x - mean) / width;
                    let inside = below((high - mean) / width) - below((low - mean) / width);
                    (-0.5 * z * z).exp() / (width * TAU.sqrt() * inside)
                };
                (kernels.iter().map(kernel).sum::<f64>() / kernels.len() as f64).ln()
            }
        }
    }

    fn draw(&self, dice: &mut ChaCha8Rng) -> f64 {
        match self {
            Self::Choices(p) => {
                let (u, mut sum) = (dice.random::<f64>(), 0.0);
                let hit = p.iter().position(|p| {
                    sum += p;
                    u < sum
                });
                hit.unwrap_or(p.len().saturating_sub(1)) as f64
            }
            Self::CpuSlice { kernels, low, high } => {
                let (mean, width) = kernels[dice.random_range(0..kernels.len())];
                // a mean lies in the range and a width is at most the range: every third draw at least is inside
                loop {
                    let radius = (-2.0 * (1.0 - dice.random::<f64>()).ln()).sqrt();
                    let x = mean + width * radius * (2.0 * PI * dice.random::<f64>()).cos();
                    if (*low..=*high).contains(&x) {
                        return x;
                    }
                }
            }
        }
    }
}

/// (point, width): the larger gap to a neighbour, of the outermost points the only one; between range/(n + 2) and range.
fn widths(seen: &[f64], low: f64, high: f64) -> Vec<(f64, f64)> {
    let mut sorted = seen.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (n, range) = (sorted.len(), high - low);
    let width = |i: usize| {
        let left = if i > 0 { sorted[i] - sorted[i - 1] } else { sorted[i] - low };
        let right = if i + 1 < n { sorted[i + 1] - sorted[i] } else { high - sorted[i] };
        let gap = match i {
            0 if n > 1 => right,
            i if n > 1 && i + 1 == n => left,
            _ => left.max(right),
        };
        (sorted[i], gap.clamp(range / (n as f64 + 2.0).min(100.0), range))
    };
    (0..n).map(width).collect()
}

/// Φ
fn below(z: f64) -> f64 {
    0.5 * (1.0 + erf_f64(z / SQRT_2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space() -> Space {
        toml::from_str(
            "lr = { log_uniform = [1e-5, 1e-1] }\ndropout = { uniform = [0, 1] }\nkind = { choice = [\"a\", \"b\", \"c\"] }",
        )
        .unwrap()
    }

    /// Least at lr = 1e-3, dropout = 0.2, kind = c, where it is 0.
    fn bowl(point: &Point) -> f64 {
        let lr = (point["lr"] - 1e-3f64.ln()) / 10f64.ln();
        lr * lr + 4.0 * (point["dropout"] - 0.2).powi(2) + if point["kind"] == 2.0 { 0.0 } else { 0.5 }
    }

    /// The best of `trials` points.
    fn best(tpe: &Tpe, trials: usize) -> f64 {
        let mut seen: Vec<(f64, Point)> = Vec::new();
        for _ in 0..trials {
            seen.sort_by(|a, b| a.0.total_cmp(&b.0));
            let ranked: Vec<&Point> = seen.iter().map(|(_, point)| point).collect();
            let point = tpe.suggest(&space(), &ranked).unwrap();
            seen.push((bowl(&point), point));
        }
        seen.iter().map(|(value, _)| *value).fold(f64::INFINITY, f64::min)
    }

    #[test]
    fn it_finds_the_bottom_sooner_than_random_draws() {
        let mean = |startup: usize| (0..30).map(|seed| best(&Tpe::new(seed, startup), 50)).sum::<f64>() / 30.0;
        let (tpe, random) = (mean(10), mean(usize::MAX));
        assert!(tpe < 0.5 * random, "the best of 50: {tpe} by TPE, {random} at random");
    }

    #[test]
    fn points_stay_in_their_ranges_and_follow_from_the_seed_and_what_was_seen() {
        let (space, tpe) = (space(), Tpe::new(3, 4));
        let (mut seen, mut again) = (Vec::<Point>::new(), Vec::<Point>::new());
        for points in [&mut seen, &mut again] {
            for _ in 0..30 {
                let point = tpe.suggest(&space, &points.iter().collect::<Vec<_>>()).unwrap();
                assert!(
                    (1e-5f64.ln()..=1e-1f64.ln()).contains(&point["lr"]) && (0.0..=1.0).contains(&point["dropout"])
                );
                assert!([0.0, 1.0, 2.0].contains(&point["kind"]));
                points.push(point);
            }
        }
        assert_eq!(seen, again);
        assert_ne!(seen[0], Tpe::new(4, 4).suggest(&space, &[]).unwrap());
    }

    #[test]
    fn a_density_sums_to_one() {
        let space = space();
        let seen = [-11.0, -7.0, -6.9, -3.0];
        let density = Density::of(&space["lr"], &seen);
        let (low, high) = space["lr"].ends().unwrap();
        let step = (high - low) / 20_000.0;
        let sum: f64 = (0..20_000).map(|i| density.log(low + (i as f64 + 0.5) * step).exp() * step).sum();
        assert!((sum - 1.0).abs() < 1e-6, "{sum}");
        let Density::Choices(p) = Density::of(&space["kind"], &[2.0, 2.0, 0.0]) else { panic!() };
        assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-12 && p[2] > p[0] && p[0] > p[1]);
    }
}

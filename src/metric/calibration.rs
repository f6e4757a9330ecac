//! Does a model know when it is right? The log-probability of a generated label set against how right the set is: exactly (0 or 1),
//! or by its F1 with the gold set.
//!
//! Two questions, answered apart. *Ranking*: are confident answers better ones? Cases are taken in order of confidence; the risk at a
//! coverage is the mean loss (1 − outcome) of those taken, AURC the mean risk over all coverages (Geifman & El-Yaniv 2017), selective
//! accuracy the mean outcome at a coverage. Cases of equal confidence are taken in random order, in expectation.
//! *Probability*: is an answer of probability p right in a share p of cases? Expected calibration error over bins of equal mass,
//! Σ n_b/n·|mean p − mean outcome|, and the Brier score, mean (p − outcome)². The raw probability of a sequence is exp(log p), or
//! exp(log p / tokens) per token; the scaled one σ(a·s + b) of the same s (Platt 1999; the temperature is 1/a), fitted on half of the
//! groups and judged on the other half, as the raw one is.
use super::proportion::wilson_share;
use super::{Bootstrap, Estimate};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Bins of the expected calibration error.
pub const BINS: usize = 10;
/// Coverages at which selective accuracy is given.
pub const COVERAGES: [f64; 4] = [0.1, 0.25, 0.5, 1.0];

/// One answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    pub group: String,
    /// Sum over the answer's tokens and its end, natural logarithm.
    pub logprob: f64,
    /// Tokens of the answer, at least 1.
    pub tokens: usize,
    /// How right it is, in [0, 1].
    pub outcome: f64,
}

/// What is made of a log-probability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// That of the whole answer.
    Sequence,
    /// Divided by the number of tokens: long answers are not unlikely for their length alone.
    PerToken,
}

impl Signal {
    pub fn of(self, case: &Scored) -> f64 {
        match self {
            Signal::Sequence => case.logprob,
            Signal::PerToken => case.logprob / case.tokens.max(1) as f64,
        }
    }
}

/// p = σ(a·s + b).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Platt {
    pub a: f64,
    pub b: f64,
}

impl Platt {
    pub fn probability(&self, score: f64) -> f64 {
        1.0 / (1.0 + (-(self.a * score + self.b)).exp())
    }
}

/// One bin of a reliability curve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    pub n: usize,
    /// Mean probability.
    pub confidence: f64,
    /// Mean outcome with its 95 % Wilson interval (wider than need be where outcomes are not 0 or 1).
    pub outcome: f64,
    pub low: f64,
    pub high: f64,
}

/// How good probabilities are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Expected calibration error; resampled values lie too high and are moved back by the difference of their means.
    pub error: Estimate,
    pub brier: Estimate,
    pub bins: Vec<Bin>,
}

/// Mean outcome of the most confident answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Selective {
    pub coverage: f64,
    pub accuracy: Estimate,
}

/// See the file's header.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    pub signal: Signal,
    /// Cases that `platt` was fitted on; `raw` and `scaled` are of the others.
    pub fitted_on: usize,
    pub platt: Platt,
    pub raw: Quality,
    pub scaled: Quality,
    /// Brier score, on the same other cases, of always saying the mean outcome of the fitted part: what a useful probability beats.
    pub constant_brier: f64,
    /// Of all cases.
    pub aurc: Estimate,
    /// AURC of a random order: the mean loss.
    pub random_aurc: f64,
    /// AURC of the best order there is.
    pub best_aurc: f64,
    pub selective: Vec<Selective>,
    /// (coverage, risk) at up to a hundred coverages.
    pub risks: Vec<(f64, f64)>,
}

/// Ranking and calibration of one signal. None with fewer than two cases a bin on either side of the split, or with a log-probability that
/// is not finite.
pub fn calibrate(cases: &[Scored], signal: Signal, bootstrap: &Bootstrap) -> Option<Calibration> {
    let (fit, rest) = halves(cases, bootstrap);
    if fit.len().min(rest.len()) < 2 * BINS || cases.iter().any(|case| !case.logprob.is_finite()) {
        return None;
    }
    let scores = |of: &[&Scored]| of.iter().map(|case| signal.of(case)).collect::<Vec<_>>();
    let outcomes = |of: &[&Scored]| of.iter().map(|case| case.outcome).collect::<Vec<_>>();
    let platt = platt(&scores(&fit), &outcomes(&fit));
    let base = outcomes(&fit).iter().sum::<f64>() / fit.len() as f64;
    let raw: Vec<f64> = scores(&rest).iter().map(|s| s.exp().min(1.0)).collect();
    let scaled: Vec<f64> = scores(&rest).iter().map(|&s| platt.probability(s)).collect();
    let groups: Vec<&str> = rest.iter().map(|case| case.group.as_str()).collect();
    let all: Vec<&Scored> = cases.iter().collect();
    let losses: Vec<f64> = cases.iter().map(|case| 1.0 - case.outcome).collect();
    let ranking = Ranking { scores: scores(&all), losses, groups: all.iter().map(|c| c.group.as_str()).collect() };
    let (aurc, selective) = ranking.estimates(bootstrap)?;
    Some(Calibration {
        signal,
        fitted_on: fit.len(),
        platt,
        raw: quality(&raw, &outcomes(&rest), &groups, bootstrap)?,
        scaled: quality(&scaled, &outcomes(&rest), &groups, bootstrap)?,
        constant_brier: brier(&vec![base; rest.len()], &outcomes(&rest))?,
        aurc,
        random_aurc: mean(&ranking.losses),
        best_aurc: mean(&risk_coverage(&ranking.losses.iter().map(|loss| -loss).collect::<Vec<_>>(), &ranking.losses)),
        selective,
        risks: thinned(&risk_coverage(&ranking.scores, &ranking.losses)),
    })
}

/// The groups in two halves, by a shuffle of the bootstrap's seed.
fn halves<'a>(cases: &'a [Scored], bootstrap: &Bootstrap) -> (Vec<&'a Scored>, Vec<&'a Scored>) {
    let distinct: BTreeSet<&str> = cases.iter().map(|case| case.group.as_str()).collect();
    let mut order: Vec<&str> = distinct.into_iter().collect();
    let mut rng = ChaCha8Rng::seed_from_u64(bootstrap.seed);
    rng.set_stream(1 << 42);
    order.shuffle(&mut rng);
    let first: BTreeSet<&str> = order[..order.len() / 2].iter().copied().collect();
    cases.iter().partition(|case| first.contains(case.group.as_str()))
}

/// Logistic regression of outcomes on one score, with Platt's targets (N₊+1)/(N₊+2) and 1/(N₋+2) in place of 1 and 0, which keep it finite
/// where the outcomes are separated; outcomes between are mixed. Newton's method with step halving.
pub fn platt(scores: &[f64], outcomes: &[f64]) -> Platt {
    let (right, n) = (outcomes.iter().sum::<f64>(), outcomes.len() as f64);
    let (high, low) = ((right + 1.0) / (right + 2.0), 1.0 / (n - right + 2.0));
    let targets: Vec<f64> = outcomes.iter().map(|y| y * high + (1.0 - y) * low).collect();
    // centred and scaled, so that log-probabilities in the hundreds do not make the equations stiff
    let centre = mean(scores);
    let spread = (scores.iter().map(|s| (s - centre).powi(2)).sum::<f64>() / n).sqrt().max(1e-12);
    let x: Vec<f64> = scores.iter().map(|s| (s - centre) / spread).collect();
    let loss = |p: Platt| {
        let of = |(x, t): (&f64, &f64)| {
            let z = p.a * x + p.b;
            z.max(0.0) - z * t + (-z.abs()).exp().ln_1p()
        };
        x.iter().zip(&targets).map(of).sum::<f64>()
    };
    let mut at = Platt { a: 0.0, b: ((right + 1.0) / (n - right + 1.0)).ln() };
    for _ in 0..100 {
        let (mut g, mut h) = ([0.0; 2], [1e-12, 0.0, 1e-12]);
        for (x, t) in x.iter().zip(&targets) {
            let p = at.probability(*x);
            let (d, w) = (p - t, p * (1.0 - p));
            g = [g[0] + d * x, g[1] + d];
            h = [h[0] + w * x * x, h[1] + w * x, h[2] + w];
        }
        let determinant = h[0] * h[2] - h[1] * h[1];
        let step = [(h[2] * g[0] - h[1] * g[1]) / determinant, (h[0] * g[1] - h[1] * g[0]) / determinant];
        let moved = |by: f64| Platt { a: at.a - by * step[0], b: at.b - by * step[1] };
        let size = (0..30).map(|k| 0.5f64.powi(k)).find(|&by| loss(moved(by)) <= loss(at));
        let Some(size) = size.filter(|_| step.iter().all(|s| s.is_finite())) else { break };
        at = moved(size);
        if step.iter().all(|s| s.abs() < 1e-12) {
            break;
        }
    }
    Platt { a: at.a / spread, b: at.b - at.a * centre / spread }
}

/// Mean (p − outcome)². None without cases.
pub fn brier(probabilities: &[f64], outcomes: &[f64]) -> Option<f64> {
    let sum: f64 = probabilities.iter().zip(outcomes).map(|(p, y)| (p - y).powi(2)).sum();
    (!outcomes.is_empty()).then(|| sum / outcomes.len() as f64)
}

/// A reliability curve of `count` bins of equal mass in order of probability (numpy's `array_split`; equal probabilities in the order
/// of the cases). Empty bins are left out.
pub fn bins(probabilities: &[f64], outcomes: &[f64], count: usize) -> Vec<Bin> {
    let mut order: Vec<usize> = (0..outcomes.len()).collect();
    order.sort_by(|&i, &j| probabilities[i].total_cmp(&probabilities[j]));
    let (size, more) = (order.len() / count.max(1), order.len() % count.max(1));
    let bin = |k: usize| {
        let start = k * size + k.min(more);
        let part = &order[start..start + size + usize::from(k < more)];
        let mean = |of: &[f64]| part.iter().map(|&i| of[i]).sum::<f64>() / part.len() as f64;
        let share = wilson_share(mean(outcomes), part.len(), 0.95)?;
        let Estimate { value: outcome, low, high, n } = share;
        Some(Bin { n, confidence: mean(probabilities), outcome, low, high })
    };
    (0..count).filter_map(bin).collect()
}

/// Σ n_b/n·|confidence − outcome| over [`bins`]. None without cases.
pub fn calibration_error(probabilities: &[f64], outcomes: &[f64], count: usize) -> Option<f64> {
    let n = outcomes.len() as f64;
    let gap = |bin: Bin| bin.n as f64 / n * (bin.confidence - bin.outcome).abs();
    (!outcomes.is_empty()).then(|| bins(probabilities, outcomes, count).into_iter().map(gap).sum())
}

/// Mean loss of the k most confident cases for k = 1 … n; losses of equal scores are shared out evenly.
///
/// `risk_coverage([3, 1, 2], [0, 1, 1]) = [0, 1/2, 2/3]`
pub fn risk_coverage(scores: &[f64], losses: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&i, &j| scores[j].total_cmp(&scores[i]));
    let (mut risks, mut sum) = (Vec::with_capacity(order.len()), 0.0);
    for tie in order.chunk_by(|&i, &j| scores[i] == scores[j]) {
        let each = tie.iter().map(|&i| losses[i]).sum::<f64>() / tie.len() as f64;
        for _ in tie {
            sum += each;
            risks.push(sum / (risks.len() + 1) as f64);
        }
    }
    risks
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Each case as often as its weight.
fn repeated(of: &[f64], weights: &[u32]) -> Vec<f64> {
    of.iter().zip(weights).flat_map(|(&value, &weight)| std::iter::repeat_n(value, weight as usize)).collect()
}

fn quality(p: &[f64], y: &[f64], groups: &[&str], bootstrap: &Bootstrap) -> Option<Quality> {
    let draws = bootstrap.map_groups(groups, |weights| {
        let (p, y) = (repeated(p, weights), repeated(y, weights));
        Some((calibration_error(&p, &y, BINS)?, brier(&p, &y)?))
    });
    let (mut errors, briers): (Vec<f64>, Vec<f64>) = draws.into_iter().flatten().unzip();
    let estimate = |value: f64, draws: Vec<f64>| {
        let (low, high) = bootstrap.interval(draws)?;
        Some(Estimate { value, low: low.max(0.0), high, n: y.len() })
    };
    let error = calibration_error(p, y, BINS)?;
    super::bootstrap::recentre(&mut errors, error);
    Some(Quality { error: estimate(error, errors)?, brier: estimate(brier(p, y)?, briers)?, bins: bins(p, y, BINS) })
}

struct Ranking<'a> {
    scores: Vec<f64>,
    losses: Vec<f64>,
    groups: Vec<&'a str>,
}

impl Ranking<'_> {
    /// AURC and the accuracies at [`COVERAGES`] with their intervals.
    fn estimates(&self, bootstrap: &Bootstrap) -> Option<(Estimate, Vec<Selective>)> {
        let draws = bootstrap.map_groups(&self.groups, |weights| {
            summary(&repeated(&self.scores, weights), &repeated(&self.losses, weights))
        });
        let values = summary(&self.scores, &self.losses);
        let estimate = |i: usize| {
            let (low, high) = bootstrap.interval(draws.iter().map(|draw| draw[i]).collect())?;
            Some(Estimate { value: values[i], low, high, n: self.losses.len() })
        };
        let selective = |(i, coverage): (usize, f64)| Some(Selective { coverage, accuracy: estimate(i + 1)? });
        Some((estimate(0)?, COVERAGES.into_iter().enumerate().map(selective).collect::<Option<_>>()?))
    }
}

/// AURC, then the accuracy at each of [`COVERAGES`].
fn summary(scores: &[f64], losses: &[f64]) -> Vec<f64> {
    let risks = risk_coverage(scores, losses);
    let taken = |coverage: f64| (coverage * risks.len() as f64).ceil() as usize;
    let accuracy = |coverage: f64| 1.0 - risks[taken(coverage).clamp(1, risks.len()) - 1];
    std::iter::once(mean(&risks)).chain(COVERAGES.map(accuracy)).collect()
}

/// Every risk, or the risks nearest to whole percents of coverage.
fn thinned(risks: &[f64]) -> Vec<(f64, f64)> {
    let n = risks.len();
    let points = n.min(100);
    let at = |i: usize| {
        let k = (i * n).div_ceil(points);
        (k as f64 / n as f64, risks[k - 1])
    };
    (1..=points).map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Unit;
    use super::*;
    use crate::corpus::synthetic::dice::Dice;

    /// Answers that are right with probability σ(s + 1), s their log-probability.
    fn honest(n: usize) -> Vec<Scored> {
        let mut dice = Dice::new(3, 0);
        let case = |i: usize| {
            let logprob = -6.0 * dice.unit();
            let right = dice.chance(1.0 / (1.0 + (-logprob - 1.0).exp()));
            Scored { group: format!("g{}", i / 2), logprob, tokens: 4, outcome: f64::from(right) }
        };
        (0..n).map(case).collect()
    }

    #[test]
    fn scaling_finds_the_truth_and_ranking_beats_chance() {
        let found =
            calibrate(&honest(2000), Signal::Sequence, &Bootstrap { resamples: 200, ..Default::default() }).unwrap();
        assert!((found.platt.a - 1.0).abs() < 0.2 && (found.platt.b - 1.0).abs() < 0.3, "{:?}", found.platt);
        assert!(found.scaled.error.value < 0.05 && found.scaled.error.value < found.raw.error.value);
        assert!(found.scaled.brier.value < found.constant_brier && found.scaled.brier.value < found.raw.brier.value);
        assert!(found.best_aurc < found.aurc.value && found.aurc.high < found.random_aurc);
        assert!(found.selective[0].accuracy.value > found.selective[3].accuracy.value);
        assert_eq!((found.fitted_on, found.raw.brier.n, found.risks.len()), (1000, 1000, 100));
        assert!((found.risks[99].1 - found.random_aurc).abs() < 1e-12 && found.risks[0].0 == 0.01);
        assert!(calibrate(&honest(30), Signal::Sequence, &Bootstrap::default()).is_none(), "too few");
    }

    #[test]
    fn groups_are_never_split_and_per_token_divides_by_length() {
        let cases = honest(101);
        let (fit, rest) = halves(&cases, &Bootstrap { unit: Unit::Group, ..Default::default() });
        let names = |of: &[&Scored]| of.iter().map(|case| case.group.clone()).collect::<BTreeSet<_>>();
        assert!(names(&fit).is_disjoint(&names(&rest)) && fit.len() + rest.len() == 101);
        assert_eq!(Signal::PerToken.of(&Scored { group: "g".into(), logprob: -2.0, tokens: 4, outcome: 1.0 }), -0.5);
    }

    #[test]
    fn ties_are_taken_in_expectation_and_outcomes_that_never_vary_stay_finite() {
        assert_eq!(risk_coverage(&[3.0, 1.0, 2.0], &[0.0, 1.0, 1.0]), [0.0, 0.5, 2.0 / 3.0]);
        assert_eq!(risk_coverage(&[1.0, 1.0], &[0.0, 1.0]), [0.5, 0.5]);
        assert!(
            risk_coverage(&[], &[]).is_empty()
                && brier(&[], &[]).is_none()
                && calibration_error(&[], &[], 10).is_none()
        );
        let never = platt(&[-3.0, -2.0, -1.0], &[0.0; 3]);
        assert!(never.a.is_finite() && never.probability(-2.0) < 0.5, "{never:?}");
        let same = platt(&[-2.0; 4], &[0.0, 1.0, 1.0, 1.0]);
        assert!((same.probability(-2.0) - 0.6).abs() < 0.2, "{same:?}");
        let apart = platt(&[-300.0, -200.0, -2.0, -1.0], &[0.0, 0.0, 1.0, 1.0]);
        assert!(apart.a > 0.0 && apart.a.is_finite() && apart.probability(-1.0) > 0.6, "{apart:?}");
    }
}

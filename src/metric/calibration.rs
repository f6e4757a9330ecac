//! Does a model know when it is right? The log-probability of a generated label set against how right the set is: exactly (0 or 1),
//! or by its F1 with the gold set.
//!
//! Two questions, answered apart. *Ranking*: are confident answers better ones? Cases are taken in order of confidence; the risk at a
//! coverage is the mean loss (1 − outcome) of those taken, AURC the mean risk over all coverages (Geifman & El-Yaniv 2017), selective
//! accuracy the mean outcome at a coverage. Cases of equal confidence are taken in random order, in expectation.
//! *Probability*: is an answer of probability p right in a share p of cases? Expected calibration error over bins of equal mass,
//! Σ n_b/n·|mean p − mean outcome|, and the Brier score, mean (p − outcome)². The raw probability of a sequence is exp(s), s its log p, or
//! log p / tokens per token. Two scalings of it: by a temperature, exp(s/T), one parameter that can only sharpen or blunt (Guo et al.
//! 2017 divide a classifier's logits; here s itself is divided, as a sequence has no list of alternatives to normalise over); and
//! σ(a·s + b), two parameters that can also shift (Platt 1999). Both are fitted on one half of the groups, drawn by the bootstrap's seed,
//! and judged on the other half, as the raw one is.
use super::proportion::{unanimous, wilson_share};
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
    /// Cases.
    pub n: usize,
    /// Units (groups) among them; 0 in files of older versions.
    #[serde(default)]
    pub units: usize,
    /// Mean probability.
    pub confidence: f64,
    /// Mean outcome with its 95 % Wilson interval, of as many draws as there are units: as if the cases of a group were all alike. Wider
    /// than need be where they are not, and where outcomes are not 0 or 1.
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
    /// Cases that `temperature` and `platt` were fitted on; `raw`, `tempered` and `scaled` are of the others.
    pub fitted_on: usize,
    /// T of exp(s/T); none in files of older versions.
    #[serde(default)]
    pub temperature: Option<f64>,
    pub platt: Platt,
    pub raw: Quality,
    /// By the temperature; none as above.
    #[serde(default)]
    pub tempered: Option<Quality>,
    /// By `platt`.
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
    let (platt, temperature) = (platt(&scores(&fit), &outcomes(&fit)), temperature(&scores(&fit), &outcomes(&fit))?);
    let base = outcomes(&fit).iter().sum::<f64>() / fit.len() as f64;
    let raw: Vec<f64> = scores(&rest).iter().map(|s| s.exp().min(1.0)).collect();
    let tempered: Vec<f64> = scores(&rest).iter().map(|s| (s / temperature).exp().min(1.0)).collect();
    let scaled: Vec<f64> = scores(&rest).iter().map(|&s| platt.probability(s)).collect();
    let groups: Vec<&str> = rest.iter().map(|case| case.group.as_str()).collect();
    let all: Vec<&Scored> = cases.iter().collect();
    let losses: Vec<f64> = cases.iter().map(|case| 1.0 - case.outcome).collect();
    let ranking = Ranking { scores: scores(&all), losses, groups: all.iter().map(|c| c.group.as_str()).collect() };
    let (aurc, selective) = ranking.estimates(bootstrap)?;
    Some(Calibration {
        signal,
        fitted_on: fit.len(),
        temperature: Some(temperature),
        platt,
        raw: quality(&raw, &outcomes(&rest), &groups, bootstrap)?,
        tempered: Some(quality(&tempered, &outcomes(&rest), &groups, bootstrap)?),
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

/// Platt's targets, (N₊+1)/(N₊+2) and 1/(N₋+2) in place of 1 and 0; outcomes between are mixed. They keep a fit finite where all
/// outcomes are alike, or separated.
fn targets(outcomes: &[f64]) -> Vec<f64> {
    let (right, n) = (outcomes.iter().sum::<f64>(), outcomes.len() as f64);
    let (high, low) = ((right + 1.0) / (right + 2.0), 1.0 / (n - right + 2.0));
    outcomes.iter().map(|y| y * high + (1.0 - y) * low).collect()
}

/// The temperature T > 0 with the least cross-entropy of exp(s/T), s ≤ 0 the scores, against the outcomes by [`targets`]. None without
/// cases.
///
/// In x = 1/T the loss −t·s·x − (1 − t)·ln(1 − exp(s·x)) is convex and its slope goes from −∞ to above 0, so there is one root, found
/// by halving ln x. With one score s for all it is s / ln(mean target): the probability is then the mean target.
pub fn temperature(scores: &[f64], outcomes: &[f64]) -> Option<f64> {
    let targets = targets(outcomes);
    let s: Vec<f64> = scores.iter().map(|s| s.min(-1e-9)).collect(); // exp(0) is 1 at any temperature
    let slope = |x: f64| s.iter().zip(&targets).map(|(s, t)| (1.0 - t) * s / (-s * x).exp_m1() - t * s).sum::<f64>();
    let (mut low, mut high) = (-40.0f64, 40.0f64);
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        if slope(middle.exp()) < 0.0 { low = middle } else { high = middle }
    }
    (!s.is_empty()).then(|| (-0.5 * (low + high)).exp())
}

/// Logistic regression of outcomes on one score, by [`targets`]. Newton's method with step halving.
pub fn platt(scores: &[f64], outcomes: &[f64]) -> Platt {
    let (right, n) = (outcomes.iter().sum::<f64>(), outcomes.len() as f64);
    let targets = targets(outcomes);
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
/// of the cases). Empty bins are left out. `units[i]` is the unit (group) of case i, see [`Bootstrap::unit_of`].
pub fn bins(probabilities: &[f64], outcomes: &[f64], units: &[usize], count: usize) -> Vec<Bin> {
    let bin = |part: Vec<usize>| {
        let independent = part.iter().map(|&i| units[i]).collect::<BTreeSet<_>>().len();
        let Estimate { value: outcome, low, high, n: units } =
            wilson_share(mean_of(outcomes, &part), independent, 0.95)?;
        Some(Bin { n: part.len(), units, confidence: mean_of(probabilities, &part), outcome, low, high })
    };
    equal_mass(probabilities, count).into_iter().filter_map(bin).collect()
}

/// The cases of every bin; see [`bins`].
fn equal_mass(probabilities: &[f64], count: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|&i, &j| probabilities[i].total_cmp(&probabilities[j]));
    let (size, more) = (order.len() / count.max(1), order.len() % count.max(1));
    let bin = |k: usize| {
        let start = k * size + k.min(more);
        order[start..start + size + usize::from(k < more)].to_vec()
    };
    (0..count).map(bin).collect()
}

fn mean_of(values: &[f64], part: &[usize]) -> f64 {
    part.iter().map(|&i| values[i]).sum::<f64>() / part.len() as f64
}

/// Σ n_b/n·|confidence − outcome| over [`bins`]. None without cases.
pub fn calibration_error(probabilities: &[f64], outcomes: &[f64], count: usize) -> Option<f64> {
    let n = outcomes.len() as f64;
    let filled = equal_mass(probabilities, count).into_iter().filter(|part| !part.is_empty());
    let gap =
        |part: Vec<usize>| part.len() as f64 / n * (mean_of(probabilities, &part) - mean_of(outcomes, &part)).abs();
    (!outcomes.is_empty()).then(|| filled.map(gap).sum())
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
        Some(Estimate { value, low: low.max(0.0), high: high.min(1.0), n: y.len() })
    };
    let error = calibration_error(p, y, BINS)?;
    super::bootstrap::recentre(&mut errors, error);
    let bins = bins(p, y, &bootstrap.unit_of(groups), BINS);
    Some(Quality { error: estimate(error, errors)?, brier: estimate(brier(p, y)?, briers)?, bins })
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
        let (values, units) = (summary(&self.scores, &self.losses), bootstrap.unit_of(&self.groups));
        let estimate = |i: usize, exact: &dyn Fn(f64) -> Option<(f64, f64)>| {
            let (low, high) = bootstrap.interval(draws.iter().map(|draw| draw[i]).collect())?;
            let point = (low == high).then(|| exact(values[i])).flatten(); // all right or all wrong, whatever is drawn
            let (low, high) = point.unwrap_or((low, high));
            Some(Estimate { value: values[i], low, high, n: self.losses.len() })
        };
        let selective = |(i, coverage): (usize, f64)| {
            let units = self.most_confident(coverage, &units);
            let accuracy = estimate(i + 1, &|value| unanimous(value, units, bootstrap.level))?;
            Some(Selective { coverage, accuracy })
        };
        let all = self.most_confident(1.0, &units);
        let aurc = estimate(0, &|value| unanimous(value, all, bootstrap.level).map(area))?;
        Some((aurc, COVERAGES.into_iter().enumerate().map(selective).collect::<Option<_>>()?))
    }

    /// Units among the most confident cases.
    fn most_confident(&self, coverage: f64, units: &[usize]) -> usize {
        let mut order: Vec<usize> = (0..self.scores.len()).collect();
        order.sort_by(|&i, &j| self.scores[j].total_cmp(&self.scores[i]));
        order[..taken(coverage, order.len())].iter().map(|&i| units[i]).collect::<BTreeSet<_>>().len()
    }
}

/// The interval of an AURC from that of the share of losses, 0 to q or 1 − q to 1. If a share q of the cases had another loss than
/// seen and stood where it moves the area most, among the most confident, the risk at coverage c would be min(1, q/c) or
/// 1 − min(1, q/c), and the area q·(1 − ln q) or 1 − q·(1 − ln q).
fn area((low, high): (f64, f64)) -> (f64, f64) {
    let most = |q: f64| q * (1.0 - q.ln());
    if low == 0.0 { (0.0, most(high)) } else { (1.0 - most(1.0 - low), 1.0) }
}

/// The most confident cases at a coverage, at least one.
fn taken(coverage: f64, cases: usize) -> usize {
    ((coverage * cases as f64).ceil() as usize).clamp(1, cases)
}

/// AURC, then the accuracy at each of [`COVERAGES`].
fn summary(scores: &[f64], losses: &[f64]) -> Vec<f64> {
    let risks = risk_coverage(scores, losses);
    let accuracy = |coverage: f64| 1.0 - risks[taken(coverage, risks.len()) - 1];
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
        assert!(
            found.tempered.as_ref().unwrap().error.value < found.raw.error.value,
            "a temperature is better than none"
        );
        assert!(found.scaled.brier.value < found.constant_brier && found.scaled.brier.value < found.raw.brier.value);
        assert!(found.best_aurc < found.aurc.value && found.aurc.high < found.random_aurc);
        assert!(found.selective[0].accuracy.value > found.selective[3].accuracy.value);
        assert_eq!((found.fitted_on, found.raw.brier.n, found.risks.len()), (1000, 1000, 100));
        assert!((found.risks[99].1 - found.random_aurc).abs() < 1e-12 && found.risks[0].0 == 0.01);
        assert!(calibrate(&honest(30), Signal::Sequence, &Bootstrap::default()).is_none(), "too few");
    }

    #[test]
    fn the_temperature_is_the_one_that_made_the_outcomes() {
        // one score for all: exp(s/T) is the mean of Platt's targets, (3·4/5 + 1/3)/4
        let same = temperature(&[-2.0; 4], &[0.0, 1.0, 1.0, 1.0]).unwrap();
        assert!((same - -2.0 / ((2.4 + 1.0 / 3.0) / 4.0f64).ln()).abs() < 1e-9, "{same}");
        // right with probability exp(s/3)
        let mut dice = Dice::new(5, 0);
        let scores: Vec<f64> = (0..4000).map(|_| -4.0 * dice.unit()).collect();
        let outcomes: Vec<f64> = scores.iter().map(|s| f64::from(dice.chance((s / 3.0).exp()))).collect();
        let found = temperature(&scores, &outcomes).unwrap();
        assert!((found - 3.0).abs() < 0.3, "{found}");
        // dividing all scores by a number divides the temperature
        let halves: Vec<f64> = scores.iter().map(|s| s / 2.0).collect();
        assert!((temperature(&halves, &outcomes).unwrap() - found / 2.0).abs() < 1e-9);
        for outcome in [0.0, 1.0] {
            let extreme = temperature(&scores[..50], &[outcome; 50]).unwrap();
            assert!(extreme.is_finite() && extreme > 0.0, "{extreme}");
        }
        assert!(temperature(&[0.0; 3], &[1.0; 3]).unwrap() > 0.0 && temperature(&[], &[]).is_none());
    }

    #[test]
    fn a_bin_knows_how_many_groups_are_in_it() {
        let (p, y) = ([0.5; 8], [1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
        let of = |units: &[usize]| bins(&p, &y, units, 1).remove(0);
        let (cases, groups) = (of(&[0, 1, 2, 3, 4, 5, 6, 7]), of(&[0, 0, 1, 1, 2, 2, 3, 3]));
        assert_eq!((cases.n, cases.units, groups.n, groups.units), (8, 8, 8, 4));
        // statsmodels: proportion_confint(4, 8, method="wilson") and (2, 4)
        assert!((cases.low - 0.2152161).abs() < 1e-6 && (cases.high - 0.7847839).abs() < 1e-6, "{cases:?}");
        assert!((groups.low - 0.1500390).abs() < 1e-6 && (groups.high - 0.8499610).abs() < 1e-6, "{groups:?}");
    }

    #[test]
    fn answers_that_are_all_wrong_do_not_make_a_certain_ranking() {
        let cases: Vec<Scored> = honest(80).into_iter().map(|case| Scored { outcome: 0.0, ..case }).collect();
        let bootstrap = Bootstrap { resamples: 100, ..Default::default() };
        let found = calibrate(&cases, Signal::Sequence, &bootstrap).unwrap();
        let q = 1.0 - 0.025f64.powf(1.0 / 40.0); // groups of two
        assert!(found.aurc.high == 1.0 && (found.aurc.low - (1.0 - q * (1.0 - q.ln()))).abs() < 1e-12, "{found:?}");
        let whole = &found.selective[3].accuracy;
        assert!(whole.low == 0.0 && (whole.high - q).abs() < 1e-12, "{whole:?}");
        assert!(found.selective[0].accuracy.high > whole.high, "a tenth of the cases says less");
        assert!(found.scaled.error.high <= 1.0);
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

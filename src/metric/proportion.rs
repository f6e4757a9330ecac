//! Shares of cases: Wilson's interval, the exact one of a share that is 0 or 1, McNemar's exact test of two shares on the same cases,
//! and draws from a share's posterior.
use super::{Estimate, normal};
use rand::Rng;
use serde::{Deserialize, Serialize};

/// Wilson's score interval of `successes` of `n` (Wilson 1927): (p + z²/2n ± z·√(p(1−p)/n + z²/4n²)) / (1 + z²/n).
///
/// It never leaves [0, 1] and is not empty at 0 or n successes, where a bootstrap interval shrinks to a point. For independent
/// cases only. None for n = 0.
///
/// `wilson(0, 10, 0.95)` is 0 [0, 0.278].
pub fn wilson(successes: usize, n: usize, level: f64) -> Option<Estimate> {
    wilson_share(successes as f64 / n as f64, n, level)
}

/// As [`wilson`], of a mean of outcomes in [0, 1]; wider than need be where they are not 0 or 1, as nothing in [0, 1] varies more.
pub fn wilson_share(p: f64, n: usize, level: f64) -> Option<Estimate> {
    if n == 0 {
        return None;
    }
    let (p, z, m) = (p.clamp(0.0, 1.0), normal::quantile(0.5 + level / 2.0), n as f64);
    let middle = p + z * z / (2.0 * m);
    let half = z * (p * (1.0 - p) / m + z * z / (4.0 * m * m)).sqrt();
    let (low, high) = ((middle - half) / (1.0 + z * z / m), (middle + half) / (1.0 + z * z / m));
    Some(Estimate { value: p, low: low.clamp(0.0, p), high: high.clamp(p, 1.0), n })
}

/// The interval of a share on which all of `units` independent units agree, 0 or 1: that of Clopper & Pearson (1934), 0 to
/// 1 − t^(1/n) and t^(1/n) to 1, with t = (1 − level)/2. None for other values and without units.
///
/// Were the true share above 1 − t^(1/n), n units without a single one would have a probability below t: the exact form of the rule
/// of three. So the coverage is at least `level`, for any n.
///
/// `unanimous(0.0, 10, 0.95)` is 0 to 0.308.
pub fn unanimous(value: f64, units: usize, level: f64) -> Option<(f64, f64)> {
    let digits = |x: f64| (x * 1e12).round() / 1e12; // that JSON brings back as they are
    let end = digits(((1.0 - level) / 2.0).powf(1.0 / units as f64));
    match value {
        _ if units == 0 => None,
        0.0 => Some((0.0, digits(1.0 - end))),
        1.0 => Some((end, 1.0)),
        _ => None,
    }
}

/// Cases on which exactly one of two models is right, and the probability of so uneven a split by chance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct McNemar {
    pub only_a: usize,
    pub only_b: usize,
    /// Exact and two-sided: 2·P(X ≤ min(only_a, only_b)), X binomial with half the discordant cases expected, at most 1.
    pub p: f64,
    /// The same with half of the probability of the split that was seen, 2·P(X < m) + P(X = m): the exact test is too careful with few
    /// discordant cases, this one is right on average (Fagerland, Lydersen & Laake 2013).
    #[serde(default)]
    pub mid_p: f64,
}

/// McNemar's exact test (McNemar 1947). Cases that both or neither got right say nothing. For independent cases only.
///
/// `mcnemar(1, 6).p = 2·(1 + 7)/2⁷ = 0.125`, its mid-p `(2·1 + 7)/2⁷ = 0.0703`
pub fn mcnemar(only_a: usize, only_b: usize) -> McNemar {
    let (few, n) = (only_a.min(only_b), only_a + only_b);
    // C(n, k)/2ⁿ from one k to the next, in logarithms so that a thousand cases do not vanish
    let (mut log, mut tail, mut seen) = (-(n as f64) * std::f64::consts::LN_2, 0.0, 0.0);
    for k in 0..=few {
        seen = log.exp();
        tail += seen;
        log += ((n - k) as f64).ln() - ((k + 1) as f64).ln();
    }
    McNemar { only_a, only_b, p: (2.0 * tail).min(1.0), mid_p: (2.0 * tail - seen).min(1.0) }
}

/// A draw from Beta(a, b) with whole a and b: G/(G + H) of two sums of exponentials.
pub fn beta(rng: &mut impl Rng, a: usize, b: usize) -> f64 {
    let mut gamma = |shape: usize| (0..shape).map(|_| -(1.0 - rng.random::<f64>()).ln()).sum::<f64>();
    let (g, h) = (gamma(a), gamma(b));
    g / (g + h)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn the_worked_examples_hold() {
        let none = wilson(0, 10, 0.95).unwrap();
        assert!(none.value == 0.0 && none.low == 0.0 && (none.high - 0.2775328).abs() < 1e-6, "{none:?}");
        assert!((mcnemar(1, 6).p - 0.125).abs() < 1e-12 && (mcnemar(1, 6).mid_p - 9.0 / 128.0).abs() < 1e-12);
        for (a, b, mid_p) in [(0, 0, 1.0), (0, 3, 0.125), (4, 4, 1.0)] {
            assert!((mcnemar(a, b).mid_p - mid_p).abs() < 1e-12, "{a} {b}");
        }
        let (low, high) = unanimous(0.0, 10, 0.95).unwrap();
        assert!(low == 0.0 && (high - 0.3084971).abs() < 1e-6, "scipy: binomtest(0, 10).proportion_ci(): {high}");
        let (low, high) = unanimous(1.0, 10, 0.95).unwrap();
        assert!((low - (1.0 - 0.3084971)).abs() < 1e-6 && high == 1.0);
        assert_eq!((unanimous(0.5, 10, 0.95), unanimous(0.0, 0, 0.95)), (None, None));
        assert_eq!((mcnemar(0, 0).p, mcnemar(4, 4).p, wilson(0, 0, 0.95)), (1.0, 1.0, None));
        assert!((mcnemar(600, 600).p - 1.0).abs() < 1e-9 && mcnemar(300, 900).p > 0.0);
    }

    #[test]
    fn draws_from_a_posterior_have_its_mean_and_spread() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(7);
        let draws: Vec<f64> = (0..20_000).map(|_| beta(&mut rng, 3, 17)).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / draws.len() as f64;
        assert!((mean - 0.15).abs() < 0.002 && (variance - 0.15 * 0.85 / 21.0).abs() < 0.0003, "{mean} {variance}");
    }
}

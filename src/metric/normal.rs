//! The standard normal distribution.
use statrs::distribution::{ContinuousCDF, Normal};

/// Φ(x).
pub fn cdf(x: f64) -> f64 {
    Normal::standard().cdf(x)
}

/// Φ⁻¹(p): −∞ at 0, ∞ at 1; NaN for what is no probability.
pub fn quantile(p: f64) -> f64 {
    if (0.0..=1.0).contains(&p) { Normal::standard().inverse_cdf(p) } else { f64::NAN }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values_and_their_inverses() {
        // scipy.stats.norm.cdf
        for (x, p) in [
            (0.0, 0.5),
            (1.959963984540054, 0.975),
            (-1.2815515655446004, 0.1),
            (3.0, 0.9986501019683699),
            (-6.0, 9.865876450376946e-10),
        ] {
            assert!((cdf(x) - p).abs() < 1e-10 * p, "Φ({x}) = {}", cdf(x));
            assert!((quantile(p) - x).abs() < 1e-14, "Φ⁻¹({p}) = {}", quantile(p));
        }
        assert!((-800..800).all(|i| (cdf(f64::from(i) / 100.0) + cdf(-f64::from(i) / 100.0) - 1.0).abs() < 1e-15));
        assert!(quantile(0.0) == f64::NEG_INFINITY && quantile(1.0) == f64::INFINITY && quantile(1.5).is_nan());
    }
}

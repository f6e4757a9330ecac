//! The standard normal distribution: Φ and its inverse, to about 1e-15.
//!
//! Φ(x) = erfc(−x/√2)/2. erf near zero is its series of positive terms, e^(−x²)·2/√π·Σ 2ⁿx^(2n+1)/(2n+1)!!; erfc far out is its
//! continued fraction (Abramowitz & Stegun 7.1.6 and 7.1.14). The inverse starts from Acklam's rational approximation and takes a
//! step of Halley's method.
use std::f64::consts::{PI, SQRT_2};

/// Φ(x), the probability of a value below x.
pub fn cdf(x: f64) -> f64 {
    0.5 * erfc(-x / SQRT_2)
}

/// The x with Φ(x) = p; infinite at 0 and 1, NaN outside.
pub fn quantile(p: f64) -> f64 {
    match p {
        0.0 => return f64::NEG_INFINITY,
        1.0 => return f64::INFINITY,
        p if !(0.0..=1.0).contains(&p) => return f64::NAN,
        p if p > 0.5 => return -quantile(1.0 - p), // the lower tail keeps its digits
        _ => {}
    }
    let x = acklam(p);
    let error = (cdf(x) - p) * (2.0 * PI).sqrt() * (0.5 * x * x).exp();
    x - error / (1.0 + 0.5 * x * error)
}

fn erfc(x: f64) -> f64 {
    match x {
        x if x < 0.0 => 2.0 - erfc(-x),
        x if x < 2.5 => 1.0 - erf_series(x),
        x => (-x * x).exp() / (PI.sqrt() * fraction(x)),
    }
}

fn erf_series(x: f64) -> f64 {
    let (mut term, mut sum, mut n) = (x, x, 0.0);
    while term > sum * 1e-17 {
        n += 1.0;
        term *= 2.0 * x * x / (2.0 * n + 1.0);
        sum += term;
    }
    2.0 / PI.sqrt() * (-x * x).exp() * sum
}

/// x + (1/2)/(x + 1/(x + (3/2)/(x + …))), from the inside out.
fn fraction(x: f64) -> f64 {
    (1..=80).rev().fold(x, |inner, k| x + 0.5 * f64::from(k) / inner)
}

fn acklam(p: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969683028665376e1,
        2.209460984245205e2,
        -2.759285104469687e2,
        1.383577518672690e2,
        -3.066479806614716e1,
        2.506628277459239,
    ];
    const B: [f64; 5] =
        [-5.447609879822406e1, 1.615858368580409e2, -1.556989798598866e2, 6.680131188771972e1, -1.328068155288572e1];
    const C: [f64; 6] = [
        -7.784894002430293e-3,
        -3.223964580411365e-1,
        -2.400758277161838,
        -2.549732539343734,
        4.374664141464968,
        2.938163982698783,
    ];
    const D: [f64; 4] = [7.784695709041462e-3, 3.224671290700398e-1, 2.445134137142996, 3.754408661907416];
    let polynomial = |of: &[f64], x: f64| of.iter().fold(0.0, |sum, c| sum * x + c);
    if p < 0.02425 {
        let q = (-2.0 * p.ln()).sqrt();
        return polynomial(&C, q) / (polynomial(&D, q) * q + 1.0);
    }
    let q = p - 0.5;
    polynomial(&A, q * q) * q / (polynomial(&B, q * q) * q * q + 1.0)
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
            assert!((cdf(x) - p).abs() < 1e-15 + 1e-12 * p, "Φ({x}) = {}", cdf(x));
            assert!((quantile(p) - x).abs() < 1e-9, "Φ⁻¹({p}) = {}", quantile(p));
        }
        assert!((-800..800).all(|i| (cdf(f64::from(i) / 100.0) + cdf(-f64::from(i) / 100.0) - 1.0).abs() < 1e-15));
        assert!(quantile(0.0) == f64::NEG_INFINITY && quantile(1.0) == f64::INFINITY && quantile(1.5).is_nan());
    }
}

//! Loops over f32 slices, compiled for the widest vector unit found at run time.
//!
//! Every version does the same operations in the same order (no fused multiply-add), so a result does not depend on
//! the processor. Reductions keep 16 partial sums for the same reason.

/// Compiles a slice function for AVX-512, AVX2 and the baseline, and picks one at run time.
macro_rules! dispatch {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$doc])*
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn body($($arg: $ty),*) $(-> $ret)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq")]
                fn wide($($arg: $ty),*) $(-> $ret)? { body($($arg),*) }
                #[target_feature(enable = "avx2")]
                fn medium($($arg: $ty),*) $(-> $ret)? { body($($arg),*) }
                if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512dq") {
                    // SAFETY: the processor has just said that it has these instructions.
                    return unsafe { wide($($arg),*) };
                }
                if is_x86_feature_detected!("avx2") {
                    // SAFETY: as above.
                    return unsafe { medium($($arg),*) };
                }
            }
            body($($arg),*)
        }
    };
}
pub(in crate::model::ops) use dispatch;

const LANES: usize = 16;

/// The nearest bf16 number, ties to even, in the upper half of the result; what is not a number stays none.
#[inline(always)]
pub fn nearest(v: f32) -> u32 {
    let bits = v.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1));
    if bits & 0x7fff_ffff > 0x7f80_0000 { bits | 0x40_0000 } else { rounded }
}

/// e^x within 2 units in the last place for -87 < x < 88, clamped outside (Cody–Waite reduction, degree-6 polynomial).
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.3, 88.3);
    let shifted = x * std::f32::consts::LOG2_E + 12_582_912.0; // 1.5 · 2^23: rounds to an integer n in the low bits
    let n = shifted - 12_582_912.0;
    let r = x - n * 0.693_359_375 + n * 2.121_944_4e-4;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_5e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 5.000_000_1e-1;
    let p = p * r * r + r + 1.0;
    // 2^n by those low bits: the cast `n as i32` saturates, which keeps the loop from being vectorised
    p * f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23))
}

#[inline(always)]
pub fn sum_by(n: usize, f: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let whole = n / LANES * LANES;
    let mut i = 0;
    while i < whole {
        for (l, lane) in lanes.iter_mut().enumerate() {
            *lane += f(i + l);
        }
        i += LANES;
    }
    let tail: f32 = (whole..n).map(&f).sum();
    lanes.iter().sum::<f32>() + tail
}

#[inline(always)]
pub fn max_of(row: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let mut chunks = row.chunks_exact(LANES);
    for chunk in &mut chunks {
        for (lane, &v) in lanes.iter_mut().zip(chunk) {
            *lane = if v > *lane { v } else { *lane };
        }
    }
    chunks.remainder().iter().chain(&lanes).fold(f32::NEG_INFINITY, |m, &v| if v > m { v } else { m })
}

dispatch! {
    /// Replaces a row of scores by e^(score - max) and returns (max, Σ).
    pub fn exp_row(row: &mut [f32]) -> (f32, f32) {
        let max = max_of(row);
        for v in row.iter_mut() {
            *v = exp(*v - max);
        }
        let row = &*row;
        (max, sum_by(row.len(), |i| row[i]))
    }
}

dispatch! {
    /// The largest number of a row; NaN is none.
    pub fn largest(row: &[f32]) -> f32 {
        max_of(row)
    }
}

dispatch! {
    /// log Σ e^v of a row, without touching it.
    pub fn log_sum_exp(row: &[f32]) -> f32 {
        let max = max_of(row);
        max + sum_by(row.len(), |i| exp(row[i] - max)).ln()
    }
}

dispatch! {
    /// `row ← e^(row - shift)`.
    pub fn exp_shifted(row: &mut [f32], shift: f32) {
        for v in row.iter_mut() {
            *v = exp(*v - shift);
        }
    }
}

dispatch! {
    pub fn scale(row: &mut [f32], by: f32) {
        for v in row.iter_mut() {
            *v *= by;
        }
    }
}

dispatch! {
    /// `y ← y + a ⊙ b`.
    pub fn add_product(y: &mut [f32], a: &[f32], b: &[f32]) {
        let n = y.len();
        let (a, b) = (&a[..n], &b[..n]);
        for i in 0..n {
            y[i] += a[i] * b[i];
        }
    }
}

dispatch! {
    /// `y ← y + by · x`.
    pub fn add_scaled(y: &mut [f32], by: f32, x: &[f32]) {
        let n = y.len();
        let x = &x[..n];
        for i in 0..n {
            y[i] += by * x[i];
        }
    }
}

dispatch! {
    pub fn dot(a: &[f32], b: &[f32]) -> f32 {
        let n = a.len().min(b.len());
        let (a, b) = (&a[..n], &b[..n]);
        sum_by(n, |i| a[i] * b[i])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_ulps_of_the_f64_value() {
        let mut worst = 0f64;
        for i in -87_000..88_000 {
            let x = i as f32 * 1e-3;
            let want = (x as f64).exp();
            worst = worst.max(((exp(x) as f64 - want) / want).abs());
        }
        assert!(worst < 2.0 * f32::EPSILON as f64, "{worst}");
        assert!(exp(-1e9) < 1e-37);
    }

    #[test]
    fn reductions_agree_with_f64_on_odd_lengths() {
        for n in [0, 1, 15, 16, 17, 100] {
            let v: Vec<f32> = (0..n).map(|i| (i as f32).sin()).collect();
            let want: f64 = v.iter().map(|x| *x as f64 * *x as f64).sum();
            assert!((dot(&v, &v) as f64 - want).abs() < 1e-4);
        }
    }
}

//! y = x Φ(x) = x (1 + erf(x/√2)) / 2, Φ the normal distribution function (Hendrycks & Gimpel 2016, GELU in its exact form, not tanh's).
use super::slices::{CpuSlice, has_loops, operand, result, zeros};
use candle_core::cpu::erf::erf_f32;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;
use std::f32::consts::{FRAC_1_SQRT_2, PI};

const BLOCK: usize = 1 << 13;

/// `x` of any shape → the same shape. Differentiable.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    if !has_loops(&[x]) {
        return gelu_naive(x);
    }
    x.contiguous()?.apply_op1(Gelu)
}

/// The same by candle's own differentiable operations.
pub fn gelu_naive(x: &Tensor) -> Result<Tensor> {
    let phi = (((x * std::f64::consts::FRAC_1_SQRT_2)?.erf()? + 1.0)? * 0.5)?;
    x * phi
}

struct Gelu;

/// Φ(x)
fn phi(x: f32) -> f32 {
    0.5 * (1.0 + erf_f32(x * FRAC_1_SQRT_2))
}

/// d xΦ(x) / dx = Φ(x) + x φ(x), φ(x) = e^(−x²/2) / √(2π)
fn slope(x: f32) -> f32 {
    phi(x) + x * (-0.5 * x * x).exp() / (2.0 * PI).sqrt()
}

impl CustomOp1 for Gelu {
    fn name(&self) -> &'static str {
        "gelu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = operand("gelu", x, layout)?;
        let mut y = zeros(x.len());
        let block = |(y, x): (&mut [f32], &[f32])| y.iter_mut().zip(x).for_each(|(y, x)| *y = x * phi(*x));
        y.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK)).for_each(block);
        Ok(result(y, layout.shape()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        let g = g.contiguous()?;
        let (xs, gs) = (CpuSlice::of(x)?, CpuSlice::of(&g)?);
        let mut dx = zeros(xs.len());
        dx.par_chunks_mut(BLOCK).zip(xs.par_chunks(BLOCK).zip(gs.par_chunks(BLOCK))).for_each(|(dx, (x, g))| {
            dx.iter_mut().zip(x.iter().zip(g)).for_each(|(d, (x, g))| *d = g * slope(*x));
        });
        Ok(Some(Tensor::from_vec(dx, x.shape(), x.device())?))
    }
}

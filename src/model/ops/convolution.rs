//! Causal depthwise convolution with SiLU, every channel by itself: what queries, keys and values of Gated DeltaNet go through (Yang,
//! Kautz & Hatamizadeh 2025, §3.4).
//!
//! ```text
//! p_t = Σ_j w_j ⊙ x_{t−K+1+j},  j < K        y_t = silu(p_t) = p_t / (1 + e^−p_t)
//! ```
//! The last tap is the present token's; before the start of a segment there are zeros.
use super::cpu::lanes::{add_product, dispatch, exp};
use super::segments::Segments;
use super::slices::{CpuSlice, ROWS_A_TASK, has_loops, operand, result, zeros};
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

/// `x` [tokens, channels], `weight` [channels, 1, K] → [tokens, channels]. Differentiable in `x`, and in `weight` where
/// that is a variable.
pub fn causal_convolution(x: &Tensor, weight: &Tensor, segments: &Segments) -> Result<Tensor> {
    if !has_loops(&[x, weight]) {
        return causal_convolution_naive(x, weight, segments);
    }
    let ((tokens, channels), (wide, one, taps)) = (x.dims2()?, weight.dims3()?);
    if tokens != segments.tokens() || (channels, one) != (wide, 1) || taps == 0 {
        bail!("convolution: x {:?}, weight {:?}, {} tokens in segments", x.shape(), weight.shape(), segments.tokens())
    }
    let op = Convolution { before: segments.positions(), weight_learns: weight.track_op() };
    x.contiguous()?.apply_op2(&weight.contiguous()?, op)
}

/// The same by candle's own differentiable operations, one segment after the other.
pub fn causal_convolution_naive(x: &Tensor, weight: &Tensor, segments: &Segments) -> Result<Tensor> {
    let (channels, _, taps) = weight.dims3()?;
    let weight = weight.reshape((channels, taps))?.t()?.contiguous()?;
    let mut out = Vec::with_capacity(segments.len());
    for range in (0..segments.len()).map(|i| segments.range(i)) {
        let before = Tensor::zeros((taps - 1, channels), x.dtype(), x.device())?;
        let padded = Tensor::cat(&[before, x.narrow(0, range.start, range.len())?], 0)?;
        let mut sum = padded.narrow(0, 0, range.len())?.broadcast_mul(&weight.narrow(0, 0, 1)?)?;
        for j in 1..taps {
            sum = (sum + padded.narrow(0, j, range.len())?.broadcast_mul(&weight.narrow(0, j, 1)?)?)?;
        }
        out.push(sum.silu()?);
    }
    Tensor::cat(&out, 0)
}

/// As [`causal_convolution`] for one sequence that goes on: `x` [new tokens, channels] after `inputs` [K − 1, channels], the last of those
/// before (zeros where there were fewer), which is brought up to date. Inference only.
pub fn convolve_past(x: &[f32], weight: &[f32], channels: usize, inputs: &mut Vec<f32>) -> Vec<f32> {
    let taps = by_tap(weight, channels);
    let known = inputs.len() / channels;
    inputs.extend_from_slice(x);
    let before: Vec<usize> = (0..x.len() / channels).map(|t| t + known).collect();
    let mut y = sums(inputs, &taps, channels, &before);
    silu_over(&mut y);
    inputs.drain(..x.len());
    y
}

/// [channels, K] → [K, channels]
fn by_tap(weight: &[f32], channels: usize) -> Vec<f32> {
    let k = weight.len() / channels;
    (0..k).flat_map(|j| weight.iter().skip(j).step_by(k).copied()).collect()
}

/// p of the last rows of `x`, of which `before` says how many rows before each one belong to the same sequence.
fn sums(x: &[f32], taps: &[f32], channels: usize, before: &[usize]) -> Vec<f32> {
    let (k, first) = (taps.len() / channels, x.len() / channels - before.len());
    let mut p = zeros(before.len() * channels);
    p.par_chunks_mut(channels).zip(before).enumerate().with_min_len(ROWS_A_TASK).for_each(|(t, (p, &before))| {
        for back in 0..k.min(before + 1) {
            let (w, x) = (&taps[(k - 1 - back) * channels..], &x[(first + t - back) * channels..]);
            add_product(p, &w[..channels], &x[..channels]);
        }
    });
    p
}

dispatch! {
    fn silu_over(p: &mut [f32]) {
        for v in p.iter_mut() {
            *v /= 1.0 + exp(-*v);
        }
    }
}

dispatch! {
    // g ← g silu'(p), silu'(z) = σ (1 + z (1 − σ))
    fn through_silu(p: &[f32], g: &mut [f32]) {
        let p = &p[..g.len()];
        for i in 0..g.len() {
            let sigma = 1.0 / (1.0 + exp(-p[i]));
            g[i] *= sigma * (1.0 + p[i] * (1.0 - sigma));
        }
    }
}

struct Convolution {
    /// Tokens before each one in its segment.
    before: Vec<usize>,
    weight_learns: bool,
}

impl CustomOp2 for Convolution {
    fn name(&self) -> &'static str {
        "causal-convolution"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, w: &CpuStorage, lw: &Layout) -> Result<(CpuStorage, Shape)> {
        let channels = lx.shape().dims2()?.1;
        let (x, w) = (operand(self.name(), x, lx)?, operand(self.name(), w, lw)?);
        let mut y = sums(x, &by_tap(w, channels), channels, &self.before);
        y.par_chunks_mut(ROWS_A_TASK * channels).for_each(silu_over);
        Ok(result(y, lx.shape()))
    }

    /// dp = g ⊙ silu'(p);  dx_t = Σ_j w_j ⊙ dp_{t+K−1−j};  dw_j = Σ_t dp_t ⊙ x_{t−K+1+j}
    fn bwd(&self, x: &Tensor, w: &Tensor, _y: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (tokens, channels) = x.dims2()?;
        let g = g.contiguous()?;
        let (xs, ws, gs) = (CpuSlice::of(x)?, CpuSlice::of(w)?, CpuSlice::of(&g)?);
        let taps = by_tap(&ws, channels);
        let k = taps.len() / channels;
        let (p, mut dp) = (sums(&xs, &taps, channels, &self.before), gs.to_vec());
        let block = ROWS_A_TASK * channels;
        dp.par_chunks_mut(block).zip(p.par_chunks(block)).for_each(|(dp, p)| through_silu(p, dp));
        let mut dx = zeros(xs.len());
        dx.par_chunks_mut(channels).enumerate().with_min_len(ROWS_A_TASK).for_each(|(t, dx)| {
            for ahead in (0..k).filter(|ahead| t + ahead < tokens && self.before[t + ahead] >= *ahead) {
                let (w, dp) = (&taps[(k - 1 - ahead) * channels..], &dp[(t + ahead) * channels..]);
                add_product(dx, &w[..channels], &dp[..channels]);
            }
        });
        let dx = Tensor::from_vec(dx, x.shape(), x.device())?;
        if !self.weight_learns {
            return Ok((Some(dx), None));
        }
        let mut dw = vec![0f32; ws.len()]; // [channels, K], summed in f64
        dw.par_chunks_mut(k).enumerate().for_each(|(c, dw)| {
            for (back, dw) in dw.iter_mut().rev().enumerate() {
                let tokens = (0..tokens).filter(|&t| self.before[t] >= back);
                let sum: f64 = tokens.map(|t| dp[t * channels + c] as f64 * xs[(t - back) * channels + c] as f64).sum();
                *dw = sum as f32;
            }
        });
        Ok((Some(dx), Some(Tensor::from_vec(dw, w.shape(), w.device())?)))
    }
}

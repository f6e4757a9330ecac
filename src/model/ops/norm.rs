//! y = w ⊙ x / √(mean(x²) + ε) over the last dimension (Zhang & Sennrich 2019, RMSNorm).
use super::cpu::lanes::{dispatch, sum_by};
use super::slices::{CpuSlice, ROWS_A_TASK, has_loops, may_be_overwritten, operand, overwrite_with, result, zeros};
use candle_core::{CpuStorage, CustomOp2, D, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

/// `x` […, n], `weight` [n] → […, n]. Differentiable in `x`, and in `weight` where that is a variable.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    if !has_loops(&[x, weight]) {
        return rms_norm_naive(x, weight, eps);
    }
    x.contiguous()?.apply_op2(weight, RmsNorm { eps: eps as f32, weight_learns: weight.track_op() })
}

/// As [`rms_norm`], written over `x` where no gradient asks for it. `x` must be no one else's.
pub fn rms_norm_over(x: Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    if !may_be_overwritten(&x, &[weight]) {
        return rms_norm(&x, weight, eps);
    }
    overwrite_with("rms-norm", &x, weight, |x, w| {
        let rows = |x: &mut [f32]| x.chunks_exact_mut(w.len()).for_each(|x| row_over(x, w, eps as f32));
        x.par_chunks_mut(ROWS_A_TASK * w.len()).for_each(rows);
    })?;
    Ok(x)
}

/// The same by candle's own differentiable operations: the reference in tests, and the path of other devices.
pub fn rms_norm_naive(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let rms = (x.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?;
    x.broadcast_div(&rms)?.broadcast_mul(weight)
}

struct RmsNorm {
    eps: f32,
    weight_learns: bool,
}

dispatch! {
    fn forward_row(x: &[f32], w: &[f32], y: &mut [f32], eps: f32) {
        let n = w.len();
        let (x, y) = (&x[..n], &mut y[..n]);
        let scale = 1.0 / (sum_by(n, |i| x[i] * x[i]) / n as f32 + eps).sqrt();
        for i in 0..n {
            y[i] = x[i] * scale * w[i];
        }
    }
}

dispatch! {
    fn row_over(x: &mut [f32], w: &[f32], eps: f32) {
        let n = w.len();
        let x = &mut x[..n];
        let scale = 1.0 / (sum_by(n, |i| x[i] * x[i]) / n as f32 + eps).sqrt();
        for i in 0..n {
            x[i] = x[i] * scale * w[i];
        }
    }
}

dispatch! {
    // dx = s · (w ⊙ g − x · s² · mean(w ⊙ g ⊙ x)), s = 1 / rms(x)
    fn backward_row(x: &[f32], w: &[f32], g: &[f32], dx: &mut [f32], eps: f32) -> f32 {
        let n = w.len();
        let (x, g, dx) = (&x[..n], &g[..n], &mut dx[..n]);
        let scale = 1.0 / (sum_by(n, |i| x[i] * x[i]) / n as f32 + eps).sqrt();
        let along = sum_by(n, |i| w[i] * g[i] * x[i]) / n as f32 * scale * scale;
        for i in 0..n {
            dx[i] = scale * (w[i] * g[i] - x[i] * along);
        }
        scale
    }
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, w: &CpuStorage, lw: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, w) = (operand("rms-norm", x, lx)?, operand("rms-norm", w, lw)?);
        let mut y = zeros(x.len());
        let block = ROWS_A_TASK * w.len();
        y.par_chunks_mut(block).zip(x.par_chunks(block)).for_each(|(y, x)| {
            for (y, x) in y.chunks_exact_mut(w.len()).zip(x.chunks_exact(w.len())) {
                forward_row(x, w, y, self.eps);
            }
        });
        Ok(result(y, lx.shape()))
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, _y: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (x, g) = (x.contiguous()?, g.contiguous()?);
        let (xs, ws, gs) = (CpuSlice::of(&x)?, CpuSlice::of(w)?, CpuSlice::of(&g)?);
        let n = ws.len();
        let mut dx = zeros(xs.len());
        let block = ROWS_A_TASK * n;
        let partial: Vec<Vec<f32>> = dx
            .par_chunks_mut(block)
            .zip(xs.par_chunks(block).zip(gs.par_chunks(block)))
            .map(|(dx, (x, g))| {
                let mut dw = vec![0f32; if self.weight_learns { n } else { 0 }];
                for ((dx, x), g) in dx.chunks_exact_mut(n).zip(x.chunks_exact(n)).zip(g.chunks_exact(n)) {
                    let scale = backward_row(x, &ws, g, dx, self.eps);
                    dw.iter_mut().zip(x.iter().zip(g)).for_each(|(d, (x, g))| *d += g * x * scale);
                }
                dw
            })
            .collect();
        let dx = Tensor::from_vec(dx, x.shape(), x.device())?;
        if !self.weight_learns {
            return Ok((Some(dx), None));
        }
        let mut dw = vec![0f32; n];
        partial.iter().for_each(|p| dw.iter_mut().zip(p).for_each(|(d, p)| *d += p));
        Ok((Some(dx), Some(Tensor::from_vec(dw, n, x.device())?)))
    }
}

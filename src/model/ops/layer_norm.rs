//! y = γ ⊙ (x − μ) / √(σ² + ε) + β over the last dimension, σ² the biased variance (Ba, Kiros & Hinton 2016, LayerNorm).
//!
//! candle's own layer norm with a bias cuts the gradient without a word (candle-nn 0.11.1, `ops::layer_norm`), so encoders that
//! are to learn use this one.
use super::cpu::lanes::{dispatch, sum_by};
use super::slices::{CpuSlice, ROWS_A_TASK, has_loops, operand, result, zeros};
use candle_core::{CpuStorage, CustomOp3, D, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

/// `x` […, n], γ = `weight` [n], β = `bias` [n] or none → […, n]. Differentiable in all that are variables.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, eps: f64) -> Result<Tensor> {
    let all: Vec<&Tensor> = [x, weight].into_iter().chain(bias).collect();
    if !has_loops(&all) {
        return layer_norm_naive(x, weight, bias, eps);
    }
    let op = LayerNorm {
        eps: eps as f32,
        weight_learns: weight.track_op(),
        bias_learns: bias.is_some_and(|bias| bias.track_op()),
    };
    let bias = match bias {
        Some(bias) => bias.contiguous()?,
        None => weight.zeros_like()?.detach(),
    };
    x.contiguous()?.apply_op3(&weight.contiguous()?, &bias, op)
}

/// The same by candle's own differentiable operations: the reference in tests, and the path of other devices.
pub fn layer_norm_naive(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, eps: f64) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let deviation = (centred.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?;
    let y = centred.broadcast_div(&deviation)?.broadcast_mul(weight)?;
    match bias {
        Some(bias) => y.broadcast_add(bias),
        None => Ok(y),
    }
}

struct LayerNorm {
    eps: f32,
    weight_learns: bool,
    bias_learns: bool,
}

/// μ and 1/√(σ² + ε) of a row.
#[inline(always)]
fn moments(x: &[f32], eps: f32) -> (f32, f32) {
    let n = x.len();
    let mean = sum_by(n, |i| x[i]) / n as f32;
    let variance = sum_by(n, |i| (x[i] - mean) * (x[i] - mean)) / n as f32;
    (mean, 1.0 / (variance + eps).sqrt())
}

dispatch! {
    fn forward_row(x: &[f32], w: &[f32], b: &[f32], y: &mut [f32], eps: f32) {
        let n = w.len();
        let (x, b, y) = (&x[..n], &b[..n], &mut y[..n]);
        let (mean, scale) = moments(x, eps);
        for i in 0..n {
            y[i] = (x[i] - mean) * scale * w[i] + b[i];
        }
    }
}

dispatch! {
    // dx = s (ĝ − mean(ĝ) − x̂ mean(ĝ ⊙ x̂)), ĝ = g ⊙ γ, x̂ = s (x − μ), s = 1/√(σ² + ε); dγ += g ⊙ x̂, dβ += g
    fn backward_row(x: &[f32], w: &[f32], g: &[f32], dx: &mut [f32], dw: &mut [f32], db: &mut [f32], eps: f32) {
        let n = w.len();
        let (x, g, dx, dw, db) = (&x[..n], &g[..n], &mut dx[..n], &mut dw[..n], &mut db[..n]);
        let (mean, scale) = moments(x, eps);
        let level = sum_by(n, |i| w[i] * g[i]) / n as f32;
        let along = sum_by(n, |i| w[i] * g[i] * (x[i] - mean) * scale) / n as f32;
        for i in 0..n {
            let unit = (x[i] - mean) * scale;
            dx[i] = scale * (w[i] * g[i] - level - unit * along);
            dw[i] += g[i] * unit;
            db[i] += g[i];
        }
    }
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        w: &CpuStorage,
        lw: &Layout,
        b: &CpuStorage,
        lb: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let name = self.name();
        let n = lw.shape().elem_count();
        if n == 0 || lx.dims().last() != Some(&n) || lw.dims() != [n] || lb.dims() != [n] {
            bail!("{name}: input {:?}, weight {:?}, bias {:?}", lx.shape(), lw.shape(), lb.shape())
        }
        let (x, w, b) = (operand(name, x, lx)?, operand(name, w, lw)?, operand(name, b, lb)?);
        let mut y = zeros(x.len());
        let block = ROWS_A_TASK * n;
        y.par_chunks_mut(block).zip(x.par_chunks(block)).for_each(|(y, x)| {
            for (y, x) in y.chunks_exact_mut(n).zip(x.chunks_exact(n)) {
                forward_row(x, w, b, y, self.eps);
            }
        });
        Ok(result(y, lx.shape()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _b: &Tensor,
        _y: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let g = g.contiguous()?;
        let (xs, ws, gs) = (CpuSlice::of(x)?, CpuSlice::of(w)?, CpuSlice::of(&g)?);
        let n = ws.len();
        let mut dx = zeros(xs.len());
        let block = ROWS_A_TASK * n;
        let partial: Vec<[Vec<f32>; 2]> = dx
            .par_chunks_mut(block)
            .zip(xs.par_chunks(block).zip(gs.par_chunks(block)))
            .map(|(dx, (x, g))| {
                let (mut dw, mut db) = (vec![0f32; n], vec![0f32; n]);
                for ((dx, x), g) in dx.chunks_exact_mut(n).zip(x.chunks_exact(n)).zip(g.chunks_exact(n)) {
                    backward_row(x, &ws, g, dx, &mut dw, &mut db, self.eps);
                }
                [dw, db]
            })
            .collect();
        let summed = |which: usize| {
            let mut sum = vec![0f32; n];
            partial.iter().for_each(|p| sum.iter_mut().zip(&p[which]).for_each(|(s, p)| *s += p));
            Tensor::from_vec(sum, n, x.device())
        };
        let dw = self.weight_learns.then(|| summed(0)).transpose()?;
        let db = self.bias_learns.then(|| summed(1)).transpose()?;
        Ok((Some(Tensor::from_vec(dx, x.shape(), x.device())?), dw, db))
    }
}

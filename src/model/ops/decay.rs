//! g = −e^A · softplus(x + b), the logarithm of how much of its state a recurrent head keeps at a token (as in Mamba2, Dao &
//! Gu 2024; Gated DeltaNet, Yang, Kautz & Hatamizadeh 2025); softplus(z) = log(1 + e^z). Always ≤ 0.
use super::slices::{CpuSlice, ROWS_A_TASK, has_loops, operand, result, zeros};
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

/// `x` [tokens, heads], A = `a_log` [heads], b = `bias` [heads] → g [tokens, heads]. Differentiable in `x`, and in the others where they
/// are variables.
pub fn log_decay(x: &Tensor, a_log: &Tensor, bias: &Tensor) -> Result<Tensor> {
    if !has_loops(&[x, a_log, bias]) {
        return log_decay_naive(x, a_log, bias);
    }
    let heads = x.dims2()?.1;
    if a_log.dims() != [heads] || bias.dims() != [heads] {
        bail!("log-decay: x {:?}, A {:?}, bias {:?}", x.shape(), a_log.shape(), bias.shape())
    }
    let op = LogDecay { a_learns: a_log.track_op(), bias_learns: bias.track_op() };
    x.contiguous()?.apply_op3(&a_log.contiguous()?, &bias.contiguous()?, op)
}

/// The same by candle's own differentiable operations.
pub fn log_decay_naive(x: &Tensor, a_log: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let z = x.broadcast_add(bias)?;
    let softplus = (z.relu()? + (z.abs()?.neg()?.exp()? + 1.0)?.log()?)?;
    softplus.broadcast_mul(&a_log.exp()?.neg()?)
}

struct LogDecay {
    a_learns: bool,
    bias_learns: bool,
}

fn softplus(z: f32) -> f32 {
    z.max(0.0) + (-z.abs()).exp().ln_1p()
}

impl CustomOp3 for LogDecay {
    fn name(&self) -> &'static str {
        "log-decay"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        a: &CpuStorage,
        la: &Layout,
        b: &CpuStorage,
        lb: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let name = self.name();
        let (x, a, b) = (operand(name, x, lx)?, operand(name, a, la)?, operand(name, b, lb)?);
        let mut g = zeros(x.len());
        let rows = g.par_chunks_mut(a.len()).zip(x.par_chunks(a.len())).with_min_len(ROWS_A_TASK);
        rows.for_each(|(g, x)| (0..a.len()).for_each(|h| g[h] = -a[h].exp() * softplus(x[h] + b[h])));
        Ok(result(g, lx.shape()))
    }

    /// dx = −dg e^A σ(x + b);  db = Σ_t dx;  dA = Σ_t dg g
    fn bwd(
        &self,
        x: &Tensor,
        a: &Tensor,
        b: &Tensor,
        y: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let g = g.contiguous()?;
        let (xs, az, bs, ys, gs) =
            (CpuSlice::of(x)?, CpuSlice::of(a)?, CpuSlice::of(b)?, CpuSlice::of(y)?, CpuSlice::of(&g)?);
        let heads = az.len();
        let mut dx = zeros(xs.len());
        let (mut da, mut db) = (vec![0f64; heads], vec![0f64; heads]);
        for (at, dx) in dx.iter_mut().enumerate() {
            let h = at % heads;
            *dx = -gs[at] * az[h].exp() / (1.0 + (-xs[at] - bs[h]).exp());
            da[h] += gs[at] as f64 * ys[at] as f64;
            db[h] += *dx as f64;
        }
        let back = |sums: Vec<f64>| {
            Tensor::from_vec(sums.into_iter().map(|sum| sum as f32).collect::<Vec<f32>>(), heads, x.device())
        };
        let da = self.a_learns.then(|| back(da)).transpose()?;
        let db = self.bias_learns.then(|| back(db)).transpose()?;
        Ok((Some(Tensor::from_vec(dx, x.shape(), x.device())?), da, db))
    }
}

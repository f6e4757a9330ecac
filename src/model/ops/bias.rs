//! y = x + b for every row: the bias of a linear layer.
use super::slices::{CpuSlice, has_loops, operand, result, zeros};
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

/// Numbers that one task of a parallel loop takes, about.
const BLOCK: usize = 1 << 15;

/// `x` [rows, n] + `bias` [n] → [rows, n]. Differentiable in both, where they are variables.
pub fn add_bias(x: &Tensor, bias: &Tensor) -> Result<Tensor> {
    if !has_loops(&[x, bias]) {
        return x.broadcast_add(bias);
    }
    x.contiguous()?.apply_op2(&bias.contiguous()?, AddBias { bias_learns: bias.track_op() })
}

struct AddBias {
    bias_learns: bool,
}

/// A multiple of `n` near [`BLOCK`].
fn block(n: usize) -> usize {
    (BLOCK / n).max(1) * n
}

impl CustomOp2 for AddBias {
    fn name(&self) -> &'static str {
        "add-bias"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, b: &CpuStorage, lb: &Layout) -> Result<(CpuStorage, Shape)> {
        let n = lb.shape().elem_count();
        if n == 0 || lx.dims().last() != Some(&n) || lb.dims() != [n] {
            bail!("add-bias: input {:?}, bias {:?}", lx.shape(), lb.shape())
        }
        let (x, b) = (operand("add-bias", x, lx)?, operand("add-bias", b, lb)?);
        let mut y = zeros(x.len());
        y.par_chunks_mut(block(n)).zip(x.par_chunks(block(n))).for_each(|(y, x)| {
            for (y, x) in y.chunks_exact_mut(n).zip(x.chunks_exact(n)) {
                y.iter_mut().zip(x.iter().zip(b)).for_each(|(y, (x, b))| *y = x + b);
            }
        });
        Ok(result(y, lx.shape()))
    }

    fn bwd(&self, _x: &Tensor, b: &Tensor, _y: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        if !self.bias_learns {
            return Ok((Some(g.clone()), None));
        }
        let g = g.contiguous()?;
        let (gs, n) = (CpuSlice::of(&g)?, b.elem_count());
        let sum = |rows: &[f32]| {
            let mut sum = vec![0f32; n];
            rows.chunks_exact(n).for_each(|row| sum.iter_mut().zip(row).for_each(|(s, g)| *s += g));
            sum
        };
        let partial: Vec<Vec<f32>> = gs.par_chunks(block(n)).map(sum).collect();
        let db = sum(&partial.concat());
        drop(gs);
        Ok((Some(g), Some(Tensor::from_vec(db, n, b.device())?)))
    }
}

//! z = x + y: the residual connections, and the bias of a linear layer (one row added to every row). candle's own sum
//! wakes a second pool of threads, which then spins beside ours.
use super::cpu::lanes::dispatch;
use super::slices::{CpuSlice, ROWS_A_TASK, has_loops, may_be_overwritten, operand, overwrite_with, result, zeros};
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

/// `x` and `y` of one shape. Differentiable in both.
pub fn add(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    if !has_loops(&[x, y]) || x.shape() != y.shape() {
        return x + y;
    }
    x.contiguous()?.apply_op2(&y.contiguous()?, Add)
}

/// As [`add`], written over `y` where no gradient asks for it. `y` must be no one else's.
pub fn add_over(x: &Tensor, y: Tensor) -> Result<Tensor> {
    if x.shape() != y.shape() || !may_be_overwritten(&y, &[x]) {
        return add(x, &y);
    }
    overwrite_with("add", &y, x, |y, x| {
        y.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK)).for_each(|(y, x)| add_block_over(x, y));
    })?;
    Ok(y)
}

/// `y` [tokens, n] + `bias` [n], row by row, written over `y` where no gradient asks for it. `y` must be no one else's.
/// Differentiable in `y`, and in `bias` where that is a variable.
pub fn add_bias_over(y: Tensor, bias: &Tensor) -> Result<Tensor> {
    let n = bias.dim(0)?;
    if !has_loops(&[&y, bias]) || y.dim(1)? != n {
        return y.broadcast_add(&bias.to_dtype(y.dtype())?);
    }
    if !may_be_overwritten(&y, &[bias]) {
        return y.contiguous()?.apply_op2(bias, AddBias { learns: bias.track_op() });
    }
    overwrite_with("add-bias", &y, bias, |y, bias| {
        y.par_chunks_mut(ROWS_A_TASK * n)
            .for_each(|rows| rows.chunks_exact_mut(n).for_each(|row| add_block_over(bias, row)));
    })?;
    Ok(y)
}

struct AddBias {
    /// True where the bias is a variable.
    learns: bool,
}

impl CustomOp2 for AddBias {
    fn name(&self) -> &'static str {
        "add-bias"
    }

    fn cpu_fwd(&self, y: &CpuStorage, ly: &Layout, b: &CpuStorage, lb: &Layout) -> Result<(CpuStorage, Shape)> {
        let (y, b) = (operand("add-bias", y, ly)?, operand("add-bias", b, lb)?);
        let mut z = zeros(y.len());
        let block = ROWS_A_TASK * b.len();
        z.par_chunks_mut(block).zip(y.par_chunks(block)).for_each(|(z, y)| {
            z.chunks_exact_mut(b.len()).zip(y.chunks_exact(b.len())).for_each(|(z, y)| add_block(y, b, z));
        });
        Ok(result(z, ly.shape()))
    }

    /// db = Σ over rows of g, summed in f64.
    fn bwd(&self, _y: &Tensor, b: &Tensor, _z: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        if !self.learns {
            return Ok((Some(g.clone()), None));
        }
        let (g_rows, n) = (g.contiguous()?, b.dim(0)?);
        let mut sums = vec![0f64; n];
        for row in CpuSlice::of(&g_rows)?.chunks_exact(n) {
            sums.iter_mut().zip(row).for_each(|(sum, g)| *sum += *g as f64);
        }
        let db: Vec<f32> = sums.into_iter().map(|sum| sum as f32).collect();
        Ok((Some(g.clone()), Some(Tensor::from_vec(db, n, b.device())?)))
    }
}

struct Add;

const BLOCK: usize = 1 << 15;

dispatch! {
    fn add_block(x: &[f32], y: &[f32], z: &mut [f32]) {
        let n = z.len();
        let (x, y) = (&x[..n], &y[..n]);
        for i in 0..n {
            z[i] = x[i] + y[i];
        }
    }
}

dispatch! {
    fn add_block_over(x: &[f32], y: &mut [f32]) {
        let n = y.len();
        let x = &x[..n];
        for i in 0..n {
            y[i] += x[i];
        }
    }
}

impl CustomOp2 for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, y: &CpuStorage, ly: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, y) = (operand("add", x, lx)?, operand("add", y, ly)?);
        let mut z = zeros(x.len());
        z.par_chunks_mut(BLOCK)
            .zip(x.par_chunks(BLOCK).zip(y.par_chunks(BLOCK)))
            .for_each(|(z, (x, y))| add_block(x, y, z));
        Ok(result(z, lx.shape()))
    }

    fn bwd(&self, _x: &Tensor, _y: &Tensor, _z: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some(g.clone()), Some(g.clone())))
    }
}

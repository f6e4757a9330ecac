//! z = x + y, the residual connections. candle's own sum wakes a second pool of threads, which then spins beside ours.
use super::lanes::dispatch;
use super::slices::{has_loops, may_be_overwritten, operand, overwrite_with, result, zeros};
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
            y[i] = x[i] + y[i];
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

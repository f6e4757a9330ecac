//! y = x Wᵀ. A frozen W costs no gradient: candle's own product would compute dW and keep it (guide §3).
use super::matrix::{Threads, View, ViewMut, multiply};
use super::slices::{Numbers, has_loops, operand, result};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

/// `x` [tokens, k], `weight` [n, k] → [tokens, n]. Differentiable in `x`, and in `weight` where that is a variable.
pub fn linear(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    if weight.track_op() || !has_loops(&[x, weight]) {
        return x.matmul(&weight.t()?);
    }
    x.contiguous()?.apply_op1(FrozenLinear { weight: weight.contiguous()? })
}

struct FrozenLinear {
    weight: Tensor,
}

impl CustomOp1 for FrozenLinear {
    fn name(&self) -> &'static str {
        "frozen-linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (n, k) = self.weight.dims2()?;
        let (tokens, wide) = layout.shape().dims2()?;
        if wide != k {
            candle_core::bail!("linear: input of {wide}, weight [{n}, {k}]")
        }
        let (x, w) = (operand("frozen-linear", x, layout)?, Numbers::of(&self.weight)?);
        let mut y = vec![0f32; tokens * n];
        let (x, w) = (View::new(x, tokens, k, k), View::new(&w, n, k, k));
        multiply(ViewMut::new(&mut y, tokens, n, n), x, w.t(), 1.0, false, Threads::All);
        Ok(result(y, &Shape::from((tokens, n))))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        let (n, k) = self.weight.dims2()?;
        let g = g.contiguous()?;
        let (gs, w) = (Numbers::of(&g)?, Numbers::of(&self.weight)?);
        let tokens = gs.len() / n;
        let mut dx = vec![0f32; tokens * k];
        let (gs, w) = (View::new(&gs, tokens, n, n), View::new(&w, n, k, k));
        multiply(ViewMut::new(&mut dx, tokens, k, k), gs, w, 1.0, false, Threads::All);
        Ok(Some(Tensor::from_vec(dx, x.shape(), x.device())?))
    }
}

//! y = silu(gate) ⊙ up, silu(z) = z / (1 + e^−z) (Shazeer 2020, GLU variants).
use super::cpu::lanes::{dispatch, exp};
use super::slices::{CpuSlice, has_loops, may_be_overwritten, operand, overwrite_with, result, zeros};
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

const BLOCK: usize = 16_384;

/// `gate`, `up` of one shape → that shape. Differentiable in both.
pub fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    if !has_loops(&[gate, up]) {
        return gate.silu()? * up;
    }
    gate.contiguous()?.apply_op2(&up.contiguous()?, SwiGlu)
}

/// As [`swiglu`], written over `gate` where no gradient asks for it. `gate` must be no one else's.
pub fn swiglu_over(gate: Tensor, up: &Tensor) -> Result<Tensor> {
    if gate.shape() != up.shape() || !may_be_overwritten(&gate, &[up]) {
        return swiglu(&gate, up);
    }
    overwrite_with("swiglu", &gate, up, |gate, up| {
        gate.par_chunks_mut(BLOCK).zip(up.par_chunks(BLOCK)).for_each(|(gate, up)| forward_block_over(gate, up));
    })?;
    Ok(gate)
}

struct SwiGlu;

dispatch! {
    fn forward_block(gate: &[f32], up: &[f32], y: &mut [f32]) {
        let n = y.len();
        let (gate, up) = (&gate[..n], &up[..n]);
        for i in 0..n {
            y[i] = gate[i] / (1.0 + exp(-gate[i])) * up[i];
        }
    }
}

dispatch! {
    fn forward_block_over(gate: &mut [f32], up: &[f32]) {
        let n = gate.len();
        let up = &up[..n];
        for i in 0..n {
            gate[i] = gate[i] / (1.0 + exp(-gate[i])) * up[i];
        }
    }
}

dispatch! {
    // silu'(z) = σ (1 + z (1 − σ))
    fn backward_block(gate: &[f32], up: &[f32], g: &[f32], dgate: &mut [f32], dup: &mut [f32]) {
        let n = gate.len();
        let (up, g, dgate, dup) = (&up[..n], &g[..n], &mut dgate[..n], &mut dup[..n]);
        for i in 0..n {
            let sigma = 1.0 / (1.0 + exp(-gate[i]));
            dgate[i] = g[i] * up[i] * sigma * (1.0 + gate[i] * (1.0 - sigma));
            dup[i] = g[i] * gate[i] * sigma;
        }
    }
}

impl CustomOp2 for SwiGlu {
    fn name(&self) -> &'static str {
        "swiglu"
    }

    fn cpu_fwd(&self, a: &CpuStorage, la: &Layout, b: &CpuStorage, lb: &Layout) -> Result<(CpuStorage, Shape)> {
        let (gate, up) = (operand("swiglu", a, la)?, operand("swiglu", b, lb)?);
        let mut y = zeros(gate.len());
        y.par_chunks_mut(BLOCK)
            .zip(gate.par_chunks(BLOCK).zip(up.par_chunks(BLOCK)))
            .for_each(|(y, (gate, up))| forward_block(gate, up, y));
        Ok(result(y, la.shape()))
    }

    fn bwd(&self, gate: &Tensor, up: &Tensor, _y: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let g = g.contiguous()?;
        let (gates, ups, gs) = (CpuSlice::of(gate)?, CpuSlice::of(up)?, CpuSlice::of(&g)?);
        let (mut dgate, mut dup) = (zeros(gates.len()), zeros(gates.len()));
        dgate
            .par_chunks_mut(BLOCK)
            .zip(dup.par_chunks_mut(BLOCK))
            .zip(gates.par_chunks(BLOCK).zip(ups.par_chunks(BLOCK)).zip(gs.par_chunks(BLOCK)))
            .for_each(|((dgate, dup), ((gate, up), g))| backward_block(gate, up, g, dgate, dup));
        let back = |v| Tensor::from_vec(v, gate.shape(), gate.device());
        Ok((Some(back(dgate)?), Some(back(dup)?)))
    }
}

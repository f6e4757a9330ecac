//! y = x ⊙ σ(gate): the output gate of attention (Qiu et al. 2025, Gated attention for large language models).
use super::cpu::lanes::{dispatch, exp};
use super::slices::{CpuSlice, has_loops, operand, result, zeros};
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

const BLOCK: usize = 16_384;

/// `x`, `gate` of one shape → that shape. Differentiable in both.
pub fn sigmoid_gate(x: &Tensor, gate: &Tensor) -> Result<Tensor> {
    if !has_loops(&[x, gate]) {
        return sigmoid_gate_naive(x, gate);
    }
    if x.shape() != gate.shape() {
        bail!("sigmoid-gate: x {:?}, gate {:?}", x.shape(), gate.shape())
    }
    x.contiguous()?.apply_op2(&gate.contiguous()?, SigmoidGate)
}

/// The same by candle's own differentiable operations.
pub fn sigmoid_gate_naive(x: &Tensor, gate: &Tensor) -> Result<Tensor> {
    x * (gate.neg()?.exp()? + 1.0)?.recip()?
}

struct SigmoidGate;

dispatch! {
    fn forward_block(x: &[f32], gate: &[f32], y: &mut [f32]) {
        let n = y.len();
        let (x, gate) = (&x[..n], &gate[..n]);
        for i in 0..n {
            y[i] = x[i] / (1.0 + exp(-gate[i]));
        }
    }
}

dispatch! {
    // σ'(z) = σ (1 − σ)
    fn backward_block(x: &[f32], gate: &[f32], g: &[f32], dx: &mut [f32], dgate: &mut [f32]) {
        let n = x.len();
        let (gate, g, dx, dgate) = (&gate[..n], &g[..n], &mut dx[..n], &mut dgate[..n]);
        for i in 0..n {
            let sigma = 1.0 / (1.0 + exp(-gate[i]));
            dx[i] = g[i] * sigma;
            dgate[i] = g[i] * x[i] * sigma * (1.0 - sigma);
        }
    }
}

impl CustomOp2 for SigmoidGate {
    fn name(&self) -> &'static str {
        "sigmoid-gate"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, gate: &CpuStorage, lg: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, gate) = (operand(self.name(), x, lx)?, operand(self.name(), gate, lg)?);
        let mut y = zeros(x.len());
        y.par_chunks_mut(BLOCK)
            .zip(x.par_chunks(BLOCK).zip(gate.par_chunks(BLOCK)))
            .for_each(|(y, (x, gate))| forward_block(x, gate, y));
        Ok(result(y, lx.shape()))
    }

    fn bwd(&self, x: &Tensor, gate: &Tensor, _y: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let g = g.contiguous()?;
        let (xs, gates, gs) = (CpuSlice::of(x)?, CpuSlice::of(gate)?, CpuSlice::of(&g)?);
        let (mut dx, mut dgate) = (zeros(xs.len()), zeros(xs.len()));
        dx.par_chunks_mut(BLOCK)
            .zip(dgate.par_chunks_mut(BLOCK))
            .zip(xs.par_chunks(BLOCK).zip(gates.par_chunks(BLOCK)).zip(gs.par_chunks(BLOCK)))
            .for_each(|((dx, dgate), ((x, gate), g))| backward_block(x, gate, g, dx, dgate));
        let back = |v| Tensor::from_vec(v, x.shape(), x.device()).map(Some);
        Ok((back(dx)?, back(dgate)?))
    }
}

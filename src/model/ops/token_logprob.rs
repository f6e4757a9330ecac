//! log p(target) of every row of hidden states, with the output projection inside: logits live for a chunk of rows only.
//!
//! ```text
//! logp_t = h_t·w_{y_t} − log Σ_v e^{h_t·w_v}
//! s_t    = (1 − ε) logp_t + ε/V Σ_v log p_v            label smoothing (Szegedy et al. 2016); s = logp at ε = 0
//! ```
//! With a frozen head the forward pass keeps u_t = Σ_v (q_v − p_v) w_v, q the smoothed target, so the backward pass is
//! g_t · u_t and exact for any loss built on top (cross-entropy, DFT, GRPO). With a head that learns the logits are recomputed.
use super::cpu::lanes::{exp_shifted, log_sum_exp};
use super::cpu::matrix::{View, ViewMut, multiply};
use super::cpu::workers::Threads;
use super::slices::{CpuSlice, has_loops, operand, result};
use super::weight::Weight;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;
use std::sync::{Arc, Mutex};

const CHUNK: usize = 256;

/// What the model thinks of the target tokens, natural logarithms.
pub struct TokenLogProbs {
    /// s [n], differentiable.
    pub smoothed: Tensor,
    /// logp [n] without smoothing, detached.
    pub logp: Tensor,
}

/// `hidden` [n, width], `head` [vocabulary, width], `targets` n token ids → [n] natural logarithms.
///
/// Differentiable in `hidden`, and in `head` where that is a variable.
pub fn token_logprob(hidden: &Tensor, head: &Weight, targets: &[u32]) -> Result<Tensor> {
    Ok(smoothed_token_logprob(hidden, head, targets, 0.0)?.smoothed)
}

/// As [`token_logprob`] with label smoothing ε in [0, 1).
pub fn smoothed_token_logprob(hidden: &Tensor, head: &Weight, targets: &[u32], epsilon: f64) -> Result<TokenLogProbs> {
    let (n, (vocabulary, _)) = (hidden.dim(0)?, head.dims()?);
    if let Some(&id) = targets.iter().find(|&&id| id as usize >= vocabulary) {
        bail!("token id {id} outside the vocabulary of {vocabulary}")
    }
    if targets.len() != n {
        bail!("{n} rows of hidden states, {} targets", targets.len())
    }
    if !has_loops(&[hidden]) || !head.has_loops() {
        return smoothed_token_logprob_naive(hidden, &head.dense()?, targets, epsilon);
    }
    let saved = Arc::new(Mutex::default());
    let op = TokenLogProb {
        head: head.clone(),
        targets: targets.to_vec(),
        epsilon: epsilon as f32,
        keeps: hidden.track_op() && !head.learns(),
        saved: Arc::clone(&saved),
    };
    let smoothed = match head {
        Weight::Tensor(t) if head.learns() => hidden.contiguous()?.apply_op2(t, op)?,
        _ => hidden.contiguous()?.apply_op1(op)?,
    };
    let logp = saved.lock().map_err(|_| poisoned())?.logp.clone();
    Ok(TokenLogProbs { smoothed, logp: Tensor::from_vec(logp, n, hidden.device())? })
}

/// The same by candle's own differentiable operations; keeps every logit.
pub fn smoothed_token_logprob_naive(
    hidden: &Tensor,
    head: &Tensor,
    targets: &[u32],
    epsilon: f64,
) -> Result<TokenLogProbs> {
    let logits = hidden.matmul(&head.to_dtype(hidden.dtype())?.t()?)?;
    let logits = if logits.dtype() == DType::F64 { logits } else { logits.to_dtype(DType::F32)? };
    let ids = Tensor::new(targets, hidden.device())?.unsqueeze(1)?;
    let all = candle_nn::ops::log_softmax(&logits, 1)?;
    let logp = all.gather(&ids, 1)?.squeeze(1)?;
    let smoothed = ((&logp * (1.0 - epsilon))? + (all.mean(1)? * epsilon)?)?;
    Ok(TokenLogProbs { smoothed, logp: logp.detach() })
}

fn poisoned() -> candle_core::Error {
    candle_core::Error::msg("token-logprob: a worker panicked")
}

/// What the forward pass leaves for the backward pass.
#[derive(Default)]
struct Saved {
    logp: Vec<f32>,
    /// log Σ e^z of every row.
    lse: Vec<f32>,
    /// u [n, width], with a frozen head.
    u: Vec<f32>,
}

struct TokenLogProb {
    head: Weight,
    targets: Vec<u32>,
    epsilon: f32,
    keeps: bool,
    saved: Arc<Mutex<Saved>>,
}

impl TokenLogProb {
    fn forward(&self, h: &[f32]) -> Result<Vec<f32>> {
        let (vocabulary, width) = self.head.dims()?;
        let n = self.targets.len();
        let (mut out, mut saved) = (Vec::with_capacity(n), Saved::default());
        saved.u = vec![0f32; if self.keeps { n * width } else { 0 }];
        let mut z = vec![0f32; CHUNK.min(n) * vocabulary];
        for first in (0..n).step_by(CHUNK) {
            let rows = first..n.min(first + CHUNK);
            let z = &mut z[..rows.len() * vocabulary];
            self.head.forward(&h[first * width..rows.end * width], rows.len(), z)?;
            let lse: Vec<f32> = z.par_chunks_exact(vocabulary).map(log_sum_exp).collect();
            for ((z, lse), &target) in z.chunks_exact(vocabulary).zip(&lse).zip(&self.targets[rows.clone()]) {
                let logp = z[target as usize] - lse;
                saved.logp.push(logp);
                out.push(if self.epsilon == 0.0 { logp } else { self.smooth(logp, z, *lse) });
            }
            if self.keeps {
                self.logit_gradient(z, first, &lse, vocabulary);
                self.head.backward(z, rows.len(), &mut saved.u[first * width..rows.end * width])?;
            }
            saved.lse.extend(lse);
        }
        *self.saved.lock().map_err(|_| poisoned())? = saved;
        Ok(out)
    }

    fn smooth(&self, logp: f32, z: &[f32], lse: f32) -> f32 {
        let mean = z.iter().map(|&z| z as f64).sum::<f64>() / z.len() as f64;
        (1.0 - self.epsilon) * logp + self.epsilon * (mean - lse as f64) as f32
    }

    /// Logits turned into q − p: ∂s/∂z.
    fn logit_gradient(&self, z: &mut [f32], first: usize, lse: &[f32], vocabulary: usize) {
        let share = self.epsilon / vocabulary as f32;
        z.par_chunks_exact_mut(vocabulary).enumerate().for_each(|(i, row)| {
            exp_shifted(row, lse[i]);
            row.iter_mut().for_each(|p| *p = share - *p);
            row[self.targets[first + i] as usize] += 1.0 - self.epsilon;
        });
    }
}

impl CustomOp1 for TokenLogProb {
    fn name(&self) -> &'static str {
        "token-logprob"
    }

    fn cpu_fwd(&self, h: &CpuStorage, lh: &Layout) -> Result<(CpuStorage, Shape)> {
        let logp = self.forward(operand("token-logprob", h, lh)?)?;
        Ok(result(logp, &Shape::from(self.targets.len())))
    }

    fn bwd(&self, h: &Tensor, _y: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        let (g, width) = (g.contiguous()?, h.dim(1)?);
        let gs = CpuSlice::of(&g)?;
        let saved = self.saved.lock().map_err(|_| poisoned())?;
        let dh: Vec<f32> = saved.u.iter().enumerate().map(|(i, u)| u * gs[i / width]).collect();
        Ok(Some(Tensor::from_vec(dh, h.shape(), h.device())?))
    }
}

impl CustomOp2 for TokenLogProb {
    fn name(&self) -> &'static str {
        "token-logprob"
    }

    fn cpu_fwd(&self, h: &CpuStorage, lh: &Layout, _w: &CpuStorage, _lw: &Layout) -> Result<(CpuStorage, Shape)> {
        CustomOp1::cpu_fwd(self, h, lh) // the head is at hand already
    }

    fn bwd(&self, h: &Tensor, w: &Tensor, _y: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (g, w) = (g.contiguous()?, w.contiguous()?);
        let (gs, hs, ws) = (CpuSlice::of(&g)?, CpuSlice::of(h)?, CpuSlice::of(&w)?);
        let saved = self.saved.lock().map_err(|_| poisoned())?;
        let (vocabulary, width) = w.dims2()?;
        let n = gs.len();
        let (mut dh, mut dw) = (vec![0f32; hs.len()], vec![0f32; ws.len()]);
        let mut z = vec![0f32; CHUNK.min(n) * vocabulary];
        let head = View::new(&ws, vocabulary, width, width);
        for first in (0..n).step_by(CHUNK) {
            let rows = CHUNK.min(n - first);
            let z = &mut z[..rows * vocabulary];
            let chunk = View::new(&hs[first * width..], rows, width, width);
            multiply(ViewMut::new(z, rows, vocabulary, vocabulary), chunk, head.t(), 1.0, false, Threads::All);
            self.logit_gradient(z, first, &saved.lse[first..first + rows], vocabulary);
            z.par_chunks_exact_mut(vocabulary).zip(&gs[first..first + rows]).for_each(|(z, g)| {
                super::cpu::lanes::scale(z, *g);
            });
            let z = View::new(z, rows, vocabulary, vocabulary);
            multiply(ViewMut::new(&mut dh[first * width..], rows, width, width), z, head, 1.0, false, Threads::All);
            multiply(ViewMut::new(&mut dw, vocabulary, width, width), z.t(), chunk, 1.0, true, Threads::All);
        }
        let back = |d, like: &Tensor| Tensor::from_vec(d, like.shape(), like.device()).map(Some);
        Ok((back(dh, h)?, back(dw, &w)?))
    }
}

//! log p(target) of every row of hidden states, with the output projection inside: logits live for a chunk of rows only.
//!
//! logp_t = h_t·w_{y_t} − log Σ_v e^{h_t·w_v}. With a frozen head the forward pass keeps u_t = w_{y_t} − Σ_v p_v w_v, so the
//! backward pass is g_t · u_t and exact for any loss built on top (cross-entropy, DFT, GRPO). With a head that learns
//! the logits are recomputed.
use super::lanes::{exp_shifted, log_sum_exp};
use super::matrix::{Threads, View, ViewMut, multiply};
use super::slices::{Numbers, has_loops, operand, result};
use candle_core::{CpuStorage, CustomOp2, DType, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;
use std::sync::{Arc, Mutex};

const CHUNK: usize = 256;

/// `hidden` [n, width], `head` [vocabulary, width], `targets` n token ids → [n] natural logarithms.
///
/// Differentiable in `hidden`, and in `head` where that is a variable.
pub fn token_logprob(hidden: &Tensor, head: &Tensor, targets: &[u32]) -> Result<Tensor> {
    let (vocabulary, n) = (head.dim(0)?, hidden.dim(0)?);
    if let Some(&id) = targets.iter().find(|&&id| id as usize >= vocabulary) {
        bail!("token id {id} outside the vocabulary of {vocabulary}")
    }
    if targets.len() != n {
        bail!("{n} rows of hidden states, {} targets", targets.len())
    }
    if !has_loops(&[hidden, head]) {
        return token_logprob_naive(hidden, head, targets);
    }
    let op = TokenLogProb {
        targets: Arc::new(targets.to_vec()),
        head_learns: head.track_op(),
        keeps: hidden.track_op() && !head.track_op(),
        saved: Mutex::default(),
    };
    hidden.contiguous()?.apply_op2(&head.contiguous()?, op)
}

/// The same by candle's own differentiable operations; keeps every logit.
pub fn token_logprob_naive(hidden: &Tensor, head: &Tensor, targets: &[u32]) -> Result<Tensor> {
    let logits = hidden.matmul(&head.t()?)?;
    let logits = if logits.dtype() == DType::F64 { logits } else { logits.to_dtype(DType::F32)? };
    let ids = Tensor::new(targets, hidden.device())?.unsqueeze(1)?;
    candle_nn::ops::log_softmax(&logits, 1)?.gather(&ids, 1)?.squeeze(1)
}

struct TokenLogProb {
    targets: Arc<Vec<u32>>,
    head_learns: bool,
    keeps: bool,
    /// u [n, width] with a frozen head; else log Σ e^z of every row.
    saved: Mutex<Vec<f32>>,
}

impl TokenLogProb {
    /// Logits of `rows` rows turned into −p, with 1 added at the target: ∂logp/∂z.
    fn logit_gradient(&self, z: &mut [f32], first: usize, lse: &[f32], vocabulary: usize) {
        z.par_chunks_exact_mut(vocabulary).enumerate().for_each(|(i, row)| {
            exp_shifted(row, lse[i]);
            row.iter_mut().for_each(|p| *p = -*p);
            row[self.targets[first + i] as usize] += 1.0;
        });
    }
}

impl CustomOp2 for TokenLogProb {
    fn name(&self) -> &'static str {
        "token-logprob"
    }

    fn cpu_fwd(&self, h: &CpuStorage, lh: &Layout, w: &CpuStorage, lw: &Layout) -> Result<(CpuStorage, Shape)> {
        let (h, w) = (operand("token-logprob", h, lh)?, operand("token-logprob", w, lw)?);
        let (vocabulary, width) = lw.shape().dims2()?;
        let n = self.targets.len();
        let (mut logp, mut all_lse) = (Vec::with_capacity(n), Vec::with_capacity(n));
        let mut u = vec![0f32; if self.keeps { n * width } else { 0 }];
        let mut z = vec![0f32; CHUNK.min(n) * vocabulary];
        let head = View::new(w, vocabulary, width, width);
        for first in (0..n).step_by(CHUNK) {
            let rows = CHUNK.min(n - first);
            let z = &mut z[..rows * vocabulary];
            let chunk = View::new(&h[first * width..], rows, width, width);
            multiply(ViewMut::new(z, rows, vocabulary, vocabulary), chunk, head.t(), 1.0, false, Threads::All);
            let lse: Vec<f32> = z.par_chunks_exact(vocabulary).map(log_sum_exp).collect();
            logp.extend((0..rows).map(|i| z[i * vocabulary + self.targets[first + i] as usize] - lse[i]));
            if self.keeps {
                self.logit_gradient(z, first, &lse, vocabulary);
                let u = ViewMut::new(&mut u[first * width..], rows, width, width);
                multiply(u, View::new(z, rows, vocabulary, vocabulary), head, 1.0, false, Threads::All);
            }
            all_lse.extend(lse);
        }
        if let Ok(mut saved) = self.saved.lock() {
            *saved = if self.keeps { u } else { all_lse };
        }
        Ok(result(logp, &Shape::from(n)))
    }

    fn bwd(&self, h: &Tensor, w: &Tensor, _y: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let g = g.contiguous()?;
        let gs = Numbers::of(&g)?;
        let saved = self.saved.lock().map_err(|_| candle_core::Error::msg("token-logprob: a worker panicked"))?;
        let (vocabulary, width) = w.dims2()?;
        if !self.head_learns {
            let dh: Vec<f32> = saved.iter().enumerate().map(|(i, u)| u * gs[i / width]).collect();
            return Ok((Some(Tensor::from_vec(dh, h.shape(), h.device())?), None));
        }
        let (hs, ws) = (Numbers::of(h)?, Numbers::of(w)?);
        let n = gs.len();
        let (mut dh, mut dw) = (vec![0f32; hs.len()], vec![0f32; ws.len()]);
        let mut z = vec![0f32; CHUNK.min(n) * vocabulary];
        let head = View::new(&ws, vocabulary, width, width);
        for first in (0..n).step_by(CHUNK) {
            let rows = CHUNK.min(n - first);
            let z = &mut z[..rows * vocabulary];
            let chunk = View::new(&hs[first * width..], rows, width, width);
            multiply(ViewMut::new(z, rows, vocabulary, vocabulary), chunk, head.t(), 1.0, false, Threads::All);
            self.logit_gradient(z, first, &saved[first..first + rows], vocabulary);
            z.par_chunks_exact_mut(vocabulary).zip(&gs[first..first + rows]).for_each(|(z, g)| {
                super::lanes::scale(z, *g);
            });
            let z = View::new(z, rows, vocabulary, vocabulary);
            multiply(ViewMut::new(&mut dh[first * width..], rows, width, width), z, head, 1.0, false, Threads::All);
            multiply(ViewMut::new(&mut dw, vocabulary, width, width), z.t(), chunk, 1.0, true, Threads::All);
        }
        let back = |d, like: &Tensor| Tensor::from_vec(d, like.shape(), like.device()).map(Some);
        Ok((back(dh, h)?, back(dw, w)?))
    }
}

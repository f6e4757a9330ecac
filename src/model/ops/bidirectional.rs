//! Attention of encoders over packed segments: every token sees its own segment, before and behind it, and no other.
//!
//! y = softmax(q kᵀ / √d) v for each head. With a window of w, token i sees the tokens j of its segment with |i − j| ≤ w (Beltagy et al. 2020).
//! Scores live for a block of rows at a time and are recomputed in the backward pass from the saved log Σ e^s, as in
//! [`causal_attention`](super::causal_attention).
use super::cpu::lanes::{dot, exp_row, exp_shifted, scale};
use super::cpu::matrix::{View, ViewMut, multiply};
use super::cpu::workers::Threads;
use super::segments::Segments;
use super::slices::{CpuSlice, has_loops, operand, result};
use candle_core::{CpuStorage, CustomOp3, D, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Mutex;

const BLOCK: usize = 128;

/// `q`, `k` and `v` [tokens, heads, d] → [tokens, heads, d]; `window` None: the whole segment. Differentiable in all three.
pub fn bidirectional_attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    segments: &Segments,
    window: Option<usize>,
) -> Result<Tensor> {
    let (tokens, heads, dim) = q.dims3()?;
    if k.shape() != q.shape() || v.shape() != q.shape() || tokens != segments.tokens() {
        let shapes = (q.shape(), k.shape(), v.shape());
        bail!("bidirectional attention: q, k, v {shapes:?}, {} tokens in segments", segments.tokens())
    }
    if !has_loops(&[q, k, v]) {
        return bidirectional_attention_naive(q, k, v, segments, window);
    }
    let op = Bidirectional { heads, dim, window, segments: segments.clone(), lse: Mutex::default() };
    q.contiguous()?.apply_op3(&k.contiguous()?, &v.contiguous()?, op)
}

/// The same by candle's own differentiable operations, one segment after the other.
pub fn bidirectional_attention_naive(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    segments: &Segments,
    window: Option<usize>,
) -> Result<Tensor> {
    let dim = q.dim(2)?;
    let mut out = Vec::new();
    for range in (0..segments.len()).map(|i| segments.range(i)) {
        let n = range.len();
        let part = |t: &Tensor| t.narrow(0, range.start, n)?.transpose(0, 1)?.contiguous();
        let (q, k, v) = (part(q)?, part(k)?, part(v)?);
        let hidden =
            |at: usize| if window.is_some_and(|w| (at / n).abs_diff(at % n) > w) { f32::NEG_INFINITY } else { 0.0 };
        let mask = Tensor::from_vec((0..n * n).map(hidden).collect::<Vec<f32>>(), (1, n, n), q.device())?;
        let scores = (q.matmul(&k.t()?.contiguous()?)? * (dim as f64).powf(-0.5))?;
        let scores = scores.broadcast_add(&mask.to_dtype(q.dtype())?)?;
        out.push(candle_nn::ops::softmax(&scores, D::Minus1)?.matmul(&v)?.transpose(0, 1)?);
    }
    Tensor::cat(&out, 0)?.contiguous()
}

struct Bidirectional {
    heads: usize,
    dim: usize,
    window: Option<usize>,
    segments: Segments,
    /// log Σ e^s as [segment][head][token].
    lse: Mutex<Vec<Vec<f32>>>,
}

/// One head of one segment: numbers from its first on, `row` apart from token to token.
#[derive(Clone, Copy)]
struct Head<'a> {
    numbers: &'a [f32],
    row: usize,
    dim: usize,
}

impl<'a> Head<'a> {
    fn view(&self, tokens: &Range<usize>) -> View<'a> {
        View::new(&self.numbers[tokens.start * self.row..], tokens.len(), self.dim, self.row)
    }

    fn token(&self, i: usize) -> &'a [f32] {
        &self.numbers[i * self.row..][..self.dim]
    }
}

impl Bidirectional {
    /// Tokens of a segment of `n` that those from `first` to `last` see.
    fn seen(&self, n: usize, first: usize, last: usize) -> Range<usize> {
        match self.window {
            Some(w) => first.saturating_sub(w)..n.min(last.saturating_add(w).saturating_add(1)),
            None => 0..n,
        }
    }

    /// Blocks of query rows of a segment of `n`, each with the keys that any of them sees.
    fn blocks(&self, n: usize) -> impl Iterator<Item = (Range<usize>, Range<usize>)> + '_ {
        (0..n).step_by(BLOCK).map(move |first| {
            let rows = first..n.min(first + BLOCK);
            (rows.clone(), self.seen(n, rows.start, rows.end - 1))
        })
    }

    fn head<'a>(&self, numbers: &'a [f32], segment: usize, head: usize) -> Head<'a> {
        let row = self.heads * self.dim;
        let range = self.segments.range(segment);
        let end = range.end * row;
        Head { numbers: &numbers[(range.start * row + head * self.dim).min(end)..end], row, dim: self.dim }
    }

    fn tasks(&self) -> Vec<(usize, usize)> {
        (0..self.segments.len()).flat_map(|s| (0..self.heads).map(move |h| (s, h))).collect()
    }

    /// scores [rows, keys] = q kᵀ / √d
    fn scores(&self, [q, k]: [Head; 2], rows: &Range<usize>, keys: &Range<usize>, scores: &mut [f32]) {
        let by = (self.dim as f32).powf(-0.5);
        let to = ViewMut::new(scores, rows.len(), keys.len(), keys.len());
        multiply(to, q.view(rows), k.view(keys).t(), by, false, Threads::One);
    }

    /// One head of a segment of `n`: y [n, d], and log Σ e^s of every token.
    fn attend(&self, n: usize, [q, k, v]: [Head; 3]) -> (Vec<f32>, Vec<f32>) {
        let (mut y, mut lse) = (vec![0f32; n * self.dim], Vec::with_capacity(n));
        let mut buffer = Vec::new();
        for (rows, keys) in self.blocks(n) {
            buffer.resize(rows.len() * keys.len(), 0.0);
            self.scores([q, k], &rows, &keys, &mut buffer);
            for (i, row) in rows.clone().zip(buffer.chunks_exact_mut(keys.len())) {
                let (visible, hidden) = visible(row, &self.seen(n, i, i), &keys);
                let (max, sum) = exp_row(visible);
                scale(visible, 1.0 / sum);
                hidden.into_iter().for_each(|part| part.fill(0.0));
                lse.push(max + sum.ln());
            }
            let weights = View::new(&buffer, rows.len(), keys.len(), keys.len());
            let y = ViewMut::new(&mut y[rows.start * self.dim..], rows.len(), self.dim, self.dim);
            multiply(y, weights, v.view(&keys), 1.0, false, Threads::One);
        }
        (y, lse)
    }

    /// Gradients of one head of a segment of `n`, each [n, d]. Upstream g and result y as heads.
    fn backward(&self, n: usize, [q, k, v]: [Head; 3], [y, g]: [Head; 2], lse: &[f32]) -> [Vec<f32>; 3] {
        let dim = self.dim;
        let [mut dq, mut dk, mut dv] = [0; 3].map(|_| vec![0f32; n * dim]);
        let by = (dim as f32).powf(-0.5);
        let (mut p, mut ds) = (Vec::new(), Vec::new());
        for (rows, keys) in self.blocks(n) {
            let (r, c) = (rows.len(), keys.len());
            p.resize(r * c, 0.0);
            ds.resize(r * c, 0.0);
            self.scores([q, k], &rows, &keys, &mut p);
            multiply(ViewMut::new(&mut ds, r, c, c), g.view(&rows), v.view(&keys).t(), 1.0, false, Threads::One);
            for (i, (p, ds)) in rows.clone().zip(p.chunks_exact_mut(c).zip(ds.chunks_exact_mut(c))) {
                let along = dot(g.token(i), y.token(i)); // Σ p dp = g · y
                let (visible, hidden) = visible(p, &self.seen(n, i, i), &keys);
                exp_shifted(visible, lse[i]);
                hidden.into_iter().for_each(|part| part.fill(0.0));
                ds.iter_mut().zip(p.iter()).for_each(|(d, p)| *d = p * (*d - along) * by);
            }
            let (p, ds) = (View::new(&p, r, c, c), View::new(&ds, r, c, c));
            let at = keys.start * dim;
            multiply(ViewMut::new(&mut dv[at..], c, dim, dim), p.t(), g.view(&rows), 1.0, true, Threads::One);
            multiply(ViewMut::new(&mut dk[at..], c, dim, dim), ds.t(), q.view(&rows), 1.0, true, Threads::One);
            let dq = ViewMut::new(&mut dq[rows.start * dim..], r, dim, dim);
            multiply(dq, ds, k.view(&keys), 1.0, false, Threads::One);
        }
        [dq, dk, dv]
    }

    /// [n, d] of one head into [tokens, heads, d].
    fn scatter(&self, from: &[f32], to: &mut [f32], segment: usize, head: usize) {
        let row = self.heads * self.dim;
        let first = self.segments.range(segment).start * row + head * self.dim;
        for (i, part) in from.chunks_exact(self.dim).enumerate() {
            to[first + i * row..][..self.dim].copy_from_slice(part);
        }
    }
}

/// The part of a row of scores over `keys` that lies in `seen`, and the two beside it.
fn visible<'a>(row: &'a mut [f32], seen: &Range<usize>, keys: &Range<usize>) -> (&'a mut [f32], [&'a mut [f32]; 2]) {
    let (row, after) = row.split_at_mut(seen.end - keys.start);
    let (before, visible) = row.split_at_mut(seen.start - keys.start);
    (visible, [before, after])
}

impl CustomOp3 for Bidirectional {
    fn name(&self) -> &'static str {
        "bidirectional-attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        lq: &Layout,
        k: &CpuStorage,
        lk: &Layout,
        v: &CpuStorage,
        lv: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let name = self.name();
        let (q, k, v) = (operand(name, q, lq)?, operand(name, k, lk)?, operand(name, v, lv)?);
        let tasks = self.tasks();
        let done: Vec<(Vec<f32>, Vec<f32>)> = tasks
            .par_iter()
            .map(|&(s, h)| self.attend(self.segments.range(s).len(), [q, k, v].map(|t| self.head(t, s, h))))
            .collect();
        let mut y = vec![0f32; q.len()];
        let mut all = Vec::with_capacity(tasks.len());
        for (&(s, h), (out, lse)) in tasks.iter().zip(done) {
            self.scatter(&out, &mut y, s, h);
            all.push(lse);
        }
        if let Ok(mut saved) = self.lse.lock() {
            *saved = all;
        }
        Ok(result(y, lq.shape()))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        y: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let g = g.contiguous()?;
        let (qs, ks, vs, ys, gs) =
            (CpuSlice::of(q)?, CpuSlice::of(k)?, CpuSlice::of(v)?, CpuSlice::of(y)?, CpuSlice::of(&g)?);
        let lse = self.lse.lock().map_err(|_| candle_core::Error::msg("attention: a worker panicked"))?;
        let tasks = self.tasks();
        let inputs: [&[f32]; 3] = [&qs, &ks, &vs];
        let outputs: [&[f32]; 2] = [&ys, &gs];
        let done: Vec<[Vec<f32>; 3]> = tasks
            .par_iter()
            .zip(lse.par_iter())
            .map(|(&(s, h), lse)| {
                let n = self.segments.range(s).len();
                self.backward(n, inputs.map(|t| self.head(t, s, h)), outputs.map(|t| self.head(t, s, h)), lse)
            })
            .collect();
        let mut grads = [0; 3].map(|_| vec![0f32; qs.len()]);
        for (&(s, h), parts) in tasks.iter().zip(&done) {
            grads.iter_mut().zip(parts).for_each(|(all, part)| self.scatter(part, all, s, h));
        }
        let [dq, dk, dv] = grads.map(|d| Tensor::from_vec(d, q.shape(), q.device()));
        Ok((Some(dq?), Some(dk?), Some(dv?)))
    }
}

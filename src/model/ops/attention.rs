//! Causal grouped-query attention over packed segments: no token sees another segment, nor the future.
//!
//! y = softmax(q kᵀ / √d) v for each head; query heads h·g … h·g + g − 1 share key/value head h. Scores live for a
//! block of rows at a time and are recomputed in the backward pass from the saved log Σ e^s (Dao et al. 2022), so
//! memory grows with the longest segment and not with its square. With a sliding window a query sees the last `reach`
//! keys only, itself included, and only those are multiplied (Beltagy et al. 2020; Jiang et al. 2023, Mistral).
mod newest;

use super::cpu::lanes::{dot, exp_row, exp_shifted, scale};
use super::cpu::matrix::{View, ViewMut, multiply};
use super::cpu::workers::Threads;
use super::segments::Segments;
use super::slices::{CpuSlice, has_loops, operand, result, scatter_columns};
use candle_core::{CpuStorage, CustomOp3, D, DType, Layout, Result, Shape, Tensor, bail};
use newest::attend_newest;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Mutex;

const BLOCK: usize = 128;

/// `q` [rows, heads, d], `k` and `v` [tokens, kv_heads, d] → [rows, heads, d]. Differentiable in all three.
///
/// `segments` says whose the tokens are; the `queries` of a segment are its last ones (all of them, but in a last
/// layer). `reach`: keys that a query sees at most, itself included; None: all before it.
pub fn causal_attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    queries: &Segments,
    segments: &Segments,
    reach: Option<usize>,
) -> Result<Tensor> {
    if !has_loops(&[q, k, v]) {
        return causal_attention_naive(q, k, v, queries, segments, reach);
    }
    let (heads, dim, kv_heads) = (q.dim(1)?, q.dim(2)?, k.dim(1)?);
    let fits = (0..segments.len()).all(|i| queries.range(i).len() <= segments.range(i).len());
    if q.dim(0)? != queries.tokens()
        || k.dim(0)? != segments.tokens()
        || heads % kv_heads != 0
        || !fits
        || reach == Some(0)
    {
        bail!("attention: q {:?}, k {:?}, {} tokens in segments", q.shape(), k.shape(), segments.tokens())
    }
    let shape = Heads { heads, kv_heads, dim, reach };
    let op = Attention { shape, queries: queries.clone(), segments: segments.clone(), lse: Mutex::default() };
    q.contiguous()?.apply_op3(&k.contiguous()?, &v.contiguous()?, op)
}

/// The same by candle's own differentiable operations, one segment after the other.
pub fn causal_attention_naive(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    queries: &Segments,
    segments: &Segments,
    reach: Option<usize>,
) -> Result<Tensor> {
    let (_, heads, dim) = q.dims3()?;
    let group = heads / k.dim(1)?;
    let spread = |t: &Tensor, at: usize, n: usize| -> Result<Tensor> {
        let (_, kv, d) = t.dims3()?;
        let t = t.narrow(0, at, n)?.reshape((n, kv, 1, d))?.broadcast_as((n, kv, group, d))?;
        t.reshape((n, heads, d))?.transpose(0, 1)?.contiguous()
    };
    let mut out = Vec::new();
    for (asking, range) in (0..segments.len()).map(|i| (queries.range(i), segments.range(i))) {
        let (n, rows) = (range.len(), asking.len());
        let past = n - rows;
        let unseen = |at: usize| {
            let (key, query) = (at % n, past + at / n);
            let hidden = key > query || reach.is_some_and(|reach| key + reach <= query);
            if hidden { f32::NEG_INFINITY } else { 0.0 }
        };
        let mask = Tensor::from_vec((0..rows * n).map(unseen).collect::<Vec<f32>>(), (1, rows, n), q.device())?;
        let mask = mask.to_dtype(q.dtype())?;
        let (k, v) = (spread(k, range.start, n)?, spread(v, range.start, n)?);
        let q = q.narrow(0, asking.start, rows)?.transpose(0, 1)?.contiguous()?;
        let scores = (q.matmul(&k.t()?.contiguous()?)? * (dim as f64).powf(-0.5))?.broadcast_add(&mask)?;
        let exact = if q.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
        let weights = candle_nn::ops::softmax(&scores.to_dtype(exact)?, D::Minus1)?;
        out.push(weights.to_dtype(q.dtype())?.matmul(&v)?.transpose(0, 1)?);
    }
    Tensor::cat(&out, 0)?.contiguous()
}

#[derive(Clone, Copy)]
pub struct Heads {
    pub heads: usize,
    pub kv_heads: usize,
    pub dim: usize,
    /// Keys that a query sees at most, itself included; None: all before it.
    pub reach: Option<usize>,
}

impl Heads {
    fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// Keys that a block of rows multiplies at most, of so many.
    fn widest(&self, keys: usize) -> usize {
        self.reach.map_or(keys, |reach| keys.min(reach.saturating_add(BLOCK)))
    }

    /// The first key that the query at `position` sees.
    fn first_seen(&self, position: usize) -> usize {
        self.reach.map_or(0, |reach| (position + 1).saturating_sub(reach))
    }
}

/// One segment's keys and values (all its positions so far) and its newest queries.
#[derive(Clone, Copy)]
pub struct Window<'a> {
    /// [queries, heads, d]
    pub q: &'a [f32],
    /// [keys, kv_heads, d]; the queries are the last of these positions.
    pub k: &'a [f32],
    pub v: &'a [f32],
}

/// Attention of one query head of one window: `out` gets [queries, d], the result is log Σ e^s of every query.
fn attend_head(shape: Heads, window: Window, head: usize, out: &mut [f32]) -> Vec<f32> {
    let Heads { heads, kv_heads, dim, .. } = shape;
    let (q_row, k_row) = (heads * dim, kv_heads * dim);
    let (queries, keys) = (window.q.len() / q_row, window.k.len() / k_row);
    let past = keys - queries;
    let kv = head / shape.group() * dim;
    let (k, v) = (&window.k[kv..], &window.v[kv..]);
    let mut lse = Vec::with_capacity(queries);
    let mut scores = vec![0f32; BLOCK.min(queries) * shape.widest(keys)];
    for first in (0..queries).step_by(BLOCK) {
        let rows = BLOCK.min(queries - first);
        let from = shape.first_seen(past + first); // of all rows of the block: no other key is multiplied
        let seen = past + first + rows - from;
        let scores = &mut scores[..rows * seen];
        score_block(shape, window.q, &k[from * k_row..], head, first, rows, scores);
        for (i, row) in scores.chunks_exact_mut(seen).enumerate() {
            let at = past + first + i;
            let visible = shape.first_seen(at) - from..at + 1 - from;
            let (max, sum) = exp_row(&mut row[visible.clone()]);
            scale(&mut row[visible.clone()], 1.0 / sum);
            row[..visible.start].fill(0.0);
            row[visible.end..].fill(0.0);
            lse.push(max + sum.ln());
        }
        let out = &mut out[first * dim..(first + rows) * dim];
        let (weights, v) = (View::new(scores, rows, seen, seen), View::new(&v[from * k_row..], seen, dim, k_row));
        multiply(ViewMut::new(out, rows, dim, dim), weights, v, 1.0, false, Threads::One);
    }
    lse
}

/// scores [rows, seen] = q[first..first + rows] kᵀ / √d; `k` starts with the first key of the scores.
fn score_block(shape: Heads, q: &[f32], k: &[f32], head: usize, first: usize, rows: usize, scores: &mut [f32]) {
    let Heads { heads, kv_heads, dim, .. } = shape;
    let seen = scores.len() / rows;
    let by = (dim as f32).powf(-0.5);
    let q = &q[first * heads * dim + head * dim..];
    if rows == 1 {
        (0..seen).for_each(|j| scores[j] = by * dot(&q[..dim], &k[j * kv_heads * dim..][..dim]));
        return;
    }
    let (q, k) = (View::new(q, rows, dim, heads * dim), View::new(k, seen, dim, kv_heads * dim));
    multiply(ViewMut::new(scores, rows, seen, seen), q, k.t(), by, false, Threads::One);
}

/// As [`attend_windows`] without log Σ e^s. Inference only.
pub fn attend_past(shape: Heads, windows: &[Window]) -> Vec<f32> {
    let row = shape.heads * shape.dim;
    match windows.iter().all(|w| w.q.len() == row) {
        true => attend_newest(shape, windows),
        false => attend_windows(shape, windows).0,
    }
}

/// Attention of many windows at once, in the order given: [all queries, heads, d], and log Σ e^s as
/// [window][head][query].
pub fn attend_windows(shape: Heads, windows: &[Window]) -> (Vec<f32>, Vec<Vec<f32>>) {
    let row = shape.heads * shape.dim;
    let tasks: Vec<(usize, usize)> = (0..windows.len()).flat_map(|w| (0..shape.heads).map(move |h| (w, h))).collect();
    let done: Vec<(Vec<f32>, Vec<f32>)> = tasks
        .par_iter()
        .map(|&(w, head)| {
            let mut out = vec![0f32; windows[w].q.len() / shape.heads];
            let lse = attend_head(shape, windows[w], head, &mut out);
            (out, lse)
        })
        .collect();
    let mut y = vec![0f32; windows.iter().map(|w| w.q.len()).sum()];
    let mut lse = Vec::with_capacity(tasks.len());
    let mut at = 0;
    for (i, (out, l)) in done.into_iter().enumerate() {
        let (w, head) = tasks[i];
        scatter_columns(&out, &mut y[at..], row, head * shape.dim, shape.dim);
        lse.push(l);
        at += if head + 1 == shape.heads { windows[w].q.len() } else { 0 };
    }
    (y, lse)
}

struct Attention {
    shape: Heads,
    queries: Segments,
    segments: Segments,
    lse: Mutex<Vec<Vec<f32>>>,
}

impl Attention {
    fn window<'a>(&self, segment: usize, q: &'a [f32], k: &'a [f32], v: &'a [f32]) -> Window<'a> {
        let Heads { heads, kv_heads, dim, .. } = self.shape;
        let (asking, r) = (self.queries.range(segment), self.segments.range(segment));
        let kv = r.start * kv_heads * dim..r.end * kv_heads * dim;
        Window { q: &q[asking.start * heads * dim..asking.end * heads * dim], k: &k[kv.clone()], v: &v[kv] }
    }

    /// Gradients of one key/value head of one segment: dq [queries, group, d], dk [keys, d], dv [keys, d].
    fn backward_head(&self, w: Window, y: &[f32], g: &[f32], kv: usize, lse: &[Vec<f32>]) -> [Vec<f32>; 3] {
        let Heads { heads, kv_heads, dim, .. } = self.shape;
        let (group, row) = (self.shape.group(), heads * dim);
        let (n, keys) = (w.q.len() / row, w.k.len() / (kv_heads * dim));
        let past = keys - n;
        let (k, v) = (&w.k[kv * dim..], &w.v[kv * dim..]);
        let (mut dq, mut dk, mut dv) = (vec![0f32; n * group * dim], vec![0f32; keys * dim], vec![0f32; keys * dim]);
        let by = (dim as f32).powf(-0.5);
        let mut p = vec![0f32; BLOCK.min(n) * self.shape.widest(keys)];
        let mut ds = p.clone();
        for (j, head) in (kv * group..(kv + 1) * group).enumerate() {
            for first in (0..n).step_by(BLOCK) {
                let rows = BLOCK.min(n - first);
                let from = self.shape.first_seen(past + first);
                let seen = past + first + rows - from;
                let (p, ds) = (&mut p[..rows * seen], &mut ds[..rows * seen]);
                let (k, v) = (&k[from * kv_heads * dim..], &v[from * kv_heads * dim..]);
                score_block(self.shape, w.q, k, head, first, rows, p);
                let at = first * row + head * dim;
                let dy = View::new(&g[at..], rows, dim, row);
                multiply(
                    ViewMut::new(ds, rows, seen, seen),
                    dy,
                    View::new(v, seen, dim, kv_heads * dim).t(),
                    1.0,
                    false,
                    Threads::One,
                );
                for (i, (p, ds)) in p.chunks_exact_mut(seen).zip(ds.chunks_exact_mut(seen)).enumerate() {
                    let (at, position) = (at + i * row, past + first + i);
                    let along = dot(&g[at..at + dim], &y[at..at + dim]); // Σ p · dp = g · y
                    let visible = self.shape.first_seen(position) - from..position + 1 - from;
                    score_gradient(p, ds, visible, lse[head][first + i], along, by);
                }
                let (p, ds) = (View::new(p, rows, seen, seen), View::new(ds, rows, seen, seen));
                let dv = &mut dv[from * dim..];
                multiply(ViewMut::new(dv, seen, dim, dim), p.t(), dy, 1.0, true, Threads::One);
                let (q, dk) = (View::new(&w.q[at..], rows, dim, row), &mut dk[from * dim..]);
                multiply(ViewMut::new(dk, seen, dim, dim), ds.t(), q, 1.0, true, Threads::One);
                let dq = ViewMut::new(&mut dq[(first * group + j) * dim..], rows, dim, group * dim);
                multiply(dq, ds, View::new(k, seen, dim, kv_heads * dim), 1.0, false, Threads::One);
            }
        }
        [dq, dk, dv]
    }
}

/// Scores become weights p, upstream dp becomes ds = p (dp − Σ p dp) / √d; positions outside `visible` become 0.
fn score_gradient(p: &mut [f32], ds: &mut [f32], visible: Range<usize>, lse: f32, along: f32, by: f32) {
    exp_shifted(&mut p[visible.clone()], lse);
    p[..visible.start].fill(0.0);
    p[visible.end..].fill(0.0);
    ds.iter_mut().zip(p.iter()).for_each(|(d, p)| *d = p * (*d - along) * by);
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "causal-attention"
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
        let windows: Vec<Window> = (0..self.segments.len()).map(|s| self.window(s, q, k, v)).collect();
        let (y, lse) = attend_windows(self.shape, &windows);
        if let Ok(mut saved) = self.lse.lock() {
            *saved = lse;
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
        let Heads { heads, kv_heads, dim, .. } = self.shape;
        let g = g.contiguous()?;
        let (qs, ks, vs, ys, gs) =
            (CpuSlice::of(q)?, CpuSlice::of(k)?, CpuSlice::of(v)?, CpuSlice::of(y)?, CpuSlice::of(&g)?);
        let lse = self.lse.lock().map_err(|_| candle_core::Error::msg("attention: a worker panicked"))?;
        let tasks: Vec<(usize, usize)> =
            (0..self.segments.len()).flat_map(|s| (0..kv_heads).map(move |h| (s, h))).collect();
        let done: Vec<[Vec<f32>; 3]> = tasks
            .par_iter()
            .map(|&(s, kv)| {
                let r = self.queries.range(s);
                let rows = r.start * heads * dim..r.end * heads * dim;
                let w = self.window(s, &qs, &ks, &vs);
                self.backward_head(w, &ys[rows.clone()], &gs[rows], kv, &lse[s * heads..(s + 1) * heads])
            })
            .collect();
        let (mut dq, mut dk, mut dv) = (vec![0f32; qs.len()], vec![0f32; ks.len()], vec![0f32; vs.len()]);
        let wide = self.shape.group() * dim;
        for (&(s, kv), [q, k, v]) in tasks.iter().zip(&done) {
            let (asking, at) = (self.queries.range(s).start, self.segments.range(s).start);
            scatter_columns(q, &mut dq[asking * heads * dim..], heads * dim, kv * wide, wide);
            scatter_columns(k, &mut dk[at * kv_heads * dim..], kv_heads * dim, kv * dim, dim);
            scatter_columns(v, &mut dv[at * kv_heads * dim..], kv_heads * dim, kv * dim, dim);
        }
        let back = |d, like: &Tensor| Tensor::from_vec(d, like.shape(), like.device()).map(Some);
        Ok((back(dq, q)?, back(dk, k)?, back(dv, v)?))
    }
}

//! The gated delta rule (Yang, Kautz & Hatamizadeh 2025, Gated delta networks, §3.1): a matrix S of each value head that forgets by e^g and
//! takes in, for the key k, what it does not yet answer of the value v:
//!
//! ```text
//! S̃_t = e^{g_t} S_{t−1}     u_t = β_t (v_t − S̃_tᵀ k_t)     S_t = S̃_t + k_t u_tᵀ     o_t = S_tᵀ q_t
//! ```
//! S is [key_dim, value_dim] and starts as zeros in every segment; β = σ(b). Queries and keys are divided by √(Σ x² + 1e−6), queries by
//! √key_dim besides. Value head h goes with key head ⌊h · key_heads / value_heads⌋. The loops take 64 tokens at a time ([`chunk`]);
//! in the backward pass the states before every 64 tokens are made again.
mod chunk;

use super::segments::Segments;
use super::slices::{CpuSlice, has_loops, operand, result, scatter_columns, zeros};
use candle_core::{CpuStorage, CustomOp3, D, Layout, Result, Shape, Tensor, bail};
use chunk::{Gradients, Head};
use rayon::prelude::*;
use std::ops::Range;

/// Inside the root of a norm.
const EPS: f64 = 1e-6;

/// Heads of a linear recurrence; `value_heads` is a multiple of `key_heads`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeltaHeads {
    pub key_heads: usize,
    pub value_heads: usize,
    pub key_dim: usize,
    pub value_dim: usize,
}

impl DeltaHeads {
    /// Numbers of a token's queries, keys and values, which lie one after the other.
    pub fn channels(&self) -> usize {
        2 * self.keys() + self.values()
    }

    fn keys(&self) -> usize {
        self.key_heads * self.key_dim
    }

    /// Numbers of a token's values, and of what comes out.
    pub fn values(&self) -> usize {
        self.value_heads * self.value_dim
    }

    /// Numbers of the states of all value heads, [value_heads, key_dim, value_dim].
    pub fn state(&self) -> usize {
        self.values() * self.key_dim
    }

    /// Value heads of one key head.
    fn group(&self) -> usize {
        self.value_heads / self.key_heads
    }

    /// Columns of queries, keys and values of one value head.
    fn columns(&self, head: usize) -> [Range<usize>; 3] {
        let (q, v) = (head / self.group() * self.key_dim, 2 * self.keys() + head * self.value_dim);
        let k = self.keys() + q;
        [q..q + self.key_dim, k..k + self.key_dim, v..v + self.value_dim]
    }
}

/// `qkv` [tokens, channels], `g` and `b` [tokens, value_heads] → o [tokens, value_heads, value_dim]. Differentiable in all three.
pub fn gated_delta_rule(
    qkv: &Tensor,
    g: &Tensor,
    b: &Tensor,
    heads: DeltaHeads,
    segments: &Segments,
) -> Result<Tensor> {
    if !has_loops(&[qkv, g, b]) {
        return gated_delta_rule_naive(qkv, g, b, heads, segments);
    }
    let (tokens, per_head) = (segments.tokens(), [segments.tokens(), heads.value_heads]);
    let whole = heads.key_heads > 0 && heads.value_heads.is_multiple_of(heads.key_heads);
    if qkv.dims() != [tokens, heads.channels()] || g.dims() != per_head || b.dims() != per_head || !whole {
        bail!("delta rule: qkv {:?}, g {:?}, b {:?}, {tokens} tokens, {heads:?}", qkv.shape(), g.shape(), b.shape())
    }
    let op = DeltaRule { heads, segments: segments.clone() };
    qkv.contiguous()?.apply_op3(&g.contiguous()?, &b.contiguous()?, op)
}

/// The same by candle's own differentiable operations, one token after the other.
pub fn gated_delta_rule_naive(
    qkv: &Tensor,
    g: &Tensor,
    b: &Tensor,
    heads: DeltaHeads,
    segments: &Segments,
) -> Result<Tensor> {
    let DeltaHeads { key_heads, value_heads, key_dim, value_dim } = heads;
    let (keys, values, tokens) = (heads.keys(), heads.values(), qkv.dim(0)?);
    let unit = |at: usize| -> Result<Tensor> {
        let x = qkv.narrow(1, at, keys)?.reshape((tokens, key_heads, 1, key_dim))?;
        let x = x.broadcast_div(&(x.sqr()?.sum_keepdim(D::Minus1)? + EPS)?.sqrt()?)?;
        x.broadcast_as((tokens, key_heads, heads.group(), key_dim))?.reshape((tokens, value_heads, key_dim))
    };
    let (q, k) = ((unit(0)? * (key_dim as f64).powf(-0.5))?, unit(keys)?);
    let v = qkv.narrow(1, 2 * keys, values)?.reshape((tokens, value_heads, value_dim))?;
    let (keep, beta) = (g.exp()?, (b.neg()?.exp()? + 1.0)?.recip()?);
    let mut out = Vec::with_capacity(tokens);
    for range in (0..segments.len()).map(|i| segments.range(i)) {
        let mut state = Tensor::zeros((value_heads, key_dim, value_dim), qkv.dtype(), qkv.device())?;
        for t in range {
            let [q, k] = [q.get(t)?.unsqueeze(2)?, k.get(t)?.unsqueeze(2)?]; // [heads, key_dim, 1]
            state = state.broadcast_mul(&keep.get(t)?.reshape((value_heads, 1, 1))?)?;
            let known = state.broadcast_mul(&k)?.sum(1)?; // [heads, value_dim]
            let new = (v.get(t)? - known)?.broadcast_mul(&beta.get(t)?.unsqueeze(1)?)?;
            state = (state + k.broadcast_mul(&new.unsqueeze(1)?)?)?;
            out.push(state.broadcast_mul(&q)?.sum(1)?);
        }
    }
    Tensor::stack(&out, 0)
}

/// As [`gated_delta_rule`] for sequences that go on from `states` [value_heads, key_dim, value_dim], one a segment, which are brought up to
/// date. Inference only.
pub fn delta_rule_past(
    heads: DeltaHeads,
    [qkv, g, b]: [&[f32]; 3],
    segments: &Segments,
    states: Vec<&mut Vec<f32>>,
) -> Vec<f32> {
    let inputs = Inputs { heads, qkv, g, b };
    let mut tasks: Vec<(Range<usize>, usize, &mut [f32])> = Vec::new();
    for (i, state) in states.into_iter().enumerate() {
        let of_heads = state.chunks_exact_mut(heads.key_dim * heads.value_dim).enumerate();
        tasks.extend(of_heads.map(|(head, state)| (segments.range(i), head, state)));
    }
    let done: Vec<(usize, usize, Vec<f32>)> = tasks
        .into_par_iter()
        .map(|(range, head, state)| (range.start, head, inputs.head(range, head).forward(state, None)))
        .collect();
    inputs.gathered(segments, done)
}

/// What the rule is given, by token.
struct Inputs<'a> {
    heads: DeltaHeads,
    qkv: &'a [f32],
    g: &'a [f32],
    b: &'a [f32],
}

impl Inputs<'_> {
    /// The tokens of `range` as one value head sees them.
    fn head(&self, range: Range<usize>, head: usize) -> Head {
        let (n, width) = (self.heads.value_heads, self.heads.channels());
        let [q, k, v] = self.heads.columns(head).map(|columns| -> Vec<f32> {
            range.clone().flat_map(|t| &self.qkv[t * width..][columns.clone()]).copied().collect()
        });
        let g = range.clone().map(|t| self.g[t * n + head]).collect();
        let beta = range.map(|t| 1.0 / (1.0 + (-self.b[t * n + head]).exp())).collect();
        Head::new([q, k, v], g, beta, [self.heads.key_dim, self.heads.value_dim])
    }

    /// First token, head and output [tokens, value_dim] of each task → [all tokens, value_heads, value_dim].
    fn gathered(&self, segments: &Segments, done: Vec<(usize, usize, Vec<f32>)>) -> Vec<f32> {
        let (row, dim) = (self.heads.values(), self.heads.value_dim);
        let mut o = zeros(segments.tokens() * row);
        done.iter().for_each(|(at, head, out)| scatter_columns(out, &mut o[at * row..], row, head * dim, dim));
        o
    }
}

struct DeltaRule {
    heads: DeltaHeads,
    segments: Segments,
}

impl DeltaRule {
    /// Every segment, and every one of `count` heads in it.
    fn tasks(&self, count: usize) -> Vec<(Range<usize>, usize)> {
        (0..self.segments.len())
            .flat_map(|s| (0..count).map(move |h| (s, h)))
            .map(|(s, h)| (self.segments.range(s), h))
            .collect()
    }

    /// Gradients of one key head and its value heads: those of queries and keys are sums over the value heads.
    fn backward_key_head(&self, inputs: &Inputs, dy: &[f32], range: &Range<usize>, key_head: usize) -> Vec<Gradients> {
        let (group, row, dim) = (self.heads.group(), self.heads.values(), self.heads.value_dim);
        let mut all: Vec<Gradients> = Vec::with_capacity(group);
        for head in key_head * group..(key_head + 1) * group {
            let dy: Vec<f32> = range.clone().flat_map(|t| &dy[t * row + head * dim..][..dim]).copied().collect();
            let mut one = inputs.head(range.clone(), head).backward(&dy);
            if let Some(first) = all.first_mut() {
                first.add_keys(std::mem::take(&mut one.dq), std::mem::take(&mut one.dk));
            }
            all.push(one);
        }
        all
    }
}

impl CustomOp3 for DeltaRule {
    fn name(&self) -> &'static str {
        "gated-delta-rule"
    }

    fn cpu_fwd(
        &self,
        qkv: &CpuStorage,
        lq: &Layout,
        g: &CpuStorage,
        lg: &Layout,
        b: &CpuStorage,
        lb: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let name = self.name();
        let (qkv, g, b) = (operand(name, qkv, lq)?, operand(name, g, lg)?, operand(name, b, lb)?);
        let inputs = Inputs { heads: self.heads, qkv, g, b };
        let state = self.heads.key_dim * self.heads.value_dim;
        let run = |(range, head): (Range<usize>, usize)| {
            (range.start, head, inputs.head(range, head).forward(&mut vec![0f32; state], None))
        };
        let done = self.tasks(self.heads.value_heads).into_par_iter().map(run).collect();
        let shape = Shape::from((self.segments.tokens(), self.heads.value_heads, self.heads.value_dim));
        Ok(result(inputs.gathered(&self.segments, done), &shape))
    }

    fn bwd(
        &self,
        qkv: &Tensor,
        g: &Tensor,
        b: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let dy = dy.contiguous()?;
        let (qkvs, gs, bs, dys) = (CpuSlice::of(qkv)?, CpuSlice::of(g)?, CpuSlice::of(b)?, CpuSlice::of(&dy)?);
        let inputs = Inputs { heads: self.heads, qkv: &qkvs, g: &gs, b: &bs };
        let tasks = self.tasks(self.heads.key_heads);
        let done: Vec<Vec<Gradients>> =
            tasks.par_iter().map(|(range, head)| self.backward_key_head(&inputs, &dys, range, *head)).collect();
        let (row, n) = (self.heads.channels(), self.heads.value_heads);
        let (mut dqkv, mut dg, mut db) = (zeros(qkvs.len()), vec![0f32; gs.len()], vec![0f32; bs.len()]);
        for ((range, key_head), all) in tasks.iter().zip(&done) {
            for (head, one) in (key_head * self.heads.group()..).zip(all) {
                let parts = self.heads.columns(head).into_iter().zip([&one.dq, &one.dk, &one.dv]);
                for (columns, d) in parts.filter(|(_, d)| !d.is_empty()) {
                    scatter_columns(d, &mut dqkv[range.start * row..], row, columns.start, columns.len());
                }
                scatter_columns(&one.dg, &mut dg[range.start * n..], n, head, 1);
                scatter_columns(&one.db, &mut db[range.start * n..], n, head, 1);
            }
        }
        let back = |d, like: &Tensor| Tensor::from_vec(d, like.shape(), like.device()).map(Some);
        Ok((back(dqkv, qkv)?, back(dg, g)?, back(db, b)?))
    }
}

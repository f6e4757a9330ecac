//! Grouped-query attention with rotary positions, the mixer of Llama and its kin:
//!
//! ```text
//! W_o attention(rope(q), rope(k), v)              q, k, v: W h + b; q and k normed by head where the family does
//! W_o (attention(…) ⊙ σ(gate))                    where attention is gated: rows of W_q are [q | gate] by head (Qwen3.5)
//! ```
//! Families differ by flags of their config: norms of queries and keys (Qwen3), biases (Qwen2), a sliding window (Mistral), a gate and
//! rotary positions in a part of every head (Qwen3.5).
use super::decoder::{Mixer, linear_tensors};
use super::{LayerState, Linear, Norm, Pass, Weights};
use crate::error::{Error, Result};
use crate::model::Config;
use crate::model::ops::{CpuSlice, Heads, Segments, Window, attend_past, causal_attention, rope_over, sigmoid_gate};
use candle_core::Tensor;

pub struct Attention {
    heads: Heads,
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
    /// Of every query and key head.
    q_norm: Option<Norm>,
    k_norm: Option<Norm>,
    /// True where `q_proj` also makes a gate for every query head.
    gated: bool,
}

/// Shapes and biases of the four linear layers, by the end of their names.
fn linears(c: &Config) -> [(&'static str, [usize; 2], bool); 4] {
    let h = c.hidden_size;
    let (q, kv) = (c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim);
    [
        ("self_attn.q_proj", [if c.gated_attention { 2 * q } else { q }, h], c.qkv_bias),
        ("self_attn.k_proj", [kv, h], c.qkv_bias),
        ("self_attn.v_proj", [kv, h], c.qkv_bias),
        ("self_attn.o_proj", [h, q], c.o_bias),
    ]
}

/// The mixer's tensors by the end of their names, with their shapes.
pub fn tensors(c: &Config) -> Vec<(String, Vec<usize>)> {
    let mut out = linear_tensors(&linears(c));
    if c.qk_norm {
        out.extend(["q_norm", "k_norm"].map(|name| (format!("self_attn.{name}.weight"), vec![c.head_dim])));
    }
    out
}

impl Attention {
    /// Of layer `i`, called `at`, such as `model.layers.0`.
    pub fn new(c: &Config, i: usize, at: &str, weights: &mut Weights) -> Result<Self> {
        let [q, k, v, o] =
            linears(c).map(|(name, shape, bias)| Linear::new(format!("{at}.{name}"), shape, bias, weights));
        let mut norm = |part: &str| {
            c.qk_norm.then(|| Norm::new(&format!("{at}.self_attn.{part}"), c.head_dim, c, weights)).transpose()
        };
        Ok(Self {
            heads: Heads {
                heads: c.num_attention_heads,
                kv_heads: c.num_key_value_heads,
                dim: c.head_dim,
                reach: c.reach(i),
            },
            q_proj: q?,
            k_proj: k?,
            v_proj: v?,
            o_proj: o?,
            q_norm: norm("q_norm")?,
            k_norm: norm("k_norm")?,
            gated: c.gated_attention,
        })
    }

    /// What `q_proj` made [rows, heads · d], or [rows, heads · 2d] with gates → queries and gates, [rows, heads, d] each.
    fn split(&self, q: Tensor) -> Result<(Tensor, Option<Tensor>)> {
        let Heads { heads, dim, .. } = self.heads;
        if !self.gated {
            return Ok((q.reshape(((), heads, dim))?, None));
        }
        let both = q.reshape(((), heads, 2 * dim))?;
        let [q, gate] = [both.narrow(2, 0, dim)?.contiguous()?, both.narrow(2, dim, dim)?.contiguous()?];
        Ok((q, Some(gate)))
    }
}

impl Mixer for Attention {
    fn forward(
        &self,
        asking: &Tensor,
        seen: &Tensor,
        pass: &Pass,
        states: Option<&mut [&mut LayerState]>,
    ) -> Result<Tensor> {
        let Heads { heads, kv_heads, dim, reach } = self.heads;
        let [q, k, v] = if asking.id() == seen.id() {
            Linear::forward_each([&self.q_proj, &self.k_proj, &self.v_proj], seen)?
        } else {
            let [k, v] = Linear::forward_each([&self.k_proj, &self.v_proj], seen)?;
            [self.q_proj.forward(asking)?, k, v]
        };
        let (q, gate) = self.split(q)?; // [rows, heads, d]
        let [k, v] = [k.reshape(((), kv_heads, dim))?, v.reshape(((), kv_heads, dim))?]; // [tokens, kv_heads, d]
        let q = rope_over(normed(q, &self.q_norm)?, pass.tail.map_or(pass.rotary, |tail| &tail.rotary))?;
        let k = rope_over(normed(k, &self.k_norm)?, pass.rotary)?;
        let queries = pass.tail.map_or(pass.segments, |tail| &tail.segments);
        let y = match states {
            Some(states) => attend_with_past(self.heads, [&q, &k, &v], queries, pass.segments, states)?,
            None => causal_attention(&q, &k, &v, queries, pass.segments, reach)?,
        };
        let y = match gate {
            Some(gate) => sigmoid_gate(&y, &gate)?,
            None => y,
        };
        self.o_proj.forward(&y.reshape(((), heads * dim))?)
    }

    fn linears_mut(&mut self) -> Vec<&mut Linear> {
        vec![&mut self.q_proj, &mut self.k_proj, &mut self.v_proj, &mut self.o_proj]
    }

    fn state(&self) -> LayerState {
        LayerState::KeyValue { k: Vec::new(), v: Vec::new() }
    }
}

fn normed(x: Tensor, norm: &Option<Norm>) -> Result<Tensor> {
    match norm {
        Some(norm) => norm.forward_over(x),
        None => Ok(x),
    }
}

/// Appends the new keys and values to the states, then lets the new queries see all of them.
fn attend_with_past(
    heads: Heads,
    [q, k, v]: [&Tensor; 3],
    queries: &Segments,
    segments: &Segments,
    states: &mut [&mut LayerState],
) -> Result<Tensor> {
    let (qs, ks, vs) = (CpuSlice::of(q)?, CpuSlice::of(k)?, CpuSlice::of(v)?);
    let (row, kv) = (heads.heads * heads.dim, heads.kv_heads * heads.dim);
    let mut windows = Vec::with_capacity(states.len());
    for (i, state) in states.iter_mut().enumerate() {
        let LayerState::KeyValue { k, v } = &mut **state else {
            return Err(Error::failed("the state of a recurrent layer was given to attention"));
        };
        let (new, asking) = (segments.range(i), queries.range(i));
        k.extend_from_slice(&ks[new.start * kv..new.end * kv]);
        v.extend_from_slice(&vs[new.start * kv..new.end * kv]);
        windows.push(Window { q: &qs[asking.start * row..asking.end * row], k: &*k, v: &*v });
    }
    let y = attend_past(heads, &windows);
    Ok(Tensor::from_vec(y, q.shape(), q.device())?)
}

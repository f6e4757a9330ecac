//! The layer of Llama and its kin: pre-norm, grouped-query attention with rotary positions, SwiGLU, two residual
//! connections.
//!
//! ```text
//! x ← x + W_o attention(rope(q), rope(k), v)        q, k, v: W h + b of h = RMSNorm(x); q and k normed by head where the family does
//! x ← x + W_down (silu(W_gate h) ⊙ W_up h)          h = RMSNorm(x)
//! ```
//! Families differ by flags of their config: norms of queries and keys (Qwen3), biases (Qwen2), a sliding window
//! (Mistral).
use super::{Block, LayerState, Linear, Pass, Weights};
use crate::error::{Error, Result};
use crate::model::Config;
use crate::model::ops::{
    CpuSlice, Heads, RotaryEmbedding, Segments, Window, add_over, attend_past, causal_attention, rms_norm,
    rms_norm_over, rope_over, swiglu_over,
};
use candle_core::Tensor;

pub struct AttentionBlock {
    input_layernorm: Tensor,
    self_attn: Attention,
    post_attention_layernorm: Tensor,
    mlp: Mlp,
    eps: f64,
}

struct Attention {
    heads: Heads,
    eps: f64,
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
    /// Of every query and key head.
    q_norm: Option<Tensor>,
    k_norm: Option<Tensor>,
}

struct Mlp {
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
}

/// Shapes and biases of the seven linear layers of a block, by the last part of their names.
fn linears(c: &Config) -> [(&'static str, [usize; 2], bool); 7] {
    let (h, i) = (c.hidden_size, c.intermediate_size);
    let (q, kv) = (c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim);
    [
        ("self_attn.q_proj", [q, h], c.qkv_bias),
        ("self_attn.k_proj", [kv, h], c.qkv_bias),
        ("self_attn.v_proj", [kv, h], c.qkv_bias),
        ("self_attn.o_proj", [h, q], c.o_bias),
        ("mlp.gate_proj", [i, h], c.mlp_bias),
        ("mlp.up_proj", [i, h], c.mlp_bias),
        ("mlp.down_proj", [h, i], c.mlp_bias),
    ]
}

impl AttentionBlock {
    /// The layer's tensors by the end of their names, with their shapes.
    pub fn tensors(c: &Config) -> Vec<(String, Vec<usize>)> {
        let norm = |name: &str, n: usize| (format!("{name}.weight"), vec![n]);
        let mut out = vec![norm("input_layernorm", c.hidden_size), norm("post_attention_layernorm", c.hidden_size)];
        if c.qk_norm {
            out.extend(["self_attn.q_norm", "self_attn.k_norm"].map(|name| norm(name, c.head_dim)));
        }
        for (name, [n, k], bias) in linears(c) {
            out.push((format!("{name}.weight"), vec![n, k]));
            out.extend(bias.then(|| (format!("{name}.bias"), vec![n])));
        }
        out
    }

    /// Layer `i` of a model of this config.
    pub fn new(c: &Config, i: usize, weights: &mut Weights) -> Result<Self> {
        let at = format!("model.layers.{i}");
        let norm = |part: &str, n: usize, weights: &mut Weights| -> Result<Tensor> {
            Ok(weights(&format!("{at}.{part}.weight"), &[n])?.dense()?)
        };
        let input_layernorm = norm("input_layernorm", c.hidden_size, weights)?;
        let [q, k, v, o, gate, up, down] =
            linears(c).map(|(name, shape, bias)| Linear::new(format!("{at}.{name}"), shape, bias, weights));
        let head_norm = |part: &str, weights: &mut Weights| {
            c.qk_norm.then(|| norm(&format!("self_attn.{part}"), c.head_dim, weights)).transpose()
        };
        Ok(Self {
            input_layernorm,
            self_attn: Attention {
                heads: Heads {
                    heads: c.num_attention_heads,
                    kv_heads: c.num_key_value_heads,
                    dim: c.head_dim,
                    reach: c.reach(i),
                },
                eps: c.rms_norm_eps,
                q_proj: q?,
                k_proj: k?,
                v_proj: v?,
                o_proj: o?,
                q_norm: head_norm("q_norm", weights)?,
                k_norm: head_norm("k_norm", weights)?,
            },
            post_attention_layernorm: norm("post_attention_layernorm", c.hidden_size, weights)?,
            mlp: Mlp { gate_proj: gate?, up_proj: up?, down_proj: down? },
            eps: c.rms_norm_eps,
        })
    }
}

impl Block for AttentionBlock {
    fn forward(&self, x: &Tensor, pass: &Pass, states: Option<&mut [&mut LayerState]>) -> Result<Tensor> {
        let h = rms_norm(x, &self.input_layernorm, self.eps)?;
        // with a tail, only its rows go on after keys and values are made
        let (x, asking, rotary) = match pass.tail {
            Some(tail) => (x.index_select(&tail.rows, 0)?, h.index_select(&tail.rows, 0)?, &tail.rotary),
            None => (x.clone(), h.clone(), pass.rotary),
        };
        let attended = self.self_attn.forward((&asking, rotary), (&h, pass.rotary), pass, states)?;
        let x = add_over(&x, attended)?;
        let h = rms_norm(&x, &self.post_attention_layernorm, self.eps)?;
        Ok(add_over(&x, self.mlp.forward(&h)?)?)
    }

    fn linears_mut(&mut self) -> Vec<&mut Linear> {
        let (a, m) = (&mut self.self_attn, &mut self.mlp);
        vec![
            &mut a.q_proj,
            &mut a.k_proj,
            &mut a.v_proj,
            &mut a.o_proj,
            &mut m.gate_proj,
            &mut m.up_proj,
            &mut m.down_proj,
        ]
    }

    fn state(&self) -> LayerState {
        LayerState::KeyValue { k: Vec::new(), v: Vec::new() }
    }
}

impl Attention {
    /// `asking`: the rows that become queries; `seen`: those that become keys and values.
    fn forward(
        &self,
        asking: (&Tensor, &RotaryEmbedding),
        seen: (&Tensor, &RotaryEmbedding),
        pass: &Pass,
        states: Option<&mut [&mut LayerState]>,
    ) -> Result<Tensor> {
        let Heads { heads, kv_heads, dim, .. } = self.heads;
        let [q, k, v] = if asking.0.id() == seen.0.id() {
            Linear::forward_each([&self.q_proj, &self.k_proj, &self.v_proj], seen.0)?
        } else {
            let [k, v] = Linear::forward_each([&self.k_proj, &self.v_proj], seen.0)?;
            [self.q_proj.forward(asking.0)?, k, v]
        };
        let q = q.reshape(((), heads, dim))?; // [rows, heads, d]
        let [k, v] = [k.reshape(((), kv_heads, dim))?, v.reshape(((), kv_heads, dim))?]; // [tokens, kv_heads, d]
        let q = rope_over(self.normed(q, &self.q_norm)?, asking.1)?;
        let k = rope_over(self.normed(k, &self.k_norm)?, seen.1)?;
        let queries = pass.tail.map_or(pass.segments, |tail| &tail.segments);
        let y = match states {
            Some(states) => attend_with_past(self.heads, [&q, &k, &v], queries, pass.segments, states)?,
            None => causal_attention(&q, &k, &v, queries, pass.segments, self.heads.reach)?,
        };
        self.o_proj.forward(&y.reshape(((), heads * dim))?)
    }

    fn normed(&self, x: Tensor, norm: &Option<Tensor>) -> Result<Tensor> {
        match norm {
            Some(norm) => Ok(rms_norm_over(x, norm, self.eps)?),
            None => Ok(x),
        }
    }
}

impl Mlp {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let [gate, up] = Linear::forward_each([&self.gate_proj, &self.up_proj], x)?;
        self.down_proj.forward(&swiglu_over(gate, &up)?)
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

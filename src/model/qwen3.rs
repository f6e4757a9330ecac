//! Qwen3 decoder: pre-norm, grouped-query attention, RMSNorm on every query and key head, rotary positions, SwiGLU,
//! no biases, head tied to the embedding below 8B (Qwen3 technical report, 2025).
//!
//! One forward serves training, scoring and generation. Tokens of many sequences lie packed in one dimension; attention
//! alone knows where a sequence starts. Fields are named as in the checkpoint.
mod layerwise;
mod load;

use super::config::Config;
use super::ops::{
    Heads, Numbers, Segments, TokenLogProbs, Turns, Weight, Window, add_over, attend_past, causal_attention, linear,
    linear_each, rms_norm, rms_norm_over, rope_over, smoothed_token_logprob, swiglu_over, token_logprob,
};
use crate::error::Result;
use candle_core::{DType, Tensor};
use std::sync::Arc;

/// A linear layer as an adapter makes it.
pub trait Delta: Send + Sync {
    /// `x` [tokens, k] and the layer's own `weight` [n, k] → the adapted output [tokens, n].
    fn forward(&self, x: &Tensor, weight: &Weight) -> Result<Tensor>;
}

/// y = x Wᵀ, or what an adapter makes of it.
pub struct Linear {
    /// As in the checkpoint, without `.weight`: `model.layers.0.self_attn.q_proj`.
    pub name: String,
    pub weight: Weight,
    pub delta: Option<Arc<dyn Delta>>,
}

impl Linear {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match &self.delta {
            Some(delta) => delta.forward(x, &self.weight),
            None => Ok(linear(x, &self.weight)?),
        }
    }

    /// Several layers of the same input.
    fn forward_each<const N: usize>(layers: [&Self; N], x: &Tensor) -> Result<[Tensor; N]> {
        if layers.iter().all(|layer| layer.delta.is_none()) {
            return Ok(linear_each(x, layers.map(|layer| &layer.weight))?);
        }
        let mut ys = layers.map(|_| x.clone());
        for (y, layer) in ys.iter_mut().zip(layers) {
            *y = layer.forward(x)?;
        }
        Ok(ys)
    }
}

struct Attention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
    q_norm: Tensor,
    k_norm: Tensor,
}

struct Mlp {
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
}

struct Layer {
    input_layernorm: Tensor,
    self_attn: Attention,
    post_attention_layernorm: Tensor,
    mlp: Mlp,
}

pub struct Qwen3 {
    pub config: Config,
    embed_tokens: Weight,
    layers: Vec<Layer>,
    norm: Tensor,
    /// None where the embedding serves as the head.
    lm_head: Option<Weight>,
}

/// Where the weights come from: a tensor by its checkpoint name and wanted shape.
pub type Weights<'a> = dyn FnMut(&str, &[usize]) -> Result<Weight> + 'a;

/// Attention over (layer, q, k, v), with or without a past. `q` may hold the last rows of every segment only.
type Attend<'a> = dyn FnMut(usize, &Tensor, &Tensor, &Tensor) -> Result<Tensor> + 'a;

/// Rotary positions of one pass, and which rows its last layer has to answer for.
struct Places {
    all: Turns,
    /// Row numbers [rows] and their positions; None: every row.
    tail: Option<(Tensor, Turns)>,
}

/// Keys and values of one sequence, for generation. [position, kv_heads, d] a layer.
#[derive(Clone, Default)]
pub struct Cache {
    layers: Vec<(Vec<f32>, Vec<f32>)>,
    len: usize,
}

impl Cache {
    /// Positions held.
    pub fn len(&self) -> usize {
        self.len
    }
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Qwen3 {
    pub fn new(config: &Config, weights: &mut Weights) -> Result<Self> {
        let c = config;
        let embed_tokens = weights("model.embed_tokens.weight", &[c.vocab_size, c.hidden_size])?;
        let layers = (0..c.num_hidden_layers).map(|i| Layer::new(c, i, weights)).collect::<Result<_>>()?;
        let norm = weights("model.norm.weight", &[c.hidden_size])?.dense()?;
        let lm_head = match c.tie_word_embeddings {
            true => None,
            false => Some(weights("lm_head.weight", &[c.vocab_size, c.hidden_size])?),
        };
        Ok(Self { config: config.clone(), embed_tokens, layers, norm, lm_head })
    }

    /// Every linear layer of the decoder, from the first to the last.
    pub fn linears_mut(&mut self) -> impl Iterator<Item = &mut Linear> {
        self.layers.iter_mut().flat_map(|l| {
            let a = &mut l.self_attn;
            let m = &mut l.mlp;
            [
                &mut a.q_proj,
                &mut a.k_proj,
                &mut a.v_proj,
                &mut a.o_proj,
                &mut m.gate_proj,
                &mut m.up_proj,
                &mut m.down_proj,
            ]
        })
    }

    /// `ids` of all segments, packed → hidden states after the last norm, [tokens, hidden_size]. Differentiable.
    pub fn hidden(&self, ids: &[u32], segments: &Segments) -> Result<Tensor> {
        self.hidden_tail(ids, segments, segments)
    }

    /// Hidden states of the last `tails` tokens of every segment only, [Σ tails, hidden_size]: the last layer makes no others.
    pub fn hidden_tail(&self, ids: &[u32], segments: &Segments, tails: &Segments) -> Result<Tensor> {
        self.check(ids, segments, (0..segments.len()).map(|i| segments.range(i).len()))?;
        let places = self.places(&segments.positions(), segments, tails)?;
        self.run(ids, &places, &mut |layer, q, k, v| self.attend(layer, [q, k, v], segments, tails))
    }

    /// Causal attention of one layer of a pass without a past; the last layer's queries are the tails.
    fn attend(&self, layer: usize, [q, k, v]: [&Tensor; 3], segments: &Segments, tails: &Segments) -> Result<Tensor> {
        let queries = if layer + 1 == self.layers.len() { tails } else { segments };
        Ok(causal_attention(q, k, v, queries, segments)?)
    }

    fn places(&self, positions: &[usize], segments: &Segments, tails: &Segments) -> Result<Places> {
        let turns = |positions: &[usize]| Turns::new(positions, self.config.head_dim, self.config.rope_theta);
        if segments == tails {
            return Ok(Places { all: turns(positions), tail: None });
        }
        let rows: Vec<u32> = (0..segments.len())
            .flat_map(|i| (segments.range(i).end - tails.range(i).len()..segments.range(i).end).map(|row| row as u32))
            .collect();
        let kept: Vec<usize> = rows.iter().map(|&row| positions[row as usize]).collect();
        let rows = Tensor::new(rows.as_slice(), self.norm.device())?;
        Ok(Places { all: turns(positions), tail: Some((rows, turns(&kept))) })
    }

    /// As `hidden`, for tokens that continue the sequences in `caches` (one a segment). Inference only.
    pub fn extend(&self, ids: &[u32], segments: &Segments, caches: &mut [&mut Cache]) -> Result<Tensor> {
        self.extend_tail(ids, segments, segments, caches)
    }

    /// As `extend`, with the hidden states of the last `tails` new tokens of every sequence only.
    pub fn extend_tail(
        &self,
        ids: &[u32],
        segments: &Segments,
        tails: &Segments,
        caches: &mut [&mut Cache],
    ) -> Result<Tensor> {
        let ends = caches.iter().enumerate().map(|(i, c)| c.len + segments.range(i).len());
        self.check(ids, segments, ends)?;
        let positions: Vec<usize> = (0..segments.len())
            .flat_map(|i| (0..segments.range(i).len()).map(|p| p + caches[i].len).collect::<Vec<_>>())
            .collect();
        let (heads, last) = (self.heads(), self.layers.len() - 1);
        let places = self.places(&positions, segments, tails)?;
        let attend = &mut |layer, q: &Tensor, k: &Tensor, v: &Tensor| {
            let queries = if layer == last { tails } else { segments };
            attend_with_past(layer, heads, [q, k, v], queries, segments, caches)
        };
        let hidden = self.run(ids, &places, attend)?;
        caches.iter_mut().enumerate().for_each(|(i, c)| c.len += segments.range(i).len());
        Ok(hidden)
    }

    fn heads(&self) -> Heads {
        let c = &self.config;
        Heads { heads: c.num_attention_heads, kv_heads: c.num_key_value_heads, dim: c.head_dim }
    }

    fn check(&self, ids: &[u32], segments: &Segments, ends: impl Iterator<Item = usize>) -> Result<()> {
        let c = &self.config;
        let an_empty_one = (0..segments.len()).any(|i| segments.range(i).is_empty());
        c.reads(if an_empty_one { &[] } else { ids })?;
        ends.max().map_or(Ok(()), |tokens| c.holds(tokens))
    }

    /// [tokens, hidden_size]
    fn embed(&self, ids: &[u32]) -> Result<Tensor> {
        match &self.embed_tokens {
            Weight::Tensor(t) if t.dtype() == DType::F32 || !t.device().is_cpu() => {
                Ok(t.index_select(&Tensor::new(ids, t.device())?, 0)?)
            }
            stored => Ok(stored.rows(ids)?),
        }
    }

    fn run(&self, ids: &[u32], places: &Places, attend: &mut Attend) -> Result<Tensor> {
        let mut x = self.embed(ids)?;
        for (i, layer) in self.layers.iter().enumerate() {
            let last = i + 1 == self.layers.len();
            x = layer.forward(&self.config, &x, places, last, &mut |q, k, v| attend(i, q, k, v))?;
        }
        Ok(rms_norm(&x, &self.norm, self.config.rms_norm_eps)?)
    }

    fn head(&self) -> &Weight {
        self.lm_head.as_ref().unwrap_or(&self.embed_tokens)
    }

    /// Rows of hidden states [n, hidden_size] → logits [n, vocab_size].
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        Ok(linear(hidden, self.head())?)
    }

    /// log p of `targets` (n ids) after rows of hidden states [n, hidden_size] → [n], differentiable, natural logarithm.
    pub fn logprobs(&self, hidden: &Tensor, targets: &[u32]) -> Result<Tensor> {
        self.config.knows(targets)?;
        Ok(token_logprob(hidden, self.head(), targets)?)
    }

    /// As `logprobs`, with label smoothing.
    pub fn smoothed_logprobs(&self, hidden: &Tensor, targets: &[u32], epsilon: f64) -> Result<TokenLogProbs> {
        self.config.knows(targets)?;
        Ok(smoothed_token_logprob(hidden, self.head(), targets, epsilon)?)
    }
}

impl Layer {
    fn new(c: &Config, i: usize, weights: &mut Weights) -> Result<Self> {
        let at = format!("model.layers.{i}");
        let (heads, kv) = (c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim);
        let lin = |part: &str, n: usize, k: usize, weights: &mut Weights| -> Result<Linear> {
            let name = format!("{at}.{part}");
            Ok(Linear { weight: weights(&format!("{name}.weight"), &[n, k])?, name, delta: None })
        };
        Ok(Self {
            input_layernorm: weights(&format!("{at}.input_layernorm.weight"), &[c.hidden_size])?.dense()?,
            self_attn: Attention {
                q_proj: lin("self_attn.q_proj", heads, c.hidden_size, weights)?,
                k_proj: lin("self_attn.k_proj", kv, c.hidden_size, weights)?,
                v_proj: lin("self_attn.v_proj", kv, c.hidden_size, weights)?,
                o_proj: lin("self_attn.o_proj", c.hidden_size, heads, weights)?,
                q_norm: weights(&format!("{at}.self_attn.q_norm.weight"), &[c.head_dim])?.dense()?,
                k_norm: weights(&format!("{at}.self_attn.k_norm.weight"), &[c.head_dim])?.dense()?,
            },
            post_attention_layernorm: weights(&format!("{at}.post_attention_layernorm.weight"), &[c.hidden_size])?
                .dense()?,
            mlp: Mlp {
                gate_proj: lin("mlp.gate_proj", c.intermediate_size, c.hidden_size, weights)?,
                up_proj: lin("mlp.up_proj", c.intermediate_size, c.hidden_size, weights)?,
                down_proj: lin("mlp.down_proj", c.hidden_size, c.intermediate_size, weights)?,
            },
        })
    }

    /// With `last`, only the rows of the tail go on after keys and values are made.
    fn forward(
        &self,
        c: &Config,
        x: &Tensor,
        places: &Places,
        last: bool,
        attend: &mut dyn FnMut(&Tensor, &Tensor, &Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let h = rms_norm(x, &self.input_layernorm, c.rms_norm_eps)?;
        let tail = places.tail.as_ref().filter(|_| last);
        let (x, asking, turns) = match tail {
            Some((rows, turns)) => (x.index_select(rows, 0)?, h.index_select(rows, 0)?, turns),
            None => (x.clone(), h.clone(), &places.all),
        };
        let x = add_over(&x, self.self_attn.forward(c, (&asking, turns), (&h, &places.all), attend)?)?;
        let h = rms_norm(&x, &self.post_attention_layernorm, c.rms_norm_eps)?;
        Ok(add_over(&x, self.mlp.forward(&h)?)?)
    }
}

impl Attention {
    /// `asking`: the rows that become queries; `seen`: those that become keys and values.
    fn forward(
        &self,
        c: &Config,
        asking: (&Tensor, &Turns),
        seen: (&Tensor, &Turns),
        attend: &mut dyn FnMut(&Tensor, &Tensor, &Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let (heads, kv) = (c.num_attention_heads, c.num_key_value_heads);
        let [q, k, v] = if asking.0.id() == seen.0.id() {
            Linear::forward_each([&self.q_proj, &self.k_proj, &self.v_proj], seen.0)?
        } else {
            let [k, v] = Linear::forward_each([&self.k_proj, &self.v_proj], seen.0)?;
            [self.q_proj.forward(asking.0)?, k, v]
        };
        let q = q.reshape(((), heads, c.head_dim))?; // [rows, heads, d]
        let [k, v] = [k.reshape(((), kv, c.head_dim))?, v.reshape(((), kv, c.head_dim))?]; // [tokens, kv_heads, d]
        let q = rope_over(rms_norm_over(q, &self.q_norm, c.rms_norm_eps)?, asking.1)?;
        let k = rope_over(rms_norm_over(k, &self.k_norm, c.rms_norm_eps)?, seen.1)?;
        self.o_proj.forward(&attend(&q, &k, &v)?.reshape(((), heads * c.head_dim))?)
    }
}

impl Mlp {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let [gate, up] = Linear::forward_each([&self.gate_proj, &self.up_proj], x)?;
        self.down_proj.forward(&swiglu_over(gate, &up)?)
    }
}

/// Appends the new keys and values to the caches, then lets the new queries see all of them.
fn attend_with_past(
    layer: usize,
    heads: Heads,
    [q, k, v]: [&Tensor; 3],
    queries: &Segments,
    segments: &Segments,
    caches: &mut [&mut Cache],
) -> Result<Tensor> {
    let (qs, ks, vs) = (Numbers::of(q)?, Numbers::of(k)?, Numbers::of(v)?);
    let (row, kv) = (heads.heads * heads.dim, heads.kv_heads * heads.dim);
    for (i, cache) in caches.iter_mut().enumerate() {
        let r = segments.range(i);
        if cache.layers.len() <= layer {
            cache.layers.resize_with(layer + 1, Default::default);
        }
        cache.layers[layer].0.extend_from_slice(&ks[r.start * kv..r.end * kv]);
        cache.layers[layer].1.extend_from_slice(&vs[r.start * kv..r.end * kv]);
    }
    let windows: Vec<Window> = (caches.iter().enumerate())
        .map(|(i, cache)| {
            let r = queries.range(i);
            let (k, v) = &cache.layers[layer];
            Window { q: &qs[r.start * row..r.end * row], k, v }
        })
        .collect();
    let y = attend_past(heads, &windows);
    Ok(Tensor::from_vec(y, q.shape(), q.device())?)
}

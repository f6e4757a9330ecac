//! One layer of a decoder, as the model sees it: hidden states in, hidden states out, and for generation a state a
//! sequence.
//!
//! A family's layers are [`Block`]s. What the passes have in common (packing, the tail of the last layer, checkpointing
//! by layers, caches, logits) is written once, in [`CausalLm`](super::CausalLm).
mod attention;
mod decoder;
mod delta_net;

pub use decoder::DecoderBlock;

use super::config::Config;
use super::ops::{RotaryEmbedding, Segments, Weight, add_bias_over, linear, linear_each, rms_norm, rms_norm_over};
use crate::error::Result;
use candle_core::{Device, Tensor};
use std::sync::Arc;

/// One layer.
pub trait Block: Send + Sync {
    /// `x` [tokens, hidden_size] of all segments of `pass`, packed → the same, or [rows of the tail, hidden_size] where
    /// `pass` has one.
    ///
    /// `states`: what the layer knows of the tokens before these, one a segment; it is brought up to date. None where
    /// every segment starts here: then the result is differentiable.
    fn forward(&self, x: &Tensor, pass: &Pass, states: Option<&mut [&mut LayerState]>) -> Result<Tensor>;

    /// Its linear layers, in the order of the computation: what adapters change.
    fn linears_mut(&mut self) -> Vec<&mut Linear>;

    /// The state before the first token of a sequence.
    fn state(&self) -> LayerState;
}

/// What a layer keeps of the tokens that a sequence has read.
#[derive(Clone)]
pub enum LayerState {
    /// Of attention: keys and values, [position, kv_heads, d] each, f32 where the loops over a past read them.
    KeyValue { k: Vec<f32>, v: Vec<f32> },
    /// Of a linear recurrence: its states, [value_heads, key_dim, value_dim], and the last inputs of its convolution,
    /// [kernel − 1, channels]. What they were before a token is not kept.
    Recurrent { state: Vec<f32>, inputs: Vec<f32> },
}

/// The tokens of one forward pass, as every layer needs them.
#[derive(Clone, Copy)]
pub struct Pass<'a> {
    pub segments: &'a Segments,
    /// Rotary positions of all tokens.
    pub rotary: &'a RotaryEmbedding,
    /// What the last layer has to answer for; None: every token.
    pub tail: Option<&'a Tail>,
}

/// The last tokens of every segment.
pub struct Tail {
    /// How many of each.
    pub segments: Segments,
    /// Their row numbers among all tokens [rows], u32.
    pub rows: Tensor,
    pub rotary: RotaryEmbedding,
}

/// Where the weights come from: a tensor by its checkpoint name and wanted shape.
pub type Weights<'a> = dyn FnMut(&str, &[usize]) -> Result<Weight> + 'a;

/// RMSNorm of hidden states or of heads.
pub struct Norm {
    /// As it multiplies, or where it learns as it is stored.
    weight: Tensor,
    /// True where 1 is still to be added: of a zero-centred weight that learns.
    plus_one: bool,
    eps: f64,
}

impl Norm {
    /// The norm `name` over `n` numbers, stored as the config's norms are.
    pub fn new(name: &str, n: usize, c: &Config, weights: &mut Weights) -> Result<Self> {
        let stored = weights(&format!("{name}.weight"), &[n])?;
        let (weight, learns) = (stored.dense()?, stored.learns());
        match c.zero_centred_norms {
            true if !learns => Ok(Self::plain((weight + 1.0)?, c.rms_norm_eps)),
            plus_one => Ok(Self { weight, plus_one, eps: c.rms_norm_eps }),
        }
    }

    /// With a weight that is the scale itself.
    pub fn plain(weight: Tensor, eps: f64) -> Self {
        Self { weight, plus_one: false, eps }
    }

    pub fn device(&self) -> &Device {
        self.weight.device()
    }

    fn scale(&self) -> Result<Tensor> {
        Ok(if self.plus_one { (&self.weight + 1.0)? } else { self.weight.clone() })
    }

    /// `x` […, n] → […, n]
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(rms_norm(x, &self.scale()?, self.eps)?)
    }

    /// As `forward`, written over `x` where no gradient asks for it. `x` must be no one else's.
    pub fn forward_over(&self, x: Tensor) -> Result<Tensor> {
        Ok(rms_norm_over(x, &self.scale()?, self.eps)?)
    }
}

/// A linear layer as an adapter makes it.
pub trait Delta: Send + Sync {
    /// `x` [tokens, k] and the layer's own `weight` [n, k] → the adapted output [tokens, n], before the bias.
    fn forward(&self, x: &Tensor, weight: &Weight) -> Result<Tensor>;
}

/// y = x Wᵀ + b, or what an adapter makes of x Wᵀ, + b.
pub struct Linear {
    /// As in the checkpoint, without `.weight`: `model.layers.0.self_attn.q_proj`.
    pub name: String,
    pub weight: Weight,
    /// [n]; it stands outside whatever an adapter does (DoRA's scale as well, as in PEFT).
    pub bias: Option<Tensor>,
    pub delta: Option<Arc<dyn Delta>>,
}

impl Linear {
    /// The layer `name` of `n` outputs and `k` inputs.
    pub fn new(name: String, [n, k]: [usize; 2], bias: bool, weights: &mut Weights) -> Result<Self> {
        let weight = weights(&format!("{name}.weight"), &[n, k])?;
        let bias = match bias {
            true => Some(weights(&format!("{name}.bias"), &[n])?.dense()?),
            false => None,
        };
        Ok(Self { name, weight, bias, delta: None })
    }

    /// `x` [tokens, k] → [tokens, n]
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = match &self.delta {
            Some(delta) => delta.forward(x, &self.weight)?,
            None => linear(x, &self.weight)?,
        };
        self.biased(y)
    }

    /// Several layers of the same input.
    pub fn forward_each<const N: usize>(layers: [&Self; N], x: &Tensor) -> Result<[Tensor; N]> {
        let mut ys = layers.map(|_| x.clone());
        if layers.iter().all(|layer| layer.delta.is_none()) {
            let made = linear_each(x, layers.map(|layer| &layer.weight))?;
            for ((y, layer), made) in ys.iter_mut().zip(layers).zip(made) {
                *y = layer.biased(made)?;
            }
            return Ok(ys);
        }
        for (y, layer) in ys.iter_mut().zip(layers) {
            *y = layer.forward(x)?;
        }
        Ok(ys)
    }

    fn biased(&self, y: Tensor) -> Result<Tensor> {
        match &self.bias {
            Some(bias) => Ok(add_bias_over(y, bias)?),
            None => Ok(y),
        }
    }
}

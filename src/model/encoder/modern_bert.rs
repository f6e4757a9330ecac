//! ModernBERT (Warner et al. 2024): a norm before every part, rotary positions, a gated feed-forward layer, and attention that sees everything in
//! some layers and a window in the others. The first layer has no norm before its attention: the embedding's has just been applied.
use super::Tensors;
use super::config::{EncoderConfig, Reach};
use super::layers::{Dense, Norm, rows};
use crate::error::Result;
use crate::model::Rope;
use crate::model::ops::{RotaryEmbedding, Segments, add, bidirectional_attention, gelu, rope};
use candle_core::Tensor;

pub struct ModernBert {
    tok_embeddings: Tensor,
    norm: Norm,
    layers: Vec<Layer>,
    final_norm: Norm,
}

/// Fields named as in the checkpoint, `attn.` and `mlp.` left out.
struct Layer {
    reach: Reach,
    attn_norm: Option<Norm>,
    wqkv: Dense,
    wo: Dense,
    mlp_norm: Norm,
    mlp_wi: Dense,
    mlp_wo: Dense,
}

impl ModernBert {
    pub fn new(c: &EncoderConfig, tensors: &mut Tensors) -> Result<Self> {
        let (at, h, [norm_bias, ..]) = (c.family.prefix(), c.hidden_size, c.biases);
        let tok_embeddings = tensors(&format!("{at}embeddings.tok_embeddings.weight"), &[c.vocab_size, h])?;
        let norm = Norm::new(&format!("{at}embeddings.norm"), h, norm_bias, c.norm_eps, tensors)?;
        let layer = |(i, reach): (usize, &Reach)| Layer::new(&format!("{at}layers.{i}"), i, *reach, c, tensors);
        let layers = c.reaches.iter().enumerate().map(layer).collect::<Result<_>>()?;
        let final_norm = Norm::new(&format!("{at}final_norm"), h, norm_bias, c.norm_eps, tensors)?;
        Ok(Self { tok_embeddings, norm, layers, final_norm })
    }

    pub fn forward(&self, c: &EncoderConfig, ids: &[u32], segments: &Segments) -> Result<Tensor> {
        let positions = segments.positions();
        let mut rotary: Vec<(f64, RotaryEmbedding)> = Vec::new(); // of the one or two thetas there are
        let mut x = self.norm.forward(&rows(&self.tok_embeddings, ids)?)?;
        for layer in &self.layers {
            let theta = layer.reach.rope_theta;
            let at = rotary.iter().position(|(known, _)| *known == theta).unwrap_or_else(|| {
                let (frequencies, factor) = Rope::plain(theta).frequencies(c.head_dim());
                rotary.push((theta, RotaryEmbedding::new(&positions, &frequencies, factor)));
                rotary.len() - 1
            });
            x = layer.forward(c, &x, &rotary[at].1, segments)?;
        }
        self.final_norm.forward(&x)
    }
}

impl Layer {
    fn new(at: &str, i: usize, reach: Reach, c: &EncoderConfig, tensors: &mut Tensors) -> Result<Self> {
        let (h, wide, [norm_bias, attention_bias, mlp_bias, _]) = (c.hidden_size, c.intermediate_size, c.biases);
        let mut dense = |name: &str, shape, bias| Dense::new(&format!("{at}.{name}"), shape, bias, tensors);
        let wqkv = dense("attn.Wqkv", [3 * h, h], attention_bias)?;
        let wo = dense("attn.Wo", [h, h], attention_bias)?;
        let mlp_wi = dense("mlp.Wi", [2 * wide, h], mlp_bias)?;
        let mlp_wo = dense("mlp.Wo", [h, wide], mlp_bias)?;
        let mut norm = |name: &str| Norm::new(&format!("{at}.{name}"), h, norm_bias, c.norm_eps, tensors);
        let attn_norm = (i > 0).then(|| norm("attn_norm")).transpose()?;
        Ok(Self { reach, attn_norm, wqkv, wo, mlp_norm: norm("mlp_norm")?, mlp_wi, mlp_wo })
    }

    fn forward(&self, c: &EncoderConfig, x: &Tensor, rotary: &RotaryEmbedding, segments: &Segments) -> Result<Tensor> {
        let h = match &self.attn_norm {
            Some(norm) => norm.forward(x)?,
            None => x.clone(),
        };
        let qkv = self.wqkv.forward(&h)?.reshape(((), 3, c.num_attention_heads, c.head_dim()))?;
        let part = |i: usize| qkv.narrow(1, i, 1)?.squeeze(1)?.contiguous(); // [tokens, heads, d]
        let (q, k, v) = (rope(&part(0)?, rotary)?, rope(&part(1)?, rotary)?, part(2)?);
        let y = bidirectional_attention(&q, &k, &v, segments, self.reach.window)?.reshape(((), c.hidden_size))?;
        let x = add(x, &self.wo.forward(&y)?)?;
        let wide = self.mlp_wi.forward(&self.mlp_norm.forward(&x)?)?;
        let half = |i: usize| wide.narrow(1, i * c.intermediate_size, c.intermediate_size)?.contiguous();
        let y = self.mlp_wo.forward(&(gelu(&half(0)?)? * half(1)?)?)?;
        add(&x, &y).map_err(Into::into)
    }
}

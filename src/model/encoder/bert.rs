//! BERT (Devlin et al. 2019) and RoBERTa (Liu et al. 2019): a norm behind every residual sum, learnt positions, biases everywhere. RoBERTa differs in
//! that its positions start behind that of the padding token.
use super::Tensors;
use super::config::EncoderConfig;
use super::layers::{Dense, Norm, rows};
use crate::error::Result;
use crate::model::ops::{Segments, add, bidirectional_attention, gelu};
use candle_core::Tensor;

pub struct Bert {
    word_embeddings: Tensor,
    position_embeddings: Tensor,
    token_type_embeddings: Tensor,
    norm: Norm,
    layers: Vec<Layer>,
}

/// Named as in the checkpoint: `attention.self.{query,key,value}`, `attention.output`, `intermediate`, `output`.
struct Layer {
    query: Dense,
    key: Dense,
    value: Dense,
    attention_output: Dense,
    attention_norm: Norm,
    intermediate: Dense,
    output: Dense,
    output_norm: Norm,
}

impl Bert {
    pub fn new(c: &EncoderConfig, tensors: &mut Tensors) -> Result<Self> {
        let (at, h) = (c.family.prefix(), c.hidden_size);
        let mut table = |name: &str, n: usize| tensors(&format!("{at}embeddings.{name}_embeddings.weight"), &[n, h]);
        let word_embeddings = table("word", c.vocab_size)?;
        let position_embeddings = table("position", c.max_position_embeddings)?;
        let token_type_embeddings = table("token_type", c.type_vocab_size)?;
        let norm = Norm::new(&format!("{at}embeddings.LayerNorm"), h, true, c.norm_eps, tensors)?;
        let layer = |i| Layer::new(&format!("{at}encoder.layer.{i}"), c, tensors);
        let layers = (0..c.num_hidden_layers).map(layer).collect::<Result<_>>()?;
        Ok(Self { word_embeddings, position_embeddings, token_type_embeddings, norm, layers })
    }

    pub fn forward(&self, c: &EncoderConfig, ids: &[u32], segments: &Segments) -> Result<Tensor> {
        let positions = segments.positions().into_iter().map(|p| (p + c.first_position()) as u32);
        let x =
            add(&rows(&self.word_embeddings, ids)?, &rows(&self.position_embeddings, &positions.collect::<Vec<_>>())?)?;
        let first_type = rows(&self.token_type_embeddings, &vec![0; ids.len()])?;
        let mut x = self.norm.forward(&add(&x, &first_type)?)?;
        for layer in &self.layers {
            x = layer.forward(c, &x, segments)?;
        }
        Ok(x)
    }
}

impl Layer {
    fn new(at: &str, c: &EncoderConfig, tensors: &mut Tensors) -> Result<Self> {
        let (h, wide) = (c.hidden_size, c.intermediate_size);
        let mut dense = |name: &str, shape| Dense::new(&format!("{at}.{name}"), shape, true, tensors);
        let query = dense("attention.self.query", [h, h])?;
        let key = dense("attention.self.key", [h, h])?;
        let value = dense("attention.self.value", [h, h])?;
        let attention_output = dense("attention.output.dense", [h, h])?;
        let intermediate = dense("intermediate.dense", [wide, h])?;
        let output = dense("output.dense", [h, wide])?;
        let mut norm = |name: &str| Norm::new(&format!("{at}.{name}"), h, true, c.norm_eps, tensors);
        let (attention_norm, output_norm) = (norm("attention.output.LayerNorm")?, norm("output.LayerNorm")?);
        Ok(Self { query, key, value, attention_output, attention_norm, intermediate, output, output_norm })
    }

    fn forward(&self, c: &EncoderConfig, x: &Tensor, segments: &Segments) -> Result<Tensor> {
        let heads = |layer: &Dense| -> Result<Tensor> {
            Ok(layer.forward(x)?.reshape(((), c.num_attention_heads, c.head_dim()))?) // [tokens, heads, d]
        };
        let (q, k, v) = (heads(&self.query)?, heads(&self.key)?, heads(&self.value)?);
        let y = bidirectional_attention(&q, &k, &v, segments, None)?.reshape(((), c.hidden_size))?;
        let x = self.attention_norm.forward(&add(x, &self.attention_output.forward(&y)?)?)?;
        let y = self.output.forward(&gelu(&self.intermediate.forward(&x)?)?)?;
        self.output_norm.forward(&add(&x, &y)?)
    }
}

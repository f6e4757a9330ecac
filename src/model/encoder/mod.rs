//! Encoders: models that read a whole text at once and give every token a vector.
//!
//! Two uses, two parts. [`Embedder`] turns texts into vectors whose cosine says how near two texts are (all-MiniLM-L6-v2 and its kind), for
//! retrieval; it runs on candle-transformers' BERT and cannot be trained. [`TokenClassifier`] gives every token a label and so finds spans in a
//! text; it runs on [`Encoder`], a BERT of this crate's own differentiable operations, because candle's layer norm and rotary positions
//! cut the gradient (`ops/layer_norm.rs` says where).
//!
//! ```text
//! BERT, RoBERTa   x = LN(E[id] + P[position] + T[0])     x ← LN(x + W_o attend(x))           x ← LN(x + W₂ gelu(W₁ x))
//! ModernBERT      x = LN(E[id])                          x ← x + W_o attend(LN(x))           x ← x + W_o' (gelu(u) ⊙ g), [u; g] = W_i LN(x)
//! ```
//! (Devlin et al. 2019; Liu et al. 2019; Warner et al. 2024.) Sequences lie packed side by side as in the decoder, without padding; attention
//! alone knows where one ends. Names of tensors are those of transformers' checkpoints.
mod bert;
mod bio;
mod config;
mod embed;
mod layers;
mod modern_bert;
mod stored;
mod token_classifier;
mod tokenizer;
mod windows;

pub use bio::{Bio, Labelled, Marked, Span, Tag};
pub use config::{BertSizes, EncoderConfig, Family};
pub use embed::{Embedder, cosine, minilm, nearest};
pub use stored::encoder_digest;
pub use token_classifier::{Summed, Tagged, TokenClassifier, cross_entropy, cross_entropy_sum};
pub use tokenizer::{EncoderTokenizer, Pieces};
pub use windows::Windows;

use super::ops::Segments;
use crate::error::{Error, Result};
use bert::Bert;
use candle_core::Tensor;
use modern_bert::ModernBert;
use std::path::Path;
use stored::Stored;

/// Where the tensors come from: one by its checkpoint name and wanted shape, f32 on the CPU.
pub type Tensors<'a> = dyn FnMut(&str, &[usize]) -> Result<Tensor> + 'a;

/// An encoder of one of the families. Differentiable in every tensor that is a variable.
pub struct Encoder {
    pub config: EncoderConfig,
    layers: Layers,
}

enum Layers {
    Bert(Bert),
    ModernBert(ModernBert),
}

impl Encoder {
    pub fn new(config: &EncoderConfig, tensors: &mut Tensors) -> Result<Self> {
        let layers = match config.family {
            Family::Bert | Family::Roberta => Layers::Bert(Bert::new(config, tensors)?),
            Family::ModernBert => Layers::ModernBert(ModernBert::new(config, tensors)?),
        };
        Ok(Self { config: config.clone(), layers })
    }

    /// Reads a folder of transformers' layout. Heads (pooler, masked words, classifier) are left out.
    pub fn open(dir: &Path) -> Result<Self> {
        let config = EncoderConfig::read(dir)?;
        let mut stored = Stored::open(dir, &config)?;
        let encoder = Self::new(&config, &mut |name, shape| stored.take(name, shape))?;
        stored.finish()?;
        Ok(encoder)
    }

    /// `ids` of all segments, packed, control tokens included → hidden states of the last layer, [tokens, hidden_size].
    pub fn hidden(&self, ids: &[u32], segments: &Segments) -> Result<Tensor> {
        self.check(ids, segments)?;
        match &self.layers {
            Layers::Bert(layers) => layers.forward(&self.config, ids, segments),
            Layers::ModernBert(layers) => layers.forward(&self.config, ids, segments),
        }
    }

    fn check(&self, ids: &[u32], segments: &Segments) -> Result<()> {
        let c = &self.config;
        let longest = (0..segments.len()).map(|i| segments.range(i).len()).max().unwrap_or(0);
        if segments.is_empty() || (0..segments.len()).any(|i| segments.range(i).is_empty()) {
            return Err(Error::input("an empty sequence: an encoder wants at least one token"));
        }
        if segments.tokens() != ids.len() {
            return Err(Error::failed(format!("{} ids for segments of {} tokens", ids.len(), segments.tokens())));
        }
        if longest > c.positions() {
            return Err(Error::input(format!(
                "a sequence of {longest} tokens is longer than the encoder's {} positions; cut it into windows",
                c.positions()
            )));
        }
        match ids.iter().find(|&&id| id as usize >= c.vocab_size) {
            Some(id) => Err(Error::input(format!(
                "token id {id} lies outside the encoder's vocabulary of {}; does the tokenizer belong to this model?",
                c.vocab_size
            ))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;

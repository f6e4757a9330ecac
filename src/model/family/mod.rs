//! The families of decoders: what each makes of config.json, which tensors it has and what its layers are.
//!
//! Chosen by `model_type`. A new family is a file here and a line in [`FAMILIES`]; what all decoders share is in
//! [`CausalLm`](super::CausalLm) and [`Config`].
mod llama;
mod mistral;
mod qwen2;
mod qwen3;

use super::block::{AttentionBlock, Block, Weights};
use super::config::{Config, Keys};
use crate::error::Result;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use std::fmt;

pub use llama::Llama;
pub use mistral::Mistral;
pub use qwen2::Qwen2;
pub use qwen3::Qwen3;

/// Every family that is computed here.
pub static FAMILIES: [&dyn Family; 4] = [&Llama, &Mistral, &Qwen2, &Qwen3];

pub trait Family: Send + Sync {
    /// As in config.json: `llama`.
    fn model_type(&self) -> &'static str;

    /// The class of transformers: `LlamaForCausalLM`.
    fn architecture(&self) -> &'static str;

    /// The config that these keys of config.json make; an error names the key.
    fn config(&self, keys: &Keys) -> Result<Config>;

    /// Puts the family's own keys into a config.json; an error says what of `config` it has no words for.
    fn write(&self, config: &Config, keys: &mut Map<String, Value>) -> Result<(), String>;

    /// `general.architecture` of a GGUF file.
    fn gguf(&self) -> &'static str {
        self.model_type()
    }

    /// True where a GGUF file has the rows of queries and keys in llama.cpp's order for turning neighbours.
    fn gguf_turns_neighbours(&self) -> bool {
        false
    }

    /// Tensors of layer `i` with their shapes, by the end of their names.
    fn tensors(&self, config: &Config, _layer: usize) -> Vec<(String, Vec<usize>)> {
        AttentionBlock::tensors(config)
    }

    /// Layer `i` of a model of this config.
    fn block(&self, config: &Config, layer: usize, weights: &mut Weights) -> Result<Box<dyn Block>> {
        Ok(Box::new(AttentionBlock::new(config, layer, weights)?))
    }
}

/// The family of this `model_type`.
pub fn named(model_type: &str) -> Option<&'static dyn Family> {
    FAMILIES.into_iter().find(|family| family.model_type() == model_type)
}

/// Names of all families, for a message.
pub fn names() -> String {
    FAMILIES.map(|family| family.model_type()).join(", ")
}

impl PartialEq for dyn Family {
    fn eq(&self, other: &Self) -> bool {
        self.model_type() == other.model_type()
    }
}

impl fmt::Debug for dyn Family {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.model_type())
    }
}

impl Serialize for dyn Family {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.model_type())
    }
}

#[cfg(test)]
mod tests;

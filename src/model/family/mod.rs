//! The families of decoders: what each makes of config.json, which tensors it has and what its layers are.
//!
//! Chosen by `model_type`. A new family is a file here and a line in [`FAMILIES`]; what all decoders share is in
//! [`CausalLm`](super::CausalLm) and [`Config`].
mod llama;
mod mistral;
mod qwen2;
mod qwen3;
mod qwen3_5;

use super::block::{Block, DecoderBlock, Weights};
use super::config::{Config, Keys};
use crate::error::Result;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use std::fmt;

pub use llama::Llama;
pub use mistral::Mistral;
pub use qwen2::Qwen2;
pub use qwen3::Qwen3;
pub use qwen3_5::Qwen3_5;

/// Every family that is computed here.
pub static FAMILIES: [&dyn Family; 5] = [&Llama, &Mistral, &Qwen2, &Qwen3, &Qwen3_5];

pub trait Family: Send + Sync {
    /// As in config.json: `llama`.
    fn model_type(&self) -> &'static str;

    /// The class of transformers: `LlamaForCausalLM`.
    fn architecture(&self) -> &'static str;

    /// `model_type` and class of a model that has this decoder beside other parts (a vision tower), whose checkpoints are read as well.
    fn around(&self) -> Option<(&'static str, &'static str)> {
        None
    }

    /// The decoder's name of a tensor that a checkpoint calls `stored`; None for one that is no part of the decoder and is left aside.
    fn tensor_name(&self, stored: &str) -> Option<String> {
        Some(stored.into())
    }

    /// The config that these keys of config.json make; an error names the key.
    fn config(&self, keys: &Keys) -> Result<Config>;

    /// Puts the family's own keys into a config.json; an error says what of `config` it has no words for.
    fn write(&self, config: &Config, keys: &mut Map<String, Value>) -> Result<(), String>;

    /// `general.architecture` of a GGUF file; None where no such files are read or written.
    fn gguf(&self) -> Option<&'static str> {
        Some(self.model_type())
    }

    /// True where a GGUF file has the rows of queries and keys in llama.cpp's order for turning neighbours.
    fn gguf_turns_neighbours(&self) -> bool {
        false
    }

    /// Tensors of layer `i` with their shapes, by the end of their names.
    fn tensors(&self, config: &Config, layer: usize) -> Vec<(String, Vec<usize>)> {
        DecoderBlock::tensors(config, layer)
    }

    /// Layer `i` of a model of this config.
    fn block(&self, config: &Config, layer: usize, weights: &mut Weights) -> Result<Box<dyn Block>> {
        Ok(Box::new(DecoderBlock::new(config, layer, weights)?))
    }
}

/// The family of this `model_type`, its own or that of a model around it.
pub fn named(model_type: &str) -> Option<&'static dyn Family> {
    let around = |family: &dyn Family| family.around().is_some_and(|(around, _)| around == model_type);
    FAMILIES.into_iter().find(|family| family.model_type() == model_type || around(*family))
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

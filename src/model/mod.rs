//! Decoders (Llama, Mistral, Qwen2, Qwen3, Qwen3.5) on candle as one differentiable forward over packed sequences, and their files;
//! encoders ([`encoder`]) on the same operations.
mod block;
mod causal_lm;
mod checkpoint;
mod config;
mod control;
pub mod encoder;
pub mod export;
mod family;
mod foreign;
mod gguf;
mod hub;
pub mod ops;
mod precision;
pub mod registry;
mod rope;
pub mod tensors;
mod tokenizer;
mod vocabulary;

pub use block::{Block, DecoderBlock, Delta, LayerState, Linear, Norm, Pass, Tail, Weights};
pub use causal_lm::{Cache, CausalLm, Mark};
pub use checkpoint::Checkpoint;
pub use config::{Absent, Config, Keys, Recurrence, SlidingWindow};
pub use family::{FAMILIES, Family, Llama, Mistral, Qwen2, Qwen3, Qwen3_5};
pub use gguf::{Gguf, Quality, Written};
pub use hub::{Content, Hub, Place, Pushed, Upload, UploadFile, locate, resolve};
pub use ops::Weight;
pub use precision::Precision;
pub use rope::{Rope, Scaling};
pub use tokenizer::{Control, Tokenizer};
pub(crate) use vocabulary::letter;

#[cfg(test)]
pub(crate) mod golden;
#[cfg(test)]
mod tests;

/// The device that models are loaded onto where nothing else is said: the CPU.
pub fn default_device() -> candle_core::Device {
    candle_core::Device::Cpu
}

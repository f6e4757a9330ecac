//! Qwen3 on candle as one differentiable forward over packed sequences; encoders ([`encoder`]) on the same operations.
mod checkpoint;
mod config;
pub mod encoder;
pub mod export;
mod gguf;
mod hub;
pub mod ops;

mod qwen3;
pub mod tensors;
mod tokenizer;
mod vocabulary;

pub use checkpoint::{Checkpoint, Keep};
pub use config::Config;
pub use gguf::{Gguf, Quality, Written};
pub use hub::{Hub, resolve};
pub use ops::Weight;
pub use qwen3::{Cache, Delta, Linear, Qwen3, Weights};
pub use tokenizer::{Control, Tokenizer};

#[cfg(test)]
pub(crate) mod golden;
#[cfg(test)]
mod tests;

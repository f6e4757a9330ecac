//! Qwen3 on candle as one differentiable forward over packed sequences.
mod checkpoint;
mod config;
mod hub;
pub mod ops;
mod qwen3;
pub mod tensors;
mod tokenizer;
mod vocabulary;

pub use checkpoint::Checkpoint;
pub use config::Config;
pub use hub::{Hub, resolve};
pub use qwen3::{Cache, Delta, Linear, Qwen3, Weights};
pub use tokenizer::{Control, Tokenizer};

#[cfg(test)]
pub(crate) mod golden;
#[cfg(test)]
mod tests;

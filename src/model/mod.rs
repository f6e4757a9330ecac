//! Qwen3 on candle as one differentiable forward over packed sequences.
mod checkpoint;
mod config;
pub mod ops;
mod qwen3;
pub mod tensors;

pub use checkpoint::Checkpoint;
pub use config::Config;
pub use qwen3::{Cache, Delta, Linear, Qwen3, Weights};

#[cfg(test)]
pub(crate) mod golden;
#[cfg(test)]
mod tests;

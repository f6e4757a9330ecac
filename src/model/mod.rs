//! Qwen3 on candle as one differentiable forward over packed sequences.
pub mod ops;
mod checkpoint;
mod config;
pub use checkpoint::Checkpoint;
pub use config::Config;

//! Qwen3 on candle as one differentiable forward over packed sequences.
pub mod ops;

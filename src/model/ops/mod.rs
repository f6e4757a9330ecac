//! Differentiable operations on packed tokens. Each has loops of its own for f32 on the CPU, a gradient written by hand, and
//! a twin made of candle's operations that other devices and types use and that tests compare both with.
mod attention;
mod lanes;
mod linear;
mod matrix;
mod norm;
mod rope;
mod slices;
mod swiglu;
mod token_logprob;

pub use attention::{Heads, Segments, Window, attend_windows, causal_attention, causal_attention_naive};
pub use lanes::log_sum_exp;
pub use linear::linear;
pub use norm::{rms_norm, rms_norm_naive};
pub use rope::{Turns, rope, rope_naive};
pub use slices::Numbers;
pub use swiglu::swiglu;
pub use token_logprob::{token_logprob, token_logprob_naive};

#[cfg(test)]
mod tests;

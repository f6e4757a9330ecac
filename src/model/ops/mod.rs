//! Differentiable operations on packed tokens. Each has loops of its own for f32 on the CPU, a gradient written by hand, and
//! a twin made of candle's operations that other devices and types use and that tests compare both with.
mod add;
mod attention;
mod bias;
mod bidirectional;
mod convolution;
mod cpu;
mod decay;
mod delta_rule;
mod dropout;
mod gate;
mod gelu;
mod layer_norm;
mod linear;
mod norm;
mod rope;
mod segments;
mod slices;
mod swiglu;
mod token_logprob;
mod weight;

pub use add::{add, add_bias_over, add_over};
pub use attention::{Heads, Window, attend_past, attend_windows, causal_attention, causal_attention_naive};
pub use bias::add_bias;
pub use bidirectional::{bidirectional_attention, bidirectional_attention_naive};
pub use convolution::{causal_convolution, causal_convolution_naive, convolve_past};
pub use cpu::lanes::{largest, log_sum_exp};
pub use cpu::matrix::{View, ViewMut, multiply, peak_gflops};
pub use cpu::workers::{Threads, by_row, each, on_workers};
pub use decay::{log_decay, log_decay_naive};
pub use delta_rule::{DeltaHeads, delta_rule_past, gated_delta_rule, gated_delta_rule_naive};
pub use dropout::{Dropout, dropout, key};
pub use gate::{sigmoid_gate, sigmoid_gate_naive};
pub use gelu::{gelu, gelu_naive};
pub use layer_norm::{layer_norm, layer_norm_naive};
pub use linear::{LowRank, adapted_linear, adapted_linear_naive, linear, linear_each, scale_columns};
pub use norm::{rms_norm, rms_norm_naive, rms_norm_over};
pub use rope::{RotaryEmbedding, rope, rope_naive, rope_over};
pub use segments::Segments;
pub use slices::CpuSlice;
pub use swiglu::{swiglu, swiglu_over};
pub use token_logprob::{TokenLogProbs, smoothed_token_logprob, smoothed_token_logprob_naive, token_logprob};
pub use weight::Weight;

#[cfg(test)]
mod tests;

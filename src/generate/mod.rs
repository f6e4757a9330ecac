//! Answers from a model.
mod greedy;
mod pairs;

pub use greedy::{Generated, Limits, greedy, greedy_with};
pub use pairs::{Pair, read_pairs, score};

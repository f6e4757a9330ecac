//! Answers from a model.
mod greedy;

pub use greedy::{Generated, Limits, greedy, greedy_with};

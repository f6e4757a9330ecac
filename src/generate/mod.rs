//! Answers from a model.
mod answers;
mod greedy;
mod pairs;

pub use answers::{Answer, Answers, Local, adapter_id, base_id};
pub use greedy::{Generated, Limits, greedy, greedy_with};
pub use pairs::{Pair, read_pairs, score};

//! (see lib.rs)
mod consensus;
pub mod spans;
mod vote;

pub use consensus::{consensus, f1};
pub use spans::{SpanConsensus, Vote};
pub use vote::vote;

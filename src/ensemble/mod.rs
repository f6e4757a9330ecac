//! (see lib.rs)
mod consensus;
mod overlaps;
pub mod spans;
mod vote;

pub use consensus::{consensus, f1};
pub use overlaps::Overlaps;
pub use spans::{SpanConsensus, SpanRule, Vote};
pub use vote::vote;

//! (see lib.rs)
mod consensus;
mod vote;

pub use consensus::{consensus, f1};
pub use vote::vote;

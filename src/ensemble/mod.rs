//! (see lib.rs)
mod vote;

pub use vote::vote;

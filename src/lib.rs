//! dxlab: how well does a small language model turn clinical findings into diagnoses?
pub mod error;

pub mod corpus;
pub mod label;
pub mod prompt;
pub mod model;
pub mod adapter;
pub mod train;
pub mod generate;
pub mod metric;
pub mod ensemble;
pub mod study;
pub mod report;

pub mod cli;

pub use error::{Error, Result};

/// The project's folder: `DXLAB_HOME`, else where this crate was built from. `data/`, `configs/` and `runs/` lie in it.
pub fn home() -> std::path::PathBuf {
    std::env::var_os("DXLAB_HOME").map(Into::into).unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into())
}

//! The run store and the rows that every table, figure and workbook cell is computed from.
mod environment;
pub mod file;
mod prediction;
mod store;

pub use environment::{Environment, Stopwatch, peak_bytes};
pub use prediction::{Prediction, label_set, outcomes, read_predictions, write_predictions};
pub use store::{NUMERICS_VERSION, Run, Spec, Store, size};

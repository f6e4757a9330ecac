//! Search for better settings: tree-structured Parzen estimator (TPE) over the run store, nested validation, median pruning.
mod hyper;
pub(crate) mod space;
mod tpe;

pub use hyper::{Search, SearchConfig, Trial};
pub use space::{Point, Range, Space};
pub use tpe::{Density, Tpe};

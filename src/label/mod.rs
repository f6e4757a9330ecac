//! From a model's free answer to labels, and from labels to names that can be compared.
pub mod normalise;
pub mod parse;
mod plural;

pub use normalise::Normaliser;
pub use parse::{Parsed, parse, parse_known};

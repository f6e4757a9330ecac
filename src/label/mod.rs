//! From a model's free answer to labels, and from labels to names that can be compared.
pub mod certainty;
pub mod normalise;
pub mod parse;
mod plural;
pub mod side;

pub use certainty::{Certainty, certainty, without_denial};
pub use normalise::Normaliser;
pub use parse::{Parsed, parse, parse_known};
pub use side::{laterality, without_side};

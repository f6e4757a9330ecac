//! Augmentation of training data: how often each case is shown and in which forms (concatenated, recombined, with entities replaced,
//! in parts, and synthetic copying tasks).
mod copying;
mod entity_replacement;
mod plan;
mod recombine;

pub use plan::{Augmentation, Augmented};
pub use recombine::Recombiner;

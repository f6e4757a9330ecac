//! Displays for notebooks: figures, tables, text with computed values, highlighted passages. Knows no chapter.
pub(crate) mod canvas;
pub(crate) mod display;
pub mod figures;
pub(crate) mod flow;
mod histogram;
mod matrices;
pub(crate) mod passage;
pub(crate) mod prose;
mod slider;
pub mod tables;
mod tagged;

pub use display::{Figure, NONE, Table, difference, interval, number};
pub use histogram::histogram;
pub use matrices::matrices;
pub use passage::Passage;
pub use prose::Prose;
pub use slider::Slider;
pub use tagged::TaggedNote;

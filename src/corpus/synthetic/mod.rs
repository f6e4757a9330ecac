//! Synthetic abdominal CT findings in the measured shape of the real ones; everything here is invented.
//!
//! `words` holds what can be said, `grammar` how a line becomes a sentence, `plan` which case carries which labels,
//! `report` how sentences become a report, `make` the corpus and its files. What it deliberately does not do: imitate
//! any real report, patient or institution.
pub mod dice;
pub mod grammar;
pub mod make;
pub mod notes;
pub mod plan;
pub mod report;
pub mod truth;
pub mod words;

pub use make::{fresh_cases, make, sealed, training_text, write, write_sealed};
pub use report::{Cause, Distractor, Truth};

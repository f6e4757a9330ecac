//! Clinical decisions by more than one model, and by fewer labels.
//!
//! - `ensemble`: the answers of several models to the same notes, ready to be combined and scored
//! - `tuning`: thresholds of the consensus by TPE, on the notes that they are scored on and by nested cross-validation
//! - `rules`: ways to combine answers, compared with one model
//! - `retrieval`: unlabelled notes that are like training notes
//! - `confidence`: a model's confidence in an answer, and whether that tells good answers from bad ones
//! - `pseudo`, `marker`: both together: notes that a run marked, beside the notes that it was trained on
mod confidence;
mod ensemble;
mod marker;
mod pseudo;
mod retrieval;
mod rules;
mod tuning;

pub use confidence::{Confidence, ConfidenceReport, Kept, Measure, MeasureTable, QUANTILES, exact_f1, measure_tables};
pub use ensemble::Ensemble;
pub use marker::Marker;
pub use pseudo::{Invalid, PseudoConfig, PseudoReport, valid, write_confidence};
pub use retrieval::{EmbedBy, Retrieved, embed, retrieve};
pub use rules::{RuleScores, compare_rules};
pub use tuning::{Fit, Fold, Objective, SmallestGroup, Tuning, TuningConfig};

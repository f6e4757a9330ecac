//! Rare diseases from the signs of a patient: ontology, annotations, published patients, and rankers that need no language model.
//!
//! A [`Library`] holds what a ranker may know: the annotations of HPO and patients that were diagnosed before. Each [`Ranker`] gives every
//! candidate disease a score and can leave one publication out of all that it knows, so that a patient is never recognised by the paper
//! that described it.
mod at_hand;
pub mod features;
pub mod grounding;
pub mod knowledge;
pub mod library;
pub mod ontology;
pub mod open_data;
pub mod orphadata;
pub mod profile;
pub mod rank;
pub mod synthetic;

pub use at_hand::AtHand;
pub use knowledge::{Annotation, Disease, Frequency, Knowledge};
pub use library::{Candidate, Left, Library, Patient, Unread};
pub use ontology::{Found, Ontology, Term};
pub use rank::{Contribution, Ranked, Ranker, RankerKind, ranked};

/// What is known of a patient: terms of the ontology, each once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Signs {
    pub observed: Vec<Term>,
    /// Looked for and not found.
    pub excluded: Vec<Term>,
}

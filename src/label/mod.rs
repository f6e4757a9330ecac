//! From a model's free answer to labels, from labels to names that can be compared, and from names to concepts.
pub mod certainty;
pub mod checked;
mod concept_row;
pub mod disease_ontology;
pub mod lexicon;
pub mod normalise;
pub mod ontology;
pub mod parse;
mod plural;
pub mod qualifier;

pub use certainty::{Certainty, certainty, without_denial};
pub use checked::{Agreement, agreement};
pub use lexicon::{Cue, Evidence, Lexicon, Sentence, cue, sentences};
pub use normalise::Normaliser;
pub use ontology::{Ontology, Tier};
pub use parse::{Parsed, parse, parse_known};
pub use qualifier::{Qualified, Side};

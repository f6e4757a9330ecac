//! What still goes wrong: every label error of every case in exactly one class, with the sentence that it hangs on. Pure functions
//! from predictions to records; `report::failures` shows them.
//!
//! An error is a gold label that was not given, or a given label that is not gold, compared as written (case aside). The
//! first class that fits, in this order, is the error's class:
//!
//! | class | a gold label missed | a label given |
//! |---|---|---|
//! | format | nothing could be read from the answer | the label is a sentence (seven words or more, unknown to training), or the last one of an answer cut off at its limit |
//! | wrong certainty | the same label was given with another certainty | … is gold with another certainty |
//! | naming shift | given under its training name, while gold has a name that training never uses | the other side of that pair |
//! | synonym only | given under another name | … is gold under another name |
//! | wrong side | given for another side | … is gold for another side |
//! | too general | a label of the same head noun with part of its words was given | the other side of that pair |
//! | too specific | a label of the same head noun and more words was given | the other side of that pair |
//! | negation missed | | the sentence that mentions it denies it: the same finding, of the same organ; never the label for nothing found |
//! | other distractor | | the sentence that mentions it asks for it, or tells of the past |
//! | invented | | what is left: affirmed words taken for another disease, or no sentence mentions it |
//! | missed | what is left | |
//!
//! Naming shift, synonyms and doubt are what the normaliser forgives; the classes after them are errors by any reading.
mod agreement;
mod cluster;
mod open;
mod remedy;
mod tally;
#[cfg(test)]
pub(crate) mod tests;
mod words;

pub use agreement::{Agreement, agreement, cues};
pub use cluster::{Cluster, clusters};
pub use remedy::{Fixed, fixed, fixed_by_class};
pub use tally::{Tally, confusions, ratio, share, tally};

use crate::corpus::Finding;
use crate::label::{Evidence, Lexicon, Normaliser};
use crate::run::prediction::Prediction;
use open::Open;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use words::{distinct, plain};

/// A given label of so many words that training does not know is a sentence.
const SENTENCE: usize = 7;

/// Why a label is wrong; in order of precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    Format,
    WrongCertainty,
    NamingShift,
    SynonymOnly,
    WrongSide,
    TooGeneral,
    TooSpecific,
    NegationMissed,
    OtherDistractor,
    Invented,
    Missed,
}

impl Class {
    pub const ALL: [Class; 11] = [
        Self::Format,
        Self::WrongCertainty,
        Self::NamingShift,
        Self::SynonymOnly,
        Self::WrongSide,
        Self::TooGeneral,
        Self::TooSpecific,
        Self::NegationMissed,
        Self::OtherDistractor,
        Self::Invented,
        Self::Missed,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Format => "format",
            Self::WrongCertainty => "wrong certainty",
            Self::NamingShift => "naming shift",
            Self::SynonymOnly => "synonym only",
            Self::WrongSide => "wrong side",
            Self::TooGeneral => "too general",
            Self::TooSpecific => "too specific",
            Self::NegationMissed => "negation missed",
            Self::OtherDistractor => "other distractor",
            Self::Invented => "invented",
            Self::Missed => "missed",
        }
    }
}

/// Which side of the comparison an error stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Where {
    /// Gold, not given.
    Gold,
    /// Given, not gold.
    Given,
}

/// One label error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabelError {
    pub case_id: String,
    /// As written.
    pub label: String,
    /// After normalisation.
    pub name: String,
    pub on: Where,
    pub class: Class,
    /// Whether the normaliser forgives it: both sides have this label under one name.
    pub forgiven: bool,
    /// The label that it was taken for, where the class has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partner: Option<String>,
    /// Training cases that carry the label (normalised).
    pub training_cases: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
}

/// What is wrong with an answer as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Format {
    /// No label could be read.
    pub unparsed: bool,
    /// The answer says a label twice.
    pub repeated: bool,
    /// It has as many tokens as were allowed: it never stopped.
    pub cut: bool,
    /// All gold labels and no other, in another order than gold's. No error; counted because some metrics mind.
    pub reordered: bool,
}

/// One case: what was right, and its label errors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CaseFailures {
    pub case_id: String,
    pub group: String,
    pub gold: Vec<String>,
    pub given: Vec<String>,
    /// Right as written.
    pub right: Vec<String>,
    pub format: Format,
    pub errors: Vec<LabelError>,
}

impl CaseFailures {
    pub fn count(&self, class: Class) -> usize {
        self.errors.iter().filter(|error| error.class == class).count()
    }

    /// Classes with their labels in a line: `missed: renal cyst; negation missed: ascites`.
    pub fn summary(&self) -> String {
        let mut by_class = BTreeMap::<Class, Vec<&str>>::new();
        self.errors.iter().for_each(|error| by_class.entry(error.class).or_default().push(&error.label));
        let part = |(class, labels): (Class, Vec<&str>)| format!("{}: {}", class.name(), labels.join(", "));
        by_class.into_iter().map(part).collect::<Vec<_>>().join("; ")
    }
}

/// What classifying needs to know from training.
pub struct Taxonomy {
    names: Normaliser,
    /// Training labels as written, in lower case.
    written: BTreeSet<String>,
    counts: BTreeMap<String, usize>,
    lexicon: Lexicon,
}

impl Taxonomy {
    pub fn new(train: &[Finding], names: Normaliser) -> Self {
        let normalise = |label: &str| names.normalise(label);
        let mut counts = BTreeMap::new();
        for case in train {
            let labels: BTreeSet<String> = case.gold.iter().map(|label| normalise(label)).collect();
            labels.into_iter().for_each(|label| *counts.entry(label).or_insert(0) += 1);
        }
        let written = train.iter().flat_map(|case| &case.gold).map(|label| plain(label)).collect();
        Self { written, counts, lexicon: Lexicon::learn(train, &normalise), names }
    }

    /// The cases of one set of answers, in order. `limit`: new tokens that an answer could have, where known.
    pub fn cases(&self, predictions: &[Prediction], limit: Option<usize>) -> Vec<CaseFailures> {
        predictions.iter().map(|prediction| self.case(prediction, limit)).collect()
    }

    /// Sorts every label error of one answer into its class.
    pub fn case(&self, prediction: &Prediction, limit: Option<usize>) -> CaseFailures {
        let (gold, given) = (distinct(&prediction.gold), distinct(&prediction.answer));
        let has = |list: &[String], label: &str| list.iter().any(|other| plain(other) == plain(label));
        let (right, missed): (Vec<String>, Vec<String>) = gold.iter().cloned().partition(|label| has(&given, label));
        let extra: Vec<String> = given.iter().filter(|label| !has(&gold, label)).cloned().collect();
        let format = self.format(prediction, limit, &gold, &given, missed.is_empty() && extra.is_empty());
        let reading = self.lexicon.read(&prediction.input);
        let mut open = Open { taxonomy: self, case_id: &prediction.case_id, reading, missed, extra, errors: vec![] };
        open.formats(&format, given.last());
        open.names(&gold, &given);
        open.relatives(&gold);
        open.rest();
        let mut errors = open.errors;
        errors.sort_by(|a, b| (a.on, a.class, &a.label).cmp(&(b.on, b.class, &b.label)));
        let (case_id, group) = (prediction.case_id.clone(), prediction.group.clone());
        CaseFailures { case_id, group, gold, given, right, format, errors }
    }

    fn format(
        &self,
        answer: &Prediction,
        limit: Option<usize>,
        gold: &[String],
        given: &[String],
        same: bool,
    ) -> Format {
        let lower = answer.raw.to_lowercase();
        let pieces: Vec<String> = lower.split([',', '\n', ';']).map(plain).filter(|piece| !piece.is_empty()).collect();
        let twice = |label: &String| pieces.iter().filter(|piece| **piece == plain(label)).count() > 1;
        let plain_all = |labels: &[String]| labels.iter().map(|label| plain(label)).collect::<Vec<_>>();
        Format {
            unparsed: !answer.parsed,
            repeated: given.iter().any(twice),
            cut: limit.is_some_and(|limit| answer.new_tokens >= limit && limit > 0),
            reordered: same && plain_all(gold) != plain_all(given),
        }
    }
}

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
mod remedy;
mod tally;

pub use agreement::{Agreement, agreement, cues};
pub use cluster::{Cluster, clusters};
pub use remedy::{Fixed, fixed, fixed_by_class};
pub use tally::{Tally, confusions, ratio, share, tally};

use crate::corpus::Finding;
use crate::label::{Certainty, Cue, Evidence, Lexicon, Normaliser, Qualified, certainty, without_denial};
use crate::run::prediction::Prediction;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

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

/// The errors of a case that have no class yet.
struct Open<'a> {
    taxonomy: &'a Taxonomy,
    case_id: &'a str,
    reading: crate::label::lexicon::Reading<'a>,
    missed: Vec<String>,
    extra: Vec<String>,
    errors: Vec<LabelError>,
}

impl Open<'_> {
    fn formats(&mut self, format: &Format, last: Option<&String>) {
        if format.unparsed {
            let missed = std::mem::take(&mut self.missed);
            missed.into_iter().for_each(|label| self.close(Where::Gold, label, Class::Format, None));
        }
        let names = &self.taxonomy.names;
        let unknown = |label: &String| names.outside_vocabulary(label);
        let prose = |label: &String| label.split_whitespace().count() >= SENTENCE && unknown(label);
        let torn = |label: &String| format.cut && last == Some(label) && unknown(label);
        let (bad, extra) = std::mem::take(&mut self.extra).into_iter().partition(|label| prose(label) || torn(label));
        self.extra = extra;
        let bad: Vec<String> = bad;
        bad.into_iter().for_each(|label| self.close(Where::Given, label, Class::Format, None));
    }

    /// One name for both, once normalised.
    fn names(&mut self, gold: &[String], given: &[String]) {
        let taxonomy = self.taxonomy;
        let same = |label: &String, others: &[String]| {
            let name = taxonomy.names.normalise(label);
            others.iter().find(|other| !name.is_empty() && taxonomy.names.normalise(other) == name).cloned()
        };
        let class = |gold: &str, given: &str| {
            if certainty(gold) != certainty(given) {
                Class::WrongCertainty
            } else if !taxonomy.written.contains(&plain(gold)) && !taxonomy.names.outside_vocabulary(gold) {
                Class::NamingShift
            } else {
                Class::SynonymOnly
            }
        };
        for label in std::mem::take(&mut self.missed) {
            match same(&label, given) {
                Some(other) => {
                    let class = class(&label, &other);
                    self.close(Where::Gold, label, class, Some(other));
                }
                None => self.missed.push(label),
            }
        }
        for label in std::mem::take(&mut self.extra) {
            match same(&label, gold) {
                Some(other) => {
                    let class = class(&other, &label);
                    self.close(Where::Given, label, class, Some(other));
                }
                None => self.extra.push(label),
            }
        }
    }

    /// Pairs of a missed and a given label that are nearly the same; then given labels that are nearly a gold label which is
    /// right or has its partner already.
    fn relatives(&mut self, gold: &[String]) {
        let taxonomy = self.taxonomy;
        let relation =
            |gold: &str, given: &str| related(&taxonomy.names.normalise(gold), &taxonomy.names.normalise(given));
        let mut pairs = Vec::new();
        for missed in &self.missed {
            let of = |given: &String| Some((relation(missed, given)?, missed.clone(), given.clone()));
            pairs.extend(self.extra.iter().filter_map(of));
        }
        pairs.sort();
        for (class, missed, given) in pairs {
            if self.missed.contains(&missed) && self.extra.contains(&given) {
                self.missed.retain(|label| *label != missed);
                self.extra.retain(|label| *label != given);
                self.close(Where::Gold, missed.clone(), class, Some(given.clone()));
                self.close(Where::Given, given, class, Some(missed));
            }
        }
        for given in std::mem::take(&mut self.extra) {
            let near = gold.iter().filter_map(|gold| Some((relation(gold, &given)?, gold.clone()))).min();
            match near {
                Some((class, gold)) => self.close(Where::Given, given, class, Some(gold)),
                None => self.extra.push(given),
            }
        }
    }

    fn rest(&mut self) {
        for label in std::mem::take(&mut self.missed) {
            self.close(Where::Gold, label, Class::Missed, None);
        }
        for label in std::mem::take(&mut self.extra) {
            let name = self.taxonomy.names.normalise(&label);
            let mention = self.reading.mention(&name);
            let denied = |evidence: &Evidence| !names_nothing(&name) && self.reading.denies(evidence, &name);
            let class = match mention.as_ref().and_then(|evidence| Some((evidence.cue?, evidence))) {
                Some((Cue::Denied, evidence)) if denied(evidence) => Class::NegationMissed,
                Some((Cue::Asked | Cue::Past, _)) => Class::OtherDistractor,
                Some((Cue::Denied, _)) | None => Class::Invented,
            };
            self.close(Where::Given, label, class, None);
        }
    }

    fn close(&mut self, on: Where, label: String, class: Class, partner: Option<String>) {
        let names = &self.taxonomy.names;
        let name = names.normalise(&label);
        let evidence = match on {
            Where::Gold => self.reading.best(&name),
            Where::Given => self.reading.mention(&name),
        };
        self.errors.push(LabelError {
            case_id: self.case_id.to_string(),
            on,
            class,
            forgiven: partner.as_ref().is_some_and(|partner| names.normalise(partner) == name),
            partner,
            training_cases: self.taxonomy.counts.get(&name).copied().unwrap_or(0),
            evidence,
            name,
            label,
        });
    }
}

/// Whether a label (normalised) says that nothing was found: sentences that deny something are where its words come from.
fn names_nothing(name: &str) -> bool {
    let word = |word: &str| ["normal", "unremarkable", "healthy", "none", "negative"].contains(&word);
    certainty(name) == Certainty::Denied || name.split(' ').any(word)
}

/// How a given label is nearly a gold one (both normalised).
fn related(gold: &str, given: &str) -> Option<Class> {
    let (wanted, got) = (Qualified::of(gold), Qualified::of(given));
    if wanted.other_side(&got) {
        return (wanted.core == got.core).then_some(Class::WrongSide);
    }
    if certainty(gold) != certainty(given) {
        return (without_denial(gold) == without_denial(given)).then_some(Class::WrongCertainty);
    }
    let (wanted, got) = (content(gold), content(given));
    let same_head = head(gold) == head(given) && head(gold).is_some();
    match (got.is_subset(&wanted), wanted.is_subset(&got)) {
        (true, false) if same_head => Some(Class::TooGeneral),
        (false, true) if same_head => Some(Class::TooSpecific),
        _ => None,
    }
}

const SMALL: [&str; 9] = ["of", "the", "in", "with", "without", "and", "a", "an", "to"];

fn content(label: &str) -> BTreeSet<&str> {
    label.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty() && !SMALL.contains(word)).collect()
}

/// The noun that a label is about: the last word before "of", "in", "with", …
fn head(label: &str) -> Option<&str> {
    let words: Vec<&str> = label.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let end = words.iter().skip(1).position(|word| SMALL.contains(word)).map_or(words.len(), |at| at + 1);
    words[..end].last().copied()
}

fn plain(label: &str) -> String {
    label.trim().to_lowercase()
}

fn distinct(labels: &[String]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let labels = labels.iter().map(|label| label.trim().to_string()).filter(|label| !label.is_empty());
    labels.filter(|label| seen.insert(plain(label))).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::run::prediction::tests::answer;

    pub(crate) fn taxonomy() -> Taxonomy {
        let texts = [
            ("Fluid-dense focus in the cortex. Lungs clear.", "renal cyst"),
            ("Bright concretion in the calyx. Lungs clear.", "kidney stone"),
            ("Dilated pelvis on the left. Lungs clear.", "left hydronephrosis"),
            ("Free fluid. Lungs clear.", "ascites"),
        ];
        let case = |i: usize| {
            let (input, label) = texts[i % 4];
            Finding::new(i.to_string(), i.to_string(), input, vec![label.into()])
        };
        let train: Vec<Finding> = (0..80).map(case).collect();
        let labels = ["renal cyst", "kidney stone", "left hydronephrosis", "ascites", "colorectal cancer"];
        Taxonomy::new(&train, Normaliser::new(labels).unwrap())
    }

    fn classes(gold: &[&str], given: &[&str], input: &str) -> Vec<(Where, &'static str, String)> {
        let prediction = Prediction { input: input.into(), ..answer("1", gold, given) };
        let case = taxonomy().case(&prediction, None);
        case.errors.into_iter().map(|error| (error.on, error.class.name(), error.label)).collect()
    }

    #[test]
    fn every_error_has_exactly_one_class_and_nothing_right_has_one() {
        use Where::{Given, Gold};
        let text = "Lungs clear. There is no concretion in the calyx. Free fluid was seen 9 months ago.";
        let one = |on, class, label: &str| (on, class, label.to_string());
        let cases = [
            (vec!["renal cyst"], vec!["Renal cyst"], vec![]),
            (vec!["renal cyst"], vec![], vec![one(Gold, "format", "renal cyst")]),
            (
                vec!["renal cyst"],
                vec!["the lungs are clear and the heart is of normal size"],
                vec![
                    one(Gold, "missed", "renal cyst"),
                    one(Given, "format", "the lungs are clear and the heart is of normal size"),
                ],
            ),
            (
                vec!["colorectal cancer (possible)"],
                vec!["colorectal cancer"],
                vec![
                    one(Gold, "wrong certainty", "colorectal cancer (possible)"),
                    one(Given, "wrong certainty", "colorectal cancer"),
                ],
            ),
            (
                vec!["renal cysts"],
                vec!["renal cyst"],
                vec![one(Gold, "naming shift", "renal cysts"), one(Given, "naming shift", "renal cyst")],
            ),
            (
                vec!["renal cyst"],
                vec!["kidney cyst"],
                vec![one(Gold, "synonym only", "renal cyst"), one(Given, "synonym only", "kidney cyst")],
            ),
            (
                vec!["left hydronephrosis"],
                vec!["right hydronephrosis"],
                vec![one(Gold, "wrong side", "left hydronephrosis"), one(Given, "wrong side", "right hydronephrosis")],
            ),
            (
                vec!["renal cyst"],
                vec!["cyst"],
                vec![one(Gold, "too general", "renal cyst"), one(Given, "too general", "cyst")],
            ),
            (
                vec!["cyst"],
                vec!["cyst of the kidney"],
                // an alias of renal cyst: a name of its own, more specific than "cyst"
                vec![one(Gold, "too specific", "cyst"), one(Given, "too specific", "cyst of the kidney")],
            ),
            (
                vec!["renal cyst"],
                vec!["renal cyst", "kidney stone", "ascites", "gallstone"],
                vec![
                    one(Given, "negation missed", "kidney stone"),
                    one(Given, "other distractor", "ascites"),
                    one(Given, "invented", "gallstone"),
                ],
            ),
            (vec!["renal cyst"], vec!["renal cyst", "renal cysts"], vec![one(Given, "synonym only", "renal cysts")]),
        ];
        for (gold, given, wanted) in cases {
            assert_eq!(classes(&gold, &given, text), wanted, "gold {gold:?}, given {given:?}");
        }
    }

    #[test]
    fn a_denial_of_something_else_is_no_negation_missed() {
        let class = |given: &str, text: &str| classes(&[], &[given], text)[0].1;
        assert_eq!(class("kidney stone", "There is no concretion in the calyx."), "negation missed");
        assert_eq!(class("kidney stone", "There is no stone in the gallbladder."), "invented", "another organ");
        assert_eq!(
            class("kidney stone", "Bright concretion in the calyx without thick walls."),
            "invented",
            "another property"
        );
        assert_eq!(
            class("no acute abnormality", "There is no acute abnormality of the bowel."),
            "invented",
            "nothing found"
        );
    }

    #[test]
    fn errors_add_up_and_an_earlier_class_takes_the_label() {
        // left and right: the side decides before "too general" could
        let got = classes(&["left hydronephrosis", "renal cyst"], &["right hydronephrosis", "hydronephrosis"], "");
        let names: Vec<(&str, &str)> = got.iter().map(|(_, class, label)| (*class, label.as_str())).collect();
        assert_eq!(
            names,
            [
                ("wrong side", "left hydronephrosis"),
                ("missed", "renal cyst"),
                ("wrong side", "right hydronephrosis"),
                ("too general", "hydronephrosis"),
            ]
        );
    }

    #[test]
    fn answers_as_a_whole_are_looked_at_too() {
        let format = |raw: &str, labels: &[&str], new_tokens| {
            let prediction =
                Prediction { raw: raw.into(), new_tokens, ..answer("1", &["ascites", "renal cyst"], labels) };
            taxonomy().case(&prediction, Some(64))
        };
        let case = format("renal cyst, ascites", &["renal cyst", "ascites"], 8);
        assert!(case.errors.is_empty() && case.format == Format { reordered: true, ..Format::default() });
        let case = format("ascites, Ascites, renal cyst, asc", &["ascites", "renal cyst", "asc"], 64);
        assert!(case.format.repeated && case.format.cut && !case.format.reordered);
        assert_eq!((case.errors[0].class, case.errors.len()), (Class::Format, 1), "the torn label");
        assert_eq!(case.summary(), "format: asc");
    }
}

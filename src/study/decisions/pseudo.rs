//! Pseudo-labels: notes that a trained model marked, added to the notes that it was trained on (system 002, model 3, without its defects).
//!
//! ```text
//! unlabelled notes ─ none that is nearly a gold note ─ nearest to training notes, each once ─ answered by the run
//!                  ─ valid: a copy of the note, every tag closed ─ sure: measure ≤ quantile q of the valid answers ─ gold + pseudo, one schema
//! ```
//!
//! Neither gold spans of the unlabelled notes nor any validation or test note is used to choose; those two are only kept away from what is chosen.
//! Both sources have one schema; a note that a model marked says so, and its name begins with `pseudo-`.
use super::confidence::{Confidence, Measure};
use super::retrieval::EmbedBy;
use crate::corpus::Case;
use crate::corpus::decisions::Span;
use crate::corpus::decisions::lines::PSEUDO;
use crate::error::{Error, Result};
use crate::io;
use crate::prompt::Constrain;
use crate::task::AnyPrediction;
use crate::task::decisions::{Reason, untag};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// How notes are chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PseudoConfig {
    pub embed: EmbedBy,
    /// Nearest notes of a training note that are looked at.
    pub top: usize,
    /// Notes that a training note is given, at most.
    pub per_note: usize,
    pub measure: Measure,
    /// Share of the valid answers that is kept, the surest first.
    pub quantile: f64,
    /// How the run is asked; free answers where not given.
    pub constrain: Option<Constrain>,
    /// An answer whose tag never closes stays without that tag; else the whole answer is left out. For `tags-reopened`, which gives tags up.
    pub allow_unclosed: bool,
}

impl Default for PseudoConfig {
    /// As published but for the measure, and answers that can only be copies.
    fn default() -> Self {
        Self {
            embed: EmbedBy::default(),
            top: 100,
            per_note: 5,
            measure: Measure::default(),
            quantile: 0.10,
            constrain: Some(Constrain::Tags),
            allow_unclosed: false,
        }
    }
}

impl PseudoConfig {
    pub(super) fn check(&self) -> Result<()> {
        match self {
            _ if !(0.0..=1.0).contains(&self.quantile) => {
                Err(Error::input(format!("quantile is {}: expected 0 to 1", self.quantile)))
            }
            _ if self.top == 0 || self.per_note == 0 => {
                Err(Error::input("top and per_note: expected at least 1, else no note is retrieved"))
            }
            _ => Ok(()),
        }
    }
}

/// Why an answer is no pseudo-label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Invalid {
    /// Without its tags it is not the note.
    NoCopy,
    /// A tag opens and never closes.
    Unclosed,
    /// A tag closes that nothing opened, has a name that is none of the nine, or holds nothing.
    Malformed,
}

/// What became of the notes, step by step: `pseudo.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PseudoReport {
    pub config: PseudoConfig,
    /// Folder of the run and names with digests of its model and adapter.
    pub run: String,
    pub model: String,
    /// Notes that the run was trained on: the queries; and its validation notes.
    pub queries: usize,
    pub validation: usize,
    pub candidates: usize,
    /// Nearly the same as a gold note of any part, or as another candidate.
    pub alike: usize,
    pub retrieved: usize,
    /// Mean cosine of a retrieved note and its training note.
    pub cosine: Option<f64>,
    pub invalid: BTreeMap<Invalid, usize>,
    pub valid: usize,
    /// Valid answers that the measure says nothing of: without tags.
    pub unmeasured: usize,
    /// At most so many nats are kept; none where no answer was left.
    pub threshold: Option<f64>,
    pub kept: usize,
    /// Pseudo-labelled spans that are added.
    pub spans: usize,
}

/// The spans of an answer that may be taught; why not, otherwise.
pub fn valid(answer: &str, note: &str, allow_unclosed: bool) -> Result<Vec<Span>, Invalid> {
    let read = untag(answer, note);
    let lost = |reason: Reason| read.dropped.iter().any(|one| one.reason == reason);
    match read {
        _ if !read.copied => Err(Invalid::NoCopy),
        _ if read.unopened + read.unknown > 0 || lost(Reason::EmptySpan) => Err(Invalid::Malformed),
        _ if !allow_unclosed && lost(Reason::Unclosed) => Err(Invalid::Unclosed),
        _ => Ok(read.spans),
    }
}

/// Measures of answers, one a line.
pub fn write_confidence<'a>(path: &Path, all: impl Iterator<Item = &'a Confidence>) -> Result<()> {
    let line = |one: &Confidence| Ok(io::to_value(one)?.to_string() + "\n");
    io::write(path, all.map(line).collect::<Result<String>>()?.as_bytes())
}

/// `stats.csv` of a corpus as configs name it.
pub(super) fn statistics_of(corpus: &str) -> Option<PathBuf> {
    let folder = match corpus {
        "decisions" => crate::home().join("data").join("decisions"),
        "decisions-validation" => return None,
        folder => PathBuf::from(folder),
    };
    Some(folder.join("stats.csv"))
}

/// A folder that is new, or that this command wrote.
pub(super) fn writable(out: &Path) -> Result<()> {
    let foreign = out.join("train.jsonl").is_file() && !out.join("pseudo.json").is_file();
    match foreign || out.join("gold").is_dir() {
        true => Err(Error::input(format!("{}: holds a corpus without pseudo.json: give a new folder", out.display()))),
        false => Ok(()),
    }
}

/// The answer to every note, in the order of the notes; a note without one is named.
pub(super) fn answered(notes: &[Case], answers: &[AnyPrediction]) -> Result<Vec<AnyPrediction>> {
    let known: BTreeMap<&str, &AnyPrediction> = answers.iter().map(|one| (one.case_id.as_str(), one)).collect();
    let one = |note: &Case| {
        let id = &note.case_id;
        let missing = || {
            Error::input(format!("no answer to the retrieved note `{id}`: ask about all notes, or leave --answers out"))
        };
        known.get(id.as_str()).map(|one| (*one).clone()).ok_or_else(missing)
    };
    notes.iter().map(one).collect()
}

/// The data card.
pub(super) fn card(synthetic: bool, gold: usize, report: &PseudoReport) -> String {
    let (title, whose) = match synthetic {
        true => (
            "Synthetic discharge summaries with pseudo-labels",
            "Every note is synthetic: no patient stands behind it. ",
        ),
        false => ("Discharge summaries with pseudo-labels", ""),
    };
    let PseudoReport { kept, model, run, retrieved, valid, config, .. } = report;
    let (measure, quantile) = (config.measure.name(), config.quantile);
    format!(
        "# {title}\n\n{whose}Written by `dxlab decisions pseudo`: {gold} gold notes that the run {run} was trained and validated on, and {kept} notes that \
         its model ({model}) marked. Of {retrieved} retrieved notes {valid} had a valid answer; kept are those with {measure} at or below the quantile \
         {quantile} of these. Names of pseudo-labelled notes begin with `{PSEUDO}`, their lines have `\"source\":\"pseudo\"`, and nobody has checked their \
         spans. Validation and test notes are those of the gold corpus. `pseudo.json` has the counts, `confidence.jsonl` what each valid answer \
         measured.\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::decisions::Category;

    #[test]
    fn an_answer_is_valid_when_it_is_the_note_with_every_tag_closed() {
        let note = "Hold aspirin. No MI.";
        let spans = vec![Span::new(0, 12, Category::DrugDecision)];
        let right = crate::task::decisions::tag(note, &spans);
        assert_eq!(valid(&right, note, false), Ok(spans.clone()));
        assert_eq!(valid(note, note, false), Ok(vec![]));
        assert_eq!(valid(&right.replace("MI", "stroke"), note, false), Err(Invalid::NoCopy));
        let open = right.replace("No", "<gather_info>No");
        assert_eq!((valid(&open, note, false), valid(&open, note, true)), (Err(Invalid::Unclosed), Ok(spans)));
        for wrong in ["</gather_info>No", "<gather_info></gather_info>No", "<b>No"] {
            assert_eq!(valid(&right.replace("No", wrong), note, true), Err(Invalid::Malformed), "{wrong}");
        }
    }
}

//! Pseudo-labels: notes that a trained model marked, added to the notes that it was trained on (system 002, model 3, without its defects).
//!
//! ```text
//! unlabelled notes ─ no patient of a validation or test note, none that is nearly a gold note ─ nearest to training notes, each once ─ answered by the run
//!                  ─ valid: a copy of the note, every tag closed ─ confidence: measure ≤ quantile q of the valid answers ─ gold + pseudo, one schema
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
    /// Share of the valid answers that is kept, those of the highest confidence first.
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
    /// Prompt and answer do not fit the model: its confidence is not known.
    TooLong,
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
    /// Of a patient of a gold validation or test note. None are left out for this where gold notes or candidates are synthetic, as their numbers of
    /// patients mean nothing beyond their own corpus.
    #[serde(default)]
    pub same_patient: usize,
    /// Of the others: nearly the same as a gold note of any part, or as another candidate.
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
        _ if read.unopened > 0 || !read.unknown.is_empty() || lost(Reason::EmptySpan) => Err(Invalid::Malformed),
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

/// What this command writes.
const FILES: [&str; 9] = [
    ".gitignore",
    "answers.jsonl",
    "confidence.jsonl",
    "train.jsonl",
    "validation.jsonl",
    "test.jsonl",
    "stats.csv",
    "README.md",
    "pseudo.json",
];

/// Where a corpus is made: `NAME.part` beside its folder, which takes the place of the folder when all is written. What a stopped call leaves there
/// is no corpus that a config names; its `answers.jsonl` can be given to the next call.
pub(super) struct Making {
    out: PathBuf,
    pub part: PathBuf,
}

impl Making {
    /// Fails for a folder that holds what this command does not write, as the folder is replaced; changes nothing yet.
    pub fn of(out: &Path) -> Result<Self> {
        let out = std::fs::canonicalize(out).unwrap_or_else(|_| out.into());
        let name = out.file_name().ok_or_else(|| Error::input(format!("{}: give the folder a name", out.display())))?;
        let part = out.with_file_name(format!("{}.part", name.to_string_lossy()));
        if out.join("train.jsonl").is_file() && !out.join("pseudo.json").is_file() {
            let out = out.display();
            return Err(Error::input(format!("{out}: holds a corpus without pseudo.json: give a new folder")));
        }
        only_own(&out)?;
        only_own(&part)?;
        Ok(Self { out, part })
    }

    /// Empties the part; notes of patients are kept from git before the first of them is written.
    pub fn start(&self, patients: bool) -> Result<()> {
        if self.part.is_dir() {
            std::fs::remove_dir_all(&self.part).map_err(Error::io(&self.part))?;
        }
        std::fs::create_dir_all(&self.part).map_err(Error::io(&self.part))?;
        if patients { io::write(&self.part.join(".gitignore"), b"*\n") } else { Ok(()) }
    }

    /// The part becomes the folder; an earlier corpus there goes as a whole.
    pub fn finish(self) -> Result<()> {
        let name = self.out.file_name().unwrap_or_default().to_string_lossy();
        let earlier = self.out.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
        let moved = self.out.is_dir();
        if moved {
            std::fs::rename(&self.out, &earlier).map_err(Error::io(&self.out))?;
        }
        std::fs::rename(&self.part, &self.out).map_err(Error::io(&self.out))?;
        if moved { std::fs::remove_dir_all(&earlier).map_err(Error::io(&earlier)) } else { Ok(()) }
    }
}

/// An error names what a folder holds that this command does not write.
fn only_own(folder: &Path) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    for entry in std::fs::read_dir(folder).map_err(Error::io(folder))? {
        let name = entry.map_err(Error::io(folder))?.file_name();
        // a write that was stopped leaves `.NAME.PROCESS.tmp`
        let text = name.to_string_lossy();
        let stopped = text.starts_with('.') && text.ends_with(".tmp");
        if !stopped && !FILES.iter().any(|own| name == *own) {
            let folder = folder.display();
            return Err(Error::input(format!(
                "{folder}: holds {text}, which `dxlab decisions pseudo` did not write: give a new folder"
            )));
        }
    }
    Ok(())
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

/// The data card. `patients`: whether gold and unlabelled notes are of patients, so that their numbers were compared.
pub(super) fn card(synthetic: bool, patients: bool, gold: usize, report: &PseudoReport) -> String {
    let (title, whose) = match synthetic {
        true => (
            "Synthetic discharge summaries with pseudo-labels",
            "Every note is synthetic: no patient stands behind it. ",
        ),
        false => ("Discharge summaries with pseudo-labels", ""),
    };
    let PseudoReport { kept, model, run, retrieved, valid, config, same_patient, .. } = report;
    let (measure, quantile) = (config.measure.name(), config.quantile);
    let left_out = match patients {
        true => format!(
            "{same_patient} unlabelled notes of patients of a gold validation or test note were left out, and the line of a pseudo-labelled note has \
             its patient as `group`. "
        ),
        false => String::new(),
    };
    format!(
        "# {title}\n\n{whose}Written by `dxlab decisions pseudo`: {gold} gold notes that the run {run} was trained and validated on, and {kept} notes that \
         its model ({model}) marked. Of {retrieved} retrieved notes {valid} had a valid answer; kept are those with {measure} at or below the quantile \
         {quantile} of these. Names of pseudo-labelled notes begin with `{PSEUDO}`, their lines have `\"source\":\"pseudo\"`, and nobody has checked their \
         spans. {left_out}Validation and test notes are those of the gold corpus. `pseudo.json` has the counts, `confidence.jsonl` what each valid answer \
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

    #[test]
    fn a_corpus_takes_its_place_whole_and_nothing_of_an_earlier_one_stays() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("made");
        let files = |folder: &Path| -> Vec<String> {
            let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
            let mut names: Vec<String> = entries.map(|name| name.to_string_lossy().into_owned()).collect();
            names.sort();
            names
        };
        for name in ["train.jsonl", "validation.jsonl", "stats.csv", "pseudo.json"] {
            io::write(&out.join(name), b"earlier").unwrap();
        }
        let making = Making::of(&out).unwrap();
        making.start(true).unwrap();
        assert_eq!(files(&making.part), [".gitignore"], "before any text of a patient");
        io::write(&making.part.join("answers.jsonl"), b"").unwrap();
        assert_eq!(files(&out).len(), 4, "a stopped call leaves the folder as it was");
        let making = Making::of(&out).unwrap();
        making.start(false).unwrap();
        io::write(&making.part.join("train.jsonl"), b"new").unwrap();
        io::write(&making.part.join("pseudo.json"), b"{}").unwrap();
        making.finish().unwrap();
        assert_eq!(
            (files(&out), files(folder.path())),
            (vec!["pseudo.json".into(), "train.jsonl".into()], vec!["made".into()])
        );
        io::write(&out.join("mine.txt"), b"").unwrap();
        assert!(Making::of(&out).err().unwrap().to_string().contains("holds mine.txt"));
    }
}

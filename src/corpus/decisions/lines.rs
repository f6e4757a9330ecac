//! Notes with decisions as JSONL, one a line; and notes alone, whatever stands beside them.
use super::Span;
use super::read::{TEST, TRAIN, VALIDATION, example, files, group_of, grouped, is_synthetic};
use crate::corpus::{Case, Example};
use crate::error::{Error, Result};
use crate::io;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::Path;

/// A line of the JSONL.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    pub file_name: String,
    pub text: String,
    pub annotations: Vec<Span>,
    /// The patient, where the name does not begin with it: of pseudo-labelled notes of patients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// `pseudo` where a model and no person or grammar marked the note.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Names and digests of the model and its adapter that marked it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

impl Line {
    /// Of a note whose spans are gold.
    pub fn of(note: &Example<Vec<Span>>) -> Self {
        let (file_name, text) = (note.case_id.clone(), note.input.clone());
        let group = (note.group != group_of(&file_name)).then(|| note.group.clone());
        Self { file_name, text, annotations: note.gold.clone(), group, ..Self::default() }
    }

    /// Of a note that `model` marked; it gets a name that begins with [`PSEUDO`]. With `patients` the line keeps the note's group, so that the leak
    /// gate knows the patient. Without, the group is that of the new name: numbers of synthetic patients are used again by every seed.
    pub fn pseudo(note: &Case, spans: Vec<Span>, model: &str, patients: bool) -> Self {
        let file_name = format!("{PSEUDO}{}", note.case_id);
        Self {
            file_name,
            text: note.input.clone(),
            annotations: spans,
            group: patients.then(|| note.group.clone()),
            source: Some("pseudo".into()),
            model: Some(model.into()),
        }
    }
}

/// Names of notes that a model marked begin so: they are trained on, and never stop or choose a training.
pub const PSEUDO: &str = "pseudo-";

/// Writes notes, one a line.
pub fn write_lines(path: &Path, lines: &[Line]) -> Result<()> {
    let line =
        |line: &Line| serde_json::to_string(line).map_err(|e| Error::failed(format!("note `{}`: {e}", line.file_name)));
    let lines = lines.iter().map(line).collect::<Result<Vec<_>>>()?;
    io::write(path, (lines.join("\n") + "\n").as_bytes())
}

/// A line of which only the note is read.
#[derive(Deserialize)]
struct Bare {
    file_name: String,
    text: String,
    group: Option<String>,
}

/// Notes without spans.
#[derive(Clone, Debug, PartialEq)]
pub struct Unlabelled {
    pub notes: Vec<Case>,
    /// Whether the README of their folder says in its title that they are synthetic; else they are taken for notes of patients.
    pub synthetic: bool,
}

/// The notes of a folder without their spans, which are not even read: NAME.txt in it or in its folder `text`, else the lines of its `train.jsonl`,
/// `validation.jsonl` (or `val`, `dev`) and `test.jsonl`. A note that comes twice is an error.
pub fn unlabelled(folder: &Path) -> Result<Unlabelled> {
    let text = folder.join("text");
    let place = if text.is_dir() { text.as_path() } else { folder };
    let mut notes = Vec::new();
    for (name, path) in files(place, "txt")? {
        notes.push(example(name, io::read_text(&path)?, Vec::new()).case);
    }
    if notes.is_empty() {
        let names = TRAIN.iter().chain(&VALIDATION).chain(&TEST).map(|name| folder.join(format!("{name}.jsonl")));
        for path in names.filter(|path| path.is_file()) {
            let content = io::read_text(&path)?;
            for (i, line) in content.split('\n').enumerate().filter(|(_, line)| !line.trim().is_empty()) {
                let place = format!("{} row {}", path.display(), i + 1);
                let Bare { file_name, text, group } = serde_json::from_str(line)
                    .map_err(|e| Error::input(format!("{place}: expected {{\"file_name\", \"text\"}}: {e}")))?;
                notes.push(grouped(file_name, text, group, Vec::new()).case);
            }
        }
    }
    let mut seen = BTreeSet::new();
    match notes.iter().find(|note| !seen.insert(note.case_id.as_str())) {
        _ if notes.is_empty() => Err(Error::input(format!(
            "{}: no notes: expected NAME.txt here or in its folder text, or train.jsonl, validation.jsonl, test.jsonl",
            folder.display()
        ))),
        Some(twice) => Err(Error::input(format!("{}: note `{}` comes twice", folder.display(), twice.case_id))),
        None => Ok(Unlabelled { notes, synthetic: is_synthetic(folder) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::decisions::{Category, Decisions};

    #[test]
    fn lines_of_both_sources_are_one_schema_and_are_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let span = vec![Span::new(0, 12, Category::DrugDecision)];
        let gold = Example::new("1_2_3", "1", "Hold aspirin.", span.clone());
        let case = |id: &str| Case { case_id: id.into(), group: "4".into(), input: "Hold heparin.".into() };
        let pseudo = Line::pseudo(&case("4_5_6"), span.clone(), "m@1", false);
        let of_patient = Line::pseudo(&case("4_5_7"), span, "m@1", true);
        write_lines(&dir.path().join("train.jsonl"), &[Line::of(&gold), pseudo.clone(), of_patient]).unwrap();
        let written = io::read_text(&dir.path().join("train.jsonl")).unwrap();
        assert!(!written.lines().next().unwrap().contains("source"), "gold lines stay as they were");
        assert!(written.contains(r#""source":"pseudo","model":"m@1""#));
        let read = Decisions::open(dir.path()).unwrap().corpus.train;
        assert_eq!(
            (read[0].clone(), read[1].case_id.as_str(), read[1].group.as_str()),
            (gold, "pseudo-4_5_6", "pseudo-4")
        );
        assert_eq!(read[1].gold, pseudo.annotations);
        assert_eq!(
            (read[2].case_id.as_str(), read[2].group.as_str()),
            ("pseudo-4_5_7", "4"),
            "the patient stays known"
        );
        assert_eq!(Line::of(&read[2]).group.as_deref(), Some("4"), "and is written again");
        assert_eq!(unlabelled(dir.path()).unwrap().notes[2].group, "4");
    }

    #[test]
    fn notes_are_read_without_their_spans() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path();
        assert!(unlabelled(folder).unwrap_err().to_string().contains("no notes"));
        io::write(
            &folder.join("train.jsonl"),
            b"{\"file_name\": \"1_2_3\", \"text\": \"a\", \"annotations\": \"not read\"}\n",
        )
        .unwrap();
        io::write(&folder.join("test.jsonl"), b"{\"file_name\": \"1_2_4\", \"text\": \"b\"}\n").unwrap();
        let Unlabelled { notes, synthetic } = unlabelled(folder).unwrap();
        assert!(!synthetic, "nothing says so");
        assert_eq!(
            (notes.len(), notes[1].case_id.as_str(), notes[1].group.as_str(), notes[1].input.as_str()),
            (2, "1_2_4", "1", "b")
        );
        io::write(&folder.join("dev.jsonl"), b"{\"file_name\": \"1_2_3\", \"text\": \"c\"}\n\n{}\n").unwrap();
        assert!(unlabelled(folder).unwrap_err().to_string().contains("dev.jsonl row 3"));
        io::write(&folder.join("dev.jsonl"), b"{\"file_name\": \"1_2_3\", \"text\": \"c\"}\n").unwrap();
        assert!(unlabelled(folder).unwrap_err().to_string().contains("`1_2_3` comes twice"));
        io::write(&folder.join("text/7_8_9.txt"), b"only this").unwrap();
        io::write(&folder.join("README.md"), b"# Synthetic notes\n").unwrap();
        let only = unlabelled(folder).unwrap();
        assert!(only.notes[0].case_id == "7_8_9" && only.synthetic);
    }
}

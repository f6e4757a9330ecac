//! Notes with decisions as JSONL, one a line; and notes alone, whatever stands beside them.
use super::Span;
use super::read::{TEST, TRAIN, VALIDATION, example, files};
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
        Self { file_name, text, annotations: note.gold.clone(), ..Self::default() }
    }

    /// Of a note that `model` marked; it gets a name that begins with [`PSEUDO`].
    pub fn pseudo(note: &Case, spans: Vec<Span>, model: &str) -> Self {
        let file_name = format!("{PSEUDO}{}", note.case_id);
        Self {
            file_name,
            text: note.input.clone(),
            annotations: spans,
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
}

/// The notes of a folder without their spans, which are not even read: NAME.txt in it or in its folder `text`, else the lines of its `train.jsonl`,
/// `validation.jsonl` (or `val`, `dev`) and `test.jsonl`. A note that comes twice is an error.
pub fn unlabelled(folder: &Path) -> Result<Vec<Case>> {
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
                let Bare { file_name, text } = serde_json::from_str(line)
                    .map_err(|e| Error::input(format!("{place}: expected {{\"file_name\", \"text\"}}: {e}")))?;
                notes.push(example(file_name, text, Vec::new()).case);
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
        None => Ok(notes),
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
        let pseudo = Line::pseudo(
            &Case { case_id: "4_5_6".into(), group: "4".into(), input: "Hold heparin.".into() },
            span,
            "m@1",
        );
        write_lines(&dir.path().join("train.jsonl"), &[Line::of(&gold), pseudo.clone()]).unwrap();
        let written = io::read_text(&dir.path().join("train.jsonl")).unwrap();
        assert!(!written.lines().next().unwrap().contains("source"), "gold lines stay as they were");
        assert!(written.contains(r#""source":"pseudo","model":"m@1""#));
        let read = Decisions::open(dir.path()).unwrap().corpus.train;
        assert_eq!(
            (read[0].clone(), read[1].case_id.as_str(), read[1].group.as_str()),
            (gold, "pseudo-4_5_6", "pseudo-4")
        );
        assert_eq!(read[1].gold, pseudo.annotations);
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
        let notes = unlabelled(folder).unwrap();
        assert_eq!(
            (notes.len(), notes[1].case_id.as_str(), notes[1].group.as_str(), notes[1].input.as_str()),
            (2, "1_2_4", "1", "b")
        );
        io::write(&folder.join("dev.jsonl"), b"{\"file_name\": \"1_2_3\", \"text\": \"c\"}\n\n{}\n").unwrap();
        assert!(unlabelled(folder).unwrap_err().to_string().contains("dev.jsonl row 3"));
        io::write(&folder.join("dev.jsonl"), b"{\"file_name\": \"1_2_3\", \"text\": \"c\"}\n").unwrap();
        assert!(unlabelled(folder).unwrap_err().to_string().contains("`1_2_3` comes twice"));
        io::write(&folder.join("text/7_8_9.txt"), b"only this").unwrap();
        assert_eq!(unlabelled(folder).unwrap()[0].case_id, "7_8_9");
    }
}

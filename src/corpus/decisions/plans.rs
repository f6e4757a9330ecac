//! Plan bullets of ACI-Bench as stand-ins for decisions in notes: clinical notes (of role-played visits) whose authors wrote headings before what they
//! planned, for who has no MedDec.
//!
//! ```text
//! • Medical Treatment: We will increase her lisinopril.   →   • We will increase her lisinopril.
//!                                                               [ drug_decision                ]
//! ```
//!
//! The heading is taken out of the note, as it would give the answer away, and what follows it in its line is a span. Headings and categories are not of
//! one make: *Medical Treatment* is mostly about drugs and also about procedures, *Medical Reasoning* mostly names problems. So a score here says how well
//! a method marks runs of real sentences and tells their kinds apart, and nothing of the categories of MedDec.
use super::{Category, Decisions, Span};
use crate::corpus::Corpus;
use crate::error::{Error, Result};
use crate::task::decisions::Note;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Headings of plan bullets and the category that each stands in for.
const HEADINGS: [(&str, Category); 5] = [
    ("Medical Reasoning:", Category::DefineProblem),
    ("Medical Treatment:", Category::DrugDecision),
    ("Additional Testing:", Category::GatherInfo),
    ("Patient Education and Counseling:", Category::AdviceAndPrecaution),
    ("Specialist Referrals:", Category::ContactRelated),
];

const TRAIN: &[&str] = &["train"];
const VALIDATION: &[&str] = &["valid"];
const TEST: &[&str] = &["clinicalnlp_taskB_test1", "clinicalnlp_taskC_test2", "clef_taskC_test3"];

#[derive(Deserialize)]
struct Row {
    encounter_id: String,
    note: String,
}

impl Decisions {
    /// `decisions-aci`, from the layout of `DXLAB_DATA`: notes with plan bullets of the published training, validation and three test parts.
    pub fn plans(dir: &Path) -> Result<Self> {
        let part = |files: &[&str]| -> Result<Vec<Note>> {
            let notes = files.iter().map(|file| read(&dir.join(format!("aci-bench/{file}.csv"))));
            Ok(notes.collect::<Result<Vec<_>>>()?.concat())
        };
        let (train, validation, test) = (part(TRAIN)?, part(VALIDATION)?, part(TEST)?);
        let name = "ACI-Bench plan bullets: what stood behind a heading for a decision".to_string();
        let corpus = Corpus { name, synthetic: false, train, test };
        Ok(Self { corpus, validation, strata: BTreeMap::new(), warnings: vec![] })
    }
}

/// The notes of a file that have a plan bullet. Fails for a missing column, a row that cannot be read and an encounter that occurs twice.
fn read(path: &Path) -> Result<Vec<Note>> {
    let text = crate::io::read_text(path)?;
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let mut notes: Vec<Note> = vec![];
    for (i, row) in reader.deserialize().enumerate() {
        let place = || format!("{} row {}", path.display(), i + 2);
        let Row { encounter_id, note } = row.map_err(|e: csv::Error| Error::input(format!("{}: {e}", place())))?;
        let (text, spans) = without_headings(&note);
        if spans.is_empty() {
            continue;
        }
        if notes.iter().any(|one| one.case_id == encounter_id) {
            return Err(Error::input(format!("{}: encounter `{encounter_id}` occurs twice", place())));
        }
        notes.push(Note::new(&encounter_id, &encounter_id, text, spans));
    }
    Ok(notes)
}

/// The note without the headings of its plan bullets, and what followed each in its line.
fn without_headings(note: &str) -> (String, Vec<Span>) {
    let (mut text, mut chars, mut spans) = (String::with_capacity(note.len()), 0, vec![]);
    let mut push = |piece: &str, chars: &mut usize| {
        text.push_str(piece);
        *chars += piece.chars().count();
    };
    for line in note.split_inclusive('\n') {
        match bullet(line) {
            Some((mark, said, rest, category)) => {
                push(mark, &mut chars);
                let start = chars;
                push(said, &mut chars);
                spans.push(Span::new(start, chars, category));
                push(rest, &mut chars);
            }
            None => push(line, &mut chars),
        }
    }
    (text, spans)
}

/// A line of a plan bullet in pieces: what stands before its heading, what is said after it, blanks and the line's end.
fn bullet(line: &str) -> Option<(&str, &str, &str, Category)> {
    let mark = line.len() - line.trim_start_matches(|c: char| c.is_whitespace() || "•-*·".contains(c)).len();
    let (heading, category) = HEADINGS.into_iter().find(|(heading, _)| line[mark..].starts_with(heading))?;
    let behind = line[mark + heading.len()..].trim_start();
    let said = behind.trim_end();
    (!said.is_empty()).then(|| (&line[..mark], said, &behind[said.len()..], category))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_go_and_what_they_head_is_marked() {
        let note = "PLAN\r\nNaïve pain.\n• Medical Treatment: Take 5 mg. \r\n- Additional Testing:  MRI\n• Medical Reasoning:\nVitals: Medical Treatment: no";
        let (text, spans) = without_headings(note);
        assert_eq!(
            text,
            "PLAN\r\nNaïve pain.\n• Take 5 mg. \r\n- MRI\n• Medical Reasoning:\nVitals: Medical Treatment: no"
        );
        let said = |span: &Span| text.chars().skip(span.start).take(span.chars()).collect::<String>();
        let found: Vec<_> = spans.iter().map(|span| (said(span), span.category)).collect();
        assert_eq!(found, [("Take 5 mg.".into(), Category::DrugDecision), ("MRI".into(), Category::GatherInfo)]);
    }

    #[test]
    fn notes_without_a_plan_are_left_out_and_bad_rows_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train.csv");
        let write = |rows: &str| std::fs::write(&path, format!("dataset,encounter_id,dialogue,note\n{rows}")).unwrap();
        write("a,D1,x,\"• Medical Treatment: rest\"\na,D2,x,nothing\n");
        let notes = read(&path).unwrap();
        assert_eq!(notes.iter().map(|note| note.case_id.as_str()).collect::<Vec<_>>(), ["D1"]);
        write("a,D1,x,Medical Treatment: rest\na,D1,x,Medical Treatment: rest\n");
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("train.csv row 3: encounter `D1` occurs twice"), "{error}");
        std::fs::write(&path, "dataset,encounter_id,dialogue\na,D1,x\n").unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("row 2") && error.contains("note"), "{error}");
    }

    #[test]
    fn the_published_notes_are_read_where_they_are() {
        let Ok(dir) = crate::corpus::open_data("decisions-aci", "aci-bench") else {
            println!("skipped: DXLAB_DATA is not set");
            return;
        };
        let all = Decisions::plans(&dir).unwrap();
        let notes = || all.corpus.train.iter().chain(&all.validation).chain(&all.corpus.test);
        let spans = notes().map(|note| note.gold.len()).sum::<usize>();
        assert_eq!((notes().count(), spans), (99, 658));
        assert!(notes().all(|note| note.gold.iter().all(|span| span.fits(note.input.chars().count()))));
    }
}

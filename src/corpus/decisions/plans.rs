//! Plan bullets of ACI-Bench as stand-ins for decisions in notes: clinical notes (of role-played visits) whose authors wrote headings
//! before what they planned, for who has no MedDec.
//!
//! ```text
//! • Medical Treatment: We will increase her lisinopril.   →   • We will increase her lisinopril.
//!                                                               [ drug_decision                ]
//! ```
//!
//! The heading is taken out of the note, as it would give the answer away. What follows it, up to the next heading in its line or to the
//! line's end, is a span. Headings are found in either case, with a colon or a full stop, and in the singular.
//!
//! Headings and categories are not of one make: *Medical Treatment* is mostly about drugs and also about procedures, *Medical Reasoning*
//! mostly names problems. So a score here says how well a method marks runs of such sentences and tells their kinds apart, and nothing of
//! the categories of MedDec.
use super::{Category, Decisions, Span};
use crate::corpus::Corpus;
use crate::error::{Error, Result};
use crate::task::decisions::Note;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Headings of plan bullets, in lower case, and the category that each stands in for.
const HEADINGS: [(&str, Category); 6] = [
    ("medical reasoning", Category::DefineProblem),
    ("medical treatment", Category::DrugDecision),
    ("additional testing", Category::GatherInfo),
    ("patient education and counseling", Category::AdviceAndPrecaution),
    ("specialist referrals", Category::ContactRelated),
    ("specialist referral", Category::ContactRelated),
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

/// The note without the headings of its plan bullets, and what each headed.
fn without_headings(note: &str) -> (String, Vec<Span>) {
    let (mut text, mut chars, mut spans) = (String::with_capacity(note.len()), 0, vec![]);
    let mut push = |piece: &str, chars: &mut usize| {
        text.push_str(piece);
        *chars += piece.chars().count();
    };
    for line in note.split_inclusive('\n') {
        let heads = headings(line);
        push(&line[..heads.first().map_or(line.len(), |head| head.start)], &mut chars);
        for (i, head) in heads.iter().enumerate() {
            let whole = &line[head.end..heads.get(i + 1).map_or(line.len(), |next| next.start)];
            // the mark of a next bullet in the line is no part of what this one says
            let said = whole.trim_end_matches(is_mark);
            let start = chars;
            push(said, &mut chars);
            if !said.is_empty() {
                spans.push(Span::new(start, chars, head.category));
            }
            push(&whole[said.len()..], &mut chars);
        }
    }
    (text, spans)
}

/// A heading with the blanks behind it: bytes of its line.
struct Heading {
    start: usize,
    end: usize,
    category: Category,
}

/// The headings of a line: at its beginning, or behind the mark of a bullet.
fn headings(line: &str) -> Vec<Heading> {
    let mut found: Vec<Heading> = vec![];
    for (at, _) in line.char_indices() {
        let (before, rest) = line.split_at(at);
        let begins = before.trim().is_empty() || before.trim_end().ends_with(['•', '-', '*', '·']);
        if !begins || rest.starts_with(char::is_whitespace) {
            continue;
        }
        let head = HEADINGS.iter().find_map(|(name, category)| {
            let same = rest.get(..name.len())?.eq_ignore_ascii_case(name);
            let behind = rest[name.len()..].strip_prefix([':', '.']).filter(|_| same)?;
            Some((line.len() - behind.trim_start_matches([' ', '\t']).len(), *category))
        });
        found.extend(head.map(|(end, category)| Heading { start: at, end, category }));
    }
    found
}

fn is_mark(c: char) -> bool {
    c.is_whitespace() || "•-*·".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_go_and_what_they_head_is_marked() {
        let note = "PLAN\r\nNaïve pain.\n• Medical treatment: Take 5 mg. - Additional Testing:  MRI\r\n• Medical Reasoning:\n\
                    - Specialist Referral. to us\nVitals: Medical Treatment: no";
        let (text, spans) = without_headings(note);
        let bare = "PLAN\r\nNaïve pain.\n• Take 5 mg. - MRI\r\n• \n- to us\nVitals: Medical Treatment: no";
        assert_eq!(text, bare);
        let said = |span: &Span| text.chars().skip(span.start).take(span.chars()).collect::<String>();
        let found: Vec<_> = spans.iter().map(|span| (said(span), span.category)).collect();
        let wanted = [
            ("Take 5 mg.", Category::DrugDecision),
            ("MRI", Category::GatherInfo),
            ("to us", Category::ContactRelated),
        ];
        assert_eq!(found, wanted.map(|(said, category)| (said.to_string(), category)));
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
        assert_eq!((notes().count(), spans), (99, 669));
        assert!(notes().all(|note| note.gold.iter().all(|span| span.fits(note.input.chars().count()))));
        for note in notes() {
            let left = note.input.lines().flat_map(headings).count();
            assert_eq!(left, 0, "a heading is left in note {}", note.case_id);
        }
    }
}

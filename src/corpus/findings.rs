//! Findings with their diagnoses, from a user's file: columns `case_id, input_finding, output_disease` (labels as [`cell`] says; in JSON
//! also a list), optionally `group` (patient) and `split`; headers in any case, with spaces, `_` or `-`.
//!
//! - `.xlsx`: sheets `train` and `test` in any case, or a single visible sheet;
//! - `.csv`, `.jsonl`, `.json` (a list of objects, or an object with lists `train` and `test`);
//! - a folder with `train.*` and/or `test.*` in any of these formats.
//!
//! A single sheet or file without a `split` column is the training split if the file's name starts with `train`, else the test split. Rows
//! are numbered as a spreadsheet shows them (header 1); in JSON lines by line, in JSON lists by position. Rows in which nothing stands are
//! passed over. Text is UTF-8, with or without a byte-order mark.
//! What it deliberately does not do: normalise labels (`label`), or repair a file: `check` names what is wrong.
pub mod cell;
mod csv;
mod json;
mod number_format;
mod read;
mod write;
mod xlsx;

pub use read::tables;
pub use write::{write_csv, write_jsonl, write_xlsx};

use super::kind::Kind;
use super::{Corpus, Finding};
use std::collections::BTreeSet;
use std::path::Path;

/// Columns that a file must have.
const REQUIRED: [&str; 3] = ["case_id", "input_finding", "output_disease"];
/// Columns that are read.
const COLUMNS: [&str; 5] = ["case_id", "input_finding", "output_disease", "group", "split"];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Split {
    Train,
    Test,
}

impl Split {
    /// `train` and `test` in any case, and nothing else: a sheet `Train_excluded` is not the training split.
    pub fn named(name: &str) -> Option<Self> {
        let name = name.trim().to_lowercase();
        [Self::Train, Self::Test].into_iter().find(|split| split.name() == name)
    }
    pub fn name(self) -> &'static str {
        if self == Self::Train { "train" } else { "test" }
    }
}

/// A row as found; `None` and empty strings are for `check` to report.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub row: usize,
    pub split: Split,
    pub case_id: String,
    pub group: Option<String>,
    pub input: String,
    /// What the cell of labels says.
    pub gold: cell::Gold,
    /// That cell as it stands in the file; a JSON list with its labels joined by `, `.
    pub written: String,
}

/// One sheet or file.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Sheet name, or file name where there are no sheets.
    pub sheet: String,
    /// Required columns that it lacks.
    pub missing: Vec<&'static str>,
    /// What is wrong with its form, with the row: rows that could not be read at all (a broken line of JSON, an unknown split, a cell that
    /// is an error) are not among `rows`.
    pub faults: Vec<(Kind, usize, String)>,
    /// What is not wrong, and is to be told (sheets and columns that are not read).
    pub notes: Vec<String>,
    pub rows: Vec<Row>,
}

/// The cases of tables, whatever is wrong with them; [`super::check::open`] refuses first.
pub fn corpus(path: &Path, tables: &[Table]) -> Corpus {
    let name = path.file_stem().map_or_else(|| "findings".into(), |stem| stem.to_string_lossy().into_owned());
    let rows = || tables.iter().flat_map(|table| &table.rows);
    let ids = |split| rows().filter(|r| r.split == split).map(|r| r.case_id.as_str()).collect::<BTreeSet<_>>();
    // sheets that both count from 1: the same id is not the same patient
    let ambiguous = !ids(Split::Train).is_disjoint(&ids(Split::Test));
    let cases = |split: Split| {
        let case = |row: &Row| {
            let own = if ambiguous { format!("{}:{}", split.name(), row.case_id) } else { row.case_id.clone() };
            let (case_id, group) = (row.case_id.clone(), row.group.clone().unwrap_or(own));
            Finding::new(case_id, group, &row.input, distinct(&row.gold.labels))
        };
        rows().filter(|row| row.split == split).map(case).collect()
    };
    Corpus { name, synthetic: false, train: cases(Split::Train), test: cases(Split::Test) }
}

/// Labels without empty ones and those that came before in another case.
pub(crate) fn distinct(labels: &[String]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    labels.iter().filter(|label| !label.is_empty() && seen.insert(label.to_lowercase())).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(id: &str, input: &str, labels: &[&str]) -> Finding {
        let labels = labels.iter().map(|l| l.to_string()).collect();
        Finding::new(id, id, input, labels)
    }

    fn small() -> Corpus {
        let train = vec![
            case("a1", "A \"simple\" cyst, left kidney;\nspleen normal.", &["Renal cyst"]),
            case("a2", "Fluid, œdema and 5 µm foci.", &["Liver cyst", "Ascites"]),
        ];
        let test = vec![case("b1", "Normal examination.", &["No acute abnormality"])];
        Corpus { name: "small".into(), synthetic: true, train, test }
    }

    #[test]
    fn every_format_gives_back_what_was_written() {
        let (folder, corpus) = (tempfile::tempdir().unwrap(), small());
        write_xlsx(&folder.path().join("one.xlsx"), &corpus).unwrap();
        write_csv(&folder.path().join("one.csv"), &corpus).unwrap();
        let pair = folder.path().join("pair");
        std::fs::create_dir(&pair).unwrap();
        write_jsonl(&pair.join("train.jsonl"), &corpus.train).unwrap();
        write_jsonl(&pair.join("test.jsonl"), &corpus.test).unwrap();
        let json = serde_json::json!({"train": corpus.train, "test": corpus.test});
        std::fs::write(folder.path().join("one.json"), json.to_string()).unwrap();
        for name in ["one.xlsx", "one.csv", "one.json", "pair"] {
            let read = Corpus::open(&folder.path().join(name)).unwrap();
            assert_eq!((&read.train, &read.test), (&corpus.train, &corpus.test), "{name}");
            assert_eq!(read.digest(), corpus.digest(), "{name}");
        }
    }

    #[test]
    fn headers_are_read_in_any_case_with_spaces_and_numbers_stay_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mine.csv");
        std::fs::write(
            &path,
            "\u{feff} Case ID ,INPUT-finding,Output_Disease, Patient\n7,Text one.,\"Cyst , stone\",p\n",
        )
        .unwrap();
        let read = Corpus::open(&path).unwrap();
        assert_eq!(read.test, [case("7", "Text one.", &["Cyst", "stone"])]);
        let json = folder.path().join("train_list.json");
        std::fs::write(
            &json,
            r#"[{"case_id": 12, "input_finding": "T.", "output_disease": ["a", "b"], "group": "g"}]"#,
        )
        .unwrap();
        let read = Corpus::open(&json).unwrap();
        assert_eq!((read.train[0].case_id.as_str(), read.train[0].group.as_str()), ("12", "g"));
    }

    #[test]
    fn a_refusal_names_sheet_row_and_what_to_run() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bad.csv");
        std::fs::write(&path, "case_id,input_finding,output_disease\n1,Text.,cyst\n2, ,cyst\n3,T.,\n").unwrap();
        let message = Corpus::open(&path).unwrap_err().to_string();
        assert!(message.contains("bad.csv row 3: empty finding (1 more); `dxlab data check"), "{message}");
        std::fs::write(&path, "case_id,output_disease\n1,cyst\n").unwrap();
        let message = Corpus::open(&path).unwrap_err().to_string();
        assert!(message.contains("no column `input_finding`"), "{message}");
        assert!(Corpus::open(&folder.path().join("none.csv")).unwrap_err().to_string().contains("no such file"));
        assert!(Corpus::open(folder.path()).unwrap_err().to_string().contains("train.*"));
    }

    #[test]
    fn ids_that_both_splits_count_from_one_are_not_one_patient() {
        let mut corpus = small();
        corpus.test[0].case_id = "a1".into();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.json");
        let strip = |cases: &[Finding]| -> Vec<_> {
            cases
                .iter()
                .map(|c| serde_json::json!({"case_id": c.case_id, "input_finding": c.input, "output_disease": c.gold}))
                .collect()
        };
        let json = serde_json::json!({"train": strip(&corpus.train), "test": strip(&corpus.test)});
        std::fs::write(&path, json.to_string()).unwrap();
        let read = Corpus::open(&path).unwrap();
        assert_eq!((read.train[0].group.as_str(), read.test[0].group.as_str()), ("train:a1", "test:a1"));
    }
}

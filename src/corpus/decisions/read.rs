//! MedDec's files, and the JSONL of the synthetic notes.
//!
//! | what | form |
//! |---|---|
//! | a folder of notes as JSONL | `train.jsonl`, `test.jsonl`, optionally `validation.jsonl` and `stats.csv`; a line is `{"file_name", "text", "annotations": […]}`, of a note that a model marked also `"source": "pseudo"`, `"model"` and, where a patient stands behind it, `"group"` |
//! | a folder of MedDec | `gold/train/*.json`, `gold/test/*.json`, optionally `gold/validation/*.json` (or `val`), `text/*.txt`, `stats.csv` |
//! | a folder of training tables | `train.csv`, `test.csv`, optionally `validation.csv` and `stats.csv`; columns `file_id, raw_text, gold_span, gold_offsets`, as system 002 trains on |
//! | predictions | `[{"file_name", "predictions": [{"start_offset", "end_offset", "category"}]}]` |
//!
//! A gold file has `annotations` of `start_offset`, `end_offset` and a `category` such as `Category 3: Defining problem`; sometimes it is a list
//! with that object in it. A note's name is `SUBJECT_HADM_ROW`; its group is the subject. Annotations of other categories (10, 11, TBD) are
//! left out, and so are those that do not lie in the note, which a warning names.
use super::lines::Line;
use super::{Category, Span, Strata, stats};
use crate::corpus::{Corpus, Example};
use crate::error::{Error, Result};
use crate::io;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Notes with their decisions, by split.
#[derive(Clone, Debug)]
pub struct Decisions {
    pub corpus: Corpus<Vec<Span>>,
    /// For choosing settings; empty where the source has none.
    pub validation: Vec<Example<Vec<Span>>>,
    /// By note; empty without `stats.csv`.
    pub strata: BTreeMap<String, Strata>,
    /// What was left out, and where.
    pub warnings: Vec<String>,
}

/// The spans predicted for one note, in the order of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Predicted {
    pub file_name: String,
    pub predictions: Vec<Span>,
}

/// What is left out of files: a line for each span beyond its note, one line for all that are out of scope.
#[derive(Default)]
struct LeftOut {
    lines: Vec<String>,
    out_of_scope: usize,
    first: Option<String>,
}

impl LeftOut {
    fn tell(self, warnings: &mut Vec<String>) {
        warnings.extend(self.lines);
        warnings.extend(self.first.map(|first| match self.out_of_scope {
            1 => format!("{first}: of a category that is out of scope (10, 11 or TBD): left out"),
            n => format!(
                "{n} annotations of categories that are out of scope (10, 11 and TBD) are left out (first: {first})"
            ),
        }));
    }
}

/// Names of the parts of a corpus, as folders and files are called.
pub(super) const TRAIN: [&str; 1] = ["train"];
pub(super) const VALIDATION: [&str; 3] = ["validation", "val", "dev"];
pub(super) const TEST: [&str; 1] = ["test"];

impl Decisions {
    /// Whether a folder looks like notes with decisions: `gold` and `text` in it, JSONL whose first line has annotations, or training tables.
    pub fn is_at(path: &Path) -> bool {
        let first = || {
            let text = crate::io::read_text(&path.join("train.jsonl")).ok()?;
            serde_json::from_str::<Line>(text.lines().next()?).ok()
        };
        let table = || {
            let text = crate::io::read_text(&path.join("train.csv")).ok()?;
            text.lines().next().map(|head| head.contains("file_id") && head.contains("gold_offsets"))
        };
        path.is_dir()
            && ((path.join("gold").is_dir() && path.join("text").is_dir())
                || first().is_some()
                || table().unwrap_or_default())
    }

    /// The notes in a folder of either form.
    pub fn open(folder: &Path) -> Result<Self> {
        let mut warnings = Vec::new();
        let mut part = |names: &[&str]| match folder.join("gold").is_dir() {
            true => gold_part(folder, names, &mut warnings),
            false => lines_part(folder, names, &mut warnings),
        };
        let (train, validation, test) = (part(&TRAIN)?, part(&VALIDATION)?, part(&TEST)?);
        if train.is_empty() && test.is_empty() {
            return Err(Error::input(format!(
                "{}: no notes: expected train.jsonl and test.jsonl, train.csv and test.csv, or gold/train/*.json, gold/test/*.json and text/*.txt",
                folder.display()
            )));
        }
        apart(folder, &train, &validation, &test)?;
        let table = folder.join("stats.csv");
        let strata = if table.is_file() { stats(&table)? } else { BTreeMap::new() };
        let name = format!("clinical decisions in {}", folder.display());
        Ok(Self { corpus: Corpus { name, synthetic: is_synthetic(folder), train, test }, validation, strata, warnings })
    }

    /// The synthetic notes in `data/decisions` of the project.
    pub fn embedded() -> Result<Self> {
        let mut all = Self::open(&crate::home().join("data").join("decisions"))?;
        (all.corpus.name, all.corpus.synthetic) = ("synthetic discharge summaries".into(), true);
        Ok(all)
    }
}

impl Decisions {
    /// Long synthetic notes in `data/decisions-long` of the project as test notes; the other parts are those of the synthetic notes.
    pub fn long() -> Result<Self> {
        let mut all = Self::embedded()?;
        all.corpus.test = Self::open(&crate::home().join("data").join("decisions-long"))?.corpus.test;
        all.corpus.name.push_str(", long ones");
        all.strata = BTreeMap::new();
        Ok(all)
    }
}

/// Whether the folder's README says in its title that its notes are synthetic.
pub(super) fn is_synthetic(folder: &Path) -> bool {
    let readme = std::fs::read_to_string(folder.join("README.md")).unwrap_or_default();
    readme.lines().next().is_some_and(|title| title.to_lowercase().contains("synthetic"))
}

/// No note in two parts.
fn apart(
    folder: &Path,
    train: &[Example<Vec<Span>>],
    validation: &[Example<Vec<Span>>],
    test: &[Example<Vec<Span>>],
) -> Result<()> {
    let mut seen = BTreeSet::new();
    match [train, validation, test].into_iter().flatten().find(|one| !seen.insert(&one.case_id)) {
        Some(twice) => Err(Error::input(format!("{}: note `{}` comes twice", folder.display(), twice.case_id))),
        None => Ok(()),
    }
}

fn lines_part(folder: &Path, names: &[&str], warnings: &mut Vec<String>) -> Result<Vec<Example<Vec<Span>>>> {
    let file = |ending: &str| {
        let mut files = names.iter().map(|name| folder.join(format!("{name}.{ending}")));
        files.find(|path| path.is_file())
    };
    let Some(path) = file("jsonl") else {
        return file("csv").map_or(Ok(Vec::new()), |path| training_table(&path, warnings));
    };
    let text = io::read_text(&path)?;
    let rows = text.split('\n').enumerate().filter(|(_, line)| !line.trim().is_empty());
    rows.map(|(i, line)| {
        let place = format!("{} row {}", path.display(), i + 1);
        let Line { file_name, text, annotations, group, .. } = serde_json::from_str(line)
            .map_err(|e| Error::input(format!("{place}: expected a note as a JSON object: {e}")))?;
        let spans = annotations.into_iter().enumerate();
        let spans = spans.filter(|(k, span)| fits(*span, &text, &format!("{place} annotation {}", k + 1), warnings));
        let spans = spans.map(|(_, span)| span).collect();
        Ok(grouped(file_name, text, group, spans))
    })
    .collect()
}

fn gold_part(folder: &Path, names: &[&str], warnings: &mut Vec<String>) -> Result<Vec<Example<Vec<Span>>>> {
    let Some(part) = names.iter().map(|name| folder.join("gold").join(name)).find(|path| path.is_dir()) else {
        return Ok(Vec::new());
    };
    let (texts, mut left_out) = (folder.join("text"), LeftOut::default());
    let note = |(name, path): (String, PathBuf)| {
        let text = text_of(&texts, &name)?;
        let spans = gold_file(&path, Some(&text), &mut left_out)?;
        Ok(example(name, text, spans))
    };
    let notes = files(&part, "json")?.into_iter().map(note).collect();
    left_out.tell(warnings);
    notes
}

/// A note; its group is the first part of its name.
pub(crate) fn example(name: String, text: String, spans: Vec<Span>) -> Example<Vec<Span>> {
    grouped(name, text, None, spans)
}

/// As [`example`], of the group that is given, where one is.
pub(super) fn grouped(name: String, text: String, group: Option<String>, spans: Vec<Span>) -> Example<Vec<Span>> {
    let group = group.unwrap_or_else(|| group_of(&name).to_string());
    Example::new(name, group, text, spans)
}

/// The subject of `SUBJECT_HADM_ROW`.
pub(super) fn group_of(name: &str) -> &str {
    name.split('_').next().unwrap_or(name)
}

/// Name (without its ending) and path of every file of this ending in a folder, by name.
pub(super) fn files(folder: &Path, ending: &str) -> Result<BTreeMap<String, PathBuf>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        if path.is_file() && path.extension().is_some_and(|e| e == ending) {
            all.insert(path.file_stem().unwrap_or_default().to_string_lossy().into_owned(), path);
        }
    }
    Ok(all)
}

/// The text of a note: `text/NAME.txt`; an error names what was looked for.
pub(super) fn text_of(folder: &Path, name: &str) -> Result<String> {
    note_text(&folder.join(format!("{name}.txt")))
}

/// A note's text with a byte-order mark where it has one: offsets count it.
fn note_text(path: &Path) -> Result<String> {
    let text = io::read_text(path)?;
    let marked = std::fs::read(path).map_err(Error::io(path))?.starts_with("\u{feff}".as_bytes());
    Ok(if marked { format!("\u{feff}{text}") } else { text })
}

/// The texts of all notes in a folder, by name.
pub fn texts(folder: &Path) -> Result<BTreeMap<String, String>> {
    let all = files(folder, "txt")?;
    if all.is_empty() {
        return Err(Error::input(format!("{}: no notes: expected files NAME.txt", folder.display())));
    }
    all.into_iter().map(|(name, path)| Ok((name, note_text(&path)?))).collect()
}

/// The gold spans of all notes in a folder of gold files, by name and in the order of each file; of a note whose text is at hand those that
/// lie in it.
pub fn gold(
    folder: &Path,
    texts: &BTreeMap<String, String>,
    warnings: &mut Vec<String>,
) -> Result<BTreeMap<String, Vec<Span>>> {
    let all = files(folder, "json")?;
    if all.is_empty() {
        return Err(Error::input(format!("{}: no gold files: expected files NAME.json", folder.display())));
    }
    let mut left_out = LeftOut::default();
    let one = |(name, path): (String, PathBuf)| {
        let spans = gold_file(&path, texts.get(&name).map(String::as_str), &mut left_out)?;
        Ok((name, spans))
    };
    let all = all.into_iter().map(one).collect();
    left_out.tell(warnings);
    all
}

/// The spans of one gold file, in its order.
fn gold_file(path: &Path, text: Option<&str>, left_out: &mut LeftOut) -> Result<Vec<Span>> {
    let value: Value = io::read_json(path)?;
    let place = path.display().to_string();
    let value = match value {
        Value::Array(mut all) if !all.is_empty() => {
            if all.len() > 1 {
                left_out.lines.push(format!("{place}: a list of {} annotated notes: the first was taken", all.len()));
            }
            all.swap_remove(0)
        }
        other => other,
    };
    let annotations = value.get("annotations").and_then(Value::as_array);
    let annotations =
        annotations.ok_or_else(|| Error::input(format!("{place}: expected an object with a list `annotations`")))?;
    spans_of(annotations, &place, text, left_out)
}

/// The spans of a list of annotations, without those out of scope and those that do not lie in the text.
fn spans_of(annotations: &[Value], place: &str, text: Option<&str>, left_out: &mut LeftOut) -> Result<Vec<Span>> {
    let mut spans = Vec::new();
    for (i, annotation) in annotations.iter().enumerate() {
        let place = format!("{place} annotation {}", i + 1);
        match span_of(annotation, &place)? {
            Some(span) if text.is_none_or(|text| fits(span, text, &place, &mut left_out.lines)) => spans.push(span),
            Some(_) => {}
            None => {
                left_out.out_of_scope += 1;
                left_out.first.get_or_insert(place);
            }
        }
    }
    Ok(spans)
}

fn fits(span: Span, text: &str, place: &str, warnings: &mut Vec<String>) -> bool {
    let chars = text.chars().count();
    let fits = span.fits(chars);
    if !fits {
        let what = match span.start < span.end {
            true => format!("does not lie in the note of {chars} characters"),
            false => "is empty or ends before it begins".to_string(),
        };
        warnings.push(format!("{place}: {}..{} {what}: left out", span.start, span.end));
    }
    fits
}

/// One annotation; None where its category is out of scope.
pub(super) fn span_of(annotation: &Value, place: &str) -> Result<Option<Span>> {
    let offset = |key: &str| {
        let found = annotation.get(key);
        let number = found.and_then(Value::as_u64).or_else(|| found?.as_str()?.trim().parse().ok());
        let got = found.map_or("nothing".to_string(), Value::to_string);
        number
            .map(|n| n as usize)
            .ok_or_else(|| Error::input(format!("{place}: `{key}` is {got}: expected a whole number of characters")))
    };
    let Some(category) = category_of(annotation.get("category").unwrap_or(&Value::Null), place)? else {
        return Ok(None);
    };
    Ok(Some(Span::new(offset("start_offset")?, offset("end_offset")?, category)))
}

/// `3`, `"3"`, `"Category 3: Defining problem"` or `"define_problem"`; None for 0, 10, 11 and TBD.
fn category_of(value: &Value, place: &str) -> Result<Option<Category>> {
    let number = match value.as_str() {
        Some(text) if text.trim().eq_ignore_ascii_case("TBD") => return Ok(None),
        Some(text) => Category::number_in(text),
        None => value.as_u64().and_then(|number| u8::try_from(number).ok()),
    };
    match number {
        Some(number @ 1..=9) => Ok(Category::try_from(number).ok()),
        Some(0 | 10 | 11) => Ok(None),
        _ => Err(Error::input(format!(
            "{place}: category {value}: expected 1 to 9, as `3` or `Category 3: …` (10, 11 and TBD are left out)"
        ))),
    }
}

/// Predictions of a file, by note. Categories that are out of scope are left out, with a warning; a note that comes twice is an error.
pub fn predictions(path: &Path, warnings: &mut Vec<String>) -> Result<Vec<Predicted>> {
    let place = path.display();
    let form = r#"[{"file_name": …, "predictions": [{"start_offset": …, "end_offset": …, "category": …}]}]"#;
    if is_tagged(&io::read_text(path)?) {
        return Err(Error::input(format!(
            "{place}: these are answers, one a line, and no offsets: `dxlab decisions untag {place} --text DIR --out predictions.json` makes offsets of them"
        )));
    }
    let value: Value = io::read_json(path)?;
    let rows = value.as_array().ok_or_else(|| Error::input(format!("{place}: not a list: expected {form}")))?;
    let (mut seen, mut left_out) = (BTreeSet::new(), LeftOut::default());
    let all = rows
        .iter()
        .enumerate()
        .map(|(i, row)| {
            let place = format!("{place} entry {}", i + 1);
            let name = row.get("file_name").and_then(Value::as_str);
            let spans = row.get("predictions").and_then(Value::as_array);
            let (name, spans) = name.zip(spans).ok_or_else(|| Error::input(format!("{place}: expected {form}")))?;
            let name = bare(name).to_string();
            if !seen.insert(name.clone()) {
                return Err(Error::input(format!("{place}: note `{name}` comes twice: keep one entry a note")));
            }
            let predictions = spans_of(spans, &format!("{place} (`{name}`)"), None, &mut left_out)?;
            Ok(Predicted { file_name: name, predictions })
        })
        .collect();
    left_out.tell(warnings);
    all
}

/// Whether a file holds tagged text or predictions of `dxlab predict`, one JSON object a line.
fn is_tagged(content: &str) -> bool {
    let first = content.lines().find(|line| !line.trim().is_empty());
    let row = first.and_then(|line| serde_json::from_str::<Value>(line).ok());
    row.is_some_and(|row| row.get("raw").is_some() || row.get("tagged").is_some())
}

/// A note's name without `.json` or `.txt`.
pub fn bare(name: &str) -> &str {
    name.strip_suffix(".json").or_else(|| name.strip_suffix(".txt")).unwrap_or(name)
}

#[derive(Deserialize)]
struct TrainingRow {
    file_id: String,
    raw_text: String,
    gold_offsets: String,
}

/// The training table of system 002: CSV with `file_id`, `raw_text` and `gold_offsets` (a JSON list of annotations with integer
/// categories); `gold_span`, the tagged text, follows from these. An error names the row.
pub fn training_table(path: &Path, warnings: &mut Vec<String>) -> Result<Vec<Example<Vec<Span>>>> {
    let text = io::read_text(path)?;
    let (mut reader, mut left_out) = (csv::Reader::from_reader(text.as_bytes()), LeftOut::default());
    let rows = reader.deserialize().enumerate();
    let notes = rows.map(|(i, row)| {
        let place = format!("{} row {}", path.display(), i + 2);
        let wrong = |e: &dyn std::fmt::Display| Error::input(format!("{place}: {e}"));
        let TrainingRow { file_id, raw_text, gold_offsets } = row.map_err(|e: csv::Error| wrong(&e))?;
        let annotations: Vec<Value> =
            serde_json::from_str(&gold_offsets).map_err(|e| wrong(&format!("gold_offsets is no JSON list: {e}")))?;
        let spans = spans_of(&annotations, &place, Some(&raw_text), &mut left_out)?;
        Ok(example(bare(&file_id).to_string(), raw_text, spans))
    });
    let notes = notes.collect();
    left_out.tell(warnings);
    notes
}

/// A gold file as MedDec has it.
pub fn gold_json(name: &str, text: &str, spans: &[Span]) -> Value {
    let chars: Vec<char> = text.chars().collect();
    let annotation = |span: &Span| {
        let category = format!("Category {}: {}", span.category.number(), span.category.title());
        serde_json::json!({
            "start_offset": span.start, "end_offset": span.end, "category": category, "decision": span.text(&chars),
        })
    };
    serde_json::json!({
        "discharge_summary_id": name, "annotator_id": "synthetic",
        "annotations": spans.iter().map(annotation).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(folder: &Path, name: &str, text: &str) -> PathBuf {
        let path = folder.join(name);
        io::write(&path, text.as_bytes()).unwrap();
        path
    }

    #[test]
    fn a_folder_of_meddec_is_read_by_parts() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path();
        let gold = r#"{"annotations": [{"start_offset": 5, "end_offset": 7, "category": "Category 3: Defining problem", "decision": "MI"},
            {"start_offset": 0, "end_offset": 4, "category": "TBD"}, {"start_offset": 0, "end_offset": 99, "category": 5}]}"#;
        for (part, name) in [("train", "1_2_3"), ("val", "4_5_6"), ("test", "7_8_9")] {
            written(
                folder,
                &format!("gold/{part}/{name}.json"),
                &if part == "val" { format!("[{gold}]") } else { gold.into() },
            );
            written(folder, &format!("text/{name}.txt"), "Old\u{e9} MI\r\n");
        }
        written(folder, "stats.csv", "SUBJECT_ID,HADM_ID,ROW_ID,GENDER,ETHNICITY,LANGUAGE\n1,2,3,F,WHITE,ENGL\n");
        assert!(Decisions::is_at(folder));
        let all = Decisions::open(folder).unwrap();
        assert_eq!(
            (all.corpus.train.len(), all.validation.len(), all.corpus.test.len(), all.strata.len()),
            (1, 1, 1, 1)
        );
        let note = &all.corpus.train[0];
        assert_eq!(
            (note.group.as_str(), note.gold.as_slice()),
            ("1", [Span::new(5, 7, Category::DefineProblem)].as_slice())
        );
        assert_eq!(note.input, "Old\u{e9} MI\r\n", "line ends stay");
        assert!(
            all.warnings.len() == 6
                && all.warnings[0].contains("annotation 3: 0..99 does not lie in the note of 9 characters")
                && all.warnings[1].contains("1_2_3.json annotation 2: of a category that is out of scope")
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_file_and_row() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path();
        let told = |text: &str| {
            let path = written(folder, "p.json", text);
            let error = predictions(&path, &mut Vec::new()).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            error.to_string()
        };
        assert!(told("{}").contains("p.json: not a list"));
        let row = |span: &str| {
            format!(r#"[{{"file_name": "a.json", "predictions": []}}, {{"file_name": "b", "predictions": [{span}]}}]"#)
        };
        let bad = told(&row(r#"{"start_offset": 1.5, "end_offset": 3, "category": 3}"#));
        assert!(bad.contains("entry 2 (`b`) annotation 1: `start_offset` is 1.5"), "{bad}");
        let bad = told(&row(r#"{"start_offset": 1, "end_offset": 3, "category": "drugs"}"#));
        assert!(bad.contains("annotation 1: category \"drugs\""), "{bad}");
        assert!(
            told(r#"[{"file_name": "a", "predictions": []}, {"file_name": "a.txt", "predictions": []}]"#)
                .contains("`a` comes twice")
        );
        let mut told = Vec::new();
        let odd = r#"{"start_offset": 1, "end_offset": 3, "category": 10}, {"start_offset": 1, "end_offset": 3, "category": "TBD"}"#;
        let path = written(folder, "p.json", &row(odd));
        assert_eq!(predictions(&path, &mut told).unwrap()[1].predictions, []);
        assert!(
            told.len() == 1 && told[0].starts_with("2 annotations of categories that are out of scope"),
            "{told:?}"
        );
        assert!(told[0].contains("entry 2 (`b`) annotation 1"), "{told:?}");
        written(folder, "gold/train/1_2_3.json", "{}");
        let missing = Decisions::open(folder).unwrap_err().to_string();
        assert!(missing.contains("no such file or folder") && missing.contains("1_2_3.txt"), "{missing}");
        written(folder, "text/1_2_3.txt", "x");
        assert!(
            Decisions::open(folder)
                .unwrap_err()
                .to_string()
                .contains("1_2_3.json: expected an object with a list `annotations`")
        );
    }

    #[test]
    fn the_training_table_is_read_and_its_rows_named() {
        let dir = tempfile::tempdir().unwrap();
        let head = "file_id,raw_text,gold_span,gold_offsets\n";
        let offsets = r#""[{""start_offset"": 5, ""end_offset"": 7, ""category"": 3}]""#;
        let good = written(dir.path(), "t.csv", &format!("{head}1_2_3,\"Old, MI\",x,{offsets}\n"));
        let read = training_table(&good, &mut Vec::new()).unwrap();
        assert_eq!(read[0].gold, [Span::new(5, 7, Category::DefineProblem)]);
        for part in ["train", "test"] {
            let row = format!("{head}{part}_2_3,\"Old, MI\",x,{offsets}\n");
            written(dir.path(), &format!("{part}.csv"), &row);
        }
        assert!(Decisions::is_at(dir.path()));
        let all = Decisions::open(dir.path()).unwrap();
        assert_eq!((all.corpus.train[0].case_id.as_str(), all.corpus.test[0].gold.len()), ("train_2_3", 1));
        let bad = written(dir.path(), "t.csv", &format!("{head}1_2_3,a,b,c\n"));
        let error = training_table(&bad, &mut Vec::new()).unwrap_err().to_string();
        assert!(error.contains("t.csv row 2: gold_offsets is no JSON list"), "{error}");
    }

    #[test]
    fn offsets_count_a_byte_order_mark() {
        let dir = tempfile::tempdir().unwrap();
        written(dir.path(), "a.txt", "\u{feff}Hold aspirin");
        assert_eq!(texts(dir.path()).unwrap()["a"].chars().count(), 13);
    }

    #[test]
    fn a_gold_file_that_was_written_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let spans = Category::ALL.map(|category| Span::new(1, 3, category));
        let path = written(dir.path(), "a.json", &gold_json("a", "na\u{ef}ve", &spans).to_string());
        assert_eq!(gold_file(&path, Some("na\u{ef}ve"), &mut LeftOut::default()).unwrap(), spans);
    }
}

//! What `dxlab data check` says of a folder of notes with decisions beyond what reading it says: every bad annotation, not the first alone, and
//! what is no error of a file but spoils a score.
use super::read::{self, Decisions};
use super::{Span, Strata};
use crate::corpus::Example;
use crate::error::Result;
use crate::io;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Problems of gold files in MedDec's layout, each with its file: annotations that cannot be read, and those whose `decision` is not the text between
/// their offsets (one line a file). Empty for another layout.
pub fn gold_files(folder: &Path) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for part in read::TRAIN.iter().chain(&read::VALIDATION).chain(&read::TEST) {
        let part = folder.join("gold").join(part);
        if !part.is_dir() {
            continue;
        }
        for (name, path) in read::files(&part, "json")? {
            let text = read::text_of(&folder.join("text"), &name);
            let (value, text) = match (io::read_json::<Value>(&path), text) {
                (Ok(value), Ok(text)) => (value, text.chars().collect::<Vec<_>>()),
                (Err(e), _) | (_, Err(e)) => {
                    problems.push(e.to_string());
                    continue;
                }
            };
            let note = value.get(0).unwrap_or(&value);
            let Some(annotations) = note.get("annotations").and_then(Value::as_array) else {
                problems.push(format!("{}: expected an object with a list `annotations`", path.display()));
                continue;
            };
            problems.extend(annotations_of(annotations, &path.display().to_string(), &text));
        }
    }
    Ok(problems)
}

fn annotations_of(annotations: &[Value], place: &str, text: &[char]) -> Vec<String> {
    let (mut problems, mut told, mut other) = (Vec::new(), 0, None);
    for (i, annotation) in annotations.iter().enumerate() {
        let at = format!("{place} annotation {}", i + 1);
        let span = match read::span_of(annotation, &at) {
            Ok(Some(span)) if span.fits(text.len()) => span,
            Ok(_) => continue, // out of scope, or named when the folder is read
            Err(e) => {
                problems.push(e.to_string());
                continue;
            }
        };
        let Some(decision) = annotation.get("decision").and_then(Value::as_str) else { continue };
        told += 1;
        if !alike(decision, &span.text(text)) {
            let (n, first) = other.unwrap_or((0, format!("{at}: {decision:?}, the note has {:?}", span.text(text))));
            other = Some((n + 1, first));
        }
    }
    if let Some((n, first)) = other {
        problems.push(format!(
            "{place}: {n} of {told} texts in `decision` do not stand at their offsets, which count Unicode characters (code points), not bytes or UTF-16 units, with line ends as in the file; {first}"
        ));
    }
    problems
}

/// White space aside, which exports of annotations change.
fn alike(a: &str, b: &str) -> bool {
    a.split_whitespace().eq(b.split_whitespace())
}

/// Patients of training or validation notes who are also patients of test notes, and notes that a `stats.csv` does not know.
pub fn across(all: &Decisions) -> Vec<String> {
    let patients = |notes: &[Example<Vec<Span>>]| notes.iter().map(|note| note.group.clone()).collect::<BTreeSet<_>>();
    let test = patients(&all.corpus.test);
    let mut problems = Vec::new();
    for (part, notes) in [("training", &all.corpus.train), ("validation", &all.validation)] {
        let shared: Vec<String> = patients(notes).intersection(&test).cloned().collect();
        if let Some(first) = shared.first() {
            problems.push(format!(
                "{} patients of test notes are also patients of {part} notes, {first} the first",
                shared.len()
            ));
        }
    }
    problems.extend(without_stats(&all.strata, all.validation.iter().chain(&all.corpus.test)));
    problems
}

fn without_stats<'a>(
    strata: &BTreeMap<String, Strata>,
    notes: impl Iterator<Item = &'a Example<Vec<Span>>>,
) -> Option<String> {
    let missing: Vec<&str> =
        notes.map(|note| note.case_id.as_str()).filter(|name| !strata.contains_key(*name)).collect();
    let first = missing.first().filter(|_| !strata.is_empty())?;
    Some(format!(
        "stats.csv has no row for {} validation or test notes, {first} the first: they count in no subgroup",
        missing.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bad_annotation_is_named_and_offsets_of_another_count_are_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| io::write(&dir.path().join(name), text.as_bytes()).unwrap();
        let annotation = |start: &str, end: usize, category: &str, text: &str| {
            format!(
                r#"{{"start_offset": {start}, "end_offset": {end}, "category": "{category}", "decision": "{text}"}}"#
            )
        };
        let (good, bad) = (annotation("0", 4, "5", "Hold"), annotation("-1", 4, "5", "Hold"));
        put(
            "gold/train/1_2_3.json",
            &format!(r#"{{"annotations": [{good}, {bad}, {}]}}"#, annotation("0", 4, "drugs", "Hold")),
        );
        // as UTF-16 counts: one more behind the emoji
        put("gold/test/1_5_6.json", &format!(r#"{{"annotations": [{}, {good}]}}"#, annotation("8", 13, "5", "lasix")));
        put("gold/test/7_8_9.json", "{");
        for name in ["1_2_3", "1_5_6", "7_8_9"] {
            put(&format!("text/{name}.txt"), "Hold 🙂 lasix, doc");
        }
        let found = gold_files(dir.path()).unwrap();
        let has = |part: &str| assert!(found.iter().any(|line| line.contains(part)), "{part}: {found:?}");
        has("1_2_3.json annotation 2: `start_offset` is -1");
        has("1_2_3.json annotation 3: category \"drugs\"");
        has("1_5_6.json: 1 of 2 texts in `decision` do not stand at their offsets");
        has("annotation 1: \"lasix\", the note has \"asix,\"");
        has("7_8_9.json");
        assert_eq!(found.len(), 4);
        for name in ["1_2_3", "1_5_6"] {
            let part = if name == "1_2_3" { "train" } else { "test" };
            put(&format!("gold/{part}/{name}.json"), &format!(r#"{{"annotations": [{good}]}}"#));
        }
        std::fs::remove_file(dir.path().join("gold/test/7_8_9.json")).unwrap();
        put("stats.csv", "SUBJECT_ID,HADM_ID,ROW_ID,GENDER,ETHNICITY,LANGUAGE\n1,2,3,F,WHITE,ENGL\n");
        assert!(gold_files(dir.path()).unwrap().is_empty());
        let told = across(&Decisions::open(dir.path()).unwrap());
        assert!(
            told[0].starts_with("1 patients of test notes are also patients of training notes, 1 the first"),
            "{told:?}"
        );
        assert!(
            told[1].contains("no row for 1 validation or test notes, 1_5_6 the first") && told.len() == 2,
            "{told:?}"
        );
    }
}

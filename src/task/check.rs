//! What `dxlab data check` says of a findings file: what is wrong with it as a file ([`crate::corpus::check`]), and which of its labels no
//! answer can ever match. For that every label and every case goes the way of a score, gold → target text → reader of answers, and back it
//! must be what it was. The way is gone with the cell as it stands, too: that is what a model writes which knows the file by heart.
use super::{LabelTask, Task};
use crate::corpus::check::labels::{short, times};
use crate::corpus::check::{Kind, Problem, Report, examine};
use crate::corpus::findings::{self, Row, Table, cell};
use crate::corpus::{Case, Labels};
use crate::error::Result;
use crate::label::parse::{MAX_CHARS, MAX_LABELS, MAX_WORDS};
use crate::run::label_set;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Reads the findings at `path` and names everything wrong with them, and every label that no answer can match.
pub fn check(path: &Path) -> Result<Report> {
    let tables = findings::tables(path)?;
    let mut report = examine(&tables);
    let task = LabelTask::findings(findings::corpus(path, &tables))?;
    report.problems.extend(round_trip(&task, &tables));
    report.problems.sort();
    Ok(report)
}

/// True of a label that no answer can match, not even after normalising.
pub(super) fn lost(task: &LabelTask, label: &str) -> bool {
    matches!(named(task, label), Some((Kind::Unanswerable, _)))
}

fn round_trip(task: &LabelTask, tables: &[Table]) -> Vec<Problem> {
    let rows: Vec<(&Table, &Row)> = tables.iter().flat_map(|t| t.rows.iter().map(move |r| (t, r))).collect();
    let mut places: BTreeMap<&str, Vec<(&str, usize)>> = BTreeMap::new();
    // a cell that can be read in two ways is named by the check of the file
    for (table, row) in rows.iter().filter(|(_, row)| row.gold.faults.is_empty()) {
        for label in row.gold.labels.iter().filter(|label| !label.is_empty()) {
            places.entry(label).or_default().push((&table.sheet, row.row));
        }
    }
    let (mut problems, mut bad) = (Vec::new(), BTreeSet::new());
    for (label, at) in places {
        if let Some((kind, why)) = named(task, label) {
            let detail = format!("label `{}`{}: {why}", short(label), times(at.len()));
            problems.push(Problem { kind, sheet: at[0].0.into(), row: at[0].1, detail });
            bad.insert(label);
        }
    }
    // a case of labels that are named above says nothing new
    for (table, row) in rows.iter().filter(|(_, row)| !row.gold.labels.iter().any(|label| bad.contains(label.as_str())))
    {
        if let Some((kind, detail)) = case(task, row) {
            problems.push(Problem { kind, sheet: table.sheet.clone(), row: row.row, detail });
        }
    }
    problems
}

/// How far an answer's text gives labels back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Back {
    Whole,
    /// After normalising.
    Normalised,
    No,
}

fn back(task: &LabelTask, text: &str, gold: &[String], case: &Case) -> (Back, Labels) {
    let read = task.parse(text, case);
    let normalise = |label: &str| task.normalise(label);
    let same = |how: Option<&dyn Fn(&str) -> String>| label_set(&read.answer, how) == label_set(gold, how);
    let whole = label_set(gold, Some(&normalise)).len() >= usize::from(!gold.is_empty());
    let back = match (read.parsed && whole && same(Some(&normalise)), same(None)) {
        (true, true) => Back::Whole,
        (true, false) => Back::Normalised,
        (false, _) => Back::No,
    };
    (back, read.answer)
}

/// What is wrong with a label that an answer cannot give back.
fn named(task: &LabelTask, label: &str) -> Option<(Kind, String)> {
    let (case, gold) =
        (Case { case_id: String::new(), group: String::new(), input: String::new() }, [label.to_string()]);
    let target = task.target(&gold.to_vec());
    let (by_target, read) = back(task, &target, &gold, &case);
    let told = || listed(&read);
    match by_target {
        Back::No => Some((Kind::Unanswerable, unanswerable(task, label, &read))),
        Back::Normalised => Some((
            Kind::AsWritten,
            format!("an answer of this text is read as {}: write it without what is lost there", told()),
        )),
        Back::Whole if target == label => None,
        Back::Whole => match back(task, label, &gold, &case) {
            (Back::Whole, _) => None,
            (_, read) => Some((
                Kind::OnlyAsList,
                format!(
                    "an answer of this text, not as a JSON list, is read as {}: write the label without the separator",
                    listed(&read)
                ),
            )),
        },
    }
}

fn unanswerable(task: &LabelTask, label: &str, read: &[String]) -> String {
    let (words, chars) = (label.split_whitespace().count(), label.chars().count());
    if words > MAX_WORDS || chars > MAX_CHARS {
        return format!(
            "{words} words and {chars} characters, and a label of an answer has at most {MAX_WORDS} and {MAX_CHARS}: shorten it, or move \
             the explanation to a column of its own"
        );
    }
    if !label.chars().any(char::is_alphabetic) {
        return "holds no letter, which no label of an answer lacks: write it in words".into();
    }
    if task.normalise(label).is_empty() {
        return "nothing is left of it when labels are made comparable: name the finding".into();
    }
    match read {
        [] => "an answer of this text names no label: write it in other words, or `none` where nothing is to be found"
            .into(),
        _ => format!("an answer of this text is read as {}: write it in other words", listed(read)),
    }
}

/// What is wrong with a case whose labels are all right one by one.
fn case(task: &LabelTask, row: &Row) -> Option<(Kind, String)> {
    let gold: Labels = findings::distinct(&row.gold.labels);
    if !row.gold.faults.is_empty() || (gold.is_empty() && !row.gold.nothing) {
        return None; // named by the check of the file
    }
    let case = Case { case_id: row.case_id.clone(), group: String::new(), input: row.input.clone() };
    let target = task.target(&gold);
    match back(task, &target, &gold, &case) {
        (Back::No, read) => {
            let why = if gold.len() > MAX_LABELS {
                format!("{} labels, and of an answer {MAX_LABELS} are read: split the case", gold.len())
            } else if gold.is_empty() {
                format!(
                    "the answer for no label, `{target}`, is read as {}: one word for it in the whole file",
                    listed(&read)
                )
            } else {
                format!("an answer of these labels, `{}`, is read as {}", short(&target), listed(&read))
            };
            return Some((Kind::Unanswerable, why));
        }
        (Back::Normalised, read) => {
            let why = format!("an answer of these labels, `{}`, is read as {}", short(&target), listed(&read));
            return Some((Kind::AsWritten, why));
        }
        (Back::Whole, _) => {}
    }
    let written = if gold.is_empty() { cell::NOTHING[0] } else { &row.written };
    match back(task, written, &gold, &case) {
        (Back::Whole, _) => None,
        (_, read) => Some((
            Kind::OnlyAsList,
            format!(
                "an answer of this cell, `{}`, is read as {}: separate labels by commas",
                short(written),
                listed(&read)
            ),
        )),
    }
}

fn listed(labels: &[String]) -> String {
    let quoted: Vec<String> = labels.iter().take(4).map(|label| format!("`{}`", short(label))).collect();
    match labels.len() {
        0 => "no label".into(),
        n @ 5.. => format!("{} and {} more", quoted.join(", "), n - 4),
        _ => quoted.join(", "),
    }
}

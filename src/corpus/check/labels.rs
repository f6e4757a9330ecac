//! What the labels of a file show when they are looked at together: a separator that was not taken for one, characters that do not show,
//! sentences, parts of one label that a comma cut apart.
use super::{Kind, Problem, Report};
pub use crate::corpus::characters::short;
use crate::corpus::findings::cell::{self, Separator};
use crate::corpus::findings::{Row, Table};
use std::collections::{BTreeMap, BTreeSet};

/// Labels are named by words; from this many on it is a sentence.
const SENTENCE: usize = 10;
/// How many rows must hold two labels side by side, and the second nowhere else, before it is told that they may be one.
const TOGETHER: usize = 3;
/// What also stands between labels in people's files, and what separates nothing here.
const OTHER: [&str; 7] = ["/", "|", "+", "&", "•", "·", "\t"];
/// How labels that name a part of the one before them begin.
const PARTS: [&str; 16] = [
    "left",
    "right",
    "bilateral",
    "acute",
    "chronic",
    "malignant",
    "benign",
    "unspecified",
    "nos",
    "other",
    "mild",
    "moderate",
    "severe",
    "of",
    "with",
    "without",
];

/// Adds to `report` what is wrong with labels, and what is to be known of them.
pub fn examine(tables: &[Table], report: &mut Report) {
    let rows: Vec<(&Table, &Row)> = tables.iter().flat_map(|t| t.rows.iter().map(move |r| (t, r))).collect();
    let mut places: BTreeMap<&str, Vec<(&str, usize)>> = BTreeMap::new();
    for (table, row) in &rows {
        for label in row.gold.labels.iter().filter(|label| !label.is_empty()) {
            places.entry(label).or_default().push((&table.sheet, row.row));
        }
    }
    let known: BTreeSet<String> = places.keys().map(|label| label.to_lowercase()).collect();
    for (label, at) in &places {
        let mut note = |kind, why: String| {
            let detail = format!("label `{}`{}: {why}", short(label), times(at.len()));
            report.problems.push(Problem { kind, sheet: at[0].0.into(), row: at[0].1, detail });
        };
        let odd = cell::odd_characters(label);
        if !odd.is_empty() {
            note(Kind::Characters, format!("holds {}: write it in plain characters", odd.join(", ")));
        }
        if let Some(mark) = hidden_separator(label, &known) {
            let mark = if mark == "\t" { "a tab" } else { mark };
            let why =
                format!("`{mark}` stands between labels of this file and is not taken for a separator: use a comma");
            note(Kind::Mark, why);
        }
    }
    report.notes.extend(nothing(&rows));
    report.notes.extend(separators(&rows));
    report.notes.extend(sentences(&places));
    report.notes.extend(commas(&rows, &places));
}

/// " (and in 3 more rows)" of that many rows.
pub fn times(rows: usize) -> String {
    match rows {
        0 | 1 => String::new(),
        2 => " (and in 1 more row)".into(),
        n => format!(" (and in {} more rows)", n - 1),
    }
}

/// A mark that cuts the label into labels of the same file; a tab or bullet between anything.
fn hidden_separator(label: &str, known: &BTreeSet<String>) -> Option<&'static str> {
    let is_known = |part: &str| known.contains(&part.trim().to_lowercase());
    OTHER
        .into_iter()
        .find(|mark| label.contains(mark) && (matches!(*mark, "\t" | "•") || label.split(mark).all(is_known)))
}

/// Rows that say in a word that there is no label.
fn nothing(rows: &[(&Table, &Row)]) -> Option<String> {
    let (table, first) = rows.iter().find(|(_, row)| row.gold.nothing)?;
    let more = times(rows.iter().filter(|(_, row)| row.gold.nothing).count());
    Some(format!("{} row {}{more}: `{}` is read as no label", table.sheet, first.row, short(&first.written)))
}

/// Rows whose labels are separated by something else than commas.
fn separators(rows: &[(&Table, &Row)]) -> Vec<String> {
    let told = |separator: Separator| {
        let of = |(_, row): &&(&Table, &Row)| row.gold.separator == Some(separator);
        let (table, first) = rows.iter().find(of)?;
        let more = times(rows.iter().filter(of).count());
        Some(format!(
            "{} row {}{more}: {} separates labels: {} read",
            table.sheet,
            first.row,
            separator.name(),
            first.gold.labels.len()
        ))
    };
    [Separator::Semicolon, Separator::Line].into_iter().filter_map(told).collect()
}

fn sentences(places: &BTreeMap<&str, Vec<(&str, usize)>>) -> Vec<String> {
    let words = |label: &str| label.split_whitespace().count();
    let long = places.iter().filter(|(label, _)| words(label) >= SENTENCE);
    long.map(|(label, at)| {
        let (sheet, row) = at[0];
        format!(
            "{sheet} row {row}{}: label `{}` reads like a sentence ({} words): a model must write it word for word",
            times(at.len()),
            short(label),
            words(label)
        )
    })
    .collect()
}

/// Labels that hold a comma, and labels that a comma may have cut in two.
fn commas(rows: &[(&Table, &Row)], places: &BTreeMap<&str, Vec<(&str, usize)>>) -> Vec<String> {
    let mut notes: Vec<String> = Vec::new();
    for (label, at) in places.iter().filter(|(label, _)| label.contains(',')) {
        let (sheet, row) = at[0];
        notes.push(format!(
            "{sheet} row {row}{}: label `{}` holds a comma and is one label",
            times(at.len()),
            short(label)
        ));
    }
    let mut pairs: BTreeMap<(&str, &str), Vec<(&str, usize)>> = BTreeMap::new();
    for (table, row) in rows.iter().filter(|(_, row)| row.gold.separator == Some(Separator::Comma)) {
        for two in row.gold.labels.windows(2) {
            pairs.entry((&two[0], &two[1])).or_default().push((&table.sheet, row.row));
        }
    }
    for ((first, second), at) in pairs {
        let always = places.get(second).is_some_and(|all| all.len() == at.len());
        let part = second.split_whitespace().next().is_some_and(|word| PARTS.contains(&word.to_lowercase().as_str()));
        if always && (at.len() >= TOGETHER || part) {
            let (sheet, row) = at[0];
            notes.push(format!(
                "{sheet} row {row}{}: `{second}` is read as a label of its own and stands only after `{first}`: if they are one label, write \
                 `{first} ({second})`, or the labels as a JSON list",
                times(at.len())
            ));
        }
    }
    notes
}

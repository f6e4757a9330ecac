//! What is wrong with a findings file, every row of it in one pass.
pub mod labels;

use super::Corpus;
use super::findings::{self, Row, Split, Table, cell};
pub use super::kind::Kind;
use crate::error::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

/// One thing wrong at one place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    pub kind: Kind,
    pub sheet: String,
    /// As a spreadsheet numbers it; 1 for the header.
    pub row: usize,
    pub detail: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} row {}: {}", self.sheet, self.row, self.detail)
    }
}

/// Problems by kind, then by place.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub train: usize,
    pub test: usize,
    pub problems: Vec<Problem>,
    /// What is not wrong, and is to be known: what was not read, what was read in a way that may surprise.
    pub notes: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        writeln!(f, "{} training and {} test rows, {} problems", self.train, self.test, self.problems.len())?;
        let mut last = None;
        for problem in &self.problems {
            if last != Some(problem.kind) {
                let count = self.problems.iter().filter(|p| p.kind == problem.kind).count();
                writeln!(f, "\n{} ({count})", problem.kind.heading())?;
                last = Some(problem.kind);
            }
            writeln!(f, "  {problem}")?;
        }
        if !self.notes.is_empty() {
            writeln!(f, "\nto be known ({})", self.notes.len())?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "  {note}"))
    }
}

/// Reads the findings at `path` and names everything wrong with them as a file; [`crate::task::check`] also holds their labels against the
/// reader of answers.
pub fn check(path: &Path) -> Result<Report> {
    Ok(examine(&findings::tables(path)?))
}

/// The corpus in a file or folder; refuses what [`check`] would call an error, naming the first place.
pub fn open(path: &Path) -> Result<Corpus> {
    let tables = findings::tables(path)?;
    let report = examine(&tables);
    if let Some(first) = report.problems.iter().find(|p| p.kind.fatal()) {
        let more = report.problems.iter().filter(|p| p.kind.fatal()).count() - 1;
        let others = if more == 0 { String::new() } else { format!(" ({more} more)") };
        let path = path.display();
        return Err(Error::input(format!("{path}: {first}{others}; `dxlab data check {path}` names every bad row")));
    }
    Ok(findings::corpus(path, &tables))
}

/// As [`check`], of tables already read.
pub fn examine(tables: &[Table]) -> Report {
    let mut report = Report::default();
    for table in tables {
        let mut note = |kind, row, detail: String| {
            report.problems.push(Problem { kind, sheet: table.sheet.clone(), row, detail });
        };
        for name in &table.missing {
            note(Kind::MissingColumn, 1, format!("no column `{name}`"));
        }
        for (kind, row, why) in &table.faults {
            note(*kind, *row, why.clone());
        }
        if table.rows.is_empty() && table.faults.is_empty() {
            note(Kind::NoRows, 1, "no rows below the header".into());
        }
        for row in &table.rows {
            each_row(row, &table.missing, &mut note);
        }
    }
    report.notes = tables.iter().flat_map(|table| table.notes.clone()).collect();
    across_rows(tables, &mut report);
    let rows = || tables.iter().flat_map(|table| &table.rows);
    report.train = rows().filter(|row| row.split == Split::Train).count();
    report.test = rows().count() - report.train;
    // rows that could not be read may be test cases
    let whole = tables.iter().all(|table| table.faults.is_empty());
    if let (1.., 0, true, Some(last)) = (report.train, report.test, whole, tables.last()) {
        let detail = "every row is of the training split: nothing can be predicted or evaluated; mark rows as `test`";
        report.problems.push(Problem { kind: Kind::NoTest, sheet: last.sheet.clone(), row: 1, detail: detail.into() });
    }
    labels::examine(tables, &mut report);
    report.problems.sort();
    report
}

/// What one row alone does not show: repeated ids, texts in both splits.
fn across_rows(tables: &[Table], report: &mut Report) {
    let place = |t: &Table, r: &Row| (t.sheet.clone(), r.row);
    let rows: Vec<(&Table, &Row)> = tables.iter().flat_map(|t| t.rows.iter().map(move |r| (t, r))).collect();
    let mut first_id: BTreeMap<(Split, &str), (String, usize)> = BTreeMap::new();
    let mut first_train: BTreeMap<String, (String, usize)> = BTreeMap::new();
    for (table, row) in &rows {
        if row.split == Split::Train && !row.input.is_empty() {
            first_train.entry(normal(&row.input)).or_insert_with(|| place(table, row));
        }
    }
    for (table, row) in &rows {
        let mut note = |kind, detail| {
            report.problems.push(Problem { kind, sheet: table.sheet.clone(), row: row.row, detail });
        };
        if !row.case_id.is_empty() {
            match first_id.get(&(row.split, row.case_id.as_str())) {
                Some((sheet, at)) => {
                    note(Kind::DuplicateId, format!("case id `{}` is also in {sheet} row {at}", row.case_id))
                }
                None => {
                    first_id.insert((row.split, &row.case_id), place(table, row));
                }
            }
        }
        let leak = (row.split == Split::Test).then(|| first_train.get(&normal(&row.input))).flatten();
        if let Some((sheet, at)) = leak {
            note(Kind::InBothSplits, format!("same text as {sheet} row {at}: move one, or re-split by patient"));
        }
    }
}

fn each_row(row: &Row, missing: &[&str], note: &mut impl FnMut(Kind, usize, String)) {
    let has = |column: &str| !missing.contains(&column);
    if has("case_id") && row.case_id.is_empty() {
        note(Kind::EmptyId, row.row, "empty case id".into());
    }
    if has("input_finding") && row.input.is_empty() {
        note(Kind::EmptyFinding, row.row, "empty finding".into());
    }
    if row.input.contains('\u{fffd}') {
        let why = "the finding holds U+FFFD, the mark of a character that was lost: export the text again as UTF-8";
        note(Kind::Characters, row.row, why.into());
    }
    for (column, name) in [("case_id", Some(&row.case_id)), ("group", row.group.as_ref())] {
        let odd = name.map(|name| cell::odd_characters(name)).unwrap_or_default();
        if !odd.is_empty() {
            let why = "the same name without it counts as another: write it in plain characters";
            note(Kind::Characters, row.row, format!("column `{column}` holds {}: {why}", odd.join(", ")));
        }
    }
    let labels = &row.gold.labels;
    for fault in &row.gold.faults {
        note(fault.kind, row.row, format!("column `output_disease`, `{}`: {}", labels::short(&row.written), fault.why));
    }
    if has("output_disease") && labels.iter().all(String::is_empty) && !row.gold.nothing {
        note(Kind::NoLabel, row.row, "no label".into());
        return;
    }
    let mut seen = BTreeSet::new();
    for (i, label) in labels.iter().enumerate() {
        if label.is_empty() {
            note(Kind::EmptyLabel, row.row, format!("label {} of {} is empty", i + 1, labels.len()));
        } else if !seen.insert(normal(label)) {
            note(Kind::DuplicateLabel, row.row, format!("label `{label}` twice"));
        }
    }
}

/// Lower case, runs of white space as one space.
fn normal(text: &str) -> String {
    text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bad_row_is_named_in_one_pass() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bad.csv");
        let text = "case_id,input_finding,output_disease,split\n\
            1,The liver  is normal.,cyst,train\n\
            1,Other text.,\"stone, ,Stone\",train\n\
            ,,,train\n\
            5,Text five.,cyst,validation\n\
            1,the LIVER is normal.,cyst,test\n";
        std::fs::write(&path, text).unwrap();
        let found: Vec<(Kind, usize)> = check(&path).unwrap().problems.iter().map(|p| (p.kind, p.row)).collect();
        let wanted = [
            (Kind::Unreadable, 5),
            (Kind::EmptyId, 4),
            (Kind::DuplicateId, 3),
            (Kind::EmptyFinding, 4),
            (Kind::NoLabel, 4),
            (Kind::EmptyLabel, 3),
            (Kind::DuplicateLabel, 3),
            (Kind::InBothSplits, 6),
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn sheets_are_named_and_a_missing_column_is_told_once_not_per_row() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bad.xlsx");
        let mut book = rust_xlsxwriter::Workbook::new();
        for (name, columns) in
            [("Train", &["Case Id", "output disease"][..]), ("test", &["case_id", "input_finding", "output_disease"])]
        {
            let sheet = book.add_worksheet();
            sheet.set_name(name).unwrap();
            for (c, column) in columns.iter().enumerate() {
                sheet.write(2, c as u16, *column).unwrap();
                sheet.write(3, c as u16, if c == 0 { "7" } else { "cyst" }).unwrap();
            }
        }
        book.save(&path).unwrap();
        let report = check(&path).unwrap();
        assert_eq!((report.train, report.test), (1, 1));
        let told: Vec<String> = report.problems.iter().map(Problem::to_string).collect();
        assert_eq!(told, ["Train row 1: no column `input_finding`"]);
        assert!(report.to_string().contains("missing column (1)"));
    }
}

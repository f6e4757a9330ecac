//! CSV as RFC 4180 has it, read strictly: rows are numbered as a spreadsheet shows them (an empty line is a row, a field with line ends is
//! not several), and a quote that does not close where its field ends is named by the row where it opens. What lenient readers make of such
//! a file is a field that swallows the rows after it.
//!
//! Line ends are `\n`, `\r\n` or `\r`. A quote within a field that does not begin with one is a character like any other.
use super::read::{Cells, plain, sheet_name, table};
use super::{REQUIRED, Split, Table};
use crate::corpus::kind::Kind;
use crate::error::{Error, Result};
use std::path::Path;

/// Reads the file; see [`super`] for the columns.
pub fn open(path: &Path, split: Split) -> Result<Vec<Table>> {
    let bytes = || std::fs::read(path).map_err(Error::io(path));
    let text = crate::io::text_of(bytes()?).or_else(|bad| match bad.valid {
        // the row rather than the line
        Some(valid) => {
            let Records { rows, faults } = records(&(String::from_utf8_lossy(&bytes()?[..valid]) + "x"));
            let row = rows.len() + faults.len();
            Err(Error::input(format!("{} row {row}: {}", path.display(), bad.why)))
        }
        None => Err(Error::input(format!("{}{bad}", path.display()))),
    })?;
    if let Some(what) = crate::io::stand_in_advice(text.as_bytes()) {
        return Err(Error::input(format!("{}: this is {what}", path.display())));
    }
    let Records { mut rows, faults } = records(&text);
    // empty rows above the header, as an export may have them
    let empty = rows.iter().take_while(|row| row.iter().all(|cell| cell.trim().is_empty())).count();
    let empty = if empty < rows.len() { empty } else { 0 };
    rows.drain(..empty);
    let header = if rows.is_empty() { Vec::new() } else { rows.remove(0) };
    if let Some(why) = other_separator(&header) {
        return Err(Error::input(format!("{} row {}: {why}", path.display(), empty + 1)));
    }
    let mut wrong = Vec::new();
    let mut cells = Vec::new();
    for (i, row) in rows.into_iter().enumerate() {
        let (number, got, want) = (empty + i + 2, row.len(), header.len());
        if row.iter().all(|cell| cell.trim().is_empty()) {
            continue;
        }
        if got != want {
            let why = format!(
                "{got} fields where the header has {want}: put fields that hold commas, quotes or line ends in quotes"
            );
            wrong.push((Kind::Unreadable, number, why));
        } else {
            cells.push(Cells::text(number, row));
        }
    }
    let mut table = table(sheet_name(path), split, &header, cells);
    table.faults.extend(if faults.is_empty() { wrong } else { faults });
    Ok(vec![table])
}

/// Why a header whose fields are not separated by commas is not read.
fn other_separator(header: &[String]) -> Option<String> {
    let whole = header.join(",");
    if whole.trim().starts_with("sep=") {
        return Some(format!("`{}` is a line for Excel: remove it, and separate fields by commas", whole.trim()));
    }
    let lacks = |fields: &[&str]| REQUIRED.iter().any(|name| !fields.iter().any(|f| plain(f) == plain(name)));
    let fields: Vec<&str> = header.iter().map(String::as_str).collect();
    if !lacks(&fields) {
        return None;
    }
    let named = [(';', "a semicolon"), ('\t', "a tab"), ('|', "a bar")];
    let (mark, name) = named.into_iter().find(|(mark, _)| !lacks(&whole.split(*mark).collect::<Vec<_>>()))?;
    let mark = if mark == '\t' { "\\t".to_string() } else { mark.to_string() };
    Some(format!("fields are separated by {name} (`{mark}`), not by a comma: save it as CSV with commas, or as .xlsx"))
}

struct Records {
    rows: Vec<Vec<String>>,
    /// Quotes that do not close where their field ends.
    faults: Vec<(Kind, usize, String)>,
}

/// Every record of a text; reading ends at the first quote that is out of place.
fn records(text: &str) -> Records {
    let (mut rows, mut row, mut rest) = (Vec::<Vec<String>>::new(), Vec::new(), text);
    let fault = |rows: Vec<_>, row, why| Records { rows, faults: vec![(Kind::OpenQuote, row, why)] };
    let mut start = text; // of the record
    while !rest.is_empty() {
        let number = rows.len() + 1;
        let (field, after) = match rest.strip_prefix('"') {
            Some(inner) => match quoted(inner) {
                Ok(read) => read,
                Err(why) => return fault(rows, number, why),
            },
            None => {
                let end = rest.find([',', '\n', '\r']).unwrap_or(rest.len());
                let field = &rest[..end];
                if field.trim_start().starts_with('"') {
                    let why =
                        "a space stands before the quote that opens a field: remove it, or the quote means nothing";
                    return fault(rows, number, why.into());
                }
                (field.to_string(), &rest[end..])
            }
        };
        row.push(field);
        let more = match after.strip_prefix(',') {
            Some("") => {
                row.push(String::new());
                rest = "";
                false
            }
            Some(more) => {
                rest = more;
                true
            }
            None => {
                rest = after.strip_prefix("\r\n").or(after.strip_prefix(['\n', '\r'])).unwrap_or(after);
                false
            }
        };
        if !more {
            let record = &start[..start.len() - rest.len()];
            if let Some(why) = rows.first().and_then(|header| swallows(record, &row, header)) {
                return fault(rows, number, why);
            }
            rows.push(std::mem::take(&mut row));
            start = rest;
        }
    }
    Records { rows, faults: Vec::new() }
}

/// The field after its opening quote, and what follows its closing one; or why the quote does not close.
fn quoted(inner: &str) -> Result<(String, &str), String> {
    let mut from = 0;
    let lines = |to: usize| inner[..to].matches('\n').count();
    let told = |lines: usize| match lines {
        0 => String::new(),
        n => format!(", {n} line(s) further down,"),
    };
    while let Some(at) = inner[from..].find('"').map(|at| from + at) {
        let after = &inner[at + 1..];
        if after.starts_with('"') {
            from = at + 2;
            continue;
        }
        if after.is_empty() || after.starts_with([',', '\n', '\r']) {
            return Ok((inner[..at].replace("\"\"", "\""), after));
        }
        return Err(format!(
            "a quote opens here, and the next one{} does not end a field: close the quote, or write a quote within a field twice",
            told(lines(at))
        ));
    }
    Err(format!(
        "a quote opens here and never closes: the {} line(s) after it would be part of one field; close it",
        inner.trim_end().matches('\n').count()
    ))
}

/// Why a record of several lines looks like several of which one opens a quote and does not close it, wherever the quote and the ids
/// stand: every line has as many fields as the header, or one has that does not hold this record's id, and an id of its form among them.
fn swallows(record: &str, row: &[String], header: &[String]) -> Option<String> {
    let lines: Vec<Vec<&str>> = record.split(['\n', '\r']).filter(|line| !line.trim().is_empty()).map(tight).collect();
    if lines.len() < 2 || header.len() < 2 {
        return None;
    }
    let id = header.iter().position(|name| plain(name) == plain("case_id"));
    let long = row.iter().position(|field| field.contains(['\n', '\r']));
    let own_is_last = id.zip(long).is_some_and(|(id, long)| id > long);
    let others = if own_is_last { &lines[..lines.len() - 1] } else { &lines[1..] };
    let every = lines.iter().all(|fields| fields.len() == header.len());
    let like_a_row = |fields: &&Vec<&str>| {
        let Some(id) = id else { return every };
        // from both ends, as a text with commas may stand before the id or after it
        let places = [Some(id), (fields.len() + id).checked_sub(header.len())];
        let own = row.get(id).and_then(|id| id.lines().next()).map(form).unwrap_or_default();
        let same = |at: usize| fields.get(at).is_some_and(|one| !own.is_empty() && form(one) == own);
        every || fields.len() >= header.len() && places.into_iter().flatten().any(same)
    };
    let line = others.iter().find(like_a_row)?.join(",");
    let start: String = line.chars().take(40).collect();
    Some(format!(
        "a quote opens here and closes only after what looks like a row of its own, `{start}`: close it at the end of its field"
    ))
}

/// The fields of a line whose quotes mean nothing; a comma before a space is one of a sentence.
fn tight(line: &str) -> Vec<&str> {
    let (mut fields, mut from) = (Vec::new(), 0);
    for (at, _) in line.match_indices(',') {
        if !line[at + 1..].starts_with(char::is_whitespace) {
            fields.push(&line[from..at]);
            from = at + 1;
        }
    }
    fields.push(&line[from..]);
    fields
}

/// The form of an id: letters as `a`, digits as `0`, runs as one. `p17-b` and `p3-c` have one form.
fn form(id: &str) -> String {
    let mut form = String::new();
    for c in id.trim_matches(|c: char| c.is_whitespace() || c == '"').chars() {
        let c = if c.is_numeric() {
            '0'
        } else if c.is_alphabetic() {
            'a'
        } else {
            c
        };
        if !form.ends_with(c) {
            form.push(c);
        }
    }
    form
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Vec<Vec<String>> {
        let read = records(text);
        assert!(read.faults.is_empty(), "{text:?}: {:?}", read.faults);
        read.rows
    }

    /// A lenient reader of the same standard as a twin, on text that both take for well formed.
    #[test]
    fn well_formed_text_is_read_as_the_csv_crate_reads_it() {
        let mut dice = crate::corpus::synthetic::dice::Dice::new(3, 0);
        let parts = ["a", "é b", "\"q, r\"", "\"x \"\"y\"\" z\"", "\"two\nlines\"", "", "5\" needle"];
        for _ in 0..2_000 {
            let width = 1 + dice.below(4);
            let mut text = String::new();
            for _ in 0..1 + dice.below(5) {
                let fields: Vec<&str> = (0..width).map(|_| parts[dice.below(parts.len())]).collect();
                text += &fields.join(",");
                text += ["\n", "\r\n"][dice.below(2)];
            }
            let mut twin = ::csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
            let twin: Vec<Vec<String>> =
                twin.records().map(|r| r.unwrap().iter().map(str::to_string).collect()).collect();
            let own: Vec<_> = rows(&text).into_iter().filter(|row| row != &[""]).collect();
            let twin: Vec<_> = twin.into_iter().filter(|row| row != &[""]).collect();
            assert_eq!(own, twin, "{text:?}");
        }
    }

    #[test]
    fn an_empty_line_is_a_row_and_the_last_line_needs_no_end() {
        assert_eq!(rows("a,b\n\nc,"), [vec!["a", "b"], vec![""], vec!["c", ""]]);
        assert_eq!(rows("a\rb\r"), [["a"], ["b"]]);
        assert!(rows("").is_empty());
    }

    #[test]
    fn rows_are_not_swallowed_wherever_the_id_stands() {
        let told = |text: &str| records(text).faults.into_iter().map(|(_, row, _)| row).collect::<Vec<_>>();
        for text in [
            "t,o,case_id\nOne,cyst,\"a1\nTwo,stone,a2\nThree,mass,a3\"\n", // the id holds the quote, and is last
            "t,o,case_id\n\"One,cyst,a1\nTwo,stone,a2\nThree\",mass,a3\n", // the id is last
            "t,o,case_id\n\"One, with a comma,cyst,a1\nTwo, as well,stone,a2\nThree\",mass,a3\n",
            "case_id,t,o\n\"a1,One,cyst\na2,Two,stone\na3\",Three,mass\n", // the id holds the quote, and is first
            "t,case_id,o\nOne,\"a1,cyst\nTwo,x-9,stone\nThree,a3\",mass\n", // and in the middle, of any form
            "t,o,case_id\r\nOne,cyst,\"a1\r\nTwo,stone,a2\r\nThree,mass,a3\"\r\n",
        ] {
            assert_eq!(told(text), [2], "{text}");
        }
        for text in [
            "case_id,t,o\n7,\"Segments 2, 3, and 4.\n5, 6, and 8 are clear.\",cyst\n", // numbers of a sentence
            "t,o,case_id\n\"Liver, spleen\nKidneys, normal\",cyst,7\n",
            "case_id,o,t\na1,\"cyst\nstone\",Text\n",
        ] {
            assert!(told(text).is_empty(), "{text}: {:?}", records(text).faults);
        }
    }

    #[test]
    fn a_quote_that_is_not_closed_is_named_where_it_opens() {
        let fault = |text: &str| records(text).faults.into_iter().map(|(_, row, why)| (row, why)).next().unwrap();
        let (row, why) = fault("case_id,t\na1,x\na2,\"open\na3,y\n");
        assert!(row == 3 && why.contains("never closes: the 1 line(s)"), "{row} {why}");
        let (row, why) = fault("case_id,t\na1,x\na2,\"open\na3,\"y\"\n");
        assert!(row == 3 && why.contains("1 line(s) further down, does not end a field"), "{row} {why}");
        let (row, why) = fault("case_id,t,u\na1,x,1\na2,\"open\na3,\"y\",\",\n");
        assert!(row == 3, "{why}");
        let (row, why) = fault("case_id,t\na2,\"open\na3,y\nb4,z\"\n");
        assert!(row == 2 && why.contains("looks like a row of its own, `a3,y`"), "{row} {why}");
        assert_eq!(fault("case_id,t\na1, \"x, y\"\n").0, 2);
        assert_eq!(rows("case_id,t\na1,\"Liver, spleen\nKidneys, normal\"\n").len(), 2, "text of several lines");
    }
}

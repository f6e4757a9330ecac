//! From files to tables of rows; nothing is refused here that `check` can name better.
use super::cell::{self, Gold};
use super::{COLUMNS, REQUIRED, Row, Split, Table, csv, json, xlsx};
use crate::corpus::characters::short;
use crate::corpus::characters::{blank, invisible};
use crate::corpus::kind::Kind;
use crate::error::{Error, Result};
use serde_json::Value;
use std::path::Path;

/// What spreadsheets show where a value is not there, in the languages that have no `!` or `?` at its end.
const ERRORS: [&str; 9] = ["#N/A", "#NV", "#N/D", "#N/B", "#N/T", "#I/T", "#BRAK", "#ND", "#Н/Д"];

/// Whether a cell is the error of a formula, which in CSV and JSON is text: `#REF!`, in German `#BEZUG!`, in Spanish `#¡REF!`, in LibreOffice
/// `Err:502`.
fn is_error(text: &str) -> bool {
    let marked = text.strip_prefix('#').and_then(|rest| rest.strip_suffix(['!', '?']));
    let shouted = |word: &str| {
        word.chars().any(char::is_alphabetic) && !word.chars().any(|c| c.is_lowercase() || c.is_whitespace())
    };
    let numbered =
        text.strip_prefix("Err:").is_some_and(|rest| rest.len() == 3 && rest.bytes().all(|b| b.is_ascii_digit()));
    ERRORS.contains(&text.to_uppercase().as_str()) || marked.is_some_and(shouted) || numbered
}

/// Whether an id is a number as a spreadsheet shortens it, `1.23457E+11`: what stood there is lost.
fn is_shortened(text: &str) -> bool {
    let Some((digits, power)) = text.split_once(['E', 'e']) else { return false };
    let whole = digits.split_once(['.', ',']).unwrap_or((digits, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    power.strip_prefix('+').is_some_and(|power| power.len() >= 2 && digits(power))
        && whole.0.len() == 1
        && digits(whole.0)
        && digits(whole.1)
}
/// Most bytes of a finding, and of any other cell: a text of four million letters is a file in the place of a report, and a list of labels
/// of this length is no list that an answer could give.
const LONGEST: usize = 4 << 20;
const LONGEST_OTHER: usize = 64 << 10;
const FORMATS: [&str; 4] = ["xlsx", "csv", "json", "jsonl"];

/// Every table in a file, or in the `train.*` and `test.*` of a folder.
pub fn tables(path: &Path) -> Result<Vec<Table>> {
    if !path.is_dir() {
        return file(path, split_of(path));
    }
    let mut tables = Vec::new();
    for split in [Split::Train, Split::Test] {
        let name = |ext: &&str| path.join(format!("{}.{ext}", split.name()));
        let found: Vec<_> = FORMATS.iter().map(name).filter(|p| p.exists()).collect();
        match found.as_slice() {
            [] => {}
            [one] => tables.extend(file(one, split)?),
            _ => return Err(Error::input(format!("{}: {} both exist: keep one", path.display(), names(&found)))),
        }
    }
    if tables.is_empty() {
        let path = path.display();
        return Err(Error::input(format!(
            "{path}: neither train.* nor test.* with ending {}, and no phenopackets or notes with decisions either",
            FORMATS.join(", ")
        )));
    }
    let others = others(path);
    if let (Some(first), false) = (tables.first_mut(), others.is_empty()) {
        let names = others.join("`, `");
        first.notes.insert(0, format!("`{names}`: not read, only train.* and test.* are"));
    }
    Ok(tables)
}

/// Files of a folder that could hold findings and are not read; `truth.jsonl` is the record that the generator writes.
fn others(path: &Path) -> Vec<String> {
    let findings = |path: &Path| {
        let ending = path.extension().map(|end| end.to_string_lossy().to_lowercase()).unwrap_or_default();
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        FORMATS.contains(&ending.as_str()) && !["train", "test", "truth"].contains(&stem.as_str())
    };
    let files = std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut names: Vec<String> = files
        .filter(|path| path.is_file() && findings(path))
        .filter_map(|path| path.file_name().map(|name| name.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    names
}

fn names(paths: &[std::path::PathBuf]) -> String {
    let names: Vec<_> = paths.iter().filter_map(|p| p.file_name()).map(|n| n.to_string_lossy()).collect();
    names.join(" and ")
}

/// The split of rows that do not say theirs: training where the file's name begins with `train`, else test.
fn split_of(path: &Path) -> Split {
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().to_lowercase()).unwrap_or_default();
    if stem.starts_with("train") { Split::Train } else { Split::Test }
}

fn file(path: &Path, split: Split) -> Result<Vec<Table>> {
    if !path.exists() {
        return Err(Error::input(format!("no such file or folder: {}", path.display())));
    }
    let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
    match ending.as_str() {
        "xlsx" => xlsx::open(path, split),
        "csv" => csv::open(path, split),
        "jsonl" => json::lines(path, split),
        "json" => json::open(path, split),
        _ => Err(Error::input(format!(
            "{}: expected a file ending in {}, or a folder with train.* and test.*",
            path.display(),
            FORMATS.join(", ")
        ))),
    }
}

pub(super) fn sheet_name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Lower case without spaces, `_`, `-` and what does not show.
pub(super) fn plain(header: &str) -> String {
    header
        .chars()
        .filter(|c| c.is_alphanumeric() && !blank(*c) && !invisible(*c))
        .flat_map(char::to_lowercase)
        .collect()
}

/// What stands at one place of a table.
#[derive(Clone, Debug)]
pub(super) enum Cell {
    Text(String),
    /// A list of a JSON file.
    List(Vec<Value>),
    /// What cannot be taken for text, and why.
    Wrong(Kind, String),
}

impl Cell {
    fn is_blank(&self) -> bool {
        matches!(self, Self::Text(text) if text.trim().is_empty())
    }
    fn text(&self) -> &str {
        if let Self::Text(text) = self { text.trim() } else { "" }
    }
}

/// One row of a table.
pub(super) struct Cells {
    pub row: usize,
    pub cells: Vec<Cell>,
}

impl Cells {
    pub fn text(row: usize, cells: Vec<String>) -> Self {
        Self { row, cells: cells.into_iter().map(Cell::Text).collect() }
    }
    /// A row in which nothing stands.
    pub fn is_blank(&self) -> bool {
        self.cells.iter().all(Cell::is_blank)
    }
}

/// A table from its header and its numbered rows; rows in which nothing stands are passed over.
pub(super) fn table(sheet: String, split: Split, header: &[String], rows: Vec<Cells>) -> Table {
    let mut table = Table { sheet, missing: Vec::new(), faults: Vec::new(), notes: Vec::new(), rows: Vec::new() };
    let at = COLUMNS.map(|name| {
        let mut places = (0..header.len()).filter(|i| plain(&header[*i]) == plain(name));
        let (first, more) = (places.next(), places.count());
        if more > 0 {
            let why = format!("column `{name}` stands {} times: keep one", more + 1);
            table.faults.push((Kind::RepeatedColumn, 1, why));
        }
        first
    });
    table.missing = REQUIRED.into_iter().zip(&at).filter(|(_, at)| at.is_none()).map(|(name, _)| name).collect();
    if let Some(row) = header_below(&table.missing, &rows) {
        let why = format!("row {row} looks like the header: delete the rows above it");
        table.faults.push((Kind::MissingColumn, 1, why));
        return table;
    }
    let known = |name: &str| COLUMNS.iter().any(|known| plain(known) == plain(name));
    let left: Vec<String> = header
        .iter()
        .map(|h| h.trim())
        .filter(|h| !h.is_empty() && !known(h))
        .map(|h| format!("`{}`", short(h)))
        .collect();
    if !left.is_empty() {
        table.notes.push(format!("{}: columns that are not read: {}", table.sheet, left.join(", ")));
    }
    let nameless: Vec<usize> = (0..header.len()).filter(|i| header[*i].trim().is_empty()).collect();
    let holds = |row: &Cells, i: usize| row.cells.get(i).is_some_and(|cell| !cell.is_blank());
    // what writes a table with numbered rows leaves their column without a name
    if nameless.first() == Some(&0) && rows.iter().any(|row| holds(row, 0)) {
        table.notes.push(format!("{}: the first column has no name and is not read", table.sheet));
    }
    // where one row says its split, all must: a blank cell is no test case
    let said = at[4].is_some_and(|i| rows.iter().any(|row| holds(row, i)));
    let default = if said { None } else { Some(split) };
    for one in rows.iter().filter(|row| !row.is_blank()) {
        if let Some(i) = nameless.iter().find(|i| **i > 0 && holds(one, **i)) {
            let (n, text) = (i + 1, short(one.cells[*i].text()));
            let why =
                format!("column {n} has no name and holds `{text}`: name it, or put what holds a comma in quotes");
            table.faults.push((Kind::Unreadable, one.row, why));
            continue;
        }
        match row(one, &at, default) {
            Ok(row) => table.rows.push(row),
            Err(faults) => table.faults.extend(faults.into_iter().map(|(kind, why)| (kind, one.row, why))),
        }
    }
    table
}

/// The row that has all required columns, where the first row has none of them: a title stands above the header.
fn header_below(missing: &[&str], rows: &[Cells]) -> Option<usize> {
    let has = |row: &&Cells| REQUIRED.iter().all(|name| row.cells.iter().any(|cell| plain(cell.text()) == plain(name)));
    let below = rows.iter().take(20).find(has)?;
    (missing.len() == REQUIRED.len()).then_some(below.row)
}

/// A cell of so many bytes that begins like this.
fn too_long(bytes: usize, start: &str, name: &str) -> Option<(Kind, String)> {
    let most = if name == "input_finding" { LONGEST } else { LONGEST_OTHER };
    let told = || {
        let why = "is it a whole file, or does a quote not close?";
        format!("column `{name}` holds {bytes} bytes (`{}`), more than {most}: {why}", short(start))
    };
    (bytes > most).then(|| (Kind::Value, told()))
}

/// What is wrong with a cell, whatever the row.
fn fault(cell: &Cell, name: &str) -> Option<(Kind, String)> {
    let text = match cell {
        Cell::Wrong(kind, why) => return Some((*kind, format!("column `{name}` {why}"))),
        Cell::List(_) if name != "output_disease" => {
            return Some((Kind::Value, format!("column `{name}` holds a list: write it as text")));
        }
        Cell::List(items) => {
            let bytes = items.iter().map(|item| item.as_str().map_or(1, str::len)).sum();
            return too_long(bytes, items.first().and_then(Value::as_str).unwrap_or(""), name);
        }
        Cell::Text(text) => text.trim(),
    };
    if let Some(fault) = too_long(text.len(), text, name) {
        return Some(fault);
    }
    if matches!(name, "case_id" | "group") && is_shortened(text) {
        let why =
            "is a number that a spreadsheet has shortened: format the column as text before you type or export it";
        return Some((Kind::Value, format!("column `{name}` holds `{text}`, which {why}")));
    }
    if text.len() > 3 && text.bytes().all(|b| b == b'#') {
        let why =
            "is what a spreadsheet shows where a column is too narrow or a text too long: what stood there is lost";
        return Some((Kind::CellError, format!("column `{name}` holds `{}`, which {why}", short(text))));
    }
    if is_error(text) {
        return Some((
            Kind::CellError,
            format!("column `{name}` holds the error {text} of a spreadsheet: write the value"),
        ));
    }
    // of labels the reader of the cell says it; of a split, that it is none
    let missing = !matches!(name, "output_disease" | "split") && (cell::is_missing(text) || cell::is_nothing(text));
    missing.then(|| {
        let why = format!(
            "column `{name}` holds `{text}`, which stands for a missing value: write the value, or leave it empty"
        );
        (Kind::Missing, why)
    })
}

/// A row, or what is wrong with cells of it. `at`: where [`COLUMNS`] stand; `default`: the split of a row that does not say its own.
fn row(cells: &Cells, at: &[Option<usize>; 5], default: Option<Split>) -> Result<Row, Vec<(Kind, String)>> {
    let nothing = Cell::Text(String::new());
    let [id, input, output, group, own] = at.map(|at| at.and_then(|at| cells.cells.get(at)).unwrap_or(&nothing));
    let all = [id, input, output, group, own].into_iter().zip(COLUMNS);
    let mut faults: Vec<(Kind, String)> = all.filter_map(|(cell, name)| fault(cell, name)).collect();
    let split = match own.text() {
        "" => default,
        name => Split::named(name),
    };
    match own.text() {
        _ if split.is_some() || matches!(own, Cell::Wrong(..) | Cell::List(_)) => {}
        "" => faults.push((
            Kind::Unreadable,
            "column `split` is empty, though other rows say theirs: write `train` or `test` in every row".into(),
        )),
        name => faults.push((Kind::Unreadable, format!("split `{}` is neither train nor test", short(name)))),
    }
    match split {
        Some(split) if faults.is_empty() => {
            let (gold, written) = match output {
                Cell::List(items) => {
                    let gold = cell::read_list(items);
                    let written = if gold.nothing { cell::NOTHING[0].into() } else { gold.labels.join(", ") };
                    (gold, written)
                }
                other => (cell::read(other.text()), other.text().to_string()),
            };
            Ok(self::of(cells.row, split, [id.text(), input.text(), group.text()], (gold, written)))
        }
        _ => Err(faults),
    }
}

fn of(row: usize, split: Split, [id, input, group]: [&str; 3], (gold, written): (Gold, String)) -> Row {
    let group = Some(group.to_string()).filter(|g| !g.is_empty());
    Row { row, split, case_id: id.into(), group, input: input.into(), gold, written }
}

//! Findings in Excel workbooks: sheets `train` and `test` in any case, or the only visible sheet. Other sheets are left, and named.
//!
//! What Excel shows in a cell and what the file holds are not always one thing: a formula whose value was never computed, an error, an id
//! that became a date, a merged cell whose text belongs to the first of its cells only. Each is named with its row and column. A whole number
//! is read as its number format shows it ([`super::number_format`]).
use super::number_format::shown;
use super::read::{Cell, Cells, table};
use super::{Split, Table};
use crate::corpus::kind::Kind;
use crate::error::{Error, Result};
use calamine::{Data, Dimensions, Reader, Sheet, SheetType, SheetVisible, Xlsx, open_workbook};
use std::path::Path;

/// Most cells of a sheet, empty ones included.
const CELLS: usize = 20_000_000;
/// Most bytes of the parts of a workbook, unpacked.
const UNPACKED: u64 = 1 << 30;
/// A number this large has lost digits in Excel.
const DIGITS: f64 = 1e15;

/// Reads the workbook; see [`super`] for the columns.
pub fn open(path: &Path, split: Split) -> Result<Vec<Table>> {
    let broken = |e: calamine::XlsxError| match strange_error(path) {
        Some((sheet, cell, error)) => Error::input(format!(
            "{}: {sheet} cell {cell} holds the error {error}: mend the formula, or write the value",
            path.display()
        )),
        None if e.to_string().contains("EOCD") => Error::input(format!(
            "{}: the file is cut off (the list of its parts, which stands at the end, is missing): copy or download it anew",
            path.display()
        )),
        None => Error::input(format!("{}: not a readable .xlsx file: {e}", path.display())),
    };
    if let Some(bytes) = unpacked(path).filter(|bytes| *bytes > UNPACKED) {
        let (path, most) = (path.display(), UNPACKED);
        return Err(Error::input(format!(
            "{path}: {bytes} bytes when unpacked, more than {most}: a sheet holds a cell or an area that is no table; save the table alone"
        )));
    }
    let mut book: Xlsx<_> = open_workbook(path).map_err(|e| match another(path) {
        Some(what) => Error::input(format!("{}: this is {what}", path.display())),
        None => broken(e),
    })?;
    let sheets: Vec<Sheet> =
        book.sheets_metadata().iter().filter(|sheet| sheet.typ == SheetType::WorkSheet).cloned().collect();
    let (chosen, notes) = choose(&sheets, split).map_err(|why| Error::input(format!("{}: {why}", path.display())))?;
    let mut tables = Vec::new();
    for (name, split) in chosen {
        let (row, column) = extent(&mut book, &name).map_err(broken)?;
        if (row as usize + 1) * (column as usize + 1) > CELLS {
            let (path, last) = (path.display(), address((row, column)));
            return Err(Error::input(format!(
                "{path}: sheet `{name}` reaches to cell {last}, more than {CELLS} cells: delete what stands far from the table"
            )));
        }
        tables.push(sheet(&mut book, name, split).map_err(broken)?);
    }
    if let Some(first) = tables.first_mut() {
        first.notes.splice(0..0, notes);
    }
    Ok(tables)
}

/// Bytes of all parts when unpacked, as the archive's directory has them.
fn unpacked(path: &Path) -> Option<u64> {
    let mut archive = zip::ZipArchive::new(std::fs::File::open(path).ok()?).ok()?;
    (0..archive.len()).map(|i| archive.by_index_raw(i).ok().map(|part| part.size())).sum()
}

/// What people have in the place of an .xlsx file, and what to do.
fn another(path: &Path) -> Option<&'static str> {
    use std::io::Read;
    let mut start = Vec::new();
    std::fs::File::open(path).ok()?.take(512).read_to_end(&mut start).ok()?;
    match crate::io::stand_in(&start) {
        Some(crate::io::ZIP) => None,
        Some(_) => crate::io::stand_in_advice(&start),
        None if start.is_empty() => Some("an empty file: get it anew"),
        None if start.starts_with(&[0xd0, 0xcf, 0x11, 0xe0]) => {
            Some("an old .xls workbook, or one with a password: save it as .xlsx without a password")
        }
        None if !start.starts_with(b"PK") => {
            Some("no .xlsx file, though it is called one: is it a CSV file? Then give it that ending")
        }
        None => None,
    }
}

/// The first cell with an error of a formula that the reader of workbooks does not know (`#SPILL!`, `#FIELD!`): part of the archive, cell and
/// error.
fn strange_error(path: &Path) -> Option<(String, String, String)> {
    use quick_xml::events::Event;
    use std::io::Read;
    const KNOWN: [&str; 7] = ["#DIV/0!", "#N/A", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!"];
    let mut archive = zip::ZipArchive::new(std::fs::File::open(path).ok()?).ok()?;
    let sheets: Vec<String> = archive
        .file_names()
        .flatten()
        .filter(|name| name.starts_with("xl/worksheets/sheet"))
        .map(String::from)
        .collect();
    for sheet in sheets {
        let mut text = String::new();
        archive.by_name(&sheet).ok()?.take(UNPACKED).read_to_string(&mut text).ok()?;
        let mut reader = quick_xml::Reader::from_str(&text);
        let (mut cell, mut inside) = (None::<String>, false);
        loop {
            match reader.read_event().ok()? {
                Event::Eof => break,
                Event::Start(start) if start.name().as_ref() == "c" => {
                    let attribute = |name: &str| {
                        start
                            .attributes()
                            .flatten()
                            .find(|one| one.key.as_ref() == name)
                            .map(|one| one.value.to_string())
                    };
                    cell = attribute("t").filter(|kind| kind == "e").and_then(|_| attribute("r"));
                }
                Event::Start(start) => inside = start.name().as_ref() == "v",
                Event::End(_) => inside = false,
                Event::Text(text) if inside => {
                    let (cell, error) = (cell.take(), text.trim().to_string());
                    if let Some(cell) = cell.filter(|_| !KNOWN.contains(&error.as_str())) {
                        return Some((sheet, cell, error));
                    }
                }
                _ => {}
            }
        }
    }
    None
}

/// Row and column of the last cell in use, from 0, without making room for what lies between.
fn extent(book: &mut Xlsx<std::io::BufReader<std::fs::File>>, name: &str) -> Result<(u32, u32), calamine::XlsxError> {
    let mut reader = book.worksheet_cells_reader(name)?;
    let mut last = (0, 0);
    while let Some(cell) = reader.next_cell()? {
        let (row, column) = cell.get_position();
        last = (last.0.max(row), last.1.max(column));
    }
    Ok(last)
}

/// The sheets to read with their splits, and what is to be told about the others.
fn choose(sheets: &[Sheet], split: Split) -> Result<(Vec<(String, Split)>, Vec<String>), String> {
    let mut chosen: Vec<(String, Split)> =
        sheets.iter().filter_map(|s| Split::named(&s.name).map(|split| (s.name.clone(), split))).collect();
    for split in [Split::Train, Split::Test] {
        let same: Vec<&str> = chosen.iter().filter(|(_, s)| *s == split).map(|(name, _)| name.as_str()).collect();
        if same.len() > 1 {
            return Err(format!("sheets `{}` are both the {} split: keep one", same.join("` and `"), split.name()));
        }
    }
    if chosen.is_empty() {
        let shown: Vec<&Sheet> = sheets.iter().filter(|s| s.visible == SheetVisible::Visible).collect();
        let [only] = shown.as_slice() else {
            let names: Vec<&str> = sheets.iter().map(|s| s.name.as_str()).collect();
            return Err(format!("no sheet named train or test among: {}", names.join(", ")));
        };
        chosen.push((only.name.clone(), split));
    }
    let mut notes = Vec::new();
    for sheet in sheets {
        let hidden = sheet.visible != SheetVisible::Visible;
        match (chosen.iter().any(|(name, _)| *name == sheet.name), hidden) {
            (false, hidden) => {
                let hidden = if hidden { ", which is hidden," } else { "" };
                notes.push(format!("sheet `{}`{hidden} is not read: only sheets named train and test are", sheet.name));
            }
            (true, true) => notes.push(format!("sheet `{}` is hidden and is read", sheet.name)),
            (true, false) => {}
        }
    }
    Ok((chosen, notes))
}

fn sheet(
    book: &mut Xlsx<std::io::BufReader<std::fs::File>>,
    name: String,
    split: Split,
) -> Result<Table, calamine::XlsxError> {
    let (values, formulas, styles) =
        (book.worksheet_range(&name)?, book.worksheet_formula(&name)?, book.worksheet_style(&name)?);
    let merged: Vec<Dimensions> = book.merge_cells_by_sheet_name(&name)?;
    let top = values.start().map_or(0, |(row, _)| row);
    let (last, width) = match (values.end(), formulas.end()) {
        (None, _) => return Ok(table(name, split, &[], Vec::new())),
        (Some(end), None) => end,
        // a last row of formulas without values is a row
        (Some(a), Some(b)) => (a.0.max(b.0), a.1),
    };
    let cell = |row: u32, column: u32| -> Cell {
        let value = values.get_value((row, column)).unwrap_or(&Data::Empty);
        if let Some(region) = merged.iter().find(|m| m.contains(row, column) && m.start != (row, column)) {
            let [from, to] = [region.start, region.end].map(address);
            let hidden = match value {
                Data::Empty => String::new(),
                value => format!(
                    ", and holds `{}`, which Excel does not show",
                    crate::corpus::characters::short(&value.to_string())
                ),
            };
            let why = format!("is part of the merged cells {from}:{to}{hidden}: unmerge them, and fill in each cell");
            return Cell::Wrong(Kind::Merged, why);
        }
        let formula = formulas.get_value((row, column)).is_some_and(|f| !f.is_empty());
        let format = styles.get((row, column)).and_then(|style| style.number_format.as_ref());
        spell(value, formula, format.map_or("General", |format| &format.format_code), &address((row, column)))
    };
    let header: Vec<String> =
        (0..=width).map(|c| values.get_value((top, c)).map(Data::to_string).unwrap_or_default()).collect();
    let rows = (top + 1..=last)
        .map(|row| Cells { row: row as usize + 1, cells: (0..=width).map(|column| cell(row, column)).collect() })
        .collect();
    Ok(table(name, split, &header, rows))
}

/// A whole number is written as `format` shows it: ids typed as numbers stay ids.
fn spell(value: &Data, formula: bool, format: &str, at: &str) -> Cell {
    let wrong = |kind, why: String| Cell::Wrong(kind, format!("({at}) {why}"));
    match value {
        Data::Empty if formula => wrong(
            Kind::Formula,
            "holds a formula without a stored value: open the file in Excel or LibreOffice and save it, or paste the values".into(),
        ),
        Data::Empty => Cell::Text(String::new()),
        Data::Float(0.0) | Data::Int(0) if formula => wrong(
            Kind::Formula,
            "holds a formula with the stored value 0, as programs write it that do not compute: open the file in Excel or LibreOffice and \
             save it, or paste the values"
                .into(),
        ),
        Data::Error(error) => {
            wrong(Kind::CellError, format!("holds the error {error}: mend the formula, or write the value"))
        }
        Data::DateTime(_) | Data::DateTimeIso(_) | Data::DurationIso(_) => wrong(
            Kind::Value,
            "holds a date or time, perhaps a text that Excel took for one: format the column as text and write it again"
                .into(),
        ),
        Data::Bool(value) => wrong(
            Kind::Value,
            format!("holds the truth value {}: format it as text and write it again", value.to_string().to_uppercase()),
        ),
        Data::Int(x) => number(*x as f64, format).unwrap_or_else(|why| wrong(Kind::Value, why)),
        Data::Float(x) if x.abs() >= DIGITS => wrong(
            Kind::Value,
            "holds a number of more than 15 digits, of which Excel keeps 15: format the column as text and write it again"
                .into(),
        ),
        Data::Float(x) if x.fract() == 0.0 => number(*x, format).unwrap_or_else(|why| wrong(Kind::Value, why)),
        Data::Float(x) => wrong(
            Kind::Value,
            format!("holds the number {x}, which may be shown otherwise (as a share, a date): format the column as text and write it again"),
        ),
        other => Cell::Text(other.to_string()),
    }
}

/// A whole number as its format shows it, or why that is not known.
fn number(x: f64, format: &str) -> Result<Cell, String> {
    shown(x, format).map(Cell::Text).ok_or_else(|| {
        format!(
            "holds the number {x:.0} and shows it in the number format `{format}`: format the column as text and write what is to be read"
        )
    })
}

/// (0, 1) → `B1`.
fn address((row, column): (u32, u32)) -> String {
    let (mut letters, mut rest) = (String::new(), column + 1);
    while rest > 0 {
        letters.insert(0, char::from(b'A' + ((rest - 1) % 26) as u8));
        rest = (rest - 1) / 26;
    }
    format!("{letters}{}", row + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_called_as_excel_calls_them() {
        let names: Vec<String> = [(0, 0), (2, 25), (9, 26), (0, 701), (0, 702)].map(address).into();
        assert_eq!(names, ["A1", "Z3", "AA10", "ZZ1", "AAA1"]);
    }
}

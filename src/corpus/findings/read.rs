//! From files to tables of rows; nothing is refused here that `check` can name better.
use super::{Row, Split, Table};
use crate::error::{Error, Result};
use calamine::{Data, Reader, Xlsx, open_workbook};
use serde_json::Value;
use std::path::Path;

const REQUIRED: [&str; 3] = ["case_id", "input_finding", "output_disease"];
const FORMATS: [&str; 4] = ["xlsx", "csv", "json", "jsonl"];

/// Every table in a file, or in the `train.*` and `test.*` of a folder.
pub fn tables(path: &Path) -> Result<Vec<Table>> {
    if !path.is_dir() {
        return file(path, split_of(path));
    }
    let mut tables = Vec::new();
    for split in ["train", "test"] {
        let found: Vec<_> =
            FORMATS.iter().map(|ext| path.join(format!("{split}.{ext}"))).filter(|p| p.exists()).collect();
        match found.as_slice() {
            [] => {}
            [one] => tables.extend(file(one, Split::named(split).unwrap_or(Split::Test))?),
            _ => return Err(Error::input(format!("{}: {} both exist: keep one", path.display(), names(&found)))),
        }
    }
    if tables.is_empty() {
        let path = path.display();
        return Err(Error::input(format!("{path}: neither train.* nor test.* with ending {}", FORMATS.join(", "))));
    }
    Ok(tables)
}

fn names(paths: &[std::path::PathBuf]) -> String {
    let names: Vec<_> = paths.iter().filter_map(|p| p.file_name()).map(|n| n.to_string_lossy()).collect();
    names.join(" and ")
}

fn split_of(path: &Path) -> Split {
    path.file_stem().and_then(|stem| Split::named(&stem.to_string_lossy())).unwrap_or(Split::Test)
}

fn file(path: &Path, split: Split) -> Result<Vec<Table>> {
    if !path.exists() {
        return Err(Error::input(format!("no such file or folder: {}", path.display())));
    }
    let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
    match ending.as_str() {
        "xlsx" => xlsx(path, split),
        "csv" => csv(path, split),
        "jsonl" => jsonl(path, split),
        "json" => json(path, split),
        _ => Err(Error::input(format!(
            "{}: expected a file ending in {}, or a folder with train.* and test.*",
            path.display(),
            FORMATS.join(", ")
        ))),
    }
}

fn sheet_name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Lower case without spaces, `_` and `-`.
fn plain(header: &str) -> String {
    header.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

fn column(header: &[String], name: &str) -> Option<usize> {
    header.iter().position(|h| plain(h) == plain(name))
}

/// A table from its header and its numbered rows of cells.
fn table(sheet: String, split: Split, header: &[String], rows: impl Iterator<Item = (usize, Vec<String>)>) -> Table {
    let missing: Vec<&str> = REQUIRED.into_iter().filter(|name| column(header, name).is_none()).collect();
    let at = |name| column(header, name);
    let (id, input, output, group, own) =
        (at("case_id"), at("input_finding"), at("output_disease"), at("group"), at("split"));
    let mut table = Table { sheet, missing, unreadable: Vec::new(), rows: Vec::new() };
    for (row, cells) in rows {
        let cell = |at: Option<usize>| at.and_then(|at| cells.get(at)).map(|c| c.trim().to_string());
        let split = match cell(own).filter(|s| !s.is_empty()) {
            None => split,
            Some(name) => match Split::named(&name) {
                Some(split) => split,
                None => {
                    table.unreadable.push((row, format!("split `{name}` is neither train nor test")));
                    continue;
                }
            },
        };
        table.rows.push(Row {
            row,
            split,
            case_id: cell(id).unwrap_or_default(),
            group: cell(group).filter(|g| !g.is_empty()),
            input: cell(input).unwrap_or_default(),
            labels: labels(&cell(output).unwrap_or_default()),
        });
    }
    table
}

fn labels(text: &str) -> Vec<String> {
    if text.trim().is_empty() { Vec::new() } else { text.split(',').map(|l| l.trim().to_string()).collect() }
}

fn xlsx(path: &Path, split: Split) -> Result<Vec<Table>> {
    let broken = |e: calamine::XlsxError| Error::input(format!("{}: not a readable .xlsx file: {e}", path.display()));
    let mut book: Xlsx<_> = open_workbook(path).map_err(broken)?;
    let names = book.sheet_names().to_vec();
    let mut chosen: Vec<(String, Split)> =
        names.iter().filter_map(|name| Split::named(name).map(|split| (name.clone(), split))).collect();
    if chosen.is_empty() {
        let [only] = names.as_slice() else {
            let names = names.join(", ");
            return Err(Error::input(format!("{}: no sheet named train or test among: {names}", path.display())));
        };
        chosen.push((only.clone(), split));
    }
    let mut tables = Vec::new();
    for (name, split) in chosen {
        let range = book.worksheet_range(&name).map_err(broken)?;
        let first = range.start().map_or(0, |(row, _)| row as usize) + 1;
        let mut rows =
            range.rows().enumerate().map(|(i, cells)| (first + i, cells.iter().map(spell).collect::<Vec<_>>()));
        let header = rows.next().map(|(_, cells)| cells).unwrap_or_default();
        tables.push(table(name, split, &header, rows.filter(|(_, cells)| cells.iter().any(|c| !c.trim().is_empty()))));
    }
    Ok(tables)
}

/// A whole number is written without decimals: ids typed as numbers stay ids.
fn spell(cell: &Data) -> String {
    match cell {
        Data::Float(x) if x.fract() == 0.0 && x.abs() < 1e15 => format!("{x:.0}"),
        Data::Empty => String::new(),
        other => other.to_string(),
    }
}

fn csv(path: &Path, split: Split) -> Result<Vec<Table>> {
    let text = std::fs::read(path).map_err(Error::io(path))?;
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text);
    let mut reader = ::csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text);
    let (mut header, mut rows, mut unreadable) = (None, Vec::new(), Vec::new());
    for (i, record) in reader.records().enumerate() {
        let cells = match record {
            Ok(record) => record.iter().map(str::to_string).collect::<Vec<_>>(),
            Err(e) => {
                unreadable.push((i + 1, format!("not readable as UTF-8 CSV: {e}")));
                continue;
            }
        };
        match &header {
            None => header = Some(cells),
            Some(header) if cells.len() > header.len() => {
                let (got, want) = (cells.len(), header.len());
                unreadable.push((i + 1, format!("{got} fields where the header has {want}: quote fields with commas")));
            }
            Some(_) => rows.push((i + 1, cells)),
        }
    }
    let mut table = table(sheet_name(path), split, &header.unwrap_or_default(), rows.into_iter());
    table.unreadable.extend(unreadable);
    Ok(vec![table])
}

fn jsonl(path: &Path, split: Split) -> Result<Vec<Table>> {
    let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let items = lines.map(|(i, line)| (i + 1, serde_json::from_str(line).map_err(|e| format!("not JSON: {e}"))));
    Ok(vec![objects(sheet_name(path), split, items)])
}

fn json(path: &Path, split: Split) -> Result<Vec<Table>> {
    let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
    let value: Value =
        serde_json::from_str(&text).map_err(|e| Error::input(format!("{}: not JSON: {e}", path.display())))?;
    let list = |sheet: String, split, items: Vec<Value>| {
        objects(sheet, split, items.into_iter().enumerate().map(|(i, item)| (i + 1, Ok(item))))
    };
    match value {
        Value::Array(items) => Ok(vec![list(sheet_name(path), split, items)]),
        Value::Object(map) => {
            let mut tables = Vec::new();
            for (name, value) in map {
                if let (Some(split), Value::Array(items)) = (Split::named(&name), value) {
                    tables.push(list(name, split, items));
                }
            }
            tables.sort_by_key(|t: &Table| Split::named(&t.sheet));
            if tables.is_empty() {
                return Err(Error::input(format!("{}: no list named train or test", path.display())));
            }
            Ok(tables)
        }
        _ => Err(Error::input(format!("{}: expected a list of objects", path.display()))),
    }
}

/// A table from JSON objects; a key that no object has is a missing column.
fn objects(sheet: String, split: Split, items: impl Iterator<Item = (usize, Result<Value, String>)>) -> Table {
    let header: Vec<String> = REQUIRED.into_iter().chain(["group", "split"]).map(str::to_string).collect();
    let (mut rows, mut lists, mut unreadable, mut seen) = (Vec::new(), Vec::new(), Vec::new(), [false; 5]);
    for (row, item) in items {
        let map = match item {
            Ok(Value::Object(map)) => map,
            Ok(_) => {
                unreadable.push((row, "not an object".to_string()));
                continue;
            }
            Err(why) => {
                unreadable.push((row, why));
                continue;
            }
        };
        let find = |name: &str| map.iter().find(|(key, _)| plain(key) == plain(name)).map(|(_, value)| value);
        header.iter().zip(&mut seen).for_each(|(name, seen)| *seen |= find(name).is_some());
        rows.push((row, header.iter().map(|name| find(name).map(text).unwrap_or_default()).collect::<Vec<_>>()));
        if let Some(Value::Array(list)) = find("output_disease") {
            lists.push((row, list.iter().map(|label| text(label).trim().to_string()).collect::<Vec<_>>()));
        }
    }
    let present: Vec<String> =
        header.iter().zip(seen).map(|(name, seen)| if seen { name.clone() } else { String::new() }).collect();
    let mut table = table(sheet, split, &present, rows.into_iter());
    // labels of a list may hold commas: take them as they are
    for (row, labels) in lists {
        if let Some(found) = table.rows.iter_mut().find(|r| r.row == row) {
            found.labels = labels;
        }
    }
    table.unreadable.extend(unreadable);
    table
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(s) => s.clone(),
        other => other.to_string(),
    }
}

//! Findings in JSON: a line an object, a list of objects, or an object with lists `train` and `test`. A key that stands twice in an object
//! is named, where JSON readers usually keep the last in silence, and so is a number that a reader of JSON does not keep to the last digit.
use super::read::{Cell, Cells, plain, sheet_name, table};
use super::{COLUMNS, Split, Table};
use crate::corpus::kind::Kind;
use crate::error::{Error, Result};
use crate::io;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use std::path::Path;

/// One object a line; rows are lines.
pub fn lines(path: &Path, split: Split) -> Result<Vec<Table>> {
    let text = text(path)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let one = |line: &str| match serde_json::from_str(line) {
        // the first line of a list or object over several lines
        Err(_) if matches!(line.trim(), "[" | "{") => {
            Err(format!("`{}` alone: one object a line is expected; name a file that is one list `.json`", line.trim()))
        }
        read => read.map_err(|e| format!("column {}: not JSON: {}", e.column(), cause(&e, line))),
    };
    let items = lines.map(|(i, line)| (i + 1, one(line)));
    Ok(vec![objects(sheet_name(path), split, items)])
}

/// The text of a file that is none of what people get in the place of a download.
fn text(path: &Path) -> Result<String> {
    let text = io::read_text(path)?;
    match io::stand_in_advice(text.as_bytes()) {
        Some(what) => Err(Error::input(format!("{}: this is {what}", path.display()))),
        None => Ok(text),
    }
}

/// What is wrong, without the place, and what to do where the cause is known.
fn cause(error: &serde_json::Error, text: &str) -> String {
    let told = error.to_string();
    let told = told.rsplit_once(" at line ").map_or(told.as_str(), |(what, _)| what).to_string();
    let line = text.lines().nth(error.line().saturating_sub(1)).unwrap_or("");
    let at = error.column().saturating_sub(1);
    let around = line.get(at.saturating_sub(8)..).unwrap_or("").chars().take(17).collect::<String>();
    if ["NaN", "Infinity"].iter().any(|word| around.contains(word)) {
        return format!(
            "{told}: `NaN` and `Infinity` are no JSON (Python writes them for missing values); write `null`, or the value"
        );
    }
    if told.starts_with("trailing characters") && text.starts_with('{') && text.trim().contains('\n') {
        return format!("{told}: a file of one object a line is to be named `.jsonl`");
    }
    told
}

/// A list, or lists by split; rows are places in a list, from 1.
pub fn open(path: &Path, split: Split) -> Result<Vec<Table>> {
    let text = text(path)?;
    if text.trim().is_empty() {
        return Err(Error::input(format!("{}: the file is empty", path.display())));
    }
    let node: Node = serde_json::from_str(&text).map_err(|e| {
        let (line, column, why) = (e.line(), e.column(), cause(&e, &text));
        Error::input(format!("{} line {line}, column {column}: not JSON: {why}", path.display()))
    })?;
    let list = |sheet: String, split, items: Vec<Node>| {
        objects(sheet, split, items.into_iter().enumerate().map(|(i, item)| (i + 1, Ok(item))))
    };
    let fields = match node {
        Node::List(items) => return Ok(vec![list(sheet_name(path), split, items)]),
        Node::Object(fields) => fields,
        Node::Leaf(_) => return Err(Error::input(format!("{}: expected a list of objects", path.display()))),
    };
    let (mut tables, mut left): (Vec<Table>, Vec<String>) = (Vec::new(), Vec::new());
    for (name, value) in fields {
        let Some(split) = Split::named(&name) else {
            left.push(format!("`{name}`"));
            continue;
        };
        let Node::List(items) = value else {
            return Err(Error::input(format!("{}: `{name}` is not a list of objects", path.display())));
        };
        if tables.iter().any(|t| Split::named(&t.sheet) == Some(split)) {
            return Err(Error::input(format!("{}: two lists are named `{}`: keep one", path.display(), split.name())));
        }
        tables.push(list(name, split, items));
    }
    tables.sort_by_key(|t: &Table| Split::named(&t.sheet));
    let Some(first) = tables.first_mut() else {
        return Err(Error::input(format!("{}: no list named train or test", path.display())));
    };
    if !left.is_empty() {
        first.notes.push(format!("keys that are not read: {}", left.join(", ")));
    }
    Ok(tables)
}

/// A table from JSON objects; a key that no object has is a missing column.
fn objects(sheet: String, split: Split, items: impl Iterator<Item = (usize, Result<Node, String>)>) -> Table {
    let (mut rows, mut faults, mut seen, mut header) = (Vec::new(), Vec::new(), [false; 5], Vec::<String>::new());
    for (row, item) in items {
        let fields = match item {
            Ok(Node::Object(fields)) => fields,
            Ok(_) => {
                faults.push((Kind::Unreadable, row, "not an object".to_string()));
                continue;
            }
            Err(why) => {
                faults.push((Kind::Unreadable, row, why));
                continue;
            }
        };
        let found = COLUMNS.map(|name| fields.iter().filter(|(key, _)| plain(key) == plain(name)).collect::<Vec<_>>());
        found.iter().zip(&mut seen).for_each(|(all, seen)| *seen |= !all.is_empty());
        if let Some((name, all)) = COLUMNS.into_iter().zip(&found).find(|(_, all)| all.len() > 1) {
            let why = format!("key `{name}` stands {} times: keep one", all.len());
            faults.push((Kind::RepeatedColumn, row, why));
            continue;
        }
        for (key, _) in &fields {
            if !COLUMNS.iter().any(|name| plain(name) == plain(key)) && !header.contains(key) {
                header.push(key.clone());
            }
        }
        let cells = found.iter().map(|all| all.first().map_or(Cell::Text(String::new()), |(_, value)| cell(value)));
        rows.push(Cells { row, cells: cells.collect() });
    }
    let known = COLUMNS.into_iter().zip(seen).map(|(name, seen)| if seen { name.into() } else { String::new() });
    let header: Vec<String> = known.chain(header).collect();
    let mut table = table(sheet, split, &header, rows);
    table.faults.extend(faults);
    table
}

fn cell(node: &Node) -> Cell {
    match node {
        Node::Leaf(Value::Null) => Cell::Text(String::new()),
        Node::Leaf(Value::String(text)) => Cell::Text(text.clone()),
        Node::Leaf(Value::Number(number)) if is_inexact(number) => Cell::Wrong(
            Kind::Value,
            "is a number of more digits than a reader of JSON keeps (15): put it in quotes".into(),
        ),
        Node::Leaf(Value::Number(number)) => Cell::Text(number.to_string()),
        Node::Leaf(other) => Cell::Wrong(Kind::Value, format!("is `{other}`, not text: put it in quotes")),
        Node::List(items) => Cell::List(items.iter().map(Node::value).collect()),
        Node::Object(_) => Cell::Wrong(Kind::Value, "is an object, not text".into()),
    }
}

/// Whether digits may have been lost: a number with a fraction or exponent, or beyond 64 bits, is kept as a float of 53 bits.
fn is_inexact(number: &serde_json::Number) -> bool {
    let float = number.is_f64().then(|| number.as_f64()).flatten();
    let digits = |x: f64| {
        let written = format!("{x:e}");
        written.split('e').next().unwrap_or("").chars().filter(char::is_ascii_digit).count()
    };
    float.is_some_and(|x| x.abs() >= 2f64.powi(53) || digits(x) > 15)
}

/// JSON with every key of an object, also one that comes again.
#[derive(Debug)]
enum Node {
    Object(Vec<(String, Node)>),
    List(Vec<Node>),
    Leaf(Value),
}

impl Node {
    fn value(&self) -> Value {
        match self {
            Self::Object(fields) => fields.iter().map(|(key, node)| (key.clone(), node.value())).collect(),
            Self::List(items) => items.iter().map(Node::value).collect(),
            Self::Leaf(value) => value.clone(),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Nodes)
    }
}

struct Nodes;

impl<'de> Visitor<'de> for Nodes {
    type Value = Node;

    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("JSON")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Node::Object(fields))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }
    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Leaf(text.into()))
    }
    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Leaf(value.into()))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Leaf(value.into()))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Leaf(value.into()))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Leaf(value.into()))
    }
    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Leaf(Value::Null))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(json: &str) -> Option<String> {
        match cell(&serde_json::from_str(json).unwrap()) {
            Cell::Text(text) => Some(text),
            _ => None,
        }
    }

    #[test]
    fn numbers_are_kept_to_the_last_digit_or_named() {
        for (json, text) in [("12", "12"), ("-3", "-3"), ("1.5", "1.5"), ("9007199254740993", "9007199254740993")] {
            assert_eq!(written(json).as_deref(), Some(text));
        }
        assert_eq!(written("18446744073709551615").as_deref(), Some("18446744073709551615"));
        for json in
            ["18446744073709551617", "123456789012345678901234", "-9223372036854775809", "1.2345678901234567", "1e300"]
        {
            assert_eq!(written(json), None, "{json}");
        }
    }
}

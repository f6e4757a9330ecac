//! Findings in JSON: a line an object, a list of objects, or an object with lists `train` and `test`. A key that stands twice in an object
//! is named, where JSON readers usually keep the last in silence.
use super::read::{Cell, Cells, plain, sheet_name, table};
use super::{COLUMNS, Split, Table};
use crate::corpus::check::Kind;
use crate::error::{Error, Result};
use crate::io;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use std::path::Path;

/// One object a line; rows are lines.
pub fn lines(path: &Path, split: Split) -> Result<Vec<Table>> {
    let text = io::read_text(path)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let items = lines.map(|(i, line)| (i + 1, serde_json::from_str(line).map_err(|e| format!("not JSON: {e}"))));
    Ok(vec![objects(sheet_name(path), split, items)])
}

/// A list, or lists by split; rows are places in a list, from 1.
pub fn open(path: &Path, split: Split) -> Result<Vec<Table>> {
    let text = io::read_text(path)?;
    let node: Node =
        serde_json::from_str(&text).map_err(|e| Error::input(format!("{}: not JSON: {e}", path.display())))?;
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
        Node::Leaf(Value::Number(number)) => Cell::Text(number.to_string()),
        Node::Leaf(other) => Cell::Wrong(Kind::Value, format!("is `{other}`, not text: put it in quotes")),
        Node::List(items) => Cell::List(items.iter().map(Node::value).collect()),
        Node::Object(_) => Cell::Wrong(Kind::Value, "is an object, not text".into()),
    }
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

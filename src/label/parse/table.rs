//! Tables of Markdown, of tabs and of commas: the column of labels by its head, without rows whose state says that they are not there.
use super::{Read, aside, heading, item, organ, state};

/// Reads a table; false where there is none, or it holds no label.
pub(super) fn read(text: &str, read: &mut Read) -> bool {
    if let Some(rows) = scored(text) {
        for (label, there) in rows {
            if there { read.add(&label) } else { read.nothing = true }
        }
        return read.is_any();
    }
    let piped = piped(text);
    let text = piped.as_deref().unwrap_or(text);
    let rows: Vec<&str> = text.lines().map(str::trim).filter(|line| line.matches('|').count() > 0).collect();
    let ruled = rows.iter().position(|row| is_rule(row)).filter(|at| *at > 0);
    match ruled {
        Some(at) => headed(&rows[at - 1..], read),
        None => rows.iter().filter(|row| row.matches('|').count() > 1).for_each(|row| read.all(&cells(row))),
    }
    read.is_any()
}

/// Rows of a label and a number or a state behind one separator (`cyst|0.9`, a tab, a comma), perhaps under a head: each label, and whether
/// it is there.
fn scored(text: &str) -> Option<Vec<(String, bool)>> {
    let rows: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let of = |separator: char| {
        let mut cells: Vec<(&str, &str)> = Vec::new();
        for row in &rows {
            cells.push(row.split_once(separator).filter(|(_, tail)| !tail.contains(separator))?);
        }
        let state = |tail: &str| {
            state::state(tail).filter(|_| separator != ',' || tail.trim().starts_with(|c: char| c.is_ascii_digit()))
        };
        let head = usize::from(cells.len() > 1 && state(cells[0].1).is_none());
        let body = &cells[head..];
        let known: Option<Vec<(String, bool)>> =
            body.iter().map(|(label, tail)| Some((item::tidy(label), state(tail)?))).collect();
        known.filter(|rows| rows.len() > 1)
    };
    ['\t', '|', ','].into_iter().find_map(of)
}

/// A table of tabs or commas under a head that names its columns ("Diagnosis, ICD") as one of Markdown.
fn piped(text: &str) -> Option<String> {
    let rows: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let separator =
        ['\t', ','].into_iter().find(|separator| rows.first().is_some_and(|row| row.contains(*separator)))?;
    let count = rows[0].matches(separator).count();
    let column = |name: &str| heading::heading(&format!("{name}:")).is_some() || aside::kind(name).is_some();
    let head =
        rows[0].split(separator).all(|name| column(name.trim()) || name.trim() == "#" || name.trim() == "Finding");
    let even = rows.len() > 1 && rows.iter().all(|row| row.matches(separator).count() == count);
    let row = |row: &&str| format!("|{}|", row.replace(separator, "|"));
    let mut lines: Vec<String> = rows.iter().map(row).collect();
    (head && even).then(|| {
        lines.insert(1, format!("|{}", "---|".repeat(count + 1)));
        lines.join("\n")
    })
}

/// `|---|:-:|`.
fn is_rule(row: &str) -> bool {
    row.contains('-') && row.contains('|') && row.chars().all(|c| "|-: ".contains(c))
}

fn cells(row: &str) -> Vec<String> {
    let row = row.strip_prefix('|').unwrap_or(row);
    row.strip_suffix('|').unwrap_or(row).split('|').map(item::tidy).collect()
}

/// The head, a rule, and rows; a last row that ends unlike the rule was cut and is left out.
fn headed(rows: &[&str], read: &mut Read) {
    let head: Vec<String> = cells(rows[0]).iter().map(|cell| cell.to_lowercase()).collect();
    let closed = rows[1].ends_with('|');
    let body: Vec<Vec<String>> =
        rows[2..].iter().filter(|row| row.ends_with('|') == closed).map(|row| cells(row)).collect();
    let column = |names: &[&str]| names.iter().find_map(|name| head.iter().position(|cell| cell.contains(name)));
    let named = column(&["diagnos", "label", "disease", "condition", "finding", "name", "impression"]);
    let letters = |at: &usize| body.iter().any(|row| row.get(*at).is_some_and(|c| c.chars().any(char::is_alphabetic)));
    let Some(labels) = named.or_else(|| (0..head.len()).find(letters)) else { return };
    let states = column(&["present", "status", "yes", "positive", "detected"]).filter(|at| *at != labels);
    for row in &body {
        let gone = states.and_then(|at| state::state(row.get(at)?)) == Some(false);
        let organ = row.iter().any(|cell| organ::is_organ(cell));
        match row.get(labels) {
            Some(_) if gone => read.nothing = true,
            Some(cell) if organ && organ::is_normal(cell) => read.nothing = true,
            Some(cell) => read.add(cell),
            None => (),
        }
    }
}

//! How the labels of a case stand in a cell, and how they are read from it. This is the one reader of gold answers of label sets, whatever
//! the file: CSV, Excel, JSON. [`crate::task::labels_of_cell`] is its name at the task, whose check (`dxlab data check`) holds it against
//! the reader of model answers.
//!
//! - Separators are the comma, the semicolon and the end of a line, one kind a cell; `，`, `、` and `；` count as comma and semicolon. The end
//!   of a line may follow a comma or a semicolon. Between brackets that close — ( ) [ ] { } （ ） — nothing separates.
//! - A cell that is a JSON list of strings is that list.
//! - A word of [`NOTHING`] alone says that nothing is to be found: no label, which is not an empty cell.
//!
//! What can be read in two ways is a [`Fault`], never a guess: two kinds of separators, a bracket without its other half, a list that is not
//! JSON, a word for nothing beside labels, what stands for a missing value ([`is_missing`]: was nothing found, or nothing written down?), a
//! truth value in the place of a label.
use crate::corpus::characters::{blank, invisible};
use crate::corpus::kind::Kind;
use serde_json::Value;
use std::borrow::Cow;

/// Words that say "no label", in any case. The reader of answers takes each for an answer without labels, too.
pub const NOTHING: [&str; 5] = ["none", "n/a", "nil", "no disease", "no diseases"];

/// What pandas, R and database exports write where there is no value, in lower case (`pandas._libs.parsers.STR_NA_VALUES`, `NaT`, R's
/// `NA`), without the words of [`NOTHING`].
const MISSING: [&str; 15] = [
    "nan",
    "-nan",
    "<na>",
    "na",
    "#na",
    "null",
    "(null)",
    "nat",
    "undefined",
    "\\n",
    "#n/a n/a",
    "1.#ind",
    "-1.#ind",
    "1.#qnan",
    "-1.#qnan",
];

/// True for what stands where a value is missing: `NaN`, `NULL`, `NA`, or nothing but dashes, points and question marks. It is no label,
/// and it does not say that there is none, as `none` does.
pub fn is_missing(text: &str) -> bool {
    let text = text.trim().to_lowercase();
    let mark = |c: char| "-–—−._?/*".contains(c) || c.is_whitespace();
    !text.is_empty() && (text.chars().all(mark) || MISSING.contains(&text.as_str()))
}

/// True for `TRUE` and `FALSE`, which a spreadsheet writes for a truth value.
fn is_truth_value(text: &str) -> bool {
    ["true", "false"].contains(&text.trim().to_lowercase().as_str())
}

/// Why a cell cannot be read in one way only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub kind: Kind,
    pub why: String,
}

impl Fault {
    fn new(kind: Kind, why: impl Into<String>) -> Self {
        Self { kind, why: why.into() }
    }
}

/// What separates the labels of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Separator {
    Comma,
    Semicolon,
    Line,
}

impl Separator {
    fn of(c: char) -> Option<Self> {
        match c {
            ',' | '，' | '、' => Some(Self::Comma),
            ';' | '；' => Some(Self::Semicolon),
            '\n' | '\r' => Some(Self::Line),
            _ => None,
        }
    }
    pub fn name(self) -> &'static str {
        match self {
            Self::Comma => "a comma",
            Self::Semicolon => "a semicolon",
            Self::Line => "the end of a line",
        }
    }
}

/// What a cell says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gold {
    /// Between the separators, trimmed; empty ones kept. None where the cell says that there is nothing.
    pub labels: Vec<String>,
    /// The cell says in so many words that there is no label.
    pub nothing: bool,
    pub separator: Option<Separator>,
    pub faults: Vec<Fault>,
}

/// Labels of a cell of text.
pub fn read(cell: &str) -> Gold {
    let cell = cell.trim();
    if cell.is_empty() {
        return Gold::default();
    }
    if cell.starts_with('[') {
        if let Ok(labels) = serde_json::from_str::<Vec<String>>(cell) {
            return listed(labels, None, Vec::new());
        }
        if cell.ends_with(']') && cell.contains(['\'', '"']) {
            let why =
                "a list that is not JSON: write it as [\"a\", \"b\"], or the labels alone with commas between them";
            return listed(vec![cell.into()], None, vec![Fault::new(Kind::Separator, why)]);
        }
    }
    let (mut faults, inside) = (Vec::new(), closed_brackets(cell));
    let (pieces, found) = pieces(cell, inside.as_deref().unwrap_or(&[]));
    if let (Err(bracket), false) = (&inside, found.is_empty()) {
        let why = format!("`{bracket}` lacks its other half, so it cannot be told what separates labels: close it");
        faults.push(Fault::new(Kind::Separator, why));
    }
    if let Some(number) = decimal_comma(cell, inside.as_deref().unwrap_or(&[])) {
        let why = format!(
            "`{number}` holds a comma between digits: is it one number? Write it with a point, put it in brackets, or write a JSON list"
        );
        faults.push(Fault::new(Kind::Separator, why));
    }
    let kinds = kinds(&found);
    if let [one, other, ..] = kinds.as_slice() {
        let why = format!(
            "{} and {} both stand between labels, or within one: use one of them; put a part that holds it in brackets",
            one.name(),
            other.name()
        );
        faults.push(Fault::new(Kind::Separator, why));
    }
    listed(pieces, kinds.first().copied(), faults)
}

/// Labels of a JSON list, each as it stands.
pub fn read_list(items: &[Value]) -> Gold {
    let mut faults = Vec::new();
    let mut label = |(i, item): (usize, &Value)| match item {
        Value::String(text) => text.trim().to_string(),
        Value::Null => String::new(),
        other => {
            let what = format!("label {} of {} is not text but `{other}`: put it in quotes", i + 1, items.len());
            faults.push(Fault::new(Kind::Value, what));
            other.to_string()
        }
    };
    let labels = items.iter().enumerate().map(&mut label).collect();
    listed(labels, None, faults)
}

/// The text of a cell from which [`read`] gives these labels back: joined by `, ` where that can be, else a JSON list.
pub fn written(labels: &[String]) -> String {
    if labels.is_empty() {
        return NOTHING[0].into();
    }
    let plain = labels.join(", ");
    let back = read(&plain);
    if back.labels == labels && back.faults.is_empty() { plain } else { json_list(labels) }
}

/// `["a", "b"]`
pub fn json_list<S: AsRef<str>>(labels: &[S]) -> String {
    let quoted: Vec<String> = labels.iter().map(|label| Value::from(label.as_ref()).to_string()).collect();
    format!("[{}]", quoted.join(", "))
}

/// True for a word that says "no label".
pub fn is_nothing(label: &str) -> bool {
    NOTHING.contains(&label.trim().to_lowercase().as_str())
}

fn listed(labels: Vec<String>, separator: Option<Separator>, mut faults: Vec<Fault>) -> Gold {
    let (nothing, rest): (Vec<String>, Vec<String>) = labels.into_iter().partition(|label| is_nothing(label));
    if !nothing.is_empty() && rest.iter().any(|label| !label.is_empty()) {
        let why = format!("`{}` says that there is no label, and labels stand beside it: keep one", nothing[0]);
        faults.push(Fault::new(Kind::Nothing, why));
    }
    if let Some(label) = rest.iter().find(|label| is_missing(label)) {
        let why =
            format!("`{label}` stands for a missing value: write the label, or `none` where nothing is to be found");
        faults.push(Fault::new(Kind::Missing, why));
    }
    if let Some(label) = rest.iter().find(|label| is_truth_value(label)) {
        faults.push(Fault::new(
            Kind::Value,
            format!("`{label}` is a truth value, not a label: write the label in words"),
        ));
    }
    Gold { nothing: !nothing.is_empty() && rest.is_empty(), labels: rest, separator, faults }
}

/// A comma with a digit on either side, outside of brackets: in many languages a number, `4,8 cm`.
fn decimal_comma<'a>(cell: &'a str, inside: &[(usize, usize)]) -> Option<&'a str> {
    let digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_digit);
    let bytes = cell.as_bytes();
    let outside = |at: usize| !inside.iter().any(|(open, close)| (*open..*close).contains(&at));
    let between = |at: usize| at > 0 && digit(bytes.get(at - 1)) && digit(bytes.get(at + 1));
    let at = cell.match_indices(',').map(|(at, _)| at).find(|&at| between(at) && outside(at))?;
    let start = cell[..at]
        .rfind(|c: char| !c.is_ascii_digit())
        .map_or(0, |i| i + cell[i..].chars().next().map_or(1, char::len_utf8));
    let end = cell[at + 1..].find(|c: char| !c.is_ascii_digit()).map_or(cell.len(), |i| at + 1 + i);
    Some(&cell[start..end])
}

/// The kinds of separators that a reader must choose between: the end of a line after another separator is none of its own.
fn kinds(found: &[(Separator, bool)]) -> Vec<Separator> {
    let mut kinds: Vec<Separator> = found.iter().filter(|(_, follows)| !follows).map(|(kind, _)| *kind).collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

/// The pieces between separators outside `inside`, and each separator, with whether it is the end of a line right after another.
fn pieces(cell: &str, inside: &[(usize, usize)]) -> (Vec<String>, Vec<(Separator, bool)>) {
    let (mut pieces, mut found, mut start) = (Vec::new(), Vec::new(), 0);
    for (at, c) in cell.char_indices() {
        let Some(kind) = Separator::of(c) else { continue };
        if inside.iter().any(|(open, close)| (*open..*close).contains(&at)) {
            continue;
        }
        let piece = cell[start..at].trim();
        let follows = kind == Separator::Line && piece.is_empty() && !found.is_empty();
        if !follows {
            pieces.push(piece.to_string());
        }
        found.push((kind, follows));
        start = at + c.len_utf8();
    }
    pieces.push(cell[start..].trim().to_string());
    (pieces, found)
}

/// Byte ranges of outermost pairs of brackets; a bracket without its other half is an error.
fn closed_brackets(cell: &str) -> Result<Vec<(usize, usize)>, char> {
    let (mut open, mut pairs): (Vec<(char, usize)>, Vec<(usize, usize)>) = (Vec::new(), Vec::new());
    for (at, c) in cell.char_indices() {
        let wanted = match c {
            '(' | '[' | '{' | '（' => {
                open.push((c, at));
                continue;
            }
            ')' => '(',
            ']' => '[',
            '}' => '{',
            '）' => '（',
            _ => continue,
        };
        match open.pop() {
            Some((bracket, start)) if bracket == wanted => {
                if open.is_empty() {
                    pairs.push((start, at));
                }
            }
            _ => return Err(c),
        }
    }
    open.first().map_or(Ok(pairs), |(bracket, _)| Err(*bracket))
}

/// Characters of a label that an answer will hardly hold in the same form, or of an id that would make two of one; by code and name, each
/// once.
pub fn odd_characters(label: &str) -> Vec<Cow<'static, str>> {
    let mut found: Vec<Cow<'static, str>> = Vec::new();
    for c in label.chars() {
        if let Some(what) = odd(c) {
            let told = Cow::Owned(format!("U+{:04X} ({what})", u32::from(c)));
            if !found.contains(&told) {
                found.push(told);
            }
        }
    }
    if let Some(torn) = mojibake(label) {
        found.push(format!("`{torn}` (UTF-8 that was read in another encoding)").into());
    }
    if label.contains("_x000D_") {
        found.push("_x000D_ (a line end that Excel wrote as text)".into());
    }
    found
}

/// What a letter of UTF-8 becomes that was read as Latin-1 or Windows-1252: `Ã¼` for ü, `â€™` for an apostrophe.
fn mojibake(text: &str) -> Option<String> {
    let chars: Vec<char> = text.chars().collect();
    let low = |c: Option<&char>| {
        c.is_some_and(|c| ('\u{80}'..='\u{bf}').contains(c) || "€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ".contains(*c))
    };
    (0..chars.len()).find_map(|i| {
        let length = match chars[i] {
            'Ã' | 'Â' if low(chars.get(i + 1)) => 2,
            'â' if chars.get(i + 1) == Some(&'€') && chars.len() > i + 2 => 3,
            _ => return None,
        };
        Some(chars[i..i + length].iter().collect())
    })
}

fn odd(c: char) -> Option<&'static str> {
    Some(match c {
        c if invisible(c) => "an invisible character",
        c if blank(c) => "a character that looks like a space",
        '\u{2028}' | '\u{2029}' => "an unusual line end",
        '\u{fffd}' => "the mark of a character that was lost",
        '\u{e000}'..='\u{f8ff}' => "a private character without a meaning",
        '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => "an unusual space",
        '\u{2010}'..='\u{2012}' | '\u{2212}' | '\u{fe58}' | '\u{fe63}' => "an unusual hyphen",
        '\u{b4}' | '`' => "an accent in the place of an apostrophe",
        '\u{300}'..='\u{36f}' => "an accent apart from its letter",
        '\u{ff01}'..='\u{ff5e}' => "a full-width form",
        '\u{fb00}'..='\u{fb06}' => "letters joined in one character",
        c if c.is_control() => "a control character",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(cell: &str) -> Vec<String> {
        let gold = read(cell);
        assert!(gold.faults.is_empty(), "{cell}: {:?}", gold.faults);
        gold.labels
    }

    fn kinds_of(cell: &str) -> Vec<Kind> {
        read(cell).faults.into_iter().map(|fault| fault.kind).collect()
    }

    #[test]
    fn one_kind_of_separator_splits_outside_brackets() {
        for cell in ["cyst, stone", "cyst; stone", "cyst\nstone", "cyst\r\nstone", "cyst,\nstone", "cyst ;\r\n stone"] {
            assert_eq!(labels(cell), ["cyst", "stone"], "{cell}");
        }
        assert_eq!(labels("cyst，stone、hernia"), ["cyst", "stone", "hernia"]);
        assert_eq!(labels("hernia (left, small), cyst [a; b]"), ["hernia (left, small)", "cyst [a; b]"]);
        assert_eq!(labels("[\"a, b\", \"c\"]"), ["a, b", "c"]);
        assert_eq!(labels("cyst, , stone,"), ["cyst", "", "stone", ""], "empty ones are for the check to name");
        assert_eq!(labels("renal cyst / gallstone"), ["renal cyst / gallstone"]);
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_named() {
        for cell in [
            "cyst, left; stone",
            "cyst, left\nstone",
            "cyst; a\nb",
            "hernia (left, cyst",
            "hernia), cyst",
            "['a', 'b']",
            "Aortenaneurysma 4,8 cm",
            "cyst, stone 12,5",
        ] {
            assert_eq!(kinds_of(cell), [Kind::Separator], "{cell}");
        }
        assert_eq!(kinds_of("None, cyst"), [Kind::Nothing]);
        assert!(kinds_of("hernia (left").is_empty(), "nothing to separate");
    }

    #[test]
    fn a_word_for_nothing_is_no_label_and_not_an_empty_cell() {
        for cell in ["None", "n/a", "[\"none\"]", " NIL "] {
            assert_eq!(read(cell), Gold { nothing: true, ..Gold::default() }, "{cell}");
        }
        assert_eq!(read(" "), Gold::default());
        assert_eq!(labels("No acute abnormality"), ["No acute abnormality"]);
    }

    #[test]
    fn what_stands_for_a_missing_value_is_neither_a_label_nor_none() {
        for cell in
            ["nan", "NaN", "<NA>", "NA", "null", "NULL", "-", "--", "—", "?", ".", "\\N", "cyst, nan", "[\"-\"]"]
        {
            assert_eq!(kinds_of(cell), [Kind::Missing], "{cell}");
        }
        for cell in ["TRUE", "False"] {
            assert_eq!(kinds_of(cell), [Kind::Value], "{cell}");
        }
        assert_eq!(labels("nanism, true hernia, N/A of kidney").len(), 3);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let owned = |labels: &[&str]| labels.iter().map(|l| l.to_string()).collect::<Vec<_>>();
        for list in [
            &["a", "b"][..],
            &["a (b, c)", "d"],
            &["a, b"],
            &["a; b", "c"],
            &["a (b", "c"],
            &["[a]"],
            &["x \"y\"", "z\nw"],
            &["['a']"],
        ] {
            assert_eq!(labels(&written(&owned(list))), owned(list), "{}", written(&owned(list)));
        }
        assert_eq!((written(&[]).as_str(), written(&owned(&["a", "b"])).as_str()), ("none", "a, b"));
    }

    #[test]
    fn characters_that_do_not_show_are_named_by_code() {
        assert_eq!(odd_characters("kidney\u{2011}stone"), ["U+2011 (an unusual hyphen)"]);
        assert_eq!(odd_characters("e\u{301}, \u{200b}\u{200b}").len(), 2);
        assert!(odd_characters("œdème – 5 µm, Guillain-Barré, Ântre").is_empty());
        for torn in ["Ã¼ber", "Crohnâ€™s disease", "5 Âµm"] {
            assert_eq!(odd_characters(torn).len(), 1, "{torn}");
        }
        for c in "\u{ad}\u{34f}\u{115f}\u{180e}\u{2028}\u{202e}\u{2062}\u{2069}\u{2800}\u{3164}\u{fe0f}\u{feff}\u{ffa0}"
            .chars()
        {
            assert_eq!(odd_characters(&format!("renal{c}cyst")).len(), 1, "U+{:04X}", u32::from(c));
        }
    }
}

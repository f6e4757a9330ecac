//! Labels from a model's free answer. What is taken off, in order: marks without a shape, thoughts, special tokens, all but the answer of a
//! box, a tag or a code fence ([`strip`]); then the first of JSON, a table, and lines ([`json`], [`table`], [`list`]) gives the items,
//! and of each item what is no label is taken off: a bullet, a code, a citation, an explanation, a state ([`item`], [`state`]). Lines of a list
//! are read by their headings ([`heading`] of labels, [`aside`] of what is not there and of other things).
//!
//! Nothing is judged here: an invented label stays a label. Prose is no list: a sentence with a verb gives no label, but for what an answer
//! of prose alone concludes with ("is consistent with …"): labels known to training, and the items beside them ([`lead`]). A denied item
//! ("no ascites", "ascites: absent") is read, as no label. What holds no label and denies none is not parsed and counts as an empty
//! prediction. How often the reader is right is measured on answers with a truth made by hand ([`measured`]).
mod aside;
mod heading;
mod item;
mod json;
mod lead;
mod lines;
mod list;
pub mod measured;
mod nothing;
mod organ;
mod prose;
mod reader;
mod state;
mod strip;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

/// The longest real label is a sentence of 14 words (`spec` §1.4); more than this is an explanation.
pub const MAX_CHARS: usize = 160;
pub const MAX_WORDS: usize = 20;
/// A model that never stops repeats itself; later labels of such an answer are not read.
pub const MAX_LABELS: usize = 64;
/// Bytes of an answer without its reasoning: what is longer is no list of labels (a model that repeats itself), and not read. With its
/// reasoning an answer may have sixteen times as many.
const LONGEST: usize = 8 << 10;

#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// In order of appearance, distinct up to case.
    pub labels: Vec<String>,
    /// False when no label could be read; "none" is read, as no label.
    pub parsed: bool,
}

/// Whether a label is one of the task's training labels, under any of its names.
type Known<'a> = &'a dyn Fn(&str) -> bool;

/// Labels of an answer, without a list of known ones. "a and b" is split only where a list ends that way ("…, and b").
pub fn parse(answer: &str) -> Parsed {
    parse_known(answer, |_| false)
}

/// As [`parse`], but what is `known` is never taken apart, "a and b" is split where both are known and the whole is not, and
/// what could be a label or a remark is a label where it is known.
pub fn parse_known(answer: &str, known: impl Fn(&str) -> bool) -> Parsed {
    let known: Known = &known;
    let mut read = Read::new(known);
    if answer.len() > LONGEST * 16 {
        return read.parsed();
    }
    let (text, struck) = strip::unstruck(&strip::answer(answer));
    if text.len() > LONGEST {
        return read.parsed();
    }
    if item::is_known(&text, known) {
        read.add(&text);
        return read.parsed();
    }
    for text in strip::fenced(&text).into_iter().chain([strip::unfenced(&text)]) {
        match json::items(&text, known) {
            Some(items) => read.all(&items),
            None if !table::read(&text, &mut read) => list::read(&text, &mut read),
            None => (),
        }
        if read.is_any() {
            break;
        }
    }
    read.nothing |= struck;
    read.parsed()
}

/// What has been read so far.
struct Read<'a> {
    known: Known<'a>,
    labels: Vec<String>,
    seen: BTreeSet<String>,
    /// Something said that there is no label, or that one is not there.
    nothing: bool,
    /// Labels came from a list; from sentences.
    listed: bool,
    told: bool,
}

impl<'a> Read<'a> {
    fn new(known: Known<'a>) -> Self {
        Self { known, labels: Vec::new(), seen: BTreeSet::new(), nothing: false, listed: false, told: false }
    }

    fn is_any(&self) -> bool {
        self.nothing || !self.labels.is_empty()
    }

    /// An item: one label as a rule, several known ones joined by "and", or none.
    fn add(&mut self, piece: &str) {
        for part in item::parts(piece, self.known) {
            match item::read(&part, self.known) {
                item::Item::Label(label) => self.push(label),
                item::Item::Nothing => self.nothing = true,
                item::Item::Syntax => (),
            }
        }
    }

    /// Labels that sentences lead to.
    fn tell(&mut self, labels: &[String]) {
        let listed = self.listed;
        self.all(labels);
        (self.listed, self.told) = (listed, true);
    }

    fn push(&mut self, label: String) {
        self.listed = true;
        let torn = |earlier: &String| {
            let rest = earlier.to_lowercase().strip_prefix(&label.to_lowercase()).map(String::from);
            rest.is_some_and(|rest| rest.starts_with(char::is_alphanumeric))
        };
        // "renal cyst, renal cy": the answer was cut while it repeated itself
        if !item::is_known(&label, self.known) && self.labels.iter().any(torn) {
            return;
        }
        if self.labels.len() < MAX_LABELS && self.seen.insert(label.to_lowercase()) {
            self.labels.push(label);
        }
    }

    fn all(&mut self, items: &[String]) {
        self.nothing |= items.is_empty();
        items.iter().for_each(|item| self.add(item));
    }

    fn parsed(self) -> Parsed {
        Parsed { parsed: self.is_any(), labels: self.labels }
    }
}

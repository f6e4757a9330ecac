//! Sentences by Punkt (Kiss and Strunk, Computational Linguistics 2006), as NLTK 3.10 splits them. For token F1 the only effect is which periods are
//! tokens of their own: the last of a sentence is, the one of `Dr.` is not.
//!
//! The trained English parameters are NLTK's data and not carried here. `dxlab models fetch punkt` installs them, and `DXLAB_PUNKT` or `--punkt` names
//! their folder, `punkt_tab/english`; otherwise [`Punkt::simple`] applies the same rules with a list of abbreviations of this project, and without what only training knows (collocations, words that
//! often begin sentences, how words are spelt in and at the beginning of sentences). Scores say which was used.
use super::tokens::python_space;
use crate::error::{Error, Result};
use crate::io;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Words with a period that does not end a sentence: titles, units of time, Latin, addresses and clinical shorthand.
const ABBREVIATIONS: [&str; 56] = [
    "dr", "drs", "mr", "mrs", "ms", "prof", "st", "jr", "sr", "rev", "hon", "esq", "gen", "col", "sgt", "capt", "lt",
    "maj", "vs", "e.g", "i.e", "etc", "al", "cf", "approx", "dept", "est", "inc", "co", "corp", "ltd", "vol", "pp",
    "jan", "feb", "mar", "apr", "jun", "jul", "aug", "sep", "sept", "oct", "nov", "dec", "tues", "wed", "thurs", "fri",
    "u.s", "a.m", "p.m", "m.d", "ph.d", "r.n", "ave",
];

/// Bits of the orthographic context: upper case at the beginning of a sentence, inside, unknown; then lower case.
const BEGIN_UPPER: u32 = 1 << 1;
const INSIDE_UPPER: u32 = 1 << 2;
const UNKNOWN_UPPER: u32 = 1 << 3;
const BEGIN_LOWER: u32 = 1 << 4;
const INSIDE_LOWER: u32 = 1 << 5;
const UNKNOWN_LOWER: u32 = 1 << 6;
const UPPER: u32 = BEGIN_UPPER | INSIDE_UPPER | UNKNOWN_UPPER;
const LOWER: u32 = BEGIN_LOWER | INSIDE_LOWER | UNKNOWN_LOWER;

/// A sentence splitter.
#[derive(Clone, Debug)]
pub struct Punkt {
    name: String,
    abbreviations: BTreeSet<String>,
    collocations: BTreeSet<(String, String)>,
    starters: BTreeSet<String>,
    context: BTreeMap<String, u32>,
}

/// A word with what is known about it.
struct Token {
    text: Vec<char>,
    kind: String,
    ends: bool,
    abbreviation: bool,
    ellipsis: bool,
}

impl Punkt {
    /// The rules with this project's abbreviations.
    pub fn simple() -> Self {
        Self {
            name: format!("simple: Punkt's rules with {} abbreviations of dxlab", ABBREVIATIONS.len()),
            abbreviations: ABBREVIATIONS.iter().map(|one| one.to_string()).collect(),
            collocations: BTreeSet::new(),
            starters: BTreeSet::new(),
            context: BTreeMap::new(),
        }
    }

    /// Trained parameters: NLTK's folder `punkt_tab/english` with abbrev_types.txt, collocations.tab, sent_starters.txt, ortho_context.tab.
    pub fn open(folder: &Path) -> Result<Self> {
        if folder.extension().is_some_and(|ending| ending == "pickle") {
            return Err(Error::input(format!(
                "{}: a pickle runs code when it is read: give the folder punkt_tab/english (nltk.download('punkt_tab'))",
                folder.display()
            )));
        }
        if !folder.is_dir() {
            return Err(Error::input(format!(
                "{}: no such folder: `dxlab models fetch punkt` installs NLTK's English parameters into .tools/knowledge/punkt_tab/english",
                folder.display()
            )));
        }
        let read = |name: &str| io::read_text(&folder.join(name));
        let lines = |text: String| text.split('\n').filter(|line| !line.is_empty()).map(str::to_string).collect();
        let abbreviations: BTreeSet<String> = lines(read("abbrev_types.txt")?);
        let starters = lines(read("sent_starters.txt")?);
        let collocations = pairs(&read("collocations.tab")?, &folder.join("collocations.tab"))?;
        let context = pairs(&read("ortho_context.tab")?, &folder.join("ortho_context.tab"))?.into_iter();
        let context = context.map(|(row, word, bits)| {
            let wrong = || {
                let path = folder.join("ortho_context.tab");
                Error::input(format!("{} row {row}: `{bits}` is no whole number", path.display()))
            };
            bits.trim().parse().map(|bits| (word, bits)).map_err(|_| wrong())
        });
        let context = context.collect::<Result<BTreeMap<String, u32>>>()?;
        let (words, known) = (context.len(), abbreviations.len());
        let digest = io::sha256(&folder.join("ortho_context.tab"))?;
        let name = format!("punkt: {known} abbreviations, {words} orthographic contexts ({})", &digest[..12]);
        let collocations = collocations.into_iter().map(|(_, a, b)| (a, b)).collect();
        Ok(Self { name, abbreviations, collocations, starters, context })
    }

    /// The parameters in the folder that `DXLAB_PUNKT` names, else [`Punkt::simple`].
    pub fn from_env() -> Result<Self> {
        match std::env::var_os("DXLAB_PUNKT").filter(|folder| !folder.is_empty()) {
            Some(folder) => Self::open(Path::new(&folder)),
            None => Ok(Self::simple()),
        }
    }

    /// Which splitter this is, for files of scores.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `[start, end)` of the sentences of a text, in code points, without the white space between them.
    pub fn sentences(&self, text: &[char]) -> Vec<(usize, usize)> {
        let (mut slices, mut from) = (Vec::new(), 0);
        for end in candidates(text) {
            if self.breaks(&end.context) {
                slices.push((from, end.after));
                from = end.next.unwrap_or(end.after);
            }
        }
        let last = text.iter().rposition(|c| !python_space(*c)).map_or(0, |at| at + 1);
        slices.push((from, last));
        realigned(text, &slices)
    }

    /// Whether a sentence ends within these words, before the last of them.
    fn breaks(&self, words: &[char]) -> bool {
        let lines = words.split(|c| *c == '\n').filter(|line| !line.iter().all(|c| python_space(*c)));
        let mut tokens: Vec<Token> = lines.flat_map(word_tokens).map(|text| self.token(text)).collect();
        for i in 1..tokens.len() {
            let (before, after) = tokens.split_at_mut(i);
            self.second_pass(&mut before[i - 1], &after[0]);
        }
        tokens.split_last().is_some_and(|(_, rest)| rest.iter().any(|token| token.ends))
    }

    /// The first pass: by the word alone.
    fn token(&self, text: Vec<char>) -> Token {
        let (mut ends, mut abbreviation, mut ellipsis) = (false, false, false);
        let dotted = text.last() == Some(&'.');
        if matches!(text.as_slice(), ['.' | '?' | '!']) {
            ends = true;
        } else if text.len() >= 2 && text.iter().all(|c| *c == '.') {
            ellipsis = true;
        } else if dotted && !text.ends_with(&['.', '.']) {
            let word = lower(&text[..text.len() - 1]);
            let known = |word: &str| self.abbreviations.contains(word);
            abbreviation = known(&word) || word.rsplit('-').next().is_some_and(known);
            ends = !abbreviation;
        }
        let kind = if is_number(&text) { "##number##".to_string() } else { lower(&text) };
        Token { text, kind, ends, abbreviation, ellipsis }
    }

    /// The second pass: by the word that follows.
    fn second_pass(&self, token: &mut Token, next: &Token) {
        if token.text.last() != Some(&'.') {
            return;
        }
        let kind = token.without_period().to_string();
        let next_kind = next.sentence_kind().to_string();
        let initial = token.is_initial();
        if self.collocations.contains(&(kind.clone(), next_kind.clone())) {
            (token.ends, token.abbreviation) = (false, true);
            return;
        }
        let starts = self.starts_sentence(next);
        if (token.abbreviation || token.ellipsis) && !initial {
            let starter = next.first_upper() && self.starters.contains(&next_kind);
            if starts == Some(true) || starter {
                token.ends = true;
                return;
            }
        }
        if initial || kind == "##number##" {
            let never_lower = self.bits(&next_kind) & LOWER == 0;
            let special = starts.is_none() && initial && next.first_upper() && never_lower;
            if starts == Some(false) || special {
                (token.ends, token.abbreviation) = (false, true);
            }
        }
    }

    /// What its spelling in training says: does this word begin a sentence? None where that is open.
    fn starts_sentence(&self, token: &Token) -> Option<bool> {
        if matches!(token.text.as_slice(), [';' | ':' | ',' | '.' | '!' | '?']) {
            return Some(false);
        }
        let bits = self.bits(token.sentence_kind());
        if token.first_upper() && bits & LOWER != 0 && bits & INSIDE_UPPER == 0 {
            return Some(true);
        }
        if token.first_lower() && (bits & UPPER != 0 || bits & BEGIN_LOWER == 0) {
            return Some(false);
        }
        None
    }

    fn bits(&self, kind: &str) -> u32 {
        self.context.get(kind).copied().unwrap_or(0)
    }
}

/// (row, left, right) of a table of two columns.
fn pairs(text: &str, path: &Path) -> Result<Vec<(usize, String, String)>> {
    let rows = text.split('\n').enumerate().filter(|(_, line)| !line.is_empty());
    rows.map(|(i, line)| {
        let wrong =
            || Error::input(format!("{} row {}: expected two columns with a tab between", path.display(), i + 1));
        line.split_once('\t').map(|(a, b)| (i + 1, a.to_string(), b.to_string())).ok_or_else(wrong)
    })
    .collect()
}

impl Token {
    fn without_period(&self) -> &str {
        match self.kind.strip_suffix('.') {
            Some(rest) if !rest.is_empty() => rest,
            _ => &self.kind,
        }
    }

    /// Its kind without a period that ends a sentence.
    fn sentence_kind(&self) -> &str {
        if self.ends { self.without_period() } else { &self.kind }
    }

    fn first_upper(&self) -> bool {
        self.text.first().is_some_and(|c| c.is_uppercase())
    }

    fn first_lower(&self) -> bool {
        self.text.first().is_some_and(|c| c.is_lowercase())
    }

    /// One letter and a period.
    fn is_initial(&self) -> bool {
        matches!(self.text.as_slice(), [letter, '.'] if is_letter(*letter))
    }
}

fn lower(text: &[char]) -> String {
    text.iter().collect::<String>().to_lowercase()
}

/// `[^\W\d]`
fn is_letter(c: char) -> bool {
    c == '_' || super::official::alphanumeric(c) && !is_digit(c)
}

/// `\d`
fn is_digit(c: char) -> bool {
    c.is_ascii_digit() || (!c.is_ascii() && is_decimal(c))
}

/// Decimal digits of other scripts stand in runs of ten from 0 to 9; letters and signs of numbers (`½`, `Ⅳ`) are none.
fn is_decimal(c: char) -> bool {
    static DIGIT: std::sync::LazyLock<Option<regex::Regex>> =
        std::sync::LazyLock::new(|| regex::Regex::new(r"\A\d\z").ok());
    DIGIT.as_ref().is_some_and(|digit| digit.is_match(c.encode_utf8(&mut [0; 4])))
}

/// `^-?[.,]?\d[\d,.-]*\.?$`
fn is_number(text: &[char]) -> bool {
    let rest = text.strip_prefix(&['-']).unwrap_or(text);
    let rest = rest.strip_prefix(&['.']).or_else(|| rest.strip_prefix(&[','])).unwrap_or(rest);
    rest.first().is_some_and(|c| is_digit(*c)) && rest.iter().all(|c| is_digit(*c) || matches!(c, ',' | '.' | '-'))
}

/// A period, question or exclamation mark that may end a sentence.
struct Candidate {
    /// The word before it, itself, and what follows up to the next word's end.
    context: Vec<char>,
    /// Behind the mark.
    after: usize,
    /// Where the next word begins, if white space stands between.
    next: Option<usize>,
}

/// Marks that another mark of punctuation follows, or white space and a word; of several in one word the last.
fn candidates(text: &[char]) -> Vec<Candidate> {
    let mut found: Vec<Candidate> = Vec::new();
    let (mut before, mut pending) = ((0, 0), None::<Candidate>);
    for at in (0..text.len()).filter(|&at| matches!(text[at], '.' | '?' | '!')) {
        let Some((next, until)) = follows(text, at + 1) else { continue };
        let ascii_space = |c: &char| matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{b}' | '\u{c}');
        let space = text[before.1..at].iter().rposition(ascii_space).filter(|&space| space > 0);
        let from = space.map_or(before.0, |space| before.1 + space + 1);
        if let Some(last) = pending.take_if(|_| before.1 <= from) {
            found.push(last);
        }
        before = (from, at);
        pending = Some(Candidate { context: text[from..until].to_vec(), after: at + 1, next });
    }
    found.extend(pending);
    found
}

/// What follows a mark: (where the next word begins, where its context ends).
fn follows(text: &[char], at: usize) -> Option<(Option<usize>, usize)> {
    let c = *text.get(at)?;
    if is_non_word(c) {
        return Some((None, at + 1));
    }
    let next = at + text[at..].iter().take_while(|c| c.is_whitespace()).count();
    let word = text[next..].iter().take_while(|c| !c.is_whitespace()).count();
    (next > at && word > 0).then_some((Some(next), next + word))
}

/// Characters that no word holds, but the period.
fn is_non_word(c: char) -> bool {
    matches!(
        c,
        ')' | '"'
            | ';'
            | '}'
            | ']'
            | '*'
            | ':'
            | '@'
            | '\''
            | '('
            | '{'
            | '['
            | '?'
            | '!'
            | '‘'
            | '’'
            | '“'
            | '”'
            | '«'
            | '»'
    )
}

/// Words and marks of one line.
fn word_tokens(line: &[char]) -> Vec<Vec<char>> {
    let (mut tokens, mut at) = (Vec::new(), 0);
    while at < line.len() {
        if line[at].is_whitespace() {
            at += 1;
            continue;
        }
        let length = match multi_mark(line, at) {
            0 if begins_word(line[at]) => {
                let ends = |end: &usize| ends_word(line, *end);
                (at + 1..=line.len()).find(ends).unwrap_or(line.len()) - at
            }
            0 => 1,
            length => length,
        };
        tokens.push(line[at..at + length].to_vec());
        at += length;
    }
    tokens
}

fn begins_word(c: char) -> bool {
    !matches!(c, '(' | '"' | '`' | '{' | '[' | ':' | ';' | '&' | '#' | '*' | '@' | ')' | '}' | ']' | '-' | ',')
}

/// Whether a word ends before `at`.
fn ends_word(line: &[char], at: usize) -> bool {
    let stops =
        |at: usize| line.get(at).is_none_or(|c| c.is_whitespace() || is_non_word(*c)) || multi_mark(line, at) > 0;
    stops(at) || (line[at] == ',' && stops(at + 1))
}

/// Length of `--`, `..` or `. . .` that begins at a place; 0 where none does.
fn multi_mark(line: &[char], at: usize) -> usize {
    let run = |c: char| line[at..].iter().take_while(|d| **d == c).count();
    let (dashes, dots) = (run('-'), run('.'));
    if dashes >= 2 || dots >= 2 {
        return dashes.max(dots);
    }
    let mut pairs = 0;
    while line.get(at + 2 * pairs) == Some(&'.') && line.get(at + 2 * pairs + 1).is_some_and(|c| c.is_whitespace()) {
        pairs += 1;
    }
    // greedy, and given back until a period follows
    (2..=pairs).rev().find(|pairs| line.get(at + 2 * pairs) == Some(&'.')).map_or(0, |pairs| 2 * pairs + 1)
}

/// Quotes and brackets that close after a period belong to the sentence that it ends.
fn realigned(text: &[char], slices: &[(usize, usize)]) -> Vec<(usize, usize)> {
    let (mut sentences, mut moved) = (Vec::new(), 0);
    for (i, &(start, end)) in slices.iter().enumerate() {
        let start = start + moved;
        moved = 0;
        let closing = slices.get(i + 1).and_then(|&(next, to)| Some((next, closing(&text[next..to.max(next)])?)));
        match closing {
            Some((next, (marks, whole))) => {
                sentences.push((start, next + marks));
                moved = whole;
            }
            None if start < end => sentences.push((start, end)),
            None => {}
        }
    }
    sentences
}

/// Length of the closing marks that a text begins with, without and with the white space behind them. They count where white space, `--` or
/// the end of a line follows.
fn closing(text: &[char]) -> Option<(usize, usize)> {
    let is_mark = |c: &char| matches!(c, '"' | '\'' | ')' | ']' | '}' | '‘' | '’' | '“' | '”' | '«' | '»');
    let most = text.iter().take_while(|c| is_mark(c)).count();
    (1..=most).find_map(|marks| {
        let space = text[marks..].iter().take_while(|c| c.is_whitespace()).count();
        let ends = space > 0 || marks == text.len() || text[marks..].starts_with(&['-', '-']);
        ends.then_some((marks, marks + space))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentences(text: &str) -> Vec<String> {
        let chars: Vec<char> = text.chars().collect();
        Punkt::simple().sentences(&chars).into_iter().map(|(s, e)| chars[s..e].iter().collect()).collect()
    }

    #[test]
    fn abbreviations_do_not_end_a_sentence_and_other_periods_do() {
        let got = sentences("Seen by Dr. Smith. On lasix b.i.d. and (more). He left!! K+ 3.1 \u{2026} fine...  ");
        let want = ["Seen by Dr. Smith.", "On lasix b.i.d.", "and (more).", "He left!!", "K+ 3.1 \u{2026} fine..."];
        assert_eq!(got, want);
        assert_eq!(sentences("(Stable.) Home."), ["(Stable.)", "Home."]);
        assert!(sentences(" \n").is_empty() && sentences("").is_empty());
    }

    #[test]
    fn a_folder_that_is_not_punkt_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Punkt::open(folder.path()).unwrap_err().to_string().contains("abbrev_types.txt"));
        assert!(Punkt::open(Path::new("english.pickle")).unwrap_err().to_string().contains("punkt_tab"));
    }
}

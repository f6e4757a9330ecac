//! Tags in a text: `<drug_decision>Hold aspirin</drug_decision>`, and `<drug_decision#1>` where two spans of one category cross, which
//! plain tags cannot tell apart.
//!
//! ```text
//! spans    [0,8) and [5,12) of one category cross
//! plain    <c>ab cd<c>e f</c>gh i</c>      the first `</c>` could close either
//! indexed  <c>ab cd<c#1>e f</c>gh i</c#1>
//! ```
//!
//! Tagged text is no XML: tags may cross, and a `<` of the note stays as it is.
use super::{Category, Span};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// One tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag {
    pub category: Category,
    /// 0 for a tag without a number.
    pub index: usize,
}

impl Tag {
    /// `<drug_decision#1>`
    pub fn open(self) -> String {
        format!("<{}>", self.name())
    }

    /// `</drug_decision#1>`
    pub fn close(self) -> String {
        format!("</{}>", self.name())
    }

    fn name(self) -> String {
        match self.index {
            0 => self.category.tag().to_string(),
            index => format!("{}#{index}", self.category.tag()),
        }
    }
}

/// What reads like a tag at one place: `</?name>` or `</?name#7>` of ASCII letters and `_`, in whatever letter case, and with white space
/// before `>`. The nine names are also read as models write them: `< drug_decision>`, `<drug_decision #01>`, `<drug_decision id="1">` (the number 1).
struct Mark {
    chars: usize,
    close: bool,
    /// In lower case.
    name: String,
    /// None where the name is none of the nine.
    tag: Option<Tag>,
}

/// The mark that begins at `at`, if one does.
fn mark(text: &[char], at: usize) -> Option<Mark> {
    let from = text.get(at..)?.strip_prefix(&['<'])?;
    let (close, rest) = match unspaced(from).strip_prefix(&['/']) {
        Some(rest) => (true, rest),
        None => (false, from),
    };
    let inside = unspaced(rest);
    let letters = inside.iter().take_while(|c| c.is_ascii_alphabetic() || **c == '_').count();
    let name: String = inside[..letters].iter().map(char::to_ascii_lowercase).collect();
    let category = Category::of_tag(&name);
    let (mut index, mut rest) = number(&inside[letters..], category.is_some());
    if category.is_some() {
        let (id, behind) = attributes(rest);
        index = if index == 0 { id } else { index };
        rest = unspaced(behind).strip_prefix(&['/']).unwrap_or(behind);
    } else if name.is_empty() || from.len() != inside.len() + usize::from(close) {
        return None; // white space before another name: no tag
    }
    let behind = unspaced(rest).strip_prefix(&['>'])?;
    let tag = category.map(|category| Tag { category, index });
    Some(Mark { chars: text.len() - at - behind.len(), close, name, tag })
}

fn unspaced(text: &[char]) -> &[char] {
    &text[text.iter().take_while(|c| c.is_whitespace()).count()..]
}

/// The number that `#7` begins with, 0 without one, and what follows; `loose`: also behind white space, and a `#` without digits is passed over.
fn number(text: &[char], loose: bool) -> (usize, &[char]) {
    let Some(rest) = (if loose { unspaced(text) } else { text }).strip_prefix(&['#']) else { return (0, text) };
    let digits = rest.iter().take_while(|c| c.is_ascii_digit()).count();
    let written: String = rest[..digits].iter().collect();
    match digits {
        0 if loose => (0, rest),
        0 => (0, text),
        _ => (written.parse().unwrap_or(usize::MAX), &rest[digits..]), // more digits than a number has
    }
}

/// The number that the attributes of a tag give as `id`, 0 without one, and what follows them: ` id="1" kind=drug`, each with a value.
fn attributes(mut text: &[char]) -> (usize, &[char]) {
    let mut id = 0;
    while let Some((name, value, rest)) = attribute(text) {
        if name.iter().collect::<String>().eq_ignore_ascii_case("id") {
            id = value.iter().collect::<String>().trim().parse().unwrap_or(0);
        }
        text = rest;
    }
    (id, text)
}

/// Name and value of the attribute that a text begins with, and what follows it.
fn attribute(text: &[char]) -> Option<(&[char], &[char], &[char])> {
    let named = unspaced(text);
    let name = named.iter().take_while(|c| c.is_ascii_alphanumeric() || "_-:".contains(**c)).count();
    if named.len() == text.len() || name == 0 {
        return None;
    }
    let value = unspaced(unspaced(&named[name..]).strip_prefix(&['='])?);
    match value.split_first()? {
        (quote @ ('"' | '\''), rest) => {
            let length = rest.iter().take_while(|c| **c != *quote && !"<>".contains(**c)).count();
            Some((&named[..name], &rest[..length], rest[length..].strip_prefix(&[*quote])?))
        }
        _ => {
            let length = value.iter().take_while(|c| !c.is_whitespace() && !"<>\"'/".contains(**c)).count();
            (length > 0).then(|| (&named[..name], &value[..length], &value[length..]))
        }
    }
}

/// Texts of a note that read like tags and are none: `<b>` in a note stays what it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Literal(BTreeSet<String>);

impl Literal {
    pub fn of(note: &[char]) -> Self {
        let marks = (0..note.len()).filter_map(|at| Some(note[at..at + mark(note, at)?.chars].iter().collect()));
        Self(marks.collect())
    }

    /// Whether neither form of this tag stands in the note.
    pub fn leaves(&self, tag: Tag) -> bool {
        self.0.is_empty() || !(self.0.contains(&tag.open()) || self.0.contains(&tag.close()))
    }

    /// Whether the note has a mark of a model's reasoning as text.
    pub fn has_reasoning(&self) -> bool {
        ["<think>", "</think>"].iter().any(|mark| self.0.contains(*mark))
    }

    fn holds(&self, text: &[char]) -> bool {
        !self.0.is_empty() && self.0.contains(&text.iter().collect::<String>())
    }
}

/// Of each category the tag that can be put into a note and is read as a tag there: with the first number (none, 1, 2, …) under which it does not stand
/// in the note as text. Beside it the one with the next such number, for a second span that begins before the first one ends.
pub fn free_tags(note: &str) -> [[Tag; 2]; 9] {
    let literal = Literal::of(&note.chars().collect::<Vec<_>>());
    Category::ALL.map(|category| {
        let free = |index: &usize| literal.leaves(Tag { category, index: *index });
        let mut free = (0..).filter(free); // a note holds finitely many tags
        [(); 2].map(|()| Tag { category, index: free.next().unwrap_or_default() })
    })
}

/// A tagged text taken apart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scanned {
    /// The text without its tags.
    pub plain: Vec<char>,
    /// Spans of `plain` in the order in which they close; empty ones too.
    pub spans: Vec<Span>,
    /// Places in `plain` where a tag opens that never closes.
    pub unclosed: Vec<(usize, Category)>,
    /// Closing tags that nothing opens.
    pub unopened: usize,
    /// Tags of no category, taken out: how many of each name.
    pub unknown: BTreeMap<String, usize>,
    /// Where tags stand in the tagged text, in characters.
    pub marks: Vec<Range<usize>>,
    /// What reads like a tag and was taken for text: where it begins in the tagged text, and its characters in `plain`.
    pub literal: Vec<(usize, Range<usize>)>,
}

/// Takes the tags out of a text. A closing tag closes the latest open one of its name and number, else the latest of its category; others
/// stay open, so spans may cross. What stands in the note and reads like a tag (`literal`) is text; any other tag of an unknown name is
/// taken out.
pub fn scan(tagged: &str, literal: &Literal) -> Scanned {
    scan_but(tagged, literal, &BTreeSet::new())
}

/// As [`scan`]; what begins at these characters of the tagged text is a tag, although the note has the same as text.
pub fn scan_but(tagged: &str, literal: &Literal, tags: &BTreeSet<usize>) -> Scanned {
    let text: Vec<char> = tagged.chars().collect();
    let (mut found, mut open, mut at) = (Scanned::default(), Vec::<(Tag, usize)>::new(), 0);
    while at < text.len() {
        let here = found.plain.len();
        let Some(mark) = mark(&text, at) else {
            found.plain.push(text[at]);
            at += 1;
            continue;
        };
        let all = &text[at..at + mark.chars];
        if literal.holds(all) && !tags.contains(&at) {
            found.literal.push((at, here..here + mark.chars));
            found.plain.extend(all);
            at += mark.chars;
            continue;
        }
        found.marks.push(at..at + mark.chars);
        at += mark.chars;
        match mark.tag {
            None => *found.unknown.entry(mark.name).or_default() += 1,
            Some(tag) if !mark.close => open.push((tag, here)),
            Some(tag) => {
                let same = open.iter().rposition(|(other, _)| *other == tag);
                match same.or_else(|| open.iter().rposition(|(other, _)| other.category == tag.category)) {
                    Some(place) => found.spans.push(Span::new(open.remove(place).1, here, tag.category)),
                    None => found.unopened += 1,
                }
            }
        }
    }
    found.unclosed = open.into_iter().map(|(tag, start)| (start, tag.category)).collect();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scanned(text: &str) -> (String, Vec<(usize, usize, u8)>) {
        let found = scan(text, &Literal::default());
        let spans = found.spans.iter().map(|s| (s.start, s.end, s.category.number())).collect();
        (found.plain.into_iter().collect(), spans)
    }

    #[test]
    fn tags_nest_cross_and_leave_other_text_alone() {
        let nested = "<drug_decision>Hold <define_problem>MI</define_problem></drug_decision> drugs";
        assert_eq!(scanned(nested), ("Hold MI drugs".into(), vec![(5, 7, 3), (0, 7, 5)]));
        let crossing = "<drug_decision>ab<define_problem>cd</drug_decision>ef</define_problem>";
        assert_eq!(scanned(crossing), ("abcdef".into(), vec![(0, 4, 5), (2, 6, 3)]));
        let indexed = "<drug_decision>ab<drug_decision#1>cd</drug_decision>ef</drug_decision#1>";
        assert_eq!(scanned(indexed), ("abcdef".into(), vec![(0, 4, 5), (2, 6, 5)]));
        assert_eq!(
            scanned("K < 3.1, <3, <>, </>, a<b, <x y>, <é>"),
            ("K < 3.1, <3, <>, </>, a<b, <x y>, <é>".into(), vec![])
        );
    }

    #[test]
    fn a_tag_may_be_written_in_capitals_or_with_white_space_at_its_end() {
        for answer in ["<Drug_Decision>lasix</DRUG_DECISION>", "<drug_decision >lasix</drug_decision\n>"] {
            assert_eq!(scanned(answer), ("lasix".into(), vec![(0, 5, 5)]), "{answer}");
        }
        let note: Vec<char> = "see <Drug_Decision> or <drug_decision >: hold".chars().collect();
        let found = scan(&note.iter().collect::<String>(), &Literal::of(&note));
        assert_eq!(
            (found.plain, found.unknown.len() + found.unclosed.len()),
            (note, 0),
            "text where it stands in the note"
        );
    }

    #[test]
    fn a_tag_of_the_nine_may_be_written_as_models_write_it() {
        for (open, close) in [
            ("< drug_decision>", "< /drug_decision>"),
            ("<drug_decision>", "</ drug_decision >"),
            ("<drug_decision#0>", "</drug_decision#0>"),
            ("<drug_decision#01>", "</drug_decision#1>"),
            ("<drug_decision#>", "</drug_decision>"),
            ("<drug_decision#99999999999999999999999>", "</drug_decision#99999999999999999999999>"),
            ("<drug_decision id=\"1\" kind = 'a drug'>", "</drug_decision>"),
            ("<drug_decision reason=\"the patient's wish\">", "</drug_decision>"),
            ("<drug_decision #1>", "</drug_decision #1>"),
            ("<Drug_Decision id=1\n>", "</drug_decision>"),
        ] {
            assert_eq!(scanned(&format!("a {open}lasix{close}.")), ("a lasix.".into(), vec![(2, 7, 5)]), "{open}");
        }
        for text in [
            "<drug_decision Hold aspirin if INR > 3",
            "<drug_decision id=\"1 Hold aspirin \"if\" INR > 3",
            "<drug_decision goal == INR > 3",
            "K < b > a, < /x>, <drug_decision#1",
        ] {
            assert_eq!(scanned(text), (text.into(), vec![]), "words behind a name are no attributes");
        }
        for tags in ["#1", " #1", " id=\"1\"", " ID=1"] {
            let crossing =
                format!("<drug_decision>ab <drug_decision{tags}>cd</drug_decision> ef</drug_decision{tags}>");
            assert_eq!(scanned(&crossing), ("ab cd ef".into(), vec![(0, 5, 5), (3, 8, 5)]), "{tags}");
        }
        let once = scan("<drug_decision/>Hold", &Literal::default());
        assert_eq!(once.unclosed, [(0, Category::DrugDecision)]);
        let note: Vec<char> = "see <drug_decision#01> and < drug_decision id=1>".chars().collect();
        let found = scan(&note.iter().collect::<String>(), &Literal::of(&note));
        assert_eq!((found.plain, found.literal), (note, vec![(4, 4..22), (27, 27..48)]), "text where the note has it");
    }

    #[test]
    fn what_does_not_match_is_counted() {
        let found =
            scan("a</drug_decision><b>c</B><define_problem>d<drug_decision#2>e</drug_decision>", &Literal::default());
        assert_eq!((found.unopened, found.unknown), (1, [("b".to_string(), 2)].into()));
        assert_eq!(found.marks[..3], [1..17, 17..20, 21..25]);
        assert_eq!(found.unclosed, [(2, Category::DefineProblem)]);
        assert_eq!(found.spans, [Span::new(3, 4, Category::DrugDecision)], "closed by a tag of its category");
    }

    #[test]
    fn a_tag_that_stands_in_the_note_is_text() {
        let note: Vec<char> = "see <b>this</b>".chars().collect();
        let found = scan("see <b><drug_decision>this</drug_decision></b><i>", &Literal::of(&note));
        assert_eq!(found.plain, note);
        assert_eq!(found.spans, [Span::new(7, 11, Category::DrugDecision)]);
        let note = "see </drug_decision> or <drug_decision#1>: hold aspirin";
        let [tag, _] = free_tags(note)[usize::from(Category::DrugDecision.number()) - 1];
        assert_eq!((tag.category, tag.index), (Category::DrugDecision, 2));
        assert!(free_tags(note).iter().filter(|[tag, _]| tag.index > 0).count() == 1);
        let both = |note: &str| free_tags(note)[usize::from(Category::DrugDecision.number()) - 1].map(|tag| tag.index);
        assert_eq!([both(note), both("see <drug_decision#1>"), both("nothing")], [[2, 3], [0, 2], [0, 1]]);
        let answer = note.replace("hold aspirin", &format!("{}hold aspirin{}", tag.open(), tag.close()));
        let found = scan(&answer, &Literal::of(&note.chars().collect::<Vec<_>>()));
        assert_eq!(found.plain.into_iter().collect::<String>(), note);
        assert_eq!(found.spans, [Span::new(43, 55, Category::DrugDecision)]);
    }
}

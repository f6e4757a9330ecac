//! Spans of a text as labels of its tokens and back: B-x begins a span of class x, I-x goes on with it, O is outside (Ramshaw & Marcus 1995).
use super::tokenizer::Pieces;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// A stretch of a text and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// In code points, the end not included.
    pub start: usize,
    pub end: usize,
    /// Number of the class.
    pub class: usize,
}

/// What one label says. The number is that of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    Outside,
    Begin(usize),
    Inside(usize),
}

/// Which tokens carry labels, in training and in reading the model's answer alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Marked {
    /// The first token of every word; it speaks for the whole word (Devlin et al. 2019, §5.3).
    #[default]
    Words,
    /// Every token, so that a span may end inside a word.
    Tokens,
}

/// The labels of a token classifier: classes, and what each output stands for.
#[derive(Clone, Debug, PartialEq)]
pub struct Bio {
    classes: Vec<String>,
    tags: Vec<Tag>,
}

/// Labels of a text's tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Labelled {
    /// One a token; None where the loss does not look.
    pub labels: Vec<Option<u32>>,
    /// Spans that labels cannot express: they share a word with an earlier or longer span, or hold no token.
    pub lost: Vec<Span>,
}

/// What carries one label: a word or a token.
struct Unit {
    /// The token whose output counts.
    token: usize,
    place: Range<usize>,
}

impl Bio {
    /// O, then B and I of every class.
    pub fn new<S: Into<String>>(classes: impl IntoIterator<Item = S>) -> Result<Self> {
        let classes: Vec<String> = classes.into_iter().map(Into::into).collect();
        if let Some((i, class)) = classes.iter().enumerate().find(|(i, c)| c.is_empty() || classes[..*i].contains(c)) {
            return Err(Error::input(format!("class {i} of the labels is `{class}`: empty, or given twice")));
        }
        let of_class = |i| [Tag::Begin(i), Tag::Inside(i)];
        let tags = [Tag::Outside].into_iter().chain((0..classes.len()).flat_map(of_class)).collect();
        Ok(Self { classes, tags })
    }

    /// Reads the names of a checkpoint's outputs: `O`, `B-x`, `I-x`, in any order.
    pub fn of_labels(labels: &[String]) -> Result<Self> {
        let (mut classes, mut tags) = (Vec::new(), Vec::new());
        for label in labels {
            let mut class = |name: &str| {
                classes.iter().position(|c| c == name).unwrap_or_else(|| {
                    classes.push(name.to_string());
                    classes.len() - 1
                })
            };
            let tag = match label.split_once('-') {
                None if label == "O" => Tag::Outside,
                Some(("B", name)) if !name.is_empty() => Tag::Begin(class(name)),
                Some(("I", name)) if !name.is_empty() => Tag::Inside(class(name)),
                _ => return Err(Error::input(format!("label `{label}`: expected `O`, `B-class` or `I-class`"))),
            };
            if tags.contains(&tag) {
                return Err(Error::input(format!("label `{label}` is given twice")));
            }
            tags.push(tag);
        }
        let bio = Self { classes, tags };
        let all = Self::new(bio.classes.clone())?;
        match all.tags.iter().find(|tag| !bio.tags.contains(tag)) {
            Some(tag) => Err(Error::input(format!("the labels lack `{}`", bio.name(*tag)))),
            None => Ok(bio),
        }
    }

    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Number of labels.
    pub fn len(&self) -> usize {
        self.tags.len()
    }

    pub fn is_empty(&self) -> bool {
        self.tags.is_empty()
    }

    /// Names of the labels by id, as `id2label` has them.
    pub fn names(&self) -> Vec<String> {
        self.tags.iter().map(|tag| self.name(*tag)).collect()
    }

    fn name(&self, tag: Tag) -> String {
        match tag {
            Tag::Outside => "O".into(),
            Tag::Begin(class) => format!("B-{}", self.classes[class]),
            Tag::Inside(class) => format!("I-{}", self.classes[class]),
        }
    }

    /// The id of a label; every tag of a known class has one, by `new` and `of_labels`.
    fn id(&self, tag: Tag) -> Option<u32> {
        self.tags.iter().position(|t| *t == tag).map(|id| id as u32)
    }

    /// Labels of a text's tokens from spans of the text. A word or token belongs to a span that it shares a code point with.
    pub fn label(&self, pieces: &Pieces, spans: &[Span], marked: Marked) -> Result<Labelled> {
        for span in spans {
            if span.start >= span.end || span.end > pieces.length || span.class >= self.classes.len() {
                return Err(Error::input(format!(
                    "span {}..{} of class {}: expected a stretch of the text's {} code points and a class below {}",
                    span.start,
                    span.end,
                    span.class,
                    pieces.length,
                    self.classes.len()
                )));
            }
        }
        let units = pieces.units(marked);
        let mut tags = vec![Tag::Outside; units.len()];
        let mut sorted = spans.to_vec();
        sorted.sort_by_key(|s| (s.start, std::cmp::Reverse(s.end), s.class));
        let mut lost = Vec::new();
        for span in sorted {
            let first = units.partition_point(|u| u.place.end <= span.start);
            let end = units.partition_point(|u| u.place.start < span.end);
            if first >= end || tags[first..end].iter().any(|tag| *tag != Tag::Outside) {
                lost.push(span);
                continue;
            }
            tags[first] = Tag::Begin(span.class);
            tags[first + 1..end].fill(Tag::Inside(span.class));
        }
        let mut labels = vec![None; pieces.ids.len()];
        for (unit, tag) in units.iter().zip(tags) {
            labels[unit.token] = self.id(tag);
        }
        Ok(Labelled { labels, lost })
    }

    /// What a reader of perfect labels finds: the spans put into labels and read back, by place, and those that labels cannot express.
    pub fn round_trip(&self, pieces: &Pieces, spans: &[Span], marked: Marked) -> Result<(Vec<Span>, Vec<Span>)> {
        let Labelled { labels, lost } = self.label(pieces, spans, marked)?;
        let outside = self.id(Tag::Outside).unwrap_or_default(); // of tokens that are never read
        let labels: Vec<u32> = labels.into_iter().map(|label| label.unwrap_or(outside)).collect();
        Ok((self.spans(pieces, &labels, marked), lost))
    }

    /// The spans that labels of all tokens say, by place. An I that continues nothing of its class opens a span.
    pub fn spans(&self, pieces: &Pieces, labels: &[u32], marked: Marked) -> Vec<Span> {
        let mut spans: Vec<Span> = Vec::new();
        let mut open = false;
        for Unit { token, place } in pieces.units(marked) {
            let tag = labels.get(token).and_then(|id| self.tags.get(*id as usize)).copied().unwrap_or(Tag::Outside);
            match (tag, spans.last_mut().filter(|_| open)) {
                (Tag::Outside, _) => open = false,
                (Tag::Inside(class), Some(last)) if last.class == class => last.end = place.end,
                (Tag::Begin(class) | Tag::Inside(class), _) => {
                    spans.push(Span { start: place.start, end: place.end, class });
                    open = true;
                }
            }
        }
        spans
    }
}

impl Pieces {
    /// Words or tokens with something to see, by place.
    fn units(&self, marked: Marked) -> Vec<Unit> {
        let mut units: Vec<Unit> = Vec::new();
        for (token, place) in self.places.iter().enumerate() {
            if self.begins[token] || marked == Marked::Tokens {
                units.push(Unit { token, place: place.clone() });
            } else if let Some(word) = units.last_mut() {
                word.place.end = word.place.end.max(place.end);
                if word.place.start == word.place.end {
                    word.place = place.clone();
                }
            }
        }
        units.retain(|unit| !unit.place.is_empty());
        units
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words split at white space, each in tokens of at most two code points.
    fn pieces(text: &str) -> Pieces {
        let mut p = Pieces { ids: vec![], places: vec![], begins: vec![], length: text.chars().count() };
        let letters: Vec<char> = text.chars().collect();
        let mut at = 0;
        for word in letters.split(|c| c.is_whitespace()) {
            for start in (0..word.len()).step_by(2) {
                p.ids.push(p.ids.len() as u32);
                p.places.push(at + start..at + word.len().min(start + 2));
                p.begins.push(start == 0);
            }
            at += word.len() + 1;
        }
        p
    }

    fn span(start: usize, end: usize, class: usize) -> Span {
        Span { start, end, class }
    }

    #[test]
    fn labels_and_back_give_the_same_spans() {
        let (bio, p) = (Bio::new(["disease", "drug"]).unwrap(), pieces("naïve cyst of kidney ibuprofen aspirin"));
        let spans = [span(0, 10, 0), span(21, 30, 1), span(31, 38, 1)];
        for marked in [Marked::Words, Marked::Tokens] {
            let Labelled { labels, lost } = bio.label(&p, &spans, marked).unwrap();
            assert!(lost.is_empty());
            assert_eq!(labels.iter().filter(|l| **l == bio.id(Tag::Begin(1))).count(), 2, "neighbours of one class");
            let seen: Vec<u32> = labels.iter().map(|l| l.unwrap_or(3)).collect();
            assert_eq!(bio.spans(&p, &seen, marked), spans, "{marked:?}: what is not labelled is not read");
        }
        let words = bio.label(&p, &spans, Marked::Words).unwrap().labels;
        // na ïv e | cy st | of | ki dn ey …
        assert_eq!(words[..9], [Some(1), None, None, Some(2), None, Some(0), Some(0), None, None]);
        let tokens = bio.label(&p, &spans, Marked::Tokens).unwrap().labels;
        assert_eq!(tokens[..6], [Some(1), Some(2), Some(2), Some(2), Some(2), Some(0)]);
    }

    #[test]
    fn a_span_inside_a_word_is_the_word_or_its_tokens() {
        let (bio, p) = (Bio::new(["x"]).unwrap(), pieces("abcdef gh"));
        let round = |marked| {
            let labels = bio.label(&p, &[span(2, 4, 0)], marked).unwrap().labels;
            bio.spans(&p, &labels.iter().map(|l| l.unwrap_or(0)).collect::<Vec<_>>(), marked)
        };
        assert_eq!(round(Marked::Words), [span(0, 6, 0)]);
        assert_eq!(round(Marked::Tokens), [span(2, 4, 0)]);
    }

    #[test]
    fn an_i_that_continues_nothing_opens_a_span() {
        let (bio, p) = (Bio::new(["x", "y"]).unwrap(), pieces("a b c d e"));
        // O I-x I-x I-y B-y
        assert_eq!(bio.spans(&p, &[0, 2, 2, 4, 3], Marked::Words), [span(2, 5, 0), span(6, 7, 1), span(8, 9, 1)]);
        assert_eq!(bio.spans(&p, &[], Marked::Words), []);
    }

    #[test]
    fn spans_that_labels_cannot_say_are_given_back() {
        let (bio, p) = (Bio::new(["x", "y"]).unwrap(), pieces("aa bb  cc"));
        let nested = [span(3, 5, 1), span(0, 5, 0), span(5, 7, 0)];
        let made = bio.label(&p, &nested, Marked::Words).unwrap();
        assert_eq!(made.lost, [span(3, 5, 1), span(5, 7, 0)], "one inside another, one of white space");
        assert_eq!(made.labels, [Some(1), Some(2), Some(0)]);
        for bad in [span(2, 2, 0), span(0, 10, 0), span(0, 1, 2)] {
            let error = bio.label(&p, &[bad], Marked::Words).unwrap_err();
            assert!(error.exit_code() == 2 && error.to_string().contains("9 code points"), "{error}");
        }
    }

    #[test]
    fn a_round_trip_loses_what_nests_or_crosses_and_moves_what_ends_inside_a_word() {
        let (bio, p) = (Bio::new(["x", "y"]).unwrap(), pieces("aaaa bb cc dd ee"));
        let there_and_back = |spans: &[Span], marked| bio.round_trip(&p, spans, marked).unwrap();
        let (outer, nested) = (span(0, 10, 0), span(5, 7, 1));
        let (first, crossing, alike) = (span(0, 7, 0), span(5, 10, 1), span(8, 13, 0));
        for marked in [Marked::Words, Marked::Tokens] {
            assert_eq!(there_and_back(&[nested, outer], marked), (vec![outer], vec![nested]), "the longer one stays");
            let all = [first, crossing, alike];
            assert_eq!(there_and_back(&all, marked), (vec![first, alike], vec![crossing]), "the earlier one stays");
            assert_eq!(there_and_back(&[], marked), (vec![], vec![]));
        }
        assert_eq!(there_and_back(&[span(2, 7, 1)], Marked::Words), (vec![span(0, 7, 1)], vec![]));
        assert_eq!(there_and_back(&[span(2, 7, 1)], Marked::Tokens), (vec![span(2, 7, 1)], vec![]));
    }

    #[test]
    fn names_of_labels_are_read_in_any_order_and_whole() {
        let names = |list: &[&str]| list.iter().map(|l| l.to_string()).collect::<Vec<_>>();
        let mixed = names(&["B-x", "I-x", "O", "I-a-b", "B-a-b"]);
        let bio = Bio::of_labels(&mixed).unwrap();
        assert_eq!((bio.names(), bio.classes()), (mixed, &names(&["x", "a-b"])[..]));
        let fails = |list: &[&str]| Bio::of_labels(&names(list)).unwrap_err().to_string();
        assert!(fails(&["O", "LABEL_1"]).contains("LABEL_1"));
        assert!(fails(&["O", "B-x"]).contains("lack `I-x`"));
        assert!(fails(&["B-x", "I-x"]).contains("lack `O`"));
        assert!(fails(&["O", "O"]).contains("twice"));
        assert!(Bio::new(["x", "x"]).unwrap_err().to_string().contains("twice"));
    }
}

//! Training labels that hold a separator. "hydronephrosis, left" in a list of labels is two labels to a reader that does not know it; this
//! one knows the labels of training, as aliases do, and reads it as one wherever it stands whole.
use crate::label::parse::{self, Parsed};
use std::borrow::Cow;

/// Stand-ins while an answer is read: characters of no meaning, which no reader takes for separators.
const HIDDEN: [(char, char); 5] =
    [(',', '\u{e000}'), (';', '\u{e001}'), ('，', '\u{e002}'), ('；', '\u{e003}'), ('、', '\u{e004}')];

/// Labels that would be read as several, in lower case, the longest first.
#[derive(Clone, Debug, Default)]
pub struct Separated(Vec<Vec<char>>);

impl Separated {
    pub fn of(labels: &[String]) -> Self {
        let holds = |label: &&String| HIDDEN.iter().any(|(separator, _)| label.contains(*separator));
        let apart = |label: &&String| parse::parse(label).labels != [label.as_str()];
        let mut labels: Vec<Vec<char>> =
            labels.iter().filter(holds).filter(apart).map(|label| label.chars().map(lower).collect()).collect();
        labels.sort_by_key(|label: &Vec<char>| std::cmp::Reverse(label.len()));
        Self(labels)
    }

    /// Labels of an answer as `parse` reads them; those of training that hold a separator are one label each.
    pub fn read(&self, raw: &str, parse: impl Fn(&str) -> Parsed) -> Parsed {
        let Parsed { labels, parsed } = parse(&self.hide(raw));
        Parsed { labels: labels.into_iter().map(|label| show(&label)).collect(), parsed }
    }

    /// The answer with the separators within known labels replaced by their stand-ins.
    fn hide<'a>(&self, raw: &'a str) -> Cow<'a, str> {
        if self.0.is_empty() {
            return Cow::Borrowed(raw);
        }
        let mut chars: Vec<char> = raw.chars().collect();
        let low: Vec<char> = chars.iter().map(|c| lower(*c)).collect();
        let mut at = 0;
        while at < chars.len() {
            let known = |label: &&Vec<char>| low[at..].starts_with(label) && stands_alone(&low, at, at + label.len());
            match self.0.iter().find(known).map(Vec::len) {
                Some(length) => {
                    chars[at..at + length].iter_mut().for_each(|c| *c = hidden(*c));
                    at += length;
                }
                None => at += 1,
            }
        }
        Cow::Owned(chars.into_iter().collect())
    }
}

/// No word goes on before or after it, spaces aside.
fn stands_alone(text: &[char], from: usize, to: usize) -> bool {
    let inner = |c: &&char| !matches!(**c, ' ' | '\t');
    let before = text[..from].iter().rev().find(inner);
    let after = text[to..].iter().find(inner);
    !before.is_some_and(|c| c.is_alphanumeric()) && !after.is_some_and(|c| c.is_alphanumeric() || *c == '(')
}

fn hidden(c: char) -> char {
    HIDDEN.iter().find(|(separator, _)| *separator == c).map_or(c, |(_, stand_in)| *stand_in)
}

fn show(label: &str) -> String {
    let shown = |c: char| HIDDEN.iter().find(|(_, stand_in)| *stand_in == c).map_or(c, |(separator, _)| *separator);
    label.chars().map(shown).collect()
}

/// One character for one, so that places stay.
fn lower(c: char) -> char {
    c.to_lowercase().next().unwrap_or(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_labels_with_a_separator_are_one_and_others_are_as_before() {
        let known =
            Separated::of(&["hydronephrosis, left".into(), "neoplasm, malignant, of colon".into(), "cyst".into()]);
        assert_eq!(known.0.len(), 2);
        let labels = |raw: &str| known.read(raw, parse::parse).labels;
        assert_eq!(labels("cyst, Hydronephrosis, left, stone"), ["cyst", "Hydronephrosis, left", "stone"]);
        assert_eq!(labels("1. neoplasm, malignant, of colon\n2. cyst"), ["neoplasm, malignant, of colon", "cyst"]);
        assert_eq!(labels("[\"hydronephrosis, left\", \"cyst\"]"), ["hydronephrosis, left", "cyst"]);
        assert_eq!(labels("[\"hydronephrosis\", \"left\"]"), ["hydronephrosis", "left"]);
        assert_eq!(labels("mild hydronephrosis, left"), ["mild hydronephrosis", "left"]);
        assert_eq!(labels("hydronephrosis, left stone"), ["hydronephrosis", "left stone"]);
        for raw in ["cyst, stone", "cyst (a, b); stone", "None"] {
            assert_eq!(known.read(raw, parse::parse), parse::parse(raw), "{raw}");
        }
    }
}

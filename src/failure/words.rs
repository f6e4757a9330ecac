//! Words of labels.
use std::collections::BTreeSet;

const SMALL: [&str; 9] = ["of", "the", "in", "with", "without", "and", "a", "an", "to"];

pub(super) fn content(label: &str) -> BTreeSet<&str> {
    label.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty() && !SMALL.contains(word)).collect()
}

/// The noun that a label is about: the last word before "of", "in", "with", …
pub(super) fn head(label: &str) -> Option<&str> {
    let words: Vec<&str> = label.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let end = words.iter().skip(1).position(|word| SMALL.contains(word)).map_or(words.len(), |at| at + 1);
    words[..end].last().copied()
}

pub(super) fn plain(label: &str) -> String {
    label.trim().to_lowercase()
}

pub(super) fn distinct(labels: &[String]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let labels = labels.iter().map(|label| label.trim().to_string()).filter(|label| !label.is_empty());
    labels.filter(|label| seen.insert(plain(label))).collect()
}

//! The three rewards of system 002's policy optimisation, each from 0 to 1. Texts are what follows the last `</think>`.
//!
//! - fidelity: similarity to the note without tags and with white space alike (`difflib` with its default `autojunk`): 1 from 0.99 on, 0 below 0.90,
//!   linear between
//! - token F1: of the multisets of words of all spans of a category, mean over the categories of either side
//! - exact F1: of the sets of (category, text of a span without marks around it)
//!
//! They compare an answer with the tagged gold text and know no offsets.
use crate::corpus::decisions::Category;
use crate::corpus::decisions::tags::{Literal, scan};
use crate::metric::difflib::ratio;
use std::collections::{BTreeMap, BTreeSet};

/// What follows the reasoning; nothing where reasoning does not end.
pub fn content(completion: &str) -> &str {
    match completion.rsplit_once("</think>") {
        Some((_, content)) => content,
        None if completion.trim_start().starts_with("<think>") => "",
        None => completion,
    }
}

/// How faithfully the answer copies the note.
pub fn fidelity(completion: &str, note: &str) -> f64 {
    let plain = |text: &str| -> Vec<char> {
        let plain: String = scan(text, &Literal::default()).plain.into_iter().collect();
        plain.split_whitespace().collect::<Vec<_>>().join(" ").chars().collect()
    };
    let (answer, note) = (plain(content(completion)), plain(note));
    if note.is_empty() {
        return 1.0;
    }
    let ratio = ratio(&answer, &note, true);
    if ratio < 0.9 { 0.0 } else { ((ratio - 0.9) / 0.09).min(1.0) }
}

/// Category and text of every span, in lower case and without the marks around it; anonymised names keep theirs.
fn spans(tagged: &str) -> Vec<(Category, String)> {
    let scanned = scan(content(tagged), &Literal::default());
    let cleaned = scanned.spans.iter().map(|span| (span.category, cleaned(&span.text(&scanned.plain))));
    cleaned.filter(|(_, text)| !text.is_empty()).collect()
}

fn cleaned(text: &str) -> String {
    let mark = |c: char| !(c.is_ascii_alphanumeric() || c == '*');
    let text = text.trim();
    let text = if text.starts_with("[**") { text } else { text.trim_start_matches(mark) };
    let text = if text.ends_with("**]") { text } else { text.trim_end_matches(mark) };
    text.to_lowercase()
}

/// None where both sides have spans to compare; else what an empty side gives.
fn empty<T>(a: &[T], b: &[T]) -> Option<f64> {
    (a.is_empty() || b.is_empty()).then(|| f64::from(a.is_empty() && b.is_empty()))
}

/// See the file's header.
pub fn token_f1(completion: &str, gold: &str) -> f64 {
    let (predicted, gold) = (spans(completion), spans(gold));
    empty(&predicted, &gold).unwrap_or_else(|| {
        let words = |spans: &[(Category, String)], category: Category| {
            let mut words = BTreeMap::<String, usize>::new();
            let of = spans.iter().filter(|(other, _)| *other == category);
            of.flat_map(|(_, text)| text.split_whitespace())
                .for_each(|word| *words.entry(word.into()).or_default() += 1);
            words
        };
        let categories: BTreeSet<Category> = predicted.iter().chain(&gold).map(|(category, _)| *category).collect();
        let f1 = |category: &Category| {
            let (a, b) = (words(&predicted, *category), words(&gold, *category));
            let both: usize = a.iter().map(|(word, n)| *n.min(b.get(word).unwrap_or(&0))).sum();
            2.0 * both as f64 / (a.values().sum::<usize>() + b.values().sum::<usize>()).max(1) as f64
        };
        categories.iter().map(f1).sum::<f64>() / categories.len() as f64
    })
}

/// See the file's header; mean over the categories of either side.
pub fn exact_f1(completion: &str, gold: &str) -> f64 {
    let (predicted, gold) = (spans(completion), spans(gold));
    empty(&predicted, &gold).unwrap_or_else(|| {
        let categories: BTreeSet<Category> = predicted.iter().chain(&gold).map(|(category, _)| *category).collect();
        let f1 = |category: &Category| {
            let of = |spans: &[(Category, String)]| -> BTreeSet<String> {
                spans.iter().filter(|(other, _)| other == category).map(|(_, text)| text.clone()).collect()
            };
            let (a, b) = (of(&predicted), of(&gold));
            2.0 * a.intersection(&b).count() as f64 / (a.len() + b.len()).max(1) as f64
        };
        categories.iter().map(f1).sum::<f64>() / categories.len() as f64
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTE: &str = "Continue warfarin for stroke prevention. Hold aspirin. Seen by Dr. [**Last Name**].";
    const GOLD: &str = "<drug_decision>Continue warfarin for <treatment_goal>stroke prevention.</treatment_goal></drug_decision> \
        <drug_decision>Hold aspirin.</drug_decision> <contact_related>Seen by Dr. [**Last Name**].</contact_related>";

    /// The vector `rewards` of the project's specification.
    #[test]
    fn rewards_are_those_of_the_specification() {
        let completion = "<drug_decision>Continue warfarin</drug_decision> for <treatment_goal>stroke prevention</treatment_goal>. \
            <drug_decision>Hold aspirin</drug_decision>. Seen by Dr [**Last Name**].";
        assert!((token_f1(completion, GOLD) - 0.5757575757575758).abs() < 1e-12, "{}", token_f1(completion, GOLD));
        assert!((exact_f1(completion, GOLD) - 0.5).abs() < 1e-12, "{}", exact_f1(completion, GOLD));
        assert_eq!(fidelity(completion, NOTE), 1.0);
    }

    #[test]
    fn reasoning_and_empty_sides() {
        let answer = format!("<think>hm</think>{GOLD}");
        assert_eq!((token_f1(&answer, GOLD), exact_f1(&answer, GOLD), fidelity(&answer, NOTE)), (1.0, 1.0, 1.0));
        assert_eq!(fidelity(&format!("<think>{NOTE}"), NOTE), 0.0);
        assert_eq!((token_f1(NOTE, NOTE), exact_f1(NOTE, GOLD)), (1.0, 0.0));
        assert_eq!(fidelity("", ""), 1.0);
    }
}

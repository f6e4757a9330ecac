//! The training cases nearest to a text, by Okapi BM25 (Robertson et al., TREC-3, 1994) as PyPI's rank-bm25 computes it.
//!
//! ```text
//! score(q, d) = Σ over words t of q    idf(t) · tf·(k1 + 1) / (tf + k1·(1 − b + b·|d|/mean |d|))
//! idf(t)      = ln((N − n + 0.5)/(n + 0.5)), where that is negative a quarter of the mean over all words
//! ```
//!
//! A word is a run of letters and digits in lower case. A text that shares no word with the question has no score and is never
//! retrieved. What it deliberately does not do: stem, or leave out frequent words.
use super::{Exemplar, PromptContext, Shot};
use crate::corpus::Case;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

const K1: f64 = 1.5;
const B: f64 = 0.75;
const EPSILON: f64 = 0.25;

/// An index over texts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bm25 {
    /// Of every word its idf and how often each text holds it.
    words: BTreeMap<String, (f64, Vec<(usize, f64)>)>,
    /// k1·(1 − b + b·|d|/mean |d|) of every text.
    length: Vec<f64>,
}

impl Bm25 {
    pub fn new<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let (mut holds, mut length) = (BTreeMap::<String, BTreeMap<usize, f64>>::new(), Vec::new());
        for (i, text) in texts.into_iter().enumerate() {
            let words = words(text);
            length.push(words.len() as f64);
            words.into_iter().for_each(|word| *holds.entry(word).or_default().entry(i).or_default() += 1.0);
        }
        let n = length.len() as f64;
        let mean = length.iter().sum::<f64>() / n;
        length.iter_mut().for_each(|l| *l = K1 * (1.0 - B + B * *l / mean));
        let idf = |texts: usize| (n - texts as f64 + 0.5).ln() - (texts as f64 + 0.5).ln();
        let floor = EPSILON * holds.values().map(|texts| idf(texts.len())).sum::<f64>() / holds.len() as f64;
        let weigh = |texts: BTreeMap<usize, f64>| {
            let idf = idf(texts.len());
            (if idf < 0.0 { floor } else { idf }, texts.into_iter().collect())
        };
        Self { words: holds.into_iter().map(|(word, texts)| (word, weigh(texts))).collect(), length }
    }

    /// The score of every text, in their order.
    pub fn scores(&self, question: &str) -> Vec<f64> {
        let mut scores = vec![0.0; self.length.len()];
        for (idf, texts) in words(question).iter().filter_map(|word| self.words.get(word)) {
            texts.iter().for_each(|&(i, tf)| scores[i] += idf * tf * (K1 + 1.0) / (tf + self.length[i]));
        }
        scores
    }
}

fn words(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(String::from).collect()
}

/// The part of a prompt that depends on the case: its `k` nearest training cases as examples. What is serialised determines
/// which they are, and enters the prompt's digest.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Neighbours {
    pub k: usize,
    /// `bm25`; the constants are in the code.
    pub retriever: &'static str,
    /// SHA-256 of the cases to choose from, with their groups and labels.
    pub pool: String,
    #[serde(skip)]
    index: Arc<Index>,
}

#[derive(Debug, PartialEq)]
struct Index {
    bm25: Bm25,
    cases: Vec<(Case, Shot)>,
}

impl Neighbours {
    /// Chooses from the context's examples.
    pub fn new(k: usize, context: &PromptContext) -> Self {
        let bm25 = Bm25::new(context.examples.iter().map(|one| one.case.input.as_str()));
        let shot = |one: &Exemplar| Shot { input: one.case.input.clone(), answer: one.answer.clone() };
        let cases = context.examples.iter().map(|one| (one.case.clone(), shot(one))).collect();
        Self { k, retriever: "bm25", pool: context.pool.clone(), index: Arc::new(Index { bm25, cases }) }
    }

    /// The `k` cases nearest to `input`, the nearest last, where the question follows; of equals the earlier one in the pool.
    /// Never one of `group`, never one of the same text: no case sees its own answer or its patient's.
    pub fn of(&self, input: &str, group: Option<&str>) -> Vec<(&Case, &Shot)> {
        let scores = self.index.bm25.scores(input);
        let fits = |&i: &usize| {
            let case = &self.index.cases[i].0;
            scores[i] > 0.0 && Some(case.group.as_str()) != group && case.input != input
        };
        let mut order: Vec<usize> = (0..scores.len()).filter(fits).collect();
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
        order.truncate(self.k);
        order.into_iter().rev().map(|i| (&self.index.cases[i].0, &self.index.cases[i].1)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(id: &str, group: &str, input: &str) -> Exemplar {
        let case = Case { case_id: id.into(), group: group.into(), input: input.into() };
        Exemplar { case, answer: format!("label of {id}"), shows: vec![] }
    }

    fn pool() -> PromptContext {
        let examples = vec![
            case("a", "p1", "A cyst of the left kidney."),
            case("b", "p1", "A cyst of the left kidney, 12 mm."),
            case("c", "p2", "The liver is fatty."),
            case("d", "p3", "Cyst of the liver."),
            case("e", "p4", "Cyst of the liver."),
            case("f", "p5", "Normal."),
        ];
        PromptContext { examples, pool: "of six cases".into(), ..PromptContext::default() }
    }

    fn ids(neighbours: &Neighbours, input: &str, group: Option<&str>) -> Vec<String> {
        neighbours.of(input, group).into_iter().map(|(case, _)| case.case_id.clone()).collect()
    }

    #[test]
    fn neither_the_case_nor_its_patient_nor_its_text_is_retrieved_and_the_nearest_stands_last() {
        let neighbours = Neighbours::new(3, &pool());
        let question = "Cyst of the left kidney.";
        assert_eq!(ids(&neighbours, question, None).last().unwrap(), "a");
        let others = ids(&neighbours, question, Some("p1"));
        assert!(!others.contains(&"a".into()) && !others.contains(&"b".into()), "{others:?}");
        assert_eq!(others.last().unwrap(), "d", "of equals the earlier");
        assert_eq!(ids(&neighbours, "Cyst of the liver.", None), ["c", "b", "a"], "`d` and `e` are that text");
        assert!(ids(&neighbours, "Thyroid 1.", None).is_empty() && ids(&neighbours, "", None).is_empty());
    }

    #[test]
    fn the_digest_follows_the_pool_and_nothing_of_the_pool_is_serialised() {
        let json = |neighbours: &Neighbours| serde_json::to_string(neighbours).unwrap();
        let (one, mut other) = (Neighbours::new(3, &pool()), pool());
        other.pool = "of others".into();
        assert_eq!(json(&one), json(&Neighbours::new(3, &pool())));
        assert_ne!(json(&one), json(&Neighbours::new(3, &other)));
        assert!(!json(&one).contains("kidney"));
        assert!(Neighbours::new(2, &PromptContext::default()).of("x", None).is_empty());
    }
}

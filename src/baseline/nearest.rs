//! What retrieval alone says: the labels that the nearest training cases carry. The control for a prompt that shows a model those
//! cases: a model that does no better than this has only copied them.
use super::methods::{Counts, prediction};
use crate::corpus::{Corpus, Finding, Labels};
use crate::ensemble::vote;
use crate::error::Result;
use crate::io;
use crate::prompt::Neighbours;
use crate::run::prediction::Prediction;
use crate::task::context_of;
use std::collections::{BTreeMap, BTreeSet};

/// A vote of the `k` nearest training cases (BM25).
#[derive(Clone, Debug)]
pub struct Nearest {
    pub k: usize,
    /// A label is given if at least so many of them carry it.
    pub votes: usize,
    /// Micro-F1 on the training cases with this k and these votes, each asked without its own group.
    pub micro_f1: f64,
    neighbours: Neighbours,
    /// Labels of the training cases by id.
    gold: BTreeMap<String, Labels>,
    digest: String,
}

impl Nearest {
    /// k up to `max_k`, and votes, with the best micro-F1 on the training cases, each left out with its group; of equals the
    /// first.
    pub fn fit(train: &[Finding], max_k: usize) -> Result<Self> {
        let corpus = Corpus { name: String::new(), synthetic: false, train: train.to_vec(), test: vec![] };
        let neighbours = Neighbours::new(max_k, crate::prompt::Retriever::Bm25, &context_of(&corpus));
        let gold: BTreeMap<String, Labels> =
            train.iter().map(|case| (case.case_id.clone(), case.gold.clone())).collect();
        let near: Vec<Vec<Labels>> = train.iter().map(|case| labels(&neighbours, &gold, case)).collect();
        let (mut k, mut votes, mut micro_f1) = (1, 1, f64::MIN);
        for of in 1..=max_k {
            for least in 1..=of {
                let count = |(case, near): (&Finding, &Vec<Vec<String>>)| {
                    let (chosen, gold) = (choose(near, of, least), case.gold.iter().map(|label| label.trim()));
                    Counts::of(&chosen.iter().map(String::as_str).collect(), &gold.collect::<BTreeSet<_>>())
                };
                let score = Counts::sum(train.iter().zip(&near).map(count)).micro_f1();
                if score > micro_f1 {
                    (k, votes, micro_f1) = (of, least, score);
                }
            }
        }
        let digest = io::digest_json(&(&neighbours, k, votes))?[..12].to_string();
        Ok(Self { k, votes, micro_f1, neighbours, gold, digest })
    }

    pub fn predict(&self, cases: &[Finding]) -> Vec<Prediction> {
        let model = format!("nearest-{}@{}", self.k, self.digest);
        let answer = |case: &Finding| choose(&labels(&self.neighbours, &self.gold, case), self.k, self.votes);
        cases.iter().map(|case| prediction(case, &model, answer(case))).collect()
    }
}

/// Labels of the nearest cases, the nearest first.
fn labels(neighbours: &Neighbours, gold: &BTreeMap<String, Labels>, case: &Finding) -> Vec<Labels> {
    let near = neighbours.of(&case.input, Some(&case.group)).into_iter().rev();
    near.map(|(near, _)| gold.get(&near.case_id).cloned().unwrap_or_default()).collect()
}

/// Labels of at least `votes` of the first `k`; where there is none, the one with most.
fn choose(near: &[Vec<String>], k: usize, votes: usize) -> Vec<String> {
    let shown = &near[..k.min(near.len())];
    let least = votes as f64 / shown.len().max(1) as f64 - 1e-9; // shares are multiples of 1/k, up to rounding
    let shares = vote(shown);
    let passing = shares.iter().filter(|(_, share)| *share >= least).count();
    shares.into_iter().take(passing.max(1)).map(|(label, _)| label).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(id: usize, input: &str, labels: &[&str]) -> Finding {
        let labels = labels.iter().map(|label| label.to_string()).collect();
        Finding::new(id.to_string(), id.to_string(), input, labels)
    }

    #[test]
    fn neighbours_outvote_a_stray_label_and_no_case_is_its_own_neighbour() {
        let texts = ["renal cyst on the left", "gallstone in the neck", "free fluid around the spleen"];
        let case_of = |i: usize| {
            let (text, label) = (texts[i % 3], ["renal cyst", "gallstone", "ascites"][i % 3]);
            let stray = format!("stray {i}");
            case(i, &format!("{text} {i}"), &[label, &stray])
        };
        let train: Vec<Finding> = (0..15).map(case_of).collect();
        let fitted = Nearest::fit(&train, 5).unwrap();
        assert!(fitted.votes > 1 && fitted.micro_f1 < 0.7, "its own stray label is never found: {fitted:?}");
        let answer = &fitted.predict(&[case(99, "a renal cyst", &["renal cyst"])])[0];
        assert_eq!(answer.answer, ["renal cyst"]);
        assert!(answer.model.starts_with(&format!("nearest-{}@", fitted.k)));
    }

    #[test]
    fn votes_are_counted_among_the_nearest() {
        let near: Vec<Vec<String>> = [vec!["a"], vec!["b", "a"], vec!["b"], vec!["b"]]
            .map(|labels| labels.into_iter().map(String::from).collect())
            .to_vec();
        assert_eq!(choose(&near, 2, 2), ["a"]);
        assert_eq!(choose(&near, 3, 2), ["a", "b"]);
        assert_eq!(choose(&near, 4, 4), ["b"], "nothing passes: the one with most votes");
        assert!(choose(&[], 3, 1).is_empty());
    }
}

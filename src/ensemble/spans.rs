//! One set of spans out of those of several models, or of several samples of one.
//!
//! **Span-Cluster Consensus** (system 002, `ensemble/mbr.py`), for each category on its own:
//!
//! ```text
//! weight   w_m = mean over the other models of the F1 of their spans, paired one to one by IoU ≥ τ_pair and counted by their IoU; Σ w = 1
//! cluster  spans joined by IoU ≥ τ_cluster (single linkage)
//! support  Σ w of the distinct models in a cluster; kept if ≥ τ_support
//! bounds   the (start, end) with most weight in the cluster, of equals the shorter; or start and end each by their own vote
//! double   of two kept spans with IoU ≥ τ_double the longer
//! ```
//!
//! Only spans that share a character are joined, also at τ_cluster = 0, where the published rule IoU ≥ τ joins all spans of a category in the note:
//! one cluster of spans with nothing in common would keep one of them and lose the others.
//!
//! Beside it: [`majority`] (the same span in more than half of the models), [`union`], and minimum Bayes risk: [`nearest`] takes the one answer
//! that is on average nearest to all, [`expected`] puts together the set of spans with the highest mean F1.
use super::overlaps::{Overlaps, Pooled};
use crate::corpus::decisions::{Category, Span};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// How a cluster's bounds are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Vote {
    /// Start and end together.
    #[default]
    Joint,
    /// Each on its own (of equal starts the smaller, of equal ends the larger); together where the end would not lie behind the start.
    Independent,
}

/// Thresholds and vote; the defaults are the published ones.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SpanConsensus {
    pub cluster: f64,
    pub pair: f64,
    pub support: f64,
    pub double: f64,
    pub vote: Vote,
}

impl Default for SpanConsensus {
    fn default() -> Self {
        Self { cluster: 0.1, pair: 0.1, support: 0.34, double: 0.8, vote: Vote::Joint }
    }
}

/// Spans that several models may mean alike.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// Each with its model.
    pub spans: Vec<(Span, usize)>,
    /// Sum of the weights of its models.
    pub support: f64,
    /// What it stands for.
    pub chosen: Span,
    pub kept: bool,
}

/// How one category of one note came about.
#[derive(Clone, Debug, PartialEq)]
pub struct Agreement {
    /// `similar[m][n]`: F1 of the spans of two models.
    pub similar: Vec<Vec<f64>>,
    pub weights: Vec<f64>,
    pub clusters: Vec<Cluster>,
}

impl SpanConsensus {
    /// An error where a threshold is not in 0 to 1.
    pub fn checked(self) -> Result<Self> {
        let all = [("cluster", self.cluster), ("pair", self.pair), ("support", self.support), ("double", self.double)];
        match all.iter().find(|(_, value)| !(0.0..=1.0).contains(value)) {
            Some((name, value)) => Err(Error::input(format!("threshold `{name}` is {value}: expected 0 to 1"))),
            None => Ok(self),
        }
    }

    /// The consensus of models on one note, by start, end and category.
    pub fn combine(&self, models: &[Vec<Span>]) -> Vec<Span> {
        self.combine_overlaps(&Overlaps::of(models))
    }

    /// As [`SpanConsensus::combine`], of spans whose overlaps are worked out already.
    pub fn combine_overlaps(&self, overlaps: &Overlaps) -> Vec<Span> {
        let mut spans: Vec<Span> = overlaps.0.iter().flat_map(|pooled| self.kept(pooled)).collect();
        spans.sort();
        spans
    }

    fn kept(&self, pooled: &Pooled) -> Vec<Span> {
        let kept = self.agreed(pooled).clusters.into_iter().filter(|cluster| cluster.kept);
        let mut chosen: Vec<Span> = kept.map(|cluster| cluster.chosen).collect();
        chosen.sort();
        let mut out: Vec<Span> = Vec::with_capacity(chosen.len());
        for span in chosen {
            match out.iter_mut().find(|other| other.iou(&span) >= self.double) {
                Some(other) if span.chars() > other.chars() => *other = span,
                Some(_) => {}
                None => out.push(span),
            }
        }
        out
    }

    /// Weights and clusters of one category.
    pub fn agreement(&self, models: &[Vec<Span>], category: Category) -> Agreement {
        self.agreed(&Pooled::of(models, category))
    }

    fn agreed(&self, pooled: &Pooled) -> Agreement {
        let similar = pooled.similar(self.pair);
        let weights = weights(&similar);
        let clusters = pooled.clusters(self.cluster).into_iter().map(|spans| self.cluster(spans, &weights)).collect();
        Agreement { similar, weights, clusters }
    }

    fn cluster(&self, spans: Vec<(Span, usize)>, weights: &[f64]) -> Cluster {
        let distinct: BTreeSet<usize> = spans.iter().map(|(_, model)| *model).collect();
        let support: f64 = distinct.iter().map(|model| weights[*model]).sum();
        let chosen = match self.vote {
            Vote::Joint => joint(&spans, weights),
            Vote::Independent => independent(&spans, weights),
        };
        Cluster { kept: support >= self.support, chosen, support, spans }
    }
}

/// Mean similarity with the other models, in sum 1; equal where no two agree on anything.
fn weights(similar: &[Vec<f64>]) -> Vec<f64> {
    let models = similar.len();
    let others = |m: usize| (0..models).filter(|n| *n != m).map(|n| similar[m][n]).sum::<f64>();
    let means: Vec<f64> = (0..models).map(|m| if models > 1 { others(m) / (models - 1) as f64 } else { 1.0 }).collect();
    let sum: f64 = means.iter().sum();
    means.into_iter().map(|mean| if sum > 0.0 { mean / sum } else { 1.0 / models as f64 }).collect()
}

/// The heaviest key: weights of equal keys are added; of equals the first by `rank`.
fn heaviest<K: Ord + Copy, R: Ord>(votes: impl Iterator<Item = (K, f64)>, rank: impl Fn(K) -> R) -> Option<K> {
    let mut sums = BTreeMap::<K, f64>::new();
    votes.for_each(|(key, weight)| *sums.entry(key).or_default() += weight);
    let best = sums.values().copied().fold(f64::NEG_INFINITY, f64::max);
    // sums of the same weights in another order may differ in the last bit
    let tied = sums.into_iter().filter(|(_, sum)| *sum >= best - 1e-12).map(|(key, _)| key);
    tied.min_by_key(|key| rank(*key))
}

fn joint(spans: &[(Span, usize)], weights: &[f64]) -> Span {
    let votes = spans.iter().map(|(span, model)| (*span, weights[*model]));
    heaviest(votes, |span| (span.chars(), span)).unwrap_or(spans[0].0) // a cluster has a span
}

fn independent(spans: &[(Span, usize)], weights: &[f64]) -> Span {
    let start = heaviest(spans.iter().map(|(span, model)| (span.start, weights[*model])), |start| start);
    let end = heaviest(spans.iter().map(|(span, model)| (span.end, weights[*model])), Reverse);
    match start.zip(end) {
        Some((start, end)) if start < end => Span { start, end, ..spans[0].0 },
        _ => joint(spans, weights),
    }
}

/// How many of the answers have each span; one that an answer has twice counts once.
pub fn counts(answers: &[Vec<Span>]) -> BTreeMap<Span, usize> {
    let mut counts = BTreeMap::new();
    for answer in answers {
        answer.iter().collect::<BTreeSet<_>>().into_iter().for_each(|span| *counts.entry(*span).or_default() += 1);
    }
    counts
}

/// Spans that more than half of the answers have, offsets and category alike.
pub fn majority(answers: &[Vec<Span>]) -> Vec<Span> {
    counts(answers).into_iter().filter(|(_, n)| 2 * n > answers.len()).map(|(span, _)| span).collect()
}

/// Spans that any answer has.
pub fn union(answers: &[Vec<Span>]) -> Vec<Span> {
    counts(answers).into_keys().collect()
}

/// F1 of two sets of spans, offsets and category alike; 1 for two empty ones.
pub fn span_f1(a: &BTreeSet<Span>, b: &BTreeSet<Span>) -> f64 {
    match a.len() + b.len() {
        0 => 1.0,
        both => 2.0 * a.intersection(b).count() as f64 / both as f64,
    }
}

/// The answer with the highest mean F1 with all answers, the first of equals (Kumar and Byrne, NAACL 2004); None without answers.
pub fn nearest(answers: &[Vec<Span>]) -> Option<usize> {
    let sets: Vec<BTreeSet<Span>> = answers.iter().map(|answer| answer.iter().copied().collect()).collect();
    let gain = |i: usize| sets.iter().map(|other| span_f1(&sets[i], other)).sum::<f64>();
    (0..sets.len()).rev().max_by(|&i, &j| gain(i).total_cmp(&gain(j)))
}

/// The set of spans with the highest mean F1 with all answers, the smallest of equals; it need not be one that was given.
///
/// For a set of k spans the sum of F1 with answers $A_j$ is $\sum_j 2|S \cap A_j| / (k + |A_j|)$: each span adds $\sum_{j: s \in A_j} 2/(k + |A_j|)$,
/// whatever the others are. So the best set of k is that of the k largest, and only k is tried: O(n² log n) for n different spans.
pub fn expected(answers: &[Vec<Span>]) -> Vec<Span> {
    let sets: Vec<BTreeSet<Span>> = answers.iter().map(|answer| answer.iter().copied().collect()).collect();
    let pool = union(answers);
    let mut best = (sets.iter().filter(|set| set.is_empty()).count() as f64, Vec::new());
    for k in 1..=pool.len() {
        let adds = |span: &Span| {
            let having = sets.iter().filter(|set| set.contains(span));
            having.map(|set| 2.0 / (k + set.len()) as f64).sum::<f64>()
        };
        let mut ranked: Vec<(f64, Span)> = pool.iter().map(|span| (adds(span), *span)).collect();
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let gain: f64 = ranked[..k].iter().map(|(adds, _)| adds).sum();
        if gain > best.0 + 1e-12 {
            best = (gain, ranked[..k].iter().map(|(_, span)| *span).collect());
        }
    }
    best.1.sort();
    best.1
}

/// How the answers of several models to one note become one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SpanRule {
    /// Clusters of overlapping spans, models weighted by their agreement.
    Cluster(SpanConsensus),
    Majority,
    Union,
    Nearest,
    Expected,
}

impl SpanRule {
    /// One answer out of several; empty where there are none.
    pub fn combine(&self, answers: &[Vec<Span>]) -> Vec<Span> {
        match self {
            Self::Cluster(rule) => rule.combine(answers),
            Self::Majority => majority(answers),
            Self::Union => union(answers),
            Self::Nearest => nearest(answers).map(|i| answers[i].clone()).unwrap_or_default(),
            Self::Expected => expected(answers),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(all: &[(usize, usize)]) -> Vec<Span> {
        all.iter().map(|&(start, end)| Span::new(start, end, Category::DrugDecision)).collect()
    }

    fn models() -> Vec<Vec<Span>> {
        vec![spans(&[(0, 10), (20, 30), (50, 60)]), spans(&[(0, 12), (20, 30)]), spans(&[(2, 10), (40, 45)])]
    }

    /// The vector `mbr` of the project's specification, computed with the published code.
    #[test]
    fn weights_clusters_and_bounds_are_the_published_ones() {
        let found = SpanConsensus::default().agreement(&models(), Category::DrugDecision);
        let similar = [
            [1.0, 0.7333333333333333, 0.32],
            [0.7333333333333333, 1.0, 0.3333333333333333],
            [0.32, 0.3333333333333333, 1.0],
        ];
        let weights = [0.37980769230769224, 0.3846153846153846, 0.23557692307692307];
        for m in 0..3 {
            assert!((found.weights[m] - weights[m]).abs() < 1e-12);
            (0..3).for_each(|n| assert!((found.similar[m][n] - similar[m][n]).abs() < 1e-12));
        }
        let clusters: Vec<_> =
            found.clusters.iter().map(|c| (c.spans.len(), c.chosen.start, c.chosen.end, c.kept)).collect();
        assert_eq!(clusters, [(3, 0, 12, true), (2, 20, 30, true), (1, 40, 45, false), (1, 50, 60, true)]);
        let support = [1.0, 0.7644230769230769, 0.23557692307692307, 0.37980769230769224];
        found.clusters.iter().zip(support).for_each(|(c, want)| assert!((c.support - want).abs() < 1e-12));
        assert_eq!(SpanConsensus::default().combine(&models()), spans(&[(0, 12), (20, 30), (50, 60)]));
    }

    #[test]
    fn votes_on_start_and_end_may_make_a_span_that_no_model_has() {
        let all = [spans(&[(0, 10)]), spans(&[(0, 12)]), spans(&[(2, 12)])];
        let independent = SpanConsensus { vote: Vote::Independent, ..SpanConsensus::default() };
        assert_eq!(independent.combine(&all), spans(&[(0, 12)]));
        let all = [spans(&[(0, 10)]), spans(&[(1, 12)])];
        assert_eq!(
            independent.combine(&all),
            spans(&[(0, 12)]),
            "of equal starts the smaller, of equal ends the larger"
        );
        assert_eq!(SpanConsensus::default().combine(&all), spans(&[(0, 10)]), "of equal spans the shorter");
    }

    #[test]
    fn one_model_is_its_own_consensus_and_models_that_agree_on_nothing_weigh_alike() {
        let one = SpanConsensus::default();
        assert_eq!(one.combine(&models()[..1]), models()[0]);
        let apart = [spans(&[(0, 4)]), spans(&[(10, 14)]), spans(&[(20, 24)])];
        assert_eq!(one.agreement(&apart, Category::DrugDecision).weights, [1.0 / 3.0; 3]);
        assert!(one.combine(&apart).is_empty() && one.combine(&[]).is_empty());
        assert!(SpanConsensus { pair: 1.5, ..one }.checked().unwrap_err().to_string().contains("`pair` is 1.5"));
    }

    #[test]
    fn the_longer_of_two_nearly_equal_spans_stays() {
        let all = [spans(&[(0, 100), (0, 90)])];
        let strict = SpanConsensus { cluster: 0.95, ..SpanConsensus::default() };
        assert_eq!(strict.combine(&all), spans(&[(0, 100)]));
    }

    #[test]
    fn majority_union_and_minimum_bayes_risk() {
        let all = [spans(&[(0, 1), (2, 3)]), spans(&[(0, 1), (4, 5)]), spans(&[(0, 1), (2, 3), (2, 3)]), spans(&[])];
        assert_eq!(majority(&all), spans(&[(0, 1)]));
        assert_eq!(union(&all), spans(&[(0, 1), (2, 3), (4, 5)]));
        assert_eq!(nearest(&all), Some(0));
        // k = 1: (2/3 + 2/3 + 2/3 + 0); k = 2: (1 + 1/2 + 1 + 0); k = 3: (4/5 + 4/5 + 4/5 + 0)
        assert_eq!(expected(&all), spans(&[(0, 1), (2, 3)]));
        assert!(expected(&[vec![], vec![]]).is_empty() && nearest(&[]).is_none());
    }

    /// The naive twin: the best of all subsets of the pooled spans.
    #[test]
    fn no_subset_of_the_spans_has_a_higher_mean_f1() {
        use crate::corpus::synthetic::dice::Dice;
        let mut dice = Dice::new(5, 0);
        for _ in 0..300 {
            let any = |dice: &mut Dice| -> Vec<Span> {
                let pool = spans(&[(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6)]);
                pool.into_iter().filter(|_| dice.chance(0.4)).collect()
            };
            let answers: Vec<Vec<Span>> = (0..1 + dice.below(5)).map(|_| any(&mut dice)).collect();
            let sets: Vec<BTreeSet<Span>> = answers.iter().map(|answer| answer.iter().copied().collect()).collect();
            let gain = |set: &BTreeSet<Span>| sets.iter().map(|other| span_f1(set, other)).sum::<f64>();
            let pool = union(&answers);
            let best = (0..1u32 << pool.len()).map(|bits| {
                gain(&pool.iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1).map(|(_, span)| *span).collect())
            });
            let best = best.fold(0.0, f64::max);
            assert!((gain(&expected(&answers).into_iter().collect()) - best).abs() < 1e-9, "{answers:?}");
        }
    }
}

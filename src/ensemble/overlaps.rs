//! The spans of several models on one note with what they have in common, worked out once: a search over thresholds tries thousands of them on
//! the same spans.
//!
//! No threshold enters here. Pairing takes the highest IoU first, so the pairs at a threshold are those of the pairing without one whose IoU
//! reaches it: what comes later in the order never changes what came before.
use crate::corpus::decisions::{Category, Span};
use crate::metric::spans::paired;
use std::collections::BTreeMap;

/// All categories of one note.
#[derive(Clone, Debug)]
pub struct Overlaps(pub(super) Vec<Pooled>);

impl Overlaps {
    /// `models`: the spans of each.
    pub fn of(models: &[Vec<Span>]) -> Self {
        Self(Category::ALL.iter().map(|category| Pooled::of(models, *category)).collect())
    }
}

/// The spans of one category.
#[derive(Clone, Debug)]
pub(super) struct Pooled {
    /// Spans of each model.
    counts: Vec<usize>,
    /// `pairs[m][n]`: IoU of the spans of two models, paired one to one, the highest first.
    pairs: Vec<Vec<Vec<f64>>>,
    /// Spans of all models with their model, by start.
    spans: Vec<(Span, usize)>,
    /// Two places in `spans` and their IoU, above 0.
    touching: Vec<(usize, usize, f64)>,
}

impl Pooled {
    pub fn of(models: &[Vec<Span>], category: Category) -> Self {
        let of = |spans: &Vec<Span>| -> Vec<Span> {
            spans.iter().filter(|span| span.category == category && span.start < span.end).copied().collect()
        };
        let models: Vec<Vec<Span>> = models.iter().map(of).collect();
        let ious = |a: &Vec<Span>, b: &Vec<Span>| paired(a, b, 0.0).iter().map(|(.., iou)| *iou).collect();
        let pairs = models.iter().map(|a| models.iter().map(|b| ious(a, b)).collect()).collect();
        let mut spans: Vec<(Span, usize)> =
            models.iter().enumerate().flat_map(|(m, spans)| spans.iter().map(move |span| (*span, m))).collect();
        spans.sort();
        let both = (0..spans.len()).flat_map(|i| (0..i).map(move |j| (i, j)));
        let touching = both.map(|(i, j)| (i, j, spans[i].0.iou(&spans[j].0))).filter(|(.., iou)| *iou > 0.0).collect();
        Self { counts: models.iter().map(Vec::len).collect(), pairs, spans, touching }
    }

    /// `similar[m][n]`: F1 of the spans of two models, paired at an IoU of at least `least`.
    pub fn similar(&self, least: f64) -> Vec<Vec<f64>> {
        let models = 0..self.counts.len();
        models.clone().map(|m| models.clone().map(|n| self.similarity(m, n, least)).collect()).collect()
    }

    /// Each pair counts by its IoU; 1 for two empty lists.
    fn similarity(&self, m: usize, n: usize, least: f64) -> f64 {
        let (a, b) = (self.counts[m], self.counts[n]);
        if a == 0 || b == 0 {
            return f64::from(a == b);
        }
        let sum: f64 = self.pairs[m][n].iter().take_while(|iou| **iou >= least).sum();
        let (precision, recall) = (sum / a as f64, sum / b as f64);
        if sum > 0.0 { 2.0 * precision * recall / (precision + recall) } else { 0.0 }
    }

    /// Connected components under IoU ≥ `least`, each in the order of the spans, the components by their first span.
    pub fn clusters(&self, least: f64) -> Vec<Vec<(Span, usize)>> {
        let mut part: Vec<usize> = (0..self.spans.len()).collect();
        for &(i, j, _) in self.touching.iter().filter(|(.., iou)| *iou >= least) {
            if part[i] != part[j] {
                let (keep, change) = (part[i].min(part[j]), part[i].max(part[j]));
                part.iter_mut().filter(|one| **one == change).for_each(|one| *one = keep);
            }
        }
        let mut all = BTreeMap::<usize, Vec<(Span, usize)>>::new();
        self.spans.iter().zip(part).for_each(|(span, part)| all.entry(part).or_default().push(*span));
        all.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition without anything worked out before.
    fn naive(a: &[Span], b: &[Span], least: f64) -> f64 {
        if a.is_empty() || b.is_empty() {
            return f64::from(a.is_empty() && b.is_empty());
        }
        let sum: f64 = paired(a, b, least).iter().map(|(.., iou)| iou).sum();
        if sum > 0.0 { 2.0 * sum / (a.len() + b.len()) as f64 } else { 0.0 }
    }

    #[test]
    fn similarity_at_any_threshold_is_that_of_pairing_anew() {
        let spans = |all: &[(usize, usize)]| -> Vec<Span> {
            all.iter().map(|&(start, end)| Span::new(start, end, Category::DrugDecision)).collect()
        };
        let models = [
            spans(&[(0, 10), (8, 20), (30, 40), (35, 44)]),
            spans(&[(0, 8), (4, 14), (9, 21), (33, 41)]),
            spans(&[(2, 12), (30, 44)]),
            spans(&[]),
        ];
        let pooled = Pooled::of(&models, Category::DrugDecision);
        for step in 0..=20 {
            let least = f64::from(step) / 20.0;
            let similar = pooled.similar(least);
            for m in 0..4 {
                for n in 0..4 {
                    let want = naive(&models[m], &models[n], least);
                    assert!((similar[m][n] - want).abs() < 1e-12, "{m} and {n} at {least}: {} {want}", similar[m][n]);
                }
            }
        }
        assert!(Pooled::of(&models, Category::GatherInfo).spans.is_empty());
        assert_eq!((pooled.clusters(0.0).len(), pooled.clusters(1.0).len()), (2, 10));
    }
}

//! Metrics of label sets. For case i let G be the gold set and P the predicted set;
//! TP = |G∩P|, FP = |P∖G|, FN = |G∖P|.
//!
//! Every metric but the means over labels is a ratio of two sums over cases, Σ num / Σ den, or a mean over cases, so a case enters a
//! resample by its weight alone. That is what `Statistic` keeps, and why a bootstrap of a thousand resamples takes milliseconds.
//! Nothing here normalises a label: give outcomes of normalised labels to get the normalised metric.
use super::statistic::{Hit, LabelSet, Mean, Score, Statistic};
use super::{MetricInfo, Outcome, ScoreTable};
use std::collections::{BTreeMap, BTreeSet};

/// A metric by name. `Display` gives the key used in `metrics.json`.
#[derive(Clone, Debug, PartialEq)]
pub enum Metric {
    MicroF1,
    MicroPrecision,
    MicroRecall,
    Jaccard,
    Exact,
    SampleF1,
    MacroF1(LabelSet),
    MacroPrecision(LabelSet),
    MacroRecall(LabelSet),
    /// Means over labels weighted by their gold cases; see [`weighted_f1`].
    WeightedF1,
    WeightedPrecision,
    WeightedRecall,
    Hamming,
    LabelsPerCase,
    /// Share of predicted labels outside the vocabulary given here.
    Hallucinated(BTreeSet<String>),
    ParseFailure,
}

impl Metric {
    /// Every metric that needs no vocabulary, the main ones first.
    pub const PLAIN: [Metric; 18] = [
        Metric::MicroF1,
        Metric::Jaccard,
        Metric::Exact,
        Metric::MacroF1(LabelSet::Gold),
        Metric::MacroF1(LabelSet::Union),
        Metric::MicroPrecision,
        Metric::MicroRecall,
        Metric::MacroPrecision(LabelSet::Gold),
        Metric::MacroRecall(LabelSet::Gold),
        Metric::MacroPrecision(LabelSet::Union),
        Metric::MacroRecall(LabelSet::Union),
        Metric::WeightedF1,
        Metric::WeightedPrecision,
        Metric::WeightedRecall,
        Metric::SampleF1,
        Metric::Hamming,
        Metric::LabelsPerCase,
        Metric::ParseFailure,
    ];

    /// What a resample needs to know of every case; see [`Statistic::value`].
    ///
    /// The label space of the Hamming loss is the union of gold and predicted labels of these outcomes.
    pub fn statistic(&self, outcomes: &[Outcome]) -> Statistic {
        if let Some((score, mean)) = self.over_labels() {
            return per_label(outcomes, score, mean);
        }
        if *self == Metric::LabelsPerCase {
            return Statistic::Count(outcomes.iter().map(|outcome| outcome.predicted.len() as f64).collect());
        }
        let space = if *self == Metric::Hamming { label_space(outcomes).len() as f64 } else { 0.0 };
        Statistic::Ratio(outcomes.iter().map(|outcome| self.ratio(outcome, space)).collect())
    }

    /// Every metric of several sets of outcomes that are to be compared. The label space of the Hamming loss is that of all of them, so
    /// that a set does not look better for having invented more labels; no other metric depends on it.
    pub fn tables(metrics: &[Metric], sets: &[&[Outcome]]) -> Vec<ScoreTable> {
        let all = sets.concat();
        let (whole, space) = (metrics.iter().map(|metric| metric.statistic(&all)).collect::<Vec<_>>(), hash(&all));
        let mut from = 0;
        let table = |set: &&[Outcome]| {
            let cases: Vec<usize> = (from..from + set.len()).collect();
            from += set.len();
            let columns = metrics.iter().zip(&whole).map(|(metric, whole)| (metric.info(), whole.at(&cases))).collect();
            let text = |of: fn(&Outcome) -> &String| set.iter().map(|case| of(case).clone()).collect();
            let gold = set.iter().map(|case| case.gold.iter().cloned().collect::<Vec<_>>().join("\u{1f}")).collect();
            ScoreTable { ids: text(|case| &case.case_id), groups: text(|case| &case.group), gold, columns, space }
        };
        sets.iter().map(table).collect()
    }

    /// Every metric of one set of outcomes.
    pub fn table(metrics: &[Metric], outcomes: &[Outcome]) -> ScoreTable {
        Self::tables(metrics, &[outcomes]).remove(0)
    }

    pub fn info(&self) -> MetricInfo {
        MetricInfo {
            key: self.to_string(),
            smaller_is_better: matches!(self, Metric::Hamming | Metric::Hallucinated(_) | Metric::ParseFailure),
            counts_cases: matches!(self, Metric::Exact | Metric::ParseFailure),
        }
    }

    /// What is averaged over labels and how, for the metrics that are such a mean.
    fn over_labels(&self) -> Option<(Score, Mean)> {
        Some(match self {
            Metric::MacroF1(set) => (Score::F1, Mean::Of(*set)),
            Metric::MacroPrecision(set) => (Score::Precision, Mean::Of(*set)),
            Metric::MacroRecall(set) => (Score::Recall, Mean::Of(*set)),
            Metric::WeightedF1 => (Score::F1, Mean::ByGold),
            Metric::WeightedPrecision => (Score::Precision, Mean::ByGold),
            Metric::WeightedRecall => (Score::Recall, Mean::ByGold),
            _ => return None,
        })
    }

    /// (numerator, denominator) of one case.
    fn ratio(&self, case: &Outcome, space: f64) -> (f64, f64) {
        let tp = case.gold.intersection(&case.predicted).count() as f64;
        let (gold, predicted) = (case.gold.len() as f64, case.predicted.len() as f64);
        match self {
            Metric::MicroF1 => (2.0 * tp, gold + predicted),
            Metric::MicroPrecision => (tp, predicted),
            Metric::MicroRecall => (tp, gold),
            Metric::Jaccard => (share(tp, gold + predicted - tp), 1.0),
            Metric::Exact => (f64::from(case.gold == case.predicted), 1.0),
            Metric::SampleF1 => (share(2.0 * tp, gold + predicted), 1.0),
            Metric::Hamming => (gold + predicted - 2.0 * tp, space),
            Metric::Hallucinated(known) => (case.predicted.difference(known).count() as f64, predicted),
            Metric::ParseFailure => (f64::from(!case.parsed), 1.0),
            _ => (0.0, 0.0), // means over labels and of counts are no such ratios; `statistic` returned before this
        }
    }
}

impl std::fmt::Display for Metric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Metric::MicroF1 => "micro_f1",
            Metric::MicroPrecision => "micro_precision",
            Metric::MicroRecall => "micro_recall",
            Metric::Jaccard => "jaccard",
            Metric::Exact => "exact_match",
            Metric::SampleF1 => "sample_f1",
            Metric::MacroF1(LabelSet::Gold) => "macro_f1_gold",
            Metric::MacroF1(LabelSet::Union) => "macro_f1_union",
            Metric::MacroPrecision(LabelSet::Gold) => "macro_precision_gold",
            Metric::MacroPrecision(LabelSet::Union) => "macro_precision_union",
            Metric::MacroRecall(LabelSet::Gold) => "macro_recall_gold",
            Metric::MacroRecall(LabelSet::Union) => "macro_recall_union",
            Metric::WeightedF1 => "weighted_f1",
            Metric::WeightedPrecision => "weighted_precision",
            Metric::WeightedRecall => "weighted_recall",
            Metric::Hamming => "hamming_loss",
            Metric::LabelsPerCase => "labels_per_case",
            Metric::Hallucinated(_) => "hallucinated_rate",
            Metric::ParseFailure => "parse_failure_rate",
        })
    }
}

impl std::str::FromStr for Metric {
    type Err = crate::Error;

    /// The metric of a key of `metrics.json`. `hallucinated_rate` needs a vocabulary and has no name alone.
    fn from_str(key: &str) -> Result<Self, Self::Err> {
        Metric::PLAIN.into_iter().find(|metric| metric.to_string() == key).ok_or_else(|| {
            let known: Vec<String> = Metric::PLAIN.iter().map(Metric::to_string).collect();
            crate::Error::input(format!("unknown metric `{key}`: expected one of {}", known.join(", ")))
        })
    }
}

fn per_label(outcomes: &[Outcome], score: Score, mean: Mean) -> Statistic {
    let space = label_space(outcomes);
    let index: BTreeMap<&str, usize> = space.iter().enumerate().map(|(i, label)| (*label, i)).collect();
    let hits = |case: &Outcome| {
        let of = |label: &String| index[label.as_str()];
        let right = case.gold.intersection(&case.predicted).map(|label| (of(label), Hit::TruePositive));
        let invented = case.predicted.difference(&case.gold).map(|label| (of(label), Hit::FalsePositive));
        let missed = case.gold.difference(&case.predicted).map(|label| (of(label), Hit::FalseNegative));
        right.chain(invented).chain(missed).collect()
    };
    Statistic::PerLabel { labels: space.len(), score, mean, cases: outcomes.iter().map(hits).collect() }
}

/// A number for the label space, to tell whether two tables have the same.
fn hash(outcomes: &[Outcome]) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    label_space(outcomes).hash(&mut hasher);
    hasher.finish()
}

/// The group of each case.
pub(super) fn groups_of(outcomes: &[Outcome]) -> Vec<&str> {
    outcomes.iter().map(|case| case.group.as_str()).collect()
}

fn label_space(outcomes: &[Outcome]) -> BTreeSet<&str> {
    outcomes.iter().flat_map(|case| case.gold.iter().chain(&case.predicted)).map(String::as_str).collect()
}

/// num/den, and 1 for 0/0: two empty sets agree.
fn share(num: f64, den: f64) -> f64 {
    if den == 0.0 { 1.0 } else { num / den }
}

/// Σ TP / Σ (TP + FP). None when nothing was predicted.
///
/// `gold {a, b}, predicted {a, c}` and `gold {a}, predicted {}`: 1/2.
pub fn micro_precision(outcomes: &[Outcome]) -> Option<f64> {
    Metric::MicroPrecision.statistic(outcomes).plain()
}

/// Σ TP / Σ (TP + FN). None when there is no gold label.
///
/// `gold {a, b}, predicted {a, c}` and `gold {a}, predicted {}`: 1/3.
pub fn micro_recall(outcomes: &[Outcome]) -> Option<f64> {
    Metric::MicroRecall.statistic(outcomes).plain()
}

/// 2 Σ TP / (2 Σ TP + Σ FP + Σ FN). None when every set is empty.
///
/// ```
/// use dxlab::metric::{micro_f1, Outcome};
/// let case = |gold: &[&str], predicted: &[&str]| {
///     let set = |labels: &[&str]| labels.iter().map(|label| label.to_string()).collect();
///     Outcome { case_id: "1".into(), group: "1".into(), gold: set(gold), predicted: set(predicted), parsed: true }
/// };
/// // one right, one invented, two missed: 2·1 / (2·1 + 1 + 2)
/// assert_eq!(micro_f1(&[case(&["a", "b"], &["a", "c"]), case(&["a"], &[])]), Some(0.4));
/// assert_eq!(micro_f1(&[case(&[], &[])]), None);
/// ```
pub fn micro_f1(outcomes: &[Outcome]) -> Option<f64> {
    Metric::MicroF1.statistic(outcomes).plain()
}

/// Mean over cases of |G∩P| / |G∪P|, 1 where both are empty. None without cases.
///
/// `gold {a, b}, predicted {a, c}` and `gold {}, predicted {}`: (1/3 + 1)/2 = 2/3.
pub fn jaccard(outcomes: &[Outcome]) -> Option<f64> {
    Metric::Jaccard.statistic(outcomes).plain()
}

/// Share of cases with G = P. None without cases.
///
/// `gold {a, b}, predicted {b, a}` and `gold {a}, predicted {a, b}`: 1/2.
pub fn exact_match(outcomes: &[Outcome]) -> Option<f64> {
    Metric::Exact.statistic(outcomes).plain()
}

/// Mean over cases of 2|G∩P| / (|G| + |P|), 1 where both are empty. None without cases.
///
/// `gold {a, b}, predicted {a, c}` and `gold {a}, predicted {}`: (1/2 + 0)/2 = 1/4.
pub fn sample_f1(outcomes: &[Outcome]) -> Option<f64> {
    Metric::SampleF1.statistic(outcomes).plain()
}

/// Mean over the labels of `set` of 2 TP / (2 TP + FP + FN), counted per label. None without labels.
///
/// In a resample the set is that of the resample: a label whose only case was not drawn has no F1 there.
///
/// ```
/// use dxlab::metric::{macro_f1, LabelSet, Outcome};
/// let set = |labels: &[&str]| labels.iter().map(|label| label.to_string()).collect();
/// let case = Outcome { case_id: "1".into(), group: "1".into(), gold: set(&["a", "b"]), predicted: set(&["a", "c"]), parsed: true };
/// // a: 1, b: 0, and c (invented): 0
/// assert_eq!(macro_f1(&[case.clone()], LabelSet::Gold), Some(1.0 / 2.0));
/// assert_eq!(macro_f1(&[case], LabelSet::Union), Some(1.0 / 3.0));
/// ```
pub fn macro_f1(outcomes: &[Outcome], set: LabelSet) -> Option<f64> {
    Metric::MacroF1(set).statistic(outcomes).plain()
}

/// Σ n(ℓ)·F1(ℓ) / Σ n(ℓ) over labels, n(ℓ) the gold cases of a label: between micro-F1, which also counts invented labels that
/// no case has, and macro-F1. None without gold labels. Weighted recall is micro recall.
///
/// `gold {a, b}, predicted {a, c}` and `gold {a}, predicted {}`: a has F1 2/3 in 2 cases, b 0 in 1: 4/9.
pub fn weighted_f1(outcomes: &[Outcome]) -> Option<f64> {
    Metric::WeightedF1.statistic(outcomes).plain()
}

/// Σ |G△P| / (N·L), L the number of labels that are gold or predicted anywhere. None without labels.
///
/// `gold {a, b}, predicted {a, c}` and `gold {a}, predicted {a}`: 2/(2·3) = 1/3.
pub fn hamming_loss(outcomes: &[Outcome]) -> Option<f64> {
    Metric::Hamming.statistic(outcomes).plain()
}

/// Mean |P|. None without cases. The gold mean stands in the data chapter; a model that never stops shows here.
pub fn labels_per_case(outcomes: &[Outcome]) -> Option<f64> {
    Metric::LabelsPerCase.statistic(outcomes).plain()
}

/// Share of predicted labels that are not in `known`. None when nothing was predicted.
///
/// `known {a, b}`, predicted `{a, c}` and `{b}`: 1/3.
pub fn hallucinated_rate(outcomes: &[Outcome], known: &BTreeSet<String>) -> Option<f64> {
    Metric::Hallucinated(known.clone()).statistic(outcomes).plain()
}

/// Share of cases whose answer gave no label at all. None without cases.
pub fn parse_failure_rate(outcomes: &[Outcome]) -> Option<f64> {
    Metric::ParseFailure.statistic(outcomes).plain()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(gold: &[&str], predicted: &[&str]) -> Outcome {
        let set = |labels: &[&str]| labels.iter().map(|label| label.to_string()).collect();
        Outcome {
            case_id: "1".into(),
            group: "1".into(),
            gold: set(gold),
            predicted: set(predicted),
            parsed: !predicted.is_empty(),
        }
    }

    #[test]
    fn the_worked_examples_of_the_docstrings_hold() {
        let two = [case(&["a", "b"], &["a", "c"]), case(&["a"], &[])];
        assert_eq!(micro_precision(&two), Some(0.5));
        assert_eq!(micro_recall(&two), Some(1.0 / 3.0));
        assert_eq!(sample_f1(&two), Some(0.25));
        assert!((weighted_f1(&two).unwrap() - 4.0 / 9.0).abs() < 1e-15);
        assert_eq!(Metric::WeightedRecall.statistic(&two).plain(), micro_recall(&two));
        assert_eq!(Metric::MacroPrecision(LabelSet::Gold).statistic(&two).plain(), Some(0.5), "b is never predicted");
        assert_eq!(parse_failure_rate(&two), Some(0.5));
        assert_eq!(labels_per_case(&two), Some(1.0));
        assert_eq!(jaccard(&[case(&["a", "b"], &["a", "c"]), case(&[], &[])]), Some(2.0 / 3.0));
        assert_eq!(exact_match(&[case(&["a", "b"], &["b", "a"]), case(&["a"], &["a", "b"])]), Some(0.5));
        assert_eq!(hamming_loss(&[case(&["a", "b"], &["a", "c"]), case(&["a"], &["a"])]), Some(1.0 / 3.0));
        let known = ["a", "b"].map(String::from).into();
        assert_eq!(hallucinated_rate(&[case(&[], &["a", "c"]), case(&[], &["b"])], &known), Some(1.0 / 3.0));
    }

    #[test]
    fn undefined_is_none_and_not_zero() {
        let known = BTreeSet::new();
        assert!(Metric::PLAIN.iter().all(|metric| metric.statistic(&[]).plain().is_none()));
        let empty = [case(&[], &[])];
        assert_eq!((micro_f1(&empty), micro_precision(&empty), micro_recall(&empty)), (None, None, None));
        assert_eq!((macro_f1(&empty, LabelSet::Union), hamming_loss(&empty)), (None, None));
        assert_eq!(hallucinated_rate(&empty, &known), None);
        assert_eq!(jaccard(&empty), Some(1.0), "two empty sets agree");
    }

    #[test]
    fn a_weight_of_two_counts_like_the_case_twice() {
        let (a, b) = (case(&["a", "b"], &["a", "c"]), case(&["b"], &["b"]));
        for metric in Metric::PLAIN {
            let weighted = metric.statistic(&[a.clone(), b.clone()]).value(&[2, 1]);
            let repeated = metric.statistic(&[a.clone(), a.clone(), b.clone()]).plain();
            assert_eq!(weighted, repeated, "{metric}");
        }
    }

    #[test]
    fn sets_that_are_compared_share_a_label_space_and_nothing_else_changes() {
        let (a, b) =
            ([case(&["a"], &["a"]), case(&["a", "b"], &[])], [case(&["a"], &["x"]), case(&["a", "b"], &["a"])]);
        let together = |metric: &Metric| -> Vec<_> {
            let tables = Metric::tables(std::slice::from_ref(metric), &[&a, &b]);
            tables.iter().map(|table| table.value(&metric.to_string()).unwrap()).collect()
        };
        for metric in Metric::PLAIN.into_iter().filter(|metric| *metric != Metric::Hamming) {
            let plain = |set: &[Outcome]| metric.statistic(set).plain();
            let both = together(&metric);
            assert_eq!(both, [plain(&a), plain(&b)], "{metric}");
        }
        // a, b and x: 2/(2·3) and 3/(2·3)
        let both = together(&Metric::Hamming);
        assert_eq!((both, hamming_loss(&a)), (vec![Some(2.0 / 6.0), Some(3.0 / 6.0)], Some(0.5)));
    }

    #[test]
    fn every_name_is_read_back() {
        assert!(Metric::PLAIN.into_iter().all(|metric| metric.to_string().parse::<Metric>().unwrap() == metric));
        assert!("f1".parse::<Metric>().unwrap_err().to_string().contains("micro_f1"));
    }
}

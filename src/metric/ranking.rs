//! Metrics of ranked answers: was a right one among the first k?
//!
//! With G the gold answers of a patient and h = 1 if any of them is among the first k lines:
//!
//! ```text
//! Hit@k           mean of h over patients
//! macro Hit@k     mean over diseases of the mean of h over the patients that carry it: a hit on one disease credits all of the patient
//! strict macro    the same with h = 1 only where this very disease is among the first k
//! MRR             mean of 1/rank of the best-placed gold answer, 0 where none is listed
//! Hamming loss    answers of the first ten that are wrong + gold answers that are missing, over all diseases of the space
//! ```
//!
//! Macro Hit@k with credit can exceed Hit@k, so both are given; the difference to the strict one is the inflation by credit.
use super::statistic::{Hit, LabelSet, Mean, Score, Statistic};
use super::{MetricInfo, ScoreTable};
use std::collections::BTreeMap;

/// What became of a patient's gold answers in a ranked list.
#[derive(Clone, Debug, PartialEq)]
pub struct RankedCase {
    pub case_id: String,
    pub group: String,
    /// Each gold answer with its rank, 1 for the best; none where it is not listed. Of equal scores the worst rank.
    pub gold: Vec<(String, Option<usize>)>,
    /// How many answers stand among the first ten.
    pub listed: usize,
    /// Answers of the first ten that are nothing that can be right or wrong (no disease of that name); they count as wrong.
    pub unknown: usize,
    /// False where no answer could be read.
    pub parsed: bool,
}

impl RankedCase {
    /// The rank of the best-placed gold answer.
    pub fn best(&self) -> Option<usize> {
        self.gold.iter().filter_map(|(_, rank)| *rank).min()
    }

    /// Whether a gold answer is among the first k.
    pub fn hit(&self, k: usize) -> bool {
        self.best().is_some_and(|rank| rank <= k)
    }

    fn right(&self) -> f64 {
        self.gold.iter().filter(|(_, rank)| rank.is_some_and(|rank| rank <= 10)).count() as f64
    }
}

/// The metrics of several sets of ranked answers, Hit@10 first. `space` is the number of answers that could be given (L of the Hamming
/// loss).
pub fn ranking_tables(sets: &[Vec<RankedCase>], space: usize) -> Vec<ScoreTable> {
    sets.iter().map(|cases| table(cases, space)).collect()
}

fn table(cases: &[RankedCase], space: usize) -> ScoreTable {
    let share = |one: &dyn Fn(&RankedCase) -> (f64, f64)| Statistic::Ratio(cases.iter().map(one).collect());
    let hit = |k: usize| (counted(&format!("hit_{k}")), share(&move |case| (f64::from(case.hit(k)), 1.0)));
    let reciprocal = |case: &RankedCase| (case.best().map_or(0.0, |rank| 1.0 / rank as f64), 1.0);
    let wrong = |case: &RankedCase| {
        let missing = case.gold.len() as f64 - case.right();
        (missing + case.listed as f64 - case.right(), space.max(1) as f64)
    };
    let smaller =
        |key: &str, counts_cases| MetricInfo { smaller_is_better: true, counts_cases, ..MetricInfo::new(key) };
    ScoreTable {
        ids: cases.iter().map(|case| case.case_id.clone()).collect(),
        groups: cases.iter().map(|case| case.group.clone()).collect(),
        gold: cases.iter().map(gold_text).collect(),
        columns: vec![
            hit(10),
            hit(1),
            hit(3),
            hit(5),
            (MetricInfo::new("mrr"), share(&reciprocal)),
            (MetricInfo::new("macro_hit_10"), macro_hit(cases, 10, true)),
            (MetricInfo::new("macro_hit_10_strict"), macro_hit(cases, 10, false)),
            (MetricInfo::new("precision_10"), share(&|case| (case.right(), case.listed.max(1) as f64))),
            (MetricInfo::new("recall_10"), share(&|case| (case.right(), case.gold.len() as f64))),
            (smaller("hamming_10", false), share(&wrong)),
            (smaller("unknown_names", false), share(&|case| (case.unknown as f64, case.listed as f64))),
            (smaller("parse_failure", true), share(&|case| (f64::from(!case.parsed), 1.0))),
        ],
        space: space as u64,
    }
}

fn counted(key: &str) -> MetricInfo {
    MetricInfo { counts_cases: true, ..MetricInfo::new(key) }
}

fn gold_text(case: &RankedCase) -> String {
    case.gold.iter().map(|(gold, _)| gold.as_str()).collect::<Vec<_>>().join("; ")
}

/// A mean over diseases of the share of their patients that are hit.
fn macro_hit(cases: &[RankedCase], k: usize, credit: bool) -> Statistic {
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for (gold, _) in cases.iter().flat_map(|case| &case.gold) {
        let next = places.len();
        places.entry(gold).or_insert(next);
    }
    let outcome = |case: &RankedCase| {
        let own = |(gold, rank): &(String, Option<usize>)| {
            let hit = if credit { case.hit(k) } else { rank.is_some_and(|rank| rank <= k) };
            (places[gold.as_str()], if hit { Hit::TruePositive } else { Hit::FalseNegative })
        };
        case.gold.iter().map(own).collect()
    };
    Statistic::PerLabel {
        labels: places.len(),
        score: Score::Recall,
        mean: Mean::Of(LabelSet::Gold),
        cases: cases.iter().map(outcome).collect(),
    }
}

/// The share of patients with `gold` of `classes` equally likely answers that `k` different guesses at random hit:
/// 1 − C(classes − gold, k) / C(classes, k).
pub fn random_hit(classes: usize, gold: usize, k: usize) -> f64 {
    if classes == 0 {
        return 0.0;
    }
    let miss = (0..k.min(classes)).map(|i| {
        let left = classes as f64 - i as f64;
        ((left - gold as f64) / left).max(0.0)
    });
    1.0 - miss.product::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(id: usize, gold: &[(&str, Option<usize>)]) -> RankedCase {
        RankedCase {
            case_id: id.to_string(),
            group: id.to_string(),
            gold: gold.iter().map(|(name, rank)| (name.to_string(), *rank)).collect(),
            listed: 10,
            unknown: 1,
            parsed: true,
        }
    }

    /// Six patients, hits and misses as in the published protocol; the values are counted by hand: hit 4/6, macro (1 + 1/2 + 1/2 + 1)/4.
    #[test]
    fn hit_and_macro_hit_with_credit_are_those_counted_by_hand() {
        let (hit, miss) = (Some(3), Some(11));
        let cases = vec![
            case(0, &[("A", hit)]),
            case(1, &[("A", miss), ("B", hit)]),
            case(2, &[("B", None)]),
            case(3, &[("C", miss)]),
            case(4, &[("A", hit)]),
            case(5, &[("C", hit), ("D", miss)]),
        ];
        let table = &ranking_tables(&[cases], 445)[0];
        let value = |key: &str| table.value(key).unwrap().unwrap();
        assert!((value("hit_10") - 4.0 / 6.0).abs() < 1e-12);
        assert!((value("macro_hit_10") - 0.75).abs() < 1e-12, "{}", value("macro_hit_10"));
        // strict: A 2/3, B 1/2, C 1/2, D 0
        assert!((value("macro_hit_10_strict") - (2.0 / 3.0 + 0.5 + 0.5) / 4.0).abs() < 1e-12);
        assert!((value("mrr") - (4.0 / 3.0 + 1.0 / 11.0) / 6.0).abs() < 1e-12);
        assert_eq!(value("hit_1"), 0.0);
        assert!((value("precision_10") - 4.0 / 60.0).abs() < 1e-12);
        assert!((value("recall_10") - 4.0 / 8.0).abs() < 1e-12);
        assert!((value("hamming_10") - (4.0 + 60.0 - 4.0) / (6.0 * 445.0)).abs() < 1e-12);
        assert!((value("unknown_names") - 0.1).abs() < 1e-12);
    }

    #[test]
    fn random_guessing_hits_as_often_as_counting_says() {
        for (gold, expected) in [(1, 0.022471910112359605), (2, 0.04448830853325236), (3, 0.06605742120744529)] {
            assert!((random_hit(445, gold, 10) - expected).abs() < 1e-12);
        }
        assert_eq!(random_hit(5, 1, 10), 1.0);
        assert_eq!(random_hit(0, 1, 10), 0.0);
    }
}

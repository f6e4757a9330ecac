//! Credit for answers that are nearly right: each gold label is paired with at most one predicted label, the pair stands on a tier
//! (the same name, a synonym, a parent or child, the same organ), and each tier has its credit.
//!
//! The pairing is optimal tier by tier: as many exact pairs as there can be, among such pairings as many synonyms as there can be,
//! and so on; then as few wrong sides and doubts as possible. So an exact match is never given up for two near ones, and the number of
//! exact pairs on the right side is that of the plain metrics. It is found as an assignment of largest weight (Kuhn 1955).
//!
//! Side and doubt are read from the labels as written: "left renal cyst" for "right renal cyst" is an exact pair on the wrong side,
//! "colorectal cancer" for "colorectal cancer (possible)" one of the wrong certainty. A side that only one label says is not wrong.
use super::{Bootstrap, Estimate, Statistic};
use crate::label::{Normaliser, Ontology, Qualified, Tier};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a pair is worth: the tier's credit, times the factors of what is wrong with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Credit {
    pub exact: f64,
    pub synonym: f64,
    pub parent_or_child: f64,
    pub same_organ: f64,
    pub wrong_side: f64,
    pub wrong_certainty: f64,
}

impl Default for Credit {
    /// A synonym means the same; one step too general or too specific is worth half, the organ alone a tenth; the wrong side halves
    /// a credit, the wrong certainty takes a quarter.
    fn default() -> Self {
        Self { exact: 1.0, synonym: 1.0, parent_or_child: 0.5, same_organ: 0.1, wrong_side: 0.5, wrong_certainty: 0.75 }
    }
}

impl Credit {
    pub fn of(&self, pair: &Match) -> f64 {
        let tier = match pair.tier {
            Tier::Exact => self.exact,
            Tier::Synonym => self.synonym,
            Tier::ParentOrChild => self.parent_or_child,
            Tier::SameOrgan => self.same_organ,
        };
        let factor = |wrong: bool, factor: f64| if wrong { factor } else { 1.0 };
        tier * factor(pair.wrong_side, self.wrong_side) * factor(pair.wrong_certainty, self.wrong_certainty)
    }
}

/// A gold label and the predicted one that stands for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Match {
    pub gold: String,
    pub predicted: String,
    pub tier: Tier,
    /// Both say a side, and not the same one.
    pub wrong_side: bool,
    /// One is certain, the other is not.
    pub wrong_certainty: bool,
}

/// One case: its pairs, and how many labels there are to pair.
#[derive(Clone, Debug, PartialEq)]
pub struct TieredCase {
    pub group: String,
    /// Closest first.
    pub matches: Vec<Match>,
    /// Distinct by name and side.
    pub gold: usize,
    pub predicted: usize,
}

/// Pairs the labels of one case, as written; `names` makes names alike, `ontology` knows which are near.
pub fn assign(
    group: &str,
    gold: &[String],
    predicted: &[String],
    names: &Normaliser,
    ontology: &Ontology,
) -> TieredCase {
    let (gold, predicted) = (distinct(gold, names), distinct(predicted, names));
    let pair = |g: &Qualified, p: &Qualified| {
        let tier = if g.core == p.core { Some(Tier::Exact) } else { ontology.relation(&g.core, &p.core) };
        tier.map(|tier| (tier, g.other_side(p), g.certain != p.certain))
    };
    let pairs: Vec<Vec<_>> = gold.iter().map(|g| predicted.iter().map(|p| pair(g, p)).collect()).collect();
    let weight = |i: usize, j: usize| pairs[i][j].map_or(0.0, weight);
    let mut matches = Vec::new();
    for (i, j) in heaviest(gold.len(), predicted.len(), &weight) {
        if let Some((tier, wrong_side, wrong_certainty)) = pairs[i][j] {
            let (gold, predicted) = (gold[i].core.clone(), predicted[j].core.clone());
            matches.push(Match { gold, predicted, tier, wrong_side, wrong_certainty });
        }
    }
    matches.sort_by(|a: &Match, b: &Match| (a.tier, &a.gold).cmp(&(b.tier, &b.gold)));
    TieredCase { group: group.into(), matches, gold: gold.len(), predicted: predicted.len() }
}

/// Normalised names with side and certainty, distinct by name and side; certain if it is said with certainty anywhere.
fn distinct(labels: &[String], names: &Normaliser) -> Vec<Qualified> {
    let mut found = BTreeMap::new();
    for label in labels {
        let Qualified { core, side, certain } = Qualified::of(label);
        let core = names.normalise(&core);
        if !core.is_empty() {
            *found.entry((core, side)).or_insert(false) |= certain;
        }
    }
    found.into_iter().map(|((core, side), certain)| Qualified { core, side, certain }).collect()
}

/// No sum over a lower tier reaches one pair of a higher one, as an answer has at most 64 labels; what is wrong weighs less than a pair.
fn weight((tier, wrong_side, wrong_certainty): (Tier, bool, bool)) -> f64 {
    let base = 512.0 * 66f64.powi(3 - tier as i32);
    base - f64::from(u8::from(wrong_side)) * 2.0 - f64::from(u8::from(wrong_certainty))
}

/// Pairs (row, column) of an assignment with the largest sum of weights, every row and column at most once: the Hungarian method
/// with potentials, O(rows²·columns).
fn heaviest(rows: usize, columns: usize, weight: &dyn Fn(usize, usize) -> f64) -> Vec<(usize, usize)> {
    if rows > columns {
        return heaviest(columns, rows, &|i, j| weight(j, i)).into_iter().map(|(i, j)| (j, i)).collect();
    }
    // row and column 0 stand for none; row_of[j] is the row that column j has
    let (mut u, mut v, mut row_of) = (vec![0.0; rows + 1], vec![0.0; columns + 1], vec![0usize; columns + 1]);
    for row in 1..=rows {
        row_of[0] = row;
        let (mut column, mut way) = (0, vec![0usize; columns + 1]);
        let (mut least, mut used) = (vec![f64::INFINITY; columns + 1], vec![false; columns + 1]);
        while row_of[column] != 0 {
            used[column] = true;
            let (at, mut delta, mut next) = (row_of[column], f64::INFINITY, 0);
            for j in (1..=columns).filter(|&j| !used[j]) {
                let cost = -weight(at - 1, j - 1) - u[at] - v[j];
                if cost < least[j] {
                    (least[j], way[j]) = (cost, column);
                }
                if least[j] < delta {
                    (delta, next) = (least[j], j);
                }
            }
            for j in 0..=columns {
                if used[j] {
                    u[row_of[j]] += delta;
                    v[j] -= delta;
                } else {
                    least[j] -= delta;
                }
            }
            column = next;
        }
        while column != 0 {
            row_of[column] = row_of[way[column]];
            column = way[column];
        }
    }
    (1..=columns).filter(|&j| row_of[j] != 0).map(|j| (row_of[j] - 1, j - 1)).collect()
}

/// What tiered credit gives for a set of answers. Undefined is null.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tiered {
    /// Which ontology relates labels.
    pub ontology: String,
    pub credit: Credit,
    /// Shares of gold labels: `exact`, `synonym`, `parent_or_child`, `same_organ`, `missed`; of predicted labels: `invented`; of exact
    /// and synonym pairs: `wrong_side`, `wrong_certainty`; then `credit_precision`, `credit_recall`, `credit_f1`.
    pub metrics: BTreeMap<String, Option<Estimate>>,
}

impl Tiered {
    /// Keys of the metrics in reading order.
    pub const KEYS: [&str; 11] = [
        "exact",
        "synonym",
        "parent_or_child",
        "same_organ",
        "missed",
        "invented",
        "wrong_side",
        "wrong_certainty",
        "credit_precision",
        "credit_recall",
        "credit_f1",
    ];

    pub fn get(&self, key: &str) -> Option<&Estimate> {
        self.metrics.get(key)?.as_ref()
    }
}

/// Estimates of every tier and of credit-weighted precision Σc/Σ|P|, recall Σc/Σ|G| and F1 2Σc/(Σ|G| + Σ|P|), c the credit of each pair.
pub fn tiered(cases: &[TieredCase], ontology: &Ontology, credit: &Credit, bootstrap: &Bootstrap) -> Tiered {
    let ratio = |of: &dyn Fn(&TieredCase) -> (f64, f64)| Statistic::Ratio(cases.iter().map(of).collect());
    let count = |case: &TieredCase, of: &dyn Fn(&Match) -> bool| case.matches.iter().filter(|m| of(m)).count() as f64;
    let on = |tier: Tier| move |m: &Match| m.tier == tier;
    let same = |m: &Match| m.tier <= Tier::Synonym;
    let earned = |case: &TieredCase| case.matches.iter().map(|m| credit.of(m)).sum::<f64>();
    let tier = |tier: Tier| ratio(&|case| (count(case, &on(tier)), case.gold as f64));
    let wrong = |wrong: fn(&Match) -> bool| ratio(&|c| (count(c, &|m| same(m) && wrong(m)), count(c, &same)));
    let statistics = [
        tier(Tier::Exact),
        tier(Tier::Synonym),
        tier(Tier::ParentOrChild),
        tier(Tier::SameOrgan),
        ratio(&|case| ((case.gold - case.matches.len()) as f64, case.gold as f64)),
        ratio(&|case| ((case.predicted - case.matches.len()) as f64, case.predicted as f64)),
        wrong(|m| m.wrong_side),
        wrong(|m| m.wrong_certainty),
        ratio(&|case| (earned(case), case.predicted as f64)),
        ratio(&|case| (earned(case), case.gold as f64)),
        ratio(&|case| (2.0 * earned(case), (case.gold + case.predicted) as f64)),
    ];
    let groups: Vec<&str> = cases.iter().map(|case| case.group.as_str()).collect();
    let estimates = bootstrap.of_groups(&statistics.each_ref(), &groups);
    let metrics = Tiered::KEYS.iter().map(|key| key.to_string()).zip(estimates).collect();
    Tiered { ontology: ontology.name.clone(), credit: credit.clone(), metrics }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::synthetic::dice::Dice;

    fn case(gold: &[&str], predicted: &[&str]) -> TieredCase {
        let own = |labels: &[&str]| labels.iter().map(|label| label.to_string()).collect::<Vec<_>>();
        let names = Normaliser::new(["renal cyst", "liver lesion"]).unwrap();
        assign("g", &own(gold), &own(predicted), &names, &Ontology::own().unwrap())
    }

    fn tiers(case: &TieredCase) -> Vec<(&str, &str, Tier)> {
        case.matches.iter().map(|m| (m.gold.as_str(), m.predicted.as_str(), m.tier)).collect()
    }

    #[test]
    fn each_gold_label_is_paired_with_the_nearest_one_that_is_free() {
        let near = case(&["liver cyst", "liver lesion"], &["Liver lesions", "hepatic hemangioma", "kidney stone"]);
        assert_eq!(
            tiers(&near),
            [("liver lesion", "liver lesion", Tier::Exact), ("liver cyst", "hepatic hemangioma", Tier::SameOrgan)]
        );
        assert_eq!((near.gold, near.predicted), (2, 3));
        let synonym = case(&["cholelithiasis"], &["gallstones", "cholecystitis"]);
        assert_eq!(tiers(&synonym), [("cholelithiasis", "gallstone", Tier::Synonym)]);
        assert!(case(&["renal cyst"], &[]).matches.is_empty() && case(&[], &["renal cyst"]).matches.is_empty());
    }

    #[test]
    fn an_exact_pair_is_not_given_up_for_two_near_ones() {
        // liver lesion ~ liver cyst and liver lesion ~ hemangioma would earn two halves, the exact pair earns one
        let both = case(&["liver lesion", "liver cyst"], &["liver lesion", "kidney stone"]);
        assert_eq!(tiers(&both), [("liver lesion", "liver lesion", Tier::Exact)]);
    }

    #[test]
    fn the_wrong_side_and_the_wrong_certainty_are_told_apart() {
        let sides = case(&["left renal cyst", "right renal cyst"], &["renal cyst, right", "bilateral renal cysts"]);
        let wrong: Vec<_> = sides.matches.iter().map(|m| (m.tier, m.wrong_side)).collect();
        assert_eq!(wrong.iter().filter(|w| w.1).count(), 1, "{sides:?}");
        assert!(wrong.iter().all(|w| w.0 == Tier::Exact));
        let doubt = case(&["colorectal cancer (possible)"], &["colorectal cancer"]);
        assert!(
            doubt.matches[0].wrong_certainty && !doubt.matches[0].wrong_side && doubt.matches[0].tier == Tier::Exact
        );
        let credit = Credit::default();
        assert_eq!(credit.of(&doubt.matches[0]), 0.75);
        assert!(!case(&["renal cyst"], &["left renal cyst"]).matches[0].wrong_side);
    }

    #[test]
    fn credit_is_a_weighted_f1_and_its_parts_add_up() {
        let cases =
            [case(&["liver cyst", "renal cyst"], &["liver lesion", "renal cyst"]), case(&["ascites"], &["hernia"])];
        let own = Ontology::own().unwrap();
        let found = tiered(&cases, &own, &Credit::default(), &Bootstrap { resamples: 100, ..Default::default() });
        let value = |key: &str| found.get(key).map(|e| e.value);
        assert_eq!(value("credit_f1"), Some(2.0 * 1.5 / 6.0));
        let shares: f64 =
            ["exact", "synonym", "parent_or_child", "same_organ", "missed"].map(|k| value(k).unwrap()).iter().sum();
        assert!(
            (shares - 1.0).abs() < 1e-12 && value("invented") == Some(1.0 / 3.0) && value("wrong_side") == Some(0.0)
        );
        let strict = Credit { parent_or_child: 0.0, ..Credit::default() };
        let found = tiered(&cases, &own, &strict, &Bootstrap { resamples: 100, ..Default::default() });
        assert_eq!(found.get("credit_f1").unwrap().value, 2.0 / 6.0);
    }

    #[test]
    fn the_assignment_is_as_heavy_as_the_best_of_all() {
        fn best(rows: usize, taken: &mut Vec<bool>, row: usize, weight: &dyn Fn(usize, usize) -> f64) -> f64 {
            if row == rows {
                return 0.0;
            }
            let mut most = best(rows, taken, row + 1, weight);
            for j in 0..taken.len() {
                if !taken[j] {
                    taken[j] = true;
                    most = most.max(weight(row, j) + best(rows, taken, row + 1, weight));
                    taken[j] = false;
                }
            }
            most
        }
        let mut dice = Dice::new(7, 0);
        for _ in 0..300 {
            let (rows, columns) = (dice.below(5), dice.below(5));
            let weights: Vec<Vec<f64>> =
                (0..rows).map(|_| (0..columns).map(|_| [0.0, 1.0, 2.0, 7.0][dice.below(4)]).collect()).collect();
            let weight = |i: usize, j: usize| weights[i][j];
            let pairs = heaviest(rows, columns, &weight);
            let sum: f64 = pairs.iter().map(|&(i, j)| weight(i, j)).sum();
            assert_eq!(sum, best(rows, &mut vec![false; columns], 0, &weight), "{weights:?}");
            let distinct = |of: &dyn Fn(&(usize, usize)) -> usize| {
                pairs.iter().map(of).collect::<std::collections::BTreeSet<_>>().len()
            };
            assert!(distinct(&|p| p.0) == pairs.len() && distinct(&|p| p.1) == pairs.len());
        }
    }
}

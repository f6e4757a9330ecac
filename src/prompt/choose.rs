//! Which training cases serve as examples in a prompt.
use super::Exemplar;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// `k` cases that together show the most frequent labels: each in turn adds the labels, not yet shown, that occur most often in `cases`.
/// Only the shorter half of the cases is looked at; ties go to the shorter text, then the smaller id. No randomness.
pub fn choose(cases: &[Exemplar], k: usize) -> Vec<&Exemplar> {
    let mut frequency: BTreeMap<&str, usize> = BTreeMap::new();
    cases.iter().flat_map(|one| &one.shows).for_each(|label| *frequency.entry(label).or_default() += 1);
    let mut short: Vec<&Exemplar> = cases.iter().collect();
    short.sort_by(|a, b| (a.case.input.len(), &a.case.case_id).cmp(&(b.case.input.len(), &b.case.case_id)));
    short.truncate(cases.len().div_ceil(2).max(k));
    let (mut shown, mut chosen) = (BTreeSet::new(), Vec::new());
    while chosen.len() < k && !short.is_empty() {
        let gain = |one: &Exemplar| -> usize {
            let new: BTreeSet<&str> = one.shows.iter().map(String::as_str).filter(|l| !shown.contains(*l)).collect();
            new.into_iter().map(|label| frequency[label]).sum()
        };
        // The first of the best: `short` is in order of length.
        let Some(best) = (0..short.len()).max_by_key(|&i| (gain(short[i]), Reverse(i))) else { break };
        let case = short.remove(best);
        shown.extend(case.shows.iter().cloned());
        chosen.push(case);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::corpus::Case;

    fn case(id: &str, input: &str, labels: &[&str]) -> Exemplar {
        let case = Case { case_id: id.into(), group: id.into(), input: input.into() };
        Exemplar { case, answer: labels.join(", "), shows: labels.iter().map(|l| l.to_string()).collect() }
    }

    #[test]
    fn examples_cover_frequent_labels_with_short_cases() {
        let mut cases = vec![
            case("a", "aaaa", &["cyst", "stone"]),
            case("b", "bb", &["cyst"]),
            case("c", "ccc", &["none"]),
            case("d", "dd", &["cyst", "stone"]),
            case("e", "e", &["rare"]),
        ];
        cases.extend((0..9).map(|i| case(&format!("long{i}"), &"x".repeat(200), &["cyst", "stone", "none", "fat"])));
        let ids = |k| choose(&cases, k).into_iter().map(|one| one.case.case_id.as_str()).collect::<Vec<_>>();
        assert_eq!(ids(1)[0], "long0", "all four frequent labels at once");
        let ids: Vec<_> = choose(&cases[..5], 3).into_iter().map(|one| one.case.case_id.as_str()).collect();
        assert_eq!(ids[0], "d", "two labels; shorter than `a`");
        assert_eq!(ids.len(), 3);
        assert_eq!(choose(&cases[..2], 5).len(), 2);
        assert!(choose(&[], 3).is_empty());
    }
}

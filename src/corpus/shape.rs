//! What a split looks like in numbers: sizes, labels and lengths; and how the labels of the test split are named differently
//! from those of the training split. Labels are compared as written, or as `name` makes them.
use super::Finding;
use std::collections::{BTreeMap, BTreeSet};

/// One split in numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    pub cases: usize,
    pub groups: usize,
    /// Distinct labels, and those that a single case carries.
    pub labels: usize,
    pub singletons: usize,
    /// Labels over all cases.
    pub instances: usize,
    /// Cases by how many labels they carry.
    pub by_count: BTreeMap<usize, usize>,
    /// Words of every text, ascending.
    pub words: Vec<usize>,
}

impl Shape {
    pub fn of(cases: &[Finding]) -> Self {
        let (mut labels, mut by_count) = (BTreeMap::<&str, usize>::new(), BTreeMap::new());
        for case in cases {
            case.gold.iter().for_each(|label| *labels.entry(label).or_default() += 1);
            *by_count.entry(case.gold.len()).or_default() += 1;
        }
        Self {
            cases: cases.len(),
            groups: cases.iter().map(|case| &case.group).collect::<BTreeSet<_>>().len(),
            labels: labels.len(),
            singletons: labels.values().filter(|&&count| count == 1).count(),
            instances: labels.values().sum(),
            by_count,
            words: words(cases),
        }
    }

    /// Mean number of labels a case; 0 without cases.
    pub fn labels_per_case(&self) -> f64 {
        self.instances as f64 / self.cases.max(1) as f64
    }

    /// Words of the text at quantile `q`, the nearest below; 0 without cases.
    pub fn words_at(&self, q: f64) -> usize {
        let at = (q.clamp(0.0, 1.0) * self.words.len().saturating_sub(1) as f64) as usize;
        self.words.get(at).copied().unwrap_or(0)
    }
}

/// Words (runs without white space) of every text, ascending.
pub fn words(cases: &[Finding]) -> Vec<usize> {
    let mut words: Vec<usize> = cases.iter().map(|case| case.input.split_whitespace().count()).collect();
    words.sort();
    words
}

/// Labels of the test split that no training case carries.
#[derive(Clone, Debug, PartialEq)]
pub struct Unseen {
    /// (label as written in the test, test cases with it, its name after `name`, whether training has that name),
    /// the most frequent first.
    pub labels: Vec<(String, usize, String, bool)>,
    /// Labels over all test cases.
    pub instances: usize,
}

impl Unseen {
    pub fn between(train: &[Finding], test: &[Finding], name: &dyn Fn(&str) -> String) -> Self {
        let all = |cases: &'_ [Finding]| cases.iter().flat_map(|case| case.gold.clone()).collect::<Vec<_>>();
        let (written, in_test) = (all(train).into_iter().collect::<BTreeSet<_>>(), all(test));
        let named: BTreeSet<String> = written.iter().map(|label| name(label)).collect();
        let mut counts = BTreeMap::<&String, usize>::new();
        in_test.iter().filter(|label| !written.contains(*label)).for_each(|l| *counts.entry(l).or_default() += 1);
        let row = |(label, count): (&String, usize)| {
            let usual = name(label);
            let known = named.contains(&usual);
            (label.clone(), count, usual, known)
        };
        let mut labels: Vec<_> = counts.into_iter().map(row).collect();
        labels.sort_by_key(|(label, count, ..)| (std::cmp::Reverse(*count), label.clone()));
        Self { labels, instances: in_test.len() }
    }

    /// Test labels that training never shows: (as written, after naming), over all test cases.
    pub fn missing(&self) -> (usize, usize) {
        let sum = |keep: fn(&&(String, usize, String, bool)) -> bool| {
            self.labels.iter().filter(keep).map(|(_, count, ..)| count).sum()
        };
        (sum(|_| true), sum(|(.., known)| !known))
    }
}

impl std::fmt::Display for Unseen {
    /// How much of the test is named differently, in a sentence.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ((before, after), all) = (self.missing(), self.instances);
        let percent = |count: usize| 100.0 * count as f64 / all.max(1) as f64;
        write!(
            f,
            "{before} of {all} labels of the test cases ({:.1} %) are written as in no training case; after normalisation {after} ({:.1} %) are",
            percent(before),
            percent(after)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(id: &str, input: &str, labels: &[&str]) -> Finding {
        let labels = labels.iter().map(|label| label.to_string()).collect();
        Finding::new(id, "p", input, labels)
    }

    #[test]
    fn a_split_is_counted() {
        let cases = [case("1", "one two three", &["a", "b"]), case("2", "one", &["a"]), case("3", "one two", &["a"])];
        let shape = Shape::of(&cases);
        assert_eq!((shape.cases, shape.groups, shape.labels, shape.singletons, shape.instances), (3, 1, 2, 1, 4));
        assert_eq!(shape.by_count, BTreeMap::from([(1, 2), (2, 1)]));
        assert_eq!((shape.words_at(0.0), shape.words_at(0.5), shape.words_at(1.0)), (1, 2, 3));
        assert_eq!(Shape::of(&[]).labels_per_case(), 0.0);
    }

    #[test]
    fn a_name_that_only_the_test_uses_is_told_from_a_label_that_only_the_test_has() {
        let train = [case("1", "", &["Cyst", "stone"])];
        let test = [case("2", "", &["cysts", "mass"]), case("3", "", &["cysts", "stone"])];
        let name = |label: &str| label.to_lowercase().trim_end_matches('s').to_string();
        let unseen = Unseen::between(&train, &test, &name);
        let wanted = [("cysts".into(), 2, "cyst".into(), true), ("mass".into(), 1, "ma".into(), false)];
        assert_eq!((unseen.labels.as_slice(), unseen.instances), (&wanted[..], 4));
        assert_eq!(unseen.missing(), (3, 1));
        assert!(unseen.to_string().starts_with("3 of 4 labels of the test cases (75.0 %)"));
    }
}

//! What would fix an error, as far as the run store can say: the same cases were answered by other runs, and an error is fixed by
//! a run that does not make it. A run that fixes some errors makes others; both are counted.
use super::tally::resampled;
use super::{CaseFailures, Class, LabelError, Where, share};
use crate::metric::{Bootstrap, Difference, Estimate};
use std::collections::{BTreeMap, BTreeSet};

/// Errors of one run against another run on the same cases.
#[derive(Clone, Debug, PartialEq)]
pub struct Fixed {
    /// Label errors of the first run, without those that the normaliser forgives.
    pub errors: usize,
    pub fixed: usize,
    /// Of the first run's errors, those that the other does not make.
    pub share: Option<Estimate>,
    /// Errors of the other run that the first does not make.
    pub new: usize,
    /// Errors a hundred cases that the other run makes more than the first; below 0 it makes fewer. Paired by case; p is not corrected.
    pub balance: Option<Difference>,
}

type Key<'a> = (&'a str, Where, &'a str);

fn key(error: &LabelError) -> Key<'_> {
    (&error.case_id, error.on, &error.name)
}

fn real(case: &CaseFailures) -> impl Iterator<Item = &LabelError> {
    case.errors.iter().filter(|error| !error.forgiven)
}

/// What `other` does with the errors of `cases`. Cases that `other` did not answer are left out.
pub fn fixed(cases: &[CaseFailures], other: &[CaseFailures], bootstrap: &Bootstrap) -> Fixed {
    let answered: BTreeMap<&str, &CaseFailures> = other.iter().map(|case| (case.case_id.as_str(), case)).collect();
    let both: Vec<CaseFailures> =
        cases.iter().filter(|case| answered.contains_key(case.case_id.as_str())).cloned().collect();
    let (mut errors, mut gone, mut more) = (Vec::new(), Vec::new(), Vec::new());
    let mut new = 0;
    for case in &both {
        let theirs: BTreeSet<Key> = real(answered[case.case_id.as_str()]).map(key).collect();
        let ours: BTreeSet<Key> = real(case).map(key).collect();
        new += theirs.difference(&ours).count();
        errors.push(ours.len() as f64);
        gone.push(ours.difference(&theirs).count() as f64);
        more.push(100.0 * (theirs.len() as f64 - ours.len() as f64));
    }
    let balance = resampled(&both, &more, &vec![1.0; both.len()], bootstrap);
    Fixed {
        errors: errors.iter().sum::<f64>() as usize,
        fixed: gone.iter().sum::<f64>() as usize,
        share: share(&both, &gone, &errors, bootstrap),
        new,
        balance: balance.and_then(|(value, draws)| Difference::of(value, draws, both.len(), bootstrap)),
    }
}

/// (errors, those that `other` does not make) of every class that occurs.
pub fn fixed_by_class(cases: &[CaseFailures], other: &[CaseFailures]) -> BTreeMap<Class, (usize, usize)> {
    let answered: BTreeSet<&str> = other.iter().map(|case| case.case_id.as_str()).collect();
    let theirs: BTreeSet<Key> = other.iter().flat_map(real).map(key).collect();
    let mut counts = BTreeMap::new();
    for error in cases.iter().flat_map(real).filter(|error| answered.contains(error.case_id.as_str())) {
        let count = counts.entry(error.class).or_insert((0, 0));
        count.0 += 1;
        count.1 += usize::from(!theirs.contains(&key(error)));
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::tests::taxonomy;
    use crate::run::Prediction;
    use crate::run::prediction::tests::answer;

    #[test]
    fn a_run_against_itself_fixes_nothing_and_another_what_it_does_not_repeat() {
        let row = |i: usize, labels: &[&str]| answer(&i.to_string(), &["ascites"], labels);
        let first: Vec<Prediction> = (0..10).map(|i| row(i, &["renal cyst"])).collect();
        // half right, half right with something invented in place of what was
        let second: Vec<Prediction> =
            (0..10).map(|i| if i < 5 { row(i, &["ascites"]) } else { row(i, &["ascites", "gallstone"]) }).collect();
        let taxonomy = taxonomy();
        let (a, b) = (taxonomy.cases(&first, None), taxonomy.cases(&second, None));
        let bootstrap = Bootstrap { resamples: 200, ..Bootstrap::default() };
        let same = fixed(&a, &a, &bootstrap);
        assert_eq!((same.errors, same.fixed, same.new), (20, 0, 0));
        let balance = same.balance.unwrap();
        assert!(balance.value == 0.0 && balance.nothing_differs() && balance.n == 10, "{balance:?}");
        let share = same.share.unwrap();
        assert!(
            share.value == 0.0 && (share.high - 0.308497).abs() < 1e-5,
            "ten cases in which nothing is fixed: {share:?}"
        );
        let found = fixed(&a, &b, &bootstrap);
        assert_eq!((found.errors, found.fixed, found.new), (20, 20, 5));
        // five cases have two errors less and five one less: 50 a hundred cases around the mean, se 50/√10
        let balance = found.balance.unwrap();
        assert!(
            balance.value == -150.0 && (balance.detectable.unwrap() / (2.8016 * 50.0 / 10f64.sqrt()) - 1.0).abs() < 0.2
        );
        let classes = fixed_by_class(&a, &b[..5]);
        assert_eq!(classes, BTreeMap::from([(Class::Invented, (5, 5)), (Class::Missed, (5, 5))]));
        assert_eq!(fixed(&b[..5], &a, &bootstrap).share, None, "nothing was wrong");
    }
}

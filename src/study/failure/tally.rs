//! Failures counted: how often every class occurs, and which label is given for which.
use super::{CaseFailures, Class, Where};
use crate::metric::{Bootstrap, Estimate, Outcome, wilson};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// One class over the cases of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    pub class: Class,
    /// Label errors.
    pub errors: usize,
    /// Errors a hundred cases.
    pub rate: Option<Estimate>,
    /// Cases with at least one such error, as a share of all.
    pub cases: Option<Estimate>,
}

/// How often every class occurs, bootstrap intervals over groups; an interval of a class that never occurs is Wilson's, as
/// resamples of zeros say nothing.
pub fn tally(cases: &[CaseFailures], bootstrap: &Bootstrap) -> Vec<Tally> {
    let one = vec![1.0; cases.len()];
    let of = |class: Class| {
        let counts: Vec<f64> = cases.iter().map(|case| case.count(class) as f64).collect();
        let some: Vec<f64> = counts.iter().map(|count| count.min(1.0)).collect();
        let hundred: Vec<f64> = counts.iter().map(|count| 100.0 * count).collect();
        let errors = counts.iter().sum::<f64>() as usize;
        let none = |share: Option<Estimate>| match errors {
            0 => wilson(0, cases.len(), bootstrap.level),
            _ => share,
        };
        let (rate, cases) = (ratio(cases, &hundred, &one, bootstrap), none(ratio(cases, &some, &one, bootstrap)));
        Tally { class, errors, rate, cases }
    };
    Class::ALL.into_iter().map(of).collect()
}

/// Σ numerator / Σ denominator with its bootstrap interval; n is the number of cases whose denominator is not 0. None where
/// the denominators are all 0.
pub fn ratio(cases: &[CaseFailures], over: &[f64], under: &[f64], bootstrap: &Bootstrap) -> Option<Estimate> {
    let outcome = |case: &CaseFailures| Outcome {
        case_id: case.case_id.clone(),
        group: case.group.clone(),
        gold: BTreeSet::new(),
        predicted: BTreeSet::new(),
        parsed: true,
    };
    let outcomes: Vec<Outcome> = cases.iter().map(outcome).collect();
    let value = |weights: &[u32]| {
        let sum =
            |parts: &[f64]| parts.iter().zip(weights).map(|(part, weight)| part * f64::from(*weight)).sum::<f64>();
        let (over, under) = (sum(over), sum(under));
        (under > 0.0).then_some(over / under)
    };
    let plain = value(&vec![1; cases.len()])?;
    let draws: Vec<f64> = bootstrap.map(&outcomes, value).into_iter().flatten().collect();
    let (low, high) = bootstrap.interval(draws)?;
    Some(Estimate { value: plain, low, high, n: under.iter().filter(|part| **part > 0.0).count() })
}

/// (missed, invented) names that stand in one case after normalisation, forgiven ones aside: how often each pair does.
/// A missed label of a case without an invented one counts against "".
pub fn confusions(cases: &[CaseFailures]) -> BTreeMap<(String, String), usize> {
    let mut counts = BTreeMap::new();
    for case in cases {
        let of = |on: Where| case.errors.iter().filter(move |e| e.on == on && !e.forgiven).map(|e| e.name.clone());
        let given: BTreeSet<String> = of(Where::Given).collect();
        for missed in of(Where::Gold) {
            let others = if given.is_empty() { BTreeSet::from([String::new()]) } else { given.clone() };
            others.into_iter().for_each(|other| *counts.entry((missed.clone(), other)).or_insert(0) += 1);
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::super::tests::taxonomy;
    use super::*;
    use crate::study::Prediction;
    use crate::study::prediction::tests::answer;

    #[test]
    fn rates_are_ratios_of_sums_and_what_never_occurs_still_has_an_interval() {
        let taxonomy = taxonomy();
        let rows: Vec<Prediction> = (0..40)
            .map(|i| answer(&i.to_string(), &["ascites"], if i % 4 == 0 { &["renal cyst"] } else { &["ascites"] }))
            .collect();
        let cases = taxonomy.cases(&rows, None);
        let all = tally(&cases, &Bootstrap { resamples: 300, ..Bootstrap::default() });
        let of = |class| all.iter().find(|tally| tally.class == class).unwrap().clone();
        let missed = of(Class::Missed);
        assert_eq!((missed.errors, missed.rate.as_ref().unwrap().value), (10, 25.0));
        let share = missed.cases.unwrap();
        assert!(share.low < 0.25 && share.high > 0.25 && share.value == 0.25 && share.n == 40);
        let never = of(Class::WrongSide).cases.unwrap();
        assert!(never.value == 0.0 && (never.high - 0.087622).abs() < 1e-5, "{never:?}"); // statsmodels: proportion_confint(0, 40, method="wilson")
        let confused = confusions(&cases);
        assert_eq!(confused, BTreeMap::from([(("ascites".to_string(), "renal cyst".to_string()), 10)]));
    }
}

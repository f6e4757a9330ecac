//! Failures counted: how often every class occurs, and which label is given for which.
use super::{CaseFailures, Class, Where};
use crate::metric::{Bootstrap, Estimate, Statistic, wilson};
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

/// How often every class occurs, bootstrap intervals over groups. Resamples of a class that never occurs say nothing; its interval is
/// Wilson's for the share of cases and Garwood's (1936) for the rate, 0 to −ln((1 − level)/2) errors in as many units as there are, the
/// exact one of a Poisson count of 0. A unit is a group: cases of one patient are not independent.
pub fn tally(cases: &[CaseFailures], bootstrap: &Bootstrap) -> Vec<Tally> {
    let one = vec![1.0; cases.len()];
    let units = bootstrap.unit_of(&groups(cases)).into_iter().collect::<BTreeSet<_>>().len();
    let of = |class: Class| {
        let counts: Vec<f64> = cases.iter().map(|case| case.count(class) as f64).collect();
        let some: Vec<f64> = counts.iter().map(|count| count.min(1.0)).collect();
        let hundred: Vec<f64> = counts.iter().map(|count| 100.0 * count).collect();
        let errors = counts.iter().sum::<f64>() as usize;
        let (rate, cases) = match errors {
            0 => (never(units, cases.len(), bootstrap), wilson(0, units, bootstrap.level)),
            _ => (ratio(cases, &hundred, &one, bootstrap), share(cases, &some, &one, bootstrap)),
        };
        Tally { class, errors, rate, cases: cases.map(|share| Estimate { n: one.len(), ..share }) }
    };
    Class::ALL.into_iter().map(of).collect()
}

/// The rate a hundred cases of what none of the units has.
fn never(units: usize, cases: usize, bootstrap: &Bootstrap) -> Option<Estimate> {
    let most = -((1.0 - bootstrap.level) / 2.0).ln() / units as f64;
    (units > 0).then_some(Estimate { value: 0.0, low: 0.0, high: 100.0 * most, n: cases })
}

fn groups(cases: &[CaseFailures]) -> Vec<&str> {
    cases.iter().map(|case| case.group.as_str()).collect()
}

/// Σ part / Σ whole with its bootstrap interval, no part above its whole; n is the number of cases whose whole is not 0. None where
/// all wholes are 0. Where the share is 0 or 1 in every group the interval is the exact one of such groups.
pub fn share(cases: &[CaseFailures], part: &[f64], whole: &[f64], bootstrap: &Bootstrap) -> Option<Estimate> {
    let statistic = Statistic::Ratio(part.iter().copied().zip(whole.iter().copied()).collect());
    let found = bootstrap.of_groups(&[&statistic], &groups(cases)).into_iter().next()??;
    Some(Estimate { n: whole.iter().filter(|whole| **whole > 0.0).count(), ..found })
}

/// Σ numerator / Σ denominator with its bootstrap interval, for what is no share (a rate, a difference); n as in [`share`]. None where
/// the denominators are all 0.
pub fn ratio(cases: &[CaseFailures], over: &[f64], under: &[f64], bootstrap: &Bootstrap) -> Option<Estimate> {
    let (value, draws) = resampled(cases, over, under, bootstrap)?;
    let (low, high) = bootstrap.interval(draws)?;
    Some(Estimate { value, low, high, n: under.iter().filter(|part| **part > 0.0).count() })
}

/// Σ numerator / Σ denominator and its resampled values.
pub(super) fn resampled(
    cases: &[CaseFailures],
    over: &[f64],
    under: &[f64],
    bootstrap: &Bootstrap,
) -> Option<(f64, Vec<f64>)> {
    let value = |weights: &[u32]| {
        let sum =
            |parts: &[f64]| parts.iter().zip(weights).map(|(part, weight)| part * f64::from(*weight)).sum::<f64>();
        let (over, under) = (sum(over), sum(under));
        (under > 0.0).then_some(over / under)
    };
    let plain = value(&vec![1; cases.len()])?;
    Some((plain, bootstrap.map_groups(&groups(cases), value).into_iter().flatten().collect()))
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
    use super::*;
    use crate::failure::tests::taxonomy;
    use crate::run::Prediction;
    use crate::run::prediction::tests::answer;

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
        let rate = of(Class::WrongSide).rate.unwrap();
        assert!(rate.value == 0.0 && (rate.high - 100.0 * 3.688879 / 40.0).abs() < 1e-5, "{rate:?}"); // −ln 0.025 in 40 cases
        let grouped: Vec<Prediction> =
            (0..40).map(|i| Prediction { group: format!("p{}", i / 4), ..rows[i].clone() }).collect();
        let grouped = tally(&taxonomy.cases(&grouped, None), &Bootstrap { resamples: 300, ..Bootstrap::default() });
        let never = grouped.iter().find(|tally| tally.class == Class::WrongSide).unwrap();
        let (share, rate) = (never.cases.clone().unwrap(), never.rate.clone().unwrap());
        // ten patients: Wilson's z²/(10 + z²), Garwood's 3.69 a ten
        assert!((share.high - 0.277533).abs() < 1e-5 && (rate.high - 36.88879).abs() < 1e-4, "{share:?} {rate:?}");
        assert_eq!((share.n, rate.n), (40, 40));
        let confused = confusions(&cases);
        assert_eq!(confused, BTreeMap::from([(("ascites".to_string(), "renal cyst".to_string()), 10)]));
    }
}

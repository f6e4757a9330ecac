//! How often the sentence that an error was hung on is the one that the generator wrote for it: a check that only a synthetic
//! corpus with its kept truth allows.
use super::{CaseFailures, Class, LabelError, Where, share};
use crate::corpus::synthetic::Truth;
use crate::metric::{Bootstrap, Estimate};
use std::collections::BTreeMap;

/// Attribution of one kind of error against the truth.
#[derive(Clone, Debug, PartialEq)]
pub struct Agreement {
    /// "missed" or "given wrongly".
    pub what: &'static str,
    pub errors: usize,
    /// Errors that were hung on a sentence.
    pub attributed: usize,
    /// Errors for which the truth has a sentence.
    pub known: usize,
    pub right: usize,
    /// right / attributed.
    pub precision: Option<Estimate>,
    /// right / known.
    pub recall: Option<Estimate>,
}

/// Missed labels against the sentences that cause them, invented ones against the sentences that use their words without
/// implying them. Errors that the normaliser forgives are left out. `name` makes labels and the truth's concepts alike.
pub fn agreement(
    cases: &[CaseFailures],
    truths: &BTreeMap<String, Truth>,
    name: &dyn Fn(&str) -> String,
    bootstrap: &Bootstrap,
) -> Vec<Agreement> {
    [(Where::Gold, "missed"), (Where::Given, "given wrongly")]
        .into_iter()
        .map(|(on, what)| {
            let mut counts = vec![[0.0; 4]; cases.len()];
            for (case, count) in cases.iter().zip(&mut counts) {
                let Some(truth) = truths.get(&case.case_id) else { continue };
                for error in case.errors.iter().filter(|error| error.on == on && !error.forgiven) {
                    let spans = spans(truth, error, name);
                    let hung = error.evidence.as_ref();
                    let hit = hung.is_some_and(|e| spans.iter().any(|(from, to)| e.start < *to && *from < e.end));
                    let found = [true, hung.is_some(), !spans.is_empty(), hit];
                    count.iter_mut().zip(found).for_each(|(sum, is)| *sum += f64::from(is));
                }
            }
            let part = |i: usize| counts.iter().map(|count| count[i]).collect::<Vec<_>>();
            let sum = |i: usize| part(i).iter().sum::<f64>() as usize;
            Agreement {
                what,
                errors: sum(0),
                attributed: sum(1),
                known: sum(2),
                right: sum(3),
                precision: share(cases, &part(3), &part(1), bootstrap),
                recall: share(cases, &part(3), &part(2), bootstrap),
            }
        })
        .collect()
}

/// Code points of the sentences that the truth has for an error.
fn spans(truth: &Truth, error: &LabelError, name: &dyn Fn(&str) -> String) -> Vec<(usize, usize)> {
    let causes = truth.causes.iter().filter(|cause| name(&cause.label) == error.name);
    let others = truth.distractors.iter().filter(|other| name(&other.concept) == error.name);
    match error.on {
        Where::Gold => causes.map(|cause| (cause.start, cause.end)).collect(),
        Where::Given => others.map(|other| (other.start, other.end)).collect(),
    }
}

/// Invented labels by what the generator says of them ("not spoken of" where nothing) and by the class that cue words
/// gave: (reason, class) → labels. Errors with a partner or in format are left out, as no sentence decided them.
pub fn cues(
    cases: &[CaseFailures],
    truths: &BTreeMap<String, Truth>,
    name: &dyn Fn(&str) -> String,
) -> BTreeMap<(String, Class), usize> {
    let mut counts = BTreeMap::new();
    for case in cases {
        let Some(truth) = truths.get(&case.case_id) else { continue };
        let decided = [Class::NegationMissed, Class::OtherDistractor, Class::Invented];
        for error in case.errors.iter().filter(|error| decided.contains(&error.class)) {
            let why = truth.distractors.iter().find(|other| name(&other.concept) == error.name);
            let why = why.map_or("not spoken of".to_string(), |other| other.why.clone());
            *counts.entry((why, error.class)).or_insert(0) += 1;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::synthetic::{Cause, Distractor};
    use crate::failure::tests::taxonomy;
    use crate::run::Prediction;
    use crate::run::prediction::tests::answer;

    #[test]
    fn a_sentence_counts_where_it_overlaps_the_truths_and_nowhere_else() {
        let input = "A focus in the cortex is fluid-dense. There is no concretion in the calyx.";
        let rows: Vec<Prediction> = (0..4)
            .map(|i| Prediction { input: input.into(), ..answer(&i.to_string(), &["renal cyst"], &["kidney stone"]) })
            .collect();
        let cases = taxonomy().cases(&rows, None);
        let truth = |i: usize| {
            // the last truth has its cause elsewhere and no distractor
            let (start, end) = if i < 3 { (0, 37) } else { (38, 75) };
            let cause = Cause { label: "renal cyst".into(), concept: "renal cyst".into(), sentence: 0, start, end };
            let other =
                Distractor { concept: "kidney stone".into(), why: "negated".into(), sentence: 1, start: 38, end: 75 };
            let distractors = if i < 3 { vec![other] } else { vec![] };
            (i.to_string(), Truth { case_id: i.to_string(), causes: vec![cause], distractors })
        };
        let truths: BTreeMap<String, Truth> = (0..4).map(truth).collect();
        let same = |label: &str| label.to_string();
        let found = agreement(&cases, &truths, &same, &Bootstrap { resamples: 200, ..Bootstrap::default() });
        let values: Vec<_> = found
            .iter()
            .map(|a| (a.errors, a.attributed, a.known, a.right, a.precision.clone().unwrap().value))
            .collect();
        assert_eq!(values, [(4, 4, 4, 3, 0.75), (4, 4, 3, 3, 0.75)]);
        let cues = cues(&cases, &truths, &same);
        let negation = Class::NegationMissed;
        assert_eq!(cues, BTreeMap::from([(("negated".into(), negation), 3), (("not spoken of".into(), negation), 1)]));
        assert_eq!(agreement(&cases, &BTreeMap::new(), &same, &Bootstrap::default())[0].precision, None);
    }
}

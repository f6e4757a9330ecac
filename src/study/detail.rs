//! What the metrics of one set of answers do not say: where in the long tail it is right, how it fares with many gold labels, how near its
//! wrong answers are, how far the normaliser can be trusted, and whether its confidence means anything. All on normalised labels.
use crate::error::{Error, Result};
use crate::label::{Normaliser, Ontology, checked};
use crate::metric::{
    Bootstrap, Calibration, Credit, ErrorRates, Estimate, FLIPPED, Metric, Outcome, Scored, Signal, Tiered, assign,
    calibrate, tiered, wilson, with_errors,
};
use crate::run::prediction::{Prediction, outcomes};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Bands of labels by training cases that carry them: name, fewest, most.
pub const BANDS: [(&str, usize, usize); 4] =
    [("head", 100, usize::MAX), ("middle", 10, 99), ("tail", 1, 9), ("unseen", 0, 0)];
/// The part of the cases without any, which is there where such cases are.
pub(super) const NO_GOLD: &str = "0 gold labels";
/// Parts of the cases by number of gold labels.
const GOLD: [(&str, usize, usize); 5] =
    [(NO_GOLD, 0, 0), ("1", 1, 1), ("2", 2, 2), ("3", 3, 3), ("4 and more", 4, usize::MAX)];

/// What is known besides the answers.
pub struct Depth<'a> {
    pub names: &'a Normaliser,
    /// Training labels as written with their number of cases; without them there are no bands.
    pub training: Option<&'a BTreeMap<String, usize>>,
    /// Without it there is no tiered credit.
    pub ontology: Option<&'a Ontology>,
    pub credit: Credit,
}

/// See the file's header.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detail {
    /// [`BANDS`]; empty without training labels.
    pub by_frequency: Vec<Part>,
    pub by_gold_labels: Vec<Part>,
    pub tiers: Option<Tiered>,
    pub normaliser: NormaliserError,
    /// Empty where not every answer has a log-probability, or there are too few.
    pub calibration: Vec<Calibrated>,
}

/// Metrics on part of the labels or part of the cases.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    pub name: String,
    pub cases: usize,
    /// Distinct gold labels in this part, and how often they are gold.
    pub labels: usize,
    pub instances: usize,
    pub metrics: BTreeMap<String, Option<Estimate>>,
}

/// How often the normaliser is wrong on pairs checked by hand, and what that does to the metrics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NormaliserError {
    pub pairs: usize,
    pub rates: ErrorRates,
    /// Of the pairs it calls the same, how many are; Wilson's interval.
    pub precision: Option<Estimate>,
    /// Of the pairs that are the same, how many it finds; Wilson's interval.
    pub recall: Option<Estimate>,
    /// Right labels that gold and answer spell differently: the matches that the normaliser made.
    pub matched: usize,
    /// Metrics when labels are flipped at these rates; see `metric::with_errors`.
    pub metrics: BTreeMap<String, Option<Estimate>>,
}

/// What a probability is a probability of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    ExactMatch,
    /// The F1 of the case's labels, between 0 and 1.
    CaseF1,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibrated {
    pub target: Target,
    #[serde(flatten)]
    pub calibration: Calibration,
}

/// All of it.
pub fn detail(predictions: &[Prediction], depth: &Depth, bootstrap: &Bootstrap) -> Result<Detail> {
    let normalise = |label: &str| depth.names.normalise(label);
    let outcomes = outcomes(predictions, Some(&normalise));
    Ok(Detail {
        by_frequency: depth
            .training
            .map(|counts| by_frequency(&outcomes, counts, depth.names, bootstrap))
            .unwrap_or_default(),
        by_gold_labels: by_gold_labels(&outcomes, bootstrap),
        tiers: depth.ontology.map(|ontology| tiers(predictions, ontology, depth, bootstrap)),
        normaliser: normaliser(predictions, &outcomes, depth.names, bootstrap)?,
        calibration: calibration(predictions, &outcomes, bootstrap),
    })
}

fn by_frequency(
    outcomes: &[Outcome],
    counts: &BTreeMap<String, usize>,
    names: &Normaliser,
    bootstrap: &Bootstrap,
) -> Vec<Part> {
    let mut training = BTreeMap::<String, usize>::new();
    counts.iter().for_each(|(label, count)| *training.entry(names.normalise(label)).or_default() += count);
    let band = |(name, fewest, most): (&str, usize, usize)| {
        let inside = |label: &String| (fewest..=most).contains(&training.get(label).copied().unwrap_or(0));
        let mut part = outcomes.to_vec();
        for case in &mut part {
            case.gold.retain(inside);
            case.predicted.retain(inside);
        }
        part_of(
            self::band(name, fewest, most),
            &part,
            &[Metric::MicroF1, Metric::MicroPrecision, Metric::MicroRecall],
            bootstrap,
        )
    };
    BANDS.map(band).into()
}

/// A band as its rows name it, `tail (1 to 9)`.
pub fn band(name: &str, fewest: usize, most: usize) -> String {
    match most {
        usize::MAX => format!("{name} ({fewest} and more)"),
        most if most == fewest => format!("{name} ({most})"),
        most => format!("{name} ({fewest} to {most})"),
    }
}

fn by_gold_labels(outcomes: &[Outcome], bootstrap: &Bootstrap) -> Vec<Part> {
    let part = |(name, fewest, most): (&str, usize, usize)| {
        let inside = |case: &&Outcome| (fewest..=most).contains(&case.gold.len());
        let part: Vec<Outcome> = outcomes.iter().filter(inside).cloned().collect();
        part_of(name.into(), &part, &[Metric::MicroF1, Metric::Jaccard, Metric::Exact], bootstrap)
    };
    GOLD.map(part).into_iter().filter(|part| part.cases > 0).collect()
}

fn part_of(name: String, outcomes: &[Outcome], metrics: &[Metric], bootstrap: &Bootstrap) -> Part {
    let estimates = bootstrap.estimates(&Metric::table(metrics, outcomes));
    Part {
        name,
        cases: outcomes.len(),
        labels: outcomes.iter().flat_map(|case| &case.gold).collect::<BTreeSet<_>>().len(),
        instances: outcomes.iter().map(|case| case.gold.len()).sum(),
        metrics: metrics.iter().map(Metric::to_string).zip(estimates).collect(),
    }
}

fn tiers(predictions: &[Prediction], ontology: &Ontology, depth: &Depth, bootstrap: &Bootstrap) -> Tiered {
    let case = |p: &Prediction| assign(&p.group, &p.gold, &p.answer, depth.names, ontology);
    let cases: Vec<_> = predictions.iter().map(case).collect();
    tiered(&cases, ontology, &depth.credit, bootstrap)
}

fn normaliser(
    predictions: &[Prediction],
    outcomes: &[Outcome],
    names: &Normaliser,
    bootstrap: &Bootstrap,
) -> Result<NormaliserError> {
    let pairs = checked::pairs()?;
    let found = checked::agreement(names, &pairs);
    let rates = ErrorRates { right: found.right, wrong: found.wrong.len(), missed: found.missed.len() };
    if rates.right == 0 {
        return Err(Error::failed(
            "the normaliser matches none of the checked pairs: data/normaliser-checked.tsv does not fit it",
        ));
    }
    let alike: Vec<usize> = predictions.iter().zip(outcomes).map(|(p, case)| spelled_alike(p, case, names)).collect();
    let right: usize = outcomes.iter().map(|case| case.true_positives().count()).sum();
    let metrics = FLIPPED.iter().map(Metric::to_string).zip(with_errors(outcomes, &alike, rates, bootstrap)).collect();
    Ok(NormaliserError {
        pairs: pairs.len(),
        rates,
        precision: wilson(rates.right, rates.right + rates.wrong, bootstrap.level),
        recall: wilson(rates.right, rates.right + rates.missed, bootstrap.level),
        matched: right - alike.iter().sum::<usize>(),
        metrics,
    })
}

/// Right labels of a case that some gold and some predicted label spell alike, up to letter case and spaces around.
fn spelled_alike(prediction: &Prediction, case: &Outcome, names: &Normaliser) -> usize {
    let spellings =
        |labels: &[String]| -> BTreeSet<String> { labels.iter().map(|label| label.trim().to_lowercase()).collect() };
    let (gold, predicted) = (spellings(&prediction.gold), spellings(&prediction.answer));
    let common: BTreeSet<String> = gold.intersection(&predicted).map(|label| names.normalise(label)).collect();
    case.true_positives().filter(|label| common.contains(*label)).count()
}

fn calibration(predictions: &[Prediction], outcomes: &[Outcome], bootstrap: &Bootstrap) -> Vec<Calibrated> {
    let right = |target: Target, case: &Outcome| match target {
        Target::ExactMatch => f64::from(case.exact()),
        Target::CaseF1 if case.gold.is_empty() && case.predicted.is_empty() => 1.0,
        Target::CaseF1 => 2.0 * case.true_positives().count() as f64 / (case.gold.len() + case.predicted.len()) as f64,
    };
    let scored = |target: Target| -> Option<Vec<Scored>> {
        let of = |(p, case): (&Prediction, &Outcome)| {
            let (group, tokens) = (p.group.clone(), p.new_tokens.max(1));
            Some(Scored { group, logprob: p.logprob?, tokens, outcome: right(target, case) })
        };
        predictions.iter().zip(outcomes).map(of).collect()
    };
    let both = |target: Target| {
        let cases = scored(target)?;
        let of = |signal| Some(Calibrated { target, calibration: calibrate(&cases, signal, bootstrap)? });
        Some([of(Signal::Sequence)?, of(Signal::PerToken)?])
    };
    [Target::ExactMatch, Target::CaseF1].into_iter().filter_map(both).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::prediction::tests::answer;

    fn depth<'a>(names: &'a Normaliser, training: &'a BTreeMap<String, usize>, ontology: &'a Ontology) -> Depth<'a> {
        Depth { names, training: Some(training), ontology: Some(ontology), credit: Credit::default() }
    }

    #[test]
    fn labels_fall_into_their_bands_and_cases_into_theirs() {
        let training = BTreeMap::from([("renal cyst".into(), 90), ("renal cysts".into(), 10), ("gallstone".into(), 9)]);
        let names = Normaliser::new(training.keys()).unwrap();
        let own = Ontology::own().unwrap();
        let rows = [
            answer("1", &["renal cyst", "gallstone"], &["Renal cysts", "volvulus"]),
            answer("2", &["gallstone"], &["gallstone"]),
        ];
        let bootstrap = Bootstrap { resamples: 200, ..Default::default() };
        let found = detail(&rows, &depth(&names, &training, &own), &bootstrap).unwrap();
        let f1 = |part: &Part| part.metrics["micro_f1"].as_ref().map(|e| e.value);
        let bands: Vec<_> =
            found.by_frequency.iter().map(|p| (p.name.as_str(), p.labels, p.instances, f1(p))).collect();
        assert_eq!(bands[0], ("head (100 and more)", 1, 1, Some(1.0)));
        assert_eq!(bands[1], ("middle (10 to 99)", 0, 0, None));
        assert_eq!(bands[2], ("tail (1 to 9)", 1, 2, Some(2.0 / 3.0)));
        assert_eq!(bands[3], ("unseen (0)", 0, 0, Some(0.0)));
        let parts: Vec<_> = found.by_gold_labels.iter().map(|p| (p.name.as_str(), p.cases, f1(p))).collect();
        assert_eq!(parts, [("1", 1, Some(1.0)), ("2", 1, Some(0.5))]);
        assert_eq!(found.normaliser.matched, 1, "only the renal cyst is spelled otherwise");
        assert!(found.calibration.is_empty() && found.tiers.unwrap().get("exact").unwrap().value == 2.0 / 3.0);
        let read: NormaliserError = serde_json::from_str(&serde_json::to_string(&found.normaliser).unwrap()).unwrap();
        assert_eq!((read.rates, read.pairs), (found.normaliser.rates, found.normaliser.pairs));
    }

    #[test]
    fn confidence_is_judged_where_every_answer_has_a_log_probability() {
        let row = |i: usize| Prediction {
            logprob: Some(if i.is_multiple_of(3) { -9.0 - i as f64 / 50.0 } else { -0.1 - i as f64 / 500.0 }),
            ..answer(&format!("c{i}"), &["renal cyst"], &[if i.is_multiple_of(3) { "ascites" } else { "renal cyst" }])
        };
        let mut rows: Vec<Prediction> = (0..60).map(row).collect();
        let (training, own) = (BTreeMap::from([("renal cyst".to_string(), 5)]), Ontology::own().unwrap());
        let names = Normaliser::new(training.keys()).unwrap();
        let bootstrap = Bootstrap { resamples: 200, ..Default::default() };
        let found = detail(&rows, &depth(&names, &training, &own), &bootstrap).unwrap();
        assert_eq!(found.calibration.len(), 4);
        let first = &found.calibration[0];
        assert_eq!((first.target, first.calibration.signal), (Target::ExactMatch, Signal::Sequence));
        assert!(first.calibration.aurc.value < first.calibration.random_aurc && first.calibration.platt.a > 0.0);
        assert!(first.calibration.temperature.unwrap() > 0.0 && first.calibration.tempered.is_some());
        let read: Detail = serde_json::from_str(&serde_json::to_string(&found).unwrap()).unwrap();
        assert!(
            (read.calibration[3].calibration.aurc.value - found.calibration[3].calibration.aurc.value).abs() < 1e-12
        );
        // a file of an older version knows neither the temperature nor the groups in a bin
        let mut old = serde_json::to_value(&found.calibration[0]).unwrap();
        let fields = old.as_object_mut().unwrap();
        assert!(fields.remove("temperature").is_some() && fields.remove("tempered").is_some());
        for bin in fields["raw"]["bins"].as_array_mut().unwrap() {
            assert!(bin.as_object_mut().unwrap().remove("units").is_some());
        }
        let old: Calibrated = serde_json::from_value(old).unwrap();
        assert!(old.calibration.tempered.is_none() && old.calibration.raw.bins[0].units == 0);
        rows[7].logprob = None;
        assert!(detail(&rows, &depth(&names, &training, &own), &bootstrap).unwrap().calibration.is_empty());
    }
}

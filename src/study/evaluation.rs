//! `metrics.json`: every metric of one set of predictions, on labels as written and normalised, each with its interval; and
//! the paired comparison of several sets. What made the numbers (digest, seed, resamples, label sets) stands beside them.
//! What needs more than labels (training counts, concepts, log-probabilities) is in `detail`.
use super::detail::{Detail, NO_GOLD};
use crate::error::{Error, Result};
use crate::io;
use crate::metric::{self, Bootstrap, Difference, Estimate, Metric, MetricInfo, Reading, ScoreTable, Statistic, Unit};
use crate::run::Prediction;
use crate::task::{AnyPrediction, AnyTask};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The content of `metrics.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Name and version of the task that read and scored the answers, `findings@2`; empty in files of older versions.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub task: String,
    pub model: String,
    pub adapter: Option<String>,
    pub prompt: String,
    /// SHA-256 over the predictions as JSON.
    pub predictions: String,
    pub cases: usize,
    pub groups: usize,
    pub bootstrap: Bootstrap,
    pub raw: Scores,
    pub normalised: Scores,
    /// None where only the metrics were asked for, and in files of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Detail>,
}

/// Metrics by name; null where undefined.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Counts of the task's that belong to them: labels in gold, labels known to training, …
    #[serde(flatten)]
    pub counts: BTreeMap<String, Option<usize>>,
    pub metrics: BTreeMap<String, Option<Estimate>>,
    /// The same metrics with BCa intervals, where those are defined.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bca: BTreeMap<String, Estimate>,
    /// Shares of cases with Wilson's interval, where every case is a group of its own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub wilson: BTreeMap<String, Estimate>,
}

impl Evaluation {
    pub fn scores(&self, reading: Reading) -> &Scores {
        match reading {
            Reading::Raw => &self.raw,
            Reading::Normalised => &self.normalised,
        }
    }

    /// A metric by its key, `micro_f1`; none where undefined or not computed.
    pub fn get(&self, reading: Reading, metric: &str) -> Option<&Estimate> {
        self.scores(reading).metrics.get(metric)?.as_ref()
    }

    /// The same with the exact interval of shares that are 0 or 1 in every group, where a file of an older version has a point: of the
    /// metrics that every case bears on, as the file does not say which cases bear on the others.
    pub(super) fn with_exact_ends(mut self) -> Self {
        let units = if self.bootstrap.unit == Unit::Group { self.groups } else { self.cases };
        let no_gold = |detail: &Detail| detail.by_gold_labels.iter().any(|part| part.name == NO_GOLD);
        let labelled = self.detail.as_ref().is_some_and(|detail| !no_gold(detail));
        let of_cases = [Metric::Jaccard, Metric::Exact, Metric::SampleF1, Metric::ParseFailure];
        let of_labelled = [Metric::MicroF1, Metric::MicroRecall].into_iter().filter(|_| labelled);
        let keys: Vec<String> = of_cases.into_iter().chain(of_labelled).map(|metric| metric.to_string()).collect();
        for scores in [&mut self.raw, &mut self.normalised] {
            for (_, found) in scores.metrics.iter_mut().filter(|(key, _)| keys.contains(key)) {
                let exact =
                    found.as_ref().and_then(|found| metric::unanimous(found.value, units, self.bootstrap.level));
                if let (Some(found), Some((low, high))) = (found, exact) {
                    (found.low, found.high) = (low, high);
                }
            }
        }
        self
    }
}

/// Every metric of the predictions, as written and normalised; of a task that has one reading only, that one in both places.
pub fn evaluate(task: &dyn AnyTask, predictions: &[AnyPrediction], bootstrap: &Bootstrap) -> Result<Evaluation> {
    let Some(first) = predictions.first() else {
        return Err(Error::input("nothing to evaluate: no predictions"));
    };
    let asked =
        |p: &AnyPrediction| (p.model.clone(), p.adapter.clone(), p.prompt.clone(), p.constrain, p.voted.is_some());
    if let Some(other) = predictions.iter().find(|p| asked(p) != asked(first)) {
        let (a, b) = (first.source(), other.source());
        return Err(Error::input(format!(
            "case `{}` was answered by `{b}`, case `{}` by `{a}`; evaluate one model, adapter and prompt at a time",
            other.case_id, first.case_id
        )));
    }
    Ok(Evaluation {
        task: task.id(),
        model: first.model.clone(),
        adapter: first.adapter.clone(),
        prompt: first.prompt.clone(),
        predictions: digest(predictions)?,
        cases: predictions.len(),
        groups: predictions.iter().map(|p| &p.group).collect::<BTreeSet<_>>().len(),
        bootstrap: bootstrap.clone(),
        raw: scores(task, predictions, bootstrap, Reading::Raw)?,
        normalised: scores(task, predictions, bootstrap, Reading::Normalised)?,
        detail: None,
    })
}

/// SHA-256 over predictions, whatever their file is called.
pub fn digest<A: Serialize, G: Serialize>(predictions: &[Prediction<A, G>]) -> Result<String> {
    io::digest_json(&predictions)
}

/// The reading itself where the task has it, else the task's first.
pub(super) fn supported(task: &dyn AnyTask, reading: Reading) -> Reading {
    let all = task.readings();
    if all.contains(&reading) { reading } else { all.first().copied().unwrap_or(Reading::Raw) }
}

fn scores(
    task: &dyn AnyTask,
    predictions: &[AnyPrediction],
    bootstrap: &Bootstrap,
    reading: Reading,
) -> Result<Scores> {
    let reading = supported(task, reading);
    let table = task.score(&[predictions], reading)?.pop().unwrap_or_default();
    let keys = || table.keys().into_iter().map(String::from);
    let bca = keys().zip(bootstrap.bca_estimates(&table)).filter_map(|(key, found)| Some((key, found?))).collect();
    Ok(Scores {
        counts: task.counts(predictions, reading)?,
        bca,
        wilson: wilson(&table, bootstrap.level),
        metrics: keys().zip(bootstrap.estimates(&table)).collect(),
    })
}

/// Of the metrics that count cases (exact matches, parse failures), where every case is a group of its own.
fn wilson(table: &ScoreTable, level: f64) -> BTreeMap<String, Estimate> {
    let counted = table.columns.iter().filter(|(info, _)| info.counts_cases && table.independent());
    let share = |(info, statistic): &(MetricInfo, Statistic)| {
        let Statistic::Ratio(cases) = statistic else { return None };
        let found = metric::wilson(cases.iter().filter(|case| case.0 > 0.0).count(), table.cases(), level)?;
        Some((info.key.clone(), found))
    };
    counted.filter_map(share).collect()
}

/// One metric of two models on the same cases.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    pub a: String,
    pub b: String,
    pub metric: String,
    pub reading: Reading,
    /// b − a; null where either is undefined.
    pub difference: Option<Difference>,
    /// p after Holm's correction over all comparisons of this table; null as above.
    pub p_holm: Option<f64>,
    /// p of the permutation test after the same correction over its own p values.
    #[serde(default)]
    pub p_permutation_holm: Option<f64>,
    /// McNemar's exact p after the same correction over its own p values, those of exact matches.
    #[serde(default)]
    pub p_mcnemar_holm: Option<f64>,
}

impl Comparison {
    /// Of one pair and metric, no p corrected yet.
    pub fn of(a: &str, b: &str, metric: &str, reading: Reading, difference: Option<Difference>) -> Self {
        let (a, b, metric) = (a.into(), b.into(), metric.into());
        Self { a, b, metric, reading, difference, p_holm: None, p_permutation_holm: None, p_mcnemar_holm: None }
    }

    /// Whether the corrected p is below [`metric::ALPHA`].
    pub fn significant(&self) -> bool {
        self.p_holm.is_some_and(|p| p < metric::ALPHA)
    }

    /// b − a, 0 where it is undefined.
    pub fn gain(&self) -> f64 {
        self.difference.as_ref().map_or(0.0, |d| d.value)
    }
}

/// Every pair of the named predictions in the order given, for every metric; p corrected over all of them. How many resamples that takes:
/// see [`Bootstrap::for_comparisons`].
pub fn compare(
    task: &dyn AnyTask,
    named: &[(String, Vec<AnyPrediction>)],
    metrics: &[&str],
    reading: Reading,
    bootstrap: &Bootstrap,
) -> Result<Vec<Comparison>> {
    if named.len() < 2 {
        return Err(Error::input("nothing to compare: give two or more files of predictions on the same cases"));
    }
    let tables = score_together(task, named, reading)?;
    let pairs = (0..named.len()).flat_map(|i| (i + 1..named.len()).map(move |j| (i, j)));
    let mut rows = Vec::new();
    for (i, j) in pairs {
        rows.extend(rows_of((&named[i].0, &tables[i]), (&named[j].0, &tables[j]), metrics, reading, bootstrap)?);
    }
    correct(&mut rows);
    Ok(rows)
}

/// As [`compare`], of every set of predictions with the first one only; those of other cases are left out.
pub fn compare_with_first(
    task: &dyn AnyTask,
    named: &[(String, Vec<AnyPrediction>)],
    metrics: &[&str],
    reading: Reading,
    bootstrap: &Bootstrap,
) -> Result<Vec<Comparison>> {
    let tables = score_together(task, named, reading)?;
    let mut rows = Vec::new();
    if let Some((first, others)) = tables.split_first() {
        for (name, table) in named[1..].iter().map(|(name, _)| name).zip(others) {
            if table.paired_with(first).is_ok() {
                rows.extend(rows_of((&named[0].0, first), (name, table), metrics, reading, bootstrap)?);
            }
        }
    }
    correct(&mut rows);
    Ok(rows)
}

fn score_together(
    task: &dyn AnyTask,
    named: &[(String, Vec<AnyPrediction>)],
    reading: Reading,
) -> Result<Vec<ScoreTable>> {
    let sets: Vec<&[AnyPrediction]> = named.iter().map(|(_, predictions)| predictions.as_slice()).collect();
    task.score(&sets, supported(task, reading))
}

fn rows_of(
    (a, first): (&str, &ScoreTable),
    (b, second): (&str, &ScoreTable),
    metrics: &[&str],
    reading: Reading,
    bootstrap: &Bootstrap,
) -> Result<Vec<Comparison>> {
    let differences = metric::compare(first, second, metrics, bootstrap)
        .map_err(|error| Error::input(format!("`{a}` and `{b}`: {error}")))?;
    let row = |(key, difference): (&&str, _)| Comparison::of(a, b, key, reading, difference);
    Ok(metrics.iter().zip(differences).map(row).collect())
}

/// Holm's correction of every kind of p over all rows where it is defined, each kind a family of its own.
pub(super) fn correct(rows: &mut [Comparison]) {
    let corrected = |of: fn(&Difference) -> Option<f64>, rows: &[Comparison]| {
        let p: Vec<Option<f64>> = rows.iter().map(|row| row.difference.as_ref().and_then(of)).collect();
        let mut found = metric::holm(&p.iter().copied().flatten().collect::<Vec<_>>()).into_iter();
        p.iter().map(|p| p.and_then(|_| found.next())).collect::<Vec<_>>()
    };
    let (p, permutation) = (corrected(|d| Some(d.p), rows), corrected(|d| d.p_permutation, rows));
    let mcnemar = corrected(|d| d.mcnemar.as_ref().map(|test| test.p), rows);
    for (((row, p), permutation), mcnemar) in rows.iter_mut().zip(p).zip(permutation).zip(mcnemar) {
        (row.p_holm, row.p_permutation_holm, row.p_mcnemar_holm) = (p, permutation, mcnemar);
    }
}

/// A short name for every set of predictions: model, adapter and prompt, with as much of a digest as tells equals apart.
pub fn names(sets: &[&[AnyPrediction]]) -> Result<Vec<String>> {
    let sources: Vec<String> =
        sets.iter().map(|set| set.first().map(AnyPrediction::source).unwrap_or_default()).collect();
    let twice = |source: &String| sources.iter().filter(|other| *other == source).count() > 1;
    let name = |(set, source): (&&[AnyPrediction], &String)| {
        Ok(if twice(source) { format!("{source} ({})", &digest(set)?[..6]) } else { source.clone() })
    };
    sets.iter().zip(&sources).map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::{Corpus, Finding};
    use crate::run::prediction::tests::answer;
    use crate::task::LabelTask;

    /// Label sets, with these as the labels of training if there are any.
    fn task(known: &[&str]) -> LabelTask {
        if known.is_empty() {
            return LabelTask::without_corpus().unwrap();
        }
        let train = vec![Finding::new("t", "t", "", known.iter().map(|label| label.to_string()).collect())];
        LabelTask::findings(Corpus { name: "t".into(), synthetic: true, train, test: vec![] }).unwrap()
    }

    fn few() -> Bootstrap {
        Bootstrap { resamples: 200, ..Default::default() }
    }

    fn any(rows: &[Prediction]) -> Vec<AnyPrediction> {
        let one = |row: &Prediction| {
            let (answer, gold) = (serde_json::json!(row.answer), serde_json::json!(row.gold));
            row.clone().with(answer, gold)
        };
        rows.iter().map(one).collect()
    }

    fn scored(rows: &[Prediction], known: &[&str]) -> Result<Evaluation> {
        evaluate(&task(known), &any(rows), &few())
    }

    #[test]
    fn normalisation_shows_in_the_scores_and_nothing_else_changes() {
        let rows =
            [answer("1", &["Renal cyst"], &["renal cyst"]), answer("2", &["a"], &["a"]), answer("3", &["b"], &["x"])];
        let known = ["renal cyst", "a", "A", "b"];
        let evaluation = scored(&rows, &known).unwrap();
        let value = |reading, metric| evaluation.get(reading, metric).unwrap().value;
        assert_eq!(value(Reading::Raw, "exact_match"), 1.0 / 3.0);
        assert_eq!(value(Reading::Normalised, "exact_match"), 2.0 / 3.0);
        let count = |reading, key: &str| evaluation.scores(reading).counts[key];
        assert_eq!(
            (count(Reading::Raw, "union_labels"), count(Reading::Normalised, "union_labels")),
            (Some(5), Some(4))
        );
        assert_eq!((count(Reading::Raw, "vocabulary"), count(Reading::Normalised, "vocabulary")), (Some(4), Some(3)));
        assert_eq!(value(Reading::Normalised, "hallucinated_rate"), 1.0 / 3.0);
        assert_eq!((evaluation.cases, evaluation.groups, evaluation.predictions.len()), (3, 3, 64));
        assert_eq!(evaluation, scored(&rows, &known).unwrap());
        assert!(!scored(&rows, &[]).unwrap().raw.metrics.contains_key("hallucinated_rate"));
    }

    #[test]
    fn metrics_json_is_read_back_with_null_for_undefined() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.json");
        let evaluation = scored(&[answer("1", &["a"], &[])], &[]).unwrap();
        io::write_json(&path, &evaluation).unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().contains("\"micro_precision\": null"));
        assert_eq!(io::read_json::<Evaluation>(&path).unwrap(), evaluation);
    }

    #[test]
    fn a_file_of_an_older_version_is_read() {
        let evaluation = scored(&[answer("1", &["a"], &["a"])], &[]).unwrap();
        let mut old = serde_json::to_value(&evaluation).unwrap();
        for reading in ["raw", "normalised"] {
            let scores = old[reading].as_object_mut().unwrap();
            assert!(scores.remove("bca").is_some() && scores.remove("wilson").is_some());
        }
        let read: Evaluation = serde_json::from_value(old).unwrap();
        assert!(read.normalised.bca.is_empty() && read.detail.is_none());
        assert_eq!(read.normalised.metrics, evaluation.normalised.metrics);
    }

    #[test]
    fn a_point_in_an_older_file_gets_its_exact_interval() {
        let rows: Vec<Prediction> = (0..10).map(|i| answer(&format!("c{i}"), &["a"], &["b"])).collect();
        let now = scored(&rows, &[]).unwrap();
        assert_eq!(now.clone().with_exact_ends(), now, "nothing is left to do");
        let mut old = now.clone();
        let point = |found: &mut Option<Estimate>| found.iter_mut().for_each(|e| (e.low, e.high) = (e.value, e.value));
        old.normalised.metrics.values_mut().for_each(point);
        let read = old.with_exact_ends();
        let high = |of: &Evaluation, key| of.get(Reading::Normalised, key).unwrap().high;
        for key in ["jaccard", "exact_match", "sample_f1", "parse_failure_rate"] {
            assert_eq!(high(&read, key), high(&now, key), "{key}");
        }
        assert_eq!(high(&read, "micro_f1"), 0.0, "without the details nothing says that every case has a gold label");
        assert_eq!(high(&read, "labels_per_case"), 1.0);
    }

    #[test]
    fn shares_of_cases_have_an_interval_where_the_bootstrap_has_none() {
        let rows: Vec<Prediction> = (0..10).map(|i| answer(&format!("c{i}"), &["a"], &["b"])).collect();
        let scores = scored(&rows, &[]).unwrap().normalised;
        let (percentile, wilson) = (scores.metrics["exact_match"].clone().unwrap(), &scores.wilson["exact_match"]);
        // resamples of nothing are nothing: 1 − 0.025^(1/10) in place of a point, and Wilson's
        assert!((percentile.high - 0.3085).abs() < 1e-4 && (wilson.high - 0.2775).abs() < 1e-4);
        let grouped: Vec<Prediction> = rows.into_iter().map(|row| Prediction { group: "p".into(), ..row }).collect();
        assert!(scored(&grouped, &[]).unwrap().normalised.wilson.is_empty(), "cases of a patient are not independent");
    }

    #[test]
    fn predictions_of_two_prompts_are_refused() {
        let rows =
            [answer("1", &["a"], &["a"]), Prediction { prompt: "plain@00".into(), ..answer("2", &["a"], &["a"]) }];
        let message = scored(&rows, &[]).unwrap_err().to_string();
        assert!(message.contains("case `2` was answered by `embedded · plain`"), "{message}");
        assert!(scored(&[], &[]).is_err());
    }

    #[test]
    fn every_pair_is_compared_and_corrected_together() {
        let rows = |right: usize| {
            let one = |i| answer(&format!("c{i}"), &["a"], &[if i < right { "A" } else { "b" }]);
            any(&(0..60).map(one).collect::<Vec<_>>())
        };
        let named = [("low".to_string(), rows(10)), ("mid".into(), rows(30)), ("mid too".into(), rows(30))];
        let metrics = ["micro_f1", "exact_match"];
        let table = compare(&task(&[]), &named, &metrics, Reading::Normalised, &few()).unwrap();
        assert_eq!(table.len(), 6);
        assert_eq!((table[0].a.as_str(), table[0].b.as_str()), ("low", "mid"));
        let first = table[0].difference.as_ref().unwrap();
        assert!((first.value - 1.0 / 3.0).abs() < 1e-12 && first.low > 0.2);
        assert!((table[0].p_holm.unwrap() - 6.0 * first.p).abs() < 1e-12);
        assert_eq!(table[4].p_holm, Some(1.0), "equal answers do not differ");
        assert!((table[0].p_permutation_holm.unwrap() - 6.0 * first.p_permutation.unwrap()).abs() < 1e-12);
        assert!(
            first.mcnemar.is_none() && table[1].difference.as_ref().unwrap().mcnemar.as_ref().unwrap().only_b == 20
        );
        let mcnemar = |row: &Comparison| row.difference.as_ref().and_then(|d| d.mcnemar.clone()).map(|test| test.p);
        assert!((table[1].p_mcnemar_holm.unwrap() - 3.0 * mcnemar(&table[1]).unwrap()).abs() < 1e-12, "of three tests");
        assert_eq!((table[0].p_mcnemar_holm, table[5].p_mcnemar_holm), (None, Some(1.0)));
        assert!(first.detectable.unwrap() > 0.1 && table[4].difference.as_ref().unwrap().detectable.is_none());
        assert!(compare(&task(&[]), &named[..1], &metrics, Reading::Raw, &few()).is_err());
    }

    #[test]
    fn the_first_is_compared_with_those_that_answered_the_same_cases() {
        let rows = |cases: usize, right: usize| {
            let one = |i| answer(&format!("c{i}"), &["a"], &[if i < right { "a" } else { "b" }]);
            any(&(0..cases).map(one).collect::<Vec<_>>())
        };
        let named = [("base".to_string(), rows(40, 5)), ("few".into(), rows(30, 5)), ("better".into(), rows(40, 30))];
        let of = |named: &[_]| compare_with_first(&task(&[]), named, &["micro_f1"], Reading::Raw, &few()).unwrap();
        let found = of(&named);
        assert_eq!(found.iter().map(|row| (row.a.as_str(), row.b.as_str())).collect::<Vec<_>>(), [("base", "better")]);
        let difference = found[0].difference.as_ref().unwrap();
        assert_eq!((difference.value, difference.resamples, found[0].p_holm), (0.625, 200, Some(difference.p)));
        assert!(of(&named[..1]).is_empty() && of(&[]).is_empty());
    }

    #[test]
    fn names_tell_equal_sources_apart() {
        let (a, b) = (any(&[answer("1", &["a"], &["a"])]), any(&[answer("1", &["a"], &["b"])]));
        let other = any(&[Prediction { prompt: "plain@00".into(), ..answer("1", &["a"], &["a"]) }]);
        let names = names(&[&a, &b, &other]).unwrap();
        assert!(names[0].starts_with("embedded · closed (") && names[0] != names[1]);
        assert_eq!(names[2], "embedded · plain");
    }
}

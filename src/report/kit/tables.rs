//! Results as polars frames: what notebooks filter and show, one row a metric, a label, a case, a comparison or a run.
use super::display::{NONE, detectable, difference, interval};
use crate::corpus::Finding;
use crate::error::{Error, Result};
use crate::metric::{Difference, Outcome, Reading};
use crate::run::{Prediction, Run, label_set, outcomes};
use crate::study::{Comparison, Evaluation};
use polars::prelude::{DataFrame, PolarsResult, df};
use std::collections::BTreeMap;

fn built(frame: PolarsResult<DataFrame>) -> Result<DataFrame> {
    frame.map_err(|error| Error::failed(format!("a table could not be built: {error}")))
}

/// The metrics of the first table of a results chapter, in reading order.
pub const MAIN: [&str; 5] = ["micro_f1", "jaccard", "exact_match", "macro_f1_gold", "labels_per_case"];

/// One row a model, one column a metric: `0.612 [0.580, 0.650]`.
pub fn metrics(named: &[(String, &Evaluation)], reading: Reading, keys: &[&str]) -> Result<DataFrame> {
    let names: Vec<&str> = named.iter().map(|(name, _)| name.as_str()).collect();
    let cases: Vec<u64> = named.iter().map(|(_, evaluation)| evaluation.cases as u64).collect();
    let mut frame = built(df!["model" => names, "n" => cases])?;
    for &key in keys {
        let cells: Vec<String> = named.iter().map(|(_, evaluation)| interval(evaluation.get(reading, key))).collect();
        frame.with_column(polars::prelude::Column::new(key.into(), cells)).map_err(|e| Error::failed(e.to_string()))?;
    }
    Ok(frame)
}

/// One row a comparison: difference with interval, p, p after Holm's correction over the table, p of the permutation test after the
/// same, and the smallest difference that so many cases show with 80 % power.
pub fn comparisons(rows: &[Comparison]) -> Result<DataFrame> {
    let of = |f: fn(&Comparison) -> String| rows.iter().map(f).collect::<Vec<String>>();
    built(df![
        "a" => of(|row| row.a.clone()),
        "b" => of(|row| row.b.clone()),
        "metric" => of(|row| row.metric.clone()),
        "b − a" => of(|row| difference(row.difference.as_ref())),
        "p" => rows.iter().map(|row| row.difference.as_ref().map(|d| d.p)).collect::<Vec<_>>(),
        "p (Holm)" => rows.iter().map(|row| row.p_holm).collect::<Vec<_>>(),
        "permutation (Holm)" => rows.iter().map(|row| row.p_permutation_holm).collect::<Vec<_>>(),
        "detectable" => of(|row| detectable(row.difference.as_ref())),
        "n" => rows.iter().map(|row| row.difference.as_ref().map(|d| d.n as u64)).collect::<Vec<_>>(),
    ])
}

/// The same for a page: what is one and the same in all rows (metric, number of cases) stands in the head of the difference, and a test that no row has
/// is left out.
pub fn comparisons_on_a_page(rows: &[Comparison]) -> Result<DataFrame> {
    let mut frame = comparisons(rows)?;
    let n = |row: &Comparison| row.difference.as_ref().map(|d| d.n);
    let [first, others @ ..] = rows else { return Ok(frame) };
    if others.iter().all(|row| row.metric == first.metric && n(row) == n(first)) {
        let cases = n(first).map_or(String::new(), |n| format!(", n = {n}"));
        let head = format!("b − a, {}{cases}", first.metric);
        built(frame.rename("b − a", head.into()).map(|frame| frame.clone()))?;
        frame = frame.drop_many(["metric", "n"]);
    }
    if rows.iter().all(|row| row.p_permutation_holm.is_none()) {
        frame = frame.drop_many(["permutation (Holm)"]);
    }
    Ok(frame)
}

/// The tests that `comparisons` has no column for: BCa interval, the permutation test's own p, and where exact matches were compared
/// McNemar's exact test, its mid-p, and the exact p after Holm over the rows that have one.
pub fn more_tests(rows: &[Comparison]) -> Result<DataFrame> {
    let of = |f: fn(&Comparison) -> String| rows.iter().map(f).collect::<Vec<String>>();
    let mcnemar = |row: &Comparison| row.difference.as_ref().and_then(|d| d.mcnemar.clone());
    built(df![
        "a" => of(|row| row.a.clone()),
        "b" => of(|row| row.b.clone()),
        "metric" => of(|row| row.metric.clone()),
        "BCa" => of(|row| row.difference.as_ref().map_or(NONE.into(), bca)),
        "permutation" => rows.iter().map(|row| row.difference.as_ref().and_then(|d| d.p_permutation)).collect::<Vec<_>>(),
        "only a right" => rows.iter().map(|row| mcnemar(row).map(|test| test.only_a as u64)).collect::<Vec<_>>(),
        "only b right" => rows.iter().map(|row| mcnemar(row).map(|test| test.only_b as u64)).collect::<Vec<_>>(),
        "McNemar" => rows.iter().map(|row| mcnemar(row).map(|test| test.p)).collect::<Vec<_>>(),
        "mid-p" => rows.iter().map(|row| mcnemar(row).map(|test| test.mid_p)).collect::<Vec<_>>(),
        "McNemar (Holm)" => rows.iter().map(|row| row.p_mcnemar_holm).collect::<Vec<_>>(),
    ])
}

fn bca(of: &Difference) -> String {
    let found = of.bca.map(|(low, high)| Difference { low, high, ..of.clone() });
    difference(found.as_ref())
}

/// Cases that carry each label, as written or normalised.
pub fn label_counts(cases: &[Finding], normalise: Option<&dyn Fn(&str) -> String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    let labels = cases.iter().flat_map(|case| label_set(&case.gold, normalise));
    labels.for_each(|label| *counts.entry(label).or_default() += 1);
    counts
}

/// One row a label, the most frequent in training first: cases in training and in test.
pub fn labels(train: &[Finding], test: &[Finding], normalise: Option<&dyn Fn(&str) -> String>) -> Result<DataFrame> {
    let (train, test) = (label_counts(train, normalise), label_counts(test, normalise));
    let ranked = ranked(&train, &test);
    built(df![
        "label" => ranked.iter().map(|row| row.0).collect::<Vec<_>>(),
        "train" => ranked.iter().map(|row| row.1 as u64).collect::<Vec<_>>(),
        "test" => ranked.iter().map(|row| row.2 as u64).collect::<Vec<_>>(),
    ])
}

/// (label, training cases, test cases), the most frequent in training first, then in test, then by name.
pub fn ranked<'a>(
    train: &'a BTreeMap<String, usize>,
    test: &'a BTreeMap<String, usize>,
) -> Vec<(&'a str, usize, usize)> {
    let all: std::collections::BTreeSet<&String> = train.keys().chain(test.keys()).collect();
    let count = |counts: &BTreeMap<String, usize>, label: &String| counts.get(label).copied().unwrap_or(0);
    let mut rows: Vec<_> = all.into_iter().map(|l| (l.as_str(), count(train, l), count(test, l))).collect();
    rows.sort_by_key(|&(label, train, test)| (std::cmp::Reverse((train, test)), label));
    rows
}

/// One row a label, the most frequent in gold first: how often gold, predicted and right; precision, recall, F1 (null for 0/0).
pub fn per_label(outcomes: &[Outcome]) -> Result<DataFrame> {
    let mut counts = BTreeMap::<&str, [u64; 3]>::new(); // gold, predicted, right
    for case in outcomes {
        case.gold.iter().for_each(|label| counts.entry(label).or_default()[0] += 1);
        case.predicted.iter().for_each(|label| counts.entry(label).or_default()[1] += 1);
        case.true_positives().for_each(|label| counts.entry(label).or_default()[2] += 1);
    }
    let mut rows: Vec<(&str, [u64; 3])> = counts.into_iter().collect();
    rows.sort_by_key(|&(label, [gold, predicted, _])| (std::cmp::Reverse((gold, predicted)), label));
    let ratio = |num: u64, den: u64| (den > 0).then(|| num as f64 / den as f64);
    built(df![
        "label" => rows.iter().map(|row| row.0).collect::<Vec<_>>(),
        "gold" => rows.iter().map(|row| row.1[0]).collect::<Vec<_>>(),
        "predicted" => rows.iter().map(|row| row.1[1]).collect::<Vec<_>>(),
        "right" => rows.iter().map(|row| row.1[2]).collect::<Vec<_>>(),
        "precision" => rows.iter().map(|row| ratio(row.1[2], row.1[1])).collect::<Vec<_>>(),
        "recall" => rows.iter().map(|row| ratio(row.1[2], row.1[0])).collect::<Vec<_>>(),
        "f1" => rows.iter().map(|row| ratio(2 * row.1[2], row.1[0] + row.1[1])).collect::<Vec<_>>(),
    ])
}

/// One row a case: finding, gold, raw answer, and what was right, missed and invented after normalisation.
pub fn examples(predictions: &[Prediction], normalise: &dyn Fn(&str) -> String) -> Result<DataFrame> {
    let outcomes = outcomes(predictions, Some(normalise));
    let of = |f: fn(&Prediction) -> String| predictions.iter().map(f).collect::<Vec<_>>();
    built(df![
        "case" => of(|p| p.case_id.clone()),
        "finding" => of(|p| p.input.clone()),
        "gold" => of(|p| p.gold.join(", ")),
        "answer" => of(|p| p.raw.clone()),
        "right" => outcomes.iter().map(|o| join(o.true_positives())).collect::<Vec<_>>(),
        "missed" => outcomes.iter().map(|o| join(o.false_negatives())).collect::<Vec<_>>(),
        "invented" => outcomes.iter().map(|o| join(o.false_positives())).collect::<Vec<_>>(),
        "exact" => outcomes.iter().map(Outcome::exact).collect::<Vec<_>>(),
        "logprob" => predictions.iter().map(|p| p.logprob).collect::<Vec<_>>(),
    ])
}

fn join<'a>(labels: impl Iterator<Item = &'a str>) -> String {
    labels.collect::<Vec<_>>().join(", ")
}

/// One row a run: kind, name, digest, when, how long, how much memory and disk. A run whose environment cannot be read is left out
/// and told on the terminal.
pub fn runs(runs: &[Run]) -> Result<DataFrame> {
    let known: Vec<_> = runs.iter().filter_map(|run| Some((run, run.environment_or_told()?))).collect();
    let bytes = known.iter().map(|(run, _)| run.bytes()).collect::<Result<Vec<_>>>()?;
    let mega = |bytes: u64| bytes as f64 / 1e6;
    built(df![
        "kind" => known.iter().map(|(run, _)| run.spec.kind.as_str()).collect::<Vec<_>>(),
        "name" => known.iter().map(|(run, _)| run.spec.name.as_str()).collect::<Vec<_>>(),
        "digest" => known.iter().map(|(run, _)| run.short_digest()).collect::<Vec<_>>(),
        "started" => known.iter().map(|(_, made)| made.started.as_str()).collect::<Vec<_>>(),
        "seconds" => known.iter().map(|(_, made)| made.wall_seconds).collect::<Vec<_>>(),
        "peak MB" => known.iter().map(|(_, made)| made.peak_bytes.map(mega)).collect::<Vec<_>>(),
        "disk MB" => bytes.into_iter().map(mega).collect::<Vec<_>>(),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::kit::Table;

    fn outcome(gold: &[&str], predicted: &[&str]) -> Outcome {
        let set = |labels: &[&str]| labels.iter().map(|label| label.to_string()).collect();
        Outcome { case_id: "1".into(), group: "1".into(), gold: set(gold), predicted: set(predicted), parsed: true }
    }

    #[test]
    fn labels_are_ranked_by_training_cases() {
        let case = |labels: &[&str]| Finding::new("1", "1", "", labels.iter().map(|label| label.to_string()).collect());
        let frame = labels(&[case(&["b", "a"]), case(&["b"])], &[case(&["c", "a"])], None).unwrap();
        assert_eq!(
            Table::from(frame).to_text(),
            "label  train  test\nb          2     0\na          1     1\nc          0     1\n"
        );
    }

    #[test]
    fn a_label_never_predicted_has_no_precision() {
        let frame = per_label(&[outcome(&["a", "b"], &["a"]), outcome(&["a"], &["c"])]).unwrap();
        let text = Table::from(frame).to_text();
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[1], ["a", "2", "1", "1", "1.000", "0.500", "0.667"]);
        assert_eq!(rows[2], ["b", "1", "0", "0", "–", "0.000", "0.000"]);
        assert_eq!(rows[3], ["c", "0", "1", "0", "0.000", "–", "0.000"]);
    }

    #[test]
    fn what_all_rows_share_stands_in_the_head() {
        let row = |a: &str, metric: &str, n: usize| {
            let found = Difference { value: 0.1, low: 0.05, high: 0.15, n, ..Difference::default() };
            Comparison::of(a, "b", metric, Reading::Normalised, Some(found))
        };
        let head = |rows: &[Comparison]| {
            let text = Table::from(comparisons_on_a_page(rows).unwrap()).to_text();
            text.lines()
                .next()
                .unwrap()
                .split("  ")
                .map(str::trim)
                .filter(|c| !c.is_empty())
                .map(String::from)
                .collect::<Vec<_>>()
        };
        let alike = head(&[row("x", "micro_f1", 9), row("y", "micro_f1", 9)]);
        assert_eq!(alike, ["a", "b", "b − a, micro_f1, n = 9", "p", "p (Holm)", "detectable"]);
        let two = head(&[row("x", "micro_f1", 9), row("y", "jaccard", 9)]);
        assert_eq!(two, ["a", "b", "metric", "b − a", "p", "p (Holm)", "detectable", "n"]);
        assert_eq!(head(&[]).len(), 9);
    }
}

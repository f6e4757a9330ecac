//! The results chapters: scores of several models side by side, differences, where in the long tail a model is right, single
//! answers, and what stands in the text where a label was invented.
use super::detail;
use crate::corpus::synthetic::Truth;
use crate::error::{Error, Result};
use crate::metric::{Calibration, Reading, Signal};
use crate::report::kit::display::{Figure, NONE, Table, detectable, difference, interval, spread};
use crate::report::kit::{figures, tables};
use crate::study::{Comparison, Detail, Evaluation, Moved, Part, Results, Target};
use std::collections::BTreeMap;

/// One row a model, one column a metric with its interval.
pub fn scores(results: &Results, reading: Reading, keys: &[&str]) -> Result<Table> {
    Ok(tables::metrics(&named(results), reading, keys)?.into())
}

/// A metric of one model on normalised labels with its interval, `0.612 [0.580, 0.650]`.
pub fn score(results: &Results, model: &str, key: &str) -> Result<String> {
    Ok(interval(results.get(model)?.evaluation.get(Reading::Normalised, key)))
}

/// As [`scores`], of evaluations kept as files; a model without one has a row of dashes.
pub fn kept(evaluations: &[(String, Option<Evaluation>)], reading: Reading, keys: &[&str]) -> Table {
    let row = |(name, evaluation): &(String, Option<Evaluation>)| {
        let n = evaluation.as_ref().map_or(NONE.into(), |e| e.cases.to_string());
        let cells = keys.iter().map(|key| interval(evaluation.as_ref().and_then(|e| e.get(reading, key))));
        [name.clone(), n].into_iter().chain(cells).collect::<Vec<_>>()
    };
    Table::from_rows(&[&["model", "n"], keys].concat(), &evaluations.iter().map(row).collect::<Vec<_>>())
}

fn named(results: &Results) -> Vec<(String, &Evaluation)> {
    results.models.iter().map(|model| (model.name.clone(), &model.evaluation)).collect()
}

/// A metric of every model on labels as written and normalised, and what normalising adds.
pub fn normalising(results: &Results, key: &str) -> Table {
    let row = |(name, evaluation): (String, &Evaluation)| {
        let (raw, normal) = (evaluation.get(Reading::Raw, key), evaluation.get(Reading::Normalised, key));
        let gain = raw.zip(normal).map(|(raw, normal)| format!("{:+.3}", normal.value - raw.value));
        vec![name, evaluation.cases.to_string(), interval(raw), interval(normal), gain.unwrap_or(NONE.into())]
    };
    let rows: Vec<_> = named(results).into_iter().map(row).collect();
    Table::from_rows(&["model", "n", "as written", "normalised", "difference"], &rows)
}

/// A metric of every model on normalised labels as dots with intervals; `name` is how the metric reads.
pub fn forest(results: &Results, key: &str, name: &str) -> Result<Figure> {
    let estimate = |(model, evaluation): (String, &Evaluation)| {
        evaluation.get(Reading::Normalised, key).map(|estimate| (model, estimate.clone()))
    };
    let rows: Vec<_> = named(results).into_iter().filter_map(estimate).collect();
    let n = rows.iter().map(|(_, estimate)| estimate.n).max().unwrap_or(0);
    let level = 100.0 * results.bootstrap.level;
    figures::forest(&rows, &format!("{name} (n = {n}, {level:.0} % bootstrap interval)"), None)
}

/// Paired differences as dots with intervals, p after Holm and what could have been detected; `name` is how the metric reads.
pub fn paired_forest(rows: &[Comparison], name: &str) -> Result<Figure> {
    let n = rows.iter().filter_map(|row| row.difference.as_ref().map(|d| d.n)).max().unwrap_or(0);
    figures::paired_forest(rows, &format!("difference in {name}, b − a (n = {n}, 95 % paired bootstrap interval)"))
}

/// One row a model: the main metric with each kind of interval and with the normaliser's own error.
pub fn intervals(results: &Results, key: &str) -> Result<Table> {
    let mut rows = Vec::new();
    for model in &results.models {
        let scores = model.evaluation.scores(Reading::Normalised);
        let detail = results.detail(&model.name)?;
        let with = detail.normaliser.metrics.get(key).and_then(Option::as_ref);
        rows.push(vec![
            model.name.clone(),
            interval(model.evaluation.get(Reading::Normalised, key)),
            interval(scores.bca.get(key)),
            interval(with),
            detail.normaliser.matched.to_string(),
        ]);
    }
    let names = ["model", "percentile", "BCa", "with the normaliser's error", "matches it made"];
    Ok(Table::from_rows(&names, &rows))
}

/// One row a model: how near its answers are, by tier.
pub fn tiers(results: &Results, models: &[&str], keys: &[&str]) -> Result<Table> {
    let row = |name: &&str| -> Result<Vec<String>> {
        let found = results.detail(name)?.tiers.as_ref();
        let cells = keys.iter().map(|key| interval(found.and_then(|tiers| tiers.get(key))));
        Ok([name.to_string()].into_iter().chain(cells).collect())
    };
    let rows = models.iter().map(row).collect::<Result<Vec<_>>>()?;
    Ok(Table::from_rows(&[&["model"], keys].concat(), &rows))
}

/// One row a model and number of gold labels.
pub fn by_gold_labels(results: &Results, models: &[&str], key: &str) -> Result<Table> {
    let details = models.iter().map(|name| results.detail(name)).collect::<Result<Vec<_>>>()?;
    let Some(first) = details.first() else { return Ok(Table::default()) };
    let row = |(i, part): (usize, &Part)| {
        let of =
            |detail: &&Detail| interval(detail.by_gold_labels.get(i).and_then(|part| part.metrics.get(key)?.as_ref()));
        [vec![part.name.clone(), part.cases.to_string()], details.iter().map(of).collect()].concat()
    };
    let rows: Vec<Vec<String>> = first.by_gold_labels.iter().enumerate().map(row).collect();
    Ok(Table::from_rows(&[&["gold labels", "cases"], models].concat(), &rows))
}

/// One row a model and signal: calibration of the probability of `target`; models whose answers have no log-probability are left out.
pub fn calibration(results: &Results, models: &[&str], target: Target) -> Result<Table> {
    // raw and by the temperature: with Platt's scaling, which `dxlab evaluate` has too, the table is wider than a page
    let shown = |title: &&str| !title.contains("Platt") && !title.contains("constant");
    let columns: Vec<usize> = (0..detail::CALIBRATION.len()).filter(|&i| shown(&detail::CALIBRATION[i])).collect();
    let mut rows = Vec::new();
    for name in models {
        for found in results.detail(name)?.calibration.iter().filter(|found| found.target == target) {
            let cells = detail::calibration_cells(&found.calibration);
            rows.push([vec![name.to_string()], columns.iter().map(|&i| cells[i].clone()).collect()].concat());
        }
    }
    let titles: Vec<&str> = std::iter::once("model").chain(columns.iter().map(|&i| detail::CALIBRATION[i])).collect();
    Ok(Table::from_rows(&titles, &rows))
}

/// Reliability of one model's probability of `target`, raw and scaled; a figure that says so where its answers are too few.
pub fn reliability(results: &Results, model: &str, target: Target, signal: Signal) -> Result<Figure> {
    match calibrated(results, model, target, signal) {
        Ok(found) => figures::reliability(&found),
        Err(_) => figures::without("too few answers with a log-probability to say how reliable they are"),
    }
}

/// Risk (1 − outcome) against coverage of each model whose answers suffice for a curve.
pub fn risk_coverage(results: &Results, models: &[&str], target: Target, signal: Signal) -> Result<Figure> {
    let curve = |name: &&str| Some((name.to_string(), calibrated(results, name, target, signal).ok()?));
    let curves: Vec<_> = models.iter().filter_map(curve).collect();
    match curves.is_empty() {
        true => figures::without("too few answers with a log-probability to draw a curve"),
        false => figures::risk_coverage(&curves),
    }
}

/// How the log-probability of a model's answers forecasts `target`.
pub fn calibrated(results: &Results, model: &str, target: Target, signal: Signal) -> Result<Calibration> {
    let all = &results.detail(model)?.calibration;
    let found = all.iter().find(|found| found.target == target && found.calibration.signal == signal);
    found.map(|found| found.calibration.clone()).ok_or_else(|| {
        Error::input(format!(
            "the answers of `{model}` have no log-probability, or are too few: choose a model that generates"
        ))
    })
}

/// The run in which each model's answers lie (`runs/<run>/preds.jsonl`), how many there are, and the file's SHA-256 (12 digits).
pub fn files(results: &Results) -> Result<Table> {
    let row = |model: &crate::study::Answered| {
        let digest = crate::io::sha256(&model.run.path("preds.jsonl"))?;
        let cells = [model.name.clone(), model.predictions.len().to_string(), model.run.folder(), digest[..12].into()];
        Ok(cells.to_vec())
    };
    let rows = results.models.iter().map(row).collect::<Result<Vec<_>>>()?;
    Ok(Table::from_rows(&["model", "answers", "run", "sha256"], &rows))
}

/// What one would see by laying two intervals side by side, and what the paired comparison of the same cases says, with the smallest
/// difference that it could have seen.
pub fn side_by_side(results: &Results, rows: &[Comparison]) -> Result<Table> {
    let row = |row: &Comparison| -> Result<Vec<String>> {
        let of = |name: &str| -> Result<_> { Ok(results.get(name)?.evaluation.get(Reading::Normalised, &row.metric)) };
        let (a, b) = (of(&row.a)?, of(&row.b)?);
        let apart = a.zip(b).map(|(a, b)| a.low > b.high || b.low > a.high);
        let (yes, no) = ("yes", "no");
        let told = if row.significant() { yes } else { no };
        let apart = apart.map_or(NONE, |apart| if apart { yes } else { no });
        let seen = detectable(row.difference.as_ref());
        let cells = [row.a.clone(), row.b.clone(), interval(a), interval(b), apart.into(), told.into(), seen];
        Ok(cells.to_vec())
    };
    let rows = rows.iter().map(row).collect::<Result<Vec<_>>>()?;
    let names = ["a", "b", "interval of a", "interval of b", "intervals apart", "paired: a difference", "detectable"];
    Ok(Table::from_rows(&names, &rows))
}

/// Models that answered two sets of cases, which have nothing to do with each other: the metric on both, and the change from the first to the
/// second with the interval of two independent samples.
pub fn moved(rows: &[Moved], sets: [&str; 2], metric: &str) -> Table {
    let row = |one: &Moved| {
        let (here, there) = (interval(one.here.as_ref()), interval(one.there.as_ref()));
        vec![one.model.clone(), here, there, difference(one.change.as_ref())]
    };
    let of = |set: &str| format!("{metric}, {set}");
    Table::from_rows(&["model", &of(sets[0]), &of(sets[1]), "change"], &rows.iter().map(row).collect::<Vec<_>>())
}

/// One row a comparison; p after Holm over the rows.
pub fn differences(rows: &[Comparison]) -> Result<Table> {
    Ok(tables::comparisons_on_a_page(rows)?.into())
}

/// A comparison in a sentence: which of the two is better and by how much, or that no difference can be seen; with the smallest
/// difference that so many cases could have shown (80 % power, one comparison).
pub fn verdict(row: &Comparison) -> String {
    let (a, b, metric) = (&row.a, &row.b, row.metric.replace('_', "-").replace("f1", "F1"));
    let (Some(d), Some(p)) = (&row.difference, row.p_holm) else {
        return format!("{b} and {a} cannot be compared: {metric} is undefined on a side");
    };
    if d.nothing_differs() {
        return format!("{b} and {a} do not differ significantly in {metric}: {} (n = {})", detectable(Some(d)), d.n);
    }
    let p = if p < 0.001 { "p < 0.001".to_string() } else { format!("p = {p:.3}") };
    let seen = d.detectable.map_or(String::new(), |_| format!(", detectable {}", detectable(Some(d))));
    let support = format!("{metric} (n = {}, {p}{seen})", d.n);
    let (low, high) = if d.value < 0.0 { (-d.high, -d.low) } else { (d.low, d.high) };
    let gap = spread(d.value.abs(), low, high, "");
    match (row.significant(), d.value > 0.0) {
        (true, true) => format!("{b} beats {a} by {gap} {support}"),
        (true, false) => format!("{b} is worse than {a} by {gap} {support}"),
        (false, _) => format!("{b} and {a} do not differ significantly: difference {} {support}", difference(Some(d))),
    }
}

/// Where b of a comparison stands beside `name`, which is a: `0.140 [0.109, 0.173] above it (paired, p = 0.003)`, below, or
/// not distinguishable.
pub fn beside(row: &Comparison, name: &str) -> String {
    told(row, name, "p")
}

/// The same of a comparison that was made alone: its p is corrected for no other, and says so.
pub fn beside_alone(row: &Comparison, name: &str) -> String {
    told(row, name, "uncorrected p")
}

fn told(row: &Comparison, name: &str, what: &str) -> String {
    let Some(d) = &row.difference else { return format!("not comparable with {name}") };
    let p = row.p_holm.map_or(String::new(), |p| match p {
        p if p < 0.001 => format!(", {what} < 0.001"),
        p => format!(", {what} = {p:.3}"),
    });
    match (row.significant(), d.value > 0.0) {
        (false, _) => format!("not distinguishable from {name} (difference {}{p})", difference(Some(d))),
        (true, true) => format!("{} above {name} (paired{p})", spread(d.value, d.low, d.high, "")),
        (true, false) => format!("{} below {name} (paired{p})", spread(-d.value, -d.high, -d.low, "")),
    }
}

/// A metric of each model by how many training cases carry the label (normalised, bands of [`Detail::by_frequency`]): what
/// the long tail costs.
pub fn by_frequency(results: &Results, models: &[&str], key: &str) -> Result<Table> {
    let details = models.iter().map(|name| results.detail(name)).collect::<Result<Vec<_>>>()?;
    let Some(first) = details.first() else { return Ok(Table::default()) };
    let row = |(i, part): (usize, &Part)| {
        let of = |detail: &&Detail| interval(detail.by_frequency.get(i).and_then(|p| p.metrics.get(key)?.as_ref()));
        let counts = vec![part.name.clone(), part.labels.to_string(), part.instances.to_string()];
        [counts, details.iter().map(of).collect()].concat()
    };
    let rows: Vec<Vec<String>> = first.by_frequency.iter().enumerate().map(row).collect();
    Ok(Table::from_rows(&[&["training cases", "labels in test", "test instances"], models].concat(), &rows))
}

/// The `most` frequent labels of the test: how often gold, predicted and right, with precision, recall and F1.
pub fn per_label(results: &Results, model: &str, most: usize) -> Result<Table> {
    let outcomes = results.outcomes(model, Reading::Normalised)?;
    Ok(tables::per_label(&outcomes)?.head(Some(most)).into())
}

/// What each model answered on the first `count` test cases, as it wrote it, cut at `width` characters.
pub fn answers(results: &Results, models: &[&str], count: usize, width: usize) -> Result<Table> {
    let chosen = models.iter().map(|name| results.get(name)).collect::<Result<Vec<_>>>()?;
    let row = |case: &crate::corpus::Finding| {
        let of = |model: &&crate::study::Answered| {
            let found = model.predictions.iter().find(|p| p.case_id == case.case_id);
            found.map_or(NONE.into(), |p| shortened(&p.raw, width))
        };
        [vec![case.case_id.clone(), case.gold.join(", ")], chosen.iter().map(of).collect()].concat()
    };
    let rows: Vec<Vec<String>> = results.task.corpus.test.iter().take(count).map(row).collect();
    Ok(Table::from_rows(&[&["case", "gold"], models].concat(), &rows))
}

fn shortened(text: &str, width: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.chars().count() > width {
        true => line.chars().take(width).chain([' ', '…']).collect(),
        false if line.is_empty() => "(nothing)".into(),
        false => line,
    }
}

/// How the answers could be read: unparsable ones, ones cut off at the longest seen, new tokens and labels a case.
pub fn reading(results: &Results) -> Table {
    let row = |model: &crate::study::Answered| {
        let rows = &model.predictions;
        let n = rows.len();
        let unparsed = rows.iter().filter(|p| !p.parsed).count();
        let longest = rows.iter().map(|p| p.new_tokens).max().unwrap_or(0);
        let at_end = rows.iter().filter(|p| p.new_tokens == longest && longest > 0).count();
        let tokens: usize = rows.iter().map(|p| p.new_tokens).sum();
        let labels = rows.iter().map(|p| p.answer.len()).sum::<usize>() as f64 / n.max(1) as f64;
        let mean = if longest > 0 { format!("{:.1}", tokens as f64 / n.max(1) as f64) } else { NONE.into() };
        let (longest, at_end) =
            if longest > 0 { (longest.to_string(), at_end.to_string()) } else { (NONE.into(), NONE.into()) };
        vec![model.name.clone(), n.to_string(), unparsed.to_string(), mean, longest, at_end, format!("{labels:.2}")]
    };
    let names = ["model", "n", "not parsed", "tokens, mean", "tokens, most", "answers that long", "labels a case"];
    Table::from_rows(&names, &results.models.iter().map(row).collect::<Vec<_>>())
}

/// The `most` test cases with the most errors of a model: gold, and what was missed and invented.
pub fn worst(results: &Results, model: &str, most: usize) -> Result<Table> {
    let mut outcomes = results.outcomes(model, Reading::Normalised)?;
    let errors = |case: &crate::metric::Outcome| case.false_negatives().count() + case.false_positives().count();
    outcomes.sort_by_key(|case| (std::cmp::Reverse(errors(case)), case.case_id.clone()));
    let list = |labels: Vec<&str>| if labels.is_empty() { NONE.into() } else { labels.join(", ") };
    let row = |case: &crate::metric::Outcome| {
        let (right, missed, invented) =
            (case.true_positives().collect(), case.false_negatives().collect(), case.false_positives().collect());
        vec![case.case_id.clone(), list(right), list(missed), list(invented)]
    };
    let rows: Vec<_> = outcomes.iter().take(most).map(row).collect();
    Ok(Table::from_rows(&["case", "right", "missed", "invented"], &rows))
}

/// Invented labels of each model by what the text says of them: denied, gone, measured and too small, … or nothing at all.
/// A look that only a synthetic corpus allows; without its truth everything counts as not spoken of.
pub fn invented(results: &Results, models: &[&str], truths: &BTreeMap<String, Truth>) -> Result<Table> {
    let mut counts = BTreeMap::<String, Vec<usize>>::new();
    for (column, model) in models.iter().enumerate() {
        for case in results.outcomes(model, Reading::Normalised)? {
            for label in case.false_positives() {
                let truth = truths.get(&case.case_id);
                let speaks = |t: &Truth| {
                    let found =
                        t.distractors.iter().find(|other| results.task.names.normalise(&other.concept) == label);
                    found.map(|other| other.why.clone())
                };
                let why = truth.and_then(speaks).unwrap_or_else(|| "not spoken of".into());
                counts.entry(why).or_insert_with(|| vec![0; models.len()])[column] += 1;
            }
        }
    }
    let mut rows: Vec<_> = counts.into_iter().collect();
    rows.sort_by_key(|(why, counts)| (std::cmp::Reverse(counts.iter().sum::<usize>()), why.clone()));
    let row = |(why, counts): (String, Vec<usize>)| [vec![why], counts.iter().map(usize::to_string).collect()].concat();
    let rows: Vec<Vec<String>> = rows.into_iter().map(row).collect();
    Ok(Table::from_rows(&[&["what the text says of the label"], models].concat(), &rows))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Difference;
    use crate::study::results::tests::toy;

    fn comparison(value: f64, p: f64) -> Comparison {
        let (low, high) = (value - 0.1, value + 0.2);
        let difference = Difference { value, low, high, p, n: 236, detectable: Some(0.2141), ..Difference::default() };
        let compared = Comparison::of("plain", "LoRA", "micro_f1", Reading::Normalised, Some(difference));
        Comparison { p_holm: Some(p), ..compared }
    }

    #[test]
    fn a_verdict_says_no_more_than_the_interval() {
        let said = |value, p| verdict(&comparison(value, p));
        let ending = |p: &str| format!("micro-F1 (n = 236, {p}, detectable 0.214)");
        assert_eq!(said(0.3, 0.0004), format!("LoRA beats plain by 0.300 [0.200, 0.500] {}", ending("p < 0.001")));
        let worse = format!("LoRA is worse than plain by 0.300 [0.100, 0.400] {}", ending("p = 0.020"));
        assert_eq!(said(-0.3, 0.02), worse);
        let unclear = "LoRA and plain do not differ significantly: difference −0.050 [−0.150, 0.150]";
        assert_eq!(said(-0.05, 0.3), format!("{unclear} {}", ending("p = 0.300")));
        let same = Difference { p: 1.0, n: 236, ..Difference::default() };
        let same = Comparison { difference: Some(same), ..comparison(0.0, 1.0) };
        assert_eq!(verdict(&same), "LoRA and plain do not differ significantly in micro-F1: no case differs (n = 236)");
        assert!(
            verdict(&Comparison { difference: None, p_holm: None, ..comparison(0.0, 1.0) })
                .contains("cannot be compared")
        );
    }

    #[test]
    fn what_stands_beside_a_name_is_above_below_or_not_distinguishable() {
        let said = |value, p| beside(&comparison(value, p), "it");
        assert_eq!(said(0.3, 0.0004), "0.300 [0.200, 0.500] above it (paired, p < 0.001)");
        assert_eq!(said(-0.3, 0.02), "0.300 [0.100, 0.400] below it (paired, p = 0.020)");
        assert_eq!(said(-0.05, 0.3), "not distinguishable from it (difference −0.050 [−0.150, 0.150], p = 0.300)");
        let none = Comparison { difference: None, p_holm: None, ..comparison(0.0, 1.0) };
        assert_eq!(beside(&none, "it"), "not comparable with it");
        assert!(beside_alone(&comparison(0.1, 0.0002), "it").ends_with("(paired, uncorrected p < 0.001)"));
    }

    #[test]
    fn every_table_of_a_results_chapter_is_made_from_predictions() {
        let folder = tempfile::tempdir().unwrap();
        let results = toy(folder.path());
        let gain = normalising(&results, "micro_f1").to_text();
        assert!(gain.contains("+0.667"), "{gain}");
        let bands = by_frequency(&results, &["good"], "micro_recall").unwrap().to_text();
        let cells: Vec<Vec<&str>> =
            bands.lines().map(|line| line.split("  ").filter(|c| !c.is_empty()).map(str::trim).collect()).collect();
        assert_eq!(cells[2], ["middle (10 to 99)", "3", "40", "0.500 [0.500, 0.500]"], "{bands}");
        let text = answers(&results, &["bad", "good"], 1, 60).unwrap().to_text();
        assert!(text.ends_with("c00   renal cyst, gallstone  renal cysts  renal cysts\n"), "{text}");
        assert!(reading(&results).to_text().contains("good   20           0"));
        assert!(worst(&results, "bad", 1).unwrap().to_text().contains("liver cyst"));
        assert!(invented(&results, &["bad"], &BTreeMap::new()).unwrap().to_text().contains("not spoken of"));
        assert!(forest(&results, "micro_f1", "micro-F1").unwrap().svg().contains("micro-F1 (n = 20, 95 % bootstrap"));
        assert!(files(&results).unwrap().to_text().contains("predict-good-"));
        let rows = results.against("good", "micro_f1").unwrap();
        assert!(paired_forest(&rows, "micro-F1").unwrap().svg().contains("difference in micro-F1, b − a (n = 20"));
        assert!(intervals(&results, "micro_f1").unwrap().to_text().lines().nth(2).unwrap().ends_with("20"));
        assert!(tiers(&results, &["bad"], &["exact", "credit_f1"]).unwrap().to_text().contains("0.125 ["));
        assert!(by_gold_labels(&results, &["bad", "good"], "exact_match").unwrap().to_text().contains("0.000 ["));
        assert_eq!(
            calibration(&results, &["good"], Target::ExactMatch).unwrap().height(),
            0,
            "a baseline is not confident"
        );
        assert!(
            reliability(&results, "good", Target::CaseF1, Signal::Sequence).unwrap().svg().contains("too few answers")
        );
        assert!(side_by_side(&results, &rows).unwrap().to_text().contains("yes              yes"));
        assert_eq!(scores(&results, Reading::Raw, &["jaccard"]).unwrap().height(), 2);
        let model = results.get("good").unwrap();
        let kept = kept(
            &[("good".into(), Some(model.evaluation.clone())), ("gone".into(), None)],
            Reading::Normalised,
            &["micro_f1"],
        );
        let text = kept.to_text();
        let last: Vec<&str> = text.lines().last().unwrap().split_whitespace().collect();
        assert!(text.contains("0.667 [") && last == ["gone", "–", "–"], "{kept}");
        assert_eq!(per_label(&results, "good", 2).unwrap().height(), 2);
    }
}

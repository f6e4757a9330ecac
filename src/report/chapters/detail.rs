//! Tables of one set of answers in depth: its other intervals, parts of the labels and of the cases, tiers of nearness, the normaliser's own
//! error and calibration. What `dxlab evaluate` prints below the metrics.
use crate::error::Result;
use crate::label::parse::measured;
use crate::metric::{Calibration, Credit, Signal, Tiered};
use crate::report::kit::display::{NONE, Table, interval, number};
use crate::study::{Calibrated, Detail, Evaluation, NormaliserError, Part, Target};

/// Of intervals of shares.
const LEVEL: f64 = 0.95;

/// The metrics whose other intervals are shown.
const SHOWN: [&str; 9] = [
    "micro_f1",
    "jaccard",
    "exact_match",
    "micro_precision",
    "micro_recall",
    "sample_f1",
    "macro_f1_gold",
    "weighted_f1",
    "parse_failure_rate",
];

/// Columns of a table of calibration. T: scaled by a temperature; Platt: by σ(a·s + b).
pub const CALIBRATION: [&str; 11] = [
    "log-probability",
    "error, raw",
    "error, T",
    "error, Platt",
    "Brier, raw",
    "Brier, T",
    "Brier, Platt",
    "Brier, constant",
    "T",
    "AURC",
    "random",
];

/// Every table in reading order.
pub fn tables(evaluation: &Evaluation, detail: &Detail) -> Vec<Table> {
    let mut all = vec![intervals(evaluation, detail)];
    if !detail.by_frequency.is_empty() {
        all.push(parts(&detail.by_frequency, "training cases").caption("labels by their training cases, normalised"));
    }
    all.push(parts(&detail.by_gold_labels, "gold labels").caption("cases by their number of gold labels, normalised"));
    all.extend(detail.tiers.as_ref().map(tiers));
    if !detail.calibration.is_empty() {
        all.push(calibration(&detail.calibration));
        all.push(selective(&detail.calibration));
    }
    all
}

/// Percentile, BCa and Wilson intervals, and what the normaliser's error adds.
pub fn intervals(evaluation: &Evaluation, detail: &Detail) -> Table {
    let scores = &evaluation.normalised;
    let row = |key: &str| {
        let with = detail.normaliser.metrics.get(key).and_then(Option::as_ref);
        vec![
            key.to_string(),
            interval(scores.metrics.get(key).and_then(Option::as_ref)),
            interval(scores.bca.get(key)),
            interval(scores.wilson.get(key)),
            interval(with),
        ]
    };
    let rows: Vec<_> = SHOWN.map(row).into();
    let names = ["metric", "percentile", "BCa", "Wilson", "with the normaliser's error"];
    Table::from_rows(&names, &rows).caption(normaliser(&detail.normaliser))
}

/// How often the normaliser is right, in a sentence.
pub fn normaliser(error: &NormaliserError) -> String {
    format!(
        "other intervals, labels normalised; of {} pairs checked by hand the normaliser has precision {} and recall {}, and it made {} of \
         the matches here",
        error.pairs,
        interval(error.precision.as_ref()),
        interval(error.recall.as_ref()),
        error.matched
    )
}

/// The reader of answers on answers with hand-made truth: one row per kind of those that somebody else wrote, then all of them, then
/// those of the reader's authors, held out and all.
pub fn reader() -> Result<Table> {
    let (own, of_own) = (measured::answers()?, measured::vocabulary());
    let held: Vec<_> = own.iter().filter(|answer| answer.held).cloned().collect();
    let mut rows = measured::measured(&measured::independent()?, &measured::independent_vocabulary())?;
    rows.extend(
        measured::measured(&held, &of_own)?.pop().map(|all| measured::Row { kind: "own, held out".into(), ..all }),
    );
    rows.extend(measured::measured(&own, &of_own)?.pop().map(|all| measured::Row { kind: "own, all".into(), ..all }));
    let row = |row: &measured::Row| {
        let counts = [row.answers, row.exact, row.right, row.wrong, row.missed].map(|count| count.to_string());
        let shares = [row.precision(LEVEL), row.recall(LEVEL)].map(|share| interval(share.as_ref()));
        [vec![row.kind.clone()], counts.to_vec(), shares.to_vec()].concat()
    };
    let counts = ["kind", "answers", "read exactly", "right", "wrong", "missed"];
    let names = [&counts[..], &["precision", "recall"]].concat();
    Ok(Table::from_rows(&names, &rows.iter().map(row).collect::<Vec<_>>()))
}

/// One row a part.
pub fn parts(parts: &[Part], what: &str) -> Table {
    let order = ["micro_f1", "micro_precision", "micro_recall", "jaccard", "exact_match"];
    let keys: Vec<&str> =
        order.into_iter().filter(|key| parts.iter().any(|part| part.metrics.contains_key(*key))).collect();
    let row = |part: &Part| {
        let cells = keys.iter().map(|key| interval(part.metrics.get(*key).and_then(Option::as_ref)));
        let counts = [part.name.clone(), part.cases.to_string(), part.labels.to_string(), part.instances.to_string()];
        counts.into_iter().chain(cells).collect()
    };
    let names = [&[what, "cases", "labels", "instances"], keys.as_slice()].concat();
    Table::from_rows(&names, &parts.iter().map(row).collect::<Vec<_>>())
}

/// What a pair is worth, in a sentence.
pub fn credits(c: &Credit) -> String {
    format!(
        "credit: exact {}, synonym {}, parent or child {}, same organ {}; times {} on the wrong side, times {} with the wrong certainty",
        c.exact, c.synonym, c.parent_or_child, c.same_organ, c.wrong_side, c.wrong_certainty
    )
}

/// One row a tier.
pub fn tiers(found: &Tiered) -> Table {
    let c = &found.credit;
    let what = |key: &str| match key {
        "exact" => format!("of gold labels; credit {}", c.exact),
        "synonym" => format!("of gold labels; credit {}", c.synonym),
        "parent_or_child" => format!("of gold labels; credit {}", c.parent_or_child),
        "same_organ" => format!("of gold labels; credit {}", c.same_organ),
        "missed" => "of gold labels".into(),
        "invented" => "of predicted labels".into(),
        "wrong_side" => format!("of exact and synonym pairs; factor {}", c.wrong_side),
        "wrong_certainty" => format!("of exact and synonym pairs; factor {}", c.wrong_certainty),
        _ => "weighted by credit".into(),
    };
    let row = |key: &str| vec![key.to_string(), interval(found.get(key)), what(key)];
    Table::from_rows(&["tier", "share", "what"], &Tiered::KEYS.map(row)).caption(format!(
        "how near the labels are; one to one, optimal tier by tier; concepts of the {}",
        found.ontology
    ))
}

fn calibration(found: &[Calibrated]) -> Table {
    let row = |c: &Calibrated| [vec![target(c.target).to_string()], calibration_cells(&c.calibration)].concat();
    let n = found.first().map_or((0, 0), |c| (c.calibration.fitted_on, c.calibration.raw.brier.n));
    let (fitted, rest) = n;
    let scalings = "T: exp(s/T) of the log-probability s; Platt: σ(a·s + b)";
    Table::from_rows(
        &[&["probability of"], CALIBRATION.as_slice()].concat(),
        &found.iter().map(row).collect::<Vec<_>>(),
    )
    .caption(format!(
        "calibration; scaled on {fitted} cases, judged on the other {rest}; AURC of all {}; {scalings}, both fitted on a random half of \
         the groups",
        fitted + rest
    ))
}

fn target(target: Target) -> &'static str {
    match target {
        Target::ExactMatch => "exact match",
        Target::CaseF1 => "F1 of the case",
    }
}

fn signal(signal: Signal) -> &'static str {
    match signal {
        Signal::Sequence => "whole answer",
        Signal::PerToken => "per token",
    }
}

/// The cells of [`CALIBRATION`].
pub fn calibration_cells(c: &Calibration) -> Vec<String> {
    let tempered = c.tempered.as_ref();
    vec![
        signal(c.signal).into(),
        interval(Some(&c.raw.error)),
        interval(tempered.map(|quality| &quality.error)),
        interval(Some(&c.scaled.error)),
        interval(Some(&c.raw.brier)),
        interval(tempered.map(|quality| &quality.brier)),
        interval(Some(&c.scaled.brier)),
        number(c.constant_brier),
        c.temperature.map_or(NONE.into(), number),
        interval(Some(&c.aurc)),
        number(c.random_aurc),
    ]
}

/// Mean outcome when only the most confident answers are taken.
pub fn selective(found: &[Calibrated]) -> Table {
    let coverages =
        found.first().map_or(vec![], |c| c.calibration.selective.iter().map(|s| s.coverage).collect::<Vec<_>>());
    let names: Vec<String> = coverages.iter().map(|coverage| format!("best {:.0} %", 100.0 * coverage)).collect();
    let row = |c: &Calibrated| {
        let cells = c.calibration.selective.iter().map(|s| interval(Some(&s.accuracy)));
        [target(c.target).to_string(), signal(c.calibration.signal).to_string()].into_iter().chain(cells).collect()
    };
    let heads: Vec<&str> = ["outcome", "log-probability"].into_iter().chain(names.iter().map(String::as_str)).collect();
    Table::from_rows(&heads, &found.iter().map(row).collect::<Vec<_>>())
        .caption("mean outcome of the most confident answers")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readers_table_ends_with_the_sums_of_both_sets() {
        let text = reader().unwrap().to_text();
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        let [.., other, held, all] = rows.as_slice() else { panic!("{text}") };
        let sums = [other[..2].join(" "), held[..4].join(" "), all[..3].join(" ")];
        assert_eq!(sums, ["all 230", "own, held out 80", "own, all 365"], "{text}");
        assert!(rows.len() > 22, "at least twenty kinds: {text}");
    }
}

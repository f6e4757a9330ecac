//! The workbook, read back with another library: all there, no formula, nothing that Excel could not hold.
use calamine::{Data, Reader, Xlsx, open_workbook};
use dxlab::corpus::Example;
use dxlab::metric::{Bootstrap, Reading};
use dxlab::report::{Answers, Contents, write_workbook};
use dxlab::run::Prediction;
use dxlab::study::{Evaluation, compare_with_first, evaluate};
use dxlab::task::{AnyPrediction, LabelTask};
use serde_json::json;
use std::path::Path;

fn prediction(case_id: &str, gold: &str, raw: &str, adapter: Option<&str>) -> AnyPrediction {
    let labels: Vec<String> = raw.split(", ").filter(|label| !label.is_empty()).map(String::from).collect();
    let case = Example::new(case_id, case_id, "Synthetic finding.\nSecond line.", json!([gold]));
    Prediction {
        prompt: "closed@1f".into(),
        model: "embedded@9c".into(),
        adapter: adapter.map(String::from),
        parsed: !labels.is_empty(),
        logprob: (case_id != "2").then_some(-0.75),
        prompt_tokens: 100,
        new_tokens: 5,
        seconds: 0.1,
        ..Prediction::of(&case, json!(labels), raw)
    }
}

fn task() -> LabelTask {
    LabelTask::without_corpus().unwrap()
}

fn answers<'a>(
    name: &str,
    task: &'a LabelTask,
    predictions: &'a [AnyPrediction],
    evaluation: &'a Evaluation,
) -> Answers<'a> {
    let failures = predictions.iter().map(|p| format!("missed: {}", p.gold[0].as_str().unwrap())).collect();
    let (run, settings) = (format!("predict-{}-1f3a", predictions.len()), vec![("spec.rank".into(), "8".into())]);
    Answers { name: name.into(), task, predictions, evaluation, run, synthetic: Some(true), failures, settings }
}

fn sheet(path: &Path, name: &str) -> Vec<Vec<String>> {
    let mut book: Xlsx<_> = open_workbook(path).unwrap();
    assert!(book.worksheet_formula(name).unwrap().cells().next().is_none(), "no formula in {name}");
    book.worksheet_range(name).unwrap().rows().map(|row| row.iter().map(Data::to_string).collect()).collect()
}

fn write(path: &Path) {
    let long = format!("=HYPERLINK(\"x\"), {}", "y".repeat(40_000));
    let base = [
        prediction("1", "Renal cyst", "renal cyst, =1+1", None),
        prediction("2", "a", "\u{1}", None),
        prediction("3", "b", &long, None),
    ];
    let tuned = [prediction("1", "Renal cyst", "Renal cyst", Some("lora@77"))];
    let (task, bootstrap) = (task(), Bootstrap { resamples: 100, ..Default::default() });
    let (e1, e2) = (evaluate(&task, &base, &bootstrap).unwrap(), evaluate(&task, &tuned, &bootstrap).unwrap());
    let name = "embedded / a name that is too long: closed";
    let both = [answers(name, &task, &base, &e1), answers(name, &task, &tuned, &e2)];
    let contents = Contents { answers: &both, comparisons: &[], grid: None };
    write_workbook(path, &contents).unwrap();
}

/// Where a cell leads to.
fn target(path: &Path, sheet: &str, row: usize, column: usize) -> Option<String> {
    let mut book: Xlsx<_> = open_workbook(path).unwrap();
    let links = book.hyperlinks_by_sheet_name(sheet).unwrap();
    let at = (row as u32, column as u32);
    links.into_iter().find(|link| link.range.start == at).and_then(|link| link.location)
}

#[test]
fn every_case_is_read_back_as_text_and_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("results.xlsx");
    write(&path);
    let book: Xlsx<_> = open_workbook(&path).unwrap();
    let names = book.sheet_names().to_owned();
    assert_eq!(
        names,
        ["about", "embedded _ a name that is too l", "embedded _ a name that is t (2)", "metrics", "settings"]
    );
    let rows = sheet(&path, &names[1]);
    assert_eq!(rows.len(), 4);
    assert_eq!(rows[0][..4], ["case id", "finding (synthetic)", "gold", "raw answer"]);
    assert_eq!(
        rows[1],
        [
            "1",
            "Synthetic finding.\nSecond line.",
            "Renal cyst",
            "renal cyst, =1+1",
            "renal cyst, =1+1",
            "renal cyst",
            "",
            "=1+1",
            "0",
            "-0.75",
            "100",
            "5",
            "missed: Renal cyst"
        ]
    );
    assert_eq!((rows[2][6].as_str(), rows[2][9].as_str()), ("a", ""), "missed; no log-probability");
    assert!(rows[3][3].starts_with("=HYPERLINK") && rows[3][3].ends_with("[cut by dxlab: 40017 characters]"));
    assert!(rows.iter().flatten().all(|cell| cell.encode_utf16().count() <= 32_767));
    assert!(sheet(&path, "about").iter().flatten().any(|cell| cell.starts_with("synthetic")));
}

#[test]
fn metrics_and_settings_name_the_sheet_they_belong_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("results.xlsx");
    write(&path);
    let metrics = sheet(&path, "metrics");
    assert_eq!(metrics[0], ["model", "labels", "metric", "value", "low", "high", "n", "run", "prompt"]);
    assert_eq!(metrics[1][7..], ["predict-3-1f3a", "closed@1f"]);
    // every row leads to the sheet with the answers that it was computed from
    for (row, cells) in metrics.iter().enumerate().skip(1) {
        assert_eq!(target(&path, "metrics", row, 0).unwrap(), format!("'{}'!A1", cells[0]), "row {row}");
    }
    assert_eq!(metrics.len(), 1 + 2 * 2 * dxlab::metric::Metric::PLAIN.len());
    let exact = |model: &str, labels: &str| {
        let row = metrics.iter().find(|row| row[0] == model && row[1] == labels && row[2] == "exact_match").unwrap();
        (row[3].clone(), row[6].clone())
    };
    assert_eq!(exact("embedded _ a name that is t (2)", "normalised"), ("1".into(), "1".into()));
    assert_eq!(exact("embedded _ a name that is too l", "raw").1, "3");
    let settings = sheet(&path, "settings");
    assert!(settings.iter().any(|row| row[1] == "spec.rank" && row[2] == "8"));
    assert!(settings.iter().any(|row| row[1] == "adapter" && row[2] == "lora@77"));
}

#[test]
fn comparisons_stand_in_a_sheet_and_lead_to_the_answers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("results.xlsx");
    let rows = |right: usize| -> Vec<AnyPrediction> {
        (0..40).map(|i| prediction(&i.to_string(), "a", if i < right { "a" } else { "b" }, None)).collect()
    };
    let named = [("it's the base".to_string(), rows(5)), ("tuned".into(), rows(35)), ("same".into(), rows(5))];
    let bootstrap = Bootstrap::default().for_comparisons(4);
    let task = task();
    let evaluations: Vec<_> = named.iter().map(|(_, rows)| evaluate(&task, rows, &bootstrap).unwrap()).collect();
    let all = named.iter().zip(&evaluations).map(|((name, rows), e)| answers(name, &task, rows, e));
    let all: Vec<Answers> = all.collect();
    let metrics = ["micro_f1", "exact_match"];
    let comparisons = compare_with_first(&task, &named, &metrics, Reading::Normalised, &bootstrap).unwrap();
    let contents = Contents { answers: &all, comparisons: &comparisons, grid: None };
    write_workbook(&path, &contents).unwrap();
    let found = sheet(&path, "comparisons");
    let numbers = ["b − a", "low", "high", "p", "p (Holm)", "permutation (Holm)", "McNemar (Holm)", "detectable", "n"];
    assert_eq!(found[0][..4], ["a", "b", "metric", "family"]);
    assert_eq!((&found[0][4..13], found[0][13].as_str()), (&numbers.map(String::from)[..], "resamples"));
    assert_eq!(found.len(), 1 + 4);
    assert_eq!(found[2][..5], ["it's the base", "tuned", "exact_match", "files", "0.75"]);
    let row = &comparisons[1];
    let (d, number) = (row.difference.as_ref().unwrap(), |column: usize| found[2][column].parse::<f64>().unwrap());
    let expected = [d.low, d.high, d.p, row.p_holm.unwrap(), row.p_permutation_holm.unwrap()];
    for (column, value) in (5..).zip(expected.into_iter().chain([row.p_mcnemar_holm.unwrap(), d.detectable.unwrap()])) {
        assert!((number(column) - value).abs() < 1e-9, "column {column}: {}, expected {value}", number(column));
    }
    assert_eq!((found[2][12].as_str(), found[2][13].as_str()), ("40", "3200"));
    assert!(number(8) < 0.05, "significance is within reach: {}", number(8));
    assert_eq!(found[3][11], "", "the same answers: nothing that could be detected");
    assert_eq!(target(&path, "comparisons", 2, 0).unwrap(), "'it''s the base'!A1");
    assert_eq!(target(&path, "comparisons", 2, 1).unwrap(), "'tuned'!A1");
    assert!(
        sheet(&path, "about").iter().any(|row| row[0] == "sheet `comparisons`" && row[1].contains("not corrected"))
    );
}

#[test]
fn equal_results_are_equal_files() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a.xlsx"), folder.path().join("b.xlsx"));
    write(&a);
    write(&b);
    assert_eq!(std::fs::read(&a).unwrap(), std::fs::read(&b).unwrap());
}

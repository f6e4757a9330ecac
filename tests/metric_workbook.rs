//! The workbook, read back with another library: all there, no formula, nothing that Excel could not hold.
use calamine::{Data, Reader, Xlsx, open_workbook};
use dxlab::metric::Bootstrap;
use dxlab::report::{Answers, write_workbook};
use dxlab::study::{Evaluation, Prediction, Scoring, evaluate};
use std::path::Path;

fn prediction(case_id: &str, gold: &str, raw: &str, adapter: Option<&str>) -> Prediction {
    let labels: Vec<String> = raw.split(", ").filter(|label| !label.is_empty()).map(String::from).collect();
    Prediction {
        case_id: case_id.into(),
        group: case_id.into(),
        input: "Synthetic finding.\nSecond line.".into(),
        prompt: "closed@1f".into(),
        model: "embedded@9c".into(),
        adapter: adapter.map(String::from),
        constrain: None,
        raw: raw.into(),
        parsed: !labels.is_empty(),
        labels,
        gold: vec![gold.into()],
        logprob: (case_id != "2").then_some(-0.75),
        prompt_tokens: 100,
        new_tokens: 5,
        seconds: 0.1,
        voted: None,
    }
}

fn lower(label: &str) -> String {
    label.to_lowercase()
}

fn answers<'a>(name: &str, predictions: &'a [Prediction], evaluation: &'a Evaluation) -> Answers<'a> {
    let failures = predictions.iter().map(|p| format!("missed: {}", p.gold[0])).collect();
    Answers { name: name.into(), predictions, evaluation, failures, settings: vec![("spec.rank".into(), "8".into())] }
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
    let scoring =
        Scoring { bootstrap: Bootstrap { resamples: 100, ..Default::default() }, normalise: &lower, vocabulary: None };
    let (e1, e2) = (evaluate(&base, &scoring).unwrap(), evaluate(&tuned, &scoring).unwrap());
    let name = "embedded / a name that is too long: closed";
    write_workbook(path, &[answers(name, &base, &e1), answers(name, &tuned, &e2)], None, &lower, Some(true)).unwrap();
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
    assert_eq!(metrics[0], ["model", "labels", "metric", "value", "low", "high", "n"]);
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
fn equal_results_are_equal_files() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a.xlsx"), folder.path().join("b.xlsx"));
    write(&a);
    write(&b);
    assert_eq!(std::fs::read(&a).unwrap(), std::fs::read(&b).unwrap());
}

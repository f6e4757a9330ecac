//! `dxlab evaluate`, `compare`, `workbook` and `runs` as a user meets them.
use dxlab::corpus::{Corpus, Finding};
use dxlab::run::{Prediction, Store, write_predictions};
use std::path::Path;
use std::process::Command;

fn answers(path: &Path, prompt: &str, right: usize) {
    let answer = |i: usize| {
        let label = if i < right { "renal cyst" } else { "liver cyst" };
        let case = Finding::new(
            format!("c{i}"),
            format!("c{i}"),
            format!("Synthetic finding {i}."),
            vec!["Renal cyst".into()],
        );
        Prediction {
            prompt: format!("{prompt}@1f"),
            model: "embedded@9c".into(),
            prompt_tokens: 10,
            new_tokens: 3,
            seconds: 0.1,
            ..Prediction::of(&case, vec![label.to_string()], label)
        }
    };
    write_predictions(path, &(0..40).map(answer).collect::<Vec<_>>()).unwrap();
}

/// Exit code, standard output, standard error.
fn dxlab(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_dxlab")).args(args).current_dir(folder).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn evaluate_prints_a_table_and_writes_metrics() {
    let folder = tempfile::tempdir().unwrap();
    answers(&folder.path().join("a.jsonl"), "closed", 30);
    let (code, out, error) =
        dxlab(folder.path(), &["evaluate", "a.jsonl", "--out", "metrics.json", "--resamples", "200"]);
    assert_eq!((code, error.as_str()), (0, ""));
    assert!(
        out.starts_with("embedded · closed: 40 cases, 40 groups, 1 gold labels; 95 % intervals, 200 resamples"),
        "{out}"
    );
    assert!(out.contains("micro_f1") && out.contains("0.750 ["), "{out}");
    assert!(out.contains("without those of training: give --data"), "these are not the embedded findings: {out}");
    let json = std::fs::read_to_string(folder.path().join("metrics.json")).unwrap();
    let metrics: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(metrics["normalised"]["metrics"]["exact_match"]["value"], 0.75);
    assert_eq!(metrics["raw"]["metrics"]["exact_match"]["value"], 0.0);
    let row = r#"{"case_id":"1","input_finding":"A synthetic finding.","output_disease":"Renal cyst"}"#;
    std::fs::write(folder.path().join("train.jsonl"), row).unwrap();
    let (code, out, error) = dxlab(folder.path(), &["evaluate", "a.jsonl", "--data", "train.jsonl"]);
    assert_eq!((code, error.as_str()), (0, ""));
    let line = |out: &str, first: &str| -> String {
        let found = out.lines().find(|line| line.starts_with(first)).unwrap_or_else(|| panic!("no {first} in {out}"));
        found.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert!(line(&out, "hallucinated_rate").starts_with("hallucinated_rate 0.250 ["), "{out}");
    assert!(out.contains("by the 1 of training"), "{out}");
    assert!(line(&out, "tail (1 to 9)").starts_with("tail (1 to 9) 40 1 40 0.857 ["), "{out}");
    assert!(line(&out, "unseen (0)").starts_with("unseen (0) 40 0 0 0.000 ["), "{out}");
}

#[test]
fn evaluate_says_how_near_wrong_labels_are_and_what_to_think_of_the_normaliser_and_of_confidence() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    let answer = |i: usize| {
        let label = ["left renal cysts", "renal cell carcinoma", "hydronephrosis", "gallstone"][i % 4];
        let gold = if i % 4 == 1 { "renal lesion" } else { "right renal cyst" };
        let input = format!("Synthetic finding {i}.");
        let case = Finding::new(format!("c{i}"), format!("c{i}"), input, vec![gold.into()]);
        Prediction {
            prompt: "closed@1f".into(),
            model: "embedded@9c".into(),
            logprob: Some(if i.is_multiple_of(4) { -0.5 } else { -5.0 }),
            prompt_tokens: 10,
            new_tokens: 3,
            seconds: 0.1,
            ..Prediction::of(&case, vec![label.to_string()], label)
        }
    };
    write_predictions(&path, &(0..60).map(answer).collect::<Vec<_>>()).unwrap();
    let args =
        ["evaluate", "a.jsonl", "--out", "m.json", "--resamples", "200", "--concepts", "own", "--figures", "drawn"];
    let (code, out, error) = dxlab(folder.path(), &args);
    assert_eq!((code, error.as_str()), (0, ""));
    for expected in [
        "concepts of the own table of abdominal findings",
        "of 274 pairs checked by hand the normaliser has precision ",
        "scaled on 30 cases, judged on the other 30; AURC of all 60",
        "error, T",
        "both fitted on a random half of the groups",
        "cases by their number of gold labels",
    ] {
        assert!(out.contains(expected), "no `{expected}` in {out}");
    }
    let json: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(folder.path().join("m.json")).unwrap()).unwrap();
    let tiers = &json["detail"]["tiers"]["metrics"];
    for (tier, share) in
        [("exact", 0.25), ("parent_or_child", 0.25), ("same_organ", 0.25), ("missed", 0.25), ("wrong_side", 1.0)]
    {
        assert_eq!(tiers[tier]["value"], share, "{tier}");
    }
    // an exact pair on the wrong side, half of a parent, a tenth of an organ: (0.5 + 0.5 + 0.1)/4
    assert!((tiers["credit_f1"]["value"].as_f64().unwrap() - 0.275).abs() < 1e-12);
    assert_eq!(json["detail"]["calibration"].as_array().unwrap().len(), 4);
    let drawn = std::fs::read_to_string(folder.path().join("drawn/risk-coverage.svg")).unwrap();
    assert!(drawn.contains("per token: AURC") && folder.path().join("drawn/reliability.svg").is_file());
    std::fs::write(folder.path().join("credit.toml"), "same_organ = 0.0\nwrong_side = 1.0\n").unwrap();
    let strict = [args.as_slice(), &["--credit", "credit.toml"]].concat();
    assert_eq!(dxlab(folder.path(), &strict).0, 0);
    let json: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(folder.path().join("m.json")).unwrap()).unwrap();
    assert!((json["detail"]["tiers"]["metrics"]["credit_f1"]["value"].as_f64().unwrap() - 0.375).abs() < 1e-12);
    std::fs::write(folder.path().join("credit.toml"), "same_organ = 2.0\n").unwrap();
    let (code, _, error) = dxlab(folder.path(), &strict);
    assert!(code == 2 && error.contains("credit.toml: a credit of 2: expected 0 to 1"), "{error}");
    std::fs::write(folder.path().join("credit.toml"), "organ = 0.5\n").unwrap();
    assert!(dxlab(folder.path(), &strict).2.contains("unknown field `organ`"));
}

#[test]
fn compare_names_every_pair_and_corrects_for_their_number() {
    let folder = tempfile::tempdir().unwrap();
    for (file, prompt, right) in [("a.jsonl", "plain", 10), ("b.jsonl", "closed", 30), ("c.jsonl", "examples", 31)] {
        answers(&folder.path().join(file), prompt, right);
    }
    let args = ["compare", "a.jsonl", "b.jsonl", "c.jsonl", "--metric", "micro_f1", "--out", "compared.json"];
    let (code, out, error) = dxlab(folder.path(), &args);
    assert_eq!((code, error.as_str()), (0, ""));
    assert!(out.contains("3 comparisons (Holm)") && out.contains("+0.500 ["), "{out}");
    let json = std::fs::read_to_string(folder.path().join("compared.json")).unwrap();
    assert_eq!(json.matches("\"p_holm\"").count(), 3);
    assert!(json.contains("\"detectable\"") && json.contains("\"p_permutation_holm\""));
    assert!(out.contains("permutation (Holm)") && out.contains("80 % power, 5 % two-sided"), "{out}");
    // 800 resamples a comparison: 2·3/2401
    assert!(out.contains("2400 resamples") && out.contains("the smallest that so many resamples give 0.0025"), "{out}");
    assert_eq!(json.matches("\"resamples\": 2400").count(), 3 + 1, "every row and the file say so: {json}");
    let args = ["compare", "a.jsonl", "b.jsonl", "c.jsonl", "--metric", "micro_f1", "--resamples", "200"];
    assert!(dxlab(folder.path(), &args).1.contains("200 resamples"), "as many as were asked for");
    let args = ["compare", "a.jsonl", "b.jsonl", "--metric", "exact_match", "--figure", "forest.svg"];
    let (code, out, error) = dxlab(folder.path(), &args);
    assert_eq!((code, error.as_str()), (0, ""));
    // b is right in 20 cases more and in none less: 2/2²⁰
    assert!(out.contains("McNemar (Holm)") && out.contains("mid-p") && out.contains("over its 1 tests"), "{out}");
    assert!(out.contains("1.9e-6") && out.contains("9.5e-7"), "{out}");
    assert!(std::fs::read_to_string(folder.path().join("forest.svg")).unwrap().contains("closed (exact_match)"));
}

#[test]
fn what_cannot_be_read_or_compared_is_bad_input() {
    let folder = tempfile::tempdir().unwrap();
    answers(&folder.path().join("a.jsonl"), "plain", 10);
    answers(&folder.path().join("b.jsonl"), "closed", 12);
    let bad = |args: &[&str], expected: &str| {
        let (code, _, error) = dxlab(folder.path(), args);
        assert_eq!(code, 2, "{error}");
        assert!(error.contains(expected), "{error}");
    };
    bad(&["evaluate", "none.jsonl"], "no such file or folder: none.jsonl");
    bad(&["compare", "a.jsonl", "a.jsonl"], "hold the same predictions");
    bad(&["compare", "a.jsonl", "b.jsonl", "--metric", "f1"], "unknown metric `f1`: expected one of micro_f1");
    bad(&["runs", "--root", ".", "show", "x"], "no run `x`");
    let lines = std::fs::read_to_string(folder.path().join("a.jsonl")).unwrap();
    let mut mixed: Vec<String> = lines.lines().map(String::from).collect();
    mixed[3] = mixed[3].replacen('{', "{\"task\":\"bc5cdr@1\",", 1);
    std::fs::write(folder.path().join("mixed.jsonl"), mixed.join("\n")).unwrap();
    bad(&["evaluate", "mixed.jsonl"], "row 4 (case `c3`) is of task `bc5cdr`");
}

#[test]
fn the_workbook_reads_settings_from_the_run_around_the_predictions() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(Some(&folder.path().join("runs")));
    let spec = serde_json::json!({"data": {"synthetic": true}, "rank": 8});
    let run = store.open_or_make("predict", "closed", &spec, |dir| {
        answers(&dir.join("preds.jsonl"), "closed", 5);
        Ok(())
    });
    let run = run.unwrap();
    let preds = run.path("preds.jsonl").display().to_string();
    let (code, out, error) = dxlab(folder.path(), &["workbook", &preds, "--resamples", "100"]);
    assert_eq!((code, error.as_str()), (0, ""), "{out}");
    use calamine::Reader;
    let mut book: calamine::Xlsx<_> = calamine::open_workbook(folder.path().join("results.xlsx")).unwrap();
    let settings = book.worksheet_range("settings").unwrap();
    assert!(settings.rows().any(|row| row[1] == "spec.rank" && row[2] == "8"));
    let metrics = book.worksheet_range("metrics").unwrap();
    assert_eq!(metrics.get((1, 7)).unwrap().to_string(), run.folder(), "the run that holds the raw answers");
    assert!(!book.sheet_names().contains(&"comparisons".to_string()), "one file has none to be compared with");
    let header = book.worksheet_range("embedded · closed").unwrap();
    assert_eq!(header.get((0, 1)).unwrap().to_string(), "finding (synthetic)");
    let (code, out, _) = dxlab(folder.path(), &["runs", "--root", "runs", "list"]);
    assert!(code == 0 && out.starts_with("1 runs in runs") && out.contains(run.short_digest()), "{out}");
    let (_, out, _) = dxlab(folder.path(), &["runs", "--root", "runs", "gc"]);
    assert!(out.starts_with("0 leftovers that nothing can go on from, 0.0 MB: kept, --delete deletes them\n"), "{out}");
}

#[test]
fn runs_of_another_corpus_stay_out_of_a_workbook_that_is_of_one_and_out_of_commits() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(Some(&folder.path().join("runs")));
    let made = |name: &str, corpus: &str, synthetic: bool| {
        let spec = serde_json::json!({"corpus": corpus, "synthetic": synthetic});
        let fill = |dir: &Path| {
            answers(&dir.join("preds.jsonl"), name, 5);
            Ok(())
        };
        store.open_or_make("predict", name, &spec, fill).unwrap().path("preds.jsonl")
    };
    let (ours, other) =
        (made("closed", &Corpus::embedded().unwrap().digest(), true), made("open", &"0".repeat(64), false));
    let ignored = |preds: &Path| preds.with_file_name(".gitignore").is_file();
    assert!(!ignored(&ours) && ignored(&other));
    let [ours, other] = [ours, other].map(|path| path.display().to_string());
    let all = ["workbook", &ours, &other, "--of", "findings", "--resamples", "100"];
    let (code, out, error) = dxlab(folder.path(), &all);
    assert_eq!((code, error.as_str()), (0, ""), "{out}");
    assert!(out.starts_with("1 of 2 files are of other corpora than `findings` and left out"), "{out}");
    assert!(out.contains("(1 sheets of answers)"), "{out}");
    let (code, _, error) = dxlab(folder.path(), &["workbook", &other, "--of", "findings"]);
    assert!(code == 2 && error.contains("none of the 1 files is of `findings`"), "{error}");
}

/// The part is in the run's folder, not guessed.
#[cfg(unix)]
#[test]
fn predictions_on_any_validation_part_find_their_corpus() {
    use dxlab::task::LabelTask;
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(dxlab::home().join("data"), folder.path().join("data")).unwrap();
    let run = folder.path().join("runs/predict-part-000000000000");
    std::fs::create_dir_all(&run).unwrap();
    std::fs::write(run.join("part.json"), r#"{"validation": 0.05, "seed": 3}"#).unwrap();
    let part = LabelTask::findings(Corpus::embedded().unwrap()).unwrap().validation(0.05, 3).unwrap();
    let answer = |case: &Finding| Prediction {
        task: "findings@5".into(),
        corpus: part.corpus.digest()[..12].into(),
        run: "predict-part-000000000000".into(),
        model: "embedded@9c".into(),
        ..Prediction::of(case, case.gold.clone(), &case.gold.join(", "))
    };
    let answers: Vec<Prediction> = part.corpus.test.iter().map(answer).collect();
    write_predictions(&folder.path().join("p.jsonl"), &answers).unwrap();
    let evaluate = || {
        let output = Command::new(env!("CARGO_BIN_EXE_dxlab"))
            .args(["evaluate", "p.jsonl", "--resamples", "100"])
            .current_dir(folder.path())
            .env("DXLAB_HOME", folder.path())
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
    };
    assert!(evaluate().contains("validation part"), "{}", evaluate());
    std::fs::remove_file(run.join("part.json")).unwrap();
    assert!(evaluate().contains("without those of training: give --data"), "{}", evaluate());
}

//! `dxlab decisions` and `dxlab data make notes` as a user meets them, on synthetic notes in MedDec's layout.
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// Exit code, standard output, standard error.
fn dxlab(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dxlab"));
    let output =
        command.args(args).current_dir(folder).env_remove("DXLAB_PUNKT").env_remove("DXLAB_DATA").output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn made() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let size = ["--train", "6", "--validation", "2", "--test", "5", "--layout", "meddec", "--out", "notes"];
    let (code, out, error) = dxlab(folder.path(), &[["data", "make", "notes"].as_slice(), &size].concat());
    assert_eq!((code, error.as_str()), (0, ""));
    assert!(out.contains("6 training, 2 validation and 5 test notes in notes"), "{out}");
    folder
}

const SCORE: [&str; 8] =
    ["decisions", "score", "--gold", "notes/gold/test", "--text", "notes/text", "--stats", "notes/stats.csv"];

fn scores(folder: &Path, predictions: &str) -> Value {
    let more = ["--predictions", predictions, "--resamples", "200"];
    let (code, out, error) = dxlab(folder, &[SCORE.as_slice(), &more].concat());
    assert_eq!((code, error.as_str()), (0, ""));
    serde_json::from_str(&out).unwrap()
}

#[test]
fn gold_goes_to_tags_and_back_and_scores_one() {
    let folder = made();
    let at = folder.path();
    let tagging = ["decisions", "tag", "--gold", "notes/gold/test", "--text", "notes/text", "--out", "tagged.jsonl"];
    assert_eq!(dxlab(at, &tagging), (0, String::new(), String::new()));
    let untagging = ["decisions", "untag", "tagged.jsonl", "--text", "notes/text", "--out", "a.json"];
    let (code, out, told) = dxlab(at, &untagging);
    assert_eq!((code, out.as_str()), (0, ""));
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&told["copied"], &told["dropped"]), (&5.into(), &serde_json::json!({})));
    let found = scores(at, "a.json");
    for key in ["token_f1", "base_score", "worst_group_score", "final_score"] {
        assert_eq!(found["official"][key], 1.0, "{key}");
        assert_eq!(found["official_intervals"][key]["low"], 1.0, "{key}");
    }
    assert_eq!((&found["ours"]["exact_f1"]["value"], &found["ours"]["iou_f1"]["value"]), (&1.0.into(), &1.0.into()));
    assert!(found["sentences"].as_str().unwrap().starts_with("simple"));
    assert_eq!(found["gold_spans"], found["predicted_spans"]);
}

#[test]
fn a_worse_answer_scores_less_and_its_losses_are_told() {
    let folder = made();
    let at = folder.path();
    let tagging = ["decisions", "tag", "--gold", "notes/gold/test", "--text", "notes/text"];
    let (_, tagged, _) = dxlab(at, &tagging);
    let worse = tagged.replace("<define_problem>", "").replacen("</drug_decision>", "", 1);
    std::fs::write(at.join("worse.jsonl"), worse).unwrap();
    let untagging = ["decisions", "untag", "worse.jsonl", "--dropped", "lost.jsonl", "--out", "b.json"];
    let (code, _, told) = dxlab(at, &untagging);
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((code, &told["dropped"]), (0, &serde_json::json!({"unclosed": 1})));
    assert!(std::fs::read_to_string(at.join("lost.jsonl")).unwrap().contains("\"reason\":\"unclosed\""));
    let found = scores(at, "b.json");
    assert!(found["official"]["final_score"].as_f64().unwrap() < 0.9);
    assert_eq!(found["ours"]["define_problem_f1"]["value"], 0.0);
    assert_eq!(found["ours"]["evaluate_result_f1"]["value"], 1.0);
    let consensus = ["decisions", "consensus", "b.json", "b.json", "b.json", "--text", "notes/text", "--out", "c.json"];
    assert_eq!(dxlab(at, &consensus).0, 0);
    let union = ["decisions", "consensus", "b.json", "--method", "union", "--out", "u.json"];
    assert_eq!(dxlab(at, &union).0, 0);
    assert_eq!(scores(at, "u.json")["official"], found["official"]);
    // of three equal files everything stays but spans of one category that overlap within a file, which make one cluster
    let right = |found: &Value| found["official"]["span"]["tp"].as_u64().unwrap();
    assert!((right(&found) - 4..=right(&found)).contains(&right(&scores(at, "c.json"))));
}

#[test]
fn untag_tells_every_tag_and_reads_votes_and_windows() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let untagged = |lines: &str| {
        std::fs::write(at.join("a.jsonl"), lines).unwrap();
        let (code, out, told) = dxlab(at, &["decisions", "untag", "a.jsonl"]);
        assert_eq!(code, 0, "{told}");
        let spans: Value = serde_json::from_str(&out).unwrap();
        (spans[0]["predictions"].clone(), serde_json::from_str::<Value>(&told).unwrap())
    };
    let text = "see tag. Hold aspirin now";
    let line = |tagged: &str| serde_json::json!({"file_name": "1_2_3", "text": text, "tagged": tagged}).to_string();
    let (spans, told) = untagged(&line("see tag. <drug>Hold aspirin</drug> now</define_problem>"));
    assert_eq!((spans, &told["unopened_tags"]), (serde_json::json!([]), &1.into()));
    assert_eq!(told["unknown_tags"], serde_json::json!({"drug": 2}));
    let won = serde_json::json!([{"start_offset": 9, "end_offset": 21, "category": 5}]);
    let windows = serde_json::json!({"windows": [
        {"start": 0, "end": 21, "raw": "see tag. <drug_decision>Hold aspirin</drug_decision>"},
        {"start": 9, "end": 25, "raw": "<drug_decision>Hold aspirin</drug_decision> now"},
    ]});
    let (once, told) = untagged(&line(&windows.to_string()));
    assert_eq!((once.as_array().unwrap().len(), &told["copied"]), (1, &1.into()));
    let prediction = serde_json::json!({
        "case_id": "1_2_3", "input": text, "raw": won.to_string(), "answer": won, "voted": {"shares": {}, "samples": []},
    });
    assert_eq!(untagged(&prediction.to_string()).0, once);
}

#[test]
fn offsets_need_no_untagging() {
    let folder = tempfile::tempdir().unwrap();
    let span = serde_json::json!({"start_offset": 9, "end_offset": 21, "category": 5});
    let row = serde_json::json!({"file_name": "a", "text": "x", "predictions": [span]});
    for content in [row.to_string(), serde_json::json!([row]).to_string(), format!("{:#}", serde_json::json!([row]))] {
        std::fs::write(folder.path().join("p.json"), content).unwrap();
        let (code, _, told) = dxlab(folder.path(), &["decisions", "untag", "p.json"]);
        assert!(code == 2 && told.contains("p.json row 1") && told.contains("dxlab decisions score"), "{told}");
    }
    std::fs::write(folder.path().join("p.json"), r#"[{"file_name": "a", "tagged": "x", "text": "x"}]"#).unwrap();
    let (code, _, told) = dxlab(folder.path(), &["decisions", "untag", "p.json"]);
    assert!(code == 2 && told.contains("one object a line") && !told.contains("offsets"), "{told}");
}

#[test]
fn scoring_tells_what_has_no_prediction_and_what_is_out_of_scope() {
    let folder = made();
    let at = folder.path();
    let gold = std::fs::read_dir(at.join("notes/gold/test")).unwrap();
    let names: Vec<String> =
        gold.map(|file| file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned()).collect();
    let span = |category: u8| serde_json::json!({"start_offset": 0, "end_offset": 4, "category": category});
    let train = std::fs::read_dir(at.join("notes/gold/train")).unwrap().next().unwrap().unwrap().path();
    let other = train.file_stem().unwrap().to_string_lossy().into_owned();
    let row = serde_json::json!([
        {"file_name": names[0], "predictions": [span(10), span(5)]}, {"file_name": other, "predictions": []},
    ]);
    std::fs::write(at.join("p.json"), row.to_string()).unwrap();
    std::fs::write(at.join("s.csv"), "SUBJECT_ID,HADM_ID,ROW_ID,GENDER,ETHNICITY,LANGUAGE\n1,2,3,F,WHITE,ENGL\n")
        .unwrap();
    let (code, out, told) = dxlab(
        at,
        &[
            ["decisions", "score", "--predictions", "p.json", "--stats", "s.csv", "--resamples", "100"].as_slice(),
            &["--gold", "notes/gold/test", "--text", "notes/text"],
        ]
        .concat(),
    );
    let found: Value = serde_json::from_str(&out).unwrap();
    let scored = found["notes"].as_u64().unwrap();
    assert_eq!((code, &found["predicted_spans"]), (0, &1.into()));
    assert!(
        told.contains("p.json entry 1") && told.contains("annotation 1: of a category that is out of scope"),
        "{told}"
    );
    assert!(told.contains(&format!("{} notes have no entry in p.json", scored - 2)), "{told}");
    assert!(told.contains(&format!("1 notes of p.json have no gold file (first: {other})")), "{told}");
    assert_eq!(found["notes_without_gold"], serde_json::json!([other]));
    assert!(told.contains(&format!("{scored} notes have no row in the file of --stats")), "{told}");
}

#[test]
fn thresholds_are_searched_and_the_search_is_cross_validated() {
    let folder = made();
    let at = folder.path();
    let tagging = ["decisions", "tag", "--gold", "notes/gold/test", "--text", "notes/text"];
    let (_, tagged, _) = dxlab(at, &tagging);
    let worse = tagged.replace("<define_problem>", "").replace("</define_problem>", "");
    for (name, lines) in [("a", &tagged), ("b", &worse)] {
        std::fs::write(at.join(format!("{name}.jsonl")), lines).unwrap();
        let out = format!("{name}.json");
        assert_eq!(dxlab(at, &["decisions", "untag", &format!("{name}.jsonl"), "--out", &out]).0, 0);
    }
    let notes =
        ["--gold", "notes/gold/test", "--text", "notes/text", "--stats", "notes/stats.csv", "--resamples", "100"];
    let tune = |files: &[&str], folds: &str| {
        let more = ["--trials", "12", "--folds", folds];
        dxlab(at, &[["decisions", "tune"].as_slice(), files, &notes, &more].concat())
    };
    let (code, out, error) = tune(&["a.json", "b.json"], "2");
    assert_eq!((code, error.as_str()), (0, ""));
    let found: Value = serde_json::from_str(&out).unwrap();
    let value = |key: &str| found[key]["value"].as_f64().unwrap();
    assert_eq!((&found["objective"], &found["notes"]), (&"final_score".into(), &5.into()));
    assert!(value("published") >= value("defaults"), "{out}");
    assert!((value("optimism") - (value("published") - value("honest"))).abs() < 1e-12);
    assert_eq!(found["folds"].as_array().unwrap().len(), 2);
    assert_eq!(tune(&["a.json", "b.json"], "2").1, out, "the same again");
    let base = ["decisions", "tune", "a.json", "b.json", "--trials", "12", "--folds", "2", "--objective", "base"];
    let (_, out, _) = dxlab(at, &[base.as_slice(), &notes].concat());
    let found: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&found["objective"], &found["config"]["objective"]), (&"base_score".into(), &"base".into()));
    assert!(found["smallest_groups"]["sex"]["notes"].as_u64() >= Some(1), "{out}");
    let (code, _, error) = tune(&["a.json"], "2");
    assert!(code == 2 && error.contains("a consensus needs two or more"), "{error}");
    let (code, _, error) = tune(&["a.json", "b.json"], "9");
    assert!(code == 2 && error.contains("9 folds of"), "{error}");
}

#[test]
fn what_is_wrong_is_named_and_exits_with_2() {
    let folder = made();
    let at = folder.path();
    std::fs::write(at.join("p.json"), r#"[{"file_name": "x", "predictions": [{"start_offset": 1, "category": 3}]}]"#)
        .unwrap();
    let (code, _, error) = dxlab(at, &[SCORE.as_slice(), &["--predictions", "p.json"]].concat());
    assert_eq!(code, 2);
    assert!(error.contains("p.json entry 1 (`x`) annotation 1: `end_offset` is nothing"), "{error}");
    let (code, _, error) = dxlab(at, &[SCORE.as_slice(), &["--predictions", "p.json", "--punkt", "nowhere"]].concat());
    assert!(code == 2 && !error.contains("panicked"), "{error}");
    std::fs::write(at.join("t.jsonl"), "{\"file_name\": \"x\", \"tagged\": \"y\"}\n").unwrap();
    let (code, _, error) = dxlab(at, &["decisions", "untag", "t.jsonl"]);
    assert!(code == 2 && error.contains("t.jsonl row 1: no `text` of note `x`: give --text DIR"), "{error}");
    // answers are no offsets, and the text that a line carries is the one that its offsets are of
    let (code, _, error) = dxlab(at, &[SCORE.as_slice(), &["--predictions", "t.jsonl"]].concat());
    assert!(code == 2 && error.contains("`dxlab decisions untag t.jsonl --text DIR"), "{error}");
    std::fs::create_dir(at.join("texts")).unwrap();
    std::fs::write(at.join("texts/x.txt"), "another y").unwrap();
    std::fs::write(at.join("own.jsonl"), "{\"file_name\": \"x\", \"text\": \"y\", \"tagged\": \"y\"}\n").unwrap();
    let (code, _, error) = dxlab(at, &["decisions", "untag", "own.jsonl", "--text", "texts"]);
    assert!(code == 2 && error.contains("own.jsonl row 1: its `text` is not that of texts/x.txt"), "{error}");
    assert_eq!(dxlab(at, &["decisions", "untag", "own.jsonl"]).0, 0);
    let (code, _, error) = dxlab(at, &["decisions", "consensus", "p.json", "--support", "2"]);
    assert!(code == 2 && error.contains("threshold `support` is 2"), "{error}");
    let (code, out, error) = dxlab(at, &["data", "check", "notes"]);
    assert_eq!((code, error.as_str()), (0, ""));
    assert!(out.contains("5 test notes: contact_related"), "{out}");
    let (code, out, error) = dxlab(at, &["data", "check", "decisions-long"]);
    assert_eq!((code, error.as_str(), out.lines().count()), (0, "", 3), "{out}");
    let (code, _, error) = dxlab(at, &["data", "check", "decisions-aci"]);
    assert!(code == 2 && error.contains("corpus decisions-aci: set DXLAB_DATA"), "{error}");
}

//! `dxlab failures`, `dxlab data leaks` and a training that leaks, as a user meets them.
use std::path::Path;
use std::process::Command;

/// Exit code, standard output, standard error.
fn dxlab(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_dxlab")).args(args).current_dir(folder).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// The committed answers of the bag of words to the synthetic test cases.
fn answers() -> String {
    let runs = std::fs::read_dir(dxlab::home().join("runs")).unwrap().flatten().map(|entry| entry.path());
    let mut found: Vec<_> =
        runs.filter(|run| run.file_name().unwrap().to_string_lossy().starts_with("baseline-tfidf-logreg-")).collect();
    let of_test = |run: &std::path::PathBuf| {
        std::fs::read_to_string(run.join("preds.jsonl")).is_ok_and(|text| text.contains("syn-test-0001"))
    };
    found.retain(of_test);
    found.sort();
    found.remove(0).join("preds.jsonl").to_string_lossy().into_owned()
}

#[test]
fn every_label_error_of_a_committed_run_has_a_class_and_a_record() {
    let folder = tempfile::tempdir().unwrap();
    let (code, out, error) =
        dxlab(folder.path(), &["failures", &answers(), "--out", "failures.json", "--resamples", "200"]);
    assert_eq!((code, error.as_str()), (0, ""), "{out}");
    assert!(out.contains("236 cases") && out.contains("negation missed") && out.contains("truth"), "{out}");
    let json = std::fs::read_to_string(folder.path().join("failures.json")).unwrap();
    let all: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(all["synthetic"], true);
    let (mut errors, mut wrong) = (0, 0);
    for case in all["cases"].as_array().unwrap() {
        let list = |key: &str| -> Vec<String> {
            case[key].as_array().unwrap().iter().map(|label| label.as_str().unwrap().to_lowercase()).collect()
        };
        let (gold, given) = (list("gold"), list("given"));
        wrong += gold.iter().filter(|label| !given.contains(label)).count();
        wrong += given.iter().filter(|label| !gold.contains(label)).count();
        for error in case["errors"].as_array().unwrap() {
            errors += 1;
            if let Some(evidence) = error["evidence"].as_object() {
                assert!(
                    evidence["start"].as_u64() < evidence["end"].as_u64()
                        && !evidence["text"].as_str().unwrap().is_empty()
                );
            }
        }
    }
    assert!(errors == wrong && errors > 200, "{errors} records of {wrong} errors");
}

#[test]
fn leaks_are_named_and_stop_a_training_until_a_list_allows_them() {
    let folder = tempfile::tempdir().unwrap();
    let text = |i: usize| format!("Synthetic finding {i}: a cyst of {i} mm, a stone of {i} mm, and nothing else {i}.");
    let mut rows = String::from("case_id,input_finding,output_disease,split\n");
    (0..30).for_each(|i| rows += &format!("a{i},\"{}\",cyst,train\n", text(i)));
    rows += &format!("b1,\"{}\",cyst,test\nb2,\"{}\",stone,test\n", text(3).to_uppercase().replace(',', ";"), text(77));
    std::fs::write(folder.path().join("mine.csv"), rows).unwrap();
    let (code, out, error) = dxlab(folder.path(), &["data", "leaks", "mine.csv", "--out", "leaks.json"]);
    assert_eq!(code, 2);
    assert!(out.contains("train/a3 and test/b1: exact") && out.contains("60 pairs across roles"), "{out}");
    assert!(error.contains("1 leak(s) that no list allows"), "{error}");
    let config =
        "name = \"mine\"\ncorpus = \"mine.csv\"\nvalidation = 0.0\n[adapter]\nr = 2\nalpha = 4.0\n[training]\n";
    let kept = std::fs::read_to_string(dxlab::home().join("configs/lora-plain.toml")).unwrap();
    let training = &kept[kept.find("[training]").unwrap() + "[training]".len()..];
    std::fs::write(folder.path().join("mine.toml"), format!("{config}{training}")).unwrap();
    let train = |what: &str| dxlab(folder.path(), &["train", what]);
    let (code, _, error) = train("mine.toml");
    assert!(code == 2 && error.contains("train/a3 and test/b1: exact"), "{error}");
    assert!(error.contains("allow_leaks") && error.contains("split by patient"), "{error}");
    let pair = "[[pair]]\na = \"train/a3\"\nb = \"test/b1\"\nreason = \"a template\"\n";
    std::fs::write(folder.path().join("allowed.toml"), pair).unwrap();
    let (code, out, _) = dxlab(folder.path(), &["data", "leaks", "mine.csv", "--allow", "allowed.toml"]);
    assert!(code == 0 && out.contains("(allowed: a template)"), "{out}");
    let listed = format!("allow_leaks = \"allowed.toml\"\n{config}{training}");
    std::fs::write(folder.path().join("listed.toml"), listed).unwrap();
    let (code, out, error) = dxlab(folder.path(), &["train", "listed.toml", "--dry-run"]);
    assert!(code == 0 && out.contains("1 allowed"), "{out}{error}");
    let bench = format!("case_id,input_finding,output_disease\nx1,\"{}\",cyst\nx2,\"{}\",cyst\n", text(99), text(7));
    std::fs::write(folder.path().join("bench.csv"), bench).unwrap();
    let listed = format!("benchmarks = [\"bench.csv\"]\nallow_leaks = \"allowed.toml\"\n{config}{training}");
    std::fs::write(folder.path().join("benched.toml"), listed).unwrap();
    let (code, _, error) = train("benched.toml");
    assert!(code == 2 && error.contains("train/a7 and bench test/x2: exact") && error.contains("1 leak(s)"), "{error}");
}

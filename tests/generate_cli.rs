//! `dxlab generate` and `dxlab rank` as they are called: what a line holds, and how what is wrong is told.
use serde_json::Value;
use std::path::Path;
use std::process::Command;

fn dxlab(folder: &Path, args: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dxlab"));
    let output = command.current_dir(folder).env("DXLAB_HOME", env!("CARGO_MANIFEST_DIR")).args(args).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// A folder with prompts for the embedded model, labels and a schema.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("pairs.jsonl", "{\"prompt\":\"The liver shows\"}\n{\"prompt\":\"Both kidneys are\"}\n{\"prompt\":\"No\"}\n");
    write("ids.jsonl", "{\"prompt_ids\":[5,6,7]}\n");
    write("labels.txt", "renal cyst\nliver cyst\ngallstone\nno acute abnormality\n");
    write(
        "schema.json",
        r#"{"type": "object", "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 300}},
            "required": ["n"], "additionalProperties": false}"#,
    );
    write("list.lark", "start: \"a\" (\"b\" | \"c\")\n");
    folder
}

const EMBEDDED: [&str; 7] = ["generate", "--model", "embedded", "--out", "o", "--pairs", "pairs.jsonl"];

/// The lines that `dxlab generate` writes for the three prompts.
fn generate(folder: &Path, more: &[&str]) -> Vec<Value> {
    let (code, error) = dxlab(folder, &[&EMBEDDED, more].concat());
    assert_eq!((code, error.as_str()), (0, ""));
    let text = std::fs::read_to_string(folder.join("o")).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    lines
}

fn keys(line: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn a_line_holds_what_was_asked_for() {
    let folder = folder();
    let plain = generate(folder.path(), &["--new", "12"]);
    assert!(plain.iter().all(|line| keys(line) == ["tokens"]), "{plain:?}");
    let told = generate(folder.path(), &["--new", "12", "--logprobs"]);
    for (told, plain) in told.iter().zip(&plain) {
        assert_eq!(keys(told), ["finish", "logprob", "logprobs", "text", "tokens"]);
        assert_eq!(told["tokens"], plain["tokens"]);
        assert_eq!(told["logprobs"].as_array().unwrap().len(), told["tokens"].as_array().unwrap().len());
    }
    let text = told[0]["text"].as_str().unwrap();
    let (stop, before) = (&text[4..7], &text[..text.find(&text[4..7]).unwrap()]);
    let cut = generate(folder.path(), &["--new", "12", "--stop", stop]);
    assert_eq!((cut[0]["text"].as_str().unwrap(), cut[0]["finish"].as_str().unwrap()), (before, "stop_string"));
}

#[test]
fn samples_are_the_same_whatever_the_batch() {
    let folder = folder();
    let warm =
        ["--temperature", "1.2", "--top-k", "50", "--top-p", "0.95", "--min-p", "0.01", "--seed", "5", "--new", "10"];
    let run = |more: &[&str]| generate(folder.path(), &[&warm, more].concat());
    let one = run(&["--n", "3", "--batch", "1"]);
    assert_eq!(one, run(&["--n", "3", "--batch", "5"]));
    assert_eq!(one[1]["samples"].as_array().unwrap().len(), 3);
    assert_ne!(one[1]["samples"][0], one[1]["samples"][1]);
    assert_eq!(run(&[])[1], one[1]["samples"][0], "a single sample is the first of several");
}

#[test]
fn answers_keep_to_their_constraint() {
    let folder = folder();
    let texts = |more: &[&str]| -> Vec<String> {
        let lines = generate(folder.path(), more);
        lines.iter().map(|line| line["text"].as_str().unwrap().to_string()).collect()
    };
    let labels = ["renal cyst", "liver cyst", "gallstone", "no acute abnormality"];
    for text in texts(&["--labels", "labels.txt"]) {
        assert!(text.split(", ").all(|label| labels.contains(&label)), "{text}");
    }
    assert!(texts(&["--labels", "labels.txt", "--one-label"]).iter().all(|text| labels.contains(&text.as_str())));
    for text in texts(&["--json-schema", "schema.json", "--temperature", "1"]) {
        assert!(serde_json::from_str::<Value>(&text).unwrap()["n"].is_u64(), "{text}");
    }
    assert!(texts(&["--grammar", "list.lark"]).iter().all(|text| text == "ab" || text == "ac"));
    assert!(texts(&["--regex", "[0-9]{2} mm"]).iter().all(|text| text.len() == 5 && text.ends_with(" mm")));
    let told = generate(folder.path(), &["--regex", "[0-9]{2} mm", "--logprobs"]);
    let number = |key: &str| told[0][key].as_f64().unwrap();
    assert!(number("constrained_logprob") > number("logprob"), "{told:?}");
}

#[test]
fn labels_are_ranked_as_score_scores_them() {
    let folder = folder();
    let args = ["rank", "--model", "embedded", "--pairs", "pairs.jsonl", "--labels", "labels.txt", "--out", "ranked"];
    let ranked = |more: &[&str]| -> Value {
        assert_eq!(dxlab(folder.path(), &[&args, more].concat()), (0, String::new()));
        let text = std::fs::read_to_string(folder.path().join("ranked")).unwrap();
        assert_eq!(text.lines().count(), 3);
        serde_json::from_str::<Value>(text.lines().next().unwrap()).unwrap()["ranked"].clone()
    };
    let by_sum = ranked(&[]);
    let sums: Vec<f64> = by_sum.as_array().unwrap().iter().map(|r| r["logprob"].as_f64().unwrap()).collect();
    assert!(sums.len() == 4 && sums.is_sorted_by(|a, b| a >= b), "{by_sum}");
    let best = by_sum[0]["label"].as_str().unwrap();
    let pair = serde_json::json!({"prompt": "The liver shows", "completion": format!("{best}<|im_end|>")});
    std::fs::write(folder.path().join("whole.jsonl"), pair.to_string()).unwrap();
    let score = ["score", "--model", "embedded", "--pairs", "whole.jsonl", "--out", "scores"];
    assert_eq!(dxlab(folder.path(), &score), (0, String::new()));
    let scored: Value = serde_json::from_str(&std::fs::read_to_string(folder.path().join("scores")).unwrap()).unwrap();
    let whole: f64 = scored["logprobs"].as_array().unwrap().iter().map(|p| p.as_f64().unwrap()).sum();
    assert!((whole - sums[0]).abs() < 1e-3, "{whole} {sums:?}");
    let top = ranked(&["--by", "mean", "--top", "2"]);
    let mean = |i: usize| top[i]["mean"].as_f64().unwrap();
    assert!(top.as_array().unwrap().len() == 2 && mean(0) >= mean(1));
}

#[test]
fn what_cannot_be_done_is_bad_input() {
    let folder = folder();
    let bad = |args: &[&str], expected: &str| {
        let (code, error) = dxlab(folder.path(), args);
        assert_eq!(code, 2, "{error}");
        assert!(error.contains(expected), "{error}");
        assert!(!folder.path().join("o").exists());
    };
    let with = |more: &[&str], expected: &str| bad(&[&EMBEDDED, more].concat(), expected);
    with(&["--temperature", "-1"], "temperature -1: expected 0 (greedy) or more");
    with(&["--temperature", "1", "--top-p", "0"], "top_p 0: expected more than 0");
    with(&["--temperature", "1", "--top-p", "1.5"], "top_p 1.5");
    with(&["--temperature", "1", "--min-p", "-0.5"], "min_p -0.5");
    with(&["--top-k", "5"], "--temperature");
    with(&["--n", "0"], "0 samples a prompt");
    with(&["--temperature", "1", "--n", "18446744073709551615"], "samples a prompt: expected at most 65536");
    with(&["--n", "2"], "several samples at temperature 0");
    with(&["--new", "0"], "0 new tokens");
    with(&["--stop", ""], "empty stop string");
    with(&["--labels", "none.txt"], "no such file or folder: none.txt");
    with(&["--labels", "labels.txt", "--regex", "a"], "cannot be used with");
    with(&["--labels", "labels.txt", "--ignore-eos"], "end of turn");
    with(&["--labels", "labels.txt", "--new", "1"], "no label of the list fits into 1 new tokens");
    with(&["--json-schema", "labels.txt"], "labels.txt: json schema");
    with(&["--grammar", "labels.txt"], "labels.txt: grammar");
    with(&["--regex", "("], "regular expression");
    std::fs::write(folder.path().join("comma.txt"), "a, b\n").unwrap();
    with(&["--labels", "comma.txt"], "comma.txt: label `a, b` holds a comma");
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tied").display().to_string();
    let no_tokenizer = ["generate", "--model", &golden, "--pairs", "ids.jsonl", "--out", "o"];
    bad(&[&no_tokenizer[..], &["--stop", "x"]].concat(), "needs a tokenizer");
    bad(&[&no_tokenizer[..], &["--labels", "labels.txt"]].concat(), "needs a tokenizer");
    let rank = ["rank", "--model", &golden, "--pairs", "ids.jsonl", "--out", "o", "--labels", "labels.txt"];
    bad(&rank, "needs a tokenizer");
}

#[test]
fn a_line_that_the_model_cannot_take_is_named() {
    let folder = folder();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tied").display().to_string();
    let pairs = |text: &str| std::fs::write(folder.path().join("bad.jsonl"), text).unwrap();
    let refused = |command: &[&str], model: &str, said: &str| {
        let (code, error) =
            dxlab(folder.path(), &[command, &["--model", model, "--pairs", "bad.jsonl", "--out", "o"]].concat());
        assert!(code == 2 && error.contains(said), "{command:?}: {code} {error}, wanted `{said}`");
        assert!(!folder.path().join("o").exists());
    };
    let rank = ["rank", "--labels", "labels.txt"];
    // a blank line counts; the last token of a completion is only predicted
    pairs("{\"prompt_ids\":[5]}\n\n{\"prompt_ids\":[5],\"completion_ids\":[6,300]}\n");
    let outside = "bad.jsonl line 3: token id 300 lies outside the model's vocabulary of 256";
    refused(&["score"], &golden, outside);
    refused(&["generate"], &golden, outside);
    pairs("{\"prompt_ids\":[5]}\n{\"prompt_ids\":[4096]}\n");
    refused(&rank, "embedded", "bad.jsonl line 2: token id 4096 lies outside the model's vocabulary of 4096");
    let long = |tokens: usize| format!("{{\"prompt_ids\":[5]}}\n{{\"prompt_ids\":{:?}}}\n", vec![5; tokens]);
    pairs(&long(513));
    refused(
        &["generate"],
        &golden,
        "bad.jsonl line 2: a sequence of 513 tokens is longer than the model's 512 positions",
    );
    pairs(&long(2048));
    refused(&rank, "embedded", "bad.jsonl line 2: a sequence of ");
    pairs(&long(510));
    let endless = ["generate", "--ignore-eos", "--new", "9"];
    refused(&endless, &golden, "bad.jsonl line 2, after 3 new tokens: a sequence of 513 tokens");
}

#[test]
fn a_run_folder_is_taken_for_its_adapter() {
    let folder = folder();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let (run, pairs) = (folder.path().join("train-x-0123456789ab"), golden.join("pairs.jsonl").display().to_string());
    std::fs::create_dir_all(run.join("adapter")).unwrap();
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        std::fs::copy(golden.join("adapter").join(file), run.join("adapter").join(file)).unwrap();
    }
    let model = golden.join("tied").display().to_string();
    let score = |adapter: &str| -> (String, String) {
        let args = ["score", "--model", &model, "--pairs", &pairs, "--out", "o", "--adapter", adapter];
        let (code, error) = dxlab(folder.path(), &args);
        assert_eq!(code, 0, "{error}");
        (std::fs::read_to_string(folder.path().join("o")).unwrap(), error)
    };
    let plain = score(&golden.join("adapter").display().to_string());
    assert_eq!(score(&run.display().to_string()), plain, "the same numbers, and nothing on stderr");
    std::fs::write(run.join("adapter/base.json"), "{\"base\": \"other@0123456789ab\"}").unwrap();
    let (scores, warning) = score(&run.display().to_string());
    assert_eq!(scores, plain.0);
    assert!(
        warning.contains("was trained on other@0123456789ab, not on tied@") && warning.lines().count() == 1,
        "{warning}"
    );
}

#[test]
fn the_end_of_turn_ends_an_answer_whatever_the_files_name() {
    let folder = folder();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/embedded-small");
    let model = folder.path().join("base");
    std::fs::create_dir(&model).unwrap();
    for file in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(data.join(file), model.join(file)).unwrap();
    }
    let config = std::fs::read_to_string(model.join("config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    config["eos_token_id"] = Value::Null;
    std::fs::write(model.join("config.json"), config.to_string()).unwrap();
    let run = |model: &str, more: &[&str]| {
        let args = ["generate", "--model", model, "--pairs", "pairs.jsonl", "--out", "o", "--labels", "labels.txt"];
        dxlab(folder.path(), &[&args, more].concat())
    };
    assert_eq!(run("base", &["--one-label"]), (0, String::new()), "an answer of labels can end");
    let nameless = std::fs::read_to_string(folder.path().join("o")).unwrap();
    assert_eq!(run("embedded-small", &["--one-label"]), (0, String::new()));
    assert_eq!(nameless, std::fs::read_to_string(folder.path().join("o")).unwrap());
}

#[test]
fn a_model_in_shards_answers_as_the_one_in_one_file() {
    let folder = folder();
    let export = |size: &str| {
        let args =
            ["export", "--model", "embedded", "--format", "safetensors", "--out", "shards", "--shard-size", size];
        dxlab(folder.path(), &args)
    };
    let (code, error) = export("2 apples");
    assert!(code == 2 && error.contains("expected a size such as 5GB"), "{error}");
    assert_eq!(export("2MB"), (0, String::new()));
    let shards = std::fs::read_dir(folder.path().join("shards")).unwrap().map(|file| file.unwrap().file_name());
    assert!(shards.filter(|name| name.to_string_lossy().starts_with("model-0000")).count() > 2);
    let one = generate(folder.path(), &["--new", "12", "--logprobs"]);
    let args = ["generate", "--model", "shards", "--out", "o", "--pairs", "pairs.jsonl", "--new", "12", "--logprobs"];
    assert_eq!(dxlab(folder.path(), &args), (0, String::new()));
    let text = std::fs::read_to_string(folder.path().join("o")).unwrap();
    let many: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(one, many);
}

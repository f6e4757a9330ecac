//! `dxlab bench` as it is called: what its line says, and that the numbers in it belong together.
use serde_json::Value;
use std::process::{Command, Output};

fn bench(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dxlab"));
    command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests")).arg("bench").args(args).output().unwrap()
}

fn line(args: &[&str]) -> Value {
    let told = bench(args);
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    serde_json::from_slice(&told.stdout).unwrap()
}

const TRAIN: [&str; 6] = ["train", "golden", "--model", "golden/untied", "--batch", "2"];

#[test]
fn speed_is_told_in_tokens_targets_and_operations_that_fit_together() {
    let told = line(&TRAIN);
    let number = |key: &str| told[key].as_f64().unwrap_or_else(|| panic!("{key}: {told}"));
    let config: Value = serde_json::from_str(
        &std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/untied/config.json")).unwrap(),
    )
    .unwrap();
    let of = |key: &str| config[key].as_u64().unwrap();
    let (hidden, heads, kv) = (of("hidden_size"), of("num_attention_heads"), of("num_key_value_heads"));
    let a_layer = hidden * (of("head_dim") * (2 * heads + 2 * kv) + 3 * of("intermediate_size"));
    assert_eq!(number("parameters") as u64, of("num_hidden_layers") * a_layer);
    let gflops = 4.0 * number("parameters") * number("tokens_per_sec") / 1e9;
    assert!((number("gflops") - gflops).abs() < 0.006, "{told}"); // two digits are told
    assert!((number("mfu") - number("gflops") / number("peak_gflops")).abs() < 0.002, "{told}");
    assert!(number("targets_per_sec") > 0.0 && number("targets_per_sec") < number("tokens_per_sec"), "{told}");
    assert!(number("grad") > 0.0 && number("peak_mib") > 0.0, "{told}");
    assert!(told.get("falls").is_none(), "other batches have other losses: {told}");
}

#[test]
fn the_loss_of_one_batch_falls_and_checkpointing_changes_none_of_it() {
    let told = line(&[&TRAIN[..], &["--same-batch"]].concat());
    assert_eq!(told["falls"], true, "{told}");
    assert!(told["last_loss"].as_f64().unwrap() < told["first_loss"].as_f64().unwrap());
    let by_layers = line(&[&TRAIN[..], &["--same-batch", "--checkpointing"]].concat());
    for key in ["first_loss", "last_loss", "grad"] {
        assert_eq!(told[key], by_layers[key], "{key}");
    }
}

#[test]
fn mixed_precision_is_named_and_loses_little() {
    let exact = line(&[&TRAIN[..], &["--same-batch"]].concat());
    let mixed = line(&[&TRAIN[..], &["--same-batch", "--weights", "mixed"]].concat());
    assert_eq!(
        (&mixed["weights"], &mixed["dtype"], &mixed["falls"]),
        (&"mixed BF16".into(), &"bf16".into(), &true.into()),
        "{mixed}"
    );
    let apart = |key: &str| (mixed[key].as_f64().unwrap() / exact[key].as_f64().unwrap() - 1.0).abs();
    assert!(apart("first_loss") < 5e-3 && apart("grad") < 0.05, "{mixed} {exact}");
    assert_ne!(mixed["first_loss"], exact["first_loss"], "something was rounded");
}

#[test]
fn decoding_takes_another_model_and_tells_its_speed() {
    let told = line(&["decode", "golden", "--model", "golden/tied", "--new", "4", "--limit", "2"]);
    assert!(told["new_tokens_per_sec"].as_f64().unwrap() > 0.0, "{told}");
    assert_eq!(told["weights"], "F32");
}

#[test]
fn what_cannot_be_measured_is_bad_input() {
    for (args, wanted) in [
        (&["train", "golden", "--model", "golden/none"][..], "golden/none"),
        (&["train", "golden", "--model", "golden/tied", "--batch", "0"], "--batch 0"),
        (&["train", "golden", "--model", "golden/tied", "--steps", "1"], "at least 2 steps"),
        (&["decode", "golden", "--model", "golden/tied", "--batch", "0"], "--batch 0"),
    ] {
        let told = bench(args);
        let error = String::from_utf8_lossy(&told.stderr);
        assert_eq!(told.status.code(), Some(2), "{args:?}: {error}");
        assert!(error.contains(wanted), "{args:?}: {error}");
    }
}

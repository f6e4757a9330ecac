//! Event files byte for byte as TensorBoard's own writer makes them. The reference is tests/reference/tensorboard.py, tensorboard
//! 2.21, a made-up log.
use dxlab::report::tensorboard;
use dxlab::run::Store;
use dxlab::train::LogLine;
use std::process::Command;

#[derive(serde::Deserialize)]
struct Golden {
    start: f64,
    log: Vec<LogLine>,
    hex: String,
}

#[test]
fn events_are_the_bytes_that_tensorboard_writes() {
    let golden: Golden = serde_json::from_str(include_str!("reference/tensorboard.json")).unwrap();
    let bytes = tensorboard::events(&golden.log, golden.start);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, golden.hex);
}

#[test]
fn the_command_writes_a_folder_a_run_and_refuses_what_was_not_trained() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(Some(folder.path()));
    let line = r#"{"step":1,"loss":2.5,"lr":1e-3,"grad_norm":1.0,"tokens":10,"targets":2,"tokens_per_sec":100.0}"#;
    let trained = store
        .open_or_make("train", "toy", &1, |dir| {
            std::fs::write(dir.join("log.jsonl"), format!("{line}\n")).map_err(dxlab::Error::io(dir))
        })
        .unwrap();
    store.open_or_make("predict", "asked", &2, |_| Ok(())).unwrap();
    let export = |run: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dxlab"));
        command.args(["runs", "--root"]).arg(folder.path()).args(["tensorboard", run, "--out"]);
        command.arg(folder.path().join("events")).output().unwrap()
    };
    let made = export("toy");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let path = String::from_utf8(made.stdout).unwrap().trim().to_string();
    assert!(path.contains(&trained.folder()) && path.contains("events.out.tfevents."), "{path}");
    let log: Vec<LogLine> = vec![serde_json::from_str(line).unwrap()];
    let start = trained.environment().unwrap().started_seconds() as f64;
    assert_eq!(std::fs::read(&path).unwrap(), tensorboard::events(&log, start));
    let refused = export("asked");
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("has no log.jsonl"));
}

//! A training run killed with SIGKILL, again and again, ends as one that was left alone: the same losses, the same adapter bytes. Only
//! it took longer, and says so. Killed after its last update it is finished.
#![cfg(unix)]
use dxlab::run::Run;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// DoRA with dropout and DFT: everything that has a state or draws at random. An update takes about a tenth of a second.
const CONFIG: &str = r#"
name = "killed"
validation = 0.005
cases = 16
[adapter]
method = "dora"
r = 4
alpha = 8
dropout = 0.1
layers = [2, 5]
[training]
seed = 3
epochs = 3
batch_tokens = 600
accumulate = 2
eval_every = 2
lora_plus = 4.0
checkpointing = true
schedule = { lr = 1e-3, warmup = 0.1 }
loss = { dft = 0.5, label_smoothing = 0.05 }
"#;

/// A project's folder of its own, with the data of this one.
fn project(config: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
    std::os::unix::fs::symlink(data, dir.path().join("data")).unwrap();
    std::fs::write(dir.path().join("config.toml"), config).unwrap();
    dir
}

fn train(project: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dxlab"));
    command.args(["train", "config.toml", "--resume"]).current_dir(project).env("DXLAB_HOME", project);
    command.env_remove("DXLAB_FINDINGS").stdout(Stdio::null()).spawn().unwrap()
}

/// The only run's folder, finished or not.
fn folder(project: &Path) -> Option<PathBuf> {
    let all = std::fs::read_dir(project.join("runs")).ok()?;
    all.flatten().map(|e| e.path()).find(|p| p.to_string_lossy().contains("train-killed"))
}

fn lines(project: &Path) -> usize {
    let log = folder(project).and_then(|f| std::fs::read_to_string(f.join("log.jsonl")).ok());
    log.map_or(0, |text| text.matches('\n').count())
}

fn losses(project: &Path) -> Vec<String> {
    let log = std::fs::read_to_string(folder(project).unwrap().join("log.jsonl")).unwrap();
    let keys = ["step", "loss", "cross_entropy", "lr", "grad_norm", "eval_loss"];
    let line = |l: &str| {
        let line: serde_json::Value = serde_json::from_str(l).unwrap();
        keys.map(|k| format!("{k}={}", line[k])).join(" ")
    };
    log.lines().map(line).collect()
}

fn adapter(project: &Path) -> (Vec<u8>, Vec<u8>) {
    let file = |name: &str| std::fs::read(folder(project).unwrap().join("adapter").join(name)).unwrap();
    (file("adapter_model.safetensors"), file("adapter_config.json"))
}

/// Trains to the end in one go, and in another project killed at these updates; `at` is told how many there are.
fn alone_and_killed(config: &str, at: impl Fn(usize) -> Vec<usize>) -> [tempfile::TempDir; 2] {
    let (alone, killed) = (project(config), project(config));
    assert!(train(alone.path()).wait().unwrap().success());
    let steps = lines(alone.path());
    assert!(steps >= 8, "{steps} updates are too few to be killed between");
    for at in at(steps) {
        let mut child = train(killed.path());
        let started = Instant::now();
        while lines(killed.path()) < at && started.elapsed() < Duration::from_secs(120) {
            assert!(child.try_wait().unwrap().is_none(), "over before it was killed at update {at}");
            std::thread::sleep(Duration::from_millis(3));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(train(killed.path()).wait().unwrap().success());
    [alone, killed]
}

#[test]
fn a_killed_run_ends_as_one_that_was_left_alone() {
    // after an evaluation, between two, just before the end; and once before the first line
    let [alone, killed] = alone_and_killed(CONFIG, |steps| vec![0, 2, 3, 5, steps - 1]);
    assert_eq!(losses(alone.path()), losses(killed.path()));
    assert!(adapter(alone.path()) == adapter(killed.path()), "the adapters differ");
    let made = |project: &Path| Run::load(&folder(project).unwrap()).unwrap().environment().unwrap();
    assert!(made(alone.path()).legs.is_empty());
    let (took, last) = (made(killed.path()), made(killed.path()).legs.pop().unwrap());
    assert!(took.legs.len() > 1 && took.wall_seconds > last.seconds + 0.05, "{took:?}");
}

#[test]
fn a_killed_run_of_pissa_by_muon_ends_so_too() {
    let config = CONFIG
        .replace("method = \"dora\"", "method = \"pissa\"")
        .replace("dropout = 0.1\n", "")
        .replace("seed = 3\n", "seed = 3\nmuon = { momentum = 0.9 }\n");
    let [alone, killed] = alone_and_killed(&config, |steps| vec![1, steps - 1]);
    assert_eq!(losses(alone.path()), losses(killed.path()));
    assert!(adapter(alone.path()) == adapter(killed.path()), "the adapters differ");
    let left = |name: &str| folder(killed.path()).unwrap().join(name).exists();
    assert!(!left("start.safetensors") && !left("best.safetensors"), "what only a run in the making needs");
}

/// Gives a finished run the name it had in the making, without what its name comes with.
fn unfinish(project: &Path) -> PathBuf {
    let done = folder(project).unwrap();
    let part = done.with_file_name(format!(".{}.part", done.file_name().unwrap().to_string_lossy()));
    std::fs::rename(&done, &part).unwrap();
    std::fs::remove_file(part.join("spec.json")).unwrap();
    part
}

#[test]
fn a_run_killed_between_its_last_files_is_finished_and_with_the_best_parameters() {
    let project = project(CONFIG);
    let path = project.path();
    assert!(train(path).wait().unwrap().success());
    let whole = adapter(path);

    // everything written, the best parameters gone, the name not given
    let part = unfinish(path);
    std::fs::write(part.join("adapter").join(".adapter_config.json.4711.tmp"), "{").unwrap();
    assert!(train(path).wait().unwrap().success());
    let done = folder(path).unwrap();
    assert!(adapter(path) == whole && done.join("spec.json").is_file());
    assert!(!done.join("adapter").join(".adapter_config.json.4711.tmp").exists(), "what a kill left is gone");

    // the card and a part of the adapter not written: the best parameters, which have the adapter's names, are read once more
    let part = unfinish(path);
    std::fs::remove_file(part.join("card.md")).unwrap();
    std::fs::rename(part.join("adapter/adapter_model.safetensors"), part.join("best.safetensors")).unwrap();
    assert!(train(path).wait().unwrap().success());
    assert!(adapter(path) == whole && !folder(path).unwrap().join("best.safetensors").exists());

    // as it was left by a version that removed the best parameters too early: the last ones are not passed off as them
    let part = unfinish(path);
    std::fs::remove_file(part.join("card.md")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_dxlab"));
    command.args(["train", "config.toml", "--resume"]).current_dir(path).env("DXLAB_HOME", path);
    let output = command.env_remove("DXLAB_FINDINGS").output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && error.contains("best.safetensors is missing"), "{error}");
    assert!(part.join("state").is_dir(), "and nothing is lost");
}

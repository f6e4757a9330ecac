//! A training run killed with SIGKILL, again and again, ends as one that was left alone: the same losses, the same adapter bytes. Only
//! it took longer, and says so.
#![cfg(unix)]
use dxlab::study::Run;
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
fn project() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
    std::os::unix::fs::symlink(data, dir.path().join("data")).unwrap();
    std::fs::write(dir.path().join("config.toml"), CONFIG).unwrap();
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

#[test]
fn a_killed_run_ends_as_one_that_was_left_alone() {
    let (alone, killed) = (project(), project());
    assert!(train(alone.path()).wait().unwrap().success());
    let steps = lines(alone.path());
    assert!(steps >= 8, "{steps} updates are too few to be killed between");
    // after an evaluation, between two, just before the end; and once before the first line
    for at in [0, 2, 3, 5, steps - 1] {
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
    assert_eq!(losses(alone.path()), losses(killed.path()));
    let adapter = |project: &Path| {
        let file = |name: &str| std::fs::read(folder(project).unwrap().join("adapter").join(name)).unwrap();
        (file("adapter_model.safetensors"), file("adapter_config.json"))
    };
    assert!(adapter(alone.path()) == adapter(killed.path()), "the adapters differ");
    let made = |project: &Path| Run::load(&folder(project).unwrap()).unwrap().environment().unwrap();
    assert!(made(alone.path()).legs.is_empty());
    let (took, last) = (made(killed.path()), made(killed.path()).legs.pop().unwrap());
    assert!(took.legs.len() > 1 && took.wall_seconds > last.seconds + 0.05, "{took:?}");
}

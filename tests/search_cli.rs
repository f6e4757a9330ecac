//! A search over the run store: killed and taken up again it ends as one that was left alone, and no test case is looked at.
#![cfg(unix)]
use dxlab::corpus::Corpus;
use dxlab::run::{Run, read_predictions};
use dxlab::study::{Search, TrainConfig};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const BASE: &str = r#"
name = "base"
validation = 0.01
[adapter]
r = 2
alpha = 4
layers = [5]
[training]
seed = 3
epochs = 2
batch_tokens = 800
eval_every = 2
schedule = { lr = 1e-3 }
"#;

const SEARCH: &str = r#"
name = "tiny"
base = "base.toml"
trials = 4
seed = 3
outer = 0.01
startup = 2
[set]
cases = 12
[space]
"training.schedule.lr" = { log_uniform = [1e-5, 1e-2] }
"adapter.r" = { choice = [2, 4] }
"adapter.alpha_ratio" = { choice = [1, 2] }
"#;

/// A project's folder of its own, with the data of this one.
fn project() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
    std::os::unix::fs::symlink(data, dir.path().join("data")).unwrap();
    std::fs::write(dir.path().join("base.toml"), BASE).unwrap();
    std::fs::write(dir.path().join("search.toml"), SEARCH).unwrap();
    dir
}

fn search(project: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dxlab"));
    command.args(["search", "search.toml"]).args(more).current_dir(project);
    command.env("DXLAB_HOME", project).env_remove("DXLAB_FINDINGS");
    command
}

fn spawn(project: &Path) -> Child {
    search(project, &["--resume"]).stdout(Stdio::null()).spawn().unwrap()
}

/// Complete runs whose folder starts so, in order.
fn runs(project: &Path, start: &str) -> Vec<PathBuf> {
    let all = std::fs::read_dir(project.join("runs")).into_iter().flatten().flatten().map(|entry| entry.path());
    let fits = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(start);
    let mut found: Vec<PathBuf> = all.filter(fits).collect();
    found.sort();
    found
}

fn found(project: &Path) -> Search {
    Run::load(&runs(project, "search-tiny-")[0]).unwrap().search().unwrap()
}

#[test]
fn a_killed_search_ends_as_one_that_was_left_alone() {
    let (alone, killed) = (project(), project());
    let made = search(alone.path(), &["--out", "best.toml"]).output().unwrap();
    let said = String::from_utf8_lossy(&made.stdout);
    assert!(made.status.success(), "{said}{}", String::from_utf8_lossy(&made.stderr));
    assert!(said.contains("seen by no trial") && said.contains("dxlab train best.toml"), "{said}");

    for trials in [0, 1, 3] {
        let mut child = spawn(killed.path());
        let started = Instant::now();
        while runs(killed.path(), "train-tiny-trial-").len() < trials && started.elapsed() < Duration::from_secs(120) {
            assert!(child.try_wait().unwrap().is_none(), "over before it was killed after {trials} trials");
            std::thread::sleep(Duration::from_millis(3));
        }
        std::thread::sleep(Duration::from_millis(60)); // into the next trial
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(spawn(killed.path()).wait().unwrap().success());
    let (one, other) = (found(alone.path()), found(killed.path()));
    assert_eq!(one, other);
    let names =
        |project: &Path| runs(project, "train-").iter().map(|p| p.file_name().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(names(alone.path()), names(killed.path()), "no trial was made twice");

    assert_eq!(one.trials.len(), 4);
    let best = one.best();
    let lowest =
        one.trials.iter().filter(|t| t.stopped_above.is_none()).map(|t| t.inner_loss).fold(f64::INFINITY, f64::min);
    assert_eq!(best.inner_loss, lowest);
    assert!(best.outer_loss.is_some() && best.outer_loss != Some(best.inner_loss));
    let config = TrainConfig::read(&alone.path().join("best.toml")).unwrap();
    assert_eq!((config.name.as_str(), config.cases), ("tiny-best", None), "what is set for trials alone is not kept");
    assert_eq!(config.adapter.r as u64, best.values["adapter.r"].as_u64().unwrap());
    assert!(config.training.stop_above.is_empty());

    let corpus = Corpus::embedded().unwrap();
    let outer =
        read_predictions::<Vec<String>, Vec<String>>(&runs(alone.path(), "search-tiny-")[0].join("outer.jsonl"))
            .unwrap();
    assert_eq!(outer.len(), one.outer_cases);
    assert!(outer.iter().all(|p| corpus.train.iter().any(|case| case.case_id == p.case_id && case.input == p.input)));
}

#[test]
fn a_wrong_search_is_refused_before_anything_is_trained() {
    let project = project();
    for (from, to, wanted) in [
        ("adapter.r\"", "adapter.rank\"", "rank"),
        ("outer = 0.01", "outer = 1.5", "expected a share"),
        ("trials = 4", "trials = 0", "at least 1"),
        ("base.toml", "none.toml", "no such file"),
    ] {
        std::fs::write(project.path().join("search.toml"), SEARCH.replace(from, to)).unwrap();
        let made = search(project.path(), &[]).output().unwrap();
        let error = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.code() == Some(2) && error.contains(wanted), "{error}");
    }
    assert!(runs(project.path(), "train-").is_empty());
}

//! The run store: made once, opened afterwards, never seen half-made.
use dxlab::Error;
use dxlab::run::{Leftover, NUMERICS_VERSION, Run, Store};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

fn fill(dir: &Path) -> dxlab::Result<()> {
    std::fs::write(dir.join("out.txt"), "made").map_err(Error::io(dir))
}

#[test]
fn a_run_is_made_once_and_then_opened() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(Some(folder.path()));
    let spec = json!({"rank": 8, "data": "1f3a"});
    let made = store.open_or_make("train", "lora", &spec, fill).unwrap();
    let opened = store.open_or_make("train", "lora", &spec, |_| Err(Error::failed("made twice"))).unwrap();
    assert_eq!(made, opened);
    assert_eq!(std::fs::read_to_string(opened.path("out.txt")).unwrap(), "made");
    assert!(opened.dir.ends_with(opened.folder()) && opened.folder().starts_with("train-lora-"));
    assert_eq!(opened.folder().len(), "train-lora-".len() + 12);
    assert!(opened.environment().unwrap().wall_seconds >= 0.0);
    assert_eq!(opened.spec.spec, spec);
    assert_eq!(store.list().unwrap(), [opened]);
}

#[test]
fn another_spec_is_another_run() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(Some(folder.path()));
    let a = store.open_or_make("train", "lora", &json!({"rank": 8}), fill).unwrap();
    let b = store.open_or_make("train", "lora", &json!({"rank": 16}), fill).unwrap();
    assert_ne!(a.spec.digest, b.spec.digest);
    assert_eq!(store.list().unwrap().len(), 2);
    assert_eq!(store.named(&a.spec.digest[..12]).unwrap(), a);
    assert!(store.named("train-lora").unwrap_err().to_string().contains("fits more than one run"));
    assert!(store.named("nothing").unwrap_err().to_string().contains("dxlab runs list"));
}

#[test]
fn a_maker_that_fails_leaves_nothing_unless_it_can_resume() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(Some(folder.path()));
    let fail = |dir: &Path| fill(dir).and(Err(Error::failed("killed at step 3")));
    assert!(store.open_or_make("train", "lora", &1, fail).unwrap_err().to_string().contains("step 3"));
    assert!(store.leftovers().unwrap().is_empty() && store.list().unwrap().is_empty());

    assert!(store.open_or_resume("train", "lora", &1, fail).is_err());
    let left = store.leftovers().unwrap();
    assert_eq!((left.len(), left[0].0, store.list().unwrap().len()), (1, Leftover::Part, 0));
    let run = store.open_or_resume("train", "lora", &1, |dir| {
        assert!(dir.join("out.txt").is_file(), "what the first try wrote is there");
        Ok(())
    });
    let run = run.unwrap();
    assert!(run.path("out.txt").is_file());
    assert!(store.leftovers().unwrap().is_empty());
    let mut files: Vec<_> = std::fs::read_dir(&run.dir).unwrap().map(|file| file.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["environment.json", "out.txt", "spec.json"], "nothing of the store's own is left");
}

#[test]
fn a_resumed_run_took_the_time_of_all_its_legs() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(Some(folder.path()));
    let slow = |_: &Path| {
        std::thread::sleep(std::time::Duration::from_millis(120));
        Err(Error::failed("killed"))
    };
    assert!(store.open_or_resume("train", "lora", &1, slow).is_err());
    // as a process that is killed leaves it: no last line, and half a line
    let legs = store.leftovers().unwrap()[0].1.join("legs.jsonl");
    let mut text = std::fs::read_to_string(&legs).unwrap();
    text += r#"{"leg":1,"took":{"started":"2026-01-31T23:59:59Z","seconds":1000.0,"peak_bytes":9000000000000}}"#;
    text += "\n{\"leg\":1,";
    std::fs::write(&legs, text).unwrap();
    assert!(store.open_or_resume("train", "lora", &1, slow).is_err());
    let environment = store.open_or_resume("train", "lora", &1, fill).unwrap().environment().unwrap();
    assert_eq!(environment.legs.len(), 4);
    assert_eq!(environment.started, environment.legs[0].started);
    assert!((1000.24..1120.0).contains(&environment.wall_seconds), "{}", environment.wall_seconds);
    assert_eq!(environment.peak_bytes, Some(9_000_000_000_000));

    assert!(store.open_or_resume("train", "other", &1, slow).is_err());
    let anew = store.open_or_restart("train", "other", &1, fill).unwrap().environment().unwrap();
    assert!(anew.legs.is_empty(), "what was thrown away is no part of the run");
}

#[cfg(target_os = "linux")]
#[test]
fn the_memory_of_a_run_that_makes_another_is_that_of_the_larger() {
    const BYTES: usize = 192 << 20;
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(Some(folder.path()));
    let outer = store.open_or_make("arm", "outer", &1, |_| {
        drop(std::hint::black_box(vec![1u8; BYTES]));
        store.open_or_make("train", "inner", &1, fill).map(drop)
    });
    let peak = outer.unwrap().environment().unwrap().peak_bytes.unwrap();
    assert!(peak >= BYTES as u64, "{peak} bytes");
}

#[test]
fn two_makers_at_once_make_one_run() {
    let folder = tempfile::tempdir().unwrap();
    let made = AtomicUsize::new(0);
    let make = || {
        let slow = |dir: &Path| {
            made.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(std::time::Duration::from_millis(50));
            fill(dir)
        };
        Store::open(Some(folder.path())).open_or_make("train", "lora", &1, slow).unwrap()
    };
    let runs: Vec<Run> = std::thread::scope(|scope| {
        let makers: Vec<_> = (0..4).map(|_| scope.spawn(make)).collect();
        makers.into_iter().map(|maker| maker.join().unwrap()).collect()
    });
    assert_eq!(made.load(Ordering::SeqCst), 1);
    assert!(runs.windows(2).all(|pair| pair[0] == pair[1]));
}

/// `dxlab runs --root FOLDER …`
fn runs(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dxlab")).arg("runs").arg("--root").arg(folder).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A store with a run of today, one of other numerics, what a killed prediction left, and a killed training's part.
fn littered(folder: &Path) -> (Store, [PathBuf; 3]) {
    let store = Store::open(Some(folder));
    store.open_or_make("predict", "today", &1, fill).unwrap();
    let old = store.open_or_make("train", "old", &1, fill).unwrap();
    let (now, then) = (format!("\"numerics\": {NUMERICS_VERSION}"), "\"numerics\": 0");
    let spec = std::fs::read_to_string(old.path("spec.json")).unwrap();
    assert!(spec.contains(&now));
    std::fs::write(old.path("spec.json"), spec.replace(&now, then)).unwrap();
    let scrap = folder.join(".predict-killed-0123456789ab.tmp");
    std::fs::create_dir(&scrap).unwrap();
    fill(&scrap).unwrap();
    assert!(store.open_or_resume("train", "killed", &1, |dir| fill(dir).and(Err(Error::failed("killed")))).is_err());
    let part = store.leftovers().unwrap().into_iter().find(|(kind, _)| *kind == Leftover::Part).unwrap().1;
    (store, [scrap, part, old.dir])
}

#[test]
fn leftovers_that_can_be_resumed_and_runs_of_other_numerics_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let (store, [scrap, part, old]) = littered(folder.path());
    std::fs::create_dir(folder.path().join("notes")).unwrap();
    std::fs::create_dir_all(folder.path().join(".cache/endpoint")).unwrap();
    let left = [(Leftover::Scrap, scrap), (Leftover::Part, part.clone()), (Leftover::OldRun, old)];
    assert_eq!(store.leftovers().unwrap(), left);
    assert_eq!(store.list().unwrap().len(), 2);
    // begun from nothing, but killed it can be gone on from like any other training
    let killed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        store.open_or_restart("train", "panics", &1, |_| std::panic::resume_unwind(Box::new("killed")))
    }));
    assert!(killed.is_err());
    assert_eq!(store.leftovers().unwrap().iter().filter(|(kind, _)| *kind == Leftover::Part).count(), 2);
    // a part whose run was made since in another way is of no use
    let run = store.open_or_make("train", "killed", &1, fill).unwrap();
    assert!(run.dir.is_dir() && part.is_dir());
    assert!(store.leftovers().unwrap().contains(&(Leftover::Scrap, part)));
}

#[test]
fn gc_deletes_what_it_is_told_to_and_nothing_that_is_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let (store, [scrap, part, old]) = littered(folder.path());
    let there = || [&scrap, &part, &old].map(|dir| dir.is_dir());
    let listed = text(&runs(folder.path(), &["gc"]).stdout);
    assert!(
        listed.contains("1 parts that --resume goes on from, 0.0 MB: kept, --delete --parts deletes them"),
        "{listed}"
    );
    assert!([&scrap, &part, &old].iter().all(|dir| listed.contains(&*dir.to_string_lossy())), "{listed}");
    assert_eq!((runs(folder.path(), &["gc", "--parts"]).status.code(), there()), (Some(2), [true; 3]));
    assert!(runs(folder.path(), &["gc", "--delete"]).status.success());
    assert_eq!(there(), [false, true, true]);
    assert!(runs(folder.path(), &["gc", "--delete", "--old"]).status.success());
    assert_eq!(there(), [false, true, false]);
    let resumed = store.open_or_resume("train", "killed", &1, |dir| {
        assert!(dir == part && !store.leftovers().unwrap().iter().any(|(_, dir)| *dir == part), "being made");
        assert!(!store.delete(&part).unwrap() && part.is_dir(), "a maker that began since keeps its folder");
        Err(Error::failed("killed again"))
    });
    assert!(resumed.is_err() && part.join("out.txt").is_file());
    let output = runs(folder.path(), &["gc", "--delete", "--parts"]);
    assert!(text(&output.stdout).contains("1 parts that --resume goes on from, 0.0 MB: deleted"), "{output:?}");
    assert_eq!((there(), store.list().unwrap().len()), ([false; 3], 1));
    assert!(!store.delete(&part).unwrap(), "it is gone");
}

#[test]
fn one_bad_folder_does_not_hide_the_other_runs() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(Some(folder.path()));
    let good = store.open_or_make("predict", "good", &1, fill).unwrap();
    for (name, spec) in [("torn", "{"), ("short", r#"{"kind":"a","name":"b","digest":"","numerics":2,"spec":1}"#)] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        std::fs::write(folder.path().join(name).join("spec.json"), spec).unwrap();
    }
    assert_eq!(store.list().unwrap(), [good.clone()]);
    assert_eq!(store.named("good").unwrap(), good);
    assert!(store.leftovers().unwrap().is_empty());
    let bare = store.open_or_make("predict", "bare", &1, fill).unwrap();
    std::fs::remove_file(bare.path("environment.json")).unwrap();
    let output = runs(folder.path(), &["list"]);
    let (out, said) = (text(&output.stdout), text(&output.stderr));
    assert!(
        output.status.success() && out.starts_with("1 runs in ") && out.contains(good.short_digest()),
        "{out}{said}"
    );
    let told = |dir: &Path| said.lines().filter(|line| line.contains(&*dir.to_string_lossy())).count();
    assert_eq!((told(&folder.path().join("torn")), told(&folder.path().join("short")), told(&bare.dir)), (1, 1, 1));
    assert!(said.lines().count() == 3 && said.lines().all(|line| line.contains("mend or remove the folder")), "{said}");
}

#[test]
fn a_name_that_is_no_folder_is_refused() {
    let store = Store::open(Some(Path::new("nowhere")));
    for (kind, name) in [("train", "a/b"), ("..", "x"), ("train", ""), ("train-x", "a")] {
        assert_eq!(store.find(kind, name, &1).unwrap_err().exit_code(), 2, "{kind} {name}");
    }
}

#[test]
fn a_lock_is_given_back_though_another_thread_starts_children() {
    // A forked child holds every open file until it execs. This failed in CI when a lock was only closed, not unlocked.
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(Some(folder.path()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                (0..300).for_each(|_| assert!(std::process::Command::new("true").status().unwrap().success()))
            });
        }
        for turn in 0..200 {
            let fail = |_: &Path| Err(Error::failed("killed"));
            assert!(store.open_or_resume("train", "lora", &1, fail).is_err());
            assert_eq!(store.leftovers().unwrap().len(), 1, "turn {turn}: the lock of a run that failed is still held");
        }
    });
}

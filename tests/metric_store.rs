//! The run store: made once, opened afterwards, never seen half-made.
use dxlab::Error;
use dxlab::study::{NUMERICS_VERSION, Run, Store};
use serde_json::json;
use std::path::Path;
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
    assert!(store.garbage().unwrap().is_empty() && store.list().unwrap().is_empty());

    assert!(store.open_or_resume("train", "lora", &1, fail).is_err());
    assert_eq!((store.garbage().unwrap().len(), store.list().unwrap().len()), (1, 0));
    let run = store.open_or_resume("train", "lora", &1, |dir| {
        assert!(dir.join("out.txt").is_file(), "what the first try wrote is there");
        Ok(())
    });
    assert!(run.unwrap().path("out.txt").is_file());
    assert!(store.garbage().unwrap().is_empty());
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

#[test]
fn runs_of_other_numerics_and_foreign_folders_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(Some(folder.path()));
    let run = store.open_or_make("train", "lora", &1, fill).unwrap();
    std::fs::create_dir(folder.path().join("notes")).unwrap();
    assert!(store.garbage().unwrap().is_empty());
    let old = std::fs::read_to_string(run.path("spec.json"))
        .unwrap()
        .replace(&format!("\"numerics\": {NUMERICS_VERSION}"), "\"numerics\": 0");
    std::fs::write(run.path("spec.json"), old).unwrap();
    assert_eq!(store.garbage().unwrap(), [run.dir]);
    assert_eq!(store.list().unwrap().len(), 1);
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
            assert_eq!(store.garbage().unwrap().len(), 1, "turn {turn}: the lock of a run that failed is still held");
        }
    });
}

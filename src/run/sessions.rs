//! The legs of a run: what was stopped and taken up again took the time of all its legs, and the memory of the largest.
//!
//! ```text
//! runs/.train-lora-….part/legs.jsonl   {"leg":0,"took":{"started":"2026-01-31T23:59:59Z","seconds":12.5,"peak_bytes":98304}}
//! ```
//!
//! A line when a leg starts, then again and again while it goes, each with what the leg has taken so far: the last one counts. A leg
//! that is killed has no time for a last word; at most a tenth of it, or half a minute, is missing.
use super::environment::{Session, Stopwatch};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

const SHORTEST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(30);

#[derive(Serialize, Deserialize)]
struct Line {
    leg: usize,
    took: Session,
}

pub fn path(dir: &Path) -> PathBuf {
    dir.join("legs.jsonl")
}

/// The legs that were recorded in `dir` by their numbers; none where none was. A line that a crash tore is passed over.
fn read(dir: &Path) -> BTreeMap<usize, Session> {
    let text = std::fs::read(path(dir)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
    lines.map(|line| (line.leg, line.took)).collect()
}

/// Lets `make` fill `dir` and records how long it takes meanwhile, also where it fails; gives the legs before this one.
pub fn record(dir: &Path, watch: &Stopwatch, make: impl FnOnce() -> Result<()>) -> Result<Vec<Session>> {
    let (earlier, path) = (read(dir), path(dir));
    let mut file = OpenOptions::new().create(true).append(true).open(&path).map_err(Error::io(&path))?;
    let leg = earlier.last_key_value().map_or(0, |(last, _)| last + 1);
    // the line that a crash tore ends here
    file.write_all(b"\n").and_then(|()| add(&mut file, leg, watch)).map_err(Error::io(&path))?;
    std::thread::scope(|scope| {
        let (done, over) = channel::<()>(); // nothing is ever sent: `done` is dropped with `make`, also by a panic
        let mut lines = &file;
        let beat = move || {
            while over.recv_timeout(wait(watch)) == Err(RecvTimeoutError::Timeout) {
                let _ = add(&mut lines, leg, watch); // a full disk stops the run elsewhere, and says so
            }
        };
        // without a thread to spare a leg that is killed counts nothing
        let beating = std::thread::Builder::new().name("legs".into()).spawn_scoped(scope, beat);
        let made = make();
        drop(done);
        drop(beating.map(|thread| thread.join()));
        let _ = add(&mut &file, leg, watch); // as above; a run that is made has it in environment.json
        made
    })?;
    Ok(earlier.into_values().collect())
}

/// Until the next line: more often at first, so that a short leg counts too.
fn wait(watch: &Stopwatch) -> Duration {
    (watch.elapsed() / 10).clamp(SHORTEST, LONGEST)
}

fn add(file: &mut impl Write, leg: usize, watch: &Stopwatch) -> std::io::Result<()> {
    let line = serde_json::to_string(&Line { leg, took: watch.leg() })?;
    file.write_all((line + "\n").as_bytes()) // in one piece: what a kill leaves is whole
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leg(seconds: f64) -> Session {
        Session { started: "2026-01-31T23:59:59Z".into(), seconds, peak_bytes: Some(1000) }
    }

    fn line(leg: usize, took: Session) -> String {
        serde_json::to_string(&Line { leg, took }).unwrap()
    }

    #[test]
    fn the_last_whole_line_of_each_leg_counts() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read(dir.path()).is_empty());
        let whole = [line(0, leg(0.0)), line(0, leg(7.5)), String::new(), line(1, leg(0.0)), line(1, leg(2.0))];
        std::fs::write(path(dir.path()), whole.join("\n") + "\n{\"leg\":1,\"sta").unwrap();
        assert_eq!(read(dir.path()), [(0, leg(7.5)), (1, leg(2.0))].into());
        let earlier = record(dir.path(), &Stopwatch::start(), || Ok(())).unwrap();
        assert_eq!(earlier, [leg(7.5), leg(2.0)]);
        assert_eq!(read(dir.path()).len(), 3, "the torn line does not swallow the next");
    }

    #[test]
    fn a_leg_is_on_the_disk_while_it_goes_and_after_it_failed() {
        let dir = tempfile::tempdir().unwrap();
        let watch = Stopwatch::start();
        let failed = record(dir.path(), &watch, || {
            let started = std::time::Instant::now();
            while read(dir.path())[&0].seconds < 0.05 {
                assert!(started.elapsed() < Duration::from_secs(60), "nothing is recorded");
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(Error::failed("stopped"))
        });
        assert!(failed.unwrap_err().to_string().contains("stopped"));
        let after = read(dir.path());
        assert!(after.len() == 1 && (0.05..watch.elapsed().as_secs_f64()).contains(&after[&0].seconds));
    }
}

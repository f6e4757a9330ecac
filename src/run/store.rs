//! The run store. A run is a folder `<kind>-<name>-<12 hex>`; the digest is SHA-256 of everything that determines the run:
//! its kind, its specification (config, digests of data, base model and prompt) and `NUMERICS_VERSION`.
//! If the folder exists it is opened, if not it is made beside and renamed, so a folder under its final name is complete.
//!
//! ```text
//! runs/train-lora-1f3a9c2e77d0/      spec.json, environment.json and whatever the maker wrote
//! runs/.train-lora-1f3a9c2e77d0.part being made, or left by a maker that was killed: the next one goes on from it
//! runs/.predict-plain-….tmp          the same of a run that can only be made in one go: the next maker removes it
//! runs/.locks/                       one file a run; a second maker waits, then opens what the first made
//! ```
use super::environment::{Environment, Stopwatch};
use super::sessions;
use crate::error::{Error, Result};
use crate::io;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

/// Raised when a change makes the same config give other numbers; runs made before it are not opened any more.
pub const NUMERICS_VERSION: u32 = 2;

/// A folder of runs.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

/// A lock that is given back at once when dropped. Closing the file is not enough: a child process that another thread
/// has just forked holds the same open file until it execs, and the lock with it.
struct LockGuard(File);

impl Drop for LockGuard {
    fn drop(&mut self) {
        let _ = self.0.unlock(); // closing gives it back all the same, only later
    }
}

/// How a run is made, and so what becomes of what its maker leaves.
#[derive(Clone, Copy, PartialEq)]
enum Making {
    /// In one go: what is left is of no use.
    Whole,
    /// From the beginning, but what a killed maker leaves can be taken up.
    Anew,
    /// From what the last maker left.
    Onwards,
}

/// Folders of a store that are no run of today's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leftover {
    /// Left by a maker that is gone, and nothing goes on from it.
    Scrap,
    /// Left by a maker that is gone; the next maker of the run goes on from it.
    Part,
    /// A complete run of other numerics, which nothing opens any more.
    OldRun,
}

/// A complete run.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    pub dir: PathBuf,
    pub spec: Spec,
}

/// `spec.json`: what the run is and everything that determines it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    pub kind: String,
    pub name: String,
    /// 64 hex digits over `kind`, `numerics` and `spec`; the folder's name ends in the first 12.
    pub digest: String,
    pub numerics: u32,
    pub spec: Value,
}

impl Spec {
    /// `kind` and `name` become part of a folder's name: letters, digits, `_`, `.`; in `name` also `-`.
    pub fn new(kind: &str, name: &str, spec: &impl Serialize) -> Result<Self> {
        let plain = |text: &str, extra: &str| {
            let fine = |c: char| c.is_ascii_alphanumeric() || "_.".contains(c) || extra.contains(c);
            !text.is_empty() && !text.starts_with('.') && text.chars().all(fine)
        };
        if !plain(kind, "") || !plain(name, "-") {
            return Err(Error::input(format!(
                "run `{kind}-{name}`: expected letters, digits, `_` and `.` (in the name also `-`), as it becomes a folder"
            )));
        }
        let spec = io::to_value(spec)?;
        let whole = serde_json::json!({ "kind": kind, "numerics": NUMERICS_VERSION, "spec": spec });
        let digest = io::digest_json(&whole)?;
        Ok(Self { kind: kind.into(), name: name.into(), digest, numerics: NUMERICS_VERSION, spec })
    }

    /// `train-lora-1f3a9c2e77d0`.
    pub fn folder(&self) -> String {
        format!("{}-{}-{}", self.kind, self.name, &self.digest[..12])
    }
}

impl Store {
    /// The store under `root`, by default `runs/` of the project. The folder is made when the first run is.
    pub fn open(root: Option<&Path>) -> Self {
        Self { root: root.map_or_else(|| crate::home().join("runs"), Path::to_path_buf) }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The run of this specification if it is there.
    pub fn find(&self, kind: &str, name: &str, spec: &impl Serialize) -> Result<Option<Run>> {
        let spec = Spec::new(kind, name, spec)?;
        let dir = self.root.join(spec.folder());
        if !dir.join("spec.json").is_file() {
            return Ok(None);
        }
        let found = Run::load(&dir)?;
        if found.spec.digest != spec.digest {
            let (dir, found, wanted) = (dir.display(), found.spec.digest, spec.digest);
            return Err(Error::input(format!(
                "{dir}: expected digest {wanted}, spec.json says {found}; remove the folder to remake it"
            )));
        }
        Ok(Some(found))
    }

    /// Opens the run, or makes it: `make` gets an empty folder to fill. If it fails, nothing is kept.
    pub fn open_or_make(
        &self,
        kind: &str,
        name: &str,
        spec: &impl Serialize,
        make: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<Run> {
        self.obtain(kind, name, spec, Making::Whole, make)
    }

    /// Like [`Store::open_or_make`], but `make` finds what a killed or failed maker of the same run left in the folder
    /// (checkpoints to resume from), and what it leaves when it fails stays for the next try.
    pub fn open_or_resume(
        &self,
        kind: &str,
        name: &str,
        spec: &impl Serialize,
        make: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<Run> {
        self.obtain(kind, name, spec, Making::Onwards, make)
    }

    /// Like [`Store::open_or_make`]: from an empty folder, whatever an earlier maker left. But what this one leaves when it is killed
    /// is there for [`Store::open_or_resume`].
    pub fn open_or_restart(
        &self,
        kind: &str,
        name: &str,
        spec: &impl Serialize,
        make: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<Run> {
        self.obtain(kind, name, spec, Making::Anew, make)
    }

    fn obtain(
        &self,
        kind: &str,
        name: &str,
        spec: &impl Serialize,
        how: Making,
        make: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<Run> {
        if let Some(run) = self.find(kind, name, spec)? {
            return Ok(run);
        }
        let described = Spec::new(kind, name, spec)?;
        let _lock = self.lock(&described.folder())?; // released when dropped, also by a killed process
        if let Some(run) = self.find(kind, name, spec)? {
            return Ok(run); // another maker was faster
        }
        let end = if how == Making::Whole { "tmp" } else { "part" };
        let part = self.root.join(format!(".{}.{end}", described.folder()));
        if how != Making::Onwards {
            remove(&part)?;
        }
        std::fs::create_dir_all(&part).map_err(Error::io(&part))?;
        io::remove_leftovers(&part)?;
        let watch = Stopwatch::start();
        let made = match how {
            Making::Whole => make(&part).map(|()| Vec::new()),
            _ => sessions::record(&part, &watch, || make(&part)),
        };
        let earlier = match made {
            Ok(earlier) => earlier,
            Err(error) if how == Making::Onwards => return Err(error),
            Err(error) => return remove(&part).and(Err(error)),
        };
        io::write_json(&part.join("environment.json"), &watch.finish().after(earlier))?;
        io::write_json(&part.join("spec.json"), &described)?;
        if described.spec.get("synthetic") == Some(&Value::Bool(false)) {
            // its answers may quote texts that are not ours to pass on: no commit takes them along by accident
            io::write(&part.join(".gitignore"), b"*\n")?;
        }
        let dir = self.root.join(described.folder());
        std::fs::rename(&part, &dir).map_err(Error::io(&dir))?;
        if how != Making::Whole {
            let kept = sessions::path(&dir); // environment.json has them now
            std::fs::remove_file(&kept).map_err(Error::io(&kept))?;
        }
        Run::load(&dir)
    }

    /// Waits for whoever makes the same run, and says so.
    fn lock(&self, folder: &str) -> Result<LockGuard> {
        let (lock, path) = self.lock_file(folder)?;
        match lock.try_lock() {
            Ok(()) => return Ok(LockGuard(lock)),
            Err(TryLockError::WouldBlock) => eprintln!("{folder} is being made by another process: waiting for it"),
            Err(TryLockError::Error(error)) => return Err(Error::io(&path)(error)),
        }
        lock.lock().map_err(Error::io(&path))?;
        Ok(LockGuard(lock))
    }

    fn lock_file(&self, folder: &str) -> Result<(File, PathBuf)> {
        let path = self.lock_path(folder);
        let locks = self.root.join(".locks");
        std::fs::create_dir_all(&locks).map_err(Error::io(&locks))?;
        Ok((File::create(&path).map_err(Error::io(&path))?, path))
    }

    fn lock_path(&self, folder: &str) -> PathBuf {
        self.root.join(".locks").join(folder)
    }

    /// Complete runs in order of their folder's name. A folder that is no run is passed over, and one that cannot be read is told on
    /// the terminal.
    pub fn list(&self) -> Result<Vec<Run>> {
        let runs = self.entries()?.into_iter().filter(|dir| !hidden(dir) && dir.join("spec.json").is_file());
        Ok(runs.filter_map(|dir| or_told(&dir, Run::load(&dir))).collect())
    }

    /// The one run whose folder's name or digest starts with `start`, or whose name it is.
    pub fn named(&self, start: &str) -> Result<Run> {
        self.one(self.list()?, start)
    }

    /// As [`Store::named`] among runs of one kind; a run's folder is taken too.
    pub fn of_kind(&self, kind: &str, run: &str) -> Result<Run> {
        if Path::new(run).join("spec.json").is_file() {
            return Run::load(Path::new(run));
        }
        let mut runs = self.list()?;
        runs.retain(|run| run.spec.kind == kind);
        let name = run.strip_prefix(&format!("{kind}-")).unwrap_or(run);
        if runs.iter().any(|one| one.spec.name == name) {
            runs.retain(|one| one.spec.name == name); // though the folders of others begin with it
            return self.one(runs, name);
        }
        self.one(runs, run)
    }

    /// The run of this kind and name that is about all cases of the corpus with this digest, made by today's numerics; none where there is none. Fails
    /// where two fit, as runs of several models or prompts can have one name.
    pub fn on_corpus(&self, kind: &str, name: &str, corpus: &str) -> Result<Option<Run>> {
        let mut runs = self.list()?;
        runs.retain(|run| {
            let known = run.known();
            let whole = known.cases.is_none() && run.spec.numerics == NUMERICS_VERSION;
            run.spec.kind == kind && run.spec.name == name && whole && known.corpus.as_deref() == Some(corpus)
        });
        match runs.len() {
            0 => Ok(None),
            _ => self.one(runs, name).map(Some),
        }
    }

    fn one(&self, runs: Vec<Run>, start: &str) -> Result<Run> {
        let fits =
            |run: &Run| run.folder().starts_with(start) || run.spec.digest.starts_with(start) || run.spec.name == start;
        let mut fitting: Vec<Run> = runs.into_iter().filter(fits).collect();
        match fitting.len() {
            1 => Ok(fitting.remove(0)),
            0 => Err(Error::input(format!("no run `{start}` in {}: see `dxlab runs list`", self.root.display()))),
            _ => {
                let names: Vec<String> = fitting.iter().map(Run::folder).collect();
                Err(Error::input(format!(
                    "`{start}` fits more than one run: {}; give more of the name",
                    names.join(", ")
                )))
            }
        }
    }

    /// What makers that are gone have left, and runs of other numerics; in order of their folders' names.
    pub fn leftovers(&self) -> Result<Vec<(Leftover, PathBuf)>> {
        let mut found = Vec::new();
        for dir in self.entries()? {
            let kind = match making(&dir) {
                Some((folder, _)) if self.in_use(&folder)? => None,
                Some((_, false)) => Some(Leftover::Scrap),
                // the run is there: its part is never looked at again
                Some((folder, true)) if self.root.join(&folder).join("spec.json").is_file() => Some(Leftover::Scrap),
                Some((_, true)) => Some(Leftover::Part),
                None if hidden(&dir) || !dir.join("spec.json").is_file() => None,
                None => or_told(&dir, Run::load(&dir))
                    .filter(|run| run.spec.numerics != NUMERICS_VERSION)
                    .map(|_| Leftover::OldRun),
            };
            found.extend(kind.map(|kind| (kind, dir)));
        }
        Ok(found)
    }

    /// Deletes a folder that [`Store::leftovers`] named, holding its run's lock: a maker that starts meanwhile waits, and makes its folder
    /// anew. False where one was faster, and nothing is deleted.
    pub fn delete(&self, leftover: &Path) -> Result<bool> {
        let name = leftover.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let folder = making(leftover).map_or(name, |(folder, _)| folder);
        let (lock, path) = self.lock_file(&folder)?;
        let _lock = match lock.try_lock() {
            Ok(()) => LockGuard(lock),
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(error)) => return Err(Error::io(&path)(error)),
        };
        let there = leftover.exists(); // not if a maker has finished it since
        remove(leftover)?;
        Ok(there)
    }

    fn in_use(&self, folder: &str) -> Result<bool> {
        match File::open(self.lock_path(folder)) {
            Ok(lock) => Ok(lock.try_lock().map(|()| LockGuard(lock)).is_err()),
            Err(_) => Ok(false), // no lock file: nobody ever made it here
        }
    }

    /// Folders of the store in order of their names; none if the store is not there yet.
    fn entries(&self) -> Result<Vec<PathBuf>> {
        if !self.root.exists() {
            return Ok(Vec::new());
        }
        let read = std::fs::read_dir(&self.root).map_err(Error::io(&self.root))?;
        let mut paths: Vec<PathBuf> =
            read.map(|entry| entry.map(|e| e.path())).collect::<std::io::Result<_>>().map_err(Error::io(&self.root))?;
        paths.retain(|path| path.is_dir());
        paths.sort();
        Ok(paths)
    }
}

fn hidden(dir: &Path) -> bool {
    dir.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

/// Of a folder in which a run is, or was, being made: the run's folder, and whether another maker can go on from it.
fn making(dir: &Path) -> Option<(String, bool)> {
    let name = dir.file_name()?.to_str()?.strip_prefix('.')?;
    let whole = |folder: &str| (folder.to_string(), false);
    name.strip_suffix(".part").map(|folder| (folder.to_string(), true)).or(name.strip_suffix(".tmp").map(whole))
}

/// What was read in a run's folder; where it cannot be, a line that says what to do, so that one bad folder does not hide the others.
fn or_told<T>(dir: &Path, read: Result<T>) -> Option<T> {
    read.inspect_err(|error| eprintln!("{} is left out: {error}; mend or remove the folder", dir.display())).ok()
}

fn remove(dir: &Path) -> Result<()> {
    if dir.exists() { std::fs::remove_dir_all(dir).map_err(Error::io(dir)) } else { Ok(()) }
}

impl Run {
    /// Opens a run's folder, of this or any other store.
    pub fn load(dir: &Path) -> Result<Self> {
        let path = dir.join("spec.json");
        let spec: Spec = io::read_json(&path)?;
        match spec.digest.get(..12) {
            Some(_) => Ok(Self { dir: dir.to_path_buf(), spec }),
            None => Err(Error::input(format!("{}: expected a digest of 64 hex digits", path.display()))),
        }
    }

    /// `train-lora-1f3a9c2e77d0`.
    pub fn folder(&self) -> String {
        self.spec.folder()
    }

    /// First 12 hex digits, as in the folder's name.
    pub fn short_digest(&self) -> &str {
        &self.spec.digest[..12]
    }

    /// A file of the run.
    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    pub fn environment(&self) -> Result<Environment> {
        io::read_json(&self.path("environment.json"))
    }

    /// For lists of runs: none, and a line on the terminal, where it cannot be read.
    pub(crate) fn environment_or_told(&self) -> Option<Environment> {
        or_told(&self.dir, self.environment())
    }

    /// Bytes of everything in the folder.
    pub fn bytes(&self) -> Result<u64> {
        size(&self.dir)
    }
}

/// Bytes of a file or of everything in a folder.
pub fn size(path: &Path) -> Result<u64> {
    let meta = std::fs::symlink_metadata(path).map_err(Error::io(path))?;
    if !meta.is_dir() {
        return Ok(meta.len());
    }
    let read = std::fs::read_dir(path).map_err(Error::io(path))?;
    read.map(|entry| size(&entry.map_err(Error::io(path))?.path())).sum()
}

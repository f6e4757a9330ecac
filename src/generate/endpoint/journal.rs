//! Every answer on disk as soon as it is there: a line of JSON each, appended and synced, so that a process that is killed
//! has nothing to ask again and nothing to lose.
//!
//! ```text
//! runs/.cache/endpoint/<model>-<12 hex>.jsonl     one file an address and model; lines name questions by their digest
//! runs/.cache/endpoint/<model>-<12 hex>.lock      held by the one process that asks; a second waits, then finds its answers
//! ```
//!
//! Only complete replies count as answers; one of an earlier version that is not is asked again, and counts as a lost try.
//! A last line that was torn is cut off when the file is opened; any other line that cannot be read is passed over.
use super::reply::Reply;
use super::usage::Tokens;
use crate::error::{Error, Result};
use crate::io;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// An answer and what it took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub reply: Reply,
    /// From sending the question to the end of the answer, of the try that brought it.
    pub seconds: f64,
    pub tries: usize,
}

/// A line of the journal: an answer, or the most that a try without one may cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    pub key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Record>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<Tokens>,
}

pub struct Journal {
    pub path: PathBuf,
    file: File,
    /// By question: the answer, and which it is in the order of the file.
    answers: BTreeMap<String, (usize, Record)>,
    /// By question: number of lost tries and the most they may cost.
    lost: BTreeMap<String, (usize, Tokens)>,
    /// By question: how many of these have no count of tokens.
    uncounted: BTreeMap<String, usize>,
    /// Lines that could not be read.
    pub unreadable: usize,
    /// Replies that are not complete (written by an earlier version): these questions have no answer, but were paid for.
    pub incomplete: usize,
    lock: File,
}

impl Drop for Journal {
    fn drop(&mut self) {
        let _ = self.lock.unlock(); // closing gives it back all the same, only later
    }
}

impl Journal {
    /// Where the journal of an address and a model lies in `folder`.
    pub fn place(folder: &Path, base: &str, model: &str) -> PathBuf {
        let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
        let name: String = model.chars().map(plain).take(60).collect();
        let digest = io::hex(&Sha256::digest(format!("{base}\n{model}")));
        folder.join(format!("{}-{}.jsonl", name.trim_start_matches('.'), &digest[..12]))
    }

    /// Opens the journal for this process alone: waits while another has it, and says so.
    pub fn open(path: &Path) -> Result<Self> {
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let lock = locked(&path.with_extension("lock"))?;
        let options = OpenOptions::new().read(true).append(true).create(true).clone();
        let mut file = options.open(path).map_err(Error::io(path))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(Error::io(path))?;
        let whole = bytes.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
        if whole < bytes.len() {
            file.set_len(whole as u64).and_then(|()| file.sync_all()).map_err(Error::io(path))?;
        }
        file.seek(SeekFrom::End(0)).map_err(Error::io(path))?;
        let (answers, lost, uncounted) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut journal =
            Self { path: path.into(), file, answers, lost, uncounted, unreadable: 0, incomplete: 0, lock };
        for line in bytes[..whole].split(|&b| b == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice(line) {
                Ok(line) => journal.keep(line),
                Err(_) => journal.unreadable += 1,
            }
        }
        Ok(journal)
    }

    fn keep(&mut self, line: Line) {
        if let Some(tokens) = line.lost {
            let lost = self.lost.entry(line.key.clone()).or_default();
            *lost = (lost.0 + 1, lost.1 + tokens);
        }
        if let Some(record) = line.answer {
            if record.reply.check().is_ok() {
                let order = self.answers.len();
                self.answers.insert(line.key, (order, record));
                return;
            }
            self.incomplete += 1;
            let lost = self.lost.entry(line.key.clone()).or_default();
            *lost = (lost.0 + 1, lost.1 + record.reply.usage.unwrap_or_default());
            *self.uncounted.entry(line.key).or_default() += usize::from(record.reply.usage.is_none());
        }
    }

    /// Appends lines; when this returns they are on the disk.
    pub fn add(&mut self, lines: Vec<Line>) -> Result<()> {
        let mut text = String::new();
        for line in &lines {
            text +=
                &serde_json::to_string(line).map_err(|e| Error::failed(format!("cannot be written as JSON: {e}")))?;
            text.push('\n');
        }
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(Error::io(&self.path))?;
        lines.into_iter().for_each(|line| self.keep(line));
        Ok(())
    }

    pub fn answer(&self, key: &str) -> Option<&Record> {
        self.answers.get(key).map(|(_, record)| record)
    }

    /// The answers to these questions, the oldest first.
    pub fn in_order(&self, keys: &BTreeMap<&str, usize>) -> impl Iterator<Item = &Record> {
        let mut found: Vec<&(usize, Record)> = keys.keys().filter_map(|key| self.answers.get(*key)).collect();
        found.sort_by_key(|(order, _)| *order);
        found.into_iter().map(|(_, record)| record)
    }

    /// Number of tries of a question that were lost, and the most they may cost.
    pub fn lost(&self, key: &str) -> (usize, Tokens) {
        self.lost.get(key).copied().unwrap_or_default()
    }

    /// Number of lost tries of a question that had a reply without a count of tokens: each may cost the question's worst case.
    pub fn uncounted(&self, key: &str) -> usize {
        self.uncounted.get(key).copied().unwrap_or_default()
    }
}

fn locked(path: &Path) -> Result<File> {
    let lock = OpenOptions::new().write(true).create(true).truncate(false).open(path).map_err(Error::io(path))?;
    match lock.try_lock() {
        Ok(()) => return Ok(lock),
        Err(TryLockError::WouldBlock) => {
            eprintln!("another process asks this model (it holds {}): waiting for it", path.display());
        }
        Err(TryLockError::Error(error)) => return Err(Error::io(path)(error)),
    }
    lock.lock().map_err(Error::io(path))?;
    Ok(lock)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(key: &str, content: &str) -> Line {
        let reply =
            Reply { content: content.into(), finish: Some("stop".into()), logprob: Some(-0.1), ..Reply::default() };
        Line { key: key.into(), answer: Some(Record { reply, seconds: 0.25, tries: 2 }), lost: None }
    }

    fn place() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = Journal::place(&dir.path().join("a/b"), "http://localhost/v1", "org/Model 1");
        assert!(path.file_name().unwrap().to_str().unwrap().starts_with("org_Model_1-"));
        (dir, path)
    }

    #[test]
    fn what_was_added_is_there_when_it_is_opened_again() {
        let (_dir, path) = place();
        let mut journal = Journal::open(&path).unwrap();
        let lost = Line { key: "b".into(), answer: None, lost: Some(Tokens { prompt: 3, new: 4 }) };
        journal.add(vec![line("a", "é\n"), lost.clone()]).unwrap();
        journal.add(vec![lost]).unwrap();
        drop(journal);
        let journal = Journal::open(&path).unwrap();
        assert_eq!(journal.answer("a"), line("a", "é\n").answer.as_ref());
        assert_eq!((journal.answer("b"), journal.lost("b")), (None, (2, Tokens { prompt: 6, new: 8 })));
        assert_eq!((journal.lost("a"), journal.unreadable), ((0, Tokens::default()), 0));
    }

    #[test]
    fn a_file_torn_anywhere_keeps_every_whole_line_and_goes_on() {
        let (_dir, path) = place();
        Journal::open(&path).unwrap().add(vec![line("a", "1"), line("b", "é2"), line("c", "3")]).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let ends: Vec<usize> = (0..whole.len()).filter(|&i| whole[i] == b'\n').collect();
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let mut journal = Journal::open(&path).unwrap();
            let kept = ["a", "b", "c"].iter().filter(|key| journal.answer(key).is_some()).count();
            assert_eq!(kept, ends.iter().filter(|&&end| end < cut).count(), "cut at {cut}");
            journal.add(vec![line("d", "4")]).unwrap();
            drop(journal);
            let journal = Journal::open(&path).unwrap();
            assert!(journal.answer("d").is_some() && journal.unreadable == 0, "cut at {cut}");
        }
    }

    #[test]
    fn a_line_that_cannot_be_read_is_passed_over_and_counted() {
        let (_dir, path) = place();
        Journal::open(&path).unwrap().add(vec![line("a", "1")]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{{\"key\":\n\0\0\n{text}")).unwrap();
        let journal = Journal::open(&path).unwrap();
        assert!(journal.answer("a").is_some() && journal.unreadable == 2);
    }

    #[test]
    fn one_process_at_a_time() {
        let (_dir, path) = place();
        let first = Journal::open(&path).unwrap();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| Journal::open(&path).unwrap().answer("a").is_some());
            std::thread::sleep(std::time::Duration::from_millis(30));
            assert!(!second.is_finished(), "waits");
            let mut first = first;
            first.add(vec![line("a", "1")]).unwrap();
            drop(first);
            assert!(second.join().unwrap(), "and then finds what the first was told");
        });
    }
}

//! The Hub's cache on this machine, as hf-hub and Python's huggingface_hub lay it out ("Manage huggingface_hub cache-system"), which share it:
//!
//! ```text
//! models--ORG--NAME/refs/REVISION             the commit that a branch or tag stood for; none for a commit itself
//! models--ORG--NAME/snapshots/COMMIT/FILE     a link to the blob
//! models--ORG--NAME/blobs/ETAG                contents
//! .locks/models--ORG--NAME.dxlab.lock         held by the one process that downloads
//! ```
use crate::error::{Error, Result};
use hf_hub::{Cache, CacheRepo};
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

/// The folder of one model.
pub struct Repo {
    root: PathBuf,
    folder: String,
    places: CacheRepo,
}

impl Repo {
    /// `root` is the cache's folder, `id` is `org/name`.
    pub fn new(root: &Path, id: &str) -> Self {
        let repo = hf_hub::Repo::model(id.into());
        Self { root: root.into(), folder: repo.folder_name(), places: Cache::new(root.into()).repo(repo) }
    }

    fn at(&self, kind: &str) -> PathBuf {
        self.root.join(&self.folder).join(kind)
    }

    /// The commit that a revision stands for here: the one of its ref, or the revision itself where a snapshot has its name.
    pub fn commit(&self, revision: &str) -> Option<String> {
        let noted = std::fs::read_to_string(self.at("refs").join(revision)).ok();
        let noted = noted.map(|text| text.trim().to_string()).filter(|commit| is_commit(commit));
        noted.or_else(|| (is_commit(revision) && self.snapshot(revision).is_dir()).then(|| revision.into()))
    }

    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.places.pointer_path(commit)
    }

    /// Commits that there is a snapshot of, sorted.
    pub fn commits(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.at("snapshots")).into_iter().flatten().flatten();
        let mut commits: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        commits.sort();
        commits
    }

    /// Notes that a branch or tag stands for a commit.
    pub fn note(&self, revision: &str, commit: &str) -> Result<()> {
        if revision == commit {
            return Ok(());
        }
        let path = self.at("refs").join(revision);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        }
        crate::io::write(&path, commit.as_bytes())
    }

    /// Where contents with this tag lie.
    pub fn blob(&self, etag: &str) -> PathBuf {
        self.places.blob_path(etag)
    }

    /// Where a file of a commit lies while it arrives.
    pub fn part(&self, commit: &str, name: &str) -> PathBuf {
        self.at("blobs").join(format!("{commit}.{name}.part"))
    }

    /// Makes a blob a file of a snapshot: by a link, or by moving it where links cannot be made.
    pub fn link(&self, etag: &str, commit: &str, name: &str) -> Result<PathBuf> {
        let folder = self.snapshot(commit);
        std::fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        let path = folder.join(name);
        if path.symlink_metadata().is_ok() {
            std::fs::remove_file(&path).map_err(Error::io(&path))?; // a link to a blob that is gone
        }
        #[cfg(unix)]
        let linked = std::os::unix::fs::symlink(Path::new("../../blobs").join(etag), &path);
        #[cfg(not(unix))]
        let linked = Err(std::io::Error::from(std::io::ErrorKind::Unsupported));
        linked.or_else(|_| std::fs::rename(self.blob(etag), &path)).map_err(Error::io(&path))?;
        Ok(path)
    }

    /// Waits until no other process downloads this model; others wait while the file is held.
    pub fn lock(&self) -> Result<File> {
        let path = self.root.join(".locks").join(format!("{}.dxlab.lock", self.folder));
        for folder in [path.parent().unwrap_or(&self.root).to_path_buf(), self.at("blobs")] {
            std::fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        }
        let lock = OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(Error::io(&path))?;
        lock.lock().map_err(Error::io(&path))?;
        Ok(lock)
    }
}

/// A commit: it names a folder and leads nowhere else.
pub fn is_commit(name: &str) -> bool {
    !name.is_empty() && name.len() < 200 && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
}

/// A tag that can name a file and leads nowhere else.
pub fn is_tag(name: &str) -> bool {
    let odd = |c: char| c.is_control() || "/\\:*?\"<>|".contains(c);
    !name.is_empty() && name.len() < 200 && !name.starts_with('.') && !name.contains(odd)
}

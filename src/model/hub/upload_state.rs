//! What is remembered of an upload that was cut: the links that storage gave for the parts of a file, and the parts it has.
//!
//! A part belongs to one upload of the storage, so its links are kept with it: a second list of links would begin another upload. They
//! are signed and let their holder write that one file, so the state is readable by its owner only, and goes when the upload is over.
use crate::error::{Error, Result};
use crate::io;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A file's upload in parts.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Begun {
    /// `actions` of the hub's answer.
    pub actions: Value,
    /// Tags of the parts that storage has acknowledged, by number.
    pub parts: BTreeMap<u64, String>,
}

#[derive(Default, Deserialize, Serialize)]
struct Kept {
    /// Endpoint and repository: another one's links are of no use.
    place: String,
    /// By SHA-256 of the file.
    files: BTreeMap<String, Begun>,
}

pub struct UploadState {
    path: PathBuf,
    kept: Kept,
}

impl UploadState {
    /// As it was left; empty where there is none, or one of another place.
    pub fn open(path: &Path, place: &str) -> Self {
        let read = std::fs::read(path).ok().and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok());
        let kept = read.filter(|kept| kept.place == place);
        let kept = kept.unwrap_or_else(|| Kept { place: place.into(), ..Kept::default() });
        Self { path: path.into(), kept }
    }

    pub fn begun(&self, oid: &str) -> Option<Begun> {
        self.kept.files.get(oid).cloned()
    }

    pub fn note(&mut self, oid: &str, begun: &Begun) -> Result<()> {
        self.kept.files.insert(oid.into(), begun.clone());
        self.write()
    }

    pub fn forget(&mut self, oid: &str) -> Result<()> {
        match self.kept.files.remove(oid) {
            Some(_) => self.write(),
            None => Ok(()),
        }
    }

    /// The upload is over.
    pub fn remove(self) -> Result<()> {
        match std::fs::remove_file(&self.path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(&self.path)(e)),
            _ => Ok(()),
        }
    }

    fn write(&self) -> Result<()> {
        let bytes = serde_json::to_vec(&self.kept).map_err(|e| Error::failed(format!("state of the upload: {e}")))?;
        io::write_beside(&self.path, |part| {
            use std::io::Write;
            let mut options = std::fs::OpenOptions::new();
            options.create(true).write(true).truncate(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let mut file = options.open(part).map_err(Error::io(part))?;
            file.write_all(&bytes).map_err(Error::io(part))
        })
    }
}

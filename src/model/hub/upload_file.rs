//! A file of an upload: bytes, or a file of this machine that is read piece by piece.
use crate::error::{Error, Result};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// What is in a file of an upload.
#[derive(Clone, Debug)]
pub enum Content {
    Bytes(Vec<u8>),
    /// A file of this machine; it must not change meanwhile.
    File(PathBuf),
}

#[derive(Clone, Debug)]
pub struct UploadFile {
    /// Its name in the repository.
    pub name: String,
    pub content: Content,
}

impl UploadFile {
    /// In bytes.
    pub fn size(&self) -> Result<u64> {
        match &self.content {
            Content::Bytes(bytes) => Ok(bytes.len() as u64),
            Content::File(path) => Ok(std::fs::metadata(path).map_err(Error::io(path))?.len()),
        }
    }

    /// `length` bytes from `start` on.
    pub(super) fn open(&self, start: u64, length: u64) -> Result<Box<dyn Read>> {
        match &self.content {
            Content::Bytes(bytes) => {
                let mut read = std::io::Cursor::new(bytes.clone());
                read.set_position(start);
                Ok(Box::new(read.take(length)))
            }
            Content::File(path) => {
                let mut file = std::fs::File::open(path).map_err(Error::io(path))?;
                file.seek(SeekFrom::Start(start)).map_err(Error::io(path))?;
                Ok(Box::new(file.take(length)))
            }
        }
    }

    pub(super) fn read(&self, length: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open(0, length)?.read_to_end(&mut bytes).map_err(Error::io(Path::new(&self.name)))?;
        Ok(bytes)
    }

    pub(super) fn sha256(&self) -> Result<String> {
        let mut whole = self.open(0, u64::MAX)?;
        crate::io::sha256_of(&mut whole).map_err(Error::io(Path::new(&self.name)))
    }
}

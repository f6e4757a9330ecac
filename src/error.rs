//! One error type. `Input` is for anything the user can mend (exit code 2); the rest is exit code 1.
//!
//! A message says what was wanted, what was got, where (file, row, tensor) and what to do next; lower case, no full stop.
use std::path::{Path, PathBuf};

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something given to dxlab is wrong: a file, a row, a flag, a tensor.
    #[error("{0}")]
    Input(String),
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("tensor operation failed: {0}")]
    Tensor(#[from] candle_core::Error),
    #[error("{0}")]
    Failed(String),
}

impl Error {
    pub fn input(message: impl Into<String>) -> Self {
        Self::Input(message.into())
    }
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }
    /// For `map_err(Error::io(path))`: a file that is missing or not what it should be is the user's to mend, anything else is not.
    pub fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        use std::io::ErrorKind::{InvalidData, InvalidFilename, IsADirectory, NotADirectory, NotFound};
        let path = path.to_path_buf();
        move |source| match source.kind() {
            NotFound => Self::Input(format!("no such file or folder: {}", path.display())),
            InvalidData | InvalidFilename | IsADirectory | NotADirectory => {
                Self::Input(format!("{}: {source}", path.display()))
            }
            _ => Self::Io { path, source },
        }
    }
    pub fn exit_code(&self) -> u8 {
        if matches!(self, Self::Input(_)) { 2 } else { 1 }
    }
}

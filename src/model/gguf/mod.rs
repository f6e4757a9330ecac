//! GGUF, llama.cpp's file format: read as a base model, written as an export; tokenizers of every family in `tokens`.
mod header;
mod kinds;
mod names;
mod read;
mod tokens;
mod write;

pub use kinds::Kind;
pub use read::Gguf;
pub(super) use tokens::{ENDS, of_file};
pub use write::{Contents, Quality, Written, write};

#[cfg(test)]
mod tests;

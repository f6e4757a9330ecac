//! GGUF, llama.cpp's file format, for Qwen3: read as a base model, written as an export.
mod header;
mod kinds;
mod names;
mod read;
mod tokens;
mod write;

pub use kinds::Kind;
pub use read::Gguf;
pub use write::{Contents, Quality, Written, write};

#[cfg(test)]
mod tests;

//! GGUF, llama.cpp's file format: read as a base model, written as an export. Architectures `llama` (Llama, Mistral),
//! `qwen2`, `qwen3`.
mod description;
mod header;
mod kinds;
mod metadata;
mod names;
mod read;
mod rows;
mod tokens;
mod write;

pub use kinds::Kind;
pub use read::Gguf;
pub use write::{Contents, Quality, Written, write};

#[cfg(test)]
mod tests;

//! GGUF, llama.cpp's file format: read as a base model, written as an export. Architectures `llama` (Llama, Mistral), `qwen2`, `qwen3`; their
//! tokenizers in `tokens`.
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
pub(super) use tokens::{ENDS, of_file};
pub use write::{Contents, Quality, Written, write};

#[cfg(test)]
mod tests;

//! Adapters: LoRA on any linear layers, in PEFT's file format.
mod config;
mod lora;

pub use config::AdapterConfig;
pub use lora::{Adapter, Mode};

#[cfg(test)]
mod tests;

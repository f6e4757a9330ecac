//! Adapters: LoRA, rsLoRA, DoRA and PiSSA on any linear layers, in PEFT's file format.
mod config;
mod dora;
mod lora;
mod pissa;

pub use config::{ALL_LINEAR, AdapterConfig, Init, Layers, Patterns, Targets};
pub use lora::{Adapter, Mode, Noise};

#[cfg(test)]
mod family_tests;
#[cfg(test)]
mod tests;

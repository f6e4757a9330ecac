//! From a checkpoint to a model.
use super::Qwen3;
use crate::error::Result;
use crate::model::{Checkpoint, Keep};
use candle_core::Var;
use std::collections::BTreeMap;

impl Qwen3 {
    /// Reads a Hugging Face folder or a GGUF file in f32 (blocks stay blocks); every tensor of the checkpoint must be one of the model's.
    pub fn load(dir: &std::path::Path) -> Result<Self> {
        Self::load_as(dir, Keep::F32)
    }

    /// As `load`, keeping the weights in memory as `keep` says.
    pub fn load_as(dir: &std::path::Path, keep: Keep) -> Result<Self> {
        let checkpoint = Checkpoint::open(dir)?;
        let model = Self::new(checkpoint.config(), &mut |name, shape| checkpoint.weight(name, shape, keep))?;
        checkpoint.finish()?;
        Ok(model)
    }

    /// As `load`, with every weight a variable, by its checkpoint name.
    pub fn load_to_train(dir: &std::path::Path) -> Result<(Self, BTreeMap<String, Var>)> {
        let checkpoint = Checkpoint::open(dir)?;
        let mut parameters = BTreeMap::new();
        let model = Self::new(checkpoint.config(), &mut |name, shape| {
            let var = Var::from_tensor(&checkpoint.tensor(name, shape)?)?;
            parameters.insert(name.to_string(), var.clone());
            Ok(var.as_tensor().clone().into())
        })?;
        checkpoint.finish()?;
        Ok((model, parameters))
    }
}

//! From a checkpoint to a model.
use super::CausalLm;
use crate::error::Result;
use crate::model::{Checkpoint, Precision};
use candle_core::{Device, Var};
use std::collections::BTreeMap;
use std::path::Path;

impl CausalLm {
    /// Reads a Hugging Face folder or a GGUF file onto `device`; every tensor of the checkpoint must be one of the
    /// model's.
    pub fn load(place: &Path, precision: Precision, device: &Device) -> Result<Self> {
        let checkpoint = Checkpoint::open(place)?;
        let model = Self::new(checkpoint.config(), &mut |name, shape| {
            checkpoint.weight(name, shape, precision)?.to_device(device).map_err(Into::into)
        })?;
        checkpoint.finish()?;
        Ok(model)
    }

    /// As `load` in f32, with every weight a variable, by its checkpoint name.
    pub fn load_to_train(place: &Path, device: &Device) -> Result<(Self, BTreeMap<String, Var>)> {
        let checkpoint = Checkpoint::open(place)?;
        let mut parameters = BTreeMap::new();
        let model = Self::new(checkpoint.config(), &mut |name, shape| {
            let var = Var::from_tensor(&checkpoint.tensor(name, shape)?.to_device(device)?)?;
            parameters.insert(name.to_string(), var.clone());
            Ok(var.as_tensor().clone().into())
        })?;
        checkpoint.finish()?;
        Ok((model, parameters))
    }
}

//! From a checkpoint to a model.
use super::CausalLm;
use crate::error::{Error, Result};
use crate::model::{Checkpoint, Precision, Weight};
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

    /// `count` models of one checkpoint that share its weights in memory: each may get an adapter of its own.
    pub fn load_sharing(place: &Path, precision: Precision, device: &Device, count: usize) -> Result<Vec<Self>> {
        let checkpoint = Checkpoint::open(place)?;
        let mut weights = BTreeMap::new();
        let first = Self::new(checkpoint.config(), &mut |name, shape| {
            let weight: Weight = checkpoint.weight(name, shape, precision)?.to_device(device)?;
            weights.insert(name.to_string(), weight.clone());
            Ok(weight)
        })?;
        checkpoint.finish()?;
        let again = |name: &str| weights.get(name).cloned().ok_or_else(|| Error::failed(format!("no tensor {name}")));
        let mut models = vec![first];
        while models.len() < count {
            models.push(Self::new(checkpoint.config(), &mut |name, _| again(name))?);
        }
        Ok(models)
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

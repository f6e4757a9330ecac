//! y = x Wᵀ + (α/r) · (x Aᵀ) Bᵀ      LoRA (Hu et al. 2022); B starts at 0, so step 0 is the base model
//!
//! The life of an adapter in order: `new` or `load`, `attach`, `save`. Files are PEFT's: tensors are named
//! `base_model.model.<layer>.lora_A.weight` [r, k] and `….lora_B.weight` [n, r].
use super::config::AdapterConfig;
use crate::error::{Error, Result};
use crate::model::ops::linear;
use crate::model::{Delta, Qwen3, tensors};
use candle_core::{DType, Device, Tensor, Var};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Whether the adapter's tensors are recorded for a gradient.
#[derive(Clone, Copy, PartialEq)]
pub enum Mode {
    Train,
    Infer,
}

pub struct Adapter {
    pub config: AdapterConfig,
    /// By PEFT tensor name.
    parameters: BTreeMap<String, Var>,
}

struct Lora {
    a: Tensor,
    b: Tensor,
    scale: f64,
}

impl Delta for Lora {
    fn apply(&self, x: &Tensor, _weight: &Tensor, base: Tensor) -> Result<Tensor> {
        let update = linear(&linear(x, &self.a)?, &self.b)?;
        Ok((base + (update * self.scale)?)?)
    }
}

fn names(linear: &str) -> [String; 2] {
    ["A", "B"].map(|part| format!("base_model.model.{linear}.lora_{part}.weight"))
}

/// Name and [n, k] of every layer of `model` that `config` adapts.
fn adapted(config: &AdapterConfig, model: &mut Qwen3) -> Result<Vec<(String, (usize, usize))>> {
    let mut found = Vec::new();
    for linear in model.linears_mut().filter(|l| config.targets(&l.name)) {
        found.push((linear.name.clone(), linear.weight.dims2()?));
    }
    match config.target_modules.iter().find(|t| !found.iter().any(|(n, _)| n.ends_with(t.as_str()))) {
        Some(t) => Err(Error::input(format!("target module `{t}` matches no linear layer of the model"))),
        None => Ok(found),
    }
}

impl Adapter {
    /// A fresh adapter for `model`: A uniform in ±1/√k as in PEFT, B zero.
    pub fn new(config: AdapterConfig, model: &mut Qwen3, seed: u64) -> Result<Self> {
        config.supported().map_err(Error::input)?;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut parameters = BTreeMap::new();
        for (name, (n, k)) in adapted(&config, model)? {
            let [a, b] = names(&name);
            let bound = (k as f32).powf(-0.5);
            let draws: Vec<f32> = (0..config.r * k).map(|_| rng.random_range(-bound..bound)).collect();
            parameters.insert(a, Var::from_vec(draws, (config.r, k), &Device::Cpu)?);
            parameters.insert(b, Var::zeros((n, config.r), DType::F32, &Device::Cpu)?);
        }
        Ok(Self { config, parameters })
    }

    /// Strict: unknown, missing, misshapen or non-finite tensors are errors that name the tensor.
    pub fn load(dir: &Path, model: &mut Qwen3) -> Result<Self> {
        let config = AdapterConfig::read(dir)?;
        let path = dir.join("adapter_model.safetensors");
        let mut found = tensors::read(&path)?;
        let mut parameters = BTreeMap::new();
        for (layer, (n, k)) in adapted(&config, model)? {
            for (name, want) in names(&layer).into_iter().zip([[config.r, k], [n, config.r]]) {
                let Some(t) = found.remove(&name) else {
                    return Err(Error::input(format!("{}: tensor `{name}` is missing", path.display())));
                };
                if t.dims() != want {
                    return Err(Error::input(format!(
                        "{}: tensor `{name}` has shape {:?}, expected {want:?}; was the adapter made for another model or rank?",
                        path.display(),
                        t.dims()
                    )));
                }
                let t = t.to_dtype(DType::F32)?;
                if !t.abs()?.sum_all()?.to_scalar::<f32>()?.is_finite() {
                    return Err(Error::input(format!("{}: tensor `{name}` holds NaN or infinity", path.display())));
                }
                parameters.insert(name, Var::from_tensor(&t)?);
            }
        }
        match found.keys().next() {
            Some(name) => Err(Error::input(format!(
                "{}: unknown tensor `{name}`; does target_modules in adapter_config.json list its layer?",
                path.display()
            ))),
            None => Ok(Self { config, parameters }),
        }
    }

    /// Puts the adapter on its layers of `model`; replaces whatever was there.
    pub fn attach(&self, model: &mut Qwen3, mode: Mode) -> Result<()> {
        let tensor = |name: &str| -> Result<Tensor> {
            let var =
                self.parameters.get(name).ok_or_else(|| Error::failed(format!("no tensor `{name}` in the adapter")))?;
            Ok(if mode == Mode::Train { var.as_tensor().clone() } else { var.as_detached_tensor() })
        };
        for layer in model.linears_mut().filter(|l| self.config.targets(&l.name)) {
            let [a, b] = names(&layer.name);
            layer.delta = Some(Arc::new(Lora { a: tensor(&a)?, b: tensor(&b)?, scale: self.config.scale() }));
        }
        Ok(())
    }

    /// The tensors to train, by PEFT name.
    pub fn parameters(&self) -> &BTreeMap<String, Var> {
        &self.parameters
    }

    /// Writes `adapter_config.json` and `adapter_model.safetensors` (f32) for `peft`, vLLM and others.
    pub fn save(&self, dir: &Path) -> Result<()> {
        std::fs::create_dir_all(dir).map_err(Error::io(dir))?;
        let all = self.parameters.iter().map(|(n, v)| (n.clone(), v.as_detached_tensor())).collect();
        tensors::write(&dir.join("adapter_model.safetensors"), &all, DType::F32)?;
        let path = dir.join("adapter_config.json");
        let text = serde_json::to_string_pretty(&self.config).map_err(|e| Error::failed(e.to_string()))?;
        let beside = dir.join("adapter_config.json.writing");
        std::fs::write(&beside, text + "\n").map_err(Error::io(&beside))?;
        std::fs::rename(&beside, &path).map_err(Error::io(&path))
    }
}

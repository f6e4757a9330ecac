//! The low-rank family on frozen linear layers, in PEFT's files:
//!
//! ```text
//! LoRA     y = x Wᵀ + s · (D(x) Aᵀ) Bᵀ                 s = α/r (Hu et al. 2022), α/√r for rsLoRA; D: dropout
//! DoRA     y = (m / ‖W + s BA‖) ⊙ x (W + s BA)ᵀ         norm of every row, outside the gradient (Liu et al. 2024, §4.3)
//! PiSSA    y = x (W − s B₀A₀)ᵀ + s · (x Aᵀ) Bᵀ          A₀, B₀: the largest singular directions of W (Meng et al. 2024)
//! ```
//! Every one of them starts as the base model. The life of an adapter in order: `new` or `load`, `attach`, `merged`, `save`. Tensors are
//! named `base_model.model.<layer>.lora_A.weight` [r, k], `….lora_B.weight` [n, r] and `….lora_magnitude_vector` [n].
use super::config::AdapterConfig;
use super::dora::{magnitudes, norms};
use super::pissa;
use crate::error::{Error, Result};
use crate::io;
use crate::model::ops::{Dropout, LowRank, adapted_linear, dropout, key, linear, scale_columns};
use crate::model::{CausalLm, Config, Delta, Weight, tensors};
use candle_core::{DType, Device, Tensor, Var};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
    /// A₀ and B₀ by layer, with PiSSA.
    start: BTreeMap<String, (Tensor, Tensor)>,
    noise: Arc<Noise>,
}

/// What dropout draws from: a key a micro-batch, so that a recomputed or resumed step sees the same masks. Off until set.
#[derive(Default)]
pub struct Noise(AtomicU64);

impl Noise {
    /// `parts`: whatever tells this micro-batch from all others (seed, update, place in the update).
    pub fn set(&self, parts: &[u64]) {
        self.0.store(key(parts).max(1), Ordering::Relaxed);
    }
    pub fn off(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
    fn key(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|&key| key != 0)
    }
}

struct Adapted {
    a: Tensor,
    b: Tensor,
    scale: f64,
    start: Option<(Tensor, Tensor)>,
    magnitude: Option<Magnitude>,
    dropout: Option<(f32, u64, Arc<Noise>)>,
}

enum Magnitude {
    /// m [n], and ‖w_i‖² of every row.
    AdapterSection(Tensor, Vec<f64>),
    /// m / ‖W + s BA‖, once and for all.
    Fixed(Tensor),
}

impl Delta for Adapted {
    fn forward(&self, x: &Tensor, weight: &Weight) -> Result<Tensor> {
        let drop = self
            .dropout
            .as_ref()
            .and_then(|(p, layer, noise)| noise.key().map(|step| Dropout { p: *p, key: key(&[step, *layer]) }));
        let low = |dropout| LowRank { a: &self.a, b: &self.b, scale: self.scale, dropout, start: self.start.clone() };
        let by = match &self.magnitude {
            None => return Ok(adapted_linear(x, weight, &low(drop))?),
            Some(Magnitude::Fixed(by)) => by.clone(),
            Some(Magnitude::AdapterSection(m, squares)) => (m / norms(weight, squares, &self.a, &self.b, self.scale)?)?,
        };
        match drop {
            None => Ok(scale_columns(&adapted_linear(x, weight, &low(None))?, &by)?),
            Some(drop) => {
                // as PEFT: what the magnitudes add sees the dropped input, the base the whole one
                let dropped = dropout(x, drop)?;
                let scaled = scale_columns(&adapted_linear(&dropped, weight, &low(None))?, &by)?;
                Ok((linear(&(x - dropped)?, weight)? + scaled)?)
            }
        }
    }
}

fn names(linear: &str) -> [String; 2] {
    ["A", "B"].map(|part| format!("base_model.model.{linear}.lora_{part}.weight"))
}

fn magnitude_name(linear: &str) -> String {
    format!("base_model.model.{linear}.lora_magnitude_vector")
}

/// The last parts of the names of linear layers, each once, in their order.
fn parts<'a>(linears: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for part in linears.filter_map(|name| name.rsplit('.').next()) {
        if !out.iter().any(|known| known == part) {
            out.push(part.to_string());
        }
    }
    out
}

/// Name and weight of every layer of `model` that `config` adapts.
fn adapted(config: &AdapterConfig, model: &mut CausalLm) -> Result<Vec<(String, Weight)>> {
    let found: Vec<_> = (model.linears_mut().filter(|l| config.targets(&l.name)))
        .map(|linear| (linear.name.clone(), linear.weight.clone()))
        .collect();
    let layers = model.config.num_hidden_layers;
    let all: Vec<String> = model.linears_mut().map(|linear| linear.name.clone()).collect();
    let known = all.iter().map(String::as_str);
    match config.unmatched(known.clone(), found.is_empty(), layers) {
        Some(what) => Err(Error::input(format!(
            "{what} matches no linear layer of a block, and only these are adapted ({})",
            parts(known).join(", ")
        ))),
        None => Ok(found),
    }
}

fn idle_exclusion(config: &AdapterConfig, model: &mut CausalLm) -> Option<String> {
    let all: Vec<String> = model.linears_mut().map(|linear| linear.name.clone()).collect();
    config.idle_exclusion(all.iter().map(String::as_str))
}

/// As `adapted`, for an adapter that is to be made: fails for a rank that is of no use in a layer, and names it.
fn to_adapt(config: &AdapterConfig, model: &mut CausalLm) -> Result<Vec<(String, Weight)>> {
    config.supported().map_err(Error::input)?;
    let layers = adapted(config, model)?;
    if let Some(idle) = config.idle_pattern(layers.iter().map(|(name, _)| name.as_str())) {
        return Err(Error::input(format!("{idle} matches no layer that is adapted: it would have no effect")));
    }
    if let Some(idle) = idle_exclusion(config, model) {
        return Err(Error::input(format!("{idle} matches no module of the model: nothing would be excluded by it")));
    }
    for (name, weight) in &layers {
        let ((n, k), r) = (weight.dims()?, config.rank(name));
        let (most, why) = match config.pissa() {
            Some(_) => (n.min(k), "PiSSA starts from singular directions, of which there are no more"),
            None => (n.max(k), "more would take more numbers than two such matrices hold"),
        };
        if r > most {
            return Err(Error::input(format!("r is {r} for `{name}` [{n}, {k}], expected at most {most}: {why}")));
        }
    }
    Ok(layers)
}

/// A model without numbers: one zero seen as every matrix.
fn shape_only(model: &Config) -> Result<CausalLm> {
    let zero = |shape: &[usize]| Tensor::zeros(1, DType::F32, &Device::Cpu)?.broadcast_as(shape);
    CausalLm::new(model, &mut |_, shape| Ok(zero(shape)?.into()))
}

impl Adapter {
    /// A fresh adapter for `model`, by `config.init_lora_weights`: A uniform in ±1/√k as in PEFT and B zero, or PiSSA's directions.
    pub fn new(config: AdapterConfig, model: &mut CausalLm, seed: u64) -> Result<Self> {
        let (mut rng, device) = (ChaCha8Rng::seed_from_u64(seed), model.device().clone());
        let (mut parameters, mut start) = (BTreeMap::new(), BTreeMap::new());
        for (name, weight) in to_adapt(&config, model)? {
            let ((n, k), r) = (weight.dims()?, config.rank(&name));
            let [a_name, b_name] = names(&name);
            let (a, b) = match config.pissa() {
                Some(iterations) => {
                    let (a, b) = pissa::directions(&weight, r, config.scale(&name), iterations, &mut rng)?;
                    let (a, b) = (a.to_device(&device)?, b.to_device(&device)?);
                    start.insert(name.clone(), (a.clone(), b.clone()));
                    (Var::from_tensor(&a)?, Var::from_tensor(&b)?)
                }
                None => {
                    let bound = (k as f32).powf(-0.5);
                    let draws: Vec<f32> = (0..r * k).map(|_| rng.random_range(-bound..bound)).collect();
                    (Var::from_vec(draws, (r, k), &device)?, Var::zeros((n, r), DType::F32, &device)?)
                }
            };
            if config.use_dora {
                parameters.insert(magnitude_name(&name), Var::from_tensor(&magnitudes(&weight)?.to_device(&device)?)?);
            }
            parameters.insert(a_name, a);
            parameters.insert(b_name, b);
        }
        Ok(Self { config, parameters, start, noise: Arc::default() })
    }

    /// Keeps where PiSSA starts: A₀ and B₀ are written to `path`, or taken from it if they are there. Made again on another processor they
    /// could differ in their last bits, and a resumed run from one that was left alone. Call it before `attach`.
    pub fn keep_start(&mut self, path: &Path) -> Result<()> {
        if self.start.is_empty() {
            return Ok(());
        }
        if !path.is_file() {
            let named = self.start.iter().flat_map(|(layer, (a, b))| names(layer).into_iter().zip([a, b]));
            let all = named.map(|(name, tensor)| (name, tensor.clone())).collect();
            return tensors::write(path, &all, DType::F32);
        }
        let mut found = tensors::read(path)?;
        for (layer, (a, b)) in &mut self.start {
            for (name, start) in names(layer).into_iter().zip([a, b]) {
                *start = take(&mut found, path, &name, start.dims())?.to_device(start.device())?;
                if let Some(var) = self.parameters.get(&name) {
                    var.set(start)?;
                }
            }
        }
        Ok(())
    }

    /// Strict: unknown, missing, misshapen or non-finite tensors are errors that name the tensor.
    pub fn load(dir: &Path, model: &mut CausalLm) -> Result<Self> {
        let config = AdapterConfig::read(dir)?;
        let path = dir.join("adapter_model.safetensors");
        let mut found = tensors::read(&path)?;
        let (mut parameters, layers) = (BTreeMap::new(), adapted(&config, model)?);
        if let Some(idle) = config.idle_pattern(layers.iter().map(|(name, _)| name.as_str())) {
            eprintln!("{}: {idle} matches no layer that is adapted and has no effect", dir.display());
        }
        if let Some(idle) = idle_exclusion(&config, model) {
            eprintln!("{}: {idle} matches no module of the model and excludes nothing", dir.display());
        }
        for (layer, weight) in layers {
            let ((n, k), r) = (weight.dims()?, config.rank(&layer));
            let [a, b] = names(&layer);
            let mut wanted = vec![(a, vec![r, k]), (b, vec![n, r])];
            if config.use_dora {
                wanted.push((magnitude_name(&layer), vec![n]));
            }
            for (name, shape) in wanted {
                let t = take(&mut found, &path, &name, &shape)?.to_device(model.device())?;
                parameters.insert(name, Var::from_tensor(&t)?);
            }
        }
        match found.keys().next() {
            Some(name) => Err(Error::input(format!(
                "{}: unknown tensor `{name}`; do target_modules and use_dora in adapter_config.json fit?",
                path.display()
            ))),
            None => Ok(Self { config, parameters, start: BTreeMap::new(), noise: Arc::default() }),
        }
    }

    /// As `load`, for a model of which only the config is at hand: for folding the adapter in, tensor by tensor.
    pub fn load_for(dir: &Path, model: &Config) -> Result<Self> {
        Self::load(dir, &mut shape_only(model)?)
    }

    /// Numbers that an adapter of this config trains on a model of this shape.
    pub fn numbers(config: &AdapterConfig, model: &Config) -> Result<usize> {
        let of = |(name, weight): (String, Weight)| {
            let ((n, k), r) = (weight.dims()?, config.rank(&name));
            Ok(r * (n + k) + if config.use_dora { n } else { 0 })
        };
        to_adapt(config, &mut shape_only(model)?)?.into_iter().map(of).sum()
    }

    /// The linear layers of a model of this shape that an adapter of this config is on in no block, by the last part of their names.
    pub fn left_out(config: &AdapterConfig, model: &Config) -> Result<Vec<String>> {
        let mut model = shape_only(model)?;
        let all: Vec<String> = model.linears_mut().map(|linear| linear.name.clone()).collect();
        let adapted = parts(all.iter().map(String::as_str).filter(|name| config.targets(name)));
        let mut out = parts(all.iter().map(String::as_str));
        out.retain(|part| !adapted.contains(part));
        Ok(out)
    }

    fn tensor(&self, name: &str, mode: Mode) -> Result<Tensor> {
        let var =
            self.parameters.get(name).ok_or_else(|| Error::failed(format!("no tensor `{name}` in the adapter")))?;
        Ok(if mode == Mode::Train { var.as_tensor().clone() } else { var.as_detached_tensor() })
    }

    /// Puts the adapter on its layers of `model`; replaces whatever was there.
    pub fn attach(&self, model: &mut CausalLm, mode: Mode) -> Result<()> {
        for (place, layer) in model.linears_mut().enumerate().filter(|(_, l)| self.config.targets(&l.name)) {
            let [a, b] = names(&layer.name);
            let (a, b, scale) = (self.tensor(&a, mode)?, self.tensor(&b, mode)?, self.config.scale(&layer.name));
            let magnitude = match (self.config.use_dora, mode) {
                (false, _) => None,
                (true, Mode::Train) => Some(Magnitude::AdapterSection(
                    self.tensor(&magnitude_name(&layer.name), mode)?,
                    layer.weight.row_squares()?,
                )),
                (true, Mode::Infer) => Some(Magnitude::Fixed(self.factors(&layer.name, &layer.weight)?)),
            };
            let p = self.config.lora_dropout as f32;
            let dropout = (p > 0.0 && mode == Mode::Train).then(|| (p, place as u64, Arc::clone(&self.noise)));
            let start = self.start.get(&layer.name).cloned();
            layer.delta = Some(Arc::new(Adapted { a, b, scale, start, magnitude, dropout }));
        }
        Ok(())
    }

    /// DoRA's m / ‖W + s BA‖ [n] as the parameters are now.
    fn factors(&self, layer: &str, weight: &Weight) -> Result<Tensor> {
        let [a, b] = names(layer);
        let (a, b) = (self.tensor(&a, Mode::Infer)?, self.tensor(&b, Mode::Infer)?);
        let norms = norms(weight, &weight.row_squares()?, &a, &b, self.config.scale(layer))?;
        Ok((self.tensor(&magnitude_name(layer), Mode::Infer)? / norms)?)
    }

    /// The one matrix [n, k], f32, that does what `layer` and its adapter do together; None where the layer is not adapted.
    pub fn merged(&self, layer: &str, weight: &Weight) -> Result<Option<Tensor>> {
        if !self.config.targets(layer) {
            return Ok(None);
        }
        let [a, b] = names(layer);
        let mut update = self.tensor(&b, Mode::Infer)?.matmul(&self.tensor(&a, Mode::Infer)?)?;
        if let Some((a, b)) = self.start.get(layer) {
            update = (update - b.matmul(a)?)?;
        }
        let merged = (weight.dense()? + (update * self.config.scale(layer))?)?;
        match self.config.use_dora {
            true => Ok(Some(merged.broadcast_mul(&self.factors(layer, weight)?.unsqueeze(1)?)?)),
            false => Ok(Some(merged)),
        }
    }

    /// The tensors to train, by PEFT name.
    pub fn parameters(&self) -> &BTreeMap<String, Var> {
        &self.parameters
    }

    /// True where training drops a part of the layers' inputs.
    pub fn drops(&self) -> bool {
        self.config.lora_dropout > 0.0
    }

    /// Where dropout takes its keys from.
    pub fn noise(&self) -> &Noise {
        &self.noise
    }

    /// Writes `adapter_config.json` and `adapter_model.safetensors` (f32) for `peft`, vLLM and others. A PiSSA adapter is written as the
    /// LoRA of twice the rank that goes with the untouched base: [B | −B₀] and [A ; A₀].
    pub fn save(&self, dir: &Path) -> Result<()> {
        std::fs::create_dir_all(dir).map_err(Error::io(dir))?;
        let mut all: BTreeMap<String, Tensor> =
            self.parameters.iter().map(|(n, v)| (n.clone(), v.as_detached_tensor())).collect();
        for (layer, (a0, b0)) in &self.start {
            let [a, b] = names(layer);
            let both = Tensor::cat(&[self.tensor(&a, Mode::Infer)?, a0.clone()], 0)?;
            all.insert(a, both);
            let both = Tensor::cat(&[self.tensor(&b, Mode::Infer)?, b0.neg()?], 1)?;
            all.insert(b, both);
        }
        let config = if self.start.is_empty() { self.config.clone() } else { self.config.converted() };
        tensors::write(&dir.join("adapter_model.safetensors"), &all, DType::F32)?;
        let path = dir.join("adapter_config.json");
        let text = serde_json::to_string_pretty(&config).map_err(|e| Error::failed(e.to_string()))?;
        io::write(&path, (text + "\n").as_bytes())
    }
}

/// Takes `name` out of `found`, in f32, if it is there, of the shape wanted and finite.
fn take(found: &mut BTreeMap<String, Tensor>, path: &Path, name: &str, shape: &[usize]) -> Result<Tensor> {
    let at = path.display();
    let Some(t) = found.remove(name) else {
        return Err(Error::input(format!("{at}: tensor `{name}` is missing")));
    };
    if t.dims() != shape {
        return Err(Error::input(format!(
            "{at}: tensor `{name}` has shape {:?}, expected {shape:?}; was the adapter made for another model or rank?",
            t.dims()
        )));
    }
    let t = t.to_dtype(DType::F32)?;
    if !t.abs()?.sum_all()?.to_scalar::<f32>()?.is_finite() {
        return Err(Error::input(format!("{at}: tensor `{name}` holds NaN or infinity")));
    }
    Ok(t)
}

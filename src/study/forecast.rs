//! What a training run will need, before its weights are there: `dxlab train CONFIG --dry-run`.
//!
//! The plan of batches follows from the config, so tokens are counted, not guessed. Time and memory are measured on models of the
//! config's own shape with random weights (those of the file, where the base is a GGUF file) and two and four layers, on the plan's longest
//! micro-batch, and extended to all layers: both grow by the same amount with every layer of its kind (adapted, above an adapted one, below
//! all adapted ones).
use super::config::{Learns, TrainConfig};
use super::environment::{peak_bytes, reset_peak, resident_bytes};
use super::experiment::{open_corpus, sequences};
use crate::adapter::{Adapter, Layers, Mode, Noise};
use crate::error::{Error, Result};
use crate::generate::{MAX_NEW, encoder_for};
use crate::model::{Checkpoint, Config, Keep, Qwen3, Tokenizer, resolve};
use crate::prompt::Prompt;
use crate::train::{Batch, Gradients, LoopConfig, Moments, Sequence, plan_times};
use candle_core::{DType, Device, Tensor, Var};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    pub name: String,
    pub what: String,
    pub parameters: usize,
    pub trainable: usize,
    pub training_cases: usize,
    pub validation_cases: usize,
    pub updates: usize,
    pub evaluations: usize,
    /// Read by the model in all updates.
    pub tokens: usize,
    /// Of the longest micro-batch.
    pub longest: usize,
    /// Of the whole run on this machine.
    pub seconds: f64,
    /// Highest resident memory of the process; None where the system does not tell.
    pub peak_bytes: Option<u64>,
}

/// Measured on a model of few layers.
#[derive(Clone, Copy)]
struct Probe {
    /// One forward and backward pass with its update, and one forward pass alone.
    step: f64,
    score: f64,
    peak: Option<u64>,
}

impl Forecast {
    pub fn of(config: &TrainConfig) -> Result<Self> {
        config.training.check()?;
        let dir = resolve(&config.model)?;
        let gguf = dir.is_file().then(|| Checkpoint::open(&dir)).transpose()?;
        let shape = match &gguf {
            Some(file) => file.config().clone(),
            None => Config::read(&dir)?,
        };
        let trainable = match config.adapter.adapter(&config.model)? {
            Some(adapter) => Adapter::numbers(&adapter, &shape)?,
            None => shape.parameters(),
        };
        let tokenizer = Arc::new(Tokenizer::open(&dir)?);
        let (corpus, context) = open_corpus(&config.corpus)?;
        let prompt = Prompt::named(&config.prompt, &context)?;
        let data = sequences(config, &corpus, &prompt, &encoder_for(tokenizer, &shape, MAX_NEW))?;
        let lengths: Vec<usize> = data.train.iter().map(|s| s.supervised.end.saturating_sub(1)).collect();
        let t = &config.training;
        let batches = plan_times(&lengths, &data.times, t.batch_tokens, t.seed);
        let tokens_of = |b: &Vec<usize>| b.iter().map(|&i| lengths[i]).sum::<usize>();
        let Some(longest) = batches.iter().max_by_key(|b| tokens_of(b)) else {
            return Err(Error::input("no sequence to learn from: the training set is empty"));
        };
        let batch: Vec<&Sequence> = longest.iter().map(|&i| &data.train[i]).collect();
        let start = resident_bytes();
        let cost = Cost::measure(config, &shape, gguf.as_ref(), &batch)?;
        let updates = batches.len().div_ceil(t.accumulate);
        let evaluations = updates.div_ceil(t.eval_every);
        let (tokens, longest) = (batches.iter().map(tokens_of).sum::<usize>(), tokens_of(longest));
        let valid: usize = data.valid.iter().map(|s| s.ids.len()).sum();
        let passes = |tokens: usize| tokens as f64 / longest as f64;
        let peak = start
            .filter(|_| cost.probes.iter().all(|p| p.peak.is_some()))
            .map(|start| start + cost.whole(&|p| p.peak.unwrap_or(start).saturating_sub(start) as f64) as u64);
        Ok(Self {
            name: config.name.clone(),
            what: describe(&config.adapter),
            parameters: shape.parameters(),
            trainable,
            training_cases: data.times.first().map_or(0, |epoch| epoch.iter().filter(|&&n| n > 0).count()),
            validation_cases: data.valid.len(),
            updates,
            evaluations,
            tokens,
            longest,
            seconds: cost.whole(&|p| p.step) * passes(tokens) + cost.whole(&|p| p.score) * passes(valid * evaluations),
            peak_bytes: peak,
        })
    }
}

fn describe(learns: &Learns) -> String {
    match learns.r {
        0 => learns.method.name().to_string(),
        r => format!("{} of rank {r}", learns.method.name()),
    }
}

/// What a whole model costs, as a sum of measurements.
struct Cost {
    probes: Vec<Probe>,
    /// Of the measurements, in their order.
    weights: Vec<f64>,
}

impl Cost {
    /// Models of four layers with all of them adapted, two, all but the middle, only the last. The last layer answers for supervised tokens
    /// alone, so a model of one layer is no measure of the others, and the last one counts as adapted everywhere.
    fn measure(config: &TrainConfig, shape: &Config, gguf: Option<&Checkpoint>, batch: &[&Sequence]) -> Result<Self> {
        let all = shape.num_hidden_layers;
        let chosen = config.adapter.layers.as_deref().map(|chosen| above_and_below(chosen, all));
        let kinds: Vec<(usize, Option<Vec<usize>>)> = match chosen {
            _ if all <= 4 => vec![(all, config.adapter.layers.clone())],
            None => vec![(2, None), (4, None)],
            Some(_) => vec![(2, None), (4, None), (4, Some(vec![0, 3])), (4, Some(vec![3]))],
        };
        let probes: Vec<Probe> =
            kinds.into_iter().map(|kind| probe(config, shape, gguf, kind, batch)).collect::<Result<_>>()?;
        Ok(Self { probes, weights: Self::weights(all, chosen) })
    }

    /// Adapted: (four − two)/2 a layer. One above an adapted layer: that − (four − middle)/2. One below all of them: that − (four − last)/3.
    fn weights(all: usize, chosen: Option<(usize, usize)>) -> Vec<f64> {
        if all <= 4 {
            return vec![1.0];
        }
        let more = (all - 4) as f64 / 2.0;
        let Some((above, below)) = chosen else { return vec![-more, 1.0 + more] };
        let (above, below) = (above as f64 / 2.0, below as f64 / 3.0);
        vec![-more, 1.0 + more - above - below, above, below]
    }

    fn whole(&self, of: &dyn Fn(&Probe) -> f64) -> f64 {
        self.probes.iter().zip(&self.weights).map(|(probe, weight)| weight * of(probe)).sum::<f64>().max(0.0)
    }
}

/// Layers without an adapter, the last one aside: above an adapted layer (they pass the gradient on), and below all of them.
fn above_and_below(chosen: &[usize], all: usize) -> (usize, usize) {
    let others = all.saturating_sub(1);
    let below = chosen.iter().copied().min().unwrap_or(0).min(others);
    (others - below - chosen.iter().filter(|&&i| i < others).count().min(others - below), below)
}

/// Three updates of a model with few layers, of which all or only some are adapted.
fn probe(
    config: &TrainConfig,
    shape: &Config,
    gguf: Option<&Checkpoint>,
    (layers, adapted): (usize, Option<Vec<usize>>),
    batch: &[&Sequence],
) -> Result<Probe> {
    crate::process::give_back(); // what the probe before has freed is no part of this one's peak
    reset_peak();
    let shape = Config { num_hidden_layers: layers, ..shape.clone() };
    let mut learns = config.adapter.adapter(&config.model)?;
    if let Some(adapter) = &mut learns {
        adapter.layers_to_transform = adapted.map(Layers::Some);
        adapter.rank_pattern.clear(); // may name layers that few layers do not have
    }
    let mut parameters = BTreeMap::new();
    let mut model = Qwen3::new(&shape, &mut |name, dims| {
        if let Some(file) = gguf {
            return file.weight(name, dims, config.weights);
        }
        let t = random(dims, config.weights)?;
        Ok(match learns {
            Some(_) => config.weights.weight(t),
            None => {
                let var = Var::from_tensor(&t)?;
                parameters.insert(name.to_string(), var.clone());
                var.as_tensor().clone().into()
            }
        })
    })?;
    let adapter = learns.map(|settings| Adapter::new(settings, &mut model, 0)).transpose()?;
    if let Some(adapter) = &adapter {
        adapter.attach(&mut model, Mode::Train)?;
        parameters = adapter.parameters().clone();
    }
    let (mut moments, mut steps) = (Moments::default(), Vec::new());
    for _ in 0..3 {
        let started = Instant::now();
        update(&config.training, &model, &parameters, adapter.as_ref().map(|a| a.noise()), &mut moments, batch)?;
        steps.push(started.elapsed().as_secs_f64());
    }
    let started = Instant::now();
    Batch::pack(batch.iter().copied()).score(&model)?;
    Ok(Probe {
        step: steps[1].min(steps[2]), // the first pays for page faults
        score: started.elapsed().as_secs_f64(),
        peak: peak_bytes(),
    })
}

fn update(
    config: &LoopConfig,
    model: &Qwen3,
    parameters: &BTreeMap<String, Var>,
    noise: Option<&Noise>,
    moments: &mut Moments,
    batch: &[&Sequence],
) -> Result<()> {
    noise.inspect(|n| n.set(&[config.seed]));
    let mut grads = Gradients::of(parameters);
    Batch::pack(batch.iter().copied()).backward(model, &config.loss, config.checkpointing, &mut grads)?;
    noise.inspect(|n| n.off());
    grads.finish(config.max_norm);
    moments.update(&config.adamw, &grads, 0.0)
}

/// Small numbers without pattern; norms 1.
fn random(dims: &[usize], keep: Keep) -> Result<Tensor> {
    if dims.len() == 1 {
        return Ok(Tensor::ones(dims, DType::F32, &Device::Cpu)?);
    }
    let number = |i: u64| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f32 / (1u64 << 24) as f32 - 0.5;
    let n = dims.iter().product::<usize>() as u64;
    match keep {
        Keep::F32 => Ok(Tensor::from_vec((0..n).map(|i| 0.05 * number(i)).collect::<Vec<f32>>(), dims, &Device::Cpu)?),
        Keep::Stored | Keep::Bf16 | Keep::Mixed => {
            let all: Vec<half::bf16> = (0..n).map(|i| half::bf16::from_f32(0.05 * number(i))).collect();
            Ok(Tensor::from_vec(all, dims, &Device::Cpu)?)
        }
    }
}

impl fmt::Display for Forecast {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let gib = |b: u64| b as f64 / (1u64 << 30) as f64;
        let time = match self.seconds {
            s if s < 120.0 => format!("{s:.0} s"),
            s if s < 7200.0 => format!("{:.1} min", s / 60.0),
            s => format!("{:.1} h", s / 3600.0),
        };
        let memory = self.peak_bytes.map_or("not known here".into(), |b| format!("{:.2} GiB at the peak", gib(b)));
        let cores = rayon::current_num_threads();
        writeln!(f, "{}: {}, {} of {} parameters learn", self.name, self.what, self.trainable, self.parameters)?;
        writeln!(f, "  cases    {} to learn from, {} to validate on", self.training_cases, self.validation_cases)?;
        writeln!(f, "  updates  {} over {} tokens, {} evaluations", self.updates, self.tokens, self.evaluations)?;
        writeln!(f, "  memory   {memory}; the longest micro-batch has {} tokens", self.longest)?;
        writeln!(f, "  time     {time} on this machine's {cores} cores")?;
        write!(f, "measured on two and four layers of this shape with random weights and extended to all")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_layers_tell_the_cost_of_all_of_every_kind() {
        // a base of 10, 5 for the last layer, 3 for an adapted layer, 2 for one above an adapted one, 1 below all of them
        let cost = |adapted: usize, above: usize, below: usize| 15.0 + (3 * adapted + 2 * above + below) as f64;
        let measured = [cost(1, 0, 0), cost(3, 0, 0), cost(1, 2, 0), cost(0, 0, 3)];
        let whole = |all, chosen: Option<&[usize]>| -> f64 {
            let weights = Cost::weights(all, chosen.map(|c| above_and_below(c, all)));
            weights.iter().zip(measured).map(|(w, m)| w * m).sum()
        };
        assert!((whole(28, None) - cost(27, 0, 0)).abs() < 1e-9);
        assert!((whole(28, Some(&[4, 7, 27])) - cost(2, 21, 4)).abs() < 1e-9);
        assert!((whole(28, Some(&[27])) - cost(0, 0, 27)).abs() < 1e-9);
        assert!((whole(28, Some(&(0..28).collect::<Vec<_>>())) - cost(27, 0, 0)).abs() < 1e-9);
    }
}

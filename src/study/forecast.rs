//! What a training run will need, before its weights are there: `dxlab train CONFIG --dry-run`.
//!
//! The plan of batches follows from the config, so tokens are counted, not guessed. Time and memory are measured on models of the
//! config's own shape with random weights (those of the file, where the base is a GGUF file) and two and four layers, by the trainer's own
//! steps on the plan's longest micro-batches that are learnt from at the same time, and extended to all layers: both grow by the same amount
//! with every layer of its kind (adapted, above an adapted one, below all adapted ones). Where layers with attention and recurrent ones take
//! turns, models of one and two rounds are measured instead.
use super::config::{AdapterSection, Method, TrainConfig};
use super::experiment::{Sequences, sequences};
use crate::adapter::{Adapter, Layers, Mode};
use crate::error::{Error, Result};
use crate::generate::encoder_for;
use crate::model::{CausalLm, Checkpoint, Config, Precision, Tokenizer, resolve};
use crate::prompt::Prompt;
use crate::run::{peak_bytes, reset_peak, resident_bytes};
use crate::task;
use crate::train::{Batch, LoopConfig, Moments, Schedule, Sequence, Trainer, plan_times, side_by_side};
use candle_core::{DType, Device, Tensor, Var};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
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
    /// Micro-batches that are learnt from at the same time, at most.
    pub at_a_time: usize,
    /// Of the whole run on this machine.
    pub seconds: f64,
    /// Highest resident memory of the process; None where the system does not tell.
    pub peak_bytes: Option<u64>,
    /// Of the two models that were measured.
    pub measured_layers: (usize, usize),
}

/// Measured on a model of few layers, in seconds and bytes.
#[derive(Clone, Copy)]
struct Probe {
    /// The gradients of the work's micro-batches.
    learn: f64,
    /// Moving the parameters, once an update.
    update: f64,
    /// A forward pass of the longest micro-batch alone.
    score: f64,
    peak: Option<u64>,
}

/// The work of a run, and the part of it that is measured.
struct Work<'a> {
    train: &'a [Sequence],
    updates: usize,
    /// Read by the model in all updates.
    tokens: usize,
    longest: Vec<usize>,
    /// The longest micro-batches that are learnt from at the same time; twice where more such follow in an update and sums of gradients
    /// are as large as the model, as those lie beside the next.
    measured: Vec<Vec<usize>>,
    at_a_time: usize,
}

impl<'a> Work<'a> {
    fn of(config: &TrainConfig, data: &'a Sequences) -> Result<Self> {
        let (train, t) = (data.train.as_slice(), &config.training);
        let lengths: Vec<usize> = train.iter().map(read).collect();
        let batches = plan_times(&lengths, &data.times, t.batch_tokens, t.seed);
        let threads = side_by_side(config.adapter.dropout > 0.0);
        let groups = batches.chunks(t.accumulate).flat_map(|update| update.chunks(threads));
        let group = groups.max_by_key(|group| group.iter().map(|b| tokens(train, b)).sum::<usize>());
        let longest = batches.iter().max_by_key(|b| tokens(train, b));
        let (Some(group), Some(longest)) = (group, longest) else {
            return Err(Error::input("no sequence to learn from: the training set is empty"));
        };
        let times = if config.adapter.method == Method::Full && t.accumulate > threads { 2 } else { 1 };
        Ok(Self {
            train,
            updates: batches.len().div_ceil(t.accumulate),
            tokens: batches.iter().map(|b| tokens(train, b)).sum(),
            longest: longest.clone(),
            measured: vec![group; times].concat(),
            at_a_time: group.len(),
        })
    }
}

/// Tokens that the model reads of a sequence.
fn read(s: &Sequence) -> usize {
    s.supervised.end.saturating_sub(1)
}

/// As `read`, of a micro-batch.
fn tokens(train: &[Sequence], batch: &[usize]) -> usize {
    batch.iter().map(|&i| read(&train[i])).sum()
}

/// Updates of a probe at most; quick ones are repeated, as the first few pay for page faults and the best of two is still noise, of which a
/// forecast for all layers is several times as wrong.
const REPEATS: usize = 16;
/// Seconds of updates, without the first, after which no more are made.
const ENOUGH: f64 = 2.0;

impl Forecast {
    pub fn of(config: &TrainConfig) -> Result<Self> {
        config.check()?;
        let dir = resolve(&config.model)?;
        let gguf = dir.is_file().then(|| Checkpoint::open(&dir)).transpose()?;
        let shape = match &gguf {
            Some(file) => file.config().clone(),
            None => Config::read(&dir)?,
        };
        let (trainable, frozen) = match config.adapter.adapter(&config.model)? {
            Some(adapter) => (Adapter::numbers(&adapter, &shape)?, Adapter::left_out(&adapter, &shape)?),
            None => (shape.parameters(), Vec::new()),
        };
        let tokenizer = Arc::new(Tokenizer::open(&dir)?);
        let task = task::open(&config.corpus)?;
        let prompt = Prompt::named(&config.prompt, task.context())?;
        let data = sequences(config, &*task, &prompt, &encoder_for(tokenizer, &shape, config.max_new), &shape)?;
        let work = Work::of(config, &data)?;
        let start = resident_bytes();
        let cost = Cost::measure(config, &shape, gguf.as_ref(), &work)?;
        let evaluations = work.updates.div_ceil(config.training.eval_every);
        let longest = tokens(work.train, &work.longest);
        let measured: usize = work.measured.iter().map(|b| tokens(work.train, b)).sum();
        let valid: usize = data.valid.iter().map(|s| s.ids.len()).sum();
        let seconds = cost.whole(&|p| p.learn) * work.tokens as f64 / measured as f64
            + cost.whole(&|p| p.update) * work.updates as f64
            + cost.whole(&|p| p.score) * (valid * evaluations) as f64 / longest as f64;
        let peak = start
            .filter(|_| cost.probes.iter().all(|p| p.peak.is_some()))
            .map(|start| start + cost.whole(&|p| p.peak.unwrap_or(start).saturating_sub(start) as f64) as u64);
        Ok(Self {
            name: config.name.clone(),
            what: describe(&config.adapter, &frozen),
            parameters: shape.parameters(),
            trainable,
            training_cases: data.times.first().map_or(0, |epoch| epoch.iter().filter(|&&n| n > 0).count()),
            validation_cases: data.valid.len(),
            updates: work.updates,
            evaluations,
            tokens: work.tokens,
            longest,
            at_a_time: work.at_a_time,
            seconds,
            peak_bytes: peak,
            measured_layers: cost.layers,
        })
    }
}

/// `frozen`: the linear layers that no adapter is on.
fn describe(learns: &AdapterSection, frozen: &[String]) -> String {
    let method = learns.method.name();
    match (learns.r, frozen) {
        (0, _) => method.to_string(),
        (r, []) => format!("{method} of rank {r}"),
        (r, frozen) => format!("{method} of rank {r}, none on {}", frozen.join(", ")),
    }
}

/// What a whole model costs, as a sum of measurements.
struct Cost {
    probes: Vec<Probe>,
    /// Of the measurements, in their order.
    weights: Vec<f64>,
    /// Of the smaller and the larger model.
    layers: (usize, usize),
}

impl Cost {
    /// Models of four layers with all of them adapted, two, all but the middle, only the last. The last layer answers for supervised tokens
    /// alone, so a model of one layer is no measure of the others, and the last one counts as adapted everywhere. In the place of two layers
    /// stands a round of a model whose kinds of layers take turns; kinds are then mixed in the measurements nearly as in the whole.
    fn measure(config: &TrainConfig, shape: &Config, gguf: Option<&Checkpoint>, work: &Work) -> Result<Self> {
        let all = shape.num_hidden_layers;
        let chosen = config.adapter.layers.as_deref().map(|chosen| above_and_below(chosen, all));
        let few = shape.period().max(2);
        let kinds: Vec<(usize, Option<Vec<usize>>)> = match chosen {
            _ if all <= 2 * few => vec![(all, config.adapter.layers.clone())],
            None => vec![(few, None), (2 * few, None)],
            Some(_) => {
                let last = 2 * few - 1;
                vec![(few, None), (2 * few, None), (2 * few, Some(vec![0, last])), (2 * few, Some(vec![last]))]
            }
        };
        let probes: Vec<Probe> =
            kinds.into_iter().map(|kind| probe(config, shape, gguf, kind, work)).collect::<Result<_>>()?;
        Ok(Self {
            probes,
            weights: Self::weights(all, few, chosen),
            layers: if all <= 2 * few { (all, all) } else { (few, 2 * few) },
        })
    }

    /// With n = `few` layers and twice as many: adapted, (2n − n)/n a layer. One above an adapted layer: that − (2n − middle)/(2n − 2). One
    /// below all of them: that − (2n − last)/(2n − 1).
    fn weights(all: usize, few: usize, chosen: Option<(usize, usize)>) -> Vec<f64> {
        if all <= 2 * few {
            return vec![1.0];
        }
        let more = (all - 2 * few) as f64 / few as f64;
        let Some((above, below)) = chosen else { return vec![-more, 1.0 + more] };
        let (above, below) = (above as f64 / (2 * few - 2) as f64, below as f64 / (2 * few - 1) as f64);
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

/// A few updates of a model with few layers, of which all or only some are adapted.
fn probe(
    config: &TrainConfig,
    shape: &Config,
    gguf: Option<&Checkpoint>,
    (layers, adapted): (usize, Option<Vec<usize>>),
    work: &Work,
) -> Result<Probe> {
    crate::process::give_back(); // what the probe before has freed is no part of this one's peak
    reset_peak();
    let shape = Config { num_hidden_layers: layers, ..shape.clone() };
    let (model, parameters, adapter) = subject(config, &shape, gguf, adapted)?;
    // a rate so small that random weights stay what they are
    let schedule = Schedule { lr: 1e-5, ..config.training.schedule.clone() };
    let trainer = Trainer {
        config: &LoopConfig { schedule, ..config.training.clone() },
        model: &model,
        parameters: &parameters,
        noise: adapter.as_ref().filter(|a| a.drops()).map(|a| a.noise()),
        times: None,
        dir: Path::new(""),
        verbose: false,
    };
    let (mut moments, mut learn, mut update) = (Moments::default(), f64::INFINITY, f64::INFINITY);
    let mut spent = 0.0;
    for step in 0..REPEATS {
        let started = Instant::now();
        let mut learnt = trainer.learn(&work.measured, work.train, step)?;
        let learning = started.elapsed().as_secs_f64();
        trainer.apply(&mut learnt, &mut moments, step, REPEATS)?;
        let whole = started.elapsed().as_secs_f64();
        if step > 0 {
            (learn, update) = (learn.min(learning), update.min(whole - learning));
            spent += whole;
        }
        if spent > ENOUGH {
            break;
        }
    }
    let started = Instant::now();
    Batch::pack(work.longest.iter().map(|&i| &work.train[i])).score(&model)?;
    Ok(Probe { learn, update, score: started.elapsed().as_secs_f64(), peak: peak_bytes() })
}

/// A model of this shape that learns what the config says, as a training run would make it.
fn subject(
    config: &TrainConfig,
    shape: &Config,
    gguf: Option<&Checkpoint>,
    adapted: Option<Vec<usize>>,
) -> Result<(CausalLm, BTreeMap<String, Var>, Option<Adapter>)> {
    let Some(mut settings) = config.adapter.adapter(&config.model)? else {
        let mut parameters = BTreeMap::new();
        let model = CausalLm::new(shape, &mut |name, dims| {
            let start = gguf.map_or_else(|| random(dims, Precision::F32), |file| file.tensor(name, dims))?;
            let var = Var::from_tensor(&start)?;
            parameters.insert(name.to_string(), var.clone());
            Ok(var.as_tensor().clone().into())
        })?;
        return Ok((model, parameters, None));
    };
    settings.layers_to_transform = adapted.map(Layers::Some);
    settings.rank_pattern.0.clear(); // may name layers that few layers do not have
    let mut model = CausalLm::new(shape, &mut |name, dims| match gguf {
        Some(file) => file.weight(name, dims, config.weights),
        None => Ok(config.weights.weight(random(dims, config.weights)?)),
    })?;
    let adapter = Adapter::new(settings, &mut model, 0)?;
    adapter.attach(&mut model, Mode::Train)?;
    let parameters = adapter.parameters().clone();
    Ok((model, parameters, Some(adapter)))
}

/// Small numbers without pattern; vectors (norms, biases) 1.
fn random(dims: &[usize], precision: Precision) -> Result<Tensor> {
    if dims.len() == 1 {
        return Ok(Tensor::ones(dims, DType::F32, &Device::Cpu)?);
    }
    let number = |i: u64| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f32 / (1u64 << 24) as f32 - 0.5;
    let n = dims.iter().product::<usize>() as u64;
    match precision {
        Precision::F32 => {
            Ok(Tensor::from_vec((0..n).map(|i| 0.05 * number(i)).collect::<Vec<f32>>(), dims, &Device::Cpu)?)
        }
        Precision::Stored | Precision::Bf16 | Precision::Mixed => {
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
        let (longest, at_a_time) = (self.longest, self.at_a_time);
        writeln!(
            f,
            "  memory   {memory}; the longest micro-batch has {longest} tokens, {at_a_time} are learnt from at a time"
        )?;
        writeln!(f, "  time     {time} on this machine's {cores} cores")?;
        match self.measured_layers {
            (few, more) if few < more => {
                write!(f, "measured on {few} and {more} layers of this shape with random weights and extended to all")
            }
            (all, _) => write!(f, "measured on the {all} layers of this shape with random weights"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::golden;

    #[test]
    fn few_layers_tell_the_cost_of_all_of_every_kind() {
        // a base of 10, 5 for the last layer, 3 for an adapted layer, 2 for one above an adapted one, 1 below all of them
        let cost = |adapted: usize, above: usize, below: usize| 15.0 + (3 * adapted + 2 * above + below) as f64;
        let measured = [cost(1, 0, 0), cost(3, 0, 0), cost(1, 2, 0), cost(0, 0, 3)];
        let whole = |all, chosen: Option<&[usize]>| -> f64 {
            let weights = Cost::weights(all, 2, chosen.map(|c| above_and_below(c, all)));
            weights.iter().zip(measured).map(|(w, m)| w * m).sum()
        };
        assert!((whole(28, None) - cost(27, 0, 0)).abs() < 1e-9);
        assert!((whole(28, Some(&[4, 7, 27])) - cost(2, 21, 4)).abs() < 1e-9);
        assert!((whole(28, Some(&[27])) - cost(0, 0, 27)).abs() < 1e-9);
        assert!((whole(28, Some(&(0..28).collect::<Vec<_>>())) - cost(27, 0, 0)).abs() < 1e-9);
        // of rounds of four layers
        let measured = [cost(3, 0, 0), cost(7, 0, 0), cost(1, 6, 0), cost(0, 0, 7)];
        let of_rounds = |chosen: Option<(usize, usize)>| -> f64 {
            Cost::weights(32, 4, chosen).iter().zip(measured).map(|(w, m)| w * m).sum()
        };
        assert!((of_rounds(None) - cost(31, 0, 0)).abs() < 1e-9);
        assert!((of_rounds(Some((20, 8))) - cost(3, 20, 8)).abs() < 1e-9);
    }

    #[test]
    fn every_family_can_be_measured() {
        let config = TrainConfig::named("lora-plain").unwrap();
        let train = [Sequence::completion((3..23).collect(), 12)];
        let (longest, measured) = (vec![0], vec![vec![0]]);
        let work = Work { train: &train, updates: 1, tokens: read(&train[0]), longest, measured, at_a_time: 1 };
        for name in ["llama3", "llama_bias", "mistral", "qwen2", "qwen3_5"] {
            let shape = Config::read(&golden::path("families").join(name)).unwrap();
            let layers = shape.period().max(2); // a layer of every kind
            let probe = probe(&config, &shape, None, (layers, None), &work).unwrap();
            assert!(probe.learn > 0.0 && probe.learn.is_finite() && probe.update > 0.0, "{name}");
        }
        let recurrent = golden::recurrent_config();
        assert_eq!((recurrent.period(), Config::small(64, 32, 8, 2).period()), (4, 1));
        let whole = Config { num_hidden_layers: 12, ..recurrent };
        let cost = Cost::measure(&config, &whole, None, &work).unwrap();
        assert_eq!((cost.layers, cost.weights.as_slice()), ((4, 8), &[-1.0, 2.0][..]));
        assert!(cost.probes.iter().all(|probe| probe.learn > 0.0 && probe.learn.is_finite()));
    }
}

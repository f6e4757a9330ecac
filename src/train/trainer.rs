//! The loop: pack, sum losses over supervised tokens, clip, update, evaluate, keep the best, save, print a line.
use super::batch::{Batch, Sequence, Sums, plan, plan_times};
use super::evaluate::{MarkedTokens, evaluate};
use super::loss::Loss;
use super::muon::Muon;
use super::optimizer::{AdamW, Gradients, Moments};
use super::schedule::Schedule;
use super::state::{Progress, State, detached, set};
use crate::adapter::Noise;
use crate::error::{Error, Result};
use crate::io;
use crate::model::{CausalLm, tensors};
use candle_core::{DType, Var};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoopConfig {
    pub seed: u64,
    pub epochs: usize,
    /// Tokens of one packed micro-batch, at most (a longer sequence stands alone).
    pub batch_tokens: usize,
    /// Micro-batches an update; as many as there are threads go side by side (with dropout one after the other).
    #[serde(default = "one")]
    pub accumulate: usize,
    #[serde(default = "one_norm")]
    pub max_norm: f64,
    /// Updates between two evaluations on the validation part.
    pub eval_every: usize,
    /// Evaluations without improvement after which training stops; 0 never stops early.
    #[serde(default)]
    pub patience: usize,
    /// (update, loss): training stops at an evaluation after that update if the best validation loss so far is above.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop_above: Vec<(usize, f64)>,
    pub schedule: Schedule,
    #[serde(default)]
    pub adamw: AdamW,
    /// The layers' matrices by Muon, with AdamW's learning rate and decay; by AdamW where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub muon: Option<Muon>,
    #[serde(default, skip_serializing_if = "Loss::is_cross_entropy")]
    pub loss: Loss,
    /// Learning rate of B and of magnitudes as a multiple of A's (LoRA+, Hayou et al. 2024: about 16).
    #[serde(default = "one_norm", skip_serializing_if = "is_one")]
    pub lora_plus: f64,
    /// Precision only the layers' inputs and make each layer again in the backward pass: less memory, about a third more work.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub checkpointing: bool,
}

fn one() -> usize {
    1
}
fn one_norm() -> f64 {
    1.0
}
fn is_one(x: &f64) -> bool {
    *x == 1.0
}

/// More epochs are a slip.
const EPOCHS: usize = 100_000;

impl LoopConfig {
    /// What no training can follow is refused before it starts, with its key.
    pub fn check(&self) -> Result<()> {
        self.loss.check()?;
        let momentum = self.muon.as_ref().map_or(0.0, |muon| muon.momentum);
        let own = [
            ("lora_plus", self.lora_plus, positive(self.lora_plus), POSITIVE),
            ("muon.momentum", momentum, share(momentum), SHARE),
        ];
        check_numbers(&self.schedule, &self.adamw, self.max_norm, &own)?;
        if self.stop_above.iter().any(|(_, loss)| loss.is_nan()) {
            return Err(Error::input("training.stop_above has a loss of NaN, expected a number"));
        }
        let counts =
            [("batch_tokens", self.batch_tokens), ("accumulate", self.accumulate), ("eval_every", self.eval_every)];
        check_counts(self.epochs, &counts)
    }

    /// Learning rate of the parameter `name` where A's is `lr`.
    fn rate(&self, name: &str, lr: f64) -> f64 {
        let fast = name.ends_with(".lora_B.weight") || name.ends_with(".lora_magnitude_vector");
        if fast { lr * self.lora_plus } else { lr }
    }
}

const POSITIVE: &str = "a positive number";
const SHARE: &str = "at least 0 and less than 1";

fn positive(x: f64) -> bool {
    x.is_finite() && x > 0.0
}
fn share(x: f64) -> bool {
    (0.0..1.0).contains(&x)
}

/// Refuses a number of `[training]` that no training can follow: name, value, whether it is fine, what is expected. `own` are those that
/// not every training has.
pub(super) fn check_numbers(s: &Schedule, w: &AdamW, max_norm: f64, own: &[(&str, f64, bool, &str)]) -> Result<()> {
    let numbers = [
        ("schedule.lr", s.lr, positive(s.lr), POSITIVE),
        ("schedule.warmup", s.warmup, share(s.warmup), SHARE),
        ("schedule.floor", s.floor, (0.0..=1.0).contains(&s.floor), "a share from 0 to 1"),
        ("max_norm", max_norm, positive(max_norm), POSITIVE),
        ("adamw.beta1", w.beta1, share(w.beta1), SHARE),
        ("adamw.beta2", w.beta2, share(w.beta2), SHARE),
        ("adamw.eps", w.eps, positive(w.eps), POSITIVE),
        ("adamw.weight_decay", w.weight_decay, w.weight_decay.is_finite() && w.weight_decay >= 0.0, "0 or more"),
    ];
    match numbers.iter().chain(own).find(|(_, _, fine, _)| !fine) {
        Some((name, is, _, wanted)) => Err(Error::input(format!("training.{name} is {is}, expected {wanted}"))),
        None => Ok(()),
    }
}

/// Refuses counts of 0, and more epochs than anybody means.
pub(super) fn check_counts(epochs: usize, others: &[(&str, usize)]) -> Result<()> {
    if epochs > EPOCHS {
        return Err(Error::input(format!("training.epochs is {epochs}, expected at most {EPOCHS}")));
    }
    match [("epochs", epochs)].iter().chain(others).find(|(_, n)| *n == 0) {
        Some((name, _)) => Err(Error::input(format!("training.{name} is 0, expected at least 1"))),
        None => Ok(()),
    }
}

/// One line of `log.jsonl`. Losses are nats a supervised token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    pub step: usize,
    pub loss: f64,
    /// Cross-entropy, where the loss is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cross_entropy: Option<f64>,
    pub lr: f64,
    pub grad_norm: f64,
    /// Tokens read by the model in this update, and how many of them were supervised.
    pub tokens: usize,
    pub targets: usize,
    pub tokens_per_sec: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eval_loss: Option<f64>,
    /// The same of the tokens with which inline tags open in the validation part, where it has some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eval_tags: Option<MarkedTokens>,
}

pub struct Trainer<'a> {
    pub config: &'a LoopConfig,
    pub model: &'a CausalLm,
    pub parameters: &'a BTreeMap<String, Var>,
    /// The adapter's dropout, if it has one.
    pub noise: Option<&'a Noise>,
    /// How often each sequence comes in each epoch; once where not given.
    pub times: Option<&'a [Vec<u32>]>,
    /// Run folder: `state/`, `best.safetensors`, `log.jsonl`.
    pub dir: &'a Path,
    /// Print a line a step.
    pub verbose: bool,
}

impl Trainer<'_> {
    /// Trains until done, early stopped or `until` updates are made; leaves the best parameters set when finished.
    /// Goes on from `state/` if there is one.
    pub fn run(&self, train: &[Sequence], valid: &[Sequence], until: Option<usize>) -> Result<Progress> {
        if train.iter().all(|s| s.supervised.is_empty()) {
            return Err(Error::input("no sequence to learn from: the training set is empty"));
        }
        self.config.check()?;
        let batches = self.plan(train);
        let steps = batches.len().div_ceil(self.config.accumulate);
        let state = State::at(self.dir);
        let (mut progress, mut moments) =
            if state.exists() { state.load(self.parameters)? } else { (Progress::default(), Moments::default()) };
        let mut log = open_log(self.dir, progress.step)?;
        let (started, first) = (Instant::now(), progress.step);
        while progress.step < steps && !progress.finished {
            if until.is_some_and(|n| progress.step >= n) {
                return Ok(progress);
            }
            let mine = batches.chunks(self.config.accumulate).nth(progress.step).unwrap_or_default();
            let mut line = self.update(mine, train, &mut moments, progress.step, steps)?;
            progress.step += 1;
            progress.tokens += line.tokens;
            let due = progress.step % self.config.eval_every == 0 || progress.step == steps;
            if due {
                let found = evaluate(self.model, valid, self.config.batch_tokens)?;
                (line.eval_loss, line.eval_tags) = (found.loss, found.marked);
                self.judge(&mut progress, line.eval_loss)?;
                progress.finished = progress.step == steps || self.gives_up(&progress);
            }
            writeln!(log, "{}", line.json()?).map_err(Error::io(self.dir))?;
            if self.verbose {
                print_line(&line, steps, started.elapsed().as_secs_f64() / (progress.step - first) as f64);
            }
            if due {
                log.sync_data().map_err(Error::io(self.dir))?; // no state without its lines
                state.save(&progress, self.parameters, &moments)?;
            }
        }
        take_best(self.dir, self.parameters, &progress)?;
        Ok(progress)
    }

    fn plan(&self, train: &[Sequence]) -> Vec<Vec<usize>> {
        let lengths: Vec<usize> = train.iter().map(|s| s.supervised.end.saturating_sub(1)).collect();
        let (tokens, seed) = (self.config.batch_tokens, self.config.seed);
        match self.times {
            Some(times) => plan_times(&lengths, times, tokens, seed),
            None => plan(&lengths, tokens, self.config.epochs, seed),
        }
    }

    /// Updates that `train` makes in all its epochs.
    pub fn steps(&self, train: &[Sequence]) -> usize {
        self.plan(train).len().div_ceil(self.config.accumulate)
    }

    fn update(
        &self,
        batches: &[Vec<usize>],
        train: &[Sequence],
        moments: &mut Moments,
        step: usize,
        steps: usize,
    ) -> Result<LogLine> {
        let started = Instant::now();
        let mut learnt = self.learn(batches, train, step)?;
        let grad_norm = self.apply(&mut learnt, moments, step, steps)?;
        let Learnt { grads, sums, tokens } = learnt;
        let targets = grads.targets;
        Ok(LogLine {
            step: step + 1,
            loss: sums.loss / targets as f64,
            cross_entropy: (!self.config.loss.is_cross_entropy()).then(|| sums.cross_entropy / targets as f64),
            lr: self.config.schedule.at(step, steps),
            grad_norm,
            tokens,
            targets,
            tokens_per_sec: tokens as f64 / started.elapsed().as_secs_f64(),
            eval_loss: None,
            eval_tags: None,
        })
    }

    fn judge(&self, progress: &mut Progress, loss: Option<f64>) -> Result<()> {
        let better = match (loss, progress.best_loss) {
            (Some(new), Some(best)) => new < best,
            _ => true, // first evaluation, or nothing to judge by: the newest is the best known
        };
        if !better {
            progress.stale += 1;
            return Ok(());
        }
        progress.best_loss = loss;
        progress.best_step = progress.step;
        progress.stale = 0;
        keep_best(self.dir, self.parameters)
    }

    fn gives_up(&self, progress: &Progress) -> bool {
        let above =
            |&(step, loss): &(usize, f64)| step == progress.step && progress.best_loss.is_some_and(|best| best > loss);
        (self.config.patience > 0 && progress.stale >= self.config.patience) || self.config.stop_above.iter().any(above)
    }
}

fn best_file(dir: &Path) -> PathBuf {
    dir.join("best.safetensors")
}

/// Keeps the parameters as the best so far.
pub(super) fn keep_best(dir: &Path, parameters: &BTreeMap<String, Var>) -> Result<()> {
    tensors::write(&best_file(dir), &detached(parameters), DType::F32)
}

/// Sets the best parameters. Where some were chosen, going on without their file would end in the last ones.
pub(super) fn take_best(dir: &Path, parameters: &BTreeMap<String, Var>, progress: &Progress) -> Result<()> {
    let best = best_file(dir);
    match best.is_file() {
        true => set(parameters, &best),
        false if progress.best_step == 0 => Ok(()),
        false => Err(Error::input(format!(
            "{} is missing, which holds the best parameters, those of update {}; remove {} to train again",
            best.display(),
            progress.best_step,
            dir.display()
        ))),
    }
}

/// Opens `log.jsonl` for the lines after `step`; lines that a killed run wrote past its last state are dropped.
pub(super) fn open_log(dir: &Path, step: usize) -> Result<std::fs::File> {
    let path = dir.join("log.jsonl");
    // as text: a number that is read and written again may change in its last digit
    let text = if step == 0 { String::new() } else { std::fs::read_to_string(&path).map_err(Error::io(&path))? };
    let whole = text.lines().map_while(|line| Some((serde_json::from_str::<LogLine>(line).ok()?, line)));
    let kept: Vec<(usize, &str)> = whole.map(|(l, line)| (l.step, line)).filter(|(at, _)| *at <= step).collect();
    if !kept.iter().map(|(at, _)| *at).eq(1..=step) {
        return Err(Error::input(format!(
            "{}: expected a line for each of the {step} updates made, found {}; remove {} to train again",
            path.display(),
            kept.len(),
            dir.display()
        )));
    }
    let text: String = kept.iter().map(|(_, line)| format!("{line}\n")).collect();
    std::fs::create_dir_all(dir).map_err(Error::io(dir))?;
    io::write(&path, text.as_bytes())?;
    std::fs::OpenOptions::new().append(true).open(&path).map_err(Error::io(&path))
}

/// What an update is made from.
pub(crate) struct Learnt<'a> {
    grads: Gradients<'a>,
    sums: Sums,
    /// Read by the model.
    tokens: usize,
}

impl<'a> Trainer<'a> {
    /// The gradients of one update's micro-batches, as many of them side by side as [`side_by_side`] says.
    pub(crate) fn learn(&self, batches: &[Vec<usize>], train: &[Sequence], step: usize) -> Result<Learnt<'a>> {
        let mut learnt = Learnt { grads: Gradients::of(self.parameters), sums: Sums::default(), tokens: 0 };
        for (place, batches) in batches.chunks(side_by_side(self.noise.is_some())).enumerate() {
            let batches: Vec<Batch> = batches.iter().map(|b| Batch::pack(b.iter().map(|&i| &train[i]))).collect();
            if let Some(noise) = self.noise {
                noise.set(&[self.config.seed, step as u64, place as u64]);
            }
            let (loss, by_layers) = (&self.config.loss, self.config.checkpointing);
            let made = gradients(self.model, &batches, loss, by_layers, &mut learnt.grads)?;
            learnt.sums.loss += made.loss;
            learnt.sums.cross_entropy += made.cross_entropy;
            learnt.tokens += batches.iter().map(Batch::tokens).sum::<usize>();
        }
        if let Some(noise) = self.noise {
            noise.off();
        }
        learnt.grads.complete()?;
        Ok(learnt)
    }

    /// Clips the gradients and moves the parameters; returns the gradients' norm before that.
    pub(crate) fn apply(
        &self,
        learnt: &mut Learnt<'a>,
        moments: &mut Moments,
        step: usize,
        steps: usize,
    ) -> Result<f64> {
        let loss = learnt.sums.loss;
        let grad_norm = learnt.grads.finish(self.config.max_norm);
        if !(grad_norm.is_finite() && loss.is_finite()) {
            return Err(Error::failed(format!(
                "step {}: loss {loss}, |grad| {grad_norm}; lower the learning rate or look for NaN in the weights",
                step + 1
            )));
        }
        if grad_norm == 0.0 {
            return Err(Error::failed(format!(
                "step {}: every gradient is zero; is the adapter detached from the loss?",
                step + 1
            )));
        }
        let lr = self.config.schedule.at(step, steps);
        let (adamw, muon) = (&self.config.adamw, self.config.muon.as_ref());
        moments.update_with(adamw, muon, &learnt.grads, &|name| self.config.rate(name, lr))?;
        Ok(grad_norm)
    }
}

/// Micro-batches that are learnt from at the same time. Dropout draws from one key at a time.
pub(crate) fn side_by_side(drops: bool) -> usize {
    if drops { 1 } else { rayon::current_num_threads() }
}

/// Adds the gradients of micro-batches to `grads`. They are made side by side, each on a thread of its own where there is one, and added
/// in their order: the sums are the same on any number of threads.
pub fn gradients(
    model: &CausalLm,
    batches: &[Batch],
    loss: &Loss,
    by_layers: bool,
    grads: &mut Gradients,
) -> Result<Sums> {
    let parameters = grads.parameters();
    let learn = |batch: &Batch| {
        let mut grads = Gradients::of(parameters);
        batch.backward(model, loss, by_layers, &mut grads).map(|sums| (grads, sums))
    };
    let made: Vec<Result<(Gradients, Sums)>> = batches.par_iter().map(learn).collect();
    let mut all = Sums::default();
    for made in made {
        let (one, sums) = made?;
        grads.merge(one);
        all.loss += sums.loss;
        all.cross_entropy += sums.cross_entropy;
    }
    Ok(all)
}

impl LogLine {
    pub(super) fn json(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|e| Error::failed(e.to_string()))
    }
}

/// All whole lines of a `log.jsonl`; a last line cut by a kill is left out.
pub fn read_log(path: &Path) -> Result<Vec<LogLine>> {
    let text = io::read_text(path)?;
    Ok(text.lines().map_while(|l| serde_json::from_str(l).ok()).collect())
}

/// `… ` in front: the notebooks' runner keeps no line of progress.
pub(super) fn print_line(l: &LogLine, steps: usize, seconds_a_step: f64) {
    let left = (seconds_a_step * (steps - l.step) as f64).round() as u64;
    let mut eval = l.eval_loss.map(|e| format!("  eval {e:.4}")).unwrap_or_default();
    if let Some(tags) = &l.eval_tags {
        eval.push_str(&format!(", opening tags {:.4}, {:.0} % of them known", tags.loss, 100.0 * tags.right));
    }
    println!(
        "… step {:>5}/{steps}  loss {:.4}  lr {:.2e}  |g| {:.3}  {:>6.0} tok/s  eta {:02}:{:02}{eval}",
        l.step,
        l.loss,
        l.lr,
        l.grad_norm,
        l.tokens_per_sec,
        left / 60,
        left % 60
    );
}

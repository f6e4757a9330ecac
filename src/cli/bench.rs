//! `dxlab bench train|decode CASE`: the peer scripts' work and their keys, one JSON line. `benches/peer.py` runs both sides.
use super::weights::Weights;
use crate::adapter::{Adapter, AdapterConfig, Mode};
use crate::error::{Error, Result};
use crate::generate::{Limits, greedy, read_pairs};
use crate::model::ops::peak_gflops;
use crate::model::{CausalLm, default_device};
use crate::train::{AdamW, Batch, Gradients, Loss, Moments, Sequence, gradients};
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::PathBuf;
use std::time::Instant;

#[derive(Subcommand)]
pub enum Bench {
    /// LoRA training speed (--help names the keys of the line)
    ///
    /// One JSON line:
    ///
    /// tokens_per_sec    prompt and completion tokens, no padding; the median step, the first left out
    /// targets_per_sec   supervised tokens of the same steps
    /// first_loss, last_loss   mean over the supervised tokens of the first and the last step
    /// falls             last_loss < first_loss, with --same-batch
    /// grad              sum over parameters of the mean |gradient| of the first step
    /// peak_mib          highest resident memory of the process
    /// weights           precision of the decoder's linear layers in memory
    /// parameters        N: numbers in the decoder's linear layers, without adapter, embedding and head
    /// gflops            4 N · tokens_per_sec / 1e9: 2 N a token forward, 2 N for the input gradient, none for dW; the head's share
    ///                   is left out, because only targets pass it
    /// peak_gflops       the best of eight f32 products of 1024³ in this process
    /// mfu               gflops / peak_gflops
    #[command(verbatim_doc_comment)]
    Train(Training),
    /// Greedy decoding speed: new_tokens_per_sec, and the seconds for all prompts, as one JSON line
    Decode(Decoding),
}

/// What both ask for.
#[derive(Args)]
struct Case {
    /// Folder with `model/` and `pairs.jsonl`
    case: PathBuf,
    /// Another model than CASE/model
    #[arg(long)]
    model: Option<PathBuf>,
    /// Sequences at a time
    #[arg(long, default_value_t = 8)]
    batch: usize,
    #[command(flatten)]
    weights: Weights,
}

#[derive(Args)]
pub struct Training {
    #[command(flatten)]
    case: Case,
    /// Rank of the adapter
    #[arg(long, default_value_t = 16)]
    rank: usize,
    /// Optimiser steps
    #[arg(long, default_value_t = 8)]
    steps: usize,
    /// DoRA instead of LoRA
    #[arg(long)]
    dora: bool,
    /// Make each layer again in the backward pass instead of keeping it
    #[arg(long)]
    checkpointing: bool,
    /// The first batch in every step: its loss has to fall
    #[arg(long)]
    same_batch: bool,
}

#[derive(Args)]
pub struct Decoding {
    #[command(flatten)]
    case: Case,
    /// New tokens per prompt
    #[arg(long, default_value_t = 32)]
    new: usize,
    /// Maximum number of prompts to decode
    #[arg(long)]
    limit: Option<usize>,
}

impl Bench {
    pub fn run(self) -> Result<()> {
        let line = match self {
            Self::Train(training) => training.measure()?,
            Self::Decode(decoding) => decoding.measure()?,
        };
        println!("{line}");
        Ok(())
    }
}

impl Case {
    fn open(&self) -> Result<CausalLm> {
        if self.batch == 0 {
            return Err(Error::input("--batch 0: expected at least 1 sequence at a time"));
        }
        CausalLm::load(
            &self.model.clone().unwrap_or_else(|| self.case.join("model")),
            self.weights.precision(),
            &default_device(),
        )
    }

    fn pairs(&self) -> PathBuf {
        self.case.join("pairs.jsonl")
    }
}

/// What the steps of a training run showed.
#[derive(Default)]
struct Steps {
    seconds: Vec<f64>,
    tokens: Vec<usize>,
    targets: Vec<usize>,
    losses: Vec<f64>,
    /// Of the first step.
    grad: Option<f64>,
}

impl Steps {
    /// The median of `counted` a second; the first step pays for page faults and thread starts, on both sides.
    fn rate(&self, counted: &[usize]) -> f64 {
        let mut rates: Vec<f64> = counted.iter().zip(&self.seconds).skip(1).map(|(&n, s)| n as f64 / s).collect();
        rates.sort_by(f64::total_cmp);
        (rates[rates.len() / 2] + rates[(rates.len() - 1) / 2]) / 2.0
    }
}

impl Training {
    fn measure(&self) -> Result<serde_json::Value> {
        let mut model = self.case.open()?;
        let sequences: Vec<Sequence> = (read_pairs(&self.case.pairs(), None)?.iter())
            .map(|p| Sequence::completion([p.prompt_ids.as_slice(), &p.completion_ids].concat(), p.prompt_ids.len()))
            .collect();
        if sequences.is_empty() || self.steps < 2 {
            return Err(Error::input("bench train wants pairs and at least 2 steps"));
        }
        let (parameters, weights) = decoder(&mut model)?;
        let steps = self.steps(&mut model, &sequences)?;
        let peak_mib = crate::run::peak_bytes().map(|b| b >> 20);
        let (first, last) = (steps.losses[0], steps.losses[self.steps - 1]);
        let tokens_per_sec = steps.rate(&steps.tokens);
        let (gflops, peak) = (4.0 * parameters as f64 * tokens_per_sec / 1e9, peak_gflops(1024, 8));
        let mut line = json!({
            "tool": "dxlab", "dtype": dtype(&weights), "weights": weights, "batch": self.case.batch,
            "tokens_per_sec": rounded(tokens_per_sec, 1), "targets_per_sec": rounded(steps.rate(&steps.targets), 1),
            "first_loss": first, "last_loss": last, "grad": steps.grad, "peak_mib": peak_mib,
            "parameters": parameters, "gflops": rounded(gflops, 2), "peak_gflops": rounded(peak, 1),
            "mfu": rounded(gflops / peak, 3),
        });
        if self.same_batch {
            line["falls"] = (last < first).into();
        }
        Ok(line)
    }

    fn steps(&self, model: &mut CausalLm, sequences: &[Sequence]) -> Result<Steps> {
        let mut settings = AdapterConfig::lora(self.rank, 2.0 * self.rank as f64);
        settings.use_dora = self.dora;
        let adapter = Adapter::new(settings, model, 0)?;
        adapter.attach(model, Mode::Train)?;
        let (mut moments, mut steps, size) = (Moments::default(), Steps::default(), self.case.batch);
        for step in 0..self.steps {
            let first = if self.same_batch { 0 } else { step * size };
            let mine: Vec<&Sequence> = (first..first + size).map(|i| &sequences[i % sequences.len()]).collect();
            steps.tokens.push(mine.iter().map(|s| s.ids.len()).sum()); // as the peer counts: the last token too
            let started = Instant::now();
            let piece = size.div_ceil(rayon::current_num_threads());
            let batches: Vec<Batch> = mine.chunks(piece).map(|piece| Batch::pack(piece.iter().copied())).collect();
            let mut grads = Gradients::of(adapter.parameters());
            let sums = gradients(model, &batches, &Loss::default(), self.checkpointing, &mut grads)?;
            grads.complete()?;
            grads.finish(f64::INFINITY);
            steps.grad.get_or_insert(grads.mean_abs());
            moments.update(&AdamW::default(), &grads, 2e-4)?;
            steps.seconds.push(started.elapsed().as_secs_f64());
            steps.targets.push(grads.targets);
            steps.losses.push(sums.loss / grads.targets as f64);
        }
        Ok(steps)
    }
}

/// How many numbers the decoder's linear layers hold, and how they are stored.
fn decoder(model: &mut CausalLm) -> Result<(usize, String)> {
    let (mut count, mut kinds) = (0, std::collections::BTreeSet::new());
    for linear in model.linears_mut() {
        let (n, k) = linear.weight.dims()?;
        count += n * k;
        kinds.insert(linear.weight.kind());
    }
    Ok((count, kinds.into_iter().collect::<Vec<_>>().join(" ")))
}

/// What products are made in.
fn dtype(weights: &str) -> &'static str {
    if weights.starts_with("mixed") { "bf16" } else { "f32" }
}

fn rounded(value: f64, digits: i32) -> f64 {
    let by = 10f64.powi(digits);
    (value * by).round() / by
}

impl Decoding {
    fn measure(&self) -> Result<serde_json::Value> {
        let mut model = self.case.open()?;
        let (_, weights) = decoder(&mut model)?;
        let prompts: Vec<Vec<u32>> = read_pairs(&self.case.pairs(), None)?
            .into_iter()
            .map(|p| p.prompt_ids)
            .take(self.limit.unwrap_or(usize::MAX))
            .collect();
        let limits = Limits { batch: self.case.batch, ..Limits::exactly(self.new) };
        let started = Instant::now();
        let made = greedy(&model, &prompts, &limits)?;
        let seconds = started.elapsed().as_secs_f64();
        let tokens: usize = made.iter().map(|g| g.tokens.len()).sum();
        Ok(json!({"tool": "dxlab", "dtype": dtype(&weights), "weights": weights, "batch": limits.batch,
            "new_tokens_per_sec": rounded(tokens as f64 / seconds, 1), "seconds": rounded(seconds, 2)}))
    }
}

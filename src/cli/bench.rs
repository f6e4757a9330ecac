//! `dxlab bench train|decode CASE`: the peer scripts' work and their keys, one JSON line.
use crate::adapter::{Adapter, AdapterConfig, Mode};
use crate::error::{Error, Result};
use crate::generate::{Limits, greedy, read_pairs};
use crate::model::Qwen3;
use crate::train::{AdamW, Batch, Gradients, Moments, Sequence};
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::time::Instant;

#[derive(Subcommand)]
pub enum Bench {
    /// LoRA training speed: tokens/s (median step), loss of the first and last step, |grad|, peak memory
    Train(Case),
    /// Greedy decoding speed: new tokens/s
    Decode(Case),
}

#[derive(Args)]
pub struct Case {
    /// Folder with `model/` and `pairs.jsonl`
    case: PathBuf,
    /// Sequences of a step
    #[arg(long, default_value_t = 8)]
    batch: usize,
    /// Rank of the adapter
    #[arg(long, default_value_t = 16)]
    rank: usize,
    /// Optimiser steps
    #[arg(long, default_value_t = 8)]
    steps: usize,
    /// New tokens a prompt
    #[arg(long, default_value_t = 32)]
    new: usize,
}

impl Bench {
    pub fn run(self) -> Result<()> {
        let line = match self {
            Self::Train(case) => train(&case)?,
            Self::Decode(case) => decode(&case)?,
        };
        println!("{line}");
        Ok(())
    }
}

fn train(case: &Case) -> Result<serde_json::Value> {
    let mut model = Qwen3::load(&case.case.join("model"))?;
    let adapter = Adapter::new(AdapterConfig::lora(case.rank, 2.0 * case.rank as f64), &mut model, 0)?;
    adapter.attach(&mut model, Mode::Train)?;
    let pairs = read_pairs(&case.case.join("pairs.jsonl"), None)?;
    let sequences: Vec<Sequence> = (pairs.iter())
        .map(|p| Sequence::completion([p.prompt_ids.as_slice(), &p.completion_ids].concat(), p.prompt_ids.len()))
        .collect();
    if sequences.is_empty() || case.steps < 2 {
        return Err(Error::input("bench train wants pairs and at least 2 steps"));
    }
    let mut moments = Moments::default();
    let (mut rates, mut losses, mut grad) = (vec![], vec![], None);
    for step in 0..case.steps {
        let mine: Vec<&Sequence> =
            (0..case.batch).map(|j| &sequences[(step * case.batch + j) % sequences.len()]).collect();
        let tokens: usize = mine.iter().map(|s| s.ids.len()).sum(); // as the peer counts: the last token too
        let started = Instant::now();
        let batch = Batch::pack(mine);
        let loss = batch.logprobs(&model)?.sum_all()?.neg()?;
        let mut grads = Gradients::default();
        grads.add(&loss.backward()?, adapter.parameters(), batch.targets.len())?;
        grads.finish(f64::INFINITY);
        grad.get_or_insert(grads.mean_abs());
        moments.update(&AdamW::default(), adapter.parameters(), &grads, 2e-4)?;
        rates.push(tokens as f64 / started.elapsed().as_secs_f64());
        losses.push(loss.to_scalar::<f32>()? as f64 / batch.targets.len() as f64);
    }
    rates.remove(0); // the first step pays for page faults and thread starts, on both sides
    rates.sort_by(f64::total_cmp);
    let middle = (rates[rates.len() / 2] + rates[(rates.len() - 1) / 2]) / 2.0;
    Ok(
        serde_json::json!({"tool": "dxlab", "dtype": "f32", "batch": case.batch, "tokens_per_sec": (middle * 10.0).round() / 10.0,
        "first_loss": losses[0], "last_loss": losses[losses.len() - 1], "grad": grad, "peak_mib": crate::study::peak_bytes().map(|b| b >> 20)}),
    )
}

fn decode(case: &Case) -> Result<serde_json::Value> {
    let model = Qwen3::load(&case.case.join("model"))?;
    let prompts: Vec<Vec<u32>> =
        read_pairs(&case.case.join("pairs.jsonl"), None)?.into_iter().map(|p| p.prompt_ids).collect();
    let started = Instant::now();
    let made = greedy(&model, &prompts, &Limits { batch: case.batch, ..Limits::exactly(case.new) })?;
    let seconds = started.elapsed().as_secs_f64();
    let tokens: usize = made.iter().map(|g| g.tokens.len()).sum();
    Ok(serde_json::json!({"tool": "dxlab", "dtype": "f32", "batch": case.batch,
        "new_tokens_per_sec": (tokens as f64 / seconds * 10.0).round() / 10.0, "seconds": (seconds * 100.0).round() / 100.0}))
}

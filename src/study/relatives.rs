//! The relatives of LoRA side by side on one base model: what each trains, and that each starts as the base.
use super::config::{AdapterSection, Method, TrainConfig};
use super::experiment::sequences;
use crate::adapter::{Adapter, Mode};
use crate::error::Result;
use crate::generate::Local;
use crate::prompt::Prompt;
use crate::task;
use crate::train::Batch;

/// A fresh adapter of one kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Relative {
    pub name: &'static str,
    /// Numbers that learn.
    pub trainable: usize,
    /// Largest change of log p of any supervised token of a few training cases by attaching it untrained.
    pub start_shift: f64,
}

/// Every kind of adapter with the rank and α of `config`, untrained.
pub fn relatives(config: &TrainConfig) -> Result<Vec<Relative>> {
    let task = task::open(&config.corpus)?;
    let prompt = Prompt::named(&config.prompt, task.context())?;
    let mut local = Local::open(&config.model, None)?;
    let few = TrainConfig { cases: Some(4), ..config.clone() };
    let train = sequences(&few, &*task, &prompt, &local.encoder(), &local.model.config)?.train;
    let batch = Batch::pack(&train);
    let base = batch.score(&local.model)?;
    let mut all = Vec::new();
    for method in [Method::Lora, Method::Rslora, Method::Dora, Method::Pissa] {
        let learns = AdapterSection { method, ..AdapterSection::lora(config.adapter.r, config.adapter.alpha) };
        let Some(settings) = learns.adapter(&config.model)? else { continue };
        if method == Method::Pissa && Adapter::numbers(&settings, &local.model.config).is_err() {
            continue; // a layer has fewer singular directions than this rank
        }
        let adapter = Adapter::new(settings, &mut local.model, config.training.seed)?;
        adapter.attach(&mut local.model, Mode::Train)?;
        let shift = |(a, b): (&f32, &f32)| (*a as f64 - *b as f64).abs();
        all.push(Relative {
            name: method.name(),
            trainable: adapter.parameters().values().map(|v| v.elem_count()).sum(),
            start_shift: batch.score(&local.model)?.iter().zip(&base).map(shift).fold(0.0, f64::max),
        });
    }
    Ok(all)
}

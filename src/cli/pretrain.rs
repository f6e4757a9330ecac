//! `dxlab pretrain CONFIG --out DIR`: a base model in Hugging Face layout, its log and its card.
use crate::error::{Error, Result};
use crate::model::Checkpoint;
use crate::pretrain::{Material, NGRAM, PretrainConfig, fresh, material};
use crate::run::{Run, Store};
use crate::train::{Progress, Trainer, mean_loss};
use candle_core::{DType, Tensor};
use clap::Args;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct Pretrain {
    /// TOML file, such as configs/embedded-small.toml
    config: PathBuf,
    /// Folder for the finished model
    #[arg(long)]
    out: PathBuf,
}

/// What `pretrain.json` beside the weights says of them: every number is measured.
#[derive(serde::Serialize)]
struct Measured {
    progress: Progress,
    parameters: usize,
    vocabulary: usize,
    training_sequences: usize,
    training_tokens: usize,
    open_text: bool,
    /// Of the weights as stored (f16), by source of held-out text.
    bits_per_byte: BTreeMap<String, f64>,
    /// Of the n-gram model of bytes that read the same.
    ngram_bits_per_byte: BTreeMap<String, f64>,
    ngram_order: usize,
}

impl Pretrain {
    pub fn run(self) -> Result<()> {
        let config = PretrainConfig::read(&self.config)?;
        let open = std::env::var_os("DXLAB_DATA").map(PathBuf::from);
        if open.is_none() {
            println!("DXLAB_DATA is not set: pretraining on synthetic text alone");
        }
        let spec = serde_json::json!({ "config": config, "open_text": open.is_some() });
        let run = Store::open(None)
            .open_or_resume("pretrain", &config.name, &spec, |dir| pretrain(&config, open.as_deref(), dir))?;
        publish(&run, &self.config, &self.out)
    }
}

fn pretrain(config: &PretrainConfig, open: Option<&Path>, dir: &Path) -> Result<()> {
    let folder = dir.join("model");
    let known = folder.join("tokenizer.json").is_file().then(|| crate::model::Tokenizer::open(&folder)).transpose()?;
    println!("reading text{}", if known.is_none() { " and training the tokenizer (a minute or two)" } else { "" });
    let material = material(config, open, known)?;
    material.tokenizer.save(&folder)?;
    let control = material.tokenizer.control();
    let (model, parameters) = fresh(config, material.tokenizer.vocab_size(), &[control.turn_end, control.text_end])?;
    let count: usize = parameters.values().map(|v| v.elem_count()).sum();
    let tokens: usize = material.train.iter().map(|s| s.ids.len()).sum();
    println!("{count} parameters, {} sequences of {tokens} tokens", material.train.len());
    let trainer = Trainer {
        config: &config.training,
        model: &model,
        parameters: &parameters,
        noise: None,
        times: None,
        dir,
        verbose: true,
    };
    let valid: Vec<_> = material.held_out.values().flat_map(|h| h.sequences.iter().cloned()).collect();
    let progress = trainer.run(&material.train, &valid, None)?;
    round_to_f16(&parameters)?; // what is measured is what is stored
    let weights: BTreeMap<String, Tensor> =
        parameters.iter().map(|(n, v)| (n.clone(), v.as_detached_tensor())).collect();
    Checkpoint::save(&folder, &weights, DType::F16)?;
    model.config.write(&folder)?;
    let measured = Measured {
        progress,
        parameters: count,
        vocabulary: material.tokenizer.vocab_size(),
        training_sequences: material.train.len(),
        training_tokens: tokens,
        open_text: open.is_some(),
        bits_per_byte: bits_per_byte(&trainer, &material)?,
        ngram_bits_per_byte: material.ngram_bits_per_byte(),
        ngram_order: NGRAM,
    };
    crate::io::write_json(&dir.join("pretrain.json"), &measured)
}

fn round_to_f16(parameters: &BTreeMap<String, candle_core::Var>) -> Result<()> {
    for var in parameters.values() {
        var.set(&var.as_detached_tensor().to_dtype(DType::F16)?.to_dtype(DType::F32)?)?;
    }
    Ok(())
}

fn bits_per_byte(trainer: &Trainer, material: &Material) -> Result<BTreeMap<String, f64>> {
    let mut bits = BTreeMap::new();
    for (source, held) in &material.held_out {
        let targets: usize = held.sequences.iter().map(|s| s.supervised.len()).sum();
        if let Some(nats) = mean_loss(trainer.model, &held.sequences, trainer.config.batch_tokens)? {
            bits.insert(source.clone(), nats * targets as f64 / std::f64::consts::LN_2 / held.bytes.max(1) as f64);
        }
    }
    Ok(bits)
}

/// Copies what users need from the run to `out`: model, tokenizer, config, log, measurements and a card made from them.
fn publish(run: &Run, config: &Path, out: &Path) -> Result<()> {
    std::fs::create_dir_all(out).map_err(Error::io(out))?;
    let model = run.path("model");
    let files = std::fs::read_dir(&model).map_err(Error::io(&model))?.flatten().map(|f| f.path());
    for from in files.chain([run.path("log.jsonl"), run.path("pretrain.json"), run.path("environment.json")]) {
        let name = from.file_name().unwrap_or_default();
        std::fs::copy(&from, out.join(name)).map_err(Error::io(&from))?;
    }
    std::fs::copy(config, out.join("pretrain.toml")).map_err(Error::io(config))?;
    let card = crate::report::base_card(out)?;
    crate::io::write(&out.join("card.md"), card.as_bytes())?;
    println!("{}", out.display());
    Ok(())
}

//! `dxlab train CONFIG.toml`: a run folder with adapter/ (PEFT) or model/, log.jsonl, config.toml, card.md.
use crate::error::{Error, Result};
use crate::run::{Run, Store};
use crate::study::leak::training_leaks;
use crate::study::{EncoderTrainConfig, Forecast, TrainConfig, export};
use clap::Args;
use std::path::PathBuf;

#[derive(Args)]
pub struct Train {
    /// TOML file, such as configs/lora-plain.toml, or of an encoder that marks decisions, configs/decisions-encoder.toml
    config: PathBuf,
    /// Resume a stopped run of this config from its last checkpoint; without it a stopped run starts again
    #[arg(long)]
    resume: bool,
    /// Only say what the run will need (updates, tokens, memory, time) and which cases leak. No weights are read
    #[arg(long)]
    dry_run: bool,
    /// Train nothing: write the conversations that would be learnt to FOLDER/train.jsonl and FOLDER/validation.jsonl, for a trainer on
    /// another machine (docs/gpu.md)
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["resume", "dry_run"])]
    export: Option<PathBuf>,
}

impl Train {
    pub fn run(self) -> Result<()> {
        if EncoderTrainConfig::is_at(&self.config)? {
            return self.encoder(&EncoderTrainConfig::read(&self.config)?);
        }
        let config = TrainConfig::read(&self.config)?;
        if self.dry_run {
            println!("{}", Forecast::of(&config)?);
            print!("{}", training_leaks(&config, &*crate::task::open(&config.corpus)?)?);
            return Ok(());
        }
        if let Some(folder) = &self.export {
            let made = export(&config, &*crate::task::open(&config.corpus)?, folder)?;
            let (folder, epochs) = (folder.display(), config.training.epochs);
            println!("{folder}/train.jsonl: {} conversations, {epochs} epochs one after the other", made.train);
            println!("{folder}/validation.jsonl: {} conversations", made.validation);
            return Ok(());
        }
        let run = Run::train_in(&Store::open(None), &config, self.resume)?;
        println!("{}", run.dir.display());
        Ok(())
    }

    fn encoder(&self, config: &EncoderTrainConfig) -> Result<()> {
        if self.export.is_some() {
            return Err(Error::input(
                "--export writes the conversations of a language model: an encoder learns from none",
            ));
        }
        if self.dry_run {
            println!("{}", config.forecast()?);
            return Ok(());
        }
        let run = Run::train_encoder_in(&Store::open(None), config, self.resume)?;
        println!("{}", run.dir.display());
        Ok(())
    }
}

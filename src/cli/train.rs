//! `dxlab train CONFIG.toml`: a run folder with adapter/ (PEFT), log.jsonl, config.toml, card.md.
use crate::error::Result;
use crate::run::{Run, Store};
use crate::study::leak::training_leaks;
use crate::study::{Forecast, TrainConfig};
use clap::Args;
use std::path::PathBuf;

#[derive(Args)]
pub struct Train {
    /// TOML file, such as configs/lora-plain.toml
    config: PathBuf,
    /// Resume a stopped run of this config from its last checkpoint; without it a stopped run starts again
    #[arg(long)]
    resume: bool,
    /// Only say what the run will need (updates, tokens, memory, time) and which cases leak. No weights are read
    #[arg(long)]
    dry_run: bool,
}

impl Train {
    pub fn run(self) -> Result<()> {
        let config = TrainConfig::read(&self.config)?;
        if self.dry_run {
            println!("{}", Forecast::of(&config)?);
            print!("{}", training_leaks(&config, &*crate::task::open(&config.corpus)?)?);
            return Ok(());
        }
        let run = Run::train_in(&Store::open(None), &config, self.resume)?;
        println!("{}", run.dir.display());
        Ok(())
    }
}

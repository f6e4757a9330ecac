//! `dxlab train CONFIG.toml`: a run folder with adapter/ (PEFT), log.jsonl, config.toml, card.md.
use crate::error::Result;
use crate::study::{Run, Store, TrainConfig};
use clap::Args;
use std::path::PathBuf;

#[derive(Args)]
pub struct Train {
    /// TOML file, such as configs/lora-plain.toml
    config: PathBuf,
    /// Go on from where a stopped run of this config last saved; without it a stopped run starts again
    #[arg(long)]
    resume: bool,
}

impl Train {
    pub fn run(self) -> Result<()> {
        let config = TrainConfig::read(&self.config)?;
        let run = Run::train_in(&Store::open(None), &config, self.resume)?;
        println!("{}", run.dir.display());
        Ok(())
    }
}

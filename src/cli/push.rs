//! `dxlab push`: a training run to a hub.
use super::export::shard_size;
use crate::error::Result;
use crate::model::Hub;
use crate::run::{Run, Store};
use crate::study::push::{Package, PushConfig};
use clap::Args;
use std::path::{Path, PathBuf};

/// Upload a training run's adapter, or the merged model, with a card to the Hugging Face Hub (HF_ENDPOINT). The token is HF_TOKEN's and
/// goes to the hub alone; a cut upload goes on where it stopped when the same command is run again
#[derive(Args)]
pub struct Push {
    /// Training run: name, folder or digest, or as much of it as is unique
    run: String,
    /// Repository on the hub; made if it is not there
    #[arg(long, value_name = "ORG/NAME")]
    to: String,
    /// Only who may see the organisation's private repositories sees it
    #[arg(long)]
    private: bool,
    /// The base model with the adapter folded in, instead of the adapter; checked as by `dxlab merge`
    #[arg(long)]
    merged: bool,
    /// Only print files, sizes and card; nobody is contacted
    #[arg(long)]
    dry_run: bool,
    /// Name of the base model on the hub, where it is not known
    #[arg(long, value_name = "ORG/NAME")]
    base: Option<String>,
    /// The hub's name for the licence [default: that of the base model, where it is known]
    #[arg(long, value_name = "ID")]
    license: Option<String>,
    /// I may pass on what was trained on this corpus, which is neither synthetic nor open. A model can repeat its training texts
    #[arg(long)]
    i_have_permission: bool,
    /// With --merged: maximum size of one file, such as 500MB
    #[arg(long, value_parser = shard_size, default_value = "5GB", value_name = "SIZE", requires = "merged")]
    shard_size: u64,
    /// Folder of the runs; by default `runs` in the project's folder
    #[arg(long)]
    root: Option<PathBuf>,
}

impl Push {
    pub fn run(self) -> Result<()> {
        let store = Store::open(self.root.as_deref());
        let run = match Path::new(&self.run).join("spec.json").is_file() {
            true => Run::load(Path::new(&self.run))?,
            // a training's answers and arms go by its name too
            false => store.named(&format!("train-{}-", self.run)).or_else(|_| store.named(&self.run))?,
        };
        let push = PushConfig {
            to: self.to,
            merged: self.merged,
            base: self.base,
            license: self.license,
            permitted: self.i_have_permission,
            shard: self.shard_size,
        };
        Hub::check_name(&push.to)?;
        let package = Package::new(&run, &push)?;
        for file in &package.files {
            println!("{:>14} bytes  {}", file.size()?, file.name);
        }
        println!("{:>14} bytes  to {}{}", package.bytes()?, push.to, if self.private { ", private" } else { "" });
        if self.dry_run {
            print!("\n{}", package.card);
            return package.forget();
        }
        let pushed = package.send(&Hub::from_env_to_write(), &push, self.private, &run)?;
        for name in &pushed.present {
            println!("{name} was there already");
        }
        println!("{}  {}", pushed.url, pushed.commit.unwrap_or_default());
        Ok(())
    }
}

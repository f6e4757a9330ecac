//! `dxlab baseline NAME`: what is reached without a language model, as preds.jsonl.
use crate::baseline::{Baseline, BaselineSettings};
use crate::error::{Error, Result};
use crate::run::{Run, Store, write_predictions};
use crate::task::LabelTask;
use clap::Args;
use std::path::PathBuf;

/// Answers that need no language model: most-frequent, name-search, tfidf-logreg, nearest
#[derive(Args)]
pub struct Fit {
    /// `most-frequent`, `name-search`, `tfidf-logreg` or `nearest` (labels of the nearest training cases)
    name: String,
    /// `findings`, `bc5cdr`, `ncbi`, or a file or folder of findings; fitted on its training split, asked about its test split
    #[arg(long, default_value = "findings")]
    data: String,
    /// Where preds.jsonl goes, besides the run store
    #[arg(long)]
    out: PathBuf,
}

impl Fit {
    pub fn run(self) -> Result<()> {
        let Some(baseline) = Baseline::ALL.into_iter().find(|baseline| baseline.name() == self.name) else {
            let names = Baseline::ALL.map(Baseline::name).join(", ");
            return Err(Error::input(format!("no baseline `{}`: there are {names}", self.name)));
        };
        let task = LabelTask::open(&self.data)?;
        let run = Run::open_or_baseline(&Store::open(None), baseline, &task, &BaselineSettings::default())?;
        write_predictions(&self.out, &run.answers(&task)?)?;
        println!("{} (from {})", self.out.display(), run.dir.display());
        Ok(())
    }
}

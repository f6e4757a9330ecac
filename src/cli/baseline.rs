//! `dxlab baseline NAME`: what is reached without a language model, as preds.jsonl.
use crate::baseline::{Baseline, BaselineSettings};
use crate::error::{Error, Result};
use crate::phenotype::RankerKind;
use crate::run::{Run, Store, write_predictions};
use crate::task::{AnyTask, LabelTask, RareDisease};
use clap::Args;
use std::path::PathBuf;

/// Answers that need no language model
///
/// Of label sets: most-frequent, name-search, tfidf-logreg, nearest (labels of the nearest training cases). Of rare diseases: the rankers of
/// `dxlab rank-diseases`, which then know the training patients alone.
#[derive(Args)]
pub struct Fit {
    /// Name of the method
    name: String,
    /// `findings`, `bc5cdr`, `ncbi`, a file or folder of findings, or `rare-disease`; fitted on its training split, asked about its test split
    #[arg(long, default_value = "findings")]
    data: String,
    /// Where preds.jsonl goes, besides the run store
    #[arg(long)]
    out: PathBuf,
}

impl Fit {
    pub fn run(self) -> Result<()> {
        let store = Store::open(None);
        if RareDisease::knows(&self.data) {
            let kind = self.of(RankerKind::ALL, RankerKind::name)?;
            let task = RareDisease::open(&self.data)?;
            return self.write(&task, &Run::open_or_shortlist(&store, kind, &task)?);
        }
        let baseline = self.of(Baseline::ALL, Baseline::name)?;
        let task = LabelTask::open(&self.data)?;
        self.write(&task, &Run::open_or_baseline(&store, baseline, &task, &BaselineSettings::default())?)
    }

    /// The method of that name.
    fn of<T: Copy, const N: usize>(&self, all: [T; N], name: impl Fn(T) -> &'static str) -> Result<T> {
        all.into_iter().find(|one| name(*one) == self.name).ok_or_else(|| {
            let names = all.map(&name).join(", ");
            Error::input(format!("no baseline `{}` for {}: there are {names}", self.name, self.data))
        })
    }

    fn write(&self, task: &dyn AnyTask, run: &Run) -> Result<()> {
        write_predictions(&self.out, &run.answers(task)?)?;
        println!("{} (from {})", self.out.display(), run.dir.display());
        Ok(())
    }
}

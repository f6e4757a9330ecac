//! `dxlab vote`: one file of predictions out of several.
use super::compare::{one_corpus, read_named};
use super::evaluate::{How, reread};
use crate::error::{Error, Result};
use crate::run::write_predictions;
use crate::study::{Rule, combine};
use clap::Args;
use std::path::PathBuf;

/// One answer per case out of those of several runs: seeds, methods, prompts
#[derive(Args)]
pub struct VoteOver {
    /// preds.jsonl of two or more runs on the same cases
    #[arg(required = true, num_args = 2..)]
    predictions: Vec<PathBuf>,
    /// Share of the runs that must name a label
    #[arg(long, value_name = "SHARE", default_value_t = 0.5)]
    share: f64,
    /// The one answer that is on average nearest to all (minimum Bayes risk), in the place of a vote label by label
    #[arg(long, conflicts_with = "share")]
    consensus: bool,
    /// Keep known labels (those of training cases) of the first file only, and new labels of the other files only: a search for known names, and a
    /// model that also finds others
    #[arg(long, conflicts_with_all = ["share", "consensus"])]
    known_first: bool,
    /// Where the combined predictions go
    #[arg(long)]
    out: PathBuf,
    #[command(flatten)]
    how: How,
}

impl VoteOver {
    pub fn run(self) -> Result<()> {
        let same = |path: &PathBuf| std::fs::canonicalize(path).ok() == std::fs::canonicalize(&self.out).ok();
        if self.out.exists() && self.predictions.iter().any(same) {
            return Err(Error::input(format!(
                "--out {} is one of the files to combine: name another",
                self.out.display()
            )));
        }
        let named = read_named(&self.predictions)?;
        one_corpus(&named)?;
        let task = self.how.task(&named[0].1)?;
        let runs: Vec<_> = named.into_iter().map(|(_, predictions)| reread(&*task, predictions)).collect();
        let rule = match (self.consensus, self.known_first) {
            (true, _) => Rule::Consensus,
            (_, true) => Rule::Known,
            _ => Rule::Share(self.share),
        };
        let made = combine(&*task, &runs, rule)?;
        write_predictions(&self.out, &made)?;
        println!("{}: {} cases, {} runs", self.out.display(), made.len(), runs.len());
        Ok(())
    }
}

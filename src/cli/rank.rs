//! `dxlab rank`: a closed list in order of likelihood after every prompt of a pairs file.
use super::pairs::{Source, write_lines};
use crate::error::{Error, Result};
use crate::generate::{By, Ranked, rank, read_labels};
use clap::{Args, ValueEnum};
use serde_json::json;
use std::path::PathBuf;

/// Candidates by log-likelihood, the end of turn included: one object {"ranked":[{"label","logprob","mean","tokens"},…]} per line,
/// the likeliest first
#[derive(Args)]
pub struct Rank {
    #[command(flatten)]
    source: Source,
    /// One candidate per line
    #[arg(long)]
    labels: PathBuf,
    /// What candidates are ordered by: the sum of log p over their tokens, or its mean
    #[arg(long, value_enum, default_value = "sum")]
    by: Order,
    /// Maximum number of candidates per line; all by default
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    top: Option<u32>,
    /// Candidates scored at the same time
    #[arg(long, default_value_t = 32)]
    batch: usize,
    /// Where the lines go
    #[arg(long)]
    out: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Order {
    Sum,
    Mean,
}

impl Rank {
    pub fn run(self) -> Result<()> {
        let labels = read_labels(&self.labels)?;
        let opened = self.source.open()?;
        let tokenizer = opened.tokenizer.as_ref().ok_or_else(|| {
            Error::input("ranking labels needs a tokenizer: expected tokenizer.json in the model folder")
        })?;
        let end = tokenizer.control().turn_end;
        let candidate = |label: &String| Ok([tokenizer.encode(label, false)?, vec![end]].concat());
        let candidates = labels.iter().map(candidate).collect::<Result<Vec<_>>>()?;
        let longest = candidates.iter().map(Vec::len).max().unwrap_or(1);
        opened.check(|pair| pair.prompt_ids.len() + longest - 1)?; // the last token is predicted, never read
        let model = opened.model()?;
        let prompts: Vec<Vec<u32>> = opened.pairs.iter().map(|p| p.prompt_ids.clone()).collect();
        let by = if matches!(self.by, Order::Sum) { By::Sum } else { By::Mean };
        let shown = self.top.map_or(usize::MAX, |k| k as usize);
        let row = |r: &Ranked| json!({"label": labels[r.candidate], "logprob": r.logprob, "mean": r.mean(), "tokens": r.tokens});
        let ranked = rank(&model, &prompts, &candidates, by, self.batch)?;
        let line = |ranked: Vec<Ranked>| json!({"ranked": ranked.iter().take(shown).map(row).collect::<Vec<_>>()});
        write_lines(&self.out, ranked.into_iter().map(line))
    }
}

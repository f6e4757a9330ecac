//! `dxlab score`, and what all commands on pairs files share: a pairs file in, a JSON object a line out.
use super::weights::Weights;
use crate::adapter::{Adapter, Mode};
use crate::error::{Error, Result};
use crate::generate::{Pair, read_pairs, score};
use crate::model::{Qwen3, Tokenizer, resolve};
use clap::Args;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Args)]
pub struct Score {
    #[command(flatten)]
    source: Source,
    /// Where the lines go
    #[arg(long)]
    out: PathBuf,
}

#[derive(Args)]
pub struct Source {
    /// Model folder, .gguf file, hub id or `embedded`
    #[arg(long)]
    model: String,
    /// PEFT adapter folder
    #[arg(long)]
    adapter: Option<PathBuf>,
    /// A JSON object a line: {"prompt_ids":[…],"completion_ids":[…]} or {"prompt":"…","completion":"…"}
    #[arg(long)]
    pairs: PathBuf,
    #[command(flatten)]
    weights: Weights,
}

impl Source {
    /// The model with its adapter, the pairs, and the tokenizer where the model has one.
    pub fn open(&self) -> Result<(Qwen3, Vec<Pair>, Option<Arc<Tokenizer>>)> {
        let dir = resolve(&self.model)?;
        let tokenizer = Tokenizer::find(&dir)?.map(Arc::new);
        let encode = tokenizer.as_ref().map(|t| move |text: &str| t.encode(text, true));
        let pairs = read_pairs(&self.pairs, encode.as_ref().map(|e| e as &dyn Fn(&str) -> Result<Vec<u32>>))?;
        let mut model = Qwen3::load_as(&dir, self.weights.keep())?;
        if let Some(dir) = &self.adapter {
            Adapter::load(dir, &mut model)?.attach(&mut model, Mode::Infer)?;
        }
        Ok((model, pairs, tokenizer))
    }
}

impl Score {
    pub fn run(self) -> Result<()> {
        let (model, pairs, _) = self.source.open()?;
        let lines = score(&model, &pairs, 2048)?.into_iter().map(|l| serde_json::json!({"logprobs": l}));
        write_lines(&self.out, lines)
    }
}

/// Fails where there is none.
pub fn write_lines(path: &Path, lines: impl Iterator<Item = serde_json::Value>) -> Result<()> {
    let text: String = lines.map(|l| format!("{l}\n")).collect();
    match text.is_empty() {
        true => Err(Error::input("the pairs file holds no line")),
        false => crate::study::file::write(path, text.as_bytes()),
    }
}

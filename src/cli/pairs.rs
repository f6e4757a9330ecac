//! `dxlab score` and `dxlab generate`: a pairs file in, a JSON object a line out.
use crate::adapter::{Adapter, Mode};
use crate::error::{Error, Result};
use crate::generate::{Limits, greedy, read_pairs, score};
use crate::model::{Qwen3, resolve};
use clap::Args;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct Score {
    #[command(flatten)]
    source: Source,
    /// Where the lines go
    #[arg(long)]
    out: PathBuf,
}

#[derive(Args)]
pub struct Generate {
    #[command(flatten)]
    source: Source,
    /// New tokens a prompt, at most
    #[arg(long, default_value_t = 64)]
    new: usize,
    /// Go on past the end of turn until `--new` tokens are made
    #[arg(long)]
    ignore_eos: bool,
    /// Sequences decoded at the same time
    #[arg(long, default_value_t = 8)]
    batch: usize,
    /// Where the lines go
    #[arg(long)]
    out: PathBuf,
}

#[derive(Args)]
struct Source {
    /// Model folder, hub id or `embedded`
    #[arg(long)]
    model: String,
    /// PEFT adapter folder
    #[arg(long)]
    adapter: Option<PathBuf>,
    /// A JSON object a line: {"prompt_ids":[…],"completion_ids":[…]} or {"prompt":"…","completion":"…"}
    #[arg(long)]
    pairs: PathBuf,
}

impl Source {
    fn open(&self) -> Result<(Qwen3, Vec<crate::generate::Pair>)> {
        let dir = resolve(&self.model)?;
        let tokenizer = match dir.join("tokenizer.json").is_file() {
            true => Some(crate::model::Tokenizer::open(&dir)?),
            false => None,
        };
        let encode = tokenizer.as_ref().map(|t| move |text: &str| t.encode(text, true));
        let pairs = read_pairs(&self.pairs, encode.as_ref().map(|e| e as &dyn Fn(&str) -> Result<Vec<u32>>))?;
        let mut model = Qwen3::load(&dir)?;
        if let Some(dir) = &self.adapter {
            Adapter::load(dir, &mut model)?.attach(&mut model, Mode::Infer)?;
        }
        Ok((model, pairs))
    }
}

impl Score {
    pub fn run(self) -> Result<()> {
        let (model, pairs) = self.source.open()?;
        let lines = score(&model, &pairs, 2048)?.into_iter().map(|l| serde_json::json!({"logprobs": l}));
        write_lines(&self.out, lines)
    }
}

impl Generate {
    pub fn run(self) -> Result<()> {
        let (model, pairs) = self.source.open()?;
        let stop = if self.ignore_eos { vec![] } else { model.config.eos_token_id.clone() };
        let prompts: Vec<Vec<u32>> = pairs.into_iter().map(|p| p.prompt_ids).collect();
        let made = greedy(&model, &prompts, &Limits { max_new: self.new, batch: self.batch, stop })?;
        write_lines(&self.out, made.into_iter().map(|g| serde_json::json!({"tokens": g.tokens})))
    }
}

fn write_lines(path: &Path, lines: impl Iterator<Item = serde_json::Value>) -> Result<()> {
    let text: String = lines.map(|l| format!("{l}\n")).collect();
    crate::study::file::write(path, text.as_bytes())?;
    match text.is_empty() {
        true => Err(Error::input("the pairs file holds no line")),
        false => Ok(()),
    }
}

//! `dxlab score`, and what all commands on pairs files share: a pairs file in, a JSON object a line out.
use super::weights::Weights;
use crate::adapter::{Adapter, Mode};
use crate::error::{Error, Result};
use crate::generate::{Pair, adapter_folder, base_id, check_pairs, read_pairs, score, warn_of_other_base};
use crate::model::{CausalLm, Checkpoint, Config, Tokenizer, default_device, resolve};
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
    /// Run folder of a training run, or a PEFT adapter folder
    #[arg(long)]
    adapter: Option<PathBuf>,
    /// One JSON object per line: {"prompt_ids":[…],"completion_ids":[…]} or {"prompt":"…","completion":"…"}
    #[arg(long)]
    pairs: PathBuf,
    #[command(flatten)]
    weights: Weights,
}

impl Source {
    /// All but the weights.
    pub fn open(&self) -> Result<Opened<'_>> {
        let folder = resolve(&self.model)?;
        let config = Checkpoint::open(&folder)?.config().clone();
        let tokenizer = Tokenizer::find(&folder)?.map(Arc::new);
        if let Some(tokenizer) = &tokenizer {
            tokenizer.fits(config.vocab_size)?;
        }
        let encode = tokenizer.as_ref().map(|t| move |text: &str| t.encode(text, true));
        let pairs = read_pairs(&self.pairs, encode.as_ref().map(|e| e as &dyn Fn(&str) -> Result<Vec<u32>>))?;
        Ok(Opened { source: self, folder, config, pairs, tokenizer })
    }
}

/// A model whose weights are not read yet, and the pairs it is asked about.
pub struct Opened<'a> {
    source: &'a Source,
    folder: PathBuf,
    pub config: Config,
    pub pairs: Vec<Pair>,
    /// Where the model has one.
    pub tokenizer: Option<Arc<Tokenizer>>,
}

impl Opened<'_> {
    /// Fails for a pair that the model cannot take, and names its line. `read`: how many tokens of a pair it would read.
    pub fn check(&self, read: impl Fn(&Pair) -> usize) -> Result<()> {
        check_pairs(&self.source.pairs, &self.pairs, &self.config, read)
    }

    /// The model with its adapter.
    pub fn model(&self) -> Result<CausalLm> {
        let mut model = CausalLm::load(&self.folder, self.source.weights.precision(), &default_device())?;
        if let Some(folder) = &self.source.adapter {
            let folder = adapter_folder(folder);
            Adapter::load(&folder, &mut model)?.attach(&mut model, Mode::Infer)?;
            warn_of_other_base(&folder, || base_id(&self.source.model))?;
        }
        Ok(model)
    }

    /// What a pair is called in errors.
    pub fn called(&self, at: usize) -> String {
        format!("{} line {}", self.source.pairs.display(), self.pairs[at].line)
    }
}

impl Score {
    pub fn run(self) -> Result<()> {
        let opened = self.source.open()?;
        // the last token is predicted, never read
        opened.check(|pair| (pair.prompt_ids.len() + pair.completion_ids.len()).saturating_sub(1))?;
        if let Some(pair) = opened.pairs.iter().find(|pair| pair.completion_ids.is_empty()) {
            return Err(Error::input(format!(
                "{} line {}: nothing to score: expected a `completion`, or `completion_ids`, that is not empty",
                self.source.pairs.display(),
                pair.line
            )));
        }
        let lines = score(&opened.model()?, &opened.pairs, 2048)?.into_iter();
        write_lines(&self.out, lines.map(|l| serde_json::json!({"logprobs": l})))
    }
}

/// Fails where there is none.
pub fn write_lines(path: &Path, lines: impl Iterator<Item = serde_json::Value>) -> Result<()> {
    let text: String = lines.map(|l| format!("{l}\n")).collect();
    match text.is_empty() {
        true => Err(Error::input("the pairs file holds no line")),
        false => crate::io::write(path, text.as_bytes()),
    }
}

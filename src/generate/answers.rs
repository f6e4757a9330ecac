//! A model is something that answers prompts (design, rule 3): whoever asks does not know what stands behind.
use super::greedy::{Limits, greedy_with};
use crate::adapter::{Adapter, Mode};
use crate::corpus::Case;
use crate::error::{Error, Result};
use crate::model::{Checkpoint, Qwen3, Tokenizer, resolve};
use crate::prompt::{Encoder, Overlong, Prompt};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What came back for one case.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Byte for byte, without the token that ended it.
    pub raw: String,
    /// Sum of log p of the answer's tokens (natural logarithm), where the model gives them.
    pub logprob: Option<f64>,
    pub prompt_tokens: usize,
    pub new_tokens: usize,
    pub seconds: f64,
}

pub trait Answers {
    /// Name and digest, `embedded@9c2e…`.
    fn id(&self) -> &str;
    /// Name and digest of the adapter, if there is one.
    fn adapter(&self) -> Option<&str>;
    /// One answer a case, in order; `done` hears how many are finished.
    fn answer(&self, prompt: &Prompt, cases: &[Case], done: &mut dyn FnMut(usize)) -> Result<Vec<Answer>>;
}

/// A checkpoint in this process, with or without an adapter, decoding greedily.
pub struct Local {
    pub model: Qwen3,
    pub tokenizer: Arc<Tokenizer>,
    id: String,
    adapter: Option<String>,
    /// New tokens an answer, at most.
    pub max_new: usize,
    /// Cases decoded at the same time.
    pub batch: usize,
}

impl Local {
    /// `name`: a folder, a hub id or `embedded`. `adapter`: a PEFT folder, or a run folder that holds `adapter/`.
    pub fn open(name: &str, adapter: Option<&Path>) -> Result<Self> {
        let dir = resolve(name)?;
        let mut model = Qwen3::load(&dir)?;
        let tokenizer = Tokenizer::open(&dir)?;
        tokenizer.fits(model.config.vocab_size)?;
        let adapter = match adapter {
            Some(folder) => {
                let folder = adapter_folder(folder);
                Adapter::load(&folder, &mut model)?.attach(&mut model, Mode::Infer)?;
                Some(adapter_id(&folder)?)
            }
            None => None,
        };
        Ok(Self { model, tokenizer: Arc::new(tokenizer), id: base_id(name)?, adapter, max_new: 96, batch: 16 })
    }

    /// The encoder of this model's prompts: longer ones than its positions allow lose the end of the finding.
    pub fn encoder(&self) -> Encoder {
        let room = self.model.config.max_position_embeddings.saturating_sub(self.max_new);
        Encoder::new(self.tokenizer.clone()).limit(room, Overlong::Shorten)
    }
}

impl Answers for Local {
    fn id(&self) -> &str {
        &self.id
    }

    fn adapter(&self) -> Option<&str> {
        self.adapter.as_deref()
    }

    fn answer(&self, prompt: &Prompt, cases: &[Case], done: &mut dyn FnMut(usize)) -> Result<Vec<Answer>> {
        let encoder = self.encoder();
        let prompts = cases.iter().map(|c| Ok(encoder.serve_case(prompt, c)?.ids)).collect::<Result<Vec<_>>>()?;
        let mut stop = self.model.config.eos_token_id.clone();
        stop.push(encoder.end()?);
        let limits = Limits { max_new: self.max_new, batch: self.batch, stop };
        let made = greedy_with(&self.model, &prompts, &limits, done)?;
        made.into_iter()
            .zip(&prompts)
            .map(|(g, prompt)| {
                Ok(Answer {
                    raw: self.tokenizer.decode(&g.tokens, true)?,
                    logprob: Some(g.logprob),
                    prompt_tokens: prompt.len(),
                    new_tokens: g.tokens.len(),
                    seconds: g.seconds,
                })
            })
            .collect()
    }
}

/// `embedded@<12 hex>`: the model's name and the digest of its config, weights and tokenizer.
pub fn base_id(name: &str) -> Result<String> {
    let dir = resolve(name)?;
    let mut hash = Sha256::new();
    hash.update(Checkpoint::open(&dir)?.digest()?);
    hash.update(Tokenizer::open(&dir)?.digest()?);
    Ok(format!("{}@{}", last_part(Path::new(name)), &hex(hash)[..12]))
}

/// `<run or folder>@<12 hex>` of an adapter's two files.
pub fn adapter_id(folder: &Path) -> Result<String> {
    let folder = adapter_folder(folder);
    let mut hash = Sha256::new();
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        let path = folder.join(file);
        hash.update(std::fs::read(&path).map_err(Error::io(&path))?);
    }
    let named = if folder.ends_with("adapter") { folder.parent().unwrap_or(&folder) } else { &folder };
    Ok(format!("{}@{}", run_name(&last_part(named)), &hex(hash)[..12]))
}

/// `adapter/` of a run folder, else the folder itself.
fn adapter_folder(folder: &Path) -> PathBuf {
    let inner = folder.join("adapter");
    if inner.join("adapter_config.json").is_file() { inner } else { folder.to_path_buf() }
}

/// `train-lora-plain-1f3a9c2e77d0` → `lora-plain`; other names stay.
fn run_name(folder: &str) -> String {
    let trimmed = folder.strip_prefix("train-").and_then(|n| n.rsplit_once('-'));
    match trimmed {
        Some((name, digest)) if digest.len() == 12 && digest.chars().all(|c| c.is_ascii_hexdigit()) => name.to_string(),
        _ => folder.to_string(),
    }
}

fn last_part(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_lend_their_names_to_adapters() {
        assert_eq!(run_name("train-lora-plain-1f3a9c2e77d0"), "lora-plain");
        assert_eq!(run_name("my-adapter"), "my-adapter");
        let golden = crate::home().join("tests/golden/adapter");
        assert!(adapter_id(&golden).unwrap().starts_with("golden@"), "a folder named adapter takes its parent's name");
    }
}

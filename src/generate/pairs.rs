//! `pairs` files: prompts and completions as token ids or text, and their log-probabilities under a model.
use crate::error::{Error, Result};
use crate::model::Qwen3;
use crate::train::{Batch, Sequence, plan};
use serde::Deserialize;
use std::path::Path;

/// One line: `{"prompt_ids":[…],"completion_ids":[…]}`.
#[derive(Clone, Debug, Deserialize)]
pub struct Pair {
    pub prompt_ids: Vec<u32>,
    #[serde(default)]
    pub completion_ids: Vec<u32>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Ids(Pair),
    Text {
        prompt: String,
        #[serde(default)]
        completion: String,
    },
}

impl Pair {
    fn sequence(&self) -> Sequence {
        Sequence::completion([self.prompt_ids.as_slice(), &self.completion_ids].concat(), self.prompt_ids.len())
    }
}

/// Reads a pairs file; `encode` turns the text form into ids (None where no tokenizer is at hand).
pub fn read_pairs(path: &Path, encode: Option<&dyn Fn(&str) -> Result<Vec<u32>>>) -> Result<Vec<Pair>> {
    let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
    let lines = text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty());
    let read = |(i, line): (usize, &str)| -> Result<Pair> {
        let at = || format!("{} line {}", path.display(), i + 1);
        let wanted = "expected {\"prompt_ids\":[…],\"completion_ids\":[…]} or {\"prompt\":\"…\",\"completion\":\"…\"}";
        let pair = match serde_json::from_str(line).map_err(|e| Error::input(format!("{}: {e}; {wanted}", at())))? {
            Line::Ids(pair) => pair,
            Line::Text { prompt, completion } => match encode {
                Some(encode) => Pair { prompt_ids: encode(&prompt)?, completion_ids: encode(&completion)? },
                None => {
                    return Err(Error::input(format!(
                        "{}: text pairs need a tokenizer.json in the model folder",
                        at()
                    )));
                }
            },
        };
        if pair.prompt_ids.is_empty() {
            return Err(Error::input(format!("{}: empty prompt, at least one token is wanted", at())));
        }
        Ok(pair)
    };
    lines.map(read).collect()
}

/// log p of every completion token of every pair (natural logarithm), packed up to `batch_tokens` at a time.
pub fn score(model: &Qwen3, pairs: &[Pair], batch_tokens: usize) -> Result<Vec<Vec<f64>>> {
    let sequences: Vec<Sequence> = pairs.iter().map(Pair::sequence).collect();
    let lengths: Vec<usize> = sequences.iter().map(|s| s.ids.len()).collect();
    let mut scores = vec![Vec::new(); pairs.len()];
    for batch in plan(&lengths, batch_tokens, 1, 0) {
        let batch: Vec<usize> = batch.into_iter().filter(|&i| !pairs[i].completion_ids.is_empty()).collect();
        if batch.is_empty() {
            continue;
        }
        let logp = Batch::pack(batch.iter().map(|&i| &sequences[i])).score(model)?;
        let mut rest = logp.into_iter().map(f64::from);
        for i in batch {
            scores[i] = rest.by_ref().take(pairs[i].completion_ids.len()).collect();
        }
    }
    Ok(scores)
}

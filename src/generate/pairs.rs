//! `pairs` files: prompts and completions as token ids or text, and their log-probabilities under a model.
use crate::error::{Error, Result};
use crate::model::{CausalLm, Config};
use crate::train::{Batch, Sequence, plan};
use serde::Deserialize;
use std::path::Path;

/// One line: `{"prompt_ids":[…],"completion_ids":[…]}`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Pair {
    pub prompt_ids: Vec<u32>,
    #[serde(default)]
    pub completion_ids: Vec<u32>,
    /// Where it stands in its file, from 1; 0 where it is of no file.
    #[serde(skip)]
    pub line: usize,
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
    let text = crate::io::read_text(path)?;
    let lines = text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty());
    let read = |(i, line): (usize, &str)| -> Result<Pair> {
        let at = || format!("{} line {}", path.display(), i + 1);
        let wanted = "expected {\"prompt_ids\":[…],\"completion_ids\":[…]} or {\"prompt\":\"…\",\"completion\":\"…\"}";
        let pair = match serde_json::from_str(line).map_err(|e| Error::input(format!("{}: {e}; {wanted}", at())))? {
            Line::Ids(pair) => Pair { line: i + 1, ..pair },
            Line::Text { prompt, completion } => match encode {
                Some(encode) => {
                    Pair { prompt_ids: encode(&prompt)?, completion_ids: encode(&completion)?, line: i + 1 }
                }
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

/// Fails for the first pair of the file at `path` that a model of this config cannot take: a token id outside its vocabulary, or more
/// tokens than it has positions. `read`: how many tokens of a pair it would read.
pub fn check_pairs(path: &Path, pairs: &[Pair], model: &Config, read: impl Fn(&Pair) -> usize) -> Result<()> {
    for pair in pairs {
        let known = model.knows(&pair.prompt_ids).and_then(|()| model.knows(&pair.completion_ids));
        known.and_then(|()| model.holds(read(pair))).map_err(|e| match e {
            Error::Input(what) => Error::Input(format!("{} line {}: {what}", path.display(), pair.line)),
            other => other,
        })?;
    }
    Ok(())
}

/// log p of every completion token of every pair (natural logarithm), packed up to `batch_tokens` at a time.
pub fn score(model: &CausalLm, pairs: &[Pair], batch_tokens: usize) -> Result<Vec<Vec<f64>>> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::golden::model;

    #[test]
    fn a_pair_that_the_model_cannot_take_is_named_by_its_line() {
        let (m, folder) = (model("tied"), tempfile::tempdir().unwrap());
        let path = folder.path().join("p.jsonl");
        let said = |line: &str| {
            std::fs::write(&path, format!("{{\"prompt_ids\":[1]}}\n\n{line}\n")).unwrap();
            let pairs = read_pairs(&path, None).unwrap();
            assert_eq!(pairs.iter().map(|pair| pair.line).collect::<Vec<_>>(), [1, 3]);
            let error = check_pairs(&path, &pairs, &m.config, |pair| pair.prompt_ids.len()).err();
            error.map(|e| (e.exit_code(), e.to_string()))
        };
        for line in [r#"{"prompt_ids":[256]}"#, r#"{"prompt_ids":[3],"completion_ids":[4,256]}"#] {
            let (code, what) = said(line).unwrap();
            assert!(code == 2 && what.contains("p.jsonl line 3: token id 256 lies outside"), "{what}");
        }
        let (code, what) = said(&format!("{{\"prompt_ids\":{:?}}}", vec![3; 513])).unwrap();
        assert!(code == 2 && what.contains("p.jsonl line 3: a sequence of 513 tokens is longer"), "{what}");
        assert_eq!(said(&format!("{{\"prompt_ids\":{:?}}}", vec![3; 512])), None);
    }

    #[test]
    fn a_target_outside_the_vocabulary_is_bad_input() {
        // the last token is never read, only looked up
        let pair = Pair { prompt_ids: vec![3], completion_ids: vec![256], line: 1 };
        let error = score(&model("tied"), &[pair], 64).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains("token id 256 lies outside"), "{error}");
    }
}

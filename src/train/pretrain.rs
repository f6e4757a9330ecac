//! Pretraining a small Qwen3 from nothing: tokenizer, random weights, plain text and unlabelled chat-shaped text, next token.
//!
//! What it learns from: open medical text where `DXLAB_DATA` is present, fresh synthetic reports (text only), and two tasks in
//! chat format that need no diagnosis: answering MedQuAD's questions, and quoting the sentence of a report that names an
//! organ. It never sees a label list, so what fine-tuning adds is the task itself.
use super::batch::Sequence;
use super::trainer::LoopConfig;
use crate::corpus::synthetic;
use crate::corpus::text::{Document, documents};
use crate::error::{Error, Result};
use crate::model::{Config, Qwen3, Tokenizer};
use crate::prompt::{Encoder, Prompt, PromptContext};
use candle_core::{Device, Var};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainConfig {
    pub name: String,
    pub seed: u64,
    pub shape: Shape,
    pub data: Mixture,
    pub training: LoopConfig,
}

/// The size of the model; keys as in `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub num_key_value_heads: usize,
    pub head_dim: usize,
    pub max_position_embeddings: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mixture {
    /// Fresh synthetic reports, as plain text and each once more as a quoting task.
    pub synthetic_reports: usize,
    /// Open documents, at most, spread evenly over all of them; none are read without `DXLAB_DATA`.
    pub open_documents: usize,
    /// Tokens of one training sequence, at most; longer texts are cut into pieces.
    pub sequence_tokens: usize,
}

/// Everything that pretraining reads, as ids.
pub struct Material {
    pub tokenizer: Arc<Tokenizer>,
    pub train: Vec<Sequence>,
    /// Held-out sequences by source.
    pub held_out: BTreeMap<String, HeldOut>,
}

#[derive(Default)]
pub struct HeldOut {
    pub sequences: Vec<Sequence>,
    /// Bytes of text behind the supervised tokens, for bits per byte.
    pub bytes: usize,
}

/// A text before it is ids: plain, or a question with its answer.
struct Item {
    source: &'static str,
    question: Option<String>,
    text: String,
    held_out: bool,
}

/// Texts of the mixture, a tokenizer trained on the part that is not held out (or the one given), and their ids.
pub fn material(config: &PretrainConfig, open: Option<&Path>, tokenizer: Option<Tokenizer>) -> Result<Material> {
    let items = items(config, open)?;
    let tokenizer = Arc::new(match tokenizer {
        Some(tokenizer) => tokenizer,
        None => {
            let texts = items.iter().filter(|i| !i.held_out);
            let texts: Vec<String> = texts.flat_map(|i| i.question.iter().chain([&i.text])).cloned().collect();
            Tokenizer::train(texts.into_iter(), config.shape.vocab_size)?
        }
    });
    let ask = Prompt::named("ask", &PromptContext::default())?;
    let encoder = Encoder::new(tokenizer.clone());
    let mut material = Material { tokenizer: tokenizer.clone(), train: vec![], held_out: BTreeMap::new() };
    for item in items {
        let sequences = match &item.question {
            Some(question) => {
                let example = encoder.train(&ask, question, &item.text)?;
                let mut ids = example.ids;
                ids.truncate(config.data.sequence_tokens);
                vec![Sequence::completion(ids, example.prompt_len)]
            }
            None => pieces(&tokenizer, &item.text, config.data.sequence_tokens)?,
        };
        let sequences = sequences.into_iter().filter(|s| !s.supervised.is_empty());
        match item.held_out {
            false => material.train.extend(sequences),
            true => {
                let kept = material.held_out.entry(item.source.to_string()).or_default();
                for s in sequences {
                    kept.bytes += tokenizer.decode(&s.ids[s.supervised.clone()], true)?.len();
                    kept.sequences.push(s);
                }
            }
        }
    }
    Ok(material)
}

/// Plain text as sequences of at most `most` tokens, the end-of-text token last.
fn pieces(tokenizer: &Tokenizer, text: &str, most: usize) -> Result<Vec<Sequence>> {
    let mut ids = tokenizer.encode(text, false)?;
    ids.push(tokenizer.control().endoftext);
    Ok(ids.chunks(most).map(|c| Sequence::text(c.to_vec())).collect())
}

fn items(config: &PretrainConfig, open: Option<&Path>) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    if let Some(dir) = open {
        let all = documents(dir)?;
        let keep = config.data.open_documents.min(all.len());
        items.extend(thin(all, keep).into_iter().map(|d| Item {
            held_out: d.held_out(),
            source: d.source,
            question: d.question,
            text: d.text,
        }));
    }
    let reports = synthetic::training_text(config.seed, config.data.synthetic_reports)?;
    let mut rng = ChaCha8Rng::seed_from_u64(config.seed);
    for (i, report) in reports.into_iter().enumerate() {
        let held_out = i % 50 == 49;
        if let Some((question, text)) = quoting(&report, &mut rng) {
            items.push(Item { source: "synthetic quoting", question: Some(question), text, held_out });
        }
        items.push(Item { source: "synthetic reports", question: None, text: report, held_out });
    }
    Ok(items)
}

/// `keep` of the documents at even distances.
fn thin(all: Vec<Document>, keep: usize) -> Vec<Document> {
    let n = all.len();
    all.into_iter().enumerate().filter(|(i, _)| (i + 1) * keep / n > i * keep / n).map(|(_, d)| d).collect()
}

const ORGANS: [&str; 12] = [
    "liver",
    "gallbladder",
    "spleen",
    "pancreas",
    "kidney",
    "adrenal",
    "bladder",
    "aorta",
    "bowel",
    "appendix",
    "lymph node",
    "stomach",
];

/// "Quote the sentence about the …", a report, and its first sentence that names the organ.
fn quoting(report: &str, rng: &mut ChaCha8Rng) -> Option<(String, String)> {
    let organ = ORGANS[rng.random_range(0..ORGANS.len())];
    let sentence = report.split_inclusive(". ").find(|s| s.to_lowercase().contains(organ))?;
    Some((
        format!("Quote the first sentence of this report that names: {organ}\n\n{report}"),
        sentence.trim().to_string(),
    ))
}

/// Random weights: normal with deviation 0.02, the projections back into the residual stream smaller by √(2 · layers)
/// (Radford et al. 2019, §2.3), norms 1.
pub fn fresh(config: &PretrainConfig, vocab_size: usize, eos: &[u32]) -> Result<(Qwen3, BTreeMap<String, Var>)> {
    let s = &config.shape;
    let mut shape = Config::small(vocab_size, s.hidden_size, s.num_hidden_layers, s.num_attention_heads);
    shape.intermediate_size = s.intermediate_size;
    shape.num_key_value_heads = s.num_key_value_heads;
    shape.head_dim = s.head_dim;
    shape.max_position_embeddings = s.max_position_embeddings;
    shape.tie_word_embeddings = true;
    shape.eos_token_id = eos.to_vec();
    let mut rng = ChaCha8Rng::seed_from_u64(config.seed);
    let mut parameters = BTreeMap::new();
    let back = 0.02 / (2.0 * s.num_hidden_layers as f32).sqrt();
    let model = Qwen3::new(&shape, &mut |name, dims| {
        let deviation = if name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight") { back } else { 0.02 };
        let n = dims.iter().product();
        let values: Vec<f32> = match dims.len() {
            1 => vec![1.0; n],
            _ => (0..n).map(|_| normal(&mut rng) * deviation).collect(),
        };
        let var = Var::from_vec(values, dims, &Device::Cpu)?;
        parameters.insert(name.to_string(), var.clone());
        Ok(var.as_tensor().clone().into())
    })?;
    Ok((model, parameters))
}

/// Box–Muller.
fn normal(rng: &mut ChaCha8Rng) -> f32 {
    let (u, v): (f32, f32) = (rng.random_range(f32::MIN_POSITIVE..1.0), rng.random_range(0.0..1.0));
    (-2.0 * u.ln()).sqrt() * (std::f32::consts::TAU * v).cos()
}

impl PretrainConfig {
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        toml::from_str(&text).map_err(|e| Error::input(format!("{}: {e}", path.display())))
    }
}

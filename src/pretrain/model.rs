//! Pretraining a small Qwen3 from nothing: its settings and its random weights. What it reads is [`super::mixture`]'s.
use crate::error::{Error, Result};
use crate::model::{CausalLm, Config};
use crate::train::LoopConfig;
use candle_core::{Device, Var};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// What is read and how much of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mixture {
    /// Questions of MedQuAD, at most, at even distances.
    pub questions: usize,
    /// Concepts of the Disease Ontology, at most, at even distances.
    pub concepts: usize,
    /// Exercises on every training report and abstract, beside its text once.
    pub exercises: usize,
    /// Tokens of one training sequence, at most; longer texts are cut into pieces, longer exercises left out.
    pub sequence_tokens: usize,
    /// Training tokens, at most, of sequences at even distances: for choosing settings by short runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most_tokens: Option<usize>,
}

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

/// Random weights: normal with deviation 0.02, the projections back into the residual stream smaller by √(2 · layers)
/// (Radford et al. 2019, §2.3), norms 1.
pub fn fresh(config: &PretrainConfig, vocab_size: usize, eos: &[u32]) -> Result<(CausalLm, BTreeMap<String, Var>)> {
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
    let model = CausalLm::new(&shape, &mut |name, dims| {
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
        let text = crate::io::read_text(path)?;
        toml::from_str(&text).map_err(|e| Error::input(format!("{}: {e}", path.display())))
    }
}

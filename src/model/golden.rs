//! The committed reference values under `tests/golden` (made by `tests/reference/*.py`), as the tests read them.
use super::{CausalLm, Config, Keys, tensors};
use crate::error::Error;
use candle_core::{DType, Tensor};
use std::collections::BTreeMap;
use std::path::PathBuf;

pub fn path(name: &str) -> PathBuf {
    crate::home().join("tests/golden").join(name)
}

/// All tensors of a golden checkpoint, sharded or not, in f32.
pub fn weights(name: &str) -> BTreeMap<String, Tensor> {
    let files = std::fs::read_dir(path(name)).unwrap().map(|f| f.unwrap().path());
    let files = files.filter(|f| {
        f.file_name().unwrap().to_str().unwrap().starts_with("model") && f.extension().unwrap() == "safetensors"
    });
    let all = files.flat_map(|f| tensors::read(&f).unwrap());
    all.map(|(n, t)| (n, t.to_dtype(DType::F32).unwrap())).collect()
}

pub fn model(name: &str) -> CausalLm {
    let all = weights(name);
    let config = Config::read(&path(name)).unwrap();
    CausalLm::new(&config, &mut |name, shape| {
        let t = all.get(name).ok_or_else(|| Error::failed(name))?;
        assert_eq!(t.dims(), shape, "{name}");
        Ok(t.clone().into())
    })
    .unwrap()
}

/// The config of a small Qwen3.5: three recurrent layers and one with attention, two times.
pub fn recurrent_config() -> Config {
    let keys = serde_json::json!({
        "model_type": "qwen3_5_text", "vocab_size": 256, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 8,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "rms_norm_eps": 1e-6, "rope_theta": 1e4,
        "max_position_embeddings": 2048, "tie_word_embeddings": true, "linear_num_key_heads": 2, "linear_num_value_heads": 4,
        "linear_key_head_dim": 8, "linear_value_head_dim": 6,
    });
    let keys = keys.as_object().unwrap().clone();
    Keys::of(std::path::Path::new("config.json"), keys).config().unwrap()
}

/// Random weights of a recurrent model, with logits that spread over several units and states that last.
pub fn recurrent_weights(config: &Config, seed: u64) -> BTreeMap<String, Tensor> {
    use rand::Rng as _;
    let mut rng = <rand_chacha::ChaCha8Rng as rand::SeedableRng>::seed_from_u64(seed);
    let mut made = |name: &str, shape: &[usize]| {
        let (middle, wide) = match name {
            _ if name.ends_with("linear_attn.norm.weight") => (1.0, 0.4),
            _ if name.ends_with("A_log") => (-1.0, 1.0),
            _ if name.ends_with("embed_tokens.weight") => (0.0, 0.6),
            _ if shape.len() == 1 => (0.0, 0.4),
            _ => (0.0, 1.7 / (shape[shape.len() - 1] as f32).sqrt()),
        };
        let numbers = (0..shape.iter().product()).map(|_| middle + wide * rng.random_range(-1f32..1.0)).collect();
        Tensor::from_vec::<_, f32>(numbers, shape, &candle_core::Device::Cpu).unwrap()
    };
    config.tensors().iter().map(|(name, shape)| (name.clone(), made(name, shape))).collect()
}

/// A small Qwen3.5 with random weights.
pub fn recurrent_model(seed: u64) -> CausalLm {
    let config = recurrent_config();
    let all = recurrent_weights(&config, seed);
    CausalLm::new(&config, &mut |name, _| Ok(all[name].clone().into())).unwrap()
}

#[derive(serde::Deserialize)]
pub struct Pair {
    pub prompt_ids: Vec<u32>,
    pub completion_ids: Vec<u32>,
}

pub fn pairs() -> Vec<Pair> {
    let text = std::fs::read_to_string(path("pairs.jsonl")).unwrap();
    text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

pub fn json(name: &str) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(path(name)).unwrap()).unwrap()
}

pub fn numbers(v: &serde_json::Value) -> Vec<f64> {
    v.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

pub fn distance(a: &Tensor, b: &Tensor) -> f32 {
    let d = (a.to_dtype(DType::F32).unwrap() - b.to_dtype(DType::F32).unwrap()).unwrap();
    d.abs().unwrap().max_all().unwrap().to_scalar().unwrap()
}

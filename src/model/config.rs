//! A Qwen3 checkpoint's `config.json`: the struct's fields are the file's keys.
//!
//! Reads what transformers 4 writes (`rope_theta` on top) and what transformers 5 writes (nested in `rope_parameters`). Anything that our
//! forward does not compute (attention bias, a sliding window, scaled rotary positions, a quantised checkpoint) is an error that
//! names the file and the key, never a silently different model. Keys that do not change the forward are ignored.
use crate::error::{Error, Result};
use candle_core::DType;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;

/// Sizes and constants of one Qwen3 decoder.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Config {
    pub architectures: Vec<String>,
    pub model_type: String,
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub num_key_value_heads: usize,
    /// Stated by the file: it need not be `hidden_size / num_attention_heads`.
    pub head_dim: usize,
    pub hidden_act: String,
    pub rms_norm_eps: f64,
    pub rope_theta: f64,
    pub tie_word_embeddings: bool,
    pub max_position_embeddings: usize,
    pub attention_bias: bool,
    pub use_sliding_window: bool,
    /// Tokens that end a generation: those of `config.json`, then those that only `generation_config.json` names.
    pub eos_token_id: Vec<u32>,
    pub pad_token_id: Option<u32>,
}

/// Token ids that a model or a tokenizer may have, at most: Qwen3 has 151,936, and tables are laid out by id.
pub const LARGEST_VOCABULARY: usize = 1 << 22;

/// A key, and the largest value that we take for an honest one: a product of any three stays far inside `usize`.
const SIZES: [(&str, u64); 8] = [
    ("vocab_size", LARGEST_VOCABULARY as u64),
    ("hidden_size", 1 << 17),
    ("intermediate_size", 1 << 19),
    ("num_hidden_layers", 1 << 10),
    ("num_attention_heads", 1 << 10),
    ("num_key_value_heads", 1 << 10),
    ("head_dim", 1 << 12),
    ("max_position_embeddings", 1 << 31),
];

impl Config {
    /// A tied decoder of the given sizes with Qwen3's constants (RMS eps 1e-6, rope_theta 1e6, one kv head for two heads).
    pub fn small(vocab_size: usize, hidden_size: usize, num_hidden_layers: usize, num_attention_heads: usize) -> Self {
        Self {
            architectures: vec!["Qwen3ForCausalLM".into()],
            model_type: "qwen3".into(),
            vocab_size,
            hidden_size,
            intermediate_size: 3 * hidden_size,
            num_hidden_layers,
            num_attention_heads,
            num_key_value_heads: num_attention_heads.div_ceil(2),
            head_dim: hidden_size / num_attention_heads.max(1),
            hidden_act: "silu".into(),
            rms_norm_eps: 1e-6,
            rope_theta: 1e6,
            tie_word_embeddings: true,
            max_position_embeddings: 4096,
            attention_bias: false,
            use_sliding_window: false,
            eos_token_id: Vec::new(),
            pad_token_id: None,
        }
    }

    /// Reads `dir/config.json`, and the end tokens of `dir/generation_config.json` where there is one.
    pub fn read(dir: &Path) -> Result<Self> {
        let file = dir.join("config.json");
        let mut config = Keys::read(&file)?.config()?;
        let generation = dir.join("generation_config.json");
        if generation.is_file() {
            let keys = Keys::read(&generation)?;
            for id in keys.ends(config.vocab_size)? {
                if !config.eos_token_id.contains(&id) {
                    config.eos_token_id.push(id);
                }
            }
        }
        Ok(config)
    }

    /// The config that these keys of config.json make; `file` is where they come from.
    pub(super) fn from_keys(file: &Path, keys: Map<String, Value>) -> Result<Self> {
        Keys { file: file.display().to_string(), map: keys }.config()
    }

    /// Writes `dir/config.json` (beside, then renamed), readable by transformers 4 and 5.
    pub fn write(&self, dir: &Path) -> Result<()> {
        self.write_as(dir, None)
    }

    /// As `write`, saying in which type the weights beside it are.
    pub fn write_as(&self, dir: &Path, dtype: Option<DType>) -> Result<()> {
        let mut value = serde_json::to_value(self).map_err(|e| Error::failed(format!("config.json: {e}")))?;
        if let [one] = self.eos_token_id[..] {
            value["eos_token_id"] = one.into();
        } else if self.eos_token_id.is_empty() {
            value["eos_token_id"] = Value::Null;
        }
        value["rope_scaling"] = Value::Null;
        if let Some(dtype) = dtype {
            let name = match dtype {
                DType::BF16 => "bfloat16",
                DType::F16 => "float16",
                _ => "float32",
            };
            for key in ["dtype", "torch_dtype"] {
                value[key] = name.into(); // transformers 5, transformers 4
            }
        }
        crate::io::write_beside(&dir.join("config.json"), |path| {
            std::fs::write(path, format!("{value:#}\n")).map_err(Error::io(path))
        })
    }

    /// Every tensor of the checkpoint, by its Hugging Face name, with its shape; a tied head has none of its own.
    pub fn tensors(&self) -> BTreeMap<String, Vec<usize>> {
        let (h, i, d) = (self.hidden_size, self.intermediate_size, self.head_dim);
        let (q, kv) = (self.num_attention_heads * d, self.num_key_value_heads * d);
        let mut out = BTreeMap::from([
            ("model.embed_tokens.weight".to_string(), vec![self.vocab_size, h]),
            ("model.norm.weight".to_string(), vec![h]),
        ]);
        if !self.tie_word_embeddings {
            out.insert("lm_head.weight".into(), vec![self.vocab_size, h]);
        }
        for layer in 0..self.num_hidden_layers {
            for (name, shape) in [
                ("input_layernorm", vec![h]),
                ("post_attention_layernorm", vec![h]),
                ("self_attn.q_norm", vec![d]),
                ("self_attn.k_norm", vec![d]),
                ("self_attn.q_proj", vec![q, h]),
                ("self_attn.k_proj", vec![kv, h]),
                ("self_attn.v_proj", vec![kv, h]),
                ("self_attn.o_proj", vec![h, q]),
                ("mlp.gate_proj", vec![i, h]),
                ("mlp.up_proj", vec![i, h]),
                ("mlp.down_proj", vec![h, i]),
            ] {
                out.insert(format!("model.layers.{layer}.{name}.weight"), shape);
            }
        }
        out
    }

    /// Fails for an id that the embedding has no row for.
    pub fn knows(&self, ids: &[u32]) -> Result<()> {
        match ids.iter().find(|&&id| id as usize >= self.vocab_size) {
            Some(id) => Err(Error::input(format!(
                "token id {id} lies outside the model's vocabulary of {}; does the tokenizer belong to this model?",
                self.vocab_size
            ))),
            None => Ok(()),
        }
    }

    /// Fails for no tokens, and for one that [`Config::knows`] refuses.
    pub fn reads(&self, ids: &[u32]) -> Result<()> {
        if ids.is_empty() {
            return Err(Error::input("an empty prompt: at least one token is wanted"));
        }
        self.knows(ids)
    }

    /// Fails for a sequence of more tokens than there are positions.
    pub fn holds(&self, tokens: usize) -> Result<()> {
        match tokens > self.max_position_embeddings {
            true => Err(Error::input(format!(
                "a sequence of {tokens} tokens is longer than the model's {} positions; shorten the text or cut it with a limit",
                self.max_position_embeddings
            ))),
            false => Ok(()),
        }
    }

    /// Number of parameters, embeddings counted once where the head is tied.
    pub fn parameters(&self) -> usize {
        self.tensors().values().map(|shape| shape.iter().product::<usize>()).sum()
    }
}

/// A JSON object and the file that it came from, so that every complaint names both the file and the key.
struct Keys {
    file: String,
    map: Map<String, Value>,
}

impl Keys {
    fn read(path: &Path) -> Result<Self> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        match serde_json::from_str(&text) {
            Ok(Value::Object(map)) => Ok(Self { file, map }),
            Ok(_) => Err(Error::input(format!("{file}: expected a JSON object"))),
            Err(e) => Err(Error::input(format!("{file}: not valid JSON: {e}"))),
        }
    }

    fn config(&self) -> Result<Config> {
        let architectures = self.architecture()?;
        self.refuse()?;
        let mut sizes = [0; SIZES.len()];
        for (size, &(key, most)) in sizes.iter_mut().zip(&SIZES) {
            *size = self.size(key, most)?;
        }
        let [vocab_size, hidden_size, intermediate_size, layers, heads, kv_heads, head_dim, positions] = sizes;
        if heads % kv_heads != 0 {
            return Err(self.wrong(
                "num_key_value_heads",
                format!("a divisor of num_attention_heads = {heads}"),
                kv_heads,
            ));
        }
        if head_dim % 2 != 0 {
            return Err(self.wrong("head_dim", "an even number (rotary positions turn pairs)".into(), head_dim));
        }
        Ok(Config {
            architectures,
            model_type: "qwen3".into(),
            vocab_size,
            hidden_size,
            intermediate_size,
            num_hidden_layers: layers,
            num_attention_heads: heads,
            num_key_value_heads: kv_heads,
            head_dim,
            hidden_act: "silu".into(),
            rms_norm_eps: self.positive("rms_norm_eps", self.get("rms_norm_eps"))?,
            rope_theta: self.rope_theta()?,
            tie_word_embeddings: self.flag("tie_word_embeddings")?,
            max_position_embeddings: positions,
            attention_bias: false,
            use_sliding_window: false,
            eos_token_id: self.ends(vocab_size)?,
            pad_token_id: self.ids("pad_token_id")?.first().copied(),
        })
    }

    fn architecture(&self) -> Result<Vec<String>> {
        let wanted = "Qwen3ForCausalLM";
        match (self.get("architectures"), self.get("model_type")) {
            (Some(Value::Array(names)), _) if names.iter().any(|n| n == wanted) => {}
            (Some(Value::Array(names)), _) if !names.is_empty() => {
                return Err(self.wrong("architectures", format!("`{wanted}`"), names));
            }
            (_, Some(Value::String(kind))) if kind == "qwen3" => {}
            (_, kind) => return Err(self.wrong("model_type", "`qwen3`".into(), kind.unwrap_or(&Value::Null))),
        }
        Ok(vec![wanted.into()])
    }

    /// Keys that would make the checkpoint's forward another one than ours.
    fn refuse(&self) -> Result<()> {
        for key in ["attention_bias", "use_sliding_window"] {
            if self.flag(key)? {
                return Err(self.wrong(key, "false: dxlab's Qwen3 has none".into(), true));
            }
        }
        if let Some(act) = self.get("hidden_act").filter(|a| *a != "silu") {
            return Err(self.wrong("hidden_act", "`silu`".into(), act));
        }
        if let Some(quant) = self.get("quantization_config") {
            return Err(self.wrong(
                "quantization_config",
                "no such key: give the unquantised checkpoint".into(),
                quant,
            ));
        }
        if let Some(Value::Array(kinds)) = self.get("layer_types")
            && let Some(kind) = kinds.iter().find(|k| *k != "full_attention")
        {
            return Err(self.wrong("layer_types", "`full_attention` only".into(), kind));
        }
        Ok(())
    }

    /// `rope_theta` on top or in `rope_parameters`; any scaling of positions is refused.
    fn rope_theta(&self) -> Result<f64> {
        for key in ["rope_scaling", "rope_parameters"] {
            let Some(rope) = self.get(key) else { continue };
            let kind = rope.get("rope_type").or(rope.get("type")).unwrap_or(&Value::Null);
            if !kind.is_null() && kind != "default" {
                return Err(self.wrong(
                    key,
                    "rope type `default`: scaled positions are not computed here".into(),
                    kind,
                ));
            }
            if kind.is_null() && key == "rope_scaling" {
                return Err(self.wrong(key, "null".into(), rope));
            }
        }
        let nested = self.get("rope_parameters").and_then(|r| r.get("rope_theta"));
        self.positive("rope_theta", self.get("rope_theta").or(nested))
    }

    fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|v| !v.is_null())
    }

    fn size(&self, key: &str, most: u64) -> Result<usize> {
        match self.get(key).map(|v| v.as_u64().ok_or(v)) {
            Some(Ok(n)) if (1..=most).contains(&n) => Ok(n as usize),
            Some(Ok(n)) => Err(self.wrong(key, format!("a size from 1 to {most}"), n)),
            Some(Err(v)) => Err(self.wrong(key, "a whole number".into(), v)),
            None => Err(self.missing(key)),
        }
    }

    fn positive(&self, key: &str, value: Option<&Value>) -> Result<f64> {
        let value = value.ok_or_else(|| self.missing(key))?;
        match value.as_f64() {
            Some(x) if x > 0.0 && x.is_finite() => Ok(x),
            _ => Err(self.wrong(key, "a positive number".into(), value)),
        }
    }

    fn flag(&self, key: &str) -> Result<bool> {
        self.get(key).map_or(Ok(false), |v| v.as_bool().ok_or_else(|| self.wrong(key, "true or false".into(), v)))
    }

    /// Token ids given as a number, a list or not at all.
    fn ids(&self, key: &str) -> Result<Vec<u32>> {
        let id = |v: &Value| v.as_u64().and_then(|n| u32::try_from(n).ok());
        let ids = match self.get(key) {
            None => Some(Vec::new()),
            Some(Value::Array(list)) => list.iter().map(id).collect(),
            Some(one) => id(one).map(|n| vec![n]),
        };
        ids.ok_or_else(|| self.wrong(key, "a token id or a list of them".into(), &self.map[key]))
    }

    /// Tokens that end a generation. One that the model cannot give would be looked up among its logits all the same.
    fn ends(&self, vocab_size: usize) -> Result<Vec<u32>> {
        let (key, wanted) = ("eos_token_id", format!("ids below vocab_size = {vocab_size}"));
        let ids = self.ids(key)?;
        match ids.iter().all(|&id| (id as usize) < vocab_size) {
            true => Ok(ids),
            false => Err(self.wrong(key, wanted, ids)),
        }
    }

    fn missing(&self, key: &str) -> Error {
        Error::input(format!("{}: key `{key}` is missing: is this a Qwen3 checkpoint's config.json?", self.file))
    }

    fn wrong(&self, key: &str, wanted: String, got: impl Serialize) -> Error {
        let got = serde_json::to_value(got).unwrap_or_default().to_string();
        let got: String = got.chars().take(120).collect();
        Error::input(format!("{}: key `{key}` is {got}, expected {wanted}", self.file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn golden(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
    }

    /// The golden config of transformers 4 with some keys replaced (null removes).
    fn edited(edits: Value) -> Result<Config> {
        let dir = tempfile::tempdir().unwrap();
        let mut map: Map<String, Value> =
            serde_json::from_slice(&std::fs::read(golden("tied/config.json")).unwrap()).unwrap();
        map.extend(edits.as_object().unwrap().clone());
        std::fs::write(dir.path().join("config.json"), Value::Object(map).to_string()).unwrap();
        Config::read(dir.path())
    }

    #[test]
    fn both_generations_of_transformers_files_are_read() {
        let four = Config::read(&golden("tied")).unwrap();
        assert_eq!((four.head_dim, four.hidden_size, four.num_key_value_heads, four.vocab_size), (32, 64, 2, 256));
        assert_eq!((four.rope_theta, four.tie_word_embeddings, four.eos_token_id.as_slice()), (1e6, true, &[1][..]));
        let five = Config::read(&golden("untied")).unwrap();
        assert_eq!((five.rope_theta, five.tie_word_embeddings, five.pad_token_id), (1e4, false, Some(0)));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        for eos in [vec![], vec![3], vec![3, 5]] {
            let config = Config { eos_token_id: eos, ..Config::small(300, 64, 2, 4) };
            config.write(dir.path()).unwrap();
            assert_eq!(Config::read(dir.path()).unwrap(), config);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing but config.json is left");
    }

    #[test]
    fn end_tokens_of_the_generation_config_are_added() {
        let dir = tempfile::tempdir().unwrap();
        Config { eos_token_id: vec![5], ..Config::small(300, 64, 2, 4) }.write(dir.path()).unwrap();
        std::fs::write(dir.path().join("generation_config.json"), r#"{"eos_token_id": [7, 5]}"#).unwrap();
        assert_eq!(Config::read(dir.path()).unwrap().eos_token_id, [5, 7]);
        std::fs::write(dir.path().join("generation_config.json"), r#"{"eos_token_id": [7, 300]}"#).unwrap();
        let error = Config::read(dir.path()).unwrap_err().to_string();
        assert!(error.contains("generation_config.json") && error.contains("ids below vocab_size = 300"), "{error}");
    }

    #[test]
    fn parameters_agree_with_the_published_sizes() {
        let qwen = |h, i, l, n, tied| Config {
            intermediate_size: i,
            num_key_value_heads: 8,
            head_dim: 128,
            tie_word_embeddings: tied,
            ..Config::small(151_936, h, l, n)
        };
        // Model cards of Qwen3: 0.6B has 0.44 B non-embedding parameters, 4B has 3.6 B, 8B has 6.95 B.
        let body = |c: &Config| (c.parameters() - c.vocab_size * c.hidden_size) as f64 / 1e9;
        assert!((body(&qwen(1024, 3072, 28, 16, true)) - 0.44).abs() < 0.005);
        assert!((body(&qwen(2560, 9728, 36, 32, true)) - 3.6).abs() < 0.05);
        let eight = qwen(4096, 12288, 36, 32, false);
        assert!((body(&eight) - (eight.vocab_size * eight.hidden_size) as f64 / 1e9 - 6.95).abs() < 0.05);
    }

    #[test]
    fn what_the_forward_does_not_compute_is_refused_by_name() {
        for (edits, key) in [
            (serde_json::json!({"attention_bias": true}), "attention_bias"),
            (serde_json::json!({"use_sliding_window": true}), "use_sliding_window"),
            (serde_json::json!({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}), "rope_scaling"),
            (serde_json::json!({"rope_parameters": {"rope_type": "linear"}}), "rope_parameters"),
            (serde_json::json!({"architectures": ["LlamaForCausalLM"]}), "architectures"),
            (serde_json::json!({"architectures": null, "model_type": "llama"}), "model_type"),
            (serde_json::json!({"layer_types": ["sliding_attention"]}), "layer_types"),
            (serde_json::json!({"quantization_config": {"bits": 4}}), "quantization_config"),
            (serde_json::json!({"hidden_act": "gelu"}), "hidden_act"),
            (serde_json::json!({"num_key_value_heads": 3}), "num_key_value_heads"),
            (serde_json::json!({"head_dim": null}), "head_dim"),
            (serde_json::json!({"vocab_size": 1u64 << 60}), "vocab_size"),
            (serde_json::json!({"eos_token_id": "</s>"}), "eos_token_id"),
            (serde_json::json!({"eos_token_id": 256}), "eos_token_id"),
            (serde_json::json!({"eos_token_id": [1, 4_000_000_000u32]}), "eos_token_id"),
            (serde_json::json!({"rope_theta": null}), "rope_theta"),
        ] {
            let error = edited(edits.clone()).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{edits}");
            let text = error.to_string();
            assert!(text.contains("config.json") && text.contains(&format!("`{key}`")), "{text}");
        }
        assert!(edited(serde_json::json!({"sliding_window": 4096, "some_new_key": 1})).is_ok());
    }

    #[test]
    fn a_folder_without_a_config_is_the_users_to_mend() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Config::read(dir.path()).unwrap_err().exit_code(), 2, "missing");
        std::fs::write(dir.path().join("config.json"), "{\"vocab_size\":").unwrap();
        assert!(Config::read(dir.path()).unwrap_err().to_string().contains("not valid JSON"));
    }
}

//! A decoder's `config.json`, in the spelling of transformers 4 (`rope_theta` on top, `rope_scaling`) or 5
//! (`rope_parameters`).
//!
//! `model_type` chooses the family ([`Family`]), which says what a missing key means. Anything that our forward does
//! not compute (an unknown rotary scaling, a quantised checkpoint, another activation) is an error that names the file
//! and the key, never a silently different model. Keys that do not change the forward are ignored.
mod keys;
mod scaling;

pub use keys::{Absent, Keys};

use super::family::{Family, Qwen3};
use super::ops::DeltaHeads;
use super::rope::{Rope, Scaling};
use crate::error::{Error, Result};
use candle_core::DType;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// Sizes, constants and flags of one decoder.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub family: &'static dyn Family,
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub num_key_value_heads: usize,
    /// Need not be `hidden_size / num_attention_heads`.
    pub head_dim: usize,
    pub rms_norm_eps: f64,
    pub rope: Rope,
    pub tie_word_embeddings: bool,
    pub max_position_embeddings: usize,
    /// RMSNorm of every query and key head.
    pub qk_norm: bool,
    /// Biases of q, k and v; of the attention's output; of the three layers of the MLP.
    pub qkv_bias: bool,
    pub o_bias: bool,
    pub mlp_bias: bool,
    /// True where `q_proj` makes a gate for every query head as well, and what attention gives is multiplied with σ(gate).
    pub gated_attention: bool,
    /// True where norms are stored as what is added to 1 (those of a recurrence's output are not).
    pub zero_centred_norms: bool,
    pub window: Option<SlidingWindow>,
    /// Layers that have a linear recurrence in the place of attention.
    pub recurrence: Option<Recurrence>,
    /// Tokens that end a generation: those of `config.json`, then those that only `generation_config.json` names.
    pub eos_token_id: Vec<u32>,
    pub pad_token_id: Option<u32>,
}

/// Attention to the newest keys only.
#[derive(Clone, Debug, PartialEq)]
pub struct SlidingWindow {
    /// Keys that a query sees at most, itself included.
    pub size: usize,
    /// Which layers have it; None: all.
    pub layers: Option<Vec<bool>>,
}

/// Gated DeltaNet in some layers.
#[derive(Clone, Debug, PartialEq)]
pub struct Recurrence {
    pub heads: DeltaHeads,
    /// Tokens that the convolution before it sees.
    pub kernel: usize,
    /// True for the layers that have it.
    pub layers: Vec<bool>,
}

/// Token ids that a model or a tokenizer may have, at most: Qwen3 has 151,936, and tables are laid out by id.
pub const LARGEST_VOCABULARY: usize = 1 << 22;

impl Config {
    /// A tied Qwen3 of the given sizes with its constants (RMS eps 1e-6, rope_theta 1e6, one kv head for two heads).
    pub fn small(vocab_size: usize, hidden_size: usize, num_hidden_layers: usize, num_attention_heads: usize) -> Self {
        Self {
            family: &Qwen3,
            vocab_size,
            hidden_size,
            intermediate_size: 3 * hidden_size,
            num_hidden_layers,
            num_attention_heads,
            num_key_value_heads: num_attention_heads.div_ceil(2),
            head_dim: hidden_size / num_attention_heads.max(1),
            rms_norm_eps: 1e-6,
            rope: Rope::plain(1e6),
            tie_word_embeddings: true,
            max_position_embeddings: 4096,
            qk_norm: true,
            qkv_bias: false,
            o_bias: false,
            mlp_bias: false,
            gated_attention: false,
            zero_centred_norms: false,
            window: None,
            recurrence: None,
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
        Keys::of(file, keys).config()
    }

    /// Writes `dir/config.json` (beside, then renamed), readable by transformers 4 and 5.
    pub fn write(&self, dir: &Path) -> Result<()> {
        self.write_as(dir, None)
    }

    /// As `write`, saying in which type the weights beside it are.
    pub fn write_as(&self, dir: &Path, dtype: Option<DType>) -> Result<()> {
        let mut value =
            self.json().map_err(|e| Error::input(format!("config.json cannot be written: the model has {e}")))?;
        if let Some(dtype) = dtype {
            let name = match dtype {
                DType::BF16 => "bfloat16",
                DType::F16 => "float16",
                _ => "float32",
            };
            for key in ["dtype", "torch_dtype"] {
                value.insert(key.into(), name.into()); // transformers 5, transformers 4
            }
        }
        crate::io::write_beside(&dir.join("config.json"), |path| {
            std::fs::write(path, format!("{:#}\n", Value::Object(value))).map_err(Error::io(path))
        })
    }

    /// As a config.json; an error says what of this model it has no words for.
    fn json(&self) -> Result<Map<String, Value>, String> {
        let eos = match self.eos_token_id[..] {
            [] => Value::Null,
            [one] => one.into(),
            _ => json!(self.eos_token_id),
        };
        let Value::Object(mut keys) = json!({
            "architectures": [self.family.architecture()],
            "model_type": self.family.model_type(),
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "rms_norm_eps": self.rms_norm_eps,
            "rope_theta": self.rope.theta,
            "tie_word_embeddings": self.tie_word_embeddings,
            "max_position_embeddings": self.max_position_embeddings,
            "attention_bias": false,
            "use_sliding_window": false,
            "eos_token_id": eos,
            "pad_token_id": self.pad_token_id,
        }) else {
            return Err("no keys".into()); // an object, as it stands above
        };
        self.family.write(self, &mut keys)?;
        keys.insert("rope_scaling".into(), self.rope_scaling()?);
        Ok(keys)
    }

    fn rope_scaling(&self) -> Result<Value, String> {
        Ok(match &self.rope.scaling {
            Scaling::Default => Value::Null,
            Scaling::Linear { factor } => json!({"rope_type": "linear", "factor": factor}),
            Scaling::Dynamic { factor } => json!({"rope_type": "dynamic", "factor": factor}),
            Scaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } => json!({
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": low_freq_factor,
                "high_freq_factor": high_freq_factor,
                "original_max_position_embeddings": original_max_position_embeddings,
            }),
            Scaling::Yarn {
                factor,
                original_max_position_embeddings,
                beta_fast,
                beta_slow,
                attention_factor,
                truncate,
            } => json!({
                "rope_type": "yarn",
                "factor": factor,
                "original_max_position_embeddings": original_max_position_embeddings,
                "beta_fast": beta_fast,
                "beta_slow": beta_slow,
                "attention_factor": attention_factor,
                "truncate": truncate,
            }),
            Scaling::Divisors(_) => {
                return Err(
                    "divisors of rotary frequencies (`rope_freqs.weight`) that are not those of a `llama3` scaling"
                        .into(),
                );
            }
        })
    }

    /// The keys of [`Keys::upper_window`].
    pub(super) fn write_upper_window(&self, keys: &mut Map<String, Value>) {
        let Some(window) = &self.window else { return };
        let windowed: Vec<bool> = (0..self.num_hidden_layers).map(|i| self.reach(i).is_some()).collect();
        let kind = |windowed: &bool| if *windowed { "sliding_attention" } else { "full_attention" };
        let kinds: Vec<&str> = windowed.iter().map(kind).collect();
        let first = windowed.iter().position(|w| *w).unwrap_or(windowed.len());
        keys.insert("use_sliding_window".into(), true.into());
        keys.insert("sliding_window".into(), window.size.into());
        keys.insert("max_window_layers".into(), first.into()); // of transformers that do not know the next key
        keys.insert("layer_types".into(), json!(kinds));
    }

    /// Keys that a query of layer `i` sees at most, itself included; None: all before it.
    pub fn reach(&self, i: usize) -> Option<usize> {
        let windowed = |window: &&SlidingWindow| {
            window.layers.as_ref().is_none_or(|layers| layers.get(i).copied().unwrap_or(false))
        };
        self.window.as_ref().filter(windowed).map(|window| window.size)
    }

    /// The linear recurrence that layer `i` has in the place of attention.
    pub fn recurrence(&self, i: usize) -> Option<&Recurrence> {
        self.recurrence.as_ref().filter(|recurrence| recurrence.layers.get(i).copied().unwrap_or(false))
    }

    /// Layers after which the kinds of layers come again, so that as many in a row are a fair sample of all; 1 where all are alike.
    pub fn period(&self) -> usize {
        let Some(Recurrence { layers, .. }) = &self.recurrence else { return 1 };
        (1..layers.len())
            .find(|n| layers.iter().zip(layers.iter().skip(*n)).all(|(a, b)| a == b))
            .unwrap_or(layers.len().max(1))
    }

    /// Every tensor of the checkpoint, by its Hugging Face name, with its shape; a tied head has none of its own.
    pub fn tensors(&self) -> BTreeMap<String, Vec<usize>> {
        let h = self.hidden_size;
        let mut out = BTreeMap::from([
            ("model.embed_tokens.weight".to_string(), vec![self.vocab_size, h]),
            ("model.norm.weight".to_string(), vec![h]),
        ]);
        if !self.tie_word_embeddings {
            out.insert("lm_head.weight".into(), vec![self.vocab_size, h]);
        }
        for layer in 0..self.num_hidden_layers {
            let tensors = self.family.tensors(self, layer).into_iter();
            out.extend(tensors.map(|(name, shape)| (format!("model.layers.{layer}.{name}"), shape)));
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
                "a sequence of {tokens} tokens is longer than the model's {} positions{}; shorten the text or cut it with a limit",
                self.max_position_embeddings,
                match self.rope.scaling {
                    Scaling::Dynamic { .. } => " (`dynamic` rotary scaling beyond them is not computed)",
                    _ => "",
                }
            ))),
            false => Ok(()),
        }
    }

    /// Number of parameters, embeddings counted once where the head is tied.
    pub fn parameters(&self) -> usize {
        self.tensors().values().map(|shape| shape.iter().product::<usize>()).sum()
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
        assert_eq!((four.rope.theta, four.tie_word_embeddings, four.eos_token_id.as_slice()), (1e6, true, &[1][..]));
        let five = Config::read(&golden("untied")).unwrap();
        assert_eq!((five.rope.theta, five.tie_word_embeddings, five.pad_token_id), (1e4, false, Some(0)));
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
            (serde_json::json!({"attention_bias": 1}), "attention_bias"),
            (serde_json::json!({"rope_scaling": {"rope_type": "longrope", "factor": 4.0}}), "rope_scaling"),
            (serde_json::json!({"rope_scaling": {"type": "su", "factor": 4.0}}), "rope_scaling"),
            (serde_json::json!({"rope_scaling": {"factor": 4.0}}), "rope_scaling.factor"),
            (serde_json::json!({"rope_parameters": {"factor": 4.0}}), "rope_parameters.factor"),
            (serde_json::json!({"rope_parameters": {"rope_type": "default", "factor": 4.0}}), "rope_parameters.factor"),
            (serde_json::json!({"rope_parameters": {"rope_type": null, "factor": 4.0}}), "rope_parameters.factor"),
            (serde_json::json!({"rope_scaling": {"rope_type": "linear", "factor": null}}), "rope_scaling.factor"),
            (
                serde_json::json!({"rope_scaling": {"rope_type": "default", "type": "linear", "factor": 2}}),
                "rope_scaling.type",
            ),
            (
                serde_json::json!({"rope_scaling": {"type": "dynamic", "alpha": 1000.0, "factor": 1}}),
                "rope_scaling.alpha",
            ),
            (serde_json::json!({"rope_scaling": {"type": 4, "factor": 4.0}}), "rope_scaling"),
            (serde_json::json!({"rope_scaling": 4.0}), "rope_scaling"),
            (serde_json::json!({"rope_scaling": {"type": "yarn", "factor": 0.5}}), "rope_scaling.factor"),
            (serde_json::json!({"rope_parameters": {"rope_type": "linear"}}), "rope_parameters.factor"),
            (serde_json::json!({"rope_parameters": {"full_attention": {"rope_type": "default"}}}), "rope_parameters"),
            (serde_json::json!({"partial_rotary_factor": 0.25}), "partial_rotary_factor"),
            (serde_json::json!({"architectures": ["LlamaForCausalLM"]}), "architectures"),
            (serde_json::json!({"architectures": ["GPT2LMHeadModel"], "model_type": null}), "architectures"),
            (serde_json::json!({"architectures": null, "model_type": "gemma"}), "model_type"),
            (serde_json::json!({"layer_types": ["sliding_attention"]}), "layer_types"),
            (serde_json::json!({"layer_types": ["linear_attention"]}), "layer_types"),
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
    fn every_spelling_of_a_rotary_scaling_is_the_same_scaling() {
        let linear = Scaling::Linear { factor: 4.0 };
        for edits in [
            serde_json::json!({"rope_scaling": {"type": "linear", "factor": 4}}),
            serde_json::json!({"rope_scaling": {"rope_type": "linear", "factor": 4.0}}),
            serde_json::json!({"rope_scaling": {"rope_type": null, "type": "linear", "factor": 4.0}}),
            serde_json::json!({"rope_scaling": {"rope_type": "linear", "type": "linear", "factor": 4.0}}),
            serde_json::json!({"rope_parameters": {"rope_type": "linear", "factor": 4.0}}),
            serde_json::json!({"rope_parameters": {"type": "linear", "factor": 4.0, "rope_theta": 1e6}}),
            serde_json::json!({"rope_scaling": {}, "rope_parameters": {"type": "linear", "factor": 4.0}}),
            serde_json::json!({"rope_scaling": null, "rope_parameters": {"type": "linear", "factor": 4.0}}),
        ] {
            assert_eq!(
                edited(edits.clone()).unwrap().rope,
                Rope { scaling: linear.clone(), ..Rope::plain(1e6) },
                "{edits}"
            );
        }
        for edits in [
            serde_json::json!({"rope_scaling": {"type": null, "factor": null}}),
            serde_json::json!({"rope_scaling": {"factor": 1.0}}),
            serde_json::json!({"rope_parameters": {"rope_type": "default", "factor": 1.0}}),
        ] {
            assert_eq!(edited(edits.clone()).unwrap().rope.scaling, Scaling::Default, "{edits}");
        }
    }

    #[test]
    fn a_folder_without_a_config_is_the_users_to_mend() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Config::read(dir.path()).unwrap_err().exit_code(), 2, "missing");
        std::fs::write(dir.path().join("config.json"), "{\"vocab_size\":").unwrap();
        assert!(Config::read(dir.path()).unwrap_err().to_string().contains("not valid JSON"));
    }
}

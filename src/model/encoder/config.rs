//! An encoder's `config.json`, as transformers 4 and 5 write it.
//!
//! What the forward does not compute (another activation, relative positions, a quantised checkpoint) is an error that names the file
//! and the key. Keys that do not change the forward are kept and written again.
use crate::error::{Error, Result};
use crate::io;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::path::Path;

/// The architectures known here, by `model_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Bert,
    Roberta,
    ModernBert,
}

const FAMILIES: [(&str, Family); 3] =
    [("bert", Family::Bert), ("roberta", Family::Roberta), ("modernbert", Family::ModernBert)];

impl Family {
    /// What stands before the encoder's tensors in a checkpoint with a head.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Bert => "bert.",
            Self::Roberta => "roberta.",
            Self::ModernBert => "model.",
        }
    }
}

/// What one ModernBERT layer's attention does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reach {
    /// Tokens to either side that a token sees; None: its whole sequence.
    pub window: Option<usize>,
    pub rope_theta: f64,
}

/// Sizes and constants of one encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct EncoderConfig {
    pub family: Family,
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub max_position_embeddings: usize,
    /// 0 for ModernBERT, which has no token types.
    pub type_vocab_size: usize,
    pub norm_eps: f64,
    pub pad_token_id: usize,
    /// One a layer; empty for BERT and RoBERTa.
    pub reaches: Vec<Reach>,
    /// ModernBERT's `norm_bias`, `attention_bias`, `mlp_bias`, `classifier_bias`; the others have biases everywhere.
    pub biases: [bool; 4],
    /// What the outputs of the token classifier mean, by id; empty where the file names none.
    pub labels: Vec<String>,
    keys: Map<String, Value>,
}

/// Sizes of a BERT of one's own, under the names of `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BertSizes {
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub max_position_embeddings: usize,
}

impl EncoderConfig {
    /// A BERT of these sizes for a vocabulary of `vocab_size` tokens; else as Devlin et al. 2019 have it. `place` is where the sizes were
    /// given, for errors.
    pub fn bert(place: &str, sizes: &BertSizes, vocab_size: usize) -> Result<Self> {
        let Value::Object(mut map) = io::to_value(sizes)? else {
            return Err(Error::failed("sizes are no JSON object"));
        };
        let rest = [
            ("model_type", json!("bert")),
            ("hidden_act", json!("gelu")),
            ("layer_norm_eps", json!(1e-12)),
            ("pad_token_id", json!(0)),
            ("type_vocab_size", json!(2)),
            ("vocab_size", json!(vocab_size)),
        ];
        map.extend(rest.map(|(key, value)| (key.to_string(), value)));
        Keys { file: place.into(), map }.config()
    }

    /// Reads `dir/config.json`.
    pub fn read(dir: &Path) -> Result<Self> {
        let path = dir.join("config.json");
        let file = path.display().to_string();
        let text = io::read_text(&path)?;
        match io::parse_json(&path, &text)? {
            Value::Object(map) => Keys { file, map }.config(),
            _ => Err(Error::input(format!("{file}: expected a JSON object"))),
        }
    }

    /// Writes `dir/config.json` for a token classifier of these labels: the keys that were read, with the head's.
    pub fn write(&self, dir: &Path) -> Result<()> {
        let mut keys = self.keys.clone();
        let head = match self.family {
            Family::Bert => "BertForTokenClassification",
            Family::Roberta => "RobertaForTokenClassification",
            Family::ModernBert => "ModernBertForTokenClassification",
        };
        keys.insert("architectures".into(), vec![head].into());
        let ids = self.labels.iter().enumerate();
        let names: Map<String, Value> = ids.clone().map(|(i, l)| (i.to_string(), l.as_str().into())).collect();
        keys.insert("id2label".into(), names.into());
        keys.insert("label2id".into(), ids.map(|(i, l)| (l.clone(), i.into())).collect::<Map<_, _>>().into());
        for key in ["dtype", "torch_dtype"] {
            keys.insert(key.into(), "float32".into()); // transformers 5, transformers 4
        }
        io::write(&dir.join("config.json"), format!("{:#}\n", Value::Object(keys)).as_bytes())
    }

    /// Tokens that a sequence may have, control tokens included. RoBERTa's positions start behind that of the padding token.
    pub fn positions(&self) -> usize {
        match self.family {
            Family::Roberta => self.max_position_embeddings.saturating_sub(self.pad_token_id + 1),
            _ => self.max_position_embeddings,
        }
    }

    /// The row of the position table that the first token of a sequence has.
    pub fn first_position(&self) -> usize {
        self.max_position_embeddings - self.positions()
    }

    pub fn head_dim(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }
}

/// A JSON object and the file that it came from, so that every complaint names both the file and the key.
struct Keys {
    file: String,
    map: Map<String, Value>,
}

impl Keys {
    fn config(self) -> Result<EncoderConfig> {
        let family = self.family()?;
        self.refuse(family)?;
        let modern = family == Family::ModernBert;
        let hidden_size = self.size("hidden_size", 1 << 17)?;
        let heads = self.size("num_attention_heads", 1 << 10)?;
        if hidden_size % heads != 0 || (modern && hidden_size / heads % 2 != 0) {
            let wanted = format!("a divisor of hidden_size = {hidden_size}, with an even quotient for ModernBERT");
            return Err(self.wrong("num_attention_heads", wanted, heads));
        }
        let layers = self.size("num_hidden_layers", 1 << 10)?;
        let vocab_size = self.size("vocab_size", 1 << 22)?;
        let eps = if modern { "norm_eps" } else { "layer_norm_eps" };
        let config = EncoderConfig {
            family,
            vocab_size,
            hidden_size,
            intermediate_size: self.size("intermediate_size", 1 << 19)?,
            num_hidden_layers: layers,
            num_attention_heads: heads,
            max_position_embeddings: self.size("max_position_embeddings", 1 << 24)?,
            type_vocab_size: if modern { 0 } else { self.size("type_vocab_size", 1 << 10)? },
            norm_eps: self.positive(eps, self.get(eps))?,
            pad_token_id: self.id("pad_token_id", vocab_size, if family == Family::Roberta { 1 } else { 0 })?,
            reaches: if modern { self.reaches(layers)? } else { Vec::new() },
            biases: match modern {
                true => [
                    self.flag("norm_bias")?,
                    self.flag("attention_bias")?,
                    self.flag("mlp_bias")?,
                    self.flag("classifier_bias")?,
                ],
                false => [true; 4],
            },
            labels: self.labels()?,
            keys: Map::new(),
        };
        if config.positions() == 0 {
            let wanted = "more rows than those before the first position".to_string();
            return Err(self.wrong("max_position_embeddings", wanted, config.max_position_embeddings));
        }
        Ok(EncoderConfig { keys: self.map, ..config })
    }

    fn family(&self) -> Result<Family> {
        let kind = self.get("model_type").unwrap_or(&Value::Null);
        let known = FAMILIES.iter().find(|(name, _)| kind == name);
        known.map(|(_, family)| *family).ok_or_else(|| {
            let names = FAMILIES.map(|(name, _)| format!("`{name}`")).join(", ");
            self.wrong("model_type", format!("an encoder: {names}"), kind)
        })
    }

    /// Keys that would make the checkpoint's forward another one than ours.
    fn refuse(&self, family: Family) -> Result<()> {
        let act = if family == Family::ModernBert { "hidden_activation" } else { "hidden_act" };
        if let Some(got) = self.get(act).filter(|a| *a != "gelu") {
            return Err(self.wrong(act, "`gelu` (the exact one)".into(), got));
        }
        let fixed = [
            ("position_embedding_type", Value::from("absolute")),
            ("is_decoder", false.into()),
            ("classifier_activation", "gelu".into()),
        ];
        for (key, wanted) in fixed {
            if let Some(got) = self.get(key).filter(|got| **got != wanted) {
                return Err(self.wrong(key, format!("{wanted}: nothing else is computed here"), got));
            }
        }
        match self.get("quantization_config") {
            Some(quant) => {
                Err(self.wrong("quantization_config", "no such key: give the unquantised checkpoint".into(), quant))
            }
            None => Ok(()),
        }
    }

    /// ModernBERT's layers: transformers 5 lists their kinds, transformers 4 says that every n-th sees everything.
    fn reaches(&self, layers: usize) -> Result<Vec<Reach>> {
        let window = Some(self.size("local_attention", 1 << 24)? / 2);
        let theta = |kind: &str, older: &str| {
            let nested = self.get("rope_parameters").and_then(|r| r.get(kind)).and_then(|r| r.get("rope_theta"));
            self.positive(older, nested.or(self.get(older)))
        };
        let full = Reach { window: None, rope_theta: theta("full_attention", "global_rope_theta")? };
        let sliding = Reach { window, rope_theta: theta("sliding_attention", "local_rope_theta")? };
        self.plain_positions()?;
        let Some(kinds) = self.get("layer_types") else {
            let every = self.size("global_attn_every_n_layers", 1 << 10)?;
            return Ok((0..layers).map(|i| if i % every == 0 { full } else { sliding }).collect());
        };
        let kind = |kind: &Value| match kind.as_str() {
            Some("full_attention") => Some(full),
            Some("sliding_attention") => Some(sliding),
            _ => None,
        };
        let reaches: Option<Vec<Reach>> = kinds.as_array().and_then(|kinds| kinds.iter().map(kind).collect());
        reaches.filter(|reaches| reaches.len() == layers).ok_or_else(|| {
            self.wrong("layer_types", format!("{layers} times `full_attention` or `sliding_attention`"), kinds)
        })
    }

    /// Scaled rotary positions are refused.
    fn plain_positions(&self) -> Result<()> {
        for kind in ["full_attention", "sliding_attention"] {
            let rope = self.get("rope_parameters").and_then(|r| r.get(kind)).and_then(|r| r.get("rope_type"));
            if let Some(rope) = rope.filter(|rope| *rope != "default") {
                return Err(self.wrong("rope_parameters", "rope type `default`".into(), rope));
            }
        }
        Ok(())
    }

    /// `id2label`, whose keys must be 0, 1, 2 …
    fn labels(&self) -> Result<Vec<String>> {
        let Some(value) = self.get("id2label") else { return Ok(Vec::new()) };
        let wanted = || self.wrong("id2label", "an object from \"0\", \"1\" … to names".into(), value);
        let map = value.as_object().ok_or_else(wanted)?;
        let name = |i: usize| map.get(&i.to_string()).and_then(Value::as_str).map(String::from).ok_or_else(wanted);
        (0..map.len()).map(name).collect()
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

    /// A token id of the vocabulary.
    fn id(&self, key: &str, vocab_size: usize, default: usize) -> Result<usize> {
        let Some(value) = self.get(key) else { return Ok(default) };
        let id = value.as_u64().filter(|&id| id < vocab_size as u64);
        id.map(|id| id as usize).ok_or_else(|| self.wrong(key, format!("a token id below {vocab_size}"), value))
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

    fn missing(&self, key: &str) -> Error {
        Error::input(format!("{}: key `{key}` is missing: is this an encoder's config.json?", self.file))
    }

    fn wrong(&self, key: &str, wanted: String, got: impl Serialize) -> Error {
        let got = serde_json::to_value(got).unwrap_or_default().to_string();
        let got: String = got.chars().take(120).collect();
        Error::input(format!("{}: key `{key}` is {got}, expected {wanted}", self.file))
    }
}

//! A GGUF file's description of its model, as a config.json would have it: the keys `<architecture>.…` and, of the
//! tensors, which are there.
use super::header::{Header, Value};
use super::names::{self, HEAD};
use super::tokens;
use crate::error::{Error, Result};
use crate::model::Config;
use crate::model::family::FAMILIES;
use crate::model::rope::{Rope, Scaling};
use serde_json::{Map, Value as Json, json};
use std::path::Path;

/// Our keys, and GGUF's behind `<architecture>.`.
const KEYS: [(&str, &str); 9] = [
    ("num_hidden_layers", "block_count"),
    ("max_position_embeddings", "context_length"),
    ("hidden_size", "embedding_length"),
    ("intermediate_size", "feed_forward_length"),
    ("num_attention_heads", "attention.head_count"),
    ("num_key_value_heads", "attention.head_count_kv"),
    ("head_dim", "attention.key_length"),
    ("rms_norm_eps", "attention.layer_norm_rms_epsilon"),
    ("rope_theta", "rope.freq_base"),
];

/// What an error is about, and what is wrong with it.
type Wrong = (String, String);

/// The metadata as a config.json would have it, checked as a config.json is. `divisors`: the numbers of
/// `rope_freqs.weight`.
pub fn config(header: &Header, divisors: Option<Vec<f64>>, path: &Path) -> Result<Config> {
    let wrong = |(key, what): Wrong| Error::input(format!("{}: `{key}` {what}", path.display()));
    let facts = Facts { header, arch: architecture(header).map_err(wrong)? };
    let mut config = Config::from_keys(path, facts.keys().map_err(wrong)?)?;
    let has = |name: &str| header.tensors.contains_key(&format!("blk.0.{name}.bias"));
    config.qkv_bias |= has("attn_q");
    config.o_bias |= has("attn_output");
    config.mlp_bias |= has("ffn_up");
    facts.check(&config).map_err(wrong)?;
    if let Some(by) = divisors {
        config.rope.scaling = facts.divided(&config, by).map_err(wrong)?;
    }
    Ok(config)
}

/// `general.architecture`, if it is one of ours.
fn architecture(header: &Header) -> Result<&'static str, Wrong> {
    let key = "general.architecture";
    let mut known: Vec<&str> = FAMILIES.iter().filter_map(|family| family.gguf()).collect();
    known.dedup();
    let got = header.text(key);
    known.iter().find(|name| Some(**name) == got).copied().ok_or_else(|| {
        let got = got.map_or("missing".into(), |name| format!("`{name}`"));
        (key.into(), format!("is {got}, expected one of the architectures that dxlab computes: {}", known.join(", ")))
    })
}

struct Facts<'a> {
    header: &'a Header,
    arch: &'static str,
}

impl Facts<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.arch)
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.header.metadata.get(&self.key(name))
    }

    fn number(&self, name: &str) -> Result<Option<f64>, Wrong> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Int(n)) => Ok(Some(*n as f64)),
            Some(Value::Float(x)) if x.is_finite() => Ok(Some(*x)),
            Some(other) => Err((self.key(name), format!("is {}, expected a number", other))),
        }
    }

    /// As config.json has them.
    fn keys(&self) -> Result<Map<String, Json>, Wrong> {
        let mut map = Map::new();
        for (ours, theirs) in KEYS {
            let value = match self.get(theirs) {
                Some(Value::Int(n)) => u64::try_from(*n).map_or(json!(*n as f64), Json::from),
                Some(Value::Float(x)) => Json::from(*x),
                Some(other) => return Err((self.key(theirs), format!("is {}, expected a number", other))),
                None => self.by_default(theirs, &map).ok_or_else(|| (self.key(theirs), "is missing".into()))?,
            };
            map.insert(ours.into(), value);
        }
        let Some([rows, _]) = self.header.tensors.get(names::EMBEDDING).map(|e| &e.shape[..]) else {
            return Err((names::EMBEDDING.into(), "is missing or not a matrix".into()));
        };
        let window = self.number("attention.sliding_window")?.filter(|size| *size > 0.0);
        let family = match (self.arch, window) {
            ("llama", Some(_)) => "mistral", // of the two that call themselves llama the one with a window
            (arch, _) => arch,
        };
        map.extend([
            ("vocab_size".to_string(), json!(rows)),
            ("model_type".to_string(), json!(family)),
            ("tie_word_embeddings".to_string(), json!(!self.header.tensors.contains_key(HEAD))),
            ("sliding_window".to_string(), json!(window.map(|size| size as u64))),
            ("use_sliding_window".to_string(), json!(window.is_some())),
            ("max_window_layers".to_string(), json!(0)),
            ("rope_scaling".to_string(), self.scaling(&map)?),
            ("eos_token_id".to_string(), json!(tokens::ends(&self.header.metadata))),
            ("pad_token_id".to_string(), json!(tokens::id(&self.header.metadata, "padding"))),
        ]);
        Ok(map)
    }

    /// What llama.cpp takes where a key is missing.
    fn by_default(&self, key: &str, known: &Map<String, Json>) -> Option<Json> {
        let size = |key: &str| known.get(key).and_then(Json::as_u64);
        match key {
            "attention.head_count_kv" => size("num_attention_heads").map(Json::from),
            "attention.key_length" => match self.get("rope.dimension_count") {
                Some(Value::Int(n)) => u64::try_from(*n).ok().map(Json::from),
                _ => size("hidden_size")?.checked_div(size("num_attention_heads")?).map(Json::from),
            },
            "rope.freq_base" => Some(json!(10_000.0)),
            _ => None,
        }
    }

    /// `rope.scaling.*` as config.json's `rope_scaling`. A factor without a type means linear, as in llama.cpp; so does
    /// the older key `rope.scale_linear`.
    fn scaling(&self, known: &Map<String, Json>) -> Result<Json, Wrong> {
        const READ: [&str; 7] = [
            "type",
            "factor",
            "original_context_length",
            "attn_factor",
            "yarn_beta_fast",
            "yarn_beta_slow",
            "finetuned",
        ];
        let start = self.key("rope.scaling.");
        let strange = |(key, value): &(&String, &Value)| {
            let idle = matches!(value, Value::Float(x) if *x == 0.0) || matches!(value, Value::Int(0));
            key.strip_prefix(&start).is_some_and(|key| !READ.contains(&key)) && !idle
        };
        if let Some((key, value)) = self.header.metadata.iter().find(strange) {
            return Err((key.clone(), format!("is {value}, which dxlab does not compute with")));
        }
        let key = "rope.scaling.type";
        let factor = match self.number("rope.scaling.factor")? {
            Some(factor) => Some(factor),
            None => self.number("rope.scale_linear")?,
        };
        let factor = factor.filter(|factor| *factor != 0.0 && *factor != 1.0);
        let kind = match self.get(key) {
            None => factor.map(|_| "linear"),
            Some(Value::Text(kind)) if kind == "none" => None,
            Some(Value::Text(kind)) if kind == "linear" => factor.map(|_| "linear"),
            Some(Value::Text(kind)) if kind == "yarn" => Some("yarn"),
            Some(other) => {
                let wanted = "expected `none`, `linear` or `yarn`: dxlab computes no other";
                return Err((self.key(key), format!("is {}, {wanted}", other)));
            }
        };
        if let Some(beside) = self.number("rope.scaling.attn_factor")?.filter(|x| *x != 1.0 && kind != Some("yarn")) {
            return Err((
                self.key("rope.scaling.attn_factor"),
                format!("is {beside}, which dxlab computes only beside type `yarn`"),
            ));
        }
        match kind {
            None => Ok(Json::Null),
            Some("linear") => Ok(json!({"rope_type": "linear", "factor": factor})),
            Some(_) => self.yarn(factor.unwrap_or(1.0), known),
        }
    }

    fn yarn(&self, factor: f64, known: &Map<String, Json>) -> Result<Json, Wrong> {
        let mut yarn = Map::from_iter([
            ("rope_type".to_string(), json!("yarn")),
            ("factor".to_string(), json!(factor)),
            ("beta_fast".to_string(), json!(self.number("rope.scaling.yarn_beta_fast")?)),
            ("beta_slow".to_string(), json!(self.number("rope.scaling.yarn_beta_slow")?)),
        ]);
        let length = self.number("rope.scaling.original_context_length")?.map(|n| json!(n as u64));
        let length = length.or(known.get("max_position_embeddings").cloned());
        yarn.insert("original_max_position_embeddings".into(), json!(length));
        // llama.cpp multiplies its key with what YaRN's paper has
        if let Some(beside) = self.number("rope.scaling.attn_factor")? {
            yarn.insert("attention_factor".into(), json!(beside * crate::model::rope::yarn_attention(factor, 1.0)));
        }
        Ok(yarn.into())
    }

    /// Keys that would make the file's forward another one than ours, or that lie about its tensors.
    fn check(&self, config: &Config) -> Result<(), Wrong> {
        for name in ["attention.value_length", "rope.dimension_count"] {
            if let Some(value) = self.get(name).filter(|v| **v != Value::Int(config.head_dim as i128)) {
                let what = format!("is {}, expected {}, the length of a key", value, config.head_dim);
                return Err((self.key(name), what));
            }
        }
        if let Some(value) = self.get("vocab_size").filter(|v| **v != Value::Int(config.vocab_size as i128)) {
            let what = format!("is {}, the embedding has {} rows", value, config.vocab_size);
            return Err((self.key("vocab_size"), what));
        }
        for (name, heads, tensor) in [
            ("attention.head_count", config.num_attention_heads, "blk.0.attn_q.weight"),
            ("attention.head_count_kv", config.num_key_value_heads, "blk.0.attn_k.weight"),
        ] {
            let rows = self.header.tensors.get(tensor).and_then(|e| e.shape.first().copied());
            let wanted = heads * config.head_dim;
            if let Some(rows) = rows.filter(|rows| *rows != wanted) {
                let absent = if self.get(name).is_none() { ", by default" } else { "" };
                let dim = config.head_dim;
                let what = format!(
                    "is {heads}{absent}, and {heads} heads of {dim} are {wanted} rows, but `{tensor}` has {rows}"
                );
                return Err((self.key(name), what));
            }
        }
        Ok(())
    }

    /// The scaling that `rope_freqs.weight` stands for: Llama 3's where its numbers are those of a training on so many
    /// positions as the file says or on 8192, with Llama 3's bounds 1 and 4; else the numbers as they are.
    fn divided(&self, config: &Config, by: Vec<f64>) -> Result<Scaling, Wrong> {
        let wrong = |what: String| Err((names::DIVISORS.to_string(), what));
        if by.len() != config.head_dim / 2 {
            return wrong(format!(
                "has {} numbers, expected {}, half the length of a key",
                by.len(),
                config.head_dim / 2
            ));
        }
        if config.rope.scaling != Scaling::Default {
            return wrong("stands beside another rotary scaling in the metadata: dxlab does not compute both".into());
        }
        let factor = by.iter().copied().fold(1.0, f64::max);
        if by.iter().all(|by| *by == 1.0) {
            return Ok(Scaling::Default);
        }
        let told = self.number("rope.scaling.original_context_length")?.map(|n| n as usize);
        for original_max_position_embeddings in told.into_iter().chain([8192]) {
            let (low_freq_factor, high_freq_factor) = (1.0, 4.0);
            let scaling =
                Scaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings };
            let rope = Rope { scaling, ..config.rope.clone() };
            let (plain, _) = Rope::plain(config.rope.theta).frequencies(config.head_dim);
            if plain.iter().zip(&by).all(|(w, by)| (rope.divisor(*w) / by - 1.0).abs() < 1e-5) {
                return Ok(rope.scaling);
            }
        }
        Ok(Scaling::Divisors(by))
    }
}

//! How a config.json stretches its rotary positions (see [`Rope`](crate::model::Rope)).
use super::keys::Keys;
use crate::error::{Error, Result};
use crate::model::rope::{Scaling, yarn_attention};
use serde::Serialize;
use serde_json::{Map, Value};

/// `rope_scaling` or `rope_parameters`.
pub struct ScalingKeys<'a> {
    pub keys: &'a Keys,
    pub key: &'static str,
    pub dict: &'a Map<String, Value>,
    /// `max_position_embeddings`
    pub positions: usize,
}

/// Keys of `rope_scaling` or `rope_parameters` that some scaling of transformers reads; another one is a misspelling, or means something that
/// is not computed here.
const KEYS: [&str; 23] = [
    "rope_type",
    "type",
    "rope_theta",
    "factor",
    "alpha",
    "original_max_position_embeddings",
    "partial_rotary_factor",
    "attention_factor",
    "beta_fast",
    "beta_slow",
    "mscale",
    "mscale_all_dim",
    "truncate",
    "low_freq_factor",
    "high_freq_factor",
    "short_factor",
    "long_factor",
    "short_mscale",
    "long_mscale",
    "mrope_section",
    "mrope_interleaved",
    "finetuned",
    "max_position_embeddings",
];

impl ScalingKeys<'_> {
    pub fn scaling(&self) -> Result<Scaling> {
        let known = "rope type `default`, `linear`, `dynamic`, `llama3` or `yarn`: dxlab computes no other";
        if let Some(nested) = self.dict.values().find(|v| v.is_object()) {
            return Err(self.keys.wrong(self.key, "one set of rotary positions for all layers".into(), nested));
        }
        let known_key = |key: &str| KEYS.contains(&key) || key.starts_with('_');
        if let Some((key, value)) = self.dict.iter().find(|(key, value)| !known_key(key) && !value.is_null()) {
            return Err(self.wrong(key, format!("no such key; known are {}", KEYS.join(", ")), value));
        }
        let kind = self.kind()?;
        match kind.as_str() {
            Some("default") => self.unscaled(),
            None if kind.is_null() => self.unscaled(),
            Some("linear") => Ok(Scaling::Linear { factor: self.factor()? }),
            Some("dynamic") => self.dynamic(),
            Some("llama3") => self.llama3(),
            Some("yarn") => self.yarn(),
            _ => Err(self.keys.wrong(self.key, known.into(), kind)),
        }
    }

    /// `rope_type`, or `type` of older files. Both may be there if they say the same: transformers 4 goes by `type`, 5 by `rope_type`.
    fn kind(&self) -> Result<&Value> {
        static NULL: Value = Value::Null;
        let get = |key: &str| self.dict.get(key).filter(|v| !v.is_null());
        match (get("rope_type"), get("type")) {
            (Some(new), Some(old)) if new != old => {
                Err(self.wrong("type", format!("as rope_type, {new}, or no such key"), old))
            }
            (new, old) => Ok(new.or(old).unwrap_or(&NULL)),
        }
    }

    /// No scaling, if nothing is there that a scaling would read: transformers passes such keys over, and their author meant them.
    fn unscaled(&self) -> Result<Scaling> {
        let idle = |v: &Value| v.is_null() || v.as_f64() == Some(1.0);
        let read = [
            "factor",
            "alpha",
            "short_factor",
            "long_factor",
            "low_freq_factor",
            "high_freq_factor",
            "attention_factor",
        ];
        match read.into_iter().find_map(|key| Some((key, self.dict.get(key).filter(|v| !idle(v))?))) {
            None => Ok(Scaling::Default),
            Some((key, value)) => {
                let wanted =
                    "no such key without a `rope_type` (`linear`, `dynamic`, `llama3` or `yarn`) that reads it";
                Err(self.wrong(key, wanted.into(), value))
            }
        }
    }

    fn dynamic(&self) -> Result<Scaling> {
        match self.dict.get("alpha").filter(|v| !v.is_null()) {
            Some(alpha) => {
                Err(self.wrong("alpha", "no such key: NTK-aware scaling by alpha is not computed".into(), alpha))
            }
            None => Ok(Scaling::Dynamic { factor: self.factor()? }),
        }
    }

    fn llama3(&self) -> Result<Scaling> {
        let (low, high) = (self.number("low_freq_factor", None)?, self.number("high_freq_factor", None)?);
        if high <= low {
            return Err(self.wrong("high_freq_factor", format!("more than low_freq_factor = {low}"), high));
        }
        Ok(Scaling::Llama3 {
            factor: self.factor()?,
            low_freq_factor: low,
            high_freq_factor: high,
            original_max_position_embeddings: self.original()?,
        })
    }

    fn yarn(&self) -> Result<Scaling> {
        let factor = self.factor()?;
        let optional = |key: &str| self.dict.get(key).filter(|v| !v.is_null() && v.as_f64() != Some(0.0)).is_some();
        let attention_factor = match (optional("attention_factor"), optional("mscale") && optional("mscale_all_dim")) {
            (true, _) => self.number("attention_factor", None)?,
            (false, true) => {
                yarn_attention(factor, self.number("mscale", None)?)
                    / yarn_attention(factor, self.number("mscale_all_dim", None)?)
            }
            (false, false) => yarn_attention(factor, 1.0),
        };
        let truncate = match self.dict.get("truncate") {
            None => true,
            Some(value) => value.as_bool().ok_or_else(|| self.wrong("truncate", "true or false".into(), value))?,
        };
        Ok(Scaling::Yarn {
            factor,
            original_max_position_embeddings: self.original()?,
            beta_fast: self.number("beta_fast", Some(32.0))?,
            beta_slow: self.number("beta_slow", Some(1.0))?,
            attention_factor,
            truncate,
        })
    }

    fn factor(&self) -> Result<f64> {
        match self.number("factor", None)? {
            factor if factor >= 1.0 => Ok(factor),
            factor => Err(self.wrong("factor", "at least 1".into(), factor)),
        }
    }

    /// Positions of the training before scaling: a key on top goes before that of the object; without either, all
    /// positions.
    fn original(&self) -> Result<usize> {
        let key = "original_max_position_embeddings";
        let Some(value) = self.keys.get(key).or(self.dict.get(key).filter(|v| !v.is_null())) else {
            return Ok(self.positions);
        };
        match value.as_u64() {
            Some(n @ 1..=0xffff_ffff) => Ok(n as usize),
            _ => Err(self.wrong(key, "a number of tokens".into(), value)),
        }
    }

    fn number(&self, key: &str, absent: Option<f64>) -> Result<f64> {
        match (self.dict.get(key).filter(|v| !v.is_null()), absent) {
            (Some(value), _) => match value.as_f64() {
                Some(x) if x > 0.0 && x.is_finite() => Ok(x),
                _ => Err(self.wrong(key, "a positive number".into(), value)),
            },
            (None, Some(absent)) => Ok(absent),
            (None, None) => Err(self.keys.missing(&format!("{}.{key}", self.key))),
        }
    }

    fn wrong(&self, key: &str, wanted: String, got: impl Serialize) -> Error {
        self.keys.wrong(&format!("{}.{key}", self.key), wanted, got)
    }
}

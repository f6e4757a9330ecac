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

impl ScalingKeys<'_> {
    pub fn scaling(&self) -> Result<Scaling> {
        let known = "rope type `default`, `linear`, `dynamic`, `llama3` or `yarn`: dxlab computes no other";
        if let Some(nested) = self.dict.values().find(|v| v.is_object()) {
            return Err(self.keys.wrong(self.key, "one set of rotary positions for all layers".into(), nested));
        }
        let whole = self.dict.get("partial_rotary_factor").or(self.keys.get("partial_rotary_factor"));
        if let Some(part) = whole.filter(|v| !v.is_null() && v.as_f64() != Some(1.0)) {
            return Err(self.keys.wrong("partial_rotary_factor", "1: whole heads are turned here".into(), part));
        }
        let kind = self.dict.get("rope_type").or(self.dict.get("type")).unwrap_or(&Value::Null);
        let bare = kind.is_null() && (self.key == "rope_parameters" || self.dict.is_empty());
        match kind.as_str() {
            Some("default") => Ok(Scaling::Default),
            None if bare => Ok(Scaling::Default),
            Some("linear") => Ok(Scaling::Linear { factor: self.factor()? }),
            Some("dynamic") => Ok(Scaling::Dynamic { factor: self.factor()? }),
            Some("llama3") => self.llama3(),
            Some("yarn") => self.yarn(),
            _ => Err(self.keys.wrong(self.key, known.into(), kind)),
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

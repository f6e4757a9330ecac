//! `adapter_config.json` as PEFT writes and reads it.
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The linear layers of a Qwen3 block, all of which are adapted unless told otherwise.
pub const ALL_LINEAR: [&str; 7] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

/// Field names are PEFT's. Keys that PEFT writes and that change nothing for LoRA inference are ignored when read;
/// those that would change the numbers and are not supported are errors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdapterConfig {
    pub peft_type: String,
    pub task_type: String,
    #[serde(default)]
    pub base_model_name_or_path: Option<String>,
    /// Rank.
    pub r: usize,
    /// The update is scaled by `lora_alpha / r`.
    pub lora_alpha: f64,
    #[serde(default)]
    pub lora_dropout: f64,
    pub target_modules: Vec<String>,
    #[serde(default = "none")]
    pub bias: String,
    #[serde(default)]
    pub use_rslora: bool,
    #[serde(default)]
    pub use_dora: bool,
    #[serde(default)]
    pub fan_in_fan_out: bool,
    #[serde(default)]
    pub rank_pattern: std::collections::BTreeMap<String, usize>,
    #[serde(default)]
    pub alpha_pattern: std::collections::BTreeMap<String, f64>,
    #[serde(default)]
    pub modules_to_save: Option<Vec<String>>,
}

fn none() -> String {
    "none".into()
}

impl AdapterConfig {
    /// LoRA of rank `r` on every linear layer, without dropout.
    pub fn lora(r: usize, lora_alpha: f64) -> Self {
        Self {
            peft_type: "LORA".into(),
            task_type: "CAUSAL_LM".into(),
            base_model_name_or_path: None,
            r,
            lora_alpha,
            lora_dropout: 0.0,
            target_modules: ALL_LINEAR.map(String::from).to_vec(),
            bias: none(),
            use_rslora: false,
            use_dora: false,
            fan_in_fan_out: false,
            rank_pattern: Default::default(),
            alpha_pattern: Default::default(),
            modules_to_save: None,
        }
    }

    pub fn scale(&self) -> f64 {
        self.lora_alpha / self.r as f64
    }

    /// `model.layers.0.self_attn.q_proj` is a target when its last part is listed, as in PEFT.
    pub fn targets(&self, linear: &str) -> bool {
        self.target_modules.iter().any(|t| linear == t || linear.ends_with(&format!(".{t}")))
    }

    pub fn read(dir: &Path) -> Result<Self> {
        let path = dir.join("adapter_config.json");
        let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
        let config: Self = serde_json::from_str(&text).map_err(|e| {
            Error::input(format!("{}: {e}; is this a PEFT adapter with listed target_modules?", path.display()))
        })?;
        config.supported().map_err(|what| {
            Error::input(format!("{}: {what}; only plain LoRA adapters can be loaded", path.display()))
        })?;
        Ok(config)
    }

    /// What this version cannot reproduce exactly is refused, never approximated.
    pub fn supported(&self) -> Result<(), String> {
        let patterns = !self.rank_pattern.is_empty() || !self.alpha_pattern.is_empty();
        let checks = [
            (self.peft_type != "LORA", format!("peft_type is {}, expected LORA", self.peft_type)),
            (self.r == 0, "r is 0, expected a positive rank".into()),
            (self.lora_dropout != 0.0, format!("lora_dropout is {}, expected 0", self.lora_dropout)),
            (self.use_dora, "use_dora is true".into()),
            (self.use_rslora, "use_rslora is true".into()),
            (self.bias != "none", format!("bias is {}, expected none", self.bias)),
            (self.fan_in_fan_out, "fan_in_fan_out is true".into()),
            (patterns, "rank_pattern or alpha_pattern is set".into()),
            (self.modules_to_save.is_some(), "modules_to_save is set".into()),
            (self.target_modules.is_empty(), "target_modules is empty".into()),
        ];
        checks.into_iter().find(|(bad, _)| *bad).map_or(Ok(()), |(_, what)| Err(what))
    }
}

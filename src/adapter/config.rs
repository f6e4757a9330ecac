//! `adapter_config.json` as PEFT writes and reads it.
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// The linear layers of a Qwen3 block, all of which are adapted unless told otherwise.
pub const ALL_LINEAR: [&str; 7] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

/// Field names are PEFT's. Keys that PEFT writes and that change nothing for inference are ignored when read; those that would
/// change the numbers and are not supported are errors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdapterConfig {
    pub peft_type: String,
    pub task_type: String,
    #[serde(default)]
    pub base_model_name_or_path: Option<String>,
    /// Rank, where `rank_pattern` gives no other.
    pub r: usize,
    /// The update is scaled by α/r, or α/√r with `use_rslora`.
    pub lora_alpha: f64,
    /// Probability with which an input of A is dropped while training.
    #[serde(default)]
    pub lora_dropout: f64,
    pub target_modules: Targets,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclude_modules: Option<Targets>,
    /// Blocks to adapt, from 0; all where not given.
    #[serde(default)]
    pub layers_to_transform: Option<Layers>,
    #[serde(default = "none")]
    pub bias: String,
    /// Rank-stabilised scale (Kalajdzievski 2023).
    #[serde(default)]
    pub use_rslora: bool,
    /// Weight-decomposed adapter (Liu et al. 2024).
    #[serde(default)]
    pub use_dora: bool,
    #[serde(default)]
    pub fan_in_fan_out: bool,
    /// Rank by layer: keys are regular expressions for the end of a layer's name, the first that matches counts.
    #[serde(default)]
    pub rank_pattern: BTreeMap<String, usize>,
    #[serde(default)]
    pub alpha_pattern: BTreeMap<String, f64>,
    /// How A and B start: true, or `pissa` / `pissa_niter_N` (Meng et al. 2024).
    #[serde(default)]
    pub init_lora_weights: Init,
    #[serde(flatten, skip_serializing)]
    /// What else a file says; looked at and emptied by `read`.
    pub other: BTreeMap<String, serde_json::Value>,
}

/// A list of names, or one regular expression for whole names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Targets {
    Names(Vec<String>),
    Pattern(String),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Layers {
    One(usize),
    Some(Vec<usize>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Init {
    Plain(bool),
    Named(String),
}

impl Default for Init {
    fn default() -> Self {
        Self::Plain(true)
    }
}

/// Keys of `adapter_config.json` that would change the numbers; null, false and empty values are as if they were not there.
const UNSUPPORTED: [&str; 13] = [
    "modules_to_save",
    "layers_pattern",
    "trainable_token_indices",
    "target_parameters",
    "layer_replication",
    "alora_invocation_tokens",
    "lora_bias",
    "use_qalora",
    "use_bdlora",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
    "velora_config",
];

fn none() -> String {
    "none".into()
}

fn regex(pattern: &str) -> Option<regex::Regex> {
    regex::Regex::new(pattern).ok()
}

impl Targets {
    fn match_name(&self, linear: &str) -> bool {
        match self {
            Self::Names(names) => names.iter().any(|t| linear == t || linear.ends_with(&format!(".{t}"))),
            Self::Pattern(p) if p == "all-linear" => true,
            Self::Pattern(p) => regex(&format!("^(?:{p})$")).is_some_and(|r| r.is_match(linear)),
        }
    }
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
            target_modules: Targets::Names(ALL_LINEAR.map(String::from).to_vec()),
            exclude_modules: None,
            layers_to_transform: None,
            bias: none(),
            use_rslora: false,
            use_dora: false,
            fan_in_fan_out: false,
            rank_pattern: BTreeMap::new(),
            alpha_pattern: BTreeMap::new(),
            init_lora_weights: Init::default(),
            other: BTreeMap::new(),
        }
    }

    /// Rank of the adapter of `linear`, such as `model.layers.0.self_attn.q_proj`.
    pub fn rank(&self, linear: &str) -> usize {
        pattern(&self.rank_pattern, linear).copied().unwrap_or(self.r)
    }

    pub fn alpha(&self, linear: &str) -> f64 {
        pattern(&self.alpha_pattern, linear).copied().unwrap_or(self.lora_alpha)
    }

    /// s = α/r, or α/√r
    pub fn scale(&self, linear: &str) -> f64 {
        let r = self.rank(linear) as f64;
        self.alpha(linear) / if self.use_rslora { r.sqrt() } else { r }
    }

    /// `model.layers.0.self_attn.q_proj` is a target when its last part is listed, as in PEFT.
    pub fn targets(&self, linear: &str) -> bool {
        let block = linear.split('.').nth(2).and_then(|n| n.parse::<usize>().ok());
        let here = match (&self.layers_to_transform, block) {
            (Some(Layers::One(n)), Some(block)) => block == *n,
            (Some(Layers::Some(all)), Some(block)) => all.contains(&block),
            _ => true,
        };
        here && self.target_modules.match_name(linear)
            && !self.exclude_modules.as_ref().is_some_and(|e| e.match_name(linear))
    }

    /// What of `target_modules` or `layers_to_transform` has no layer among those `found`, in words.
    pub fn unmatched<'a>(&self, found: impl Iterator<Item = &'a str> + Clone, layers: usize) -> Option<String> {
        let wanted: Vec<usize> = match &self.layers_to_transform {
            Some(Layers::One(n)) => vec![*n],
            Some(Layers::Some(all)) => all.clone(),
            None => vec![],
        };
        if let Some(n) = wanted.into_iter().find(|&n| n >= layers) {
            return Some(format!("layer {n} of layers_to_transform (the model has {layers}, from 0)"));
        }
        let ends = |name: &str, t: &str| name == t || name.ends_with(&format!(".{t}"));
        match &self.target_modules {
            Targets::Names(all) => {
                all.iter().find(|t| !found.clone().any(|n| ends(n, t))).map(|t| format!("target module `{t}`"))
            }
            Targets::Pattern(p) => found.clone().next().is_none().then(|| format!("target_modules `{p}`")),
        }
    }

    /// Power iterations of PiSSA's decomposition; None where A and B start as LoRA's.
    pub fn pissa(&self) -> Option<usize> {
        match &self.init_lora_weights {
            Init::Named(name) if name == "pissa" => Some(16),
            Init::Named(name) => name.strip_prefix("pissa_niter_").and_then(|n| n.parse().ok()),
            Init::Plain(_) => None,
        }
    }

    /// The LoRA of twice the rank that says the same without PiSSA's change of the base: ΔW = s (BA − B₀A₀).
    pub fn converted(&self) -> Self {
        let mut config = self.clone();
        let double = if self.use_rslora { 2f64.sqrt() } else { 2.0 }; // keeps the scale
        config.r *= 2;
        config.lora_alpha *= double;
        config.rank_pattern.values_mut().for_each(|r| *r *= 2);
        config.alpha_pattern.values_mut().for_each(|a| *a *= double);
        // a layer whose rank or alpha alone has a pattern keeps its scale, because both double
        config.init_lora_weights = Init::default();
        config
    }

    pub fn read(dir: &Path) -> Result<Self> {
        let path = dir.join("adapter_config.json");
        let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
        let mut config: Self = serde_json::from_str(&text)
            .map_err(|e| Error::input(format!("{}: {e}; is this a PEFT LoRA adapter?", path.display())))?;
        let converted = "it changes the base model; save it with `path_initial_model_for_weight_conversion`";
        let result = match config.pissa() {
            Some(_) => Err(format!("init_lora_weights is {:?}: {converted}", config.init_lora_weights)),
            None => config.supported(),
        };
        result.map_err(|what| Error::input(format!("{}: {what}", path.display())))?;
        config.other.clear(); // looked at above, and of no more use
        Ok(config)
    }

    /// What this version cannot reproduce exactly is refused, never approximated.
    pub fn supported(&self) -> Result<(), String> {
        let set = |v: &serde_json::Value| match v {
            serde_json::Value::Null => false,
            serde_json::Value::Bool(set) => *set,
            serde_json::Value::Array(all) => !all.is_empty(),
            serde_json::Value::Object(all) => !all.is_empty(),
            _ => true,
        };
        let strange = UNSUPPORTED.iter().find(|key| self.other.get(**key).is_some_and(set));
        let empty = matches!(&self.target_modules, Targets::Names(names) if names.is_empty());
        let patterns = self.patterns().find(|p| regex(p).is_none());
        let named = matches!(&self.init_lora_weights, Init::Named(_)) && self.pissa().is_none();
        let ranks = self.rank_pattern.values().chain([&self.r]);
        let alphas = self.alpha_pattern.values().chain([&self.lora_alpha]);
        let checks = [
            (self.peft_type != "LORA", format!("peft_type is {}, expected LORA", self.peft_type)),
            (ranks.clone().any(|&r| r == 0), "r is 0, expected a positive rank".into()),
            (alphas.clone().any(|a| !a.is_finite()), "lora_alpha is not a finite number".into()),
            (
                !(0.0..1.0).contains(&self.lora_dropout),
                format!("lora_dropout is {}, expected a probability below 1", self.lora_dropout),
            ),
            (self.bias != "none", format!("bias is {}, expected none", self.bias)),
            (self.fan_in_fan_out, "fan_in_fan_out is true, which is not Qwen3's layout".into()),
            (strange.is_some(), format!("{} is set, which is not supported", strange.unwrap_or(&""))),
            (empty, "target_modules is empty".into()),
            (patterns.is_some(), format!("`{}` is not a regular expression", patterns.unwrap_or_default())),
            (
                named,
                format!("init_lora_weights is {:?}, expected true, pissa or pissa_niter_N", self.init_lora_weights),
            ),
            (
                self.use_dora && self.pissa().is_some(),
                "use_dora and PiSSA together: DoRA's norm would follow a base that is not there; choose one".into(),
            ),
        ];
        checks.into_iter().find(|(bad, _)| *bad).map_or(Ok(()), |(_, what)| Err(what))
    }

    fn patterns(&self) -> impl Iterator<Item = String> + '_ {
        let targets = [Some(&self.target_modules), self.exclude_modules.as_ref()].into_iter().flatten();
        let whole = targets.filter_map(|t| match t {
            Targets::Pattern(p) => Some(p.clone()),
            Targets::Names(_) => None,
        });
        whole.chain(self.rank_pattern.keys().chain(self.alpha_pattern.keys()).cloned())
    }
}

/// The value of the first key that matches the end of a layer's name, as PEFT's `get_pattern_key`.
fn pattern<'a, T>(all: &'a BTreeMap<String, T>, linear: &str) -> Option<&'a T> {
    let matches = |key: &str| regex(&format!(r"^(?:.*\.)?(?:{key})$")).is_some_and(|r| r.is_match(linear));
    all.iter().find(|(key, _)| matches(key)).map(|(_, value)| value)
}

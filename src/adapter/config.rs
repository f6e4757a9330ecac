//! `adapter_config.json` as PEFT writes and reads it.
use crate::error::{Error, Result};
use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::path::Path;

/// The linear layers of a decoder's block, all of which are adapted unless told otherwise.
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
    pub rank_pattern: Patterns<usize>,
    #[serde(default)]
    pub alpha_pattern: Patterns<f64>,
    /// How A and B start: true, or `pissa` / `pissa_niter_N` (Meng et al. 2024); of an adapter that is read also what PEFT calls otherwise
    /// and leaves the base as it is.
    #[serde(default)]
    pub init_lora_weights: Init,
    #[serde(flatten, skip_serializing)]
    /// What else a file says; looked at and emptied by `read`.
    pub other: BTreeMap<String, serde_json::Value>,
}

/// Values by regular expression, in the order of the file: where two match a layer, PEFT takes the first (`get_pattern_key`).
#[derive(Clone, Debug, PartialEq)]
pub struct Patterns<T>(pub Vec<(String, T)>);

impl<T> Default for Patterns<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Patterns<T> {
    fn keys(&self) -> impl Iterator<Item = &String> {
        self.0.iter().map(|(key, _)| key)
    }

    fn values(&self) -> impl Iterator<Item = &T> + Clone {
        self.0.iter().map(|(_, value)| value)
    }

    fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut().map(|(_, value)| value)
    }

    /// The value of the first key that matches the end of a layer's name.
    fn first(&self, linear: &str) -> Option<&T> {
        let matches = |key: &str| regex(&format!(r"^(?:.*\.)?(?:{key})$")).is_some_and(|r| r.is_match(linear));
        self.0.iter().find(|(key, _)| matches(key)).map(|(_, value)| value)
    }
}

impl<T: Serialize> Serialize for Patterns<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patterns<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(InOrder(PhantomData))
    }
}

struct InOrder<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for InOrder<T> {
    type Value = Patterns<T>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("values by regular expression")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut all: Vec<(String, T)> = Vec::new();
        while let Some((key, value)) = map.next_entry::<String, T>()? {
            match all.iter_mut().find(|(known, _)| *known == key) {
                Some(again) => again.1 = value, // as Python reads JSON: the first place, the last value
                None => all.push((key, value)),
            }
        }
        Ok(Patterns(all))
    }
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

/// `init_lora_weights` of PEFT that set A and B alone (seen in its `LoraLayer.update_layer`): once trained they are a plain LoRA. `pissa`,
/// `corda`, `olora`, `loftq` and `lora_ga` also take a part out of the base.
const BASE_UNCHANGED: [&str; 4] = ["gaussian", "eva", "orthogonal", "mica"];

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
            rank_pattern: Patterns::default(),
            alpha_pattern: Patterns::default(),
            init_lora_weights: Init::default(),
            other: BTreeMap::new(),
        }
    }

    /// Rank of the adapter of `linear`, such as `model.layers.0.self_attn.q_proj`.
    pub fn rank(&self, linear: &str) -> usize {
        self.rank_pattern.first(linear).copied().unwrap_or(self.r)
    }

    pub fn alpha(&self, linear: &str) -> f64 {
        self.alpha_pattern.first(linear).copied().unwrap_or(self.lora_alpha)
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
        let text = crate::io::read_text(&path)?;
        let mut config: Self = serde_json::from_str(&text)
            .map_err(|e| Error::input(format!("{}: {e}; is this a PEFT LoRA adapter?", path.display())))?;
        let result = config.readable();
        result.map_err(|what| Error::input(format!("{}: {what}", path.display())))?;
        config.other.clear(); // looked at above, and of no more use
        Ok(config)
    }

    /// What a saved adapter cannot be reproduced exactly with is refused, never approximated. How it was started does not matter, but
    /// where that changed the base.
    fn readable(&self) -> Result<(), String> {
        let Init::Named(name) = &self.init_lora_weights else { return self.supported() };
        if !BASE_UNCHANGED.contains(&name.to_lowercase().as_str()) {
            let known = BASE_UNCHANGED.join(", ");
            return Err(format!(
                "init_lora_weights is {name}, which is not known to leave the base model as it is ({known} are); save the adapter \
                 with `path_initial_model_for_weight_conversion`, which makes a plain LoRA of it"
            ));
        }
        Self { init_lora_weights: Init::default(), ..self.clone() }.supported()
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
        let mut ranks = self.rank_pattern.values().chain([&self.r]);
        let mut alphas = self.alpha_pattern.values().chain([&self.lora_alpha]);
        let wrong_alpha = alphas.find(|&&a| !(a.is_finite() && a > 0.0));
        let checks = [
            (self.peft_type != "LORA", format!("peft_type is {}, expected LORA", self.peft_type)),
            (ranks.any(|&r| r == 0), "r is 0, expected a positive rank".into()),
            (
                wrong_alpha.is_some(),
                format!("lora_alpha is {}, expected a positive number", wrong_alpha.unwrap_or(&0.0)),
            ),
            (
                !(0.0..1.0).contains(&self.lora_dropout),
                format!("lora_dropout is {}, expected a probability below 1", self.lora_dropout),
            ),
            (self.bias != "none", format!("bias is {}, expected none", self.bias)),
            (self.fan_in_fan_out, "fan_in_fan_out is true, which is not the layout of these models".into()),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_keep_the_order_of_their_file_and_the_first_that_matches_counts() {
        let text = r#"{"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"],
            "rank_pattern": {"q_proj": 6, "layers.0.self_attn.q_proj": 2}, "alpha_pattern": {"z": 1, "a": 3, "z": 2}}"#;
        let config: AdapterConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config.rank("model.layers.0.self_attn.q_proj"), 6, "not the first by the alphabet");
        assert_eq!(config.alpha_pattern.0, [("z".to_string(), 2.0), ("a".to_string(), 3.0)]);
        let written = serde_json::to_string(&config).unwrap();
        assert!(written.contains(r#""rank_pattern":{"q_proj":6,"layers.0.self_attn.q_proj":2}"#), "{written}");
    }

    #[test]
    fn an_alpha_that_scales_the_update_away_is_refused() {
        for alpha in [0.0, -8.0, f64::NAN, f64::INFINITY] {
            let said = AdapterConfig::lora(4, alpha).supported().unwrap_err();
            assert!(said.starts_with("lora_alpha is") && said.ends_with("expected a positive number"), "{said}");
        }
        let alpha_pattern = Patterns(vec![("q_proj".to_string(), 0.0)]);
        let said = AdapterConfig { alpha_pattern, ..AdapterConfig::lora(4, 8.0) }.supported().unwrap_err();
        assert_eq!(said, "lora_alpha is 0, expected a positive number");
    }

    #[test]
    fn how_an_adapter_was_started_matters_only_where_it_changed_the_base() {
        let started =
            |name: &str| AdapterConfig { init_lora_weights: Init::Named(name.into()), ..AdapterConfig::lora(4, 8.0) };
        for name in ["gaussian", "Gaussian", "eva", "orthogonal", "mica"] {
            assert_eq!(started(name).readable(), Ok(()));
            assert!(started(name).supported().is_err(), "a fresh adapter is not started so here");
        }
        for name in ["pissa", "pissa_niter_16", "olora", "corda", "loftq", "lora_ga", "new"] {
            let said = started(name).readable().unwrap_err();
            assert!(said.contains(name) && said.contains("path_initial_model_for_weight_conversion"), "{said}");
        }
        let dora = AdapterConfig { use_dora: true, ..started("gaussian") };
        assert_eq!(dora.readable(), Ok(()));
    }
}

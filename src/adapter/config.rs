//! `adapter_config.json` as PEFT writes and reads it.
use crate::error::{Error, Result};
use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;
use std::path::Path;

/// The linear layers of a decoder's block, all of which are adapted unless told otherwise.
pub const ALL_LINEAR: [&str; 7] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

/// Field names are PEFT's, and what is missing or null has PEFT's default. Keys that PEFT writes and that change nothing for inference
/// are ignored when read; those that would change the numbers and are not supported are errors; keys that are not known are warned of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdapterConfig {
    pub peft_type: String,
    #[serde(default = "causal", deserialize_with = "null_is_causal")]
    pub task_type: String,
    #[serde(default)]
    pub base_model_name_or_path: Option<String>,
    /// Rank, where `rank_pattern` gives no other.
    #[serde(default = "eight", deserialize_with = "null_is_eight")]
    pub r: usize,
    /// The update is scaled by α/r, or α/√r with `use_rslora`.
    #[serde(default = "eight", deserialize_with = "null_is_eight")]
    pub lora_alpha: f64,
    /// Probability with which an input of A is dropped while training.
    #[serde(default, deserialize_with = "null_is_default")]
    pub lora_dropout: f64,
    #[serde(default, deserialize_with = "null_is_default")]
    pub target_modules: Targets,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclude_modules: Option<Targets>,
    /// Blocks to adapt, from 0; all where not given.
    #[serde(default)]
    pub layers_to_transform: Option<Layers>,
    #[serde(default = "none", deserialize_with = "null_is_none")]
    pub bias: String,
    /// Rank-stabilised scale (Kalajdzievski 2023).
    #[serde(default, deserialize_with = "null_is_default")]
    pub use_rslora: bool,
    /// Weight-decomposed adapter (Liu et al. 2024).
    #[serde(default, deserialize_with = "null_is_default")]
    pub use_dora: bool,
    #[serde(default, deserialize_with = "null_is_default")]
    pub fan_in_fan_out: bool,
    /// Rank by layer: keys are regular expressions for the end of a layer's name, the first that matches counts.
    #[serde(default, deserialize_with = "null_is_default")]
    pub rank_pattern: Patterns<usize>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub alpha_pattern: Patterns<f64>,
    /// How A and B start: true, or `pissa` / `pissa_niter_N` (Meng et al. 2024); of an adapter that is read also what PEFT calls otherwise
    /// and leaves the base as it is.
    #[serde(default, deserialize_with = "null_is_default")]
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
        self.0.iter().find(|(key, _)| Self::matches(key, linear)).map(|(_, value)| value)
    }

    fn matches(key: &str, linear: &str) -> bool {
        matches_whole(&format!(r"(?:.*\.)?(?:{key})"), linear)
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

impl Default for Targets {
    /// PEFT's own choice for every family here (`TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING`).
    fn default() -> Self {
        Self::Names(vec!["q_proj".into(), "v_proj".into()])
    }
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

/// Keys of PEFT's `LoraConfig` (0.21) that say nothing about a trained adapter: how it was started, made or stored.
const WITHOUT_EFFECT: [&str; 14] = [
    "auto_mapping",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "inference_mode",
    "loftq_config",
    "lora_ga_config",
    "megatron_config",
    "megatron_core",
    "path_initial_model_for_weight_conversion",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
];

/// `init_lora_weights` of PEFT that set A and B alone (seen in its `LoraLayer.update_layer`): once trained they are a plain LoRA. `pissa`,
/// `corda`, `olora`, `loftq` and `lora_ga` also take a part out of the base.
const BASE_UNCHANGED: [&str; 4] = ["gaussian", "eva", "orthogonal", "mica"];

fn none() -> String {
    "none".into()
}

fn causal() -> String {
    "CAUSAL_LM".into()
}

/// PEFT's default of `r` and of `lora_alpha`.
fn eight<T: From<u8>>() -> T {
    T::from(8)
}

fn null_is<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
    default: impl FnOnce() -> T,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_else(default))
}

fn null_is_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    null_is(from, T::default)
}

fn null_is_eight<'de, D: Deserializer<'de>, T: Deserialize<'de> + From<u8>>(from: D) -> Result<T, D::Error> {
    null_is(from, eight)
}

fn null_is_none<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    null_is(from, none)
}

fn null_is_causal<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    null_is(from, causal)
}

/// Python's regular expressions, look-around too; [`AdapterConfig::supported`] refuses what is none.
fn regex(pattern: &str) -> Option<fancy_regex::Regex> {
    fancy_regex::Regex::new(pattern).ok()
}

/// Whether the expression matches the whole of `text`. One that backtracks for ever on a layer's name counts as no match: the layers
/// that an adapter has tensors for tell.
fn matches_whole(pattern: &str, text: &str) -> bool {
    regex(&format!("^(?:{pattern})$")).is_some_and(|r| r.is_match(text).unwrap_or(false))
}

/// Null, false and empty values are as if they were not there.
fn is_set(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Null => false,
        serde_json::Value::Bool(set) => *set,
        serde_json::Value::Array(all) => !all.is_empty(),
        serde_json::Value::Object(all) => !all.is_empty(),
        _ => true,
    }
}

impl Targets {
    fn match_name(&self, linear: &str) -> bool {
        match self {
            Self::Names(names) => names.iter().any(|t| linear == t || linear.ends_with(&format!(".{t}"))),
            Self::Pattern(p) if p == "all-linear" => true,
            Self::Pattern(p) => matches_whole(p, linear),
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

    /// What of `target_modules` or `layers_to_transform` matches none of `all` linear layers of the blocks, in words; `none`: no layer is
    /// left to adapt.
    pub fn unmatched<'a>(
        &self,
        all: impl Iterator<Item = &'a str> + Clone,
        none: bool,
        layers: usize,
    ) -> Option<String> {
        let wanted: Vec<usize> = match &self.layers_to_transform {
            Some(Layers::One(n)) => vec![*n],
            Some(Layers::Some(wanted)) => wanted.clone(),
            None => vec![],
        };
        if let Some(n) = wanted.into_iter().find(|&n| n >= layers) {
            return Some(format!("layer {n} of layers_to_transform (the model has {layers}, from 0)"));
        }
        let ends = |name: &str, t: &str| name == t || name.ends_with(&format!(".{t}"));
        match &self.target_modules {
            Targets::Names(names) => {
                let idle = names.iter().find(|t| !all.clone().any(|n| ends(n, t)));
                idle.map(|t| format!("target module `{t}`")).or_else(|| none.then(|| "target_modules".into()))
            }
            Targets::Pattern(p) => none.then(|| format!("target_modules `{p}`")),
        }
    }

    /// A key of `rank_pattern` or `alpha_pattern` that matches none of the layers `found`: as if it were not there.
    pub fn idle_pattern<'a>(&self, found: impl Iterator<Item = &'a str> + Clone) -> Option<String> {
        let idle = |key: &&String| !found.clone().any(|name| Patterns::<()>::matches(key, name));
        let rank = self.rank_pattern.keys().find(idle).map(|key| format!("rank_pattern `{key}`"));
        rank.or_else(|| self.alpha_pattern.keys().find(idle).map(|key| format!("alpha_pattern `{key}`")))
    }

    /// A part of `exclude_modules` that matches no module of a model with these linear layers, its norms and embedding among them. PEFT warns
    /// where none is excluded at all (`BaseTuner.inject_adapter`).
    pub fn idle_exclusion<'a>(&self, linears: impl Iterator<Item = &'a str>) -> Option<String> {
        let excluded = self.exclude_modules.as_ref()?;
        let mut modules: BTreeSet<String> =
            ["lm_head", "model", "model.embed_tokens", "model.norm", "model.rotary_emb"]
                .map(String::from)
                .into_iter()
                .collect();
        let norms =
            ["input_layernorm", "post_attention_layernorm", "self_attn.q_norm", "self_attn.k_norm", "mlp.act_fn"];
        for linear in linears {
            modules.extend(linear.match_indices('.').map(|(at, _)| linear[..at].to_string()));
            modules.insert(linear.to_string());
            let block: Vec<&str> = linear.splitn(4, '.').take(3).collect();
            modules.extend(norms.map(|norm| format!("{}.{norm}", block.join("."))));
        }
        let idle = |one: &Targets| !modules.iter().any(|module| one.match_name(module));
        match excluded {
            Targets::Names(names) => {
                let name = names.iter().find(|name| idle(&Targets::Names(vec![name.to_string()])))?;
                Some(format!("exclude_modules `{name}`"))
            }
            Targets::Pattern(pattern) => idle(excluded).then(|| format!("exclude_modules `{pattern}`")),
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
        let config: serde_json::Value = crate::io::parse_json(&path, &text)?;
        let mut config: Self = serde_json::from_value(config)
            .map_err(|e| Error::input(format!("{}: {e}; is this a PEFT LoRA adapter?", path.display())))?;
        let result = config.readable();
        result.map_err(|what| Error::input(format!("{}: {what}", path.display())))?;
        let unknown = config.unknown();
        if !unknown.is_empty() {
            eprintln!(
                "{}: {} not known here and not read; what PEFT makes of the adapter may differ",
                path.display(),
                match unknown.as_slice() {
                    [one] => format!("`{one}` is"),
                    all => format!("`{}` are", all.join("`, `")),
                }
            );
        }
        config.other.clear(); // looked at above, and of no more use
        Ok(config)
    }

    /// Keys of the file that neither we nor PEFT 0.21 know, with a value that says something.
    fn unknown(&self) -> Vec<&str> {
        let known = |key: &str| UNSUPPORTED.contains(&key) || WITHOUT_EFFECT.contains(&key);
        self.other.iter().filter(|(key, value)| !known(key) && is_set(value)).map(|(key, _)| key.as_str()).collect()
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
        let strange = UNSUPPORTED.iter().find(|key| self.other.get(**key).is_some_and(is_set));
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
    fn null_and_what_is_missing_have_pefts_defaults() {
        let null = r#"{"peft_type": "LORA", "task_type": null, "r": null, "lora_alpha": null, "lora_dropout": null, "bias": null,
            "target_modules": null, "use_dora": null, "use_rslora": null, "rank_pattern": null, "alpha_pattern": null,
            "fan_in_fan_out": null, "init_lora_weights": null, "exclude_modules": null, "layers_to_transform": null}"#;
        let [null, missing] =
            [null, r#"{"peft_type": "LORA"}"#].map(|t| serde_json::from_str::<AdapterConfig>(t).unwrap());
        assert_eq!(null, missing);
        let names = Targets::Names(vec!["q_proj".into(), "v_proj".into()]);
        assert_eq!(null, AdapterConfig { target_modules: names, ..AdapterConfig::lora(8, 8.0) });
    }

    #[test]
    fn keys_that_nobody_knows_are_told_and_those_of_peft_are_not() {
        let text = r#"{"peft_type": "LORA", "megatron_core": "megatron.core", "runtime_config": {"a": 1}, "use_new_scaling": true,
            "another": null, "multiplier": 3.0}"#;
        let config: AdapterConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config.unknown(), ["multiplier", "use_new_scaling"]);
    }

    #[test]
    fn look_ahead_is_read_as_python_reads_it_and_a_pattern_that_matches_nothing_is_told() {
        let linear = "model.layers.0.self_attn.q_proj";
        let targets = Targets::Pattern(r"^(model(?=\.).*\.(q_proj|v_proj))$".into());
        let config = AdapterConfig { target_modules: targets, ..AdapterConfig::lora(4, 8.0) };
        assert_eq!(config.supported(), Ok(()));
        assert!(
            config.targets(linear) && !config.targets("model.layers.0.mlp.up_proj") && !config.targets("models.q_proj")
        );
        let idle = |key: &str| {
            let alpha_pattern = Patterns(vec![(key.to_string(), 100.0)]);
            AdapterConfig { alpha_pattern, ..AdapterConfig::lora(4, 8.0) }.idle_pattern([linear].into_iter())
        };
        assert_eq!(idle("q_prj").as_deref(), Some("alpha_pattern `q_prj`"));
        assert_eq!(idle("q_proj"), None);
        assert_eq!(idle(r"layers\.0\..*"), None);
    }

    #[test]
    fn a_target_that_is_excluded_again_matches_all_the_same() {
        let all = ["model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.k_proj"];
        let names = |names: &[&str]| Targets::Names(names.iter().map(|name| name.to_string()).collect());
        let config = AdapterConfig {
            target_modules: names(&["q_proj", "k_proj"]),
            exclude_modules: Some(names(&["k_proj"])),
            ..AdapterConfig::lora(4, 8.0)
        };
        assert_eq!(config.unmatched(all.into_iter(), false, 1), None, "as PEFT expands all-linear");
        let other = AdapterConfig { target_modules: names(&["lm_head"]), ..config };
        assert_eq!(other.unmatched(all.into_iter(), true, 1).as_deref(), Some("target module `lm_head`"));
    }

    #[test]
    fn what_is_excluded_must_be_there() {
        let linears = ["model.layers.0.self_attn.q_proj", "model.layers.0.mlp.up_proj"];
        let idle = |excluded: Targets| {
            let config = AdapterConfig { exclude_modules: Some(excluded), ..AdapterConfig::lora(4, 8.0) };
            config.idle_exclusion(linears.into_iter())
        };
        let names = |names: &[&str]| Targets::Names(names.iter().map(|name| name.to_string()).collect());
        for there in ["q_proj", "mlp", "lm_head", "layers.0.mlp.up_proj", "input_layernorm"] {
            assert_eq!(idle(names(&[there])), None, "{there}");
        }
        assert_eq!(idle(names(&["q_proj", "q_prj"])).as_deref(), Some("exclude_modules `q_prj`"));
        assert_eq!(idle(Targets::Pattern(r".*\.q_proj".into())), None);
        assert_eq!(
            idle(Targets::Pattern(r"q_proj".into())).as_deref(),
            Some("exclude_modules `q_proj`"),
            "a whole name"
        );
        assert_eq!(AdapterConfig::lora(4, 8.0).idle_exclusion(linears.into_iter()), None);
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

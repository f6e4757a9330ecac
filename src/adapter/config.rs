//! `adapter_config.json` as PEFT writes and reads it.
mod keys;
mod patterns;
#[cfg(test)]
mod tests;

pub use patterns::Patterns;

use crate::error::{Error, Result};
use keys::{
    BASE_UNCHANGED, UNSUPPORTED, WITHOUT_EFFECT, causal, eight, is_set, none, null_is_causal, null_is_default,
    null_is_eight, null_is_none,
};
use patterns::{matches_whole, regex};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The linear layers of a block with attention, which are adapted unless told otherwise. Recurrent layers have others besides (`in_proj_qkv`,
/// `in_proj_z`, `in_proj_b`, `in_proj_a`, `out_proj`), which have to be listed, or asked for by `all-linear` in a file.
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

/// The key whose value cannot be read, and why: each is tried beside nothing but the type.
fn wrong_key(config: &serde_json::Value) -> Option<String> {
    let wanted = |key: &str| match key {
        "target_modules" | "exclude_modules" => "expected a list of names, or one regular expression",
        "layers_to_transform" => "expected a number from 0, or a list of them",
        "init_lora_weights" => "expected true, false or a name",
        "r" => "expected a whole number",
        "lora_alpha" | "lora_dropout" => "expected a number",
        "rank_pattern" => "expected whole numbers by layer",
        "alpha_pattern" => "expected numbers by layer",
        "use_rslora" | "use_dora" | "fan_in_fan_out" => "expected true or false",
        _ => "expected another type",
    };
    config.as_object()?.iter().find_map(|(key, value)| {
        let alone = serde_json::json!({ "peft_type": "LORA", key: value });
        serde_json::from_value::<AdapterConfig>(alone).err()?;
        let value: String = value.to_string().chars().take(60).collect();
        Some(format!("`{key}` is {value}, {}", wanted(key)))
    })
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
            // an empty list means all, as in PEFT
            (Some(Layers::Some(all)), Some(block)) => all.is_empty() || all.contains(&block),
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
            if let Some((before, _)) = linear.split_once(".linear_attn.") {
                modules.extend(["conv1d", "norm"].map(|other| format!("{before}.linear_attn.{other}")));
            }
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
        if let Some(what) = misplaced(dir) {
            return Err(Error::input(format!("{}: {what}", dir.display())));
        }
        let text = crate::io::read_text(&path)?;
        let config: serde_json::Value = crate::io::parse_json(&path, &text)?;
        let mut config: Self = serde_json::from_value(config.clone()).map_err(|e| {
            let why = wrong_key(&config).unwrap_or_else(|| e.to_string());
            Error::input(format!("{}: {why}; is this a PEFT LoRA adapter?", path.display()))
        })?;
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

/// What stands where an adapter's folder should, and what to give.
fn misplaced(dir: &Path) -> Option<String> {
    if !dir.exists() {
        return Some(
            "no such folder: expected a run folder of a training, or a folder with adapter_config.json".into(),
        );
    }
    if dir.is_file() {
        let advice = match dir.extension().and_then(|end| end.to_str()) {
            Some("gguf") => "an adapter in GGUF is not read: give the PEFT folder that it was made from",
            _ => "give the folder that it lies in, with adapter_config.json",
        };
        return Some(format!("is a file: {advice}"));
    }
    if dir.join("adapter_config.json").is_file() {
        return None;
    }
    let inside = std::fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path());
    let mut checkpoints: Vec<_> = inside.filter(|path| path.join("adapter_config.json").is_file()).collect();
    checkpoints.sort();
    let named = |path: &std::path::PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let names: Vec<String> = checkpoints.iter().filter_map(named).collect();
    Some(match names.is_empty() {
        true => "holds no adapter_config.json: is it the folder of an adapter?".into(),
        false => format!("holds no adapter_config.json, but its folder {} does: give that", names.join(", ")),
    })
}

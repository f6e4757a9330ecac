//! The keys of a config.json, read with complaints that name both the file and the key.
use super::scaling::ScalingKeys;
use super::{Config, LARGEST_VOCABULARY, SlidingWindow};
use crate::error::{Error, Result};
use crate::model::family::{self, Family};
use crate::model::rope::{Rope, Scaling};
use serde::Serialize;
use serde_json::{Map, Value};
use std::path::Path;
use std::sync::LazyLock;

/// The largest values that we take for honest ones: a product of any three stays far inside `usize`.
const MOST: [(&str, u64); 14] = [
    ("vocab_size", LARGEST_VOCABULARY as u64),
    ("hidden_size", 1 << 17),
    ("intermediate_size", 1 << 19),
    ("num_hidden_layers", 1 << 10),
    ("num_attention_heads", 1 << 10),
    ("num_key_value_heads", 1 << 10),
    ("head_dim", 1 << 12),
    ("max_position_embeddings", 1 << 31),
    ("full_attention_interval", 1 << 10),
    ("linear_conv_kernel_dim", 1 << 6),
    ("linear_key_head_dim", 1 << 12),
    ("linear_value_head_dim", 1 << 12),
    ("linear_num_key_heads", 1 << 10),
    ("linear_num_value_heads", 1 << 10),
];

/// What a family takes where a key is absent; None: the key has to be there.
pub struct Absent {
    /// From the number of heads.
    pub kv_heads: fn(usize) -> Option<usize>,
    /// True: hidden_size / num_attention_heads.
    pub head_dim: bool,
    pub rms_norm_eps: Option<f64>,
    pub max_position_embeddings: Option<usize>,
    pub rope_theta: Option<f64>,
    /// None: the family turns whole heads, and a key that says otherwise is refused.
    pub partial_rotary_factor: Option<f64>,
    pub eos_token_id: &'static [u32],
}

impl Default for Absent {
    /// Nothing: every key has to be there.
    fn default() -> Self {
        Self {
            kv_heads: |_| None,
            head_dim: false,
            rms_norm_eps: None,
            max_position_embeddings: None,
            rope_theta: None,
            partial_rotary_factor: None,
            eos_token_id: &[],
        }
    }
}

/// What stands outside `text_config` where one model reads pictures as well and concerns its text.
const OUTSIDE: [&str; 4] = ["tie_word_embeddings", "eos_token_id", "pad_token_id", "quantization_config"];

/// A JSON object and the file that it came from.
pub struct Keys {
    file: String,
    map: Map<String, Value>,
}

impl Keys {
    /// Keys that come from `file`, whatever its format.
    pub fn of(file: &Path, map: Map<String, Value>) -> Self {
        Self { file: file.display().to_string(), map }
    }

    pub fn read(path: &Path) -> Result<Self> {
        let text = crate::io::read_text(path)?;
        match crate::io::parse_json(path, &text)? {
            Value::Object(map) => Ok(Self::of(path, map)),
            _ => Err(Error::input(format!("{}: expected a JSON object", path.display()))),
        }
    }

    /// The config, as the family of `model_type` reads it.
    pub fn config(&self) -> Result<Config> {
        self.family()?.config(self)
    }

    /// By `model_type`; by `architectures` where a file has no other.
    fn family(&self) -> Result<&'static dyn Family> {
        let classes: Vec<&str> = match self.get("architectures") {
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let known = || format!("one of the families that dxlab computes: {}", family::names());
        let Some(kind) = self.get("model_type") else {
            let by_class = family::FAMILIES.into_iter().find(|f| classes.contains(&f.architecture()));
            return by_class.ok_or_else(|| match classes.is_empty() {
                true => self.wrong("model_type", known(), Value::Null),
                false => self.wrong("architectures", known(), &classes),
            });
        };
        let family = kind.as_str().and_then(family::named).ok_or_else(|| self.wrong("model_type", known(), kind))?;
        let around = family.around().map(|(_, architecture)| architecture);
        let fits = |class: &&str| *class == family.architecture() || Some(*class) == around;
        match classes.is_empty() || classes.iter().any(fits) {
            true => Ok(family),
            false => Err(self.wrong("architectures", format!("`{}`", family.architecture()), &classes)),
        }
    }

    /// The keys of the decoder: those under `text_config`, where the file describes a model around it.
    pub fn of_text(&self) -> Result<Self> {
        let key = "text_config";
        let Some(nested) = self.get(key) else { return Ok(Self { file: self.file.clone(), map: self.map.clone() }) };
        let Value::Object(nested) = nested else { return Err(self.wrong(key, "an object".into(), nested)) };
        let mut map = nested.clone();
        let outside = OUTSIDE.into_iter().filter_map(|key| Some((key.to_string(), self.get(key)?.clone())));
        map.extend(outside);
        Ok(Self { file: self.file.clone(), map })
    }

    /// What all decoders have in common; a family adds its flags.
    pub fn decoder(&self, family: &'static dyn Family, absent: &Absent) -> Result<Config> {
        self.refuse()?;
        let [vocab_size, hidden_size, intermediate_size, layers, heads] =
            ["vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"]
                .map(|key| self.size(key, None));
        let (vocab_size, hidden_size, heads) = (vocab_size?, hidden_size?, heads?);
        // transformers takes null for "as many as heads", and a missing key for the family's default
        let by_default = (absent.kv_heads)(heads);
        let kv_heads = match self.mentions("num_key_value_heads") && by_default.is_some() {
            true => self.size("num_key_value_heads", Some(heads))?,
            false => self.size("num_key_value_heads", by_default)?,
        };
        if heads % kv_heads != 0 {
            let wanted = format!("a divisor of num_attention_heads = {heads}");
            return Err(self.wrong("num_key_value_heads", wanted, kv_heads));
        }
        let positions = self.size("max_position_embeddings", absent.max_position_embeddings)?;
        let head_dim = self.head_dim(hidden_size, heads, absent.head_dim)?;
        let partial_rotary_factor = self.partial_rotary_factor(head_dim, absent.partial_rotary_factor)?;
        Ok(Config {
            family,
            vocab_size,
            hidden_size,
            intermediate_size: intermediate_size?,
            num_hidden_layers: layers?,
            num_attention_heads: heads,
            num_key_value_heads: kv_heads,
            head_dim,
            rms_norm_eps: self.positive("rms_norm_eps", absent.rms_norm_eps)?,
            rope: Rope { partial_rotary_factor, ..self.rope(absent.rope_theta, positions)? },
            tie_word_embeddings: self.flag("tie_word_embeddings", false)?,
            max_position_embeddings: positions,
            qk_norm: false,
            qkv_bias: false,
            o_bias: false,
            mlp_bias: false,
            gated_attention: false,
            zero_centred_norms: false,
            window: None,
            recurrence: None,
            eos_token_id: match self.mentions("eos_token_id") {
                true => self.ends(vocab_size)?,
                false => absent.eos_token_id.iter().copied().filter(|&id| (id as usize) < vocab_size).collect(),
            },
            pad_token_id: self.ids("pad_token_id")?.first().copied(),
        })
    }

    fn head_dim(&self, hidden_size: usize, heads: usize, may_be_absent: bool) -> Result<usize> {
        if may_be_absent && self.get("head_dim").is_none() && !hidden_size.is_multiple_of(heads) {
            let wanted = format!("a divisor of hidden_size = {hidden_size}, as `head_dim` is not given");
            return Err(self.wrong("num_attention_heads", wanted, heads));
        }
        let dim = self.size("head_dim", may_be_absent.then_some(hidden_size / heads))?;
        match dim % 2 {
            0 => Ok(dim),
            _ => Err(self.wrong("head_dim", "an even number (rotary positions turn pairs)".into(), dim)),
        }
    }

    /// Of a head's numbers those that are turned; `absent` as in [`Absent`].
    fn partial_rotary_factor(&self, head_dim: usize, absent: Option<f64>) -> Result<f64> {
        let key = "partial_rotary_factor";
        let (_, dict) = self.rope_keys()?;
        let factor = match dict.get(key).filter(|v| !v.is_null()).or(self.get(key)) {
            Some(value) => self.positive_value(key, value)?,
            None => absent.unwrap_or(1.0),
        };
        let turned = Rope { partial_rotary_factor: factor, ..Rope::plain(1.0) }.rotary_dim(head_dim);
        match absent {
            None if factor != 1.0 => Err(self.wrong(key, "1: whole heads are turned here".into(), factor)),
            _ if factor > 1.0 || turned == 0 || !turned.is_multiple_of(2) => {
                let wanted = format!("a part of head_dim = {head_dim} that is an even number of dimensions");
                Err(self.wrong(key, wanted, factor))
            }
            _ => Ok(factor),
        }
    }

    /// Keys that would make the checkpoint's forward another one than ours.
    fn refuse(&self) -> Result<()> {
        if let Some(act) = self.get("hidden_act").filter(|a| *a != "silu") {
            return Err(self.wrong("hidden_act", "`silu`".into(), act));
        }
        match self.get("quantization_config") {
            Some(quant) => {
                let wanted = "no such key: give the unquantised checkpoint";
                Err(self.wrong("quantization_config", wanted.into(), quant))
            }
            None => Ok(()),
        }
    }

    /// Which layers are recurrent: those that `layer_types` calls `linear_attention`, else all but every `full_attention_interval`-th.
    pub fn recurrent_layers(&self, layers: usize, interval: usize) -> Result<Vec<bool>> {
        let key = "layer_types";
        let Some(kinds) = self.get(key) else {
            let interval = self.size("full_attention_interval", Some(interval))?;
            return Ok((1..=layers).map(|i| i % interval != 0).collect());
        };
        let wanted = || format!("`linear_attention` or `full_attention` for each of {layers} layers");
        let Some(kinds) = kinds.as_array().filter(|kinds| kinds.len() == layers) else {
            return Err(self.wrong(key, wanted(), kinds));
        };
        let recurrent = |kind: &Value| match kind.as_str() {
            Some("full_attention") => Ok(false),
            Some("linear_attention") => Ok(true),
            _ => Err(self.wrong(key, wanted(), kind)),
        };
        kinds.iter().map(recurrent).collect()
    }

    /// Which layers `layer_types` gives a sliding window; None where there is no such key.
    fn windowed_layers(&self) -> Result<Option<Vec<bool>>> {
        let key = "layer_types";
        let Some(kinds) = self.get(key) else { return Ok(None) };
        let wanted = || "a list of `full_attention` and `sliding_attention`".to_string();
        let Value::Array(kinds) = kinds else { return Err(self.wrong(key, wanted(), kinds)) };
        let windowed = |kind: &Value| match kind.as_str() {
            Some("full_attention") => Ok(false),
            Some("sliding_attention") => Ok(true),
            _ => Err(self.wrong(key, wanted(), kind)),
        };
        kinds.iter().map(windowed).collect::<Result<_>>().map(Some)
    }

    /// Fails for a `layer_types` that asks for a window in single layers: the family has the same in all of them.
    pub fn refuse_window_layers(&self) -> Result<()> {
        match self.windowed_layers()?.is_some_and(|layers| layers.contains(&true)) {
            true => Err(self.wrong("layer_types", "`full_attention` only".into(), "sliding_attention")),
            false => Ok(()),
        }
    }

    /// `sliding_window`: None where it is null.
    pub fn window_size(&self) -> Result<Option<usize>> {
        let key = "sliding_window";
        match self.get(key).map(|v| v.as_u64().ok_or(v)) {
            None => Ok(None),
            Some(Ok(size @ 1..=0xffff_ffff)) => Ok(Some(size as usize)),
            Some(Ok(size)) => Err(self.wrong(key, "a number of tokens, or null".into(), size)),
            Some(Err(other)) => Err(self.wrong(key, "a number of tokens, or null".into(), other)),
        }
    }

    /// Qwen's window: in use with `use_sliding_window` only, and in the layers of `layer_types`, else from
    /// `max_window_layers` on.
    pub fn upper_window(&self, layers: usize) -> Result<Option<SlidingWindow>> {
        let in_use = self.flag("use_sliding_window", false)?;
        let size = match self.mentions("sliding_window") {
            _ if !in_use => None,
            true => self.window_size()?,
            false => Some(4096),
        };
        let listed = self.windowed_layers()?;
        let key = "layer_types";
        if let Some(listed) = &listed {
            if listed.len() != layers {
                return Err(self.wrong(key, format!("one for each of {layers} layers"), listed.len()));
            }
            if listed.contains(&true) && size.is_none() {
                let wanted = "`full_attention` only, without `use_sliding_window` and `sliding_window`";
                return Err(self.wrong(key, wanted.into(), "sliding_attention"));
            }
        }
        let Some(size) = size else { return Ok(None) };
        let from = self.get("max_window_layers").and_then(Value::as_u64).unwrap_or(28);
        let windowed = listed.unwrap_or_else(|| (0..layers).map(|i| i as u64 >= from).collect());
        let all = windowed.iter().all(|w| *w);
        Ok(windowed.contains(&true).then_some(SlidingWindow { size, layers: (!all).then_some(windowed) }))
    }

    /// θ and its scaling, in the spelling of transformers 4 (`rope_theta`, `rope_scaling`) or 5 (`rope_parameters`). As
    /// in transformers 5, `rope_scaling` goes before `rope_parameters`, and a θ on top fills in what they lack.
    pub fn rope(&self, theta: Option<f64>, positions: usize) -> Result<Rope> {
        let (key, dict) = self.rope_keys()?;
        let theta = match dict.get("rope_theta").filter(|v| !v.is_null()) {
            Some(nested) => self.positive_value("rope_theta", nested)?,
            None => self.positive("rope_theta", theta)?,
        };
        let scaling = ScalingKeys { keys: self, key, dict, positions }.scaling()?;
        match scaling {
            Scaling::Yarn { .. } if theta <= 1.0 => {
                Err(self.wrong("rope_theta", "more than 1, for `yarn`".into(), theta))
            }
            _ => Ok(Rope { scaling, ..Rope::plain(theta) }),
        }
    }

    /// The object that says how positions are turned, and its key.
    fn rope_keys(&self) -> Result<(&'static str, &Map<String, Value>)> {
        static NONE: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
        match (self.get("rope_scaling"), self.get("rope_parameters")) {
            (Some(Value::Object(dict)), _) if !dict.is_empty() => Ok(("rope_scaling", dict)),
            (Some(other), _) if !other.is_object() => {
                Err(self.wrong("rope_scaling", "an object or null".into(), other))
            }
            (_, Some(Value::Object(dict))) => Ok(("rope_parameters", dict)),
            (_, Some(other)) => Err(self.wrong("rope_parameters", "an object or null".into(), other)),
            (_, None) => Ok(("rope_scaling", &NONE)),
        }
    }

    /// Present, if only as null.
    pub fn mentions(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|v| !v.is_null())
    }

    pub fn size(&self, key: &str, absent: Option<usize>) -> Result<usize> {
        let most = MOST.iter().find(|(name, _)| *name == key).map_or(1, |(_, most)| *most);
        match self.get(key).map(|v| v.as_u64().ok_or(v)) {
            Some(Ok(n)) if (1..=most).contains(&n) => Ok(n as usize),
            Some(Ok(n)) => Err(self.wrong(key, format!("a size from 1 to {most}"), n)),
            Some(Err(v)) => Err(self.wrong(key, "a whole number".into(), v)),
            None => absent.ok_or_else(|| self.missing(key)),
        }
    }

    fn positive(&self, key: &str, absent: Option<f64>) -> Result<f64> {
        match self.get(key) {
            Some(value) => self.positive_value(key, value),
            None => absent.ok_or_else(|| self.missing(key)),
        }
    }

    fn positive_value(&self, key: &str, value: &Value) -> Result<f64> {
        match value.as_f64() {
            Some(x) if x > 0.0 && x.is_finite() => Ok(x),
            _ => Err(self.wrong(key, "a positive number".into(), value)),
        }
    }

    pub fn flag(&self, key: &str, absent: bool) -> Result<bool> {
        self.get(key).map_or(Ok(absent), |v| v.as_bool().ok_or_else(|| self.wrong(key, "true or false".into(), v)))
    }

    /// Token ids given as a number, a list or not at all.
    fn ids(&self, key: &str) -> Result<Vec<u32>> {
        let id = |v: &Value| v.as_u64().and_then(|n| u32::try_from(n).ok());
        let ids = match self.get(key) {
            None => Some(Vec::new()),
            Some(Value::Array(list)) => list.iter().map(id).collect(),
            Some(one) => id(one).map(|n| vec![n]),
        };
        ids.ok_or_else(|| self.wrong(key, "a token id or a list of them".into(), &self.map[key]))
    }

    /// Tokens that end a generation. One that the model cannot give would be looked up among its logits all the same.
    pub fn ends(&self, vocab_size: usize) -> Result<Vec<u32>> {
        let (key, wanted) = ("eos_token_id", format!("ids below vocab_size = {vocab_size}"));
        let ids = self.ids(key)?;
        match ids.iter().all(|&id| (id as usize) < vocab_size) {
            true => Ok(ids),
            false => Err(self.wrong(key, wanted, ids)),
        }
    }

    pub(super) fn missing(&self, key: &str) -> Error {
        Error::input(format!("{}: key `{key}` is missing: is this a language model's config.json?", self.file))
    }

    pub(in crate::model) fn wrong(&self, key: &str, wanted: String, got: impl Serialize) -> Error {
        let got = serde_json::to_value(got).unwrap_or_default().to_string();
        let got: String = got.chars().take(120).collect();
        Error::input(format!("{}: key `{key}` is {got}, expected {wanted}", self.file))
    }
}

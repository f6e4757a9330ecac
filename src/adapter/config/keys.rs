//! Keys of PEFT's `adapter_config.json`: which are refused, which say nothing here, and what null means.
use serde::{Deserialize, Deserializer};

/// Keys of `adapter_config.json` that would change the numbers; null, false and empty values are as if they were not there.
pub(super) const UNSUPPORTED: [&str; 13] = [
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
pub(super) const WITHOUT_EFFECT: [&str; 14] = [
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
pub(super) const BASE_UNCHANGED: [&str; 4] = ["gaussian", "eva", "orthogonal", "mica"];

pub(super) fn none() -> String {
    "none".into()
}

pub(super) fn causal() -> String {
    "CAUSAL_LM".into()
}

/// PEFT's default of `r` and of `lora_alpha`.
pub(super) fn eight<T: From<u8>>() -> T {
    T::from(8)
}

pub(super) fn null_is<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
    default: impl FnOnce() -> T,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_else(default))
}

pub(super) fn null_is_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    from: D,
) -> Result<T, D::Error> {
    null_is(from, T::default)
}

pub(super) fn null_is_eight<'de, D: Deserializer<'de>, T: Deserialize<'de> + From<u8>>(from: D) -> Result<T, D::Error> {
    null_is(from, eight)
}

pub(super) fn null_is_none<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    null_is(from, none)
}

pub(super) fn null_is_causal<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    null_is(from, causal)
}

/// Null, false and empty values are as if they were not there.
pub(super) fn is_set(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Null => false,
        serde_json::Value::Bool(set) => *set,
        serde_json::Value::Array(all) => !all.is_empty(),
        serde_json::Value::Object(all) => !all.is_empty(),
        _ => true,
    }
}

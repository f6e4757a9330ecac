//! Qwen3.5, as transformers 5 computes it: three layers of Gated DeltaNet to one of full attention. Attention is gated and turns a quarter of every head;
//! norms are stored as what is added to 1. Checkpoints with a vision tower (`qwen3_5`, keys under `text_config`) are read as the decoder
//! that they contain, and written without the tower; so is the layer that predicts a second token (`mtp`).
use super::Family;
use crate::error::Result;
use crate::model::config::{Absent, Config, Keys, Recurrence};
use crate::model::ops::DeltaHeads;
use serde_json::{Map, Value, json};

pub struct Qwen3_5;

/// Where a checkpoint says nothing else, as in transformers' Qwen3_5TextConfig.
const INTERVAL: usize = 4;
const KERNEL: usize = 4;
const TURNED: f64 = 0.25;

impl Family for Qwen3_5 {
    fn model_type(&self) -> &'static str {
        "qwen3_5_text"
    }

    fn architecture(&self) -> &'static str {
        "Qwen3_5ForCausalLM"
    }

    fn around(&self) -> Option<(&'static str, &'static str)> {
        Some(("qwen3_5", "Qwen3_5ForConditionalGeneration"))
    }

    fn tensor_name(&self, stored: &str) -> Option<String> {
        if ["model.visual.", "mtp."].iter().any(|other| stored.starts_with(other)) {
            return None;
        }
        Some(match stored.strip_prefix("model.language_model.") {
            Some(rest) => format!("model.{rest}"),
            None => stored.into(),
        })
    }

    fn config(&self, keys: &Keys) -> Result<Config> {
        let keys = keys.of_text()?;
        let absent = Absent { partial_rotary_factor: Some(TURNED), ..Absent::default() };
        let decoder = keys.decoder(&Qwen3_5, &absent)?;
        if !keys.flag("attn_output_gate", true)? {
            return Err(keys.wrong("attn_output_gate", "true: attention without a gate is not computed".into(), false));
        }
        let bias = keys.flag("attention_bias", false)?;
        let heads = DeltaHeads {
            key_heads: keys.size("linear_num_key_heads", None)?,
            value_heads: keys.size("linear_num_value_heads", None)?,
            key_dim: keys.size("linear_key_head_dim", None)?,
            value_dim: keys.size("linear_value_head_dim", None)?,
        };
        if !heads.value_heads.is_multiple_of(heads.key_heads) {
            let wanted = format!("a multiple of linear_num_key_heads = {}", heads.key_heads);
            return Err(keys.wrong("linear_num_value_heads", wanted, heads.value_heads));
        }
        let kernel = keys.size("linear_conv_kernel_dim", Some(KERNEL))?;
        let layers = keys.recurrent_layers(decoder.num_hidden_layers, INTERVAL)?;
        Ok(Config {
            qk_norm: true,
            qkv_bias: bias,
            o_bias: bias,
            gated_attention: true,
            zero_centred_norms: true,
            recurrence: Some(Recurrence { heads, kernel, layers }),
            ..decoder
        })
    }

    fn write(&self, config: &Config, keys: &mut Map<String, Value>) -> Result<(), String> {
        if config.qkv_bias != config.o_bias || config.mlp_bias {
            return Err("biases in some places only, which `attention_bias` of a qwen3_5_text cannot say".into());
        }
        let Some(Recurrence { heads, kernel, .. }) = &config.recurrence else {
            return Err("no recurrent layers, which config.json of a qwen3_5_text cannot say".into());
        };
        let kind = |i| if config.recurrence(i).is_some() { "linear_attention" } else { "full_attention" };
        let kinds: Vec<&str> = (0..config.num_hidden_layers).map(kind).collect();
        keys.remove("use_sliding_window");
        for (key, value) in [
            ("attention_bias", json!(config.qkv_bias)),
            ("attn_output_gate", json!(true)),
            ("partial_rotary_factor", json!(config.rope.partial_rotary_factor)),
            ("layer_types", json!(kinds)),
            ("linear_conv_kernel_dim", json!(kernel)),
            ("linear_key_head_dim", json!(heads.key_dim)),
            ("linear_value_head_dim", json!(heads.value_dim)),
            ("linear_num_key_heads", json!(heads.key_heads)),
            ("linear_num_value_heads", json!(heads.value_heads)),
        ] {
            keys.insert(key.into(), value);
        }
        Ok(())
    }

    /// llama.cpp's `qwen35` has its value heads in another order; such files are neither read nor written here.
    fn gguf(&self) -> Option<&'static str> {
        None
    }
}

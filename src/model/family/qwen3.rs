//! Qwen3 (Qwen3 technical report, 2025): RMSNorm on every query and key head, no biases unless config.json says so,
//! head tied to the embedding below 8B. Its config.json says everything; a key that is missing is an error.
use super::Family;
use crate::error::Result;
use crate::model::config::{Absent, Config, Keys};
use serde_json::{Map, Value};

pub struct Qwen3;

impl Family for Qwen3 {
    fn model_type(&self) -> &'static str {
        "qwen3"
    }

    fn architecture(&self) -> &'static str {
        "Qwen3ForCausalLM"
    }

    fn config(&self, keys: &Keys) -> Result<Config> {
        let decoder = keys.decoder(&Qwen3, &Absent::default())?;
        let bias = keys.flag("attention_bias", false)?;
        let window = keys.upper_window(decoder.num_hidden_layers)?;
        Ok(Config { qk_norm: true, qkv_bias: bias, o_bias: bias, window, ..decoder })
    }

    fn write(&self, config: &Config, keys: &mut Map<String, Value>) -> Result<(), String> {
        if config.qkv_bias != config.o_bias || config.mlp_bias {
            return Err("biases in some places only, which `attention_bias` of a qwen3 cannot say".into());
        }
        if config.qkv_bias {
            keys.insert("attention_bias".into(), true.into());
        }
        config.write_upper_window(keys);
        Ok(())
    }
}

//! Qwen2 and Qwen2.5 (Qwen2 technical report, 2024): biases on queries, keys and values whatever config.json says, none
//! on the output; a sliding window in the upper layers where `use_sliding_window` is set.
use super::Family;
use crate::error::Result;
use crate::model::config::{Absent, Config, Keys};
use serde_json::{Map, Value};

pub struct Qwen2;

impl Family for Qwen2 {
    fn model_type(&self) -> &'static str {
        "qwen2"
    }

    fn architecture(&self) -> &'static str {
        "Qwen2ForCausalLM"
    }

    fn config(&self, keys: &Keys) -> Result<Config> {
        // the defaults of transformers' Qwen2Config
        let absent = Absent {
            kv_heads: |_| Some(32),
            head_dim: true,
            rms_norm_eps: Some(1e-6),
            max_position_embeddings: Some(32_768),
            rope_theta: Some(10_000.0),
            partial_rotary_factor: None,
            eos_token_id: &[],
        };
        let decoder = keys.decoder(&Qwen2, &absent)?;
        let window = keys.upper_window(decoder.num_hidden_layers)?;
        Ok(Config { qkv_bias: true, window, ..decoder })
    }

    fn write(&self, config: &Config, keys: &mut Map<String, Value>) -> Result<(), String> {
        if config.o_bias || config.mlp_bias {
            return Err(
                "biases beside those of queries, keys and values, which config.json of a qwen2 cannot say".into()
            );
        }
        keys.remove("attention_bias");
        config.write_upper_window(keys);
        Ok(())
    }
}

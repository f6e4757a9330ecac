//! Llama 1 to 3 and what is built like them (SmolLM2, DeepSeek-R1-Distill-Llama, OpenBioLLM): no norms of queries and
//! keys; biases only where `attention_bias` (on all four projections) or `mlp_bias` says so (Touvron et al. 2023;
//! Grattafiori et al. 2024).
use super::Family;
use crate::error::Result;
use crate::model::config::{Absent, Config, Keys};
use serde_json::{Map, Value};

pub struct Llama;

impl Family for Llama {
    fn model_type(&self) -> &'static str {
        "llama"
    }

    fn architecture(&self) -> &'static str {
        "LlamaForCausalLM"
    }

    fn config(&self, keys: &Keys) -> Result<Config> {
        // the defaults of transformers' LlamaConfig
        let absent = Absent {
            kv_heads: Some,
            head_dim: true,
            rms_norm_eps: Some(1e-6),
            max_position_embeddings: Some(2048),
            rope_theta: Some(10_000.0),
            partial_rotary_factor: None,
            eos_token_id: &[2],
        };
        let bias = keys.flag("attention_bias", false)?;
        let mlp_bias = keys.flag("mlp_bias", false)?;
        keys.refuse_window_layers()?;
        Ok(Config { qkv_bias: bias, o_bias: bias, mlp_bias, ..keys.decoder(&Llama, &absent)? })
    }

    fn write(&self, config: &Config, keys: &mut Map<String, Value>) -> Result<(), String> {
        if config.qkv_bias != config.o_bias {
            return Err("biases on queries, keys and values alone, which `attention_bias` of a llama cannot say".into());
        }
        keys.remove("use_sliding_window");
        keys.insert("attention_bias".into(), config.qkv_bias.into());
        keys.insert("mlp_bias".into(), config.mlp_bias.into());
        Ok(())
    }

    fn gguf_turns_neighbours(&self) -> bool {
        true
    }
}

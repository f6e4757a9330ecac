//! Mistral 7B (Jiang et al. 2023): a Llama without biases whose layers all have a sliding window, where
//! `sliding_window` is not null.
use super::Family;
use crate::error::Result;
use crate::model::config::{Absent, Config, Keys, SlidingWindow};
use serde_json::{Map, Value};

pub struct Mistral;

impl Family for Mistral {
    fn model_type(&self) -> &'static str {
        "mistral"
    }

    fn architecture(&self) -> &'static str {
        "MistralForCausalLM"
    }

    fn config(&self, keys: &Keys) -> Result<Config> {
        // the defaults of transformers' MistralConfig; a window that is not mentioned is 4096, one that is null is none
        let absent = Absent {
            kv_heads: |_| Some(8),
            head_dim: true,
            rms_norm_eps: Some(1e-6),
            max_position_embeddings: Some(131_072),
            rope_theta: Some(10_000.0),
            partial_rotary_factor: None,
            eos_token_id: &[2],
        };
        keys.refuse_window_layers()?;
        let size = match keys.mentions("sliding_window") {
            true => keys.window_size()?,
            false => Some(4096),
        };
        let window = size.map(|size| SlidingWindow { size, layers: None });
        Ok(Config { window, ..keys.decoder(&Mistral, &absent)? })
    }

    fn write(&self, config: &Config, keys: &mut Map<String, Value>) -> Result<(), String> {
        let window = config.window.as_ref();
        if window.is_some_and(|w| w.layers.is_some()) {
            return Err("a sliding window in some layers only, which config.json of a mistral cannot say".into());
        }
        if config.qkv_bias || config.o_bias || config.mlp_bias {
            return Err("biases, which config.json of a mistral cannot say".into());
        }
        keys.remove("attention_bias");
        keys.remove("use_sliding_window");
        keys.insert("sliding_window".into(), window.map(|w| w.size).into());
        Ok(())
    }

    /// As llama.cpp's converter writes it.
    fn gguf(&self) -> Option<&'static str> {
        Some("llama")
    }

    fn gguf_turns_neighbours(&self) -> bool {
        true
    }
}

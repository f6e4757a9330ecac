//! A decoder's tensors by their two names: Hugging Face's, which dxlab uses, and GGUF's.

/// The parts of a layer's names: `model.layers.N.<left>` is `blk.N.<right>`.
const LAYER: [(&str, &str); 11] = [
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];

pub const EMBEDDING: &str = "token_embd.weight";
pub const HEAD: &str = "output.weight";
/// By what a file divides its rotary frequencies (llama3 scaling); Hugging Face has it in config.json.
pub const DIVISORS: &str = "rope_freqs.weight";

/// GGUF's name for a tensor of [`Config::tensors`](crate::model::Config::tensors); None for any other name.
pub fn gguf(name: &str) -> Option<String> {
    match name {
        "model.embed_tokens.weight" => return Some(EMBEDDING.into()),
        "model.norm.weight" => return Some("output_norm.weight".into()),
        "lm_head.weight" => return Some(HEAD.into()),
        _ => {}
    }
    let (layer, part) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let (part, of) = part.rsplit_once('.').filter(|(_, of)| ["weight", "bias"].contains(of))?;
    let (_, theirs) = LAYER.iter().find(|(ours, _)| *ours == part)?;
    layer.bytes().all(|b| b.is_ascii_digit()).then(|| format!("blk.{layer}.{theirs}.{of}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Config;

    #[test]
    fn every_tensor_of_a_model_has_a_name_of_its_own() {
        let biases = Config { qkv_bias: true, o_bias: true, mlp_bias: true, ..Config::small(300, 64, 2, 4) };
        let config = Config { tie_word_embeddings: false, ..biases };
        let names: std::collections::BTreeSet<_> = config.tensors().keys().map(|n| gguf(n).unwrap()).collect();
        assert_eq!(names.len(), config.tensors().len());
        assert_eq!(gguf("model.layers.10.self_attn.o_proj.weight").unwrap(), "blk.10.attn_output.weight");
        assert_eq!(gguf("model.layers.0.self_attn.k_proj.bias").unwrap(), "blk.0.attn_k.bias");
        assert!(gguf("model.layers.x.mlp.up_proj.weight").is_none() && gguf("model.layers.0.bias").is_none());
    }
}

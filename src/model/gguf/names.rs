//! A Qwen3's tensors by their two names: Hugging Face's, which dxlab uses, and GGUF's.

/// The parts of a layer's names: `model.layers.N.<left>` is `blk.N.<right>`.
const LAYER: [(&str, &str); 11] = [
    ("input_layernorm.weight", "attn_norm.weight"),
    ("self_attn.q_proj.weight", "attn_q.weight"),
    ("self_attn.k_proj.weight", "attn_k.weight"),
    ("self_attn.v_proj.weight", "attn_v.weight"),
    ("self_attn.o_proj.weight", "attn_output.weight"),
    ("self_attn.q_norm.weight", "attn_q_norm.weight"),
    ("self_attn.k_norm.weight", "attn_k_norm.weight"),
    ("post_attention_layernorm.weight", "ffn_norm.weight"),
    ("mlp.gate_proj.weight", "ffn_gate.weight"),
    ("mlp.up_proj.weight", "ffn_up.weight"),
    ("mlp.down_proj.weight", "ffn_down.weight"),
];

pub const EMBEDDING: &str = "token_embd.weight";
pub const HEAD: &str = "output.weight";

/// GGUF's name for a tensor of [`Config::tensors`](crate::model::Config::tensors); None for any other name.
pub fn gguf(name: &str) -> Option<String> {
    match name {
        "model.embed_tokens.weight" => return Some(EMBEDDING.into()),
        "model.norm.weight" => return Some("output_norm.weight".into()),
        "lm_head.weight" => return Some(HEAD.into()),
        _ => {}
    }
    let (layer, part) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let (_, theirs) = LAYER.iter().find(|(ours, _)| *ours == part)?;
    layer.bytes().all(|b| b.is_ascii_digit()).then(|| format!("blk.{layer}.{theirs}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Config;

    #[test]
    fn every_tensor_of_a_model_has_a_name_of_its_own() {
        let config = Config { tie_word_embeddings: false, ..Config::small(300, 64, 2, 4) };
        let names: std::collections::BTreeSet<_> = config.tensors().keys().map(|n| gguf(n).unwrap()).collect();
        assert_eq!(names.len(), config.tensors().len());
        assert_eq!(gguf("model.layers.10.self_attn.o_proj.weight").unwrap(), "blk.10.attn_output.weight");
        assert!(gguf("model.layers.x.mlp.up_proj.weight").is_none() && gguf("model.layers.0.bias").is_none());
    }
}

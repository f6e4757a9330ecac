//! The whole forward against transformers (golden values, `tests/reference/logits.py`) and candle-transformers.
use super::golden::{distance, model, path, weights};
use super::ops::Segments;
use super::{CausalLm, tensors};
use candle_core::{DType, Device, Tensor};

fn golden_sequences(name: &str) -> Vec<(Vec<u32>, Tensor)> {
    let all = tensors::read(&path(name).join("logits.safetensors")).unwrap();
    (0..2)
        .map(|i| {
            let ids = all[&format!("ids.{i}")].to_vec1::<i64>().unwrap();
            (ids.into_iter().map(|i| i as u32).collect(), all[&format!("logits.{i}")].clone())
        })
        .collect()
}

fn logits(m: &CausalLm, ids: &[u32], segments: &Segments) -> Tensor {
    m.logits(&m.hidden(ids, segments).unwrap()).unwrap()
}

#[test]
fn logits_agree_with_transformers_alone_and_packed() {
    for name in ["tied", "untied"] {
        let m = model(name);
        let golden = golden_sequences(name);
        for (ids, want) in &golden {
            let got = logits(&m, ids, &Segments::of_lengths([ids.len()]));
            assert!(distance(&got, want) < 1e-4, "{name}: {}", distance(&got, want));
        }
        let packed: Vec<u32> = golden.iter().flat_map(|(ids, _)| ids.clone()).collect();
        let segments = Segments::of_lengths(golden.iter().map(|(ids, _)| ids.len()));
        let want = Tensor::cat(&golden.iter().map(|(_, z)| z.clone()).collect::<Vec<_>>(), 0).unwrap();
        let got = logits(&m, &packed, &segments);
        assert!(distance(&got, &want) < 1e-4, "{name}, packed: {}", distance(&got, &want));
    }
}

#[test]
fn hidden_states_agree_with_candle_transformers() {
    use candle_transformers::models::qwen3;
    let m = model("tied");
    let config = serde_json::json!({
        "vocab_size": m.config.vocab_size, "hidden_size": m.config.hidden_size, "intermediate_size": m.config.intermediate_size,
        "num_hidden_layers": m.config.num_hidden_layers, "num_attention_heads": m.config.num_attention_heads,
        "num_key_value_heads": m.config.num_key_value_heads, "head_dim": m.config.head_dim, "rope_theta": m.config.rope.theta,
        "rms_norm_eps": m.config.rms_norm_eps, "tie_word_embeddings": true, "attention_bias": false, "sliding_window": null,
        "max_position_embeddings": m.config.max_position_embeddings, "max_window_layers": 0, "use_sliding_window": false,
        "hidden_act": "silu",
    });
    let config: qwen3::Config = serde_json::from_value(config).unwrap();
    let all = weights("tied").into_iter().collect();
    let vb = candle_nn::VarBuilder::from_tensors(all, DType::F32, &Device::Cpu);
    let ids: Vec<u32> = (3..20).collect();
    let want = qwen3::Model::new(&config, vb)
        .unwrap()
        .forward(&Tensor::new(&ids[..], &Device::Cpu).unwrap().unsqueeze(0).unwrap(), 0);
    let got = m.hidden(&ids, &Segments::of_lengths([ids.len()])).unwrap();
    let d = distance(&got, &want.unwrap().squeeze(0).unwrap());
    assert!(d < 1e-4, "{d}");
}

#[test]
fn extending_caches_step_by_step_equals_one_forward() {
    let m = model("untied");
    let (a, b): (Vec<u32>, Vec<u32>) = ((0..11).collect(), (40..47).collect());
    let whole: Vec<u32> = a.iter().chain(&b).copied().collect();
    let want = m.hidden(&whole, &Segments::of_lengths([11, 7])).unwrap();
    let (mut ca, mut cb) = (m.cache(), m.cache());
    let prompt: Vec<u32> = a[..9].iter().chain(&b[..6]).copied().collect();
    m.extend(&prompt, &Segments::of_lengths([9, 6]), &mut [&mut ca, &mut cb]).unwrap();
    let step = m.extend(&[a[9], b[6]], &Segments::of_lengths([1, 1]), &mut [&mut ca, &mut cb]).unwrap();
    let last = m.extend(&[a[10]], &Segments::of_lengths([1]), &mut [&mut ca]).unwrap();
    for (got, row) in [(step.get(0), 9), (step.get(1), 17), (last.get(0), 10)] {
        let d = distance(&got.unwrap(), &want.get(row).unwrap());
        assert!(d < 2e-5, "row {row}: {d}");
    }
}

#[test]
fn bad_ids_and_lengths_are_named() {
    let m = model("tied");
    let error = |ids: &[u32], lengths: &[usize]| {
        m.hidden(ids, &Segments::of_lengths(lengths.iter().copied())).unwrap_err().to_string()
    };
    assert!(error(&[1, 256], &[2]).contains("token id 256 lies outside the model's vocabulary of 256"));
    assert!(error(&[], &[]).contains("empty prompt"));
    let long = vec![1; m.config.max_position_embeddings + 1];
    assert!(error(&long, &[long.len()]).contains("longer than the model's"));
}

//! Qwen3.5: against transformers where the golden files are at hand (`../shared/guide/golden`, skipped elsewhere), and on random weights what
//! has to hold whatever they are.
use super::*;
use crate::adapter::{Adapter, AdapterConfig, Mode, Targets};
use crate::model::golden::{recurrent_config, recurrent_model, recurrent_weights};
use crate::model::ops::{DeltaHeads, gated_delta_rule, rms_norm_naive};
use crate::train::{Batch, Gradients, Loss, Sequence};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const TWELVE: [&str; 12] = [
    "in_proj_qkv",
    "in_proj_z",
    "in_proj_b",
    "in_proj_a",
    "out_proj",
    "gate_proj",
    "up_proj",
    "down_proj",
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
];

/// The tiny checkpoint of the guide and what transformers 5.24 makes of it; None, with a line, where they are not at hand.
fn guide() -> Option<(PathBuf, Value)> {
    let dir = crate::home().join("../shared/guide/golden");
    let file = dir.join("qwen35-golden.json");
    if !file.is_file() {
        println!("skipped: {} is not here", file.display());
        return None;
    }
    Some((dir.join("qwen35-tiny"), serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()))
}

fn tensor(v: &Value, shape: &[usize]) -> Tensor {
    let numbers: Vec<f32> = numbers(v).into_iter().map(|x| x as f32).collect();
    Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap()
}

fn whole(m: &CausalLm, ids: &[u32]) -> Tensor {
    m.hidden(ids, &Segments::of_lengths([ids.len()])).unwrap()
}

#[test]
fn hidden_states_of_every_layer_and_logits_are_those_of_transformers() {
    let Some((dir, golden)) = guide() else { return };
    let ids = ids(&golden["ids"]);
    let (checkpoint, m) = (Checkpoint::open(&dir).unwrap(), load(&dir));
    let state = |name: &str| tensor(&golden["hidden_states"][name]["values"], &[ids.len(), m.config.hidden_size]);
    let scale = (checkpoint.tensor("model.norm.weight", &[m.config.hidden_size]).unwrap() + 1.0).unwrap();
    for (layers, name) in ["embed", "after_layer_0", "after_layer_1", "after_layer_2"].into_iter().enumerate() {
        // the last norm over the first layers
        let shape = Config { num_hidden_layers: layers, ..m.config.clone() };
        let first = CausalLm::new(&shape, &mut |name, shape| Ok(checkpoint.tensor(name, shape)?.into())).unwrap();
        let want = rms_norm_naive(&state(name), &scale, m.config.rms_norm_eps).unwrap();
        let far = distance(&whole(&first, &ids), &want);
        assert!(far < 2e-5, "{name}: {far}");
    }
    let hidden = whole(&m, &ids);
    assert!(distance(&hidden, &state("after_final_norm")) < 2e-5);
    let logits = m.logits(&hidden).unwrap();
    let last = logits.get(ids.len() - 1).unwrap();
    assert!(distance(&last, &tensor(&golden["logits_last"], &[m.config.vocab_size])) < 5e-5);
    let first = logits.get(0).unwrap().narrow(0, 0, 8).unwrap();
    assert!(distance(&first, &tensor(&golden["logits_row0_first8"], &[8])) < 5e-5);
}

#[test]
fn the_delta_rule_of_a_layer_is_that_of_transformers() {
    let Some((_, golden)) = guide() else { return };
    let (rule, tokens) = (&golden["layer0_delta_rule"], golden["ids"].as_array().unwrap().len());
    let heads = DeltaHeads { key_heads: 2, value_heads: 4, key_dim: 8, value_dim: 6 };
    let part = |name: &str, wide: usize| tensor(&rule[name], &[tokens, wide]);
    let qkv = Tensor::cat(&[part("q", 16), part("k", 16), part("v", 24)], 1).unwrap();
    let beta = part("beta", 4);
    let b = (beta.log().unwrap() - (1.0 - &beta).unwrap().log().unwrap()).unwrap(); // β = σ(b)
    let one = Segments::of_lengths([tokens]);
    let o = gated_delta_rule(&qkv, &part("g", 4), &b, heads, &one).unwrap();
    let far = distance(&o.flatten_from(1).unwrap(), &part("o", 24));
    assert!(far < 2e-6, "{far}");
}

#[test]
fn loss_and_gradients_of_every_weight_are_those_of_transformers() {
    let Some((dir, golden)) = guide() else { return };
    let (m, parameters) = CausalLm::load_to_train(&dir, &Device::Cpu).unwrap();
    let batch = Batch::pack(&[Sequence::completion(ids(&golden["ids"]), 1)]);
    let training = &golden["training"];
    assert_eq!(parameters.len(), training["grads"].as_object().unwrap().len());
    for by_layers in [false, true] {
        let mut grads = Gradients::of(&parameters);
        let sums = batch.backward(&m, &Loss::default(), by_layers, &mut grads).unwrap();
        grads.complete().unwrap();
        grads.finish(f64::INFINITY);
        let loss = sums.loss / batch.targets.len() as f64;
        assert!((loss - training["loss"].as_f64().unwrap()).abs() < 1e-5, "{loss}");
        for (name, want) in training["grads"].as_object().unwrap() {
            let (got, norm) = (grads.get(name), want["norm"].as_f64().unwrap());
            let length = got.iter().map(|g| (*g as f64).powi(2)).sum::<f64>().sqrt();
            assert!((length / norm - 1.0).abs() < 1e-4, "{name}: {length} {norm}");
            for (g, w) in got.iter().zip(numbers(&want["first4"])) {
                assert!((*g as f64 - w).abs() < 1e-4 * norm, "{name}: {g} {w}");
            }
        }
    }
}

/// As many ids as two chunks of the rule and some more.
fn long() -> Vec<u32> {
    (0..150).map(|i| (i * i * 7 + i * 13) % 251).collect()
}

#[test]
fn packed_sequences_and_tails_are_those_of_separate_passes() {
    let m = recurrent_model(1);
    let (ids, lengths) = (long(), [70, 1, 79]);
    let segments = Segments::of_lengths(lengths);
    let packed = m.hidden(&ids, &segments).unwrap();
    let (tails, mut kept) = (Segments::of_lengths([3, 1, 2]), Vec::new());
    for i in 0..lengths.len() {
        let range = segments.range(i);
        let alone = whole(&m, &ids[range.clone()]);
        assert!(distance(&packed.narrow(0, range.start, range.len()).unwrap(), &alone) < 1e-5, "segment {i}");
        let n = tails.range(i).len();
        kept.push(alone.narrow(0, range.len() - n, n).unwrap());
    }
    let tail = m.hidden_tail(&ids, &segments, &tails).unwrap();
    assert!(distance(&tail, &Tensor::cat(&kept, 0).unwrap()) < 1e-5);
}

#[test]
fn a_tail_of_a_recurrent_last_layer_is_that_part_of_the_whole() {
    let config = Config { num_hidden_layers: 3, ..recurrent_config() };
    let weights = recurrent_weights(&config, 3);
    let m = CausalLm::new(&config, &mut |name, _| Ok(weights[name].clone().into())).unwrap();
    let (ids, segments) = (long(), Segments::of_lengths([70, 80]));
    let packed = m.hidden(&ids, &segments).unwrap();
    let tail = m.hidden_tail(&ids, &segments, &Segments::of_lengths([2, 1])).unwrap();
    let want = Tensor::cat(&[packed.narrow(0, 68, 2).unwrap(), packed.narrow(0, 149, 1).unwrap()], 0).unwrap();
    assert!(distance(&tail, &want) < 1e-5);
}

#[test]
fn cached_decoding_equals_the_whole_pass() {
    let (m, ids) = (recurrent_model(1), long());
    let want = whole(&m, &ids);
    let (mut cache, mut at) = (m.cache(), 0); // chunks of the rule begin elsewhere than in the whole pass: other roundings in eight layers
    for n in [2, 70, 1, 1, 66, 1, 9] {
        let mut other = m.cache(); // a sequence that starts here
        let both = [&ids[at..at + n], &ids[..n]].concat();
        let got = m.extend(&both, &Segments::of_lengths([n, n]), &mut [&mut cache, &mut other]).unwrap();
        for (row, position) in (0..n).map(|i| (i, at + i)).chain((0..n).map(|i| (n + i, i))) {
            let far = distance(&got.get(row).unwrap(), &want.get(position).unwrap());
            assert!(far < 3e-4, "position {position}: {far}");
        }
        at += n;
    }
    assert_eq!((at, cache.len()), (ids.len(), ids.len()));
}

#[test]
fn a_cache_is_taken_apart_at_its_end_only_and_goes_back_to_a_mark() {
    let (m, ids) = (recurrent_model(1), long());
    let read = |cache: &mut crate::model::Cache, ids: &[u32]| {
        m.extend(ids, &Segments::of_lengths([ids.len()]), &mut [cache]).unwrap()
    };
    let mut cache = m.cache();
    read(&mut cache, &ids[..64]);
    let first = cache.part(0, 64).unwrap();
    read(&mut cache, &ids[64..80]);
    assert!(cache.part(0, 64).is_none() && cache.truncate(64).is_err(), "the state after 64 tokens is gone");
    let (second, mark) = (cache.part(64, 80).unwrap(), cache.mark().unwrap());
    let want = read(&mut cache, &ids[80..100]);
    let mut again = m.cache();
    again.append(&first).unwrap();
    again.append(&second).unwrap();
    assert_eq!(distance(&read(&mut again, &ids[80..100]), &want), 0.0);
    cache.go_back(mark).unwrap();
    assert_eq!(cache.len(), 80);
    assert_eq!(distance(&read(&mut cache, &ids[80..100]), &want), 0.0);
    assert!(crate::model::golden::model("tied").cache().mark().is_none(), "attention needs no mark");
}

#[test]
fn adapters_on_all_twelve_projections_learn_and_seven_leave_the_recurrence_as_it_is() {
    let mut m = recurrent_model(2);
    let batch = Batch::pack(&[Sequence::completion(long(), 20), Sequence::completion((5..40).collect(), 9)]);
    let all = Targets::Pattern("all-linear".into());
    let adapter =
        Adapter::new(AdapterConfig { target_modules: all, ..AdapterConfig::lora(2, 4.0) }, &mut m, 3).unwrap();
    adapter.attach(&mut m, Mode::Train).unwrap();
    let mut passes = [false, true].map(|by_layers| {
        let mut grads = Gradients::of(adapter.parameters());
        batch.backward(&m, &Loss::default(), by_layers, &mut grads).unwrap();
        grads.complete().unwrap();
        grads.finish(f64::INFINITY);
        let of = |name: &String| (name.clone(), grads.get(name).to_vec());
        adapter.parameters().keys().map(of).collect::<BTreeMap<String, Vec<f32>>>()
    });
    assert!(passes[0] == passes[1], "checkpointing by layers changes no bit");
    passes[0].retain(|name, _| name.contains("lora_B")); // those of A are 0 as long as B is
    assert_eq!(passes[0].len(), 6 * 8 + 2 * 7);
    for (name, grads) in &passes[0] {
        assert!(TWELVE.iter().any(|part| name.contains(part)), "{name}");
        assert!(grads.iter().any(|g| *g != 0.0) && grads.iter().all(|g| g.is_finite()), "{name}");
    }
    let (config, shape) = (AdapterConfig::lora(2, 4.0), recurrent_config());
    assert_eq!(Adapter::left_out(&config, &shape).unwrap(), TWELVE[..5]);
    let listed = Targets::Names(TWELVE.map(String::from).to_vec());
    let twelve = AdapterConfig { target_modules: listed, ..config.clone() };
    assert!(Adapter::left_out(&twelve, &shape).unwrap().is_empty());
    assert!(Adapter::numbers(&twelve, &shape).unwrap() > Adapter::numbers(&config, &shape).unwrap());
}

#[test]
fn a_checkpoint_with_a_vision_tower_is_read_as_its_decoder_and_written_without_it() {
    let (dir, config) = (tempfile::tempdir().unwrap(), recurrent_config());
    let weights = recurrent_weights(&config, 4);
    config.write(dir.path()).unwrap();
    assert_eq!(Config::read(dir.path()).unwrap(), config);
    tensors::write(&dir.path().join("model.safetensors"), &weights, DType::F32).unwrap();
    let want = whole(&load(dir.path()), &long());

    let mut text: Value = serde_json::from_slice(&std::fs::read(dir.path().join("config.json")).unwrap()).unwrap();
    text["tie_word_embeddings"] = false.into(); // what stands outside goes first
    text.as_object_mut().unwrap().remove("architectures");
    let around = json!({"architectures": ["Qwen3_5ForConditionalGeneration"], "model_type": "qwen3_5",
        "tie_word_embeddings": true, "text_config": text, "vision_config": {"depth": 2}});
    std::fs::write(dir.path().join("config.json"), around.to_string()).unwrap();
    let renamed = |(name, t): (&String, &Tensor)| (name.replacen("model.", "model.language_model.", 1), t.clone());
    let mut all: BTreeMap<String, Tensor> = weights.iter().map(renamed).collect();
    let other = Tensor::ones(3, DType::F32, &Device::Cpu).unwrap();
    all.insert("model.visual.blocks.0.norm1.weight".into(), other.clone());
    all.insert("mtp.norm.weight".into(), other.clone());
    tensors::write(&dir.path().join("model.safetensors"), &all, DType::F32).unwrap();
    assert_eq!(Config::read(dir.path()).unwrap(), config);
    Checkpoint::open(dir.path()).unwrap().check().unwrap();
    assert_eq!(distance(&whole(&load(dir.path()), &long()), &want), 0.0);
    all.insert("model.language_model.layers.0.self_attn.q_proj.weight".into(), other);
    tensors::write(&dir.path().join("model.safetensors"), &all, DType::F32).unwrap();
    let error = CausalLm::load(dir.path(), Precision::F32, &Device::Cpu).err().unwrap().to_string();
    assert!(error.contains("q_proj.weight` is not part of a qwen3_5_text"), "{error}");
}

#[test]
fn every_precision_gives_nearly_the_same_hidden_states() {
    let (dir, config) = (tempfile::tempdir().unwrap(), recurrent_config());
    config.write(dir.path()).unwrap();
    let weights = recurrent_weights(&config, 4);
    tensors::write(&dir.path().join("model.safetensors"), &weights, DType::BF16).unwrap();
    let of = |precision| whole(&CausalLm::load(dir.path(), precision, &Device::Cpu).unwrap(), &long());
    let want = of(Precision::F32);
    assert!(distance(&of(Precision::Stored), &want) < 1e-4);
    let apart = (of(Precision::Mixed) - want).unwrap().abs().unwrap().mean_all().unwrap().to_scalar::<f32>().unwrap();
    assert!(apart < 0.1, "{apart}");
}

#[test]
fn what_is_not_computed_is_named() {
    let of = |edits: Value| {
        let mut keys = json!({"model_type": "qwen3_5_text", "num_key_value_heads": 2, "head_dim": 16, "rms_norm_eps": 1e-6,
            "max_position_embeddings": 64, "rope_theta": 1e4, "linear_num_key_heads": 2, "linear_num_value_heads": 4,
            "linear_key_head_dim": 8, "linear_value_head_dim": 6});
        keys.as_object_mut().unwrap().extend(edits.as_object().unwrap().clone());
        config_of(keys)
    };
    let plain = of(json!({})).unwrap();
    assert_eq!((plain.rope.partial_rotary_factor, plain.recurrence.clone().unwrap().kernel), (0.25, 4));
    assert_eq!(plain.recurrence.unwrap().layers, [true, true], "every fourth layer has attention, of two none");
    assert_eq!(of(json!({"full_attention_interval": 2})).unwrap().recurrence.unwrap().layers, [true, false]);
    for (edits, said) in [
        (json!({"attn_output_gate": false}), "`attn_output_gate` is false"),
        (json!({"linear_num_value_heads": 3}), "a multiple of linear_num_key_heads = 2"),
        (json!({"linear_num_key_heads": null}), "`linear_num_key_heads` is missing"),
        (json!({"layer_types": ["linear_attention"]}), "for each of 2 layers"),
        (json!({"layer_types": ["linear_attention", "sliding_attention"]}), "`layer_types` is \"sliding_attention\""),
        (json!({"partial_rotary_factor": 0.2}), "an even number of dimensions"),
        (json!({"text_config": 3}), "`text_config` is 3, expected an object"),
    ] {
        let error = of(edits.clone()).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains(said), "{edits}: {error}");
    }
    let llama = json!({"model_type": "llama", "num_key_value_heads": 2, "partial_rotary_factor": 0.5});
    assert!(config_of(llama).unwrap_err().to_string().contains("whole heads are turned"));
    let (dir, config) = (tempfile::tempdir().unwrap(), recurrent_config());
    let weights = recurrent_weights(&config, 4);
    let take = &mut |name: &str, _: &[usize]| Ok(weights[name].clone());
    config.write(dir.path()).unwrap();
    let error = export::gguf(&dir.path().join("m.gguf"), dir.path(), "m", &config, Quality::F32, take).unwrap_err();
    assert!(error.exit_code() == 2 && error.to_string().contains("GGUF files of a qwen3_5_text"), "{error}");
}

#[test]
fn the_sizes_of_4b_are_those_computed_by_hand() {
    let keys = json!({"model_type": "qwen3_5_text", "vocab_size": 248_320, "hidden_size": 2560, "intermediate_size": 9216,
        "num_hidden_layers": 32, "num_attention_heads": 16, "num_key_value_heads": 4, "head_dim": 256, "rms_norm_eps": 1e-6,
        "max_position_embeddings": 262_144, "rope_theta": 1e7, "tie_word_embeddings": true, "linear_num_key_heads": 16,
        "linear_num_value_heads": 32, "linear_key_head_dim": 128, "linear_value_head_dim": 128});
    let shape = config_of(keys).unwrap();
    let near =
        |got: usize, millions: f64| assert!((got as f64 / 1e6 - millions).abs() < 0.6, "{got}, not {millions} M");
    near(shape.parameters(), 4206.0);
    let seven = AdapterConfig::lora(256, 512.0);
    let listed = Targets::Names(TWELVE.map(String::from).to_vec());
    let twelve = AdapterConfig { target_modules: listed, ..seven.clone() };
    near(Adapter::numbers(&twelve, &shape).unwrap(), 519.0);
    near(Adapter::numbers(&seven, &shape).unwrap(), 340.0);
    assert_eq!((shape.rope.rotary_dim(shape.head_dim), shape.period()), (64, 4));
}

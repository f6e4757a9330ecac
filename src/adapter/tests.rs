//! LoRA against PEFT: log-probabilities, files, and what loading refuses (`tests/reference/peft.py`).
use super::{Adapter, AdapterConfig, Mode};
use crate::model::golden::{distance, json, model, numbers, pairs, path};
use crate::model::ops::Segments;
use crate::model::tensors;
use crate::train::{Batch, Sequence};
use candle_core::{DType, Tensor};

fn pair_sequences() -> Vec<Sequence> {
    let join = |p: crate::model::golden::Pair| {
        Sequence::completion([p.prompt_ids.as_slice(), &p.completion_ids].concat(), p.prompt_ids.len())
    };
    pairs().into_iter().map(join).collect()
}

#[test]
fn log_probabilities_agree_with_transformers_and_peft() {
    let want = json("logprobs.json");
    let mut m = model("tied");
    let check = |m: &crate::model::Qwen3, want: &serde_json::Value| {
        let sequences = pair_sequences();
        let all: Vec<f64> = want.as_array().unwrap().iter().flat_map(numbers).collect();
        let got: Vec<f32> = Batch::pack(&sequences).logprobs(m).unwrap().to_vec1().unwrap();
        assert_eq!(got.len(), all.len());
        for (g, w) in got.iter().zip(&all) {
            assert!((*g as f64 - w).abs() < 1e-4, "{g} {w}");
        }
    };
    check(&m, &want["base"]);
    let adapter = Adapter::load(&path("adapter"), &mut m).unwrap();
    adapter.attach(&mut m, Mode::Infer).unwrap();
    check(&m, &want["adapter"]);
}

#[test]
fn a_fresh_adapter_changes_nothing() {
    let mut m = model("tied");
    let segments = Segments::of_lengths([5]);
    let before = m.hidden(&[1, 2, 3, 4, 5], &segments).unwrap();
    let adapter = Adapter::new(AdapterConfig::lora(4, 8.0), &mut m, 7).unwrap();
    adapter.attach(&mut m, Mode::Train).unwrap();
    let after = m.hidden(&[1, 2, 3, 4, 5], &segments).unwrap();
    assert_eq!(distance(&before, &after), 0.0);
}

#[test]
fn saving_and_loading_keeps_every_bit() {
    let dir = tempfile::tempdir().unwrap();
    let mut m = model("tied");
    let adapter = Adapter::load(&path("adapter"), &mut m).unwrap();
    adapter.save(dir.path()).unwrap();
    let again = Adapter::load(dir.path(), &mut m).unwrap();
    assert_eq!(again.config, adapter.config);
    for (name, var) in adapter.parameters() {
        assert_eq!(distance(var, &again.parameters()[name]), 0.0, "{name}");
    }
}

#[test]
fn loading_names_the_tensor_that_is_wrong() {
    let mut m = model("tied");
    let good = tensors::read(&path("adapter/adapter_model.safetensors")).unwrap();
    let name = "base_model.model.model.layers.1.mlp.up_proj.lora_B.weight";
    let nan = (good[name].zeros_like().unwrap() / 0.0).unwrap();
    let cases: [(&str, Option<Tensor>, &str); 4] = [
        (name, None, "is missing"),
        (name, Some(good[name].narrow(1, 0, 2).unwrap()), "has shape [160, 2], expected [160, 4]"),
        (name, Some(nan), "holds NaN or infinity"),
        ("base_model.model.lm_head.lora_A.weight", Some(good[name].clone()), "unknown tensor"),
    ];
    for (name, tensor, message) in cases {
        let dir = tempfile::tempdir().unwrap();
        std::fs::copy(path("adapter/adapter_config.json"), dir.path().join("adapter_config.json")).unwrap();
        let mut all = good.clone();
        all.remove(name);
        all.extend(tensor.map(|t| (name.to_string(), t)));
        tensors::write(&dir.path().join("adapter_model.safetensors"), &all, DType::F32).unwrap();
        let error = Adapter::load(dir.path(), &mut m).err().unwrap();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains(message) && error.to_string().contains(name), "{error}");
    }
}

#[test]
fn an_adapter_of_another_kind_is_refused() {
    let mut config = AdapterConfig::lora(4, 8.0);
    config.use_dora = true;
    let error = Adapter::new(config, &mut model("tied"), 1).err().unwrap().to_string();
    assert!(error.contains("use_dora"), "{error}");
}

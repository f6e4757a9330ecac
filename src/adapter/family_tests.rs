//! Adapters and full fine-tuning of Llama, Mistral, Qwen2 and Qwen3.5 against PEFT and PyTorch (`tests/reference/families.py`).
use super::{Adapter, AdapterConfig, Init, Mode};
use crate::model::golden::{json, path};
use crate::model::{CausalLm, Checkpoint, Precision, Quality, Weight, export, tensors};
use crate::train::{Batch, Gradients, Loss, Sequence};
use candle_core::{DType, Device, Tensor};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const FAMILIES: [&str; 5] = ["llama3", "llama_bias", "mistral", "qwen2", "qwen3_5"];

fn folder(name: &str) -> PathBuf {
    path("families").join(name)
}

fn load(place: &Path) -> CausalLm {
    CausalLm::load(place, Precision::F32, &Device::Cpu).unwrap()
}

fn sequences() -> Vec<Sequence> {
    let pairs = json("families/losses.json")["pairs"].clone();
    let pairs: Vec<crate::model::golden::Pair> = serde_json::from_value(pairs).unwrap();
    let join = |p: crate::model::golden::Pair| {
        Sequence::completion([p.prompt_ids.as_slice(), &p.completion_ids].concat(), p.prompt_ids.len())
    };
    pairs.into_iter().map(join).collect()
}

fn losses(name: &str, what: &str) -> f64 {
    json("families/losses.json")["losses"][name][what].as_f64().unwrap()
}

/// Mean loss over the targets and the mean gradients of `parameters`.
fn gradients(
    m: &CausalLm,
    parameters: &BTreeMap<String, candle_core::Var>,
    by_layers: bool,
) -> (f64, BTreeMap<String, Vec<f32>>) {
    let batch = Batch::pack(&sequences());
    let mut grads = Gradients::of(parameters);
    let sums = batch.backward(m, &Loss::default(), by_layers, &mut grads).unwrap();
    grads.complete().unwrap();
    grads.finish(f64::INFINITY);
    let all = parameters.keys().map(|name| (name.clone(), grads.get(name).to_vec())).collect();
    (sums.loss / batch.targets.len() as f64, all)
}

fn agree(got: &[f32], want: &Tensor, what: &str) {
    let want: Vec<f32> = want.flatten_all().unwrap().to_vec1().unwrap();
    let largest = want.iter().fold(0f32, |m, w| m.max(w.abs()));
    assert!(largest > 0.0 && got.len() == want.len(), "{what}");
    for (g, w) in got.iter().zip(&want) {
        assert!((g - w).abs() < 1e-4 * largest + 1e-7, "{what}: {g} {w}");
    }
}

#[test]
fn gradients_of_every_adapter_tensor_of_every_family_agree_with_pytorch() {
    for name in FAMILIES {
        let mut m = load(&folder(name));
        let adapter = Adapter::load(&folder(name).join("adapter"), &mut m).unwrap();
        adapter.attach(&mut m, Mode::Train).unwrap();
        let (loss, whole) = gradients(&m, adapter.parameters(), false);
        assert!((loss - losses(name, "adapter")).abs() < 1e-5, "{name}: {loss}");
        let golden = tensors::read(&folder(name).join("adapter/gradients.safetensors")).unwrap();
        assert_eq!(golden.len(), whole.len(), "{name}");
        golden.iter().for_each(|(tensor, want)| agree(&whole[tensor], want, &format!("{name} {tensor}")));
        let (_, by_layers) = gradients(&m, adapter.parameters(), true);
        assert!(whole == by_layers, "{name}: checkpointing by layers changes no bit");
    }
}

#[test]
fn gradients_of_norms_and_biases_agree_with_pytorch_where_every_weight_learns() {
    for name in FAMILIES {
        let (m, parameters) = CausalLm::load_to_train(&folder(name), &Device::Cpu).unwrap();
        let golden = tensors::read(&folder(name).join("gradients.safetensors")).unwrap();
        let [whole, by_layers] = [false, true].map(|by_layers| gradients(&m, &parameters, by_layers));
        assert!((whole.0 - losses(name, "base")).abs() < 1e-5, "{name}: {}", whole.0);
        for (tensor, want) in &golden {
            agree(&whole.1[tensor], want, &format!("{name} {tensor}"));
            agree(&by_layers.1[tensor], want, &format!("{name} {tensor}, by layers"));
        }
    }
}

fn scores(m: &CausalLm) -> Vec<f32> {
    Batch::pack(&sequences()).score(m).unwrap()
}

fn assert_close(got: &[f32], want: &[f32], most: f32, what: &str) {
    let far = got.iter().zip(want).map(|(g, w)| (g - w).abs()).fold(0.0, f32::max);
    assert!(got.len() == want.len() && far < most, "{what}: {far}");
}

#[test]
fn merged_and_exported_models_of_every_family_do_what_base_and_adapter_do() {
    for name in FAMILIES {
        let mut m = load(&folder(name));
        let adapter = Adapter::load(&folder(name).join("adapter"), &mut m).unwrap();
        adapter.attach(&mut m, Mode::Infer).unwrap();
        let (want, dir) = (scores(&m), tempfile::tempdir().unwrap());
        let checkpoint = Checkpoint::open(&folder(name)).unwrap();
        let merged = &mut |tensor: &str, shape: &[usize]| {
            let base = checkpoint.tensor(tensor, shape)?;
            let layer = tensor.strip_suffix(".weight").filter(|_| shape.len() == 2).unwrap_or_default();
            Ok(adapter.merged(layer, &Weight::from(base.clone()))?.unwrap_or(base))
        };
        export::folder(dir.path(), &folder(name), checkpoint.config(), DType::F32, export::SHARD, merged).unwrap();
        assert_close(&scores(&load(dir.path())), &want, 1e-4, name);
        let file = dir.path().join("merged.gguf");
        match export::gguf(&file, &folder(name), name, checkpoint.config(), Quality::F32, merged) {
            Ok(_) => assert_close(&scores(&load(&file)), &want, 1e-4, name),
            Err(e) => {
                let said = [("qwen2", "sliding window"), ("qwen3_5", "GGUF files of a qwen3_5_text are not written")];
                assert!(said.iter().any(|(of, said)| name == *of && e.to_string().contains(said)), "{name}: {e}");
            }
        }
    }
}

#[test]
fn adapters_of_peft_are_written_back_as_peft_wrote_them() {
    for name in FAMILIES {
        let (dir, from) = (tempfile::tempdir().unwrap(), folder(name).join("adapter"));
        Adapter::load(&from, &mut load(&folder(name))).unwrap().save(dir.path()).unwrap();
        let [ours, theirs] =
            [dir.path(), &from].map(|at| tensors::read(&at.join("adapter_model.safetensors")).unwrap());
        assert!(ours.keys().eq(theirs.keys()), "{name}");
        for (tensor, t) in &ours {
            assert_eq!(crate::model::golden::distance(t, &theirs[tensor]), 0.0, "{name} {tensor}");
        }
        assert_eq!(AdapterConfig::read(dir.path()).unwrap(), AdapterConfig::read(&from).unwrap());
    }
}

#[test]
fn every_kind_of_adapter_trains_on_every_family_and_on_blocks() {
    let kinds = [
        AdapterConfig::lora(2, 4.0),
        AdapterConfig { use_rslora: true, ..AdapterConfig::lora(2, 4.0) },
        AdapterConfig { use_dora: true, ..AdapterConfig::lora(2, 4.0) },
        AdapterConfig { init_lora_weights: Init::Named("pissa_niter_4".into()), ..AdapterConfig::lora(2, 4.0) },
    ];
    let dir = tempfile::tempdir().unwrap();
    for name in FAMILIES {
        let mut places = vec![folder(name)];
        if name.starts_with("llama") {
            let (file, checkpoint) = (dir.path().join(name), Checkpoint::open(&folder(name)).unwrap());
            let weights = &mut |name: &str, shape: &[usize]| checkpoint.tensor(name, shape);
            export::gguf(&file, &folder(name), name, checkpoint.config(), Quality::Q8_0, weights).unwrap();
            places.push(file);
        }
        for (place, config) in places.iter().flat_map(|place| kinds.iter().map(move |kind| (place, kind))) {
            for precision in [Precision::F32, Precision::Mixed] {
                let mut m = CausalLm::load(place, precision, &Device::Cpu).unwrap();
                let base = scores(&m);
                let adapter = Adapter::new(config.clone(), &mut m, 3).unwrap();
                adapter.attach(&mut m, Mode::Train).unwrap();
                let most = if precision == Precision::Mixed { 0.1 } else { 1e-4 };
                assert_close(&scores(&m), &base, most, "a fresh adapter changes nothing");
                let (_, grads) = gradients(&m, adapter.parameters(), true);
                assert!(grads.values().any(|g| g.iter().any(|g| *g != 0.0)), "{name}");
                assert!(grads.values().flatten().all(|g| g.is_finite()), "{name}");
            }
        }
    }
}

#[test]
fn smollm2_learns_as_in_pytorch() {
    let file = crate::home().join(".tools/models/smollm2/model.gguf");
    if !file.is_file() {
        println!("skipped: {} is not installed", file.display());
        return;
    }
    let golden = json("smollm2.json")["training"].clone();
    let ids = |key: &str| -> Vec<u32> { serde_json::from_value(golden[key].clone()).unwrap() };
    let (prompt, completion) = (ids("prompt_ids"), ids("completion_ids"));
    let sequence = Sequence::completion([prompt.as_slice(), &completion].concat(), prompt.len());
    let (m, parameters) = CausalLm::load_to_train(&file, &Device::Cpu).unwrap();
    let batch = Batch::pack([&sequence]);
    for (got, want) in batch.score(&m).unwrap().into_iter().zip(crate::model::golden::numbers(&golden["logprobs"])) {
        assert!((got as f64 - want).abs() < 1e-3, "{got} {want}");
    }
    let mut grads = Gradients::of(&parameters);
    batch.backward(&m, &Loss::default(), true, &mut grads).unwrap();
    grads.complete().unwrap();
    grads.finish(f64::INFINITY);
    for (name, want) in golden["gradients"].as_object().unwrap() {
        let (got, norm) = (grads.get(name), want["norm"].as_f64().unwrap());
        let length = got.iter().map(|g| (*g as f64).powi(2)).sum::<f64>().sqrt();
        assert!((length / norm - 1.0).abs() < 1e-3, "{name}: {length} {norm}");
        for (g, w) in got.iter().zip(crate::model::golden::numbers(&want["first"])) {
            assert!((*g as f64 - w).abs() < 1e-5 * norm, "{name}: {g} {w}");
        }
    }
}

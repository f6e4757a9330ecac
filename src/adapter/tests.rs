//! Adapters against PEFT: log-probabilities, files, and what loading refuses (`tests/reference/peft.py`, `variants.py`).
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
    let check = |m: &crate::model::CausalLm, want: &serde_json::Value| {
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
    config.bias = "all".into();
    let error = Adapter::new(config, &mut model("tied"), 1).err().unwrap().to_string();
    assert!(error.contains("bias is all"), "{error}");
}

const VARIANTS: [&str; 5] = ["rslora", "dora", "patterns", "overlaps", "regex"];

fn scores(m: &crate::model::CausalLm) -> Vec<f32> {
    Batch::pack(&pair_sequences()).score(m).unwrap()
}

fn assert_close(got: &[f32], want: &[f64], most: f64, what: &str) {
    assert_eq!(got.len(), want.len());
    for (g, w) in got.iter().zip(want) {
        assert!((*g as f64 - w).abs() < most, "{what}: {g} {w}");
    }
}

#[test]
fn rslora_dora_patterns_and_regular_expressions_agree_with_peft_in_training_and_in_inference() {
    let want = json("variants.json");
    for name in VARIANTS {
        let all: Vec<f64> = want["logprobs"][name].as_array().unwrap().iter().flat_map(numbers).collect();
        for mode in [Mode::Infer, Mode::Train] {
            let mut m = model("tied");
            let adapter = Adapter::load(&path(&format!("variants/{name}")), &mut m).unwrap();
            adapter.attach(&mut m, mode).unwrap();
            assert_close(&scores(&m), &all, 1e-4, name);
        }
    }
}

#[test]
fn merged_weights_do_what_base_and_adapter_do_together() {
    for name in VARIANTS {
        let mut m = model("tied");
        let adapter = Adapter::load(&path(&format!("variants/{name}")), &mut m).unwrap();
        adapter.attach(&mut m, Mode::Infer).unwrap();
        let want: Vec<f64> = scores(&m).into_iter().map(f64::from).collect();
        let mut merged = model("tied");
        for linear in merged.linears_mut() {
            if let Some(weight) = adapter.merged(&linear.name, &linear.weight).unwrap() {
                linear.weight = weight.into();
            }
        }
        assert_close(&scores(&merged), &want, 1e-4, name);
    }
}

fn pissa() -> AdapterConfig {
    AdapterConfig { init_lora_weights: super::Init::Named("pissa_niter_8".into()), ..AdapterConfig::lora(4, 8.0) }
}

#[test]
fn pissa_starts_as_the_base_and_is_saved_as_a_lora_of_twice_the_rank() {
    let base: Vec<f64> = scores(&model("tied")).into_iter().map(f64::from).collect();
    let mut m = model("tied");
    let adapter = Adapter::new(pissa(), &mut m, 7).unwrap();
    adapter.attach(&mut m, Mode::Infer).unwrap();
    assert_close(&scores(&m), &base, 1e-4, "at the start");
    for var in adapter.parameters().values() {
        var.set(&(var.as_tensor() * 1.1).unwrap()).unwrap();
    }
    adapter.attach(&mut m, Mode::Infer).unwrap();
    let moved: Vec<f64> = scores(&m).into_iter().map(f64::from).collect();
    assert!(moved.iter().zip(&base).any(|(a, b)| (a - b).abs() > 1e-2), "the directions matter");
    let dir = tempfile::tempdir().unwrap();
    adapter.save(dir.path()).unwrap();
    let mut other = model("tied");
    let loaded = Adapter::load(dir.path(), &mut other).unwrap();
    assert_eq!((loaded.config.r, loaded.config.lora_alpha), (8, 16.0));
    loaded.attach(&mut other, Mode::Infer).unwrap();
    assert_close(&scores(&other), &moved, 1e-4, "loaded");
}

#[test]
fn pissa_finds_the_largest_singular_directions() {
    // W = Σ s_i u_i v_iᵀ with cosine bases, whose singular values are known
    let basis = |n: usize, i: usize, x: usize| -> f64 {
        let by = if i == 0 { (1.0 / n as f64).sqrt() } else { (2.0 / n as f64).sqrt() };
        by * (std::f64::consts::PI * (x as f64 + 0.5) * i as f64 / n as f64).cos()
    };
    let (n, k, values) = (24, 16, [9.0, 7.0, 4.0, 2.0, 1.0, 0.5]);
    let w: Vec<f32> = (0..n * k)
        .map(|at| {
            values.iter().enumerate().map(|(i, s)| s * basis(n, i, at / k) * basis(k, i, at % k)).sum::<f64>() as f32
        })
        .collect();
    let weight = Tensor::from_vec(w, (n, k), &candle_core::Device::Cpu).unwrap();
    let mut rng = <rand_chacha::ChaCha8Rng as rand::SeedableRng>::seed_from_u64(1);
    let (a, b) = super::pissa::directions(&weight.clone().into(), 3, 2.0, 8, &mut rng).unwrap();
    let rest = (weight - (b.matmul(&a).unwrap() * 2.0).unwrap()).unwrap();
    let left: f32 = rest.sqr().unwrap().sum_all().unwrap().to_scalar().unwrap();
    assert!((left - (4.0 + 1.0 + 0.25)).abs() < 1e-3, "the rest of W is its small singular values: {left}");
}

#[test]
fn a_layer_or_module_that_the_model_lacks_is_named() {
    let wrong = [
        (
            AdapterConfig { layers_to_transform: Some(super::Layers::Some(vec![0, 3])), ..AdapterConfig::lora(4, 8.0) },
            "layer 3",
        ),
        (
            AdapterConfig {
                target_modules: super::Targets::Names(vec!["q_proj".into(), "gate".into()]),
                ..AdapterConfig::lora(4, 8.0)
            },
            "`gate`",
        ),
        (
            AdapterConfig { target_modules: super::Targets::Pattern("(".into()), ..AdapterConfig::lora(4, 8.0) },
            "regular expression",
        ),
        (AdapterConfig { lora_dropout: 1.0, ..AdapterConfig::lora(4, 8.0) }, "lora_dropout is 1"),
    ];
    for (config, said) in wrong {
        let error = Adapter::new(config, &mut model("tied"), 1).err().unwrap();
        assert!(error.exit_code() == 2 && error.to_string().contains(said), "{error}");
    }
}

#[test]
fn a_rank_that_is_of_no_use_in_a_layer_is_refused_with_its_name() {
    // q_proj is [128, 64], k_proj [64, 64]
    let pissa = |r: usize| AdapterConfig { r, ..pissa() };
    let wide = AdapterConfig { rank_pattern: super::Patterns(vec![("down_proj".into(), 161)]), ..pissa(4) };
    let cases = [
        (pissa(65), "r is 65 for `model.layers.0.self_attn.q_proj` [128, 64], expected at most 64: PiSSA"),
        (wide, "r is 161 for `model.layers.0.mlp.down_proj` [64, 160], expected at most 64"),
        (AdapterConfig::lora(usize::MAX, 8.0), "`model.layers.0.self_attn.q_proj` [128, 64], expected at most 128"),
    ];
    for (config, said) in cases {
        let mut m = model("tied");
        let counted = Adapter::numbers(&config, &m.config).err().unwrap();
        for error in [counted, Adapter::new(config, &mut m, 1).err().unwrap()] {
            assert!(error.exit_code() == 2 && error.to_string().contains(said), "{error}");
        }
    }
    assert!(Adapter::new(pissa(64), &mut model("tied"), 1).is_ok());
}

#[test]
fn pissa_goes_on_from_the_start_that_was_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("start.safetensors");
    let mut first = Adapter::new(pissa(), &mut model("tied"), 7).unwrap();
    first.keep_start(&path).unwrap();
    // another seed stands for another processor: other draws, nearly the same directions
    let mut m = model("tied");
    let mut second = Adapter::new(pissa(), &mut m, 8).unwrap();
    assert!(first.parameters().iter().any(|(name, var)| distance(var, &second.parameters()[name]) > 0.0));
    second.keep_start(&path).unwrap();
    for (name, var) in first.parameters() {
        assert_eq!(distance(var, &second.parameters()[name]), 0.0, "{name}");
    }
    for (adapter, name) in [(&first, "a"), (&second, "b")] {
        adapter.save(&folder.path().join(name)).unwrap();
    }
    let saved = |name: &str| std::fs::read(folder.path().join(name).join("adapter_model.safetensors")).unwrap();
    assert!(saved("a") == saved("b"), "the part that is taken out of the base again is kept too");
    let mut other = Adapter::new(AdapterConfig { r: 3, ..pissa() }, &mut m, 7).unwrap();
    assert!(other.keep_start(&path).unwrap_err().to_string().contains("start.safetensors"));
    let mut plain = Adapter::new(AdapterConfig::lora(4, 8.0), &mut m, 7).unwrap();
    plain.keep_start(&folder.path().join("none")).unwrap();
    assert!(!folder.path().join("none").exists());
}

//! Training against PyTorch + PEFT (`tests/reference/peft.py`), and what a user relies on: every tensor learns, twenty
//! examples can be learnt by heart, a killed run goes on as if nothing had happened.
use super::*;
use crate::adapter::{Adapter, AdapterConfig, Mode};
use crate::model::golden::{distance, json, model, numbers, pairs, path};
use crate::model::{CausalLm, tensors};
use candle_core::Device;
use std::path::Path;

fn golden() -> (CausalLm, Adapter, Vec<Sequence>) {
    let mut m = model("tied");
    let adapter = Adapter::load(&path("adapter"), &mut m).unwrap();
    adapter.attach(&mut m, Mode::Train).unwrap();
    let join = |p: crate::model::golden::Pair| {
        Sequence::completion([p.prompt_ids.as_slice(), &p.completion_ids].concat(), p.prompt_ids.len())
    };
    (m, adapter, pairs().into_iter().map(join).collect())
}

fn gradients<'a>(m: &CausalLm, adapter: &'a Adapter, sequences: &[&Sequence]) -> (f64, Gradients<'a>) {
    gradients_of(m, adapter, sequences, &Loss::default(), false)
}

fn gradients_of<'a>(
    m: &CausalLm,
    adapter: &'a Adapter,
    sequences: &[&Sequence],
    loss: &Loss,
    by_layers: bool,
) -> (f64, Gradients<'a>) {
    let batch = Batch::pack(sequences.iter().copied());
    let mut grads = Gradients::of(adapter.parameters());
    let sums = batch.backward(m, loss, by_layers, &mut grads).unwrap();
    grads.complete().unwrap();
    (sums.loss / batch.targets.len() as f64, grads)
}

#[test]
fn gradients_of_every_adapter_tensor_agree_with_pytorch() {
    let (m, adapter, sequences) = golden();
    let (loss, mut grads) = gradients(&m, &adapter, &sequences.iter().collect::<Vec<_>>());
    let norm = grads.finish(f64::INFINITY);
    let want = json("steps.json");
    let batch = numbers_of(&want["full_batch"]);
    assert!((loss - batch[0]).abs() < 1e-5, "{loss} {batch:?}");
    assert!((norm - batch[1]).abs() < 1e-4 * batch[1], "{norm} {batch:?}");
    for (name, want) in tensors::read(&path("grads.safetensors")).unwrap() {
        let want: Vec<f32> = want.flatten_all().unwrap().to_vec1().unwrap();
        let got = grads.get(&name);
        assert!(got.iter().any(|g| *g != 0.0), "{name}: no gradient");
        let largest = want.iter().fold(0f32, |m, w| m.max(w.abs()));
        for (g, w) in got.iter().zip(&want) {
            assert!((g - w).abs() < 1e-4 * largest + 1e-7, "{name}: {g} {w}");
        }
    }
}

/// Loss and gradient norm of an entry, whatever its keys.
fn numbers_of(v: &serde_json::Value) -> [f64; 2] {
    let get = |keys: &[&str]| keys.iter().find_map(|k| v.get(*k)).and_then(|x| x.as_f64()).unwrap();
    [get(&["loss"]), get(&["grad_norm", "norm"])]
}

#[test]
fn five_steps_of_adamw_agree_with_pytorch() {
    let (m, adapter, sequences) = golden();
    let want = json("steps.json");
    let set = &want["adamw"];
    let f = |k: &str| set[k].as_f64().unwrap();
    let betas = numbers(&set["betas"]);
    let w = AdamW { beta1: betas[0], beta2: betas[1], eps: f("eps"), weight_decay: f("weight_decay") };
    let mut moments = Moments::default();
    for (s, loss_wanted) in numbers(&set["losses"]).into_iter().enumerate() {
        let (loss, mut grads) = gradients(&m, &adapter, &[&sequences[2 * s % 4], &sequences[2 * s % 4 + 1]]);
        assert!((loss - loss_wanted).abs() < 1e-4, "step {s}: {loss} {loss_wanted}");
        grads.finish(f64::INFINITY);
        moments.update(&w, &grads, f("lr")).unwrap();
    }
    for (name, want) in tensors::read(&path("after.safetensors")).unwrap() {
        let d = distance(&adapter.parameters()[&name], &want);
        assert!(d < 2e-4, "{name}: {d}");
    }
}

fn config(epochs: usize, lr: f64) -> LoopConfig {
    LoopConfig {
        seed: 7,
        epochs,
        batch_tokens: 128,
        accumulate: 1,
        max_norm: 1.0,
        eval_every: 4,
        patience: 0,
        stop_above: vec![],
        schedule: Schedule { lr, warmup: 0.05, floor: 0.1 },
        adamw: AdamW::default(),
        muon: None,
        loss: Loss::default(),
        lora_plus: 1.0,
        checkpointing: false,
    }
}

/// Twenty prompts of random tokens, each with an answer that nothing but memory can give.
fn twenty() -> Vec<Sequence> {
    use rand::{Rng, SeedableRng};
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    (0..20).map(|_| Sequence::completion((0..16).map(|_| rng.random_range(2..256)).collect(), 12)).collect()
}

fn learn(dir: &Path, config: &LoopConfig, data: &[Sequence], until: &[Option<usize>]) -> (Adapter, Progress, CausalLm) {
    let mut result = None;
    for &until in until {
        // a new process: nothing but the folder survives
        let mut m = model("tied");
        let adapter = Adapter::new(AdapterConfig::lora(8, 16.0), &mut m, 3).unwrap();
        adapter.attach(&mut m, Mode::Train).unwrap();
        let trainer = Trainer {
            config,
            model: &m,
            parameters: adapter.parameters(),
            noise: Some(adapter.noise()),
            times: None,
            dir,
            verbose: false,
        };
        let progress = trainer.run(data, data, until).unwrap();
        result = Some((adapter, progress, m));
    }
    result.unwrap()
}

#[test]
fn a_tiny_model_learns_twenty_examples_by_heart() {
    let dir = tempfile::tempdir().unwrap();
    let data = twenty();
    let (_, progress, m) = learn(dir.path(), &config(60, 2e-2), &data, &[None]);
    assert!(progress.best_loss.unwrap() < 0.05, "{progress:?}");
    for s in &data {
        let want = &s.ids[s.supervised.clone()];
        let made = crate::generate::greedy(&m, &[s.ids[..12].to_vec()], &crate::generate::Limits::exactly(4)).unwrap();
        assert_eq!(made[0].tokens, want);
    }
    let log = read_log(&dir.path().join("log.jsonl")).unwrap();
    assert_eq!(log.len(), progress.step);
    assert!(log[0].loss > 4.0 && log.iter().all(|l| l.grad_norm > 0.0));
}

#[test]
fn killing_and_resuming_gives_the_same_losses_and_the_same_adapter() {
    let (straight, broken) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let data = twenty();
    let config = config(6, 5e-3);
    let (a, ..) = learn(straight.path(), &config, &data, &[None]);
    // stopped between two evaluations: the steps after the last saved state are made again
    let (b, ..) = learn(broken.path(), &config, &data, &[Some(6), Some(9), None]);
    // the text itself, but for the speed
    let log = |dir: &Path| -> Vec<String> {
        let text = std::fs::read_to_string(dir.join("log.jsonl")).unwrap();
        let speed = |line: &str| {
            let (before, after) = line.split_once("\"tokens_per_sec\":").unwrap();
            format!("{before}{}", after.trim_start_matches(|c: char| !matches!(c, ',' | '}')))
        };
        text.lines().map(speed).collect()
    };
    assert_eq!(log(straight.path()), log(broken.path()), "bitwise, on the cpu in f32");
    for (name, var) in a.parameters() {
        assert_eq!(distance(var, &b.parameters()[name]), 0.0, "{name}");
    }
}

#[test]
fn training_stops_above_a_bound_and_only_there() {
    let steps = |stop_above: Vec<(usize, f64)>| {
        let dir = tempfile::tempdir().unwrap();
        let config = LoopConfig { stop_above, eval_every: 2, ..config(4, 1e-3) };
        let mut m = model("tied");
        let adapter = Adapter::new(AdapterConfig::lora(2, 4.0), &mut m, 3).unwrap();
        adapter.attach(&mut m, Mode::Train).unwrap();
        let (parameters, noise) = (adapter.parameters(), Some(adapter.noise()));
        let trainer =
            Trainer { config: &config, model: &m, parameters, noise, times: None, dir: dir.path(), verbose: false };
        let progress = trainer.run(&twenty()[..10], &twenty()[10..], None).unwrap();
        assert!(progress.finished);
        (progress.step, trainer.steps(&twenty()[..10]))
    };
    let (all, planned) = steps(vec![(2, 1e9), (3, 0.0)]);
    assert!(all == planned && planned > 4, "no loss is above the one, no evaluation at the other");
    assert_eq!(steps(vec![(2, 1e9), (4, 0.0)]).0, 4);
}

#[test]
fn training_stops_early_and_keeps_the_best() {
    let dir = tempfile::tempdir().unwrap();
    let data = twenty();
    let config = LoopConfig { patience: 2, eval_every: 2, ..config(200, 2e-2) };
    let mut m = model("tied");
    let adapter = Adapter::new(AdapterConfig::lora(8, 16.0), &mut m, 3).unwrap();
    adapter.attach(&mut m, Mode::Train).unwrap();
    let trainer = Trainer {
        config: &config,
        model: &m,
        parameters: adapter.parameters(),
        noise: Some(adapter.noise()),
        times: None,
        dir: dir.path(),
        verbose: false,
    };
    // validation on other examples: learning the first by heart must make them worse
    let other: Vec<Sequence> = data[10..].to_vec();
    let progress = trainer.run(&data[..10], &other, None).unwrap();
    assert!(progress.step < trainer.steps(&data[..10]), "{progress:?}");
    assert_eq!(progress.stale, 2);
    let kept = mean_loss(&m, &other, trainer.config.batch_tokens).unwrap().unwrap();
    assert!((kept - progress.best_loss.unwrap()).abs() < 1e-6, "the best parameters are set: {kept} {progress:?}");
}

#[test]
fn a_parameter_that_is_detached_from_the_loss_is_named() {
    let (m, adapter, sequences) = golden();
    let mut all = adapter.parameters().clone();
    all.insert("stray".into(), candle_core::Var::zeros(3, candle_core::DType::F32, &candle_core::Device::Cpu).unwrap());
    let mut grads = Gradients::of(&all);
    Batch::pack(&sequences).backward(&m, &Loss::default(), false, &mut grads).unwrap();
    let error = grads.complete().unwrap_err().to_string();
    assert!(error.contains("`stray` has no gradient"), "{error}");
}

#[test]
fn gradients_under_every_relative_of_lora_agree_with_peft() {
    let sequences = golden().2;
    for name in ["rslora", "dora", "patterns", "overlaps", "regex"] {
        let mut m = model("tied");
        let adapter = Adapter::load(&path(&format!("variants/{name}")), &mut m).unwrap();
        adapter.attach(&mut m, Mode::Train).unwrap();
        let (_, mut grads) = gradients(&m, &adapter, &sequences.iter().collect::<Vec<_>>());
        grads.finish(f64::INFINITY);
        let want = tensors::read(&path(&format!("variants/{name}.safetensors"))).unwrap();
        assert_eq!(want.len(), adapter.parameters().len());
        for (tensor, want) in want {
            let want: Vec<f32> = want.flatten_all().unwrap().to_vec1().unwrap();
            let largest = want.iter().fold(0f32, |m, w| m.max(w.abs()));
            for (g, w) in grads.get(&tensor).iter().zip(&want) {
                assert!((g - w).abs() < 1e-4 * largest + 1e-7, "{name} {tensor}: {g} {w}");
            }
        }
    }
}

#[test]
fn every_loss_and_its_gradients_agree_with_pytorch() {
    let (m, adapter, sequences) = golden();
    let want = json("variants.json");
    for (name, want) in want["losses"].as_object().unwrap() {
        let f = |key: &str| want[key].as_f64().unwrap();
        let loss = Loss { dft: f("dft"), label_smoothing: f("label_smoothing"), ..Loss::default() };
        for by_layers in [false, true] {
            let all: Vec<&Sequence> = sequences.iter().collect();
            let (value, mut grads) = gradients_of(&m, &adapter, &all, &loss, by_layers);
            assert!((value - f("loss")).abs() < 1e-5, "{name}: {value} {}", f("loss"));
            let norm = grads.finish(f64::INFINITY);
            assert!((norm - f("norm")).abs() < 1e-4 * f("norm"), "{name}: {norm} {}", f("norm"));
            for (tensor, mean) in want["mean_abs"].as_object().unwrap() {
                let got = grads.get(tensor);
                let got = got.iter().map(|g| g.abs() as f64).sum::<f64>() / got.len() as f64;
                let mean = mean.as_f64().unwrap();
                assert!((got - mean).abs() < 1e-3 * mean + 1e-9, "{name} {tensor}: {got} {mean}");
            }
        }
    }
}

/// Gradients of every parameter with the whole graph alive, and with one layer's.
fn both_ways(
    m: &CausalLm,
    adapter: &Adapter,
    sequences: &[Sequence],
) -> [std::collections::BTreeMap<String, Vec<f32>>; 2] {
    let all: Vec<&Sequence> = sequences.iter().collect();
    [false, true].map(|by_layers| {
        adapter.noise().set(&[1, 2, 3]);
        let (_, grads) = gradients_of(m, adapter, &all, &Loss::default(), by_layers);
        adapter.noise().off();
        adapter.parameters().keys().map(|name| (name.clone(), grads.get(name).to_vec())).collect()
    })
}

#[test]
fn checkpointing_by_layers_changes_no_bit_of_any_gradient() {
    let (m, adapter, sequences) = golden();
    let [whole, by_layers] = both_ways(&m, &adapter, &sequences);
    assert!(whole == by_layers, "LoRA");
    for use_dora in [false, true] {
        let mut m = model("tied");
        let config = AdapterConfig { use_dora, lora_dropout: 0.3, ..AdapterConfig::lora(4, 8.0) };
        let adapter = Adapter::new(config, &mut m, 5).unwrap();
        for var in adapter.parameters().values() {
            var.set(&(var.as_tensor() + 0.05).unwrap()).unwrap(); // B away from 0
        }
        adapter.attach(&mut m, Mode::Train).unwrap();
        let [whole, by_layers] = both_ways(&m, &adapter, &sequences);
        assert!(whole == by_layers, "with dropout, dora: {use_dora}");
        let quiet = gradients(&m, &adapter, &sequences.iter().collect::<Vec<_>>()).1;
        let name = "base_model.model.model.layers.1.mlp.up_proj.lora_A.weight";
        assert!(quiet.get(name) != whole[name], "dropout does something");
    }
}

#[test]
fn a_whole_model_learns_with_and_without_checkpointing() {
    let sequences = golden().2;
    let all: Vec<&Sequence> = sequences.iter().collect();
    let (m, parameters) = CausalLm::load_to_train(&path("tied"), &Device::Cpu).unwrap();
    let grads = [false, true].map(|by_layers| {
        let mut grads = Gradients::of(&parameters);
        Batch::pack(all.iter().copied()).backward(&m, &Loss::default(), by_layers, &mut grads).unwrap();
        grads.complete().unwrap();
        parameters.keys().map(|name| (name.clone(), grads.get(name).to_vec())).collect::<Vec<_>>()
    });
    for ((name, a), (_, b)) in grads[0].iter().zip(&grads[1]) {
        assert!(a.iter().any(|g| *g != 0.0), "{name} learns");
        let largest = a.iter().fold(0f32, |m, g| m.max(g.abs()));
        // a tied embedding sums the head's and the input's part in another order
        assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-6 * largest), "{name}");
    }
}

#[test]
fn lora_plus_gives_b_its_own_rate() {
    let dir = tempfile::tempdir().unwrap();
    let data = twenty();
    let moved = |lora_plus: f64| {
        let config = LoopConfig { lora_plus, ..config(1, 1e-3) };
        let (adapter, ..) = learn(dir.path().join(lora_plus.to_string()).as_path(), &config, &data, &[Some(1)]);
        let b = &adapter.parameters()["base_model.model.model.layers.0.mlp.up_proj.lora_B.weight"];
        b.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap()
    };
    let (one, sixteen) = (moved(1.0), moved(16.0));
    assert!((sixteen / one - 16.0).abs() < 1e-3, "{one} {sixteen}");
}

#[test]
fn a_quantised_base_learns_like_the_matrix_it_stands_for() {
    use crate::model::Weight;
    use candle_core::quantized::{GgmlDType, QTensor};
    let (_, _, sequences) = golden();
    let all: Vec<&Sequence> = sequences.iter().collect();
    let grads = [true, false].map(|quantised| {
        let mut m = model("tied");
        for linear in m.linears_mut() {
            let q = QTensor::quantize(&linear.weight.dense().unwrap(), GgmlDType::Q8_0).unwrap();
            let q = Weight::quantised(q).unwrap();
            linear.weight = if quantised { q } else { q.dense().unwrap().into() };
        }
        let adapter = Adapter::load(&path("adapter"), &mut m).unwrap();
        adapter.attach(&mut m, Mode::Train).unwrap();
        let (loss, grads) = gradients(&m, &adapter, &all);
        let grads: Vec<f32> = adapter.parameters().keys().flat_map(|n| grads.get(n).to_vec()).collect();
        (loss, grads)
    });
    assert!((grads[0].0 - grads[1].0).abs() < 1e-5);
    let largest = grads[1].1.iter().fold(0f32, |m, g| m.max(g.abs()));
    assert!(grads[0].1.iter().zip(&grads[1].1).all(|(a, b)| (a - b).abs() < 1e-5 * largest));
}

fn bits(parameters: &std::collections::BTreeMap<String, candle_core::Var>) -> Vec<(String, Vec<u32>)> {
    let of = |var: &candle_core::Var| -> Vec<u32> {
        let all: Vec<f32> = var.as_detached_tensor().flatten_all().unwrap().to_vec1().unwrap();
        all.into_iter().map(f32::to_bits).collect()
    };
    parameters.iter().map(|(name, var)| (name.clone(), of(var))).collect()
}

#[test]
fn a_whole_model_and_pissa_by_muon_end_bitwise_alike_however_often_they_are_stopped() {
    let data = twenty();
    let config = LoopConfig { muon: Some(Muon::default()), ..config(4, 2e-3) };
    let run = |dir: &Path, pissa: bool, until: Option<usize>| {
        // a new process: nothing but the folder survives
        let (mut m, mut parameters) = CausalLm::load_to_train(&path("tied"), &Device::Cpu).unwrap();
        if pissa {
            m = model("tied");
            let init_lora_weights = crate::adapter::Init::Named("pissa_niter_4".into());
            let settings = AdapterConfig { init_lora_weights, ..AdapterConfig::lora(4, 8.0) };
            let mut adapter = Adapter::new(settings, &mut m, 3).unwrap();
            adapter.keep_start(&dir.join("start.safetensors")).unwrap();
            adapter.attach(&mut m, Mode::Train).unwrap();
            parameters = adapter.parameters().clone();
        }
        let parameters = &parameters;
        let trainer = Trainer { config: &config, model: &m, parameters, noise: None, times: None, dir, verbose: false };
        let progress = trainer.run(&data, &data, until).unwrap();
        (progress.step, bits(parameters))
    };
    for pissa in [false, true] {
        let (straight, broken) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (steps, whole) = run(straight.path(), pissa, None);
        assert!(steps > 6, "{steps} updates");
        run(broken.path(), pissa, Some(2)); // before anything was saved
        run(broken.path(), pissa, Some(6)); // between two evaluations
        let (_, resumed) = run(broken.path(), pissa, None);
        assert!(whole == resumed, "pissa: {pissa}");
    }
}

#[test]
fn a_run_that_lost_its_best_parameters_or_its_log_is_not_gone_on_with() {
    let data = twenty();
    let again = |damage: &dyn Fn(&Path)| -> String {
        let dir = tempfile::tempdir().unwrap();
        let mut m = model("tied");
        let adapter = Adapter::new(AdapterConfig::lora(2, 4.0), &mut m, 3).unwrap();
        adapter.attach(&mut m, Mode::Train).unwrap();
        let (config, parameters, dir) = (config(3, 1e-3), adapter.parameters(), dir.path());
        let trainer = Trainer { config: &config, model: &m, parameters, noise: None, times: None, dir, verbose: false };
        assert!(trainer.run(&data, &data, None).unwrap().best_step > 0);
        damage(dir);
        let error = trainer.run(&data, &data, None).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        error.to_string()
    };
    let lost = again(&|dir| std::fs::remove_file(dir.join("best.safetensors")).unwrap());
    assert!(lost.contains("best.safetensors is missing, which holds the best parameters"), "{lost}");
    let cut = again(&|dir| {
        let text = std::fs::read_to_string(dir.join("log.jsonl")).unwrap();
        std::fs::write(dir.join("log.jsonl"), text.lines().next().unwrap()).unwrap();
    });
    assert!(cut.contains("log.jsonl: expected a line for each of the") && cut.contains("found 1"), "{cut}");
}

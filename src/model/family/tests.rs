//! Llama, Mistral, Qwen2 and Qwen3.5 against transformers (`tests/reference/families.py`), and the real SmolLM2
//! (`tests/reference/smollm2.py`), which is skipped where it is not installed.
use super::*;
use crate::model::golden::{distance, json, numbers, path};
use crate::model::ops::Segments;
use crate::model::{CausalLm, Checkpoint, Precision, Quality, Scaling, SlidingWindow, export, tensors};
use candle_core::{DType, Device, Tensor};
use std::path::{Path, PathBuf};

mod qwen3_5;

/// Folder, variant (`config` is the folder's own config.json).
const VARIANTS: [(&str, &str); 9] = [
    ("llama3", "config"),
    ("llama_bias", "config"),
    ("llama_bias", "linear"),
    ("llama_bias", "dynamic"),
    ("mistral", "config"),
    ("mistral", "whole"),
    ("qwen2", "config"),
    ("qwen2", "whole"),
    ("qwen3_5", "config"),
];

/// The checkpoint with the config of a variant.
fn folder(name: &str, variant: &str) -> tempfile::TempDir {
    let (dir, from) = (tempfile::tempdir().unwrap(), path("families").join(name));
    let config = if variant == "config" { "config.json".into() } else { format!("config.{variant}.json") };
    std::fs::copy(from.join(config), dir.path().join("config.json")).unwrap();
    std::fs::copy(from.join("model.safetensors"), dir.path().join("model.safetensors")).unwrap();
    dir
}

fn load(place: &Path) -> CausalLm {
    CausalLm::load(place, Precision::F32, &Device::Cpu).unwrap()
}

/// Token ids of two sequences, and transformers' logits of each under a variant.
fn golden(name: &str, variant: &str) -> Vec<(Vec<u32>, Tensor)> {
    let sequences = json("families/losses.json")["sequences"].as_array().unwrap().clone();
    let logits = tensors::read(&path("families").join(name).join("logits.safetensors")).unwrap();
    let ids = sequences.iter().map(|ids| numbers(ids).into_iter().map(|id| id as u32).collect());
    ids.enumerate().map(|(i, ids)| (ids, logits[&format!("{variant}.{i}")].clone())).collect()
}

fn logits(m: &CausalLm, ids: &[u32], segments: &Segments) -> Tensor {
    m.logits(&m.hidden(ids, segments).unwrap()).unwrap()
}

/// The largest distance of a model's logits from the golden ones.
fn far(m: &CausalLm, name: &str, variant: &str) -> f32 {
    let far = |(ids, want): &(Vec<u32>, Tensor)| distance(&logits(m, ids, &Segments::of_lengths([ids.len()])), want);
    golden(name, variant).iter().map(far).fold(0.0, f32::max)
}

#[test]
fn logits_of_every_family_agree_with_transformers_alone_and_packed() {
    for (name, variant) in VARIANTS {
        let m = load(folder(name, variant).path());
        let golden = golden(name, variant);
        // transformers keeps the delta rule in f32 where all else is f64
        let most = if name == "qwen3_5" { 2e-4 } else { 2e-5 };
        assert!(far(&m, name, variant) < most, "{name} {variant}: {}", far(&m, name, variant));
        let packed: Vec<u32> = golden.iter().flat_map(|(ids, _)| ids.clone()).collect();
        let want = Tensor::cat(&golden.iter().map(|(_, z)| z.clone()).collect::<Vec<_>>(), 0).unwrap();
        let d = distance(&logits(&m, &packed, &Segments::of_lengths(golden.iter().map(|(ids, _)| ids.len()))), &want);
        assert!(d < most, "{name} {variant}, packed: {d}");
    }
}

#[test]
fn cached_decoding_equals_the_whole_pass_in_every_family() {
    for (name, variant) in VARIANTS {
        let m = load(folder(name, variant).path());
        let ids = &golden(name, variant)[1].0;
        let whole = m.hidden(ids, &Segments::of_lengths([ids.len()])).unwrap();
        // a long piece, a piece of several tokens and single ones, beside a sequence that starts later; windows are 4
        // and 5 keys
        let (mut cache, mut other) = (m.cache(), m.cache());
        let mut at = 0;
        for n in [9, 3, 1, 1, 6, 1, 2] {
            let both = [&ids[at..at + n], &ids[..n]].concat();
            other = if at == 0 { other } else { m.cache() };
            let got = m.extend(&both, &Segments::of_lengths([n, n]), &mut [&mut cache, &mut other]).unwrap();
            for (row, position) in (0..n).map(|i| (i, at + i)).chain((0..n).map(|i| (n + i, i))) {
                let d = distance(&got.get(row).unwrap(), &whole.get(position).unwrap());
                assert!(d < 2e-5, "{name} {variant}, position {position}: {d}");
            }
            at += n;
        }
        assert_eq!((at, cache.len()), (ids.len(), ids.len()));
    }
}

#[test]
fn configs_of_both_spellings_are_read_and_written_back() {
    for (name, variant) in VARIANTS {
        let dir = folder(name, variant);
        let config = Config::read(dir.path()).unwrap();
        config.write(dir.path()).unwrap();
        assert_eq!(Config::read(dir.path()).unwrap(), config, "{name} {variant}");
    }
    let config = |name, variant| Config::read(folder(name, variant).path()).unwrap();
    let reach = |name, variant| (0..3).map(|i| config(name, variant).reach(i)).collect::<Vec<_>>();
    assert_eq!(reach("mistral", "config"), [Some(5); 3]);
    assert_eq!(reach("mistral", "whole"), [None; 3]);
    assert_eq!(reach("qwen2", "config"), [None, Some(4), Some(4)]);
    assert_eq!(reach("qwen2", "whole"), [None; 3]);
    let bias = config("llama_bias", "linear");
    assert_eq!((bias.qkv_bias, bias.o_bias, bias.mlp_bias, bias.qk_norm), (true, true, true, false));
    assert_eq!((bias.rope.theta, bias.rope.scaling), (100.0, Scaling::Linear { factor: 2.5 }));
    assert_eq!((config("qwen2", "whole").qkv_bias, config("qwen2", "whole").o_bias), (true, false));
}

/// The config that these keys make, beside the sizes.
fn config_of(keys: serde_json::Value) -> Result<Config> {
    let sizes = serde_json::json!({"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4});
    let mut map = sizes.as_object().unwrap().clone();
    map.extend(keys.as_object().unwrap().clone());
    Keys::of(Path::new("config.json"), map).config()
}

#[test]
fn missing_keys_mean_what_they_mean_in_transformers() {
    let of = |kind: &str| config_of(serde_json::json!({"model_type": kind, "num_key_value_heads": 2})).unwrap();
    let (llama, mistral, qwen2) = (of("llama"), of("mistral"), of("qwen2"));
    for c in [&llama, &mistral, &qwen2] {
        assert_eq!((c.head_dim, c.rms_norm_eps, c.rope.theta, c.tie_word_embeddings), (8, 1e-6, 1e4, false));
    }
    assert_eq!((llama.max_position_embeddings, mistral.max_position_embeddings), (2048, 131_072));
    assert_eq!((llama.eos_token_id.as_slice(), mistral.eos_token_id.as_slice()), (&[2][..], &[2][..]));
    assert_eq!((llama.window, mistral.window), (None, Some(SlidingWindow { size: 4096, layers: None })));
    let heads = config_of(serde_json::json!({"model_type": "llama", "eos_token_id": null})).unwrap();
    assert_eq!((heads.num_key_value_heads, heads.eos_token_id.len()), (4, 0), "as many as heads; no end token");
    let null = config_of(serde_json::json!({"model_type": "mistral", "num_key_value_heads": null, "head_dim": null}));
    assert_eq!(null.unwrap().num_key_value_heads, 4);
}

#[test]
fn what_a_family_cannot_be_is_named() {
    for (keys, said) in [
        (serde_json::json!({"model_type": "gemma2"}), "llama, mistral, qwen2, qwen3"),
        (serde_json::json!({}), "`model_type` is null"),
        (serde_json::json!({"model_type": "llama", "num_attention_heads": 3}), "a divisor of hidden_size = 32"),
        (serde_json::json!({"model_type": "llama", "num_key_value_heads": 3}), "a divisor of num_attention_heads = 4"),
        (serde_json::json!({"model_type": "llama", "head_dim": 7}), "`head_dim` is 7, expected an even number"),
        (serde_json::json!({"model_type": "llama", "layer_types": ["sliding_attention"]}), "`layer_types`"),
        (
            serde_json::json!({"model_type": "mistral", "sliding_window": 0, "num_key_value_heads": 2}),
            "`sliding_window` is 0",
        ),
        (
            serde_json::json!({"model_type": "llama", "rope_scaling": {"rope_type": "llama3", "factor": 8.0,
                "low_freq_factor": 4.0, "high_freq_factor": 1.0}}),
            "`rope_scaling.high_freq_factor` is 1.0, expected more than low_freq_factor = 4",
        ),
        (
            serde_json::json!({"model_type": "llama", "rope_scaling": {"rope_type": "longrope", "factor": 8.0}}),
            "`rope_scaling` is \"longrope\", expected rope type",
        ),
    ] {
        let error = config_of(keys.clone()).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains(said), "{keys}: {error}");
    }
}

#[test]
fn a_sequence_beyond_the_length_of_dynamic_scaling_is_refused() {
    let m = load(folder("llama_bias", "dynamic").path());
    let error = m.hidden(&[3; 65], &Segments::of_lengths([65])).unwrap_err();
    assert!(error.exit_code() == 2 && error.to_string().contains("`dynamic` rotary scaling"), "{error}");
}

#[test]
fn rotary_frequencies_of_old_conversions_are_left_aside_and_other_tensors_are_not() {
    let dir = folder("llama3", "config");
    let mut all = tensors::read(&dir.path().join("model.safetensors")).unwrap();
    let frequencies = Tensor::ones(8, DType::F32, &Device::Cpu).unwrap();
    all.insert("model.layers.0.self_attn.rotary_emb.inv_freq".into(), frequencies.clone());
    tensors::write(&dir.path().join("model.safetensors"), &all, DType::F32).unwrap();
    load(dir.path());
    all.insert("model.layers.0.self_attn.q_proj.bias".into(), frequencies);
    tensors::write(&dir.path().join("model.safetensors"), &all, DType::F32).unwrap();
    let error = CausalLm::load(dir.path(), Precision::F32, &Device::Cpu).err().unwrap().to_string();
    assert!(error.contains("q_proj.bias` is not part of a llama"), "{error}");
}

/// A model under a variant, written as a GGUF file.
fn written(name: &str, variant: &str, quality: Quality) -> (tempfile::TempDir, PathBuf) {
    let dir = folder(name, variant);
    let file = dir.path().join("model.gguf");
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    let weights = &mut |name: &str, shape: &[usize]| checkpoint.tensor(name, shape);
    export::gguf(&file, dir.path(), name, checkpoint.config(), quality, weights).unwrap();
    (dir, file)
}

#[test]
fn gguf_files_of_pypis_writer_give_the_logits_of_their_folders() {
    for (file, name, variant) in
        [("llama3", "llama3", "config"), ("llama_bias", "llama_bias", "linear"), ("qwen2", "qwen2", "whole")]
    {
        let file = path("families").join(format!("{file}.gguf"));
        let m = load(&file);
        let of_folder = Config::read(folder(name, variant).path()).unwrap();
        assert_eq!(m.config.family, of_folder.family);
        assert_eq!(m.config.rope, of_folder.rope, "{name}");
        assert!(far(&m, name, variant) < 2e-5, "{name}: {}", far(&m, name, variant));
    }
}

#[test]
fn gguf_files_of_every_family_are_read_back_with_every_bit() {
    for (name, variant) in VARIANTS {
        if [("llama_bias", "dynamic"), ("qwen2", "config"), ("qwen3_5", "config")].contains(&(name, variant)) {
            continue; // refused below
        }
        let (dir, file) = written(name, variant, Quality::F32);
        let (read, folder) = (Checkpoint::open(&file).unwrap(), Checkpoint::open(dir.path()).unwrap());
        let want = Config { pad_token_id: read.config().pad_token_id, ..folder.config().clone() };
        let family = match want.window {
            None if name == "mistral" => &Llama, // GGUF does not tell a Mistral without a window from a Llama
            _ => want.family,
        };
        assert_eq!(*read.config(), Config { family, ..want }, "{name} {variant}");
        let bits = |t: Tensor| -> Vec<f32> { t.flatten_all().unwrap().to_vec1().unwrap() };
        for (tensor, shape) in folder.config().tensors() {
            let (a, b) = (read.tensor(&tensor, &shape).unwrap(), folder.tensor(&tensor, &shape).unwrap());
            assert!(bits(a) == bits(b), "{name} {variant}: {tensor}");
        }
        assert!(far(&load(&file), name, variant) < 2e-5);
    }
    for (name, variant, said) in [
        ("llama_bias", "dynamic", "cannot say `dynamic` rotary scaling"),
        ("qwen2", "config", "cannot say a sliding window in some layers only"),
        ("qwen3_5", "config", "GGUF files of a qwen3_5_text are not written here"),
    ] {
        let dir = folder(name, variant);
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        let weights = &mut |name: &str, shape: &[usize]| checkpoint.tensor(name, shape);
        let file = dir.path().join("model.gguf");
        let error = export::gguf(&file, dir.path(), name, checkpoint.config(), Quality::F32, weights).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains(said), "{error}");
    }
}

#[test]
fn blocks_of_a_llama_are_those_of_its_rows_in_order() {
    // rows are moved as blocks: the same numbers as quantising the rows where they belong
    let (dir, file) = written("llama3", "config", Quality::Q8_0);
    let (read, folder) = (Checkpoint::open(&file).unwrap(), Checkpoint::open(dir.path()).unwrap());
    for (name, shape) in folder.config().tensors().iter().filter(|(_, shape)| shape.len() == 2) {
        let (a, b) = (read.tensor(name, shape).unwrap(), folder.tensor(name, shape).unwrap());
        let largest = b.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(distance(&a, &b) < largest / 200.0, "{name}");
    }
}

/// Where the user's SmolLM2 lies; None, with a line, where it does not.
fn smollm2() -> Option<PathBuf> {
    let file = crate::home().join(".tools/models/smollm2/model.gguf");
    let there = file.is_file();
    if !there {
        println!("skipped: {} is not installed", file.display());
    }
    there.then_some(file)
}

fn ids(value: &serde_json::Value) -> Vec<u32> {
    numbers(value).into_iter().map(|id| id as u32).collect()
}

/// Mean loss of every token of `ids` but the first.
fn mean_loss(m: &CausalLm, ids: &[u32]) -> f64 {
    let (read, targets) = (&ids[..ids.len() - 1], &ids[1..]);
    let hidden = m.hidden(read, &Segments::of_lengths([read.len()])).unwrap();
    let logprobs: Vec<f32> = m.logprobs(&hidden, targets).unwrap().to_vec1().unwrap();
    -logprobs.iter().map(|p| *p as f64).sum::<f64>() / targets.len() as f64
}

#[test]
fn smollm2_gives_the_numbers_of_transformers() {
    let Some(file) = smollm2() else { return };
    let (m, golden) = (load(&file), json("smollm2.json"));
    for case in golden["cases"].as_array().unwrap() {
        let mut sequence = ids(&case["ids"]);
        let mut cache = m.cache();
        let mut pending = sequence.clone();
        let mut greedy = Vec::new();
        for step in 0..case["greedy"].as_array().unwrap().len() {
            let (all, newest) = (Segments::of_lengths([pending.len()]), Segments::of_lengths([1]));
            let hidden = m.extend_tail(&pending, &all, &newest, &mut [&mut cache]).unwrap();
            let row: Vec<f32> = m.logits(&hidden).unwrap().get(0).unwrap().to_vec1().unwrap();
            if step == 0 {
                for (id, want) in ids(&case["top"]).into_iter().zip(numbers(&case["logits"])) {
                    let got = row[id as usize] as f64;
                    assert!((got - want).abs() < 2e-3, "{} {id}: {got} {want}", case["name"]);
                }
            }
            let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0 as u32;
            greedy.push(best);
            sequence.push(best);
            pending = vec![best];
        }
        assert_eq!(greedy, ids(&case["greedy"]), "{}", case["name"]);
    }
    let (got, want) = (mean_loss(&m, &ids(&golden["text"]["ids"])), golden["text"]["mean_loss"].as_f64().unwrap());
    assert!((got - want).abs() < 1e-3, "{got} {want}");
}

#[test]
fn smollm2_with_rows_as_they_lie_misses_the_golden_loss() {
    let Some(file) = smollm2() else { return };
    let (checkpoint, golden) = (Checkpoint::open(&file).unwrap(), json("smollm2.json"));
    let config = checkpoint.config().clone();
    // the order of the file again: halves that belong together become neighbours
    let m = CausalLm::new(&config, &mut |name, shape| {
        let t = checkpoint.tensor(name, shape)?;
        let layer = name.strip_suffix(".weight").unwrap_or_default();
        if !layer.ends_with("q_proj") && !layer.ends_with("k_proj") {
            return Ok(t.into());
        }
        let heads = shape[0] / config.head_dim;
        let turned = t.reshape((heads, 2, config.head_dim / 2, shape[1]))?.transpose(1, 2)?.contiguous()?;
        Ok(turned.reshape(shape)?.into())
    })
    .unwrap();
    let (got, want) = (mean_loss(&m, &ids(&golden["text"]["ids"])), golden["text"]["mean_loss"].as_f64().unwrap());
    assert!(got > want + 0.5, "{got} {want}");
}

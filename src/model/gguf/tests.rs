//! Reading against PyPI's `gguf` (tests/reference/gguf_golden.py: file, values, logits, token ids); writing against reading.
use super::*;
use crate::model::golden::{distance, json, model, numbers, path};
use crate::model::ops::Segments;
use crate::model::{CausalLm, Checkpoint, Config, Precision, Rope, Tokenizer, Weight, tensors};
use candle_core::{DType, Device, Tensor};
use std::collections::BTreeMap;
use std::path::PathBuf;

fn tiny() -> PathBuf {
    path("gguf/tiny.gguf")
}

fn flat(t: &Tensor) -> Vec<f32> {
    t.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn every_type_is_read_as_pypis_reader_reads_it() {
    let (gguf, golden) = (Gguf::open(&tiny()).unwrap(), json("gguf/values.json"));
    let golden = golden["tensors"].as_object().unwrap();
    assert_eq!(golden.len(), gguf.config().tensors().len());
    let mut kinds = std::collections::BTreeSet::new();
    for (name, shape) in gguf.config().tensors() {
        let want = &golden[&name];
        assert_eq!(gguf.kind(&name).unwrap().name, want["type"].as_str().unwrap(), "{name}");
        kinds.insert(gguf.kind(&name).unwrap().name);
        let got = flat(&gguf.tensor(&name, &shape).unwrap());
        for (at, want) in numbers(&want["at"]).into_iter().zip(numbers(&want["values"])) {
            let got = got[at as usize] as f64;
            assert!((got - want).abs() <= 1e-6 * want.abs() + 1e-9, "{name}[{at}]: {got} {want}");
        }
        let (sum, squares) = got.iter().fold((0.0, 0.0), |(s, q), x| (s + *x as f64, q + (*x as f64).powi(2)));
        assert!((sum - want["sum"].as_f64().unwrap()).abs() < 1e-4, "{name}: {sum}");
        assert!((squares / want["squares"].as_f64().unwrap() - 1.0).abs() < 1e-6, "{name}: {squares}");
        // in memory exact by default; as stored the same to the rounding of bf16, which the rarer types become
        for (keep, step) in [(Precision::F32, 0.0), (Precision::Stored, 1.0 / 256.0), (Precision::Bf16, 1.0 / 256.0)] {
            let kept = flat(&gguf.weight(&name, &shape, keep).unwrap().dense().unwrap());
            assert!(kept.iter().zip(&got).all(|(a, b)| (a - b).abs() <= b.abs() * step), "{name} {keep:?}");
        }
    }
    assert_eq!(kinds.len(), 13, "all types: {kinds:?}");
    for (keep, stays) in [(Precision::F32, true), (Precision::Stored, true), (Precision::Bf16, false)] {
        let weight = gguf.weight("model.layers.0.self_attn.q_proj.weight", &[64, 256], keep).unwrap();
        assert_eq!(matches!(weight, Weight::Quantised(_)), stays, "{keep:?}");
    }
    let mixed = gguf.weight("model.layers.0.self_attn.q_proj.weight", &[64, 256], Precision::Mixed).unwrap();
    assert!(mixed.kind().starts_with("mixed Q"), "blocks stay blocks: {}", mixed.kind());
}

#[test]
fn logits_of_a_gguf_file_agree_with_transformers() {
    let golden = tensors::read(&path("gguf/logits.safetensors")).unwrap();
    for (keep, most) in [(Precision::F32, 1e-4), (Precision::Stored, 0.03), (Precision::Mixed, 0.1)] {
        let m = CausalLm::load(&tiny(), keep, &Device::Cpu).unwrap();
        for i in 0..2 {
            let ids: Vec<u32> =
                golden[&format!("ids.{i}")].to_vec1::<i64>().unwrap().into_iter().map(|i| i as u32).collect();
            let got = m.logits(&m.hidden(&ids, &Segments::of_lengths([ids.len()])).unwrap()).unwrap();
            let far = distance(&got, &golden[&format!("logits.{i}")]);
            assert!(far < most, "{keep:?}: {far}");
        }
    }
}

#[test]
fn the_config_is_that_of_the_metadata() {
    let config = Gguf::open(&tiny()).unwrap().config().clone();
    let want = Config {
        intermediate_size: 64,
        num_key_value_heads: 1,
        head_dim: 32,
        rope: Rope::plain(1e5),
        max_position_embeddings: 128,
        eos_token_id: config.eos_token_id.clone(),
        pad_token_id: config.pad_token_id,
        ..Config::small(320, 256, 2, 2)
    };
    assert_eq!(config, want, "1e-6 and 1e5 to the last digit");
    let control = Tokenizer::open(&tiny()).unwrap().control();
    assert_eq!(config.eos_token_id, [control.turn_end, control.text_end]);
    assert_eq!(config.pad_token_id, Some(control.text_end));
}

#[test]
fn the_tokenizer_gives_the_ids_of_transformers() {
    let (tokenizer, golden) = (Tokenizer::open(&tiny()).unwrap(), json("gguf/values.json"));
    let texts = golden["texts"].as_array().unwrap();
    for row in texts {
        let (text, ids) = (row["text"].as_str().unwrap(), numbers(&row["ids"]));
        let got = tokenizer.encode(text, true).unwrap();
        assert_eq!(got.iter().map(|id| *id as f64).collect::<Vec<_>>(), ids, "{text}");
    }
    assert!(texts.len() > 5 && tokenizer.fits(320).is_ok());
    let marks = tokenizer.encode("<|fim_pad|><think><|im_end|>", true).unwrap();
    assert_eq!(tokenizer.decode(&marks, true).unwrap(), "<|fim_pad|><think>", "left out is what Qwen3 leaves out");
}

/// The golden model written as `quality`, with the tokenizer of the tiny file where the vocabulary has room for it.
fn written(name: &str, quality: Quality, tokenizer: Option<&Tokenizer>) -> (tempfile::TempDir, PathBuf, Vec<Written>) {
    let (dir, all) = (tempfile::tempdir().unwrap(), crate::model::golden::weights(name));
    let (file, config) = (dir.path().join("m.gguf"), Config::read(&path(name)).unwrap());
    let contents =
        Contents { name: "test", config: &config, tokenizer, chat_template: tokenizer.map(|_| "template"), quality };
    let written = write(&file, &contents, &mut |name, _| Ok(all[name].clone())).unwrap();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing beside it");
    (dir, file, written)
}

#[test]
fn what_is_written_is_read_back() {
    let tokenizer = Tokenizer::open(&tiny()).unwrap();
    for (name, quality, step) in [
        ("tied", Quality::F32, 0.0),
        ("tied", Quality::BF16, 0.0), // as the checkpoint is stored
        ("untied", Quality::F16, 1e-3),
        ("untied", Quality::Q8_0, 8e-3),
    ] {
        let tokenizer = (name == "untied").then_some(&tokenizer);
        let (_dir, file, _) = written(name, quality, tokenizer);
        let (checkpoint, all) = (Checkpoint::open(&file).unwrap(), crate::model::golden::weights(name));
        let original = Config::read(&path(name)).unwrap();
        for (name, shape) in original.tensors() {
            let far = distance(&checkpoint.tensor(&name, &shape).unwrap(), &all[&name]);
            let largest = flat(&all[&name]).into_iter().fold(0.0, |a: f32, b| a.max(b.abs()));
            assert!(far <= step * largest, "{name}: {far} of {largest}");
        }
        let (mut config, gguf) = (checkpoint.config().clone(), Gguf::open(&file).unwrap());
        assert_eq!(gguf.name(), Some("test"));
        if let Some(tokenizer) = tokenizer {
            let again = Tokenizer::open(&file).unwrap();
            assert_eq!(again.digest().unwrap(), tokenizer.digest().unwrap());
            assert_eq!(gguf.chat_template(), Some("template"));
        } else {
            assert!(Tokenizer::find(&file).unwrap().is_none() && Tokenizer::open(&file).is_err());
        }
        (config.eos_token_id, config.pad_token_id) = (original.eos_token_id.clone(), original.pad_token_id);
        assert_eq!(config, original);
    }
}

#[test]
fn rows_that_are_not_whole_blocks_fall_back_and_say_so() {
    let (_dir, file, written) = written("tied", Quality::Q4K, None); // rows of 64, 128 and 160
    let gguf = Gguf::open(&file).unwrap();
    let kinds: BTreeMap<&str, usize> = written.iter().fold(BTreeMap::new(), |mut all, w| {
        *all.entry(w.kind).or_default() += w.tensors;
        all
    });
    assert_eq!(kinds, BTreeMap::from([("F32", 13), ("Q8_0", 22)]), "{written:?}");
    assert!(written.iter().any(|w| w.why == "rows of 64 are not whole blocks of 256 for Q4_K"), "{written:?}");
    assert_eq!(gguf.kind("model.layers.0.mlp.down_proj.weight").unwrap().name, "Q8_0");
    let config = Config { hidden_size: 272, intermediate_size: 512, ..Config::small(8, 256, 1, 2) };
    let contents = Contents { name: "", config: &config, tokenizer: None, chat_template: None, quality: Quality::Q4K };
    let dir = tempfile::tempdir().unwrap();
    let zeros = &mut |_: &str, shape: &[usize]| Ok(Tensor::zeros(shape, DType::F32, &candle_core::Device::Cpu)?);
    write(&dir.path().join("m.gguf"), &contents, zeros).unwrap();
    let gguf = Gguf::open(&dir.path().join("m.gguf")).unwrap();
    let kind = |name: &str| gguf.kind(&format!("model.layers.0.{name}.weight")).unwrap().name;
    assert_eq!([kind("mlp.down_proj"), kind("self_attn.q_proj"), kind("input_layernorm")], ["Q4_K", "F16", "F32"]);
}

#[test]
fn the_head_of_a_q4_file_is_q6() {
    let config = Config::small(16, 256, 1, 2);
    let contents = Contents { name: "", config: &config, tokenizer: None, chat_template: None, quality: Quality::Q4K };
    let dir = tempfile::tempdir().unwrap();
    let wave = &mut |_: &str, shape: &[usize]| {
        let n = shape.iter().product::<usize>();
        Ok(Tensor::from_vec((0..n).map(|i| (i as f32).sin()).collect(), shape, &candle_core::Device::Cpu)?)
    };
    let written = write(&dir.path().join("m.gguf"), &contents, wave).unwrap();
    let kinds: Vec<_> = written.iter().map(|w| (w.kind, w.tensors, w.why.as_str())).collect();
    assert_eq!(kinds, [("F32", 5, "norms"), ("Q4_K", 7, "matrices"), ("Q6_K", 1, "the head")]);
    CausalLm::load(&dir.path().join("m.gguf"), Precision::Stored, &Device::Cpu).unwrap();
}

/// The tiny file with `from` replaced by `to` (of the same length) wherever it stands.
fn edited(from: &[u8], to: &[u8]) -> Result<(), String> {
    edited_of(&tiny(), from, to)
}

fn edited_of(whole: &std::path::Path, from: &[u8], to: &[u8]) -> Result<(), String> {
    let mut bytes = std::fs::read(whole).unwrap();
    assert_eq!(from.len(), to.len());
    let places: Vec<usize> =
        bytes.windows(from.len()).enumerate().filter(|(_, w)| *w == from).map(|(i, _)| i).collect();
    assert!(!places.is_empty());
    places.into_iter().for_each(|at| bytes[at..at + to.len()].copy_from_slice(to));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("edited.gguf");
    std::fs::write(&file, bytes).unwrap();
    let opened = Gguf::open(&file).and_then(|gguf| {
        Tokenizer::find(&file)?;
        gguf.config().tensors().into_iter().try_for_each(|(n, s)| gguf.tensor(&n, &s).map(drop))
    });
    opened.map_err(|e| {
        assert_eq!(e.exit_code(), 2, "{e}");
        assert!(e.to_string().contains("edited.gguf"), "{e}");
        e.to_string()
    })
}

#[test]
fn another_model_or_a_broken_one_is_refused_by_name() {
    let says = |from: &str, to: &str, wanted: &str| {
        let error = edited(from.as_bytes(), to.as_bytes()).unwrap_err();
        assert!(error.contains(wanted), "{error}, expected {wanted}");
    };
    edited(b"tiny", b"TINY").unwrap();
    says(
        "\x05\0\0\0\0\0\0\0qwen3",
        "\x05\0\0\0\0\0\0\0gemma",
        "`general.architecture` is `gemma`, expected one of the architectures that dxlab computes: llama, qwen2, qwen3",
    );
    says("blk.1.ffn_up.weight", "blk.1.ffn_uq.weight", "`blk.1.ffn_up.weight` [64, 256] is missing");
    says("blk.1.attn_k.weight", "blk.2.attn_k.weight", "`blk.1.attn_k.weight` [32, 256] is missing");
    says("qwen3.block_count", "qwen3.blocc_count", "`qwen3.block_count` is missing");
    says("\x04\0\0\0\0\0\0\0gpt2", "\x04\0\0\0\0\0\0\0bert", "`tokenizer.ggml.model` is `bert`, expected `gpt2`");
    says("\u{120}n o", "\u{120}n q", "merge `\u{120}n q`"); // a merge into a word that is not there
    says("<|image_pad|>", "<|video_pad|>", "listed twice");
}

/// A file with one more entry of metadata, of a number of 32 bits; another one keeps the alignment of what follows.
fn with_entry(whole: &std::path::Path, key: &str, value: u32) -> (tempfile::TempDir, PathBuf) {
    let text = |t: &str| [&(t.len() as u64).to_le_bytes()[..], t.as_bytes()].concat();
    let mut added = [&text(key)[..], &4u32.to_le_bytes(), &value.to_le_bytes()].concat();
    let beside = [&text("beside")[..], &8u32.to_le_bytes()].concat();
    let padding = (added.len() + beside.len() + 8).next_multiple_of(32) - (added.len() + beside.len() + 8);
    added.extend([beside, text(&"x".repeat(padding))].concat());
    let mut bytes = std::fs::read(whole).unwrap();
    let entries = u64::from_le_bytes(bytes[16..24].try_into().unwrap());
    bytes[16..24].copy_from_slice(&(entries + 2).to_le_bytes());
    bytes.splice(24..24, added);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("m.gguf");
    std::fs::write(&file, bytes).unwrap();
    (dir, file)
}

#[test]
fn a_part_of_a_split_file_and_types_that_are_not_computed_are_named() {
    let (_dir, file) = with_entry(&tiny(), "split.count", 2);
    let error = Gguf::open(&file).unwrap_err();
    assert!(error.exit_code() == 2 && error.to_string().contains("m.gguf: this is part 1 of 2"), "{error}");
    let (_dir, file) = with_entry(&tiny(), "split.count", 1);
    Gguf::open(&file).unwrap();
    // the type of the embedding stands behind its two dimensions
    let (dims, embedding) = ([256u64, 320].map(u64::to_le_bytes).concat(), b"token_embd.weight\x02\0\0\0");
    let described = |kind: u32| [&embedding[..], &dims, &kind.to_le_bytes()].concat();
    let error = edited(&described(8), &described(20)).unwrap_err();
    assert!(error.contains("tensor `token_embd.weight`: IQ4_NL is not supported; dxlab reads F32"), "{error}");
    assert!(!error.contains("cut"), "{error}");
}

#[test]
fn a_llama_whose_metadata_lies_or_lacks_is_refused_by_name() {
    let llama = path("families/llama3.gguf");
    edited_of(&llama, b"general.name", b"general.nams").unwrap();
    let says = |from: &str, to: &str, wanted: &str| {
        let error = edited_of(&llama, from.as_bytes(), to.as_bytes()).unwrap_err();
        assert!(error.contains(wanted), "{error}, expected {wanted}");
    };
    says(
        "llama.attention.head_count_kv",
        "llama.attention.head_count_kx",
        "`llama.attention.head_count_kv` is 4, by default, and 4 heads of 16 are 64 rows, but `blk.0.attn_k.weight` has 32",
    );
    says("llama.rope.dimension_count", "llama.rope.dimension_counx", "4 heads of 8 are 32 rows");
    says("rope_freqs.weight", "rope_frexs.weight", "tensor `rope_frexs.weight` is not part of a llama");
    for (key, value, said) in [
        ("llama.attention.value_length", 8, "is 8, expected 16, the length of a key"),
        ("llama.rope.scaling.type", 1, "expected `none`, `linear` or `yarn`"),
        ("llama.rope.scaling.factor", 4, "stands beside another rotary scaling"),
    ] {
        let (_dir, file) = with_entry(&llama, key, value);
        let error = Gguf::open(&file).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains(said), "{key}: {error}");
    }
}

#[test]
fn a_bare_factor_means_linear_and_the_older_key_too() {
    for key in ["qwen3.rope.scaling.factor", "qwen3.rope.scale_linear"] {
        let (_dir, file) = with_entry(&tiny(), key, 4);
        let config = Gguf::open(&file).unwrap().config().clone();
        assert_eq!(
            config.rope,
            Rope { scaling: crate::model::Scaling::Linear { factor: 4.0 }, ..Rope::plain(1e5) },
            "{key}"
        );
    }
    let (_dir, file) = with_entry(&path("families/qwen2.gguf"), "qwen2.attention.sliding_window", 7);
    let config = Gguf::open(&file).unwrap().config().clone();
    assert!((0..3).all(|i| config.reach(i) == Some(7)));
    let (_dir, file) = with_entry(&path("families/llama3.gguf"), "llama.attention.sliding_window", 7);
    let config = Gguf::open(&file).unwrap().config().clone();
    assert_eq!((config.family.model_type(), config.reach(2)), ("mistral", Some(7)));
}

#[test]
fn nan_is_found_in_blocks_and_in_plain_numbers() {
    let gguf = Gguf::open(&tiny()).unwrap();
    for (name, theirs) in
        [("self_attn.q_proj", "attn_q"), ("mlp.down_proj", "ffn_down"), ("input_layernorm", "attn_norm")]
    {
        let (_, entry) = gguf.entry(&format!("model.layers.0.{name}.weight")).unwrap();
        let mut bytes = std::fs::read(tiny()).unwrap();
        let at = entry.offset as usize;
        bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
        bytes[at..at + 2].copy_from_slice(&[0, 0x7e]);
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("nan.gguf"), bytes).unwrap();
        let error = CausalLm::load(&dir.path().join("nan.gguf"), Precision::F32, &Device::Cpu).err().unwrap();
        assert!(error.to_string().contains(&format!("`blk.0.{theirs}.weight` holds NaN")), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
}

#[test]
fn a_cut_file_is_never_opened() {
    let whole = std::fs::read(tiny()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("cut.gguf");
    for keep in [0, 3, 4, 8, 23, 24, 100, 5000, whole.len() / 2, whole.len() - 33] {
        std::fs::write(&file, &whole[..keep]).unwrap();
        let error = Checkpoint::open(&file).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains("cut.gguf"), "{keep}: {error}");
    }
}

#[test]
fn a_failed_write_leaves_nothing() {
    let (dir, m) = (tempfile::tempdir().unwrap(), model("tied"));
    let contents =
        Contents { name: "", config: &m.config, tokenizer: None, chat_template: None, quality: Quality::F16 };
    let large =
        &mut |_: &str, shape: &[usize]| Ok((Tensor::ones(shape, DType::F32, &candle_core::Device::Cpu)? * 1e6)?);
    let error = write(&dir.path().join("m.gguf"), &contents, large).unwrap_err().to_string();
    assert!(error.contains("too large for F16") && error.contains("model.embed_tokens.weight"), "{error}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn rotary_keys_that_change_the_numbers_are_computed_or_refused() {
    for (key, value, said) in [
        ("qwen3.rope.scaling.yarn_log_multiplier", 2, "does not compute with"),
        ("qwen3.rope.scaling.yarn_ext_factor", 1, "does not compute with"),
        ("qwen3.rope.scaling.alpha", 2, "does not compute with"),
        ("qwen3.rope.scaling.attn_factor", 2, "only beside type `yarn`"),
    ] {
        let (_dir, file) = with_entry(&tiny(), key, value);
        let error = Gguf::open(&file).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains(said), "{error}");
        assert!(error.to_string().contains(key), "{error}");
    }
    let (_dir, file) = with_entry(&tiny(), "qwen3.rope.scaling.yarn_ext_factor", 0);
    assert!(Gguf::open(&file).is_ok(), "0 changes nothing");
}

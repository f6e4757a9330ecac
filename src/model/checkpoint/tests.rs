//! Checkpoint folders: read as candle reads them, written and read back, refused where they do not fit.
use super::*;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn copy(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(golden(name)).unwrap().map(|e| e.unwrap()) {
        std::fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    dir
}

fn read_all(checkpoint: &Checkpoint) -> Result<BTreeMap<String, Tensor>> {
    let wanted = checkpoint.config().tensors().into_iter();
    let all = wanted.map(|(name, shape)| Ok((name.clone(), checkpoint.tensor(&name, &shape)?))).collect();
    checkpoint.finish()?;
    all
}

fn values(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn single_and_sharded_checkpoints_are_read_as_candle_reads_them() {
    for (folder, files) in [
        ("tied", vec![SINGLE]),
        ("untied", vec!["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]),
    ] {
        let ours = read_all(&Checkpoint::open(&golden(folder)).unwrap()).unwrap();
        let mut theirs = BTreeMap::new();
        for file in files {
            theirs.extend(candle_core::safetensors::load(golden(folder).join(file), &Device::Cpu).unwrap());
        }
        assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
        for (name, t) in &ours {
            assert_eq!(t.dtype(), DType::F32);
            assert_eq!(values(t), values(&theirs[name].to_dtype(DType::F32).unwrap()), "{name}");
        }
    }
}

#[test]
fn what_is_saved_is_read_back() {
    let tensors = read_all(&Checkpoint::open(&golden("tied")).unwrap()).unwrap();
    for dtype in [DType::F32, DType::BF16] {
        let dir = tempfile::tempdir().unwrap();
        Config::read(&golden("tied")).unwrap().write(dir.path()).unwrap();
        Checkpoint::save(dir.path(), &tensors, dtype).unwrap();
        let again = read_all(&Checkpoint::open(dir.path()).unwrap()).unwrap();
        tensors.iter().for_each(|(name, t)| assert_eq!(values(t), values(&again[name]), "{name}"));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "config.json and model.safetensors only");
    }
}

#[test]
fn missing_misshapen_and_unexpected_tensors_are_named() {
    let checkpoint = Checkpoint::open(&golden("tied")).unwrap();
    let text = checkpoint.tensor("model.norm.bias", &[64]).unwrap_err().to_string();
    assert!(text.contains("model.norm.bias") && text.contains("missing"), "{text}");
    let text = checkpoint.tensor("model.norm.weight", &[65]).unwrap_err().to_string();
    assert!(text.contains("[64]") && text.contains("[65]") && text.contains(SINGLE), "{text}");
    checkpoint.tensor("model.norm.weight", &[64]).unwrap();
    let text = checkpoint.finish().unwrap_err().to_string();
    assert!(text.contains("model.embed_tokens.weight"), "the first tensor never asked for: {text}");
}

#[test]
fn a_bias_that_a_key_of_the_config_asks_for_is_named_with_the_key() {
    let dir = tempfile::tempdir().unwrap();
    for file in ["config.json", SINGLE] {
        std::fs::copy(golden("families/llama3").join(file), dir.path().join(file)).unwrap();
    }
    let path = dir.path().join("config.json");
    let whole: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    for key in ["mlp_bias", "attention_bias"] {
        let mut json = whole.clone();
        json[key] = true.into();
        std::fs::write(&path, json.to_string()).unwrap();
        let text = Checkpoint::open(dir.path()).unwrap().check().unwrap_err().to_string();
        assert!(text.contains(".bias` [") && text.contains(&format!("`{key}: true`")), "{text}");
    }
}

#[test]
fn a_tied_checkpoint_may_carry_its_head_only_if_equal() {
    let mut tensors = read_all(&Checkpoint::open(&golden("tied")).unwrap()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    Config::read(&golden("tied")).unwrap().write(dir.path()).unwrap();
    let embedding = tensors["model.embed_tokens.weight"].clone();
    tensors.insert(HEAD.into(), embedding.clone());
    Checkpoint::save(dir.path(), &tensors, DType::F32).unwrap();
    read_all(&Checkpoint::open(dir.path()).unwrap()).unwrap();
    tensors.insert(HEAD.into(), (embedding * 2.0).unwrap());
    Checkpoint::save(dir.path(), &tensors, DType::F32).unwrap();
    let text = read_all(&Checkpoint::open(dir.path()).unwrap()).unwrap_err().to_string();
    assert!(text.contains("tie_word_embeddings"), "{text}");
}

#[test]
fn numbers_that_are_none_are_refused_by_the_name_of_their_tensor() {
    let mut tensors = read_all(&Checkpoint::open(&golden("untied")).unwrap()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    Config::read(&golden("untied")).unwrap().write(dir.path()).unwrap();
    let name = "model.layers.1.mlp.up_proj.weight";
    for (wrong, dtype) in [(f32::NAN, DType::F32), (f32::INFINITY, DType::BF16), (f32::NAN, DType::F16)] {
        let mut values = values(&tensors[name]);
        values[77] = wrong;
        tensors.insert(name.into(), Tensor::from_vec(values, tensors[name].shape(), &Device::Cpu).unwrap());
        Checkpoint::save(dir.path(), &tensors, dtype).unwrap();
        let error = Checkpoint::open(dir.path()).unwrap().tensor(name, &[128, 64]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains(&format!("`{name}` holds {wrong} at number 77")), "{error}");
    }
}

#[test]
fn a_checkpoint_is_checked_without_reading_it() {
    let dir = copy("tied");
    Checkpoint::open(dir.path()).unwrap().check().unwrap();
    Config { num_hidden_layers: 2, ..Config::read(dir.path()).unwrap() }.write(dir.path()).unwrap();
    let text = Checkpoint::open(dir.path()).unwrap().check().unwrap_err().to_string();
    assert!(text.contains("model.layers.2."), "one layer too many: {text}");
}

#[test]
fn a_cut_file_is_never_opened() {
    let dir = copy("tied");
    let path = dir.path().join(SINGLE);
    let whole = std::fs::read(&path).unwrap();
    for keep in [0, 4, 8, 100, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..keep]).unwrap();
        let error = Checkpoint::open(dir.path()).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains(SINGLE), "{keep}: {error}");
    }
    std::fs::write(&path, [&whole[..], b"x"].concat()).unwrap();
    assert!(Checkpoint::open(dir.path()).is_err(), "bytes too many");
}

#[test]
fn hostile_headers_are_errors() {
    let dir = copy("tied");
    let write = |length: u64, json: &str, data: usize| {
        let bytes = [&length.to_le_bytes()[..], json.as_bytes(), &vec![0; data]].concat();
        std::fs::write(dir.path().join(SINGLE), bytes).unwrap();
        let error = Checkpoint::open(dir.path()).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{json}");
    };
    write(u64::MAX, "{}", 0);
    write(1 << 40, "{}", 0);
    for json in [
        "not json",
        r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,8]}}"#,
        r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}"#,
        r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,18446744073709551615]}}"#,
        r#"{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}}"#,
        r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#,
    ] {
        write(json.len() as u64, json, 8);
    }
}

#[test]
fn an_index_that_does_not_fit_its_shards_is_refused() {
    let dir = copy("untied");
    let path = dir.path().join(INDEX);
    let text = std::fs::read_to_string(&path).unwrap();
    let refused = |index: String, wanted: &str| {
        std::fs::write(&path, index).unwrap();
        let error = Checkpoint::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    };
    refused(text.replace("model.norm.weight", "model.norm.other"), "model.norm.weight");
    refused(text.replacen("\"model-00001-of-00002.safetensors\"", "\"../up.safetensors\"", 1), "../up.safetensors");
    refused(text.replace("{", "["), INDEX);
    std::fs::write(&path, &text).unwrap();
    std::fs::remove_file(dir.path().join("model-00002-of-00002.safetensors")).unwrap();
    assert!(Checkpoint::open(dir.path()).unwrap_err().to_string().contains("model-00002-of-00002"));
}

#[test]
fn the_digest_follows_weights_and_config() {
    let dir = copy("tied");
    let digest = || Checkpoint::open(dir.path()).unwrap().digest().unwrap();
    let first = digest();
    assert_eq!((first.len(), &first), (64, &Checkpoint::open(&golden("tied")).unwrap().digest().unwrap()));
    let path = dir.path().join(SINGLE);
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let second = digest();
    let config = std::fs::read_to_string(dir.path().join("config.json")).unwrap();
    std::fs::write(dir.path().join("config.json"), config.replace("512", "513")).unwrap();
    assert!(first != second && second != digest());
}

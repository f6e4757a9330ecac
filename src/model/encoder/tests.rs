//! Encoders against transformers (golden values, `tests/reference/encoder.py`) and candle-transformers.
use super::*;
use crate::model::golden::{distance, json, numbers, path};
use crate::model::tensors;
use candle_core::{DType, Device, Var};
use std::collections::BTreeMap;

const FAMILIES: [&str; 3] = ["bert", "roberta", "modernbert"];

struct Golden {
    tensors: BTreeMap<String, Tensor>,
    ids: [Vec<u32>; 2],
    labels: [Vec<Option<u32>>; 2],
}

impl Golden {
    fn of(family: &str) -> Self {
        let tensors = tensors::read(&path(&format!("encoder/{family}/golden.safetensors"))).unwrap();
        let whole = |name: String| tensors[&name].to_vec1::<i64>().unwrap();
        let ids = [0, 1].map(|i| whole(format!("ids.{i}")).into_iter().map(|id| id as u32).collect());
        let labels =
            [0, 1].map(|i| whole(format!("labels.{i}")).into_iter().map(|label| u32::try_from(label).ok()).collect());
        Self { tensors, ids, labels }
    }

    /// Both sequences, packed.
    fn packed(&self) -> (Vec<u32>, Segments, Vec<Option<u32>>) {
        (self.ids.concat(), Segments::of_lengths(self.ids.iter().map(Vec::len)), self.labels.concat())
    }

    fn both(&self, name: &str) -> Tensor {
        Tensor::cat(&[0, 1].map(|i| self.tensors[&format!("{name}.{i}")].clone()), 0).unwrap()
    }
}

/// A folder with a golden model and a tokenizer, which its own has not.
fn with_tokenizer(family: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let from = path(&format!("encoder/{family}"));
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(from.join(name), dir.path().join(name)).unwrap();
    }
    let small = r###"{"version": "1.0", "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100, "vocab": {"[UNK]": 0, "a": 1}}}"###;
    std::fs::write(dir.path().join("tokenizer.json"), small).unwrap();
    dir
}

/// A golden classifier in `dtype`, whose every tensor is a variable. In f64 the operations' twins run.
fn classifier(family: &str, dtype: DType) -> (TokenClassifier, BTreeMap<String, Var>) {
    let dir = with_tokenizer(family);
    let config = EncoderConfig::read(dir.path()).unwrap();
    let bio = Bio::of_labels(&config.labels).unwrap();
    let all = tensors::read(&dir.path().join("model.safetensors")).unwrap();
    let tokenizer = EncoderTokenizer::open(dir.path()).unwrap();
    TokenClassifier::learning(config, bio, tokenizer, &mut |name, _| Ok(all[name].to_dtype(dtype)?)).unwrap()
}

/// f64 shows that the formulas are transformers' (whose rotary tables are f32), f32 that ours are as exact as f32 allows: transformers' own
/// f32 is up to 9e-6 away from its f64 here.
const EXACTNESS: [(DType, f32); 2] = [(DType::F64, 5e-6), (DType::F32, 5e-5)];

#[test]
fn hidden_states_and_logits_agree_with_transformers_alone_and_packed() {
    for family in FAMILIES {
        let golden = Golden::of(family);
        let (ids, segments, _) = golden.packed();
        for (dtype, most) in EXACTNESS {
            let far = distance(&classifier(family, dtype).0.logits(&ids, &segments).unwrap(), &golden.both("logits"));
            assert!(far < most, "{family}, packed, {dtype:?}: {far}");
        }
        let encoder = Encoder::open(with_tokenizer(family).path()).unwrap();
        let far = distance(&encoder.hidden(&ids, &segments).unwrap(), &golden.both("hidden"));
        assert!(far < 5e-5, "{family}, packed: {far}");
        for (i, ids) in golden.ids.iter().enumerate() {
            let hidden = encoder.hidden(ids, &Segments::of_lengths([ids.len()])).unwrap();
            let far = distance(&hidden, &golden.tensors[&format!("hidden.{i}")]);
            assert!(far < 5e-5, "{family}, sequence {i}: {far}");
        }
    }
}

#[test]
fn the_loss_and_the_gradient_of_every_tensor_agree_with_pytorch() {
    for (family, (dtype, most)) in FAMILIES.into_iter().flat_map(|f| EXACTNESS.map(|e| (f, e))) {
        let golden = Golden::of(family);
        let (classifier, parameters) = classifier(family, dtype);
        let (ids, segments, labels) = golden.packed();
        let logits = classifier.logits(&ids, &segments).unwrap();
        let near = |loss: &Tensor, name: &str| {
            let far = distance(loss, &golden.tensors[name].squeeze(0).unwrap());
            assert!(far < most, "{family}, {name}, {dtype:?}: {far}");
        };
        let loss = cross_entropy(&logits, &labels, None).unwrap();
        near(&loss, "loss");
        let weights: Vec<f32> = (1..=classifier.bio.len()).map(|w| w as f32).collect();
        near(&cross_entropy(&logits, &labels, Some(&weights)).unwrap(), "loss.weighted");
        let grads = loss.backward().unwrap();
        let wanted: Vec<&String> = golden.tensors.keys().filter(|name| name.starts_with("grad.")).collect();
        assert_eq!(wanted.len(), parameters.len(), "{family}");
        for name in wanted {
            let var = &parameters[name.trim_start_matches("grad.")];
            let got = grads.get(var).unwrap_or_else(|| panic!("{family}: no {name}"));
            let far = distance(got, &golden.tensors[name]);
            assert!(far < most, "{family}: {name} differs by {far} in {dtype:?}");
        }
    }
}

#[test]
fn hidden_states_agree_with_candle_transformers() {
    use candle_transformers::models::bert;
    let folder = path("encoder/embedder");
    let text = std::fs::read_to_string(folder.join("config.json")).unwrap();
    let config: bert::Config = serde_json::from_str(&text).unwrap();
    let all = tensors::read(&folder.join("model.safetensors")).unwrap().into_iter().collect();
    let theirs =
        bert::BertModel::load(candle_nn::VarBuilder::from_tensors(all, DType::F32, &Device::Cpu), &config).unwrap();
    let ids: Vec<u32> = (3..23).collect();
    let batch = Tensor::new(&ids[..], &Device::Cpu).unwrap().unsqueeze(0).unwrap();
    let want = theirs.forward(&batch, &batch.zeros_like().unwrap(), None).unwrap().squeeze(0).unwrap();
    let got = Encoder::open(&folder).unwrap().hidden(&ids, &Segments::of_lengths([ids.len()])).unwrap();
    assert!(distance(&got, &want) < 1e-5, "{}", distance(&got, &want));
}

#[test]
fn a_detached_classifier_sees_what_training_changes_and_records_nothing() {
    let (classifier, parameters) = TokenClassifier::open_to_train(with_tokenizer("roberta").path()).unwrap();
    let frozen = classifier.detached().unwrap();
    let one = Segments::of_lengths([3]);
    let before = frozen.logits(&[5, 6, 7], &one).unwrap();
    assert!(!before.track_op() && classifier.logits(&[5, 6, 7], &one).unwrap().track_op());
    let bias: &Var = &parameters["classifier.bias"];
    bias.set(&(bias.as_tensor() + 1.0).unwrap().detach()).unwrap();
    let after = frozen.logits(&[5, 6, 7], &one).unwrap();
    assert!(distance(&(before + 1.0).unwrap(), &after) < 1e-6);
}

#[test]
fn embeddings_agree_with_transformers_whatever_they_share_a_batch_with() {
    let embedder = Embedder::open(&path("encoder/embedder")).unwrap();
    let golden = json("encoder/embedder/golden.json");
    let texts: Vec<&str> = golden.as_array().unwrap().iter().map(|case| case["text"].as_str().unwrap()).collect();
    let together = embedder.embed(&texts).unwrap();
    for (i, case) in golden.as_array().unwrap().iter().enumerate() {
        let want = numbers(&case["embedding"]);
        assert_eq!((embedder.size(), together[i].len()), (want.len(), want.len()));
        for got in [&together[i], &embedder.embed(&texts[i..=i]).unwrap()[0]] {
            let far = got.iter().zip(&want).map(|(g, w)| (*g as f64 - w).abs()).fold(0.0, f64::max);
            assert!(far < 1e-5, "{:?} differs by {far}", texts[i]);
        }
    }
    assert!(embedder.embed(&[]).unwrap().is_empty());
}

#[test]
fn minilm_gives_the_embeddings_of_sentence_transformers() {
    let folder = crate::home().join(".tools/models/minilm");
    if !folder.join("model.safetensors").is_file() {
        println!("skipped: all-MiniLM-L6-v2 is not installed in {}", folder.display());
        return;
    }
    let embedder = Embedder::open(&folder).unwrap();
    let golden = json("encoder/minilm.json");
    let texts: Vec<&str> = golden.as_array().unwrap().iter().map(|case| case["text"].as_str().unwrap()).collect();
    for (case, got) in golden.as_array().unwrap().iter().zip(embedder.embed(&texts).unwrap()) {
        let pairs = got.iter().zip(numbers(&case["embedding"]));
        let far = pairs.map(|(g, w)| (*g as f64 - w).abs()).fold(0.0, f64::max);
        assert!(far < 1e-5, "{} differs by {far}", case["text"]);
    }
}

#[test]
fn tokens_stand_where_the_reference_tokenizers_have_them() {
    for (folder, file) in [("encoder/embedder", "golden.json"), ("encoder/roberta", "tokens.json")] {
        let tokenizer = EncoderTokenizer::open(&path(folder)).unwrap();
        for case in json(&format!("{folder}/{file}")).as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            let pieces = tokenizer.pieces(text).unwrap();
            let ids: Vec<u32> = numbers(&case["ids"]).into_iter().map(|id| id as u32).collect();
            assert_eq!(tokenizer.framed(&pieces.ids), ids, "{text:?}: neither cut nor filled up");
            let words: Vec<Option<u64>> = case["words"].as_array().unwrap().iter().map(|w| w.as_u64()).collect();
            for (i, place) in pieces.places.iter().enumerate() {
                let at = i + tokenizer.before();
                let want = numbers(&case["offsets"][at]);
                assert_eq!([place.start, place.end], [want[0] as usize, want[1] as usize], "{text:?}, token {i}");
                assert_eq!(pieces.begins[i], i == 0 || words[at] != words[at - 1], "{text:?}, token {i}");
            }
        }
    }
}

#[test]
fn control_tokens_in_text_are_text() {
    for (folder, control) in [("encoder/embedder", "[SEP]"), ("encoder/roberta", "</s>")] {
        let tokenizer = EncoderTokenizer::open(&path(folder)).unwrap();
        let pieces = tokenizer.pieces(&format!("a {control} b")).unwrap();
        let frame = tokenizer.framed(&[]);
        assert_eq!(frame.len(), 2);
        assert!(pieces.ids.iter().all(|id| !frame.contains(id)), "{:?}", pieces.ids);
    }
}

#[test]
fn a_long_text_is_read_in_windows_and_every_label_comes_from_its_best_one() {
    let bio = Bio::new(["disease"]).unwrap();
    let (model, _) = TokenClassifier::start(&path("encoder/embedder"), bio, 1).unwrap();
    let mut model = model.detached().unwrap();
    model.windows = Windows { most: 9, overlap: 4 };
    let text = "the left kidney shows a renal cyst of 14 mm , fever and a normal liver ; ".repeat(3);
    let pieces = model.pieces(&text).unwrap();
    let windows = model.windows.over(pieces.ids.len());
    let owners = Windows::owners(&windows);
    let tokenizer = EncoderTokenizer::open(&path("encoder/embedder")).unwrap();
    let labels: Vec<u32> = (0..pieces.ids.len())
        .map(|token| {
            let window = windows[owners[token]].clone();
            let ids = tokenizer.framed(&pieces.ids[window.clone()]);
            let logits = model.logits(&ids, &Segments::of_lengths([ids.len()])).unwrap();
            logits.get(token - window.start + 1).unwrap().argmax(0).unwrap().to_scalar().unwrap()
        })
        .collect();
    let want = model.bio.spans(&pieces, &labels, model.marked);
    assert!(!want.is_empty(), "a fresh head says something somewhere");
    assert_eq!(model.spans(&[&text, "", &text]).unwrap(), [want.clone(), vec![], want]);
    let gold = [Span { start: 24, end: 34, class: 0 }];
    let (tagged, lost) = model.tag(&text, &gold).unwrap();
    assert!(lost.is_empty() && tagged.len() == windows.len());
    assert!(tagged.iter().all(|t| t.ids.len() <= 11 && t.ids.len() == t.labels.len()));
    assert!(tagged.iter().all(|t| t.labels[0].is_none() && t.labels[t.labels.len() - 1].is_none()));
}

#[test]
fn nearest_takes_the_earlier_of_two_alike() {
    let documents = [vec![0.0, 1.0], vec![3.0, 3.0], vec![1.0, 1.0], vec![-1.0, -1.0], vec![0.0, 0.0]];
    let order: Vec<usize> = nearest(&[2.0, 2.0], &documents, 9).into_iter().map(|(i, _)| i).collect();
    assert_eq!(order, [1, 2, 0, 4, 3]);
    assert_eq!(nearest(&[2.0, 2.0], &documents, 1).len(), 1);
    assert!((cosine(&[1.0, 0.0], &[1.0, 1.0]) - 0.5f32.sqrt()).abs() < 1e-6);
}

/// What opening a copy of a golden folder says when its config or a tensor has been changed.
fn broken(family: &str, change: impl Fn(&mut serde_json::Value, &mut BTreeMap<String, Tensor>)) -> String {
    let dir = with_tokenizer(family);
    let file = dir.path().join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let weights = dir.path().join("model.safetensors");
    let mut all = tensors::read(&weights).unwrap();
    change(&mut config, &mut all);
    std::fs::write(&file, config.to_string()).unwrap();
    tensors::write(&weights, &all, DType::F32).unwrap();
    let error = TokenClassifier::open(dir.path()).err().unwrap();
    assert_eq!(error.exit_code(), 2, "{error}");
    error.to_string()
}

#[test]
fn a_folder_that_is_no_encoder_is_refused_with_its_reason() {
    let config = |key: &str, value: serde_json::Value| broken("bert", |config, _| config[key] = value.clone());
    for (key, value) in [
        ("model_type", "qwen3".into()),
        ("hidden_act", "relu".into()),
        ("position_embedding_type", "relative_key".into()),
        ("num_attention_heads", 5.into()),
        ("vocab_size", 0.into()),
        ("quantization_config", serde_json::json!({"bits": 4})),
        ("id2label", serde_json::json!({"0": "O", "1": "LABEL_1"})),
    ] {
        let message = config(key, value);
        assert!(message.contains("config.json") && message.contains(key), "{key}: {message}");
    }
    assert!(config("layer_norm_eps", serde_json::Value::Null).contains("`layer_norm_eps` is missing"));
    assert!(broken("modernbert", |c, _| c["layer_types"] = serde_json::json!(["full_attention"])).contains("3 times"));
    let missing = broken("bert", |_, t| drop(t.remove("bert.encoder.layer.1.output.dense.bias")));
    assert!(missing.contains("`bert.encoder.layer.1.output.dense.bias` [12] is missing"), "{missing}");
    let unknown = broken("bert", |_, t| {
        let copy = t["classifier.bias"].clone();
        t.insert("bert.encoder.layer.2.output.dense.bias".into(), copy);
    });
    assert!(unknown.contains("`encoder.layer.2.output.dense.bias` is not part"), "{unknown}");
    let shape = broken("roberta", |c, _| c["intermediate_size"] = 17.into());
    assert!(shape.contains("[16, 12]") && shape.contains("[17, 12]"), "{shape}");
    let damaged = broken("modernbert", |_, t| {
        let nan = Tensor::full(f32::NAN, 12, &Device::Cpu).unwrap();
        t.insert("model.final_norm.weight".into(), nan);
    });
    assert!(damaged.contains("`model.final_norm.weight` holds NaN at number 0"), "{damaged}");
}

#[test]
fn an_embedder_wants_a_bert_that_takes_the_mean() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |dir: &std::path::Path| {
        let error = Embedder::open(dir).err().unwrap();
        assert_eq!(error.exit_code(), 2, "{error}");
        error.to_string()
    };
    assert!(refused(dir.path()).contains("config.json"));
    assert!(refused(&path("tied")).contains("`model_type`"), "a decoder");
    assert!(refused(&path("encoder/roberta")).contains("`bert`"));
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        std::fs::copy(path("encoder/embedder").join(name), dir.path().join(name)).unwrap();
    }
    assert!(Embedder::open(dir.path()).is_ok(), "256 tokens and the mean are what is meant where nothing is said");
    std::fs::create_dir(dir.path().join("1_Pooling")).unwrap();
    let cls = r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}"#;
    std::fs::write(dir.path().join("1_Pooling/config.json"), cls).unwrap();
    assert!(refused(dir.path()).contains("pooling_mode_cls_token"));
    std::fs::remove_file(dir.path().join("1_Pooling/config.json")).unwrap();
    std::fs::write(dir.path().join("sentence_bert_config.json"), r#"{"max_seq_length": 2}"#).unwrap();
    assert!(refused(dir.path()).contains("no room for text among 2 tokens"));
}

#[test]
fn sequences_that_an_encoder_cannot_read_are_named() {
    let encoder = Encoder::open(&path("encoder/roberta")).unwrap();
    assert_eq!((encoder.config.max_position_embeddings, encoder.config.positions()), (26, 24));
    let error = |ids: &[u32]| encoder.hidden(ids, &Segments::of_lengths([ids.len()])).unwrap_err().to_string();
    assert!(error(&[7; 25]).contains("longer than the encoder's 24 positions"));
    assert!(encoder.hidden(&[7; 24], &Segments::of_lengths([24])).is_ok());
    assert!(error(&[300]).contains("token id 300 lies outside the encoder's vocabulary of 300"));
    assert!(error(&[]).contains("empty sequence"));
}

#[test]
fn labels_that_do_not_fit_the_logits_are_named() {
    let logits = Tensor::zeros((2, 3), DType::F32, &Device::Cpu).unwrap();
    let error = |labels: &[Option<u32>], weights: Option<&[f32]>| {
        cross_entropy(&logits, labels, weights).unwrap_err().to_string()
    };
    assert!(error(&[None, None], None).contains("no token carries a label"));
    assert!(error(&[Some(3), None], None).contains("label 3 is not one of the classifier's 3"));
    assert!(error(&[Some(1), None], Some(&[1.0])).contains("expected 3 numbers"));
    assert!(error(&[Some(1), None], Some(&[1.0, 0.0, 1.0])).contains("class weight 0"));
    let loss = cross_entropy(&logits, &[Some(1), None], None).unwrap().to_scalar::<f32>().unwrap();
    assert!((loss - 3f32.ln()).abs() < 1e-6);
}

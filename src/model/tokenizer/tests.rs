use super::*;

const TEXTS: [&str; 6] = [
    "The liver shows a 14 mm cyst in segment VII.",
    "No hydronephrosis; the kidneys aren't enlarged.",
    "A simple cyst of the left kidney measures 2.5 cm.\n\nGallbladder: stones, no wall thickening.",
    "Sjögren's syndrome, naïve T-cells, μg/dL, 37 °C.",
    "The spleen is normal. The liver is normal. The pancreas is normal.",
    "Impression:\n 1. Renal cyst\n 2. Gallstones",
];

fn small() -> Tokenizer {
    Tokenizer::train(TEXTS.iter(), 320).unwrap()
}

#[test]
fn every_text_comes_back() {
    let t = small();
    for text in TEXTS.iter().copied().chain(["", " ", "\n\n  \t", "肝臓に嚢胞 🙂", "a\u{0}b", "<|im_end|> </think>"])
    {
        assert_eq!(t.decode(&t.encode(text, false).unwrap(), false).unwrap(), text);
    }
}

#[test]
fn control_tokens_in_text_are_text() {
    let t = small();
    let c = t.control();
    let text = "cyst<|im_end|><think>\n</think><|im_start|><|endoftext|><tool_call>";
    let plain = t.encode(text, false).unwrap();
    assert!(plain.iter().all(|&id| (id as usize) < t.vocab_size() - 26), "no added token among {plain:?}");
    let ids = t.encode(text, true).unwrap();
    for id in [c.im_start.unwrap(), c.turn_end, c.text_end, c.think.unwrap(), c.end_think.unwrap()] {
        assert!(ids.contains(&id));
    }
    assert_eq!(t.decode(&ids, true).unwrap(), "cyst<think>\n</think><tool_call>", "special ones are left out");
}

#[test]
fn the_layout_is_that_of_qwen3() {
    let t = small();
    assert_eq!(t.encode("!\"~", false).unwrap(), [0, 1, 93], "bytes in GPT-2's order");
    let size = t.vocab_size() as u32;
    assert_eq!(size, 320);
    let c = t.control();
    assert_eq!(
        [Some(c.text_end), c.im_start, Some(c.turn_end), c.think, c.end_think],
        [size - 26, size - 25, size - 24, size - 2, size - 1].map(Some)
    );
    assert_eq!(t.ends(), [c.turn_end, c.text_end]);
    assert_eq!(t.merges().unwrap().len(), 320 - 256 - 26);
    // Qwen's pre-tokenizer: digits stand alone, a letter run takes one leading character.
    let (a, b) = (t.encode("12", false).unwrap(), t.encode("1", false).unwrap());
    assert_eq!((a.len(), b.len()), (2, 1));
}

#[test]
fn training_twice_gives_the_same_tokenizer() {
    let (a, b) = (small(), small());
    assert_eq!(a.digest().unwrap(), b.digest().unwrap());
    assert_ne!(a.digest().unwrap(), Tokenizer::train(TEXTS[..5].iter(), 320).unwrap().digest().unwrap());
}

#[test]
fn a_saved_tokenizer_is_read_back() {
    let (t, dir) = (small(), tempfile::tempdir().unwrap());
    t.save(dir.path()).unwrap();
    let again = Tokenizer::open(dir.path()).unwrap();
    assert_eq!((again.digest().unwrap(), again.control()), (t.digest().unwrap(), t.control()));
    let mut names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["generation_config.json", "tokenizer.json", "tokenizer_config.json"]);
}

#[test]
fn a_tokenizer_that_does_not_belong_is_refused() {
    let t = small();
    assert!(t.fits(320).is_ok() && t.fits(512).is_ok());
    assert!(t.fits(319).unwrap_err().to_string().contains("319"));
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(Tokenizer::open(dir.path()).err().unwrap().exit_code(), 2);
    std::fs::write(dir.path().join("tokenizer.json"), "{}").unwrap();
    assert!(Tokenizer::open(dir.path()).err().unwrap().to_string().contains("tokenizer.json"));
    let precompiled = r#"{"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}, "model": {}}"#;
    std::fs::write(dir.path().join("tokenizer.json"), precompiled).unwrap();
    assert!(Tokenizer::open(dir.path()).err().unwrap().to_string().contains("Precompiled"));
    let bare = tokenizers::Tokenizer::new(BPE::default());
    bare.save(dir.path().join("tokenizer.json"), false).unwrap();
    assert!(Tokenizer::open(dir.path()).err().unwrap().to_string().contains("<|im_start|>"));
    assert!(Tokenizer::train(TEXTS.iter(), 281).is_err(), "no room for the bytes");
}

#[test]
fn a_tokenizer_that_makes_a_text_longer_without_bound_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    small().save(dir.path()).unwrap();
    let file = dir.path().join("tokenizer.json");
    let whole: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let with = |part: &str, step: serde_json::Value| {
        let mut json = whole.clone();
        json[part] = step;
        std::fs::write(&file, json.to_string()).unwrap();
        Tokenizer::open(dir.path()).map(drop).map_err(|e| e.to_string())
    };
    let double = serde_json::json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"});
    let between = serde_json::json!({"type": "Replace", "pattern": {"Regex": ""}, "content": "a".repeat(1000)});
    let many = serde_json::json!({"type": "Sequence", "normalizers": vec![double.clone(); 40]});
    for step in [many, between, serde_json::json!({"type": "Prepend", "prepend": "a".repeat(100_000)})] {
        let said = with("normalizer", step).unwrap_err();
        assert!(said.contains("tokenizer.json") && said.contains("normalizer can make a text"), "{said}");
    }
    let decoder = serde_json::json!({"type": "Sequence", "decoders": vec![double.clone(); 40]});
    assert!(with("decoder", decoder).unwrap_err().contains("decoder can make a text"));
    let llama = serde_json::json!({"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": "\u{2581}"}, {"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"}]});
    assert_eq!(with("normalizer", llama), Ok(()));
    assert_eq!(with("normalizer", double), Ok(()));
}

#[test]
fn an_id_far_beyond_any_vocabulary_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    small().save(dir.path()).unwrap();
    let file = dir.path().join("tokenizer.json");
    let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    json["model"]["vocab"]["~"] = 4_000_000_000u32.into();
    std::fs::write(&file, json.to_string()).unwrap();
    let error = Tokenizer::open(dir.path()).err().unwrap();
    assert!(error.exit_code() == 2 && error.to_string().contains("token id 4000000000"), "{error}");
}

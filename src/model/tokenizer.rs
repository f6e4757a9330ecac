//! Text to token ids and back: Qwen3's byte-level BPE, from a folder's `tokenizer.json` or from `vocab.json` and `merges.txt`.
//!
//! Two encoders over one vocabulary: one that knows the control tokens and one that does not. Text that comes from a user or a corpus
//! goes through the second, so that `<|im_end|>` inside a finding is five characters of text and never the end of a turn.
use super::config::LARGEST_VOCABULARY;
use super::gguf::Gguf;
use super::vocabulary::Token;
use crate::error::{Error, Result};
use std::path::Path;
use tokenizers::models::bpe::BPE;
use tokenizers::{AddedVocabulary, ModelWrapper};

/// The control tokens of Qwen3's chat format, by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Control {
    pub im_start: u32,
    /// Ends a turn: the token that generation stops at.
    pub im_end: u32,
    /// Ends a document; also used as padding.
    pub endoftext: u32,
    pub think: u32,
    pub end_think: u32,
}

/// See the file's header.
#[derive(Clone)]
pub struct Tokenizer {
    full: tokenizers::Tokenizer,
    /// `full` without its added tokens.
    plain: tokenizers::Tokenizer,
    control: Control,
    vocab_size: usize,
}

impl Tokenizer {
    /// Reads `dir/tokenizer.json`, or else `dir/vocab.json` and `dir/merges.txt`; or the tokenizer of a GGUF file.
    pub fn open(dir: &Path) -> Result<Self> {
        if dir.is_file() {
            let none = || Error::input(format!("{}: the file holds no tokenizer", dir.display()));
            let full = Gguf::open(dir)?.tokenizer()?.ok_or_else(none)?;
            return Self::new(full).map_err(|e| Error::input(format!("{}: {e}", dir.display())));
        }
        let file = dir.join("tokenizer.json");
        if !file.is_file() && dir.join("vocab.json").is_file() {
            return Self::from_qwen_files(&dir.join("vocab.json"), &dir.join("merges.txt"));
        }
        let bytes = std::fs::read(&file).map_err(Error::io(&file))?;
        let bad = |e: String| Error::input(format!("{}: not a readable tokenizer: {e}", file.display()));
        // The library panics on broken JSON inside a decoder, and on this normaliser's tables if they are damaged.
        let parsed: serde_json::Value = serde_json::from_slice(&bytes).map_err(|e| bad(e.to_string()))?;
        if names_type(&parsed, "Precompiled") {
            return Err(bad("a `Precompiled` normaliser, which Qwen's tokenizer has not".into()));
        }
        let full = tokenizers::Tokenizer::from_bytes(bytes).map_err(|e| bad(e.to_string()))?;
        Self::new(full).map_err(|e| Error::input(format!("{}: {e}", file.display())))
    }

    /// As `open`; None where a folder or file has no tokenizer at all.
    pub fn find(model: &Path) -> Result<Option<Self>> {
        let there = match model.is_file() {
            true => Gguf::open(model)?.tokenizer()?.is_some(),
            false => ["tokenizer.json", "vocab.json"].iter().any(|file| model.join(file).is_file()),
        };
        there.then(|| Self::open(model)).transpose()
    }

    /// Qwen3's tokenizer from its two original files, with Qwen3's added tokens behind the vocabulary.
    pub fn from_qwen_files(vocab: &Path, merges: &Path) -> Result<Self> {
        let bad = |e| Error::input(format!("{}, {}: {e}", vocab.display(), merges.display()));
        for file in [vocab, merges] {
            std::fs::metadata(file).map_err(Error::io(file))?;
        }
        let model = BPE::from_file(&vocab.to_string_lossy(), &merges.to_string_lossy()).build().map_err(bad)?;
        Self::new(super::vocabulary::qwen(model)?)
    }

    /// Byte-level BPE trained on `texts`, laid out as Qwen3's: 256 bytes, merges, then Qwen3's added tokens; `vocab_size` counts all.
    /// The same texts give the same tokenizer. Few texts may not yield enough merges: ask `vocab_size()` what came out.
    pub fn train<S: AsRef<str> + Send>(texts: impl Iterator<Item = S> + Send, vocab_size: usize) -> Result<Self> {
        Self::new(super::vocabulary::train(texts, vocab_size)?)
    }

    fn new(mut full: tokenizers::Tokenizer) -> Result<Self> {
        full.with_padding(None);
        full.with_truncation(None).map_err(|e| Error::failed(e.to_string()))?;
        let mut plain = full.clone();
        plain.with_added_vocabulary(AddedVocabulary::new());
        let id = |token: &str| {
            full.token_to_id(token).ok_or_else(|| {
                Error::input(format!("token `{token}` is missing: dxlab's chat format is that of Qwen3"))
            })
        };
        let control = Control {
            im_start: id("<|im_start|>")?,
            im_end: id("<|im_end|>")?,
            endoftext: id("<|endoftext|>")?,
            think: id("<think>")?,
            end_think: id("</think>")?,
        };
        let vocab_size = full.get_vocab(true).into_values().max().map_or(0, |id| id as usize + 1);
        if vocab_size > LARGEST_VOCABULARY {
            let last = vocab_size - 1;
            return Err(Error::input(format!("token id {last}: expected ids below {LARGEST_VOCABULARY}")));
        }
        Ok(Self { full, plain, control, vocab_size })
    }

    /// Token ids of `text`. Control tokens written out in it count as such only if `allow_special`.
    pub fn encode(&self, text: &str, allow_special: bool) -> Result<Vec<u32>> {
        let tokenizer = if allow_special { &self.full } else { &self.plain };
        let encoding = tokenizer.encode_fast(text, false).map_err(|e| {
            Error::failed(format!("cannot tokenize {:?}: {e}", text.chars().take(60).collect::<String>()))
        })?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of `ids`; `skip_special` leaves out `<|im_end|>` and its like (but not `<think>`, as in Qwen3).
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        self.full
            .decode(ids, skip_special)
            .map_err(|e| Error::failed(format!("cannot decode {} tokens: {e}", ids.len())))
    }

    pub fn control(&self) -> Control {
        self.control
    }

    /// One more than the largest id.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Fails if a model with `model_vocab` rows of embedding cannot take every id. (Qwen3's own embedding has more rows than tokens.)
    pub fn fits(&self, model_vocab: usize) -> Result<()> {
        if self.vocab_size > model_vocab {
            return Err(Error::input(format!(
                "the tokenizer has {} tokens, the model's config.json vocab_size = {model_vocab}: they do not belong together",
                self.vocab_size
            )));
        }
        Ok(())
    }

    /// Writes `tokenizer.json`, `tokenizer_config.json` (with a chat template that renders what `prompt::chat` renders) and
    /// `generation_config.json`; transformers loads the folder.
    pub fn save(&self, dir: &Path) -> Result<()> {
        std::fs::create_dir_all(dir).map_err(Error::io(dir))?;
        for (name, text) in super::vocabulary::files(&self.full, &self.control)? {
            crate::io::write_beside(&dir.join(name), |path| std::fs::write(path, text).map_err(Error::io(path)))?;
        }
        Ok(())
    }

    /// SHA-256 of the tokenizer as `save` would write it, in hex.
    pub fn digest(&self) -> Result<String> {
        use sha2::{Digest, Sha256};
        let json = self.full.to_string(false).map_err(|e| Error::failed(format!("tokenizer.json: {e}")))?;
        Ok(Sha256::digest(json).iter().map(|b| format!("{b:02x}")).collect())
    }

    /// What stands behind every id of a model with `rows` rows of embedding; what a GGUF file wants.
    pub(super) fn tokens(&self, rows: usize) -> Result<Vec<Token>> {
        self.fits(rows)?;
        Ok(super::vocabulary::tokens(&self.full, rows))
    }

    /// The BPE merges, first learnt first; what a GGUF file wants.
    pub fn merges(&self) -> Result<Vec<String>> {
        let ModelWrapper::BPE(model) = self.full.get_model() else {
            return Err(Error::input("the tokenizer is not a BPE: dxlab wants Qwen3's kind"));
        };
        let json = serde_json::to_value(model).map_err(|e| Error::failed(e.to_string()))?;
        let pair = |m: &serde_json::Value| match m {
            serde_json::Value::Array(p) => Some(format!("{} {}", p.first()?.as_str()?, p.get(1)?.as_str()?)),
            other => other.as_str().map(String::from),
        };
        let merges = json["merges"].as_array().and_then(|list| list.iter().map(pair).collect());
        merges.ok_or_else(|| Error::failed("the tokenizer's merges cannot be listed"))
    }
}

/// Whether an object anywhere in `value` says `"type": kind`.
fn names_type(value: &serde_json::Value, kind: &str) -> bool {
    match value {
        serde_json::Value::Object(map) => {
            map.get("type").is_some_and(|t| t == kind) || map.values().any(|v| names_type(v, kind))
        }
        serde_json::Value::Array(list) => list.iter().any(|v| names_type(v, kind)),
        _ => false,
    }
}

impl crate::prompt::Tokens for Tokenizer {
    fn text(&self, text: &str) -> Result<Vec<u32>> {
        self.encode(text, false)
    }
    fn control(&self, name: &str) -> Result<u32> {
        self.full.token_to_id(name).ok_or_else(|| Error::input(format!("the tokenizer has no token `{name}`")))
    }
    fn decode(&self, ids: &[u32]) -> Result<String> {
        Tokenizer::decode(self, ids, false)
    }
}

#[cfg(test)]
mod tests {
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
        for text in
            TEXTS.iter().copied().chain(["", " ", "\n\n  \t", "肝臓に嚢胞 🙂", "a\u{0}b", "<|im_end|> </think>"])
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
        for id in [c.im_start, c.im_end, c.endoftext, c.think, c.end_think] {
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
            [c.endoftext, c.im_start, c.im_end, c.think, c.end_think],
            [size - 26, size - 25, size - 24, size - 2, size - 1]
        );
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
}

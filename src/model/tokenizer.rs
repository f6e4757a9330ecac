//! Text to token ids and back: byte-level BPE (Qwen, Llama 3, SmolLM) and SentencePiece BPE (Llama 2, Mistral), from a folder's
//! `tokenizer.json`, from `vocab.json` and `merges.txt`, or from a GGUF file; with the checkpoint's chat template.
//!
//! Two encoders over one vocabulary: one that knows the control tokens and one that does not. Text that comes from a user or a corpus
//! goes through the second, so that `<|im_end|>` inside a finding is five characters of text and never the end of a turn.
//!
//! A conversation is encoded whole where no text in it spells a control token, else stretch by stretch between the template's own control
//! tokens, to the same ids: a stretch that does not begin the conversation is encoded as the library encodes it there (a Metaspace of
//! scheme `first` puts its space in front of the first stretch only).
//!
//! A begin-of-text token is written by the chat template, once, and by nothing else: no encoding here adds one.
//!
//! Some byte-level vocabularies lack bytes (SmolLM2's has no token for 21 of them), and the library drops what it cannot spell without
//! a word. Here control characters that cannot be spelt are left out and other such characters become U+FFFD, before anything else.
mod prepared;
mod sound;
#[cfg(test)]
mod tests;

use super::config::LARGEST_VOCABULARY;
pub use super::control::Control;
use super::gguf;
use super::vocabulary::{Scheme, SpecialTokens, Token};
use crate::error::{Error, Result};
use crate::prompt::ChatTemplate;
use crate::prompt::template::{Stretch, named_of_folder};
use prepared::{behind, lacking, merges_of, without_dropout};
use sha2::{Digest, Sha256};
use sound::{fenced, sound};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use tokenizers::models::bpe::BPE;
use tokenizers::{AddedVocabulary, ModelWrapper, OffsetReferential, OffsetType};

/// See the file's header.
#[derive(Clone)]
pub struct Tokenizer {
    full: tokenizers::Tokenizer,
    /// `full` without its added tokens.
    plain: tokenizers::Tokenizer,
    /// `plain` for a stretch that does not begin a text, where that is another.
    later: Option<tokenizers::Tokenizer>,
    control: Control,
    /// Tokens that end a generation.
    ends: Vec<u32>,
    vocab_size: usize,
    /// Bytes that no token spells, true by byte; empty if there are none.
    lacking: Vec<bool>,
    /// What it was read from, for errors.
    place: String,
    /// `bos_token` and its like.
    named: BTreeMap<String, String>,
    template: Option<ChatTemplate>,
}

/// What a tokenizer's files tell besides the tokenizer itself.
#[derive(Default)]
struct Origin {
    place: String,
    named: BTreeMap<String, String>,
    template: Option<ChatTemplate>,
}

/// Fails for a tokenizer that makes no token of any text, or whose template for special tokens leaves the text out: a model would be asked
/// nothing, and answer.
fn reads_text(full: &tokenizers::Tokenizer, place: &str) -> Result<()> {
    let ids = |text: &str, special: bool| -> Result<Vec<u32>> {
        let encoded = fenced(place, || full.encode(text, special))?;
        encoded.map(|one| one.get_ids().to_vec()).map_err(|e| Error::input(format!("{place}: {e}")))
    };
    const PROBE: &str = "A cyst of 7 mm.";
    let mut probes = vec![PROBE.to_string()];
    probes.extend(full.get_vocab(false).into_keys().take(50));
    for probe in probes {
        let plain = ids(&probe, false)?;
        if plain.is_empty() {
            continue;
        }
        let whole = ids(&probe, true)?;
        return match whole.windows(plain.len()).any(|part| part == plain) {
            true => Ok(()),
            false => Err(Error::input(format!(
                "{place}: its `post_processor` leaves the text out where it puts special tokens: get the file anew"
            ))),
        };
    }
    Err(Error::input(format!(
        "{place}: makes no token of `{PROBE}`, nor of its own words: its model or `post_processor` loses the text; get the file anew"
    )))
}

impl Tokenizer {
    /// Reads `dir/tokenizer.json`, or else `dir/vocab.json` and `dir/merges.txt`; or the tokenizer of a GGUF file.
    pub fn open(dir: &Path) -> Result<Self> {
        if dir.is_file() {
            let none = || Error::input(format!("{}: the file holds no tokenizer", dir.display()));
            return Self::of_gguf(dir)?.ok_or_else(none);
        }
        let file = dir.join("tokenizer.json");
        if !file.is_file() && dir.join("vocab.json").is_file() {
            return Self::from_qwen_files(&dir.join("vocab.json"), &dir.join("merges.txt"));
        }
        let text = crate::io::read_text(&file)?;
        let bad = |e: String| Error::input(format!("{}: not a readable tokenizer: {e}", file.display()));
        let parsed: serde_json::Value = crate::io::parse_json(&file, &text)?;
        sound(&parsed).map_err(bad)?;
        let place = file.display().to_string();
        let full = fenced(&place, || tokenizers::Tokenizer::from_bytes(text))?.map_err(|e| bad(e.to_string()))?;
        let template = ChatTemplate::of_folder(dir)?;
        Self::new(full, Origin { named: named_of_folder(dir)?, template, place })
    }

    /// As `open`; None where a folder or file has no tokenizer at all.
    pub fn find(model: &Path) -> Result<Option<Self>> {
        if model.is_file() {
            return Self::of_gguf(model);
        }
        let there = ["tokenizer.json", "vocab.json"].iter().any(|file| model.join(file).is_file());
        there.then(|| Self::open(model)).transpose()
    }

    fn of_gguf(file: &Path) -> Result<Option<Self>> {
        let place = file.display().to_string();
        let Some(told) = fenced(&place, || gguf::of_file(file))?? else { return Ok(None) };
        let template =
            told.chat_template.map(|source| ChatTemplate::new(&source, &place, told.named.clone())).transpose()?;
        Self::new(told.full, Origin { named: told.named, template, place }).map(Some)
    }

    /// Qwen3's tokenizer from its two original files, with Qwen3's added tokens behind the vocabulary.
    pub fn from_qwen_files(vocab: &Path, merges: &Path) -> Result<Self> {
        let place = format!("{}, {}", vocab.display(), merges.display());
        let bad = |e| Error::input(format!("{place}: {e}"));
        let ids: BTreeMap<String, u32> = crate::io::read_json(vocab)?;
        let ids = ids.into_iter().collect::<tokenizers::models::bpe::Vocab>();
        let model = BPE::builder().vocab_and_merges(ids, merges_of(merges)?);
        let model = fenced(&place, || model.build())?.map_err(bad)?;
        let full = super::vocabulary::qwen(model)?;
        Self::new(full, Origin { place, ..Origin::default() })
    }

    /// Byte-level BPE trained on `texts`, laid out as Qwen3's: 256 bytes, merges, then Qwen3's added tokens; `vocab_size` counts all.
    /// The same texts give the same tokenizer. Few texts may not yield enough merges: ask `vocab_size()` what came out.
    pub fn train<S: AsRef<str> + Send>(texts: impl Iterator<Item = S> + Send, vocab_size: usize) -> Result<Self> {
        let full = super::vocabulary::train(texts, vocab_size)?;
        Self::new(full, Origin { place: "a tokenizer trained here".into(), ..Origin::default() })
    }

    fn new(mut full: tokenizers::Tokenizer, origin: Origin) -> Result<Self> {
        let Origin { place, named, template } = origin;
        full.with_padding(None);
        full.with_truncation(None).map_err(|e| Error::failed(e.to_string()))?;
        without_dropout(&mut full);
        let vocab_size = full.get_vocab(true).into_values().max().map_or(0, |id| id as usize + 1);
        if vocab_size > LARGEST_VOCABULARY {
            let last = vocab_size - 1;
            return Err(Error::input(format!("{place}: token id {last}: expected ids below {LARGEST_VOCABULARY}")));
        }
        let mut plain = full.clone();
        plain.with_added_vocabulary(AddedVocabulary::new());
        let (later, lacking) = (behind(&plain), lacking(&full));
        // Qwen3's format, as `prompt::chat` writes it without a template.
        let own = |t: &ChatTemplate| t.source().trim_end() == super::vocabulary::chat_template();
        let template = template.filter(|t| !own(t) || full.token_to_id("<|im_start|>").is_none());
        let nothing = Control { im_start: None, turn_end: 0, text_end: 0, think: None, end_think: None };
        let ends = Vec::new();
        let mut made = Self { full, plain, later, control: nothing, ends, vocab_size, lacking, place, named, template };
        made.control = made.controls()?;
        reads_text(&made.full, &made.place)?;
        made.ends = made.all_ends();
        Ok(made)
    }

    fn controls(&self) -> Result<Control> {
        let id = |token: &str| self.full.token_to_id(token);
        let of_template = match &self.template {
            Some(template) => template.end(self)?,
            None => None,
        };
        if let Some(name) = self.named.get("eos_token").filter(|name| id(name).is_none()) {
            crate::process::tell(&format!(
                "{}: `eos_token` is `{name}`, which is no token of the vocabulary: it ends no answer",
                self.place
            ));
        }
        let eos = || self.named("eos_token");
        let first = |tokens: &[&str]| tokens.iter().find_map(|token| id(token));
        let turn_end = of_template
            .or_else(|| id("<|im_end|>"))
            .or_else(eos)
            .or_else(|| first(&["<|eot_id|>", "<|end_of_text|>", "<|endoftext|>", "</s>"]));
        let turn_end = turn_end.ok_or_else(|| {
            Error::input(format!(
                "{}: no token ends a turn: expected `<|im_end|>` (Qwen3's chat format begins a turn with `<|im_start|>`), an `eos_token` \
                 in tokenizer_config.json, or a chat template that ends an answer with a control token",
                self.place
            ))
        })?;
        let text_end = first(&["<|endoftext|>", "<|end_of_text|>", "<｜end▁of▁sentence｜>", "</s>"]).or_else(eos);
        Ok(Control {
            im_start: id("<|im_start|>"),
            turn_end,
            text_end: text_end.unwrap_or(turn_end),
            think: id("<think>"),
            end_think: id("</think>"),
        })
    }

    /// What ends a turn of the template, and control tokens that end a generation in every model.
    fn all_ends(&self) -> Vec<u32> {
        let mut ends = vec![self.control.turn_end];
        let added = self.full.get_added_tokens_decoder();
        let known = gguf::ENDS.iter().filter_map(|end| self.full.token_to_id(end));
        for id in known.filter(|id| added.get(id).is_some_and(|token| token.special)) {
            if !ends.contains(&id) {
                ends.push(id);
            }
        }
        ends
    }

    /// Token ids of `text`. Control tokens written out in it count as such only if `allow_special`.
    pub fn encode(&self, text: &str, allow_special: bool) -> Result<Vec<u32>> {
        self.ids(if allow_special { &self.full } else { &self.plain }, text)
    }

    fn ids(&self, tokenizer: &tokenizers::Tokenizer, text: &str) -> Result<Vec<u32>> {
        let spelt = self.spelt(text);
        let encoding = fenced(&self.place, || tokenizer.encode_fast(&*spelt, false))?.map_err(|e| {
            let begin: String = text.chars().take(60).collect();
            Error::failed(format!("cannot tokenize {begin:?}: {e}"))
        })?;
        Ok(encoding.get_ids().to_vec())
    }

    /// `text` without what the vocabulary cannot spell; see the file's header.
    fn spelt<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let lacks = |byte: u8| self.lacking.get(byte as usize).copied().unwrap_or(false);
        if self.lacking.is_empty() || !text.bytes().any(lacks) {
            return text.into();
        }
        let whole = |c: &char| !c.encode_utf8(&mut [0; 4]).bytes().any(lacks);
        let instead = Some(char::REPLACEMENT_CHARACTER).filter(whole);
        let kept = |c: char| if whole(&c) { Some(c) } else { instead.filter(|_| !c.is_control()) };
        text.chars().filter_map(kept).collect::<String>().into()
    }

    /// The text of `ids`; `skip_special` leaves out `<|im_end|>` and its like (but not `<think>`, as in Qwen3).
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        fenced(&self.place, || self.full.decode(ids, skip_special))?
            .map_err(|e| Error::failed(format!("cannot decode {} tokens: {e}", ids.len())))
    }

    pub fn control(&self) -> Control {
        self.control
    }

    /// Tokens that end a generation: what the chat template writes after an answer (else the end of turn or of text that the vocabulary
    /// has), and the well-known ones among its control tokens. A checkpoint's `config.json` and `generation_config.json` may name more.
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// The id of a special token by transformers' name, such as `bos_token`.
    pub fn named(&self, name: &str) -> Option<u32> {
        self.full.token_to_id(self.named.get(name)?)
    }

    /// SHA-256 in hex of the checkpoint's own chat template; None where it has none, or Qwen3's format as this crate writes it.
    pub fn template_digest(&self) -> Option<String> {
        self.template.as_ref().map(ChatTemplate::digest)
    }

    /// How text is cut, where GGUF has a name for it.
    pub(super) fn scheme(&self) -> Option<Scheme> {
        Scheme::of(&self.full)
    }

    /// The token for what no piece spells.
    pub(super) fn unknown(&self) -> Option<String> {
        match self.full.get_model() {
            ModelWrapper::BPE(model) => model.unk_token.clone(),
            _ => None,
        }
    }

    /// Whether the library puts a begin-of-text token in front of every text (not here; see the file's header).
    pub(super) fn begins_texts(&self) -> bool {
        let bos = self.named("bos_token");
        let ids = self.full.encode_fast("", true).map(|e| e.get_ids().to_vec()).unwrap_or_default();
        bos.is_some() && ids.first().copied() == bos
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
        let (control, ends, named) = (&self.control, &self.ends[..], &self.named);
        let special = SpecialTokens { control, ends, named, template: self.template.as_ref() };
        for (name, text) in super::vocabulary::files(&self.full, &special)? {
            crate::io::write_beside(&dir.join(name), |path| std::fs::write(path, text).map_err(Error::io(path)))?;
        }
        Ok(())
    }

    /// SHA-256 of the tokenizer as `save` would write it, in hex.
    pub fn digest(&self) -> Result<String> {
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
            return Err(Error::input(format!("{}: the tokenizer is not a BPE", self.place)));
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

impl crate::prompt::Tokens for Tokenizer {
    fn text(&self, text: &str) -> Result<Vec<u32>> {
        self.encode(text, false)
    }
    fn control(&self, name: &str) -> Result<u32> {
        self.full.token_to_id(name).ok_or_else(|| {
            let place = &self.place;
            Error::input(format!(
                "{place}: there is no token `{name}`, which Qwen3's chat format has, and no chat template"
            ))
        })
    }
    fn decode(&self, ids: &[u32]) -> Result<String> {
        Tokenizer::decode(self, ids, false)
    }
    fn whole(&self, text: &str) -> Result<Vec<u32>> {
        self.encode(text, true)
    }
    fn stretch(&self, text: &str, first: bool) -> Result<Vec<u32>> {
        match &self.later {
            Some(later) if !first => self.ids(later, text),
            _ => self.ids(&self.plain, text),
        }
    }
    fn cut(&self, text: &str) -> Result<Vec<Stretch>> {
        let added = fenced(&self.place, || {
            let split = self.full.get_added_vocabulary().extract_and_normalize(self.full.get_normalizer(), text);
            let splits = split.get_splits(OffsetReferential::Original, OffsetType::Byte);
            let added = splits.into_iter().filter_map(|(_, (start, end), tokens)| {
                Some(Stretch { at: start..end, added: Some(tokens.as_ref()?.first()?.id) })
            });
            added.collect::<Vec<_>>()
        })?;
        let (mut all, mut done) = (Vec::new(), 0);
        for stretch in added {
            if stretch.at.start > done {
                all.push(Stretch { at: done..stretch.at.start, added: None });
            }
            done = stretch.at.end;
            all.push(stretch);
        }
        if done < text.len() {
            all.push(Stretch { at: done..text.len(), added: None });
        }
        Ok(all)
    }
    fn end(&self) -> Result<u32> {
        Ok(self.control.turn_end)
    }
    fn template(&self) -> Option<&ChatTemplate> {
        self.template.as_ref()
    }
}

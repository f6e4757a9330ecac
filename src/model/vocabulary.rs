//! What makes a tokenizer that of a family: how text is cut before BPE, the added tokens, and the files that go with them.
//!
//! ```text
//! Qwen2, 3    NFC, words (each digit alone), bytes, BPE          Qwen technical report, 2023
//! Qwen3.5     the same, with combining marks inside of words
//! Llama 3     words (digits by three), bytes, BPE; a word that is a token is taken whole
//! SmolLM      each digit alone, GPT-2's words, bytes, BPE
//! GPT-2       GPT-2's words, bytes, BPE                          Radford et al., 2019
//! pieces      ` ` → `▁`, BPE over characters, bytes where there is no piece     SentencePiece; Llama 2, Mistral
//! ```
//!
//! Expressions and names as in llama.cpp (`llama-vocab.cpp`) and transformers 5.24 (`gguf_tokenizer_mapping.py`).
use super::control::Control;
use crate::error::{Error, Result};
use crate::prompt::ChatTemplate;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use tokenizers::decoders::DecoderWrapper;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer, Vocab};
use tokenizers::normalizers::{NFC, NormalizerWrapper, Prepend, Replace};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::processors::{PostProcessorWrapper, sequence::Sequence as Processors};
use tokenizers::{AddedToken, SplitDelimiterBehavior, Tokenizer, decoders, normalizers};

const WORDS: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const WORDS_QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const WORDS_LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// SentencePiece's sign for a space.
const SPACE: &str = "▁";

/// How a tokenizer cuts text before BPE. See the file's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Qwen2,
    Qwen35,
    Llama3,
    SmolLm,
    Gpt2,
    /// SentencePiece; `prefix`: a space in front of every text and of every stretch behind an added token.
    Pieces {
        prefix: bool,
    },
}

/// `tokenizer.ggml.pre`, llama.cpp's names for byte-level schemes; the first of a scheme is the one that is written.
const NAMES: [(&str, Scheme); 12] = [
    ("qwen2", Scheme::Qwen2),
    ("deepseek-r1-qwen", Scheme::Qwen2),
    ("qwen35", Scheme::Qwen35),
    ("llama-bpe", Scheme::Llama3),
    ("llama3", Scheme::Llama3),
    ("llama-v3", Scheme::Llama3),
    ("smaug-bpe", Scheme::Llama3),
    ("smollm", Scheme::SmolLm),
    ("starcoder", Scheme::SmolLm),
    ("refact", Scheme::SmolLm),
    ("gpt-2", Scheme::Gpt2),
    ("roberta-bpe", Scheme::Gpt2),
];

impl Scheme {
    /// The byte-level scheme of llama.cpp's name.
    pub fn named(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, scheme)| *scheme)
    }

    /// llama.cpp's name; None for pieces, which have another kind of model.
    pub fn name(self) -> Option<&'static str> {
        NAMES.iter().find(|(_, scheme)| *scheme == self).map(|(name, _)| *name)
    }

    /// The names that `named` knows.
    pub fn names() -> String {
        NAMES.map(|(name, _)| format!("`{name}`")).join(", ")
    }

    /// That of `tokenizer`, if it is one of these.
    pub fn of(tokenizer: &Tokenizer) -> Option<Self> {
        let json = |v: Result<Value, serde_json::Error>| v.unwrap_or(Value::Null);
        let (pre, normalizer) = (
            json(serde_json::to_value(tokenizer.get_pre_tokenizer())),
            json(serde_json::to_value(tokenizer.get_normalizer())),
        );
        if let Some(prefix) = pieces(&pre, &normalizer) {
            return Some(Self::Pieces { prefix });
        }
        let all = [Self::Qwen2, Self::Qwen35, Self::Llama3, Self::SmolLm, Self::Gpt2];
        all.into_iter().find(|scheme| {
            let wanted = json(serde_json::to_value(scheme.pre_tokenizer().ok().flatten()));
            steps(&wanted) == steps(&pre)
        })
    }

    fn pre_tokenizer(self) -> Result<Option<PreTokenizerWrapper>> {
        let split = |words: &str| {
            Split::new(SplitPattern::Regex(words.into()), SplitDelimiterBehavior::Isolated, false)
                .map(PreTokenizerWrapper::Split)
                .map_err(failed)
        };
        let bytes = |words: bool| PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, false, words));
        let row = |first: PreTokenizerWrapper, words: bool| {
            Some(PreTokenizerWrapper::Sequence(Sequence::new(vec![first, bytes(words)])))
        };
        Ok(match self {
            Self::Qwen2 => row(split(WORDS)?, false),
            Self::Qwen35 => row(split(WORDS_QWEN35)?, false),
            Self::Llama3 => row(split(WORDS_LLAMA3)?, false),
            Self::SmolLm => row(PreTokenizerWrapper::Digits(Digits::new(true)), true),
            Self::Gpt2 => Some(bytes(true)),
            Self::Pieces { .. } => None,
        })
    }
}

/// The steps of a pre-tokenizer, without what changes no id.
fn steps(pre: &Value) -> Vec<Value> {
    let list = match pre["pretokenizers"].as_array() {
        Some(list) => list.clone(),
        None => vec![pre.clone()],
    };
    let strip = |mut step: Value| {
        if let Some(map) = step.as_object_mut() {
            map.remove("trim_offsets");
        }
        step
    };
    list.into_iter().map(strip).collect()
}

/// Whether a SentencePiece tokenizer puts a space in front of every stretch; None for another kind. The scheme `first` does so only
/// where a text begins, and a conversation begins with a control token, so it counts as no.
fn pieces(pre: &Value, normalizer: &Value) -> Option<bool> {
    let listed = normalizer["normalizers"].as_array();
    let kinds: Vec<&str> = listed.into_iter().flatten().filter_map(|n| n["type"].as_str()).collect();
    match (pre["type"].as_str(), &kinds[..]) {
        (None, ["Prepend", "Replace"]) => Some(true),
        (None, ["Replace"]) => Some(false),
        (None, []) if normalizer["type"] == "Replace" => Some(false),
        (Some("Metaspace"), _) if pre["split"] == false => Some(pre["prepend_scheme"] == "always"),
        _ => None,
    }
}

/// Left out of decoded text.
const SPECIAL: [&str; 14] = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
];

/// Whole tokens too, but part of the text.
const MARKS: [&str; 12] = [
    "<tool_call>",
    "</tool_call>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
    "<tool_response>",
    "</tool_response>",
    "<think>",
    "</think>",
];

const BYTES: usize = 256;

/// A chat template that renders what `prompt::chat` renders.
pub(super) fn chat_template() -> &'static str {
    include_str!("chat_template.jinja").trim_end()
}

/// GPT-2's letter for a byte: itself where it can be printed, else the next of those from U+0100 on.
pub fn letter(byte: u8) -> char {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    match printable(byte) {
        true => byte as char,
        false => char::from_u32(0x100 + (0..byte).filter(|&b| !printable(b)).count() as u32).unwrap_or(' '),
    }
}

fn failed(e: tokenizers::Error) -> Error {
    Error::failed(format!("tokenizer: {e}"))
}

/// The scheme's normaliser, pre-tokenizer and decoder around `model`, no added tokens yet.
fn around(model: BPE, scheme: Scheme) -> Result<Tokenizer> {
    let mut out = Tokenizer::new(model);
    let bytes = ByteLevel::new(false, false, false);
    out.with_pre_tokenizer(scheme.pre_tokenizer()?);
    match scheme {
        Scheme::Qwen2 | Scheme::Qwen35 => drop(out.with_normalizer(Some(NFC)).map_err(failed)?),
        Scheme::Pieces { prefix } => return spaced(out, prefix),
        Scheme::Llama3 | Scheme::SmolLm | Scheme::Gpt2 => {}
    }
    out.with_post_processor(Some(bytes));
    out.with_decoder(Some(bytes));
    Ok(out)
}

/// `out` with SentencePiece's sign for spaces, back and forth.
fn spaced(mut out: Tokenizer, prefix: bool) -> Result<Tokenizer> {
    let mut steps: Vec<NormalizerWrapper> = Vec::new();
    if prefix {
        steps.push(Prepend::new(SPACE.into()).into());
    }
    steps.push(Replace::new(" ", SPACE).map_err(failed)?.into());
    out.with_normalizer(Some(normalizers::Sequence::new(steps))).map_err(failed)?;
    let mut back: Vec<DecoderWrapper> = vec![
        Replace::new(SPACE, " ").map_err(failed)?.into(),
        decoders::byte_fallback::ByteFallback::new().into(),
        decoders::fuse::Fuse::new().into(),
    ];
    if prefix {
        back.push(decoders::strip::Strip::new(' ', 1, 0).into());
    }
    out.with_decoder(Some(decoders::sequence::Sequence::new(back)));
    Ok(out)
}

/// Puts the token `text` in front of every text that is encoded with special tokens.
pub(super) fn begin_with(tokenizer: &mut Tokenizer, text: &str, id: u32) -> Result<()> {
    let bad = |e: String| Error::input(format!("tokenizer: token `{text}` cannot begin a text: {e}"));
    let begin = TemplateProcessing::builder()
        .try_single(vec![text.to_string(), "$A".into()])
        .map_err(bad)?
        .special_tokens(vec![(text.to_string(), id)])
        .build()
        .map_err(|e| bad(e.to_string()))?;
    let steps = tokenizer.get_post_processor().cloned().into_iter().chain([PostProcessorWrapper::Template(begin)]);
    let steps = Processors::new(steps.collect());
    tokenizer.with_post_processor(Some(PostProcessorWrapper::Sequence(steps)));
    Ok(())
}

/// Qwen3's tokenizer around a trained `model`: its 26 added tokens take the ids behind the vocabulary.
pub(super) fn qwen(model: BPE) -> Result<Tokenizer> {
    let mut out = around(model, Scheme::Qwen2)?;
    add(&mut out)?;
    Ok(out)
}

fn add(tokenizer: &mut Tokenizer) -> Result<()> {
    let token = |text: &&str, special| AddedToken::from(*text, special).normalized(false);
    let all = SPECIAL.iter().map(|t| token(t, true)).chain(MARKS.iter().map(|t| token(t, false)));
    tokenizer.add_tokens(all).map_err(failed)?;
    Ok(())
}

/// True for an added token that is part of the text, such as `<think>`.
pub(super) fn is_mark(text: &str) -> bool {
    MARKS.contains(&text)
}

/// What stands behind one id.
#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    /// A part of a word, in the letters of byte-level BPE or as a SentencePiece.
    Word(String),
    /// A whole token, and whether decoding may leave it out.
    Added(String, bool),
    /// Nothing: a row of the embedding that no text leads to.
    None,
}

/// A tokenizer from its tokens by id and its merges (first learnt first). `unknown` is the token for what no piece spells.
pub(super) fn listed(
    scheme: Scheme,
    tokens: &[Token],
    merges: Vec<(String, String)>,
    unknown: Option<String>,
) -> Result<Tokenizer> {
    let bad = |e: String| Error::input(format!("tokenizer: {e}"));
    // Added tokens behind all words take the next ids by themselves; elsewhere they must have theirs from the vocabulary.
    let words = tokens.iter().filter(|t| matches!(t, Token::Word(_))).count();
    let behind = tokens.iter().take(words).all(|t| matches!(t, Token::Word(_)))
        && tokens.iter().skip(words).skip_while(|t| matches!(t, Token::Added(..))).all(|t| *t == Token::None);
    let vocabulary = tokens.iter().enumerate().filter_map(|(id, token)| match token {
        Token::Word(text) => Some((text.clone(), id as u32)),
        Token::Added(text, _) if !behind => Some((text.clone(), id as u32)),
        _ => None,
    });
    let vocabulary = vocabulary.collect::<Vocab>();
    // The library copies into a buffer of the longest token, and panics if a merge makes a longer one.
    if let Some((a, b)) = merges.iter().find(|(a, b)| !vocabulary.contains_key(&format!("{a}{b}"))) {
        return Err(bad(format!("merge `{a} {b}` makes no token of the vocabulary")));
    }
    let mut model = BPE::builder().vocab_and_merges(vocabulary, merges);
    match scheme {
        Scheme::Pieces { .. } => {
            model = model.byte_fallback(true).fuse_unk(true);
            if let Some(unknown) = unknown {
                model = model.unk_token(unknown);
            }
        }
        Scheme::Llama3 => model = model.ignore_merges(true),
        _ => {}
    }
    let mut out = around(model.build().map_err(|e| bad(e.to_string()))?, scheme)?;
    out.add_tokens(tokens.iter().filter_map(|token| match token {
        Token::Added(text, special) => Some(AddedToken::from(text.as_str(), *special).normalized(false)),
        _ => None,
    }))
    .map_err(failed)?;
    for (id, token) in tokens.iter().enumerate() {
        let (Token::Word(text) | Token::Added(text, _)) = token else { continue };
        match out.token_to_id(text) {
            Some(got) if got as usize == id => {}
            got => return Err(bad(format!("token {id}, `{text}`, came out as {got:?}: is it listed twice?"))),
        }
    }
    Ok(out)
}

/// The tokens of `tokenizer` by id, up to its largest.
pub(super) fn tokens(tokenizer: &Tokenizer, size: usize) -> Vec<Token> {
    let mut all = vec![Token::None; size];
    for (text, id) in tokenizer.get_vocab(false) {
        all[id as usize] = Token::Word(text);
    }
    for (id, token) in tokenizer.get_added_tokens_decoder() {
        all[id as usize] = Token::Added(token.content, token.special);
    }
    all
}

/// As `Tokenizer::train`. Pairs seen once are never merged; ties go to the pair whose parts have the smaller ids.
pub(super) fn train<S: AsRef<str> + Send>(
    texts: impl Iterator<Item = S> + Send,
    vocab_size: usize,
) -> Result<Tokenizer> {
    let added = SPECIAL.len() + MARKS.len();
    if vocab_size < BYTES + added {
        return Err(Error::input(format!(
            "a vocabulary of {vocab_size} is too small: {BYTES} bytes and {added} added tokens are always in it"
        )));
    }
    let trainer = BpeTrainer::builder()
        .show_progress(false)
        .vocab_size(vocab_size - added)
        .min_frequency(2)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    let mut out = around(BPE::default(), Scheme::Qwen2)?;
    out.train(&mut TrainerWrapper::BpeTrainer(trainer), texts).map_err(failed)?;
    add(&mut out)?;
    Ok(out)
}

/// What the files of a tokenizer's folder tell besides the tokenizer itself.
pub(super) struct SpecialTokens<'a> {
    pub control: &'a Control,
    /// Tokens that end a generation.
    pub ends: &'a [u32],
    /// `bos_token` and its like.
    pub named: &'a BTreeMap<String, String>,
    /// The checkpoint's own; None for Qwen3's format.
    pub template: Option<&'a ChatTemplate>,
}

/// The files of a tokenizer's folder: name and text.
pub(super) fn files(tokenizer: &Tokenizer, special: &SpecialTokens) -> Result<[(&'static str, String); 3]> {
    if special.template.is_some() || special.control.im_start.is_none() {
        return foreign_files(tokenizer, special);
    }
    let control = special.control;
    let tokens = tokenizer.get_added_tokens_decoder();
    let mut added: Vec<_> = tokens.iter().collect();
    added.sort_by_key(|(id, _)| **id);
    let decoder: Map<String, Value> = added
        .iter()
        .map(|(id, t)| {
            let token = json!({"content": t.content, "lstrip": t.lstrip, "normalized": t.normalized, "rstrip": t.rstrip,
                               "single_word": t.single_word, "special": t.special});
            (id.to_string(), token)
        })
        .collect();
    let special = added.iter().filter(|(_, t)| t.special && !t.content.ends_with("endoftext|>"));
    let config = json!({
        "add_prefix_space": false,
        "added_tokens_decoder": decoder,
        "additional_special_tokens": special.map(|(_, t)| t.content.clone()).collect::<Vec<_>>(),
        "bos_token": null,
        "chat_template": chat_template(),
        "clean_up_tokenization_spaces": false,
        "eos_token": "<|im_end|>",
        "errors": "replace",
        "model_max_length": 131072,
        "pad_token": "<|endoftext|>",
        "split_special_tokens": false,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": null,
    });
    let generation = json!({
        "do_sample": false,
        "eos_token_id": [control.turn_end, control.text_end],
        "pad_token_id": control.text_end,
    });
    Ok([
        ("tokenizer.json", tokenizer.to_string(false).map_err(failed)?),
        ("tokenizer_config.json", format!("{config:#}\n")),
        ("generation_config.json", format!("{generation:#}\n")),
    ])
}

/// The files of a tokenizer that is not of Qwen3's chat format: the names and the template that it came with.
fn foreign_files(tokenizer: &Tokenizer, special: &SpecialTokens) -> Result<[(&'static str, String); 3]> {
    let mut config = Map::from_iter([
        ("clean_up_tokenization_spaces".to_string(), json!(false)),
        ("tokenizer_class".to_string(), json!("PreTrainedTokenizerFast")),
    ]);
    config.extend(special.named.iter().map(|(name, token)| (name.clone(), json!(token))));
    if let Some(template) = special.template {
        config.insert("chat_template".into(), json!(template.source()));
    }
    let generation =
        json!({"do_sample": false, "eos_token_id": special.ends, "pad_token_id": special.control.text_end});
    Ok([
        ("tokenizer.json", tokenizer.to_string(false).map_err(failed)?),
        ("tokenizer_config.json", format!("{:#}\n", Value::Object(config))),
        ("generation_config.json", format!("{generation:#}\n")),
    ])
}

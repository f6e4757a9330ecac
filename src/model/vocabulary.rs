//! What makes a tokenizer Qwen3's: its pre-tokenizer, its added tokens in their order, and the files that go with them.
//!
//! NFC, then a split into words by Qwen's expression, then bytes, then BPE (Qwen technical report, 2023; same in Qwen2 and Qwen3).
use super::tokenizer::Control;
use crate::error::{Error, Result};
use serde_json::{Map, Value, json};
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer, Vocab};
use tokenizers::normalizers::NFC;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior, Tokenizer};

const WORDS: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

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

fn failed(e: tokenizers::Error) -> Error {
    Error::failed(format!("tokenizer: {e}"))
}

/// Qwen's normaliser, pre-tokenizer and decoder around `model`, no added tokens yet.
fn around(model: BPE) -> Result<Tokenizer> {
    let mut out = Tokenizer::new(model);
    let split =
        Split::new(SplitPattern::Regex(WORDS.into()), SplitDelimiterBehavior::Isolated, false).map_err(failed)?;
    let bytes = ByteLevel::new(false, false, false);
    out.with_normalizer(Some(NFC)).map_err(failed)?;
    out.with_pre_tokenizer(Some(Sequence::new(vec![
        PreTokenizerWrapper::Split(split),
        PreTokenizerWrapper::ByteLevel(bytes),
    ])));
    out.with_post_processor(Some(bytes));
    out.with_decoder(Some(bytes));
    Ok(out)
}

/// Qwen3's tokenizer around a trained `model`: its 26 added tokens take the ids behind the vocabulary.
pub(super) fn qwen(model: BPE) -> Result<Tokenizer> {
    let mut out = around(model)?;
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
    /// A part of a word, in the letters of byte-level BPE.
    Word(String),
    /// A whole token, and whether decoding may leave it out.
    Added(String, bool),
    /// Nothing: a row of the embedding that no text leads to.
    None,
}

/// Qwen3's tokenizer from its tokens by id and its merges (`"a b"`, first learnt first). The added tokens must stand behind the words.
pub(super) fn listed(tokens: &[Token], merges: &[String]) -> Result<Tokenizer> {
    let bad = |e: String| Error::input(format!("tokenizer: {e}"));
    let words = tokens.iter().enumerate().filter_map(|(id, token)| match token {
        Token::Word(text) => Some((text.clone(), id as u32)),
        _ => None,
    });
    let pair = |merge: &String| match merge.split_once(' ') {
        Some((a, b)) => Ok((a.to_string(), b.to_string())),
        None => Err(bad(format!("merge `{merge}` is not two words"))),
    };
    let pairs = merges.iter().map(pair).collect::<Result<Vec<_>>>()?;
    let model = BPE::builder().vocab_and_merges(words.collect::<Vocab>(), pairs).build();
    let mut out = around(model.map_err(|e| bad(e.to_string()))?)?;
    out.add_tokens(tokens.iter().filter_map(|token| match token {
        Token::Added(text, special) => Some(AddedToken::from(text.as_str(), *special).normalized(false)),
        _ => None,
    }))
    .map_err(failed)?;
    for (id, token) in tokens.iter().enumerate() {
        let (Token::Word(text) | Token::Added(text, _)) = token else { continue };
        match out.token_to_id(text) {
            Some(got) if got as usize == id => {}
            got => {
                return Err(bad(format!(
                    "token {id}, `{text}`, came out as {got:?}: is it listed twice, or an added token before a word?"
                )));
            }
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
    let mut out = around(BPE::default())?;
    out.train(&mut TrainerWrapper::BpeTrainer(trainer), texts).map_err(failed)?;
    add(&mut out)?;
    Ok(out)
}

/// The files of a tokenizer's folder: name and text.
pub(super) fn files(tokenizer: &Tokenizer, control: &Control) -> Result<[(&'static str, String); 3]> {
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
        "eos_token_id": [control.im_end, control.endoftext],
        "pad_token_id": control.endoftext,
    });
    Ok([
        ("tokenizer.json", tokenizer.to_string(false).map_err(failed)?),
        ("tokenizer_config.json", format!("{config:#}\n")),
        ("generation_config.json", format!("{generation:#}\n")),
    ])
}

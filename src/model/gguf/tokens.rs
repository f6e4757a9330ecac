//! A tokenizer as a GGUF file tells it: `tokenizer.ggml.*`, Qwen's byte-level BPE only (model `gpt2`, pre-tokenizer `qwen2`).
//!
//! ```text
//! tokens      by id; ids without a token up to the rows of the embedding are [PADn]
//! token_type  1 part of a word · 3 control · 4 added, but text · 5 unused
//! merges      "a b", first learnt first
//! ```
use super::header::Value;
use super::write::Metadata;
use crate::model::Tokenizer;
use crate::model::vocabulary::{self, Token};
use std::collections::BTreeMap;

const NORMAL: i64 = 1;
const CONTROL: i64 = 3;
const ADDED: i64 = 4;
const UNUSED: i64 = 5;
/// Ends of a generation whatever the metadata says, as in llama.cpp.
const ENDS: [&str; 2] = ["<|im_end|>", "<|endoftext|>"];

type Entries = BTreeMap<String, Value>;

/// The id under `tokenizer.ggml.<name>_token_id`.
pub fn id(metadata: &Entries, name: &str) -> Option<u32> {
    match metadata.get(&format!("tokenizer.ggml.{name}_token_id")) {
        Some(Value::Int(id)) => u32::try_from(*id).ok(),
        _ => None,
    }
}

/// Tokens that end a generation: the file's own, then those that always do.
pub fn ends(metadata: &Entries) -> Vec<u32> {
    let mut ids: Vec<u32> = ["eos", "eot"].into_iter().filter_map(|name| id(metadata, name)).collect();
    if let Some(Value::Texts(tokens)) = metadata.get("tokenizer.ggml.tokens") {
        let at = |end: &&str| tokens.iter().position(|t| t == end);
        ids.extend(ENDS.iter().filter_map(|end| at(end)).filter_map(|id| u32::try_from(id).ok()));
    }
    let mut seen = Vec::new();
    ids.retain(|id| {
        !seen.contains(id) && {
            seen.push(*id);
            true
        }
    });
    ids
}

/// The tokenizer, if there is one. `rows` of the embedding are ids that the model knows.
pub fn read(metadata: &Entries, rows: usize) -> Result<Option<tokenizers::Tokenizer>, String> {
    let texts = |key: &str| match metadata.get(key) {
        Some(Value::Texts(texts)) => Ok(texts),
        Some(_) => Err(format!("`{key}` is not a list of texts")),
        None => Err(format!("`{key}` is missing")),
    };
    let is = |key: &str, wanted: &str| match metadata.get(key) {
        Some(Value::Text(got)) if got == wanted => Ok(()),
        other => Err(format!("`{key}` is {other:?}, expected `{wanted}`: dxlab reads Qwen's tokenizer only")),
    };
    match metadata.get("tokenizer.ggml.model") {
        None => return Ok(None),
        Some(Value::Text(none)) if none == "none" || none == "no_vocab" => return Ok(None),
        Some(_) => is("tokenizer.ggml.model", "gpt2")?,
    }
    is("tokenizer.ggml.pre", "qwen2")?;
    let (tokens, merges) = (texts("tokenizer.ggml.tokens")?, texts("tokenizer.ggml.merges")?);
    let types = match metadata.get("tokenizer.ggml.token_type") {
        Some(Value::Ints(types)) if types.len() == tokens.len() => types,
        Some(_) => return Err(format!("`tokenizer.ggml.token_type` does not list {} whole numbers", tokens.len())),
        None => return Err("`tokenizer.ggml.token_type` is missing".into()),
    };
    if tokens.len() > rows {
        return Err(format!("{} tokens for an embedding of {rows} rows", tokens.len()));
    }
    let listed = tokens.iter().zip(types).map(|(text, kind)| token(text, *kind)).collect::<Result<Vec<_>, _>>()?;
    vocabulary::listed(&listed, merges).map(Some).map_err(|e| e.to_string())
}

fn token(text: &str, kind: i64) -> Result<Token, String> {
    Ok(match kind {
        NORMAL => Token::Word(text.into()),
        // llama.cpp's own converter calls some marks control tokens by their look.
        CONTROL | ADDED => Token::Added(text.into(), kind == CONTROL && !vocabulary::is_mark(text)),
        UNUSED => Token::None,
        other => return Err(format!("token `{text}` is of type {other}, expected 1, 3, 4 or 5")),
    })
}

/// Everything that llama.cpp wants to know of `tokenizer`, for a model with `rows` rows of embedding.
pub fn write(tokenizer: &Tokenizer, rows: usize, eos: Option<u32>, out: &mut Metadata) -> crate::Result<()> {
    let (mut texts, mut types) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
    for (id, token) in tokenizer.tokens(rows)?.into_iter().enumerate() {
        let (text, kind) = match token {
            Token::Word(text) => (text, NORMAL),
            Token::Added(text, special) => {
                let looks = text.starts_with("<|") && text.ends_with("|>");
                (text, if special || looks { CONTROL } else { ADDED })
            }
            Token::None => (format!("[PAD{id}]"), UNUSED),
        };
        texts.push(text);
        types.push(kind as i32);
    }
    let control = tokenizer.control();
    out.text("tokenizer.ggml.model", "gpt2");
    out.text("tokenizer.ggml.pre", "qwen2");
    out.texts("tokenizer.ggml.tokens", &texts);
    out.i32s("tokenizer.ggml.token_type", &types);
    out.texts("tokenizer.ggml.merges", &tokenizer.merges()?);
    out.u32("tokenizer.ggml.eos_token_id", eos.unwrap_or(control.im_end));
    out.u32("tokenizer.ggml.padding_token_id", control.endoftext);
    out.u32("tokenizer.ggml.bos_token_id", control.endoftext);
    out.bool("tokenizer.ggml.add_bos_token", false);
    Ok(())
}

//! A tokenizer as a GGUF file tells it: `tokenizer.ggml.*`, byte-level BPE (model `gpt2`) or SentencePiece BPE (model `llama`).
//!
//! ```text
//! pre         how text is cut before a byte-level BPE, by llama.cpp's name; one that is not known here is refused
//! tokens      by id; ids without a token up to the rows of the embedding are [PADn]
//! token_type  1 part of a word · 2 unknown · 3 control · 4 added, but text · 5 unused · 6 one byte
//! merges      gpt2: "a b", first learnt first
//! scores      llama: of neighbours whose union is a token those are joined first whose token has the highest score
//! ```
//!
//! Scores become merges: for each token every split into two tokens, by score, then as in transformers' `generate_merges`. A space goes
//! in front of a text and of every stretch behind a control token unless `add_space_prefix` is false (llama.cpp `llama-vocab.cpp`).
use super::header::{Fault, Header, Value};
use super::metadata::Metadata;
use crate::error::{Error, Result};
use crate::model::Tokenizer;
use crate::model::vocabulary::{self, Scheme, Token};
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

const NORMAL: i64 = 1;
const UNKNOWN: i64 = 2;
const CONTROL: i64 = 3;
const ADDED: i64 = 4;
const UNUSED: i64 = 5;
const BYTE: i64 = 6;
/// Control tokens that end a generation whatever the metadata says, as in llama.cpp.
pub(in crate::model) const ENDS: [&str; 6] =
    ["<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "</s>"];
/// transformers' names for special tokens, and GGUF's behind `tokenizer.ggml.`.
const NAMED: [(&str, &str); 7] = [
    ("bos_token", "bos"),
    ("eos_token", "eos"),
    ("unk_token", "unknown"),
    ("pad_token", "padding"),
    ("sep_token", "seperator"), // llama.cpp's spelling
    ("mask_token", "mask"),
    ("cls_token", "cls"),
];
/// Bytes of a SentencePiece, at most: every split of it is looked up.
const LONGEST_PIECE: usize = 1024;
/// Score of a token that no merge makes.
const NEVER: f32 = -1e6;

type Entries = BTreeMap<String, Value>;

/// What a file tells of its tokenizer.
pub(in crate::model) struct Told {
    pub full: tokenizers::Tokenizer,
    /// `bos_token` and its like.
    pub named: BTreeMap<String, String>,
    pub chat_template: Option<String>,
}

/// The tokenizer of the GGUF file `path`, if it has one, of whatever architecture the model is.
pub(in crate::model) fn of_file(path: &Path) -> Result<Option<Told>> {
    let file = std::fs::File::open(path).map_err(Error::io(path))?;
    let size = file.metadata().map_err(Error::io(path))?.len();
    let wrong = |what: String| Error::input(format!("{}: {what}", path.display()));
    let header = Header::read(std::io::BufReader::new(file), size).map_err(|fault| match fault {
        Fault::Broken(what) => wrong(format!("{what}; is the file cut, or not a GGUF file?")),
        Fault::Unsupported(what) => wrong(what),
    })?;
    let rows = header.tensors.get(super::names::EMBEDDING).map_or(usize::MAX, |e| e.shape[0]);
    let Some(full) = read(&header.metadata, rows).map_err(wrong)? else { return Ok(None) };
    let chat_template = match header.metadata.get("tokenizer.chat_template") {
        Some(Value::Text(text)) => Some(text.clone()),
        _ => None,
    };
    Ok(Some(Told { full, named: named(&header.metadata), chat_template }))
}

/// The id under `tokenizer.ggml.<name>_token_id`.
pub fn id(metadata: &Entries, name: &str) -> Option<u32> {
    match metadata.get(&format!("tokenizer.ggml.{name}_token_id")) {
        Some(Value::Int(id)) => u32::try_from(*id).ok(),
        _ => None,
    }
}

/// `bos_token`, `eos_token`, … by transformers' names.
fn named(metadata: &Entries) -> BTreeMap<String, String> {
    let Some(Value::Texts(tokens)) = metadata.get("tokenizer.ggml.tokens") else { return BTreeMap::new() };
    let text = |theirs: &str| tokens.get(id(metadata, theirs)? as usize).cloned();
    NAMED.iter().filter_map(|(ours, theirs)| Some((ours.to_string(), text(theirs)?))).collect()
}

/// Tokens that end a generation: the file's own, then those control tokens that always do.
pub fn ends(metadata: &Entries) -> Vec<u32> {
    let mut ids: Vec<u32> = ["eos", "eot", "eom"].into_iter().filter_map(|name| id(metadata, name)).collect();
    if let Some(Value::Texts(tokens)) = metadata.get("tokenizer.ggml.tokens") {
        let control = |at: &usize| match metadata.get("tokenizer.ggml.token_type") {
            Some(Value::Ints(types)) => types.get(*at) == Some(&CONTROL),
            _ => true,
        };
        let at = |end: &&str| tokens.iter().position(|t| t == end).filter(control);
        ids.extend(ENDS.iter().filter_map(at).filter_map(|id| u32::try_from(id).ok()));
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
    let text = |key: &str| match metadata.get(key) {
        Some(Value::Text(text)) => Some(text.as_str()),
        _ => None,
    };
    let pieces = match metadata.get("tokenizer.ggml.model") {
        None => return Ok(None),
        Some(Value::Text(model)) => match model.as_str() {
            "none" | "no_vocab" => return Ok(None),
            "gpt2" => false,
            "llama" => true,
            other => return Err(format!("`tokenizer.ggml.model` is `{other}`, expected `gpt2` or `llama`")),
        },
        Some(other) => return Err(format!("`tokenizer.ggml.model` is {other}, expected a text")),
    };
    let scheme = match pieces {
        true => Scheme::Pieces { prefix: flag(metadata, "add_space_prefix")?.unwrap_or(true) },
        false => {
            let pre =
                text("tokenizer.ggml.pre").ok_or("`tokenizer.ggml.pre` is missing: how the text is cut is not told")?;
            Scheme::named(pre).ok_or_else(|| {
                let known = Scheme::names();
                format!("`tokenizer.ggml.pre` is `{pre}`, expected one of {known}: another would give other ids")
            })?
        }
    };
    let tokens = tokens(metadata, pieces, rows)?;
    let merges = match pieces {
        true => joins(&tokens, &scores(metadata, tokens.len())?)?,
        false => texts(metadata, "tokenizer.ggml.merges")?.iter().map(|m| pair(m)).collect::<Result<_, _>>()?,
    };
    let unknown = pieces.then(|| id(metadata, "unknown").unwrap_or(0)).and_then(|id| match tokens.get(id as usize) {
        Some(Token::Word(text) | Token::Added(text, _)) => Some(text.clone()),
        _ => None,
    });
    let mut full = vocabulary::listed(scheme, &tokens, merges, unknown).map_err(|e| e.to_string())?;
    // On by default for SentencePiece and for Llama 3, as in llama.cpp.
    let begins = flag(metadata, "add_bos_token")?.unwrap_or(pieces || scheme == Scheme::Llama3);
    if let Some((text, id)) = named(metadata).get("bos_token").zip(id(metadata, "bos")).filter(|_| begins) {
        vocabulary::begin_with(&mut full, text, id).map_err(|e| e.to_string())?;
    }
    Ok(Some(full))
}

fn texts<'a>(metadata: &'a Entries, key: &str) -> Result<&'a [String], String> {
    match metadata.get(key) {
        Some(Value::Texts(texts)) => Ok(texts),
        Some(_) => Err(format!("`{key}` is not a list of texts")),
        None => Err(format!("`{key}` is missing")),
    }
}

fn flag(metadata: &Entries, name: &str) -> Result<Option<bool>, String> {
    match metadata.get(&format!("tokenizer.ggml.{name}")) {
        None => Ok(None),
        Some(Value::Bool(yes)) => Ok(Some(*yes)),
        Some(other) => Err(format!("`tokenizer.ggml.{name}` is {other}, expected true or false")),
    }
}

/// Two words: a merge is split at the first space behind its first character, which may itself be one.
fn pair(merge: &str) -> Result<(String, String), String> {
    let first = merge.chars().next().map_or(0, char::len_utf8);
    match merge[first..].split_once(' ') {
        Some((a, b)) if !b.is_empty() => Ok((merge[..first + a.len()].to_string(), b.to_string())),
        _ => Err(format!("merge `{merge}` is not two words")),
    }
}

fn tokens(metadata: &Entries, pieces: bool, rows: usize) -> Result<Vec<Token>, String> {
    let tokens = texts(metadata, "tokenizer.ggml.tokens")?;
    let types = match metadata.get("tokenizer.ggml.token_type") {
        Some(Value::Ints(types)) if types.len() == tokens.len() => types,
        Some(_) => return Err(format!("`tokenizer.ggml.token_type` does not list {} whole numbers", tokens.len())),
        None => return Err("`tokenizer.ggml.token_type` is missing".into()),
    };
    if tokens.len() > rows {
        return Err(format!("{} tokens for an embedding of {rows} rows", tokens.len()));
    }
    tokens.iter().zip(types).map(|(text, kind)| token(text, *kind, pieces)).collect()
}

fn token(text: &str, kind: i64, pieces: bool) -> Result<Token, String> {
    Ok(match kind {
        NORMAL => Token::Word(text.into()),
        BYTE if pieces => Token::Word(text.into()),
        // llama.cpp's own converter calls some marks control tokens by their look.
        UNKNOWN | CONTROL | ADDED => Token::Added(text.into(), kind != ADDED && !vocabulary::is_mark(text)),
        UNUSED => Token::None,
        other => {
            let expected = if pieces { "1 to 6" } else { "1 to 5" };
            return Err(format!("token `{text}` is of type {other}, expected {expected}"));
        }
    })
}

fn scores(metadata: &Entries, count: usize) -> Result<Vec<f64>, String> {
    match metadata.get("tokenizer.ggml.scores") {
        Some(Value::Floats(scores)) if scores.len() == count => match scores.iter().all(|s| s.is_finite()) {
            true => Ok(scores.clone()),
            false => Err("`tokenizer.ggml.scores` holds NaN or infinity".into()),
        },
        Some(_) => Err(format!("`tokenizer.ggml.scores` does not list {count} numbers")),
        None => Err("`tokenizer.ggml.scores` is missing".into()),
    }
}

/// Scores as merges. Neither control tokens nor bytes take part.
fn joins(tokens: &[Token], scores: &[f64]) -> Result<Vec<(String, String)>, String> {
    let words = tokens.iter().enumerate().filter_map(|(id, token)| match token {
        Token::Word(text) if byte(text).is_none() => Some((text.as_str(), id)),
        _ => None,
    });
    let ids: HashMap<&str, usize> = words.collect();
    let mut joins: Vec<(f64, &str, &str)> = Vec::new();
    for (id, token) in tokens.iter().enumerate() {
        let Token::Word(text) = token else { continue };
        if text.len() > LONGEST_PIECE {
            return Err(format!("token {id} has {} bytes, expected at most {LONGEST_PIECE}", text.len()));
        }
        if !ids.contains_key(text.as_str()) {
            continue;
        }
        let splits = text.char_indices().skip(1).map(|(at, _)| text.split_at(at));
        let mut known: Vec<_> = splits.filter_map(|(a, b)| Some((*ids.get(a)?, *ids.get(b)?, a, b))).collect();
        known.sort_by_key(|(a, b, ..)| (*a, *b));
        joins.extend(known.into_iter().map(|(.., a, b)| (scores[id], a, b)));
    }
    // Stable, the best first, of equals the longest parts first: Python's `sorted(…, reverse=True)` keeps the order of equals too.
    let lengths = |a: &str, b: &str| (a.chars().count(), b.chars().count());
    joins.sort_by(|x, y| {
        y.0.partial_cmp(&x.0).unwrap_or(Ordering::Equal).then_with(|| lengths(y.1, y.2).cmp(&lengths(x.1, x.2)))
    });
    Ok(joins.into_iter().map(|(_, a, b)| (a.to_string(), b.to_string())).collect())
}

/// The byte that `<0x0A>` stands for.
fn byte(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2).then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}

/// Everything that llama.cpp wants to know of `tokenizer`, for a model with `rows` rows of embedding.
pub fn write(tokenizer: &Tokenizer, rows: usize, eos: Option<u32>, out: &mut Metadata) -> Result<()> {
    let scheme = tokenizer.scheme().ok_or_else(|| {
        let known = Scheme::names();
        Error::input(format!(
            "the tokenizer cuts text in a way that has no name in GGUF; known are {known} and SentencePiece"
        ))
    })?;
    let pieces = matches!(scheme, Scheme::Pieces { .. });
    let unknown = tokenizer.unknown();
    let (mut texts, mut types) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
    for (id, token) in tokenizer.tokens(rows)?.into_iter().enumerate() {
        let (text, kind) = match token {
            Token::Word(text) if pieces && byte(&text).is_some() => (text, BYTE),
            Token::Added(text, _) | Token::Word(text) if pieces && Some(&text) == unknown.as_ref() => (text, UNKNOWN),
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
    out.text("tokenizer.ggml.model", if pieces { "llama" } else { "gpt2" });
    out.text("tokenizer.ggml.pre", scheme.name().unwrap_or("default"));
    out.texts("tokenizer.ggml.tokens", &texts);
    out.i32s("tokenizer.ggml.token_type", &types);
    match scheme {
        Scheme::Pieces { prefix } => {
            out.f32s("tokenizer.ggml.scores", &ranks(&texts, &tokenizer.merges()?));
            out.bool("tokenizer.ggml.add_space_prefix", prefix);
        }
        _ => out.texts("tokenizer.ggml.merges", &tokenizer.merges()?),
    }
    names(tokenizer, eos, out);
    Ok(())
}

/// The special tokens by their names. A tokenizer of Qwen3's chat format has none that begins a text; llama.cpp wants one.
fn names(tokenizer: &Tokenizer, eos: Option<u32>, out: &mut Metadata) {
    let control = tokenizer.control();
    let id = |name: &str| tokenizer.named(name);
    out.u32("tokenizer.ggml.eos_token_id", eos.unwrap_or(control.turn_end));
    out.u32("tokenizer.ggml.padding_token_id", id("pad_token").unwrap_or(control.text_end));
    out.u32("tokenizer.ggml.bos_token_id", id("bos_token").unwrap_or(control.text_end));
    if let Some(unknown) = id("unk_token") {
        out.u32("tokenizer.ggml.unknown_token_id", unknown);
    }
    out.bool("tokenizer.ggml.add_bos_token", tokenizer.begins_texts());
}

/// Scores that bring back the merges: a token made by an earlier merge has a higher one.
fn ranks(tokens: &[String], merges: &[String]) -> Vec<f32> {
    let mut ranks: HashMap<String, usize> = HashMap::new();
    for (rank, merge) in merges.iter().enumerate() {
        ranks.entry(merge.replacen(' ', "", 1)).or_insert(rank);
    }
    tokens.iter().map(|text| ranks.get(text).map_or(NEVER, |rank| -(*rank as f32))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::golden::{json, path};
    use crate::prompt::Tokens;
    use serde_json::Value as Json;

    /// The golden tokenizer `name` in a folder of its own, with begin and end of text as Llama 2 or SmolLM2 call them.
    fn tokenizer(name: &str) -> Tokenizer {
        let dir = tempfile::tempdir().unwrap();
        std::fs::copy(path(&format!("chat/{name}.tokenizer.json")), dir.path().join("tokenizer.json")).unwrap();
        let tokens = match name {
            "byte-smollm" => r#"{"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}"#,
            "byte-llama3" => r#"{"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}"#,
            _ => r#"{"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}"#,
        };
        std::fs::write(dir.path().join("tokenizer_config.json"), tokens).unwrap();
        Tokenizer::open(dir.path()).unwrap()
    }

    /// Written to a GGUF file and read again.
    fn again(tokenizer: &Tokenizer) -> Tokenizer {
        let mut metadata = Metadata::default();
        write(tokenizer, tokenizer.vocab_size() + 3, None, &mut metadata).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("t.gguf");
        std::fs::write(&file, metadata.file()).unwrap();
        Tokenizer::open(&file).unwrap()
    }

    fn texts(name: &str) -> Vec<String> {
        let rows = json(&format!("chat/{name}.json"));
        rows.as_array().unwrap().iter().map(|row| row["text"].as_str().unwrap().to_string()).collect()
    }

    #[test]
    fn tokenizers_of_every_family_survive_being_written() {
        for name in ["byte-llama3", "byte-smollm", "pieces-prepend", "pieces-always", "pieces-never", "pieces-first"] {
            let (first, texts) = (tokenizer(name), texts(name));
            let second = again(&first);
            // `first` puts its space where a text begins, which GGUF cannot tell; behind a control token there is none in both.
            let told = |text: &&String| name != "pieces-first" || text.starts_with("<s>");
            // The library puts a space in front of a text that has none already, llama.cpp in front of every text.
            let spaced = |text: &&String| name != "pieces-always" || !text.contains("<s>") && !text.starts_with(' ');
            let told: Vec<_> = texts.iter().filter(told).filter(spaced).collect();
            for text in &told {
                assert_eq!(second.whole(text).unwrap(), first.whole(text).unwrap(), "{name}: {text:?}");
                assert_eq!(second.encode(text, false).unwrap().is_empty(), text.is_empty());
            }
            assert!(told.len() > 3, "{name}");
            let same =
                |t: &Tokenizer| (t.control(), t.ends().to_vec(), t.named("bos_token"), t.unknown(), t.vocab_size());
            assert_eq!(same(&second), same(&first), "{name}");
            assert!(!second.begins_texts(), "as the source: its file puts no token in front");
        }
    }

    #[test]
    fn scores_become_the_merges_of_transformers() {
        let golden = json("chat/scores.json");
        let list = |key: &str| golden[key].as_array().unwrap().clone();
        let words: Vec<Token> = list("words").iter().map(|w| Token::Word(w.as_str().unwrap().into())).collect();
        let scores: Vec<f64> = list("scores").iter().map(|s| s.as_f64().unwrap()).collect();
        let merges: Vec<(String, String)> = serde_json::from_value(Json::Array(list("merges"))).unwrap();
        assert_eq!(joins(&words, &scores).unwrap(), merges);
        let control = [words, vec![Token::Added("cd▁".into(), true), Token::Word("<0x0A>".into())]].concat();
        assert_eq!(
            joins(&control, &[scores, vec![9.0, 9.0]].concat()).unwrap(),
            merges,
            "neither control tokens nor bytes"
        );
    }

    /// The entries of a small byte-level tokenizer, with some of them changed.
    fn entries(changes: &[(&str, Option<Value>)]) -> Entries {
        let texts = |all: &[&str]| Value::Texts(all.iter().map(|t| t.to_string()).collect());
        let mut out = Entries::from([
            ("tokenizer.ggml.model".to_string(), Value::Text("gpt2".into())),
            ("tokenizer.ggml.pre".to_string(), Value::Text("smollm".into())),
            ("tokenizer.ggml.tokens".to_string(), texts(&["<|im_end|>", "a", "b", "ab"])),
            ("tokenizer.ggml.token_type".to_string(), Value::Ints(vec![3, 1, 1, 1])),
            ("tokenizer.ggml.merges".to_string(), texts(&["a b"])),
            ("tokenizer.ggml.eos_token_id".to_string(), Value::Int(0)),
        ]);
        for (key, value) in changes {
            let key = format!("tokenizer.ggml.{key}");
            match value {
                Some(value) => out.insert(key, value.clone()),
                None => out.remove(&key),
            };
        }
        out
    }

    #[test]
    fn what_a_file_does_not_tell_rightly_is_refused_by_its_key() {
        let read = |changes: &[(&str, Option<Value>)]| read(&entries(changes), 8);
        assert!(read(&[]).unwrap().is_some() && read(&[("model", None)]).unwrap().is_none());
        let refused = |key: &str, value: Option<Value>, says: &str| {
            let error = read(&[(key, value)]).err().unwrap_or_else(|| panic!("{key}: {says}"));
            assert!(error.contains(says), "{error}");
        };
        let text = |t: &str| Some(Value::Text(t.into()));
        refused("model", text("bert"), "`bert`");
        refused("model", Some(Value::Int(1)), "expected a text");
        refused("pre", text("tekken"), "`tekken`, expected one of `qwen2`");
        refused("pre", text("default"), "`default`");
        refused("pre", None, "`tokenizer.ggml.pre` is missing");
        refused("merges", None, "merges` is missing");
        refused("merges", Some(Value::Texts(vec!["ab".into()])), "`ab` is not two words");
        refused("merges", Some(Value::Texts(vec!["ab ab".into()])), "makes no token");
        refused("token_type", Some(Value::Ints(vec![3, 1, 1, 9])), "of type 9");
        refused("token_type", Some(Value::Ints(vec![3, 1, 1, 6])), "of type 6"); // a byte, of pieces only
        refused("token_type", Some(Value::Ints(vec![3])), "4 whole numbers");
        refused("add_bos_token", Some(Value::Int(1)), "true or false");
        let pieces = ("model", text("llama"));
        let scored =
            |scores: Vec<f64>| super::read(&entries(&[pieces.clone(), ("scores", Some(Value::Floats(scores)))]), 8);
        assert!(super::read(&entries(std::slice::from_ref(&pieces)), 8).unwrap_err().contains("scores` is missing"));
        assert!(scored(vec![0.0; 3]).unwrap_err().contains("4 numbers"));
        assert!(scored(vec![f64::NAN; 4]).unwrap_err().contains("NaN"));
        assert!(scored(vec![0.0; 4]).unwrap().is_some());
    }

    #[test]
    fn a_merge_is_split_behind_its_first_character() {
        let pairs = ["a b", "  b", "é é"].map(|m| pair(m).unwrap());
        assert_eq!(pairs, [("a", "b"), (" ", "b"), ("é", "é")].map(|(a, b)| (a.to_string(), b.to_string())));
        for bad in ["", "ab", "a ", " "] {
            assert!(pair(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_space_in_front_and_the_token_that_begins_a_text_are_as_the_file_says() {
        let pieces: Vec<String> = ["<unk>", "<s>", "</s>", "<0x41>", "▁", "a", "▁a"].map(String::from).to_vec();
        let made = |changes: &[(&str, Option<Value>)]| {
            let base = [
                ("model", Some(Value::Text("llama".into()))),
                ("tokens", Some(Value::Texts(pieces.clone()))),
                ("token_type", Some(Value::Ints(vec![2, 3, 3, 6, 1, 1, 1]))),
                ("scores", Some(Value::Floats(vec![0.0, 0.0, 0.0, 0.0, -3.0, -2.0, -1.0]))),
                ("bos_token_id", Some(Value::Int(1))),
            ];
            read(&entries(&[&base[..], changes].concat()), 7).unwrap().unwrap()
        };
        let ids = |t: &tokenizers::Tokenizer, text: &str, special| t.encode(text, special).unwrap().get_ids().to_vec();
        let usual = made(&[]);
        assert_eq!(ids(&usual, "a<s>aA", false), [6, 1, 6, 3], "as llama.cpp: a space behind each control token");
        assert_eq!(ids(&usual, "a", true), [1, 6]);
        assert_eq!(usual.decode(&[6, 3], false).unwrap(), "aA");
        let bare = made(&[("add_space_prefix", Some(Value::Bool(false))), ("add_bos_token", Some(Value::Bool(false)))]);
        assert_eq!(ids(&bare, "a<s> aA", true), [5, 1, 6, 3]);
    }
}

//! A Qwen3 in a GGUF file: its config, its tensors by their Hugging Face names, its tokenizer.
//!
//! Strict as a checkpoint folder is: another architecture, a missing, unknown or misshapen tensor, NaN and infinity are errors that
//! name the file and the tensor.
use super::header::{Entry, Header, Value};
use super::kinds::Kind;
use super::names::{self, HEAD};
use super::tokens;
use crate::error::{Error, Result};
use crate::model::ops::Weight;
use crate::model::{Config, Keep};
use candle_core::{DType, Tensor};
use serde_json::{Map, Value as Json, json};
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

const ARCHITECTURE: &str = "qwen3";

/// Our keys, and GGUF's behind `qwen3.`.
const KEYS: [(&str, &str); 9] = [
    ("num_hidden_layers", "block_count"),
    ("max_position_embeddings", "context_length"),
    ("hidden_size", "embedding_length"),
    ("intermediate_size", "feed_forward_length"),
    ("num_attention_heads", "attention.head_count"),
    ("num_key_value_heads", "attention.head_count_kv"),
    ("head_dim", "attention.key_length"),
    ("rms_norm_eps", "attention.layer_norm_rms_epsilon"),
    ("rope_theta", "rope.freq_base"),
];

/// One opened file. See the module's header.
#[derive(Debug)]
pub struct Gguf {
    path: PathBuf,
    header: Header,
    config: Config,
}

impl Gguf {
    /// Reads the header and checks that exactly a Qwen3's tensors are there; no tensor yet.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io(path))?;
        let size = file.metadata().map_err(Error::io(path))?.len();
        let header = Header::read(BufReader::new(file), size).map_err(|what| {
            Error::input(format!("{}: {what}; is the file cut, or not a GGUF file?", path.display()))
        })?;
        let at = |e| Error::input(format!("{}: {e}", path.display()));
        let config = config(&header, path)?;
        let gguf = Self { path: path.to_path_buf(), header, config };
        gguf.complete().map_err(at)?;
        Ok(gguf)
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The file's own name for the model, as in `general.name`.
    pub fn name(&self) -> Option<&str> {
        text(&self.header, "general.name")
    }

    /// The template that the file carries.
    pub fn chat_template(&self) -> Option<&str> {
        text(&self.header, "tokenizer.chat_template")
    }

    /// The tokenizer, if the file has one.
    pub fn tokenizer(&self) -> Result<Option<tokenizers::Tokenizer>> {
        let made = tokens::read(&self.header.metadata, self.config.vocab_size);
        made.map_err(|e| Error::input(format!("{}: {e}", self.path.display())))
    }

    /// The type in which a tensor is stored, by Hugging Face's name.
    pub fn kind(&self, name: &str) -> Option<&'static Kind> {
        Some(self.entry(name)?.1.kind)
    }

    /// GGUF's name and the place of a tensor, by Hugging Face's name.
    pub(super) fn entry(&self, name: &str) -> Option<(String, &Entry)> {
        let theirs = names::gguf(name)?;
        let entry = self.header.tensors.get(&theirs)?;
        Some((theirs, entry))
    }

    /// The tensor of Hugging Face's `name`, which must have `shape`, in f32.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let (kind, bytes) = self.read(name, shape)?;
        Ok(kind.tensor(bytes.get(), shape)?.to_dtype(DType::F32)?)
    }

    /// The same as `keep` wants it in memory.
    pub fn weight(&self, name: &str, shape: &[usize], keep: Keep) -> Result<Weight> {
        let (kind, bytes) = self.read(name, shape)?;
        let blocks = shape.len() == 2 && !kind.is_float();
        if blocks && (keep == Keep::Stored || matches!(keep, Keep::F32 | Keep::Mixed) && kind.widens()) {
            let weight = Weight::quantised(kind.blocks(bytes.get(), shape)?)?;
            return Ok(if keep == Keep::Mixed { weight.mixed() } else { weight });
        }
        let tensor = kind.tensor(bytes.get(), shape)?;
        Ok(keep.weight(match keep {
            _ if shape.len() == 1 => tensor.to_dtype(DType::F32)?, // norms are small, and their loops are f32
            Keep::F32 => tensor.to_dtype(DType::F32)?,
            Keep::Bf16 | Keep::Mixed => tensor.to_dtype(DType::BF16)?,
            Keep::Stored => tensor,
        }))
    }

    fn read(&self, name: &str, shape: &[usize]) -> Result<(&'static Kind, Aligned)> {
        let missing = || Error::input(format!("{}: tensor `{name}` is missing", self.path.display()));
        let (theirs, entry) = self.entry(name).ok_or_else(missing)?;
        let wrong = |what: String| Error::input(format!("{}: tensor `{theirs}` {what}", self.path.display()));
        if entry.shape != shape {
            return Err(wrong(format!("has shape {:?}, expected {shape:?}", entry.shape)));
        }
        let bytes = Aligned::read(&self.path, entry)?;
        match entry.kind.not_finite(bytes.get()) {
            Some(at) => Err(wrong(format!("holds NaN or infinity at number {at}: the file is damaged"))),
            None => Ok((entry.kind, bytes)),
        }
    }

    /// Every tensor of the config with its shape, and nothing else.
    fn complete(&self) -> Result<(), String> {
        let mut unknown: std::collections::BTreeSet<&str> = self.header.tensors.keys().map(String::as_str).collect();
        for (name, shape) in self.config.tensors() {
            let theirs = names::gguf(&name).ok_or_else(|| format!("tensor `{name}` has no GGUF name"))?;
            let Some(entry) = self.header.tensors.get(&theirs) else {
                return Err(format!("tensor `{theirs}` {shape:?} is missing"));
            };
            if entry.shape != shape {
                return Err(format!(
                    "tensor `{theirs}` has shape {:?}, expected {shape:?} by the metadata",
                    entry.shape
                ));
            }
            unknown.remove(theirs.as_str());
        }
        match unknown.first() {
            Some(name) => Err(format!("tensor `{name}` is not part of a Qwen3 with this metadata")),
            None => Ok(()),
        }
    }
}

fn text<'a>(header: &'a Header, key: &str) -> Option<&'a str> {
    match header.metadata.get(key) {
        Some(Value::Text(text)) => Some(text),
        _ => None,
    }
}

/// The metadata as a config.json would have it, checked as a config.json is.
fn config(header: &Header, path: &Path) -> Result<Config> {
    let wrong = |key: &str, what: String| Error::input(format!("{}: `{key}` {what}", path.display()));
    match text(header, "general.architecture") {
        Some(ARCHITECTURE) => {}
        other => {
            let got = other.map_or("missing".into(), |name| format!("`{name}`"));
            return Err(wrong("general.architecture", format!("is {got}, expected `{ARCHITECTURE}`")));
        }
    }
    let mut map = Map::new();
    for (ours, theirs) in KEYS {
        let key = format!("{ARCHITECTURE}.{theirs}");
        let value = match header.metadata.get(&key) {
            Some(Value::Int(n)) => u64::try_from(*n).map_or(json!(*n as f64), Json::from),
            Some(Value::Float(x)) => Json::from(*x),
            Some(other) => return Err(wrong(&key, format!("is {}, expected a number", short(other)))),
            None => by_default(theirs, &map).ok_or_else(|| wrong(&key, "is missing".into()))?,
        };
        map.insert(ours.into(), value);
    }
    let embedding = header.tensors.get(names::EMBEDDING);
    let Some([rows, _]) = embedding.map(|e| &e.shape[..]) else {
        return Err(wrong(names::EMBEDDING, "is missing or not a matrix".into()));
    };
    map.extend([
        ("vocab_size".to_string(), json!(rows)),
        ("model_type".to_string(), json!("qwen3")),
        ("tie_word_embeddings".to_string(), json!(!header.tensors.contains_key(HEAD))),
        ("eos_token_id".to_string(), json!(tokens::ends(&header.metadata))),
        ("pad_token_id".to_string(), json!(tokens::id(&header.metadata, "padding"))),
    ]);
    let config = Config::from_keys(path, map)?;
    refuse(header, &config).map_err(|(key, what)| wrong(key, what))?;
    Ok(config)
}

/// What llama.cpp takes where a key is missing.
fn by_default(key: &str, known: &Map<String, Json>) -> Option<Json> {
    let size = |key: &str| known.get(key).and_then(Json::as_u64);
    match key {
        "attention.head_count_kv" => size("num_attention_heads").map(Json::from),
        "attention.key_length" => size("hidden_size")?.checked_div(size("num_attention_heads")?).map(Json::from),
        "rope.freq_base" => Some(json!(10_000.0)),
        _ => None,
    }
}

/// Keys that would make the file's forward another one than ours.
fn refuse(header: &Header, config: &Config) -> Result<(), (&'static str, String)> {
    let get = |key: &str| header.metadata.get(key);
    for key in ["qwen3.attention.value_length", "qwen3.rope.dimension_count"] {
        if let Some(value) = get(key).filter(|v| **v != Value::Int(config.head_dim as i128)) {
            return Err((key, format!("is {}, expected {}, the length of a key", short(value), config.head_dim)));
        }
    }
    if let Some(value) = get("qwen3.vocab_size").filter(|v| **v != Value::Int(config.vocab_size as i128)) {
        return Err(("qwen3.vocab_size", format!("is {}, the embedding has {} rows", short(value), config.vocab_size)));
    }
    match get("qwen3.rope.scaling.type") {
        None => Ok(()),
        Some(Value::Text(kind)) if kind == "none" => Ok(()),
        Some(other) => Err((
            "qwen3.rope.scaling.type",
            format!("is {}, expected `none`: scaled positions are not computed here", short(other)),
        )),
    }
}

fn short(value: &Value) -> String {
    format!("{value:?}").chars().take(80).collect()
}

/// The bytes of a tensor at an address that candle's blocks can lie on.
struct Aligned {
    bytes: Vec<u8>,
    from: usize,
    len: usize,
}

impl Aligned {
    fn read(path: &Path, entry: &Entry) -> Result<Self> {
        let len = entry.bytes as usize; // within the file, by `Header::read`
        let mut bytes = vec![0; len + 16];
        let from = bytes.as_ptr().align_offset(16).min(16);
        let mut file = File::open(path).map_err(Error::io(path))?;
        file.seek(SeekFrom::Start(entry.offset)).map_err(Error::io(path))?;
        file.read_exact(&mut bytes[from..from + len]).map_err(Error::io(path))?;
        Ok(Self { bytes, from, len })
    }

    fn get(&self) -> &[u8] {
        &self.bytes[self.from..self.from + self.len]
    }
}

//! A model in a GGUF file: its config, its tensors by their Hugging Face names and in its order of rows, its tokenizer.
//!
//! Strict as a checkpoint folder is: another architecture, a missing, unknown or misshapen tensor, NaN and infinity are
//! errors that name the file and the tensor.
use super::description;
use super::header::{Entry, Fault, Header, Value};
use super::kinds::Kind;
use super::names;
use super::rows::Rows;
use super::tokens;
use crate::error::{Error, Result};
use crate::model::foreign::foreign;
use crate::model::ops::Weight;
use crate::model::{Config, Precision};
use candle_core::{DType, Tensor};
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// One opened file. See the module's header.
#[derive(Debug)]
pub struct Gguf {
    path: PathBuf,
    header: Header,
    config: Config,
}

impl Gguf {
    /// Reads the header and checks that exactly the model's tensors are there; of those only the divisors of rotary
    /// frequencies.
    pub fn open(path: &Path) -> Result<Self> {
        let at = |what: String| Error::input(format!("{}: {what}", path.display()));
        let file = File::open(path).map_err(Error::io(path))?;
        let size = file.metadata().map_err(Error::io(path))?.len();
        let header = Header::read(BufReader::new(file), size).map_err(|fault| match (foreign(path), fault) {
            (Some(what), _) => at(format!("this is {what}")),
            (None, Fault::Broken(what)) => at(format!("{what}; is the file cut, or not a GGUF file?")),
            (None, Fault::Unsupported(what)) => at(what),
        })?;
        whole(&header).map_err(at)?;
        let divisors = match header.tensors.get(names::DIVISORS) {
            Some(entry) => Some(divisors(path, entry)?),
            None => None,
        };
        let config = description::config(&header, divisors, path)?;
        let gguf = Self { path: path.to_path_buf(), header, config };
        gguf.complete().map_err(at)?;
        Ok(gguf)
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The file's own name for the model, as in `general.name`.
    pub fn name(&self) -> Option<&str> {
        self.header.text("general.name")
    }

    /// The template that the file carries.
    pub fn chat_template(&self) -> Option<&str> {
        self.header.text("tokenizer.chat_template")
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

    /// The same as `precision` wants it in memory.
    pub fn weight(&self, name: &str, shape: &[usize], precision: Precision) -> Result<Weight> {
        use Precision::{Bf16, F32, Mixed, Stored};
        let (kind, bytes) = self.read(name, shape)?;
        let blocks = shape.len() == 2 && !kind.is_float();
        if blocks && (precision == Stored || matches!(precision, F32 | Mixed) && kind.widens()) {
            let weight = Weight::quantised(kind.blocks(bytes.get(), shape)?)?;
            return Ok(if precision == Mixed { weight.mixed() } else { weight });
        }
        let tensor = kind.tensor(bytes.get(), shape)?;
        Ok(precision.weight(match precision {
            _ if shape.len() == 1 => tensor.to_dtype(DType::F32)?, // norms and biases are small, and their loops are f32
            F32 => tensor.to_dtype(DType::F32)?,
            Bf16 | Mixed => tensor.to_dtype(DType::BF16)?,
            Stored => tensor,
        }))
    }

    fn read(&self, name: &str, shape: &[usize]) -> Result<(&'static Kind, Aligned)> {
        let missing = || Error::input(format!("{}: tensor `{name}` is missing", self.path.display()));
        let (theirs, entry) = self.entry(name).ok_or_else(missing)?;
        let wrong = |what: String| Error::input(format!("{}: tensor `{theirs}` {what}", self.path.display()));
        if entry.shape != shape {
            return Err(wrong(format!("has shape {:?}, expected {shape:?}", entry.shape)));
        }
        let mut bytes = Aligned::read(&self.path, entry)?;
        if let Some(at) = entry.kind.not_finite(bytes.get()) {
            return Err(wrong(format!("holds NaN or infinity at number {at}: the file is damaged")));
        }
        if let Some(rows) = Rows::of(&self.config, name) {
            rows.from_file(bytes.get_mut());
        }
        Ok((entry.kind, bytes))
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
        unknown.remove(names::DIVISORS); // read with the config
        match unknown.first() {
            Some(name) => {
                let family = self.config.family.model_type();
                Err(format!("tensor `{name}` is not part of a {family} with this metadata"))
            }
            None => Ok(()),
        }
    }
}

/// Fails for a part of a split file.
fn whole(header: &Header) -> Result<(), String> {
    let number = |key: &str| match header.metadata.get(key) {
        Some(Value::Int(n)) => *n,
        _ => 0,
    };
    match number("split.count") {
        count if count > 1 => Err(format!(
            "this is part {} of {count} of a split file; put the parts together first (`llama-gguf-split --merge`)",
            number("split.no") + 1
        )),
        _ => Ok(()),
    }
}

/// `rope_freqs.weight` [head_dim / 2].
fn divisors(path: &Path, entry: &Entry) -> Result<Vec<f64>> {
    let wrong = |what: &str| Error::input(format!("{}: tensor `{}` {what}", path.display(), names::DIVISORS));
    if entry.kind.name != "F32" || entry.shape.len() != 1 {
        return Err(wrong("is not a list of F32 numbers"));
    }
    let bytes = Aligned::read(path, entry)?;
    let all = bytes.get().chunks_exact(4).map(|b| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]])));
    let all: Vec<f64> = all.collect();
    match all.iter().all(|by| by.is_finite() && *by > 0.0) {
        true => Ok(all),
        false => Err(wrong("holds a number that is not positive: the file is damaged")),
    }
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

    fn get_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.from..self.from + self.len]
    }
}

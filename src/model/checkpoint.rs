//! A checkpoint: a folder in Hugging Face layout (`config.json` and `model.safetensors`, or shards with
//! `model.safetensors.index.json`), or a GGUF file. Who reads weights by name does not know which.
//!
//! Strict both ways: a tensor that is missing, misshapen or never asked for is an error that names the tensor and the
//! file. Headers are checked against the length of the file before anything is read, so a cut or hostile file ends in
//! an error, never in a panic or a wild allocation. Tensors come as f32 on the CPU, one at a time: peak memory is the
//! model plus one tensor as stored.
use super::config::Config;
use super::foreign::foreign;
use super::gguf::Gguf;
use super::ops::Weight;
use super::precision::Precision;
use crate::error::{Error, Result};
use crate::io::write_beside;
use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

pub(super) const SINGLE: &str = "model.safetensors";
pub(super) const INDEX: &str = "model.safetensors.index.json";
const HEAD: &str = "lm_head.weight";
/// Old conversions of Llama store what follows from config.json: the rotary frequencies of every layer.
const FREQUENCIES: &str = ".self_attn.rotary_emb.inv_freq";
/// A header lists names and shapes only; safetensors itself refuses longer ones.
const LONGEST_HEADER: u64 = 100_000_000;

/// One opened checkpoint. See the file's header.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    config: Config,
    files: Files,
    asked: Mutex<BTreeSet<String>>,
}

#[derive(Debug)]
enum Files {
    Folder(BTreeMap<String, Entry>),
    /// Checked as a whole when it was opened.
    Gguf(Gguf),
}

#[derive(Clone, Debug)]
struct Entry {
    file: PathBuf,
    /// Of the first byte, from the start of the file.
    offset: u64,
    info: TensorInfo,
}

impl Checkpoint {
    /// Reads config and every header of a folder or a GGUF file; no tensor yet.
    pub fn open(path: &Path) -> Result<Self> {
        if let Some(what) = misplaced(path) {
            return Err(Error::input(format!("{}: {what}", path.display())));
        }
        let (config, files) = if path.is_file() {
            let gguf = Gguf::open(path)?;
            (gguf.config().clone(), Files::Gguf(gguf))
        } else {
            let config = Config::read(path)?;
            let named = |(stored, entry): (String, Entry)| Some((config.family.tensor_name(&stored)?, entry));
            let entries = entries(path)?.into_iter().filter_map(named).collect();
            (config, Files::Folder(entries))
        };
        Ok(Self { path: path.to_path_buf(), config, files, asked: Mutex::default() })
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Every tensor of the files, sorted.
    pub fn names(&self) -> Vec<String> {
        match &self.files {
            Files::Folder(entries) => entries.keys().cloned().collect(),
            Files::Gguf(_) => self.config.tensors().into_keys().collect(),
        }
    }

    /// The type in which the embedding is stored, as the rest mostly is; F16 for blocks, as their scales are.
    pub fn stored(&self) -> DType {
        const EMBEDDING: &str = "model.embed_tokens.weight";
        match &self.files {
            Files::Folder(entries) => match entries.get(EMBEDDING).map(|e| e.info.dtype) {
                Some(Dtype::BF16) => DType::BF16,
                Some(Dtype::F16) => DType::F16,
                _ => DType::F32,
            },
            Files::Gguf(gguf) => match gguf.kind(EMBEDDING).map(|kind| kind.name) {
                Some("F32") => DType::F32,
                Some("BF16") => DType::BF16,
                _ => DType::F16,
            },
        }
    }

    /// The tensor called `name`, which must have `shape`, as f32 on the CPU.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        match &self.files {
            Files::Gguf(gguf) => gguf.tensor(name, shape),
            Files::Folder(entries) => {
                let values = self.entry(entries, name, shape)?.values(name)?;
                Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
            }
        }
    }

    /// The tensor called `name`, which must have `shape`, as `precision` wants it in memory.
    pub fn weight(&self, name: &str, shape: &[usize], precision: Precision) -> Result<Weight> {
        let stored = match &self.files {
            Files::Gguf(gguf) => return gguf.weight(name, shape, precision),
            Files::Folder(entries) => self.entry(entries, name, shape)?.info.dtype,
        };
        let dtype = match (precision, stored) {
            _ if shape.len() != 2 => DType::F32, // norms, biases and convolutions are small, and their loops are f32
            (Precision::Stored, Dtype::BF16) | (Precision::Bf16 | Precision::Mixed, _) => DType::BF16,
            (Precision::Stored, Dtype::F16) => DType::F16,
            _ => DType::F32,
        };
        Ok(precision.weight(self.tensor(name, shape)?.to_dtype(dtype)?))
    }

    fn entry<'a>(&self, entries: &'a BTreeMap<String, Entry>, name: &str, shape: &[usize]) -> Result<&'a Entry> {
        let entry = entries.get(name).ok_or_else(|| {
            let why = match self.bias_key(name) {
                Some(key) => format!("config.json says `{key}: true`; set it to false if the model has no such biases"),
                None => match entries
                    .keys()
                    .find_map(|own| own.strip_suffix(name).filter(|before| before.ends_with('.')))
                {
                    Some(before) => format!("`{before}{name}` is there: save the model without the prefix `{before}`"),
                    None => "does config.json fit?".into(),
                },
            };
            Error::input(format!("{}: tensor `{name}` {shape:?} is missing; {why}", self.path.display()))
        })?;
        if entry.info.shape != shape {
            return Err(Error::input(format!(
                "{}: tensor `{name}` has shape {:?}, expected {shape:?} by config.json",
                entry.file.display(),
                entry.info.shape
            )));
        }
        // A poisoned lock only means that another thread panicked between two inserts: the set is still whole.
        self.asked.lock().unwrap_or_else(|e| e.into_inner()).insert(name.to_string());
        Ok(entry)
    }

    /// The key of config.json that asks for a bias, in a family that has biases only where one does.
    fn bias_key(&self, name: &str) -> Option<&'static str> {
        let optional = self.config.family.model_type() == "llama" && name.ends_with(".bias");
        optional.then(|| if name.contains(".mlp.") { "mlp_bias" } else { "attention_bias" })
    }

    /// Fails unless exactly the config's tensors are there; reads none of them, but for a head that may repeat the
    /// embedding.
    pub fn check(&self) -> Result<()> {
        if let Files::Folder(entries) = &self.files {
            for (name, shape) in self.config.tensors() {
                self.entry(entries, &name, &shape)?;
            }
        }
        self.finish()
    }

    /// Fails if a tensor of the files was never asked for. A tied checkpoint may still carry its head, if it equals the
    /// embedding; rotary frequencies are left aside.
    pub fn finish(&self) -> Result<()> {
        let Files::Folder(entries) = &self.files else { return Ok(()) };
        let asked = self.asked.lock().unwrap_or_else(|e| e.into_inner());
        let rest = entries.iter().filter(|(name, _)| !asked.contains(*name) && !name.ends_with(FREQUENCIES));
        for (name, entry) in rest {
            let file = entry.file.display();
            if name != HEAD || !self.config.tie_word_embeddings {
                return Err(Error::input(format!(
                    "{file}: tensor `{name}` is not part of a {} with this config.json",
                    self.config.family.model_type()
                )));
            }
            let tied = entries.get("model.embed_tokens.weight");
            let equal = match tied {
                Some(embedding) => embedding.values("model.embed_tokens.weight")? == entry.values(name)?,
                None => false,
            };
            if !equal {
                return Err(Error::input(format!(
                    "{file}: `{HEAD}` differs from `model.embed_tokens.weight`, but config.json has tie_word_embeddings: set it to false"
                )));
            }
        }
        Ok(())
    }

    /// SHA-256 over `config.json` and every weight file (name and bytes, in order of name), in hex.
    pub fn digest(&self) -> Result<String> {
        let files = match &self.files {
            Files::Folder(entries) => {
                let weights: BTreeSet<PathBuf> = entries.values().map(|e| e.file.clone()).collect();
                std::iter::once(self.path.join("config.json")).chain(weights).collect()
            }
            Files::Gguf(_) => vec![self.path.clone()],
        };
        let mut hash = Sha256::new();
        for path in &files {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let mut file = File::open(path).map_err(Error::io(path))?;
            let bytes = file.metadata().map_err(Error::io(path))?.len();
            hash.update(format!("{name}\0{bytes}\0"));
            let mut piece = vec![0; 1 << 20];
            loop {
                match file.read(&mut piece).map_err(Error::io(path))? {
                    0 => break,
                    n => hash.update(&piece[..n]),
                }
            }
        }
        Ok(hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
    }

    /// Writes `dir/model.safetensors` in `dtype` (F32, F16 or BF16): beside, then renamed. `Config::write` writes the
    /// rest.
    pub fn save(dir: &Path, tensors: &BTreeMap<String, Tensor>, dtype: DType) -> Result<()> {
        std::fs::create_dir_all(dir).map_err(Error::io(dir))?;
        let cast = tensors.iter().map(|(name, t)| Ok((name.as_str(), t.detach().to_dtype(dtype)?.contiguous()?)));
        let cast = cast.collect::<Result<Vec<_>>>()?;
        let pytorch = HashMap::from([("format".to_string(), "pt".to_string())]); // transformers asks for it
        write_beside(&dir.join(SINGLE), |path| {
            safetensors::serialize_to_file(cast, Some(pytorch), path)
                .map_err(|e| Error::failed(format!("{}: {e}", path.display())))
        })
    }
}

/// The tensors of a folder.
/// What stands where a model folder or a GGUF file should, and what to give.
fn misplaced(path: &Path) -> Option<String> {
    let ends = |path: &Path, wanted: &str| path.extension().is_some_and(|end| end.eq_ignore_ascii_case(wanted));
    if path.is_file() {
        let folder = path.parent().filter(|dir| dir.join("config.json").is_file());
        let one = ["safetensors", "json", "bin", "jinja"].iter().any(|end| ends(path, end));
        return folder.filter(|_| one).map(|dir| format!("is one file of a model: give its folder, {}", dir.display()));
    }
    if !path.is_dir() || path.join("config.json").is_file() {
        return None;
    }
    if path.join("adapter_config.json").is_file() {
        return Some("holds an adapter and no model: give it as --adapter, and its base model as --model".into());
    }
    let mut models: Vec<String> = std::fs::read_dir(path)
        .ok()?
        .flatten()
        .filter(|entry| ends(&entry.path(), "gguf"))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    models.sort();
    (!models.is_empty()).then(|| format!("holds no config.json, but {}: give the path of one", models.join(", ")))
}

fn entries(dir: &Path) -> Result<BTreeMap<String, Entry>> {
    let single = dir.join(SINGLE);
    if single.is_file() {
        header(&single)
    } else if dir.join(INDEX).is_file() {
        shards(dir)
    } else {
        let others =
            ["pytorch_model.bin", "pytorch_model.bin.index.json", "consolidated.safetensors", "consolidated.00.pth"];
        let found = others.into_iter().find(|name| dir.join(name).is_file());
        let advice = found.map_or(String::new(), |name| {
            format!("; {name} is, which is not read: save the model with transformers (`save_pretrained`), or get the repository's safetensors")
        });
        Err(Error::input(format!("{}: neither {SINGLE} nor {INDEX} is there{advice}", dir.display())))
    }
}

impl Entry {
    /// In f32. NaN and infinity are refused here, where the tensor still has a name, not found later in a loss.
    fn values(&self, name: &str) -> Result<Vec<f32>> {
        let path = &self.file;
        let (start, end) = self.info.data_offsets;
        let mut bytes = vec![0; end - start]; // within the file, by `header`
        let mut file = File::open(path).map_err(Error::io(path))?;
        file.seek(SeekFrom::Start(self.offset)).map_err(Error::io(path))?;
        file.read_exact(&mut bytes).map_err(Error::io(path))?;
        let pairs = || bytes.chunks_exact(2).map(|b| [b[0], b[1]]);
        let values: Vec<f32> = match self.info.dtype {
            Dtype::F32 => bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
            Dtype::F16 => pairs().map(|b| f16::from_le_bytes(b).to_f32()).collect(),
            Dtype::BF16 => pairs().map(|b| bf16::from_le_bytes(b).to_f32()).collect(),
            other => {
                return Err(Error::input(format!(
                    "{}: tensor `{name}` is stored as {other:?}, expected F32, F16 or BF16: give the unquantised checkpoint",
                    path.display()
                )));
            }
        };
        match values.iter().position(|x| !x.is_finite()) {
            Some(at) => Err(Error::input(format!(
                "{}: tensor `{name}` holds {} at number {at}: the file is damaged, or training went wrong",
                path.display(),
                values[at]
            ))),
            None => Ok(values),
        }
    }
}

/// The tensors of one safetensors file, once its header is known to fit the file's length.
fn header(path: &Path) -> Result<BTreeMap<String, Entry>> {
    let bad = |what: String| match foreign(path) {
        Some(other) => Error::input(format!("{}: this is {other}", path.display())),
        None => Error::input(format!("{}: {what}; is the file cut or not safetensors?", path.display())),
    };
    let mut file = File::open(path).map_err(Error::io(path))?;
    let size = file.metadata().map_err(Error::io(path))?.len();
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(|_| bad(format!("{size} bytes are too few for a header")))?;
    if length.starts_with(b"{\"") || length.starts_with(b"{ ") || length.starts_with(b"{\n") {
        return Err(bad("the file is JSON text, as a server answers an error with: download it anew".into()));
    }
    let length = u64::from_le_bytes(length);
    if length > LONGEST_HEADER || length > size - 8 {
        return Err(bad(format!("the header claims {length} bytes of {size}")));
    }
    let mut json = vec![0; length as usize];
    file.read_exact(&mut json).map_err(Error::io(path))?;
    let metadata: Metadata = serde_json::from_slice(&json).map_err(|e| {
        let tensor = misfit(&json).map_or(String::new(), |name| format!(" of tensor `{name}`"));
        bad(format!("the header{tensor} is not valid: {e}"))
    })?;
    let wanted = 8 + length + metadata.data_len() as u64;
    if wanted != size {
        return Err(bad(format!("the header describes {wanted} bytes, the file has {size}")));
    }
    let tensors = metadata.tensors().into_iter();
    Ok(tensors
        .map(|(name, info)| {
            let offset = 8 + length + info.data_offsets.0 as u64;
            (name, Entry { file: path.to_path_buf(), offset, info: info.clone() })
        })
        .collect())
}

/// The tensor of a header whose entry cannot be read.
fn misfit(header: &[u8]) -> Option<String> {
    let all: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(header).ok()?;
    let broken = |value: serde_json::Value| serde_json::from_value::<safetensors::tensor::TensorInfo>(value).is_err();
    all.into_iter().filter(|(name, _)| name != "__metadata__").find(|(_, value)| broken(value.clone())).map(|one| one.0)
}

/// The tensors of a sharded checkpoint: exactly those of the index, each in the shard that the index names.
fn shards(dir: &Path) -> Result<BTreeMap<String, Entry>> {
    let index = dir.join(INDEX);
    let map = weight_map(&index)?;
    let mut entries = BTreeMap::new();
    for shard in map.values().collect::<BTreeSet<_>>() {
        let path = dir.join(shard);
        for (name, entry) in header(&path)? {
            if map.get(&name) != Some(shard) {
                return Err(Error::input(format!("{}: tensor `{name}` is not listed in {INDEX}", path.display())));
            }
            entries.insert(name, entry);
        }
    }
    match map.iter().find(|(name, _)| !entries.contains_key(*name)) {
        Some((name, shard)) => {
            Err(Error::input(format!("{}: tensor `{name}` is not in {shard}, where the index has it", index.display())))
        }
        None => Ok(entries),
    }
}

/// Tensor → shard, as an index file says. Shards are plain names: an index cannot reach out of its folder.
pub(super) fn weight_map(index: &Path) -> Result<BTreeMap<String, String>> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let Index { weight_map } = crate::io::read_json(index)?;
    match weight_map.values().find(|shard| !shard.ends_with(".safetensors") || shard.contains(['/', '\\', ':'])) {
        Some(shard) => Err(Error::input(format!("{}: `{shard}` is not the name of a shard", index.display()))),
        None => Ok(weight_map),
    }
}

#[cfg(test)]
mod tests;

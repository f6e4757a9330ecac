//! The tensors of an encoder's checkpoint folder, strict both ways: one that is missing, misshapen or of no known use is an error.
//!
//! Names are those of the checkpoint with a head (`bert.encoder…`); a file of the bare encoder may leave the prefix out, and old files may
//! say `gamma` and `beta` for a norm's weight and bias, as transformers reads them too.
use super::config::EncoderConfig;
use crate::error::{Error, Result};
use crate::io;
use crate::model::checkpoint::{INDEX, SINGLE, weight_map};
use crate::model::tensors;
use candle_core::{DType, Tensor};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What checkpoints carry that no encoder here asks for: other heads, and a table of the numbers 0, 1, 2 …
const UNUSED: [&str; 7] =
    ["embeddings.position_ids", "pooler.", "cls.", "lm_head.", "decoder.", "classifier.", "head."];

/// See the file's header.
pub struct Stored {
    dir: PathBuf,
    prefix: &'static str,
    tensors: BTreeMap<String, Tensor>,
}

impl Stored {
    /// Reads all tensors of `dir/model.safetensors`, or of the shards that its index names.
    pub fn open(dir: &Path, config: &EncoderConfig) -> Result<Self> {
        let prefix = config.family.prefix();
        let mut all = BTreeMap::new();
        for file in weight_files(dir)? {
            for (name, tensor) in tensors::read(&file)? {
                all.insert(modern_name(name.strip_prefix(prefix).unwrap_or(&name)), tensor);
            }
        }
        Ok(Self { dir: dir.to_path_buf(), prefix, tensors: all })
    }

    /// The tensor called `name`, which must have `shape`, in f32.
    pub fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let dir = self.dir.display();
        let bare = name.strip_prefix(self.prefix).unwrap_or(name);
        let tensor = self.tensors.remove(bare).ok_or_else(|| {
            Error::input(format!("{dir}: tensor `{name}` {shape:?} is missing; does config.json fit?"))
        })?;
        if tensor.dims() != shape {
            return Err(Error::input(format!(
                "{dir}: tensor `{name}` has shape {:?}, expected {shape:?} by config.json",
                tensor.dims()
            )));
        }
        if !matches!(tensor.dtype(), DType::F32 | DType::F16 | DType::BF16 | DType::F64) {
            return Err(Error::input(format!(
                "{dir}: tensor `{name}` is stored as {:?}, expected F32, F16 or BF16: give the unquantised checkpoint",
                tensor.dtype()
            )));
        }
        let tensor = tensor.to_dtype(DType::F32)?;
        let values = tensor.flatten_all()?.to_vec1::<f32>()?;
        match values.iter().position(|x| !x.is_finite()) {
            Some(at) => Err(Error::input(format!(
                "{dir}: tensor `{name}` holds {} at number {at}: the file is damaged, or training went wrong",
                values[at]
            ))),
            None => Ok(tensor),
        }
    }

    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name.strip_prefix(self.prefix).unwrap_or(name))
    }

    /// Fails if a tensor was never taken and is none of the known ones without a use here.
    pub fn finish(&self) -> Result<()> {
        match self.tensors.keys().find(|name| !UNUSED.iter().any(|unused| name.starts_with(unused))) {
            Some(name) => Err(Error::input(format!(
                "{}: tensor `{name}` is not part of an encoder with this config.json",
                self.dir.display()
            ))),
            None => Ok(()),
        }
    }
}

fn weight_files(dir: &Path) -> Result<BTreeSet<PathBuf>> {
    match dir.join(INDEX) {
        index if !dir.join(SINGLE).is_file() && index.is_file() => {
            Ok(weight_map(&index)?.into_values().map(|shard| dir.join(shard)).collect())
        }
        _ if !dir.join(SINGLE).is_file() && dir.join("pytorch_model.bin").is_file() => Err(Error::input(format!(
            "{}: only pytorch_model.bin is there, which is not read here: save it again with transformers' save_pretrained",
            dir.display()
        ))),
        _ => Ok([dir.join(SINGLE)].into()),
    }
}

/// The first 12 hex digits of the SHA-256 over the digests of an encoder's `config.json`, weights and `tokenizer.json`.
pub fn encoder_digest(dir: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    for file in [dir.join("config.json")].into_iter().chain(weight_files(dir)?).chain([dir.join("tokenizer.json")]) {
        hash.update(io::sha256(&file)?);
    }
    Ok(io::hex(&hash.finalize())[..12].to_string())
}

fn modern_name(name: &str) -> String {
    match name.rsplit_once('.') {
        Some((layer, "gamma")) => format!("{layer}.weight"),
        Some((layer, "beta")) => format!("{layer}.bias"),
        _ => name.to_string(),
    }
}

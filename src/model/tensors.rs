//! Named tensors in one safetensors file: read whole, written beside and renamed.
use crate::error::{Error, Result};
use candle_core::{DType, Device, Tensor};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// All tensors of a file, as stored.
pub fn read(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    if !path.is_file() {
        return Err(Error::input(format!("no such file: {}", path.display())));
    }
    let tensors = candle_core::safetensors::load(path, &Device::Cpu).map_err(|e| {
        Error::input(format!("{}: not a readable safetensors file ({e}); is it cut short?", path.display()))
    })?;
    Ok(tensors.into_iter().collect())
}

/// Writes `tensors` as `dtype`, with the metadata that transformers wants. The file appears whole or not at all.
pub fn write(path: &Path, tensors: &BTreeMap<String, Tensor>, dtype: DType) -> Result<()> {
    let cast = tensors
        .iter()
        .map(|(name, t)| Ok((name.clone(), t.detach().to_dtype(dtype)?.contiguous()?)))
        .collect::<Result<BTreeMap<_, _>>>()?;
    let beside = path.with_extension("writing");
    let meta = HashMap::from([("format".to_string(), "pt".to_string())]);
    safetensors::serialize_to_file(&cast, Some(meta), &beside)
        .map_err(|e| Error::failed(format!("{}: {e}", beside.display())))?;
    std::fs::rename(&beside, path).map_err(Error::io(path))
}

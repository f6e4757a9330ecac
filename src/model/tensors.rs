//! Named tensors in a safetensors file, or in shards: read whole, written beside and renamed.
use super::checkpoint::{INDEX, SINGLE};
use super::foreign::foreign;
use super::gguf::Kind;
use crate::error::{Error, Result};
use crate::io;
use crate::io::write_beside;
use candle_core::{DType, Device, Tensor};
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::io::{BufWriter, Write};
use std::path::Path;

/// All tensors of a file, as stored.
pub fn read(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    if !path.is_file() {
        return Err(Error::input(format!("no such file: {}", path.display())));
    }
    let tensors = candle_core::safetensors::load(path, &Device::Cpu).map_err(|e| match foreign(path) {
        Some(other) => Error::input(format!("{}: this is {other}", path.display())),
        None => Error::input(format!("{}: not a readable safetensors file ({e}); is it cut short?", path.display())),
    })?;
    Ok(tensors.into_iter().collect())
}

/// Writes `tensors` as `dtype`, with the metadata that transformers wants. The file appears whole or not at all.
pub fn write(path: &Path, tensors: &BTreeMap<String, Tensor>, dtype: DType) -> Result<()> {
    let cast = tensors
        .iter()
        .map(|(name, t)| Ok((name.clone(), t.detach().to_dtype(dtype)?.contiguous()?)))
        .collect::<Result<BTreeMap<_, _>>>()?;
    let meta = HashMap::from([("format".to_string(), "pt".to_string())]);
    write_beside(path, |beside| {
        safetensors::serialize_to_file(&cast, Some(meta), beside)
            .map_err(|e| Error::failed(format!("{}: {e}", path.display())))
    })
}

/// As `write`, one tensor after the other: `weights` gives each by its name and shape when its turn comes.
pub fn write_each(
    path: &Path,
    shapes: &BTreeMap<String, Vec<usize>>,
    dtype: DType,
    weights: &mut dyn FnMut(&str, &[usize]) -> Result<Tensor>,
) -> Result<()> {
    let kind = Kind::of_dtype(dtype)?;
    let (mut header, mut end) = (serde_json::Map::from_iter([("__metadata__".into(), json!({"format": "pt"}))]), 0);
    for (name, shape) in shapes {
        let start = end;
        end += shape.iter().product::<usize>() * dtype.size_in_bytes();
        header.insert(name.clone(), json!({"dtype": kind.name, "shape": shape, "data_offsets": [start, end]}));
    }
    let mut header = serde_json::Value::Object(header).to_string();
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    write_beside(path, |beside| {
        let io = |e: std::io::Error| Error::io(beside)(e);
        let mut file = BufWriter::new(std::fs::File::create(beside).map_err(io)?);
        file.write_all(&(header.len() as u64).to_le_bytes()).map_err(io)?;
        file.write_all(header.as_bytes()).map_err(io)?;
        for (name, shape) in shapes {
            let tensor = weights(name, shape)?;
            if tensor.dims() != shape {
                return Err(Error::failed(format!("tensor `{name}` came as {:?}, expected {shape:?}", tensor.dims())));
            }
            let bytes = kind.encode(&tensor).map_err(|e| Error::input(format!("tensor `{name}`: {e}")))?;
            file.write_all(&bytes).map_err(io)?;
        }
        file.into_inner().map_err(|e| io(e.into_error()))?.sync_all().map_err(io)
    })
}

/// As `write_each`, into `dir/model.safetensors`, or where that would be more than `most` bytes of tensors into shards of at most so many
/// with an index, named as transformers names them. A tensor that is larger has a shard of its own.
pub fn write_shards(
    dir: &Path,
    shapes: &BTreeMap<String, Vec<usize>>,
    dtype: DType,
    most: u64,
    weights: &mut dyn FnMut(&str, &[usize]) -> Result<Tensor>,
) -> Result<()> {
    let (mut shards, mut held, mut total) = (vec![BTreeMap::new()], 0, 0);
    for (name, shape) in shapes {
        let bytes = (shape.iter().product::<usize>() * dtype.size_in_bytes()) as u64;
        if held > 0 && held + bytes > most {
            shards.push(BTreeMap::new());
            held = 0;
        }
        (held, total) = (held + bytes, total + bytes);
        shards.last_mut().map(|shard| shard.insert(name.clone(), shape.clone()));
    }
    if let [one] = shards.as_slice() {
        return write_each(&dir.join(SINGLE), one, dtype, weights);
    }
    let mut weight_map = BTreeMap::new();
    for (i, shard) in shards.iter().enumerate() {
        let file = format!("model-{:05}-of-{:05}.safetensors", i + 1, shards.len());
        write_each(&dir.join(&file), shard, dtype, weights)?;
        weight_map.extend(shard.keys().map(|name| (name.clone(), file.clone())));
    }
    let index = json!({"metadata": {"total_size": total}, "weight_map": weight_map});
    io::write(&dir.join(INDEX), format!("{index:#}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_written_one_by_one_are_those_written_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let ramp = |n: usize, shape: &[usize]| {
            let values: Vec<f32> = (0..n).map(|i| i as f32 / 7.0 - 1.0).collect();
            Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
        };
        let all = BTreeMap::from([("b".to_string(), ramp(6, &[2, 3])), ("a".to_string(), ramp(5, &[5]))]);
        let shapes = all.iter().map(|(n, t)| (n.clone(), t.dims().to_vec())).collect();
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let (one, each) = (dir.path().join("one.safetensors"), dir.path().join("each.safetensors"));
            write(&one, &all, dtype).unwrap();
            write_each(&each, &shapes, dtype, &mut |name, _| Ok(all[name].clone())).unwrap();
            let (one, each) = (read(&one).unwrap(), read(&each).unwrap());
            assert_eq!(one.len(), each.len());
            for (name, t) in &one {
                assert_eq!((t.dtype(), t.dims()), (each[name].dtype(), each[name].dims()), "{name}");
                assert_eq!(format!("{t:?}{t}"), format!("{:?}{}", each[name], each[name]), "{name}");
            }
        }
        let large = Tensor::new(&[1e6f32], &Device::Cpu).unwrap();
        let shapes = BTreeMap::from([("w".to_string(), vec![1])]);
        let path = dir.path().join("large.safetensors");
        let error = write_each(&path, &shapes, DType::F16, &mut |_, _| Ok(large.clone())).unwrap_err().to_string();
        assert!(error.contains("`w`") && error.contains("too large for F16"), "{error}");
        assert!(!path.exists());
    }
}

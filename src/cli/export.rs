//! `dxlab export`: a model for other tools, as a transformers folder or a GGUF file.
use crate::adapter::Adapter;
use crate::error::{Error, Result};
use crate::generate::{adapter_folder, base_id, warn_of_other_base};
use crate::model::{Checkpoint, Quality, Written, export, resolve};
use crate::report::kit::Table;
use crate::run::size;
use crate::study::merged;
use candle_core::DType;
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};

/// Write a model, with or without an adapter folded in, for transformers or llama.cpp
#[derive(Args)]
pub struct Export {
    /// Model folder, .gguf file, hub id or `embedded`
    #[arg(long)]
    model: String,
    /// Run folder of a training run, or a PEFT adapter folder; folded in unchecked: `dxlab merge` checks
    #[arg(long)]
    adapter: Option<PathBuf>,
    #[arg(long, value_enum)]
    format: Format,
    /// Type of the matrices; norms are f32 in GGUF. By default f16 for gguf, as stored for safetensors
    #[arg(long = "type", value_enum)]
    kind: Option<Kind>,
    /// Maximum size of one safetensors file, such as 500MB: more goes to shards with an index
    #[arg(long, value_parser = shard_size, default_value = "5GB", value_name = "SIZE")]
    shard_size: u64,
    /// The folder (must not be there yet) or .gguf file to write
    #[arg(long)]
    out: PathBuf,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Format {
    /// A folder in Hugging Face layout: for transformers, PEFT
    Safetensors,
    /// One file: for llama.cpp
    Gguf,
}

/// Types of weights that are plain numbers.
#[derive(Clone, Copy, ValueEnum)]
pub enum Float {
    F32,
    Bf16,
    F16,
}

impl Float {
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
            Self::F16 => DType::F16,
        }
    }
}

/// Bytes, as a number or with a unit as transformers reads them: `5GB` is 5·10⁹, `5GiB` 5·2³⁰.
pub fn shard_size(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 6] =
        [("KIB", 1 << 10), ("MIB", 1 << 20), ("GIB", 1 << 30), ("KB", 1_000), ("MB", 1_000_000), ("GB", 1_000_000_000)];
    let upper = text.trim().to_uppercase();
    let unit = UNITS.iter().find(|(unit, _)| upper.ends_with(unit));
    let (number, by) = unit.map_or((upper.as_str(), 1), |(unit, by)| (&upper[..upper.len() - unit.len()], *by));
    let bytes = number.trim().parse::<u64>().ok().and_then(|number| number.checked_mul(by));
    bytes.filter(|&bytes| bytes > 0).ok_or_else(|| "expected a size such as 5GB, 500MB or a number of bytes".into())
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    F32,
    F16,
    Bf16,
    #[value(name = "q8_0")]
    Q8_0,
    #[value(name = "q4_k")]
    Q4K,
}

impl Kind {
    fn quality(self) -> Quality {
        match self {
            Self::F32 => Quality::F32,
            Self::F16 => Quality::F16,
            Self::Bf16 => Quality::BF16,
            Self::Q8_0 => Quality::Q8_0,
            Self::Q4K => Quality::Q4K,
        }
    }
    fn dtype(self) -> Result<DType> {
        match self {
            Self::F32 => Ok(DType::F32),
            Self::F16 => Ok(DType::F16),
            Self::Bf16 => Ok(DType::BF16),
            _ => Err(Error::input("--format safetensors takes --type f32, f16 or bf16; q8_0 and q4_k are GGUF's")),
        }
    }
}

impl Export {
    pub fn run(self) -> Result<()> {
        let source = resolve(&self.model)?;
        let checkpoint = Checkpoint::open(&source)?;
        let config = checkpoint.config();
        checkpoint.check()?;
        let adapter = match &self.adapter {
            Some(folder) => {
                let folder = adapter_folder(folder);
                warn_of_other_base(&folder, || base_id(&self.model))?;
                Some(Adapter::load_for(&folder, config)?)
            }
            None => None,
        };
        let weights = &mut |name: &str, shape: &[usize]| match &adapter {
            Some(adapter) => Ok(merged(&checkpoint, adapter, name, shape)?.0),
            None => checkpoint.tensor(name, shape),
        };
        if self.format == Format::Safetensors {
            let dtype = self.kind.map_or(Ok(checkpoint.stored()), Kind::dtype)?;
            export::beside(&self.out, |dir| export::folder(dir, &source, config, dtype, self.shard_size, weights))?;
            return files(&self.out);
        }
        let quality = self.kind.unwrap_or(Kind::F16).quality();
        let written = export::gguf(&self.out, &source, &self.name(), config, quality, weights)?;
        print!("{}", table(&written));
        println!("{}, {:.1} MB", self.out.display(), size(&self.out)? as f64 / 1e6);
        Ok(())
    }

    /// `general.name`: what the model was called, and what was folded in.
    fn name(&self) -> String {
        let last = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        match &self.adapter {
            Some(adapter) => format!("{} + {}", last(Path::new(&self.model)), last(adapter)),
            None => last(Path::new(&self.model)),
        }
    }
}

fn files(dir: &Path) -> Result<()> {
    let read = std::fs::read_dir(dir).map_err(Error::io(dir))?;
    let mut paths: Vec<PathBuf> = read.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        println!("{:>14} bytes  {}", size(&path)?, path.display());
    }
    Ok(())
}

/// Which types the tensors got, and why.
fn table(written: &[Written]) -> Table {
    let row = |w: &Written| {
        vec![w.kind.to_string(), w.tensors.to_string(), format!("{:.1}", w.bytes as f64 / 1e6), w.why.clone()]
    };
    Table::from_rows(&["type", "tensors", "MB", "why"], &written.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_transformers_reads_them() {
        for (text, bytes) in
            [("5GB", 5_000_000_000), ("500MB", 500_000_000), ("2KiB", 2048), ("1 gib", 1 << 30), ("70000", 70_000)]
        {
            assert_eq!(shard_size(text), Ok(bytes));
        }
        for text in ["", "GB", "0", "0MB", "-1", "5TB", "1.5GB", "99999999999999999999", "20000000000GB"] {
            assert!(shard_size(text).is_err(), "{text}");
        }
    }
}

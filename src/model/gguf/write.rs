//! Writes a Qwen3 as a GGUF file (version 3): header, metadata, then one tensor at a time, so that memory holds one tensor.
//!
//! Types are mixed as llama.cpp mixes them: norms are F32 whatever was asked for; under Q4_K the head (or the embedding that serves
//! as head) is Q6_K; a row that is not a whole number of blocks falls back, from 256 to Q8_0's 32 and from there to F16.
use super::kinds::{self, Kind};
use super::names;
use super::tokens;
use crate::corpus::whole::write_beside;
use crate::error::{Error, Result};
use crate::model::{Config, Tokenizer};
use candle_core::Tensor;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

const ALIGNMENT: u64 = 32;
/// ggml's number for its present way of laying out blocks.
const QUANTIZATION_VERSION: u32 = 2;

/// What the linear layers and the embedding are asked to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quality {
    F32,
    F16,
    BF16,
    Q8_0,
    Q4K,
}

impl Quality {
    fn kind(self) -> &'static Kind {
        match self {
            Self::F32 => &kinds::F32,
            Self::F16 => &kinds::F16,
            Self::BF16 => &kinds::BF16,
            Self::Q8_0 => &kinds::Q8_0,
            Self::Q4K => &kinds::Q4_K,
        }
    }

    /// `general.file_type`, llama.cpp's numbers: all F32, mostly F16, BF16, Q8_0, Q4_K_S.
    fn file_type(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::BF16 => 32,
            Self::Q8_0 => 7,
            Self::Q4K => 14,
        }
    }
}

/// What a file is made of besides its weights.
pub struct Contents<'a> {
    pub name: &'a str,
    pub config: &'a Config,
    pub tokenizer: Option<&'a Tokenizer>,
    pub chat_template: Option<&'a str>,
    pub quality: Quality,
}

/// Tensors that were written in one type, for one reason.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    pub kind: &'static str,
    pub why: String,
    pub tensors: usize,
    pub bytes: u64,
}

/// One tensor of the file to be.
struct Planned {
    /// Hugging Face's name.
    name: String,
    shape: Vec<usize>,
    kind: &'static Kind,
    why: String,
    bytes: u64,
}

/// Writes `path`, beside and renamed. `weights` gives a tensor of any float type by its Hugging Face name and shape.
pub fn write(
    path: &Path,
    contents: &Contents,
    weights: &mut dyn FnMut(&str, &[usize]) -> Result<Tensor>,
) -> Result<Vec<Written>> {
    let plan = plan(contents)?;
    let head = head(contents, &plan)?;
    write_beside(path, |beside| {
        let io = |e: std::io::Error| Error::io(beside)(e);
        let mut file = BufWriter::new(File::create(beside).map_err(io)?);
        file.write_all(&head).map_err(io)?;
        pad(&mut file, head.len() as u64).map_err(io)?;
        for planned in &plan {
            let tensor = weights(&planned.name, &planned.shape)?;
            let bytes = planned.kind.encode(&tensor);
            let bytes = bytes.map_err(|e| Error::input(format!("tensor `{}`: {e}", planned.name)))?;
            if bytes.len() as u64 != planned.bytes {
                let (got, name, wanted) = (bytes.len(), &planned.name, planned.bytes);
                return Err(Error::failed(format!("tensor `{name}` came as {got} bytes, {wanted} were planned")));
            }
            file.write_all(&bytes).map_err(io)?;
            pad(&mut file, planned.bytes).map_err(io)?;
        }
        file.into_inner().map_err(|e| io(e.into_error()))?.sync_all().map_err(io)
    })?;
    Ok(summary(&plan))
}

fn pad(file: &mut impl Write, written: u64) -> std::io::Result<()> {
    let missing = written.next_multiple_of(ALIGNMENT) - written;
    file.write_all(&[0; ALIGNMENT as usize][..missing as usize])
}

/// The embedding first, then layer by layer, as llama.cpp's converter has it; the order is free.
fn plan(contents: &Contents) -> Result<Vec<Planned>> {
    let config = contents.config;
    let planned = config.tensors().into_iter().map(|(name, shape)| {
        let (kind, why) = choose(contents.quality, config, &name, &shape);
        let bytes = kind.size(&shape).ok_or_else(|| Error::failed(format!("tensor `{name}` is too large")))?;
        Ok(Planned { name, shape, kind, why, bytes })
    });
    let mut plan = planned.collect::<Result<Vec<_>>>()?;
    let layer =
        |name: &str| name.strip_prefix("model.layers.").and_then(|n| n.split('.').next()?.parse::<usize>().ok());
    plan.sort_by_key(|p| layer(&p.name).map_or(0, |n| n + 1)); // stable: by name within a layer
    Ok(plan)
}

/// The type of one tensor, and why.
fn choose(quality: Quality, config: &Config, name: &str, shape: &[usize]) -> (&'static Kind, String) {
    let &[_, row] = shape else {
        return (&kinds::F32, "norms".into());
    };
    let head = if config.tie_word_embeddings { "model.embed_tokens.weight" } else { "lm_head.weight" };
    let (wanted, what) = match quality {
        Quality::Q4K if name == head => (&kinds::Q6_K, "the head"),
        _ => (quality.kind(), "matrices"),
    };
    let fallbacks = [wanted, &kinds::Q8_0, &kinds::F16];
    let kind = fallbacks.into_iter().find(|kind| row % kind.block == 0).unwrap_or(&kinds::F16);
    match kind == wanted {
        true => (kind, what.into()),
        false => (kind, format!("rows of {row} are not whole blocks of {} for {}", wanted.block, wanted.name)),
    }
}

fn head(contents: &Contents, plan: &[Planned]) -> Result<Vec<u8>> {
    let metadata = metadata(contents, plan)?;
    let mut head = Vec::from(*b"GGUF");
    head.extend(3u32.to_le_bytes());
    head.extend((plan.len() as u64).to_le_bytes());
    head.extend(metadata.count.to_le_bytes());
    head.extend(metadata.bytes);
    let mut offset = 0;
    for p in plan {
        let name = names::gguf(&p.name).ok_or_else(|| Error::failed(format!("`{}` has no GGUF name", p.name)))?;
        push_text(&mut head, &name);
        head.extend((p.shape.len() as u32).to_le_bytes());
        p.shape.iter().rev().for_each(|d| head.extend((*d as u64).to_le_bytes())); // fastest first
        head.extend(p.kind.id.to_le_bytes());
        head.extend(u64::to_le_bytes(offset));
        offset += p.bytes.next_multiple_of(ALIGNMENT);
    }
    Ok(head)
}

fn metadata(contents: &Contents, plan: &[Planned]) -> Result<Metadata> {
    let c = contents.config;
    let size = |key: &str, n: usize| {
        u32::try_from(n).map_err(|_| Error::input(format!("{key} = {n} is too large for a GGUF file")))
    };
    let mut out = Metadata::default();
    out.text("general.architecture", "qwen3");
    out.text("general.type", "model");
    out.text("general.name", contents.name);
    out.u32("general.file_type", contents.quality.file_type());
    out.u32("general.alignment", ALIGNMENT as u32);
    if plan.iter().any(|p| !p.kind.is_float()) {
        out.u32("general.quantization_version", QUANTIZATION_VERSION);
    }
    for (key, n) in [
        ("block_count", c.num_hidden_layers),
        ("context_length", c.max_position_embeddings),
        ("embedding_length", c.hidden_size),
        ("feed_forward_length", c.intermediate_size),
        ("attention.head_count", c.num_attention_heads),
        ("attention.head_count_kv", c.num_key_value_heads),
        ("attention.key_length", c.head_dim),
        ("attention.value_length", c.head_dim),
        ("vocab_size", c.vocab_size),
    ] {
        out.u32(&format!("qwen3.{key}"), size(key, n)?);
    }
    out.f32("qwen3.attention.layer_norm_rms_epsilon", c.rms_norm_eps as f32);
    out.f32("qwen3.rope.freq_base", c.rope_theta as f32);
    match contents.tokenizer {
        Some(tokenizer) => tokens::write(tokenizer, c.vocab_size, c.eos_token_id.first().copied(), &mut out)?,
        None => {
            out.text("tokenizer.ggml.model", "none");
            c.eos_token_id.first().into_iter().for_each(|id| out.u32("tokenizer.ggml.eos_token_id", *id));
        }
    }
    if let Some(template) = contents.chat_template {
        out.text("tokenizer.chat_template", template);
    }
    Ok(out)
}

fn summary(plan: &[Planned]) -> Vec<Written> {
    let mut groups: BTreeMap<(u64, &str, &str), Written> = BTreeMap::new();
    for p in plan {
        let key = (u64::MAX - p.bytes / p.shape.iter().product::<usize>().max(1) as u64, p.kind.name, p.why.as_str());
        let group =
            groups.entry(key).or_insert(Written { kind: p.kind.name, why: p.why.clone(), tensors: 0, bytes: 0 });
        group.tensors += 1;
        group.bytes += p.bytes;
    }
    groups.into_values().collect()
}

fn push_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// Entries of metadata, as they stand in the file.
#[derive(Default)]
pub struct Metadata {
    count: u64,
    bytes: Vec<u8>,
}

impl Metadata {
    fn key(&mut self, key: &str, kind: u32) -> &mut Vec<u8> {
        self.count += 1;
        push_text(&mut self.bytes, key);
        self.bytes.extend(kind.to_le_bytes());
        &mut self.bytes
    }
    pub fn u32(&mut self, key: &str, value: u32) {
        self.key(key, 4).extend(value.to_le_bytes());
    }
    pub fn f32(&mut self, key: &str, value: f32) {
        self.key(key, 6).extend(value.to_le_bytes());
    }
    pub fn bool(&mut self, key: &str, value: bool) {
        self.key(key, 7).push(value.into());
    }
    pub fn text(&mut self, key: &str, value: &str) {
        push_text(self.key(key, 8), value);
    }
    pub fn texts(&mut self, key: &str, values: &[String]) {
        let out = self.list(key, 8, values.len());
        values.iter().for_each(|text| push_text(out, text));
    }
    pub fn i32s(&mut self, key: &str, values: &[i32]) {
        self.list(key, 5, values.len()).extend(values.iter().flat_map(|n| n.to_le_bytes()));
    }
    pub fn f32s(&mut self, key: &str, values: &[f32]) {
        self.list(key, 6, values.len()).extend(values.iter().flat_map(|x| x.to_le_bytes()));
    }
    /// A file of nothing but these entries.
    #[cfg(test)]
    pub fn file(&self) -> Vec<u8> {
        [&b"GGUF"[..], &3u32.to_le_bytes(), &0u64.to_le_bytes(), &self.count.to_le_bytes(), &self.bytes].concat()
    }
    fn list(&mut self, key: &str, kind: u32, count: usize) -> &mut Vec<u8> {
        let out = self.key(key, 9);
        out.extend(kind.to_le_bytes());
        out.extend((count as u64).to_le_bytes());
        out
    }
}

//! Writes a model as a GGUF file (version 3): header, metadata, then one tensor at a time, so that memory holds one
//! tensor.
//!
//! Types are mixed as llama.cpp mixes them: norms and biases are F32 whatever was asked for; under Q4_K the head (or
//! the embedding that serves as head) is Q6_K; a row that is not a whole number of blocks falls back, from 256 to
//! Q8_0's 32 and from there to F16. A Llama's rows of queries and keys are put into llama.cpp's order
//! ([`rows`](super::rows)), and its scaled frequencies go into a tensor of divisors, `rope_freqs.weight`.
use super::kinds::{self, Kind};
use super::metadata::push_text;
use super::names;
use super::rows::Rows;
use super::tokens;
use crate::error::{Error, Result};
use crate::io::write_beside;
use crate::model::rope::{Scaling, yarn_attention};
use crate::model::{Config, Tokenizer};
use candle_core::{Device, Tensor};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

pub use super::metadata::Metadata;

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
    /// Hugging Face's name; GGUF's for the divisors of rotary frequencies, which Hugging Face has no tensor for.
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
    architecture(contents.config)?;
    let plan = plan(contents)?;
    let head = head(contents, &plan)?;
    write_beside(path, |beside| {
        let io = |e: std::io::Error| Error::io(beside)(e);
        let mut file = BufWriter::new(File::create(beside).map_err(io)?);
        file.write_all(&head).map_err(io)?;
        pad(&mut file, head.len() as u64).map_err(io)?;
        for planned in &plan {
            let tensor = match planned.name == names::DIVISORS {
                true => Tensor::from_vec(divisors(contents.config), planned.shape.as_slice(), &Device::Cpu)?,
                false => weights(&planned.name, &planned.shape)?,
            };
            let bytes = planned.kind.encode(&tensor);
            let bytes = bytes.map_err(|e| Error::input(format!("tensor `{}`: {e}", planned.name)))?;
            let bytes = match Rows::of(contents.config, &planned.name) {
                Some(rows) => rows.to_file(&bytes),
                None => bytes,
            };
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
    let divisors = divisors(config).len();
    if divisors > 0 {
        let (name, kind, why) = (names::DIVISORS.to_string(), &kinds::F32, "rotary frequencies".to_string());
        plan.push(Planned { name, shape: vec![divisors], kind, why, bytes: 4 * divisors as u64 });
    }
    Ok(plan)
}

/// What `rope_freqs.weight` divides the frequencies by [head_dim / 2]; empty where they are not scaled so.
fn divisors(config: &Config) -> Vec<f32> {
    match &config.rope.scaling {
        Scaling::Divisors(by) => by.iter().map(|by| *by as f32).collect(),
        Scaling::Llama3 { .. } => {
            let plain =
                (0..config.head_dim / 2).map(|i| config.rope.theta.powf(-2.0 * i as f64 / config.head_dim as f64));
            plain.map(|w| config.rope.divisor(w) as f32).collect()
        }
        _ => Vec::new(),
    }
}

/// The type of one tensor, and why.
fn choose(quality: Quality, config: &Config, name: &str, shape: &[usize]) -> (&'static Kind, String) {
    let &[_, row] = shape else {
        return (&kinds::F32, if name.ends_with(".bias") { "biases" } else { "norms" }.into());
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
        let theirs = match p.name == names::DIVISORS {
            true => Some(p.name.clone()),
            false => names::gguf(&p.name),
        };
        let name = theirs.ok_or_else(|| Error::failed(format!("`{}` has no GGUF name", p.name)))?;
        push_text(&mut head, &name);
        head.extend((p.shape.len() as u32).to_le_bytes());
        p.shape.iter().rev().for_each(|d| head.extend((*d as u64).to_le_bytes())); // fastest first
        head.extend(p.kind.id.to_le_bytes());
        head.extend(u64::to_le_bytes(offset));
        offset += p.bytes.next_multiple_of(ALIGNMENT);
    }
    Ok(head)
}

/// `general.architecture`.
fn architecture(c: &Config) -> Result<&'static str> {
    let family = c.family.model_type();
    c.family.gguf().ok_or_else(|| {
        Error::input(format!("GGUF files of a {family} are not written here: export to safetensors instead"))
    })
}

fn metadata(contents: &Contents, plan: &[Planned]) -> Result<Metadata> {
    let c = contents.config;
    let size = |key: &str, n: usize| {
        u32::try_from(n).map_err(|_| Error::input(format!("{key} = {n} is too large for a GGUF file")))
    };
    let mut out = Metadata::default();
    let arch = architecture(c)?;
    out.text("general.architecture", arch);
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
        out.u32(&format!("{arch}.{key}"), size(key, n)?);
    }
    out.f32(&format!("{arch}.attention.layer_norm_rms_epsilon"), c.rms_norm_eps as f32);
    out.f32(&format!("{arch}.rope.freq_base"), c.rope.theta as f32);
    if c.family.gguf_turns_neighbours() {
        out.u32(&format!("{arch}.rope.dimension_count"), size("head_dim", c.head_dim)?);
    }
    stretched(c, &mut out)?;
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

/// The keys of a scaled rope and of a sliding window. What GGUF has no key for is an error: another reader would
/// compute another model.
fn stretched(c: &Config, out: &mut Metadata) -> Result<()> {
    let arch = architecture(c)?;
    let key = |name: &str| format!("{arch}.{name}");
    let unknown =
        |what: &str| Err(Error::input(format!("a GGUF file cannot say {what}: export to safetensors instead")));
    let scaled = |out: &mut Metadata, kind: &str, factor: f64| {
        out.text(&key("rope.scaling.type"), kind);
        out.f32(&key("rope.scaling.factor"), factor as f32);
    };
    match &c.rope.scaling {
        Scaling::Default | Scaling::Divisors(_) => {}
        Scaling::Linear { factor } => scaled(out, "linear", *factor),
        Scaling::Dynamic { .. } => return unknown("`dynamic` rotary scaling"),
        Scaling::Llama3 { .. } if !c.family.gguf_turns_neighbours() => {
            return unknown("`llama3` rotary scaling of another architecture than llama");
        }
        // the divisors are all that llama.cpp reads; the length tells the scaling that they are of
        Scaling::Llama3 { original_max_position_embeddings: length, .. } => {
            out.u32(&key("rope.scaling.original_context_length"), *length as u32);
        }
        Scaling::Yarn { truncate: false, .. } => return unknown("`yarn` with bounds that are not rounded"),
        Scaling::Yarn {
            factor,
            original_max_position_embeddings: length,
            beta_fast,
            beta_slow,
            attention_factor,
            ..
        } => {
            scaled(out, "yarn", *factor);
            out.u32(&key("rope.scaling.original_context_length"), *length as u32);
            out.f32(&key("rope.scaling.yarn_beta_fast"), *beta_fast as f32);
            out.f32(&key("rope.scaling.yarn_beta_slow"), *beta_slow as f32);
            // llama.cpp multiplies it with what YaRN's paper has
            let beside = attention_factor / yarn_attention(*factor, 1.0);
            if (beside - 1.0).abs() > 1e-6 {
                out.f32(&key("rope.scaling.attn_factor"), beside as f32);
            }
        }
    }
    match &c.window {
        Some(window) if window.layers.is_some() => unknown("a sliding window in some layers only"),
        Some(window) => {
            out.u32(&key("attention.sliding_window"), window.size.min(u32::MAX as usize) as u32);
            Ok(())
        }
        None => Ok(()),
    }
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

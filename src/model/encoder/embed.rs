//! Sentence embeddings (Reimers & Gurevych 2019): the mean of BERT's last hidden states over all tokens, control tokens included, scaled to length 1.
//! The same numbers as sentence-transformers' for all-MiniLM-L6-v2 and models of its layout.
use super::config::{EncoderConfig, Family};
use super::stored::Stored;
use super::tokenizer::EncoderTokenizer;
use crate::error::{Error, Result};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{self, BertModel, HiddenAct, PositionEmbeddingType};
use serde_json::Value;
use std::path::Path;

/// Tokens of a text, control tokens included, where the folder does not say: what all-MiniLM-L6-v2 takes.
const MOST_TOKENS: usize = 256;
/// Tokens of one batch, padding included.
const BATCH: usize = 4096;

/// See the file's header.
pub struct Embedder {
    model: BertModel,
    tokenizer: EncoderTokenizer,
    most: usize,
    pad: u32,
    size: usize,
}

impl Embedder {
    /// Reads a folder of sentence-transformers' layout: `config.json`, `model.safetensors`, `tokenizer.json`, and where they are there
    /// `sentence_bert_config.json` (`max_seq_length`) and `1_Pooling/config.json` (which must say the mean).
    pub fn open(dir: &Path) -> Result<Self> {
        let config = EncoderConfig::read(dir)?;
        if config.family != Family::Bert {
            return Err(Error::input(format!(
                "{}: `model_type` is not `bert`: sentence embeddings are made with a BERT such as all-MiniLM-L6-v2",
                dir.join("config.json").display()
            )));
        }
        pooled_by_mean(dir)?;
        let named = |e: Error| Error::input(format!("{}: {e}", dir.display()));
        let tokenizer = EncoderTokenizer::open(dir)?;
        tokenizer.fits(config.vocab_size).map_err(named)?;
        let most = most_tokens(dir)?.min(config.positions());
        if most <= tokenizer.frame() {
            let control = tokenizer.frame();
            return Err(named(Error::input(format!(
                "no room for text among {most} tokens, {control} of them control"
            ))));
        }
        let (pad, size) = (config.pad_token_id as u32, config.hidden_size);
        Ok(Self { model: bert(dir, &config)?, tokenizer, most, pad, size })
    }

    /// Numbers of an embedding.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Tokens that a text is cut to, control tokens included.
    pub fn most_tokens(&self) -> usize {
        self.most
    }

    /// Tokens of a text before it is cut, control tokens included.
    pub fn tokens(&self, text: &str) -> Result<usize> {
        Ok(self.tokenizer.pieces(text)?.ids.len() + self.tokenizer.frame())
    }

    /// Embeddings of `texts`, each of length 1, in the order given. What is longer than the model reads is cut at its end.
    pub fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
        let mut ids = Vec::with_capacity(texts.len());
        for text in texts {
            let pieces = self.tokenizer.pieces(text)?.ids;
            let room = pieces.len().min(self.most - self.tokenizer.frame());
            ids.push(self.tokenizer.framed(&pieces[..room]));
        }
        // texts of like length share a batch, so that little of it is padding
        let mut order: Vec<usize> = (0..ids.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(ids[i].len()));
        let mut vectors = vec![Vec::new(); ids.len()];
        let mut rest = order.as_slice();
        while let [longest, ..] = rest {
            let (batch, later) = rest.split_at((BATCH / ids[*longest].len()).clamp(1, rest.len()));
            let rows: Vec<&[u32]> = batch.iter().map(|&i| ids[i].as_slice()).collect();
            batch.iter().zip(self.embed_batch(&rows)?).for_each(|(&i, vector)| vectors[i] = vector);
            rest = later;
        }
        Ok(vectors)
    }

    /// Sequences of ids, the longest first.
    fn embed_batch(&self, rows: &[&[u32]]) -> Result<Vec<Vec<f32>>> {
        let long = rows[0].len();
        let (mut ids, mut mask) = (Vec::with_capacity(rows.len() * long), Vec::with_capacity(rows.len() * long));
        for row in rows {
            let gap = long - row.len();
            ids.extend(row.iter().copied().chain(std::iter::repeat_n(self.pad, gap)));
            mask.extend(std::iter::repeat_n(1u32, row.len()).chain(std::iter::repeat_n(0, gap)));
        }
        let table = |numbers| Tensor::from_vec(numbers, (rows.len(), long), &Device::Cpu);
        let (ids, mask) = (table(ids)?, table(mask)?);
        let hidden = self.model.forward(&ids, &ids.zeros_like()?, Some(&mask))?; // [rows, long, size]
        let mean = |(i, row): (usize, &&[u32])| hidden.get(i)?.narrow(0, 0, row.len())?.mean(0)?.to_vec1::<f32>();
        let means = rows.iter().enumerate().map(mean).collect::<candle_core::Result<Vec<_>>>()?;
        Ok(means.into_iter().map(unit).collect())
    }
}

/// candle-transformers' BERT from the tensors of a folder.
fn bert(dir: &Path, c: &EncoderConfig) -> Result<BertModel> {
    let mut stored = Stored::open(dir, c)?;
    let mut taken = std::collections::HashMap::new();
    // our own encoder of the same config knows every name and shape
    super::Encoder::new(c, &mut |name, shape| {
        let tensor = stored.take(name, shape)?;
        taken.insert(name.strip_prefix(c.family.prefix()).unwrap_or(name).to_string(), tensor.clone());
        Ok(tensor)
    })?;
    stored.finish()?;
    let config = bert::Config {
        vocab_size: c.vocab_size,
        hidden_size: c.hidden_size,
        num_hidden_layers: c.num_hidden_layers,
        num_attention_heads: c.num_attention_heads,
        intermediate_size: c.intermediate_size,
        hidden_act: HiddenAct::Gelu,
        hidden_dropout_prob: 0.0,
        max_position_embeddings: c.max_position_embeddings,
        type_vocab_size: c.type_vocab_size,
        initializer_range: 0.02,
        layer_norm_eps: c.norm_eps,
        pad_token_id: c.pad_token_id,
        position_embedding_type: PositionEmbeddingType::Absolute,
        use_cache: false,
        classifier_dropout: None,
        model_type: None,
    };
    Ok(BertModel::load(VarBuilder::from_tensors(taken, DType::F32, &Device::Cpu), &config)?)
}

impl crate::prompt::Embed for Embedder {
    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
        Embedder::embed(self, texts)
    }
}

/// all-MiniLM-L6-v2, if it is installed.
pub fn minilm() -> Result<Box<dyn crate::prompt::Embed>> {
    Ok(Box::new(Embedder::open(&crate::model::resolve("minilm")?)?))
}

fn optional_json(path: &Path) -> Result<Value> {
    if !path.is_file() {
        return Ok(Value::Null);
    }
    crate::io::read_json(path)
}

/// `max_seq_length` of `sentence_bert_config.json`.
fn most_tokens(dir: &Path) -> Result<usize> {
    let path = dir.join("sentence_bert_config.json");
    match &optional_json(&path)?["max_seq_length"] {
        Value::Null => Ok(MOST_TOKENS),
        value => value.as_u64().filter(|n| (1..1 << 24).contains(n)).map(|n| n as usize).ok_or_else(|| {
            Error::input(format!("{}: `max_seq_length` is {value}, expected a number of tokens", path.display()))
        }),
    }
}

/// Fails if `1_Pooling/config.json` asks for anything but the mean over tokens.
fn pooled_by_mean(dir: &Path) -> Result<()> {
    let path = dir.join("1_Pooling/config.json");
    let Value::Object(pooling) = optional_json(&path)? else { return Ok(()) };
    let other = |(key, value): &(&String, &Value)| {
        let on = **value == Value::Bool(true);
        key.starts_with("pooling_mode_") && on != (*key == "pooling_mode_mean_tokens")
    };
    match pooling.iter().find(other) {
        Some((key, value)) => Err(Error::input(format!(
            "{}: `{key}` is {value}, expected the mean over tokens and nothing else: other poolings are not computed here",
            path.display()
        ))),
        None => Ok(()),
    }
}

/// `v` scaled to length 1.
fn unit(mut v: Vec<f32>) -> Vec<f32> {
    let length = v.iter().map(|x| (*x as f64).powi(2)).sum::<f64>().sqrt().max(1e-12) as f32; // as sentence-transformers
    v.iter_mut().for_each(|x| *x /= length);
    v
}

/// a · b / |a| |b|; 0 where one of them is 0.
pub fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| *a as f64 * *b as f64).sum::<f64>();
    let lengths = (dot(a, a) * dot(b, b)).sqrt();
    if lengths > 0.0 { (dot(a, b) / lengths) as f32 } else { 0.0 }
}

/// The `k` documents nearest to `query` by cosine, nearest first, as (number, cosine); of equally near ones the earlier first.
///
/// ```
/// use dxlab::model::encoder::nearest;
/// let documents = [vec![0.0, 1.0], vec![1.0, 0.0], vec![2.0, 0.0]];
/// assert_eq!(nearest(&[1.0, 0.1], &documents, 2).iter().map(|(i, _)| *i).collect::<Vec<_>>(), [1, 2]);
/// ```
pub fn nearest(query: &[f32], documents: &[Vec<f32>], k: usize) -> Vec<(usize, f32)> {
    let mut all: Vec<(usize, f32)> = documents.iter().map(|d| cosine(query, d)).enumerate().collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    all.truncate(k);
    all
}

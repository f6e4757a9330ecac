//! A label for every token of a text: an encoder and a linear head (Devlin et al. 2019, §4.3 and §5.3), and from labels the spans of the text.
//!
//! ```text
//! z = W h + b                       BERT, RoBERTa; h the last hidden state of a token
//! z = W LN(gelu(D h)) + b           ModernBERT
//! loss = Σ w(y) · −log p(y) / Σ w(y)      over the labelled tokens; p = softmax(z), w = 1 unless class weights are given
//! ```
//! A text longer than the encoder reads is cut into windows that overlap; each token's label is taken from the window in which it is farthest
//! from a cut. Training keeps the activations of every layer; nothing is computed twice to save memory, as the decoder can.
use super::bio::{Bio, Marked, Span};
use super::config::{BertSizes, EncoderConfig, Family};
use super::layers::{Dense, Norm};
use super::stored::Stored;
use super::tokenizer::{EncoderTokenizer, Pieces};
use super::windows::Windows;
use super::{Encoder, Tensors};
use crate::error::{Error, Result};
use crate::model::ops::{Segments, gelu};
use crate::model::tensors;
use candle_core::{D, DType, Device, Tensor, Var};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use std::path::Path;

/// Tokens that the classifier reads at once when it answers.
const BATCH: usize = 4096;
/// Deviation of a fresh head's weights, as BERT's (`initializer_range`).
const DEVIATION: f32 = 0.02;

/// See the file's header.
pub struct TokenClassifier {
    pub bio: Bio,
    pub marked: Marked,
    pub windows: Windows,
    encoder: Encoder,
    tokenizer: EncoderTokenizer,
    head: Head,
    /// Every tensor, by its name in the checkpoint.
    tensors: BTreeMap<String, Tensor>,
}

struct Head {
    /// ModernBERT's.
    transform: Option<(Dense, Norm)>,
    classifier: Dense,
}

/// One window of a text with its labels, control tokens included.
#[derive(Clone, Debug, PartialEq)]
pub struct Tagged {
    pub ids: Vec<u32>,
    /// One a token; None where the loss does not look.
    pub labels: Vec<Option<u32>>,
}

impl TokenClassifier {
    /// Reads a trained token classifier, to answer with. `config.json` must name its labels (`id2label`).
    pub fn open(dir: &Path) -> Result<Self> {
        let config = EncoderConfig::read(dir)?;
        let (bio, mut stored) = (labels(dir, &config)?, Stored::open(dir, &config)?);
        let made = Self::of(config, bio, EncoderTokenizer::open(dir)?, &mut |name, shape| stored.take(name, shape))?;
        stored.finish()?;
        Ok(made)
    }

    /// As `open`, with every tensor as a variable, to be trained further.
    pub fn open_to_train(dir: &Path) -> Result<(Self, BTreeMap<String, Var>)> {
        let config = EncoderConfig::read(dir)?;
        let (bio, mut stored) = (labels(dir, &config)?, Stored::open(dir, &config)?);
        let made =
            Self::learning(config, bio, EncoderTokenizer::open(dir)?, &mut |name, shape| stored.take(name, shape))?;
        stored.finish()?;
        Ok(made)
    }

    /// The encoder of `dir` with a fresh head for these labels: normal with deviation 0.02, biases 0. Every tensor is a variable.
    pub fn start(dir: &Path, bio: Bio, seed: u64) -> Result<(Self, BTreeMap<String, Var>)> {
        let mut config = EncoderConfig::read(dir)?;
        config.labels = bio.names();
        let mut stored = Stored::open(dir, &config)?;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let made = Self::learning(config, bio, EncoderTokenizer::open(dir)?, &mut |name, shape| {
            // the transform of ModernBERT's head for masked words has the same place and is a better start than chance
            let fresh = name.starts_with("classifier.") || (name.starts_with("head.") && !stored.has(name));
            if fresh { fresh_tensor(name, shape, &mut rng) } else { stored.take(name, shape) }
        })?;
        stored.finish()?;
        Ok(made)
    }

    /// A BERT of these sizes that starts at random, with the tokenizer of `dir` and a fresh head: matrices and tables normal with deviation
    /// 0.02, norms 1, biases 0. Every tensor is a variable. `place` is where the sizes were given, for errors.
    pub fn random(
        dir: &Path,
        (place, sizes): (&str, &BertSizes),
        bio: Bio,
        seed: u64,
    ) -> Result<(Self, BTreeMap<String, Var>)> {
        let tokenizer = EncoderTokenizer::open(dir)?;
        let mut config = EncoderConfig::bert(place, sizes, tokenizer.vocab_size())?;
        config.labels = bio.names();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        Self::learning(config, bio, tokenizer, &mut |name, shape| fresh_tensor(name, shape, &mut rng))
    }

    /// A classifier whose every tensor is a variable.
    pub(super) fn learning(
        config: EncoderConfig,
        bio: Bio,
        tokenizer: EncoderTokenizer,
        source: &mut Tensors,
    ) -> Result<(Self, BTreeMap<String, Var>)> {
        let mut parameters = BTreeMap::new();
        let made = Self::of(config, bio, tokenizer, &mut |name, shape| {
            let var = Var::from_tensor(&source(name, shape)?)?;
            parameters.insert(name.to_string(), var.clone());
            Ok(var.as_tensor().clone())
        })?;
        Ok((made, parameters))
    }

    fn of(config: EncoderConfig, bio: Bio, tokenizer: EncoderTokenizer, source: &mut Tensors) -> Result<Self> {
        tokenizer.fits(config.vocab_size)?;
        let room = config.positions().saturating_sub(tokenizer.frame());
        if room == 0 {
            return Err(Error::input(format!("no room for text among the encoder's {} positions", config.positions())));
        }
        let mut tensors = BTreeMap::new();
        let mut keeping = |name: &str, shape: &[usize]| {
            let tensor = source(name, shape)?;
            tensors.insert(name.to_string(), tensor.clone());
            Ok(tensor)
        };
        let encoder = Encoder::new(&config, &mut keeping)?;
        let head = Head::new(&config, bio.len(), &mut keeping)?;
        let windows = Windows::default();
        let windows = Windows { most: windows.most.min(room), overlap: windows.overlap.min(room / 4) };
        Ok(Self { bio, marked: Marked::default(), windows, encoder, tokenizer, head, tensors })
    }

    /// The same weights, not recorded for a gradient; what training changes is seen here too.
    pub fn detached(&self) -> Result<Self> {
        let frozen = |name: &str, _: &[usize]| {
            let tensor = self.tensors.get(name).ok_or_else(|| Error::failed(format!("no tensor `{name}`")))?;
            Ok(tensor.detach())
        };
        let config = self.encoder.config.clone();
        let made = Self::of(config, self.bio.clone(), self.tokenizer.clone(), &mut { frozen })?;
        Ok(Self { marked: self.marked, windows: self.windows, ..made })
    }

    /// Writes `dir`: `config.json`, `model.safetensors` (f32) and `tokenizer.json`, as transformers reads them.
    pub fn save(&self, dir: &Path) -> Result<()> {
        std::fs::create_dir_all(dir).map_err(Error::io(dir))?;
        tensors::write(&dir.join("model.safetensors"), &self.tensors, DType::F32)?;
        self.tokenizer.save(dir)?;
        self.encoder.config.write(dir)
    }

    pub fn config(&self) -> &EncoderConfig {
        &self.encoder.config
    }

    /// `ids` of all segments, packed, control tokens included → [tokens, labels]. Differentiable.
    pub fn logits(&self, ids: &[u32], segments: &Segments) -> Result<Tensor> {
        self.head.forward(&self.encoder.hidden(ids, segments)?)
    }

    /// The same with windows of its own; an error where the encoder cannot read so many tokens.
    pub fn with_windows(self, windows: Windows) -> Result<Self> {
        let room = self.encoder.config.positions() - self.tokenizer.frame(); // above 0, see `of`
        if windows.most == 0 || windows.most > room || windows.overlap >= windows.most {
            return Err(Error::input(format!(
                "windows of {} tokens that share {}: expected from 1 to {room} tokens, what this encoder reads beside its control tokens, and \
                 an overlap below that",
                windows.most, windows.overlap
            )));
        }
        Ok(Self { windows, ..self })
    }

    /// A text's windows with the labels that its spans give the tokens, and the spans that labels cannot express.
    pub fn tag(&self, text: &str, spans: &[Span]) -> Result<(Vec<Tagged>, Vec<Span>)> {
        let pieces = self.tokenizer.pieces(text)?;
        let labelled = self.bio.label(&pieces, spans, self.marked)?;
        let windows = self.windows.over(pieces.ids.len()).into_iter().map(|window| {
            let ids = self.tokenizer.framed(&pieces.ids[window.clone()]);
            let mut labels = vec![None; ids.len()];
            labels[self.tokenizer.before()..][..window.len()].copy_from_slice(&labelled.labels[window]);
            Tagged { ids, labels }
        });
        Ok((windows.collect(), labelled.lost))
    }

    /// The spans that the classifier finds in each text, by place.
    pub fn spans(&self, texts: &[&str]) -> Result<Vec<Vec<Span>>> {
        let pieces = texts.iter().map(|text| self.tokenizer.pieces(text)).collect::<Result<Vec<_>>>()?;
        let windows: Vec<Vec<_>> = pieces.iter().map(|p| self.windows.over(p.ids.len())).collect();
        let sequences = pieces.iter().zip(&windows).flat_map(|(p, w)| w.iter().map(|w| &p.ids[w.clone()]));
        let mut answers = self.best_labels(&sequences.collect::<Vec<_>>())?.into_iter();
        let found = pieces.iter().zip(&windows).map(|(p, windows)| {
            let answers: Vec<Vec<u32>> = answers.by_ref().take(windows.len()).collect();
            let owners = Windows::owners(windows);
            let label = |(token, owner): (usize, &usize)| answers[*owner][token - windows[*owner].start];
            let labels: Vec<u32> = owners.iter().enumerate().map(label).collect();
            self.bio.spans(p, &labels, self.marked)
        });
        Ok(found.collect())
    }

    /// The likeliest label of every token of every window (control tokens excluded from input and answer).
    fn best_labels(&self, windows: &[&[u32]]) -> Result<Vec<Vec<u32>>> {
        let mut best = Vec::with_capacity(windows.len());
        let mut rest = windows;
        while !rest.is_empty() {
            let mut tokens = 0;
            let fits = |w: &&&[u32]| {
                tokens += w.len() + self.tokenizer.frame();
                tokens <= BATCH
            };
            let (batch, later) = rest.split_at(rest.iter().take_while(fits).count().max(1));
            let framed: Vec<Vec<u32>> = batch.iter().map(|w| self.tokenizer.framed(w)).collect();
            let segments = Segments::of_lengths(framed.iter().map(Vec::len));
            let labels = self.logits(&framed.concat(), &segments)?.detach().argmax(D::Minus1)?.to_vec1::<u32>()?;
            for (i, w) in batch.iter().enumerate() {
                let first = segments.range(i).start + self.tokenizer.before();
                best.push(labels[first..first + w.len()].to_vec());
            }
            rest = later;
        }
        Ok(best)
    }

    pub fn tokenizer(&self) -> &EncoderTokenizer {
        &self.tokenizer
    }

    /// Tokens of a text and their places.
    pub fn pieces(&self, text: &str) -> Result<Pieces> {
        self.tokenizer.pieces(text)
    }
}

/// The labels that a folder's `config.json` names.
fn labels(dir: &Path, config: &EncoderConfig) -> Result<Bio> {
    let named = |e: Error| Error::input(format!("{}: `id2label`: {e}", dir.join("config.json").display()));
    Bio::of_labels(&config.labels).map_err(named)
}

/// Biases 0, norms 1, matrices normal (Box–Muller).
fn fresh_tensor(name: &str, shape: &[usize], rng: &mut ChaCha8Rng) -> Result<Tensor> {
    let mut normal = || {
        let (u, v): (f32, f32) = (rng.random_range(f32::MIN_POSITIVE..1.0), rng.random_range(0.0..1.0));
        (-2.0 * u.ln()).sqrt() * (std::f32::consts::TAU * v).cos()
    };
    let n = shape.iter().product();
    let values: Vec<f32> = match shape.len() {
        1 => vec![if name.to_lowercase().ends_with("norm.weight") { 1.0 } else { 0.0 }; n],
        _ => (0..n).map(|_| normal() * DEVIATION).collect(),
    };
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}

impl Head {
    fn new(c: &EncoderConfig, labels: usize, tensors: &mut Tensors) -> Result<Self> {
        let h = c.hidden_size;
        let [norm_bias, .., classifier_bias] = c.biases;
        let transform = match c.family {
            Family::ModernBert => Some((
                Dense::new("head.dense", [h, h], classifier_bias, tensors)?,
                Norm::new("head.norm", h, norm_bias, c.norm_eps, tensors)?,
            )),
            Family::Bert | Family::Roberta => None,
        };
        Ok(Self { transform, classifier: Dense::new("classifier", [labels, h], true, tensors)? })
    }

    fn forward(&self, hidden: &Tensor) -> Result<Tensor> {
        match &self.transform {
            Some((dense, norm)) => self.classifier.forward(&norm.forward(&gelu(&dense.forward(hidden)?)?)?),
            None => self.classifier.forward(hidden),
        }
    }
}

/// A loss before it is divided: Σ w(y) · −log p(y), and Σ w(y).
pub struct Summed {
    /// A scalar, differentiable.
    pub sum: Tensor,
    pub weight: f64,
}

/// Cross-entropy of `logits` [tokens, labels] with one label a token, None where there is none to learn; `class_weights` has one a label, all 1
/// if None. Sums of several batches divided by the sum of their weights are the mean over all of them.
pub fn cross_entropy_sum(logits: &Tensor, labels: &[Option<u32>], class_weights: Option<&[f32]>) -> Result<Summed> {
    let (tokens, classes) = logits.dims2()?;
    if labels.len() != tokens {
        return Err(Error::failed(format!("{} labels for {tokens} tokens", labels.len())));
    }
    if let Some(weights) = class_weights
        && (weights.len() != classes || weights.iter().any(|w| !(w.is_finite() && *w >= 0.0)))
    {
        return Err(Error::input(format!("class weights {weights:?}: expected {classes} numbers from 0 on")));
    }
    let labelled = labels.iter().enumerate().filter_map(|(i, label)| label.map(|label| (i as u32, label)));
    let (rows, targets): (Vec<u32>, Vec<u32>) = labelled.unzip();
    if let Some(label) = targets.iter().find(|&&label| label as usize >= classes) {
        return Err(Error::input(format!("label {label} is not one of the classifier's {classes}")));
    }
    if rows.is_empty() {
        return Err(Error::input("no token carries a label: there is nothing to learn from this batch"));
    }
    let weights: Vec<f32> = targets.iter().map(|&y| class_weights.map_or(1.0, |w| w[y as usize])).collect();
    let weight = weights.iter().map(|w| *w as f64).sum();
    let (n, device) = (rows.len(), logits.device());
    let logits = logits.index_select(&Tensor::from_vec(rows, n, device)?, 0)?;
    let logp = candle_nn::ops::log_softmax(&logits, D::Minus1)?;
    let logp = logp.gather(&Tensor::from_vec(targets, (n, 1), device)?, 1)?.squeeze(1)?;
    let weights = Tensor::from_vec(weights, n, device)?.to_dtype(logp.dtype())?;
    Ok(Summed { sum: (logp * weights)?.sum_all()?.neg()?, weight })
}

/// The mean of [`cross_entropy_sum`], a scalar: torch's `cross_entropy` with `ignore_index` and `weight`.
pub fn cross_entropy(logits: &Tensor, labels: &[Option<u32>], class_weights: Option<&[f32]>) -> Result<Tensor> {
    let Summed { sum, weight } = cross_entropy_sum(logits, labels, class_weights)?;
    if weight <= 0.0 {
        return Err(Error::input("every label of the batch has class weight 0: there is nothing to learn from it"));
    }
    Ok((sum / weight)?)
}

//! A decoder for causal language modelling, whatever its family: embedding, [`Block`]s, a last norm, and a head that
//! may be the embedding.
//!
//! One forward serves training, scoring and generation. Tokens of many sequences lie packed in one dimension; attention
//! alone knows where a sequence starts. Tensors are named as in the checkpoint.
mod layerwise;
mod load;

use super::block::{Block, LayerState, Linear, Norm, Pass, Tail, Weights};
use super::config::Config;
use super::ops::{RotaryEmbedding, Segments, TokenLogProbs, Weight, linear, smoothed_token_logprob, token_logprob};
use crate::error::{Error, Result};
use candle_core::{DType, Device, Tensor};

pub struct CausalLm {
    pub config: Config,
    embed_tokens: Weight,
    layers: Vec<Box<dyn Block>>,
    norm: Norm,
    /// None where the embedding serves as the head.
    lm_head: Option<Weight>,
    /// Of rotary positions, and what cos and sin are multiplied with.
    frequencies: (Vec<f64>, f64),
}

/// What a model keeps of one sequence, for generation; made by [`CausalLm::cache`]. The default belongs to no model: it
/// only holds a place.
#[derive(Clone, Default)]
pub struct Cache {
    layers: Vec<LayerState>,
    len: usize,
}

impl Cache {
    /// Positions held.
    pub fn len(&self) -> usize {
        self.len
    }
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What was kept of positions `from` to `to` (without it), to be given to another sequence that begins alike. A recurrent layer gives its
    /// state after `to`, which it keeps at the end only: None anywhere else.
    pub fn part(&self, from: usize, to: usize) -> Option<Self> {
        let rows = |all: &[f32]| all[all.len() / self.len * from..all.len() / self.len * to].to_vec();
        let part = |layer: &LayerState| match layer {
            LayerState::KeyValue { k, v } => Some(LayerState::KeyValue { k: rows(k), v: rows(v) }),
            LayerState::Recurrent { .. } => (to == self.len).then(|| layer.clone()),
        };
        let known = from < to && to <= self.len;
        Some(Self {
            layers: self.layers.iter().map(|l| part(l).filter(|_| known)).collect::<Option<_>>()?,
            len: to - from,
        })
    }

    /// Appends a part of another sequence, which must be of the same model and follow what is here. Rotary positions stand in the keys.
    pub fn append(&mut self, part: &Self) -> Result<()> {
        if self.layers.len() != part.layers.len() {
            return Err(Error::failed("a cache that was made by another model"));
        }
        for (layer, more) in self.layers.iter_mut().zip(&part.layers) {
            match (layer, more) {
                (LayerState::KeyValue { k, v }, LayerState::KeyValue { k: keys, v: values }) => {
                    k.extend_from_slice(keys);
                    v.extend_from_slice(values);
                }
                (layer @ LayerState::Recurrent { .. }, LayerState::Recurrent { .. }) => *layer = more.clone(),
                _ => return Err(Error::failed("a part of a cache that was made by another model")),
            }
        }
        self.len += part.len;
        Ok(())
    }

    /// Forgets all but the first `len` positions. Fails for layers whose state cannot go back: see [`Cache::mark`].
    pub fn truncate(&mut self, len: usize) -> Result<()> {
        if len >= self.len {
            return Ok(());
        }
        if self.layers.iter().any(|layer| matches!(layer, LayerState::Recurrent { .. })) {
            return Err(Error::failed("a recurrent layer keeps no earlier states: its cache cannot be cut"));
        }
        self.cut(len);
        Ok(())
    }

    /// Of keys and values, all but the first `len` positions.
    fn cut(&mut self, len: usize) {
        for layer in &mut self.layers {
            if let LayerState::KeyValue { k, v } = layer {
                let (of_k, of_v) = (k.len() / self.len, v.len() / self.len);
                k.truncate(len * of_k);
                v.truncate(len * of_v);
            }
        }
        self.len = len;
    }

    /// A place to come back to by [`Cache::go_back`], with a copy of what recurrent layers know; None where no layer is recurrent, as
    /// [`Cache::truncate`] then does the same for nothing.
    pub fn mark(&self) -> Option<Mark> {
        let kept = |layer: &LayerState| match layer {
            LayerState::KeyValue { .. } => None,
            LayerState::Recurrent { .. } => Some(layer.clone()),
        };
        let states: Vec<Option<LayerState>> = self.layers.iter().map(kept).collect();
        states.iter().any(Option::is_some).then_some(Mark { states, len: self.len })
    }

    /// Forgets what was read since `mark`.
    pub fn go_back(&mut self, mark: Mark) -> Result<()> {
        if mark.len > self.len || mark.states.len() != self.layers.len() {
            return Err(Error::failed("a mark of another cache"));
        }
        if mark.len < self.len {
            self.cut(mark.len);
        }
        for (layer, state) in self.layers.iter_mut().zip(mark.states) {
            if let Some(state) = state {
                *layer = state;
            }
        }
        Ok(())
    }
}

/// See [`Cache::mark`].
pub struct Mark {
    states: Vec<Option<LayerState>>,
    len: usize,
}

/// Rotary positions of one pass, and which rows its last layer has to answer for.
struct Places {
    segments: Segments,
    rotary: RotaryEmbedding,
    tail: Option<Tail>,
}

impl CausalLm {
    pub fn new(config: &Config, weights: &mut Weights) -> Result<Self> {
        let c = config;
        let embed_tokens = weights("model.embed_tokens.weight", &[c.vocab_size, c.hidden_size])?;
        let layers = (0..c.num_hidden_layers).map(|i| c.family.block(c, i, weights)).collect::<Result<_>>()?;
        let norm = Norm::new("model.norm", c.hidden_size, c, weights)?;
        let lm_head = match c.tie_word_embeddings {
            true => None,
            false => Some(weights("lm_head.weight", &[c.vocab_size, c.hidden_size])?),
        };
        let frequencies = c.rope.frequencies(c.head_dim);
        Ok(Self { config: config.clone(), embed_tokens, layers, norm, lm_head, frequencies })
    }

    /// Where the model lies, and with it whatever is made for it.
    pub fn device(&self) -> &Device {
        self.norm.device()
    }

    /// Every linear layer of the decoder, from the first to the last.
    pub fn linears_mut(&mut self) -> impl Iterator<Item = &mut Linear> {
        self.layers.iter_mut().flat_map(|layer| layer.linears_mut())
    }

    /// For a sequence of which nothing has been read.
    pub fn cache(&self) -> Cache {
        Cache { layers: self.layers.iter().map(|layer| layer.state()).collect(), len: 0 }
    }

    /// `ids` of all segments, packed → hidden states after the last norm, [tokens, hidden_size]. Differentiable.
    pub fn hidden(&self, ids: &[u32], segments: &Segments) -> Result<Tensor> {
        self.hidden_tail(ids, segments, segments)
    }

    /// Hidden states of the last `tails` tokens of every segment only, [Σ tails, hidden_size]: the last layer makes no
    /// others.
    pub fn hidden_tail(&self, ids: &[u32], segments: &Segments, tails: &Segments) -> Result<Tensor> {
        self.check(ids, segments, (0..segments.len()).map(|i| segments.range(i).len()))?;
        let places = self.places(&segments.positions(), segments, tails)?;
        self.run(ids, &places, None)
    }

    fn places(&self, positions: &[usize], segments: &Segments, tails: &Segments) -> Result<Places> {
        let rotary = |positions: &[usize]| RotaryEmbedding::new(positions, &self.frequencies.0, self.frequencies.1);
        let (segments, turns_of_all) = (segments.clone(), rotary(positions));
        if &segments == tails {
            return Ok(Places { segments, rotary: turns_of_all, tail: None });
        }
        let rows: Vec<u32> = (0..segments.len())
            .flat_map(|i| (segments.range(i).end - tails.range(i).len()..segments.range(i).end).map(|row| row as u32))
            .collect();
        let kept: Vec<usize> = rows.iter().map(|&row| positions[row as usize]).collect();
        let rows = Tensor::new(rows.as_slice(), self.device())?;
        let tail = Tail { segments: tails.clone(), rows, rotary: rotary(&kept) };
        Ok(Places { segments, rotary: turns_of_all, tail: Some(tail) })
    }

    /// As `hidden`, for tokens that continue the sequences in `caches` (one a segment). Inference only.
    pub fn extend(&self, ids: &[u32], segments: &Segments, caches: &mut [&mut Cache]) -> Result<Tensor> {
        self.extend_tail(ids, segments, segments, caches)
    }

    /// As `extend`, with the hidden states of the last `tails` new tokens of every sequence only.
    pub fn extend_tail(
        &self,
        ids: &[u32],
        segments: &Segments,
        tails: &Segments,
        caches: &mut [&mut Cache],
    ) -> Result<Tensor> {
        if caches.iter().any(|c| c.layers.len() != self.layers.len()) {
            return Err(Error::failed("a cache that was made by another model"));
        }
        let ends = caches.iter().enumerate().map(|(i, c)| c.len + segments.range(i).len());
        self.check(ids, segments, ends)?;
        let positions: Vec<usize> = (0..segments.len())
            .flat_map(|i| (0..segments.range(i).len()).map(|p| p + caches[i].len).collect::<Vec<_>>())
            .collect();
        let places = self.places(&positions, segments, tails)?;
        let hidden = self.run(ids, &places, Some(caches))?;
        caches.iter_mut().enumerate().for_each(|(i, c)| c.len += segments.range(i).len());
        Ok(hidden)
    }

    fn check(&self, ids: &[u32], segments: &Segments, ends: impl Iterator<Item = usize>) -> Result<()> {
        let c = &self.config;
        let an_empty_one = (0..segments.len()).any(|i| segments.range(i).is_empty());
        c.reads(if an_empty_one { &[] } else { ids })?;
        ends.max().map_or(Ok(()), |tokens| c.holds(tokens))
    }

    /// [tokens, hidden_size]
    fn embed(&self, ids: &[u32]) -> Result<Tensor> {
        match &self.embed_tokens {
            Weight::Tensor(t) if t.dtype() == DType::F32 || !t.device().is_cpu() => {
                Ok(t.index_select(&Tensor::new(ids, t.device())?, 0)?)
            }
            stored => Ok(stored.rows(ids)?),
        }
    }

    /// What layer `i` needs to know; the last one alone has a tail.
    fn pass<'a>(&self, i: usize, places: &'a Places) -> Pass<'a> {
        let tail = places.tail.as_ref().filter(|_| i + 1 == self.layers.len());
        Pass { segments: &places.segments, rotary: &places.rotary, tail }
    }

    fn run(&self, ids: &[u32], places: &Places, mut caches: Option<&mut [&mut Cache]>) -> Result<Tensor> {
        let mut x = self.embed(ids)?;
        for (i, layer) in self.layers.iter().enumerate() {
            let pass = self.pass(i, places);
            x = match &mut caches {
                Some(caches) => {
                    let mut states: Vec<&mut LayerState> = caches.iter_mut().map(|c| &mut c.layers[i]).collect();
                    layer.forward(&x, &pass, Some(&mut states))?
                }
                None => layer.forward(&x, &pass, None)?,
            };
        }
        self.norm.forward(&x)
    }

    fn head(&self) -> &Weight {
        self.lm_head.as_ref().unwrap_or(&self.embed_tokens)
    }

    /// Rows of hidden states [n, hidden_size] → logits [n, vocab_size].
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        Ok(linear(hidden, self.head())?)
    }

    /// log p of `targets` (n ids) after rows of hidden states [n, hidden_size] → [n], differentiable, natural
    /// logarithm.
    pub fn logprobs(&self, hidden: &Tensor, targets: &[u32]) -> Result<Tensor> {
        self.config.knows(targets)?;
        Ok(token_logprob(hidden, self.head(), targets)?)
    }

    /// As `logprobs`, with label smoothing.
    pub fn smoothed_logprobs(&self, hidden: &Tensor, targets: &[u32], epsilon: f64) -> Result<TokenLogProbs> {
        self.config.knows(targets)?;
        Ok(smoothed_token_logprob(hidden, self.head(), targets, epsilon)?)
    }
}

//! Packed batches: whole sequences side by side, no padding, no token seeing its neighbour.
use super::loss::Loss;
use super::optimizer::Gradients;
use crate::error::Result;
use crate::model::CausalLm;
use crate::model::ops::Segments;
use candle_core::Tensor;
use candle_core::backprop::GradStore;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use std::ops::Range;

/// Token ids and which of them are to be learnt: `ids[i]` for i in `supervised`, each given all ids before it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sequence {
    pub ids: Vec<u32>,
    /// Starts at 1 or later: nothing stands before the first token.
    pub supervised: Range<usize>,
    /// How often each supervised token counts in the loss; empty where all count once.
    pub weights: Vec<f32>,
    /// Which supervised tokens are also evaluated on their own; empty where none are.
    pub marked: Vec<bool>,
}

impl Sequence {
    /// A text whose every token is to be learnt.
    pub fn text(ids: Vec<u32>) -> Self {
        Self { supervised: 1.min(ids.len())..ids.len(), ids, weights: vec![], marked: vec![] }
    }
    /// A prompt and the completion that is to be learnt.
    pub fn completion(ids: Vec<u32>, prompt_len: usize) -> Self {
        Self { supervised: prompt_len.max(1)..ids.len(), ids, weights: vec![], marked: vec![] }
    }
}

/// The tokens of some sequences as the model takes them.
pub struct Batch {
    ids: Vec<u32>,
    segments: Segments,
    /// The last tokens of every segment: those that predict a supervised token.
    tails: Segments,
    pub targets: Vec<u32>,
    /// Of every target; none where all count once.
    weights: Option<Vec<f32>>,
    /// Places in `targets` that are evaluated on their own.
    pub(super) marked: Vec<u32>,
}

impl Batch {
    pub fn pack<'a>(sequences: impl IntoIterator<Item = &'a Sequence>) -> Self {
        let (mut ids, mut lengths, mut tails, mut targets) = (vec![], vec![], vec![], vec![]);
        let (mut weights, mut weighed, mut marked) = (vec![], false, vec![]);
        for s in sequences.into_iter().filter(|s| !s.supervised.is_empty()) {
            let read = s.supervised.end - 1; // the last supervised token is predicted, never read
            let places = s.marked.iter().enumerate().filter(|(_, marked)| **marked);
            marked.extend(places.map(|(at, _)| (targets.len() + at) as u32));
            tails.push(s.supervised.len());
            targets.extend_from_slice(&s.ids[s.supervised.clone()]);
            weighed |= !s.weights.is_empty();
            match s.weights.as_slice() {
                [] => weights.resize(targets.len(), 1.0),
                own => weights.extend_from_slice(own),
            }
            ids.extend_from_slice(&s.ids[..read]);
            lengths.push(read);
        }
        let (segments, tails) = (Segments::of_lengths(lengths), Segments::of_lengths(tails));
        Self { ids, segments, tails, targets, weights: weighed.then_some(weights), marked }
    }

    /// Tokens read by the model.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// log p of every target → [targets], differentiable.
    pub fn logprobs(&self, model: &CausalLm) -> Result<Tensor> {
        let hidden = model.hidden_tail(&self.ids, &self.segments, &self.tails)?;
        model.logprobs(&hidden, &self.targets)
    }

    /// log p of every target without a graph: memory is one layer's.
    pub fn score(&self, model: &CausalLm) -> Result<Vec<f32>> {
        Ok(self.score_marked(model)?.0)
    }

    /// As `score`, and how many of the marked targets are the likeliest token at their place.
    pub(super) fn score_marked(&self, model: &CausalLm) -> Result<(Vec<f32>, usize)> {
        let hidden = model.hidden_detached(&self.ids, &self.segments, &self.tails)?;
        let logp = model.logprobs(&hidden, &self.targets)?.to_vec1()?;
        if self.marked.is_empty() {
            return Ok((logp, 0));
        }
        let rows = hidden.index_select(&Tensor::new(self.marked.as_slice(), hidden.device())?, 0)?;
        let likeliest: Vec<u32> = model.logits(&rows)?.argmax(1)?.to_vec1()?;
        let right = self.marked.iter().zip(likeliest).filter(|(at, id)| self.targets[**at as usize] == *id).count();
        Ok((logp, right))
    }

    /// Adds the gradients of `loss`, summed over the targets, to `grads` and returns that sum and the cross-entropy, also summed.
    /// With `by_layers` one layer's graph is alive at a time; the gradients are the same.
    pub fn backward(&self, model: &CausalLm, loss: &Loss, by_layers: bool, grads: &mut Gradients) -> Result<Sums> {
        let mut cross_entropy = 0.0;
        let objective = |hidden: &Tensor| -> Result<Tensor> {
            let tokens = model.smoothed_logprobs(hidden, &self.targets, loss.label_smoothing)?;
            cross_entropy = -tokens.logp.to_vec1::<f32>()?.into_iter().map(f64::from).sum::<f64>();
            loss.sum(&tokens, self.weights.as_deref())
        };
        let sum = if by_layers {
            let take = &mut |store: &GradStore| grads.add(store);
            model.backward_by_layers(&self.ids, &self.segments, &self.tails, objective, take)?
        } else {
            let hidden = model.hidden_tail(&self.ids, &self.segments, &self.tails)?;
            let sum = { objective }(&hidden)?;
            grads.add(&sum.backward()?)?;
            sum
        };
        grads.targets += self.targets.len();
        Ok(Sums { loss: sum.to_scalar::<f32>()? as f64, cross_entropy })
    }
}

/// Over the targets of a batch, in nats.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sums {
    pub loss: f64,
    pub cross_entropy: f64,
}

/// Which sequences make each micro-batch of each epoch: shuffled anew every epoch, filled up to `batch_tokens`.
/// The whole plan follows from its arguments, so that a step number is all that resuming needs.
pub fn plan(lengths: &[usize], batch_tokens: usize, epochs: usize, seed: u64) -> Vec<Vec<usize>> {
    plan_times(lengths, &vec![vec![1; lengths.len()]; epochs], batch_tokens, seed)
}

/// As [`plan`], sequence i coming `times[epoch][i]` times in an epoch.
pub fn plan_times(lengths: &[usize], times: &[Vec<u32>], batch_tokens: usize, seed: u64) -> Vec<Vec<usize>> {
    let mut batches = Vec::new();
    for (epoch, times) in times.iter().enumerate() {
        let repeated = |(i, &n): (usize, &u32)| std::iter::repeat_n(i, n as usize);
        let mut order: Vec<usize> = times.iter().enumerate().flat_map(repeated).collect();
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(epoch as u64)));
        let (mut batch, mut tokens) = (Vec::new(), 0);
        for i in order {
            if tokens + lengths[i] > batch_tokens && !batch.is_empty() {
                batches.push(std::mem::take(&mut batch));
                tokens = 0;
            }
            batch.push(i);
            tokens += lengths[i];
        }
        if !batch.is_empty() {
            batches.push(batch);
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sequence_comes_once_an_epoch_and_no_batch_overflows() {
        let lengths: Vec<usize> = (0..97).map(|i| 10 + i * 37 % 90).collect();
        let batches = plan(&lengths, 256, 2, 7);
        let mut seen = vec![0; 97];
        for b in &batches {
            assert!(b.iter().map(|&i| lengths[i]).sum::<usize>() <= 256 || b.len() == 1);
            b.iter().for_each(|&i| seen[i] += 1);
        }
        assert_eq!(seen, vec![2; 97]);
        assert_eq!(batches, plan(&lengths, 256, 2, 7));
        assert_ne!(batches, plan(&lengths, 256, 2, 8));
        let times = [vec![1; 97], (0..97).map(|i| (i % 3) as u32).collect()];
        let twice: Vec<usize> = plan_times(&lengths, &times, 256, 7).concat();
        assert_eq!(twice[..97], batches.concat()[..97], "the first epoch is the same");
        assert!((0..97).all(|i| twice[97..].iter().filter(|&&j| j == i).count() == i % 3));
    }

    #[test]
    fn tails_are_the_tokens_before_each_target() {
        let two = [Sequence::completion(vec![5, 6, 7, 8], 2), Sequence::text(vec![9, 10])];
        let b = Batch::pack(&two);
        assert_eq!((b.ids.as_slice(), b.targets.as_slice()), (&[5, 6, 7, 9][..], &[7, 8, 10][..]));
        assert_eq!(b.tails, Segments::of_lengths([2, 1]));
        assert_eq!(b.segments, Segments::of_lengths([3, 1]));
    }
}

//! Packed batches: whole sequences side by side, no padding, no token seeing its neighbour.
use crate::error::Result;
use crate::model::Qwen3;
use crate::model::ops::Segments;
use candle_core::Tensor;
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
}

impl Sequence {
    /// A text whose every token is to be learnt.
    pub fn text(ids: Vec<u32>) -> Self {
        Self { supervised: 1.min(ids.len())..ids.len(), ids }
    }
    /// A prompt and the completion that is to be learnt.
    pub fn completion(ids: Vec<u32>, prompt_len: usize) -> Self {
        Self { supervised: prompt_len.max(1)..ids.len(), ids }
    }
}

/// The tokens of some sequences as the model takes them.
pub struct Batch {
    ids: Vec<u32>,
    segments: Segments,
    /// Rows of hidden states that predict a supervised token.
    rows: Vec<u32>,
    pub targets: Vec<u32>,
}

impl Batch {
    pub fn pack<'a>(sequences: impl IntoIterator<Item = &'a Sequence>) -> Self {
        let (mut ids, mut lengths, mut rows, mut targets) = (vec![], vec![], vec![], vec![]);
        for s in sequences.into_iter().filter(|s| !s.supervised.is_empty()) {
            let start = ids.len();
            let read = s.supervised.end - 1; // the last supervised token is predicted, never read
            rows.extend(s.supervised.clone().map(|i| (start + i - 1) as u32));
            targets.extend_from_slice(&s.ids[s.supervised.clone()]);
            ids.extend_from_slice(&s.ids[..read]);
            lengths.push(read);
        }
        Self { ids, segments: Segments::of_lengths(lengths), rows, targets }
    }

    /// Tokens read by the model.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// log p of every target → [targets], differentiable.
    pub fn logprobs(&self, model: &Qwen3) -> Result<Tensor> {
        let hidden = model.hidden(&self.ids, &self.segments)?;
        let rows = Tensor::new(self.rows.as_slice(), hidden.device())?;
        model.logprobs(&hidden.index_select(&rows, 0)?, &self.targets)
    }
}

/// Which sequences make each micro-batch of each epoch: shuffled anew every epoch, filled up to `batch_tokens`.
/// The whole plan follows from its arguments, so that a step number is all that resuming needs.
pub fn plan(lengths: &[usize], batch_tokens: usize, epochs: usize, seed: u64) -> Vec<Vec<usize>> {
    let mut batches = Vec::new();
    for epoch in 0..epochs {
        let mut order: Vec<usize> = (0..lengths.len()).collect();
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
    }

    #[test]
    fn rows_point_at_the_token_before_each_target() {
        let two = [Sequence::completion(vec![5, 6, 7, 8], 2), Sequence::text(vec![9, 10])];
        let b = Batch::pack(&two);
        assert_eq!((b.ids.as_slice(), b.targets.as_slice()), (&[5, 6, 7, 9][..], &[7, 8, 10][..]));
        assert_eq!(b.rows, [1, 2, 3]);
        assert_eq!(b.segments, Segments::of_lengths([3, 1]));
    }
}

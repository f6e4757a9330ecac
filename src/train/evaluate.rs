//! Cross-entropy of the validation part, of all its supervised tokens and of those that are marked in it (where inline tags open) alone.
use super::batch::{Batch, Sequence, plan};
use crate::error::Result;
use crate::model::CausalLm;
use serde::{Deserialize, Serialize};

/// Of the marked tokens alone.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MarkedTokens {
    pub tokens: usize,
    /// Mean cross-entropy, nats a token.
    pub loss: f64,
    /// Share of them that is the model's likeliest token, given the right text before it.
    pub right: f64,
}

/// What an evaluation found; none of either without a token of the kind.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evaluated {
    /// Mean cross-entropy, nats a supervised token.
    pub loss: Option<f64>,
    pub marked: Option<MarkedTokens>,
}

/// Evaluates sequences in batches of at most `batch_tokens`.
pub fn evaluate(model: &CausalLm, sequences: &[Sequence], batch_tokens: usize) -> Result<Evaluated> {
    let (mut loss, mut targets) = (0.0, 0);
    let (mut loss_marked, mut marked, mut right) = (0.0, 0, 0);
    let lengths: Vec<usize> = sequences.iter().map(|s| s.ids.len()).collect();
    for batch in plan(&lengths, batch_tokens, 1, 0) {
        let batch = Batch::pack(batch.iter().map(|&i| &sequences[i]));
        let (logp, hits) = batch.score_marked(model)?;
        loss -= logp.iter().copied().map(f64::from).sum::<f64>();
        loss_marked -= batch.marked.iter().map(|&at| f64::from(logp[at as usize])).sum::<f64>();
        (targets, marked, right) = (targets + logp.len(), marked + batch.marked.len(), right + hits);
    }
    let mean = |sum: f64, n: usize| sum / n as f64;
    Ok(Evaluated {
        loss: (targets > 0).then(|| mean(loss, targets)),
        marked: (marked > 0).then(|| MarkedTokens {
            tokens: marked,
            loss: mean(loss_marked, marked),
            right: mean(right as f64, marked),
        }),
    })
}

/// Mean cross-entropy (nats a supervised token) of sequences, in batches of at most `batch_tokens`; None without any.
pub fn mean_loss(model: &CausalLm, sequences: &[Sequence], batch_tokens: usize) -> Result<Option<f64>> {
    Ok(evaluate(model, sequences, batch_tokens)?.loss)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ops::Segments;
    use crate::model::{Precision, default_device, resolve};

    #[test]
    fn marked_tokens_are_evaluated_as_a_pass_over_each_prefix_has_them() {
        let model = CausalLm::load(&resolve("embedded").unwrap(), Precision::F32, &default_device()).unwrap();
        let ids = [11u32, 40, 7, 300, 25, 90, 4, 17];
        let mut sequences = [Sequence::completion(ids.to_vec(), 3), Sequence::completion(ids[2..].to_vec(), 1)];
        sequences[0].marked = vec![true, false, false, true, false];
        sequences[1].marked = vec![false, true, false, false, false];
        let (mut loss, mut right, mut all) = (0.0, 0, 0.0);
        for one in &sequences {
            for (at, place) in one.supervised.clone().enumerate() {
                // the naive twin: each token from its own prefix
                let hidden = model.hidden(&one.ids[..place], &Segments::of_lengths([place])).unwrap();
                let row: Vec<f32> = model.logits(&hidden).unwrap().get(place - 1).unwrap().to_vec1().unwrap();
                let top = (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap();
                let sum = row.iter().map(|x| f64::from(x - row[top]).exp()).sum::<f64>().ln() + f64::from(row[top]);
                let nats = sum - f64::from(row[one.ids[place] as usize]);
                all += nats;
                if one.marked[at] {
                    loss += nats;
                    right += usize::from(top == one.ids[place] as usize);
                }
            }
        }
        for batch_tokens in [4, 100] {
            let found = evaluate(&model, &sequences, batch_tokens).unwrap();
            let marked = found.marked.unwrap();
            assert!((marked.loss - loss / 3.0).abs() < 1e-4, "{} {}", marked.loss, loss / 3.0);
            assert_eq!((marked.tokens, marked.right), (3, right as f64 / 3.0));
            assert!((found.loss.unwrap() - all / 10.0).abs() < 1e-4);
        }
        sequences.iter_mut().for_each(|one| one.marked.clear());
        assert_eq!(evaluate(&model, &sequences, 100).unwrap().marked, None);
    }
}

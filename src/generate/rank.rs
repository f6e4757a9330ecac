//! A closed list in order of likelihood: log p of every candidate after a prompt that is read once.
//!
//! ```text
//! prompt ─ read once ─ cache ─┬─ (copy) renal│ cyst│⟨end⟩      log p = Σ log p(token | prompt, tokens before)
//!                             ├─ (copy) gall│stone│⟨end⟩
//!                             └─ …                             packed side by side, `batch` at a time
//! ```
//!
//! The sum is what the model believes of the whole answer and favours short candidates; the mean over tokens does not,
//! and favours long ones whose later tokens follow from the first.
use crate::error::{Error, Result};
use crate::model::CausalLm;
use crate::model::ops::{CpuSlice, Segments, log_sum_exp};
use serde::Serialize;

/// A candidate with its likelihood after one prompt.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ranked {
    /// Its index in the list.
    pub candidate: usize,
    /// log p of all its tokens, natural logarithm.
    pub logprob: f64,
    pub tokens: usize,
}

impl Ranked {
    /// log p a token.
    pub fn mean(&self) -> f64 {
        self.logprob / self.tokens as f64
    }
}

/// What candidates are ordered by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum By {
    #[default]
    Sum,
    Mean,
}

/// Every prompt's candidates, the likeliest first, equals in the order of the list. A candidate is the token ids of an
/// answer with the end of turn; `batch` copies of a prompt's cache are held at a time. Fails for an empty list or
/// candidate.
pub fn rank(
    model: &CausalLm,
    prompts: &[Vec<u32>],
    candidates: &[Vec<u32>],
    by: By,
    batch: usize,
) -> Result<Vec<Vec<Ranked>>> {
    if candidates.is_empty() {
        return Err(Error::input("nothing to rank: expected at least one candidate"));
    }
    if let Some(empty) = candidates.iter().position(Vec::is_empty) {
        return Err(Error::input(format!("candidate {} is empty: expected at least one token", empty + 1)));
    }
    let vocabulary = model.config.vocab_size;
    if let Some(id) = candidates.iter().flatten().find(|&&id| id as usize >= vocabulary) {
        return Err(Error::input(format!(
            "token id {id} of a candidate lies outside the model's vocabulary of {vocabulary}"
        )));
    }
    let value = |r: &Ranked| if by == By::Sum { r.logprob } else { r.mean() };
    let of = |prompt: &Vec<u32>| {
        let logprobs = score_candidates(model, prompt, candidates, batch.max(1))?;
        let row = |(candidate, logprob)| Ranked { candidate, logprob, tokens: candidates[candidate].len() };
        let mut ranked: Vec<Ranked> = logprobs.into_iter().enumerate().map(row).collect();
        ranked.sort_by(|a, b| value(b).total_cmp(&value(a)));
        Ok(ranked)
    };
    prompts.iter().map(of).collect()
}

/// Tokens of a prompt's cache that are copied for candidates at the same time, at most; one candidate is always scored.
const COPIED: usize = 1 << 15;

/// log p of every candidate, in their order.
fn score_candidates(model: &CausalLm, prompt: &[u32], candidates: &[Vec<u32>], batch: usize) -> Result<Vec<f64>> {
    let mut cache = model.cache();
    let (all, newest) = (Segments::of_lengths([prompt.len()]), Segments::of_lengths([1]));
    let logits = model.logits(&model.extend_tail(prompt, &all, &newest, &mut [&mut cache])?)?; // [1, vocab_size]
    let logits = CpuSlice::of(&logits)?;
    let whole = log_sum_exp(&logits);
    let mut scores: Vec<f64> = candidates.iter().map(|c| (logits[c[0] as usize] - whole) as f64).collect();
    let longer: Vec<usize> = (0..candidates.len()).filter(|&i| candidates[i].len() > 1).collect();
    for some in longer.chunks(batch.min(COPIED / prompt.len().max(1)).max(1)) {
        let read = |i: usize| &candidates[i][..candidates[i].len() - 1]; // the last token is predicted, never read
        let ids: Vec<u32> = some.iter().flat_map(|&i| read(i).to_vec()).collect();
        let targets: Vec<u32> = some.iter().flat_map(|&i| candidates[i][1..].to_vec()).collect();
        let mut caches = vec![cache.clone(); some.len()];
        let segments = Segments::of_lengths(some.iter().map(|&i| read(i).len()));
        let hidden = model.extend(&ids, &segments, &mut caches.iter_mut().collect::<Vec<_>>())?;
        let logprobs: Vec<f32> = model.logprobs(&hidden, &targets)?.to_vec1()?;
        for (k, &i) in some.iter().enumerate() {
            scores[i] += logprobs[segments.range(k)].iter().map(|&p| p as f64).sum::<f64>();
        }
    }
    Ok(scores)
}

#[cfg(test)]
mod tests {
    use super::super::{Pair, score};
    use super::*;
    use crate::model::golden::{json, model, numbers, pairs};

    fn golden() -> (Vec<Vec<u32>>, Vec<Vec<u32>>, Vec<Vec<f64>>) {
        let rank = json("rank.json");
        let prompts = pairs().into_iter().map(|p| p.prompt_ids).collect();
        let sums = rank["sums"].as_array().unwrap().iter().map(numbers).collect();
        (prompts, serde_json::from_value(rank["candidates"].clone()).unwrap(), sums)
    }

    #[test]
    fn likelihoods_and_order_agree_with_transformers() {
        let (m, (prompts, candidates, sums)) = (model("tied"), golden());
        for by in [By::Sum, By::Mean] {
            let ranked = rank(&m, &prompts, &candidates, by, 4).unwrap();
            for (ranked, sums) in ranked.iter().zip(&sums) {
                ranked.iter().for_each(|r| assert!((r.logprob - sums[r.candidate]).abs() < 1e-4, "{r:?} {sums:?}"));
                let value = |i: usize| if by == By::Sum { sums[i] } else { sums[i] / candidates[i].len() as f64 };
                let mut want: Vec<usize> = (0..candidates.len()).collect();
                want.sort_by(|&a, &b| value(b).total_cmp(&value(a)));
                assert_eq!(ranked.iter().map(|r| r.candidate).collect::<Vec<_>>(), want, "{by:?}");
            }
        }
    }

    #[test]
    fn a_shared_prompt_scores_as_whole_sequences_do() {
        let (m, (prompts, candidates, _)) = (model("untied"), golden());
        for batch in [1, 3, 100] {
            for (prompt, ranked) in prompts.iter().zip(rank(&m, &prompts, &candidates, By::Sum, batch).unwrap()) {
                let whole: Vec<Pair> = (candidates.iter())
                    .map(|c| Pair { prompt_ids: prompt.clone(), completion_ids: c.clone(), line: 0 })
                    .collect();
                let whole = score(&m, &whole, 2048).unwrap();
                assert_eq!(ranked.len(), candidates.len());
                for r in &ranked {
                    let want: f64 = whole[r.candidate].iter().sum();
                    assert!((r.logprob - want).abs() < 1e-4, "batch {batch}: {r:?} {want}");
                    assert!((r.mean() - want / candidates[r.candidate].len() as f64).abs() < 1e-4);
                }
            }
        }
    }

    #[test]
    fn candidates_that_cannot_be_ranked_are_refused() {
        let m = model("tied");
        let refused = |prompt: &[u32], candidates: &[Vec<u32>]| {
            let error = rank(&m, &[prompt.to_vec()], candidates, By::Sum, 4).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            error.to_string()
        };
        assert!(refused(&[3], &[]).contains("nothing to rank"));
        assert!(refused(&[3], &[vec![1], vec![]]).contains("candidate 2 is empty"));
        assert!(refused(&[3], &[vec![256]]).contains("outside the model's vocabulary"));
        assert!(refused(&[3], &[vec![1, 300]]).contains("outside the model's vocabulary"));
        assert!(refused(&[], &[vec![1]]).contains("empty prompt"));
        assert!(refused(&[3; 510], &[vec![1, 2, 3, 4]]).contains("positions"));
    }
}

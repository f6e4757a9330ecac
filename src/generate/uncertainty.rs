//! How sure a model was of every token of an answer, by one pass over prompt and answer:
//!
//! ```text
//! nll_t     −log p(y_t | prompt, y_<t)
//! entropy_t −Σ_v p_v log p_v             p: the whole distribution from which y_t was taken; at most log of the vocabulary's size
//! ```
//!
//! Natural logarithms. The first is called "entropy" in places (system 002); it depends on the one token that was taken, the second on all.
use super::agreement::log_sum_exp;
use crate::error::{Error, Result};
use crate::model::CausalLm;
use crate::model::ops::{CpuSlice, Segments, each, on_workers};

/// Rows of logits made at a time: of a vocabulary of 150,000 40 MB.
const ROWS: usize = 64;

/// Of one token, in nats.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Uncertainty {
    pub nll: f64,
    pub entropy: f64,
}

impl Uncertainty {
    /// Of the token `target` under logits.
    fn of(row: &[f32], target: u32) -> Self {
        let whole = log_sum_exp(row);
        let mean: f64 = row.iter().map(|z| f64::from(*z)).map(|z| (z - whole).exp() * z).sum();
        // rounding may take it a hair below 0, where it cannot be
        Self { nll: whole - f64::from(row[target as usize]), entropy: (whole - mean).max(0.0) }
    }
}

/// Of every token of `ids[prompt_len..]`, each given all ids before it. Memory is that of one layer and of 64 rows of logits.
pub fn uncertainty(model: &CausalLm, ids: &[u32], prompt_len: usize) -> Result<Vec<Uncertainty>> {
    if prompt_len == 0 || prompt_len >= ids.len() {
        let (n, of) = (prompt_len, ids.len());
        return Err(Error::input(format!(
            "a prompt of {n} tokens of {of}: expected a token before the answer and one in it"
        )));
    }
    let (read, targets) = (&ids[..ids.len() - 1], &ids[prompt_len..]);
    model.config.reads(read).and_then(|()| model.config.holds(read.len()))?;
    model.config.knows(targets)?;
    on_workers(|| {
        let (all, tail) = (Segments::of_lengths([read.len()]), Segments::of_lengths([targets.len()]));
        let hidden = model.hidden_detached(read, &all, &tail)?; // [answer, hidden_size]
        let mut found = Vec::with_capacity(targets.len());
        for (i, targets) in targets.chunks(ROWS).enumerate() {
            let logits = model.logits(&hidden.narrow(0, i * ROWS, targets.len())?.contiguous()?)?;
            let (vocabulary, numbers) = (logits.dim(1)?, CpuSlice::of(&logits)?);
            let mut part = vec![Uncertainty::default(); targets.len()];
            each(&mut part, |k, one| *one = Uncertainty::of(&numbers[k * vocabulary..][..vocabulary], targets[k]));
            found.extend(part);
        }
        match found.iter().all(|one| one.nll.is_finite() && one.entropy.is_finite()) {
            true => Ok(found),
            false => Err(Error::failed("the logits are not finite; are there NaN in the weights?")),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Pair, score};
    use super::*;
    use crate::model::golden::model;

    #[test]
    fn entropy_is_that_of_known_distributions() {
        let even = Uncertainty::of(&[2.0; 8], 3);
        assert!((even.entropy - 8f64.ln()).abs() < 1e-12 && (even.nll - 8f64.ln()).abs() < 1e-12, "{even:?}");
        // p = (3/4, 1/4)
        let two = Uncertainty::of(&[3f32.ln(), 0.0], 1);
        let want = -(0.75 * 0.75f64.ln() + 0.25 * 0.25f64.ln());
        assert!((two.entropy - want).abs() < 1e-7 && (two.nll - 4f64.ln()).abs() < 1e-7, "{two:?}");
        let sure = Uncertainty::of(&[1000.0, -1000.0, 0.0], 0);
        assert_eq!((sure.entropy, sure.nll), (0.0, 0.0));
    }

    /// Against a softmax written out over the logits of the whole sequence, and log-probabilities by the training loss' operation.
    #[test]
    fn slices_of_rows_give_what_a_whole_softmax_gives() {
        let m = model("untied");
        let ids: Vec<u32> = (0..2 * ROWS as u32 + 40).map(|i| (i * 31 + 7) % 256).collect();
        let prompt = 9;
        let found = uncertainty(&m, &ids, prompt).unwrap();
        assert_eq!(found.len(), ids.len() - prompt);
        let hidden = m.hidden(&ids, &Segments::of_lengths([ids.len()])).unwrap();
        let logits: Vec<Vec<f32>> = m.logits(&hidden).unwrap().to_vec2().unwrap();
        for (k, one) in found.iter().enumerate() {
            let row: Vec<f64> = logits[prompt + k - 1].iter().map(|z| f64::from(*z)).collect();
            let total: f64 = row.iter().map(|z| z.exp()).sum();
            let p: Vec<f64> = row.iter().map(|z| z.exp() / total).collect();
            let entropy: f64 = -p.iter().map(|p| p * p.ln()).sum::<f64>();
            let nll = -p[ids[prompt + k] as usize].ln();
            assert!(
                (one.entropy - entropy).abs() < 1e-4 && (one.nll - nll).abs() < 1e-4,
                "{k}: {one:?} {entropy} {nll}"
            );
        }
        let pair = Pair { prompt_ids: ids[..prompt].to_vec(), completion_ids: ids[prompt..].to_vec(), line: 0 };
        let logprobs = score(&m, &[pair], 4096).unwrap().remove(0);
        found.iter().zip(logprobs).for_each(|(one, logprob)| assert!((one.nll + logprob).abs() < 1e-4));
        for (ids, prompt) in [(&ids[..], 0), (&ids[..4], 4), (&[1, 99_999, 3][..], 1)] {
            assert_eq!(uncertainty(&m, ids, prompt).unwrap_err().exit_code(), 2);
        }
    }
}

//! How far one model is from another on the same prompts: logits, distributions, greedy answers.
//!
//! KL(p‖q) = Σ_v p_v (log p_v − log q_v)      one a position, natural logarithm; p: the reference, q: the other
//!
//! The reference is looked at first and may be dropped before the other one is loaded: only its logits are kept.
use super::decode::{Limits, greedy};
use super::pairs::Pair;
use crate::error::Result;
use crate::model::CausalLm;
use crate::model::ops::{CpuSlice, Segments};
use candle_core::Tensor;
use serde::{Deserialize, Serialize};

/// Logits kept of the reference, in bytes; beyond, positions are left out evenly.
const KEPT: usize = 1 << 30;
/// Rows of logits made at a time.
const ROWS: usize = 64;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    pub prompts: usize,
    /// Positions at which the two were compared.
    pub positions: usize,
    /// Largest |Δlogit|; infinite where one of them is NaN.
    pub max_delta: f64,
    /// Largest |logit| of the reference: what `max_delta` is measured by.
    pub largest: f64,
    /// √(mean Δlogit²) over √(mean logit²).
    pub rms_delta: f64,
    pub mean_kl: f64,
    pub max_kl: f64,
    /// Prompts with the same greedy answer, token for token.
    pub same_answers: usize,
}

impl Agreement {
    /// Largest |Δlogit| over largest |logit|.
    pub fn relative(&self) -> f64 {
        self.max_delta / self.largest
    }
}

/// What a model makes of some prompts.
pub struct Seen {
    prompts: Vec<Vec<u32>>,
    /// Greedy answers.
    pub answers: Vec<Vec<u32>>,
    /// Prompt and completion, or prompt and answer where no completion was given.
    sequences: Vec<Vec<u32>>,
    /// Every how many positions are compared.
    stride: usize,
    /// A sequence each: logits of its compared positions, row after row.
    logits: Vec<Vec<f32>>,
}

impl Seen {
    pub fn of(model: &CausalLm, pairs: &[Pair], limits: &Limits) -> Result<Self> {
        let prompts: Vec<Vec<u32>> = pairs.iter().map(|p| p.prompt_ids.clone()).collect();
        let answers = answers(model, &prompts, limits)?;
        let sequence = |(pair, answer): (&Pair, &Vec<u32>)| {
            let rest = if pair.completion_ids.is_empty() { answer } else { &pair.completion_ids };
            [pair.prompt_ids.as_slice(), rest].concat()
        };
        let sequences: Vec<Vec<u32>> = pairs.iter().zip(&answers).map(sequence).collect();
        let positions: usize = sequences.iter().map(Vec::len).sum();
        let stride = (positions * model.config.vocab_size * size_of::<f32>()).div_ceil(KEPT).max(1);
        let mut logits = Vec::with_capacity(sequences.len());
        for ids in &sequences {
            let mut kept = Vec::new();
            rows(model, ids, stride, &mut |row| kept.extend_from_slice(row))?;
            logits.push(kept);
        }
        Ok(Self { prompts, answers, sequences, stride, logits })
    }

    /// `other` on the same sequences; also its own greedy answers.
    pub fn against(&self, other: &CausalLm, limits: &Limits) -> Result<(Agreement, Vec<Vec<u32>>)> {
        let theirs = answers(other, &self.prompts, limits)?;
        let mut far = Agreement {
            prompts: self.prompts.len(),
            same_answers: self.answers.iter().zip(&theirs).filter(|(a, b)| a == b).count(),
            ..Agreement::default()
        };
        let mut squares = (0.0, 0.0);
        for (ids, kept) in self.sequences.iter().zip(&self.logits) {
            let mut kept = kept.chunks_exact(other.config.vocab_size);
            rows(other, ids, self.stride, &mut |q| {
                if let Some(p) = kept.next() {
                    far.add(p, q, &mut squares);
                }
            })?;
        }
        far.rms_delta = (squares.0 / squares.1).sqrt();
        far.mean_kl /= far.positions.max(1) as f64;
        Ok((far, theirs))
    }
}

impl Agreement {
    /// One position; `squares` sums Δlogit² and logit².
    fn add(&mut self, p: &[f32], q: &[f32], squares: &mut (f64, f64)) {
        let (of_p, of_q) = (log_sum_exp(p), log_sum_exp(q));
        let (mut delta, mut largest, mut kl) = (0f64, 0f64, 0f64);
        for (p, q) in p.iter().zip(q).map(|(p, q)| (*p as f64, *q as f64)) {
            delta = most(delta, (p - q).abs());
            largest = largest.max(p.abs());
            *squares = (squares.0 + (p - q).powi(2), squares.1 + p * p);
            kl += (p - of_p).exp() * ((p - of_p) - (q - of_q));
        }
        self.positions += 1;
        self.max_delta = most(self.max_delta, delta);
        self.largest = self.largest.max(largest);
        self.mean_kl += kl.max(0.0); // rounding may take it a hair below 0, where it cannot be
        self.max_kl = most(self.max_kl, kl);
    }
}

/// ln Σ exp, in f64: KL and entropy are small differences of large numbers.
pub(super) fn log_sum_exp(row: &[f32]) -> f64 {
    let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max) as f64;
    top + row.iter().map(|z| (*z as f64 - top).exp()).sum::<f64>().ln()
}

/// As `max`, but NaN is the worst.
fn most(a: f64, b: f64) -> f64 {
    if b.is_nan() { f64::INFINITY } else { a.max(b) }
}

fn answers(model: &CausalLm, prompts: &[Vec<u32>], limits: &Limits) -> Result<Vec<Vec<u32>>> {
    Ok(greedy(model, prompts, limits)?.into_iter().map(|g| g.tokens).collect())
}

/// Hands over the logits after every `stride`-th of `ids`, the last one always among them.
fn rows(model: &CausalLm, ids: &[u32], stride: usize, take: &mut dyn FnMut(&[f32])) -> Result<()> {
    let hidden = model.hidden(ids, &Segments::of_lengths([ids.len()]))?;
    let mut at: Vec<u32> = (0..ids.len() as u32).rev().step_by(stride).collect();
    at.reverse();
    for piece in at.chunks(ROWS) {
        let logits = model.logits(&hidden.index_select(&Tensor::new(piece, hidden.device())?, 0)?)?;
        let vocabulary = logits.dim(1)?;
        CpuSlice::of(&logits)?.chunks_exact(vocabulary).for_each(&mut *take);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::{Adapter, Mode};
    use crate::model::golden::{model, pairs, path};

    fn prompts() -> Vec<Pair> {
        let pair = |p: crate::model::golden::Pair| Pair {
            prompt_ids: p.prompt_ids,
            completion_ids: p.completion_ids,
            line: 0,
        };
        pairs().into_iter().map(pair).collect()
    }

    #[test]
    fn a_model_agrees_with_itself_and_an_adapted_one_does_not() {
        let (mut m, limits) = (model("tied"), Limits::exactly(5));
        let seen = Seen::of(&m, &prompts(), &limits).unwrap();
        let (same, _) = seen.against(&m, &limits).unwrap();
        let positions: usize = prompts().iter().map(|p| p.prompt_ids.len() + p.completion_ids.len()).sum();
        assert_eq!((same.prompts, same.positions, same.same_answers), (4, positions, 4));
        assert_eq!((same.max_delta, same.mean_kl, same.max_kl), (0.0, 0.0, 0.0));
        assert!(same.largest > 1.0);
        Adapter::load(&path("adapter"), &mut m).unwrap().attach(&mut m, Mode::Infer).unwrap();
        let (other, answers) = seen.against(&m, &limits).unwrap();
        assert!(other.max_delta > 0.1 && other.max_kl > other.mean_kl && other.mean_kl > 1e-4, "{other:?}");
        assert_eq!(other.same_answers, seen.answers.iter().zip(&answers).filter(|(a, b)| a == b).count());
    }

    #[test]
    fn divergence_is_that_of_two_known_distributions() {
        let mut far = Agreement::default();
        // p = (3/4, 1/4), q = (1/2, 1/2): KL = 3/4 ln(3/2) + 1/4 ln(1/2)
        let mut squares = (0.0, 0.0);
        far.add(&[3f32.ln(), 0.0], &[5.0, 5.0], &mut squares);
        let want = 0.75 * 1.5f64.ln() + 0.25 * 0.5f64.ln();
        assert!((far.max_kl - want).abs() < 1e-7 && far.max_delta == 5.0, "{far:?}");
        far.add(&[1.0, 0.0], &[f32::NAN, 0.0], &mut squares);
        assert!(far.max_delta.is_infinite() && far.max_kl.is_infinite(), "NaN never looks like agreement");
    }
}

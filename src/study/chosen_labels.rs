//! Which labels of a ranked list are the answer; see [`super::ranking`].
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// How a ranking becomes an answer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ranking {
    /// Divide by what the model believes of the labels before it has read a case.
    pub calibrated: bool,
    /// Labels that are at least this share as likely as the likeliest are the answer; above 0 and at most 1.
    pub share: f64,
}

impl Ranking {
    /// Fails for a share that cannot be.
    pub fn check(&self) -> Result<()> {
        match self.share > 0.0 && self.share <= 1.0 {
            true => Ok(()),
            false => Err(Error::input(format!("share {}: expected above 0 and at most 1", self.share))),
        }
    }

    /// Indices of the labels that are the answer, the likeliest first. The label for nothing is an answer alone or not at all.
    pub(super) fn answer(&self, logprobs: &[f64], free: &[f64], nothing: Option<usize>) -> Vec<usize> {
        let p = softmax(logprobs);
        let q: Vec<f64> = match self.calibrated {
            true => p.iter().zip(free).map(|(p, free)| p / free.max(f64::MIN_POSITIVE)).collect(),
            false => p,
        };
        let most = q.iter().copied().fold(0.0, f64::max);
        let mut chosen: Vec<usize> = (0..q.len()).filter(|&i| q[i] >= self.share * most).collect();
        chosen.sort_by(|&a, &b| q[b].total_cmp(&q[a]).then(a.cmp(&b)));
        match chosen.first() {
            Some(first) if Some(*first) == nothing => chosen.truncate(1),
            _ => chosen.retain(|label| Some(*label) != nothing),
        }
        chosen
    }
}

pub(super) fn softmax(logprobs: &[f64]) -> Vec<f64> {
    let most = logprobs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let exp: Vec<f64> = logprobs.iter().map(|p| (p - most).exp()).collect();
    let sum: f64 = exp.iter().sum();
    exp.into_iter().map(|e| e / sum).collect()
}

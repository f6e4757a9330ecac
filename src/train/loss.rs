//! What training makes small, on the log-probabilities of the supervised tokens (spec §6.1):
//!
//! ```text
//! CE     −s_t                        s: log p of the target, smoothed with ε (Szegedy et al. 2016)
//! DFT    −sg(p_t) · s_t              p_t: probability of the target, outside the gradient (Wu et al. 2025, arXiv 2508.05629)
//! L_t  = (1 − δ) · CE + δ · DFT      δ = `dft`
//! ```
//! DFT ignores tokens that the model does not believe in yet: p → 0 has no gradient. A share of cross-entropy keeps them alive.
use crate::error::{Error, Result};
use crate::model::ops::TokenLogProbs;
use candle_core::Tensor;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Loss {
    /// δ in [0, 1]: 0 is cross-entropy, 1 is DFT.
    pub dft: f64,
    /// ε in [0, 1)
    pub label_smoothing: f64,
}

impl Loss {
    pub fn is_cross_entropy(&self) -> bool {
        *self == Self::default()
    }

    pub fn check(&self) -> Result<()> {
        if !(0.0..=1.0).contains(&self.dft) {
            return Err(Error::input(format!("loss.dft is {}, expected a share between 0 and 1", self.dft)));
        }
        if !(0.0..1.0).contains(&self.label_smoothing) {
            let is = self.label_smoothing;
            return Err(Error::input(format!("loss.label_smoothing is {is}, expected at least 0 and less than 1")));
        }
        Ok(())
    }

    /// Σ_t L_t over the tokens: a sum, so that batches of unequal size add up.
    pub fn sum(&self, tokens: &TokenLogProbs) -> Result<Tensor> {
        let per_token = match self.dft {
            0.0 => tokens.smoothed.clone(),
            dft => (&tokens.smoothed * ((tokens.logp.exp()? * dft)? + (1.0 - dft))?)?,
        };
        Ok(per_token.sum_all()?.neg()?)
    }
}

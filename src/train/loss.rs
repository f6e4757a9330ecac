//! What training makes small, on the log-probabilities of the supervised tokens:
//!
//! ```text
//! CE     −s_t                        s: log p of the target, smoothed with ε (Szegedy et al. 2016)
//! DFT    −sg(p_t) · s_t              p_t: probability of the target, outside the gradient (Wu et al. 2025, arXiv 2508.05629)
//! L_t  = (1 − δ) · CE + δ · DFT      δ = `dft`
//! L    = Σ_t w_t · L_t                w_t: 1, or the weight of a token where texts have tags (`tag_weight`)
//! ```
//! DFT ignores tokens that the model does not believe in yet: p → 0 has no gradient. A share of cross-entropy keeps them alive.
use crate::error::{Error, Result};
use crate::model::ops::TokenLogProbs;
use candle_core::Tensor;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Loss {
    /// δ in [0, 1]: 0 is cross-entropy, 1 is DFT.
    pub dft: f64,
    /// ε in [0, 1)
    pub label_smoothing: f64,
    /// How often a token of an inline tag counts, beside one of the text between (task `decisions`). Weights are scaled to a mean of 1 over each
    /// text, so that a learning rate keeps its meaning.
    #[serde(skip_serializing_if = "is_one")]
    pub tag_weight: f64,
}

fn is_one(weight: &f64) -> bool {
    *weight == 1.0
}

impl Default for Loss {
    /// Cross-entropy.
    fn default() -> Self {
        Self { dft: 0.0, label_smoothing: 0.0, tag_weight: 1.0 }
    }
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
        if !(self.tag_weight > 0.0 && self.tag_weight.is_finite()) {
            return Err(Error::input(format!("loss.tag_weight is {}, expected a number above 0", self.tag_weight)));
        }
        Ok(())
    }

    /// Σ_t w_t L_t over the tokens: a sum, so that batches of unequal size add up. `weights` [n], all 1 where not given.
    pub fn sum(&self, tokens: &TokenLogProbs, weights: Option<&[f32]>) -> Result<Tensor> {
        let mut per_token = match self.dft {
            0.0 => tokens.smoothed.clone(),
            dft => (&tokens.smoothed * ((tokens.logp.exp()? * dft)? + (1.0 - dft))?)?,
        };
        if let Some(weights) = weights {
            let weights = Tensor::from_slice(weights, weights.len(), per_token.device())?;
            per_token = (&per_token * weights.to_dtype(per_token.dtype())?)?;
        }
        Ok(per_token.sum_all()?.neg()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Weight;
    use crate::model::ops::{smoothed_token_logprob, smoothed_token_logprob_naive};
    use candle_core::{DType, Device, Var};

    struct Problem {
        /// [tokens, width]
        hidden: Tensor,
        /// [vocabulary, width]
        head: Tensor,
        targets: Vec<u32>,
        golden: serde_json::Value,
    }

    fn numbers(v: &serde_json::Value) -> Vec<f64> {
        serde_json::from_value(v.clone()).unwrap()
    }

    /// tests/reference/losses.py, in f64
    fn problem() -> Problem {
        let golden: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/reference/losses.json")).unwrap();
        let [n, width, vocabulary]: [usize; 3] = serde_json::from_value(golden["shape"].clone()).unwrap();
        Problem {
            hidden: Tensor::from_vec(numbers(&golden["hidden"]), (n, width), &Device::Cpu).unwrap(),
            head: Tensor::from_vec(numbers(&golden["head"]), (vocabulary, width), &Device::Cpu).unwrap(),
            targets: serde_json::from_value(golden["targets"].clone()).unwrap(),
            golden,
        }
    }

    fn flat(t: &Tensor) -> Vec<f64> {
        t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    fn assert_close(got: &[f64], want: &[f64], most: f64, what: &str) {
        assert_eq!(got.len(), want.len(), "{what}");
        for (i, (g, w)) in got.iter().zip(want).enumerate() {
            assert!((g - w).abs() < most, "{what}, number {i}: {g} {w}");
        }
    }

    #[test]
    fn every_loss_and_each_number_of_its_gradients_agree_with_pytorch() {
        let p = problem();
        let single = |t: &Tensor| Var::from_tensor(&t.to_dtype(DType::F32).unwrap()).unwrap();
        for (name, want) in p.golden["cases"].as_object().unwrap() {
            let f = |key: &str| want[key].as_f64().unwrap();
            let loss = Loss { dft: f("dft"), label_smoothing: f("label_smoothing"), ..Loss::default() };
            let (hidden, head) = (single(&p.hidden), single(&p.head));
            // a head that learns, and one that is frozen: two ways through the operation
            for weight in [Weight::from(head.as_tensor().clone()), Weight::from(head.as_detached_tensor())] {
                let tokens = smoothed_token_logprob(&hidden, &weight, &p.targets, loss.label_smoothing).unwrap();
                let sum = loss.sum(&tokens, None).unwrap();
                assert!((sum.to_scalar::<f32>().unwrap() as f64 - f("loss")).abs() < 1e-4, "{name}: {sum}");
                let grads = sum.backward().unwrap();
                let got = flat(grads.get(&hidden).unwrap());
                assert_close(&got, &numbers(&want["d_hidden"]), 3e-5, &format!("{name}, hidden"));
                if let Some(got) = grads.get(&head) {
                    assert_close(&flat(got), &numbers(&want["d_head"]), 3e-5, &format!("{name}, head"));
                }
                assert_eq!(grads.get(&head).is_some(), weight.learns());
            }
            let tokens: f64 = numbers(&want["tokens"]).iter().sum();
            assert!((tokens - f("loss")).abs() < 1e-12);
        }
    }

    /// Σ_t weight_t · −s_t in f64, and what each token's weight and probability is.
    fn weighed(p: &Problem, hidden: &Tensor, loss: &Loss, weights: Option<&[f64]>) -> (f64, Vec<f64>) {
        let made = smoothed_token_logprob_naive(hidden, &p.head, &p.targets, loss.label_smoothing).unwrap();
        let own: Vec<f64> = flat(&made.logp).iter().map(|logp| (1.0 - loss.dft) + loss.dft * logp.exp()).collect();
        let sum = flat(&made.smoothed).iter().zip(weights.unwrap_or(&own)).map(|(s, w)| -s * w).sum();
        (sum, own)
    }

    /// Central differences over every number of the hidden states.
    fn differences(p: &Problem, loss: &Loss, weights: Option<&[f64]>) -> Vec<f64> {
        const STEP: f64 = 1e-5;
        let start = flat(&p.hidden);
        let at = |i: usize, by: f64| {
            let mut moved = start.clone();
            moved[i] += by;
            weighed(p, &Tensor::from_vec(moved, p.hidden.shape(), &Device::Cpu).unwrap(), loss, weights).0
        };
        (0..start.len()).map(|i| (at(i, STEP) - at(i, -STEP)) / (2.0 * STEP)).collect()
    }

    #[test]
    fn gradients_are_finite_differences_with_the_weight_of_a_token_frozen() {
        let p = problem();
        for (dft, label_smoothing) in [(0.0, 0.0), (1.0, 0.0), (0.3, 0.0), (0.0, 0.1), (1.0, 0.2), (0.6, 0.1)] {
            let loss = Loss { dft, label_smoothing, ..Loss::default() };
            let (value, weights) = weighed(&p, &p.hidden, &loss, None);
            let frozen = differences(&p, &loss, Some(&weights));
            let exact = Var::from_tensor(&p.hidden).unwrap();
            let naive = smoothed_token_logprob_naive(&exact, &p.head, &p.targets, label_smoothing).unwrap();
            let sum = loss.sum(&naive, None).unwrap();
            assert!((sum.to_scalar::<f64>().unwrap() - value).abs() < 1e-9);
            assert_close(&flat(sum.backward().unwrap().get(&exact).unwrap()), &frozen, 1e-7, &format!("{loss:?}, f64"));

            let single = Var::from_tensor(&p.hidden.to_dtype(DType::F32).unwrap()).unwrap();
            let head = Weight::from(p.head.to_dtype(DType::F32).unwrap());
            let ours = smoothed_token_logprob(&single, &head, &p.targets, label_smoothing).unwrap();
            let grads = loss.sum(&ours, None).unwrap().backward().unwrap();
            assert_close(&flat(grads.get(&single).unwrap()), &frozen, 3e-5, &format!("{loss:?}, f32"));

            let moving = differences(&p, &loss, None);
            let far = frozen.iter().zip(&moving).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert_eq!(far > 1e-2, dft > 0.0, "{loss:?}: whether the weight moves makes a difference of {far}");
        }
    }

    #[test]
    fn a_token_counts_as_often_as_its_weight_says() {
        let p = problem();
        let loss = Loss { dft: 0.3, ..Loss::default() };
        let given: Vec<f32> = (0..p.targets.len()).map(|i| 0.5 + i as f32).collect();
        let (_, own) = weighed(&p, &p.hidden, &loss, None);
        let both: Vec<f64> = own.iter().zip(&given).map(|(a, b)| a * f64::from(*b)).collect();
        let exact = Var::from_tensor(&p.hidden).unwrap();
        let naive = smoothed_token_logprob_naive(&exact, &p.head, &p.targets, 0.0).unwrap();
        let sum = loss.sum(&naive, Some(&given)).unwrap();
        assert!((sum.to_scalar::<f64>().unwrap() - weighed(&p, &p.hidden, &loss, Some(&both)).0).abs() < 1e-9);
        let grads = sum.backward().unwrap();
        assert_close(&flat(grads.get(&exact).unwrap()), &differences(&p, &loss, Some(&both)), 1e-7, "weights");
        for bad in [0.0, -1.0, f64::NAN] {
            assert!(
                Loss { tag_weight: bad, ..Loss::default() }.check().unwrap_err().to_string().contains("tag_weight")
            );
        }
        // digests of runs without it stay what they are
        assert!(!serde_json::to_string(&Loss::default()).unwrap().contains("tag_weight"));
    }
}

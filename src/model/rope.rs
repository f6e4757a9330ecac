//! Rotary frequencies of a config, with the scalings that lengthen a model's reach.
//!
//! d = head dimension, or the part of it that is turned (`partial_rotary_factor`), w_i = θ^(−2i/d) for i < d/2, L = `original_max_position_embeddings`, s = `factor`; position p
//! turns pair i by p·w'_i:
//!
//! ```text
//! default   w' = w
//! linear    w' = w / s                                              (Chen et al. 2023, position interpolation)
//! dynamic   w' = w up to max_position_embeddings, and no further    (NTK-aware; see below)
//! llama3    w' = w ((1 − m)/s + m),  m = clamp((L w/2π − low)/(high − low), 0, 1)           (Llama 3.1, Meta 2024)
//! yarn      w' = w (r/s + 1 − r),    r = clamp((i − lo)/(hi − lo), 0, 1),                   (Peng et al. 2023)
//!           lo, hi = d ln(L/(2πβ)) / (2 ln θ) for β = 32 and 1, rounded outwards; cos and sin times 0.1 ln s + 1
//! ```
//! `dynamic` changes the frequencies with the length of a sequence once it is longer than `max_position_embeddings`.
//! Keys that are cached by then would have to be turned anew (transformers leaves them as they were), so longer
//! sequences are refused instead.
use std::f64::consts::PI;

/// θ and what is done to the frequencies.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    pub theta: f64,
    /// The part of a head's numbers that is turned, its first ones: 1 but for Qwen3.5.
    pub partial_rotary_factor: f64,
    pub scaling: Scaling,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Scaling {
    Default,
    Linear {
        factor: f64,
    },
    Dynamic {
        factor: f64,
    },
    Llama3 {
        factor: f64,
        low_freq_factor: f64,
        high_freq_factor: f64,
        original_max_position_embeddings: usize,
    },
    Yarn {
        factor: f64,
        original_max_position_embeddings: usize,
        beta_fast: f64,
        beta_slow: f64,
        /// What cos and sin are multiplied with, said by the file or not.
        attention_factor: f64,
        /// Bounds rounded to whole dimensions.
        truncate: bool,
    },
    /// Of a GGUF file's `rope_freqs.weight`: w'_i = w_i / divisor_i. Known to no config.json.
    Divisors(Vec<f64>),
}

impl Rope {
    /// Without scaling.
    pub fn plain(theta: f64) -> Self {
        Self { theta, partial_rotary_factor: 1.0, scaling: Scaling::Default }
    }

    /// Numbers of a head that are turned.
    pub fn rotary_dim(&self, head_dim: usize) -> usize {
        (head_dim as f64 * self.partial_rotary_factor) as usize
    }

    /// w' [rotary_dim / 2], and what cos and sin are multiplied with.
    pub fn frequencies(&self, head_dim: usize) -> (Vec<f64>, f64) {
        let dim = self.rotary_dim(head_dim);
        let d = dim as f64;
        let plain = (0..dim / 2).map(|i| self.theta.powf(-2.0 * i as f64 / d));
        match &self.scaling {
            Scaling::Default | Scaling::Dynamic { .. } => (plain.collect(), 1.0),
            Scaling::Linear { factor } => (plain.map(|w| w / factor).collect(), 1.0),
            Scaling::Divisors(by) => (plain.zip(by).map(|(w, by)| w / by).collect(), 1.0),
            Scaling::Llama3 { .. } => (plain.map(|w| w / self.divisor(w)).collect(), 1.0),
            Scaling::Yarn { factor, attention_factor, .. } => {
                let (lo, hi) = self.yarn_bounds(dim);
                let turned = |(i, w): (usize, f64)| {
                    let r = ((i as f64 - lo) / (hi - lo)).clamp(0.0, 1.0);
                    w * (r / factor + 1.0 - r)
                };
                (plain.enumerate().map(turned).collect(), *attention_factor)
            }
        }
    }

    /// w / w' of llama3 for the unscaled frequency `w`; 1 for other scalings. What a GGUF file calls
    /// `rope_freqs.weight`.
    pub fn divisor(&self, w: f64) -> f64 {
        let Scaling::Llama3 { factor, low_freq_factor: low, high_freq_factor: high, original_max_position_embeddings } =
            self.scaling
        else {
            return 1.0;
        };
        let turns = original_max_position_embeddings as f64 * w / (2.0 * PI);
        let m = ((turns - low) / (high - low)).clamp(0.0, 1.0);
        1.0 / ((1.0 - m) / factor + m)
    }

    /// Between which dimensions YaRN goes from no change to interpolation.
    fn yarn_bounds(&self, rotary_dim: usize) -> (f64, f64) {
        let Scaling::Yarn { original_max_position_embeddings, beta_fast, beta_slow, truncate, .. } = self.scaling
        else {
            return (0.0, 1.0);
        };
        let d = rotary_dim as f64;
        let length = original_max_position_embeddings as f64;
        let at = |beta: f64| d * (length / (2.0 * PI * beta)).ln() / (2.0 * self.theta.ln());
        let (lo, hi) = match truncate {
            true => (at(beta_fast).floor(), at(beta_slow).ceil()),
            false => (at(beta_fast), at(beta_slow)),
        };
        let (lo, hi) = (lo.max(0.0), hi.min(d - 1.0));
        (lo, if lo == hi { hi + 0.001 } else { hi })
    }
}

/// YaRN's factor for cos and sin where the file says none: 0.1 · m · ln s + 1, and 1 where nothing is stretched.
pub fn yarn_attention(factor: f64, mscale: f64) -> f64 {
    if factor <= 1.0 { 1.0 } else { 0.1 * mscale * factor.ln() + 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Keys, golden};
    use std::path::Path;

    #[test]
    fn frequencies_are_those_of_transformers() {
        let cases = golden::json("families/rope.json");
        for case in cases.as_array().unwrap() {
            let size = |key: &str| case[key].as_u64().unwrap() as usize;
            let keys = serde_json::json!({"rope_parameters": case["rope"]});
            let keys = Keys::of(Path::new("config.json"), keys.as_object().unwrap().clone());
            let rope = keys.rope(None, size("max_position_embeddings")).unwrap();
            let (got, factor) = rope.frequencies(size("head_dim"));
            let name = case["name"].as_str().unwrap();
            assert!((factor - case["attention_factor"].as_f64().unwrap()).abs() < 1e-12, "{name}: {factor}");
            let want = golden::numbers(&case["inv_freq"]);
            assert_eq!(got.len(), want.len(), "{name}");
            for (i, (g, w)) in got.iter().zip(&want).enumerate() {
                assert!((g / w - 1.0).abs() < 1e-6, "{name} [{i}]: {g} {w}"); // transformers computes them in f32
            }
        }
    }

    #[test]
    fn frequencies_without_scaling_are_powers_of_theta() {
        let (w, factor) = Rope::plain(1e4).frequencies(4);
        assert_eq!((w, factor), (vec![1.0, 1e4f64.powf(-0.5)], 1.0));
        let quarter = Rope { partial_rotary_factor: 0.25, ..Rope::plain(1e4) };
        assert_eq!(quarter.frequencies(16).0, [1.0, 1e4f64.powf(-0.5)], "of the four numbers that are turned");
    }
}

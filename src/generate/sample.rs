//! Choosing a token from logits z: temperature, top-k, top-p, min-p in transformers' order, then one draw.
//!
//! ```text
//! p ∝ e^(z / temperature)
//! top-k   z ≥ the k-th largest z; equals of it stay
//! top-p   the likeliest, while those before sum to less than top_p of what is left    Holtzman et al., ICLR 2020
//! min-p   p ≥ min_p · the largest p                                                   Nguyen et al., ICLR 2025
//! ```
//!
//! The draw's number is a function of (seed, prompt, sample, position): ChaCha8 with the first three as its key and the
//! position as its counter. So a sample depends neither on the batch nor on its neighbours nor on their order, up to
//! the rounding of the logits. Tokens are laid out by id, not by probability, so that such rounding moves a boundary by
//! as much and never swaps two tokens.
use crate::error::{Error, Result};
use crate::model::ops::largest;
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// How a token is chosen. The default is greedy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sampling {
    /// 0 takes the likeliest token, and nothing below matters.
    pub temperature: f64,
    /// 0 keeps all.
    pub top_k: usize,
    /// 1 keeps all.
    pub top_p: f64,
    /// 0 keeps all.
    pub min_p: f64,
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 0.0, top_k: 0, top_p: 1.0, min_p: 0.0, seed: 0 }
    }
}

/// Which draw: each is made once and has a number of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Index of the prompt among those given.
    pub prompt: u64,
    /// Index of the answer among those of its prompt.
    pub sample: u64,
    /// Tokens drawn before in this answer.
    pub position: u64,
}

impl Sampling {
    pub fn is_greedy(&self) -> bool {
        self.temperature == 0.0
    }

    /// Fails for values that mean nothing.
    pub fn check(&self) -> Result<()> {
        let bad = |what: &str, wanted: &str, got: f64| Err(Error::input(format!("{what} {got}: expected {wanted}")));
        match self {
            s if !(s.temperature >= 0.0 && s.temperature.is_finite()) => {
                bad("temperature", "0 (greedy) or more", s.temperature)
            }
            s if !(s.top_p > 0.0 && s.top_p <= 1.0) => bad("top_p", "more than 0 and at most 1 (all)", s.top_p),
            s if !(0.0..=1.0).contains(&s.min_p) => bad("min_p", "between 0 (all) and 1", s.min_p),
            _ => Ok(()),
        }
    }

    /// The token for this place: of `allowed` ids (ascending, at least one), or of all.
    pub fn choose(&self, logits: &[f32], allowed: Option<&[u32]>, place: Place) -> u32 {
        match (self.is_greedy(), allowed) {
            (true, None) => argmax(logits) as u32,
            (true, Some(ids)) => ids[argmax_by(ids.len(), |i| logits[ids[i] as usize])],
            (false, _) => pick(&self.distribution(logits, allowed), self.uniform(place)),
        }
    }

    /// What a draw is made from: (id, probability), ascending by id, temperature above 0. The probabilities sum to 1.
    pub fn distribution(&self, logits: &[f32], allowed: Option<&[u32]>) -> Vec<(u32, f64)> {
        let kept = match allowed {
            Some(ids) => likeliest(self.top_k, ids.iter().map(|&id| (id, logits[id as usize]))),
            None => likeliest(self.top_k, (0..).zip(logits.iter().copied())),
        };
        let max = kept.iter().fold(f32::NEG_INFINITY, |max, (_, z)| max.max(*z));
        let weight = |z: f32| ((z as f64 - max as f64) / self.temperature).exp();
        let mut kept: Vec<(u32, f64)> = kept.into_iter().map(|(id, z)| (id, weight(z))).collect();
        if self.top_p < 1.0 {
            nucleus(&mut kept, self.top_p);
            kept.sort_unstable_by_key(|(id, _)| *id);
        }
        kept.retain(|(_, w)| *w >= self.min_p); // the largest weight is 1
        let total: f64 = kept.iter().map(|(_, w)| w).sum();
        kept.iter_mut().for_each(|(_, w)| *w /= total);
        kept
    }

    /// A number in [0, 1) that belongs to this place, with 53 random bits.
    fn uniform(&self, place: Place) -> f64 {
        let mut key = [0; 32];
        for (part, number) in key.chunks_exact_mut(8).zip([self.seed, place.prompt, place.sample]) {
            part.copy_from_slice(&number.to_le_bytes());
        }
        let mut generator = ChaCha8Rng::from_seed(key);
        generator.set_word_pos(2 * place.position as u128); // in words of 32 bits
        (generator.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The first of the largest.
pub fn argmax(row: &[f32]) -> usize {
    let max = largest(row);
    row.iter().position(|v| *v == max).unwrap_or(0)
}

fn argmax_by(n: usize, value: impl Fn(usize) -> f32) -> usize {
    (1..n).fold(0, |best, i| if value(i) > value(best) { i } else { best })
}

/// The k largest, and equals of the last of them; all for k = 0. The order stays.
fn likeliest(k: usize, all: impl Iterator<Item = (u32, f32)> + Clone) -> Vec<(u32, f32)> {
    if k == 0 {
        return all.collect();
    }
    let bar = kth_largest(k, all.clone().map(|(_, z)| z));
    all.filter(|(_, z)| *z >= bar).collect()
}

/// One pass that holds at most 2k values, k of which are the largest so far; no sort of the vocabulary.
fn kth_largest(k: usize, values: impl Iterator<Item = f32>) -> f32 {
    let (mut best, mut bar) = (Vec::new(), f32::NEG_INFINITY);
    for value in values {
        if best.len() >= k && value <= bar {
            continue;
        }
        best.push(value);
        if best.len() == k.saturating_mul(2) {
            bar = *best.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a)).1;
            best.truncate(k);
        }
    }
    let last = k.min(best.len()).saturating_sub(1);
    if best.is_empty() { bar } else { *best.select_nth_unstable_by(last, |a, b| b.total_cmp(a)).1 }
}

/// Keeps the likeliest while those before them sum to less than `share`; equals by id. Sorts only as far as it has to
/// look.
fn nucleus(kept: &mut Vec<(u32, f64)>, share: f64) {
    let order = |a: &(u32, f64), b: &(u32, f64)| -> Ordering { b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)) };
    let wanted = share * kept.iter().map(|(_, w)| w).sum::<f64>();
    let (mut sorted, mut sum) = (0, 0.0);
    while sorted < kept.len() {
        let end = (8 * sorted).max(64).min(kept.len());
        if end < kept.len() {
            kept[sorted..].select_nth_unstable_by(end - sorted - 1, order);
        }
        kept[sorted..end].sort_unstable_by(order);
        for i in sorted..end {
            if sum >= wanted {
                return kept.truncate(i);
            }
            sum += kept[i].1;
        }
        sorted = end;
    }
}

/// Where `u` in [0, 1) falls when the probabilities are laid end to end.
fn pick(distribution: &[(u32, f64)], u: f64) -> u32 {
    let mut sum = 0.0;
    let hit = distribution.iter().find(|(_, p)| {
        sum += p;
        u < sum
    });
    // A sum that rounding left below u: the last token that can be drawn at all.
    let last = || distribution.iter().rev().find(|(_, p)| *p > 0.0);
    hit.or_else(last).map_or(0, |(id, _)| *id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::golden::{json, numbers};

    const WARM: Sampling = Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, seed: 7 };

    #[test]
    fn what_is_left_agrees_with_transformers() {
        let golden = json("sampling.json");
        let rows: Vec<Vec<f32>> = golden["logits"]
            .as_array()
            .unwrap()
            .iter()
            .map(|r| numbers(r).iter().map(|&z| z as f32).collect())
            .collect();
        for case in golden["cases"].as_array().unwrap() {
            let mut settings = case["settings"].clone();
            settings["temperature"] = settings.get("temperature").cloned().unwrap_or(1.0.into());
            let sampling: Sampling = serde_json::from_value(settings).unwrap();
            let got = sampling.distribution(&rows[case["row"].as_u64().unwrap() as usize], None);
            let want = case["probabilities"].as_object().unwrap();
            assert_eq!(got.len(), want.len(), "{case}");
            for (id, p) in got {
                let want = want[&id.to_string()].as_f64().unwrap();
                assert!((p - want).abs() < 1e-9, "{case}: token {id}, {p}");
            }
        }
    }

    /// The same filters by sorting everything.
    fn naive(s: &Sampling, logits: &[f32]) -> Vec<(u32, f64)> {
        let mut all: Vec<(u32, f32)> = (0..).zip(logits.iter().copied()).collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        if s.top_k > 0 && s.top_k < all.len() {
            let bar = all[s.top_k - 1].1;
            all.retain(|a| a.1 >= bar);
        }
        let top = all[0].1;
        let mut p: Vec<(u32, f64)> =
            all.iter().map(|&(id, z)| (id, ((z as f64 - top as f64) / s.temperature).exp())).collect();
        let norm = |p: &mut Vec<(u32, f64)>| {
            let sum: f64 = p.iter().map(|a| a.1).sum();
            p.iter_mut().for_each(|a| a.1 /= sum);
        };
        norm(&mut p);
        let mut before = 0.0;
        p.retain(|a| {
            before += a.1;
            before - a.1 < s.top_p
        });
        let bar = s.min_p * p[0].1;
        p.retain(|a| a.1 >= bar);
        norm(&mut p);
        p.sort_by_key(|a| a.0);
        p
    }

    #[test]
    fn a_large_vocabulary_is_filtered_as_by_sorting_it() {
        let mut generator = ChaCha8Rng::seed_from_u64(5);
        let logits: Vec<f32> =
            (0..30_000).map(|_| (generator.next_u32() as f32 / u32::MAX as f32 - 0.5) * 9.0).collect();
        for (top_k, top_p, min_p) in [
            (50, 1.0, 0.0),
            (0, 0.9, 0.0),
            (0, 0.01, 0.0),
            (4000, 0.5, 0.3),
            (0, 1.0, 0.9),
            (0, 0.999, 0.0),
            (1, 0.5, 0.0),
        ] {
            let s = Sampling { top_k, top_p, min_p, ..WARM };
            let (got, want) = (s.distribution(&logits, None), naive(&s, &logits));
            assert_eq!(got.len(), want.len(), "{s:?}");
            assert!(got.iter().zip(&want).all(|(a, b)| a.0 == b.0 && (a.1 - b.1).abs() < 1e-12), "{s:?}");
        }
        assert_eq!(kth_largest(3, [1.0, 5.0, 5.0, 2.0, 4.0].into_iter()), 4.0);
        assert_eq!(kth_largest(9, [1.0, 5.0].into_iter()), 1.0, "all of fewer than k");
    }

    /// Pearson's chi-square of `n` draws; each distribution has 15 tokens, and 14 degrees of freedom exceed 36.1 once
    /// in 1000.
    fn chi_square(sampling: &Sampling, logits: &[f32], n: u64, place: impl Fn(u64) -> Place) -> f64 {
        let distribution = sampling.distribution(logits, None);
        assert_eq!(distribution.len(), 15);
        let mut counts = vec![0u32; logits.len()];
        (0..n).for_each(|i| counts[sampling.choose(logits, None, place(i)) as usize] += 1);
        assert_eq!(counts.iter().map(|&c| c as u64).sum::<u64>(), n);
        distribution.iter().map(|&(id, p)| (counts[id as usize] as f64 - n as f64 * p).powi(2) / (n as f64 * p)).sum()
    }

    #[test]
    fn draws_follow_the_distribution_along_every_axis() {
        let logits: Vec<f32> = (0..40).map(|i| ((i * 17 % 40) as f32) * 0.11).collect();
        let s = Sampling { temperature: 0.8, top_k: 15, seed: 3, ..WARM };
        let at = |prompt, sample, position| Place { prompt, sample, position };
        let n = 20_000;
        for (axis, chi) in [
            ("positions", chi_square(&s, &logits, n, |i| at(0, 0, i))),
            ("samples", chi_square(&s, &logits, n, |i| at(0, i, 0))),
            ("prompts", chi_square(&s, &logits, n, |i| at(i, 0, 0))),
        ] {
            assert!(chi < 36.1, "{axis}: {chi}");
        }
        let wrong = Sampling { temperature: 1.0, ..s.clone() };
        let drawn = s.distribution(&logits, None);
        let other = wrong.distribution(&logits, None);
        let shift: f64 = drawn.iter().zip(&other).map(|(a, b)| (a.1 - b.1).powi(2) / b.1).sum();
        assert!(shift * n as f64 > 100.0, "the test would see another temperature: {shift}");
    }

    #[test]
    fn a_draw_belongs_to_its_place_and_seed() {
        let place = Place { prompt: 3, sample: 1, position: 9 };
        let first = WARM.uniform(place);
        assert_eq!(first, WARM.uniform(place));
        let others = [
            Sampling { seed: 8, ..WARM }.uniform(place),
            WARM.uniform(Place { prompt: 4, ..place }),
            WARM.uniform(Place { sample: 2, ..place }),
            WARM.uniform(Place { position: 10, ..place }),
        ];
        assert!(others.iter().all(|u| *u != first && (0.0..1.0).contains(u)), "{first} {others:?}");
    }

    #[test]
    fn only_allowed_tokens_are_chosen_and_zero_is_greedy() {
        let logits = [0.0, 3.0, 1.0, 3.0, -1.0];
        let place = Place { prompt: 0, sample: 0, position: 0 };
        let greedy = Sampling::default();
        assert_eq!(greedy.choose(&logits, None, place), 1, "the first of the largest");
        assert_eq!(greedy.choose(&logits, Some(&[0, 2, 4]), place), 2);
        let left = Sampling { top_k: 2, ..WARM }.distribution(&logits, Some(&[0, 2, 4]));
        assert_eq!(left.iter().map(|a| a.0).collect::<Vec<_>>(), [0, 2], "top-k of what is allowed");
        assert!((left[1].1 - 1.0 / (1.0 + (-1.0f64).exp())).abs() < 1e-12);
    }

    #[test]
    fn values_that_mean_nothing_are_refused() {
        let refused = |s: Sampling| s.check().unwrap_err();
        for s in [
            Sampling { temperature: -0.1, ..WARM },
            Sampling { temperature: f64::NAN, ..WARM },
            Sampling { temperature: f64::INFINITY, ..WARM },
            Sampling { top_p: 0.0, ..WARM },
            Sampling { top_p: 1.01, ..WARM },
            Sampling { min_p: -0.1, ..WARM },
            Sampling { min_p: 1.5, ..WARM },
        ] {
            assert_eq!(refused(s).exit_code(), 2);
        }
        assert_eq!(
            refused(Sampling { top_p: 1.5, ..WARM }).to_string(),
            "top_p 1.5: expected more than 0 and at most 1 (all)"
        );
        assert!(WARM.check().is_ok() && Sampling::default().check().is_ok());
    }
}

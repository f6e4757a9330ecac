//! An n-gram model of bytes, so that a base model's bits per byte have something to stand beside.
//!
//! Interpolated Witten–Bell smoothing (Witten & Bell 1991, method C; Chen & Goodman 1999, §2.5) down to the uniform distribution:
//!
//! ```text
//! p(b | c) = (n(c b) + t(c) · p(b | c')) / (n(c) + t(c))     t(c): distinct bytes seen after c; c': c without its first byte
//! ```
use foldhash::fast::FixedState;
use std::collections::HashMap;

/// Counts of every context of at most `order − 1` bytes.
pub struct ByteNgram {
    order: usize,
    /// By context: how often it was seen, and how many distinct bytes followed.
    contexts: HashMap<u64, (u32, u32), FixedState>,
    grams: HashMap<u64, u32, FixedState>,
}

impl ByteNgram {
    /// `order` in 1..=7: a context with its length fits a word.
    pub fn train<'a>(order: usize, texts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut model = Self { order: order.clamp(1, 7), contexts: HashMap::default(), grams: HashMap::default() };
        texts.into_iter().for_each(|text| model.learn(text.as_bytes()));
        model
    }

    fn learn(&mut self, text: &[u8]) {
        for at in 0..text.len() {
            for long in 0..self.order.min(at + 1) {
                let context = key(&text[at - long..at]);
                let gram = self.grams.entry(key(&text[at - long..=at])).or_default();
                let (seen, kinds) = self.contexts.entry(context).or_default();
                *seen += 1;
                *kinds += u32::from(*gram == 0);
                *gram += 1;
            }
        }
    }

    /// p(`byte` | the last bytes of `before`).
    pub fn probability(&self, before: &[u8], byte: u8) -> f64 {
        let mut p = 1.0 / 256.0;
        for long in 0..self.order.min(before.len() + 1) {
            let context = &before[before.len() - long..];
            let Some(&(seen, kinds)) = self.contexts.get(&key(context)) else { break };
            let mut gram = context.to_vec();
            gram.push(byte);
            let n = self.grams.get(&key(&gram)).copied().unwrap_or_default();
            p = (n as f64 + kinds as f64 * p) / (seen as f64 + kinds as f64);
        }
        p
    }

    /// −log₂ p of bytes `from..` of the text, each given all before it.
    pub fn bits(&self, text: &[u8], from: usize) -> f64 {
        (from..text.len()).map(|at| -self.probability(&text[..at], text[at]).log2()).sum()
    }
}

/// At most seven bytes and their number, as one word.
fn key(bytes: &[u8]) -> u64 {
    bytes.iter().fold(bytes.len() as u64, |word, &b| (word << 8) | u64::from(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_sum_to_one_in_every_context() {
        let model = ByteNgram::train(4, ["abracadabra", "a cab"]);
        for before in ["", "a", "ab", "zzz", "abr", "xabr"] {
            let sum: f64 = (0..=255).map(|b| model.probability(before.as_bytes(), b)).sum();
            assert!((sum - 1.0).abs() < 1e-12, "{before}: {sum}");
        }
    }

    #[test]
    fn probabilities_are_those_counted_by_hand() {
        let model = ByteNgram::train(2, ["aab"]);
        // one byte: a twice, b once, two kinds: p(a) = (2 + 2/256) / 5
        let a = (2.0 + 2.0 / 256.0) / 5.0;
        assert!((model.probability(b"", b'a') - a).abs() < 1e-15);
        // after a: a once, b once, two kinds
        assert!((model.probability(b"a", b'a') - (1.0 + 2.0 * a) / 4.0).abs() < 1e-15);
        // after b nothing was seen: what is left is p(a)
        assert!((model.probability(b"ab", b'a') - a).abs() < 1e-15);
        let bits = model.bits(b"aa", 0);
        assert!((bits + (a * (1.0 + 2.0 * a) / 4.0).log2()).abs() < 1e-12);
        assert!((model.bits(b"aa", 1) + ((1.0 + 2.0 * a) / 4.0).log2()).abs() < 1e-12);
    }

    #[test]
    fn contexts_of_different_lengths_are_different() {
        assert_ne!(key(&[0]), key(&[0, 0]));
        assert_ne!(key(&[]), key(&[0]));
    }
}

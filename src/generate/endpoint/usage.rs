//! Tokens, prices, and what a run has used.
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Add, AddAssign, Sub, SubAssign};

/// Tokens of prompts and of answers (reasoning among the latter), as a server counts and bills them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    pub prompt: u64,
    pub new: u64,
}

impl Add for Tokens {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        // a server's count may be anything
        Self { prompt: self.prompt.saturating_add(other.prompt), new: self.new.saturating_add(other.new) }
    }
}
impl Sub for Tokens {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self { prompt: self.prompt.saturating_sub(other.prompt), new: self.new.saturating_sub(other.new) }
    }
}
impl AddAssign for Tokens {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}
impl SubAssign for Tokens {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

/// USD for a million tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prices {
    pub prompt: f64,
    pub new: f64,
}

impl Prices {
    /// USD.
    pub fn cost(&self, tokens: Tokens) -> f64 {
        (tokens.prompt as f64 * self.prompt + tokens.new as f64 * self.new) / 1e6
    }
}

/// `usage.json`: what the answers of a run took, those of earlier tries of the same run among them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    pub endpoint: String,
    pub model: String,
    pub cases: usize,
    /// Distinct questions; cases with the same text share an answer.
    pub questions: usize,
    /// Questions that have an answer, and how many of these were there before the command that made the run.
    pub answered: usize,
    pub kept_before: usize,
    /// Of the answers, as the server counts them; where it does not, the worst case.
    pub tokens: Tokens,
    pub answers_without_count: usize,
    /// Of tries that ended without an answer after the server had the question, at most: it may bill them.
    pub lost_tries: usize,
    pub lost_tokens_at_most: Tokens,
    /// USD for a million tokens, and for what stands above; none where no price was given.
    pub price_in: Option<f64>,
    pub price_out: Option<f64>,
    pub cost_usd: Option<f64>,
    pub lost_usd_at_most: Option<f64>,
    /// Tries after the first of this command, by what went wrong.
    pub retries: BTreeMap<String, usize>,
    /// How answers ended, in the server's words: `stop`, `length` (cut at the most new tokens), `content_filter`.
    pub finish: BTreeMap<String, usize>,
    /// Answers that came with reasoning.
    pub with_reasoning: usize,
    /// Answers that are complete and of no use: reasoning without an answer, no text, or a text cut at the limit on new tokens.
    #[serde(default)]
    pub only_reasoning: usize,
    #[serde(default)]
    pub empty: usize,
    #[serde(default)]
    pub cut: usize,
    /// What the server says it is: its model's name and fingerprint.
    pub served: BTreeMap<String, usize>,
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tokens { prompt, new } = self.tokens;
        write!(f, "{} of {} questions answered", self.answered, self.questions)?;
        if self.kept_before > 0 {
            write!(f, " ({} of them before)", self.kept_before)?;
        }
        write!(f, "; {prompt} prompt and {new} new tokens")?;
        if let Some(cost) = self.cost_usd {
            write!(f, ", {cost:.4} USD")?;
        }
        if self.lost_tries > 0 {
            write!(f, "; {} tries without an answer", self.lost_tries)?;
            if let Some(lost) = self.lost_usd_at_most {
                write!(f, ", billed {lost:.4} USD at most")?;
            }
        }
        let list =
            |map: &BTreeMap<String, usize>| map.iter().map(|(k, n)| format!("{k} {n}")).collect::<Vec<_>>().join(", ");
        if !self.retries.is_empty() {
            write!(f, "; asked again after: {}", list(&self.retries))?;
        }
        let odd: BTreeMap<String, usize> =
            self.finish.iter().filter(|(k, _)| *k != "stop").map(|(k, n)| (k.clone(), *n)).collect();
        if !odd.is_empty() {
            write!(f, "; not ended by the model: {}", list(&odd))?;
        }
        if self.with_reasoning > 0 {
            write!(f, "; {} with reasoning", self.with_reasoning)?;
        }
        for (count, what) in [(self.only_reasoning, "only reasoning"), (self.empty, "empty"), (self.cut, "cut")] {
            if count > 0 {
                write!(f, "; {count} {what}")?;
            }
        }
        if self.answers_without_count > 0 {
            write!(
                f,
                "; the server counts no tokens for {} answers, the worst case stands for them",
                self.answers_without_count
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_tokens_cost_their_price() {
        let prices = Prices { prompt: 0.5, new: 2.0 };
        assert_eq!(prices.cost(Tokens { prompt: 1_000_000, new: 0 }), 0.5);
        assert_eq!(prices.cost(Tokens { prompt: 2_000_000, new: 500_000 }), 2.0);
    }

    #[test]
    fn what_was_used_is_said_in_one_line() {
        let mut usage = Usage { questions: 3, answered: 2, tokens: Tokens { prompt: 90, new: 8 }, ..Usage::default() };
        assert_eq!(usage.to_string(), "2 of 3 questions answered; 90 prompt and 8 new tokens");
        (usage.kept_before, usage.cost_usd, usage.lost_tries, usage.lost_usd_at_most) = (1, Some(0.5), 1, Some(0.25));
        usage.retries.insert("status 429".into(), 3);
        usage.finish = [("stop".into(), 1), ("length".into(), 1)].into();
        assert_eq!(
            usage.to_string(),
            "2 of 3 questions answered (1 of them before); 90 prompt and 8 new tokens, 0.5000 USD; 1 tries without an answer, \
             billed 0.2500 USD at most; asked again after: status 429 3; not ended by the model: length 1"
        );
    }
}

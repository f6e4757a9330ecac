//! How an endpoint is asked: what its answers follow from, and the settings of the HTTP client, which they do not follow from.
use crate::error::{Error, Result};
use crate::prompt::Thinking;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::time::Duration;

/// An endpoint and its sampling parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointConfig {
    /// As the openai packages take it, `http://localhost:8000/v1`.
    pub url: String,
    #[serde(default)]
    pub temperature: f64,
    #[serde(default = "seven")]
    pub seed: u64,
    /// Texts that end an answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// Says so in `chat_template_kwargs.enable_thinking` (vLLM, SGLang, llama.cpp); nothing is sent where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking: Option<Thinking>,
    /// Ask for the log-probability of every token.
    #[serde(default = "yes")]
    pub logprobs: bool,
    /// More fields of the request, which go before ours; null leaves a field out.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
    #[serde(default, alias = "manners")]
    pub client: ClientConfig,
}

fn seven() -> u64 {
    7
}
fn yes() -> bool {
    true
}

impl EndpointConfig {
    /// Greedy answers with log-probabilities.
    pub fn new(url: &str) -> Self {
        Self {
            url: url.into(),
            temperature: 0.0,
            seed: seven(),
            stop: Vec::new(),
            thinking: None,
            logprobs: true,
            extra: Map::new(),
            client: ClientConfig::default(),
        }
    }
}

/// Settings of the HTTP client: concurrency, time-outs, retries, budget and key. No part of what a run is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientConfig {
    /// Server-sent events instead of one body.
    pub stream: bool,
    /// Requests in flight, at most.
    pub concurrency: usize,
    /// Seconds for one whole answer, and for a connection.
    pub timeout: f64,
    pub connect_timeout: f64,
    /// Tries of one question, at most.
    pub tries: usize,
    /// Seconds before the second try; doubled with each, up to a minute, and shortened at random by up to a half.
    pub retry_base: f64,
    /// Seconds; where a server asks for a longer pause, the run stops instead.
    pub longest_wait: f64,
    /// Answers in a row that are only reasoning, empty or cut at the limit on new tokens, after which the run stops; 0 for no limit.
    pub max_incomplete: usize,
    /// USD for all answers of the run, whenever they were given.
    pub budget: Option<f64>,
    /// USD for a million tokens, of the prompt and of the answer.
    pub price_in: Option<f64>,
    pub price_out: Option<f64>,
    /// Environment variable that holds the key; DXLAB_API_KEY where not given.
    pub key_env: Option<String>,
    /// Send a key over http:// to another machine.
    pub key_over_http: bool,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            stream: false,
            concurrency: 4,
            timeout: 300.0,
            connect_timeout: 10.0,
            tries: 8, // about a minute in all: the window of most rate limits
            retry_base: 0.5,
            longest_wait: 300.0,
            max_incomplete: 20,
            budget: None,
            price_in: None,
            price_out: None,
            key_env: None,
            key_over_http: false,
        }
    }
}

impl ClientConfig {
    /// Numbers that make sense together.
    pub fn check(&self) -> Result<()> {
        let wrong = |what: String| Err(Error::input(format!("endpoint: {what}")));
        if !(1..=1024).contains(&self.concurrency) || !(1..=100).contains(&self.tries) {
            let (concurrency, tries) = (self.concurrency, self.tries);
            return wrong(format!(
                "expected 1 to 1024 requests in flight and 1 to 100 tries, got {concurrency} and {tries}"
            ));
        }
        for (name, value) in [("timeout", self.timeout), ("connect timeout", self.connect_timeout)] {
            if !(value > 0.0 && value <= 86_400.0) {
                return wrong(format!("expected a {name} above 0 and up to 86400 s, got {value}"));
            }
        }
        for (name, value) in [("retry base", self.retry_base), ("longest wait", self.longest_wait)] {
            if !(0.0..=86_400.0).contains(&value) {
                return wrong(format!("expected a {name} of 0 to 86400 s, got {value}"));
            }
        }
        let money = [("budget", self.budget), ("price in", self.price_in), ("price out", self.price_out)];
        if let Some((name, Some(value))) =
            money.into_iter().find(|(_, v)| v.is_some_and(|v| !(v >= 0.0 && v.is_finite())))
        {
            return wrong(format!("expected a {name} of 0 USD or more, got {value}"));
        }
        match (self.budget, self.prices()) {
            (Some(_), None) => {
                wrong("a budget needs the price of both kinds of tokens: --price-in and --price-out".into())
            }
            _ => Ok(()),
        }
    }

    pub(super) fn prices(&self) -> Option<(f64, f64)> {
        self.price_in.zip(self.price_out)
    }

    /// Before try `attempt + 1`, `attempt` ≥ 1: base · 2^(attempt−1), at most a minute, times 0.5 to 1 as `jitter` (0 to 1) says.
    pub(super) fn backoff(&self, attempt: usize, jitter: f64) -> Duration {
        let full = (self.retry_base * 2f64.powi(attempt.min(32) as i32 - 1)).min(60.0);
        Duration::from_secs_f64(full * (0.5 + 0.5 * jitter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_to_a_minute_and_is_shortened_by_at_most_a_half() {
        let client = ClientConfig { retry_base: 0.5, ..ClientConfig::default() };
        let seconds = |attempt, jitter| client.backoff(attempt, jitter).as_secs_f64();
        assert_eq!([seconds(1, 1.0), seconds(2, 1.0), seconds(3, 1.0)], [0.5, 1.0, 2.0]);
        assert_eq!([seconds(1, 0.0), seconds(30, 1.0), seconds(100, 0.0)], [0.25, 60.0, 30.0]);
    }

    #[test]
    fn numbers_that_make_no_sense_are_refused() {
        let fine = ClientConfig::default();
        fine.check().unwrap();
        for wrong in [
            ClientConfig { concurrency: 0, ..fine.clone() },
            ClientConfig { tries: 0, ..fine.clone() },
            ClientConfig { timeout: 0.0, ..fine.clone() },
            ClientConfig { timeout: f64::NAN, ..fine.clone() },
            ClientConfig { retry_base: -1.0, ..fine.clone() },
            ClientConfig { price_in: Some(-1.0), ..fine.clone() },
            ClientConfig { budget: Some(1.0), ..fine.clone() },
            ClientConfig { budget: Some(1.0), price_in: Some(1.0), ..fine.clone() },
            ClientConfig { budget: Some(f64::NAN), price_in: Some(1.0), price_out: Some(1.0), ..fine.clone() },
        ] {
            assert_eq!(wrong.check().unwrap_err().exit_code(), 2, "{wrong:?}");
        }
    }

    #[test]
    fn a_config_is_read_from_its_address_alone() {
        let config: EndpointConfig = toml::from_str("url = 'http://localhost/v1'").unwrap();
        assert_eq!(config, EndpointConfig::new("http://localhost/v1"));
        let old: EndpointConfig = toml::from_str("url = 'http://localhost/v1'\nmanners = { tries = 3 }").unwrap();
        assert_eq!(old.client.tries, 3, "the name that the table had first");
    }
}

//! The flags of `dxlab predict` for a model behind an endpoint.
use crate::error::{Error, Result};
use crate::generate::{ClientConfig, EndpointConfig};
use crate::prompt::Thinking;
use clap::{Args, ValueEnum};
use serde_json::{Map, Value};

#[derive(Args)]
#[command(next_help_heading = "Model behind an endpoint")]
pub struct EndpointFlags {
    /// Ask an OpenAI-compatible server (vLLM, SGLang, Ollama, llama-server, OpenAI, DeepSeek …) at this address, such as
    /// http://localhost:8000/v1; --model is then the model's name there
    #[arg(long, value_name = "URL", conflicts_with_all = ["adapter", "constrain"])]
    endpoint: Option<String>,
    /// Environment variable that holds the key (DXLAB_API_KEY if not given); keys come from nowhere else
    #[arg(long, value_name = "NAME", requires = "endpoint")]
    key_env: Option<String>,
    /// Send the key over http:// to another machine
    #[arg(long, requires = "endpoint")]
    key_over_http: bool,
    /// Requests in flight, at most
    #[arg(long, default_value_t = ClientConfig::default().concurrency, requires = "endpoint")]
    concurrency: usize,
    /// Stop before the answers of this run, whenever they were given, can cost more; needs both prices
    #[arg(long, value_name = "USD", requires = "endpoint")]
    budget: Option<f64>,
    /// Price of a million prompt tokens
    #[arg(long, value_name = "USD", requires_all = ["endpoint", "price_out"])]
    price_in: Option<f64>,
    /// Price of a million new tokens
    #[arg(long, value_name = "USD", requires_all = ["endpoint", "price_in"])]
    price_out: Option<f64>,
    /// Text that ends an answer; may be given again
    #[arg(long, value_name = "TEXT", requires = "endpoint")]
    stop: Vec<String>,
    /// Tell the model to think or not, by chat_template_kwargs.enable_thinking (vLLM, SGLang, llama-server); nothing is
    /// said if not given
    #[arg(long, value_enum, requires = "endpoint")]
    thinking: Option<Thinks>,
    /// Do not ask for log-probabilities
    #[arg(long, requires = "endpoint")]
    no_logprobs: bool,
    /// More fields of every request, as a JSON object; null leaves one out: '{"max_tokens": null, "max_completion_tokens": 64}'
    #[arg(long, value_name = "JSON", requires = "endpoint")]
    extra: Option<String>,
    /// Have answers streamed
    #[arg(long, requires = "endpoint")]
    stream: bool,
    /// Seconds for one whole answer
    #[arg(long, value_name = "S", default_value_t = ClientConfig::default().timeout, requires = "endpoint")]
    timeout: f64,
    /// Seconds for a connection
    #[arg(long, value_name = "S", default_value_t = ClientConfig::default().connect_timeout, requires = "endpoint")]
    connect_timeout: f64,
    /// Tries of one question, at most
    #[arg(long, value_name = "N", default_value_t = ClientConfig::default().tries, requires = "endpoint")]
    tries: usize,
    /// Wait before the second try, doubled with each
    #[arg(long, value_name = "MS", default_value_t = 500, requires = "endpoint")]
    retry_base_ms: u64,
    /// Stop where the server asks for a longer pause (Retry-After), in seconds
    #[arg(long, value_name = "S", default_value_t = ClientConfig::default().longest_wait, requires = "endpoint")]
    longest_wait: f64,
    /// Stop after this many answers in a row that are only reasoning, empty or cut at the limit on new tokens; 0 for no limit
    #[arg(long, value_name = "N", default_value_t = ClientConfig::default().max_incomplete, requires = "endpoint")]
    max_incomplete: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum Thinks {
    On,
    Off,
}

impl EndpointFlags {
    pub fn given(&self) -> bool {
        self.endpoint.is_some()
    }

    /// None without --endpoint. `temperature` and `seed` are those of the command line, 0 and 7 where not given.
    pub fn config(self, model: &str, temperature: Option<f64>, seed: Option<u64>) -> Result<Option<EndpointConfig>> {
        let Some(url) = self.endpoint else { return Ok(None) };
        if model == "embedded" {
            return Err(Error::input(
                "--endpoint: give the model's name at the server as --model (its /models lists them)",
            ));
        }
        let client = ClientConfig {
            stream: self.stream,
            concurrency: self.concurrency,
            timeout: self.timeout,
            connect_timeout: self.connect_timeout,
            tries: self.tries,
            retry_base: self.retry_base_ms as f64 / 1e3,
            longest_wait: self.longest_wait,
            max_incomplete: self.max_incomplete,
            budget: self.budget,
            price_in: self.price_in,
            price_out: self.price_out,
            key_env: self.key_env,
            key_over_http: self.key_over_http,
        };
        let thinking = self.thinking.map(|thinks| match thinks {
            Thinks::On => Thinking::On,
            Thinks::Off => Thinking::Off,
        });
        let extra = self.extra.as_deref().map_or(Ok(Map::new()), object)?;
        let (temperature, seed) = (temperature.unwrap_or(0.0), seed.unwrap_or(7));
        let (stop, logprobs) = (self.stop, !self.no_logprobs);
        Ok(Some(EndpointConfig { url, temperature, seed, stop, thinking, logprobs, extra, client }))
    }
}

fn object(text: &str) -> Result<Map<String, Value>> {
    serde_json::from_str(text)
        .map_err(|e| Error::input(format!("--extra: expected a JSON object such as '{{\"top_p\": 0.9}}': {e}")))
}

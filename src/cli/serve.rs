//! `dxlab serve`: a model behind OpenAI's API, `/v1/diagnose` and a page.
use super::weights::ServedWeights;
use crate::error::{Error, Result};
use crate::generate::{Room, adapter_folder};
use crate::serve::{
    AdapterName, Bounds, Diagnoser, Findings, FindingsConfig, Keys, Limit, RareDiseases, ServeConfig, Served, Server,
};
use crate::study::TrainConfig;
use clap::Args;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// One key for everybody who may ask.
const KEY: &str = "DXLAB_SERVE_KEY";

/// Serve a model: OpenAI's API, /v1/diagnose, and a page; on this machine alone unless --host says otherwise. For research, not for
/// patient care
#[derive(Args)]
pub struct Serve {
    /// Base model: a name that `dxlab models` lists, a model folder, a .gguf file or a hub id
    #[arg(long, default_value = "smollm2")]
    model: String,
    /// An adapter and what it is called in requests: run folder of a training run, or a PEFT folder; repeat for more
    #[arg(long, value_name = "NAME=RUN")]
    adapter: Vec<AdapterName>,
    /// Sentence encoder of /v1/embeddings [default: minilm, if it is installed]
    #[arg(long)]
    encoder: Option<String>,
    #[command(flatten)]
    weights: ServedWeights,
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Port; 0 takes any that is free
    #[arg(long, default_value_t = 8080)]
    port: u16,
    #[command(flatten)]
    diagnoses: Diagnoses,
    #[command(flatten)]
    access: Access,
    #[command(flatten)]
    limits: Limits,
    /// A line for every request on standard error: route, status and time, never a text
    #[arg(long)]
    log: bool,
}

/// How /v1/diagnose and the page answer.
#[derive(Args)]
struct Diagnoses {
    /// Task: `findings`, or a file or folder of findings, whose training labels and words are used
    #[arg(long, default_value = "findings")]
    task: String,
    /// Prompt of the library, or a .toml file [default: that of the first adapter's training, else instruct]
    #[arg(long)]
    prompt: Option<String>,
    /// Drawn answers whose labels are counted; 0: the likelihood of every training label
    #[arg(long, default_value_t = 8)]
    samples: usize,
    /// Temperature of the drawn answers
    #[arg(long, default_value_t = 0.7)]
    temperature: f64,
    /// Abstain below this confidence [default: 0.5 with --calibrated-on, else never]
    #[arg(long, value_name = "P")]
    abstain_below: Option<f64>,
    /// A predict run on validation cases that confidence is calibrated on
    #[arg(long, value_name = "RUN")]
    calibrated_on: Option<PathBuf>,
    /// A predict run on test cases whose score is shown beside every answer
    #[arg(long, value_name = "RUN")]
    measured: Option<PathBuf>,
    /// Do not rank rare diseases, which is served where `make tools` has installed the Human Phenotype Ontology
    #[arg(long)]
    no_rare_disease: bool,
}

/// Who may ask.
#[derive(Args)]
struct Access {
    /// Keys, as a TOML file (docs/serve.md); DXLAB_SERVE_KEY holds a single one
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Let others than this machine ask (another address, or a proxy) without a key
    #[arg(long)]
    without_keys: bool,
    /// Requests a minute, of a key that has no limit of its own
    #[arg(long, value_name = "N")]
    requests_per_minute: Option<u32>,
    /// Prompt and new tokens a day (UTC), of a key that has no limit of its own
    #[arg(long, value_name = "N")]
    tokens_per_day: Option<u64>,
    /// A name under which this server may be asked, besides this machine's own: that of a proxy before it; repeat for more
    #[arg(long, value_name = "NAME")]
    allow_host: Vec<String>,
}

#[derive(Args)]
struct Limits {
    /// Answers decoded at the same time
    #[arg(long, default_value_t = 32, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    batch: u32,
    /// Requests that are answered or wait; one more gets status 429
    #[arg(long, default_value_t = 128, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    queue: u32,
    /// Tokens that all caches together may come to hold; a request that needs more by itself is refused
    #[arg(long, default_value_t = 1 << 16, value_name = "N")]
    cache_tokens: usize,
    /// Connections open at the same time; further ones wait
    #[arg(long, default_value_t = 512, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    connections: u32,
    /// Tokens of prompts kept for others that begin alike; 0 keeps none
    #[arg(long, default_value_t = 1 << 13, value_name = "N")]
    kept_tokens: usize,
    /// Largest body of a request, in bytes
    #[arg(long, default_value_t = 1 << 20, value_name = "BYTES")]
    body: usize,
    /// Time for an answer, of a stream to its end
    #[arg(long, default_value_t = 300, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
}

impl Access {
    fn keys(&self, host: &str) -> Result<Keys> {
        let usual = Limit { requests_per_minute: self.requests_per_minute, tokens_per_day: self.tokens_per_day };
        let single = match std::env::var(KEY) {
            Err(std::env::VarError::NotUnicode(_)) => return Err(Error::input(format!("{KEY} is no UTF-8 text"))),
            key => key.ok().filter(|key| !key.is_empty()),
        };
        // a proxy lets others in, also where the server itself listens to this machine alone
        let here = self.allow_host.is_empty()
            && (host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback()));
        match (&self.keys, single) {
            (Some(_), Some(_)) => Err(Error::input(format!("both --keys and {KEY} are given: give one"))),
            (Some(path), None) => Keys::read(path, usual),
            (None, Some(key)) => Keys::single(&key, usual),
            (None, None) if here || self.without_keys => Ok(Keys::open(usual)),
            (None, None) => Err(Error::input(format!(
                "others than this machine can ask at {host}: give --keys FILE or {KEY}, or say --without-keys"
            ))),
        }
    }
}

impl Diagnoses {
    fn config(&self, adapters: &[AdapterName]) -> Result<FindingsConfig> {
        let trained = adapters.first().map(|adapter| prompt_of(&adapter.folder)).transpose()?.flatten();
        Ok(FindingsConfig {
            corpus: self.task.clone(),
            prompt: self.prompt.clone().or(trained).unwrap_or_else(|| "instruct".into()),
            samples: self.samples,
            temperature: self.temperature,
            calibrated_on: self.calibrated_on.clone(),
            measured: self.measured.clone(),
            abstain_below: self.abstain_below,
            ..FindingsConfig::default()
        })
    }
}

/// The prompt of the training that a run folder, or its `adapter/`, came from.
fn prompt_of(folder: &Path) -> Result<Option<String>> {
    let adapter = adapter_folder(folder);
    let config = [Some(folder), adapter.parent()].into_iter().flatten().map(|dir| dir.join("config.toml"));
    let found = config.filter(|path| path.is_file()).map(|path| TrainConfig::read(&path)).next().transpose()?;
    Ok(found.map(|config| config.prompt))
}

impl Serve {
    pub fn run(self) -> Result<()> {
        let keys = self.access.keys(&self.host)?; // before a large model is read
        if self.diagnoses.samples > self.limits.batch as usize {
            return Err(Error::input("--samples: expected at most --batch, as they are decoded at the same time"));
        }
        let findings = Findings::open(self.diagnoses.config(&self.adapter)?)?;
        let served = Served::open(&self.model, &self.adapter, self.weights.precision(), self.encoder.as_deref())?;
        findings.strangers(&served).iter().for_each(|what| crate::process::tell(&format!("dxlab serve: {what}")));
        let names: Vec<String> = served.entries.iter().map(|entry| entry.name.clone()).collect();
        let Limits { batch, queue, cache_tokens, connections, kept_tokens, body, seconds } = self.limits;
        let time = Duration::from_secs(seconds);
        let (queue, connections) = (queue as usize, connections as usize);
        let bounds = Bounds { body, answer: time, drain: time, queue, connections, ..Bounds::default() };
        let room = Room { sequences: batch as usize, tokens: cache_tokens, kept: kept_tokens };
        let hosts = self.access.allow_host;
        let config = ServeConfig { host: self.host, port: self.port, bounds, room, keys, hosts, log: self.log };
        let mut diagnosers: Vec<Arc<dyn Diagnoser>> = vec![Arc::new(findings)];
        if !self.diagnoses.no_rare_disease
            && let Some(rare) = RareDiseases::installed()?
        {
            diagnosers.push(Arc::new(rare));
        }
        let server = Server::start(config, served, diagnosers)?;
        println!("http://{}  serves {}", server.address(), names.join(", "));
        server.wait()
    }
}

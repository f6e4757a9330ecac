//! `dxlab predict`: a model's answer to every test case, as preds.jsonl.
use super::endpoint::EndpointFlags;
use super::weights::Weights;
use crate::error::{Error, Result};
use crate::prompt::Constrain;
use crate::run::Run;
use crate::study::{PredictConfig, Voting};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

#[derive(Args)]
pub struct Predict {
    /// Model folder, .gguf file, hub id or `embedded`; with --endpoint the model's name there
    #[arg(long, default_value = "embedded")]
    model: String,
    /// Run folder of a training run, or a PEFT adapter folder
    #[arg(long)]
    adapter: Option<PathBuf>,
    /// `findings`, `bc5cdr`, `ncbi`, or a file or folder of findings; the test split is asked about
    #[arg(long, default_value = "findings")]
    data: String,
    /// Prompt of the library, or a .toml file
    #[arg(long, default_value = "plain")]
    prompt: String,
    /// New tokens an answer, at most
    #[arg(long, default_value_t = 64)]
    max_new: usize,
    /// Test cases, at most
    #[arg(long)]
    cases: Option<usize>,
    /// Hold every answer to a form: `labels` to the distinct training labels of the corpus, `text` to runs of words of the case's
    /// own text, `json` to a JSON list of names
    #[arg(long, value_enum)]
    constrain: Option<Held>,
    /// Sampled answers a case, whose labels are counted (self-consistency); one greedy answer without it
    #[arg(long, conflicts_with = "endpoint")]
    samples: Option<usize>,
    /// Temperature of the samples [default: 0.7], or of an endpoint's answers [default: 0]
    #[arg(long)]
    temperature: Option<f64>,
    /// Share of the samples that must name a label [default: 0.5]
    #[arg(long, requires = "samples", value_name = "SHARE")]
    vote: Option<f64>,
    /// Seed of the samples, or of an endpoint's answers [default: 7]
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    weights: Weights,
    /// Name of the run in the store
    #[arg(long, default_value = "cli")]
    name: String,
    /// Where preds.jsonl goes, besides the run store
    #[arg(long)]
    out: PathBuf,
    #[command(flatten)]
    endpoint: EndpointFlags,
}

#[derive(Clone, Copy, ValueEnum)]
enum Held {
    Labels,
    Text,
    Json,
}

impl Predict {
    pub fn run(self) -> Result<()> {
        if self.samples.is_none() && !self.endpoint.given() && (self.temperature.is_some() || self.seed.is_some()) {
            return Err(Error::input("--temperature and --seed are for sampled answers: add --samples or --endpoint"));
        }
        let endpoint = self.endpoint.config(&self.model, self.temperature, self.seed)?;
        let usual = Voting::default();
        let vote = self.samples.map(|samples| Voting {
            samples,
            temperature: self.temperature.unwrap_or(usual.temperature),
            threshold: self.vote.unwrap_or(usual.threshold),
            seed: self.seed.unwrap_or(usual.seed),
        });
        let config = PredictConfig {
            name: self.name,
            model: self.model,
            adapter: self.adapter,
            corpus: self.data,
            prompt: self.prompt,
            max_new: self.max_new,
            cases: self.cases,
            constrain: self.constrain.map(|held| match held {
                Held::Labels => Constrain::Labels,
                Held::Json => Constrain::Json,
                Held::Text => Constrain::Text,
            }),
            endpoint,
            vote,
            weights: self.weights.precision(),
        };
        let run = Run::open_or_predict(&config)?;
        let made = run.path("preds.jsonl");
        let bytes = std::fs::read(&made).map_err(Error::io(&made))?;
        crate::io::write(&self.out, &bytes)?;
        println!("{} (from {})", self.out.display(), run.dir.display());
        Ok(())
    }
}

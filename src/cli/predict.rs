//! `dxlab predict`: a model's answer to every test case, as preds.jsonl.
use super::endpoint::EndpointFlags;
use super::weights::Weights;
use crate::corpus::split::Part as Drawn;
use crate::error::{Error, Result};
use crate::prompt::Constrain;
use crate::run::{Run, Store, write_predictions};
use crate::study::{PredictConfig, Voting};
use crate::task::{self, decisions::NoteWindows};
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Args)]
pub struct Predict {
    /// Base model: a name that `dxlab models` lists, a model folder, a .gguf file or a hub id [default: smollm2]; with --endpoint the
    /// model's name there, which has no default
    #[arg(long)]
    model: Option<String>,
    /// Run folder of a training run, or a PEFT adapter folder
    #[arg(long)]
    adapter: Option<PathBuf>,
    /// Task: `findings`, `bc5cdr`, `ncbi`, or a file or folder of findings; the test split is asked about
    #[arg(long, visible_alias = "task", default_value = "findings")]
    data: String,
    /// Prompt of the library, or a .toml file
    #[arg(long, default_value = "instruct")]
    prompt: String,
    /// Maximum number of new tokens per answer
    #[arg(long, default_value_t = 64)]
    max_new: usize,
    /// Maximum number of test cases, drawn by the digest of their ids
    #[arg(long, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    cases: Option<usize>,
    /// Which cases are asked about
    #[arg(long, value_enum, default_value = "test")]
    part: Part,

    /// Share of the training cases that --part validation asks about
    #[arg(long, value_name = "SHARE", default_value_t = Drawn::USUAL.validation)]
    validation: f64,

    /// Draws the cases of --part validation; as `training.seed` of a config, the same cases that its training kept apart
    #[arg(long, value_name = "SEED", default_value_t = Drawn::USUAL.seed)]
    split_seed: u64,

    /// Constrain every answer while it is decoded: `labels` to the distinct training labels of the corpus, `text` to runs of words
    /// of the case's own text, `json` to a JSON list of names, `tags` to the case's text with tags of clinical decisions put in (give
    /// --max-new room for the whole of it)
    #[arg(long, value_enum)]
    constrain: Option<ConstrainTo>,
    /// Ask about long notes (task `decisions`) in windows of at most CHARS characters, each with --max-new new tokens, and put the answers together
    #[arg(long, value_name = "CHARS")]
    window: Option<usize>,
    /// Minimum number of characters that a window shares with the one before it [default: a quarter of --window]
    #[arg(long, value_name = "CHARS", requires = "window")]
    overlap: Option<usize>,
    /// Sampled answers per case, whose labels are counted (self-consistency); one greedy answer without it
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
enum Part {
    Test,
    /// Training cases kept apart (by group), which examples and lists of prompts then leave out: to choose prompts and settings by
    Validation,
}

#[derive(Clone, Copy, ValueEnum)]
enum ConstrainTo {
    Labels,
    Text,
    Json,
    Tags,
    TagsReopened,
    TagsNumbered,
}

impl Predict {
    pub fn run(self) -> Result<()> {
        if self.samples.is_none() && !self.endpoint.given() && (self.temperature.is_some() || self.seed.is_some()) {
            return Err(Error::input("--temperature and --seed are for sampled answers: add --samples or --endpoint"));
        }
        if self.endpoint.given() && self.model.is_none() {
            return Err(Error::input("--endpoint needs --model, the model's name there"));
        }
        let model = self.model.unwrap_or_else(|| "smollm2".into());
        let endpoint = self.endpoint.config(&model, self.temperature, self.seed)?;
        let usual = Voting::default();
        let vote = self.samples.map(|samples| Voting {
            samples,
            temperature: self.temperature.unwrap_or(usual.temperature),
            threshold: self.vote.unwrap_or(usual.threshold),
            seed: self.seed.unwrap_or(usual.seed),
        });
        let config = PredictConfig {
            name: self.name,
            model,
            adapter: self.adapter,
            corpus: self.data,
            prompt: self.prompt,
            max_new: self.max_new,
            cases: self.cases,
            constrain: self.constrain.map(|to| match to {
                ConstrainTo::Labels => Constrain::Labels,
                ConstrainTo::Json => Constrain::Json,
                ConstrainTo::Text => Constrain::Text,
                ConstrainTo::Tags => Constrain::Tags,
                ConstrainTo::TagsReopened => Constrain::TagsReopened,
                ConstrainTo::TagsNumbered => Constrain::TagsNumbered,
            }),
            endpoint,
            vote,
            ranking: None,
            windows: self.window.map(|chars| NoteWindows {
                chars,
                overlap: self.overlap.unwrap_or_else(|| NoteWindows::usual_overlap(chars)),
            }),
            weights: self.weights.precision(),
        };
        let task = task::open(&config.corpus)?;
        let task = match (self.part, task.as_labels()) {
            (Part::Test, _) => task,
            (Part::Validation, Some(labels)) => Arc::new(labels.validation(self.validation, self.split_seed)?),
            (Part::Validation, None) => {
                return Err(Error::input(format!("--part validation: task `{}` has no such part", task.name())));
            }
        };
        let run = Run::predict_on(&Store::open(None), &config, &*task)?;
        write_predictions(&self.out, &run.answers(&*task)?)?;
        println!("{} (from {})", self.out.display(), run.dir.display());
        Ok(())
    }
}

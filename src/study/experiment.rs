//! The two acts of the study over the run store: fine-tune an adapter, ask a model about every case. Each is a run named by the
//! digest of all that determines it, opened if it is there and made if not.
use super::file;
use super::prediction::{Prediction, write_predictions};
use super::store::{Run, Store};
use crate::adapter::{Adapter, AdapterConfig, Mode};
use crate::corpus::{Case, Corpus};
use crate::error::{Error, Result};
use crate::generate::{Answers, Local, adapter_id, base_id};
use crate::prompt::{Prompt, PromptContext};
use crate::train::{LoopConfig, Sequence, Trainer};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// A training run, as in its TOML file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    pub name: String,
    /// Folder, hub id or `embedded`.
    #[serde(default = "embedded")]
    pub model: String,
    /// `findings` (DXLAB_FINDINGS, else the embedded ones), `bc5cdr` (needs DXLAB_DATA), or a file or folder of findings.
    #[serde(default = "findings")]
    pub corpus: String,
    #[serde(default = "plain")]
    pub prompt: String,
    /// Share of the training cases (by group) kept for validation: early stopping and the best checkpoint.
    #[serde(default = "tenth")]
    pub validation: f64,
    /// Training cases, at most, after validation is taken; for learning curves and quick looks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cases: Option<usize>,
    pub adapter: Lora,
    pub training: LoopConfig,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lora {
    pub r: usize,
    pub alpha: f64,
    /// Linear layers by the last part of their names; all seven of a block where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_modules: Option<Vec<String>>,
}

fn embedded() -> String {
    "embedded".into()
}
fn findings() -> String {
    "findings".into()
}
fn plain() -> String {
    "plain".into()
}
fn tenth() -> f64 {
    0.1
}

impl TrainConfig {
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        toml::from_str(&text).map_err(|e| Error::input(format!("{}: {e}", path.display())))
    }

    /// One of the configs in the project's `configs/`, by its name.
    pub fn named(name: &str) -> Result<Self> {
        Self::read(&crate::home().join("configs").join(format!("{name}.toml")))
    }
}

/// Asking a model about the test cases.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PredictConfig {
    pub name: String,
    pub model: String,
    /// Run folder of a training run, or a PEFT folder.
    pub adapter: Option<PathBuf>,
    pub corpus: String,
    pub prompt: String,
    /// New tokens an answer, at most.
    pub max_new: usize,
    /// Test cases, at most.
    pub cases: Option<usize>,
}

impl PredictConfig {
    /// The base model alone on the test cases of `findings`.
    pub fn zero_shot(prompt: &str) -> Self {
        Self {
            name: format!("zero-shot-{prompt}"),
            model: embedded(),
            adapter: None,
            corpus: findings(),
            prompt: prompt.into(),
            max_new: 64,
            cases: None,
        }
    }

    /// A fine-tuned model, asked as it was trained.
    pub fn tuned(run: &Run, config: &TrainConfig) -> Self {
        Self {
            name: config.name.clone(),
            model: config.model.clone(),
            adapter: Some(run.dir.clone()),
            corpus: config.corpus.clone(),
            prompt: config.prompt.clone(),
            max_new: 64,
            cases: None,
        }
    }
}

/// A corpus by the name that configs and the command line use, with the words its prompts use.
pub fn open_corpus(name: &str) -> Result<(Corpus, PromptContext)> {
    match name {
        "findings" => {
            let corpus = Corpus::from_env()?;
            let context = PromptContext::of(&corpus);
            Ok((corpus, context))
        }
        "bc5cdr" => {
            let data = std::env::var_os("DXLAB_DATA").ok_or_else(|| {
                Error::input("corpus bc5cdr: set DXLAB_DATA to the folder of open data (`dxlab data fetch bc5cdr`)")
            })?;
            let corpus = Corpus::bc5cdr(Path::new(&data))?;
            let context = PromptContext {
                document: "abstract".into(),
                target: "diseases that it names".into(),
                ..PromptContext::of(&corpus)
            };
            Ok((corpus, context))
        }
        path => {
            let corpus = Corpus::open(Path::new(path))?;
            let context = PromptContext::of(&corpus);
            Ok((corpus, context))
        }
    }
}

/// Training and validation cases: validation is the share of groups whose digest comes first, so that it does not move
/// when cases are added elsewhere.
pub fn validation_split(cases: &[Case], share: f64, seed: u64) -> (Vec<Case>, Vec<Case>) {
    let taken = |case: &Case| {
        let digest = Sha256::digest(format!("{seed}/{}", case.group));
        let at = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]) as f64 / u32::MAX as f64;
        at < share
    };
    let (valid, train) = cases.iter().cloned().partition(taken);
    (train, valid)
}

impl Run {
    /// The training run of this config: opened, or trained (going on from where a killed one stopped).
    pub fn open_or_train(config: &TrainConfig) -> Result<Run> {
        Self::train_in(&Store::open(None), config, true)
    }

    /// As `open_or_train` in another store; without `resume` a stopped run starts again.
    pub fn train_in(store: &Store, config: &TrainConfig, resume: bool) -> Result<Run> {
        let (corpus, context) = open_corpus(&config.corpus)?;
        let prompt = Prompt::named(&config.prompt, &context)?;
        let spec = serde_json::json!({
            "config": config, "corpus": corpus.digest(), "base": base_id(&config.model)?, "prompt": prompt.id(),
            "synthetic": corpus.synthetic,
        });
        let make = |dir: &Path| train(config, &corpus, &prompt, dir);
        match resume {
            true => store.open_or_resume("train", &config.name, &spec, make),
            false => store.open_or_make("train", &config.name, &spec, make),
        }
    }

    /// The predictions of this config: opened, or asked for.
    pub fn open_or_predict(config: &PredictConfig) -> Result<Run> {
        Self::predict_in(&Store::open(None), config)
    }

    pub fn predict_in(store: &Store, config: &PredictConfig) -> Result<Run> {
        let (corpus, context) = open_corpus(&config.corpus)?;
        let prompt = Prompt::named(&config.prompt, &context)?;
        let adapter = config.adapter.as_deref().map(adapter_id).transpose()?;
        let spec = serde_json::json!({
            "model": base_id(&config.model)?, "adapter": adapter, "prompt": prompt.id(), "corpus": corpus.digest(),
            "corpus_name": corpus.name, "synthetic": corpus.synthetic, "max_new": config.max_new, "cases": config.cases,
        });
        store.open_or_make("predict", &config.name, &spec, |dir| {
            let mut model = Local::open(&config.model, config.adapter.as_deref())?;
            model.max_new = config.max_new;
            let cases = &corpus.test[..config.cases.unwrap_or(usize::MAX).min(corpus.test.len())];
            let predictions = ask(&model, &prompt, cases)?;
            file::write_json(&dir.join("prompt.json"), &prompt)?;
            write_predictions(&dir.join("preds.jsonl"), &predictions)
        })
    }

    /// The predictions of a predict run.
    pub fn predictions(&self) -> Result<Vec<Prediction>> {
        super::prediction::read_predictions(&self.path("preds.jsonl"))
    }
}

fn train(config: &TrainConfig, corpus: &Corpus, prompt: &Prompt, dir: &Path) -> Result<()> {
    let mut local = Local::open(&config.model, None)?;
    let lora = &config.adapter;
    let mut settings = AdapterConfig::lora(lora.r, lora.alpha);
    settings.base_model_name_or_path = Some(config.model.clone());
    if let Some(targets) = &lora.target_modules {
        settings.target_modules = targets.clone();
    }
    let adapter = Adapter::new(settings, &mut local.model, config.training.seed)?;
    adapter.attach(&mut local.model, Mode::Train)?;
    let (mut cases, valid) = validation_split(&corpus.train, config.validation, config.training.seed);
    cases.truncate(config.cases.unwrap_or(usize::MAX));
    let encoder = local.encoder();
    let encode = |cases: &[Case]| -> Result<(Vec<Sequence>, usize)> {
        let examples = cases.iter().map(|c| encoder.train_case(prompt, c)).collect::<Result<Vec<_>>>()?;
        let cut = examples.iter().filter(|e| e.cut > 0).count();
        Ok((examples.into_iter().map(|e| Sequence::completion(e.ids, e.prompt_len)).collect(), cut))
    };
    let ((train, cut), (valid, _)) = (encode(&cases)?, encode(&valid)?);
    if cut > 0 {
        println!("… {cut} of {} findings were shortened to fit the model's positions", train.len());
    }
    println!("… {}: {} training and {} validation cases of {}", config.name, train.len(), valid.len(), corpus.name);
    let text = toml::to_string(config).map_err(|e| Error::failed(e.to_string()))?;
    file::write(&dir.join("config.toml"), text.as_bytes())?;
    let trainer =
        Trainer { config: &config.training, model: &local.model, parameters: adapter.parameters(), dir, verbose: true };
    let progress = trainer.run(&train, &valid, None)?;
    adapter.save(&dir.join("adapter"))?;
    file::write_json(&dir.join("progress.json"), &progress)?;
    let best = dir.join("best.safetensors");
    std::fs::remove_file(&best).map_err(Error::io(&best))?; // adapter/ holds the same
    file::write(&dir.join("card.md"), card(config, corpus, prompt, &progress).as_bytes())
}

/// The card of an adapter: what it is for, what it was made from, what it must not be used for.
fn card(config: &TrainConfig, corpus: &Corpus, prompt: &Prompt, progress: &crate::train::Progress) -> String {
    let data = if corpus.synthetic { "synthetic" } else { "not synthetic" };
    let loss = progress
        .best_loss
        .map_or("not evaluated".into(), |l| format!("{l:.4} nats a token at update {}", progress.best_step));
    format!(
        "# {}\n\nLoRA adapter (PEFT format, rank {}, alpha {}) for `{}`, trained by dxlab on {} ({data}) with prompt `{}`.\n\n\
         - settings: `config.toml`; every update: `log.jsonl`; what determines it: `spec.json`\n\
         - updates: {}; tokens read: {}; validation loss: {loss}\n\n\
         For research on fine-tuning; not for clinical use.\n",
        config.name,
        config.adapter.r,
        config.adapter.alpha,
        config.model,
        corpus.name,
        prompt.id(),
        progress.step,
        progress.tokens
    )
}

/// Asks `model` about every case and reads its answers; prints how far it is every tenth of the way.
pub fn ask(model: &dyn Answers, prompt: &Prompt, cases: &[Case]) -> Result<Vec<Prediction>> {
    let (started, mut said) = (Instant::now(), 0);
    let answers = model.answer(prompt, cases, &mut |done| {
        if done * 10 / cases.len() > said {
            said = done * 10 / cases.len();
            let left = started.elapsed().as_secs_f64() * (cases.len() - done) as f64 / done as f64;
            println!("… {done}/{} answered, about {left:.0} s left", cases.len());
        }
    })?;
    let read = |(case, answer): (&Case, crate::generate::Answer)| {
        let parsed = crate::label::parse(&answer.raw);
        Prediction {
            case_id: case.case_id.clone(),
            group: case.group.clone(),
            input: case.input.clone(),
            prompt: prompt.id(),
            model: model.id().into(),
            adapter: model.adapter().map(String::from),
            raw: answer.raw,
            labels: parsed.labels,
            parsed: parsed.parsed,
            gold: case.labels.clone(),
            logprob: answer.logprob,
            prompt_tokens: answer.prompt_tokens,
            new_tokens: answer.new_tokens,
            seconds: answer.seconds,
        }
    };
    Ok(cases.iter().zip(answers).map(read).collect())
}

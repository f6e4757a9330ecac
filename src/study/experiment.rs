//! The two acts of the study over the run store: fine-tune an adapter, ask a model about every case. Each is a run named by the
//! digest of all that determines it, opened if it is there and made if not.
use super::config::{Method, PredictConfig, TrainConfig};
use super::endpoint::{ask_endpoint, specify};
use super::file;
use super::leak::training_leaks;
use super::prediction::{Prediction, write_predictions};
use super::store::{Run, Store};
use super::voting::ask_voting;
use crate::adapter::{Adapter, Mode, Noise};
use crate::corpus::{Case, Corpus};
use crate::error::{Error, Result};
use crate::generate::{Answer, Answers, Local, adapter_id, base_id, note_base};
use crate::model::{CausalLm, Checkpoint, Config, Precision, export, resolve};
use crate::prompt::{Encoder, NONE, Prompt, PromptContext};
use crate::train::{Sequence, Trainer};
use candle_core::{DType, Device, Var};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

impl PredictConfig {
    /// The model in this process that answers, held to what the config says: to the distinct training labels of `corpus`
    /// as written.
    pub(super) fn open(&self, corpus: &Corpus) -> Result<Local> {
        if self.endpoint.is_some() {
            return Err(Error::input(format!(
                "{}: answers of an endpoint are kept and not asked for again",
                self.name
            )));
        }
        let mut model = Local::open_as(&self.model, self.adapter.as_deref(), self.weights)?;
        model.max_new = self.max_new;
        if let Some(how) = self.constrain {
            model.hold_to(how, &closed_list(corpus))?;
        }
        Ok(model)
    }

    /// One answer a case, or a vote.
    pub(super) fn ask(&self, model: &dyn Answers, prompt: &Prompt, cases: &[Case]) -> Result<Vec<Prediction>> {
        match &self.vote {
            Some(vote) => ask_voting(model, prompt, cases, vote),
            None => ask(model, prompt, cases),
        }
    }
}

/// Which training cases stood before each question, a line a case, the nearest last.
fn write_retrieved(path: &Path, prompt: &Prompt, cases: &[Case]) -> Result<()> {
    let line = |case: &Case| serde_json::json!({"case_id": case.case_id, "neighbours": prompt.retrieved(case)});
    let text: String = cases.iter().map(|case| format!("{}\n", line(case))).collect();
    file::write(path, text.as_bytes())
}

/// Distinct training labels, with the answer for none if training has it. Those with a comma cannot be told from two
/// and are left out.
fn closed_list(corpus: &Corpus) -> Vec<String> {
    let mut labels = corpus.vocabulary();
    if corpus.train.iter().any(|case| case.labels.is_empty()) {
        labels.insert(NONE.into(), 0);
    }
    let all = labels.len();
    let labels: Vec<String> = labels.into_keys().filter(|label| !label.contains(',')).collect();
    if labels.len() < all {
        println!("… {} of {all} training labels hold a comma and are not in the closed list", all - labels.len());
    }
    labels
}

/// A corpus by the name that configs and the command line use, with the words its prompts use.
pub fn open_corpus(name: &str) -> Result<(Corpus, PromptContext)> {
    match name {
        "findings" => {
            let corpus = Corpus::from_env()?;
            let context = PromptContext::of(&corpus);
            Ok((corpus, context))
        }
        "bc5cdr" | "ncbi" => {
            let data = std::env::var_os("DXLAB_DATA").ok_or_else(|| {
                let fetch = if name == "ncbi" { "ncbi-disease" } else { name };
                Error::input(format!(
                    "corpus {name}: set DXLAB_DATA to the folder of open data (`dxlab data fetch {fetch}`)"
                ))
            })?;
            let open = if name == "ncbi" { Corpus::ncbi } else { Corpus::bc5cdr };
            let corpus = open(Path::new(&data))?;
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
        Self::train_on(store, config, &corpus, &context, resume)
    }

    /// As `train_in` on a corpus that is at hand.
    pub(super) fn train_on(
        store: &Store,
        config: &TrainConfig,
        corpus: &Corpus,
        context: &PromptContext,
        resume: bool,
    ) -> Result<Run> {
        let prompt = Prompt::named(&config.prompt, context)?;
        let spec = serde_json::json!({
            "config": config, "corpus": corpus.digest(), "base": base_id(&config.model)?, "prompt": prompt.id(),
            "synthetic": corpus.synthetic,
        });
        let make = |dir: &Path| train(config, corpus, &prompt, dir);
        match resume {
            true => store.open_or_resume("train", &config.name, &spec, make),
            false => store.open_or_restart("train", &config.name, &spec, make),
        }
    }

    /// The predictions of this config: opened, or asked for.
    pub fn open_or_predict(config: &PredictConfig) -> Result<Run> {
        Self::predict_in(&Store::open(None), config)
    }

    pub fn predict_in(store: &Store, config: &PredictConfig) -> Result<Run> {
        let (corpus, context) = open_corpus(&config.corpus)?;
        let mut prompt = Prompt::named(&config.prompt, &context)?;
        let model = match &config.endpoint {
            Some(endpoint) => endpoint.id(&config.model)?,
            None => base_id(&config.model)?,
        };
        let adapter = config.adapter.as_deref().map(adapter_id).transpose()?;
        if let Some(thinking) = config.endpoint.as_ref().and_then(|endpoint| endpoint.thinking) {
            prompt = prompt.with_thinking(thinking);
        }
        let mut spec = serde_json::json!({
            "model": model, "adapter": adapter, "prompt": prompt.id(), "corpus": corpus.digest(),
            "corpus_name": corpus.name, "synthetic": corpus.synthetic, "max_new": config.max_new, "cases": config.cases,
        });
        if let Some(how) = config.constrain {
            spec["constrain"] = file::to_value(&how)?; // absent from the digest of free answers
        }
        if let Some(endpoint) = &config.endpoint {
            specify(endpoint, config, &mut spec)?;
        }
        if let Some(vote) = &config.vote {
            vote.check()?;
            spec["vote"] = file::to_value(vote)?; // as above
        }
        if config.weights != Precision::F32 {
            spec["weights"] = file::to_value(&config.weights)?; // as above
        }
        store.open_or_make("predict", &config.name, &spec, |dir| {
            let cases = &corpus.test[..config.cases.unwrap_or(usize::MAX).min(corpus.test.len())];
            let predictions = match &config.endpoint {
                Some(endpoint) => ask_endpoint(endpoint, config, &prompt, cases, store, dir)?,
                None => config.ask(&config.open(&corpus)?, &prompt, cases)?,
            };
            file::write_json(&dir.join("prompt.json"), &prompt)?;
            if prompt.neighbours.is_some() {
                write_retrieved(&dir.join("neighbours.jsonl"), &prompt, cases)?;
            }
            write_predictions(&dir.join("preds.jsonl"), &predictions)
        })
    }

    /// The predictions of a predict run.
    pub fn predictions(&self) -> Result<Vec<Prediction>> {
        super::prediction::read_predictions(&self.path("preds.jsonl"))
    }
}

/// The part of a model that learns.
enum Learner {
    Adapter(Adapter),
    /// Every weight by its checkpoint name.
    Whole(BTreeMap<String, Var>),
}

impl Learner {
    /// Makes `local`'s model ready to learn what `config` says; `dir` keeps what a resumed run has to start from.
    fn new(config: &TrainConfig, local: &mut Local, dir: &Path) -> Result<Self> {
        match config.adapter.adapter(&config.model)? {
            Some(settings) => {
                let mut adapter = Adapter::new(settings, &mut local.model, config.training.seed)?;
                adapter.keep_start(&dir.join(START))?;
                adapter.attach(&mut local.model, Mode::Train)?;
                Ok(Self::Adapter(adapter))
            }
            None => {
                let (model, parameters) =
                    CausalLm::load_to_train(&crate::model::resolve(&config.model)?, &Device::Cpu)?;
                local.model = model;
                Ok(Self::Whole(parameters))
            }
        }
    }

    fn parameters(&self) -> &BTreeMap<String, Var> {
        match self {
            Self::Adapter(adapter) => adapter.parameters(),
            Self::Whole(parameters) => parameters,
        }
    }

    fn noise(&self) -> Option<&Noise> {
        match self {
            Self::Adapter(adapter) => adapter.drops().then(|| adapter.noise()),
            Self::Whole(_) => None,
        }
    }

    /// `adapter/` in PEFT's format, or `model/` as a folder that every tool reads.
    fn save(&self, config: &TrainConfig, local: &Local, dir: &Path) -> Result<()> {
        match self {
            Self::Adapter(adapter) => {
                let folder = dir.join("adapter");
                adapter.save(&folder)?;
                note_base(&folder, local.id())
            }
            Self::Whole(parameters) => {
                let folder = dir.join("model");
                let all = parameters.iter().map(|(name, var)| (name.clone(), var.as_detached_tensor())).collect();
                Checkpoint::save(&folder, &all, DType::F32)?;
                local.model.config.write(&folder)?;
                export::tokenizer(&folder, &resolve(&config.model)?)
            }
        }
    }
}

/// Where PiSSA's first directions lie while a run is made.
const START: &str = "start.safetensors";
/// The file that a training run writes last.
const CARD: &str = "card.md";

fn train(config: &TrainConfig, corpus: &Corpus, prompt: &Prompt, dir: &Path) -> Result<()> {
    config.check()?;
    if dir.join(CARD).is_file() {
        return forget(dir); // a maker was killed between its last file and the run's name
    }
    let leaks = training_leaks(config, corpus)?;
    leaks.refuse()?;
    file::write_json(&dir.join("leaks.json"), &leaks)?;
    let mut local = Local::open_as(&config.model, None, config.weights)?;
    let learner = Learner::new(config, &mut local, dir)?;
    let Sequences { train, times, valid, cut } =
        sequences(config, corpus, prompt, &local.encoder(), &local.model.config)?;
    if cut > 0 {
        println!("… {cut} of {} findings were shortened to fit the model's positions", train.len());
    }
    let cases = times.first().map_or(0, |epoch| epoch.iter().filter(|&&n| n > 0).count());
    println!("… {}: {cases} training and {} validation cases of {}", config.name, valid.len(), corpus.name);
    let text = toml::to_string(config).map_err(|e| Error::failed(e.to_string()))?;
    file::write(&dir.join("config.toml"), text.as_bytes())?;
    let (parameters, noise) = (learner.parameters(), learner.noise());
    let (model, times) = (&local.model, Some(times.as_slice()));
    let trainer = Trainer { config: &config.training, model, parameters, noise, times, dir, verbose: true };
    let progress = trainer.run(&train, &valid, None)?;
    learner.save(config, &local, dir)?;
    file::write_json(&dir.join("progress.json"), &progress)?;
    file::write(&dir.join(CARD), card(config, corpus, prompt, &progress).as_bytes())?;
    forget(dir)
}

/// Removes what only a run in the making needs: `adapter/` or `model/` holds the same. Nothing may be written after it, as a run that is
/// killed later cannot be finished without.
fn forget(dir: &Path) -> Result<()> {
    for name in ["best.safetensors", START] {
        let path = dir.join(name);
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io(&path)(e)),
            _ => {}
        }
    }
    Ok(())
}

/// What a config trains and validates on, as token ids.
pub(super) struct Sequences {
    pub train: Vec<Sequence>,
    /// How often each comes in each epoch.
    pub times: Vec<Vec<u32>>,
    pub valid: Vec<Sequence>,
    /// Training findings that were shortened to fit the model's positions.
    cut: usize,
}

/// Fails for a case that `model` cannot take with its answer, which is never cut.
pub(super) fn sequences(
    config: &TrainConfig,
    corpus: &Corpus,
    prompt: &Prompt,
    encoder: &Encoder,
    model: &Config,
) -> Result<Sequences> {
    let (cases, valid) = config.split(&corpus.train);
    let shown = config.showing.show(cases, config.training.epochs, config.training.seed)?;
    let encode = |cases: &[Case]| -> Result<(Vec<Sequence>, usize)> {
        let (mut made, mut cut) = (Vec::with_capacity(cases.len()), 0);
        for case in cases {
            let example = encoder.train_case(prompt, case)?;
            cut += usize::from(example.cut > 0);
            // the last token is predicted, never read
            let (read, positions) = (example.ids.len().saturating_sub(1), model.max_position_embeddings);
            if read > positions {
                return Err(Error::input(format!(
                    "case `{}`: prompt and answer are {read} tokens to read, the model has {positions} positions, and an \
                     answer is never cut; give the case fewer labels or leave it out",
                    case.case_id
                )));
            }
            made.push(Sequence::completion(example.ids, example.prompt_len));
        }
        Ok((made, cut))
    };
    let ((train, cut), (valid, _)) = (encode(&shown.cases)?, encode(&valid)?);
    Ok(Sequences { train, times: shown.times, valid, cut })
}

/// The card of an adapter: what it is for, what it was made from, what it must not be used for.
fn card(config: &TrainConfig, corpus: &Corpus, prompt: &Prompt, progress: &crate::train::Progress) -> String {
    let data = if corpus.synthetic { "synthetic" } else { "not synthetic" };
    let loss = progress
        .best_loss
        .map_or("not evaluated".into(), |l| format!("{l:.4} nats a token at update {}", progress.best_step));
    let a = &config.adapter;
    let what = match a.method {
        Method::Full => "Every weight (folder `model/`)".to_string(),
        method => format!("{} adapter (PEFT format, rank {}, alpha {})", method.name(), a.r, a.alpha),
    };
    format!(
        "# {}\n\n{what} for `{}`, trained by dxlab on {} ({data}) with prompt `{}`.\n\n\
         - settings: `config.toml`; every update: `log.jsonl`; what determines it: `spec.json`\n\
         - updates: {}; tokens read: {}; validation loss: {loss}\n\n\
         For research on fine-tuning; not for clinical use.\n",
        config.name,
        config.model,
        corpus.name,
        prompt.id(),
        progress.step,
        progress.tokens
    )
}

/// Prints how far asking is, every tenth of the way.
pub(super) struct Said {
    of: usize,
    tenths: usize,
    started: Instant,
}

impl Said {
    pub fn new(of: usize) -> Self {
        Self { of, tenths: 0, started: Instant::now() }
    }

    pub fn hear(&mut self, done: usize) {
        if done * 10 / self.of > self.tenths {
            self.tenths = done * 10 / self.of;
            let left = self.started.elapsed().as_secs_f64() * (self.of - done) as f64 / done as f64;
            println!("… {done}/{} answered, about {left:.0} s left", self.of);
        }
    }
}

/// Asks `model` about every case and reads its answers; prints how far it is every tenth of the way.
pub fn ask(model: &dyn Answers, prompt: &Prompt, cases: &[Case]) -> Result<Vec<Prediction>> {
    let mut said = Said::new(cases.len());
    let answers = model.answer(prompt, cases, &mut |done| said.hear(done))?;
    Ok(cases.iter().zip(answers).map(|(case, answer)| read(model, prompt, case, answer)).collect())
}

/// What an answer says.
pub(super) fn read(model: &dyn Answers, prompt: &Prompt, case: &Case, answer: Answer) -> Prediction {
    let parsed = crate::label::parse(&answer.raw);
    Prediction {
        case_id: case.case_id.clone(),
        group: case.group.clone(),
        input: case.input.clone(),
        prompt: prompt.id(),
        model: model.id().into(),
        adapter: model.adapter().map(String::from),
        constrain: model.constrain(),
        raw: answer.raw,
        labels: parsed.labels,
        parsed: parsed.parsed,
        gold: case.labels.clone(),
        logprob: answer.logprob,
        prompt_tokens: answer.prompt_tokens,
        new_tokens: answer.new_tokens,
        seconds: answer.seconds,
        voted: None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::showing::Showing;
    use super::*;
    use crate::generate::{MAX_NEW, encoder_for};
    use crate::model::Tokenizer;
    use std::sync::Arc;

    #[test]
    fn a_case_whose_answer_does_not_fit_the_model_is_named_before_training() {
        let folder = resolve("embedded").unwrap();
        let tokenizer = Arc::new(Tokenizer::open(&folder).unwrap());
        let plain = TrainConfig::named("lora-plain").unwrap();
        let config = TrainConfig { validation: 0.0, showing: Showing::default(), ..plain };
        let corpus = Corpus::embedded().unwrap();
        let context = PromptContext::of(&corpus);
        let prompt = Prompt::named(&config.prompt, &context).unwrap();
        let few = |labels: usize| Corpus {
            train: vec![Case { labels: vec!["gallstone".into(); labels], ..corpus.train[0].clone() }],
            ..corpus.clone()
        };
        let encoded = |labels: usize, positions: usize| {
            let model = Config { max_position_embeddings: positions, ..Config::read(&folder).unwrap() };
            sequences(&config, &few(labels), &prompt, &encoder_for(tokenizer.clone(), &model, MAX_NEW), &model)
        };
        let whole = encoded(100, 2048).unwrap().train.remove(0).ids.len();
        assert!(encoded(100, whole - 1).is_ok(), "the last token is predicted, never read");
        let error = encoded(100, whole - 2).err().unwrap();
        let named = format!("case `{}`", corpus.train[0].case_id);
        assert!(error.exit_code() == 2 && error.to_string().contains(&named), "{error}");
        assert!(error.to_string().contains(&format!("the model has {} positions", whole - 2)), "{error}");
    }
}

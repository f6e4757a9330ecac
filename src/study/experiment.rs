//! The two acts of the study over the run store: fine-tune an adapter, ask a model about every case. Each is a run named by the
//! digest of all that determines it, opened if it is there and made if not.
use super::asking::ask;
use super::config::{Method, PredictConfig, TrainConfig};
use super::endpoint::{ask_endpoint, specify};
use super::leak::training_leaks;
use super::tag_weights::{mark_tags, weigh_tags};
use super::voting::ask_voting;
use super::windowed::{self, Windowed};
use crate::adapter::{Adapter, Mode, Noise};
use crate::baseline::{Baseline, BaselineSettings};
use crate::corpus::Example;
use crate::corpus::split::drawn;
use crate::error::{Error, Result};
use crate::generate::{Answers, Local, adapter_id, base_id, note_base};
use crate::io;
use crate::model::{CausalLm, Checkpoint, Config, Precision, default_device, export, resolve};
use crate::prompt::{Constrain, Encoder, Prompt};
use crate::run::{AskedSpec, PredictSpec, Run, RunSpec, Spec, Store, TrainSpec, keep_predictions, read_predictions};
use crate::task::{self, AnyPrediction, AnyTask, LabelTask, TrainingText};
use crate::train::{Sequence, Trainer};
use candle_core::{DType, Var};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

impl PredictConfig {
    /// The model in this process that answers, constrained to what the config says; a closed list is the task's.
    pub(super) fn open(&self, task: &dyn AnyTask) -> Result<Local> {
        if self.endpoint.is_some() {
            return Err(Error::input(format!(
                "{}: answers of an endpoint are kept and not asked for again",
                self.name
            )));
        }
        let mut model = Local::open_as(&self.model, self.adapter.as_deref(), self.weights)?;
        (model.max_new, model.overlong) = (self.max_new, task.overlong());
        if let Some(how) = self.constrain {
            let list = if how == Constrain::Labels { task.closed_list() } else { Vec::new() };
            model.set_constraint(how, &list)?;
        }
        Ok(model)
    }

    /// One answer a case, or a vote.
    pub(super) fn ask(
        &self,
        model: &dyn Answers,
        prompt: &Prompt,
        task: &dyn AnyTask,
        cases: &[Example<Value>],
    ) -> Result<Vec<AnyPrediction>> {
        let windowed = self.windows.map(|windows| Windowed { model, windows });
        let model = windowed.as_ref().map_or(model, |windowed| windowed as &dyn Answers);
        match &self.vote {
            Some(vote) => ask_voting(model, prompt, task, cases, vote),
            None => ask(model, prompt, task, cases),
        }
    }
}

/// The file of a run on validation cases that says which they are ([`crate::corpus::split::Part`]).
pub const PART: &str = "part.json";

/// Which training cases stood before each question, a line a case, the nearest last.
fn write_retrieved(path: &Path, prompt: &Prompt, cases: &[Example<Value>]) -> Result<()> {
    let line =
        |case: &Example<Value>| serde_json::json!({"case_id": case.case_id, "neighbours": prompt.retrieved(case)});
    let text: String = cases.iter().map(|case| format!("{}\n", line(case))).collect();
    io::write(path, text.as_bytes())
}

impl Run {
    /// The training run of this config: opened, or trained (going on from where a killed one stopped).
    pub fn open_or_train(config: &TrainConfig) -> Result<Run> {
        Self::train_in(&Store::open(None), config, true)
    }

    /// As `open_or_train` in another store; without `resume` a stopped run starts again.
    pub fn train_in(store: &Store, config: &TrainConfig, resume: bool) -> Result<Run> {
        Self::train_on(store, config, &*task::open(&config.corpus)?, resume)
    }

    /// As `train_in` on a task that is at hand.
    pub fn train_on(store: &Store, config: &TrainConfig, task: &dyn AnyTask, resume: bool) -> Result<Run> {
        let prompt = Prompt::named(&config.prompt, task.context())?;
        let spec = RunSpec::Train(TrainSpec {
            config: io::to_value(config)?,
            corpus: task.corpus_digest(),
            base: base_id(&config.model)?,
            prompt: prompt.id(),
            synthetic: task.synthetic(),
            task: told(task),
            validation: None,
        });
        let make = |dir: &Path| train(config, task, &prompt, dir);
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
        Self::predict_on(store, config, &*task::open(&config.corpus)?)
    }

    /// The predictions of this config on a task that is at hand, if they are in `store`.
    pub fn find_predictions(store: &Store, config: &PredictConfig, task: &dyn AnyTask) -> Result<Option<Run>> {
        store.find("predict", &config.name, &predict_spec(config, task)?.0)
    }

    /// As `predict_in` on a task that is at hand.
    pub fn predict_on(store: &Store, config: &PredictConfig, task: &dyn AnyTask) -> Result<Run> {
        let (spec, prompt) = predict_spec(config, task)?;
        if task.test().is_empty() {
            return Err(Error::input(format!(
                "{}: no test cases to ask about: mark rows as `test` in the column `split`, or give a file or sheet of test cases",
                config.corpus
            )));
        }
        let folder = Spec::new("predict", &config.name, &spec)?.folder();
        store.open_or_make("predict", &config.name, &spec, |dir| {
            let cases = drawn(task.test(), config.cases.unwrap_or(usize::MAX), CASES_SEED);
            let mut predictions = match (&config.endpoint, &config.ranking) {
                (_, Some(ranking)) => super::ranking::answers(store, config, ranking, task, &cases)?,
                (Some(endpoint), None) => ask_endpoint(endpoint, config, &prompt, (task, &cases), store, dir)?,
                (None, None) => config.ask(&config.open(task)?, &prompt, task, &cases)?,
            };
            predictions.iter_mut().for_each(|one| one.run.clone_from(&folder));
            io::write_json(&dir.join("prompt.json"), &prompt)?;
            if let Some(part) = task.as_labels().and_then(|labels| labels.part) {
                io::write_json(&dir.join(PART), &part)?;
            }
            if prompt.neighbours.is_some() {
                write_retrieved(&dir.join("neighbours.jsonl"), &prompt, &cases)?;
            }
            keep_predictions(&dir.join("preds.jsonl"), &predictions)
        })
    }

    /// The baseline's answers to the test cases of a corpus, named as in a config, in the project's store.
    pub fn open_or_fit(baseline: Baseline, corpus: &str) -> Result<Run> {
        let task = LabelTask::open(corpus)?;
        Self::open_or_baseline(&Store::open(None), baseline, &task, &BaselineSettings::default())
    }

    /// The predictions of a predict run, read anew from the raw answers.
    pub fn answers(&self, task: &dyn AnyTask) -> Result<Vec<AnyPrediction>> {
        Ok(task.reread(read_predictions::<Value, Value>(&self.path("preds.jsonl"))?))
    }
}

/// What determines a run of predictions, and its prompt.
fn predict_spec(config: &PredictConfig, task: &dyn AnyTask) -> Result<(RunSpec, Prompt)> {
    if config.max_new == 0 {
        return Err(Error::input("max_new is 0, expected at least 1: no answer would have a token"));
    }
    let mut prompt = Prompt::named(&config.prompt, task.context())?;
    let model = match &config.endpoint {
        Some(endpoint) => endpoint.id(&config.model)?,
        None => base_id(&config.model)?,
    };
    if let Some(thinking) = config.endpoint.as_ref().and_then(|endpoint| endpoint.thinking) {
        prompt = prompt.with_thinking(thinking);
    }
    if let Some(vote) = &config.vote {
        vote.check()?;
    }
    if let Some(windows) = &config.windows {
        windowed::check(windows, task)?;
    }
    let spec = RunSpec::Predict(PredictSpec {
        asked: asked_spec(model, config, task, &prompt)?,
        max_new: config.max_new,
        constrain: config.constrain,
        endpoint: config.endpoint.as_ref().map(|endpoint| specify(endpoint, config)).transpose()?,
        vote: config.vote.as_ref().map(io::to_value).transpose()?,
        ranking: config.ranking.as_ref().map(io::to_value).transpose()?,
        windows: config.windows.as_ref().map(io::to_value).transpose()?,
    });
    Ok((spec, prompt))
}

/// Who is asked about the task's test cases; `model` is its name and digest.
pub(super) fn asked_spec(
    model: String,
    config: &PredictConfig,
    task: &dyn AnyTask,
    prompt: &Prompt,
) -> Result<AskedSpec> {
    Ok(AskedSpec {
        model,
        adapter: config.adapter.as_deref().map(adapter_id).transpose()?,
        prompt: prompt.id(),
        corpus: task.corpus_digest(),
        corpus_name: task.corpus_name().into(),
        synthetic: task.synthetic(),
        cases: config.cases,
        weights: (config.weights != Precision::F32).then(|| io::to_value(&config.weights)).transpose()?,
        task: told(task),
    })
}

/// Draws the test cases where not all are asked about; see [`drawn`].
const CASES_SEED: u64 = 7;

/// The task's name, where it is not told by the corpus alone, as it is for label sets: their runs were named before there were tasks. Without
/// its version: a run keeps raw answers, which another parser reads anew.
pub(super) fn told(task: &dyn AnyTask) -> Option<String> {
    task.as_labels().is_none().then(|| task.name().to_string())
}

/// The part of a model that learns.
enum Learner {
    Adapter(Adapter),
    /// Every weight by its checkpoint name.
    Whole(BTreeMap<String, Var>),
}

impl Learner {
    /// The model, loaded once, and what `config` trains of it; `dir` keeps what a resumed run has to start from.
    fn open(config: &TrainConfig, dir: &Path) -> Result<(Local, Self)> {
        match config.adapter.adapter(&config.model)? {
            Some(settings) => {
                let mut local = Local::open_as(&config.model, None, config.weights)?;
                let mut adapter = Adapter::new(settings, &mut local.model, config.training.seed)?;
                adapter.keep_start(&dir.join(START))?;
                adapter.attach(&mut local.model, Mode::Train)?;
                Ok((local, Self::Adapter(adapter)))
            }
            None => {
                let (model, parameters) = CausalLm::load_to_train(&resolve(&config.model)?, &default_device())?;
                Ok((Local::of(&config.model, model)?, Self::Whole(parameters)))
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
pub(super) const CARD: &str = "card.md";

fn train(config: &TrainConfig, task: &dyn AnyTask, prompt: &Prompt, dir: &Path) -> Result<()> {
    config.check()?;
    if dir.join(CARD).is_file() {
        return forget(dir); // a maker was killed between its last file and the run's name
    }
    let leaks = training_leaks(config, task)?;
    leaks.refuse()?;
    io::write_json(&dir.join("leaks.json"), &leaks)?;
    let (mut local, learner) = Learner::open(config, dir)?;
    local.max_new = config.max_new;
    let Sequences { mut train, times, mut valid, cut, lost } =
        sequences(config, task, prompt, &local.encoder(), &local.model.config)?;
    if task.reads_windows() {
        mark_tags(&mut valid, &local.tokenizer)?;
    }
    if config.training.loss.tag_weight != 1.0 {
        weigh_tags(&mut train, &local.tokenizer, config.training.loss.tag_weight)?;
    }
    if lost > 0 {
        println!("… {lost} spans are in no window of their note and not taught: give [windows] a larger `overlap`");
    }
    if cut > 0 {
        println!("… {cut} of {} texts were shortened to fit the model's positions", train.len());
    }
    let cases = times.first().map_or(0, |epoch| epoch.iter().filter(|&&n| n > 0).count());
    println!("… {}: {cases} training and {} validation cases of {}", config.name, valid.len(), task.corpus_name());
    let text = toml::to_string(config).map_err(|e| Error::failed(e.to_string()))?;
    io::write(&dir.join("config.toml"), text.as_bytes())?;
    let (parameters, noise) = (learner.parameters(), learner.noise());
    let (model, times) = (&local.model, Some(times.as_slice()));
    let trainer = Trainer { config: &config.training, model, parameters, noise, times, dir, verbose: true };
    let progress = trainer.run(&train, &valid, None)?;
    learner.save(config, &local, dir)?;
    io::write_json(&dir.join("progress.json"), &progress)?;
    io::write(&dir.join(CARD), card(config, task, prompt, &progress).as_bytes())?;
    forget(dir)
}

/// Removes the best parameters and the start, which only a run in the making needs: `adapter/` or `model/` holds the same. Nothing may be written after it, as a run that is
/// killed later cannot be finished without.
pub(super) fn forget(dir: &Path) -> Result<()> {
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
    /// Training texts that were shortened to fit the model's positions.
    cut: usize,
    /// Spans that no window of their note holds.
    lost: usize,
}

/// Fails for a case that `model` cannot take with its answer, which is never cut.
pub(super) fn sequences(
    config: &TrainConfig,
    task: &dyn AnyTask,
    prompt: &Prompt,
    encoder: &Encoder,
    model: &Config,
) -> Result<Sequences> {
    let encoder = encoder.clone().or(task.overlong());
    let texts = task.training(&config.split(), &config.augmentation, config.training.epochs)?;
    let (texts, lost) = match &config.windows {
        Some(windows) => {
            windowed::check(windows, task)?;
            windows.training(texts)
        }
        None => (texts, 0),
    };
    let encode = |texts: &[TrainingText]| -> Result<(Vec<Sequence>, usize)> {
        let (mut made, mut cut) = (Vec::with_capacity(texts.len()), 0);
        for TrainingText { case, answer } in texts {
            let example = encoder.train_case(prompt, case, answer)?;
            cut += usize::from(example.cut > 0);
            // the last token is predicted, never read
            let (read, positions) = (example.ids.len().saturating_sub(1), model.max_position_embeddings);
            if read > positions {
                return Err(Error::input(format!(
                    "case `{}`: prompt and answer are {read} tokens to read, the model has {positions} positions, and an \
                     answer is never cut; {}",
                    case.case_id,
                    match task.reads_windows() {
                        true => "add [windows] to the config, with `chars` smaller than now if it is there",
                        false => "shorten the answer or leave the case out",
                    }
                )));
            }
            made.push(Sequence::completion(example.ids, example.prompt_len));
        }
        Ok((made, cut))
    };
    let ((train, cut), (valid, _)) = (encode(&texts.train)?, encode(&texts.valid)?);
    Ok(Sequences { train, times: texts.times, valid, cut, lost })
}

/// The card of an adapter: what it is for, what it was made from, what it must not be used for.
fn card(config: &TrainConfig, task: &dyn AnyTask, prompt: &Prompt, progress: &crate::train::Progress) -> String {
    let data = if task.synthetic() { "synthetic" } else { "not synthetic" };
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
        task.corpus_name(),
        prompt.id(),
        progress.step,
        progress.tokens
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::Augmentation;
    use crate::corpus::{Corpus, Finding};
    use crate::generate::{MAX_NEW, encoder_for};
    use crate::model::Tokenizer;
    use crate::task::context_of;
    use std::sync::Arc;

    #[test]
    fn a_case_whose_answer_does_not_fit_the_model_is_named_before_training() {
        let folder = resolve("embedded").unwrap();
        let tokenizer = Arc::new(Tokenizer::open(&folder).unwrap());
        let plain = TrainConfig::named("lora-plain").unwrap();
        let config = TrainConfig { validation: 0.0, augmentation: Augmentation::default(), ..plain };
        let corpus = Corpus::embedded().unwrap();
        let prompt = Prompt::named(&config.prompt, &context_of(&corpus)).unwrap();
        let few = |labels: usize| {
            let train = vec![Finding { gold: vec!["gallstone".into(); labels], ..corpus.train[0].clone() }];
            LabelTask::findings(Corpus { train, ..corpus.clone() }).unwrap()
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

//! An arm of the study: one setting, trained with several seeds and asked about every test case. The arm's run keeps what its numbers
//! come from (every raw answer, what each training took), not the weights, so that a grid of them fits a repository.
//!
//! ```text
//! runs/arm-dora-4be1…/   answers.jsonl   an answer a line: seed, case, raw, log-probability
//!                        training.json   updates, tokens, seconds, memory, validation loss of every seed
//! runs/train-dora-s7-…   the seeds' own runs, opened if they are there; not committed
//! ```
use super::config::{PredictConfig, TrainConfig};
use super::experiment::told;
use crate::adapter::Adapter;
use crate::baseline::{Baseline, BaselineSettings};
use crate::corpus::{Example, Finding};
use crate::error::{Error, Result};
use crate::generate::base_id;
use crate::io;
use crate::model::{Checkpoint, resolve};
use crate::prompt::Constrain;
use crate::prompt::Prompt;
use crate::run::{ArmSpec, Environment, NUMERICS_VERSION, Prediction, Run, RunSpec, Store};
use crate::task::{AnyPrediction, AnyTask, Task};
use crate::train::Progress;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

/// One setting and its seeds.
#[derive(Clone, Debug, PartialEq)]
pub struct Arm {
    pub name: String,
    /// Its `name` and `training.seed` are those of the arm and of each seed in turn.
    pub config: TrainConfig,
    pub seeds: Vec<u64>,
    /// What answers are held to.
    pub constrain: Option<Constrain>,
    /// Fitted on the same training cases in place of a model.
    pub baseline: Option<Baseline>,
    /// The baseline is fitted on the cases as a model is shown them, all epochs of the config, and not as they are written.
    pub shown: bool,
    /// The name under which its seeds are trained: that of an earlier arm, or of the grid's base, with the same config, else its own.
    pub trained_as: String,
}

/// What the training of one seed took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrainingCost {
    pub seed: u64,
    /// Training cases, without those kept for validation.
    pub cases: usize,
    /// Numbers that learnt; of a baseline 0.
    pub parameters: usize,
    pub updates: usize,
    pub best_update: usize,
    pub tokens: usize,
    /// Nats a supervised token on the validation part of this seed.
    pub validation_loss: Option<f64>,
    /// Of all legs, where its training was stopped and resumed.
    pub seconds: f64,
    pub peak_bytes: Option<u64>,
}

/// A line of `answers.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeedAnswer {
    pub seed: u64,
    pub case_id: String,
    pub raw: String,
    #[serde(default)]
    pub logprob: Option<f64>,
    pub new_tokens: usize,
    /// Of a baseline, whose labels are not read from an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<String>>,
}

/// An arm that was run, read back.
#[derive(Clone, Debug)]
pub struct ArmResult {
    pub run: Run,
    pub took: Vec<TrainingCost>,
    pub answers: Vec<SeedAnswer>,
}

impl Arm {
    /// Everything that determines the arm.
    fn spec(&self, task: &dyn AnyTask, prompt: &Prompt) -> Result<RunSpec> {
        let mut config = self.config.clone();
        config.name.clone_from(&self.name);
        config.training.seed = 0;
        // absent from the digest of models
        let baseline =
            self.baseline.map(|baseline| io::to_value(&(baseline, BaselineSettings::default()))).transpose()?;
        Ok(RunSpec::Arm(ArmSpec {
            config: io::to_value(&config)?,
            seeds: self.seeds.clone(),
            constrain: self.constrain,
            corpus: task.corpus_digest(),
            base: base_id(&self.config.model)?,
            prompt: prompt.id(),
            synthetic: task.synthetic(),
            baseline,
            shown: self.shown,
            task: told(task),
        }))
    }

    /// The arm's run with all its seeds if it is in the store.
    pub fn find(&self, store: &Store, task: &dyn AnyTask) -> Result<Option<ArmResult>> {
        let prompt = Prompt::named(&self.config.prompt, task.context())?;
        store.find("arm", &self.name, &self.spec(task, &prompt)?)?.map(ArmResult::read).transpose()
    }

    /// The arm's run, or the one that has most of its seeds, with these seeds only; none where no seed was run.
    pub fn find_seeds(&self, store: &Store, task: &dyn AnyTask) -> Result<Option<ArmResult>> {
        if let Some(whole) = self.find(store, task)? {
            return Ok(Some(whole));
        }
        let like = |spec: &Value| {
            let mut spec = spec.clone();
            let seeds = spec.as_object_mut().and_then(|keys| keys.remove("seeds"));
            (spec, seeds.and_then(|seeds| serde_json::from_value::<Vec<u64>>(seeds).ok()).unwrap_or_default())
        };
        let prompt = Prompt::named(&self.config.prompt, task.context())?;
        let (wanted, _) = like(&io::to_value(&self.spec(task, &prompt)?)?);
        let mut best: Option<(usize, Run)> = None;
        let ours =
            |run: &Run| run.spec.kind == "arm" && run.spec.name == self.name && run.spec.numerics == NUMERICS_VERSION;
        for run in store.list()?.into_iter().filter(ours) {
            let (known, seeds) = like(&run.spec.spec);
            let shared = seeds.iter().filter(|seed| self.seeds.contains(seed)).count();
            if known == wanted && shared > best.as_ref().map_or(0, |(most, _)| *most) {
                best = Some((shared, run));
            }
        }
        let Some((_, run)) = best else { return Ok(None) };
        let mut found = ArmResult::read(run)?;
        found.took.retain(|took| self.seeds.contains(&took.seed));
        found.answers.retain(|answer| self.seeds.contains(&answer.seed));
        Ok(Some(found))
    }

    /// Opened, or trained and asked seed by seed; a stopped one goes on with the seed and update where it stopped, and seeds that a run
    /// with fewer of them has are taken from it.
    pub fn open_or_run(&self, store: &Store, task: &dyn AnyTask) -> Result<ArmResult> {
        let prompt = Prompt::named(&self.config.prompt, task.context())?;
        let spec = self.spec(task, &prompt)?;
        // its seeds are runs of their own; what is resumed here is the count of what the arm took
        let run = store.open_or_resume("arm", &self.name, &spec, |dir| self.run_seeds(store, task, dir))?;
        ArmResult::read(run)
    }

    fn run_seeds(&self, store: &Store, task: &dyn AnyTask, dir: &Path) -> Result<()> {
        let (mut took, mut lines) = (Vec::new(), String::new());
        let before = self.find_seeds(store, task)?;
        for &seed in &self.seeds {
            let (one, answers) = match (before.as_ref().and_then(|found| found.of_seed(seed)), self.baseline) {
                (Some(known), _) => known,
                (None, Some(baseline)) => self.fit_seed(task, baseline, seed)?,
                (None, None) => self.run_seed(store, task, seed)?,
            };
            took.push(one);
            for answer in answers {
                lines += &(io::to_value(&answer)?.to_string() + "\n");
            }
        }
        io::write_json(&dir.join("training.json"), &took)?;
        io::write(&dir.join("answers.jsonl"), lines.as_bytes())
    }

    /// A baseline on the training cases that a model of this arm and seed would see, without those kept for its validation.
    fn fit_seed(&self, task: &dyn AnyTask, baseline: Baseline, seed: u64) -> Result<(TrainingCost, Vec<SeedAnswer>)> {
        let started = Instant::now();
        let labels = task.as_labels().ok_or_else(|| {
            let (arm, task) = (&self.name, task.name());
            Error::input(format!(
                "arm `{arm}`: baseline `{}` is for label sets, task `{task}` has none",
                baseline.name()
            ))
        })?;
        let mut corpus = labels.corpus.clone();
        let config = self.seeded(seed);
        corpus.train = Task::split(labels, &config.split())?.0;
        let cases = corpus.train.len();
        if self.shown {
            let shown = config.augmentation.apply(corpus.train, config.training.epochs, seed)?;
            let often = |(at, case): (usize, &Finding)| {
                let times = shown.times.iter().map(|epoch| epoch[at] as usize).sum();
                std::iter::repeat_n(case.clone(), times)
            };
            corpus.train = shown.cases.iter().enumerate().flat_map(often).collect();
        }
        let (predictions, _) = baseline.answers(&corpus, &BaselineSettings::default())?;
        let seconds = started.elapsed().as_secs_f64();
        let took = TrainingCost { seed, cases, seconds, ..TrainingCost::default() };
        let answer = |p: Prediction| {
            let Prediction { case_id, raw, logprob, new_tokens, answer, .. } = p;
            SeedAnswer { seed, case_id, raw, logprob, new_tokens, labels: Some(answer) }
        };
        Ok((took, predictions.into_iter().map(answer).collect()))
    }

    /// The config of one seed; that of the base itself, which may have been trained before, keeps its name.
    fn seeded(&self, seed: u64) -> TrainConfig {
        let mut config = self.config.clone();
        if self.trained_as != config.name || seed != config.training.seed {
            config.name = format!("{}-s{seed}", self.trained_as);
        }
        config.training.seed = seed;
        config
    }

    fn run_seed(&self, store: &Store, task: &dyn AnyTask, seed: u64) -> Result<(TrainingCost, Vec<SeedAnswer>)> {
        let config = self.seeded(seed);
        let trained = Run::train_on(store, &config, task, true)?;
        let mut question = PredictConfig::tuned(&trained, &config);
        question.constrain = self.constrain;
        let asked = Run::predict_on(store, &question, task)?;
        let progress: Progress = io::read_json(&trained.path("progress.json"))?;
        let environment: Environment = io::read_json(&trained.path("environment.json"))?;
        let took = TrainingCost {
            seed,
            cases: task.split(&config.split())?.0.len(),
            parameters: learning(&config)?,
            updates: progress.step,
            best_update: progress.best_step,
            tokens: progress.tokens,
            validation_loss: progress.best_loss,
            seconds: environment.wall_seconds,
            peak_bytes: environment.peak_bytes,
        };
        let answer = |p: AnyPrediction| {
            let Prediction { case_id, raw, logprob, new_tokens, .. } = p;
            SeedAnswer { seed, case_id, raw, logprob, new_tokens, labels: None }
        };
        Ok((took, asked.answers(task)?.into_iter().map(answer).collect()))
    }
}

/// Numbers that a config trains.
fn learning(config: &TrainConfig) -> Result<usize> {
    let base = Checkpoint::open(&resolve(&config.model)?)?;
    match config.adapter.adapter(&config.model)? {
        Some(adapter) => Adapter::numbers(&adapter, base.config()),
        None => Ok(base.config().parameters()),
    }
}

impl ArmResult {
    fn read(run: Run) -> Result<Self> {
        let path = run.path("answers.jsonl");
        let text = io::read_text(&path)?;
        let line = |(i, line): (usize, &str)| {
            serde_json::from_str(line).map_err(|e| Error::input(format!("{} row {}: {e}", path.display(), i + 1)))
        };
        let answers = text.lines().enumerate().map(line).collect::<Result<_>>()?;
        Ok(Self { took: io::read_json(&run.path("training.json"))?, answers, run })
    }

    /// What a seed took, and its answers; none where the run lacks the seed.
    fn of_seed(&self, seed: u64) -> Option<(TrainingCost, Vec<SeedAnswer>)> {
        let took = self.took.iter().find(|took| took.seed == seed)?;
        Some((took.clone(), self.answers.iter().filter(|answer| answer.seed == seed).cloned().collect()))
    }

    /// The answers of an arm's first seed: what stands for it where only one run can be shown.
    pub(super) fn first_seed(run: &Run, task: &dyn AnyTask) -> Result<Vec<AnyPrediction>> {
        let tried = Self::read(run.clone())?;
        let first = tried.took.first().ok_or_else(|| Error::input(format!("{}: no seed", run.folder())))?.seed;
        tried.predictions(task, first)
    }

    /// The answers of one seed as predictions, read anew from the raw text; gold answers are the task's.
    pub fn predictions(&self, task: &dyn AnyTask, seed: u64) -> Result<Vec<AnyPrediction>> {
        let answers: BTreeMap<&str, &SeedAnswer> =
            self.answers.iter().filter(|a| a.seed == seed).map(|a| (a.case_id.as_str(), a)).collect();
        let known = self.run.known();
        let reader = task;
        let (id, corpus, folder) = (task.id(), task.corpus_digest()[..12].to_string(), self.run.folder());
        let read = |example: &Example<Value>| {
            let answer = answers.get(example.case_id.as_str()).ok_or_else(|| {
                Error::input(format!("{folder}: seed {seed} did not answer case {}", example.case_id))
            })?;
            let (task, corpus, run) = (id.clone(), corpus.clone(), folder.clone());
            let of_all = |read: AnyPrediction| Prediction {
                task,
                corpus,
                run,
                logprob: answer.logprob,
                new_tokens: answer.new_tokens,
                ..read
            };
            Ok(of_all(match &answer.labels {
                Some(labels) => Prediction {
                    model: self.run.spec.name.clone(),
                    ..Prediction::of(example, io::to_value(labels)?, &answer.raw)
                },
                None => {
                    let parsed = reader.parse(&answer.raw, &example.case);
                    Prediction {
                        model: known.base.clone().unwrap_or_default(),
                        prompt: known.prompt.clone().unwrap_or_default(),
                        adapter: Some(format!("{} (seed {seed})", self.run.spec.name)),
                        constrain: known.constrain,
                        parsed: parsed.parsed,
                        ..Prediction::of(example, parsed.answer, &answer.raw)
                    }
                }
            }))
        };
        task.test().iter().map(read).collect()
    }
}

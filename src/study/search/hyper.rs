//! Hyper-parameter search over the run store: TPE proposes, every trial is a training run, and poor trials stop early.
//!
//! ```text
//! training cases ─┬─ inner ─┬─ trained on
//!                 │         └─ validation: stops trials, chooses one       the score that chooses
//!                 └─ outer, by group: seen by no trial                     the score that is reported
//! test cases: never looked at
//! ```
//!
//! A trial is determined by its config: what it is stopped above is written there, the medians of the trials before it. So the
//! same search proposes the same trials, opens those that are there, and goes on where it was killed.
use super::space;
use super::space::{Point, Space};
use super::tpe::Tpe;
use crate::corpus::Example;
use crate::error::{Error, Result};
use crate::generate::base_id;
use crate::io;
use crate::metric::{Bootstrap, Estimate, Reading, quantile};
use crate::prompt::Prompt;
use crate::run::{Run, RunSpec, SearchSpec, Store, write_predictions};
use crate::study::asking::ask;
use crate::study::config::{PredictConfig, TrainConfig};
use crate::study::experiment::told;
use crate::task::{self, AnyTask};
use crate::train::{LogLine, Progress, Sequence, mean_loss, read_log};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// A search, as in its TOML file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchConfig {
    pub name: String,
    /// Training config that the trials vary: a name in `configs/`, or a .toml file.
    pub base: String,
    pub trials: usize,
    pub seed: u64,
    /// Share of the training cases (by group) that no trial sees.
    #[serde(default = "fifth")]
    pub outer: f64,
    /// Trials drawn at random before TPE proposes any, and that a median is taken over before any is stopped.
    #[serde(default = "five")]
    pub startup: usize,
    /// Stop a trial whose best validation loss is above the median of the earlier ones at the same update.
    #[serde(default = "yes")]
    pub early_stopping: bool,
    /// Keys that every trial has otherwise than the base, to be quick; not in the config that is recommended.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, Value>,
    pub space: Space,
}

fn fifth() -> f64 {
    0.2
}
fn five() -> usize {
    5
}
fn yes() -> bool {
    true
}

/// One trial as it went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    pub number: usize,
    /// Folder of its training run.
    pub run: String,
    pub values: BTreeMap<String, Value>,
    /// Coordinates of the values, as TPE counts.
    pub point: Point,
    pub updates: usize,
    /// The median that it was stopped above, if it was.
    pub stopped_above: Option<f64>,
    /// Best validation loss, nats a supervised token: what chooses.
    pub inner_loss: f64,
    /// The same of the outer part; none for a stopped trial.
    pub outer_loss: Option<f64>,
    /// Best validation loss so far by update.
    path: Vec<(usize, f64)>,
}

/// What came of a search: `search.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Search {
    pub trials: Vec<Trial>,
    /// Number of the trial with the lowest inner loss.
    pub chosen: usize,
    pub inner_cases: usize,
    pub outer_cases: usize,
    /// Key of the task's main metric, read as the task reads first (labels normalised).
    #[serde(default = "micro_f1")]
    pub metric: String,
    /// The metric of the chosen trial: of the validation cases that chose it, and of the outer ones.
    #[serde(alias = "inner_f1")]
    pub inner_score: Option<Estimate>,
    #[serde(alias = "outer_f1")]
    pub outer_score: Option<Estimate>,
}

/// The metric of searches that do not name it.
fn micro_f1() -> String {
    "micro_f1".into()
}

impl SearchConfig {
    pub fn read(path: &Path) -> Result<Self> {
        let text = io::read_text(path)?;
        toml::from_str(&text).map_err(|e| Error::input(format!("{}: {e}", path.display())))
    }

    fn check(&self) -> Result<()> {
        space::check(&self.space)?;
        match self {
            s if s.trials == 0 => Err(Error::input("trials is 0, expected at least 1")),
            s if !(s.outer > 0.0 && s.outer < 1.0) => {
                Err(Error::input(format!("outer is {}, expected a share between 0 and 1", s.outer)))
            }
            _ => Ok(()),
        }
    }
}

/// What all trials share.
struct SearchContext<'a> {
    store: &'a Store,
    resume: bool,
    config: &'a SearchConfig,
    base: &'a TrainConfig,
    /// Its training cases are the inner ones, its test cases the outer ones. The outer ones are drawn by the seed's complement: drawn by a seed
    /// that also draws the inner validation cases they would be those cases, and none would be left to choose by.
    task: Arc<dyn AnyTask>,
}

impl Run {
    /// The search of this config: opened, or made. With `resume` a trial that was cut short goes on where it last saved;
    /// finished trials are opened either way.
    pub fn search_in(store: &Store, config: &SearchConfig, resume: bool) -> Result<Run> {
        config.check()?;
        let base = TrainConfig::named(&config.base)?;
        let task = task::open(&base.corpus)?;
        let spec = RunSpec::Search(SearchSpec {
            search: io::to_value(config)?,
            base_config: io::to_value(&base)?,
            corpus: task.corpus_digest(),
            synthetic: task.synthetic(),
            base: base_id(&base.model)?,
            prompt: Prompt::named(&base.prompt, task.context())?.id(),
            task: told(&*task),
        });
        let make = |dir: &Path| {
            let task = task.nested(config.outer, !config.seed)?;
            SearchContext { store, resume, config, base: &base, task }.search(dir)
        };
        match resume {
            true => store.open_or_resume("search", &config.name, &spec, make),
            false => store.open_or_restart("search", &config.name, &spec, make),
        }
    }

    /// What a search run found.
    pub fn search(&self) -> Result<Search> {
        io::read_json(&self.path("search.json"))
    }
}

impl SearchContext<'_> {
    fn search(&self, dir: &Path) -> Result<()> {
        let (inner_cases, outer_cases) = (self.task.train().len(), self.task.test().len());
        if inner_cases == 0 || outer_cases == 0 {
            let said = format!("{inner_cases} inner and {outer_cases} outer cases: choose another share as outer");
            return Err(Error::input(said));
        }
        let tpe = Tpe::new(self.config.seed, self.config.startup);
        let mut trials: Vec<Trial> = Vec::new();
        for number in 1..=self.config.trials {
            let point = tpe.suggest(&self.config.space, &ranked(&trials))?;
            println!("… trial {number} of {}", self.config.trials);
            trials.push(self.trial(number, point, &trials)?);
            io::write_json(&dir.join("trials.json"), &trials)?;
        }
        let finished = trials.iter().filter(|trial| trial.stopped_above.is_none());
        let chosen = finished.min_by(|a, b| a.inner_loss.total_cmp(&b.inner_loss)).map(|trial| trial.number);
        let chosen = chosen.ok_or_else(|| Error::failed("every trial was stopped: raise startup"))?;
        let best = &trials[chosen - 1];
        let (metric, (inner_score, outer_score)) = (self.task.main_metric()?, self.scores(best, dir)?);
        let recommended =
            TrainConfig { name: format!("{}-best", self.config.name), ..space::apply(self.base, &best.values)? };
        let text = toml::to_string(&recommended).map_err(|e| Error::failed(e.to_string()))?;
        io::write(&dir.join("best.toml"), text.as_bytes())?;
        std::fs::remove_file(dir.join("trials.json")).map_err(Error::io(dir))?; // all in search.json
        let found = Search { trials, chosen, inner_cases, outer_cases, metric, inner_score, outer_score };
        io::write_json(&dir.join("search.json"), &found)
    }

    /// The config of a trial, with what it is stopped above.
    fn train_config(&self, values: &BTreeMap<String, Value>, earlier: &[Trial]) -> Result<TrainConfig> {
        let mut config = space::apply(&space::apply(self.base, &self.config.set)?, values)?;
        config.name = format!("{}-trial", self.config.name);
        if self.config.early_stopping {
            config.training.stop_above = medians(earlier, self.config.startup);
        }
        Ok(config)
    }

    fn trial(&self, number: usize, point: Point, earlier: &[Trial]) -> Result<Trial> {
        let values = space::values(&self.config.space, &point);
        let config = self.train_config(&values, earlier)?;
        let run = Run::train_on(self.store, &config, &*self.task, self.resume)?;
        let progress: Progress = io::read_json(&run.path("progress.json"))?;
        let Some(inner_loss) = progress.best_loss else {
            return Err(Error::input("no validation cases to choose by: raise validation in the base config"));
        };
        let bound = config.training.stop_above.iter().find(|(step, loss)| *step == progress.step && inner_loss > *loss);
        let stopped_above = bound.map(|(_, loss)| *loss);
        let outer_loss = if stopped_above.is_some() { None } else { self.outer_loss(&run, &config)? };
        let path = running(&read_log(&run.path("log.jsonl"))?);
        let (run, updates) = (run.folder(), progress.step);
        Ok(Trial { number, run, values, point, updates, stopped_above, inner_loss, outer_loss, path })
    }

    fn prompt(&self) -> Result<Prompt> {
        Prompt::named(&self.base.prompt, self.task.context())
    }

    /// Mean loss of the outer cases, nats a supervised token.
    fn outer_loss(&self, run: &Run, config: &TrainConfig) -> Result<Option<f64>> {
        let (local, prompt) = (PredictConfig::tuned(run, config).open(&*self.task)?, self.prompt()?);
        let encoder = local.encoder();
        let one = |case: &Example<Value>| {
            let example = encoder.train_case(&prompt, case, &self.task.taught(case)?)?;
            Ok(Sequence::completion(example.ids, example.prompt_len))
        };
        let outer = self.task.test().iter().map(one).collect::<Result<Vec<_>>>()?;
        mean_loss(&local.model, &outer, config.training.batch_tokens)
    }

    /// The main metric of the chosen trial's greedy answers to the validation and the outer cases, which are kept beside.
    fn scores(&self, best: &Trial, dir: &Path) -> Result<(Option<Estimate>, Option<Estimate>)> {
        let run = Run::load(&self.store.root().join(&best.run))?;
        let config: TrainConfig = serde_json::from_value(run.known().config.unwrap_or_default())
            .map_err(|e| Error::failed(format!("{}: {e}", best.run)))?;
        let (local, prompt) = (PredictConfig::tuned(&run, &config).open(&*self.task)?, self.prompt()?);
        let (_, validation) = self.task.split(&config.split())?;
        let reading = self.task.readings().first().copied().unwrap_or(Reading::Raw);
        let score = |cases: &[Example<Value>], file: &str| -> Result<Option<Estimate>> {
            let answers = ask(&local, &prompt, &*self.task, cases)?;
            write_predictions(&dir.join(file), &answers)?;
            let table = self.task.score(&[&answers], reading)?.pop().unwrap_or_default();
            Ok(Bootstrap::default().estimates(&table).into_iter().next().flatten())
        };
        Ok((score(&validation, "inner.jsonl")?, score(&self.task.test(), "outer.jsonl")?))
    }
}

/// The points seen, the best first: finished trials by their loss, then stopped ones by how far they came.
fn ranked(trials: &[Trial]) -> Vec<&Point> {
    let mut order: Vec<&Trial> = trials.iter().collect();
    let reached = |trial: &Trial| if trial.stopped_above.is_some() { trial.updates } else { usize::MAX };
    order.sort_by(|a, b| {
        reached(b).cmp(&reached(a)).then(a.inner_loss.total_cmp(&b.inner_loss)).then(a.number.cmp(&b.number))
    });
    order.into_iter().map(|trial| &trial.point).collect()
}

/// Lowest validation loss so far at every evaluation, without the last: there is nothing left to save by stopping.
fn running(log: &[LogLine]) -> Vec<(usize, f64)> {
    let mut best = f64::INFINITY;
    let evaluated = log.iter().filter_map(|line| Some((line.step, line.eval_loss?)));
    let path = evaluated.map(|(step, loss)| {
        best = best.min(loss);
        (step, best)
    });
    let mut path: Vec<_> = path.collect();
    path.pop();
    path
}

/// Median of the earlier trials' best losses so far, at every update that at least `fewest` of them evaluated at.
fn medians(earlier: &[Trial], fewest: usize) -> Vec<(usize, f64)> {
    let mut at = BTreeMap::<usize, Vec<f64>>::new();
    earlier.iter().flat_map(|trial| &trial.path).for_each(|&(step, loss)| at.entry(step).or_default().push(loss));
    let median = |(step, mut losses): (usize, Vec<f64>)| {
        losses.sort_by(f64::total_cmp);
        let enough = losses.len() >= fewest.max(1);
        Some((step, quantile(&losses, 0.5).filter(|_| enough)?))
    };
    at.into_iter().filter_map(median).collect()
}

impl Search {
    pub fn best(&self) -> &Trial {
        &self.trials[self.chosen - 1]
    }

    /// How much lower the chosen trial's inner loss is than its outer one, and the mean of that over all finished trials: the
    /// mean is what the cases differ in, the rest is the optimism of choosing. None without outer losses.
    pub fn optimism(&self) -> Option<(f64, f64)> {
        let gap = |trial: &Trial| Some(trial.outer_loss? - trial.inner_loss);
        let gaps: Vec<f64> = self.trials.iter().filter_map(gap).collect();
        Some((gap(self.best())?, gaps.iter().sum::<f64>() / gaps.len() as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(number: usize, inner_loss: f64, updates: usize, stopped_above: Option<f64>) -> Trial {
        let path = (1..updates).map(|step| (step, inner_loss + 1.0 / step as f64)).collect();
        Trial {
            number,
            run: String::new(),
            values: BTreeMap::new(),
            point: [("x".to_string(), number as f64)].into(),
            updates,
            stopped_above,
            inner_loss,
            outer_loss: stopped_above.is_none().then_some(inner_loss + 0.1 * number as f64),
            path,
        }
    }

    #[test]
    fn stopped_trials_rank_below_finished_ones_and_among_themselves_by_how_far_they_came() {
        let trials =
            [trial(1, 2.0, 9, None), trial(2, 0.5, 3, Some(0.4)), trial(3, 1.0, 9, None), trial(4, 0.9, 6, Some(0.8))];
        let order: Vec<f64> = ranked(&trials).into_iter().map(|point| point["x"]).collect();
        assert_eq!(order, [3.0, 1.0, 4.0, 2.0]);
    }

    #[test]
    fn a_median_needs_enough_trials_that_came_so_far() {
        let trials = [trial(1, 1.0, 4, None), trial(2, 3.0, 4, None), trial(3, 2.0, 3, Some(0.0))];
        assert_eq!(medians(&trials, 3), [(1, 3.0), (2, 2.5)]);
        assert_eq!(medians(&trials, 2).len(), 3);
        assert!(medians(&[], 1).is_empty() && medians(&trials, 4).is_empty());
    }

    #[test]
    fn the_running_best_leaves_the_last_evaluation_out() {
        let line = |step: usize, eval_loss: Option<f64>| -> LogLine {
            let loss = serde_json::json!({"step": step, "loss": 1.0, "lr": 1.0, "grad_norm": 1.0, "tokens": 1,
                "targets": 1, "tokens_per_sec": 1.0, "eval_loss": eval_loss});
            serde_json::from_value(loss).unwrap()
        };
        let log = [line(1, None), line(2, Some(3.0)), line(4, Some(3.5)), line(6, Some(2.0)), line(7, Some(1.0))];
        assert_eq!(running(&log), [(2, 3.0), (4, 3.0), (6, 2.0)]);
    }

    #[test]
    fn optimism_is_what_the_chosen_trial_has_more_than_the_others() {
        let trials = vec![trial(1, 1.0, 4, None), trial(2, 2.0, 4, None), trial(3, 0.5, 2, Some(0.1))];
        let search = Search {
            trials,
            chosen: 1,
            inner_cases: 8,
            outer_cases: 2,
            metric: micro_f1(),
            inner_score: None,
            outer_score: None,
        };
        let (chosen, mean) = search.optimism().unwrap();
        assert!((chosen - 0.1).abs() < 1e-12 && (mean - 0.15).abs() < 1e-12);
    }
}

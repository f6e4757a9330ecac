//! A task with its types taken out: gold and answers are JSON. All that works on files (runs, grids, the workbook, the command line) takes
//! this; it is implemented for every [`Task`].
use super::{Cell, Column, Combined, LabelTask, Parsed, Task, TrainingTexts};
use crate::augment::Augmentation;
use crate::corpus::split::Split;
use crate::corpus::{Case, Example};
use crate::error::{Error, Result};
use crate::metric::{Reading, ScoreTable};
use crate::prompt::{Overlong, PromptContext};
use crate::run::Prediction;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A prediction of any task, as in its file.
pub type AnyPrediction = Prediction<Value, Value>;

/// See the file's header, and [`Task`] for what each method means.
pub trait AnyTask: Send + Sync {
    fn name(&self) -> &str;
    fn version(&self) -> u32;
    /// Name of the corpus in words.
    fn corpus_name(&self) -> &str;
    /// [`crate::corpus::Corpus::digest`].
    fn corpus_digest(&self) -> String;
    fn synthetic(&self) -> bool;
    fn train(&self) -> Vec<Example<Value>>;
    fn test(&self) -> Vec<Example<Value>>;
    fn context(&self) -> &PromptContext;
    fn parse(&self, raw: &str, case: &Case) -> Parsed<Value>;
    fn combine(&self, raw: &[&str], case: &Case, threshold: f64) -> Combined<Value>;
    fn closed_list(&self) -> Vec<String>;
    fn readings(&self) -> &'static [Reading];
    fn score(&self, sets: &[&[AnyPrediction]], reading: Reading) -> Result<Vec<ScoreTable>>;
    fn counts(&self, predictions: &[AnyPrediction], reading: Reading) -> Result<BTreeMap<String, Option<usize>>>;
    fn reward(&self, example: &Example<Value>, raw: &str) -> Result<f64>;
    fn split(&self, split: &Split) -> Result<(Vec<Example<Value>>, Vec<Example<Value>>)>;
    fn training(&self, split: &Split, augmentation: &Augmentation, epochs: usize) -> Result<TrainingTexts>;
    fn taught(&self, example: &Example<Value>) -> Result<String>;
    fn nested(&self, outer: f64, seed: u64) -> Result<Arc<dyn AnyTask>>;
    fn reads_windows(&self) -> bool;
    fn overlong(&self) -> Overlong;
    fn input_title(&self) -> &'static str;
    fn columns(&self) -> Vec<Column>;
    fn cells(&self, prediction: &AnyPrediction) -> Result<Vec<Cell>>;
    fn gold_text(&self, gold: &Value) -> Result<String>;
    fn as_labels(&self) -> Option<&LabelTask>;
}

impl dyn AnyTask + '_ {
    /// Name and version, `findings@1`: what reads and scores an answer.
    pub fn id(&self) -> String {
        format!("{}@{}", self.name(), self.version())
    }

    /// The answers read again from their raw texts, so that a better parser moves every score alike; texts that a run in the store does not
    /// keep are those of the corpus. What was not read from a model's text (a baseline's labels, the winner of a vote) stays.
    pub fn reread(&self, predictions: Vec<AnyPrediction>) -> Vec<AnyPrediction> {
        let examples = if predictions.iter().any(|one| one.input.is_empty()) {
            [self.train(), self.test()].concat()
        } else {
            vec![]
        };
        let texts: BTreeMap<&str, &str> =
            examples.iter().map(|one| (one.case_id.as_str(), one.input.as_str())).collect();
        let filled = |one: AnyPrediction| match texts.get(one.case_id.as_str()) {
            Some(text) if one.input.is_empty() => Prediction { input: text.to_string(), ..one },
            _ => one,
        };
        predictions.into_iter().map(|one| self.reread_one(filled(one))).collect()
    }

    fn reread_one(&self, prediction: AnyPrediction) -> AnyPrediction {
        if prediction.prompt.is_empty() || prediction.voted.is_some() {
            return prediction;
        }
        let Parsed { answer, parsed } = self.parse(&prediction.raw, &prediction.case());
        Prediction { answer, parsed, ..prediction }
    }

    /// The key of the metric that the task is first of all judged by.
    pub fn main_metric(&self) -> Result<String> {
        let reading = self.readings().first().copied().unwrap_or(Reading::Raw);
        let table = self.score(&[&[]], reading)?.pop().unwrap_or_default();
        let first = table.columns.first().map(|(info, _)| info.key.clone());
        first.ok_or_else(|| Error::failed(format!("task `{}` has no metric", self.name())))
    }
}

fn json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default() // gold and answers are written to files by the same types
}

fn typed<T: DeserializeOwned>(task: &str, what: &str, case_id: &str, value: &Value) -> Result<T> {
    T::deserialize(value).map_err(|e| Error::input(format!("case `{case_id}`: not {what} of task `{task}`: {e}")))
}

fn prediction<T: Task>(task: &T, p: &AnyPrediction) -> Result<Prediction<T::Answer, T::Gold>> {
    let answer = typed(task.name(), "an answer", &p.case_id, &p.answer)?;
    let gold = typed(task.name(), "a gold answer", &p.case_id, &p.gold)?;
    Ok(p.clone().with(answer, gold))
}

fn typed_example<T: Task>(task: &T, example: &Example<Value>) -> Result<Example<T::Gold>> {
    let gold = typed(task.name(), "a gold answer", &example.case_id, &example.gold)?;
    Ok(Example { case: example.case.clone(), gold })
}

/// Predictions of JSON in the task's own types.
pub fn typed_predictions<T: Task>(task: &T, all: &[AnyPrediction]) -> Result<Vec<Prediction<T::Answer, T::Gold>>> {
    all.iter().map(|one| prediction(task, one)).collect()
}

fn examples<G: Serialize>(all: &[Example<G>]) -> Vec<Example<Value>> {
    all.iter().map(|one| Example { case: one.case.clone(), gold: json(&one.gold) }).collect()
}

impl<T: Task> AnyTask for T {
    fn name(&self) -> &str {
        Task::name(self)
    }
    fn version(&self) -> u32 {
        Task::version(self)
    }
    fn corpus_name(&self) -> &str {
        &self.corpus().name
    }
    fn corpus_digest(&self) -> String {
        self.corpus().digest()
    }
    fn synthetic(&self) -> bool {
        self.corpus().synthetic
    }
    fn train(&self) -> Vec<Example<Value>> {
        examples(&self.corpus().train)
    }
    fn test(&self) -> Vec<Example<Value>> {
        examples(&self.corpus().test)
    }
    fn context(&self) -> &PromptContext {
        Task::context(self)
    }
    fn parse(&self, raw: &str, case: &Case) -> Parsed<Value> {
        let Parsed { answer, parsed } = Task::parse(self, raw, case);
        Parsed { answer: json(&answer), parsed }
    }
    fn combine(&self, raw: &[&str], case: &Case, threshold: f64) -> Combined<Value> {
        let read: Vec<_> = raw.iter().map(|raw| Task::parse(self, raw, case)).collect();
        let Combined { answer, raw, parsed, shares } = Task::combine(self, &read, threshold);
        Combined { answer: json(&answer), raw, parsed, shares }
    }
    fn closed_list(&self) -> Vec<String> {
        Task::closed_list(self)
    }
    fn readings(&self) -> &'static [Reading] {
        Task::readings(self)
    }
    fn score(&self, sets: &[&[AnyPrediction]], reading: Reading) -> Result<Vec<ScoreTable>> {
        let sets = sets.iter().map(|set| typed_predictions(self, set)).collect::<Result<Vec<_>>>()?;
        Ok(Task::score(self, &sets.iter().map(Vec::as_slice).collect::<Vec<_>>(), reading))
    }
    fn counts(&self, all: &[AnyPrediction], reading: Reading) -> Result<BTreeMap<String, Option<usize>>> {
        Ok(Task::counts(self, &typed_predictions(self, all)?, reading))
    }
    fn reward(&self, example: &Example<Value>, raw: &str) -> Result<f64> {
        Ok(Task::reward(self, &typed_example(self, example)?, raw))
    }
    fn split(&self, split: &Split) -> Result<(Vec<Example<Value>>, Vec<Example<Value>>)> {
        Task::split(self, split).map(|(train, valid)| (examples(&train), examples(&valid)))
    }
    fn training(&self, split: &Split, augmentation: &Augmentation, epochs: usize) -> Result<TrainingTexts> {
        Task::training(self, split, augmentation, epochs)
    }
    fn taught(&self, example: &Example<Value>) -> Result<String> {
        Ok(Task::taught(self, &typed_example(self, example)?))
    }
    fn nested(&self, outer: f64, seed: u64) -> Result<Arc<dyn AnyTask>> {
        Ok(Arc::new(Task::nested(self, outer, seed)?))
    }
    fn overlong(&self) -> Overlong {
        Task::overlong(self)
    }

    fn reads_windows(&self) -> bool {
        Task::reads_windows(self)
    }
    fn input_title(&self) -> &'static str {
        Task::input_title(self)
    }
    fn columns(&self) -> Vec<Column> {
        Task::columns(self)
    }
    fn cells(&self, one: &AnyPrediction) -> Result<Vec<Cell>> {
        Ok(Task::cells(self, &prediction(self, one)?))
    }
    fn gold_text(&self, gold: &Value) -> Result<String> {
        Ok(Task::gold_text(self, &typed(Task::name(self), "a gold answer", "", gold)?))
    }
    fn as_labels(&self) -> Option<&LabelTask> {
        Task::as_labels(self)
    }
}

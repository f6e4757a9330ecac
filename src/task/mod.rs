//! A task is the only place that knows what an answer is: what it is as text, how it is read from a model's raw answer, how it is scored,
//! voted on, rewarded and written into a workbook. Store, training, statistics, grids, workbook and figures see text, JSON and a
//! [`ScoreTable`].
//!
//! A new task implements [`Task`] in a file of its own and, to be opened by name, gets a line in [`open`]. [`AnyTask`] is the same with the
//! types taken out (answers as JSON), for all that works on files.
mod any;
mod check;
pub mod decisions;
mod labels;
pub mod rare_disease;
mod separated;

pub use crate::corpus::findings::cell::read as labels_of_cell;
pub use any::{AnyPrediction, AnyTask, typed_predictions};
pub use check::check;
pub use decisions::DecisionTask;
pub use labels::{LABEL_METRICS, LabelTask, context_of};
pub use rare_disease::RareDisease;

use crate::augment::Augmentation;
use crate::corpus::split::Split;
use crate::corpus::{Case, Corpus, Example};
use crate::error::{Error, Result};
use crate::metric::{Reading, ScoreTable};
use crate::prompt::{Overlong, PromptContext};
use crate::run::Prediction;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What was read from one raw answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed<A> {
    pub answer: A,
    /// False when nothing could be read; such a case still counts, with an empty answer.
    pub parsed: bool,
}

/// One answer out of several samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Combined<A> {
    pub answer: A,
    /// The answer as text, as [`Task::target`] would write it.
    pub raw: String,
    pub parsed: bool,
    /// Share of the samples that support each part of an answer (a label, a span), also of those that lost.
    pub shares: BTreeMap<String, f64>,
}

/// A case and the text that a model is to learn to answer.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingText {
    pub case: Case,
    pub answer: String,
}

/// What a run trains and validates on, as text.
#[derive(Clone, Debug, Default)]
pub struct TrainingTexts {
    pub train: Vec<TrainingText>,
    /// How often each training text comes in each epoch: `times[epoch][text]`.
    pub times: Vec<Vec<u32>>,
    pub valid: Vec<TrainingText>,
}

/// A column of a task's sheet in the workbook, with its width in characters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Column {
    pub title: &'static str,
    pub width: f64,
}

/// A cell of such a column.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    Text(String),
    Number(Option<f64>),
}

/// See the module's header. Gold and answer are `labels`, a ranked list, spans, codes or text; as JSON they stand in `preds.jsonl`.
pub trait Task: Send + Sync + 'static {
    type Gold: Clone + PartialEq + Serialize + DeserializeOwned + Send + Sync;
    type Answer: Clone + PartialEq + Serialize + DeserializeOwned + Send + Sync;

    /// As in `--task` and in every prediction line: `findings`.
    fn name(&self) -> &str;

    /// Raised whenever the parser or a score changes what comes out. It stands in predictions, `metrics.json` and the workbook. A run keeps raw
    /// answers, which do not depend on it, so it is no part of a run's digest.
    fn version(&self) -> u32 {
        1
    }

    fn corpus(&self) -> &Corpus<Self::Gold>;

    /// Words, vocabulary and examples for prompts.
    fn context(&self) -> &PromptContext;

    /// The text that training teaches for this answer. [`Task::parse`] reads the same answer from it.
    fn target(&self, gold: &Self::Gold) -> String;

    fn parse(&self, raw: &str, case: &Case) -> Parsed<Self::Answer>;

    /// One answer from several samples of a case; a part counts where at least `threshold` of the samples support it.
    fn combine(&self, samples: &[Parsed<Self::Answer>], threshold: f64) -> Combined<Self::Answer>;

    /// Answers that constrained decoding may choose from, where there is such a list.
    fn closed_list(&self) -> Vec<String> {
        Vec::new()
    }

    /// How answers are compared, the main way first.
    fn readings(&self) -> &'static [Reading] {
        &[Reading::Raw]
    }

    /// What each case adds to each metric, for several sets of answers at once, so that they can be compared; the main metric first.
    fn score(&self, sets: &[&[Prediction<Self::Answer, Self::Gold>]], reading: Reading) -> Vec<ScoreTable>;

    /// Counts to print beside scores (labels in gold, …).
    fn counts(
        &self,
        _predictions: &[Prediction<Self::Answer, Self::Gold>],
        _reading: Reading,
    ) -> BTreeMap<String, Option<usize>> {
        BTreeMap::new()
    }

    /// Reward of a raw answer for policy optimisation: the main metric of this case alone, 0 where it is undefined.
    fn reward(&self, example: &Example<Self::Gold>, raw: &str) -> f64 {
        let Parsed { answer, parsed } = self.parse(raw, &example.case);
        let prediction = Prediction { parsed, ..Prediction::of(example, answer, raw) };
        let reading = self.readings().first().copied().unwrap_or(Reading::Raw);
        let table = self.score(&[&[prediction]], reading).into_iter().next().unwrap_or_default();
        table.columns.first().and_then(|(_, statistic)| statistic.plain()).unwrap_or_default()
    }

    /// (training, validation) cases of a run. All that asks which cases these are asks here.
    fn split(&self, split: &Split) -> Result<(Vec<Example<Self::Gold>>, Vec<Example<Self::Gold>>)> {
        split.of(&self.corpus().train)
    }

    /// What a run trains and validates on. A task without augmentation of its own refuses one that is asked for.
    fn training(&self, split: &Split, augmentation: &Augmentation, epochs: usize) -> Result<TrainingTexts> {
        if !augmentation.is_plain() {
            return Err(Error::input(format!("task `{}` has no augmentation: remove [augmentation]", self.name())));
        }
        let (train, valid) = self.split(split)?;
        let text = |one: &Example<Self::Gold>| TrainingText { case: one.case.clone(), answer: self.taught(one) };
        let times = vec![vec![1; train.len()]; epochs];
        Ok(TrainingTexts { train: train.iter().map(text).collect(), times, valid: valid.iter().map(text).collect() })
    }

    /// The text that training teaches for a training case; for a test case of a task [`Task::nested`], what it would teach there.
    fn taught(&self, example: &Example<Self::Gold>) -> String {
        self.target(&example.gold)
    }

    /// The same task on its training cases alone, for choosing settings by cases that no training saw: of them the share `outer` of the groups,
    /// drawn by `seed`, stand in the place of the test cases, and all that prompts and answers draw on comes from the others.
    fn nested(&self, _outer: f64, _seed: u64) -> Result<Self>
    where
        Self: Sized,
    {
        Err(Error::input(format!("task `{}` has no nested validation, which a search needs", self.name())))
    }

    /// Whether [`Task::parse`] reads answers about the windows of a case's text ([`decisions::windows`]).
    fn reads_windows(&self) -> bool {
        false
    }

    /// What is done with a text that does not fit the model's positions beside its answer.
    fn overlong(&self) -> Overlong {
        Overlong::Shorten
    }

    /// What a sheet calls a case's text.
    fn input_title(&self) -> &'static str {
        "input"
    }

    /// Columns that stand after the raw answer.
    fn columns(&self) -> Vec<Column>;

    /// Their cells for one prediction.
    fn cells(&self, prediction: &Prediction<Self::Answer, Self::Gold>) -> Vec<Cell>;

    /// The gold answer as a cell's text.
    fn gold_text(&self, gold: &Self::Gold) -> String {
        self.target(gold)
    }

    /// Itself, where answers are sets of labels: the failure taxonomy, baselines and label chapters are for those.
    fn as_labels(&self) -> Option<&LabelTask> {
        None
    }
}

/// The task of a corpus by the name that configs and the command line use: `findings` (`DXLAB_FINDINGS`, else the embedded synthetic ones),
/// `bc5cdr` or `ncbi` (need `DXLAB_DATA`), `rare-disease`, `rare-disease-balanced` or `rare-disease-narrative` (need what `make tools` installs), `decisions` (synthetic
/// discharge summaries), `decisions-validation`, `decisions-long`, `decisions-bc5cdr`, `decisions-ncbi` or `decisions-aci` (spans of real text, need
/// `DXLAB_DATA`), a folder of notes with decisions, or a file or folder of findings.
pub fn open(corpus: &str) -> Result<Arc<dyn AnyTask>> {
    Ok(match corpus {
        _ if RareDisease::knows(corpus) => Arc::new(RareDisease::open(corpus)?),
        _ if DecisionTask::knows(corpus) => Arc::new(DecisionTask::open(corpus)?),
        _ => Arc::new(LabelTask::open(corpus)?),
    })
}

/// What the groups of a corpus, by the name that configs use, are ids of: corpora of one space name their groups alike.
pub fn group_space(corpus: &str) -> &str {
    match corpus {
        "bc5cdr" | "ncbi" | "decisions-bc5cdr" | "decisions-ncbi" => "PubMed",
        "rare-disease-balanced" | "rare-disease-narrative" => "rare-disease",
        _ => corpus,
    }
}

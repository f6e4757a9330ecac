//! `dxlab workbook preds….jsonl --out results.xlsx`: every answer of every model in one file.
use super::compare::read_named;
use super::evaluate::{How, reread};
use crate::error::{Error, Result};
use crate::failure::{CaseFailures, Taxonomy};
use crate::metric::Reading;
use crate::report::{Answers, Contents, write_workbook};
use crate::run::{Run, Store, read_predictions};
use crate::study::{Comparison, Evaluation, GridConfig, compare_with_first, evaluate};
use crate::task::{self, AnyPrediction, AnyTask, typed_predictions};
use clap::Args;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// All inference results as an Excel file: one sheet per model, a sheet of metrics, one of paired comparisons with the first file, a sheet
/// of settings
#[derive(Args, Debug)]
pub struct Workbook {
    /// preds.jsonl, one per model; settings are read from the run that each names. Those of the same cases as the first are compared
    /// with it
    #[arg(required = true)]
    predictions: Vec<PathBuf>,
    #[arg(long, default_value = "results.xlsx")]
    out: PathBuf,
    /// Leave out predictions of other corpora than this (`findings`, `bc5cdr`, `ncbi`, or a file or folder of findings)
    #[arg(long, value_name = "CORPUS")]
    of: Option<String>,
    /// The experiment grid whose arms, as far as they are in the run store, get two sheets
    #[arg(long, value_name = "CONFIG.toml")]
    grid: Option<PathBuf>,
    /// Say that the cases are synthetic, where the run's folder does not tell
    #[arg(long)]
    synthetic: bool,
    #[command(flatten)]
    how: How,
}

impl Workbook {
    pub fn run(mut self) -> Result<()> {
        self.keep_only_the_corpus()?;
        let mut named = read_named(&self.predictions)?;
        let (mut tasks, mut runs) = (Vec::new(), Vec::new());
        for (path, (_, predictions)) in self.predictions.iter().zip(&mut named) {
            let task = self.how.task(predictions)?;
            runs.push(run_of(path, predictions)?);
            *predictions = reread(&*task, std::mem::take(predictions));
            tasks.push(task);
        }
        let bootstrap = self.how.bootstrap();
        let evaluations = named.iter().zip(&tasks).map(|((_, p), task)| evaluate(&**task, p, &bootstrap));
        let evaluations = evaluations.collect::<Result<Vec<Evaluation>>>()?;
        let mut answers = Vec::new();
        for ((((name, predictions), task), evaluation), run) in named.iter().zip(&tasks).zip(&evaluations).zip(&runs) {
            answers.push(Answers {
                name: name.clone(),
                task: &**task,
                predictions,
                evaluation,
                run: run.as_ref().map(Run::folder).unwrap_or_default(),
                synthetic: self.is_synthetic(&**task, run.as_ref()),
                failures: failures(&**task, predictions, run.as_ref())?,
                settings: run.as_ref().map(Run::settings).transpose()?.unwrap_or_default().into_iter().collect(),
            });
        }
        let comparisons = self.compared(&named, &tasks)?;
        let grid = self.grid.as_deref().map(|path| GridConfig::read(path)?.found(&Store::open(None))).transpose()?;
        let contents = Contents { answers: &answers, comparisons: &comparisons, grid: grid.as_ref() };
        write_workbook(&self.out, &contents)?;
        let arms = grid.map_or(String::new(), |grid| format!(", {} arms", grid.tried.len()));
        println!("written: {} ({} sheets of answers{arms})", self.out.display(), answers.len());
        Ok(())
    }

    /// With `--of`, drops the files whose run or lines name another corpus; says how many.
    fn keep_only_the_corpus(&mut self) -> Result<()> {
        let Some(name) = &self.of else { return Ok(()) };
        let (digest, all) = (task::open(name)?.corpus_digest(), self.predictions.len());
        let mut kept = Vec::new();
        for path in std::mem::take(&mut self.predictions) {
            let lines = read_predictions::<Value, Value>(&path)?;
            let told = run_of(&path, &lines)?.and_then(|run| run.known().corpus);
            let told = told.or_else(|| lines.first().map(|line| line.corpus.clone())).unwrap_or_default();
            if !told.is_empty() && digest.starts_with(&told[..told.len().min(12)]) {
                kept.push(path);
            }
        }
        if kept.is_empty() {
            return Err(Error::input(format!("none of the {all} files is of `{name}` (digest {})", &digest[..12])));
        }
        if kept.len() < all {
            println!("{} of {all} files are of other corpora than `{name}` and left out", all - kept.len());
        }
        self.predictions = kept;
        Ok(())
    }

    /// Whether the cases are made up, where the command line, the run or the corpus tells.
    fn is_synthetic(&self, task: &dyn AnyTask, run: Option<&Run>) -> Option<bool> {
        let corpus = task.as_labels().is_none_or(|labels| labels.vocabulary().is_some());
        let told = run.and_then(Run::synthetic).or(corpus.then(|| task.synthetic()));
        if self.synthetic { Some(true) } else { told }
    }

    /// Every file of the first one's task with the first, p corrected over all files and both metrics.
    fn compared(&self, named: &[(String, Vec<AnyPrediction>)], tasks: &[Arc<dyn AnyTask>]) -> Result<Vec<Comparison>> {
        let task = &*tasks[0];
        let same = named.iter().zip(tasks).filter(|(_, other)| other.id() == task.id()).map(|(one, _)| one.clone());
        let same: Vec<_> = same.collect();
        let table = task.score(&[&[]], Reading::Raw)?.pop().unwrap_or_default();
        let exact = table.columns.iter().find(|(info, _)| info.counts_cases).map(|(info, _)| info.key.as_str());
        let metrics: Vec<&str> = table.keys().into_iter().take(1).chain(exact).collect();
        let bootstrap = self.how.bootstrap_for((same.len() - 1) * metrics.len());
        compare_with_first(task, &same, &metrics, Reading::Normalised, &bootstrap)
    }
}

/// Classes of every case's label errors; none for a task without labels.
fn failures(task: &dyn AnyTask, predictions: &[AnyPrediction], run: Option<&Run>) -> Result<Vec<String>> {
    let Some(labels) = task.as_labels() else { return Ok(Vec::new()) };
    let taxonomy = Taxonomy::new(&labels.corpus.train, labels.names.clone());
    let cases = taxonomy.cases(&typed_predictions(labels, predictions)?, run.and_then(|run| run.known().max_new));
    Ok(cases.iter().map(CaseFailures::summary).collect())
}

/// The run that made the predictions: the one whose folder the file lies in, else the one that they name, where it is in the store.
pub fn run_of(path: &Path, predictions: &[AnyPrediction]) -> Result<Option<Run>> {
    if let Some(folder) = path.parent().filter(|folder| folder.join("spec.json").is_file()) {
        return Run::load(folder).map(Some);
    }
    let named = predictions.first().map(|p| p.run.as_str()).filter(|run| !run.is_empty());
    let folder = named.map(|run| Store::open(None).root().join(run)).filter(|dir| dir.join("spec.json").is_file());
    folder.map(|dir| Run::load(&dir)).transpose()
}

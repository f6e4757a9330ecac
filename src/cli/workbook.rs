//! `dxlab workbook preds….jsonl --out results.xlsx`: every answer of every model in one file.
use super::compare::read_named;
use super::evaluate::{How, Labels};
use crate::error::Result;
use crate::failure::{CaseFailures, Taxonomy};
use crate::metric::Metric;
use crate::report::{Answers, Contents, write_workbook};
use crate::run::{Prediction, Run, Store};
use crate::study::{Comparison, Evaluation, GridConfig, Reading, Scoring, compare_with_first, evaluate};
use clap::Args;
use std::path::{Path, PathBuf};

/// All inference results as an Excel file: a sheet a model, a sheet of metrics, one of paired comparisons with the first file, a sheet
/// of settings
#[derive(Args, Debug)]
pub struct Workbook {
    /// preds.jsonl, one a model; settings are read from the run's folder around each. Those of the same cases as the first are compared
    /// with it
    #[arg(required = true)]
    predictions: Vec<PathBuf>,
    #[arg(long, default_value = "results.xlsx")]
    out: PathBuf,
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
    pub fn run(self) -> Result<()> {
        let named = read_named(&self.predictions)?;
        let runs = self.predictions.iter().map(|path| around(path)).collect::<Result<Vec<_>>>()?;
        let labels = self.how.labels(&named[0].1)?;
        let normalise = |label: &str| labels.normaliser.normalise(label);
        let scoring =
            Scoring { bootstrap: self.how.bootstrap(), normalise: &normalise, vocabulary: labels.known.as_deref() };
        let evaluations = named
            .iter()
            .map(|(_, predictions)| evaluate(predictions, &scoring))
            .collect::<Result<Vec<Evaluation>>>()?;
        let train = labels.corpus.as_ref().map_or(&[][..], |corpus| corpus.train.as_slice());
        let taxonomy = Taxonomy::new(train, labels.normaliser.clone());
        let mut answers = Vec::new();
        for (((name, predictions), evaluation), run) in named.iter().zip(&evaluations).zip(&runs) {
            let settings = run.as_ref().map(Run::settings).transpose()?.unwrap_or_default().into_iter().collect();
            let limit = run.as_ref().and_then(|run| run.spec.spec.get("max_new")?.as_u64()).map(|limit| limit as usize);
            let failures = taxonomy.cases(predictions, limit).iter().map(CaseFailures::summary).collect();
            let (name, run) = (name.clone(), run.as_ref().map(Run::folder).unwrap_or_default());
            answers.push(Answers { name, predictions, evaluation, run, failures, settings });
        }
        let comparisons = self.compared(&named, &labels)?;
        let said = runs.iter().flatten().filter_map(Run::synthetic).chain(labels.corpus.iter().map(|c| c.synthetic));
        let synthetic = if self.synthetic { Some(true) } else { said.reduce(|a, b| a || b) };
        let grid = self.grid.as_deref().map(|path| GridConfig::read(path)?.found(&Store::open(None))).transpose()?;
        let contents = Contents { answers: &answers, comparisons: &comparisons, grid: grid.as_ref(), synthetic };
        write_workbook(&self.out, &contents, &normalise)?;
        let arms = grid.map_or(String::new(), |grid| format!(", {} arms", grid.tried.len()));
        println!("written: {} ({} sheets of answers{arms})", self.out.display(), answers.len());
        Ok(())
    }
}

impl Workbook {
    /// Every file with the first, p corrected over all files and both metrics.
    fn compared(&self, named: &[(String, Vec<Prediction>)], labels: &Labels) -> Result<Vec<Comparison>> {
        let (metrics, others) = ([Metric::MicroF1, Metric::Exact], named.len().saturating_sub(1));
        let normalise = |label: &str| labels.normaliser.normalise(label);
        let bootstrap = self.how.bootstrap_for(others * metrics.len());
        let scoring = Scoring { bootstrap, normalise: &normalise, vocabulary: None };
        compare_with_first(named, &metrics, Reading::Normalised, &scoring)
    }
}

/// The run whose folder the file lies in, if it lies in one.
fn around(path: &Path) -> Result<Option<Run>> {
    let folder = path.parent().filter(|folder| folder.join("spec.json").is_file());
    folder.map(Run::load).transpose()
}

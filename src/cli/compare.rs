//! `dxlab compare a.jsonl b.jsonl …`: paired differences on the same cases, corrected for how many were made.
use super::evaluate::{How, describe, reread};
use crate::error::{Error, Result};
use crate::io;
use crate::metric::{ALPHA, POWER, Reading, Unit};
use crate::report::chapters::results;
use crate::report::kit::{Table, tables};
use crate::run::read_predictions;
use crate::study::{Comparison, compare, names};
use crate::task::{AnyPrediction, AnyTask};
use clap::Args;
use std::path::PathBuf;

/// Paired differences between files of predictions on the same cases: bootstrap intervals, permutation and McNemar's tests, p values after
/// Holm, and the smallest difference that so many cases can show
#[derive(Args, Debug)]
pub struct Compare {
    /// Two or more preds.jsonl; every pair is compared, in the order given
    #[arg(required = true, num_args = 2..)]
    predictions: Vec<PathBuf>,
    /// Metric to compare; repeat for more, each counts as a comparison [default: the task's first three; of label sets micro_f1, jaccard
    /// and exact_match]
    #[arg(long = "metric")]
    metrics: Vec<String>,
    /// Compare labels as written instead of normalised
    #[arg(long)]
    raw: bool,
    /// Where to write the comparisons as JSON
    #[arg(long)]
    out: Option<PathBuf>,
    /// Where to draw the differences with their intervals, as SVG
    #[arg(long)]
    figure: Option<PathBuf>,
    #[command(flatten)]
    how: How,
}

impl Compare {
    pub fn run(self) -> Result<()> {
        let reading = if self.raw { Reading::Raw } else { Reading::Normalised };
        let mut named = read_named(&self.predictions)?;
        let task = self.how.task(&named[0].1)?;
        one_corpus(&named)?;
        named.iter_mut().for_each(|(_, predictions)| *predictions = reread(&*task, std::mem::take(predictions)));
        let metrics = self.metrics(&*task)?;
        let metrics: Vec<&str> = metrics.iter().map(String::as_str).collect();
        let count = named.len() * (named.len() - 1) / 2 * metrics.len();
        let bootstrap = &self.how.bootstrap_for(count);
        let rows = compare(&*task, &named, &metrics, reading, bootstrap)?;
        let labels = if self.raw { "answers as written".into() } else { describe(&*task) };
        let caption = format!(
            "{labels}; paired bootstrap and permutation of {}, {} resamples, seed {}; p corrected over {} comparisons (Holm), the smallest \
             that so many resamples give {:.4}; intervals and detectable ({:.0} % power, {:.0} % two-sided) are of one comparison, not \
             corrected",
            if bootstrap.unit == Unit::Group { "groups" } else { "cases" },
            bootstrap.resamples,
            bootstrap.seed,
            rows.len(),
            (2.0 * rows.len() as f64 / (bootstrap.resamples + 1) as f64).min(1.0),
            100.0 * POWER,
            100.0 * ALPHA
        );
        print!("{}", Table::from(tables::comparisons(&rows)?).caption(caption));
        let tests = rows.iter().filter(|row| row.p_mcnemar_holm.is_some()).count();
        let more = Table::from(tables::more_tests(&rows)?).caption(format!(
            "the same comparisons: BCa intervals; p of the permutation test and of McNemar's exact test and its mid-p, not corrected; \
             McNemar's exact p after Holm over its {tests} tests"
        ));
        print!("\n{more}");
        if let Some(path) = &self.figure {
            let named = rows.iter().map(|row| Comparison { b: format!("{} ({})", row.b, row.metric), ..row.clone() });
            results::paired_forest(&named.collect::<Vec<_>>(), "each metric")?.save(path)?;
            println!("written: {}", path.display());
        }
        if let Some(out) = &self.out {
            io::write_json(out, &serde_json::json!({ "bootstrap": bootstrap, "comparisons": io::to_value(&rows)? }))?;
            println!("written: {}", out.display());
        }
        Ok(())
    }
}

impl Compare {
    /// Those that were asked for, which the task must have, else its first three.
    fn metrics(&self, task: &dyn AnyTask) -> Result<Vec<String>> {
        let table = task.score(&[&[]], Reading::Raw)?.pop().unwrap_or_default();
        for key in &self.metrics {
            table.column(key)?;
        }
        let first = || table.keys().into_iter().take(3).map(String::from).collect();
        Ok(if self.metrics.is_empty() { first() } else { self.metrics.clone() })
    }
}

/// Refuses files that name different tasks or corpora.
pub fn one_corpus(named: &[(String, Vec<AnyPrediction>)]) -> Result<()> {
    // whatever version of the task read them when they were written: all are read anew
    let name = |task: &str| task.split('@').next().unwrap_or_default().to_string();
    let of = |predictions: &[AnyPrediction]| predictions.first().map(|p| (name(&p.task), p.corpus.clone()));
    let known = named.iter().filter_map(|(name, all)| Some((name, of(all).filter(|(task, _)| !task.is_empty())?)));
    let known: Vec<_> = known.collect();
    if let Some((other, of)) = known.iter().find(|(_, of)| *of != known[0].1) {
        let ((first, a), (b_task, b_corpus)) = (&known[0], of);
        return Err(Error::input(format!(
            "`{first}` answers task {} on corpus {}, `{other}` task {b_task} on corpus {b_corpus}: compare answers to the same cases",
            a.0, a.1
        )));
    }
    Ok(())
}

/// Predictions of every file under a short name that no other has.
pub fn read_named(paths: &[PathBuf]) -> Result<Vec<(String, Vec<AnyPrediction>)>> {
    let sets: Vec<Vec<AnyPrediction>> = paths.iter().map(|path| read_predictions(path)).collect::<Result<_>>()?;
    let names = names(&sets.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
    for (i, name) in names.iter().enumerate() {
        if let Some(other) = names[..i].iter().position(|earlier| earlier == name) {
            let (a, b) = (paths[other].display(), paths[i].display());
            return Err(Error::input(format!("{a} and {b} hold the same predictions: give each once")));
        }
    }
    Ok(names.into_iter().zip(sets).collect())
}

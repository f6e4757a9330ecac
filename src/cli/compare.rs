//! `dxlab compare a.jsonl b.jsonl …`: paired differences on the same cases, corrected for how many were made.
use super::evaluate::How;
use crate::error::{Error, Result};
use crate::io;
use crate::metric::{ALPHA, Metric, POWER, Unit};
use crate::report::chapters::results;
use crate::report::kit::{Table, tables};
use crate::run::{Prediction, read_predictions};
use crate::study::{Comparison, Reading, Scoring, compare, names};
use clap::Args;
use std::path::PathBuf;

/// Paired differences between files of predictions on the same cases: bootstrap intervals, permutation and McNemar's tests, p values after
/// Holm, and the smallest difference that so many cases can show
#[derive(Args, Debug)]
pub struct Compare {
    /// Two or more preds.jsonl; every pair is compared, in the order given
    #[arg(required = true, num_args = 2..)]
    predictions: Vec<PathBuf>,
    /// Metric to compare; repeat for more, each counts as a comparison
    #[arg(long = "metric", default_values = ["micro_f1", "jaccard", "exact_match"])]
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
        let metrics = self.metrics.iter().map(|key| key.parse()).collect::<Result<Vec<Metric>>>()?;
        let reading = if self.raw { Reading::Raw } else { Reading::Normalised };
        let named = read_named(&self.predictions)?;
        let known = self.how.labels(&named[0].1)?;
        let normalise = |label: &str| known.normaliser.normalise(label);
        let count = named.len() * (named.len() - 1) / 2 * metrics.len();
        let scoring = Scoring { bootstrap: self.how.bootstrap_for(count), normalise: &normalise, vocabulary: None };
        let rows = compare(&named, &metrics, reading, &scoring)?;
        let labels = if self.raw { "labels as written".into() } else { known.describe() };
        let bootstrap = &scoring.bootstrap;
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

/// Predictions of every file under a short name that no other has.
pub fn read_named(paths: &[PathBuf]) -> Result<Vec<(String, Vec<Prediction>)>> {
    let sets = paths.iter().map(|path| read_predictions(path)).collect::<Result<Vec<_>>>()?;
    let names = names(&sets.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
    for (i, name) in names.iter().enumerate() {
        if let Some(other) = names[..i].iter().position(|earlier| earlier == name) {
            let (a, b) = (paths[other].display(), paths[i].display());
            return Err(Error::input(format!("{a} and {b} hold the same predictions: give each once")));
        }
    }
    Ok(names.into_iter().zip(sets).collect())
}

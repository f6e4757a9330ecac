//! `dxlab failures preds.jsonl`: the taxonomy of label errors as a table, and a record of every one as a file.
use super::evaluate::{How, describe, reread};
use super::workbook::run_of;
use crate::corpus::Corpus;
use crate::corpus::synthetic::{Truth, truth};
use crate::error::{Error, Result};
use crate::failure::{Taxonomy, agreement};
use crate::io;
use crate::report::chapters::failures;
use crate::report::kit::{Table, interval};
use crate::run::{Prediction, read_predictions};
use crate::study::digest;
use crate::task::typed_predictions;
use clap::Args;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What still goes wrong: every label error in one class, with its evidence sentence
#[derive(Args, Debug)]
pub struct Failures {
    /// preds.jsonl of one model, adapter and prompt
    predictions: PathBuf,
    /// Where to write every case with its label errors (class, label, sentence, code points) as JSON
    #[arg(long)]
    out: Option<PathBuf>,
    /// Maximum number of new tokens per answer; by default what the predictions' run says
    #[arg(long)]
    max_new: Option<usize>,
    #[command(flatten)]
    how: How,
}

/// The truth of the corpus that these cases are of: the findings or their sealed test split, whichever has them all; empty where none has.
fn truth_of(predictions: &[Prediction]) -> Result<BTreeMap<String, Truth>> {
    for folder in [Corpus::path_from_env(), crate::home().join("data/findings-sealed")] {
        let truths = truth::read(&folder)?;
        if predictions.iter().all(|one| truths.contains_key(&one.case_id)) {
            return Ok(truths);
        }
    }
    Ok(BTreeMap::new())
}

impl Failures {
    pub fn run(self) -> Result<()> {
        let predictions = read_predictions(&self.predictions)?;
        let task = self.how.task(&predictions)?;
        let labels = task.as_labels().ok_or_else(|| {
            Error::input(format!("task {}: the taxonomy of failures is for answers that are sets of labels", task.id()))
        })?;
        let run = run_of(&self.predictions, &predictions)?;
        let predictions = typed_predictions(labels, &reread(&*task, predictions))?;
        if let Some(other) = predictions.iter().find(|p| p.source() != predictions[0].source()) {
            let (a, b) = (predictions[0].source(), other.source());
            return Err(Error::input(format!(
                "answers of `{a}` and of `{b}`: give one model, adapter and prompt at a time"
            )));
        }
        if let Some(bare) = predictions.iter().find(|p| p.input.is_empty()) {
            let (path, id) = (self.predictions.display(), &bare.case_id);
            return Err(Error::input(format!(
                "{path}: case `{id}` has no `input`, and the corpus at hand does not have the case: give its corpus with --data"
            )));
        }
        let taxonomy = Taxonomy::new(&labels.corpus.train, labels.names.clone());
        let cases =
            taxonomy.cases(&predictions, self.max_new.or_else(|| run.as_ref().and_then(|run| run.known().max_new)));
        let bootstrap = self.how.bootstrap();
        let errors: usize = cases.iter().map(|case| case.errors.len()).sum();
        let caption = format!(
            "{}: {} cases, {errors} label errors as written; {} % bootstrap intervals, {} resamples, seed {}",
            predictions[0].source(),
            cases.len(),
            bootstrap.level * 100.0,
            bootstrap.resamples,
            bootstrap.seed
        );
        print!("{}", failures::taxonomy(&cases, &bootstrap).caption(caption));
        println!("{}", describe(&*task));
        let truths = if labels.corpus.synthetic { truth_of(&predictions)? } else { BTreeMap::new() };
        let name = |label: &str| labels.normalise(label);
        if !truths.is_empty() {
            let row = |found: &crate::failure::Agreement| {
                let counts = [found.attributed, found.right].map(|count| count.to_string());
                let measured = [interval(found.precision.as_ref()), interval(found.recall.as_ref())];
                [vec![found.what.to_string()], counts.to_vec(), measured.to_vec()].concat()
            };
            let rows: Vec<_> = agreement(&cases, &truths, &name, &bootstrap).iter().map(row).collect();
            let table = Table::from_rows(
                &["labels", "with an evidence sentence", "the right one", "precision", "recall"],
                &rows,
            );
            print!("\n{}", table.caption("evidence sentences of errors, against the synthetic corpus's truth"));
        }
        if let Some(out) = &self.out {
            let whole = serde_json::json!({
                "source": predictions[0].source(), "predictions": digest(&predictions)?,
                "synthetic": labels.vocabulary().map(|_| labels.corpus.synthetic), "cases": io::to_value(&cases)?,
            });
            io::write_json(out, &whole)?;
            println!("written: {}", out.display());
        }
        Ok(())
    }
}

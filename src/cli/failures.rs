//! `dxlab failures preds.jsonl`: the taxonomy of label errors as a table, and a record of every one as a file.
use super::evaluate::How;
use crate::corpus::Corpus;
use crate::corpus::synthetic::truth;
use crate::error::{Error, Result};
use crate::failure::{Taxonomy, agreement};
use crate::io;
use crate::report::chapters::failures;
use crate::report::kit::{Table, interval};
use crate::run::{Run, read_predictions};
use crate::study::digest;
use clap::Args;
use std::path::PathBuf;

/// What still goes wrong: every label error in one class, with the sentence that it hangs on
#[derive(Args, Debug)]
pub struct Failures {
    /// preds.jsonl of one model, adapter and prompt
    predictions: PathBuf,
    /// Where to write every case with its label errors (class, label, sentence, code points) as JSON
    #[arg(long)]
    out: Option<PathBuf>,
    /// New tokens that an answer could have; by default what the run around the file says
    #[arg(long)]
    max_new: Option<usize>,
    #[command(flatten)]
    how: How,
}

impl Failures {
    pub fn run(self) -> Result<()> {
        let predictions = read_predictions(&self.predictions)?;
        if let Some(other) = predictions.iter().find(|p| p.source() != predictions[0].source()) {
            let (a, b) = (predictions[0].source(), other.source());
            return Err(Error::input(format!(
                "answers of `{a}` and of `{b}`: give one model, adapter and prompt at a time"
            )));
        }
        let labels = self.how.labels(&predictions)?;
        let train = labels.corpus.as_ref().map_or(&[][..], |corpus| corpus.train.as_slice());
        let taxonomy = Taxonomy::new(train, labels.normaliser.clone());
        let cases = taxonomy.cases(&predictions, self.max_new.or_else(|| self.said()));
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
        println!("{}", labels.describe());
        let truths = match labels.corpus.as_ref().is_some_and(|corpus| corpus.synthetic) {
            true => truth::read(&Corpus::path_from_env())?,
            false => Default::default(),
        };
        let name = |label: &str| labels.normaliser.normalise(label);
        if !truths.is_empty() {
            let row = |found: &crate::failure::Agreement| {
                let counts = [found.attributed, found.right].map(|count| count.to_string());
                let measured = [interval(found.precision.as_ref()), interval(found.recall.as_ref())];
                [vec![found.what.to_string()], counts.to_vec(), measured.to_vec()].concat()
            };
            let rows: Vec<_> = agreement(&cases, &truths, &name, &bootstrap).iter().map(row).collect();
            let table =
                Table::from_rows(&["labels", "hung on a sentence", "the right one", "precision", "recall"], &rows);
            print!("\n{}", table.caption("sentences that errors hang on, against the synthetic corpus's truth"));
        }
        if let Some(out) = &self.out {
            let whole = serde_json::json!({
                "source": predictions[0].source(), "predictions": digest(&predictions)?,
                "synthetic": labels.corpus.as_ref().map(|corpus| corpus.synthetic), "cases": io::to_value(&cases)?,
            });
            io::write_json(out, &whole)?;
            println!("written: {}", out.display());
        }
        Ok(())
    }

    /// The limit in the run that the file lies in.
    fn said(&self) -> Option<usize> {
        let folder = self.predictions.parent().filter(|folder| folder.join("spec.json").is_file())?;
        let run = Run::load(folder).ok()?; // a broken spec.json says no limit; the predictions are all that is needed
        run.spec.spec.get("max_new")?.as_u64().map(|limit| limit as usize)
    }
}

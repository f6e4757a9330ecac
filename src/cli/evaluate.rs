//! `dxlab evaluate preds.jsonl --out metrics.json`: every metric with its interval.
use crate::corpus::Corpus;
use crate::error::Result;
use crate::metric::{Bootstrap, Metric, Unit};
use crate::report::{Table, interval};
use crate::study::{Evaluation, Reading, Scoring, evaluate, file, read_predictions};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// How intervals are made; shared by `evaluate`, `compare` and `workbook`.
#[derive(Args, Debug)]
pub struct Intervals {
    /// Seed of the bootstrap
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Resamples of the bootstrap
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(100..))]
    resamples: u32,
    /// What is drawn: groups (patients, publications; a case where nothing is known) or single cases
    #[arg(long, value_enum, default_value = "group")]
    by: By,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum By {
    Group,
    Case,
}

impl Intervals {
    pub fn bootstrap(&self) -> Bootstrap {
        let unit = match self.by {
            By::Group => Unit::Group,
            By::Case => Unit::Case,
        };
        Bootstrap { seed: self.seed, resamples: self.resamples as usize, unit, ..Bootstrap::default() }
    }

    /// Scoring with the crate's normaliser.
    pub fn scoring<'a>(&self, vocabulary: Option<&'a [String]>) -> Scoring<'a> {
        Scoring { bootstrap: self.bootstrap(), normalise: &normalise, vocabulary }
    }
}

/// How labels are made alike before they are compared: lower case, single spaces, no final full stop.
pub fn normalise(label: &str) -> String {
    label.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ").trim_end_matches('.').to_string()
}

/// Every metric of a file of predictions with its interval, on labels as written and normalised
#[derive(Args, Debug)]
pub struct Evaluate {
    /// preds.jsonl of one model, adapter and prompt
    predictions: PathBuf,
    /// Where to write metrics.json; without it only the table is printed
    #[arg(long)]
    out: Option<PathBuf>,
    /// Findings (file, folder or `embedded`) whose training labels are the known ones, for the rate of hallucinated labels
    #[arg(long)]
    findings: Option<PathBuf>,
    #[command(flatten)]
    intervals: Intervals,
}

impl Evaluate {
    pub fn run(self) -> Result<()> {
        let predictions = read_predictions(&self.predictions)?;
        let corpus = match self.findings.as_deref() {
            Some(path) if path.as_os_str() == "embedded" => Some(Corpus::embedded()?),
            path => path.map(Corpus::open).transpose()?,
        };
        let vocabulary: Option<Vec<String>> = corpus.map(|corpus| corpus.vocabulary().into_keys().collect());
        let evaluation = evaluate(&predictions, &self.intervals.scoring(vocabulary.as_deref()))?;
        print!("{}", table(&evaluation).caption(caption(&evaluation, &predictions[0].source())));
        if let Some(out) = &self.out {
            file::write_json(out, &evaluation)?;
            println!("written: {}", out.display());
        }
        Ok(())
    }
}

fn caption(evaluation: &Evaluation, source: &str) -> String {
    let Bootstrap { seed, resamples, level, unit } = &evaluation.bootstrap;
    let (units, percent) = (if *unit == Unit::Group { "groups" } else { "cases" }, level * 100.0);
    format!(
        "{source}: {} cases, {} groups, {} gold labels; {percent} % intervals, {resamples} resamples of {units}, seed {seed}",
        evaluation.cases, evaluation.groups, evaluation.normalised.gold_labels
    )
}

/// One row a metric, in reading order.
fn table(evaluation: &Evaluation) -> Table {
    let keys = Metric::PLAIN.iter().map(Metric::to_string).chain(["hallucinated_rate".to_string()]);
    let computed = keys.filter(|key| evaluation.raw.metrics.contains_key(key));
    let cell = |reading, key: &str| interval(evaluation.get(reading, key));
    let row = |key: String| vec![key.clone(), cell(Reading::Normalised, &key), cell(Reading::Raw, &key)];
    Table::from_rows(&["metric", "normalised", "as written"], &computed.map(row).collect::<Vec<_>>())
}

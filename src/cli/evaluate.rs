//! `dxlab evaluate preds.jsonl --out metrics.json`: every metric with its interval, and what the metrics do not say.
use crate::corpus::Corpus;
use crate::error::{Error, Result};
use crate::io;
use crate::label::{Normaliser, Ontology};
use crate::metric::{Bootstrap, Credit, Metric, Signal, Unit};
use crate::report::chapters::detail as tables;
use crate::report::kit::{Table, figures, interval};
use crate::run::{Prediction, read_predictions};
use crate::study::{Calibrated, Depth, Detail, Evaluation, Reading, Scoring, Target, detail, evaluate, open_corpus};
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};

/// How labels are named alike and how intervals are made; shared by `evaluate`, `compare` and `workbook`.
#[derive(Args, Debug)]
pub struct How {
    /// What the model was trained on (`findings`, `bc5cdr`, `ncbi`, a file or folder of findings, or `none`): aliases lead to its
    /// training labels, and other labels count as hallucinated. By default the findings, if the predictions are of them
    #[arg(long)]
    data: Option<String>,
    /// Seed of the bootstrap
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Resamples of the bootstrap; by default 2,000, and for p values that are corrected together 800 for each, so that the smallest
    /// can be far below 0.05
    #[arg(long, value_parser = clap::value_parser!(u32).range(100..))]
    resamples: Option<u32>,
    /// What is drawn: groups (patients, publications; a case where nothing is known) or single cases
    #[arg(long, value_enum, default_value = "group")]
    by: By,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum By {
    Group,
    Case,
}

impl How {
    pub fn bootstrap(&self) -> Bootstrap {
        let unit = match self.by {
            By::Group => Unit::Group,
            By::Case => Unit::Case,
        };
        let own = Bootstrap { seed: self.seed, unit, ..Bootstrap::default() };
        Bootstrap { resamples: self.resamples.map_or(own.resamples, |asked| asked as usize), ..own }
    }

    /// For so many comparisons corrected together; as many resamples as were asked for, if any were.
    pub fn bootstrap_for(&self, comparisons: usize) -> Bootstrap {
        match self.resamples {
            Some(_) => self.bootstrap(),
            None => self.bootstrap().for_comparisons(comparisons),
        }
    }

    /// The names and the known labels for these predictions.
    pub fn labels(&self, predictions: &[Prediction]) -> Result<Labels> {
        let corpus = match self.data.as_deref() {
            Some("none") => None,
            Some(name) => Some(open_corpus(name)?.0),
            // predictions of something else are scored without a corpus, and the output says so
            None => Corpus::from_env().ok().filter(|corpus| predictions.iter().all(|p| is_of(p, corpus))),
        };
        let known: Option<Vec<String>> = corpus.as_ref().map(|corpus| corpus.vocabulary().into_keys().collect());
        let normaliser = Normaliser::new(known.as_deref().unwrap_or_default())?;
        Ok(Labels { normaliser, known, corpus })
    }
}

fn is_of(prediction: &Prediction, corpus: &Corpus) -> bool {
    corpus.case(&prediction.case_id).is_ok_and(|case| case.labels == prediction.gold)
}

/// How labels are named alike, and which are known.
pub struct Labels {
    pub normaliser: Normaliser,
    /// Training labels as written; none without a corpus.
    pub known: Option<Vec<String>>,
    pub corpus: Option<Corpus>,
}

impl Labels {
    pub fn describe(&self) -> String {
        match &self.corpus {
            Some(corpus) => {
                format!("labels normalised by the {} of training ({})", self.normaliser.vocabulary().len(), corpus.name)
            }
            None => "labels normalised without those of training: give --data".into(),
        }
    }
}

/// Which concepts tell how near a wrong label is.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Concepts {
    /// The table of abdominal findings that is built in
    Own,
    /// The Disease Ontology under DXLAB_DATA
    DiseaseOntology,
    /// No tiered credit
    None,
}

/// Every metric of a file of predictions with its interval, on labels as written and normalised; where in the long tail it is right; how
/// near the wrong labels are; what the normaliser's own error does; and, where answers have a log-probability, calibration
#[derive(Args, Debug)]
pub struct Evaluate {
    /// preds.jsonl of one model, adapter and prompt
    predictions: PathBuf,
    /// Where to write metrics.json; without it only the table is printed
    #[arg(long)]
    out: Option<PathBuf>,
    /// Concepts for tiered credit: by default the Disease Ontology for abstracts (`--data bc5cdr` or `ncbi`) where DXLAB_DATA
    /// has it, else `own`
    #[arg(long, value_enum)]
    concepts: Option<Concepts>,
    /// TOML file with credits: exact, synonym, parent_or_child, same_organ, and the factors wrong_side, wrong_certainty
    #[arg(long)]
    credit: Option<PathBuf>,
    /// Folder to draw into: reliability and risk against coverage of the F1 of the case, as SVG; needs log-probabilities
    #[arg(long)]
    figures: Option<PathBuf>,
    #[command(flatten)]
    how: How,
}

impl Evaluate {
    pub fn run(self) -> Result<()> {
        let (ontology, credit) =
            (self.ontology()?, self.credit.as_deref().map(credit).transpose()?.unwrap_or_default());
        let predictions = read_predictions(&self.predictions)?;
        let labels = self.how.labels(&predictions)?;
        let normalise = |label: &str| labels.normaliser.normalise(label);
        let scoring =
            Scoring { bootstrap: self.how.bootstrap(), normalise: &normalise, vocabulary: labels.known.as_deref() };
        let training = labels.corpus.as_ref().map(Corpus::vocabulary);
        let depth =
            Depth { names: &labels.normaliser, training: training.as_ref(), ontology: ontology.as_ref(), credit };
        let mut evaluation = evaluate(&predictions, &scoring)?;
        let found = detail(&predictions, &depth, &scoring.bootstrap)?;
        print!("{}", table(&evaluation).caption(caption(&evaluation, &predictions[0].source())));
        println!("{}", labels.describe());
        for table in tables::tables(&evaluation, &found) {
            print!("\n{table}");
        }
        if let Some(folder) = &self.figures {
            draw(&found, &predictions[0].source(), folder)?;
        }
        evaluation.detail = Some(found);
        if let Some(out) = &self.out {
            io::write_json(out, &evaluation)?;
            println!("written: {}", out.display());
        }
        Ok(())
    }
}

impl Evaluate {
    fn ontology(&self) -> Result<Option<Ontology>> {
        let data = std::env::var_os("DXLAB_DATA").filter(|dir| !dir.is_empty()).map(PathBuf::from);
        let there = data.as_ref().filter(|dir| dir.join("disease-ontology").is_dir());
        let abstracts = matches!(self.how.data.as_deref(), Some("bc5cdr" | "ncbi"));
        match (self.concepts, there) {
            (Some(Concepts::None), _) => Ok(None),
            (Some(Concepts::DiseaseOntology), None) => Err(Error::input(
                "--concepts disease-ontology: set DXLAB_DATA to the folder of open data (`dxlab data fetch disease-ontology`)",
            )),
            (Some(Concepts::DiseaseOntology), Some(dir)) => Ontology::disease_ontology(dir).map(Some),
            (None, Some(dir)) if abstracts => Ontology::disease_ontology(dir).map(Some),
            _ => Ontology::own().map(Some),
        }
    }
}

/// `reliability.svg` and `risk-coverage.svg`.
fn draw(found: &Detail, source: &str, folder: &Path) -> Result<()> {
    let of = |signal: Signal| {
        let wanted = |c: &&Calibrated| c.target == Target::CaseF1 && c.calibration.signal == signal;
        found.calibration.iter().find(wanted).map(|c| c.calibration.clone()).ok_or_else(|| {
            Error::input("--figures: these answers have no log-probability, or are too few; leave it out")
        })
    };
    let (whole, token) = (of(Signal::Sequence)?, of(Signal::PerToken)?);
    std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let both = [(format!("{source}, whole answer"), whole), (format!("{source}, per token"), token.clone())];
    let drawn =
        [("reliability.svg", figures::reliability(&token)?), ("risk-coverage.svg", figures::risk_coverage(&both)?)];
    for (name, figure) in drawn {
        figure.save(&folder.join(name))?;
        println!("written: {}", folder.join(name).display());
    }
    Ok(())
}

fn credit(path: &Path) -> Result<Credit> {
    let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
    let credit: Credit = toml::from_str(&text).map_err(|e| Error::input(format!("{}: {e}", path.display())))?;
    let all = [
        credit.exact,
        credit.synonym,
        credit.parent_or_child,
        credit.same_organ,
        credit.wrong_side,
        credit.wrong_certainty,
    ];
    match all.iter().find(|value| !(0.0..=1.0).contains(*value)) {
        Some(value) => Err(Error::input(format!("{}: a credit of {value}: expected 0 to 1", path.display()))),
        None => Ok(credit),
    }
}

fn caption(evaluation: &Evaluation, source: &str) -> String {
    let Bootstrap { seed, resamples, level, unit } = &evaluation.bootstrap;
    let (units, percent) = (if *unit == Unit::Group { "groups" } else { "cases" }, level * 100.0);
    format!(
        "{source}: {} cases, {} groups, {} gold labels; {percent} % intervals, {resamples} resamples of {units}, seed {seed}; exact where a \
         share is 0 or 1 in all {units}",
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

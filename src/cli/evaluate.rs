//! `dxlab evaluate preds.jsonl --out metrics.json`: every metric with its interval, and what the metrics do not say.
use crate::corpus::findings::cell::is_nothing;
use crate::corpus::split::Part;
use crate::error::{Error, Result};
use crate::io;
use crate::label::Ontology;
use crate::metric::{Bootstrap, Credit, Reading, Signal, Unit};
use crate::report::chapters::detail as tables;
use crate::report::kit::{Table, figures, interval};
use crate::run::{Store, read_predictions};
use crate::study::{Calibrated, Depth, Detail, Evaluation, PART, Target, detail, evaluate};
use crate::task::{self, AnyPrediction, AnyTask, LabelTask, typed_predictions};
use clap::{Args, ValueEnum};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How labels are named alike and how intervals are made; shared by `evaluate`, `compare` and `workbook`.
#[derive(Args, Debug)]
pub struct How {
    /// What the model was trained on (`findings`, `bc5cdr`, `ncbi`, a file or folder of findings, or `none`): aliases lead to its
    /// training labels, and other labels count as hallucinated. By default what the predictions name
    #[arg(long, visible_alias = "task")]
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

    /// The task that reads and scores these predictions: of the corpus that `--data` names, else of the one that the predictions name, else
    /// label sets without a corpus, and the output says so.
    pub fn task(&self, predictions: &[AnyPrediction]) -> Result<Arc<dyn AnyTask>> {
        match self.data.as_deref() {
            Some("none") => Ok(Arc::new(LabelTask::without_corpus()?)),
            Some(name) => {
                let task = task::open(name)?;
                of_its_cases(predictions, &*task, name)?;
                Ok(task)
            }
            None => named_by(predictions),
        }
    }
}

/// The task and corpus that predictions name; of files of older versions the findings, if their gold answers are those of the predictions.
fn named_by(predictions: &[AnyPrediction]) -> Result<Arc<dyn AnyTask>> {
    let about = |p: &AnyPrediction| (p.task.split('@').next().unwrap_or("").to_string(), p.corpus.clone());
    let first = predictions.first().map(about);
    if let Some((row, other)) = predictions.iter().enumerate().find(|(_, p)| Some(about(p)) != first) {
        let (task, corpus) = first.unwrap_or_default();
        return Err(Error::input(format!(
            "row {} (case `{}`) is of task `{}` and corpus `{}`, the rows before it of `{task}` and `{corpus}`: keep one task and corpus \
             per file",
            row + 1,
            other.case_id,
            about(other).0,
            other.corpus
        )));
    }
    let (name, digest) = predictions.first().map_or(("", ""), |p| (p.task.split('@').next().unwrap_or(""), &p.corpus));
    let unknown = || -> Result<Arc<dyn AnyTask>> { Ok(Arc::new(LabelTask::without_corpus()?)) };
    let open = if name.is_empty() { "findings" } else { name };
    let Ok(task) = task::open(open) else { return unknown() };
    if digest.is_empty() {
        return if is_of(predictions, &*task) { Ok(task) } else { unknown() };
    }
    if task.corpus_digest().starts_with(digest) {
        return Ok(task);
    }
    let others = related(open, &*task, predictions.first().map_or("", |one| &one.run));
    others.into_iter().find(|other| other.corpus_digest().starts_with(digest)).map_or_else(unknown, Ok)
}

/// Other cases of a task that predictions may be of: the sealed test split, and the validation part that their run says, or the usual one
/// where it is of an older version. Whether it is that one, digests tell.
fn related(name: &str, task: &dyn AnyTask, run: &str) -> Vec<Arc<dyn AnyTask>> {
    let sealed = (name == "findings" && task.synthetic()).then(|| task::open("findings-sealed").ok()).flatten();
    let said = Store::open(None).root().join(run).join(PART);
    let part = io::read_json::<Part>(&said).unwrap_or(Part::USUAL);
    let validation = task.as_labels().and_then(|labels| labels.validation(part.validation, part.seed).ok());
    let validation = validation.map(|task| Arc::new(task) as Arc<dyn AnyTask>);
    let of_notes = |part: &str| (name == "decisions").then(|| task::open(part).ok()).flatten();
    let notes = of_notes("decisions-validation").into_iter().chain(of_notes("decisions-long"));
    let narrative = (name == "rare-disease").then(|| task::open("rare-disease-narrative").ok()).flatten();
    sealed.into_iter().chain(validation).chain(notes).chain(narrative).collect()
}

/// How many test cases have no prediction, where the others are test cases of the task.
fn not_asked(task: &dyn AnyTask, predictions: &[AnyPrediction]) -> Option<String> {
    let asked: std::collections::BTreeSet<&str> = predictions.iter().map(|one| one.case_id.as_str()).collect();
    let test = task.test();
    let found = test.iter().filter(|one| asked.contains(one.case_id.as_str())).count();
    let (missing, all) = (test.len() - found, test.len());
    (found > 0 && missing > 0).then(|| {
        format!("note: {missing} of the {all} test cases have no prediction in this file; scores are of the others")
    })
}

/// An error where the predictions are not of the cases of this corpus. One without test cases is a list of training labels, of whatever
/// cases.
fn of_its_cases(predictions: &[AnyPrediction], task: &dyn AnyTask, name: &str) -> Result<()> {
    let digest = task.corpus_digest();
    if task.test().is_empty() || predictions.iter().all(|p| !p.corpus.is_empty() && digest.starts_with(&p.corpus)) {
        return Ok(());
    }
    let gold: BTreeMap<String, Value> =
        task.train().into_iter().chain(task.test()).map(|one| (one.case.case_id, one.gold)).collect();
    let same = |p: &AnyPrediction| gold.get(&p.case_id).is_some_and(|gold| told(gold) == told(&p.gold));
    let other = predictions.iter().find(|p| !same(p));
    let Some(other) = other else { return Ok(()) };
    let what = if gold.contains_key(&other.case_id) { "has other gold labels there" } else { "is not among its cases" };
    Err(Error::input(format!(
        "--data {name}: the predictions are of other cases: case `{}` {what}; give the corpus that was predicted on, or `--data none`",
        other.case_id
    )))
}

/// A gold answer without words for no label, which older files hold among labels.
fn told(gold: &Value) -> Value {
    let word = |label: &&Value| !label.as_str().is_some_and(is_nothing);
    gold.as_array().map_or_else(|| gold.clone(), |labels| labels.iter().filter(word).cloned().collect())
}

fn is_of(predictions: &[AnyPrediction], task: &dyn AnyTask) -> bool {
    let gold: BTreeMap<String, Value> =
        task.train().into_iter().chain(task.test()).map(|one| (one.case.case_id, one.gold)).collect();
    predictions.iter().all(|p| gold.get(&p.case_id) == Some(&p.gold))
}

/// How answers were read, in words.
pub fn describe(task: &dyn AnyTask) -> String {
    match task.as_labels().map(|labels| (labels, labels.vocabulary())) {
        Some((labels, Some(_))) => {
            let known = labels.names.vocabulary().len();
            format!("labels normalised by the {known} of training ({})", task.corpus_name())
        }
        Some((_, None)) => "labels normalised without those of training: give --data".into(),
        None => format!("task {} on {}", task.id(), task.corpus_name()),
    }
}

/// Predictions of a file, read anew from the raw answers by their task.
pub fn reread(task: &dyn AnyTask, predictions: Vec<AnyPrediction>) -> Vec<AnyPrediction> {
    task.reread(predictions)
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
        let task = self.how.task(&predictions)?;
        let predictions = reread(&*task, predictions);
        let bootstrap = self.how.bootstrap();
        let mut evaluation = evaluate(&*task, &predictions, &bootstrap)?;
        let source = predictions[0].source();
        print!("{}", table(&evaluation, &*task).caption(caption(&evaluation, &source)));
        println!("{}", describe(&*task));
        if let Some(note) = not_asked(&*task, &predictions) {
            println!("{note}");
        }
        if let Some(labels) = task.as_labels() {
            let training = labels.vocabulary().map(|_| labels.corpus.vocabulary());
            let depth =
                Depth { names: &labels.names, training: training.as_ref(), ontology: ontology.as_ref(), credit };
            let found = detail(&typed_predictions(labels, &predictions)?, &depth, &bootstrap)?;
            for table in tables::tables(&evaluation, &found) {
                print!("\n{table}");
            }
            if let Some(folder) = &self.figures {
                draw(&found, &source, folder)?;
            }
            evaluation.detail = Some(found);
        }
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
    let text = io::read_text(path)?;
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
    let gold = evaluation.normalised.counts.get("gold_labels").copied().flatten();
    let counted = gold.map(|gold| format!(", {gold} gold labels")).unwrap_or_default();
    let (units, percent) = (if *unit == Unit::Group { "groups" } else { "cases" }, level * 100.0);
    format!(
        "{source}: {} cases, {} groups{counted}; {percent} % intervals, {resamples} resamples of {units}, seed {seed}; exact where a \
         share is 0 or 1 in all {units}",
        evaluation.cases, evaluation.groups
    )
}

/// One row per metric, in the task's order, with a column for each of its readings.
fn table(evaluation: &Evaluation, task: &dyn AnyTask) -> Table {
    let titles = task.readings().iter().map(|reading| match reading {
        Reading::Normalised => "normalised",
        Reading::Raw => "as written",
    });
    let heads: Vec<&str> = ["metric"].into_iter().chain(titles).collect();
    let table = task.score(&[&[]], Reading::Raw).ok().and_then(|mut tables| tables.pop()).unwrap_or_default();
    let row = |key: &str| -> Vec<String> {
        let cell = |reading: &Reading| interval(evaluation.get(*reading, key));
        [key.to_string()].into_iter().chain(task.readings().iter().map(cell)).collect()
    };
    Table::from_rows(&heads, &table.keys().into_iter().map(row).collect::<Vec<_>>())
}

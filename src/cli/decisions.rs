//! `dxlab decisions`: clinical decisions: predictions of an encoder, and MedDec's formats: tag, untag, score, consensus, tune, confidence,
//! pseudo. The formats are in docs/formats.md.
mod pseudo;
mod tune;

use crate::corpus::decisions::read::{self, Predicted, bare};
use crate::corpus::decisions::{Span, stats};
use crate::ensemble::{SpanConsensus, SpanRule, Vote};
use crate::error::{Error, Result};
use crate::io;
use crate::metric::{Bootstrap, Unit};
use crate::run::{Run, Store, write_predictions};
use crate::study::tagging::CEILING;
use crate::study::{Ceiling, MarkedNotes};
use crate::task::decisions::score::{Answered, notes, table};
use crate::task::decisions::{Match, Punkt, Reason, Untagged, official, tag, untag_by_search, untag_windows};
use clap::{Args, Subcommand, ValueEnum};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

#[derive(Subcommand)]
pub enum DecisionsCommand {
    Predict(Predict),
    Tag(Tag),
    Untag(Untag),
    Score(Score),
    Consensus(Consensus),
    Tune(tune::Tune),
    Confidence(pseudo::Confidence),
    Pseudo(pseudo::Pseudo),
}

/// Decisions that a trained encoder marks in the notes of its corpus, as preds.jsonl and as a run of the store
///
/// dxlab decisions predict train-decisions-encoder --split test --out encoder.jsonl
#[derive(Args)]
pub struct Predict {
    /// Training run of an encoder: its folder, name or digest, or as much of it as is unique
    run: String,
    /// Which notes are marked
    #[arg(long, value_enum, default_value = "test")]
    split: Notes,
    /// Where preds.jsonl goes, besides the run store
    #[arg(long)]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Notes {
    Test,
    /// The validation notes of the corpus, by which the best epoch was chosen
    Validation,
}

/// Gold files and notes as tagged text, what a model is to learn: {"file_name", "text", "tagged"} a line
///
/// dxlab decisions tag --gold gold/train --text text --out tagged.jsonl
#[derive(Args)]
pub struct Tag {
    /// Folder of gold files NAME.json
    #[arg(long)]
    gold: PathBuf,
    /// Folder of notes NAME.txt
    #[arg(long)]
    text: PathBuf,
    /// Where the lines go; without it they are printed
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Tagged text back to offsets, code points in the note: predictions as MedDec's scorer reads them
///
/// A line has file_name and tagged; predictions of `dxlab predict` (case_id and raw) are read too. What was lost is told by reason.
///
/// dxlab decisions untag tagged.jsonl --text text --out predictions.json
#[derive(Args)]
pub struct Untag {
    tagged: PathBuf,
    /// Folder of notes NAME.txt; not needed where each line has its `text`
    #[arg(long)]
    text: Option<PathBuf>,
    /// Where the predictions go; without it they are printed
    #[arg(long)]
    out: Option<PathBuf>,
    /// Where lost spans go, one JSON object a line
    #[arg(long)]
    dropped: Option<PathBuf>,
    /// Look for the text of each span, as the published system does, in the place of an alignment of the whole answer
    #[arg(long)]
    search: bool,
}

/// The official scores and ours, with intervals, as JSON
///
/// Official: span F1 by words, token F1, base, worst group, final. Ours: the same places, an overlap of at least half, each category.
///
/// dxlab decisions score --gold gold/test --text text --stats stats.csv --predictions predictions.json
#[derive(Args)]
pub struct Score {
    /// Folder of gold files NAME.json
    #[arg(long)]
    gold: PathBuf,
    /// Folder of notes NAME.txt
    #[arg(long)]
    text: PathBuf,
    /// CSV with SUBJECT_ID, HADM_ID, ROW_ID, GENDER, ETHNICITY, LANGUAGE: needed for worst and final
    #[arg(long)]
    stats: Option<PathBuf>,
    #[arg(long)]
    predictions: PathBuf,
    /// NLTK's folder punkt_tab/english, to split sentences as the official scorer does; default DXLAB_PUNKT (`dxlab models fetch punkt` installs it); without either by the
    /// same rules with a short list of abbreviations
    #[arg(long)]
    punkt: Option<PathBuf>,
    /// Seed of the bootstrap
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Resamples of the bootstrap
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(100..))]
    resamples: u32,
    /// What is drawn: all notes of a patient together, or single notes
    #[arg(long, value_enum, default_value = "patient")]
    by: By,
    /// Where the JSON goes; without it it is printed
    #[arg(long)]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum By {
    Patient,
    Note,
}

/// One file of predictions out of those of several models
///
/// dxlab decisions consensus a.json b.json c.json --support 0.34 --out consensus.json
#[derive(Args)]
pub struct Consensus {
    /// Prediction files; a note that a file lacks counts as one without decisions
    #[arg(required = true)]
    predictions: Vec<PathBuf>,
    /// Folder of notes NAME.txt: spans that do not lie in their note are left out
    #[arg(long)]
    text: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "cluster")]
    method: Method,
    /// How the bounds of a cluster are chosen: start and end together, or each on its own
    #[arg(long, value_enum, default_value = "joint")]
    vote: VoteBy,
    /// IoU from which on spans are of one cluster
    #[arg(long, default_value_t = SpanConsensus::default().cluster)]
    cluster: f64,
    /// IoU from which on spans of two models are paired to weigh the models
    #[arg(long, default_value_t = SpanConsensus::default().pair)]
    pair: f64,
    /// Share of the models' weight that a cluster needs
    #[arg(long, default_value_t = SpanConsensus::default().support)]
    support: f64,
    /// IoU from which on the shorter of two resulting spans is left out
    #[arg(long, default_value_t = SpanConsensus::default().double)]
    double: f64,
    /// Where the predictions go; without it they are printed
    #[arg(long)]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Method {
    /// Clusters of overlapping spans, models weighted by their agreement
    Cluster,
    /// The same span in more than half of the files
    Majority,
    /// Every span of any file
    Union,
    /// The one file's answer that is on average nearest to all (minimum Bayes risk), note by note
    Nearest,
    /// The set of spans with the highest mean F1 with all answers
    Expected,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum VoteBy {
    Joint,
    Independent,
}

impl DecisionsCommand {
    pub fn run(self) -> Result<()> {
        match self {
            Self::Predict(predict) => predict.run(),
            Self::Tag(tag) => tag.run(),
            Self::Untag(untag) => untag.run(),
            Self::Score(score) => score.run(),
            Self::Consensus(consensus) => consensus.run(),
            Self::Tune(tune) => tune.run(),
            Self::Confidence(confidence) => confidence.run(),
            Self::Pseudo(pseudo) => pseudo.run(),
        }
    }
}

/// To the file, or printed.
fn put(out: Option<&Path>, text: &str) -> Result<()> {
    match out {
        Some(path) => io::write(path, text.as_bytes()),
        None => {
            print!("{text}");
            Ok(())
        }
    }
}

/// Predictions, one note a line.
fn listed(all: &[Predicted]) -> Result<String> {
    let one = |one: &Predicted| Ok(io::to_value(one)?.to_string());
    let rows = all.iter().map(one).collect::<Result<Vec<String>>>()?;
    Ok(format!("[\n{}\n]\n", rows.join(",\n")))
}

fn tell(warnings: &[String]) {
    warnings.iter().for_each(|warning| eprintln!("… {warning}"));
}

impl Predict {
    fn run(self) -> Result<()> {
        let store = Store::open(None);
        let trained = store.of_kind("train", &self.run)?;
        let notes = match self.split {
            Notes::Test => MarkedNotes::Test,
            Notes::Validation => MarkedNotes::Validation,
        };
        let (run, task) = Run::open_or_mark(&store, &trained, notes)?;
        println!("{}", io::read_json::<Ceiling>(&run.path(CEILING))?);
        match &self.out {
            Some(out) => {
                write_predictions(out, &run.answers(&task)?)?;
                println!("{} (from {})", out.display(), run.dir.display());
            }
            None => println!("{}", run.dir.display()),
        }
        Ok(())
    }
}

impl Tag {
    fn run(self) -> Result<()> {
        let (texts, mut warnings) = (read::texts(&self.text)?, Vec::new());
        let gold = read::gold(&self.gold, &texts, &mut warnings)?;
        tell(&warnings);
        let line = |(name, spans): (&String, &Vec<Span>)| {
            let text = text_of(&texts, name, &self.text)?;
            Ok(json!({"file_name": name, "text": text, "tagged": tag(text, spans)}).to_string() + "\n")
        };
        let lines = gold.iter().map(line).collect::<Result<Vec<_>>>()?;
        put(self.out.as_deref(), &lines.concat())
    }
}

fn text_of<'a>(texts: &'a BTreeMap<String, String>, name: &str, folder: &Path) -> Result<&'a str> {
    let found = texts.get(name).map(String::as_str);
    found.ok_or_else(|| Error::input(format!("{}: no note {name}.txt", folder.display())))
}

/// A line of tagged text, or a prediction.
#[derive(Deserialize)]
struct Tagged {
    #[serde(alias = "case_id")]
    file_name: String,
    #[serde(alias = "raw")]
    tagged: String,
    #[serde(alias = "input")]
    text: Option<String>,
    /// Of a prediction by a vote: the spans that won, as `raw` is no tagged text then.
    answer: Option<Value>,
    voted: Option<Value>,
}

impl Tagged {
    /// The spans of a vote; none for a tagged text.
    fn voted(&self, place: &str) -> Result<Option<Vec<Span>>> {
        let answer = self.voted.as_ref().and(self.answer.as_ref());
        let spans = answer.map(Vec::<Span>::deserialize).transpose();
        spans.map_err(|e| Error::input(format!("{place}: expected the spans of a vote in `answer`: {e}")))
    }
}

impl Untag {
    fn run(self) -> Result<()> {
        let texts = self.text.as_deref().map(read::texts).transpose()?;
        let content = io::read_text(&self.tagged)?;
        let (mut all, mut seen, mut lost) = (Vec::new(), BTreeSet::new(), String::new());
        let (mut matched, mut reasons) = (BTreeMap::<Match, usize>::new(), BTreeMap::<Reason, usize>::new());
        let (mut copied, mut no_answer, mut unopened, mut unknown) = (0, 0, 0, BTreeMap::<String, usize>::new());
        for (i, line) in content.split('\n').enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let place = format!("{} row {}", self.tagged.display(), i + 1);
            let row: Tagged = serde_json::from_str(line).map_err(|e| no_tagged_text(&place, &content, &e))?;
            let name = bare(&row.file_name).to_string();
            if !seen.insert(name.clone()) {
                return Err(Error::input(format!("{place}: note `{name}` comes twice: keep one answer a note")));
            }
            let text = match (&texts, &self.text, &row.text) {
                (Some(texts), Some(folder), own) => {
                    let text = text_of(texts, &name, folder)?;
                    if own.as_deref().is_some_and(|own| own != text) {
                        let file = folder.join(format!("{name}.txt"));
                        return Err(Error::input(format!(
                            "{place}: its `text` is not that of {}, and offsets are places in one of them: leave out --text, or give the folder that was tagged",
                            file.display()
                        )));
                    }
                    text
                }
                (_, _, Some(text)) => text,
                _ => return Err(Error::input(format!("{place}: no `text` of note `{name}`: give --text DIR"))),
            };
            let read = match row.voted(&place)? {
                Some(spans) => Untagged { spans, ..Untagged::default() },
                None if self.search => untag_by_search(&row.tagged, text),
                None => untag_windows(&row.tagged, text),
            };
            read.matched.iter().for_each(|(how, n)| *matched.entry(*how).or_default() += n);
            copied += usize::from(read.copied);
            no_answer += usize::from(read.no_answer);
            unopened += read.unopened;
            read.unknown.iter().for_each(|(name, n)| *unknown.entry(name.clone()).or_default() += n);
            for one in read.dropped.iter().chain(&read.overruled) {
                *reasons.entry(one.reason).or_default() += 1;
                lost.push_str(&(json!({"file_name": name, "dropped": one}).to_string() + "\n"));
            }
            all.push(Predicted { file_name: name, predictions: read.spans });
        }
        if all.is_empty() {
            return Err(Error::input(format!("{}: no lines", self.tagged.display())));
        }
        if let Some(path) = &self.dropped {
            io::write(path, lost.as_bytes())?;
        }
        let summary = json!({
            "notes": all.len(), "copied": copied, "no_answer": no_answer, "matched": named(&matched)?, "dropped": named(&reasons)?,
            "unopened_tags": unopened, "unknown_tags": unknown,
        });
        eprintln!("{summary}");
        put(self.out.as_deref(), &listed(&all)?)
    }
}

/// Why a line is no tagged text; `content`: the file.
fn no_tagged_text(place: &str, content: &str, error: &serde_json::Error) -> Error {
    let offsets = ["\"predictions\"", "\"annotations\"", "\"start_offset\""].iter().any(|key| content.contains(key));
    let hint = match offsets {
        true => "; these look like offsets, which need no untagging: `dxlab decisions score --predictions` reads them",
        false => "",
    };
    Error::input(format!("{place}: expected {{\"file_name\", \"tagged\"}}, one object a line: {error}{hint}"))
}

/// A count by name.
fn named<K: serde::Serialize>(counts: &BTreeMap<K, usize>) -> Result<BTreeMap<String, usize>> {
    let name = |(key, n): (&K, &usize)| Ok((io::to_value(key)?.as_str().unwrap_or_default().to_string(), *n));
    counts.iter().map(name).collect()
}

impl Score {
    fn run(self) -> Result<()> {
        let found = self.scores()?;
        put(self.out.as_deref(), &format!("{found:#}\n"))
    }

    fn scores(&self) -> Result<Value> {
        let (texts, mut warnings) = (read::texts(&self.text)?, Vec::new());
        let gold = read::gold(&self.gold, &texts, &mut warnings)?;
        let predicted = read::predictions(&self.predictions, &mut warnings)?;
        let predicted: BTreeMap<String, Vec<Span>> =
            predicted.into_iter().map(|one| (one.file_name, one.predictions)).collect();
        tell(&warnings);
        let beyond = predicted.iter().filter_map(|(name, spans)| {
            let chars = texts.get(name)?.chars().count();
            let n = spans.iter().filter(|span| !span.fits(chars)).count();
            (n > 0).then(|| {
                format!(
                    "{}: note `{name}`: {n} spans do not lie in its {chars} characters: by place they count as wrong",
                    self.predictions.display()
                )
            })
        });
        tell(&beyond.collect::<Vec<_>>());
        let strata = self.stats.as_deref().map(stats).transpose()?;
        let sentences = self.punkt.as_deref().map_or_else(Punkt::from_env, Punkt::open)?;
        let names: BTreeSet<&String> = gold.keys().chain(predicted.keys()).collect();
        let (scored, without_text): (Vec<&String>, Vec<&String>) =
            names.into_iter().partition(|name| texts.contains_key(*name));
        if !scored.iter().any(|name| gold.contains_key(*name)) {
            return Err(Error::input(format!(
                "no note of {} has its text in {}",
                self.gold.display(),
                self.text.display()
            )));
        }
        let count = |what: &str, then: &str, names: &[&&String]| {
            names.first().map(|first| format!("{} notes {what} (first: {first}): {then}", names.len()))
        };
        let (gold_alone, others): (Vec<&&String>, Vec<&&String>) =
            without_text.iter().partition(|name| gold.contains_key(**name));
        let folder = self.text.display();
        let unanswered: Vec<&&String> = scored.iter().filter(|name| !predicted.contains_key(**name)).collect();
        let without_gold: Vec<&&String> = scored.iter().filter(|name| !gold.contains_key(**name)).collect();
        let unknown = |name: &&&String| strata.as_ref().is_some_and(|strata| !strata.contains_key(**name));
        let without_stats: Vec<&&String> = scored.iter().filter(unknown).collect();
        let predictions = self.predictions.display();
        let told = [
            count(&format!("with gold spans have no text in {folder}"), "not scored", &gold_alone),
            count(&format!("of {predictions} have neither text nor gold spans"), "not scored", &others),
            count(&format!("have no entry in {predictions}"), "scored as notes without decisions", &unanswered),
            count(&format!("of {predictions} have no gold file"), "their spans count as wrong", &without_gold),
            count("have no row in the file of --stats", "in no subgroup", &without_stats),
        ];
        tell(&told.into_iter().flatten().collect::<Vec<_>>());
        let answered = scored.iter().map(|&name| Answered {
            case_id: name.as_str(),
            group: name.split('_').next().unwrap_or(name),
            text: &texts[name],
            gold: gold.get(name).map_or(&[][..], Vec::as_slice),
            predicted: predicted.get(name).map_or(&[][..], Vec::as_slice),
            raw: None,
        });
        let answers: Vec<Answered> = answered.collect();
        let unit = if matches!(self.by, By::Patient) { Unit::Group } else { Unit::Case };
        let bootstrap = Bootstrap { seed: self.seed, resamples: self.resamples as usize, unit, ..Bootstrap::default() };
        let mut by_note = notes(&answers, &sentences);
        by_note.iter_mut().for_each(|note| {
            note.strata = strata.as_ref().and_then(|strata| strata.get(&note.file_name).cloned());
        });
        let table = table(&answers, &by_note);
        let keys = table.keys().into_iter().map(str::to_string);
        let ours: BTreeMap<String, _> = keys.zip(bootstrap.estimates(&table)).collect();
        let groups: Vec<&str> = answers.iter().map(|one| one.group).collect();
        let intervals = official::intervals(&by_note, &groups, &bootstrap);
        Ok(json!({
            "official": official::official(&by_note),
            "official_intervals": intervals,
            "ours": ours,
            "sentences": sentences.name(),
            "bootstrap": bootstrap,
            "notes": scored.len(),
            "gold_spans": answers.iter().map(|one| one.gold.len()).sum::<usize>(),
            "predicted_spans": answers.iter().map(|one| one.predicted.len()).sum::<usize>(),
            "notes_without_prediction": unanswered,
            "notes_without_gold": without_gold,
            "notes_without_text": without_text,
            "notes_without_stats": without_stats,
        }))
    }
}

impl Consensus {
    fn run(self) -> Result<()> {
        let vote = if matches!(self.vote, VoteBy::Joint) { Vote::Joint } else { Vote::Independent };
        let Self { cluster, pair, support, double, .. } = self;
        let consensus = SpanConsensus { cluster, pair, support, double, vote }.checked()?;
        let rule = match self.method {
            Method::Cluster => SpanRule::Cluster(consensus),
            Method::Majority => SpanRule::Majority,
            Method::Union => SpanRule::Union,
            Method::Nearest => SpanRule::Nearest,
            Method::Expected => SpanRule::Expected,
        };
        let texts = self.text.as_deref().map(read::texts).transpose()?;
        let mut warnings = Vec::new();
        let read = self.predictions.iter().map(|path| read::predictions(path, &mut warnings));
        let files = read.collect::<Result<Vec<_>>>()?;
        tell(&warnings);
        let files: Vec<BTreeMap<String, Vec<Span>>> = files
            .into_iter()
            .map(|file| file.into_iter().map(|one| (one.file_name, one.predictions)).collect())
            .collect();
        let names: BTreeSet<&String> = files.iter().flat_map(BTreeMap::keys).collect();
        let combined = names.into_iter().map(|name| {
            let chars = texts.as_ref().and_then(|texts| texts.get(name)).map(|text| text.chars().count());
            let of = |file: &BTreeMap<String, Vec<Span>>| {
                let mut spans = file.get(name).cloned().unwrap_or_default();
                spans.retain(|span| span.fits(chars.unwrap_or(usize::MAX)));
                spans
            };
            let answers: Vec<Vec<Span>> = files.iter().map(of).collect();
            Predicted { file_name: name.clone(), predictions: rule.combine(&answers) }
        });
        put(self.out.as_deref(), &listed(&combined.collect::<Vec<_>>())?)
    }
}

//! `dxlab decisions confidence` and `dxlab decisions pseudo`: a run's confidence in its answers, and notes that it marks for training.
use super::put;
use crate::corpus::decisions::lines::unlabelled;
use crate::error::{Error, Result};
use crate::io;
use crate::prompt::Constrain;
use crate::run::Store;
use crate::study::decisions::{
    ConfidenceReport, EmbedBy, Marker, Measure, PseudoConfig, exact_f1, measure_tables, write_confidence,
};
use crate::task::{DecisionTask, Task};
use clap::{Args, ValueEnum};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A run's confidence in its valid answers to notes with gold spans, and whether that tells good answers from bad ones, as JSON
///
/// Three measures (mean −log p, mean entropy, mean entropy on tags alone): Spearman's correlation with exact F1, and the mean F1 of the answers that
/// each quantile keeps. To choose --measure and --quantile of `dxlab decisions pseudo` on validation notes.
///
/// dxlab decisions confidence validation.jsonl --run decisions-ce --data decisions-validation
#[derive(Args)]
pub struct Confidence {
    /// Answers of the run by `dxlab predict`
    answers: PathBuf,
    /// Training run: its name, its folder, or a beginning of its folder's name that fits one training run of the store
    #[arg(long)]
    run: String,
    /// Notes with gold spans that were asked about
    #[arg(long, default_value = "decisions-validation")]
    data: String,
    /// Measure an answer whose tag never closes, without that tag; as `dxlab decisions pseudo`
    #[arg(long)]
    allow_unclosed: bool,
    /// Where the measures of each note go, one JSON object a line
    #[arg(long)]
    notes: Option<PathBuf>,
    /// Where the JSON goes; without it it is printed
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Pseudo-labels: unlabelled notes like training notes, marked by a run and kept where its confidence is high, beside the gold notes of its training
///
/// The result is a corpus for `corpus = "FOLDER"` of a training config, with pseudo.json, which says what became of the notes. Gold spans of --notes are
/// not read. It is made in FOLDER.part and takes the place of FOLDER at the end. Where notes are of patients, those of a patient of a gold validation or
/// test note are left out; synthetic ones are told by the title of the README in their folder.
///
/// dxlab data make notes --seed 8 --train 300 --out unlabelled && dxlab decisions pseudo --notes unlabelled --run decisions-ce --out data/decisions-pseudo
#[derive(Args)]
pub struct Pseudo {
    /// Folder of unlabelled notes: NAME.txt, or JSONL as of a corpus
    #[arg(long)]
    notes: PathBuf,
    /// Training run: its name, its folder, or a beginning of its folder's name that fits one training run of the store
    #[arg(long)]
    run: String,
    /// Answers of the run to these notes, by `dxlab predict` or from answers.jsonl of an earlier call; without them the run is asked
    #[arg(long)]
    answers: Option<PathBuf>,
    /// What makes a vector of a note: MiniLM, or the last token of the run's own decoder
    #[arg(long, value_enum, default_value = "minilm")]
    embed: Embed,
    /// Nearest notes of each training note that are looked at
    #[arg(long, default_value_t = PseudoConfig::default().top)]
    top: usize,
    /// Notes that a training note is given, at most
    #[arg(long, default_value_t = PseudoConfig::default().per_note)]
    per_note: usize,
    /// Measure of confidence: low is confident
    #[arg(long, value_enum, default_value = "tags")]
    measure: By,
    /// Share of the valid answers that is kept, those of the highest confidence first; choose it on validation notes by `dxlab decisions confidence`
    #[arg(long, default_value_t = PseudoConfig::default().quantile)]
    quantile: f64,
    /// What the answers are held to
    #[arg(long, value_enum, default_value = "tags")]
    constrain: Held,
    /// Keep an answer whose tag never closes, without that tag; for --constrain tags-reopened, which gives tags up
    #[arg(long)]
    allow_unclosed: bool,
    /// Folder of the corpus
    #[arg(long)]
    out: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Embed {
    Minilm,
    Decoder,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum By {
    /// Mean −log p of the answer's tokens
    Nll,
    /// Mean entropy of the distributions that they were taken from
    Entropy,
    /// The same over tokens of tags alone
    Tags,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Held {
    Free,
    Tags,
    TagsReopened,
    TagsNumbered,
}

impl Confidence {
    pub fn run(self) -> Result<()> {
        let marker = Marker::open(&Store::open(None).of_kind("train", &self.run)?, None)?;
        let task = DecisionTask::open(&self.data)?;
        let answers = marker.read_answers(&self.answers)?;
        let raw: BTreeMap<&str, &str> = answers.iter().map(|one| (one.case_id.as_str(), one.raw.as_str())).collect();
        let (mut scored, mut invalid) = (Vec::new(), BTreeMap::new());
        for note in &task.corpus().test {
            let raw = raw.get(note.case_id.as_str()).ok_or_else(|| {
                Error::input(format!(
                    "{}: no answer to note `{}` of {}",
                    self.answers.display(),
                    note.case_id,
                    self.data
                ))
            })?;
            match marker.judged(&note.case, raw, self.allow_unclosed)? {
                Ok((found, spans)) => scored.push((found, exact_f1(&note.gold, &spans))),
                Err(why) => *invalid.entry(why).or_default() += 1,
            }
        }
        if let Some(path) = &self.notes {
            write_confidence(path, scored.iter().map(|(one, _)| one))?;
        }
        let (run, model, notes) = (marker.run().to_string(), marker.id(), scored.len());
        let found = ConfidenceReport { run, model, data: self.data, notes, invalid, measures: measure_tables(&scored) };
        put(self.out.as_deref(), &format!("{:#}\n", io::to_value(&found)?))
    }
}

impl Pseudo {
    pub fn run(self) -> Result<()> {
        let config = PseudoConfig {
            embed: match self.embed {
                Embed::Minilm => EmbedBy::Minilm,
                Embed::Decoder => EmbedBy::Decoder,
            },
            top: self.top,
            per_note: self.per_note,
            measure: match self.measure {
                By::Nll => Measure::Nll,
                By::Entropy => Measure::Entropy,
                By::Tags => Measure::Tags,
            },
            quantile: self.quantile,
            constrain: match self.constrain {
                Held::Free => None,
                Held::Tags => Some(Constrain::Tags),
                Held::TagsReopened => Some(Constrain::TagsReopened),
                Held::TagsNumbered => Some(Constrain::TagsNumbered),
            },
            allow_unclosed: self.allow_unclosed,
        };
        let notes = unlabelled(&self.notes)?;
        let marker = Marker::open(&Store::open(None).of_kind("train", &self.run)?, config.constrain)?;
        let answers = self.answers.as_deref().map(|path| marker.read_answers(path)).transpose()?;
        let report = marker.pseudo(&notes, answers.as_deref(), &config, &self.out)?;
        println!("{:#}", io::to_value(&report)?);
        Ok(())
    }
}

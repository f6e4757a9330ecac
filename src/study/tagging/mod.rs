//! The encoder baseline of the task `decisions`: a token classifier is trained on notes, and marks the spans of others. Both are runs of the
//! store, of the kinds `train` and `predict`, and the predictions are scored like those of a language model.
//!
//! - `config`: the TOML file
//! - `ceiling`: which spans labels of tokens can express at all
mod ceiling;
mod config;
#[cfg(test)]
mod tests;

pub use ceiling::{Ceiling, SpanLabels};
pub use config::{EncoderTrainConfig, labels};

use super::experiment::{CARD, forget};
use crate::corpus::Case;
use crate::corpus::decisions::Span;
use crate::corpus::leak::{LIMIT, Part, Role, find};
use crate::error::{Error, Result};
use crate::io;
use crate::model::encoder::{Tagged, TokenClassifier, encoder_digest};
use crate::run::{AskedSpec, PredictSpec, Run, RunSpec, Spec, Store, TrainSpec, keep_predictions};
use crate::task::decisions::score::exact;
use crate::task::decisions::{Note, Prediction, tag};
use crate::task::{AnyTask, DecisionTask, Task};
use crate::train::{Progress, TaggerTrainer};
use ceiling::{f1, of_classes, to_classes};
use std::path::Path;
use std::time::Instant;

/// Where a training run has its classifier, in transformers' layout.
pub const MODEL: &str = "model";
/// What labels can express of the notes: `train` and `validation` of a training run, or one [`Ceiling`] of a run of predictions.
pub const CEILING: &str = "ceiling.json";
/// Of a run of predictions: the gold spans put into labels and read back, as predictions.
pub const CEILING_PREDICTIONS: &str = "ceiling.jsonl";

/// Which notes a classifier marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkedNotes {
    Test,
    Validation,
}

impl Run {
    /// The training run of an encoder: opened, or trained; with `resume` a stopped one goes on from its last whole epoch.
    pub fn train_encoder_in(store: &Store, config: &EncoderTrainConfig, resume: bool) -> Result<Run> {
        config.check()?;
        let task = config.task()?;
        let spec = RunSpec::Train(TrainSpec {
            config: io::to_value(config)?,
            corpus: task.corpus().digest(),
            base: config.base()?,
            prompt: String::new(),
            synthetic: task.corpus().synthetic,
            task: Some(Task::name(&task).into()),
            validation: Some(io::digest_json(&task.validation())?),
        });
        let make = |dir: &Path| train(config, &task, dir);
        match resume {
            true => store.open_or_resume("train", &config.name, &spec, make),
            false => store.open_or_restart("train", &config.name, &spec, make),
        }
    }

    /// What the classifier of a training run finds in the notes of its corpus, and the task with those notes in the place of test notes:
    /// opened, or marked.
    pub fn open_or_mark(store: &Store, trained: &Run, notes: MarkedNotes) -> Result<(Run, DecisionTask)> {
        let config = EncoderTrainConfig::of(trained)?;
        let task = config.task()?;
        let (digest, then) = (task.corpus().digest(), trained.known().corpus.unwrap_or_default());
        if digest != then {
            return Err(Error::input(format!(
                "{}: the notes of `{}` have changed since it was trained on them (digest {:.12}, then {then:.12}): train again",
                trained.folder(),
                config.corpus,
                digest
            )));
        }
        let (task, name) = match notes {
            MarkedNotes::Test => (task, config.name.clone()),
            MarkedNotes::Validation => (task.on_validation()?, format!("{}-validation", config.name)),
        };
        if task.corpus().test.is_empty() {
            return Err(Error::input(format!("{}: no test notes to mark", task.corpus().name)));
        }
        let folder = trained.path(MODEL);
        if !folder.is_dir() {
            return Err(Error::input(format!(
                "{}: the classifier is not there (it may have been left out of a copy): remove the run and train again",
                folder.display()
            )));
        }
        let asked = AskedSpec {
            model: format!("{}@{}", config.name, encoder_digest(&folder)?),
            corpus: task.corpus().digest(),
            corpus_name: task.corpus().name.clone(),
            synthetic: task.corpus().synthetic,
            task: Some(Task::name(&task).into()),
            ..AskedSpec::default()
        };
        let model = asked.model.clone();
        let spec = RunSpec::Predict(PredictSpec { asked, ..PredictSpec::default() });
        let run = Spec::new("predict", &name, &spec)?.folder();
        let made = store.open_or_make("predict", &name, &spec, |dir| {
            let classifier = config.reading(TokenClassifier::open(&folder)?)?;
            let labels = SpanLabels::of(&classifier);
            let told = |answer: Vec<Span>, note: &Note| Prediction {
                task: <dyn AnyTask>::id(&task),
                corpus: task.corpus().digest()[..12].into(),
                run: run.clone(),
                model: model.clone(),
                ..Prediction::of(note, answer.clone(), &tag(&note.input, &answer))
            };
            let notes = &task.corpus().test;
            let found = notes.iter().map(|note| mark(&classifier, note, &told)).collect::<Result<Vec<_>>>()?;
            let gold = notes.iter().map(|note| Ok(told(labels.written(note)?.0, note))).collect::<Result<Vec<_>>>()?;
            io::write_json(&dir.join(CEILING), &labels.ceiling(notes)?)?;
            keep_predictions(&dir.join(CEILING_PREDICTIONS), &gold)?;
            keep_predictions(&dir.join("preds.jsonl"), &found)
        })?;
        Ok((made, task))
    }
}

/// One note, with the time that it took and the tokens that were read.
fn mark(
    classifier: &TokenClassifier,
    note: &Note,
    told: &dyn Fn(Vec<Span>, &Note) -> Prediction,
) -> Result<Prediction> {
    let started = Instant::now();
    let found = classifier.spans(&[&note.input])?.into_iter().next().unwrap_or_default(); // as many answers as texts
    let seconds = started.elapsed().as_secs_f64();
    let (windows, _) = classifier.tag(&note.input, &[])?;
    let prompt_tokens = windows.iter().map(|w| w.ids.len()).sum();
    Ok(Prediction { seconds, prompt_tokens, ..told(of_classes(&classifier.bio, &found)?, note) })
}

/// The windows of notes with their labels.
fn windows(classifier: &TokenClassifier, notes: &[Note]) -> Result<Vec<Tagged>> {
    let mut all = Vec::new();
    for note in notes {
        let spans = to_classes(&classifier.bio, &note.gold)?;
        all.extend(
            classifier.tag(&note.input, &spans).map_err(|e| Error::input(format!("note `{}`: {e}", note.case_id)))?.0,
        );
    }
    Ok(all)
}

/// F1 of all spans found in `notes`, by start, end and category.
fn exact_f1(classifier: &TokenClassifier, notes: &[Note]) -> Result<f64> {
    let texts: Vec<&str> = notes.iter().map(|note| note.input.as_str()).collect();
    let (mut right, mut both) = (0, 0);
    for (note, found) in notes.iter().zip(classifier.spans(&texts)?) {
        let counts = exact(&note.gold, &of_classes(&classifier.bio, &found)?, None);
        right += 2 * counts.tp;
        both += counts.given + counts.asked;
    }
    Ok(f1(right, both))
}

/// Notes of training, validation and test share no text and no patient.
fn refuse_leaks(dir: &Path, train: &[Note], valid: &[Note], test: &[Note]) -> Result<()> {
    fn part<'a>(name: &str, role: Role, notes: &'a [Note]) -> Part<'a> {
        let cases: Vec<&Case> = notes.iter().map(|note| &note.case).collect();
        Part { name: name.into(), role, space: "notes".into(), cases }
    }
    let parts = [
        part("train", Role::Train, train),
        part("validation", Role::Validation, valid),
        part("test", Role::Test, test),
    ];
    let leaks = find(&parts, LIMIT)?;
    leaks.refuse()?;
    io::write_json(&dir.join("leaks.json"), &leaks)
}

fn train(config: &EncoderTrainConfig, task: &DecisionTask, dir: &Path) -> Result<()> {
    if dir.join(CARD).is_file() {
        return tidy(dir); // a maker was killed between its last file and the run's name
    }
    let (train, valid) = config.notes(task)?;
    refuse_leaks(dir, &train, &valid, &task.corpus().test)?;
    let (model, parameters) = config.start()?;
    let (reader, labels) = (model.detached()?, SpanLabels::of(&model));
    let (ceiling, other) = (labels.ceiling(&train)?, labels.ceiling(&valid)?);
    println!(
        "… {}: {} training and {} validation notes of {}",
        config.name,
        train.len(),
        valid.len(),
        task.corpus().name
    );
    println!("… training: {ceiling}\n… validation: {other}");
    io::write_json(&dir.join(CEILING), &serde_json::json!({"train": ceiling, "validation": other}))?;
    let text = toml::to_string(config).map_err(|e| Error::failed(e.to_string()))?;
    io::write(&dir.join("config.toml"), text.as_bytes())?;
    let trainer =
        TaggerTrainer { config: &config.training, model: &model, parameters: &parameters, dir, verbose: true };
    let progress = trainer.run(&windows(&model, &train)?, &mut || exact_f1(&reader, &valid))?;
    let reached = exact_f1(&reader, &valid)?;
    model.save(&dir.join(MODEL))?;
    io::write_json(&dir.join("progress.json"), &progress)?;
    io::write(&dir.join(CARD), card(config, task, &progress, reached).as_bytes())?;
    tidy(dir)
}

/// Removes what only a run in the making needs. The state too, as it is four times the size of the model.
fn tidy(dir: &Path) -> Result<()> {
    let state = dir.join("state");
    if state.is_dir() {
        std::fs::remove_dir_all(&state).map_err(Error::io(&state))?;
    }
    forget(dir)
}

/// The card of a classifier: what it is for, what it was made from, what it must not be used for.
fn card(config: &EncoderTrainConfig, task: &DecisionTask, progress: &Progress, reached: f64) -> String {
    let data = if task.corpus().synthetic { "synthetic" } else { "not synthetic" };
    let start = match &config.random_start {
        Some(_) => format!("a BERT with random weights and the tokenizer of `{}`", config.encoder),
        None => format!("`{}`", config.encoder),
    };
    format!(
        "# {}\n\nToken classifier (BIO, folder `{MODEL}/` in transformers' layout) of {start}, trained by dxlab on {} ({data}).\n\n\
         - settings: `config.toml`; every update: `log.jsonl`; every epoch: `validation.jsonl`; what determines it: `spec.json`\n\
         - updates: {}, the best after {}; tokens read: {}; exact F1 on validation notes: {reached:.4}\n\n\
         For research; not for clinical use.\n",
        config.name,
        task.corpus().name,
        progress.step,
        progress.best_step,
        progress.tokens
    )
}

impl EncoderTrainConfig {
    /// What `dxlab train --dry-run` says: notes, tokens, windows, updates, and what labels can express. No weights are read.
    pub fn forecast(&self) -> Result<String> {
        self.check()?;
        let task = self.task()?;
        let ((train, valid), labels) = (self.notes(&task)?, SpanLabels::open(&self.folder()?, self.marked)?);
        let reading = crate::model::encoder::Windows { most: self.window, overlap: self.overlap };
        let (mut tokens, mut windows) = (0, 0);
        for note in &train {
            let cut = reading.over(labels.tokens(&note.input)?);
            windows += cut.len();
            tokens += cut.iter().map(ExactSizeIterator::len).sum::<usize>();
        }
        let t = &self.training;
        Ok(format!(
            "{}: {} training and {} validation notes of {}; {windows} windows of {tokens} tokens, {} epochs of {} updates\n\
             training: {}\nvalidation: {}",
            self.name,
            train.len(),
            valid.len(),
            task.corpus().name,
            t.epochs,
            windows.div_ceil(t.batch),
            labels.ceiling(&train)?,
            labels.ceiling(&valid)?
        ))
    }
}

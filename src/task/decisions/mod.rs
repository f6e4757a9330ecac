//! The task `decisions`: which runs of a discharge summary state a clinical decision, and of which category. A model answers with the note itself
//! and tags in it; the answer is a list of spans.
//!
//! - `codec`: spans ↔ tagged text, exactly; `align` and `ladder` for answers that are no exact copy
//! - `tokens`, `punkt`, `official`: MedDec's own scores, to the last digit
//! - `windows`: long notes cut into texts that overlap, and the answers put together
//! - `faults`: what went wrong, each span in one class
//! - `score`: those and scores by place, as columns for intervals and comparisons
mod align;
pub mod codec;
mod faults;
mod ladder;
pub mod official;
pub mod punkt;
pub mod reward;
pub mod score;
pub mod tokens;
pub mod windows;

pub use align::Alignment;
pub use codec::{Dropped, Match, Reason, Untagged, scanned, tag, untag, untag_by_search};
pub use faults::{Fault, Faulty, faults};
pub use ladder::ladder;
pub use official::{Official, official, refine_span};
pub use punkt::Punkt;
pub use windows::{NoteWindows, untag_windows};

use super::{Cell, Column, Combined, Parsed, Task, TrainingText, TrainingTexts};
use crate::augment::Augmentation;
use crate::corpus::decisions::lines::PSEUDO;
use crate::corpus::decisions::{Decisions, Span, Strata};
use crate::corpus::split::Split;
use crate::corpus::{Case, Corpus, Example};
use crate::ensemble::SpanConsensus;
use crate::ensemble::spans::counts;
use crate::error::{Error, Result};
use crate::metric::{Reading, ScoreTable};
use crate::prompt::{Exemplar, OpenEmbedder, Overlong, PromptContext};
use score::Answered;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A note with its decisions.
pub type Note = Example<Vec<Span>>;
/// A prediction of this task.
pub type Prediction = crate::run::Prediction<Vec<Span>, Vec<Span>>;

/// Notes and what is needed to ask about and score them.
#[derive(Clone, Debug)]
pub struct DecisionTask {
    corpus: Corpus<Vec<Span>>,
    validation: Vec<Note>,
    /// Sex, race and language of the patients, by note.
    pub strata: BTreeMap<String, Strata>,
    /// Splits sentences for token F1.
    pub sentences: Punkt,
    context: PromptContext,
    texts: BTreeMap<String, String>,
}

impl DecisionTask {
    /// `decisions` (the synthetic notes), `decisions-validation` (their validation notes in the place of the test notes), `decisions-long` (long notes in
    /// their place), `decisions-bc5cdr` or `decisions-ncbi` (mentions in published abstracts as stand-ins) or `decisions-aci` (plan bullets of visit
    /// notes; all three need `DXLAB_DATA`), or a folder of notes; see [`crate::corpus::decisions::read`].
    pub fn open(name: &str) -> Result<Self> {
        if name == "decisions-validation" {
            return Self::of(Decisions::embedded()?)?.on_validation();
        }
        if let Some(all) = Decisions::named(name)? {
            return Self::of(all);
        }
        let all = Decisions::open(Path::new(name))?;
        all.warnings.iter().for_each(|warning| crate::process::tell(&format!("… {warning}")));
        Self::of(all)
    }

    /// Whether [`DecisionTask::open`] knows the name, or a folder of that name holds notes with decisions.
    pub fn knows(name: &str) -> bool {
        name == "decisions-validation" || Decisions::NAMES.contains(&name) || Decisions::is_at(Path::new(name))
    }

    /// Sentences are split by NLTK's Punkt parameters in the folder that `DXLAB_PUNKT` names, else by [`Punkt::simple`].
    pub fn of(all: Decisions) -> Result<Self> {
        let sentences = Punkt::from_env()?;
        let Decisions { corpus, validation, strata, .. } = all;
        let notes = corpus.train.iter().chain(&validation).chain(&corpus.test);
        let texts = notes.map(|note| (note.case_id.clone(), note.input.clone())).collect();
        let context = context_of(&corpus.train)?;
        Ok(Self { corpus, validation, strata, sentences, context, texts })
    }

    /// Notes for choosing prompts, thresholds and settings.
    pub fn validation(&self) -> &[Note] {
        &self.validation
    }

    /// The same task with the validation notes in the place of the test notes.
    pub fn on_validation(mut self) -> Result<Self> {
        if self.validation.is_empty() {
            return Err(Error::input(format!("{}: no validation notes", self.corpus.name)));
        }
        self.corpus.test.clone_from(&self.validation);
        self.corpus.name.push_str(", validation part");
        Ok(self)
    }

    /// The text that a model is to give back, with its tags.
    pub fn tagged(&self, note: &Note) -> String {
        tag(&note.input, &note.gold)
    }

    /// The note of a prediction: its own text, or that of the corpus where a run keeps none.
    fn text<'a>(&'a self, prediction: &'a Prediction) -> &'a str {
        let known = || self.texts.get(&prediction.case_id).map_or("", String::as_str);
        if prediction.input.is_empty() { known() } else { &prediction.input }
    }

    fn answered<'a>(&'a self, prediction: &'a Prediction) -> Answered<'a> {
        let raw = &prediction.raw;
        Answered {
            case_id: &prediction.case_id,
            group: &prediction.group,
            text: self.text(prediction),
            gold: &prediction.gold,
            predicted: &prediction.answer,
            raw: (!raw.is_empty() && spans_in_json(raw).is_none()).then_some(raw),
        }
    }

    /// The official scores of predictions; worst and final where the subgroups of the patients are known. None without predictions.
    pub fn official(&self, predictions: &[Prediction]) -> Option<Official> {
        let answers: Vec<Answered> = predictions.iter().map(|one| self.answered(one)).collect();
        let mut notes = score::notes(&answers, &self.sentences);
        notes.iter_mut().for_each(|note| note.strata = self.strata.get(&note.file_name).cloned());
        official(&notes)
    }
}

fn context_of(train: &[Note]) -> Result<PromptContext> {
    let exemplar = |note: &Note| Exemplar {
        case: note.case.clone(),
        answer: tag(&note.input, &note.gold),
        shows: note.gold.iter().map(|span| span.category.tag().to_string()).collect(),
    };
    Ok(PromptContext {
        examples: train.iter().map(exemplar).collect(),
        pool: crate::io::digest_json(&train)?,
        document: "discharge summary".into(),
        target: "clinical decisions that it states".into(),
        none: "none".into(),
        embedder: OpenEmbedder(Some(crate::model::encoder::minilm)),
        ..PromptContext::default()
    })
}

/// An answer that is a JSON list of spans, as [`Task::target`] and consensus write it.
fn spans_in_json(raw: &str) -> Option<Vec<Span>> {
    let raw = raw.trim();
    if raw.starts_with('[') { serde_json::from_str(raw).ok() } else { None }
}

impl Task for DecisionTask {
    type Gold = Vec<Span>;
    type Answer = Vec<Span>;

    fn name(&self) -> &str {
        "decisions"
    }

    fn corpus(&self) -> &Corpus<Vec<Span>> {
        &self.corpus
    }

    fn context(&self) -> &PromptContext {
        &self.context
    }

    /// Spans as JSON: without the note there is no tagged text. Training teaches [`DecisionTask::tagged`]; both are read back.
    fn target(&self, gold: &Vec<Span>) -> String {
        serde_json::to_string(gold).unwrap_or_default() // spans have a JSON form
    }

    /// Spans of a tagged note, whole or in windows, or of a JSON list. Unread is an answer without a span that is no copy of the note either.
    fn parse(&self, raw: &str, case: &Case) -> Parsed<Vec<Span>> {
        if let Some(answer) = spans_in_json(raw) {
            return Parsed { answer, parsed: true };
        }
        let read = untag_windows(raw, &case.input);
        Parsed { parsed: read.copied || !read.spans.is_empty(), answer: read.spans }
    }

    /// Span-Cluster Consensus: a cluster of spans stays where samples of at least this weight are in it.
    fn combine(&self, samples: &[Parsed<Vec<Span>>], threshold: f64) -> Combined<Vec<Span>> {
        let answers: Vec<Vec<Span>> = samples.iter().map(|one| one.answer.clone()).collect();
        let answer = SpanConsensus { support: threshold, ..SpanConsensus::default() }.combine(&answers);
        let name = |span: &Span| format!("{} {}-{}", span.category.tag(), span.start, span.end);
        let share = |(span, n): (Span, usize)| (name(&span), n as f64 / answers.len() as f64);
        Combined {
            raw: self.target(&answer),
            answer,
            parsed: samples.iter().any(|one| one.parsed),
            shares: counts(&answers).into_iter().map(share).collect(),
        }
    }

    fn score(&self, sets: &[&[Prediction]], _reading: Reading) -> Vec<ScoreTable> {
        let table = |set: &&[Prediction]| {
            let answers: Vec<Answered> = set.iter().map(|one| self.answered(one)).collect();
            score::table(&answers, &score::notes(&answers, &self.sentences))
        };
        sets.iter().map(table).collect()
    }

    fn counts(&self, predictions: &[Prediction], _reading: Reading) -> BTreeMap<String, Option<usize>> {
        let sum = |of: &dyn Fn(&Prediction) -> usize| Some(predictions.iter().map(of).sum());
        let dropped = |one: &Prediction| {
            let answered = self.answered(one);
            answered.raw.map_or(0, |raw| untag_windows(raw, answered.text).dropped.len())
        };
        let counts = [
            ("gold_spans", sum(&|p| p.gold.len())),
            ("spans", sum(&|p| p.answer.len())),
            ("lost_spans", sum(&dropped)),
        ];
        counts.map(|(key, count)| (key.to_string(), count)).into()
    }

    /// What a model marked is no measure of a training: pseudo-labelled notes that fall to validation are trained on, or left out where a gold note
    /// of their patient is validated on.
    fn nested(&self, outer: f64, seed: u64) -> Result<Self> {
        let (train, test) = Task::split(self, &Split { validation: outer, cases: None, seed })?;
        let name = format!("{}, training notes alone", self.corpus.name);
        let context = context_of(&train)?;
        Ok(Self { corpus: Corpus { name, train, test, ..self.corpus.clone() }, context, ..self.clone() })
    }

    fn split(&self, split: &Split) -> Result<(Vec<Note>, Vec<Note>)> {
        let (mut train, mut valid) = split.of(&self.corpus.train)?;
        let marked: Vec<Note> = valid.extract_if(.., |note| note.case_id.starts_with(PSEUDO)).collect();
        let patients: BTreeSet<&str> = valid.iter().map(|note| note.group.as_str()).collect();
        train.extend(marked.into_iter().filter(|note| !patients.contains(note.group.as_str())));
        if split.validation > 0.0 && valid.is_empty() {
            let (share, seed) = (split.validation, split.seed);
            return Err(Error::input(format!(
                "validation = {share} with seed {seed} leaves no gold note to validate on: choose another share"
            )));
        }
        Ok((train, valid))
    }

    fn training(&self, split: &Split, augmentation: &Augmentation, epochs: usize) -> Result<TrainingTexts> {
        if !augmentation.is_plain() {
            return Err(Error::input("task `decisions` has no augmentation: remove [augmentation]"));
        }
        let (train, valid) = Task::split(self, split)?;
        let text = |note: &Note| TrainingText { case: note.case.clone(), answer: self.tagged(note) };
        let times = vec![vec![1; train.len()]; epochs];
        Ok(TrainingTexts { train: train.iter().map(text).collect(), times, valid: valid.iter().map(text).collect() })
    }

    /// An answer is a copy of the note with tags: of a note that lost its end it can only be wrong.
    fn overlong(&self) -> Overlong {
        Overlong::Refuse
    }

    fn reads_windows(&self) -> bool {
        true
    }

    fn input_title(&self) -> &'static str {
        "discharge summary"
    }

    fn columns(&self) -> Vec<Column> {
        let text = |title, width| Column { title, width };
        vec![
            text("decisions", 40.0),
            text("right", 32.0),
            text("missed", 32.0),
            text("invented", 32.0),
            text("exact F1", 9.0),
        ]
    }

    fn cells(&self, prediction: &Prediction) -> Vec<Cell> {
        let text: Vec<char> = self.text(prediction).chars().collect();
        let line = |span: &Span| format!("{} {}-{}: {}", span.category.tag(), span.start, span.end, span.text(&text));
        let listed = |of: &[Span], keep: &dyn Fn(&Span) -> bool| {
            Cell::Text(of.iter().filter(|span| keep(span)).map(line).collect::<Vec<_>>().join("\n"))
        };
        let (gold, answer) = (&prediction.gold, &prediction.answer);
        let counts = score::exact(gold, answer, None);
        let both = counts.given + counts.asked;
        let f1 = if both == 0 { 1.0 } else { 2.0 * counts.tp as f64 / both as f64 };
        vec![
            listed(answer, &|_| true),
            listed(answer, &|span| gold.contains(span)),
            listed(gold, &|span| !answer.contains(span)),
            listed(answer, &|span| !gold.contains(span)),
            Cell::Number(Some(f1)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::decisions::Category;

    fn task() -> DecisionTask {
        let text = "Continue warfarin for stroke prevention. Hold aspirin.";
        let spans = vec![Span::new(0, 39, Category::DrugDecision), Span::new(22, 39, Category::TreatmentGoal)];
        let note = |id: &str| Note::new(id, id.split('_').next().unwrap_or(id), text, spans.clone());
        let corpus = Corpus {
            name: "two notes".into(),
            synthetic: true,
            train: vec![note("1_1_1"), note("2_2_2")],
            test: vec![note("3_3_3")],
        };
        let strata = [("3_3_3".to_string(), Strata::of("F", "WHITE", "ENGL"))].into();
        DecisionTask::of(Decisions { corpus, validation: vec![note("4_4_4")], strata, warnings: vec![] }).unwrap()
    }

    #[test]
    fn what_is_taught_and_what_a_consensus_writes_are_read_back() {
        let task = task();
        for note in task.corpus.train.iter().chain(&task.corpus.test) {
            for raw in [task.tagged(note), task.target(&note.gold)] {
                assert_eq!(task.parse(&raw, &note.case), Parsed { answer: note.gold.clone(), parsed: true }, "{raw}");
            }
        }
        let note = &task.corpus.test[0];
        assert!(!task.parse("I cannot do that.", &note.case).parsed);
        assert!(task.parse(&note.input, &note.case).parsed, "a copy without a tag states no decision");
    }

    #[test]
    fn training_texts_are_tagged_notes() {
        let task = task();
        let split = Split { validation: 0.0, cases: None, seed: 7 };
        let texts = Task::training(&task, &split, &Augmentation::default(), 2).unwrap();
        assert_eq!((texts.train.len(), texts.times.len()), (2, 2));
        assert!(texts.train[0].answer.starts_with("<drug_decision>Continue warfarin for <treatment_goal>"));
        let mut marked = task.clone();
        marked
            .corpus
            .train
            .extend((0..20).map(|i| Note::new(format!("{PSEUDO}{i}_1_1"), format!("{PSEUDO}{i}"), "Hold it.", vec![])));
        let split = Split { validation: 0.5, cases: None, seed: 1 };
        let texts = Task::training(&marked, &split, &Augmentation::default(), 1).unwrap();
        assert!(
            texts.valid.iter().all(|text| !text.case.case_id.starts_with(PSEUDO)),
            "a model's labels choose nothing"
        );
        assert_eq!((texts.train.len() + texts.valid.len(), texts.times[0].len()), (22, texts.train.len()));
        // of a patient whose gold note is validated on, the marked note is left out
        let (_, valid) = Task::split(&marked, &split).unwrap();
        let patient = valid[0].group.clone();
        marked.corpus.train.push(Note::new(format!("{PSEUDO}x_1_1"), &patient, "Hold it.", vec![]));
        let (train, again) = Task::split(&marked, &split).unwrap();
        assert!(again == valid && train.iter().all(|note| note.group != patient), "{patient}");
        assert_eq!(crate::task::AnyTask::split(&marked, &split).unwrap().0.len(), train.len());
        assert_eq!(task.clone().on_validation().unwrap().corpus.test[0].case_id, "4_4_4");
    }

    #[test]
    fn a_nested_task_asks_about_training_notes_that_it_does_not_learn_from() {
        let task = task();
        let nested = (0..32).find_map(|seed| Task::nested(&task, 0.5, seed).ok()).unwrap();
        let ids = |notes: &[Note]| notes.iter().map(|note| note.case_id.clone()).collect::<BTreeSet<_>>();
        let groups = |notes: &[Note]| notes.iter().map(|note| note.group.clone()).collect::<BTreeSet<_>>();
        let (inner, outer) = (&nested.corpus.train, &nested.corpus.test);
        assert!(!inner.is_empty() && !outer.is_empty() && groups(inner).is_disjoint(&groups(outer)));
        assert_eq!(&ids(inner) | &ids(outer), ids(&task.corpus.train));
        assert!(nested.context.examples.iter().all(|one| ids(inner).contains(&one.case.case_id)));
        assert_ne!(crate::task::AnyTask::corpus_digest(&nested), crate::task::AnyTask::corpus_digest(&task));
    }

    #[test]
    fn a_right_answer_is_rewarded_and_scored_in_full() {
        let task = task();
        let note = &task.corpus.test[0];
        let raw = task.tagged(note);
        assert_eq!(Task::reward(&task, note, &raw), 1.0);
        assert!(Task::reward(&task, note, &note.input) < 0.5);
        let answer = task.parse(&raw, &note.case).answer;
        let prediction = Prediction { input: String::new(), ..Prediction::of(note, answer, &raw) };
        let table = &task.score(&[&[prediction.clone()]], Reading::Raw)[0];
        let whole = ["span_f1", "token_f1", "exact_f1", "iou_f1", "copied", "kept_spans"];
        whole.iter().for_each(|key| assert_eq!(table.value(key).unwrap(), Some(1.0), "{key}"));
        assert_eq!(task.official(&[prediction.clone()]).unwrap().final_score, Some(1.0));
        assert_eq!(task.cells(&prediction)[4], Cell::Number(Some(1.0)));
    }

    #[test]
    fn samples_are_combined_by_their_clusters() {
        let task = task();
        let parsed = |answer: Vec<Span>| Parsed { answer, parsed: true };
        let drug = Span::new(0, 17, Category::DrugDecision);
        let wide = Span::new(0, 39, Category::DrugDecision);
        let odd = Span::new(41, 45, Category::GatherInfo);
        let won = task.combine(&[parsed(vec![drug, odd]), parsed(vec![drug]), parsed(vec![wide])], 0.5);
        assert_eq!(won.answer, [drug]);
        assert_eq!((won.shares["gather_info 41-45"], won.parsed), (1.0 / 3.0, true));
        let case = &task.corpus.test[0].case;
        assert_eq!(task.parse(&won.raw, case).answer, won.answer);
    }
}

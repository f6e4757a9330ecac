//! `/v1/diagnose`: from what a patient shows to ranked labels with probabilities, evidence and doubts. One [`Diagnoser`] a task; the server
//! knows none of them.
use super::NOTICE;
use super::models::Served;
use crate::error::{Error, Result};
use crate::generate::{Ask, By, Constraint, Drawn, Generated, Listen, Ranked, Sampling, Worker, rank};
use crate::metric::Estimate;
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, PoisonError};

/// Candidates scored at the same time.
const BATCH: usize = 32;

/// What is asked about.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Finding {
    /// A report or another text; empty where only terms are given.
    pub text: String,
    /// Ids of terms that the patient shows, and of those that are known to be absent (`HP:0001250`).
    pub terms: Vec<String>,
    pub excluded: Vec<String>,
    /// Index of the model among those served.
    pub model: usize,
    /// Labels, at most.
    pub top: usize,
}

/// A label of the answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Named {
    pub label: String,
    /// Between 0 and 1; what it is a probability of is said by [`Diagnosis::probabilities`].
    pub probability: f64,
    /// Where the text speaks of it, or the term; null where nothing was found.
    pub evidence: Option<Value>,
}

/// How good answers of this kind were on cases with a known truth.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// Folder of the run.
    pub run: String,
    /// The metric by its key, `micro_f1`.
    pub metric: String,
    pub estimate: Estimate,
    pub corpus: String,
    pub synthetic: bool,
}

/// The answer of a [`Diagnoser`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Diagnosis {
    /// Name and version of the task, `findings@2`.
    pub task: String,
    /// Names and digests.
    pub model: String,
    pub adapter: Option<String>,
    pub prompt: String,
    /// SHA-256 of the corpus whose labels, examples and words are used.
    pub corpus: String,
    /// The likeliest first.
    pub labels: Vec<Named>,
    /// What `probability` of a label is, in words.
    pub probabilities: String,
    /// The model's own single answer, byte for byte, where it was asked for one.
    pub raw: Option<String>,
    /// Between 0 and 1, and what it is, in words.
    pub confidence: Option<f64>,
    pub confidence_is: String,
    /// Below this confidence the server abstains.
    pub threshold: Option<f64>,
    pub abstained: bool,
    pub measured: Option<Measured>,
    /// What should be said beside this answer: text that was cut, an answer that could not be read.
    pub warnings: Vec<String>,
    pub prompt_tokens: usize,
    pub new_tokens: usize,
}

impl Diagnosis {
    /// As the API gives it.
    pub fn json(&self) -> Result<Value> {
        let mut value = crate::io::to_value(self)?;
        value["object"] = json!("diagnosis");
        value["notice"] = json!(NOTICE);
        Ok(value)
    }
}

/// Something to show while an answer is made.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// The text of the model's own answer so far.
    Text(String),
    /// So many of the samples are done.
    Samples(usize, usize),
}

/// Answers about one task. Asked on a thread of its own, which may wait.
pub trait Diagnoser: Send + Sync {
    /// As in requests: `findings`.
    fn task(&self) -> &str;

    /// A heading for the page.
    fn title(&self) -> &str;

    /// What is to be typed, and how, for the page.
    fn input(&self) -> (&str, &str) {
        ("Findings of a report", "Invented or openly published text only. English, as a radiologist would write it.")
    }

    /// An example to try.
    fn example(&self) -> Finding;

    /// Tokens that one answer needs at most, prompt included.
    fn most_tokens(&self, finding: &Finding, served: &Served) -> Result<usize>;

    /// Names of terms that go on like a text, each with `id` and `name`; empty for a task that reads no terms.
    fn terms(&self, _typed: &str) -> Vec<Value> {
        vec![]
    }

    /// Fails with [`Error::Input`] for what cannot be asked about.
    fn diagnose(&self, finding: &Finding, oracle: &Oracle, tell: &mut dyn FnMut(Told)) -> Result<Diagnosis>;
}

/// What a [`Diagnoser`] asks the served models by.
pub struct Oracle {
    pub served: Arc<Served>,
    pub(super) worker: Arc<Worker>,
    /// Nobody waits for the answer any more.
    pub(super) gone: Arc<AtomicBool>,
    /// Tokens read and drawn so far: what the account has used, also where the answer was not waited for.
    pub(super) spent: AtomicU64,
}

/// One prompt for [`Oracle::answers`].
pub struct Prompted {
    pub model: usize,
    pub prompt: Vec<u32>,
    pub sampling: Sampling,
    pub samples: usize,
    pub max_new: usize,
    pub constraint: Option<Box<dyn Constraint>>,
}

enum Heard {
    Token(usize, Drawn),
    Done(usize, Generated),
    Failed(Error),
}

struct Ear {
    sender: Sender<Heard>,
    gone: Arc<AtomicBool>,
}

impl Listen for Ear {
    fn token(&mut self, sample: usize, token: Drawn) {
        let _ = self.sender.send(Heard::Token(sample, token)); // who does not wait is gone
    }
    fn done(&mut self, sample: usize, made: Generated) {
        let _ = self.sender.send(Heard::Done(sample, made));
    }
    fn failed(&mut self, error: Error) {
        let _ = self.sender.send(Heard::Failed(error));
    }
    fn gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }
}

impl Oracle {
    /// Whether nobody waits for the answer any more.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// The answers to a prompt, in order of their samples; `hear` gets every token's sample and id, and None at the end of an answer.
    pub fn answers(&self, asked: Prompted, hear: &mut dyn FnMut(usize, Option<u32>)) -> Result<Vec<Generated>> {
        let Prompted { model, prompt, sampling, samples, max_new, constraint } = asked;
        let stop = self.served.stop.clone();
        self.spent.fetch_add(prompt.len() as u64, Ordering::Relaxed);
        let ask = Ask { model, prompt, sampling, samples, max_new, stop, until: None, constraint, top: 0 };
        let (sender, receiver) = channel();
        self.worker.ask(ask, Box::new(Ear { sender, gone: self.gone.clone() }));
        let mut made: Vec<Option<Generated>> = vec![None; samples];
        // the engine drops its end when the request is over, or when nobody waits for it
        for heard in receiver {
            self.spent.fetch_add(u64::from(matches!(heard, Heard::Token(..))), Ordering::Relaxed);
            match heard {
                Heard::Token(sample, drawn) if !drawn.ends => hear(sample, Some(drawn.id)),
                Heard::Token(..) => {}
                Heard::Done(sample, one) => {
                    hear(sample, None);
                    made[sample] = Some(one);
                }
                Heard::Failed(error) => return Err(error),
            }
        }
        made.into_iter().map(|one| one.ok_or_else(|| Error::failed("the answer was not waited for"))).collect()
    }

    /// Candidates in order of likelihood; see [`rank`]. One list is ranked at a time; who no longer waits when it is its turn is passed over.
    pub fn rank(&self, model: usize, prompt: Vec<u32>, candidates: &[Vec<u32>]) -> Result<Vec<Ranked>> {
        let _turn = self.served.ranking.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_gone() {
            return Err(Error::failed("the answer was not waited for"));
        }
        let read = prompt.len() + candidates.iter().map(Vec::len).sum::<usize>();
        self.spent.fetch_add(read as u64, Ordering::Relaxed);
        Ok(rank(&self.served.models[model], &[prompt], candidates, By::Sum, BATCH)?.remove(0))
    }
}

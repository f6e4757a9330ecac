//! A model behind an OpenAI-compatible chat-completions endpoint: vLLM, SGLang, Ollama, llama.cpp's `llama-server`, OpenAI,
//! DeepSeek, and whatever else answers `POST {url}/chat/completions`.
//!
//! | server | address | to say |
//! |---|---|---|
//! | vLLM, SGLang, `transformers serve` | `http://localhost:8000/v1` | `thinking` (Qwen3 thinks unless told not to); an adapter is a model name |
//! | llama-server | `http://localhost:8080/v1` | `thinking`, with `--jinja` |
//! | Ollama | `http://localhost:11434/v1` | `extra = { reasoning_effort = "none" }` instead of `thinking` |
//! | OpenAI | `https://api.openai.com/v1` | for reasoning models `max_completion_tokens` in place of `max_tokens`, no `logprobs` and no `temperature`, by `extra` |
//! | DeepSeek | `https://api.deepseek.com/v1` | `extra = { thinking = { type = "disabled" } }` where a model thinks |
//!
//! ```text
//! question ── journal has it? ── yes ─────────────────────────────────────────────► answer
//!                │ no                                                                 ▲
//!                ▼                                                                    │
//!   desk: budget, pauses ──► worker: POST ──► whole answer ──► journal (synced) ──────┘
//!                ▲                └─ 408 409 429 5xx, time-out, cut, lost: back off, again, up to `tries`
//!                └────────────────┘  any other 4xx, a web page: the end; what was answered stays
//! ```
//!
//! What it deliberately does not do: know prices (they change), hold answers to a form (vLLM's `guided_…` go in `extra`), count
//! tokens (the server does). A process that is killed may leave up to `concurrency` questions with the server, unseen by the budget.
mod address;
mod config;
mod desk;
mod journal;
mod key;
mod money;
mod patience;
mod question;
mod reply;
mod wire;

pub use config::{EndpointConfig, Manners};
pub use journal::Record;
pub use key::{KEY_ENV, Key};
pub use money::{Tokens, Usage};
pub use reply::Reply;

use super::answers::{Answer, Answers};
use crate::corpus::Case;
use crate::error::{Error, Result};
use crate::prompt::Prompt;
use address::Address;
use desk::{Closed, Desk};
use journal::{Journal, Line};
use money::Prices;
use parking_lot::Mutex;
use question::{Question, fields, limit};
use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::time::Instant;
use wire::{Trouble, Wire};

impl EndpointConfig {
    /// `NAME@host`. An endpoint shows no weights: no digest can say that it is still the same model.
    pub fn id(&self, model: &str) -> Result<String> {
        Ok(format!("{model}@{}", Address::parse(&self.url)?.host()))
    }

    /// What a run's specification says of it: the address and all of a request but its messages.
    pub fn spec(&self, model: &str, max_new: usize) -> Result<Value> {
        Ok(json!({"url": Address::parse(&self.url)?.base(), "request": fields(self, model, max_new)?}))
    }
}

/// An endpoint that answers prompts, from its journal where it has answered before.
pub struct Endpoint {
    id: String,
    base: String,
    model: String,
    fields: Map<String, Value>,
    seed: u64,
    manners: Manners,
    key: Option<Key>,
    wire: Wire,
    journal: PathBuf,
    /// Of the last call of `answer`, also where it failed.
    last: Mutex<(Usage, Vec<Kept>)>,
}

/// A case and the reply that its answer was read from: a line of `answers.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Kept {
    pub case_id: String,
    /// SHA-256 over address, model, messages and parameters.
    pub question: String,
    pub answer: Record,
}

impl Endpoint {
    /// With the key of the environment; `folder` keeps the journals.
    pub fn open(config: &EndpointConfig, model: &str, max_new: usize, folder: &Path) -> Result<Self> {
        Self::with_key(config, model, max_new, folder, Key::from_env(config.manners.key_env.as_deref())?)
    }

    pub fn with_key(
        config: &EndpointConfig,
        model: &str,
        max_new: usize,
        folder: &Path,
        key: Option<Key>,
    ) -> Result<Self> {
        let (manners, address) = (config.manners.clone(), Address::parse(&config.url)?);
        manners.check()?;
        let fields = fields(config, model, max_new)?;
        if manners.budget.is_some() && limit(&fields).is_none() {
            return Err(Error::input(
                "endpoint: a budget needs a limit on new tokens: max_tokens or max_completion_tokens",
            ));
        }
        if let Some(key) = &key {
            key.may_travel(&address, manners.key_over_http)?;
        }
        Ok(Self {
            id: config.id(model)?,
            base: address.base().into(),
            journal: Journal::place(folder, address.base(), model),
            wire: Wire::new(address, model, key.clone(), &manners)?,
            model: model.into(),
            seed: config.seed,
            last: Mutex::default(),
            fields,
            manners,
            key,
        })
    }

    /// What the last answers took, also where they ended with an error.
    pub fn usage(&self) -> Usage {
        self.last.lock().0.clone()
    }

    /// The replies behind the last answers, in the order of the cases.
    pub fn kept(&self) -> Vec<Kept> {
        self.last.lock().1.clone()
    }

    fn prices(&self) -> Option<Prices> {
        self.manners.prices().map(|(prompt, new)| Prices { prompt, new })
    }

    fn question(&self, prompt: &Prompt, case: &Case) -> Result<Question> {
        let question = Question::new(&self.base, &self.fields, &prompt.messages(case), self.manners.stream);
        match self.key.as_ref().is_some_and(|key| key.is_in(&question.body)) {
            true => Err(Error::input(format!(
                "case `{}`: the endpoint's key is part of the question: take it out",
                case.case_id
            ))),
            false => Ok(question),
        }
    }
}

impl Answers for Endpoint {
    fn id(&self) -> &str {
        &self.id
    }

    fn adapter(&self) -> Option<&str> {
        None
    }

    fn answer(&self, prompt: &Prompt, cases: &[Case], done: &mut dyn FnMut(usize)) -> Result<Vec<Answer>> {
        let asked = cases.iter().map(|case| self.question(prompt, case)).collect::<Result<Vec<_>>>()?;
        let mut round = Round::new(self, cases, &asked, Journal::open(&self.journal)?);
        let end = round.run(done);
        *self.last.lock() = (round.usage(), round.kept());
        end?;
        asked.iter().map(|question| round.answer(question)).collect()
    }
}

/// What workers tell.
enum Event {
    /// Its worker goes on when the sender is dropped: then the answer is in the journal.
    Answered(usize, Record, Sender<()>),
    /// A try brought nothing and may be billed.
    Lost(usize),
    Retried(String),
    Failed(usize, Error),
}

/// One call of `answer`.
struct Round<'a> {
    endpoint: &'a Endpoint,
    cases: &'a [Case],
    /// One a case.
    asked: &'a [Question],
    journal: Journal,
    /// Distinct questions: how many cases share each.
    shared: BTreeMap<&'a str, usize>,
    /// Distinct questions without an answer, by the first case that asks each.
    pending: Vec<usize>,
    retries: BTreeMap<String, usize>,
}

impl<'a> Round<'a> {
    fn new(endpoint: &'a Endpoint, cases: &'a [Case], asked: &'a [Question], journal: Journal) -> Self {
        let (mut shared, mut pending) = (BTreeMap::new(), Vec::new());
        for (i, question) in asked.iter().enumerate() {
            let count = shared.entry(question.key.as_str()).or_insert(0);
            *count += 1;
            if *count == 1 && journal.answer(&question.key).is_none() {
                pending.push(i);
            }
        }
        Self { endpoint, cases, asked, journal, shared, pending, retries: BTreeMap::new() }
    }

    /// Asks what is pending; every answer is in the journal before `done` hears of it.
    fn run(&mut self, done: &mut dyn FnMut(usize)) -> Result<()> {
        if self.journal.unreadable > 0 {
            eprintln!(
                "{}: {} lines cannot be read and are asked again",
                self.journal.path.display(),
                self.journal.unreadable
            );
        }
        let mut finished = self.finished();
        if finished > 0 {
            println!("… {finished} of {} cases were answered before", self.cases.len());
            done(finished);
        }
        let budget = self.endpoint.manners.budget.zip(self.endpoint.prices());
        let desk = Desk::new(self.pending.len(), budget, self.spent());
        let pending: Vec<&Question> = self.pending.iter().map(|&i| &self.asked[i]).collect();
        let mut failed = None;
        self.endpoint.ask_all(&pending, &desk, |events| {
            let before = finished;
            let (mut lines, mut waiting) = (Vec::new(), Vec::new());
            for event in events {
                match event {
                    Event::Answered(at, record, worker) => {
                        waiting.push(worker);
                        finished += self.shared[pending[at].key.as_str()];
                        lines.push(Line { key: pending[at].key.clone(), answer: Some(record), lost: None });
                    }
                    Event::Lost(at) => {
                        lines.push(Line { key: pending[at].key.clone(), answer: None, lost: Some(pending[at].worst) });
                    }
                    Event::Retried(kind) => *self.retries.entry(kind).or_default() += 1,
                    Event::Failed(at, error) => drop(failed.get_or_insert((at, error))),
                }
            }
            if !lines.is_empty() {
                self.journal.add(lines)?;
            }
            if finished > before {
                done(finished);
            }
            Ok(())
        })?;
        match (failed, desk.refused()) {
            (Some((at, error)), _) => Err(self.stopped(at, error)),
            (None, Some(worst)) => Err(self.too_dear(worst)),
            (None, None) => Ok(()),
        }
    }

    /// Cases that have an answer.
    fn finished(&self) -> usize {
        self.shared.iter().filter(|(key, _)| self.journal.answer(key).is_some()).map(|(_, cases)| cases).sum()
    }

    /// What the distinct questions took so far, lost tries among it.
    fn spent(&self) -> Tokens {
        let usage = self.usage();
        usage.tokens + usage.lost_tokens_at_most
    }

    /// The error that ended it, with what is kept.
    fn stopped(&self, at: usize, error: Error) -> Error {
        let (case, finished, all) = (&self.cases[self.pending[at]].case_id, self.finished(), self.cases.len());
        let kept = match finished {
            0 => "no case is answered yet".to_string(),
            _ => format!("{finished} of {all} cases are answered and kept, the same command goes on from there"),
        };
        let text = format!("case `{case}`: {error} ({kept})");
        if error.exit_code() == 2 { Error::input(text) } else { Error::failed(text) }
    }

    fn too_dear(&self, worst: f64) -> Error {
        let (usage, all) = (self.usage(), self.cases.len());
        let spent = usage.cost_usd.unwrap_or(0.0) + usage.lost_usd_at_most.unwrap_or(0.0);
        Error::failed(format!(
            "the budget ends here: {spent:.6} of {} USD are used, and the next question could cost {worst:.6} USD; \
             {} of {all} cases are answered and kept: the same command with a higher --budget goes on from there",
            self.endpoint.manners.budget.unwrap_or(0.0),
            self.finished(),
        ))
    }

    fn usage(&self) -> Usage {
        let mut usage = Usage {
            endpoint: self.endpoint.base.clone(),
            model: self.endpoint.model.clone(),
            cases: self.cases.len(),
            questions: self.shared.len(),
            retries: self.retries.clone(),
            ..Usage::default()
        };
        let mut seen = std::collections::BTreeSet::new();
        for question in self.asked.iter().filter(|question| seen.insert(&question.key)) {
            let (tries, tokens) = self.journal.lost(&question.key);
            usage.lost_tries += tries;
            usage.lost_tokens_at_most += tokens;
            let Some(Record { reply, .. }) = self.journal.answer(&question.key) else { continue };
            usage.answered += 1;
            usage.tokens += reply.usage.unwrap_or(question.worst);
            usage.answers_without_count += usize::from(reply.usage.is_none());
            usage.with_reasoning += usize::from(reply.parts().0.is_some());
            *usage.finish.entry(reply.finish.clone().unwrap_or("not said".into())).or_default() += 1;
            if let Some(served) = &reply.served {
                *usage.served.entry(served.clone()).or_default() += 1;
            }
        }
        usage.kept_before = usage.questions - self.pending.len();
        if let Some(prices) = self.endpoint.prices() {
            (usage.price_in, usage.price_out) = (Some(prices.prompt), Some(prices.new));
            usage.cost_usd = Some(prices.cost(usage.tokens));
            usage.lost_usd_at_most = Some(prices.cost(usage.lost_tokens_at_most));
        }
        usage
    }

    fn kept(&self) -> Vec<Kept> {
        let answered = |(case, question): (&Case, &Question)| {
            let answer = self.journal.answer(&question.key)?.clone();
            Some(Kept { case_id: case.case_id.clone(), question: question.key.clone(), answer })
        };
        self.cases.iter().zip(self.asked).filter_map(answered).collect()
    }

    fn answer(&self, question: &Question) -> Result<Answer> {
        let record = self.journal.answer(&question.key);
        let Record { reply, seconds, .. } = record.ok_or_else(|| Error::failed("a question has no answer"))?;
        let usage = reply.usage.unwrap_or_default();
        Ok(Answer {
            raw: reply.parts().1.into(),
            logprob: reply.logprob,
            prompt_tokens: usage.prompt as usize,
            new_tokens: usage.new as usize,
            seconds: *seconds,
        })
    }
}

impl Endpoint {
    /// Has every question asked by as many workers as may be in flight; `hear` is told in this thread, all that has
    /// come in the meantime at once.
    fn ask_all(
        &self,
        questions: &[&Question],
        desk: &Desk,
        mut hear: impl FnMut(Vec<Event>) -> Result<()>,
    ) -> Result<()> {
        let (send, events) = channel();
        std::thread::scope(|scope| {
            let mut result = Ok(());
            for _ in 0..self.manners.concurrency.min(questions.len()) {
                let send = send.clone();
                let work = move || {
                    while let Some(at) = desk.take() {
                        self.pursue(desk, questions[at], at, &send);
                    }
                };
                if let Err(error) = std::thread::Builder::new().spawn_scoped(scope, work) {
                    desk.end();
                    result =
                        Err(Error::failed(format!("no thread for a request, ask with a lower --concurrency: {error}")));
                }
            }
            drop(send);
            while let Ok(first) = events.recv() {
                let heard = hear(std::iter::once(first).chain(events.try_iter()).collect());
                if heard.is_err() {
                    desk.end();
                    result = result.and(heard);
                }
            }
            result
        })
    }

    /// Asks one question until it is answered, cannot be, or all ends.
    fn pursue(&self, desk: &Desk, question: &Question, at: usize, send: &Sender<Event>) {
        let tell = |event| drop(send.send(event)); // whoever listens does so until the last worker is done
        let fail = |error| {
            desk.end();
            tell(Event::Failed(at, error));
        };
        for attempt in 1.. {
            if !desk.admit(question.worst) {
                return;
            }
            let started = Instant::now();
            let asked = self.wire.ask(&question.body);
            let seconds = started.elapsed().as_secs_f64();
            let (kind, error, after) = match asked {
                Ok(reply) => {
                    desk.reach();
                    desk.close(question.worst, Closed::Spent(reply.usage.unwrap_or(question.worst)));
                    let (worker, journaled) = channel();
                    tell(Event::Answered(at, Record { reply, seconds, tries: attempt }, worker));
                    let _ = journaled.recv(); // nothing is ever sent: an error is the sign
                    return;
                }
                Err(Trouble::Again { kind, said, after, billed }) => {
                    desk.reach();
                    desk.close(question.worst, if billed { Closed::Spent(question.worst) } else { Closed::Free });
                    if billed {
                        tell(Event::Lost(at));
                    }
                    (kind, Error::failed(said), after)
                }
                Err(Trouble::Nobody(error)) => {
                    desk.close(question.worst, Closed::Free);
                    if !desk.reached() {
                        return fail(error);
                    }
                    ("no connection".into(), error, None)
                }
                Err(Trouble::End(error)) => {
                    desk.close(question.worst, Closed::Free);
                    return fail(error);
                }
            };
            if attempt >= self.manners.tries {
                return fail(Error::failed(format!("{error}; that was try {attempt}, the last one (--tries)")));
            }
            if let Some(wait) = after {
                if wait.as_secs_f64() > self.manners.longest_wait {
                    let (wait, longest) = (wait.as_secs(), self.manners.longest_wait);
                    return fail(Error::failed(format!(
                        "{error}; it asks to wait {wait} s, longer than {longest} s (--longest-wait)"
                    )));
                }
                desk.pause(wait);
            }
            tell(Event::Retried(kind));
            desk.rest(self.manners.backoff(attempt, self.dice(&question.key, attempt)));
        }
    }

    /// 0 to 1, the same for the same seed, question and try.
    fn dice(&self, key: &str, attempt: usize) -> f64 {
        let digest = Sha256::digest(format!("{}/{key}/{attempt}", self.seed));
        f64::from(u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])) / f64::from(u32::MAX)
    }
}

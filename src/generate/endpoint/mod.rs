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
//! question ── journal has it? ── yes ───────────────────────────────────────────────► answer
//!                │ no                                                                   ▲
//!                ▼                                                                      │
//!   queue: budget, pauses ──► worker: POST ──► complete reply ──► journal (synced) ─────┘
//!                ▲                └─ 408 409 429 5xx, time-out, lost, incomplete: back off, again, up to `tries`
//!                └────────────────┘  any other 4xx, a redirect, a web page: the end; what was answered stays
//! ```
//!
//! What it deliberately does not do: know prices (they change), hold answers to a form (vLLM's `guided_…` go in `extra`), count
//! tokens (the server does). A process that is killed may leave up to `concurrency` questions with the server, unseen by the budget.
mod address;
mod config;
mod defects;
mod http;
mod journal;
mod key;
mod question;
mod queue;
mod reply;
mod retry_after;
mod session;
mod usage;

pub use config::{ClientConfig, EndpointConfig};
pub use journal::Record;
pub use key::{KEY_ENV, Key};
pub use reply::{Defect, Reply};
pub use usage::{Tokens, Usage};

use super::answers::{Answer, Answers};
use crate::corpus::Case;
use crate::error::{Error, Result};
use crate::prompt::Prompt;
use address::Address;
use http::{Failure, HttpClient};
use journal::Journal;
use parking_lot::Mutex;
use question::{Question, fields, limit};
use queue::{Billing, RequestQueue};
use serde::Serialize;
use serde_json::{Map, Value, json};
use session::{Event, Session};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::time::Instant;
use usage::Prices;

impl EndpointConfig {
    /// `NAME@host`. An endpoint shows no weights: no digest can say that it is still the same model.
    pub fn id(&self, model: &str) -> Result<String> {
        Ok(format!("{model}@{}", Address::parse(&self.url)?.host()))
    }

    /// What a run's specification says of it: the address and all of a request but its messages.
    /// The key is never part of it.
    pub fn spec(&self, model: &str, max_new: usize) -> Result<Value> {
        let spec = json!({"url": Address::parse(&self.url)?.base(), "request": fields(self, model, max_new)?});
        // a run that is there already is opened without a key
        let key = Key::from_env(self.client.key_env.as_deref()).unwrap_or_default();
        match key.is_some_and(|key| key.is_in(&spec.to_string())) {
            true => Err(Error::input(
                "the endpoint's key is part of its address, the model's name or a field of the request, which are kept in spec.json: take it out there",
            )),
            false => Ok(spec),
        }
    }
}

/// An endpoint that answers prompts, from its journal where it has answered before.
pub struct Endpoint {
    id: String,
    base: String,
    model: String,
    fields: Map<String, Value>,
    seed: u64,
    client: ClientConfig,
    key: Option<Key>,
    http: HttpClient,
    journal: PathBuf,
    /// Of the last call of `answer`, also where it failed.
    last: Mutex<(Usage, Vec<CaseReply>)>,
}

/// A case and the reply that its answer was read from: a line of `answers.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CaseReply {
    pub case_id: String,
    /// SHA-256 over address, model, messages and parameters.
    pub question: String,
    pub answer: Record,
}

impl Endpoint {
    /// With the key of the environment; `folder` keeps the journals.
    pub fn open(config: &EndpointConfig, model: &str, max_new: usize, folder: &Path) -> Result<Self> {
        Self::with_key(config, model, max_new, folder, Key::from_env(config.client.key_env.as_deref())?)
    }

    pub fn with_key(
        config: &EndpointConfig,
        model: &str,
        max_new: usize,
        folder: &Path,
        key: Option<Key>,
    ) -> Result<Self> {
        let (client, address) = (config.client.clone(), Address::parse(&config.url)?);
        client.check()?;
        let fields = fields(config, model, max_new)?;
        if client.budget.is_some() && limit(&fields).is_none() {
            return Err(Error::input(
                "endpoint: a budget needs a limit on new tokens: max_tokens or max_completion_tokens",
            ));
        }
        if let Some(key) = &key {
            key.check_transport(&address, client.key_over_http)?;
        }
        Ok(Self {
            id: config.id(model)?,
            base: address.base().into(),
            journal: Journal::place(folder, address.base(), model),
            http: HttpClient::new(address, model, key.clone(), &client)?,
            model: model.into(),
            seed: config.seed,
            last: Mutex::default(),
            fields,
            client,
            key,
        })
    }

    /// What the last answers took, also where they ended with an error.
    pub fn usage(&self) -> Usage {
        self.last.lock().0.clone()
    }

    /// The replies behind the last answers, in the order of the cases.
    pub fn replies(&self) -> Vec<CaseReply> {
        self.last.lock().1.clone()
    }

    fn prices(&self) -> Option<Prices> {
        self.client.prices().map(|(prompt, new)| Prices { prompt, new })
    }

    fn question(&self, prompt: &Prompt, case: &Case) -> Result<Question> {
        let question = Question::new(&self.base, &self.fields, &prompt.messages(case), self.client.stream);
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
        let mut session = Session::new(self, cases, &asked, Journal::open(&self.journal)?);
        let end = session.run(done);
        *self.last.lock() = (session.usage(), session.replies());
        end?;
        asked.iter().map(|question| session.answer(question)).collect()
    }
}

impl Endpoint {
    /// Has every question asked by as many workers as may be in flight; `on_events` is called in this thread, with all that has
    /// come in the meantime at once.
    fn ask_all(
        &self,
        questions: &[&Question],
        queue: &RequestQueue,
        mut on_events: impl FnMut(Vec<Event>) -> Result<()>,
    ) -> Result<()> {
        let (send, events) = channel();
        std::thread::scope(|scope| {
            let mut result = Ok(());
            for _ in 0..self.client.concurrency.min(questions.len()) {
                let send = send.clone();
                let work = move || {
                    while let Some(at) = queue.next() {
                        self.ask_with_retries(queue, questions[at], at, &send);
                    }
                };
                if let Err(error) = std::thread::Builder::new().spawn_scoped(scope, work) {
                    queue.stop();
                    result =
                        Err(Error::failed(format!("no thread for a request, ask with a lower --concurrency: {error}")));
                }
            }
            drop(send);
            while let Ok(first) = events.recv() {
                let handled = on_events(std::iter::once(first).chain(events.try_iter()).collect());
                if handled.is_err() {
                    queue.stop();
                    result = result.and(handled);
                }
            }
            result
        })
    }

    /// Asks one question until it is answered, cannot be, or all ends.
    fn ask_with_retries(&self, queue: &RequestQueue, question: &Question, at: usize, send: &Sender<Event>) {
        let tell = |event| drop(send.send(event)); // whoever listens does so until the last worker is done
        let fail = |error| {
            queue.stop();
            tell(Event::Failed(at, error));
        };
        for attempt in 1.. {
            if !queue.acquire(question.worst) {
                return;
            }
            let started = Instant::now();
            let asked = self.http.ask(&question.body);
            let seconds = started.elapsed().as_secs_f64();
            let (kind, error, after) = match asked {
                Ok(reply) => {
                    queue.set_reached();
                    queue.release(question.worst, Billing::Spent(reply.usage.unwrap_or(question.worst)));
                    let (worker, journaled) = channel();
                    tell(Event::Answered(at, Record { reply, seconds, tries: attempt }, worker));
                    let _ = journaled.recv(); // nothing is ever sent: an error is the sign
                    return;
                }
                Err(Failure::Retry { kind, said, after, billed }) => {
                    queue.set_reached();
                    queue.release(question.worst, if billed { Billing::Spent(question.worst) } else { Billing::Free });
                    if billed {
                        tell(Event::Lost(at));
                    }
                    (kind, Error::failed(said), after)
                }
                Err(Failure::Unreachable(error)) => {
                    queue.release(question.worst, Billing::Free);
                    if !queue.reached() {
                        return fail(error);
                    }
                    ("no connection".into(), error, None)
                }
                Err(Failure::Fatal(error)) => {
                    queue.release(question.worst, Billing::Free);
                    return fail(error);
                }
            };
            if attempt >= self.client.tries {
                return fail(Error::failed(format!("{error}; that was try {attempt}, the last one (--tries)")));
            }
            if let Some(wait) = after {
                if wait.as_secs_f64() > self.client.longest_wait {
                    let (wait, longest) = (wait.as_secs(), self.client.longest_wait);
                    return fail(Error::failed(format!(
                        "{error}; it asks to wait {wait} s, longer than {longest} s (--longest-wait)"
                    )));
                }
                queue.pause(wait);
            }
            tell(Event::Retried(kind));
            queue.sleep(self.client.backoff(attempt, self.jitter(&question.key, attempt)));
        }
    }

    /// 0 to 1, the same for the same seed, question and try.
    fn jitter(&self, key: &str, attempt: usize) -> f64 {
        let digest = Sha256::digest(format!("{}/{key}/{attempt}", self.seed));
        f64::from(u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])) / f64::from(u32::MAX)
    }
}

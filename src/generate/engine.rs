//! Decoding that requests join and leave between steps (continuous batching; Yu et al., Orca, OSDI 2022), over one model or several that
//! share their weights.
//!
//! ```text
//! ask ─ waits for room ─ prompt read in pieces of 128 tokens ─┬─ sample 0 ─ token ─ token ─ … ─ done
//!                        │ a piece that another request        └─ sample 1 ─ token ─ …
//!                        └ began with is copied, not read
//! step = pieces of the oldest prompts that are not read yet, 128 tokens or little more, then one token for every sample of every request
//! ```
//!
//! **An answer depends on its request alone, to the last bit**: neither on who else is asked, nor on the order, nor on what was read before.
//! A prompt is read by itself, always cut at multiples of 128 tokens, so that what is copied are the numbers that would have been computed.
//! The tokens of a step are computed together, in products that give a row the same bits whatever stands beside it ([`by_row`]). Draws
//! belong to seed, sample and position ([`Sampling`]). Answers are those of [`decode`](super::decode) up to the rounding of the logits,
//! since that reads prompts side by side.
use super::constraint::Constraint;
use super::decode::{Finish, Generated};
use super::kept::Kept;
use super::sample::{Place, Sampling};
use super::sequence::{Rules, Sequence};
use super::text::StopStrings;
use crate::error::{Error, Result};
use crate::model::ops::{CpuSlice, Segments, by_row, each, log_sum_exp, on_workers};
use crate::model::{Cache, CausalLm};
use candle_core::Tensor;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Tokens of a prompt that are read in one pass, and that are kept and copied together.
pub(super) const PIECE: usize = 128;

/// One prompt and how it is to be answered.
pub struct Ask {
    /// Index of the model.
    pub model: usize,
    pub prompt: Vec<u32>,
    pub sampling: Sampling,
    /// Answers, at least 1.
    pub samples: usize,
    /// New tokens an answer, at most.
    pub max_new: usize,
    /// Token ids that end an answer.
    pub stop: Vec<u32>,
    /// Texts that end an answer.
    pub until: Option<StopStrings>,
    /// In its state before the first token.
    pub constraint: Option<Box<dyn Constraint>>,
    /// Of every token so many of the likeliest in its place.
    pub top: usize,
}

impl Ask {
    /// Tokens that its caches may come to hold.
    fn tokens(&self) -> usize {
        self.samples * (self.prompt.len() + self.max_new)
    }
}

/// A token that was drawn; the one that ends an answer among them.
#[derive(Clone, Debug, PartialEq)]
pub struct Drawn {
    pub id: u32,
    /// Natural logarithm, of the model's own distribution.
    pub logprob: f64,
    /// The likeliest tokens in its place with theirs, the likeliest first.
    pub top: Vec<(u32, f64)>,
    /// The answer is over with it, and it is no part of the answer.
    pub ends: bool,
}

/// Who waits for the answers to one [`Ask`]. Called on the engine's thread, so it must not wait.
pub trait Listen: Send {
    /// A token of an answer.
    fn token(&mut self, sample: usize, token: Drawn);
    /// An answer is over.
    fn done(&mut self, sample: usize, made: Generated);
    /// There will be no further word.
    fn failed(&mut self, error: Error);
    /// Nobody waits any more: the engine drops the request.
    fn gone(&self) -> bool;
}

/// What an engine may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Sequences decoded at the same time.
    pub sequences: usize,
    /// Tokens of all caches together, new tokens that may come included; a request that is larger than that is refused. What recurrent layers
    /// know of a sequence comes on top; it does not grow.
    pub tokens: usize,
    /// Tokens of prompts kept for others that begin alike. Recurrent layers keep a state a piece besides.
    pub kept: usize,
}

impl Default for Room {
    fn default() -> Self {
        Self { sequences: 32, tokens: 1 << 16, kept: 1 << 13 }
    }
}

/// What an engine did so far, and what it has before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    pub steps: u64,
    /// Tokens of prompts that were read, and that were copied instead.
    pub read: u64,
    pub copied: u64,
    pub new_tokens: u64,
    /// Requests that nobody waited for any more.
    pub left: u64,
    /// Sequences now, and requests whose prompt is not read yet.
    pub active: usize,
    pub waiting: usize,
}

/// See the file's header.
pub struct Engine {
    models: Vec<Arc<CausalLm>>,
    room: Room,
    requests: BTreeMap<u64, Request>,
    next: u64,
    /// Requests whose prompt is not read yet, the oldest first; those that have room lie before those that wait for it.
    reading: VecDeque<Reading>,
    active: Vec<Active>,
    kept: Kept,
    done: Done,
}

struct Request {
    ask: Ask,
    listen: Box<dyn Listen>,
    /// Answers that are not over.
    left: usize,
}

impl Request {
    fn rules(&self) -> Rules<'_> {
        Rules { sampling: &self.ask.sampling, stop: &self.ask.stop, max_new: self.ask.max_new }
    }
}

struct Reading {
    request: u64,
    /// None while it waits for room.
    cache: Option<Cache>,
}

struct Active {
    request: u64,
    /// What it drew last is read next.
    answer: Sequence,
    cache: Cache,
}

impl Engine {
    /// Fails without a model. They must be of one shape (a base model and the same with adapters).
    pub fn new(models: Vec<Arc<CausalLm>>, room: Room) -> Result<Self> {
        if models.is_empty() || room.sequences == 0 {
            return Err(Error::input("an engine without a model, or without room for a sequence"));
        }
        let kept = Kept::new(room.kept);
        let (reading, active, requests) = (VecDeque::new(), vec![], BTreeMap::new());
        Ok(Self { models, room, requests, next: 0, reading, active, kept, done: Done::default() })
    }

    /// Takes a request; one that cannot be answered is told so at once.
    pub fn join(&mut self, ask: Ask, mut listen: Box<dyn Listen>) {
        if let Err(error) = self.check(&ask) {
            return listen.failed(error);
        }
        let (request, left) = (self.next, ask.samples);
        self.next += 1;
        self.requests.insert(request, Request { ask, listen, left });
        self.reading.push_back(Reading { request, cache: None });
    }

    fn check(&self, ask: &Ask) -> Result<()> {
        let bad = |what: &str| Err(Error::input(what));
        let Some(model) = self.models.get(ask.model) else { return bad("no such model in this engine") };
        ask.sampling.check()?;
        model.config.reads(&ask.prompt)?;
        // the last new token is never read
        model.config.holds(ask.prompt.len() + ask.max_new.saturating_sub(1))?;
        match ask {
            _ if ask.max_new == 0 => bad("0 new tokens: expected at least 1"),
            _ if ask.samples == 0 || ask.samples > self.room.sequences => {
                let (n, most) = (ask.samples, self.room.sequences);
                bad(&format!("{n} answers to a prompt: expected 1 to {most}"))
            }
            _ if self.room.tokens < ask.tokens() => {
                let Ask { samples, prompt, max_new, .. } = ask;
                bad(&format!(
                    "{} tokens of prompt and up to {max_new} new ones for each of {samples} answers are more than the {} that all caches may \
                     hold together: ask for fewer answers or tokens",
                    prompt.len(),
                    self.room.tokens
                ))
            }
            _ if ask.constraint.is_some() && ask.stop.is_empty() => {
                bad("a constrained answer ends with the end of turn: expected a token that ends it")
            }
            _ => Ok(()),
        }
    }

    /// Nothing to do.
    pub fn is_idle(&self) -> bool {
        self.requests.is_empty()
    }

    pub fn done(&self) -> Done {
        Done { active: self.active.len(), waiting: self.reading.len(), ..self.done }
    }

    /// Reads some of the prompts that wait and appends one token to every active sequence.
    pub fn step(&mut self) {
        self.done.steps += 1;
        let gone: Vec<u64> = self.requests.iter().filter(|(_, r)| r.listen.gone()).map(|(id, _)| *id).collect();
        self.done.left += gone.len() as u64;
        gone.into_iter().for_each(|request| self.forget(request));
        self.admit();
        self.read();
        for model in 0..self.models.len() {
            self.decode(model);
        }
    }

    /// Ends everything with an error.
    pub fn fail_all(&mut self, why: &str) {
        let all: Vec<u64> = self.requests.keys().copied().collect();
        all.into_iter().for_each(|request| self.fail(request, Error::failed(why)));
    }

    fn fail(&mut self, request: u64, error: Error) {
        if let Some(known) = self.requests.get_mut(&request) {
            known.listen.failed(error);
        }
        self.forget(request);
    }

    fn forget(&mut self, request: u64) {
        self.requests.remove(&request);
        self.reading.retain(|reading| reading.request != request);
        self.active.retain(|active| active.request != request);
    }

    /// Gives room to those that wait, in their order.
    fn admit(&mut self) {
        let begun = self.reading.iter().filter(|reading| reading.cache.is_some()).count();
        let mut held: std::collections::BTreeSet<u64> = self.active.iter().map(|active| active.request).collect();
        held.extend(self.reading.iter().take(begun).map(|reading| reading.request));
        let of = |id: &u64| self.requests.get(id).map_or((0, 0), |request| (request.left, request.ask.tokens()));
        let (mut sequences, mut tokens) = held.iter().map(of).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
        for at in begun..self.reading.len() {
            let request = self.reading[at].request;
            let Some(asked) = self.requests.get(&request) else { continue };
            let full =
                sequences + asked.ask.samples > self.room.sequences || tokens + asked.ask.tokens() > self.room.tokens;
            if full && sequences > 0 {
                return;
            }
            (sequences, tokens) = (sequences + asked.ask.samples, tokens + asked.ask.tokens());
            self.reading[at].cache = Some(self.models[asked.ask.model].cache());
        }
    }

    /// Reads pieces of the oldest prompts, each by itself, until they make up a whole piece.
    fn read(&mut self) {
        let mut left = PIECE;
        while let Some(Reading { request, cache: Some(_) }) = self.reading.front() {
            let (request, read) = (*request, self.done.read);
            if let Err(error) = self.read_piece() {
                self.fail(request, error);
            }
            left = left.saturating_sub((self.done.read - read) as usize);
            if left == 0 {
                return;
            }
        }
    }

    /// Reads the next piece of the oldest prompt; after the last one its answers begin.
    fn read_piece(&mut self) -> Result<()> {
        let Some(Reading { request, cache: Some(cache) }) = self.reading.front_mut() else { return Ok(()) };
        let request = *request;
        let asked = self.requests.get_mut(&request).ok_or_else(|| Error::failed("a request was lost"))?;
        let (prompt, of) = (&asked.ask.prompt, asked.ask.model);
        if cache.is_empty() {
            self.kept.fill(of, prompt, cache)?;
            self.done.copied += cache.len() as u64;
        }
        let piece = &prompt[cache.len()..prompt.len().min(cache.len() + PIECE)];
        let (model, segments) = (&self.models[of], Segments::of_lengths([piece.len()]));
        let newest = Segments::of_lengths([1]);
        let last = cache.len() + piece.len() == prompt.len();
        let row = on_workers(|| -> Result<Option<Vec<f32>>> {
            let hidden = model.extend_tail(piece, &segments, &newest, &mut [&mut *cache])?;
            Ok(if last { Some(CpuSlice::of(&model.logits(&hidden)?)?.to_vec()) } else { None })
        })?;
        self.done.read += piece.len() as u64;
        if piece.len() == PIECE {
            self.kept.keep(of, prompt, cache);
        }
        let Some(row) = row else { return Ok(()) };
        let cache = self.reading.pop_front().and_then(|reading| reading.cache).unwrap_or_default();
        self.begin(request, cache, &row)
    }

    /// Starts the answers to a prompt that was read into `cache`; `row`: the logits after it.
    fn begin(&mut self, request: u64, cache: Cache, row: &[f32]) -> Result<()> {
        let Some(asked) = self.requests.get_mut(&request) else { return Ok(()) };
        let (whole, samples) = (log_sum_exp(row), asked.ask.samples);
        let mut caches = vec![cache; samples];
        for sample in 0..samples {
            let place = Place { prompt: 0, sample: sample as u64, position: 0 };
            let constraint = asked.ask.constraint.as_ref().map(|c| c.fork());
            let answer = Sequence::new(place, constraint, asked.ask.until.as_ref().map(StopStrings::watch));
            let cache = std::mem::take(&mut caches[sample]);
            let mut active = Active { request, answer, cache };
            self.done.new_tokens += 1;
            if take(asked, &mut active, row, whole)? {
                self.active.push(active);
            } else {
                finish(asked, active);
            }
        }
        if asked.left == 0 {
            self.requests.remove(&request);
        }
        Ok(())
    }

    /// One token for every sequence of one model.
    fn decode(&mut self, model: usize) {
        let of = |requests: &BTreeMap<u64, Request>, id: u64| requests.get(&id).map(|request| request.ask.model);
        let mut mine: Vec<&mut Active> =
            self.active.iter_mut().filter(|a| of(&self.requests, a.request) == Some(model)).collect();
        if mine.is_empty() {
            return;
        }
        let (logits, wholes) = match pass(&self.models[model], &mut mine) {
            Ok(made) => made,
            Err(error) => {
                let (requests, what) = (mine.iter().map(|a| a.request).collect::<Vec<_>>(), error.to_string());
                return requests.into_iter().for_each(|request| self.fail(request, Error::failed(what.clone())));
            }
        };
        let vocabulary = logits.len() / wholes.len();
        let (mut over, mut failed) = (Vec::new(), Vec::new());
        for ((active, row), whole) in mine.into_iter().zip(logits.chunks_exact(vocabulary)).zip(wholes) {
            let (request, sample) = (active.request, active.answer.place.sample);
            let Some(asked) = self.requests.get_mut(&request) else { continue };
            self.done.new_tokens += 1;
            match take(asked, active, row, whole) {
                Ok(true) => {}
                Ok(false) => over.push((request, sample)),
                Err(error) => failed.push((request, error)),
            }
        }
        let ended = |a: &mut Active| over.contains(&(a.request, a.answer.place.sample));
        for active in self.active.extract_if(.., ended).collect::<Vec<_>>() {
            let request = active.request;
            if let Some(asked) = self.requests.get_mut(&request) {
                finish(asked, active);
                if asked.left == 0 {
                    self.requests.remove(&request);
                }
            }
        }
        failed.into_iter().for_each(|(request, error)| self.fail(request, error));
    }
}

/// Reads the newest token of every sequence: logits [sequences, vocab_size] and log Σ e^logit of each.
fn pass(model: &CausalLm, active: &mut [&mut Active]) -> Result<(Vec<f32>, Vec<f32>)> {
    let ids: Vec<u32> = active.iter().map(|a| a.answer.drawn).collect();
    let ones = Segments::of_lengths(vec![1; ids.len()]);
    let mut caches: Vec<&mut Cache> = active.iter_mut().map(|a| &mut a.cache).collect();
    on_workers(|| {
        by_row(|| {
            let logits: Tensor = model.logits(&model.extend(&ids, &ones, &mut caches)?)?;
            let vocabulary = logits.dim(1)?;
            let numbers = CpuSlice::of(&logits)?;
            let mut wholes = vec![0f32; ids.len()];
            each(&mut wholes, |i, whole| *whole = log_sum_exp(&numbers[i * vocabulary..][..vocabulary]));
            Ok((numbers.to_vec(), wholes))
        })
    })
}

/// Draws the next token of an answer and tells it; false when the answer is over.
fn take(asked: &mut Request, active: &mut Active, row: &[f32], whole: f32) -> Result<bool> {
    let sample = active.answer.place.sample as usize;
    let known = active.answer.made.logprobs.len();
    let next = active.answer.take(row, whole, asked.rules())?;
    let Sequence { made, drawn, over, .. } = &active.answer;
    let ends = *over && made.finish == Finish::StopToken;
    let top = likeliest(row, whole, asked.ask.top);
    asked.listen.token(sample, Drawn { id: *drawn, logprob: made.logprobs[known], top, ends });
    Ok(next.is_some())
}

fn finish(asked: &mut Request, active: Active) {
    asked.left -= 1;
    asked.listen.done(active.answer.place.sample as usize, active.answer.into_made());
}

/// The `k` likeliest tokens with their log-probabilities, the likeliest first, equals by id.
fn likeliest(row: &[f32], whole: f32, k: usize) -> Vec<(u32, f64)> {
    if k == 0 {
        return vec![];
    }
    let mut ids: Vec<u32> = (0..row.len() as u32).collect();
    let order = |a: &u32, b: &u32| row[*b as usize].total_cmp(&row[*a as usize]).then(a.cmp(b));
    if k < ids.len() {
        ids.select_nth_unstable_by(k - 1, order);
        ids.truncate(k);
    }
    ids.sort_unstable_by(order);
    ids.into_iter().map(|id| (id, (row[id as usize] - whole) as f64)).collect()
}

//! Decoding many prompts at once: every sequence has its own cache, a finished one makes room for the next. One loop
//! for greedy and sampled answers, free and constrained ones.
//!
//! ```text
//! prompt ─ read once ─ cache ─┬─ sample 0 ─ … ─ stop token, stop string or limit
//!                             ├─ (copy) sample 1
//!                             └─ (copy) sample 2           started when there is room in the batch
//! ```
//!
//! Log-probabilities are those of the model itself: of the logits as they come, before temperature, filters and
//! constraint. Under a constraint those renormalised over the allowed tokens are kept beside them.
use super::constraint::Constraint;
use super::passes::{AT_ONCE, Pass, passes};
use super::sample::{Place, Sampling};
use super::sequence::{Rules, Sequence};
use super::text::StopStrings;
use crate::error::{Error, Result};
use crate::model::ops::{CpuSlice, Segments, each, log_sum_exp, on_workers};
use crate::model::{Cache, CausalLm, Config, Tokenizer};
use candle_core::Tensor;
use serde::Serialize;
use std::borrow::Cow;
use std::collections::VecDeque;

#[derive(Clone, Debug)]
pub struct Limits {
    /// New tokens a prompt, at most.
    pub max_new: usize,
    /// Sequences decoded at the same time.
    pub batch: usize,
    /// Token ids that end an answer.
    pub stop: Vec<u32>,
}

impl Limits {
    /// Exactly `n` new tokens whatever they are, for measuring.
    pub fn exactly(n: usize) -> Self {
        Self { max_new: n, batch: 8, stop: vec![] }
    }
}

/// Tokens that end an answer: those of the checkpoint's files, and those that its tokenizer and chat template tell, which the files of a
/// base model or of a fine-tune may not name.
pub fn stop_tokens(config: &Config, tokenizer: Option<&Tokenizer>) -> Vec<u32> {
    let mut stop = config.eos_token_id.clone();
    let more = tokenizer.into_iter().flat_map(Tokenizer::ends);
    stop.extend(more.filter(|end| (**end as usize) < config.vocab_size && !config.eos_token_id.contains(end)));
    stop
}

/// Answers a prompt, at most: each holds a cache while it is made.
const MOST_SAMPLES: usize = 1 << 16;

/// The constraints that answers are decoded under, in their states before the first token.
#[derive(Clone, Copy)]
pub enum Constraints<'a> {
    None,
    /// One for all answers.
    Shared(&'a dyn Constraint),
    /// One per prompt; called when its place among the prompts is reached.
    PerPrompt(&'a dyn Fn(usize) -> Result<Box<dyn Constraint>>),
}

impl Constraints<'_> {
    pub fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// A state for an answer to this prompt.
    pub(super) fn of(&self, prompt: usize) -> Result<Option<Box<dyn Constraint>>> {
        match self {
            Self::None => Ok(None),
            Self::Shared(constraint) => Ok(Some(constraint.fork())),
            Self::PerPrompt(make) => make(prompt).map(Some),
        }
    }
}

/// How prompts are answered.
#[derive(Clone)]
pub struct Decoding<'a> {
    pub limits: Limits,
    pub sampling: Sampling,
    /// Answers a prompt.
    pub samples: usize,
    /// Texts that end an answer.
    pub until: Option<StopStrings>,
    pub constraints: Constraints<'a>,
    /// Ids that prompts may begin with (instructions, label list, examples): read once, and their cache copied into every answer to a prompt
    /// that begins so. Empty for none. Reading a text in two pieces rounds differently in the last digits, so it is to follow from the
    /// prompt alone, not from which cases are asked about together.
    pub shared: Vec<u32>,
    /// What a prompt is called in errors, by its place among the prompts; `prompt N` where not given.
    pub called: Option<&'a dyn Fn(usize) -> String>,
}

impl Decoding<'_> {
    /// One free answer a prompt, the likeliest token at every step.
    pub fn greedy(limits: Limits) -> Self {
        Self {
            limits,
            sampling: Sampling::default(),
            samples: 1,
            until: None,
            constraints: Constraints::None,
            shared: vec![],
            called: None,
        }
    }

    /// Fails for what cannot be done.
    pub fn check(&self) -> Result<()> {
        self.sampling.check()?;
        let bad = |what: &str| Err(Error::input(what));
        match self {
            d if d.limits.max_new == 0 => bad("0 new tokens: expected at least 1"),
            d if d.samples == 0 => bad("0 samples a prompt: expected at least 1"),
            d if d.samples > MOST_SAMPLES => {
                bad(&format!("{} samples a prompt: expected at most {MOST_SAMPLES}", d.samples))
            }
            d if d.samples > 1 && d.sampling.is_greedy() => {
                bad("several samples at temperature 0 are all the same: expected a temperature above 0, or one sample")
            }
            d if !d.constraints.is_none() && d.limits.stop.is_empty() => bad(
                "a constrained answer ends with the end of turn: expected a token that ends it, and that it is obeyed",
            ),
            _ => Ok(()),
        }
    }

    fn call(&self, prompt: usize) -> String {
        self.called.map_or_else(|| format!("prompt {}", prompt + 1), |called| called(prompt))
    }

    /// The error with the place in the input that it is about.
    fn at(&self, place: Place, error: Error) -> Error {
        match error {
            Error::Input(what) => {
                let (prompt, tokens) = (self.call(place.prompt as usize), place.position);
                Error::Input(format!("{prompt}, after {tokens} new tokens: {what}"))
            }
            Error::Failed(what) => Error::Failed(format!("{}, {what}", self.call(place.prompt as usize))),
            other => other,
        }
    }
}

/// Why an answer is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// The model gave a token of `Limits::stop`.
    StopToken,
    /// One of the texts of `Decoding::until` was complete.
    StopString,
    /// `max_new` tokens were made.
    Length,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    /// New tokens without the one that ended the answer; of an answer that a stop string ended, those that begin before
    /// it.
    pub tokens: Vec<u32>,
    /// log p of `tokens`, then of what was drawn to end the answer; natural logarithm, of the model's own distribution.
    pub logprobs: Vec<f64>,
    /// The same with p renormalised over what the constraint allowed; empty without a constraint.
    pub constrained: Vec<f64>,
    pub finish: Finish,
    /// The text before the stop string, where one ended the answer.
    pub text: Option<String>,
    /// From first sight of the prompt (of a further sample: from its own start) to the last token, shared with the
    /// sequences decoded beside it.
    pub seconds: f64,
}

impl Generated {
    /// Nothing yet.
    pub(super) fn begun() -> Self {
        let (tokens, logprobs, constrained) = (vec![], vec![], vec![]);
        Self { tokens, logprobs, constrained, finish: Finish::Length, text: None, seconds: 0.0 }
    }

    /// log p of the answer and its end.
    pub fn logprob(&self) -> f64 {
        self.logprobs.iter().sum()
    }

    /// As `logprob`, renormalised under the constraint, if there was one.
    pub fn constrained_logprob(&self) -> Option<f64> {
        (!self.constrained.is_empty()).then(|| self.constrained.iter().sum())
    }

    /// False when `max_new` cut the answer.
    pub fn ended(&self) -> bool {
        self.finish != Finish::Length
    }
}

/// One greedy answer a prompt, in their order; the same tokens as decoding one by one.
pub fn greedy(model: &CausalLm, prompts: &[Vec<u32>], limits: &Limits) -> Result<Vec<Generated>> {
    greedy_with(model, prompts, limits, &mut |_| {})
}

/// As `greedy`, calling `done` with the number of finished answers whenever that grows.
pub fn greedy_with(
    model: &CausalLm,
    prompts: &[Vec<u32>],
    limits: &Limits,
    done: &mut dyn FnMut(usize),
) -> Result<Vec<Generated>> {
    Ok(decode(model, prompts, &Decoding::greedy(limits.clone()), done)?.into_iter().flatten().collect())
}

/// `how.samples` answers of every prompt, in order; `done` hears the number of finished answers whenever that grows. An
/// answer does not depend on how many are decoded at a time.
pub fn decode(
    model: &CausalLm,
    prompts: &[Vec<u32>],
    how: &Decoding,
    done: &mut dyn FnMut(usize),
) -> Result<Vec<Vec<Generated>>> {
    decode_by(model, prompts, how, AT_ONCE, done)
}

/// As `decode`, reading `at_once` tokens a pass.
pub(super) fn decode_by(
    model: &CausalLm,
    prompts: &[Vec<u32>],
    how: &Decoding,
    at_once: usize,
    done: &mut dyn FnMut(usize),
) -> Result<Vec<Vec<Generated>>> {
    how.check()?;
    let results = vec![Vec::new(); prompts.len()];
    let prefix = Prefix::read(model, prompts, how, at_once)?;
    let (active, stems) = (vec![], VecDeque::new());
    let mut state = Decoder { model, how, at_once, prefix, active, stems, results, finished: 0 };
    let mut waiting = prompts.iter().enumerate();
    loop {
        let before = state.finished;
        state.fill(&mut waiting)?;
        state.step()?;
        state.retire();
        if state.finished > before {
            done(state.finished);
        }
        if state.active.is_empty() && state.stems.is_empty() && waiting.len() == 0 {
            break;
        }
    }
    let lost = || Error::failed("an answer was lost");
    let whole = |mut answers: Vec<Option<Generated>>| {
        answers.resize(how.samples, None);
        answers.into_iter().map(|a| a.ok_or_else(lost)).collect()
    };
    state.results.into_iter().map(whole).collect()
}

struct Decoder<'a, 'p> {
    model: &'a CausalLm,
    how: &'a Decoding<'a>,
    /// Tokens that a pass reads.
    at_once: usize,
    prefix: Option<Prefix<'a>>,
    active: Vec<Active<'p>>,
    /// Prompts that were read and have samples to start.
    stems: VecDeque<Stem>,
    results: Vec<Vec<Option<Generated>>>,
    finished: usize,
}

/// What prompts share, read once.
struct Prefix<'h> {
    ids: &'h [u32],
    cache: Cache,
}

/// Fewer shared tokens than this are not worth a pass of their own.
const LEAST_SHARED: usize = 16;

impl<'h> Prefix<'h> {
    /// None where there is nothing to share, or only one prompt that begins so.
    fn read(model: &CausalLm, prompts: &[Vec<u32>], how: &'h Decoding, at_once: usize) -> Result<Option<Self>> {
        let ids = how.shared.as_slice();
        let begin = prompts.iter().filter(|prompt| Self::begins(ids, prompt)).count();
        if ids.len() < LEAST_SHARED || begin < 2 {
            return Ok(None);
        }
        model.config.reads(ids).and_then(|()| model.config.holds(ids.len()))?;
        let mut cache = model.cache();
        for piece in ids.chunks(at_once) {
            let (segments, newest) = (Segments::of_lengths([piece.len()]), Segments::of_lengths([1]));
            on_workers(|| model.extend_tail(piece, &segments, &newest, &mut [&mut cache]))?;
        }
        Ok(Some(Self { ids, cache }))
    }

    /// Whether a prompt begins with `ids` and goes on: its last token is read with the rest.
    fn begins(ids: &[u32], prompt: &[u32]) -> bool {
        prompt.len() > ids.len() && prompt.starts_with(ids)
    }

    /// What is left to read of a prompt, and the cache to read it into.
    fn rest<'p>(&self, prompt: &'p [u32]) -> Option<(&'p [u32], Cache)> {
        Self::begins(self.ids, prompt).then(|| (&prompt[self.ids.len()..], self.cache.clone()))
    }
}

/// A prompt that has been read, for its further samples.
struct Stem {
    prompt: usize,
    /// The next sample to start.
    sample: usize,
    cache: Cache,
    /// Logits after the prompt, and log Σ e^logit.
    logits: Vec<f32>,
    whole: f32,
}

/// An answer being made.
struct Active<'p> {
    answer: Sequence,
    /// Tokens that the model has not read yet: the prompt, then the newest token.
    pending: Cow<'p, [u32]>,
    cache: Cache,
}

impl<'p> Decoder<'_, 'p> {
    /// Starts answers while there is room: samples of prompts already read, then new prompts.
    fn fill(&mut self, waiting: &mut impl Iterator<Item = (usize, &'p Vec<u32>)>) -> Result<()> {
        while self.active.len() < self.how.limits.batch.max(1) {
            if let Some(stem) = self.stems.front_mut() {
                let last = stem.sample + 1 == self.how.samples;
                let cache = if last { std::mem::take(&mut stem.cache) } else { stem.cache.clone() };
                let mut next = Active::new(self.how, (stem.prompt, stem.sample), Cow::Borrowed(&[]), cache)?;
                next.take(&stem.logits, stem.whole, self.how)?;
                stem.sample += 1;
                if last {
                    self.stems.pop_front();
                }
                self.active.push(next);
                self.retire(); // its first token may have ended it
            } else if let Some((prompt, ids)) = waiting.next() {
                let shared = self.prefix.as_ref().and_then(|prefix| prefix.rest(ids));
                let (rest, cache) = shared.unwrap_or_else(|| (ids.as_slice(), self.model.cache()));
                self.active.push(Active::new(self.how, (prompt, 0), rest.into(), cache)?);
            } else {
                break;
            }
        }
        Ok(())
    }

    /// Reads what is pending, some tokens at a time, and appends one token to every active sequence.
    fn step(&mut self) -> Result<()> {
        if self.active.is_empty() {
            return Ok(());
        }
        for a in &self.active {
            let config = &self.model.config;
            let known = config.reads(&a.pending);
            let room = known.and_then(|()| config.holds(a.cache.len() + a.pending.len()));
            room.map_err(|e| self.how.at(a.answer.place, e))?;
        }
        let lengths: Vec<usize> = self.active.iter().map(|a| a.pending.len()).collect();
        passes(&lengths, self.at_once).iter().try_for_each(|pass| self.read(pass))
    }

    /// Reads the pieces of one pass; a sequence that has no more to read gets its next token.
    fn read(&mut self, pass: &Pass) -> Result<()> {
        let reading = &mut self.active[pass.first..pass.first + pass.pieces.len()];
        let ids: Vec<u32> =
            reading.iter().zip(&pass.pieces).flat_map(|(a, piece)| a.pending[piece.clone()].iter().copied()).collect();
        let segments = Segments::of_lengths(pass.pieces.iter().map(|piece| piece.len()));
        let mut caches: Vec<&mut Cache> = reading.iter_mut().map(|a| &mut a.cache).collect();
        let (model, newest) = (self.model, Segments::of_lengths(vec![1; segments.len()]));
        let (logits, wholes) = on_workers(|| -> Result<(Tensor, Vec<f32>)> {
            let logits = model.logits(&model.extend_tail(&ids, &segments, &newest, &mut caches)?)?; // [pieces, vocab_size]
            let mut wholes = vec![0f32; segments.len()];
            {
                let (numbers, vocabulary) = (CpuSlice::of(&logits)?, logits.dim(1)?);
                each(&mut wholes, |i, whole| *whole = log_sum_exp(&numbers[i * vocabulary..][..vocabulary]));
            }
            Ok((logits, wholes))
        })?;
        let vocabulary = logits.dim(1)?;
        let logits = CpuSlice::of(&logits)?;
        let rows = logits.chunks_exact(vocabulary).zip(wholes);
        for ((a, piece), (row, whole)) in reading.iter_mut().zip(&pass.pieces).zip(rows) {
            if piece.end < a.pending.len() {
                continue; // the prompt goes on in the next pass
            }
            let read_prompt = a.answer.made.logprobs.is_empty() && a.answer.place.sample == 0;
            if read_prompt && self.how.samples > 1 {
                let prompt = a.answer.place.prompt as usize;
                let logits = row.to_vec();
                self.stems.push_back(Stem { prompt, sample: 1, cache: a.cache.clone(), logits, whole });
            }
            a.take(row, whole, self.how)?;
        }
        Ok(())
    }

    /// Moves what is over to the results.
    fn retire(&mut self) {
        for a in self.active.extract_if(.., |a| a.answer.over) {
            let place = a.answer.place;
            let (answers, sample) = (&mut self.results[place.prompt as usize], place.sample as usize);
            if answers.len() <= sample {
                answers.resize(sample + 1, None);
            }
            answers[sample] = Some(a.answer.into_made());
            self.finished += 1;
        }
    }
}

impl<'p> Active<'p> {
    fn new(how: &Decoding, (prompt, sample): (usize, usize), pending: Cow<'p, [u32]>, cache: Cache) -> Result<Self> {
        let place = Place { prompt: prompt as u64, sample: sample as u64, position: 0 };
        let watch = how.until.as_ref().map(StopStrings::watch);
        Ok(Self { answer: Sequence::new(place, how.constraints.of(prompt)?, watch), pending, cache })
    }

    /// The next token by the logits that follow what was read; `whole`: log Σ e^logit.
    fn take(&mut self, logits: &[f32], whole: f32, how: &Decoding) -> Result<()> {
        let rules = Rules { sampling: &how.sampling, stop: &how.limits.stop, max_new: how.limits.max_new };
        let place = self.answer.place;
        if let Some(token) = self.answer.take(logits, whole, rules).map_err(|e| how.at(place, e))? {
            self.pending = vec![token].into();
        }
        Ok(())
    }
}

//! One answer while it is made: its place in the random numbers, its constraint, and what ends it. Whoever runs the model gives it the
//! logits after what was read and gets the token that is to be read next.
use super::constraint::{Constraint, next_ids};
use super::decode::{Finish, Generated};
use super::sample::{Place, Sampling};
use super::text::{Cut, Watch};
use crate::error::{Error, Result};
use crate::model::ops::log_sum_exp;
use std::time::Instant;

/// How its tokens are chosen and what ends it.
#[derive(Clone, Copy)]
pub(super) struct Rules<'a> {
    pub sampling: &'a Sampling,
    /// Token ids that end it.
    pub stop: &'a [u32],
    /// New tokens, at most.
    pub max_new: usize,
}

/// See the file's header.
pub(super) struct Sequence {
    pub place: Place,
    constraint: Option<Box<dyn Constraint>>,
    watch: Option<Watch>,
    pub made: Generated,
    /// The token that was drawn last, also one that ended the answer.
    pub drawn: u32,
    pub over: bool,
    started: Instant,
}

impl Sequence {
    pub fn new(place: Place, constraint: Option<Box<dyn Constraint>>, watch: Option<Watch>) -> Self {
        let made = Generated::begun();
        Self { place, constraint, watch, made, drawn: 0, over: false, started: Instant::now() }
    }

    /// Chooses the next token by the logits that follow what was read (`whole`: log Σ e^logit), and sees whether it ends the answer: the
    /// token to read next, or none when it is over.
    pub fn take(&mut self, logits: &[f32], whole: f32, rules: Rules) -> Result<Option<u32>> {
        let token = self.choose(logits, whole, rules)?;
        self.place.position += 1;
        self.drawn = token;
        if rules.stop.contains(&token) {
            return Ok(self.finish(Finish::StopToken));
        }
        self.made.tokens.push(token);
        if let Some(constraint) = &mut self.constraint {
            constraint.accept(token)?;
        }
        if let Some(Cut { tokens, text }) = self.watch.as_mut().and_then(|watch| watch.take(token)) {
            self.made.tokens.truncate(tokens);
            self.made.text = Some(text);
            return Ok(self.finish(Finish::StopString));
        }
        match self.made.tokens.len() >= rules.max_new {
            true => Ok(self.finish(Finish::Length)),
            false => Ok(Some(token)),
        }
    }

    /// The answer, with the time it took so far.
    pub fn into_made(self) -> Generated {
        Generated { seconds: self.started.elapsed().as_secs_f64(), ..self.made }
    }

    fn finish(&mut self, why: Finish) -> Option<u32> {
        self.made.finish = why;
        self.over = true;
        None
    }

    fn choose(&mut self, logits: &[f32], whole: f32, rules: Rules) -> Result<u32> {
        if !whole.is_finite() {
            return Err(Error::failed(format!(
                "new token {}: the logits are not finite; are there NaN in the weights?",
                self.place.position + 1
            )));
        }
        let token = match &mut self.constraint {
            None => rules.sampling.choose(logits, None, self.place),
            Some(constraint) => {
                let left = rules.max_new - self.made.tokens.len();
                let ids = next_ids(&mut **constraint, left, rules.stop)?;
                let token = rules.sampling.choose(logits, Some(&ids), self.place);
                let allowed: Vec<f32> = ids.iter().map(|&id| logits[id as usize]).collect();
                self.made.constrained.push((logits[token as usize] - log_sum_exp(&allowed)) as f64);
                token
            }
        };
        self.made.logprobs.push((logits[token as usize] - whole) as f64);
        Ok(token)
    }
}

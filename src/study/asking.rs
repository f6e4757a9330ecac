//! Asking a model about cases, and what is said while it goes on.
use crate::corpus::{Case, Example};
use crate::error::Result;
use crate::generate::{Answer, Answers};
use crate::process::tell;
use crate::prompt::Prompt;
use crate::run::Prediction;
use crate::task::{AnyPrediction, AnyTask};
use serde_json::Value;
use std::time::Instant;

/// Tells how far a long work is, every tenth of the way; beside the results, as what is printed may be JSON.
pub(super) struct Progress {
    of: usize,
    /// What was done to that many.
    done: &'static str,
    tenths: usize,
    started: Instant,
}

impl Progress {
    /// Of so many answers.
    pub fn new(of: usize) -> Self {
        Self::told(of, "answered")
    }

    /// Of so many things to which `done` happens, such as `measured`.
    pub fn told(of: usize, done: &'static str) -> Self {
        Self { of, done, tenths: 0, started: Instant::now() }
    }

    pub fn update(&mut self, done: usize) {
        if done * 10 / self.of > self.tenths {
            self.tenths = done * 10 / self.of;
            let left = self.started.elapsed().as_secs_f64() * (self.of - done) as f64 / done as f64;
            tell(&format!("… {done}/{} {}, about {left:.0} s left", self.of, self.done));
        }
    }
}

/// Asks `model` about every case and reads its answers; tells how far it is every tenth of the way.
pub fn ask(
    model: &dyn Answers,
    prompt: &Prompt,
    task: &dyn AnyTask,
    examples: &[Example<Value>],
) -> Result<Vec<AnyPrediction>> {
    let mut said = Progress::new(examples.len());
    let cases: Vec<Case> = examples.iter().map(|one| one.case.clone()).collect();
    let answers = model.answer(prompt, &cases, &mut |done| said.update(done))?;
    Ok(examples.iter().zip(answers).map(|(example, answer)| read(model, prompt, task, example, answer)).collect())
}

/// What an answer says.
pub(super) fn read(
    model: &dyn Answers,
    prompt: &Prompt,
    task: &dyn AnyTask,
    example: &Example<Value>,
    answer: Answer,
) -> AnyPrediction {
    let read = task.parse(&answer.raw, &example.case);
    Prediction {
        task: task.id(),
        corpus: task.corpus_digest()[..12].into(),
        prompt: prompt.id(),
        model: model.id().into(),
        adapter: model.adapter().map(String::from),
        constrain: model.constrain(),
        parsed: read.parsed,
        logprob: answer.logprob,
        prompt_tokens: answer.prompt_tokens,
        new_tokens: answer.new_tokens,
        steps: answer.steps,
        seconds: answer.seconds,
        ..Prediction::of(example, read.answer, &answer.raw)
    }
}

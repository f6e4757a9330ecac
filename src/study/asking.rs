//! Asking a model about cases, and what is said while it goes on.
use crate::corpus::{Case, Example};
use crate::error::Result;
use crate::generate::{Answer, Answers};
use crate::prompt::Prompt;
use crate::run::Prediction;
use crate::task::{AnyPrediction, AnyTask};
use serde_json::Value;
use std::time::Instant;

/// Prints how far asking is, every tenth of the way.
pub(super) struct Progress {
    of: usize,
    tenths: usize,
    started: Instant,
}

impl Progress {
    pub fn new(of: usize) -> Self {
        Self { of, tenths: 0, started: Instant::now() }
    }

    pub fn update(&mut self, done: usize) {
        if done * 10 / self.of > self.tenths {
            self.tenths = done * 10 / self.of;
            let left = self.started.elapsed().as_secs_f64() * (self.of - done) as f64 / done as f64;
            println!("… {done}/{} answered, about {left:.0} s left", self.of);
        }
    }
}

/// Asks `model` about every case and reads its answers; prints how far it is every tenth of the way.
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

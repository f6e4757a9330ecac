//! Greedy decoding of many prompts at once: every sequence has its own cache, a finished one makes room for the next.
use crate::error::{Error, Result};
use crate::model::ops::{Numbers, Segments, log_sum_exp};
use crate::model::{Cache, Qwen3};
use candle_core::Tensor;
use std::time::Instant;

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

#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    /// New tokens without the one that ended the answer.
    pub tokens: Vec<u32>,
    /// Sum of log p over `tokens` and the ending token, natural logarithm.
    pub logprob: f64,
    /// False when `max_new` cut the answer.
    pub ended: bool,
    /// From first sight of the prompt to its last token, shared with the sequences decoded beside it.
    pub seconds: f64,
}

struct Active<'a> {
    index: usize,
    /// Tokens that the model has not read yet: the prompt, then the newest token.
    pending: std::borrow::Cow<'a, [u32]>,
    cache: Cache,
    made: Generated,
    started: Instant,
}

/// Answers in the order of `prompts`; the same tokens as decoding one by one.
pub fn greedy(model: &Qwen3, prompts: &[Vec<u32>], limits: &Limits) -> Result<Vec<Generated>> {
    greedy_with(model, prompts, limits, &mut |_| {})
}

/// As `greedy`, calling `done` with the number of finished answers whenever that grows.
pub fn greedy_with(
    model: &Qwen3,
    prompts: &[Vec<u32>],
    limits: &Limits,
    done: &mut dyn FnMut(usize),
) -> Result<Vec<Generated>> {
    let mut results: Vec<Option<Generated>> = vec![None; prompts.len()];
    let mut waiting = prompts.iter().enumerate();
    let mut active: Vec<Active> = Vec::new();
    let mut finished = 0;
    loop {
        while active.len() < limits.batch.max(1) {
            let Some((index, prompt)) = waiting.next() else { break };
            active.push(start(index, prompt));
        }
        if active.is_empty() {
            break;
        }
        step(model, &mut active, limits)?;
        let before = finished;
        active.retain_mut(|a| {
            let over = a.made.ended || a.made.tokens.len() >= limits.max_new;
            if over {
                a.made.seconds = a.started.elapsed().as_secs_f64();
                results[a.index] = Some(a.made.clone());
                finished += 1;
            }
            !over
        });
        if finished > before {
            done(finished);
        }
    }
    results.into_iter().map(|r| r.ok_or_else(|| Error::failed("an answer was lost"))).collect()
}

fn start(index: usize, prompt: &[u32]) -> Active<'_> {
    let made = Generated { tokens: vec![], logprob: 0.0, ended: false, seconds: 0.0 };
    Active { index, pending: prompt.into(), cache: Cache::default(), made, started: Instant::now() }
}

/// Reads what is pending and appends one token to every active sequence.
fn step(model: &Qwen3, active: &mut [Active], limits: &Limits) -> Result<()> {
    let ids: Vec<u32> = active.iter().flat_map(|a| a.pending.iter().copied()).collect();
    let segments = Segments::of_lengths(active.iter().map(|a| a.pending.len()));
    let mut caches: Vec<&mut Cache> = active.iter_mut().map(|a| &mut a.cache).collect();
    let hidden = model.extend(&ids, &segments, &mut caches)?;
    let last: Vec<u32> = (0..segments.len()).map(|i| segments.range(i).end as u32 - 1).collect();
    let logits = model.logits(&hidden.index_select(&Tensor::new(last.as_slice(), hidden.device())?, 0)?)?;
    let vocabulary = logits.dim(1)?;
    let logits = Numbers::of(&logits)?;
    for (a, row) in active.iter_mut().zip(logits.chunks_exact(vocabulary)) {
        let token = argmax(row);
        a.made.logprob += (row[token] - log_sum_exp(row)) as f64;
        a.made.ended = limits.stop.contains(&(token as u32));
        if !a.made.ended {
            a.made.tokens.push(token as u32);
        }
        a.pending = vec![token as u32].into();
    }
    Ok(())
}

/// The first of the largest.
fn argmax(row: &[f32]) -> usize {
    row.iter().enumerate().fold(0, |best, (i, v)| if *v > row[best] { i } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::{Adapter, Mode};
    use crate::model::golden::{json, model, pairs, path};

    #[test]
    fn greedy_tokens_agree_with_transformers() {
        let want = json("decode.json");
        let prompts: Vec<Vec<u32>> = pairs().into_iter().map(|p| p.prompt_ids).collect();
        for name in ["tied", "untied", "adapter"] {
            let mut m = model(if name == "untied" { "untied" } else { "tied" });
            if name == "adapter" {
                Adapter::load(&path("adapter"), &mut m).unwrap().attach(&mut m, Mode::Infer).unwrap();
            }
            let tokens: Vec<Vec<u32>> = serde_json::from_value(want[name].clone())
                .or_else(|_| serde_json::from_value(want[name]["tokens"].clone()))
                .unwrap();
            let got = greedy(&m, &prompts, &Limits::exactly(tokens[0].len())).unwrap();
            assert_eq!(got.into_iter().map(|g| g.tokens).collect::<Vec<_>>(), tokens, "{name}");
        }
    }

    #[test]
    fn batched_answers_equal_answers_one_by_one() {
        let m = model("untied");
        let prompts: Vec<Vec<u32>> =
            (0..9).map(|i| (0..3 + i * 5 % 11).map(|j| (i * 31 + j * 7) as u32 % 384).collect()).collect();
        let stop: Vec<u32> = (0..40).collect(); // ends some answers early, so that sequences leave and join
        let run = |batch| greedy(&m, &prompts, &Limits { max_new: 12, batch, stop: stop.clone() }).unwrap();
        let (one, four) = (run(1), run(4));
        assert!(one.iter().any(|g| g.ended) && one.iter().any(|g| !g.ended), "{one:?}");
        for (a, b) in one.iter().zip(&four) {
            assert_eq!((&a.tokens, a.ended), (&b.tokens, b.ended));
            assert!((a.logprob - b.logprob).abs() < 1e-4);
        }
    }
}

//! A closed list ranked by likelihood as a way of asking, with or without contextual calibration (Zhao et al., ICML 2021).
//!
//! ```text
//! p(label)      = softmax over the list of log p(label and the end of the turn | prompt about the case)
//! p₀(label)     = the same about texts without content (N/A, [MASK] and nothing), the mean of the three
//! calibrated    : q = p / p₀, normalised      plain: q = p
//! answer        = every label with q(label) ≥ share · max q
//! ```
//!
//! What a model prefers before it has read anything (short names, frequent words) is divided out by p₀. The log-probabilities are a run of
//! their own, so that calibration and share are chosen without asking the model again:
//!
//! ```text
//! runs/rank-ask-…/   labels.json   the list      ranks.jsonl   a line a text: log p of every label
//! ```
use super::chosen_labels::{Ranking, softmax};
use super::config::PredictConfig;
use super::experiment::asked_spec;
use crate::corpus::{Case, Example};
use crate::error::{Error, Result};
use crate::generate::{By, Local, base_id, rank};
use crate::io;
use crate::metric::Reading;
use crate::prompt::Prompt;
use crate::run::{AskedSpec, Prediction, Run, RunSpec, Store};
use crate::task::{AnyPrediction, AnyTask, LabelTask};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::Path;
use std::time::Instant;

/// Texts without content, as in the paper.
pub(super) const CONTENT_FREE: [&str; 3] = ["N/A", "[MASK]", ""];
/// Candidates scored at the same time.
const BATCH: usize = 32;
/// Shares that validation cases choose from.
pub const SHARES: [f64; 9] = [1.0, 0.8, 0.6, 0.4, 0.3, 0.2, 0.1, 0.05, 0.02];

/// A line of `ranks.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Line {
    /// None for a text without content.
    case_id: Option<String>,
    /// log p of every label, in the order of `labels.json`, natural logarithm, to four digits.
    logprobs: Vec<f64>,
    prompt_tokens: usize,
    /// Of all candidates.
    new_tokens: usize,
    seconds: f64,
}

/// A rank run, read back.
struct Ranks {
    labels: Vec<String>,
    /// Means over the texts without content; sums to 1.
    free: Vec<f64>,
    lines: Vec<Line>,
}

impl Ranks {
    fn read(run: &Run) -> Result<Self> {
        let path = run.path("ranks.jsonl");
        let text = io::read_text(&path)?;
        let lines = text.lines().map(|line| io::parse_json::<Line>(&path, line)).collect::<Result<Vec<_>>>()?;
        let (free, lines): (Vec<Line>, Vec<Line>) = lines.into_iter().partition(|line| line.case_id.is_none());
        let labels: Vec<String> = io::read_json(&run.path("labels.json"))?;
        let mut mean = vec![0.0; labels.len()];
        for line in &free {
            softmax(&line.logprobs).iter().zip(&mut mean).for_each(|(p, mean)| *mean += p / free.len() as f64);
        }
        Ok(Self { labels, free: mean, lines })
    }

    /// The predictions of a ranking, as of a model that wrote the chosen labels.
    fn predictions(
        &self,
        ranking: &Ranking,
        task: &LabelTask,
        examples: &[Example<Value>],
        asked: &AskedSpec,
    ) -> Result<Vec<AnyPrediction>> {
        let none = &task.context().none;
        let nothing = self.labels.iter().position(|label| label == none);
        let one = |example: &Example<Value>| {
            let line = self.lines.iter().find(|line| line.case_id.as_ref() == Some(&example.case_id));
            let line = line.ok_or_else(|| Error::input(format!("no ranks of case `{}`", example.case_id)))?;
            let chosen = ranking.answer(&line.logprobs, &self.free, nothing);
            let labels: Vec<String> = chosen.into_iter().map(|i| self.labels[i].clone()).collect();
            let raw = match labels.as_slice() {
                [only] if only == none => none.clone(),
                _ => crate::task::Task::target(task, &labels),
            };
            let read = AnyTask::parse(task, &raw, &example.case);
            Ok(Prediction {
                task: <dyn AnyTask>::id(task),
                corpus: AnyTask::corpus_digest(task)[..12].into(),
                prompt: asked.prompt.clone(),
                model: asked.model.clone(),
                adapter: asked.adapter.clone(),
                parsed: read.parsed,
                prompt_tokens: line.prompt_tokens,
                new_tokens: line.new_tokens,
                seconds: line.seconds,
                ..Prediction::of(example, read.answer, &raw)
            })
        };
        examples.iter().map(one).collect()
    }
}

/// What determines a rank run: who is asked, and about what.
fn spec(config: &PredictConfig, task: &dyn AnyTask, prompt: &Prompt) -> Result<AskedSpec> {
    if config.endpoint.is_some() || config.vote.is_some() || config.constrain.is_some() {
        return Err(Error::input("a ranking takes a model in this process, and neither a vote nor a constraint"));
    }
    asked_spec(base_id(&config.model)?, config, task, prompt)
}

/// Ways that differ only in what they make of the log-probabilities share a run, so it is named by its prompt.
fn name_of(config: &PredictConfig) -> String {
    let words = config.prompt.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-")
}

/// The rank run of a question if it is in the store.
pub(super) fn find(store: &Store, config: &PredictConfig, task: &dyn AnyTask) -> Result<Option<Run>> {
    let prompt = Prompt::named(&config.prompt, task.context())?;
    store.find("rank", &name_of(config), &RunSpec::Rank(spec(config, task, &prompt)?))
}

/// The answers by `ranking` to `examples`; the log-probabilities are a run in `store`, opened or made.
pub(super) fn answers(
    store: &Store,
    config: &PredictConfig,
    ranking: &Ranking,
    task: &dyn AnyTask,
    examples: &[Example<Value>],
) -> Result<Vec<AnyPrediction>> {
    ranking.check()?;
    let labels = as_labels(task)?;
    let prompt = Prompt::named(&config.prompt, task.context())?;
    let asked = spec(config, task, &prompt)?;
    let spec = RunSpec::Rank(asked.clone());
    let run =
        store.open_or_make("rank", &name_of(config), &spec, |dir| make(config, labels, &prompt, examples, dir))?;
    Ranks::read(&run)?.predictions(ranking, labels, examples, &asked)
}

fn as_labels(task: &dyn AnyTask) -> Result<&LabelTask> {
    let none = || Error::input(format!("task `{}` has no closed list of labels to rank", task.name()));
    task.as_labels().ok_or_else(none)
}

fn make(
    config: &PredictConfig,
    task: &LabelTask,
    prompt: &Prompt,
    examples: &[Example<Value>],
    dir: &Path,
) -> Result<()> {
    let labels = AnyTask::closed_list(task);
    let plain = PredictConfig { ranking: None, ..config.clone() };
    let model = plain.open(task)?;
    let free = CONTENT_FREE.map(|text| Case { case_id: String::new(), group: String::new(), input: text.into() });
    let mut said = super::asking::Progress::new(examples.len() + free.len());
    let mut text = String::new();
    let cases = free.iter().map(|case| (None, case));
    let cases = cases.chain(examples.iter().map(|one| (Some(one.case_id.clone()), &one.case)));
    for (done, (case_id, case)) in cases.enumerate() {
        let line = scored(&model, prompt, case_id, case, &labels)?;
        text += &(io::to_value(&line)?.to_string() + "\n");
        said.update(done + 1);
    }
    io::write_json(&dir.join("labels.json"), &labels)?;
    io::write_json(&dir.join("prompt.json"), prompt)?;
    io::write(&dir.join("ranks.jsonl"), text.as_bytes())
}

/// log p of every label after the prompt about one case.
fn scored(model: &Local, prompt: &Prompt, case_id: Option<String>, case: &Case, labels: &[String]) -> Result<Line> {
    let started = Instant::now();
    let end = model.tokenizer.control().turn_end;
    let candidate = |label: &String| Ok([model.tokenizer.encode(label, false)?, vec![end]].concat());
    let candidates = labels.iter().map(candidate).collect::<Result<Vec<_>>>()?;
    let ids = model.encoder().serve_case(prompt, case)?.ids;
    let (prompt_tokens, new_tokens) = (ids.len(), candidates.iter().map(Vec::len).sum());
    let ranked = rank(&model.model, &[ids], &candidates, By::Sum, BATCH)?;
    let mut logprobs = vec![0.0; labels.len()];
    for one in ranked.into_iter().flatten() {
        logprobs[one.candidate] = (one.logprob * 1e4).round() / 1e4;
    }
    let seconds = started.elapsed().as_secs_f64();
    Ok(Line { case_id, logprobs, prompt_tokens, new_tokens, seconds })
}

/// The share of [`SHARES`] that is best by `metric` (the first of equals) on the cases of a rank run, with what each reaches.
pub(super) fn choose(
    run: &Run,
    calibrated: bool,
    task: &LabelTask,
    metric: &str,
) -> Result<(f64, Vec<(f64, Option<f64>)>)> {
    let ranks = Ranks::read(run)?;
    let examples = AnyTask::test(task);
    let asked = AskedSpec::default();
    let of = |share: f64| {
        let predictions = ranks.predictions(&Ranking { calibrated, share }, task, &examples, &asked)?;
        let table = AnyTask::score(task, &[&predictions], Reading::Normalised)?.remove(0);
        Ok((share, table.value(metric)?))
    };
    let tried = SHARES.iter().map(|share| of(*share)).collect::<Result<Vec<_>>>()?;
    let best = tried.iter().rev().max_by(|a, b| a.1.unwrap_or(-1.0).total_cmp(&b.1.unwrap_or(-1.0)));
    Ok((best.map_or(1.0, |(share, _)| *share), tried.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_likely_without_a_case_is_divided_out() {
        // the model likes label 0 whatever it reads; the case speaks for label 2
        let logprobs = [0.5f64, 0.1, 0.4].map(f64::ln);
        let free = [0.7, 0.2, 0.1];
        let (plain, calibrated) = (Ranking { calibrated: false, share: 1.0 }, Ranking { calibrated: true, share: 1.0 });
        assert_eq!(plain.answer(&logprobs, &free, None), [0]);
        assert_eq!(calibrated.answer(&logprobs, &free, None), [2]);
        // 4.0 : 0.714 : 0.5 after division
        assert_eq!(Ranking { share: 0.17, ..calibrated }.answer(&logprobs, &free, None), [2, 0]);
        assert_eq!(Ranking { share: 0.1, ..calibrated }.answer(&logprobs, &free, None), [2, 0, 1]);
        assert_eq!(Ranking { share: 0.1, ..calibrated }.answer(&logprobs, &free, Some(2)), [2], "nothing stands alone");
        assert_eq!(Ranking { share: 0.1, ..calibrated }.answer(&logprobs, &free, Some(0)), [2, 1]);
        assert!(Ranking { share: 0.0, ..plain }.check().is_err() && Ranking { share: 1.1, ..plain }.check().is_err());
        assert!((softmax(&[-1000.0, -1000.0]).iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }
}

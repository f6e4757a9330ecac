//! Predict runs of a model behind an endpoint: the same store and preds.jsonl as of a model in this process, and beside them
//!
//! ```text
//! usage.json                  tokens, cost, retries, how answers ended
//! answers.jsonl               a line a case: the reply as it came, reasoning included, and the digest of its question
//! runs/.cache/endpoint/       every answer as soon as it is there; `runs gc` leaves it alone
//! ```
use super::config::PredictConfig;
use crate::corpus::Example;
use crate::error::{Error, Result};
use crate::generate::{Endpoint, EndpointConfig};
use crate::io;
use crate::prompt::Prompt;
use crate::run::Store;
use crate::task::{AnyPrediction, AnyTask};
use serde_json::Value;
use std::path::Path;

/// What determines an endpoint's answers, for a run's specification.
pub(super) fn specify(endpoint: &EndpointConfig, config: &PredictConfig) -> Result<Value> {
    let refused = [
        (config.adapter.is_some(), "an adapter cannot be given to an endpoint from here: name it as the server does"),
        (
            config.constrain.is_some(),
            "an endpoint's answers cannot be held to a form from here: a constraint of the server goes in `extra`",
        ),
        (
            config.vote.is_some(),
            "a vote needs several samples a case, and an endpoint is asked once: leave --samples out",
        ),
    ];
    if let Some((_, why)) = refused.iter().find(|(given, _)| *given) {
        return Err(Error::input(*why));
    }
    endpoint.spec(&config.model, config.max_new)
}

/// Asks about the cases; says what it took, also where it ends with an error.
pub(super) fn ask_endpoint(
    endpoint: &EndpointConfig,
    config: &PredictConfig,
    prompt: &Prompt,
    (task, cases): (&dyn AnyTask, &[Example<Value>]),
    store: &Store,
    dir: &Path,
) -> Result<Vec<AnyPrediction>> {
    let model = Endpoint::open(endpoint, &config.model, config.max_new, &store.root().join(".cache/endpoint"))?;
    let predictions = config.ask(&model, prompt, task, cases);
    let usage = model.usage();
    if usage.answered + usage.lost_tries > 0 {
        println!("… {}: {usage}", config.model);
    }
    let predictions = predictions?;
    let mut lines = String::new();
    for reply in model.replies() {
        lines += &io::to_value(&reply)?.to_string();
        lines.push('\n');
    }
    io::write(&dir.join("answers.jsonl"), lines.as_bytes())?;
    io::write_json(&dir.join("usage.json"), &usage)?;
    Ok(predictions)
}

//! How an answer ended, in the fields that servers have beside `finish_reason`: OpenRouter's `native_finish_reason`, LM Studio's `stats`,
//! llama.cpp's and Ollama's own names, Azure's `content_filter_results`.
use super::{FILTER, InvalidReply};
use serde_json::Value;

/// Values that mean the limit on tokens, of the answer or of the context.
const LIMIT: [&str; 8] = [
    "length",
    "limit",
    "max_tokens",
    "max_output_tokens",
    "model_length",
    "contextlengthreached",
    "maxpredictedtokensreached",
    "context_length",
];
/// … that mean a filter.
const FILTERED: [&str; 8] = [
    "safety",
    "content_filter",
    "prohibited_content",
    "recitation",
    "blocklist",
    "spii",
    "image_safety",
    "content_filtered",
];
/// … that mean that somebody or something stopped it.
const STOPPED: [&str; 7] = ["userstopped", "modelunloaded", "failed", "error", "abort", "aborted", "cancelled"];

/// What the other fields of a body or of a choice say against `finish_reason: stop`: `length`, `content_filter`, or an error.
pub(super) fn other(object: &Value) -> Result<Option<&'static str>, InvalidReply> {
    let stats = &object["stats"]["stop_reason"];
    for name in [&object["native_finish_reason"], &object["done_reason"], &object["stop_type"], stats] {
        let Some(said) = name.as_str() else { continue };
        let lower = said.to_lowercase();
        if LIMIT.contains(&lower.as_str()) {
            return Ok(Some("length"));
        }
        if FILTERED.contains(&lower.as_str()) {
            return Ok(Some(FILTER));
        }
        if STOPPED.contains(&lower.as_str()) {
            return Err(InvalidReply::Finish(said.into()));
        }
    }
    let filters = object["content_filter_results"].as_object().into_iter().flatten();
    if filters.into_iter().any(|(_, result)| result["filtered"] == true) {
        return Ok(Some(FILTER));
    }
    Ok((object["stopped_limit"] == true).then_some("length"))
}

/// Fields of a whole body that say that it is none.
pub(super) fn whole(body: &Value) -> Result<(), InvalidReply> {
    let no = |name: &str| (body[name] == false).then(|| InvalidReply::Finish(format!("{name}: false")));
    ["done", "success"].iter().find_map(|name| no(name)).map_or(Ok(()), Err)
}

/// The name of a `finish_reason` as it is kept: a filter's has many (Gemini: `content_filter: PROHIBITED_CONTENT`).
pub(super) fn named(finish: &str) -> &str {
    let lower = finish.to_lowercase();
    let first = lower.split([':', ' ']).next().unwrap_or_default();
    if FILTERED.contains(&first) { FILTER } else { finish }
}

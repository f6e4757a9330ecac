//! Requests of `/v1/chat/completions` and `/v1/completions`: their fields, as an [`Ask`] for the engine.
use super::error::ApiError;
use super::fields::Fields;
use super::models::Served;
use crate::generate::{Ask, Constraint, Count, Grammar, Labels, Sampling, StopStrings};
use crate::prompt::{Message, Role, Thinking};
use axum::http::StatusCode;
use serde_json::{Value, json};

/// Largest lists and texts of one request, besides the limit on its body.
const MOST_STOPS: usize = 16;
const MOST_CHOICES: usize = 4096;
/// New tokens where a chat request does not say, and where a plain completion does not (OpenAI's own value).
const NEW_TOKENS: [usize; 2] = [256, 16];

/// Which of the two APIs is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Chat,
    Text,
}

/// How a request wants its answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    pub kind: Kind,
    /// The name of the model, as asked.
    pub model: String,
    pub samples: usize,
    pub stream: bool,
    /// A last event with the tokens used.
    pub usage: bool,
    pub logprobs: bool,
    pub top: usize,
    pub stops: Vec<String>,
    pub seed: u64,
    pub prompt_tokens: usize,
    /// New tokens of all answers, at most.
    pub most_new: usize,
}

/// Reads a request. Fails with the field that is wrong, unknown, or not served.
pub fn read(kind: Kind, body: &[u8], served: &Served, most_samples: usize) -> Result<(Ask, Shape), ApiError> {
    let mut fields = Fields::of(body)?;
    let model = fields.text("model")?.ok_or_else(|| ApiError::field("model", "`model` is missing"))?;
    let index = served.find(&model).ok_or_else(|| unknown_model(&model))?;
    let prompt = match kind {
        Kind::Chat => conversation(&mut fields, served)?,
        Kind::Text => plain_prompt(&mut fields, served)?,
    };
    let sampling = sampling(&mut fields)?;
    let samples = fields.count("n", 1, most_samples as u64)?.unwrap_or(1) as usize;
    let max_new = new_tokens(kind, &mut fields, served, prompt.len())?;
    let stops = fields.texts("stop")?.unwrap_or_default();
    let until = stop_strings(&stops, served)?;
    let constraint = constraint(&mut fields, served)?;
    let (logprobs, top) = logprobs(kind, &mut fields)?;
    let stream = fields.flag("stream")?.unwrap_or(false);
    let usage = usage_wanted(&mut fields, stream)?;
    unserved(&mut fields)?;
    fields.finish()?;
    let (seed, prompt_tokens, most_new) = (sampling.seed, prompt.len(), samples * max_new);
    let shape = Shape { kind, model, samples, stream, usage, logprobs, top, stops, seed, prompt_tokens, most_new };
    let stop = served.stop.clone();
    Ok((Ask { model: index, prompt, sampling, samples, max_new, stop, until, constraint, top }, shape))
}

/// 404 for a name that is not served.
pub fn unknown_model(name: &str) -> ApiError {
    let shown: String = name.chars().take(80).collect();
    let what = format!("no model `{shown}` is served here: GET /v1/models lists those that are");
    ApiError { param: Some("model".into()), ..ApiError::new(StatusCode::NOT_FOUND, what) }.code("model_not_found")
}

/// The ids of the conversation, up to where the model's turn begins.
fn conversation(fields: &mut Fields, served: &Served) -> Result<Vec<u32>, ApiError> {
    let Some(Value::Array(given)) = fields.any("messages") else {
        return Err(ApiError::field("messages", "`messages` is missing: expected a list of messages"));
    };
    let messages = given.into_iter().enumerate().map(|(i, m)| message(i, m)).collect::<Result<Vec<_>, _>>()?;
    match messages.last() {
        None => return Err(ApiError::field("messages", "`messages` is empty: expected at least one")),
        Some(last) if last.role != Role::User => {
            return Err(ApiError::field(
                "messages",
                "the last message is not the user's: expected a question to answer",
            ));
        }
        _ => {}
    }
    let mut thinking = Thinking::Off;
    if let Some(value) = fields.any("chat_template_kwargs") {
        let mut inner = Fields::of_value(value, "chat_template_kwargs")?;
        if inner.flag("enable_thinking")? == Some(true) {
            thinking = Thinking::On;
        }
        inner.finish()?;
    }
    Ok(served.encoder.prompt_ids(&messages, thinking)?)
}

/// One message: its role, and text or parts of text.
fn message(at: usize, value: Value) -> Result<Message, ApiError> {
    let name = |part: &str| format!("messages[{at}].{part}");
    let mut fields = Fields::of_value(value, &format!("messages[{at}]"))?;
    let role = match fields.text("role")?.as_deref() {
        Some("system" | "developer") => Role::System,
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        _ => return Err(ApiError::field(&name("role"), "expected the role system, developer, user or assistant")),
    };
    let content = match fields.any("content") {
        Some(Value::String(text)) => text,
        Some(Value::Array(parts)) => {
            let text = |part: &Value| match (part["type"].as_str(), part["text"].as_str()) {
                (Some("text"), Some(text)) => Ok(text.to_string()),
                _ => Err(ApiError::field(
                    &name("content"),
                    "only parts of `{\"type\": \"text\", \"text\": …}` are served",
                )),
            };
            parts.iter().map(text).collect::<Result<Vec<_>, _>>()?.concat()
        }
        _ => return Err(ApiError::field(&name("content"), "expected text, or a list of parts of text")),
    };
    fields.finish().map_err(|e| ApiError { param: e.param.as_deref().map(name), ..e })?;
    Ok(Message::new(role, content))
}

/// Of `/v1/completions`: one text, in which control tokens are text, or token ids.
fn plain_prompt(fields: &mut Fields, served: &Served) -> Result<Vec<u32>, ApiError> {
    let wrong = || ApiError::field("prompt", "`prompt`: expected one text, or one list of token ids");
    let one = match fields.any("prompt").ok_or_else(wrong)? {
        Value::Array(mut only) if only.len() == 1 && !only[0].is_number() => only.remove(0),
        other => other,
    };
    match one {
        Value::String(text) if text.is_empty() => Err(ApiError::field("prompt", "`prompt` is empty")),
        Value::String(text) => Ok(served.tokenizer.encode(&text, false)?),
        Value::Array(ids) => {
            ids.iter().map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok()).ok_or_else(wrong)).collect()
        }
        _ => Err(wrong()),
    }
}

/// OpenAI's default is to draw at temperature 1. Without a seed it is 0: the same request gives the same answer.
fn sampling(fields: &mut Fields) -> Result<Sampling, ApiError> {
    let sampling = Sampling {
        temperature: fields.number("temperature")?.unwrap_or(1.0),
        top_k: fields.count("top_k", 0, u32::MAX as u64)?.unwrap_or(0) as usize,
        top_p: fields.number("top_p")?.unwrap_or(1.0),
        min_p: fields.number("min_p")?.unwrap_or(0.0),
        seed: fields.seed("seed")?.unwrap_or(0),
    };
    sampling.check().map_err(|error| {
        let what = error.to_string();
        let name = what.split(' ').next().unwrap_or_default().to_string();
        ApiError::field(&name, what)
    })?;
    Ok(sampling)
}

fn new_tokens(kind: Kind, fields: &mut Fields, served: &Served, prompt: usize) -> Result<usize, ApiError> {
    let positions = served.positions();
    let asked = match (fields.count("max_completion_tokens", 1, 1 << 20)?, fields.count("max_tokens", 1, 1 << 20)?) {
        (Some(a), Some(b)) if a != b => {
            return Err(ApiError::field("max_tokens", "`max_tokens` and `max_completion_tokens` differ: give one"));
        }
        (a, b) => a.or(b).map(|n| n as usize),
    };
    // the last new token is never read
    let room = (positions + 1).saturating_sub(prompt);
    match asked {
        _ if prompt > positions => Err(too_long(prompt, 0, positions)),
        Some(n) if n > room => Err(too_long(prompt, n, positions)),
        Some(n) => Ok(n),
        None => Ok(NEW_TOKENS[usize::from(kind == Kind::Text)].min(room)),
    }
}

fn too_long(prompt: usize, new: usize, positions: usize) -> ApiError {
    ApiError::bad(format!("{prompt} tokens of prompt and {new} new ones: the model has {positions} positions"))
        .code("context_length_exceeded")
}

fn stop_strings(stops: &[String], served: &Served) -> Result<Option<StopStrings>, ApiError> {
    if stops.is_empty() {
        return Ok(None);
    }
    if stops.len() > MOST_STOPS || stops.iter().any(|stop| stop.len() > 256) {
        return Err(ApiError::field("stop", format!("`stop`: at most {MOST_STOPS} texts of at most 256 bytes")));
    }
    let pieces = served.pieces().ok_or_else(|| {
        ApiError::field("stop", "stop strings are served for byte-level vocabularies, and this model's is none")
    })?;
    Ok(Some(StopStrings::new(stops, pieces).map_err(|e| ApiError::field("stop", e.to_string()))?))
}

/// `response_format`, or one of the fields of our own: `choices` (with `choices_count`), `grammar`, `regex`.
fn constraint(fields: &mut Fields, served: &Served) -> Result<Option<Box<dyn Constraint>>, ApiError> {
    let tokenizer = || served.tokenizer.clone();
    let named = |name: &'static str| move |e: crate::Error| ApiError::field(name, e.to_string());
    let mut made: Vec<Box<dyn Constraint>> = Vec::new();
    let counted = fields.text("choices_count")?;
    let count = match counted.as_deref() {
        None | Some("one") => Count::One,
        Some("many") => Count::Many,
        Some(_) => return Err(ApiError::field("choices_count", "`choices_count`: expected `one` or `many`")),
    };
    if let Some(choices) = fields.texts("choices")? {
        if choices.len() > MOST_CHOICES {
            return Err(ApiError::field("choices", format!("`choices`: at most {MOST_CHOICES} labels")));
        }
        made.push(Box::new(Labels::new(&choices, count, &served.tokenizer).map_err(named("choices"))?));
    } else if counted.is_some() {
        return Err(ApiError::field("choices_count", "`choices_count` is of `choices`, which is missing"));
    }
    if let Some(grammar) = fields.text("grammar")? {
        made.push(Box::new(Grammar::lark(&grammar, tokenizer()).map_err(named("grammar"))?));
    }
    if let Some(expression) = fields.text("regex")? {
        made.push(Box::new(Grammar::regex(&expression, tokenizer()).map_err(named("regex"))?));
    }
    if let Some(schema) = response_format(fields)? {
        let grammar = Grammar::json_schema(&schema.to_string(), tokenizer()).map_err(named("response_format"))?;
        made.push(Box::new(grammar));
    }
    match made.len() {
        0 | 1 => Ok(made.pop()),
        _ => Err(ApiError::bad("an answer is held to one thing: give one of response_format, choices, grammar, regex")),
    }
}

/// The JSON schema that an answer is held to.
fn response_format(fields: &mut Fields) -> Result<Option<Value>, ApiError> {
    let Some(value) = fields.any("response_format") else { return Ok(None) };
    let wrong = |what: &str| ApiError::field("response_format", what);
    let mut inner = Fields::of_value(value, "response_format")?;
    let schema = match inner.text("type")?.as_deref() {
        Some("text") => None,
        Some("json_object") => Some(json!({"type": "object"})),
        Some("json_schema") => {
            let named = inner.any("json_schema").ok_or_else(|| wrong("`response_format.json_schema` is missing"))?;
            let mut named = Fields::of_value(named, "response_format.json_schema")?;
            let schema = named.any("schema").ok_or_else(|| wrong("`response_format.json_schema.schema` is missing"))?;
            // every answer is held to the schema, whether it is called strict or not
            named.any("name");
            named.any("description");
            named.flag("strict")?;
            named.finish()?;
            Some(schema)
        }
        _ => return Err(wrong("expected the type text, json_object or json_schema")),
    };
    inner.finish()?;
    Ok(schema)
}

/// Chat: `logprobs` and `top_logprobs`; plain completions: a number.
fn logprobs(kind: Kind, fields: &mut Fields) -> Result<(bool, usize), ApiError> {
    if kind == Kind::Text {
        let top = fields.count("logprobs", 0, 20)?;
        return Ok((top.is_some(), top.unwrap_or(0) as usize));
    }
    let wanted = fields.flag("logprobs")?.unwrap_or(false);
    let top = fields.count("top_logprobs", 0, 20)?.unwrap_or(0) as usize;
    match top > 0 && !wanted {
        true => Err(ApiError::field("top_logprobs", "`top_logprobs` needs `logprobs`: true")),
        false => Ok((wanted, top)),
    }
}

fn usage_wanted(fields: &mut Fields, stream: bool) -> Result<bool, ApiError> {
    let Some(value) = fields.any("stream_options") else { return Ok(false) };
    if !stream {
        return Err(ApiError::field("stream_options", "`stream_options` needs `stream`: true"));
    }
    let mut inner = Fields::of_value(value, "stream_options")?;
    let usage = inner.flag("include_usage")?.unwrap_or(false);
    inner.flag("include_obfuscation")?;
    inner.finish()?;
    Ok(usage)
}

/// Fields of OpenAI's that are not served, with the values that change nothing.
fn unserved(fields: &mut Fields) -> Result<(), ApiError> {
    let zero = |value: &Value| value.as_f64() == Some(0.0);
    let empty =
        |value: &Value| value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(|o| o.is_empty());
    fields.unserved("frequency_penalty", zero)?;
    fields.unserved("presence_penalty", zero)?;
    fields.unserved("logit_bias", empty)?;
    fields.unserved("tools", empty)?;
    fields.unserved("tool_choice", |value| value == "none" || value == "auto")?;
    fields.unserved("functions", empty)?;
    fields.unserved("modalities", |value| *value == json!(["text"]))?;
    fields.unserved("best_of", |value| value.as_u64() == Some(1))?;
    fields.unserved("echo", |value| value.as_bool() == Some(false))?;
    for name in
        ["suffix", "audio", "prediction", "reasoning_effort", "verbosity", "web_search_options", "function_call"]
    {
        fields.unserved(name, |_| false)?;
    }
    Ok(())
}

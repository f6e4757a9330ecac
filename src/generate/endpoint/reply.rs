//! What comes back: one JSON body, or server-sent events (WHATWG HTML, 9.2) that are put together to the same.
//!
//! ```text
//! data: {"choices":[{"delta":{"content":"Renal"},"logprobs":{…}}]}       chunks, in order
//! data: {"choices":[{"delta":{},"finish_reason":"stop"}]}                  without this the answer is incomplete
//! data: {"choices":[],"usage":{…}}                                         only where it was asked for
//! data: [DONE]
//! ```
//!
//! A reply is complete, and only then kept, if all of this holds:
//!
//! | field | complete | not complete |
//! |---|---|---|
//! | `error` in the body, the choice or the message; `"object": "error"`; `event: error` | none | any: the server's words are the error |
//! | `finish_reason` | `stop` or another name of it, `length`, `content_filter` | none, null, `""`, `error`, `abort`, every other |
//! | `native_finish_reason`, `stats`, `content_filter_results`, … ([`endings`]) | nothing else than `finish_reason` | a limit or a filter stands before `stop`; a stop by others |
//! | `content` | a text or a list of text parts; null beside reasoning or a refusal | null alone; `""` with 0 new tokens |
//! | `usage` | may be missing: the worst case stands for it | |
//!
//! Where a stream breaks after its `finish_reason`, only the count of its tokens is missing. Of several choices the one of index 0
//! counts. Unknown fields are passed over, null means that a field is not there.
mod draft;
mod endings;
mod events;
#[cfg(test)]
mod tests;

use super::key::Key;
use super::usage::Tokens;
use draft::Draft;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io::BufRead;

/// Ends reasoning that is part of the message.
const THOUGHT: &str = "</think>";
/// Names of a `finish_reason` for an answer that the model ended (OpenAI; TGI: `eos_token`, `stop_sequence`; Anthropic: `end_turn`).
const STOP: [&str; 5] = ["stop", "eos", "eos_token", "stop_sequence", "end_turn"];
/// … that ran into the limit on new tokens (OpenAI; Anthropic: `max_tokens`; Mistral: `model_length`).
const LENGTH: [&str; 3] = ["length", "max_tokens", "model_length"];
/// … that a filter of the server withheld: the same question would end the same way.
const FILTER: &str = "content_filter";

/// An answer as a server gave it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// The message, byte for byte.
    pub content: String,
    /// What the server itself keeps apart (`reasoning_content`, `reasoning`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// `stop`, `length` (cut at the limit on new tokens), `content_filter`; other names of the first two are kept as they came.
    pub finish: Option<String>,
    /// Sum over the answer's tokens, the end among them where it is listed; natural logarithm. Tokens of reasoning, which vLLM lists
    /// with the answer's and DeepSeek does not, are left out; none where they cannot be told from the answer's.
    pub logprob: Option<f64>,
    /// None where the server gives no count, or a count of 0 for a text that is there.
    pub usage: Option<Tokens>,
    /// Name and fingerprint that the server gives itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served: Option<String>,
}

/// Why a body is not an answer.
#[derive(Debug)]
pub enum InvalidReply {
    /// It ended too early.
    Cut,
    /// Reading it failed.
    Lost(std::io::Error),
    NotJson(String),
    /// More bytes than any answer has.
    TooLong,
    /// A web page.
    Page,
    /// An error in the server's words, though the status was fine.
    Server(String),
    /// With the keys that are there.
    NoChoices(String),
    /// No text, no reasoning and no refusal, and nothing that shows that the model ended there.
    NoContent,
    /// A part of the content that is not text.
    NotText(String),
    /// A `finish_reason` that does not say that the answer is whole.
    Finish(String),
    /// The model called a tool.
    ToolCall,
}

/// What a complete reply lacks to be of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Defect {
    /// Reasoning, and no answer after it.
    OnlyReasoning,
    /// No text at all.
    Empty,
    /// An answer that ran into the limit on new tokens.
    Cut,
}

impl Reply {
    /// Of whatever form comes: some servers answer with events where JSON was asked for, or the other way round, under any content type.
    /// `stream`: the content type says events.
    pub fn read(mut body: impl BufRead, stream: bool) -> Result<Self, InvalidReply> {
        let first = loop {
            let next = body.fill_buf().map_err(InvalidReply::Lost)?.first().copied();
            match next {
                // a byte-order mark among them
                Some(byte) if byte.is_ascii_whitespace() || [0xef, 0xbb, 0xbf].contains(&byte) => body.consume(1),
                other => break other,
            }
        };
        let begun = body.fill_buf().map_err(InvalidReply::Lost)?;
        let fields = [&b"data:"[..], b"event:", b"id:", b"retry:", b":"];
        let events = stream && !first.is_some_and(|byte| b"{<".contains(&byte));
        if events || fields.iter().any(|field| begun.starts_with(field)) {
            return Self::of_events(body);
        }
        let mut bytes = Vec::new();
        body.read_to_end(&mut bytes).map_err(InvalidReply::Lost)?;
        let text = String::from_utf8(bytes).map_err(|e| InvalidReply::NotJson(e.to_string()))?;
        match first {
            Some(b'<') => Err(InvalidReply::Page),
            _ => Self::of_body(&text),
        }
    }

    /// Of one JSON body.
    pub fn of_body(text: &str) -> Result<Self, InvalidReply> {
        let body: Value = serde_json::from_str(text).map_err(|e| InvalidReply::NotJson(e.to_string()))?;
        let mut draft = Draft::default();
        match draft.add(&body)? {
            true => endings::whole(&body).and_then(|()| draft.finish()),
            false => Err(message(&body).map_or_else(|| InvalidReply::NoChoices(keys(&body)), InvalidReply::Server)),
        }
    }

    /// Of server-sent events; comments and fields other than `data` and `event` are passed over.
    pub fn of_events(lines: impl BufRead) -> Result<Self, InvalidReply> {
        events::read(lines)
    }

    /// Whether `finish` and what was counted say that the answer is whole.
    pub fn check(&self) -> Result<(), InvalidReply> {
        let name = self.finish.as_deref().unwrap_or_default();
        if ["tool_calls", "function_call", "tool_use"].contains(&name) {
            return Err(InvalidReply::ToolCall);
        }
        if !(self.filtered() || self.cut() || STOP.iter().any(|stop| stop.eq_ignore_ascii_case(name))) {
            return Err(InvalidReply::Finish(name.into()));
        }
        let nothing = self.content.is_empty() && self.reasoning.is_none();
        match nothing && !self.filtered() && self.usage.is_some_and(|count| count.new == 0) {
            true => Err(InvalidReply::NoContent),
            false => Ok(()),
        }
    }

    fn filtered(&self) -> bool {
        self.finish.as_deref() == Some(FILTER)
    }

    /// The limit on new tokens ended it.
    pub fn cut(&self) -> bool {
        self.finish.as_deref().is_some_and(|name| LENGTH.iter().any(|length| length.eq_ignore_ascii_case(name)))
    }

    /// What a complete reply lacks, if anything.
    pub fn defect(&self) -> Option<Defect> {
        match self.parts() {
            (Some(_), answer) if answer.trim().is_empty() => Some(Defect::OnlyReasoning),
            (None, answer) if answer.trim().is_empty() => Some(Defect::Empty),
            _ => self.cut().then_some(Defect::Cut),
        }
    }

    /// Without the key, which a server may repeat, and without a sum that is no number.
    pub fn clean(mut self, key: Option<&Key>) -> Self {
        self.logprob = self.logprob.filter(|sum| sum.is_finite());
        if let Some(key) = key {
            self.content = key.redact(&self.content);
            let rest = [&mut self.reasoning, &mut self.finish, &mut self.served];
            rest.into_iter().flatten().for_each(|text| *text = key.redact(text));
        }
        self
    }

    /// Reasoning and answer apart: what the server kept apart and what stands in `<think>…</think>`, also where the
    /// prompt holds the opening mark, or where the answer was cut inside. Without reasoning the answer is byte for byte.
    pub fn parts(&self) -> (Option<String>, &str) {
        let (inside, answer) = match self.content.rsplit_once(THOUGHT) {
            Some((inside, answer)) => (Some(inside), answer.trim_start()),
            None if self.content.trim_start().starts_with("<think>") => (Some(self.content.as_str()), ""),
            // transformers' server leaves the blank line after `</think>` when it streams
            None if self.reasoning.is_some() => (None, self.content.trim_start()),
            None => (None, self.content.as_str()),
        };
        let inside = inside.map(|text| text.replace("<think>", "").replace(THOUGHT, "").trim().to_string());
        let thoughts: Vec<String> =
            self.reasoning.iter().cloned().chain(inside).filter(|t| !t.trim().is_empty()).collect();
        ((!thoughts.is_empty()).then(|| thoughts.join("\n")), answer)
    }
}

/// The keys of an object, for a message.
fn keys(body: &Value) -> String {
    let keys: Vec<&str> = body.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).take(8).collect();
    keys.join(", ")
}

/// What an error says, in the ways that servers write it.
pub fn message(error: &Value) -> Option<String> {
    let text = |value: &Value| value.as_str().filter(|text| !text.trim().is_empty()).map(String::from);
    let fields = ["message", "error", "detail", "msg", "code"];
    text(error).or_else(|| match error {
        Value::Array(items) => items.first().and_then(message), // pydantic's list
        _ => fields.iter().find_map(|name| message(error.get(*name)?)),
    })
}

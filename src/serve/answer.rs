//! From what the engine says to what a client reads: one JSON object, or server-sent events.
//!
//! A stream's pieces put together are the text that the same request gets in one: text is held back while it may still change (a character
//! whose bytes are not all there, the beginning of a stop string), and the rest comes with the last piece.
use super::chat::{Kind, Shape};
use super::error::ApiError;
use crate::error::Result;
use crate::generate::{Drawn, Finish, Generated};
use crate::model::Tokenizer;
use serde_json::{Value, json};
use std::sync::Arc;

/// What is told of one request.
#[derive(Debug)]
pub enum Said {
    Token(usize, Drawn),
    Done(usize, Generated),
    Failed(ApiError),
}

/// The text of one answer while it grows.
#[derive(Default)]
struct Growing {
    ids: Vec<u32>,
    drawn: Vec<Drawn>,
    /// Bytes that were sent.
    sent: usize,
    /// Tokens whose log-probabilities were sent.
    told: usize,
    text: String,
    done: Option<Generated>,
}

/// The answers to one request.
pub struct Answering {
    pub shape: Shape,
    tokenizer: Arc<Tokenizer>,
    id: String,
    created: u64,
    fingerprint: String,
    answers: Vec<Growing>,
}

/// Ends a stream.
pub const LAST: &str = "data: [DONE]\n\n";

/// One event of a stream.
pub fn event(value: &Value) -> String {
    format!("data: {value}\n\n")
}

impl Answering {
    pub fn new(shape: Shape, tokenizer: Arc<Tokenizer>, id: String, created: u64, fingerprint: String) -> Self {
        let answers = (0..shape.samples).map(|_| Growing::default()).collect();
        Self { shape, tokenizer, id, created, fingerprint, answers }
    }

    /// Takes what was said; whether all answers are over.
    pub fn take(&mut self, said: Said) -> Result<bool, ApiError> {
        match said {
            Said::Failed(error) => return Err(error),
            Said::Token(sample, drawn) => {
                let growing = &mut self.answers[sample];
                if !drawn.ends {
                    growing.ids.push(drawn.id);
                }
                growing.drawn.push(drawn);
            }
            Said::Done(sample, made) => {
                let text = match &made.text {
                    Some(text) => text.clone(),
                    None => self.tokenizer.decode(&made.tokens, true)?,
                };
                self.answers[sample].text = text;
                self.answers[sample].done = Some(made);
            }
        }
        Ok(self.answers.iter().all(|answer| answer.done.is_some()))
    }

    /// New tokens of all answers so far, those that ended them among them.
    pub fn new_tokens(&self) -> usize {
        self.answers.iter().map(|answer| answer.drawn.len()).sum()
    }

    fn usage(&self) -> Value {
        let (prompt, new) = (self.shape.prompt_tokens, self.new_tokens());
        json!({"prompt_tokens": prompt, "completion_tokens": new, "total_tokens": prompt + new})
    }

    fn object(&self, streamed: bool) -> &'static str {
        match (self.shape.kind, streamed) {
            (Kind::Chat, false) => "chat.completion",
            (Kind::Chat, true) => "chat.completion.chunk",
            (Kind::Text, _) => "text_completion",
        }
    }

    fn frame(&self, streamed: bool, choices: Vec<Value>) -> Value {
        json!({"id": self.id, "object": self.object(streamed), "created": self.created, "model": self.shape.model,
            "system_fingerprint": self.fingerprint, "choices": choices})
    }

    /// The whole answer.
    pub fn whole(&self) -> Result<Value, ApiError> {
        let mut choices = Vec::new();
        for (index, answer) in self.answers.iter().enumerate() {
            let logprobs = self.logprobs(answer, 0)?;
            let finish = finish(answer);
            choices.push(match self.shape.kind {
                Kind::Chat => {
                    json!({"index": index, "message": {"role": "assistant", "content": answer.text, "refusal": null},
                    "logprobs": logprobs, "finish_reason": finish})
                }
                Kind::Text => {
                    json!({"index": index, "text": answer.text, "logprobs": logprobs, "finish_reason": finish})
                }
            });
        }
        let mut whole = self.frame(false, choices);
        whole["usage"] = self.usage();
        // so that an answer that was drawn can be drawn again
        whole["seed"] = json!(self.shape.seed);
        Ok(whole)
    }

    /// The first events of a stream.
    pub fn opening(&self) -> String {
        match self.shape.kind {
            Kind::Text => String::new(),
            Kind::Chat => (0..self.answers.len())
                .map(|index| {
                    let delta = json!({"role": "assistant", "content": ""});
                    event(&self.chunk(json!({"index": index, "delta": delta, "logprobs": null, "finish_reason": null})))
                })
                .collect(),
        }
    }

    fn chunk(&self, choice: Value) -> Value {
        let mut chunk = self.frame(true, vec![choice]);
        if self.shape.usage {
            chunk["usage"] = Value::Null;
        }
        chunk
    }

    /// The events for what was said last of a sample; empty where text is held back.
    pub fn events(&mut self, sample: usize) -> Result<String, ApiError> {
        let known = self.answers[sample].sent;
        let over = self.answers[sample].done.is_some();
        let text = match over {
            true => self.answers[sample].text.clone(),
            false => settled(&self.tokenizer.decode(&self.answers[sample].ids, true)?, &self.shape.stops).to_string(),
        };
        let new = text.get(known..).unwrap_or_default().to_string();
        if new.is_empty() && !over {
            return Ok(String::new());
        }
        let logprobs = self.logprobs(&self.answers[sample], self.answers[sample].told)?;
        let answer = &mut self.answers[sample];
        (answer.sent, answer.told) = (known + new.len(), answer.drawn.len());
        let reason = if over { json!(finish(&self.answers[sample])) } else { Value::Null };
        let choice = match self.shape.kind {
            Kind::Chat => {
                let delta = if new.is_empty() { json!({}) } else { json!({"content": new}) };
                json!({"index": sample, "delta": delta, "logprobs": logprobs, "finish_reason": reason})
            }
            Kind::Text => json!({"index": sample, "text": new, "logprobs": logprobs, "finish_reason": reason}),
        };
        Ok(event(&self.chunk(choice)))
    }

    /// The last events of a stream.
    pub fn closing(&self) -> String {
        let mut last = String::new();
        if self.shape.usage {
            let mut usage = self.frame(true, vec![]);
            usage["usage"] = self.usage();
            last += &event(&usage);
        }
        last + LAST
    }

    /// Of the tokens from `from` on, as the API spells them; null where they were not asked for.
    fn logprobs(&self, answer: &Growing, from: usize) -> Result<Value, ApiError> {
        if !self.shape.logprobs {
            return Ok(Value::Null);
        }
        let drawn = &answer.drawn[from..];
        match self.shape.kind {
            Kind::Chat => {
                let content = drawn.iter().map(|d| self.token(d)).collect::<Result<Vec<_>>>()?;
                Ok(json!({"content": content, "refusal": null}))
            }
            Kind::Text => self.plain_logprobs(answer, from),
        }
    }

    fn token(&self, drawn: &Drawn) -> Result<Value> {
        let one = |id: u32, logprob: f64| -> Result<Value> {
            let (name, spelt) = (self.tokenizer.decode(&[id], false)?, self.tokenizer.decode(&[id], true)?);
            Ok(json!({"token": name, "logprob": logprob, "bytes": spelt.as_bytes()}))
        };
        let mut token = one(drawn.id, drawn.logprob)?;
        let top = drawn.top.iter().map(|(id, logprob)| one(*id, *logprob)).collect::<Result<Vec<_>>>()?;
        token["top_logprobs"] = json!(top);
        Ok(token)
    }

    fn plain_logprobs(&self, answer: &Growing, from: usize) -> Result<Value, ApiError> {
        let name = |id: u32| self.tokenizer.decode(&[id], false);
        let (mut tokens, mut offsets, mut tops) = (vec![], vec![], vec![]);
        let mut at =
            answer.drawn[..from].iter().map(|d| name(d.id).map(|n| n.chars().count())).sum::<Result<usize>>()?;
        for drawn in &answer.drawn[from..] {
            let token = name(drawn.id)?;
            offsets.push(at);
            at += token.chars().count();
            tokens.push(token);
            let top = drawn
                .top
                .iter()
                .map(|(id, p)| Ok((name(*id)?, json!(p))))
                .collect::<Result<serde_json::Map<_, _>>>()?;
            tops.push(Value::Object(top));
        }
        let logprobs: Vec<f64> = answer.drawn[from..].iter().map(|d| d.logprob).collect();
        let tops = if self.shape.top == 0 { Value::Null } else { json!(tops) };
        Ok(json!({"tokens": tokens, "token_logprobs": logprobs, "top_logprobs": tops, "text_offset": offsets}))
    }
}

fn finish(answer: &Growing) -> &'static str {
    match answer.done.as_ref().map(|made| made.finish) {
        Some(Finish::Length) => "length",
        _ => "stop",
    }
}

/// The beginning of a growing text that no later token changes.
fn settled<'a>(text: &'a str, stops: &[String]) -> &'a str {
    let whole = text.trim_end_matches(char::REPLACEMENT_CHARACTER);
    if let Some(at) = stops.iter().filter_map(|stop| whole.find(stop.as_str())).min() {
        return &whole[..at]; // its end is told next
    }
    let begun = |at: &usize| stops.iter().any(|stop| stop.starts_with(&whole[*at..]));
    let longest = stops.iter().map(String::len).max().unwrap_or(0);
    let from = whole.len().saturating_sub(longest);
    let places = whole.char_indices().map(|(at, _)| at).filter(|at| *at >= from);
    places.into_iter().find(begun).map_or(whole, |at| &whole[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_may_still_change_is_held_back() {
        let stops = ["END".to_string(), ".\n".to_string()];
        for (text, kept) in [
            ("a cyst", "a cyst"),
            ("a cyst.", "a cyst"),
            ("a E", "a "),
            ("a EN", "a "),
            ("a END", "a "),
            ("a ENDs", "a "),
            ("na\u{FFFD}", "na"),
            ("", ""),
        ] {
            assert_eq!(settled(text, &stops), kept, "{text}");
        }
        assert_eq!(settled("a cyst.", &[]), "a cyst.");
    }
}

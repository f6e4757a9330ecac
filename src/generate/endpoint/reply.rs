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
//! | `content` | a text or a list of text parts; null beside reasoning or a refusal | null alone; `""` with 0 new tokens |
//! | `usage` | may be missing: the worst case stands for it | |
//!
//! Where a stream breaks after its `finish_reason`, only the count of its tokens is missing. Of several choices the one of index 0
//! counts. Unknown fields are passed over, null means that a field is not there.
use super::key::Key;
use super::usage::Tokens;
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
    /// A web page.
    Page,
    /// An error in the server's words, though the status was fine.
    Server(String),
    NoChoices,
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

/// A reply that is being put together.
#[derive(Default)]
struct Draft {
    reply: Reply,
    /// A content, be it `""`, or a refusal was there.
    content: bool,
    tool_call: bool,
    /// Tokens as they are listed, in order.
    tokens: Vec<Token>,
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    logprob: Option<f64>,
}

impl Draft {
    /// Adds what one JSON object brings; whether a choice was in it.
    fn add(&mut self, body: &Value) -> Result<bool, InvalidReply> {
        if let Some(words) = error_in(body) {
            return Err(InvalidReply::Server(words));
        }
        let text = |name: &str| body[name].as_str().filter(|text| !text.is_empty());
        let named: Vec<&str> = ["model", "system_fingerprint"].into_iter().filter_map(text).collect();
        if !named.is_empty() {
            self.reply.served = Some(named.join(" "));
        }
        self.reply.usage = count(&body["usage"]).or(self.reply.usage);
        let choices = match &body["choices"] {
            Value::Array(choices) => choices.as_slice(),
            Value::Null => &[],
            _ => return Err(InvalidReply::NotJson("`choices` is not a list".into())),
        };
        let first = choices.iter().find(|choice| choice["index"] == 0);
        let Some(choice) = first.or(choices.first().filter(|choice| choice["index"].is_null())) else {
            return Ok(false);
        };
        self.choice(choice)?;
        Ok(true)
    }

    fn choice(&mut self, choice: &Value) -> Result<(), InvalidReply> {
        let part = [&choice["message"], &choice["delta"]].into_iter().find(|part| part.is_object());
        if let Some(words) = [Some(choice), part].into_iter().flatten().find_map(error_in) {
            return Err(InvalidReply::Server(words));
        }
        let finish = &choice["finish_reason"];
        if let Some(finish) = finish.as_str().or(finish["type"].as_str()).filter(|name| !name.trim().is_empty()) {
            self.reply.finish = Some(finish.into());
        }
        if let Some(part) = part {
            self.message(part)?;
        }
        if let Value::Array(listed) = &choice["logprobs"]["content"] {
            let token = |token: &Value| Token::deserialize(token).unwrap_or(Token { token: None, logprob: None });
            self.tokens.extend(listed.iter().map(token));
        }
        Ok(())
    }

    fn message(&mut self, part: &Value) -> Result<(), InvalidReply> {
        let (mut text, mut reasoning) = (String::new(), String::new());
        let mut content = pieces(&part["content"], &mut text, &mut reasoning)?;
        if !content && let Some(refusal) = part["refusal"].as_str() {
            (text, content) = (refusal.into(), true);
        }
        let apart = ["reasoning_content", "reasoning"].into_iter().find_map(|name| part[name].as_str());
        reasoning += apart.unwrap_or_default();
        self.content |= content;
        self.reply.content += &text;
        if !reasoning.is_empty() {
            *self.reply.reasoning.get_or_insert_default() += &reasoning;
        }
        let called = |name: &str| part[name].as_array().is_some_and(|calls| !calls.is_empty());
        self.tool_call |= called("tool_calls") || part["function_call"].is_object();
        Ok(())
    }

    /// The reply, if it is complete.
    fn finish(mut self) -> Result<Reply, InvalidReply> {
        if self.tool_call && self.reply.content.trim().is_empty() {
            return Err(InvalidReply::ToolCall);
        }
        let written = !self.reply.content.is_empty() || self.reply.reasoning.is_some();
        if !(written || self.content || self.reply.filtered()) {
            return Err(InvalidReply::NoContent);
        }
        self.reply.check()?;
        if written {
            // a text that is there took tokens: such a count is none
            self.reply.usage = self.reply.usage.filter(|count| count.new > 0 && count.prompt > 0);
        }
        let tokens = of_answer(&self.tokens, self.reply.parts()).filter(|tokens| !tokens.is_empty());
        // One token without a number leaves no sum that means anything.
        self.reply.logprob = tokens.map(|tokens| tokens.iter().map(|token| token.logprob.unwrap_or(f64::NAN)).sum());
        Ok(self.reply)
    }
}

/// An error that stands in an object where an answer should: in its own words, or as JSON.
fn error_in(object: &Value) -> Option<String> {
    let error = &object["error"];
    let none = match error {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Object(fields) => fields.values().all(Value::is_null),
        _ => false,
    };
    match (none, object["object"] == "error") {
        (false, _) => Some(message(error).unwrap_or_else(|| error.to_string())),
        (true, true) => Some(message(object).unwrap_or_else(|| object.to_string())),
        (true, false) => None,
    }
}

/// Tokens as a server counts them, if it counts both kinds.
fn count(usage: &Value) -> Option<Tokens> {
    let whole = |name: &str| {
        let number = &usage[name];
        number.as_u64().or(number.as_f64().filter(|x| (0.0..9e15).contains(x) && x.fract() == 0.0).map(|x| x as u64))
    };
    Some(Tokens { prompt: whole("prompt_tokens")?, new: whole("completion_tokens")? })
}

/// Adds a content, a text or a list of parts, to text and reasoning; whether there was one.
fn pieces(content: &Value, text: &mut String, reasoning: &mut String) -> Result<bool, InvalidReply> {
    match content {
        Value::Null => return Ok(false),
        Value::String(piece) => *text += piece,
        Value::Array(parts) => {
            for part in parts {
                pieces(part, text, reasoning)?;
            }
            return Ok(!parts.is_empty());
        }
        Value::Object(part) => {
            let kind = content["type"].as_str().unwrap_or("text");
            let inner = ["text", "thinking", "reasoning", "refusal", "content"].iter().find_map(|name| part.get(*name));
            let inner = inner.unwrap_or(&Value::Null);
            match kind {
                "text" | "output_text" | "refusal" => return pieces(inner, text, reasoning),
                "thinking" | "reasoning" | "reasoning_text" => {
                    let (mut thought, mut more) = (String::new(), String::new());
                    pieces(inner, &mut thought, &mut more)?;
                    *reasoning += &(thought + &more);
                }
                other => return Err(InvalidReply::NotText(other.into())),
            }
        }
        other => return Err(InvalidReply::NotText(other.to_string())),
    }
    Ok(true)
}

/// The answer's tokens and what ends it: all without reasoning; else those after the last `</think>`, or, where the server keeps that to
/// itself, those that spell the answer. None where the tokens do not say which these are.
fn of_answer<'a>(tokens: &'a [Token], (reasoning, answer): (Option<String>, &str)) -> Option<&'a [Token]> {
    let text: String = tokens.iter().filter_map(|token| token.token.as_deref()).collect();
    let (thought, spelt) = (text.rfind(THOUGHT), text.rfind(answer));
    // a byte of the last token before the answer, or of the first of it, which may begin with a space
    let (byte, after) = match (thought, reasoning, spelt) {
        (Some(at), ..) => (at + THOUGHT.len() - 1, 1),
        (None, None, _) => return Some(tokens),
        (None, Some(_), Some(at)) if !answer.is_empty() => (at, 0),
        _ => return None,
    };
    let mut end = 0;
    let holds = |token: &Token| {
        end += token.token.as_ref().map_or(0, String::len);
        end > byte
    };
    let at = tokens.iter().position(holds)?;
    tokens.get(at + after..)
}

/// Server-sent events, line by line.
#[derive(Default)]
struct Events {
    draft: Draft,
    /// A choice was among them.
    begun: bool,
    /// Data lines of the event that is being read.
    data: String,
    /// Its name is `error`.
    error: bool,
    /// What an object said that is no chunk of an answer.
    words: Option<String>,
}

impl Events {
    /// Whether more is to come.
    fn line(&mut self, line: &str) -> Result<bool, InvalidReply> {
        if line.is_empty() {
            return self.dispatch();
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => self.error = value.trim() == "error",
            "data" => {
                // servers that leave out the blank line between two events
                if serde_json::from_str::<serde::de::IgnoredAny>(&self.data).is_ok() {
                    self.dispatch()?;
                }
                self.data += value;
                self.data.push('\n');
                if value.trim() == "[DONE]" {
                    return self.dispatch();
                }
            }
            _ => {}
        }
        Ok(true)
    }

    /// The end of an event.
    fn dispatch(&mut self) -> Result<bool, InvalidReply> {
        let (data, error) = (std::mem::take(&mut self.data), std::mem::take(&mut self.error));
        let data = data.trim();
        if data.is_empty() || data == "[DONE]" {
            return Ok(data.is_empty());
        }
        let body = serde_json::from_str::<Value>(data);
        if error {
            return Err(InvalidReply::Server(body.ok().as_ref().and_then(message).unwrap_or_else(|| data.into())));
        }
        let body = body.map_err(|e| InvalidReply::NotJson(e.to_string()))?;
        self.begun |= self.draft.add(&body)?;
        self.words = self.words.take().or_else(|| message(&body));
        Ok(true)
    }
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
            true => draft.finish(),
            false => Err(message(&body).map_or(InvalidReply::NoChoices, InvalidReply::Server)),
        }
    }

    /// Of server-sent events; comments and fields other than `data` and `event` are passed over.
    pub fn of_events(mut lines: impl BufRead) -> Result<Self, InvalidReply> {
        let (mut events, mut line) = (Events::default(), Vec::new());
        loop {
            line.clear();
            let read = lines.read_until(b'\n', &mut line);
            let more = match std::str::from_utf8(&line) {
                Ok(text) => events.line(text.trim_end_matches(['\r', '\n'])),
                Err(error) => Err(InvalidReply::NotJson(error.to_string())),
            };
            let stopped = match (read, more) {
                (_, Err(error)) => Err(error),
                (Err(error), _) => events.dispatch().and(Err(InvalidReply::Lost(error))),
                (Ok(0), Ok(_)) => events.dispatch().map(|_| true),
                (Ok(_), Ok(more)) => Ok(!more),
            };
            match stopped {
                Ok(false) => {}
                Ok(true) => break,
                Err(error @ InvalidReply::Server(_)) => return Err(error),
                Err(_) if events.draft.reply.finish.is_some() => break, // only the count of tokens can be missing
                Err(error) => return Err(error),
            }
        }
        match (events.draft.reply.finish.is_some(), events.begun) {
            (true, _) => events.draft.finish(),
            (false, true) => Err(InvalidReply::Cut),
            (false, false) => Err(events.words.map_or(InvalidReply::NoChoices, InvalidReply::Server)),
        }
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

/// What an error says, in the ways that servers write it.
pub fn message(error: &Value) -> Option<String> {
    let text = |value: &Value| value.as_str().filter(|text| !text.trim().is_empty()).map(String::from);
    let fields = ["message", "error", "detail", "msg", "code"];
    text(error).or_else(|| match error {
        Value::Array(items) => items.first().and_then(message), // pydantic's list
        _ => fields.iter().find_map(|name| message(error.get(*name)?)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::io::Read as _;

    const WHOLE: &str = r#"{"model":"m","system_fingerprint":"fp_1","choices":[{"index":0,"message":{"role":"assistant",
        "content":"Renal cyst","reasoning_content":"Hm."},"finish_reason":"stop","logprobs":{"content":[
        {"token":"Renal","logprob":-0.5},{"token":" cyst","logprob":-0.25},{"token":"<|im_end|>","logprob":-0.125}]}}],
        "usage":{"prompt_tokens":30,"completion_tokens":3,"total_tokens":33}}"#;

    fn whole() -> Reply {
        Reply {
            content: "Renal cyst".into(),
            reasoning: Some("Hm.".into()),
            finish: Some("stop".into()),
            logprob: Some(-0.875),
            usage: Some(Tokens { prompt: 30, new: 3 }),
            served: Some("m fp_1".into()),
        }
    }

    fn events() -> Vec<String> {
        let delta = |content: &str, logprobs: &[(&str, f64)]| {
            let tokens: Vec<_> = logprobs.iter().map(|(token, l)| json!({"token": token, "logprob": l})).collect();
            json!({"model": "m", "system_fingerprint": "fp_1", "choices": [{"delta": {"content": content}, "logprobs": {"content": tokens}, "finish_reason": null}]})
        };
        vec![
            ": keep-alive\n\n".into(),
            format!(
                "event: chunk\ndata: {}\n\n",
                json!({"choices": [{"delta": {"role": "assistant", "content": null, "reasoning_content": "Hm."}}]})
            ),
            format!("data: {}\r\n\r\n", delta("Renal", &[("Renal", -0.5)])),
            format!("data:{}\n\n", delta(" cyst", &[(" cyst", -0.25), ("<|im_end|>", -0.125)])),
            format!("data: {}\n\n", json!({"choices": [{"delta": {}, "finish_reason": "stop"}]})),
            format!("data: {}\n\n", json!({"choices": [], "usage": {"prompt_tokens": 30, "completion_tokens": 3}})),
            "data: [DONE]\n\n".into(),
        ]
    }

    #[test]
    fn a_body_and_a_stream_of_the_same_answer_are_the_same() {
        assert_eq!(Reply::of_body(WHOLE).unwrap(), whole());
        assert_eq!(Reply::of_events(events().concat().as_bytes()).unwrap(), whole());
    }

    #[test]
    fn a_stream_cut_before_its_finish_reason_is_noticed_and_after_it_only_the_count_is_missing() {
        let all = events().concat();
        let finished = events()[..5].concat().trim_end().len();
        let counted = events()[..6].concat().trim_end().len();
        let lost = || std::io::BufReader::new(Lost); // the connection breaks, or just ends
        for end in 0..=all.len() {
            let begun = &all.as_bytes()[..end];
            for read in [Reply::of_events(begun), Reply::of_events(begun.chain(lost()))] {
                if end < finished {
                    assert!(read.is_err(), "cut at {end}");
                } else if end < counted {
                    assert_eq!(read.unwrap(), Reply { usage: None, ..whole() }, "cut at {end}");
                } else {
                    assert_eq!(read.unwrap().content, whole().content, "cut at {end}");
                }
            }
        }
        assert_eq!(Reply::of_events(events()[..6].concat().as_bytes()).unwrap(), whole(), "the answer itself is whole");
    }

    struct Lost;

    impl std::io::Read for Lost {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::ConnectionReset.into())
        }
    }

    #[test]
    fn tokens_of_reasoning_are_no_part_of_the_answers_log_probability() {
        let listed = |tokens: &[&str]| -> Vec<Token> {
            tokens.iter().map(|token| Token { token: Some(token.to_string()), logprob: Some(-1.0) }).collect()
        };
        let logprob = |content: &str, reasoning: Option<&str>, tokens: &[&str]| {
            let reply = Reply { content: content.into(), reasoning: reasoning.map(String::from), ..Reply::default() };
            Draft {
                reply: Reply { finish: Some("stop".into()), ..reply },
                content: true,
                tokens: listed(tokens),
                ..Draft::default()
            }
            .finish()
            .unwrap()
            .logprob
        };
        let (answer, hm) = ("Renal cyst", Some("Hm, a Renal cyst."));
        let thought = ["<think>", "Hm", ", a Renal cyst", ".", "</think>"];
        let said = ["\n\n", "Renal", " cyst", "<|im_end|>"];
        let all = [&thought[..], &said].concat();
        assert_eq!(logprob(answer, hm, &all), Some(-4.0), "vLLM lists all tokens");
        assert_eq!(logprob(&all[..8].concat(), None, &all), Some(-4.0), "reasoning in the message");
        assert_eq!(logprob(answer, hm, &said[1..]), Some(-3.0), "DeepSeek lists the answer's");
        let without_end = [&thought[1..4], &said[1..]].concat();
        assert_eq!(logprob(answer, hm, &without_end), Some(-3.0), "a stream that keeps `</think>` to itself");
        assert_eq!(logprob(answer, hm, &["Hm.", " Renal", " cyst"]), Some(-2.0), "with the space before");
        assert_eq!(logprob(answer, hm, &["", "", ""]), None, "tokens without a text");
        assert_eq!(logprob("", hm, &thought[..3]), None, "cut while it thought");
        assert_eq!(logprob("", hm, &thought), None, "nothing follows");
        assert_eq!(logprob(answer, None, &["", ""]), Some(-2.0), "without reasoning every token counts");
        assert_eq!(logprob(answer, None, &["<think>", "</think>", answer]), Some(-1.0), "an empty think block");
        assert_eq!(logprob(answer, hm, &["Hm</th", "ink>\n", answer]), Some(-1.0), "`</think>` in pieces");
    }

    #[test]
    fn what_is_no_answer_says_why() {
        let flaw = |text: &str| Reply::of_body(text).unwrap_err();
        assert!(matches!(flaw("{\"choices\":[{"), InvalidReply::NotJson(_)));
        assert!(matches!(flaw("<html>"), InvalidReply::NotJson(_)));
        assert!(matches!(flaw("{\"choices\":[]}"), InvalidReply::NoChoices));
        assert!(matches!(flaw("{}"), InvalidReply::NoChoices));
        assert!(matches!(Reply::of_events(&b"data: [DONE]\n\n"[..]).unwrap_err(), InvalidReply::NoChoices));
    }

    /// A choice with this message and finish_reason, and the count of its tokens.
    fn body(message: Value, finish: Value, usage: Value) -> Value {
        json!({"choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": usage})
    }

    /// The same as one chunk of a stream, as the last before `[DONE]`.
    fn streamed(body: &Value) -> String {
        let mut body = body.clone();
        for choice in body["choices"].as_array_mut().into_iter().flatten() {
            choice["delta"] = choice["message"].take();
        }
        format!("data: {body}\n\ndata: [DONE]\n\n")
    }

    #[test]
    fn an_error_with_a_fine_status_is_the_servers_own_words() {
        let inside = |error: Value| json!({"choices": [{"message": {"content": "half"}, "finish_reason": "error", "error": error}]});
        let in_message =
            json!({"choices": [{"message": {"content": null, "error": {"message": "gone"}}, "finish_reason": "stop"}]});
        for body in [
            json!({"error": {"message": "gone"}}),
            json!({"error": "gone", "choices": null}),
            json!({"error": {"message": "gone", "code": 502}, "choices": []}),
            json!({"object": "error", "message": "gone", "type": "InternalServerError", "code": 500}),
            json!({"code": "Throttling", "message": "gone", "request_id": "1"}),
            json!({"detail": "gone"}),
            inside(json!({"message": "gone", "code": 502})),
            inside(json!("gone")),
            in_message,
        ] {
            let whole = Reply::of_body(&body.to_string()).unwrap_err();
            let chunk = Reply::of_events(streamed(&body).as_bytes()).unwrap_err();
            for error in [whole, chunk] {
                assert!(matches!(&error, InvalidReply::Server(words) if words == "gone"), "{body}: {error:?}");
            }
        }
        let named = b"event: error\ndata: gone\n\n";
        assert!(matches!(Reply::of_events(&named[..]), Err(InvalidReply::Server(words)) if words == "gone"));
        let late = events()[..6].concat() + "data: {\"error\":{\"message\":\"gone\"}}\n\n";
        assert!(matches!(Reply::of_events(late.as_bytes()), Err(InvalidReply::Server(_))), "after its finish_reason");
        let fine =
            json!({"error": null, "choices": [{"message": {"content": "a"}, "finish_reason": "stop", "error": {}}]});
        assert_eq!(Reply::of_body(&fine.to_string()).unwrap().content, "a", "an error of null is none");
    }

    #[test]
    fn an_answer_is_complete_only_if_everything_says_so() {
        let (some, none) =
            (json!({"prompt_tokens": 9, "completion_tokens": 3}), json!({"prompt_tokens": 9, "completion_tokens": 0}));
        let text = || json!({"content": "Renal cyst"});
        let rows = [
            (body(text(), json!("stop"), some.clone()), true),
            (body(text(), json!("length"), Value::Null), true),
            (body(text(), json!("STOP"), Value::Null), true),
            (body(text(), json!("eos_token"), Value::Null), true),
            (body(text(), json!(""), some.clone()), false),
            (body(text(), Value::Null, some.clone()), false),
            (body(text(), json!("error"), some.clone()), false),
            (body(text(), json!("abort"), some.clone()), false),
            (body(text(), json!("insufficient_system_resource"), some.clone()), false),
            (body(text(), json!("tool_calls"), some.clone()), false),
            (body(json!({"content": null}), json!("stop"), none.clone()), false),
            (body(json!({"content": null}), json!("stop"), Value::Null), false),
            (body(json!({"content": null}), json!("stop"), some.clone()), false),
            (body(json!({"content": ""}), json!("stop"), none.clone()), false),
            (body(json!({"content": []}), json!("stop"), some.clone()), false),
            (body(json!({}), json!("stop"), some.clone()), false),
            (body(Value::Null, json!("stop"), some.clone()), false),
            (body(json!({"content": null, "tool_calls": [{"id": "1"}]}), json!("stop"), some.clone()), false),
            (body(json!({"content": ""}), json!("stop"), some.clone()), true),
            (body(json!({"content": null, "reasoning_content": "Hm."}), json!("stop"), some.clone()), true),
            (body(json!({"content": null, "refusal": "I cannot"}), json!("stop"), some.clone()), true),
            (body(json!({"content": null}), json!("content_filter"), none), true),
        ];
        for (body, complete) in rows {
            assert_eq!(Reply::of_body(&body.to_string()).is_ok(), complete, "{body}");
            assert_eq!(Reply::of_events(streamed(&body).as_bytes()).is_ok(), complete, "streamed: {body}");
        }
        // ollama#4357: chunks of a stream that breaks, each with an empty finish_reason
        let chunk = |text: &str| {
            format!("data: {}\n\n", json!({"choices": [{"delta": {"content": text}, "finish_reason": ""}]}))
        };
        let broken = chunk("Renal") + &chunk(" cy");
        assert!(matches!(Reply::of_events(broken.as_bytes()), Err(InvalidReply::Cut)));
        assert!(Reply::of_events((broken + "data: [DONE]\n\n").as_bytes()).is_err());
    }

    #[test]
    fn content_in_parts_is_one_text_and_the_choice_of_index_0_counts() {
        let text = |text: &str| json!({"type": "text", "text": text});
        let thinking = json!({"type": "thinking", "thinking": [text("Hm.")]});
        let of =
            |content: Value| Reply::of_body(&body(json!({"content": content}), json!("stop"), Value::Null).to_string());
        let reply = of(json!([thinking, text("Renal"), " cyst", {"type": "output_text", "text": "."}])).unwrap();
        assert_eq!((reply.content.as_str(), reply.reasoning.as_deref()), ("Renal cyst.", Some("Hm.")));
        assert!(
            matches!(of(json!([text("a"), {"type": "image_url", "image_url": {}}])), Err(InvalidReply::NotText(kind)) if kind == "image_url")
        );
        assert!(matches!(of(json!(7)), Err(InvalidReply::NotText(_))));
        let choice =
            |index: Value, text: &str| json!({"index": index, "message": {"content": text}, "finish_reason": "stop"});
        let several = json!({"choices": [choice(json!(1), "second"), choice(json!(0), "first")]});
        assert_eq!(Reply::of_body(&several.to_string()).unwrap().content, "first");
        let events = [(1, "b"), (0, "a"), (1, "d"), (0, "c")].map(|(index, text)| {
            format!("data: {}\n\n", json!({"choices": [{"index": index, "delta": {"content": text}, "finish_reason": if text > "b" { "stop" } else { "" }}]}))
        });
        assert_eq!(Reply::of_events(events.concat().as_bytes()).unwrap().content, "ac");
        let other = json!({"choices": [choice(json!(1), "second")]}).to_string();
        assert!(matches!(Reply::of_body(&other), Err(InvalidReply::NoChoices)));
    }

    #[test]
    fn whatever_form_comes_is_read_under_any_content_type() {
        for stream in [false, true] {
            for text in [WHOLE.to_string(), format!("\u{feff}\n {WHOLE}"), events().concat(), events()[1..].concat()] {
                assert_eq!(Reply::read(text.as_bytes(), stream).unwrap(), whole(), "{stream}: {text}");
            }
            let page = Reply::read(&b"<html>Hi</html>"[..], stream);
            assert!(matches!(page, Err(InvalidReply::Page)));
        }
        let pretty = serde_json::to_string_pretty(&body(json!({"content": "a"}), json!("stop"), Value::Null)).unwrap();
        let lines: String = pretty.lines().map(|line| format!("data: {line}\n")).collect();
        assert_eq!(Reply::read((lines + "\n").as_bytes(), true).unwrap().content, "a", "an event of several lines");
        let dense: String = events().concat().replace("\n\n", "\n");
        assert_eq!(Reply::read(dense.as_bytes(), true).unwrap(), whole(), "events without blank lines between them");
        let broken = b"{\"choices\":[{\"message\":{\"content\":\"caf\xe9\"},\"finish_reason\":\"stop\"}]}";
        assert!(
            matches!(Reply::read(&broken[..], false), Err(InvalidReply::NotJson(_))),
            "not UTF-8: nothing is guessed"
        );
    }

    #[test]
    fn what_a_complete_answer_lacks_is_named() {
        let reply = |content: &str, reasoning: Option<&str>, finish: &str| Reply {
            content: content.into(),
            reasoning: reasoning.map(String::from),
            finish: Some(finish.into()),
            ..Reply::default()
        };
        assert_eq!(reply("Renal cyst", Some("Hm."), "stop").defect(), None);
        assert_eq!(reply("Renal cy", None, "length").defect(), Some(Defect::Cut));
        assert_eq!(reply("Renal cy", None, "model_length").defect(), Some(Defect::Cut));
        assert_eq!(reply(" \n", Some("Hm."), "stop").defect(), Some(Defect::OnlyReasoning));
        assert_eq!(reply("<think>Hm", None, "length").defect(), Some(Defect::OnlyReasoning));
        assert_eq!(reply("", None, "length").defect(), Some(Defect::Empty));
        assert_eq!(reply("", None, "content_filter").defect(), Some(Defect::Empty));
    }

    #[test]
    fn numbers_that_a_server_leaves_out_are_not_made_up() {
        let of = |usage: Value, logprobs: Value| {
            let mut body = body(json!({"content": "a", "unknown": [1]}), json!("stop"), usage);
            body["choices"][0]["logprobs"] = logprobs;
            Reply::of_body(&body.to_string()).unwrap()
        };
        let bare = of(Value::Null, Value::Null);
        assert_eq!((bare.logprob, bare.usage, bare.served), (None, None, None));
        for usage in [
            json!({}),
            json!({"prompt_tokens": 3}),
            json!({"prompt_tokens": null, "completion_tokens": 3}),
            json!({"prompt_tokens": 3, "completion_tokens": -3}),
            json!({"prompt_tokens": 3, "completion_tokens": 0}),
            json!({"prompt_tokens": 0, "completion_tokens": 3}),
            json!("3"),
        ] {
            assert_eq!(of(usage.clone(), Value::Null).usage, None, "{usage}");
        }
        assert_eq!(
            of(json!({"prompt_tokens": 3.0, "completion_tokens": 2}), Value::Null).usage,
            Some(Tokens { prompt: 3, new: 2 })
        );
        let half = of(Value::Null, json!({"content": [{"logprob": -1}, {"logprob": null}, {"logprob": "x"}, 7]}));
        assert_eq!(half.clean(None).logprob, None);
        for odd in [json!([]), json!(true), json!({"content": {}}), json!({"tokens": ["a"]})] {
            assert_eq!(of(Value::Null, odd).logprob, None);
        }
    }

    #[test]
    fn reasoning_and_answer_are_kept_apart() {
        let parts = |content: &str| {
            let reply = Reply { content: content.into(), ..Reply::default() };
            let (thought, answer) = reply.parts();
            (thought, answer.to_string())
        };
        let hm = Some("Hm.".to_string());
        assert_eq!(parts("<think>\nHm.\n</think>\n\nRenal cyst"), (hm.clone(), "Renal cyst".into()));
        assert_eq!(parts("Hm.\n</think>\nRenal cyst"), (hm.clone(), "Renal cyst".into()), "opened in the prompt");
        assert_eq!(parts("<think>Hm."), (hm.clone(), "".into()), "cut while it thought");
        assert_eq!(parts("<think>\n\n</think>\n\nRenal cyst"), (None, "Renal cyst".into()));
        assert_eq!(parts(" Renal cyst \n"), (None, " Renal cyst \n".into()), "byte for byte");
        assert_eq!(whole().parts(), (hm, "Renal cyst"));
        let blank = Reply { reasoning: Some("\n\n".into()), content: "\n\nRenal cyst".into(), ..Reply::default() };
        assert_eq!(blank.parts(), (None, "Renal cyst"), "an empty think block, as a server streams it");
    }

    #[test]
    fn the_key_is_taken_out_of_everything_that_is_kept() {
        let key = Key::new("sk-0123456789abcdef").unwrap();
        let told = "I know sk-0123456789abcdef".to_string();
        let reply = Reply {
            content: told.clone(),
            reasoning: Some(told.clone()),
            finish: Some(told.clone()),
            served: Some(told),
            ..Reply::default()
        };
        assert!(!format!("{:?}", reply.clean(Some(&key))).contains("0123456789"));
    }

    #[test]
    fn errors_are_read_as_servers_write_them() {
        for error in [
            json!({"error": {"message": "no such model", "code": 404}}),
            json!({"object": "error", "message": "no such model"}),
            json!({"error": "no such model"}),
            json!({"detail": "no such model"}),
            json!({"detail": [{"loc": ["body"], "msg": "no such model"}]}),
        ] {
            assert_eq!(message(&error).as_deref(), Some("no such model"), "{error}");
        }
        assert_eq!(message(&json!({"a": 1})), None);
    }
}

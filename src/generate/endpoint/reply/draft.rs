//! A reply that is being put together, from one JSON object or from many chunks.
use super::super::usage::Tokens;
use super::{InvalidReply, Reply, THOUGHT, endings, message};
use serde::Deserialize;
use serde_json::Value;

/// A reply that is being put together.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) reply: Reply,
    /// A content, be it `""`, or a refusal was there.
    pub(super) content: bool,
    pub(super) tool_call: bool,
    /// How it ended, where other fields than `finish_reason` say more.
    pub(super) ended: Option<&'static str>,
    /// Tokens as they are listed, in order.
    pub(super) tokens: Vec<Token>,
}

#[derive(Deserialize)]
pub(super) struct Token {
    pub(super) token: Option<String>,
    pub(super) logprob: Option<f64>,
}

impl Draft {
    /// Adds what one JSON object brings; whether a choice was in it.
    pub(super) fn add(&mut self, body: &Value) -> Result<bool, InvalidReply> {
        if let Some(words) = error_in(body) {
            return Err(InvalidReply::Server(words));
        }
        self.ended = endings::other(body)?.or(self.ended);
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
            self.reply.finish = Some(endings::named(finish).into());
        }
        self.ended = endings::other(choice)?.or(self.ended);
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
    pub(super) fn finish(mut self) -> Result<Reply, InvalidReply> {
        if self.tool_call && self.reply.content.trim().is_empty() {
            return Err(InvalidReply::ToolCall);
        }
        if let Some(ended) = self.ended.filter(|_| self.reply.finish.is_some()) {
            self.reply.finish = Some(ended.into());
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
        let listed = of_answer(&self.tokens, self.reply.parts()).filter(|tokens| !tokens.is_empty());
        let tokens = listed.filter(|tokens| !are_part(tokens, self.reply.parts().1));
        // One token without a number, or with one that is no logarithm of a probability, leaves no sum that means anything.
        let logprob = |token: &Token| token.logprob.filter(|p| *p <= 1e-3).unwrap_or(f64::NAN);
        self.reply.logprob = tokens.map(|tokens| tokens.iter().map(logprob).sum());
        Ok(self.reply)
    }
}

/// Whether the tokens' texts are a part of the answer and not all of it: a sum over them is not that of the answer. What does not read as a
/// part (bytes of a letter, another spelling of a space) cannot be told.
fn are_part(tokens: &[Token], answer: &str) -> bool {
    let text: Option<String> = tokens.iter().map(|token| token.token.as_deref()).collect();
    let text = text.unwrap_or_default().replace(['Ġ', '▁'], " ");
    let (text, answer) = (text.trim(), answer.trim());
    !text.is_empty() && text.len() < answer.len() && answer.contains(text)
}

/// An error that stands in an object where an answer should: in its own words, or as JSON.
fn error_in(object: &Value) -> Option<String> {
    // MiniMax: {"base_resp": {"status_code": 1004, "status_msg": "…"}}; GraphQL and Cloudflare: {"errors": [{"message": "…"}]}
    let base = &object["base_resp"];
    if base["status_code"].as_i64().is_some_and(|code| code != 0) {
        return Some(message(&base["status_msg"]).unwrap_or_else(|| base.to_string()));
    }
    if let Some(first) = object["errors"].as_array().and_then(|errors| errors.first()) {
        return Some(message(first).unwrap_or_else(|| first.to_string()));
    }
    if let Some(status) =
        object["status"].as_str().filter(|s| ["failed", "error", "incomplete", "cancelled"].contains(s))
    {
        let why = message(&object["incomplete_details"]["reason"]).or_else(|| message(object));
        return Some(format!("status `{status}`{}", why.map_or(String::new(), |why| format!(": {why}"))));
    }
    if object["truncated"] == true {
        return Some("the answer says of itself that it is truncated".into());
    }
    // Groq: {"x_groq": {"error": "over_capacity"}} says why a stream was stopped early
    let vendors = object.as_object().into_iter().flatten().filter(|(key, _)| key.starts_with("x_"));
    if let Some(error) = vendors.map(|(_, value)| &value["error"]).find(|error| !is_none(error)) {
        return Some(message(error).unwrap_or_else(|| error.to_string()));
    }
    let error = &object["error"];
    match (is_none(error), object["object"] == "error") {
        (false, _) => Some(message(error).unwrap_or_else(|| error.to_string())),
        (true, true) => Some(message(object).unwrap_or_else(|| object.to_string())),
        (true, false) => None,
    }
}

fn is_none(error: &Value) -> bool {
    match error {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Object(fields) => fields.values().all(Value::is_null),
        _ => false,
    }
}

/// Tokens as a server counts them, if it counts both kinds.
fn count(usage: &Value) -> Option<Tokens> {
    let whole = |name: &str| {
        let number = &usage[name];
        let written = number.as_str().and_then(|text| text.trim().parse().ok());
        written
            .or(number.as_u64())
            .or(number.as_f64().filter(|x| (0.0..9e15).contains(x) && x.fract() == 0.0).map(|x| x as u64))
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

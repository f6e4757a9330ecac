//! What comes back: one JSON body, or server-sent events that are put together to the same.
//!
//! ```text
//! data: {"choices":[{"delta":{"content":"Renal"},"logprobs":{…}}]}       pieces, in order
//! data: {"choices":[{"delta":{},"finish_reason":"stop"}]}                  without this the answer is cut
//! data: {"choices":[],"usage":{…}}                                         only where it was asked for
//! data: [DONE]
//! ```
use super::key::Key;
use super::money::Tokens;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io::BufRead;

/// An answer as a server gave it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// The message, byte for byte.
    pub content: String,
    /// What the server itself keeps apart (`reasoning_content`, `reasoning`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// `stop`, `length`, `content_filter` …
    pub finish: Option<String>,
    /// Sum over all tokens that the server lists, the end among them where it is listed; natural logarithm.
    pub logprob: Option<f64>,
    pub usage: Option<Tokens>,
    /// Name and fingerprint that the server gives itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served: Option<String>,
}

/// Why a body is not an answer.
#[derive(Debug, PartialEq)]
pub enum Flaw {
    /// It ended too early, or reading it failed.
    Cut(String),
    NotJson(String),
    /// A well-formed error of the server, though the status was fine.
    Server(String),
    NoChoices,
}

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<Counted>,
    model: Option<String>,
    system_fingerprint: Option<String>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    message: Option<Part>,
    delta: Option<Part>,
    finish_reason: Option<String>,
    logprobs: Option<Logprobs>,
}

#[derive(Deserialize)]
struct Part {
    content: Option<String>,
    reasoning_content: Option<String>,
    reasoning: Option<String>,
    refusal: Option<String>,
}

#[derive(Deserialize)]
struct Logprobs {
    content: Option<Vec<Token>>,
}

#[derive(Deserialize)]
struct Token {
    logprob: Option<f64>,
}

#[derive(Deserialize)]
struct Counted {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
}

impl Reply {
    /// Of one JSON body.
    pub fn of_body(text: &str) -> Result<Self, Flaw> {
        let mut reply = Self::default();
        match reply.add(text)? {
            true => Ok(reply),
            false => Err(Flaw::NoChoices),
        }
    }

    /// Of server-sent events; comments and other fields are passed over.
    pub fn of_events(mut lines: impl BufRead) -> Result<Self, Flaw> {
        let (mut reply, mut line, mut begun) = (Self::default(), Vec::new(), false);
        loop {
            line.clear();
            let read = lines.read_until(b'\n', &mut line).map_err(|e| Flaw::Cut(e.to_string()))?;
            let text = String::from_utf8_lossy(&line);
            match text.trim_end().strip_prefix("data:").map(str::trim_start) {
                Some("[DONE]") => break,
                Some(data) if !data.is_empty() => begun |= reply.add(data)?,
                _ if read == 0 => break,
                _ => {}
            }
        }
        match (reply.finish.is_some(), begun) {
            (true, _) => Ok(reply),
            (false, true) => Err(Flaw::Cut("the stream ended without a finish_reason".into())),
            (false, false) => Err(Flaw::NoChoices),
        }
    }

    /// Adds what one JSON object brings; whether a choice was in it.
    fn add(&mut self, text: &str) -> Result<bool, Flaw> {
        let body: Body = serde_json::from_str(text).map_err(|e| Flaw::NotJson(e.to_string()))?;
        if let Some(error) = body.error.filter(|e| !e.is_null()) {
            return Err(Flaw::Server(message(&error).unwrap_or_else(|| error.to_string())));
        }
        if let Some(Counted { prompt_tokens, completion_tokens }) = body.usage {
            self.usage = Some(Tokens { prompt: prompt_tokens, new: completion_tokens });
        }
        let named = [body.model, body.system_fingerprint].into_iter().flatten().collect::<Vec<_>>().join(" ");
        if !named.is_empty() {
            self.served = Some(named);
        }
        let Some(choice) = body.choices.into_iter().next() else { return Ok(false) };
        self.finish = choice.finish_reason.or(self.finish.take());
        if let Some(part) = choice.message.or(choice.delta) {
            self.content += &part.content.or(part.refusal).unwrap_or_default();
            if let Some(more) = part.reasoning_content.or(part.reasoning).filter(|more| !more.is_empty()) {
                *self.reasoning.get_or_insert_default() += &more;
            }
        }
        for token in choice.logprobs.and_then(|l| l.content).into_iter().flatten() {
            // One token without a number leaves no sum that means anything.
            self.logprob = Some(self.logprob.unwrap_or(0.0) + token.logprob.unwrap_or(f64::NAN));
        }
        Ok(true)
    }

    /// Without the key, which a server may repeat, and without a sum that is no number.
    pub fn clean(mut self, key: Option<&Key>) -> Self {
        self.logprob = self.logprob.filter(|sum| sum.is_finite());
        if let Some(key) = key {
            self.content = key.scrub(&self.content);
            let rest = [&mut self.reasoning, &mut self.finish, &mut self.served];
            rest.into_iter().flatten().for_each(|text| *text = key.scrub(text));
        }
        self
    }

    /// Reasoning and answer apart: what the server kept apart and what stands in `<think>…</think>`, also where the
    /// prompt holds the opening mark, or where the answer was cut inside. Without reasoning the answer is byte for byte.
    pub fn parts(&self) -> (Option<String>, &str) {
        let (inside, answer) = match self.content.rsplit_once("</think>") {
            Some((inside, answer)) => (Some(inside), answer.trim_start()),
            None if self.content.trim_start().starts_with("<think>") => (Some(self.content.as_str()), ""),
            // transformers' server leaves the blank line after `</think>` when it streams
            None if self.reasoning.is_some() => (None, self.content.trim_start()),
            None => (None, self.content.as_str()),
        };
        let inside = inside.map(|text| text.replace("<think>", "").replace("</think>", "").trim().to_string());
        let thoughts: Vec<String> =
            self.reasoning.iter().cloned().chain(inside).filter(|t| !t.trim().is_empty()).collect();
        ((!thoughts.is_empty()).then(|| thoughts.join("\n")), answer)
    }
}

/// What an error says, in the ways that servers write it.
pub fn message(error: &Value) -> Option<String> {
    let text = |value: &Value| value.as_str().map(String::from);
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
        let delta = |content: &str, logprobs: &[f64]| {
            let tokens: Vec<_> = logprobs.iter().map(|l| json!({"logprob": l})).collect();
            json!({"model": "m", "system_fingerprint": "fp_1", "choices": [{"delta": {"content": content}, "logprobs": {"content": tokens}, "finish_reason": null}]})
        };
        vec![
            ": keep-alive\n\n".into(),
            format!(
                "event: chunk\ndata: {}\n\n",
                json!({"choices": [{"delta": {"role": "assistant", "content": null, "reasoning_content": "Hm."}}]})
            ),
            format!("data: {}\r\n\r\n", delta("Renal", &[-0.5])),
            format!("data:{}\n\n", delta(" cyst", &[-0.25, -0.125])),
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
    fn a_stream_cut_anywhere_before_its_finish_reason_is_noticed() {
        let all = events().concat();
        let finish = all.find("\"stop\"").unwrap();
        for end in 0..finish {
            if all.is_char_boundary(end) {
                assert!(Reply::of_events(&all.as_bytes()[..end]).is_err(), "cut at {end}");
            }
        }
        let without_done = events()[..6].concat();
        assert_eq!(Reply::of_events(without_done.as_bytes()).unwrap(), whole(), "the answer itself is whole");
    }

    #[test]
    fn what_is_no_answer_says_why() {
        let flaw = |text: &str| Reply::of_body(text).unwrap_err();
        assert!(matches!(flaw("{\"choices\":[{"), Flaw::NotJson(_)));
        assert!(matches!(flaw("<html>"), Flaw::NotJson(_)));
        assert_eq!(flaw("{\"choices\":[]}"), Flaw::NoChoices);
        assert_eq!(flaw("{}"), Flaw::NoChoices);
        assert_eq!(flaw(r#"{"error":{"message":"overloaded"}}"#), Flaw::Server("overloaded".into()));
        let broken = b"data: {\"error\":{\"message\":\"context\",\"code\":400}}\n\ndata: [DONE]\n\n";
        assert_eq!(Reply::of_events(&broken[..]).unwrap_err(), Flaw::Server("context".into()));
        assert_eq!(Reply::of_events(&b"data: [DONE]\n\n"[..]).unwrap_err(), Flaw::NoChoices);
    }

    #[test]
    fn numbers_that_a_server_leaves_out_are_not_made_up() {
        let bare = Reply::of_body(r#"{"choices":[{"message":{"content":"a"},"logprobs":null}]}"#).unwrap();
        assert_eq!((bare.logprob, bare.usage, bare.finish, bare.served), (None, None, None, None));
        let half =
            r#"{"choices":[{"message":{"content":null},"logprobs":{"content":[{"logprob":-1},{"logprob":null}]}}]}"#;
        let half = Reply::of_body(half).unwrap().clean(None);
        assert_eq!((half.logprob, half.content.as_str()), (None, ""));
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

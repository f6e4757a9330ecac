//! What comes back: one JSON body, or server-sent events that are put together to the same.
//!
//! ```text
//! data: {"choices":[{"delta":{"content":"Renal"},"logprobs":{…}}]}       pieces, in order
//! data: {"choices":[{"delta":{},"finish_reason":"stop"}]}                  without this the answer is cut
//! data: {"choices":[],"usage":{…}}                                         only where it was asked for
//! data: [DONE]
//! ```
//!
//! An answer is whole with its `finish_reason`: where the stream breaks after that, only the count of its tokens is missing.
use super::key::Key;
use super::money::Tokens;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io::BufRead;

/// Ends reasoning that is part of the message.
const THOUGHT: &str = "</think>";

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
    /// Sum over the answer's tokens, the end among them where it is listed; natural logarithm. Tokens of reasoning, which vLLM lists
    /// with the answer's and DeepSeek does not, are left out; none where they cannot be told from the answer's.
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
    token: Option<String>,
    logprob: Option<f64>,
}

#[derive(Deserialize)]
struct Counted {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
}

/// A reply that is being put together.
#[derive(Default)]
struct Draft {
    reply: Reply,
    /// Tokens as they are listed, in order.
    tokens: Vec<Token>,
}

impl Draft {
    /// Adds what one JSON object brings; whether a choice was in it.
    fn add(&mut self, text: &str) -> Result<bool, Flaw> {
        let body: Body = serde_json::from_str(text).map_err(|e| Flaw::NotJson(e.to_string()))?;
        let reply = &mut self.reply;
        if let Some(error) = body.error.filter(|e| !e.is_null()) {
            return Err(Flaw::Server(message(&error).unwrap_or_else(|| error.to_string())));
        }
        if let Some(Counted { prompt_tokens, completion_tokens }) = body.usage {
            reply.usage = Some(Tokens { prompt: prompt_tokens, new: completion_tokens });
        }
        let named = [body.model, body.system_fingerprint].into_iter().flatten().collect::<Vec<_>>().join(" ");
        if !named.is_empty() {
            reply.served = Some(named);
        }
        let Some(choice) = body.choices.into_iter().next() else { return Ok(false) };
        reply.finish = choice.finish_reason.or(reply.finish.take());
        if let Some(part) = choice.message.or(choice.delta) {
            reply.content += &part.content.or(part.refusal).unwrap_or_default();
            if let Some(more) = part.reasoning_content.or(part.reasoning).filter(|more| !more.is_empty()) {
                *reply.reasoning.get_or_insert_default() += &more;
            }
        }
        self.tokens.extend(choice.logprobs.and_then(|listed| listed.content).into_iter().flatten());
        Ok(true)
    }

    fn finish(mut self) -> Reply {
        let tokens = of_answer(&self.tokens, self.reply.parts()).filter(|tokens| !tokens.is_empty());
        // One token without a number leaves no sum that means anything.
        self.reply.logprob = tokens.map(|tokens| tokens.iter().map(|token| token.logprob.unwrap_or(f64::NAN)).sum());
        self.reply
    }
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

impl Reply {
    /// Of one JSON body.
    pub fn of_body(text: &str) -> Result<Self, Flaw> {
        let mut draft = Draft::default();
        match draft.add(text)? {
            true => Ok(draft.finish()),
            false => Err(Flaw::NoChoices),
        }
    }

    /// Of server-sent events; comments and other fields are passed over.
    pub fn of_events(mut lines: impl BufRead) -> Result<Self, Flaw> {
        let (mut draft, mut line, mut begun) = (Draft::default(), Vec::new(), false);
        loop {
            line.clear();
            let read = lines.read_until(b'\n', &mut line);
            let text = String::from_utf8_lossy(&line);
            let more = match text.trim_end().strip_prefix("data:").map(str::trim_start) {
                Some("[DONE]") => Ok(false),
                Some(data) if !data.is_empty() => draft.add(data).map(|choice| {
                    begun |= choice;
                    true
                }),
                _ => Ok(true),
            };
            let ended = match (read, more) {
                (Err(error), _) => Err(Flaw::Cut(error.to_string())),
                (_, Err(flaw)) => Err(flaw),
                (Ok(read), Ok(more)) => Ok(read == 0 || !more),
            };
            match ended {
                Ok(false) => {}
                Err(flaw) if draft.reply.finish.is_none() => return Err(flaw),
                _ => break, // what breaks after its finish_reason is a whole answer
            }
        }
        match (draft.reply.finish.is_some(), begun) {
            (true, _) => Ok(draft.finish()),
            (false, true) => Err(Flaw::Cut("the stream ended without a finish_reason".into())),
            (false, false) => Err(Flaw::NoChoices),
        }
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
            Draft { reply, tokens: listed(tokens) }.finish().logprob
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

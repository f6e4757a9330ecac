//! One try of one question: a POST, and what its end means for the next try. Redirects are not followed: a key goes to the one address
//! that it was given for.
use super::address::Address;
use super::config::ClientConfig;
use super::key::Key;
use super::reply::{InvalidReply, Reply, message};
use super::retry_after::retry_after;
use crate::error::{Error, Result};
use serde_json::Value;
use std::io::{BufReader, ErrorKind, Read};
use std::time::{Duration, SystemTime};
use ureq::http::{HeaderMap, HeaderValue, Response};
use ureq::{Agent, Body, Timeout};

/// No answer is longer; a body that goes on is an error.
const LONGEST_BODY: u64 = 64 << 20;
/// Servers close a connection that nobody uses, uvicorn's after 5 s; one that is closed while we write is a lost try.
const IDLE: Duration = Duration::from_secs(4);
/// Characters of a server's words that an error repeats.
const QUOTE: usize = 300;

/// A try that brought no answer.
#[derive(Debug)]
pub enum Failure {
    /// Another try may help.
    Retry {
        /// Which kind, in a word or two, for the count of retries.
        kind: String,
        said: String,
        /// How long the server asks to be left alone.
        after: Option<Duration>,
        /// The server had the question and may bill the answer.
        billed: bool,
    },
    /// Nobody answers at the address: as above once somebody has, before that the end.
    Unreachable(Error),
    /// The same question would end the same way.
    Fatal(Error),
}

/// The connection to one endpoint.
pub struct HttpClient {
    agent: Agent,
    address: Address,
    model: String,
    key: Option<Key>,
    header: Option<HeaderValue>,
    timeout: f64,
}

impl HttpClient {
    pub fn new(address: Address, model: &str, key: Option<Key>, client: &ClientConfig) -> Result<Self> {
        let mut config = Agent::config_builder()
            .timeout_connect(Some(Duration::from_secs_f64(client.connect_timeout)))
            .timeout_global(Some(Duration::from_secs_f64(client.timeout)))
            .http_status_as_error(false)
            .max_redirects(0) // a key goes to no other place than the one it was given for
            .max_redirects_will_error(false)
            .max_idle_connections(client.concurrency)
            .max_idle_connections_per_host(client.concurrency)
            .max_idle_age(IDLE)
            .user_agent(concat!("dxlab/", env!("CARGO_PKG_VERSION")));
        if address.is_loopback() {
            config = config.proxy(None);
        }
        let header = key.as_ref().map(Key::header).transpose()?;
        Ok(Self { agent: config.build().into(), address, model: model.into(), key, header, timeout: client.timeout })
    }

    /// Sends `body` (JSON) and reads the answer, streamed or not, as the server sends it.
    pub fn ask(&self, body: &str) -> Result<Reply, Failure> {
        let mut request = self.agent.post(self.address.chat()).content_type("application/json");
        if let Some(header) = &self.header {
            request = request.header("authorization", header.clone());
        }
        let mut response = request.send(body).map_err(|e| self.broken(e))?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let kind = headers.get("content-type").and_then(|v| v.to_str().ok()).unwrap_or_default().to_lowercase();
        if !(200..300).contains(&status) {
            let said = read(&mut response).unwrap_or_default();
            return self.refused(status, &headers, &said);
        }
        let (page, stream) = (kind.starts_with("text/html"), kind.starts_with("text/event-stream"));
        let read = match page {
            true => Err(InvalidReply::Page),
            false => {
                let mut body = response.body_mut().as_reader().take(LONGEST_BODY);
                let read = Reply::read(BufReader::new(&mut body), stream);
                match body.limit() {
                    0 => Err(InvalidReply::TooLong),
                    _ => read,
                }
            }
        };
        read.map(|reply| reply.clean(self.key.as_ref())).map_err(|why| self.invalid(why))
    }

    /// A body that is no complete answer. The server had the question: it may bill what it made of it.
    fn invalid(&self, why: InvalidReply) -> Failure {
        let (kind, said) = match why {
            InvalidReply::Page => return Failure::Fatal(self.a_page()),
            InvalidReply::Lost(error) => return self.broken(error.into()),
            InvalidReply::ToolCall => return Failure::Fatal(self.a_tool_call()),
            InvalidReply::Cut => {
                ("cut off", "the answer was cut off: the stream ended without a finish_reason".to_string())
            }
            InvalidReply::NotJson(said) => {
                ("no JSON", format!("the answer is not the JSON of a chat completion: {said}"))
            }
            InvalidReply::Server(said) => ("error in the answer", format!("the server says: {said}")),
            InvalidReply::NoChoices(keys) if keys.split(", ").any(|key| key == "choices") => {
                ("no choices", "the answer holds no choices".to_string())
            }
            InvalidReply::NoChoices(keys) => (
                "no choices",
                format!(
                    "the answer holds no `choices` (but: {keys}): is the address that of an OpenAI-style API, ending in /v1?"
                ),
            ),
            InvalidReply::TooLong => ("too long", format!("the answer has more than {LONGEST_BODY} bytes")),
            InvalidReply::NoContent => {
                ("no content", "the answer holds no text, no reasoning and no new token".to_string())
            }
            InvalidReply::NotText(what) => ("not text", format!("a part of the answer is not text: `{what}`")),
            InvalidReply::Finish(name) if name.is_empty() => {
                ("no finish_reason", "the answer has no finish_reason: nothing says that it is whole".to_string())
            }
            InvalidReply::Finish(name) => ("finish_reason", format!("the answer ended with finish_reason `{name}`")),
        };
        Failure::Retry { kind: kind.into(), said: self.quote(&said), after: None, billed: true }
    }

    /// A status other than 2xx: 408, 409, 429 and 5xx pass, the rest would come again.
    fn refused(&self, status: u16, headers: &HeaderMap, said: &str) -> Result<Reply, Failure> {
        let json: Option<Value> = serde_json::from_str(said).ok();
        let code = json.as_ref().and_then(|j| j.pointer("/error/code").or(j.pointer("/error/type"))?.as_str());
        if status == 400 && code == Some("content_filter") {
            let finish = Some("content_filter".into()); // an answer like any other: none
            return Ok(Reply { finish, usage: Some(Default::default()), ..Reply::default() });
        }
        let code = code.unwrap_or_default().to_string();
        let words = json.as_ref().and_then(message).unwrap_or_else(|| untagged(said));
        let words = if words.trim().is_empty() { "nothing more".into() } else { self.quote(&words) };
        let (base, model) = (self.address.base(), &self.model);
        let end = |text: String| Err(Failure::Fatal(Error::input(text)));
        match status {
            429 if code == "insufficient_quota" => end(format!("{base} answered 429, the account is used up: {words}")),
            408 | 409 | 429 | 500.. => Err(Failure::Retry {
                kind: format!("status {status}"),
                said: format!("{base} answered {status}: {words}"),
                after: retry_after(headers, SystemTime::now()),
                // these turn a question away before any work; others, a gateway's 502 and 504 above all, may come after it
                billed: !matches!(status, 409 | 429 | 503),
            }),
            300..=399 => {
                let to = self.quote(&target(headers));
                end(format!("{base} answered {status}: it sends us to {to}; give the right address as --endpoint"))
            }
            401 | 403 => end(match self.key {
                Some(_) => format!("{base} answered {status} and refuses the key: {words}"),
                None => format!(
                    "{base} answered {status} and wants a key, in DXLAB_API_KEY or the variable that --key-env names: {words}"
                ),
            }),
            404 => end(format!(
                "{base} answered 404: no model `{model}`, or no chat completions at this address ({words}); {base}/models lists its models"
            )),
            _ => {
                let advice = advice(status, &words);
                end(format!("{base} answered {status} about model `{model}`: {words}{advice}"))
            }
        }
    }

    /// No whole HTTP answer.
    fn broken(&self, error: ureq::Error) -> Failure {
        let base = self.address.base();
        let again = |kind: &str, said: String, billed| Failure::Retry { kind: kind.into(), said, after: None, billed };
        match error {
            ureq::Error::HostNotFound => Failure::Unreachable(no_such_host(base)),
            // std has no kind for it
            ureq::Error::Io(e) if e.to_string().contains("failed to lookup address") => {
                Failure::Unreachable(no_such_host(base))
            }
            ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve) | ureq::Error::ConnectionFailed => {
                Failure::Unreachable(Error::failed(format!("{base}: no connection in time: is the server running?")))
            }
            ureq::Error::Io(e) if e.kind() == ErrorKind::ConnectionRefused => Failure::Unreachable(Error::failed(
                format!("{base}: connection refused: is the server running, and on this port?"),
            )),
            ureq::Error::Timeout(_) => {
                again("time-out", format!("{base} gave no whole answer in {} s (--timeout)", self.timeout), true)
            }
            ureq::Error::Io(e) => again("connection lost", format!("{base}: the connection was lost: {e}"), true),
            ureq::Error::Protocol(e) => again("broken HTTP", format!("{base}: not an HTTP answer: {e}"), true),
            other => Failure::Fatal(Error::failed(self.quote(&format!("{base}: {other}")))),
        }
    }

    fn a_tool_call(&self) -> Error {
        Error::input(format!(
            "{}: model `{}` called a tool instead of answering: leave `tools` out of --extra, or say \"tool_choice\": \"none\" there",
            self.address.base(),
            self.model
        ))
    }

    fn a_page(&self) -> Error {
        Error::input(format!(
            "{} answered with a web page instead of JSON: this is no endpoint; most addresses end in /v1",
            self.address.base()
        ))
    }

    /// A server's words, short and without the key.
    fn quote(&self, text: &str) -> String {
        let text = self.key.as_ref().map_or_else(|| text.into(), |key| key.redact(text));
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        match line.char_indices().nth(QUOTE) {
            Some((end, _)) => format!("{} …", &line[..end]),
            None => line,
        }
    }
}

/// What to do about a refusal, where its words tell its kind.
fn advice(status: u16, words: &str) -> &'static str {
    let lower = words.to_lowercase();
    let says = |all: &[&str]| all.iter().any(|word| lower.contains(word));
    if status == 413 || says(&["context", "too long", "too large", "maximum length", "less than", "max_total_tokens"]) {
        return "; shorten the prompt or --max-new, or serve the model with a longer context";
    }
    if status == 402 || says(&["credit", "balance", "billing", "quota"]) {
        return "; the account has to be filled up";
    }
    if [400, 422].contains(&status) {
        return "; a field that it does not know is left out with --extra '{\"seed\": null}' or --no-logprobs";
    }
    ""
}

fn read(response: &mut Response<Body>) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    response.body_mut().as_reader().take(LONGEST_BODY).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Where a redirect leads, without user, password and query, which may be secret.
fn target(headers: &HeaderMap) -> String {
    let location = headers.get("location").and_then(|v| v.to_str().ok()).unwrap_or("nowhere");
    let path = location.split(['?', '#']).next().unwrap_or_default();
    match path.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.split_once('@')?.1))) {
        Some((scheme, rest)) => format!("{scheme}://{rest}"),
        None => path.into(),
    }
}

fn no_such_host(base: &str) -> Error {
    Error::input(format!("{base}: no such host: check the address and the network"))
}

/// The words of a web page.
fn untagged(page: &str) -> String {
    let (mut out, mut inside) = (String::new(), false);
    for c in page.chars() {
        match c {
            '<' => inside = true,
            '>' => (inside, out) = (false, out + " "),
            c if !inside => out.push(c),
            _ => {}
        }
    }
    out
}

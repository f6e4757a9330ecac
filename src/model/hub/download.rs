//! Requests to a hub. Redirects are followed here and not by the HTTP library, so that one rule holds on every hop:
//!
//! ```text
//! Authorization is sent   ⇔   scheme, host and port of the request are those of the endpoint
//! ```
//!
//! A hub sends large files from other hosts (a content delivery network, object storage) by links that are signed; a token there is of no
//! use and belongs to nobody there. What a file is (`X-Linked-Etag`, `X-Linked-Size`) stands in the endpoint's own answer.
use crate::error::{Error, Result};
use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Read, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};
use ureq::http::{HeaderMap, HeaderValue, Response};
use ureq::{Agent, Body, SendBody};
use url::Url;

const HUGGING_FACE: &str = "https://huggingface.co";
const REDIRECTS: usize = 10;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest wait for the next bytes of a file, where HF_HUB_DOWNLOAD_TIMEOUT does not say another.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes a second: an upload that is slower is given up.
const SLOWEST: u64 = 16 << 10;
/// No list of files is longer.
const LONGEST_LIST: u64 = 64 << 20;

/// The address of a hub and the token that belongs to it.
pub struct Client {
    agent: Agent,
    local: Agent,
    /// Without a `/` at its end.
    base: Url,
    token: Option<HeaderValue>,
}

/// Why nothing came.
#[derive(Debug)]
pub enum Failure {
    /// A status that is no success, of this host; `own`: the endpoint's.
    Status { code: u16, host: String, own: bool },
    /// Nothing came, or not what a hub sends.
    Broken(String),
    /// The disk's error, or another of this machine.
    Here(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Here(error)
    }
}

/// What a hub says of a file.
#[derive(Debug, Default, PartialEq)]
pub struct Facts {
    /// Without quotes and `W/`; of a large file the SHA-256 of its contents.
    pub etag: String,
    pub size: Option<u64>,
}

/// An open answer with the file's bytes from `start`.
pub struct Incoming {
    pub facts: Facts,
    /// Its content type is that of a web page.
    pub page: bool,
    start: u64,
    body: Response<Body>,
}

impl Client {
    /// `endpoint` may have a path and a `/` at its end; the Hugging Face Hub if None.
    pub fn new(endpoint: Option<&str>, token: Option<&str>) -> Result<Self> {
        let wrong = |what: &str| Error::input(format!("HF_ENDPOINT: {what}: give an address such as {HUGGING_FACE}"));
        let base = endpoint.unwrap_or(HUGGING_FACE).trim().trim_end_matches('/');
        let base = Url::parse(base).map_err(|_| wrong("this is not an address"))?;
        // not shown: it may hold a password
        if !base.username().is_empty() || base.password().is_some() || base.query().is_some() {
            return Err(wrong("a user, a password or a query is in it; a token goes in HF_TOKEN"));
        }
        if !["http", "https"].contains(&base.scheme()) || base.host().is_none() {
            return Err(wrong("http:// or https:// and a host are missing"));
        }
        let header = |token: &str| {
            let header = HeaderValue::from_str(&format!("Bearer {token}")).ok().filter(|_| token.is_ascii());
            let mut value = header.ok_or_else(|| {
                Error::input(
                    "HF_TOKEN (or HUGGING_FACE_HUB_TOKEN, or the file that HF_TOKEN_PATH names) holds a character that no HTTP header \
                     can carry: copy the token anew",
                )
            })?;
            value.set_sensitive(true);
            Ok::<_, Error>(value)
        };
        let agent = |proxy: bool| {
            let mut config = Agent::config_builder()
                .timeout_connect(Some(CONNECT_TIMEOUT))
                .timeout_recv_response(Some(RESPONSE_TIMEOUT))
                .http_status_as_error(false)
                .max_redirects(0)
                .max_redirects_will_error(false)
                .user_agent(concat!("dxlab/", env!("CARGO_PKG_VERSION")));
            if !proxy {
                config = config.proxy(None);
            }
            Agent::from(config.build())
        };
        Ok(Self { agent: agent(true), local: agent(false), base, token: token.map(header).transpose()? })
    }

    /// As messages show it.
    pub fn name(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// The endpoint's address and these parts of a path, each in percent-encoding.
    pub fn url(&self, parts: &[&str]) -> Result<Url> {
        let mut url = self.base.clone();
        match url.path_segments_mut() {
            Ok(mut path) => drop(path.pop_if_empty().extend(parts)),
            Err(()) => return Err(Error::input("HF_ENDPOINT: an address without a path")),
        }
        Ok(url)
    }

    /// The JSON of an address.
    pub fn json(&self, url: Url) -> Result<serde_json::Value, Failure> {
        let mut answer = self.get(url, 0)?.body;
        let mut text = String::new();
        let read = answer.body_mut().as_reader().take(LONGEST_LIST).read_to_string(&mut text);
        read.map_err(|e| Failure::Broken(format!("the answer was cut off: {e}")))?;
        serde_json::from_str(&text).map_err(|e| {
            Failure::Broken(match crate::io::stand_in(text.as_bytes()) {
                Some(what) => format!("the answer is {what}, not JSON: is this the address of a hub?"),
                None => format!("the answer is not JSON: {e}"),
            })
        })
    }

    /// The file at an address from byte `start` on, or from its beginning where the server does not do parts.
    pub fn open(&self, url: Url, start: u64) -> Result<Incoming, Failure> {
        self.get(url, start)
    }

    fn get(&self, mut url: Url, start: u64) -> Result<Incoming, Failure> {
        let (mut linked, mut first) = (Facts::default(), None);
        for _ in 0..=REDIRECTS {
            let own = url.origin() == self.base.origin();
            let answer = self.send(&url, own, start)?;
            let (status, headers) = (answer.status().as_u16(), answer.headers());
            let target = redirect(status, headers, &url)?;
            let leaves = target.as_ref().is_none_or(|to| to.origin() != self.base.origin());
            if own {
                linked.etag = tag(headers, "x-linked-etag").unwrap_or(linked.etag);
                linked.size = number(headers, "x-linked-size").or(linked.size);
            }
            if leaves {
                // as huggingface_hub: of the answer that sends us elsewhere, else of the last
                first = first.or_else(|| tag(headers, "etag"));
            }
            if let Some(to) = target {
                url = to;
                continue;
            }
            if !(200..300).contains(&status) {
                return Err(Failure::Status { code: status, host: host(&url), own });
            }
            let (range, length) = (range(headers), number(headers, "content-length"));
            let start = if status == 206 { range.map_or(0, |(start, _)| start) } else { 0 };
            let whole = if status == 206 { range.and_then(|(_, size)| size) } else { length };
            let etag = if linked.etag.is_empty() { first.unwrap_or_default() } else { linked.etag };
            let page = headers.get("content-type").is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
            return Ok(Incoming { facts: Facts { etag, size: linked.size.or(whole) }, page, start, body: answer });
        }
        Err(Failure::Broken(format!("more than {REDIRECTS} redirects")))
    }

    /// One request with a body of `length` bytes, and its answer whatever its status; redirects are not followed. The token goes along
    /// where `token` asks for it, and then to the endpoint alone. Sending may take a minute and longer for a long body.
    pub fn deliver(
        &self,
        request: (&str, &Url),
        token: bool,
        headers: &[(&str, &str)],
        (body, length): (SendBody, u64),
    ) -> Result<Response<Body>, Failure> {
        let (method, url) = request;
        let agent = if is_loopback(url) { &self.local } else { &self.agent };
        let mut request = if method == "PUT" { agent.put(url.as_str()) } else { agent.post(url.as_str()) };
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = self.token.as_ref().filter(|_| token && url.origin() == self.base.origin()) {
            request = request.header("authorization", token.clone());
        }
        let patience = BODY_TIMEOUT + Duration::from_secs(length / SLOWEST);
        let request = request.header("content-length", length.to_string());
        let request = request.config().timeout_send_body(Some(patience)).build();
        request.send(body).map_err(|e| Failure::Broken(format!("{}: {e}", host(url))))
    }

    /// The endpoint's own scheme, so that what is private does not leave an encrypted hub in the clear.
    pub fn allows(&self, url: &Url) -> bool {
        url.scheme() == "https" || url.scheme() == "http" && self.base.scheme() == "http"
    }

    fn send(&self, url: &Url, own: bool, start: u64) -> Result<Response<Body>, Failure> {
        let agent = if is_loopback(url) { &self.local } else { &self.agent };
        let mut request = agent.get(url.as_str()).header("accept-encoding", "identity");
        if let Some(token) = self.token.as_ref().filter(|_| own) {
            request = request.header("authorization", token.clone());
        }
        if start > 0 {
            request = request.header("range", format!("bytes={start}-"));
        }
        request.call().map_err(|e| Failure::Broken(format!("{}: {e}", host(url))))
    }
}

impl Incoming {
    /// Writes the rest of the file behind the first bytes of `part`, or all of it where it comes from its beginning. It fails when no
    /// byte came for `patience`.
    pub fn save(self, part: &Path, show: &str, patience: Duration) -> Result<(), Failure> {
        let there = std::fs::metadata(part).map_or(0, |facts| facts.len());
        if self.start != there && self.start != 0 {
            return Err(Failure::Broken(format!("bytes from {} on came, not from {there} on", self.start)));
        }
        let options =
            OpenOptions::new().create(true).write(true).truncate(self.start == 0).append(self.start > 0).clone();
        let mut file = options.open(part).map_err(Error::io(part))?;
        let mut progress = Progress::new(show, self.facts.size);
        let (pieces, mut at) = (pieces(self.body.into_body().into_reader()), self.start);
        loop {
            let piece = match pieces.recv_timeout(patience) {
                Ok(piece) => piece.map_err(|e| Failure::Broken(format!("the connection was lost: {e}")))?,
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    let seconds = patience.as_secs_f64();
                    return Err(Failure::Broken(format!("nothing came for {seconds} s, after {at} bytes")));
                }
            };
            file.write_all(&piece).map_err(Error::io(part))?;
            at += piece.len() as u64;
            progress.at(at);
        }
        progress.end();
        file.sync_all().map_err(Error::io(part))?;
        Ok(())
    }
}

/// The bytes of `body` as they come, read on a thread of their own: a read cannot be told to give up, waiting for it can.
fn pieces(mut body: impl Read + Send + 'static) -> Receiver<std::io::Result<Vec<u8>>> {
    let (send, receive) = sync_channel(4);
    std::thread::spawn(move || {
        loop {
            let mut piece = vec![0; 1 << 16];
            let read = body.read(&mut piece).map(|read| {
                piece.truncate(read);
                piece
            });
            let last = read.as_ref().map_or(true, Vec::is_empty);
            // an error is told; at the end of the body, or when nobody listens any more, the thread ends
            if matches!(&read, Ok(piece) if piece.is_empty()) || send.send(read).is_err() || last {
                return;
            }
        }
    });
    receive
}

/// Where an answer sends us on, if it does.
fn redirect(status: u16, headers: &HeaderMap, from: &Url) -> Result<Option<Url>, Failure> {
    if ![301, 302, 303, 307, 308].contains(&status) {
        return Ok(None);
    }
    let to = headers.get("location").and_then(|to| to.to_str().ok()).and_then(|to| from.join(to).ok());
    match to.filter(|to| ["http", "https"].contains(&to.scheme())) {
        Some(to) => Ok(Some(to)),
        None => Err(Failure::Broken(format!("{} redirects to nowhere", host(from)))),
    }
}

/// Scheme, host and port: the rest of a signed link is a secret.
pub fn host(url: &Url) -> String {
    url.origin().ascii_serialization()
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

fn tag(headers: &HeaderMap, name: &str) -> Option<String> {
    let text = headers.get(name)?.to_str().ok()?.trim();
    let text = text.strip_prefix("W/").unwrap_or(text).trim_matches('"');
    (!text.is_empty()).then(|| text.into())
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// `bytes START-END/SIZE`: start, and the size where it is known.
fn range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let text = headers.get("content-range")?.to_str().ok()?.trim().strip_prefix("bytes ")?;
    let (span, size) = text.split_once('/')?;
    Some((span.split_once('-')?.0.trim().parse().ok()?, size.trim().parse().ok()))
}

/// A line on the terminal that is written over; nothing where nobody looks.
struct Progress<'a> {
    name: &'a str,
    size: Option<u64>,
    next: Instant,
    shown: bool,
    terminal: bool,
}

impl<'a> Progress<'a> {
    fn new(name: &'a str, size: Option<u64>) -> Self {
        let next = Instant::now() + Duration::from_secs(1);
        Self { name, size, next, shown: false, terminal: std::io::stderr().is_terminal() }
    }

    fn at(&mut self, bytes: u64) {
        if !self.terminal || Instant::now() < self.next {
            return;
        }
        let (megabytes, of) = (bytes >> 20, self.size.map_or(String::new(), |size| format!(" of {}", size >> 20)));
        eprint!("\r{}: {megabytes}{of} MiB ", self.name);
        (self.shown, self.next) = (true, Instant::now() + Duration::from_millis(500));
    }

    fn end(&self) {
        if self.shown {
            eprintln!();
        }
    }
}

/// Length and, where the tag is one, SHA-256 of a file.
pub fn check(file: &Path, facts: &Facts) -> Result<()> {
    let mut open = File::open(file).map_err(Error::io(file))?;
    let got = open.metadata().map_err(Error::io(file))?.len();
    if let Some(size) = facts.size.filter(|size| *size != got) {
        return Err(Error::failed(format!("{got} bytes arrived of {size}")));
    }
    if !is_sha256(&facts.etag) {
        return Ok(());
    }
    let got = crate::io::sha256_of(&mut open).map_err(Error::io(file))?;
    match got == facts.etag.to_lowercase() {
        true => Ok(()),
        false => Err(Error::failed(format!("SHA-256 is {got}, expected {}", facts.etag))),
    }
}

/// The tag of a large file is the SHA-256 of its contents.
pub fn is_sha256(etag: &str) -> bool {
    etag.len() == 64 && etag.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_may_have_a_path_and_a_slash_at_its_end() {
        for endpoint in ["http://h:1/a/b", "http://h:1/a/b/", " http://h:1/a/b// "] {
            let client = Client::new(Some(endpoint), None).unwrap();
            let url = client.url(&["api", "models", "org", "m", "revision", "refs/pr/1"]).unwrap();
            assert_eq!(url.as_str(), "http://h:1/a/b/api/models/org/m/revision/refs%2Fpr%2F1", "{endpoint}");
            assert_eq!(client.name(), "http://h:1/a/b");
        }
        let plain = Client::new(None, None).unwrap().url(&["org", "m", "resolve", "c", "config.json"]).unwrap();
        assert_eq!(plain.as_str(), "https://huggingface.co/org/m/resolve/c/config.json");
    }

    #[test]
    fn an_endpoint_with_a_secret_and_a_token_that_is_none_are_refused_without_being_shown() {
        for wrong in ["hunter2", "https://me:hunter2@h", "https://h/?token=hunter2", "ftp://hunter2", ""] {
            let error = Client::new(Some(wrong), None).map(drop).unwrap_err();
            assert!(error.exit_code() == 2 && !error.to_string().contains("hunter2"), "{wrong}: {error}");
        }
        let error = Client::new(None, Some("hunter2\u{7f}")).map(drop).unwrap_err().to_string();
        assert!(error.contains("HF_TOKEN") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn headers_are_read_as_hubs_write_them() {
        let mut headers = HeaderMap::new();
        headers.insert("etag", "W/\"abc\"".parse().unwrap());
        headers.insert("content-range", "bytes 5-9/10".parse().unwrap());
        assert_eq!((tag(&headers, "etag").as_deref(), range(&headers)), (Some("abc"), Some((5, Some(10)))));
        headers.insert("content-range", "bytes 5-9/*".parse().unwrap());
        assert_eq!(range(&headers), Some((5, None)));
        let from = Url::parse("https://h/a/b").unwrap();
        let to = |location: &'static str| {
            let headers = HeaderMap::from_iter([("location".parse().unwrap(), location.parse().unwrap())]);
            redirect(302, &headers, &from).ok().flatten().map(|to| to.to_string())
        };
        assert_eq!(to("/c?d").as_deref(), Some("https://h/c?d"));
        assert_eq!(to("//other/c").as_deref(), Some("https://other/c"), "another host without a scheme");
        assert_eq!((to("file:///etc/passwd"), to("http://[")), (None, None));
    }
}

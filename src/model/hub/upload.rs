//! Files to a repository on a hub, as huggingface_hub does it (`_commit_api.py`, `lfs.py`), in one commit:
//!
//! ```text
//! POST api/repos/create ─ 409: it exists
//! POST api/models/ID/preupload/main          which files go to large file storage
//! POST ID.git/info/lfs/objects/batch         where to, by SHA-256; no `actions`: it is there already
//!      basic: PUT the file                   multipart: PUT every part, POST their tags     then POST `verify`
//! POST api/models/ID/commit/main             NDJSON: header, small files in base64, large ones by SHA-256
//! ```
//!
//! Nothing is seen in the repository before the commit. The token goes to the endpoint alone, never to storage ([`Client::deliver`]);
//! redirects are not followed. hf-hub 0.5 cannot upload. Storage that only speaks Xet is not supported.
use super::download::{Client, Failure, host};
use super::upload_file::UploadFile;
use super::upload_state::{Begun, UploadState};
use super::upload_trouble::{Refused, Trouble, read, trouble, words};
use super::{Hub, parse};
use crate::error::{Error, Result};
use base64::Engine;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use ureq::http::Response;
use ureq::{Body, SendBody};
use url::Url;

pub const PACE: Duration = Duration::from_secs(1);
/// Tries of one request.
const TRIES: u32 = 5;
/// No server is waited for longer.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// Bytes of a file that the hub looks at to tell text from weights.
const SAMPLE: usize = 512;
/// Characters of a server's words that an error repeats.
const QUOTE: usize = 300;
const LFS: &str = "application/vnd.git-lfs+json";
const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";

/// Files for one commit.
pub struct Upload<'a> {
    /// `org/name`.
    pub repo: &'a str,
    pub private: bool,
    pub files: &'a [UploadFile],
    pub message: &'a str,
    /// Where a cut upload is remembered.
    pub state: &'a Path,
}

/// What became of an upload.
#[derive(Clone, Debug, PartialEq)]
pub struct Pushed {
    /// The repository's page.
    pub url: String,
    pub commit: Option<String>,
    /// Of large files, now.
    pub bytes_sent: u64,
    /// Large files that the hub had already.
    pub present: Vec<String>,
}

impl Hub {
    /// Uploads the files, in one commit on `main`; the repository is made where it is not there. A cut upload is tried again, and the
    /// same call goes on from what storage has.
    pub fn push(&self, upload: &Upload) -> Result<Pushed> {
        let repo = Self::check_name(upload.repo)?;
        if self.offline {
            return Err(Error::input(format!("{repo}: HF_HUB_OFFLINE is set: unset it to upload")));
        }
        if self.token.is_none() {
            return Err(Error::input(format!(
                "{repo}: no token: set HF_TOKEN to one with write access (on the hub: Settings, Access Tokens)"
            )));
        }
        let client = Client::new(self.endpoint.as_deref(), self.token.as_deref())?;
        Push { upload, repo, pace: self.pace, token: self.token.as_deref().unwrap_or_default(), client }.run()
    }

    /// A name that a repository can have: `org/name`.
    pub fn check_name(repo: &str) -> Result<&str> {
        let wrong = |_| Error::input(format!("`{repo}`: expected ORG/NAME of letters, digits, `-`, `_` and `.`"));
        match repo.contains('@') {
            true => Err(Error::input(format!("`{repo}`: expected ORG/NAME without a revision"))),
            false => parse(repo).map(|(id, _)| id).map_err(wrong),
        }
    }

    /// True if all of `org/name[@revision]` is in the cache, so that nobody need be asked.
    pub fn has(&self, model: &str) -> bool {
        self.cached(model).is_ok_and(|dir| dir.is_some())
    }
}

/// A large file and where it goes.
struct Large<'a> {
    file: &'a UploadFile,
    oid: String,
    size: u64,
}

struct Push<'a> {
    upload: &'a Upload<'a>,
    repo: &'a str,
    pace: Duration,
    token: &'a str,
    client: Client,
}

impl Push<'_> {
    fn run(&self) -> Result<Pushed> {
        let place = format!("{}/{}", self.client.name(), self.repo);
        let mut state = UploadState::open(self.upload.state, &place);
        self.create()?;
        let (small, large) = self.sorted()?;
        let (mut bytes_sent, mut present) = (0, Vec::new());
        for (file, actions) in large.iter().zip(self.batch(&large)?) {
            match actions {
                Some(actions) => bytes_sent += self.store(file, actions, &mut state)?,
                None => {
                    state.forget(&file.oid)?;
                    present.push(file.file.name.clone());
                }
            }
        }
        let commit = self.commit(&small, &large)?;
        state.remove()?;
        Ok(Pushed { url: place, commit, bytes_sent, present })
    }

    /// Makes the repository, and sees to it that one that is to be private is.
    fn create(&self) -> Result<()> {
        let (organization, name) = self.repo.split_once('/').unwrap_or_default();
        let mut wanted = json!({ "name": name, "organization": organization });
        if self.upload.private {
            wanted["visibility"] = "private".into();
        }
        let what = "make the repository";
        match self.ask(&["api", "repos", "create"], JSON, wanted.to_string()) {
            Err(Trouble::Refused(Refused { code: 409, .. })) => {}
            other => drop(other.map_err(|e| self.explain(what, e))?),
        }
        if !self.upload.private {
            return Ok(());
        }
        let info = self.client.json(self.client.url(&self.parts(&["api", "models"], &[]))?);
        match info.map(|info| info["private"].as_bool()) {
            Ok(Some(true)) => Ok(()),
            Ok(_) => Err(Error::input(format!(
                "{}: the repository is there and not private; nothing was uploaded: make it private in its settings, or leave out --private",
                self.repo
            ))),
            Err(failure) => Err(self.explain("see whether the repository is private", trouble(failure))),
        }
    }

    /// Small files, which go into the commit, and large ones, which go to storage: as the hub says.
    fn sorted(&self) -> Result<(Vec<&UploadFile>, Vec<Large<'_>>)> {
        let files = self.upload.files.iter().map(|file| {
            let sample = base64(&file.read(SAMPLE as u64)?);
            Ok(json!({ "path": file.name, "sample": sample, "size": file.size()? }))
        });
        let body = json!({ "files": files.collect::<Result<Vec<Value>>>()? }).to_string();
        let path = self.parts(&["api", "models"], &["preupload", "main"]);
        let answer = self.ask(&path, JSON, body).map_err(|e| self.explain("ask where files go", e))?;
        let modes: BTreeMap<&str, &str> = list(&answer["files"])
            .filter_map(|file| Some((file["path"].as_str()?, file["uploadMode"].as_str()?)))
            .collect();
        let (mut small, mut large) = (Vec::new(), Vec::new());
        for file in self.upload.files {
            let size = file.size()?;
            match modes.get(file.name.as_str()) {
                Some(&"lfs") if size > 0 => large.push(Large { file, oid: file.sha256()?, size }),
                Some(&"lfs" | &"regular") => small.push(file),
                _ => return Err(self.broken(&format!("does not say where {} goes", file.name))),
            }
        }
        Ok((small, large))
    }

    /// What storage wants done for each file; none where it has it.
    fn batch(&self, large: &[Large]) -> Result<Vec<Option<Value>>> {
        if large.is_empty() {
            return Ok(Vec::new());
        }
        let objects: Vec<Value> = large.iter().map(|f| json!({ "oid": f.oid, "size": f.size })).collect();
        let body = json!({
            "operation": "upload", "transfers": ["basic", "multipart"], "objects": objects, "hash_algo": "sha256",
            "ref": { "name": "main" },
        });
        let (org, name) = self.repo.split_once('/').unwrap_or_default();
        let git = format!("{name}.git");
        let path = [org, &git, "info", "lfs", "objects", "batch"];
        let what = "ask for places in large file storage";
        let answer = self.ask(&path, LFS, body.to_string()).map_err(|e| self.explain(what, e))?;
        let of = |file: &Large| {
            let object = list(&answer["objects"]).find(|object| object["oid"] == file.oid.as_str());
            let name = &file.file.name;
            let object =
                object.ok_or_else(|| self.broken(&format!("says nothing of {name} (SHA-256 {})", file.oid)))?;
            if let Some(said) = object["error"]["message"].as_str() {
                let said = self.quote(said);
                return Err(Error::failed(format!("{}: {} refuses {name}: {said}", self.repo, self.client.name())));
            }
            if object["size"].as_u64() != Some(file.size) {
                let there = &object["size"];
                return Err(self.broken(&format!("gives {name} a length of {there}, it is {}", file.size)));
            }
            Ok(object.get("actions").filter(|actions| actions.get("upload").is_some()).cloned())
        };
        large.iter().map(of).collect()
    }

    /// One file to storage; the bytes that were sent.
    fn store(&self, file: &Large, fresh: Value, state: &mut UploadState) -> Result<u64> {
        let name = &file.file.name;
        let mut sent = 0;
        if let Some(begun) = state.begun(&file.oid) {
            match self.transfer(file, begun, state, &mut sent) {
                // its links are too old, or the storage gave it up: from the start
                Err(Trouble::Refused(Refused { code: 400 | 403 | 404 | 410, .. })) => state.forget(&file.oid)?,
                other => return other.map(|()| sent).map_err(|e| self.explain(&format!("upload {name}"), e)),
            }
        }
        let begun = Begun { actions: fresh, ..Begun::default() };
        let done = self.transfer(file, begun, state, &mut sent);
        done.map(|()| sent).map_err(|e| self.explain(&format!("upload {name}"), e))
    }

    fn transfer(&self, file: &Large, mut begun: Begun, state: &mut UploadState, sent: &mut u64) -> Result<(), Trouble> {
        let actions = begun.actions.clone();
        let (to, header) = (self.link(&actions["upload"]["href"])?, &actions["upload"]["header"]);
        match chunk_size(header) {
            None => {
                self.put(file, &to, (0, file.size))?;
                *sent += file.size;
            }
            Some(chunk) => {
                let parts = self.part_links(file, header, chunk)?;
                for (at, link) in parts.iter().enumerate() {
                    let (number, start) = (at as u64 + 1, at as u64 * chunk);
                    if begun.parts.contains_key(&number) {
                        continue;
                    }
                    let length = chunk.min(file.size - start);
                    let answer = self.put(file, link, (start, length))?;
                    let tag = answer.headers().get("etag").and_then(|tag| tag.to_str().ok()).filter(|t| !t.is_empty());
                    let tag = tag.ok_or_else(|| self.broken(&format!("storage gave part {number} no ETag")))?;
                    begun.parts.insert(number, tag.into());
                    *sent += length;
                    state.note(&file.oid, &begun)?;
                }
                self.complete(file, &to, &begun.parts)?;
            }
        }
        self.verify(file, &actions["verify"])?;
        Ok(state.forget(&file.oid)?)
    }

    fn part_links(&self, file: &Large, header: &Value, chunk: u64) -> Result<Vec<Url>> {
        let numbered = header.as_object().into_iter().flatten();
        let parts: BTreeMap<u64, &Value> = numbered.filter_map(|(k, link)| Some((k.parse().ok()?, link))).collect();
        let wanted = file.size.div_ceil(chunk);
        if !parts.keys().copied().eq(1..=wanted) {
            let there = parts.len();
            return Err(
                self.broken(&format!("{} has {wanted} parts of {chunk} bytes, links for {there}", file.file.name))
            );
        }
        parts.values().map(|link| self.link(link)).collect()
    }

    /// The tags of all parts make them a file.
    fn complete(&self, file: &Large, to: &Url, parts: &BTreeMap<u64, String>) -> Result<(), Trouble> {
        let parts: Vec<Value> = parts.iter().map(|(n, tag)| json!({ "partNumber": n, "etag": tag })).collect();
        let body = json!({ "oid": file.oid, "parts": parts }).to_string();
        self.tried(&|| self.post(to, false, LFS, &body)).map(drop)
    }

    fn verify(&self, file: &Large, action: &Value) -> Result<(), Trouble> {
        if action.is_null() {
            return Ok(());
        }
        let (to, name) = (self.link(&action["href"])?, &file.file.name);
        let body = json!({ "oid": file.oid, "size": file.size }).to_string();
        match self.tried(&|| self.post(&to, true, LFS, &body)) {
            Err(Trouble::Refused(Refused { code: code @ (400 | 404 | 409 | 412 | 422), said, .. })) => {
                let why = if said.is_empty() { "nothing more".into() } else { said };
                Err(Trouble::Here(Error::failed(format!(
                    "{}: {name} did not arrive as it was sent (SHA-256 {}; the hub answered {code}: {why}); nothing was committed, run the command again",
                    self.repo, file.oid
                ))))
            }
            other => other.map(drop),
        }
    }

    fn commit(&self, small: &[&UploadFile], large: &[Large]) -> Result<Option<String>> {
        let mut lines = vec![json!({"key": "header", "value": { "summary": self.upload.message, "description": "" }})];
        for file in small {
            let content = base64(&file.read(u64::MAX)?);
            lines
                .push(json!({"key": "file", "value": { "content": content, "path": file.name, "encoding": "base64" }}));
        }
        lines.extend(large.iter().map(|f| {
            let value = json!({ "path": f.file.name, "algo": "sha256", "oid": f.oid, "size": f.size });
            json!({"key": "lfsFile", "value": value})
        }));
        let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let path = self.parts(&["api", "models"], &["commit", "main"]);
        let answer = self.ask(&path, NDJSON, body).map_err(|e| match e {
            Trouble::Refused(Refused { code: 409 | 412, said, .. }) => Error::failed(format!(
                "{}: somebody else changed the repository meanwhile ({said}); nothing was committed: run the command again, large files that arrived are not sent twice",
                self.repo
            )),
            other => self.explain("commit", other),
        })?;
        Ok(answer["commitOid"].as_str().map(String::from))
    }

    /// `front/org/name/back`.
    fn parts<'b>(&'b self, front: &[&'b str], back: &[&'b str]) -> Vec<&'b str> {
        front.iter().copied().chain(self.repo.split('/')).chain(back.iter().copied()).collect()
    }

    /// The JSON that the endpoint answers to a POST.
    fn ask(&self, path: &[&str], kind: &str, body: String) -> Result<Value, Trouble> {
        let url = self.client.url(path)?;
        let mut answer = self.tried(&|| self.post(&url, true, kind, &body))?;
        let text = read(&mut answer).map_err(|e| Trouble::Lost(format!("the answer was cut off: {e}")))?;
        // `create` may answer with nothing at all
        match text.trim().is_empty() {
            true => Ok(Value::Null),
            false => serde_json::from_str(&text)
                .map_err(|e| Trouble::Here(self.broken(&format!("does not answer in JSON ({e}): is this a hub?")))),
        }
    }

    fn post(&self, url: &Url, token: bool, kind: &str, body: &str) -> Result<Response<Body>, Failure> {
        let accept = if kind == LFS { LFS } else { JSON };
        let headers = [("content-type", kind), ("accept", accept)];
        let mut bytes = body.as_bytes();
        self.client.deliver(("POST", url), token, &headers, (SendBody::from_reader(&mut bytes), body.len() as u64))
    }

    fn put(&self, file: &Large, url: &Url, (start, length): (u64, u64)) -> Result<Response<Body>, Trouble> {
        self.tried(&|| {
            let mut part = file.file.open(start, length)?;
            self.client.deliver(("PUT", url), false, &[], (SendBody::from_reader(&mut part), length))
        })
    }

    /// Tries again what may pass: lost connections, 408, 429 and 5xx.
    fn tried(&self, send: &dyn Fn() -> Result<Response<Body>, Failure>) -> Result<Response<Body>, Trouble> {
        let mut last = String::new();
        for attempt in 0..TRIES {
            let mut wait = self.pace * 2u32.pow(attempt);
            match send() {
                Ok(answer) if answer.status().is_success() => return Ok(answer),
                Ok(mut answer) => {
                    let code = answer.status().as_u16();
                    let asked = answer.headers().get("retry-after").and_then(|v| v.to_str().ok()?.trim().parse().ok());
                    let said = read(&mut answer).unwrap_or_default();
                    let refused = Refused { code, host: String::new(), said: self.quote(&words(&said)) };
                    if !matches!(code, 408 | 429 | 500 | 502..=504) || attempt + 1 == TRIES {
                        return Err(Trouble::Refused(refused));
                    }
                    wait = asked.map_or(wait, Duration::from_secs);
                    if wait > LONGEST_WAIT {
                        let (seconds, said) = (wait.as_secs(), refused.said);
                        let said = format!("answered {code} and asks us to wait {seconds} s: {said}");
                        return Err(Trouble::Lost(said));
                    }
                }
                Err(Failure::Here(error)) => return Err(Trouble::Here(error)),
                Err(failure) => match trouble(failure) {
                    Trouble::Lost(said) => last = said,
                    other => return Err(other),
                },
            }
            if attempt + 1 < TRIES {
                std::thread::sleep(wait);
            }
        }
        Err(Trouble::Lost(format!("{last} ({TRIES} tries)")))
    }

    /// An address that the hub gave.
    fn link(&self, href: &Value) -> Result<Url> {
        let url = href.as_str().and_then(|href| Url::parse(href).ok());
        let url = url.ok_or_else(|| self.broken("gives no address to upload to"))?;
        match self.client.allows(&url) {
            true => Ok(url),
            false => Err(Error::failed(format!(
                "{}: {} sends files to {}, which is not https: nothing is sent there",
                self.repo,
                self.client.name(),
                host(&url)
            ))),
        }
    }

    fn broken(&self, what: &str) -> Error {
        Error::failed(format!("{}: {} {what}; nothing was committed", self.repo, self.client.name()))
    }

    fn explain(&self, what: &str, trouble: Trouble) -> Error {
        let (repo, hub) = (self.repo, self.client.name());
        let refused = match trouble {
            Trouble::Here(error) => return error,
            Trouble::Lost(said) => {
                return Error::failed(format!(
                    "{repo}: could not {what}: {said}; run the command again: it goes on where it stopped"
                ));
            }
            Trouble::Refused(refused) => refused,
        };
        let Refused { code, host, said } = refused;
        let said = if said.is_empty() { String::new() } else { format!(" ({said})") };
        let by = if host.is_empty() { hub } else { &host };
        let text = |help: &str| format!("{repo}: could not {what}: {by} answered {code}{said}: {help}");
        match code {
            401 => Error::input(text(
                "the token is wrong, too old or without write access: set HF_TOKEN to one that has it",
            )),
            403 => Error::input(text("the token may not do this: it needs write access to the organisation")),
            404 => Error::input(text("no such repository or organisation, or not one that the token may see")),
            409 => Error::failed(text("somebody else changed it meanwhile: run the command again")),
            413 => Error::input(text("a file is larger than the hub takes: with --merged give a smaller --shard-size")),
            300..=399 => Error::input(text(
                "it sends us elsewhere, which an upload does not follow: check the name (was the repository renamed?) and HF_ENDPOINT",
            )),
            429 => {
                Error::failed(text("too many requests: wait and run the command again, it goes on where it stopped"))
            }
            500.. => Error::failed(text("try again later: it goes on where it stopped")),
            _ => Error::failed(text("nothing was committed")),
        }
    }

    /// A server's words, short and without the token.
    fn quote(&self, text: &str) -> String {
        let text = if self.token.is_empty() { text.into() } else { text.replace(self.token, "…") };
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        line.chars().take(QUOTE).collect()
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Bytes of a part, where storage wants the file in parts; hubs write it as text or as a number.
fn chunk_size(header: &Value) -> Option<u64> {
    let size = &header["chunk_size"];
    size.as_u64().or_else(|| size.as_str()?.parse().ok()).filter(|size| *size > 0)
}

fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_a_part_is_read_as_text_or_number() {
        assert_eq!(chunk_size(&json!({ "chunk_size": "5" })), Some(5));
        assert_eq!(chunk_size(&json!({ "chunk_size": 5 })), Some(5));
        assert_eq!((chunk_size(&json!({})), chunk_size(&json!({ "chunk_size": "0" }))), (None, None));
    }
}

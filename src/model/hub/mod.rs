//! From what a user calls a model to a place on this machine: a folder, a GGUF file, a name of [`super::registry`], or a name on the
//! Hugging Face Hub.
//!
//! Downloads lie in the cache of Python's tools ([`cache`]); [`environment`] lists the variables that are honoured. One commit is pinned
//! before the first file, each file's length (and SHA-256, where the hub gives it) is checked, and a revision counts as present only when
//! all of its files are. The token is sent to the endpoint's own scheme, host and port, nowhere else ([`download`]), and never printed.
mod cache;
mod download;
mod environment;
mod upload;
mod upload_file;
mod upload_state;
mod upload_trouble;

use super::checkpoint::weight_map;
use super::registry::{self, Source};
use crate::error::{Error, Result};
use cache::{Repo, is_commit, is_tag};
use download::{Client, Failure, check, is_sha256};
use environment::Environment;
use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;
pub use upload::{Pushed, Upload};
pub use upload_file::{Content, UploadFile};

const MAIN: &str = "main";
const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// Fetched where the repository has them, beside `config.json` and the weights.
const WELCOME: [&str; 6] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "generation_config.json",
    "chat_template.jinja",
];

/// A model on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// A folder in Hugging Face layout, or a GGUF file.
    pub path: PathBuf,
    /// The registry's name for it, its id on the Hub with the revision, or the path as it was given.
    pub name: String,
}

/// The path of [`locate`].
pub fn resolve(model: &str) -> Result<PathBuf> {
    Ok(locate(model)?.path)
}

/// Where the model that `model` names lies, and what it is called. In this order: a carried or installed model of the registry by name
/// or alias (write `./smollm2` for a folder of that name), an existing folder or file, and `org/name[@revision]` or its alias on the Hub,
/// which is fetched. A folder without `config.json` that holds one `.gguf` file stands for that file.
pub fn locate(model: &str) -> Result<Place> {
    let known = registry::named(model)?;
    if let Some((known, path)) = known.and_then(|known| Some((known, known.local().transpose()?))) {
        return Ok(Place { path: path?, name: known.name.clone() });
    }
    if Path::new(model).exists() {
        return Ok(Place { path: on_disk(Path::new(model))?, name: model.into() });
    }
    let id = match known.map(|known| &known.source) {
        Some(Source::Hub(id)) => id,
        _ => model,
    };
    Ok(Place { path: Hub::from_env().fetch(id)?, name: id.into() })
}

/// A folder or file of the user's, if what lies there can be a model: other things that go by its name are told apart here.
fn on_disk(path: &Path) -> Result<PathBuf> {
    if path.is_file() {
        return not_a_model(path)?.map_or(Ok(path.into()), |what| Err(Error::input(what)));
    }
    let mut ggufs = Vec::new();
    for entry in std::fs::read_dir(path).map_err(Error::io(path))? {
        let file = entry.map_err(Error::io(path))?.path();
        let kind = file.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        if !file.is_file() || !["safetensors", "gguf", "json"].contains(&kind.as_str()) {
            continue;
        }
        if let Some(what) = not_a_model(&file)? {
            return Err(Error::input(what));
        }
        if kind == "gguf" {
            ggufs.push(file);
        }
    }
    match ggufs.as_slice() {
        [only] if !path.join("config.json").exists() => Ok(only.clone()),
        _ => Ok(path.into()),
    }
}

/// What the file is, where it is something that people get in the place of a model: a wheel or other zip archive, a web page, a Git LFS
/// pointer.
fn not_a_model(path: &Path) -> Result<Option<String>> {
    let mut start = Vec::new();
    let file = std::fs::File::open(path).map_err(Error::io(path))?;
    file.take(512).read_to_end(&mut start).map_err(Error::io(path))?;
    let help = match crate::io::stand_in(&start) {
        Some(what @ crate::io::ZIP) => format!(
            "is {what} (a wheel?), not a model: unpack it and give the .gguf file or the folder inside, or run `dxlab models` for what is known by name"
        ),
        Some(what @ crate::io::WEB_PAGE) => format!(
            "is {what}, not a part of a model: the download gave a page (to log in, or of an error); fetch the file itself"
        ),
        Some(what) => {
            format!("is {what}, not the file itself: run `git lfs pull` in its repository, or download the file")
        }
        None => return Ok(None),
    };
    Ok(Some(format!("{} {help}", path.display())))
}

/// Where models come from and where they are kept.
pub struct Hub {
    /// None for the Hugging Face Hub.
    endpoint: Option<String>,
    cache: PathBuf,
    token: Option<String>,
    offline: bool,
    /// Longest wait for the next bytes of a file.
    patience: Duration,
    /// Wait before the second try of a request of an upload; it doubles with every further one.
    pace: Duration,
}

impl Hub {
    /// As the environment says, see [`environment`].
    pub fn from_env() -> Self {
        let says = Environment { var: &|name| std::env::var(name).ok() };
        let hub = Self::new(says.endpoint().as_deref(), &says.cache(), says.token(), says.offline());
        hub.with_patience(says.patience().unwrap_or(download::BODY_TIMEOUT))
    }

    /// As the environment says, with no token but that of a variable: for uploads.
    pub fn from_env_to_write() -> Self {
        let says = Environment { var: &|name| std::env::var(name).ok() };
        Self { token: says.said_token(), ..Self::from_env() }
    }

    /// `endpoint` is an address, with a path or without, that of the Hugging Face Hub if None; `cache` is a folder laid out as
    /// `~/.cache/huggingface/hub`.
    pub fn new(endpoint: Option<&str>, cache: &Path, token: Option<String>, offline: bool) -> Self {
        let patience = download::BODY_TIMEOUT;
        let pace = upload::PACE;
        Self { endpoint: endpoint.map(String::from), cache: cache.into(), token, offline, patience, pace }
    }

    /// The wait before the second try of a request of an upload.
    pub fn with_pace(self, pace: Duration) -> Self {
        Self { pace, ..self }
    }

    /// A download of which no byte came for so long is given up; the next run goes on where it stopped.
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The folder of `org/name[@revision]`, if all of it is in the cache. Where `main` has no ref there, the one complete snapshot counts.
    pub fn cached(&self, model: &str) -> Result<Option<PathBuf>> {
        let (id, revision) = parse(model)?;
        let repo = Repo::new(&self.cache, id);
        Ok(complete(&repo, revision).or_else(|| match without_ref(&repo, revision).as_slice() {
            [only] => Some(repo.snapshot(only)),
            _ => None,
        }))
    }

    /// The folder of `org/name[@revision]` (`main` by default), downloaded unless all of it is in the cache.
    pub fn fetch(&self, model: &str) -> Result<PathBuf> {
        let (id, revision) = parse(model)?;
        let repo = Repo::new(&self.cache, id);
        if let Some(dir) = complete(&repo, revision) {
            return Ok(dir);
        }
        if self.offline {
            return self.offline(&repo, model, revision);
        }
        let client = Client::new(self.endpoint.as_deref(), self.token.as_deref())?;
        let fetch = Fetch { repo: &repo, model, id, revision, client, patience: self.patience };
        let (commit, files) = fetch.list()?;
        let lock = repo.lock()?;
        fetch.all(&commit, &files)?;
        // The revision points to the commit only now that all of the commit is there.
        repo.note(revision, &commit)?;
        drop(lock);
        complete(&repo, revision)
            .ok_or_else(|| Error::input(format!("{model}: the repository lacks weights or a tokenizer")))
    }

    /// What there is without a network: a complete snapshot that no ref names, if it is the only one.
    fn offline(&self, repo: &Repo, model: &str, revision: &str) -> Result<PathBuf> {
        let cache = self.cache.display();
        match without_ref(repo, revision).as_slice() {
            [only] => {
                eprintln!("{model}: {cache} has no ref `{revision}`; its one complete snapshot {only} is used");
                Ok(repo.snapshot(only))
            }
            [] => Err(Error::input(format!(
                "{model} is not (wholly) in {cache} and HF_HUB_OFFLINE is set: unset it, or give a folder"
            ))),
            several => Err(Error::input(format!(
                "{model}: {cache} has no ref `{revision}` and {} complete snapshots: name one, as in {}@{}",
                several.len(),
                model.split('@').next().unwrap_or(model),
                several[0]
            ))),
        }
    }
}

/// `org/name` and the revision.
fn parse(model: &str) -> Result<(&str, &str)> {
    let (id, revision) = model.split_once('@').unwrap_or((model, MAIN));
    let plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && !part.contains("..")
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    let named = id.split_once('/').is_some_and(|(org, name)| plain(org) && plain(name));
    match named && revision.split('/').all(plain) {
        true => Ok((id, revision)),
        false => Err(Error::input(format!(
            "no folder or file `{model}`, and not a name on the hub: give a folder, a .gguf file, a name that `dxlab models` lists, or org/name[@revision]"
        ))),
    }
}

/// The revision's snapshot folder, if config, a tokenizer and every shard are in it.
fn complete(repo: &Repo, revision: &str) -> Option<PathBuf> {
    Some(repo.snapshot(&repo.commit(revision)?)).filter(|dir| is_complete(dir))
}

fn is_complete(dir: &Path) -> bool {
    let has = |name: &str| dir.join(name).is_file();
    let tokenizer = has("tokenizer.json") || has("vocab.json") && has("merges.txt");
    let sharded = || weight_map(&dir.join(INDEX)).is_ok_and(|shards| shards.values().all(|shard| has(shard)));
    has("config.json") && tokenizer && (has(SINGLE) || has(INDEX) && sharded())
}

/// Complete snapshots that may stand for `main` where the cache does not say which commit that is (copied, or fetched by commit).
fn without_ref(repo: &Repo, revision: &str) -> Vec<String> {
    match revision == MAIN && repo.commit(revision).is_none() {
        true => repo.commits().into_iter().filter(|commit| is_complete(&repo.snapshot(commit))).collect(),
        false => Vec::new(),
    }
}

/// One download: a model by the user's name for it.
struct Fetch<'a> {
    repo: &'a Repo,
    model: &'a str,
    id: &'a str,
    revision: &'a str,
    client: Client,
    patience: Duration,
}

impl Fetch<'_> {
    /// The commit of the revision and the names of its files.
    fn list(&self) -> Result<(String, BTreeSet<String>)> {
        let mut parts = vec!["api", "models"];
        parts.extend(self.id.split('/').chain(["revision", self.revision]));
        let info = self.client.json(self.client.url(&parts)?).map_err(|e| self.explain("the list of files", e))?;
        let commit = info["sha"].as_str().unwrap_or_default();
        if !is_commit(commit) {
            return Err(Error::failed(format!("{}: {} names no commit", self.model, self.client.name())));
        }
        let listed = info["siblings"].as_array().into_iter().flatten();
        let names = listed.filter_map(|file| Some(file["rfilename"].as_str()?.to_string())).collect();
        Ok((commit.into(), names))
    }

    /// Downloads every file that we read.
    fn all(&self, commit: &str, there: &BTreeSet<String>) -> Result<()> {
        let get = |name: &str| match there.contains(name) {
            true => self.file(commit, name),
            false => Err(Error::input(format!("{}: the repository has no {name}", self.model))),
        };
        get("config.json")?;
        for name in WELCOME.into_iter().filter(|name| there.contains(*name)) {
            get(name)?;
        }
        if there.contains(SINGLE) {
            get(SINGLE)?;
        } else {
            let shards: BTreeSet<String> = weight_map(&get(INDEX)?)?.into_values().collect();
            shards.iter().try_for_each(|shard| get(shard).map(drop))?;
        }
        Ok(())
    }

    /// One file of a pinned commit, whole and checked, or nothing.
    fn file(&self, commit: &str, name: &str) -> Result<PathBuf> {
        let path = self.repo.snapshot(commit).join(name);
        if path.is_file() {
            return Ok(path);
        }
        let mut parts: Vec<&str> = self.id.split('/').collect();
        parts.extend(["resolve", commit, name]);
        let (url, part) = (self.client.url(&parts)?, self.repo.part(commit, name));
        // only what can be checked afterwards is resumed
        let begun = match name.ends_with(".safetensors") {
            true => std::fs::metadata(&part).map_or(0, |facts| facts.len()),
            false => 0,
        };
        let incoming = match self.client.open(url.clone(), begun) {
            // what lies there does not fit: from the start, once
            Err(Failure::Status { code: 416, .. }) if begun > 0 => {
                std::fs::remove_file(&part).map_err(Error::io(&part))?;
                self.client.open(url, 0)
            }
            other => other,
        };
        let incoming = incoming.map_err(|e| self.explain(name, e))?;
        // The hub's tag names a file in the cache: it must not name one elsewhere.
        let etag = incoming.facts.etag.clone();
        if !is_tag(&etag) {
            return Err(match incoming.page {
                true => self.not_the_file(name, crate::io::WEB_PAGE),
                false => {
                    Error::failed(format!("{}: {name}: the hub's ETag is missing or not a plain name", self.model))
                }
            });
        }
        let (blob, facts) = (self.repo.blob(&etag), download::Facts { size: incoming.facts.size, etag: etag.clone() });
        if !(blob.is_file() && check(&blob, &facts).is_ok()) {
            incoming.save(&part, name, self.patience).map_err(|e| {
                if !is_sha256(&etag) {
                    let _ = std::fs::remove_file(&part); // cannot be checked when resumed, and is small
                }
                self.explain(name, e)
            })?;
            self.accept(name, &part, &facts)?;
            std::fs::rename(&part, &blob).map_err(Error::io(&blob))?;
        }
        self.repo.link(&etag, commit, name)
    }

    /// Refuses what arrived if it is not the file, and removes it.
    fn accept(&self, name: &str, part: &Path, facts: &download::Facts) -> Result<()> {
        let stand_in =
            not_a_model(part)?.is_some().then(|| std::fs::read(part).ok().and_then(|b| crate::io::stand_in(&b)));
        let wrong = match stand_in.flatten() {
            Some(what) => self.not_the_file(name, what),
            None => match check(part, facts) {
                Ok(()) => return Ok(()),
                Err(e) => Error::failed(format!("{}: {name}: {e}; removed, run again", self.model)),
            },
        };
        let _ = std::fs::remove_file(part); // what was wrong with it is the error to report
        Err(wrong)
    }

    fn not_the_file(&self, name: &str, what: &str) -> Error {
        Error::input(format!(
            "{}: {} gave {what} in place of {name}: see the model's page there, or download the file another way and give the folder",
            self.model,
            self.client.name()
        ))
    }

    /// A failure as something to act on.
    fn explain(&self, what: &str, failure: Failure) -> Error {
        let (model, endpoint) = (self.model, self.client.name());
        match failure {
            Failure::Status { code: code @ (401 | 403), host, own: false } => Error::input(format!(
                "{model}: {endpoint} sends us to {host} for {what}, which answered {code}; HF_TOKEN is sent to {endpoint} alone: if {host} is the hub, set HF_ENDPOINT to it, else run again"
            )),
            Failure::Status { code, host, own: false } => Error::failed(format!(
                "{model}: {endpoint} sends us to {host} for {what}, which answered {code}: try again later"
            )),
            Failure::Status { code: 401 | 403, .. } => Error::input(format!(
                "{model}: {endpoint} refuses {what}: accept the model's terms on its page and set HF_TOKEN (no folder of that name either)"
            )),
            Failure::Status { code: 404, .. } => Error::input(format!(
                "{model}: {endpoint} does not have {what}: check the name and the revision (no folder of that name either)"
            )),
            Failure::Status { code, .. } => {
                Error::failed(format!("{model}: {endpoint} answered {code} for {what}: try again later"))
            }
            Failure::Broken(said) => Error::failed(format!(
                "{model}: could not get {what} from {endpoint}: {said}; run again, or give a folder instead"
            )),
            Failure::Here(error) => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carried_models_are_found_by_name_and_alias() {
        let place = locate("embedded").unwrap();
        assert_eq!(place.name, "embedded-small");
        assert_eq!(place.path, resolve("embedded-small").unwrap());
        assert_ne!(place.path, resolve("embedded-large").unwrap());
    }

    #[test]
    fn a_wheel_a_web_page_and_a_pointer_in_the_place_of_a_model_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let told = |name: &str, body: &[u8]| {
            let file = dir.path().join(name);
            std::fs::write(&file, body).unwrap();
            let alone = locate(file.to_str().unwrap()).unwrap_err();
            let inside = locate(dir.path().to_str().unwrap()).unwrap_err();
            assert_eq!((alone.exit_code(), alone.to_string()), (2, inside.to_string()), "alone and in its folder");
            std::fs::remove_file(&file).unwrap();
            alone.to_string()
        };
        assert!(told("model.gguf", b"PK\x03\x04rest").contains("model.gguf is a zip archive (a wheel?)"));
        assert!(told("config.json", b"\n<!DOCTYPE html><html>").contains("config.json is a web page"));
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n";
        assert!(told("model.safetensors", pointer).contains("model.safetensors is a Git LFS pointer"));
    }

    #[test]
    fn a_folder_with_one_gguf_file_and_no_config_stands_for_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let found = || locate(dir.path().to_str().unwrap()).unwrap().path;
        assert_eq!(found(), dir.path());
        std::fs::write(at("a.gguf"), "GGUF").unwrap();
        assert_eq!(found(), at("a.gguf"));
        std::fs::write(at("b.gguf"), "GGUF").unwrap();
        assert_eq!(found(), dir.path());
        std::fs::remove_file(at("b.gguf")).unwrap();
        std::fs::write(at("config.json"), "{}").unwrap();
        assert_eq!(found(), dir.path());
    }
}

//! From what a user calls a model to a place on this machine: a folder, a GGUF file, `embedded`, or a name on the Hugging Face Hub.
//!
//! Downloads lie in hf-hub's cache, which Python's tools share (`HF_HOME`); `HF_ENDPOINT`, `HF_TOKEN` and `HF_HUB_OFFLINE` are
//! honoured. One commit is pinned before the first file, each file's length (and SHA-256, where the hub gives it) is checked, and
//! a revision counts as present only when all of its files are. The token is sent to the endpoint and never printed.
use super::checkpoint::weight_map;
use crate::error::{Error, Result};
use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, CacheRepo, Repo, RepoType};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

const SINGLE: &str = "model.safetensors";
/// The base models that are carried along and their folders in `data`.
const EMBEDDED: [(&str, &str); 3] =
    [("embedded", "embedded-small"), ("embedded-small", "embedded-small"), ("embedded-large", "embedded-large")];
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

/// Where the model that `model` names lies: an existing folder or GGUF file, `embedded` (the smaller of the carried ones), `embedded-small`,
/// `embedded-large`, or `org/name[@revision]` on the hub.
pub fn resolve(model: &str) -> Result<PathBuf> {
    if let Some((_, folder)) = EMBEDDED.iter().find(|(name, _)| *name == model) {
        let dir = crate::home().join("data").join(folder);
        return match dir.join("config.json").is_file() {
            true => Ok(dir),
            false => Err(Error::input(format!(
                "the model `{model}` is not in {}; set DXLAB_HOME to the project's folder, or make it with `dxlab pretrain configs/{folder}.toml --out data/{folder}`",
                dir.display()
            ))),
        };
    }
    if Path::new(model).exists() {
        return Ok(model.into());
    }
    Hub::from_env().fetch(model)
}

/// Where models come from and where they are kept.
pub struct Hub {
    /// None for hf-hub's own.
    endpoint: Option<String>,
    cache: PathBuf,
    token: Option<String>,
    offline: bool,
}

impl Hub {
    /// As the environment says: `HF_ENDPOINT`, `HF_HOME`, `HF_TOKEN` (or the token that `hf auth login` left), `HF_HUB_OFFLINE`.
    pub fn from_env() -> Self {
        let set = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        let cache = Cache::from_env();
        let offline =
            set("HF_HUB_OFFLINE").is_some_and(|v| ["1", "true", "yes", "on"].contains(&v.to_lowercase().as_str()));
        let token = set("HF_TOKEN").or_else(|| cache.token());
        Self::new(set("HF_ENDPOINT").as_deref(), cache.path(), token, offline)
    }

    /// `endpoint` is an address without path, hf-hub's own if None; `cache` is a folder laid out as `~/.cache/huggingface/hub`.
    pub fn new(endpoint: Option<&str>, cache: &Path, token: Option<String>, offline: bool) -> Self {
        let endpoint = endpoint.map(|e| e.trim_end_matches('/').to_string());
        Self { endpoint, cache: cache.into(), token, offline }
    }

    /// The folder of `org/name[@revision]` (`main` by default), downloaded unless all of it is in the cache.
    pub fn fetch(&self, model: &str) -> Result<PathBuf> {
        let (id, revision) = parse(model)?;
        let repo = Repo::with_revision(id.into(), RepoType::Model, revision.into());
        let cached = Cache::new(self.cache.clone()).repo(repo.clone());
        if let Some(dir) = complete(&cached) {
            return Ok(dir);
        }
        if self.offline {
            return Err(Error::input(format!(
                "{model} is not (wholly) in {} and HF_HUB_OFFLINE is set: unset it, or give a folder",
                self.cache.display()
            )));
        }
        let mut builder = ApiBuilder::from_cache(Cache::new(self.cache.clone()));
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint.clone());
        }
        let builder = builder.with_token(self.token.clone()).with_progress(std::io::stderr().is_terminal());
        let fetch = Fetch { hub: self, model, api: builder.build().map_err(|e| Error::failed(e.to_string()))? };
        let commit = fetch.all(&repo)?;
        // The revision points to the commit only now that all of the commit is there.
        cached.create_ref(&commit).map_err(Error::io(&self.cache))?;
        complete(&cached).ok_or_else(|| Error::input(format!("{model}: the repository lacks weights or a tokenizer")))
    }
}

/// `org/name` and the revision.
fn parse(model: &str) -> Result<(&str, &str)> {
    let (id, revision) = model.split_once('@').unwrap_or((model, "main"));
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
            "no folder or file `{model}`, and not a name on the hub: give a folder, a .gguf file, `embedded`, or org/name[@revision]"
        ))),
    }
}

/// The snapshot folder, if config, a tokenizer and every shard are in it.
fn complete(cached: &CacheRepo) -> Option<PathBuf> {
    let dir = cached.get("config.json")?.parent()?.to_path_buf();
    let has = |name: &str| dir.join(name).is_file();
    let tokenizer = has("tokenizer.json") || has("vocab.json") && has("merges.txt");
    let weights = has(SINGLE) || has(INDEX) && weight_map(&dir.join(INDEX)).ok()?.values().all(|shard| has(shard));
    (tokenizer && weights).then_some(dir)
}

/// One download: a model by the user's name for it.
struct Fetch<'a> {
    hub: &'a Hub,
    model: &'a str,
    api: Api,
}

impl Fetch<'_> {
    /// Downloads every file that we read and returns the commit that they belong to.
    fn all(&self, repo: &Repo) -> Result<String> {
        let info = self.api.repo(repo.clone()).info().map_err(|e| self.explain("the list of files", e))?;
        let commit = info.sha;
        if commit.is_empty() || !commit.chars().all(|c| c.is_ascii_alphanumeric()) {
            return Err(Error::failed(format!("{}: the hub names no commit", self.model)));
        }
        let there: BTreeSet<String> = info.siblings.into_iter().map(|s| s.rfilename).collect();
        let pinned = Repo::with_revision(self.id().into(), RepoType::Model, commit.clone());
        let (remote, cached) = (self.api.repo(pinned.clone()), Cache::new(self.hub.cache.clone()).repo(pinned));
        let get = |name: &str| match there.contains(name) {
            true => self.file(&remote, &cached, name),
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
        Ok(commit)
    }

    fn id(&self) -> &str {
        self.model.split('@').next().unwrap_or(self.model)
    }

    /// One file of a pinned commit, whole and checked, or nothing.
    fn file(&self, remote: &ApiRepo, cached: &CacheRepo, name: &str) -> Result<PathBuf> {
        if let Some(path) = cached.get(name) {
            return Ok(path);
        }
        let facts = self.api.metadata(&remote.url(name)).map_err(|e| self.explain(name, e))?;
        // The hub's tag names a file in the cache: it must not name one elsewhere.
        if facts.etag().contains(['/', '\\']) || facts.etag().starts_with('.') || facts.etag().is_empty() {
            return Err(Error::failed(format!("{}: {name}: the hub's tag is not a plain name", self.model)));
        }
        let blob = cached.blob_path(facts.etag());
        let part = blob.with_extension("part");
        let resumed = part.exists();
        let mut got = remote.download(name);
        if resumed && got.is_err() {
            let _ = std::fs::remove_file(&part); // what lay there does not fit: from the start, once
            got = remote.download(name);
        }
        let path = got.map_err(|e| {
            if !is_sha256(facts.etag()) {
                let _ = std::fs::remove_file(&part); // cannot be checked when resumed, and is small
            }
            self.explain(name, e)
        })?;
        match check(&path, facts.etag(), facts.size()) {
            Ok(()) => Ok(path),
            Err(e) => {
                for wrong in [&path, &blob, &part] {
                    let _ = std::fs::remove_file(wrong); // the check's error is the one to report
                }
                Err(Error::failed(format!("{}: {name}: {e}; removed, run again", self.model)))
            }
        }
    }

    /// hf-hub's error as something to act on.
    fn explain(&self, what: &str, error: ApiError) -> Error {
        let (model, endpoint) = (self.model, self.hub.endpoint.as_deref().unwrap_or("the hub"));
        let said = error.to_string();
        let status = said.rsplit_once("http status: ").and_then(|(_, code)| code.trim().parse::<u16>().ok());
        match status {
            Some(401 | 403) => Error::input(format!(
                "{model}: {endpoint} refuses {what}: accept the model's terms on its page and set HF_TOKEN (no folder of that name either)"
            )),
            Some(404) => Error::input(format!(
                "{model}: {endpoint} does not have {what}: check the name and the revision (no folder of that name either)"
            )),
            Some(code) => Error::failed(format!("{model}: {endpoint} answered {code} for {what}: try again later")),
            None => Error::failed(format!(
                "{model}: could not get {what} from {endpoint}: {said}; run again, or give a folder instead"
            )),
        }
    }
}

/// The tag of a large file is the SHA-256 of its contents.
fn is_sha256(etag: &str) -> bool {
    etag.len() == 64 && etag.bytes().all(|b| b.is_ascii_hexdigit())
}

fn check(path: &Path, etag: &str, size: usize) -> Result<()> {
    let mut file = std::fs::File::open(path).map_err(Error::io(path))?;
    let got = file.metadata().map_err(Error::io(path))?.len();
    if got != size as u64 {
        return Err(Error::failed(format!("{got} bytes arrived of {size}")));
    }
    if !is_sha256(etag) {
        return Ok(());
    }
    let (mut hash, mut piece) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut piece).map_err(Error::io(path))? {
            0 => break,
            n => hash.update(&piece[..n]),
        }
    }
    let got: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    if got == etag.to_lowercase() { Ok(()) } else { Err(Error::failed(format!("SHA-256 is {got}, expected {etag}"))) }
}

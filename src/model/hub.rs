//! From what a user calls a model to a place on this machine: a folder, a GGUF file, a name of [`super::registry`], or a name on the
//! Hugging Face Hub.
//!
//! Downloads lie in hf-hub's cache, which Python's tools share (`HF_HOME`); `HF_ENDPOINT`, `HF_TOKEN` and `HF_HUB_OFFLINE` are
//! honoured. One commit is pinned before the first file, each file's length (and SHA-256, where the hub gives it) is checked, and
//! a revision counts as present only when all of its files are. The token is sent to the endpoint and never printed.
use super::checkpoint::weight_map;
use super::registry::{self, Source};
use crate::error::{Error, Result};
use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, CacheRepo, Repo, RepoType};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

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
    let text = String::from_utf8_lossy(&start).trim_start_matches(['\u{feff}', ' ', '\n', '\r', '\t']).to_lowercase();
    let what = if start.starts_with(b"PK\x03\x04") {
        "is a zip archive (a wheel?), not a model: unpack it and give the .gguf file or the folder inside, or run `dxlab models` for what is known by name"
    } else if ["<!doctype html", "<html", "<?xml"].iter().any(|mark| text.starts_with(mark)) {
        "is a web page, not a part of a model: the download gave a page (to log in, or of an error); fetch the file itself"
    } else if text.starts_with("version https://git-lfs.github.com/spec/") {
        "is a Git LFS pointer, not the file itself: run `git lfs pull` in its repository, or download the file"
    } else {
        return Ok(None);
    };
    Ok(Some(format!("{} {what}", path.display())))
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

    /// The folder of `org/name[@revision]`, if all of it is in the cache.
    pub fn cached(&self, model: &str) -> Result<Option<PathBuf>> {
        let (id, revision) = parse(model)?;
        let repo = Repo::with_revision(id.into(), RepoType::Model, revision.into());
        Ok(complete(&Cache::new(self.cache.clone()).repo(repo)))
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
            "no folder or file `{model}`, and not a name on the hub: give a folder, a .gguf file, a name that `dxlab models` lists, or org/name[@revision]"
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

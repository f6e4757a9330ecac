//! What the environment says of the Hub, by the names and in the order of huggingface_hub (`constants.py`, `utils/_auth.py`).
//!
//! | what | first of these that is set |
//! |---|---|
//! | cache | `HF_HUB_CACHE`, `HUGGINGFACE_HUB_CACHE`, `HF_HOME`/hub, `XDG_CACHE_HOME`/huggingface/hub, ~/.cache/huggingface/hub |
//! | token | `HF_TOKEN`, `HUGGING_FACE_HUB_TOKEN`; unless `HF_HUB_DISABLE_IMPLICIT_TOKEN`: the file `HF_TOKEN_PATH`, `HF_HOME`/token |
//! | endpoint | `HF_ENDPOINT`, a path among it; https://huggingface.co |
//! | offline | `HF_HUB_OFFLINE`, `TRANSFORMERS_OFFLINE` |
//! | longest wait for the next bytes | `HF_HUB_DOWNLOAD_TIMEOUT`, in seconds |
//!
//! In folders `~` and `$NAME` are filled in. An empty variable counts as not set.
use regex::{Captures, Regex};
use std::path::PathBuf;
use std::time::Duration;

pub struct Environment<'a> {
    /// A variable's value.
    pub var: &'a dyn Fn(&str) -> Option<String>,
}

impl Environment<'_> {
    fn first(&self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| (self.var)(name).filter(|value| !value.trim().is_empty()))
    }

    fn folder(&self, names: &[&str]) -> Option<PathBuf> {
        self.first(names).map(|text| self.expanded(&text))
    }

    /// First `~`, then variables; one that is not set stays as it stands.
    fn expanded(&self, text: &str) -> PathBuf {
        let below_home = text.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with(['/', '\\']));
        let text = match below_home.and_then(|rest| Some(self.first(&["HOME", "USERPROFILE"])? + rest)) {
            Some(path) => path,
            None => text.to_string(),
        };
        let value = |found: &Captures| {
            let name = found.get(1).or(found.get(2)).map_or("", |name| name.as_str());
            (self.var)(name).unwrap_or_else(|| found[0].to_string())
        };
        match Regex::new(r"\$(?:\{(\w+)\}|(\w+))") {
            Ok(variable) => variable.replace_all(&text, value).into_owned().into(),
            Err(_) => text.into(), // the pattern is a constant: it is well formed
        }
    }

    fn home(&self) -> PathBuf {
        let cache = || self.folder(&["XDG_CACHE_HOME"]).unwrap_or_else(|| self.expanded("~/.cache"));
        self.folder(&["HF_HOME"]).unwrap_or_else(|| cache().join("huggingface"))
    }

    pub fn cache(&self) -> PathBuf {
        self.folder(&["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"]).unwrap_or_else(|| self.home().join("hub"))
    }

    /// Longest wait for the next bytes of a download; None where nothing says it, or not as a number of seconds.
    pub fn patience(&self) -> Option<Duration> {
        let seconds: f64 = self.first(&["HF_HUB_DOWNLOAD_TIMEOUT"])?.trim().parse().ok()?;
        Duration::try_from_secs_f64(seconds).ok().filter(|wait| !wait.is_zero())
    }

    pub fn token(&self) -> Option<String> {
        self.said_token().or_else(|| {
            let implicit = !self.is_true(&["HF_HUB_DISABLE_IMPLICIT_TOKEN"]);
            implicit.then(|| std::fs::read_to_string(self.token_path()).ok()).flatten().and_then(bare)
        })
    }

    /// The token that a variable holds; a file's is not read.
    pub fn said_token(&self) -> Option<String> {
        self.first(&["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"]).and_then(bare)
    }

    fn token_path(&self) -> PathBuf {
        self.folder(&["HF_TOKEN_PATH"]).unwrap_or_else(|| self.home().join("token"))
    }

    pub fn endpoint(&self) -> Option<String> {
        self.first(&["HF_ENDPOINT"])
    }

    pub fn offline(&self) -> bool {
        self.is_true(&["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
    }

    fn is_true(&self, names: &[&str]) -> bool {
        self.first(names).is_some_and(|value| ["1", "ON", "YES", "TRUE"].contains(&value.to_uppercase().as_str()))
    }
}

/// A token without white space and marks around it.
fn bare(token: String) -> Option<String> {
    let token = token.trim().trim_start_matches('\u{feff}').trim();
    (!token.is_empty()).then(|| token.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with<T>(set: &[(&str, &str)], ask: impl Fn(&Environment) -> T) -> T {
        let var = |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string());
        ask(&Environment { var: &var })
    }

    #[test]
    fn every_variable_means_what_it_means_to_huggingface_hub() {
        let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reference/hub_environment.json"));
        let rows: Vec<serde_json::Value> = serde_json::from_str(text).unwrap();
        assert!(rows.len() >= 20);
        for row in rows {
            let set: Vec<(&str, &str)> =
                row["set"].as_object().unwrap().iter().map(|(k, v)| (k.as_str(), v.as_str().unwrap())).collect();
            let found = with(&set, |e| {
                let endpoint = e.endpoint().unwrap_or("https://huggingface.co".into());
                serde_json::json!({
                    "cache": e.cache(), "token_path": e.token_path(), "offline": e.offline(),
                    "endpoint": endpoint.trim_end_matches('/'),
                })
            });
            assert_eq!(found, row["wanted"], "{set:?}");
        }
    }

    #[test]
    fn a_token_is_found_where_huggingface_hub_finds_it() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("token"), "hf_file\n").unwrap();
        let home = dir.path().to_str().unwrap();
        let token = |set: &[(&str, &str)]| with(&[set, &[("HF_HOME", home)]].concat(), |e| e.token());
        assert_eq!(token(&[]).as_deref(), Some("hf_file"));
        assert_eq!(token(&[("HF_TOKEN", " hf_new\n")]).as_deref(), Some("hf_new"));
        assert_eq!(token(&[("HUGGING_FACE_HUB_TOKEN", "hf_old")]).as_deref(), Some("hf_old"));
        assert_eq!(token(&[("HF_TOKEN", "hf_new"), ("HUGGING_FACE_HUB_TOKEN", "hf_old")]).as_deref(), Some("hf_new"));
        assert_eq!(token(&[("HF_TOKEN_PATH", "/nowhere")]), None);
        assert_eq!(token(&[("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]), None);
    }
}

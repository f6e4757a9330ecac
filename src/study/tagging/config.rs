//! What the training of a token classifier is told: the TOML files of `configs/` that have a key `encoder`.
use crate::corpus::decisions::Category;
use crate::corpus::split::{drawn, validation_split};
use crate::error::{Error, Result};
use crate::io;
use crate::model::encoder::{BertSizes, Bio, Marked, TokenClassifier, Windows, encoder_digest};
use crate::model::{registry, resolve};
use crate::run::Run;
use crate::task::decisions::Note;
use crate::task::{DecisionTask, Task};
use crate::train::TaggerConfig;
use candle_core::Var;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A training run of an encoder that labels tokens, as in its TOML file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncoderTrainConfig {
    pub name: String,
    /// A name that `dxlab models` lists, a folder in Hugging Face layout, or a hub id. With `random_start` its tokenizer alone is taken.
    pub encoder: String,
    /// `decisions` or a folder of notes with decisions; it must have validation notes.
    #[serde(default = "decisions")]
    pub corpus: String,
    /// Maximum number of training notes, drawn with the seed; all where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cases: Option<usize>,
    /// Share of the training notes (by group) that is left out before `cases` are drawn: what another training of this seed takes for its
    /// `validation`, so that both learn from the same notes.
    #[serde(default)]
    pub left_out: f64,
    /// Which tokens carry labels.
    #[serde(default)]
    pub marked: Marked,
    /// Tokens of a window, control tokens not counted, and how many it shares with the one before.
    #[serde(default = "window")]
    pub window: usize,
    #[serde(default = "overlap")]
    pub overlap: usize,
    /// A BERT of these sizes with random weights in the place of the encoder's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub random_start: Option<BertSizes>,
    pub training: TaggerConfig,
}

fn decisions() -> String {
    "decisions".into()
}
fn window() -> usize {
    Windows::default().most
}
fn overlap() -> usize {
    Windows::default().overlap
}

/// The labels of a classifier of decisions: O, then B and I of the nine categories in the order of their numbers.
pub fn labels() -> Result<Bio> {
    Bio::new(Category::ALL.map(Category::tag))
}

impl EncoderTrainConfig {
    /// Whether a TOML file is the config of an encoder's training: it has a key `encoder`.
    pub fn is_at(path: &Path) -> Result<bool> {
        let text = io::read_text(path)?;
        Ok(toml::from_str::<toml::Table>(&text).is_ok_and(|table| table.contains_key("encoder")))
    }

    pub fn read(path: &Path) -> Result<Self> {
        let text = io::read_text(path)?;
        toml::from_str(&text).map_err(|e| Error::input(format!("{}: {e}", path.display())))
    }

    /// One of the configs in the project's `configs/` by its name.
    pub fn named(name: &str) -> Result<Self> {
        Self::read(&crate::home().join("configs").join(format!("{name}.toml")))
    }

    /// The config of a training run; an error where the run trained no encoder.
    pub fn of(run: &Run) -> Result<Self> {
        let config = run.known().config.filter(|config| run.spec.kind == "train" && config.get("encoder").is_some());
        let Some(config) = config else {
            let folder = run.folder();
            return Err(Error::input(format!(
                "{folder} is no training run of an encoder: give one that `dxlab train configs/decisions-encoder.toml` made; answers of a \
                 language model come from `dxlab predict`"
            )));
        };
        serde_json::from_value(config).map_err(|e| Error::input(format!("{}: {e}", run.path("spec.json").display())))
    }

    /// What no training can follow is refused before it starts, with its key.
    pub fn check(&self) -> Result<()> {
        self.training.check()?;
        if !(0.0..1.0).contains(&self.left_out) {
            let is = self.left_out;
            return Err(Error::input(format!("left_out is {is}, expected a share of at least 0 and less than 1")));
        }
        if self.window == 0 || self.overlap >= self.window {
            let (window, overlap) = (self.window, self.overlap);
            return Err(Error::input(format!(
                "window = {window}, overlap = {overlap}: expected a window of at least 1 token and an overlap below it"
            )));
        }
        match self.cases {
            Some(0) => {
                Err(Error::input("cases is 0, expected at least 1: nothing would be learnt; leave it out for all"))
            }
            _ => Ok(()),
        }
    }

    /// The task of the corpus, which must be one of notes with decisions.
    pub fn task(&self) -> Result<DecisionTask> {
        match DecisionTask::knows(&self.corpus) {
            true => DecisionTask::open(&self.corpus),
            false => Err(Error::input(format!(
                "corpus = \"{}\": an encoder is trained to mark spans, so it needs `decisions` or a folder of notes with decisions",
                self.corpus
            ))),
        }
    }

    /// (training notes, validation notes).
    pub fn notes(&self, task: &DecisionTask) -> Result<(Vec<Note>, Vec<Note>)> {
        let (name, all) = (&task.corpus().name, &task.corpus().train);
        if task.validation().is_empty() {
            return Err(Error::input(format!(
                "{name}: no validation notes, by which the best epoch is chosen: put some into validation.jsonl or gold/validation"
            )));
        }
        let seed = self.training.seed;
        let (rest, _) = validation_split(all, self.left_out, seed);
        let train = drawn(rest, self.cases.unwrap_or(usize::MAX), seed);
        match train.is_empty() {
            true => Err(Error::input(format!(
                "{name}: left_out = {} with seed {seed} leaves no note of {} to learn from",
                self.left_out,
                all.len()
            ))),
            false => Ok((train, task.validation().to_vec())),
        }
    }

    /// The encoder's folder.
    pub fn folder(&self) -> Result<PathBuf> {
        let place = resolve(&self.encoder).map_err(|e| self.about_encoder(e))?;
        match place.is_dir() {
            true => Ok(place),
            false => Err(self.about_encoder(Error::input(format!(
                "{} is a file; expected a folder with config.json, model.safetensors and tokenizer.json of a BERT, RoBERTa or ModernBERT",
                place.display()
            )))),
        }
    }

    /// Name and digest of what the training starts from.
    pub(super) fn base(&self) -> Result<String> {
        let dir = self.folder()?;
        registry::verify(&dir)?;
        let digest = match &self.random_start {
            Some(_) => io::sha256(&dir.join("tokenizer.json")).map(|hex| hex[..12].to_string()),
            None => encoder_digest(&dir),
        };
        let name = Path::new(&self.encoder).file_name().map_or(self.encoder.clone(), |n| n.to_string_lossy().into());
        let start = if self.random_start.is_some() { "random-start" } else { &name };
        Ok(format!("{start}@{}", digest.map_err(|e| self.about_encoder(e))?))
    }

    /// The classifier before its training, and its tensors by name.
    pub(super) fn start(&self) -> Result<(TokenClassifier, BTreeMap<String, Var>)> {
        let (dir, bio, seed) = (self.folder()?, labels()?, self.training.seed);
        let started = match &self.random_start {
            Some(sizes) => TokenClassifier::random(&dir, ("[random_start]", sizes), bio, seed),
            None => TokenClassifier::start(&dir, bio, seed),
        };
        let (model, parameters) = started.map_err(|e| self.about_encoder(e))?;
        Ok((self.reading(model)?, parameters))
    }

    /// The classifier with the windows and marked tokens of this config.
    pub(super) fn reading(&self, mut model: TokenClassifier) -> Result<TokenClassifier> {
        model.marked = self.marked;
        model
            .with_windows(Windows { most: self.window, overlap: self.overlap })
            .map_err(|e| Error::input(format!("window = {}, overlap = {}: {e}", self.window, self.overlap)))
    }

    fn about_encoder(&self, error: Error) -> Error {
        match error {
            Error::Input(what) => Error::Input(format!("encoder = \"{}\": {what}", self.encoder)),
            other => other,
        }
    }
}

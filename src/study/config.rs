//! What a training run and an asking run are told: the TOML files of `configs/`, and the questions of the notebooks.
use super::chosen_labels::Ranking;
use super::voting::Voting;
use crate::adapter::{AdapterConfig, Init, Layers, Patterns, Targets};
use crate::augment::Augmentation;
use crate::error::{Error, Result};
use crate::generate::{EndpointConfig, MAX_NEW};
use crate::model::Precision;
use crate::prompt::Constrain;
use crate::run::Run;
use crate::task::decisions::NoteWindows;
use crate::train::LoopConfig;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A training run, as in its TOML file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    pub name: String,
    /// Folder, .gguf file, hub id or `embedded`.
    #[serde(default = "embedded")]
    pub model: String,
    /// `findings` (DXLAB_FINDINGS, else the embedded ones), `bc5cdr` or `ncbi` (need DXLAB_DATA), or a file or folder of findings.
    #[serde(default = "findings")]
    pub corpus: String,
    #[serde(default = "plain")]
    pub prompt: String,
    /// Share of the training cases (by group) kept for validation: early stopping and the best checkpoint.
    #[serde(default = "tenth")]
    pub validation: f64,
    /// Maximum number of training cases, drawn with the seed after validation is taken; for learning curves and quick looks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cases: Option<usize>,
    /// Maximum number of new tokens per answer: prompts are shortened so that they fit, in training as when the trained model is asked.
    #[serde(default = "max_new", skip_serializing_if = "is_usual")]
    pub max_new: usize,
    /// Long notes in windows, each a training text of its own; for `decisions`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub windows: Option<NoteWindows>,
    /// A file that names pairs of cases and groups which training, validation and test may share, each with a reason
    /// ([`crate::corpus::leak::Allowed`]); without it a leak stops the training before it starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_leaks: Option<PathBuf>,
    /// Sets that must not leak into the training cases either (named as `corpus`): their test cases, all cases where they have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub benchmarks: Vec<String>,
    /// How the base model's weights lie in memory.
    #[serde(default, skip_serializing_if = "is_f32")]
    pub weights: Precision,
    /// How often and in what form training cases come; each once an epoch as written where not given.
    #[serde(rename = "showing", alias = "augmentation", default, skip_serializing_if = "Augmentation::is_plain")]
    pub augmentation: Augmentation,
    pub adapter: AdapterSection,
    pub training: LoopConfig,
}

fn max_new() -> usize {
    MAX_NEW
}

fn is_usual(n: &usize) -> bool {
    *n == MAX_NEW
}

fn is_f32(keep: &Precision) -> bool {
    *keep == Precision::F32
}

/// What learns: an adapter's tensors, or with `method = "full"` every weight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdapterSection {
    #[serde(default, skip_serializing_if = "Method::is_lora")]
    pub method: Method,
    /// Rank and α, of every method but `full`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub r: usize,
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub alpha: f64,
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub dropout: f64,
    /// Linear layers by the last part of their names; the seven of attention and MLP where not given (recurrent layers have others).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_modules: Option<Vec<String>>,
    /// Blocks to adapt, from 0; all where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<usize>>,
    /// Rank and α by the end of a layer's name (regular expressions, as in PEFT); where two match, the first by the alphabet counts, as
    /// TOML's tables have no order.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rank_pattern: BTreeMap<String, usize>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub alpha_pattern: BTreeMap<String, f64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    #[default]
    Lora,
    Rslora,
    Dora,
    Pissa,
    /// Every weight of the model, no adapter.
    Full,
}

impl Method {
    /// As it is written in prose.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Lora => "LoRA",
            Self::Rslora => "rsLoRA",
            Self::Dora => "DoRA",
            Self::Pissa => "PiSSA",
            Self::Full => "full fine-tuning",
        }
    }

    fn is_lora(&self) -> bool {
        *self == Self::Lora
    }
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}
fn is_nothing(x: &f64) -> bool {
    *x == 0.0
}

impl AdapterSection {
    /// LoRA of rank `r` on every linear layer.
    pub fn lora(r: usize, alpha: f64) -> Self {
        Self {
            method: Method::Lora,
            r,
            alpha,
            dropout: 0.0,
            target_modules: None,
            layers: None,
            rank_pattern: BTreeMap::new(),
            alpha_pattern: BTreeMap::new(),
        }
    }

    /// The PEFT config of an adapter for `base`; None with `method = "full"`.
    pub fn adapter(&self, base: &str) -> Result<Option<AdapterConfig>> {
        if self.method == Method::Full {
            return match self == &(Self { method: Method::Full, ..Self::lora(0, 0.0) }) {
                true => Ok(None),
                false => Err(Error::input("[adapter] method = \"full\" trains every weight: remove the other keys")),
            };
        }
        if self.alpha == 0.0 {
            return Err(Error::input(
                "[adapter] alpha is 0 or missing, expected a positive number: the update is scaled by alpha / r",
            ));
        }
        let mut config = AdapterConfig::lora(self.r, self.alpha);
        config.base_model_name_or_path = Some(base.into());
        config.use_rslora = self.method == Method::Rslora;
        config.use_dora = self.method == Method::Dora;
        config.lora_dropout = self.dropout;
        config.rank_pattern = Patterns(self.rank_pattern.clone().into_iter().collect());
        config.alpha_pattern = Patterns(self.alpha_pattern.clone().into_iter().collect());
        config.layers_to_transform = self.layers.clone().map(Layers::Some);
        if self.method == Method::Pissa {
            config.init_lora_weights = Init::Named("pissa_niter_16".into());
        }
        if let Some(targets) = &self.target_modules {
            config.target_modules = Targets::Names(targets.clone());
        }
        config.supported().map_err(|what| Error::input(format!("[adapter] {what}")))?;
        Ok(Some(config))
    }
}

fn embedded() -> String {
    "embedded".into()
}
fn findings() -> String {
    "findings".into()
}
fn plain() -> String {
    "plain".into()
}
fn tenth() -> f64 {
    0.1
}

impl TrainConfig {
    /// What no training can follow is refused before it starts, with its key.
    pub fn check(&self) -> Result<()> {
        self.training.check()?;
        if !(0.0..1.0).contains(&self.validation) {
            let is = self.validation;
            return Err(Error::input(format!("validation is {is}, expected a share of at least 0 and less than 1")));
        }
        if self.max_new == 0 {
            return Err(Error::input("max_new is 0, expected at least 1: no answer would have a token"));
        }
        self.windows.as_ref().map_or(Ok(()), NoteWindows::check)?;
        if self.cases == Some(0) {
            return Err(Error::input("cases is 0, expected at least 1: nothing would be learnt; leave it out for all"));
        }
        if self.adapter.method == Method::Full && self.weights != Precision::F32 {
            return Err(Error::input(
                "weights is for a base that stays as it is: with [adapter] method = \"full\" every weight learns in f32, \
                 remove the key",
            ));
        }
        Ok(())
    }

    pub fn read(path: &Path) -> Result<Self> {
        let text = crate::io::read_text(path)?;
        toml::from_str(&text).map_err(|e| Error::input(format!("{}: {e}", path.display())))
    }

    /// A .toml file, or one of the configs in the project's `configs/` by its name.
    pub fn named(name: &str) -> Result<Self> {
        match name.ends_with(".toml") {
            true => Self::read(Path::new(name)),
            false => Self::read(&crate::home().join("configs").join(format!("{name}.toml"))),
        }
    }
}

/// Asking a model about the test cases.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PredictConfig {
    pub name: String,
    pub model: String,
    /// Run folder of a training run, or a PEFT folder.
    pub adapter: Option<PathBuf>,
    pub corpus: String,
    pub prompt: String,
    /// Maximum number of new tokens per answer.
    pub max_new: usize,
    /// Maximum number of test cases, drawn by digest as training cases are.
    pub cases: Option<usize>,
    /// What every answer is held to; free answers where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constrain: Option<Constrain>,
    /// Where `model` is served; in this process where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<EndpointConfig>,
    /// Several sampled answers a case and the labels that enough of them name; one greedy answer where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vote: Option<Voting>,
    /// The closed list is ranked by likelihood in the place of an answer that is decoded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ranking: Option<Ranking>,
    /// Long notes in windows, each asked about on its own; for `decisions`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub windows: Option<NoteWindows>,
    /// How the weights of a model in this process lie in memory.
    #[serde(default, skip_serializing_if = "is_f32")]
    pub weights: Precision,
}

impl PredictConfig {
    /// The base model alone on the test cases of `findings`.
    pub fn zero_shot(prompt: &str) -> Self {
        Self {
            name: format!("zero-shot-{prompt}"),
            model: embedded(),
            adapter: None,
            corpus: findings(),
            prompt: prompt.into(),
            max_new: MAX_NEW,
            cases: None,
            constrain: None,
            endpoint: None,
            vote: None,
            ranking: None,
            windows: None,
            weights: Precision::F32,
        }
    }

    /// The same with every answer constrained to `how` while it is decoded; another run, named so.
    pub fn constrained(&self, how: Constrain) -> Self {
        let name = match how {
            Constrain::Labels => format!("{}-held", self.name),
            Constrain::Json => format!("{}-json", self.name),
            Constrain::Text => format!("{}-quoting", self.name),
            Constrain::Tags => format!("{}-tagging", self.name),
            Constrain::TagsReopened => format!("{}-reopening", self.name),
            Constrain::TagsNumbered => format!("{}-numbered", self.name),
        };
        Self { name, constrain: Some(how), ..self.clone() }
    }

    /// The same by a vote over sampled answers; another run, named so.
    pub fn voting(&self, vote: Voting) -> Self {
        Self { name: format!("{}-vote", self.name), vote: Some(vote), ..self.clone() }
    }

    /// The same with another prompt of the library; another run, named so.
    pub fn asking(&self, prompt: &str) -> Self {
        Self { name: format!("{}-{prompt}", self.name), prompt: prompt.into(), ..self.clone() }
    }

    /// A fine-tuned model, asked as it was trained.
    pub fn tuned(run: &Run, config: &TrainConfig) -> Self {
        let (model, adapter) = match config.adapter.method {
            Method::Full => (run.dir.join("model").to_string_lossy().into_owned(), None),
            _ => (config.model.clone(), Some(run.dir.clone())),
        };
        Self {
            name: config.name.clone(),
            model,
            adapter,
            corpus: config.corpus.clone(),
            prompt: config.prompt.clone(),
            max_new: config.max_new,
            cases: None,
            constrain: None,
            endpoint: None,
            vote: None,
            ranking: None,
            windows: config.windows,
            weights: config.weights,
        }
    }
}

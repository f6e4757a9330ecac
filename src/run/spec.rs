//! What runs are specified by, as types: each kind is written from a struct of its own, and read back leniently as [`Known`]. The JSON is
//! what digests are made of, so a key that came later is left out where it says nothing.
use crate::prompt::Constrain;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Everything that determines a run; the kind's own struct as JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum RunSpec {
    Train(TrainSpec),
    Predict(PredictSpec),
    Rank(RankSpec),
    Arm(ArmSpec),
    Baseline(BaselineSpec),
    Search(SearchSpec),
}

impl RunSpec {
    /// The first part of the run's folder.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Train(_) => "train",
            Self::Predict(_) => "predict",
            Self::Rank(_) => "rank",
            Self::Arm(_) => "arm",
            Self::Baseline(_) => "baseline",
            Self::Search(_) => "search",
        }
    }
}

/// Configs are JSON here: this room does not know what an experiment is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrainSpec {
    pub config: Value,
    pub corpus: String,
    pub base: String,
    pub prompt: String,
    pub synthetic: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PredictSpec {
    pub model: String,
    pub adapter: Option<String>,
    pub prompt: String,
    pub corpus: String,
    pub corpus_name: String,
    pub synthetic: bool,
    pub max_new: usize,
    pub cases: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub constrain: Option<Constrain>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vote: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ranking: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
}

/// Log-probabilities of a closed list.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RankSpec {
    pub model: String,
    pub adapter: Option<String>,
    pub prompt: String,
    pub corpus: String,
    pub corpus_name: String,
    pub synthetic: bool,
    pub cases: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ArmSpec {
    pub config: Value,
    pub seeds: Vec<u64>,
    pub constrain: Option<Constrain>,
    pub corpus: String,
    pub base: String,
    pub prompt: String,
    pub synthetic: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Value>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub shown: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BaselineSpec {
    pub settings: Value,
    pub corpus: String,
    pub corpus_name: String,
    pub synthetic: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SearchSpec {
    pub search: Value,
    pub base_config: Value,
    pub corpus: String,
    pub synthetic: bool,
    pub base: String,
    pub prompt: String,
}

/// What is known of a run from its `spec.json`, of whatever kind; None where its kind does not say it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Known {
    /// SHA-256 of the corpus.
    pub corpus: Option<String>,
    pub corpus_name: Option<String>,
    /// Name of the task, in files of older versions with its version behind `@`; of label sets it is not written.
    pub task: Option<String>,
    /// Name and digest: `model` of predictions, `base` of trainings and arms.
    pub model: Option<String>,
    pub base: Option<String>,
    pub adapter: Option<String>,
    pub prompt: Option<String>,
    pub constrain: Option<Constrain>,
    pub max_new: Option<usize>,
    /// Where not all test cases were asked about.
    pub cases: Option<usize>,
    /// The training config.
    pub config: Option<Value>,
}

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
    /// Log-probabilities of a closed list.
    Rank(AskedSpec),
    Arm(ArmSpec),
    Baseline(BaselineSpec),
    /// Candidates of a ranker, re-ranked by a language model.
    Rerank(RerankSpec),
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
            Self::Rerank(_) => "rerank",
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
    /// SHA-256 of validation notes that are no part of the corpus's digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<String>,
}

/// Who is asked, how, and about what. All of a rank run, whose log-probabilities depend on nothing else; in the JSON of a predict run
/// these keys stand beside its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct AskedSpec {
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

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PredictSpec {
    #[serde(flatten)]
    pub asked: AskedSpec,
    pub max_new: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub constrain: Option<Constrain>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vote: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ranking: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub windows: Option<Value>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RerankSpec {
    #[serde(flatten)]
    pub asked: AskedSpec,
    pub ranker: String,
    /// Raised when rankers change what they say.
    pub ranker_version: u32,
    /// Of the annotations, where they are not the installed release ([`crate::phenotype::Knowledge::id`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<String>,
    pub top: usize,
    /// Which patients the weight of the language model was chosen on.
    pub part: Value,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SearchSpec {
    pub search: Value,
    pub base_config: Value,
    pub corpus: String,
    pub synthetic: bool,
    pub base: String,
    pub prompt: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs are named by this JSON; structs that share fields must not move it.
    #[test]
    fn what_is_asked_stands_flat_beside_the_rest() {
        let asked = AskedSpec { model: "m@1".into(), prompt: "p@2".into(), corpus: "c".into(), ..AskedSpec::default() };
        let json = |spec: RunSpec| crate::io::digest_json(&spec).unwrap();
        let flat = |text: &str| crate::io::digest_json(&serde_json::from_str::<Value>(text).unwrap()).unwrap();
        let rank = r#"{"model": "m@1", "adapter": null, "prompt": "p@2", "corpus": "c", "corpus_name": "", "synthetic": false, "cases": null}"#;
        assert_eq!(json(RunSpec::Rank(asked.clone())), flat(rank));
        let predict = rank.replace("}", r#", "max_new": 64, "constrain": "labels", "weights": "bf16"}"#);
        let asked = AskedSpec { weights: Some("bf16".into()), ..asked };
        let spec = PredictSpec { asked, max_new: 64, constrain: Some(Constrain::Labels), ..PredictSpec::default() };
        assert_eq!(json(RunSpec::Predict(spec)), flat(&predict));
    }
}

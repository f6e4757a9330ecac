//! Metrics: pure functions from per-case outcomes to an `Estimate`. Undefined is `None`, never 0.
mod bootstrap;
mod calibration;
mod correlation;
pub mod difflib;
mod flips;
mod labels;
mod normal;
mod paired;
mod proportion;
mod ranking;
mod seeds;
pub mod spans;
mod statistic;
mod table;
mod tiers;
mod unpaired;

pub use bootstrap::{Bootstrap, Unit, bca, quantile};
pub use calibration::{
    Bin, Calibration, Platt, Quality, Scored, Selective, Signal, bins, brier, calibrate, calibration_error, platt,
    risk_coverage, temperature,
};
pub use correlation::spearman;
pub use flips::{ErrorRates, FLIPPED, Identity, with_errors};
pub use labels::{
    Metric, exact_match, hallucinated_rate, hamming_loss, jaccard, labels_per_case, macro_f1, micro_f1,
    micro_precision, micro_recall, parse_failure_rate, sample_f1, weighted_f1,
};
pub use paired::{ALPHA, Difference, POWER, compare, holm, permutation};
pub use proportion::{McNemar, beta, mcnemar, unanimous, wilson};
pub use ranking::{RankedCase, random_hit, ranking_tables};
pub use seeds::{Seeded, compare_seeds, over_seeds};
pub use statistic::{Hit, LabelSet, Mean, Score, Statistic};
pub use table::{MetricInfo, Reading, ScoreTable};
pub use tiers::{Credit, Match, Tiered, TieredCase, assign, tiered};
pub use unpaired::unpaired;

use serde::{Deserialize, Serialize};

/// A value with the interval that its cases support.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    pub value: f64,
    pub low: f64,
    pub high: f64,
    /// Cases (not groups) behind the value.
    pub n: usize,
}

/// What one case asked for and what the model answered, as sets of labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub case_id: String,
    pub group: String,
    pub gold: std::collections::BTreeSet<String>,
    pub predicted: std::collections::BTreeSet<String>,
    /// False when no label could be read from the answer; such a case still counts, with an empty prediction.
    pub parsed: bool,
}

impl Outcome {
    /// Labels asked for and given.
    pub fn true_positives(&self) -> impl Iterator<Item = &str> {
        self.gold.intersection(&self.predicted).map(String::as_str)
    }
    /// Labels asked for and not given.
    pub fn false_negatives(&self) -> impl Iterator<Item = &str> {
        self.gold.difference(&self.predicted).map(String::as_str)
    }
    /// Labels given and not asked for.
    pub fn false_positives(&self) -> impl Iterator<Item = &str> {
        self.predicted.difference(&self.gold).map(String::as_str)
    }
    pub fn exact(&self) -> bool {
        self.gold == self.predicted
    }
}

//! Typed records and their readers, one file a corpus.
use serde::{Deserialize, Serialize};

/// One clinical text and the diagnoses that follow from it (`spec` §1.4: `case_id, input_finding, output_disease`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Case {
    pub case_id: String,
    /// The unit that must not straddle a split (patient, publication); the case id where nothing is known.
    pub group: String,
    #[serde(rename = "input_finding")]
    pub input: String,
    /// Labels as written in the file, in order, trimmed; normalisation is `label`'s work.
    #[serde(rename = "output_disease")]
    pub labels: Vec<String>,
}

/// Train and test cases of one source.
#[derive(Clone, Debug)]
pub struct Corpus {
    pub name: String,
    /// Shown wherever a result of this corpus is shown.
    pub synthetic: bool,
    pub train: Vec<Case>,
    pub test: Vec<Case>,
}

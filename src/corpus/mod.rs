//! Typed records and their readers, one file a corpus.
pub mod characters;
pub mod check;
pub mod decisions;
pub mod fetch;
pub mod findings;
mod kind;
pub mod leak;
pub mod manifest;
pub mod near;
pub mod phenopacket;
pub mod pubtator;
pub mod shape;
pub mod split;
pub mod synthetic;
pub mod text;

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One clinical text without its answer: all that a model, a prompt, the retriever and the leak gate may see.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Case {
    pub case_id: String,
    /// The unit that must not straddle a split (patient, publication); the case id where nothing is known.
    pub group: String,
    #[serde(rename = "input_finding", alias = "input")]
    pub input: String,
}

/// A case and its gold answer, of whatever kind the task has. It can be used wherever its case can.
///
/// As JSON it has the keys of a findings file, whatever the task: digests of pools and baselines are over this form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Example<G> {
    #[serde(flatten)]
    pub case: Case,
    #[serde(rename = "output_disease", alias = "gold")]
    pub gold: G,
}

impl<G> Example<G> {
    pub fn new(case_id: impl Into<String>, group: impl Into<String>, input: impl Into<String>, gold: G) -> Self {
        Self { case: Case { case_id: case_id.into(), group: group.into(), input: input.into() }, gold }
    }
}

impl<G> std::ops::Deref for Example<G> {
    type Target = Case;

    fn deref(&self) -> &Case {
        &self.case
    }
}

impl<G> std::ops::DerefMut for Example<G> {
    fn deref_mut(&mut self) -> &mut Case {
        &mut self.case
    }
}

impl<G> AsRef<Case> for Example<G> {
    fn as_ref(&self) -> &Case {
        &self.case
    }
}

impl AsRef<Case> for Case {
    fn as_ref(&self) -> &Case {
        self
    }
}

/// Labels as written in the file, in order, trimmed; normalisation is `label`'s work.
pub type Labels = Vec<String>;
/// A finding and the diagnoses that follow from it: `case_id, input_finding, output_disease`.
pub type Finding = Example<Labels>;

/// Train and test cases of one source.
#[derive(Clone, Debug)]
pub struct Corpus<G = Labels> {
    pub name: String,
    /// Said wherever a result of this corpus is shown.
    pub synthetic: bool,
    pub train: Vec<Example<G>>,
    pub test: Vec<Example<G>>,
}

/// The folder of open corpora that `DXLAB_DATA` names; `corpus` is who asks, `fetch` the name by which it can be fetched.
pub(crate) fn open_data(corpus: &str, fetch: &str) -> Result<PathBuf> {
    let folder = std::env::var_os("DXLAB_DATA").filter(|path| !path.is_empty()).map(PathBuf::from);
    folder.ok_or_else(|| {
        Error::input(format!("corpus {corpus}: set DXLAB_DATA to the folder of open data (`dxlab data fetch {fetch}`)"))
    })
}

/// The user's own findings.
fn own() -> Option<PathBuf> {
    std::env::var_os("DXLAB_FINDINGS").filter(|path| !path.is_empty()).map(PathBuf::from)
}

impl Corpus {
    /// The synthetic findings in `data/findings` of the project.
    pub fn embedded() -> Result<Self> {
        let folder = crate::home().join("data").join("findings");
        let corpus = Self::open(&folder)?;
        Ok(Self { name: "synthetic abdominal CT findings".into(), synthetic: true, ..corpus })
    }

    /// The synthetic training cases with the sealed test split in `data/findings-sealed`, whose wording no training case has.
    pub fn sealed() -> Result<Self> {
        let embedded = Self::embedded()?;
        let test = Self::open(&crate::home().join("data").join("findings-sealed").join("test.jsonl"))?.test;
        Ok(Self { name: format!("{}, sealed test split", embedded.name), test, ..embedded })
    }

    /// Findings in a file or folder of the user's; see [`findings`] for the formats.
    pub fn open(path: &Path) -> Result<Self> {
        check::open(path)
    }

    /// The findings that `DXLAB_FINDINGS` names, else the embedded ones.
    pub fn from_env() -> Result<Self> {
        match own() {
            Some(path) => Self::open(&path),
            None => Self::embedded(),
        }
    }

    /// Where [`Corpus::from_env`] reads.
    pub fn path_from_env() -> PathBuf {
        own().unwrap_or_else(|| crate::home().join("data").join("findings"))
    }

    /// Labels of the training split as written, with the number of cases that carry each.
    pub fn vocabulary(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for label in self.train.iter().flat_map(|case| &case.gold) {
            *counts.entry(label.clone()).or_insert(0) += 1;
        }
        counts
    }
}

impl<G: Serialize> Corpus<G> {
    /// SHA-256 (hex) over split, id, group, text and gold answer of every case in order: the name of these data in run folders. Each
    /// string of a list counts as a part of its own; any other answer by its JSON.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for (split, cases) in [("train", &self.train), ("test", &self.test)] {
            for case in cases {
                let gold = gold_parts(&case.gold);
                let parts = [split, &case.case_id, &case.group, &case.input];
                for part in parts.into_iter().chain(gold.iter().map(String::as_str)) {
                    hash.update((part.len() as u64).to_le_bytes());
                    hash.update(part);
                }
                hash.update(u64::MAX.to_le_bytes()); // ends the case: no part is that long
            }
        }
        crate::io::hex(&hash.finalize())
    }
}

impl<G> Corpus<G> {
    /// The case of that id, test split first.
    pub fn case(&self, case_id: &str) -> Result<&Example<G>> {
        let found = self.test.iter().chain(&self.train).find(|case| case.case_id == case_id);
        found.ok_or_else(|| Error::input(format!("corpus `{}` has no case `{case_id}`", self.name)))
    }
}

fn gold_parts(gold: &impl Serialize) -> Vec<String> {
    let value = serde_json::to_value(gold).unwrap_or_default(); // gold answers always have a JSON form
    let strings = value.as_array().and_then(|all| all.iter().map(|one| one.as_str().map(String::from)).collect());
    strings.unwrap_or_else(|| vec![value.to_string()])
}

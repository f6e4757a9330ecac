//! Typed records and their readers, one file a corpus.
pub mod check;
pub mod fetch;
pub mod findings;
pub mod leak;
pub mod manifest;
pub mod near;
pub mod pubtator;
pub mod shape;
pub mod synthetic;
pub mod text;

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

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

    /// Findings in a file or folder of the user's; see [`findings`] for the formats.
    pub fn open(path: &Path) -> Result<Self> {
        findings::open(path)
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
        for label in self.train.iter().flat_map(|case| &case.labels) {
            *counts.entry(label.clone()).or_insert(0) += 1;
        }
        counts
    }

    /// SHA-256 (hex) over split, id, group, text and labels of every case in order: the name of these data in run folders.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for (split, cases) in [("train", &self.train), ("test", &self.test)] {
            for case in cases {
                let parts = [split, &case.case_id, &case.group, &case.input];
                for part in parts.into_iter().chain(case.labels.iter().map(String::as_str)) {
                    hash.update((part.len() as u64).to_le_bytes());
                    hash.update(part);
                }
                hash.update(u64::MAX.to_le_bytes()); // ends the case: no part is that long
            }
        }
        crate::io::hex(&hash.finalize())
    }

    /// The case of that id, test split first.
    pub fn case(&self, case_id: &str) -> Result<&Case> {
        let found = self.test.iter().chain(&self.train).find(|case| case.case_id == case_id);
        found.ok_or_else(|| Error::input(format!("corpus `{}` has no case `{case_id}`", self.name)))
    }
}

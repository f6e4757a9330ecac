//! The vocabulary of the synthetic notes, read from `words.toml` (built into the crate).
use crate::error::{Error, Result};
use serde::Deserialize;
use std::collections::BTreeMap;

/// How the lines of a section stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Style {
    /// One line at most.
    Line,
    /// One below the other.
    Lines,
    Numbered,
    /// One after the other.
    Prose,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    pub heading: String,
    pub style: Style,
    /// How often a line of a note is drawn from it, beside the other sections.
    pub weight: f64,
    train: Vec<String>,
    test: Vec<String>,
}

impl Section {
    /// What test notes say here, or what the others say.
    pub fn lines(&self, test: bool) -> &[String] {
        if test { &self.test } else { &self.train }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    macros: BTreeMap<String, String>,
    test_macros: BTreeMap<String, String>,
    section: Vec<Section>,
}

/// Everything that can be said; sections in the order of a note.
#[derive(Debug)]
pub struct Words {
    pub sections: Vec<Section>,
    train: BTreeMap<String, String>,
    test: BTreeMap<String, String>,
}

impl Words {
    pub fn load() -> Result<Self> {
        let wrong = |e: toml::de::Error| Error::failed(format!("notes/words.toml: {e}"));
        let File { macros, test_macros, section } = toml::from_str(include_str!("words.toml")).map_err(wrong)?;
        let mut test = macros.clone();
        test.extend(test_macros);
        Ok(Self { sections: section, train: macros, test })
    }

    /// Words of test notes, or of the others.
    pub fn macros(&self, test: bool) -> &BTreeMap<String, String> {
        if test { &self.test } else { &self.train }
    }
}

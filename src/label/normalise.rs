//! One name for one label (`spec` §1.5): lower case, single spaces, no final period, no word of doubt, singular, alias table.
//!
//! An alias is applied only where its target is a training label and the label itself is not, so a corpus that tells two
//! names apart keeps them apart. `normalise(normalise(x)) = normalise(x)`.
use super::plural::singular_label;
use crate::error::{Error, Result};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// Words of doubt that are taken off, in parentheses, in front or behind.
pub(super) const DOUBT: [&str; 11] = [
    "suspicious for",
    "concerning for",
    "suggestive of",
    "possible",
    "possibly",
    "probable",
    "probably",
    "suspected",
    "likely",
    "questionable",
    "presumed",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Aliases {
    labels: BTreeMap<String, String>,
    plurals: BTreeMap<String, String>,
}

/// Names labels alike; knows which labels training has.
#[derive(Clone, Debug)]
pub struct Normaliser {
    vocabulary: BTreeSet<String>,
    aliases: BTreeMap<String, String>,
    plurals: BTreeMap<String, String>,
}

impl Normaliser {
    /// From the training labels as written, with the alias table `data/aliases.toml` that is built into the crate.
    pub fn new<S: AsRef<str>>(train_vocabulary: impl IntoIterator<Item = S>) -> Result<Self> {
        Self::with_aliases(include_str!("../../data/aliases.toml"), train_vocabulary)
    }

    /// With another alias table: TOML with tables `labels` and `plurals`.
    pub fn with_aliases<S: AsRef<str>>(table: &str, train_vocabulary: impl IntoIterator<Item = S>) -> Result<Self> {
        let table: Aliases = toml::from_str(table).map_err(|e| Error::input(format!("alias table: {e}")))?;
        let empty = BTreeSet::new();
        let mut this = Self { vocabulary: empty, aliases: BTreeMap::new(), plurals: table.plurals };
        this.aliases = table.labels.iter().map(|(from, to)| (this.surface(from), this.surface(to))).collect();
        this.vocabulary = train_vocabulary.into_iter().map(|label| this.surface(label.as_ref())).collect();
        Ok(this)
    }

    /// The comparable name of a label; empty for a label that says nothing.
    pub fn normalise(&self, label: &str) -> String {
        let label = self.surface(label);
        match self.aliases.get(&label) {
            Some(usual) if !self.vocabulary.contains(&label) && self.vocabulary.contains(usual) => usual.clone(),
            _ => label,
        }
    }

    /// Neither a training label nor, through the alias table, another name of one.
    pub fn outside_vocabulary(&self, label: &str) -> bool {
        !self.vocabulary.contains(&self.normalise(label))
    }

    /// The training labels, normalised.
    pub fn vocabulary(&self) -> &BTreeSet<String> {
        &self.vocabulary
    }

    /// Everything but the alias table; repeated until nothing changes, because taking one thing off can bare another.
    fn surface(&self, label: &str) -> String {
        let mut label = label.to_lowercase();
        // three rounds suffice for real labels; the bound is for a table that swaps two words for ever
        for _ in 0..64 {
            let next = singular_label(&undoubted(&bare(&label)), &self.plurals);
            if next == label {
                break;
            }
            label = next;
        }
        label
    }
}

/// Single spaces; no quotes, marks or periods at the ends.
fn bare(label: &str) -> String {
    let spaced = label.split_whitespace().collect::<Vec<_>>().join(" ");
    let end = |c: char| {
        c.is_whitespace() || matches!(c, '.' | '?' | '!' | ':' | ';' | ',' | '"' | '\'' | '`' | '*' | '“' | '”')
    };
    spaced.trim_matches(end).to_string()
}

/// Without "(possible)", "suspected …", "… , possible".
fn undoubted(label: &str) -> String {
    let mut label = label.to_string();
    for doubt in DOUBT {
        for bracketed in [format!("({doubt})"), format!("[{doubt}]")] {
            label = label.replace(&bracketed, " ");
        }
        if let Some(rest) = label.strip_prefix(doubt).filter(|rest| rest.starts_with(' ')) {
            label = rest.to_string();
        }
        if let Some(rest) = label.strip_suffix(doubt).filter(|rest| rest.ends_with([' ', ','])) {
            label = rest.to_string();
        }
    }
    bare(&label.replace("(?)", " "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::synthetic::dice::Dice;

    fn normaliser() -> Normaliser {
        Normaliser::new(["Renal cyst", "liver calcification", "colorectal cancer", "esophageal varices", "Ascites"])
            .unwrap()
    }

    #[test]
    fn names_of_one_thing_become_one_name() {
        let pairs = [
            (" Renal  Cysts. ", "renal cyst"),
            ("liver calcifications", "liver calcification"),
            ("Colorectal cancer (possible)", "colorectal cancer"),
            ("suspected colorectal cancer", "colorectal cancer"),
            ("Suspicious for colon cancer?", "colorectal cancer"),
            ("kidney cysts", "renal cyst"),
            ("esophageal varices", "esophageal varices"),
            ("\"ascites\"", "ascites"),
            ("liver metastases", "liver metastasis"),
            ("renal calculi", "renal calculus"),
            ("renal stones", "renal stone"), // its usual name is no training label here
            ("(possible)", ""),
        ];
        for (label, want) in pairs {
            assert_eq!(normaliser().normalise(label), want, "{label}");
        }
        assert!(!normaliser().outside_vocabulary("Cyst of kidney"));
        assert!(normaliser().outside_vocabulary("renal stones"));
    }

    #[test]
    fn a_corpus_that_tells_two_names_apart_keeps_them_apart() {
        let both = Normaliser::new(["kidney cyst", "renal cyst"]).unwrap();
        assert_eq!(both.normalise("kidney cysts"), "kidney cyst");
    }

    #[test]
    fn normalising_twice_changes_nothing() {
        let normaliser = normaliser();
        let parts = [
            "renal",
            "cysts",
            "(possible)",
            "suspected",
            "possible",
            ".",
            "?",
            "masses",
            "of",
            "the",
            "Metastases",
            "colon",
            "cancer",
            "calculi",
            ",",
            "likely",
            "\"",
            "ies",
            "xes",
            "ss",
            "s",
            "diagnoses",
            "(",
            ")",
            "ß",
            "İ",
            "(possible",
            "  ",
        ];
        let mut dice = Dice::new(11, 0);
        for _ in 0..20_000 {
            let n = 1 + dice.below(6);
            let glue = [" ", ""][dice.below(2)];
            let label = (0..n).map(|_| parts[dice.below(parts.len())]).collect::<Vec<_>>().join(glue);
            let once = normaliser.normalise(&label);
            assert_eq!(normaliser.normalise(&once), once, "{label:?}");
        }
    }

    #[test]
    fn every_alias_leads_to_its_label_and_none_is_itself_an_alias() {
        let table: Aliases = toml::from_str(include_str!("../../data/aliases.toml")).unwrap();
        let normaliser = Normaliser::new(table.labels.values()).unwrap();
        for (from, to) in &table.labels {
            assert_eq!(&normaliser.normalise(from), to, "{from}");
            assert!(!table.labels.contains_key(to), "{to} is an alias itself");
        }
    }
}

//! One name for one label (`spec` §1.5): one form of Unicode, lower case, single spaces, no final period, no word of doubt, singular, alias
//! table.
//!
//! Of Unicode, compatibility forms are folded (NFKC: ligatures, full-width letters, superscripts), every hyphen and dash is `-`, and what
//! has no width (zero-width spaces and joiners, soft hyphens, marks of direction) is left out. Both sides of a comparison go through here.
//!
//! An alias is applied only where its target is a training label and the label itself is not, so a corpus that tells two
//! names apart keeps them apart. Where no alias leads to a training label, words that mean one thing (`[words]`: renal and kidney) are
//! taken for one another in both directions, as are whole names (`[[same]]`), if exactly one training label then fits. `normalise(normalise(x)) = normalise(x)`.
use super::plural::singular_label;
use crate::corpus::characters::{blank, invisible};
use crate::error::{Error, Result};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use unicode_normalization::UnicodeNormalization;

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
    /// Another word = the one that stands for both.
    #[serde(default)]
    words: BTreeMap<String, String>,
    /// Lists of names of one thing.
    #[serde(default)]
    same: Vec<Vec<String>>,
}

/// Names labels alike; knows which labels training has.
#[derive(Clone, Debug)]
pub struct Normaliser {
    vocabulary: BTreeSet<String>,
    aliases: BTreeMap<String, String>,
    plurals: BTreeMap<String, String>,
    words: BTreeMap<String, String>,
    /// Key of a name → key of the first of its list.
    same: BTreeMap<String, String>,
    /// Key → the training label that has it, where only one has.
    keys: BTreeMap<String, Option<String>>,
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
        let (aliases, same, keys) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut this = Self { vocabulary: empty, aliases, plurals: table.plurals, words: table.words, same, keys };
        this.aliases = table.labels.iter().map(|(from, to)| (this.surface(from), this.surface(to))).collect();
        this.vocabulary = train_vocabulary.into_iter().map(|label| this.surface(label.as_ref())).collect();
        for list in &table.same {
            let keys: Vec<String> = list.iter().map(|name| this.key(&this.surface(name))).collect();
            let first = keys.first().cloned().unwrap_or_default();
            this.same.extend(keys.into_iter().map(|key| (key, first.clone())));
        }
        for label in &this.vocabulary {
            let only = |found: &mut Option<String>| *found = None;
            this.keys.entry(this.key(label)).and_modify(only).or_insert_with(|| Some(label.clone()));
        }
        Ok(this)
    }

    /// The comparable name of a label; empty for a label that says nothing.
    pub fn normalise(&self, label: &str) -> String {
        let label = self.surface(label);
        match self.aliases.get(&label) {
            _ if self.vocabulary.contains(&label) => label,
            Some(usual) if self.vocabulary.contains(usual) => usual.clone(),
            _ => self.keys.get(&self.key(&label)).cloned().flatten().unwrap_or(label),
        }
    }

    /// What names of one thing share: every word by the word that stands for it, "cyst of the kidney" as "kidney cyst".
    fn key(&self, label: &str) -> String {
        let turned = match label.split_once(" of ") {
            Some((what, place))
                if !place.contains([' ', '-']) || place.starts_with("the ") && place.split(' ').count() == 2 =>
            {
                format!("{} {what}", place.strip_prefix("the ").unwrap_or(place))
            }
            _ => label.to_string(),
        };
        let word = |word: &str| self.words.get(word).map_or(word, String::as_str).to_string();
        let key = turned.split(' ').map(word).collect::<Vec<_>>().join(" ");
        self.same.get(&key).cloned().unwrap_or(key)
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
        let mut label = label.to_string();
        // three rounds suffice for real labels; the bound is for a table that swaps two words for ever
        for _ in 0..64 {
            let next = singular_label(&undoubted(&bare(&folded(&label))), &self.plurals);
            if next == label {
                break;
            }
            label = next;
        }
        label
    }
}

/// NFKC in lower case, one hyphen, nothing without width.
fn folded(label: &str) -> String {
    let one = |c: char| match c {
        c if invisible(c) => None,
        c if blank(c) => Some(' '),
        '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{2043}' | '\u{fe58}' | '\u{fe63}' | '\u{ff0d}' => Some('-'),
        '\u{2018}' | '\u{2019}' | '\u{2bc}' | '\u{2032}' | '`' => Some('\''),
        c => Some(c),
    };
    // NFKC makes a space and an accent of U+00B4
    label.replace('\u{b4}', "'").nfkc().filter_map(one).collect::<String>().to_lowercase()
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
    fn forms_of_unicode_are_one_name() {
        let pairs = [
            ("re\u{200b}nal\u{a0}cyst", "renal cyst"),
            ("re\u{34f}nal\u{3164}cyst\u{fe0f}", "renal cyst"),
            ("\u{2062}renal\u{2800}cyst\u{180e}", "renal cyst"),
            ("\u{ff52}\u{ff45}\u{ff4e}\u{ff41}\u{ff4c} cyst", "renal cyst"),
            ("non\u{2011}obstructive stone", "non-obstructive stone"),
            ("calci\u{fb01}ed node", "calcified node"),
            ("Cro\u{ad}hn\u{2019}s disease", "crohn's disease"),
            ("Crohn\u{b4}s disease", "crohn's disease"),
            ("cafe\u{301} au lait spot", "caf\u{e9} au lait spot"),
        ];
        for (label, want) in pairs {
            assert_eq!(normaliser().normalise(label), want, "{label}");
        }
    }

    #[test]
    fn words_of_one_meaning_lead_to_the_training_label_in_both_directions() {
        let pairs = [
            ("intestinal obstruction", "bowel obstruction"),
            ("bowel obstruction", "intestinal obstruction"),
            ("pancreatic mass", "pancreas mass"),
            ("pancreas mass", "pancreatic mass"),
            ("mass of the pancreas", "pancreatic mass"),
            ("kidney stone", "renal calculus"),
            ("gallstone", "cholelithiasis"),
            ("hepatic steatosis", "fatty liver"),
            ("fatty liver", "hepatic steatosis"),
        ];
        for (given, trained) in pairs {
            assert_eq!(Normaliser::new([trained]).unwrap().normalise(given), trained, "{given}");
        }
        // the wider name is not the narrower one, and two that fit are neither
        assert_eq!(Normaliser::new(["colon cancer"]).unwrap().normalise("colorectal cancer"), "colorectal cancer");
        let two = Normaliser::new(["renal mass", "kidney mass"]).unwrap();
        assert_eq!(two.normalise("mass of the kidney"), "mass of the kidney");
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
            "\u{2011}",
            "\u{200b}",
            "\u{fb01}",
            "\u{ff33}",
            "\u{301}",
            "\u{212a}",
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

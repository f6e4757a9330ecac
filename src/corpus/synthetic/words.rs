//! The vocabulary of the synthetic reports, read from `words/*.toml` (built into the crate).
use crate::error::{Error, Result};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Report order.
pub const ORGANS: [&str; 16] = [
    "chest",
    "liver",
    "gallbladder",
    "pancreas",
    "spleen",
    "adrenals",
    "kidneys",
    "bladder",
    "pelvis",
    "bowel",
    "peritoneum",
    "nodes",
    "vessels",
    "wall",
    "bones",
    "overall",
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Label {
    /// As in the training split.
    pub name: String,
    pub organ: String,
    /// Cases that carry the label: training split, test split under this name, test split under another name.
    pub train: usize,
    pub test: usize,
    #[serde(default)]
    pub shift: BTreeMap<String, usize>,
    /// Excludes every other label of the case.
    #[serde(default)]
    pub exclusive: bool,
    /// How much likelier the label is in a case that carries another.
    #[serde(default)]
    pub with: BTreeMap<String, f64>,
    /// Ways to name it in a denial.
    #[serde(default)]
    pub nouns: Vec<String>,
    /// Singular noun phrases without article that imply it; the frames assert or deny them.
    #[serde(default)]
    pub phrases: Vec<String>,
    /// Sentences that imply it.
    #[serde(default)]
    pub says: Vec<String>,
    /// Sentences that imply it with doubt; in the test split they carry the "(possible)" name.
    #[serde(default)]
    pub hedged: Vec<String>,
    /// Sentences in the same words that do not imply it, by reason.
    #[serde(default)]
    pub mimics: BTreeMap<String, Vec<String>>,
    /// Labels beside which a denial of this one would be untrue.
    #[serde(default)]
    pub mimic_unless: Vec<String>,
}

/// A sentence in the words of label `of` that speaks for a whole organ (it was removed).
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mimic {
    pub organ: String,
    pub of: String,
    pub why: String,
    pub unless: Vec<String>,
    /// The organ of which nothing else is said.
    pub quiet: Option<String>,
    pub say: Vec<String>,
}

/// One sentence that implies two labels.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Joint {
    pub labels: [String; 2],
    pub say: Vec<String>,
}

/// An unremarkable sentence; true when none of `clear_of` (all labels of the organ, if empty) is present.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normal {
    pub organ: String,
    #[serde(default)]
    pub clear_of: Vec<String>,
    pub say: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OrganFile {
    #[serde(default)]
    label: Vec<Label>,
    #[serde(default)]
    mimic: Vec<Mimic>,
    #[serde(default)]
    joint: Vec<Joint>,
    #[serde(default)]
    normal: Vec<Normal>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Frames {
    pub positive: Vec<String>,
    pub contrast: Vec<String>,
    pub denied: Vec<String>,
    pub list: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opening {
    pub indication: Vec<String>,
    pub technique: Vec<String>,
    pub comparison: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FrameFile {
    macros: BTreeMap<String, String>,
    frames: Frames,
    opening: Opening,
    headings: BTreeMap<String, String>,
}

/// Everything that can be said.
#[derive(Debug)]
pub struct Words {
    pub labels: Vec<Label>,
    pub mimics: Vec<Mimic>,
    pub joints: Vec<Joint>,
    pub normals: Vec<Normal>,
    pub macros: BTreeMap<String, String>,
    pub frames: Frames,
    pub opening: Opening,
    pub headings: BTreeMap<String, String>,
}

const FILES: [(&str, &str); 5] = [
    ("liver.toml", include_str!("words/liver.toml")),
    ("biliary.toml", include_str!("words/biliary.toml")),
    ("kidneys.toml", include_str!("words/kidneys.toml")),
    ("bowel.toml", include_str!("words/bowel.toml")),
    ("trunk.toml", include_str!("words/trunk.toml")),
];

impl Words {
    pub fn load() -> Result<Self> {
        let FrameFile { macros, frames, opening, headings } = parse("frame.toml", include_str!("words/frame.toml"))?;
        let (labels, mimics, joints, normals) = Default::default();
        let mut words = Self { labels, mimics, joints, normals, macros, frames, opening, headings };
        for (name, text) in FILES {
            let file: OrganFile = parse(name, text)?;
            words.labels.extend(file.label);
            words.mimics.extend(file.mimic);
            words.joints.extend(file.joint);
            words.normals.extend(file.normal);
        }
        words.check()?;
        Ok(words)
    }

    pub fn index(&self, name: &str) -> Option<usize> {
        self.labels.iter().position(|label| label.name == name)
    }

    /// Every name that is referred to exists.
    fn check(&self) -> Result<()> {
        let organs = self.labels.iter().map(|l| &l.organ).chain(self.mimics.iter().map(|m| &m.organ));
        for organ in organs
            .chain(self.normals.iter().map(|n| &n.organ))
            .chain(self.mimics.iter().filter_map(|m| m.quiet.as_ref()))
        {
            if !ORGANS.contains(&organ.as_str()) || !self.headings.contains_key(organ) {
                return Err(Error::input(format!("vocabulary: unknown organ `{organ}`")));
            }
        }
        let named = self.labels.iter().flat_map(|l| l.with.keys().chain(&l.mimic_unless));
        let named = named.chain(self.mimics.iter().flat_map(|m| m.unless.iter().chain([&m.of])));
        let named = named.chain(self.joints.iter().flat_map(|j| &j.labels));
        for name in named.chain(self.normals.iter().flat_map(|n| &n.clear_of)) {
            if self.index(name).is_none() {
                return Err(Error::input(format!("vocabulary: unknown label `{name}`")));
            }
        }
        match self.labels.iter().find(|l| l.phrases.is_empty() && l.says.is_empty()) {
            Some(label) => Err(Error::input(format!("vocabulary: nothing says `{}`", label.name))),
            None => Ok(()),
        }
    }
}

fn parse<T: serde::de::DeserializeOwned>(name: &str, text: &str) -> Result<T> {
    toml::from_str(text).map_err(|e| Error::input(format!("vocabulary {name}: {e}")))
}

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

/// The wording of the sealed test split: `words/sealed.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SealedFile {
    macros: BTreeMap<String, String>,
    frames: Frames,
    opening: Opening,
    label: Vec<SealedLabel>,
    #[serde(default)]
    joint: Vec<Joint>,
    #[serde(default)]
    mimic: Vec<Mimic>,
    normal: Vec<Normal>,
}

/// How the sealed split speaks of a label; counts and organ are those of [`Label`].
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SealedLabel {
    name: String,
    #[serde(default)]
    nouns: Vec<String>,
    #[serde(default)]
    phrases: Vec<String>,
    #[serde(default)]
    says: Vec<String>,
    #[serde(default)]
    hedged: Vec<String>,
    #[serde(default)]
    mimics: BTreeMap<String, Vec<String>>,
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

    /// The same labels in other words, none of which the training split uses: another reader in another hospital. Labels that the test
    /// split lacks are not spoken of at all.
    pub fn sealed() -> Result<Self> {
        let SealedFile { macros, frames, opening, label, joint, mimic, normal } =
            parse("sealed.toml", include_str!("words/sealed.toml"))?;
        let mut words = Self { frames, opening, joints: joint, mimics: mimic, normals: normal, ..Self::load()? };
        words.macros.extend(macros);
        let mut own: BTreeMap<String, SealedLabel> = label.into_iter().map(|one| (one.name.clone(), one)).collect();
        for label in &mut words.labels {
            let in_test = label.test + label.shift.values().sum::<usize>() > 0;
            let SealedLabel { nouns, phrases, says, hedged, mimics, .. } = match own.remove(&label.name) {
                Some(found) => found,
                None if in_test => return Err(Error::input(format!("sealed.toml: nothing says `{}`", label.name))),
                None => SealedLabel { says: label.says.clone(), phrases: vec![], ..SealedLabel::default() },
            };
            let (train, test) = if in_test { (label.train, label.test) } else { (0, 0) };
            *label = Label {
                nouns,
                phrases,
                says,
                hedged,
                mimics,
                train,
                test,
                name: std::mem::take(&mut label.name),
                organ: std::mem::take(&mut label.organ),
                shift: std::mem::take(&mut label.shift),
                with: std::mem::take(&mut label.with),
                mimic_unless: std::mem::take(&mut label.mimic_unless),
                ..*label
            };
        }
        if let Some(stranger) = own.keys().next() {
            return Err(Error::input(format!("sealed.toml: unknown label `{stranger}`")));
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

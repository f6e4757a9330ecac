//! What may leak: TOML with tables `[[pair]]` and `[[group]]`, each with a reason.
//!
//! ```toml
//! [[pair]]
//! a = "train/17"
//! b = "test/203"
//! reason = "a template that the hospital uses for normal examinations"
//!
//! [[group]]
//! id = "p0093"
//! reason = "two patients that the export calls alike"
//! ```
use super::{Kind, Leaks};
use crate::error::{Error, Result};
use serde::Deserialize;
use std::path::Path;

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allowed {
    #[serde(default, rename = "pair")]
    pub pairs: Vec<AllowedPair>,
    #[serde(default, rename = "group")]
    pub groups: Vec<AllowedGroup>,
}

/// Two cases whose texts may be alike; a group that they share is not allowed by it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllowedPair {
    pub a: String,
    pub b: String,
    pub reason: String,
}

/// A group that two parts may share, with all its cases; texts that are alike are not allowed by it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllowedGroup {
    pub id: String,
    pub reason: String,
}

impl std::fmt::Display for AllowedPair {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "the pair {} and {}", self.a, self.b)
    }
}

impl std::fmt::Display for AllowedGroup {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "the group `{}`", self.id)
    }
}

impl Allowed {
    pub fn read(path: &Path) -> Result<Self> {
        let text = crate::io::read_text(path)?;
        let list: Self = toml::from_str(&text).map_err(|e| Error::input(format!("{}: {e}", path.display())))?;
        let pairs = list.pairs.iter().map(|pair| (pair.to_string(), &pair.reason));
        let groups = list.groups.iter().map(|group| (group.to_string(), &group.reason));
        match pairs.chain(groups).find(|(_, reason)| reason.trim().is_empty()) {
            Some((what, _)) => {
                Err(Error::input(format!("{}: {what} has no reason: say why it may leak", path.display())))
            }
            None => Ok(list),
        }
    }
}

impl Leaks {
    /// Marks what `list` names, pairs in either order; gives in words what of the list does not leak.
    pub fn allow(&mut self, list: &Allowed) -> Vec<String> {
        let mut unused = Vec::new();
        for pair in &list.pairs {
            let named = self.mark(&pair.reason, |kind, a, b, _| {
                kind != Kind::Group && ((a, b) == (&pair.a, &pair.b) || (b, a) == (&pair.a, &pair.b))
            });
            unused.extend((!named).then(|| pair.to_string()));
        }
        for group in &list.groups {
            let named = self.mark(&group.reason, |kind, _, _, id| kind == Kind::Group && id == group.id);
            unused.extend((!named).then(|| group.to_string()));
        }
        unused
    }

    /// Allows the leaks that are meant, by kind, ids of the two cases, and group of the first; whether there is one.
    fn mark(&mut self, reason: &str, meant: impl Fn(Kind, &str, &str, &str) -> bool) -> bool {
        let mut named = false;
        for leak in &mut self.leaks {
            if meant(leak.kind, &leak.a.id(), &leak.b.id(), &leak.a.group) {
                leak.allowed = Some(reason.to_string());
                named = true;
            }
        }
        named
    }
}

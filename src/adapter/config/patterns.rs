//! Values by regular expression, as PEFT matches them to the names of layers.
use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::marker::PhantomData;

/// Values by regular expression, in the order of the file: where two match a layer, PEFT takes the first (`get_pattern_key`).
#[derive(Clone, Debug, PartialEq)]
pub struct Patterns<T>(pub Vec<(String, T)>);

impl<T> Default for Patterns<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Patterns<T> {
    pub(super) fn keys(&self) -> impl Iterator<Item = &String> {
        self.0.iter().map(|(key, _)| key)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &T> + Clone {
        self.0.iter().map(|(_, value)| value)
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut().map(|(_, value)| value)
    }

    /// The value of the first key that matches the end of a layer's name.
    pub(super) fn first(&self, linear: &str) -> Option<&T> {
        self.0.iter().find(|(key, _)| Self::matches(key, linear)).map(|(_, value)| value)
    }

    pub(super) fn matches(key: &str, linear: &str) -> bool {
        matches_whole(&format!(r"(?:.*\.)?(?:{key})"), linear)
    }
}

impl<T: Serialize> Serialize for Patterns<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patterns<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(InOrder(PhantomData))
    }
}

struct InOrder<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for InOrder<T> {
    type Value = Patterns<T>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("values by regular expression")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut all: Vec<(String, T)> = Vec::new();
        while let Some((key, value)) = map.next_entry::<String, T>()? {
            match all.iter_mut().find(|(known, _)| *known == key) {
                Some(again) => again.1 = value, // as Python reads JSON: the first place, the last value
                None => all.push((key, value)),
            }
        }
        Ok(Patterns(all))
    }
}

/// Python's regular expressions, look-around too; [`AdapterConfig::supported`] refuses what is none.
pub(super) fn regex(pattern: &str) -> Option<fancy_regex::Regex> {
    fancy_regex::Regex::new(pattern).ok()
}

/// Whether the expression matches the whole of `text`. One that backtracks for ever on a layer's name counts as no match: the layers
/// that an adapter has tensors for tell.
pub(super) fn matches_whole(pattern: &str, text: &str) -> bool {
    regex(&format!("^(?:{pattern})$")).is_some_and(|r| r.is_match(text).unwrap_or(false))
}

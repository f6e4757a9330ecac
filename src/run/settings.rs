//! A run as a flat list of settings: for the workbook's sheet, and for what tells two runs apart.
use super::spec::Known;
use super::store::Run;
use crate::error::Result;
use crate::io;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Nested JSON as (dotted key, text) in order of the keys; list items by their index. `{"a": {"b": 2}}` gives `a.b = 2`.
pub fn flatten(value: &Value) -> BTreeMap<String, String> {
    let mut flat = BTreeMap::new();
    walk("", value, &mut flat);
    flat
}

fn walk(key: &str, value: &Value, flat: &mut BTreeMap<String, String>) {
    let below = |name: &str| if key.is_empty() { name.to_string() } else { format!("{key}.{name}") };
    match value {
        Value::Object(map) if !map.is_empty() => map.iter().for_each(|(name, value)| walk(&below(name), value, flat)),
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            items.iter().enumerate().for_each(|(i, item)| walk(&below(&i.to_string()), item, flat));
        }
        Value::String(text) => drop(flat.insert(key.to_string(), text.clone())),
        other => drop(flat.insert(key.to_string(), other.to_string())),
    }
}

impl Run {
    /// Everything in `spec.json` and `environment.json`, the latter under `environment.`.
    pub fn settings(&self) -> Result<BTreeMap<String, String>> {
        let mut settings = flatten(&io::to_value(&self.spec)?);
        let environment = flatten(&io::to_value(&self.environment()?)?);
        settings.extend(environment.into_iter().map(|(key, value)| (format!("environment.{key}"), value)));
        Ok(settings)
    }

    /// What its specification says; see [`Known`].
    pub fn known(&self) -> Known {
        serde_json::from_value(self.spec.spec.clone()).unwrap_or_default() // of a kind that says other things
    }

    /// Whether the run's specification says that its data are synthetic: a key `synthetic` anywhere in it.
    pub fn synthetic(&self) -> Option<bool> {
        let flat = flatten(&self.spec.spec);
        let said: Vec<&String> = flat
            .iter()
            .filter(|(key, _)| key.rsplit('.').next() == Some("synthetic"))
            .map(|(_, value)| value)
            .collect();
        (!said.is_empty()).then(|| said.iter().any(|value| *value == "true"))
    }
}

/// (key, value in a, value in b) wherever they differ; none where a side has no such key.
pub fn differences(
    a: &BTreeMap<String, String>,
    b: &BTreeMap<String, String>,
) -> Vec<(String, Option<String>, Option<String>)> {
    let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let differing = keys.into_iter().filter(|key| a.get(*key) != b.get(*key));
    differing.map(|key| (key.clone(), a.get(key).cloned(), b.get(key).cloned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Store;
    use serde_json::json;

    #[test]
    fn nested_settings_become_dotted_keys() {
        let flat = flatten(&json!({"b": {"lr": 2e-4, "mods": ["q", "v"]}, "a": null, "c": [{"x": 1}], "d": {}}));
        let expected = [("a", "null"), ("b.lr", "0.0002"), ("b.mods", "[\"q\",\"v\"]"), ("c.0.x", "1"), ("d", "{}")];
        assert_eq!(flat, expected.map(|(k, v)| (k.to_string(), v.to_string())).into());
    }

    #[test]
    fn two_runs_differ_where_their_specs_do() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(Some(folder.path()));
        let make = |rank: u32| {
            store
                .open_or_make("train", "lora", &json!({"rank": rank, "data": {"synthetic": true}}), |_| Ok(()))
                .unwrap()
        };
        let (a, b) = (make(8), make(16));
        let rows = differences(&a.settings().unwrap(), &b.settings().unwrap());
        assert!(rows.contains(&("spec.rank".into(), Some("8".into()), Some("16".into()))));
        assert!(rows.iter().all(|(key, ..)| !key.starts_with("spec.data")));
        assert_eq!(a.synthetic(), Some(true));
    }
}

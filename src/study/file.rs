//! Files of a study: JSON with sorted keys, so that a file or a specification can be named by its digest.
use crate::corpus::whole;
use crate::error::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::path::Path;

/// Writes a file whole or not at all; its folder is made if need be.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    }
    whole::write(path, bytes)
}

/// Writes JSON with sorted keys and two spaces, whole or not at all.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let value = sorted(to_value(value)?);
    write(path, format!("{value:#}\n").as_bytes())
}

/// Reads JSON into a type; an error names the file.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    serde_json::from_slice(&bytes).map_err(|error| Error::input(format!("{}: {error}", path.display())))
}

/// SHA-256 in hex of the canonical JSON of a value: keys sorted, no spaces.
pub fn digest_json(value: &impl Serialize) -> Result<String> {
    Ok(digest_bytes(sorted(to_value(value)?).to_string().as_bytes()))
}

/// SHA-256 in hex.
pub fn digest_bytes(bytes: &[u8]) -> String {
    whole::hex(&Sha256::digest(bytes))
}

/// JSON of any value; a map with keys that are not strings is refused.
pub fn to_value(value: &impl Serialize) -> Result<Value> {
    serde_json::to_value(value).map_err(|error| Error::failed(format!("cannot be written as JSON: {error}")))
}

/// Keys sorted at every depth, whatever order serde_json keeps in this build.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut pairs: Vec<(String, Value)> = map.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            pairs.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(pairs.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn digest_does_not_depend_on_the_order_of_keys() {
        let (a, b) = (r#"{"b":{"y":1,"x":[2.5,null]},"a":"ä"}"#, r#"{"a":"ä","b":{"x":[2.5,null],"y":1}}"#);
        let digest = |text: &str| digest_json(&serde_json::from_str::<Value>(text).unwrap()).unwrap();
        assert_eq!(digest(a), digest(b));
        assert_ne!(digest(a), digest_json(&json!({"a": "ä"})).unwrap());
    }

    #[test]
    fn digest_is_sha256() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"; // FIPS 180-2, "abc"
        assert_eq!(digest_bytes(b"abc"), expected);
    }

    #[test]
    fn json_is_read_back_and_its_folder_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a").join("b.json");
        write_json(&path, &json!({"b": 1, "a": [0.5]})).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\n  \"a\": [\n    0.5\n  ],\n  \"b\": 1\n}\n");
        assert_eq!(read_json::<Value>(&path).unwrap(), json!({"b": 1, "a": [0.5]}));
        std::fs::write(&path, "{").unwrap();
        assert!(read_json::<Value>(&path).unwrap_err().to_string().contains("b.json: EOF"));
    }
}

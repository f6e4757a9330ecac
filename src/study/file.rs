//! Files of a study: written whole or not at all, and named by what is in them.
use crate::error::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Writes beside `path`, then renames, so that nobody sees half a file under its final name. Makes the folder if need be.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let beside = beside(path)?;
    let done = std::fs::File::create(&beside).and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    done.and_then(|()| std::fs::rename(&beside, path)).map_err(|error| {
        let _ = std::fs::remove_file(&beside); // the first error is the one to report
        Error::io(path)(error)
    })
}

/// A name in the folder of `path` that no other process or thread uses; the folder is made.
pub fn beside(path: &Path) -> Result<PathBuf> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name =
        path.file_name().ok_or_else(|| Error::input(format!("expected the name of a file: {}", path.display())))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    Ok(folder.join(format!(".{}.{}-{count}.tmp", name.to_string_lossy(), std::process::id())))
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
    hex(&Sha256::digest(bytes))
}

/// SHA-256 in hex of a file, read in pieces.
pub fn digest_file(path: &Path) -> Result<String> {
    let mut file = std::fs::File::open(path).map_err(Error::io(path))?;
    let (mut hash, mut piece) = (Sha256::new(), vec![0u8; 1 << 20]);
    loop {
        match file.read(&mut piece).map_err(Error::io(path))? {
            0 => return Ok(hex(&hash.finalize())),
            n => hash.update(&piece[..n]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("abc");
        write(&path, b"abc").unwrap();
        assert_eq!((digest_bytes(b"abc").as_str(), digest_file(&path).unwrap().as_str()), (expected, expected));
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("inside"), "kept").unwrap();
        assert!(write(&path, b"new").is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(std::fs::read_to_string(path.join("inside")).unwrap(), "kept");
    }
}

//! Which base an adapter was trained on: `base.json` beside its two files, which PEFT passes over.
//!
//! Shapes alone do not tell: an adapter of another model of the same sizes loads, and says something, only nothing that was ever measured.
use crate::error::{Error, Result};
use crate::io;
use serde::{Deserialize, Serialize};
use std::path::Path;

const FILE: &str = "base.json";

#[derive(Serialize, Deserialize)]
struct TrainedOn {
    /// Name and digest, as `base_id` gives them.
    base: String,
}

/// Notes in an adapter's folder that it was trained on `base`, a `base_id`.
pub fn note_base(folder: &Path, base: &str) -> Result<()> {
    let note = TrainedOn { base: base.into() };
    let text = serde_json::to_string_pretty(&note).map_err(|e| Error::failed(e.to_string()))?;
    io::write(&folder.join(FILE), (text + "\n").as_bytes())
}

/// Says on stderr, in one line, when the adapter in `folder` was trained on another base than the one whose `base_id` `base` gives. An
/// adapter without a note is passed over, and `base` is not called.
pub fn warn_of_other_base(folder: &Path, base: impl FnOnce() -> Result<String>) -> Result<()> {
    if let Some(warning) = other_base(folder, base)? {
        eprintln!("{warning}");
    }
    Ok(())
}

fn other_base(folder: &Path, base: impl FnOnce() -> Result<String>) -> Result<Option<String>> {
    let path = folder.join(FILE);
    if !path.is_file() {
        return Ok(None);
    }
    let text = io::read_text(&path)?;
    let TrainedOn { base: noted } =
        serde_json::from_str(&text).map_err(|e| Error::input(format!("{}: {e}", path.display())))?;
    let base = base()?;
    // a folder may be called otherwise and hold the same
    let digest = |id: &str| id.rsplit_once('@').map_or(id, |(_, digest)| digest).to_string();
    let other = digest(&noted) != digest(&base);
    Ok(other.then(|| format!("warning: {} was trained on {noted}, not on {base}", folder.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_adapter_that_names_another_base_is_warned_of() {
        let folder = tempfile::tempdir().unwrap();
        let warned = |base: &str| other_base(folder.path(), || Ok(base.into())).unwrap();
        assert_eq!(other_base(folder.path(), || Err(Error::failed("not asked for"))).unwrap(), None);
        note_base(folder.path(), "embedded@0123456789ab").unwrap();
        assert_eq!(warned("embedded@0123456789ab"), None);
        assert_eq!(warned("embedded-small@0123456789ab"), None, "the same files under another name");
        let warning = warned("embedded@ba9876543210").unwrap();
        assert!(warning.contains("trained on embedded@0123456789ab, not on embedded@ba9876543210"), "{warning}");
        std::fs::write(folder.path().join("base.json"), "{").unwrap();
        assert_eq!(other_base(folder.path(), || Ok("a".into())).unwrap_err().exit_code(), 2);
    }
}

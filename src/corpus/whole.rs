//! Files that are whole or not there: written beside the final name, then renamed; and their checksums.
use crate::error::{Error, Result};
use sha2::{Digest, Sha256};
use std::io::Write;
use std::path::Path;

/// Writes `bytes` under `path`, which never holds a part of them.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_with(path, |file| file.write_all(bytes).map_err(Error::io(path)))
}

/// As [`write()`], with the bytes produced by `fill`. When `fill` fails nothing is left behind.
pub fn write_with(path: &Path, fill: impl FnOnce(&mut std::fs::File) -> Result<()>) -> Result<()> {
    let options = std::fs::File::options().read(true).write(true).create(true).truncate(true).clone();
    write_beside(path, |beside| fill(&mut options.open(beside).map_err(Error::io(path))?))
}

/// Lets `write` write the file at the path that it is given, beside `path`, and renames it: `path` appears whole or not at all, and nothing
/// else is left.
pub fn write_beside<T>(path: &Path, write: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    let name = path.file_name().ok_or_else(|| Error::input(format!("not a file name: {}", path.display())))?;
    let beside = path.with_file_name(format!(".{}.{}.tmp", name.to_string_lossy(), std::process::id()));
    let done = write(&beside).and_then(|made| {
        let synced = std::fs::File::open(&beside).and_then(|file| file.sync_all());
        synced.and_then(|()| std::fs::rename(&beside, path)).map_err(Error::io(path)).map(|()| made)
    });
    if done.is_err() {
        let _ = std::fs::remove_file(&beside); // the first error is the one to tell
    }
    done
}

/// Removes what killed processes left of [`write_beside`] in `folder` and below. For folders that no other process writes to.
pub fn remove_leftovers(folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        let is_folder = std::fs::symlink_metadata(&path).map_err(Error::io(&path))?.is_dir();
        match (is_leftover(&path), is_folder) {
            (true, true) => std::fs::remove_dir_all(&path).map_err(Error::io(&path))?,
            (true, false) => std::fs::remove_file(&path).map_err(Error::io(&path))?,
            (false, true) => remove_leftovers(&path)?,
            (false, false) => {}
        }
    }
    Ok(())
}

/// `.NAME.PROCESS.tmp`
fn is_leftover(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let middle = name.strip_prefix('.').and_then(|name| name.strip_suffix(".tmp"));
    let process = middle.and_then(|name| name.rsplit_once('.'));
    process.is_some_and(|(_, id)| !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit()))
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// SHA-256 of a file, hex.
pub fn sha256(path: &Path) -> Result<String> {
    let mut file = std::fs::File::open(path).map_err(Error::io(path))?;
    sha256_of(&mut file).map_err(Error::io(path))
}

/// SHA-256 of the rest of a stream, hex.
pub fn sha256_of(reader: &mut impl std::io::Read) -> std::io::Result<String> {
    let mut hash = Sha256::new();
    std::io::copy(reader, &mut hash)?;
    Ok(hex(&hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write(&path, b"old").unwrap();
        let failed = write_with(&path, |file| {
            file.write_all(b"half").unwrap();
            Err(Error::failed("cut off"))
        });
        assert!(failed.is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(sha256(&path).unwrap(), "cba06b5736faf67e54b07b561eae94395e774c517a7d910a54369e1263ccfbd4");
    }
    #[test]
    fn what_a_kill_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("adapter");
        std::fs::create_dir_all(inner.join(".model.17.tmp/deep")).unwrap();
        for name in [".a.txt.4711.tmp", "a.txt", ".a.tmp", "a.1.tmp", ".gitignore"] {
            std::fs::write(inner.join(name), "x").unwrap();
        }
        remove_leftovers(folder.path()).unwrap();
        let mut left: Vec<_> = std::fs::read_dir(&inner).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, [".a.tmp", ".gitignore", "a.1.tmp", "a.txt"]);
    }
}

//! Files: written whole or not at all (beside the final name, then renamed), their checksums, and JSON with sorted keys, so that a file or a
//! specification can be named by its digest.
use crate::error::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

/// Writes `bytes` under `path`, which never holds a part of them; its folder is made if need be.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    }
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
    // what a link leads to is replaced, not the link; a device or a pipe is written to, as nothing can take its place
    let path = &std::fs::canonicalize(path).unwrap_or_else(|_| path.into());
    if std::fs::metadata(path).is_ok_and(|there| !there.is_file() && !there.is_dir()) {
        return write(path);
    }
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

pub const ZIP: &str = "a zip archive";
pub const WEB_PAGE: &str = "a web page";
pub const LFS_POINTER: &str = "a Git LFS pointer";

/// What a file is, by its first bytes, where it is something that people get in the place of a download.
pub fn stand_in(start: &[u8]) -> Option<&'static str> {
    let text = String::from_utf8_lossy(&start[..start.len().min(512)]).to_lowercase();
    let text = text.trim_start_matches(['\u{feff}', ' ', '\n', '\r', '\t']);
    if start.starts_with(b"PK\x03\x04") {
        Some(ZIP)
    } else if ["<!doctype html", "<html", "<?xml"].iter().any(|mark| text.starts_with(mark)) {
        Some(WEB_PAGE)
    } else {
        text.starts_with("version https://git-lfs.github.com/spec/").then_some(LFS_POINTER)
    }
}

/// As [`stand_in`], with what to do.
pub fn stand_in_advice(start: &[u8]) -> Option<&'static str> {
    Some(match stand_in(start)? {
        ZIP => "a zip archive: unpack it and give the file inside",
        WEB_PAGE => {
            "a web page (to log in, or of an error): the download gave a page of the site; download the file itself"
        }
        _ => "a Git LFS pointer, not the file that it stands for: run `git lfs pull`, or download the file itself",
    })
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

/// Writes JSON with sorted keys and two spaces, whole or not at all.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let value = sorted(to_value(value)?);
    write(path, format!("{value:#}\n").as_bytes())
}

/// Text of a file in UTF-8, without a byte-order mark. An error names the line and byte of what is not UTF-8, and the encoding where it
/// can be told. A Git LFS pointer or a web page in the file's place is named as that, unless the file's name says that it is markup.
pub fn read_text(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    note_read(path);
    let ending = path.extension().map(|end| end.to_string_lossy().to_lowercase()).unwrap_or_default();
    let markup = ["xml", "html", "htm", "svg"].contains(&ending.as_str());
    if let Some(advice) = stand_in_advice(&bytes).filter(|_| !markup) {
        return Err(Error::input(format!("{}: this is {advice}", path.display())));
    }
    text_of(bytes).map_err(|bad| Error::input(format!("{}{bad}", path.display())))
}

/// Appends the path of a text file that was read to the file that `DXLAB_READS` names, where it is set. The notebooks' runner sets it: so it knows
/// from which runs and data a figure was made. Whoever reads is not disturbed by a list that cannot be written.
fn note_read(path: &Path) {
    static LIST: OnceLock<Option<Mutex<File>>> = OnceLock::new();
    let open = || {
        let list = std::env::var_os("DXLAB_READS")?;
        File::options().append(true).create(true).open(list).ok().map(Mutex::new)
    };
    if let (Some(list), Ok(path)) = (LIST.get_or_init(open), std::path::absolute(path)) {
        let mut list = list.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = writeln!(list, "{}", path.display());
    }
}

/// Why bytes are not text that can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotText {
    /// Bytes before the first that is wrong; none where the file as a whole is of another kind.
    pub valid: Option<usize>,
    /// From 1, of that byte.
    line: usize,
    pub why: String,
}

impl std::fmt::Display for NotText {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self.valid {
            Some(_) => write!(f, " line {}: {}", self.line, self.why),
            None => write!(f, ": {}", self.why),
        }
    }
}

/// As [`read_text`], of bytes.
pub fn text_of(mut bytes: Vec<u8>) -> Result<String, NotText> {
    let whole = |why: &str| Err(NotText { valid: None, line: 1, why: why.into() });
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) || bytes.starts_with(&[0, 0, 0xfe, 0xff]) {
        return whole("encoded as UTF-16 or UTF-32 (its byte-order mark says so): save it as UTF-8");
    }
    if bytes.starts_with(b"\x1f\x8b") {
        return whole("compressed by gzip: unpack it (`gunzip`)");
    }
    if bytes.starts_with(b"PK\x03\x04") {
        return whole("a zip archive where text was expected: is it an .xlsx file under another ending?");
    }
    let mark = if bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    bytes.drain(..mark);
    if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
        let line = bytes[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
        return whole(&format!(
            "line {line} holds a zero byte: not text, or UTF-16 without a byte-order mark; save it as UTF-8, without such bytes"
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
        let (valid, bytes) = (error.utf8_error().valid_up_to(), error.as_bytes());
        let line = bytes[..valid].iter().filter(|b| **b == b'\n').count() + 1;
        let byte = bytes[valid];
        let latin = if byte >= 0xa0 { format!(", `{}` in Latin-1", char::from(byte)) } else { String::new() };
        let valid = mark + valid;
        let why = format!("byte {} (0x{byte:02x}{latin}) is not UTF-8: save the file as UTF-8", valid + 1);
        NotText { valid: Some(valid), line, why }
    })
}

/// Reads JSON into a type; an error names the file.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    parse_json(path, &read_text(path)?)
}

/// The JSON in the text of a file. An error names the file, and what lies in its place where it is a page, an archive or a pointer.
pub fn parse_json<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T> {
    let place = path.display();
    if text.trim().is_empty() {
        return Err(Error::input(format!("{place}: the file is empty: it was cut off, or never written; get it anew")));
    }
    serde_json::from_str(text).map_err(|error| match stand_in_advice(text.as_bytes()) {
        Some(what) => Error::input(format!("{place}: this is {what}")),
        None => Error::input(format!("{place}: not valid JSON: {error}")),
    })
}

/// SHA-256 in hex of the canonical JSON of a value: keys sorted, no spaces.
pub fn digest_json(value: &impl Serialize) -> Result<String> {
    Ok(digest_bytes(sorted(to_value(value)?).to_string().as_bytes()))
}

/// A number that a text alone decides, for a generator of random numbers or a fold: the first eight bytes of its SHA-256.
pub fn seed_of(text: &str) -> u64 {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(8).fold(0, |seed, &byte| seed << 8 | u64::from(byte))
}

/// SHA-256 in hex.
pub fn digest_bytes(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
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
    fn text_is_read_without_its_mark_and_other_encodings_are_named() {
        let read = |bytes: &[u8]| text_of(bytes.to_vec()).map_err(|bad| bad.to_string());
        assert_eq!(read("\u{feff}é,\u{feff}".as_bytes()), Ok("é,\u{feff}".into()));
        let utf16: Vec<u8> = "a,b".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(read(&[&[0xff, 0xfe], utf16.as_slice()].concat()).unwrap_err().contains("UTF-16"));
        assert!(read(&utf16).unwrap_err().contains("line 1 holds a zero byte"));
        assert!(read(b"a\nb\0c").unwrap_err().contains("line 2 holds a zero byte"));
        assert!(read(b"PK\x03\x04..").unwrap_err().contains("zip archive"));
        assert_eq!(
            read(b"a\nb\xe9c"),
            Err(" line 2: byte 4 (0xe9, `é` in Latin-1) is not UTF-8: save the file as UTF-8".into())
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        std::fs::write(&path, "\u{feff}[1]").unwrap();
        assert_eq!(read_json::<Vec<u8>>(&path).unwrap(), [1]);
    }

    #[cfg(unix)]
    #[test]
    fn links_and_devices_stay_what_they_are() {
        use std::os::unix::fs::{FileTypeExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        std::fs::write(&file, "old").unwrap();
        symlink(&file, &link).unwrap();
        write(&link, b"new").unwrap();
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
        write(Path::new("/dev/null"), b"gone").unwrap();
        assert!(std::fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    }

    #[test]
    fn json_is_read_back_and_its_folder_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a").join("b.json");
        write_json(&path, &json!({"b": 1, "a": [0.5]})).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\n  \"a\": [\n    0.5\n  ],\n  \"b\": 1\n}\n");
        assert_eq!(read_json::<Value>(&path).unwrap(), json!({"b": 1, "a": [0.5]}));
        std::fs::write(&path, "{").unwrap();
        assert!(read_json::<Value>(&path).unwrap_err().to_string().contains("b.json: not valid JSON: EOF"));
    }
}

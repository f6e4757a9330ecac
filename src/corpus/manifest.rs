//! The open corpora dxlab reads: where they come from, their checksums, licences and citations (`data/sources.toml`, built
//! into the crate), and which of them are present. Downloading is in `fetch`.
use crate::error::{Error, Result};
use crate::io;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::io::{Read, Seek};
use std::path::Path;

/// A corpus of others.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    pub name: String,
    pub title: String,
    pub holds: String,
    pub repository: String,
    pub commit: String,
    pub licence: String,
    pub citation: String,
    #[serde(rename = "file")]
    pub files: Vec<File>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Below `DXLAB_DATA`.
    pub path: String,
    pub sha256: String,
    /// ArmResult in order.
    pub urls: Vec<String>,
    /// Of a zip archive: what [`contents`] gives, for one that was packed anew.
    pub contents: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Absent,
    Verified,
    /// Something else lies under the name.
    Different,
}

/// Every known source.
pub fn sources() -> Result<Vec<Source>> {
    parse(include_str!("../../data/sources.toml"))
}

/// Sources from TOML in the form of `data/sources.toml`.
pub fn parse(text: &str) -> Result<Vec<Source>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Manifest {
        source: Vec<Source>,
    }
    let manifest: Manifest = toml::from_str(text).map_err(|e| Error::input(format!("source manifest: {e}")))?;
    Ok(manifest.source)
}

/// The source of that name.
pub fn source(name: &str) -> Result<Source> {
    let all = sources()?;
    let known = all.iter().map(|s| s.name.clone()).collect::<Vec<_>>().join(", ");
    let found = all.into_iter().find(|s| s.name == name);
    found.ok_or_else(|| Error::input(format!("no source is called `{name}`; known are {known}")))
}

impl File {
    /// What lies at this file's place below `dir`.
    pub fn state(&self, dir: &Path) -> Result<State> {
        let path = dir.join(&self.path);
        if !path.exists() {
            return Ok(State::Absent);
        }
        if io::sha256(&path)? == self.sha256 {
            return Ok(State::Verified);
        }
        let file = std::fs::File::open(&path).map_err(Error::io(&path))?;
        Ok(if self.same_contents(file) { State::Verified } else { State::Different })
    }

    /// True for an archive that was packed anew from the same files.
    pub fn same_contents(&self, archive: impl Read + Seek) -> bool {
        self.contents.as_ref().is_some_and(|wanted| contents(archive).is_ok_and(|found| &found == wanted))
    }
}

/// SHA-256 over `<sha256>  <folder/name>` of every .xml file of a zip archive, sorted by name, outer folders dropped.
pub fn contents(archive: impl Read + Seek) -> Result<String> {
    let bad = |e: &dyn std::fmt::Display| Error::input(format!("not a readable zip archive: {e}"));
    let mut zip = zip::ZipArchive::new(archive).map_err(|e| bad(&e))?;
    let mut lines = Vec::new();
    for i in 0..zip.len() {
        let mut entry = zip.by_index(i).map_err(|e| bad(&e))?;
        let name = inner(&String::from_utf8_lossy(entry.name_raw()));
        if name.ends_with(".xml") {
            let mut hash = Sha256::new();
            std::io::copy(&mut entry, &mut hash).map_err(|e| bad(&e))?;
            lines.push((name, io::hex(&hash.finalize())));
        }
    }
    lines.sort();
    let text: String = lines.into_iter().map(|(name, hash)| format!("{hash}  {name}\n")).collect();
    Ok(io::hex(&Sha256::digest(text)))
}

/// The last folder and the file name.
pub fn inner(name: &str) -> String {
    let mut parts: Vec<&str> = name.rsplitn(3, '/').take(2).collect();
    parts.reverse();
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::io::{Cursor, Write};

    #[test]
    fn every_source_is_pinned_and_says_whose_it_is() {
        let all = sources().unwrap();
        let names: BTreeSet<&str> = all.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names.len(), all.len());
        for source in &all {
            assert!(!source.licence.is_empty() && !source.citation.is_empty() && source.commit.len() >= 7);
            for file in &source.files {
                assert!(file.sha256.len() == 64 && file.path.starts_with(&source.name), "{}", file.path);
                assert!(file.urls.iter().all(|url| url.contains(&source.commit)), "{}", file.path);
            }
        }
        assert!(source("bc5cdr").is_ok());
        assert!(super::source("mimic").unwrap_err().to_string().contains("known are bc5cdr"));
    }

    #[test]
    fn an_archive_packed_anew_has_the_same_contents() {
        let pack = |outer: &str, names: [&str; 2]| {
            let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
            for name in names {
                zip.start_file(format!("{outer}{name}"), zip::write::SimpleFileOptions::default()).unwrap();
                zip.write_all(name.as_bytes()).unwrap();
            }
            zip.finish().unwrap()
        };
        let plain = contents(pack("", ["a/1.xml", "a/2.xml"])).unwrap();
        assert_eq!(plain, contents(pack("MedQuAD-577bd37/", ["a/2.xml", "a/1.xml"])).unwrap());
        assert_ne!(plain, contents(pack("", ["a/1.xml", "a/3.xml"])).unwrap());
        assert!(contents(Cursor::new(b"no zip".to_vec())).is_err());
    }
}

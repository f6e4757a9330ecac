//! GA4GH phenopackets: one JSON file a patient, in a file, a folder or a zip archive.
//!
//! Version 2 and version 1 are read: the first says `excluded`, the second `negated`, of a sign that was looked for and not found. What is
//! no phenopacket is named; nothing is left out in silence.
mod subject;

use crate::error::{Error, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use subject::Subject;

/// Bytes that a single phenopacket may have; the published ones have up to some hundred thousand.
const LIMIT: u64 = 32 << 20;

/// A term or a disease as a file gives it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Named {
    pub id: String,
    #[serde(default)]
    pub label: String,
}

/// A patient as published.
#[derive(Clone, Debug, PartialEq)]
pub struct Packet {
    pub id: String,
    /// The paper, `PMID:15266616`; none where the file names none.
    pub publication: Option<String>,
    /// `FEMALE`, `MALE`, or empty where it is not known.
    pub sex: String,
    /// Age at the last encounter in years.
    pub age: Option<f64>,
    pub diseases: Vec<Named>,
    pub observed: Vec<Named>,
    /// Looked for and not found.
    pub excluded: Vec<Named>,
}

impl Packet {
    /// What must not straddle a split: the publication, else the patient.
    pub fn group(&self) -> &str {
        self.publication.as_deref().unwrap_or(&self.id)
    }
}

/// The patients of a source, and what is odd about it (`file: …`).
#[derive(Clone, Debug, Default)]
pub struct Packets {
    pub packets: Vec<Packet>,
    pub warnings: Vec<String>,
    /// Patients that name no publication, and are groups of their own.
    pub loose: usize,
}

impl Packets {
    /// The store of published cases in the folder of open data.
    pub fn store(data: &Path) -> Result<Self> {
        Self::read(&data.join("phenopacket-store").join("all_phenopackets.zip"))
    }

    /// A file (`.json`), a folder with such files at any depth, or a zip archive with such files, in the order of their names.
    ///
    /// Of several files those that are broken, or whose patient has the id of an earlier one, are left out with a warning. Fails where there is no phenopacket
    /// and where the one file is broken.
    pub fn read(path: &Path) -> Result<Self> {
        let files: Vec<(String, Vec<u8>)> = if path.is_dir() {
            folder(path)?
        } else if path.extension().is_some_and(|end| end.eq_ignore_ascii_case("zip")) {
            archive(path)?
        } else {
            vec![(path.display().to_string(), std::fs::read(path).map_err(Error::io(path))?)]
        };
        let mut all = Self::default();
        let mut seen: BTreeMap<String, String> = BTreeMap::new();
        let single = files.len() == 1;
        for (name, bytes) in files {
            let read = match packet(&bytes) {
                Ok(read) => read,
                Err(why) if single => return Err(Error::input(format!("{name}: {why}"))),
                Err(why) => {
                    all.warnings.push(format!("{name}: {why}; left out"));
                    continue;
                }
            };
            match read {
                Ok((one, unread)) => {
                    if let Some(first) = seen.get(&one.id) {
                        all.warnings.push(format!("{name}: patient `{}` is in {first} already; left out", one.id));
                        continue;
                    }
                    seen.insert(one.id.clone(), name.clone());
                    all.warnings.extend(unread.into_iter().map(|what| format!("{name}: {what}")));
                    all.warnings.extend(odd(&one).map(|what| format!("{name}: {what}")));
                    all.loose += usize::from(one.publication.is_none());
                    all.packets.push(one);
                }
                Err(other) => all.warnings.push(format!("{name}: {other}; left out")),
            }
        }
        if all.packets.is_empty() {
            let found = all.warnings.first().map_or(String::new(), |warning| format!(" ({warning})"));
            return Err(Error::input(format!(
                "{}: no phenopacket in it: expected JSON files of GA4GH phenopackets{found}",
                path.display()
            )));
        }
        Ok(all)
    }
}

fn odd(packet: &Packet) -> impl Iterator<Item = String> {
    let none = packet.observed.is_empty().then(|| "no observed sign: nothing can be ranked by it".to_string());
    let undiagnosed = packet.diseases.is_empty().then(|| "no disease: it can be ranked and not scored".to_string());
    none.into_iter().chain(undiagnosed)
}

fn folder(path: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut open: Vec<PathBuf> = vec![path.into()];
    let mut files: Vec<PathBuf> = vec![];
    while let Some(at) = open.pop() {
        for entry in std::fs::read_dir(&at).map_err(Error::io(&at))? {
            let entry = entry.map_err(Error::io(&at))?.path();
            if entry.is_dir() {
                open.push(entry);
            } else if entry.extension().is_some_and(|end| end.eq_ignore_ascii_case("json")) && !is_fork(&entry) {
                files.push(entry);
            }
        }
    }
    files.sort();
    let read = |file: PathBuf| Ok((file.display().to_string(), std::fs::read(&file).map_err(Error::io(&file))?));
    files.into_iter().map(read).collect()
}

/// What macOS writes beside a file (`._patient.json`): no file of its own.
fn is_fork(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("._"))
}

fn archive(path: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let broken = |e: zip::result::ZipError| {
        Error::input(format!("{}: {e}: the archive is cut off or broken; get it anew", path.display()))
    };
    let mut zip = zip::ZipArchive::new(std::fs::File::open(path).map_err(Error::io(path))?).map_err(broken)?;
    let mut files = vec![];
    for i in 0..zip.len() {
        let file = zip.by_index(i).map_err(broken)?;
        let inside = file.name().map_err(broken)?.into_owned();
        let name = format!("{}: {inside}", path.display());
        if !file.is_file() || !inside.to_lowercase().ends_with(".json") || is_fork(Path::new(&inside)) {
            continue;
        }
        if file.size() > LIMIT {
            return Err(Error::input(format!("{name}: {} bytes, more than a phenopacket has", file.size())));
        }
        let mut bytes = Vec::with_capacity(file.size() as usize);
        file.take(LIMIT).read_to_end(&mut bytes).map_err(|e| Error::input(format!("{name}: {e}: broken archive")))?;
        files.push((name, bytes));
    }
    files.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(files)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    #[serde(default)]
    id: String,
    subject: Option<Subject>,
    phenotypic_features: Option<Vec<Feature>>,
    interpretations: Option<Vec<Interpretation>>,
    diseases: Option<Vec<DiseaseEntry>>,
    meta_data: Option<MetaData>,
}

#[derive(Deserialize)]
struct Feature {
    #[serde(rename = "type")]
    kind: Option<Named>,
    excluded: Option<bool>,
    negated: Option<bool>,
}

#[derive(Deserialize)]
struct Interpretation {
    diagnosis: Option<Diagnosis>,
}

#[derive(Deserialize)]
struct Diagnosis {
    disease: Option<Named>,
}

#[derive(Deserialize)]
struct DiseaseEntry {
    term: Option<Named>,
    excluded: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MetaData {
    external_references: Option<Vec<Reference>>,
}

#[derive(Deserialize)]
struct Reference {
    id: Option<String>,
    reference: Option<String>,
}

/// `PMID:15266616` of that, in whatever letter case and with spaces, or of a link to PubMed.
fn pubmed(text: &str) -> Option<String> {
    let lower = text.trim().to_lowercase();
    let number = match lower.strip_prefix("pmid") {
        Some(rest) => rest.trim_start_matches([':', '_', ' ']),
        None if lower.contains("pubmed") => lower.split(['?', '#']).next()?.trim_end_matches('/').rsplit('/').next()?,
        None => return None,
    };
    let digits = number.trim().trim_end_matches('/');
    (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())).then(|| format!("PMID:{digits}"))
}

/// A patient and what could not be read of it; or, inside, what a JSON file is that is no phenopacket. An error is a broken file.
#[allow(clippy::type_complexity)]
fn packet(bytes: &[u8]) -> Result<Result<(Packet, Vec<String>), String>, String> {
    if let Some(advice) = crate::io::stand_in_advice(bytes) {
        return Err(advice.into());
    }
    let value = json(bytes).map_err(|e| format!("no JSON: {e}"))?;
    if !is_packet(&value) {
        let what = match several_persons(&value) {
            Some(key) => format!("a phenopacket of several persons (`{key}`): give one file for each patient"),
            None if value.as_array().is_some_and(|all| all.iter().any(is_packet)) => {
                "a list of phenopackets: give one file for each patient".into()
            }
            None => "not a phenopacket (neither `subject` nor `phenotypicFeatures`)".into(),
        };
        return Ok(Err(what));
    }
    let raw: Raw = serde_json::from_value(value).map_err(|e| format!("a broken phenopacket: {e}"))?;
    if raw.id.trim().is_empty() {
        return Err("a broken phenopacket: no `id`".into());
    }
    let (mut observed, mut excluded) = (vec![], vec![]);
    for (i, feature) in raw.phenotypic_features.unwrap_or_default().into_iter().enumerate() {
        let term =
            feature.kind.ok_or_else(|| format!("a broken phenopacket: phenotypic feature {} has no `type`", i + 1))?;
        let denied = feature.excluded.or(feature.negated).unwrap_or(false);
        let list = if denied { &mut excluded } else { &mut observed };
        if !list.contains(&term) {
            list.push(term);
        }
    }
    let entries = raw.diseases.unwrap_or_default().into_iter().filter(|one| one.excluded != Some(true));
    let diagnosed = raw.interpretations.unwrap_or_default().into_iter().filter_map(|one| one.diagnosis?.disease);
    let mut diseases: Vec<Named> = vec![];
    for one in diagnosed.chain(entries.filter_map(|one| one.term)) {
        if !diseases.iter().any(|known| known.id == one.id) {
            diseases.push(one);
        }
    }
    let references = raw.meta_data.and_then(|data| data.external_references).unwrap_or_default();
    let of = |text: &Option<String>| text.as_deref().and_then(pubmed);
    let publication = references.iter().find_map(|one| of(&one.id).or_else(|| of(&one.reference)));
    let subject = raw.subject.unwrap_or_default();
    let (sex, age, unread) = subject.read();
    let packet = Packet { id: raw.id, publication, sex: sex.into(), age, diseases, observed, excluded };
    Ok(Ok((packet, unread)))
}

/// Whether an object is a phenopacket of one patient. Programs that write protobuf as JSON leave empty lists out, so that no single key has
/// to be there.
pub fn is_packet(value: &serde_json::Value) -> bool {
    let has = |key: &str| value.get(key).is_some();
    let version = value.pointer("/metaData/phenopacketSchemaVersion").is_some();
    several_persons(value).is_none()
        && (has("subject") || has("phenotypicFeatures") || (has("id") && (version || has("interpretations"))))
}

/// The key by which an object is a family or a cohort, which holds several patients.
pub fn several_persons(value: &serde_json::Value) -> Option<&'static str> {
    let nested = |key: &str| value.get(key).is_some_and(|inner| inner.is_object() || inner.is_array());
    ["family", "cohort", "proband", "members", "relatives"].into_iter().find(|key| nested(key))
}

/// A file's JSON, with or without a byte-order mark.
pub fn json(bytes: &[u8]) -> serde_json::Result<serde_json::Value> {
    serde_json::from_slice(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const TWO: &str = r#"{"id":"p1","subject":{"id":"1","sex":"MALE","timeAtLastEncounter":{"age":{"iso8601duration":"P5Y6M"}}},
        "phenotypicFeatures":[{"type":{"id":"HP:2","label":"Seizure"}},{"type":{"id":"HP:2","label":"Seizure"}},
        {"type":{"id":"HP:6","label":"Short stature"},"excluded":true}],
        "interpretations":[{"diagnosis":{"disease":{"id":"OMIM:1","label":"Epilepsy"}}}],
        "diseases":[{"term":{"id":"OMIM:1","label":"Epilepsy"}},{"term":{"id":"OMIM:9","label":"no"},"excluded":true}],
        "metaData":{"externalReferences":[{"id":"PMID:7"}],"phenopacketSchemaVersion":"2.0"}}"#;

    #[test]
    fn a_patient_is_read_once_with_what_was_excluded() {
        let (one, unread) = packet(TWO.as_bytes()).unwrap().unwrap();
        assert!(unread.is_empty());
        assert_eq!((one.id.as_str(), one.group(), one.sex.as_str(), one.age), ("p1", "PMID:7", "MALE", Some(5.5)));
        assert_eq!(one.observed.iter().map(|t| t.id.as_str()).collect::<Vec<_>>(), ["HP:2"]);
        assert_eq!(one.excluded.iter().map(|t| t.id.as_str()).collect::<Vec<_>>(), ["HP:6"]);
        assert_eq!(one.diseases.iter().map(|d| d.id.as_str()).collect::<Vec<_>>(), ["OMIM:1"]);
    }

    #[test]
    fn negated_of_version_1_means_excluded() {
        let old = TWO.replacen("\"excluded\":true}],", "\"negated\":true}],", 1).replace("\"2.0\"", "\"1.0.0\"");
        assert_eq!(packet(old.as_bytes()).unwrap().unwrap(), packet(TWO.as_bytes()).unwrap().unwrap());
    }

    #[test]
    fn an_archive_may_hold_other_files_and_a_broken_packet_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.zip");
        let pack = |files: &[(&str, &str)]| {
            let mut zip = zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
            for (name, text) in files {
                zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
                zip.write_all(text.as_bytes()).unwrap();
            }
            zip.finish().unwrap();
        };
        pack(&[("README.md", "hello"), ("x/p1.json", TWO), ("cohort.json", r#"{"id":"c","members":[]}"#)]);
        let all = Packets::read(&path).unwrap();
        assert_eq!(all.packets.len(), 1);
        assert!(all.warnings[0].contains("cohort.json: a phenopacket of several persons"), "{:?}", all.warnings);
        pack(&[("p1.json", TWO), ("p2.json", &TWO[..200])]);
        let warned = || Packets::read(&path).map(|all| (all.packets.len(), all.warnings[0].clone())).unwrap();
        assert!(warned().0 == 1 && warned().1.contains("p2.json: no JSON: ") && warned().1.ends_with("left out"));
        pack(&[("p1.json", TWO), ("p2.json", TWO)]);
        assert!(warned().0 == 1 && warned().1.contains("patient `p1` is in "));
        pack(&[("p2.json", &TWO[..200])]);
        assert!(
            Packets::read(&path).unwrap_err().to_string().contains("p2.json: no JSON: "),
            "one file alone is an error"
        );
        pack(&[("notes.txt", "x")]);
        assert!(Packets::read(&path).unwrap_err().to_string().contains("no phenopacket in it"));
        std::fs::write(&path, "PK").unwrap();
        assert!(Packets::read(&path).unwrap_err().to_string().contains("cut off or broken"));
    }

    #[test]
    fn a_patient_without_signs_is_told() {
        let bare = r#"{"id":"p","subject":{"id":"1"},"diseases":[]}"#;
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("p.json"), bare).unwrap();
        let read = Packets::read(dir.path()).unwrap();
        let warnings = read.warnings.join("\n");
        assert!(warnings.contains("no observed sign") && warnings.contains("no disease"), "{warnings}");
        assert_eq!(read.loose, 1);
    }

    #[test]
    fn what_programs_write_around_a_packet_is_read() {
        let marked = [&b"\xef\xbb\xbf"[..], TWO.as_bytes()].concat();
        assert_eq!(packet(&marked).unwrap().unwrap(), packet(TWO.as_bytes()).unwrap().unwrap());
        let bare = r#"{"id":"p","interpretations":[],"metaData":{"phenopacketSchemaVersion":"2.0"}}"#;
        assert_eq!(packet(bare.as_bytes()).unwrap().unwrap().0.id, "p", "empty lists are left out by protobuf");
        let range = TWO.replace(
            r#""age":{"iso8601duration":"P5Y6M"}"#,
            r#""ageRange":{"start":{"iso8601duration":"P4Y"},"end":{"iso8601duration":"P6Y"}}"#,
        );
        assert_eq!(packet(range.as_bytes()).unwrap().unwrap().0.age, Some(5.0));
        let odd = TWO.replace("P5Y6M", "5 years");
        let (one, unread) = packet(odd.as_bytes()).unwrap().unwrap();
        assert!(one.age.is_none() && unread[0].contains("the age `5 years`"), "{unread:?}");
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("._p1.json"), b"\0\x05\x16\x07").unwrap();
        std::fs::write(dir.path().join("p1.json"), TWO).unwrap();
        assert_eq!(Packets::read(dir.path()).unwrap().packets.len(), 1, "a fork of macOS is no packet");
        std::fs::write(dir.path().join("p1.json"), r#"{"id":"f","proband":{},"relatives":[]}"#).unwrap();
        let said = Packets::read(dir.path()).unwrap_err().to_string();
        assert!(said.contains("several persons (`proband`)"), "{said}");
        let relatives = r#"{"id":"f","subject":{"id":"1"},"relatives":[]}"#;
        assert!(packet(relatives.as_bytes()).unwrap().unwrap_err().contains("several persons (`relatives`)"));
    }

    #[test]
    fn a_publication_is_known_however_it_is_written() {
        for id in [
            "PMID:7",
            "pmid:7",
            "PMID: 7",
            " PMID 7",
            "https://pubmed.ncbi.nlm.nih.gov/7/",
            "https://www.ncbi.nlm.nih.gov/pubmed/7",
            "https://pubmed.ncbi.nlm.nih.gov/7/?from_term=x",
            "https://pubmed.ncbi.nlm.nih.gov/7#abstract",
        ] {
            let file = TWO.replace(r#"{"id":"PMID:7"}"#, &format!(r#"{{"id":"DOI:1"}},{{"id":"{id}"}}"#));
            assert_eq!(packet(file.as_bytes()).unwrap().unwrap().0.publication.as_deref(), Some("PMID:7"), "{id}");
        }
        let link = TWO.replace(r#"{"id":"PMID:7"}"#, r#"{"id":"x","reference":"https://pubmed.ncbi.nlm.nih.gov/7"}"#);
        assert_eq!(packet(link.as_bytes()).unwrap().unwrap().0.group(), "PMID:7");
        assert_eq!(pubmed("PMC123"), None);
        assert_eq!(pubmed("https://pubmed.ncbi.nlm.nih.gov/"), None);
    }

    /// Reads the published cases where they are at hand.
    #[test]
    fn the_store_has_the_cases_that_its_description_counts() {
        let Some(data) = std::env::var_os("DXLAB_DATA") else { return };
        let all = Packets::store(Path::new(&data)).unwrap();
        let publications: std::collections::BTreeSet<&str> = all.packets.iter().map(|one| one.group()).collect();
        assert_eq!((all.packets.len(), publications.len()), (10_580, 1_790));
        assert_eq!(all.packets.iter().filter(|one| one.observed.is_empty()).count(), 3);
    }
}

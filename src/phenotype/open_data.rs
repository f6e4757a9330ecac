//! What open corpora add to the annotation file: the Disease Ontology's cross references between OMIM and Orphanet, its synonyms and
//! definitions, and the descriptions of GARD in MedQuAD.
use super::library::Library;
use crate::error::{Error, Result};
use quick_xml::events::Event;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;

/// See the file's header. Ids are OMIM's (`OMIM:154700`).
#[derive(Clone, Debug, Default)]
pub struct OpenData {
    /// `(ORPHA:558, OMIM:154700)`.
    pub cross_references: Vec<(String, String)>,
    pub synonyms: BTreeMap<String, Vec<String>>,
    pub descriptions: BTreeMap<String, String>,
}

impl OpenData {
    /// From the folder that `DXLAB_DATA` names; empty where it is not set. A corpus that is not there adds nothing.
    pub fn from_env() -> Result<Self> {
        match std::env::var_os("DXLAB_DATA").filter(|path| !path.is_empty()) {
            Some(data) => Self::read(Path::new(&data)),
            None => Ok(Self::default()),
        }
    }

    /// From the layout of `DXLAB_DATA`.
    pub fn read(data: &Path) -> Result<Self> {
        let ontology = data.join("disease-ontology");
        let mut all = Self::default();
        let (table, obo) = (ontology.join("allXREFinDO.tsv"), ontology.join("DO_rare_slim.obo"));
        if !table.is_file() {
            return Ok(all);
        }
        let links = Links::parse(&crate::io::read_text(&table)?)
            .map_err(|why| Error::input(format!("{} {why}", table.display())))?;
        all.cross_references = links.pairs("ORDO", "ORPHA");
        if obo.is_file() {
            all.add_ontology(&links, &crate::io::read_text(&obo)?);
        }
        let medquad = data.join("medquad").join("medquad.zip");
        if medquad.is_file() {
            all.add_medquad(&links, &medquad)?;
        }
        Ok(all)
    }

    /// Gives the library the Orphanet rows of its candidates; how many pairs were used.
    pub fn link(&self, library: &mut Library) -> usize {
        library.add_cross_references(&self.cross_references)
    }

    fn add_ontology(&mut self, links: &Links, obo: &str) {
        let mut omim: Option<String> = None;
        for line in obo.lines() {
            if let Some(id) = line.strip_prefix("id: ") {
                omim = links.only_omim(id.trim());
            }
            let Some(id) = &omim else { continue };
            let quoted = || line.split('"').nth(1).unwrap_or_default().to_string();
            if let Some(name) = line.strip_prefix("name: ") {
                self.synonyms.entry(id.clone()).or_default().push(name.trim().into());
            } else if line.starts_with("synonym: ") && line.contains("\" EXACT") {
                self.synonyms.entry(id.clone()).or_default().push(quoted());
            } else if line.starts_with("def: ") {
                self.describe(id, &quoted().replace('_', " "));
            }
        }
    }

    fn describe(&mut self, id: &str, text: &str) {
        let description = self.descriptions.entry(id.into()).or_default();
        description.push_str(text);
        description.push(' ');
    }

    /// Descriptions and synonyms of GARD, by the number in the page's address.
    fn add_medquad(&mut self, links: &Links, path: &Path) -> Result<()> {
        let broken = |what: String| Error::input(format!("{}: {what}", path.display()));
        let file = std::fs::File::open(path).map_err(Error::io(path))?;
        let mut zip = zip::ZipArchive::new(file).map_err(|e| broken(e.to_string()))?;
        let gard = links.by_number("GARD");
        for i in 0..zip.len() {
            let mut file = zip.by_index(i).map_err(|e| broken(e.to_string()))?;
            let name = file.name().map_err(|e| broken(e.to_string()))?.into_owned();
            if !name.contains("GARD") || !name.ends_with(".xml") {
                continue;
            }
            let mut text = String::new();
            file.read_to_string(&mut text).map_err(|e| broken(format!("{name}: {e}")))?;
            let page = Page::parse(&text).map_err(|e| broken(format!("{name}: {e}")))?;
            for id in gard.get(&page.number).into_iter().flatten() {
                self.describe(id, &page.text);
                self.synonyms.entry(id.clone()).or_default().extend(page.names.iter().cloned());
            }
        }
        Ok(())
    }
}

/// Which ids of other vocabularies each entry of the Disease Ontology has.
struct Links(BTreeMap<String, Vec<(String, String)>>);

impl Links {
    /// Lines `"DOID:1" "name" "MIM:154700"` with tabs under a header.
    fn parse(table: &str) -> Result<Self, String> {
        let mut all: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
        for (i, line) in table.lines().enumerate().skip(1).filter(|(_, line)| !line.trim().is_empty()) {
            let fields: Vec<&str> = line.split('\t').map(|field| field.trim().trim_matches('"')).collect();
            let [id, _, other] = fields[..] else {
                return Err(format!(
                    "row {}: expected id, label and xref with tabs, got {} fields",
                    i + 1,
                    fields.len()
                ));
            };
            if let Some((vocabulary, number)) = other.split_once(':') {
                all.entry(id.into()).or_default().push((vocabulary.into(), number.into()));
            }
        }
        Ok(Self(all))
    }

    /// The OMIM id of an entry that has exactly one: an entry with several is a family of diseases.
    fn only_omim(&self, id: &str) -> Option<String> {
        let all: BTreeSet<&String> = self.0.get(id)?.iter().filter(|one| one.0 == "MIM").map(|one| &one.1).collect();
        (all.len() == 1).then(|| format!("OMIM:{}", all.into_iter().next().map_or("", String::as_str)))
    }

    fn pairs(&self, vocabulary: &str, prefix: &str) -> Vec<(String, String)> {
        let mut pairs = vec![];
        for (id, others) in &self.0 {
            let Some(omim) = self.only_omim(id) else { continue };
            let of = others.iter().filter(|one| one.0 == vocabulary);
            pairs.extend(of.map(|one| (format!("{prefix}:{}", one.1), omim.clone())));
        }
        pairs
    }

    fn by_number(&self, vocabulary: &str) -> BTreeMap<String, Vec<String>> {
        let mut map: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (number, omim) in self.pairs(vocabulary, "") {
            map.entry(number.trim_start_matches([':', '0']).into()).or_default().push(omim);
        }
        map
    }
}

/// A page of GARD.
#[derive(Debug, Default, PartialEq)]
struct Page {
    /// `363` of `…/gard/363/acatalasemia`.
    number: String,
    names: Vec<String>,
    /// Answers about the disease itself and its signs.
    text: String,
}

impl Page {
    fn parse(xml: &str) -> Result<Self, String> {
        let mut reader = quick_xml::Reader::from_str(xml);
        let (mut page, mut tag, mut told) = (Self::default(), String::new(), false);
        loop {
            match reader.read_event().map_err(|e| e.to_string())? {
                Event::Eof => return Ok(page),
                Event::Start(start) => {
                    tag = start.name().as_ref().to_string();
                    let attribute = |name: &str| {
                        let found = start.attributes().flatten().find(|one| one.key.as_ref() == name)?;
                        Some(found.value.to_string())
                    };
                    if let (true, Some(address)) = (tag == "Document", attribute("url")) {
                        let number = address
                            .split('/')
                            .find(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
                        page.number = number.unwrap_or_default().trim_start_matches('0').into();
                    }
                    if tag == "Question" {
                        told = matches!(attribute("qtype").as_deref(), Some("information" | "symptoms"));
                    }
                }
                Event::End(_) => tag.clear(),
                Event::Text(text) => {
                    let text = text.trim().to_string();
                    match tag.as_str() {
                        "Focus" | "Synonym" if !text.is_empty() => page.names.push(text),
                        "Answer" if told => page.text.push_str(&signs_only(&text)),
                        _ => {}
                    }
                }
                _ => {}
            }
        }
    }
}

/// Without the sentences that stand in every page around its table of signs.
fn signs_only(text: &str) -> String {
    let table = text.split_once("(when available)").map_or(text, |(_, table)| table);
    let table = table.split_once("The Human Phenotype Ontology (HPO) has collected").map_or(table, |(table, _)| table);
    format!("{} ", table.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_with_one_id_link_and_families_do_not() {
        let table = "id\tlabel\txref\n\"DOID:1\"\t\"a\"\t\"MIM:10\"\n\"DOID:1\"\t\"a\"\t\"ORDO:5\"\n\"DOID:1\"\t\"a\"\t\"GARD:007\"\n\
                     \"DOID:2\"\t\"b\"\t\"MIM:11\"\n\"DOID:2\"\t\"b\"\t\"MIM:12\"\n\"DOID:2\"\t\"b\"\t\"ORDO:6\"\n";
        let links = Links::parse(table).unwrap();
        assert_eq!(links.pairs("ORDO", "ORPHA"), [("ORPHA:5".to_string(), "OMIM:10".to_string())]);
        assert_eq!(links.by_number("GARD")["7"], ["OMIM:10"]);
        assert!(Links::parse("h\nx\ty\n").is_err_and(|why| why.contains("row 2")));
        let mut data = OpenData::default();
        data.add_ontology(&links, "[Term]\nid: DOID:1\nname: A\ndef: \"has_symptom fits.\" []\nsynonym: \"AA\" EXACT []\nsynonym: \"B\" BROAD []\n");
        assert_eq!(data.synonyms["OMIM:10"], ["A", "AA"]);
        assert_eq!(data.descriptions["OMIM:10"], "has symptom fits. ");
    }

    #[test]
    fn a_page_gives_its_number_names_and_signs() {
        let xml = r#"<?xml version="1.0"?><Document id="1" source="GARD" url="https://x.gov/gard/0363/a"><Focus>A disease</Focus>
            <Synonyms><Synonym>Also A</Synonym></Synonyms><QAPairs><QAPair><Question qtype="symptoms">?</Question>
            <Answer>What? Patients (when available) Oral ulcer - The Human Phenotype Ontology (HPO) has collected more</Answer></QAPair>
            <QAPair><Question qtype="treatment">?</Question><Answer>Rest</Answer></QAPair></QAPairs></Document>"#;
        let page = Page::parse(xml).unwrap();
        assert_eq!((page.number.as_str(), page.names.len()), ("363", 2));
        assert_eq!(page.text, "Oral ulcer - ");
    }
}

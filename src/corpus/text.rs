//! Open medical text for pretraining, read from the layout of `DXLAB_DATA`: MedQuAD, ACI-Bench, and the training and development
//! abstracts of BC5CDR and NCBI disease. No test abstract of either is among them, nor is any document twice.
use super::{Finding, pubtator};
use crate::error::{Error, Result};
use quick_xml::Reader;
use quick_xml::events::Event;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;

/// One text of one source.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    pub source: &'static str,
    pub id: String,
    /// What was asked, where the source is questions and answers.
    pub question: Option<String>,
    pub text: String,
    /// What the corpus marks in it ("diseases"), in lower case, where it marks something.
    pub names: Option<(&'static str, Vec<String>)>,
}

impl Document {
    fn is_abstract(&self) -> bool {
        matches!(self.source, "BC5CDR" | "NCBI disease")
    }
    /// True for about one document in fifty, by a digest of source and id: never trained on.
    pub fn held_out(&self) -> bool {
        Sha256::digest(format!("{}/{}", self.source, self.id))[0] < 5
    }
}

/// Every document of every source in `dir`, in a fixed order.
pub fn documents(dir: &Path) -> Result<Vec<Document>> {
    let mut all = medquad(&dir.join("medquad/medquad.zip"))?;
    for file in ["train", "valid"] {
        all.extend(aci_bench(&dir.join(format!("aci-bench/{file}.csv")))?);
    }
    for file in ["CDR_TrainingSet.PubTator.txt", "CDR_DevelopmentSet.PubTator.txt"] {
        all.extend(abstracts("BC5CDR", &dir.join("bc5cdr").join(file))?);
    }
    for file in ["NCBItrainset_corpus.txt", "NCBIdevelopset_corpus.txt"] {
        all.extend(abstracts("NCBI disease", &dir.join("ncbi-disease").join(file))?);
    }
    // an abstract that is training text in one corpus may be a test case in the other, and NCBI has one twice
    let (test, mut seen) = (pubtator::test_ids(dir)?, BTreeSet::new());
    all.retain(|d| !(d.is_abstract() && test.contains(&d.id)) && seen.insert((d.source, d.id.clone())));
    Ok(all)
}

/// Answered questions of the zip's XML files; those without an answer (removed for copyright) are passed over.
fn medquad(path: &Path) -> Result<Vec<Document>> {
    let bad = |what: String| {
        Error::input(format!("{}: {what}; fetch it again with `dxlab data fetch medquad`", path.display()))
    };
    let file = std::fs::File::open(path).map_err(Error::io(path))?;
    let mut zip = zip::ZipArchive::new(file).map_err(|e| bad(e.to_string()))?;
    let names = zip.file_names().collect::<Result<Vec<_>, _>>().map_err(|e| bad(e.to_string()))?;
    let mut names: Vec<String> = names.into_iter().filter(|n| n.ends_with(".xml")).map(|n| n.into_owned()).collect();
    // the project's own archive has a folder around everything
    let id =
        |name: &str| name.rsplitn(3, '/').take(2).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("/");
    names.sort_by_key(|name| id(name));
    let mut all = Vec::new();
    for name in names {
        let mut xml = String::new();
        let mut entry = zip.by_name(&name).map_err(|e| bad(format!("{name}: {e}")))?;
        entry.read_to_string(&mut xml).map_err(|e| bad(format!("{name}: {e}")))?;
        let pairs = answered(&xml).map_err(|e| bad(format!("{name}: {e}")))?;
        all.extend(pairs.into_iter().enumerate().map(|(i, (question, text))| Document {
            source: "MedQuAD",
            id: format!("{}#{i}", id(&name)),
            question: Some(question),
            text,
            names: None,
        }));
    }
    Ok(all)
}

/// (question, answer) of every `QAPair` with an answer, spaces collapsed.
fn answered(xml: &str) -> Result<Vec<(String, String)>, quick_xml::Error> {
    let mut reader = Reader::from_str(xml);
    let (mut pairs, mut question, mut answer) = (Vec::new(), String::new(), String::new());
    let mut inside: Option<String> = None;
    loop {
        let text = match reader.read_event()? {
            Event::Eof => return Ok(pairs),
            Event::Start(tag) => {
                inside = Some(tag.name().0.to_string());
                continue;
            }
            Event::End(tag) => {
                if tag.name().0 == "QAPair" {
                    let [q, a] = [&mut question, &mut answer].map(|t| collapse(&std::mem::take(t)));
                    if !a.is_empty() {
                        pairs.push((q, a));
                    }
                }
                inside = None;
                continue;
            }
            Event::Text(t) => t.xml10_content().into_owned(),
            Event::CData(t) => t.xml10_content().into_owned(),
            Event::GeneralRef(r) => match r.resolve_char_ref()? {
                Some(c) => c.to_string(),
                None => quick_xml::escape::resolve_xml_entity(&r).unwrap_or(" ").to_string(),
            },
            _ => continue,
        };
        match inside.as_deref() {
            Some("Question") => question += &text,
            Some("Answer") => answer += &text,
            _ => {}
        }
    }
}

fn collapse(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Dialogue and note of every encounter.
fn aci_bench(path: &Path) -> Result<Vec<Document>> {
    #[derive(serde::Deserialize)]
    struct Row {
        encounter_id: String,
        dialogue: String,
        note: String,
    }
    let text = crate::io::read_text(path)?;
    let mut all = Vec::new();
    for row in csv::Reader::from_reader(text.as_bytes()).into_deserialize::<Row>() {
        let row = row.map_err(|e| Error::input(format!("{}: {e}", path.display())))?;
        for (part, text) in [("dialogue", row.dialogue), ("note", row.note)] {
            let id = format!("{}/{part}", row.encounter_id);
            all.push(Document { source: "ACI-Bench", id, question: None, text, names: None });
        }
    }
    Ok(all)
}

/// Title and abstract of every PubTator document, with its chemicals (BC5CDR, whose diseases are a task of the study) or diseases.
fn abstracts(source: &'static str, path: &Path) -> Result<Vec<Document>> {
    let (kind, types): (_, &[&str]) = match source {
        "BC5CDR" => ("chemicals", &["Chemical"]),
        _ => ("diseases", &pubtator::DISEASE),
    };
    let cases = pubtator::as_cases(&pubtator::read(path)?.documents, types);
    let document = |c: Finding| Document {
        source,
        text: c.case.input,
        id: c.case.case_id,
        question: None,
        names: Some((kind, c.gold)),
    };
    Ok(cases.into_iter().map(document).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answered_questions_are_read_with_their_entities() {
        let xml = "<D><QAPairs><QAPair pid=\"1\"><Question>What is  X?</Question><Answer>A &lt; B &amp;\n C&#39;s</Answer></QAPair>\
                   <QAPair><Question>Removed?</Question><Answer></Answer></QAPair></QAPairs></D>";
        assert_eq!(answered(xml).unwrap(), [("What is X?".to_string(), "A < B & C's".to_string())]);
    }

    #[test]
    fn the_open_sources_hold_what_their_readme_says() {
        let Some(dir) = std::env::var_os("DXLAB_DATA") else {
            println!("skipped: DXLAB_DATA is not set");
            return;
        };
        let all = documents(Path::new(&dir)).unwrap();
        let count = |s| all.iter().filter(|d| d.source == s).count();
        assert_eq!(count("MedQuAD"), 16_407);
        assert_eq!(count("ACI-Bench"), 2 * 87);
        assert!((990..=1000).contains(&count("BC5CDR")), "those that NCBI tests on are left out");
        let held = all.iter().filter(|d| d.held_out()).count() as f64 / all.len() as f64;
        assert!((0.01..0.03).contains(&held), "{held}");
    }
}

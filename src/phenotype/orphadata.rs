//! Orphadata's product 4: signs of Orphanet's diseases with their frequency class, as XML (`en_product4.xml`).
//!
//! ```text
//! JDBOR@date > … > Disorder > OrphaCode, Name, HPODisorderAssociationList > HPODisorderAssociation > HPO > HPOId
//!                                                                                                > HPOFrequency > Name
//! ```
//!
//! The file belongs to Orphanet and is not installed; it is read where the user has it. Its diseases take the place of the rows of the same
//! Orphanet number in phenotype.hpoa, which were made from an older product 4.
use super::knowledge::Knowledge;
use crate::error::{Error, Result};
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::Event;
use std::path::Path;

/// Name of the file, as Orphadata has it.
pub const FILE: &str = "en_product4.xml";

/// A disease and its signs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Disorder {
    /// `ORPHA:58`.
    pub id: String,
    pub name: String,
    /// HPO id and the id of the frequency class: (`HP:0000256`, `HP:0040281`).
    pub signs: Vec<(String, &'static str)>,
}

/// The file's date, and its diseases in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Product4 {
    pub date: String,
    pub disorders: Vec<Disorder>,
}

impl Product4 {
    pub fn read(path: &Path) -> Result<Self> {
        let text = crate::io::read_text(path)?;
        Self::parse(&text).map_err(|why| Error::input(format!("{}: {why}", path.display())))
    }

    /// Fails for XML that is cut or is another product, and for a frequency class that is none of Orphanet's.
    pub fn parse(xml: &str) -> Result<Self, String> {
        let mut reader = quick_xml::Reader::from_str(xml);
        let (mut all, mut open, mut text, mut term) =
            (Self::default(), Vec::<String>::new(), String::new(), String::new());
        loop {
            let line = |at: u64| 1 + xml[..at as usize].matches('\n').count();
            let at = reader.buffer_position();
            match reader.read_event().map_err(|e| format!("line {}: {e}: the file is cut, or is no XML", line(at)))? {
                Event::Eof => break,
                Event::Start(start) => {
                    let name = start.name().as_ref().to_string();
                    if name == "JDBOR" {
                        let date = start.attributes().flatten().find(|one| one.key.as_ref() == "date");
                        all.date = date.map(|one| one.value.chars().take(10).collect()).unwrap_or_default();
                    }
                    if name == "Disorder" {
                        all.disorders.push(Disorder::default());
                    }
                    open.push(name);
                    text.clear();
                }
                Event::Text(part) => text.push_str(&part),
                Event::GeneralRef(entity) => {
                    let letter = entity.resolve_char_ref().map_err(|e| format!("line {}: {e}", line(at)))?;
                    match letter {
                        Some(letter) => text.push(letter),
                        None => text.push_str(resolve_predefined_entity(&entity).unwrap_or(" ")),
                    }
                }
                Event::End(_) => {
                    let value = std::mem::take(&mut text).trim().to_string();
                    let path: Vec<&str> = open.iter().rev().take(2).map(String::as_str).collect();
                    let disorder = all.disorders.last_mut();
                    match (path.as_slice(), disorder) {
                        (["OrphaCode", "Disorder"], Some(disorder)) => disorder.id = format!("ORPHA:{value}"),
                        (["Name", "Disorder"], Some(disorder)) => disorder.name = value,
                        (["HPOId", "HPO"], Some(_)) => term = value,
                        (["Name", "HPOFrequency"], Some(disorder)) => {
                            let class = class_of(&value).ok_or_else(|| {
                                format!(
                                    "line {}: `{value}` is no frequency class of Orphanet ({})",
                                    line(at),
                                    CLASSES.map(|one| one.0).join(", ")
                                )
                            })?;
                            disorder.signs.push((std::mem::take(&mut term), class));
                        }
                        _ => {}
                    }
                    open.pop();
                }
                _ => {}
            }
        }
        if let Some(unclosed) = open.last() {
            return Err(format!("the file ends inside <{unclosed}>: it is cut; download it again"));
        }
        all.disorders.retain(|one| !one.signs.is_empty());
        match all.disorders.is_empty() {
            true => Err("no disease with signs in it: expected Orphadata's product 4 (en_product4.xml)".into()),
            false => Ok(all),
        }
    }

    /// Puts the diseases in the place of those of the same number. Signs that are no terms of the ontology become warnings.
    pub fn add_to(&self, knowledge: &mut Knowledge) {
        for disorder in &self.disorders {
            let signs: Vec<(&str, &str)> = disorder.signs.iter().map(|(term, class)| (term.as_str(), *class)).collect();
            knowledge.replace(&disorder.id, &disorder.name, &signs);
        }
        knowledge.version = format!("{} and Orphadata of {}", knowledge.version, self.date);
    }
}

/// How Orphanet's classes begin, and their ids in HPO.
const CLASSES: [(&str, &str); 6] = [
    ("Obligate", "HP:0040280"),
    ("Very frequent", "HP:0040281"),
    ("Frequent", "HP:0040282"),
    ("Occasional", "HP:0040283"),
    ("Very rare", "HP:0040284"),
    ("Excluded", "HP:0040285"),
];

fn class_of(text: &str) -> Option<&'static str> {
    CLASSES.iter().find(|(start, _)| text.starts_with(start)).map(|(_, id)| *id)
}

#[cfg(test)]
mod tests {
    use super::super::knowledge::{Frequency, tests::small};
    use super::*;

    fn xml(frequency: &str) -> String {
        let sign = |term: &str, frequency: &str| {
            format!(
                "<HPODisorderAssociation id=\"1\"><HPO id=\"2\"><HPOId>{term}</HPOId><HPOTerm>invented</HPOTerm></HPO>\
                 <HPOFrequency id=\"3\"><Name lang=\"en\">{frequency}</Name></HPOFrequency></HPODisorderAssociation>"
            )
        };
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<JDBOR date=\"2026-01-02 03:04:05\" version=\"1\">\n<HPODisorderSetStatusList count=\"1\">\
             <HPODisorderSetStatus id=\"1\"><Disorder id=\"9\"><OrphaCode>4</OrphaCode><Name lang=\"en\">Seizures &amp; more, na&#239;ve</Name>\
             <DisorderType id=\"1\"><Name lang=\"en\">Disease</Name></DisorderType>\n<HPODisorderAssociationList count=\"3\">{}{}{}\
             </HPODisorderAssociationList></Disorder></HPODisorderSetStatus></HPODisorderSetStatusList></JDBOR>",
            sign("HP:3", frequency),
            sign("HP:6", "Excluded (0%)"),
            sign("HP:99", "Occasional (29-5%)")
        )
    }

    #[test]
    fn diseases_take_the_place_of_the_older_rows() {
        let product = Product4::parse(&xml("Very frequent (99-80%)")).unwrap();
        assert_eq!((product.date.as_str(), product.disorders.len()), ("2026-01-02", 1));
        assert_eq!(
            (product.disorders[0].id.as_str(), product.disorders[0].name.as_str()),
            ("ORPHA:4", "Seizures & more, naïve")
        );
        let mut known = small();
        product.add_to(&mut known);
        let disease = &known.diseases[known.disease("ORPHA:4").unwrap()];
        assert_eq!(disease.name, "Seizures & more, naïve");
        let rows: Vec<_> =
            disease.annotations.iter().map(|row| (known.ontology.id(row.term), row.frequency, row.excluded)).collect();
        assert_eq!(rows, [("HP:3", Frequency::Share(0.895), false), ("HP:6", Frequency::Share(0.0), true)]);
        assert_eq!(known.sources[disease.annotations[0].source as usize], "ORPHA:4");
        assert!(known.warnings.last().unwrap().contains("HP:99"), "{:?}", known.warnings);
        assert_eq!(known.version, "small and Orphadata of 2026-01-02");
        assert_eq!(known.diseases.len(), small().diseases.len());
    }

    #[test]
    fn other_files_cut_ones_and_new_classes_are_refused() {
        let error = |text: &str| Product4::parse(text).unwrap_err();
        assert!(
            error(&xml("Now and then")).contains("line 4: `Now and then` is no frequency class"),
            "{}",
            error(&xml("Now and then"))
        );
        let whole = xml("Obligate (100%)");
        assert!(error(&whole[..whole.len() - 60]).contains("cut"), "{}", error(&whole[..whole.len() - 60]));
        assert!(error("<html><body>Not found</body></html>").contains("product 4"));
    }
}

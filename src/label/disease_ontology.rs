//! The Disease Ontology as concepts: `HumanDO.tsv` (id, name, name of a parent; a line a parent) and the synonyms of
//! `DO_rare_slim.obo`, the part of it that has them in our copy. It has no organs: a concept's is that of the first organ word in its
//! name, else in its nearest ancestor's.
use super::concept_row::Row;
use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::path::Path;

/// Organ and how words of it begin.
const ORGANS: [(&str, &[&str]); 28] = [
    ("kidney", &["kidney", "renal", "nephr", "glomerul", "pyelonephr", "hydronephr"]),
    ("adrenal gland", &["adrenal", "adrenocort"]),
    ("urinary tract", &["bladder", "urinary", "ureter", "urethr", "cystitis"]),
    (
        "gallbladder and bile ducts",
        &["gallbladder", "cholecyst", "cholelith", "choledoch", "cholangi", "bile", "biliary", "cholestas"],
    ),
    ("liver", &["liver", "hepat", "cirrhos"]),
    ("pancreas", &["pancrea"]),
    ("spleen", &["spleen", "splen"]),
    ("stomach", &["gastric", "stomach", "gastritis"]),
    (
        "bowel",
        &["intestin", "bowel", "colon", "colorect", "colitis", "rect", "ileum", "ileitis", "duoden", "append", "cecum"],
    ),
    ("esophagus", &["esophag", "oesophag"]),
    (
        "heart",
        &[
            "heart", "cardiac", "cardio", "myocard", "atrial", "ventric", "coronary", "pericard", "endocard", "mitral",
            "aortic",
        ],
    ),
    ("vessels", &["vascul", "arter", "vein", "venous", "thrombo", "hypertension", "aneurysm"]),
    ("lung", &["lung", "pulmon", "bronch", "pneumon", "pleur", "respirat"]),
    ("brain", &["brain", "cereb", "encephal", "epilep", "dementia", "mening"]),
    ("mind", &["mental", "psych", "mood", "depress", "schizo", "anxiety", "cognitive"]),
    ("nerves", &["nerv", "neuro", "polyneuro"]),
    ("muscle", &["muscle", "muscul", "myopath", "myosit", "myasthen", "rhabdomyo"]),
    ("bone and joint", &["bone", "oste", "arthr", "spinal", "spine", "spondyl", "vertebr"]),
    ("skin", &["skin", "dermat", "cutaneous", "melanoma", "eczema", "psorias"]),
    ("eye", &["eye", "ocular", "retin", "ophthalm", "glaucoma", "cataract", "macular", "uveitis"]),
    ("ear", &["hearing", "deaf", "auditory", "otitis"]),
    ("breast", &["breast", "mammary"]),
    ("uterus", &["uter", "endometr", "cervical", "cervix"]),
    ("ovary", &["ovar"]),
    ("prostate", &["prostat"]),
    ("testis", &["testi", "testicul"]),
    ("thyroid", &["thyroid"]),
    ("blood", &["blood", "leukem", "lymphoma", "anemia", "hemophil", "thrombocyt", "neutropen", "myeloma", "hematop"]),
];

/// Every concept with synonyms and parents, from the layout of `DXLAB_DATA`.
pub fn rows(data: &Path) -> Result<Vec<Row>> {
    let read = |name: &str| {
        let path = data.join("disease-ontology").join(name);
        crate::io::read_text(&path).map(|text| (path, text))
    };
    let (path, table) = read("HumanDO.tsv")?;
    let mut rows = names(&table).map_err(|why| Error::input(format!("{} {why}", path.display())))?;
    let (_, obo) = read("DO_rare_slim.obo")?;
    let mut synonyms = synonyms(&obo);
    rows.iter_mut().for_each(|row| row.synonyms = synonyms.remove(&row.id).unwrap_or_default());
    Ok(rows)
}

/// Lines `"id" "name" "parent"` with tabs under a header. A parent that is no concept itself (the root has a line of its own
/// in no release we know) is left out.
fn names(table: &str) -> Result<Vec<Row>, String> {
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    for (i, line) in table.lines().enumerate().skip(1).filter(|(_, line)| !line.trim().is_empty()) {
        let fields: Vec<&str> = line.split('\t').map(|field| field.trim().trim_matches('"')).collect();
        let [id, name, parent] = fields[..] else {
            return Err(format!(
                "row {}: expected id, label and subClassOf with tabs, got {} fields",
                i + 1,
                fields.len()
            ));
        };
        let new = || Row { id: id.into(), name: name.into(), synonyms: vec![], parents: vec![], organ: organ(name) };
        rows.entry(id.into()).or_insert_with(new).parents.push(parent.into());
    }
    let known: std::collections::BTreeSet<String> = rows.values().map(|row| row.name.clone()).collect();
    let mut rows: Vec<Row> = rows.into_values().collect();
    rows.iter_mut().for_each(|row| row.parents.retain(|parent| known.contains(parent)));
    Ok(rows)
}

fn organ(name: &str) -> Option<String> {
    let name = name.to_lowercase();
    let starts = |word: &str| ORGANS.iter().find(|(_, begins)| begins.iter().any(|begin| word.starts_with(begin)));
    name.split(|c: char| !c.is_alphanumeric()).find_map(starts).map(|(organ, _)| organ.to_string())
}

/// `synonym: "…" EXACT …` of every `[Term]`; broader, narrower and related names are other things.
fn synonyms(obo: &str) -> BTreeMap<String, Vec<String>> {
    let (mut found, mut id) = (BTreeMap::<String, Vec<String>>::new(), String::new());
    for line in obo.lines() {
        if let Some(rest) = line.strip_prefix("id: ") {
            id = rest.trim().into();
        } else if let Some(rest) = line.strip_prefix("synonym: \"")
            && let Some((name, rest)) = rest.split_once("\" ")
            && rest.starts_with("EXACT")
        {
            found.entry(id.clone()).or_default().push(name.replace("\\\"", "\""));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::{Ontology, Tier};

    const TABLE: &str = "id\tlabel\tsubClassOf\n\"D:1\"\t\"kidney disease\"\t\"urinary disease\"\n\"D:2\"\t\"odd cyst\"\t\"kidney disease\"\n\
        \"D:3\"\t\"twin disease\"\t\"kidney disease\"\n\"D:3\"\t\"twin disease\"\t\"liver disease\"\n\"D:4\"\t\"liver disease\"\t\"none\"\n";
    const OBO: &str =
        "[Term]\nid: D:2\nname: odd cyst\nsynonym: \"strange cyst\" EXACT []\nsynonym: \"cyst\" BROAD []\n";

    #[test]
    fn names_parents_synonyms_and_organs_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("disease-ontology");
        std::fs::create_dir(&at).unwrap();
        std::fs::write(at.join("HumanDO.tsv"), TABLE).unwrap();
        assert!(Ontology::disease_ontology(folder.path()).unwrap_err().to_string().contains("DO_rare_slim.obo"));
        std::fs::write(at.join("DO_rare_slim.obo"), OBO).unwrap();
        let read = Ontology::disease_ontology(folder.path()).unwrap();
        assert_eq!(read.len(), 4);
        assert_eq!(read.ground("Strange cysts").unwrap().id, "D:2");
        assert!(read.ground("cyst").is_none(), "a broader name is another thing");
        assert_eq!(read.ground("odd cyst").unwrap().organ.as_deref(), Some("kidney"), "its parent's");
        assert_eq!(read.relation("twin disease", "liver disease"), Some(Tier::ParentOrChild));
        assert_eq!(read.relation("odd cyst", "twin disease"), Some(Tier::SameOrgan));
        std::fs::write(at.join("HumanDO.tsv"), "id\tlabel\n\"D:1\"\t\"a\"\n").unwrap();
        assert!(
            Ontology::disease_ontology(folder.path()).unwrap_err().to_string().contains("row 2: expected id, label")
        );
    }
}

//! Which labels mean nearly the same: concepts with synonyms, parents and an organ. From our own small table of abdominal findings
//! (`data/concepts.toml`, built into the crate) or from the Disease Ontology (`disease_ontology`).
//!
//! A label is grounded by its name or a synonym, both in the singular, lower case and without marks of doubt; nothing is grounded
//! by resemblance. What no table knows is related to nothing but itself.
use super::Normaliser;
use super::concept_row::Row;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// How close a predicted label is to a gold one, closest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// The same name after normalisation.
    Exact,
    /// Names of the same concept.
    Synonym,
    /// One concept is a parent of the other, one step.
    ParentOrChild,
    /// Both are of the same organ.
    SameOrgan,
}

impl Tier {
    pub const ALL: [Tier; 4] = [Tier::Exact, Tier::Synonym, Tier::ParentOrChild, Tier::SameOrgan];
}

/// A thing with names.
#[derive(Clone, Debug, PartialEq)]
pub struct Concept {
    /// `DOID:784`, or the name where there is no id.
    pub id: String,
    pub name: String,
    /// Indices into the ontology.
    parents: Vec<usize>,
    pub organ: Option<String>,
}

/// Concepts and how they hang together.
#[derive(Clone, Debug)]
pub struct Ontology {
    /// Said wherever a credit is shown.
    pub name: String,
    concepts: Vec<Concept>,
    /// Normalised name or synonym → concept.
    names: HashMap<String, usize>,
    surface: Normaliser,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    #[serde(default)]
    also: Vec<String>,
    #[serde(default)]
    is: Vec<String>,
}

impl Ontology {
    /// The table of ours: findings of an abdominal CT, in the words of the synthetic corpus and those near to them.
    pub fn own() -> Result<Self> {
        Self::table("own table of abdominal findings", include_str!("../../data/concepts.toml"))
    }

    /// A table in the form of `data/concepts.toml`: a TOML table for each organ with `"name" = { also = [synonyms], is = [parents] }`.
    pub fn table(name: &str, text: &str) -> Result<Self> {
        let organs: BTreeMap<String, BTreeMap<String, Entry>> =
            toml::from_str(text).map_err(|e| Error::input(format!("concept table: {e}")))?;
        let rows = organs.into_iter().flat_map(|(organ, entries)| {
            entries.into_iter().map(move |(name, entry)| Row {
                id: name.clone(),
                name,
                synonyms: entry.also,
                parents: entry.is,
                organ: (organ != "none").then(|| organ.clone()),
            })
        });
        Self::build(name, rows.collect())
    }

    /// The Disease Ontology in the folder of open data; see `dxlab data fetch disease-ontology`.
    pub fn disease_ontology(data: &Path) -> Result<Self> {
        Self::build("Disease Ontology", super::disease_ontology::rows(data)?)
    }

    /// A name given to two concepts stays with the first; a parent that does not exist is an error.
    pub(super) fn build(name: &str, rows: Vec<Row>) -> Result<Self> {
        let surface = Normaliser::new::<&str>([])?;
        let mut names = HashMap::new();
        for (i, row) in rows.iter().enumerate() {
            names.entry(surface.normalise(&row.name)).or_insert(i);
        }
        for (i, row) in rows.iter().enumerate() {
            for synonym in &row.synonyms {
                names.entry(surface.normalise(synonym)).or_insert(i);
            }
        }
        let parent = |row: &Row, parent: &String| {
            names.get(&surface.normalise(parent)).copied().ok_or_else(|| {
                Error::input(format!("{name}: `{}` has the parent `{parent}`, which is no concept of it", row.name))
            })
        };
        let concept = |row: &Row| -> Result<Concept> {
            let parents = row.parents.iter().map(|p| parent(row, p)).collect::<Result<Vec<_>>>()?;
            Ok(Concept { id: row.id.clone(), name: row.name.clone(), parents, organ: row.organ.clone() })
        };
        let mut concepts = rows.iter().map(concept).collect::<Result<Vec<_>>>()?;
        inherit(&mut concepts);
        Ok(Self { name: name.into(), concepts, names, surface })
    }

    /// The concept of that name or synonym.
    pub fn ground(&self, label: &str) -> Option<&Concept> {
        self.names.get(&self.surface.normalise(label)).map(|&i| &self.concepts[i])
    }

    pub fn len(&self) -> usize {
        self.concepts.len()
    }

    pub fn is_empty(&self) -> bool {
        self.concepts.is_empty()
    }

    /// How two labels are related beyond having the same name; none where they are not, or where one is not known.
    pub fn relation(&self, a: &str, b: &str) -> Option<Tier> {
        let place = |label: &str| self.names.get(&self.surface.normalise(label)).copied();
        let (i, j) = (place(a)?, place(b)?);
        let (a, b) = (&self.concepts[i], &self.concepts[j]);
        match () {
            _ if i == j => Some(Tier::Synonym),
            _ if a.parents.contains(&j) || b.parents.contains(&i) => Some(Tier::ParentOrChild),
            _ if a.organ.is_some() && a.organ == b.organ => Some(Tier::SameOrgan),
            _ => None,
        }
    }
}

/// A concept without an organ has that of its nearest ancestor with one.
fn inherit(concepts: &mut [Concept]) {
    for i in 0..concepts.len() {
        let (mut at, mut seen) = (vec![i], vec![i]);
        while concepts[i].organ.is_none() && !at.is_empty() {
            let above: Vec<usize> = at.iter().flat_map(|&c| concepts[c].parents.clone()).collect();
            concepts[i].organ = above.iter().find_map(|&c| concepts[c].organ.clone());
            at = above.into_iter().filter(|c| !seen.contains(c)).collect();
            seen.extend(&at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn concepts_are_related_by_synonym_parent_and_organ() {
        let own = Ontology::own().unwrap();
        assert!(own.len() > 100, "{}", own.len());
        let cases = [
            ("renal cysts", "cyst of kidney", Some(Tier::Synonym)),
            ("renal cell carcinoma", "renal mass", Some(Tier::ParentOrChild)),
            ("liver hemangioma", "liver lesion", Some(Tier::ParentOrChild)),
            ("renal cyst", "hydronephrosis", Some(Tier::SameOrgan)),
            ("renal cyst", "liver cyst", None),
            ("renal cyst", "no such thing", None),
            ("no acute abnormality", "normal examination", Some(Tier::Synonym)),
            ("no acute abnormality", "renal cyst", None),
        ];
        for (a, b, tier) in cases {
            assert_eq!(own.relation(a, b), tier, "{a} / {b}");
            assert_eq!(own.relation(b, a), tier, "{b} / {a}");
        }
    }

    #[test]
    fn every_label_of_the_synthetic_corpus_is_grounded() {
        let own = Ontology::own().unwrap();
        let corpus = crate::corpus::Corpus::embedded().unwrap();
        let labels = corpus.train.iter().chain(&corpus.test).flat_map(|case| &case.gold);
        let lost: std::collections::BTreeSet<_> = labels.filter(|label| own.ground(label).is_none()).collect();
        assert!(lost.is_empty(), "{lost:?}");
    }

    #[test]
    fn a_table_with_a_hole_is_refused_and_one_with_a_circle_ends() {
        let hole = Ontology::table("t", "[liver]\n\"a\" = { is = [\"b\"] }\n").unwrap_err().to_string();
        assert!(hole.contains("`a` has the parent `b`"), "{hole}");
        let circle = Ontology::table("t", "[none]\n\"a\" = { is = [\"b\"] }\n\"b\" = { is = [\"a\"] }\n").unwrap();
        assert_eq!((circle.relation("a", "b"), circle.len(), circle.is_empty()), (Some(Tier::ParentOrChild), 2, false));
        assert!(Ontology::table("t", "[liver]\n\"a\" = { whose = 1 }\n").is_err());
    }
}

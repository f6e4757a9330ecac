//! Words of the signs in the names and descriptions of the diseases, by Okapi BM25: what a search engine would do.
use super::{Left, Library, Ranker, Signs};
use crate::prompt::Bm25;
use std::collections::BTreeMap;

pub struct Descriptions<'a> {
    library: &'a Library,
    index: Bm25,
}

impl<'a> Descriptions<'a> {
    /// Over names alone where a disease has no description. Descriptions are by id (`OMIM:154700`).
    pub fn of(library: &'a Library, descriptions: &BTreeMap<String, String>) -> Self {
        let text = |one: &super::super::Candidate| {
            format!("{} {}", one.name, descriptions.get(&one.id).map_or("", String::as_str))
        };
        let texts: Vec<String> = library.candidates.iter().map(text).collect();
        Self { library, index: Bm25::new(texts.iter().map(String::as_str)) }
    }
}

impl Ranker for Descriptions<'_> {
    fn name(&self) -> &'static str {
        "descriptions"
    }

    /// Descriptions are not cut by publication: they are no tables of patients.
    fn scores(&self, signs: &Signs, _left: Left) -> Vec<f32> {
        let names: Vec<&str> = signs.observed.iter().map(|&term| self.library.ontology().name(term)).collect();
        self.index.scores(&names.join(" ")).into_iter().map(|score| score as f32).collect()
    }
}

//! Mentions in published abstracts as stand-ins for decisions in notes: real text whose spans people marked, for who has no MedDec.
//!
//! A disease (BC5CDR, NCBI) stands in the place of a problem, a chemical (BC5CDR) in that of a drug decision. Neither is a decision: what a model reaches
//! here says how well it finds and copies spans of real text, and nothing of how well it finds decisions.
use super::{Category, Decisions, Span};
use crate::corpus::Corpus;
use crate::corpus::pubtator::{self, BC5CDR, DISEASE, Document, NCBI};
use crate::error::Result;
use crate::task::decisions::Note;
use std::collections::BTreeMap;
use std::path::Path;

impl Decisions {
    /// `decisions-bc5cdr`, else `decisions-ncbi`, from the layout of `DXLAB_DATA`: the published training, development and test parts.
    pub fn mentions(name: &str, dir: &Path) -> Result<Self> {
        let (of, title) = match name {
            "decisions-bc5cdr" => (BC5CDR, "BC5CDR mentions: diseases for problems, chemicals for drug decisions"),
            _ => (NCBI, "NCBI mentions: diseases for problems"),
        };
        let mut warnings = vec![];
        let mut part = |file: &str| -> Result<Vec<Note>> {
            let read = pubtator::read(&dir.join(file))?;
            warnings.extend(read.warnings.iter().map(|warning| format!("{file}: {warning}")));
            Ok(read.documents.iter().map(note).collect())
        };
        let (train, validation, test) = (part(of.train)?, part(of.development)?, part(of.test)?);
        let corpus = Corpus { name: title.into(), synthetic: false, train, test };
        Ok(Self { corpus, validation, strata: BTreeMap::new(), warnings })
    }
}

/// Of mentions that are given twice (a composite of two concepts) one; those that do not lie in the text are left out.
fn note(document: &Document) -> Note {
    let text = document.text();
    let chars = text.chars().count();
    let span = |mention: &pubtator::Mention| {
        let category = match mention.kind.as_str() {
            "Chemical" => Category::DrugDecision,
            kind if DISEASE.contains(&kind) => Category::DefineProblem,
            _ => return None,
        };
        Some(Span::new(mention.start, mention.end, category)).filter(|span| span.fits(chars))
    };
    let mut spans: Vec<Span> = document.mentions.iter().filter_map(span).collect();
    spans.sort();
    spans.dedup();
    Note::new(&document.pmid, &document.pmid, text, spans)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn diseases_and_chemicals_stand_in_for_problems_and_drug_decisions() {
        let text = "11|t|Naïve cystitis.\n11|a|By aspirin.\n11\t6\t14\tcystitis\tDisease\tD1\n11\t6\t14\tcystitis\tDisease\tD2\n\
                    11\t19\t26\taspirin\tChemical\tC1\n11\t0\t5\tNaïve\tGene\tG1\n";
        let note = note(&pubtator::parse(text).unwrap().documents[0]);
        let (problem, drug) = (Span::new(6, 14, Category::DefineProblem), Span::new(19, 26, Category::DrugDecision));
        assert_eq!((note.gold.as_slice(), note.group.as_str()), ([problem, drug].as_slice(), "11"));
    }

    #[test]
    fn the_published_corpora_are_read_where_they_are() {
        let Ok(dir) = crate::corpus::open_data("decisions-bc5cdr", "bc5cdr") else {
            println!("skipped: DXLAB_DATA is not set");
            return;
        };
        let all = Decisions::mentions("decisions-bc5cdr", &dir).unwrap();
        assert_eq!((all.corpus.train.len(), all.validation.len(), all.corpus.test.len()), (500, 500, 500));
        let spans = all.corpus.test.iter().map(|note| note.gold.len()).sum::<usize>();
        assert!(spans > 9000, "{spans}");
        let ncbi = Decisions::mentions("decisions-ncbi", &dir).unwrap();
        assert!(
            ncbi.corpus.test.iter().flat_map(|note| &note.gold).all(|span| span.category == Category::DefineProblem)
        );
    }
}

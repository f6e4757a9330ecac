//! The open corpora hold what their description says; skipped where `DXLAB_DATA` is not set.
use dxlab::corpus::{Corpus, pubtator, text};
use std::path::PathBuf;

fn data() -> Option<PathBuf> {
    let dir = std::env::var_os("DXLAB_DATA").map(PathBuf::from);
    if dir.is_none() {
        println!("skipped: DXLAB_DATA is not set");
    }
    dir
}

#[test]
fn bc5cdr_has_its_published_size_and_no_misplaced_span() {
    let Some(dir) = data() else { return };
    let (mut diseases, mut spans) = (0, 0);
    for part in ["Training", "Development", "Test"] {
        let read = pubtator::read(&dir.join(format!("bc5cdr/CDR_{part}Set.PubTator.txt"))).unwrap();
        assert_eq!((read.documents.len(), read.warnings.len()), (500, 0), "{part}: {:?}", read.warnings);
        let mentions = || read.documents.iter().flat_map(|d| &d.mentions);
        diseases += mentions().filter(|m| m.kind == "Disease").count();
        spans += mentions().count();
    }
    assert_eq!((diseases, spans), (12_850, 28_785));
}

#[test]
fn bc5cdr_becomes_cases_with_about_four_diseases_each() {
    let Some(dir) = data() else { return };
    let corpus = Corpus::bc5cdr(&dir).unwrap();
    let development = Corpus::bc5cdr_development(&dir).unwrap();
    for cases in [&corpus.train, &corpus.test, &development] {
        let labels: usize = cases.iter().map(|case| case.labels.len()).sum();
        let mean = labels as f64 / cases.len() as f64;
        assert!((490..=500).contains(&cases.len()) && (3.5..4.5).contains(&mean), "{} cases, {mean}", cases.len());
        assert!(cases.iter().flat_map(|case| &case.labels).all(|label| !label.contains(',')));
    }
}

#[test]
fn the_oddities_of_ncbi_are_reported_and_not_fatal() {
    let Some(dir) = data() else { return };
    let read = pubtator::read(&dir.join("ncbi-disease/NCBItrainset_corpus.txt")).unwrap();
    assert_eq!(read.documents.len(), 592);
    let twice: Vec<_> = read.warnings.iter().filter(|w| w.contains("8528200 comes twice")).collect();
    let moved: Vec<_> = read.warnings.iter().filter(|w| w.contains("the text has")).collect();
    assert_eq!((twice.len(), moved.len(), read.warnings.len()), (1, 1, 2), "{:?}", read.warnings);
    let corpus = Corpus::ncbi(&dir).unwrap();
    assert!(corpus.train.len() > 580 && corpus.test.len() > 95, "{} {}", corpus.train.len(), corpus.test.len());
}

#[test]
fn no_test_abstract_is_among_the_pretraining_text() {
    let Some(dir) = data() else { return };
    let documents = text::documents(&dir).unwrap();
    let held_back = pubtator::test_ids(&dir).unwrap();
    let abstracts = documents.iter().filter(|d| d.source != "MedQuAD" && d.source != "ACI-Bench");
    assert!(held_back.len() >= 590);
    assert_eq!(abstracts.filter(|d| held_back.contains(&d.id)).count(), 0);
    let ids: std::collections::BTreeSet<_> = documents.iter().map(|d| (d.source, &d.id)).collect();
    println!("{} documents, {} distinct ids", documents.len(), ids.len());
}

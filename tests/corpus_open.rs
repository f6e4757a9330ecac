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
        let labels: usize = cases.iter().map(|case| case.gold.len()).sum();
        let mean = labels as f64 / cases.len() as f64;
        assert!((490..=500).contains(&cases.len()) && (3.5..4.5).contains(&mean), "{} cases, {mean}", cases.len());
        assert!(cases.iter().flat_map(|case| &case.gold).all(|label| !label.contains(',')));
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
fn ncbi_is_scored_by_its_name_like_any_corpus() {
    let Some(dir) = data() else { return };
    let folder = tempfile::tempdir().unwrap();
    let dxlab = |args: &[&str]| {
        let run = std::process::Command::new(env!("CARGO_BIN_EXE_dxlab"))
            .args(args)
            .current_dir(folder.path())
            .env("DXLAB_DATA", std::fs::canonicalize(&dir).unwrap())
            .env("DXLAB_HOME", folder.path()) // its runs lie there, not in the project
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        assert!(run.status.success(), "{args:?}: {}", text(run.stderr));
        text(run.stdout) + &text(run.stderr)
    };
    let said = dxlab(&["baseline", "name-search", "--data", "ncbi", "--out", "a.jsonl"]);
    assert!(said.contains("document 8528200 comes twice; the first is kept"), "{said}");
    assert!(said.contains("the text has"), "{said}");
    let out = dxlab(&["evaluate", "a.jsonl", "--data", "ncbi", "--resamples", "200"]);
    assert!(out.contains("NCBI diseases") && out.contains("concepts of the Disease Ontology"), "{out}");
    let cases = Corpus::ncbi(&dir).unwrap().test;
    assert!(out.contains(&format!("{} cases, {} groups", cases.len(), cases.len())), "{out}");
    assert!(cases.iter().all(|case| case.group == case.case_id), "the group of an abstract is its PMID");
    dxlab(&["baseline", "most-frequent", "--data", "ncbi", "--out", "b.jsonl"]);
    let out = dxlab(&["compare", "a.jsonl", "b.jsonl", "--data", "ncbi", "--resamples", "200"]);
    assert!(out.contains("3 comparisons (Holm)"), "{out}");
}

#[test]
fn labels_of_abstracts_are_grounded_in_the_disease_ontology() {
    let Some(dir) = data() else { return };
    let ontology = dxlab::label::Ontology::disease_ontology(&dir).unwrap();
    assert!(ontology.len() > 12_000, "{}", ontology.len());
    use dxlab::label::Tier;
    let cases = [
        ("renal failure", "kidney failure", None), // no synonym of it in our copy
        ("acute kidney failure", "kidney failure", Some(Tier::ParentOrChild)),
        ("chronic kidney disease", "hydronephrosis", Some(Tier::SameOrgan)),
        ("chikungunya fever", "chikungunya", Some(Tier::Synonym)),
        ("hepatitis", "schizophrenia", None),
    ];
    for (a, b, tier) in cases {
        assert_eq!(ontology.relation(a, b), tier, "{a} / {b}");
    }
    let corpus = Corpus::bc5cdr(&dir).unwrap();
    let labels: Vec<&String> = corpus.test.iter().flat_map(|case| &case.gold).collect();
    let known = labels.iter().filter(|label| ontology.ground(label).is_some()).count();
    println!("{known} of {} labels of the BC5CDR test abstracts are concepts of the Disease Ontology", labels.len());
    assert!(4 * known > labels.len(), "{known} of {}", labels.len());
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

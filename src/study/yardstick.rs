//! Baselines as runs of the store, so that their answers stand beside a model's in every table and in the workbook.
use super::baseline::{MostFrequent, Settings, TfidfLogReg};
use super::experiment::open_corpus;
use super::file;
use super::prediction::write_predictions;
use super::search::NameSearch;
use super::store::{Run, Store};
use crate::error::Result;
use serde::Serialize;

/// What a model has to beat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Baseline {
    /// The k most frequent training labels for every case.
    MostFrequent,
    /// Labels whose names stand in the text.
    NameSearch,
    /// TF-IDF of words and word pairs, a logistic regression a label.
    Tfidf,
}

impl Baseline {
    pub const ALL: [Baseline; 3] = [Baseline::MostFrequent, Baseline::NameSearch, Baseline::Tfidf];

    /// As in the run's folder.
    pub fn name(self) -> &'static str {
        match self {
            Self::MostFrequent => "most-frequent",
            Self::NameSearch => "name-search",
            Self::Tfidf => "tfidf",
        }
    }
}

impl Run {
    /// The answers of a baseline on the test cases of a corpus (named as in a config): opened, or fitted and asked.
    pub fn open_or_fit(baseline: Baseline, corpus: &str) -> Result<Run> {
        Self::fit_in(&Store::open(None), baseline, corpus)
    }

    pub fn fit_in(store: &Store, baseline: Baseline, corpus: &str) -> Result<Run> {
        let (corpus, _) = open_corpus(corpus)?;
        let settings = Settings::default();
        let spec = serde_json::json!({
            "baseline": baseline, "settings": settings, "corpus": corpus.digest(), "corpus_name": corpus.name,
            "synthetic": corpus.synthetic,
        });
        store.open_or_make("baseline", baseline.name(), &spec, |dir| {
            let (train, test) = (&corpus.train, &corpus.test);
            let (predictions, chosen) = match baseline {
                Baseline::MostFrequent => {
                    let fitted = MostFrequent::fit(train, None, &settings)?;
                    (
                        fitted.predict(test),
                        serde_json::json!({ "labels": fitted.labels, "micro_f1_by_k": fitted.curve }),
                    )
                }
                Baseline::NameSearch => (NameSearch::fit(train)?.predict(test), serde_json::json!({})),
                Baseline::Tfidf => {
                    let fitted = TfidfLogReg::fit(train, &settings)?;
                    let chosen = serde_json::json!({
                        "c": fitted.c, "threshold": fitted.threshold, "micro_f1": fitted.micro_f1,
                    });
                    (fitted.predict(test)?, chosen)
                }
            };
            file::write_json(&dir.join("chosen.json"), &chosen)?; // by cross-validation on training cases
            write_predictions(&dir.join("preds.jsonl"), &predictions)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::{Case, findings};

    #[test]
    fn baselines_answer_every_test_case_once_and_are_opened_the_second_time() {
        let folder = tempfile::tempdir().unwrap();
        let case = |i: usize| {
            let labels = [["renal cyst", "gallstone"], ["ascites", "gallstone"]][i % 2].map(String::from).to_vec();
            let (case_id, input) = (format!("c{i}"), format!("Text {i}: {}.", labels.join(" and ")));
            Case { group: case_id.clone(), case_id, input, labels }
        };
        let cases: Vec<Case> = (0..40).map(case).collect();
        findings::write_jsonl(&folder.path().join("train.jsonl"), &cases[..30]).unwrap();
        findings::write_jsonl(&folder.path().join("test.jsonl"), &cases[30..]).unwrap();
        let store = Store::open(Some(&folder.path().join("runs")));
        for baseline in Baseline::ALL {
            let made = Run::fit_in(&store, baseline, &folder.path().to_string_lossy()).unwrap();
            let again = Run::fit_in(&store, baseline, &folder.path().to_string_lossy()).unwrap();
            assert_eq!((made.dir.clone(), made.predictions().unwrap().len()), (again.dir, 10));
            assert!(made.folder().starts_with(&format!("baseline-{}-", baseline.name())));
        }
        assert_eq!(store.list().unwrap().len(), 3);
    }
}

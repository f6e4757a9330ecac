//! TF-IDF and logistic regression against scikit-learn. The reference is tests/reference/tfidf.py, scikit-learn 1.9, synthetic
//! findings, seed 7.
use dxlab::baseline::{Kernel, Tfidf};
use std::collections::BTreeMap;

#[derive(serde::Deserialize)]
struct Golden {
    terms: usize,
    train: Vec<Case>,
    test: Vec<Case>,
    decision: BTreeMap<String, BTreeMap<String, Vec<f64>>>,
}

#[derive(serde::Deserialize)]
struct Case {
    text: String,
    labels: Vec<String>,
}

#[test]
fn decision_values_agree_with_scikit_learn() {
    let golden: Golden = serde_json::from_str(include_str!("reference/tfidf.json")).unwrap();
    let texts = |cases: &[Case]| cases.iter().map(|case| case.text.clone()).collect::<Vec<_>>();
    let (train, test) = (texts(&golden.train), texts(&golden.test));
    let (train, test): (Vec<&str>, Vec<&str>) =
        (train.iter().map(|t| &**t).collect(), test.iter().map(|t| &**t).collect());
    let tfidf = Tfidf::fit(&train);
    assert_eq!(tfidf.terms(), golden.terms);
    let kernel = Kernel::new(tfidf.transform(&train)).unwrap();
    let against = kernel.against(&tfidf.transform(&test)).unwrap();
    for (c, labels) in golden.decision {
        let carries = |label: &String| golden.train.iter().map(|case| case.labels.contains(label)).collect();
        let y: Vec<Vec<bool>> = labels.keys().map(carries).collect();
        let got = kernel.fit(&y, c.parse().unwrap(), 1e-4).unwrap().decision(&against).unwrap();
        for (column, (label, expected)) in labels.iter().enumerate() {
            let worst = got.iter().zip(expected).map(|(row, e)| (row[column] - e).abs()).fold(0.0, f64::max);
            assert!(worst < 1e-3, "C {c}, {label}: decision values differ by {worst}");
        }
    }
}

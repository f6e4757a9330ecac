//! BM25 against PyPI's rank-bm25. The reference is tests/reference/bm25.py, rank-bm25 0.2.2, synthetic sentences, seed 7.
use dxlab::prompt::Bm25;

#[derive(serde::Deserialize)]
struct Golden {
    texts: Vec<String>,
    questions: Vec<String>,
    scores: Vec<Vec<f64>>,
}

#[test]
fn scores_agree_with_rank_bm25() {
    let golden: Golden = serde_json::from_str(include_str!("reference/bm25.json")).unwrap();
    let index = Bm25::new(golden.texts.iter().map(String::as_str));
    assert_eq!(golden.questions.len(), golden.scores.len());
    for (question, wanted) in golden.questions.iter().zip(&golden.scores) {
        let got = index.scores(question);
        assert_eq!(got.len(), wanted.len());
        let worst = got.iter().zip(wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(worst < 1e-8, "`{question}`: scores differ by {worst}");
    }
    assert!(golden.scores.iter().flatten().filter(|s| **s > 1.0).count() > 100, "the reference is not all nothing");
}

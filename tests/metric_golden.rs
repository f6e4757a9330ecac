//! Label metrics against scikit-learn. The reference is tests/reference/metrics.py, scikit-learn 1.9, synthetic labels, seed 7.
use dxlab::metric::{Metric, Outcome};
use std::collections::BTreeSet;

#[derive(serde::Deserialize)]
struct Golden {
    sets: Vec<Set>,
}

#[derive(serde::Deserialize)]
struct Set {
    cases: Vec<Case>,
    golden: std::collections::BTreeMap<String, f64>,
}

#[derive(serde::Deserialize)]
struct Case {
    case_id: String,
    gold: BTreeSet<String>,
    predicted: BTreeSet<String>,
}

#[test]
fn label_metrics_agree_with_scikit_learn() {
    let golden: Golden = serde_json::from_str(include_str!("reference/metrics.json")).unwrap();
    for set in golden.sets {
        let outcome = |case: Case| Outcome {
            group: case.case_id.clone(),
            case_id: case.case_id,
            gold: case.gold,
            parsed: !case.predicted.is_empty(),
            predicted: case.predicted,
        };
        let outcomes: Vec<Outcome> = set.cases.into_iter().map(outcome).collect();
        assert_eq!(set.golden.len(), 17);
        for (key, expected) in set.golden {
            let metric: Metric = key.parse().unwrap();
            let got = metric.statistic(&outcomes).plain().unwrap();
            assert!((got - expected).abs() < 1e-12, "{key} of {} cases: {got}, expected {expected}", outcomes.len());
        }
    }
}

//! The densities of TPE against optuna's. The reference is tests/reference/tpe.py, optuna 5.0, made-up points, seed 7.
use dxlab::study::{Density, Range};

#[derive(serde::Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(serde::Deserialize)]
struct Case {
    range: Range,
    seen: Vec<f64>,
    at: Vec<f64>,
    log: Vec<f64>,
}

#[test]
fn densities_agree_with_optuna() {
    let golden: Golden = serde_json::from_str(include_str!("reference/tpe.json")).unwrap();
    assert!(golden.cases.len() >= 12);
    for case in golden.cases {
        let density = Density::of(&case.range, &case.seen);
        for (x, wanted) in case.at.iter().zip(&case.log) {
            let got = density.log(*x);
            assert!((got - wanted).abs() < 1e-9, "{:?} seen, at {x}: {got}, optuna {wanted}", case.seen);
        }
    }
}

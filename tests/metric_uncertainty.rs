//! Intervals, paired tests and calibration against scipy, statsmodels and scikit-learn. The reference is
//! tests/reference/uncertainty.py, synthetic cases, seed 7.
use dxlab::metric::{
    Bootstrap, Metric, Outcome, Statistic, bca, bins, brier, calibration_error, holm, mcnemar, permutation, platt,
    risk_coverage, wilson,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    intervals: Vec<Interval>,
    wilson: Vec<Share>,
    mcnemar: Vec<Table>,
    permutation: Vec<Paired>,
    holm: Holm,
    calibration: Vec<Calibration>,
}

#[derive(Deserialize)]
struct Interval {
    /// Group, numerator, denominator.
    cases: Vec<(usize, f64, f64)>,
    value: f64,
    draws: Vec<f64>,
    percentile: (f64, f64),
    #[serde(rename = "BCa")]
    bca: (f64, f64),
}

#[derive(Deserialize)]
struct Share {
    successes: usize,
    n: usize,
    low: f64,
    high: f64,
}

#[derive(Deserialize)]
struct Table {
    only_a: usize,
    only_b: usize,
    p: f64,
}

#[derive(Deserialize)]
struct Paired {
    den: Vec<f64>,
    a: Vec<f64>,
    b: Vec<f64>,
    p: f64,
}

#[derive(Deserialize)]
struct Holm {
    p: Vec<f64>,
    corrected: Vec<f64>,
}

#[derive(Deserialize)]
struct Calibration {
    logprob: Vec<f64>,
    outcome: Vec<f64>,
    ece: f64,
    brier: f64,
    bins: Vec<(usize, f64, f64)>,
    aurc: f64,
    risk_at_half: f64,
    platt: Option<(f64, f64)>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("reference/uncertainty.json")).unwrap()
}

fn close(a: (f64, f64), b: (f64, f64), tolerance: f64) {
    assert!((a.0 - b.0).abs() < tolerance && (a.1 - b.1).abs() < tolerance, "{a:?}, expected {b:?}");
}

#[test]
fn percentile_and_bca_intervals_over_groups_agree_with_scipy() {
    for set in golden().intervals {
        let statistic = Statistic::Ratio(set.cases.iter().map(|case| (case.1, case.2)).collect());
        let names: Vec<String> = set.cases.iter().map(|case| format!("g{}", case.0)).collect();
        let groups: Vec<&str> = names.iter().map(String::as_str).collect();
        assert!((statistic.plain().unwrap() - set.value).abs() < 1e-12);
        let bootstrap = Bootstrap::default();
        close(bootstrap.interval(set.draws.clone()).unwrap(), set.percentile, 1e-12);
        let left_out = bootstrap.jackknife(&groups, |weights| statistic.value(weights));
        close(bca(set.draws, set.value, &left_out, 0.95).unwrap(), set.bca, 1e-9);
        // our own resamples are others, their interval is much the same
        let own = bootstrap.of_groups(&[&statistic], &groups).remove(0).unwrap();
        close((own.low, own.high), set.percentile, 0.03);
    }
}

#[test]
fn bca_of_the_bootstrap_is_that_of_its_resamples() {
    let case = |i: usize| Outcome {
        case_id: i.to_string(),
        group: format!("g{}", i / 2),
        gold: ["a".to_string()].into(),
        predicted: [if i.is_multiple_of(10) { "a" } else { "b" }.to_string()].into(),
        parsed: true,
    };
    let outcomes: Vec<Outcome> = (0..80).map(case).collect();
    let table = Metric::table(&[Metric::MicroF1], &outcomes);
    let (statistic, groups) = (&table.columns[0].1, table.groups());
    let bootstrap = Bootstrap::default();
    let found = bootstrap.bca_estimates(&table).remove(0).unwrap();
    let draws: Vec<f64> = bootstrap.map_groups(&groups, |w| statistic.value(w)).into_iter().flatten().collect();
    let expected = bca(draws, found.value, &bootstrap.jackknife(&groups, |w| statistic.value(w)), 0.95).unwrap();
    close((found.low, found.high), expected, 1e-15);
    let percentile = bootstrap.estimates(&table).remove(0).unwrap();
    assert!(
        found.low > percentile.low && found.high > percentile.high,
        "a rare success leans to the right: {found:?} {percentile:?}"
    );
}

#[test]
fn wilson_mcnemar_and_holm_agree_with_statsmodels() {
    let golden = golden();
    for share in golden.wilson {
        let found = wilson(share.successes, share.n, 0.95).unwrap();
        close((found.low, found.high), (share.low, share.high), 1e-9);
    }
    for table in golden.mcnemar {
        let p = mcnemar(table.only_a, table.only_b).p;
        assert!((p - table.p).abs() < 1e-9 * table.p.max(1e-3), "{p}, expected {}", table.p);
    }
    for (found, expected) in holm(&golden.holm.p).iter().zip(golden.holm.corrected) {
        assert!((found - expected).abs() < 1e-12);
    }
}

#[test]
fn the_exact_permutation_test_agrees_with_scipy() {
    for set in golden().permutation {
        // a case of d labels of which `right / 2` are common: micro-F1 with numerator `right` and denominator d
        let outcomes = |right: &[f64]| -> Vec<Outcome> {
            let labels = |from: usize, count: usize| (from..from + count).map(|k| k.to_string()).collect();
            let case = |i: usize| {
                let (all, common) = (set.den[i] as usize, (right[i] / 2.0) as usize);
                let gold = all / 2;
                let predicted = all - gold;
                Outcome {
                    case_id: i.to_string(),
                    group: i.to_string(),
                    gold: labels(0, gold),
                    predicted: labels(gold - common, predicted),
                    parsed: true,
                }
            };
            (0..set.den.len()).map(case).collect()
        };
        let (a, b) = (outcomes(&set.a), outcomes(&set.b));
        let tables = Metric::tables(&[Metric::MicroF1], &[&a, &b]);
        let p = |bootstrap: &Bootstrap| permutation(&tables[0], &tables[1], "micro_f1", bootstrap).unwrap().unwrap();
        let exact = p(&Bootstrap::default());
        if set.den.len() <= 10 {
            assert!((exact - set.p).abs() < 1e-9, "{exact}, expected {}", set.p);
        } else {
            let all = Bootstrap { resamples: 1 << set.den.len(), ..Bootstrap::default() };
            assert!((p(&all) - set.p).abs() < 1e-9);
            let random = Bootstrap { resamples: (1 << set.den.len()) - 1, ..Bootstrap::default() };
            let p = p(&random);
            assert!((p - set.p).abs() < 0.03, "drawn at random: {p}, all of them: {}", set.p);
        }
    }
}

#[test]
fn calibration_agrees_with_numpy_and_scikit_learn() {
    for set in golden().calibration {
        let raw: Vec<f64> = set.logprob.iter().map(|s| s.exp()).collect();
        let near = |found: f64, expected: f64, what: &str| {
            assert!((found - expected).abs() < 1e-12, "{what}: {found}, expected {expected}");
        };
        near(calibration_error(&raw, &set.outcome, 10).unwrap(), set.ece, "error");
        near(brier(&raw, &set.outcome).unwrap(), set.brier, "Brier");
        let units: Vec<usize> = (0..raw.len()).collect();
        for (bin, (n, confidence, outcome)) in bins(&raw, &set.outcome, &units, 10).iter().zip(&set.bins) {
            assert_eq!((bin.n, bin.units), (*n, *n));
            near(bin.confidence, *confidence, "confidence");
            near(bin.outcome, *outcome, "outcome");
            assert!(bin.low <= bin.outcome && bin.outcome <= bin.high);
        }
        let losses: Vec<f64> = set.outcome.iter().map(|y| 1.0 - y).collect();
        let risks = risk_coverage(&set.logprob, &losses);
        near(risks.iter().sum::<f64>() / risks.len() as f64, set.aurc, "AURC");
        near(risks[risks.len() / 2 - 1], set.risk_at_half, "risk at half coverage");
        if let Some((a, b)) = set.platt {
            let found = platt(&set.logprob, &set.outcome);
            close((found.a, found.b), (a, b), 1e-4);
        }
    }
}

use super::counts::bin_width;
use super::curves::running;
use super::forests::FEW_ROWS;
use super::*;
use crate::metric::{Calibration, Difference, Estimate};
use crate::study::Comparison;
use std::collections::BTreeMap;

fn counts(pairs: &[(&str, usize)]) -> BTreeMap<String, usize> {
    pairs.iter().map(|(label, n)| (label.to_string(), *n)).collect()
}

fn estimates() -> Vec<(String, Estimate)> {
    let estimate = |value: f64| Estimate { value, low: value - 0.03, high: value + 0.04, n: 236 };
    vec![
        ("most-frequent-3".into(), estimate(0.31)),
        ("<b> & a name that is far too long to be drawn beside".into(), estimate(0.5)),
    ]
}

#[test]
fn equal_numbers_give_equal_bytes_and_the_texts_are_there() {
    let draw = || forest(&estimates(), "micro-F1 (n = 236, 95 % interval)", None).unwrap();
    let svg = draw().svg().to_string();
    assert_eq!(draw().svg(), svg);
    assert!(svg.starts_with("<svg") && svg.contains("micro-F1 (n = 236") && svg.contains("0.310 [0.280, 0.350]"));
    assert!(svg.contains("&lt;b&gt; &amp; a name") && svg.contains('…') && !svg.contains("<b>"));
    assert!(svg.contains("font-family=\"sans-serif\""));
}

#[test]
fn every_figure_draws_what_it_is_given() {
    let (train, test) = (counts(&[("a", 90), ("b", 10), ("c", 1)]), counts(&[("a", 20), ("d", 2)]));
    let tail = label_frequencies(&train, &test).unwrap();
    assert!(tail.svg().contains("training (3 labels)") && tail.svg().matches("<polygon").count() == 2 + 1);
    assert!(top_labels((&train, 100), (&test, 30), 20).unwrap().svg().contains(">\nd\n"));
    let lengths = lengths(&[("train", vec![100, 120, 140]), ("test", vec![80])], "words").unwrap();
    assert!(lengths.svg().contains("train (n = 3, median 120)"));
    let curve = learning_curve(&[(1, 2.0), (2, f64::NAN), (3, 1.0)], &[(1, 2.2), (3, 1.5)]).unwrap();
    assert!(curve.svg().contains("best 1.500 at update 3") && curve.svg().contains("the middle 80 % of them"));
    let many: Vec<(usize, f64)> = (0..200).map(|i| (i, f64::from(i as u32 % 10))).collect();
    let around = running(&many.iter().map(|&(step, loss)| (step as f64, loss)).collect::<Vec<_>>());
    let last = &around[199]; // ten updates, 0 to 9
    assert!(
        (last.mean, last.step) == (4.5, 199.0) && (last.low - 0.9).abs() < 1e-12 && (last.high - 8.1).abs() < 1e-12
    );
    assert!(learning_curve(&many, &[]).unwrap().svg().contains("training, mean of 10 updates"));
}

#[test]
fn differences_and_confidence_are_drawn_with_their_numbers() {
    let row = |value: f64, detectable| {
        let (low, high) = (value - 0.1, value + 0.1);
        let difference = Difference { value, low, high, n: 9, detectable, ..Default::default() };
        let reading = crate::metric::Reading::Normalised;
        let row = Comparison::of("plain", "LoRA", "micro_f1", reading, Some(difference));
        Comparison { p_holm: Some(0.04), ..row }
    };
    let same = Comparison { difference: Some(Difference { n: 9, ..Default::default() }), ..row(0.0, None) };
    let drawn = paired_forest(&[row(0.3, Some(0.14)), row(-0.1, None), same], "difference (n = 9)").unwrap();
    let svg = drawn.svg();
    assert!(
        svg.contains("→ LoRA")
            && svg.contains("+0.300 [0.200, 0.400]")
            && svg.contains("0.040")
            && svg.contains("0.140")
            && svg.contains("no case differs")
    );
    assert!(svg.contains("plain"), "the first model stands in a short figure");
    let many: Vec<Comparison> = (0..=FEW_ROWS).map(|_| row(0.3, None)).collect();
    let dense = paired_forest(&many, "difference (n = 9)").unwrap();
    assert!(
        dense.svg().contains("row − plain") && !dense.svg().contains("→ LoRA"),
        "and in a long one it stands in the head"
    );
    assert!(paired_forest(&[], "x").is_err() && risk_coverage(&[]).is_err());
    let case = |i: usize| crate::metric::Scored {
        group: i.to_string(),
        logprob: -(i as f64) / 20.0,
        tokens: 2,
        outcome: f64::from(i % 7 > i / 10),
    };
    let cases: Vec<_> = (0..60).map(case).collect();
    let bootstrap = crate::metric::Bootstrap { resamples: 100, ..Default::default() };
    let found = crate::metric::calibrate(&cases, crate::metric::Signal::Sequence, &bootstrap).unwrap();
    // ten bins and the key: triangles raw, squares by the temperature (and the ground), circles by Platt
    let drawn = reliability(&found).unwrap();
    let count = |svg: &str, tag: &str| svg.matches(tag).count();
    assert_eq!(["<polygon", "<rect", "<circle"].map(|tag| count(drawn.svg(), tag)), [10 + 1, 10 + 2, 10 + 1]);
    assert!(drawn.svg().contains("temperature ") && drawn.svg().contains("95 % Wilson interval"));
    let older = Calibration { temperature: None, tempered: None, ..found.clone() };
    assert_eq!(count(reliability(&older).unwrap().svg(), "<rect"), 1, "a file of an older version has no temperature");
    let three = ["LoRA", "held", "plain"].map(|name| (name.to_string(), found.clone()));
    let drawn = risk_coverage(&three).unwrap();
    assert!(drawn.svg().contains("LoRA: AURC 0.") && drawn.svg().contains("with its 95 % bootstrap interval"));
    // a point at every tenth and one in the key, of three kinds; the first line is whole, the others are in pieces
    assert_eq!(["<circle", "<polygon", "<rect"].map(|tag| count(drawn.svg(), tag)), [11, 11, 11 + 1]);
    let one = risk_coverage(&three[..1]).unwrap();
    assert!(count(drawn.svg(), "<polyline") > count(one.svg(), "<polyline") + 20);
}

#[test]
fn nothing_to_draw_is_an_error_and_not_a_panic() {
    let none = BTreeMap::new();
    assert!(label_frequencies(&none, &none).is_err() && top_labels((&none, 0), (&none, 0), 5).is_err());
    assert!(lengths(&[], "words").is_err() && learning_curve(&[], &[(1, f64::NAN)]).is_err());
    assert!(forest(&[], "x", Some(0.0)).is_err());
    assert!(learning_curve(&[(1, 1.0)], &[]).is_ok(), "one point is enough");
}

#[test]
fn bins_are_round_and_about_thirty() {
    assert_eq!((bin_width(362), bin_width(29), bin_width(1)), (20, 1, 1));
    assert!((1..5000).all(|longest| longest / bin_width(longest) <= 30));
}

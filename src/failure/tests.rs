use super::*;
use crate::run::prediction::tests::answer;

pub(crate) fn taxonomy() -> Taxonomy {
    let texts = [
        ("Fluid-dense focus in the cortex. Lungs clear.", "renal cyst"),
        ("Bright concretion in the calyx. Lungs clear.", "kidney stone"),
        ("Dilated pelvis on the left. Lungs clear.", "left hydronephrosis"),
        ("Free fluid. Lungs clear.", "ascites"),
    ];
    let case = |i: usize| {
        let (input, label) = texts[i % 4];
        Finding::new(i.to_string(), i.to_string(), input, vec![label.into()])
    };
    let train: Vec<Finding> = (0..80).map(case).collect();
    let labels = ["renal cyst", "kidney stone", "left hydronephrosis", "ascites", "colorectal cancer"];
    Taxonomy::new(&train, Normaliser::new(labels).unwrap())
}

fn classes(gold: &[&str], given: &[&str], input: &str) -> Vec<(Where, &'static str, String)> {
    let prediction = Prediction { input: input.into(), ..answer("1", gold, given) };
    let case = taxonomy().case(&prediction, None);
    case.errors.into_iter().map(|error| (error.on, error.class.name(), error.label)).collect()
}

#[test]
fn every_error_has_exactly_one_class_and_nothing_right_has_one() {
    use Where::{Given, Gold};
    let text = "Lungs clear. There is no concretion in the calyx. Free fluid was seen 9 months ago.";
    let one = |on, class, label: &str| (on, class, label.to_string());
    let cases = [
        (vec!["renal cyst"], vec!["Renal cyst"], vec![]),
        (vec!["renal cyst"], vec![], vec![one(Gold, "format", "renal cyst")]),
        (
            vec!["renal cyst"],
            vec!["the lungs are clear and the heart is of normal size"],
            vec![
                one(Gold, "missed", "renal cyst"),
                one(Given, "format", "the lungs are clear and the heart is of normal size"),
            ],
        ),
        (
            vec!["colorectal cancer (possible)"],
            vec!["colorectal cancer"],
            vec![
                one(Gold, "wrong certainty", "colorectal cancer (possible)"),
                one(Given, "wrong certainty", "colorectal cancer"),
            ],
        ),
        (
            vec!["renal cysts"],
            vec!["renal cyst"],
            vec![one(Gold, "naming shift", "renal cysts"), one(Given, "naming shift", "renal cyst")],
        ),
        (
            vec!["renal cyst"],
            vec!["kidney cyst"],
            vec![one(Gold, "synonym only", "renal cyst"), one(Given, "synonym only", "kidney cyst")],
        ),
        (
            vec!["left hydronephrosis"],
            vec!["right hydronephrosis"],
            vec![one(Gold, "wrong side", "left hydronephrosis"), one(Given, "wrong side", "right hydronephrosis")],
        ),
        (
            vec!["renal cyst"],
            vec!["cyst"],
            vec![one(Gold, "too general", "renal cyst"), one(Given, "too general", "cyst")],
        ),
        (
            vec!["cyst"],
            vec!["cyst of the kidney"],
            // an alias of renal cyst: a name of its own, more specific than "cyst"
            vec![one(Gold, "too specific", "cyst"), one(Given, "too specific", "cyst of the kidney")],
        ),
        (
            vec!["renal cyst"],
            vec!["renal cyst", "kidney stone", "ascites", "gallstone"],
            vec![
                one(Given, "negation missed", "kidney stone"),
                one(Given, "other distractor", "ascites"),
                one(Given, "invented", "gallstone"),
            ],
        ),
        (vec!["renal cyst"], vec!["renal cyst", "renal cysts"], vec![one(Given, "synonym only", "renal cysts")]),
    ];
    for (gold, given, wanted) in cases {
        assert_eq!(classes(&gold, &given, text), wanted, "gold {gold:?}, given {given:?}");
    }
}

#[test]
fn a_denial_of_something_else_is_no_negation_missed() {
    let class = |given: &str, text: &str| classes(&[], &[given], text)[0].1;
    assert_eq!(class("kidney stone", "There is no concretion in the calyx."), "negation missed");
    assert_eq!(class("kidney stone", "There is no stone in the gallbladder."), "invented", "another organ");
    assert_eq!(
        class("kidney stone", "Bright concretion in the calyx without thick walls."),
        "invented",
        "another property"
    );
    assert_eq!(
        class("no acute abnormality", "There is no acute abnormality of the bowel."),
        "invented",
        "nothing found"
    );
}

#[test]
fn errors_add_up_and_an_earlier_class_takes_the_label() {
    // left and right: the side decides before "too general" could
    let got = classes(&["left hydronephrosis", "renal cyst"], &["right hydronephrosis", "hydronephrosis"], "");
    let names: Vec<(&str, &str)> = got.iter().map(|(_, class, label)| (*class, label.as_str())).collect();
    assert_eq!(
        names,
        [
            ("wrong side", "left hydronephrosis"),
            ("missed", "renal cyst"),
            ("wrong side", "right hydronephrosis"),
            ("too general", "hydronephrosis"),
        ]
    );
}

#[test]
fn answers_as_a_whole_are_looked_at_too() {
    let format = |raw: &str, labels: &[&str], new_tokens| {
        let prediction = Prediction { raw: raw.into(), new_tokens, ..answer("1", &["ascites", "renal cyst"], labels) };
        taxonomy().case(&prediction, Some(64))
    };
    let case = format("renal cyst, ascites", &["renal cyst", "ascites"], 8);
    assert!(case.errors.is_empty() && case.format == Format { reordered: true, ..Format::default() });
    let case = format("ascites, Ascites, renal cyst, asc", &["ascites", "renal cyst", "asc"], 64);
    assert!(case.format.repeated && case.format.cut && !case.format.reordered);
    assert_eq!((case.errors[0].class, case.errors.len()), (Class::Format, 1), "the torn label");
    assert_eq!(case.summary(), "format: asc");
}

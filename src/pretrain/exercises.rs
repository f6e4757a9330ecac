//! Questions whose answers stand in the text: what a base model reads so that prompts in chat format mean something to it.
//!
//! No diagnosis is asked and no label of a findings corpus is shown: quoting, listing organs and sizes, choosing from a list, finding the
//! sentence that rules something out or looks back. Abstracts add the names that their corpora mark.
use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeSet;

/// A question with the text it is about, and its answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Exercise {
    pub question: String,
    pub answer: String,
}

const NONE: &str = "none";

/// What the exercise "list the organs" answers with.
pub const ORGANS: [&str; 20] = [
    "liver",
    "gallbladder",
    "bile duct",
    "spleen",
    "pancreas",
    "kidney",
    "ureter",
    "adrenal",
    "bladder",
    "aorta",
    "portal vein",
    "bowel",
    "colon",
    "appendix",
    "stomach",
    "lymph node",
    "uterus",
    "ovary",
    "prostate",
    "bone",
];
/// How a sentence rules something out.
const DENIALS: [&str; 8] = ["no ", "without", "negative for", "free of", "not ", "absence of", "neither", "excluded"];
/// How a sentence looks back.
const EARLIER: [&str; 7] = ["previous", "prior", "resolved", "ago", "comparison", "former", "history"];

/// Words of all texts, to make lists in which some items do not belong.
pub struct Words(Vec<String>);

impl Words {
    /// Words of five letters and more, as often as they stand in the texts.
    pub fn of<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        Self(texts.into_iter().flat_map(words).collect())
    }
}

fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphabetic()).filter(|w| w.chars().count() >= 5).map(str::to_lowercase)
}

fn sentences(text: &str) -> Vec<&str> {
    text.split_inclusive(". ").map(str::trim).collect()
}

fn first_with<'a>(text: &'a str, cues: &[&str]) -> &'a str {
    let holds = |s: &&str| {
        let s = s.to_lowercase();
        cues.iter().any(|cue| s.contains(cue))
    };
    sentences(text).into_iter().find(holds).unwrap_or(NONE)
}

/// One exercise on a report, drawn.
pub fn on_report(text: &str, others: &Words, rng: &mut ChaCha8Rng) -> Exercise {
    let (question, answer) = match rng.random_range(0..10) {
        0..3 => quote_organ(text, rng),
        3..5 => return which(text, others, rng),
        5..7 => ("Read this report and list the organs, separated by commas.".into(), listed(organs(text))),
        7 => (
            "Quote the first sentence of this report that rules something out.".into(),
            first_with(text, &DENIALS).into(),
        ),
        8 => ("Quote the first sentence of this report that looks back.".into(), first_with(text, &EARLIER).into()),
        _ => ("Read this report and list the sizes, separated by commas.".into(), listed(sizes(text))),
    };
    about(question, text, answer)
}

/// One exercise on a text whose corpus marks `names` of a `kind` ("diseases").
pub fn on_names(text: &str, kind: &str, names: &[String], others: &Words, rng: &mut ChaCha8Rng) -> Exercise {
    match rng.random_range(0..4) {
        0 => which(text, others, rng),
        1 if !names.is_empty() => {
            let name = &names[rng.random_range(0..names.len())];
            let answer = first_with(text, &[&name.to_lowercase()]).to_string();
            about(format!("Quote the first sentence of this abstract that names: {name}"), text, answer)
        }
        _ => about(
            format!("Read this abstract and list the {kind}, separated by commas."),
            text,
            listed(names.iter().map(String::as_str).collect()),
        ),
    }
}

/// A name's parent and its other names.
pub fn on_concept(name: &str, parents: &[String], synonyms: &[String], rng: &mut ChaCha8Rng) -> Option<Exercise> {
    let ask = |question: String, names: &[String]| {
        (!names.is_empty()).then(|| Exercise { question, answer: names.join(", ") })
    };
    let kind = ask(format!("What kind of disease is {name}?"), parents);
    let also = ask(format!("What is {name} also called?"), &synonyms[..synonyms.len().min(4)]);
    match rng.random_range(0..2) {
        0 => also.or(kind),
        _ => kind.or(also),
    }
}

fn about(question: String, text: &str, answer: String) -> Exercise {
    Exercise { question: format!("{question}\n\n{text}"), answer }
}

fn listed(items: Vec<&str>) -> String {
    match items.is_empty() {
        true => NONE.into(),
        false => items.join(", "),
    }
}

/// What a report says of an organ; one time in eight of any organ, which may be none.
fn quote_organ(text: &str, rng: &mut ChaCha8Rng) -> (String, String) {
    let named = organs(text);
    let organ = match named.choose(rng) {
        Some(organ) if rng.random_range(0..8) > 0 => organ,
        _ => ORGANS[rng.random_range(0..ORGANS.len())],
    };
    let said: Vec<&str> = sentences(text).into_iter().filter(|s| s.to_lowercase().contains(organ)).collect();
    let said = if said.is_empty() { NONE.into() } else { said.join(" ") };
    (format!("Quote what this report says of: {organ}"), said)
}

/// Organs in the order of their first mention.
fn organs(text: &str) -> Vec<&'static str> {
    let text = text.to_lowercase();
    let mut found: Vec<(usize, &str)> = ORGANS.iter().filter_map(|organ| Some((text.find(organ)?, *organ))).collect();
    found.sort();
    found.into_iter().map(|(_, organ)| organ).collect()
}

/// Distinct "21 mm", "10.8 cm" in order.
fn sizes(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = text[from..].find([' ']).map(|i| from + i) {
        from = at + 1;
        let unit = text[from..].split(|c: char| !c.is_alphabetic()).next().unwrap_or_default();
        let number = text[..at].rsplit(|c: char| !c.is_ascii_digit() && c != '.').next().unwrap_or_default();
        let size = &text[at - number.len()..from + unit.len()];
        if ["mm", "cm"].contains(&unit) && number.starts_with(|c: char| c.is_ascii_digit()) && !found.contains(&size) {
            found.push(size);
        }
    }
    found
}

/// A list of words, those of them that stand in the text.
fn which(text: &str, others: &Words, rng: &mut ChaCha8Rng) -> Exercise {
    let own: Vec<String> = words(text).collect::<BTreeSet<_>>().into_iter().collect();
    let standing = rng.random_range(0..6);
    let mut list: Vec<String> = own.choose_multiple(rng, standing).cloned().collect();
    for _ in 0..rng.random_range(2..8) {
        list.extend(others.0.choose(rng).filter(|w| !list.contains(w)).cloned());
    }
    list.shuffle(rng);
    let standing: Vec<&str> = list.iter().filter(|w| own.contains(w)).map(String::as_str).collect();
    let answer = listed(standing);
    about(format!("Which of these words stand in the text: {}?", list.join(", ")), text, answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    const REPORT: &str = "History: pain. A cyst of 21 mm in the liver. No stone in either kidney. The liver is 10.8 cm, a nodule is 21 mm.";

    #[test]
    fn answers_stand_in_the_text() {
        assert_eq!(sizes(REPORT), ["21 mm", "10.8 cm"]);
        assert_eq!(organs(REPORT), ["liver", "kidney"]);
        assert_eq!(first_with(REPORT, &DENIALS), "No stone in either kidney.");
        assert_eq!(first_with(REPORT, &EARLIER), "History: pain.");
        assert_eq!(first_with("Nothing.", &EARLIER), NONE);
    }

    #[test]
    fn a_list_is_answered_by_what_of_it_stands_in_the_text() {
        let (others, mut rng) = (Words::of(["elsewhere aneurysm"]), ChaCha8Rng::seed_from_u64(1));
        let mut answered = BTreeSet::new();
        for _ in 0..60 {
            let made = which(REPORT, &others, &mut rng);
            let (list, _) = made.question.split_once('?').unwrap();
            for word in made.answer.split(", ").filter(|w| *w != NONE) {
                assert!(list.contains(word) && REPORT.to_lowercase().contains(word), "{made:?}");
            }
            assert!(!made.answer.contains("aneurysm"));
            answered.insert(made.answer);
        }
        assert!(answered.contains(NONE) && answered.len() > 10, "{answered:?}");
    }

    #[test]
    fn every_kind_of_exercise_comes_up_and_ends_with_its_text() {
        let (others, mut rng) = (Words::of([REPORT]), ChaCha8Rng::seed_from_u64(2));
        let made: Vec<Exercise> = (0..80).map(|_| on_report(REPORT, &others, &mut rng)).collect();
        assert!(made.iter().all(|e| e.question.ends_with(REPORT) && !e.answer.is_empty()));
        for begins in
            ["Quote what", "Which of", "Read this report and list the organs", "Read this report and list the sizes"]
        {
            assert!(made.iter().any(|e| e.question.starts_with(begins)), "{begins}");
        }
        let names = ["pain".to_string()];
        let listed = |e: &Exercise| e.question.contains("list the diseases") && e.answer == "pain";
        assert!((0..40).map(|_| on_names(REPORT, "diseases", &names, &others, &mut rng)).any(|e| listed(&e)));
        let asked = on_concept("odd cyst", &["kidney disease".into()], &[], &mut rng).unwrap();
        assert_eq!(asked.answer, "kidney disease");
        assert_eq!(on_concept("odd cyst", &[], &[], &mut rng), None);
    }
}

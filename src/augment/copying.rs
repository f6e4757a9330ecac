//! Cases of words in no order, whose labels are the words that follow a cue. Nothing about them can be known or guessed, so a model that is to
//! answer has to look up what stands there and copy it (induction heads, Olsson et al. 2022); a small one that was pretrained on little
//! text cannot do that yet (LOG.md). They are made from the words of the training cases alone.
use crate::corpus::Finding;
use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;

/// What names of diseases follow in a text.
const CUES: [&str; 12] = [
    "diagnosed with",
    "patients with",
    "caused by",
    "history of",
    "developed",
    "induced",
    "risk of",
    "treatment of",
    "cases of",
    "suffering from",
    "consistent with",
    "evidence of",
];
const ENDS: [&str; 5] = [",", ".", ";", " and", " in"];
const NAMES: RangeInclusive<usize> = 1..=5;
const WORDS_OF_A_NAME: RangeInclusive<usize> = 1..=4;
/// Words before a cue; in one case of four the second range, as real texts are longer.
const BETWEEN: [RangeInclusive<usize>; 2] = [2..=12, 10..=40];

/// `n` of them from the words of `cases`; none where these have no words.
pub fn copying(cases: &[Finding], n: usize, rng: &mut ChaCha8Rng) -> Vec<Finding> {
    let words: Vec<String> =
        cases.iter().flat_map(|case| words(&case.input)).collect::<BTreeSet<_>>().into_iter().collect();
    match words.is_empty() {
        true => vec![],
        false => (0..n).map(|i| one(format!("copying-{}", i + 1), &words, rng)).collect(),
    }
}

/// Words of three letters and more, in small letters.
fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphabetic()).filter(|w| w.chars().count() >= 3).map(str::to_lowercase)
}

fn one(id: String, words: &[String], rng: &mut ChaCha8Rng) -> Finding {
    let draw = |n: RangeInclusive<usize>, rng: &mut ChaCha8Rng| -> String {
        let n = rng.random_range(n);
        (0..n).filter_map(|_| words.choose(rng)).map(String::as_str).collect::<Vec<_>>().join(" ")
    };
    let between = &BETWEEN[usize::from(rng.random_range(0..4) == 0)];
    let (mut said, mut labels) = (Vec::new(), Vec::<String>::new());
    for _ in 0..rng.random_range(NAMES) {
        let (before, name) = (draw(between.clone(), rng), draw(WORDS_OF_A_NAME, rng));
        let (cue, end) = (CUES[rng.random_range(0..CUES.len())], ENDS[rng.random_range(0..ENDS.len())]);
        said.push(format!("{before} {cue} {name}{end}"));
        if !labels.contains(&name) {
            labels.push(name);
        }
    }
    said.push(draw(1..=8, rng));
    Finding::new(id.clone(), id, said.join(" "), labels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn case(input: &str) -> Finding {
        Finding::new("a", "a", input, vec!["none".into()])
    }

    #[test]
    fn every_label_follows_a_cue_and_is_made_of_words_of_the_cases() {
        let from = [case("A cyst of 21 mm in the Liver."), case("No stone; spleen, kidney, bladder.")];
        let made = copying(&from, 200, &mut ChaCha8Rng::seed_from_u64(3));
        assert_eq!(made.len(), 200);
        let known = ["bladder", "cyst", "kidney", "liver", "spleen", "stone", "the"];
        for case in &made {
            assert!((1..=5).contains(&case.gold.len()), "{case:?}");
            for label in &case.gold {
                assert!(label.split(' ').all(|word| known.contains(&word)), "{label}");
                assert!(CUES.iter().any(|cue| case.input.contains(&format!("{cue} {label}"))), "{case:?}");
            }
        }
        let ids: BTreeSet<&str> = made.iter().map(|case| case.case_id.as_str()).collect();
        assert_eq!(ids.len(), 200);
        assert!(made.iter().any(|case| case.gold.iter().any(|label| label.contains(' '))));
        assert_eq!(copying(&from, 5, &mut ChaCha8Rng::seed_from_u64(3)), made[..5]);
    }

    #[test]
    fn cases_without_words_give_none() {
        assert!(copying(&[case("21 mm")], 9, &mut ChaCha8Rng::seed_from_u64(3)).is_empty());
    }
}

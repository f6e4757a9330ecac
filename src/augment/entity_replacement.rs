//! Names exchanged in text and labels alike (mention replacement, Dai & Adel 2020, §3): where labels are names that the text uses, a model
//! that knows its training cases by heart names what stood there, and one that reads names what stands there.
use crate::corpus::Finding;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// The distinct labels of training cases, to be exchanged for each other.
pub struct Names(Vec<String>);

impl Names {
    pub fn of(cases: &[Finding]) -> Self {
        Self(cases.iter().flat_map(|case| &case.gold).collect::<BTreeSet<_>>().into_iter().cloned().collect())
    }

    /// Every label of `case` that stands in its text, whole words in any letter case and not inside a longer label, becomes another label
    /// there and in the list. Labels that the text does not name stay, and so does one for which a name was drawn that holds a label of the
    /// case or lies in one.
    pub fn exchange(&self, case: &mut Finding, rng: &mut ChaCha8Rng) {
        let named = named(case);
        let mut new = case.gold.clone();
        for at in 0..new.len() {
            let Some(other) = self.0.get(rng.random_range(0..self.0.len().max(1))) else { continue };
            let apart = !case.gold.iter().chain(&new).any(|label| nested(label, other));
            if apart && named.values().any(|of| *of == at) {
                new[at].clone_from(other);
            }
        }
        for (&from, &at) in named.iter().rev() {
            let len = case.gold[at].len();
            if new[at] != case.gold[at] {
                case.input.replace_range(from..from + len, &new[at]);
            }
        }
        case.gold = new;
    }
}

/// Where a label is named, by bytes of the text: where it begins, and which it is; of labels inside each other the longest.
fn named(case: &Finding) -> BTreeMap<usize, usize> {
    let mut longest_first: Vec<usize> = (0..case.gold.len()).collect();
    longest_first.sort_by_key(|&at| Reverse(case.gold[at].len()));
    let mut found: BTreeMap<usize, usize> = BTreeMap::new();
    for at in longest_first {
        for from in places(&case.input, &case.gold[at]) {
            let to = from + case.gold[at].len();
            if found.iter().all(|(&other, &of)| to <= other || other + case.gold[of].len() <= from) {
                found.insert(from, at);
            }
        }
    }
    found
}

fn nested(a: &str, b: &str) -> bool {
    let (a, b) = (a.to_ascii_lowercase(), b.to_ascii_lowercase());
    a.contains(&b) || b.contains(&a)
}

/// Where `name` stands in the text as whole words, by bytes.
fn places(text: &str, name: &str) -> Vec<usize> {
    let (text, name) = (text.to_ascii_lowercase(), name.to_ascii_lowercase()); // as long as they were
    let in_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let whole =
        |&at: &usize| !in_word(text[..at].chars().next_back()) && !in_word(text[at + name.len()..].chars().next());
    text.match_indices(&name).map(|(at, _)| at).filter(whole).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn case(input: &str, labels: &[&str]) -> Finding {
        let labels = labels.iter().map(|label| label.to_string()).collect();
        Finding::new("1", "1", input, labels)
    }

    #[test]
    fn a_name_is_exchanged_in_text_and_labels_alike() {
        let text = "Seizure after seizure: β-blockers and pseudoseizure, then seizure disorder.";
        let cases =
            [case(text, &["seizure", "seizure disorder", "unnamed"]), case("", &["delirium", "ataxia", "coma"])];
        let (names, mut rng) = (Names::of(&cases), ChaCha8Rng::seed_from_u64(1));
        let mut exchanged = BTreeSet::new();
        let as_it_was = |a: &str| if a == "seizure" { "Seizure".to_string() } else { a.to_string() };
        for _ in 0..50 {
            let mut made = cases[0].clone();
            names.exchange(&mut made, &mut rng);
            let [a, b, unnamed] = &made.gold[..] else { panic!("{:?}", made.gold) };
            assert_eq!(unnamed, "unnamed", "not in the text, so it stays");
            // the shorter name is not torn out of the longer one, whichever of them stays
            assert_eq!(made.input, format!("{} after {a}: β-blockers and pseudoseizure, then {b}.", as_it_was(a)));
            exchanged.insert((a.clone(), b.clone()));
        }
        assert!(exchanged.len() > 6 && exchanged.iter().all(|(a, b)| a != b), "{exchanged:?}");
    }
}

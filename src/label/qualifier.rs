//! What a label says besides the disease: on which side, and how sure. "suspected left renal cyst" is a renal cyst, left, not
//! certain. What it deliberately does not do: decide whether a disease has sides; "left" is taken off wherever it stands.
use super::certainty::{Certainty, certainty};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    Left,
    Right,
    Both,
}

/// A label taken apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Qualified {
    /// The label without words of side; words of doubt are left to the normaliser.
    pub core: String,
    /// None where the label does not say.
    pub side: Option<Side>,
    /// False where a word of doubt stands in the label.
    pub certain: bool,
}

impl Qualified {
    pub fn of(label: &str) -> Self {
        let certain = certainty(label) != Certainty::Possible;
        let words: Vec<&str> = label.split_whitespace().collect();
        // "left and right kidney": the word between two sides goes with them
        let between = |i: usize| {
            let sides = || i > 0 && side(words[i - 1]).is_some() && words.get(i + 1).is_some_and(|w| side(w).is_some());
            matches!(words[i], "and" | "or" | "&") && sides()
        };
        let (mut left, mut right, mut kept) = (false, false, Vec::new());
        for (i, word) in words.iter().enumerate() {
            match side(word) {
                Some(Side::Left) => left = true,
                Some(Side::Right) => right = true,
                Some(Side::Both) => (left, right) = (true, true),
                None if between(i) => (),
                None => kept.push(*word),
            }
        }
        let side = match (left, right) {
            (true, true) => Some(Side::Both),
            (true, false) => Some(Side::Left),
            (false, true) => Some(Side::Right),
            (false, false) => None,
        };
        if kept.is_empty() {
            return Self { core: label.trim().into(), side: None, certain }; // nothing but a side is no disease
        }
        Self { core: joined(&kept), side, certain }
    }

    /// True where both say a side and it is not the same.
    pub fn other_side(&self, other: &Self) -> bool {
        self.side.zip(other.side).is_some_and(|(a, b)| a != b)
    }
}

/// The side that a word means, whatever marks surround it.
fn side(word: &str) -> Option<Side> {
    let bare = word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
    match bare.as_str() {
        "left" | "left-sided" | "leftsided" | "lt" => Some(Side::Left),
        "right" | "right-sided" | "rightsided" | "rt" => Some(Side::Right),
        "bilateral" | "bilaterally" | "both" | "two-sided" => Some(Side::Both),
        _ => None,
    }
}

/// The other words, without what a side leaves dangling: "cyst, on the (left)" → "cyst".
fn joined(words: &[&str]) -> String {
    let dangling = ["on", "of", "the", "side", "and", "in", "at"];
    let end =
        words.iter().rposition(|word| !dangling.contains(&word.to_lowercase().as_str())).map_or(words.len(), |i| i + 1);
    let start = words.iter().position(|word| !["and", "sided"].contains(&word.to_lowercase().as_str())).unwrap_or(0);
    words[start.min(end)..end].join(" ").trim_end_matches([',', ' ', '-']).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn side_and_doubt_are_told_apart_from_the_disease() {
        use Side::{Both, Left, Right};
        let cases = [
            ("renal cyst", "renal cyst", None, true),
            ("Left renal cyst", "renal cyst", Some(Left), true),
            ("renal cyst (right)", "renal cyst", Some(Right), true),
            ("renal cyst, on the left side", "renal cyst", Some(Left), true),
            ("bilateral pleural effusions", "pleural effusions", Some(Both), true),
            ("cyst of left and right kidney", "cyst of kidney", Some(Both), true),
            ("bright lesion", "bright lesion", None, true),
            ("left and right renal cysts", "renal cysts", Some(Both), true),
            ("left-sided hydronephrosis (possible)", "hydronephrosis (possible)", Some(Left), false),
            ("suspected adrenal nodule, right", "suspected adrenal nodule", Some(Right), false),
            ("leftover", "leftover", None, true),
            ("left", "left", None, true),
        ];
        for (label, core, side, certain) in cases {
            assert_eq!(Qualified::of(label), Qualified { core: core.into(), side, certain }, "{label}");
        }
    }

    #[test]
    fn a_side_that_is_not_said_is_not_another_side() {
        let of = Qualified::of;
        assert!(of("left cyst").other_side(&of("right cyst")) && of("left cyst").other_side(&of("bilateral cyst")));
        assert!(!of("left cyst").other_side(&of("cyst")) && !of("left cyst").other_side(&of("cyst, left")));
    }
}

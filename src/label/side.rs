//! Laterality of a label: which side its words name, and the label without them.

/// What a label's own words say of the side; the organ decides nothing ("appendicitis" has none).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    Left,
    Right,
    /// "bilateral", "both", or left and right.
    Both,
    /// No side is named.
    None,
}

const LEFT: [&str; 4] = ["left", "left-sided", "leftsided", "lt"];
const RIGHT: [&str; 4] = ["right", "right-sided", "rightsided", "rt"];
const BOTH: [&str; 4] = ["bilateral", "bilaterally", "both", "two-sided"];

/// The side that a label names.
///
/// ```
/// use dxlab::label::side::{Side, laterality};
/// assert_eq!(laterality("Left-sided pleural effusion"), Side::Left);
/// assert_eq!(laterality("cyst of left and right kidney"), Side::Both);
/// assert_eq!(laterality("renal cyst"), Side::None);
/// ```
pub fn laterality(label: &str) -> Side {
    let has = |side: &[&str]| words(label).any(|word| side.contains(&word.as_str()));
    match (has(&LEFT), has(&RIGHT), has(&BOTH)) {
        (_, _, true) | (true, true, _) => Side::Both,
        (true, ..) => Side::Left,
        (_, true, _) => Side::Right,
        _ => Side::None,
    }
}

/// The label without its words of side; single spaces, case kept.
pub fn without_side(label: &str) -> String {
    let side = |word: &str| {
        let word = plain(word);
        [LEFT, RIGHT, BOTH].iter().any(|list| list.contains(&word.as_str()))
    };
    // "left and right kidney": the word between goes too
    let all: Vec<&str> = label.split_whitespace().collect();
    let between = |i: usize| {
        matches!(all[i], "and" | "or" | "&") && i > 0 && side(all[i - 1]) && all.get(i + 1).is_some_and(|w| side(w))
    };
    let kept = (0..all.len()).filter(|&i| !side(all[i]) && !between(i)).map(|i| all[i]);
    kept.collect::<Vec<_>>().join(" ")
}

fn words(label: &str) -> impl Iterator<Item = String> {
    label.split_whitespace().map(plain)
}

fn plain(word: &str) -> String {
    word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_are_words_and_not_parts_of_words() {
        let pairs = [
            ("right renal cyst", Side::Right),
            ("Renal cyst (left)", Side::Left),
            ("bilateral hydronephrosis", Side::Both),
            ("stones in both kidneys", Side::Both),
            ("bright lesion", Side::None),
            ("right-sided diverticulitis", Side::Right),
            ("gallstone", Side::None),
        ];
        for (label, side) in pairs {
            assert_eq!(laterality(label), side, "{label}");
        }
    }

    #[test]
    fn a_label_without_its_side_is_the_same_on_either_side() {
        assert_eq!(without_side("Left renal cyst"), without_side("Right renal  cyst"));
        assert_eq!(without_side("cyst of left and right kidney"), "cyst of kidney");
        assert_eq!(without_side("renal cyst (left)"), "renal cyst");
        assert_eq!(laterality(&without_side("bilateral left ureteral stone")), Side::None);
    }
}

//! Certainty of a label: stated, possible or denied, and the label without the words that say so.
use super::normalise::DOUBT;

/// How sure a label is of what it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Certainty {
    Stated,
    /// "(possible)", "suspected …", "… ?".
    Possible,
    /// "no …", "no evidence of …"; a label that denies only a part ("… without recurrence") is stated.
    Denied,
}

const DENIAL: [&str; 8] = [
    "no evidence of ",
    "without evidence of ",
    "negative for ",
    "absence of ",
    "ruled out ",
    "not ",
    "without ",
    "no ",
];

/// How sure a label is.
///
/// ```
/// use dxlab::label::{Certainty, certainty};
/// assert_eq!(certainty("Colorectal cancer (possible)"), Certainty::Possible);
/// assert_eq!(certainty("no evidence of appendicitis"), Certainty::Denied);
/// assert_eq!(certainty("appendicitis"), Certainty::Stated);
/// ```
pub fn certainty(label: &str) -> Certainty {
    let label = label.trim().to_lowercase();
    let doubted = || {
        let text = label.replace(|c: char| !c.is_alphanumeric() && c != '?', " ");
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        label.contains('?') || DOUBT.iter().any(|doubt| format!(" {text} ").contains(&format!(" {doubt} ")))
    };
    if DENIAL.iter().any(|denial| label.starts_with(denial)) {
        Certainty::Denied
    } else if doubted() {
        Certainty::Possible
    } else {
        Certainty::Stated
    }
}

/// What a denying label denies; the label itself where it denies nothing.
pub fn without_denial(label: &str) -> &str {
    let lower = label.trim().to_lowercase();
    let denial = DENIAL.iter().find(|denial| lower.starts_with(*denial));
    label.trim().get(denial.map_or(0, |denial| denial.len())..).unwrap_or(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubt_and_denial_are_told_apart_and_half_words_are_neither() {
        let pairs = [
            ("possible cholecystitis", Certainty::Possible),
            ("cholecystitis, likely", Certainty::Possible),
            ("cholecystitis?", Certainty::Possible),
            ("lesion suspicious for cancer", Certainty::Possible),
            ("No acute abnormality", Certainty::Denied),
            ("nodule", Certainty::Stated),
            ("change after surgery without evidence of recurrence", Certainty::Stated),
            ("unlikely cyst", Certainty::Stated),
            ("impossible", Certainty::Stated),
            ("cyst (?)", Certainty::Possible),
            ("cyst, probable", Certainty::Possible),
        ];
        for (label, sure) in pairs {
            assert_eq!(certainty(label), sure, "{label}");
        }
        assert_eq!(without_denial("No evidence of ascites"), "ascites");
        assert_eq!(without_denial("nodule"), "nodule");
    }
}

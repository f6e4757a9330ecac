//! What is said of a label: that it is there ("present", "0.9"), or that it is not ("no evidence in this report").
use super::{nothing::denies, prose};

/// Words that say that something is there.
const THERE: [&str; 16] = [
    "+",
    "y",
    "pos",
    "present",
    "yes",
    "true",
    "positive",
    "confirmed",
    "detected",
    "seen",
    "found",
    "likely",
    "probable",
    "possible",
    "certain",
    "definite",
];
/// Words that say that it is not.
pub(super) const GONE: [&str; 38] = [
    "-",
    "n",
    "−",
    "neg",
    "absent",
    "no",
    "false",
    "negative",
    "not present",
    "not seen",
    "not detected",
    "not found",
    "not identified",
    "none",
    "excluded",
    "ruled out",
    "unlikely",
    "denied",
    "not applicable",
    "resolved",
    "no evidence",
    "no sign",
    "no signs",
    "n/a",
    "na",
    "nil",
    "none seen",
    "none found",
    "none identified",
    "none detected",
    "not mentioned",
    "not reported",
    "not noted",
    "not observed",
    "not visualized",
    "not evident",
    "not suspected",
    "not demonstrated",
];
/// Words behind a state that add nothing to it: "no evidence in this report".
const OF_REPORT: [&str; 28] = [
    "of",
    "it",
    "this",
    "that",
    "in",
    "on",
    "by",
    "the",
    "report",
    "text",
    "ct",
    "scan",
    "study",
    "imaging",
    "here",
    "seen",
    "found",
    "provided",
    "given",
    "any",
    "is",
    "are",
    "was",
    "were",
    "present",
    "identified",
    "noted",
    "detected",
];

/// Whether what is said of a label denies it: "no", "no evidence in the report", "no, …", and in its own words "no pancreatitis".
pub(super) fn gone(head: &str, tail: &str) -> bool {
    if denies(head) {
        return false; // "no acute abnormality: no evidence of one"
    }
    let lower = tail.trim().trim_end_matches('.').to_lowercase();
    let own = prose::words(head);
    let rest_of = |state: &str| {
        let rest = lower.strip_prefix(state).filter(|rest| !rest.starts_with(char::is_alphanumeric))?;
        let behind = rest.starts_with([',', ';', '(']) || rest.starts_with(" (") || rest.starts_with(" – ");
        // "no (other) renal cyst": of the label itself; "no evidence of rupture": of something else
        let words = prose::words(rest);
        Some(behind || words.iter().all(|word| OF_REPORT.contains(&word.as_str()) || own.contains(word)))
    };
    GONE.iter().filter(|state| state.len() > 1 || **state == "n").filter_map(|state| rest_of(state)).any(|is| is)
}

/// Whether a state says that something is there: a word, a share (0.5 and more is), a percentage.
pub(super) fn state(text: &str) -> Option<bool> {
    let lower = text.trim().trim_end_matches('.').to_lowercase();
    let sure = ["confidence", "probability", "certainty", "likelihood", "score"];
    let graded = sure.iter().find_map(|word| {
        let rest = lower.strip_suffix(word).or_else(|| lower.strip_prefix(word))?;
        Some(rest.trim_matches([' ', ':', '=', '-']).to_string())
    });
    let lower = match graded {
        Some(grade) if grade.ends_with('%') || grade.parse::<f64>().is_ok() => grade,
        Some(_) => return Some(true), // a label with low confidence is still given
        None => lower,
    };
    let number = lower.trim_end_matches('%').trim().parse::<f64>().ok();
    match number {
        Some(share) if lower.ends_with('%') => Some(share >= 50.0),
        Some(share) => Some(share >= 0.5),
        None if THERE.contains(&lower.as_str()) => Some(true),
        None if GONE.contains(&lower.as_str()) => Some(false),
        None => ["high", "moderate", "medium", "low"].contains(&lower.as_str()).then_some(true),
    }
}

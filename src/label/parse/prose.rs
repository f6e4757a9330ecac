//! What tells a sentence from an item of a list.
use super::{MAX_CHARS, MAX_WORDS};
use unicode_normalization::UnicodeNormalization;

/// Words of sentences that no label has: finite verbs, pronouns, words that join clauses.
const WORDS: [&str; 83] = [
    "is",
    "are",
    "was",
    "were",
    "has",
    "have",
    "had",
    "be",
    "been",
    "shows",
    "show",
    "showed",
    "suggests",
    "suggest",
    "indicates",
    "indicate",
    "appears",
    "appear",
    "seems",
    "measures",
    "describes",
    "mentions",
    "means",
    "says",
    "holds",
    "herniates",
    "demonstrates",
    "reveals",
    "would",
    "should",
    "could",
    "may",
    "might",
    "can",
    "cannot",
    "must",
    "will",
    "does",
    "do",
    "need",
    "needs",
    "i",
    "we",
    "you",
    "it",
    "let",
    "let's",
    "i'm",
    "there",
    "they",
    "he",
    "she",
    "this",
    "these",
    "that",
    "which",
    "because",
    "therefore",
    "however",
    "since",
    "so",
    "your",
    "its",
    "his",
    "her",
    "who",
    "patient",
    "patient's",
    "presented",
    "presents",
    "revealed",
    "confirmed",
    "underwent",
    "supports",
    "contains",
    "spans",
    "suggested",
    "points",
    "demonstrate",
    "reveal",
    "describe",
    "confirm",
    "confirms",
];
/// Words that are no label by themselves.
const SMALL: [&str; 18] = [
    "a", "an", "the", "and", "or", "of", "in", "on", "with", "to", "for", "by", "no", "as", "at", "but", "also", "etc",
];
const UNITS: [&str; 8] = ["mm", "cm", "m", "ml", "hu", "x", "%", "cc"];

pub(super) fn words(text: &str) -> Vec<String> {
    let lower = text.nfc().collect::<String>().to_lowercase().replace('’', "'");
    let words = lower.split(|c: char| !c.is_alphanumeric() && c != '\'' && c != '%');
    words.filter(|word| !word.is_empty()).map(String::from).collect()
}

/// Whether a text is a sentence: four words or more with one of a sentence's among them.
pub(super) fn is_prose(text: &str) -> bool {
    let words = words(text);
    // "glycogen storage disease type I", "Bosniak I": the numeral, and not the speaker
    let numeral = |at: usize| {
        let of =
            ["type", "class", "grade", "stage", "factor", "group", "category", "phase", "level", "bosniak", "nyha"];
        words[at] == "i" && (at + 1 == words.len() || at > 0 && of.contains(&words[at - 1].as_str()))
    };
    words.len() >= 4 && (0..words.len()).any(|at| WORDS.contains(&words[at].as_str()) && !numeral(at))
}

/// What the writer says of the answer or to the reader, however short: "Let me think", "Please provide the text".
pub(super) fn is_remark(text: &str) -> bool {
    let words = words(text);
    let first = |list: &[&str]| words.first().is_some_and(|word| list.contains(&word.as_str()));
    let starts = ["let", "let's", "lets", "please", "sorry", "thanks", "thank", "we", "you", "here", "sure"];
    let speaks =
        text.starts_with("I ") || ["i'm", "i'll", "i've"].iter().any(|word| words.first().is_some_and(|w| w == word));
    words.len() > 1 && (first(&starts) || speaks)
}

/// A sentence without the words that open it: "So, …", "In conclusion, …", "Based on the CT findings, …".
pub(super) fn unopened(sentence: &str) -> &str {
    let lower = sentence.to_ascii_lowercase();
    let words = ["so", "therefore", "thus", "hence", "overall", "finally", "in conclusion", "in summary", "in short"];
    let based = ["considering ", "given ", "based on ", "according to ", "looking at ", "from the ", "as per "];
    let on = [
        "findings",
        "finding",
        "report",
        "text",
        "information",
        "description",
        "ct",
        "scan",
        "imaging",
        "data",
        "this",
    ];
    let comma = sentence.find(", ");
    let opens = |head: &str| {
        let last = head.rsplit(' ').next().unwrap_or_default();
        words.contains(&head) || based.iter().any(|start| head.starts_with(start)) && on.contains(&last)
    };
    let bare = ["so ", "therefore ", "thus ", "hence "].iter().find(|word| lower.starts_with(**word));
    match (comma.filter(|at| opens(&lower[..*at])), bare) {
        (Some(at), _) => sentence[at + 2..].trim_start(),
        (None, Some(word)) => &sentence[word.len()..],
        _ => sentence,
    }
}

/// Whether a piece could be a label: letters, not too long, no heading, no measure, not one word over and over.
pub(super) fn is_label(label: &str) -> bool {
    let words = words(label);
    let number = |word: &String| word.chars().all(|c| c.is_numeric() || c == '%') || UNITS.contains(&word.as_str());
    let thrice = words.windows(3).any(|three| three[0] == three[1] && three[1] == three[2]);
    label.chars().filter(|c| c.is_alphabetic()).nth(1).is_some()
        && label.chars().count() <= MAX_CHARS
        && label.split(' ').count() <= MAX_WORDS
        && !label.ends_with(':')
        && !label.contains(['{', '}', '<', '>', '|', '\\'])
        && !label.starts_with('[')
        && !thrice
        && !words.iter().all(|word| number(word) || SMALL.contains(&word.as_str()) || WORDS.contains(&word.as_str()))
}

/// Names of what a denial of everything denies.
const ANYTHING: [&str; 10] = [
    "disease",
    "diseases",
    "diagnosis",
    "diagnoses",
    "label",
    "labels",
    "condition",
    "conditions",
    "illness",
    "pathologies",
];
/// What stands around it.
const AROUND: [&str; 62] = [
    "there",
    "is",
    "are",
    "was",
    "were",
    "be",
    "been",
    "can",
    "could",
    "has",
    "have",
    "the",
    "this",
    "these",
    "those",
    "a",
    "an",
    "any",
    "i",
    "we",
    "it",
    "in",
    "on",
    "of",
    "from",
    "by",
    "to",
    "for",
    "at",
    "all",
    "acute",
    "significant",
    "relevant",
    "specific",
    "clear",
    "definite",
    "evident",
    "known",
    "active",
    "other",
    "evidence",
    "found",
    "find",
    "identified",
    "detected",
    "present",
    "seen",
    "noted",
    "reported",
    "mentioned",
    "described",
    "given",
    "made",
    "named",
    "stated",
    "report",
    "text",
    "finding",
    "patient",
    "shows",
    "mentions",
    "apply",
];

/// Whether a sentence says that there is nothing at all to name: "No disease was found.", "There are no diagnoses in this report." A name
/// for a normal state ("no acute abnormality") is a label, and not meant.
pub(super) fn denies_all(sentence: &str) -> bool {
    let words = words(sentence);
    let is = |list: &[&str], word: &String| list.contains(&word.as_str());
    let denied = words.iter().position(|word| ["no", "none", "nothing", "not"].contains(&word.as_str()));
    let Some(at) = denied.filter(|_| words.len() <= 14) else { return false };
    let named = words.iter().any(|word| is(&ANYTHING, word)) || words[at] == "nothing";
    let others = words.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, word)| word);
    named && words.len() > 1 && others.into_iter().all(|word| is(&ANYTHING, word) || is(&AROUND, word))
}

/// Sentences of a line: it is parted after `.`, `!` or `?` before white space and a capital.
pub(super) fn sentences(line: &str) -> Vec<&str> {
    let (mut all, mut from) = (Vec::new(), 0);
    for (at, mark) in line.match_indices(['.', '!', '?']) {
        let rest = &line[at + mark.len()..];
        let spaced = rest.starts_with(char::is_whitespace);
        if spaced && rest.trim_start().starts_with(|c: char| c.is_uppercase()) {
            all.push(&line[from..at]);
            from = at + mark.len();
        }
    }
    all.push(&line[from..]);
    all
}

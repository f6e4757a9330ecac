//! Items that are no label: names for nothing at all ("No abnormality detected", "Normal CT"), denials ("no ascites"), what says that
//! nothing can be said ("Unknown"), words of headings and remarks.
//!
//! "No acute abnormality" is none of these: such a label stands in the data and is read as itself. "No acute findings" is one.
use super::{item, prose};

/// Begins like a denial, and is not a name for nothing at all ("no acute abnormality").
pub(super) fn is_denied(label: &str) -> bool {
    let lower = label.to_lowercase();
    let whole = ["abnormal", "finding", "disease", "patholog", "diagnos", "change", "lesion", "normal"];
    denies(&lower) && !whole.iter().any(|word| lower.contains(word))
}

/// Begins like a denial of something, or of everything.
pub(super) fn denies(text: &str) -> bool {
    let lower = text.trim().to_lowercase();
    let denials = [
        "no ",
        "not ",
        "without ",
        "with no ",
        "negative for ",
        "absence of ",
        "ruled out ",
        "absent ",
        "free of ",
        "denies ",
        "rule out ",
        "to rule out ",
        "r/o ",
    ];
    denials.iter().any(|denial| lower.starts_with(denial))
}

/// What a denial of everything denies, how it is qualified, and what else stands in it; "no acute abnormality" does not: see above.
const ANYTHING: [&str; 20] = [
    "abnormality",
    "abnormalities",
    "abnormal",
    "pathology",
    "pathologies",
    "finding",
    "findings",
    "lesion",
    "lesions",
    "change",
    "changes",
    "disease",
    "diseases",
    "diagnosis",
    "diagnoses",
    "disorder",
    "disorders",
    "condition",
    "conditions",
    "anomalies",
];
const QUALITIES: [&str; 25] = [
    "significant",
    "significantly",
    "clinically",
    "relevant",
    "obvious",
    "specific",
    "major",
    "evident",
    "visible",
    "apparent",
    "pathological",
    "pathologic",
    "focal",
    "definite",
    "clear",
    "concerning",
    "notable",
    "remarkable",
    "gross",
    "overt",
    "radiological",
    "evidence",
    "any",
    "sign",
    "signs",
];
const STATES: [&str; 15] = [
    "detected",
    "seen",
    "found",
    "identified",
    "noted",
    "present",
    "observed",
    "visualized",
    "visualised",
    "demonstrated",
    "reported",
    "mentioned",
    "listed",
    "available",
    "possible",
];
/// What is examined, and words without weight.
const EXAMINED: [&str; 44] = [
    "ct",
    "mri",
    "mr",
    "x",
    "ray",
    "ultrasound",
    "sonography",
    "radiograph",
    "scan",
    "study",
    "exam",
    "examination",
    "imaging",
    "image",
    "images",
    "report",
    "result",
    "results",
    "text",
    "appearance",
    "anatomy",
    "organs",
    "structures",
    "abdomen",
    "abdominal",
    "intra",
    "pelvis",
    "pelvic",
    "chest",
    "thorax",
    "patient",
    "everything",
    "of",
    "the",
    "this",
    "a",
    "an",
    "and",
    "in",
    "on",
    "is",
    "are",
    "was",
    "were",
];
const NORMAL: [&str; 13] = [
    "normal",
    "unremarkable",
    "healthy",
    "negative",
    "within",
    "limits",
    "otherwise",
    "essentially",
    "completely",
    "entirely",
    "all",
    "finding",
    "findings",
];

/// A name for nothing at all; "normal" and what is examined, or "no" and what could be found, in any words.
pub(super) fn is_none(label: &str) -> bool {
    let lower = label.to_lowercase();
    let rest = [
        "no other",
        "no further",
        "no additional",
        "otherwise normal",
        "otherwise unremarkable",
        "none else",
        "nothing else",
    ];
    if rest.iter().any(|start| lower == *start || lower.strip_prefix(start).is_some_and(|rest| rest.starts_with(' '))) {
        return true; // of what the list does not name
    }
    let words = prose::words(label);
    let among = |lists: &[&[&str]], word: &String| lists.iter().any(|list| list.contains(&word.as_str()));
    let there = matches!(words.first().map(String::as_str), Some("there"));
    let words = if there { &words[words.len().min(2)..] } else { &words[..] }; // "there are no …"
    let abnormality = words.iter().any(|word| word.starts_with("abnormalit"));
    let denied = matches!(words.first().map(String::as_str), Some("no" | "nothing" | "without"))
        && words.iter().any(|word| among(&[&ANYTHING], word))
        && words[1..]
            .iter()
            .all(|word| among(&[&ANYTHING, &QUALITIES, &STATES, &EXAMINED], word) || word == "acute" && !abnormality);
    let others = matches!(words.first().map(String::as_str), Some("rest" | "remainder")); // "rest normal", not "rest pain"
    let words = &words[usize::from(others)..];
    let normal = words.iter().any(|word| among(&[&NORMAL[..4]], word))
        && words.iter().all(|word| among(&[&NORMAL, &EXAMINED], word));
    let limits =
        words.iter().any(|word| word == "within") && words.iter().all(|word| among(&[&NORMAL, &EXAMINED], word));
    words.len() <= 12 && (denied || normal || limits) || is_named_none(&lower)
}

/// The same in words that follow no rule, and in other languages.
fn is_named_none(lower: &str) -> bool {
    let names = [
        "none",
        "n/a",
        "nil",
        "no label",
        "no labels",
        "nothing",
        "none identified",
        "none found",
        "none of the above",
        "none of these",
        "none of the listed",
        "none of the listed diseases",
        "none of the listed diagnoses",
        "none of the listed labels",
        "none listed",
        "none detected",
        "none seen",
        "none present",
        "none mentioned",
        "none reported",
        "nad",
        "not applicable",
        "null",
        // in German, French, Spanish, Portuguese, Italian, Chinese, Japanese
        "keine",
        "keine diagnose",
        "aucun",
        "aucune",
        "aucun diagnostic",
        "ninguno",
        "ninguna",
        "nenhum",
        "nenhuma",
        "nessuno",
        "nessuna",
        "无",
        "無",
        "なし",
    ];
    names.contains(&lower)
}

/// Whether a text says that nothing can be said: "Unknown", "Unable to determine", "Insufficient information to make a diagnosis". That is
/// no answer, neither a label nor none.
pub(super) fn is_unsaid(text: &str) -> bool {
    let words = prose::words(text);
    if ["see report", "see above", "see text", "as above", "see below"].contains(&words.join(" ").as_str()) {
        return true;
    }
    let says = [
        "unknown",
        "unable",
        "insufficient",
        "undetermined",
        "indeterminate",
        "inconclusive",
        "unclear",
        "uncertain",
        "unspecified",
        "cannot",
        "can't",
        "not",
        "impossible",
        "inadequate",
        "unavailable",
        "needed",
        "need",
        "required",
        "tbd",
    ];
    let of = [
        "information",
        "data",
        "details",
        "context",
        "enough",
        "more",
        "further",
        "additional",
        "sufficient",
        "determine",
        "determined",
        "determinable",
        "diagnose",
        "diagnosed",
        "diagnosis",
        "disease",
        "diseases",
        "condition",
        "conditions",
        "label",
        "labels",
        "say",
        "tell",
        "answer",
        "answered",
        "assess",
        "identify",
        "conclude",
        "specified",
        "specific",
        "stated",
        "given",
        "provided",
        "available",
        "known",
        "clear",
        "certain",
        "possible",
        "make",
        "provide",
        "to",
        "a",
        "an",
        "any",
        "be",
        "is",
        "are",
        "for",
        "from",
        "of",
        "the",
        "this",
        "text",
        "report",
        "i",
        "am",
        "it",
        "at",
        "time",
        "yet",
        "clinical",
        "there",
        "based",
        "on",
        "in",
        "with",
        "confidence",
        "definitive",
    ];
    let is = |list: &[&str], word: &String| list.contains(&word.as_str());
    let lacks = words.first().is_some_and(|word| word == "no") && words.iter().any(|word| is(&of[..4], word));
    let words = if lacks { &words[1..] } else { &words[..] };
    (lacks || words.iter().any(|word| is(&says, word))) && words.iter().all(|word| is(&says, word) || is(&of, word))
}

/// Words of headings, keys and remarks that are no label when they stand alone.
pub(super) fn is_syntax(label: &str) -> bool {
    let words = prose::words(label);
    let all = |list: &[&str]| words.iter().all(|word| list.contains(&word.as_str()));
    let alone = [
        "answer",
        "diagnosis",
        "diagnoses",
        "dx",
        "label",
        "labels",
        "output",
        "json",
        "final",
        "true",
        "false",
        "null",
        "confidence",
        "high",
        "low",
        "moderate",
        "yes",
        "finding",
        "findings",
        "report",
        "impression",
        "conclusion",
        "explanation",
        "reasoning",
        "the",
        "list",
        "of",
        "is",
        "are",
        "here",
        "sure",
        "okay",
        "ok",
        "alright",
        "hmm",
        "wait",
        "so",
        "end",
        "disease",
        "diseases",
        "user",
        "assistant",
        "text",
    ];
    item::is_codes(label)
        || all(&alone)
        || all(&super::heading::FOREIGN)
        || is_unsaid(label)
        || super::aside::is_aside(label)
        || prose::is_remark(label)
        || ["http", "icd-10", "note"].iter().any(|start| label.to_lowercase().starts_with(start))
}

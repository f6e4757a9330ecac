//! Labels from a model's free answer. What is taken off, in order: a think block (also one that never ends), special tokens,
//! code fences, a heading ("Diagnoses:"), an explanation after the list; then JSON, bullets, numbers, commas, semicolons, lines.
//!
//! Nothing is judged here: an invented label stays a label. Pieces over [`MAX_CHARS`] or [`MAX_WORDS`] are prose, not labels;
//! an answer with prose only, or with nothing, is not parsed and counts as an empty prediction.
use serde_json::Value;
use std::collections::BTreeSet;

/// The longest real label is a sentence of 14 words (`spec` §1.4); more than this is an explanation.
pub const MAX_CHARS: usize = 160;
pub const MAX_WORDS: usize = 20;
/// A model that never stops repeats itself; later labels of such an answer are not read.
pub const MAX_LABELS: usize = 64;

#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// In order of appearance, distinct up to case.
    pub labels: Vec<String>,
    /// False when no label could be read; "none" is read, as no label.
    pub parsed: bool,
}

/// Labels of an answer. "a and b" is split only where a list ends that way ("…, and b").
pub fn parse(answer: &str) -> Parsed {
    parse_known(answer, |_| false)
}

/// As [`parse`], but "a and b" is also split where both halves are `known` labels and the whole is not.
pub fn parse_known(answer: &str, known: impl Fn(&str) -> bool) -> Parsed {
    let answer = unfenced(&untagged(&unthought(answer)));
    let pieces = json_list(&answer).unwrap_or_else(|| listed(&answer));
    let (mut labels, mut seen, mut none) = (Vec::new(), BTreeSet::new(), false);
    for piece in pieces.iter().flat_map(|piece| halves(piece, &known)) {
        let label = clean(&piece);
        if is_none(&label) {
            none = true;
        } else if is_label(&label) && seen.insert(label.to_lowercase()) && labels.len() < MAX_LABELS {
            labels.push(label);
        }
    }
    Parsed { parsed: none || !labels.is_empty(), labels }
}

/// Without `<think>…</think>`; an unclosed block takes the rest with it, a lone `</think>` everything before it.
fn unthought(answer: &str) -> String {
    let mut answer = answer.to_string();
    while let Some(start) = answer.find("<think>") {
        match answer[start..].find("</think>") {
            Some(end) => answer.replace_range(start..start + end + "</think>".len(), ""),
            None => answer.truncate(start),
        }
    }
    match answer.rfind("</think>") {
        Some(end) => answer[end + "</think>".len()..].to_string(),
        None => answer,
    }
}

/// Up to the first special token that ends a turn.
fn untagged(answer: &str) -> String {
    let ends = ["<|im_end|>", "<|endoftext|>", "<|im_start|>"];
    let end = ends.iter().filter_map(|token| answer.find(token)).min().unwrap_or(answer.len());
    answer[..end].to_string()
}

/// The content of the first code fence, if there is one; an unclosed one reaches to the end.
fn unfenced(answer: &str) -> String {
    let Some(start) = answer.find("```") else { return answer.trim().to_string() };
    let inside = &answer[start + 3..];
    let inside = inside.find("```").map_or(inside, |end| &inside[..end]);
    let inside = match inside.split_once('\n') {
        Some((language, rest)) if language.trim().chars().all(char::is_alphanumeric) => rest,
        _ => inside,
    };
    inside.trim().to_string()
}

/// The first JSON list or object in the answer, as pieces.
fn json_list(answer: &str) -> Option<Vec<String>> {
    let start = answer.find(['[', '{'])?;
    let mut values = serde_json::Deserializer::from_str(&answer[start..]).into_iter::<Value>();
    pieces(&values.next()?.ok()?)
}

fn pieces(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(items) => Some(items.iter().filter_map(pieces).flatten().collect()),
        Value::Object(map) => {
            let wanted = |key: &str| {
                let key = key.to_lowercase();
                ["label", "disease", "diagnos", "answer", "name", "output"].iter().any(|part| key.contains(part))
            };
            let (_, value) = map.iter().find(|(key, _)| wanted(key))?;
            match value {
                Value::String(text) => Some(split(text)),
                other => pieces(other),
            }
        }
        _ => None,
    }
}

/// Pieces of a plain answer: from the last heading on, up to an explanation, line by line.
fn listed(answer: &str) -> Vec<String> {
    let lines: Vec<&str> = answer.lines().collect();
    let headed = lines.iter().rposition(|line| heading(line).is_some());
    let mut pieces = Vec::new();
    for (i, line) in lines.iter().enumerate().skip(headed.unwrap_or(0)) {
        let line = if headed == Some(i) { heading(line).unwrap_or(line) } else { line };
        if explains(line) {
            break;
        }
        pieces.extend(split(unbulleted(line)));
    }
    pieces
}

/// Words of a heading.
const WORDS: [&str; 24] = [
    "the",
    "final",
    "most",
    "likely",
    "predicted",
    "possible",
    "a",
    "list",
    "of",
    "is",
    "are",
    "as",
    "follows",
    "following",
    "my",
    "patient",
    "identified",
    "all",
    "this",
    "for",
    "finding",
    "findings",
    "acute",
    "name",
];
/// One of these makes it a heading.
const KEYS: [&str; 11] = [
    "answer",
    "diagnosis",
    "diagnoses",
    "disease",
    "diseases",
    "label",
    "labels",
    "impression",
    "conclusion",
    "output",
    "output_disease",
];

/// What follows "Diagnoses:", "The most likely labels are:", "**Answer:**".
fn heading(line: &str) -> Option<&str> {
    let (before, after) = line.split_once([':', '：'])?;
    let before = before.to_lowercase().replace(['*', '#', '"', '(', ')', '/'], " ");
    let words: Vec<&str> = before.split_whitespace().collect();
    let key = |word: &&str| KEYS.contains(word);
    let is_heading = words.len() <= 8 && words.iter().any(key) && words.iter().all(|w| key(w) || WORDS.contains(w));
    is_heading.then(|| after.trim_start_matches(['*', ' ']))
}

fn explains(line: &str) -> bool {
    let line = line.trim_start_matches(['*', '#', ' ', '_']).to_lowercase();
    ["explanation", "reasoning", "rationale", "note:", "note that", "justification"].iter().any(|w| line.starts_with(w))
}

/// Without "-", "•", "1.", "2)", "(3)".
fn unbulleted(line: &str) -> &str {
    let line = line.trim().trim_start_matches(['-', '*', '•', '–', '·', '>', '#', ' ']);
    let inner = line.strip_prefix('(').unwrap_or(line);
    let digits = inner.chars().take_while(char::is_ascii_digit).count();
    let rest = &inner[digits..];
    match rest.chars().next() {
        // a number and a mark, then a space: "1.5 cm" is no list number
        Some('.' | ')' | ':') if (1..=3).contains(&digits) && rest[1..].starts_with([' ', '*']) => {
            rest[1..].trim_start()
        }
        _ => line,
    }
}

/// At commas and semicolons outside parentheses; a last "and …" belongs to the list.
fn split(line: &str) -> Vec<String> {
    let (mut pieces, mut depth, mut piece) = (Vec::new(), 0i32, String::new());
    for c in line.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if matches!(c, ',' | ';' | '\n') && depth <= 0 {
            pieces.push(std::mem::take(&mut piece));
        } else {
            piece.push(c);
        }
    }
    pieces.push(piece);
    let list = pieces.len() > 1;
    let joined = |piece: String| match piece.trim().strip_prefix("and ") {
        Some(rest) if list => rest.to_string(),
        _ => piece,
    };
    pieces.into_iter().map(joined).collect()
}

fn halves(piece: &str, known: &impl Fn(&str) -> bool) -> Vec<String> {
    match piece.split_once(" and ") {
        Some((a, b)) if !known(&clean(piece)) && known(&clean(a)) && known(&clean(b)) => vec![a.into(), b.into()],
        _ => vec![piece.to_string()],
    }
}

fn clean(piece: &str) -> String {
    let piece = piece.split_whitespace().collect::<Vec<_>>().join(" ");
    piece
        .trim_matches(|c: char| c.is_whitespace() || matches!(c, '.' | '"' | '\'' | '`' | '*' | '“' | '”' | '[' | ']'))
        .into()
}

fn is_label(label: &str) -> bool {
    label.chars().any(char::is_alphabetic)
        && label.chars().count() <= MAX_CHARS
        && label.split(' ').count() <= MAX_WORDS
        && !label.ends_with(':')
}

fn is_none(label: &str) -> bool {
    ["none", "n/a", "nil", "no disease", "no diseases"].contains(&label.to_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(answer: &str) -> Vec<String> {
        let parsed = parse(answer);
        assert_eq!(parsed.parsed, !parsed.labels.is_empty(), "{answer}");
        parsed.labels
    }

    #[test]
    fn every_way_of_listing_gives_the_same_labels() {
        let answers = [
            "renal cyst, liver cyst",
            "Renal cyst; liver cyst.",
            "- Renal cyst\n- Liver cyst",
            "1. Renal cyst\n2. Liver cyst",
            "(1) **Renal cyst**\n(2) **Liver cyst**",
            "<think>\nHm, gallstone? no.\n</think>\n\nrenal cyst, liver cyst<|im_end|>\nrubbish, more",
            "maybe gallstone\n</think>renal cyst, liver cyst",
            "```json\n[\"renal cyst\", \"liver cyst\"]\n```",
            "Here you go: {\"diagnoses\": [\"renal cyst\", \"liver cyst\"]} as asked, hopefully",
            "[{\"name\": \"renal cyst\", \"score\": 1}, {\"name\": \"liver cyst\"}]",
            "The scan shows many things.\n\n**Diagnoses:** renal cyst, liver cyst\n\nExplanation: a cyst, a stone",
            "The most likely diagnoses are:\n• renal cyst\n• liver cyst",
            "renal cyst, and liver cyst",
            "renal cyst, Renal Cyst, liver cyst, renal cyst,",
            "```\nrenal cyst, liver cyst",
        ];
        for answer in answers {
            let lower: Vec<String> = labels(answer).iter().map(|l| l.to_lowercase()).collect();
            assert_eq!(lower, ["renal cyst", "liver cyst"], "{answer}");
        }
    }

    #[test]
    fn and_is_split_only_between_known_labels() {
        let known =
            |label: &str| ["renal cyst", "gallstone", "nausea and vomiting"].contains(&label.to_lowercase().as_str());
        assert_eq!(parse_known("Renal cyst and gallstone", known).labels, ["Renal cyst", "gallstone"]);
        assert_eq!(parse_known("nausea and vomiting", known).labels, ["nausea and vomiting"]);
        assert_eq!(parse("Renal cyst and gallstone").labels, ["Renal cyst and gallstone"]);
    }

    #[test]
    fn commas_in_parentheses_and_sizes_are_no_separators() {
        assert_eq!(labels("hernia (inguinal, left), cyst"), ["hernia (inguinal, left)", "cyst"]);
        assert_eq!(labels("1.5 cm cyst"), ["1.5 cm cyst"]);
    }

    #[test]
    fn what_holds_no_label_is_not_parsed_and_none_is() {
        let prose = "word ".repeat(40);
        for answer in ["", "  ", "<think>renal cyst, and then", "...", "42", prose.as_str(), "Diagnoses:"] {
            assert_eq!(parse(answer), Parsed { labels: vec![], parsed: false }, "{answer}");
        }
        assert_eq!(parse("None."), Parsed { labels: vec![], parsed: true });
    }

    #[test]
    fn an_answer_that_never_stops_is_cut_and_any_text_is_survived() {
        let endless = (0..500).map(|i| format!("disease {i}")).collect::<Vec<_>>().join(", ");
        assert_eq!(parse(&endless).labels.len(), MAX_LABELS);
        let mut dice = crate::corpus::synthetic::dice::Dice::new(5, 0);
        let parts = [
            "<think>",
            "</think>",
            "```",
            "[",
            "{",
            "\"a\"",
            ":",
            ",",
            "é",
            "\n",
            "1.",
            "- ",
            "(",
            ")",
            " and ",
            "x",
            "<|im_end|>",
        ];
        for _ in 0..20_000 {
            let n = dice.below(12);
            let answer: String = (0..n).map(|_| parts[dice.below(parts.len())]).collect();
            let once = parse(&answer);
            assert!(once.labels.iter().all(|l| !l.is_empty() && l == &clean(l)), "{answer:?}");
        }
    }
}

//! Sentences that lead to labels: "The CT shows a, b and c", "The patient most likely has: a, b", "a and b are seen".
//!
//! Beside a list such a sentence gives labels only where all that follows is known. Where an answer is nothing but sentences, what follows
//! a verb is read as a list: all of its items where one is known or the words announce a diagnosis, without what is denied and what only
//! describes ("measuring 5 mm"). Anything else is not read: no part of a sentence is a label.
use super::nothing::{denies, is_unsaid};
use super::{Known, Read, aside, item, list, organ, prose};

/// The label of "a is seen", and whether it is; None where a text does not end so.
pub(super) fn seen(text: &str) -> Option<(&str, bool)> {
    let text = text.trim_end_matches('.');
    let names = [" are the diagnoses", " is the diagnosis", " are diagnosed", " is diagnosed"];
    if let Some(label) = names.iter().find_map(|words| text.strip_suffix(words)) {
        return Some((label, true));
    }
    let (rest, state) = text.rsplit_once(' ')?;
    let there = ["seen", "present", "found", "noted", "identified", "visible", "detected", "observed", "demonstrated"];
    let gone = ["absent", "excluded", "unlikely"];
    let (rest, not) = rest.strip_suffix(" not").map_or((rest, false), |rest| (rest, true));
    let verbs = [" is", " are", " was", " were", " is also", " are also", " has been", " have been"];
    let label = verbs.iter().find_map(|verb| rest.strip_suffix(verb))?;
    let is = there.contains(&state);
    (is || gone.contains(&state)).then_some((label, is != not))
}

/// Words behind which a sentence names its diagnoses, known or not.
const NAMES: [&str; 28] = [
    "diagnosis is",
    "diagnoses are",
    "diagnosis would be",
    "diagnoses would be",
    "diagnosis was",
    "answer is",
    "labels are",
    "label is",
    "diseases are",
    "disease is",
    "diagnoses include",
    "labels include",
    "diseases include",
    "conditions are",
    "conditions include",
    "condition is",
    "impression is",
    "conclusion is",
    "diagnosis of",
    "diagnoses of",
    "diagnosed with",
    "diagnosed as",
    "likely has",
    "likely have",
    "likely to have",
    "suffers from",
    "suffering from",
    "a case of",
];
/// Words behind which it names what is there.
const LEADS: [&str; 66] = [
    "consistent with",
    "compatible with",
    "suspicious for",
    "concerning for",
    "positive for",
    "suggestive of",
    "indicative of",
    "diagnostic of",
    "typical of",
    "evidence of",
    "presence of",
    "findings of",
    "in keeping with",
    "points to",
    "point to",
    "presents with",
    "suggest",
    "suggests",
    "suggesting",
    "indicate",
    "indicates",
    "indicating",
    "show",
    "shows",
    "showed",
    "showing",
    "reveal",
    "reveals",
    "revealed",
    "demonstrate",
    "demonstrates",
    "demonstrated",
    "describe",
    "describes",
    "mention",
    "mentions",
    "report",
    "reports",
    "identify",
    "identifies",
    "confirm",
    "confirms",
    "see",
    "depicts",
    "represent",
    "represents",
    "representing",
    "include",
    "includes",
    "diagnose",
    "there is",
    "there are",
    "it is",
    "supports",
    "which is",
    "patient with",
    "pt with",
    "signs of",
    "looks like",
    "look like",
    "this is",
    "these are",
    "findings are",
    "has",
    "have",
    "be",
];
const DENIES: [&str; 17] = [
    "no", "not", "without", "never", "neither", "nor", "unlikely", "less", "against", "excluded", "excludes", "absent",
    "rule", "ruled", "if", "cannot", "can't",
];
const DOUBTS: [&str; 4] = ["could", "would", "may", "might"];
/// Of [`LEADS`] those that also count beside a list.
const FIRM: [&str; 10] = [
    "suggest",
    "suggests",
    "suggesting",
    "suggestive of",
    "consistent with",
    "compatible with",
    "indicative of",
    "diagnostic of",
    "there is",
    "there are",
];
/// Words before a label that only say how sure it is.
const SURE: [&str; 10] = [
    "are ",
    "is ",
    "most likely ",
    "likely ",
    "probably ",
    "possibly ",
    "most probably ",
    "also ",
    "both ",
    "the following ",
];

/// Bytes of a sentence; what is longer is none, but a model that repeats itself.
const LONGEST: usize = 1000;

/// What follows a word that leads.
struct Lead<'a> {
    list: &'a str,
    /// Known or not, diagnoses stand there.
    names: bool,
    /// Also beside a list what it leads to is meant as there: a report "mentions" more than that.
    firm: bool,
    /// What the clause before says, or the list's begin, denies it.
    denied: bool,
}

/// Where words lead, in order: (begin, end), whole words only.
fn places(lower: &str) -> Vec<(usize, usize)> {
    let whole = |from: usize, to: usize| {
        let before = lower[..from].chars().next_back().is_none_or(|c| !c.is_alphanumeric());
        before && lower[to..].starts_with([' ', ':'])
    };
    let of = |words: &'static str| lower.match_indices(words).map(move |(at, _)| (at, at + words.len()));
    let all = NAMES.iter().chain(&LEADS).flat_map(|words| of(words));
    let mut places: Vec<(usize, usize)> = all.filter(|(from, to)| whole(*from, *to)).collect();
    places.sort_unstable();
    places
}

/// All lists that a sentence leads to, in order; each reaches to the clause with the next.
fn leads(sentence: &str) -> Vec<Lead<'_>> {
    if sentence.len() > LONGEST {
        return Vec::new();
    }
    let lower = sentence.to_ascii_lowercase();
    let places = places(&lower);
    // "findings are consistent with": what leads at once to a further word leads no list
    let joins = |to: usize, next: usize| next <= to || prose::words(&lower[to..next]).iter().all(|word| between(word));
    let clause = [", ", "; ", ". ", ": ", " but ", " while ", " whereas ", " although "];
    let begin = |from: usize| clause.iter().filter_map(|mark| Some(lower[..from].rfind(mark)? + mark.len())).max();
    let mut found = Vec::new();
    for (at, (from, to)) in places.iter().enumerate() {
        let later = &places[at + 1..];
        if later.iter().any(|(next, end)| joins(*to, *next) && end > to) {
            continue;
        }
        let next = later.iter().map(|(next, _)| *next).find(|next| next > to);
        let end = next.map_or(lower.len(), |next| begin(next).filter(|begin| begin > to).unwrap_or(next));
        let before = &lower[begin(*from).unwrap_or(0)..*from];
        found.push(lead(before, &lower[*from..*to], lower[*to..].starts_with(':'), &sentence[*to..end]));
    }
    found
}

/// A list behind `words`, with what stands before them in their clause.
fn lead<'a>(before: &str, words: &str, colon: bool, list: &'a str) -> Lead<'a> {
    let list = list.trim_matches([' ', ':', '*', ',', ';']);
    let list = SURE.iter().find_map(|word| list.strip_prefix(word)).unwrap_or(list);
    // "there is no a, b or c, but d"
    let (none, list) = match list.split_once(" but ") {
        _ if !denies(list) => (false, list),
        Some((_, list)) => (denies(list), list),
        None => (true, list),
    };
    let said = prose::words(before);
    let any = |words: &[&str]| said.iter().any(|word| words.contains(&word.as_str()));
    let supposed = any(&DOUBTS) && words == "be"; // "it may be a"
    // the longest words may have begun before
    let names = colon || NAMES.iter().any(|name| format!("{before}{words}").ends_with(name));
    let firm = (names || FIRM.contains(&words)) && !any(&DOUBTS);
    Lead { list, names, firm, denied: none || supposed || any(&DENIES) }
}

/// Words between two that lead, as in "is most likely to be consistent with".
fn between(word: &str) -> bool {
    ["a", "an", "the", "to", "most", "likely", "also", "probably", "is", "are", "findings", "finding", "highly"]
        .contains(&word)
}

/// The known labels, and nothing else, that the last lead of a sentence leads to ("findings are consistent with a and b"); none where the
/// sentence denies or doubts what follows.
pub(super) fn led(sentence: &str, known: Known) -> Option<Vec<String>> {
    let lead = leads(sentence).pop().filter(|lead| lead.firm && !lead.denied)?;
    item::joined(&item::tidy(lead.list), known, 8)
}

/// "This patient likely has: a, b": the list behind a colon that a verb stands before, or behind which only known labels stand ("Here you
/// go: a, b").
pub(super) fn announced<'a>(sentence: &'a str, known: Known) -> Option<&'a str> {
    let (before, list) = sentence.split_once(": ")?;
    let ends = |words: &&str| before.to_lowercase().strip_suffix(*words).is_some_and(|rest| rest.ends_with(' '));
    let verb = NAMES.iter().chain(&LEADS).any(ends);
    let denied = prose::words(before).iter().any(|word| DENIES.contains(&word.as_str()));
    let told = prose::is_prose(sentence) && item::joined(&item::tidy(list), known, 8).is_some();
    (!denied && (verb || told) && aside::kind(before).is_none()).then_some(list.trim())
}

/// What an answer of prose alone concludes with: what it names as diagnoses, else what its sentences lead to.
pub(super) fn conclude(lines: &[&str], read: &mut Read) {
    let sentences: Vec<&str> = lines.iter().flat_map(|line| prose::sentences(line)).collect();
    read.nothing |= sentences.iter().any(|sentence| prose::denies_all(sentence));
    for only in [true, false] {
        let all = sentences.iter().flat_map(|sentence| leads(sentence));
        for lead in all.filter(|lead| !lead.denied && (lead.names || !only)) {
            told(lead.list, lead.names, read);
        }
        if !read.labels.is_empty() {
            return;
        }
    }
}

/// The pieces of a text that stands where labels do: what a sentence leads to, else what commas part.
pub(super) fn pieces(text: &str, known: Known) -> Vec<String> {
    let mut read = Read::new(known);
    if !item::is_known(text, known) && (prose::is_prose(text) || leading(text, known)) {
        conclude(&[text], &mut read);
    }
    if read.labels.is_empty() { list::split(text) } else { read.labels }
}

/// Whether a sentence that might pass for a list leads to a known label, and no label stands before: "Positive for a, b".
pub(super) fn leading(sentence: &str, known: Known) -> bool {
    let Some(lead) = leads(sentence).into_iter().next() else { return false };
    let Some(before) = sentence.find(lead.list).map(|at| &sentence[..at]) else { return false };
    let first =
        |lead: &Lead| list::parted(lead.list, known).first().is_some_and(|piece| labels_of(piece, known).is_some());
    let ends = before.match_indices([' ', ',']).map(|(at, _)| at);
    let labelled = ends.into_iter().any(|end| list::split(&before[..end]).iter().any(|one| item::is_known(one, known)));
    !lead.denied && !labelled && first(&lead)
}

/// The items of a list within a sentence; unknown ones only where it `names` diagnoses or holds a known one.
pub(super) fn told(list: &str, names: bool, read: &mut Read) {
    let known = read.known;
    if let Some(labels) = item::joined(&item::tidy(list), known, 8) {
        return read.tell(&labels);
    }
    let (mut labels, mut any) = (Vec::new(), names);
    for piece in list::parted(list, known).iter().flat_map(|piece| halves(item::tidy(piece), known)) {
        match labels_of(&piece, known) {
            Some(found) => (any, labels) = (true, [labels, found].concat()),
            None if !piece.is_empty() && !denies(&piece) && !describes(&piece) => labels.push(piece),
            None => (),
        }
    }
    if any && !labels.is_empty() {
        read.tell(&labels);
    }
}

/// The known labels of a piece of a sentence, also without where and how large they are.
fn labels_of(piece: &str, known: Known) -> Option<Vec<String>> {
    let of = |piece: &str| item::joined(piece, known, 8);
    let piece = seen(piece).filter(|(_, is)| *is).map_or(piece, |(label, _)| label);
    of(piece).or_else(|| of(headed(piece))).or_else(|| of(headed(measureless(piece))))
}

/// "x and b" in two where one of them is known.
fn halves(piece: String, known: Known) -> Vec<String> {
    let is = |part: &str| labels_of(part, known).is_some();
    let cut = piece.split_once(" and ").filter(|(a, b)| (is(a) || is(b)) && item::joined(&piece, known, 8).is_none());
    match cut {
        Some((a, b)) => [a.to_string()].into_iter().chain(halves(b.to_string(), known)).collect(),
        None => vec![piece],
    }
}

/// Without where or how large it is: "renal cyst in the left kidney".
fn headed(piece: &str) -> &str {
    let words = [
        " in the ",
        " in ",
        " of the ",
        " at ",
        " on ",
        " measuring ",
        " within ",
        " (",
        " with a ",
        " that ",
        " which ",
    ];
    words.iter().filter_map(|word| piece.find(word)).min().map_or(piece, |at| &piece[..at])
}

/// Without a size before it: "a 5 mm gallstone".
fn measureless(piece: &str) -> &str {
    let bare = ["a ", "an "].iter().find_map(|word| piece.strip_prefix(word)).unwrap_or(piece);
    let rest = bare.trim_start_matches(|c: char| c.is_ascii_digit() || ".x× -".contains(c));
    let unit = ["mm ", "cm "].iter().find_map(|unit| rest.strip_prefix(unit));
    unit.filter(|_| rest.len() < bare.len()).unwrap_or(piece)
}

/// Whether a piece of a sentence tells of the item before, or is a clause: no label that nobody knows.
fn describes(piece: &str) -> bool {
    let words = prose::words(piece);
    let first = words.first().map_or("", String::as_str);
    let starts = [
        "which",
        "that",
        "where",
        "who",
        "when",
        "as",
        "at",
        "in",
        "on",
        "of",
        "to",
        "by",
        "for",
        "from",
        "with",
        "without",
        "due",
        "because",
        "since",
        "so",
        "but",
        "if",
        "then",
        "not",
        "no",
        "clear",
        "unclear",
        "based",
        "difficult",
        "possible",
        "likely",
        "most",
        "located",
        "seen",
        "given",
        "made",
        "supported",
        "confirmed",
        "consistent",
        "compatible",
        "evident",
        "established",
        "only",
        "also",
        "therefore",
        "thus",
        "however",
        "and",
        "or",
        "yes",
        "up",
        "approximately",
        "about",
        "there",
        "it",
        "its",
        "this",
        "these",
        "they",
    ];
    starts.contains(&first)
        || first.ends_with("ing")
        || words.len() > 5
        || words.len() == 1 && (first.ends_with("ed") || ["shown", "seen", "present", "absent", "so"].contains(&first))
        || organ::is_organ(piece)
        || prose::is_prose(piece)
        || !prose::is_label(piece)
        || is_unsaid(piece)
}

//! JSON in an answer, also as models write it: single or curly quotes, `True`, a comma too many, the end missing. Lists of labels or of
//! objects with a label; objects with a key for labels, whatever stands before it; maps from labels to true, false, a state or a
//! probability (0.5 and more counts). A string that never ends was cut and is left out.
use super::reader::{Json, Reader, quoted};
use super::{Known, Read, aside, item, lead, lines, list, organ, prose, state};

/// The labels of the first JSON list or object that holds some or is empty, and of those that follow it directly; None where there is none.
pub(super) fn items(text: &str, known: Known) -> Option<Vec<String>> {
    // an empty object is an answer where it is all of it, but for a word before it
    let line = text.trim();
    if line.ends_with("{}") && line.matches('{').count() == 1 && prose::words(line).len() <= 2 {
        return Some(vec![]);
    }
    if line.strip_prefix('(').is_some_and(quoted) && line.ends_with(')') {
        return items(&format!("[{line}]"), known); // as Python writes lists that cannot be changed
    }
    let set = line.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    if let Some(inside) = set.filter(|inside| quoted(inside) && !inside.contains([':', '{', '['])) {
        return items(&format!("[{inside}]"), known);
    }
    let mut from = 0;
    while let Some(start) = text[from..].find(['[', '{']).map(|at| from + at) {
        let mut reader = Reader { text, at: start };
        from = start + 1;
        if is_box(text, start) {
            continue;
        }
        if let Some(found) = reader.value(0).and_then(|value| pieces(&value, known)) {
            return Some(with_next(reader, found, known));
        }
    }
    None
}

/// Whether the bracket at `start` is a box that nobody ticked: "[ ] ascites", and "[] ascites" where another is ticked.
fn is_box(text: &str, start: usize) -> bool {
    let ticked = item::TICKED.iter().any(|mark| text.contains(mark));
    let Some(rest) = text[start..].strip_prefix("[ ]").or(text[start..].strip_prefix("[]").filter(|_| ticked)) else {
        return false;
    };
    rest.trim_start_matches([' ', '*', '_']).starts_with(char::is_alphabetic)
}

/// Lines of JSON: further objects and lists with nothing but space or commas between.
fn with_next(mut reader: Reader, mut found: Vec<String>, known: Known) -> Vec<String> {
    loop {
        let rest = &reader.text[reader.at..];
        let skipped = rest.len() - rest.trim_start_matches([' ', '\n', '\t', ',']).len();
        if !rest[skipped..].starts_with(['{', '[']) || is_box(reader.text, reader.at + skipped) {
            return found;
        }
        reader.at += skipped;
        match reader.value(0).and_then(|value| pieces(&value, known)) {
            Some(more) => found.extend(more),
            None => return found,
        }
    }
}

/// Parts of keys under which labels stand, the surest first.
const KEYS: [&str; 14] = [
    "final_diagnos",
    "diagnos",
    "label",
    "disease",
    "condition",
    "answer",
    "output",
    "prediction",
    "impression",
    "finding",
    "name",
    "result",
    "term",
    "entit",
];
/// Parts of keys of other things.
const OTHERS: [&str; 27] = [
    "reason",
    "explan",
    "rational",
    "evidence",
    "count",
    "num",
    "confiden",
    "prob",
    "score",
    "able",
    "code",
    "icd",
    "different",
    "ruled",
    "exclu",
    "negative",
    "absent",
    "comment",
    "note",
    "descri",
    "input",
    "report",
    "thought",
    "total",
    "organ",
    "location",
    "severity",
];
/// Parts of keys that share one list.
const SHARED: [&str; 6] = ["primary", "secondary", "main", "additional", "other", "incidental"];

fn is_other(key: &str) -> bool {
    let key = key.to_lowercase();
    let flag = key.starts_with("is_") || key.starts_with("has_");
    let gone = matches!(aside::kind(&key), Some(aside::Kind::Gone | aside::Kind::Other));
    flag || gone || OTHERS.iter().any(|part| key.contains(part)) || ["id", "type", "text"].contains(&key.as_str())
}

fn rank(key: &str) -> Option<usize> {
    let key = key.to_lowercase().replace(' ', "_");
    KEYS.iter().position(|part| key.contains(part)).filter(|_| !is_other(&key))
}

/// The labels of a value; None where it is none of an answer's shapes.
fn pieces(value: &Json, known: Known) -> Option<Vec<String>> {
    match value {
        Json::Text(text) if prose::is_prose(text) || is_lined(text) => Some(listed(text, known)),
        Json::Text(text) => Some(written(text, known).unwrap_or_else(|| vec![text.clone()])),
        // ("renal cyst", 0.95)
        Json::List(pair) if is_scored(pair) && there(&pair[1]) == Some(false) => Some(vec![]),
        Json::List(all) => {
            let found: Vec<Vec<String>> = all.iter().filter_map(|one| pieces(one, known)).collect();
            (all.is_empty() || !found.is_empty()).then(|| found.concat())
        }
        Json::Map(map) => object(map, known),
        _ => None,
    }
}

/// A label and a share.
fn is_scored(pair: &[Json]) -> bool {
    matches!(pair, [Json::Text(_), Json::Number(share)] if (0.0..=1.0).contains(share))
}

/// The labels of a text under a key: a list in lines or with numbers ("1. a\n2. b"), a sentence, else what commas part.
fn listed(text: &str, known: Known) -> Vec<String> {
    if is_lined(text) && !item::is_known(text, known) {
        let mut read = Read::new(known);
        list::read(text, &mut read);
        return read.labels;
    }
    lead::pieces(text, known)
}

fn is_lined(text: &str) -> bool {
    text.trim().contains('\n') || lines::inline(text).len() > 1
}

/// The labels of a text that is JSON itself: an answer that was encoded twice.
fn written(text: &str, known: Known) -> Option<Vec<String>> {
    let text = text.trim();
    let json = [('[', ']'), ('{', '}')].iter().any(|(open, close)| text.starts_with(*open) && text.ends_with(*close));
    (json && !is_box(text, 0)).then(|| items(text, known))?
}

fn object(map: &[(String, Json)], known: Known) -> Option<Vec<String>> {
    if denied(map) {
        return Some(vec![]);
    }
    // a call of a tool: what it is given is the answer, not the tool's name
    if let Some((_, given)) = map.iter().find(|(key, _)| ["arguments", "parameters"].contains(&key.as_str())) {
        return match given {
            Json::Text(text) => items(text, known),
            other => pieces(other, known),
        };
    }
    by_mention(map)
        .or_else(|| by_part(map, known))
        .or_else(|| by_code(map))
        .or_else(|| by_organ(map, known))
        .or_else(|| by_key(map, known))
        .or_else(|| by_state(map))
        .or_else(|| by_known(map, known))
        .or_else(|| {
            let inner =
                map.iter().filter(|(key, value)| !is_other(key) && matches!(value, Json::Map(_) | Json::List(_)));
            // labels by organ, or by whatever else
            let found: Vec<Vec<String>> = inner.filter_map(|(_, value)| pieces(value, known)).collect();
            (!found.is_empty()).then(|| found.concat())
        })
}

/// Keys of a piece of text, and of what kind of thing it names, as recognisers of entities write them.
const MENTIONS: [&str; 10] =
    ["text", "mention", "span", "word", "entity", "surface", "string", "value", "name", "term"];
const CLASSES: [&str; 10] =
    ["type", "label", "category", "class", "entity_type", "entity_group", "entity", "tag", "kind", "semantic_type"];
/// Kinds that are labels, and kinds that are none.
const DISEASES: [&str; 17] = [
    "disease",
    "diseases",
    "disorder",
    "disease disorder",
    "disease or disorder",
    "disease or syndrome",
    "diagnosis",
    "diagnoses",
    "condition",
    "medical condition",
    "problem",
    "medical problem",
    "pathology",
    "illness",
    "finding",
    "clinical finding",
    "abnormality",
];
const NO_DISEASES: [&str; 22] = [
    "anatomy",
    "organ",
    "body part",
    "anatomical structure",
    "location",
    "site",
    "chemical",
    "drug",
    "medication",
    "treatment",
    "procedure",
    "test",
    "measurement",
    "size",
    "severity",
    "symptom",
    "gene",
    "device",
    "date",
    "age",
    "sex",
    "laterality",
];

/// Of `{"text": "cyst", "type": "disease"}` the text, and none where it is of another kind; also where no kind is given and it has a place
/// in the report.
fn by_mention(map: &[(String, Json)]) -> Option<Vec<String>> {
    let text = |(key, value): &(String, Json)| match value {
        Json::Text(text) => Some((key.to_lowercase(), text.clone())),
        _ => None,
    };
    let texts: Vec<(String, String)> = map.iter().filter_map(text).collect();
    let kind = texts.iter().filter(|(key, _)| CLASSES.contains(&key.as_str())).find_map(|(key, value)| {
        let value = value.to_lowercase().replace(['_', '-', '/'], " ");
        let value = value.strip_prefix("b ").or(value.strip_prefix("i ")).unwrap_or(&value);
        let disease = DISEASES.contains(&value);
        (disease || NO_DISEASES.contains(&value)).then_some((key, disease))
    });
    let mention = |not: &str| texts.iter().find(|(key, _)| key != not && MENTIONS.contains(&key.as_str()));
    match kind {
        Some((key, disease)) => mention(key).map(|(_, text)| if disease { vec![text.clone()] } else { vec![] }),
        None => {
            let placed = map.iter().any(|(key, _)| ["start", "begin", "offset", "start_char"].contains(&key.as_str()));
            let named = map.iter().any(|(key, _)| rank(key).is_some());
            mention("").filter(|_| placed && !named).map(|(_, text)| vec![text.clone()])
        }
    }
}

/// `{"code": "N28.1", "description": "renal cyst"}`: the text beside a code.
fn by_code(map: &[(String, Json)]) -> Option<Vec<String>> {
    let coded = map.iter().any(|(key, _)| key.to_lowercase().contains("code") || key.to_lowercase().starts_with("icd"));
    let named = map.iter().any(|(key, _)| rank(key).is_some());
    let text = |(key, value): &(String, Json)| match value {
        Json::Text(text) if ["description", "display", "title", "text"].contains(&key.to_lowercase().as_str()) => {
            Some(text.clone())
        }
        _ => None,
    };
    map.iter().filter(|_| coded && !named).find_map(text).map(|text| vec![text])
}

/// `{"primary": "cyst", "others": ["stone"]}`: a list in parts.
fn by_part(map: &[(String, Json)], known: Known) -> Option<Vec<String>> {
    let part = |key: &str| {
        let key = key.to_lowercase();
        SHARED.iter().any(|part| key == *part || key.strip_suffix('s') == Some(*part))
    };
    if map.is_empty() || !map.iter().all(|(key, _)| part(key) || is_other(key)) {
        return None;
    }
    let found = map.iter().filter(|(key, _)| part(key)).map(|(_, value)| match value {
        Json::Text(text) => written(text, known).unwrap_or_else(|| listed(text, known)),
        other => pieces(other, known).unwrap_or_default(),
    });
    let found: Vec<String> = found.flatten().collect();
    map.iter().any(|(key, _)| part(key)).then_some(found)
}

/// Findings by organ; one that is normal has none.
fn by_organ(map: &[(String, Json)], known: Known) -> Option<Vec<String>> {
    if map.is_empty() || !map.iter().all(|(key, _)| organ::is_organ(key) && !item::is_known(key, known)) {
        return None;
    }
    let found: Option<Vec<Vec<String>>> = map
        .iter()
        .map(|(_, value)| match value {
            Json::Null => Some(vec![]),
            Json::Text(text) if organ::is_normal(text) => Some(vec![]),
            Json::Text(text) => Some(list::split(text)),
            other => pieces(other, known),
        })
        .collect();
    found.map(|all| all.concat().into_iter().filter(|one| !organ::is_normal(one)).collect())
}

/// Keys beside a label that say in a word whether it is there: "absent", "negative". A number there only grades it.
const GRADES: [&str; 13] = [
    "presence",
    "assertion",
    "polarity",
    "certainty",
    "confidence",
    "likelihood",
    "result",
    "assessment",
    "state",
    "exists",
    "evidence",
    "is_present",
    "confirmed",
];

/// An object that says of its label that it is not there.
fn denied(map: &[(String, Json)]) -> bool {
    let text = |value: &Json| matches!(value, Json::Text(text) if state::state(text).is_none());
    let labelled = map
        .iter()
        .any(|(key, value)| (rank(key).is_some() || MENTIONS.contains(&key.to_lowercase().as_str())) && text(value));
    map.iter().any(|(key, value)| {
        let key = key.to_lowercase();
        match (value, there(value)) {
            (_, Some(false)) if is_state(&key) => true,
            (Json::Text(_) | Json::Flag(_), Some(false)) if labelled && GRADES.contains(&key.as_str()) => true,
            (_, Some(false)) if key == "answer" => map.len() > 1,
            (_, Some(true)) if key.contains("negat") => true,
            (Json::Text(text), _) if key.contains("negat") => text.to_lowercase().starts_with("negat"),
            (Json::Number(share), _) if key.contains("prob") => labelled && *share < 0.5,
            _ => false,
        }
    })
}

fn is_state(key: &str) -> bool {
    ["present", "positive", "detected", "status", "found", "value"].contains(&key.to_lowercase().as_str())
}

/// Under the surest key; under all of its kind where they are numbered or share a list.
fn by_key(map: &[(String, Json)], known: Known) -> Option<Vec<String>> {
    let listed = |value: &Json| match value {
        Json::Text(text) => Some(written(text, known).unwrap_or_else(|| listed(text, known))),
        Json::Null => Some(vec![]),
        Json::Map(map) if map.is_empty() => Some(vec![]),
        other => pieces(other, known),
    };
    let mut keyed: Vec<(usize, &String, Vec<String>)> =
        map.iter().filter_map(|(key, value)| Some((rank(key)?, key, listed(value)?))).collect();
    // "fatty liver disease": "present" is a label with a state, though a key's word stands in it
    let label = |key: &str, found: &[String]| {
        item::is_known(key, known) || key.contains(' ') && found.iter().all(|one| state::state(one).is_some())
    };
    keyed.retain(|(_, key, found)| found.is_empty() || !label(key, found));
    // "term": "renal cyst", "result": "positive"
    let says = |found: &[String]| !found.is_empty() && found.iter().all(|one| state::state(one).is_some());
    if keyed.iter().any(|(.., found)| !found.is_empty() && !says(found)) {
        keyed.retain(|(.., found)| !says(found));
    }
    let shares =
        |key: &str| key.ends_with(|c: char| c.is_ascii_digit()) || SHARED.iter().any(|part| key.contains(part));
    let best = keyed.iter().map(|(rank, ..)| *rank).min()?;
    let shared: Vec<&Vec<String>> =
        keyed.iter().filter(|(_, key, _)| shares(&key.to_lowercase())).map(|(.., found)| found).collect();
    match shared.len() {
        // "diagnosis" and "other_diagnoses"
        1 if keyed.iter().any(|(rank, key, _)| *rank == best && !shares(&key.to_lowercase())) => {
            let both = |(rank, key, _): &&(usize, &String, Vec<String>)| *rank == best || shares(&key.to_lowercase());
            Some(keyed.iter().filter(both).flat_map(|(.., found)| found.clone()).collect())
        }
        0 | 1 => {
            let first = keyed.iter().find(|(rank, ..)| *rank == best).map(|(_, key, _)| *key)?;
            // a key that comes again was not meant to undo what stood under it before
            Some(keyed.iter().filter(|(_, key, _)| *key == first).flat_map(|(.., found)| found.clone()).collect())
        }
        _ => Some(shared.into_iter().flatten().cloned().collect()),
    }
}

/// Keys that are there, where every value says whether.
fn by_state(map: &[(String, Json)]) -> Option<Vec<String>> {
    let labels = map.iter().filter(|(key, _)| !is_other(key) && !is_state(key));
    let states: Vec<(&String, Option<bool>)> = labels.map(|(key, value)| (key, there(value))).collect();
    let all = !states.is_empty() && states.iter().all(|(_, state)| state.is_some());
    all.then(|| states.into_iter().filter(|(_, state)| *state == Some(true)).map(|(key, _)| key.clone()).collect())
}

/// Known labels as keys with explanations, or as values by organ.
fn by_known(map: &[(String, Json)], known: Known) -> Option<Vec<String>> {
    let keys: Vec<&(String, Json)> = map.iter().filter(|(key, _)| item::is_known(key, known)).collect();
    let given = |pair: &&&(String, Json)| match &pair.1 {
        Json::Null => false,
        Json::Text(text) => !text.trim().is_empty(),
        Json::List(all) => !all.is_empty(),
        _ => true,
    };
    let gone = |pair: &&&(String, Json)| matches!(&pair.1, Json::Text(text) if state::gone(&pair.0, text));
    let denied = keys.iter().any(|pair| gone(&pair));
    let given: Vec<String> = keys.iter().filter(|pair| given(pair) && !gone(pair)).map(|pair| pair.0.clone()).collect();
    if !keys.is_empty() {
        return Some(if given.is_empty() && !denied {
            keys.iter().map(|pair| pair.0.clone()).collect()
        } else {
            given
        });
    }
    let value = |value: &Json| match value {
        Json::Text(text) => item::joined(text, known, 8),
        _ => None,
    };
    let only = map.len() == 1; // {"text": "renal cyst, gallstone"}
    let values: Vec<String> =
        map.iter().filter(|(key, _)| only || !is_other(key)).filter_map(|(_, v)| value(v)).flatten().collect();
    (!values.is_empty()).then_some(values)
}

fn there(value: &Json) -> Option<bool> {
    match value {
        Json::Flag(flag) => Some(*flag),
        Json::Number(share) => Some(*share >= 0.5),
        Json::Text(text) => state::state(&text.replace('_', " ")),
        Json::Map(map) => map.iter().find(|(key, _)| is_state(key)).and_then(|(_, value)| there(value)),
        _ => None,
    }
}

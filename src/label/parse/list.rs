//! Lines of an answer: from the last heading that labels follow, up to an explanation or an echo of the prompt; bullets, numbers,
//! commas, semicolons. Sentences among them are passed over; what they conclude is read only where nothing else was.
use super::heading::{Heading, echoes, explains, heading, remarks, verdict};
use super::{Known, Read, item, organ, prose};

/// Reads the lines of an answer.
pub(super) fn read(text: &str, read: &mut Read) {
    let text = marked(text);
    let all: Vec<&str> = text.lines().collect();
    for (at, _) in all.iter().enumerate().filter(|(at, line)| *at > 0 && echoes(line)) {
        sections(&all[..at], read);
        if read.is_any() {
            return;
        }
    }
    sections(&all, read);
    if !read.is_any() {
        conclude(&all, read);
    }
}

/// The same lines with one check box a line, and where `+` and `-` stand before items of one list, a cross in place of the `-`.
fn marked(text: &str) -> String {
    let marks =
        || item::TICKED.iter().chain(&item::CROSSED).chain(&["☑", "✓", "✔", "✅"]).filter(|mark| **mark != "~~");
    let sign = |line: &str, sign: char| {
        let rest = line.trim_start().strip_prefix(sign)?;
        rest.starts_with(' ').then_some(line.len() - line.trim_start().len())
    };
    let text = unlettered(&verdicts_apart(&untabbed(text)));
    let text = text.as_str();
    let plus: Vec<usize> = text.lines().filter_map(|line| sign(line, '+')).collect();
    let one = |line: &str| -> String {
        let line = line.trim_end();
        let bare = item::bulletless(line);
        if sign(line, '-').is_some_and(|indent| plus.contains(&indent)) {
            return line.replacen('-', "❌", 1);
        }
        if !marks().any(|mark| bare.starts_with(mark)) {
            return line.to_string();
        }
        let start = line.len() - bare.len();
        let mut places: Vec<usize> = marks()
            .flat_map(|mark| bare.match_indices(*mark))
            .map(|(at, _)| start + at)
            .filter(|at| *at > start && !line[..*at].ends_with(['[', '('])) // `✓` of `[✓]` begins no box of its own
            .collect();
        places.sort_unstable();
        let mut line = line.to_string();
        places.into_iter().rev().for_each(|at| line.insert(at, '\n'));
        line
    };
    text.lines().map(one).collect::<Vec<_>>().join("\n")
}

/// Commas in place of tabs between words.
fn untabbed(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let between = c == '\t' && out.ends_with(|c: char| c.is_alphabetic() || c == ')');
        match between {
            true => out.push_str(", "),
            false => out.push(c),
        }
    }
    out
}

/// "Absent: a, b. Present: c" in two lines.
fn verdicts_apart(text: &str) -> String {
    let mut text = text.to_string();
    for word in ["Present:", "Absent:", "Positive:", "Negative:", "present:", "absent:", "positive:", "negative:"] {
        for end in [". ", "; ", ", "] {
            text = text.replace(&format!("{end}{word}"), &format!("\n{word}"));
        }
    }
    text
}

/// Without "A." and "B." where lines are lettered in order from the first: "E. coli infection" alone is no fifth item.
fn unlettered(text: &str) -> String {
    let letter = |line: &str| {
        let line = line.trim_start();
        let first = line.chars().next().filter(char::is_ascii_alphabetic)?;
        line[1..].starts_with(". ").then_some(first.to_ascii_lowercase())
    };
    let letters: Vec<char> = text.lines().filter_map(letter).collect();
    let ordered = letters.len() > 1 && letters.iter().enumerate().all(|(i, c)| *c as usize == 'a' as usize + i);
    if !ordered {
        return text.to_string();
    }
    let bare = |line: &str| letter(line).map_or_else(|| line.to_string(), |_| format!("- {}", &line.trim_start()[3..]));
    text.lines().map(bare).collect::<Vec<_>>().join("\n")
}

/// From the last heading that labels follow; without one, from the first line.
fn sections(lines: &[&str], read: &mut Read) {
    let headed: Vec<Option<Heading>> = lines.iter().map(|line| heading(line)).collect();
    for at in (0..lines.len()).rev() {
        let Some(head) = &headed[at] else { continue };
        let longer = |one: &Heading| one.after.len() > head.after.len() && one.after.starts_with(head.after);
        if at + 1 == lines.len() && !head.after.is_empty() && headed[..at].iter().flatten().any(longer) {
            continue; // the answer was cut while it repeated itself
        }
        // the same heading again begins the next entry and takes nothing back
        let name = |i: usize| lines[i].split_once(':').map(|(name, _)| name.trim().to_lowercase());
        let again = |i: usize| {
            !head.after.is_empty() && name(i) == name(at) && headed[i].as_ref().is_some_and(|one| !one.after.is_empty())
        };
        let repeated = (0..at).any(again);
        let part = |i: &usize| headed[*i].as_ref().is_some_and(|one| one.part) || repeated && (*i == at || again(*i));
        let first = if head.part || repeated { (0..=at).find(part).unwrap_or(at) } else { at };
        section(&lines[first..], &headed[first..], read);
        if read.is_any() {
            return;
        }
    }
    section(lines, &headed, read);
}

fn section(lines: &[&str], headed: &[Option<Heading>], read: &mut Read) {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let bulleted = |line: &&&str| item::is_bulleted(line) && !line.trim().is_empty();
    let margin = lines.iter().filter(bulleted).map(|line| indent(line)).min();
    let mut opened = false; // the last bullet at the margin announces those below it
    let mut denied = false; // what stands here is not there
    let mut organ = false; // what stands here is of an organ that a heading names
    for (at, (line, head)) in lines.iter().zip(headed).enumerate() {
        // entries of one kind follow each other, each with its own evidence
        let more = headed[at + 1..].iter().flatten().any(|one| !one.after.is_empty());
        if is_organ_heading(line, lines.len(), read) {
            (organ, opened, denied) = (true, false, false);
            continue;
        }
        organ &= head.is_none() && !line.trim_start().starts_with('#');
        if organ && organ::is_normal(item::unbulleted(line)) {
            read.nothing = true;
            continue;
        }
        if let Some((is, after)) = verdict(line) {
            denied = !is;
            read.nothing |= !is;
            if is && !after.is_empty() {
                entry(after, read);
            }
            continue;
        }
        denied &= head.is_none() && !line.trim_start().starts_with('#');
        if denied {
            continue;
        }
        if explains(line) {
            if read.is_any() && !more {
                break;
            }
            continue;
        }
        let bullet = item::is_bulleted(line);
        let content = match head {
            Some(head) => head.after,
            None if remarks(line) => continue,
            None => line,
        };
        let nested = bullet && Some(indent(line)) > margin && !opened;
        let beside = head.is_none() && margin.is_some() && (!bullet || nested);
        if bullet && Some(indent(line)) == margin {
            opened = line.trim().trim_end_matches('*').ends_with(':');
        }
        if beside {
            known_only(content, read);
        } else {
            entry(content, read);
        }
    }
}

/// "## Kidney", "**Liver and bile ducts**" among other lines.
fn is_organ_heading(line: &str, lines: usize, read: &Read) -> bool {
    let line = line.trim();
    let marked = line.starts_with('#') || line.starts_with("**") && line.trim_end_matches(':').ends_with("**");
    let name = line.trim_matches(['#', '*', ' ', ':']);
    lines > 1 && marked && organ::is_organ(name) && !item::is_known(name, read.known)
}

/// Whether a sentence has pieces of at most five words, as a list has; longer ones in a paragraph belong to its prose.
fn is_short(sentence: &str) -> bool {
    split(sentence).iter().all(|piece| prose::words(piece).len() <= 5)
}

/// A line that stands beside a list: its labels only if it is made of known ones.
fn known_only(line: &str, read: &mut Read) {
    if let Some(labels) = led(&item::tidy(line), read.known) {
        read.all(&labels);
        return;
    }
    let line = line.trim().trim_end_matches('.');
    let line = SEEN.iter().find_map(|seen| line.strip_suffix(seen)).unwrap_or(line);
    let pieces: Vec<String> =
        split(&echo_free(line)).into_iter().filter(|piece| !item::tidy(piece).is_empty()).collect();
    if !pieces.is_empty() && pieces.iter().all(|piece| item::joined(piece, read.known, 8).is_some()) {
        read.all(&pieces);
    }
}

/// Without "Finding:", which can head a list of labels.
fn echo_free(line: &str) -> String {
    match line.split_once(':') {
        Some((_, rest)) if echoes(line) => rest.to_string(),
        _ => line.to_string(),
    }
}

/// One line: a label with its explanation, or a list of labels, or sentences.
fn entry(line: &str, read: &mut Read) {
    let line = echo_free(line);
    let line = line.trim();
    if line.is_empty() {
        return;
    }
    let crossed = item::is_crossed(line);
    let plain = item::tidy(item::unbulleted(line));
    if crossed {
        read.nothing = true;
    } else if item::joined(&plain, read.known, 8).is_some() {
        read.add(&plain);
    } else if let Some(label) = with_explanation(&plain, read) {
        read.add(&label);
    } else {
        let sentences: Vec<&str> = inline(&plain).into_iter().flat_map(prose::sentences).collect();
        let told = sentences.iter().position(|sentence| prose::is_prose(sentence)).unwrap_or(sentences.len());
        for (at, sentence) in sentences.iter().enumerate() {
            let beside = told < sentences.len() && at != told && (at > told || !is_short(sentence));
            if beside { known_only(sentence, read) } else { listed(sentence, read) }
        }
    }
}

/// The item of "label – explanation" where the line is that and no list; with its state, if what follows is one.
fn with_explanation(line: &str, read: &Read) -> Option<String> {
    let (head, tail) = item::explained(line)?;
    let organ = item::explained(tail).is_some() || item::joined(tail, read.known, 8).is_some();
    let long = prose::sentences(head).len() > 1 || prose::words(head).len() > 8;
    if long || organ || split(head).len() > 1 || prose::is_prose(head) || item::state(tail).is_some() {
        return None;
    }
    Some(line.to_string())
}

/// "1. a 2. b 3. c" in its parts; other lines whole.
fn inline(line: &str) -> Vec<&str> {
    let mark = |n: usize| [format!(" {n}. "), format!(" {n}) "), format!(" ({n}) ")];
    let (mut parts, mut rest) = (Vec::new(), line);
    for n in 2..64 {
        let Some(at) = mark(n).iter().filter_map(|mark| rest.find(mark.as_str())).min() else { break };
        parts.push(&rest[..at]);
        rest = rest[at..].trim_start();
    }
    parts.push(rest);
    parts
}

/// Ends of sentences that say of labels that they are there.
const SEEN: [&str; 12] = [
    " is seen",
    " are seen",
    " is present",
    " are present",
    " is found",
    " are found",
    " is noted",
    " are noted",
    " is identified",
    " are identified",
    " is visible",
    " are visible",
];

/// Words behind which a sentence names what is there.
const LEADS: [&str; 14] = [
    "suggest ",
    "suggests ",
    "suggesting ",
    "suggestive of ",
    "consistent with ",
    "compatible with ",
    "indicative of ",
    "diagnostic of ",
    "diagnoses include ",
    "diagnoses are ",
    "diagnosis is ",
    "there is also ",
    "there is ",
    "there are ",
];

/// The known labels, and nothing else, behind the last such words ("findings are consistent with a and b"); none where the sentence denies
/// or doubts what follows.
fn led(sentence: &str, known: Known) -> Option<Vec<String>> {
    let lower = sentence.to_lowercase();
    let (at, lead) = LEADS.iter().filter_map(|lead| Some((lower.rfind(lead)?, lead))).max()?;
    let before = prose::words(&lower[..at]);
    let doubt = [
        "no", "not", "without", "never", "neither", "nor", "unlikely", "less", "against", "if", "could", "would",
        "may", "might",
    ];
    let tail = (lower.len() == sentence.len()).then(|| sentence.get(at + lead.len()..))??;
    let free = !before.iter().any(|word| doubt.contains(&word.as_str()));
    free.then(|| item::joined(&item::tidy(tail), known, 8))?
}

/// A sentence or a list without verbs. Of a sentence that begins with known labels ("a, b and c are seen") those are read.
fn listed(sentence: &str, read: &mut Read) {
    let sentence = item::tidy(sentence); // without the brackets of a list
    let sentence = sentence.as_str();
    if prose::denies_all(sentence) {
        read.nothing = true;
        return;
    }
    if let Some(labels) = led(sentence, read.known) {
        read.all(&labels);
        return;
    }
    let pieces: Vec<String> = parted(sentence, read.known);
    let words = prose::words(sentence);
    if prose::is_prose(sentence) {
        let seen = SEEN.iter().find_map(|seen| sentence.strip_suffix(seen));
        if let Some(labels) = seen.and_then(|list| item::joined(list, read.known, 8)) {
            read.all(&labels);
            return;
        }
        let known: Vec<String> =
            pieces.iter().map_while(|piece| item::joined(piece, read.known, 8)).flatten().collect();
        if known.len() > 1 {
            read.all(&known);
        }
        return;
    }
    // "no a, b or c" denies all three
    let denial = words.first().is_some_and(|word| ["no", "without", "neither"].contains(&word.as_str()));
    let joins = |piece: &String| prose::words(piece).iter().any(|word| word == "or" || word == "nor");
    let denied = pieces.iter().rposition(joins).filter(|at| denial && (*at > 0 || words[0] == "neither"));
    read.nothing |= denied.is_some();
    pieces.iter().skip(denied.map_or(0, |at| at + 1)).for_each(|piece| read.add(piece));
}

/// What an answer of prose alone concludes with: what it names as diagnoses, else what its clauses imply, if that is known.
fn conclude(lines: &[&str], read: &mut Read) {
    let sentences: Vec<&str> = lines.iter().flat_map(|line| prose::sentences(line)).collect();
    for list in sentences.iter().filter_map(|sentence| prose::named(sentence)) {
        listed(list, read);
    }
    read.nothing |= sentences.iter().any(|sentence| prose::denies_all(sentence));
    if read.is_any() {
        return;
    }
    for clause in sentences.iter().flat_map(|sentence| prose::implied(sentence)) {
        if let Some(labels) = item::joined(&item::tidy(clause), read.known, 8) {
            read.all(&labels);
        }
    }
}

/// At commas and semicolons outside parentheses; a last "and …" belongs to the list.
pub(super) fn split(line: &str) -> Vec<String> {
    let (mut pieces, mut depth, mut piece) = (Vec::new(), 0i32, String::new());
    for c in line.chars() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
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
    let joined = |piece: String| match ["and ", "but "].iter().find_map(|word| piece.trim().strip_prefix(word)) {
        Some(rest) if list => rest.to_string(),
        _ => piece,
    };
    pieces.into_iter().map(joined).collect()
}

/// Pieces of a line of text, as [`split`] has them, of which those that are not known are parted at points between spaces (`a · b`) and
/// where they name what is there and what is not ("not a but b").
fn parted(line: &str, known: Known) -> Vec<String> {
    let points = [" · ", " • ", " ‧ ", " ∙ ", " ・ "];
    let pointed = |piece: String| -> Vec<String> {
        let mark = points.iter().find(|mark| piece.contains(**mark) && !piece.contains(['(', '[']));
        mark.map_or_else(|| vec![piece.clone()], |mark| piece.split(mark).map(String::from).collect())
    };
    let whole = |piece: &String| item::is_known(piece, known);
    let apart =
        |piece: String, part: &dyn Fn(String) -> Vec<String>| if whole(&piece) { vec![piece] } else { part(piece) };
    let pieces = split(line).into_iter().flat_map(|piece| apart(piece, &pointed));
    pieces.flat_map(|piece| apart(piece, &opposed)).collect()
}

/// "not a but b", "a but no b", "a and no b", "b rather than a" in two, what is not there as "not a"; other pieces whole.
fn opposed(piece: String) -> Vec<String> {
    let denied = |text: &str| {
        let text = text.trim().to_lowercase();
        ["not ", "no ", "without "].iter().any(|word| text.starts_with(word))
    };
    let but = piece.split_once(" but ").filter(|(a, b)| denied(a) || denied(b));
    if let Some((a, b)) = but.or_else(|| piece.split_once(" and ").filter(|(_, b)| denied(b))) {
        return vec![a.to_string(), b.to_string()];
    }
    match [" rather than ", " instead of ", " as opposed to "].iter().find_map(|word| piece.split_once(word)) {
        Some((given, other)) => vec![given.to_string(), format!("not {other}")],
        None => vec![piece],
    }
}

//! Lines of an answer: from the last heading that labels follow, up to an explanation or an echo of the prompt; bullets, numbers,
//! commas, semicolons. Sentences among them are passed over; what they conclude is read only where nothing else was.
use super::aside::{self, Aside, Kind, Reach, aside, echoes, indent};
use super::heading::{self, Heading, heading};
use super::lead::{announced, conclude, leading, led, seen, told};
use super::{Known, Read, item, lines, nothing, organ, prose, state};

/// Reads the lines of an answer.
pub(super) fn read(text: &str, read: &mut Read) {
    let text = lines::lines(text);
    let all: Vec<&str> = text.lines().collect();
    let echoed = all.iter().enumerate().filter(|(at, line)| *at > 0 && echoes(line) && !aside::entries(&all));
    for (at, _) in echoed {
        stretch(&all[..at], read);
        if read.is_any() {
            return;
        }
    }
    stretch(&all, read);
}

/// Lines without an echo: their sections; where only sentences gave labels, all that sentences conclude.
fn stretch(lines: &[&str], read: &mut Read) {
    sections(lines, read);
    if !read.is_any() || read.told && !read.listed {
        conclude(lines, read);
    }
}

/// Headings that are tried from the last; an answer with more is of a model that repeats itself.
const HEADINGS: usize = 24;

/// From the last heading that labels follow; without one, from the first line.
fn sections(lines: &[&str], read: &mut Read) {
    let headed: Vec<Option<Heading>> = lines.iter().map(|line| heading(line)).collect();
    let heads = (0..lines.len()).rev().filter(|at| headed[*at].is_some()).take(HEADINGS);
    for at in heads {
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
    let bulleted = |line: &&&str| item::is_bulleted(line) && !line.trim().is_empty() && aside(line).is_none();
    let margin = lines.iter().filter(bulleted).map(|line| indent(line)).min();
    let mut opened = false; // the last bullet at the margin announces those below it
    let mut organ = false; // what stands here is of an organ that a heading names
    let mut reach: Option<Reach> = None; // what stands here is no label, or not there
    let mut number = 0; // of the last item at the margin
    let names: Vec<String> = lines.iter().filter_map(|line| Some(aside(line)?.name)).collect();
    for (at, (line, head)) in lines.iter().zip(headed).enumerate() {
        // entries of one kind follow each other, each with its own evidence
        let more = headed[at + 1..].iter().flatten().any(|one| !one.after.is_empty());
        if is_organ_heading(line, lines.len(), read) {
            (organ, opened, reach) = (true, false, None);
            continue;
        }
        organ &= head.is_none() && !line.trim_start().starts_with('#');
        if organ && organ::is_normal(item::unbulleted(line)) {
            read.nothing = true;
            continue;
        }
        if let Some(aside) = aside(line).filter(|_| head.is_none() && !is_entry(line, read)) {
            reach = reached(&aside, Reach::new(line, &aside, margin, number, !read.is_any()), read, &names, more);
            continue;
        }
        reach = reach.filter(|_| head.is_none());
        if reach.as_mut().is_some_and(|reach| reach.holds(line)) {
            continue;
        }
        reach = None;
        // "Diagnoses: a, b", and lines of other names
        let other =
            lines[..at].iter().zip(headed).any(|(_, one)| one.as_ref().is_some_and(|one| !one.after.is_empty()));
        if other && head.is_none() && is_foreign(line, read.known) {
            continue;
        }
        let bullet = item::is_bulleted(line);
        let part = line.split_once(':').filter(|(name, _)| !bullet && heading::is_part(name)).map(|(_, labels)| labels);
        let content = head.as_ref().map(|head| head.after).or(part).unwrap_or(line);
        let nested = bullet && Some(indent(line)) > margin && !opened;
        let beside = head.is_none() && margin.is_some() && (!bullet || nested);
        if bullet && Some(indent(line)) == margin {
            opened = line.trim().trim_end_matches('*').ends_with(':');
            number = aside::number(line).unwrap_or(number);
        }
        if beside {
            known_only(content, read);
        } else {
            entry(content, read);
        }
    }
}

/// Reads what is there of an aside, and how far what is not reaches.
fn reached(aside: &Aside, reach: Reach, read: &mut Read, names: &[String], more: bool) -> Option<Reach> {
    let repeated = !aside.name.is_empty() && names.iter().filter(|name| **name == aside.name).count() > 1;
    match aside.kind {
        Kind::There => {
            if !aside.after.is_empty() {
                entry(aside.after, read);
            }
            None
        }
        Kind::Gone => {
            read.nothing = true;
            Some(reach)
        }
        _ if reach.is_nested() => Some(reach),
        // a property of the entry before, which others follow
        Kind::Property if !aside.after.is_empty() || !read.is_any() => None,
        Kind::Property => Some(reach),
        Kind::Other if aside.after.is_empty() && aside::leads_away(&aside.name) => Some(reach),
        // "Reasoning: …" before the answer; the evidence of each entry
        Kind::Other if !read.is_any() || more || repeated && !aside.after.is_empty() => None,
        Kind::Other => Some(reach),
    }
}

/// Whether a line without a bullet is a name and what is said of it, with no known label in either.
fn is_foreign(line: &str, known: Known) -> bool {
    let Some((name, text)) = line.split_once(": ").filter(|_| !item::is_bulleted(line)) else { return false };
    let known = |text: &str| split(text).iter().any(|piece| item::joined(&item::tidy(piece), known, 8).is_some());
    !known(name) && !known(text) && !organ::is_organ(name) && !heading::is_part(name)
}

/// Whether a line that looks like an aside is a label of the task, perhaps behind its code ("ICD-10 N28.1: renal cyst").
fn is_entry(line: &str, read: &Read) -> bool {
    let coded = line.split_once(": ").filter(|(code, _)| item::is_codes(item::unbulleted(code)));
    let labelled = coded.is_some_and(|(_, rest)| item::is_known(&split(rest)[0], read.known));
    labelled || item::is_known(item::unbulleted(line), read.known)
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
        return read.tell(&labels);
    }
    let line = line.trim().trim_end_matches('.');
    let line = seen(line).filter(|(_, is)| *is).map_or(line, |(label, _)| label);
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
    let line = item::unwrapped(line.trim());
    if line.is_empty() {
        return;
    }
    let crossed = item::is_crossed(line);
    let plain = item::tidy(item::unbulleted(line));
    let once = line.trim_start_matches(['-', '*', '•', ' ']);
    if crossed {
        read.nothing = true;
    } else if item::is_known(once, read.known) {
        read.add(once); // "- 1.a", where "1.a" is a label
    } else if item::joined(&plain, read.known, 8).is_some() {
        read.add(&plain);
    } else if let Some(label) = with_explanation(&plain, read) {
        read.add(&label);
    } else {
        let sentences: Vec<&str> = lines::inline(&plain).into_iter().flat_map(prose::sentences).collect();
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
    // "ascites: none; renal cyst": a list, of which the first has a state
    let pieces = split(tail);
    let stated = state::state(&pieces[0]).is_some() || state::gone(head, &pieces[0]);
    let follows = |piece: &String| item::joined(&item::tidy(piece), read.known, 8).is_some();
    if pieces.len() > 1 && (stated || tail.contains(';') && pieces[1..].iter().any(follows)) {
        return None;
    }
    let long = prose::sentences(head).len() > 1 || prose::words(head).len() > 8;
    if long || organ || split(head).len() > 1 || prose::is_prose(head) || state::state(tail).is_some() {
        return None;
    }
    Some(line.to_string())
}

/// A sentence or a list without verbs. Of a sentence that begins with known labels ("a, b and c are seen") those are read.
fn listed(sentence: &str, read: &mut Read) {
    let sentence = item::tidy(&unremarked(sentence, read.known)); // without the brackets of a list
    let whole = item::is_known(&sentence, read.known);
    let sentence = if whole { sentence.as_str() } else { prose::unopened(&sentence) };
    if prose::denies_all(sentence) || nothing::is_none(sentence) && !whole {
        read.nothing = true;
        return;
    }
    if let Some(list) = announced(sentence, read.known) {
        return listed(list, read);
    }
    if let Some(labels) = led(sentence, read.known) {
        return read.tell(&labels);
    }
    let pieces: Vec<String> = parted(sentence, read.known);
    if prose::is_prose(&unstated(sentence)) {
        states(sentence, &pieces, read);
    } else if leading(sentence, read.known) {
        conclude(&[sentence], read);
    } else {
        let denied = denied(sentence, &pieces);
        read.nothing |= denied > 0;
        pieces[denied..].iter().for_each(|piece| read.add(piece));
    }
}

/// Labels that a sentence begins with, or of which it says that they are seen.
fn states(sentence: &str, pieces: &[String], read: &mut Read) {
    let each: Option<Vec<(&str, bool)>> = pieces.iter().map(|piece| seen(piece)).collect();
    if let Some(each) = each.filter(|each| each.len() > 1) {
        let there = each.iter().filter(|(label, is)| *is && item::is_known(label, read.known));
        let there: Vec<String> = there.map(|(label, _)| label.to_string()).collect();
        read.nothing |= each.iter().any(|(_, is)| !is);
        return there.iter().for_each(|label| read.add(label));
    }
    match seen(sentence) {
        Some((list, true)) => return told(list, false, read),
        Some((list, false)) if item::joined(list, read.known, 8).is_some() => read.nothing = true,
        _ => (),
    }
    let known: Vec<String> = pieces.iter().map_while(|piece| item::joined(piece, read.known, 8)).flatten().collect();
    if known.len() > 1 {
        read.all(&known);
    }
}

/// How many pieces a denial at the front reaches, where it reaches more than one: "no a, b or c" denies all three.
fn denied(sentence: &str, pieces: &[String]) -> usize {
    let words = prose::words(sentence);
    let denial = words.first().is_some_and(|word| ["no", "without", "neither"].contains(&word.as_str()));
    let joins = |piece: &String| prose::words(piece).iter().any(|word| word == "or" || word == "nor");
    let last = pieces.iter().rposition(joins).filter(|at| denial && (*at > 0 || words[0] == "neither"));
    last.map_or(0, |at| at + 1)
}

/// Without what brackets say of an item: that something is not there, or a sentence.
fn unremarked(sentence: &str, known: Known) -> String {
    let mut out = sentence.to_string();
    for (open, close) in [('(', ')'), ('[', ']')] {
        let mut from = 0;
        while let Some(start) = out[from..].find(open).map(|at| from + at) {
            let Some(end) = out[start..].find(close).map(|at| start + at) else { break };
            let inside = out[start + 1..end].to_string();
            // "Chills (without fever)" is a name
            let denial = nothing::denies(&inside) && !inside.starts_with("without");
            let front = out[..start].trim().is_empty() && (!denial || out[end + 1..].trim().is_empty());
            let whole = item::is_known(&out, known) || front || state::state(&inside).is_some();
            let reason = ["because ", "due to "].iter().any(|word| inside.starts_with(word));
            if !whole && (denial || reason || item::is_coded(&inside) || prose::is_prose(&inside)) {
                out.replace_range(start..=end, "");
                from = start;
            } else {
                from = end;
            }
        }
    }
    out
}

/// Without brackets that hold a state: "a (confirmed), b (seen)" is no sentence for their sake.
fn unstated(sentence: &str) -> String {
    let mut out = sentence.to_string();
    for (at, _) in sentence.rmatch_indices('(') {
        let end = sentence[at..].find(')').map(|end| at + end);
        if let Some(end) = end.filter(|end| state::state(&sentence[at + 1..*end]).is_some()) {
            out.replace_range(at..=end, "");
        }
    }
    out
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
pub(super) fn parted(line: &str, known: Known) -> Vec<String> {
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

/// "not a but b", "not a. b", "a but no b", "a and no b", "b rather than a" in two, what is not there as "not a"; other pieces whole.
fn opposed(piece: String) -> Vec<String> {
    let denied = |text: &str| {
        let text = text.trim().to_lowercase();
        ["not ", "no ", "without ", "nothing "].iter().any(|word| text.starts_with(word))
    };
    if let Some((a, b)) = piece.split_once(". ").filter(|(a, _)| denied(a)) {
        return vec![a.to_string(), b.to_string()];
    }
    let but = piece.split_once(" but ").filter(|(a, b)| denied(a) || denied(b));
    if let Some((a, b)) = but.or_else(|| piece.split_once(" and ").filter(|(_, b)| denied(b))) {
        return vec![a.to_string(), b.to_string()];
    }
    match [" rather than ", " instead of ", " as opposed to "].iter().find_map(|word| piece.split_once(word)) {
        Some((given, other)) => vec![given.to_string(), format!("not {other}")],
        None => vec![piece],
    }
}

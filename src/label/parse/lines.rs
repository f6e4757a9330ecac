//! The lines of an answer as a list has them: one item, one check box, one section a line; marks of items in one form.
use super::{aside, item, prose, state};

/// The lines that [`super::list`] reads.
pub(super) fn lines(text: &str) -> String {
    let text = text.lines().flat_map(numbered).collect::<Vec<_>>().join("\n");
    let text = text.lines().map(asked).collect::<Vec<_>>().join("\n");
    let text = text.lines().map(aside::apart).collect::<Vec<_>>().join("\n");
    marked(&unlettered(&untabbed(&text)))
}

/// The same lines with one check box a line, and where `+` and `-` stand before items of one list, a cross in place of the `-`.
fn marked(text: &str) -> String {
    let marks =
        || item::TICKED.iter().chain(&item::CROSSED).chain(&["☑", "✓", "✔", "✅"]).filter(|mark| **mark != "~~");
    let sign = |line: &str, sign: char| {
        let rest = line.trim_start().strip_prefix(sign)?;
        rest.starts_with(' ').then_some(line.len() - line.trim_start().len())
    };
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

/// Bullets in place of "A." and "B." where lines are lettered in order from the first ("E. coli infection" alone is no fifth item), and of
/// "1" and "2" without a mark where they are numbered so.
fn unlettered(text: &str) -> String {
    let letter = |line: &str| {
        let line = line.trim_start();
        let first = line.chars().next().filter(char::is_ascii_alphabetic)?;
        line[1..].starts_with(". ").then_some((first.to_ascii_lowercase() as usize - 'a' as usize, 3))
    };
    let digit = |line: &str| {
        let line = line.trim_start();
        let digits = line.bytes().take_while(u8::is_ascii_digit).count();
        let rest = line[digits..].strip_prefix(' ')?;
        let number: usize = line[..digits].parse().ok()?;
        rest.starts_with(char::is_alphabetic).then_some((number.checked_sub(1)?, digits + 1))
    };
    let bulleted = |text: &str, mark: &dyn Fn(&str) -> Option<(usize, usize)>| -> String {
        let marks: Vec<usize> = text.lines().filter_map(|line| Some(mark(line)?.0)).collect();
        if marks.len() < 2 || marks.iter().enumerate().any(|(i, mark)| i != *mark) {
            return text.to_string();
        }
        let bare = |line: &str| match mark(line) {
            Some((_, length)) => format!("- {}", &line.trim_start()[length..]),
            None => line.to_string(),
        };
        text.lines().map(bare).collect::<Vec<_>>().join("\n")
    };
    bulleted(&bulleted(text, &letter), &digit)
}

/// "1. a 2. b 3. c" and "Name: 1. a 2. b" in lines; other lines whole.
fn numbered(line: &str) -> Vec<String> {
    let parts = inline(line);
    let spaced = ["1. ", "1) ", "(1) "].iter().filter_map(|one| parts[0].find(one)).min();
    let tight = parts[0].find("1.").filter(|at| parts[0][at + 2..].starts_with(char::is_alphabetic));
    let heads = |at: &usize| {
        let head = line[..*at].trim_matches(['*', '#', ' ', '-']);
        head.is_empty() || head.ends_with(':')
    };
    let Some(first) = spaced.or(tight).filter(heads).filter(|_| parts.len() > 1) else { return vec![line.to_string()] };
    let indent = " ".repeat(line.len() - line.trim_start().len());
    let (head, list) = line.split_at(first);
    let name = head.contains(':').then(|| head.to_string());
    let (before, items) = if name.is_some() { ("", inline(list)) } else { (head.trim_start(), inline(list)) };
    let items = items.iter().enumerate().map(|(i, item)| format!("{indent}{}{item}", if i == 0 { before } else { "" }));
    name.into_iter().chain(items).collect()
}

/// "1. a 2. b 3. c" in its parts; other lines whole.
pub(super) fn inline(line: &str) -> Vec<&str> {
    let (mut parts, mut rest) = (Vec::new(), line);
    for n in 2..64 {
        let marks = [format!(" {n}. "), format!(" {n}) "), format!(" ({n}) ")];
        let tight = rest
            .match_indices(&format!(" {n}."))
            .map(|(at, mark)| (at, at + mark.len()))
            .find(|(_, end)| rest[*end..].starts_with(char::is_alphabetic));
        let spaced = marks.iter().filter_map(|mark| rest.find(mark.as_str()));
        let Some(at) = spaced.chain(tight.map(|(at, _)| at)).min() else { break };
        parts.push(&rest[..at]);
        rest = rest[at..].trim_start();
    }
    parts.push(rest);
    parts
}

/// "Ascites? No. Is there a renal cyst? Yes (2 cm)." as lines of a name and a state; other lines whole.
fn asked(line: &str) -> String {
    let (mut out, mut rest) = (Vec::new(), line);
    while let Some((name, after)) = rest.split_once('?') {
        let after = after.trim_start_matches([' ', '*', '_']);
        let end = after.find(['.', ',', ';', '!', '(']).unwrap_or(after.len());
        let (answer, tail) = after.split_at(end);
        let answer = answer.trim_matches([' ', '*', '_']);
        let short = prose::words(name).len() <= 10 && !name.contains(':');
        if !short || name.trim().is_empty() || state::state(answer).is_none() {
            return line.to_string();
        }
        out.push(format!("{}: {answer}", unasked(name)));
        // what stands between an answer and the next question explains it
        rest = match tail.find('?') {
            Some(next) => tail[..next].rfind(['.', ',', ';', '!']).map_or(tail, |at| &tail[at + 1..]),
            None if tail.starts_with(',') => return line.to_string(),
            None if tail.starts_with('(') => tail.split_once(')').map_or("", |(_, rest)| rest),
            None => tail,
        };
    }
    if out.is_empty() {
        return line.to_string();
    }
    let last = rest.trim_matches(['.', ';', '!', ' ', '*', '_']);
    out.extend(Some(last.to_string()).filter(|last| !last.is_empty()));
    out.join("\n")
}

/// What a question asks for: "Is there a renal cyst".
fn unasked(name: &str) -> &str {
    let starts =
        ["is there ", "are there ", "does the patient have ", "evidence of ", "any ", "a ", "an ", "signs of "];
    let lower = name.trim_start().to_lowercase();
    match starts.iter().find(|start| lower.starts_with(**start)) {
        Some(start) => unasked(&name.trim_start()[start.len()..]),
        None => name,
    }
}

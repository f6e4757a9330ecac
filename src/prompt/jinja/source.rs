//! A template's source as it is compiled: what binds a name measures it, and what could repeat a text is refused.
use super::{COPIES, GROWTH, MEASURE, MEASURE_LOOP, MEASURE_PART, PARTS, REPEATS, TIMED};

/// The source as it is compiled: see the file's header. `{% generation %}` and its end become an `if` that always holds.
pub fn rewritten(source: &str) -> Result<String, String> {
    let text = plain(source);
    let (mut out, mut rest) = (String::with_capacity(source.len() + 64), source);
    while let Some(at) =
        rest.match_indices('{').map(|(at, _)| at).find(|at| rest[at + 1..].starts_with(['{', '%', '#']))
    {
        let line = || source[..source.len() - rest.len() + at].matches('\n').count() + 1;
        out.push_str(&rest[..at]);
        let (kind, body) = (&rest[at..at + 2], &rest[at + 2..]);
        let length = match kind {
            "{#" => body.find("#}"),
            _ => end_of_tag(body, if kind == "{{" { "}}" } else { "%}" }),
        };
        let length = length.ok_or_else(|| format!("line {}: `{kind}` is never closed", line()))?;
        let tag = &body[..length];
        out.push_str(kind);
        if kind == "{#" {
            out.push_str(tag);
        } else {
            repeats(tag).map_err(|what| format!("line {}: {what}", line()))?;
            out.push_str(&if kind == "{%" { statement(tag) } else { tag.to_string() });
        }
        out.push_str(&body[length..length + 2]);
        rest = &body[length + 2..];
        if kind == "{%" {
            out.push_str(&measuring(tag, text));
        }
        if kind == "{%" && words(tag).next() == Some("raw") {
            let end = rest.find("endraw").and_then(|at| rest[..at].rfind("{%")).unwrap_or(rest.len());
            out.push_str(&rest[..end]);
            rest = &rest[end..];
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// Bytes outside of tags: the most that the body of a loop writes by itself.
fn plain(source: &str) -> usize {
    let (mut bytes, mut rest) = (0, source);
    while let Some(at) = rest.find("{{").into_iter().chain(rest.find("{%")).chain(rest.find("{#")).min() {
        bytes += at;
        let end = match &rest[at..at + 2] {
            "{{" => "}}",
            "{%" => "%}",
            _ => "#}",
        };
        let body = &rest[at + 2..];
        let length = if end == "#}" { body.find(end) } else { end_of_tag(body, end) };
        let Some(length) = length else { return source.len() };
        rest = &body[length + 2..];
    }
    bytes + rest.len()
}

/// The words of a tag, without its signs for white space.
fn words(tag: &str) -> impl Iterator<Item = &str> {
    tag.trim_start_matches(['-', '+']).trim_end_matches(['-', '+']).split_whitespace()
}

/// The characters of a tag's code that stand in no quotes, with their places.
fn code(tag: &str) -> impl Iterator<Item = (usize, char)> {
    let (mut quote, mut escaped) = (None, false);
    tag.char_indices().filter(move |(_, c)| match quote {
        Some(open) => {
            (quote, escaped) = match (escaped, *c) {
                (false, '\\') => (quote, true),
                (false, c) if c == open => (None, false),
                _ => (quote, false),
            };
            false
        }
        None => {
            quote = matches!(c, '\'' | '"').then_some(*c);
            quote.is_none()
        }
    })
}

/// Where a tag ends: at `end` outside of quotes and brackets.
fn end_of_tag(body: &str, end: &str) -> Option<usize> {
    let mut depth = 0usize;
    for (at, c) in code(body) {
        if depth == 0 && body[at..].starts_with(end) {
            return Some(at);
        }
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

/// Refuses code that could make a long text of a short one in a single tag.
fn repeats(tag: &str) -> Result<(), String> {
    let copies = code(tag).filter(|(_, c)| matches!(c, '|' | '[' | '(' | '.')).count();
    if copies > COPIES {
        return Err(format!("{copies} filters, brackets and dots in one tag, expected at most {COPIES}"));
    }
    let commas = code(tag).filter(|(_, c)| *c == ',').count();
    if commas > PARTS {
        return Err(format!("{commas} commas in one tag, expected at most {PARTS}"));
    }
    let words = tag.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| matches!(*word, "in" | "is"));
    let compared = words.count() + code(tag).filter(|(_, c)| matches!(c, '=' | '<' | '>')).count();
    if compared > COPIES {
        return Err(format!("{compared} comparisons in one tag, expected at most {COPIES}"));
    }
    let joints = code(tag).filter(|(_, c)| matches!(c, '+' | '~')).count();
    let times: Vec<usize> = code(tag).filter(|(_, c)| *c == '*').map(|(at, _)| at).collect();
    let factor = |at: &usize| {
        let digits = |word: &str| word.parse::<u32>().ok().filter(|n| *n <= REPEATS);
        let before = tag[..*at].trim_end();
        let before = &before[before.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.').len()..];
        let after = tag[at + 1..].trim_start();
        let after = &after[..after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len()];
        digits(before).max(digits(after)).map(|factor| factor.max(1) as usize)
    };
    let factors: Option<Vec<usize>> = times.iter().map(factor).collect();
    let factors = factors.ok_or_else(|| {
        format!("`*` but for numbers up to {REPEATS} is not known here: it can repeat a text without end")
    })?;
    let growth = factors.iter().fold(joints + 1, |product, factor| product.saturating_mul(*factor));
    match growth > GROWTH {
        true => Err(format!(
            "`+`, `~` and `*` can make a value {growth} times as long, expected at most {GROWTH} in one tag"
        )),
        false => Ok(()),
    }
}

/// What stands behind a tag that binds names: their values are measured, and the tag's sign for white space is kept. With the first name
/// the `text` is counted that the body may write.
fn measuring(tag: &str, text: usize) -> String {
    let end = if tag.ends_with('-') { "-" } else { "" };
    let measure = |(i, name): (usize, &String)| {
        let by = if i == 0 { format!("{MEASURE_LOOP}({text})") } else { MEASURE.to_string() };
        format!("{{% set {name} = {name}|{by} {end}%}}")
    };
    bound(tag).iter().enumerate().map(measure).collect()
}

/// The names that a tag binds for what follows it: `for a, b in …`, `with a = …, b = …`, `macro m(a, b=…)`, `call(a) …`.
fn bound(tag: &str) -> Vec<String> {
    let body = tag.trim_start_matches(['-', '+']).trim_end_matches(['-', '+']).trim();
    let first = body.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
    let rest = &body[first.len()..];
    let names: Vec<&str> = match first {
        "for" => match word_in(rest) {
            Some(at) => rest[..at]
                .split(',')
                .map(|name| name.trim_matches(|c: char| c.is_whitespace() || matches!(c, '(' | ')')))
                .collect(),
            None => Vec::new(),
        },
        "with" => parts(rest),
        "macro" | "call" => match rest.find('(').zip(rest.rfind(')')) {
            // a call without names of its own has its brackets behind the macro's name
            Some((open, close)) if open < close && (first == "macro" || rest[..open].trim().is_empty()) => {
                let close = if first == "call" { rest.find(')').unwrap_or(close) } else { close };
                parts(&rest[open + 1..close])
            }
            _ => Vec::new(),
        },
        _ => Vec::new(),
    };
    let is_name = |name: &&str| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    names.into_iter().filter(is_name).map(String::from).collect()
}

/// Where the word `in` stands.
fn word_in(rest: &str) -> Option<usize> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let parted = |at: usize| !rest[..at].ends_with(is_word) && !rest[at + 2..].starts_with(is_word);
    rest.match_indices("in").map(|(at, _)| at).find(|at| parted(*at))
}

/// What stands before the `=` of parts that commas part, outside of quotes and brackets.
fn parts(list: &str) -> Vec<&str> {
    let (mut depth, mut starts) = (0usize, vec![0]);
    for (at, c) in code(list) {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => starts.push(at + 1),
            _ => {}
        }
    }
    starts.into_iter().map(|start| list[start..].split(['=', ',']).next().unwrap_or_default().trim()).collect()
}

/// A tag whose condition behind `word` at `at` looks at the clock.
fn condition(tag: &str, at: usize, word: &str) -> Option<String> {
    let end = tag.len() - usize::from(tag.ends_with(['-', '+']));
    let (before, rest) = (&tag[..at + word.len()], tag.get(at + word.len()..end)?.trim());
    let (condition, tail) = match rest.strip_suffix("recursive").filter(|rest| rest.ends_with([' ', ')', ']'])) {
        Some(condition) if word == "if" && tag.trim_start_matches(['-', '+', ' ']).starts_with("for") => {
            (condition.trim(), " recursive")
        }
        _ => (rest, ""),
    };
    (!condition.is_empty()).then(|| format!("{before} ({condition})|{TIMED}{tail} {}", &tag[end..]))
}

/// Where a word stands outside of quotes and brackets, from a place on.
fn keyword(tag: &str, word: &str, from: usize) -> Option<usize> {
    let (mut depth, mut found) = (0usize, None);
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    for (at, c) in code(tag) {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ if found.is_none() && depth == 0 && at > from && tag[at..].starts_with(word) => {
                let parted = !tag[..at].ends_with(is_word) && !tag[at + word.len()..].starts_with(is_word);
                found = parted.then_some(at);
            }
            _ => {}
        }
    }
    found
}

/// A statement as it is compiled.
fn statement(tag: &str) -> String {
    let first = words(tag).next();
    match first {
        Some("generation") => tag.replacen("generation", "if true", 1),
        Some("endgeneration") => tag.replacen("endgeneration", "endif", 1),
        Some(word @ ("if" | "elif")) => condition(tag, tag.find(word).unwrap_or(0), word).unwrap_or_else(|| tag.into()),
        // the condition of a loop's elements
        Some("for") => {
            let at = word_in(tag).and_then(|from| keyword(tag, "if", from));
            at.and_then(|at| condition(tag, at, "if")).unwrap_or_else(|| tag.into())
        }
        Some("set") => {
            let mut depth = 0usize;
            let assigned = code(tag).find(|(_, c)| match c {
                '(' | '[' | '{' => {
                    depth += 1;
                    false
                }
                ')' | ']' | '}' => {
                    depth = depth.saturating_sub(1);
                    false
                }
                c => *c == '=' && depth == 0,
            });
            let Some((at, _)) = assigned else { return tag.to_string() };
            let body = tag.len() - usize::from(tag.ends_with(['-', '+']));
            let (names, value) = (&tag[..at], tag[at + 1..body].trim());
            let measure = if names.contains('.') { MEASURE_PART } else { MEASURE };
            format!("{names}= ({value})|{measure} {}", &tag[body..])
        }
        _ => tag.to_string(),
    }
}

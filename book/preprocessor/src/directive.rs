//! `{{#name argument}}` in a chapter's text: found outside code and replaced.
use anyhow::{Context, Result};
use std::ops::Range;

/// One directive: where it stands in the text, and its argument without blanks at the ends.
pub struct Found<'a> {
    pub place: Range<usize>,
    pub argument: &'a str,
}

/// Byte ranges of a Markdown text that are code: fenced blocks and spans between equal runs of backticks.
pub fn code(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut fence: Option<(&str, usize)> = None;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let bare = line.trim_start();
        match fence {
            Some((mark, from)) if bare.starts_with(mark) => {
                found.push(from..at + line.len());
                fence = None;
            }
            Some(_) => {}
            None if bare.starts_with("```") || bare.starts_with("~~~") => {
                let run = bare.len() - bare.trim_start_matches(&bare[..1]).len();
                fence = Some((&bare[..run], at));
            }
            None => found.extend(spans(line).map(|span| span.start + at..span.end + at)),
        }
        at += line.len();
    }
    found.extend(fence.map(|(_, from)| from..text.len()));
    found
}

/// Byte ranges of blocks of HTML: from a line that begins with `<` to the next blank line, of a script or style to its end.
fn html(text: &str) -> Vec<Range<usize>> {
    let (mut found, mut at) = (Vec::new(), 0);
    let mut open: Option<(usize, Option<&str>)> = None;
    for line in text.split_inclusive('\n') {
        let end = at + line.len();
        if open.is_none() && line.trim_start().starts_with('<') {
            let closing = [("<script", "</script>"), ("<style", "</style>")];
            open = Some((at, closing.iter().find(|(start, _)| line.contains(start)).map(|(_, end)| *end)));
        }
        if let Some((from, until)) = open
            && until.map_or(line.trim().is_empty(), |mark| line.contains(mark))
        {
            found.push(from..end);
            open = None;
        }
        at = end;
    }
    found.extend(open.map(|(from, _)| from..text.len()));
    found
}

/// Code spans of one line.
fn spans(line: &str) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let from = at + line[at..].find('`')?;
            let run = line[from..].len() - line[from..].trim_start_matches('`').len();
            let tick = &line[from..from + run];
            match line[from + run..].find(tick) {
                Some(length) => {
                    at = from + run + length + run;
                    return Some(from..at);
                }
                None => at = from + run,
            }
        }
    })
}

/// Every `{{#name …}}` outside code, in order. A backslash before it keeps it as it is.
pub fn find<'a>(text: &'a str, name: &str) -> Result<Vec<Found<'a>>> {
    let (open, code) = (format!("{{{{#{name}"), code(text));
    let mut found = Vec::new();
    for (from, _) in text.match_indices(&open) {
        let rest = &text[from + open.len()..];
        let escaped = text[..from].ends_with('\\') || code.iter().any(|range| range.contains(&from));
        if escaped || !rest.starts_with([' ', '}']) {
            continue;
        }
        let length = rest.find("}}").with_context(|| format!("`{open}` is not closed by `}}}}`"))?;
        found.push(Found { place: from..from + open.len() + length + 2, argument: rest[..length].trim() });
    }
    Ok(found)
}

/// The text with every `{{#name argument}}` replaced by what `with` makes of the argument.
pub fn replace(text: &str, name: &str, mut with: impl FnMut(&str) -> Result<String>) -> Result<String> {
    let (mut out, mut at) = (String::with_capacity(text.len()), 0);
    for found in find(text, name)? {
        out += &text[at..found.place.start];
        out += &with(found.argument)?;
        at = found.place.end;
    }
    Ok(out + &text[at..])
}

/// The text with typographic apostrophes, `’`, in the place of straight ones between letters and behind a plural (`models' answers`). Code, formulas,
/// HTML, addresses of links and tables, which may quote answers, stay as they are.
pub fn apostrophes(text: &str) -> String {
    let kept = [code(text), html(text)].concat();
    let (mut out, mut done) = (String::with_capacity(text.len()), 0);
    for (at, _) in text.match_indices('\'') {
        let line = text[..at].rfind('\n').map_or(0, |end| end + 1);
        let before_it = &text[line..at];
        let begins_tag =
            |(from, _): &(usize, &str)| before_it[from + 1..].starts_with(|c: char| c.is_alphabetic() || c == '/');
        let opened = before_it.match_indices('<').rfind(begins_tag).map(|(from, _)| from);
        let tag =
            opened.is_some_and(|from| !before_it[from..].contains('>')) || before_it.trim_start().starts_with('|');
        let address = before_it.rfind("](").is_some_and(|from| !before_it[from..].contains(')'));
        let displayed = text[..at].matches("$$").count() % 2 == 1;
        let formula = displayed || address || before_it.matches('$').count() % 2 == 1;
        let (before, after) = (text[..at].chars().next_back(), text[at + 1..].chars().next());
        let letter = |c: Option<char>| c.is_some_and(char::is_alphabetic);
        let inside = letter(before) && letter(after);
        let plural = before == Some('s') && after.is_none_or(char::is_whitespace);
        if tag || formula || !(inside || plural) || kept.iter().any(|range| range.contains(&at)) {
            continue;
        }
        out += &text[done..at];
        out.push('’');
        done = at + 1;
    }
    out + &text[done..]
}

/// The text for one kind of corpus. `{{#synthetic}}` is the word "synthetic " or nothing; what stands between `{{#when synthetic}}` (or
/// `{{#when own}}`, a user's own data) and `{{#end}}` stays where it is true. `synthetic`: None where no notebook said which corpus it is on.
pub fn conditions(text: &str, synthetic: Option<bool>) -> Result<String> {
    let known = || synthetic.context("no notebook prints its corpus (`provenance`), so nothing can depend on it");
    let text = replace(text, "synthetic", |_| Ok(if known()? { "synthetic ".into() } else { String::new() }))?;
    let (starts, ends) = (find(&text, "when")?, find(&text, "end")?);
    let (mut out, mut at) = (String::with_capacity(text.len()), 0);
    for start in &starts {
        let end =
            ends.iter().find(|end| end.place.start >= start.place.end).context("`{{#when …}}` without `{{#end}}`")?;
        anyhow::ensure!(start.place.start >= at, "`{{{{#when {}}}}}` stands inside another", start.argument);
        let keep = match start.argument {
            "synthetic" => known()?,
            "own" => !known()?,
            other => anyhow::bail!("`{{{{#when {other}}}}}`: expected `synthetic` or `own`"),
        };
        out += &text[at..start.place.start];
        if keep {
            out += text[start.place.end..end.place.start].trim_matches('\n');
        }
        at = end.place.end;
    }
    anyhow::ensure!(starts.len() == ends.len(), "{} `{{{{#when …}}}}` and {} `{{{{#end}}}}`", starts.len(), ends.len());
    Ok(out + &text[at..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_in_code_and_behind_a_backslash_stay() {
        let text = "{{#ref a}} `{{#ref b}}` \\{{#ref c}}\n```rust\n{{#ref d}}\n```\n{{#ref e }} {{#reference f}}";
        let got = replace(text, "ref", |label| Ok(format!("<{label}>"))).unwrap();
        assert_eq!(got, "<a> `{{#ref b}}` \\{{#ref c}}\n```rust\n{{#ref d}}\n```\n<e> {{#reference f}}");
    }

    #[test]
    fn text_follows_the_kind_of_corpus() {
        let text = "On {{#synthetic}}cases.\n\n{{#when synthetic}}\nA generator wrote them.\n{{#end}}{{#when own}}\nYours.\n{{#end}}\n";
        assert_eq!(conditions(text, Some(true)).unwrap(), "On synthetic cases.\n\nA generator wrote them.\n");
        assert_eq!(conditions(text, Some(false)).unwrap(), "On cases.\n\nYours.\n");
        assert!(conditions(text, None).unwrap_err().to_string().contains("no notebook prints its corpus"));
        assert_eq!(conditions("plain", None).unwrap(), "plain");
        for wrong in [
            "{{#when own}} a",
            "a {{#end}}",
            "{{#when it rains}} a {{#end}}",
            "{{#when own}}{{#when own}}{{#end}}{{#end}}",
        ] {
            assert!(conditions(wrong, Some(true)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn apostrophes_become_typographic_in_prose_alone() {
        let kept =
            "`it's` 'quoted'\n```\nit's\n```\n$f's$\n<p>\nit's\n</p>\n\n<script>\n\nlet a = 's' + b;\n</script>\n";
        assert_eq!(apostrophes(kept), kept);
        let kept = "$$\nf's\n$$\n| it's | a |\n[x](it's.md)\n";
        assert_eq!(apostrophes(kept), kept);
        let got = apostrophes("Holm's p < 0.05, the models' answers, <a title='x's'>it's</a>, [it's](a.md).\n");
        assert_eq!(got, "Holm’s p < 0.05, the models’ answers, <a title='x's'>it’s</a>, [it’s](a.md).\n");
    }

    #[test]
    fn an_open_directive_is_an_error() {
        assert!(replace("{{#ref a", "ref", |_| Ok(String::new())).is_err());
    }
}

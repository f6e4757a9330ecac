//! A line of vocabulary becomes a sentence: `[a|b]` chooses, `{8-45}` draws a number (`{1.2-3.4}` in tenths),
//! `{L:20-38}` keeps it as L, `{L+12-22}` adds to it, `{side}`/`{other}` are opposite sides fixed within a line,
//! any other `{name}` is a slot given by the caller or a macro. Articles before numbers and vowels are set afterwards.
use super::dice::Dice;
use crate::error::{Error, Result};
use std::collections::BTreeMap;

/// What a line may refer to; numbers and the side are filled while it is expanded.
#[derive(Default)]
pub struct Slots {
    pub given: BTreeMap<&'static str, String>,
    numbers: BTreeMap<String, i64>,
    side: Option<bool>,
}

/// `line` spelled out, capitalised, with articles and spaces in order.
pub fn sentence(line: &str, macros: &BTreeMap<String, String>, slots: Slots, dice: &mut Dice) -> Result<String> {
    Ok(capital(&phrase(line, macros, slots, dice)?))
}

/// As [`sentence`], without the capital.
pub fn phrase(line: &str, macros: &BTreeMap<String, String>, mut slots: Slots, dice: &mut Dice) -> Result<String> {
    let mut out = String::new();
    expand(line, macros, &mut slots, dice, &mut out)?;
    Ok(articles(&tidy(&out)))
}

fn expand(
    line: &str,
    macros: &BTreeMap<String, String>,
    slots: &mut Slots,
    dice: &mut Dice,
    out: &mut String,
) -> Result<()> {
    let mut rest = line;
    while let Some(at) = rest.find(['[', '{']) {
        out.push_str(&rest[..at]);
        let close = closing(&rest[at..])
            .ok_or_else(|| Error::input(format!("vocabulary line `{line}` has an unclosed bracket")))?;
        let inner = &rest[at + 1..at + close];
        if rest.as_bytes()[at] == b'[' {
            let options = split_top(inner);
            let choice = options[dice.below(options.len())];
            expand(choice, macros, slots, dice, out)?;
        } else {
            slot(inner, macros, slots, dice, out)?;
        }
        rest = &rest[at + close + 1..];
    }
    out.push_str(rest);
    Ok(())
}

fn slot(
    key: &str,
    macros: &BTreeMap<String, String>,
    slots: &mut Slots,
    dice: &mut Dice,
    out: &mut String,
) -> Result<()> {
    if let Some(text) = slots.given.get(key) {
        out.push_str(text);
    } else if key == "side" || key == "other" {
        let left = *slots.side.get_or_insert_with(|| dice.chance(0.5));
        out.push_str(if left == (key == "side") { "left" } else { "right" });
    } else if let Some(text) = macros.get(key) {
        expand(text, macros, slots, dice, out)?;
    } else {
        out.push_str(&number(key, slots, dice)?);
    }
    Ok(())
}

/// `8-45`, `1.2-3.4`, `L:20-38` or `L+12-22`.
fn number(key: &str, slots: &mut Slots, dice: &mut Dice) -> Result<String> {
    let wrong = || Error::input(format!("vocabulary slot `{{{key}}}` is neither a number range, a slot nor a macro"));
    let (name, plus, range) = match key.find([':', '+']) {
        Some(at) => (Some(&key[..at]), &key[at..=at] == "+", &key[at + 1..]),
        None => (None, false, key),
    };
    let (low, high) = range.split_once('-').ok_or_else(wrong)?;
    let tenths = low.contains('.');
    let parse = |s: &str| -> Result<i64> { s.replace('.', "").parse::<i64>().map_err(|_| wrong()) };
    let (low, high) = (parse(low)?, parse(high)?);
    if low > high {
        return Err(wrong());
    }
    let mut value = low + dice.below((high - low + 1) as usize) as i64;
    match name {
        Some(name) if plus => value += slots.numbers.get(name).copied().ok_or_else(wrong)?,
        Some(name) => {
            slots.numbers.insert(name.to_string(), value);
        }
        None => {}
    }
    Ok(if tenths { format!("{}.{}", value / 10, value % 10) } else { value.to_string() })
}

/// Position of the bracket that closes the one `text` starts with.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0;
    for (i, c) in text.char_indices() {
        match c {
            '[' | '{' => depth += 1,
            ']' | '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(i);
        }
    }
    None
}

fn split_top(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut from) = (Vec::new(), 0, 0);
    for (i, c) in text.char_indices() {
        match c {
            '[' | '{' => depth += 1,
            ']' | '}' => depth -= 1,
            '|' if depth == 0 => {
                parts.push(&text[from..i]);
                from = i + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    parts
}

fn tidy(text: &str) -> String {
    let mut out = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for (from, to) in [(" .", "."), (" ,", ","), (" ;", ";"), (",,", ","), (",.", ".")] {
        out = out.replace(from, to);
    }
    out
}

fn articles(text: &str) -> String {
    let words: Vec<&str> = text.split(' ').collect();
    let fixed = words.iter().enumerate().map(|(i, word)| match (*word, words.get(i + 1)) {
        ("a" | "an", Some(next)) => article(next),
        ("A" | "An", Some(next)) => {
            if article(next) == "an" {
                "An"
            } else {
                "A"
            }
        }
        _ => word,
    });
    fixed.collect::<Vec<_>>().join(" ")
}

/// "a" or "an", by how the next word or number is spoken.
pub fn article(next: &str) -> &'static str {
    let digits: String = next.chars().take_while(char::is_ascii_digit).collect();
    let lower = next.to_lowercase();
    let an = if digits.is_empty() {
        lower.starts_with(['a', 'e', 'i', 'o', 'u'])
            && !["uni", "us", "one", "ure"].iter().any(|p| lower.starts_with(p))
    } else {
        digits.starts_with('8') && digits.len() < 3 || digits == "11" || digits == "18"
    };
    if an { "an" } else { "a" }
}

pub fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|c| c.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(line: &str) -> String {
        let macros = BTreeMap::from([("seg".to_string(), "segment [IV|V]".to_string())]);
        sentence(line, &macros, Slots::default(), &mut Dice::new(3, 0)).unwrap()
    }

    #[test]
    fn sides_are_opposite_and_sums_hold() {
        let text = say("{side} {other} {side} {L:20-38} {L+10-12}");
        let words: Vec<&str> = text.split(' ').collect();
        assert_eq!(words[0].to_lowercase(), words[2]);
        assert_ne!(words[1], words[2]);
        let (a, b): (i64, i64) = (words[3].parse().unwrap(), words[4].parse().unwrap());
        assert!((10..=12).contains(&(b - a)));
    }

    #[test]
    fn articles_follow_the_spoken_word() {
        let pairs =
            [("8", "an"), ("18", "an"), ("11", "an"), ("12", "a"), ("80", "an"), ("unilocular", "a"), ("ulcer", "an")];
        for (word, want) in pairs {
            assert_eq!(article(word), want, "{word}");
        }
        assert_eq!(say("a {8-8} mm focus, an large one"), "An 8 mm focus, a large one");
    }

    #[test]
    fn an_unknown_slot_is_named() {
        let error = phrase("a {nope}", &BTreeMap::new(), Slots::default(), &mut Dice::new(3, 0)).unwrap_err();
        assert!(error.to_string().contains("{nope}"), "{error}");
        assert!(phrase("[a|b", &BTreeMap::new(), Slots::default(), &mut Dice::new(3, 0)).is_err());
    }
}

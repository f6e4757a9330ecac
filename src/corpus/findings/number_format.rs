//! What Excel shows for a whole number in a cell with a number format: an id `7` in the format `"CT-"000` is `CT-007` to whoever wrote the
//! table. Formats of digits and literal text are followed (ECMA-376 part 1, §18.8.31); what another one shows is left to Excel.

/// The number as Excel shows it in the format `code`; None if the format is not one of digits and literal text, or the number does not
/// fit it.
pub fn shown(x: f64, code: &str) -> Option<String> {
    if x.fract() != 0.0 {
        return None;
    }
    let parts = sections(code);
    // a second section shows negative numbers, and writes their sign itself; a third one shows zero
    let (section, value, sign) = match (parts.len(), x < 0.0, x == 0.0) {
        (1, true, _) => (&parts[0], -x, "-"),
        (2.., true, _) => (&parts[1], -x, ""),
        (3.., _, true) => (&parts[2], x, ""),
        _ => (&parts[0], x, ""),
    };
    if section.trim().eq_ignore_ascii_case("general") || section.trim() == "@" {
        return Some(format!("{sign}{value:.0}"));
    }
    filled(section, value).map(|text| format!("{sign}{text}"))
}

/// The sections of a format, cut at `;` outside of quotes.
fn sections(code: &str) -> Vec<String> {
    let (mut parts, mut quoted, mut escaped) = (vec![String::new()], false, false);
    for c in code.chars() {
        match c {
            ';' if !quoted && !escaped => parts.push(String::new()),
            c => parts.last_mut().into_iter().for_each(|part| part.push(c)),
        }
        quoted ^= c == '"' && !escaped;
        escaped = c == '\\' && !escaped && !quoted;
    }
    parts
}

/// One section: literal text around the places of one whole number.
fn filled(section: &str, value: f64) -> Option<String> {
    let (mut before, mut after, mut zeros, mut places, mut thousands) = (String::new(), String::new(), 0, 0, false);
    let mut rest = section.chars();
    while let Some(c) = rest.next() {
        let literal = match c {
            '0' | '#' if after.is_empty() => {
                places += 1;
                zeros += usize::from(c == '0' || zeros > 0);
                continue;
            }
            ',' if places > 0 && after.is_empty() && rest.as_str().starts_with(['0', '#']) => {
                thousands = true;
                continue;
            }
            '"' => {
                let (text, left) = rest.as_str().split_once('"')?;
                rest = left.chars();
                text.to_string()
            }
            '\\' => rest.next()?.to_string(),
            // a space as wide as the character that follows
            '_' => rest.next().map(|_| String::new())?,
            '[' => {
                let (name, left) = rest.as_str().split_once(']')?;
                if !is_colour(name) {
                    return None;
                }
                rest = left.chars();
                String::new()
            }
            '-' | '+' | ' ' | '(' | ')' | ':' | '!' | '&' | '\'' | '~' | '{' | '}' | '<' | '>' | '=' | '$' => c.to_string(),
            _ => return None,
        };
        if places == 0 { &mut before } else { &mut after }.push_str(&literal);
    }
    let digits = match (places, value) {
        (0, _) => return None,
        (_, 0.0) => "0".repeat(zeros),
        _ => format!("{value:0zeros$.0}"),
    };
    // where the thousands' separators stand depends on the reader's language
    let parted = thousands && digits.len() > 3;
    (!parted).then(|| format!("{before}{digits}{after}").trim().to_string())
}

fn is_colour(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["black", "blue", "cyan", "green", "magenta", "red", "white", "yellow"].contains(&name.as_str())
        || name.strip_prefix("color").is_some_and(|n| n.trim().parse::<u8>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn whole_numbers_are_shown_as_excel_shows_them() {
        for (x, code, wanted) in [
            (7.0, "General", "7"),
            (7.0, "@", "7"),
            (7.0, "0", "7"),
            (7.0, "#", "7"),
            (7.0, "00000", "00007"),
            (7.0, "\"CT-\"000", "CT-007"),
            (7.0, r"\C\T\-000", "CT-007"),
            (7.0, "\"CT;\"000", "CT;007"),
            (7.0, "000\"-b\"", "007-b"),
            (-7.0, "0", "-7"),
            (-7.0, "0;[Red]\\-0\\ ", "-7"),
            (7.0, "0_ ;[Red]\\-0\\ ", "7"),
            (0.0, "#,##0", "0"),
            (0.0, "0;-0;\"none\"0", "none0"),
            (999.0, "#,##0", "999"),
            (12345.0, "0", "12345"),
        ] {
            assert_eq!(shown(x, code).as_deref(), Some(wanted), "{x} in {code}");
        }
        for (x, code) in
            [(7.5, "0"), (7.0, "0.00"), (7.0, "0%"), (1234.0, "#,##0"), (7.0, "[>5]0"), (7.0, "0E+0"), (7.0, "\"a\"")]
        {
            assert_eq!(shown(x, code), None, "{x} in {code}");
        }
        assert_eq!(shown(7.0, "0\""), None);
        assert_eq!(shown(0.0, "#").as_deref(), Some(""));
    }
}

//! Python's ways: `str`, `repr`, numbers, `str.title`, `json.dumps`, and the clock of `strftime_now`.
use super::bounds::{fits, spend};
use super::{DEPTH, WRITTEN, wrong};
use minijinja::Error;
use minijinja::value::{Kwargs, Value, ValueKind};

/// Python's `str.title`: a capital wherever no letter with case stands before; minijinja-contrib leaves `°C` as `°c`.
pub fn title(text: &str) -> String {
    let (mut out, mut inside) = (String::with_capacity(text.len()), false);
    for c in text.chars() {
        match inside {
            true => out.extend(c.to_lowercase()),
            false => out.extend(c.to_uppercase()),
        }
        inside = c.is_lowercase() || c.is_uppercase();
    }
    out
}

pub fn text(value: &Value) -> std::borrow::Cow<'_, str> {
    match value.as_str() {
        Some(text) => text.into(),
        None if value.is_undefined() => "".into(),
        None => {
            let mut out = String::new();
            repr(value, &mut out);
            out.into()
        }
    }
}

/// Python's `repr`.
fn repr(value: &Value, out: &mut String) {
    if out.len() > WRITTEN {
        return; // `print` refuses it
    }
    match value.kind() {
        ValueKind::Undefined => out.push_str("Undefined"),
        ValueKind::None => out.push_str("None"),
        ValueKind::Bool => out.push_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::Number => out.push_str(&number(value)),
        ValueKind::String => quoted(value.as_str().unwrap_or_default(), out),
        ValueKind::Seq | ValueKind::Iterable => {
            out.push('[');
            for (i, item) in value.try_iter().into_iter().flatten().enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                repr(&item, out);
            }
            out.push(']');
        }
        ValueKind::Map => {
            out.push('{');
            for (i, key) in value.try_iter().into_iter().flatten().enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                repr(&key, out);
                out.push_str(": ");
                repr(&value.get_item(&key).unwrap_or_default(), out);
            }
            out.push('}');
        }
        _ => out.push_str(&value.to_string()),
    }
}

fn quoted(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => out.extend(['\\', c]),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => out.push_str(&format!("\\x{:02x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push(quote);
}

/// A number as Python writes it: `1e-05`, `1e+16`, `2.0`.
fn number(value: &Value) -> String {
    let Some(x) = (!value.is_integer()).then(|| f64::try_from(value.clone()).ok()).flatten() else {
        return value.to_string();
    };
    let text = format!("{x:?}");
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let (sign, power) = exponent.strip_prefix('-').map_or(('+', exponent), |power| ('-', power));
            format!("{digits}e{sign}{power:0>2}")
        }
        None if x.is_nan() => "nan".into(),
        None => text,
    }
}

/// `tojson` as transformers defines it: Python's `json.dumps(x, ensure_ascii, indent, separators, sort_keys)`.
pub fn to_json(value: Value, ascii: Option<Value>, kwargs: Kwargs) -> Result<String, Error> {
    let ascii = match kwargs.get::<Option<Value>>("ensure_ascii")? {
        Some(value) => value.is_true(),
        None => ascii.is_some_and(|v| v.is_true()),
    };
    let indent = match kwargs.get::<Option<Value>>("indent")? {
        None => None,
        Some(v) if v.is_none() => None,
        Some(v) => Some(match v.as_str() {
            Some(text) => text.to_string(),
            None => {
                " ".repeat(v.as_usize().filter(|n| *n <= 64).ok_or_else(|| wrong("tojson: indent is not 0 to 64"))?)
            }
        }),
    };
    let between = if indent.is_some() { "," } else { ", " };
    let separators = match kwargs.get::<Option<Value>>("separators")? {
        Some(pair) if !pair.is_none() => {
            let parts: Vec<String> = pair.try_iter()?.map(|v| v.to_string()).collect();
            let [item, key] = &parts[..] else { return Err(wrong("tojson: separators are not a pair")) };
            (item.clone(), key.clone())
        }
        _ => (between.to_string(), ": ".to_string()),
    };
    let sort = kwargs.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    kwargs.assert_all_used()?;
    let mut json = Json { ascii, indent, separators, sort, out: String::new() };
    json.write(&value, 0)?;
    spend(json.out.len())?;
    Ok(json.out)
}

struct Json {
    ascii: bool,
    indent: Option<String>,
    /// Between items, and between key and value.
    separators: (String, String),
    sort: bool,
    out: String,
}

impl Json {
    fn write(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        fits(self.out.len())?;
        if depth > DEPTH {
            return Err(wrong(format!("tojson: nested deeper than {DEPTH}")));
        }
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.out.push_str(&match number(value).as_str() {
                "nan" => "NaN".to_string(),
                "inf" => "Infinity".to_string(),
                "-inf" => "-Infinity".to_string(),
                other => other.to_string(),
            }),
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.all(['[', ']'], items.len(), depth, |json, i| json.write(&items[i], depth + 1))?;
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sort {
                    keys.sort_by_key(|key| key.to_string());
                }
                self.all(['{', '}'], keys.len(), depth, |json, i| {
                    json.string(&keys[i].to_string());
                    let colon = json.separators.1.clone();
                    json.out.push_str(&colon);
                    json.write(&value.get_item(&keys[i])?, depth + 1)
                })?;
            }
            other => return Err(wrong(format!("tojson: {other} is not JSON serializable"))),
        }
        Ok(())
    }

    fn all(
        &mut self,
        [open, close]: [char; 2],
        count: usize,
        depth: usize,
        mut each: impl FnMut(&mut Self, usize) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.out.push(open);
        for i in 0..count {
            if i > 0 {
                let item = self.separators.0.clone();
                self.out.push_str(&item);
            }
            self.line(depth + 1);
            each(self, i)?;
        }
        if count > 0 {
            self.line(depth);
        }
        self.out.push(close);
        Ok(())
    }

    fn line(&mut self, depth: usize) {
        if let Some(indent) = &self.indent {
            self.out.push('\n');
            (0..depth).for_each(|_| self.out.push_str(indent));
        }
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                c if (c as u32) < 0x20 || (self.ascii && !c.is_ascii()) => {
                    let units = c.encode_utf16(&mut [0; 2]).to_vec();
                    units.iter().for_each(|unit| self.out.push_str(&format!("\\u{unit:04x}")));
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }
}

/// `strftime_now` of a clock that stands at Friday, 26 July 2024, 12:00.
pub fn strftime(format: String) -> Result<String, Error> {
    let (mut out, mut chars) = (String::new(), format.chars());
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let directive = chars.next();
        out.push_str(match directive {
            Some('d') => "26",
            Some('m') => "07",
            Some('Y') => "2024",
            Some('y') => "24",
            Some('b') | Some('h') => "Jul",
            Some('B') => "July",
            Some('a') => "Fri",
            Some('A') => "Friday",
            Some('j') => "208",
            Some('H') | Some('I') => "12",
            Some('M') | Some('S') => "00",
            Some('p') => "PM",
            Some('F') => "2024-07-26",
            Some('T') => "12:00:00",
            Some('%') => "%",
            _ => return Err(wrong(format!("strftime_now: `{format}` is not known here"))),
        });
    }
    Ok(out)
}

//! Jinja as transformers runs it, on minijinja: the environment of chat templates, its bounds, and Python's ways of writing values.
//!
//! minijinja bounds steps (fuel) and recursion. What it does not bound is the length of values, so the source is rewritten a little
//! before it is compiled: `{% set x = e %}` becomes `{% set x = (e)|… %}` with a filter that measures, and behind every other tag that
//! binds a name (`for`, `with`, `macro`, `call`) its value is measured too. Between two bindings a text can grow by no more than
//! [`GROWTH`] times: repeated text (`"x" * n`) is refused but for small written numbers, and `+` and `~` are counted. Filters that make
//! texts, and whatever is written, are counted over the whole rendering.
use minijinja::value::{Kwargs, Rest, Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State, filters};
use std::borrow::Cow;
use std::cell::Cell;
use std::io::Write;
use std::time::{Duration, Instant};

/// Instructions of one rendering. A conversation of a hundred messages takes a few thousand.
const FUEL: u64 = 500_000;
/// Depth of recursion, where a macro counts several times.
const DEPTH: usize = 100;
/// Bytes that one rendering may write, into its result or into its own variables.
const WRITTEN: usize = 16 << 20;
/// Bytes of all texts and elements of all lists that a variable may hold.
const HELD: usize = 4 << 20;
/// Bytes of a template; those that are in use have a tenth of it.
const SOURCE: usize = 256 << 10;
/// Time that one rendering may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many times the longest value that it reads the value of one tag may be: one more than its `+` and `~`, times its factors.
const GROWTH: usize = 200;
/// Largest factor of repeated text.
const REPEATS: u32 = 128;
/// Name of the template, and of the filter that measures.
const NAME: &str = "chat template";
const MEASURE: &str = "dxlab_measured";
const MEASURE_PART: &str = "dxlab_measured_part";

thread_local! {
    /// Bytes that the rendering on this thread has written.
    static SPENT: Cell<usize> = const { Cell::new(0) };
    /// When it has to be done.
    static DEADLINE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Why a conversation was not rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The template called `raise_exception`; its own words.
    Raised(String),
    /// It cannot be run.
    Broken(String),
}

/// Marks an error as the template's own.
#[derive(Debug)]
struct Raised;

impl std::fmt::Display for Raised {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("raised by the template")
    }
}

impl std::error::Error for Raised {}

/// An environment that holds `source`; an error says what is wrong with it.
pub fn environment(source: &str) -> Result<Environment<'static>, String> {
    if source.len() > SOURCE {
        return Err(format!("it has {} bytes, expected at most {SOURCE}", source.len()));
    }
    let mut out = Environment::new();
    out.set_trim_blocks(true);
    out.set_lstrip_blocks(true);
    out.set_auto_escape_callback(|_| AutoEscape::None);
    out.set_unknown_method_callback(method);
    out.set_formatter(print);
    out.set_fuel(Some(FUEL));
    out.set_recursion_limit(DEPTH);
    out.add_filter("tojson", to_json);
    out.add_filter("string", |value: Value| text(&value).into_owned());
    out.add_filter(MEASURE, measured);
    out.add_filter(MEASURE_PART, measured_part);
    out.add_filter("replace", replace);
    out.add_filter("join", joined);
    for (name, by) in [
        ("upper", filters::upper as fn(Cow<str>) -> String),
        ("lower", filters::lower),
        ("title", filters::title),
        ("capitalize", filters::capitalize),
    ] {
        out.add_filter(name, move |text: Cow<str>| spend(text.len()).map(|()| by(text)));
    }
    out.add_filter("trim", |text: Cow<str>, chars: Option<Cow<str>>| {
        spend(text.len()).map(|()| filters::trim(text, chars))
    });
    for unbounded in ["indent", "format", "batch", "slice", "chain", "zip", "pprint", "urlencode", "escape", "e"] {
        out.add_filter(unbounded, move |_: Rest<Value>| -> Result<Value, Error> {
            Err(wrong(format!("filter `{unbounded}` is not known here")))
        });
    }
    out.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        Err(wrong(message).with_source(Raised))
    });
    out.add_function("strftime_now", strftime);
    out.add_template_owned(NAME, rewritten(source)?).map_err(|e| said(&e))?;
    Ok(out)
}

/// The template with the values of `context`.
pub fn render(environment: &Environment, context: &impl serde::Serialize) -> Result<String, Refusal> {
    SPENT.set(0);
    DEADLINE.set(Some(Instant::now() + PATIENCE));
    let mut text = Bounded::default();
    let done =
        environment.get_template(NAME).and_then(|template| template.render_captured_to(context, &mut text).map(drop));
    let done = done.map(|()| String::from_utf8_lossy(&text.bytes).into_owned());
    done.map_err(|error| match raised(&error) {
        Some(words) => Refusal::Raised(words),
        None if text.full => Refusal::Broken(format!("it writes more than {WRITTEN} bytes")),
        None => Refusal::Broken(said(&error)),
    })
}

/// A text that does not grow beyond [`WRITTEN`].
#[derive(Default)]
struct Bounded {
    bytes: Vec<u8>,
    /// More was to come.
    full: bool,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.bytes.len() + bytes.len() > WRITTEN {
            self.full = true;
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What looks like a control token in a template's source: `[INST]`, `<<SYS>>`, `<|im_end|>`, `<｜User｜>`, `</s>`.
pub fn marks(source: &str) -> Vec<String> {
    let mut out = std::collections::BTreeSet::new();
    for (at, _) in source.match_indices(['[', '<']) {
        let rest = &source[at..];
        let upper = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
        let bare = |name: &str| !name.is_empty() && !name.contains(['<', '>', '\'', '"', '{', '|', '｜', ' ', '\n']);
        let between = |start: &str, end: &str| {
            let inner = rest.strip_prefix(start)?;
            inner.find(end).map(|length| (&inner[..length], &rest[..start.len() + length + end.len()]))
        };
        let slashless = |name: &str| name.strip_prefix('/').unwrap_or(name).to_string();
        let found = [
            between("[", "]").filter(|(name, _)| upper(&slashless(name))),
            between("<<", ">>").filter(|(name, _)| upper(&slashless(name))),
            between("<|", "|>").filter(|(name, _)| bare(name)),
            between("<｜", "｜>").filter(|(name, _)| bare(name)),
            between("<", ">").filter(|(name, _)| slashless(name) == "s"),
        ];
        out.extend(found.into_iter().flatten().map(|(_, whole)| whole.to_string()));
    }
    out.into_iter().collect()
}

fn wrong(what: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, what)
}

/// The words of `raise_exception`, if it is what happened.
fn raised(error: &Error) -> Option<String> {
    let mut source = std::error::Error::source(error);
    let mut words = error.detail().unwrap_or_default().to_string();
    while let Some(inner) = source {
        if inner.is::<Raised>() {
            return Some(words);
        }
        if let Some(inner) = inner.downcast_ref::<Error>() {
            words = inner.detail().unwrap_or_default().to_string();
        }
        source = inner.source();
    }
    None
}

/// An error in one line.
fn said(error: &Error) -> String {
    let text = match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel, _) => format!("it takes more than {FUEL} steps"),
        (kind, Some(detail)) => format!("{kind}: {detail}"),
        (kind, None) => kind.to_string(),
    };
    error.line().map_or_else(|| text.clone(), |line| format!("line {line}: {text}"))
}

/// Fails for a text longer than a variable may hold.
fn fits(bytes: usize) -> Result<(), Error> {
    match bytes <= HELD {
        true => Ok(()),
        false => Err(wrong(format!("a value of {bytes} bytes or elements, expected at most {HELD}"))),
    }
}

/// Counts bytes that are made or written, over the whole rendering.
fn spend(bytes: usize) -> Result<(), Error> {
    in_time()?;
    let spent = SPENT.get().saturating_add(bytes);
    SPENT.set(spent);
    match spent <= WRITTEN {
        true => Ok(()),
        false => Err(wrong(format!("it writes more than {WRITTEN} bytes"))),
    }
}

fn replace(text: String, from: String, to: String) -> Result<String, Error> {
    fits(text.len().saturating_mul(to.len().max(1)))?;
    let replaced = text.replace(&from, &to);
    spend(replaced.len()).map(|()| replaced)
}

fn measured(value: Value) -> Result<Value, Error> {
    in_time()?;
    let mut size = 0;
    measure(&value, 0, &mut size)?;
    fits(size)?;
    Ok(value)
}

/// Bytes of texts and elements of lists and maps in a value, all the way down; it stops above [`HELD`]. What is nested too deep, or holds a
/// namespace (which could hold itself), is refused: writing it out would never end.
fn measure(value: &Value, depth: usize, size: &mut usize) -> Result<(), Error> {
    *size += value.as_str().map_or(1, |text| text.len().max(1));
    if *size > HELD || value.as_str().is_some() {
        return Ok(());
    }
    if depth > DEPTH {
        return Err(wrong(format!("a value that is nested deeper than {DEPTH}")));
    }
    if depth > 0 && is_namespace(value) {
        return Err(wrong("a namespace inside of another value"));
    }
    let map = value.kind() == ValueKind::Map;
    for item in value.try_iter().into_iter().flatten() {
        if *size > HELD {
            return Ok(());
        }
        if map {
            measure(&value.get_item(&item).unwrap_or_default(), depth + 1, size)?;
        }
        measure(&item, depth + 1, size)?;
    }
    Ok(())
}

/// What `namespace()` makes: the one kind of value that a template can change.
fn is_namespace(value: &Value) -> bool {
    value.as_object().is_some_and(|object| object.type_name().ends_with("Namespace"))
}

/// As [`measured`], for what becomes a part of a namespace.
fn measured_part(value: Value) -> Result<Value, Error> {
    match is_namespace(&value) {
        true => Err(wrong("a namespace inside of another value")),
        false => measured(value),
    }
}

fn in_time() -> Result<(), Error> {
    match DEADLINE.get().is_some_and(|deadline| Instant::now() > deadline) {
        true => Err(wrong(format!("it runs for more than {} s", PATIENCE.as_secs()))),
        false => Ok(()),
    }
}

/// The filter `join`, measured before a text is made.
fn joined(value: Value, separator: Option<String>) -> Result<String, Error> {
    in_time()?;
    let separator = separator.unwrap_or_default();
    let (mut out, mut first) = (String::new(), true);
    for item in value.try_iter()? {
        if !first {
            out.push_str(&separator);
        }
        first = false;
        out.push_str(&text(&item));
        fits(out.len())?;
    }
    Ok(out)
}

/// Python's methods of text, lists and maps; those that could repeat a text without bound are measured first.
fn method(state: &State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    in_time()?;
    let length = |v: &Value| v.as_str().map_or(1, str::len).max(1);
    match name {
        "title" if value.as_str().is_some() => return Ok(title(value.as_str().unwrap_or_default()).into()),
        "format" => return Err(wrong("method `format` is not known here")),
        "replace" => fits(length(value).saturating_mul(args.iter().map(length).max().unwrap_or(1)))?,
        "join" => {
            let parts: Vec<Value> = args.iter().flat_map(|a| a.try_iter().into_iter().flatten()).collect();
            let inner: usize = parts.iter().map(length).sum();
            fits(inner.saturating_add(parts.len().saturating_mul(length(value))))?;
        }
        _ => {}
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args)
}

/// Python's `str.title`: a capital wherever no letter with case stands before; minijinja-contrib leaves `°C` as `°c`.
fn title(text: &str) -> String {
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

/// Writes a value as Python's `str` does.
fn print(out: &mut Output, _: &State, value: &Value) -> Result<(), Error> {
    in_time()?;
    let text = text(value);
    spend(text.len())?;
    out.write_str(&text).map_err(Error::from)
}

fn text(value: &Value) -> std::borrow::Cow<'_, str> {
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
fn to_json(value: Value, ascii: Option<Value>, kwargs: Kwargs) -> Result<String, Error> {
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
fn strftime(format: String) -> Result<String, Error> {
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

/// The source as it is compiled: see the file's header. `{% generation %}` and its end become an `if` that always holds.
fn rewritten(source: &str) -> Result<String, String> {
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
            out.push_str(&measuring(tag));
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

/// What stands behind a tag that binds names: their values are measured, and the tag's sign for white space is kept.
fn measuring(tag: &str) -> String {
    let end = if tag.ends_with('-') { "-" } else { "" };
    bound(tag).iter().map(|name| format!("{{% set {name} = {name}|{MEASURE} {end}%}}")).collect()
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

/// A statement as it is compiled.
fn statement(tag: &str) -> String {
    let first = words(tag).next();
    match first {
        Some("generation") => tag.replacen("generation", "if true", 1),
        Some("endgeneration") => tag.replacen("endgeneration", "endif", 1),
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

#[cfg(test)]
mod tests {
    use super::*;
    use minijinja::context;

    fn rendered(source: &str) -> Result<String, Refusal> {
        let environment = environment(source).map_err(Refusal::Broken)?;
        render(&environment, &context! { x => "ab", none => (), list => vec![1, 2] })
    }

    /// What is wrong with a source, when it is read or when it is run.
    fn broken(source: &str) -> String {
        match rendered(source) {
            Err(Refusal::Broken(what)) => what,
            other => panic!("{source}: {other:?}"),
        }
    }

    #[test]
    fn values_are_written_as_python_writes_them() {
        let source = "{{ none }} {{ true }} {{ [1.0, 'a', \"it's\", 1e16, 1e-7] }} {{ {'k': 'v\\n'} }} {{ missing }}{{ 1e22 | string }}";
        assert_eq!(rendered(source).unwrap(), r#"None True [1.0, 'a', "it's", 1e+16, 1e-07] {'k': 'v\n'} 1e+22"#);
        assert_eq!(rendered("{{ strftime_now('%d %b %Y, %A') }}").unwrap(), "26 Jul 2024, Friday");
        assert!(broken("{{ strftime_now('%Q') }}").contains("%Q"));
    }

    #[test]
    fn a_template_that_raises_says_its_own_words() {
        let raised = |source: &str| rendered(source).unwrap_err();
        assert_eq!(raised("{{ raise_exception('Only two roles!') }}"), Refusal::Raised("Only two roles!".into()));
        let inside =
            "{% macro m() %}{{ raise_exception('inside') }}{% endmacro %}{% for i in [1] %}{{ m() }}{% endfor %}";
        assert_eq!(raised(inside), Refusal::Raised("inside".into()));
        assert!(broken("{{ x.y.z }}").contains("line 1") && broken("a\n{{ x | nofilter }}").contains("nofilter"));
    }

    #[test]
    fn tags_of_transformers_are_read() {
        let source = "{% generation %}a{% endgeneration %}\n{%- generation -%} b {%- endgeneration %}{% raw %}{{ c }}{% endraw %}{# {% #}d";
        assert_eq!(rendered(source).unwrap(), "ab{{ c }}d");
        assert_eq!(
            rendered("{% for i in range(9) %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}").unwrap(),
            "012"
        );
        assert_eq!(rendered("{{ '%}' }}{{ {'a': {'b': '}}'}}['a']['b'] }}").unwrap(), "%}}}");
        assert_eq!(
            rendered("{% set y = 'a' if x == 'ab' else 'b' %}{% set a, b = ['1', '=2'] %}{{ y + a + b }}").unwrap(),
            "a1=2"
        );
        assert_eq!(rendered("{% set y -%} {{ x }} {%- endset %}[{{ y }}]").unwrap(), "[ab]");
        let bound = "{% for a, b in [[1, 2]] -%} {{ a }}{{ b }}{% endfor %}{% with c = x, d = [1, 2] %}{{ c }}{{ d }}{% endwith %}{% macro m(e, f='g') %}{{ e }}{{ f }}{% endmacro %}{{ m(x) }}{% macro n() %}{{ caller('h') }}{% endmacro %}{% call(i) n() %}{{ i }}{% endcall %}";
        assert!(rendered(bound).unwrap().starts_with("12ab[1, 2]abgh"), "{:?}", rendered(bound));
        assert_eq!(rendered("{% for a in [1] %}\n{{ a }}\n{% endfor %}\n").unwrap(), "1\n");
        assert_eq!(rendered("{{ '-' * 3 }}{{ 2*x }}\n").unwrap(), "---abab", "one last newline is dropped");
    }

    #[test]
    fn a_template_that_loops_or_explodes_is_an_error() {
        let doubling = "{% set ns = namespace(t=x) %}{% for i in range(60) %}{% set ns.t = ns.t ~ ns.t %}{% endfor %}";
        assert!(broken(doubling).contains("expected at most"), "{}", broken(doubling));
        let captured = "{% set ns = namespace(t=x) %}{% for i in range(60) %}{% set t %}{{ ns.t }}{{ ns.t }}{% endset %}{% set ns.t = t %}{% endfor %}";
        assert!(broken(captured).contains("expected at most") || broken(captured).contains("writes more"));
        let nested = "{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}";
        assert!(broken(nested).contains("steps"), "{}", broken(nested));
        assert!(!broken("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}").is_empty());
        for repeated in ["{{ x * 1000000000000 }}", "{{ x * list[0] }}", "{% set y = 99999 * x %}"] {
            assert!(broken(repeated).contains("can repeat a text"), "{repeated}");
        }
        assert!(broken("{{ x*9*9*9*9*9*9 }}").contains("531441 times as long"));
        let chained = |open: &dyn Fn(usize) -> String, close: &str| {
            let tags: String = (1..30).map(open).collect();
            format!("{{% set y0 = 'abcdefgh' %}}{tags}{{{{ y29 }}}}{}", close.repeat(29))
        };
        let sum = |i: usize| vec![format!("y{}", i - 1); 9].join(" ~ ");
        let by_for = chained(&|i| format!("{{% for y{i} in [{}] %}}", sum(i)), "{% endfor %}");
        let by_with = chained(&|i| format!("{{% with y{i} = {} %}}", sum(i)), "{% endwith %}");
        let by_macro = "{% macro m(t) %}{{ m(t ~ t ~ t ~ t ~ t ~ t ~ t ~ t ~ t) }}{% endmacro %}{{ m('abcdefgh') }}";
        for bound in [&by_for, &by_with, by_macro] {
            assert!(broken(bound).contains("expected at most"), "{bound}: {}", broken(bound));
        }
        let itself = "{% set ns = namespace(t=1) %}{% set ns.t = ns %}{{ ns ~ 'a' }}";
        assert!(broken(itself).contains("namespace inside"), "{}", broken(itself));
        let deep =
            "{% set ns = namespace(t=[1]) %}{% for i in range(60000) %}{% set ns.t = [ns.t] %}{% endfor %}{{ ns.t }}";
        assert!(broken(deep).contains("deeper"), "{}", broken(deep));
        let many = "{% set b = 'b'*64 %}{% set b = b*64 %}{% set b = b*64 %}{{ range(99999) | map(attribute='z') | map('default', b) | map('upper') }}";
        assert!(broken(many).contains("writes more"), "{}", broken(many));
        assert!(!broken("{{ range(99999999999) | list }}").is_empty());
        assert!(broken("{{ '%999999999d' | format(1) }}").contains("format"));
        let replaced = "{% set t = x %}{% for i in range(9) %}{% endfor %}{{ ('a' * 64 * 64) | replace('a', 'b' ~ 'b' * 64 * 64) }}";
        assert!(broken(replaced).contains("expected at most"));
        let shared = |last: &str| {
            format!(
                "{{% set ns = namespace(l=x) %}}{{% for i in range(60) %}}{{% set ns.l = [ns.l, ns.l] %}}{{% endfor %}}{last}"
            )
        };
        for last in ["{{ ns.l }}", "{{ '' ~ ns.l }}", "{{ ns.l == [ns.l] }}"] {
            assert!(broken(&shared(last)).contains("expected at most"), "{last}: {}", broken(&shared(last)));
        }
        let literal = format!("{{% for i in range(90000) %}}{}{{% endfor %}}", "a".repeat(100_000));
        assert!(broken(&literal).contains("writes more"), "{}", broken(&literal));
        let long = format!("{{% set t = '{}' %}}{{{{ range(90000) | join(t) }}}}", "a".repeat(100_000));
        assert!(broken(&long).contains("expected at most"), "{}", broken(&long));
        assert!(broken("{{ 'a' | batch(99999999999, 'x') }}").contains("batch"));
        assert!(environment(&"a".repeat(SOURCE + 1)).is_err());
        assert_eq!(rendered("{{ list | join(', ') }}{{ list | join }}").unwrap(), "1, 212");
        for open in ["{{ x", "{% if x", "{{ 'x }}", "{# x", "{% if x %}", "{{ (x }}", "{%"] {
            assert!(!broken(open).is_empty(), "{open}");
        }
    }

    #[test]
    fn what_looks_like_a_control_token_is_found() {
        let source = "{{ '<|im_start|>' + '[INST] <<SYS>>' + ' [/INST]</s><s>' + '<｜User｜>' + a[0] + b['x'] + '<|' + role + '|>' }}";
        assert_eq!(marks(source), ["</s>", "<<SYS>>", "<s>", "<|im_start|>", "<｜User｜>", "[/INST]", "[INST]"]);
    }
}

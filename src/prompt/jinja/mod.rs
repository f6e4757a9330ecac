//! Jinja as transformers runs it, on minijinja: the environment of chat templates, its bounds, and Python's ways of writing values.
//!
//! minijinja bounds steps (fuel) and recursion. What it does not bound is the length of values, so the source is rewritten a little
//! before it is compiled: `{% set x = e %}` becomes `{% set x = (e)|… %}` with a filter that measures, and behind every other tag that
//! binds a name (`for`, `with`, `macro`, `call`) its value is measured too. Between two bindings a text can grow by no more than
//! [`GROWTH`] times: repeated text (`"x" * n`) is refused but for small written numbers, and `+` and `~` are counted. Filters that make
//! texts, and whatever is written, are counted over the whole rendering.
//!
//! Nor does it bound the time of one step: a filter or a comparison may go through millions of elements, and `select` and `map` call one for
//! each of theirs. So filters and tests look at the clock and at the size of what they are given ([`metered`]), conditions look at the
//! clock, and one tag holds at most [`COPIES`] comparisons and [`PARTS`] commas.
mod bounds;
mod python;
mod source;

use bounds::{in_time, joined, measured, measured_loop, measured_part, metered, method, replace, spend, timed};
use minijinja::value::{Rest, Value};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State, filters};
use python::{strftime, text, to_json};
use source::rewritten;
use std::borrow::Cow;
use std::io::Write;
use std::time::Duration;

/// Instructions of one rendering. A conversation of a hundred messages takes a few thousand.
const FUEL: u64 = 500_000;
/// Depth of recursion, where a macro counts several times.
const DEPTH: usize = 100;
/// Bytes that one rendering may write, into its result or into its own variables.
const WRITTEN: usize = 32 << 20;
/// Bytes of all texts and elements of all lists that a variable may hold.
const HELD: usize = 4 << 20;
/// Bytes of a template; those that are in use have a tenth of it.
const SOURCE: usize = 256 << 10;
/// Time that one rendering may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// `|`, `[`, `(` and `.` in one tag: each can make a copy of a value. As many comparisons.
const COPIES: usize = 300;
/// Commas in one tag: as many times a long value may stand in a list.
const PARTS: usize = 200;
/// Bytes of stack for reading a template: the library's parser goes down a level for every `not`, `elif` and `.a`.
const STACK: usize = 1 << 30;
/// How many times the longest value that it reads the value of one tag may be: one more than its `+` and `~`, times its factors.
const GROWTH: usize = 200;
/// Largest factor of repeated text.
const REPEATS: u32 = 128;
/// Name of the template, and of the filter that measures.
const NAME: &str = "chat template";
const MEASURE: &str = "dxlab_measured";
const MEASURE_PART: &str = "dxlab_measured_part";
const MEASURE_LOOP: &str = "dxlab_measured_loop";
/// Name of the filter that looks at the clock.
const TIMED: &str = "dxlab_timed";
/// Why a conversation was not rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The template called `raise_exception`; its own words.
    Raised(String),
    /// It cannot be run.
    Broken(String),
    /// It takes more than its time, so trying other conversations would take as long again.
    Late(String),
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
    out.add_filter("string", |value: Value| {
        let text = text(&value).into_owned();
        spend(text.len()).map(|()| text)
    });
    out.add_filter(MEASURE, measured);
    out.add_filter(MEASURE_PART, measured_part);
    out.add_filter(MEASURE_LOOP, measured_loop);
    out.add_filter(TIMED, timed);
    metered(&mut out);
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
    // those that pad or interleave without bound, and that no template in use has
    for unbounded in ["indent", "format", "batch", "slice", "chain", "zip", "pprint", "urlencode", "escape", "e"] {
        out.add_filter(unbounded, move |_: Rest<Value>| -> Result<Value, Error> {
            Err(wrong(format!("filter `{unbounded}` is not known here")))
        });
    }
    out.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        Err(wrong(message).with_source(Raised))
    });
    out.add_function("strftime_now", strftime);
    let source = rewritten(source)?;
    let mut read = Err("there is no thread to read it on".to_string());
    // a machine that gives less memory gets a smaller stack
    for stack in [STACK, STACK >> 5] {
        let made = std::thread::scope(|threads| {
            let add = || out.add_template_owned(NAME, source.clone()).map_err(|e| said(&e));
            let reader = std::thread::Builder::new().stack_size(stack).spawn_scoped(threads, add);
            reader.ok().map(|reader| reader.join().unwrap_or_else(|_| Err("it cannot be read".into())))
        });
        if let Some(made) = made {
            read = made;
            break;
        }
    }
    read.map(|()| out)
}

/// The template with the values of `context`.
pub fn render(environment: &Environment, context: &impl serde::Serialize) -> Result<String, Refusal> {
    bounds::start();
    let mut text = Bounded::default();
    let done =
        environment.get_template(NAME).and_then(|template| template.render_captured_to(context, &mut text).map(drop));
    let done = done.map(|()| String::from_utf8_lossy(&text.bytes).into_owned());
    done.map_err(|error| match raised(&error) {
        Some(words) => Refusal::Raised(words),
        None if bounds::late() => Refusal::Late(said(&error)),
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

/// Writes a value as Python's `str` does.
fn print(out: &mut Output, _: &State, value: &Value) -> Result<(), Error> {
    in_time()?;
    let text = text(value);
    spend(text.len())?;
    out.write_str(&text).map_err(Error::from)
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
            Err(Refusal::Broken(what) | Refusal::Late(what)) => what,
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
        assert!(broken(many).contains("expected at most"), "{}", broken(many));
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
        let deep = format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(8000));
        let deeper = format!("{{{{ {} 1 }}}}", "not ".repeat(60_000));
        for source in [&deep, &deeper] {
            let _ = rendered(source); // whatever comes of it, the process is still there
        }
        let s = "{% set s = 'aa' %}".to_string() + &"{% set s = s ~ s %}".repeat(19);
        let kept: String = (0..3000).map(|i| format!("{{% set v{i} = s ~ s %}}")).collect();
        assert!(broken(&(s.clone() + &kept)).contains("writes more"));
        let copied = format!("{{{{ [{}] | length }}}}", "s[1:], ".repeat(5000));
        assert!(broken(&(s.clone() + &copied)).contains("in one tag"));
        assert!(broken(&(s + &"{{ s | string | length }}".repeat(200))).contains("writes more"));
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
    fn a_list_that_doubles_is_given_up_in_time() {
        let doubling = "{% set a = [1] %}{% for i in range(40) %}{% set a = a + a %}{% endfor %}{{ messages[0].content }}";
        let start = std::time::Instant::now();
        let made = crate::prompt::template::ChatTemplate::new(doubling, "chat_template.jinja", Default::default());
        let said = match made {
            Err(late) => late.to_string(),
            Ok(quick) => quick.render(&[], true, crate::prompt::chat::Thinking::Off).unwrap_err().to_string(),
        };
        assert!(said.contains("more than 3 s") || said.contains("expected at most"), "{said}");
        assert!(start.elapsed() < 3 * PATIENCE, "{:?}", start.elapsed());
    }

    #[test]
    fn one_tag_cannot_take_all_the_time() {
        let big = "{% set b = range(90000)|list %}";
        for tag in [
            "{{ b|select('in', b)|list|length }}",
            "{{ b|reject('in', b)|map('string')|list|length }}",
            "{{ b|map('default', b)|map('sort')|map('length')|sum }}",
            "{% for i in b if i in b %}{% endfor %}",
            "{% macro m() %}{% if b != b|list %}{% endif %}{% endmacro %}{% for i in b %}{% if m() %}{% endif %}{% endfor %}",
        ] {
            let start = std::time::Instant::now();
            let what = broken(&format!("{big}{tag}"));
            assert!(start.elapsed() < 4 * PATIENCE, "{tag}: {:?}", start.elapsed());
            assert!(
                ["more than 3 s", "expected at most", "writes more"].iter().any(|w| what.contains(w)),
                "{tag}: {what}"
            );
        }
        for copies in [
            format!("{{{{ [{}]|sort|length }}}}", "b,".repeat(5000)),
            format!("{{{{ {} }}}}", "1 in b or ".repeat(900) + "0"),
        ] {
            let what = broken(&format!("{big}{copies}"));
            assert!(what.contains("in one tag"), "{what}");
        }
        let plain = "{% set l = [3, 1, 2] %}{{ l|sort|join }}{{ l|select('in', [1, 2])|list }}{{ l|map('string')|join('-') }}{{ l|sort(reverse=true)|first }}\
                     {{ [{'a': 1}]|selectattr('a', '==', 1)|list|length }}{{ none|default('d', true) }}{{ missing|d('e') }}{{ 'a b'|split|list|length }}\
                     {% for i in l if i != 1 %}{{ i }}{% endfor %}{% if x is defined and x %}y{% elif l -%} n{% endif %}{{ l|sum }}{{ l|length }}";
        assert_eq!(rendered(plain).unwrap(), "123[1, 2]3-1-231de232y63");
        let captured =
            format!("{{% set t %}}{{% for i in range(90000) %}}{}{{% endfor %}}{{% endset %}}", "a".repeat(100_000));
        assert!(broken(&captured).contains("writes more"), "{}", broken(&captured));
    }

    #[test]
    fn what_looks_like_a_control_token_is_found() {
        let source = "{{ '<|im_start|>' + '[INST] <<SYS>>' + ' [/INST]</s><s>' + '<｜User｜>' + a[0] + b['x'] + '<|' + role + '|>' }}";
        assert_eq!(marks(source), ["</s>", "<<SYS>>", "<s>", "<|im_start|>", "<｜User｜>", "[/INST]", "[INST]"]);
    }
}

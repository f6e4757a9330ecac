//! What a rendering may take: time, bytes, depth, and the size of the values that it keeps.
use super::python::{text, title};
use super::{DEPTH, HELD, PATIENCE, WRITTEN, wrong};
use minijinja::value::{Rest, Value, ValueKind};
use minijinja::{Environment, Error, State, filters, tests};
use std::cell::Cell;
use std::time::Instant;

thread_local! {
    /// Bytes that the rendering on this thread has written.
    static SPENT: Cell<usize> = const { Cell::new(0) };
    /// When it has to be done.
    static DEADLINE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Before a rendering on this thread.
pub fn start() {
    SPENT.set(0);
    DEADLINE.set(Some(Instant::now() + PATIENCE));
}

/// Fails for a text longer than a variable may hold.
pub fn fits(bytes: usize) -> Result<(), Error> {
    match bytes <= HELD {
        true => Ok(()),
        false => Err(wrong(format!("a value of {bytes} bytes or elements, expected at most {HELD}"))),
    }
}

/// Counts bytes that are made or written, over the whole rendering.
pub fn spend(bytes: usize) -> Result<(), Error> {
    in_time()?;
    let spent = SPENT.get().saturating_add(bytes);
    SPENT.set(spent);
    match spent <= WRITTEN {
        true => Ok(()),
        false => Err(wrong(format!("it writes more than {WRITTEN} bytes"))),
    }
}

pub fn replace(text: String, from: String, to: String) -> Result<String, Error> {
    fits(text.len().saturating_mul(to.len().max(1)))?;
    let replaced = text.replace(&from, &to);
    spend(replaced.len()).map(|()| replaced)
}

pub fn measured(value: Value) -> Result<Value, Error> {
    in_time()?;
    let mut size = 0;
    measure(&value, 0, &mut size)?;
    fits(size)?;
    spend(size)?;
    Ok(value)
}

/// Bytes of texts and elements of lists and maps in a value, all the way down; it stops above [`HELD`]. What is nested too deep, or holds a
/// namespace (which could hold itself), is refused: writing it out would never end.
fn measure(value: &Value, depth: usize, size: &mut usize) -> Result<(), Error> {
    *size += value.as_str().map_or(1, |text| text.len().max(1));
    // a list that is many lists joined takes long to go through
    if size.is_multiple_of(1024) {
        in_time()?;
    }
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
pub fn measured_part(value: Value) -> Result<Value, Error> {
    match is_namespace(&value) {
        true => Err(wrong("a namespace inside of another value")),
        false => measured(value),
    }
}

/// As [`measured`], for a value that a loop or macro takes, with the bytes of text that its body may write.
pub fn measured_loop(value: Value, writes: usize) -> Result<Value, Error> {
    spend(writes)?;
    measured(value)
}

/// The same value, if there is time left.
pub fn timed(value: Value) -> Result<Value, Error> {
    in_time().map(|()| value)
}

/// Puts minijinja's filters and tests that go through a value behind a look at the clock and at the size of what they are given; `select`
/// and `map` call them for each of many elements.
pub fn metered(environment: &mut Environment) {
    let ready = |args: &[Value]| -> Result<(), Error> {
        in_time()?;
        let mut size = 0;
        args.iter().try_for_each(|arg| measure(arg, 0, &mut size))?;
        fits(size)
    };
    for (name, filter) in [
        ("length", Value::from_function(filters::length)),
        ("count", Value::from_function(filters::length)),
        ("dictsort", Value::from_function(filters::dictsort)),
        ("items", Value::from_function(filters::items)),
        ("reverse", Value::from_function(filters::reverse)),
        ("split", Value::from_function(filters::split)),
        ("lines", Value::from_function(filters::lines)),
        ("default", Value::from_function(filters::default)),
        ("d", Value::from_function(filters::default)),
        ("attr", Value::from_function(filters::attr)),
        ("first", Value::from_function(filters::first)),
        ("last", Value::from_function(filters::last)),
        ("min", Value::from_function(filters::min)),
        ("max", Value::from_function(filters::max)),
        ("sort", Value::from_function(filters::sort)),
        ("list", Value::from_function(filters::list)),
        ("sum", Value::from_function(filters::sum)),
        ("select", Value::from_function(filters::select)),
        ("reject", Value::from_function(filters::reject)),
        ("selectattr", Value::from_function(filters::selectattr)),
        ("rejectattr", Value::from_function(filters::rejectattr)),
        ("map", Value::from_function(filters::map)),
        ("groupby", Value::from_function(filters::groupby)),
        ("unique", Value::from_function(filters::unique)),
    ] {
        environment.add_filter(name, move |state: &State, args: Rest<Value>| -> Result<Value, Error> {
            ready(&args)?;
            filter.call(state, &args)
        });
    }
    let [eq, ne, lt, le, gt, ge, within, starts, ends] = [
        Value::from_function(tests::is_eq),
        Value::from_function(tests::is_ne),
        Value::from_function(tests::is_lt),
        Value::from_function(tests::is_le),
        Value::from_function(tests::is_gt),
        Value::from_function(tests::is_ge),
        Value::from_function(tests::is_in),
        Value::from_function(tests::is_startingwith),
        Value::from_function(tests::is_endingwith),
    ];
    for (names, test) in [
        (&["eq", "equalto", "=="][..], eq),
        (&["ne", "!="], ne),
        (&["lt", "lessthan", "<"], lt),
        (&["le", "<="], le),
        (&["gt", "greaterthan", ">"], gt),
        (&["ge", ">="], ge),
        (&["in"], within),
        (&["startingwith"], starts),
        (&["endingwith"], ends),
    ] {
        for name in names {
            let test = test.clone();
            environment.add_test(*name, move |state: &State, args: Rest<Value>| -> Result<bool, Error> {
                ready(&args)?;
                Ok(test.call(state, &args)?.is_true())
            });
        }
    }
}

/// Whether the rendering on this thread has taken more than its time.
pub fn late() -> bool {
    DEADLINE.get().is_some_and(|deadline| Instant::now() > deadline)
}

pub fn in_time() -> Result<(), Error> {
    match late() {
        true => Err(wrong(format!("it runs for more than {} s", PATIENCE.as_secs()))),
        false => Ok(()),
    }
}

/// The filter `join`, measured before a text is made.
pub fn joined(value: Value, separator: Option<String>) -> Result<String, Error> {
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
    spend(out.len())?;
    Ok(out)
}

/// Python's methods of text, lists and maps; those that could repeat a text without bound are measured first.
pub fn method(state: &State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
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
    spend(length(value))?;
    minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args)
}

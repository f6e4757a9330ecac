//! What a tokenizer's file must not hold, because the library would panic on it, or work without bound.
use crate::error::{Error, Result};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What is known to make the library panic, or not to be a language model's tokenizer.
pub(super) fn sound(json: &serde_json::Value) -> Result<(), String> {
    if any(json, &|o| o["type"] == "Precompiled") {
        return Err("a `Precompiled` normaliser, which is no causal model's".into()); // panics if its tables are damaged
    }
    if any(json, &|o| o["type"] == "FixedLength" && o["length"].as_u64().is_none_or(|n| n == 0)) {
        return Err("a `FixedLength` pre-tokenizer of length 0".into());
    }
    for part in ["normalizer", "pre_tokenizer", "decoder"] {
        let grown = growth(&json[part]);
        if grown > GROWTH {
            return Err(format!("its {part} can make a text {grown:.0} times as long, expected at most {GROWTH:.0}"));
        }
    }
    // BPE copies each merge into a buffer of the longest token.
    let model = &json["model"];
    let Some(vocabulary) = model["vocab"].as_object() else { return Ok(()) };
    let prefix = model["continuing_subword_prefix"].as_str().unwrap_or_default();
    for merge in model["merges"].as_array().into_iter().flatten() {
        let pair = match merge {
            serde_json::Value::Array(pair) => {
                pair.first().zip(pair.get(1)).and_then(|(a, b)| a.as_str().zip(b.as_str()))
            }
            one => one.as_str().and_then(|text| text.split_once(' ')),
        };
        let Some((a, b)) = pair else { continue }; // the library says what is wrong
        if !b.strip_prefix(prefix).is_some_and(|b| vocabulary.contains_key(&format!("{a}{b}"))) {
            return Err(format!("merge `{a} {b}` makes no token of the vocabulary"));
        }
    }
    Ok(())
}

/// How many times as long a text may become before it is cut into tokens, or after; those in use make at most 3 bytes of 1.
const GROWTH: f64 = 64.0;

/// The most by which what a normaliser, pre-tokenizer or decoder does, and all that it is made of, can lengthen a text of one byte.
fn growth(step: &serde_json::Value) -> f64 {
    let written = |key: &str| step[key].as_str().map_or(0.0, |text| text.len() as f64);
    match step["type"].as_str().unwrap_or_default() {
        "Sequence" => {
            let all = ["normalizers", "pretokenizers", "decoders"].iter().filter_map(|key| step[*key].as_array());
            all.flatten().map(growth).product()
        }
        // a regular expression can match one byte, or the place between two
        "Replace" => match step["pattern"]["String"].as_str() {
            Some(text) if !text.is_empty() => (written("content") / text.len() as f64).max(1.0),
            _ => 1.0 + written("content"),
        },
        "Prepend" => 1.0 + written("prepend"),
        "Metaspace" => 1.0 + written("replacement"),
        _ => 1.0,
    }
}

/// Whether `is` holds for an object anywhere in `value`.
fn any(value: &serde_json::Value, is: &dyn Fn(&serde_json::Value) -> bool) -> bool {
    match value {
        serde_json::Value::Object(map) => is(value) || map.values().any(|v| any(v, is)),
        serde_json::Value::Array(list) => list.iter().any(|v| any(v, is)),
        _ => false,
    }
}

/// What `f` returns. The library panics on some damaged tokenizers, and that is the file's fault.
pub(super) fn fenced<T>(place: &str, f: impl FnOnce() -> T) -> Result<T> {
    catch_unwind(AssertUnwindSafe(f))
        .map_err(|_| Error::input(format!("{place}: the tokenizer cannot be run: is the file damaged?")))
}

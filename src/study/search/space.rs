//! What a search may vary: keys of a training config and their ranges.
use crate::error::{Error, Result};
use crate::study::config::TrainConfig;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Values that a key may take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Range {
    /// Between two numbers.
    Uniform([f64; 2]),
    /// Between two positive numbers, uniform in the logarithm.
    LogUniform([f64; 2]),
    /// One of a list, without order.
    Choice(Vec<Value>),
}

/// Dotted keys of a training config (`training.schedule.lr`) and what each may be. `adapter.alpha_ratio` is α as a multiple of
/// the rank.
pub type Space = BTreeMap<String, Range>;

/// A coordinate a key: the number, its logarithm for `LogUniform`, the index for `Choice`.
pub type Point = BTreeMap<String, f64>;

const ALPHA_RATIO: &str = "adapter.alpha_ratio";

impl Range {
    /// Lowest and highest coordinate of a number; none of a choice.
    pub fn ends(&self) -> Option<(f64, f64)> {
        match self {
            Self::Uniform([low, high]) => Some((*low, *high)),
            Self::LogUniform([low, high]) => Some((low.ln(), high.ln())),
            Self::Choice(_) => None,
        }
    }

    /// The value at a coordinate. A number drawn in the logarithm keeps four digits: more would only be noise in a config.
    pub fn value(&self, at: f64) -> Value {
        let four = |x: f64| format!("{x:.3e}").parse::<f64>().unwrap_or(x);
        match self {
            Self::Uniform(_) => Value::from(four(at)),
            Self::LogUniform(_) => Value::from(four(at.exp())),
            Self::Choice(values) => values.get(at as usize).cloned().unwrap_or_default(),
        }
    }

    fn check(&self, key: &str) -> Result<()> {
        let wrong = |what: &str| Err(Error::input(format!("space `{key}`: {what}")));
        match self {
            Self::Uniform([low, high]) | Self::LogUniform([low, high])
                if !(low < high && low.is_finite() && high.is_finite()) =>
            {
                wrong("expected two numbers, the lower first")
            }
            Self::LogUniform([low, _]) if *low <= 0.0 => wrong("a logarithmic range starts above 0"),
            Self::Choice(values) if values.len() < 2 => wrong("expected two values or more to choose from"),
            _ => Ok(()),
        }
    }
}

/// Fails for a space that holds nothing to search.
pub fn check(space: &Space) -> Result<()> {
    if space.is_empty() {
        return Err(Error::input("nothing to search: give [space] a key such as \"training.schedule.lr\""));
    }
    if space.contains_key(ALPHA_RATIO) && space.contains_key("adapter.alpha") {
        return Err(Error::input("space: adapter.alpha and adapter.alpha_ratio say the same: keep one"));
    }
    space.iter().try_for_each(|(key, range)| range.check(key))
}

/// The values of a point by key.
pub fn values(space: &Space, point: &Point) -> BTreeMap<String, Value> {
    space.iter().filter_map(|(key, range)| Some((key.clone(), range.value(*point.get(key)?)))).collect()
}

/// `base` with other values at some keys, `"none"` taking away what may be left out (`training.muon`); an unknown key or a value of the
/// wrong kind is an error.
pub fn apply(base: &TrainConfig, values: &BTreeMap<String, Value>) -> Result<TrainConfig> {
    let mut config = crate::io::to_value(base)?;
    for (key, value) in values.iter().filter(|(key, _)| *key != ALPHA_RATIO) {
        set(&mut config, key, value.clone())?;
    }
    if let Some(ratio) = values.get(ALPHA_RATIO) {
        let r = config["adapter"]["r"].as_f64().unwrap_or(0.0);
        let Some(ratio) = ratio.as_f64() else {
            return Err(Error::input(format!("{ALPHA_RATIO} is {ratio}, expected a number")));
        };
        set(&mut config, "adapter.alpha", Value::from(ratio * r))?;
    }
    serde_json::from_value(config).map_err(|error| {
        let keys: Vec<&str> = values.keys().map(String::as_str).collect();
        Error::input(format!("no training config with {} set: {error}", keys.join(", ")))
    })
}

/// The parts of a key under the names that a config is written with: `augmentation.recombine` is stored as `showing.recombined`, as runs are
/// named by it.
fn canonical(key: &str) -> Vec<&str> {
    let mut parts: Vec<&str> = key.split('.').collect();
    if let ["augmentation" | "showing", rest @ ..] = parts.as_mut_slice() {
        for part in rest {
            *part = match *part {
                "concatenate" => "joined",
                "recombine" => "recombined",
                "sentence_subsets" => "excerpts",
                "entity_replacement" => "renamed",
                other => other,
            };
        }
        parts[0] = "showing";
    }
    parts
}

fn set(config: &mut Value, key: &str, value: Value) -> Result<()> {
    let mut at = config;
    for part in canonical(key) {
        let Value::Object(table) = at else {
            return Err(Error::input(format!("`{key}` is no key of a training config: `{part}` stands below a value")));
        };
        at = table.entry(part).or_insert_with(|| Value::Object(Default::default()));
    }
    *at = if value == "none" { Value::Null } else { value };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn space(text: &str) -> Space {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn a_point_becomes_a_config_and_the_rest_stays() {
        let base = TrainConfig::named("lora-plain").unwrap();
        let space = space(
            "\"training.schedule.lr\" = { log_uniform = [1e-4, 1e-2] }\n\"adapter.r\" = { choice = [4, 8] }\n\
             \"adapter.alpha_ratio\" = { choice = [1, 2] }\n\"adapter.dropout\" = { uniform = [0, 0.5] }",
        );
        check(&space).unwrap();
        let point: Point = [
            ("training.schedule.lr".into(), 1e-3f64.ln()),
            ("adapter.r".into(), 1.0),
            ("adapter.alpha_ratio".into(), 1.0),
            ("adapter.dropout".into(), 0.123456),
        ]
        .into();
        let values = values(&space, &point);
        assert_eq!((&values["adapter.r"], &values["adapter.dropout"]), (&json!(8), &json!(0.1235)));
        let config = apply(&base, &values).unwrap();
        assert_eq!((config.adapter.r, config.adapter.alpha, config.training.schedule.lr), (8, 16.0, 1e-3));
        assert_eq!(config.training.schedule.warmup, base.training.schedule.warmup);
        assert_eq!(apply(&base, &BTreeMap::new()).unwrap(), base);
        let muon = apply(&base, &[("training.muon.momentum".to_string(), json!(0.9))].into()).unwrap();
        assert!(muon.training.muon.is_some());
        let adamw = apply(&muon, &[("training.muon".to_string(), json!("none"))].into()).unwrap();
        assert_eq!(adamw.training.muon, None);
    }

    #[test]
    fn wrong_spaces_are_refused_by_the_key_that_is_wrong() {
        for (text, wanted) in [
            ("", "nothing to search"),
            ("\"training.schedule.lr\" = { log_uniform = [0, 1] }", "starts above 0"),
            ("\"adapter.dropout\" = { uniform = [0.5, 0.1] }", "the lower first"),
            ("\"adapter.r\" = { choice = [4] }", "two values or more"),
        ] {
            let error = check(&space(text)).unwrap_err();
            assert!(error.exit_code() == 2 && error.to_string().contains(wanted), "{error}");
        }
        let base = TrainConfig::named("lora-plain").unwrap();
        for (key, value, wanted) in [
            ("training.shedule", json!(1), "shedule"),
            ("name.x", json!(1), "`x` stands below a value"),
            ("adapter.r", json!("many"), "adapter.r set"),
        ] {
            let error = apply(&base, &[(key.to_string(), value)].into()).unwrap_err();
            assert!(error.exit_code() == 2 && error.to_string().contains(wanted), "{error}");
        }
    }
}

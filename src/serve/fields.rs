//! The fields of a JSON request: each is taken by its name and type, and what is left over is refused by name. A field that is ignored
//! would change what an answer means without a word.
use super::error::ApiError;
use serde_json::{Map, Value};

/// Fields that say who asks, or what is to be kept of it: no answer depends on them.
const WITHOUT_EFFECT: [&str; 7] =
    ["user", "metadata", "safety_identifier", "prompt_cache_key", "service_tier", "store", "parallel_tool_calls"];

/// See the file's header.
pub struct Fields(Map<String, Value>);

type Taken<T> = Result<Option<T>, ApiError>;

impl Fields {
    /// Of a body that is a JSON object.
    pub fn of(body: &[u8]) -> Result<Self, ApiError> {
        let wrong = |what: String| ApiError::bad(format!("the body is no JSON object: {what}"));
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(_) => Err(wrong("expected `{…}`".into())),
            Err(error) => Err(wrong(error.to_string())),
        }
    }

    pub fn of_value(value: Value, name: &str) -> Result<Self, ApiError> {
        match value {
            Value::Object(fields) => Ok(Self(fields)),
            other => Err(wrong(name, "an object", &other)),
        }
    }

    /// The field as it is; None where it is absent or null.
    pub fn any(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    fn take<T>(&mut self, name: &str, wanted: &str, read: impl FnOnce(&Value) -> Option<T>) -> Taken<T> {
        let Some(value) = self.any(name) else { return Ok(None) };
        read(&value).map(Some).ok_or_else(|| wrong(name, wanted, &value))
    }

    pub fn text(&mut self, name: &str) -> Taken<String> {
        self.take(name, "text", |value| value.as_str().map(String::from))
    }

    pub fn flag(&mut self, name: &str) -> Taken<bool> {
        self.take(name, "true or false", Value::as_bool)
    }

    pub fn number(&mut self, name: &str) -> Taken<f64> {
        self.take(name, "a number", Value::as_f64)
    }

    /// A whole number between two bounds, both included.
    pub fn count(&mut self, name: &str, low: u64, high: u64) -> Taken<u64> {
        let wanted = format!("a whole number from {low} to {high}");
        self.take(name, &wanted, |value| value.as_u64().filter(|n| (low..=high).contains(n)))
    }

    /// A seed: negative ones count from the largest number down.
    pub fn seed(&mut self, name: &str) -> Taken<u64> {
        self.take(name, "a whole number", |value| value.as_u64().or(value.as_i64().map(|n| n as u64)))
    }

    /// A text or a list of texts.
    pub fn texts(&mut self, name: &str) -> Taken<Vec<String>> {
        let all = |value: &Value| match value {
            Value::String(one) => Some(vec![one.clone()]),
            Value::Array(many) => many.iter().map(|text| text.as_str().map(String::from)).collect(),
            _ => None,
        };
        self.take(name, "text or a list of texts", all)
    }

    /// Refuses a field that is not served, unless it has a value that changes nothing.
    pub fn unserved(&mut self, name: &str, neutral: impl FnOnce(&Value) -> bool) -> Result<(), ApiError> {
        match self.any(name) {
            Some(value) if !neutral(&value) => {
                Err(ApiError::field(name, format!("`{name}` is not served here: leave it out"))
                    .code("unsupported_field"))
            }
            _ => Ok(()),
        }
    }

    /// Refuses what was not taken.
    pub fn finish(mut self) -> Result<(), ApiError> {
        WITHOUT_EFFECT.iter().for_each(|name| drop(self.0.remove(*name)));
        match self.0.iter().find(|(_, value)| !value.is_null()) {
            Some((name, _)) => Err(ApiError::field(
                name,
                format!("`{name}` is no field of this request: it would have no effect, so leave it out"),
            )
            .code("unknown_field")),
            None => Ok(()),
        }
    }
}

fn wrong(name: &str, wanted: &str, got: &Value) -> ApiError {
    // the value may be long, and may be text that belongs in no log
    let kind = match got {
        Value::Number(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        Value::String(_) => "text".into(),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "an object".into(),
        Value::Null => "null".into(),
    };
    ApiError::field(name, format!("`{name}` is {kind}: expected {wanted}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_not_taken_is_refused_by_name() {
        let mut fields =
            Fields::of(br#"{"n": 2, "stop": "a", "user": "me", "logit_bias": {}, "tools": null}"#).unwrap();
        assert_eq!(
            (fields.count("n", 1, 8).unwrap(), fields.texts("stop").unwrap()),
            (Some(2), Some(vec!["a".into()]))
        );
        fields.unserved("logit_bias", |value| value == &json!({})).unwrap();
        fields.finish().unwrap();
        let left = Fields::of(br#"{"temprature": 1}"#).unwrap().finish().unwrap_err();
        assert_eq!((left.param.as_deref(), left.status.as_u16()), (Some("temprature"), 400));
        let mut wrong = Fields::of(br#"{"n": 0, "seed": -1, "temperature": "hot", "tools": [1]}"#).unwrap();
        assert!(wrong.count("n", 1, 8).unwrap_err().message.contains("expected a whole number from 1 to 8"));
        assert_eq!(wrong.seed("seed").unwrap(), Some(u64::MAX));
        assert_eq!(wrong.number("temperature").unwrap_err().message, "`temperature` is text: expected a number");
        assert!(wrong.unserved("tools", |_| false).unwrap_err().message.contains("`tools` is not served"));
        for body in ["", "[1]", "{", "\"x\"", "{\"a\": 1", "\u{1}"] {
            assert_eq!(Fields::of(body.as_bytes()).err().map(|e| e.status.as_u16()), Some(400), "{body}");
        }
    }
}

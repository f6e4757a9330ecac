//! What is asked: the body of a request, and the digest of everything in it that the answer follows from.
use super::config::EndpointConfig;
use super::usage::Tokens;
use crate::error::{Error, Result};
use crate::io;
use crate::prompt::{Message, Thinking};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// Fields that are ours alone: an answer is read as one whole message.
const OURS: [&str; 5] = ["model", "messages", "stream", "stream_options", "n"];
/// Tokens that a chat template may add to a prompt and to each of its messages: more than any we know of.
const TEMPLATE: u64 = 256;
const TURN: u64 = 16;

/// One distinct question.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// 64 hex digits: SHA-256 over address, model, messages and every parameter.
    pub key: String,
    /// JSON.
    pub body: String,
    /// What it can cost at most: no token is shorter than a byte.
    pub worst: Tokens,
}

/// Every field of a request but its messages: model and parameters, as a run's specification keeps them.
pub fn fields(config: &EndpointConfig, model: &str, max_new: usize) -> Result<Map<String, Value>> {
    let mut fields = Map::new();
    let mut set = |name: &str, value: Value| fields.insert(name.into(), value);
    set("model", json!(model));
    set("temperature", json!(config.temperature));
    set("max_tokens", json!(max_new));
    set("seed", json!(config.seed));
    if config.logprobs {
        set("logprobs", json!(true));
    }
    if !config.stop.is_empty() {
        set("stop", json!(config.stop));
    }
    if let Some(thinking) = config.thinking {
        set("chat_template_kwargs", json!({"enable_thinking": thinking == Thinking::On}));
    }
    if let Some(name) = secret_in(&config.extra) {
        return Err(Error::input(format!(
            "--extra: `{name}` looks like a secret, and all of --extra is kept in spec.json: a key comes from the environment, in DXLAB_API_KEY or the variable that --key-env names"
        )));
    }
    for (name, value) in &config.extra {
        if OURS.contains(&name.as_str()) {
            return Err(Error::input(format!("--extra: `{name}` is set by dxlab itself: leave it out")));
        }
        match (fields.get_mut(name), value) {
            (_, Value::Null) => drop(fields.remove(name)),
            (Some(Value::Object(ours)), Value::Object(more)) => ours.extend(more.clone()),
            _ => drop(fields.insert(name.clone(), value.clone())),
        }
    }
    Ok(fields)
}

/// The name of a field, at any depth, that holds a secret by its name.
fn secret_in(fields: &Map<String, Value>) -> Option<&str> {
    const NAMES: [&str; 10] = [
        "apikey",
        "authorization",
        "accesstoken",
        "authtoken",
        "bearer",
        "bearertoken",
        "password",
        "secret",
        "clientsecret",
        "hftoken",
    ];
    let plain = |name: &str| name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
    fields.iter().find_map(|(name, value)| match value {
        Value::Null => None,
        Value::Object(inner) if !NAMES.contains(&plain(name).as_str()) => secret_in(inner),
        _ => NAMES.contains(&plain(name).as_str()).then_some(name.as_str()),
    })
}

/// New tokens that a request with these fields can be answered with; None where nothing limits them.
pub fn limit(fields: &Map<String, Value>) -> Option<u64> {
    ["max_completion_tokens", "max_tokens"].iter().find_map(|name| fields.get(*name)?.as_u64())
}

impl Question {
    /// `base` is the endpoint's address. Streaming changes how an answer travels, not what it is: it is no part of the key.
    pub fn new(base: &str, fields: &Map<String, Value>, messages: &[Message], stream: bool) -> Self {
        let mut request = fields.clone();
        request.insert(
            "messages".into(),
            messages.iter().map(|m| json!({"role": m.role, "content": m.content})).collect(),
        );
        let whole = json!({"url": base, "request": request});
        let key = io::hex(&Sha256::digest(canonical(&whole)));
        if stream {
            request.insert("stream".into(), json!(true));
            request.insert("stream_options".into(), json!({"include_usage": true}));
        }
        let bytes: u64 = messages.iter().map(|m| m.content.len() as u64 + TURN).sum();
        let worst = Tokens { prompt: bytes + TEMPLATE, new: limit(fields).unwrap_or(0) };
        Self { key, body: Value::Object(request).to_string(), worst }
    }
}

/// JSON with sorted keys, whatever order serde_json keeps in this build.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut pairs: Vec<String> = map.iter().map(|(k, v)| format!("{}:{}", json!(k), canonical(v))).collect();
            pairs.sort();
            format!("{{{}}}", pairs.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::Role;

    fn asked(config: &EndpointConfig, model: &str, max_new: usize, text: &str, stream: bool) -> Question {
        let fields = fields(config, model, max_new).unwrap();
        Question::new(&config.url, &fields, &[Message::new(Role::System, "s"), Message::new(Role::User, text)], stream)
    }

    #[test]
    fn the_key_follows_everything_that_the_answer_follows_from() {
        let plain = EndpointConfig::new("http://localhost/v1");
        let base = asked(&plain, "m", 64, "text", false);
        let changed = |change: &dyn Fn(&mut EndpointConfig)| {
            let mut config = plain.clone();
            change(&mut config);
            asked(&config, "m", 64, "text", false).key
        };
        let others = [
            changed(&|c| c.url = "http://localhost:1/v1".into()),
            changed(&|c| c.temperature = 0.7),
            changed(&|c| c.seed = 8),
            changed(&|c| c.stop = vec!["\n".into()]),
            changed(&|c| c.thinking = Some(Thinking::On)),
            changed(&|c| c.thinking = Some(Thinking::Off)),
            changed(&|c| c.logprobs = false),
            changed(&|c| drop(c.extra.insert("top_p".into(), json!(0.9)))),
            asked(&plain, "n", 64, "text", false).key,
            asked(&plain, "m", 65, "text", false).key,
            asked(&plain, "m", 64, "text.", false).key,
        ];
        let distinct: std::collections::BTreeSet<&String> = others.iter().chain([&base.key]).collect();
        assert_eq!(distinct.len(), others.len() + 1);
        assert_eq!(base.key, changed(&|c| c.client.concurrency = 9), "settings of the client are no part of it");
        let streamed = asked(&plain, "m", 64, "text", true);
        assert!(streamed.key == base.key && streamed.body.contains("include_usage") && !base.body.contains("stream"));
    }

    #[test]
    fn the_body_is_what_servers_read() {
        let config = EndpointConfig { thinking: Some(Thinking::Off), ..EndpointConfig::new("http://localhost/v1") };
        let body: Value = serde_json::from_str(&asked(&config, "m", 64, "text", false).body).unwrap();
        let wanted = json!({
            "model": "m", "temperature": 0.0, "max_tokens": 64, "seed": 7, "logprobs": true,
            "chat_template_kwargs": {"enable_thinking": false},
            "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "text"}],
        });
        assert_eq!(body, wanted);
    }

    #[test]
    fn extra_fields_replace_join_and_remove_ours() {
        let mut config = EndpointConfig { thinking: Some(Thinking::Off), ..EndpointConfig::new("http://localhost/v1") };
        let extra =
            json!({"max_tokens": null, "max_completion_tokens": 9, "chat_template_kwargs": {"x": 1}, "seed": 1});
        config.extra = extra.as_object().unwrap().clone();
        let made = fields(&config, "m", 64).unwrap();
        assert!(!made.contains_key("max_tokens") && made["seed"] == 1 && limit(&made) == Some(9));
        assert_eq!(made["chat_template_kwargs"], json!({"enable_thinking": false, "x": 1}));
        config.extra = json!({"stream": true}).as_object().unwrap().clone();
        assert_eq!(fields(&config, "m", 64).unwrap_err().exit_code(), 2);
        for secret in [json!({"api_key": "sk-1"}), json!({"headers": {"Authorization": "Bearer sk-1"}})] {
            config.extra = secret.as_object().unwrap().clone();
            let error = fields(&config, "m", 64).unwrap_err().to_string();
            assert!(error.contains("looks like a secret") && !error.contains("sk-1"), "{error}");
        }
    }

    #[test]
    fn the_worst_case_counts_every_byte() {
        let question = asked(&EndpointConfig::new("http://localhost/v1"), "m", 64, "é", false);
        assert_eq!(question.worst, Tokens { prompt: 256 + 2 * 16 + 1 + 2, new: 64 });
    }

    #[test]
    fn canonical_json_sorts_at_every_depth() {
        let (a, b): (Value, Value) = (
            serde_json::from_str(r#"{"b":[{"y":1,"x":"\""}],"a":null}"#).unwrap(),
            serde_json::from_str(r#"{"a":null,"b":[{"x":"\"","y":1}]}"#).unwrap(),
        );
        assert_eq!(canonical(&a), r#"{"a":null,"b":[{"x":"\"","y":1}]}"#);
        assert_eq!(canonical(&a), canonical(&b));
    }
}

//! `dxlab serve` on a small model: every endpoint, many clients at once, slow and broken ones.
mod client;

use client::{Reply, connect, get, head, post, post_as, raw, reply};
use dxlab::corpus::Case;
use dxlab::generate::{Answers, Endpoint, EndpointConfig, Local, Room};
use dxlab::model::Precision;
use dxlab::prompt::Prompt;
use dxlab::run::{Run, Store};
use dxlab::serve::{
    AdapterName, Bounds, Diagnoser, Findings, FindingsConfig, Keys, Limit, ServeConfig, Served, Server,
};
use dxlab::study::PredictConfig;
use dxlab::task::LabelTask;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

fn adapter() -> AdapterName {
    let folder = dxlab::home().join("runs/train-lora-plain-b87b53394481");
    AdapterName { name: "tuned".into(), folder }
}

fn server_with(config: ServeConfig, findings: FindingsConfig) -> Server {
    let served = Served::open("embedded-small", &[adapter()], Precision::F32, None).unwrap();
    let findings: Arc<dyn Diagnoser> = Arc::new(Findings::open(findings).unwrap());
    Server::start(ServeConfig { port: 0, ..config }, served, vec![findings]).unwrap()
}

fn plain() -> FindingsConfig {
    FindingsConfig { prompt: "plain".into(), ..FindingsConfig::default() }
}

fn server() -> Server {
    server_with(ServeConfig::default(), plain())
}

fn asked(text: &str) -> Value {
    json!({"model": "embedded-small", "messages": [{"role": "user", "content": text}], "max_tokens": 12, "temperature": 0})
}

/// What an answer says, without its id and time.
fn said(reply: &Reply) -> Value {
    assert_eq!(reply.status, 200, "{reply:?}");
    let mut value = reply.json();
    ["id", "created"].iter().for_each(|name| drop(value.as_object_mut().unwrap().remove(*name)));
    value
}

fn refused(reply: &Reply, status: u16, part: &str) {
    let error = &reply.json()["error"];
    assert_eq!(reply.status, status, "{reply:?}");
    assert!(error["message"].as_str().unwrap().contains(part), "{part}: {error}");
    assert!(error["type"].is_string() && error.get("param").is_some() && error.get("code").is_some());
}

#[test]
fn a_server_in_this_process_is_asked_as_by_any_client() {
    let server = server();
    let body = asked("A cyst of the left kidney.").to_string();
    let (status, here) = server.ask("/v1/chat/completions", &body).unwrap();
    assert_eq!(status, 200);
    assert_eq!(
        here["choices"],
        post(server.address(), "/v1/chat/completions", &serde_json::from_str(&body).unwrap()).json()["choices"]
    );
    let (status, error) = server.ask("/v1/diagnose", "{\"txt\": \"a\"}").unwrap();
    assert!(status == 400 && error["error"]["message"].as_str().unwrap().contains("txt"), "{error}");
}

#[test]
fn the_small_endpoints_answer_and_every_answer_is_guarded() {
    let server = server();
    let at = server.address();
    assert_eq!(get(at, "/health").json(), json!({"status": "ok"}));
    let models = get(at, "/v1/models").json();
    let names: Vec<&str> = models["data"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect();
    assert_eq!(names[..2], ["embedded-small", "tuned"]);
    assert_eq!(get(at, "/v1/models/tuned").json()["adapter"].as_str().unwrap().split('@').next(), Some("lora-plain"));
    refused(&get(at, "/v1/models/gpt-4"), 404, "no model `gpt-4`");
    refused(&get(at, "/nowhere"), 404, "nothing is served here");
    refused(&get(at, "/v1/chat/completions"), 405, "another method");
    refused(&post(at, "/v1/models", &json!({})), 405, "another method");
    let openapi = get(at, "/openapi.json").json();
    for path in [
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/models",
        "/v1/diagnose",
        "/health",
        "/metrics",
    ] {
        assert!(openapi["paths"][path].is_object(), "{path}");
    }
    let models = &openapi["components"]["schemas"]["ChatRequest"]["properties"]["model"]["enum"];
    assert_eq!(models, &json!(["embedded-small", "tuned"]));
    let metrics = get(at, "/metrics");
    assert!(metrics.headers.contains("content-type: text/plain; version=0.0.4"));
    assert!(metrics.body.contains("dxlab_requests_total{route=\"/health\",status=\"200\"} 1\n"), "{}", metrics.body);
    for path in ["/", "/health", "/v1/models", "/nowhere", "/page.js"] {
        let headers = get(at, path).headers;
        for wanted in [
            "content-security-policy: default-src 'none'",
            "x-content-type-options: nosniff",
            "cache-control: no-store",
        ] {
            assert!(headers.contains(wanted), "{path}: {headers}");
        }
        assert!(!headers.contains("access-control-allow"), "no other site's script may read it");
    }
    for host in ["evil.example", "127.evil.example", "127.0.0.1.evil.example:80"] {
        let request = format!("GET /v1/models HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        refused(&raw(at, request.as_bytes()), 403, "name of this machine");
    }
    server.stop();
}

#[test]
fn chat_answers_have_openais_shape_whole_and_streamed() {
    let server = server();
    let at = server.address();
    let mut body = asked("A cyst of the left kidney.");
    body["logprobs"] = json!(true);
    body["top_logprobs"] = json!(2);
    let whole = said(&post(at, "/v1/chat/completions", &body));
    assert_eq!((&whole["object"], &whole["model"]), (&json!("chat.completion"), &json!("embedded-small")));
    let choice = &whole["choices"][0];
    assert_eq!(choice["message"]["role"], "assistant");
    let tokens = choice["logprobs"]["content"].as_array().unwrap();
    assert_eq!(whole["usage"]["completion_tokens"], tokens.len());
    assert!(
        tokens
            .iter()
            .all(|t| t["top_logprobs"].as_array().unwrap().len() == 2 && t["logprob"].as_f64().unwrap() <= 0.0)
    );
    let bytes: Vec<u8> =
        tokens.iter().flat_map(|t| t["bytes"].as_array().unwrap()).map(|b| b.as_u64().unwrap() as u8).collect();
    assert_eq!(String::from_utf8(bytes).unwrap(), choice["message"]["content"].as_str().unwrap());

    for n in [1, 3] {
        body["n"] = json!(n);
        body["temperature"] = json!(1.2);
        body["seed"] = json!(5);
        let whole = said(&post(at, "/v1/chat/completions", &body));
        let mut streamed = body.clone();
        streamed["stream"] = json!(true);
        streamed["stream_options"] = json!({"include_usage": true});
        let reply = post(at, "/v1/chat/completions", &streamed);
        assert!(reply.headers.contains("content-type: text/event-stream"));
        let events = reply.events();
        let (last, chunks) = events.split_last().unwrap();
        assert_eq!((&last["choices"], &last["usage"]), (&json!([]), &whole["usage"]));
        for index in 0..n {
            let mine: Vec<&Value> = chunks.iter().map(|c| &c["choices"][0]).filter(|c| c["index"] == index).collect();
            let text: String = mine.iter().filter_map(|c| c["delta"]["content"].as_str()).collect();
            let want = &whole["choices"][index];
            assert_eq!(want["message"]["content"], text);
            assert_eq!(mine[0]["delta"]["role"], "assistant");
            assert_eq!(mine.last().unwrap()["finish_reason"], want["finish_reason"]);
            assert!(mine[..mine.len() - 1].iter().all(|c| c["finish_reason"].is_null()));
            let logprobs: Vec<&Value> =
                mine.iter().filter_map(|c| c["logprobs"]["content"].as_array()).flatten().collect();
            assert_eq!(logprobs, want["logprobs"]["content"].as_array().unwrap().iter().collect::<Vec<_>>());
        }
        let texts: std::collections::BTreeSet<String> =
            (0..n).map(|i| whole["choices"][i]["message"]["content"].to_string()).collect();
        assert_eq!(texts.len(), n, "samples differ");
    }
    server.stop();
}

#[test]
fn plain_completions_stop_strings_and_adapters() {
    let server = server();
    let at = server.address();
    let body =
        json!({"model": "embedded-small", "prompt": "The liver is", "max_tokens": 20, "temperature": 0, "logprobs": 1});
    let whole = said(&post(at, "/v1/completions", &body));
    let text = whole["choices"][0]["text"].as_str().unwrap();
    assert_eq!(whole["object"], "text_completion");
    let logprobs = &whole["choices"][0]["logprobs"];
    assert_eq!(logprobs["tokens"].as_array().unwrap().len(), logprobs["token_logprobs"].as_array().unwrap().len());
    let word = text.split_whitespace().nth(2).unwrap();
    let cut = json!({"stop": [word], "stream": false});
    let with = |more: &Value| {
        let mut body = body.clone();
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let stopped = said(&post(at, "/v1/completions", &with(&cut)));
    let kept = text.split(word).next().unwrap();
    assert_eq!(
        (&stopped["choices"][0]["text"], &stopped["choices"][0]["finish_reason"]),
        (&json!(kept), &json!("stop"))
    );
    let events = post(at, "/v1/completions", &with(&json!({"stop": word, "stream": true}))).events();
    assert_eq!(events.iter().filter_map(|e| e["choices"][0]["text"].as_str()).collect::<String>(), kept);
    let tuned = said(&post(at, "/v1/completions", &with(&json!({"model": "tuned"}))));
    assert_ne!(tuned["choices"][0]["text"], text);
    assert!(tuned["system_fingerprint"].as_str().unwrap().contains("+lora-plain@"));
    let ids = said(&post(at, "/v1/completions", &with(&json!({"prompt": [5, 9, 300]}))));
    assert_eq!(ids["usage"]["prompt_tokens"], 3);
    server.stop();
}

#[test]
fn answers_are_held_to_labels_schemas_and_grammars() {
    let server = server();
    let at = server.address();
    let ask = |more: Value| {
        let mut body = asked("Stones in the gallbladder.");
        body["max_tokens"] = json!(60);
        body["temperature"] = json!(1.0);
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let reply = post(at, "/v1/chat/completions", &body);
        (reply.status, reply.json()["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_string())
    };
    let labels = ["gallstone", "renal cyst", "no finding"];
    for seed in 0..4 {
        let (_, one) = ask(json!({"choices": labels, "seed": seed}));
        assert!(labels.contains(&one.as_str()), "{one}");
        let (_, many) = ask(json!({"choices": labels, "choices_count": "many", "seed": seed}));
        assert!(many.split(", ").all(|label| labels.contains(&label)), "{many}");
        let schema = json!({"type": "object", "properties": {"found": {"type": "boolean"}}, "required": ["found"], "additionalProperties": false});
        let format =
            json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": true}});
        let (_, json) = ask(json!({"response_format": format, "seed": seed}));
        assert!(serde_json::from_str::<Value>(&json).unwrap()["found"].is_boolean(), "{json}");
        let (_, lark) = ask(json!({"grammar": "start: \"yes\" | \"no\"", "seed": seed}));
        assert!(["yes", "no"].contains(&lark.as_str()), "{lark}");
        let (_, digits) = ask(json!({"regex": "[0-9]{3}", "seed": seed}));
        assert!(digits.len() == 3 && digits.chars().all(|c| c.is_ascii_digit()), "{digits}");
    }
    assert_eq!(ask(json!({"choices": labels, "regex": "a"})).0, 400);
    assert_eq!(ask(json!({"grammar": "start: ("})).0, 400);
    server.stop();
}

#[test]
fn requests_that_cannot_be_answered_are_refused_by_the_name_of_their_field() {
    let bounds = Bounds { body: 20_000, ..Bounds::default() };
    let server = server_with(ServeConfig { bounds, ..ServeConfig::default() }, plain());
    let at = server.address();
    let path = "/v1/chat/completions";
    let with = |name: &str, value: Value| {
        let mut body = asked("A cyst.");
        body[name] = value;
        post(at, path, &body)
    };
    for (name, value, status, part) in [
        ("model", json!("gpt-4"), 404, "no model"),
        ("model", json!(7), 400, "`model` is 7"),
        ("messages", json!([]), 400, "empty"),
        ("messages", json!("hello"), 400, "`messages` is missing"),
        ("messages", json!([{"role": "tool", "content": "x"}]), 400, "role"),
        ("messages", json!([{"role": "user", "content": "x", "name": "Bob"}]), 400, "name"),
        ("messages", json!([{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]), 400, "parts"),
        ("messages", json!([{"role": "assistant", "content": "x"}]), 400, "last message"),
        ("temperature", json!(-1), 400, "temperature"),
        ("top_p", json!(0), 400, "top_p"),
        ("top_k", json!(-3), 400, "top_k"),
        ("min_p", json!(2), 400, "min_p"),
        ("n", json!(0), 400, "`n`"),
        ("n", json!(1000), 400, "`n`"),
        ("max_tokens", json!(0), 400, "max_tokens"),
        ("max_tokens", json!(100_000), 400, "positions"),
        ("stop", json!([""]), 400, "empty stop"),
        ("logit_bias", json!({"5": 1}), 400, "not served"),
        ("frequency_penalty", json!(0.5), 400, "not served"),
        ("tools", json!([{"type": "function"}]), 400, "not served"),
        ("stream_options", json!({"include_usage": true}), 400, "stream"),
        ("top_logprobs", json!(3), 400, "needs `logprobs`"),
        ("response_format", json!({"type": "xml"}), 400, "json_schema"),
        ("temprature", json!(0), 400, "no field of this request"),
        ("choices", json!([]), 400, "empty list"),
    ] {
        refused(&with(name, value), status, part);
    }
    for (name, value) in [
        ("frequency_penalty", json!(0)),
        ("logit_bias", json!({})),
        ("tools", json!(null)),
        ("user", json!("x")),
        ("store", json!(false)),
    ] {
        assert_eq!(with(name, value).status, 200, "{name}");
    }
    refused(&with("messages", json!([{"role": "user", "content": "word ".repeat(3000)}])), 400, "positions");
    for body in ["", "{", "[]", "nul", "{\"model\": \"embedded-small\"", "{\"messages\": \u{1}}"] {
        assert_eq!(post_as(at, path, "", body).status, 400, "{body}");
    }
    let not_text =
        [head("POST", path, "Content-Type: application/json\r\n", 3).into_bytes(), vec![0xff, 0xfe, 0x00]].concat();
    assert_eq!(raw(at, &not_text).status, 400);
    refused(&post_as(at, path, "", &" ".repeat(20_001)), 413, "more than 20000 bytes");
    let chunked = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n7530\r\n{}\r\n0\r\n\r\n",
        " ".repeat(0x7530)
    );
    refused(&raw(at, chunked.as_bytes()), 413, "more than 20000 bytes");
    let form = raw(at, (head("POST", path, "Content-Type: text/plain\r\n", 2) + "{}").as_bytes());
    refused(&form, 415, "application/json");
    assert_eq!(raw(at, b"nonsense\r\n\r\n").status, 400);
    assert_eq!(post(at, path, &asked("A cyst.")).status, 200, "after all this");
    server.stop();
}

/// Requests of many kinds; the same number asks the same.
fn request(i: usize) -> (&'static str, Value) {
    let texts = [
        "A cyst of the left kidney.",
        "Stones in the gallbladder, no free fluid.",
        "Normal abdomen.",
        "Enlarged spleen and a small hernia of the navel.",
    ];
    let model = if i % 3 == 1 { "tuned" } else { "embedded-small" };
    let more = "The liver is of normal size. ".repeat(i % 11);
    let mut body = json!({"model": model, "max_tokens": 3 + i % 20, "seed": i, "temperature": if i.is_multiple_of(2) { 0.0 } else { 1.0 }});
    if i % 4 == 3 {
        body["prompt"] = json!(format!("{more}{}", texts[i / 4 % 4]));
        return ("/v1/completions", body);
    }
    body["messages"] = json!([{"role": "user", "content": format!("{more}{}", texts[i / 4 % 4])}]);
    body["logprobs"] = json!(i.is_multiple_of(5));
    if i % 7 == 2 {
        body["choices"] = json!(["renal cyst", "gallstone", "splenomegaly"]);
    }
    if i % 6 == 1 {
        body["n"] = json!(2);
    }
    ("/v1/chat/completions", body)
}

#[test]
fn sixty_four_requests_at_once_get_the_bytes_that_each_gets_alone() {
    let server = server();
    let at = server.address();
    let alone: Vec<Value> = (0..64).map(|i| said(&post(at, request(i).0, &request(i).1))).collect();
    for _ in 0..2 {
        std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..64).map(|i| scope.spawn(move || said(&post(at, request(i).0, &request(i).1)))).collect();
            for (i, thread) in threads.into_iter().enumerate() {
                assert_eq!(thread.join().unwrap().to_string(), alone[i].to_string(), "request {i}");
            }
        });
    }
    server.stop();
}

#[test]
fn a_thousand_requests_from_sixty_four_clients_and_none_is_lost_or_gets_anothers_answer() {
    let server = server();
    let at = server.address();
    let body = |i: usize| json!({"model": "embedded-small", "prompt": [5, 9, i % 40, 7], "max_tokens": 2, "temperature": 0, "logprobs": 0});
    let want: Vec<String> = (0..40).map(|i| said(&post(at, "/v1/completions", &body(i))).to_string()).collect();
    let next = AtomicUsize::new(0);
    let counts: Vec<usize> = std::thread::scope(|scope| {
        let work = || {
            let mut done = 0;
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                if i >= 1000 {
                    return done;
                }
                assert_eq!(said(&post(at, "/v1/completions", &body(i))).to_string(), want[i % 40], "request {i}");
                done += 1;
            }
        };
        let threads: Vec<_> = (0..64).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(counts.iter().sum::<usize>(), 1000);
    let metrics = get(at, "/metrics").body;
    assert!(metrics.contains("dxlab_requests_total{route=\"/v1/completions\",status=\"200\"} 1040\n"), "{metrics}");
    assert!(metrics.contains("dxlab_sequences_active 0\n") && metrics.contains("dxlab_requests_waiting 0\n"));
    server.stop();
}

/// A number of `/metrics`.
fn metric(at: SocketAddr, name: &str) -> f64 {
    let text = get(at, "/metrics").body;
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap()
}

/// Waits until it holds.
fn until(what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn clients_that_go_away_or_are_slow_cost_nothing_more() {
    let server = server();
    let at = server.address();
    let long = |stream: bool| {
        let body = json!({"model": "embedded-small", "prompt": "x", "max_tokens": 2000, "temperature": 1.5, "n": 4, "regex": "[a-z ]{20000}", "stream": stream}).to_string();
        head("POST", "/v1/completions", "Content-Type: application/json\r\n", body.len()) + &body
    };
    let before = metric(at, "dxlab_requests_left_total ");
    for stream in [true, false] {
        let mut cut = connect(at);
        cut.write_all(long(stream).as_bytes()).unwrap();
        until("it is decoded", || metric(at, "dxlab_sequences_active ") > 0.0);
        if stream {
            let mut some = [0; 200];
            cut.read_exact(&mut some).unwrap();
            assert!(some.starts_with(b"HTTP/1.1 200"));
        }
        drop(cut);
        until("it leaves the batch", || metric(at, "dxlab_sequences_active ") == 0.0);
    }
    assert_eq!(metric(at, "dxlab_requests_left_total "), before + 2.0);
    // half a request, and then nothing
    let mut slow = connect(at);
    slow.write_all(&long(false).as_bytes()[..80]).unwrap();
    let mut half_body = connect(at);
    half_body.write_all(head("POST", "/v1/completions", "Content-Type: application/json\r\n", 50).as_bytes()).unwrap();
    half_body.write_all(b"{\"model\": ").unwrap();
    assert_eq!(post(at, "/v1/chat/completions", &asked("A cyst.")).status, 200, "others are answered");
    drop((slow, half_body));
    server.stop();
}

#[test]
fn a_client_that_never_reads_is_let_go() {
    let bounds = Bounds { write: Duration::from_millis(300), ..Bounds::default() };
    let server = server_with(ServeConfig { bounds, port: 0, ..ServeConfig::default() }, plain());
    let at = server.address();
    // each token comes with the log-probabilities of five others, more than the buffers of both ends hold
    let body =
        json!({"model": "embedded-small", "prompt": "x", "max_tokens": 2000, "temperature": 1.5, "n": 8, "logprobs": 5,
        "regex": "[a-z ]{20000}", "stream": true})
        .to_string();
    let mut deaf = connect(at);
    let asked = head("POST", "/v1/completions", "Content-Type: application/json\r\n", body.len()) + &body;
    deaf.write_all(asked.as_bytes()).unwrap();
    until("it is let go", || metric(at, "dxlab_requests_left_total ") == 1.0);
    until("and leaves the batch", || metric(at, "dxlab_sequences_active ") == 0.0);
    assert_eq!(post(at, "/v1/chat/completions", &self::asked("A cyst.")).status, 200, "others are answered");
    drop(deaf);
    server.stop();
}

#[test]
fn a_full_queue_and_the_limits_of_a_key_say_when_to_come_again() {
    let limit = Limit { requests_per_minute: Some(7), tokens_per_day: Some(400) };
    let keys = Keys::single("a-key-of-some-length", limit).unwrap();
    let server = server_with(ServeConfig { keys, ..ServeConfig::default() }, plain());
    let at = server.address();
    let path = "/v1/chat/completions";
    let body = asked("A cyst.").to_string();
    refused(&post_as(at, path, "", &body), 401, "no key");
    refused(&post_as(at, path, "Authorization: Bearer wrong\r\n", &body), 401, "not known");
    refused(&get(at, "/v1/models"), 401, "no key");
    refused(&get(at, "/metrics"), 401, "no key");
    assert_eq!(get(at, "/health").status, 200);
    let key = "Authorization: Bearer a-key-of-some-length\r\n";
    assert_eq!(post_as(at, path, key, &body).status, 200);
    let mut much = asked("A cyst.");
    much["max_tokens"] = json!(390);
    let never = post_as(at, path, key, &much.to_string());
    refused(&never, 400, "and the key has 400 a day");
    assert!(!never.headers.contains("retry-after: "), "waiting would not help");
    much["max_tokens"] = json!(375);
    let full = post_as(at, path, key, &much.to_string());
    refused(&full, 429, "400 tokens a day");
    assert!(full.headers.contains("retry-after: "));
    let statuses: Vec<u16> = (0..5).map(|_| post_as(at, path, key, &body).status).collect();
    assert_eq!(statuses[..4], [200; 4], "what was not used went back");
    let full = post_as(at, path, key, &body);
    refused(&full, 429, "7 requests a minute");
    assert!(full.headers.contains("retry-after: "));
    server.stop();

    let bounds = Bounds { queue: 2, ..Bounds::default() };
    let server = server_with(ServeConfig { bounds, ..ServeConfig::default() }, plain());
    let at = server.address();
    let long = json!({"model": "embedded-small", "prompt": "x", "max_tokens": 1500, "temperature": 1.5, "regex": "[a-z ]{20000}"}).to_string();
    let long = head("POST", "/v1/completions", "Content-Type: application/json\r\n", long.len()) + &long;
    let busy: Vec<_> = (0..2)
        .map(|_| {
            let mut s = connect(at);
            s.write_all(long.as_bytes()).unwrap();
            s
        })
        .collect();
    until("both are decoded", || metric(at, "dxlab_sequences_active ") == 2.0);
    let full = post(at, path, &asked("A cyst."));
    refused(&full, 429, "come again");
    assert!(full.headers.contains("retry-after: 2"));
    drop(busy);
    until("there is room again", || post(at, path, &asked("A cyst.")).status == 200);
    server.stop();
}

#[test]
fn an_answer_that_takes_too_long_is_ended_and_a_stop_finishes_what_it_began() {
    let bounds = Bounds { answer: Duration::from_millis(300), ..Bounds::default() };
    let server = server_with(ServeConfig { bounds, ..ServeConfig::default() }, plain());
    let at = server.address();
    let long = |stream: bool, n: usize| json!({"model": "embedded-small", "prompt": "x", "max_tokens": n, "temperature": 1.5, "regex": "[a-z ]{20000}", "stream": stream});
    refused(&post(at, "/v1/completions", &long(false, 2000)), 503, "not answered within");
    let cut = post(at, "/v1/completions", &long(true, 2000));
    let last = cut.body.split("\n\n").filter(|p| !p.is_empty()).last().unwrap();
    assert!(cut.status == 200 && last.contains("time_limit"), "{last}");
    until("both have left", || metric(at, "dxlab_sequences_active ") == 0.0);
    server.stop();

    let server = self::server();
    let at = server.address();
    let mut begun = connect(at);
    let body = long(false, 300).to_string();
    begun
        .write_all(
            (head("POST", "/v1/completions", "Content-Type: application/json\r\n", body.len()) + &body).as_bytes(),
        )
        .unwrap();
    until("it is decoded", || metric(at, "dxlab_sequences_active ") > 0.0);
    let stopping = std::thread::spawn(move || server.stop());
    let answer = reply(&mut begun);
    assert_eq!((answer.status, answer.json()["usage"]["completion_tokens"].as_u64()), (200, Some(300)));
    stopping.join().unwrap();
    assert!(std::net::TcpStream::connect(at).is_err(), "nobody listens any more");
}

#[test]
fn a_diagnosis_has_probabilities_evidence_digests_and_doubts() {
    let config = FindingsConfig { samples: 6, abstain_below: Some(0.99), ..plain() };
    let server = server_with(ServeConfig::default(), config);
    let at = server.address();
    let text = "The gallbladder holds several stones. The left kidney shows a simple cyst. No free fluid.";
    let ask = json!({"text": text, "top": 5});
    let reply = post(at, "/v1/diagnose", &ask);
    let d = reply.json();
    assert_eq!((reply.status, &d["object"]), (200, &json!("diagnosis")), "{d}");
    let labels = d["labels"].as_array().unwrap();
    assert!(!labels.is_empty() && labels.len() <= 5);
    let p: Vec<f64> = labels.iter().map(|l| l["probability"].as_f64().unwrap()).collect();
    assert!(p.is_sorted_by(|a, b| a >= b) && p.iter().all(|p| *p > 0.0 && *p <= 1.0 && (p * 6.0).fract() < 1e-9));
    for evidence in labels.iter().map(|l| &l["evidence"]).filter(|e| !e.is_null()) {
        let (start, end) = (evidence["start"].as_u64().unwrap() as usize, evidence["end"].as_u64().unwrap() as usize);
        let sentence: String = text.chars().skip(start).take(end - start).collect();
        assert_eq!(evidence["text"], sentence);
    }
    assert!(labels.iter().any(|l| !l["evidence"].is_null()), "{d}");
    assert!(
        d["model"].as_str().unwrap().starts_with("embedded")
            && d["adapter"].as_str().unwrap().starts_with("lora-plain@")
    );
    assert!(
        d["prompt"].as_str().unwrap().starts_with("plain@") && d["task"].as_str().unwrap().starts_with("findings@")
    );
    assert_eq!(d["abstained"], d["confidence"].as_f64().unwrap() < 0.99);
    assert!(d["notice"].as_str().unwrap().contains("not a medical device"));
    assert_eq!(post(at, "/v1/diagnose", &ask).body, reply.body, "the same answer again");
    let mut streamed = ask.clone();
    streamed["stream"] = json!(true);
    let events = post(at, "/v1/diagnose", &streamed).events();
    assert_eq!(events.last(), Some(&d));
    assert!(
        events.iter().any(|e| e["object"] == "diagnosis.text")
            && events.iter().any(|e| e["object"] == "diagnosis.samples")
    );
    refused(&post(at, "/v1/diagnose", &json!({"text": " "})), 400, "`text` is empty");
    refused(&post(at, "/v1/diagnose", &json!({"text": "x", "task": "rare"})), 400, "no such task");
    refused(&post(at, "/v1/diagnose", &json!({"terms": ["HP:1"], "text": "x"})), 400, "HPO");
    refused(&post(at, "/v1/diagnose", &json!({"texts": "x"})), 400, "texts");
    server.stop();

    let config = FindingsConfig { samples: 0, ..plain() };
    let server = server_with(ServeConfig::default(), config);
    let d = post(server.address(), "/v1/diagnose", &json!({"text": text, "top": 1000})).json();
    let sum: f64 = d["labels"].as_array().unwrap().iter().map(|l| l["probability"].as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-6, "{sum}");
    server.stop();
}

#[test]
fn runs_lend_their_score_and_their_calibration_where_the_same_was_asked() {
    let run = |name: &str| Some(dxlab::home().join("runs").join(name));
    let store = tempfile::tempdir().unwrap();
    let validation = LabelTask::open("findings").unwrap().validation(0.1, 7).unwrap();
    let question = PredictConfig {
        name: "validation".into(),
        adapter: Some(adapter().folder),
        model: "embedded-small".into(),
        cases: Some(24),
        ..PredictConfig::zero_shot(&plain().prompt)
    };
    let calibration = Run::predict_on(&Store::open(Some(store.path())), &question, &validation).unwrap();
    let config = FindingsConfig {
        calibrated_on: Some(calibration.dir.clone()),
        measured: run("predict-lora-plain-3a5dc1637799"),
        samples: 2,
        ..plain()
    };
    let refused_run = |config: FindingsConfig| Findings::open(config).err().map(|e| e.to_string()).unwrap_or_default();
    let on_test = refused_run(FindingsConfig { calibrated_on: config.measured.clone(), ..config.clone() });
    assert!(on_test.contains("asked about the test cases") && on_test.contains("--part validation"), "{on_test}");
    let held = run("predict-lora-plain-held-0ad4b3f8cc24");
    let constrained = refused_run(FindingsConfig { measured: held, ..config.clone() });
    assert!(constrained.contains("`constrain` in its spec.json"), "{constrained}");
    let findings = Findings::open(config.clone()).unwrap();
    let served = Served::open("embedded-small", &[adapter()], Precision::F32, None).unwrap();
    assert!(findings.strangers(&served).is_empty(), "{:?}", findings.strangers(&served));
    let base_only = Served::open("embedded-small", &[], Precision::F32, None).unwrap();
    assert_eq!(findings.strangers(&base_only).len(), 2);
    let server = server_with(ServeConfig::default(), config);
    let text = json!({"text": "Several stones in the gallbladder."});
    let d = post(server.address(), "/v1/diagnose", &text).json();
    let estimate = &d["measured"]["estimate"];
    let [low, value, high] = ["low", "value", "high"].map(|name| estimate[name].as_f64().unwrap());
    assert!(0.0 < low && low < value && value < high && high < 1.0 && d["measured"]["metric"] == "micro_f1");
    assert!(d["confidence_is"].as_str().unwrap().contains("Platt") && d["threshold"] == 0.5);
    let mut base = text.clone();
    base["model"] = json!("embedded-small");
    let d = post(server.address(), "/v1/diagnose", &base).json();
    assert!(d["measured"].is_null() && d["threshold"].is_null(), "another model's numbers are not shown");
    server.stop();
}

#[test]
fn the_page_works_without_a_script_and_escapes_all_text() {
    let server = server_with(ServeConfig::default(), FindingsConfig { samples: 2, ..plain() });
    let at = server.address();
    let page = get(at, "/");
    assert!(page.headers.contains("content-type: text/html; charset=utf-8"));
    for wanted in ["<label for=\"text\"", "lang=\"en\"", "not a medical device", "aria-live", "method=\"post\""] {
        assert!(page.body.contains(wanted), "{wanted}");
    }
    assert!(!page.body.contains("{{") && !page.body.contains("style=") && !page.body.contains("onclick"));
    let example = get(at, "/?example").body;
    let filled = |page: &str| {
        page.split_once("<textarea")
            .unwrap()
            .1
            .split_once('>')
            .unwrap()
            .1
            .split_once("</textarea>")
            .unwrap()
            .0
            .to_string()
    };
    assert!(filled(&page.body).is_empty() && filled(&example).len() > 20);
    let send = |text: &str, more: &str| {
        let body: String = url_encoded(text);
        let body = format!("task=findings&model=tuned&text={body}");
        raw(
            at,
            (head("POST", "/", &format!("Content-Type: application/x-www-form-urlencoded\r\n{more}"), body.len())
                + &body)
                .as_bytes(),
        )
    };
    let hostile = "Stones in the gallbladder <script>alert('x')</script> \"& </textarea><img src=x onerror=alert(1)>. It's a cyst.";
    let answer = send(hostile, "");
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(!answer.body.contains("<script>alert") && !answer.body.contains("<img"), "{}", answer.body);
    for wanted in
        ["<meter", "<h2>Answer</h2>", "curl http://127.0.0.1/v1/diagnose", "lora-plain@", "value=\"tuned\" selected"]
    {
        assert!(answer.body.contains(wanted), "{wanted}: {}", answer.body);
    }
    let empty = send(" ", "");
    assert!(empty.status == 400 && empty.body.contains("role=\"alert\""));
    assert_eq!(send("A cyst.", "Sec-Fetch-Site: cross-site\r\n").status, 403);
    assert_eq!(send("A cyst.", "Sec-Fetch-Site: same-origin\r\n").status, 200);
    let kinds: BTreeMap<&str, &str> = [("/page.css", "text/css"), ("/page.js", "text/javascript")].into();
    for (path, kind) in kinds {
        assert!(get(at, path).headers.contains(&format!("content-type: {kind}; charset=utf-8")));
    }
    server.stop();
}

fn url_encoded(text: &str) -> String {
    text.bytes()
        .map(|b| if b.is_ascii_alphanumeric() { (b as char).to_string() } else { format!("%{b:02X}") })
        .collect()
}

#[test]
fn embeddings_are_those_of_the_encoder_in_either_encoding() {
    use base64::Engine;
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/encoder/embedder");
    let served = Served::open("embedded-small", &[], Precision::F32, Some(folder)).unwrap();
    let server = Server::start(ServeConfig { port: 0, ..ServeConfig::default() }, served, vec![]).unwrap();
    let at = server.address();
    let ask = |input: Value, more: Value| {
        let mut body = json!({"model": folder, "input": input});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        post(at, "/v1/embeddings", &body)
    };
    let vector = |value: &Value| -> Vec<f64> { serde_json::from_value(value.clone()).unwrap() };
    let both = ask(json!(["a cyst", "no cyst of the liver"]), json!({})).json();
    let alone = ask(json!("a cyst"), json!({})).json();
    assert_eq!(both["data"][0]["embedding"], alone["data"][0]["embedding"], "whatever stands beside it");
    assert_ne!(both["data"][0]["embedding"], both["data"][1]["embedding"]);
    let length: f64 = vector(&alone["data"][0]["embedding"]).iter().map(|v| v * v).sum();
    assert!((length - 1.0).abs() < 1e-5 && both["data"][1]["index"] == 1, "{length}");
    assert!(both["usage"]["prompt_tokens"].as_u64() > alone["usage"]["prompt_tokens"].as_u64());
    let packed = ask(json!("a cyst"), json!({"encoding_format": "base64"})).json();
    let bytes = packed["data"][0]["embedding"].as_str().unwrap();
    let bytes = base64::engine::general_purpose::STANDARD.decode(bytes).unwrap();
    let numbers = bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap()) as f64);
    let worst = numbers.zip(vector(&alone["data"][0]["embedding"])).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(worst < 1e-6, "{worst}");
    refused(&ask(json!([]), json!({})), 400, "1 to 256 texts");
    refused(&ask(json!(["a", ""]), json!({})), 400, "none empty");
    refused(&ask(json!("a"), json!({"dimensions": 3})), 400, "dimensions");
    refused(&ask(json!("a "), json!({"encoding_format": "hex"})), 400, "`float` or `base64`");
    refused(&ask(json!("cyst ".repeat(600)), json!({})), 400, "the encoder reads");
    refused(&post(at, "/v1/embeddings", &json!({"model": "embedded-small", "input": "a"})), 404, "embedded-small");
    server.stop();
}

/// References to references are followed by recursion: a short request must not overflow a stack, which would end the whole server.
#[test]
fn deep_grammars_are_answered_or_refused_and_the_server_lives() {
    let server = server();
    let at = server.address();
    let rules = |n: usize| -> String {
        let chain: String = (0..n).map(|i| format!("r{i}: r{}\n", i + 1)).collect();
        format!("start: r0\n{chain}r{n}: \"a\"\n")
    };
    let schema = |n: usize| {
        let mut defs: serde_json::Map<String, Value> =
            (0..n).map(|i| (format!("d{i}"), json!({"$ref": format!("#/$defs/d{}", i + 1)}))).collect();
        defs.insert(format!("d{n}"), json!({"type": "integer"}));
        json!({"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "#/$defs/d0", "$defs": defs}}})
    };
    let ask = |key: &str, value: Value| {
        let mut body = json!({"model": "tuned", "messages": [{"role": "user", "content": "a"}], "max_tokens": 2});
        body[key] = value;
        post(at, "/v1/chat/completions", &body)
    };
    for n in [600, 3000] {
        for reply in [ask("grammar", json!(rules(n))), ask("response_format", schema(n))] {
            assert!([200, 400].contains(&reply.status), "{n}: {} {}", reply.status, reply.body);
        }
    }
    refused(&ask("grammar", json!(rules(20_000))), 400, "expected at most 131072");
    refused(&ask("choices_count", json!("many")), 400, "`choices_count` is of `choices`");
    assert_eq!(get(at, "/health").status, 200);
    server.stop();
}

/// Half a body holds a connection, and no place in the queue; and a stop does not wait for it.
#[test]
fn half_requests_keep_nobody_out_and_a_stop_does_not_wait_for_them() {
    let bounds = Bounds { queue: 2, ..Bounds::default() };
    let server = server_with(ServeConfig { bounds, ..ServeConfig::default() }, plain());
    let at = server.address();
    let half = |text: String| {
        let mut stream = std::net::TcpStream::connect(at).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        stream
    };
    let start = head("POST", "/v1/completions", "Content-Type: application/json\r\n", 500) + "{";
    let _bodies: Vec<_> = (0..4).map(|_| half(start.clone())).collect();
    let _head = half("GET /hea".into());
    std::thread::sleep(std::time::Duration::from_millis(200));
    let whole = post(at, "/v1/completions", &json!({"model": "tuned", "prompt": "a", "max_tokens": 2}));
    assert_eq!(whole.status, 200, "{}", whole.body);
    let began = std::time::Instant::now();
    server.stop();
    let took = began.elapsed();
    assert!(took < std::time::Duration::from_secs(9), "{took:?}: less than the time that headers and bodies have");
}

#[test]
fn room_for_few_tokens_makes_requests_wait_and_not_fail() {
    let room = Room { sequences: 2, tokens: 60, kept: 0 };
    let server = server_with(ServeConfig { room, ..ServeConfig::default() }, plain());
    let at = server.address();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..20)
            .map(|i| {
                scope.spawn(move || {
                    post(
                        at,
                        "/v1/completions",
                        &json!({"model": "tuned", "prompt": [5, 6, i], "max_tokens": 30, "temperature": 0}),
                    )
                    .status
                })
            })
            .collect();
        assert!(threads.into_iter().all(|thread| thread.join().unwrap() == 200));
    });
    let larger = json!({"model": "tuned", "prompt": [5, 6, 7], "max_tokens": 30, "n": 2});
    refused(&post(at, "/v1/completions", &larger), 400, "more than the 60 that all caches may hold");
    server.stop();
}

/// The command, with its first line of output.
fn command(more: &[&str]) -> (std::process::Child, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_dxlab"));
    command.args(["serve", "--model", "embedded-small", "--port", "0"]).args(more).env_remove("DXLAB_SERVE_KEY");
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (mut line, mut byte) = (String::new(), [0]);
    while child.stdout.as_mut().unwrap().read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
        line.push(byte[0] as char);
    }
    (child, line)
}

#[test]
fn the_command_serves_until_it_is_told_to_end_and_logs_no_text() {
    let folder = adapter().folder;
    let (mut child, line) = command(&["--adapter", &format!("tuned={}", folder.display()), "--log", "--samples", "2"]);
    assert!(line.ends_with("serves embedded-small, tuned"), "{line}");
    let at = line.split("http://").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    let d = post(at, "/v1/diagnose", &json!({"text": "A secretword in the spleen."})).json();
    assert!(d["prompt"].as_str().unwrap().starts_with("plain@"), "the prompt of the adapter's training: {d}");
    assert_eq!(get(at, "/secretpath").status, 404);
    // SAFETY: a signal to a child that was not waited for.
    assert_eq!(unsafe { libc::kill(child.id() as i32, libc::SIGTERM) }, 0);
    assert!(child.wait().unwrap().success());
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(log.contains("/v1/diagnose 200 ") && log.contains("other 404 "), "{log}");
    assert!(!log.contains("secret"), "{log}");
}

#[test]
fn the_command_does_not_open_a_door_to_everybody_by_accident() {
    for (more, said) in [
        (vec!["--host", "0.0.0.0"], "others than this machine can ask"),
        (vec!["--allow-host", "dx.example"], "others than this machine can ask"),
        (vec!["--temperature=-1"], "temperature -1"),
        (vec!["--seconds", "18446744073709551615"], "86400"),
        (vec!["--abstain-below", "7"], "between 0 and 1"),
        (vec!["--samples", "99"], "at most --batch"),
        (vec!["--measured", "runs/no-such-run"], "no-such-run"),
        (vec!["--adapter", "embedded-small=runs/train-lora-plain-b87b53394481"], "two models are called"),
    ] {
        let (mut child, _) = command(&more);
        assert_eq!(child.wait().unwrap().code(), Some(2), "{more:?}");
        let mut error = String::new();
        child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
        assert!(error.contains(said), "{said}: {error}");
    }
}

#[test]
fn the_client_of_dxlab_hears_what_the_model_says_in_its_own_process() {
    let server = server();
    let task = LabelTask::open("findings").unwrap();
    let prompt = Prompt::named("plain", task.context()).unwrap();
    let cases: Vec<Case> = task.corpus.test[..6].iter().map(|one| one.case.clone()).collect();
    let local = Local::open("embedded-small", Some(&adapter().folder)).unwrap();
    let want = local.answer(&prompt, &cases, &mut |_| {}).unwrap();
    let config = EndpointConfig::new(&format!("http://{}/v1", server.address()));
    let folder = tempfile::tempdir().unwrap();
    let endpoint = Endpoint::with_key(&config, "tuned", local.max_new, folder.path(), None).unwrap();
    for (got, want) in endpoint.answer(&prompt, &cases, &mut |_| {}).unwrap().iter().zip(&want) {
        assert_eq!((&got.raw, got.prompt_tokens), (&want.raw, want.prompt_tokens));
        assert!((got.logprob.unwrap() - want.logprob.unwrap()).abs() < 1e-3, "{got:?} {want:?}");
    }
    server.stop();
}

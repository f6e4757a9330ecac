//! Models behind an endpoint: a server on this machine speaks the chat-completions protocol, well or badly. Findings and
//! answers are synthetic.
#![cfg(unix)]
mod cli;
mod server;

use dxlab::corpus::{Case, Example};
use dxlab::generate::{Answers, ClientConfig, Endpoint, EndpointConfig, Key, Usage};
use dxlab::prompt::{Prompt, PromptContext};
use dxlab::study::{PredictConfig, ask};
use dxlab::task::{AnyPrediction, LabelTask};
use serde_json::{Value, json};
use server::{Act, Server, answer, json_response};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

const KEY: &str = "sk-synthetic-0123456789abcdef";

fn cases(from: usize, to: usize) -> Vec<Example<Value>> {
    let case = |n: usize| {
        let (id, input) = (format!("case-{n}"), format!("Synthetic finding number {n}."));
        Example::new(&id, &id, input, json!([format!("Cyst {n}")]))
    };
    (from..to).map(case).collect()
}

fn task() -> LabelTask {
    LabelTask::without_corpus().unwrap()
}

fn prompt() -> Prompt {
    Prompt::named("ask", &PromptContext::default()).unwrap()
}

fn config(server: &Server) -> EndpointConfig {
    let client = ClientConfig { retry_base: 0.001, timeout: 20.0, ..ClientConfig::default() };
    EndpointConfig { client, ..EndpointConfig::new(&server.url) }
}

fn open(config: &EndpointConfig, folder: &Path) -> Endpoint {
    Endpoint::with_key(config, "m", 8, folder, None).unwrap()
}

/// Answers to questions `from` to `to`, and what they took.
fn asked(config: &EndpointConfig, folder: &Path, from: usize, to: usize) -> (dxlab::Result<Vec<AnyPrediction>>, Usage) {
    let endpoint = open(config, folder);
    let predictions = ask(&endpoint, &prompt(), &task(), &cases(from, to));
    let usage = endpoint.usage();
    (predictions, usage)
}

/// A number that follows from two others (SplitMix64).
fn dice(n: usize, time: usize) -> u64 {
    let mut z = (n as u64 * 16 + time as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x5851_f42d_4c95_7f2d);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A body with a fine status that is no answer, as servers have been seen to send it.
fn not_an_answer(draw: u64) -> Act {
    let (some, none) =
        (json!({"prompt_tokens": 40, "completion_tokens": 6}), json!({"prompt_tokens": 40, "completion_tokens": 0}));
    let half = json!({"content": "Cyst 0, half"});
    let choice = |message: &Value, finish: Value| json!({"index": 0, "message": message, "finish_reason": finish});
    let failed =
        json!({"index": 0, "message": half, "finish_reason": "error", "error": {"code": 502, "message": "upstream"}});
    let null = json!({"role": "assistant", "content": null});
    let bodies = [
        json!({"choices": [failed], "usage": some}),
        json!({"choices": [choice(&half, json!("error"))], "usage": some}),
        json!({"choices": [choice(&half, json!("abort"))], "usage": some}),
        json!({"choices": [choice(&half, json!(""))], "usage": some}),
        json!({"choices": [choice(&half, Value::Null)], "usage": some}),
        json!({"choices": [choice(&null, json!("stop"))], "usage": none}),
        json!({"choices": [choice(&json!({"content": ""}), json!("stop"))], "usage": none}),
        json!({"choices": [{"index": 1, "message": half, "finish_reason": "stop"}], "usage": some}),
        json!({"choices": null, "error": {"message": "overloaded"}}),
        json!({"choices": [choice(&half, json!("stop"))], "error": {"message": "gone while writing"}}),
        json!({"object": "error", "message": "overloaded", "code": 500}),
        json!({"choices": []}),
    ];
    match bodies.get(draw as usize % (bodies.len() + 2)) {
        Some(body) => Act::Raw(json_response(&body.to_string())),
        // ollama#4357: a stream that breaks, each chunk with an empty finish_reason
        None => {
            let event = json!({"choices": [{"index": 0, "delta": {"content": "Cyst 0, ha"}, "finish_reason": ""}]});
            let text = format!("data: {event}\n\ndata: {event}\n\n");
            let length = text.len();
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {length}\r\n\r\n");
            Act::Raw(head + &text)
        }
    }
}

/// Every third try goes wrong, the fourth never.
fn misbehave(n: usize, time: usize) -> Act {
    let (draw, overloaded) = (dice(n, time), || r#"{"error":{"message":"overloaded"}}"#.to_string());
    if time > 3 || draw % 3 != 0 {
        return Act::Answer;
    }
    match draw / 3 % 140 {
        0..10 => Act::Status(429, "Retry-After: 0\r\n", overloaded()),
        10..20 => Act::Status(429, "retry-after-ms: 3\r\n", overloaded()),
        20..30 => Act::Status(429, "Retry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n", String::new()),
        30..37 => Act::Status(500, "", overloaded()),
        37..40 => Act::Status(504, "", "<html>Gateway time-out</html>".into()),
        40..45 => Act::Status(503, "", "<html>Service unavailable</html>".into()),
        45..48 => Act::Status(408, "", String::new()),
        48..60 => Act::Cut,
        60..68 => Act::Raw(json_response("{\"choices\":[{\"message\"")),
        68..76 => Act::Raw("HTTP/1.1 OK, more or less\r\n\r\n".into()),
        76..87 => Act::Reset,
        87..139 => not_an_answer(draw / 420),
        _ => Act::Slow(Duration::from_millis(2500)),
    }
}

/// The answer in all the forms that servers give it.
fn in_every_form(n: usize) -> Value {
    let mut choice = answer(n);
    let (other_form, decoy, typed) = (n.is_multiple_of(11), n.is_multiple_of(5), !n.is_multiple_of(17));
    (choice["other_form"], choice["decoy"], choice["typed"]) = (json!(other_form), json!(decoy), json!(typed));
    if n.is_multiple_of(7) {
        choice["message"]["content"] =
            json!([{"type": "text", "text": format!("Cyst {n}, ")}, {"type": "text", "text": "Synthetic cyst"}]);
    }
    if n.is_multiple_of(3) {
        (choice["message"]["tool_calls"], choice["content_filter_results"]) = (Value::Null, json!({"odd": [1, null]}));
    }
    choice
}

/// All files of a folder in one text.
fn read_all(folder: &Path) -> String {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| std::fs::read_to_string(path).unwrap()).collect()
}

/// The server had the question and may have worked on it: it did not turn it away.
fn may_be_billed(act: &Act) -> bool {
    !matches!(act, Act::Status(429 | 503, ..) | Act::Answer)
}

#[test]
fn a_thousand_questions_to_a_server_that_misbehaves_are_each_answered_once() {
    for stream in [false, true] {
        let (server, folder) = (Server::scripted(misbehave, in_every_form), tempfile::tempdir().unwrap());
        let mut config = config(&server);
        config.client = ClientConfig { stream, concurrency: 16, timeout: 2.0, ..config.client };
        let (predictions, usage) = asked(&config, folder.path(), 0, 1000);
        let predictions = predictions.unwrap();
        assert_eq!(predictions.len(), 1000);
        for (n, prediction) in predictions.iter().enumerate() {
            assert_eq!(prediction.raw, format!("Cyst {n}, Synthetic cyst"));
            assert_eq!(prediction.answer, json!([format!("Cyst {n}"), "Synthetic cyst"]));
            assert_eq!((prediction.logprob, prediction.prompt_tokens, prediction.new_tokens), (Some(-0.75), 40, 6));
            assert!(prediction.seconds > 0.0 && prediction.model.starts_with("m@127.0.0.1:"));
        }
        let faults = |n: usize| (1..).map(move |time| misbehave(n, time)).take_while(|act| !matches!(act, Act::Answer));
        let lost: usize = (0..1000).map(|n| faults(n).filter(may_be_billed).count()).sum();
        let journal = read_all(folder.path());
        assert_eq!(journal.matches("\"answer\"").count(), 1000, "none is kept that is no answer");
        assert!(!journal.contains("half") && !journal.contains("another choice"));
        let log = server.log.lock().unwrap();
        assert!(log.answered.len() == 1000 && log.answered.values().all(|&times| times == 1), "{:?}", log.answered);
        for n in 0..1000 {
            assert_eq!(log.asked[&n], 1 + faults(n).count(), "question {n} is asked until it is answered");
        }
        assert!((2..=16).contains(&log.most_in_flight), "{} in flight", log.most_in_flight);
        let tries: usize = log.asked.values().sum();
        assert!(tries > 1300, "{tries} tries: too few faults to mean anything");
        assert_eq!(usage.retries.values().sum::<usize>(), tries - 1000);
        assert_eq!(
            (usage.lost_tries, usage.answered, usage.tokens.prompt, usage.tokens.new),
            (lost, 1000, 40_000, 6000)
        );
        assert_eq!(usage.finish, BTreeMap::from([("stop".to_string(), 1000)]));
        drop(log);
        // The other way to send answers has the same journal.
        config.client.stream = !stream;
        let (again, usage) = asked(&config, folder.path(), 0, 1000);
        assert!(again.unwrap() == predictions && usage.kept_before == 1000 && usage.retries.is_empty());
        assert_eq!(server.asked(), tries, "nothing is asked twice");
    }
}

#[test]
fn never_more_requests_in_flight_than_allowed() {
    for limit in [1, 3] {
        let (server, folder) = (Server::start(|_, _| Act::Answer), tempfile::tempdir().unwrap());
        let mut config = config(&server);
        config.client.concurrency = limit;
        asked(&config, folder.path(), 0, 60).0.unwrap();
        assert!(server.log.lock().unwrap().most_in_flight <= limit);
    }
}

#[test]
fn the_pause_that_a_server_asks_for_is_kept() {
    let busy = |_, time| if time == 1 { Act::Status(429, "Retry-After: 1\r\n", String::new()) } else { Act::Answer };
    let (server, folder) = (Server::start(busy), tempfile::tempdir().unwrap());
    asked(&config(&server), folder.path(), 0, 1).0.unwrap();
    let times = server.log.lock().unwrap().times.clone();
    assert!(times.len() == 2 && times[1] - times[0] >= Duration::from_secs(1));
}

#[test]
fn what_will_not_pass_is_said_at_once_and_the_rest_after_the_last_try() {
    let status = |code, headers, body: &str| Act::Status(code, headers, body.into());
    let page = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 15\r\n\r\n<html>Hi</html>";
    let quota = r#"{"error":{"message":"You exceeded your quota","code":"insufficient_quota"}}"#;
    let rows = [
        (status(404, "", r#"{"error":{"message":"not found"}}"#), 2, 1, "no model `m`"),
        (status(400, "", r#"{"message":"context is 10 tokens"}"#), 2, 1, "context is 10 tokens"),
        (status(422, "", r#"{"detail":[{"msg":"seed is unknown"}]}"#), 2, 1, "seed is unknown"),
        (status(401, "", "{}"), 2, 1, "DXLAB_API_KEY"),
        (
            status(307, "Location: https://elsewhere.example/v1?key=1\r\n", ""),
            2,
            1,
            "sends us to https://elsewhere.example/v1;",
        ),
        (status(429, "", quota), 2, 1, "You exceeded your quota"),
        (status(429, "Retry-After: 9999\r\n", ""), 1, 1, "longer than 300 s"),
        (Act::Raw(page.into()), 2, 1, "web page"),
        (status(500, "", "<html><b>Out of</b> memory</html>"), 1, 2, "Out of memory"),
        (Act::Raw(json_response("{\"a\"")), 1, 2, "not the JSON of a chat completion"),
        (Act::Raw(json_response("{\"choices\": []}")), 1, 2, "no choices"),
        (Act::Raw(json_response(r#"{"error": {"message": "CUDA is gone"}}"#)), 1, 2, "CUDA is gone"),
        (Act::Cut, 1, 2, "connection was lost"),
        (Act::Reset, 1, 2, "connection was lost"),
        (Act::Slow(Duration::from_millis(900)), 1, 2, "no whole answer in 0.3 s"),
    ];
    for (act, exit, tries, wanted) in rows {
        let (always, folder) = (act.clone(), tempfile::tempdir().unwrap());
        let server = Server::start(move |n, _| if n == 0 { Act::Answer } else { always.clone() });
        let mut config = config(&server);
        config.client = ClientConfig { tries: 2, concurrency: 1, timeout: 0.3, ..config.client };
        let error = asked(&config, folder.path(), 0, 3).0.unwrap_err();
        let text = error.to_string();
        assert!(error.exit_code() == exit && text.contains(wanted) && text.contains("case-1"), "{act:?}: {text}");
        assert!(text.contains("1 of 3 cases are answered and kept"), "{text}");
        let log = server.log.lock().unwrap();
        assert_eq!((log.asked[&1], log.asked.get(&2)), (tries, None), "{act:?}");
    }
}

#[test]
fn a_cut_stream_is_asked_again() {
    let cut = |_, time| if time < 3 { Act::Cut } else { Act::Answer };
    let (server, folder) = (Server::start(cut), tempfile::tempdir().unwrap());
    let mut config = config(&server);
    config.client.stream = true;
    let (predictions, usage) = asked(&config, folder.path(), 0, 3);
    assert_eq!(predictions.unwrap()[2].raw, "Cyst 2, Synthetic cyst");
    assert_eq!((server.asked(), usage.lost_tries), (9, 6));
}

#[test]
fn an_answer_that_is_whole_is_kept_though_the_stream_breaks_after_it() {
    let (server, folder) = (Server::start(|_, _| Act::CutBefore("completion_tokens")), tempfile::tempdir().unwrap());
    let mut config = config(&server);
    config.client.stream = true;
    let (predictions, usage) = asked(&config, folder.path(), 100, 103);
    let predictions = predictions.unwrap();
    assert_eq!((predictions[2].raw.as_str(), predictions[2].logprob), ("Cyst 102, Synthetic cyst", Some(-0.75)));
    assert_eq!((server.asked(), usage.lost_tries, usage.answers_without_count), (3, 0, 3));
    let tokens = usage.tokens;
    assert!(tokens.prompt > 3 * 256 && tokens.new == 3 * 8, "the worst case stands for what was not said: {tokens:?}");
}

#[test]
fn a_server_that_is_not_there_is_said_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap(); // dropped: nobody listens there
    let config = EndpointConfig::new(&format!("http://{closed}"));
    let (result, usage) = asked(&config, folder.path(), 0, 3);
    let error = result.unwrap_err();
    assert!(error.exit_code() == 1 && error.to_string().contains("connection refused"), "{error}");
    assert!(error.to_string().contains("no case is answered yet") && usage.retries.is_empty());
}

#[test]
fn reasoning_refusals_and_odd_ends_are_kept_and_counted() {
    let script = |n: usize| match n {
        0 => {
            serde_json::json!({"message": {"content": "<think>\nA cyst?\n</think>\n\nCyst 0"}, "finish_reason": "stop"})
        }
        1 => {
            serde_json::json!({"message": {"content": "Cyst 1", "reasoning_content": "Hm."}, "finish_reason": "stop"})
        }
        2 => serde_json::json!({"message": {"content": "<think>never en"}, "finish_reason": "length"}),
        3 => serde_json::json!({"message": {"content": ""}, "finish_reason": "content_filter"}),
        4 => serde_json::json!({"message": {"content": null, "refusal": "I cannot"}, "finish_reason": "stop"}),
        _ => answer(n),
    };
    let filtered = r#"{"error":{"message":"filtered","code":"content_filter"}}"#;
    let act = move |n, _| if n == 5 { Act::Status(400, "", filtered.into()) } else { Act::Answer };
    let (server, folder) = (Server::scripted(act, script), tempfile::tempdir().unwrap());
    let (predictions, usage) = asked(&config(&server), folder.path(), 0, 7);
    let raw: Vec<String> = predictions.unwrap().into_iter().map(|p| p.raw).collect();
    assert_eq!(raw, ["Cyst 0", "Cyst 1", "", "", "I cannot", "", "Cyst 6, Synthetic cyst"]);
    let finish = [("content_filter", 2), ("length", 1), ("stop", 4)].map(|(k, n)| (k.to_string(), n));
    assert_eq!((usage.finish, usage.with_reasoning), (BTreeMap::from(finish), 3));
    assert_eq!(server.log.lock().unwrap().asked.values().sum::<usize>(), 7, "each is an answer: none is asked again");
}

#[test]
fn cases_with_the_same_text_share_an_answer() {
    let (server, folder) = (Server::start(|_, _| Act::Answer), tempfile::tempdir().unwrap());
    let twice: Vec<Case> = [cases(0, 3), cases(0, 3)].concat().into_iter().map(|one| one.case).collect();
    let (mut heard, endpoint) = (Vec::new(), open(&config(&server), folder.path()));
    let answers = endpoint.answer(&prompt(), &twice, &mut |done| heard.push(done)).unwrap();
    assert_eq!((server.asked(), answers[0].raw == answers[3].raw, heard.last()), (3, true, Some(&6)));
    assert_eq!((endpoint.usage().cases, endpoint.usage().questions, endpoint.replies().len()), (6, 3, 6));
}

/// A question's worst case is 27 bytes, 16 for its turn, 256 for the template and 8 new tokens, 307; an answer takes 46.
#[test]
fn the_budget_stops_in_time_and_a_higher_one_goes_on() {
    let (server, folder) = (Server::start(|_, _| Act::Answer), tempfile::tempdir().unwrap());
    let mut config = config(&server);
    let (budget, price) = (Some(1000e-6), Some(1.0));
    config.client = ClientConfig { concurrency: 8, budget, price_in: price, price_out: price, ..config.client };
    let (result, usage) = asked(&config, folder.path(), 100, 140);
    let error = result.unwrap_err();
    assert!(error.exit_code() == 1 && error.to_string().contains("16 of 40 cases are answered and kept"), "{error}");
    assert!(error.to_string().contains("0.000736 of 0.001 USD are used"), "{error}");
    assert_eq!((server.asked(), usage.answered), (16, 16), "15 · 46 + 307 ≤ 1000 < 16 · 46 + 307");
    let (result, usage) = asked(&config, folder.path(), 100, 140);
    assert!(result.is_err() && server.asked() == 16 && usage.kept_before == 16, "the same budget buys nothing more");
    config.client.budget = Some(1.0);
    let (result, usage) = asked(&config, folder.path(), 100, 140);
    assert_eq!((result.unwrap().len(), server.asked(), usage.kept_before), (40, 40, 16));
    assert!((usage.cost_usd.unwrap() - 40.0 * 46e-6).abs() < 1e-12);
}

#[test]
fn tries_that_may_be_billed_count_against_the_budget() {
    let (server, folder) = (Server::start(|_, _| Act::Cut), tempfile::tempdir().unwrap());
    let mut config = config(&server);
    let (budget, price) = (Some(1000e-6), Some(1.0));
    config.client =
        ClientConfig { concurrency: 8, tries: 100, budget, price_in: price, price_out: price, ..config.client };
    let (result, usage) = asked(&config, folder.path(), 100, 140);
    assert!(result.unwrap_err().to_string().contains("the budget ends here"));
    assert_eq!((server.asked(), usage.lost_tries), (3, 3), "3 · 307 ≤ 1000 < 4 · 307");
    assert_eq!(asked(&config, folder.path(), 100, 140).1.lost_tries, 3, "also when it starts again");
    assert_eq!(server.asked(), 3);
}

#[test]
fn an_error_after_the_question_was_taken_counts_against_the_budget_and_a_refusal_does_not() {
    let rows = [(408, 1), (409, 0), (429, 0), (500, 1), (502, 1), (503, 0), (504, 1), (529, 1)];
    for (status, lost) in rows {
        let once = move |_, time| if time == 1 { Act::Status(status, "", String::new()) } else { Act::Answer };
        let (server, folder) = (Server::start(once), tempfile::tempdir().unwrap());
        let (result, usage) = asked(&config(&server), folder.path(), 100, 101);
        assert!(result.is_ok() && server.asked() == 2, "{status}");
        assert_eq!((usage.lost_tries, usage.lost_tokens_at_most.new), (lost, 8 * lost as u64), "{status}");
    }
}

#[test]
fn an_endpoint_is_part_of_what_a_run_is_and_local_runs_are_what_they_were() {
    let local = serde_json::to_string(&PredictConfig::zero_shot("plain")).unwrap();
    assert!(!local.contains("endpoint"), "{local}");
    let config = PredictConfig {
        model: "org/Model".into(),
        endpoint: Some(EndpointConfig::new("http://localhost:8000")),
        ..PredictConfig::zero_shot("plain")
    };
    let text = toml::to_string(&config).unwrap();
    assert_eq!(toml::from_str::<PredictConfig>(&text).unwrap(), config);
    let endpoint = config.endpoint.unwrap();
    assert_eq!(endpoint.id("org/Model").unwrap(), "org/Model@localhost:8000");
    let mut other = endpoint.clone();
    (other.client.concurrency, other.client.stream, other.client.budget) = (99, true, Some(1.0));
    assert_eq!(endpoint.spec("m", 8).unwrap(), other.spec("m", 8).unwrap(), "client are no part of it");
    other.temperature = 0.5;
    assert_ne!(endpoint.spec("m", 8).unwrap(), other.spec("m", 8).unwrap());
}

#[test]
fn a_question_that_holds_the_key_is_not_asked() {
    let (server, folder) = (Server::start(|_, _| Act::Answer), tempfile::tempdir().unwrap());
    let key = Some(Key::new(KEY).unwrap());
    let endpoint = Endpoint::with_key(&config(&server), "m", 8, folder.path(), key).unwrap();
    let mut leaky = cases(0, 1);
    leaky[0].input += KEY;
    let error = ask(&endpoint, &prompt(), &task(), &leaky).unwrap_err();
    assert!(error.exit_code() == 2 && !error.to_string().contains(KEY) && server.asked() == 0, "{error}");
}

#[test]
fn an_incomplete_answer_is_an_error_in_the_servers_own_words_after_the_last_try() {
    let choice = |message: Value, finish: &str, more: Value| {
        let mut choice = json!({"index": 0, "message": message, "finish_reason": finish});
        choice.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 0}})
    };
    let rows = [
        (
            choice(json!({"content": "half"}), "error", json!({"error": {"message": "upstream is gone"}})),
            "upstream is gone",
            2,
        ),
        (choice(json!({"content": "half"}), "abort", json!({})), "finish_reason `abort`", 2),
        (choice(json!({"content": "half"}), "", json!({})), "no finish_reason", 2),
        (choice(json!({"content": null}), "stop", json!({})), "no text, no reasoning and no new token", 2),
        (choice(json!({"content": [{"type": "audio"}]}), "stop", json!({})), "not text: `audio`", 2),
        (json!({"object": "error", "message": "CUDA is gone", "code": 500}), "CUDA is gone", 2),
        (json!({"choices": null, "error": {"message": "CUDA is gone"}}), "CUDA is gone", 2),
        (choice(json!({"content": null, "tool_calls": [{"id": "1"}]}), "tool_calls", json!({})), "called a tool", 1),
    ];
    for (body, wanted, tries) in rows {
        for stream in [false, true] {
            let (text, folder) = (body.to_string(), tempfile::tempdir().unwrap());
            let server = Server::start(move |_, _| Act::Raw(json_response(&text)));
            let mut config = config(&server);
            config.client = ClientConfig { tries: 2, stream, ..config.client };
            let error = asked(&config, folder.path(), 0, 1).0.unwrap_err().to_string();
            assert!(error.contains(wanted) && server.asked() == tries, "{body}: {error}");
            assert!(!read_all(folder.path()).contains("\"answer\""), "never kept: {body}");
        }
    }
}

#[test]
fn answers_of_no_use_in_a_row_stop_the_run_which_says_what_to_change() {
    let reasoning = |_| json!({"message": {"content": null, "reasoning_content": "Hm."}, "finish_reason": "length"});
    let empty = |_| json!({"message": {"content": ""}, "finish_reason": "stop"});
    let cut = |n| json!({"message": {"content": format!("Cyst {n}")}, "finish_reason": "length"});
    let check = |script: fn(usize) -> Value, kind: &str, wanted: &str| {
        let (server, folder) = (Server::scripted(|_, _| Act::Answer, script), tempfile::tempdir().unwrap());
        let mut config = config(&server);
        config.client.concurrency = 1;
        let error = asked(&config, folder.path(), 0, 50).0.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&format!("last 20 answers in a row are of no use: 20 {kind}")), "{text}");
        assert!(text.contains(wanted) && text.contains("20 of 50 cases are answered and kept"), "{text}");
        assert_eq!((server.asked(), error.exit_code()), (20, 1));
        let again = asked(&config, folder.path(), 0, 50).0.unwrap_err().to_string();
        assert!(again == text && server.asked() == 20, "the same command does not go on: {again}");
        config.client.max_incomplete = 0;
        let (predictions, usage) = asked(&config, folder.path(), 0, 50);
        assert_eq!((predictions.unwrap().len(), server.asked()), (50, 50), "unless it is told to");
        [usage.only_reasoning, usage.empty, usage.cut]
    };
    assert_eq!(check(reasoning, "only reasoning", "--thinking off"), [50, 0, 0]);
    assert_eq!(check(empty, "empty", "chat template"), [0, 50, 0]);
    assert_eq!(check(cut, "cut at the limit on new tokens", "raise --max-new"), [0, 0, 50]);
    // one that is of use breaks the row
    let mixed = move |n: usize| if n % 20 == 19 { answer(n) } else { cut(n) };
    let (server, folder) = (Server::scripted(|_, _| Act::Answer, mixed), tempfile::tempdir().unwrap());
    let mut config = config(&server);
    config.client.concurrency = 1;
    assert_eq!(asked(&config, folder.path(), 0, 60).1.cut, 57);
}

#[test]
fn without_a_count_the_worst_case_stands_under_a_budget() {
    let uncounted = |n: usize| {
        let mut choice = answer(n);
        choice["no_usage"] = json!(true);
        choice
    };
    for stream in [false, true] {
        let (server, folder) = (Server::scripted(|_, _| Act::Answer, uncounted), tempfile::tempdir().unwrap());
        let mut config = config(&server);
        let (budget, price) = (Some(1000e-6), Some(1.0));
        config.client = ClientConfig { stream, budget, price_in: price, price_out: price, ..config.client };
        let (result, usage) = asked(&config, folder.path(), 100, 140);
        assert!(result.unwrap_err().to_string().contains("the budget ends here"));
        assert_eq!(
            (server.asked(), usage.answered, usage.answers_without_count),
            (3, 3, 3),
            "3 · 307 ≤ 1000 < 4 · 307"
        );
    }
}

#[test]
fn an_incomplete_reply_of_an_earlier_version_is_asked_again_and_was_paid_for() {
    let (server, folder) = (Server::start(|_, _| Act::Answer), tempfile::tempdir().unwrap());
    asked(&config(&server), folder.path(), 0, 3).0.unwrap();
    let path = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|e| e.unwrap().path())
        .find(|p| p.extension().unwrap() == "jsonl");
    let (path, text) = (path.clone().unwrap(), std::fs::read_to_string(path.unwrap()).unwrap());
    let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    lines[0]["answer"]["reply"]["finish"] = json!("error");
    lines[1]["answer"]["reply"]["finish"] = Value::Null;
    lines[1]["answer"]["reply"]["usage"] = Value::Null;
    std::fs::write(&path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    let (predictions, usage) = asked(&config(&server), folder.path(), 0, 3);
    assert!(predictions.unwrap().iter().all(|p| p.raw.ends_with("Synthetic cyst")));
    assert_eq!((server.asked(), usage.kept_before, usage.lost_tries), (5, 1, 2));
    assert!(
        usage.lost_tokens_at_most.prompt > 40 + 256,
        "the count of the one, the worst case of the other: {usage:?}"
    );
}

#[test]
fn a_key_does_not_follow_a_redirect() {
    for to_name in [false, true] {
        let (other, folder) = (Server::start(|_, _| Act::Answer), tempfile::tempdir().unwrap());
        let url = if to_name { other.url.replace("127.0.0.1", "localhost") } else { other.url.clone() };
        let to: &'static str =
            format!("Location: {}/chat/completions?{KEY}\r\n", url.replace("//", "//user:hunter2@")).leak();
        for status in [301, 302, 303, 307, 308] {
            let server = Server::start(move |_, _| Act::Status(status, to, String::new()));
            let key = Some(Key::new(KEY).unwrap());
            let endpoint = Endpoint::with_key(&config(&server), "m", 8, folder.path(), key).unwrap();
            let error = ask(&endpoint, &prompt(), &task(), &cases(0, 1)).unwrap_err();
            let text = error.to_string();
            assert!(error.exit_code() == 2 && text.contains("sends us to") && text.contains(&url[7..]), "{text}");
            assert!(!text.contains(KEY) && !text.contains("hunter2"), "{text}");
            assert!(server.log.lock().unwrap().authorization.iter().all(Option::is_some));
        }
        assert!(other.asked() == 0 && other.log.lock().unwrap().authorization.is_empty());
    }
}

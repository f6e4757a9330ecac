use super::draft::Token;
use super::*;
use serde_json::json;
use std::io::Read as _;

const WHOLE: &str = r#"{"model":"m","system_fingerprint":"fp_1","choices":[{"index":0,"message":{"role":"assistant",
    "content":"Renal cyst","reasoning_content":"Hm."},"finish_reason":"stop","logprobs":{"content":[
    {"token":"Renal","logprob":-0.5},{"token":" cyst","logprob":-0.25},{"token":"<|im_end|>","logprob":-0.125}]}}],
    "usage":{"prompt_tokens":30,"completion_tokens":3,"total_tokens":33}}"#;

fn whole() -> Reply {
    Reply {
        content: "Renal cyst".into(),
        reasoning: Some("Hm.".into()),
        finish: Some("stop".into()),
        logprob: Some(-0.875),
        usage: Some(Tokens { prompt: 30, new: 3 }),
        served: Some("m fp_1".into()),
    }
}

fn events() -> Vec<String> {
    let delta = |content: &str, logprobs: &[(&str, f64)]| {
        let tokens: Vec<_> = logprobs.iter().map(|(token, l)| json!({"token": token, "logprob": l})).collect();
        json!({"model": "m", "system_fingerprint": "fp_1", "choices": [{"delta": {"content": content}, "logprobs": {"content": tokens}, "finish_reason": null}]})
    };
    vec![
        ": keep-alive\n\n".into(),
        format!(
            "event: chunk\ndata: {}\n\n",
            json!({"choices": [{"delta": {"role": "assistant", "content": null, "reasoning_content": "Hm."}}]})
        ),
        format!("data: {}\r\n\r\n", delta("Renal", &[("Renal", -0.5)])),
        format!("data:{}\n\n", delta(" cyst", &[(" cyst", -0.25), ("<|im_end|>", -0.125)])),
        format!("data: {}\n\n", json!({"choices": [{"delta": {}, "finish_reason": "stop"}]})),
        format!("data: {}\n\n", json!({"choices": [], "usage": {"prompt_tokens": 30, "completion_tokens": 3}})),
        "data: [DONE]\n\n".into(),
    ]
}

#[test]
fn a_body_and_a_stream_of_the_same_answer_are_the_same() {
    assert_eq!(Reply::of_body(WHOLE).unwrap(), whole());
    assert_eq!(Reply::of_events(events().concat().as_bytes()).unwrap(), whole());
}

#[test]
fn a_stream_cut_before_its_finish_reason_is_noticed_and_after_it_only_the_count_is_missing() {
    let all = events().concat();
    let finished = events()[..5].concat().trim_end().len();
    let counted = events()[..6].concat().trim_end().len();
    let lost = || std::io::BufReader::new(Lost); // the connection breaks, or just ends
    for end in 0..=all.len() {
        let begun = &all.as_bytes()[..end];
        for read in [Reply::of_events(begun), Reply::of_events(begun.chain(lost()))] {
            if end < finished {
                assert!(read.is_err(), "cut at {end}");
            } else if end < counted {
                assert_eq!(read.unwrap(), Reply { usage: None, ..whole() }, "cut at {end}");
            } else {
                assert_eq!(read.unwrap().content, whole().content, "cut at {end}");
            }
        }
    }
    assert_eq!(Reply::of_events(events()[..6].concat().as_bytes()).unwrap(), whole(), "the answer itself is whole");
}

struct Lost;

impl std::io::Read for Lost {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::ConnectionReset.into())
    }
}

#[test]
fn tokens_of_reasoning_are_no_part_of_the_answers_log_probability() {
    let listed = |tokens: &[&str]| -> Vec<Token> {
        tokens.iter().map(|token| Token { token: Some(token.to_string()), logprob: Some(-1.0) }).collect()
    };
    let logprob = |content: &str, reasoning: Option<&str>, tokens: &[&str]| {
        let reply = Reply { content: content.into(), reasoning: reasoning.map(String::from), ..Reply::default() };
        Draft {
            reply: Reply { finish: Some("stop".into()), ..reply },
            content: true,
            tokens: listed(tokens),
            ..Draft::default()
        }
        .finish()
        .unwrap()
        .logprob
    };
    let (answer, hm) = ("Renal cyst", Some("Hm, a Renal cyst."));
    let thought = ["<think>", "Hm", ", a Renal cyst", ".", "</think>"];
    let said = ["\n\n", "Renal", " cyst", "<|im_end|>"];
    let all = [&thought[..], &said].concat();
    assert_eq!(logprob(answer, hm, &all), Some(-4.0), "vLLM lists all tokens");
    assert_eq!(logprob(&all[..8].concat(), None, &all), Some(-4.0), "reasoning in the message");
    assert_eq!(logprob(answer, hm, &said[1..]), Some(-3.0), "DeepSeek lists the answer's");
    let without_end = [&thought[1..4], &said[1..]].concat();
    assert_eq!(logprob(answer, hm, &without_end), Some(-3.0), "a stream that keeps `</think>` to itself");
    assert_eq!(logprob(answer, hm, &["Hm.", " Renal", " cyst"]), Some(-2.0), "with the space before");
    assert_eq!(logprob(answer, hm, &["", "", ""]), None, "tokens without a text");
    assert_eq!(logprob("", hm, &thought[..3]), None, "cut while it thought");
    assert_eq!(logprob("", hm, &thought), None, "nothing follows");
    assert_eq!(logprob(answer, None, &["", ""]), Some(-2.0), "without reasoning every token counts");
    assert_eq!(logprob(answer, None, &["<think>", "</think>", answer]), Some(-1.0), "an empty think block");
    assert_eq!(logprob(answer, hm, &["Hm</th", "ink>\n", answer]), Some(-1.0), "`</think>` in pieces");
}

#[test]
fn what_is_no_answer_says_why() {
    let flaw = |text: &str| Reply::of_body(text).unwrap_err();
    assert!(matches!(flaw("{\"choices\":[{"), InvalidReply::NotJson(_)));
    assert!(matches!(flaw("<html>"), InvalidReply::NotJson(_)));
    assert!(matches!(flaw("{\"choices\":[]}"), InvalidReply::NoChoices(_)));
    assert!(matches!(flaw("{}"), InvalidReply::NoChoices(_)));
    assert!(matches!(Reply::of_events(&b"data: [DONE]\n\n"[..]).unwrap_err(), InvalidReply::NoChoices(_)));
}

/// A choice with this message and finish_reason, and the count of its tokens.
fn body(message: Value, finish: Value, usage: Value) -> Value {
    json!({"choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": usage})
}

/// The same as one chunk of a stream, as the last before `[DONE]`.
fn streamed(body: &Value) -> String {
    let mut body = body.clone();
    for choice in body["choices"].as_array_mut().into_iter().flatten() {
        choice["delta"] = choice["message"].take();
    }
    format!("data: {body}\n\ndata: [DONE]\n\n")
}

#[test]
fn an_error_with_a_fine_status_is_the_servers_own_words() {
    let inside =
        |error: Value| json!({"choices": [{"message": {"content": "half"}, "finish_reason": "error", "error": error}]});
    let in_message =
        json!({"choices": [{"message": {"content": null, "error": {"message": "gone"}}, "finish_reason": "stop"}]});
    for body in [
        json!({"error": {"message": "gone"}}),
        json!({"error": "gone", "choices": null}),
        json!({"error": {"message": "gone", "code": 502}, "choices": []}),
        json!({"object": "error", "message": "gone", "type": "InternalServerError", "code": 500}),
        json!({"code": "Throttling", "message": "gone", "request_id": "1"}),
        json!({"detail": "gone"}),
        inside(json!({"message": "gone", "code": 502})),
        inside(json!("gone")),
        in_message,
    ] {
        let whole = Reply::of_body(&body.to_string()).unwrap_err();
        let chunk = Reply::of_events(streamed(&body).as_bytes()).unwrap_err();
        for error in [whole, chunk] {
            assert!(matches!(&error, InvalidReply::Server(words) if words == "gone"), "{body}: {error:?}");
        }
    }
    let named = b"event: error\ndata: gone\n\n";
    assert!(matches!(Reply::of_events(&named[..]), Err(InvalidReply::Server(words)) if words == "gone"));
    let late = events()[..6].concat() + "data: {\"error\":{\"message\":\"gone\"}}\n\n";
    assert!(matches!(Reply::of_events(late.as_bytes()), Err(InvalidReply::Server(_))), "after its finish_reason");
    let fine = json!({"error": null, "choices": [{"message": {"content": "a"}, "finish_reason": "stop", "error": {}}]});
    assert_eq!(Reply::of_body(&fine.to_string()).unwrap().content, "a", "an error of null is none");
}

#[test]
fn an_answer_is_complete_only_if_everything_says_so() {
    let (some, none) =
        (json!({"prompt_tokens": 9, "completion_tokens": 3}), json!({"prompt_tokens": 9, "completion_tokens": 0}));
    let text = || json!({"content": "Renal cyst"});
    let rows = [
        (body(text(), json!("stop"), some.clone()), true),
        (body(text(), json!("length"), Value::Null), true),
        (body(text(), json!("STOP"), Value::Null), true),
        (body(text(), json!("eos_token"), Value::Null), true),
        (body(text(), json!(""), some.clone()), false),
        (body(text(), Value::Null, some.clone()), false),
        (body(text(), json!("error"), some.clone()), false),
        (body(text(), json!("abort"), some.clone()), false),
        (body(text(), json!("insufficient_system_resource"), some.clone()), false),
        (body(text(), json!("tool_calls"), some.clone()), false),
        (body(json!({"content": null}), json!("stop"), none.clone()), false),
        (body(json!({"content": null}), json!("stop"), Value::Null), false),
        (body(json!({"content": null}), json!("stop"), some.clone()), false),
        (body(json!({"content": ""}), json!("stop"), none.clone()), false),
        (body(json!({"content": []}), json!("stop"), some.clone()), false),
        (body(json!({}), json!("stop"), some.clone()), false),
        (body(Value::Null, json!("stop"), some.clone()), false),
        (body(json!({"content": null, "tool_calls": [{"id": "1"}]}), json!("stop"), some.clone()), false),
        (body(json!({"content": ""}), json!("stop"), some.clone()), true),
        (body(json!({"content": null, "reasoning_content": "Hm."}), json!("stop"), some.clone()), true),
        (body(json!({"content": null, "refusal": "I cannot"}), json!("stop"), some.clone()), true),
        (body(json!({"content": null}), json!("content_filter"), none), true),
    ];
    for (body, complete) in rows {
        assert_eq!(Reply::of_body(&body.to_string()).is_ok(), complete, "{body}");
        assert_eq!(Reply::of_events(streamed(&body).as_bytes()).is_ok(), complete, "streamed: {body}");
    }
    // ollama#4357: chunks of a stream that breaks, each with an empty finish_reason
    let chunk =
        |text: &str| format!("data: {}\n\n", json!({"choices": [{"delta": {"content": text}, "finish_reason": ""}]}));
    let broken = chunk("Renal") + &chunk(" cy");
    assert!(matches!(Reply::of_events(broken.as_bytes()), Err(InvalidReply::Cut)));
    assert!(Reply::of_events((broken + "data: [DONE]\n\n").as_bytes()).is_err());
}

#[test]
fn content_in_parts_is_one_text_and_the_choice_of_index_0_counts() {
    let text = |text: &str| json!({"type": "text", "text": text});
    let thinking = json!({"type": "thinking", "thinking": [text("Hm.")]});
    let of =
        |content: Value| Reply::of_body(&body(json!({"content": content}), json!("stop"), Value::Null).to_string());
    let reply = of(json!([thinking, text("Renal"), " cyst", {"type": "output_text", "text": "."}])).unwrap();
    assert_eq!((reply.content.as_str(), reply.reasoning.as_deref()), ("Renal cyst.", Some("Hm.")));
    assert!(
        matches!(of(json!([text("a"), {"type": "image_url", "image_url": {}}])), Err(InvalidReply::NotText(kind)) if kind == "image_url")
    );
    assert!(matches!(of(json!(7)), Err(InvalidReply::NotText(_))));
    let choice =
        |index: Value, text: &str| json!({"index": index, "message": {"content": text}, "finish_reason": "stop"});
    let several = json!({"choices": [choice(json!(1), "second"), choice(json!(0), "first")]});
    assert_eq!(Reply::of_body(&several.to_string()).unwrap().content, "first");
    let events = [(1, "b"), (0, "a"), (1, "d"), (0, "c")].map(|(index, text)| {
        format!("data: {}\n\n", json!({"choices": [{"index": index, "delta": {"content": text}, "finish_reason": if text > "b" { "stop" } else { "" }}]}))
    });
    assert_eq!(Reply::of_events(events.concat().as_bytes()).unwrap().content, "ac");
    let other = json!({"choices": [choice(json!(1), "second")]}).to_string();
    assert!(matches!(Reply::of_body(&other), Err(InvalidReply::NoChoices(_))));
}

#[test]
fn whatever_form_comes_is_read_under_any_content_type() {
    for stream in [false, true] {
        for text in [WHOLE.to_string(), format!("\u{feff}\n {WHOLE}"), events().concat(), events()[1..].concat()] {
            assert_eq!(Reply::read(text.as_bytes(), stream).unwrap(), whole(), "{stream}: {text}");
        }
        let page = Reply::read(&b"<html>Hi</html>"[..], stream);
        assert!(matches!(page, Err(InvalidReply::Page)));
    }
    let pretty = serde_json::to_string_pretty(&body(json!({"content": "a"}), json!("stop"), Value::Null)).unwrap();
    let lines: String = pretty.lines().map(|line| format!("data: {line}\n")).collect();
    assert_eq!(Reply::read((lines + "\n").as_bytes(), true).unwrap().content, "a", "an event of several lines");
    let dense: String = events().concat().replace("\n\n", "\n");
    assert_eq!(Reply::read(dense.as_bytes(), true).unwrap(), whole(), "events without blank lines between them");
    let broken = b"{\"choices\":[{\"message\":{\"content\":\"caf\xe9\"},\"finish_reason\":\"stop\"}]}";
    assert!(matches!(Reply::read(&broken[..], false), Err(InvalidReply::NotJson(_))), "not UTF-8: nothing is guessed");
}

#[test]
fn what_a_complete_answer_lacks_is_named() {
    let reply = |content: &str, reasoning: Option<&str>, finish: &str| Reply {
        content: content.into(),
        reasoning: reasoning.map(String::from),
        finish: Some(finish.into()),
        ..Reply::default()
    };
    assert_eq!(reply("Renal cyst", Some("Hm."), "stop").defect(), None);
    assert_eq!(reply("Renal cy", None, "length").defect(), Some(Defect::Cut));
    assert_eq!(reply("Renal cy", None, "model_length").defect(), Some(Defect::Cut));
    assert_eq!(reply(" \n", Some("Hm."), "stop").defect(), Some(Defect::OnlyReasoning));
    assert_eq!(reply("<think>Hm", None, "length").defect(), Some(Defect::OnlyReasoning));
    assert_eq!(reply("", None, "length").defect(), Some(Defect::Empty));
    assert_eq!(reply("", None, "content_filter").defect(), Some(Defect::Empty));
}

#[test]
fn numbers_that_a_server_leaves_out_are_not_made_up() {
    let of = |usage: Value, logprobs: Value| {
        let mut body = body(json!({"content": "a", "unknown": [1]}), json!("stop"), usage);
        body["choices"][0]["logprobs"] = logprobs;
        Reply::of_body(&body.to_string()).unwrap()
    };
    let bare = of(Value::Null, Value::Null);
    assert_eq!((bare.logprob, bare.usage, bare.served), (None, None, None));
    for usage in [
        json!({}),
        json!({"prompt_tokens": 3}),
        json!({"prompt_tokens": null, "completion_tokens": 3}),
        json!({"prompt_tokens": 3, "completion_tokens": -3}),
        json!({"prompt_tokens": 3, "completion_tokens": 0}),
        json!({"prompt_tokens": 0, "completion_tokens": 3}),
        json!("3"),
    ] {
        assert_eq!(of(usage.clone(), Value::Null).usage, None, "{usage}");
    }
    assert_eq!(
        of(json!({"prompt_tokens": 3.0, "completion_tokens": 2}), Value::Null).usage,
        Some(Tokens { prompt: 3, new: 2 })
    );
    let half = of(Value::Null, json!({"content": [{"logprob": -1}, {"logprob": null}, {"logprob": "x"}, 7]}));
    assert_eq!(half.clean(None).logprob, None);
    for odd in [json!([]), json!(true), json!({"content": {}}), json!({"tokens": ["a"]})] {
        assert_eq!(of(Value::Null, odd).logprob, None);
    }
}

#[test]
fn reasoning_and_answer_are_kept_apart() {
    let parts = |content: &str| {
        let reply = Reply { content: content.into(), ..Reply::default() };
        let (thought, answer) = reply.parts();
        (thought, answer.to_string())
    };
    let hm = Some("Hm.".to_string());
    assert_eq!(parts("<think>\nHm.\n</think>\n\nRenal cyst"), (hm.clone(), "Renal cyst".into()));
    assert_eq!(parts("Hm.\n</think>\nRenal cyst"), (hm.clone(), "Renal cyst".into()), "opened in the prompt");
    assert_eq!(parts("<think>Hm."), (hm.clone(), "".into()), "cut while it thought");
    assert_eq!(parts("<think>\n\n</think>\n\nRenal cyst"), (None, "Renal cyst".into()));
    assert_eq!(parts(" Renal cyst \n"), (None, " Renal cyst \n".into()), "byte for byte");
    assert_eq!(whole().parts(), (hm, "Renal cyst"));
    let blank = Reply { reasoning: Some("\n\n".into()), content: "\n\nRenal cyst".into(), ..Reply::default() };
    assert_eq!(blank.parts(), (None, "Renal cyst"), "an empty think block, as a server streams it");
}

#[test]
fn the_key_is_taken_out_of_everything_that_is_kept() {
    let key = Key::new("sk-0123456789abcdef").unwrap();
    let told = "I know sk-0123456789abcdef".to_string();
    let reply = Reply {
        content: told.clone(),
        reasoning: Some(told.clone()),
        finish: Some(told.clone()),
        served: Some(told),
        ..Reply::default()
    };
    assert!(!format!("{:?}", reply.clean(Some(&key))).contains("0123456789"));
}

#[test]
fn errors_are_read_as_servers_write_them() {
    for error in [
        json!({"error": {"message": "no such model", "code": 404}}),
        json!({"object": "error", "message": "no such model"}),
        json!({"error": "no such model"}),
        json!({"detail": "no such model"}),
        json!({"detail": [{"loc": ["body"], "msg": "no such model"}]}),
    ] {
        assert_eq!(message(&error).as_deref(), Some("no such model"), "{error}");
    }
    assert_eq!(message(&json!({"a": 1})), None);
}

#[test]
fn errors_and_counts_in_the_ways_of_other_servers_are_read() {
    let usage = json!({"prompt_tokens": "5", "completion_tokens": "2"});
    let whole = || body(json!({"content": "cyst"}), json!("stop"), usage.clone());
    let reply = Reply::of_body(&whole().to_string()).unwrap();
    assert_eq!(reply.usage, Some(Tokens { prompt: 5, new: 2 }), "numbers as text");
    let words = |more: Value| {
        let mut body = whole();
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        match Reply::of_body(&body.to_string()) {
            Err(InvalidReply::Server(words)) => words,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(words(json!({"base_resp": {"status_code": 1004, "status_msg": "no balance"}})), "no balance");
    assert_eq!(words(json!({"errors": [{"message": "too busy"}]})), "too busy");
    let incomplete = words(json!({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}));
    assert!(incomplete.contains("max_output_tokens"), "{incomplete}");
    assert!(words(json!({"truncated": true})).contains("truncated"));
    let mut fine = whole();
    fine["base_resp"] = json!({"status_code": 0, "status_msg": ""});
    fine["status"] = json!("completed");
    fine["choices"][0]["logprobs"] = json!({"content": [{"token": "cyst", "logprob": 0.7}]});
    let reply = Reply::of_body(&fine.to_string()).unwrap().clean(None);
    assert_eq!(reply.logprob, None, "0.7 is no logarithm of a probability");
    let native = json!({"model": "m", "created": 1, "content": "cyst", "done": true}).to_string();
    let found = Reply::of_body(&native);
    assert!(matches!(&found, Err(InvalidReply::NoChoices(keys)) if keys.contains("done")), "{found:?}");
}

#[test]
fn other_fields_that_speak_against_stop_are_believed() {
    let with = |key: &str, value: Value, inside: bool| {
        let mut body: Value = serde_json::from_str(WHOLE).unwrap();
        let at = if inside { &mut body["choices"][0] } else { &mut body };
        at[key] = value;
        Reply::of_body(&body.to_string())
    };
    for (key, value, inside) in [
        ("native_finish_reason", json!("MAX_TOKENS"), true),
        ("stats", json!({"stop_reason": "contextLengthReached"}), false),
        ("done_reason", json!("length"), false),
        ("stopped_limit", json!(true), true),
        ("stop_type", json!("limit"), true),
    ] {
        assert!(with(key, value, inside).unwrap().cut(), "{key}");
    }
    let filtered = json!({"hate": {"filtered": true}, "self_harm": {"filtered": false}});
    for (key, value) in [("native_finish_reason", json!("SAFETY")), ("content_filter_results", filtered)] {
        assert!(with(key, value, true).unwrap().filtered(), "{key}");
    }
    assert!(with("finish_reason", json!("content_filter: PROHIBITED_CONTENT"), true).unwrap().filtered());
    for (key, value) in [
        ("stats", json!({"stop_reason": "userStopped"})),
        ("done", json!(false)),
        ("success", json!(false)),
        ("x_groq", json!({"id": "1", "error": "over_capacity"})),
    ] {
        assert!(with(key, value, false).is_err(), "{key}");
    }
    for (key, value, inside) in [
        ("native_finish_reason", json!("STOP"), true),
        ("stats", json!({"stop_reason": "eosFound"}), false),
        ("success", json!(true), false),
        ("x_groq", json!({"id": "1"}), false),
        ("content_filter_results", json!({"hate": {"filtered": false}}), true),
    ] {
        assert_eq!(with(key, value, inside).unwrap(), whole(), "{key}");
    }
}

#[test]
fn an_error_between_events_is_the_servers_own_words() {
    let begun = events()[..3].concat();
    for (line, words) in [
        ("error: {\"code\":500,\"message\":\"Context size has been exceeded.\"}\n\n", "Context size"),
        ("{\"error\":{\"message\":\"cuda oom\"}}\n", "cuda oom"),
        ("data: error: upstream reset\n\n", "upstream reset"),
        ("data: Internal Server Error\n\n", "Internal Server Error"),
    ] {
        let flaw = Reply::of_events(format!("{begun}{line}").as_bytes()).unwrap_err();
        assert!(matches!(&flaw, InvalidReply::Server(said) if said.contains(words)), "{line}: {flaw:?}");
    }
}

#[test]
fn a_part_of_the_tokens_is_no_log_probability_of_the_answer() {
    let mut body: Value = serde_json::from_str(WHOLE).unwrap();
    body["choices"][0]["message"].as_object_mut().unwrap().remove("reasoning_content");
    body["choices"][0]["logprobs"]["content"] = json!([{"token": "Renal", "logprob": -0.5}]);
    assert_eq!(Reply::of_body(&body.to_string()).unwrap().logprob, None);
    body["choices"][0]["logprobs"]["content"] =
        json!([{"token": "Ren", "logprob": -0.5}, {"token": "al\u{120}cyst", "logprob": -0.5}]);
    assert_eq!(Reply::of_body(&body.to_string()).unwrap().logprob, Some(-1.0));
}

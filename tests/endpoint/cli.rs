//! The command: killed and started again, twice at a time, stopped by its budget, and silent about its key.
use super::KEY;
use super::server::{Act, Server, answer};
use dxlab::run::{Run, Store, read_predictions};
use dxlab::task::LabelTask;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// A project's folder of its own with `n` synthetic cases.
fn project(n: usize) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
    std::os::unix::fs::symlink(data, dir.path().join("data")).unwrap();
    let case = |n: usize| json!({"case_id": n.to_string(), "input_finding": format!("Synthetic finding number {n}."), "output_disease": format!("Cyst {n}"), "split": "test"});
    let lines: String = (0..n).map(|n| format!("{}\n", case(n))).collect();
    std::fs::write(dir.path().join("cases.jsonl"), lines).unwrap();
    dir
}

fn predict(project: &Path, url: &str, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dxlab"));
    command.args(["predict", "--endpoint", url, "--model", "org/served", "--data", "cases.jsonl", "--prompt", "ask"]);
    command.args(["--max-new", "8", "--retry-base-ms", "1"]).args(more).current_dir(project);
    if !more.contains(&"--out") {
        command.args(["--out", "preds.jsonl"]);
    }
    command.env("DXLAB_HOME", project).env_remove("DXLAB_FINDINGS").env_remove("DXLAB_API_KEY");
    for proxy in ["http_proxy", "https_proxy", "all_proxy"] {
        command.env_remove(proxy).env_remove(proxy.to_uppercase());
    }
    command
}

fn spawn(mut command: Command) -> Child {
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Every file below, hidden ones too, links not followed.
fn files_below(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).filter(|path| !path.is_symlink());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

fn journal(project: &Path) -> Option<PathBuf> {
    let folder = project.join("runs/.cache/endpoint");
    folder
        .is_dir()
        .then(|| files_below(&folder).into_iter().find(|path| path.extension().is_some_and(|e| e == "jsonl")))?
}

/// Numbers of the questions that whole lines of the journal answer.
fn journaled(project: &Path) -> BTreeSet<usize> {
    let text = journal(project).map(|path| std::fs::read_to_string(path).unwrap()).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let number = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        let content = line["answer"]["reply"]["content"].as_str().unwrap().to_string();
        content["Cyst ".len()..].split(',').next().unwrap().parse().unwrap()
    };
    whole.lines().map(number).collect()
}

fn the_run(project: &Path) -> Run {
    Store::open(Some(&project.join("runs"))).named("cli").unwrap()
}

#[test]
fn a_killed_run_asks_nothing_twice_that_it_had_and_loses_nothing() {
    let (server, project) = (Server::start(|_, _| Act::Answer), project(300));
    let more = ["--concurrency", "4"];
    let (mut had, mut times) = (BTreeSet::new(), Vec::new());
    for at in [40, 150] {
        let mut child = spawn(predict(project.path(), &server.url, &more));
        while journaled(project.path()).len() < at {
            assert!(child.try_wait().unwrap().is_none(), "over before it was killed at {at}");
            std::thread::sleep(Duration::from_millis(2));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let now = journaled(project.path());
        assert!(now.is_superset(&had) && now.len() < 300, "{} answers", now.len());
        times.extend(now.iter().map(|n| (*n, server.log.lock().unwrap().asked[n])));
        had = now;
        let torn = journal(project.path()).unwrap();
        let mut text = std::fs::read_to_string(&torn).unwrap();
        text += "{\"key\":\"5e"; // as a crash in the middle of a line leaves it
        std::fs::write(&torn, text).unwrap();
    }
    let output = predict(project.path(), &server.url, &more).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains(&format!("{} of 300 cases were answered before", had.len())), "{}", said(&output));
    let asked = server.log.lock().unwrap().asked.clone();
    assert!(times.iter().all(|(n, times)| asked[n] == *times), "what was in the journal at a kill is not asked again");
    let twice = asked.values().sum::<usize>() - 300;
    assert!(twice <= 2 * 4, "{twice} asked again: at most those in flight at either kill");
    let predictions = read_predictions::<Value, Value>(&project.path().join("preds.jsonl")).unwrap();
    assert_eq!(predictions.len(), 300);
    assert!(predictions.iter().enumerate().all(|(n, p)| p.raw == format!("Cyst {n}, Synthetic cyst")));
    let before = server.asked();
    assert!(predict(project.path(), &server.url, &[]).output().unwrap().status.success());
    assert_eq!(server.asked(), before, "the run is there: it is opened");
}

#[test]
fn two_processes_share_a_journal_and_ask_each_question_once() {
    let (server, project) = (Server::start(|_, _| Act::Answer), project(80));
    let started =
        ["one", "two"].map(|name| spawn(predict(project.path(), &server.url, &["--name", name, "--out", name])));
    for mut child in started {
        assert!(child.wait().unwrap().success());
    }
    let log = server.log.lock().unwrap();
    assert!(log.asked.len() == 80 && log.asked.values().all(|&times| times == 1));
    assert!(log.most_in_flight <= 4, "the limit holds for both together");
    assert_eq!(journaled(project.path()).len(), 80);
    let read = |name: &str| {
        let mut lines = read_predictions::<Value, Value>(&project.path().join(name)).unwrap();
        assert!(lines.iter().all(|line| line.run.contains(name)), "each says of which run it is");
        lines.iter_mut().for_each(|line| line.run.clear());
        serde_json::to_string(&lines).unwrap()
    };
    assert!(read("one") == read("two"), "and nothing else differs");
}

#[test]
fn the_run_holds_the_answers_as_they_came_and_what_they_took() {
    let thinking =
        |n| json!({"message": {"content": format!("<think>\nHm.\n</think>\n\nCyst {n}")}, "finish_reason": "stop"});
    let (server, project) = (Server::scripted(|_, _| Act::Answer, thinking), project(5));
    let more =
        ["--price-in", "2", "--price-out", "10", "--thinking", "on", "--stop", "\n\n\n", "--seed", "3", "--stream"];
    let more = [&more[..], &["--extra", r#"{"top_p": 0.9}"#, "--no-logprobs"]].concat();
    let output = predict(project.path(), &server.url, &more).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert!(
        said(&output).contains("5 of 5 questions answered; 200 prompt and 30 new tokens, 0.0007 USD"),
        "{}",
        said(&output)
    );
    let run = the_run(project.path());
    let json = |name: &str| serde_json::from_str::<Value>(&std::fs::read_to_string(run.path(name)).unwrap()).unwrap();
    let usage = json("usage.json");
    assert_eq!(
        (&usage["cost_usd"], &usage["with_reasoning"], &usage["served"]["served-model"]),
        (&json!(0.0007), &json!(5), &json!(5))
    );
    assert_eq!(json("prompt.json")["thinking"], "on");
    let spec = &run.spec.spec;
    assert_eq!(spec["model"].as_str().unwrap(), format!("org/served@{}", &server.url[7..server.url.len() - 3]));
    let request = json!({
        "model": "org/served", "temperature": 0.0, "max_tokens": 8, "seed": 3, "stop": ["\n\n\n"], "top_p": 0.9,
        "chat_template_kwargs": {"enable_thinking": true},
    });
    assert_eq!(spec["endpoint"], json!({"url": server.url, "request": request}));
    let body = server.log.lock().unwrap().bodies[0].clone();
    assert_eq!((&body["top_p"], &body["stream_options"]["include_usage"]), (&json!(0.9), &json!(true)));
    let predictions = run.answers(&LabelTask::without_corpus().unwrap()).unwrap();
    assert!(predictions.iter().enumerate().all(|(n, p)| p.raw == format!("Cyst {n}") && p.gold == p.answer));
    assert!(predictions[0].logprob.is_none() && predictions[0].adapter.is_none());
    let answers = std::fs::read_to_string(run.path("answers.jsonl")).unwrap();
    let first: Value = serde_json::from_str(answers.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&first["case_id"], &first["answer"]["reply"]["content"]),
        (&json!("0"), &json!("<think>\nHm.\n</think>\n\nCyst 0"))
    );
    assert_eq!(answers.lines().count(), 5);
}

#[test]
fn a_budget_ends_the_command_and_a_higher_one_goes_on() {
    let (server, project) = (Server::start(|_, _| Act::Answer), project(40));
    let with = |budget: &str| {
        let more = ["--price-in", "1", "--price-out", "1", "--budget", budget];
        predict(project.path(), &server.url, &more).output().unwrap()
    };
    let output = with("0.001");
    assert!(output.status.code() == Some(1) && said(&output).contains("--budget goes on"), "{}", said(&output));
    assert!(!project.path().join("preds.jsonl").exists(), "nothing half-done under the final name");
    let before = server.asked();
    assert!((10..20).contains(&before), "{before}");
    let output = with("1");
    assert!(output.status.success() && server.asked() == 40, "{}", said(&output));
    assert_eq!(read_predictions::<Value, Value>(&project.path().join("preds.jsonl")).unwrap().len(), 40);
}

#[test]
fn the_key_is_sent_and_shows_nowhere() {
    let echo = |n: usize| {
        let mut choice = answer(n);
        choice["message"] =
            json!({"content": format!("Cyst {n}, {KEY}"), "reasoning_content": format!("The key is {KEY}.")});
        choice
    };
    let act = |n: usize, time: usize| match (n, time) {
        (3, 1) => Act::Status(500, "", format!("{{\"error\": \"{KEY} was too much\"}}")),
        (9, _) => Act::Status(401, "", format!("{{\"error\": {{\"message\": \"Incorrect API key: {KEY}\"}}}}")),
        _ => Act::Answer,
    };
    let server = Server::scripted(act, echo);
    let far = format!("http://user:{KEY}@127.0.0.1:1/v1");
    let (in_path, as_user) = (format!("{}/{KEY}/v1", server.url), json!({"user": KEY}).to_string());
    let as_key = json!({"api_key": KEY}).to_string();
    let rows = [
        (4, server.url.as_str(), "DXLAB_API_KEY", vec!["--tries", "1"], Some(1)),
        (7, &server.url, "DXLAB_API_KEY", vec![], Some(0)),
        (7, &server.url, "MY_KEY", vec!["--key-env", "MY_KEY", "--stream"], Some(0)),
        (10, &server.url, "DXLAB_API_KEY", vec![], Some(2)),
        (1, &server.url, "OTHER", vec!["--key-env", KEY], Some(2)),
        (1, &far, "DXLAB_API_KEY", vec![], Some(2)),
        (1, "http://example.invalid/v1", "DXLAB_API_KEY", vec![], Some(2)),
        (1, &in_path, "DXLAB_API_KEY", vec![], Some(2)),
        (1, &server.url, "DXLAB_API_KEY", vec!["--extra", &as_user], Some(2)),
        (1, &server.url, "OTHER", vec!["--extra", &as_key], Some(2)),
        (1, &server.url, "DXLAB_API_KEY", vec!["--stop", KEY], Some(2)),
    ];
    for (n, url, variable, more, exit) in rows {
        let project = project(n);
        let output = predict(project.path(), url, &more).env(variable, KEY).output().unwrap();
        let text = said(&output);
        assert!(!text.contains(KEY) && output.status.code() == exit, "{more:?}: {text}");
        for file in files_below(project.path()) {
            let bytes = std::fs::read(&file).unwrap();
            assert!(!bytes.windows(KEY.len()).any(|part| part == KEY.as_bytes()), "{}", file.display());
        }
        if exit == Some(0) {
            let raw = &read_predictions::<Value, Value>(&project.path().join("preds.jsonl")).unwrap()[2].raw;
            assert_eq!(raw, "Cyst 2, [key]");
        }
    }
    let log = server.log.lock().unwrap();
    let bearer = Some(format!("Bearer {KEY}"));
    assert!(log.authorization.len() > 14 && log.authorization.iter().all(|sent| *sent == bearer));
}

#[test]
fn answers_of_no_use_are_told_while_the_run_goes_on() {
    let thinking = |_| json!({"message": {"content": null, "reasoning_content": "Hm."}, "finish_reason": "length"});
    let (server, project) = (Server::scripted(|_, _| Act::Answer, thinking), project(40));
    let output =
        predict(project.path(), &server.url, &["--concurrency", "1", "--max-incomplete", "10"]).output().unwrap();
    let text = said(&output);
    assert_eq!((output.status.code(), server.asked()), (Some(1), 10), "{text}");
    assert_eq!(text.matches("warning: case `0`: the answer is only reasoning").count(), 1, "{text}");
    assert!(text.contains("… of the answers so far 4 only reasoning") && text.contains("--max-new"), "{text}");
    assert!(
        text.contains("10 of 40 cases are answered and kept") && !project.path().join("preds.jsonl").exists(),
        "{text}"
    );
    let output = predict(project.path(), &server.url, &["--max-incomplete", "0"]).output().unwrap();
    assert!(output.status.success() && said(&output).contains("40 only reasoning"), "{}", said(&output));
}

#[test]
fn flags_that_do_not_fit_are_refused_before_anything_is_asked() {
    let (server, project) = (Server::start(|_, _| Act::Answer), project(1));
    let rows: [(&[&str], &str); 9] = [
        (&["--samples", "3"], "cannot be used with"),
        (&["--budget", "1"], "--price-in"),
        (&["--price-in", "1"], "--price-out"),
        (&["--concurrency", "0"], "1 to 1024 requests"),
        (&["--timeout", "0"], "timeout above 0"),
        (&["--extra", "[1]"], "JSON object"),
        (&["--extra", "{\"messages\": []}"], "`messages` is set by dxlab"),
        (&["--constrain", "json"], "cannot be used with"),
        (&["--adapter", "x"], "cannot be used with"),
    ];
    for (more, wanted) in rows {
        let output = predict(project.path(), &server.url, more).output().unwrap();
        assert!(output.status.code() == Some(2) && said(&output).contains(wanted), "{more:?}: {}", said(&output));
    }
    let mut nameless = Command::new(env!("CARGO_BIN_EXE_dxlab"));
    nameless.args(["predict", "--endpoint", &server.url, "--data", "cases.jsonl", "--out", "o"]).current_dir(&project);
    let output = nameless.env("DXLAB_HOME", project.path()).output().unwrap();
    assert!(output.status.code() == Some(2) && said(&output).contains("--model"), "{}", said(&output));
    let mut local = Command::new(env!("CARGO_BIN_EXE_dxlab"));
    let output = local.args(["predict", "--concurrency", "2", "--out", "o"]).output().unwrap();
    assert!(output.status.code() == Some(2) && said(&output).contains("--endpoint"), "{}", said(&output));
    let mut greedy = Command::new(env!("CARGO_BIN_EXE_dxlab"));
    let output = greedy.args(["predict", "--seed", "2", "--out", "o"]).output().unwrap();
    assert!(output.status.code() == Some(2) && said(&output).contains("add --samples"), "{}", said(&output));
    let output = predict(project.path(), "http://no..host/v1", &[]).output().unwrap();
    assert!(output.status.code() == Some(2) && said(&output).contains("no such host"), "{}", said(&output));
    assert_eq!(server.asked(), 0);
}

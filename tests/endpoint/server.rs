//! A chat-completions server on this machine that answers well or badly, as it is told to, and counts what it is asked.
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What the server does with one request.
#[derive(Clone, Debug)]
pub enum Act {
    Answer,
    /// Sends these bytes.
    Raw(String),
    Status(u16, &'static str, String),
    /// Half of the answer's bytes, then the connection ends.
    Cut,
    /// The answer's bytes up to this text, then the connection ends.
    CutBefore(&'static str),
    /// The connection is reset before an answer.
    Reset,
    /// Answers only after this time.
    Slow(Duration),
}

/// Which act: the question's number and which time it is asked, from 1.
type Behaviour = dyn Fn(usize, usize) -> Act + Send + Sync;
/// The answer to a question: fields of the message, and of the choice. Four more are for the server: `other_form` (events where JSON was
/// asked for, or the other way round), `decoy` (another choice before it), `no_usage`, and `typed` false (without a content type).
type Script = dyn Fn(usize) -> Value + Send + Sync;

#[derive(Default)]
pub struct Log {
    pub asked: BTreeMap<usize, usize>,
    pub answered: BTreeMap<usize, usize>,
    /// When each request came.
    pub times: Vec<Instant>,
    pub bodies: Vec<Value>,
    pub authorization: Vec<Option<String>>,
    pub in_flight: usize,
    pub most_in_flight: usize,
}

pub struct Server {
    pub url: String,
    pub log: Arc<Mutex<Log>>,
}

impl Server {
    pub fn start(behaviour: impl Fn(usize, usize) -> Act + Send + Sync + 'static) -> Self {
        Self::scripted(behaviour, answer)
    }

    pub fn scripted(
        behaviour: impl Fn(usize, usize) -> Act + Send + Sync + 'static,
        script: impl Fn(usize) -> Value + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let log = Arc::new(Mutex::new(Log::default()));
        let (shared, behaviour, script) = (log.clone(), Arc::new(behaviour), Arc::new(script));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, log) = (stream.unwrap(), shared.clone());
                let (behaviour, script) = (behaviour.clone(), script.clone());
                std::thread::spawn(move || while let Ok(true) = serve(&mut stream, &log, &*behaviour, &*script) {});
            }
        });
        Self { url, log }
    }

    pub fn asked(&self) -> usize {
        self.log.lock().unwrap().asked.values().sum()
    }
}

/// The usual answer to question `n`.
pub fn answer(n: usize) -> Value {
    json!({
        "message": {"role": "assistant", "content": format!("Cyst {n}, Synthetic cyst")},
        "finish_reason": "stop",
        "logprobs": {"content": [{"token": "Label", "logprob": -0.5}, {"token": "<|im_end|>", "logprob": -0.25}]},
    })
}

/// One request of a connection; whether another may follow.
fn serve(stream: &mut TcpStream, log: &Mutex<Log>, behaviour: &Behaviour, script: &Script) -> std::io::Result<bool> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut length, mut authorization, mut line) = (0, None, String::new());
    if reader.read_line(&mut line)? == 0 {
        return Ok(false);
    }
    let path = line.split(' ').nth(1).unwrap_or("").to_string();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let (name, value) = line.split_once(':').unwrap_or((line.trim(), ""));
        match name.to_lowercase().as_str() {
            "" => break,
            "content-length" => length = value.trim().parse().unwrap(),
            "authorization" => authorization = Some(value.trim().to_string()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body: Value = serde_json::from_slice(&body).unwrap();
    let asked = body["messages"].as_array().unwrap().last().unwrap()["content"].as_str().unwrap();
    let digits = asked.rsplit("number ").next().unwrap();
    let n: usize = digits.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap();
    let streamed = body["stream"] == true;
    let time = {
        let mut log = log.lock().unwrap();
        log.times.push(Instant::now());
        log.authorization.push(authorization);
        log.bodies.push(body);
        log.in_flight += 1;
        log.most_in_flight = log.most_in_flight.max(log.in_flight);
        let asked = log.asked.entry(n).or_default();
        *asked += 1;
        *asked
    };
    let act = if path == "/v1/chat/completions" { behaviour(n, time) } else { Act::Status(404, "", "{}".into()) };
    std::thread::sleep(Duration::from_millis(1)); // so that requests do meet
    let choice = script(n);
    let streamed = streamed != (choice["other_form"] == true);
    let mut whole = if streamed { events(&choice) } else { one_body(&choice) };
    if choice["typed"] == false {
        whole = whole.replace("Content-Type: ", "X-Was: ");
    }
    // Counted before the last byte goes: the client may ask again as soon as it has it.
    log.lock().unwrap().in_flight -= 1;
    match act {
        Act::Answer => {
            *log.lock().unwrap().answered.entry(n).or_default() += 1;
            stream.write_all(whole.as_bytes())?;
            Ok(!streamed)
        }
        Act::Raw(bytes) => stream.write_all(bytes.as_bytes()).map(|()| true),
        Act::Status(code, headers, body) => {
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 {code} Status\r\nContent-Type: application/json\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
            )?;
            Ok(true)
        }
        Act::Cut => stream.write_all(&whole.as_bytes()[..whole.len() / 2]).map(|()| false),
        Act::CutBefore(text) => stream.write_all(&whole.as_bytes()[..whole.find(text).unwrap()]).map(|()| false),
        Act::Reset => {
            reset(stream);
            Ok(false)
        }
        Act::Slow(time) => {
            std::thread::sleep(time);
            let _ = stream.write_all(whole.as_bytes()); // nobody may be there any more
            Ok(false)
        }
    }
}

/// Closing sends RST instead of FIN.
fn reset(stream: &TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let size = std::mem::size_of::<libc::linger>() as libc::socklen_t;
    // SAFETY: the file descriptor is open, and the option's value and size are those of SO_LINGER.
    let set = unsafe {
        libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, (&raw const linger).cast(), size)
    };
    assert_eq!(set, 0);
}

fn one_body(choice: &Value) -> String {
    let mut answer = choice.clone();
    answer["index"] = json!(0);
    let mut choices = vec![answer];
    if choice["decoy"] == true {
        choices.insert(0, json!({"index": 1, "message": {"content": "another choice"}, "finish_reason": "length"}));
    }
    json_response(&json!({"model": "served-model", "choices": choices, "usage": usage(choice)}).to_string())
}

fn usage(choice: &Value) -> Value {
    if choice["no_usage"] == true { Value::Null } else { json!({"prompt_tokens": 40, "completion_tokens": 6}) }
}

pub fn json_response(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// The same answer as server-sent events in chunks, a few bytes of the content each.
fn events(choice: &Value) -> String {
    let content = &choice["message"]["content"];
    let mut data = vec![json!({"choices": [{"delta": {"role": "assistant", "content": ""}}]})];
    let letters: Vec<char> = content.as_str().unwrap_or_default().chars().collect();
    for piece in letters.chunks(5) {
        data.push(
            json!({"choices": [{"delta": {"content": piece.iter().collect::<String>()}, "finish_reason": null}]}),
        );
    }
    if content.is_array() {
        data.push(json!({"choices": [{"index": 0, "delta": {"content": content}}]}));
    }
    let reasoning = &choice["message"]["reasoning_content"];
    if reasoning.is_string() {
        data.push(json!({"choices": [{"index": 0, "delta": {"reasoning_content": reasoning}}]}));
    }
    if choice["decoy"] == true {
        data.push(
            json!({"choices": [{"index": 1, "delta": {"content": "another choice"}, "finish_reason": "length"}]}),
        );
    }
    data.push(json!({"model": "served-model", "choices": [{"delta": {}, "logprobs": choice["logprobs"], "finish_reason": choice["finish_reason"]}]}));
    data.push(json!({"choices": [], "usage": usage(choice)}));
    let mut out =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
            .to_string();
    for event in data.iter().map(Value::to_string).chain(["[DONE]".into()]) {
        let text = format!("data: {event}\n\n");
        out += &format!("{:x}\r\n{text}\r\n", text.len());
    }
    out + "0\r\n\r\n"
}

//! A plain HTTP/1.1 client: one request a connection, the answer read to its end.
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    /// In small letters.
    pub headers: String,
    pub body: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The objects of a stream of events, which must end with `[DONE]`.
    pub fn events(&self) -> Vec<Value> {
        let mut data: Vec<&str> = self.body.split("\n\n").filter(|part| !part.is_empty()).collect();
        assert_eq!(data.pop(), Some("data: [DONE]"), "{}", self.body);
        data.iter().map(|part| serde_json::from_str(part.strip_prefix("data: ").unwrap()).unwrap()).collect()
    }
}

pub fn connect(at: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    stream
}

/// Sends bytes and reads what comes back.
pub fn raw(at: SocketAddr, bytes: &[u8]) -> Reply {
    let mut stream = connect(at);
    let _ = stream.write_all(bytes); // a server may answer, and close, before all has come
    reply(&mut stream)
}

pub fn reply(stream: &mut TcpStream) -> Reply {
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all);
    let all = String::from_utf8(all).unwrap();
    let (head, body) = all.split_once("\r\n\r\n").unwrap_or((&all, ""));
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    let headers = head.to_lowercase();
    let body = if headers.contains("transfer-encoding: chunked") { unchunked(body) } else { body.to_string() };
    Reply { status, headers, body }
}

fn unchunked(mut rest: &str) -> String {
    let mut out = String::new();
    while let Some((length, after)) = rest.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).unwrap();
        out += &after[..length];
        rest = after[length..].trim_start_matches("\r\n");
        if length == 0 {
            break;
        }
    }
    out
}

pub fn head(method: &str, path: &str, more: &str, length: usize) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{more}Content-Length: {length}\r\n\r\n"
    )
}

pub fn get(at: SocketAddr, path: &str) -> Reply {
    raw(at, head("GET", path, "", 0).as_bytes())
}

pub fn post_as(at: SocketAddr, path: &str, more: &str, body: &str) -> Reply {
    let more = format!("{more}Content-Type: application/json\r\n");
    raw(at, (head("POST", path, &more, body.len()) + body).as_bytes())
}

pub fn post(at: SocketAddr, path: &str, body: &Value) -> Reply {
    post_as(at, path, "", &body.to_string())
}

//! Downloading from a local server: right files arrive whole, everything else leaves nothing behind.
use dxlab::corpus::fetch::fetch;
use dxlab::corpus::manifest::{Source, State, parse};
use dxlab::io;
use sha2::{Digest, Sha256};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;

const BODY: &[u8] = b"1|t|A title.\n1|a|An abstract.\n";

/// Serves `/good`, `/short` (body cut off), `/wrong` (another file), anything else 500, until the test ends.
fn server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let request = lines.next().unwrap().unwrap();
            while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
            let path = request.split(' ').nth(1).unwrap();
            let (status, announced, body) = match path {
                "/good" => ("200 OK", BODY.len(), BODY),
                "/short" => ("200 OK", BODY.len(), &BODY[..7]),
                "/wrong" => ("200 OK", 5, &b"other"[..]),
                _ => ("500 Internal Server Error", 4, &b"oops"[..]),
            };
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {announced}\r\nConnection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(body).unwrap();
        }
    });
    address
}

fn source(urls: &[String]) -> Source {
    let sha256 = io::hex(&Sha256::digest(BODY));
    let text = format!(
        "[[source]]\nname='x'\ntitle='X'\nholds='h'\nrepository='r'\ncommit='c'\nlicence='l'\ncitation='c'\n\
         [[source.file]]\npath='x/a.txt'\nsha256='{sha256}'\nurls={urls:?}\n"
    );
    parse(&text).unwrap().remove(0)
}

fn files(dir: &Path) -> usize {
    std::fs::read_dir(dir.join("x")).map_or(0, Iterator::count)
}

#[test]
fn a_file_arrives_whole_and_is_not_fetched_twice() {
    let (server, dir) = (server(), tempfile::tempdir().unwrap());
    let source = source(&[format!("{server}/fails"), format!("{server}/good")]);
    let mut told = Vec::new();
    fetch(&source, dir.path(), |line| told.push(line.to_string())).unwrap();
    assert_eq!(std::fs::read(dir.path().join("x/a.txt")).unwrap(), BODY);
    assert_eq!((files(dir.path()), source.files[0].state(dir.path()).unwrap()), (1, State::Verified));
    fetch(&source, dir.path(), |line| told.push(line.to_string())).unwrap();
    assert!(
        told[0].ends_with("bytes, checksum right") && told[1].ends_with("already there, checksum right"),
        "{told:?}"
    );
}

#[test]
fn an_error_a_cut_body_and_a_wrong_file_leave_nothing_behind() {
    let server = server();
    for (path, wanted) in [("fails", "500"), ("short", "cut off"), ("wrong", "SHA-256")] {
        let dir = tempfile::tempdir().unwrap();
        let error = fetch(&source(&[format!("{server}/{path}")]), dir.path(), |_| {}).unwrap_err();
        assert!(error.to_string().contains(wanted) && error.to_string().contains("a.txt"), "{path}: {error}");
        assert_eq!((files(dir.path()), error.exit_code()), (0, 1), "{path}");
    }
}

#[test]
fn nobody_listening_is_told_and_a_file_of_the_users_is_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let nobody = source(&["http://127.0.0.1:9/x".to_string()]);
    assert!(fetch(&nobody, dir.path(), |_| {}).unwrap_err().to_string().contains("could not fetch"));
    std::fs::write(dir.path().join("x/a.txt"), "mine").unwrap();
    let error = fetch(&source(&[format!("{}/good", server())]), dir.path(), |_| {}).unwrap_err();
    assert!(error.exit_code() == 2 && error.to_string().contains("move it away"), "{error}");
    assert_eq!(std::fs::read(dir.path().join("x/a.txt")).unwrap(), b"mine");
}

//! Fetching a model from a hub: a server on this machine speaks the hub's protocol, well or badly.
use dxlab::model::{Config, Hub, Tokenizer};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const TOKEN: &str = "hf_secretsecret";

/// What the server does wrong, for the file of this name.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    Status(u16),
    /// Half of the body, then the connection ends.
    Cut,
    /// Half of the body, then nothing, and the connection stays open.
    Stall,
    /// One byte is another one.
    Corrupt,
    /// Something else in its place, with a tag and a length of its own.
    Other(&'static str),
}

struct Server {
    url: String,
    state: Arc<Mutex<State>>,
}

struct State {
    files: BTreeMap<String, Vec<u8>>,
    fault: (String, Fault),
    /// Path and whether the token came with it.
    asked: Vec<(String, bool)>,
    /// The hosts that requests were for, each with its Authorization.
    sent: Vec<(String, Option<String>)>,
    /// A path that the hub lies under.
    prefix: String,
    /// Weights are at this other address.
    elsewhere: Option<String>,
}

impl Server {
    fn start(files: BTreeMap<String, Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State {
            files,
            fault: (String::new(), Fault::None),
            asked: vec![],
            sent: vec![],
            prefix: String::new(),
            elsewhere: None,
        }));
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let _ = answer(&mut stream.unwrap(), &shared); // the client may go away
            }
        });
        Self { url, state }
    }

    fn fault(&self, name: &str, fault: Fault) {
        self.state.lock().unwrap().fault = (name.into(), fault);
    }

    fn sent(&self) -> Vec<(String, Option<String>)> {
        std::mem::take(&mut self.state.lock().unwrap().sent)
    }

    fn asked(&self) -> Vec<(String, bool)> {
        std::mem::take(&mut self.state.lock().unwrap().asked)
    }
}

fn etag(name: &str, body: &[u8]) -> String {
    let sha: String = Sha256::digest(body).iter().map(|b| format!("{b:02x}")).collect();
    if name.ends_with(".safetensors") { sha } else { sha[..40].to_string() }
}

fn answer(stream: &mut TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().unwrap_or(Ok(String::new()))?;
    let path = first.split(' ').nth(1).unwrap_or("").to_string();
    let (mut range, mut token, mut host, mut authorization) = (None, false, String::new(), None);
    for line in lines {
        let line = line?.to_lowercase();
        if line.is_empty() {
            break;
        }
        token |= line == format!("authorization: bearer {TOKEN}");
        host = line.strip_prefix("host: ").map_or(host, String::from);
        authorization = line.strip_prefix("authorization: ").map(String::from).or(authorization);
        range = line.strip_prefix("range: bytes=").map(String::from).or(range);
    }
    let mut state = state.lock().unwrap();
    state.asked.push((path.clone(), token));
    state.sent.push((host, authorization));
    let path = path.strip_prefix(&state.prefix).unwrap_or("").to_string();
    let plain = path.split('?').next().unwrap_or("");
    let name = plain.rsplit('/').next().unwrap_or("").to_string();
    let fault = if state.fault.0 == name { state.fault.1 } else { Fault::None };
    if let Fault::Status(code) = fault {
        return write!(stream, "HTTP/1.1 {code} Wrong\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    if path == "/api/models/org/tiny/revision/main" {
        let siblings: Vec<_> = state.files.keys().map(|f| serde_json::json!({"rfilename": f})).collect();
        let body = serde_json::json!({"sha": COMMIT, "siblings": siblings}).to_string();
        return write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
    }
    if let (Some(to), Some(body), true) =
        (&state.elsewhere, state.files.get(&name), name.ends_with(".safetensors") && path.starts_with("/org/"))
    {
        let (tag, size) = (etag(&name, body), body.len());
        return write!(
            stream,
            "HTTP/1.1 302 Found\r\nLocation: {to}/signed/{name}?signature=s3cret\r\nX-Linked-Etag: \"{tag}\"\r\nX-Linked-Size: {size}\r\nETag: \"of-the-redirect\"\r\nX-Repo-Commit: {COMMIT}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    }
    let body = match state.files.get(&name) {
        Some(_) if let Fault::Other(text) = fault => text.as_bytes().to_vec(),
        Some(body) if plain.starts_with("/signed/") || plain == format!("/org/tiny/resolve/{COMMIT}/{name}") => {
            body.clone()
        }
        _ => return write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
    };
    let range = range.unwrap_or("0-".into());
    let (from, to) = range.split_once('-').unwrap();
    let from: usize = from.parse().unwrap();
    let to = to.parse::<usize>().map_or(body.len(), |to| to + 1).min(body.len());
    write!(
        stream,
        "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {from}-{}/{}\r\nETag: \"{}\"\r\nX-Repo-Commit: {COMMIT}\r\nConnection: close\r\n\r\n",
        to - from,
        to - 1,
        body.len(),
        etag(&name, &body)
    )?;
    let mut sent = body[from..to].to_vec();
    match fault {
        Fault::Cut if sent.len() > 1 => sent.truncate(sent.len() / 2),
        Fault::Corrupt if sent.len() > 1 => sent[0] ^= 1,
        Fault::Stall => {
            stream.write_all(&sent[..sent.len() / 2])?;
            drop(state);
            std::thread::sleep(std::time::Duration::from_secs(5));
            return Ok(());
        }
        _ => {}
    }
    stream.write_all(&sent)
}

/// A tiny checkpoint of the golden values with a tokenizer.
fn repository(folder: &str) -> BTreeMap<String, Vec<u8>> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(folder);
    let dir = tempfile::tempdir().unwrap();
    Tokenizer::train(["the left kidney, the right kidney"].iter(), 282).unwrap().save(dir.path()).unwrap();
    // the model's own generation_config.json replaces the one of the larger vocabulary
    let entries = [dir.path(), golden.as_path()].map(|d| std::fs::read_dir(d).unwrap());
    let files = entries.into_iter().flatten().map(|e| e.unwrap().path());
    let mut files: BTreeMap<String, Vec<u8>> =
        files.map(|f| (f.file_name().unwrap().to_str().unwrap().to_string(), std::fs::read(&f).unwrap())).collect();
    files.remove("logits.safetensors");
    files.insert("README.md".into(), b"not wanted".to_vec());
    files
}

fn hub(server: &Server, cache: &Path, offline: bool) -> Hub {
    Hub::new(Some(&server.url), cache, Some(TOKEN.into()), offline)
}

/// Every file below, but locks, by its name.
fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut out = vec![];
    for entry in std::fs::read_dir(dir).into_iter().flatten().map(|e| e.unwrap().path()) {
        if entry.is_dir() {
            out.extend(files_below(&entry));
        } else if entry.extension().is_none_or(|e| e != "lock") {
            out.push(entry);
        }
    }
    out
}

#[test]
fn single_and_sharded_models_are_fetched_once_and_then_found_offline() {
    for folder in ["tied", "untied"] {
        let (server, cache) = (Server::start(repository(folder)), tempfile::tempdir().unwrap());
        let dir = hub(&server, cache.path(), false).fetch("org/tiny").unwrap();
        for (name, body) in repository(folder).iter().filter(|(name, _)| *name != "README.md") {
            assert_eq!(&std::fs::read(dir.join(name)).unwrap(), body, "{name}");
        }
        assert!(!dir.join("README.md").exists(), "only what is read is fetched");
        Config::read(&dir).unwrap();
        Tokenizer::open(&dir).unwrap();
        let asked = server.asked();
        assert!(asked.iter().all(|(_, token)| *token), "a private model needs the token on every request");
        assert_eq!(hub(&server, cache.path(), true).fetch("org/tiny").unwrap(), dir);
        assert_eq!(hub(&server, cache.path(), false).fetch(&format!("org/tiny@{COMMIT}")).unwrap(), dir);
        assert!(server.asked().is_empty(), "the cache is whole: nobody is asked");
        let left = files_below(cache.path());
        assert!(left.iter().all(|f| f.extension().is_none_or(|e| e != "part")), "{left:?}");
    }
}

#[test]
fn refusals_say_what_to_do_and_never_the_token() {
    let (server, cache) = (Server::start(repository("tied")), tempfile::tempdir().unwrap());
    let hub = hub(&server, cache.path(), false);
    for (name, code, exit, wanted) in [
        ("main", 404, 2, "check the name"),
        ("main", 401, 2, "HF_TOKEN"),
        ("main", 500, 1, "answered 500"),
        ("config.json", 403, 2, "accept the model's terms"),
        ("model.safetensors", 500, 1, "model.safetensors"),
        ("model.safetensors", 404, 2, "model.safetensors"),
    ] {
        server.fault(name, Fault::Status(code));
        let error = hub.fetch("org/tiny").unwrap_err();
        assert_eq!(error.exit_code(), exit, "{error}");
        let text = error.to_string();
        assert!(text.contains(wanted) && text.contains("org/tiny") && !text.contains(TOKEN), "{text}");
    }
    assert!(hub.fetch("org/other").unwrap_err().to_string().contains("org/other"));
    server.fault("", Fault::None);
    hub.fetch("org/tiny").unwrap();
}

#[test]
fn a_cut_or_corrupt_body_leaves_no_file_behind_and_the_next_run_succeeds() {
    for (name, fault) in [
        ("model.safetensors", Fault::Cut),
        ("model.safetensors", Fault::Corrupt),
        ("config.json", Fault::Cut),
        ("tokenizer.json", Fault::Cut),
    ] {
        let (server, cache) = (Server::start(repository("tied")), tempfile::tempdir().unwrap());
        let hub = hub(&server, cache.path(), false);
        server.fault(name, fault);
        let error = hub.fetch("org/tiny").unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("run again"), "{error}");
        let below = files_below(cache.path());
        assert!(below.iter().all(|f| f.file_name().is_none_or(|n| n != name)), "{below:?}");
        assert!(
            Hub::new(Some(&server.url), cache.path(), None, true).fetch("org/tiny").is_err(),
            "not taken for present"
        );
        server.fault("", Fault::None);
        let dir = hub.fetch("org/tiny").unwrap();
        assert_eq!(std::fs::read(dir.join(name)).unwrap(), repository("tied")[name], "a resumed file is whole");
        let left = files_below(cache.path());
        assert!(left.iter().all(|f| f.extension().is_none_or(|e| e != "part")), "{left:?}");
    }
}

#[test]
fn a_download_that_stalls_is_given_up_and_goes_on_from_there() {
    let (server, cache) = (Server::start(repository("tied")), tempfile::tempdir().unwrap());
    let hub = hub(&server, cache.path(), false).with_patience(std::time::Duration::from_millis(1500));
    server.fault("model.safetensors", Fault::Stall);
    let error = hub.fetch("org/tiny").unwrap_err().to_string();
    assert!(error.contains("model.safetensors") && error.contains("nothing came for 1.5 s"), "{error}");
    server.fault("", Fault::None);
    let dir = hub.with_patience(std::time::Duration::from_secs(60)).fetch("org/tiny").unwrap();
    assert_eq!(std::fs::read(dir.join("model.safetensors")).unwrap(), repository("tied")["model.safetensors"]);
}

#[test]
fn a_repository_that_lacks_something_is_named() {
    for (missing, wanted) in [
        ("config.json", "no config.json"),
        ("model.safetensors", "no model.safetensors.index.json"),
        ("tokenizer.json", "tokenizer"),
    ] {
        let mut files = repository("tied");
        files.remove(missing);
        let (server, cache) = (Server::start(files), tempfile::tempdir().unwrap());
        let error = hub(&server, cache.path(), false).fetch("org/tiny").unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains(wanted), "{error}");
    }
}

#[test]
fn an_index_cannot_reach_out_of_the_repository() {
    let mut files = repository("untied");
    let index = String::from_utf8(files["model.safetensors.index.json"].clone()).unwrap();
    files.insert("model.safetensors.index.json".into(), index.replace("model-00001-of", "../../x-of").into_bytes());
    let (server, cache) = (Server::start(files), tempfile::tempdir().unwrap());
    let error = hub(&server, cache.path(), false).fetch("org/tiny").unwrap_err().to_string();
    assert!(error.contains("not the name of a shard"), "{error}");
}

#[test]
fn without_a_network_and_without_a_cache_the_way_out_is_said() {
    let cache = tempfile::tempdir().unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap(); // dropped: nobody listens there
    let error = Hub::new(Some(&format!("http://{closed}")), cache.path(), None, false).fetch("org/tiny").unwrap_err();
    assert!(error.exit_code() == 1 && error.to_string().contains("give a folder"), "{error}");
    let error = Hub::new(Some("http://127.0.0.1:1"), cache.path(), None, true).fetch("org/tiny").unwrap_err();
    assert!(error.exit_code() == 2 && error.to_string().contains("HF_HUB_OFFLINE"), "{error}");
    for wrong in ["tiny", "a/b/c", "../x", "org/..", "org/tiny@", "org/tiny@../x", "", "a b/c", "no/such folder"] {
        let error = dxlab::model::resolve(wrong).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains("org/name"), "{wrong}: {error}");
    }
    assert_eq!(dxlab::model::resolve(cache.path().to_str().unwrap()).unwrap(), cache.path());
}

/// A hub whose weights come from another address, and what each of the two was sent.
fn with_elsewhere(change: impl Fn(&str) -> String) -> (Server, Server) {
    let (hub, other) = (Server::start(repository("untied")), Server::start(repository("untied")));
    hub.state.lock().unwrap().elsewhere = Some(change(&other.url));
    (hub, other)
}

#[test]
fn the_token_goes_to_the_hub_alone_also_where_it_sends_us_elsewhere() {
    let changes: [fn(&str) -> String; 2] = [|other| other.into(), |other| other.replace("127.0.0.1", "localhost")];
    for change in changes {
        let ((server, other), cache) = (with_elsewhere(change), tempfile::tempdir().unwrap());
        let dir = hub(&server, cache.path(), false).fetch("org/tiny").unwrap();
        for (name, body) in repository("untied").iter().filter(|(name, _)| name.ends_with(".safetensors")) {
            assert_eq!(&std::fs::read(dir.join(name)).unwrap(), body, "{name}");
        }
        let (own, foreign) = (server.sent(), other.sent());
        assert!(own.len() > 4 && own.iter().all(|(_, sent)| sent.as_deref() == Some(&format!("bearer {TOKEN}"))));
        assert!(foreign.len() >= 2 && foreign.iter().all(|(_, sent)| sent.is_none()), "{foreign:?}");
        assert!(files_below(cache.path()).iter().all(|file| !file.to_string_lossy().contains("of-the-redirect")));
    }
    // the same machine and port by another name is another host
    let (server, cache) = (Server::start(repository("untied")), tempfile::tempdir().unwrap());
    let localhost = server.url.replace("127.0.0.1", "localhost");
    server.state.lock().unwrap().elsewhere = Some(localhost);
    hub(&server, cache.path(), false).fetch("org/tiny").unwrap();
    let (by_name, by_number): (Vec<_>, Vec<_>) =
        server.sent().into_iter().partition(|(host, _)| host.starts_with("localhost"));
    assert!(by_name.len() >= 2 && by_name.iter().all(|(_, sent)| sent.is_none()), "{by_name:?}");
    assert!(by_number.iter().all(|(_, sent)| sent.is_some()));
}

#[test]
fn what_goes_wrong_at_the_other_host_is_said_of_it_without_the_signature() {
    let ((server, other), cache) = (with_elsewhere(|url| url.into()), tempfile::tempdir().unwrap());
    let hub = hub(&server, cache.path(), false);
    for (fault, exit, wanted) in [
        (Fault::Status(403), 2, "which answered 403"),
        (Fault::Status(503), 1, "which answered 503"),
        (Fault::Cut, 1, "run again"),
        (Fault::Corrupt, 1, "SHA-256"),
    ] {
        other.fault("model-00001-of-00002.safetensors", fault);
        let error = hub.fetch("org/tiny").unwrap_err();
        let text = error.to_string();
        assert!(error.exit_code() == exit && text.contains(wanted), "{text}");
        assert!(!text.contains("s3cret") && !text.contains(TOKEN), "{text}");
    }
    other.fault("", Fault::None);
    hub.fetch("org/tiny").unwrap();
    assert!(other.sent().iter().all(|(_, sent)| sent.is_none()));
}

#[test]
fn an_endpoint_may_lie_under_a_path() {
    for slash in ["", "/"] {
        let (server, cache) = (Server::start(repository("tied")), tempfile::tempdir().unwrap());
        server.state.lock().unwrap().prefix = "/mirror/hf".into();
        let endpoint = format!("{}/mirror/hf{slash}", server.url);
        Hub::new(Some(&endpoint), cache.path(), None, false).fetch("org/tiny").unwrap();
        assert!(server.asked().iter().all(|(path, token)| path.starts_with("/mirror/hf/") && !token));
    }
}

#[test]
fn snapshots_are_found_by_their_commit_and_without_any_ref() {
    let (server, cache) = (Server::start(repository("tied")), tempfile::tempdir().unwrap());
    let dir = hub(&server, cache.path(), false).fetch("org/tiny").unwrap();
    let refs = cache.path().join("models--org--tiny/refs");
    assert_eq!(std::fs::read_to_string(refs.join("main")).unwrap(), COMMIT);
    std::fs::remove_dir_all(&refs).unwrap();
    server.asked();
    let offline = hub(&server, cache.path(), true);
    assert_eq!(offline.fetch(&format!("org/tiny@{COMMIT}")).unwrap(), dir);
    assert_eq!(
        (offline.fetch("org/tiny").unwrap(), offline.cached("org/tiny").unwrap()),
        (dir.clone(), Some(dir.clone()))
    );
    assert!(offline.fetch("org/tiny@other").is_err(), "another branch is not guessed");
    assert!(server.asked().is_empty());
    hub(&server, cache.path(), false).fetch("org/tiny").unwrap();
    assert_eq!(server.asked().len(), 1, "only which commit `main` is: all of its files are there");
    assert!(refs.join("main").is_file() && !refs.join(COMMIT).exists(), "as huggingface_hub: no ref for a commit");
    // two snapshots and no ref: nobody can know which
    std::fs::remove_dir_all(&refs).unwrap();
    let second = dir.parent().unwrap().join("f".repeat(40));
    std::fs::create_dir(&second).unwrap();
    for file in std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()) {
        std::fs::copy(&file, second.join(file.file_name().unwrap())).unwrap();
    }
    let error = offline.fetch("org/tiny").unwrap_err();
    assert!(
        error.exit_code() == 2
            && error.to_string().contains(&format!("2 complete snapshots: name one, as in org/tiny@{COMMIT}"))
    );
    assert_eq!(offline.cached("org/tiny").unwrap(), None);
}

#[test]
fn a_page_or_a_pointer_in_the_place_of_a_file_is_named_and_leaves_nothing() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n";
    for (name, text, wanted) in [
        ("model.safetensors", pointer, "a Git LFS pointer in place of model.safetensors"),
        ("tokenizer.json", "<!DOCTYPE html><html>Log in</html>", "a web page in place of tokenizer.json"),
    ] {
        let (server, cache) = (Server::start(repository("tied")), tempfile::tempdir().unwrap());
        server.fault(name, Fault::Other(text));
        let error = hub(&server, cache.path(), false).fetch("org/tiny").unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains(wanted), "{error}");
        let below = files_below(cache.path());
        assert!(below.iter().all(|file| !file.to_string_lossy().contains(name)), "{below:?}");
        server.fault("", Fault::None);
        hub(&server, cache.path(), false).fetch("org/tiny").unwrap();
    }
}

#[test]
fn the_command_keeps_the_token_to_the_hub_and_uses_the_cache_that_the_environment_names() {
    let (server, other) = with_elsewhere(|url| url.into());
    let dir = tempfile::tempdir().unwrap();
    let run = |endpoint: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_dxlab"));
        command
            .args(["models", "fetch", "org/tiny"])
            .current_dir(dir.path())
            .env("HF_ENDPOINT", endpoint)
            .env("HF_TOKEN", TOKEN);
        command.env("HF_HOME", dir.path().join("home")).env("HF_HUB_CACHE", dir.path().join("cache"));
        command.env_remove("HF_HUB_OFFLINE").env_remove("TRANSFORMERS_OFFLINE").output().unwrap()
    };
    for fault in [Fault::Status(403), Fault::None] {
        other.fault("model-00002-of-00002.safetensors", fault);
        let output = run(&format!("{}/", server.url));
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.success(), fault == Fault::None, "{said}");
        assert!(!said.contains(TOKEN) && !said.contains("s3cret"), "{said}");
    }
    assert!(
        other.sent().iter().all(|(_, sent)| sent.is_none()) && server.sent().iter().all(|(_, sent)| sent.is_some())
    );
    assert!(dir.path().join("cache/models--org--tiny/refs/main").is_file() && !dir.path().join("home/hub").exists());
    for file in files_below(dir.path()) {
        let bytes = std::fs::read(&file).unwrap();
        assert!(!bytes.windows(TOKEN.len()).any(|part| part == TOKEN.as_bytes()), "{}", file.display());
    }
}

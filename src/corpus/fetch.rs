//! Downloads a source, file by file; a file appears under its name only when its checksum is right.
use super::manifest::{File, Source, State};
use crate::error::{Error, Result};
use crate::io;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

/// Longest wait for a connection and for an answer to begin.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time for one file.
const FILE_TIMEOUT: Duration = Duration::from_secs(1800);

/// Fetches what is absent below `dir`; `say` is told one line a file. A file that is there but different is an error:
/// nothing of the user's is overwritten.
pub fn fetch(source: &Source, dir: &Path, mut say: impl FnMut(&str)) -> Result<()> {
    let count = source.files.len();
    for (i, file) in source.files.iter().enumerate() {
        let path = dir.join(&file.path);
        let place = format!("{} {}/{count} {}", source.name, i + 1, path.display());
        match file.state(dir)? {
            State::Verified => say(&format!("{place}: already there, checksum right")),
            State::Different => {
                let message =
                    "is not the file of the manifest (other checksum): move it away or fetch to another folder";
                return Err(Error::input(format!("{} {message}", path.display())));
            }
            State::Absent => {
                let bytes = download(file, &path)?;
                say(&format!("{place}: {bytes} bytes, checksum right"));
            }
        }
    }
    Ok(())
}

/// The file from the first of its addresses that gives it; bytes written.
fn download(file: &File, path: &Path) -> Result<u64> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    }
    let mut failures = Vec::new();
    for url in &file.urls {
        let mut bytes = 0;
        let done = io::write_with(path, |out| {
            bytes = transfer(url, out).map_err(Error::failed)?;
            verify(file, out).map_err(Error::failed)
        });
        match done {
            Ok(()) => return Ok(bytes),
            Err(error) => failures.push(format!("{url}: {error}")),
        }
    }
    Err(Error::failed(format!("could not fetch {}: {}", path.display(), failures.join("; "))))
}

fn transfer(url: &str, out: &mut std::fs::File) -> Result<u64, String> {
    let loopback = ["//127.0.0.1", "//localhost", "//[::1]"].iter().any(|host| url.contains(host));
    let mut config = ureq::Agent::config_builder()
        .timeout_connect(Some(RESPONSE_TIMEOUT))
        .timeout_recv_response(Some(RESPONSE_TIMEOUT))
        .timeout_global(Some(FILE_TIMEOUT));
    if loopback {
        config = config.proxy(None);
    }
    let agent: ureq::Agent = config.build().into();
    let mut response = agent.get(url).call().map_err(|e| e.to_string())?;
    let announced = response.body().content_length();
    let bytes = std::io::copy(&mut response.body_mut().as_reader(), out).map_err(|e| format!("cut off: {e}"))?;
    match announced.filter(|&n| n != bytes && response.headers().get("content-encoding").is_none()) {
        Some(n) => Err(format!("cut off: {bytes} of {n} bytes")),
        None => Ok(bytes),
    }
}

fn verify(file: &File, out: &mut std::fs::File) -> Result<(), String> {
    let rewind = |out: &mut std::fs::File| out.seek(SeekFrom::Start(0)).map_err(|e| e.to_string());
    rewind(out)?;
    let found = io::sha256_of(out).map_err(|e| e.to_string())?;
    rewind(out)?;
    if found == file.sha256 || file.same_contents(&mut *out) {
        return Ok(());
    }
    let mut start = Vec::new();
    rewind(out)?;
    out.take(512).read_to_end(&mut start).map_err(|e| e.to_string())?;
    let another = io::stand_in(&start).map_or("another file".into(), |what| format!("{what} in its place"));
    Err(format!("SHA-256 {found}, expected {}: the address gives {another}", file.sha256))
}

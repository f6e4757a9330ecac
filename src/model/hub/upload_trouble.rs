//! Why a request of an upload did not do what it was for, and what the server said.
use super::download::Failure;
use crate::error::Error;
use serde_json::Value;
use std::io::Read;
use ureq::Body;
use ureq::http::Response;

const LONGEST_ANSWER: u64 = 16 << 20;

/// A status that is no success.
pub(super) struct Refused {
    pub code: u16,
    pub host: String,
    pub said: String,
}

/// Why a request did not do what it was for.
pub(super) enum Trouble {
    Refused(Refused),
    /// After several tries.
    Lost(String),
    Here(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Here(error)
    }
}

/// What a failed request means.
pub(super) fn trouble(failure: Failure) -> Trouble {
    match failure {
        Failure::Status { code, host, .. } => Trouble::Refused(Refused { code, host, said: String::new() }),
        Failure::Broken(said) => Trouble::Lost(said),
        Failure::Here(error) => Trouble::Here(error),
    }
}

/// The text of an answer, at most [`LONGEST_ANSWER`] bytes.
pub(super) fn read(answer: &mut Response<Body>) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    answer.body_mut().as_reader().take(LONGEST_ANSWER).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The message in a hub's error, else nothing of a page, else the text.
pub(super) fn words(text: &str) -> String {
    let json: Option<Value> = serde_json::from_str(text).ok();
    let said = json.as_ref().and_then(|json| json["error"].as_str().or(json["message"].as_str()));
    match said {
        Some(said) => said.into(),
        None if text.trim_start().starts_with('<') => String::new(),
        None => text.into(),
    }
}

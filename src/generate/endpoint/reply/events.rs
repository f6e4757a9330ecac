//! Server-sent events, as far as they carry an answer.
use super::draft::Draft;
use super::{InvalidReply, Reply, message};
use serde_json::Value;
use std::io::BufRead;

/// Server-sent events, line by line.
#[derive(Default)]
struct Events {
    draft: Draft,
    /// A choice was among them.
    begun: bool,
    /// Data lines of the event that is being read.
    data: String,
    /// Its name is `error`.
    error: bool,
    /// What an object said that is no chunk of an answer.
    words: Option<String>,
}

impl Events {
    /// Whether more is to come.
    fn line(&mut self, line: &str) -> Result<bool, InvalidReply> {
        if line.is_empty() {
            return self.dispatch();
        }
        // an object that no field introduces: an error that a gateway puts between the events
        if line.starts_with('{')
            && let Ok(body) = serde_json::from_str::<Value>(line)
        {
            self.begun |= self.draft.add(&body)?;
            return Ok(true);
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => self.error = value.trim() == "error",
            // llama.cpp's server
            "error" => {
                let body = serde_json::from_str::<Value>(value).ok();
                return Err(InvalidReply::Server(body.as_ref().and_then(message).unwrap_or_else(|| value.into())));
            }
            "data" => {
                // servers that leave out the blank line between two events
                if serde_json::from_str::<serde::de::IgnoredAny>(&self.data).is_ok() {
                    self.dispatch()?;
                }
                self.data += value;
                self.data.push('\n');
                if value.trim() == "[DONE]" {
                    return self.dispatch();
                }
            }
            _ => {}
        }
        Ok(true)
    }

    /// The end of an event.
    fn dispatch(&mut self) -> Result<bool, InvalidReply> {
        let (data, error) = (std::mem::take(&mut self.data), std::mem::take(&mut self.error));
        let data = data.trim();
        if data.is_empty() || data == "[DONE]" {
            return Ok(data.is_empty());
        }
        let body = serde_json::from_str::<Value>(data);
        if error {
            return Err(InvalidReply::Server(body.ok().as_ref().and_then(message).unwrap_or_else(|| data.into())));
        }
        let body = match body {
            Ok(body) => body,
            // words in the place of an object
            Err(_) if !data.starts_with(['{', '[', '<']) => return Err(InvalidReply::Server(data.into())),
            Err(error) => return Err(InvalidReply::NotJson(error.to_string())),
        };
        self.begun |= self.draft.add(&body)?;
        self.words = self.words.take().or_else(|| message(&body));
        Ok(true)
    }
}

/// The reply in events; comments and fields other than `data` and `event` are passed over.
pub(super) fn read(mut lines: impl BufRead) -> Result<Reply, InvalidReply> {
    let (mut events, mut line) = (Events::default(), Vec::new());
    loop {
        line.clear();
        let read = lines.read_until(b'\n', &mut line);
        let more = match std::str::from_utf8(&line) {
            Ok(text) => events.line(text.trim_end_matches(['\r', '\n'])),
            Err(error) => Err(InvalidReply::NotJson(error.to_string())),
        };
        let stopped = match (read, more) {
            (_, Err(error)) => Err(error),
            (Err(error), _) => events.dispatch().and(Err(InvalidReply::Lost(error))),
            (Ok(0), Ok(_)) => events.dispatch().map(|_| true),
            (Ok(_), Ok(more)) => Ok(!more),
        };
        match stopped {
            Ok(false) => {}
            Ok(true) => break,
            Err(error @ InvalidReply::Server(_)) => return Err(error),
            Err(_) if events.draft.reply.finish.is_some() => break, // only the count of tokens can be missing
            Err(error) => return Err(error),
        }
    }
    match (events.draft.reply.finish.is_some(), events.begun) {
        (true, _) => events.draft.finish(),
        (false, true) => Err(InvalidReply::Cut),
        (false, false) => Err(events
            .words
            .map_or_else(|| InvalidReply::NoChoices("a stream without any".into()), InvalidReply::Server)),
    }
}

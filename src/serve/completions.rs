//! Completions: the engine's words on their way to one client, whole or as a stream.
use super::answer::{Answering, Said, event};
use super::app::{Admitted, Answered, App, Shared, aside_until, json_response, late, typed};
use super::chat::{self, Kind};
use super::error::ApiError;
use super::keys::Charge;
use crate::error::Error;
use crate::generate::{Drawn, Generated, Listen};
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Response, StatusCode};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::{self, Receiver, UnboundedReceiver, UnboundedSender};
use tokio::time::timeout_at;

/// Events of a stream that may wait for a slow client.
pub const EVENTS: usize = 64;

/// The engine's end of one request: it keeps its place in the queue and its tokens of the day as long as the engine has it.
struct Ear {
    sender: UnboundedSender<Said>,
    charge: Charge,
    _permit: OwnedSemaphorePermit,
}

impl Listen for Ear {
    fn token(&mut self, sample: usize, token: Drawn) {
        self.charge.used += 1;
        let _ = self.sender.send(Said::Token(sample, token)); // who does not wait is gone
    }
    fn done(&mut self, sample: usize, made: Generated) {
        let _ = self.sender.send(Said::Done(sample, made));
    }
    fn failed(&mut self, error: Error) {
        let _ = self.sender.send(Said::Failed(error.into()));
    }
    fn gone(&self) -> bool {
        self.sender.is_closed()
    }
}

/// `/v1/chat/completions` and `/v1/completions`.
pub async fn completions(kind: Kind, State(app): Shared, request: Request) -> Answered {
    let started = Instant::now();
    let Admitted { account, permit, body, deadline } = app.admit(request).await?;
    let (served, most) = (app.served.clone(), app.samples);
    let read = move || chat::read(kind, &body, &served, most); // a grammar is compiled here
    let ((ask, shape), permit) = aside_until(&app.bounds, deadline, permit, read).await?;
    let mut charge = account.charge((shape.prompt_tokens + shape.most_new) as u64)?;
    charge.used = shape.prompt_tokens as u64;
    let (sender, mut said) = mpsc::unbounded_channel();
    let id = app.id(if kind == Kind::Chat { "chatcmpl" } else { "cmpl" });
    let created = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut answering = Answering::new(shape, app.served.tokenizer.clone(), id, created, app.fingerprint(ask.model));
    app.worker.ask(ask, Box::new(Ear { sender, charge, _permit: permit }));
    // a stream begins when there is something to send, so that what cannot be answered has a status of its own
    let first = heard(&app, &mut said, deadline).await?;
    app.metrics.first_token(started.elapsed());
    if answering.shape.stream {
        return stream(app, answering, first, said, deadline);
    }
    let mut next = first;
    while !answering.take(next)? {
        next = heard(&app, &mut said, deadline).await?;
    }
    Ok(json_response(&answering.whole()?))
}

/// What the engine says next; an error for a failure and for the end of the time.
async fn heard(app: &App, said: &mut UnboundedReceiver<Said>, deadline: Instant) -> Result<Said, ApiError> {
    match timeout_at(deadline.into(), said.recv()).await {
        Ok(Some(Said::Failed(error))) => Err(error),
        Ok(Some(said)) => Ok(said),
        Ok(None) => Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the engine has ended")),
        Err(_) => Err(late(&app.bounds)),
    }
}

/// The body of a stream.
struct Events(Receiver<Bytes>);

impl futures_core::Stream for Events {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context).map(|next| next.map(Ok))
    }
}

pub fn events_response(events: Receiver<Bytes>) -> Response<Body> {
    let mut response = typed("text/event-stream; charset=utf-8", Body::from_stream(Events(events)));
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no")); // nginx
    response
}

fn stream(
    app: Arc<App>,
    mut answering: Answering,
    first: Said,
    mut said: UnboundedReceiver<Said>,
    deadline: Instant,
) -> Answered {
    let (sender, events) = mpsc::channel(EVENTS);
    tokio::spawn(async move {
        let mut next: Result<Said, ApiError> = Ok(first);
        let mut text = answering.opening();
        loop {
            let over = next.and_then(|said| {
                let sample = match &said {
                    Said::Token(sample, _) | Said::Done(sample, _) => Some(*sample),
                    Said::Failed(_) => None,
                };
                let over = answering.take(said)?;
                if let Some(sample) = sample {
                    text += &answering.events(sample)?;
                }
                Ok(over)
            });
            match over {
                Ok(false) => {}
                Ok(true) => text += &answering.closing(),
                Err(ref error) => text += &event(&error.body()),
            }
            let sent = text.is_empty() || send(&sender, std::mem::take(&mut text), deadline).await;
            if !sent || over != Ok(false) {
                return;
            }
            next = tokio::select! {
                next = heard(&app, &mut said, deadline) => next,
                () = sender.closed() => return, // and with it `said`, by which the engine sees that nobody waits
            };
        }
    });
    Ok(events_response(events))
}

/// False where nobody reads any more, or not in time.
pub async fn send(sender: &mpsc::Sender<Bytes>, text: String, deadline: Instant) -> bool {
    matches!(timeout_at(deadline.into(), sender.send(Bytes::from(text))).await, Ok(Ok(())))
}

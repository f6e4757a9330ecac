//! Routes, and what every request passes: host, key, room in the queue, limits on its body, headers of its answer.
use super::answer::{Answering, Said, event};
use super::chat::{self, Kind, unknown_model};
use super::diagnose::{Diagnoser, Diagnosis, Finding, Oracle, Told};
use super::error::ApiError;
use super::fields::Fields;
use super::keys::{Account, Charge, Keys};
use super::metrics::Metrics;
use super::models::Served;
use super::page;
use super::server::Bounds;
use crate::error::Error;
use crate::generate::{Drawn, Generated, Listen, Worker};
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::routing::{get, post};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc::{self, Receiver, UnboundedReceiver, UnboundedSender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{timeout, timeout_at};

/// Time for a request's body to come.
const BODY: Duration = Duration::from_secs(30);
/// Texts of one request for embeddings.
const MOST_TEXTS: usize = 256;
/// Events of a stream that may wait for a slow client.
const EVENTS: usize = 64;

/// What all requests share.
pub struct App {
    pub served: Arc<Served>,
    pub worker: Arc<Worker>,
    pub diagnosers: Vec<Arc<dyn Diagnoser>>,
    pub keys: Keys,
    pub bounds: Bounds,
    /// Answers of one request, at most.
    pub samples: usize,
    pub metrics: Metrics,
    pub queue: Arc<Semaphore>,
    pub next: AtomicU64,
    /// Seconds since 1970.
    pub started: u64,
    /// Names that `Host:` may have besides this machine's own, where only this machine is listened to.
    pub hosts: Option<Vec<String>>,
    pub stopped: watch::Receiver<bool>,
    pub log: bool,
}

type Shared = State<Arc<App>>;
type Answered = Result<Response<Body>, ApiError>;

/// Every route of the server.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(page::show).post(page::submit))
        .route("/page.css", get(page::style))
        .route("/page.js", get(page::script))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .route("/openapi.json", get(openapi))
        .route("/v1/models", get(models))
        .route("/v1/models/{*id}", get(one_model))
        .route("/v1/chat/completions", post(|app, request| async { told(completions(Kind::Chat, app, request).await) }))
        .route("/v1/completions", post(|app, request| async { told(completions(Kind::Text, app, request).await) }))
        .route("/v1/embeddings", post(|app, request| async { told(embeddings(app, request).await) }))
        .route("/v1/diagnose", post(|app, request| async { told(diagnose(app, request).await) }))
        .fallback(nowhere)
        .method_not_allowed_fallback(otherwise)
        .layer(from_fn_with_state(app.clone(), around))
        .with_state(app)
}

fn told(answered: Answered) -> Response<Body> {
    answered.unwrap_or_else(|error| error.response())
}

/// A JSON answer.
pub fn json_response(value: &Value) -> Response<Body> {
    typed("application/json", value.to_string())
}

pub fn typed(kind: &'static str, text: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(text.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

async fn nowhere() -> Response<Body> {
    ApiError::new(StatusCode::NOT_FOUND, "nothing is served here: GET /openapi.json lists what is").response()
}

async fn otherwise() -> Response<Body> {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "another method is served here: see /openapi.json").response()
}

/// The route of a path, for metrics: a path itself is text that a client chose.
fn route_of(path: &str) -> &'static str {
    const ROUTES: [&str; 11] = [
        "/",
        "/page.css",
        "/page.js",
        "/health",
        "/metrics",
        "/openapi.json",
        "/v1/models",
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/diagnose",
    ];
    let known = ROUTES.into_iter().find(|route| *route == path);
    known.unwrap_or(if path.starts_with("/v1/models/") { "/v1/models/{id}" } else { "other" })
}

/// Before and after every request.
async fn around(State(app): Shared, request: Request, next: Next) -> Response<Body> {
    let (started, route) = (Instant::now(), route_of(request.uri().path()));
    let mut response = match allowed_host(&app, request.headers()) {
        true => next.run(request).await,
        false => {
            let what = "this server answers under the name of this machine only: see `dxlab serve --allow-host`";
            ApiError::new(StatusCode::FORBIDDEN, what).response()
        }
    };
    let headers = response.headers_mut();
    for (name, value) in [
        ("content-security-policy", page::POLICY),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("x-frame-options", "DENY"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cache-control", "no-store"),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let (status, time) = (response.status().as_u16(), started.elapsed());
    app.metrics.request(route, status, time);
    if app.log {
        crate::process::tell(&format!("{route} {status} {:.3} s", time.as_secs_f64()));
    }
    response
}

/// A page of another site that has its name point to this machine does not get in (DNS rebinding).
fn allowed_host(app: &App, headers: &HeaderMap) -> bool {
    let Some(more) = &app.hosts else { return true };
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return true };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.chars().all(|c| c.is_ascii_digit()) => name,
        _ => host,
    };
    let own = name.eq_ignore_ascii_case("localhost") || name == "[::1]" || name.starts_with("127.");
    own || more.iter().any(|known| known.eq_ignore_ascii_case(name))
}

async fn health(State(app): Shared) -> Response<Body> {
    let stopping = *app.stopped.borrow();
    let mut response = json_response(&json!({"status": if stopping { "stopping" } else { "ok" }}));
    if stopping {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}

async fn metrics(State(app): Shared, headers: HeaderMap) -> Response<Body> {
    match app.keys.account(bearer(&headers)) {
        Ok(_) => typed("text/plain; version=0.0.4; charset=utf-8", app.metrics.text(app.worker.done())),
        Err(error) => error.response(),
    }
}

/// The description, with the names that are served here.
async fn openapi(State(app): Shared) -> Response<Body> {
    let listed = |names: Vec<&str>| names.iter().map(|name| json!(name).to_string()).collect::<Vec<_>>().join(", ");
    let models = listed(app.served.entries.iter().map(|entry| entry.name.as_str()).collect());
    let tasks = listed(app.diagnosers.iter().map(|diagnoser| diagnoser.task()).collect());
    let text = include_str!("openapi.json")
        .replace("VERSION", env!("CARGO_PKG_VERSION"))
        .replace("\"MODELS\"", &models)
        .replace("\"TASKS\"", if tasks.is_empty() { "null" } else { &tasks })
        .replace("\"ENCODERS\"", &listed(vec![app.served.encoder_name().unwrap_or("none is served")]))
        .replace("987654321", &app.samples.to_string());
    typed("application/json", text)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()
}

async fn models(State(app): Shared, headers: HeaderMap) -> Response<Body> {
    told(app.keys.account(bearer(&headers)).map(|_| json_response(&json!({"object": "list", "data": app.listed()}))))
}

async fn one_model(State(app): Shared, Path(id): Path<String>, headers: HeaderMap) -> Response<Body> {
    let found = |_| app.listed().into_iter().find(|model| model["id"] == id.as_str()).ok_or_else(|| unknown_model(&id));
    told(app.keys.account(bearer(&headers)).and_then(found).map(|model| json_response(&model)))
}

/// What a request holds while it is answered.
struct Admitted {
    account: Arc<Account>,
    permit: OwnedSemaphorePermit,
    body: Bytes,
    deadline: Instant,
}

/// An account, a place in the queue, and when the answer must be there.
pub(super) type Place = (Arc<Account>, OwnedSemaphorePermit, Instant);

impl App {
    fn listed(&self) -> Vec<Value> {
        let one = |id: &str, more: Value| {
            let mut model = json!({"id": id, "object": "model", "created": self.started, "owned_by": "dxlab"});
            if let (Some(model), Value::Object(more)) = (model.as_object_mut(), more) {
                model.extend(more);
            }
            model
        };
        let entries = self.served.entries.iter();
        let mut all: Vec<Value> =
            entries.map(|e| one(&e.name, json!({"base": e.base, "adapter": e.adapter}))).collect();
        all.extend(self.served.encoder_name().map(|name| one(name, json!({"embeddings": true}))));
        all
    }

    /// Key, requests a minute, room in the queue, body.
    async fn admit(&self, request: Request) -> Result<Admitted, ApiError> {
        let account = self.keys.account(bearer(request.headers()))?;
        let json = |kind: &HeaderValue| {
            kind.to_str().is_ok_and(|kind| kind.to_ascii_lowercase().starts_with("application/json"))
        };
        if !request.headers().get(header::CONTENT_TYPE).is_some_and(json) {
            // other types reach a server from any site's form, this one does not
            return Err(ApiError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "expected the header `Content-Type: application/json`",
            ));
        }
        self.enter(account, request).await
    }

    async fn enter(&self, account: Arc<Account>, request: Request) -> Result<Admitted, ApiError> {
        let (account, permit, deadline) = self.place(account)?;
        Ok(Admitted { account, permit, body: self.body(request).await?, deadline })
    }

    /// Counts a request and gives it a place in the queue.
    pub(super) fn place(&self, account: Arc<Account>) -> Result<Place, ApiError> {
        account.request()?;
        if *self.stopped.borrow() {
            return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "the server is about to end")
                .code("stopping")
                .retry(10));
        }
        let full = |_| {
            let what = format!("{} requests are answered or wait: come again", self.bounds.queue);
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, what).code("queue_full").retry(2)
        };
        let permit = self.queue.clone().try_acquire_owned().map_err(full)?;
        Ok((account, permit, Instant::now() + self.bounds.answer))
    }

    /// The body of the page's form.
    pub(super) async fn form_body(&self, request: Request) -> Result<Bytes, ApiError> {
        self.body(request).await
    }

    async fn body(&self, request: Request) -> Result<Bytes, ApiError> {
        let most = self.bounds.body;
        let large = || {
            let what = format!("the body has more than {most} bytes");
            ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, what).code("body_too_large")
        };
        let length = request.headers().get(header::CONTENT_LENGTH).and_then(|n| n.to_str().ok()?.parse::<usize>().ok());
        if length.is_some_and(|length| length > most) {
            return Err(large());
        }
        match timeout(BODY, to_bytes(request.into_body(), most)).await {
            Ok(Ok(body)) => Ok(body),
            Ok(Err(error)) if error.to_string().contains("length limit") => Err(large()),
            Ok(Err(_)) => Err(ApiError::bad("the body did not come whole")),
            Err(_) => Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "the body did not come in time")),
        }
    }

    fn fingerprint(&self, model: usize) -> String {
        let entry = &self.served.entries[model];
        entry.adapter.as_ref().map_or(entry.base.clone(), |adapter| format!("{}+{adapter}", entry.base))
    }

    fn id(&self, kind: &str) -> String {
        format!("{kind}-{:x}-{}", self.started, self.next.fetch_add(1, Ordering::Relaxed))
    }
}

fn late(app: &App) -> ApiError {
    let what = format!("not answered within {} seconds: ask for less, or come again", app.bounds.answer.as_secs());
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, what).code("time_limit").retry(5)
}

/// Work that takes a processor for a while, beside the threads of the connections.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> Result<T, ApiError> + Send + 'static) -> Result<T, ApiError> {
    let fault = |_| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the server met a fault in itself");
    tokio::task::spawn_blocking(work).await.map_err(fault)?
}

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

async fn completions(kind: Kind, State(app): Shared, request: Request) -> Answered {
    let started = Instant::now();
    let Admitted { account, permit, body, deadline } = app.admit(request).await?;
    let (served, most) = (app.served.clone(), app.samples);
    let (ask, shape) = aside(move || chat::read(kind, &body, &served, most)).await?;
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
        Err(_) => Err(late(app)),
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

fn events_response(events: Receiver<Bytes>) -> Response<Body> {
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
async fn send(sender: &mpsc::Sender<Bytes>, text: String, deadline: Instant) -> bool {
    matches!(timeout_at(deadline.into(), sender.send(Bytes::from(text))).await, Ok(Ok(())))
}

async fn embeddings(State(app): Shared, request: Request) -> Answered {
    let Admitted { account, permit, body, .. } = app.admit(request).await?;
    let mut fields = Fields::of(&body)?;
    let model = fields.text("model")?.ok_or_else(|| ApiError::field("model", "`model` is missing"))?;
    if app.served.encoder_name() != Some(model.as_str()) {
        return Err(unknown_model(&model));
    }
    let texts = fields.texts("input")?.ok_or_else(|| ApiError::field("input", "`input` is missing"))?;
    if texts.is_empty() || texts.len() > MOST_TEXTS || texts.iter().any(String::is_empty) {
        return Err(ApiError::field("input", format!("`input`: expected 1 to {MOST_TEXTS} texts, none empty")));
    }
    let base64 = match fields.text("encoding_format")?.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => return Err(ApiError::field("encoding_format", "`encoding_format`: expected `float` or `base64`")),
    };
    fields.unserved("dimensions", |_| false)?;
    fields.finish()?;
    let served = app.served.clone();
    let (vectors, tokens) = aside(move || {
        let _permit = permit; // until it is done
        let tokens = served.text_tokens(&texts)?;
        let mut charge = account.charge(tokens as u64)?;
        charge.used = tokens as u64;
        Ok((served.embed(&texts)?, tokens))
    })
    .await?;
    let numbers = |vector: &[f32]| match base64 {
        true => json!(in_base64(&vector.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())),
        false => json!(vector),
    };
    let one = |(index, vector): (usize, &Vec<f32>)| json!({"object": "embedding", "index": index, "embedding": numbers(vector)});
    let data: Vec<Value> = vectors.iter().enumerate().map(one).collect();
    let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    Ok(json_response(&json!({"object": "list", "data": data, "model": model, "usage": usage})))
}

/// RFC 4648, §4.
fn in_base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let bits = three.iter().enumerate().fold(0u32, |bits, (i, byte)| bits | u32::from(*byte) << (16 - 8 * i));
        for i in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * i)) as usize & 63] as char;
            out.push(if i <= three.len() { letter } else { '=' });
        }
    }
    out
}

/// What `/v1/diagnose` and the page ask.
pub struct Question {
    pub diagnoser: Arc<dyn Diagnoser>,
    pub finding: Finding,
    pub stream: bool,
}

impl App {
    /// The question of a JSON body.
    fn question(&self, body: &[u8]) -> Result<Question, ApiError> {
        let mut fields = Fields::of(body)?;
        let diagnoser = self.diagnoser(fields.text("task")?.as_deref())?;
        let model = self.model_for_diagnoses(fields.text("model")?.as_deref())?;
        let text = fields.text("text")?.unwrap_or_default();
        let (terms, excluded) =
            (fields.texts("terms")?.unwrap_or_default(), fields.texts("excluded")?.unwrap_or_default());
        let top = fields.count("top", 1, 1000)?.unwrap_or(10) as usize;
        let stream = fields.flag("stream")?.unwrap_or(false);
        fields.finish()?;
        Ok(Question { diagnoser, finding: Finding { text, terms, excluded, model, top }, stream })
    }

    pub(super) fn diagnoser(&self, task: Option<&str>) -> Result<Arc<dyn Diagnoser>, ApiError> {
        let found = match task {
            None => self.diagnosers.first(),
            Some(task) => self.diagnosers.iter().find(|d| d.task() == task),
        };
        found.cloned().ok_or_else(|| {
            let known: Vec<&str> = self.diagnosers.iter().map(|d| d.task()).collect();
            ApiError::field("task", format!("no such task is served: there are [{}]", known.join(", ")))
        })
    }

    /// The model asked for; else the first one with an adapter, which was trained for this, else the base model.
    pub(super) fn model_for_diagnoses(&self, name: Option<&str>) -> Result<usize, ApiError> {
        match name {
            Some(name) => self.served.find(name).ok_or_else(|| unknown_model(name)),
            None => Ok(usize::from(self.served.entries.len() > 1)),
        }
    }
}

/// Says that nobody waits, when it is dropped.
struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What is told of a diagnosis while it is made.
enum Progress {
    Told(Told),
    Over(Result<Diagnosis, ApiError>),
}

/// Asks on a thread of its own; dropping the second part ends it.
fn ask_aside(
    app: &App,
    question: Question,
    charge: Charge,
    permit: OwnedSemaphorePermit,
) -> (UnboundedReceiver<Progress>, Waiting) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let gone = Arc::new(AtomicBool::new(false));
    let oracle =
        Oracle { served: app.served.clone(), worker: app.worker.clone(), gone: gone.clone(), spent: AtomicU64::new(0) };
    tokio::task::spawn_blocking(move || {
        let (_permit, mut charge) = (permit, charge);
        let made = question.diagnoser.diagnose(&question.finding, &oracle, &mut |told| {
            let _ = sender.send(Progress::Told(told)); // who does not wait is gone
        });
        charge.used = oracle.spent.load(Ordering::Relaxed);
        let _ = sender.send(Progress::Over(made.map_err(ApiError::from)));
    });
    (receiver, Waiting(gone))
}

/// The tokens that a question may need, taken from its account's day.
async fn charged(app: &App, account: &Arc<Account>, question: Question) -> Result<(Question, Charge), ApiError> {
    let (served, account) = (app.served.clone(), account.clone());
    aside(move || {
        let most = question.diagnoser.most_tokens(&question.finding, &served)?;
        Ok((question, account.charge(most as u64)?))
    })
    .await
}

/// The answer to a question, all at once.
pub(super) async fn diagnosed(app: &App, place: Place, question: Question) -> Result<Diagnosis, ApiError> {
    let (account, permit, deadline) = place;
    let (question, charge) = charged(app, &account, question).await?;
    let (mut progress, _waiting) = ask_aside(app, question, charge, permit);
    loop {
        match timeout_at(deadline.into(), progress.recv()).await {
            Ok(Some(Progress::Over(made))) => return made,
            Ok(Some(Progress::Told(_))) => {}
            Ok(None) => {
                return Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the server met a fault in itself"));
            }
            Err(_) => return Err(late(app)),
        }
    }
}

async fn diagnose(State(app): Shared, request: Request) -> Answered {
    let Admitted { account, permit, body, deadline } = app.admit(request).await?;
    let question = app.question(&body)?;
    if !question.stream {
        let made = diagnosed(&app, (account, permit, deadline), question).await?;
        return Ok(json_response(&made.json()?));
    }
    let (question, charge) = charged(&app, &account, question).await?;
    let (mut progress, waiting) = ask_aside(&app, question, charge, permit);
    let (sender, events) = mpsc::channel(EVENTS);
    tokio::spawn(async move {
        let _waiting = waiting;
        loop {
            let next = tokio::select! {
                next = timeout_at(deadline.into(), progress.recv()) => next,
                () = sender.closed() => return,
            };
            let (text, over) = match next {
                Ok(Some(Progress::Told(Told::Text(text)))) => {
                    (event(&json!({"object": "diagnosis.text", "text": text})), false)
                }
                Ok(Some(Progress::Told(Told::Samples(n, of)))) => {
                    (event(&json!({"object": "diagnosis.samples", "done": n, "of": of})), false)
                }
                Ok(Some(Progress::Over(made))) => {
                    let body = made.and_then(|made| Ok(made.json()?)).unwrap_or_else(|error| error.body());
                    (event(&body) + super::answer::LAST, true)
                }
                Ok(None) => return,
                Err(_) => (event(&late(&app).body()), true),
            };
            if !send(&sender, text, deadline).await || over {
                return;
            }
        }
    });
    Ok(events_response(events))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        for (text, want) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(in_base64(text.as_bytes()), want);
        }
        assert_eq!(route_of("/v1/models/a/b"), "/v1/models/{id}");
        assert_eq!(route_of("/v1/other"), "other");
    }
}

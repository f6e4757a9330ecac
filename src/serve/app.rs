//! What all requests share, and what each of them passes before it is answered: key, limits, room in the queue, its body.
use super::diagnose::Diagnoser;
use super::error::ApiError;
use super::keys::{Account, Keys};
use super::metrics::Metrics;
use super::models::Served;
use crate::generate::Worker;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{timeout, timeout_at};

/// Time for a request's body to come.
const BODY: Duration = Duration::from_secs(30);

/// Time that a request which has not come whole still gets when the server is to end.
pub const GRACE: Duration = Duration::from_secs(2);

/// Limits on what is taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of a request's body.
    pub body: usize,
    /// Time for an answer, of a stream to its end.
    pub answer: Duration,
    /// Requests that are answered or wait; one more is told to come again.
    pub queue: usize,
    pub connections: usize,
    /// Time that a client may leave what was sent to it unread.
    pub write: Duration,
    /// Time that open connections get when the server is to end.
    pub drain: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        let [answer, write, drain] = [300, 30, 60].map(Duration::from_secs);
        Self { body: 1 << 20, answer, queue: 128, connections: 512, write, drain }
    }
}

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
    /// Names that `Host:` may have besides this machine's own, where only this machine is listened to or some are given.
    pub hosts: Option<Vec<String>>,
    pub stopped: watch::Receiver<bool>,
    pub log: bool,
}

pub type Shared = State<Arc<App>>;
pub type Answered = Result<Response<Body>, ApiError>;

pub fn told(answered: Answered) -> Response<Body> {
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

pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()
}

/// What a request holds while it is answered.
pub struct Admitted {
    pub account: Arc<Account>,
    pub permit: OwnedSemaphorePermit,
    pub body: Bytes,
    pub deadline: Instant,
}

/// An account, a place in the queue, and when the answer must be there.
pub type Place = (Arc<Account>, OwnedSemaphorePermit, Instant);

impl App {
    pub fn listed(&self) -> Vec<Value> {
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
    pub async fn admit(&self, request: Request) -> Result<Admitted, ApiError> {
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
        // who sends half a body must not keep others out of the queue
        let body = self.body(request).await?;
        let (account, permit, deadline) = self.place(account)?;
        Ok(Admitted { account, permit, body, deadline })
    }

    /// Counts a request and gives it a place in the queue.
    pub fn place(&self, account: Arc<Account>) -> Result<Place, ApiError> {
        account.request()?;
        if *self.stopped.borrow() {
            return Err(stopping());
        }
        let full = |_| {
            let what = format!("{} requests are answered or wait: come again", self.bounds.queue);
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, what).code("queue_full").retry(2)
        };
        let permit = self.queue.clone().try_acquire_owned().map_err(full)?;
        Ok((account, permit, Instant::now() + self.bounds.answer))
    }

    /// The body of the page's form.
    pub async fn form_body(&self, request: Request) -> Result<Bytes, ApiError> {
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
        let mut stopped = self.stopped.clone();
        let ending = async move {
            let _ = stopped.wait_for(|stopped| *stopped).await;
            tokio::time::sleep(GRACE).await;
        };
        let came = tokio::select! {
            came = timeout(BODY, to_bytes(request.into_body(), most)) => came,
            () = ending => return Err(stopping()),
        };
        match came {
            Ok(Ok(body)) => Ok(body),
            Ok(Err(error)) if error.to_string().contains("length limit") => Err(large()),
            Ok(Err(_)) => Err(ApiError::bad("the body did not come whole")),
            Err(_) => Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "the body did not come in time")),
        }
    }

    pub fn fingerprint(&self, model: usize) -> String {
        let entry = &self.served.entries[model];
        entry.adapter.as_ref().map_or(entry.base.clone(), |adapter| format!("{}+{adapter}", entry.base))
    }

    pub fn id(&self, kind: &str) -> String {
        format!("{kind}-{:x}-{}", self.started, self.next.fetch_add(1, Ordering::Relaxed))
    }
}

fn stopping() -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "the server is about to end").code("stopping").retry(10)
}

pub fn late(bounds: &Bounds) -> ApiError {
    let what = format!("not answered within {} seconds: ask for less, or come again", bounds.answer.as_secs());
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, what).code("time_limit").retry(5)
}

/// Work that takes a processor for a while, beside the threads of the connections.
pub async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let fault = |_| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the server met a fault in itself");
    tokio::task::spawn_blocking(work).await.map_err(fault)?
}

/// Work of a request that takes a processor for a while. The place in the queue is taken until the work ends, also where nobody waits for
/// it any more: a thread cannot be stopped from outside. An error for the end of the time.
pub async fn aside_until<T: Send + 'static>(
    bounds: &Bounds,
    deadline: Instant,
    permit: OwnedSemaphorePermit,
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<(T, OwnedSemaphorePermit), ApiError> {
    let held = move || Ok((work()?, permit));
    timeout_at(deadline.into(), aside(held)).await.unwrap_or_else(|_| Err(late(bounds)))
}

/// Says that nobody waits any more, when it is dropped.
pub struct Waiting(pub Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_takes_too_long_is_given_up_and_keeps_its_place_until_it_ends() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (queue, bounds) = (Arc::new(Semaphore::new(1)), Bounds::default());
            let (end, ended) = std::sync::mpsc::channel::<()>();
            let permit = queue.clone().try_acquire_owned().unwrap();
            let slow = aside_until(&bounds, Instant::now() + Duration::from_millis(20), permit, move || {
                let _ = ended.recv();
                Ok(())
            });
            let error = slow.await.unwrap_err();
            assert!(error.body().to_string().contains("time_limit"), "{:?}", error.body());
            assert_eq!(queue.available_permits(), 0, "the thread still works");
            end.send(()).unwrap();
            let permit = timeout(Duration::from_secs(10), queue.clone().acquire_owned()).await.unwrap().unwrap();
            let quick = aside_until(&bounds, Instant::now() + Duration::from_secs(60), permit, || Ok(7)).await;
            assert_eq!(quick.unwrap().0, 7);
            let permit = queue.clone().try_acquire_owned().unwrap();
            let fails = || Err::<(), _>(ApiError::bad("no"));
            assert!(aside_until(&bounds, Instant::now() + Duration::from_secs(60), permit, fails).await.is_err());
            assert_eq!(queue.available_permits(), 1, "and an error gives it back");
        });
    }
}

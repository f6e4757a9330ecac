//! Connections: a limited number, headers and reading clients within a time, and an end that finishes what has begun.
use super::app::{Bounds, GRACE};
use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_io_timeout::TimeoutStream;

/// Time for a request's headers, also between two requests of a connection.
const HEADERS: Duration = Duration::from_secs(10);
/// Wait after an accept that failed (too many open files).
const PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections until `stop` says so, then waits a bounded time for those that are open.
pub async fn accept(listener: TcpListener, router: Router, bounds: Bounds, stop: watch::Receiver<bool>) {
    let most = bounds.connections.max(1);
    let room = Arc::new(Semaphore::new(most));
    let mut stopped = stop.clone();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stopped.wait_for(|stop| *stop) => break,
            accepted = next(&listener, &room) => accepted,
        };
        if let Some((stream, permit)) = accepted {
            let (router, stop) = (router.clone(), stop.clone());
            tokio::spawn(async move {
                connection(stream, router, bounds.write, stop).await;
                drop(permit);
            });
        }
    }
    drop(listener);
    // every connection that is over has given its permit back
    let _ = tokio::time::timeout(bounds.drain, room.acquire_many(most as u32)).await;
}

/// The next connection, once there is room for one; None where accepting failed.
async fn next(listener: &TcpListener, room: &Arc<Semaphore>) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = room.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, permit)),
        Err(_) => {
            tokio::time::sleep(PAUSE).await;
            None
        }
    }
}

async fn connection(stream: TcpStream, router: Router, write: Duration, mut stop: watch::Receiver<bool>) {
    let _ = stream.set_nodelay(true); // a token should not wait for the next one
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(write)); // who never reads must not hold a connection
    let busy = Arc::new(AtomicUsize::new(0));
    let (service, counted) = (TowerToHyperService::new(router), busy.clone());
    let service = service_fn(move |request| {
        let (guard, answer) = (Busy::of(&counted), service.call(request));
        async move { answer.await.map(|response| response.map(|body| Body::new(Sending { body, _guard: guard }))) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADERS).max_buf_size(64 << 10);
    let connection = http.serve_connection(TokioIo::new(Box::pin(stream)), service);
    tokio::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stop.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
    }
    // what has begun is finished; who has not sent a whole request by now is not waited for
    loop {
        tokio::select! {
            _ = connection.as_mut() => return, // who went away is no error of ours
            () = tokio::time::sleep(GRACE) => if busy.load(Ordering::Relaxed) == 0 { return },
        }
    }
}

/// A request of a connection that is being answered.
struct Busy(Arc<AtomicUsize>);

impl Busy {
    fn of(all: &Arc<AtomicUsize>) -> Self {
        all.fetch_add(1, Ordering::Relaxed);
        Self(all.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A body on its way: its request is being answered until all of it has been taken.
struct Sending {
    body: Body,
    _guard: Busy,
}

impl HttpBody for Sending {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

//! Connections: a limited number, headers and reading clients within a time, and an end that finishes what has begun.
use super::app::Bounds;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_io_timeout::TimeoutStream;

/// Time for a request's headers, also between two requests of a connection.
const HEADERS: Duration = Duration::from_secs(30);
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
    let service = TowerToHyperService::new(router);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADERS).max_buf_size(64 << 10);
    let connection = http.serve_connection(TokioIo::new(Box::pin(stream)), service);
    tokio::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stop.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await; // who went away is no error of ours
}

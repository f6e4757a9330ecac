//! Connections: at most so many, headers within a time, and an end that finishes what has begun.
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

/// Time for a request's headers, also between two requests of a connection.
const HEADERS: Duration = Duration::from_secs(30);
/// Wait after an accept that failed (too many open files).
const PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections until `stop` says so, then waits at most `drain` for those that are open.
pub async fn accept(listener: TcpListener, router: Router, most: usize, stop: watch::Receiver<bool>, drain: Duration) {
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
                connection(stream, router, stop).await;
                drop(permit);
            });
        }
    }
    drop(listener);
    // every connection that is over has given its permit back
    let _ = tokio::time::timeout(drain, room.acquire_many(most as u32)).await;
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

async fn connection(stream: TcpStream, router: Router, mut stop: watch::Receiver<bool>) {
    let _ = stream.set_nodelay(true); // a token should not wait for the next one
    let service = TowerToHyperService::new(router);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADERS).max_buf_size(64 << 10);
    let connection = http.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stop.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await; // who went away is no error of ours
}

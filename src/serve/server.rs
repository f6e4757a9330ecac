//! A server that runs: its settings, its thread, and how it ends.
use super::app::{App, Bounds};
use super::diagnose::Diagnoser;
use super::keys::Keys;
use super::metrics::Metrics;
use super::models::Served;
use super::routes::router;
use crate::error::{Error, Result};
use crate::generate::{Engine, Room, Worker};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

/// How to serve.
pub struct ServeConfig {
    /// An address, or a name of this machine.
    pub host: String,
    /// 0: any that is free.
    pub port: u16,
    pub bounds: Bounds,
    pub room: Room,
    pub keys: Keys,
    /// Names under which the server may be asked (`Host:`), besides its address; those of a proxy before it.
    pub hosts: Vec<String>,
    /// Lines about requests (route, status, time) on standard error; never a text.
    pub log: bool,
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".into(),
            port: 8080,
            bounds: Bounds::default(),
            room: Room::default(),
            keys: Keys::open(Default::default()),
            hosts: vec![],
            log: false,
        }
    }
}

/// A server on a thread of its own.
pub struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens and answers until [`Server::stop`], or a signal after [`Server::wait`].
    pub fn start(config: ServeConfig, served: Served, diagnosers: Vec<Arc<dyn Diagnoser>>) -> Result<Self> {
        let worker = Worker::start(Engine::new(served.models.clone(), config.room)?)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|e| Error::failed(format!("a runtime for connections: {e}")))?;
        let place = format!("{}:{}", config.host, config.port);
        let bound = runtime.block_on(TcpListener::bind((config.host.as_str(), config.port)));
        let listener =
            bound.map_err(|e| Error::input(format!("cannot listen on {place}: {e}; take another --port or --host")))?;
        let address = listener.local_addr().map_err(|e| Error::failed(format!("{place}: {e}")))?;
        let (stop, stopped) = watch::channel(false);
        let bounds = config.bounds;
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let app = Arc::new(App {
            served: Arc::new(served),
            worker: Arc::new(worker),
            diagnosers,
            keys: config.keys,
            bounds,
            samples: config.room.sequences,
            metrics: Metrics::default(),
            queue: Arc::new(Semaphore::new(bounds.queue.max(1))),
            next: AtomicU64::new(0),
            started,
            hosts: (address.ip().is_loopback() || !config.hosts.is_empty()).then_some(config.hosts),
            stopped: stopped.clone(),
            log: config.log,
        });
        let serve = move || {
            let router = router(app);
            runtime.block_on(super::http::accept(listener, router, bounds, stopped));
            runtime.shutdown_timeout(Duration::from_secs(1));
        };
        let thread = std::thread::Builder::new().name("serve".into()).spawn(serve);
        let thread = thread.map_err(|e| Error::failed(format!("a thread for connections: {e}")))?;
        Ok(Self { address, stop, thread: Some(thread) })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What this server answers to a JSON body, as any client on this machine gets it: status and JSON.
    pub fn ask(&self, path: &str, body: &str) -> Result<(u16, serde_json::Value)> {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let url = format!("http://{}{path}", self.address);
        let failed = |e: ureq::Error| Error::failed(format!("{url}: {e}"));
        let mut response = agent.post(&url).header("content-type", "application/json").send(body).map_err(failed)?;
        let text = response.body_mut().read_to_string().map_err(failed)?;
        let value = serde_json::from_str(&text).map_err(|e| Error::failed(format!("{url}: no JSON: {e}")))?;
        Ok((response.status().as_u16(), value))
    }

    /// Takes no more requests, finishes those that it has, and ends.
    pub fn stop(mut self) {
        self.end();
    }

    /// Answers until SIGINT or SIGTERM, then stops; a second signal ends the process at once.
    pub fn wait(self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| Error::failed(format!("a runtime for signals: {e}")))?;
        let signals = runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            Ok::<_, std::io::Error>((signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?))
        });
        let (mut interrupt, mut terminate) = signals.map_err(|e| Error::failed(format!("signals: {e}")))?;
        let first = async {
            tokio::select! { _ = interrupt.recv() => (), _ = terminate.recv() => () }
        };
        runtime.block_on(first);
        crate::process::tell("dxlab serve: finishing what has begun; a second signal ends at once");
        let again = std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! { _ = interrupt.recv() => (), _ = terminate.recv() => () }
            });
            std::process::exit(1);
        });
        self.stop();
        drop(again); // it waits for a signal that need not come
        Ok(())
    }

    fn end(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // a panic has been printed
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

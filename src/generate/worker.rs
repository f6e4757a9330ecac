//! An engine on a thread of its own; requests come through a channel.
use super::engine::{Ask, Done, Engine, Listen};
use crate::error::{Error, Result};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

type Message = (Ask, Box<dyn Listen>);

/// See the file's header. When it is dropped the thread finishes what it began, and ends.
pub struct Worker {
    sender: Option<Mutex<Sender<Message>>>,
    done: Arc<Mutex<Done>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    pub fn start(engine: Engine) -> Result<Self> {
        let (sender, receiver) = channel();
        let done = Arc::new(Mutex::new(engine.done()));
        let told = done.clone();
        let thread = std::thread::Builder::new().name("engine".into()).spawn(move || work(engine, &receiver, &told));
        let thread = thread.map_err(|e| Error::failed(format!("a thread for the engine: {e}")))?;
        Ok(Self { sender: Some(Mutex::new(sender)), done, thread: Some(thread) })
    }

    /// Hands a request over; the answers come to `listen`.
    pub fn ask(&self, ask: Ask, listen: Box<dyn Listen>) {
        let sent = match &self.sender {
            Some(sender) => sender.lock().unwrap_or_else(PoisonError::into_inner).send((ask, listen)),
            None => return,
        };
        if let Err(unsent) = sent {
            let (_, mut listen) = unsent.0;
            listen.failed(Error::failed("the engine's thread has ended"));
        }
    }

    pub fn done(&self) -> Done {
        *self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // a panic of the thread was told to those who waited
        }
    }
}

fn work(mut engine: Engine, receiver: &Receiver<Message>, done: &Mutex<Done>) {
    let mut open = true;
    while open || !engine.is_idle() {
        if engine.is_idle() {
            match receiver.recv() {
                Ok((ask, listen)) => engine.join(ask, listen),
                Err(_) => open = false,
            }
        }
        loop {
            match receiver.try_recv() {
                Ok((ask, listen)) => engine.join(ask, listen),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    open = false;
                    break;
                }
            }
        }
        if !engine.is_idle() && catch_unwind(AssertUnwindSafe(|| engine.step())).is_err() {
            engine.fail_all("the engine met a fault in itself; other requests are answered");
        }
        *done.lock().unwrap_or_else(PoisonError::into_inner) = engine.done();
    }
}

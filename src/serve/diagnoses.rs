//! Diagnoses: the question of a request, asked on a thread of its own. When nobody waits any more, drawing ends; a list that is being ranked is
//! ranked to its end.
use super::answer::{LAST, event};
use super::app::{Admitted, Answered, App, Place, Shared, Waiting, aside_until, json_response, late};
use super::chat::unknown_model;
use super::completions::{EVENTS, events_response, send};
use super::diagnose::{Diagnoser, Diagnosis, Finding, Oracle, Told};
use super::error::ApiError;
use super::fields::Fields;
use super::keys::Charge;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::time::timeout_at;

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

    pub fn diagnoser(&self, task: Option<&str>) -> Result<Arc<dyn Diagnoser>, ApiError> {
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
    pub fn model_for_diagnoses(&self, name: Option<&str>) -> Result<usize, ApiError> {
        match name {
            Some(name) => self.served.find(name).ok_or_else(|| unknown_model(name)),
            None => Ok(usize::from(self.served.entries.len() > 1)),
        }
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
async fn charged(
    app: &App,
    (account, permit, deadline): Place,
    question: Question,
) -> Result<((Question, Charge), OwnedSemaphorePermit), ApiError> {
    let served = app.served.clone();
    aside_until(&app.bounds, deadline, permit, move || {
        let most = question.diagnoser.most_tokens(&question.finding, &served)?;
        Ok((question, account.charge(most as u64)?))
    })
    .await
}

/// The answer to a question, all at once.
pub async fn diagnosed(app: &App, place: Place, question: Question) -> Result<Diagnosis, ApiError> {
    let deadline = place.2;
    let ((question, charge), permit) = charged(app, place, question).await?;
    let (mut progress, _waiting) = ask_aside(app, question, charge, permit);
    loop {
        match timeout_at(deadline.into(), progress.recv()).await {
            Ok(Some(Progress::Over(made))) => return made,
            Ok(Some(Progress::Told(_))) => {}
            Ok(None) => {
                return Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the server met a fault in itself"));
            }
            Err(_) => return Err(late(&app.bounds)),
        }
    }
}

/// `/v1/diagnose`.
pub async fn diagnose(State(app): Shared, request: Request) -> Answered {
    let Admitted { account, permit, body, deadline } = app.admit(request).await?;
    let question = app.question(&body)?;
    if !question.stream {
        let made = diagnosed(&app, (account, permit, deadline), question).await?;
        return Ok(json_response(&made.json()?));
    }
    let ((question, charge), permit) = charged(&app, (account, permit, deadline), question).await?;
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
                    (event(&body) + LAST, true)
                }
                Ok(None) => return,
                Err(_) => (event(&late(&app.bounds).body()), true),
            };
            if !send(&sender, text, deadline).await || over {
                return;
            }
        }
    });
    Ok(events_response(events))
}

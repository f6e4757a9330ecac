//! A model behind HTTP: OpenAI's API, `/v1/diagnose`, and a page that works without JavaScript.
//!
//! ```text
//! connection ─ router ─ key, limits, body ─ request ─┬─ engine (one thread, continuous batching) ─ tokens ─ JSON or events
//!                                                    ├─ encoder ─ embeddings
//!                                                    └─ Diagnoser ─ labels, evidence, doubts
//! ```
//!
//! What a server says of a finding is for research, and no advice ([`NOTICE`]). It listens on this machine alone unless it is told
//! otherwise, writes no text that it is sent into its log, and answers no other site's scripts. `docs/serve.md` is the manual.
mod answer;
mod app;
mod chat;
mod completions;
mod diagnose;
mod diagnoses;
mod embeddings;
mod error;
mod fields;
mod findings;
mod http;
mod keys;
mod metrics;
mod models;
mod page;
mod rare_disease;
mod routes;
mod server;

pub use app::Bounds;
pub use diagnose::{Diagnoser, Diagnosis, Finding, Measured, Named, Oracle, Told};
pub use findings::{Findings, FindingsConfig};
pub use keys::{Keys, Limit};
pub use models::{AdapterName, Served};
pub use rare_disease::RareDiseases;
pub use server::{ServeConfig, Server};

/// What stands beside every answer about a patient's text.
pub const NOTICE: &str = "Research demonstration, not a medical device. For trained readers; not for patient care or urgent decisions. Send no patient data.";

//! The run store: a run is a folder named by the digest of everything that determines it, opened if it is there and made if not. Here
//! are the store, what a run records of its environment and sessions, and the lines of `preds.jsonl`.
mod environment;
pub mod prediction;
mod provenance;
mod sessions;
mod settings;
mod spec;
mod store;

pub use environment::{Environment, Session, Stopwatch, peak_bytes};
pub(crate) use environment::{reset_peak, resident_bytes};
pub use prediction::{
    Prediction, Sample, Voted, keep_predictions, label_set, outcomes, read_predictions, write_predictions,
};
pub use provenance::{provenance, versions};

pub use settings::{differences, flatten};
pub use spec::{ArmSpec, AskedSpec, BaselineSpec, Known, PredictSpec, RerankSpec, RunSpec, SearchSpec, TrainSpec};
pub use store::{Leftover, NUMERICS_VERSION, Run, Spec, Store, size};

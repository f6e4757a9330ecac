//! The run store and the rows that every table, figure and workbook cell is computed from.
mod baseline;
mod environment;
mod experiment;
mod evaluation;
pub mod file;
mod logreg;
mod prediction;
mod settings;
mod store;
mod tfidf;

pub use baseline::{Baseline, MostFrequent, Settings as BaselineSettings, TfidfLogReg};
pub use experiment::{Lora, PredictConfig, TrainConfig, ask, open_corpus, validation_split};
pub use environment::{Environment, Stopwatch, peak_bytes};
pub use evaluation::{Comparison, Evaluation, Reading, Scores, Scoring, compare, digest, evaluate, names};
pub use logreg::{Kernel, OneVsRest};
pub use prediction::{Prediction, label_set, outcomes, read_predictions, write_predictions};
pub use settings::{differences, flatten};
pub use store::{NUMERICS_VERSION, Run, Spec, Store, size};
pub use tfidf::{Sparse, Tfidf};

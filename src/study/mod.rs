//! The run store and the rows that every table, figure and workbook cell is computed from.
mod baseline;
mod environment;
mod experiment;
mod evaluation;
pub mod file;
mod logreg;
mod prediction;
mod provenance;
pub mod results;
mod search;
mod settings;
mod store;
mod tfidf;
mod training;

pub use baseline::{Baseline, MostFrequent, Settings as BaselineSettings, TfidfLogReg};
pub use experiment::{Lora, PredictConfig, TrainConfig, ask, open_corpus, validation_split};
pub use environment::{Environment, Stopwatch, peak_bytes};
pub use evaluation::{Comparison, Evaluation, Reading, Scores, Scoring, compare, digest, evaluate, names};
pub use logreg::{Kernel, OneVsRest};
pub use prediction::{Prediction, label_set, outcomes, read_predictions, write_predictions};
pub use settings::{differences, flatten};
pub use provenance::provenance;
pub use results::{Answered, Results};
pub use search::NameSearch;
pub use store::{NUMERICS_VERSION, Run, Spec, Store, size};
pub use tfidf::{Sparse, Tfidf};
pub use training::{Training, ask_again};

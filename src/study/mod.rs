//! Experiments over the run store: train and predict, arms and grids, settings searches, the merge gate, forecasts, and results as tables.
pub(crate) mod analysis;
mod arm;
mod config;
mod detail;
mod endpoint;
mod evaluation;
mod experiment;
mod forecast;
mod grid;
pub mod leak;
mod merge;
mod relatives;
pub mod results;
mod search;
mod training;
mod voting;

pub use analysis::Analysis;
pub use arm::{Arm, SeedAnswer, Took, Tried};
pub use config::{Learns, Method, PredictConfig, TrainConfig};
pub use detail::{Calibrated, Depth, Detail, NormaliserError, Part, Target, detail};
pub use evaluation::{
    Comparison, Evaluation, Reading, Scores, Scoring, compare, compare_with_first, digest, evaluate, names,
};
pub use experiment::{ask, open_corpus, validation_split};
pub use forecast::Forecast;
pub use grid::{Axis, Grid, GridConfig, Setting};
pub use merge::{Bounds, Gate, MergeConfig, merge, merged};
pub use relatives::{Relative, relatives};
pub use results::{Answered, Results};
pub use search::{Density, Point, Range, Search, SearchConfig, Space, Tpe, Trial};
pub use training::{Training, ask_again};
pub use voting::{Voting, ask_voting};

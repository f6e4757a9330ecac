//! Training: packed batches, token-weighted losses (cross-entropy, DFT), AdamW, schedules, checkpoints, one loop for adapters and whole models.
mod batch;
mod evaluate;
mod loss;
mod muon;
mod optimizer;
mod schedule;
mod state;
mod tagger;
mod trainer;

pub use batch::{Batch, Sequence, Sums, plan, plan_times};
pub use evaluate::{MarkedTokens, mean_loss};
pub use loss::Loss;
pub use muon::{Muon, orthogonal};
pub use optimizer::{AdamW, Gradients, Moments};
pub use schedule::Schedule;
pub use state::{Progress, State};
pub use tagger::{
    EpochScore, TaggerConfig, TaggerTrainer, TaggerUpdate, VALIDATION, class_weights, fit_tagger, read_validation,
};
pub(crate) use trainer::side_by_side;
pub use trainer::{LogLine, LoopConfig, Trainer, gradients, read_log};

#[cfg(test)]
mod tests;

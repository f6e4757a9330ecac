//! Training: packed batches, token-weighted losses (cross-entropy, DFT), AdamW, schedules, checkpoints, one loop for adapters and whole models.
mod batch;
mod loss;
mod optimizer;
mod pretrain;
mod schedule;
mod state;
mod trainer;

pub use batch::{Batch, Sequence, Sums, plan};
pub use loss::Loss;
pub use optimizer::{AdamW, Gradients, Moments};
pub use pretrain::{HeldOut, Material, Mixture, PretrainConfig, Shape, fresh, material};
pub use schedule::Schedule;
pub use state::{Progress, State};
pub use trainer::{LogLine, LoopConfig, Trainer, mean_loss, read_log};

#[cfg(test)]
mod tests;

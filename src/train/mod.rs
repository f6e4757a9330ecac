//! Training: packed batches, token-weighted cross-entropy, AdamW, schedules, checkpoints, one loop for adapters and whole models.
mod batch;
mod optimizer;
mod pretrain;
mod schedule;
mod state;
mod trainer;

pub use batch::{Batch, Sequence, plan};
pub use optimizer::{AdamW, Gradients, Moments};
pub use pretrain::{HeldOut, Material, Mixture, PretrainConfig, Shape, fresh, material};
pub use schedule::Schedule;
pub use state::{Progress, State};
pub use trainer::{LogLine, LoopConfig, Trainer, read_log};

#[cfg(test)]
mod tests;

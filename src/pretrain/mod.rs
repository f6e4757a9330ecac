//! The data of the base models that this project carries: a mixture of open text, synthetic reports and exercises, and their random start.
mod exercises;
mod mixture;
mod model;
mod ngram;

pub use exercises::ORGANS;
pub use mixture::{HeldOut, Material, NGRAM, material};
pub use model::{Mixture, PretrainConfig, Shape, fresh};
pub use ngram::ByteNgram;

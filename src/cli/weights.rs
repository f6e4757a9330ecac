//! `--weights`, of every command that opens a model.
use crate::model::Precision;
use clap::{Args, ValueEnum};

#[derive(Args)]
pub struct Weights {
    /// Precision of the model's weights in memory
    #[arg(long, value_enum, default_value = "f32")]
    weights: Kept,
}

/// The same where few tokens are read at a time and memory is what takes the time: as stored unless it is said.
#[derive(Args)]
pub struct ServedWeights {
    /// Precision of the model's weights in memory
    #[arg(long, value_enum, default_value = "stored")]
    weights: Kept,
}

impl ServedWeights {
    pub fn precision(&self) -> Precision {
        self.weights.precision()
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum Kept {
    /// Widened to f32 (blocks of a GGUF file stay blocks)
    F32,
    /// As the file has them: the same answers in less memory
    Stored,
    /// Rounded to bf16
    Bf16,
    /// Rounded to bf16 (blocks of a GGUF file as they are multiplied), and so is what they are multiplied with: mixed precision
    Mixed,
}

impl Weights {
    pub fn precision(&self) -> Precision {
        self.weights.precision()
    }
}

impl Kept {
    fn precision(self) -> Precision {
        match self {
            Kept::F32 => Precision::F32,
            Kept::Stored => Precision::Stored,
            Kept::Bf16 => Precision::Bf16,
            Kept::Mixed => Precision::Mixed,
        }
    }
}

//! How the weights of a base model lie in memory, and in which type they are multiplied.
use super::ops::Weight;
use candle_core::Tensor;
use serde::{Deserialize, Serialize};

/// Norms and biases are f32 always, and so are all products but those of `Mixed`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Widened to f32: fastest. Q8_0, Q4_K and Q6_K of a GGUF file stay blocks: who gives such a file wants its memory.
    #[default]
    F32,
    /// As the file has them: a bf16 checkpoint takes half the memory and gives the same numbers. (Blocks that the
    /// forward does not widen, such as Q5_K, become bf16.)
    Stored,
    /// Rounded to bf16.
    Bf16,
    /// Mixed precision: rounded to bf16, and so is what they are multiplied with; sums and everything between the
    /// products stay f32. Q8_0, Q4_K and Q6_K stay blocks and are rounded as they are multiplied.
    Mixed,
}

impl Precision {
    /// A matrix in this precision, from the tensor in the type that it is stored in.
    pub fn weight(self, t: Tensor) -> Weight {
        match self {
            Self::Mixed if t.rank() == 2 => Weight::from(t).mixed(),
            _ => t.into(),
        }
    }
}

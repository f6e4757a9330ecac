//! The order in which a Llama's rows of queries and keys lie in a GGUF file.
//!
//! Hugging Face turns pair i of a head as dimensions (i, i + d/2); llama.cpp's `llama` turns neighbours, (2i, 2i + 1),
//! and its converter moves the output rows so that both mean the same:
//!
//! ```text
//! GGUF row h·d + 2i + s   =   Hugging Face's row h·d + s·d/2 + i       head h, s ∈ {0, 1}, i < d/2
//! ```
//! A row is a whole run of blocks: bytes are moved, nothing is dequantised. A model whose rows are left as they lie
//! still talks, only worse (SmolLM2: mean loss 4.23 for 3.21), so numbers alone tell.
use crate::model::Config;

/// How the rows of one tensor are moved.
#[derive(Clone, Copy)]
pub struct Rows {
    heads: usize,
    /// Of a head.
    dim: usize,
}

impl Rows {
    /// None where the tensor of Hugging Face's `name` lies in a file as it lies there.
    pub fn of(config: &Config, name: &str) -> Option<Self> {
        let layer = name.strip_suffix(".weight").or(name.strip_suffix(".bias"))?;
        let heads = match layer {
            _ if !config.family.gguf_turns_neighbours() => return None,
            q if q.ends_with(".self_attn.q_proj") => config.num_attention_heads,
            k if k.ends_with(".self_attn.k_proj") => config.num_key_value_heads,
            _ => return None,
        };
        Some(Self { heads, dim: config.head_dim })
    }

    /// The bytes of a tensor of `heads · dim` rows, from Hugging Face's order into the file's.
    pub fn to_file(self, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![0; bytes.len()];
        let row = self.row(bytes);
        for (theirs, ours) in self.pairs() {
            out[theirs * row..][..row].copy_from_slice(&bytes[ours * row..][..row]);
        }
        out
    }

    /// The other way, in place.
    pub fn from_file(self, bytes: &mut [u8]) {
        let (from, row) = (bytes.to_vec(), self.row(bytes));
        for (theirs, ours) in self.pairs() {
            bytes[ours * row..][..row].copy_from_slice(&from[theirs * row..][..row]);
        }
    }

    fn row(self, bytes: &[u8]) -> usize {
        bytes.len() / (self.heads * self.dim)
    }

    /// Row numbers in the file and in Hugging Face's order.
    fn pairs(self) -> impl Iterator<Item = (usize, usize)> {
        let half = self.dim / 2;
        (0..self.heads * self.dim).map(move |theirs| {
            let (head, within) = (theirs / self.dim, theirs % self.dim);
            (theirs, head * self.dim + within % 2 * half + within / 2)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_move_as_llama_cpps_converter_moves_them_and_back() {
        // SmolLM2's queries, 9 heads of 64: Hugging Face's rows and where they lie in its file
        let rows = Rows { heads: 9, dim: 64 };
        let places: Vec<usize> =
            [0, 1, 31, 32, 33, 63, 64, 575].map(|ours| rows.pairs().find(|pair| pair.1 == ours).unwrap().0).to_vec();
        assert_eq!(places, [0, 2, 62, 1, 3, 63, 64, 575]);
        let bytes: Vec<u8> = (0..9 * 64 * 3).map(|i| (i * 7 % 251) as u8).collect();
        let mut back = rows.to_file(&bytes);
        assert_ne!(back, bytes);
        rows.from_file(&mut back);
        assert_eq!(back, bytes);
    }
}

//! What was read of prompts, kept by the piece for others that begin alike: the least recently used pieces make room. A piece of a recurrent
//! model holds the state after it, which is what the next piece and no other goes on from.
use super::engine::PIECE;
use crate::error::Result;
use crate::model::Cache;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Names a piece together with all that stands before it, and the model that read it.
type Name = [u8; 32];

/// See the file's header.
pub(super) struct Kept {
    pieces: BTreeMap<Name, (Cache, u64)>,
    /// Pieces, at most.
    most: usize,
    clock: u64,
}

/// The names of the whole pieces of a prompt that are followed by at least one more token, in their order.
fn names(model: usize, prompt: &[u32]) -> impl Iterator<Item = Name> + '_ {
    let whole = prompt.len().saturating_sub(1) / PIECE;
    let mut before: Name = Sha256::digest((model as u64).to_le_bytes()).into();
    prompt.chunks_exact(PIECE).take(whole).map(move |piece| {
        let mut hash = Sha256::new_with_prefix(before);
        piece.iter().for_each(|id| hash.update(id.to_le_bytes()));
        before = hash.finalize().into();
        before
    })
}

impl Kept {
    /// Of so many tokens at most.
    pub fn new(tokens: usize) -> Self {
        Self { pieces: BTreeMap::new(), most: tokens / PIECE, clock: 0 }
    }

    /// Appends to an empty `cache` what is known of the beginning of `prompt`; at least its last token is left to read.
    pub fn fill(&mut self, model: usize, prompt: &[u32], cache: &mut Cache) -> Result<()> {
        for name in names(model, prompt) {
            let Some((part, used)) = self.pieces.get_mut(&name) else { break };
            self.clock += 1;
            *used = self.clock;
            cache.append(part)?;
        }
        Ok(())
    }

    /// Keeps the last whole piece of `cache`, which holds the beginning of `prompt`.
    pub fn keep(&mut self, model: usize, prompt: &[u32], cache: &Cache) {
        let (end, pieces) = (cache.len(), cache.len() / PIECE);
        if self.most == 0 || pieces == 0 || !end.is_multiple_of(PIECE) {
            return;
        }
        let (Some(name), Some(part)) = (names(model, prompt).nth(pieces - 1), cache.part(end - PIECE, end)) else {
            return;
        };
        self.clock += 1;
        self.pieces.insert(name, (part, self.clock));
        while self.pieces.len() > self.most {
            let Some(oldest) = self.pieces.iter().min_by_key(|(_, (_, used))| *used).map(|(name, _)| *name) else {
                return;
            };
            self.pieces.remove(&oldest);
        }
    }
}

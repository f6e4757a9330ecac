//! What may come next in an answer: asked before every token, told after it.
//!
//! The decoder adds the end of turn to what is allowed wherever the answer may end, and chooses by probabilities
//! renormalised over the rest: the most likely allowed token at every step, which is not the most likely allowed answer
//! (that is what `rank` finds, for short lists).
use crate::error::{Error, Result};

/// The state of one answer under a constraint.
pub trait Constraint: Send {
    /// Token ids that may come next, ascending; none where the answer can only end. The answer is cut after `left` more
    /// tokens, this one included: a constraint that can plan for that allows only what it can finish in as many.
    fn allowed(&mut self, left: usize) -> Result<Vec<u32>>;
    /// Takes one of the allowed tokens.
    fn accept(&mut self, token: u32) -> Result<()>;
    /// Whether the answer may end here.
    fn may_end(&mut self) -> Result<bool>;
    /// The same state once more, for an answer of its own.
    fn fork(&self) -> Box<dyn Constraint>;
}

/// Ids for the next draw, ascending: what the constraint allows, and the tokens that end an answer if it may end and
/// only then.
pub(super) fn next_ids(constraint: &mut dyn Constraint, left: usize, stop: &[u32]) -> Result<Vec<u32>> {
    let mut ids = constraint.allowed(left)?;
    ids.retain(|id| !stop.contains(id));
    if constraint.may_end()? {
        ids.extend_from_slice(stop);
        ids.sort_unstable();
        ids.dedup();
    }
    match ids.is_empty() {
        true => Err(Error::input("the constraint allows no token here and no end either: mend the grammar")),
        false => Ok(ids),
    }
}

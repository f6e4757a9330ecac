//! Whose the packed tokens are.
use std::sync::Arc;

/// Where each packed sequence starts; the last entry is the number of tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Segments(Arc<Vec<usize>>);

impl Segments {
    pub fn of_lengths(lengths: impl IntoIterator<Item = usize>) -> Self {
        let mut starts = vec![0];
        lengths.into_iter().for_each(|n| starts.push(starts[starts.len() - 1] + n));
        Self(Arc::new(starts))
    }
    pub fn len(&self) -> usize {
        self.0.len() - 1
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    pub fn tokens(&self) -> usize {
        self.0[self.0.len() - 1]
    }
    pub fn range(&self, i: usize) -> std::ops::Range<usize> {
        self.0[i]..self.0[i + 1]
    }
    /// Position of every token in its own segment.
    pub fn positions(&self) -> Vec<usize> {
        (0..self.len()).flat_map(|i| 0..self.range(i).len()).collect()
    }
}

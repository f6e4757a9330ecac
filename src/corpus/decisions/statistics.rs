//! What notes with decisions are made of: how many spans of which category, how long, how tangled.
use super::{Category, Span};
use crate::corpus::Example;
use std::collections::BTreeMap;

/// Counts over some notes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statistics {
    pub notes: usize,
    /// Code points of all notes.
    pub chars: usize,
    pub spans: usize,
    /// Lengths of the spans of each category in code points, ascending.
    pub lengths: BTreeMap<Category, Vec<usize>>,
    /// Pairs of spans that cross, those of one category among them, and pairs of which one holds the other.
    pub crossing: usize,
    pub crossing_alike: usize,
    pub nested: usize,
}

impl Statistics {
    pub fn of<'a>(notes: impl IntoIterator<Item = &'a Example<Vec<Span>>>) -> Self {
        let mut all = Self::default();
        for note in notes {
            all.notes += 1;
            all.chars += note.input.chars().count();
            all.spans += note.gold.len();
            for (i, span) in note.gold.iter().enumerate() {
                all.lengths.entry(span.category).or_default().push(span.chars());
                for other in &note.gold[..i] {
                    let crosses = span.crosses(other);
                    all.crossing += usize::from(crosses);
                    all.crossing_alike += usize::from(crosses && span.category == other.category);
                    all.nested += usize::from(!crosses && span.overlap(other) > 0);
                }
            }
        }
        all.lengths.values_mut().for_each(|lengths| lengths.sort_unstable());
        all
    }

    /// Share of a category among the spans; 0 without spans.
    pub fn share(&self, category: Category) -> f64 {
        self.lengths.get(&category).map_or(0, Vec::len) as f64 / self.spans.max(1) as f64
    }

    /// Length of a span at the three quartiles (the sorted length at place ⌊q·n/4⌋); None without spans.
    pub fn quartiles(&self) -> Option<[usize; 3]> {
        let mut lengths: Vec<usize> = self.lengths.values().flatten().copied().collect();
        lengths.sort_unstable();
        (!lengths.is_empty()).then(|| [1, 2, 3].map(|q| lengths[q * lengths.len() / 4]))
    }

    /// Spans in 1,000 code points.
    pub fn density(&self) -> f64 {
        1000.0 * self.spans as f64 / self.chars.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_pairs_are_counted_by_note() {
        use Category::{DefineProblem, DrugDecision};
        let spans = vec![
            Span::new(0, 10, DrugDecision),
            Span::new(5, 12, DrugDecision),
            Span::new(6, 8, DefineProblem),
            Span::new(14, 16, DefineProblem),
        ];
        let note = Example::new("a", "a", "0123456789abcdefghij", spans.clone());
        let found = Statistics::of([&note, &Example::new("b", "b", "é", vec![])]);
        assert_eq!((found.notes, found.chars, found.spans), (2, 21, 4));
        assert_eq!((found.crossing, found.crossing_alike, found.nested), (1, 1, 2));
        assert_eq!((found.share(DrugDecision), found.quartiles()), (0.5, Some([2, 7, 10])));
        assert_eq!((Statistics::of([]).quartiles(), Statistics::of([]).density()), (None, 0.0));
    }
}

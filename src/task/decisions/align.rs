//! One alignment of an answer with the note that it copies, so that every offset of the answer has a place in the note.
//!
//! Words, runs of white space and single marks are compared by a diff (Myers 1986); where a few of them differ, their characters are compared by
//! another. So it does not matter where in the note the answer went wrong, nor how often a word occurs.
use similar::algorithms::IdentifyDistinct;
use similar::{Algorithm, DiffOp, capture_diff_slices};
use std::collections::HashSet;

/// Differing stretches of more characters than this (of both sides multiplied) are not compared character by character.
const MOST: usize = 1 << 20;

/// For each character of an answer the one of the note that it copies.
#[derive(Clone, Debug)]
pub struct Alignment {
    to: Vec<Option<usize>>,
    note: usize,
}

impl Alignment {
    pub fn of(answer: &[char], note: &[char]) -> Self {
        let mut to = vec![None; answer.len()];
        let (old, new) = (pieces(answer), pieces(note));
        let (old_at, new_at) = (offsets(&old), offsets(&new));
        let (mut i, mut j) = (0, 0);
        for (next_i, next_j) in matches(&old, &new).into_iter().chain([(old.len(), new.len())]) {
            let (a, b) = (old_at[i]..old_at[next_i], new_at[j]..new_at[next_j]);
            if !a.is_empty() && !b.is_empty() && a.len() * b.len() <= MOST {
                let (from_a, from_b) = (a.start, b.start);
                for op in capture_diff_slices(Algorithm::Myers, &answer[a], &note[b]) {
                    if let DiffOp::Equal { old_index, new_index, len } = op {
                        (0..len).for_each(|k| to[from_a + old_index + k] = Some(from_b + new_index + k));
                    }
                }
            }
            if next_i < old.len() {
                let (a, b) = (old_at[next_i], new_at[next_j]);
                (0..old[next_i].len()).for_each(|k| to[a + k] = Some(b + k));
            }
            (i, j) = ((next_i + 1).min(old.len()), (next_j + 1).min(new.len()));
        }
        Self { to, note: note.len() }
    }

    /// Places `[start, end)` in the note that the characters `[start, end)` of the answer may stand for, the likeliest first. A character
    /// without a counterpart at an end of the span may stand for the stretch of the note that lies there, or for nothing.
    pub fn places(&self, start: usize, end: usize) -> Vec<(usize, usize)> {
        if start >= end || !self.to[start..end].iter().any(Option::is_some) {
            return Vec::new();
        }
        let starts = match self.to[start] {
            Some(at) => vec![at],
            None => vec![self.before(start), self.after(start)],
        };
        let ends = match self.to[end - 1] {
            Some(at) => vec![at + 1],
            None => vec![self.after(end - 1), self.before(end - 1)],
        };
        let pairs = starts.iter().flat_map(|&start| ends.iter().map(move |&end| (start, end)));
        pairs.filter(|(start, end)| start < end).collect()
    }

    /// Whether a character of the answer copies one of the note.
    pub fn is_copied(&self, at: usize) -> bool {
        self.to.get(at).is_some_and(Option::is_some)
    }

    /// Where a character stands in the note, or what stands after it.
    pub fn near(&self, at: usize) -> usize {
        self.to.get(at).copied().flatten().unwrap_or_else(|| self.after(at))
    }

    /// Behind the last counterpart before a character.
    fn before(&self, at: usize) -> usize {
        self.to[..at].iter().rev().find_map(|to| *to).map_or(0, |to| to + 1)
    }

    /// The first counterpart after a character.
    fn after(&self, at: usize) -> usize {
        self.to.get(at..).and_then(|rest| rest.iter().find_map(|to| *to)).unwrap_or(self.note)
    }
}

/// Pairs of equal pieces by a diff, in order. A piece that the other side has nowhere is left out before: it can have no counterpart, and an
/// answer that is no copy has many. Pieces are compared as numbers.
fn matches(old: &[&[char]], new: &[&[char]]) -> Vec<(usize, usize)> {
    let ids = IdentifyDistinct::<u32>::new(old, 0..old.len(), new, 0..new.len());
    let (old_ids, new_ids) = (ids.old_lookup(), ids.new_lookup());
    let old_ids: Vec<u32> = (0..old.len()).map(|i| old_ids[i]).collect();
    let new_ids: Vec<u32> = (0..new.len()).map(|j| new_ids[j]).collect();
    let (in_old, in_new): (HashSet<u32>, HashSet<u32>) =
        (old_ids.iter().copied().collect(), new_ids.iter().copied().collect());
    let kept = |ids: &[u32], others: &HashSet<u32>| -> Vec<usize> {
        (0..ids.len()).filter(|&at| others.contains(&ids[at])).collect()
    };
    let (old_kept, new_kept) = (kept(&old_ids, &in_new), kept(&new_ids, &in_old));
    let of = |ids: &[u32], kept: &[usize]| -> Vec<u32> { kept.iter().map(|&at| ids[at]).collect() };
    let (old_left, new_left) = (of(&old_ids, &old_kept), of(&new_ids, &new_kept));
    let mut pairs = Vec::new();
    for op in capture_diff_slices(Algorithm::Myers, &old_left, &new_left) {
        if let DiffOp::Equal { old_index, new_index, len } = op {
            pairs.extend((0..len).map(|k| (old_kept[old_index + k], new_kept[new_index + k])));
        }
    }
    pairs
}

/// Words, runs of white space, single other characters.
fn pieces(text: &[char]) -> Vec<&[char]> {
    let kind = |c: char| match (c.is_alphanumeric(), c.is_whitespace()) {
        (true, _) => 1,
        (_, true) => 2,
        _ => 3,
    };
    text.chunk_by(|a, b| kind(*a) == kind(*b) && kind(*a) != 3).collect()
}

/// Where each piece begins, and the length of all.
fn offsets(pieces: &[&[char]]) -> Vec<usize> {
    let mut at = 0;
    let mut offsets = vec![0];
    offsets.extend(pieces.iter().map(|piece| {
        at += piece.len();
        at
    }));
    offsets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aligned(answer: &str, note: &str, part: &str) -> Vec<String> {
        let (answer, note): (Vec<char>, Vec<char>) = (answer.chars().collect(), note.chars().collect());
        let part: Vec<char> = part.chars().collect();
        let start = answer.windows(part.len()).position(|window| window == part).unwrap();
        let places = Alignment::of(&answer, &note).places(start, start + part.len());
        places.iter().map(|&(s, e)| note[s..e].iter().collect()).collect()
    }

    #[test]
    fn words_that_were_changed_lead_to_what_stands_there() {
        let note = "Start lasix 40 mg daily. Stop the lasix.";
        assert_eq!(
            aligned("Start lasix 40 mg dayly. Stop the lasix.", note, "lasix 40 mg dayly"),
            ["lasix 40 mg daily"]
        );
        assert_eq!(aligned("Stop the lasix.", note, "lasix."), ["lasix."]);
        assert_eq!(aligned("Start Furosemid 40 mg daily.", note, "Furosemid 40 mg")[0], "lasix 40 mg");
        assert!(aligned("zzz Start", note, "zzz").is_empty());
    }

    #[test]
    fn a_copy_maps_onto_itself() {
        let text: Vec<char> = "a\r\n <b> 肺炎, x".chars().collect();
        let all = Alignment::of(&text, &text);
        assert!((0..text.len()).all(|at| all.near(at) == at));
        assert_eq!(all.places(0, text.len()), [(0, text.len())]);
        assert!((0..text.len()).all(|at| all.is_copied(at)) && !all.is_copied(text.len()));
    }
}

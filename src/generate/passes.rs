//! What a decoding step reads, cut into passes through the model.
use std::ops::Range;

/// Tokens that one pass through the model reads: so many that reading its weights costs little beside (LOG.md), so few that a long prompt
/// needs no more memory than a short one, but for its cache.
pub const AT_ONCE: usize = 2048;

/// What one pass reads: of some sequences beside one another a piece of what each has pending.
#[derive(Debug, PartialEq)]
pub struct Pass {
    /// The first of the sequences.
    pub first: usize,
    pub pieces: Vec<Range<usize>>,
}

/// `lengths` pending tokens, cut into passes of `most` tokens.
pub fn passes(lengths: &[usize], most: usize) -> Vec<Pass> {
    let (mut passes, mut room) = (Vec::<Pass>::new(), 0);
    for (i, &length) in lengths.iter().enumerate() {
        let mut at = 0;
        while at < length {
            if room == 0 {
                passes.push(Pass { first: i, pieces: vec![] });
                room = most;
            }
            let piece = at..length.min(at + room);
            (at, room) = (piece.end, room - piece.len());
            passes.last_mut().into_iter().for_each(|pass| pass.pieces.push(piece.clone()));
        }
    }
    passes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_read_every_token_once_in_order_and_never_too_many() {
        let pieces = |lengths: &[usize], most: usize| -> Vec<(usize, Vec<Range<usize>>)> {
            passes(lengths, most).into_iter().map(|pass| (pass.first, pass.pieces)).collect()
        };
        assert_eq!(pieces(&[1, 1, 1], 8), [(0, vec![0..1, 0..1, 0..1])]);
        assert_eq!(pieces(&[5, 3], 8), [(0, vec![0..5, 0..3])]);
        assert_eq!(
            pieces(&[5, 9, 1], 4),
            [(0, vec![0..4]), (0, vec![4..5, 0..3]), (1, vec![3..7]), (1, vec![7..9, 0..1])]
        );
        assert_eq!(pieces(&[], 4), []);
    }
}

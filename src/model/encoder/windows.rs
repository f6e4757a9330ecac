//! A long text as windows of tokens that overlap, and which window answers for which token.
use std::ops::Range;

/// Windows of at most `most` tokens (control tokens not counted), each sharing `overlap` tokens with the one before it: what transformers
/// calls a stride of `overlap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    pub most: usize,
    pub overlap: usize,
}

impl Default for Windows {
    /// What fits BERT's 512 positions with [CLS] and [SEP].
    fn default() -> Self {
        Self { most: 510, overlap: 128 }
    }
}

impl Windows {
    /// The windows of a text of `tokens` tokens, in order; none for no tokens. Every token is in at least one.
    pub fn over(&self, tokens: usize) -> Vec<Range<usize>> {
        let most = self.most.max(1);
        let step = most - self.overlap.min(most - 1);
        let mut windows: Vec<Range<usize>> = Vec::new();
        while windows.last().map_or(0, |w| w.end) < tokens {
            let start = windows.len() * step;
            windows.push(start..tokens.min(start + most));
        }
        windows
    }

    /// For every token the number of the window in which it stands farthest from a cut, as that is where it is read with the most of its
    /// surroundings; the earlier of two alike. The text's own ends are no cuts.
    pub fn owners(windows: &[Range<usize>]) -> Vec<usize> {
        let tokens = windows.last().map_or(0, |w| w.end);
        let from_cut = |w: &Range<usize>, i: usize| {
            let before = if w.start == 0 { usize::MAX } else { i - w.start };
            let behind = if w.end == tokens { usize::MAX } else { w.end - 1 - i };
            before.min(behind)
        };
        let mut owners = vec![(0, None); tokens];
        for (number, w) in windows.iter().enumerate() {
            for i in w.clone() {
                let distance = Some(from_cut(w, i));
                if distance > owners[i].1 {
                    owners[i] = (number, distance);
                }
            }
        }
        owners.into_iter().map(|(number, _)| number).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_every_token_and_share_the_overlap() {
        let w = Windows::default();
        assert!(w.over(0).is_empty());
        assert_eq!(w.over(510), [0..510]);
        assert_eq!(w.over(511), [0..510, 382..511]);
        assert_eq!(w.over(1300), [0..510, 382..892, 764..1274, 1146..1300]);
        for (most, overlap) in [(1, 0), (1, 5), (4, 3), (4, 9), (7, 2)] {
            let windows = Windows { most, overlap }.over(23);
            assert!(windows.iter().all(|w| w.len() <= most), "{windows:?}");
            assert!((0..23).all(|i| windows.iter().any(|w| w.contains(&i))), "{windows:?}");
        }
    }

    #[test]
    fn a_token_belongs_to_the_window_in_which_it_is_farthest_from_a_cut() {
        let windows = Windows { most: 6, overlap: 4 }.over(9);
        assert_eq!(windows, [0..6, 2..8, 4..9]);
        // token 3: 2 from the first window's end, 1 from the second's start; token 5: 0, 2, 1; token 8 only in the last
        assert_eq!(Windows::owners(&windows), [0, 0, 0, 0, 1, 1, 2, 2, 2]);
        assert_eq!(Windows::owners(&[0..3, 3..5]), [0, 0, 0, 1, 1]);
        assert!(Windows::owners(&[]).is_empty());
    }
}

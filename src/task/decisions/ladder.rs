//! The published search for a span's text in the note (system 002, `pred_to_offset`), rung by rung; the first that succeeds counts, and of several
//! occurrences the one whose relative place is nearest.
//!
//! 1. as written; 2. with runs of white space as one space; 3. in lower case; 4. and 5., of more than 20 characters, its first or last 50; 6. windows
//!    of 0.8, 1 and 1.2 times its length with a similarity (`difflib`) of at least 0.85 (spans of up to 2,000 characters).
use super::codec::{Match, Placed, Reason};
use super::tokens::find;
use crate::metric::difflib::{ratio, upper_bound};
use std::collections::HashMap;

/// Similarity from which on a window is taken for the span.
const ALIKE: f64 = 0.85;
/// Similarity from which on a lost span counts as misspelt.
const TYPO: f64 = 0.6;
/// Share of a threshold that a window of the coarse search must reach.
const COARSE: f64 = 0.9;
/// Longer spans are not looked for roughly: their number of comparisons grows with the square of their length, and no decision is so long.
const LONGEST: usize = 2000;
/// Characters of a beginning or end.
const PART: usize = 50;

/// The similarity of an answer's words to the note's, if they are similar enough.
pub(super) fn similar_enough(text: &[char], note: &[char]) -> Option<f64> {
    if upper_bound(text, note) < ALIKE {
        return None;
    }
    Some(ratio(text, note, false)).filter(|ratio| *ratio >= ALIKE)
}

/// Where `text` stands in the note; `position` is its place in the answer, from 0 to 1.
pub fn ladder(text: &[char], note: &[char], position: f64) -> Placed {
    if text.iter().all(|c| c.is_whitespace()) {
        return Err(Reason::EmptySpan);
    }
    let near = |part: &[char], whole: &[char], how: Match| {
        let distance = |at: &usize| (*at as f64 / note.len() as f64 - position).abs();
        let at = occurrences(whole, part).min_by(|a, b| distance(a).total_cmp(&distance(b)))?;
        Some((at, (at + part.len()).min(note.len()), how))
    };
    let (low_text, low_note) = (lower(text), lower(note));
    near(text, note, Match::Exact)
        .or_else(|| {
            let one_space = collapsed(text).0;
            let changed = one_space != text;
            (changed.then(|| near(&one_space, note, Match::WhiteSpace)).flatten())
                .or_else(|| in_collapsed(&one_space, note))
        })
        .or_else(|| near(&low_text, &low_note, Match::LowerCase))
        .or_else(|| ends(text, note, &low_text, &low_note))
        .map_or_else(|| roughly(text, note), Ok)
}

/// The rough search, else why the span is lost.
fn roughly(text: &[char], note: &[char]) -> Placed {
    let beginning = &text[..text.len().min((text.len() / 3).max(10))];
    match most_alike(text, note) {
        Some((start, end, likeness)) if likeness >= ALIKE => Ok((start, end, Match::Fuzzy)),
        Some(_) => Err(Reason::ModelTypo),
        None if text.len() > 10 && find(note, beginning, 0).is_some() => Err(Reason::Truncated),
        None => Err(Reason::NotInText),
    }
}

fn occurrences(whole: &[char], part: &[char]) -> impl Iterator<Item = usize> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let at = find(whole, part, from)?;
        from = at + 1;
        Some(at)
    })
}

/// One character for one, so that places stay.
fn lower(text: &[char]) -> Vec<char> {
    text.iter().map(|c| c.to_lowercase().next().unwrap_or(*c)).collect()
}

/// Runs of white space as one space, none at the ends; and where each character stood.
fn collapsed(text: &[char]) -> (Vec<char>, Vec<usize>) {
    let (mut out, mut at) = (Vec::new(), Vec::new());
    for (i, c) in text.iter().enumerate() {
        let space = c.is_whitespace();
        if space && (out.is_empty() || out.last() == Some(&' ')) {
            continue;
        }
        out.push(if space { ' ' } else { *c });
        at.push(i);
    }
    if out.last() == Some(&' ') {
        out.pop();
        at.pop();
    }
    (out, at)
}

fn in_collapsed(part: &[char], note: &[char]) -> Option<(usize, usize, Match)> {
    let (whole, at) = collapsed(note);
    let start = find(&whole, part, 0)?;
    Some((at[start], at[start + part.len() - 1] + 1, Match::WhiteSpace))
}

/// By the first or the last 50 characters of a longer text; the first occurrence.
fn ends(text: &[char], note: &[char], low_text: &[char], low_note: &[char]) -> Option<(usize, usize, Match)> {
    if text.len() <= 20 {
        return None;
    }
    let part = text.len().min(PART);
    let (first, last) = (..part, text.len() - part..);
    let beginning = find(note, &text[first], 0).or_else(|| find(low_note, &low_text[first], 0));
    let beginning = beginning.map(|start| (start, (start + text.len()).min(note.len()), Match::Beginning));
    beginning.or_else(|| {
        let at = find(note, &text[last.clone()], 0).or_else(|| find(low_note, &low_text[last], 0))?;
        let end = at + part;
        Some((end.saturating_sub(text.len()), end, Match::End))
    })
}

/// The window that is most like the text, and how much, where it is at least [`TYPO`] like it: the best of windows some characters apart, then the
/// best near that one.
fn most_alike(text: &[char], note: &[char]) -> Option<(usize, usize, f64)> {
    let length = text.len();
    if !(5..=LONGEST).contains(&length) {
        return None;
    }
    let step = (length / 10).max(1);
    let mut best = Best::default();
    for size in [length, length * 8 / 10, length * 12 / 10] {
        if size > 0 && size <= note.len() {
            best.of_windows(text, note, (0..=note.len() - size).step_by(step), size, COARSE * TYPO);
        }
    }
    let (coarse, start, size) = (best.likeness, best.start, best.size);
    if coarse < COARSE * TYPO {
        return None;
    }
    let last = (start + step).min(note.len() - size);
    best.of_windows(text, note, start.saturating_sub(step)..=last, size, TYPO);
    let found = best.likeness >= TYPO;
    // as the published search has it, a window counts as alike only where one of the coarse windows nearly was
    let likeness = if coarse < COARSE * ALIKE { best.likeness.min(TYPO) } else { best.likeness };
    found.then_some((best.start, best.start + best.size, likeness))
}

/// The window that is most like a text so far.
#[derive(Default)]
struct Best {
    likeness: f64,
    start: usize,
    size: usize,
}

impl Best {
    /// Looks at windows of one size, in order; likeness is worked out only where it can be better and at least `least`, by the characters that
    /// text and window share. Their number is carried from window to window.
    fn of_windows(
        &mut self,
        text: &[char],
        note: &[char],
        starts: impl Iterator<Item = usize>,
        size: usize,
        least: f64,
    ) {
        let mut left: HashMap<char, i32> = HashMap::new(); // of each character of the text how many the window lacks; below 0: has more
        text.iter().for_each(|c| *left.entry(*c).or_default() += 1);
        let (mut common, mut from, mut to) = (0usize, 0, 0);
        for start in starts {
            if from == to {
                (from, to) = (start, start);
            }
            for c in &note[to..start + size] {
                if let Some(left) = left.get_mut(c) {
                    common += usize::from(*left > 0);
                    *left -= 1;
                }
            }
            for c in &note[from..start] {
                if let Some(left) = left.get_mut(c) {
                    *left += 1;
                    common -= usize::from(*left > 0);
                }
            }
            (from, to) = (start, start + size);
            let most = 2.0 * common as f64 / (text.len() + size) as f64;
            if most > self.likeness && most >= least {
                let likeness = ratio(text, &note[start..start + size], true);
                if likeness > self.likeness {
                    *self = Self { likeness, start, size };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTE: &str = "  Start  lasix\n40 mg daily. HOLD aspirin. The patient was discharged home in stable condition on the third day. Hold aspirin.";

    fn placed(text: &str, position: f64) -> Result<(String, Match), Reason> {
        let (text, note): (Vec<char>, Vec<char>) = (text.chars().collect(), NOTE.chars().collect());
        ladder(&text, &note, position).map(|(start, end, how)| (note[start..end].iter().collect(), how))
    }

    #[test]
    fn each_rung_finds_what_it_is_for() {
        let found = |text: &str, how: Match| Ok((text.to_string(), how));
        assert_eq!(placed("Hold aspirin", 0.0), found("Hold aspirin", Match::Exact));
        assert_eq!(placed("Start lasix 40 mg", 0.0), found("Start  lasix\n40 mg", Match::WhiteSpace));
        assert_eq!(placed("hold aspirin", 0.1), found("HOLD aspirin", Match::LowerCase));
        assert_eq!(placed("hold aspirin", 0.9), found("Hold aspirin", Match::LowerCase));
        let long = "The patient was discharged home in stable condition on the seventh day.";
        assert_eq!(placed(long, 0.5).unwrap().1, Match::Beginning);
        assert_eq!(
            placed("Yesterday was discharged home in stable condition on the third day.", 0.5).unwrap().1,
            Match::End
        );
        assert_eq!(placed("HOLD asprin. The patien", 0.5).unwrap().1, Match::Fuzzy);
    }

    /// The search as it is described, window by window, without anything carried over.
    fn naive(text: &[char], note: &[char], threshold: f64) -> Option<(usize, usize)> {
        let step = (text.len() / 10).max(1);
        let mut best = (0.0, 0, 0);
        let sizes = [text.len(), text.len() * 8 / 10, text.len() * 12 / 10];
        for size in sizes.into_iter().filter(|size| (1..=note.len()).contains(size)) {
            for start in (0..=note.len() - size).step_by(step) {
                let likeness = ratio(text, &note[start..start + size], true);
                best = if likeness > best.0 { (likeness, start, size) } else { best };
            }
        }
        let (coarse, start, size) = best;
        for start in start.saturating_sub(step)..=(start + step).min(note.len() - size) {
            let likeness = ratio(text, &note[start..start + size], true);
            best = if likeness > best.0 { (likeness, start, size) } else { best };
        }
        (coarse >= COARSE * threshold && best.0 >= threshold).then_some((best.1, best.1 + best.2))
    }

    #[test]
    fn the_rough_search_is_the_naive_one() {
        let mut dice = crate::corpus::synthetic::dice::Dice::new(23, 0);
        let words = ["hold", "aspirin", "lasix", "daily", "home", "with", "40", "mg", "chest", "pain,", "\n"];
        let mut text = |n: usize| -> Vec<char> {
            let words: Vec<&str> = (0..n).filter_map(|_| dice.pick(&words).copied()).collect();
            words.join(" ").chars().collect()
        };
        let (mut found, mut typos, mut lost) = (0, 0, 0);
        for i in 0..300 {
            let note = text(60);
            let mut span: Vec<char> = match i % 3 {
                0 => text(5),
                _ => note[40 + i % 50..90 + i % 70].to_vec(),
            };
            (0..i % 17).for_each(|k| {
                let at = (7 * k + i) % span.len();
                span[at] = 'x';
            });
            let want = match (naive(&span, &note, ALIKE), naive(&span, &note, TYPO)) {
                (Some((start, end)), _) => Ok((start, end, Match::Fuzzy)),
                (None, Some(_)) => Err(Reason::ModelTypo),
                (None, None) => Err(Reason::NotInText),
            };
            let got = roughly(&span, &note);
            let got = if got == Err(Reason::Truncated) { Err(Reason::NotInText) } else { got };
            assert_eq!(got, want, "{span:?} in {note:?}");
            match want {
                Ok(_) => found += 1,
                Err(Reason::ModelTypo) => typos += 1,
                Err(_) => lost += 1,
            }
        }
        assert!(found > 20 && typos > 20 && lost > 0, "{found} {typos} {lost}");
    }

    #[test]
    fn what_is_not_found_is_told_apart() {
        assert_eq!(placed(" \n", 0.5), Err(Reason::EmptySpan));
        assert_eq!(placed("Hxld asxirxn now", 0.5), Err(Reason::ModelTypo));
        assert_eq!(placed("Metoprolol", 0.5), Err(Reason::NotInText));
    }
}

//! The published search for a span's text in the note (system 002, `pred_to_offset`), rung by rung; the first that succeeds counts, and of several
//! occurrences the one whose relative place is nearest.
//!
//! 1. as written; 2. with runs of white space as one space; 3. in lower case; 4. and 5., of more than 20 characters, its first or last 50; 6. windows
//!    of 0.8, 1 and 1.2 times its length with a similarity (`difflib`) of at least 0.85 (spans of up to 2,000 characters).
use super::codec::{Match, Placed, Reason};
use super::tokens::find;
use crate::metric::difflib::{ratio, upper_bound};

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
        .or_else(|| fuzzy(text, note, ALIKE).map(|(start, end)| (start, end, Match::Fuzzy)))
        .ok_or_else(|| lost(text, note))
}

/// Why a span that no rung finds is lost.
fn lost(text: &[char], note: &[char]) -> Reason {
    let beginning = &text[..text.len().min((text.len() / 3).max(10))];
    if fuzzy(text, note, TYPO).is_some() {
        Reason::ModelTypo
    } else if text.len() > 10 && find(note, beginning, 0).is_some() {
        Reason::Truncated
    } else {
        Reason::NotInText
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

/// The window that is most like the text, if it is at least `threshold` like it.
fn fuzzy(text: &[char], note: &[char], threshold: f64) -> Option<(usize, usize)> {
    let length = text.len();
    if !(5..=LONGEST).contains(&length) {
        return None;
    }
    let step = (length / 10).max(1);
    let mut best = (0.0, 0, 0);
    for size in [length, length * 8 / 10, length * 12 / 10] {
        if size > 0 && size <= note.len() {
            (0..=note.len() - size)
                .step_by(step)
                .for_each(|start| best = better(best, text, note, start, size, COARSE * threshold));
        }
    }
    let (_, start, size) = Some(best).filter(|(likeness, ..)| *likeness >= COARSE * threshold)?;
    let last = (start + step).min(note.len() - size);
    for start in start.saturating_sub(step)..=last {
        best = better(best, text, note, start, size, threshold);
    }
    Some((best.1, best.1 + best.2)).filter(|_| best.0 >= threshold)
}

/// The better of the best so far and this window; its likeness is worked out only where it can be better and at least `least`.
fn better(
    best: (f64, usize, usize),
    text: &[char],
    note: &[char],
    start: usize,
    size: usize,
    least: f64,
) -> (f64, usize, usize) {
    let window = &note[start..start + size];
    let most = upper_bound(text, window);
    if most <= best.0 || most < least {
        return best;
    }
    let likeness = ratio(text, window, true);
    if likeness > best.0 { (likeness, start, size) } else { best }
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

    #[test]
    fn what_is_not_found_is_told_apart() {
        assert_eq!(placed(" \n", 0.5), Err(Reason::EmptySpan));
        assert_eq!(placed("Hxld asxirxn now", 0.5), Err(Reason::ModelTypo));
        assert_eq!(placed("Metoprolol", 0.5), Err(Reason::NotInText));
    }
}

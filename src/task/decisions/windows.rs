//! Long notes in windows: a note is cut into texts that overlap, a model is asked about each, and the answers are put together so that no span
//! counts twice. It is what a model whose positions a note does not fit needs, and a short text is also easier to copy.
//!
//! ```text
//! note      ─────────────────────────────────────────
//! windows   ────────────────
//!                      ─────────────────
//!                                   ────────────────
//! ```
//!
//! Lengths are characters (code points), so that windows do not depend on a tokenizer. A window ends at the end of a line, else at white space,
//! where one is near its greatest length. The answer about a note in several windows is kept as JSON, `{"windows":[{"start":0,"end":3950,"raw":"…"},…]}`.
use super::codec::{Dropped, Reason, Untagged, tag, untag, untag_with_matches};
use super::score::SAME;
use crate::corpus::Case;
use crate::corpus::decisions::Span;
use crate::error::{Error, Result};
use crate::task::{TrainingText, TrainingTexts};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;

/// How a note is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoteWindows {
    /// Maximum length of a window in characters.
    pub chars: usize,
    /// Minimum number of characters that a window shares with the one before it: longer than nearly every span, as only a span that lies wholly
    /// in a window is taught and found.
    pub overlap: usize,
}

impl NoteWindows {
    /// Characters of overlap where none are given, for windows of `chars` characters.
    pub fn usual_overlap(chars: usize) -> usize {
        chars / 4
    }

    pub fn check(&self) -> Result<()> {
        let Self { chars, overlap } = self;
        match () {
            () if *chars < 16 => Err(Error::input(format!("a window of {chars} characters: expected at least 16"))),
            () if overlap * 2 > *chars => Err(Error::input(format!(
                "windows of {chars} characters that share {overlap}: expected an overlap of at most half a window ({})",
                chars / 2
            ))),
            () => Ok(()),
        }
    }

    /// The windows of a note as ranges of its characters, in order; one for a note that fits.
    pub fn over(&self, note: &[char]) -> Vec<Range<usize>> {
        let mut windows = vec![];
        let mut start = 0;
        loop {
            let end = self.end(note, start);
            windows.push(start..end);
            if end == note.len() {
                return windows;
            }
            start = self.next_start(note, start, end);
        }
    }

    /// Behind the last line end, else the last white space, in the last quarter of a window that begins at `start`.
    fn end(&self, note: &[char], start: usize) -> usize {
        if note.len() - start <= self.chars {
            return note.len();
        }
        let (least, most) = (start + self.chars - self.chars / 4, start + self.chars);
        last_break(note, least, most).unwrap_or(most)
    }

    /// At the start of a line, else of a word, not long before the overlap begins.
    fn next_start(&self, note: &[char], start: usize, end: usize) -> usize {
        let most = end - self.overlap;
        last_break(note, (start + 1).max(most - self.chars / 8), most).unwrap_or(most)
    }

    /// A case for every window of this one, with a number behind its id; itself where it fits.
    pub fn cases(&self, case: &Case) -> Vec<(Range<usize>, Case)> {
        let note: Vec<char> = case.input.chars().collect();
        let windows = self.over(&note);
        if let [whole] = &windows[..] {
            return vec![(whole.clone(), case.clone())];
        }
        let one = |(i, range): (usize, Range<usize>)| {
            let input = note[range.clone()].iter().collect();
            (range, Case { case_id: format!("{}#{}", case.case_id, i + 1), input, ..case.clone() })
        };
        windows.into_iter().enumerate().map(one).collect()
    }

    /// Training texts (tagged notes) as those of their windows, each as often as its note, and how many spans no window holds.
    pub fn training(&self, texts: TrainingTexts) -> (TrainingTexts, usize) {
        let mut lost = 0;
        let mut cut = |text: &TrainingText| -> Vec<TrainingText> {
            let spans = untag(&text.answer, &text.case.input).spans;
            let cases = self.cases(&text.case);
            lost += spans.iter().filter(|span| !cases.iter().any(|(range, _)| within(range, span))).count();
            let one = |(range, case): (Range<usize>, Case)| {
                let inside: Vec<Span> =
                    spans.iter().filter(|span| within(&range, span)).map(|span| moved(span, range.start)).collect();
                TrainingText { answer: tag(&case.input, &inside), case }
            };
            cases.into_iter().map(one).collect()
        };
        let train: Vec<Vec<TrainingText>> = texts.train.iter().map(&mut cut).collect();
        let valid = texts.valid.iter().flat_map(&mut cut).collect();
        let each =
            |epoch: &Vec<u32>| epoch.iter().zip(&train).flat_map(|(&n, windows)| vec![n; windows.len()]).collect();
        let times = texts.times.iter().map(each).collect();
        (TrainingTexts { train: train.into_iter().flatten().collect(), times, valid }, lost)
    }
}

/// Behind the last line end from `least` to `most`, else behind the last white space.
fn last_break(note: &[char], least: usize, most: usize) -> Option<usize> {
    let behind = |found: &dyn Fn(char) -> bool| (least..=most).rev().find(|&at| at > 0 && found(note[at - 1]));
    behind(&|c| c == '\n').or_else(|| behind(&char::is_whitespace))
}

fn within(window: &Range<usize>, span: &Span) -> bool {
    window.start <= span.start && span.end <= window.end
}

/// A span of a note as one of a text that begins at `start` of it.
fn moved(span: &Span, start: usize) -> Span {
    Span::new(span.start - start, span.end - start, span.category)
}

#[derive(Serialize, Deserialize)]
struct Joined {
    windows: Vec<Part>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    start: usize,
    end: usize,
    raw: String,
}

/// The answers about a note's windows as one; that of a note in one window is its own.
pub fn join(answers: Vec<(Range<usize>, String)>) -> String {
    let part = |(range, raw): (Range<usize>, String)| Part { start: range.start, end: range.end, raw };
    let mut windows: Vec<Part> = answers.into_iter().map(part).collect();
    match windows.len() {
        1 => windows.remove(0).raw,
        _ => serde_json::to_string(&Joined { windows }).unwrap_or_default(), // numbers and text have a JSON form
    }
}

/// Reads an answer about a note, whole ([`untag`]) or in windows. What was lost in the part that two windows share is counted in both. The answer is
/// a copy where every window's is, and the windows cover the note.
pub fn untag_windows(raw: &str, note: &str) -> Untagged {
    let text: Vec<char> = note.chars().collect();
    let joined = raw.trim_start().starts_with('{').then(|| serde_json::from_str::<Joined>(raw).ok()).flatten();
    let fits = |joined: &Joined| joined.windows.iter().all(|part| part.start < part.end && part.end <= text.len());
    let Some(Joined { windows }) = joined.filter(fits) else { return untag(raw, note) };
    let mut whole = Untagged { copied: covered(&windows, text.len()), ..Untagged::default() };
    let (mut found, mut how) = (vec![], BTreeMap::new());
    for Part { start, end, raw } in windows {
        let (read, matches) = untag_with_matches(&raw, &text[start..end].iter().collect::<String>());
        whole.copied &= read.copied;
        whole.no_answer |= read.no_answer;
        whole.dropped.extend(read.dropped);
        whole.unopened += read.unopened;
        read.unknown.into_iter().for_each(|(name, n)| *whole.unknown.entry(name).or_default() += n);
        let placed = |span: &Span| Span::new(span.start + start, span.end + start, span.category);
        how.extend(matches.iter().map(|(span, how)| ((found.len(), placed(span)), *how)));
        found.push((start..end, read.spans.iter().map(placed).collect()));
    }
    let kept = stitched(&found, text.len());
    let is_kept = |span: &Span| kept.iter().any(|(_, one)| one.category == span.category && one.iou(span) >= SAME);
    for span in found.iter().flat_map(|(_, spans)| spans).filter(|span| !is_kept(span)) {
        whole.overruled.push(Dropped { category: span.category, text: span.text(&text), reason: Reason::OtherWindow });
    }
    kept.iter().filter_map(|one| how.get(one)).for_each(|how| *whole.matched.entry(*how).or_default() += 1);
    whole.spans = kept.into_iter().map(|(_, span)| span).collect();
    whole.spans.sort();
    whole
}

/// Whether every character of a note stands in some window.
fn covered(windows: &[Part], chars: usize) -> bool {
    let mut windows: Vec<(usize, usize)> = windows.iter().map(|part| (part.start, part.end)).collect();
    windows.sort_unstable();
    let reached = |to: usize, (start, end): (usize, usize)| if start <= to { to.max(end) } else { to };
    windows.into_iter().fold(0, reached) == chars
}

/// Spans of windows in the note's own positions as one list, each with the number of its window. A span counts where the window that found it is the one in which it stands farthest
/// from a cut, so that each window answers for its own part; where two windows give spans of one category that are the same by their overlap
/// ([`SAME`]), the one farther from a cut stays.
fn stitched(found: &[(Range<usize>, Vec<Span>)], chars: usize) -> Vec<(usize, Span)> {
    let from_cut = |window: &Range<usize>, span: &Span| {
        let before = if window.start == 0 { usize::MAX } else { span.start - window.start };
        let behind = if window.end == chars { usize::MAX } else { window.end - span.end };
        within(window, span).then(|| before.min(behind))
    };
    let mut all: Vec<(usize, usize, Span)> = vec![];
    for (number, (window, spans)) in found.iter().enumerate() {
        for span in spans {
            let own = span.fits(chars).then(|| from_cut(window, span)).flatten();
            let others = found.iter().enumerate().filter(|(other, _)| *other != number);
            let better = |(other, (window, _)): (usize, &(Range<usize>, Vec<Span>))| {
                let theirs = if within(window, span) { from_cut(window, span) } else { None };
                theirs > own || (theirs == own && other < number)
            };
            if let Some(distance) = own.filter(|_| !others.into_iter().any(better)) {
                all.push((distance, number, *span));
            }
        }
    }
    all.sort_by_key(|(distance, number, span)| (std::cmp::Reverse(*distance), *number, *span));
    let mut kept: Vec<(usize, Span)> = vec![];
    for (_, number, span) in all {
        let same =
            |(other, one): &(usize, Span)| *other != number && one.category == span.category && one.iou(&span) >= SAME;
        if !kept.iter().any(same) {
            kept.push((number, span));
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::decisions::Category;
    use crate::corpus::synthetic::dice::Dice;

    fn chars(text: &str) -> Vec<char> {
        text.chars().collect()
    }

    #[test]
    fn what_only_the_worse_placed_window_found_is_told_and_windows_have_to_cover_the_note() {
        let note = "see tag. Hold aspirin now";
        let part = |start: usize, end: usize, raw: &str| serde_json::json!({"start": start, "end": end, "raw": raw});
        let read =
            |parts: &[serde_json::Value]| untag_windows(&serde_json::json!({ "windows": parts }).to_string(), note);
        let first = part(0, 21, "see tag. Hold <drug_decision>aspirin</drug_decision>");
        let lost = read(&[first.clone(), part(9, 25, "Hold aspirin now")]);
        assert!(lost.spans.is_empty() && lost.matched.is_empty() && lost.copied, "{lost:?}");
        assert_eq!(
            lost.overruled.iter().map(|one| (one.reason, one.text.as_str())).collect::<Vec<_>>(),
            [(Reason::OtherWindow, "aspirin")]
        );
        let both = read(&[first.clone(), part(9, 25, "Hold <drug_decision>aspirin</drug_decision> now")]);
        assert_eq!((both.spans.len(), both.matched.values().sum::<usize>(), both.overruled.len()), (1, 1, 0));
        assert!(!read(&[]).copied && !read(&[first]).copied);
    }

    #[test]
    fn windows_cover_a_note_share_what_they_must_and_end_at_lines() {
        let line = "Hold aspirin for néw bleeding.\n";
        let note = chars(&line.repeat(40));
        let cut = NoteWindows { chars: 200, overlap: 60 };
        let windows = cut.over(&note);
        assert!(windows.iter().all(|w| w.len() <= 200 && w.start % 31 == 0 && (w.end % 31 == 0)), "{windows:?}");
        assert_eq!((windows[0].start, windows.last().unwrap().end), (0, note.len()));
        assert!(windows.windows(2).all(|w| w[0].end - w[1].start >= 60 && w[0].start < w[1].start), "{windows:?}");
        assert_eq!(cut.over(&note[..200]), [0..200]);
        assert_eq!(cut.over(&[]), [0..0]);
        // no white space at all
        let windows = NoteWindows { chars: 16, overlap: 8 }.over(&['x'; 40]);
        assert_eq!(windows, [0..16, 8..24, 16..32, 24..40]);
    }

    #[test]
    fn what_cannot_be_cut_is_refused() {
        let check = |chars, overlap| NoteWindows { chars, overlap }.check().map_err(|e| e.to_string());
        assert_eq!(check(4000, 1000), Ok(()));
        assert!(check(8, 2).unwrap_err().contains("at least 16"));
        assert!(check(100, 51).unwrap_err().contains("at most half a window (50)"));
    }

    /// Notes of words and lines with random spans, none longer than the overlap and none twice the same by overlap.
    fn note(dice: &mut Dice) -> (String, Vec<Span>) {
        let words = ["hold", "aspirin", "<gather_info>", "é", "\n", "stable", "  ", "naïve", "angina."];
        let text: String = (0..300).map(|_| format!("{} ", words[dice.below(words.len())])).collect();
        let (mut spans, mut at) = (vec![], 0);
        let length = text.chars().count();
        while at + 40 < length {
            let end = at + 1 + dice.below(39);
            spans.push(Span::new(at, end, Category::ALL[dice.below(9)]));
            at += dice.below(60);
        }
        spans.dedup_by(|a, b| a.category == b.category && a.iou(b) >= SAME);
        spans.retain(|a| chars(&text)[a.start..a.end].iter().any(|c| !c.is_whitespace()));
        spans.sort();
        spans.dedup();
        let alike = |a: &Span, b: &Span| a != b && a.category == b.category && a.iou(b) >= SAME;
        let kept: Vec<Span> = spans.iter().filter(|a| !spans.iter().any(|b| alike(a, b) && b < a)).copied().collect();
        (text, kept)
    }

    #[test]
    fn windows_that_are_answered_rightly_give_every_span_once() {
        let mut dice = Dice::new(7, 0);
        for (most, overlap) in [(120, 40), (200, 41), (333, 100), (100_000, 50)] {
            let cut = NoteWindows { chars: most, overlap };
            for _ in 0..20 {
                let (text, spans) = note(&mut dice);
                let case = Case { case_id: "n".into(), group: "g".into(), input: text.clone() };
                let texts = TrainingTexts {
                    train: vec![TrainingText { case: case.clone(), answer: tag(&text, &spans) }],
                    times: vec![vec![2]],
                    valid: vec![],
                };
                let (made, lost) = cut.training(texts);
                let windows = cut.cases(&case);
                assert_eq!((lost, made.times[0].len(), made.train.len()), (0, windows.len(), windows.len()));
                assert!(made.train.iter().zip(&windows).all(|(text, (_, case))| text.case == *case));
                let answers = windows.iter().zip(made.train).map(|((range, _), text)| (range.clone(), text.answer));
                let read = untag_windows(&join(answers.collect()), &text);
                assert_eq!(read.spans, spans, "{text:?}");
                assert!(read.copied && read.dropped.is_empty());
            }
        }
    }

    #[test]
    fn a_span_that_two_windows_cut_differently_counts_once() {
        let text = "0123456789 hold the aspirin today 0123456789";
        let (a, b) = (0..34, 8..44);
        let answer = |range: &Range<usize>, start: usize, end: usize| {
            let span = Span::new(start - range.start, end - range.start, Category::DrugDecision);
            tag(&chars(text)[range.clone()].iter().collect::<String>(), &[span])
        };
        // farther from a cut in `a` (7 before its end) than in `b` (3 behind its start)
        let joined = join(vec![(a.clone(), answer(&a, 11, 27)), (b.clone(), answer(&b, 11, 33))]);
        assert_eq!(untag_windows(&joined, text).spans, [Span::new(11, 27, Category::DrugDecision)]);
        // what only the worse placed window gives is not counted
        let joined =
            join(vec![(a.clone(), "0123456789 hold the aspirin today ".into()), (b.clone(), answer(&b, 11, 27))]);
        assert_eq!(untag_windows(&joined, text).spans, []);
        assert_eq!(
            untag_windows("{\"windows\":[{\"start\":0,\"end\":99,\"raw\":\"\"}]}", text).spans,
            [],
            "no windows of this note"
        );
    }
}

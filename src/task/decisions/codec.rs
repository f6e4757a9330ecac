//! Spans to tagged text and back, exactly.
//!
//! ```text
//! note      Continue warfarin for stroke prevention.
//! spans     [0,39) drug_decision   [22,39) treatment_goal
//! tagged    <drug_decision>Continue warfarin for <treatment_goal>stroke prevention</treatment_goal></drug_decision>.
//! ```
//!
//! [`tag`] writes what a model is to learn; [`untag`] reads a model's answer. Where the answer without its tags is the note, offsets are simply
//! counted. Otherwise the answer is aligned with the note once ([`Alignment`]) and offsets are carried over; a span that lies where the answer is
//! no copy is looked for as the published system does ([`ladder`]). A span that is lost has a reason.
use super::align::Alignment;
use super::ladder::{ladder, similar_enough};
use super::reward::content;
use crate::corpus::decisions::tags::{Literal, Scanned, Tag, scan, scan_but};
use crate::corpus::decisions::{Category, Span};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Categories from the innermost to the outermost, where spans are equal.
const INNERMOST_FIRST: [u8; 9] = [3, 5, 7, 1, 6, 9, 2, 4, 8];

fn innerness(category: Category) -> usize {
    INNERMOST_FIRST.iter().position(|number| *number == category.number()).unwrap_or_default()
}

/// The note with a tag at both ends of every span. Spans that do not lie in the note or are empty are left out; equal ones are kept. A tag
/// has a number where a span would otherwise cross one of its own category, or where the plain tag stands in the note as text.
pub fn tag(note: &str, spans: &[Span]) -> String {
    let text: Vec<char> = note.chars().collect();
    let mut inside: Vec<Span> = spans.iter().filter(|span| span.fits(text.len())).copied().collect();
    inside.sort_by_key(|span| (span.start, Reverse(span.end), Reverse(innerness(span.category))));
    let tags = numbered(&inside, &Literal::of(&text));
    // (place, opens, order, order): at one place tags close before others open; the later one began, the earlier it closes; the longer opens
    // first
    let mut events: Vec<(usize, bool, Reverse<usize>, i64, String)> = Vec::with_capacity(2 * inside.len());
    for (i, (span, tag)) in inside.iter().zip(&tags).enumerate() {
        events.push((span.start, true, Reverse(span.end), i as i64, tag.open()));
        events.push((span.end, false, Reverse(span.start), -(i as i64), tag.close()));
    }
    events.sort();
    let (mut tagged, mut at) = (String::with_capacity(note.len() + 32 * inside.len()), 0);
    for (place, _, _, _, written) in events {
        tagged.extend(&text[at..place]);
        tagged.push_str(&written);
        at = place;
    }
    tagged.extend(&text[at..]);
    tagged
}

/// The tag of each span: the first number (none, 1, 2, …) under which it crosses no earlier span and reads like nothing in the note.
fn numbered(spans: &[Span], literal: &Literal) -> Vec<Tag> {
    let mut tags: Vec<Tag> = Vec::with_capacity(spans.len());
    for (i, span) in spans.iter().enumerate() {
        let free = |index: &usize| {
            let tag = Tag { category: span.category, index: *index };
            let crosses = |(earlier, other): (&Span, &Tag)| *other == tag && earlier.crosses(span);
            literal.leaves(tag) && !spans[..i].iter().zip(&tags).any(crosses)
        };
        let index = (0..).find(free).unwrap_or_default(); // a note holds finitely many tags
        tags.push(Tag { category: span.category, index });
    }
    tags
}

/// How a span of an answer was found in the note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Match {
    /// The answer without tags is the note.
    Offsets,
    /// By the alignment, and its words are those of the note.
    Aligned,
    /// By the alignment; its words were changed a little.
    Edited,
    /// By the published search: as written, with white space alike, in lower case, by its first or last 50 characters, or roughly.
    Exact,
    WhiteSpace,
    LowerCase,
    Beginning,
    End,
    Fuzzy,
}

/// Why a span of an answer is not in the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Nothing, or nothing but white space, between its tags.
    EmptySpan,
    /// Its tag never closes: the answer was cut off, or the tag forgotten.
    Unclosed,
    /// The answer gives the same span of the note again, where it is no exact copy.
    Repeated,
    /// Something like it stands in the note, but not like enough.
    ModelTypo,
    /// Only its beginning stands in the note.
    Truncated,
    NotInText,
    /// Of a note in windows: only a window that cuts the note nearby gives it, and the window that answers for its place does not.
    OtherWindow,
}

/// A span that was lost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dropped {
    pub category: Category,
    pub text: String,
    pub reason: Reason,
}

/// What was read from an answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Untagged {
    /// By start, end and category.
    pub spans: Vec<Span>,
    /// Whether the answer without its tags is the note, character by character.
    pub copied: bool,
    pub matched: BTreeMap<Match, usize>,
    pub dropped: Vec<Dropped>,
    /// Of a note in windows: spans that one window gave and the window that answers for their place did not.
    pub overruled: Vec<Dropped>,
    /// Whether there is nothing but reasoning.
    pub no_answer: bool,
    /// Closing tags that nothing opens, and tags of unknown names, how many of each: both passed over.
    pub unopened: usize,
    pub unknown: BTreeMap<String, usize>,
}

/// Reads a tagged note; see the file's header. Reasoning before the answer (up to `</think>`) is no part of it, unless the note itself has such a mark
/// or nothing follows it: then the mark is a tag of an unknown name.
pub fn untag(tagged: &str, note: &str) -> Untagged {
    untag_with_matches(tagged, note).0
}

/// As [`untag`], and how each span was found, in the order in which the answer closes them.
pub(super) fn untag_with_matches(tagged: &str, note: &str) -> (Untagged, Vec<(Span, Match)>) {
    let text: Vec<char> = note.chars().collect();
    read(tagged, &text, true, |plain, spans| {
        let alignment = Alignment::of(plain, &text);
        spans.iter().map(|span| placed(plain, span, &text, &alignment)).collect()
    })
}

/// As [`untag`], by the published search alone, as the system without an alignment has it; to measure what the alignment brings.
pub fn untag_by_search(tagged: &str, note: &str) -> Untagged {
    let text: Vec<char> = note.chars().collect();
    let found = read(tagged, &text, false, |plain, spans| {
        let position = |span: &Span| span.start as f64 / plain.len().max(1) as f64;
        spans.iter().map(|span| ladder(&plain[span.start..span.end], &text, position(span))).collect()
    });
    found.0
}

/// The part of an answer that is to be read; none where there is only reasoning.
fn answered<'a>(tagged: &'a str, literal: &Literal) -> Option<&'a str> {
    let answer = if literal.has_reasoning() { tagged } else { content(tagged) };
    match answer.trim().is_empty() {
        false => Some(answer),
        true if tagged.trim_start().starts_with("<think>") => None,
        true => Some(tagged),
    }
}

/// A place in the note and how it was found, or why there is none.
pub type Placed = Result<(usize, usize, Match), Reason>;

/// `once`: in an answer that is no copy a place of the note counts once for a category.
fn read(
    tagged: &str,
    note: &[char],
    once: bool,
    place: impl FnOnce(&[char], &[Span]) -> Vec<Placed>,
) -> (Untagged, Vec<(Span, Match)>) {
    let (literal, mut matches) = (Literal::of(note), Vec::new());
    let Some(answer) = answered(tagged, &literal) else {
        return (Untagged { no_answer: true, ..Untagged::default() }, matches);
    };
    let scanned = if once { scanned(answer, note, &literal) } else { scan(answer, &literal) };
    let copied = scanned.plain == note;
    let mut found = Untagged { copied, unopened: scanned.unopened, unknown: scanned.unknown, ..Untagged::default() };
    let placed: Vec<Placed> = match copied {
        true => scanned.spans.iter().map(counted).collect(),
        false => place(&scanned.plain, &scanned.spans),
    };
    for (span, placed) in scanned.spans.iter().zip(placed) {
        match placed {
            Ok((start, end, _)) if once && !copied && found.spans.contains(&Span::new(start, end, span.category)) => {
                let text = scanned.plain[span.start..span.end].iter().collect();
                found.dropped.push(Dropped { category: span.category, text, reason: Reason::Repeated });
            }
            Ok((start, end, how)) => {
                found.spans.push(Span::new(start, end, span.category));
                matches.push((Span::new(start, end, span.category), how));
                *found.matched.entry(how).or_default() += 1;
            }
            Err(reason) => {
                let text = scanned.plain[span.start..span.end].iter().collect();
                found.dropped.push(Dropped { category: span.category, text, reason });
            }
        }
    }
    for (start, category) in scanned.unclosed {
        let text = scanned.plain[start..].iter().take(60).collect();
        found.dropped.push(Dropped { category, text, reason: Reason::Unclosed });
    }
    found.spans.sort();
    (found, matches)
}

/// An answer taken apart. What reads like a tag and stands in the note too (`literal`: of the note) is text where it copies the note, and a tag
/// where the answer put it in.
pub fn scanned(answer: &str, note: &[char], literal: &Literal) -> Scanned {
    let all_as_text = scan(answer, literal);
    if all_as_text.literal.is_empty() || all_as_text.plain == note {
        return all_as_text;
    }
    let in_note = scan(&note.iter().collect::<String>(), literal);
    let mut names = BTreeMap::new();
    let taken: BTreeSet<char> = all_as_text.plain.iter().chain(note).copied().collect();
    let mut free = ('\u{F0000}'..=char::MAX).filter(|c| !taken.contains(c));
    let (given, places) = shortened(&all_as_text, &mut names, &mut free);
    let (whole, _) = shortened(&in_note, &mut names, &mut free);
    let alignment = Alignment::of(&given, &whole);
    let marks = all_as_text.literal.iter().zip(places);
    let put_in: BTreeSet<usize> = marks.filter(|(_, at)| !alignment.is_copied(*at)).map(|((at, _), _)| *at).collect();
    scan_but(answer, literal, &put_in)
}

/// A text in which each mark that was taken for text is one character, so that a diff has it whole or not at all, and where these are.
/// `free`: characters that stand in neither text.
fn shortened(
    scanned: &Scanned,
    names: &mut BTreeMap<Vec<char>, char>,
    free: &mut impl Iterator<Item = char>,
) -> (Vec<char>, Vec<usize>) {
    let (mut text, mut places, mut from) = (Vec::with_capacity(scanned.plain.len()), Vec::new(), 0);
    for (_, part) in &scanned.literal {
        text.extend(&scanned.plain[from..part.start]);
        places.push(text.len());
        text.push(
            *names.entry(scanned.plain[part.clone()].to_vec()).or_insert_with(|| free.next().unwrap_or_default()),
        );
        from = part.end;
    }
    text.extend(&scanned.plain[from..]);
    (text, places)
}

fn counted(span: &Span) -> Placed {
    if span.start < span.end { Ok((span.start, span.end, Match::Offsets)) } else { Err(Reason::EmptySpan) }
}

/// By the alignment, else by the search near the place that the alignment points to.
fn placed(plain: &[char], span: &Span, note: &[char], alignment: &Alignment) -> Placed {
    let text = &plain[span.start..span.end];
    if text.iter().all(|c| c.is_whitespace()) {
        return Err(Reason::EmptySpan);
    }
    let candidates: Vec<(usize, usize)> =
        alignment.places(span.start, span.end).into_iter().map(|place| whole_words(plain, span, note, place)).collect();
    let likeness = |&(start, end): &(usize, usize)| similar_enough(text, &note[start..end]);
    if let Some(&(start, end)) = candidates.iter().find(|(start, end)| note[*start..*end] == *text) {
        return Ok((start, end, Match::Aligned));
    }
    let best = candidates.iter().filter_map(|place| Some((likeness(place)?, *place)));
    if let Some((_, (start, end))) = best.max_by(|a, b| a.0.total_cmp(&b.0)) {
        return Ok((start, end, Match::Edited));
    }
    ladder(text, note, alignment.near(span.start) as f64 / note.len().max(1) as f64)
}

/// A place that cuts a word of the note where the answer cuts none holds that word whole: the answer left letters out.
fn whole_words(plain: &[char], span: &Span, note: &[char], (mut start, mut end): (usize, usize)) -> (usize, usize) {
    let inside = |text: &[char], at: usize| {
        at > 0 && at < text.len() && text[at - 1].is_alphanumeric() && text[at].is_alphanumeric()
    };
    while !inside(plain, span.start) && inside(note, start) {
        start -= 1;
    }
    while !inside(plain, span.end) && inside(note, end) {
        end += 1;
    }
    (start, end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::synthetic::dice::Dice;

    fn span(start: usize, end: usize, category: u8) -> Span {
        Span::new(start, end, Category::try_from(category).unwrap())
    }

    fn sorted(spans: &[Span]) -> Vec<Span> {
        let mut spans = spans.to_vec();
        spans.sort();
        spans
    }

    #[test]
    fn nesting_order_and_numbers_are_as_described() {
        let note = "abcdef ghij";
        assert_eq!(
            tag(note, &[span(0, 6, 8), span(0, 6, 3)]),
            "<defer_decision><define_problem>abcdef</define_problem></defer_decision> ghij"
        );
        assert_eq!(
            tag(note, &[span(0, 3, 5), span(3, 6, 5)]),
            "<drug_decision>abc</drug_decision><drug_decision>def</drug_decision> ghij"
        );
        let crossing = [span(0, 4, 5), span(2, 6, 5)];
        let tagged = "<drug_decision>ab<drug_decision#1>cd</drug_decision>ef</drug_decision#1> ghij";
        assert_eq!(tag(note, &crossing), tagged);
        assert_eq!(untag(tagged, note).spans, crossing);
        assert_eq!(
            tag(note, &[span(0, 4, 5), span(2, 6, 3)]),
            "<drug_decision>ab<define_problem>cd</drug_decision>ef</define_problem> ghij"
        );
        assert_eq!(
            tag(note, &[span(4, 4, 5), span(5, 12, 5)]),
            note,
            "empty spans and spans beyond the note are left out"
        );
    }

    #[test]
    fn the_crossing_spans_that_the_published_codec_loses_come_back() {
        let note = "Continue warfarin and start heparin drip";
        let spans = [span(0, 17, 5), span(9, 39, 5)];
        let read = untag(&tag(note, &spans), note);
        assert!(read.copied && read.dropped.is_empty());
        assert_eq!(read.spans, spans);
    }

    /// A note of pieces that are hard for a codec, and spans anywhere in it.
    fn random(dice: &mut Dice) -> (String, Vec<Span>) {
        let pieces = [
            "a",
            "Hold ",
            "aspirin",
            "  ",
            "\n",
            "\r\n",
            "<",
            ">",
            "</",
            "<b>",
            "[**Name**]",
            "<drug_decision>",
            "</drug_decision>",
            "<drug_decision#1>",
            "#",
            "é",
            "肺炎",
            "🙂",
            "e\u{301}",
            "\t",
            "drug_decision>",
            "</define_problem>",
            "\u{85}",
            "x<y",
        ];
        let note: String = (0..dice.below(24)).filter_map(|_| dice.pick(&pieces)).copied().collect();
        let chars = note.chars().count();
        let any = |dice: &mut Dice| {
            let (a, b) = (dice.below(chars + 1), dice.below(chars + 1));
            let category = dice.pick(&[3u8, 5, 5, 5, 8, 1]).copied().unwrap_or(3);
            (a != b).then(|| span(a.min(b), a.max(b), category))
        };
        let mut spans: Vec<Span> = (0..dice.below(9)).filter_map(|_| any(dice)).collect();
        if let Some(&twice) = spans.first().filter(|_| dice.chance(0.2)) {
            spans.push(twice);
        }
        (note, spans)
    }

    #[test]
    fn whatever_the_note_and_the_spans_what_is_tagged_comes_back() {
        let mut dice = Dice::new(19, 0);
        for _ in 0..20_000 {
            let (note, spans) = random(&mut dice);
            let tagged = tag(&note, &spans);
            let read = untag(&tagged, &note);
            assert!(read.copied && read.dropped.is_empty(), "{note:?} {spans:?} {tagged:?} {read:?}");
            assert_eq!(read.spans, sorted(&spans), "{note:?} {tagged:?}");
        }
    }

    #[test]
    fn malformed_answers_never_fail_and_account_for_every_tag() {
        let (mut dice, mut counted) = (Dice::new(20, 0), 0);
        for _ in 0..3_000 {
            let (note, spans) = random(&mut dice);
            let mut answer: Vec<char> = tag(&note, &spans).chars().collect();
            for _ in 0..1 + dice.below(6) {
                let at = dice.below(answer.len() + 1);
                match dice.below(3) {
                    0 if at < answer.len() => drop(answer.remove(at)),
                    1 => answer.truncate(at),
                    _ => answer.insert(at, dice.pick(&['<', 'a', ' ', '>', '/', '\n']).copied().unwrap_or('a')),
                }
            }
            let answer: String = answer.into_iter().collect();
            let chars = note.chars().count();
            if !note.contains('<') && !note.contains('>') {
                let opened: usize = [3u8, 5, 8, 1]
                    .map(|category| {
                        answer.matches(&format!("<{}>", Category::try_from(category).unwrap().tag())).count()
                    })
                    .iter()
                    .sum();
                let read = untag(&answer, &note);
                assert!(read.spans.len() + read.dropped.len() >= opened, "{answer:?} {note:?} {read:?}");
                counted += opened;
            }
            for read in [untag(&answer, &note), untag_by_search(&answer, &note)] {
                assert!(read.spans.iter().all(|span| span.fits(chars)), "{answer:?} {note:?} {read:?}");
                assert_eq!(read.matched.values().sum::<usize>(), read.spans.len());
            }
        }
        assert!(counted > 100, "{counted} tags were opened");
    }

    const NOTE: &str = "Allergies: none.\n1. Aspirin 81 mg daily.\n2. Lasix 40 mg daily, for heart failure.\nHold aspirin if bleeding.\nAspirin restarted.\n";

    #[test]
    fn offsets_survive_an_answer_that_is_no_copy() {
        let aspirin = NOTE.rfind("Aspirin").unwrap();
        let failure = NOTE.find("heart failure").unwrap();
        let spans = [span(aspirin, aspirin + 7, 5), span(failure, failure + 13, 3)];
        let tagged = tag(NOTE, &spans);
        let cut = tagged.replace("1. Aspirin 81 mg daily.\n", "");
        assert_eq!(
            untag(&cut, NOTE).spans,
            sorted(&spans),
            "the last of three equal words, behind a line that was left out"
        );
        let chatty = format!("Here is the text:\n\n{}", tagged.trim_end());
        let read = untag(&chatty, NOTE);
        assert_eq!((read.spans, read.matched[&Match::Aligned], read.copied), (sorted(&spans), 2, false));
        let typo = tagged.replace("heart failure", "heart failur");
        let read = untag(&typo, NOTE);
        assert_eq!((read.spans, read.matched.get(&Match::Edited)), (sorted(&spans), Some(&1)));
    }

    #[test]
    fn lost_spans_have_a_reason() {
        let reasons = |answer: &str| untag(answer, NOTE).dropped.iter().map(|one| one.reason).collect::<Vec<_>>();
        assert_eq!(reasons("<drug_decision> </drug_decision>"), [Reason::EmptySpan]);
        assert_eq!(reasons(&format!("<define_problem>{NOTE}")), [Reason::Unclosed]);
        let answer = NOTE.replace("heart failure", "<define_problem>heart failure</define_problem>");
        assert_eq!(reasons(&answer.repeat(3)), [Reason::Repeated; 2]);
        assert_eq!(untag_by_search(&answer.repeat(3), NOTE).spans.len(), 3, "as published");
        assert_eq!(reasons("<define_problem>Diabetic ketoacidosis</define_problem>"), [Reason::NotInText]);
        assert_eq!(
            reasons(
                "<drug_decision>Lasix 40 mg daily, for as long as the weight goes down by a pound a day</drug_decision>"
            ),
            [Reason::Truncated]
        );
    }

    #[test]
    fn a_plain_tag_counts_although_the_note_has_the_same_as_text() {
        let note = "Write <drug_decision> or </drug_decision>, e.g. <b>: hold aspirin, start <b> lasix.";
        let place = |text: &str| (note.find(text).unwrap(), note.find(text).unwrap() + text.len());
        let marked = |texts: &[&str]| {
            let tagged =
                |note: String, text: &&str| note.replace(*text, &format!("<drug_decision>{text}</drug_decision>"));
            untag(&texts.iter().fold(note.to_string(), tagged), note)
        };
        for texts in [&["hold aspirin"][..], &["hold aspirin", "start <b> lasix"], &["Write", "lasix"], &["e.g. <b>"]] {
            let read = marked(texts);
            let want: Vec<(usize, usize)> = texts.iter().map(|text| place(text)).collect();
            let got: Vec<(usize, usize)> = read.spans.iter().map(|span| (span.start, span.end)).collect();
            assert_eq!((got, read.copied, read.dropped.len()), (want, true, 0), "{texts:?}");
        }
        let odd = "x <drug_decision> y \u{F0000} hold it";
        let read = untag("x <drug_decision> y <drug_decision>\u{F0000} hold</drug_decision> it", odd);
        assert_eq!((read.spans.as_slice(), read.copied), ([span(20, 26, 5)].as_slice(), true));
        let unclosed = untag(&note.replace("hold", "<drug_decision>hold"), note);
        assert_eq!(unclosed.dropped.iter().map(|one| one.reason).collect::<Vec<_>>(), [Reason::Unclosed]);
    }

    #[test]
    fn reasoning_is_no_part_of_an_answer() {
        let tagged = "Hold <drug_decision>aspirin</drug_decision>";
        let answer = format!("<think>Maybe <gather_info>aspirin</gather_info>? No.</think>{tagged}");
        let read = untag(&answer, "Hold aspirin");
        assert_eq!((read.spans, read.copied), (vec![span(5, 12, 5)], true));
        let endless = untag("<think>Hold <drug_decision>aspirin</drug_decision>", "Hold aspirin");
        assert!(endless.spans.is_empty() && endless.no_answer);
        let stray = untag("Hold <drug_decision>aspirin</drug_decision></think>", "Hold aspirin");
        assert_eq!(
            (stray.spans.as_slice(), &stray.unknown),
            ([span(5, 12, 5)].as_slice(), &[("think".to_string(), 1)].into())
        );
        let note = "</think> Hold aspirin";
        assert!(untag(&tag(note, &[span(14, 21, 5)]), note).copied, "a note may have such a mark as text");
    }

    #[test]
    fn the_published_search_takes_the_occurrence_nearest_to_its_place() {
        let first = NOTE.find("Aspirin").unwrap();
        let read = untag_by_search(
            "1. <drug_decision>Aspirin</drug_decision> 81 mg and much more of a text that was invented",
            NOTE,
        );
        assert_eq!(read.spans, [span(first, first + 7, 5)]);
        assert_eq!(read.matched[&Match::Exact], 1);
    }
}

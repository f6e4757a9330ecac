//! What labels of tokens can say of the gold spans: spans that nest or cross share a token, and a token has one label.
use super::config::labels;
use crate::corpus::decisions::{Category, Span};
use crate::error::{Error, Result};
use crate::model::encoder::{self, Bio, EncoderTokenizer, Marked, TokenClassifier};
use crate::task::decisions::Note;
use crate::task::decisions::score::exact;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::Path;

/// How far a classifier without any error would come: the gold spans of some notes put into labels and read back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ceiling {
    pub notes: usize,
    /// Distinct gold spans.
    pub spans: usize,
    /// Not written: a token of theirs has the label of an earlier or longer span, or they hold no token.
    pub lost: usize,
    /// Written with other bounds, as they begin or end inside a word (of `marked = "tokens"`: a token).
    pub moved: usize,
    /// F1 of what is read back, by start, end and category.
    pub exact_f1: f64,
}

impl std::fmt::Display for Ceiling {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let Self { notes, spans, lost, moved, exact_f1 } = self;
        write!(
            f,
            "{spans} spans in {notes} notes: {lost} cannot be written as labels of tokens, {moved} only with other bounds; exact F1 of the \
             rest, the ceiling, {exact_f1:.4}"
        )
    }
}

/// How spans of notes become labels of tokens, and back.
pub struct SpanLabels {
    pub bio: Bio,
    pub marked: Marked,
    tokenizer: EncoderTokenizer,
}

impl SpanLabels {
    /// With the tokenizer of an encoder's folder.
    pub fn open(dir: &Path, marked: Marked) -> Result<Self> {
        Ok(Self { bio: labels()?, marked, tokenizer: EncoderTokenizer::open(dir)? })
    }

    /// As a classifier has them.
    pub fn of(model: &TokenClassifier) -> Self {
        Self { bio: model.bio.clone(), marked: model.marked, tokenizer: model.tokenizer().clone() }
    }

    /// Tokens of a note, control tokens not counted.
    pub fn tokens(&self, note: &str) -> Result<usize> {
        Ok(self.tokenizer.pieces(note)?.ids.len())
    }

    /// The gold spans of a note as they are read back, by place, and those that labels cannot express.
    pub fn written(&self, note: &Note) -> Result<(Vec<Span>, Vec<Span>)> {
        let in_note = |e: Error| Error::input(format!("note `{}`: {e}", note.case_id));
        let pieces = self.tokenizer.pieces(&note.input)?;
        let gold: BTreeSet<Span> = note.gold.iter().copied().collect();
        let gold = to_classes(&self.bio, &gold.into_iter().collect::<Vec<_>>())?;
        let (read, lost) = self.bio.round_trip(&pieces, &gold, self.marked).map_err(in_note)?;
        Ok((of_classes(&self.bio, &read)?, of_classes(&self.bio, &lost)?))
    }

    pub fn ceiling(&self, notes: &[Note]) -> Result<Ceiling> {
        let mut all = Ceiling { notes: notes.len(), ..Ceiling::default() };
        let (mut right, mut both) = (0, 0);
        for note in notes {
            let (read, lost) = self.written(note)?;
            let counts = exact(&note.gold, &read, None);
            all.spans += counts.asked;
            all.lost += lost.len();
            all.moved += counts.given - counts.tp;
            right += 2 * counts.tp;
            both += counts.given + counts.asked;
        }
        all.exact_f1 = f1(right, both);
        Ok(all)
    }
}

/// 2 tp / (given + asked); 1 where nothing was asked for and nothing given.
pub(super) fn f1(twice_right: usize, both: usize) -> f64 {
    if both == 0 { 1.0 } else { twice_right as f64 / both as f64 }
}

/// Spans of a note as a classifier's.
pub(super) fn to_classes(bio: &Bio, spans: &[Span]) -> Result<Vec<encoder::Span>> {
    let class = |span: &Span| {
        let tag = span.category.tag();
        let class = bio.classes().iter().position(|class| class == tag);
        let class =
            class.ok_or_else(|| Error::input(format!("the classifier has no labels `B-{tag}` and `I-{tag}`")))?;
        Ok(encoder::Span { start: span.start, end: span.end, class })
    };
    spans.iter().map(class).collect()
}

/// A classifier's spans as those of a note.
pub(super) fn of_classes(bio: &Bio, spans: &[encoder::Span]) -> Result<Vec<Span>> {
    let category = |span: &encoder::Span| {
        let class = bio.classes().get(span.class).map_or("", String::as_str);
        let category = Category::of_tag(class);
        let unknown = || Error::input(format!("the classifier's class `{class}` is no category of decisions"));
        Ok(Span::new(span.start, span.end, category.ok_or_else(unknown)?))
    };
    spans.iter().map(category).collect()
}

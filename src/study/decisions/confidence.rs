//! A model's confidence in a tagged note, and whether that tells good answers from bad ones.
//!
//! ```text
//! nll      mean −log p of the answer's tokens and its end; system 002 calls it entropy
//! entropy  mean entropy of the distributions that they were taken from
//! tags     mean entropy over the tokens with a byte of a tag in them: a copied word is certain whatever the model knows
//! ```
//!
//! In nats, low is sure. The answer is read as tokenizer and chat template write it, which may trim white space at its ends; insert-only decoding may
//! have spelt a tag with other tokens. A tag that was not put in is seen by the first two alone.
use super::pseudo::Invalid;
use crate::corpus::Case;
use crate::corpus::decisions::Span;
use crate::corpus::decisions::tags::Literal;
use crate::error::{Error, Result};
use crate::generate::{Local, Pieces, uncertainty};
use crate::metric::{quantile, spearman};
use crate::prompt::Prompt;
use crate::task::decisions::scanned;
use crate::task::decisions::score::exact;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Quantiles that the published system looks at.
pub const QUANTILES: [f64; 7] = [0.10, 0.15, 0.20, 0.25, 0.30, 0.50, 0.75];

/// See the file's header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Measure {
    Nll,
    Entropy,
    #[default]
    Tags,
}

impl Measure {
    pub const ALL: [Measure; 3] = [Measure::Nll, Measure::Entropy, Measure::Tags];

    /// As in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nll => "nll",
            Self::Entropy => "entropy",
            Self::Tags => "tags",
        }
    }
}

/// Of one answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Confidence {
    pub case_id: String,
    /// Tokens of the answer with its end, and those with a byte of a tag in them.
    pub tokens: usize,
    pub tag_tokens: usize,
    pub nll: f64,
    pub entropy: f64,
    /// None for an answer without tags.
    pub tags: Option<f64>,
}

impl Confidence {
    pub fn get(&self, measure: Measure) -> Option<f64> {
        match measure {
            Measure::Nll => Some(self.nll),
            Measure::Entropy => Some(self.entropy),
            Measure::Tags => self.tags,
        }
    }

    /// One pass of the model over the prompt about `note` and its answer; None where the two do not fit the model. `pieces` are those of the model's
    /// tokenizer.
    pub fn of(local: &Local, pieces: &Pieces, prompt: &Prompt, note: &Case, answer: &str) -> Result<Option<Self>> {
        let named = |what: String| Error::input(format!("note `{}`: {what}", note.case_id));
        let read = local.encoder().train_case(prompt, note, answer)?;
        // the model reads all but the last token
        if read.cut > 0 || local.model.config.holds(read.ids.len().saturating_sub(1)).is_err() {
            return Ok(None);
        }
        let found = uncertainty(&local.model, &read.ids, read.prompt_len).map_err(|e| named(e.to_string()))?;
        let bytes: Vec<&[u8]> = read.ids[read.prompt_len..].iter().map(|id| pieces.bytes(*id)).collect();
        let tagged = tag_tokens(&bytes, answer, &note.input).map_err(|e| named(e.to_string()))?;
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let all = |of: fn(&crate::generate::Uncertainty) -> f64| mean(&found.iter().map(of).collect::<Vec<_>>());
        let on_tags: Vec<f64> =
            found.iter().zip(&tagged).filter(|(_, tag)| **tag).map(|(one, _)| one.entropy).collect();
        Ok(Some(Self {
            case_id: note.case_id.clone(),
            tokens: found.len(),
            tag_tokens: on_tags.len(),
            nll: all(|one| one.nll),
            entropy: all(|one| one.entropy),
            tags: (!on_tags.is_empty()).then(|| mean(&on_tags)),
        }))
    }
}

/// Which tokens of a tagged note have a byte of a tag in them; `pieces`: the bytes of each token, the end of the turn behind those of the answer.
/// White space at both ends of the answer may be missing: chat templates trim what an assistant says.
fn tag_tokens(pieces: &[&[u8]], tagged: &str, note: &str) -> Result<Vec<bool>> {
    let note: Vec<char> = note.chars().collect();
    let places: Vec<usize> = tagged.char_indices().map(|(at, _)| at).chain([tagged.len()]).collect();
    let mut inside = vec![false; tagged.len()];
    for mark in scanned(tagged, &note, &Literal::of(&note)).marks {
        inside[places[mark.start]..places[mark.end]].fill(true);
    }
    let first = pieces.iter().find(|piece| !piece.is_empty());
    let whole = first.is_none_or(|piece| tagged.as_bytes().starts_with(piece));
    let mut at = if whole { 0 } else { tagged.len() - tagged.trim_start().len() };
    let mut found = Vec::with_capacity(pieces.len());
    for piece in pieces {
        let end = (at + piece.len()).min(tagged.len());
        // behind the answer stands the end of the turn
        let spelt = tagged.as_bytes()[at..end] == piece[..end - at] || tagged.get(at..).is_some_and(blank);
        if !spelt {
            return Err(Error::input(
                "the tokenizer does not give the answer back as it is: its tags cannot be told from its text",
            ));
        }
        found.push(inside[at..end].contains(&true));
        at = end;
    }
    match tagged.get(at..).is_some_and(blank) {
        true => Ok(found),
        false => Err(Error::input(format!("the answer's tokens spell {at} of its {} bytes", tagged.len()))),
    }
}

fn blank(text: &str) -> bool {
    text.trim().is_empty()
}

/// F1 by place of one answer; 1 where nothing was asked for and nothing given.
pub fn exact_f1(gold: &[Span], predicted: &[Span]) -> f64 {
    let counts = exact(gold, predicted, None);
    let both = counts.given + counts.asked;
    if both == 0 { 1.0 } else { 2.0 * counts.tp as f64 / both as f64 }
}

/// Answers that one quantile of a measure keeps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    pub quantile: f64,
    /// At most so many nats.
    pub threshold: f64,
    pub notes: usize,
    /// Mean over these notes.
    pub exact_f1: f64,
}

/// What one measure says of answers whose gold spans are known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MeasureTable {
    pub measure: Measure,
    /// Answers that have it.
    pub notes: usize,
    /// Mean over these notes.
    pub exact_f1: f64,
    /// Spearman's correlation of the measure and exact F1; below 0 where sure answers are better. None where one of them never varies.
    pub rho: Option<f64>,
    pub kept: Vec<Kept>,
}

/// What `dxlab decisions confidence` prints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConfidenceReport {
    /// Folder of the run and names with digests of its model and adapter.
    pub run: String,
    pub model: String,
    /// Corpus whose notes were asked about.
    pub data: String,
    /// Valid answers, the only ones that are measured: a pseudo-label has to be one too.
    pub notes: usize,
    /// Answers that were left out, and why.
    #[serde(default)]
    pub invalid: BTreeMap<Invalid, usize>,
    pub measures: Vec<MeasureTable>,
}

/// Every measure on validation notes, each with its exact F1: a quantile to keep is chosen here, before other notes are looked at.
pub fn measure_tables(scored: &[(Confidence, f64)]) -> Vec<MeasureTable> {
    let mean = |f1: &[f64]| f1.iter().sum::<f64>() / f1.len() as f64;
    let table = |measure: Measure| {
        let pairs = scored.iter().filter_map(|(one, f1)| Some((one.get(measure)?, *f1)));
        let (values, f1): (Vec<f64>, Vec<f64>) = pairs.unzip();
        let kept = |q: f64| {
            let threshold = threshold(&values, q)?;
            let kept: Vec<f64> = values.iter().zip(&f1).filter(|(v, _)| **v <= threshold).map(|(_, f1)| *f1).collect();
            Some(Kept { quantile: q, threshold, notes: kept.len(), exact_f1: mean(&kept) })
        };
        let kept = QUANTILES.iter().filter_map(|q| kept(*q)).collect::<Vec<_>>();
        (!values.is_empty()).then(|| MeasureTable {
            measure,
            notes: values.len(),
            exact_f1: mean(&f1),
            rho: spearman(&values, &f1),
            kept,
        })
    };
    Measure::ALL.into_iter().filter_map(table).collect()
}

/// The `q` quantile of values in any order, as `numpy.quantile`; None without values.
pub(super) fn threshold(values: &[f64], q: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    quantile(&sorted, q)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::decisions::Category;

    #[test]
    fn tokens_with_a_byte_of_a_tag_are_told() {
        let tagged = "é <drug_decision>Hold</drug_decision> it";
        let pieces: Vec<&[u8]> = ["é", " <", "drug", "_decision", ">Hold", "</", "drug_decision", ">", " it", "", "\n"]
            .map(str::as_bytes)
            .into();
        let found = tag_tokens(&pieces, tagged, "é Hold it").unwrap();
        assert_eq!(found, [false, true, true, true, true, true, true, true, false, false, false]);
        // a chat template trims what an assistant says; what ends the turn is no part of it
        let ends = format!("\n {tagged}\n");
        assert_eq!(tag_tokens(&pieces[..9], &ends, "\n é Hold it\n").unwrap(), found[..9]);
        assert_eq!(tag_tokens(&pieces, &ends, "\n é Hold it\n").unwrap(), found);
        // what reads like a tag and stands in the note is text
        assert_eq!(tag_tokens(&[b"<b>", b"x"], "<b>x", "<b>x").unwrap(), [false, false]);
        assert!(tag_tokens(&[b"x"], "y", "y").unwrap_err().to_string().contains("as it is"));
        assert!(tag_tokens(&[b"y"], "yz", "yz").unwrap_err().to_string().contains("1 of its 2 bytes"));
    }

    #[test]
    fn tables_are_those_counted_by_hand() {
        let one = |i: usize, tags: Option<f64>| Confidence {
            case_id: i.to_string(),
            tokens: 10,
            tag_tokens: 3,
            nll: i as f64,
            entropy: 5.0 - i as f64,
            tags,
        };
        // nll 0, 1, 2, 3, 4; F1 falls as it grows; the last answer has no tags
        let f1 = [1.0, 0.8, 0.6, 0.4, 0.2];
        let scored: Vec<(Confidence, f64)> =
            f1.iter().enumerate().map(|(i, f1)| (one(i, (i < 4).then_some(0.5)), *f1)).collect();
        let found = measure_tables(&scored);
        assert_eq!(
            (found[0].measure, found[0].rho, found[1].rho, found[2].rho),
            (Measure::Nll, Some(-1.0), Some(1.0), None)
        );
        assert_eq!((found[0].notes, found[2].notes), (5, 4));
        assert!((found[0].exact_f1 - 0.6).abs() < 1e-12 && (found[2].exact_f1 - 0.7).abs() < 1e-12);
        // the quantile 0.10 of 0 … 4 is 0.4, 0.25 is 1, 0.5 is 2
        let kept = |q: f64| found[0].kept.iter().find(|kept| kept.quantile == q).copied().unwrap();
        assert_eq!((kept(0.10).notes, kept(0.10).exact_f1), (1, 1.0));
        assert!((kept(0.10).threshold - 0.4).abs() < 1e-12);
        assert_eq!((kept(0.25).threshold, kept(0.25).notes, kept(0.25).exact_f1), (1.0, 2, 0.9));
        assert_eq!((kept(0.5).notes, kept(0.75).notes), (3, 4));
        assert_eq!(found[2].kept[0].notes, 4, "equal values are kept together");
        assert!(measure_tables(&[]).is_empty());
    }

    #[test]
    fn an_answer_is_measured_by_one_pass_of_the_model() {
        let local = Local::open("embedded", None).unwrap();
        let pieces = Pieces::of(&local.tokenizer).unwrap();
        let task = crate::task::DecisionTask::open("decisions").unwrap();
        let prompt = Prompt::named("plain", crate::task::Task::context(&task)).unwrap();
        let note = Case { case_id: "1_2_3".into(), group: "1".into(), input: "Hold aspirin. No cyst.".into() };
        let tagged = crate::task::decisions::tag(&note.input, &[Span::new(0, 12, Category::DrugDecision)]);
        let found = Confidence::of(&local, &pieces, &prompt, &note, &tagged).unwrap().unwrap();
        let most = (local.model.config.vocab_size as f64).ln();
        assert!(found.tag_tokens > 4 && found.tag_tokens < found.tokens, "{found:?}");
        assert!(
            found.entropy > 0.0 && found.entropy < most && found.nll > 0.0 && found.tags.unwrap() < most,
            "{found:?}"
        );
        let long = "x ".repeat(local.model.config.max_position_embeddings * 2);
        assert_eq!(Confidence::of(&local, &pieces, &prompt, &note, &long).unwrap(), None, "it does not fit");
        let bare = Confidence::of(&local, &pieces, &prompt, &note, &note.input).unwrap().unwrap();
        assert_eq!((bare.tags, bare.tag_tokens), (None, 0));
        assert_eq!((exact_f1(&[], &[]), exact_f1(&[Span::new(0, 1, Category::GatherInfo)], &[])), (1.0, 0.0));
    }
}

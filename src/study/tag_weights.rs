//! Weights of the tokens of inline tags in training texts. Of a tagged note nearly every token is copied and soon certain; the tags are few, and they are
//! what there is to learn.
use crate::corpus::decisions::tags::{Literal, scan};
use crate::error::{Error, Result};
use crate::generate::Pieces;
use crate::model::Tokenizer;
use crate::train::Sequence;
use std::ops::Range;

/// Gives every supervised token that a tag's letters reach into the weight `weight` and every other one 1, scaled to a mean of 1 over each text. Fails
/// where no text has a tag.
pub fn weigh_tags(texts: &mut [Sequence], tokenizer: &Tokenizer, weight: f64) -> Result<()> {
    let (pieces, mut found) = (Pieces::of(tokenizer)?, false);
    for text in texts.iter_mut() {
        let tagged = of_tags(&pieces, &text.ids[text.supervised.clone()]);
        found |= tagged.contains(&true);
        let weights: Vec<f64> = tagged.iter().map(|&tag| if tag { weight } else { 1.0 }).collect();
        let mean = weights.iter().sum::<f64>() / weights.len().max(1) as f64;
        text.weights = weights.into_iter().map(|w| (w / mean) as f32).collect();
    }
    match found {
        true => Ok(()),
        false => Err(Error::input(format!(
            "training.loss.tag_weight is {weight}, and no training text has an inline tag: it is for the task `decisions`"
        ))),
    }
}

/// Marks the supervised tokens with which tags open, so that the evaluation tells of them alone too: what follows the `<` of a tag is soon known, where
/// one stands is what there is to learn.
pub fn mark_tags(texts: &mut [Sequence], tokenizer: &Tokenizer) -> Result<()> {
    let pieces = Pieces::of(tokenizer)?;
    for text in texts.iter_mut() {
        let (places, marks) = tags_in(&pieces, &text.ids[text.supervised.clone()]);
        let opens = |place: &Range<usize>| marks.iter().any(|mark| mark.opens && place.contains(&mark.bytes.start));
        text.marked = places.iter().map(opens).collect();
    }
    Ok(())
}

/// A tag in the bytes of some tokens.
struct TagBytes {
    bytes: Range<usize>,
    opens: bool,
}

/// Which tokens hold a letter of a tag.
fn of_tags(pieces: &Pieces, tokens: &[u32]) -> Vec<bool> {
    let (places, marks) = tags_in(pieces, tokens);
    let inside = |place: &Range<usize>| {
        marks.iter().any(|TagBytes { bytes, .. }| bytes.start < place.end && place.start < bytes.end)
    };
    places.iter().map(inside).collect()
}

/// Where each token lies in the bytes of all, and the tags there.
fn tags_in(pieces: &Pieces, tokens: &[u32]) -> (Vec<Range<usize>>, Vec<TagBytes>) {
    let (mut bytes, mut places) = (Vec::new(), Vec::with_capacity(tokens.len()));
    for &token in tokens {
        let start = bytes.len();
        bytes.extend_from_slice(pieces.bytes(token));
        places.push(start..bytes.len());
    }
    let text = String::from_utf8_lossy(&bytes);
    let starts: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let mark = |mark: Range<usize>| {
        let bytes = starts[mark.start]..starts[mark.end];
        TagBytes { opens: !text[bytes.clone()].starts_with("</"), bytes }
    };
    let marks = scan(&text, &Literal::default()).marks.into_iter().map(mark).collect();
    (places, marks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::resolve;

    #[test]
    fn tokens_of_tags_weigh_more_and_the_mean_stays_one() {
        let tokenizer = Tokenizer::open(&resolve("embedded").unwrap()).unwrap();
        let (prompt, answer) = ("Mark: ", "Naïve, 肝臓: <drug_decision>hold aspirin</drug_decision> now.");
        let (mut ids, made) = (tokenizer.encode(prompt, false).unwrap(), tokenizer.encode(answer, false).unwrap());
        let length = ids.len();
        ids.extend(&made);
        let mut texts = [Sequence::completion(ids, length)];
        mark_tags(&mut texts, &tokenizer).unwrap();
        weigh_tags(&mut texts, &tokenizer, 4.0).unwrap();
        let weights = &texts[0].weights;
        assert_eq!(weights.len(), made.len());
        let marked = made.iter().zip(&texts[0].marked).filter(|(_, marked)| **marked);
        let opening: String = marked.map(|(id, _)| tokenizer.decode(&[*id], false).unwrap()).collect();
        assert!(opening.contains('<') && !opening.contains('/') && opening.matches('<').count() == 1, "{opening}");
        assert!((weights.iter().sum::<f32>() / weights.len() as f32 - 1.0).abs() < 1e-5);
        // the naive twin: the text before each token, and whether a tag is open in letters there
        let heavy: String = made
            .iter()
            .zip(weights)
            .filter(|(_, weight)| **weight > 1.0)
            .map(|(id, _)| tokenizer.decode(&[*id], false).unwrap())
            .collect();
        assert!(heavy.contains("<drug_decision>") && heavy.contains("</drug_decision>"), "{heavy}");
        assert!(!heavy.contains("aspirin") && !heavy.contains("now") && !heavy.contains("Na"), "{heavy}");
        let (least, most) = weights.iter().fold((f32::MAX, 0.0f32), |(a, b), w| (a.min(*w), b.max(*w)));
        assert!((most / least - 4.0).abs() < 1e-4, "{least} {most}");
    }

    #[test]
    fn texts_without_a_tag_are_refused() {
        let tokenizer = Tokenizer::open(&resolve("embedded").unwrap()).unwrap();
        let mut texts = [Sequence::text(tokenizer.encode("gallstone, < 5 mm", false).unwrap())];
        let error = weigh_tags(&mut texts, &tokenizer, 2.0).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains("task `decisions`"), "{error}");
    }
}

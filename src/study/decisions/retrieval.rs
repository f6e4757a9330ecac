//! Which unlabelled notes are like training notes: nearest neighbours of embeddings, each note given to one training note.
//!
//! All pairs of a training note with one of its nearest notes are gone through from the highest cosine down; a pair is taken where the note is
//! free and the training note has fewer than so many (system 002). Queries are training notes alone: the published system also asks with
//! validation and test notes, whose texts then choose what is trained on.
use crate::error::{Error, Result};
use crate::generate::Local;
use crate::model::encoder::{minilm, nearest};
use crate::model::ops::{Segments, on_workers};
use serde::{Deserialize, Serialize};

/// What makes a vector of a note.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EmbedBy {
    /// all-MiniLM-L6-v2, mean over the first 256 tokens.
    #[default]
    Minilm,
    /// The decoder that answers, its adapter attached: the last hidden state of the note's last token.
    Decoder,
}

/// A candidate that was given to a query.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Retrieved {
    pub query: usize,
    pub candidate: usize,
    pub cosine: f32,
}

/// One vector a text; `local` is asked with [`EmbedBy::Decoder`] alone.
pub fn embed(by: EmbedBy, local: &Local, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
    match by {
        EmbedBy::Minilm => minilm()?.embed(texts),
        EmbedBy::Decoder => texts.iter().map(|text| last_token(local, text)).collect(),
    }
}

/// The hidden state of the last token, [hidden_size]. What is longer than the model reads loses its end.
fn last_token(local: &Local, text: &str) -> Result<Vec<f32>> {
    let (model, mut ids) = (&local.model, local.tokenizer.encode(text, false)?);
    ids.truncate(model.config.max_position_embeddings);
    model.config.reads(&ids).map_err(|e| Error::input(format!("a note to embed: {e}")))?;
    let (all, last) = (Segments::of_lengths([ids.len()]), Segments::of_lengths([1]));
    Ok(on_workers(|| model.hidden_detached(&ids, &all, &last))?.get(0)?.to_vec1()?)
}

/// Of every query its `top` nearest candidates, and of these the assignment that the file's header describes.
pub fn retrieve(queries: &[Vec<f32>], candidates: &[Vec<f32>], top: usize, per_query: usize) -> Vec<Retrieved> {
    let of = |(query, vector): (usize, &Vec<f32>)| {
        let near = nearest(vector, candidates, top).into_iter();
        near.map(move |(candidate, cosine)| Retrieved { query, candidate, cosine }).collect::<Vec<_>>()
    };
    assign(queries.iter().enumerate().flat_map(of).collect(), per_query)
}

/// The pairs taken, the highest cosine first; of equal ones the earlier query, then the earlier candidate.
fn assign(mut pairs: Vec<Retrieved>, per_query: usize) -> Vec<Retrieved> {
    pairs.sort_by(|a, b| b.cosine.total_cmp(&a.cosine).then((a.query, a.candidate).cmp(&(b.query, b.candidate))));
    let (mut used, mut given) = (std::collections::BTreeSet::new(), std::collections::BTreeMap::<usize, usize>::new());
    pairs.retain(|pair| {
        let free = given.get(&pair.query).copied().unwrap_or(0) < per_query && used.insert(pair.candidate);
        if free {
            *given.entry(pair.query).or_default() += 1;
        }
        free
    });
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(query: usize, candidate: usize, cosine: f32) -> Retrieved {
        Retrieved { query, candidate, cosine }
    }

    #[test]
    fn a_note_is_given_once_to_the_nearest_query_that_has_room() {
        // query 0 takes 2 and 0; then it is full, so that 1 goes to query 1 although it is nearer to query 0
        let pairs =
            vec![pair(0, 0, 0.8), pair(0, 1, 0.7), pair(0, 2, 0.9), pair(1, 0, 0.85), pair(1, 1, 0.2), pair(1, 2, 0.9)];
        let taken = assign(pairs.clone(), 2);
        assert_eq!(taken, [pair(0, 2, 0.9), pair(1, 0, 0.85), pair(0, 1, 0.7)]);
        assert_eq!(assign(pairs.clone(), 1), [pair(0, 2, 0.9), pair(1, 0, 0.85)]);
        assert_eq!(assign(pairs, 0), []);
    }

    #[test]
    fn only_the_nearest_of_a_query_are_looked_at() {
        let queries = [vec![1.0, 0.0], vec![0.9, 0.1]];
        let candidates = [vec![1.0, 0.0], vec![0.0, 1.0], vec![1.0, 0.05]];
        let found = |top: usize| -> Vec<(usize, usize)> {
            retrieve(&queries, &candidates, top, 5).iter().map(|one| (one.query, one.candidate)).collect()
        };
        assert_eq!(found(1), [(0, 0), (1, 2)]);
        assert_eq!(found(3), [(0, 0), (0, 2), (1, 1)], "the first query takes all that are nearest to it");
    }

    #[test]
    fn a_decoder_embeds_by_its_last_token() {
        let local = Local::open("embedded", None).unwrap();
        let vectors = embed(EmbedBy::Decoder, &local, &["Renal cyst.", "No cyst.", "Renal cyst."]).unwrap();
        assert_eq!((vectors[0].len(), &vectors[0]), (local.model.config.hidden_size, &vectors[2]));
        assert_ne!(vectors[0], vectors[1]);
        assert_eq!(embed(EmbedBy::Decoder, &local, &[""]).unwrap_err().exit_code(), 2);
    }
}

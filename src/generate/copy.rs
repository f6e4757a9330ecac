//! Greedy copying with tags: as constrained decoding makes it, with runs of the text read in one pass.
use super::constraint::{Constraint, next_ids};
use super::decode::{Finish, Generated, Limits};
use super::insert::Insertions;
use super::passes::AT_ONCE;
use super::sample::{Place, Sampling};
use crate::error::{Error, Result};
use crate::model::ops::{CpuSlice, Segments, log_sum_exp, on_workers};
use crate::model::{Cache, CausalLm};
use std::time::Instant;

/// An answer, and what it took.
#[derive(Clone, Debug)]
pub struct Copied {
    pub generated: Generated,
    /// Passes through the model that had to wait for the one before; the prompt counts as one. One token at a time takes one a token. What a
    /// recurrent model reads anew after a draft that was not taken counts with what comes next.
    pub passes: usize,
}

/// The likeliest answer at every step, as [`super::decode`] makes it under `start`, with runs of up to `ahead` tokens of the text read in one pass.
pub fn copy_with_tags(
    model: &CausalLm,
    prompt: &[u32],
    start: &Insertions,
    limits: &Limits,
    ahead: usize,
) -> Result<Copied> {
    let started = Instant::now();
    let (mut cache, mut state) = (model.cache(), start.clone());
    let mut made = Generated::begun();
    let (mut pending, mut draft) = (prompt.to_vec(), Vec::new());
    let mut passes = 0;
    'answer: loop {
        let before = cache.len() + pending.len();
        // a recurrent layer cannot forget the end of a draft: it goes back to where it was, and reads the accepted part anew
        let mark = if draft.is_empty() { None } else { cache.mark() };
        let rows = read(model, &pending, &draft, &mut cache)?;
        passes += 1;
        for (i, (row, whole)) in rows.iter().enumerate() {
            let token = choose(&mut state, row, *whole, limits, &mut made)?;
            if limits.stop.contains(&token) {
                made.finish = Finish::StopToken;
                break 'answer;
            }
            made.tokens.push(token);
            state.accept(token)?;
            if made.tokens.len() >= limits.max_new {
                break 'answer;
            }
            if draft.get(i) != Some(&token) {
                pending = match mark.filter(|_| i < draft.len()) {
                    Some(mark) => {
                        cache.go_back(mark)?;
                        [&pending, &draft[..i], &[token]].concat()
                    }
                    None => {
                        cache.truncate(before + i)?;
                        vec![token]
                    }
                };
                break;
            }
        }
        let room = model.config.max_position_embeddings.saturating_sub(cache.len() + pending.len());
        draft = state.ahead(ahead.min(room))?;
    }
    made.seconds = started.elapsed().as_secs_f64();
    Ok(Copied { generated: made, passes })
}

/// Reads `pending` and `draft`; the logits behind the last of `pending` and behind each of `draft`, with log Σ e^logit.
fn read(model: &CausalLm, pending: &[u32], draft: &[u32], cache: &mut Cache) -> Result<Vec<(Vec<f32>, f32)>> {
    let ids = [pending, draft].concat();
    let first = ids.len() - draft.len() - 1;
    model.config.reads(&ids).and_then(|()| model.config.holds(cache.len() + ids.len()))?;
    for piece in ids[..first].chunks(AT_ONCE) {
        let (segments, newest) = (Segments::of_lengths([piece.len()]), Segments::of_lengths([1]));
        on_workers(|| model.extend_tail(piece, &segments, &newest, &mut [&mut *cache]))?;
    }
    let segments = Segments::of_lengths([ids.len() - first]);
    let logits = on_workers(|| model.logits(&model.extend(&ids[first..], &segments, &mut [&mut *cache])?))?; // [1 + draft, vocab_size]
    let vocabulary = logits.dim(1)?;
    let rows = CpuSlice::of(&logits)?;
    Ok(rows.chunks_exact(vocabulary).map(|row| (row.to_vec(), log_sum_exp(row))).collect())
}

fn choose(state: &mut Insertions, row: &[f32], whole: f32, limits: &Limits, made: &mut Generated) -> Result<u32> {
    if !whole.is_finite() {
        return Err(Error::failed("the logits are not finite; are there NaN in the weights?"));
    }
    let ids = next_ids(state, limits.max_new - made.tokens.len(), &limits.stop)?;
    let token =
        Sampling::default().choose(row, Some(&ids), Place { prompt: 0, sample: 0, position: made.tokens.len() as u64 });
    let allowed: Vec<f32> = ids.iter().map(|&id| row[id as usize]).collect();
    made.constrained.push((row[token as usize] - log_sum_exp(&allowed)) as f64);
    made.logprobs.push((row[token as usize] - whole) as f64);
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::super::insert::tests::insertions;
    use super::super::{Constraints, Decoding, decode};
    use super::*;
    use crate::model::Config;
    use crate::model::golden::{model, recurrent_config, recurrent_weights};

    #[test]
    fn reading_ahead_gives_the_tokens_of_one_at_a_time() {
        let untied = model("untied");
        let shape = Config { vocab_size: untied.config.vocab_size, ..recurrent_config() };
        let weights = recurrent_weights(&shape, 5);
        let recurrent = CausalLm::new(&shape, &mut |name, _| Ok(weights[name].clone().into())).unwrap();
        [untied, recurrent].iter().for_each(reads_ahead);
    }

    fn reads_ahead(model: &CausalLm) {
        for text in ["Renal cyst, liver cyst, gallstone. Normal liver.", "naïve 肝臓 (liver), [cyst]"] {
            let (tokenizer, start) = insertions(text);
            let prompt = tokenizer.encode("Normal liver. cyst", false).unwrap();
            let limits = Limits { max_new: 200, batch: 1, stop: vec![0] };
            let make = |_: usize| Ok(start.fork());
            let how = Decoding { constraints: Constraints::PerPrompt(&make), ..Decoding::greedy(limits.clone()) };
            let one = decode(model, &[prompt.clone()], &how, &mut |_| {}).unwrap().remove(0).remove(0);
            for ahead in [0, 1, 5, 40] {
                let copied = copy_with_tags(model, &prompt, &start, &limits, ahead).unwrap();
                assert_eq!((&copied.generated.tokens, copied.generated.finish), (&one.tokens, one.finish), "{ahead}");
                assert!((copied.generated.logprob() - one.logprob()).abs() < 1e-3);
                let most = one.tokens.len() + usize::from(one.ended());
                assert!(if ahead == 0 { copied.passes == most } else { copied.passes <= most }, "{}", copied.passes);
            }
        }
    }
}

//! The decoding loop against transformers (golden values), against the plain way without caches, and with what it is
//! held to.
use super::constraint::{Constraint, next_ids};
use super::decode::decode_by;
use super::labels::{Count, Labels};
use super::text::{Pieces, StopStrings, tests::tokenizer};
use super::{Constraints, Decoding, Finish, Generated, Limits, Pair, Place, Sampling, decode, greedy, score};
use crate::adapter::{Adapter, Mode};
use crate::error::Result;
use crate::model::CausalLm;
use crate::model::golden::{json, model, pairs, path};
use crate::model::ops::Segments;

#[test]
fn greedy_tokens_agree_with_transformers() {
    let want = json("decode.json");
    let prompts: Vec<Vec<u32>> = pairs().into_iter().map(|p| p.prompt_ids).collect();
    for name in ["tied", "untied", "adapter"] {
        let mut m = model(if name == "untied" { "untied" } else { "tied" });
        if name == "adapter" {
            Adapter::load(&path("adapter"), &mut m).unwrap().attach(&mut m, Mode::Infer).unwrap();
        }
        let tokens: Vec<Vec<u32>> = serde_json::from_value(want[name].clone())
            .or_else(|_| serde_json::from_value(want[name]["tokens"].clone()))
            .unwrap();
        let got = greedy(&m, &prompts, &Limits::exactly(tokens[0].len())).unwrap();
        assert_eq!(got.into_iter().map(|g| g.tokens).collect::<Vec<_>>(), tokens, "{name}");
    }
}

#[test]
fn batched_answers_equal_answers_one_by_one() {
    let m = model("untied");
    let prompts: Vec<Vec<u32>> =
        (0..9).map(|i| (0..3 + i * 5 % 11).map(|j| (i * 31 + j * 7) as u32 % 384).collect()).collect();
    let stop: Vec<u32> = (0..40).collect(); // ends some answers early, so that sequences leave and join
    let run = |batch| greedy(&m, &prompts, &Limits { max_new: 12, batch, stop: stop.clone() }).unwrap();
    let (one, four) = (run(1), run(4));
    assert!(one.iter().any(Generated::ended) && one.iter().any(|g| !g.ended()), "{one:?}");
    for (a, b) in one.iter().zip(&four) {
        assert_eq!((&a.tokens, a.finish), (&b.tokens, b.finish));
        assert!((a.logprob() - b.logprob()).abs() < 1e-4);
    }
}

#[test]
fn prompts_read_in_pieces_are_answered_alike() {
    let m = model("untied");
    let how = warm(3, 2);
    let run = |at_once| decode_by(&m, &prompts(), &how, at_once, &mut |_| {}).unwrap();
    let whole = run(1000);
    for at_once in [1, 3, 7] {
        for (a, b) in whole.iter().flatten().zip(run(at_once).iter().flatten()) {
            assert_eq!((&a.tokens, a.finish), (&b.tokens, b.finish), "{at_once} at once");
            assert!((a.logprob() - b.logprob()).abs() < 1e-4, "{at_once} at once");
        }
    }
}

#[test]
fn what_prompts_share_is_read_once_and_changes_no_answer() {
    let m = model("untied");
    let shared: Vec<u32> = (0..40).map(|j| j * 7 % 300).collect();
    let mut all: Vec<Vec<u32>> = prompts().into_iter().map(|rest| [shared.clone(), rest].concat()).collect();
    all.extend([vec![5, 9, 2], shared.clone()]); // one that begins otherwise, one that ends where the others go on
    for samples in [1, 2] {
        let alone = decode(&m, &all, &warm(3, samples), &mut |_| {}).unwrap();
        let how = Decoding { shared: shared.clone(), ..warm(3, samples) };
        for (a, b) in alone.iter().flatten().zip(decode(&m, &all, &how, &mut |_| {}).unwrap().iter().flatten()) {
            assert_eq!((&a.tokens, a.finish), (&b.tokens, b.finish));
            assert!((a.logprob() - b.logprob()).abs() < 1e-4);
        }
    }
}

fn prompts() -> Vec<Vec<u32>> {
    (0..5).map(|i| (0..4 + i * 7 % 9).map(|j| (i * 53 + j * 11) as u32 % 340).collect()).collect()
}

fn warm(batch: usize, samples: usize) -> Decoding<'static> {
    let limits = Limits { max_new: 12, batch, stop: (0..30).collect() };
    let sampling = Sampling { temperature: 1.3, top_k: 60, top_p: 0.95, min_p: 0.001, seed: 11 };
    Decoding { sampling, samples, ..Decoding::greedy(limits) }
}

/// The answer by running everything anew for every token, without a cache.
fn naive(m: &CausalLm, prompt: &[u32], how: &Decoding, mut place: Place) -> Generated {
    let mut ids = prompt.to_vec();
    let (tokens, logprobs, constrained) = (vec![], vec![], vec![]);
    let mut made = Generated { tokens, logprobs, constrained, finish: Finish::Length, text: None, seconds: 0.0 };
    let mut constraint = how.constraints.of(place.prompt as usize).unwrap();
    while made.tokens.len() < how.limits.max_new {
        let hidden = m.hidden(&ids, &Segments::of_lengths([ids.len()])).unwrap();
        let row: Vec<f32> =
            m.logits(&hidden.narrow(0, ids.len() - 1, 1).unwrap()).unwrap().squeeze(0).unwrap().to_vec1().unwrap();
        let left = how.limits.max_new - made.tokens.len();
        let allowed = constraint.as_mut().map(|c| next_ids(&mut **c, left, &how.limits.stop).unwrap());
        let token = how.sampling.choose(&row, allowed.as_deref(), place);
        let logprob = |ids: &[u32]| {
            let sum: f64 = ids.iter().map(|&i| (row[i as usize] as f64).exp()).sum();
            row[token as usize] as f64 - sum.ln()
        };
        made.logprobs.push(logprob(&(0..row.len() as u32).collect::<Vec<_>>()));
        made.constrained.extend(allowed.map(|allowed| logprob(&allowed)));
        place.position += 1;
        if how.limits.stop.contains(&token) {
            made.finish = Finish::StopToken;
            break;
        }
        if let Some(c) = &mut constraint {
            c.accept(token).unwrap();
        }
        made.tokens.push(token);
        ids.push(token);
    }
    made
}

fn same(a: &Generated, b: &Generated) {
    assert_eq!((&a.tokens, a.finish), (&b.tokens, b.finish));
    let close = |a: &[f64], b: &[f64]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4);
    assert!(close(&a.logprobs, &b.logprobs) && close(&a.constrained, &b.constrained), "{a:?} {b:?}");
}

#[test]
fn samples_do_not_depend_on_the_batch_and_are_those_of_the_plain_way() {
    let (m, prompts) = (model("untied"), prompts());
    let run = |batch, samples| decode(&m, &prompts, &warm(batch, samples), &mut |_| {}).unwrap();
    let one = run(1, 3);
    for other in [run(2, 3), run(7, 3), run(100, 3)] {
        one.iter().flatten().zip(other.iter().flatten()).for_each(|(a, b)| same(a, b));
    }
    run(4, 1).iter().zip(&one).for_each(|(single, three)| same(&single[0], &three[0]));
    for (p, answers) in one.iter().enumerate() {
        for (s, answer) in answers.iter().enumerate() {
            let place = Place { prompt: p as u64, sample: s as u64, position: 0 };
            same(answer, &naive(&m, &prompts[p], &warm(1, 1), place));
        }
    }
    let all: std::collections::BTreeSet<&[u32]> = one.iter().flatten().map(|g| &g.tokens[..]).collect();
    assert!(all.len() > 10, "samples differ");
    assert!(one.iter().flatten().any(Generated::ended) && one.iter().flatten().any(|g| !g.ended()));
}

#[test]
fn log_probabilities_are_those_that_score_gives() {
    let (m, prompts) = (model("untied"), prompts());
    let mut heard = vec![];
    let answers = decode(&m, &prompts, &warm(4, 2), &mut |n| heard.push(n)).unwrap();
    assert!(heard.is_sorted() && heard.last() == Some(&10), "{heard:?}");
    for (prompt, answer) in prompts.iter().zip(&answers).flat_map(|(p, a)| a.iter().map(move |a| (p, a))) {
        let pair = Pair { prompt_ids: prompt.clone(), completion_ids: answer.tokens.clone(), line: 0 };
        let want = score(&m, &[pair], 512).unwrap().remove(0);
        assert_eq!(answer.logprobs.len(), want.len() + answer.ended() as usize, "one more for the token that ended it");
        assert!(want.iter().zip(&answer.logprobs).all(|(a, b)| (a - b).abs() < 1e-4), "{want:?} {answer:?}");
    }
}

#[test]
fn a_stop_string_cuts_what_the_free_answer_would_have_been() {
    let (m, t) = (model("untied"), tokenizer());
    let pieces = std::sync::Arc::new(Pieces::of(&t).unwrap());
    let how = Decoding { limits: Limits { max_new: 16, batch: 2, stop: vec![] }, ..warm(2, 1) };
    let mut cuts = 0;
    for (p, free) in decode(&m, &prompts(), &how, &mut |_| {}).unwrap().into_iter().flatten().enumerate() {
        let bytes: Vec<u8> = free.tokens.iter().flat_map(|&id| pieces.bytes(id).to_vec()).collect();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let plain: String = text.chars().skip(3).skip_while(|c| !c.is_ascii_graphic()).take(2).collect();
        if plain.len() != 2 || !plain.is_ascii() {
            continue; // the random model wrote no two plain characters in a row there
        }
        let until = Some(StopStrings::new(&[plain.clone()], pieces.clone()).unwrap());
        let got = decode(&m, &prompts(), &Decoding { until, ..how.clone() }, &mut |_| {}).unwrap()[p].remove(0);
        assert_eq!((got.finish, got.text.as_deref()), (Finish::StopString, text.split(&plain).next()));
        assert_eq!(free.tokens[..got.tokens.len()], got.tokens);
        let longer = free.logprobs.iter().zip(&got.logprobs);
        assert!(longer.map(|(a, b)| (a - b).abs()).all(|d| d < 1e-4), "the stop string's tokens count");
        let drawn = |n: usize| {
            let bytes: Vec<u8> = free.tokens[..n].iter().flat_map(|&id| pieces.bytes(id).to_vec()).collect();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let n = got.logprobs.len();
        assert!(drawn(n).contains(&plain) && !drawn(n - 1).contains(&plain), "drawn until the stop string is whole");
        cuts += 1;
    }
    assert!(cuts >= 2, "{cuts} answers had a stop string to cut at");
}

#[test]
fn constrained_answers_are_labels_and_keep_both_probabilities() {
    let (m, t) = (model("untied"), tokenizer());
    let names = ["renal cyst", "liver cyst", "gallstone", "cyst (liver)"].map(String::from);
    let labels = Labels::new(&names, Count::Many, &t).unwrap();
    let stop = vec![t.control().turn_end, t.control().text_end];
    for (sampling, samples) in [(Sampling::default(), 1), (warm(1, 1).sampling, 2)] {
        let limits = Limits { max_new: 40, batch: 3, stop: stop.clone() };
        let how = Decoding { sampling, samples, constraints: Constraints::Shared(&labels), ..Decoding::greedy(limits) };
        let answers = decode(&m, &prompts(), &how, &mut |_| {}).unwrap();
        for (p, answer) in answers.iter().enumerate().flat_map(|(p, a)| a.iter().map(move |a| (p, a))) {
            let text = t.decode(&answer.tokens, true).unwrap();
            assert!(text.split(", ").all(|l| names.iter().any(|n| n == l)), "{text}");
            assert_eq!((answer.finish, answer.constrained.len()), (Finish::StopToken, answer.logprobs.len()));
            assert!(answer.constrained.iter().zip(&answer.logprobs).all(|(c, raw)| c >= raw && *c < 1e-6));
            if samples == 1 {
                let place = Place { prompt: p as u64, sample: 0, position: 0 };
                same(answer, &naive(&m, &prompts()[p], &how, place));
            }
        }
    }
    let cut = Limits { max_new: 6, batch: 3, stop };
    let how = Decoding { constraints: Constraints::Shared(&labels), ..Decoding::greedy(cut) };
    let cut = decode(&m, &prompts(), &how, &mut |_| {}).unwrap().concat();
    for answer in &cut {
        let text = t.decode(&answer.tokens, true).unwrap();
        assert!(text.split(", ").all(|l| names.iter().any(|n| n == l)), "only whole labels, cut or not: {text}");
        assert_eq!(answer.logprobs.len(), answer.tokens.len() + answer.ended() as usize);
    }
    assert!(cut.iter().any(|answer| !answer.ended()));
}

#[derive(Clone)]
struct DeadEnd(usize);

impl Constraint for DeadEnd {
    fn allowed(&mut self, _: usize) -> Result<Vec<u32>> {
        Ok(if self.0 == 0 { vec![] } else { vec![7, 8] })
    }
    fn accept(&mut self, _: u32) -> Result<()> {
        self.0 -= 1;
        Ok(())
    }
    fn may_end(&mut self) -> Result<bool> {
        Ok(false)
    }
    fn fork(&self) -> Box<dyn Constraint> {
        Box::new(self.clone())
    }
}

#[test]
fn what_cannot_be_decoded_is_refused() {
    let m = model("untied");
    let fine = || Decoding::greedy(Limits { max_new: 4, batch: 2, stop: vec![1] });
    let refused = |prompts: &[Vec<u32>], how: Decoding| {
        let error = decode(&m, prompts, &how, &mut |_| {}).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        error.to_string()
    };
    let short = [vec![5, 6], vec![9]];
    let dead = DeadEnd(2);
    let said = refused(&short, Decoding { constraints: Constraints::Shared(&dead), ..fine() });
    assert!(said.starts_with("prompt 1, after 2 new tokens: the constraint allows no token"), "{said}");
    let endless = Limits { stop: vec![], ..fine().limits };
    assert!(
        refused(&short, Decoding { constraints: Constraints::Shared(&dead), limits: endless, ..fine() })
            .contains("end of turn")
    );
    assert!(refused(&short, Decoding { samples: 0, ..fine() }).contains("0 samples"));
    assert!(refused(&short, Decoding { samples: 2, ..fine() }).contains("temperature 0"));
    let many = Decoding { samples: usize::MAX, sampling: Sampling { temperature: 1.0, ..fine().sampling }, ..fine() };
    assert!(refused(&short, many).contains("samples a prompt: expected at most 65536"));
    let none = Limits { max_new: 0, ..fine().limits };
    assert!(refused(&short, Decoding { limits: none, ..fine() }).contains("0 new tokens"));
    assert!(refused(&[vec![]], fine()).contains("empty prompt"));
    assert!(refused(&[vec![384]], fine()).contains("outside the model's vocabulary"));
    let room = m.config.max_position_embeddings;
    assert!(refused(&[vec![3; room + 1]], fine()).contains("longer than the model's 512 positions"));
    let long = Limits { stop: vec![], ..fine().limits };
    assert!(refused(&[vec![3; room - 2]], Decoding { limits: long.clone(), ..fine() }).contains("513 tokens"));
    let called = |at: usize| format!("case {}", ["a", "b"][at]);
    let said = refused(&[vec![9], vec![3; room - 2]], Decoding { limits: long, called: Some(&called), ..fine() });
    assert!(said.starts_with("case b, after 3 new tokens: a sequence of 513 tokens"), "{said}");
    assert!(decode(&m, &[], &fine(), &mut |_| {}).unwrap().is_empty());
}

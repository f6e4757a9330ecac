//! The engine: who is asked beside a request changes no bit of its answer, and what the engine says is what `decode` says.
use super::engine::PIECE;
use super::labels::{Count, Labels};
use super::text::{Pieces, StopStrings, tests::tokenizer};
use super::{Ask, Decoding, Drawn, Engine, Finish, Generated, Limits, Listen, Room, Sampling, Worker, decode};
use crate::adapter::{Adapter, Mode};
use crate::error::Error;
use crate::model::golden::{model, path, recurrent_model, weights};
use crate::model::{CausalLm, Config};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// What was heard of one request.
#[derive(Default)]
struct Heard {
    tokens: BTreeMap<usize, Vec<Drawn>>,
    done: BTreeMap<usize, Generated>,
    failed: Option<String>,
}

#[derive(Clone, Default)]
struct Ear(Arc<Mutex<Heard>>, Arc<AtomicBool>);

impl Listen for Ear {
    fn token(&mut self, sample: usize, token: Drawn) {
        self.0.lock().unwrap().tokens.entry(sample).or_default().push(token);
    }
    fn done(&mut self, sample: usize, made: Generated) {
        assert!(self.0.lock().unwrap().done.insert(sample, made).is_none(), "once");
    }
    fn failed(&mut self, error: Error) {
        self.0.lock().unwrap().failed = Some(error.to_string());
    }
    fn gone(&self) -> bool {
        self.1.load(Ordering::Relaxed)
    }
}

fn ask(i: usize) -> Ask {
    let length = [3, 20, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE + 9, 7, 40][i % 8];
    // requests of a kind begin alike
    let prompt = (0..length).map(|j| if j < 2 * PIECE { j * 7 % 250 } else { (i * 31 + j) % 250 } as u32).collect();
    Ask {
        model: usize::from(i % 3 == 2),
        prompt,
        sampling: Sampling {
            temperature: if i.is_multiple_of(4) { 0.0 } else { 1.1 },
            seed: i as u64,
            ..Sampling::default()
        },
        samples: if i % 5 == 1 { 3 } else { 1 },
        max_new: 5 + i % 17,
        stop: (0..20).collect(),
        until: None,
        constraint: None,
        top: i % 4,
    }
}

/// A base model and the same with an adapter.
fn models(kind: &dyn Fn(candle_core::Tensor) -> crate::model::Weight) -> Vec<Arc<CausalLm>> {
    let (all, config) = (weights("tied"), Config::read(&path("tied")).unwrap());
    let make = || {
        let mut weights = |name: &str, _: &[usize]| Ok(kind(all[name].clone()));
        CausalLm::new(&config, &mut weights).unwrap()
    };
    let (base, mut adapted) = (make(), make());
    Adapter::load(&path("adapter"), &mut adapted).unwrap().attach(&mut adapted, Mode::Infer).unwrap();
    vec![Arc::new(base), Arc::new(adapted)]
}

type Bits = Vec<(usize, Vec<u32>, Vec<u64>, Finish, Vec<(u32, u64)>)>;

fn bits(heard: &Heard) -> Bits {
    assert_eq!(heard.failed, None);
    let one = |(sample, made): (&usize, &Generated)| {
        let top = heard.tokens[sample].iter().flat_map(|t| t.top.iter().map(|(id, p)| (*id, p.to_bits())));
        let logprobs = made.logprobs.iter().map(|p| p.to_bits()).collect();
        (*sample, made.tokens.clone(), logprobs, made.finish, top.collect())
    };
    heard.done.iter().map(one).collect()
}

fn alone(models: &[Arc<CausalLm>], i: usize) -> Bits {
    let (mut engine, ear) = (Engine::new(models.to_vec(), Room::default()).unwrap(), Ear::default());
    engine.join(ask(i), Box::new(ear.clone()));
    while !engine.is_idle() {
        engine.step();
    }
    let heard = ear.0.lock().unwrap();
    bits(&heard)
}

#[test]
fn sixty_four_requests_beside_one_another_get_the_bits_that_each_gets_alone() {
    use crate::model::Weight;
    use candle_core::DType;
    let f32s: &dyn Fn(candle_core::Tensor) -> Weight = &|t| t.into();
    let bf16: &dyn Fn(candle_core::Tensor) -> Weight =
        &|t| if t.rank() == 2 { t.to_dtype(DType::BF16).unwrap().into() } else { t.into() };
    let mixed: &dyn Fn(candle_core::Tensor) -> Weight = &|t| if t.rank() == 2 { bf16(t).mixed() } else { t.into() };
    let recurrent: Vec<Arc<CausalLm>> = [1, 2].map(|seed| Arc::new(recurrent_model(seed))).to_vec();
    let named = [(models(f32s), "f32"), (models(bf16), "bf16"), (models(mixed), "mixed"), (recurrent, "recurrent")];
    for (models, name) in named {
        let want: Vec<Bits> = (0..64).map(|i| alone(&models, i)).collect();
        for (sequences, tokens, kept) in [(80, 1 << 20, 1 << 12), (7, 900, 0), (24, 1 << 14, PIECE)] {
            let room = Room { sequences, tokens, kept };
            let mut engine = Engine::new(models.clone(), room).unwrap();
            let ears: Vec<Ear> = (0..64).map(|_| Ear::default()).collect();
            // they come a few at a time, and not in order
            for (n, i) in (0..64).map(|n| (n, n * 37 % 64)) {
                engine.join(ask(i), Box::new(ears[i].clone()));
                if n.is_multiple_of(3) {
                    engine.step();
                }
                assert!(engine.done().active <= sequences);
            }
            while !engine.is_idle() {
                engine.step();
            }
            for (i, ear) in ears.iter().enumerate() {
                assert_eq!(bits(&ear.0.lock().unwrap()), want[i], "{name}, request {i} among {sequences}");
            }
            assert_eq!(engine.done().copied > 0, kept > 0, "{:?}", engine.done());
        }
    }
}

#[test]
fn the_engine_says_what_decode_says() {
    let models = models(&|t| t.into());
    for i in 0..16 {
        let Ask { model, prompt, sampling, samples, max_new, stop, .. } = ask(i);
        let how = Decoding { sampling, samples, ..Decoding::greedy(Limits { max_new, batch: 4, stop }) };
        let want = match how.check() {
            Ok(()) => decode(&models[model], &[prompt], &how, &mut |_| {}).unwrap().remove(0),
            Err(_) => continue, // several greedy answers, which an engine gives
        };
        let ear = Ear::default();
        let worker = Worker::start(Engine::new(models.clone(), Room::default()).unwrap()).unwrap();
        worker.ask(ask(i), Box::new(ear.clone()));
        drop(worker); // finishes what it began
        let heard = ear.0.lock().unwrap();
        assert_eq!(heard.done.len(), want.len());
        for (got, want) in heard.done.values().zip(&want) {
            assert_eq!((&got.tokens, got.finish), (&want.tokens, want.finish), "request {i}");
            assert!(got.logprobs.iter().zip(&want.logprobs).all(|(a, b)| (a - b).abs() < 1e-4));
        }
        for (sample, drawn) in &heard.tokens {
            let made = &heard.done[sample];
            assert_eq!(drawn.iter().map(|d| d.logprob).collect::<Vec<_>>(), made.logprobs);
            assert_eq!(drawn.iter().filter(|d| !d.ends).map(|d| d.id).collect::<Vec<_>>(), made.tokens);
            for Drawn { id, logprob, top, .. } in drawn {
                assert!(top.len() == i % 4 && top.is_sorted_by(|a, b| a.1 >= b.1));
                assert!(top.iter().all(|(other, p)| other != id || p == logprob));
                assert!(top.first().is_none_or(|(_, most)| most >= logprob));
            }
        }
    }
}

#[test]
fn who_goes_away_costs_nothing_more_and_the_others_get_their_answers() {
    let models = models(&|t| t.into());
    let mut engine = Engine::new(models.clone(), Room::default()).unwrap();
    let ears: Vec<Ear> = (0..12).map(|_| Ear::default()).collect();
    for (i, ear) in ears.iter().enumerate() {
        engine.join(ask(i), Box::new(ear.clone()));
    }
    (0..9).for_each(|_| engine.step());
    ears.iter().step_by(2).for_each(|ear| ear.1.store(true, Ordering::Relaxed));
    engine.step();
    let heard: Vec<usize> =
        ears.iter().step_by(2).map(|ear| ear.0.lock().unwrap().tokens.values().map(Vec::len).sum()).collect();
    while !engine.is_idle() {
        engine.step();
    }
    let later = ears.iter().step_by(2).map(|ear| ear.0.lock().unwrap().tokens.values().map(Vec::len).sum());
    assert_eq!(heard, later.collect::<Vec<usize>>(), "no token after they left");
    assert!(engine.done().left >= 1 && engine.done().active == 0 && engine.done().waiting == 0);
    for (i, ear) in ears.iter().enumerate().skip(1).step_by(2) {
        assert_eq!(bits(&ear.0.lock().unwrap()), alone(&models, i));
    }
}

#[test]
fn constraints_and_stop_strings_belong_to_their_request() {
    let (m, t) = (Arc::new(model("untied")), tokenizer());
    let names = ["renal cyst", "liver cyst", "gallstone"].map(String::from);
    let labels = Labels::new(&names, Count::Many, &t).unwrap();
    let pieces = Arc::new(Pieces::of(&t).unwrap());
    let mut engine = Engine::new(vec![m], Room::default()).unwrap();
    let ears: Vec<Ear> = (0..6).map(|_| Ear::default()).collect();
    for (i, ear) in ears.iter().enumerate() {
        let held = i.is_multiple_of(2);
        let until = (!held).then(|| StopStrings::new(&["e".into(), "a".into(), " ".into()], pieces.clone()).unwrap());
        let constraint = held.then(|| Box::new(labels.clone()) as Box<dyn super::Constraint>);
        let stop = vec![t.control().turn_end];
        let sampling = Sampling { temperature: 1.0, seed: i as u64, ..Sampling::default() };
        let prompt = vec![5, 6, 7 + i as u32];
        let ask = Ask { model: 0, prompt, sampling, samples: 2, max_new: 40, stop, until, constraint, top: 0 };
        engine.join(ask, Box::new(ear.clone()));
    }
    while !engine.is_idle() {
        engine.step();
    }
    for (i, ear) in ears.iter().enumerate() {
        for made in ear.0.lock().unwrap().done.values() {
            let text = made.text.clone().unwrap_or_else(|| t.decode(&made.tokens, true).unwrap());
            match i % 2 {
                0 => assert!(text.split(", ").all(|l| names.iter().any(|n| n == l)), "{text}"),
                _ => assert!(!text.contains(['e', 'a', ' ']), "{text}"),
            }
        }
    }
}

#[test]
fn what_cannot_be_answered_is_told_and_nothing_else_is_harmed() {
    let models = models(&|t| t.into());
    let mut engine = Engine::new(models, Room { sequences: 4, ..Room::default() }).unwrap();
    let mut refused = |ask: Ask| {
        let ear = Ear::default();
        engine.join(ask, Box::new(ear.clone()));
        while !engine.is_idle() {
            engine.step();
        }
        let heard = ear.0.lock().unwrap();
        heard.failed.clone().unwrap_or_default()
    };
    assert!(refused(Ask { prompt: vec![], ..ask(0) }).contains("empty prompt"));
    assert!(refused(Ask { prompt: vec![256], ..ask(0) }).contains("outside the model's vocabulary"));
    assert!(refused(Ask { prompt: vec![3; 510], max_new: 4, ..ask(0) }).contains("positions"));
    assert!(refused(Ask { samples: 5, ..ask(0) }).contains("expected 1 to 4"));
    assert!(refused(Ask { max_new: 0, ..ask(0) }).contains("0 new tokens"));
    assert!(refused(Ask { model: 2, ..ask(0) }).contains("no such model"));
    assert_eq!(refused(Ask { prompt: vec![3; 509], max_new: 4, ..ask(0) }), "");
    assert!(Engine::new(vec![], Room::default()).is_err());
}

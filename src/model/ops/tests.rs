//! Every operation against its twin: values and gradients of f32 loops against candle's autograd in f64, and the twins
//! themselves against finite differences in f64.
use super::*;
use candle_core::{DType, Device, Result, Tensor, Var};

fn noise(shape: &[usize], seed: u64) -> Tensor {
    use rand::Rng as _;
    let mut rng = <rand_chacha::ChaCha8Rng as rand::SeedableRng>::seed_from_u64(seed);
    let n = shape.iter().product();
    let v: Vec<f64> = (0..n).map(|_| rng.random_range(-1.5..1.5)).collect();
    Tensor::from_vec(v, shape, &Device::Cpu).unwrap()
}

type Op<'a> = &'a dyn Fn(&[Tensor]) -> Result<Tensor>;

/// Gradients of Σ f(inputs) ⊙ c, for a fixed random c.
fn gradients(f: Op, inputs: &[Tensor], dtype: DType) -> (Tensor, Vec<Tensor>) {
    let vars: Vec<Var> = inputs.iter().map(|t| Var::from_tensor(&t.to_dtype(dtype).unwrap()).unwrap()).collect();
    let y = f(&vars.iter().map(|v| v.as_tensor().clone()).collect::<Vec<_>>()).unwrap();
    let c = noise(y.dims(), 99).to_dtype(dtype).unwrap();
    let grads = (&y * c).unwrap().sum_all().unwrap().backward().unwrap();
    (y.detach(), vars.iter().map(|v| grads.get(v).unwrap_or_else(|| panic!("no gradient")).clone()).collect())
}

fn distance(a: &Tensor, b: &Tensor) -> f64 {
    let (a, b) = (a.to_dtype(DType::F64).unwrap(), b.to_dtype(DType::F64).unwrap());
    (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar().unwrap()
}

fn agrees(op: Op, twin: Op, inputs: &[Tensor]) {
    let (y, grads) = gradients(op, inputs, DType::F32);
    let (want_y, want) = gradients(twin, inputs, DType::F64);
    assert!(distance(&y, &want_y) < 2e-5, "values differ by {}", distance(&y, &want_y));
    for (i, (got, want)) in grads.iter().zip(&want).enumerate() {
        assert!(distance(got, want) < 5e-5, "gradient {i} differs by {}", distance(got, want));
    }
    finite_differences(twin, inputs, &want);
}

fn finite_differences(f: Op, inputs: &[Tensor], grads: &[Tensor]) {
    let c = noise(f(inputs).unwrap().dims(), 99);
    let loss =
        |inputs: &[Tensor]| -> f64 { (f(inputs).unwrap() * &c).unwrap().sum_all().unwrap().to_scalar().unwrap() };
    for (i, grad) in grads.iter().enumerate() {
        let flat: Vec<f64> = inputs[i].flatten_all().unwrap().to_vec1().unwrap();
        let grad: Vec<f64> = grad.flatten_all().unwrap().to_vec1().unwrap();
        for at in (0..flat.len()).step_by(flat.len() / 7 + 1) {
            let moved = |by: f64| {
                let mut v = flat.clone();
                v[at] += by;
                let mut all = inputs.to_vec();
                all[i] = Tensor::from_vec(v, inputs[i].shape(), &Device::Cpu).unwrap();
                loss(&all)
            };
            let want = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            assert!((grad[at] - want).abs() < 1e-5 * (1.0 + want.abs()), "input {i} at {at}: {} {want}", grad[at]);
        }
    }
}

#[test]
fn rms_norm_and_its_gradients() {
    let inputs = [noise(&[70, 3, 20], 1), noise(&[20], 2)];
    agrees(&|t| rms_norm(&t[0], &t[1], 1e-6), &|t| rms_norm_naive(&t[0], &t[1], 1e-6), &inputs);
}

#[test]
fn rope_and_its_gradient() {
    let turns = Turns::new(&[0, 1, 2, 0, 1, 900], 16, 1e6);
    agrees(&|t| rope(&t[0], &turns), &|t| rope_naive(&t[0], &turns), &[noise(&[6, 3, 16], 3)]);
}

#[test]
fn swiglu_and_its_gradients() {
    let twin = |t: &[Tensor]| (t[0].silu()? * &t[1]).map(|y| y * 1.0)?;
    agrees(&|t| swiglu(&t[0], &t[1]), &twin, &[noise(&[9, 33], 4), noise(&[9, 33], 5)]);
}

#[test]
fn attention_and_its_gradients_over_ragged_segments() {
    // one segment longer than a block of rows, one single token
    let segments = Segments::of_lengths([5, 1, 140]);
    let inputs = [noise(&[146, 4, 8], 6), noise(&[146, 2, 8], 7), noise(&[146, 2, 8], 8)];
    agrees(
        &|t| causal_attention(&t[0], &t[1], &t[2], &segments),
        &|t| causal_attention_naive(&t[0], &t[1], &t[2], &segments),
        &inputs,
    );
}

#[test]
fn no_token_sees_its_neighbour_or_the_future() {
    let segments = Segments::of_lengths([4, 3]);
    let [q, k, v] = [11, 12, 13].map(|s| noise(&[7, 2, 4], s).to_dtype(DType::F32).unwrap());
    let y = causal_attention(&q, &k, &v, &segments).unwrap();
    // change the last token of the first segment: only its own row may move
    let bump =
        Tensor::from_vec((0..7 * 8).map(|i| if i / 8 == 3 { 1f32 } else { 0.0 }).collect(), (7, 2, 4), &Device::Cpu);
    let bump = bump.unwrap();
    let z = causal_attention(&q, &(&k + &bump).unwrap(), &(&v + &bump).unwrap(), &segments).unwrap();
    for row in 0..7 {
        let moved = distance(&y.get(row).unwrap(), &z.get(row).unwrap());
        assert_eq!(moved > 0.0, row == 3, "row {row} moved by {moved}");
    }
}

#[test]
fn attention_with_a_cache_continues_attention_without() {
    let segments = Segments::of_lengths([9]);
    let [q, k, v] = [21, 22, 23].map(|s| noise(&[9, 2, 4], s).to_dtype(DType::F32).unwrap());
    let whole: Vec<f32> = causal_attention(&q, &k, &v, &segments).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    let (q, k, v) = (Numbers::of(&q).unwrap(), Numbers::of(&k).unwrap(), Numbers::of(&v).unwrap());
    let shape = Heads { heads: 2, kv_heads: 2, dim: 4 };
    let (tail, _) = attend_windows(shape, &[Window { q: &q[6 * 8..], k: &k, v: &v }]);
    for (got, want) in tail.iter().zip(&whole[6 * 8..]) {
        assert!((got - want).abs() < 1e-6, "{got} {want}");
    }
}

#[test]
fn linear_passes_gradient_through_a_frozen_weight() {
    let w = noise(&[6, 10], 31);
    let f32w = w.to_dtype(DType::F32).unwrap();
    agrees(&|t| linear(&t[0], &f32w), &|t| t[0].matmul(&w.t()?), &[noise(&[5, 10], 32)]);
}

#[test]
fn token_logprob_and_its_gradients_with_a_frozen_and_a_learning_head() {
    let targets: Vec<u32> = (0..300).map(|i| (i * 7 % 40) as u32).collect();
    let (h, w) = (noise(&[300, 12], 41), noise(&[40, 12], 42));
    let both = [h.clone(), w.clone()];
    agrees(&|t| token_logprob(&t[0], &t[1], &targets), &|t| token_logprob_naive(&t[0], &t[1], &targets), &both);
    let f32w = w.to_dtype(DType::F32).unwrap();
    agrees(&|t| token_logprob(&t[0], &f32w, &targets), &|t| token_logprob_naive(&t[0], &w, &targets), &[h]);
}

#[test]
fn a_target_outside_the_vocabulary_is_refused() {
    let (h, w) = (noise(&[1, 4], 51), noise(&[8, 4], 52));
    let error = token_logprob(&h, &w, &[8]).unwrap_err().to_string();
    assert!(error.contains("token id 8 outside the vocabulary of 8"), "{error}");
}

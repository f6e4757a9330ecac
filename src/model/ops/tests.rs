//! Every operation against its twin: values and gradients of f32 loops against candle's autograd in f64, and the twins
//! themselves against finite differences in f64.
use super::*;
use candle_core::{DType, Device, Result, Tensor, Var};

mod encoder;
mod recurrence;

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

/// Of heads of 16.
fn frequencies(theta: f64) -> Vec<f64> {
    crate::model::Rope::plain(theta).frequencies(16).0
}

#[test]
fn rope_and_its_gradient() {
    let rotary = RotaryEmbedding::new(&[0, 1, 2, 0, 1, 900], &frequencies(1e6), 1.25);
    agrees(&|t| rope(&t[0], &rotary), &|t| rope_naive(&t[0], &rotary), &[noise(&[6, 3, 16], 3)]);
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
        &|t| causal_attention(&t[0], &t[1], &t[2], &segments, &segments, None),
        &|t| causal_attention_naive(&t[0], &t[1], &t[2], &segments, &segments, None),
        &inputs,
    );
}

#[test]
fn attention_of_the_last_queries_only_is_that_part_of_the_whole() {
    let (segments, tails) = (Segments::of_lengths([5, 1, 140]), Segments::of_lengths([2, 1, 131]));
    let inputs = [noise(&[134, 4, 8], 6), noise(&[146, 2, 8], 7), noise(&[146, 2, 8], 8)];
    agrees(
        &|t| causal_attention(&t[0], &t[1], &t[2], &tails, &segments, None),
        &|t| causal_attention_naive(&t[0], &t[1], &t[2], &tails, &segments, None),
        &inputs,
    );
    let q = Tensor::cat(&[noise(&[3, 4, 8], 9), inputs[0].narrow(0, 0, 2).unwrap()], 0).unwrap();
    let (k, v) = (inputs[1].narrow(0, 0, 5).unwrap(), inputs[2].narrow(0, 0, 5).unwrap());
    let five = Segments::of_lengths([5]);
    let whole = causal_attention_naive(&q, &k, &v, &five, &five, None).unwrap().narrow(0, 3, 2).unwrap();
    let tail = causal_attention_naive(&inputs[0], &inputs[1], &inputs[2], &tails, &segments, None).unwrap();
    assert!(distance(&tail.narrow(0, 0, 2).unwrap(), &whole) < 1e-12);
}

#[test]
fn attention_through_a_sliding_window_and_its_gradients() {
    // windows shorter and longer than a block of rows, than a segment, and of one key
    let (segments, tails) = (Segments::of_lengths([5, 1, 300]), Segments::of_lengths([2, 1, 290]));
    for (reach, queries) in [(1, &segments), (3, &segments), (3, &tails), (140, &tails), (1000, &segments)] {
        let inputs = [noise(&[queries.tokens(), 4, 8], 6), noise(&[306, 2, 8], 7), noise(&[306, 2, 8], 8)];
        agrees(
            &|t| causal_attention(&t[0], &t[1], &t[2], queries, &segments, Some(reach)),
            &|t| causal_attention_naive(&t[0], &t[1], &t[2], queries, &segments, Some(reach)),
            &inputs,
        );
    }
    let [q, k, v] = [6, 7, 8].map(|seed| noise(&[306, 2, 8], seed).to_dtype(DType::F32).unwrap());
    let wide = causal_attention(&q, &k, &v, &segments, &segments, Some(300)).unwrap();
    let whole = causal_attention(&q, &k, &v, &segments, &segments, None).unwrap();
    assert_eq!(distance(&wide, &whole), 0.0, "a window as long as the segment is none");
}

#[test]
fn a_bias_and_its_gradients() {
    let inputs = [noise(&[70, 20], 12), noise(&[20], 13)];
    agrees(&|t| add_bias_over(t[0].clone(), &t[1]), &|t| t[0].broadcast_add(&t[1]), &inputs);
    let y = inputs[0].to_dtype(DType::F32).unwrap();
    let bias = inputs[1].to_dtype(DType::F32).unwrap();
    let want = y.broadcast_add(&bias).unwrap();
    assert_eq!(distance(&add_bias_over(y.copy().unwrap(), &bias).unwrap(), &want), 0.0, "in place");
}

#[test]
fn no_token_sees_its_neighbour_or_the_future() {
    let segments = Segments::of_lengths([4, 3]);
    let [q, k, v] = [11, 12, 13].map(|s| noise(&[7, 2, 4], s).to_dtype(DType::F32).unwrap());
    let y = causal_attention(&q, &k, &v, &segments, &segments, None).unwrap();
    // change the last token of the first segment: only its own row may move
    let bump =
        Tensor::from_vec((0..7 * 8).map(|i| if i / 8 == 3 { 1f32 } else { 0.0 }).collect(), (7, 2, 4), &Device::Cpu);
    let bump = bump.unwrap();
    let z = causal_attention(&q, &(&k + &bump).unwrap(), &(&v + &bump).unwrap(), &segments, &segments, None).unwrap();
    for row in 0..7 {
        let moved = distance(&y.get(row).unwrap(), &z.get(row).unwrap());
        assert_eq!(moved > 0.0, row == 3, "row {row} moved by {moved}");
    }
}

#[test]
fn attention_with_a_cache_continues_attention_without() {
    let segments = Segments::of_lengths([9]);
    let [q, k, v] = [21, 22, 23].map(|s| noise(&[9, 2, 4], s).to_dtype(DType::F32).unwrap());
    let whole: Vec<f32> =
        causal_attention(&q, &k, &v, &segments, &segments, None).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    let (q, k, v) = (CpuSlice::of(&q).unwrap(), CpuSlice::of(&k).unwrap(), CpuSlice::of(&v).unwrap());
    let shape = Heads { heads: 2, kv_heads: 2, dim: 4, reach: None };
    let (tail, _) = attend_windows(shape, &[Window { q: &q[6 * 8..], k: &k, v: &v }]);
    for (got, want) in tail.iter().zip(&whole[6 * 8..]) {
        assert!((got - want).abs() < 1e-6, "{got} {want}");
    }
}

#[test]
fn attention_of_the_newest_tokens_is_the_last_row_of_attention_without_a_cache() {
    for (heads, kv_heads, dim) in [(4, 2, 8), (6, 2, 40), (2, 2, 16)] {
        let shape = Heads { heads, kv_heads, dim, reach: None };
        let segments = Segments::of_lengths([9, 1, 30]);
        let [q, k, v] = [(24, heads), (25, kv_heads), (26, kv_heads)]
            .map(|(s, h)| noise(&[40, h, dim], s).to_dtype(DType::F32).unwrap());
        let whole = causal_attention(&q, &k, &v, &segments, &segments, None).unwrap();
        let (q, k, v) = (CpuSlice::of(&q).unwrap(), CpuSlice::of(&k).unwrap(), CpuSlice::of(&v).unwrap());
        let (row, kv) = (heads * dim, kv_heads * dim);
        let windows: Vec<Window> = (0..3)
            .map(|i| {
                let r = segments.range(i);
                let past = r.start * kv..r.end * kv;
                Window { q: &q[(r.end - 1) * row..r.end * row], k: &k[past.clone()], v: &v[past] }
            })
            .collect();
        for (i, got) in attend_past(shape, &windows).chunks_exact(row).enumerate() {
            let want = whole.get(segments.range(i).end - 1).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert!(got.iter().zip(&want).all(|(g, w)| (g - w).abs() < 1e-5), "{heads} {kv_heads} {dim}, window {i}");
        }
    }
}

#[test]
fn a_sum_and_its_gradients() {
    agrees(&|t| add(&t[0], &t[1]), &|t| &t[0] + &t[1], &[noise(&[7, 5], 71), noise(&[7, 5], 72)]);
}

#[test]
fn linear_passes_gradient_through_a_frozen_weight() {
    let w = noise(&[6, 10], 31);
    let frozen = Weight::from(w.to_dtype(DType::F32).unwrap());
    for tokens in [5, 40] {
        // few rows take another path than many
        agrees(&|t| linear(&t[0], &frozen), &|t| t[0].matmul(&w.t()?), &[noise(&[tokens, 10], 32)]);
    }
}

#[test]
fn linear_passes_gradients_to_a_weight_that_learns() {
    let op = |t: &[Tensor]| linear(&t[0], &Weight::from(t[1].clone()));
    agrees(&op, &|t| t[0].matmul(&t[1].t()?), &[noise(&[40, 10], 35), noise(&[6, 10], 36)]);
    let (x, w) = (noise(&[4, 10], 37).to_dtype(DType::F32).unwrap(), Var::from_tensor(&noise(&[6, 9], 38)).unwrap());
    let w = Var::from_tensor(&w.to_dtype(DType::F32).unwrap()).unwrap();
    let refused = linear(&x, &Weight::from(w.as_tensor().clone())).unwrap_err().to_string();
    assert!(refused.contains("input of 10, weight [6, 9]"), "{refused}");
}

/// Every way a weight can lie in memory, and the f64 matrix that it stands for.
fn stored(n: usize, k: usize) -> Vec<(Weight, Tensor)> {
    use candle_core::quantized::{GgmlDType, QTensor};
    let w = noise(&[n, k], 33).to_dtype(DType::F32).unwrap();
    let mut all: Vec<Weight> =
        [DType::F32, DType::BF16, DType::F16].map(|d| Weight::from(w.to_dtype(d).unwrap())).into_iter().collect();
    for kind in [GgmlDType::Q8_0, GgmlDType::Q4K, GgmlDType::Q6K] {
        all.push(Weight::quantised(QTensor::quantize(&w, kind).unwrap()).unwrap());
    }
    all.into_iter().map(|w| (w.clone(), w.dense().unwrap().to_dtype(DType::F64).unwrap())).collect()
}

#[test]
fn weights_in_every_form_give_the_products_of_the_matrix_they_stand_for() {
    // more rows than one panel, columns that are no multiple of a panel
    for (weight, dense) in stored(300, 512) {
        for tokens in [3, 40] {
            let x = (noise(&[tokens, 512], 34) * 0.1).unwrap();
            let twin = |t: &[Tensor]| t[0].matmul(&dense.to_dtype(t[0].dtype())?.t()?);
            let (y, g) = gradients(&|t| linear(&t[0], &weight), &[x.clone()], DType::F32);
            let (want_y, want_g) = gradients(&twin, &[x], DType::F64);
            assert!(distance(&y, &want_y) < 2e-5, "{}: {}", weight.kind(), distance(&y, &want_y));
            assert!(distance(&g[0], &want_g[0]) < 1e-4, "{}: {}", weight.kind(), distance(&g[0], &want_g[0]));
        }
        let rows = weight.rows(&[299, 0, 7]).unwrap().to_dtype(DType::F64).unwrap();
        assert!(distance(&rows.get(2).unwrap(), &dense.get(7).unwrap()) < 1e-9, "{}", weight.kind());
    }
}

#[test]
fn mixed_precision_rounds_what_it_multiplies_and_sums_in_f32() {
    let nearest = |t: &Tensor| {
        let rounded = t.to_dtype(DType::F32).unwrap().to_dtype(DType::BF16).unwrap();
        rounded.to_dtype(DType::F64).unwrap()
    };
    for (weight, dense) in stored(300, 512) {
        let (weight, rounded) = (weight.mixed(), nearest(&dense));
        for tokens in [3, 40] {
            let x = (noise(&[tokens, 512], 34) * 0.1).unwrap();
            let (y, g) = gradients(&|t| linear(&t[0], &weight), &[x.clone()], DType::F32);
            let want = nearest(&x).matmul(&rounded.t().unwrap()).unwrap();
            assert!(distance(&y, &want) < 2e-5, "{}, {tokens}: {}", weight.kind(), distance(&y, &want));
            assert!(distance(&y, &x.matmul(&dense.t().unwrap()).unwrap()) > 1e-3, "something was rounded");
            let want = nearest(&noise(&[tokens, 300], 99)).matmul(&rounded).unwrap();
            assert!(distance(&g[0], &want) < 1e-4, "{}, {tokens}: {}", weight.kind(), distance(&g[0], &want));
        }
    }
}

#[test]
fn an_adapted_linear_and_its_gradients() {
    let (w, a0, b0) = (noise(&[9, 14], 61), noise(&[3, 14], 62), noise(&[9, 3], 63));
    let f32_of = |t: &Tensor| t.to_dtype(DType::F32).unwrap();
    let (frozen, exact) = (Weight::from(f32_of(&w)), Weight::from(w.clone()));
    let inputs = [noise(&[37, 14], 64), noise(&[3, 14], 65), noise(&[9, 3], 66)];
    for dropout in [None, Some(Dropout { p: 0.3, key: 5 })] {
        for start in [None, Some((f32_of(&a0), f32_of(&b0)))] {
            type Adapted = fn(&Tensor, &Weight, &LowRank) -> Result<Tensor>;
            let with = |f: Adapted, weight: &Weight, t: &[Tensor]| {
                f(&t[0], weight, &LowRank { a: &t[1], b: &t[2], scale: 1.7, dropout, start: start.clone() })
            };
            agrees(&|t| with(adapted_linear, &frozen, t), &|t| with(adapted_linear_naive, &exact, t), &inputs);
        }
    }
}

#[test]
fn scaled_columns_and_dropout_and_their_gradients() {
    agrees(&|t| scale_columns(&t[0], &t[1]), &|t| t[0].broadcast_mul(&t[1]), &[noise(&[7, 5], 67), noise(&[5], 68)]);
    let noise_of = Dropout { p: 0.4, key: 3 };
    agrees(&|t| dropout(&t[0], noise_of), &|t| t[0].mul(&noise_of.mask(&t[0])?), &[noise(&[11, 13], 69)]);
}

#[test]
fn token_logprob_and_its_gradients_with_a_frozen_and_a_learning_head() {
    let targets: Vec<u32> = (0..300).map(|i| (i * 7 % 40) as u32).collect();
    let (h, w) = (noise(&[300, 12], 41), noise(&[40, 12], 42));
    let f32w = Weight::from(w.to_dtype(DType::F32).unwrap());
    for epsilon in [0.0, 0.1] {
        let ours = |h: &Tensor, w: &Weight| Ok(smoothed_token_logprob(h, w, &targets, epsilon)?.smoothed);
        let twin = |h: &Tensor, w: &Tensor| Ok(smoothed_token_logprob_naive(h, w, &targets, epsilon)?.smoothed);
        agrees(&|t| ours(&t[0], &t[1].clone().into()), &|t| twin(&t[0], &t[1]), &[h.clone(), w.clone()]);
        agrees(&|t| ours(&t[0], &f32w), &|t| twin(&t[0], &w), &[h.clone()]);
    }
    let smoothed = smoothed_token_logprob(&h.to_dtype(DType::F32).unwrap(), &f32w, &targets, 0.1).unwrap();
    let plain = token_logprob(&h.to_dtype(DType::F32).unwrap(), &f32w, &targets).unwrap();
    assert_eq!(distance(&smoothed.logp, &plain), 0.0, "logp knows nothing of smoothing");
    assert!(distance(&smoothed.smoothed, &plain) > 0.1);
}

#[test]
fn a_head_in_every_form_gives_the_log_probabilities_of_the_matrix_it_stands_for() {
    let targets: Vec<u32> = (0..30).map(|i| (i * 7 % 300) as u32).collect();
    for (head, dense) in stored(300, 256) {
        let h = (noise(&[30, 256], 43) * 0.2).unwrap();
        let (y, g) = gradients(&|t| token_logprob(&t[0], &head, &targets), &[h.clone()], DType::F32);
        let twin = |t: &[Tensor]| Ok(smoothed_token_logprob_naive(&t[0], &dense, &targets, 0.0)?.smoothed);
        let (want_y, want_g) = gradients(&twin, &[h], DType::F64);
        assert!(distance(&y, &want_y) < 5e-5, "{}: {}", head.kind(), distance(&y, &want_y));
        assert!(distance(&g[0], &want_g[0]) < 5e-5, "{}: {}", head.kind(), distance(&g[0], &want_g[0]));
    }
}

#[test]
fn a_target_outside_the_vocabulary_is_refused() {
    let (h, w) = (noise(&[1, 4], 51), noise(&[8, 4], 52));
    let error = token_logprob(&h, &w.into(), &[8]).unwrap_err().to_string();
    assert!(error.contains("token id 8 outside the vocabulary of 8"), "{error}");
}

#[test]
fn in_place_gives_the_same_bits_and_spares_what_a_gradient_needs() {
    let f32s = |shape: &[usize], seed| noise(shape, seed).to_dtype(DType::F32).unwrap();
    let bits = |t: &Tensor| -> Vec<f32> { t.flatten_all().unwrap().to_vec1().unwrap() };
    let (rotary, w) = (RotaryEmbedding::new(&[0, 5, 1, 130, 7, 2], &frequencies(1e4), 1.0), f32s(&[16], 81));
    type Pair<'a> = (&'a str, &'a dyn Fn(&Tensor) -> Result<Tensor>, &'a dyn Fn(Tensor) -> Result<Tensor>);
    let other = f32s(&[6, 3, 16], 82);
    let pairs: [Pair; 4] = [
        ("add", &|t| add(&other, t), &|t| add_over(&other, t)),
        ("norm", &|t| rms_norm(t, &w, 1e-6), &|t| rms_norm_over(t, &w, 1e-6)),
        ("rope", &|t| rope(t, &rotary), &|t| rope_over(t, &rotary)),
        ("swiglu", &|t| swiglu(t, &other), &|t| swiglu_over(t, &other)),
    ];
    for (name, plain, over) in pairs {
        let x = f32s(&[6, 3, 16], 83);
        let (want, before) = (bits(&plain(&x).unwrap()), bits(&x));
        let recorded = Var::from_tensor(&x).unwrap();
        assert_eq!(bits(&over(recorded.as_tensor().clone()).unwrap()), want, "{name}, recorded");
        assert_eq!(bits(recorded.as_tensor()), before, "{name}: a variable was written over");
        assert_eq!(bits(&over(x.clone()).unwrap()), want, "{name}");
        assert_eq!(bits(&x), want, "{name}: not in place");
        let across = f32s(&[3, 6, 16], 84).transpose(0, 1).unwrap(); // not contiguous: a copy is made
        assert_eq!(bits(&over(across.clone()).unwrap()), bits(&plain(&across).unwrap()), "{name}, strided");
    }
    assert_eq!(zeroed(70_000), vec![0f32; 70_000]);
}

fn zeroed(n: usize) -> Vec<f32> {
    drop(std::hint::black_box(vec![1f32; n])); // what may be used again is not zero
    slices::zeros(n)
}

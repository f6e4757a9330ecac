//! Every hot operation alone, at the shapes of the two measuring cases (`mini` and `0.6b` of the peer scripts).
//!
//! ```text
//! make bench                    all of them, about two minutes
//! make bench ONLY=attention     those whose name contains a word
//! ```
//! Products and attention report floating-point operations as criterion's elements, so `Gelem/s` reads as GFLOP/s; the line
//! `peak` is what this machine gives at best. The others report numbers of their input (`norm`, `rope`, `swiglu`), or parameters
//! (`adamw`). A backward pass is timed without its forward pass, for an upstream gradient of ones, and as candle runs it: candle
//! adds every gradient to a tensor of zeros, which is all that `add backward` does.
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor, Var};
use criterion::{BatchSize, Criterion, SamplingMode, Throughput};
use dxlab::error::Result;
use dxlab::generate::{Place, Sampling};
use dxlab::model::ops::{
    Dropout, Heads, LowRank, RotaryEmbedding, Segments, Window, adapted_linear, add, attend_past, causal_attention,
    dropout, linear, on_workers, rms_norm, rope, scale_columns, swiglu, token_logprob,
};
use dxlab::model::{Rope, Weight};
use dxlab::train::{AdamW, Gradients, Moments, orthogonal};
use std::collections::BTreeMap;
use std::time::Duration;

const RANK: usize = 16;

/// One measuring case: the model's shape, and a batch as its training takes it.
struct Case {
    name: &'static str,
    hidden: usize,
    intermediate: usize,
    layers: usize,
    heads: Heads,
    vocabulary: usize,
    /// How the head is stored.
    head: DType,
    /// Tokens of every sequence.
    lengths: &'static [usize],
    /// Supervised tokens.
    targets: usize,
}

const MINI: Case = Case {
    name: "mini",
    hidden: 256,
    intermediate: 768,
    layers: 8,
    heads: Heads { heads: 4, kv_heads: 2, dim: 64, reach: None },
    vocabulary: 8192,
    head: DType::F32,
    lengths: &[120, 150, 170, 180, 190, 200, 230, 260],
    targets: 80,
};

const LARGE: Case = Case {
    name: "0.6b",
    hidden: 1024,
    intermediate: 3072,
    layers: 28,
    heads: Heads { heads: 16, kv_heads: 8, dim: 128, reach: None },
    vocabulary: 151_936,
    head: DType::BF16,
    lengths: &[150, 180, 200, 230],
    targets: 40,
};

impl Case {
    fn tokens(&self) -> usize {
        self.lengths.iter().sum()
    }
    fn segments(&self) -> Segments {
        Segments::of_lengths(self.lengths.iter().copied())
    }
}

/// Inside the pool of threads, as decoding runs: a loop then starts without waking another thread first.
fn main() -> Result<()> {
    on_workers(|| {
        let mut bench = Bench(
            Criterion::default()
                .sample_size(10)
                .warm_up_time(Duration::from_millis(200))
                .measurement_time(Duration::from_millis(800))
                .configure_from_args(),
        );
        peak(&mut bench)?;
        for case in [&MINI, &LARGE] {
            products(&mut bench, case)?;
            adapted(&mut bench, case)?;
            row_by_row(&mut bench, case)?;
            attention(&mut bench, case)?;
            newest_tokens(&mut bench, case)?;
            head(&mut bench, case)?;
            update(&mut bench, case)?;
            sampling(&mut bench, case)?;
        }
        bench.0.final_summary();
        Ok(())
    })
}

struct Bench(Criterion);

impl Bench {
    /// Times `run`, after one call that tells whether it works at all; `work` is what one call does.
    fn time<T>(&mut self, group: &str, name: String, work: usize, run: impl Fn() -> Result<T>) -> Result<()> {
        run()?;
        let mut group = self.0.benchmark_group(group);
        group.throughput(Throughput::Elements(work as u64)).sampling_mode(SamplingMode::Flat);
        group.bench_function(name, |b| b.iter(&run));
        group.finish();
        Ok(())
    }

    /// Times a forward pass, then its backward pass alone. `work`: of either.
    fn both(
        &mut self,
        group: &str,
        name: String,
        work: [usize; 2],
        forward: impl Fn() -> Result<Tensor>,
    ) -> Result<()> {
        forward()?.backward()?;
        self.time(group, format!("{name} forward"), work[0], &forward)?;
        let mut group = self.0.benchmark_group(group);
        group.throughput(Throughput::Elements(work[1] as u64)).sampling_mode(SamplingMode::Flat);
        group.bench_function(format!("{name} backward"), |b| {
            let backward = |y: Result<Tensor>| y.and_then(|y| Ok(y.backward()?));
            b.iter_batched(&forward, backward, BatchSize::PerIteration)
        });
        group.finish();
        Ok(())
    }
}

/// The best product of this machine, what all others are to be held against.
fn peak(bench: &mut Bench) -> Result<()> {
    let (x, w) = (noise(&[1024, 1024], 1)?, noise(&[1024, 1024], 2)?.into());
    bench.time("peak", "f32 1024x1024x1024".into(), 2 << 30, || Ok(linear(&x, &w)?))
}

/// y = x Wᵀ with few rows of x (decoding) and many (training), for every form that W is stored in.
fn products(bench: &mut Bench, case: &Case) -> Result<()> {
    let (n, k) = (case.intermediate, case.hidden);
    let w = noise(&[n, k], 3)?;
    let blocks = |kind| Weight::quantised(QTensor::quantize(&w, kind)?);
    let stored = [
        ("f32", Weight::from(w.clone())),
        ("bf16", w.to_dtype(DType::BF16)?.into()),
        ("Q8_0", blocks(GgmlDType::Q8_0)?),
        ("Q4_K", blocks(GgmlDType::Q4K)?),
        ("Q6_K", blocks(GgmlDType::Q6K)?),
        ("mixed bf16", Weight::from(w.to_dtype(DType::BF16)?).mixed()),
        ("mixed Q8_0", blocks(GgmlDType::Q8_0)?.mixed()),
    ];
    for (kind, weight) in &stored {
        for tokens in [1, 8, 16, case.tokens()] {
            let x = noise(&[tokens, k], 4)?;
            let name = format!("{} {kind} {tokens}x{k}x{n}", case.name);
            bench.time("product", name, 2 * tokens * n * k, || Ok(linear(&x, weight)?))?;
        }
    }
    Ok(())
}

/// y = x Wᵀ + s (x Aᵀ) Bᵀ and the gradients of x, A and B.
fn adapted(bench: &mut Bench, case: &Case) -> Result<()> {
    let (n, k, tokens) = (case.intermediate, case.hidden, case.tokens());
    let weight = noise(&[n, k], 5)?.into();
    let (x, a, b) = (variable(&[tokens, k], 6)?, variable(&[RANK, k], 7)?, variable(&[n, RANK], 8)?);
    let low = LowRank { a: &a, b: &b, scale: 2.0, dropout: None, start: None };
    let (base, update) = (2 * tokens * n * k, 2 * tokens * RANK * (n + k));
    let name = format!("{} rank {RANK} {tokens}x{k}x{n}", case.name);
    bench.both("adapted", name, [base + update, base + 2 * update], || Ok(adapted_linear(&x, &weight, &low)?))
}

/// What reads and writes every number once.
fn row_by_row(bench: &mut Bench, case: &Case) -> Result<()> {
    let (tokens, heads) = (case.tokens(), case.heads);
    let (x, w) = (variable(&[tokens, case.hidden], 9)?, noise(&[case.hidden], 10)?);
    let name = |what: &str, wide: usize| format!("{} {what} {tokens}x{wide}", case.name);
    let work = [tokens * case.hidden; 2];
    bench.both("norm", name("hidden", case.hidden), work, || Ok(rms_norm(&x, &w, 1e-6)?))?;
    let y = variable(&[tokens, case.hidden], 24)?;
    bench.both("add", name("hidden", case.hidden), work, || Ok(add(&x, &y)?))?;

    let wide = heads.heads * heads.dim;
    let q = variable(&[tokens, heads.heads, heads.dim], 11)?;
    let rotary = RotaryEmbedding::new(&case.segments().positions(), &Rope::plain(1e6).frequencies(heads.dim).0, 1.0);
    bench.both("rope", name("queries", wide), [tokens * wide; 2], || Ok(rope(&q, &rotary)?))?;

    let (gate, up) = (variable(&[tokens, case.intermediate], 12)?, variable(&[tokens, case.intermediate], 13)?);
    let work = [tokens * case.intermediate; 2];
    bench.both("swiglu", name("gate", case.intermediate), work, || Ok(swiglu(&gate, &up)?))?;
    bench.both("dropout", name("gate", case.intermediate), work, || Ok(dropout(&gate, Dropout { p: 0.1, key: 1 })?))?;
    let magnitudes = variable(&[case.intermediate], 25)?;
    bench.both("scale columns", name("gate", case.intermediate), work, || Ok(scale_columns(&up, &magnitudes)?))
}

/// Forward: q kᵀ and p v. Backward: both again, and the gradients of q, k and v. Two operations a dimension and visible pair.
fn attention(bench: &mut Bench, case: &Case) -> Result<()> {
    let (tokens, segments, Heads { heads, kv_heads, dim, .. }) = (case.tokens(), case.segments(), case.heads);
    let q = variable(&[tokens, heads, dim], 14)?;
    let (k, v) = (variable(&[tokens, kv_heads, dim], 15)?, variable(&[tokens, kv_heads, dim], 16)?);
    let pairs: usize = case.lengths.iter().map(|n| n * (n + 1) / 2).sum();
    let product = 2 * pairs * heads * dim;
    let name = format!("{} {} sequences, {tokens} tokens", case.name, case.lengths.len());
    bench.both("attention", name, [2 * product, 5 * product], || {
        Ok(causal_attention(&q, &k, &v, &segments, &segments, None)?)
    })
}

/// Attention of the one newest token of every sequence, with all its keys in the cache.
fn newest_tokens(bench: &mut Bench, case: &Case) -> Result<()> {
    let (tokens, Heads { heads, kv_heads, dim, .. }) = (case.tokens(), case.heads);
    let numbers = |len: usize, seed| Ok::<Vec<f32>, dxlab::error::Error>(noise(&[len], seed)?.to_vec1()?);
    let (row, wide) = (kv_heads * dim, heads * dim);
    let (q, k, v) = (numbers(case.lengths.len() * wide, 17)?, numbers(tokens * row, 18)?, numbers(tokens * row, 19)?);
    let segments = case.segments();
    let windows: Vec<Window> = (q.chunks_exact(wide).enumerate())
        .map(|(i, q)| {
            let r = segments.range(i);
            Window { q, k: &k[r.start * row..r.end * row], v: &v[r.start * row..r.end * row] }
        })
        .collect();
    let name = format!("{} {} sequences", case.name, windows.len());
    bench.time("newest", name, 4 * tokens * wide, || Ok(attend_past(case.heads, &windows)))
}

/// log p of the targets and what the backward pass needs: logits and their gradient times a frozen head.
fn head(bench: &mut Bench, case: &Case) -> Result<()> {
    let (n, vocabulary, width) = (case.targets, case.vocabulary, case.hidden);
    let head: Weight = noise(&[vocabulary, width], 20)?.to_dtype(case.head)?.into();
    let hidden = variable(&[n, width], 21)?;
    let targets: Vec<u32> = (0..n).map(|i| (i * 97 % vocabulary) as u32).collect();
    let name = format!("{} {} {n}x{width}x{vocabulary}", case.name, head.kind());
    bench.time("token logprob", name, 4 * n * vocabulary * width, || Ok(token_logprob(&hidden, &head, &targets)?))
}

/// One AdamW update of an adapter on all seven linear layers of every layer.
fn update(bench: &mut Bench, case: &Case) -> Result<()> {
    let Heads { heads, kv_heads, dim, .. } = case.heads;
    let (h, i, q, kv) = (case.hidden, case.intermediate, heads * dim, kv_heads * dim);
    let linears = [(q, h), (kv, h), (kv, h), (h, q), (i, h), (i, h), (h, i)];
    let mut parameters = BTreeMap::new();
    for (layer, (at, (n, k))) in (0..case.layers).flat_map(|layer| linears.iter().enumerate().map(move |l| (layer, l)))
    {
        parameters.insert(format!("{layer}.{at}.A"), Var::from_tensor(&noise(&[RANK, *k], 22)?)?);
        parameters.insert(format!("{layer}.{at}.B"), Var::from_tensor(&noise(&[*n, RANK], 23)?)?);
    }
    let mut grads = Gradients::of(&parameters);
    for var in parameters.values() {
        grads.add(&var.as_tensor().sqr()?.backward()?)?;
    }
    let count = parameters.values().map(|v| v.elem_count()).sum();
    let moments = std::cell::RefCell::new(Moments::default());
    let name = format!("{} rank {RANK}, {count} parameters", case.name);
    bench.time("adamw", name, count, || moments.borrow_mut().update(&AdamW::default(), &grads, 1e-6))?;
    let matrix = noise(&[i, RANK], 26)?.flatten_all()?.to_vec1()?;
    let name = format!("{} {i}x{RANK}", case.name);
    bench.time("muon", name, i * RANK, || Ok(orthogonal(matrix.clone(), [i, RANK])))
}

/// One token drawn from a row of logits, greedily and with every filter.
fn sampling(bench: &mut Bench, case: &Case) -> Result<()> {
    let logits: Vec<f32> = noise(&[case.vocabulary], 27)?.to_vec1()?;
    let filtered = Sampling { temperature: 0.8, top_k: 50, top_p: 0.9, min_p: 0.02, seed: 7 };
    for (name, sampling) in [("greedy", Sampling::default()), ("filtered", filtered)] {
        let place = Place { prompt: 0, sample: 0, position: 0 };
        let name = format!("{} {name} of {}", case.name, case.vocabulary);
        bench.time("sampling", name, case.vocabulary, || Ok(sampling.choose(&logits, None, place)))?;
    }
    Ok(())
}

/// Numbers in ±1 (a linear congruential generator: a head of 150 million has to be there in a second).
fn noise(shape: &[usize], seed: u64) -> Result<Tensor> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    let numbers: Vec<f32> = (0..shape.iter().product()).map(|_| next()).collect();
    Ok(Tensor::from_vec(numbers, shape, &Device::Cpu)?)
}

/// As `noise`, recorded for a gradient.
fn variable(shape: &[usize], seed: u64) -> Result<Var> {
    Ok(Var::from_tensor(&noise(shape, seed)?)?)
}

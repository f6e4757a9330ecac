//! What Gated DeltaNet and gated attention add: the rule over chunks against the rule as it is written, token by token.
use super::*;

const HEADS: DeltaHeads = DeltaHeads { key_heads: 2, value_heads: 4, key_dim: 3, value_dim: 5 };

/// One segment longer than two chunks of 64, one single token.
fn ragged() -> Segments {
    Segments::of_lengths([5, 1, 140])
}

/// qkv, g before it is made negative, b.
fn inputs(tokens: usize) -> [Tensor; 3] {
    let per_head = [tokens, HEADS.value_heads];
    [noise(&[tokens, HEADS.channels()], 31), noise(&per_head, 32), noise(&per_head, 33)]
}

type Rule = fn(&Tensor, &Tensor, &Tensor, DeltaHeads, &Segments) -> Result<Tensor>;

/// Over g = −`by` x².
fn ruled(rule: Rule, by: f64, segments: &Segments) -> impl Fn(&[Tensor]) -> Result<Tensor> {
    move |t| rule(&t[0], &(t[1].sqr()? * -by)?, &t[2], HEADS, segments)
}

#[test]
fn the_delta_rule_and_its_gradients_over_ragged_segments() {
    let segments = ragged();
    // states that are gone after a few tokens, and such that last for all of a segment
    for by in [1.0, 0.01] {
        let (loops, twin) = (ruled(gated_delta_rule, by, &segments), ruled(gated_delta_rule_naive, by, &segments));
        agrees(&loops, &twin, &inputs(segments.tokens()));
    }
}

#[test]
fn packed_segments_get_the_bits_that_each_gets_alone() {
    let segments = ragged();
    let [qkv, g, b] = inputs(segments.tokens()).map(|t| t.to_dtype(DType::F32).unwrap());
    let g = g.sqr().unwrap().neg().unwrap();
    let weight = noise(&[HEADS.channels(), 1, 4], 34).to_dtype(DType::F32).unwrap();
    let whole = gated_delta_rule(&qkv, &g, &b, HEADS, &segments).unwrap();
    let mixed = causal_convolution(&qkv, &weight, &segments).unwrap();
    for range in (0..segments.len()).map(|i| segments.range(i)) {
        let part = |t: &Tensor| t.narrow(0, range.start, range.len()).unwrap();
        let one = Segments::of_lengths([range.len()]);
        let alone = gated_delta_rule(&part(&qkv), &part(&g), &part(&b), HEADS, &one).unwrap();
        assert_eq!(distance(&alone, &part(&whole)), 0.0);
        assert_eq!(distance(&causal_convolution(&part(&qkv), &weight, &one).unwrap(), &part(&mixed)), 0.0);
    }
}

#[test]
fn a_sequence_that_goes_on_is_what_it_is_as_a_whole() {
    let tokens = 160;
    let [qkv, g, b] = inputs(tokens).map(|t| t.to_dtype(DType::F32).unwrap());
    let g = (g.sqr().unwrap() * -0.1).unwrap();
    let weight = noise(&[HEADS.channels(), 1, 4], 34).to_dtype(DType::F32).unwrap();
    let one = Segments::of_lengths([tokens]);
    let want_mixed = causal_convolution(&qkv, &weight, &one).unwrap();
    let want = gated_delta_rule(&qkv, &g, &b, HEADS, &one).unwrap();
    let [qkvs, gs, bs] = [&qkv, &g, &b].map(|t| CpuSlice::of(t).unwrap());
    let taps = CpuSlice::of(&weight).unwrap();
    let (channels, n) = (HEADS.channels(), HEADS.value_heads);
    let (mut state, mut before) = (vec![0.0; HEADS.state()], vec![0.0; 3 * channels]);
    let (mut mixed, mut y, mut at) = (Vec::new(), Vec::new(), 0);
    for length in [1, 2, 66, 1, 1, 70, 19] {
        let (rows, heads) = (at * channels..(at + length) * channels, at * n..(at + length) * n);
        mixed.extend(convolve_past(&qkvs[rows.clone()], &taps, channels, &mut before));
        let parts = [&qkvs[rows], &gs[heads.clone()], &bs[heads]];
        y.extend(delta_rule_past(HEADS, parts, &Segments::of_lengths([length]), vec![&mut state]));
        at += length;
    }
    assert_eq!(at, tokens);
    let far =
        |got: Vec<f32>, want: &Tensor| distance(&Tensor::from_vec(got, want.shape(), &Device::Cpu).unwrap(), want);
    assert!(far(mixed, &want_mixed) < 1e-6);
    assert!(far(y, &want) < 1e-5);
}

#[test]
fn a_causal_convolution_and_its_gradients() {
    let segments = Segments::of_lengths([5, 1, 70]);
    for taps in [1, 4] {
        agrees(
            &|t| causal_convolution(&t[0], &t[1], &segments),
            &|t| causal_convolution_naive(&t[0], &t[1], &segments),
            &[noise(&[76, 6], 35), noise(&[6, 1, taps], 36)],
        );
    }
}

#[test]
fn a_decay_and_its_gradients() {
    let inputs = [noise(&[70, 4], 37), noise(&[4], 38), noise(&[4], 39)];
    agrees(&|t| log_decay(&t[0], &t[1], &t[2]), &|t| log_decay_naive(&t[0], &t[1], &t[2]), &inputs);
    let far = Tensor::new(&[[-200f32, 200.0]], &Device::Cpu).unwrap();
    let zero = Tensor::zeros(2, DType::F32, &Device::Cpu).unwrap();
    assert_eq!(log_decay(&far, &zero, &zero).unwrap().to_vec2::<f32>().unwrap(), [[0.0, -200.0]]);
}

#[test]
fn a_gate_and_its_gradients() {
    let inputs = [noise(&[9, 3, 11], 40), noise(&[9, 3, 11], 41)];
    agrees(&|t| sigmoid_gate(&t[0], &t[1]), &|t| sigmoid_gate_naive(&t[0], &t[1]), &inputs);
}

#[test]
fn rotary_positions_in_a_part_of_every_head() {
    let rotary = RotaryEmbedding::new(&[0, 1, 2, 0, 1, 900], &[1.0, 0.01], 1.0);
    agrees(&|t| rope(&t[0], &rotary), &|t| rope_naive(&t[0], &rotary), &[noise(&[6, 3, 16], 42)]);
    let x = noise(&[6, 3, 16], 42).to_dtype(DType::F32).unwrap();
    let (want, got) = (rope(&x, &rotary).unwrap(), rope_over(x.copy().unwrap(), &rotary).unwrap());
    assert_eq!(distance(&want, &got), 0.0, "in place");
    assert_eq!(distance(&want.narrow(2, 4, 12).unwrap(), &x.narrow(2, 4, 12).unwrap()), 0.0, "the rest passes");
}

//! The operations that only encoders use.
use super::*;

#[test]
fn layer_norm_and_its_gradients_with_and_without_a_bias() {
    // far from zero mean, so that a wrong centring shows
    let x = (noise(&[70, 3, 20], 101) + 0.7).unwrap();
    let inputs = [x, noise(&[20], 102), noise(&[20], 103)];
    agrees(
        &|t| layer_norm(&t[0], &t[1], Some(&t[2]), 1e-5),
        &|t| layer_norm_naive(&t[0], &t[1], Some(&t[2]), 1e-5),
        &inputs,
    );
    agrees(&|t| layer_norm(&t[0], &t[1], None, 1e-5), &|t| layer_norm_naive(&t[0], &t[1], None, 1e-5), &inputs[..2]);
}

#[test]
fn layer_norm_passes_a_gradient_through_frozen_weights() {
    let (w, b) = (noise(&[20], 102), noise(&[20], 103));
    let [w32, b32] = [&w, &b].map(|t| t.to_dtype(DType::F32).unwrap());
    agrees(
        &|t| layer_norm(&t[0], &w32, Some(&b32), 1e-12),
        &|t| layer_norm_naive(&t[0], &w, Some(&b), 1e-12),
        &[noise(&[9, 20], 101)],
    );
}

#[test]
fn gelu_and_its_gradient() {
    let x = (noise(&[90, 101], 104) * 4.0).unwrap(); // both tails, where the tanh form differs most
    agrees(&|t| gelu(&t[0]), &|t| gelu_naive(&t[0]), &[x.clone()]);
    let tanh = x.gelu().unwrap();
    assert!(distance(&gelu_naive(&x).unwrap(), &tanh) > 1e-4, "erf, not tanh");
}

#[test]
fn a_bias_and_its_gradients() {
    agrees(&|t| add_bias(&t[0], &t[1]), &|t| t[0].broadcast_add(&t[1]), &[noise(&[70, 900], 105), noise(&[900], 106)]);
    let x = noise(&[2, 3], 107).to_dtype(DType::F32).unwrap();
    let refused = add_bias(&x, &Tensor::zeros(4, DType::F32, &Device::Cpu).unwrap()).unwrap_err().to_string();
    assert!(refused.contains("[2, 3]") && refused.contains("[4]"), "{refused}");
}

#[test]
fn bidirectional_attention_and_its_gradients_over_ragged_segments() {
    // one segment longer than a block of rows, one single token
    let segments = Segments::of_lengths([5, 1, 140]);
    let inputs = [noise(&[146, 3, 8], 108), noise(&[146, 3, 8], 109), noise(&[146, 3, 8], 110)];
    for window in [None, Some(0), Some(2), Some(130), Some(usize::MAX)] {
        agrees(
            &|t| bidirectional_attention(&t[0], &t[1], &t[2], &segments, window),
            &|t| bidirectional_attention_naive(&t[0], &t[1], &t[2], &segments, window),
            &inputs,
        );
    }
}

#[test]
fn a_token_moves_exactly_those_of_its_segment_within_the_window() {
    let segments = Segments::of_lengths([4, 6]);
    let [q, k, v] = [111, 112, 113].map(|s| noise(&[10, 2, 4], s).to_dtype(DType::F32).unwrap());
    let bump = |row: usize| {
        let numbers = (0..80).map(|i| if i / 8 == row { 1f32 } else { 0.0 }).collect();
        Tensor::from_vec(numbers, (10, 2, 4), &Device::Cpu).unwrap()
    };
    for (window, moved_rows) in [(None, 4..10), (Some(2), 4..9)] {
        let attend = |k: &Tensor, v: &Tensor| bidirectional_attention(&q, k, v, &segments, window).unwrap();
        let (y, bump) = (attend(&k, &v), bump(6));
        let z = attend(&(&k + &bump).unwrap(), &(&v + &bump).unwrap());
        for row in 0..10 {
            let moved = distance(&y.get(row).unwrap(), &z.get(row).unwrap());
            assert_eq!(moved > 0.0, moved_rows.contains(&row), "{window:?}, row {row} moved by {moved}");
        }
    }
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let t = noise(&[5, 2, 4], 114).to_dtype(DType::F32).unwrap();
    let error = bidirectional_attention(&t, &t, &t, &Segments::of_lengths([4]), None).unwrap_err().to_string();
    assert!(error.contains("4 tokens in segments"), "{error}");
    let error = layer_norm(&t, &Tensor::ones(5, DType::F32, &Device::Cpu).unwrap(), None, 1e-5).unwrap_err();
    assert!(error.to_string().contains("[5, 2, 4]"), "{error}");
}

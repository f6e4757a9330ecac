//! Attention of the newest tokens, one query a sequence, as decoding asks for.
use super::{Heads, Window};
use crate::model::ops::cpu::lanes::{dispatch, exp_row, scale};
use crate::model::ops::cpu::small_batch::strided_dots;
use crate::model::ops::cpu::workers::each;

/// Attention of windows with one query each, as decoding asks for: [windows, heads, d]. Keys and values are read once for
/// all query heads that share them.
pub fn attend_newest(shape: Heads, windows: &[Window]) -> Vec<f32> {
    let row = shape.heads * shape.dim;
    let mut y = vec![0f32; windows.len() * row];
    let mut rows: Vec<&mut [f32]> = y.chunks_exact_mut(row).collect();
    each(&mut rows, |i, y| {
        let (w, mut weights) = (newest_keys(shape, windows[i]), Vec::new());
        for kv in 0..shape.kv_heads {
            let at = kv * shape.group() * shape.dim;
            let wide = shape.group() * shape.dim;
            newest_head(shape, w, kv, &w.q[at..at + wide], &mut y[at..at + wide], &mut weights);
        }
    });
    y
}

/// The keys and values that the last query of `w` sees.
fn newest_keys(shape: Heads, w: Window) -> Window {
    let row = shape.kv_heads * shape.dim;
    let from = shape.first_seen((w.k.len() / row).saturating_sub(1)) * row;
    Window { k: &w.k[from..], v: &w.v[from..], ..w }
}

/// The query heads `q` [group, d] of one key/value head → `y` [group, d].
fn newest_head(shape: Heads, w: Window, kv: usize, q: &[f32], y: &mut [f32], weights: &mut Vec<f32>) {
    let Heads { kv_heads, dim, .. } = shape;
    let (row, group) = (kv_heads * dim, shape.group());
    let keys = w.k.len() / row;
    weights.resize(keys * group, 0.0); // all of them are written
    strided_dots(&w.k[kv * dim..], row, q, dim, &mut weights.chunks_exact_mut(keys).collect::<Vec<_>>());
    let by = (dim as f32).powf(-0.5);
    for weights in weights.chunks_exact_mut(keys) {
        scale(weights, by);
        let (_, sum) = exp_row(weights);
        scale(weights, 1.0 / sum);
    }
    weighted_rows(&w.v[kv * dim..], row, weights, keys, y);
}

dispatch! {
    /// `y` [group, d] = `weights` [group, keys] · rows of `v`, `row` apart.
    fn weighted_rows(v: &[f32], row: usize, weights: &[f32], keys: usize, y: &mut [f32]) {
        let dim = y.len() / (weights.len() / keys);
        for (weights, y) in weights.chunks(2 * keys).zip(y.chunks_mut(2 * dim)) {
            match (weights.split_at_checked(keys), y.split_at_mut_checked(dim)) {
                (Some((a, b)), Some((y, z))) if !b.is_empty() => weighted_heads(v, row, [a, b], [y, z]),
                _ => weighted_heads(v, row, [weights], [y]),
            }
        }
    }
}

/// `weighted_rows` of H heads, which read every row together.
#[inline(always)]
fn weighted_heads<const H: usize>(v: &[f32], row: usize, weights: [&[f32]; H], mut y: [&mut [f32]; H]) {
    let dim = y[0].len();
    let whole = dim / 64 * 64;
    for at in (0..whole).step_by(64) {
        weighted_part::<64, H>(&v[at..], row, weights, y.each_mut().map(|y| &mut y[at..at + 64]));
    }
    for at in whole..dim {
        weighted_part::<1, H>(&v[at..], row, weights, y.each_mut().map(|y| &mut y[at..at + 1]));
    }
}

/// N columns of the sums; they stay in registers.
#[inline(always)]
fn weighted_part<const N: usize, const H: usize>(v: &[f32], row: usize, weights: [&[f32]; H], y: [&mut [f32]; H]) {
    let mut sums = [[0f32; N]; H];
    for (key, v) in v.chunks(row).enumerate().take(weights[0].len()) {
        let v = &v[..N];
        for (sum, weights) in sums.iter_mut().zip(weights) {
            let p = weights[key];
            for i in 0..N {
                sum[i] += p * v[i];
            }
        }
    }
    y.into_iter().zip(&sums).for_each(|(y, sum)| y.copy_from_slice(sum));
}

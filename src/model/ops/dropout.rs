//! Dropout whose mask is a function of a key and the place of a number, not of a generator's state: the backward pass and a
//! recomputed forward pass see the same mask, whatever the number of threads, and a resumed run sees what it would have seen.
//!
//! Place i survives where the top 24 bits of splitmix64(key + i) (Steele, Lea & Flood 2014) are at least p · 2²⁴; survivors are scaled by 1/(1 − p).
use super::cpu::lanes::dispatch;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

/// `p`: the probability of a number to be dropped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    pub p: f32,
    pub key: u64,
}

/// Mixes parts of a key (seed, step, layer …) into one.
pub fn key(parts: &[u64]) -> u64 {
    parts.iter().fold(0x9e37_79b9_7f4a_7c15, |key, &part| splitmix(key ^ part.wrapping_mul(0xd6e8_feb8_6659_fd93)))
}

#[inline(always)]
fn splitmix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

dispatch! {
    fn drop_block(x: &mut [f32], first: u64, key: u64, least: u64, keep: f32) {
        for (i, x) in x.iter_mut().enumerate() {
            let drawn = splitmix(key.wrapping_add(first + i as u64)) >> 40;
            *x = if drawn >= least { *x * keep } else { 0.0 };
        }
    }
}

const BLOCK: usize = 1 << 14;

/// Drops numbers of `x` in place.
pub fn drop(x: &mut [f32], Dropout { p, key }: Dropout) {
    let least = (p as f64 * (1u64 << 24) as f64).round() as u64;
    x.par_chunks_mut(BLOCK)
        .enumerate()
        .for_each(|(i, x)| drop_block(x, (i * BLOCK) as u64, key, least, 1.0 / (1.0 - p)));
}

impl Dropout {
    /// 0 or 1/(1 − p) at every place of `x`, as a tensor.
    pub fn mask(&self, x: &Tensor) -> Result<Tensor> {
        let mut mask = vec![1f32; x.elem_count()];
        drop(&mut mask, *self);
        Tensor::from_vec(mask, x.shape(), x.device())?.to_dtype(x.dtype())
    }
}

/// `x` of any shape; differentiable.
pub fn dropout(x: &Tensor, dropout: Dropout) -> Result<Tensor> {
    if !super::slices::has_loops(&[x]) {
        return x.mul(&dropout.mask(x)?);
    }
    x.contiguous()?.apply_op1(dropout)
}

impl CustomOp1 for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut x = super::slices::operand("dropout", x, layout)?.to_vec();
        drop(&mut x, *self);
        Ok(super::slices::result(x, layout.shape()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        let mut g = super::slices::CpuSlice::of(&g.contiguous()?)?.to_vec();
        drop(&mut g, *self);
        Tensor::from_vec(g, x.shape(), x.device()).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_survivors_and_their_scale_are_right() {
        let n = 1 << 20;
        for p in [0.05f32, 0.5] {
            let mut x = vec![1f32; n];
            drop(&mut x, Dropout { p, key: key(&[7, 1]) });
            let dropped = x.iter().filter(|x| **x == 0.0).count() as f64 / n as f64;
            let noise = 4.0 * ((p * (1.0 - p)) as f64 / n as f64).sqrt();
            assert!((dropped - p as f64).abs() < noise, "{dropped} of {p}");
            assert!(x.iter().all(|x| *x == 0.0 || *x == 1.0 / (1.0 - p)));
        }
    }

    #[test]
    fn masks_follow_the_key_and_not_the_neighbours() {
        let masked = |key| {
            let mut x = vec![1f32; 40_000];
            drop(&mut x, Dropout { p: 0.3, key });
            x
        };
        let (a, b) = (masked(key(&[1, 2, 3])), masked(key(&[1, 2, 4])));
        assert_eq!(a, masked(key(&[1, 2, 3])));
        let both = a.iter().zip(&b).filter(|(a, b)| **a == 0.0 && **b == 0.0).count() as f64 / 40_000.0;
        assert!((both - 0.09).abs() < 0.01, "independent: {both}");
    }
}

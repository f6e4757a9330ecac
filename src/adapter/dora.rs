//! DoRA's norms ‖w_i + s b_i A‖ of every row, without making the matrix:
//!
//! ‖w_i + s b_i A‖² = ‖w_i‖² + 2 s b_i·(A w_i) + s² b_i (A Aᵀ) b_iᵀ        (Liu et al. 2024, eq. 5)
use crate::error::Result;
use crate::model::Weight;
use crate::model::ops::{CpuSlice, linear};
use candle_core::Tensor;

/// ‖w_i‖ [n]: the magnitudes of a fresh adapter.
pub fn magnitudes(weight: &Weight) -> Result<Tensor> {
    let norms: Vec<f32> = weight.row_squares()?.into_iter().map(|s| s.sqrt() as f32).collect();
    Ok(Tensor::from_vec(norms, weight.dims()?.0, &weight.device())?)
}

/// ‖w_i + s b_i A‖ [n], detached. `squares`: ‖w_i‖²; `a` [r, k]; `b` [n, r].
pub fn norms(weight: &Weight, squares: &[f64], a: &Tensor, b: &Tensor, scale: f64) -> Result<Tensor> {
    let (a, b) = (a.detach(), b.detach());
    let (n, r) = b.dims2()?;
    let wa = linear(&a, weight)?; // A Wᵀ [r, n]
    let aa = a.matmul(&a.t()?)?; // [r, r]
    let (wa, aa, b) = (CpuSlice::of(&wa)?, CpuSlice::of(&aa)?, CpuSlice::of(&b)?);
    let row = |i: usize| -> f32 {
        let b = &b[i * r..(i + 1) * r];
        let along: f64 = b.iter().enumerate().map(|(j, &b)| b as f64 * wa[j * n + i] as f64).sum();
        let own: f64 = b.iter().enumerate().map(|(j, &bj)| bj as f64 * dot(b, &aa[j * r..(j + 1) * r])).sum();
        (squares[i] + 2.0 * scale * along + scale * scale * own).max(0.0).sqrt() as f32
    };
    Ok(Tensor::from_vec((0..n).map(row).collect::<Vec<f32>>(), n, a.device())?)
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| a as f64 * b as f64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn norms_are_those_of_the_matrix_that_is_never_made() {
        let wave = |n: usize, k: usize, f: f32| -> Tensor {
            let v: Vec<f32> = (0..n * k).map(|i| (i as f32 * f).sin()).collect();
            Tensor::from_vec(v, (n, k), &Device::Cpu).unwrap()
        };
        let (w, a, b) = (wave(20, 12, 0.7), wave(3, 12, 0.3), wave(20, 3, 0.9));
        let whole = (&w + (b.matmul(&a).unwrap() * 1.5).unwrap()).unwrap();
        let want: Vec<f32> = whole.sqr().unwrap().sum(1).unwrap().sqrt().unwrap().to_vec1().unwrap();
        let weight = Weight::from(w);
        let got: Vec<f32> = norms(&weight, &weight.row_squares().unwrap(), &a, &b, 1.5).unwrap().to_vec1().unwrap();
        for (g, w) in got.iter().zip(&want) {
            assert!((g - w).abs() < 1e-5 * w, "{g} {w}");
        }
    }
}

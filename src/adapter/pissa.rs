//! PiSSA's start: the largest singular directions of W, by randomised subspace iteration (Halko, Martinsson & Tropp 2011, algorithm 4.4).
//!
//! W ≈ U S Vᵀ;  B₀ = U √(S/s),  A₀ = √(S/s) Vᵀ, so that s B₀A₀ is the part of W that learns (Meng et al. 2024, eq. 2–3). How good the
//! directions are decides how well the adapter starts, never whether it starts as W: the rest of W is what A₀ and B₀ leave.
use crate::error::Result;
use crate::model::Weight;
use candle_core::{DType, Tensor};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// Directions sought beyond the rank; they make the wanted ones sharper.
const BEYOND: usize = 8;

/// A₀ [r, k] and B₀ [n, r], f32; r is at most min(n, k).
pub fn directions(
    weight: &Weight,
    r: usize,
    scale: f64,
    iterations: usize,
    rng: &mut ChaCha8Rng,
) -> Result<(Tensor, Tensor)> {
    let w = weight.dense()?.to_dtype(DType::F64)?;
    let (n, k) = w.dims2()?;
    let q = (r + BEYOND).min(n).min(k);
    let draws: Vec<f64> = (0..k * q).map(|_| rng.random_range(-1.0..1.0)).collect();
    let mut basis = orthonormal(&w.matmul(&Tensor::from_vec(draws, (k, q), w.device())?)?)?; // [n, q]
    let wt = w.t()?.contiguous()?;
    for _ in 0..iterations {
        basis = orthonormal(&w.matmul(&orthonormal(&wt.matmul(&basis)?)?)?)?;
    }
    let small = basis.t()?.contiguous()?.matmul(&w)?; // [q, k]
    let (values, vectors) = eigen(&small.matmul(&small.t()?)?.to_vec2()?);
    let mut b = vec![0f32; n * r];
    let mut a = vec![0f32; r * k];
    let (basis, small) = (basis.to_vec2::<f64>()?, small.to_vec2::<f64>()?);
    for j in 0..r {
        let singular = values[j].max(0.0).sqrt();
        let part = (singular / scale).sqrt();
        for (i, row) in basis.iter().enumerate() {
            b[i * r + j] = (part * (0..q).map(|l| row[l] * vectors[l][j]).sum::<f64>()) as f32;
        }
        let by = if singular > 0.0 { part / singular } else { 0.0 };
        for c in 0..k {
            a[j * k + c] = (by * (0..q).map(|l| vectors[l][j] * small[l][c]).sum::<f64>()) as f32;
        }
    }
    Ok((Tensor::from_vec(a, (r, k), w.device())?, Tensor::from_vec(b, (n, r), w.device())?))
}

/// Columns made orthonormal by Gram–Schmidt, twice; a column that the others already span becomes 0.
fn orthonormal(m: &Tensor) -> Result<Tensor> {
    let (n, q) = m.dims2()?;
    let mut columns = m.t()?.to_vec2::<f64>()?;
    for j in 0..q {
        let (done, rest) = columns.split_at_mut(j);
        let column = &mut rest[0];
        let before = dot(column, column).sqrt();
        for _ in 0..2 {
            for other in done.iter() {
                let along = dot(column, other);
                column.iter_mut().zip(other).for_each(|(c, o)| *c -= along * o);
            }
        }
        let length = dot(column, column).sqrt();
        let by = if length > 1e-12 * before { 1.0 / length } else { 0.0 };
        column.iter_mut().for_each(|c| *c *= by);
    }
    let flat: Vec<f64> = columns.into_iter().flatten().collect();
    Ok(Tensor::from_vec(flat, (q, n), m.device())?.t()?.contiguous()?)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Eigenvalues, largest first, and eigenvectors (columns) of a small symmetric matrix by Jacobi rotations (Golub & Van Loan, §8.5).
fn eigen(m: &[Vec<f64>]) -> (Vec<f64>, Vec<Vec<f64>>) {
    let n = m.len();
    let mut m = m.to_vec();
    let mut v: Vec<Vec<f64>> = (0..n).map(|i| (0..n).map(|j| f64::from(u8::from(i == j))).collect()).collect();
    let size: f64 = m.iter().flatten().map(|x| x * x).sum();
    for _ in 0..60 {
        let off: f64 = (0..n).flat_map(|i| (0..i).map(move |j| (i, j))).map(|(i, j)| m[i][j] * m[i][j]).sum();
        if off <= 1e-28 * size {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                rotate(&mut m, &mut v, p, q);
            }
        }
    }
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| m[b][b].total_cmp(&m[a][a]));
    let values = order.iter().map(|&i| m[i][i]).collect();
    let vectors = v.iter().map(|row| order.iter().map(|&i| row[i]).collect()).collect();
    (values, vectors)
}

/// One rotation that makes m[p][q] zero.
fn rotate(m: &mut [Vec<f64>], v: &mut [Vec<f64>], p: usize, q: usize) {
    if m[p][q] == 0.0 {
        return;
    }
    let theta = (m[q][q] - m[p][p]) / (2.0 * m[p][q]);
    let t = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
    let t = if theta == 0.0 { 1.0 } else { t };
    let c = 1.0 / (t * t + 1.0).sqrt();
    let s = t * c;
    for row in m.iter_mut() {
        (row[p], row[q]) = (c * row[p] - s * row[q], s * row[p] + c * row[q]);
    }
    for j in 0..m.len() {
        (m[p][j], m[q][j]) = (c * m[p][j] - s * m[q][j], s * m[p][j] + c * m[q][j]);
    }
    for row in v.iter_mut() {
        (row[p], row[q]) = (c * row[p] - s * row[q], s * row[p] + c * row[q]);
    }
}

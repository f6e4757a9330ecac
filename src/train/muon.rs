//! Muon (Jordan et al. 2024): the update of a hidden matrix is its momentum with all singular values moved to about 1.
//!
//! ```text
//! M ← μ M + G      U = G + μ M (Nesterov)      O = NS₅(U / ‖U‖_F)      W ← (1 − ηλ) W − η · 0.2 √max(n, k) · O
//! ```
//! NS₅: five quintic Newton–Schulz steps, X ← a X + (b A + c A²) X with A = X Xᵀ. The factor 0.2 √max(n, k) (Liu et al. 2025, §2.2) gives
//! updates the size of AdamW's, so that both share a learning rate; `torch.optim.Muon` calls it `match_rms_adamw`.
use crate::model::ops::{Threads, View, ViewMut, multiply};
use serde::{Deserialize, Serialize};

const STEPS: usize = 5;
const COEFFICIENTS: [f32; 3] = [3.4445, -4.7750, 2.0315];

/// For the matrices of the layers; embeddings and norms stay with AdamW.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Muon {
    /// μ
    pub momentum: f64,
}

impl Default for Muon {
    fn default() -> Self {
        Self { momentum: 0.95 }
    }
}

impl Muon {
    /// True for the matrices that it moves.
    pub fn moves(&self, name: &str, dims: &[usize]) -> bool {
        dims.len() == 2 && name.contains(".layers.")
    }

    /// The step, before the learning rate, of a matrix [n, k] with this gradient; `kept` is M.
    pub fn step(&self, grad: &[f32], kept: &mut [f32], [n, k]: [usize; 2]) -> Vec<f32> {
        let mu = self.momentum as f32;
        let mut u = Vec::with_capacity(grad.len());
        for (m, g) in kept.iter_mut().zip(grad) {
            *m = mu * *m + g;
            u.push(g + mu * *m);
        }
        let mut o = orthogonal(u, [n, k]);
        let size = 0.2 * (n.max(k) as f32).sqrt();
        o.iter_mut().for_each(|o| *o *= size);
        o
    }
}

/// The matrix [n, k] with its singular values moved towards 1: between about 0.7 and 1.2 where they were not tiny.
///
/// The steps need X only through G = X Xᵀ over its shorter side: with P = a + b G + c G², X ← P X makes G ← P G P, and polynomials in G
/// commute. So the steps multiply symmetric [m, m] matrices and X is multiplied once, by the product of the P (Gram Newton–Schulz; Zhang et
/// al. 2026; in f32, which needs none of their restarts in half precision).
pub fn orthogonal(mut x: Vec<f32>, [n, k]: [usize; 2]) -> Vec<f32> {
    let norm = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt().max(1e-7) as f32;
    x.iter_mut().for_each(|x| *x /= norm);
    let x_view = View::new(&x, n, k, k);
    let product = product_of_polynomials(if n > k { x_view.t() } else { x_view });
    let m = n.min(k);
    let product = View::new(&product, m, m, m);
    let (left, right) = if n > k { (x_view, product) } else { (product, x_view) };
    let mut o = vec![0f32; n * k];
    multiply(ViewMut::new(&mut o, n, k, k), left, right, 1.0, false, Threads::One);
    o
}

/// P₅ ⋯ P₁ [m, m] of a matrix X [m, k].
fn product_of_polynomials(x: View) -> Vec<f32> {
    let [a, b, c] = COEFFICIENTS;
    let mut gram = symmetric(x, x.t());
    let m = x.rows();
    let square = |x: &[f32], y: &[f32]| symmetric(View::new(x, m, m, m), View::new(y, m, m, m));
    let mut product = Vec::new();
    for step in 0..STEPS {
        let mut poly = square(&gram, &gram);
        poly.iter_mut().zip(&gram).for_each(|(p, g)| *p = b * g + c * *p);
        poly.iter_mut().step_by(m + 1).for_each(|p| *p += a);
        if step + 1 < STEPS {
            gram = square(&square(&poly, &gram), &poly);
        }
        product = if step == 0 { poly } else { square(&poly, &product) };
    }
    product
}

/// A · B [m, m], known to be symmetric: strips of rows from the diagonal on, the rest mirrored.
fn symmetric(a: View, b: View) -> Vec<f32> {
    const STRIP: usize = 64;
    let m = a.rows();
    let mut out = vec![0f32; m * m];
    for from in (0..m).step_by(STRIP) {
        let to = m.min(from + STRIP);
        let strip = ViewMut::new(&mut out[from * m + from..to * m], to - from, m - from, m);
        multiply(strip, a.row_range(from, to), b.t().row_range(from, m).t(), 1.0, false, Threads::One);
        for row in from..to {
            for col in row + 1..m {
                out[col * m + row] = out[row * m + col];
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};

    fn noise(n: usize) -> Vec<f32> {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(3);
        (0..n).map(|_| rng.random_range(-1.0..1.0)).collect()
    }

    #[test]
    fn wide_and_tall_matrices_become_nearly_orthogonal_and_are_each_others_transpose() {
        let (n, k) = (12, 30);
        let x = noise(n * k);
        let wide = orthogonal(x.clone(), [n, k]);
        for i in 0..n {
            let square: f32 = wide[i * k..][..k].iter().map(|v| v * v).sum();
            assert!((0.4..1.5).contains(&square), "row {i} of length² {square}");
        }
        let transposed: Vec<f32> = (0..k * n).map(|at| x[at % n * k + at / n]).collect();
        let tall = orthogonal(transposed, [k, n]);
        for i in 0..n {
            for j in 0..k {
                assert!((wide[i * k + j] - tall[j * n + i]).abs() < 1e-5);
            }
        }
    }

    /// tests/reference/muon.py
    #[test]
    fn steps_agree_with_pytorch() {
        let golden: serde_json::Value = serde_json::from_str(include_str!("../../tests/reference/muon.json")).unwrap();
        let numbers = |v: &serde_json::Value| -> Vec<f32> { serde_json::from_value(v.clone()).unwrap() };
        let (lr, decay) = (golden["lr"].as_f64().unwrap() as f32, golden["weight_decay"].as_f64().unwrap() as f32);
        let muon = Muon { momentum: golden["momentum"].as_f64().unwrap() };
        for case in golden["cases"].as_array().unwrap() {
            let shape: [usize; 2] = serde_json::from_value(case["shape"].clone()).unwrap();
            let mut w = numbers(&case["start"]);
            let mut kept = vec![0.0; w.len()];
            for (grad, after) in case["grads"].as_array().unwrap().iter().zip(case["after"].as_array().unwrap()) {
                let step = muon.step(&numbers(grad), &mut kept, shape);
                w.iter_mut().zip(step).for_each(|(w, o)| *w = *w * (1.0 - lr * decay) - lr * o);
                for (got, want) in w.iter().zip(numbers(after)) {
                    assert!((got - want).abs() < 1e-5, "{shape:?}: {got} and {want}");
                }
            }
        }
    }

    /// The steps as they are written in the paper, on X itself.
    fn step_by_step(mut x: Vec<f64>, [n, k]: [usize; 2]) -> Vec<f64> {
        let product = |x: &[f64], y: &[f64], [n, k, m]: [usize; 3]| -> Vec<f64> {
            (0..n * m).map(|at| (0..k).map(|i| x[at / m * k + i] * y[i * m + at % m]).sum()).collect()
        };
        let norm = x.iter().map(|x| x * x).sum::<f64>().sqrt();
        x.iter_mut().for_each(|x| *x /= norm);
        let [a, b, c] = COEFFICIENTS.map(f64::from);
        for _ in 0..STEPS {
            let transposed: Vec<f64> = (0..k * n).map(|at| x[at % n * k + at / n]).collect();
            let gram = product(&x, &transposed, [n, k, n]);
            let square = product(&gram, &gram, [n, n, n]);
            let poly: Vec<f64> = gram.iter().zip(&square).map(|(g, s)| b * g + c * s).collect();
            x = product(&poly, &x, [n, n, k]).iter().zip(&x).map(|(p, x)| p + a * x).collect();
        }
        x
    }

    /// In several strips, and with singular values from 1 down to 1e-6: what f32 loses in X Xᵀ must not come back as noise.
    #[test]
    fn the_gram_matrix_stands_for_the_matrix_also_where_it_is_nearly_singular() {
        let [n, k] = [150, 170];
        let rows = orthogonal(noise(n * k), [n, k]);
        let scaled = |(at, x): (usize, &f32)| x * 10f32.powf(-6.0 * (at / k) as f32 / n as f32);
        let x: Vec<f32> = rows.iter().enumerate().map(scaled).collect();
        let want = step_by_step(x.iter().map(|&x| f64::from(x)).collect(), [n, k]);
        for (got, want) in orthogonal(x, [n, k]).iter().zip(want) {
            assert!((f64::from(*got) - want).abs() < 1e-5, "{got} and {want}");
        }
    }

    #[test]
    fn only_the_layers_matrices_move_by_it() {
        let muon = Muon::default();
        assert!(muon.moves("model.layers.0.mlp.up_proj.weight", &[4, 4]));
        assert!(
            !muon.moves("model.embed_tokens.weight", &[4, 4])
                && !muon.moves("model.layers.0.input_layernorm.weight", &[4])
        );
    }
}

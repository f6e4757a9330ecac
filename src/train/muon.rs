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
pub fn orthogonal(mut x: Vec<f32>, [n, k]: [usize; 2]) -> Vec<f32> {
    let norm = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt().max(1e-7) as f32;
    x.iter_mut().for_each(|x| *x /= norm);
    // X Xᵀ over the shorter side: of a tall matrix its transpose is iterated, as Xᵀ X from the right
    let (tall, m) = (n > k, n.min(k));
    let [a, b, c] = COEFFICIENTS;
    let (mut gram, mut poly, mut next) = (vec![0f32; m * m], vec![0f32; m * m], vec![0f32; n * k]);
    for _ in 0..STEPS {
        let x_view = View::new(&x, n, k, k);
        let (left, right) = if tall { (x_view.t(), x_view) } else { (x_view, x_view.t()) };
        multiply(ViewMut::new(&mut gram, m, m, m), left, right, 1.0, false, Threads::One);
        let gram_view = View::new(&gram, m, m, m);
        poly.iter_mut().zip(&gram).for_each(|(p, g)| *p = b * g);
        multiply(ViewMut::new(&mut poly, m, m, m), gram_view, gram_view, c, true, Threads::One);
        next.iter_mut().zip(&x).for_each(|(next, x)| *next = a * x);
        let poly_view = View::new(&poly, m, m, m);
        let (left, right) = if tall { (x_view, poly_view) } else { (poly_view, x_view) };
        multiply(ViewMut::new(&mut next, n, k, k), left, right, 1.0, true, Threads::One);
        std::mem::swap(&mut x, &mut next);
    }
    x
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

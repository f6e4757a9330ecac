//! Logistic regression on sparse rows, one label against the rest: `LogisticRegression(C=c)` of scikit-learn.
//!
//! min over w, b of ½‖w‖² + C Σᵢ ln(1 + exp(−yᵢ (w·xᵢ + b))), y ∈ {−1, 1}; the intercept is not penalised.
//! Solved by L-BFGS with backtracking: the objective is convex, so any descent to a zero gradient finds the one minimum.
use super::tfidf::Sparse;
use std::collections::VecDeque;

/// Pairs of steps and gradient changes that L-BFGS remembers.
const MEMORY: usize = 8;
const MAX_STEPS: usize = 500;

#[derive(Clone, Debug)]
pub struct LogReg {
    /// One weight a column, the intercept last.
    weights: Vec<f64>,
}

impl LogReg {
    /// `tolerance` bounds the largest entry of the gradient at the end. A class that is empty gives ±∞ everywhere.
    pub fn fit(x: &Sparse, y: &[bool], c: f64, tolerance: f64) -> Self {
        let mut weights = vec![0.0; x.columns + 1];
        let positive = y.iter().filter(|y| **y).count() as f64;
        weights[x.columns] = (positive / (y.len() as f64 - positive)).ln();
        if weights[x.columns].is_finite() {
            descend(&Problem { x, y, c }, &mut weights, tolerance);
        }
        Self { weights }
    }

    /// w·x + b of every row; its sigmoid is the probability of the label.
    pub fn decision(&self, x: &Sparse) -> Vec<f64> {
        scores(x, &self.weights)
    }
}

pub fn sigmoid(score: f64) -> f64 {
    1.0 / (1.0 + (-score).exp())
}

fn scores(x: &Sparse, weights: &[f64]) -> Vec<f64> {
    let row = |row: &Vec<(u32, f64)>| row.iter().fold(weights[x.columns], |sum, &(j, v)| sum + v * weights[j as usize]);
    x.rows.iter().map(row).collect()
}

struct Problem<'a> {
    x: &'a Sparse,
    y: &'a [bool],
    c: f64,
}

impl Problem<'_> {
    /// The objective and its gradient.
    fn at(&self, weights: &[f64]) -> (f64, Vec<f64>) {
        let last = self.x.columns;
        let mut gradient = weights.to_vec();
        gradient[last] = 0.0;
        let mut loss = 0.5 * dot(&gradient, &gradient);
        for ((row, score), &y) in self.x.rows.iter().zip(scores(self.x, weights)).zip(self.y) {
            let margin = if y { score } else { -score };
            loss += self.c * ((-margin.abs()).exp().ln_1p() + (-margin).max(0.0));
            let slope = self.c * (sigmoid(score) - f64::from(y));
            row.iter().for_each(|&(j, v)| gradient[j as usize] += slope * v);
            gradient[last] += slope;
        }
        (loss, gradient)
    }
}

fn descend(problem: &Problem, weights: &mut Vec<f64>, tolerance: f64) {
    let (mut loss, mut gradient) = problem.at(weights);
    let mut memory = VecDeque::<(Vec<f64>, Vec<f64>)>::new();
    for _ in 0..MAX_STEPS {
        if gradient.iter().all(|g| g.abs() <= tolerance) {
            return;
        }
        let direction = direction(&memory, &gradient);
        let slope = dot(&direction, &gradient);
        let mut step = if memory.is_empty() { 1.0 / dot(&gradient, &gradient).sqrt().max(1.0) } else { 1.0 };
        let (next, next_loss, next_gradient) = loop {
            let next: Vec<f64> = weights.iter().zip(&direction).map(|(w, d)| w + step * d).collect();
            let (next_loss, next_gradient) = problem.at(&next);
            if next_loss <= loss + 1e-4 * step * slope {
                break (next, next_loss, next_gradient);
            }
            step /= 2.0;
            if step < 1e-12 {
                return; // no descent left in f64: as close as it gets
            }
        };
        let moved: Vec<f64> = direction.iter().map(|d| step * d).collect();
        let turned: Vec<f64> = next_gradient.iter().zip(&gradient).map(|(a, b)| a - b).collect();
        if dot(&moved, &turned) > 1e-12 * dot(&turned, &turned) {
            memory.push_back((moved, turned));
            if memory.len() > MEMORY {
                memory.pop_front();
            }
        }
        (*weights, loss, gradient) = (next, next_loss, next_gradient);
    }
}

/// −H g by the two-loop recursion.
fn direction(memory: &VecDeque<(Vec<f64>, Vec<f64>)>, gradient: &[f64]) -> Vec<f64> {
    let mut q: Vec<f64> = gradient.iter().map(|g| -g).collect();
    let mut alphas = Vec::with_capacity(memory.len());
    for (s, y) in memory.iter().rev() {
        let alpha = dot(s, &q) / dot(s, y);
        add(&mut q, -alpha, y);
        alphas.push(alpha);
    }
    if let Some((s, y)) = memory.back() {
        let scale = dot(s, y) / dot(y, y);
        q.iter_mut().for_each(|v| *v *= scale);
    }
    for ((s, y), alpha) in memory.iter().zip(alphas.into_iter().rev()) {
        let beta = dot(y, &q) / dot(s, y);
        add(&mut q, alpha - beta, s);
    }
    q
}

fn add(to: &mut [f64], factor: f64, what: &[f64]) {
    to.iter_mut().zip(what).for_each(|(t, w)| *t += factor * w);
}

/// Four running sums, so that the compiler may keep several products in flight; the order is fixed.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 4];
    let (a4, b4) = (a.chunks_exact(4), b.chunks_exact(4));
    let rest: f64 = a4.remainder().iter().zip(b4.remainder()).map(|(x, y)| x * y).sum();
    a4.zip(b4).for_each(|(x, y)| (0..4).for_each(|i| sums[i] += x[i] * y[i]));
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradient_vanishes_at_the_solution_and_agrees_with_differences() {
        let rows = (0..40).map(|i| vec![(0, f64::from(i % 7) / 7.0), (2, f64::from(i % 3) - 1.0)]).collect();
        let x = Sparse { columns: 3, rows };
        let y: Vec<bool> = (0..40).map(|i| i % 7 + i % 3 > 4).collect();
        let problem = Problem { x: &x, y: &y, c: 10.0 };
        let fitted = LogReg::fit(&x, &y, 10.0, 1e-8);
        assert!(problem.at(&fitted.weights).1.iter().all(|g| g.abs() <= 1e-8));
        let (at, step) = (vec![0.3, -0.2, 0.5, 0.1], 1e-6);
        let gradient = problem.at(&at).1;
        for i in 0..4 {
            let (mut up, mut down) = (at.clone(), at.clone());
            up[i] += step;
            down[i] -= step;
            let slope = (problem.at(&up).0 - problem.at(&down).0) / (2.0 * step);
            assert!((slope - gradient[i]).abs() < 1e-6, "{i}: {slope} {}", gradient[i]);
        }
    }

    #[test]
    fn an_empty_class_is_never_or_always_predicted() {
        let x = Sparse { columns: 1, rows: vec![vec![(0, 1.0)], vec![]] };
        assert_eq!(LogReg::fit(&x, &[false, false], 1.0, 1e-4).decision(&x), [f64::NEG_INFINITY; 2]);
        assert_eq!(LogReg::fit(&x, &[true, true], 1.0, 1e-4).decision(&x), [f64::INFINITY; 2]);
    }
}

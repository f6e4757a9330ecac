//! Logistic regressions of many labels on the same sparse rows, each against the rest: `LogisticRegression(C=c)` of scikit-learn.
//!
//! min over w, b of ½‖w‖² + C Σᵢ ln(1 + exp(−yᵢ (w·xᵢ + b))), y ∈ {−1, 1}; the intercept is not penalised.
//!
//! There are far more terms than texts, and the solution is a combination of the texts, w = Σᵢ aᵢ xᵢ. So everything is done in
//! the space of the texts: with K = X Xᵀ a point is (a, Ka, b) and ⟨u, v⟩ = u.a·K v.a + u.b·v.b. L-BFGS needs one product with K
//! a step, made for all labels at once; the objective is convex, so any descent to a zero gradient finds the one minimum.
use super::tfidf::Sparse;
use crate::error::Result;
use candle_core::{Device, Tensor};
use rayon::prelude::*;
use std::collections::VecDeque;

/// Pairs of steps and gradient changes that L-BFGS remembers.
const MEMORY: usize = 8;
const MAX_STEPS: usize = 300;

/// Training rows with their scalar products [rows, rows].
#[derive(Clone, Debug)]
pub struct Kernel {
    x: Sparse,
    gram: Tensor,
}

/// One regression a label.
#[derive(Clone, Debug)]
pub struct OneVsRest {
    /// a of every label, [rows, labels].
    coefficients: Tensor,
    /// b of every label.
    intercepts: Vec<f64>,
}

impl Kernel {
    pub fn new(x: Sparse) -> Result<Self> {
        Ok(Self { gram: products(&x, &x)?, x })
    }

    /// Scalar products of other rows with the training rows, [other rows, rows]; for [`OneVsRest::decision`].
    pub fn against(&self, z: &Sparse) -> Result<Tensor> {
        products(z, &self.x)
    }

    /// `y[label][row]`. `tolerance` bounds the length of the gradient at the end. A label that every row or no row has is always
    /// or never predicted.
    pub fn fit(&self, y: &[Vec<bool>], c: f64, tolerance: f64) -> Result<OneVsRest> {
        let mut labels: Vec<Descent> = y.iter().map(|y| Descent::new(y, c, tolerance)).collect();
        for _ in 0..MAX_STEPS {
            let mut active: Vec<&mut Descent> = labels.iter_mut().filter(|label| !label.done).collect();
            if active.is_empty() {
                break;
            }
            let slopes: Vec<Vec<f64>> = active.iter().map(|label| label.slopes()).collect();
            let count = slopes.len();
            let matrix = Tensor::from_vec(slopes.concat(), (count, self.x.rows.len()), &Device::Cpu)?;
            let products = matrix.matmul(&self.gram)?.to_vec2::<f64>()?; // K is symmetric
            active.par_iter_mut().zip(slopes).zip(products).for_each(|((label, a), ka)| label.step(a, ka));
        }
        let a: Vec<f64> = labels.iter().flat_map(|label| label.at.a.iter().copied()).collect();
        let coefficients = Tensor::from_vec(a, (y.len(), self.x.rows.len()), &Device::Cpu)?.t()?.contiguous()?;
        Ok(OneVsRest { coefficients, intercepts: labels.into_iter().map(|label| label.at.b).collect() })
    }
}

impl OneVsRest {
    /// w·z + b, a row a row of [`Kernel::against`], a column a label; its sigmoid is the probability of the label.
    pub fn decision(&self, against: &Tensor) -> Result<Vec<Vec<f64>>> {
        let mut rows = against.matmul(&self.coefficients)?.to_vec2::<f64>()?;
        rows.iter_mut().for_each(|row| row.iter_mut().zip(&self.intercepts).for_each(|(score, b)| *score += b));
        Ok(rows)
    }
}

pub fn sigmoid(score: f64) -> f64 {
    1.0 / (1.0 + (-score).exp())
}

/// Scalar products of the rows of `a` with those of `b`, [a rows, b rows].
fn products(a: &Sparse, b: &Sparse) -> Result<Tensor> {
    let of_row = |dense: &mut Vec<f64>, row: &Vec<(u32, f64)>| -> Vec<f64> {
        dense.resize(a.columns.max(b.columns), 0.0);
        row.iter().for_each(|&(j, v)| dense[j as usize] = v);
        let product = |other: &Vec<(u32, f64)>| other.iter().map(|&(j, v)| v * dense[j as usize]).sum::<f64>();
        let products = b.rows.iter().map(product).collect();
        row.iter().for_each(|&(j, _)| dense[j as usize] = 0.0);
        products
    };
    let rows: Vec<Vec<f64>> = a.rows.par_iter().map_init(Vec::new, of_row).collect();
    Ok(Tensor::from_vec(rows.concat(), (a.rows.len(), b.rows.len()), &Device::Cpu)?)
}

/// A point, a direction or a gradient: w = Σ aᵢ xᵢ with its products Ka, and b.
#[derive(Clone, Debug)]
struct Point {
    a: Vec<f64>,
    ka: Vec<f64>,
    b: f64,
}

impl Point {
    fn dot(&self, other: &Self) -> f64 {
        self.a.iter().zip(&other.ka).map(|(a, ka)| a * ka).sum::<f64>() + self.b * other.b
    }

    fn add(&mut self, factor: f64, what: &Self) {
        self.a.iter_mut().zip(&what.a).for_each(|(t, w)| *t += factor * w);
        self.ka.iter_mut().zip(&what.ka).for_each(|(t, w)| *t += factor * w);
        self.b += factor * what.b;
    }

    fn scale(&mut self, factor: f64) {
        self.a.iter_mut().chain(&mut self.ka).for_each(|v| *v *= factor);
        self.b *= factor;
    }
}

/// One label on its way to the minimum.
struct Descent<'a> {
    y: &'a [bool],
    c: f64,
    tolerance: f64,
    at: Point,
    /// Where the last step led from: the step and the gradient before it.
    last: Option<(Point, Point)>,
    memory: VecDeque<(Point, Point)>,
    done: bool,
}

impl<'a> Descent<'a> {
    fn new(y: &'a [bool], c: f64, tolerance: f64) -> Self {
        let positive = y.iter().filter(|y| **y).count() as f64;
        let b = (positive / (y.len() as f64 - positive)).ln(); // the best without any term; ±∞ for an empty class
        let at = Point { a: vec![0.0; y.len()], ka: vec![0.0; y.len()], b };
        Self { y, c, tolerance, at, last: None, memory: VecDeque::new(), done: !b.is_finite() }
    }

    /// Derivative of the summed losses by each row's score.
    fn slopes(&self) -> Vec<f64> {
        let slope = |(ka, y): (&f64, &bool)| self.c * (sigmoid(ka + self.at.b) - f64::from(*y));
        self.at.ka.iter().zip(self.y).map(slope).collect()
    }

    /// The objective at `at + step · direction`; no product with K is needed.
    fn objective(&self, direction: &Point, step: f64) -> f64 {
        let mut sum = 0.0;
        for (i, &y) in self.y.iter().enumerate() {
            let (a, ka) = (self.at.a[i] + step * direction.a[i], self.at.ka[i] + step * direction.ka[i]);
            let score = ka + self.at.b + step * direction.b;
            let margin = if y { score } else { -score };
            sum += 0.5 * a * ka + self.c * ((-margin.abs()).exp().ln_1p() + (-margin).max(0.0));
        }
        sum
    }

    /// One step downhill, given the slopes and their product with K.
    fn step(&mut self, slopes: Vec<f64>, products: Vec<f64>) {
        let b = slopes.iter().sum();
        let mut gradient = Point { a: slopes, ka: products, b };
        gradient.add(1.0, &Point { b: 0.0, ..self.at.clone() }); // of the penalty
        self.remember(&gradient);
        if gradient.dot(&gradient).sqrt() <= self.tolerance {
            self.done = true;
            return;
        }
        let mut direction = self.direction(&gradient);
        let slope = direction.dot(&gradient);
        let start = self.objective(&direction, 0.0);
        let mut step = if self.memory.is_empty() { 1.0 / gradient.dot(&gradient).sqrt().max(1.0) } else { 1.0 };
        while self.objective(&direction, step) > start + 1e-4 * step * slope {
            step /= 2.0;
            if step < 1e-10 {
                self.done = true; // no descent left in f64: as close as it gets
                return;
            }
        }
        direction.scale(step);
        self.at.add(1.0, &direction);
        self.last = Some((direction, gradient));
    }

    fn remember(&mut self, gradient: &Point) {
        let Some((moved, before)) = self.last.take() else { return };
        let mut turned = gradient.clone();
        turned.add(-1.0, &before);
        if moved.dot(&turned) > 1e-12 * turned.dot(&turned) {
            self.memory.push_back((moved, turned));
            if self.memory.len() > MEMORY {
                self.memory.pop_front();
            }
        }
    }

    /// −H g by the two-loop recursion.
    fn direction(&self, gradient: &Point) -> Point {
        let mut q = gradient.clone();
        q.scale(-1.0);
        let mut alphas = Vec::with_capacity(self.memory.len());
        for (s, y) in self.memory.iter().rev() {
            let alpha = s.dot(&q) / s.dot(y);
            q.add(-alpha, y);
            alphas.push(alpha);
        }
        if let Some((s, y)) = self.memory.back() {
            q.scale(s.dot(y) / y.dot(y));
        }
        for ((s, y), alpha) in self.memory.iter().zip(alphas.into_iter().rev()) {
            let beta = y.dot(&q) / s.dot(y);
            q.add(alpha - beta, s);
        }
        q
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Sparse {
        Sparse {
            columns: 3,
            rows: (0..40).map(|i| vec![(0, f64::from(i % 7) / 7.0), (2, f64::from(i % 3) - 1.0)]).collect(),
        }
    }

    #[test]
    fn the_gradient_by_weights_vanishes_at_the_solution() {
        let y: Vec<bool> = (0..40).map(|i| i % 7 + i % 3 > 4).collect();
        let (x, c) = (rows(), 10.0);
        let kernel = Kernel::new(x.clone()).unwrap();
        let fitted = kernel.fit(std::slice::from_ref(&y), c, 1e-7).unwrap();
        let scores = fitted.decision(&kernel.against(&x).unwrap()).unwrap();
        let a = fitted.coefficients.to_vec2::<f64>().unwrap();
        let mut gradient = [0.0; 4]; // w − C Σ …, of the three weights; and of the intercept
        for (i, row) in x.rows.iter().enumerate() {
            let slope = c * (sigmoid(scores[i][0]) - f64::from(y[i]));
            row.iter().for_each(|&(j, v)| gradient[j as usize] += (a[i][0] + slope) * v);
            gradient[3] += slope;
        }
        assert!(gradient.iter().all(|g| g.abs() < 1e-6), "{gradient:?}");
    }

    #[test]
    fn a_label_fitted_alone_is_the_same_as_among_others() {
        let y: Vec<Vec<bool>> = (2..6).map(|k| (0..40).map(|i| i % 7 + i % 3 > k).collect()).collect();
        let kernel = Kernel::new(rows()).unwrap();
        let decide = |y: &[Vec<bool>]| kernel.fit(y, 3.0, 1e-6).unwrap().decision(&kernel.gram).unwrap();
        let (together, alone) = (decide(&y), decide(&y[1..2]));
        assert!((0..40).all(|i| (together[i][1] - alone[i][0]).abs() < 1e-6));
    }

    #[test]
    fn an_empty_class_is_never_or_always_predicted() {
        let kernel = Kernel::new(Sparse { columns: 1, rows: vec![vec![(0, 1.0)], vec![]] }).unwrap();
        let fitted = kernel.fit(&[vec![false; 2], vec![true; 2]], 1.0, 1e-4).unwrap();
        assert_eq!(fitted.decision(&kernel.gram).unwrap(), [[f64::NEG_INFINITY, f64::INFINITY]; 2]);
    }
}

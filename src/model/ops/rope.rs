//! Rotary positions (Su et al. 2021) in the half-split layout of Hugging Face: pair i is (x[i], x[i + d/2]), turned by
//! position · w_i and multiplied with a factor (1 but for YaRN). The gradient is the turn in the other direction with
//! the same factor. Which w_i a model has is said by its config ([`Rope`](crate::model::Rope)); where they are fewer than half a head's
//! numbers, the first of a head are turned and the rest passes (partial rotary positions: d is then twice their number).
use super::cpu::lanes::dispatch;
use super::slices::{CpuSlice, ROWS_A_TASK, has_loops, may_be_overwritten, operand, overwrite, result, zeros};
use candle_core::{CpuStorage, CustomOp1, Device, Layout, Result, Shape, Tensor};
use rayon::prelude::*;
use std::sync::Arc;

/// cos and sin of every token of a batch, [tokens, pairs] each; computed in f64, stored in f32.
#[derive(Clone)]
pub struct RotaryEmbedding {
    cos: Arc<Vec<f32>>,
    sin: Arc<Vec<f32>>,
    half: usize,
}

impl RotaryEmbedding {
    /// `frequencies` [pairs]: the angles of position 1; cos and sin are multiplied with `factor`.
    pub fn new(positions: &[usize], frequencies: &[f64], factor: f64) -> Self {
        let half = frequencies.len();
        let (mut cos, mut sin) = (zeros(positions.len() * half), zeros(positions.len() * half));
        let rows = cos.par_chunks_mut(half.max(1)).zip(sin.par_chunks_mut(half.max(1))).zip(positions);
        rows.with_min_len(ROWS_A_TASK).for_each(|((cos, sin), &p)| {
            for ((cos, sin), turn) in cos.iter_mut().zip(sin).zip(frequencies) {
                let (s, c) = (p as f64 * turn).sin_cos();
                (*cos, *sin) = ((factor * c) as f32, (factor * s) as f32);
            }
        });
        Self { cos: Arc::new(cos), sin: Arc::new(sin), half }
    }
}

/// `x` [tokens, heads, head_dim] → the same shape, every token turned by its own position.
pub fn rope(x: &Tensor, rotary: &RotaryEmbedding) -> Result<Tensor> {
    if !has_loops(&[x]) {
        return rope_naive(x, rotary);
    }
    x.contiguous()?.apply_op1(Rope { rotary: rotary.clone(), sign: 1.0 })
}

/// As [`rope`], written over `x` where no gradient asks for it. `x` must be no one else's.
pub fn rope_over(x: Tensor, rotary: &RotaryEmbedding) -> Result<Tensor> {
    let (tokens, heads, dim) = x.dims3()?;
    if !may_be_overwritten(&x, &[]) || dim < 2 * rotary.half || tokens * rotary.half != rotary.cos.len() {
        return rope(&x, rotary);
    }
    let (half, token) = (rotary.half, heads * dim);
    overwrite("rope", &x, |x| {
        x.par_chunks_mut(ROWS_A_TASK * token).enumerate().for_each(|(block, x)| {
            for (t, x) in x.chunks_exact_mut(token).enumerate() {
                let at = (block * ROWS_A_TASK + t) * half;
                let (cos, sin) = (&rotary.cos[at..at + half], &rotary.sin[at..at + half]);
                x.chunks_exact_mut(dim).for_each(|x| turn_over(x, cos, sin));
            }
        });
    })?;
    Ok(x)
}

/// The same by candle's own differentiable operations.
pub fn rope_naive(x: &Tensor, rotary: &RotaryEmbedding) -> Result<Tensor> {
    let (tokens, _, dim) = x.dims3()?;
    let half = rotary.half;
    let table = |v: &Vec<f32>, device: &Device| Tensor::from_slice(v, (tokens, 1, half), device)?.to_dtype(x.dtype());
    let (cos, sin) = (table(&rotary.cos, x.device())?, table(&rotary.sin, x.device())?);
    let (a, b) = (x.narrow(2, 0, half)?, x.narrow(2, half, half)?);
    let left = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
    let right = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
    match dim - 2 * half {
        0 => Tensor::cat(&[left, right], 2),
        rest => Tensor::cat(&[left, right, x.narrow(2, 2 * half, rest)?], 2),
    }
}

struct Rope {
    rotary: RotaryEmbedding,
    sign: f32,
}

dispatch! {
    fn turn_head(x: &[f32], y: &mut [f32], cos: &[f32], sin: &[f32], sign: f32) {
        let half = cos.len();
        let (a, b) = (&x[..half], &x[half..2 * half]);
        let (left, right) = y.split_at_mut(half);
        let (right, sin) = (&mut right[..half], &sin[..half]);
        for i in 0..half {
            left[i] = a[i] * cos[i] - sign * b[i] * sin[i];
            right[i] = b[i] * cos[i] + sign * a[i] * sin[i];
        }
    }
}

dispatch! {
    fn turn_over(x: &mut [f32], cos: &[f32], sin: &[f32]) {
        let half = cos.len();
        let (left, right) = x.split_at_mut(half);
        let (right, sin) = (&mut right[..half], &sin[..half]);
        for i in 0..half {
            let (a, b) = (left[i], right[i]);
            left[i] = a * cos[i] - b * sin[i];
            right[i] = b * cos[i] + a * sin[i];
        }
    }
}

impl Rope {
    /// `x` [tokens, heads, dim]
    fn turn(&self, x: &[f32], heads: usize, dim: usize) -> Vec<f32> {
        let half = self.rotary.half;
        let token = heads * dim;
        let mut y = zeros(x.len());
        y.par_chunks_mut(ROWS_A_TASK * token).zip(x.par_chunks(ROWS_A_TASK * token)).enumerate().for_each(
            |(block, (y, x))| {
                for (t, (y, x)) in y.chunks_exact_mut(token).zip(x.chunks_exact(token)).enumerate() {
                    let at = (block * ROWS_A_TASK + t) * half;
                    let (cos, sin) = (&self.rotary.cos[at..at + half], &self.rotary.sin[at..at + half]);
                    for (y, x) in y.chunks_exact_mut(dim).zip(x.chunks_exact(dim)) {
                        turn_head(x, y, cos, sin, self.sign);
                        y[2 * half..].copy_from_slice(&x[2 * half..]);
                    }
                }
            },
        );
        y
    }
}

impl CustomOp1 for Rope {
    fn name(&self) -> &'static str {
        "rope"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (tokens, heads, dim) = layout.shape().dims3()?;
        if dim < 2 * self.rotary.half || tokens * self.rotary.half != self.rotary.cos.len() {
            candle_core::bail!(
                "rope: {tokens} tokens of dimension {dim}, the table has {} numbers",
                self.rotary.cos.len()
            )
        }
        Ok(result(self.turn(operand("rope", x, layout)?, heads, dim), layout.shape()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        let g = g.contiguous()?;
        let back = Rope { rotary: self.rotary.clone(), sign: -self.sign };
        let dx = back.turn(&CpuSlice::of(&g)?, x.dim(1)?, x.dim(2)?);
        Ok(Some(Tensor::from_vec(dx, x.shape(), x.device())?))
    }
}

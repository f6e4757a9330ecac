//! A frozen matrix as it lies in memory (f32, bf16, f16 or GGUF blocks) and its two products, computed in f32.
//!
//! ```text
//! forward   y = x Wᵀ      backward   dx = g W
//! ```
//! What is not f32 is widened a panel at a time into a buffer that fits the second-level cache, so the numbers are
//! those of the widened matrix and memory stays that of the stored one. A bf16 matrix goes through the processor's
//! tiles where it has them ([`tiles`](super::cpu::tiles)): in three parts for f32's numbers, in one for mixed precision.
use super::cpu::blocks::Blocks;
use super::cpu::matrix::{View, ViewMut, multiply};
use super::cpu::small_batch;
use super::cpu::source::{COLUMNS, Elements, Source, columns_mut, round};
use super::cpu::tiles::{self, Parts, Unit};
use super::cpu::workers::Threads;
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{CpuStorage, DType, Device, Result, Storage, Tensor, bail};
use rayon::prelude::*;
use std::borrow::Cow;
use std::sync::Arc;

/// f32 numbers of one widened panel: 512 KiB.
const PANEL: usize = 1 << 17;

/// `[n, k]`, or `[k]` for a norm.
#[derive(Clone, Debug)]
pub enum Weight {
    /// f32, bf16 or f16; the only kind that can learn (f32).
    Tensor(Tensor),
    /// Q8_0, Q4_K or Q6_K.
    Quantised(Arc<QTensor>),
    /// One of the others in mixed precision (Micikevicius et al. 2018): it and what it is multiplied with are rounded
    /// to bf16 for the product; sums are f32.
    Mixed(Arc<Weight>),
}

impl From<Tensor> for Weight {
    fn from(t: Tensor) -> Self {
        Self::Tensor(t)
    }
}

impl Weight {
    /// Blocks that we can widen stay as they are; others (Q4_0, Q5_K …) become bf16, which no GGUF kind of at most 6
    /// bits outruns in memory.
    pub fn quantised(t: QTensor) -> Result<Self> {
        match t.dtype() {
            GgmlDType::Q8_0 | GgmlDType::Q4K | GgmlDType::Q6K if t.rank() == 2 => Ok(Self::Quantised(Arc::new(t))),
            GgmlDType::F32 | GgmlDType::F16 | GgmlDType::BF16 => Ok(Self::Tensor(t.dequantize(&t.device())?)),
            _ if t.rank() == 2 => Ok(Self::Tensor(t.dequantize(&t.device())?.to_dtype(DType::BF16)?)),
            _ => Ok(Self::Tensor(t.dequantize(&t.device())?)),
        }
    }

    /// The same on `device`; an error for blocks on another device than the CPU, as only there are loops that widen
    /// them.
    pub fn to_device(self, device: &Device) -> Result<Self> {
        match self {
            Self::Tensor(t) => Ok(Self::Tensor(t.to_device(device)?)),
            Self::Mixed(w) => Ok(Self::Mixed(Arc::new(w.as_ref().clone().to_device(device)?))),
            Self::Quantised(q) if device.is_cpu() => Ok(Self::Quantised(q)),
            Self::Quantised(_) => bail!("blocks of a GGUF file are multiplied on the CPU only"),
        }
    }

    /// Where its numbers lie.
    pub fn device(&self) -> Device {
        match self {
            Self::Tensor(t) => t.device().clone(),
            Self::Quantised(q) => q.device(),
            Self::Mixed(weight) => weight.device(),
        }
    }

    /// (n, k)
    pub fn dims(&self) -> Result<(usize, usize)> {
        match self {
            Self::Tensor(t) => t.dims2(),
            Self::Quantised(q) => q.shape().dims2(),
            Self::Mixed(weight) => weight.dims(),
        }
    }

    /// This weight in mixed precision.
    pub fn mixed(self) -> Self {
        match self {
            Self::Mixed(_) => self,
            other => Self::Mixed(Arc::new(other)),
        }
    }

    /// As it is stored: `F32`, `BF16`, `Q8_0` …; `mixed BF16` in mixed precision.
    pub fn kind(&self) -> String {
        match self {
            Self::Tensor(t) => format!("{:?}", t.dtype()),
            Self::Mixed(weight) => format!("mixed {}", weight.kind()),
            Self::Quantised(q) => format!("{:?}", q.dtype()),
        }
    }

    /// The whole matrix in f32 (f64 stays).
    pub fn dense(&self) -> Result<Tensor> {
        match self {
            Self::Tensor(t) if t.dtype() == DType::F64 => Ok(t.clone()),
            Self::Tensor(t) => t.to_dtype(DType::F32),
            Self::Quantised(q) => q.dequantize(&q.device()),
            Self::Mixed(weight) => weight.dense(),
        }
    }

    /// True where the matrix itself is recorded for a gradient.
    pub fn learns(&self) -> bool {
        matches!(self, Self::Tensor(t) if t.track_op())
    }

    /// True when the products below apply.
    pub(super) fn has_loops(&self) -> bool {
        match self {
            Self::Mixed(weight) => weight.has_loops(),
            Self::Tensor(t) => {
                t.device().is_cpu() && matches!(t.dtype(), DType::F32 | DType::BF16 | DType::F16) && t.is_contiguous()
            }
            Self::Quantised(q) => q.device().is_cpu(),
        }
    }

    /// Rows `ids` in f32: [ids, k].
    pub fn rows(&self, ids: &[u32]) -> Result<Tensor> {
        let (_, k) = self.dims()?;
        let mut out = vec![0f32; ids.len() * k];
        self.with(|source| {
            for (row, &id) in out.chunks_exact_mut(k).zip(ids) {
                source.widen(id as usize..id as usize + 1, 0..k, row);
            }
        })?;
        Tensor::from_vec(out, (ids.len(), k), &self.device())
    }

    /// ‖w_i‖² of every row, summed in f64.
    pub fn row_squares(&self) -> Result<Vec<f64>> {
        let (n, k) = self.dims()?;
        let mut row = vec![0f32; k];
        let mut squares = Vec::with_capacity(n);
        self.with(|source| {
            for i in 0..n {
                source.widen(i..i + 1, 0..k, &mut row);
                squares.push(row.iter().map(|&w| w as f64 * w as f64).sum());
            }
        })?;
        Ok(squares)
    }

    /// `y` [tokens, n] = `x` [tokens, k] Wᵀ
    pub(super) fn forward(&self, x: &[f32], tokens: usize, y: &mut [f32]) -> Result<()> {
        let (n, k) = self.dims()?;
        if let Some((unit, parts)) = self.tiles() {
            return self.with(|source| tiles::forward(unit, &source, tokens, parts, x, y));
        }
        let x = &*self.rounded(x);
        self.with(|source| match source.as_f32() {
            _ if small_batch::takes(tokens) => small_batch::forward(&source, tokens, x, y),
            Some(w) => {
                let (x, w) = (View::new(x, tokens, k, k), View::new(w, n, k, k));
                multiply(ViewMut::new(y, tokens, n, n), x, w.t(), 1.0, false, Threads::All);
            }
            None => {
                let panel = (PANEL / k).clamp(1, n);
                let pieces = columns_mut(y, tokens, n, panel);
                pieces.into_par_iter().enumerate().for_each(|(i, mut columns)| {
                    let rows = i * panel..n.min((i + 1) * panel);
                    let mut wide = vec![0f32; rows.len() * k];
                    source.widen(rows.clone(), 0..k, &mut wide);
                    let mut out = vec![0f32; tokens * rows.len()];
                    let (x, w) = (View::new(x, tokens, k, k), View::new(&wide, rows.len(), k, k));
                    let dst = ViewMut::new(&mut out, tokens, rows.len(), rows.len());
                    multiply(dst, x, w.t(), 1.0, false, Threads::One);
                    columns
                        .iter_mut()
                        .zip(out.chunks_exact(rows.len()))
                        .for_each(|(to, from)| to.copy_from_slice(from));
                });
            }
        })
    }

    /// As `forward`, for several weights of the same input, in one loop over threads where they have a kernel that does
    /// so.
    pub(super) fn forward_each(weights: &[&Self], x: &[f32], tokens: usize, ys: &mut [&mut [f32]]) -> Result<()> {
        let mut ways = weights.iter().map(|w| (w.tiles(), matches!(w, Self::Mixed(_))));
        match ways.next().filter(|first| ways.all(|way| way == *first)) {
            Some((Some((unit, parts)), _)) => {
                Self::with_each(weights, &[], &mut |all| tiles::forward_each(unit, all, tokens, parts, x, ys))
            }
            Some((None, false)) if small_batch::takes(tokens) => {
                Self::with_each(weights, &[], &mut |all| small_batch::forward_each(all, tokens, x, ys))
            }
            _ => weights.iter().zip(ys).try_for_each(|(w, y)| w.forward(x, tokens, y)),
        }
    }

    /// As `with`, for those in `lent` and then some more.
    fn with_each(more: &[&Self], lent: &[Source], f: &mut dyn FnMut(&[Source])) -> Result<()> {
        let Some((next, more)) = more.split_first() else {
            f(lent);
            return Ok(());
        };
        next.with(|source| Self::with_each(more, &[lent, &[source]].concat(), f))?
    }

    /// `dx` [tokens, k] = `g` [tokens, n] W
    pub(super) fn backward(&self, g: &[f32], tokens: usize, dx: &mut [f32]) -> Result<()> {
        let (n, k) = self.dims()?;
        if let Some((unit, parts)) = self.tiles() {
            return self.with(|source| tiles::backward(unit, &source, [tokens, n, k], parts, g, dx));
        }
        let g = &*self.rounded(g);
        self.with(|source| {
            if let Some(w) = source.as_f32() {
                let (g, w) = (View::new(g, tokens, n, n), View::new(w, n, k, k));
                return multiply(ViewMut::new(dx, tokens, k, k), g, w, 1.0, false, Threads::All);
            }
            let pieces = columns_mut(dx, tokens, k, COLUMNS);
            pieces.into_par_iter().enumerate().for_each(|(i, mut columns)| {
                let cols = i * COLUMNS..k.min((i + 1) * COLUMNS);
                let step = PANEL / cols.len();
                let mut out = vec![0f32; tokens * cols.len()];
                let mut wide = vec![0f32; step.min(n) * cols.len()];
                for first in (0..n).step_by(step) {
                    let rows = first..n.min(first + step);
                    let wide = &mut wide[..rows.len() * cols.len()];
                    source.widen(rows.clone(), cols.clone(), wide);
                    let g = View::new(&g[first..], tokens, rows.len(), n);
                    let w = View::new(wide, rows.len(), cols.len(), cols.len());
                    let dst = ViewMut::new(&mut out, tokens, cols.len(), cols.len());
                    multiply(dst, g, w, 1.0, first > 0, Threads::One);
                }
                columns.iter_mut().zip(out.chunks_exact(cols.len())).for_each(|(to, from)| to.copy_from_slice(from));
            });
        })
    }

    /// The processor's unit for bf16 and the parts it takes, where it is the fastest way to this weight's products.
    fn tiles(&self) -> Option<(Unit, Parts)> {
        let unit = Unit::here()?;
        match self {
            Self::Mixed(_) => Some((unit, Parts::One)),
            Self::Tensor(t) if t.dtype() == DType::BF16 && unit.beats_f32_exactly() => Some((unit, Parts::Three)),
            _ => None,
        }
    }

    /// What a product takes in for `x`: in mixed precision the nearest bf16 numbers.
    fn rounded<'a>(&self, x: &'a [f32]) -> Cow<'a, [f32]> {
        match self {
            Self::Mixed(_) => {
                let mut x = x.to_vec();
                round(&mut x);
                x.into()
            }
            _ => x.into(),
        }
    }

    /// Lends the numbers as they are stored.
    pub(super) fn with<R>(&self, f: impl FnOnce(Source) -> R) -> Result<R> {
        let (mut stored, mut rounded) = (self, false);
        while let Self::Mixed(weight) = stored {
            (stored, rounded) = (weight, true);
        }
        match stored {
            Self::Tensor(t) => {
                let k = t.dim(candle_core::D::Minus1)?;
                let (storage, layout) = t.storage_and_layout();
                let Some((start, end)) = layout.contiguous_offsets() else { bail!("a contiguous weight is wanted") };
                let numbers = match &*storage {
                    Storage::Cpu(CpuStorage::F32(v)) => Elements::F32(&v[start..end]),
                    Storage::Cpu(CpuStorage::BF16(v)) => Elements::Bf16(&v[start..end]),
                    Storage::Cpu(CpuStorage::F16(v)) => Elements::F16(&v[start..end]),
                    _ => bail!("a weight of f32, bf16 or f16 on the cpu is wanted, this one is {:?}", t.dtype()),
                };
                Ok(f(Source { numbers, k, rounded }))
            }
            Self::Quantised(q) => {
                let (bytes, k) = (q.data()?, q.shape().dims2()?.1);
                Ok(f(Source { numbers: Elements::Blocks(Blocks::new(q.dtype(), &bytes)?), k, rounded }))
            }
            Self::Mixed(_) => bail!("mixed precision of mixed precision"),
        }
    }
}

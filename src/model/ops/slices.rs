//! From candle's tensors to f32 slices and back, for the operations that are written as loops.
use candle_core::{CpuStorage, DType, InplaceOp1, InplaceOp2, Layout, Result, Shape, Storage, Tensor, bail};
use parking_lot::RwLockReadGuard;
use rayon::prelude::*;
use std::mem::MaybeUninit;
use std::ops::{Deref, Range};

/// Rows that one task of a parallel loop takes.
pub const ROWS_A_TASK: usize = 64;

/// The numbers of a contiguous f32 operand of a custom operation.
pub fn operand<'a>(op: &str, storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(v), Some((start, end))) => Ok(&v[start..end]),
        (CpuStorage::F32(_), None) => bail!("{op}: a contiguous operand is wanted"),
        _ => bail!("{op}: an f32 operand is wanted"),
    }
}

/// Numbers below which zeroing on several threads costs more than it brings.
const ZEROED_ALONE: usize = 1 << 16;

/// `n` zeros, made on all threads.
pub fn zeros(n: usize) -> Vec<f32> {
    if n < ZEROED_ALONE {
        return vec![0f32; n];
    }
    let mut v = Vec::with_capacity(n);
    let zero = |part: &mut [MaybeUninit<f32>]| part.fill(MaybeUninit::new(0.0));
    v.spare_capacity_mut()[..n].par_chunks_mut(ZEROED_ALONE / 4).for_each(zero);
    // SAFETY: the capacity is at least n, and the first n numbers have just been written.
    unsafe { v.set_len(n) };
    v
}

/// True where a result may be written over `t`, which the caller gives away: `t` and `others` are f32 on the CPU, and no gradient will ask
/// what was there.
pub fn may_be_overwritten(t: &Tensor, others: &[&Tensor]) -> bool {
    let recorded = t.track_op() || others.iter().any(|t| t.track_op());
    !recorded && has_loops(&[t]) && has_loops(others) && t.is_contiguous() && others.iter().all(|t| t.is_contiguous())
}

/// Changes the numbers of `t`, which is contiguous, where they lie.
pub fn overwrite(op: &'static str, t: &Tensor, f: impl Fn(&mut [f32])) -> Result<()> {
    t.inplace_op1(&InPlace(op, f))
}

/// As [`overwrite`], with the numbers of another contiguous tensor beside.
pub fn overwrite_with(op: &'static str, t: &Tensor, other: &Tensor, f: impl Fn(&mut [f32], &[f32])) -> Result<()> {
    t.inplace_op2(other, &InPlace(op, f))
}

struct InPlace<F>(&'static str, F);

/// The numbers of a contiguous f32 tensor that is changed in place.
fn operand_mut<'a>(op: &str, storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(v), Some((start, end))) => Ok(&mut v[start..end]),
        _ => bail!("{op}: a contiguous f32 operand is wanted"),
    }
}

impl<F: Fn(&mut [f32])> InplaceOp1 for InPlace<F> {
    fn name(&self) -> &'static str {
        self.0
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        (self.1)(operand_mut(self.0, storage, layout)?);
        Ok(())
    }
}

impl<F: Fn(&mut [f32], &[f32])> InplaceOp2 for InPlace<F> {
    fn name(&self) -> &'static str {
        self.0
    }

    fn cpu_fwd(&self, t: &mut CpuStorage, lt: &Layout, other: &CpuStorage, lo: &Layout) -> Result<()> {
        (self.1)(operand_mut(self.0, t, lt)?, operand(self.0, other, lo)?);
        Ok(())
    }
}

pub fn result(v: Vec<f32>, shape: &Shape) -> (CpuStorage, Shape) {
    (CpuStorage::F32(v), shape.clone())
}

/// Rows of `width` numbers into rows of `row`, from column `at` on.
pub fn scatter_columns(from: &[f32], to: &mut [f32], row: usize, at: usize, width: usize) {
    for (i, part) in from.chunks_exact(width).enumerate() {
        to[i * row + at..][..width].copy_from_slice(part);
    }
}

/// A contiguous f32 tensor on the CPU, borrowed as a slice.
pub struct CpuSlice<'a> {
    storage: RwLockReadGuard<'a, Storage>,
    range: Range<usize>,
}

impl<'a> CpuSlice<'a> {
    pub fn of(t: &'a Tensor) -> Result<Self> {
        let (storage, layout) = t.storage_and_layout();
        let Some((start, end)) = layout.contiguous_offsets() else { bail!("a contiguous tensor is wanted") };
        match (&*storage, t.dtype()) {
            (Storage::Cpu(CpuStorage::F32(_)), DType::F32) => Ok(Self { storage, range: start..end }),
            _ => bail!("an f32 tensor on the cpu is wanted, this one is {:?} on {:?}", t.dtype(), t.device()),
        }
    }
}

impl Deref for CpuSlice<'_> {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(v)) => &v[self.range.clone()],
            _ => &[], // `of` admits nothing else
        }
    }
}

/// True when the operation's own loops apply; other devices and types take the naive twin.
pub fn has_loops(tensors: &[&Tensor]) -> bool {
    tensors.iter().all(|t| t.device().is_cpu() && t.dtype() == DType::F32)
}

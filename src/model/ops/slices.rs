//! From candle's tensors to f32 slices and back, for the operations that are written as loops.
use candle_core::{CpuStorage, DType, Layout, Result, Shape, Storage, Tensor, bail};
use parking_lot::RwLockReadGuard;
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

pub fn result(v: Vec<f32>, shape: &Shape) -> (CpuStorage, Shape) {
    (CpuStorage::F32(v), shape.clone())
}

/// A contiguous f32 tensor on the CPU, borrowed as a slice.
pub struct Numbers<'a> {
    storage: RwLockReadGuard<'a, Storage>,
    range: Range<usize>,
}

impl<'a> Numbers<'a> {
    pub fn of(t: &'a Tensor) -> Result<Self> {
        let (storage, layout) = t.storage_and_layout();
        let Some((start, end)) = layout.contiguous_offsets() else { bail!("a contiguous tensor is wanted") };
        match (&*storage, t.dtype()) {
            (Storage::Cpu(CpuStorage::F32(_)), DType::F32) => Ok(Self { storage, range: start..end }),
            _ => bail!("an f32 tensor on the cpu is wanted, this one is {:?} on {:?}", t.dtype(), t.device()),
        }
    }
}

impl Deref for Numbers<'_> {
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

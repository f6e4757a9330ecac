//! A frozen matrix as kernels read it: borrowed, as it lies in memory, widened or narrowed where a product needs it.
use super::blocks::Blocks;
use super::lanes::{dispatch, nearest};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use std::ops::Range;

/// Columns are cut at multiples of the longest block.
pub const COLUMNS: usize = 256;

/// A borrowed matrix with rows of `k` numbers.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    pub numbers: Elements<'a>,
    pub k: usize,
    /// Seen as the nearest bf16 numbers.
    pub rounded: bool,
}

#[derive(Clone, Copy)]
pub enum Elements<'a> {
    F32(&'a [f32]),
    Bf16(&'a [bf16]),
    F16(&'a [f16]),
    Blocks(Blocks<'a>),
}

impl<'a> Source<'a> {
    #[cfg(test)]
    pub fn f32(w: &'a [f32], k: usize) -> Self {
        Self { numbers: Elements::F32(w), k, rounded: false }
    }

    #[cfg(test)]
    pub fn bf16(w: &'a [bf16], k: usize) -> Self {
        Self { numbers: Elements::Bf16(w), k, rounded: false }
    }

    /// Numbers of a row.
    pub fn width(&self) -> usize {
        self.k
    }

    /// Some rows, where they are bf16 already.
    pub fn bf16_rows(&self, rows: Range<usize>) -> Option<&'a [bf16]> {
        match self.numbers {
            Elements::Bf16(w) => Some(&w[rows.start * self.k..rows.end * self.k]),
            _ => None,
        }
    }

    /// All numbers, where they are f32 already.
    pub fn as_f32(&self) -> Option<&'a [f32]> {
        match self.numbers {
            Elements::F32(w) if !self.rounded => Some(w),
            _ => None,
        }
    }

    /// Some rows, where they are f32 already.
    pub fn f32_rows(&self, rows: Range<usize>) -> Option<&'a [f32]> {
        self.as_f32().map(|w| &w[rows.start * self.k..rows.end * self.k])
    }

    /// `out` [rows, cols] in f32. Columns of quantised rows start and end between two blocks.
    pub fn widen(&self, rows: Range<usize>, cols: Range<usize>, out: &mut [f32]) {
        for (row, out) in rows.zip(out.chunks_exact_mut(cols.len())) {
            self.widen_from(row * self.k + cols.start, out);
            if self.rounded && !matches!(self.numbers, Elements::Bf16(_)) {
                round(out);
            }
        }
    }

    /// `out` [rows, cols] as the nearest bf16 numbers; columns as in `widen`.
    pub fn narrow(&self, rows: Range<usize>, cols: Range<usize>, out: &mut Vec<bf16>) {
        let mut wide = vec![0f32; cols.len()];
        out.resize(rows.len() * cols.len(), bf16::ZERO);
        for (row, out) in rows.zip(out.chunks_exact_mut(cols.len())) {
            self.widen_from(row * self.k + cols.start, &mut wide);
            narrow(&wide, out.reinterpret_cast_mut());
        }
    }

    /// One row as the nearest bf16 numbers, each 32 of them `step` after those before; what is left of `out` stays.
    pub fn narrow_row(&self, row: usize, out: &mut [u16], step: usize) {
        let at = row * self.k;
        if let Elements::Blocks(blocks) = &self.numbers
            && blocks.narrow(at, self.k, out, step)
        {
            return;
        }
        let mut wide = [0f32; COLUMNS];
        for (i, out) in out.chunks_mut(step * (COLUMNS / 32)).enumerate().take(self.k.div_ceil(COLUMNS)) {
            let wide = &mut wide[..COLUMNS.min(self.k - i * COLUMNS)];
            self.widen_from(at + i * COLUMNS, wide);
            wide.chunks(32).zip(out.chunks_mut(step)).for_each(|(wide, out)| narrow(wide, &mut out[..wide.len()]));
        }
    }

    /// The numbers from `at` on, as they are stored.
    fn widen_from(&self, at: usize, out: &mut [f32]) {
        let range = at..at + out.len();
        match &self.numbers {
            Elements::F32(w) => out.copy_from_slice(&w[range]),
            Elements::Bf16(w) => widen_bf16(&w[range], out),
            Elements::F16(w) => w[range].convert_to_f32_slice(out),
            Elements::Blocks(w) => w.widen(at, out),
        }
    }
}

dispatch! {
    /// Every number to the nearest bf16 number.
    pub fn round(numbers: &mut [f32]) {
        for v in numbers.iter_mut() {
            *v = f32::from_bits(nearest(*v) & 0xffff_0000);
        }
    }
}

dispatch! {
    fn narrow(from: &[f32], to: &mut [u16]) {
        let n = to.len();
        let from = &from[..n];
        for i in 0..n {
            to[i] = (nearest(from[i]) >> 16) as u16;
        }
    }
}

dispatch! {
    fn widen_bf16(from: &[bf16], to: &mut [f32]) {
        let n = to.len();
        let from = &from[..n];
        for i in 0..n {
            to[i] = f32::from_bits((from[i].to_bits() as u32) << 16);
        }
    }
}

/// Row-major `[rows, n]` cut into column panels: for every panel its piece of every row.
pub fn columns_mut(y: &mut [f32], rows: usize, n: usize, panel: usize) -> Vec<Vec<&mut [f32]>> {
    let mut pieces: Vec<Vec<&mut [f32]>> = (0..n.div_ceil(panel)).map(|_| Vec::with_capacity(rows)).collect();
    for row in y.chunks_exact_mut(n) {
        row.chunks_mut(panel).zip(&mut pieces).for_each(|(piece, all)| all.push(piece));
    }
    pieces
}

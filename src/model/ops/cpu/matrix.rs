//! Strided f32 matrices on slices and their product: the one place that calls `gemm`, or where it is faster the processor's tiles
//! ([`exact`]).
//!
//! A view checks its bounds when it is made, so that the product needs no further care: the assertions guard the one unsafe call, and
//! only an operation that gets its own shapes wrong could fail them (operands are checked, with errors, where they come in).
use super::tiles::exact::{self, Operand, Target};
use super::workers::Threads;
use gemm::Parallelism;
use std::time::Instant;

/// `rows × cols` numbers in a slice, element (i, j) at `i * row_stride + j * col_stride`.
#[derive(Clone, Copy)]
pub struct View<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

/// The writable twin of [`View`].
pub struct ViewMut<'a> {
    data: &'a mut [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
}

fn in_bounds(len: usize, rows: usize, cols: usize, row_stride: usize, col_stride: usize) -> bool {
    rows == 0 || cols == 0 || (rows - 1) * row_stride + (cols - 1) * col_stride < len
}

impl<'a> View<'a> {
    /// Rows of `cols` numbers, `row_stride` apart.
    pub fn new(data: &'a [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        assert!(in_bounds(data.len(), rows, cols, row_stride, 1), "{rows}x{cols} view of {} numbers", data.len());
        Self { data, rows, cols, row_stride, col_stride: 1 }
    }
    pub fn t(self) -> Self {
        Self { rows: self.cols, cols: self.rows, row_stride: self.col_stride, col_stride: self.row_stride, ..self }
    }
    pub fn rows(&self) -> usize {
        self.rows
    }
    /// Row `i` of a view that is not transposed.
    pub fn row(&self, i: usize) -> &'a [f32] {
        assert!(i < self.rows && self.col_stride == 1, "row {i} of {}", self.rows);
        &self.data[i * self.row_stride..][..self.cols]
    }
    /// As an operand whose rows (or else columns) are summed over. Views have neighbours side by side along one of their axes.
    fn summed_over(self, rows: bool) -> Operand<'a> {
        let this = if rows { self } else { self.t() };
        let along = this.col_stride == 1;
        let stride = if along { this.row_stride } else { this.col_stride };
        Operand { data: this.data, outer: this.rows, inner: this.cols, along, stride }
    }
    /// Rows `from` to `to`, without the last.
    pub fn row_range(self, from: usize, to: usize) -> Self {
        assert!(from <= to && to <= self.rows, "rows {from} to {to} of {}", self.rows);
        Self { data: &self.data[(from * self.row_stride).min(self.data.len())..], rows: to - from, ..self }
    }
}

impl<'a> ViewMut<'a> {
    pub fn new(data: &'a mut [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        assert!(in_bounds(data.len(), rows, cols, row_stride, 1), "{rows}x{cols} view of {} numbers", data.len());
        assert!(rows <= 1 || row_stride >= cols, "rows of a writable view overlap");
        Self { data, rows, cols, row_stride }
    }
}

/// `dst = scale · a b`, or `dst += scale · a b` with `add`.
pub fn multiply(dst: ViewMut, a: View, b: View, scale: f32, add: bool, threads: Threads) {
    assert_eq!((a.rows, a.cols, b.cols), (dst.rows, b.rows, dst.cols), "shapes of a product");
    if dst.rows == 0 || dst.cols == 0 {
        return;
    }
    if a.cols == 0 {
        if !add {
            (0..dst.rows).for_each(|i| dst.data[i * dst.row_stride..][..dst.cols].fill(0.0));
        }
        return;
    }
    if exact::pays([dst.rows, dst.cols, a.cols], b.row_stride == 1) {
        let target = Target { data: dst.data, rows: dst.rows, cols: dst.cols, stride: dst.row_stride };
        return exact::product(target, a.summed_over(true), b.summed_over(false), scale, add, threads);
    }
    let parallelism = match threads {
        Threads::One => Parallelism::None,
        Threads::All => Parallelism::Rayon(rayon::current_num_threads()),
    };
    // SAFETY: every view was checked to lie inside its slice, the writable one has no overlapping rows and is borrowed
    // mutably, so it shares no memory with the other two.
    unsafe {
        gemm::gemm(
            dst.rows,
            dst.cols,
            a.cols,
            dst.data.as_mut_ptr(),
            1,
            dst.row_stride as isize,
            add,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            1.0,
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// The best of `times` products of `size`³ on all threads, in GFLOP/s: what this machine gives at most, now.
pub fn peak_gflops(size: usize, times: usize) -> f64 {
    let a: Vec<f32> = (0..size * size).map(|i| (i % 61) as f32 * 0.03).collect();
    let mut y = vec![0f32; size * size];
    let mut seconds = f64::INFINITY;
    for _ in 0..times {
        let started = Instant::now();
        let (a, b) = (View::new(&a, size, size, size), View::new(&a, size, size, size).t());
        multiply(ViewMut::new(&mut y, size, size, size), a, b, 1.0, false, Threads::All);
        seconds = seconds.min(started.elapsed().as_secs_f64());
    }
    std::hint::black_box(&y);
    2.0 * (size as f64).powi(3) / seconds / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn product_of_strided_and_transposed_views_agrees_with_the_triple_loop() {
        let a: Vec<f32> = (0..40).map(|i| (i as f32 * 0.7).sin()).collect();
        let b: Vec<f32> = (0..60).map(|i| (i as f32 * 0.3).cos()).collect();
        // a: 4x5 in rows of 8; b: transposed 6x5 in rows of 7
        let mut got = vec![1.0; 4 * 6];
        multiply(
            ViewMut::new(&mut got, 4, 6, 6),
            View::new(&a, 4, 5, 8),
            View::new(&b, 6, 5, 7).t(),
            0.5,
            true,
            Threads::One,
        );
        for i in 0..4 {
            for j in 0..6 {
                let want: f32 = 1.0 + 0.5 * (0..5).map(|k| a[i * 8 + k] * b[j * 7 + k]).sum::<f32>();
                assert!((got[i * 6 + j] - want).abs() < 1e-5, "{i},{j}: {} {want}", got[i * 6 + j]);
            }
        }
    }

    #[test]
    #[should_panic(expected = "view of")]
    fn a_view_past_the_end_is_refused() {
        View::new(&[0.0; 10], 3, 4, 4);
    }
}

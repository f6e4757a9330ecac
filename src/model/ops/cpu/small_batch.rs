//! y = x Wᵀ for a few rows of x, as decoding asks for: W is read once and never copied (a general product would pack it first).
use super::lanes::dispatch;
use super::source::{Source, columns_mut};
use super::workers::{each, is_by_row};
use half::bf16;

/// Whether a product of so many rows of x takes the way of this file.
pub fn takes(tokens: usize) -> bool {
    tokens <= MOST || is_by_row()
}

/// Rows of x up to which this is faster than the general product (`benches/operations.rs`).
const MOST: usize = 16;
/// Rows of W that one kernel call takes.
const ROWS: usize = 4;
/// Multiplications below which a second thread costs more than it brings.
const ALONE: usize = 1 << 16;

/// `x` [tokens, k], W [n, k] → `y` [tokens, n].
pub fn forward(w: &Source, tokens: usize, x: &[f32], y: &mut [f32]) {
    forward_each(&[*w], tokens, x, &mut [y]);
}

/// The same for several W with rows of the same length, whose rows the threads share.
pub fn forward_each(ws: &[Source], tokens: usize, x: &[f32], ys: &mut [&mut [f32]]) {
    if tokens == 0 {
        return;
    }
    let work: usize = ws.iter().zip(ys.iter()).map(|(w, y)| y.len() * w.width()).sum();
    let tasks = (work / ALONE).clamp(1, rayon::current_num_threads());
    let mut shares: Vec<Vec<Share>> = (0..tasks).map(|_| Vec::with_capacity(ws.len())).collect();
    for (w, y) in ws.iter().zip(ys) {
        let n = y.len() / tokens;
        let rows = n.div_ceil(tasks).next_multiple_of(ROWS);
        for (i, out) in columns_mut(y, tokens, n, rows).into_iter().enumerate() {
            shares[i].push(Share { w: *w, first: i * rows, out });
        }
    }
    each(&mut shares, |_, shares| shares.iter_mut().for_each(|share| share.fill(x)));
}

/// Some rows of a W, and where their products go: of every token its piece.
struct Share<'a> {
    w: Source<'a>,
    first: usize,
    out: Vec<&'a mut [f32]>,
}

impl Share<'_> {
    fn fill(&mut self, x: &[f32]) {
        let (k, rows) = (self.w.width(), self.first..self.first + self.out[0].len());
        if let Some(w) = self.w.f32_rows(rows.clone()) {
            return strided_dots(w, k, x, k, &mut self.out);
        }
        if let Some(w) = self.w.bf16_rows(rows.clone()) {
            let count = rows.len();
            return (0..count).step_by(ROWS).for_each(|row| bf16_dots(&w[row * k..], k, x, &mut self.out, row));
        }
        let mut wide = vec![0f32; ROWS * k];
        for row in rows.clone().step_by(ROWS) {
            let these = row..rows.end.min(row + ROWS);
            let wide = &mut wide[..these.len() * k];
            self.w.widen(these, 0..k, wide);
            dots(wide, k, x, k, &mut self.out, row - rows.start);
        }
    }
}

/// Inner products of rows of `w`, `stride` apart, with all rows of `x` [tokens, k]: `out` has a row of them for every token.
pub fn strided_dots(w: &[f32], stride: usize, x: &[f32], k: usize, out: &mut [&mut [f32]]) {
    let rows = out.first().map_or(0, |out| out.len());
    (0..rows).step_by(ROWS).for_each(|row| dots(&w[row * stride..], stride, x, k, out, row));
}

/// Up to four rows of W, as many as `out` has room for from `at` on.
fn dots(w: &[f32], stride: usize, x: &[f32], k: usize, out: &mut [&mut [f32]], at: usize) {
    #[cfg(target_arch = "x86_64")]
    if let (Some(kernel), true) = (kernel(), out[0].len() >= at + ROWS) {
        // SAFETY: `kernel` has asked the processor for the instructions; lengths are checked inside.
        return unsafe { kernel(w, stride, x, k, out, at) };
    }
    plain(w, stride, x, k, out, at);
}

/// As [`dots`], of rows in bf16 that lie behind one another: widened in registers, so that memory is read once and the sums are those of the
/// widened rows.
fn bf16_dots(w: &[bf16], k: usize, x: &[f32], out: &mut [&mut [f32]], at: usize) {
    #[cfg(target_arch = "x86_64")]
    if let (Some(kernel), true) = (bf16_kernel(), out[0].len() >= at + ROWS) {
        // SAFETY: `bf16_kernel` has asked the processor for the instructions; lengths are checked inside.
        return unsafe { kernel(w, k, x, k, out, at) };
    }
    let rows = ROWS.min(out[0].len() - at);
    let wide: Vec<f32> = w[..rows * k].iter().map(|w| w.to_f32()).collect();
    plain(&wide, k, x, k, out, at);
}

/// Inner products of `ROWS` rows of W, in numbers of the type `N`, with all rows of x; the arguments of [`dots`].
#[cfg(target_arch = "x86_64")]
type Kernel<N> = unsafe fn(&[N], usize, &[f32], usize, &mut [&mut [f32]], usize);

/// The kernel for the widest vectors that this processor has.
#[cfg(target_arch = "x86_64")]
fn kernel() -> Option<Kernel<f32>> {
    if is_x86_feature_detected!("avx512f") {
        return Some(avx512::dots);
    }
    (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(avx2::dots as Kernel<f32>)
}

/// The same for bf16.
#[cfg(target_arch = "x86_64")]
fn bf16_kernel() -> Option<Kernel<bf16>> {
    if is_x86_feature_detected!("avx512f") {
        return Some(avx512::bf16_dots);
    }
    (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(avx2::bf16_dots as Kernel<bf16>)
}

dispatch! {
    fn plain(w: &[f32], stride: usize, x: &[f32], k: usize, out: &mut [&mut [f32]], at: usize) {
        for (x, out) in x.chunks_exact(k).zip(out) {
            for (w, out) in w.chunks(stride).zip(out[at..].iter_mut().take(ROWS)) {
                *out = super::lanes::sum_by(k, |i| w[i] * x[i]);
            }
        }
    }
}

/// Numbers between asking memory for one and using it.
#[cfg(target_arch = "x86_64")]
const AHEAD: usize = 1024;

/// The same in whole kernel calls of rows that are `stride` apart; none where W (`len` numbers) ends before, as a widened buffer does.
#[cfg(target_arch = "x86_64")]
fn ahead(len: usize, stride: usize) -> Option<usize> {
    let soon = (AHEAD / stride.max(1)).max(1).next_multiple_of(ROWS) * stride;
    (soon < len).then_some(soon)
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use super::{ROWS, ahead};
    use half::bf16;
    use std::arch::x86_64::*;

    /// `$dots` and its `$block` for rows of `$number`: `$whole` loads sixteen of them as f32, `$part` as many as the mask has.
    macro_rules! kernel {
        ($dots:ident, $block:ident, $number:ty, $whole:expr, $part:expr) => {
            /// Four rows of W at a time against four, two or one rows of x: 16 sums of 16 lanes stay in registers.
            #[target_feature(enable = "avx512f")]
            pub fn $dots(w: &[$number], stride: usize, x: &[f32], k: usize, out: &mut [&mut [f32]], at: usize) {
                let tokens = x.len() / k;
                // guards the loads below; only a wrong caller in this room could fail it
                assert!(w.len() >= (ROWS - 1) * stride + k && x.len() == tokens * k && out.len() == tokens);
                let (mut t, soon) = (0, ahead(w.len(), stride));
                while t < tokens {
                    t += match tokens - t {
                        4.. => $block::<4>((w, stride, soon), x, k, &mut out[t..], (t, at)),
                        2..4 => $block::<2>((w, stride, soon), x, k, &mut out[t..], (t, at)),
                        _ => $block::<1>((w, stride, soon), x, k, &mut out[t..], (t, at)),
                    };
                }
            }

            /// `T` rows of x from row `t` on; returns `T`.
            #[inline]
            #[target_feature(enable = "avx512f")]
            fn $block<const T: usize>(
                (w, stride, soon): (&[$number], usize, Option<usize>),
                x: &[f32],
                k: usize,
                out: &mut [&mut [f32]],
                (t, at): (usize, usize),
            ) -> usize {
                let mut sums = [[_mm512_setzero_ps(); T]; ROWS];
                let mut i = 0;
                while i < k {
                    let mask: __mmask16 = if k - i >= 16 { !0 } else { (1 << (k - i)) - 1 };
                    // SAFETY: `dots` has checked the lengths; the mask keeps the last load inside the row.
                    let load =
                        |from: &[f32], at: usize| unsafe { _mm512_maskz_loadu_ps(mask, from.as_ptr().add(at + i)) };
                    let xs: [__m512; T] = std::array::from_fn(|j| load(x, (t + j) * k));
                    for (r, sums) in sums.iter_mut().enumerate() {
                        // SAFETY: as above.
                        let place = unsafe { w.as_ptr().add(r * stride + i) };
                        if let Some(soon) = soon.filter(|_| t == 0) {
                            // the same place of rows that come soon; only a hint, so it may lie past the end
                            _mm_prefetch::<_MM_HINT_T0>(place.wrapping_add(soon).cast());
                        }
                        // SAFETY: as above.
                        let w: __m512 = unsafe { if mask == !0 { $whole(place) } else { $part(place, mask) } };
                        for (sum, x) in sums.iter_mut().zip(&xs) {
                            *sum = _mm512_fmadd_ps(w, *x, *sum);
                        }
                    }
                    i += 16;
                }
                for (t, out) in out.iter_mut().take(T).enumerate() {
                    out[at..at + ROWS].copy_from_slice(&lane_sums(sums.each_ref().map(|row| row[t])));
                }
                T
            }
        };
    }

    kernel!(dots, block, f32, |place: *const f32| _mm512_loadu_ps(place), |place: *const f32, mask: __mmask16| {
        _mm512_maskz_loadu_ps(mask, place)
    });
    kernel!(
        bf16_dots,
        bf16_block,
        bf16,
        |place: *const bf16| widened(_mm256_loadu_si256(place.cast())),
        |place: *const bf16, mask: __mmask16| {
            let mut numbers = [bf16::ZERO; 16];
            std::ptr::copy_nonoverlapping(place, numbers.as_mut_ptr(), mask.count_ones() as usize);
            widened(_mm256_loadu_si256(numbers.as_ptr().cast()))
        }
    );

    /// Sixteen bf16 numbers as f32.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn widened(bits: __m256i) -> __m512 {
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(bits)))
    }

    /// The sum of the 16 lanes of each of four vectors: lanes are folded for all of them together.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn lane_sums(v: [__m512; 4]) -> [f32; 4] {
        let pair = |a, b| _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
        let (low, high) = (pair(v[0], v[1]), pair(v[2], v[3]));
        // every 128-bit part now has the four vectors' sums of its own four lanes
        let all =
            _mm512_add_ps(_mm512_shuffle_ps::<0b01_00_01_00>(low, high), _mm512_shuffle_ps::<0b11_10_11_10>(low, high));
        let halves = _mm256_add_ps(
            _mm512_castps512_ps256(all),
            _mm512_castps512_ps256(_mm512_shuffle_f32x4::<0b11_10_11_10>(all, all)),
        );
        let sum = _mm_add_ps(_mm256_castps256_ps128(halves), _mm256_extractf128_ps::<1>(halves));
        let mut out = [0f32; 4];
        // SAFETY: four numbers go into an array of four.
        unsafe { _mm_storeu_ps(out.as_mut_ptr(), sum) };
        out
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::{ROWS, ahead};
    use half::bf16;
    use std::arch::x86_64::*;

    const LANES: usize = 8;

    /// `$dots` and its `$block` for rows of `$number`: `$load` loads eight of them as f32, `$one` makes f32 of one.
    macro_rules! kernel {
        ($dots:ident, $block:ident, $number:ty, $load:expr, $one:expr) => {
            /// Four rows of W at a time against three, two or one rows of x: 12 sums of 8 lanes, and what they are made of, fill the 16 registers.
            #[target_feature(enable = "avx2,fma")]
            pub fn $dots(w: &[$number], stride: usize, x: &[f32], k: usize, out: &mut [&mut [f32]], at: usize) {
                let tokens = x.len() / k;
                // guards the loads below; only a wrong caller in this room could fail it
                assert!(w.len() >= (ROWS - 1) * stride + k && x.len() == tokens * k && out.len() == tokens);
                let (mut t, soon) = (0, ahead(w.len(), stride));
                while t < tokens {
                    t += match tokens - t {
                        1 => $block::<1>((w, stride, soon), x, k, &mut out[t..], (t, at)),
                        2 | 4 => $block::<2>((w, stride, soon), x, k, &mut out[t..], (t, at)),
                        _ => $block::<3>((w, stride, soon), x, k, &mut out[t..], (t, at)),
                    };
                }
            }

            /// `T` rows of x from row `t` on; returns `T`.
            #[inline]
            #[target_feature(enable = "avx2,fma")]
            fn $block<const T: usize>(
                (w, stride, soon): (&[$number], usize, Option<usize>),
                x: &[f32],
                k: usize,
                out: &mut [&mut [f32]],
                (t, at): (usize, usize),
            ) -> usize {
                let mut sums = [[_mm256_setzero_ps(); T]; ROWS];
                let whole = k / LANES * LANES;
                for i in (0..whole).step_by(LANES) {
                    // SAFETY: `dots` has checked the lengths, and i + 8 ≤ k.
                    let load = |from: &[f32], at: usize| unsafe { _mm256_loadu_ps(from.as_ptr().add(at + i)) };
                    let xs: [__m256; T] = std::array::from_fn(|j| load(x, (t + j) * k));
                    for (r, sums) in sums.iter_mut().enumerate() {
                        // SAFETY: as above.
                        let place = unsafe { w.as_ptr().add(r * stride + i) };
                        if let Some(soon) = soon.filter(|_| t == 0 && i % (2 * LANES) == 0) {
                            // the same place of rows that come soon, a cache line at a time; only a hint, so it may lie past the end
                            _mm_prefetch::<_MM_HINT_T0>(place.wrapping_add(soon).cast());
                        }
                        // SAFETY: as above.
                        let w: __m256 = unsafe { $load(place) };
                        for (sum, x) in sums.iter_mut().zip(&xs) {
                            *sum = _mm256_fmadd_ps(w, *x, *sum);
                        }
                    }
                }
                for (r, sums) in sums.iter().enumerate() {
                    for (j, &sum) in sums.iter().enumerate() {
                        let rest = (whole..k).map(|i| $one(w[r * stride + i]) * x[(t + j) * k + i]).sum::<f32>();
                        out[j][at + r] = lane_sum(sum) + rest;
                    }
                }
                T
            }
        };
    }

    kernel!(dots, block, f32, |place: *const f32| _mm256_loadu_ps(place), |one: f32| one);
    kernel!(
        bf16_dots,
        bf16_block,
        bf16,
        |place: *const bf16| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(_mm_loadu_si128(
            place.cast()
        )))),
        |one: bf16| one.to_f32()
    );

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn lane_sum(v: __m256) -> f32 {
        let four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn every_kernel_that_this_processor_runs_agrees_with_the_plain_loop() {
        let mut kernels: Vec<(&str, Kernel<f32>, Kernel<bf16>)> = Vec::new();
        if is_x86_feature_detected!("avx512f") {
            kernels.push(("avx512", avx512::dots, avx512::bf16_dots));
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            kernels.push(("avx2", avx2::dots, avx2::bf16_dots));
        }
        for (name, kernel, bf16_kernel) in kernels {
            for (tokens, k, stride) in [(1, 1, 1), (2, 8, 9), (3, 17, 17), (4, 31, 40), (5, 64, 64), (9, 100, 128)] {
                let x: Vec<f32> = (0..tokens * k).map(|i| (i as f32 * 0.7).sin()).collect();
                let w: Vec<f32> = (0..ROWS * stride).map(|i| (i as f32 * 0.3).cos()).collect();
                let (mut got, mut want) = (vec![9f32; 9 * tokens], vec![9f32; 9 * tokens]);
                // SAFETY: only kernels whose instructions the processor has are in the list.
                unsafe { kernel(&w, stride, &x, k, &mut got.chunks_mut(9).collect::<Vec<_>>(), 3) };
                plain(&w, stride, &x, k, &mut want.chunks_mut(9).collect::<Vec<_>>(), 3);
                let worst = got.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
                assert!(worst < 1e-4, "{name}: {tokens} rows of {k}: {worst}");
                // bf16 widened in registers gives the bits of the widened rows
                let narrow: Vec<bf16> = w.iter().map(|&w| bf16::from_f32(w)).collect();
                let wide: Vec<f32> = narrow.iter().map(|w| w.to_f32()).collect();
                // SAFETY: as above.
                unsafe { kernel(&wide, stride, &x, k, &mut want.chunks_mut(9).collect::<Vec<_>>(), 3) };
                unsafe { bf16_kernel(&narrow, stride, &x, k, &mut got.chunks_mut(9).collect::<Vec<_>>(), 3) };
                let bits = |sums: &[f32]| sums.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&got), bits(&want), "{name}: {tokens} rows of {k}");
            }
        }
    }

    #[test]
    fn few_rows_agree_with_the_triple_loop_for_every_shape() {
        for (tokens, n, k) in [(1, 1, 1), (1, 5, 16), (3, 4, 17), (7, 130, 48), (16, 9, 33), (8, 512, 256)] {
            let x: Vec<f32> = (0..tokens * k).map(|i| (i as f32 * 0.7).sin()).collect();
            let w: Vec<f32> = (0..n * k).map(|i| (i as f32 * 0.3).cos()).collect();
            let mut y = vec![0f32; tokens * n];
            forward(&Source::f32(&w, k), tokens, &x, &mut y);
            for t in 0..tokens {
                for j in 0..n {
                    let want: f64 = (0..k).map(|i| x[t * k + i] as f64 * w[j * k + i] as f64).sum();
                    assert!((y[t * n + j] as f64 - want).abs() < 1e-4, "{tokens} {n} {k} at {t},{j}");
                }
            }
        }
    }
}

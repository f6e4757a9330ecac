//! AVX512-BF16: every lane adds two products of bf16 to its sum; the left operand's pair goes to all lanes.
//!
//! With few columns on the right most of those lanes would be idle. [`few`] therefore turns a tile of the left operand in registers, so that the
//! lanes are its rows and the pair that goes to all of them is the right operand's; with up to one block of them it leaves the second out.
//! Every sum is made in the same order, so its bits are the same.
#[cfg(target_arch = "x86_64")]
use super::pack::{turn, turned};
use super::{SIDE, Side, Sums};

pub fn present() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx512bf16") && is_x86_feature_detected!("avx512f");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Sums of sixteen lanes that stay in registers.
#[cfg(target_arch = "x86_64")]
const KEPT: usize = 16;

/// # Safety
/// Where [`present`]; every side covers `steps` tiles of every part.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512bf16,avx512f")]
pub unsafe fn block(a: [Side; 2], b: [Side; 2], [steps, parts]: [usize; 2], out: &mut Sums) {
    for (a, out) in a.iter().zip(&mut out.0) {
        // SAFETY: promised by the caller.
        unsafe {
            rows::<{ KEPT / 2 }, 2>(*a, 0, b, [steps, parts], out);
            rows::<{ KEPT / 2 }, 2>(*a, KEPT / 2, b, [steps, parts], out);
        }
    }
}

/// Sums of `R` rows of one left block, from row `first` on, with `C` right blocks.
///
/// # Safety
/// As `block`.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512bf16,avx512f")]
unsafe fn rows<const R: usize, const C: usize>(
    a: Side,
    first: usize,
    b: [Side; C],
    [steps, parts]: [usize; 2],
    out: &mut [[f32; SIDE * SIDE]; 2],
) {
    use std::arch::x86_64::*;
    let mut sums = [[_mm512_setzero_ps(); C]; R];
    for step in 0..steps {
        for part in 0..parts {
            // SAFETY: row < 16 and pair < 16 lie in the tile of this step and part.
            unsafe {
                let start = |side: &Side| side.start.add(step * side.step + part * side.part);
                let (left, right) = (start(&a).add(first * a.row), b.each_ref().map(start));
                for pair in 0..SIDE {
                    let columns: [__m512bh; C] = std::array::from_fn(|i| {
                        std::mem::transmute(_mm512_loadu_si512(right[i].add(pair * b[i].row).cast()))
                    });
                    for (row, sums) in sums.iter_mut().enumerate() {
                        let two = left.add(row * a.row + 2 * pair).cast::<i32>().read_unaligned();
                        let two: __m512bh = std::mem::transmute(_mm512_set1_epi32(two));
                        for (sum, columns) in sums.iter_mut().zip(columns) {
                            *sum = _mm512_dpbf16_ps(*sum, two, columns);
                        }
                    }
                }
            }
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        for (out, &sum) in out.iter_mut().zip(sums) {
            let at = (first + row) * SIDE;
            // SAFETY: sixteen numbers from `at` on; first + row < 16.
            unsafe { _mm512_storeu_ps(out[at..at + SIDE].as_mut_ptr(), sum) };
        }
    }
}

/// Columns of the right operand up to which [`few`] takes less time than [`block`].
pub const FEW: usize = SIDE;
/// Those up to which the left operand is turned.
#[cfg(target_arch = "x86_64")]
const TURNED: usize = 8;

/// The sums of the first `columns` columns of a right block, up to [`FEW`], as [left block][0][column][row of the left block]. From `soon` on
/// lies what is read next.
///
/// # Safety
/// As [`block`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512bf16,avx512f")]
pub unsafe fn few(a: [Side; 2], b: Side, columns: usize, shape: [usize; 2], soon: Option<*const u16>, out: &mut Sums) {
    for (half, (a, out)) in a.into_iter().zip(&mut out.0).enumerate() {
        let soon = soon.map(|from| from.wrapping_add(half * TILE));
        // SAFETY: promised by the caller; a tile has sixteen columns.
        unsafe {
            match columns {
                0..=1 => turned_rows::<1>(a, b, shape, soon, &mut out[0]),
                2 => turned_rows::<2>(a, b, shape, soon, &mut out[0]),
                3..=4 => turned_rows::<4>(a, b, shape, soon, &mut out[0]),
                5..=TURNED => turned_rows::<TURNED>(a, b, shape, soon, &mut out[0]),
                _ => {
                    rows::<KEPT, 1>(a, 0, [b], shape, out);
                    turn(&mut out[0]);
                }
            }
        }
    }
}

/// Numbers of a tile, and of a line of the cache.
#[cfg(target_arch = "x86_64")]
const TILE: usize = SIDE * super::STEP;
#[cfg(target_arch = "x86_64")]
const LINE: usize = 32;

/// Sums of `T` columns of the right block with the sixteen rows of a left one.
///
/// # Safety
/// As `block`.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512bf16,avx512f")]
unsafe fn turned_rows<const T: usize>(
    a: Side,
    b: Side,
    [steps, parts]: [usize; 2],
    soon: Option<*const u16>,
    out: &mut [f32; SIDE * SIDE],
) {
    use std::arch::x86_64::*;
    let mut sums = [_mm512_setzero_ps(); T];
    for step in 0..steps {
        if let Some(from) = soon {
            for line in 0..TILE / LINE {
                // only a hint, so it may lie past the end
                _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(2 * step * TILE + line * LINE).cast());
            }
        }
        for part in 0..parts {
            // SAFETY: row < 16, pair < 16 and t < 16 lie in the tile of this step and part.
            unsafe {
                let start = |side: &Side| side.start.add(step * side.step + part * side.part);
                let (left, right) = (start(&a), start(&b));
                let pairs = turned(std::array::from_fn(|row| _mm512_loadu_ps(left.add(row * a.row).cast())));
                for (pair, rows) in pairs.into_iter().enumerate() {
                    let rows: __m512bh = std::mem::transmute(rows);
                    for (t, sum) in sums.iter_mut().enumerate() {
                        let two = right.add(pair * b.row + 2 * t).cast::<i32>().read_unaligned();
                        let two: __m512bh = std::mem::transmute(_mm512_set1_epi32(two));
                        *sum = _mm512_dpbf16_ps(*sum, rows, two);
                    }
                }
            }
        }
    }
    for (sum, out) in sums.iter().zip(out.chunks_exact_mut(SIDE)) {
        // SAFETY: sixteen numbers.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), *sum) };
    }
}

/// # Safety
/// None is needed: there is no such unit here, and nothing makes one.
#[cfg(not(target_arch = "x86_64"))]
pub unsafe fn few(_: [Side; 2], _: Side, _: usize, _: [usize; 2], _: Option<*const u16>, _: &mut Sums) {
    unreachable!("AVX-512 on another processor")
}

/// # Safety
/// None is needed: there is no such unit here, and nothing makes one.
#[cfg(not(target_arch = "x86_64"))]
pub unsafe fn block(_: [Side; 2], _: [Side; 2], _: [usize; 2], _: &mut Sums) {
    unreachable!("AVX-512 on another processor")
}

//! AVX512-BF16: every lane adds two products of bf16 to its sum; the left operand's pair goes to all lanes.
use super::{SIDE, Side, Sums};

pub fn present() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx512bf16") && is_x86_feature_detected!("avx512f");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Rows of the left operand whose sums stay in registers, with two blocks of columns.
#[cfg(target_arch = "x86_64")]
const ROWS: usize = 8;

/// # Safety
/// Where [`present`]; every side covers `steps` tiles of every part.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512bf16,avx512f")]
pub unsafe fn block(a: [Side; 2], b: [Side; 2], [steps, parts]: [usize; 2], out: &mut Sums) {
    for (a, out) in a.iter().zip(&mut out.0) {
        for first in (0..SIDE).step_by(ROWS) {
            // SAFETY: promised by the caller.
            unsafe { rows(*a, first, b, [steps, parts], out) };
        }
    }
}

/// Sums of `ROWS` rows of one left block.
///
/// # Safety
/// As `block`.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512bf16,avx512f")]
unsafe fn rows(a: Side, first: usize, b: [Side; 2], [steps, parts]: [usize; 2], out: &mut [[f32; SIDE * SIDE]; 2]) {
    use std::arch::x86_64::*;
    let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
    for step in 0..steps {
        for part in 0..parts {
            // SAFETY: row < 16 and pair < 16 lie in the tile of this step and part.
            unsafe {
                let start = |side: &Side| side.start.add(step * side.step + part * side.part);
                let (left, right) = (start(&a).add(first * a.row), [start(&b[0]), start(&b[1])]);
                for pair in 0..SIDE {
                    let columns: [__m512bh; 2] =
                        [0, 1].map(|i| std::mem::transmute(_mm512_loadu_si512(right[i].add(pair * b[i].row).cast())));
                    for (row, sums) in sums.iter_mut().enumerate() {
                        let two = left.add(row * a.row + 2 * pair).cast::<i32>().read_unaligned();
                        let two: __m512bh = std::mem::transmute(_mm512_set1_epi32(two));
                        sums[0] = _mm512_dpbf16_ps(sums[0], two, columns[0]);
                        sums[1] = _mm512_dpbf16_ps(sums[1], two, columns[1]);
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

/// # Safety
/// None is needed: there is no such unit here, and nothing makes one.
#[cfg(not(target_arch = "x86_64"))]
pub unsafe fn block(_: [Side; 2], _: [Side; 2], _: [usize; 2], _: &mut Sums) {
    unreachable!("AVX-512 on another processor")
}

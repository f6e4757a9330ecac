//! From rows of numbers to tiles.
use super::{Parts, SIDE, STEP, STRETCH, Side};
use crate::model::ops::cpu::lanes::dispatch;
use crate::model::ops::cpu::lanes::nearest;
use crate::model::ops::cpu::source::Source;
use half::bf16;
use rayon::prelude::*;
use std::cell::Cell;
use std::ops::Range;
use std::thread::LocalKey;

/// 16 rows of 32 numbers, or 16 rows of 16 pairs.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct Tile([u16; SIDE * STEP]);

impl Tile {
    pub const ZERO: Self = Self([0; SIDE * STEP]);
}

/// Tiles that this thread goes on using: a step packs thousands of panels, and clearing them anew would take as long as the products.
pub struct Kept {
    tiles: Vec<Tile>,
    home: &'static LocalKey<Cell<Vec<Tile>>>,
}

thread_local!(static OF_W: Cell<Vec<Tile>> = const { Cell::new(Vec::new()) });
thread_local!(static OF_X: Cell<Vec<Tile>> = const { Cell::new(Vec::new()) });

impl Kept {
    /// For a panel of W, which one task packs and uses.
    pub fn of_w() -> Self {
        Self { tiles: OF_W.take(), home: &OF_W }
    }

    /// For x or g, which the tasks share.
    pub fn of_x() -> Self {
        Self { tiles: OF_X.take(), home: &OF_X }
    }

    /// The first `n`, with whatever they had.
    pub fn first(&mut self, n: usize) -> &mut [Tile] {
        if self.tiles.len() < n {
            self.tiles.resize(n, Tile::ZERO);
        }
        &mut self.tiles[..n]
    }

    /// Tiles from number `at` on, `parts` of them a step.
    pub fn side(&self, at: usize, parts: usize) -> Side {
        Side {
            start: self.tiles[at].0.as_ptr(),
            row: STEP,
            step: parts * SIDE * STEP,
            part: if parts > 1 { SIDE * STEP } else { 0 },
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.home.set(std::mem::take(&mut self.tiles));
    }
}

/// A matrix of f32 as tiles of bf16 parts, in blocks of 16 rows: [block][step][part]. Past its last column is zero; past its last row is what was
/// there: sums of it are nobody's.
pub struct Packed {
    tiles: Kept,
    pub rows: usize,
    /// Tiles along a row.
    steps: usize,
    parts: usize,
}

impl Packed {
    /// `x` [rows, cols], with `turned` as right operand: pairs of columns by rows.
    pub fn of(x: &[f32], [rows, cols]: [usize; 2], parts: Parts, turned: bool) -> Self {
        let (steps, parts) = (cols.div_ceil(STEP), parts as usize);
        let mut tiles = Kept::of_x();
        let all = tiles.first(rows.div_ceil(SIDE) * steps * parts);
        if cols > 0 {
            all.par_chunks_mut(steps * parts).zip(x.par_chunks(SIDE * cols)).for_each(|(tiles, rows)| {
                for (i, row) in rows.chunks_exact(cols).enumerate() {
                    cut(row, parts, &mut numbers_of(tiles)[i * STEP..]);
                }
                if turned {
                    tiles.iter_mut().for_each(|tile| turn(words_of(tile)));
                }
            });
        }
        Self { tiles, rows, steps, parts }
    }

    /// Blocks of 16 rows.
    pub fn blocks(&self) -> usize {
        self.rows.div_ceil(SIDE)
    }

    /// One block from a step on; the last block again where there is none.
    pub fn side(&self, block: usize, from: usize) -> Side {
        let at = (block.min(self.blocks() - 1) * self.steps + from) * self.parts;
        self.tiles.side(at, self.parts)
    }
}

/// Some rows of W [n, k] as left tiles: [block of 16 rows][step]. Rows past the last of the blocks are what `tiles` had there: their sums
/// are nobody's.
pub fn rows_of(w: &Source, rows: Range<usize>, tiles: &mut Kept) {
    let (k, steps) = (w.width(), w.width().div_ceil(STEP));
    let tiles = tiles.first(rows.len().div_ceil(SIDE) * steps);
    if k % STEP != 0 {
        tiles.chunks_exact_mut(steps).for_each(|block| block[steps - 1] = Tile::ZERO);
    }
    for (i, row) in rows.enumerate() {
        let (block, i) = (i / SIDE, i % SIDE);
        let tiles = &mut numbers_of(&mut tiles[block * steps..(block + 1) * steps])[i * STEP..];
        match w.bf16_rows(row..row + 1) {
            Some(numbers) => spread(bits(numbers), tiles),
            None => w.narrow_row(row, tiles, SIDE * STEP),
        }
    }
}

/// The numbers of some tiles, one tile after the other.
pub fn numbers_of(tiles: &mut [Tile]) -> &mut [u16] {
    // SAFETY: a tile is 512 numbers without a gap, and has at least the alignment of one.
    unsafe { std::slice::from_raw_parts_mut(tiles.as_mut_ptr().cast(), tiles.len() * SIDE * STEP) }
}

/// The pairs of some tiles, one tile after the other; the first number of a pair is the lower half.
pub fn pairs_of(tiles: &mut [Tile]) -> &mut [u32] {
    // SAFETY: a tile is 256 pairs without a gap, and has at least the alignment of one.
    unsafe { std::slice::from_raw_parts_mut(tiles.as_mut_ptr().cast(), tiles.len() * SIDE * SIDE) }
}

/// Rows of W [n, k] at columns `first` to `first + width`, as right tiles: pairs of rows by columns, [block of 16 columns][step]. Columns past the
/// last are what `tiles` had there: their sums are nobody's.
pub fn columns_of(rows: &[bf16], k: usize, first: usize, width: usize, tiles: &mut Kept) {
    let (n, blocks) = (rows.len() / k, width.div_ceil(SIDE));
    let steps = n.div_ceil(STEP);
    let tiles = tiles.first(blocks * steps);
    if n % STEP != 0 {
        tiles.chunks_exact_mut(steps).for_each(|block| block[steps - 1] = Tile::ZERO);
    }
    let none = vec![bf16::ZERO; width];
    for (pair, two) in rows.chunks(2 * k).enumerate() {
        let even = bits(&two[first..first + width]);
        let odd = bits(if two.len() > k { &two[k + first..k + first + width] } else { &none });
        let to = &mut pairs_of(&mut tiles[pair / SIDE..])[pair % SIDE * SIDE..];
        interleave(even, odd, to, steps * SIDE * SIDE);
    }
}

fn bits(numbers: &[bf16]) -> &[u16] {
    use half::slice::HalfFloatSliceExt;
    numbers.reinterpret_cast()
}

/// A tile as 16 × 16 words of a pair each.
pub fn words_of(tile: &mut Tile) -> &mut [f32; SIDE * SIDE] {
    // SAFETY: a tile is 1,024 bytes, aligned to 64; every pattern of bits is a valid f32, and `turn` only moves them.
    unsafe { &mut *(&raw mut *tile).cast() }
}

dispatch! {
    /// A row as bf16 parts, the first row of `tiles` (each 512 numbers): every part is the nearest to what those before it left.
    fn cut(row: &[f32], parts: usize, tiles: &mut [u16]) {
        for (numbers, tiles) in row.chunks(STEP).zip(tiles.chunks_mut(parts * SIDE * STEP)) {
            let mut rest = [0f32; STEP];
            rest[..numbers.len()].copy_from_slice(numbers);
            for tile in tiles.chunks_mut(SIDE * STEP) {
                let part = &mut tile[..STEP];
                for i in 0..STEP {
                    let nearest = nearest(rest[i]) >> 16;
                    part[i] = nearest as u16;
                    rest[i] -= f32::from_bits(nearest << 16);
                }
            }
        }
    }
}

dispatch! {
    /// A row, 32 numbers at a time to the first row of a tile.
    fn spread(row: &[u16], tiles: &mut [u16]) {
        for (from, to) in row.chunks(STEP).zip(tiles.chunks_mut(SIDE * STEP)) {
            match (<&[u16; STEP]>::try_from(from), to.first_chunk_mut::<STEP>()) {
                (Ok(from), Some(to)) => *to = *from,
                _ => to[..from.len()].copy_from_slice(from),
            }
        }
    }
}

dispatch! {
    /// Pairs of two rows, 16 of them at a time to places that lie `apart`.
    fn interleave(even: &[u16], odd: &[u16], to: &mut [u32], apart: usize) {
        for ((even, odd), to) in even.chunks(SIDE).zip(odd.chunks(SIDE)).zip(to.chunks_mut(apart)) {
            match (<&[u16; SIDE]>::try_from(even), <&[u16; SIDE]>::try_from(odd), to.first_chunk_mut::<SIDE>()) {
                (Ok(even), Ok(odd), Some(to)) => {
                    for i in 0..SIDE {
                        to[i] = even[i] as u32 | (odd[i] as u32) << 16;
                    }
                }
                _ => {
                    for (i, (even, odd)) in even.iter().zip(odd).enumerate() {
                        to[i] = *even as u32 | (*odd as u32) << 16;
                    }
                }
            }
        }
    }
}

/// Rows and columns of 16 × 16 words exchanged.
pub fn turn(words: &mut [f32; SIDE * SIDE]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the processor has just said that it has these instructions.
        return unsafe { turn_avx512(words) };
    }
    for i in 0..SIDE {
        for j in 0..i {
            words.swap(i * SIDE + j, j * SIDE + i);
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn turn_avx512(words: &mut [f32; SIDE * SIDE]) {
    use std::arch::x86_64::*;
    // SAFETY: sixteen rows of sixteen words.
    let columns = turned(std::array::from_fn(|i| unsafe { _mm512_loadu_ps(words.as_ptr().add(i * SIDE)) }));
    for (i, column) in columns.into_iter().enumerate() {
        // SAFETY: as above.
        unsafe { _mm512_storeu_ps(words.as_mut_ptr().add(i * SIDE), column) };
    }
}

/// The columns of sixteen rows of sixteen words.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f")]
pub fn turned(r: [std::arch::x86_64::__m512; SIDE]) -> [std::arch::x86_64::__m512; SIDE] {
    use std::arch::x86_64::*;
    let pairs = |low: bool, i: usize| {
        let (a, b) = (r[2 * i], r[2 * i + 1]);
        _mm512_castps_pd(if low { _mm512_unpacklo_ps(a, b) } else { _mm512_unpackhi_ps(a, b) })
    };
    // [group of four rows][column modulo four]: every 128-bit part holds one column of the four rows
    let fours: [[__m512; 4]; 4] = std::array::from_fn(|g| {
        std::array::from_fn(|j| {
            let (a, b) = (pairs(j < 2, 2 * g), pairs(j < 2, 2 * g + 1));
            _mm512_castpd_ps(if j % 2 == 0 { _mm512_unpacklo_pd(a, b) } else { _mm512_unpackhi_pd(a, b) })
        })
    });
    let mut columns = [_mm512_setzero_ps(); SIDE];
    for j in 0..4 {
        let [a, b, c, d] = [fours[0][j], fours[1][j], fours[2][j], fours[3][j]];
        let even = (_mm512_shuffle_f32x4::<0b10_00_10_00>(a, b), _mm512_shuffle_f32x4::<0b10_00_10_00>(c, d));
        let odd = (_mm512_shuffle_f32x4::<0b11_01_11_01>(a, b), _mm512_shuffle_f32x4::<0b11_01_11_01>(c, d));
        columns[j] = _mm512_shuffle_f32x4::<0b10_00_10_00>(even.0, even.1);
        columns[4 + j] = _mm512_shuffle_f32x4::<0b10_00_10_00>(odd.0, odd.1);
        columns[8 + j] = _mm512_shuffle_f32x4::<0b11_01_11_01>(even.0, even.1);
        columns[12 + j] = _mm512_shuffle_f32x4::<0b11_01_11_01>(odd.0, odd.1);
    }
    columns
}

/// Stretches of a sum over `steps` tiles: (first, count).
pub fn stretches(steps: usize) -> impl Iterator<Item = (usize, usize)> {
    let most = STRETCH / STEP;
    (0..steps).step_by(most).map(move |from| (from, most.min(steps - from)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_parts_add_up_to_the_number_bit_for_bit() {
        let numbers: Vec<f32> =
            (0..4096u32).map(|i| f32::from_bits(0x2000_0000 + i.wrapping_mul(2_654_435_761) % 0x2800_0000)).collect();
        for chunk in numbers.chunks_exact(32) {
            let mut tiles = vec![0u16; 3 * SIDE * STEP];
            cut(chunk, 3, &mut tiles);
            let mut sum = [0f64; 32];
            for part in tiles.chunks(SIDE * STEP) {
                sum.iter_mut().zip(part).for_each(|(sum, p)| *sum += bf16::from_bits(*p).to_f64());
            }
            assert_eq!(sum.map(|s| s as f32), chunk);
        }
    }

    #[test]
    fn one_part_is_the_nearest_bf16_and_what_is_not_a_number_stays() {
        let numbers = [1.0, -3.17, 1e-30, f32::NAN, f32::from_bits(0x7fff_ffff), f32::INFINITY, 1.003_906_3, 0.0];
        let before: [f32; 32] = std::array::from_fn(|i| numbers[i % numbers.len()]);
        let mut part = [0u16; 32];
        cut(&before, 1, &mut part);
        for (part, number) in part.iter().zip(before) {
            let (got, want) = (bf16::from_bits(*part), bf16::from_f32(number));
            assert!(got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(), "{number}: {got} {want}");
        }
    }

    #[test]
    fn turning_exchanges_rows_and_columns() {
        let mut words: [f32; 256] = std::array::from_fn(|i| i as f32);
        turn(&mut words);
        assert!((0..256).all(|i| words[i] == (i % 16 * 16 + i / 16) as f32));
    }
}

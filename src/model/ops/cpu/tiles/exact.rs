//! Products of two f32 matrices on AMX's tiles, as exact as f32's own.
//!
//! Both operands are cut into three bf16 parts that add up to them bit for bit, the largest first; of the nine products of a part with
//! a part, the six of the largest are summed in f32 (the scheme of Henry, Tang and Heinecke 2019, "Leveraging the bfloat16 artificial
//! intelligence datatype for higher-precision computations", §III). What is left out is at most 2⁻²³ of a term and mostly far less, as
//! is what f32 rounds off. Six multiplications take the place of one, on a unit that does sixteen times as many.
//!
//! The smaller operand is cut once and shared; the larger is cut by panels that stay in the second-level cache, one task each.
use super::amx;
use super::pack::{Kept, Tile, numbers_of, pairs_of, turn, words_of};
use super::{SIDE, STEP, Side, Unit};
use crate::model::ops::cpu::lanes::dispatch;
use crate::model::ops::cpu::workers::Threads;
use rayon::prelude::*;
use std::ops::Range;

const PARTS: usize = 3;
/// Longest stretch of a sum, in steps, that is made without touching the result.
const STRETCH: usize = 24;
/// Bytes of a panel: it is to stay in the second-level cache, which is 2 MiB wherever there are tiles.
const PANEL: usize = 1280 << 10;
/// Bytes of the shared operand that are cut at a time.
const SHARED: usize = 8 << 20;
/// Multiplications below which cutting the operands takes longer than it saves (`benches/operations.rs`).
const LEAST: usize = 6 << 20;

/// `outer` sums' worth of `inner` numbers each.
#[derive(Clone, Copy)]
pub struct Operand<'a> {
    pub data: &'a [f32],
    pub outer: usize,
    pub inner: usize,
    /// True where the numbers of a sum lie side by side; else those of the same place in all sums do.
    pub along: bool,
    /// From one run of numbers that lie side by side to the next.
    pub stride: usize,
}

/// A result [rows, cols] whose rows are `stride` apart.
pub struct Target<'a> {
    pub data: &'a mut [f32],
    pub rows: usize,
    pub cols: usize,
    pub stride: usize,
}

/// True where [`product`] is there and faster than `gemm`: every number of an operand has to meet enough numbers of the other to pay
/// for being cut, and fewer where b's sums are `along` its memory, which `gemm` has to pack too. A sum shorter than a step is padded.
pub fn pays([rows, cols, inner]: [usize; 3], along: bool) -> bool {
    if rows * cols * inner < LEAST || inner < STEP {
        return false;
    }
    let meets = rows * cols / (rows + cols);
    meets >= if along { 30 } else { 128 } && Unit::here() == Some(Unit::Amx)
}

/// `dst = scale · a bᵀ`, or `dst += …` with `add`, for `a` with rows of sums and `b` with columns of sums.
///
/// Panics on a processor without tiles, which [`pays`] has said no to.
pub fn product(dst: Target, a: Operand, b: Operand, scale: f32, add: bool, threads: Threads) {
    assert!(Unit::here() == Some(Unit::Amx) && a.inner == b.inner, "a product on tiles");
    let across = b.outer >= a.outer;
    let (shared, split) = if across { (a, b) } else { (b, a) };
    let steps = a.inner.div_ceil(STEP);
    let stretch = steps.div_ceil(steps.div_ceil(STRETCH));
    let panel = panel(split.outer, stretch, threads);
    let panels: Vec<Range<usize>> =
        (0..split.outer).step_by(panel).map(|from| from..split.outer.min(from + panel)).collect();
    let blocks = shared.outer.div_ceil(SIDE);
    let span = (SHARED / (blocks * stretch * PARTS * size_of::<Tile>())).max(1) * stretch;
    let (out, mut tiles) = (Out::new(dst, scale), Kept::of_x());
    for first in (0..steps).step_by(span) {
        let here = first..steps.min(first + span);
        cut_shared(&shared, here.clone(), !across, tiles.first(blocks * here.len() * PARTS), threads);
        let shared = Shared { tiles: &tiles, blocks, steps: here, left: across, add };
        let task = |panel: &Range<usize>| shared.meet(&split, panel.clone(), stretch, &out);
        match threads {
            Threads::One => panels.iter().for_each(task),
            Threads::All => panels.par_iter().for_each(task),
        }
    }
}

/// Sums that a panel takes: what the cache holds, but a share for every thread; whole pairs of blocks.
fn panel(outer: usize, stretch: usize, threads: Threads) -> usize {
    let most = PANEL / (stretch * PARTS * size_of::<Tile>()) * SIDE;
    let tasks = match threads {
        Threads::One => outer.div_ceil(most),
        Threads::All => outer.div_ceil(most).next_multiple_of(rayon::current_num_threads()),
    };
    outer.div_ceil(tasks).next_multiple_of(2 * SIDE)
}

/// The operand that all panels meet, cut, at some steps of its sums.
struct Shared<'a> {
    tiles: &'a Kept,
    blocks: usize,
    steps: Range<usize>,
    left: bool,
    /// To what the result holds.
    add: bool,
}

impl Shared<'_> {
    /// Multiplies a panel of the other operand, the sums `outer`, with all of this.
    fn meet(&self, other: &Operand, outer: Range<usize>, stretch: usize, out: &Out) {
        let _session = amx::Session::open(Unit::Amx);
        let (mut panel, blocks) = (Kept::of_w(), outer.len().div_ceil(SIDE));
        for from in self.steps.clone().step_by(stretch) {
            let steps = from..self.steps.end.min(from + stretch);
            let (count, since) = (steps.len(), from - self.steps.start);
            cut(other, outer.clone(), steps, self.left, panel.first(blocks * count * PARTS));
            for mine in (0..self.blocks).step_by(2) {
                let ours = [mine, (mine + 1).min(self.blocks - 1)]
                    .map(|block| self.tiles.side((block * self.steps.len() + since) * PARTS, PARTS));
                for its in (0..blocks).step_by(2) {
                    let theirs = [its, (its + 1).min(blocks - 1)].map(|block| panel.side(block * count * PARTS, PARTS));
                    let (mine, its) = (mine * SIDE, outer.start + its * SIDE);
                    let (place, left, right) =
                        if self.left { ([mine, its], ours, theirs) } else { ([its, mine], theirs, ours) };
                    // SAFETY: there is a session; the sides cover `count` tiles of three parts (`Kept::side`); panels do not overlap.
                    unsafe { out.put(place, left, right, count, self.add || from > 0) };
                }
            }
        }
    }
}

/// All of an operand at some steps: [block][step][part].
fn cut_shared(op: &Operand, steps: Range<usize>, right: bool, tiles: &mut [Tile], threads: Threads) {
    /// Sums of a task.
    const SUMS: usize = 8 * SIDE;
    let each = SUMS / SIDE * steps.len() * PARTS;
    let task =
        |(i, tiles): (usize, &mut [Tile])| cut(op, i * SUMS..op.outer.min((i + 1) * SUMS), steps.clone(), right, tiles);
    match threads {
        Threads::One => tiles.chunks_mut(each).enumerate().for_each(task),
        Threads::All => tiles.par_chunks_mut(each).enumerate().for_each(task),
    }
}

/// Some sums of an operand at some steps as tiles, [block][step][part], for the `right` or the left side of a product. Past the end of a
/// sum is zero; past the last sum is what `tiles` had there, and nobody's.
fn cut(op: &Operand, outer: Range<usize>, steps: Range<usize>, right: bool, tiles: &mut [Tile]) {
    let (inner, block) = (steps.start * STEP..op.inner.min(steps.end * STEP), steps.len() * PARTS);
    if op.along {
        for (i, sum) in outer.enumerate() {
            let numbers = &op.data[sum * op.stride..][inner.clone()];
            cut_row(numbers, &mut numbers_of(&mut tiles[i / SIDE * block..][..block])[i % SIDE * STEP..]);
        }
    } else {
        if inner.len() % STEP != 0 {
            tiles.chunks_exact_mut(block).for_each(|tiles| tiles[block - PARTS..].fill(Tile::ZERO));
        }
        let row = |j: usize| &op.data[j * op.stride..][outer.clone()];
        let none = vec![0f32; if inner.len() % 2 == 0 { 0 } else { outer.len() }];
        for (pair, j) in inner.clone().step_by(2).enumerate() {
            let odd = if j + 1 < inner.end { row(j + 1) } else { &none };
            let to = &mut pairs_of(&mut tiles[pair / SIDE * PARTS..])[pair % SIDE * SIDE..];
            cut_pairs(row(j), odd, to, block * SIDE * SIDE);
        }
    }
    if op.along == right {
        tiles.iter_mut().for_each(|tile| turn(words_of(tile)));
    }
}

/// The nearest bf16 number (away from zero between two), in the upper half, and what it leaves.
#[inline(always)]
fn part(x: f32) -> (u32, f32) {
    let part = x.to_bits().wrapping_add(0x8000) & 0xffff_0000;
    (part, x - f32::from_bits(part))
}

/// The three parts of a number, each in the upper half. The last is exact: 24 bits less twice 8, as the signs take what rounding adds.
#[inline(always)]
fn parts(x: f32) -> [u32; PARTS] {
    let (high, rest) = part(x);
    let (mid, rest) = part(rest);
    [high, mid, rest.to_bits()]
}

// Loops, not iterators' methods: those are compiled by themselves, without the vector unit that `dispatch` asks for.
dispatch! {
    /// A row as three parts, the first row of `tiles` (each 512 numbers).
    fn cut_row(row: &[f32], tiles: &mut [u16]) {
        for (numbers, tiles) in row.chunks(STEP).zip(tiles.chunks_mut(PARTS * SIDE * STEP)) {
            match <&[f32; STEP]>::try_from(numbers) {
                Ok(numbers) => cut_step(numbers, tiles),
                Err(_) => cut_step(&padded(numbers), tiles),
            }
        }
    }
}

/// The first row of three tiles.
#[inline(always)]
fn cut_step(numbers: &[f32; STEP], tiles: &mut [u16]) {
    let (high, rest) = tiles.split_at_mut(SIDE * STEP);
    let (mid, low) = rest.split_at_mut(SIDE * STEP);
    let (high, mid, low) = (&mut high[..STEP], &mut mid[..STEP], &mut low[..STEP]);
    for i in 0..STEP {
        let parts = parts(numbers[i]);
        high[i] = (parts[0] >> 16) as u16;
        mid[i] = (parts[1] >> 16) as u16;
        low[i] = (parts[2] >> 16) as u16;
    }
}

dispatch! {
    /// Pairs of two rows as three parts: 16 pairs at a time to the first row of tiles that lie `apart`, those of the parts side by side.
    fn cut_pairs(even: &[f32], odd: &[f32], tiles: &mut [u32], apart: usize) {
        for ((even, odd), tiles) in even.chunks(SIDE).zip(odd.chunks(SIDE)).zip(tiles.chunks_mut(apart)) {
            match (<&[f32; SIDE]>::try_from(even), <&[f32; SIDE]>::try_from(odd)) {
                (Ok(even), Ok(odd)) => cut_pair(even, odd, tiles),
                _ => cut_pair(&padded(even), &padded(odd), tiles),
            }
        }
    }
}

/// The first row of three tiles of pairs.
#[inline(always)]
fn cut_pair(even: &[f32; SIDE], odd: &[f32; SIDE], tiles: &mut [u32]) {
    let (high, rest) = tiles.split_at_mut(SIDE * SIDE);
    let (mid, low) = rest.split_at_mut(SIDE * SIDE);
    let (high, mid, low) = (&mut high[..SIDE], &mut mid[..SIDE], &mut low[..SIDE]);
    for i in 0..SIDE {
        let (even, odd) = (parts(even[i]), parts(odd[i]));
        high[i] = even[0] >> 16 | odd[0] & 0xffff_0000;
        mid[i] = even[1] >> 16 | odd[1] & 0xffff_0000;
        low[i] = even[2] >> 16 | odd[2] & 0xffff_0000;
    }
}

#[inline(always)]
fn padded<const N: usize>(numbers: &[f32]) -> [f32; N] {
    let mut all = [0f32; N];
    all[..numbers.len()].copy_from_slice(numbers);
    all
}

/// A result that tasks write blocks of, each its own.
struct Out {
    start: *mut f32,
    rows: usize,
    cols: usize,
    stride: usize,
    scale: f32,
}

// SAFETY: no two tasks of a product write the same block, and f32 may be sent.
unsafe impl Sync for Out {}

impl Out {
    fn new(dst: Target, scale: f32) -> Self {
        let Target { data, rows, cols, stride } = dst;
        assert!(
            cols <= stride && (rows * cols == 0 || (rows - 1) * stride + cols <= data.len()),
            "a result in its slice"
        );
        Self { start: data.as_mut_ptr(), rows, cols, stride, scale }
    }

    /// Writes the product of two blocks by two from `row` and `col` on, or adds it.
    ///
    /// # Safety
    /// In a session; the sides cover `steps` tiles of three parts; no other thread writes this block.
    unsafe fn put(&self, [row, col]: [usize; 2], left: [Side; 2], right: [Side; 2], steps: usize, add: bool) {
        let (height, width) = ((self.rows - row).min(BLOCK), (self.cols - col).min(BLOCK));
        // SAFETY: promised by the caller; row and column lie inside the result, of which `new` has checked the bounds.
        unsafe {
            let first = self.start.add(row * self.stride + col);
            if height == BLOCK && width == BLOCK && self.scale == 1.0 && !add {
                return amx::exact(left, right, steps, first, self.stride);
            }
            let mut sums = Block([0.0; BLOCK * BLOCK]);
            amx::exact(left, right, steps, sums.0.as_mut_ptr(), BLOCK);
            for (i, sums) in sums.0.chunks_exact(BLOCK).take(height).enumerate() {
                let line = std::slice::from_raw_parts_mut(first.add(i * self.stride), width);
                put_row(line, sums, self.scale, add);
            }
        }
    }
}

/// Rows and columns that are made at a time.
const BLOCK: usize = 2 * SIDE;

#[repr(C, align(64))]
struct Block([f32; BLOCK * BLOCK]);

dispatch! {
    fn put_row(line: &mut [f32], sums: &[f32], scale: f32, add: bool) {
        let n = line.len();
        let sums = &sums[..n];
        for i in 0..n {
            line[i] = scale * sums[i] + if add { line[i] } else { 0.0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(n: usize, by: f32) -> Vec<f32> {
        (1..=n).map(|i| (i as f32 * by).sin() * (1.0 + (i % 7) as f32)).collect()
    }

    /// Operands of every form on whole and ragged shapes, one of them longer than a stretch; nothing on a processor without tiles.
    fn on_all_forms(check: impl Fn([usize; 3], Operand, Operand)) {
        if Unit::here() != Some(Unit::Amx) {
            return;
        }
        for [rows, cols, inner] in [[1, 1, 1], [32, 32, 32], [17, 33, 31], [70, 96, 64], [5, 130, 50], [200, 20, 1601]]
        {
            let (a, b) = (noise(rows * inner, 0.7), noise(cols * inner, 0.31));
            for [left, right] in [[true, true], [true, false], [false, true], [false, false]] {
                let operand = |data, outer, along| {
                    let stride = if along { inner } else { outer };
                    Operand { data, outer, inner, along, stride }
                };
                check([rows, cols, inner], operand(&a, rows, left), operand(&b, cols, right));
            }
        }
    }

    fn at(op: &Operand, outer: usize, inner: usize) -> f64 {
        let (i, j) = if op.along { (outer, inner) } else { (inner, outer) };
        op.data[i * op.stride + j] as f64
    }

    #[test]
    fn products_are_as_close_to_those_of_f64_as_f32_is() {
        on_all_forms(|[rows, cols, inner], a, b| {
            let apart = cols + 3;
            // a scale of one without adding goes from the tiles straight to the result
            for (threads, scale, add) in
                [(Threads::All, 1.0, false), (Threads::All, 0.5, false), (Threads::One, 0.5, true)]
            {
                let mut got = vec![2.0; rows * apart];
                product(Target { data: &mut got, rows, cols, stride: apart }, a, b, scale, add, threads);
                let (mut worst, mut largest) = (0f64, 0f64);
                for (i, row) in got.chunks(apart).enumerate() {
                    assert_eq!(row[cols..], [2.0; 3], "between two rows");
                    for (j, &got) in row[..cols].iter().enumerate() {
                        let sum: f64 = (0..inner).map(|p| at(&a, i, p) * at(&b, j, p)).sum();
                        let want = if add { 2.0 } else { 0.0 } + scale as f64 * sum;
                        worst = worst.max((got as f64 - want).abs());
                        largest = largest.max(want.abs());
                    }
                }
                assert!(worst <= 1e-6 * largest, "{rows}x{inner}x{cols}, {threads:?}: {}", worst / largest);
            }
        });
    }

    #[test]
    fn sums_are_the_same_on_one_thread_and_on_all() {
        on_all_forms(|[rows, cols, _], a, b| {
            let [one, all] = [Threads::One, Threads::All].map(|threads| {
                let mut y = vec![0.0; rows * cols];
                product(Target { data: &mut y, rows, cols, stride: cols }, a, b, 1.0, false, threads);
                y
            });
            assert_eq!(one, all);
        });
    }

    #[test]
    fn three_parts_add_up_to_the_number_bit_for_bit() {
        for i in 0..100_000u32 {
            let x = f32::from_bits(0x2000_0000 + i.wrapping_mul(2_654_435_761) % 0x3000_0000);
            let parts = parts(x);
            assert_eq!(parts[2] & 0xffff, 0, "the last part of {x} has bits below bf16's");
            assert_eq!(parts.iter().map(|&part| f32::from_bits(part) as f64).sum::<f64>(), x as f64);
        }
    }

    #[test]
    fn what_is_not_finite_stays_so() {
        on_all_forms(|[rows, cols, inner], a, b| {
            for bad in [f32::NAN, f32::INFINITY, f32::from_bits(0x7fff_ffff)] {
                let mut data = a.data.to_vec();
                data[if a.along { a.stride * (rows - 1) } else { rows - 1 }] = bad;
                let mut y = vec![0.0; rows * cols];
                product(
                    Target { data: &mut y, rows, cols, stride: cols },
                    Operand { data: &data, ..a },
                    b,
                    1.0,
                    false,
                    Threads::One,
                );
                let (sound, last) = y.split_at((rows - 1) * cols);
                assert!(last.iter().all(|y| !y.is_finite()), "{bad} in {rows}x{inner}x{cols}");
                assert!(sound.iter().all(|y| y.is_finite()));
            }
        });
    }
}

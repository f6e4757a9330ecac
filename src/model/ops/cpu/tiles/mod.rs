//! Products with a matrix in bf16 on a processor's own units for bf16 (AMX's tiles, else AVX-512's dot products), summed in f32:
//!
//! ```text
//! forward   y = x Wᵀ      backward   dx = g W          W [n, k] in bf16, x [tokens, k] and g [tokens, n] in f32
//! ```
//! The f32 side is cut into bf16 parts first. With [`Parts::One`] it is rounded, as in mixed-precision training (Micikevicius et al.
//! 2018). With [`Parts::Three`] the parts add up to it bit for bit (3 · 8 bits of mantissa are f32's 24), so the product is that of
//! f32, as W is exact in bf16 already: three times the multiplications, on a unit that does them many times as fast. A W that is not
//! in bf16 (quantised blocks) is rounded as it is packed, which only mixed precision asks for.
//!
//! A tile is 16 rows of 32 numbers. The right operand of a tile product wants them in pairs, [16 pairs][16 columns][2]: for `forward` that
//! is x, packed once, while W is read as it lies; for `backward` it is a panel of W, packed while it is in the cache.
//!
//! Where neither side is in bf16, [`exact`] cuts both.
mod amx;
mod dot;
pub mod exact;
mod pack;

use super::source::{COLUMNS, Source, columns_mut};
use super::workers::each;
use half::bf16;
use pack::{Kept, Packed, stretches};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::OnceLock;

/// Rows and columns of a tile product.
const SIDE: usize = 16;
/// Products that one tile product adds to each of its sums.
const STEP: usize = 32;
/// Longest stretch of a sum that is made without touching the result, so that both operands stay in the second-level cache.
const STRETCH: usize = 1024;
/// Bytes of each operand that are to stay in the second-level cache.
const CACHE: usize = 512 << 10;
/// Tokens up to which W is read as it lies: packing it would cost more than it brings.
const FEW: usize = 64;

/// Into how many bf16 numbers one of f32 is cut.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Parts {
    One = 1,
    Three = 3,
}

/// What multiplies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unit {
    /// AMX-BF16: 16 × 16 sums of 32 products an instruction.
    Amx,
    /// AVX512-BF16: 16 sums of two products an instruction.
    Dot,
}

impl Unit {
    /// The best unit of this processor that the system lets us use.
    pub fn here() -> Option<Self> {
        static HERE: OnceLock<Option<Unit>> = OnceLock::new();
        *HERE.get_or_init(|| Self::all().into_iter().next())
    }

    /// Every unit of this processor, the fastest first.
    fn all() -> Vec<Self> {
        let have = [(Self::Amx, amx::granted()), (Self::Dot, dot::present())];
        have.into_iter().filter(|(_, there)| *there).map(|(unit, _)| unit).collect()
    }

    /// True where three parts here are faster than f32's own multiplications.
    pub fn beats_f32_exactly(self) -> bool {
        self == Self::Amx
    }

    /// Adds up tile products for two row blocks and two column blocks: [row block][column block][16][16]. From `soon` on lies what is
    /// read as it lies next.
    fn block(self, a: [Side; 2], b: [Side; 2], [steps, parts]: [usize; 2], soon: Option<*const u16>, out: &mut Sums) {
        // SAFETY: a unit is only made where its instructions are there; a side covers `steps` tiles of every part (`Side`).
        unsafe {
            match self {
                Self::Amx => amx::block(a, b, [steps, parts], soon, out),
                Self::Dot => dot::block(a, b, [steps, parts], out),
            }
        }
    }

    /// The same for the first `columns` of the right columns, turned: [left block][0][column][row]. False, with nothing done, where there is no
    /// faster way for so few.
    fn few(
        self,
        a: [Side; 2],
        b: Side,
        columns: usize,
        shape: [usize; 2],
        soon: Option<*const u16>,
        out: &mut Sums,
    ) -> bool {
        if self != Self::Dot || columns > dot::FEW {
            return false;
        }
        // SAFETY: as in `block`.
        unsafe { dot::few(a, b, columns, shape, soon, out) };
        true
    }
}

/// The sums of one block product: [row block][column block][row][column].
#[repr(C, align(64))]
struct Sums([[[f32; SIDE * SIDE]; 2]; 2]);

impl Default for Sums {
    fn default() -> Self {
        Self([[[0.0; SIDE * SIDE]; 2]; 2])
    }
}

/// Where the tiles of one operand lie: that of step s and part p begins at `start + s · step + p · part`, its rows are `row` numbers
/// apart. Whoever makes one promises that all of it is inside one allocation.
#[derive(Clone, Copy)]
struct Side {
    start: *const u16,
    row: usize,
    step: usize,
    part: usize,
}

impl Side {
    /// The same from a later step on.
    fn from(self, step: usize) -> Self {
        // SAFETY: callers stay below the steps that the side covers.
        Self { start: unsafe { self.start.add(step * self.step) }, ..self }
    }
}

/// `y` [tokens, n] = `x` [tokens, k] Wᵀ
pub fn forward(unit: Unit, w: &Source, tokens: usize, parts: Parts, x: &[f32], y: &mut [f32]) {
    forward_each(unit, &[*w], tokens, parts, x, &mut [y]);
}

/// The same for several W with rows of the same length, in one loop: x is packed once.
pub fn forward_each(unit: Unit, ws: &[Source], tokens: usize, parts: Parts, x: &[f32], ys: &mut [&mut [f32]]) {
    let (Some(k), true) = (ws.first().map(Source::width), tokens > 0) else { return };
    assert!(x.len() == tokens * k && ws.iter().all(|w| w.width() == k), "operands of a product");
    let (xs, steps) = (Packed::of(x, [tokens, k], parts, true), k.div_ceil(STEP));
    let mut panels = Vec::new();
    for (w, y) in ws.iter().zip(ys) {
        let n = y.len() / tokens;
        let panel = panel(n, steps, 2 * SIDE);
        panels.extend(columns_mut(y, tokens, n, panel).into_iter().enumerate().map(|(i, rows)| (w, i * panel, rows)));
    }
    each(&mut panels, |_, (w, first, columns)| {
        let _session = amx::Session::open(unit);
        let width = columns[0].len();
        let (w, mut sums) = (Rows::of(w, *first..*first + width, tokens <= FEW), Sums::default());
        for (from, count) in stretches(steps) {
            for (at, block) in order(width.div_ceil(SIDE), xs.blocks(), count * parts as usize) {
                let left = [at, (at + 1).min((width - 1) / SIDE)].map(|block| w.side(block).from(from));
                let right = [xs.side(block, from), xs.side(block + 1, from)];
                let soon = if block == 0 { w.soon(at, from) } else { None };
                let shape = [count, parts as usize];
                if !unit.few(left, right[0], tokens - block * SIDE, shape, soon, &mut sums) {
                    unit.block(left, right, shape, soon, &mut sums);
                    sums.0.iter_mut().flatten().for_each(pack::turn); // now tokens by rows of W
                }
                for (half, sums) in sums.0.iter().enumerate().filter(|(half, _)| (at + half) * SIDE < width) {
                    let first = (at + half) * SIDE;
                    put(sums.each_ref(), &mut columns[block * SIDE..], first..width.min(first + SIDE), from > 0);
                }
            }
        }
    });
}

/// A panel of W as left operand.
enum Rows<'a> {
    /// Where it lies in memory, whole pairs of blocks.
    AsTheyLie(&'a [bf16], usize),
    Packed(Kept, usize),
}

impl<'a> Rows<'a> {
    /// Packed, unless W is in bf16 already and so `few` tokens meet it that packing would cost more than it brings.
    fn of(w: &Source<'a>, rows: Range<usize>, few: bool) -> Self {
        match w.bf16_rows(rows.clone()) {
            Some(numbers) if few && w.width().is_multiple_of(STEP) && rows.len().is_multiple_of(2 * SIDE) => {
                Self::AsTheyLie(numbers, w.width())
            }
            _ => {
                let mut tiles = Kept::of_w();
                pack::rows_of(w, rows, &mut tiles);
                Self::Packed(tiles, w.width().div_ceil(STEP))
            }
        }
    }

    fn side(&self, block: usize) -> Side {
        match self {
            Self::AsTheyLie(w, k) => {
                Side { start: w[block * SIDE * k..].as_ptr().cast(), row: *k, step: STEP, part: 0 }
            }
            Self::Packed(tiles, steps) => tiles.side(block * steps, 1),
        }
    }

    /// Where the pair of blocks after block `at` lies, if memory has to be asked for it.
    fn soon(&self, at: usize, step: usize) -> Option<*const u16> {
        match self {
            Self::AsTheyLie(w, k) => {
                Some(w.as_ptr().cast::<u16>().wrapping_add((at + 2) * SIDE * k + 2 * SIDE * STEP * step))
            }
            Self::Packed(..) => None,
        }
    }
}

/// `dx` [tokens, k] = `g` [tokens, n] W
pub fn backward(unit: Unit, w: &Source, [tokens, n, k]: [usize; 3], parts: Parts, g: &[f32], dx: &mut [f32]) {
    assert!(g.len() == tokens * n && dx.len() == tokens * k, "operands of a product");
    let (gs, steps) = (Packed::of(g, [tokens, n], parts, false), n.div_ceil(STEP));
    // columns of blocks are cut at multiples of the longest block
    let panel = panel(k, steps, if w.bf16_rows(0..0).is_some() { 2 * SIDE } else { COLUMNS });
    columns_mut(dx, tokens, k, panel).into_par_iter().enumerate().for_each(|(i, mut columns)| {
        let _session = amx::Session::open(unit);
        let (mut tiles, mut narrow, mut sums) = (Kept::of_w(), Vec::new(), Sums::default());
        let (first, width) = (i * panel, panel.min(k - i * panel));
        for (from, count) in stretches(steps) {
            let rows = from * STEP..n.min((from + count) * STEP);
            match w.bf16_rows(rows.clone()) {
                Some(numbers) => pack::columns_of(numbers, k, first, width, &mut tiles),
                None => {
                    w.narrow(rows, first..first + width, &mut narrow);
                    pack::columns_of(&narrow, width, 0, width, &mut tiles);
                }
            }
            for (at, block) in order(width.div_ceil(SIDE), gs.blocks(), count * parts as usize) {
                let right = [at, (at + 1).min((width - 1) / SIDE)].map(|block| tiles.side(block * count, 1));
                let left = [gs.side(block, from), gs.side(block + 1, from)];
                unit.block(left, right, [count, parts as usize], None, &mut sums);
                for half in [0, 1].into_iter().filter(|half| (at + half) * SIDE < width) {
                    let first = (at + half) * SIDE;
                    let rows = [0, 1].map(|row_block| &sums.0[row_block][half]);
                    put(rows, &mut columns[block * SIDE..], first..width.min(first + SIDE), from > 0);
                }
            }
        }
    });
}

/// Pairs of blocks of W and of tokens in the order in which a task multiplies them: tokens by the cacheful (`tiles` a block).
fn order(of_w: usize, of_tokens: usize, tiles: usize) -> impl Iterator<Item = (usize, usize)> {
    let most = (CACHE / (tiles * size_of::<pack::Tile>())).max(2).next_multiple_of(2);
    let chunks = (0..of_tokens).step_by(most).map(move |first| first..of_tokens.min(first + most));
    chunks.flat_map(move |chunk| {
        (0..of_w).step_by(2).flat_map(move |at| chunk.clone().step_by(2).map(move |block| (at, block)))
    })
}

/// Writes two blocks of 16 × 16 sums, or adds them, at `range` of up to 32 rows.
fn put(blocks: [&[f32; SIDE * SIDE]; 2], rows: &mut [&mut [f32]], range: Range<usize>, add: bool) {
    let sums = blocks.into_iter().flat_map(|block| block.as_chunks::<SIDE>().0);
    for (row, sums) in rows.iter_mut().zip(sums) {
        let row = &mut row[range.clone()];
        match (add, <&mut [f32; SIDE]>::try_from(&mut *row)) {
            (false, Ok(whole)) => *whole = *sums,
            (false, Err(_)) => row.copy_from_slice(&sums[..row.len()]),
            (true, _) => row.iter_mut().zip(sums).for_each(|(y, sum)| *y += sum),
        }
    }
}

/// Rows (or columns) of W that a task takes, `steps` tiles long: what the cache holds, but enough tasks for every thread; a multiple
/// of `of`.
fn panel(n: usize, steps: usize, of: usize) -> usize {
    let most = CACHE / (steps.min(STRETCH / STEP) * 2 * STEP) / of * of;
    let share = (n / rayon::current_num_threads()).next_multiple_of(of);
    share.min(most).max(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(n: usize, by: f32) -> Vec<f32> {
        (1..=n).map(|i| (i as f32 * by).sin() * (1.0 + (i % 7) as f32)).collect()
    }

    /// Largest difference from the f64 product of `x` [tokens, inner] and a matrix given by its elements, over the largest value.
    fn error(got: &[f32], x: &[f32], [tokens, outer, inner]: [usize; 3], w: impl Fn(usize, usize) -> f64) -> f64 {
        let (mut worst, mut largest) = (0f64, 0f64);
        for t in 0..tokens {
            for j in 0..outer {
                let want: f64 = (0..inner).map(|i| x[t * inner + i] as f64 * w(i, j)).sum();
                worst = worst.max((got[t * outer + j] as f64 - want).abs());
                largest = largest.max(want.abs());
            }
        }
        worst / largest
    }

    /// Both products on every unit of this processor (none: nothing to test), on whole and on ragged shapes.
    fn on_all_shapes(check: impl Fn(Unit, [usize; 3], &[f32], &[f32], &[bf16])) {
        for unit in Unit::all() {
            for [tokens, n, k] in [
                [1, 1, 1],
                [8, 64, 64],
                [3, 5, 33],
                [17, 40, 31],
                [70, 96, 64],
                [33, 130, 50],
                [20, 37, 2100],
                [9, 2100, 37],
            ] {
                let w: Vec<bf16> = noise(n * k, 0.31).into_iter().map(bf16::from_f32).collect();
                check(unit, [tokens, n, k], &noise(tokens * k, 0.7), &noise(tokens * n, 0.9), &w);
            }
        }
    }

    #[test]
    fn three_parts_give_the_products_of_f32() {
        on_all_shapes(|unit, shape @ [tokens, n, k], x, g, w| {
            let (mut y, mut dx) = (vec![9.0; tokens * n], vec![9.0; tokens * k]);
            forward(unit, &Source::bf16(w, k), tokens, Parts::Three, x, &mut y);
            backward(unit, &Source::bf16(w, k), shape, Parts::Three, g, &mut dx);
            let (y, dx) = (
                error(&y, x, [tokens, n, k], |i, j| w[j * k + i].to_f64()),
                error(&dx, g, [tokens, k, n], |i, j| w[i * k + j].to_f64()),
            );
            assert!(y < 4e-6 && dx < 4e-6, "{unit:?} {shape:?}: {y} {dx}");
        });
    }

    #[test]
    fn a_token_has_the_same_products_alone_and_among_others() {
        for unit in Unit::all() {
            for [n, k] in [[64, 64], [40, 96], [33, 50], [96, 2080]] {
                let w: Vec<bf16> = noise(n * k, 0.31).into_iter().map(bf16::from_f32).collect();
                let x = noise(37 * k, 0.7);
                for parts in [Parts::One, Parts::Three] {
                    let of = |tokens: usize| {
                        let mut y = vec![9.0; tokens * n];
                        forward(unit, &Source::bf16(&w, k), tokens, parts, &x[..tokens * k], &mut y);
                        y.into_iter().map(f32::to_bits).collect::<Vec<_>>()
                    };
                    let all = of(37);
                    for tokens in [1, 2, 3, 5, 8, 9, 16, 19, 33] {
                        assert!(of(tokens) == all[..tokens * n], "{unit:?} {parts:?} [{n}, {k}]: {tokens} tokens");
                    }
                }
            }
        }
    }

    #[test]
    fn one_part_gives_the_products_of_rounded_numbers() {
        let rounded = |x: &[f32]| -> Vec<f32> { x.iter().map(|&x| bf16::from_f32(x).to_f32()).collect() };
        on_all_shapes(|unit, shape @ [tokens, n, k], x, g, w| {
            let (mut y, mut dx) = (vec![9.0; tokens * n], vec![9.0; tokens * k]);
            forward(unit, &Source::bf16(w, k), tokens, Parts::One, x, &mut y);
            backward(unit, &Source::bf16(w, k), shape, Parts::One, g, &mut dx);
            let (y, dx) = (
                error(&y, &rounded(x), [tokens, n, k], |i, j| w[j * k + i].to_f64()),
                error(&dx, &rounded(g), [tokens, k, n], |i, j| w[i * k + j].to_f64()),
            );
            assert!(y < 4e-6 && dx < 4e-6, "{unit:?} {shape:?}: {y} {dx}");
        });
    }
}

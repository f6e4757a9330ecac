//! Products with W. A frozen one costs no dW (candle's own product would compute and keep it, guide §3); one that learns gets it on
//! all threads (candle's own product runs on one here, `CANDLE_NUM_THREADS`):
//!
//! ```text
//! linear            y = x Wᵀ
//! adapted_linear    y = x Wᵀ + s · (D(x) Aᵀ) Bᵀ − s · (x A₀ᵀ) B₀ᵀ      D: dropout; A₀ B₀: where PiSSA started
//! ```
//! One operation for all of it: no pass over [tokens, n] besides the products, and h = D(x) Aᵀ is all that is kept.
use super::cpu::matrix::{View, ViewMut, multiply};
use super::cpu::small_batch;
use super::cpu::source;
use super::cpu::workers::{Threads, is_by_row};
use super::dropout::{Dropout, drop};
use super::slices::{CpuSlice, has_loops, operand, result, zeros};
use super::weight::Weight;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};
use std::borrow::Cow;
use std::sync::Mutex;

/// `x` [tokens, k], W [n, k] → [tokens, n]. Differentiable in `x`, and in W where that is a variable.
pub fn linear(x: &Tensor, weight: &Weight) -> Result<Tensor> {
    match weight {
        _ if !has_loops(&[x]) || !weight.has_loops() => x.matmul(&weight.dense()?.to_dtype(x.dtype())?.t()?),
        Weight::Tensor(w) if weight.learns() => x.contiguous()?.apply_op2(w, LearntLinear),
        _ => x.contiguous()?.apply_op1(FrozenLinear { weight: weight.clone() }),
    }
}

/// As [`linear`], for several weights; those of a few tokens, as decoding asks for them, in one loop over threads.
pub fn linear_each<const N: usize>(x: &Tensor, weights: [&Weight; N]) -> Result<[Tensor; N]> {
    let mut ys = weights.map(|_| x.clone());
    if x.track_op() || !has_loops(&[x]) || weights.iter().any(|w| !w.has_loops() || w.learns()) {
        for (y, weight) in ys.iter_mut().zip(weights) {
            *y = linear(x, weight)?;
        }
        return Ok(ys);
    }
    let (x, (tokens, k)) = (x.contiguous()?, x.dims2()?);
    let mut made = Vec::with_capacity(N);
    for weight in weights {
        let (n, wide) = weight.dims()?;
        if wide != k {
            bail!("linear: input of {k}, weight [{n}, {wide}]")
        }
        made.push((n, zeros(tokens * n)));
    }
    let mut views: Vec<&mut [f32]> = made.iter_mut().map(|(_, y)| y.as_mut_slice()).collect();
    Weight::forward_each(&weights, &CpuSlice::of(&x)?, tokens, &mut views)?;
    for (y, (n, numbers)) in ys.iter_mut().zip(made) {
        *y = Tensor::from_vec(numbers, (tokens, n), x.device())?;
    }
    Ok(ys)
}

/// `x` [tokens, k], W [n, k], both with a gradient.
struct LearntLinear;

impl CustomOp2 for LearntLinear {
    fn name(&self) -> &'static str {
        "learnt-linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, w: &CpuStorage, lw: &Layout) -> Result<(CpuStorage, Shape)> {
        let ((tokens, k), (n, wide)) = (lx.shape().dims2()?, lw.shape().dims2()?);
        if wide != k {
            bail!("linear: input of {k}, weight [{n}, {wide}]")
        }
        let (x, w) = (operand("learnt-linear", x, lx)?, operand("learnt-linear", w, lw)?);
        let mut y = zeros(tokens * n);
        product(&mut y, [tokens, n], View::new(x, tokens, k, k), View::new(w, n, k, k).t(), 1.0, false);
        Ok(result(y, &Shape::from((tokens, n))))
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, _y: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (g, (tokens, k), n) = (g.contiguous()?, x.dims2()?, w.dim(0)?);
        let (xs, ws, gs) = (CpuSlice::of(x)?, CpuSlice::of(w)?, CpuSlice::of(&g)?);
        let upstream = View::new(&gs, tokens, n, n);
        let (mut dx, mut dw) = (zeros(tokens * k), zeros(n * k));
        product(&mut dx, [tokens, k], upstream, View::new(&ws, n, k, k), 1.0, false);
        product(&mut dw, [n, k], upstream.t(), View::new(&xs, tokens, k, k), 1.0, false);
        let back = |d, like: &Tensor| Tensor::from_vec(d, like.shape(), like.device()).map(Some);
        Ok((back(dx, x)?, back(dw, w)?))
    }
}

struct FrozenLinear {
    weight: Weight,
}

impl FrozenLinear {
    /// Tokens of an input, whose width must be W's.
    fn tokens(&self, layout: &Layout) -> Result<usize> {
        let ((n, k), (tokens, wide)) = (self.weight.dims()?, layout.shape().dims2()?);
        if wide != k {
            bail!("linear: input of {wide}, weight [{n}, {k}]")
        }
        Ok(tokens)
    }
}

impl CustomOp1 for FrozenLinear {
    fn name(&self) -> &'static str {
        "frozen-linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (tokens, (n, _)) = (self.tokens(layout)?, self.weight.dims()?);
        let mut y = zeros(tokens * n);
        self.weight.forward(operand("frozen-linear", x, layout)?, tokens, &mut y)?;
        Ok(result(y, &Shape::from((tokens, n))))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        let ((_, k), tokens) = (self.weight.dims()?, x.dim(0)?);
        let g = g.contiguous()?;
        let mut dx = zeros(tokens * k);
        self.weight.backward(&CpuSlice::of(&g)?, tokens, &mut dx)?;
        Ok(Some(Tensor::from_vec(dx, x.shape(), x.device())?))
    }
}

/// What is added to a frozen W. `a` [r, k], `b` [n, r].
pub struct LowRank<'a> {
    pub a: &'a Tensor,
    pub b: &'a Tensor,
    /// s
    pub scale: f64,
    pub dropout: Option<Dropout>,
    /// A₀ [r, k] and B₀ [n, r], f32 on the CPU.
    pub start: Option<(Tensor, Tensor)>,
}

/// `x` [tokens, k], W [n, k] → [tokens, n]. Differentiable in `x`, A and B.
pub fn adapted_linear(x: &Tensor, weight: &Weight, low: &LowRank) -> Result<Tensor> {
    if weight.learns() || !has_loops(&[x, low.a, low.b]) || !weight.has_loops() {
        return adapted_linear_naive(x, weight, low);
    }
    let op = AdaptedLinear {
        base: FrozenLinear { weight: weight.clone() },
        scale: low.scale as f32,
        dropout: low.dropout,
        start: low.start.clone(),
        x_learns: x.track_op(),
        h: Mutex::default(),
    };
    x.contiguous()?.apply_op3(&low.a.contiguous()?, &low.b.contiguous()?, op)
}

/// The same by candle's own differentiable operations.
pub fn adapted_linear_naive(x: &Tensor, weight: &Weight, low: &LowRank) -> Result<Tensor> {
    let base = x.matmul(&weight.dense()?.to_dtype(x.dtype())?.t()?)?;
    let dropped = match low.dropout {
        Some(dropout) => x.mul(&dropout.mask(x)?)?,
        None => x.clone(),
    };
    let update = |x: &Tensor, a: &Tensor, b: &Tensor| x.matmul(&a.t()?)?.matmul(&b.t()?)? * low.scale;
    let y = (base + update(&dropped, low.a, low.b)?)?;
    match &low.start {
        Some((a, b)) => y - update(x, &a.to_dtype(x.dtype())?, &b.to_dtype(x.dtype())?)?,
        None => Ok(y),
    }
}

struct AdaptedLinear {
    base: FrozenLinear,
    scale: f32,
    dropout: Option<Dropout>,
    start: Option<(Tensor, Tensor)>,
    x_learns: bool,
    /// D(x) Aᵀ [tokens, r]
    h: Mutex<Vec<f32>>,
}

impl AdaptedLinear {
    /// D(x), copied only where something is dropped.
    fn dropped<'a>(&self, x: &'a [f32]) -> Cow<'a, [f32]> {
        match self.dropout {
            Some(dropout) => {
                let mut x = x.to_vec();
                drop(&mut x, dropout);
                x.into()
            }
            None => x.into(),
        }
    }
}

/// `dst` [rows, cols] ← (or +=) `scale` · a b
fn product(dst: &mut [f32], [rows, cols]: [usize; 2], a: View, b: View, scale: f32, add: bool) {
    multiply(ViewMut::new(dst, rows, cols, cols), a, b, scale, add, Threads::All);
}

/// `y` [tokens, n] += `scale` · (x Aᵀ) Bᵀ of `a` [r, k] and `b` [n, r]; returns x Aᵀ [tokens, r].
fn low_rank(y: &mut [f32], x: &[f32], [a, b]: [&[f32]; 2], [tokens, n, k, r]: [usize; 4], scale: f32) -> Vec<f32> {
    let mut h = vec![0f32; tokens * r];
    if is_by_row() {
        let rows = |numbers, k| source::Source { numbers: source::Elements::F32(numbers), k, rounded: false };
        small_batch::forward(&rows(a, k), tokens, x, &mut h);
        let mut more = zeros(tokens * n);
        small_batch::forward(&rows(b, r), tokens, &h, &mut more);
        y.iter_mut().zip(&more).for_each(|(y, more)| *y += scale * more);
        return h;
    }
    product(&mut h, [tokens, r], View::new(x, tokens, k, k), View::new(a, r, k, k).t(), 1.0, false);
    product(y, [tokens, n], View::new(&h, tokens, r, r), View::new(b, n, r, r).t(), scale, true);
    h
}

impl CustomOp3 for AdaptedLinear {
    fn name(&self) -> &'static str {
        "adapted-linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        a: &CpuStorage,
        la: &Layout,
        b: &CpuStorage,
        lb: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let name = self.name();
        let (tokens, (n, k)) = (self.base.tokens(lx)?, self.base.weight.dims()?);
        let (x, a, b, r) = (operand(name, x, lx)?, operand(name, a, la)?, operand(name, b, lb)?, la.shape().dim(0)?);
        if la.dims() != [r, k] || lb.dims() != [n, r] {
            bail!("{name}: A {:?} and B {:?} for a weight [{n}, {k}]", la.shape(), lb.shape())
        }
        let mut y = zeros(tokens * n);
        self.base.weight.forward(x, tokens, &mut y)?;
        let h = low_rank(&mut y, &self.dropped(x), [a, b], [tokens, n, k, r], self.scale);
        if let Some((a0, b0)) = &self.start {
            let (a0, b0) = (CpuSlice::of(a0)?, CpuSlice::of(b0)?);
            low_rank(&mut y, x, [&a0, &b0], [tokens, n, k, r], -self.scale);
        }
        if let Ok(mut saved) = self.h.lock() {
            *saved = h;
        }
        Ok(result(y, &Shape::from((tokens, n))))
    }

    fn bwd(
        &self,
        x: &Tensor,
        a: &Tensor,
        b: &Tensor,
        _y: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let ((n, k), tokens, r) = (self.base.weight.dims()?, x.dim(0)?, a.dim(0)?);
        let g = g.contiguous()?;
        let (xs, gs, a_s, bs) = (CpuSlice::of(x)?, CpuSlice::of(&g)?, CpuSlice::of(a)?, CpuSlice::of(b)?);
        let h = self.h.lock().map_err(|_| candle_core::Error::msg("adapted-linear: a worker panicked"))?;
        let upstream = View::new(&gs, tokens, n, n);
        let (mut db, mut dh, mut da) = (vec![0f32; n * r], vec![0f32; tokens * r], vec![0f32; r * k]);
        product(&mut db, [n, r], upstream.t(), View::new(&h, tokens, r, r), self.scale, false);
        product(&mut dh, [tokens, r], upstream, View::new(&bs, n, r, r), self.scale, false);
        let dropped = self.dropped(&xs);
        product(&mut da, [r, k], View::new(&dh, tokens, r, r).t(), View::new(&dropped, tokens, k, k), 1.0, false);
        let back = |d, like: &Tensor| Tensor::from_vec(d, like.shape(), like.device()).map(Some);
        if !self.x_learns {
            return Ok((None, back(da, a)?, back(db, b)?));
        }
        let mut dx = zeros(tokens * k);
        self.base.weight.backward(&gs, tokens, &mut dx)?;
        if let Some((a0, b0)) = &self.start {
            let (a0, b0) = (CpuSlice::of(a0)?, CpuSlice::of(b0)?);
            let mut dh0 = vec![0f32; tokens * r];
            product(&mut dh0, [tokens, r], upstream, View::new(&b0, n, r, r), -self.scale, false);
            product(&mut dx, [tokens, k], View::new(&dh0, tokens, r, r), View::new(&a0, r, k, k), 1.0, true);
        }
        let (dh, a_view) = (View::new(&dh, tokens, r, r), View::new(&a_s, r, k, k));
        match self.dropout {
            None => product(&mut dx, [tokens, k], dh, a_view, 1.0, true),
            Some(dropout) => {
                let mut through = zeros(tokens * k);
                product(&mut through, [tokens, k], dh, a_view, 1.0, false);
                drop(&mut through, dropout);
                dx.iter_mut().zip(&through).for_each(|(d, t)| *d += t);
            }
        }
        Ok((back(dx, x)?, back(da, a)?, back(db, b)?))
    }
}

/// `y` [tokens, n] ⊙ `c` [n], row by row. Differentiable in both (DoRA's magnitudes).
pub fn scale_columns(y: &Tensor, c: &Tensor) -> Result<Tensor> {
    if !has_loops(&[y, c]) {
        return y.broadcast_mul(c);
    }
    y.contiguous()?.apply_op2(&c.contiguous()?, columns::ScaleColumns)
}

mod columns {
    use super::super::slices::{CpuSlice, operand, result};
    use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};

    pub struct ScaleColumns;

    impl CustomOp2 for ScaleColumns {
        fn name(&self) -> &'static str {
            "scale-columns"
        }

        fn cpu_fwd(&self, y: &CpuStorage, ly: &Layout, c: &CpuStorage, lc: &Layout) -> Result<(CpuStorage, Shape)> {
            let (mut y, c) = (operand("scale-columns", y, ly)?.to_vec(), operand("scale-columns", c, lc)?);
            for row in y.chunks_exact_mut(c.len()) {
                row.iter_mut().zip(c).for_each(|(y, c)| *y *= c);
            }
            Ok(result(y, ly.shape()))
        }

        fn bwd(&self, y: &Tensor, c: &Tensor, _out: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
            let g = g.contiguous()?;
            let (ys, cs, gs) = (CpuSlice::of(y)?, CpuSlice::of(c)?, CpuSlice::of(&g)?);
            let (mut dy, mut dc) = (gs.to_vec(), vec![0f32; cs.len()]);
            for (dy, y) in dy.chunks_exact_mut(cs.len()).zip(ys.chunks_exact(cs.len())) {
                for (((d, y), c), dc) in dy.iter_mut().zip(y).zip(cs.iter()).zip(&mut dc) {
                    *dc += *d * y;
                    *d *= c;
                }
            }
            let back = |d, like: &Tensor| Tensor::from_vec(d, like.shape(), like.device()).map(Some);
            Ok((back(dy, y)?, back(dc, c)?))
        }
    }
}

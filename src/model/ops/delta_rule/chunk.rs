//! The rule for one value head, 64 tokens at a time (Yang, Kautz & Hatamizadeh 2025, §3.3, after the WY form of Yang et al. 2024,
//! Parallelizing linear transformers with the delta rule over sequence length). Rows are tokens, S the state before them, S' after:
//!
//! ```text
//! γ_i = Σ_{j≤i} g_j     G_ij = e^{γ_i − γ_j} for j ≤ i, else 0     A = strictly lower(β_i (k_i·k_j) G_ij)     P = (Q Kᵀ) ⊙ G
//! (I + A) U = β ⊙ (V − e^γ ⊙ K S)     O = e^γ ⊙ (Q S) + P U     S' = e^{γ_C} S + (e^{γ_C − γ} ⊙ K)ᵀ U
//! ```
//! Only differences γ_i − γ_j ≤ 0 are exponents, so nothing overflows. [`Chunk::backward`] has the gradients, which are those of these lines.
use super::EPS;
use crate::model::ops::cpu::lanes::{add_scaled, dot, exp, scale};
use crate::model::ops::cpu::matrix::{View, ViewMut, multiply};
use crate::model::ops::cpu::workers::Threads;
use std::ops::Range;

/// Tokens of a chunk.
const CHUNK: usize = 64;

/// The tokens of one segment as one value head sees them.
pub struct Head {
    /// Of norm 1/√key_dim and 1, [tokens, key_dim].
    q: Vec<f32>,
    k: Vec<f32>,
    /// By what queries and keys were divided to get norm 1.
    q_norms: Vec<f32>,
    k_norms: Vec<f32>,
    /// [tokens, value_dim]
    v: Vec<f32>,
    g: Vec<f32>,
    beta: Vec<f32>,
    /// key_dim, value_dim
    dims: [usize; 2],
}

/// What the loss says of one value head's inputs, before queries and keys were normed and β was made.
pub struct Gradients {
    /// [tokens, key_dim]
    pub dq: Vec<f32>,
    pub dk: Vec<f32>,
    /// [tokens, value_dim]
    pub dv: Vec<f32>,
    /// [tokens]
    pub dg: Vec<f32>,
    pub db: Vec<f32>,
}

impl Gradients {
    /// Adds another value head's gradients of the same queries and keys.
    pub fn add_keys(&mut self, dq: Vec<f32>, dk: Vec<f32>) {
        add_scaled(&mut self.dq, 1.0, &dq);
        add_scaled(&mut self.dk, 1.0, &dk);
    }
}

/// Divides every row of `dim` numbers by √(Σ x² + ε); the divisors.
fn norm_rows(x: &mut [f32], dim: usize) -> Vec<f32> {
    let one = |row: &mut [f32]| {
        let norm = (dot(row, row) + EPS as f32).sqrt();
        scale(row, 1.0 / norm);
        norm
    };
    x.chunks_exact_mut(dim).map(one).collect()
}

/// Through y = x / √(Σ x² + ε): dx = (dy − y (y·dy)) / norm, written over dy. The rows of `y` are multiplied with `by` first, those of dy
/// divided by it.
fn through_norm(y: &[f32], norms: &[f32], by: f32, dy: &mut [f32]) {
    let dim = y.len() / norms.len().max(1);
    for ((y, norm), dy) in y.chunks_exact(dim.max(1)).zip(norms).zip(dy.chunks_exact_mut(dim.max(1))) {
        let along = dot(y, dy);
        scale(dy, 1.0 / (by * norm));
        add_scaled(dy, -along * by / norm, y);
    }
}

impl Head {
    pub fn new([mut q, mut k, v]: [Vec<f32>; 3], g: Vec<f32>, beta: Vec<f32>, dims: [usize; 2]) -> Self {
        let (q_norms, k_norms) = (norm_rows(&mut q, dims[0]), norm_rows(&mut k, dims[0]));
        scale(&mut q, (dims[0] as f32).powf(-0.5));
        Self { q, k, q_norms, k_norms, v, g, beta, dims }
    }

    fn chunks(&self) -> impl DoubleEndedIterator<Item = Range<usize>> {
        let tokens = self.g.len();
        (0..tokens.div_ceil(CHUNK)).map(move |i| i * CHUNK..tokens.min((i + 1) * CHUNK))
    }

    /// What comes out, [tokens, value_dim]; `state` [key_dim, value_dim] is brought up to date, and `before` gets it as it was before every
    /// chunk.
    pub fn forward(&self, state: &mut [f32], mut before: Option<&mut Vec<f32>>) -> Vec<f32> {
        let dv = self.dims[1];
        let mut out = vec![0f32; self.v.len()];
        if self.g.len() == 1 && before.is_none() {
            self.step(state, &mut out);
            return out;
        }
        for rows in self.chunks() {
            if let Some(before) = &mut before {
                before.extend_from_slice(state);
            }
            let chunk = Chunk::of(self, rows.clone(), state);
            chunk.output(state, &mut out[rows.start * dv..rows.end * dv]);
            chunk.advance(state);
        }
        out
    }

    /// The rule as it is written, for the one token that decoding adds.
    fn step(&self, state: &mut [f32], out: &mut [f32]) {
        let dv = self.dims[1];
        let mut new = self.v.clone();
        scale(state, exp(self.g[0]));
        for (s, k) in state.chunks_exact(dv).zip(&self.k) {
            add_scaled(&mut new, -k, s);
        }
        scale(&mut new, self.beta[0]);
        for ((s, k), q) in state.chunks_exact_mut(dv).zip(&self.k).zip(&self.q) {
            add_scaled(s, *k, &new);
            add_scaled(out, *q, s);
        }
    }

    /// `dy` [tokens, value_dim] of a sequence that started from zeros.
    pub fn backward(&self, dy: &[f32]) -> Gradients {
        let [dk, dv] = self.dims;
        let (mut state, mut before) = (vec![0f32; dk * dv], Vec::new());
        self.forward(&mut state, Some(&mut before));
        let tokens = self.g.len();
        let mut grads = Gradients {
            dq: vec![0f32; self.q.len()],
            dk: vec![0f32; self.k.len()],
            dv: vec![0f32; self.v.len()],
            dg: vec![0f32; tokens],
            db: vec![0f32; tokens],
        };
        let mut dstate = vec![0f32; dk * dv];
        for (rows, state) in self.chunks().zip(before.chunks_exact(dk * dv)).collect::<Vec<_>>().into_iter().rev() {
            let dy = &dy[rows.start * dv..rows.end * dv];
            Chunk::of(self, rows, state).backward(state, dy, &mut dstate, &mut grads);
        }
        through_norm(&self.q, &self.q_norms, (dk as f32).sqrt(), &mut grads.dq);
        through_norm(&self.k, &self.k_norms, 1.0, &mut grads.dk);
        grads.db.iter_mut().zip(&self.beta).for_each(|(d, beta)| *d *= beta * (1.0 - beta));
        grads
    }
}

/// Up to 64 tokens; see the file's header for the names.
struct Chunk<'a> {
    rows: Range<usize>,
    dims: [usize; 2],
    q: View<'a>,
    k: View<'a>,
    v: &'a [f32],
    beta: &'a [f32],
    /// e^{γ_i}: what is left of S at token i; e^{γ_C − γ_i}: what is left of token i at the end.
    left: Vec<f32>,
    lasts: Vec<f32>,
    /// G, (k_i·k_j) G_ij strictly below the diagonal, and P: [tokens, tokens].
    decay: Vec<f32>,
    alike: Vec<f32>,
    p: Vec<f32>,
    /// K S and U: [tokens, value_dim].
    ks: Vec<f32>,
    u: Vec<f32>,
}

/// a b, [rows, cols].
fn product([rows, cols]: [usize; 2], a: View, b: View) -> Vec<f32> {
    let mut y = vec![0f32; rows * cols];
    multiply(ViewMut::new(&mut y, rows, cols, cols), a, b, 1.0, false, Threads::One);
    y
}

/// y += by · a b, `y` [rows, cols].
fn add_to(y: &mut [f32], [rows, cols]: [usize; 2], a: View, b: View, by: f32) {
    multiply(ViewMut::new(y, rows, cols, cols), a, b, by, true, Threads::One);
}

/// Every row of `x` times its own factor.
fn scaled_rows(x: &[f32], dim: usize, by: impl Fn(usize) -> f32) -> Vec<f32> {
    let mut y = x.to_vec();
    y.chunks_exact_mut(dim).enumerate().for_each(|(i, row)| scale(row, by(i)));
    y
}

impl<'a> Chunk<'a> {
    fn of(head: &'a Head, rows: Range<usize>, state: &[f32]) -> Self {
        let ([dk, dv], n) = (head.dims, rows.len());
        let [q, k] = [&head.q, &head.k].map(|x| View::new(&x[rows.start * dk..], n, dk, dk));
        let (v, beta) = (&head.v[rows.start * dv..rows.end * dv], &head.beta[rows.clone()]);
        let sums = head.g[rows.clone()].iter().scan(0f32, |sum, g| {
            *sum += g;
            Some(*sum)
        });
        let gamma: Vec<f32> = sums.collect();
        let last = gamma.last().copied().unwrap_or_default();
        let (left, lasts) = (gamma.iter().map(|y| exp(*y)).collect(), gamma.iter().map(|y| exp(last - y)).collect());
        let (mut p, mut alike, mut decay) = (product([n, n], q, k.t()), product([n, n], k, k.t()), vec![0f32; n * n]);
        for i in 0..n {
            for j in 0..n {
                let (at, kept) = (i * n + j, if j <= i { exp(gamma[i] - gamma[j]) } else { 0.0 });
                decay[at] = kept;
                p[at] *= kept;
                alike[at] *= if j < i { kept } else { 0.0 };
            }
        }
        let ks = product([n, dv], k, View::new(state, dk, dv, dv));
        let mut chunk = Self { rows, dims: head.dims, q, k, v, beta, left, lasts, decay, alike, p, ks, u: Vec::new() };
        chunk.u = scaled_rows(&chunk.unknown(), dv, |i| beta[i]);
        chunk.solve();
        chunk
    }

    /// V − e^γ ⊙ K S
    fn unknown(&self) -> Vec<f32> {
        let (dv, mut rest) = (self.dims[1], self.v.to_vec());
        for (i, rest) in rest.chunks_exact_mut(dv).enumerate() {
            add_scaled(rest, -self.left[i], &self.ks[i * dv..][..dv]);
        }
        rest
    }

    /// U from the right side of (I + A) U = …, which lies in its place.
    fn solve(&mut self) {
        let (n, dv) = (self.rows.len(), self.dims[1]);
        for i in 1..n {
            let (above, here) = self.u.split_at_mut(i * dv);
            for (j, u) in above.chunks_exact(dv).enumerate() {
                add_scaled(&mut here[..dv], -self.beta[i] * self.alike[i * n + j], u);
            }
        }
    }

    /// O
    fn output(&self, state: &[f32], out: &mut [f32]) {
        let ([dk, dv], n) = (self.dims, self.rows.len());
        let qs = product([n, dv], self.q, View::new(state, dk, dv, dv));
        out.copy_from_slice(&scaled_rows(&qs, dv, |i| self.left[i]));
        add_to(out, [n, dv], View::new(&self.p, n, n, n), View::new(&self.u, n, dv, dv), 1.0);
    }

    /// S becomes S'.
    fn advance(&self, state: &mut [f32]) {
        let ([dk, dv], n) = (self.dims, self.rows.len());
        let kept = scaled_rows(&self.u, dv, |i| self.lasts[i]);
        scale(state, self.whole());
        add_to(state, [dk, dv], self.k.t(), View::new(&kept, n, dv, dv), 1.0);
    }

    /// e^{γ_C}
    fn whole(&self) -> f32 {
        self.left.last().copied().unwrap_or(1.0)
    }

    /// From dO and dS' (in `dstate`, which becomes dS), with every dX a sum over what X goes into:
    ///
    /// ```text
    /// dU = Pᵀ dO + e^{γ_C−γ} ⊙ (K dS')     (I + A)ᵀ dR = dU     dP = lower(dO Uᵀ)     dA = −strictly lower(dR Uᵀ)     M = dA ⊙ G
    /// dQ = e^γ ⊙ (dO Sᵀ) + (dP ⊙ G) K
    /// dK = (dP ⊙ G)ᵀ Q + e^{γ_C−γ} ⊙ (U dS'ᵀ) + β ⊙ (M K) + Mᵀ (β ⊙ K) − (β e^γ) ⊙ (dR Sᵀ)
    /// dV = β ⊙ dR     dβ_i = Σ_j dA_ij (k_i·k_j) G_ij + dR_i·(v_i − e^{γ_i} Sᵀ k_i)
    /// dS = e^{γ_C} dS' + Qᵀ (e^γ ⊙ dO) − Kᵀ ((β e^γ) ⊙ dR)
    /// ```
    /// dγ: see [`Chunk::decays`].
    fn backward(&self, state: &[f32], dy: &[f32], dstate: &mut [f32], grads: &mut Gradients) {
        let ([dk, dv], n) = (self.dims, self.rows.len());
        let (s, dout, u) = (View::new(state, dk, dv, dv), View::new(dy, n, dv, dv), View::new(&self.u, n, dv, dv));
        let kds = product([n, dv], self.k, View::new(dstate, dk, dv, dv));
        let dr = self.solved_back(&kds, dout);
        let dr_view = View::new(&dr, n, dv, dv);
        let (mut dp, mut da) = (product([n, n], dout, u.t()), product([n, n], dr_view, u.t()));
        let (dos, drs) = (product([n, dk], dout, s.t()), product([n, dk], dr_view, s.t()));
        scale(&mut da, -1.0);
        let rows = self.rows.clone();
        let dbeta = &mut grads.db[rows.clone()];
        let mut dgamma = vec![0f32; n];
        for (i, (dr, unknown)) in dr.chunks_exact(dv).zip(self.unknown().chunks_exact(dv)).enumerate() {
            dbeta[i] += dot(dr, unknown);
            for (j, at) in (i * n..(i + 1) * n).enumerate() {
                let of_a = da[at] * self.alike[at]; // 0 from the diagonal on
                dbeta[i] += of_a;
                let both = if j < i { dp[at] * self.p[at] + self.beta[i] * of_a } else { 0.0 };
                dgamma[i] += both;
                dgamma[j] -= both;
                dp[at] *= self.decay[at];
                da[at] *= if j < i { self.beta[i] * self.decay[at] } else { 0.0 }; // β ⊙ M from here on
            }
        }
        self.decays(&mut dgamma, [&dos, &drs], &kds, dot(state, dstate));
        let sums = dgamma.iter().rev().scan(0f32, |sum, d| {
            *sum += d;
            Some(*sum)
        });
        grads.dg[rows.clone()].iter_mut().rev().zip(sums).for_each(|(dg, sum)| *dg = sum);

        let (dp, m) = (View::new(&dp, n, n, n), View::new(&da, n, n, n));
        let dq = &mut grads.dq[rows.start * dk..rows.end * dk];
        dq.copy_from_slice(&scaled_rows(&dos, dk, |i| self.left[i]));
        add_to(dq, [n, dk], dp, self.k, 1.0);
        let dkeys = &mut grads.dk[rows.start * dk..rows.end * dk];
        let uds = product([n, dk], u, View::new(dstate, dk, dv, dv).t());
        dkeys.copy_from_slice(&scaled_rows(&uds, dk, |i| self.lasts[i]));
        add_scaled(dkeys, -1.0, &scaled_rows(&drs, dk, |i| self.beta[i] * self.left[i]));
        add_to(dkeys, [n, dk], dp.t(), self.q, 1.0);
        add_to(dkeys, [n, dk], m, self.k, 1.0);
        add_to(dkeys, [n, dk], m.t(), self.k, 1.0);
        grads.dv[rows.start * dv..rows.end * dv].copy_from_slice(&scaled_rows(&dr, dv, |i| self.beta[i]));

        let of_q = scaled_rows(dy, dv, |i| self.left[i]);
        let of_k = scaled_rows(&dr, dv, |i| self.beta[i] * self.left[i]);
        scale(dstate, self.whole());
        add_to(dstate, [dk, dv], self.q.t(), View::new(&of_q, n, dv, dv), 1.0);
        add_to(dstate, [dk, dv], self.k.t(), View::new(&of_k, n, dv, dv), -1.0);
    }

    /// dR: dU, then the upper triangular solve.
    fn solved_back(&self, kds: &[f32], dout: View) -> Vec<f32> {
        let (n, dv) = (self.rows.len(), self.dims[1]);
        let mut dr = product([n, dv], View::new(&self.p, n, n, n).t(), dout);
        add_scaled(&mut dr, 1.0, &scaled_rows(kds, dv, |i| self.lasts[i]));
        for i in (0..n).rev() {
            let (above, here) = dr.split_at_mut(i * dv);
            for (j, row) in above.chunks_exact_mut(dv).enumerate() {
                add_scaled(row, -self.beta[i] * self.alike[i * n + j], &here[..dv]);
            }
        }
        dr
    }

    /// The rest of dγ, whose part through G is there already, H = dP ⊙ P + dA ⊙ A:
    ///
    /// ```text
    /// dγ_i = Σ_j H_ij − Σ_j H_ji + e^{γ_i} q_i·(dO Sᵀ)_i − β_i e^{γ_i} k_i·(dR Sᵀ)_i − κ_i     κ_i = e^{γ_C−γ_i} u_i·(K dS')_i
    /// dγ_C += Σ_i κ_i + e^{γ_C} ⟨dS', S⟩
    /// ```
    fn decays(&self, dgamma: &mut [f32], [dos, drs]: [&[f32]; 2], kds: &[f32], along: f32) {
        let [dk, dv] = self.dims;
        let mut at_the_end = self.whole() * along;
        for (i, dgamma) in dgamma.iter_mut().enumerate() {
            let [q, k] = [self.q, self.k].map(|x| x.row(i));
            let of_state = dot(q, &dos[i * dk..][..dk]) - self.beta[i] * dot(k, &drs[i * dk..][..dk]);
            let lasting = self.lasts[i] * dot(&self.u[i * dv..][..dv], &kds[i * dv..][..dv]);
            *dgamma += self.left[i] * of_state - lasting;
            at_the_end += lasting;
        }
        if let Some(last) = dgamma.last_mut() {
            *last += at_the_end;
        }
    }
}

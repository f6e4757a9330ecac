//! Gated DeltaNet (Yang, Kautz & Hatamizadeh 2025), the mixer of most layers of Qwen3.5:
//!
//! ```text
//! q, k, v   silu of a causal depthwise convolution over W_qkv h
//! g, β      −e^A softplus(W_a h + dt_bias), σ(W_b h)
//! out       W_out (n ⊙ o / √(mean o² + ε) ⊙ silu(W_z h))          o: the gated delta rule over q, k, v, by head
//! ```
//! The scale n of the last norm is as stored, also where those of the layers are zero-centred. A sequence is known by the states of the
//! rule and the last inputs of the convolution, however long it is.
use super::decoder::{Mixer, linear_tensors};
use super::{LayerState, Linear, Norm, Pass, Weights};
use crate::error::{Error, Result};
use crate::model::Config;
use crate::model::config::Recurrence;
use crate::model::ops::{
    CpuSlice, DeltaHeads, Segments, causal_convolution, convolve_past, delta_rule_past, gated_delta_rule, log_decay,
    swiglu_over,
};
use candle_core::{DType, Tensor};

pub struct DeltaNet {
    heads: DeltaHeads,
    in_proj_qkv: Linear,
    in_proj_z: Linear,
    in_proj_b: Linear,
    in_proj_a: Linear,
    /// [channels, 1, kernel]
    conv1d: Tensor,
    /// A and the bias of the decay, [value_heads]
    a_log: Tensor,
    dt_bias: Tensor,
    /// Of every value head's output.
    norm: Norm,
    out_proj: Linear,
}

/// Shapes of the five linear layers, by the end of their names; none has a bias.
fn linears(c: &Config, recurrence: &Recurrence) -> [(&'static str, [usize; 2], bool); 5] {
    let (h, heads) = (c.hidden_size, recurrence.heads);
    [
        ("linear_attn.in_proj_qkv", [heads.channels(), h], false),
        ("linear_attn.in_proj_z", [heads.values(), h], false),
        ("linear_attn.in_proj_b", [heads.value_heads, h], false),
        ("linear_attn.in_proj_a", [heads.value_heads, h], false),
        ("linear_attn.out_proj", [h, heads.values()], false),
    ]
}

/// Its tensors that are no linear layer's, in the order of [`DeltaNet::new`].
fn others(recurrence: &Recurrence) -> [(&'static str, Vec<usize>); 4] {
    let heads = recurrence.heads;
    [
        ("linear_attn.conv1d.weight", vec![heads.channels(), 1, recurrence.kernel]),
        ("linear_attn.A_log", vec![heads.value_heads]),
        ("linear_attn.dt_bias", vec![heads.value_heads]),
        ("linear_attn.norm.weight", vec![heads.value_dim]),
    ]
}

/// The mixer's tensors by the end of their names, with their shapes.
pub fn tensors(c: &Config, recurrence: &Recurrence) -> Vec<(String, Vec<usize>)> {
    let mut out = linear_tensors(&linears(c, recurrence));
    out.extend(others(recurrence).map(|(name, shape)| (name.to_string(), shape)));
    out
}

impl DeltaNet {
    /// Of the layer called `at`, such as `model.layers.0`.
    pub fn new(c: &Config, recurrence: &Recurrence, at: &str, weights: &mut Weights) -> Result<Self> {
        let [qkv, z, b, a, out] =
            linears(c, recurrence).map(|(name, shape, bias)| Linear::new(format!("{at}.{name}"), shape, bias, weights));
        let [conv1d, a_log, dt_bias, norm] = others(recurrence).map(|(name, shape)| -> Result<Tensor> {
            Ok(weights(&format!("{at}.{name}"), &shape)?.dense()?.to_dtype(DType::F32)?)
        });
        Ok(Self {
            heads: recurrence.heads,
            in_proj_qkv: qkv?,
            in_proj_z: z?,
            in_proj_b: b?,
            in_proj_a: a?,
            conv1d: conv1d?,
            a_log: a_log?,
            dt_bias: dt_bias?,
            norm: Norm::plain(norm?, c.rms_norm_eps),
            out_proj: out?,
        })
    }

    /// The rule's output [tokens, value_heads, value_dim] for sequences that go on from `states`.
    fn with_past(
        &self,
        [qkv, g, b]: [&Tensor; 3],
        segments: &Segments,
        states: &mut [&mut LayerState],
    ) -> Result<Tensor> {
        let (heads, channels) = (self.heads, self.heads.channels());
        let (numbers, weight) = (CpuSlice::of(qkv)?, CpuSlice::of(&self.conv1d)?);
        let (mut mixed, mut of_rule) = (Vec::with_capacity(numbers.len()), Vec::with_capacity(states.len()));
        for (i, layer) in states.iter_mut().enumerate() {
            let LayerState::Recurrent { state, inputs } = &mut **layer else {
                return Err(Error::failed("the state of an attention layer was given to a recurrent one"));
            };
            let new = segments.range(i);
            mixed.extend(convolve_past(&numbers[new.start * channels..new.end * channels], &weight, channels, inputs));
            of_rule.push(state);
        }
        let y = delta_rule_past(heads, [&mixed, &CpuSlice::of(g)?, &CpuSlice::of(b)?], segments, of_rule);
        Ok(Tensor::from_vec(y, (segments.tokens(), heads.value_heads, heads.value_dim), qkv.device())?)
    }
}

impl Mixer for DeltaNet {
    fn forward(
        &self,
        asking: &Tensor,
        seen: &Tensor,
        pass: &Pass,
        states: Option<&mut [&mut LayerState]>,
    ) -> Result<Tensor> {
        let (qkv_and_gates, z) = ([&self.in_proj_qkv, &self.in_proj_b, &self.in_proj_a], &self.in_proj_z);
        let [qkv, b, a, z] = if asking.id() == seen.id() {
            let [qkv, b, a] = qkv_and_gates;
            Linear::forward_each([qkv, b, a, z], seen)?
        } else {
            let [qkv, b, a] = Linear::forward_each(qkv_and_gates, seen)?;
            [qkv, b, a, z.forward(asking)?]
        };
        let g = log_decay(&a, &self.a_log, &self.dt_bias)?;
        let o = match states {
            Some(states) => self.with_past([&qkv, &g, &b], pass.segments, states)?,
            None => {
                let mixed = causal_convolution(&qkv, &self.conv1d, pass.segments)?;
                gated_delta_rule(&mixed, &g, &b, self.heads, pass.segments)?
            }
        };
        let o = match pass.tail {
            Some(tail) => o.index_select(&tail.rows, 0)?,
            None => o,
        };
        let normed = self.norm.forward_over(o)?; // [rows, value_heads, value_dim]
        let y = swiglu_over(z.reshape(normed.shape())?, &normed)?;
        self.out_proj.forward(&y.reshape(((), self.heads.values()))?)
    }

    fn linears_mut(&mut self) -> Vec<&mut Linear> {
        vec![&mut self.in_proj_qkv, &mut self.in_proj_z, &mut self.in_proj_b, &mut self.in_proj_a, &mut self.out_proj]
    }

    fn state(&self) -> LayerState {
        let kernel = self.conv1d.dims().last().copied().unwrap_or(1);
        LayerState::Recurrent {
            state: vec![0.0; self.heads.state()],
            inputs: vec![0.0; (kernel - 1) * self.heads.channels()],
        }
    }
}

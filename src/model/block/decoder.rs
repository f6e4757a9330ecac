//! A layer of every decoder here: two residual connections, each around RMSNorm and what follows it.
//!
//! ```text
//! x ← x + mixer(RMSNorm(x))                              attention, or a linear recurrence
//! x ← x + W_down (silu(W_gate h) ⊙ W_up h)               h = RMSNorm(x)
//! ```
//! Families differ by flags of their config, and by which layers have which mixer.
use super::attention::{self, Attention};
use super::delta_net::{self, DeltaNet};
use super::{Block, LayerState, Linear, Norm, Pass, Weights};
use crate::error::Result;
use crate::model::Config;
use crate::model::ops::{add_over, swiglu_over};
use candle_core::Tensor;

/// What lets the tokens of a segment see one another.
pub(super) trait Mixer: Send + Sync {
    /// `asking` [rows, hidden_size]: what is answered for, the tail where `pass` has one; `seen` [tokens, hidden_size]: all tokens; the same
    /// tensor where all are answered for. → [rows, hidden_size]. `states`: as of [`Block::forward`].
    fn forward(
        &self,
        asking: &Tensor,
        seen: &Tensor,
        pass: &Pass,
        states: Option<&mut [&mut LayerState]>,
    ) -> Result<Tensor>;

    /// In the order of the computation.
    fn linears_mut(&mut self) -> Vec<&mut Linear>;

    fn state(&self) -> LayerState;
}

/// See the file's header.
pub struct DecoderBlock {
    input_layernorm: Norm,
    mixer: Box<dyn Mixer>,
    post_attention_layernorm: Norm,
    mlp: Mlp,
}

struct Mlp {
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
}

/// Shapes and biases of the linear layers of the MLP, by the end of their names.
fn mlp(c: &Config) -> [(&'static str, [usize; 2], bool); 3] {
    let (h, i) = (c.hidden_size, c.intermediate_size);
    [("mlp.gate_proj", [i, h], c.mlp_bias), ("mlp.up_proj", [i, h], c.mlp_bias), ("mlp.down_proj", [h, i], c.mlp_bias)]
}

/// The tensors of linear layers, with their shapes.
pub(super) fn linear_tensors(layers: &[(&str, [usize; 2], bool)]) -> Vec<(String, Vec<usize>)> {
    let of = |(name, [n, k], bias): &(&str, [usize; 2], bool)| {
        let bias = bias.then(|| (format!("{name}.bias"), vec![*n]));
        std::iter::once((format!("{name}.weight"), vec![*n, *k])).chain(bias)
    };
    layers.iter().flat_map(of).collect()
}

impl DecoderBlock {
    /// The tensors of layer `i` by the end of their names, with their shapes.
    pub fn tensors(c: &Config, i: usize) -> Vec<(String, Vec<usize>)> {
        let norm = |name: &str| (format!("{name}.weight"), vec![c.hidden_size]);
        let mut out = vec![norm("input_layernorm"), norm("post_attention_layernorm")];
        out.extend(match c.recurrence(i) {
            Some(recurrence) => delta_net::tensors(c, recurrence),
            None => attention::tensors(c),
        });
        out.extend(linear_tensors(&mlp(c)));
        out
    }

    /// Layer `i` of a model of this config.
    pub fn new(c: &Config, i: usize, weights: &mut Weights) -> Result<Self> {
        let at = format!("model.layers.{i}");
        let input_layernorm = Norm::new(&format!("{at}.input_layernorm"), c.hidden_size, c, weights)?;
        let mixer: Box<dyn Mixer> = match c.recurrence(i) {
            Some(recurrence) => Box::new(DeltaNet::new(c, recurrence, &at, weights)?),
            None => Box::new(Attention::new(c, i, &at, weights)?),
        };
        let post_attention_layernorm = Norm::new(&format!("{at}.post_attention_layernorm"), c.hidden_size, c, weights)?;
        let [gate, up, down] =
            mlp(c).map(|(name, shape, bias)| Linear::new(format!("{at}.{name}"), shape, bias, weights));
        let mlp = Mlp { gate_proj: gate?, up_proj: up?, down_proj: down? };
        Ok(Self { input_layernorm, mixer, post_attention_layernorm, mlp })
    }
}

impl Block for DecoderBlock {
    fn forward(&self, x: &Tensor, pass: &Pass, states: Option<&mut [&mut LayerState]>) -> Result<Tensor> {
        let h = self.input_layernorm.forward(x)?;
        // with a tail, only its rows go on after all tokens were seen
        let (x, asking) = match pass.tail {
            Some(tail) => (x.index_select(&tail.rows, 0)?, h.index_select(&tail.rows, 0)?),
            None => (x.clone(), h.clone()),
        };
        let x = add_over(&x, self.mixer.forward(&asking, &h, pass, states)?)?;
        let h = self.post_attention_layernorm.forward(&x)?;
        Ok(add_over(&x, self.mlp.forward(&h)?)?)
    }

    fn linears_mut(&mut self) -> Vec<&mut Linear> {
        let m = &mut self.mlp;
        let mut all = self.mixer.linears_mut();
        all.extend([&mut m.gate_proj, &mut m.up_proj, &mut m.down_proj]);
        all
    }

    fn state(&self) -> LayerState {
        self.mixer.state()
    }
}

impl Mlp {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let [gate, up] = Linear::forward_each([&self.gate_proj, &self.up_proj], x)?;
        self.down_proj.forward(&swiglu_over(gate, &up)?)
    }
}

//! What all encoders are made of: linear layers with a bias, and norms.
use super::Tensors;
use crate::error::Result;
use crate::model::ops::{Weight, add_bias, layer_norm, linear};
use candle_core::Tensor;

/// y = x Wᵀ + b
pub struct Dense {
    weight: Weight,
    bias: Option<Tensor>,
}

impl Dense {
    /// `name.weight` [n, k] and, if asked for, `name.bias` [n].
    pub fn new(name: &str, [n, k]: [usize; 2], bias: bool, tensors: &mut Tensors) -> Result<Self> {
        let weight = tensors(&format!("{name}.weight"), &[n, k])?.into();
        let bias = bias.then(|| tensors(&format!("{name}.bias"), &[n])).transpose()?;
        Ok(Self { weight, bias })
    }

    /// `x` [tokens, k] → [tokens, n]
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = linear(x, &self.weight)?;
        match &self.bias {
            Some(bias) => Ok(add_bias(&y, bias)?),
            None => Ok(y),
        }
    }
}

/// LayerNorm over the last dimension.
pub struct Norm {
    weight: Tensor,
    bias: Option<Tensor>,
    eps: f64,
}

impl Norm {
    /// `name.weight` [n] and, if asked for, `name.bias` [n].
    pub fn new(name: &str, n: usize, bias: bool, eps: f64, tensors: &mut Tensors) -> Result<Self> {
        let weight = tensors(&format!("{name}.weight"), &[n])?;
        let bias = bias.then(|| tensors(&format!("{name}.bias"), &[n])).transpose()?;
        Ok(Self { weight, bias, eps })
    }

    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(layer_norm(x, &self.weight, self.bias.as_ref(), self.eps)?)
    }
}

/// Rows `ids` of a table [n, hidden_size].
pub fn rows(table: &Tensor, ids: &[u32]) -> Result<Tensor> {
    Ok(table.index_select(&Tensor::new(ids, table.device())?, 0)?)
}

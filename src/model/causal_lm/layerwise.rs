//! Passes that keep one layer's activations at a time: scoring without a graph, and gradient checkpointing by layers.
use super::{CausalLm, Places};
use crate::error::Result;
use crate::model::ops::Segments;
use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};

impl CausalLm {
    /// As `hidden_tail` without a graph: memory is one layer's, whatever the adapter records.
    pub fn hidden_detached(&self, ids: &[u32], segments: &Segments, tails: &Segments) -> Result<Tensor> {
        let places = self.places(&segments.positions(), segments, tails)?;
        let last = self.run_detached(ids, &places, &mut drop)?;
        Ok(self.norm.forward(&last)?.detach())
    }

    /// The gradients of `loss`, with one layer's graph alive at a time (gradient checkpointing, Chen et al. 2016): a
    /// forward pass keeps the layers' inputs, the backward pass makes each layer again. `loss` makes a scalar from the
    /// tail's hidden states; `take` gets the gradients, piece by piece; they are bit for bit those of the whole graph.
    pub fn backward_by_layers(
        &self,
        ids: &[u32],
        segments: &Segments,
        tails: &Segments,
        loss: impl FnOnce(&Tensor) -> Result<Tensor>,
        take: &mut dyn FnMut(&GradStore) -> Result<()>,
    ) -> Result<Tensor> {
        let places = self.places(&segments.positions(), segments, tails)?;
        let mut inputs = Vec::with_capacity(self.layers.len());
        let last = self.run_detached(ids, &places, &mut |x| inputs.push(x))?;
        let top = Var::from_tensor(&last)?;
        let loss = loss(&self.norm.forward(&top)?)?;
        let mut grads = loss.backward()?;
        take(&grads)?;
        let mut upstream = grads.remove(&top);
        for (i, x) in inputs.into_iter().enumerate().rev() {
            let Some(g) = upstream.take() else { break };
            // below the first layer nothing asks for a gradient but an embedding that learns
            let var = if i > 0 || self.embed_tokens.learns() { Some(Var::from_tensor(&x)?) } else { None };
            let x = var.as_ref().map_or(&x, |v| v.as_tensor());
            let y = self.layers[i].forward(x, &self.pass(i, &places), None)?;
            let mut grads = (y * g)?.sum_all()?.backward()?;
            take(&grads)?;
            upstream = var.and_then(|v| grads.remove(&v));
        }
        if let (Some(g), true) = (upstream, self.embed_tokens.learns()) {
            take(&(self.embed(ids)? * g)?.sum_all()?.backward()?)?;
        }
        Ok(loss.detach())
    }

    /// What the last layer gives, detached; `passed` gets what every layer got, once it is done with it.
    fn run_detached(&self, ids: &[u32], places: &Places, passed: &mut dyn FnMut(Tensor)) -> Result<Tensor> {
        let segments = &places.segments;
        self.check(ids, segments, (0..segments.len()).map(|i| segments.range(i).len()))?;
        let mut x = self.embed(ids)?.detach();
        for (i, layer) in self.layers.iter().enumerate() {
            let y = layer.forward(&x, &self.pass(i, places), None)?.detach();
            passed(std::mem::replace(&mut x, y));
        }
        Ok(x)
    }
}

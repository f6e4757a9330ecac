//! AdamW (Loshchilov & Hutter 2019) with f32 moments that can be saved, and clipping by the global norm.
//!
//! m ← β₁m + (1−β₁)g;  v ← β₂v + (1−β₂)g²;  p ← p(1 − ηλ) − η · m/(1−β₁ᵗ) / (√(v/(1−β₂ᵗ)) + ε), as torch.optim.AdamW.
use super::muon::Muon;
use crate::error::{Error, Result};
use crate::model::ops::CpuSlice;
use candle_core::{Device, Tensor, Var, backprop::GradStore};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamW {
    pub beta1: f64,
    pub beta2: f64,
    pub eps: f64,
    /// Decoupled decay; one-dimensional tensors (norms) are never decayed.
    pub weight_decay: f64,
}

impl Default for AdamW {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 }
    }
}

/// Sums of gradients over micro-batches, by parameter name.
pub struct Gradients<'a> {
    parameters: &'a BTreeMap<String, Var>,
    sums: BTreeMap<String, Vec<f32>>,
    /// Supervised tokens behind the sums.
    pub targets: usize,
}

impl<'a> Gradients<'a> {
    pub fn of(parameters: &'a BTreeMap<String, Var>) -> Self {
        Self { parameters, sums: BTreeMap::new(), targets: 0 }
    }

    pub fn parameters(&self) -> &'a BTreeMap<String, Var> {
        self.parameters
    }

    /// Adds what `store` holds for the parameters.
    pub fn add(&mut self, store: &GradStore) -> Result<()> {
        for (name, var) in self.parameters {
            let Some(grad) = store.get(var) else { continue };
            let grad = grad.contiguous()?;
            let grad = CpuSlice::of(&grad)?;
            match self.sums.get_mut(name) {
                Some(sum) => sum.iter_mut().zip(grad.iter()).for_each(|(s, g)| *s += g),
                None => drop(self.sums.insert(name.clone(), grad.to_vec())),
            }
        }
        Ok(())
    }

    /// Adds the sums of another micro-batch.
    pub fn merge(&mut self, other: Gradients) {
        self.targets += other.targets;
        for (name, grad) in other.sums {
            match self.sums.get_mut(&name) {
                Some(sum) => sum.iter_mut().zip(grad).for_each(|(s, g)| *s += g),
                None => drop(self.sums.insert(name, grad)),
            }
        }
    }

    /// A parameter without a gradient is an error: it is detached from the loss.
    pub fn complete(&self) -> Result<()> {
        match self.parameters.keys().find(|name| !self.sums.contains_key(*name)) {
            Some(name) => Err(Error::failed(format!("`{name}` has no gradient; is it detached from the loss?"))),
            None => Ok(()),
        }
    }

    /// RotaryEmbedding sums into means over the supervised tokens, scaled down to `max_norm` where longer; returns the norm
    /// before that.
    pub fn finish(&mut self, max_norm: f64) -> f64 {
        let mean = 1.0 / self.targets.max(1) as f64;
        let square: f64 = self.sums.values().map(|g| g.iter().map(|&g| (g as f64).powi(2)).sum::<f64>()).sum();
        let norm = square.sqrt() * mean;
        let by = (mean * if norm > max_norm { max_norm / (norm + 1e-6) } else { 1.0 }) as f32;
        self.sums.values_mut().for_each(|g| g.iter_mut().for_each(|g| *g *= by));
        norm
    }

    /// Sum over parameters of the mean |g|: not 0 where learning happens.
    pub fn mean_abs(&self) -> f64 {
        let mean = |g: &Vec<f32>| g.iter().map(|g| g.abs() as f64).sum::<f64>() / g.len().max(1) as f64;
        self.sums.values().map(mean).sum()
    }

    #[cfg(test)]
    pub fn get(&self, name: &str) -> &[f32] {
        &self.sums[name]
    }
}

/// First and second moments of every parameter.
#[derive(Default)]
pub struct Moments {
    first: BTreeMap<String, Vec<f32>>,
    second: BTreeMap<String, Vec<f32>>,
    /// Updates made so far.
    pub steps: usize,
}

impl Moments {
    /// One update of every parameter at learning rate `lr`.
    pub fn update(&mut self, w: &AdamW, grads: &Gradients, lr: f64) -> Result<()> {
        self.update_with(w, None, grads, &|_| lr)
    }

    /// As `update`, with a learning rate by parameter name (LoRA+) and the matrices that `muon` moves moved by it.
    pub fn update_with(
        &mut self,
        w: &AdamW,
        muon: Option<&Muon>,
        grads: &Gradients,
        lr: &(dyn Fn(&str) -> f64 + Sync),
    ) -> Result<()> {
        self.steps += 1;
        let (b1, b2) = (w.beta1 as f32, w.beta2 as f32);
        let corrected1 = (1.0 - w.beta1.powi(self.steps as i32)) as f32;
        let corrected2 = (1.0 - w.beta2.powi(self.steps as i32)).sqrt() as f32;
        let mut moved = Vec::new();
        for (name, var) in grads.parameters {
            let grad = grads.sums.get(name).ok_or_else(|| Error::failed(format!("no gradient for `{name}`")))?;
            let take = |of: &mut BTreeMap<String, Vec<f32>>| of.remove(name).unwrap_or_else(|| vec![0.0; grad.len()]);
            moved.push((name, var, grad, take(&mut self.first), take(&mut self.second)));
        }
        let made: Vec<Result<()>> = moved
            .par_iter_mut()
            .map(|(name, var, grad, first, second)| {
                let lr = lr(name);
                let keep = if var.rank() > 1 { (1.0 - lr * w.weight_decay) as f32 } else { 1.0 };
                let (lr, eps) = (lr as f32, w.eps as f32);
                let mut p = CpuSlice::of(var.as_tensor())?.to_vec();
                if let Some(muon) = muon.filter(|muon| muon.moves(name, var.dims())) {
                    let step = muon.step(grad, first, [var.dims()[0], var.dims()[1]]);
                    p.iter_mut().zip(step).for_each(|(p, o)| *p = *p * keep - lr * o);
                } else {
                    for (((p, m), v), g) in p.iter_mut().zip(first).zip(second).zip(grad.iter()) {
                        *m = b1 * *m + (1.0 - b1) * g;
                        *v = b2 * *v + (1.0 - b2) * g * g;
                        *p = *p * keep - lr * (*m / corrected1) / (v.sqrt() / corrected2 + eps);
                    }
                }
                Ok(var.set(&Tensor::from_vec(p, var.shape(), var.device())?)?)
            })
            .collect();
        for (name, _, _, first, second) in moved {
            self.first.insert(name.clone(), first);
            self.second.insert(name.clone(), second);
        }
        made.into_iter().collect()
    }

    /// As tensors `first.<name>` and `second.<name>`, flat.
    pub fn tensors(&self) -> Result<BTreeMap<String, Tensor>> {
        let parts = [("first", &self.first), ("second", &self.second)];
        let named = parts.into_iter().flat_map(|(part, all)| all.iter().map(move |(n, v)| (format!("{part}.{n}"), v)));
        named.map(|(n, v)| Ok((n, Tensor::from_slice(v, v.len(), &Device::Cpu)?))).collect()
    }

    /// The inverse of `tensors`; every parameter must have both moments of its size.
    pub fn restore(
        tensors: &BTreeMap<String, Tensor>,
        parameters: &BTreeMap<String, Var>,
        steps: usize,
    ) -> Result<Self> {
        let mut moments = Self { steps, ..Default::default() };
        for (name, var) in parameters {
            for (part, into) in [("first", &mut moments.first), ("second", &mut moments.second)] {
                let key = format!("{part}.{name}");
                let t = tensors.get(&key).filter(|t| t.elem_count() == var.elem_count()).ok_or_else(|| {
                    Error::input(format!("the saved optimiser has no `{key}` of {} numbers", var.elem_count()))
                })?;
                into.insert(name.clone(), t.to_vec1()?);
            }
        }
        Ok(moments)
    }
}

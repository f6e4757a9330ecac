//! What a killed run needs to go on: parameters, moments and the step, written beside and renamed.
use super::optimizer::Moments;
use crate::error::{Error, Result};
use crate::model::tensors;
use candle_core::{DType, Tensor, Var};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The plan of batches follows from the config, so the step is also the data cursor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Updates made.
    pub step: usize,
    pub best_step: usize,
    /// Mean validation loss (nats a supervised token) at `best_step`.
    pub best_loss: Option<f64>,
    /// Evaluations since the best one.
    pub stale: usize,
    /// Tokens read by the model so far.
    pub tokens: usize,
    pub finished: bool,
}

pub struct State {
    dir: PathBuf,
}

impl State {
    pub fn at(run: &Path) -> Self {
        Self { dir: run.join("state") }
    }

    pub fn exists(&self) -> bool {
        self.dir.join("progress.json").is_file() || self.dir.with_extension("old").join("progress.json").is_file()
    }

    /// The folder swaps in by two renames; `load` falls back to the old one if a kill falls between them.
    pub fn save(&self, progress: &Progress, parameters: &BTreeMap<String, Var>, moments: &Moments) -> Result<()> {
        let (fresh, old) = (self.dir.with_extension("writing"), self.dir.with_extension("old"));
        let _ = std::fs::remove_dir_all(&fresh); // left by a kill
        std::fs::create_dir_all(&fresh).map_err(Error::io(&fresh))?;
        tensors::write(&fresh.join("parameters.safetensors"), &detached(parameters), DType::F32)?;
        tensors::write(&fresh.join("optimizer.safetensors"), &moments.tensors()?, DType::F32)?;
        let json = serde_json::to_string_pretty(&Saved::of(progress)).map_err(|e| Error::failed(e.to_string()))?;
        std::fs::write(fresh.join("progress.json"), json + "\n").map_err(Error::io(&fresh))?;
        if self.dir.exists() {
            let _ = std::fs::remove_dir_all(&old);
            std::fs::rename(&self.dir, &old).map_err(Error::io(&self.dir))?;
        }
        std::fs::rename(&fresh, &self.dir).map_err(Error::io(&self.dir))?;
        let _ = std::fs::remove_dir_all(&old);
        Ok(())
    }

    /// Sets the parameters as they were saved and returns the rest.
    pub fn load(&self, parameters: &BTreeMap<String, Var>) -> Result<(Progress, Moments)> {
        let old = self.dir.with_extension("old");
        let dir = if self.dir.exists() { self.dir.clone() } else { old.clone() };
        for left in [self.dir.with_extension("writing"), old].into_iter().filter(|left| *left != dir) {
            let _ = std::fs::remove_dir_all(left); // by a kill while the state was saved
        }
        let path = dir.join("progress.json");
        let text = crate::io::read_text(&path)?;
        let saved: Saved = serde_json::from_str(&text)
            .map_err(|e| Error::input(format!("{}: {e}; remove the folder to start again", path.display())))?;
        let progress = saved.progress();
        set(parameters, &dir.join("parameters.safetensors"))?;
        let moments = tensors::read(&dir.join("optimizer.safetensors"))?;
        Ok((progress.clone(), Moments::restore(&moments, parameters, progress.step)?))
    }
}

pub fn detached(parameters: &BTreeMap<String, Var>) -> BTreeMap<String, Tensor> {
    parameters.iter().map(|(n, v)| (n.clone(), v.as_detached_tensor())).collect()
}

/// Gives every parameter the value stored under its name.
pub fn set(parameters: &BTreeMap<String, Var>, path: &Path) -> Result<()> {
    let stored = tensors::read(path)?;
    for (name, var) in parameters {
        match stored.get(name).filter(|t| t.shape() == var.shape()) {
            Some(t) => var.set(&t.to_dtype(var.dtype())?)?,
            None => {
                return Err(Error::input(format!(
                    "{}: no `{name}` of shape {:?}; was the run started with another config?",
                    path.display(),
                    var.shape()
                )));
            }
        }
    }
    Ok(())
}

/// `progress.json` of a state: with the best loss also as text, as serde_json rounds the last digit of some numbers that it reads.
#[derive(Serialize, Deserialize)]
struct Saved {
    #[serde(flatten)]
    progress: Progress,
    /// Absent in states of older versions.
    #[serde(default)]
    best_loss_exact: Option<String>,
}

impl Saved {
    fn of(progress: &Progress) -> Self {
        Self { progress: progress.clone(), best_loss_exact: progress.best_loss.map(|loss| loss.to_string()) }
    }

    fn progress(self) -> Progress {
        let exact = self.best_loss_exact.and_then(|text| text.parse().ok());
        Progress { best_loss: exact.or(self.progress.best_loss), ..self.progress }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_loss_of_a_state_is_read_back_to_the_last_digit() {
        for i in 0..2000 {
            let progress =
                Progress { best_loss: Some(0.1 + f64::from(i) / 7919.0), step: i as usize, ..Progress::default() };
            let text = serde_json::to_string(&Saved::of(&progress)).unwrap();
            assert_eq!(serde_json::from_str::<Saved>(&text).unwrap().progress(), progress);
        }
        let old = serde_json::to_string(&Progress { best_loss: Some(0.5), ..Progress::default() }).unwrap();
        assert_eq!(serde_json::from_str::<Saved>(&old).unwrap().progress().best_loss, Some(0.5));
    }
}

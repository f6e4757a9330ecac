//! The committed reference values under `tests/golden` (made by `tests/reference/*.py`), as the tests read them.
use super::{CausalLm, Config, tensors};
use crate::error::Error;
use candle_core::{DType, Tensor};
use std::collections::BTreeMap;
use std::path::PathBuf;

pub fn path(name: &str) -> PathBuf {
    crate::home().join("tests/golden").join(name)
}

/// All tensors of a golden checkpoint, sharded or not, in f32.
pub fn weights(name: &str) -> BTreeMap<String, Tensor> {
    let files = std::fs::read_dir(path(name)).unwrap().map(|f| f.unwrap().path());
    let files = files.filter(|f| {
        f.file_name().unwrap().to_str().unwrap().starts_with("model") && f.extension().unwrap() == "safetensors"
    });
    let all = files.flat_map(|f| tensors::read(&f).unwrap());
    all.map(|(n, t)| (n, t.to_dtype(DType::F32).unwrap())).collect()
}

pub fn model(name: &str) -> CausalLm {
    let all = weights(name);
    let config = Config::read(&path(name)).unwrap();
    CausalLm::new(&config, &mut |name, shape| {
        let t = all.get(name).ok_or_else(|| Error::failed(name))?;
        assert_eq!(t.dims(), shape, "{name}");
        Ok(t.clone().into())
    })
    .unwrap()
}

#[derive(serde::Deserialize)]
pub struct Pair {
    pub prompt_ids: Vec<u32>,
    pub completion_ids: Vec<u32>,
}

pub fn pairs() -> Vec<Pair> {
    let text = std::fs::read_to_string(path("pairs.jsonl")).unwrap();
    text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

pub fn json(name: &str) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(path(name)).unwrap()).unwrap()
}

pub fn numbers(v: &serde_json::Value) -> Vec<f64> {
    v.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

pub fn distance(a: &Tensor, b: &Tensor) -> f32 {
    let d = (a.to_dtype(DType::F32).unwrap() - b.to_dtype(DType::F32).unwrap()).unwrap();
    d.abs().unwrap().max_all().unwrap().to_scalar().unwrap()
}

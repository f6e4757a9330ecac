//! Folding an adapter into its base, and the gate that the result has to pass before it gets its name.
//!
//! ```text
//! W ← W + s B A  in f32, rounded to the type asked for    written beside, read back, compared with base + adapter, renamed
//! ```
//!
//! Compared is on prompts that no one trained on: every logit, the divergence of every next-token distribution, the greedy answers
//! and the labels read from them. Above a bound nothing is left under the final name.
use crate::adapter::{Adapter, Mode};
use crate::error::{Error, Result};
use crate::generate::{
    Agreement, Limits, Pair, Seen, adapter_folder, adapter_id, base_id, check_pairs, encoder_for, read_pairs,
    stop_tokens, warn_of_other_base,
};
use crate::io;
use crate::model::{CausalLm, Checkpoint, Config, Precision, Tokenizer, Weight, default_device, export, resolve};
use crate::prompt::Prompt;
use crate::task::{LabelTask, Task};
use candle_core::{DType, Tensor};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Held-out findings asked about where no prompts are given.
const PROMPTS: usize = 32;
/// New tokens of a greedy answer.
const NEW: usize = 48;

pub struct MergeConfig {
    /// Folder, GGUF file, hub id or `embedded`.
    pub model: String,
    /// PEFT folder or run folder.
    pub adapter: PathBuf,
    pub out: PathBuf,
    /// F32, BF16 or F16; as the base is stored where not given.
    pub dtype: Option<DType>,
    /// Bytes of weights in one file, at most; see [`export::SHARD`].
    pub shard: u64,
    /// Pairs file; prompts about held-out findings where not given.
    pub prompts: Option<PathBuf>,
    pub max_delta: Option<f64>,
    pub max_kl: Option<f64>,
}

/// What a merge may change at most.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bounds {
    /// Largest |Δlogit| over largest |logit|.
    pub delta: f64,
    /// KL(adapter‖merged) of any position, in nats.
    pub kl: f64,
}

impl Bounds {
    /// Rounding alone must pass, anything else must not.
    ///
    /// A weight is rounded by at most u of itself: 2⁻²⁴ in f32, 2⁻¹¹ in f16, 2⁻⁹ in bf16. Errors of many weights mostly cancel, so the
    /// worst of millions of logits is off by a few u. Seen with the embedded model and its LoRA: 2e-6 in f32, where the order of sums
    /// counts as much as rounding, 3e-4 in f16, 1e-2 in bf16. KL goes with the square: 8e-11, 2e-6, 3e-3 nats at the worst position.
    /// The least that a real fault did there, one of 56 layers left out: 5e-2, and 2e-2 nats. (The 1e-3 that is often asked of bf16
    /// is met by the rms, not by the worst logit.)
    pub fn of(dtype: DType) -> Self {
        match dtype {
            DType::F32 => Self { delta: 1e-5, kl: 1e-8 },
            DType::F16 => Self { delta: 2e-3, kl: 1e-4 },
            _ => Self { delta: 2e-2, kl: 1e-2 },
        }
    }
}

/// The gate's measurements; `merge.json` in the merged folder.
#[derive(Clone, Debug, Serialize)]
pub struct Gate {
    /// Name and digest.
    pub model: String,
    pub adapter: String,
    pub dtype: String,
    /// Linear layers that the adapter changed.
    pub layers: usize,
    pub agreement: Agreement,
    /// Prompts whose two answers are the same text up to blanks at its ends; none without a tokenizer.
    pub same_text: Option<usize>,
    pub bounds: Bounds,
}

impl Gate {
    /// What is above its bound, in words.
    pub fn refusal(&self) -> Option<String> {
        let Agreement { max_kl, .. } = self.agreement;
        let above = |what: &str, value: f64, bound: f64| {
            // a NaN is not below any bound
            (value.is_nan() || value > bound).then(|| format!("{what} is {value:.1e}, above the bound of {bound:.1e}"))
        };
        above("largest |Δlogit| over largest |logit|", self.agreement.relative(), self.bounds.delta)
            .or_else(|| above("largest KL(adapter‖merged)", max_kl, self.bounds.kl))
    }
}

/// Merges and measures; `show` hears the measurements before the verdict falls.
pub fn merge(config: &MergeConfig, show: &mut dyn FnMut(&Gate)) -> Result<Gate> {
    let source = resolve(&config.model)?;
    let checkpoint = Checkpoint::open(&source)?;
    checkpoint.check()?;
    let dtype = config.dtype.unwrap_or(checkpoint.stored());
    let tokenizer = Tokenizer::find(&source)?.map(Arc::new);
    tokenizer.as_ref().map_or(Ok(()), |t| t.fits(checkpoint.config().vocab_size))?;
    let pairs = held_out(config, checkpoint.config(), tokenizer.as_ref())?;
    let limits = limits(checkpoint.config(), tokenizer.as_deref());
    export::beside(&config.out, |dir| {
        let folder = adapter_folder(&config.adapter);
        // the least memory that gives the exact numbers: products are f32 whatever is stored
        let precision = if source.is_file() { Precision::F32 } else { Precision::Stored };
        let mut model = CausalLm::load(&source, precision, &default_device())?;
        let adapter = Adapter::load(&folder, &mut model)?;
        adapter.attach(&mut model, Mode::Infer)?;
        let seen = Seen::of(&model, &pairs, &limits)?;
        drop(model);
        let layers = write(dir, &source, &checkpoint, &adapter, (dtype, config.shard))?;
        let (agreement, answers) =
            seen.against(&CausalLm::load(dir, Precision::Stored, &default_device())?, &limits)?;
        let model = base_id(&config.model)?;
        warn_of_other_base(&folder, || Ok(model.clone()))?;
        let gate = Gate {
            model,
            adapter: adapter_id(&config.adapter)?,
            dtype: format!("{dtype:?}"),
            layers,
            same_text: tokenizer.as_deref().map(|t| same_text(t, &seen.answers, &answers)).transpose()?,
            agreement,
            bounds: bounds(config, dtype),
        };
        show(&gate);
        match gate.refusal() {
            Some(what) => {
                Err(Error::failed(format!("merge refused: {what}; nothing was written to {}", config.out.display())))
            }
            None => io::write_json(&dir.join("merge.json"), &gate).map(|()| gate),
        }
    })
}

fn bounds(config: &MergeConfig, dtype: DType) -> Bounds {
    let usual = Bounds::of(dtype);
    Bounds { delta: config.max_delta.unwrap_or(usual.delta), kl: config.max_kl.unwrap_or(usual.kl) }
}

/// Fills `dir`; returns how many linear layers the adapter changed.
fn write(
    dir: &Path,
    source: &Path,
    checkpoint: &Checkpoint,
    adapter: &Adapter,
    (dtype, shard): (DType, u64),
) -> Result<usize> {
    let mut layers = 0;
    export::folder(dir, source, checkpoint.config(), dtype, shard, &mut |name, shape| {
        let (tensor, changed) = merged(checkpoint, adapter, name, shape)?;
        layers += usize::from(changed);
        Ok(tensor)
    })?;
    Ok(layers)
}

/// A tensor of the base in f32, with what the adapter adds to it; and whether it adds anything.
pub fn merged(checkpoint: &Checkpoint, adapter: &Adapter, name: &str, shape: &[usize]) -> Result<(Tensor, bool)> {
    let base = checkpoint.tensor(name, shape)?;
    let layer = name.strip_suffix(".weight").filter(|_| shape.len() == 2).unwrap_or_default();
    match adapter.merged(layer, &Weight::from(base.clone()))? {
        Some(tensor) => Ok((tensor, true)),
        None => Ok((base, false)),
    }
}

/// The prompts of `--prompts`, or the plain prompt about the first test findings.
fn held_out(config: &MergeConfig, model: &Config, tokenizer: Option<&Arc<Tokenizer>>) -> Result<Vec<Pair>> {
    let pairs = match (&config.prompts, tokenizer) {
        (Some(path), tokenizer) => given(path, model, tokenizer)?,
        (None, Some(tokenizer)) => {
            let task = LabelTask::open("findings")?;
            let prompt = Prompt::named("plain", Task::context(&task))?;
            let encoder = encoder_for(tokenizer.clone(), model, NEW);
            let cases = task.corpus.test.iter().take(PROMPTS);
            let pair = |prompt_ids| Pair { prompt_ids, ..Pair::default() };
            cases.map(|case| Ok(pair(encoder.serve_case(&prompt, case)?.ids))).collect::<Result<_>>()?
        }
        (None, None) => {
            return Err(Error::input(format!(
                "{} has no tokenizer: give prompts as token ids with --prompts",
                config.model
            )));
        }
    };
    match pairs.is_empty() {
        true => Err(Error::input("no prompts to compare on: a merge is only made when it can be checked")),
        false => Ok(pairs),
    }
}

fn given(path: &Path, model: &Config, tokenizer: Option<&Arc<Tokenizer>>) -> Result<Vec<Pair>> {
    let encode = tokenizer.map(|t| |text: &str| t.encode(text, true));
    let pairs = read_pairs(path, encode.as_ref().map(|e| e as &dyn Fn(&str) -> Result<Vec<u32>>))?;
    check_pairs(path, &pairs, model, |pair| pair.prompt_ids.len() + pair.completion_ids.len())?;
    Ok(pairs)
}

fn limits(model: &Config, tokenizer: Option<&Tokenizer>) -> Limits {
    Limits { max_new: NEW, batch: 8, stop: stop_tokens(model, tokenizer) }
}

fn same_text(tokenizer: &Tokenizer, ours: &[Vec<u32>], theirs: &[Vec<u32>]) -> Result<usize> {
    let text = |ids: &[u32]| -> Result<String> { Ok(tokenizer.decode(ids, true)?.trim().to_string()) };
    let same = ours.iter().zip(theirs).map(|(a, b)| Ok(usize::from(text(a)? == text(b)?)));
    same.sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::score;
    use crate::model::Quality;
    use crate::model::golden::{json, numbers, path};
    use candle_core::Device;

    fn golden(out: &Path, dtype: DType) -> MergeConfig {
        MergeConfig {
            model: path("tied").to_string_lossy().into_owned(),
            adapter: path("adapter"),
            out: out.into(),
            dtype: Some(dtype),
            shard: export::SHARD,
            prompts: Some(path("pairs.jsonl")),
            max_delta: None,
            max_kl: None,
        }
    }

    #[test]
    fn a_merged_model_has_the_log_probabilities_of_peft() {
        let dir = tempfile::tempdir().unwrap();
        let (lora, variants) = (&json("logprobs.json")["adapter"], &json("variants.json")["logprobs"]);
        let pairs = read_pairs(&path("pairs.jsonl"), None).unwrap();
        for (adapter, want, dtype, most) in [
            ("adapter", lora, DType::F32, 1e-4),
            ("adapter", lora, DType::F16, 0.02),
            ("adapter", lora, DType::BF16, 0.2),
            ("variants/dora", &variants["dora"], DType::F32, 1e-4),
            ("variants/rslora", &variants["rslora"], DType::F32, 1e-4),
        ] {
            let out = dir.path().join(format!("{}{dtype:?}", adapter.replace('/', "-")));
            let mut shown = 0;
            let config = MergeConfig { adapter: path(adapter), ..golden(&out, dtype) };
            let gate = merge(&config, &mut |_| shown += 1).unwrap();
            assert_eq!((gate.layers, shown, gate.same_text), (21, 1, None));
            let merged = CausalLm::load(&out, Precision::F32, &Device::Cpu).unwrap();
            let got = score(&merged, &pairs, 256).unwrap();
            for (got, want) in got.iter().zip(want.as_array().unwrap()) {
                for (got, want) in got.iter().zip(numbers(want)) {
                    assert!((got - want).abs() < most, "{dtype:?}: {got} {want}");
                }
            }
            assert_eq!(io::read_json::<serde_json::Value>(&out.join("merge.json")).unwrap()["layers"], 21);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 5, "nothing beside them");
    }

    #[test]
    fn above_a_bound_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("merged");
        for (max_delta, max_kl, wanted) in [(Some(1e-9), None, "Δlogit"), (None, Some(1e-18), "KL")] {
            let mut shown = false;
            let config = MergeConfig { max_delta, max_kl, ..golden(&out, DType::F32) };
            let error = merge(&config, &mut |_| shown = true).unwrap_err();
            assert_eq!(error.exit_code(), 1);
            assert!(shown && error.to_string().contains(wanted), "{error}");
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        }
        assert!(merge(&MergeConfig { shard: 100_000, ..golden(&out, DType::F32) }, &mut |_| {}).is_ok(), "in shards");
        assert!(out.join("model.safetensors.index.json").is_file() && !out.join("model.safetensors").exists());
        assert_eq!(merge(&golden(&out, DType::F32), &mut |_| {}).unwrap_err().exit_code(), 2, "never over a folder");
        let config = MergeConfig { prompts: None, ..golden(&dir.path().join("new"), DType::F32) };
        assert!(merge(&config, &mut |_| {}).unwrap_err().to_string().contains("--prompts"), "no tokenizer");
    }

    #[test]
    fn a_layer_left_out_does_not_pass_the_widest_bounds() {
        let pairs = read_pairs(&path("pairs.jsonl"), None).unwrap();
        let mut model = CausalLm::load(&path("tied"), Precision::F32, &Device::Cpu).unwrap();
        let adapter = Adapter::load(&path("adapter"), &mut model).unwrap();
        adapter.attach(&mut model, Mode::Infer).unwrap();
        let limits = Limits::exactly(4);
        let seen = Seen::of(&model, &pairs, &limits).unwrap();
        let names: Vec<String> = model.linears_mut().map(|l| l.name.clone()).collect();
        for name in names {
            adapter.attach(&mut model, Mode::Infer).unwrap();
            model.linears_mut().filter(|l| l.name == name).for_each(|l| l.delta = None);
            let (agreement, _) = seen.against(&model, &limits).unwrap();
            let bounds = Bounds::of(DType::BF16);
            assert!(agreement.relative() > bounds.delta && agreement.max_kl > bounds.kl, "{name}: {agreement:?}");
        }
    }

    #[test]
    fn a_gguf_base_is_merged_into_plain_weights() {
        let dir = tempfile::tempdir().unwrap();
        let (file, weights) = (dir.path().join("base.gguf"), crate::model::golden::weights("tied"));
        let config = Config::read(&path("tied")).unwrap();
        export::gguf(&file, &path("tied"), "tied", &config, Quality::Q8_0, &mut |name, _| Ok(weights[name].clone()))
            .unwrap();
        let out = dir.path().join("merged");
        let base = MergeConfig { model: file.to_string_lossy().into_owned(), ..golden(&out, DType::F16) };
        let gate = merge(&MergeConfig { dtype: None, ..base }, &mut |_| {}).unwrap();
        assert_eq!((gate.dtype.as_str(), gate.layers), ("F16", 21), "blocks become what their scales are");
    }
}

//! dxlab: how well does a small language model turn clinical findings into diagnoses, what does fine-tuning really buy,
//! and where does it fail?
//!
//! A run is opened if its folder is there and made if not, so this is quick to repeat and honest to read:
//!
//! ```no_run
//! use dxlab::baseline::Baseline;
//! use dxlab::run::Run;
//! use dxlab::study::{PredictConfig, Results, TrainConfig};
//! use dxlab::task::LabelTask;
//!
//! let config = TrainConfig::named("smollm2-lora")?; // configs/smollm2-lora.toml
//! let task = LabelTask::open(&config.corpus)?;
//! let run = Run::open_or_train(&config)?;
//! let tuned = Run::open_or_predict(&PredictConfig::tuned(&run, &config))?;
//! let tfidf = Run::open_or_fit(Baseline::TfidfLogReg, &config.corpus)?;
//! let all = Results::of(task, &[("TF-IDF", &tfidf), ("LoRA", &tuned)])?;
//! println!("{:?}", all.compare(&[("TF-IDF", "LoRA")], "micro_f1")?); // paired, with interval and p
//! # Ok::<(), dxlab::Error>(())
//! ```
//!
//! Rooms, from the ground up; each uses only those before it (`docs/design.md`):
//!
//! - [`io`] — atomic writes, digests, canonical JSON
//! - [`corpus`] — cases, readers, splits, leaks, synthetic findings
//! - [`label`] — from an answer to labels, comparable names and concepts
//! - [`prompt`] — named prompts, chat templates, encoding
//! - [`model`] — decoders of several families, encoders, differentiable operations, files, the registry of base models
//! - [`adapter`] — LoRA, rsLoRA, DoRA, PiSSA; PEFT's files
//! - [`train`] — losses, optimisers, the loop
//! - [`generate`] — decoding, constraints, ranking, endpoints
//! - [`metric`] — score tables, estimates, paired comparisons, tiers of nearness, calibration
//! - [`phenotype`] — rare diseases by the signs of a patient: ontology, annotations, rankers
//! - [`ensemble`] — votes
//! - [`run`] — the run store, run specifications, predictions
//! - [`augment`] — data augmentation
//! - [`task`] — what an answer is: its text, parser, scores and reward
//! - [`baseline`] — methods without a language model
//! - [`failure`] — every label error in one class, with its evidence sentence
//! - [`pretrain`] — data of the carried base models
//! - [`study`] — experiments: train, predict, grids, searches, results
//! - [`report`] — figures, tables, chapters, workbook
//! - [`serve`] — HTTP: OpenAI's API, `/v1/diagnose`, the page
//! - [`cli`] — the command
//!
//! What it does not do: train on a GPU (the `cuda` feature is not built in yet), or say anything about patients.
/// The tensor library, in the version that this crate is built with: notebooks compute with it.
pub use candle_core;

pub mod error;
pub mod io;

pub mod adapter;
pub mod augment;
pub mod baseline;
pub mod corpus;
pub mod ensemble;
pub mod failure;
pub mod generate;
pub mod label;
pub mod metric;
pub mod model;
pub mod phenotype;
pub mod pretrain;
pub mod prompt;
pub mod report;
pub mod run;
pub mod study;
pub mod task;
pub mod train;

pub mod cli;
pub mod process;
pub mod serve;

pub use error::{Error, Result};

/// The project's folder: `DXLAB_HOME`, else where this crate was built from. `data/`, `configs/` and `runs/` lie in it.
pub fn home() -> std::path::PathBuf {
    std::env::var_os("DXLAB_HOME").map(Into::into).unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into())
}

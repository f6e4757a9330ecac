//! dxlab: how well does a small language model turn clinical findings into diagnoses, what does fine-tuning really buy, and where
//! does it fail?
//!
//! A run is opened if its folder is there and made if not, so this is quick to repeat and honest to read:
//!
//! ```no_run
//! use dxlab::metric::Metric;
//! use dxlab::study::{Baseline, PredictConfig, Results, Run, TrainConfig, open_corpus};
//!
//! let config = TrainConfig::named("lora-plain")?; // configs/lora-plain.toml
//! let run = Run::open_or_train(&config)?;
//! let tuned = Run::open_or_predict(&PredictConfig::tuned(&run, &config))?;
//! let tfidf = Run::open_or_fit(Baseline::TfidfLogReg, &config.corpus)?;
//! let all = Results::of(open_corpus(&config.corpus)?.0, &[("TF-IDF", &tfidf), ("LoRA", &tuned)])?;
//! println!("{:?}", all.compare(&[("TF-IDF", "LoRA")], "micro_f1")?); // paired, with interval and p
//! # Ok::<(), dxlab::Error>(())
//! ```
//!
//! Rooms, from the ground up; each uses only those before it: [`corpus`] (records, readers, splits, leaks), [`label`] (from an answer to
//! labels), [`prompt`] (named prompts, chat format, encoding), [`model`] (decoders of several families, encoders, their differentiable operations, files), [`adapter`] (LoRA and
//! its relatives, PEFT's files), [`train`] (losses, AdamW, the loop), [`generate`] (decoding, constraints, ranking, endpoints), [`metric`] (estimates,
//! paired comparisons, tiers of nearness, calibration), [`ensemble`] (votes), [`study`] (runs, experiments, baselines), [`report`] (figures, tables,
//! workbook), [`cli`] (the command).
//!
//! What it does not do: serve models over the network, train on a GPU (the `cuda` feature is not built in yet), or say anything about patients.
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
pub mod pretrain;
pub mod prompt;
pub mod report;
pub mod run;
pub mod study;
pub mod task;
pub mod train;

pub mod cli;
pub mod process;

pub use error::{Error, Result};

/// The project's folder: `DXLAB_HOME`, else where this crate was built from. `data/`, `configs/` and `runs/` lie in it.
pub fn home() -> std::path::PathBuf {
    std::env::var_os("DXLAB_HOME").map(Into::into).unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into())
}

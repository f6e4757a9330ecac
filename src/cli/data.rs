//! `dxlab data`: corpora: what is known, download, validate with row numbers, generate.
use crate::corpus::{check, synthetic};
use crate::error::{Error, Result};
use clap::Subcommand;
use std::path::PathBuf;

#[derive(Subcommand)]
pub enum Data {
    /// Name every bad row of a findings file (.xlsx, .csv, .json, .jsonl, or a folder with train.* and test.*)
    Check { file: PathBuf },
    /// Generate synthetic data
    #[command(subcommand)]
    Make(Make),
}

#[derive(Subcommand)]
pub enum Make {
    /// Synthetic abdominal CT findings: train.jsonl, test.jsonl, truth.jsonl and a README
    Findings {
        #[arg(long, default_value_t = synthetic::make::SEED)]
        seed: u64,
        #[arg(long, default_value = "data/findings")]
        out: PathBuf,
    },
}

impl Data {
    pub fn run(self) -> Result<()> {
        match self {
            Self::Check { file } => {
                let report = check::check(&file)?;
                print!("{report}");
                let problems = report.problems.len();
                if problems > 0 {
                    return Err(Error::input(format!("{}: {problems} problems, listed above", file.display())));
                }
            }
            Self::Make(Make::Findings { seed, out }) => {
                let corpus = synthetic::write(seed, &out)?;
                let (train, test) = (corpus.train.len(), corpus.test.len());
                println!(
                    "synthetic findings, seed {seed}: {train} training and {test} test cases in {}",
                    out.display()
                );
                println!("corpus digest {}", corpus.digest());
            }
        }
        Ok(())
    }
}

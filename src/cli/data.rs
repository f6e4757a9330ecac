//! `dxlab data`: corpora: what is known, download, validate with row numbers, generate.
use crate::corpus::{check, fetch, manifest, manifest::State, synthetic};
use crate::error::{Error, Result};
use clap::Subcommand;
use std::path::{Path, PathBuf};

#[derive(Subcommand)]
pub enum Data {
    /// Known open corpora, and which of them lie under DXLAB_DATA with the right checksums
    List,
    /// Download an open corpus; every checksum is verified
    Fetch {
        /// A name that `dxlab data list` shows
        name: String,
        /// Folder to put it in (the layout of DXLAB_DATA); default DXLAB_DATA
        #[arg(long)]
        to: Option<PathBuf>,
    },
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
            Self::List => list(data_folder().as_deref())?,
            Self::Fetch { name, to } => {
                let source = manifest::source(&name)?;
                let dir = to.or_else(data_folder).ok_or_else(|| {
                    Error::input(
                        "say where to put it: `--to DIR`, or set DXLAB_DATA to the folder of your open corpora",
                    )
                })?;
                println!("{}: {}. {}. Please cite: {}", source.title, source.holds, source.licence, source.citation);
                fetch::fetch(&source, &dir, |line| println!("{line}"))?;
            }
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

fn data_folder() -> Option<PathBuf> {
    std::env::var_os("DXLAB_DATA").filter(|dir| !dir.is_empty()).map(PathBuf::from)
}

fn list(dir: Option<&Path>) -> Result<()> {
    match dir {
        Some(dir) => println!("DXLAB_DATA is {}", dir.display()),
        None => println!("DXLAB_DATA is not set: open corpora are not looked for"),
    }
    for source in manifest::sources()? {
        let states = match dir {
            Some(dir) => source.files.iter().map(|file| file.state(dir)).collect::<Result<Vec<_>>>()?,
            None => vec![State::Absent; source.files.len()],
        };
        let count = |state| states.iter().filter(|s| **s == state).count();
        let present = match (count(State::Verified), count(State::Different)) {
            (all, 0) if all == states.len() => "present, verified".to_string(),
            (0, 0) => "absent".to_string(),
            (right, other) => format!("{right} of {} files right, {other} different", states.len()),
        };
        println!("\n{} ({present})\n  {}: {}", source.name, source.title, source.holds);
        println!("  {}, {} at {}\n  {}", source.licence, source.repository, source.commit, source.citation);
    }
    Ok(())
}

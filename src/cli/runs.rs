//! `dxlab runs list|show|diff|gc|tensorboard`: what is in the run store.
use crate::error::{Error, Result};
use crate::report::{NONE, Table, tables};
use crate::study::{Store, differences, size};
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};

/// What is in the run store
#[derive(Args, Debug)]
pub struct Runs {
    /// Folder of the runs; by default `runs` in the project's folder
    #[arg(long, global = true)]
    root: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Every run: kind, name, digest, when, how long, how much memory
    List {
        /// Only runs of this kind
        #[arg(long)]
        kind: Option<String>,
    },
    /// Specification and environment of one run
    Show {
        /// Name, folder or digest of the run, or as much of it as is unique
        run: String,
    },
    /// Settings in which two runs differ
    Diff { a: String, b: String },
    /// Logs of training runs as TensorBoard event files, a folder a run: `tensorboard --logdir DIR`
    Tensorboard {
        /// Training runs: name, folder or digest, or as much of it as is unique
        #[arg(required = true)]
        runs: Vec<String>,
        /// Where the folders go
        #[arg(long, default_value = "tensorboard")]
        out: PathBuf,
    },
    /// What can never be opened again: leftovers of makers that are gone, runs of an older version of the numerics
    Gc {
        /// Delete it; without this it is only listed
        #[arg(long)]
        delete: bool,
    },
}

impl Runs {
    pub fn run(self) -> Result<()> {
        let store = Store::open(self.root.as_deref());
        match self.command {
            Command::List { kind } => list(&store, kind.as_deref()),
            Command::Show { run } => show(&store, &run),
            Command::Diff { a, b } => diff(&store, &a, &b),
            Command::Tensorboard { runs, out } => tensorboard(&store, &runs, &out),
            Command::Gc { delete } => gc(&store, delete),
        }
    }
}

fn list(store: &Store, kind: Option<&str>) -> Result<()> {
    let mut runs = store.list()?;
    runs.retain(|run| kind.is_none_or(|kind| run.spec.kind == kind));
    print!(
        "{}",
        Table::from(tables::runs(&runs)?).caption(format!("{} runs in {}", runs.len(), store.root().display()))
    );
    Ok(())
}

fn show(store: &Store, run: &str) -> Result<()> {
    let run = store.named(run)?;
    println!("{}", run.dir.display());
    run.settings()?.into_iter().for_each(|(key, value)| println!("{key} = {value}"));
    Ok(())
}

fn diff(store: &Store, a: &str, b: &str) -> Result<()> {
    let (a, b) = (store.named(a)?, store.named(b)?);
    let or_none = |value: Option<String>| value.unwrap_or_else(|| NONE.into());
    let rows: Vec<Vec<String>> = differences(&a.settings()?, &b.settings()?)
        .into_iter()
        .map(|(key, a, b)| vec![key, or_none(a), or_none(b)])
        .collect();
    print!("{}", Table::from_rows(&["setting", &a.folder(), &b.folder()], &rows));
    Ok(())
}

fn tensorboard(store: &Store, runs: &[String], out: &Path) -> Result<()> {
    for run in runs {
        let run = store.named(run)?;
        if !run.path("log.jsonl").is_file() {
            let folder = run.folder();
            return Err(Error::input(format!(
                "{folder} has no log.jsonl: expected a training run, see `dxlab runs list --kind train`"
            )));
        }
        println!("{}", crate::report::tensorboard::export(&run, out)?.display());
    }
    Ok(())
}

fn gc(store: &Store, delete: bool) -> Result<()> {
    let garbage = store.garbage()?;
    let mut bytes = 0;
    for dir in &garbage {
        bytes += size(dir)?;
        println!("{}", dir.display());
        if delete {
            std::fs::remove_dir_all(dir).map_err(Error::io(dir))?;
        }
    }
    let done = if delete { "deleted" } else { "to delete with --delete" };
    println!("{} folders, {:.1} MB {done}", garbage.len(), bytes as f64 / 1e6);
    Ok(())
}

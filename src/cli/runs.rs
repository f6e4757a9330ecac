//! `dxlab runs list|show|diff|gc|tensorboard`: what is in the run store.
use crate::error::{Error, Result};
use crate::report::kit::{NONE, Table, tables};
use crate::run::{Leftover, Store, differences, size};
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
    /// Logs of training runs as TensorBoard event files, one folder per run: `tensorboard --logdir DIR`
    Tensorboard {
        /// Training runs: name, folder or digest, or as much of it as is unique
        #[arg(required = true)]
        runs: Vec<String>,
        /// Where the folders go
        #[arg(long, default_value = "tensorboard")]
        out: PathBuf,
    },
    /// What the store holds beside its runs: leftovers of makers that are gone, runs of an older version of the numerics
    Gc {
        /// Delete the leftovers that nothing can go on from; without this all is only listed
        #[arg(long)]
        delete: bool,
        /// Delete also the parts that `--resume` would go on from (checkpoints of trainings and searches)
        #[arg(long, requires = "delete")]
        parts: bool,
        /// Delete also the complete runs of an older version of the numerics
        #[arg(long, requires = "delete")]
        old: bool,
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
            Command::Gc { delete, parts, old } => gc(&store, delete, parts, old),
        }
    }
}

fn list(store: &Store, kind: Option<&str>) -> Result<()> {
    let mut runs = store.list()?;
    runs.retain(|run| kind.is_none_or(|kind| run.spec.kind == kind));
    let table = Table::from(tables::runs(&runs)?);
    let caption = format!("{} runs in {}", table.height(), store.root().display());
    print!("{}", table.caption(caption));
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

fn gc(store: &Store, delete: bool, parts: bool, old: bool) -> Result<()> {
    let kinds = [
        (Leftover::Scrap, "leftovers that nothing can go on from", delete, "--delete"),
        (Leftover::Part, "parts that --resume goes on from", parts, "--delete --parts"),
        (Leftover::OldRun, "runs of an older version of the numerics", old, "--delete --old"),
    ];
    let leftovers = store.leftovers()?;
    for (kind, what, delete, flags) in kinds {
        let (mut lines, mut bytes) = (Vec::new(), 0);
        for (_, dir) in leftovers.iter().filter(|(of, _)| *of == kind) {
            let size = size(dir)?;
            if delete && !store.delete(dir)? {
                println!("{}: in use by now, left alone", dir.display());
                continue;
            }
            bytes += size;
            lines.push(format!("  {}, {:.1} MB", dir.display(), size as f64 / 1e6));
        }
        let done = if delete { "deleted".to_string() } else { format!("kept, {flags} deletes them") };
        println!("{} {what}, {:.1} MB: {done}", lines.len(), bytes as f64 / 1e6);
        lines.iter().for_each(|line| println!("{line}"));
    }
    Ok(())
}

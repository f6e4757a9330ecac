//! `dxlab prompts CONFIG.toml`: ways of asking on validation cases, the best of each kind on the test cases.
use crate::error::Result;
use crate::metric::Reading;
use crate::report::chapters::{asking, results};
use crate::run::Store;
use crate::study::{PromptStudy, Results, TrainConfig};
use crate::task::LabelTask;
use clap::Args;
use std::path::PathBuf;

/// Compare ways of asking on validation cases: prompts, examples, constraints, rankings; with --test the best of each kind answers the test
/// cases
#[derive(Args)]
pub struct Prompts {
    /// TOML file, such as configs/prompts.toml
    config: PathBuf,
    /// Only the ways of these names, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    only: Vec<String>,
    /// Ask nothing: the tables of what is there, and which ways are not
    #[arg(long)]
    show: bool,
    /// Ask the test cases in the best way of each kind: once, when all is chosen
    #[arg(long, conflicts_with = "show")]
    test: bool,
    /// Another model than the file's, or than that of the config which DXLAB_CONFIG names
    #[arg(long)]
    model: Option<String>,
    /// Folder of the runs; by default `runs` in the project's folder
    #[arg(long)]
    root: Option<PathBuf>,
}

impl Prompts {
    pub fn run(self) -> Result<()> {
        let mut study = PromptStudy::read(&self.config)?;
        if std::env::var_os("DXLAB_CONFIG").is_some_and(|name| !name.is_empty()) {
            study = study.of(&TrainConfig::from_env()?); // as the notebooks do
        }
        if let Some(model) = &self.model {
            study.model.clone_from(model);
        }
        study.knows(&self.only)?;
        let store = Store::open(self.root.as_deref());
        if !self.show {
            study.ask(&store, &self.only, |way| println!("way {way}"))?;
        }
        let asked = study.found(&store)?;
        for axis in &study.axes {
            if asked.axis(&axis.name)?.1.len() > 1 {
                println!("{}\n{}\n", axis.question, asking::axis(&asked, &axis.name)?);
            }
        }
        println!("{}", asking::standing(&asked)?);
        if self.test {
            let runs = asked.test(&store)?;
            let named: Vec<_> = runs.iter().map(|(name, run)| (name.as_str(), run)).collect();
            let all = Results::of(LabelTask::open(&study.corpus)?, &named)?;
            println!("test cases\n{}", results::scores(&all, Reading::Normalised, &[&study.metric, "exact_match"])?);
        }
        Ok(())
    }
}

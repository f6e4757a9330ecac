//! `dxlab decisions tune`: thresholds of the consensus by TPE, and how much of what they gain is over-fit.
use super::{put, tell};
use crate::error::Result;
use crate::io;
use crate::metric::Bootstrap;
use crate::study::decisions::{Ensemble, Objective, Tuning, TuningConfig};
use crate::task::decisions::Punkt;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Thresholds of the consensus, searched by TPE on notes with gold spans: validation notes, never test notes
///
/// Printed as JSON: the rule that is best on all notes with its apparent score (on the notes that were searched, over-fitted); the score by nested
/// cross-validation over patients; their difference, the optimism; the score of the default thresholds; and the sizes of the smallest subgroups.
///
/// dxlab decisions tune a.json b.json c.json --gold gold/validation --text text --stats stats.csv
#[derive(Args)]
pub struct Tune {
    /// Prediction files of two or more models, each with an entry for every gold note
    #[arg(required = true)]
    predictions: Vec<PathBuf>,
    /// Folder of gold files NAME.json
    #[arg(long)]
    gold: PathBuf,
    /// Folder of notes NAME.txt
    #[arg(long)]
    text: PathBuf,
    /// CSV with SUBJECT_ID, HADM_ID, ROW_ID, GENDER, ETHNICITY, LANGUAGE: without it only the base score is known
    #[arg(long)]
    stats: Option<PathBuf>,
    /// What is searched for; without it the final score with --stats (as published), else the base score
    #[arg(long, value_enum)]
    objective: Option<For>,
    /// Rules tried by a search; the first are the defaults
    #[arg(long, default_value_t = TuningConfig::default().trials)]
    trials: usize,
    /// Parts of the patients, each left out once
    #[arg(long, default_value_t = TuningConfig::default().folds)]
    folds: usize,
    /// Seed of the search and of the folds
    #[arg(long, default_value_t = TuningConfig::default().seed)]
    seed: u64,
    /// Resamples of the bootstrap over patients
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(100..))]
    resamples: u32,
    /// NLTK's folder punkt_tab/english; see `dxlab decisions score`
    #[arg(long)]
    punkt: Option<PathBuf>,
    /// Where the JSON goes; without it it is printed
    #[arg(long)]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum For {
    /// Mean of the base score and that of the worst subgroup, which in few notes may be one note
    Final,
    /// Mean of span and token F1 over all notes
    Base,
}

impl Tune {
    pub fn run(self) -> Result<()> {
        let sentences = self.punkt.as_deref().map_or_else(Punkt::from_env, Punkt::open)?;
        let stats = self.stats.as_deref();
        let (ensemble, warnings) = Ensemble::of_files(&self.gold, &self.text, stats, &self.predictions, &sentences)?;
        tell(&warnings);
        let objective = self.objective.map(|one| match one {
            For::Final => Objective::Final,
            For::Base => Objective::Base,
        });
        let config = TuningConfig { trials: self.trials, folds: self.folds, seed: self.seed, objective };
        let bootstrap = Bootstrap { resamples: self.resamples as usize, ..Bootstrap::default() };
        let found = Tuning::of(&ensemble, config, &bootstrap)?;
        put(self.out.as_deref(), &format!("{:#}\n", io::to_value(&found)?))
    }
}

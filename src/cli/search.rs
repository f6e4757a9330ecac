//! `dxlab search CONFIG.toml`: trials over the run store, the best one as a config.
use crate::error::Result;
use crate::metric::{Estimate, MetricInfo};
use crate::report::kit::{NONE, Table, interval};
use crate::run::{Run, Store};
use crate::study::{Search, SearchConfig};
use clap::Args;
use std::path::PathBuf;

/// Look for better training settings: TPE over the run store, poor trials stopped, the score that is reported not the one that
/// chose
#[derive(Args)]
pub struct SearchFor {
    /// TOML file, such as configs/search-lora.toml
    config: PathBuf,
    /// Trials, instead of the config's; those that were made before are opened
    #[arg(long)]
    trials: Option<usize>,
    /// Go on within a trial that was cut short; without it that trial starts again
    #[arg(long)]
    resume: bool,
    /// Where the best trial's settings go as a training config, besides the run store
    #[arg(long)]
    out: Option<PathBuf>,
}

impl SearchFor {
    pub fn run(self) -> Result<()> {
        let mut config = SearchConfig::read(&self.config)?;
        config.trials = self.trials.unwrap_or(config.trials);
        let run = Run::search_in(&Store::open(None), &config, self.resume)?;
        let found = run.search()?;
        print!("{}", table(&found));
        said(&found).iter().for_each(|line| println!("{line}"));
        let best = run.path("best.toml");
        let out = self.out.unwrap_or_else(|| best.clone());
        if out != best {
            crate::io::write(&out, &std::fs::read(&best).map_err(crate::Error::io(&best))?)?;
        }
        println!("next, on all training cases: dxlab train {}", out.display());
        Ok(())
    }
}

fn table(found: &Search) -> Table {
    let keys: Vec<&str> = found.best().values.keys().map(String::as_str).collect();
    let loss = |loss: f64| format!("{loss:.4}");
    let row = |trial: &crate::study::Trial| {
        let mark = if trial.number == found.chosen { " *" } else { "" };
        let end = trial.stopped_above.map_or("finished".into(), |median| format!("stopped above {median:.4}"));
        let mut row = vec![format!("{}{mark}", trial.number)];
        row.extend(keys.iter().map(|key| trial.values[*key].to_string()));
        row.extend([trial.updates.to_string(), end, loss(trial.inner_loss)]);
        row.extend([trial.outer_loss.map_or(NONE.into(), loss), trial.run.clone()]);
        row
    };
    let rows: Vec<Vec<String>> = found.trials.iter().map(row).collect();
    let names = [&["trial"][..], &keys, &["updates", "end", "inner loss", "outer loss", "run"]].concat();
    Table::from_rows(&names, &rows).caption(format!(
        "{} trials; losses in nats a supervised token; {} inner cases (with validation), {} outer cases; * chosen",
        found.trials.len(),
        found.inner_cases,
        found.outer_cases
    ))
}

fn said(found: &Search) -> Vec<String> {
    let best = found.best();
    let metric = MetricInfo::new(&found.metric).title();
    let score = |estimate: &Option<Estimate>| {
        format!("{} (n = {})", interval(estimate.as_ref()), estimate.as_ref().map_or(0, |e| e.n))
    };
    let mut lines = vec![format!(
        "trial {} was chosen by its inner loss {:.4}: {metric} {} on the validation cases that chose it",
        best.number,
        best.inner_loss,
        score(&found.inner_score)
    )];
    if let Some(outer) = best.outer_loss {
        lines.push(format!(
            "to be reported is the outer part, seen by no trial: loss {outer:.4}, {metric} {}",
            score(&found.outer_score)
        ));
    }
    if let Some((gap, usual)) = found.optimism() {
        lines.push(format!(
            "the chosen trial's inner loss is {gap:+.4} below its outer one, that of all finished trials on average {usual:+.4}: \
             choosing made it look better by {:.4}",
            gap - usual
        ));
    }
    lines
}

//! The fine-tuning chapter: what was set, how much was trained, how the loss went, what it cost. All from a run's files.
use crate::error::Result;
use crate::report::kit::display::{Figure, Table, number};
use crate::report::kit::figures;
use crate::run::{Run, flatten};
use crate::study::{Relative, Training};

/// The run's settings as `config.toml` has them, one row a setting.
pub fn settings(run: &Run) -> Result<Table> {
    let config = run.known().config.unwrap_or_default();
    let rows: Vec<_> = flatten(&config).into_iter().map(|(key, value)| vec![key, value]).collect();
    Ok(Table::from_rows(&["setting", "value"], &rows))
}

/// Numbers of the base model and of the adapter: stored parameters, and which share is trained.
pub fn parameters(training: &Training) -> Table {
    let (base, adapter) = (training.base_parameters, training.adapter_parameters);
    let share = 100.0 * adapter as f64 / base.max(1) as f64;
    let rows = [
        vec!["base model, frozen".to_string(), base.to_string(), "100".into()],
        vec![
            format!("adapter, trained ({} tensors)", training.adapter_tensors),
            adapter.to_string(),
            format!("{share:.1}"),
        ],
    ];
    Table::from_rows(&["part", "parameters", "% of the base"], &rows)
}

/// Loss by update: training and validation.
pub fn curve(training: &Training) -> Result<Figure> {
    let train: Vec<(usize, f64)> = training.log.iter().map(|line| (line.step, line.loss)).collect();
    let held_out: Vec<(usize, f64)> = training.log.iter().filter_map(|l| Some((l.step, l.eval_loss?))).collect();
    figures::learning_curve(&train, &held_out)
}

/// What does not depend on the machine: updates, tokens read and supervised, gradient norms.
pub fn work(training: &Training) -> Table {
    let log = &training.log;
    let norms = || log.iter().map(|line| line.grad_norm);
    let targets: usize = log.iter().map(|line| line.targets).sum();
    let best = training.progress.best_loss.map_or("none".into(), number);
    let rows = [
        ("updates", training.progress.step.to_string()),
        ("update with the best validation loss", training.progress.best_step.to_string()),
        ("best validation loss (nats a supervised token)", best),
        ("tokens read", training.progress.tokens.to_string()),
        ("… of which supervised", targets.to_string()),
        ("smallest gradient norm of an update", number(norms().fold(f64::INFINITY, f64::min))),
        ("largest gradient norm, before clipping", number(norms().fold(0.0, f64::max))),
    ];
    Table::from_rows(&["what", "value"], &rows.map(|(what, value)| vec![what.to_string(), value]))
}

/// Kinds of adapter: what each trains, and how far from the base model it starts (rounding alone is below 1e-4).
pub fn relatives(all: &[Relative]) -> Table {
    let shift = |r: &Relative| if r.start_shift < 1e-4 { "below 0.0001".into() } else { number(r.start_shift) };
    let rows: Vec<_> = all.iter().map(|r| vec![r.name.to_string(), r.trainable.to_string(), shift(r)]).collect();
    Table::from_rows(&["adapter", "trainable parameters", "largest change of log p at the start"], &rows)
}

/// What it cost on the machine that made the run.
pub fn cost(run: &Run, training: &Training) -> Result<Table> {
    let made = run.environment()?;
    let mut rates: Vec<f64> = training.log.iter().map(|line| line.tokens_per_sec).collect();
    rates.sort_by(f64::total_cmp);
    let middle = crate::metric::quantile(&rates, 0.5).unwrap_or(0.0);
    let memory = made.peak_bytes.map_or("unknown".into(), |bytes| format!("{:.0} MB", bytes as f64 / 1e6));
    let rows = [
        ("processor", made.cpu.clone().unwrap_or("unknown".into())),
        ("cores, threads", format!("{}, {}", made.cores, made.threads)),
        ("system, compiler", format!("{}, {}", made.os, made.rustc)),
        ("minutes, from start to finish", format!("{:.1}", made.wall_seconds / 60.0)),
        ("tokens a second, median update", format!("{middle:.0}")),
        ("highest memory", memory),
        ("disk", format!("{:.1} MB", run.bytes()? as f64 / 1e6)),
    ];
    Ok(Table::from_rows(&["what", "value"], &rows.map(|(what, value)| vec![what.to_string(), value])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::{LogLine, Progress};

    #[test]
    fn the_work_of_a_run_is_told_from_its_log() {
        let line = |step: usize, eval_loss| LogLine {
            cross_entropy: None,
            step,
            loss: 2.0 / step as f64,
            lr: 1e-3,
            grad_norm: 0.5 * step as f64,
            tokens: 100,
            targets: 10,
            tokens_per_sec: 1000.0,
            eval_loss,
            eval_tags: None,
        };
        let training = Training {
            log: vec![line(1, None), line(2, Some(1.25))],
            progress: Progress { step: 2, best_step: 2, best_loss: Some(1.25), tokens: 200, ..Progress::default() },
            base_parameters: 1000,
            adapter_parameters: 50,
            adapter_tensors: 4,
        };
        let text = work(&training).to_text();
        assert!(text.contains("supervised") && text.contains("20\n") && text.contains("1.250"), "{text}");
        assert!(parameters(&training).to_text().contains("5.0"));
        assert!(curve(&training).unwrap().svg().contains("best 1.250 at update 2"));
    }
}

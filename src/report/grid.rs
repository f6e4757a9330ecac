//! The experiment grid as tables and figures: an axis is a question, its first arm what the others are compared with.
use super::canvas::{SIZE, font};
use super::display::{Figure, NONE, Table, difference, interval, number};
use super::results::{differences as rows_of, verdict};
use super::{failures, figures};
use crate::error::Result;
use crate::metric::{Estimate, Metric, compare_seeds};
use crate::study::failure::Analysis;
use crate::study::{Grid, Results, Run, Setting, Took, flatten};
use plotters::prelude::Text;
use std::collections::BTreeMap;

/// The arms that were run: in what they differ from the base, what learnt, and what training took (means over seeds).
pub fn arms(grid: &Grid) -> Table {
    let mut rows: Vec<Vec<String>> = Vec::new();
    for setting in grid.config.axes.iter().flat_map(|axis| &axis.arms) {
        let Some((tried, _)) = grid.tried.get(&setting.name) else { continue };
        if rows.iter().any(|row| row[0] == setting.name) {
            continue;
        }
        let mean = |of: &dyn Fn(&Took) -> f64| tried.took.iter().map(of).sum::<f64>() / tried.took.len().max(1) as f64;
        let trained = setting.baseline.is_none();
        let only = |text: String| if trained { text } else { NONE.into() };
        rows.push(vec![
            setting.name.clone(),
            differs(setting),
            format!("{:.0}", mean(&|t| t.cases as f64)),
            only(format!("{:.0}", mean(&|t| t.parameters as f64))),
            only(format!("{:.0}", mean(&|t| t.updates as f64))),
            only(format!("{:.2}", mean(&|t| t.tokens as f64 / 1e6))),
            format!("{:.1}", mean(&|t| t.seconds / 60.0)),
            only(number(mean(&|t| t.validation_loss.unwrap_or(f64::NAN)))),
        ]);
    }
    let names = ["arm", "differs in", "cases", "learns", "updates", "tokens (millions)", "min", "validation loss"];
    Table::from_rows(&names, &rows)
}

/// Keys and values of an arm, without the tables that they stand in.
pub(super) fn differs(setting: &Setting) -> String {
    let flat = |(key, value): (&String, &serde_json::Value)| -> Vec<String> {
        let whole = BTreeMap::from([(key.clone(), value.clone())]);
        let pairs = flatten(&serde_json::to_value(whole).unwrap_or_default());
        pairs.into_iter().map(|(key, value)| format!("{} {value}", key.rsplit('.').next().unwrap_or(&key))).collect()
    };
    let mut said: Vec<String> = setting.set.iter().flat_map(flat).collect();
    said.extend(setting.constrain.map(|how| format!("only {how}")));
    said.extend(setting.baseline.map(|baseline| baseline.name().to_string()));
    said.extend(setting.shown.then(|| "fitted on cases as shown".to_string()));
    if said.is_empty() { NONE.into() } else { said.join(", ") }
}

/// One axis: the mean over seeds with its interval, every seed, and the difference from the first arm; then the runs beside the grid.
pub fn axis(grid: &Grid, name: &str, metric: &Metric) -> Result<Table> {
    let (axis, arms) = grid.axis(name)?;
    let compared = grid.comparisons(metric)?;
    let first = axis.arms.first().map(|arm| arm.name.clone()).unwrap_or_default();
    let mut rows = Vec::new();
    for arm in arms {
        let score = grid.score(arm, metric)?;
        let against = compared.iter().find(|row| row.a == first && row.b == *arm);
        let found = against.and_then(|row| row.difference.as_ref());
        rows.push(vec![
            arm.to_string(),
            interval(score.as_ref().map(|s| &s.estimate)),
            score.map_or(NONE.into(), |s| s.values.iter().map(|v| format!("{v:.3}")).collect::<Vec<_>>().join(" ")),
            difference(found),
            against.and_then(|row| row.p_holm).map_or(NONE.into(), number),
            found.and_then(|d| d.detectable).map_or(NONE.into(), number),
        ]);
    }
    for (name, outcomes) in &grid.beside {
        let found = match grid.tried.contains_key(&first) {
            true => compare_seeds(metric, grid.outcomes(&first)?, &[outcomes.clone()], &grid.bootstrap)?,
            false => None,
        };
        let score = grid.bootstrap.estimates(&[metric.statistic(outcomes)], outcomes).remove(0);
        let detectable = found.as_ref().and_then(|d| d.detectable).map_or(NONE.into(), number);
        let nothing = NONE.to_string();
        rows.push(vec![
            name.clone(),
            interval(score.as_ref()),
            nothing.clone(),
            difference(found.as_ref()),
            nothing,
            detectable,
        ]);
    }
    let names = ["arm", &metric.to_string(), "each seed", "difference", "p (Holm)", "detectable"];
    Ok(Table::from_rows(&names, &rows))
}

/// The question of an axis and what its table is of.
pub fn question(grid: &Grid, name: &str) -> Result<String> {
    let (axis, _) = grid.axis(name)?;
    let first = axis.arms.first().map(|arm| arm.name.as_str()).unwrap_or_default();
    let (n, seeds) = (grid.corpus.test.len(), grid.config.seeds.len());
    Ok(format!(
        "{} {seeds} seeds, {n} test cases of {}; differences from {first}, paired by case and seed",
        axis.question, grid.corpus.name
    ))
}

/// What more training cases give: the mean over seeds of every arm of some axes by its number of training cases, a line an axis.
pub fn by_cases(grid: &Grid, axes: &[(&str, &str)], metric: &Metric) -> Result<Figure> {
    let mut series = Vec::new();
    for (name, axis) in axes {
        let mut points: Vec<(f64, Estimate)> = Vec::new();
        for arm in grid.axis(axis)?.1 {
            let took = &grid.tried(arm)?.took;
            let cases = took.iter().map(|t| t.cases as f64).sum::<f64>() / took.len().max(1) as f64;
            points.extend(grid.score(arm, metric)?.map(|score| (cases, score.estimate)));
        }
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        if !points.is_empty() {
            series.push((name.to_string(), points));
        }
    }
    if series.is_empty() {
        return nothing();
    }
    let title = format!("{metric} (n = {}, {} seeds, 95 % interval)", grid.corpus.test.len(), grid.config.seeds.len());
    figures::bands(&series, "training cases (log)", &title)
}

/// Differences of some axes from their first arms, with intervals and what could have been detected.
pub fn differences(grid: &Grid, axes: &[&str], metric: &Metric) -> Result<Figure> {
    let mut rows = Vec::new();
    let all = grid.comparisons(metric)?;
    for name in axes {
        let (axis, arms) = grid.axis(name)?;
        let first = axis.arms.first().map(|arm| arm.name.as_str()).unwrap_or_default();
        rows.extend(all.iter().filter(|row| row.a == first && arms.contains(&row.b.as_str())).cloned());
    }
    if rows.is_empty() {
        return nothing();
    }
    let (n, seeds) = (grid.corpus.test.len(), grid.config.seeds.len());
    figures::paired_forest(&rows, &format!("difference in {metric} (n = {n}, {seeds} seeds)"))
}

/// Arms against one of the runs beside the grid, corrected among themselves.
pub fn against(grid: &Grid, name: &str, arms: &[&str], metric: &Metric) -> Result<Table> {
    rows_of(&grid.against(name, &run_only(grid, arms), metric)?)
}

/// Of the errors of each class that an arm makes, how many other arms do not make, all by their first seeds; dashes where one of them was
/// not run.
pub fn remedies(grid: &Grid, arm: &str, others: &[&str]) -> Result<Table> {
    let wanted = [&[arm], others].concat();
    let run = |name: &&str| grid.tried.get(*name).map(|(tried, _)| &tried.run);
    let runs: Vec<(&str, &Run)> = wanted.iter().filter_map(|name| Some((*name, run(name)?))).collect();
    if runs.len() < wanted.len() {
        return Ok(Table::from_rows(&[&["class"], others].concat(), &[vec![NONE.to_string(); wanted.len()]]));
    }
    let results = Results::of(grid.corpus.clone(), &runs)?;
    failures::remedies_by_class(&Analysis::of(&results, BTreeMap::new()), arm, others)
}

/// A sentence a comparison of the grid's axes, the largest differences first, and how many arms nothing was found of.
pub fn verdicts(grid: &Grid, metric: &Metric) -> Result<Vec<String>> {
    let mut rows = grid.comparisons(metric)?;
    let size = |row: &crate::study::Comparison| row.difference.as_ref().map_or(0.0, |d| d.value.abs());
    rows.sort_by(|a, b| size(b).total_cmp(&size(a)));
    Ok(rows.iter().map(verdict).collect())
}

fn run_only<'a>(grid: &Grid, arms: &[&'a str]) -> Vec<&'a str> {
    arms.iter().copied().filter(|arm| grid.tried.contains_key(*arm)).collect()
}

/// In the place of a figure, where no arm of the grid was run on these cases.
fn nothing() -> Result<Figure> {
    Figure::draw((SIZE.0, 48), |area| {
        let text = "no arm of this grid was run on these cases yet: dxlab grid configs/grid.toml";
        Ok(area.draw(&Text::new(text, (20, 24), font(13)))?)
    })
}

/// What the grid has and lacks, in a line.
pub fn standing(grid: &Grid) -> Result<String> {
    let all = grid.config.arms()?;
    let missing: Vec<&str> =
        all.iter().map(|arm| arm.name.as_str()).filter(|arm| !grid.tried.contains_key(*arm)).collect();
    let has = all.len() - missing.len();
    let seeds = grid.config.seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    let lacks = if missing.is_empty() { String::new() } else { format!("; not run: {}", missing.join(", ")) };
    Ok(format!("{has} of {} arms were run, each with the seeds {seeds}{lacks}", all.len()))
}

//! The experiment grid as tables and figures: an axis is a question, its first arm what the others are compared with.
use super::display::{Figure, NONE, Table, difference, interval, number};
use super::figures;
use crate::error::Result;
use crate::metric::Metric;
use crate::study::Grid;

/// One axis: what learnt, the mean over seeds with its interval, every seed, and the difference from the first arm.
pub fn axis(grid: &Grid, name: &str, metric: &Metric) -> Result<Table> {
    let (axis, arms) = grid.axis(name)?;
    let compared = grid.comparisons(metric)?;
    let first = axis.arms.first().map(|arm| arm.name.clone()).unwrap_or_default();
    let mut rows = Vec::new();
    for arm in arms {
        let (score, took) = (grid.score(arm, metric)?, &grid.tried(arm)?.took);
        let against = compared.iter().find(|row| row.a == first && row.b == *arm);
        let found = against.and_then(|row| row.difference.as_ref());
        let minutes = took.iter().map(|t| t.seconds).sum::<f64>() / 60.0 / took.len().max(1) as f64;
        rows.push(vec![
            arm.to_string(),
            took.first().map_or(NONE.into(), |t| t.parameters.to_string()),
            format!("{minutes:.1}"),
            interval(score.as_ref().map(|s| &s.estimate)),
            score.map_or(NONE.into(), |s| s.values.iter().map(|v| format!("{v:.3}")).collect::<Vec<_>>().join(" ")),
            difference(found),
            against.and_then(|row| row.p_holm).map_or(NONE.into(), number),
            found.and_then(|d| d.detectable).map_or(NONE.into(), number),
        ]);
    }
    let names = ["arm", "learns", "min", &metric.to_string(), "each seed", "difference", "p (Holm)", "detectable"];
    let n = grid.corpus.test.len();
    let seeds = grid.config.seeds.len();
    Ok(Table::from_rows(&names, &rows).caption(format!(
        "{} {seeds} seeds, {n} test cases of {}; differences from {first}, paired by case and seed",
        axis.question, grid.corpus.name
    )))
}

/// Differences of an axis from its first arm, with intervals and what could have been detected.
pub fn differences(grid: &Grid, name: &str, metric: &Metric) -> Result<Figure> {
    let (axis, arms) = grid.axis(name)?;
    let first = axis.arms.first().map(|arm| arm.name.as_str()).unwrap_or_default();
    let mut rows = grid.comparisons(metric)?;
    rows.retain(|row| row.a == first && arms.contains(&row.b.as_str()));
    let n = grid.corpus.test.len();
    figures::paired_forest(&rows, &format!("difference in {metric} (n = {n}, {} seeds)", grid.config.seeds.len()))
}

//! What the axes of an experiment grid say, in sentences: which arms can be told from the first, at how many updates
//! they met, and how their intervals are to be read.
use super::results::verdict;
use crate::error::Result;
use crate::metric::{Reading, compare_seeds, holm};
use crate::report::kit::display::difference;
use crate::study::{Comparison, Grid};

/// Where nothing was run.
const NOTHING: &str = "no arm of this question was run on these cases: `dxlab grid configs/grid.toml` runs them";

/// An axis read out: a sentence an arm, and of those that cannot be told from the first what would have been found.
pub fn reading(grid: &Grid, axis: &str, metric: &str) -> Result<Vec<String>> {
    let (axis, arms) = grid.axis(axis)?;
    let first = axis.arms.first().map(|arm| arm.name.as_str()).unwrap_or_default();
    let all = grid.comparisons(metric)?;
    let rows = all.iter().filter(|row| row.a == first && arms.contains(&row.b.as_str()));
    let said: Vec<String> = rows.map(sentence).collect();
    Ok(if said.is_empty() { vec![NOTHING.to_string()] } else { said })
}

fn sentence(row: &Comparison) -> String {
    let power = 100.0 * crate::metric::POWER;
    let missed = row.difference.as_ref().and_then(|d| d.detectable).filter(|_| !told_apart(row));
    let missed = missed.map(|d| format!("; a true difference of {d:.3} would have been found with {power:.0} % power"));
    format!("{}{}", verdict(row), missed.unwrap_or_default())
}

fn told_apart(row: &Comparison) -> bool {
    row.p_holm.is_some_and(|p| p < crate::metric::ALPHA)
}

/// Comparisons whose interval leaves 0 out although p after Holm does not pass, and the other way round; says so where
/// there is none.
pub fn uncorrected(grid: &Grid, metric: &str) -> Result<String> {
    let rows = grid.comparisons(metric)?;
    let outside = |row: &Comparison| row.difference.as_ref().is_some_and(|d| d.low > 0.0 || d.high < 0.0);
    let odd: Vec<String> = rows
        .iter()
        .filter(|row| outside(row) && !told_apart(row))
        .map(|row| {
            let p = row.p_holm.map_or(String::new(), |p| format!(", p after Holm {p:.3}"));
            format!("{} ({}{p})", row.b, difference(row.difference.as_ref()))
        })
        .collect();
    Ok(match odd.is_empty() {
        true => format!(
            "Of the {} comparisons none has an interval that leaves 0 out and a corrected p of {} or more.",
            rows.len(),
            crate::metric::ALPHA
        ),
        false => format!(
            "Of the {} comparisons these have an interval that leaves 0 out and a corrected p of {} or more: {}. \
             Alone each would count as a difference; among so many it may be chance, and it is not counted here.",
            rows.len(),
            crate::metric::ALPHA,
            odd.join("; ")
        ),
    })
}

/// b − a of the pairs of arms given, whatever axes they stand on; p after Holm over these pairs. Pairs with an arm that
/// was not run are left out.
pub fn between(grid: &Grid, pairs: &[(&str, &str)], metric: &str) -> Result<Vec<Comparison>> {
    let run = pairs.iter().filter(|(a, b)| grid.tried.contains_key(*a) && grid.tried.contains_key(*b));
    let row = |(a, b): &(&str, &str)| -> Result<Comparison> {
        let difference = compare_seeds(grid.scored(a)?, grid.scored(b)?, metric, &grid.bootstrap)?;
        Ok(Comparison::of(a, b, metric, Reading::Normalised, difference))
    };
    let mut rows = run.map(row).collect::<Result<Vec<_>>>()?;
    let p: Vec<f64> = rows.iter().filter_map(|row| row.difference.as_ref().map(|d| d.p)).collect();
    let mut corrected = holm(&p).into_iter();
    rows.iter_mut().filter(|row| row.difference.is_some()).for_each(|row| row.p_holm = corrected.next());
    Ok(rows)
}

/// The same in sentences.
pub fn between_in_words(grid: &Grid, pairs: &[(&str, &str)], metric: &str) -> Result<Vec<String>> {
    let said: Vec<String> = between(grid, pairs, metric)?.iter().map(sentence).collect();
    Ok(if said.is_empty() { vec![NOTHING.to_string()] } else { said })
}

/// At how many updates (mean over seeds) the arms that were trained met the first arm of the grid, and which did not.
pub fn updates(grid: &Grid) -> Result<String> {
    /// Shares of the first arm's updates within which two arms count as equal.
    const EQUAL: f64 = 0.05;
    let mut arms: Vec<(&str, f64)> = Vec::new();
    for setting in grid.config.axes.iter().flat_map(|axis| &axis.arms).filter(|arm| arm.baseline.is_none()) {
        let Some(tried) = grid.tried.get(&setting.name) else { continue };
        if arms.iter().all(|(name, _)| *name != setting.name) {
            let sum: usize = tried.took.iter().map(|took| took.updates).sum();
            arms.push((&setting.name, sum as f64 / tried.took.len().max(1) as f64));
        }
    }
    let Some(((first, base), rest)) = arms.split_first() else { return Ok(NOTHING.to_string()) };
    let near = |updates: f64| (updates - base).abs() <= EQUAL * base;
    let far: Vec<String> = rest.iter().filter(|arm| !near(arm.1)).map(|(name, n)| format!("{name} {n:.0}")).collect();
    let others = if far.is_empty() { String::new() } else { format!("; the others differ: {}", far.join(", ")) };
    Ok(format!(
        "{first} made {base:.0} updates (mean over seeds), and {} of {} other arms as many within {:.0} %{others}.",
        rest.len() - far.len(),
        rest.len(),
        100.0 * EQUAL
    ))
}

/// Of how many seeds an arm keeps what stood before its last evaluation: there the validation loss had risen again.
pub fn kept_early(grid: &Grid, arm: &str) -> String {
    let Some(tried) = grid.tried.get(arm) else { return format!("{arm}: {NOTHING}") };
    let early: Vec<String> = tried
        .took
        .iter()
        .filter(|took| took.best_update < took.updates)
        .map(|took| format!("update {} of {} (seed {})", took.best_update, took.updates, took.seed))
        .collect();
    let of = tried.took.len();
    match early.is_empty() {
        true => format!(
            "{arm}: all {of} seeds keep what their last evaluation found, where the validation loss was lowest."
        ),
        false => {
            format!("{arm}: {} of {of} seeds keep an earlier state than the last: {}.", early.len(), early.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::chapters::grid::tests::tried;
    use crate::run::Store;
    use crate::study::{ArmResult, GridConfig, TrainingCost};

    const GRID: &str = r#"
base = "lora-plain"
seeds = [1]
[[axes]]
name = "words"
question = "More words?"
arms = [
  { name = "ten", baseline = "most-frequent", set = { cases = 10 } },
  { name = "all", baseline = "most-frequent" },
]
[[axes]]
name = "length"
question = "Longer?"
arms = [
  { name = "lora" },
  { name = "long", set = { "training.epochs" = 24 } },
  { name = "near", set = { "adapter.r" = 8 } },
]
"#;

    /// Two baselines fitted, and three trained arms whose record is made up from one of them.
    fn found(folder: &std::path::Path) -> Grid {
        let mut found = tried(GRID, folder);
        let like = found.tried["all"].clone();
        for (name, updates, best_update) in [("lora", 400, 400), ("long", 1200, 1100), ("near", 410, 410)] {
            let took = vec![TrainingCost { seed: 1, updates, best_update, ..TrainingCost::default() }];
            found.insert_like("all", name, ArmResult { took, ..like.clone() });
        }
        found
    }

    #[test]
    fn an_axis_is_read_out_and_what_was_not_run_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let found = found(folder.path());
        let said = reading(&found, "words", "micro_f1").unwrap();
        assert!(said.len() == 1 && said[0].starts_with("all "), "{said:?}");
        let same = reading(&found, "length", "micro_f1").unwrap();
        assert!(same.len() == 2 && same[0].starts_with("long and lora cannot be told apart"), "{same:?}");
        let grid: GridConfig = toml::from_str(GRID).unwrap();
        let empty = grid.found(&Store::open(Some(&folder.path().join("none")))).unwrap();
        assert_eq!(reading(&empty, "words", "micro_f1").unwrap(), [NOTHING]);
        assert!(updates(&empty).unwrap() == NOTHING && kept_early(&empty, "long").ends_with(NOTHING));
        assert!(uncorrected(&empty, "micro_f1").unwrap().starts_with("Of the 0 comparisons none"));
    }

    #[test]
    fn updates_are_compared_with_those_of_the_first_arm_that_was_trained() {
        let folder = tempfile::tempdir().unwrap();
        let found = found(folder.path());
        assert_eq!(
            updates(&found).unwrap(),
            "lora made 400 updates (mean over seeds), and 1 of 2 other arms as many within 5 %; the others differ: \
             long 1200."
        );
        assert_eq!(
            kept_early(&found, "long"),
            "long: 1 of 1 seeds keep an earlier state than the last: update 1100 of 1200 (seed 1)."
        );
        assert!(kept_early(&found, "near").contains("all 1 seeds keep what their last evaluation found"));
    }

    #[test]
    fn arms_of_two_axes_are_compared_and_corrected_together() {
        let folder = tempfile::tempdir().unwrap();
        let found = found(folder.path());
        let pairs = [("ten", "long"), ("all", "long"), ("ten", "never")];
        let rows = between(&found, &pairs, "micro_f1").unwrap();
        assert_eq!(rows.len(), 2, "an arm that was not run is left out");
        let p: Vec<f64> = rows.iter().map(|row| row.difference.as_ref().unwrap().p).collect();
        assert_eq!(rows.iter().map(|row| row.p_holm.unwrap()).collect::<Vec<_>>(), holm(&p));
        assert!(between_in_words(&found, &pairs[1..2], "micro_f1").unwrap()[0].contains("long and all cannot be told"));
        assert_eq!(between_in_words(&found, &pairs[2..], "micro_f1").unwrap(), [NOTHING]);
    }

    #[test]
    fn an_interval_without_0_and_a_large_corrected_p_are_pointed_out() {
        let folder = tempfile::tempdir().unwrap();
        let found = found(folder.path());
        let said = uncorrected(&found, "micro_f1").unwrap();
        let apart = found
            .comparisons("micro_f1")
            .unwrap()
            .into_iter()
            .filter(|row| !told_apart(row) && row.difference.as_ref().is_some_and(|d| d.low > 0.0 || d.high < 0.0));
        assert_eq!(said.contains("Alone each would count"), apart.count() > 0, "{said}");
    }
}

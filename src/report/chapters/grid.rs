//! The experiment grid as tables and figures: an axis is a question, its first arm what the others are compared with.
use super::failures;
use super::results::differences as rows_of;
use crate::error::Result;
use crate::generate::base_id;
use crate::metric::{Estimate, compare_seeds, over_seeds};
use crate::report::kit::canvas::{SIZE, font};
use crate::report::kit::display::{Figure, NONE, Table, detectable, difference, interval, number, titled};
use crate::report::kit::{Slider, figures};
use crate::run::{NUMERICS_VERSION, Run, Store, flatten};
use crate::study::results::without_seed;
use crate::study::{Analysis, Grid, Results, Setting, TrainConfig, TrainingCost};
use plotters::prelude::Text;
use std::collections::{BTreeMap, BTreeSet};

/// The arms that were run: in what they differ from the base, what learnt, and what training took (means over seeds).
pub fn arms(grid: &Grid) -> Table {
    let mut rows: Vec<Vec<String>> = Vec::new();
    for setting in grid.config.axes.iter().flat_map(|axis| &axis.arms) {
        let Some(tried) = grid.tried.get(&setting.name) else { continue };
        if rows.iter().any(|row| row[0] == setting.name) {
            continue;
        }
        let mean =
            |of: &dyn Fn(&TrainingCost) -> f64| tried.took.iter().map(of).sum::<f64>() / tried.took.len().max(1) as f64;
        let trained = setting.baseline.is_none();
        let only = |text: String| if trained { text } else { NONE.into() };
        rows.push(vec![
            setting.name.clone(),
            differs(setting),
            format!("{:.0}", mean(&|t| t.cases as f64)),
            only(format!("{:.0}", mean(&|t| t.parameters as f64))),
            only(format!("{:.0}", mean(&|t| t.updates as f64))),
            only(format!("{:.0}", mean(&|t| t.best_update as f64))),
            only(format!("{:.2}", mean(&|t| t.tokens as f64 / 1e6))),
            format!("{:.1}", mean(&|t| t.seconds / 60.0)),
            only(number(mean(&|t| t.validation_loss.unwrap_or(f64::NAN)))),
        ]);
    }
    if rows.is_empty() {
        return not_run(grid);
    }
    let counts = ["arm", "differs in", "cases", "learns", "updates", "kept at"];
    let names = [&counts[..], &["tokens (millions)", "min", "validation loss"]].concat();
    Table::from_rows(&names, &rows)
}

/// Keys and values of an arm, without the tables that they stand in.
pub(crate) fn differs(setting: &Setting) -> String {
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
pub fn axis(grid: &Grid, name: &str, metric: &str) -> Result<Table> {
    let (axis, arms) = grid.axis(name)?;
    if arms.is_empty() {
        return Ok(not_run(grid));
    }
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
            detectable(found),
        ]);
    }
    rows.extend(rows_beside(grid, &first, metric)?);
    Ok(Table::from_rows(&titles(metric), &rows))
}

/// Titles of an axis' columns.
fn titles(metric: &str) -> [&str; 6] {
    ["arm", metric, "each seed", "difference", "p (Holm)", "detectable"]
}

/// The runs beside the grid, each with its difference from the arm `first`, if that was run.
fn rows_beside(grid: &Grid, first: &str, metric: &str) -> Result<Vec<Vec<String>>> {
    let row = |name: &String| {
        let found = match grid.tried.contains_key(first) {
            true => compare_seeds(grid.scored(first)?, grid.scored(name)?, metric, &grid.bootstrap)?,
            false => None,
        };
        let score = over_seeds(grid.scored(name)?, metric, &grid.bootstrap)?.map(|seeded| seeded.estimate);
        let (nothing, found) = (NONE.to_string(), found.as_ref());
        Ok(vec![name.clone(), interval(score.as_ref()), nothing.clone(), difference(found), nothing, detectable(found)])
    };
    grid.beside.iter().map(row).collect()
}

/// An axis of base models, and beside it the stored answers of other models to all test cases: those that a user asked, here or at an endpoint
/// (docs/gpu.md), by the name of the run and of the model. What the grid and the chapters of `config` asked or trained is not among them, but for the
/// answers of `config` itself.
pub fn models(grid: Grid, store: &Store, axis_name: &str, metric: &str, config: &TrainConfig) -> Result<Table> {
    let arms = grid.config.arms()?;
    let bases = arms.iter().map(|arm| arm.config.model.as_str()).chain([config.model.as_str()]);
    let own = bases.map(base_id).collect::<Result<BTreeSet<_>>>()?;
    let part = |id: &str, of: usize| id.split('@').nth(of).unwrap_or(id).to_string();
    let own: BTreeSet<String> = own.iter().map(|id| part(id, 1)).collect();
    let trained: BTreeSet<&str> = arms.iter().map(|arm| arm.name.as_str()).collect();
    let known_here = |run: &Run, model: &str| {
        let ours = own.contains(&part(model, 1)) || trained.contains(without_seed(&part(model, 0)));
        ours && (run.spec.name != config.name || trained.contains(config.name.as_str()))
    };
    let (corpus, mut grid, mut others) = (grid.task.corpus_digest(), grid, 0);
    for run in store.list()?.iter().filter(|run| run.spec.kind == "predict" && run.spec.numerics == NUMERICS_VERSION) {
        let known = run.known();
        let Some(model) = known.model.filter(|model| !known_here(run, model)) else { continue };
        if known.cases.is_some() || known.corpus.as_ref() != Some(&corpus) {
            continue;
        }
        let name = format!("{} ({})", run.spec.name, model.split('@').next().unwrap_or(&model));
        let twice = grid.beside.contains(&name);
        grid = grid.beside(&if twice { format!("{name} {}", &run.spec.digest[..6]) } else { name }, run)?;
        others += 1;
    }
    let (axis_of, run) = grid.axis(axis_name)?;
    if others == 0 || !run.is_empty() {
        return axis(&grid, axis_name, metric);
    }
    let first = axis_of.arms.first().map(|arm| arm.name.clone()).unwrap_or_default();
    Ok(Table::from_rows(&titles(metric), &rows_beside(&grid, &first, metric)?))
}

/// Several axes with one first arm in one table: that arm, then every other one by what it changes, with the mean over seeds and the difference
/// from the first. Points of curves have no difference, as they are not tested.
pub fn together(grid: &Grid, axes: &[&str], metric: &str) -> Result<Table> {
    let compared = grid.comparisons(metric)?;
    let mut rows: Vec<Vec<String>> = Vec::new();
    let row = |choice: &str, arm: &str| -> Result<Vec<String>> {
        let score = grid.score(arm, metric)?.map(|seeded| seeded.estimate);
        let against = compared.iter().find(|row| row.b == arm);
        let found = against.and_then(|row| row.difference.as_ref());
        let p = against.and_then(|row| row.p_holm).map_or(NONE.into(), number);
        let about = grid.config.setting(arm).and_then(|setting| setting.about.clone()).unwrap_or(arm.into());
        let losses = grid.tried.get(arm).into_iter().flat_map(|tried| &tried.took).map(|took| took.validation_loss);
        let loss = losses.collect::<Option<Vec<f64>>>().filter(|all| !all.is_empty());
        let loss = loss.map_or(NONE.into(), |all| number(all.iter().sum::<f64>() / all.len() as f64));
        Ok(vec![choice.into(), about, loss, interval(score.as_ref()), difference(found), p, detectable(found)])
    };
    let mut shown = BTreeSet::new();
    for name in axes {
        let (axis, arms) = grid.axis(name)?;
        let first = axis.arms.first().map(|arm| arm.name.as_str());
        for arm in arms {
            if shown.insert(arm) {
                rows.push(row(if first == Some(arm) && !axis.curve { NONE } else { name }, arm)?);
            }
        }
    }
    if rows.is_empty() {
        return Ok(not_run(grid));
    }
    Ok(Table::from_rows(&["choice", "arm", "validation loss", metric, "difference", "p (Holm)", "detectable"], &rows))
}

/// The question of an axis and what its table is of.
pub fn question(grid: &Grid, name: &str) -> Result<String> {
    let (axis, _) = grid.axis(name)?;
    let first = axis.arms.first().map(|arm| arm.name.as_str()).unwrap_or_default();
    let (n, seeds) = (grid.task.test().len(), seeds(grid, &[name]));
    Ok(format!(
        "{} {seeds}, {n} test cases of {}; differences from {first}, paired by case and seed",
        axis.question,
        grid.task.corpus_name()
    ))
}

/// What must stand above or below an axis's table: what is corrected there and what is not, and with how many resamples.
pub fn caption(grid: &Grid, metric: &str) -> Result<String> {
    let compared = grid.comparisons(metric)?;
    let level = 100.0 * grid.bootstrap.level;
    let one = format!(
        "each interval ({level:.0} %) and `detectable` (80 % power, 5 % two-sided) is of a single comparison, not corrected"
    );
    let resamples = compared.iter().filter_map(|row| row.difference.as_ref()).map(|d| d.resamples).max();
    Ok(match resamples {
        Some(resamples) => format!(
            "{one}; p is corrected (Holm) over the {} comparisons of the grid, {resamples} resamples of cases and seeds, seed {}",
            compared.len(),
            grid.bootstrap.seed
        ),
        None => format!("{one}; nothing was compared yet"),
    })
}

/// The mean over seeds of every arm of an axis with its number of training cases, fewest first.
fn curve(grid: &Grid, axis: &str, metric: &str) -> Result<Vec<(f64, Estimate)>> {
    let mut points: Vec<(f64, Estimate)> = Vec::new();
    for arm in grid.axis(axis)?.1 {
        let took = &grid.tried(arm)?.took;
        let cases = took.iter().map(|t| t.cases as f64).sum::<f64>() / took.len().max(1) as f64;
        points.extend(grid.score(arm, metric)?.map(|score| (cases, score.estimate)));
    }
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    Ok(points)
}

/// The curves of several axes as a slider: the means over seeds at each number of training cases. The axes must have as many arms each;
/// where one arm read a few cases more than the other, the step names both numbers.
pub fn cases_moved(grid: &Grid, axes: &[(&str, &str)], metric: &str) -> Result<Slider> {
    let curves = axes.iter().map(|(_, axis)| curve(grid, axis, metric)).collect::<Result<Vec<_>>>()?;
    let steps = curves.iter().map(Vec::len).min().unwrap_or(0);
    if steps == 0 || curves.iter().any(|curve| curve.len() != steps) {
        return Slider::new(
            "not all arms were run",
            &[],
            vec![(format!("`dxlab grid configs/{}.toml` runs them", grid.config.name), vec![])],
        );
    }
    let step = |i: usize| {
        let counts: Vec<String> = curves.iter().map(|curve| format!("{:.0}", curve[i].0)).collect();
        let same = counts.iter().all(|count| *count == counts[0]);
        let name = if same { counts[0].clone() } else { counts.join(" and ") };
        (name, curves.iter().map(|curve| curve[i].1.value).collect())
    };
    let names: Vec<String> = axes.iter().map(|(name, _)| format!("{name}, {}", titled(metric))).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    Slider::new("training cases", &names, (0..steps).map(step).collect())
}

/// What more training cases give: the mean over seeds of every arm of some axes by its number of training cases, a line an axis.
pub fn by_cases(grid: &Grid, axes: &[(&str, &str)], metric: &str) -> Result<Figure> {
    let mut series = Vec::new();
    for (name, axis) in axes {
        let points = curve(grid, axis, metric)?;
        if !points.is_empty() {
            series.push((name.to_string(), points));
        }
    }
    if series.is_empty() {
        return nothing();
    }
    let title = format!(
        "{} (n = {}, {}, 95 % interval)",
        titled(metric),
        grid.task.test().len(),
        seeds(grid, &axes.iter().map(|(_, axis)| *axis).collect::<Vec<_>>())
    );
    figures::bands(&series, "training cases (log)", &title)
}

/// Differences of some axes from their first arms, with intervals and what could have been detected.
pub fn differences(grid: &Grid, axes: &[&str], metric: &str) -> Result<Figure> {
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
    let (n, seeds) = (grid.task.test().len(), seeds(grid, axes));
    let title = format!("difference in {} (n = {n}, {seeds}, 95 % intervals of single comparisons)", titled(metric));
    figures::paired_forest(&rows, &title)
}

/// Arms against one of the runs beside the grid, corrected among themselves.
pub fn against(grid: &Grid, name: &str, arms: &[&str], metric: &str) -> Result<Table> {
    rows_of(&grid.against(name, &run_only(grid, arms), metric)?)
}

/// Of the errors of each class that an arm makes, how many other arms do not make, all by their first seeds. The column of an arm that was
/// not run says so and has dashes; where the first was not run, there are no errors to fix and all columns have.
pub fn remedies(grid: &Grid, arm: &str, others: &[&str]) -> Result<Table> {
    let run = |name: &str| grid.tried.get(name).map(|tried| &tried.run);
    let head = |name: &str| if run(name).is_some() { name.to_string() } else { format!("{name} (not run)") };
    let Some(first) = run(arm) else {
        let heads: Vec<String> =
            [format!("class of an error of {}", head(arm))].into_iter().chain(others.iter().map(|o| head(o))).collect();
        let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
        return Ok(Table::from_rows(&heads, &[vec![NONE.to_string(); heads.len()]]));
    };
    let there = others.iter().filter_map(|other| Some((*other, run(other)?)));
    let runs: Vec<(&str, &Run)> = [(arm, first)].into_iter().chain(there).collect();
    let results = Results::of(grid.labels()?.clone(), &runs)?;
    let columns: Vec<_> = others.iter().map(|other| (head(other), run(other).map(|_| *other))).collect();
    failures::by_class(&Analysis::of(&results, BTreeMap::new()), arm, &columns)
}

fn run_only<'a>(grid: &Grid, arms: &[&'a str]) -> Vec<&'a str> {
    arms.iter().copied().filter(|arm| grid.tried.contains_key(*arm)).collect()
}

/// In the place of a table, where no arm of the grid was run on these cases.
fn not_run(grid: &Grid) -> Table {
    let (arms, seeds) = (grid.config.arms().map_or(0, |arms| arms.len()), grid.config.seeds.len());
    let row = vec![format!("dxlab grid configs/{}.toml", grid.config.name), format!("{arms} arms, {seeds} seeds each")];
    Table::from_rows(&["not run on these cases yet; this command runs it", "what it runs"], &[row])
}

/// In the place of a figure, where no arm of the grid was run on these cases.
fn nothing() -> Result<Figure> {
    Figure::draw((SIZE.0, 48), |area| {
        let text = "no arm of this grid was run on these cases yet (dxlab grid runs them)";
        Ok(area.draw(&Text::new(text, (20, 24), font(13)))?)
    })
}

/// What the grid has and lacks, in a line.
pub fn standing(grid: &Grid) -> Result<String> {
    let all = grid.config.arms()?;
    let missing: Vec<&str> =
        all.iter().map(|arm| arm.name.as_str()).filter(|arm| !grid.tried.contains_key(*arm)).collect();
    let has = all.len() - missing.len();
    let told = |seeds: &[u64]| {
        let all = seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
        format!("seed{} {all}", if seeds.len() == 1 { "" } else { "s" })
    };
    let mut lacks = if missing.is_empty() { String::new() } else { format!("; not run: {}", missing.join(", ")) };
    for (name, tried) in grid.tried.iter().filter(|(_, tried)| tried.took.len() < grid.config.seeds.len()) {
        let run: Vec<u64> = tried.took.iter().map(|took| took.seed).collect();
        lacks += &format!("; {name} only with {}", told(&run));
    }
    let seeds = told(&grid.config.seeds);
    let seconds: f64 = grid.tried.values().flat_map(|tried| &tried.took).map(|took| took.seconds).sum();
    let time = if has > 0 { format!("; {} of training in all", hours(seconds)) } else { String::new() };
    Ok(format!("{has} of {} arms were run, each with {seeds}{lacks}{time}", all.len()))
}

/// `45 minutes`, `2.5 hours`
fn hours(seconds: f64) -> String {
    match seconds / 60.0 {
        minutes if minutes < 100.0 => format!("{minutes:.0} minutes"),
        minutes => format!("{:.1} hours", minutes / 60.0),
    }
}

/// How many seeds the arms of some axes were run with, in words.
fn seeds(grid: &Grid, axes: &[&str]) -> String {
    match grid.seeds(axes) {
        (1, 1) => "1 seed".into(),
        (fewest, most) if fewest == most => format!("{most} seeds"),
        (fewest, most) => format!("{fewest} to {most} seeds"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::run::write_predictions;
    use crate::study::GridConfig;

    const GRID: &str = r#"
base = "lora-plain"
seeds = [1, 2]
[[axes]]
name = "words"
question = "How many cases?"
arms = [
  { name = "few", baseline = "most-frequent", set = { cases = 50 } },
  { name = "more", baseline = "most-frequent", set = { cases = 300 } },
  { name = "same", baseline = "most-frequent", set = { cases = 50, "training.epochs" = 2 } },
]
[[axes]]
name = "model"
question = "And a model?"
arms = [{ name = "few", baseline = "most-frequent", set = { cases = 50 } }, { name = "lora" }]
"#;

    /// The grid of this text in a folder in which its baselines were fitted; what would have to be trained was not.
    pub fn tried(text: &str, folder: &std::path::Path) -> Grid {
        let (config, store): (GridConfig, _) = (toml::from_str(text).unwrap(), Store::open(Some(folder)));
        for arm in config.arms().unwrap().iter().filter(|arm| arm.baseline.is_some()) {
            arm.open_or_run(&store, &*crate::task::open(&arm.config.corpus).unwrap()).unwrap();
        }
        config.found(&store).unwrap()
    }

    #[test]
    fn a_table_says_what_is_corrected_and_keeps_the_columns_that_there_are() {
        let folder = tempfile::tempdir().unwrap();
        let grid = tried(GRID, folder.path());
        let said = caption(&grid, "micro_f1").unwrap();
        assert!(
            said.contains("not corrected; p is corrected (Holm) over the 2 comparisons of the grid, 2000 resamples"),
            "{said}"
        );
        let both = together(&grid, &["words"], "micro_f1").unwrap();
        assert_eq!(both.height(), axis(&grid, "words", "micro_f1").unwrap().height(), "every arm once");
        assert!(together(&grid, &["model"], "micro_f1").is_ok() && together(&grid, &["none"], "micro_f1").is_err());
        let words = axis(&grid, "words", "micro_f1").unwrap().to_text();
        let row = |name: &str| words.lines().find(|line| line.starts_with(name)).unwrap().to_string();
        assert!(row("same").ends_with("no case differs") && row("few").ends_with('–'), "{words}");
        assert_eq!(axis(&grid, "model", "micro_f1").unwrap().height(), 1, "lora was not run");
        let fixed = remedies(&grid, "few", &["lora", "same"]).unwrap().to_text();
        let head = fixed.lines().next().unwrap();
        assert!(head.contains("lora (not run)") && head.ends_with("same"), "{fixed}");
        assert!(fixed.lines().skip(1).all(|line| line.contains("–  ") && line.contains("0 of ")), "{fixed}");
        assert!(fixed.lines().count() > 2, "{fixed}");
        let none = remedies(&grid, "lora", &["few"]).unwrap().to_text();
        assert!(none.starts_with("class of an error of lora (not run)  few") && none.lines().count() == 2, "{none}");
    }

    #[test]
    fn answers_of_models_that_a_user_brought_stand_below_the_arms() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(Some(folder.path()));
        let grid = || tried(GRID, folder.path());
        let corpus = grid().task.corpus_digest();
        let answers = grid().answers("few").unwrap()[0].clone();
        let ask = |name: &str, model: &str, cases: Option<usize>| {
            let spec = serde_json::json!({ "corpus": corpus, "model": model, "prompt": "closed@1", "cases": cases });
            let keep = |dir: &std::path::Path| write_predictions(&dir.join("preds.jsonl"), &answers);
            store.open_or_make("predict", name, &spec, keep).unwrap();
        };
        let own = base_id("embedded").unwrap();
        let alone = axis(&grid(), "model", "micro_f1").unwrap().height();
        let config = TrainConfig::named("lora-plain").unwrap();
        let others = |grid: Grid| models(grid, &store, "model", "micro_f1", &config).unwrap();
        let base = own.as_str();
        for (name, model, cases) in
            [("zero-shot", base, None), ("some", "Qwen/Qwen3-4B", Some(3)), ("full", "lora-s7@0123", None)]
        {
            ask(name, model, cases);
        }
        assert_eq!(others(grid()).height(), alone, "the grid's own model or arm, or not all cases");
        ask("tuned", "Qwen/Qwen3-4B", None);
        let text = others(grid()).to_text();
        let row = text.lines().find(|line| line.starts_with("tuned (Qwen/Qwen3-4B)")).unwrap();
        assert_eq!(row.matches('[').count(), 2, "a score and its difference from the first arm: {text}");
        let never = GRID.replace("\"few\", baseline = \"most-frequent\"", "\"few\"");
        let bare: GridConfig = toml::from_str(&never).unwrap();
        let text = others(bare.found(&store).unwrap()).to_text();
        assert_eq!(text.lines().count(), 2, "alone where no arm was run: {text}");
        // the config's own answers stand there too, those of its base to other questions not
        ask("lora-plain", base, None);
        let text = others(grid()).to_text();
        assert!(text.contains("lora-plain (embedded)") && !text.contains("zero-shot"), "{text}");
    }

    #[test]
    fn arms_of_two_axes_are_compared_and_corrected_together() {
        let folder = tempfile::tempdir().unwrap();
        let mut found = tried(GRID, folder.path());
        let like = found.tried["more"].clone();
        let took = vec![TrainingCost { seed: 1, updates: 1200, best_update: 1100, ..TrainingCost::default() }];
        found.insert_like("more", "lora", crate::study::ArmResult { took, ..like });
        let rows = found.between(&[("few", "lora"), ("more", "lora"), ("few", "never")], "micro_f1").unwrap();
        assert_eq!(rows.len(), 2, "an arm that was not run is left out");
        let p: Vec<f64> = rows.iter().map(|row| row.difference.as_ref().unwrap().p).collect();
        assert_eq!(rows.iter().map(|row| row.p_holm.unwrap()).collect::<Vec<_>>(), crate::metric::holm(&p));
        let text = arms(&found).to_text();
        let row = text.lines().find(|line| line.starts_with("lora")).unwrap();
        assert!(row.contains(" 1200 ") && row.contains(" 1100 "), "{text}");
    }

    #[test]
    fn every_axis_of_the_committed_grid_can_be_shown_before_and_after_its_arms_are_run() {
        let folder = tempfile::tempdir().unwrap();
        let config = GridConfig::named("grid").unwrap();
        let empty = config.found(&Store::open(Some(folder.path()))).unwrap();
        for name in config.axes.iter().map(|axis| &axis.name) {
            assert!(axis(&empty, name, "micro_f1").unwrap().to_text().contains("dxlab grid"), "{name}");
            assert!(question(&empty, name).unwrap().ends_with("paired by case and seed"), "{name}");
        }
        assert!(caption(&empty, "micro_f1").unwrap().ends_with("nothing was compared yet"));
        assert!(differences(&empty, &["shown", "rank", "prompt"], "micro_f1").unwrap().svg().contains("dxlab grid"));
    }
}

//! The experiment grid: axes, each a question with arms that answer it; the first arm of an axis is what the others are compared with.
//! An arm may stand on several axes and is run once.
use super::arm::{Arm, ArmResult};
use super::config::TrainConfig;
use super::ensembling::{Rule, combine};
use super::evaluation::{Comparison, correct};
use crate::baseline::Baseline;
use crate::error::{Error, Result};
use crate::metric::{Bootstrap, Reading, ScoreTable, Seeded, compare_seeds, over_seeds};
use crate::prompt::Constrain;
use crate::run::{Run, Store};
use crate::study::search::space;
use crate::task::{self, AnyPrediction, AnyTask, LabelTask};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// A grid, as in its TOML file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GridConfig {
    /// The file that it was read from, without folder and ending; empty where it was not.
    #[serde(skip)]
    pub name: String,
    /// Training config that the arms vary: a name in `configs/`, or a .toml file.
    pub base: String,
    /// What every arm differs in from the base, dotted keys as in `set` of an arm, which comes after.
    #[serde(default)]
    pub set: BTreeMap<String, Value>,
    pub seeds: Vec<u64>,
    pub axes: Vec<Axis>,
}

/// A question and the arms that answer it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Axis {
    pub name: String,
    pub question: String,
    /// Its arms are points of a curve: shown, but not tested against the first.
    #[serde(default)]
    pub curve: bool,
    pub arms: Vec<Setting>,
}

/// One arm, as keys that differ from the base.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    pub name: String,
    /// What it changes, in words: how a summary names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// Dotted keys of a training config (`adapter.r`).
    #[serde(default)]
    pub set: BTreeMap<String, Value>,
    /// What answers are held to.
    #[serde(default)]
    pub constrain: Option<Constrain>,
    /// A method without a language model in its place, fitted on the same training cases.
    #[serde(default)]
    pub baseline: Option<Baseline>,
    /// The baseline is fitted on the cases as a model would be shown them.
    #[serde(default)]
    pub shown: bool,
}

/// What a grid found: every arm that was run, compared with the first of its axis.
pub struct Grid {
    pub task: Arc<dyn AnyTask>,
    pub bootstrap: Bootstrap,
    pub config: GridConfig,
    /// Those in the store, by name.
    pub tried: BTreeMap<String, ArmResult>,
    /// Names of the runs without seeds that stand in every table.
    pub beside: Vec<String>,
    /// Answers of every seed of the arms and of the runs beside them.
    answers: Vec<(String, Vec<Vec<AnyPrediction>>)>,
    /// The same as score tables, scored together.
    scored: BTreeMap<String, Vec<ScoreTable>>,
    /// Comparisons that were made, by metric: every table of the grid shows some of them.
    compared: Mutex<BTreeMap<String, Vec<Comparison>>>,
}

impl GridConfig {
    pub fn read(path: &Path) -> Result<Self> {
        let text = crate::io::read_text(path)?;
        let mut config: Self = toml::from_str(&text).map_err(|e| Error::input(format!("{}: {e}", path.display())))?;
        config.name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        config.arms().map_err(|e| Error::input(format!("{}: {e}", path.display())))?;
        Ok(config)
    }

    /// A grid in the project's `configs/`, by its name.
    pub fn named(name: &str) -> Result<Self> {
        Self::read(&crate::home().join("configs").join(format!("{name}.toml")))
    }

    /// How an arm of this name differs from the base.
    pub fn setting(&self, arm: &str) -> Option<&Setting> {
        self.axes.iter().flat_map(|axis| &axis.arms).find(|setting| setting.name == arm)
    }

    /// The base with what `set` changes of it.
    fn changed_base(&self) -> Result<TrainConfig> {
        space::apply(&TrainConfig::named(&self.base)?, &self.set).map_err(|e| Error::input(format!("`set`: {e}")))
    }

    /// The corpus of all arms, as configs name it.
    pub fn corpus(&self) -> Result<String> {
        Ok(self.changed_base()?.corpus)
    }

    /// Every arm once, in order.
    pub fn arms(&self) -> Result<Vec<Arm>> {
        let (plain, base) = (TrainConfig::named(&self.base)?, self.changed_base()?);
        let (mut arms, mut seen): (Vec<Arm>, BTreeMap<&str, &Setting>) = Default::default();
        if self.seeds.is_empty() {
            return Err(Error::input("`seeds` is empty: give at least one"));
        }
        for setting in self.axes.iter().flat_map(|axis| &axis.arms) {
            match seen.insert(&setting.name, setting) {
                Some(before) if before != setting => {
                    return Err(Error::input(format!("arm `{}` stands for two settings", setting.name)));
                }
                Some(_) => continue,
                None => {}
            }
            let config: TrainConfig =
                space::apply(&base, &setting.set).map_err(|e| Error::input(format!("arm `{}`: {e}", setting.name)))?;
            config.check().map_err(|e| Error::input(format!("arm `{}`: {e}", setting.name)))?;
            if config.corpus != base.corpus {
                let name = &setting.name;
                return Err(Error::input(format!(
                    "arm `{name}`: another corpus than the grid's: arms are compared on the same cases; `corpus` belongs into [set]"
                )));
            }
            let (name, seeds) = (setting.name.clone(), self.seeds.clone());
            let (constrain, baseline, shown) = (setting.constrain, setting.baseline, setting.shown);
            if shown && baseline.is_none() {
                return Err(Error::input(format!("arm `{name}`: `shown` is said of a baseline, and it has none")));
            }
            let same = arms.iter().find(|arm| arm.config == config && arm.baseline.is_none());
            let own = if config == plain { &plain.name } else { &name };
            let trained_as = same.map_or(own, |arm| &arm.trained_as).clone();
            arms.push(Arm { name, config, seeds, constrain, baseline, shown, trained_as });
        }
        Ok(arms)
    }

    /// What is in `store` of this grid, on its corpus.
    pub fn found(&self, store: &Store) -> Result<Grid> {
        self.found_on(store, task::open(&self.corpus()?)?)
    }

    /// As [`GridConfig::found`] on a task that is at hand.
    pub fn found_on(&self, store: &Store, task: Arc<dyn AnyTask>) -> Result<Grid> {
        let (mut tried, mut answers) = (BTreeMap::new(), Vec::new());
        for arm in self.arms()? {
            if let Some(found) = arm.find_seeds(store, &*task)? {
                let of_seeds = found.took.iter().map(|took| found.predictions(&*task, took.seed));
                answers.push((arm.name.clone(), of_seeds.collect::<Result<_>>()?));
                tried.insert(arm.name, found);
            }
        }
        let (bootstrap, config) = (Bootstrap::default(), self.clone());
        let (scored, compared) = (BTreeMap::new(), Mutex::default());
        let mut grid = Grid { task, bootstrap, config, tried, beside: vec![], answers, scored, compared };
        grid.score_together()?;
        Ok(grid)
    }
}

impl Grid {
    /// The arms of an axis that were run, the first of them first.
    pub fn axis(&self, name: &str) -> Result<(&Axis, Vec<&str>)> {
        let known = || self.config.axes.iter().map(|axis| axis.name.as_str()).collect::<Vec<_>>().join(", ");
        let axis = self.config.axes.iter().find(|axis| axis.name == name);
        let axis = axis.ok_or_else(|| Error::input(format!("no axis `{name}`: there are {}", known())))?;
        let run = axis.arms.iter().map(|arm| arm.name.as_str()).filter(|arm| self.tried.contains_key(*arm));
        Ok((axis, run.collect()))
    }

    pub fn tried(&self, arm: &str) -> Result<&ArmResult> {
        self.tried.get(arm).ok_or_else(|| missing(arm))
    }

    /// How many seeds the arms of some axes were run with: the fewest and the most; those of the config where none was run.
    pub fn seeds(&self, axes: &[&str]) -> (usize, usize) {
        let arms =
            || self.config.axes.iter().filter(|axis| axes.contains(&axis.name.as_str())).flat_map(|axis| &axis.arms);
        let counts = || arms().filter_map(|arm| Some(self.tried.get(&arm.name)?.took.len()));
        let all = self.config.seeds.len();
        (counts().min().unwrap_or(all), counts().max().unwrap_or(all))
    }

    /// A score table per seed of an arm, or the one of a run beside the grid.
    pub fn scored(&self, name: &str) -> Result<&[ScoreTable]> {
        self.scored.get(name).map(Vec::as_slice).ok_or_else(|| missing(name))
    }

    /// The answers of every seed of an arm.
    pub fn answers(&self, arm: &str) -> Result<&[Vec<AnyPrediction>]> {
        let found = self.answers.iter().find(|(name, _)| name == arm);
        found.map(|(_, runs)| runs.as_slice()).ok_or_else(|| missing(arm))
    }

    /// The task, where its answers are sets of labels.
    pub fn labels(&self) -> Result<&LabelTask> {
        let name = self.task.name();
        self.task.as_labels().ok_or_else(|| Error::input(format!("task `{name}` has no labels to show")))
    }

    /// How the task compares answers first of all.
    pub fn reading(&self) -> Reading {
        self.task.readings().first().copied().unwrap_or(Reading::Raw)
    }

    /// Scores all answers in one call, so that everything can be compared with everything.
    fn score_together(&mut self) -> Result<()> {
        let all: Vec<(&String, &[AnyPrediction])> =
            self.answers.iter().flat_map(|(name, runs)| runs.iter().map(move |run| (name, run.as_slice()))).collect();
        let tables = self.task.score(&all.iter().map(|(_, run)| *run).collect::<Vec<_>>(), self.reading())?;
        let mut scored = BTreeMap::<String, Vec<ScoreTable>>::new();
        for ((name, _), table) in all.into_iter().zip(tables) {
            scored.entry(name.clone()).or_default().push(table);
        }
        self.scored = scored;
        Ok(())
    }

    /// The mean of a metric over the arm's seeds.
    pub fn score(&self, arm: &str, metric: &str) -> Result<Option<Seeded>> {
        over_seeds(self.scored(arm)?, metric, &self.bootstrap)
    }

    /// The arm with the highest mean; none where nothing was run.
    pub fn best(&self, metric: &str) -> Result<Option<&str>> {
        let mut best: Option<(f64, &str)> = None;
        for arm in self.tried.keys() {
            let value = self.score(arm, metric)?.map_or(f64::NEG_INFINITY, |s| s.estimate.value);
            if best.is_none_or(|(most, _)| value > most) {
                best = Some((value, arm));
            }
        }
        Ok(best.map(|(_, arm)| arm))
    }

    /// Every arm against the first of its axis, p after Holm over all comparisons of the grid, with as many resamples as these need
    /// ([`Bootstrap::for_comparisons`]). Intervals and detectable effects are those of single comparisons, not corrected.
    pub fn comparisons(&self, metric: &str) -> Result<Vec<Comparison>> {
        let mut known = self.compared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rows) = known.get(metric) {
            return Ok(rows.clone());
        }
        let rows = self.compare(metric)?;
        known.insert(metric.to_string(), rows.clone());
        Ok(rows)
    }

    fn compare(&self, metric: &str) -> Result<Vec<Comparison>> {
        let mut pairs = Vec::new();
        for axis in self.config.axes.iter().filter(|axis| !axis.curve) {
            let (_, arms) = self.axis(&axis.name)?;
            let first = axis.arms.first().map(|arm| arm.name.as_str());
            if let (Some(first), [head, others @ ..]) = (first, arms.as_slice()) {
                pairs.extend(others.iter().filter(|_| first == *head).map(|other| (first, *other)));
            }
        }
        pairs.sort_unstable();
        pairs.dedup();
        let bootstrap = self.bootstrap.for_comparisons(pairs.len());
        let row = |(a, b): &(&str, &str)| {
            let difference = compare_seeds(self.scored(a)?, self.scored(b)?, metric, &bootstrap)?;
            Ok(Comparison::of(a, b, metric, self.reading(), difference))
        };
        let mut rows = pairs.iter().map(row).collect::<Result<Vec<_>>>()?;
        correct(&mut rows);
        Ok(rows)
    }

    /// b − a of the pairs given: arms, whatever axes they stand on, and what stands beside the grid; p after Holm over these pairs. Pairs with
    /// an arm that was not run are left out.
    pub fn between(&self, pairs: &[(&str, &str)], metric: &str) -> Result<Vec<Comparison>> {
        let run = pairs.iter().filter(|(a, b)| self.scored.contains_key(*a) && self.scored.contains_key(*b));
        let bootstrap = self.bootstrap.for_comparisons(pairs.len());
        let row = |(a, b): &(&str, &str)| -> Result<Comparison> {
            let difference = compare_seeds(self.scored(a)?, self.scored(b)?, metric, &bootstrap)?;
            Ok(Comparison::of(a, b, metric, self.reading(), difference))
        };
        let mut rows = run.map(row).collect::<Result<Vec<_>>>()?;
        correct(&mut rows);
        Ok(rows)
    }

    /// Takes arms of another grid on the same task among its own, as far as they were run, so that [`Grid::between`] compares across both.
    pub fn with_arms(mut self, other: &Grid, arms: &[&str]) -> Result<Self> {
        if self.task.corpus_digest() != other.task.corpus_digest() {
            return Err(Error::input("grids on different cases: their arms cannot be compared"));
        }
        for &arm in arms.iter().filter(|arm| other.tried.contains_key(**arm)) {
            if self.tried.contains_key(arm) {
                continue;
            }
            self.tried.insert(arm.into(), other.tried(arm)?.clone());
            self.answers.push((arm.into(), other.answers(arm)?.to_vec()));
        }
        self.compared = Mutex::default();
        self.score_together()?;
        Ok(self)
    }

    /// Puts a run without seeds (a baseline) beside the arms of every table.
    pub fn beside(self, name: &str, run: &Run) -> Result<Self> {
        let answers = run.answers(&*self.task)?;
        self.answers_beside(name, answers)
    }

    /// As [`Grid::beside`], of answers that are at hand.
    pub fn answers_beside(mut self, name: &str, answers: Vec<AnyPrediction>) -> Result<Self> {
        if self.answers.iter().any(|(known, _)| known == name) {
            return Err(Error::input(format!("`{name}` stands in or beside the grid already")));
        }
        self.beside.push(name.to_string());
        self.answers.push((name.to_string(), vec![answers]));
        self.score_together()?;
        Ok(self)
    }

    /// Puts a vote beside the arms of every table: one answer per case out of those of all seeds of the members, which are arms or runs that
    /// stand beside the grid. Fails for a member that was not run.
    pub fn vote_beside(self, name: &str, members: &[&str], rule: Rule) -> Result<Self> {
        let each = members.iter().map(|member| self.answers(member)).collect::<Result<Vec<_>>>()?;
        let voted = combine(&*self.task, &each.concat(), rule)?;
        self.answers_beside(name, voted)
    }

    /// Arms against a run beside the grid, corrected among themselves.
    pub fn against(&self, name: &str, arms: &[&str], metric: &str) -> Result<Vec<Comparison>> {
        if !self.beside.iter().any(|beside| beside == name) {
            return Err(Error::input(format!("no run `{name}` stands beside the grid")));
        }
        let bootstrap = self.bootstrap.for_comparisons(arms.len());
        let made = |arm: &&str| {
            let difference = compare_seeds(self.scored(name)?, self.scored(arm)?, metric, &bootstrap)?;
            Ok(Comparison::of(name, arm, metric, self.reading(), difference))
        };
        let mut rows = arms.iter().map(made).collect::<Result<Vec<_>>>()?;
        correct(&mut rows);
        Ok(rows)
    }
}

#[cfg(test)]
impl Grid {
    /// An arm with the scores of another.
    pub(crate) fn insert_like(&mut self, other: &str, name: &str, tried: ArmResult) {
        self.scored.insert(name.into(), self.scored[other].clone());
        self.tried.insert(name.into(), tried);
    }
}

fn missing(arm: &str) -> Error {
    Error::input(format!("arm `{arm}` was not run: `dxlab grid` runs what is missing"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::tagging::EncoderTrainConfig;

    const GRID: &str = r#"
base = "lora-plain"
seeds = [1, 2]
set = { "adapter.r" = 8, "training.epochs" = 3 }
[[axes]]
name = "rank"
question = "How many ranks?"
arms = [{ name = "lora" }, { name = "rank-4", set = { "adapter.r" = 4 } }]
[[axes]]
name = "decoding"
question = "Held or free?"
arms = [{ name = "lora" }, { name = "held", constrain = "labels" }]
"#;

    #[test]
    fn an_arm_on_two_axes_is_one_arm() {
        let grid: GridConfig = toml::from_str(GRID).unwrap();
        let arms = grid.arms().unwrap();
        assert_eq!(arms.iter().map(|arm| arm.name.as_str()).collect::<Vec<_>>(), ["lora", "rank-4", "held"]);
        assert_eq!((arms[1].config.adapter.r, arms[2].constrain), (4, Some(Constrain::Labels)));
        assert_eq!((arms[0].config.adapter.r, arms[1].config.training.epochs), (8, 3), "what all arms share");
        assert_eq!((arms[1].trained_as.as_str(), arms[2].trained_as.as_str()), ("rank-4", "lora"), "trained once");
        let grid: GridConfig =
            toml::from_str(&GRID.replace("set = { \"adapter.r\" = 8, \"training.epochs\" = 3 }", "")).unwrap();
        assert_eq!(grid.arms().unwrap()[2].trained_as, "lora-plain", "the base's own run serves");
    }

    /// A grid of this project with an arm that no training can follow would stop after hours, at that arm.
    #[test]
    fn every_grid_and_config_of_the_project_can_be_trained() {
        let (mut grids, mut configs) = (0, 0);
        for entry in std::fs::read_dir(crate::home().join("configs")).unwrap() {
            let path = entry.unwrap().path();
            let text = crate::io::read_text(&path).unwrap();
            let keys: toml::Table = toml::from_str(&text).unwrap();
            if keys.contains_key("axes") && keys.contains_key("base") {
                let arms = GridConfig::read(&path).and_then(|grid| grid.arms());
                grids += usize::from(arms.unwrap_or_else(|e| panic!("{}: {e}", path.display())).len() > 1);
            } else if keys.contains_key("encoder") {
                let checked = EncoderTrainConfig::read(&path).and_then(|config| config.check());
                checked.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            } else if keys.contains_key("training") && keys.contains_key("corpus") {
                let checked = TrainConfig::read(&path).and_then(|config| config.check());
                configs += usize::from(checked.map_err(|e| panic!("{}: {e}", path.display())).is_ok());
            }
        }
        assert!(grids >= 2 && configs >= 10, "{grids} grids, {configs} training configs");
    }

    #[test]
    fn settings_that_cannot_be_are_named() {
        let refused = |from: &str, to: &str| {
            let grid: GridConfig = toml::from_str(&GRID.replace(from, to)).unwrap();
            grid.arms().unwrap_err().to_string()
        };
        assert!(refused("rank-4", "lora").contains("arm `lora` stands for two settings"));
        assert!(refused("r\" = 4", "rank\" = 4").contains("arm `rank-4`: no training config with adapter.rank set"));
        assert!(
            refused("r\" = 8", "rank\" = 8").contains("`set`: no training config with adapter.rank, training.epochs")
        );
        assert!(refused("[1, 2]", "[]").contains("`seeds` is empty"));
        let other = refused("adapter.r\" = 4", "corpus\" = \"bc5cdr\"");
        assert!(other.contains("arm `rank-4`: another corpus than the grid's"), "{other}");
        let sealed: GridConfig =
            toml::from_str(&GRID.replace("r\" = 8", "r\" = 8, corpus = \"findings-sealed\"")).unwrap();
        assert_eq!(sealed.corpus().unwrap(), "findings-sealed");
        assert!(refused("adapter.r\" = 4", "training.epochs\" = 0").contains("arm `rank-4`: "));
        assert!(
            refused("constrain = \"labels\"", "shown = true").contains("arm `held`: `shown` is said of a baseline")
        );
    }

    #[test]
    fn what_was_not_run_is_not_found_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let grid: GridConfig = toml::from_str(GRID).unwrap();
        let found = grid.found(&Store::open(Some(folder.path()))).unwrap();
        assert!(found.tried.is_empty() && found.comparisons("micro_f1").unwrap().is_empty());
        assert!(found.axis("rank").unwrap().1.is_empty());
        assert!(found.axis("size").unwrap_err().to_string().contains("there are rank, decoding"));
        assert!(found.scored("lora").unwrap_err().to_string().contains("`dxlab grid`"));
    }
}

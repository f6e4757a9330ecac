//! Prompts as an experiment: ways of asking one model, each a small change of another, compared on validation cases; the best of each kind
//! is then put to the test cases.
//!
//! ```text
//! training cases ─┬─ share ──→ validation: every way is asked here, and the best is chosen here
//!                 └─ rest  ──→ examples, neighbours, closed list of these ways
//! test cases ←── only the chosen ways, with examples and list from all training cases
//! ```
use super::chosen_labels::Ranking;
use super::config::{PredictConfig, TrainConfig};
use super::evaluation::Comparison;
use super::ranking;
use super::results::Results;
use super::voting::Voting;
use crate::error::{Error, Result};
use crate::generate::MAX_NEW;
use crate::model::Precision;
use crate::prompt::Constrain;
use crate::run::{Run, Store};
use crate::task::{AnyTask, LabelTask};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::OnceLock;

/// A study, as in its TOML file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromptStudy {
    /// As in a training config.
    pub model: String,
    pub corpus: String,
    #[serde(default, skip_serializing_if = "is_f32")]
    pub weights: Precision,
    /// Share of the training cases (by group) that are asked about.
    pub validation: f64,
    /// Draws them.
    pub seed: u64,
    /// Chooses the best.
    pub metric: String,
    pub axes: Vec<PromptAxis>,
}

fn is_f32(precision: &Precision) -> bool {
    *precision == Precision::F32
}

/// A question and the ways of asking that answer it; the first is what the others are compared with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromptAxis {
    pub name: String,
    pub question: String,
    pub ways: Vec<Way>,
}

/// One way of asking.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Way {
    pub name: String,
    /// What it changes, in words.
    pub about: String,
    /// As on the command line: `instruct-neighbours[neighbours=3]`.
    pub prompt: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constrain: Option<Constrain>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vote: Option<Voting>,
    /// The closed list is ranked by likelihood: with calibration or without. How much of the ranking is the answer is chosen on the
    /// validation cases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<Ranked>,
    #[serde(default = "max_new")]
    pub max_new: usize,
}

fn max_new() -> usize {
    MAX_NEW
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ranked {
    Plain,
    Calibrated,
}

/// How answers come about: the best way of each kind is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Free,
    Constrained,
    Ranked,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Free, Self::Constrained, Self::Ranked];

    /// As it is written in prose.
    pub fn name(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Constrained => "constrained",
            Self::Ranked => "ranked",
        }
    }
}

impl Way {
    pub fn kind(&self) -> Kind {
        match (&self.rank, &self.constrain) {
            (Some(_), _) => Kind::Ranked,
            (None, Some(_)) => Kind::Constrained,
            (None, None) => Kind::Free,
        }
    }
}

/// What a study found on the validation cases.
pub struct Asked {
    pub study: PromptStudy,
    /// Every way that was asked, by its name.
    pub results: Results,
    /// The share of the likeliest label that counts, of each ranked way.
    pub shares: BTreeMap<String, f64>,
    /// Computed when they are first asked for: every table shows some of them.
    compared: OnceLock<Vec<Comparison>>,
}

impl PromptStudy {
    pub fn read(path: &Path) -> Result<Self> {
        let text = crate::io::read_text(path)?;
        let bad = |e: String| Error::input(format!("{}: {e}", path.display()));
        let study: Self = toml::from_str(&text).map_err(|e| bad(e.to_string()))?;
        study.ways().map_err(|e| bad(e.to_string()))?;
        Ok(study)
    }

    /// A study in the project's `configs/`, by its name.
    pub fn named(name: &str) -> Result<Self> {
        Self::read(&crate::home().join("configs").join(format!("{name}.toml")))
    }

    /// The same ways put to the model of a training config, about its corpus.
    pub fn of(self, config: &TrainConfig) -> Self {
        Self { model: config.model.clone(), corpus: config.corpus.clone(), weights: config.weights, ..self }
    }

    /// Every way once, in order.
    pub fn ways(&self) -> Result<Vec<&Way>> {
        let (mut ways, mut seen): (Vec<&Way>, BTreeMap<&str, &Way>) = Default::default();
        for way in self.axes.iter().flat_map(|axis| &axis.ways) {
            match seen.insert(&way.name, way) {
                Some(before) if before != way => {
                    return Err(Error::input(format!("`{}` stands for two ways of asking", way.name)));
                }
                Some(_) => continue,
                None => ways.push(way),
            }
            if way.rank.is_some() && (way.constrain.is_some() || way.vote.is_some()) {
                return Err(Error::input(format!("`{}`: a ranking takes neither a constraint nor a vote", way.name)));
            }
        }
        match ways.is_empty() {
            true => Err(Error::input("no way of asking is given")),
            false => Ok(ways),
        }
    }

    /// Fails for a name that is no way of this study.
    pub fn knows(&self, names: &[String]) -> Result<()> {
        names.iter().try_for_each(|name| self.way(name).map(drop))
    }

    fn way(&self, name: &str) -> Result<&Way> {
        let ways = self.ways()?;
        let found = ways.iter().find(|way| way.name == name);
        found.copied().ok_or_else(|| {
            let known: Vec<&str> = ways.iter().map(|way| way.name.as_str()).collect();
            Error::input(format!("no way of asking `{name}`: there are {}", known.join(", ")))
        })
    }

    /// The validation cases, as a task of their own.
    pub fn validation(&self) -> Result<LabelTask> {
        LabelTask::open(&self.corpus)?.validation(self.validation, self.seed)
    }

    /// A way as a question, without a ranking; `part` becomes a part of its run's name.
    fn question(&self, way: &Way, part: &str) -> PredictConfig {
        PredictConfig {
            name: format!("{part}-{}", way.name),
            model: self.model.clone(),
            corpus: self.corpus.clone(),
            max_new: way.max_new,
            constrain: way.constrain,
            vote: way.vote.clone(),
            weights: self.weights,
            ..PredictConfig::zero_shot(&way.prompt)
        }
    }

    /// Asks what the store lacks of the ways named, of all where none is named; `say` hears which is next.
    pub fn ask(&self, store: &Store, only: &[String], mut say: impl FnMut(&str)) -> Result<()> {
        self.knows(only)?;
        let task = self.validation()?;
        for way in self.ways()?.into_iter().filter(|way| only.is_empty() || only.contains(&way.name)) {
            say(&way.name);
            let question = self.question(way, VALIDATION);
            match way.rank {
                // the log-probabilities; which of them are the answer is chosen by what was found
                Some(how) => drop(ranking::answers(store, &question, &how.whole(), &task, &AnyTask::test(&task))?),
                None => drop(Run::predict_on(store, &question, &task)?),
            }
        }
        Ok(())
    }

    /// What is in the store.
    pub fn found(&self, store: &Store) -> Result<Asked> {
        let task = self.validation()?;
        let (mut runs, mut shares) = (Vec::new(), BTreeMap::new());
        for way in self.ways()? {
            let mut question = self.question(way, VALIDATION);
            if let Some(how) = way.rank {
                let Some(ranks) = ranking::find(store, &question, &task)? else { continue };
                let (share, _) = ranking::choose(&ranks, how.calibrated(), &task, &self.metric)?;
                shares.insert(way.name.clone(), share);
                question.ranking = Some(Ranking { share, ..how.whole() });
                runs.push((way.name.as_str(), Run::predict_on(store, &question, &task)?));
            } else if let Some(run) = Run::find_predictions(store, &question, &task)? {
                runs.push((way.name.as_str(), run));
            }
        }
        let named: Vec<(&str, &Run)> = runs.iter().map(|(name, run)| (*name, run)).collect();
        Ok(Asked { study: self.clone(), results: Results::of(task, &named)?, shares, compared: OnceLock::new() })
    }
}

/// Of the names of runs.
const VALIDATION: &str = "validation";
const TEST: &str = "test";

impl Ranked {
    fn calibrated(self) -> bool {
        self == Self::Calibrated
    }

    /// The likeliest label alone.
    fn whole(self) -> Ranking {
        Ranking { calibrated: self.calibrated(), share: 1.0 }
    }
}

impl Asked {
    /// The ways of an axis that were asked, the first of them first.
    pub fn axis(&self, name: &str) -> Result<(&PromptAxis, Vec<&str>)> {
        let known = || self.study.axes.iter().map(|axis| axis.name.as_str()).collect::<Vec<_>>().join(", ");
        let axis = self.study.axes.iter().find(|axis| axis.name == name);
        let axis = axis.ok_or_else(|| Error::input(format!("no axis `{name}`: there are {}", known())))?;
        let asked: BTreeSet<&str> = self.results.models.iter().map(|model| model.name.as_str()).collect();
        Ok((axis, axis.ways.iter().map(|way| way.name.as_str()).filter(|way| asked.contains(way)).collect()))
    }

    /// Ways that were not asked yet.
    pub fn missing(&self) -> Result<Vec<&str>> {
        let names = self.study.ways()?.into_iter().map(|way| way.name.as_str());
        Ok(names.filter(|name| self.results.get(name).is_err()).collect())
    }

    /// Every way against the first of its axis, p after Holm over all comparisons of the study.
    pub fn comparisons(&self) -> Result<&[Comparison]> {
        if let Some(rows) = self.compared.get() {
            return Ok(rows);
        }
        let mut pairs = BTreeSet::new();
        for axis in &self.study.axes {
            let (_, ways) = self.axis(&axis.name)?;
            if let (Some(first), [head, others @ ..]) = (axis.ways.first(), ways.as_slice())
                && first.name == *head
            {
                pairs.extend(others.iter().map(|other| (*head, *other)));
            }
        }
        let pairs: Vec<(&str, &str)> = pairs.into_iter().collect();
        let rows = self.results.compare(&pairs, &self.study.metric)?;
        Ok(self.compared.get_or_init(|| rows))
    }

    /// The best way of a kind on the validation cases, the first of equals; none where no such way was asked.
    pub fn best(&self, kind: Kind) -> Result<Option<&Way>> {
        let asked = |way: &&Way| way.kind() == kind && self.results.get(&way.name).is_ok();
        let names: Vec<&str> = self.study.ways()?.into_iter().filter(asked).map(|way| way.name.as_str()).collect();
        match names.is_empty() {
            true => Ok(None),
            false => self.study.way(&self.results.best(&names, &self.study.metric)?.name).map(Some),
        }
    }

    /// The best way of every kind, put to the test cases: opened, or asked. Test cases are asked about nowhere else in a study.
    pub fn test(&self, store: &Store) -> Result<Vec<(String, Run)>> {
        let task = LabelTask::open(&self.study.corpus)?;
        let mut runs = Vec::new();
        for kind in Kind::ALL {
            let Some(way) = self.best(kind)? else { continue };
            let mut question = self.study.question(way, TEST);
            question.ranking = way
                .rank
                .map(|how| Ranking { share: self.shares.get(&way.name).copied().unwrap_or(1.0), ..how.whole() });
            runs.push((way.name.clone(), Run::predict_on(store, &question, &task)?));
        }
        Ok(runs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STUDY: &str = r#"
model = "embedded-small"
corpus = "findings"
validation = 0.01
seed = 7
metric = "micro_f1"
[[axes]]
name = "ingredients"
question = "What does each ingredient bring?"
ways = [{ name = "plain", about = "the task", prompt = "plain" }, { name = "role", about = "a role", prompt = "role" }]
[[axes]]
name = "form"
question = "Free, constrained or ranked?"
ways = [
  { name = "plain", about = "the task", prompt = "plain" },
  { name = "held", about = "constrained", prompt = "plain", constrain = "labels" },
  { name = "ranked", about = "ranked", prompt = "plain", rank = "plain" },
  { name = "calibrated", about = "ranked and calibrated", prompt = "plain", rank = "calibrated" },
]
"#;

    #[test]
    fn a_study_asks_about_validation_cases_and_only_the_chosen_ways_about_test_cases() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(Some(folder.path()));
        let study: PromptStudy = toml::from_str(STUDY).unwrap();
        assert_eq!(study.found(&store).unwrap().missing().unwrap().len(), 5);
        let mut said = Vec::new();
        study.ask(&store, &["plain".into(), "ranked".into()], |way| said.push(way.to_string())).unwrap();
        study.ask(&store, &["held".into()], |_| {}).unwrap();
        let asked = study.found(&store).unwrap();
        assert_eq!(said, ["plain", "ranked"]);
        assert_eq!(asked.missing().unwrap(), ["role"], "`calibrated` is read from the ranks of `ranked`");
        let task = study.validation().unwrap();
        let own: BTreeSet<&str> = task.corpus.test.iter().map(|case| case.group.as_str()).collect();
        assert!(!own.is_empty() && task.context().examples.iter().all(|one| !own.contains(one.case.group.as_str())));
        assert_eq!(asked.results.models[0].predictions.len(), task.corpus.test.len());
        assert_eq!(asked.axis("form").unwrap().1, ["plain", "held", "ranked", "calibrated"]);
        assert_eq!(asked.axis("ingredients").unwrap().1, ["plain"]);
        let rows = asked.comparisons().unwrap();
        assert!(rows.len() == 3 && rows.iter().all(|row| row.a == "plain"), "{rows:?}");
        assert_eq!(asked.best(Kind::Free).unwrap().unwrap().name, "plain");
        assert!(asked.best(Kind::Ranked).unwrap().is_some());
        assert!(study.ask(&store, &["no".into()], |_| {}).unwrap_err().to_string().contains("there are plain"));
        assert!(asked.axis("no").unwrap_err().to_string().contains("ingredients, form"));
    }

    #[test]
    fn a_name_that_stands_for_two_ways_is_refused() {
        let twice = STUDY.replace("name = \"held\"", "name = \"role\"");
        let error = toml::from_str::<PromptStudy>(&twice).unwrap().ways().unwrap_err();
        assert!(error.to_string().contains("`role` stands for two ways"), "{error}");
        let both = STUDY.replace("constrain = \"labels\"", "constrain = \"labels\", rank = \"plain\"");
        assert!(toml::from_str::<PromptStudy>(&both).unwrap().ways().is_err());
    }
}

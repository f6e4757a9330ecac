//! The border between tasks and all that counts, compares, stores or draws: per case and metric what the case adds to the metric. Above it
//! nothing knows whether an answer was a set of labels, a ranked list or a span of text.
use super::Statistic;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How answers were read before they were compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reading {
    /// As written, trimmed.
    Raw,
    /// Labels made alike where they mean the same.
    Normalised,
}

/// What is known about a metric besides its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricInfo {
    /// As in `metrics.json`: `micro_f1`.
    pub key: String,
    /// True where a smaller value is the better one.
    pub smaller_is_better: bool,
    /// True where every case counts as 0 or 1, so that Wilson's interval and McNemar's test apply.
    pub counts_cases: bool,
}

impl MetricInfo {
    /// A metric of which more is better and that is not a share of cases.
    pub fn new(key: &str) -> Self {
        Self { key: key.into(), smaller_is_better: false, counts_cases: false }
    }

    /// How tables and figures call it: `micro_f1` is `micro-F1`.
    pub fn title(&self) -> String {
        self.key.replace('_', "-").replace("f1", "F1")
    }
}

/// The cases of one set of answers, and every metric reduced to what each case adds to it.
#[derive(Clone, Debug, Default)]
pub struct ScoreTable {
    /// Case ids.
    pub ids: Vec<String>,
    /// Patient, publication or document of each case; what a resample draws as a whole.
    pub groups: Vec<String>,
    /// What each case asked for, in any form that is equal for equal gold answers.
    pub gold: Vec<String>,
    /// Metrics in the task's order, the main one first.
    pub columns: Vec<(MetricInfo, Statistic)>,
    /// What several tables must share to be compared (the label space of the Hamming loss and of means over labels): tables of one call of
    /// `Task::score` do. 0 where a task has nothing of that kind.
    pub space: u64,
}

impl ScoreTable {
    pub fn cases(&self) -> usize {
        self.ids.len()
    }

    pub fn groups(&self) -> Vec<&str> {
        self.groups.iter().map(String::as_str).collect()
    }

    pub fn keys(&self) -> Vec<&str> {
        self.columns.iter().map(|(info, _)| info.key.as_str()).collect()
    }

    /// A column by its key.
    pub fn column(&self, key: &str) -> Result<&(MetricInfo, Statistic)> {
        self.columns
            .iter()
            .find(|(info, _)| info.key == key)
            .ok_or_else(|| Error::input(format!("unknown metric `{key}`: expected one of {}", self.keys().join(", "))))
    }

    /// A metric of the cases as they are; None where it is 0/0.
    pub fn value(&self, key: &str) -> Result<Option<f64>> {
        Ok(self.column(key)?.1.plain())
    }

    /// This table with its cases in the order of `like`. An error names the cases that only one side has, that occur twice, or whose gold
    /// or group differ.
    pub fn paired_with(&self, like: &ScoreTable) -> Result<ScoreTable> {
        let (a, b) = (like.by_id("first")?, self.by_id("second")?);
        refuse("only in the first", a.keys().filter(|id| !b.contains_key(*id)))?;
        refuse("only in the second", b.keys().filter(|id| !a.contains_key(*id)))?;
        refuse("with different gold answers", a.keys().filter(|id| like.gold[a[*id]] != self.gold[b[*id]]))?;
        refuse("with different groups", a.keys().filter(|id| like.groups[a[*id]] != self.groups[b[*id]]))?;
        if like.space != self.space {
            return Err(Error::failed("the two tables were not scored together: one call of `Task::score` for both"));
        }
        Ok(self.part(&like.ids.iter().map(|id| b[id.as_str()]).collect::<Vec<_>>()))
    }

    /// The cases at these places, in this order.
    pub fn part(&self, at: &[usize]) -> ScoreTable {
        let texts = |all: &[String]| at.iter().map(|&i| all[i].clone()).collect();
        let column = |(info, statistic): &(MetricInfo, Statistic)| (info.clone(), statistic.at(at));
        ScoreTable {
            ids: texts(&self.ids),
            groups: texts(&self.groups),
            gold: texts(&self.gold),
            columns: self.columns.iter().map(column).collect(),
            space: self.space,
        }
    }

    /// True where every case is a group of its own.
    pub fn independent(&self) -> bool {
        self.groups.iter().collect::<std::collections::BTreeSet<_>>().len() == self.cases()
    }

    fn by_id(&self, side: &str) -> Result<BTreeMap<&str, usize>> {
        let mut map = BTreeMap::new();
        let twice = self.ids.iter().enumerate().filter(|(i, id)| map.insert(id.as_str(), *i).is_some());
        let twice: Vec<&str> = twice.map(|(_, id)| id.as_str()).collect();
        refuse(&format!("twice in the {side}"), twice.iter())?;
        Ok(map)
    }
}

fn refuse<'a>(what: &str, ids: impl Iterator<Item = &'a &'a str>) -> Result<()> {
    let ids: Vec<&str> = ids.copied().collect();
    if ids.is_empty() {
        return Ok(());
    }
    let shown = ids[..ids.len().min(10)].join(", ");
    let more = if ids.len() > 10 { format!(" and {} more", ids.len() - 10) } else { String::new() };
    Err(Error::input(format!(
        "the two sets of predictions do not pair: {} case(s) {what}: {shown}{more}; compare predictions on the same file",
        ids.len()
    )))
}

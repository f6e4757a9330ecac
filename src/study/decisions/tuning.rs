//! Thresholds of Span-Cluster Consensus by TPE (the published search: four thresholds in [0, 1], the defaults as first trial), and how much of what
//! the search gains is over-fit.
//!
//! ```text
//! published   apparent: searched on all notes and scored on the notes that were searched
//! honest      nested cross-validation: the patients in K folds, searched on K − 1 folds and scored on the one left out; the notes of all folds
//!             scored together
//! optimism    published − honest
//! ```
//!
//! The objective is the official final score, the base score where no patient's subgroups are known or where it is asked for: half of the final score
//! is that of the worst subgroup, which in few notes may be one note. An interval draws patients with the rules that
//! were found: what another search would have found in other patients is not in it.
use super::ensemble::{AnsweredNote, Ensemble};
use crate::corpus::decisions::Span;
use crate::ensemble::{SpanConsensus, Vote};
use crate::error::{Error, Result};
use crate::metric::{Bootstrap, Difference, Estimate};
use crate::study::search::{Point, Range, Space, Tpe};
use crate::task::decisions::official::{self, GroupScore, NoteScore, Official, weighted};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// Trials drawn at random before TPE proposes any, as in optuna.
const STARTUP: usize = 10;

/// What a search maximises, of the official scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Objective {
    /// Mean of the base score and that of the worst subgroup; as published.
    Final,
    /// Mean of span and token F1 over all notes.
    Base,
}

impl Objective {
    /// As in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Final => "final_score",
            Self::Base => "base_score",
        }
    }

    pub(super) fn of(self, found: &Official) -> f64 {
        match self {
            Self::Final => found.objective(),
            Self::Base => found.base_score,
        }
    }

    /// Of all notes, once each.
    fn value(self, notes: &[NoteScore]) -> f64 {
        official::official(notes).map_or(0.0, |found| self.of(&found))
    }

    fn drawn(self, notes: &[NoteScore], weights: &[u32]) -> Option<f64> {
        weighted(notes, weights).map(|found| self.of(&found))
    }
}

/// How long to search, for what, and on how many folds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TuningConfig {
    pub trials: usize,
    pub folds: usize,
    /// Of the search and of the folds.
    pub seed: u64,
    /// Where not given, the final score where some patient's subgroups are known, else the base score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objective: Option<Objective>,
}

impl Default for TuningConfig {
    fn default() -> Self {
        Self { trials: 400, folds: 5, seed: 7, objective: None }
    }
}

impl TuningConfig {
    /// What is searched for. An error where the final score is asked for and no patient's subgroups are known.
    fn objective(&self, ensemble: &Ensemble) -> Result<Objective> {
        let known = ensemble.objective() == Objective::Final.name();
        match self.objective {
            Some(Objective::Final) if !known => Err(Error::input(
                "objective `final`: no patient's subgroups are known: give the statistics, or take objective `base`",
            )),
            Some(asked) => Ok(asked),
            None => Ok(if known { Objective::Final } else { Objective::Base }),
        }
    }
}

/// The smallest subgroup of a kind (sex, race, language) that has a note.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SmallestGroup {
    pub name: String,
    pub notes: usize,
    pub spans: usize,
}

fn smallest_groups(found: &Official) -> BTreeMap<String, SmallestGroup> {
    let least = |groups: &BTreeMap<String, GroupScore>| {
        let (name, group) = groups.iter().min_by_key(|(_, group)| (group.n_files, group.n_spans))?;
        Some(SmallestGroup { name: name.clone(), notes: group.n_files, spans: group.n_spans })
    };
    found.subgroups.iter().filter_map(|(kind, groups)| Some((kind.clone(), least(groups)?))).collect()
}

/// What a search found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Fit {
    pub rule: SpanConsensus,
    /// The objective on the notes that it was searched on.
    pub score: f64,
    /// The base score there, which no small subgroup moves.
    pub base_score: f64,
    /// The first trial that reached it, from 1; the first are the defaults.
    pub trial: usize,
}

/// One fold of the cross-validation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fold {
    /// Found without its notes.
    pub fit: Fit,
    /// Notes left out.
    pub notes: Vec<String>,
    /// The objective on these alone.
    pub held_out: f64,
    /// The base score on these alone, to be compared with that of `fit`.
    pub held_out_base: f64,
}

/// See the file's header.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tuning {
    pub objective: &'static str,
    pub models: Vec<String>,
    pub notes: usize,
    pub patients: usize,
    /// `sex`, `race`, `language`: on how few notes the worst subgroup of the final score may stand. Empty where no subgroups are known.
    pub smallest_groups: BTreeMap<String, SmallestGroup>,
    pub config: TuningConfig,
    pub bootstrap: Bootstrap,
    /// The defaults' score on all notes.
    pub defaults: Estimate,
    /// Searched on all notes: the rule to use on other notes.
    pub fit: Fit,
    /// Apparent: its score on the notes that were searched.
    pub published: Estimate,
    /// Nested cross-validation: the score of all notes, each by the rule that was found without its patient.
    pub honest: Estimate,
    pub folds: Vec<Fold>,
    /// published − honest
    pub optimism: Difference,
    /// What the search seems to gain: published − defaults.
    pub published_gain: Difference,
    /// What it gains on notes that it has not seen: honest − defaults.
    pub honest_gain: Difference,
}

impl Tuning {
    /// Searches on all notes and fold by fold. The same ensemble, config and bootstrap give the same result. Fails for more folds than patients.
    pub fn of(ensemble: &Ensemble, config: TuningConfig, bootstrap: &Bootstrap) -> Result<Self> {
        let (groups, objective) = (ensemble.groups(), config.objective(ensemble)?);
        let fold_of = folds(&groups, &config)?;
        // the last one leaves nothing out
        let searches = (0..=config.folds).into_par_iter().map(|out| {
            let part = ensemble.notes.iter().zip(&fold_of).filter(|(_, fold)| **fold != out);
            fit(&part.map(|(note, _)| note).collect::<Vec<_>>(), &config, objective)
        });
        let mut fits = searches.collect::<Result<Vec<Fit>>>()?;
        let whole = fits.pop().ok_or_else(|| Error::failed("no search was made"))?;
        let by = |rule_of: &dyn Fn(usize) -> SpanConsensus| -> Vec<NoteScore> {
            let notes = ensemble.notes.iter().enumerate();
            notes.map(|(i, note)| note.score(&note.consensus(&rule_of(i)))).collect()
        };
        let (defaults, published) = (by(&|_| SpanConsensus::default()), by(&|_| whole.rule));
        let honest = by(&|i| fits[fold_of[i]].rule);
        let fold = |(out, fit): (usize, &Fit)| {
            let notes: Vec<NoteScore> =
                honest.iter().zip(&fold_of).filter(|(_, fold)| **fold == out).map(|(note, _)| note.clone()).collect();
            Fold {
                fit: *fit,
                held_out: objective.value(&notes),
                held_out_base: Objective::Base.value(&notes),
                notes: notes.into_iter().map(|note| note.file_name).collect(),
            }
        };
        let estimate = |notes: &[NoteScore]| estimate(objective, notes, &groups, bootstrap);
        let difference = |a: &[NoteScore], b: &[NoteScore]| difference(objective, (a, b), &groups, bootstrap);
        let (notes, patients) = ensemble.size();
        Ok(Self {
            objective: objective.name(),
            models: ensemble.models.clone(),
            notes,
            patients,
            smallest_groups: official::official(&defaults).map(|found| smallest_groups(&found)).unwrap_or_default(),
            config,
            bootstrap: bootstrap.clone(),
            defaults: estimate(&defaults)?,
            fit: whole,
            published: estimate(&published)?,
            honest: estimate(&honest)?,
            folds: fits.iter().enumerate().map(fold).collect(),
            optimism: difference(&honest, &published)?,
            published_gain: difference(&defaults, &published)?,
            honest_gain: difference(&defaults, &honest)?,
        })
    }
}

fn estimate(objective: Objective, notes: &[NoteScore], groups: &[&str], bootstrap: &Bootstrap) -> Result<Estimate> {
    let draws = bootstrap.map_groups(groups, |weights| objective.drawn(notes, weights)).into_iter().flatten().collect();
    let (low, high) = bootstrap.interval(draws).ok_or_else(|| Error::input("no resamples: give at least one"))?;
    Ok(Estimate { value: objective.value(notes), low, high, n: notes.len() })
}

/// The objective of `b` minus that of `a`, on the same notes.
fn difference(
    objective: Objective,
    (a, b): (&[NoteScore], &[NoteScore]),
    groups: &[&str],
    bootstrap: &Bootstrap,
) -> Result<Difference> {
    let minus = |weights: &[u32]| Some(objective.drawn(b, weights)? - objective.drawn(a, weights)?);
    let draws = bootstrap.map_groups(groups, minus).into_iter().flatten().collect();
    let found = Difference::of(objective.value(b) - objective.value(a), draws, a.len(), bootstrap);
    found.ok_or_else(|| Error::input("no resamples: give at least one"))
}

/// The fold of every note. Patients are dealt to the folds in the order of a digest of their names, so that folds differ by one patient at most.
fn folds(groups: &[&str], config: &TuningConfig) -> Result<Vec<usize>> {
    let patients: BTreeSet<&str> = groups.iter().copied().collect();
    if !(2..=patients.len()).contains(&config.folds) {
        let (folds, most) = (config.folds, patients.len());
        return Err(Error::input(format!(
            "{folds} folds of {most} patients: expected 2 to {most}, as all notes of a patient are in one fold"
        )));
    }
    let mut order: Vec<&str> = patients.into_iter().collect();
    order.sort_by_key(|patient| (crate::io::seed_of(&format!("{}/{patient}", config.seed)), *patient));
    let of: BTreeMap<&str, usize> =
        order.into_iter().enumerate().map(|(i, patient)| (patient, i % config.folds)).collect();
    Ok(groups.iter().map(|group| of[group]).collect())
}

/// A note and the scores of the answers that were tried on it: many thresholds give the same answer.
struct Tried<'a> {
    note: &'a AnsweredNote,
    known: BTreeMap<Vec<Span>, NoteScore>,
}

impl Tried<'_> {
    fn score(&mut self, rule: &SpanConsensus) -> NoteScore {
        let answer = self.note.consensus(rule);
        if let Some(known) = self.known.get(&answer) {
            return known.clone();
        }
        let score = self.note.score(&answer);
        self.known.insert(answer, score.clone());
        score
    }
}

/// The best rule of so many trials on these notes, the first of equals.
fn fit(notes: &[&AnsweredNote], config: &TuningConfig, objective: Objective) -> Result<Fit> {
    if config.trials == 0 {
        return Err(Error::input("0 trials: expected at least 1, the first are the defaults"));
    }
    let (space, tpe) = (space(), Tpe::new(config.seed, STARTUP));
    let mut notes: Vec<Tried> = notes.iter().map(|&note| Tried { note, known: BTreeMap::new() }).collect();
    let mut ranked: Vec<(Fit, Point)> = Vec::with_capacity(config.trials); // the best first
    for trial in 1..=config.trials {
        let (rule, point) = match trial {
            1 => (SpanConsensus::default(), point(&SpanConsensus::default())),
            _ => {
                let seen: Vec<&Point> = ranked.iter().map(|(_, point)| point).collect();
                let point = tpe.suggest(&space, &seen)?;
                (rule(&space, &point), point)
            }
        };
        let scores: Vec<NoteScore> = notes.iter_mut().map(|note| note.score(&rule)).collect();
        let found = official::official(&scores);
        let (score, base_score) = found.map_or((0.0, 0.0), |found| (objective.of(&found), found.base_score));
        let behind = ranked.partition_point(|(other, _)| other.score >= score);
        ranked.insert(behind, (Fit { rule, score, base_score, trial }, point));
    }
    ranked.first().map(|(best, _)| *best).ok_or_else(|| Error::failed("no trial was made"))
}

const THRESHOLDS: [&str; 4] = ["cluster", "pair", "support", "double"];
const VOTE: &str = "vote";
const VOTES: [Vote; 2] = [Vote::Joint, Vote::Independent];

/// Four thresholds and the vote.
fn space() -> Space {
    let mut space: Space = THRESHOLDS.map(|key| (key.to_string(), Range::Uniform([0.0, 1.0]))).into();
    space.insert(VOTE.into(), Range::Choice(VOTES.map(|vote| json!(vote)).into()));
    space
}

fn point(rule: &SpanConsensus) -> Point {
    let SpanConsensus { cluster, pair, support, double, vote } = *rule;
    let mut point: Point = THRESHOLDS.map(String::from).into_iter().zip([cluster, pair, support, double]).collect();
    point.insert(VOTE.into(), f64::from(u8::from(vote == VOTES[1])));
    point
}

/// The rule at a point, thresholds with four digits.
fn rule(space: &Space, point: &Point) -> SpanConsensus {
    let usual = SpanConsensus::default();
    let at = |key: &str| point.get(key).copied();
    let threshold = |key: &str, usual: f64| {
        space.get(key).zip(at(key)).and_then(|(range, x)| range.value(x).as_f64()).unwrap_or(usual)
    };
    SpanConsensus {
        cluster: threshold("cluster", usual.cluster),
        pair: threshold("pair", usual.pair),
        support: threshold("support", usual.support),
        double: threshold("double", usual.double),
        vote: at(VOTE).and_then(|x| VOTES.get(x as usize).copied()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::ensemble::tests::{ensemble, spans, word};
    use super::*;
    use crate::ensemble::SpanRule;
    use crate::task::decisions::Punkt;
    use crate::task::decisions::official::GoldNote;

    fn few() -> (TuningConfig, Bootstrap) {
        (
            TuningConfig { trials: 40, folds: 5, seed: 3, objective: None },
            Bootstrap { resamples: 200, ..Bootstrap::default() },
        )
    }

    #[test]
    fn a_point_is_a_rule_and_back_and_the_first_trial_is_the_defaults() {
        let odd = SpanConsensus { cluster: 0.25, pair: 0.5, support: 0.75, double: 1.0, vote: Vote::Independent };
        for one in [odd, SpanConsensus::default()] {
            assert_eq!(rule(&space(), &point(&one)), one);
        }
        let all = ensemble();
        let notes: Vec<&AnsweredNote> = all.notes.iter().collect();
        let config = TuningConfig { trials: 1, folds: 2, seed: 1, objective: None };
        let first = fit(&notes, &config, Objective::Final).unwrap();
        assert_eq!((first.rule, first.trial), (SpanConsensus::default(), 1));
        let scores = all.scores(&SpanRule::Cluster(SpanConsensus::default()));
        assert_eq!((first.score, first.base_score), (Objective::Final.value(&scores), Objective::Base.value(&scores)));
    }

    #[test]
    fn a_search_is_never_worse_than_the_defaults_on_its_own_notes_and_follows_from_its_seed() {
        let (config, bootstrap) = few();
        let (once, again) = (
            Tuning::of(&ensemble(), config, &bootstrap).unwrap(),
            Tuning::of(&ensemble(), config, &bootstrap).unwrap(),
        );
        assert_eq!(once, again);
        assert!(once.fit.score >= once.defaults.value && once.fit.score == once.published.value, "{once:?}");
        assert!((once.optimism.value - (once.published.value - once.honest.value)).abs() < 1e-12);
        assert!((once.honest_gain.value - (once.honest.value - once.defaults.value)).abs() < 1e-12);
        assert_eq!((once.objective, once.notes, once.patients, once.folds.len()), ("final_score", 10, 5, 5));
        let rule = SpanRule::Cluster(once.fit.rule);
        assert_eq!(
            Objective::Final.value(&ensemble().scores(&rule)),
            once.fit.score,
            "the rule gives the score that it was chosen by"
        );
        let seeds = (0..20).map(|seed| folds(&ensemble().groups(), &TuningConfig { seed, ..config }).unwrap());
        assert!(seeds.collect::<BTreeSet<_>>().len() > 1, "the seed deals the patients");
    }

    #[test]
    fn every_note_is_left_out_once_with_all_notes_of_its_patient() {
        let (config, bootstrap) = few();
        let found = Tuning::of(&ensemble(), TuningConfig { folds: 3, ..config }, &bootstrap).unwrap();
        let mut left_out: Vec<&str> = found.folds.iter().flat_map(|fold| &fold.notes).map(String::as_str).collect();
        left_out.sort_unstable();
        left_out.dedup();
        assert_eq!(left_out.len(), 10);
        for fold in &found.folds {
            let patients: BTreeSet<&str> = fold.notes.iter().filter_map(|name| name.split('_').next()).collect();
            assert_eq!(fold.notes.len(), 2 * patients.len());
        }
    }

    /// The gold spans of one patient are changed: the search that leaves this patient out must not notice, all others must.
    #[test]
    fn a_search_never_sees_the_fold_that_it_is_scored_on() {
        let (config, bootstrap) = few();
        let (before, mut changed) = (Tuning::of(&ensemble(), config, &bootstrap).unwrap(), ensemble());
        for note in changed.notes.iter_mut().filter(|note| note.group == "2") {
            let name = note.scorer.name.clone();
            note.scorer = GoldNote::new(&name, &note.text, &spans(&[word(2), word(3), word(7)]), &Punkt::simple());
        }
        let after = Tuning::of(&changed, config, &bootstrap).unwrap();
        let mut without = 0;
        for (before, after) in before.folds.iter().zip(&after.folds) {
            let leaves_out = before.notes[0].starts_with("2_");
            without += usize::from(leaves_out);
            assert_eq!(before.fit == after.fit, leaves_out, "{before:?} {after:?}");
            assert_eq!(before.held_out != after.held_out, leaves_out);
        }
        assert_eq!(without, 1);
    }

    #[test]
    fn the_base_score_can_be_searched_for_and_the_smallest_groups_are_told() {
        let (config, bootstrap) = few();
        let base = TuningConfig { objective: Some(Objective::Base), ..config };
        let found = Tuning::of(&ensemble(), base, &bootstrap).unwrap();
        assert_eq!((found.objective, found.fit.score), ("base_score", found.fit.base_score));
        assert!(found.folds.iter().all(|fold| fold.held_out == fold.held_out_base), "{found:?}");
        // patients 0 to 2 are women and 3 and 4 men, of two notes with two spans each
        let (sex, race) = (&found.smallest_groups["sex"], &found.smallest_groups["race"]);
        assert_eq!((sex.notes, sex.spans, race.notes, race.spans), (4, 8, 10, 20));
        let mut unknown = ensemble();
        unknown.notes.iter_mut().for_each(|note| note.strata = None);
        let asked = TuningConfig { objective: Some(Objective::Final), ..config };
        let error = Tuning::of(&unknown, asked, &bootstrap).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains("objective `final`"), "{error}");
        let found = Tuning::of(&unknown, config, &bootstrap).unwrap();
        assert!(found.objective == "base_score" && found.smallest_groups.is_empty());
        assert_eq!(json!(Objective::Final), "final");
    }

    #[test]
    fn impossible_folds_and_trials_are_refused() {
        let (config, bootstrap) = few();
        for (wrong, said) in [
            (TuningConfig { folds: 6, ..config }, "6 folds of 5 patients: expected 2 to 5"),
            (TuningConfig { folds: 1, ..config }, "1 folds"),
            (TuningConfig { trials: 0, ..config }, "0 trials"),
        ] {
            let error = Tuning::of(&ensemble(), wrong, &bootstrap).unwrap_err();
            assert!(error.exit_code() == 2 && error.to_string().contains(said), "{error}");
        }
    }
}

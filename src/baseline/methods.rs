//! What is reached without a language model: the most frequent labels for everybody, and a bag of words with one logistic
//! regression a label. Whatever is chosen (k; C and threshold) is chosen by cross-validation on the training cases, never on
//! the test. Both give `Prediction`s, so everything downstream is the same as for a model.
use super::logreg::{Kernel, OneVsRest, sigmoid};
use super::tfidf::Tfidf;
use crate::corpus::{Corpus, Finding};
use crate::error::{Error, Result};
use crate::io;
use crate::run::prediction::{Prediction, keep_predictions};
use crate::run::{BaselineSpec, Run, RunSpec, Spec, Store};
use crate::task::{AnyTask, LabelTask};
use candle_core::Tensor;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// How a baseline is fitted; part of its digest.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    pub seed: u64,
    /// Parts of the cross-validation; cases of one group stay together.
    pub folds: usize,
    /// A label of fewer training cases than this is never predicted by the bag of words.
    pub min_cases: usize,
    /// Inverse strengths of the penalty to choose from.
    pub c: Vec<f64>,
    /// Probabilities above which a label is predicted, to choose from.
    pub thresholds: Vec<f64>,
    /// Largest k to choose from.
    pub max_k: usize,
}

impl Default for Settings {
    fn default() -> Self {
        let thresholds = vec![0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6];
        Self { seed: 7, folds: 4, min_cases: 2, c: vec![10.0, 100.0, 1000.0, 10000.0], thresholds, max_k: 10 }
    }
}

/// A baseline by name, for the run store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Baseline {
    MostFrequent,
    /// Labels whose names stand in the text.
    NameSearch,
    #[serde(rename = "tfidf-logreg")]
    TfidfLogReg,
    /// Labels of the nearest training cases.
    Nearest,
}

impl Baseline {
    pub const ALL: [Baseline; 4] =
        [Baseline::MostFrequent, Baseline::NameSearch, Baseline::TfidfLogReg, Baseline::Nearest];

    /// As in the run's folder.
    pub fn name(self) -> &'static str {
        match self {
            Baseline::MostFrequent => "most-frequent",
            Baseline::NameSearch => "name-search",
            Baseline::TfidfLogReg => "tfidf-logreg",
            Baseline::Nearest => "nearest",
        }
    }

    /// Answers to the test cases after fitting on the training cases, and what was chosen on these.
    pub(crate) fn answers(self, corpus: &Corpus, settings: &Settings) -> Result<(Vec<Prediction>, serde_json::Value)> {
        Ok(match self {
            Baseline::MostFrequent => {
                let fitted = MostFrequent::fit(&corpus.train, None, settings)?;
                (fitted.predict(&corpus.test), serde_json::json!({ "labels": fitted.labels, "curve": fitted.curve }))
            }
            Baseline::NameSearch => {
                (super::name_search::NameSearch::fit(&corpus.train)?.predict(&corpus.test), serde_json::json!({}))
            }
            Baseline::TfidfLogReg => {
                let fitted = TfidfLogReg::fit(&corpus.train, settings)?;
                let (c, threshold, micro_f1) = (fitted.c, fitted.threshold, fitted.micro_f1);
                let chosen =
                    serde_json::json!({ "c": c, "threshold": threshold, "cross_validated_micro_f1": micro_f1 });
                (fitted.predict(&corpus.test)?, chosen)
            }
            Baseline::Nearest => {
                let fitted = super::nearest::Nearest::fit(&corpus.train, settings.max_k)?;
                let (k, votes, micro_f1) = (fitted.k, fitted.votes, fitted.micro_f1);
                let chosen = serde_json::json!({ "k": k, "votes": votes, "left_out_micro_f1": micro_f1 });
                (fitted.predict(&corpus.test), chosen)
            }
        })
    }
}

impl Run {
    /// The baseline's predictions for the test cases: opened, or fitted and made. `preds.jsonl` as of any model, and what was
    /// chosen on training cases in `chosen.json`.
    pub fn open_or_baseline(store: &Store, baseline: Baseline, task: &LabelTask, settings: &Settings) -> Result<Run> {
        let corpus = &task.corpus;
        let spec = RunSpec::Baseline(BaselineSpec {
            settings: io::to_value(settings)?,
            corpus: corpus.digest(),
            corpus_name: corpus.name.clone(),
            synthetic: corpus.synthetic,
            task: None,
        });
        let run = Spec::new("baseline", baseline.name(), &spec)?.folder();
        store.open_or_make("baseline", baseline.name(), &spec, |dir| {
            let (mut predictions, chosen) = baseline.answers(corpus, settings)?;
            for one in &mut predictions {
                (one.task, one.run) = ((task as &dyn AnyTask).id(), run.clone());
                one.corpus = corpus.digest()[..12].into();
            }
            io::write_json(&dir.join("chosen.json"), &chosen)?;
            keep_predictions(&dir.join("preds.jsonl"), &predictions)
        })
    }
}

/// The `k` most frequent training labels, for every case.
#[derive(Clone, Debug)]
pub struct MostFrequent {
    /// Most frequent first; ties in order of the label.
    pub labels: Vec<String>,
    /// Micro-F1 in cross-validation for k = 1, 2, …; empty where k was given.
    pub curve: Vec<f64>,
    digest: String,
}

impl MostFrequent {
    /// `k` as given, else the one with the best micro-F1 in cross-validation.
    pub fn fit(train: &[Finding], k: Option<usize>, settings: &Settings) -> Result<Self> {
        let folds = folds(train, settings)?;
        let mut curve = Vec::new();
        if k.is_none() {
            for k in 1..=settings.max_k {
                let counts = folds.iter().map(|(inner, held)| {
                    let top: BTreeSet<&str> = top_labels(inner.iter().map(|&i| &train[i]), k).into_iter().collect();
                    Counts::sum(held.iter().map(|&i| Counts::of(&top, &gold(&train[i]))))
                });
                curve.push(Counts::sum(counts).micro_f1());
            }
        }
        let k = k.unwrap_or_else(|| 1 + first_best(&curve));
        let labels = top_labels(train.iter(), k).into_iter().map(String::from).collect();
        Ok(Self { labels, curve, digest: digest(train, &(settings, k))? })
    }

    pub fn predict(&self, cases: &[Finding]) -> Vec<Prediction> {
        let model = format!("most-frequent-{}@{}", self.labels.len(), self.digest);
        cases.iter().map(|case| prediction(case, &model, self.labels.clone())).collect()
    }
}

/// TF-IDF of words and word pairs, one logistic regression a label, one threshold for all. A case for which no label passes the
/// threshold gets the most probable one, as no case is without a diagnosis.
#[derive(Clone, Debug)]
pub struct TfidfLogReg {
    pub c: f64,
    pub threshold: f64,
    /// Micro-F1 in cross-validation with this C and threshold.
    pub micro_f1: f64,
    /// Columns of [`TfidfLogReg::probabilities`], the most frequent in training first.
    pub labels: Vec<String>,
    texts: Texts,
    fitted: OneVsRest,
    digest: String,
}

/// Length of the gradient: for the choice of C, and for the model that is kept.
const COARSE: f64 = 1e-2;
const FINE: f64 = 1e-4;

impl TfidfLogReg {
    pub fn fit(train: &[Finding], settings: &Settings) -> Result<Self> {
        let labels = labels_of(train, settings.min_cases);
        if labels.is_empty() || settings.c.is_empty() || settings.thresholds.is_empty() {
            return Err(Error::input(format!(
                "tf-idf baseline: expected at least one C, one threshold and one label with {} training cases",
                settings.min_cases
            )));
        }
        let mut parts = vec![Vec::new(); settings.c.len()]; // a C: (case, probabilities of its labels) of every fold
        for (inner, held) in folds(train, settings)? {
            let inner: Vec<&Finding> = inner.into_iter().map(|i| &train[i]).collect();
            let (texts, y) = (Texts::new(&inner)?, carries(&inner, &labels));
            let against = texts.against(held.iter().map(|&i| &train[i]))?;
            for (part, &c) in parts.iter_mut().zip(&settings.c) {
                let rows = probabilities(&texts.kernel.fit(&y, c, COARSE)?, &against)?;
                part.extend(held.iter().map(|&i| &train[i]).zip(rows));
            }
        }
        let (c, threshold, micro_f1) = best(&parts, &labels, settings);
        let all: Vec<&Finding> = train.iter().collect();
        let texts = Texts::new(&all)?;
        let fitted = texts.kernel.fit(&carries(&all, &labels), c, FINE)?;
        let labels = labels.into_iter().map(String::from).collect();
        Ok(Self { c, threshold, micro_f1, labels, texts, fitted, digest: digest(train, settings)? })
    }

    /// Probability of every label, a row a case.
    pub fn probabilities(&self, cases: &[Finding]) -> Result<Vec<Vec<f64>>> {
        probabilities(&self.fitted, &self.texts.against(cases.iter())?)
    }

    pub fn predict(&self, cases: &[Finding]) -> Result<Vec<Prediction>> {
        let model = format!("tfidf-logreg@{}", self.digest);
        let answer = |(case, probabilities): (&Finding, Vec<f64>)| {
            let chosen = choose(&probabilities, self.threshold);
            prediction(case, &model, chosen.into_iter().map(|label| self.labels[label].clone()).collect())
        };
        Ok(cases.iter().zip(self.probabilities(cases)?).map(answer).collect())
    }
}

/// Texts that were fitted on, as terms and as scalar products.
#[derive(Clone, Debug)]
struct Texts {
    tfidf: Tfidf,
    kernel: Kernel,
}

impl Texts {
    fn new(cases: &[&Finding]) -> Result<Self> {
        let texts: Vec<&str> = cases.iter().map(|case| case.input.as_str()).collect();
        let tfidf = Tfidf::fit(&texts);
        Ok(Self { kernel: Kernel::new(tfidf.transform(&texts))?, tfidf })
    }

    fn against<'a>(&self, cases: impl Iterator<Item = &'a Finding>) -> Result<Tensor> {
        let texts: Vec<&str> = cases.map(|case| case.input.as_str()).collect();
        self.kernel.against(&self.tfidf.transform(&texts))
    }
}

/// `[label][case]`: whether the case carries the label.
fn carries(cases: &[&Finding], labels: &[&str]) -> Vec<Vec<bool>> {
    let golds: Vec<BTreeSet<&str>> = cases.iter().map(|case| gold(case)).collect();
    labels.iter().map(|label| golds.iter().map(|gold| gold.contains(label)).collect()).collect()
}

fn probabilities(fitted: &OneVsRest, against: &Tensor) -> Result<Vec<Vec<f64>>> {
    let rows = fitted.decision(against)?;
    Ok(rows.into_iter().map(|row| row.into_iter().map(sigmoid).collect()).collect())
}

/// (C, threshold, micro-F1) with the best micro-F1 on held-out cases; of equals the first.
fn best(parts: &[Vec<(&Finding, Vec<f64>)>], labels: &[&str], settings: &Settings) -> (f64, f64, f64) {
    let mut best = (settings.c[0], settings.thresholds[0], f64::MIN);
    for (part, &c) in parts.iter().zip(&settings.c) {
        for &threshold in &settings.thresholds {
            let of_case = |(case, probabilities): &(&Finding, Vec<f64>)| {
                let chosen = choose(probabilities, threshold).into_iter().map(|label| labels[label]).collect();
                Counts::of(&chosen, &gold(case))
            };
            let micro_f1 = Counts::sum(part.iter().map(of_case)).micro_f1();
            if micro_f1 > best.2 {
                best = (c, threshold, micro_f1);
            }
        }
    }
    best
}

/// Labels above the threshold, the most probable first; at least one.
fn choose(probabilities: &[f64], threshold: f64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]).then(a.cmp(&b)));
    let passing = order.iter().filter(|&&label| probabilities[label] > threshold).count();
    order.truncate(passing.max(1));
    order
}

pub(super) fn prediction(case: &Finding, model: &str, labels: Vec<String>) -> Prediction {
    let raw = labels.join(", ");
    Prediction { model: model.into(), ..Prediction::of(case, labels, &raw) }
}

fn gold(case: &Finding) -> BTreeSet<&str> {
    case.gold.iter().map(|label| label.trim()).filter(|label| !label.is_empty()).collect()
}

/// The `k` most frequent labels (by cases that carry them), ties in order of the label.
fn top_labels<'a>(cases: impl Iterator<Item = &'a Finding>, k: usize) -> Vec<&'a str> {
    counted(cases).into_iter().take(k).map(|(label, _)| label).collect()
}

/// Labels of at least `min` cases, the most frequent first.
fn labels_of(cases: &[Finding], min: usize) -> Vec<&str> {
    counted(cases.iter()).into_iter().filter(|(_, count)| *count >= min).map(|(label, _)| label).collect()
}

fn counted<'a>(cases: impl Iterator<Item = &'a Finding>) -> Vec<(&'a str, usize)> {
    let mut counts = BTreeMap::<&str, usize>::new();
    cases.flat_map(gold).for_each(|label| *counts.entry(label).or_default() += 1);
    let mut labels: Vec<(&str, usize)> = counts.into_iter().collect();
    labels.sort_by_key(|&(label, count)| (std::cmp::Reverse(count), label));
    labels
}

/// (cases to fit on, cases held out) of every fold: groups shuffled by the seed and dealt out in turn.
fn folds(train: &[Finding], settings: &Settings) -> Result<Vec<(Vec<usize>, Vec<usize>)>> {
    let mut groups: Vec<&str> =
        train.iter().map(|case| case.group.as_str()).collect::<BTreeSet<_>>().into_iter().collect();
    if settings.folds < 2 || groups.len() < settings.folds {
        let (folds, groups) = (settings.folds, groups.len());
        return Err(Error::input(format!(
            "the training cases are of {groups} groups (patients), and a baseline's settings are chosen by cross-validation in {folds} parts: \
             give training cases of at least {} groups, or cases without a group, which are a group each",
            folds.max(2)
        )));
    }
    groups.shuffle(&mut rand_chacha::ChaCha8Rng::seed_from_u64(settings.seed));
    let fold: BTreeMap<&str, usize> =
        groups.iter().enumerate().map(|(i, group)| (*group, i % settings.folds)).collect();
    let split = |f| (0..train.len()).partition(|&i| fold[train[i].group.as_str()] != f);
    Ok((0..settings.folds).map(split).collect())
}

/// First 12 hex digits over the training cases and the settings.
fn digest(train: &[Finding], settings: &impl Serialize) -> Result<String> {
    Ok(io::digest_json(&(train, settings))?[..12].to_string())
}

fn first_best(values: &[f64]) -> usize {
    (0..values.len()).rev().max_by(|&a, &b| values[a].total_cmp(&values[b])).unwrap_or(0)
}

/// Right, predicted and gold labels, for the choices above; reported metrics come from `metric`.
#[derive(Clone, Copy, Default)]
pub(super) struct Counts([usize; 3]);

impl Counts {
    pub fn of(predicted: &BTreeSet<&str>, gold: &BTreeSet<&str>) -> Self {
        Self([predicted.intersection(gold).count(), predicted.len(), gold.len()])
    }

    pub fn sum(counts: impl Iterator<Item = Self>) -> Self {
        counts.fold(Self::default(), |Self(a), Self(b)| Self([a[0] + b[0], a[1] + b[1], a[2] + b[2]]))
    }

    pub fn micro_f1(self) -> f64 {
        let Self([right, predicted, gold]) = self;
        2.0 * right as f64 / (predicted + gold).max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::prediction::read_predictions;

    fn case(i: usize, labels: &[&str], input: &str) -> Finding {
        let labels = labels.iter().map(|label| label.to_string()).collect();
        Finding::new(i.to_string(), i.to_string(), input, labels)
    }

    #[test]
    fn k_is_the_best_on_training_cases() {
        // a is in every case, b in two of three, c once: two labels are right more often than one or three
        let labels = [["a", "b", ""], ["a", "b", ""], ["a", "", ""]];
        let train: Vec<Finding> =
            (0..30).map(|i| case(i, &labels[i % 3], "")).chain([case(30, &["a", "c"], "")]).collect();
        let fitted = MostFrequent::fit(&train, None, &Settings::default()).unwrap();
        assert_eq!(fitted.labels, ["a", "b"]);
        assert_eq!(fitted.curve.len(), 10);
        let predictions = fitted.predict(&train[..1]);
        assert_eq!((predictions[0].answer.as_slice(), predictions[0].raw.as_str()), (&fitted.labels[..], "a, b"));
        assert!(predictions[0].model.starts_with("most-frequent-2@"));
        assert_eq!(MostFrequent::fit(&train, Some(1), &Settings::default()).unwrap().labels, ["a"]);
    }

    #[test]
    fn groups_stay_together_and_every_case_is_held_out_once() {
        let train: Vec<Finding> =
            (0..40).map(|i| Finding::new(i.to_string(), format!("p{}", i / 4), "", vec!["a".into()])).collect();
        let folds = folds(&train, &Settings::default()).unwrap();
        let mut held: Vec<usize> = folds.iter().flat_map(|(_, held)| held.clone()).collect();
        held.sort();
        assert_eq!(held, (0..40).collect::<Vec<_>>());
        let groups = |part: &[usize]| part.iter().map(|&i| train[i].group.clone()).collect::<BTreeSet<_>>();
        assert!(folds.iter().all(|(inner, held)| groups(inner).is_disjoint(&groups(held))));
        assert!(super::folds(&train[..4], &Settings::default()).is_err());
    }

    #[test]
    fn words_that_give_the_label_away_are_learned_and_two_fits_agree() {
        let texts =
            [("renal cyst seen", "renal cyst"), ("stone in the bladder", "bladder stone"), ("normal study", "none")];
        let train: Vec<Finding> = (0..60).map(|i| case(i, &[texts[i % 3].1], texts[i % 3].0)).collect();
        let fitted = TfidfLogReg::fit(&train, &Settings::default()).unwrap();
        let predictions = fitted.predict(&train).unwrap();
        assert!(predictions.iter().all(|p| p.answer == p.gold), "{:?}", predictions[0]);
        assert!((fitted.micro_f1 - 1.0).abs() < 1e-12);
        let again = TfidfLogReg::fit(&train, &Settings::default()).unwrap();
        let other = [case(99, &[], "a renal stone")];
        assert_eq!(again.probabilities(&other).unwrap(), fitted.probabilities(&other).unwrap());
        assert_eq!(again.predict(&train).unwrap(), predictions);
        let rare = [train.clone(), vec![case(77, &["seen once"], "cyst")]].concat();
        assert!(!TfidfLogReg::fit(&rare, &Settings::default()).unwrap().labels.contains(&"seen once".to_string()));
    }

    #[test]
    fn baselines_become_runs_of_the_store() {
        let cases: Vec<Finding> =
            (0..30).map(|i| case(i, &[["renal cyst", "none"][i % 2]], ["a renal cyst", "nothing"][i % 2])).collect();
        let corpus =
            Corpus { name: "made up".into(), synthetic: true, train: cases.clone(), test: cases[..4].to_vec() };
        let folder = tempfile::tempdir().unwrap();
        let (store, task) = (Store::open(Some(folder.path())), LabelTask::findings(corpus).unwrap());
        for baseline in Baseline::ALL {
            let run = Run::open_or_baseline(&store, baseline, &task, &Settings::default()).unwrap();
            let lines = read_predictions::<Vec<String>, Vec<String>>(&run.path("preds.jsonl")).unwrap();
            let named = |p: &Prediction| (p.task.starts_with("findings@"), p.run == run.folder(), p.corpus.len());
            assert!(lines.len() == 4 && lines.iter().all(|p| named(p) == (true, true, 12)), "{:?}", lines[0]);
            assert!(run.path("chosen.json").is_file() && run.synthetic() == Some(true));
            assert_eq!(Run::open_or_baseline(&store, baseline, &task, &Settings::default()).unwrap(), run);
        }
    }

    #[test]
    fn a_case_without_a_passing_label_gets_the_most_probable() {
        assert_eq!(choose(&[0.1, 0.3, 0.2], 0.5), [1]);
        assert_eq!(choose(&[0.6, 0.3, 0.7], 0.5), [2, 0]);
    }
}

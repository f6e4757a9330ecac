//! The best candidates of a ranker for the patients of the task `rare-disease`, from its training patients alone: what a language model
//! that was trained on the same patients is compared with, and what it can re-rank.
//!
//! Annotations that cite a paper of any published patient are left out, as in [`Protocol::PublicationsOut`]. Validation patients train
//! neither the learned ranker nor a language model; for each of them its own publication is left out.
use super::bench::{Bench, Protocol};
use crate::corpus::Example;
use crate::corpus::split::{Part, drawn, validation_split};
use crate::error::{Error, Result};
use crate::phenotype::features::of_all;
use crate::phenotype::rank::{Learned, Weights};
use crate::phenotype::{Left, Patient, Ranked, Ranker, RankerKind, ranked};
use crate::run::{BaselineSpec, Prediction, Run, RunSpec, Spec, Store, keep_predictions};
use crate::task::rare_disease::{DiseaseName, Gold};
use crate::task::{AnyTask, RareDisease, Task};
use std::collections::HashMap;
use std::time::Instant;

/// Validation patients of the two configs `rare-smollm2*.toml`.
pub const VALIDATION: Part = Part { validation: 0.05, seed: 7 };
/// Seed of the learned ranker's network.
const SEED: u64 = 7;
/// Raised when a ranker changes what it says.
pub(super) const VERSION: u32 = 2;

/// What rankers may know of a task's split.
pub struct Shortlister {
    /// Its patients are the task's training patients.
    pub bench: Bench,
    pub validation: Vec<Patient>,
    pub test: Vec<Patient>,
    /// Training patients that are not for validation.
    train: Vec<Patient>,
}

impl Shortlister {
    /// At most `most` validation patients, drawn by digest.
    pub fn of(task: &RareDisease, part: Part, most: usize) -> Result<Self> {
        let mut bench = Bench::installed()?;
        let patients = std::mem::take(&mut bench.library.patients);
        let by_id: HashMap<&str, &Patient> = patients.iter().map(|one| (one.id.as_str(), one)).collect();
        let of = |all: Vec<Example<Gold>>| -> Vec<Patient> {
            all.iter().filter_map(|case| by_id.get(case.case_id.as_str()).copied().cloned()).collect()
        };
        let corpus = task.corpus();
        let (train, valid) = validation_split(&corpus.train, part.validation, part.seed);
        let (validation, test) = (of(drawn(valid.clone(), most, part.seed)), of(corpus.test.clone()));
        if test.len() < corpus.test.len() {
            return Err(Error::failed("a test patient of the task is none of those at hand"));
        }
        let train = of(train);
        bench.library.patients = [train.clone(), of(valid)].concat();
        Ok(Self { bench, validation, test, train })
    }

    /// The ranker over the training patients. The learned one is trained here, on those that are not for validation.
    pub fn ranker(&self, kind: RankerKind) -> Result<Box<dyn Ranker + '_>> {
        if kind != RankerKind::Learned {
            return self.bench.ranker(kind, Protocol::PublicationsOut);
        }
        let features = self.bench.features();
        let train: Vec<&Patient> = self.train.iter().collect();
        println!("… the learned ranker's features of {} training patients", train.len());
        let lists = features.lists(&train);
        let weights = Weights::train(&lists, &(0..lists.len()).collect::<Vec<_>>(), SEED)?;
        Ok(Box::new(Learned::new(features, weights)))
    }

    /// The best `top` candidates of each patient, the best first, without those that the ranker does not score at all.
    pub fn lists(&self, ranker: &dyn Ranker, patients: &[Patient], top: usize) -> Vec<Vec<Ranked>> {
        let patients: Vec<&Patient> = patients.iter().collect();
        of_all(&patients, |one| {
            let mut list = ranked(&ranker.scores(&one.signs, Left::patients(&one.group)), top);
            list.retain(|one| one.score.is_finite());
            list
        })
    }

    pub fn id(&self, candidate: usize) -> &str {
        &self.bench.library.candidates[candidate].id
    }

    pub fn name(&self, candidate: usize) -> &str {
        &self.bench.library.candidates[candidate].name
    }
}

impl Run {
    /// The ten best candidates of a ranker for every test patient, as predictions of any model: opened, or ranked.
    pub fn open_or_shortlist(store: &Store, kind: RankerKind, task: &RareDisease) -> Result<Run> {
        let corpus = task.corpus();
        let knowledge = &task.library.knowledge;
        let settings = serde_json::json!({
            "ranker": kind,
            "version": VERSION,
            "ontology": knowledge.ontology.version,
            "annotations": knowledge.id(),
            "validation": (kind == RankerKind::Learned).then_some(VALIDATION),
        });
        let model = format!("{}@{}", kind.name(), &crate::io::digest_json(&settings)?[..12]);
        let spec = RunSpec::Baseline(BaselineSpec {
            settings,
            corpus: corpus.digest(),
            corpus_name: corpus.name.clone(),
            synthetic: corpus.synthetic,
            task: Some(Task::name(task).into()),
        });
        let run = Spec::new("baseline", kind.name(), &spec)?.folder();
        store.open_or_make("baseline", kind.name(), &spec, |dir| {
            let known = Shortlister::of(task, VALIDATION, 0)?;
            let ranker = known.ranker(kind)?;
            let started = Instant::now();
            let lists = known.lists(&*ranker, &known.test, 10);
            let seconds = started.elapsed().as_secs_f64() / lists.len().max(1) as f64;
            let one = |(case, list): (&Example<Gold>, &Vec<Ranked>)| {
                let names: Vec<String> = list.iter().map(|one| known.name(one.candidate).to_string()).collect();
                Prediction {
                    task: <dyn AnyTask>::id(task),
                    corpus: corpus.digest()[..12].into(),
                    run: run.clone(),
                    model: model.clone(),
                    seconds,
                    ..Prediction::of(case, names.clone(), &names.join("\n"))
                }
            };
            let predictions: Vec<Prediction<Vec<String>, Vec<DiseaseName>>> =
                corpus.test.iter().zip(&lists).map(one).collect();
            keep_predictions(&dir.join("preds.jsonl"), &predictions)
        })
    }
}

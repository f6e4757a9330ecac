//! The learned ranker on patients whose publications did not train it.
use super::bench::{Bench, Protocol};
use crate::error::Result;
use crate::metric::RankedCase;
use crate::phenotype::features::Features;
use crate::phenotype::rank::{Bayes, BayesSettings, LearnedSettings, Weights};
use crate::phenotype::{Left, Patient, Signs};
use serde::{Deserialize, Serialize};

/// Which part of a cross-validation a publication is in.
pub(super) fn fold(group: &str, folds: usize, seed: u64) -> usize {
    (crate::io::seed_of(&format!("{seed}/{group}")) >> 32) as usize % folds
}

/// Settings of the learned ranker's cross-validation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folds {
    pub folds: usize,
    pub seed: u64,
}

impl Default for Folds {
    fn default() -> Self {
        Self { folds: 5, seed: 7 }
    }
}

/// Hit rates of naive Bayes with other settings, publications out, on the patients of one fold: `(Hit@1, Hit@10)`.
pub fn bayes_hits(bench: &Bench, settings: BayesSettings, folds: Folds) -> (usize, f64, f64) {
    let patients = bench.patients(1);
    let some: Vec<&Patient> =
        patients.into_iter().filter(|one| fold(&one.group, folds.folds.max(2), folds.seed) == 0).collect();
    let bayes = Bayes::of(&bench.library, settings);
    let cases = bench.rank(&bayes, &some, Protocol::PublicationsOut);
    let share = |k: usize| cases.iter().filter(|case| case.hit(k)).count() as f64 / cases.len().max(1) as f64;
    (cases.len(), share(1), share(10))
}

/// Hit rates of the learned ranker with other settings on the patients of one fold, trained on the others: `(settings, Hit@1, Hit@10)`; and the share of
/// these patients whose disease is listed at all.
pub fn learned_hits(
    bench: &Bench,
    all: &[LearnedSettings],
    folds: Folds,
) -> Result<(Vec<(LearnedSettings, f64, f64)>, f64)> {
    let patients = bench.patients(1);
    let lists = bench.features().lists(&patients);
    let inside = |i: &usize| fold(&patients[*i].group, folds.folds.max(2), folds.seed) == 0;
    let (some, train): (Vec<usize>, Vec<usize>) = (0..patients.len()).partition(inside);
    let n = bench.library.candidates.len();
    let listed = some.iter().filter(|&&i| lists[i].gold.is_some()).count() as f64 / some.len().max(1) as f64;
    let hits = |settings: &LearnedSettings| {
        let weights = Weights::train_by(&lists, &train, folds.seed, *settings)?;
        let ranks = some.iter().filter_map(|&i| bench.ranked_case(patients[i], &lists[i].scores(&weights, n)).best());
        let ranks: Vec<usize> = ranks.collect();
        let share = |k: usize| ranks.iter().filter(|&&rank| rank <= k).count() as f64 / some.len().max(1) as f64;
        Ok((*settings, share(1), share(10)))
    };
    Ok((all.iter().map(hits).collect::<Result<_>>()?, listed))
}

/// The learned ranker by cross-validation: each patient is ranked by weights that no patient of the same publication has trained.
pub struct CrossValidated<'a> {
    bench: &'a Bench,
    features: Features<'a>,
    settings: Folds,
    weights: Vec<Weights>,
}

impl<'a> CrossValidated<'a> {
    /// Trains a network for each fold on the patients of all others; with the case of each patient and the share of its best candidate.
    pub fn train(bench: &'a Bench, patients: &[&Patient], settings: Folds) -> Result<(Self, Vec<(RankedCase, f64)>)> {
        let settings = Folds { folds: settings.folds.max(2), ..settings };
        let features = bench.features();
        let lists = features.lists(patients);
        let of: Vec<usize> = patients.iter().map(|one| fold(&one.group, settings.folds, settings.seed)).collect();
        let weights = (0..settings.folds)
            .map(|out| {
                let train: Vec<usize> = (0..patients.len()).filter(|&i| of[i] != out).collect();
                Weights::train(&lists, &train, settings.seed)
            })
            .collect::<Result<Vec<_>>>()?;
        let n = bench.library.candidates.len();
        let case = |i: usize| {
            let (list, weights) = (&lists[i], &weights[of[i]]);
            (bench.ranked_case(patients[i], &list.scores(weights, n)), list.confidence(weights))
        };
        let cases = (0..patients.len()).map(case).collect();
        Ok((Self { bench, features, settings, weights }, cases))
    }

    /// Where other signs would put the disease of a patient, by the weights of the patient's fold.
    pub fn rank(&self, patient: &Patient, signs: &Signs) -> RankedCase {
        let weights = &self.weights[fold(&patient.group, self.settings.folds, self.settings.seed)];
        let list = self.features.list(signs, Left::patients(&patient.group), &[]);
        self.bench.ranked_case(patient, &list.scores(weights, self.bench.library.candidates.len()))
    }
}

/// Weights trained on all patients, to be shipped.
pub fn train_all(bench: &Bench, seed: u64) -> Result<Weights> {
    let patients = bench.patients(1);
    let lists = bench.features().lists(&patients);
    Weights::train(&lists, &(0..lists.len()).collect::<Vec<_>>(), seed)
}

//! The learned ranker on patients whose publications did not train it.
use super::bench::Bench;
use crate::error::Result;
use crate::metric::RankedCase;
use crate::phenotype::features::Features;
use crate::phenotype::rank::Weights;
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

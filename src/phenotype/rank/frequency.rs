//! The control that knows no signs: diseases with the most published patients first.
use super::{Left, Library, Ranker, Signs};
use std::collections::HashMap;

pub struct MostFrequent {
    counts: Vec<f32>,
    of_group: HashMap<String, Vec<(usize, f32)>>,
}

impl MostFrequent {
    pub fn of(library: &Library) -> Self {
        let mut counts = vec![0.0; library.candidates.len()];
        let mut of_group: HashMap<String, Vec<(usize, f32)>> = HashMap::new();
        for patient in &library.patients {
            for &disease in &patient.diseases {
                counts[disease] += 1.0;
                of_group.entry(patient.group.clone()).or_default().push((disease, 1.0));
            }
        }
        Self { counts, of_group }
    }
}

impl Ranker for MostFrequent {
    fn name(&self) -> &'static str {
        "most-frequent"
    }

    fn scores(&self, _signs: &Signs, left: Left) -> Vec<f32> {
        let mut counts = self.counts.clone();
        let own = left.publication.and_then(|group| self.of_group.get(group));
        own.into_iter().flatten().for_each(|&(disease, patients)| counts[disease] -= patients);
        counts
    }
}

//! Synthetic patients drawn from the annotations of a disease: each term by its frequency, some replaced by a broader term, some signs that
//! have nothing to do with it. No person is behind any of them.
use super::Signs;
use super::library::{Library, Patient};
use super::ontology::Term;
use crate::error::{Error, Result};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// How patients are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PatientSettings {
    pub seed: u64,
    /// Fewest and most signs of a patient, before noise.
    pub signs: (usize, usize),
    /// Share of the signs that are given by a broader term.
    pub imprecision: f64,
    /// Most signs that have nothing to do with the disease.
    pub noise: usize,
    /// Most terms of the disease that are told as looked for and not found, where the patient does not show them.
    pub excluded: usize,
}

impl Default for PatientSettings {
    fn default() -> Self {
        Self { seed: 7, signs: (4, 20), imprecision: 0.2, noise: 2, excluded: 4 }
    }
}

impl PatientSettings {
    fn check(&self) -> Result<()> {
        if !(0.0..=1.0).contains(&self.imprecision) {
            return Err(Error::input(format!("imprecision is {}, expected a share from 0 to 1", self.imprecision)));
        }
        if self.signs.0 == 0 || self.signs.0 > self.signs.1 {
            return Err(Error::input(format!(
                "signs are {} to {}, expected 1 or more, the fewest first",
                self.signs.0, self.signs.1
            )));
        }
        Ok(())
    }
}

/// Draws patients of one library.
pub struct Generator<'a> {
    library: &'a Library,
    settings: PatientSettings,
    /// Terms that annotate any disease: what noise is drawn from.
    noise: Vec<Term>,
}

impl<'a> Generator<'a> {
    pub fn new(library: &'a Library, settings: PatientSettings) -> Result<Self> {
        settings.check()?;
        let rows = library.candidates.iter().filter_map(|one| one.known);
        let terms = rows.flat_map(|at| &library.knowledge.diseases[at].annotations).filter(|row| !row.excluded);
        let noise: BTreeSet<Term> = terms.map(|row| row.term).collect();
        Ok(Self { library, settings, noise: noise.into_iter().collect() })
    }

    /// The candidates that a patient can be drawn of: those with at least as many terms as a patient has signs.
    pub fn drawable(&self) -> Vec<usize> {
        (0..self.library.candidates.len()).filter(|&i| self.shares(i).0.len() >= self.settings.signs.0).collect()
    }

    /// The terms of a disease with the share of patients that show each, and those that it excludes.
    fn shares(&self, disease: usize) -> (BTreeMap<Term, f64>, Vec<Term>) {
        let candidate = &self.library.candidates[disease];
        let (mut shares, mut excluded) = (BTreeMap::new(), vec![]);
        for row in candidate.known.iter().flat_map(|&at| &self.library.knowledge.diseases[at].annotations) {
            if row.excluded {
                excluded.push(row.term);
            } else {
                let share = shares.entry(row.term).or_insert(0.0f64);
                *share = share.max(row.frequency.share());
            }
        }
        (shares, excluded)
    }

    /// The n-th patient of a disease: the same for the same settings, whatever else was drawn.
    pub fn patient(&self, disease: usize, n: usize) -> Patient {
        let id = &self.library.candidates[disease].id;
        let seed = crate::io::seed_of(&format!("{}/{id}/{n}", self.settings.seed));
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (shares, denied) = self.shares(disease);
        let (fewest, most) = self.settings.signs;
        let most = rng.random_range(fewest..=most.max(fewest));
        let mut all: Vec<(Term, f64)> = shares.into_iter().collect();
        let mut shown: Vec<Term> = vec![];
        let mut rest: Vec<Term> = vec![];
        // in random order, so that a cap on the number of signs favours none
        while !all.is_empty() {
            let (term, share) = all.swap_remove(rng.random_range(0..all.len()));
            let shows = rng.random_bool(share.clamp(0.0, 1.0)) && shown.len() < most;
            if shows { shown.push(term) } else { rest.push(term) }
        }
        while shown.len() < fewest && !rest.is_empty() {
            shown.push(rest.swap_remove(rng.random_range(0..rest.len())));
        }
        let excluded: Vec<Term> = {
            let looked: Vec<Term> = denied.into_iter().chain(rest).collect();
            let most = rng.random_range(0..=self.settings.excluded);
            looked.choose_multiple(&mut rng, most).copied().collect()
        };
        let mut observed: Vec<Term> = shown.into_iter().map(|term| self.imprecise(term, &mut rng)).collect();
        let noise = rng.random_range(0..=self.settings.noise);
        observed.extend(self.noise.choose_multiple(&mut rng, noise));
        observed.sort_unstable();
        observed.dedup();
        let hpo = self.library.ontology();
        let implied = hpo.closure(&observed);
        let excluded = excluded.into_iter().filter(|term| !implied.contains(term)).collect();
        let id = format!("synthetic {} {}", id, n + 1);
        Patient {
            group: id.clone(),
            id,
            signs: Signs { observed, excluded },
            diseases: vec![disease],
            sex: String::new(),
            age: None,
        }
    }

    fn imprecise(&self, term: Term, rng: &mut ChaCha8Rng) -> Term {
        let hpo = self.library.ontology();
        let above: Vec<Term> =
            hpo.parents(term).iter().copied().filter(|&parent| !hpo.ancestors(parent).is_empty()).collect();
        if rng.random_bool(self.settings.imprecision) { above.choose(rng).copied().unwrap_or(term) } else { term }
    }
}

/// A patient as a GA4GH phenopacket of version 2, marked as synthetic.
pub fn phenopacket(library: &Library, patient: &Patient) -> serde_json::Value {
    use serde_json::json;
    let hpo = library.ontology();
    let feature = |&term: &Term, excluded: bool| {
        let mut one = json!({"type": {"id": hpo.id(term), "label": hpo.name(term)}});
        if excluded {
            one["excluded"] = json!(true);
        }
        one
    };
    let observed = patient.signs.observed.iter().map(|term| feature(term, false));
    let features: Vec<_> = observed.chain(patient.signs.excluded.iter().map(|term| feature(term, true))).collect();
    let diseases: Vec<_> = patient.diseases.iter().map(|&at| &library.candidates[at]).collect();
    let named = |one: &&super::Candidate| json!({"term": {"id": one.id, "label": one.name}});
    json!({
        "id": patient.id,
        "subject": {"id": patient.id},
        "phenotypicFeatures": features,
        "diseases": diseases.iter().map(named).collect::<Vec<_>>(),
        "metaData": {
            "created": "1970-01-01T00:00:00Z",
            "createdBy": "dxlab: synthetic, drawn from disease annotations; no person is behind it",
            "resources": [{"id": "hp", "namespacePrefix": "HP", "version": hpo.version}],
            "phenopacketSchemaVersion": "2.0",
        },
    })
}

#[cfg(test)]
mod tests {
    use super::super::library::tests::library;
    use super::*;

    #[test]
    fn patients_show_what_the_disease_has_and_are_the_same_each_time() {
        let library = library();
        let plain = PatientSettings { imprecision: 0.0, noise: 0, signs: (1, 5), ..PatientSettings::default() };
        let generator = Generator::new(&library, plain).unwrap();
        let epilepsy = library.candidate("OMIM:1").unwrap();
        let term = |name: &str| library.ontology().named(name).unwrap();
        let shows = |name: &str| {
            let of = |n: usize| generator.patient(epilepsy, n).signs.observed.contains(&term(name));
            (0..400).filter(|&n| of(n)).count() as f64 / 400.0
        };
        // 0.8 and 0.25 as annotated; one of the two is taken where a patient would show nothing, and at most one of one-sign patients
        assert!((0.72..0.88).contains(&shows("focal seizure")), "{}", shows("focal seizure"));
        assert!((0.2..0.4).contains(&shows("short stature")), "{}", shows("short stature"));
        assert_eq!(generator.patient(epilepsy, 3), generator.patient(epilepsy, 3));
        assert_eq!(
            generator.drawable(),
            [epilepsy, library.candidate("OMIM:2").unwrap(), library.candidate("OMIM:3").unwrap()]
        );
    }

    #[test]
    fn imprecision_moves_signs_up_and_nothing_is_both_observed_and_excluded() {
        let library = library();
        let settings = PatientSettings { imprecision: 1.0, noise: 0, signs: (1, 5), ..PatientSettings::default() };
        let generator = Generator::new(&library, settings).unwrap();
        let seizure = library.ontology().named("seizure").unwrap();
        let focal = library.ontology().named("focal seizure").unwrap();
        for n in 0..50 {
            let signs = generator.patient(0, n).signs;
            assert!(!signs.observed.contains(&focal) || signs.observed.contains(&seizure));
            assert!(signs.excluded.iter().all(|term| !library.ontology().closure(&signs.observed).contains(term)));
        }
        let bad = PatientSettings { imprecision: 2.0, ..settings };
        assert!(Generator::new(&library, bad).is_err());
    }

    #[test]
    fn a_patient_written_as_a_phenopacket_is_read_back() {
        let mut library = library();
        let patient = Generator::new(&library, PatientSettings { signs: (1, 5), ..PatientSettings::default() })
            .unwrap()
            .patient(0, 1);
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("p.json"), phenopacket(&library, &patient).to_string()).unwrap();
        let packets = crate::corpus::phenopacket::Packets::read(dir.path()).unwrap();
        let (back, unread) = library.patients_of(&packets.packets);
        assert_eq!((&back[0].signs, &back[0].diseases), (&patient.signs, &patient.diseases));
        assert_eq!(unread, super::super::Unread::default());
    }
}

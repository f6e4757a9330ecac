//! Patients of the task: which are asked about, which are added to training, and how they are told to a model.
use super::LINES;
use crate::error::Result;
use crate::phenotype::rank::{Likeness, Nearest};
use crate::phenotype::synthetic::{Generator, PatientSettings};
use crate::phenotype::{Left, Library, Patient, Term, ranked};
use std::collections::{BTreeMap, BTreeSet};

/// Test patients of the published protocol.
pub const TEST_PATIENTS: usize = 420;
/// Of one publication at most so many are test patients: a large cohort would decide the score.
const MOST_OF_A_PUBLICATION: usize = 6;
/// Fewest training patients of a disease after rebalancing.
const BALANCED: usize = 4;

/// Training and test patients of a protocol.
#[derive(Clone, Debug, PartialEq)]
pub struct Divided<'a> {
    pub train: Vec<&'a Patient>,
    pub test: Vec<&'a Patient>,
}

/// Test patients for the published protocol: publications in the order of their digests, those whose diseases all occur in another
/// publication, up to [`TEST_PATIENTS`] patients; all other publications are for training.
pub fn divide(patients: &[Patient]) -> Divided<'_> {
    let mut publications: BTreeMap<&str, Vec<&Patient>> = BTreeMap::new();
    let usable = patients.iter().filter(|one| !one.signs.observed.is_empty() && !one.diseases.is_empty());
    usable.for_each(|one| publications.entry(&one.group).or_default().push(one));
    let mut left: BTreeMap<usize, usize> = BTreeMap::new();
    let diseases = |all: &[&Patient]| all.iter().flat_map(|one| one.diseases.clone()).collect::<BTreeSet<usize>>();
    publications.values().flat_map(|all| diseases(all)).for_each(|one| *left.entry(one).or_default() += 1);
    let mut order: Vec<&str> = publications.keys().copied().collect();
    order.sort_by_cached_key(|group| crate::io::digest_bytes(format!("rare-disease test/{group}").as_bytes()));
    let wanted = TEST_PATIENTS.min(patients.len() / 4);
    let (mut divided, mut taken) = (Divided { train: vec![], test: vec![] }, BTreeSet::new());
    for group in order {
        let own = diseases(&publications[group]);
        if divided.test.len() >= wanted || own.iter().any(|one| left[one] < 2) {
            continue;
        }
        own.iter().for_each(|one| *left.entry(*one).or_default() -= 1);
        let most = MOST_OF_A_PUBLICATION.min(wanted - divided.test.len());
        divided.test.extend(publications[group].iter().take(most));
        taken.insert(group);
    }
    divided.train =
        publications.iter().filter(|(group, _)| !taken.contains(*group)).flat_map(|(_, all)| all.clone()).collect();
    divided
}

/// Names of the observed signs, separated by commas.
pub fn signs_text(library: &Library, patient: &Patient) -> String {
    let names: Vec<&str> = patient.signs.observed.iter().map(|&term| library.ontology().name(term)).collect();
    names.join(", ")
}

/// Age, sex, observed and excluded signs in sentences.
pub fn narrative(library: &Library, patient: &Patient) -> String {
    let names = |terms: &[Term]| terms.iter().map(|&term| library.ontology().name(term)).collect::<Vec<_>>().join(", ");
    let sex = match patient.sex.to_ascii_lowercase().as_str() {
        "male" => "male patient",
        "female" => "female patient",
        _ => "patient",
    };
    let age = match patient.age {
        Some(age) if age < 1.0 => ", in the first year of life,".to_string(),
        Some(age) if age < 2.0 => " of 1 year".to_string(),
        Some(age) => format!(" of {} years", age.floor()),
        None => String::new(),
    };
    let mut text = format!("A {sex}{age} has these signs: {}.", names(&patient.signs.observed));
    if !patient.signs.excluded.is_empty() {
        text += &format!(" Looked for and not found: {}.", names(&patient.signs.excluded));
    }
    text
}

/// Synthetic patients of the diseases that have fewer than [`BALANCED`] in training, by the annotations of `library`.
pub fn further(library: &Library, train: &[Patient]) -> Result<Vec<Patient>> {
    let generator = Generator::new(library, PatientSettings { seed: 8, ..PatientSettings::default() })?;
    let drawable: BTreeSet<usize> = generator.drawable().into_iter().collect();
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    train.iter().flat_map(|one| &one.diseases).for_each(|&at| *counts.entry(at).or_default() += 1);
    let wanting = counts.into_iter().filter(|(at, _)| drawable.contains(at));
    Ok(wanting
        .flat_map(|(at, n)| (n..BALANCED.max(n)).map(move |i| (at, i)))
        .map(|(at, i)| generator.patient(at, i))
        .collect())
}

/// For each training patient its disease, then the diseases of the most similar patients of other publications: ten lines in all.
pub fn differentials(library: &Library, train: &[Patient]) -> BTreeMap<String, String> {
    let nearest = Nearest::of(library, Likeness::Terms);
    let all: Vec<&Patient> = train.iter().collect();
    let lines = crate::phenotype::features::of_all(&all, |one| {
        let scores = nearest.best_two(&one.signs, Left::out(&one.group));
        let scores: Vec<f32> = scores.iter().map(|best| best[0]).collect();
        let near = ranked(&scores, LINES + one.diseases.len())
            .into_iter()
            .filter(|near| near.score > 0.0)
            .map(|near| near.candidate);
        let mut places = one.diseases.clone();
        places.extend(near.filter(|at| !one.diseases.contains(at)));
        places.truncate(LINES);
        let names: Vec<&str> = places.iter().map(|&at| library.candidates[at].name.as_str()).collect();
        names.join("\n")
    });
    train.iter().map(|one| one.id.clone()).zip(lines).collect()
}

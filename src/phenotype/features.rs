//! What the rankers say of each candidate, side by side: the input of the learned ranker.
use super::library::{Left, Library};
use super::profile::{Profiles, Rows};
use super::rank::Weights;
use super::rank::{Bayes, BayesSettings, Descriptions, LikelihoodRatio, Likeness, Nearest, Resnik};
use super::{Ranker, Signs};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// A row of features.
pub type Row = [f32; NAMES.len()];

/// The features in order.
pub const NAMES: [&str; 28] = [
    "Resnik, signs explained",
    "Resnik, disease shown",
    "likelihood ratio, observed",
    "likelihood ratio, excluded",
    "Orphanet: Resnik, signs explained",
    "Orphanet: Resnik, disease shown",
    "Orphanet: likelihood ratio, observed",
    "Orphanet: has rows",
    "naive Bayes, observed",
    "naive Bayes, excluded",
    "naive Bayes on rows, observed",
    "naive Bayes on patients, observed",
    "naive Bayes on patients, excluded",
    "nearest patient, terms",
    "second publication, terms",
    "nearest patient, terms and above",
    "second publication, terms and above",
    "nearest patient, Lin",
    "second publication, Lin",
    "patients that count in Bayes (log)",
    "published patients (log)",
    "publications (log)",
    "annotated (0 or 1)",
    "words of descriptions",
    "nearest patient, Resnik",
    "second publication, Resnik",
    "naive Bayes along the ontology, observed",
    "naive Bayes on patients along the ontology, observed",
];

/// Place of the number of patients that count.
const TOLD: usize = 19;

/// See the file's header.
pub struct Features<'a> {
    library: &'a Library,
    resnik: Resnik<'a>,
    likelihood: LikelihoodRatio<'a>,
    orphanet: (Resnik<'a>, LikelihoodRatio<'a>),
    bayes: Bayes<'a>,
    bayes_rows: Bayes<'a>,
    bayes_patients: Bayes<'a>,
    /// Smoothed along the ontology: of all sources, of patients alone.
    along: [Bayes<'a>; 2],
    nearest: [Nearest<'a>; 4],
    descriptions: Descriptions<'a>,
    /// Patients and publications of each candidate.
    counts: Vec<[f32; 2]>,
    of_group: HashMap<&'a str, BTreeMap<usize, f32>>,
}

impl<'a> Features<'a> {
    pub fn of(library: &'a Library, settings: BayesSettings, descriptions: &BTreeMap<String, String>) -> Self {
        let mut counts = vec![[0.0; 2]; library.candidates.len()];
        let mut of_group: HashMap<&str, BTreeMap<usize, f32>> = HashMap::new();
        for patient in &library.patients {
            for &disease in &patient.diseases {
                counts[disease][0] += 1.0;
                *of_group.entry(&patient.group).or_default().entry(disease).or_insert(0.0) += 1.0;
            }
        }
        of_group.values().flat_map(BTreeMap::keys).for_each(|&disease| counts[disease][1] += 1.0);
        let [omim, orphanet] = [Rows::Omim, Rows::Orphanet].map(|rows| Arc::new(Profiles::of(library, rows)));
        let nearest = [Likeness::Terms, Likeness::Above, Likeness::Lin, Likeness::Resnik]
            .map(|likeness| Nearest::of(library, likeness));
        Self {
            library,
            resnik: Resnik::by(library, omim.clone()),
            likelihood: LikelihoodRatio::by(library, omim),
            orphanet: (Resnik::by(library, orphanet.clone()), LikelihoodRatio::by(library, orphanet)),
            bayes: Bayes::of(library, settings),
            bayes_rows: Bayes::of(library, BayesSettings { patients: false, ..settings }),
            bayes_patients: Bayes::of(library, BayesSettings { rows: false, ..settings }),
            along: [true, false].map(|rows| Bayes::of(library, BayesSettings { rows, ..BayesSettings::PARENTS })),
            nearest,
            descriptions: Descriptions::of(library, descriptions),
            counts,
            of_group,
        }
    }

    /// Of every candidate, in the order of the library. The rankers are asked side by side, on all cores.
    pub fn rows(&self, signs: &Signs, left: Left) -> Vec<Row> {
        let mut rows: Vec<Row> = vec![[0.0; NAMES.len()]; self.library.candidates.len()];
        for (at, column) in self.columns(signs, left).into_iter().flatten() {
            rows.iter_mut().zip(column).for_each(|(row, value)| row[at] = value);
        }
        rows
    }

    /// The columns of [`NAMES`] by their places, those of one ranker together.
    fn columns(&self, signs: &Signs, left: Left) -> Vec<Vec<(usize, Vec<f32>)>> {
        type Columns<'f> = Box<dyn Fn() -> Vec<(usize, Vec<f32>)> + Sync + 'f>;
        let pair = |at: usize, parts: Vec<[f32; 2]>| {
            vec![(at, parts.iter().map(|one| one[0]).collect()), (at + 1, parts.iter().map(|one| one[1]).collect())]
        };
        let first = |at: usize, parts: Vec<[f32; 2]>| vec![(at, parts.iter().map(|one| one[0]).collect())];
        // where only what observed signs say is taken, excluded ones need not be looked at
        let observed = Signs { excluded: vec![], ..signs.clone() };
        let observed = &observed;
        let mut asked: Vec<Columns> = vec![];
        for (at, nearest) in [24, 17, 15, 13].into_iter().zip(self.nearest.iter().rev()) {
            asked.push(Box::new(move || pair(at, nearest.best_two(signs, left))));
        }
        for (at, resnik) in [(0, &self.resnik), (4, &self.orphanet.0)] {
            asked.push(Box::new(move || {
                let halves = resnik.halves(signs, left);
                pair(at, halves.iter().map(|one| [one.signs, one.disease]).collect())
            }));
        }
        asked.push(Box::new(|| pair(2, self.likelihood.parts(signs, left))));
        asked.push(Box::new(|| first(6, self.orphanet.1.parts(observed, left))));
        asked.push(Box::new(|| pair(8, self.bayes.parts(signs, left))));
        asked.push(Box::new(|| first(10, self.bayes_rows.parts(observed, left))));
        asked.push(Box::new(|| pair(11, self.bayes_patients.parts(signs, left))));
        for (at, bayes) in [26, 27].into_iter().zip(&self.along) {
            asked.push(Box::new(move || first(at, bayes.parts(observed, left))));
        }
        asked.push(Box::new(|| self.known(signs, left)));
        asked.par_iter().map(|ask| ask()).collect()
    }

    /// What is known of each candidate, and the words of its description.
    fn known(&self, signs: &Signs, left: Left) -> Vec<(usize, Vec<f32>)> {
        let counts = self.counts(left);
        vec![
            (7, self.library.candidates.iter().map(|one| f32::from(!one.also.is_empty())).collect()),
            (TOLD, self.bayes.told(left).iter().map(|told| told.ln_1p()).collect()),
            (20, counts.iter().map(|one| one[0].ln_1p()).collect()),
            (21, counts.iter().map(|one| one[1].ln_1p()).collect()),
            (22, self.bayes_rows.told(left).iter().map(|&told| f32::from(told > 0.0)).collect()),
            (23, self.descriptions.scores(signs, left)),
        ]
    }

    fn counts(&self, left: Left) -> Vec<[f32; 2]> {
        let mut counts = self.counts.clone();
        if let Some(own) = left.publication.and_then(|group| self.of_group.get(group)) {
            for (&disease, patients) in own {
                counts[disease][0] -= patients;
                counts[disease][1] -= 1.0;
            }
        }
        counts
    }
}

/// Features of which a list also holds the rank and the distance to the best: those that order candidates.
pub const LISTED: [usize; 12] = [0, 2, 6, 8, 10, 11, 13, 15, 17, 24, 26, 27];

/// Candidates from each of these that are listed.
const MOST: usize = 30;

/// The candidates worth a second look for one patient, with what the learned ranker sees of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    pub group: String,
    /// Places in the library.
    pub candidates: Vec<usize>,
    /// A row for each candidate, one after the other.
    pub values: Vec<f32>,
    /// The place in `candidates` of the right disease, where it is listed.
    pub gold: Option<usize>,
}

impl Listed {
    /// Features of a candidate.
    pub fn width(&self) -> usize {
        self.values.len() / self.candidates.len().max(1)
    }

    pub fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks(self.width().max(1))
    }

    /// The share of the best candidate under the weights' softmax over those listed; 0 where none is listed.
    pub fn confidence(&self, weights: &Weights) -> f64 {
        let scores: Vec<f64> = self.rows().map(|row| f64::from(weights.score(row))).collect();
        let best = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = scores.iter().map(|score| (score - best).exp()).sum();
        if scores.is_empty() { 0.0 } else { 1.0 / sum }
    }

    /// A score for each of `n` candidates; what is not listed is behind all that is.
    pub fn scores(&self, weights: &Weights, n: usize) -> Vec<f32> {
        let mut scores = vec![f32::NEG_INFINITY; n];
        let rows: Vec<&[f32]> = self.rows().collect();
        let each: Vec<f32> = rows.par_iter().map(|row| weights.score(row)).collect();
        self.candidates.iter().zip(each).for_each(|(&at, score)| scores[at] = score);
        scores
    }
}

/// Sorts the greatest first, by [`f32::total_cmp`]: as integers of the same order, which is faster.
fn sort_down(values: &mut [f32]) {
    // of negative numbers the bits grow as the number falls
    let key = |value: f32| {
        let bits = value.to_bits() as i32;
        bits ^ (((bits >> 31) as u32) >> 1) as i32
    };
    let back = |key: i32| f32::from_bits((key ^ (((key >> 31) as u32) >> 1) as i32) as u32);
    let mut keys: Vec<i32> = values.iter().map(|&value| !key(value)).collect();
    keys.sort_unstable();
    values.iter_mut().zip(keys).for_each(|(value, sorted)| *value = back(!sorted));
}

impl Features<'_> {
    pub fn candidates(&self) -> usize {
        self.library.candidates.len()
    }

    pub fn bayes(&self) -> &Bayes<'_> {
        &self.bayes
    }

    /// The list of a patient whose diseases are `gold`. A disease of which nothing is known without what is left out is not listed.
    pub fn list(&self, signs: &Signs, left: Left, gold: &[usize]) -> Listed {
        let rows = self.rows(signs, left);
        let known: Vec<usize> = (0..rows.len()).filter(|&i| rows[i][TOLD] > 0.0).collect();
        let of = |feature: &usize| {
            let mut values: Vec<f32> = known.iter().map(|&i| rows[i][*feature]).collect();
            let best: Vec<usize> = super::ranked(&values, MOST).iter().map(|one| known[one.candidate]).collect();
            sort_down(&mut values);
            (best, values)
        };
        let (best, sorted): (Vec<Vec<usize>>, Vec<Vec<f32>>) = LISTED.par_iter().map(of).unzip();
        let candidates: Vec<usize> = best.into_iter().flatten().collect::<BTreeSet<usize>>().into_iter().collect();
        let mut values = Vec::with_capacity(candidates.len() * (NAMES.len() + 2 * LISTED.len()));
        for &i in &candidates {
            values.extend(rows[i]);
            let better = |k: usize| sorted[k].partition_point(|&value| value > rows[i][LISTED[k]]);
            values.extend((0..LISTED.len()).map(|k| (better(k) as f32).ln_1p()));
            values.extend((0..LISTED.len()).map(|k| rows[i][LISTED[k]] - sorted[k][0]));
        }
        let gold = candidates.iter().position(|at| gold.contains(at));
        Listed { group: left.publication.unwrap_or_default().to_string(), candidates, values, gold }
    }

    /// The list of each patient, its own publication left out.
    pub fn lists(&self, patients: &[&super::Patient]) -> Vec<Listed> {
        of_all(patients, |one| self.list(&one.signs, Left::patients(&one.group), &one.diseases))
    }
}

/// Calls for many patients at once, on all cores.
pub fn of_all<T: Send>(patients: &[&super::Patient], one: impl Fn(&super::Patient) -> T + Sync) -> Vec<T> {
    patients.par_iter().map(|patient| one(patient)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorting_as_integers_is_sorting_by_the_total_order() {
        let mut values =
            vec![0.5, -0.0, 0.0, f32::NEG_INFINITY, 3.0, -7.25, 1e-40, f32::INFINITY, -1e-40, 3.0, f32::NAN];
        let mut twin = values.clone();
        twin.sort_by(|a, b| b.total_cmp(a));
        sort_down(&mut values);
        let bits = |all: &[f32]| all.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&values), bits(&twin));
    }
}

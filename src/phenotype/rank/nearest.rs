//! The most similar patient that was published before: a disease scores as its nearest patient does.
//!
//! Four likenesses: the cosine of terms weighted by their inverse publication frequency, the same over all terms that a patient's terms
//! imply, and the symmetric mean of best matches by Resnik's or by Lin's similarity (ICML 1998), the information of a term being −ln of
//! the share of publications that have it or something below.
use super::{Contribution, Left, Library, Ranker, Signs, Term};
use std::collections::{BTreeSet, HashMap};

/// By what two patients are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Likeness {
    /// The terms as given.
    Terms,
    /// The terms and all above them.
    Above,
    /// Best matches by the information where two terms meet.
    Resnik,
    /// Best matches by 2·IC(where they meet) / (IC of one + IC of the other).
    Lin,
}

pub struct Nearest<'a> {
    library: &'a Library,
    likeness: Likeness,
    /// Patients with each term (or, but for [`Likeness::Terms`], something below it).
    holders: Vec<Vec<u32>>,
    /// −ln of the share of publications with the term.
    weight: Vec<f32>,
    /// √Σ weight² of each patient.
    length: Vec<f32>,
}

impl<'a> Nearest<'a> {
    pub fn of(library: &'a Library, likeness: Likeness) -> Self {
        let mut holders: Vec<Vec<u32>> = vec![vec![]; library.ontology().len()];
        let mut groups: HashMap<Term, BTreeSet<&str>> = HashMap::new();
        let mut publications: BTreeSet<&str> = BTreeSet::new();
        for (i, patient) in library.patients.iter().enumerate() {
            publications.insert(&patient.group);
            for term in terms(library, likeness, &patient.signs.observed) {
                holders[term as usize].push(i as u32);
                groups.entry(term).or_default().insert(&patient.group);
            }
        }
        let n = publications.len().max(1) as f32;
        let held = |term: usize| groups.get(&(term as Term)).map_or(1, BTreeSet::len) as f32;
        let weight: Vec<f32> = (0..holders.len()).map(|term| -(held(term) / n).ln()).collect();
        let length =
            |patient: &super::super::Patient| length(&weight, &terms(library, likeness, &patient.signs.observed));
        let length = library.patients.iter().map(length).collect();
        Self { library, likeness, holders, weight, length }
    }

    /// How alike each published patient is; 0 for those of the publication that is left out.
    pub fn patients(&self, signs: &Signs, left: Left) -> Vec<f32> {
        let mut like = match self.likeness {
            Likeness::Terms | Likeness::Above => self.cosines(signs),
            Likeness::Resnik | Likeness::Lin => self.matches(signs),
        };
        for (patient, like) in self.library.patients.iter().zip(&mut like) {
            if Some(patient.group.as_str()) == left.publication {
                *like = 0.0;
            }
        }
        like
    }

    fn cosines(&self, signs: &Signs) -> Vec<f32> {
        let asked = terms(self.library, self.likeness, &signs.observed);
        let mut like = vec![0.0; self.library.patients.len()];
        for &term in &asked {
            let weight = self.weight[term as usize].powi(2);
            self.holders[term as usize].iter().for_each(|&patient| like[patient as usize] += weight);
        }
        let own = length(&self.weight, &asked);
        like.iter_mut().zip(&self.length).for_each(|(like, other)| *like /= (own * other).max(f32::MIN_POSITIVE));
        like
    }

    fn matches(&self, signs: &Signs) -> Vec<f32> {
        let similar: Vec<Vec<f32>> = signs.observed.iter().map(|&term| self.similar(term)).collect();
        let one = |patient: &super::super::Patient| {
            let own = &patient.signs.observed;
            if own.is_empty() || similar.is_empty() {
                return 0.0;
            }
            let best = |all: &mut dyn Iterator<Item = f32>| all.fold(0.0, f32::max);
            let asked: f32 = similar.iter().map(|of| best(&mut own.iter().map(|&t| of[t as usize]))).sum();
            let given: f32 = own.iter().map(|&t| best(&mut similar.iter().map(|of| of[t as usize]))).sum();
            0.5 * (asked / similar.len() as f32 + given / own.len() as f32)
        };
        self.library.patients.iter().map(one).collect()
    }

    /// The similarity of a term to every term.
    fn similar(&self, term: Term) -> Vec<f32> {
        let hpo = self.library.ontology();
        let mut meet = vec![0.0f32; hpo.len()];
        hpo.ancestors(term).iter().for_each(|&above| meet[above as usize] = self.weight[above as usize]);
        for &one in hpo.parents_first() {
            let above = hpo.parents(one).iter().map(|&parent| meet[parent as usize]).fold(0.0, f32::max);
            meet[one as usize] = meet[one as usize].max(above);
        }
        if self.likeness == Likeness::Lin {
            let own = self.weight[term as usize];
            for (meet, other) in meet.iter_mut().zip(&self.weight) {
                *meet *= 2.0 / (own + other).max(f32::MIN_POSITIVE);
            }
        }
        meet
    }

    /// The best score of each candidate, and of its best patient in another publication than that one's: two witnesses.
    pub fn best_two(&self, signs: &Signs, left: Left) -> Vec<[f32; 2]> {
        let mut best: Vec<([f32; 2], &str)> = vec![([0.0; 2], ""); self.library.candidates.len()];
        for (patient, like) in self.library.patients.iter().zip(self.patients(signs, left)) {
            for &disease in &patient.diseases {
                let ([first, second], group) = &mut best[disease];
                if like > *first {
                    if *group != patient.group {
                        *second = *first;
                    }
                    (*first, *group) = (like, &patient.group);
                } else if *group != patient.group {
                    *second = second.max(like);
                }
            }
        }
        best.into_iter().map(|one| one.0).collect()
    }
}

fn terms(library: &Library, likeness: Likeness, observed: &[Term]) -> Vec<Term> {
    match likeness {
        Likeness::Terms => observed.to_vec(),
        _ => library.ontology().closure(observed),
    }
}

fn length(weight: &[f32], terms: &[Term]) -> f32 {
    terms.iter().map(|&term| weight[term as usize].powi(2)).sum::<f32>().sqrt()
}

impl Ranker for Nearest<'_> {
    fn name(&self) -> &'static str {
        match self.likeness {
            Likeness::Terms => "nearest",
            Likeness::Above => "nearest-above",
            Likeness::Resnik => "nearest-resnik",
            Likeness::Lin => "nearest-lin",
        }
    }

    fn scores(&self, signs: &Signs, left: Left) -> Vec<f32> {
        self.best_two(signs, left).into_iter().map(|[best, _]| best).collect()
    }

    /// The nearest patient of the disease: which of the signs that patient showed.
    fn contributions(&self, signs: &Signs, candidate: usize, left: Left) -> Vec<Contribution> {
        let like = self.patients(signs, left);
        let of_disease = self.library.patients.iter().zip(like).filter(|(one, _)| one.diseases.contains(&candidate));
        let Some((patient, _)) = of_disease.max_by(|a, b| a.1.total_cmp(&b.1)) else { return vec![] };
        let shown = terms(self.library, self.likeness, &patient.signs.observed);
        let one = |&term: &Term| {
            let has = shown.contains(&term);
            let value = if has { f64::from(self.weight[term as usize]) } else { 0.0 };
            let reason = format!("{} {} it", patient.id, if has { "showed" } else { "did not show" });
            Contribution { term, excluded: false, value, reason }
        };
        signs.observed.iter().map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::library::tests::library;
    use super::*;

    /// Four patients in four publications. Focal seizure is in two: weight ln 2; short stature in two: ln 2; skull in one: ln 4.
    #[test]
    fn cosines_are_what_a_count_by_hand_gives() {
        let library = library();
        let nearest = Nearest::of(&library, Likeness::Terms);
        let term = |name: &str| library.ontology().named(name).unwrap();
        let signs = Signs { observed: vec![term("focal seizure"), term("skull deformity")], excluded: vec![] };
        let like = nearest.patients(&signs, Left::nothing());
        let (two, four) = (2f32.ln(), 4f32.ln());
        let own = (two * two + four * four).sqrt();
        let expected =
            [two * two / (own * two), two * two / (own * (2.0 * two * two).sqrt()), four * four / (own * four), 0.0];
        for (a, b) in like.iter().zip(expected) {
            assert!((a - b).abs() < 1e-6, "{like:?}");
        }
        assert_eq!(nearest.patients(&signs, Left::out("PMID:3"))[2], 0.0);
    }

    #[test]
    fn lin_of_a_term_with_itself_is_one_and_below_a_common_parent_less() {
        let library = library();
        let lin = Nearest::of(&library, Likeness::Lin);
        let term = |name: &str| library.ontology().named(name).unwrap();
        let similar = lin.similar(term("focal seizure"));
        assert!((similar[term("focal seizure") as usize] - 1.0).abs() < 1e-6);
        // they meet at seizure (2 of 4 publications: ln 2); focal seizure has ln 2, generalised seizure none, as if one: ln 4
        let expected = 2.0 * 2f32.ln() / (2f32.ln() + 4f32.ln());
        assert!((similar[term("generalised seizure") as usize] - expected).abs() < 1e-6);
        assert_eq!(similar[term("short stature") as usize], 0.0);
    }

    #[test]
    fn the_second_witness_is_of_another_publication() {
        let library = library();
        let nearest = Nearest::of(&library, Likeness::Terms);
        let signs = Signs { observed: vec![library.ontology().named("focal seizure").unwrap()], excluded: vec![] };
        let [first, second] = nearest.best_two(&signs, Left::nothing())[library.candidate("OMIM:1").unwrap()];
        assert!((first - 1.0).abs() < 1e-6 && (second - 0.5f32.sqrt()).abs() < 1e-6, "{first} {second}");
    }
}

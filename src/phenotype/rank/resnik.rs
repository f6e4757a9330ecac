//! Semantic similarity after Resnik (IJCAI 1995) as Phenomizer uses it (Köhler et al., AJHG 2009).
//!
//! ```text
//! IC(t)      = −ln(share of diseases annotated with t or a term below it)
//! sim(s, t)  = IC of the most informative term above both
//! score(Q,D) = ½ · mean over s in Q of max over t in D of sim(s, t)  +  ½ · the same with Q and D exchanged
//! ```
//!
//! The score grows with the number of well-annotated terms that a disease has, so Phenomizer asks how often a random query of the same
//! length scores as high: [`Resnik::significance`].
use super::super::profile::{Profile, Profiles, Rows};
use super::{Contribution, Left, Library, Ranker, Signs, Term};
use rand::{Rng, SeedableRng};
use rayon::prelude::*;
use std::sync::Arc;

pub struct Resnik<'a> {
    library: &'a Library,
    profiles: Arc<Profiles>,
}

/// The two halves of the score.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Halves {
    /// How well the disease explains the signs.
    pub signs: f32,
    /// How much of the disease the patient shows.
    pub disease: f32,
}

impl Halves {
    pub fn score(self) -> f32 {
        0.5 * (self.signs + self.disease)
    }
}

/// A score beside those of random queries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Significance {
    /// (random queries with at least this score + 1) / (random queries + 1)
    pub p: f64,
    /// p after Benjamini and Hochberg over all annotated candidates.
    pub adjusted: f64,
}

impl<'a> Resnik<'a> {
    pub fn of(library: &'a Library) -> Self {
        Self::by(library, Arc::new(Profiles::of(library, Rows::Omim)))
    }

    /// By profiles that another ranker uses, too.
    pub fn by(library: &'a Library, profiles: Arc<Profiles>) -> Self {
        Self { library, profiles }
    }

    /// Both halves for every candidate.
    pub fn halves(&self, signs: &Signs, left: Left) -> Vec<Halves> {
        let mut all = self.halves_of(&signs.observed);
        let shown = self.shown(&signs.observed);
        for (candidate, profile) in self.profiles.without(self.library, left) {
            all[candidate] = self.halves_one(&signs.observed, &shown, &profile);
        }
        all
    }

    fn halves_of(&self, observed: &[Term]) -> Vec<Halves> {
        let mut all = vec![Halves::default(); self.profiles.list.len()];
        let (mut seen, n) = (vec![0; all.len()], observed.len().max(1) as f32);
        for (i, &term) in observed.iter().enumerate() {
            self.profiles.meet(term, &mut seen, i as u32 + 1, |candidate, at, _| {
                all[candidate].signs += self.profiles.ic(at) / n;
            });
        }
        let shown = self.shown(observed);
        for (halves, profile) in all.iter_mut().zip(&self.profiles.list) {
            halves.disease = self.disease_half(&shown, profile);
        }
        all
    }

    /// Of every term the information of the most informative term above it that the signs imply.
    fn shown(&self, observed: &[Term]) -> Vec<f32> {
        let hpo = self.library.ontology();
        let mut best = vec![0.0f32; hpo.len()];
        hpo.closure(observed).into_iter().for_each(|term| best[term as usize] = self.profiles.ic(term));
        for &term in hpo.parents_first() {
            let above = hpo.parents(term).iter().map(|&parent| best[parent as usize]).fold(0.0, f32::max);
            best[term as usize] = best[term as usize].max(above);
        }
        best
    }

    fn disease_half(&self, shown: &[f32], profile: &Profile) -> f32 {
        let sum: f32 = profile.direct.iter().map(|&(term, _)| shown[term as usize]).sum();
        sum / profile.direct.len().max(1) as f32
    }

    fn halves_one(&self, observed: &[Term], shown: &[f32], profile: &Profile) -> Halves {
        let met = observed.iter().filter_map(|&term| self.profiles.meet_one(term, profile));
        let signs = met.map(|(at, _)| self.profiles.ic(at)).sum::<f32>() / observed.len().max(1) as f32;
        Halves { signs, disease: self.disease_half(shown, profile) }
    }

    /// How often random queries of as many terms score as high, for every candidate; none for those without annotations. Random terms are
    /// drawn from all terms that annotate a disease.
    /// What is left out is left out of the random queries' scores, too.
    pub fn significance(&self, signs: &Signs, left: Left, queries: usize, seed: u64) -> Vec<Option<Significance>> {
        let scores: Vec<f32> = self.halves(signs, left).into_iter().map(Halves::score).collect();
        let changed = self.profiles.without(self.library, left);
        let terms: Vec<Term> = {
            let mut all: Vec<Term> =
                self.profiles.list.iter().flat_map(|one| one.direct.iter().map(|&(term, _)| term)).collect();
            all.sort_unstable();
            all.dedup();
            all
        };
        let length = signs.observed.len().min(terms.len());
        let as_high = (0..queries as u64)
            .into_par_iter()
            .map(|query| {
                let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed ^ query.wrapping_mul(0x9E37_79B9_7F4A_7C15));
                let drawn = draw(&terms, length, &mut rng);
                let mut random = self.halves_of(&drawn);
                let shown = self.shown(&drawn);
                changed.iter().for_each(|(i, profile)| random[*i] = self.halves_one(&drawn, &shown, profile));
                random.iter().zip(&scores).map(|(one, &score)| u32::from(one.score() >= score)).collect::<Vec<u32>>()
            })
            .reduce(|| vec![0; scores.len()], |a, b| a.iter().zip(b).map(|(a, b)| a + b).collect());
        let emptied = |i: usize| changed.iter().any(|(at, profile)| *at == i && profile.direct.is_empty());
        let annotated: Vec<usize> =
            (0..scores.len()).filter(|&i| !self.profiles.list[i].direct.is_empty() && !emptied(i)).collect();
        let p = |i: usize| f64::from(as_high[i] + 1) / (queries as f64 + 1.0);
        let mut order = annotated.clone();
        order.sort_by(|&a, &b| p(b).total_cmp(&p(a)));
        let (mut adjusted, mut least) = (vec![1.0; scores.len()], 1.0f64);
        for (after, &i) in order.iter().enumerate() {
            least = least.min(p(i) * order.len() as f64 / (order.len() - after) as f64);
            adjusted[i] = least;
        }
        let mut all = vec![None; scores.len()];
        annotated.iter().for_each(|&i| all[i] = Some(Significance { p: p(i), adjusted: adjusted[i] }));
        all
    }
}

/// `length` different terms at random.
fn draw(terms: &[Term], length: usize, rng: &mut impl Rng) -> Vec<Term> {
    rand::seq::index::sample(rng, terms.len(), length).into_iter().map(|i| terms[i]).collect()
}

impl Ranker for Resnik<'_> {
    fn name(&self) -> &'static str {
        "resnik"
    }

    fn scores(&self, signs: &Signs, left: Left) -> Vec<f32> {
        self.halves(signs, left).into_iter().map(Halves::score).collect()
    }

    fn contributions(&self, signs: &Signs, candidate: usize, left: Left) -> Vec<Contribution> {
        let profile = &self.profiles.of_candidate(self.library, candidate, left);
        let hpo = self.library.ontology();
        let one = |&term: &Term| {
            let met = self.profiles.meet_one(term, profile);
            let reason = match met {
                Some((at, _)) if at == term => "the disease has it".to_string(),
                Some((at, _)) => format!("meets the disease at {}", hpo.name(at)),
                None => "nothing in common".to_string(),
            };
            let value = met.map_or(0.0, |(at, _)| f64::from(self.profiles.ic(at)));
            Contribution { term, excluded: false, value, reason }
        };
        signs.observed.iter().map(one).collect()
    }
}

/// The half of the score that asks how well a disease explains the signs: the one-sided form of Köhler et al., which does not hold against a
/// disease what the patient does not show.
pub struct ResnikSigns<'a>(pub Resnik<'a>);

impl Ranker for ResnikSigns<'_> {
    fn name(&self) -> &'static str {
        "resnik-signs"
    }

    fn scores(&self, signs: &Signs, left: Left) -> Vec<f32> {
        self.0.halves(signs, left).into_iter().map(|halves| halves.signs).collect()
    }

    fn contributions(&self, signs: &Signs, candidate: usize, left: Left) -> Vec<Contribution> {
        self.0.contributions(signs, candidate, left)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::library::tests::library;
    use super::*;

    /// By hand: three annotated diseases. IC(nervous) = ln(3/2), IC(focal seizure) = ln 3, IC(short stature) = ln(3/2), IC(skeleton) = 0.
    /// Query {focal seizure}: against OMIM:1 {focal seizure, short stature} the signs' half is ln 3, the disease's (ln 3 + 0)/2.
    #[test]
    fn the_score_is_what_a_count_by_hand_gives() {
        let library = library();
        let resnik = Resnik::of(&library);
        let focal = library.ontology().named("focal seizure").unwrap();
        let signs = Signs { observed: vec![focal], excluded: vec![] };
        let halves = resnik.halves(&signs, Left::nothing());
        let at = |id: &str| halves[library.candidate(id).unwrap()];
        let ln = |x: f32| x.ln();
        let close = |a: Halves, signs: f32, disease: f32| {
            assert!((a.signs - signs).abs() < 1e-6 && (a.disease - disease).abs() < 1e-6, "{a:?}: {signs}, {disease}");
        };
        close(at("OMIM:1"), ln(3.0), ln(3.0) / 2.0);
        close(at("OMIM:2"), 0.0, 0.0);
        // seizure and nervous are both had by two of three: ln(3/2); its terms are the skull (nervous) and seizure
        close(at("OMIM:3"), ln(1.5), ln(1.5));
        close(at("OMIM:9"), 0.0, 0.0);
    }

    #[test]
    fn leaving_rows_out_gives_what_the_profile_alone_gives() {
        let library = library();
        let resnik = Resnik::of(&library);
        let signs = Signs { observed: vec![library.ontology().named("focal seizure").unwrap()], excluded: vec![] };
        let halves = resnik.halves(&signs, Left::out("PMID:1"));
        assert_eq!(halves[library.candidate("OMIM:1").unwrap()], Halves::default(), "only short stature is left");
    }

    #[test]
    fn a_perfect_match_is_rarer_among_random_queries_than_none() {
        let library = library();
        let resnik = Resnik::of(&library);
        let signs = Signs { observed: vec![library.ontology().named("focal seizure").unwrap()], excluded: vec![] };
        let all = resnik.significance(&signs, Left::nothing(), 400, 7);
        let p = |id: &str| all[library.candidate(id).unwrap()];
        // four terms annotate the three diseases; one in four random queries is focal seizure
        assert!((p("OMIM:1").unwrap().p - 0.25).abs() < 0.07, "{:?}", p("OMIM:1"));
        assert_eq!(p("OMIM:2").unwrap().p, 1.0);
        assert_eq!(p("OMIM:9"), None);
        assert!(all.iter().flatten().all(|one| one.adjusted >= one.p && one.adjusted <= 1.0));
    }
}

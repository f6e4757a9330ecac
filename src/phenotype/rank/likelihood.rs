//! Likelihood ratios of phenotypes as LIRICAL documents them (Robinson et al., AJHG 2020; its documentation, "phenotype score").
//!
//! For a sign h and a disease D: LR = P(h | D) / P(h | not D), the denominator being the mean frequency of h over all other diseases.
//!
//! | the sign and the disease's terms | numerator |
//! |---|---|
//! | annotated, or above an annotated term | the greatest frequency there; 1 where none is stated |
//! | child of an annotated term | that frequency / number of children of the term |
//! | they meet at a common ancestor below the root | the ratio at that ancestor, not below 1/100 |
//! | nothing in common | the ratio is 1/100 |
//! | observed, and the disease excludes it | the ratio is 1/1,000 |
//! | looked for and not found | (1 − frequency) / (1 − mean frequency); 1,000 where the disease excludes it, too |
//!
//! The score is the sum of log10 of all ratios: every disease has the same prior odds. A sign counts as excluded where the disease excludes it or a term
//! above it. Where the documentation leaves a choice or LIRICAL's program differs from it: a grandchild of an annotated term meets it at that term and
//! gets its undivided ratio; a term's own frequency stands before those below it; the mean frequency is held at one disease in all, not at 1/10,000.
use super::super::profile::{Profile, Profiles, Rows};
use super::{Contribution, Left, Library, Ranker, Signs, Term};
use std::sync::Arc;

/// No ratio of an observed sign is smaller, but for one that the disease excludes.
const LEAST: f32 = 0.01;
const EXCLUDED: f32 = 0.001;

pub struct LikelihoodRatio<'a> {
    library: &'a Library,
    profiles: Arc<Profiles>,
}

impl<'a> LikelihoodRatio<'a> {
    pub fn of(library: &'a Library) -> Self {
        Self::by(library, Arc::new(Profiles::of(library, Rows::Omim)))
    }

    /// By profiles that another ranker uses, too.
    pub fn by(library: &'a Library, profiles: Arc<Profiles>) -> Self {
        Self { library, profiles }
    }

    /// The sums of log10 ratios of observed and of excluded signs, for every candidate.
    pub fn parts(&self, signs: &Signs, left: Left) -> Vec<[f32; 2]> {
        let n = self.profiles.list.len();
        let mut all = vec![[0.0; 2]; n];
        let (mut seen, mut exact) = (vec![0; n], vec![0; n]);
        let mut ratio = vec![0.0; n];
        for (i, &term) in signs.observed.iter().enumerate() {
            self.observed_all(term, i as u32 + 1, &mut seen, &mut exact, &mut ratio);
            all.iter_mut().zip(&ratio).for_each(|(sum, ratio)| sum[0] += ratio.log10());
        }
        for &term in &signs.excluded {
            self.excluded_all(term, &mut ratio);
            all.iter_mut().zip(&ratio).for_each(|(sum, ratio)| sum[1] += ratio.log10());
        }
        for (candidate, profile) in self.profiles.without(self.library, left) {
            let sum =
                |terms: &[Term], one: &dyn Fn(Term) -> f32| terms.iter().map(|&term| one(term).log10()).sum::<f32>();
            all[candidate] = [
                sum(&signs.observed, &|term| self.observed_one(term, &profile).0),
                sum(&signs.excluded, &|term| self.excluded_one(term, &profile)),
            ];
        }
        all
    }

    fn observed_all(&self, term: Term, stamp: u32, seen: &mut [u32], exact: &mut [u32], ratio: &mut [f32]) {
        let (profiles, hpo) = (&self.profiles, self.library.ontology());
        ratio.fill(LEAST);
        profiles.meet(term, seen, stamp, |candidate, at, share| {
            if at == term {
                exact[candidate] = stamp;
            }
            ratio[candidate] = (share / profiles.background(at, share)).max(LEAST);
        });
        let mut child = std::collections::HashMap::<usize, f32>::new();
        for &parent in hpo.parents(term) {
            for &(candidate, share) in profiles.annotated(parent) {
                let frequency = share / hpo.children(parent).len() as f32;
                let best = child.entry(candidate as usize).or_insert(0.0);
                *best = best.max(frequency);
            }
        }
        for (candidate, frequency) in child.into_iter().filter(|one| exact[one.0] != stamp) {
            ratio[candidate] = (frequency / profiles.background(term, 0.0)).max(LEAST);
        }
        for &above in hpo.ancestors(term) {
            profiles.excluders(above).iter().for_each(|&candidate| ratio[candidate as usize] = EXCLUDED);
        }
    }

    /// The ratio, and why.
    fn observed_one(&self, term: Term, profile: &Profile) -> (f32, String) {
        let (profiles, hpo) = (&self.profiles, self.library.ontology());
        if hpo.ancestors(term).iter().any(|above| profile.excluded.contains(above)) {
            return (EXCLUDED, "the disease excludes it".into());
        }
        let percent = |share: f32| format!("{:.0} %", 100.0 * share);
        if let Some(share) = profile.share(term) {
            let ratio = (share / profiles.background(term, share)).max(LEAST);
            let reason = match profile.is_stated(hpo, term) {
                true => format!("in {} of patients", percent(share)),
                false => "a sign of the disease, frequency not stated (counted as always)".into(),
            };
            return (ratio, reason);
        }
        let of_parent = |&parent: &Term| Some(profile.annotated(parent)? / hpo.children(parent).len() as f32);
        if let Some(share) = hpo.parents(term).iter().filter_map(of_parent).reduce(f32::max) {
            let ratio = (share / profiles.background(term, 0.0)).max(LEAST);
            return (ratio, "a special case of a sign of the disease".into());
        }
        match profiles.meet_one(term, profile) {
            Some((at, share)) => {
                let ratio = (share / profiles.background(at, share)).max(LEAST);
                (ratio, format!("meets the disease at {}", hpo.name(at)))
            }
            None => (LEAST, "nothing in common".into()),
        }
    }

    fn excluded_all(&self, term: Term, ratio: &mut [f32]) {
        ratio.fill(1.0 / (1.0 - self.profiles.background(term, 0.0)).max(LEAST));
        for &(candidate, share) in self.profiles.holders(term) {
            ratio[candidate as usize] = self.absent(term, share);
        }
        self.profiles.excluders(term).iter().for_each(|&candidate| ratio[candidate as usize] = 1.0 / EXCLUDED);
    }

    fn excluded_one(&self, term: Term, profile: &Profile) -> f32 {
        if profile.excluded.contains(&term) {
            return 1.0 / EXCLUDED;
        }
        profile.share(term).map_or_else(
            || 1.0 / (1.0 - self.profiles.background(term, 0.0)).max(LEAST),
            |share| self.absent(term, share),
        )
    }

    fn absent(&self, term: Term, share: f32) -> f32 {
        ((1.0 - share) / (1.0 - self.profiles.background(term, share)).max(LEAST)).max(LEAST)
    }
}

impl Ranker for LikelihoodRatio<'_> {
    fn name(&self) -> &'static str {
        "likelihood-ratio"
    }

    fn uses_excluded(&self) -> bool {
        true
    }

    fn scores(&self, signs: &Signs, left: Left) -> Vec<f32> {
        self.parts(signs, left).into_iter().map(|[observed, excluded]| observed + excluded).collect()
    }

    fn contributions(&self, signs: &Signs, candidate: usize, left: Left) -> Vec<Contribution> {
        let profile = &self.profiles.of_candidate(self.library, candidate, left);
        let observed = signs.observed.iter().map(|&term| {
            let (ratio, reason) = self.observed_one(term, profile);
            Contribution { term, excluded: false, value: f64::from(ratio.log10()), reason }
        });
        let excluded = signs.excluded.iter().map(|&term| {
            let ratio = self.excluded_one(term, profile);
            let reason = match (profile.excluded.contains(&term), profile.share(term)) {
                (true, _) => "the disease excludes it, too".to_string(),
                (false, Some(_)) if !profile.is_stated(self.library.ontology(), term) => {
                    "absent, a sign of the disease, frequency not stated (counted as always)".to_string()
                }
                (false, Some(share)) => format!("absent, and {:.0} % of patients have it", 100.0 * share),
                (false, None) => "absent, and no sign of the disease".to_string(),
            };
            Contribution { term, excluded: true, value: f64::from(ratio.log10()), reason }
        });
        observed.chain(excluded).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::library::tests::library;
    use super::*;

    /// By hand over three annotated diseases: OMIM:1 focal seizure 0.8, short stature 0.25; OMIM:2 short stature 1 (unstated), excludes
    /// seizure; OMIM:3 skull deformity 0.545, seizure 0.5. No mean is taken below 1/3.
    #[test]
    fn ratios_are_those_of_the_table_by_hand() {
        let library = library();
        let lr = LikelihoodRatio::of(&library);
        let term = |name: &str| library.ontology().named(name).unwrap();
        let ratio = |observed: &[&str], excluded: &[&str], id: &str| {
            let terms = |names: &[&str]| names.iter().map(|name| term(name)).collect();
            let signs = Signs { observed: terms(observed), excluded: terms(excluded) };
            10f32.powf(lr.scores(&signs, Left::nothing())[library.candidate(id).unwrap()])
        };
        let close = |a: f32, b: f32| assert!((a / b - 1.0).abs() < 1e-4, "{a} is not {b}");
        close(ratio(&["focal seizure"], &[], "OMIM:1"), 0.8 / (1.0 / 3.0)); // annotated; the mean over the others is 0, held at 1/3
        close(ratio(&["seizure"], &[], "OMIM:1"), 0.8 / (1.0 / 3.0)); // above an annotated term; (0 + 0.5)/2 is below 1/3
        close(ratio(&["focal seizure"], &[], "OMIM:3"), (0.5 / 2.0) / 0.4); // child of an annotated term with two children; (0.8 + 0)/2
        close(ratio(&["generalised seizure"], &[], "OMIM:1"), 0.8 / (1.0 / 3.0)); // meets at seizure
        close(ratio(&["focal seizure"], &[], "OMIM:2"), 0.001); // below what the disease excludes
        close(ratio(&["abnormal nervous system"], &[], "OMIM:2"), 0.01); // nothing in common
        close(ratio(&["seizure"], &[], "OMIM:2"), 0.001); // excluded by the disease
        close(ratio(&[], &["seizure"], "OMIM:2"), 1_000.0); // excluded by both
        close(ratio(&[], &["short stature"], "OMIM:1"), 0.75 / (1.0 - 0.5)); // the others: (1 + 0)/2
        close(ratio(&["short stature"], &[], "OMIM:2"), 1.0 / (1.0 / 3.0));
    }

    #[test]
    fn a_frequency_that_no_row_states_is_not_given_as_one() {
        let library = library();
        let lr = LikelihoodRatio::of(&library);
        let term = |name: &str| library.ontology().named(name).unwrap();
        let reason = |name: &str, id: &str| {
            let signs = Signs { observed: vec![term(name)], excluded: vec![] };
            lr.contributions(&signs, library.candidate(id).unwrap(), Left::nothing())[0].reason.clone()
        };
        assert_eq!(reason("focal seizure", "OMIM:1"), "in 80 % of patients");
        assert_eq!(reason("seizure", "OMIM:1"), "in 80 % of patients", "by the term below");
        assert!(reason("short stature", "OMIM:2").contains("frequency not stated"));
    }

    #[test]
    fn what_is_explained_adds_up_to_the_score_with_and_without_a_publication() {
        let library = library();
        let lr = LikelihoodRatio::of(&library);
        let term = |name: &str| library.ontology().named(name).unwrap();
        let signs = Signs {
            observed: vec![term("focal seizure"), term("short stature"), term("skull deformity")],
            excluded: vec![term("generalised seizure"), term("seizure")],
        };
        for left in [Left::nothing(), Left::out("PMID:1")] {
            let scores = lr.scores(&signs, left);
            for (candidate, score) in scores.iter().enumerate() {
                let sum: f64 = lr.contributions(&signs, candidate, left).iter().map(|one| one.value).sum();
                assert!((sum - f64::from(*score)).abs() < 1e-4, "{left:?} {candidate}: {sum} is not {score}");
            }
        }
    }
}

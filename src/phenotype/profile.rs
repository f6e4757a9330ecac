//! What the annotation file says of each candidate, made quick to ask: which diseases have a term or something below it, how often, and
//! where two terms meet.
use super::knowledge::{Annotation, Frequency, Source};
use super::library::{Left, Library};
use super::ontology::{Ontology, Term};
use std::collections::{BTreeMap, HashMap};

/// Which rows of the file count for a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// Its own, of OMIM.
    Omim,
    /// Those of the Orphanet entries of the same disease.
    Orphanet,
}

/// The terms of one candidate, sorted, with the share of patients that show each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    /// As annotated.
    pub direct: Vec<(Term, f32)>,
    /// With everything above; the share is the term's own where it is annotated itself, else the greatest of those below.
    pub closure: Vec<(Term, f32)>,
    /// The disease does not have these.
    pub excluded: Vec<Term>,
    /// Annotated terms of which no row says how often, counted as always; sorted.
    pub unstated: Vec<Term>,
}

impl Profile {
    fn of(library: &Library, candidate: usize, rows: Rows, without: &[Source]) -> Self {
        let candidate = &library.candidates[candidate];
        let diseases: Vec<usize> = match rows {
            Rows::Omim => candidate.known.into_iter().collect(),
            Rows::Orphanet => candidate.also.clone(),
        };
        let all = diseases.iter().flat_map(|&at| &library.knowledge.diseases[at].annotations);
        let mut terms: BTreeMap<Term, Vec<&Annotation>> = BTreeMap::new();
        for annotation in all.filter(|one| !without.contains(&one.source)) {
            terms.entry(annotation.term).or_default().push(annotation);
        }
        let (present, absent): (Vec<_>, Vec<_>) =
            terms.into_iter().partition(|(_, rows)| rows.iter().any(|one| !one.excluded));
        let says_nothing = |rows: &[&Annotation]| rows.iter().all(|one| one.frequency == Frequency::Unstated);
        let unstated = present.iter().filter(|(_, rows)| says_nothing(rows)).map(|(term, _)| *term).collect();
        let direct: Vec<(Term, f32)> = present.into_iter().map(|(term, rows)| (term, share(&rows))).collect();
        let mut closure: BTreeMap<Term, f32> = BTreeMap::new();
        for &(term, share) in &direct {
            for &above in library.ontology().ancestors(term) {
                let held = closure.entry(above).or_insert(0.0);
                *held = held.max(share);
            }
        }
        // a term's own row says more of it than rows below it
        closure.extend(direct.iter().copied());
        let excluded = absent.into_iter().map(|(term, _)| term).collect();
        Self { direct, closure: closure.into_iter().collect(), excluded, unstated }
    }

    /// Whether a row says how often patients have this term, or the one below it that its share comes from.
    pub fn is_stated(&self, ontology: &Ontology, term: Term) -> bool {
        let stated = |term: &Term| self.unstated.binary_search(term).is_err();
        let Some(share) = self.share(term) else { return false };
        match self.annotated(term) {
            Some(_) => stated(&term),
            None => self
                .direct
                .iter()
                .any(|(below, own)| *own == share && stated(below) && ontology.ancestors(*below).contains(&term)),
        }
    }

    /// The share at a term, also where it is annotated below.
    pub fn share(&self, term: Term) -> Option<f32> {
        at(&self.closure, term)
    }

    /// The share at a term that is annotated itself.
    pub fn annotated(&self, term: Term) -> Option<f32> {
        at(&self.direct, term)
    }
}

fn at(sorted: &[(Term, f32)], term: Term) -> Option<f32> {
    sorted.binary_search_by_key(&term, |one| one.0).ok().map(|i| sorted[i].1)
}

/// Rows of several references: counted patients together, else the mean of what is stated.
fn share(rows: &[&Annotation]) -> f32 {
    let counted = rows.iter().filter_map(|one| match one.frequency {
        Frequency::Counted { k, n } => Some((k, n)),
        _ => None,
    });
    let (k, n) = counted.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    if n > 0 {
        return k as f32 / n as f32;
    }
    rows.iter().map(|one| one.frequency.share()).sum::<f64>() as f32 / rows.len() as f32
}

/// Profiles of all candidates, and for every term who has it.
#[derive(Clone, Debug)]
pub struct Profiles {
    rows: Rows,
    pub list: Vec<Profile>,
    holders: Vec<Vec<(u32, f32)>>,
    annotated: HashMap<Term, Vec<(u32, f32)>>,
    excluders: HashMap<Term, Vec<u32>>,
    /// −ln of the share of annotated candidates that have the term; of a term that none has, as if one had.
    ic: Vec<f32>,
    /// Mean share over annotated candidates.
    background: Vec<f32>,
    /// Of each term: itself and all above it, the most informative first.
    upward: Vec<Vec<Term>>,
    /// Candidates with at least one term.
    pub annotated_candidates: usize,
}

impl Profiles {
    pub fn of(library: &Library, rows: Rows) -> Self {
        let list: Vec<Profile> = (0..library.candidates.len()).map(|i| Profile::of(library, i, rows, &[])).collect();
        let terms = library.ontology().len();
        let mut holders: Vec<Vec<(u32, f32)>> = vec![vec![]; terms];
        let (mut annotated, mut excluders) =
            (HashMap::<Term, Vec<(u32, f32)>>::new(), HashMap::<Term, Vec<u32>>::new());
        for (i, profile) in list.iter().enumerate() {
            profile.closure.iter().for_each(|&(term, share)| holders[term as usize].push((i as u32, share)));
            profile.direct.iter().for_each(|&(term, share)| annotated.entry(term).or_default().push((i as u32, share)));
            profile.excluded.iter().for_each(|&term| excluders.entry(term).or_default().push(i as u32));
        }
        let n = list.iter().filter(|profile| !profile.direct.is_empty()).count();
        let of_all = n.max(1) as f32;
        let ic: Vec<f32> = holders.iter().map(|all| -(all.len().max(1) as f32 / of_all).ln()).collect();
        let background = holders.iter().map(|all| all.iter().map(|one| one.1).sum::<f32>() / of_all).collect();
        let upward = (0..terms as Term)
            .map(|term| {
                let mut all = library.ontology().ancestors(term).to_vec();
                all.sort_by(|&a, &b| ic[b as usize].total_cmp(&ic[a as usize]).then(a.cmp(&b)));
                all
            })
            .collect();
        Self { rows, list, holders, annotated, excluders, ic, background, upward, annotated_candidates: n }
    }

    /// Information content of a term in nats.
    pub fn ic(&self, term: Term) -> f32 {
        self.ic[term as usize]
    }

    /// The mean share of a term over all other candidates, not below one patient in as many as there are annotated candidates.
    pub fn background(&self, term: Term, own: f32) -> f32 {
        let n = self.annotated_candidates.max(2) as f32;
        ((self.background[term as usize] * n - own) / (n - 1.0)).max(1.0 / n)
    }

    /// Calls `meet(candidate, term, share)` once for each candidate that shares something with the term: at the most informative term
    /// that is above both, with the candidate's share there. `seen` is as long as the candidates are; it holds no value of `stamp`.
    pub fn meet(&self, term: Term, seen: &mut [u32], stamp: u32, mut meet: impl FnMut(usize, Term, f32)) {
        for &above in &self.upward[term as usize] {
            for &(candidate, share) in &self.holders[above as usize] {
                let candidate = candidate as usize;
                if seen[candidate] != stamp {
                    seen[candidate] = stamp;
                    meet(candidate, above, share);
                }
            }
        }
    }

    /// The same for one profile.
    pub fn meet_one(&self, term: Term, profile: &Profile) -> Option<(Term, f32)> {
        self.upward[term as usize].iter().find_map(|&above| profile.share(above).map(|share| (above, share)))
    }

    /// Candidates that have a term or something below it, with the share.
    pub fn holders(&self, term: Term) -> &[(u32, f32)] {
        &self.holders[term as usize]
    }

    /// Candidates with a row for exactly this term.
    pub fn annotated(&self, term: Term) -> &[(u32, f32)] {
        self.annotated.get(&term).map_or(&[], Vec::as_slice)
    }

    /// Candidates whose rows exclude exactly this term.
    pub fn excluders(&self, term: Term) -> &[u32] {
        self.excluders.get(&term).map_or(&[], Vec::as_slice)
    }

    /// A candidate's profile, without a publication's rows where they are left out.
    pub fn of_candidate(&self, library: &Library, candidate: usize, left: Left) -> Profile {
        let changed = self.without(library, left).into_iter().find(|one| one.0 == candidate);
        changed.map_or_else(|| self.list[candidate].clone(), |(_, profile)| profile)
    }

    /// Profiles that change when a publication's rows are left out.
    pub fn without(&self, library: &Library, left: Left) -> Vec<(usize, Profile)> {
        let Some(reference) = left.reference() else { return vec![] };
        let sources = library.knowledge.citing(reference);
        library.cited_by(reference).iter().map(|&i| (i, Profile::of(library, i, self.rows, sources))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::library::tests::library;
    use super::*;

    #[test]
    fn a_term_meets_every_disease_where_the_profile_alone_meets_it() {
        let library = library();
        let profiles = Profiles::of(&library, Rows::Omim);
        let mut seen = vec![0; library.candidates.len()];
        for term in 0..library.ontology().len() as Term {
            let mut met = vec![None; library.candidates.len()];
            profiles.meet(term, &mut seen, term + 1, |i, at, share| met[i] = Some((at, share)));
            for (i, profile) in profiles.list.iter().enumerate() {
                let one = profiles.meet_one(term, profile);
                let ic = |met: Option<(Term, f32)>| met.map(|(at, share)| (profiles.ic(at), share));
                assert_eq!(ic(met[i]), ic(one), "term {term}, candidate {i}");
            }
        }
    }

    #[test]
    fn what_a_publication_said_is_gone_without_it() {
        let library = library();
        let profiles = Profiles::of(&library, Rows::Omim);
        let at = |id: &str| library.candidate(id).unwrap();
        let changed = profiles.without(&library, Left::out("PMID:1"));
        assert_eq!(changed.iter().map(|one| one.0).collect::<Vec<_>>(), [at("OMIM:1"), at("OMIM:3")]);
        assert_eq!(changed[0].1.direct.len(), 1, "the row of PMID:2 stays");
        assert_eq!(changed[1].1.direct.len(), 1);
        assert!(profiles.without(&library, Left::patients("PMID:1")).is_empty());
        assert!(profiles.without(&library, Left::out("PMID:77")).is_empty());
    }

    #[test]
    fn information_and_background_are_means_over_annotated_diseases() {
        let library = library();
        let profiles = Profiles::of(&library, Rows::Omim);
        assert_eq!(profiles.annotated_candidates, 3);
        let seizure = library.ontology().named("seizure").unwrap();
        assert!((profiles.ic(seizure) - (3.0f32 / 2.0).ln()).abs() < 1e-6, "two of three have it or a term below");
        // OMIM:1 has 0.8 below it, OMIM:3 has 0.5; seen from OMIM:1 the mean of the two others is 0.25
        assert!((profiles.background(seizure, 0.8) - 0.333_333).abs() < 1e-4, "not below one in three");
        assert!((profiles.background(seizure, 0.0) - 0.65).abs() < 1e-6);
    }
}

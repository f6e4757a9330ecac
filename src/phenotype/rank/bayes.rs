//! Naive Bayes over annotations and published patients together, smoothed towards the mean over diseases or along the ontology.
//!
//! Every source (a reference of the annotation file, a publication with patients) tells of n patients of a disease and how many of them
//! had a term or something below it. Counts of all sources are added, a large source counting for at most `cap` patients:
//!
//! ```text
//! n'      = cap·n / (cap + n)                       k' = n'·k/n
//! f(t|D)  = (k + α·b(t)) / (n + α)                                          towards the mean; k = Σ k', n = Σ n'
//!         = f(p|D) · (k + α·b(t)/b(p)) / (k(p) + α)  at the best parent p   along the ontology
//! score   = Σ observed ln f/b  +  Σ excluded ln (1 − f)/(1 − b)
//! ```
//!
//! b(t) is the mean frequency of t over diseases. Along the ontology a term that a disease was never seen with inherits from its parent what is
//! known there, as the share of the parent's patients who have it; at the top both are the same. A disease about which nothing is known cannot be
//! ranked and stands behind all others.
use super::super::knowledge::Frequency;
use super::{Contribution, Left, Library, Ranker, Signs, Term};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// What a frequency is smoothed towards; see the file's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Smoothing {
    /// The mean over diseases.
    Mean,
    /// What is known of the best parent.
    Parents,
}

/// Chosen on validation publications: `dxlab rare-disease settings`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BayesSettings {
    pub smoothing: Smoothing,
    /// Patients that the mean's or the parent's frequency counts for.
    pub alpha: f32,
    /// No source counts for more patients.
    pub cap: f32,
    /// Patients that a row without a count stands for.
    pub uncounted: f32,
    /// Use rows of the annotation file.
    pub rows: bool,
    /// Use published patients.
    pub patients: bool,
}

impl BayesSettings {
    /// The best settings along the ontology.
    pub const PARENTS: Self =
        Self { smoothing: Smoothing::Parents, alpha: 3.0, cap: 2.0, uncounted: 2.0, rows: true, patients: true };
}

impl Default for BayesSettings {
    fn default() -> Self {
        Self { smoothing: Smoothing::Mean, alpha: 10.0, cap: 1.0, uncounted: 2.0, rows: true, patients: true }
    }
}

/// What one source or all sources tell of a disease.
#[derive(Clone, Debug, Default)]
struct Tally {
    n: f32,
    /// Sorted by term.
    k: Vec<(Term, f32)>,
}

pub struct Bayes<'a> {
    library: &'a Library,
    settings: BayesSettings,
    /// Of each candidate, by source.
    sources: Vec<BTreeMap<String, Tally>>,
    totals: Vec<Tally>,
    holders: Vec<Vec<(u32, f32)>>,
    background: Vec<f32>,
    /// Candidates that a publication's patients or rows speak of.
    touched: HashMap<String, Vec<usize>>,
    /// Place of each term in an order in which parents come first.
    depth: Vec<u32>,
}

/// How sources are named: patients of a publication are left out with it always, rows only where rows are.
fn row_source(reference: &str) -> String {
    format!("rows of {reference}")
}

impl<'a> Bayes<'a> {
    pub fn of(library: &'a Library, settings: BayesSettings) -> Self {
        let mut sources: Vec<BTreeMap<String, Tally>> = vec![BTreeMap::new(); library.candidates.len()];
        if settings.rows {
            rows(library, settings, &mut sources);
        }
        if settings.patients {
            patients(library, settings, &mut sources);
        }
        let totals: Vec<Tally> = sources.iter().map(|all| sum(all.values())).collect();
        let terms = library.ontology().len();
        let (mut holders, mut background) = (vec![vec![]; terms], vec![0.0f32; terms]);
        let told = totals.iter().filter(|one| one.n > 0.0).count().max(1) as f32;
        for (i, total) in totals.iter().enumerate() {
            for &(term, k) in &total.k {
                holders[term as usize].push((i as u32, k));
                background[term as usize] += k / total.n / told;
            }
        }
        let least = 0.1 / told;
        background.iter_mut().for_each(|share| *share = share.clamp(least, 0.99));
        let mut touched: HashMap<String, Vec<usize>> = HashMap::new();
        for (i, all) in sources.iter().enumerate() {
            all.keys().for_each(|source| touched.entry(source.clone()).or_default().push(i));
        }
        let mut depth = vec![0; terms];
        library.ontology().parents_first().iter().enumerate().for_each(|(at, &term)| depth[term as usize] = at as u32);
        Self { library, settings, sources, totals, holders, background, touched, depth }
    }

    /// Patients that count for each candidate.
    pub fn told(&self, left: Left) -> Vec<f32> {
        let mut all: Vec<f32> = self.totals.iter().map(|one| one.n).collect();
        self.without(left).into_iter().for_each(|(i, tally)| all[i] = tally.n);
        all
    }

    /// The sums over observed and over excluded signs, for every candidate.
    pub fn parts(&self, signs: &Signs, left: Left) -> Vec<[f32; 2]> {
        let terms = self.asked(signs);
        let at: HashMap<Term, usize> = terms.iter().enumerate().map(|(i, &term)| (term, i)).collect();
        let lift = self.lifts(&terms, &at);
        let mut all = vec![[0.0; 2]; self.totals.len()];
        for &term in &signs.observed {
            let Some(&i) = at.get(&term) else { continue };
            all.iter_mut().zip(&lift[i]).for_each(|(sum, lift)| sum[0] += self.observed(term, *lift));
        }
        for &term in &signs.excluded {
            let Some(&i) = at.get(&term) else { continue };
            all.iter_mut().zip(&lift[i]).for_each(|(sum, lift)| sum[1] += self.excluded(term, *lift));
        }
        for (candidate, tally) in self.without(left) {
            let lift = self.lifts_of(&terms, &at, &tally);
            let sum = |asked: &[Term], one: &dyn Fn(Term, f32) -> f32| {
                asked.iter().filter_map(|term| Some(one(*term, lift[*at.get(term)?]))).sum()
            };
            all[candidate] =
                [sum(&signs.observed, &|t, l| self.observed(t, l)), sum(&signs.excluded, &|t, l| self.excluded(t, l))];
        }
        all
    }

    /// The signs and, where they count, all above them, parents first.
    fn asked(&self, signs: &Signs) -> Vec<Term> {
        let mut terms: Vec<Term> = signs.observed.iter().chain(&signs.excluded).copied().collect();
        if self.settings.smoothing == Smoothing::Parents {
            terms = self.library.ontology().closure(&terms);
        }
        terms.sort_by_key(|&term| self.depth[term as usize]);
        terms.dedup();
        terms
    }

    /// f/b of each asked term for every candidate, parents first.
    fn lifts(&self, terms: &[Term], at: &HashMap<Term, usize>) -> Vec<Vec<f32>> {
        let told: Vec<f32> = self.totals.iter().map(|total| total.n).collect();
        let (mut lifts, mut counts): (Vec<Vec<f32>>, Vec<Vec<f32>>) = (vec![], vec![]);
        for &term in terms {
            let mut k = vec![0.0; told.len()];
            self.holders[term as usize].iter().for_each(|&(candidate, count)| k[candidate as usize] = count);
            let above: Vec<(&[f32], &[f32], f32)> = self
                .parents(term, at)
                .into_iter()
                .map(|(parent, b)| (lifts[parent].as_slice(), counts[parent].as_slice(), b))
                .collect();
            let lift = self.lift_of_all(term, &k, &told, &above);
            lifts.push(lift);
            counts.push(k);
        }
        lifts
    }

    /// [`Bayes::lift`] for every candidate at once, in loops that the compiler can make vectors of.
    fn lift_of_all(&self, term: Term, k: &[f32], told: &[f32], above: &[(&[f32], &[f32], f32)]) -> Vec<f32> {
        let (alpha, b) = (self.settings.alpha, self.background[term as usize]);
        match above {
            [] => k.iter().zip(told).map(|(k, n)| (k / b + alpha) / (n + alpha)).collect(),
            [(lift, count, over)] => {
                let (share, ratio) = (alpha * (b / over).min(1.0), over / b);
                let each = lift.iter().zip(*count).zip(k);
                each.map(|((lift, count), k)| lift * ratio * ((k + share) / (count + alpha)).min(1.0)).collect()
            }
            [(lift, count, over), others @ ..] => {
                // of several parents the one with the highest lift, candidate by candidate
                let (mut lift, mut count, mut best) = (lift.to_vec(), count.to_vec(), vec![*over; k.len()]);
                for (other, others_count, over) in others {
                    for i in 0..k.len() {
                        if other[i] > lift[i] {
                            (lift[i], count[i], best[i]) = (other[i], others_count[i], *over);
                        }
                    }
                }
                let one = |i: usize| {
                    let share = alpha * (b / best[i]).min(1.0);
                    lift[i] * (best[i] / b) * ((k[i] + share) / (count[i] + alpha)).min(1.0)
                };
                (0..k.len()).map(one).collect()
            }
        }
    }

    /// f/b of each asked term for one tally.
    fn lifts_of(&self, terms: &[Term], at: &HashMap<Term, usize>, tally: &Tally) -> Vec<f32> {
        let (mut lifts, mut counts): (Vec<f32>, Vec<f32>) = (vec![], vec![]);
        for &term in terms {
            let k = tally.k.binary_search_by_key(&term, |one| one.0).map_or(0.0, |i| tally.k[i].1);
            let parents = self.parents(term, at);
            let above = parents.iter().map(|&(parent, b)| (lifts[parent], counts[parent], b));
            lifts.push(self.lift(term, k, tally.n, above));
            counts.push(k);
        }
        lifts
    }

    /// Places of the parents among the asked terms with their background; none where none is asked, or where they do not count.
    fn parents(&self, term: Term, at: &HashMap<Term, usize>) -> Vec<(usize, f32)> {
        let parents = match self.settings.smoothing {
            Smoothing::Mean => &[][..],
            Smoothing::Parents => self.library.ontology().parents(term),
        };
        parents.iter().filter_map(|parent| Some((*at.get(parent)?, self.background[*parent as usize]))).collect()
    }

    /// f/b of a term that `k` of `n` patients had; `above`: lift, count and background of each parent.
    fn lift(&self, term: Term, k: f32, n: f32, above: impl Iterator<Item = (f32, f32, f32)>) -> f32 {
        let (alpha, b) = (self.settings.alpha, self.background[term as usize]);
        let best = above.reduce(|best, one| if one.0 > best.0 { one } else { best });
        match best {
            None => (k / b + alpha) / (n + alpha),
            Some((lift, count, over)) => {
                let of_parent = (k + alpha * (b / over).min(1.0)) / (count + alpha);
                lift * (over / b) * of_parent.min(1.0)
            }
        }
    }

    fn observed(&self, term: Term, lift: f32) -> f32 {
        lift.min(0.99 / self.background[term as usize]).ln()
    }

    fn excluded(&self, term: Term, lift: f32) -> f32 {
        let background = self.background[term as usize];
        ((1.0 - (lift * background).min(0.99)) / (1.0 - background)).ln()
    }

    fn without(&self, left: Left) -> Vec<(usize, Tally)> {
        let Some(publication) = left.publication else { return vec![] };
        let knowledge = &self.library.knowledge;
        let cited = left.reference().map_or(&[][..], |paper| knowledge.citing(paper));
        let rows = cited.iter().map(|&source| row_source(&knowledge.sources[source as usize]));
        let out: Vec<String> = std::iter::once(publication.to_string()).chain(rows).collect();
        let mut changed: Vec<usize> =
            out.iter().filter_map(|source| self.touched.get(source)).flatten().copied().collect();
        changed.sort_unstable();
        changed.dedup();
        let kept = |i: usize| sum(self.sources[i].iter().filter(|(source, _)| !out.contains(source)).map(|one| one.1));
        changed.into_iter().map(|i| (i, kept(i))).collect()
    }
}

fn rows(library: &Library, settings: BayesSettings, sources: &mut [BTreeMap<String, Tally>]) {
    for (candidate, of) in library.candidates.iter().zip(sources) {
        let rows =
            candidate.known.iter().chain(&candidate.also).flat_map(|&at| &library.knowledge.diseases[at].annotations);
        let mut by_source: BTreeMap<u32, Vec<_>> = BTreeMap::new();
        rows.for_each(|row| by_source.entry(row.source).or_default().push(row));
        for (source, rows) in by_source {
            let counted = rows.iter().filter_map(|row| match row.frequency {
                Frequency::Counted { n, .. } => Some(n as f32),
                _ => None,
            });
            let n = counted.reduce(f32::max).unwrap_or(settings.uncounted);
            let mut shares: BTreeMap<Term, f32> = BTreeMap::new();
            for row in rows.iter().filter(|row| !row.excluded) {
                for &above in library.ontology().ancestors(row.term) {
                    let held = shares.entry(above).or_insert(0.0);
                    *held = held.max(row.frequency.share() as f32);
                }
            }
            of.insert(row_source(&library.knowledge.sources[source as usize]), tally(settings, n, shares));
        }
    }
}

fn patients(library: &Library, settings: BayesSettings, sources: &mut [BTreeMap<String, Tally>]) {
    let mut counts: BTreeMap<(usize, &str), (f32, BTreeMap<Term, f32>)> = BTreeMap::new();
    for patient in &library.patients {
        for &disease in &patient.diseases {
            let (n, terms) = counts.entry((disease, &patient.group)).or_default();
            *n += 1.0;
            for term in library.ontology().closure(&patient.signs.observed) {
                *terms.entry(term).or_insert(0.0) += 1.0;
            }
        }
    }
    for ((disease, group), (n, terms)) in counts {
        let shares = terms.into_iter().map(|(term, k)| (term, k / n)).collect();
        sources[disease].insert(group.to_string(), tally(settings, n, shares));
    }
}

fn tally(settings: BayesSettings, n: f32, shares: BTreeMap<Term, f32>) -> Tally {
    let n = settings.cap * n / (settings.cap + n);
    Tally { n, k: shares.into_iter().map(|(term, share)| (term, n * share)).collect() }
}

fn sum<'t>(all: impl Iterator<Item = &'t Tally>) -> Tally {
    let (mut n, mut k) = (0.0, BTreeMap::<Term, f32>::new());
    for one in all {
        n += one.n;
        one.k.iter().for_each(|&(term, count)| *k.entry(term).or_insert(0.0) += count);
    }
    Tally { n, k: k.into_iter().collect() }
}

impl Ranker for Bayes<'_> {
    fn name(&self) -> &'static str {
        "bayes"
    }

    fn uses_excluded(&self) -> bool {
        true
    }

    fn scores(&self, signs: &Signs, left: Left) -> Vec<f32> {
        let parts = self.parts(signs, left).into_iter().zip(self.told(left));
        parts
            .map(|([observed, excluded], told)| if told > 0.0 { observed + excluded } else { f32::NEG_INFINITY })
            .collect()
    }

    fn contributions(&self, signs: &Signs, candidate: usize, left: Left) -> Vec<Contribution> {
        let terms = self.asked(signs);
        let at: HashMap<Term, usize> = terms.iter().enumerate().map(|(i, &term)| (term, i)).collect();
        let changed = self.without(left);
        let tally = changed.iter().find(|one| one.0 == candidate).map_or(&self.totals[candidate], |(_, tally)| tally);
        let lift = self.lifts_of(&terms, &at, tally);
        let one = |term: Term, excluded: bool| {
            let lift = lift[*at.get(&term)?];
            let share = (lift * self.background[term as usize]).min(0.99);
            let value = if excluded { self.excluded(term, lift) } else { self.observed(term, lift) };
            let reason = format!("in {:.0} % of patients, {lift:.1} × the mean", 100.0 * share);
            Some(Contribution { term, excluded, value: f64::from(value), reason })
        };
        let observed = signs.observed.iter().filter_map(|&term| one(term, false));
        observed.chain(signs.excluded.iter().filter_map(|&term| one(term, true))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::library::tests::library;
    use super::*;

    /// With α = 1, cap = 8 for OMIM:9: one patient with short stature, whose parent is abnormal skeleton; k' = n' = 8/9. See the formulas.
    #[test]
    fn frequencies_are_those_of_the_formula() {
        let library = library();
        let of = |smoothing| {
            Bayes::of(&library, BayesSettings { smoothing, alpha: 1.0, cap: 8.0, ..BayesSettings::default() })
        };
        let term = |name: &str| library.ontology().named(name).unwrap();
        let score = |bayes: &Bayes, sign: Term| {
            let signs = Signs { observed: vec![sign], excluded: vec![] };
            bayes.scores(&signs, Left::nothing())[library.candidate("OMIM:9").unwrap()]
        };
        let close = |a: f32, b: f32| assert!((a - b).abs() < 1e-5, "{a} is not {b}");
        let (skeleton, short, skull) = (term("abnormal skeleton"), term("short stature"), term("skull deformity"));
        let n = 8.0f32 / 9.0;
        let mean = of(Smoothing::Mean);
        let b = |t: Term| mean.background[t as usize];
        close(score(&mean, short), ((n + b(short)) / (n + 1.0) / b(short)).min(0.99 / b(short)).ln());
        close(score(&mean, skull), (1.0 / (n + 1.0)).ln());
        let along = of(Smoothing::Parents);
        let top = (n + b(skeleton)) / (n + 1.0);
        close(
            score(&along, short),
            (top * ((n + b(short) / b(skeleton)) / (n + 1.0)).min(1.0) / b(short)).min(0.99 / b(short)).ln(),
        );
        // never seen below a parent that was: the parent's patients who have it, α of them by the mean
        if library.ontology().parents(skull).contains(&skeleton) {
            close(score(&along, skull), (top * (b(skull) / b(skeleton)) / (n + 1.0) / b(skull)).ln());
        }
    }

    /// A term that nobody had below a parent that nobody had says nothing more than the parent.
    #[test]
    fn one_absence_counts_once_along_the_ontology() {
        let library = library();
        let bayes = Bayes::of(&library, BayesSettings { smoothing: Smoothing::Parents, ..BayesSettings::default() });
        let term = |name: &str| library.ontology().named(name).unwrap();
        let at = library.candidate("OMIM:9").unwrap();
        let score =
            |name: &str| bayes.scores(&Signs { observed: vec![term(name)], excluded: vec![] }, Left::nothing())[at];
        assert!((score("focal seizure") - score("seizure")).abs() < 1e-5);
    }

    #[test]
    fn what_is_explained_adds_up_and_leaving_out_is_forgetting() {
        let library = library();
        let [bayes, along] = [Smoothing::Mean, Smoothing::Parents]
            .map(|smoothing| Bayes::of(&library, BayesSettings { smoothing, ..BayesSettings::default() }));
        let term = |name: &str| library.ontology().named(name).unwrap();
        let signs = Signs {
            observed: vec![term("generalised seizure"), term("short stature")],
            excluded: vec![term("skull deformity")],
        };
        let lefts = [Left::nothing(), Left::patients("PMID:1"), Left::out("PMID:1"), Left::out("PMID:4")];
        for (left, bayes) in lefts.into_iter().flat_map(|left| [&bayes, &along].map(|bayes| (left, bayes))) {
            let scores = bayes.scores(&signs, left);
            for (candidate, score) in scores.iter().enumerate().filter(|one| one.1.is_finite()) {
                let sum: f64 = bayes.contributions(&signs, candidate, left).iter().map(|one| one.value).sum();
                assert!((sum - f64::from(*score)).abs() < 1e-4, "{left:?} {candidate}: {sum} is not {score}");
            }
        }
        let nothing_left = bayes.scores(&signs, Left::out("PMID:4"))[library.candidate("OMIM:9").unwrap()];
        assert_eq!(nothing_left, f32::NEG_INFINITY, "nothing is known of it without its only paper");
        let rows_stay = bayes.told(Left::patients("PMID:1"))[library.candidate("OMIM:1").unwrap()];
        assert!(rows_stay > bayes.told(Left::out("PMID:1"))[library.candidate("OMIM:1").unwrap()]);
    }

    /// The loops over all candidates hold the formula a second time: the same to the last bit, with none, one and two parents.
    #[test]
    fn all_candidates_at_once_have_the_lift_of_each() {
        let library = library();
        let bayes = Bayes::of(&library, BayesSettings { smoothing: Smoothing::Parents, ..BayesSettings::default() });
        let term = library.ontology().find("HP:7").term().unwrap();
        let column = |by: usize| (0..40).map(|i| ((i * by) % 11) as f32 / 4.0).collect::<Vec<f32>>();
        let (k, told) = (column(3), column(5));
        let parents = [(column(7), column(2), 0.3), (column(4), column(9), 0.6)];
        for count in 0..=2 {
            let above: Vec<(&[f32], &[f32], f32)> =
                parents[..count].iter().map(|one| (one.0.as_slice(), one.1.as_slice(), one.2)).collect();
            let all = bayes.lift_of_all(term, &k, &told, &above);
            for i in 0..k.len() {
                let one = bayes.lift(term, k[i], told[i], above.iter().map(|one| (one.0[i], one.1[i], one.2)));
                assert_eq!(all[i].to_bits(), one.to_bits(), "{count} parents, candidate {i}");
            }
        }
    }
}

//! Rankers: each gives every candidate disease a score from the signs of a patient.
mod bayes;
mod frequency;
mod learned;

mod likelihood;
mod nearest;
mod resnik;
mod text;

pub use bayes::{Bayes, BayesSettings, Smoothing};
pub use frequency::MostFrequent;

pub use learned::{Learned, LearnedSettings, Weights};
pub use likelihood::LikelihoodRatio;
pub use nearest::{Likeness, Nearest};
pub use resnik::{Resnik, ResnikSigns, Significance};
pub use text::Descriptions;

use super::Signs;
use super::library::{Left, Library};
use super::ontology::Term;
use serde::{Deserialize, Serialize};

/// What one sign adds to a disease's score.
#[derive(Clone, Debug, PartialEq)]
pub struct Contribution {
    pub term: Term,
    /// The sign was looked for and not found.
    pub excluded: bool,
    /// In the ranker's own unit; the sum or the mean over all signs is the score, but for nearest patients, where it is the sign's weight.
    pub value: f64,
    /// Why, in a few words: `4 of 5 patients`, `meets at Seizure`.
    pub reason: String,
}

/// See the file's header.
pub trait Ranker: Send + Sync {
    /// As in tables and on the command line: `likelihood-ratio`.
    fn name(&self) -> &'static str;

    /// A score for each candidate, in the order of [`Library::candidates`]; greater is better. Nothing of what is left out is used.
    fn scores(&self, signs: &Signs, left: Left) -> Vec<f32>;

    /// Whether signs that were looked for and not found change the scores.
    fn uses_excluded(&self) -> bool {
        false
    }

    /// The ranker whose score the contributions add up to, where it is not this one's.
    fn explained_by(&self) -> Option<&'static str> {
        None
    }

    /// What each sign adds to one candidate's score (or to that of [`Ranker::explained_by`]); empty where a ranker has no such parts.
    fn contributions(&self, _signs: &Signs, _candidate: usize, _left: Left) -> Vec<Contribution> {
        vec![]
    }
}

/// The rankers by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum RankerKind {
    /// Diseases with the most published patients, whatever the signs
    MostFrequent,
    /// Overlap with the annotations, weighted by information (Resnik best match, symmetric)
    Resnik,
    /// The half of resnik that asks how well the disease explains the signs
    ResnikSigns,
    /// Likelihood ratios as LIRICAL documents them
    LikelihoodRatio,
    /// The most similar published patient by the same terms (IDF over publications)
    Nearest,
    /// The most similar published patient by terms and all terms above them
    NearestAbove,
    /// Best match of the signs against each published patient, by the information of where terms meet (Resnik)
    NearestResnik,
    /// As nearest-resnik, relative to the information of the terms themselves (Lin)
    NearestLin,
    /// Naive Bayes over annotations and patients together
    Bayes,
    /// Words of the signs in descriptions of the diseases (BM25)
    Descriptions,
    /// All of these, weighed by a model that was trained on patients of other publications
    Learned,
}

impl RankerKind {
    /// All that need no training.
    pub const SIMPLE: [RankerKind; 10] = [
        Self::MostFrequent,
        Self::Descriptions,
        Self::Resnik,
        Self::ResnikSigns,
        Self::LikelihoodRatio,
        Self::Nearest,
        Self::NearestAbove,
        Self::NearestResnik,
        Self::NearestLin,
        Self::Bayes,
    ];

    /// Every ranker.
    pub const ALL: [RankerKind; 11] = {
        let [a, b, c, d, e, f, g, h, i, j] = Self::SIMPLE;
        [a, b, c, d, e, f, g, h, i, j, Self::Learned]
    };

    /// As in tables and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::MostFrequent => "most-frequent",
            Self::Resnik => "resnik",
            Self::ResnikSigns => "resnik-signs",
            Self::LikelihoodRatio => "likelihood-ratio",
            Self::Nearest => "nearest",
            Self::NearestAbove => "nearest-above",
            Self::NearestResnik => "nearest-resnik",
            Self::NearestLin => "nearest-lin",
            Self::Bayes => "bayes",
            Self::Descriptions => "descriptions",
            Self::Learned => "learned",
        }
    }

    /// The ranker over a library. [`RankerKind::Learned`] is trained by [`Learned::train`] and is none of these.
    pub fn open<'a>(self, library: &'a Library) -> Option<Box<dyn Ranker + 'a>> {
        Some(match self {
            Self::MostFrequent => Box::new(MostFrequent::of(library)),
            Self::Resnik => Box::new(Resnik::of(library)),
            Self::ResnikSigns => Box::new(ResnikSigns(Resnik::of(library))),
            Self::LikelihoodRatio => Box::new(LikelihoodRatio::of(library)),
            Self::Nearest => Box::new(Nearest::of(library, Likeness::Terms)),
            Self::NearestAbove => Box::new(Nearest::of(library, Likeness::Above)),
            Self::NearestResnik => Box::new(Nearest::of(library, Likeness::Resnik)),
            Self::NearestLin => Box::new(Nearest::of(library, Likeness::Lin)),
            Self::Bayes => Box::new(Bayes::of(library, BayesSettings::default())),
            Self::Descriptions => Box::new(Descriptions::of(library, &Default::default())),
            Self::Learned => return None,
        })
    }
}

/// A disease in a ranked list.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranked {
    pub candidate: usize,
    pub score: f32,
}

/// The best candidates, best first; of equal scores the earlier candidate.
pub fn ranked(scores: &[f32], most: usize) -> Vec<Ranked> {
    let mut all: Vec<Ranked> =
        scores.iter().enumerate().map(|(candidate, &score)| Ranked { candidate, score }).collect();
    let order = |a: &Ranked, b: &Ranked| b.score.total_cmp(&a.score).then(a.candidate.cmp(&b.candidate));
    if all.len() > most {
        all.select_nth_unstable_by(most, order);
        all.truncate(most);
    }
    all.sort_by(order);
    all
}

/// The rank of a candidate, 1 for the best. All that have the same score are before it: the worst rank that its score can mean.
pub fn worst_rank(scores: &[f32], candidate: usize) -> usize {
    let own = scores[candidate];
    scores.iter().filter(|&&score| score >= own).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_scores_take_the_worst_rank() {
        let scores = [0.5, 2.0, 0.5, 0.5, -1.0];
        assert_eq!((0..5).map(|i| worst_rank(&scores, i)).collect::<Vec<_>>(), [4, 1, 4, 4, 5]);
        let best: Vec<usize> = ranked(&scores, 3).iter().map(|one| one.candidate).collect();
        assert_eq!(best, [1, 0, 2]);
    }

    /// Every ranker must give a candidate the same score whether it was in the index or counted for itself, so nothing depends on how.
    #[test]
    fn leaving_out_a_publication_is_the_same_as_never_having_read_it() {
        use super::super::knowledge::tests::small;
        use super::super::library::tests::{library, packet};
        let whole = library();
        let mut without = Library::of({
            let mut known = small();
            let sources = known.citing("PMID:1").to_vec();
            assert!(!sources.is_empty());
            known.diseases.iter_mut().for_each(|one| one.annotations.retain(|row| !sources.contains(&row.source)));
            known
        });
        let (patients, _) = without.patients_of(&[
            packet("b", "PMID:2", "OMIM:1", &["HP:3", "HP:6"], &[]),
            packet("c", "PMID:3", "OMIM:3", &["HP:7"], &[]),
            packet("d", "PMID:4", "OMIM:9", &["HP:6"], &["HP:2"]),
        ]);
        without.patients = patients;
        let term = |id: &str| whole.ontology().find(id).term().unwrap();
        let signs = Signs { observed: vec![term("HP:3"), term("HP:7")], excluded: vec![term("HP:6")] };
        for kind in [RankerKind::MostFrequent, RankerKind::Nearest] {
            let (a, b) = (kind.open(&whole).unwrap(), kind.open(&without).unwrap());
            let (a, b) = (a.scores(&signs, Left::out("PMID:1")), b.scores(&signs, Left::nothing()));
            let order = |scores: &[f32]| ranked(scores, 4).iter().map(|one| one.candidate).collect::<Vec<_>>();
            assert_eq!(order(&a), order(&b), "{kind:?}");
        }
        for kind in RankerKind::SIMPLE {
            let ranker = kind.open(&whole).unwrap();
            let (all, out) = (ranker.scores(&signs, Left::nothing()), ranker.scores(&signs, Left::out("PMID:1")));
            assert!(all.iter().chain(&out).all(|score| !score.is_nan()), "{kind:?}");
            assert_eq!(all.len(), whole.candidates.len(), "{kind:?}");
            let untouched = whole.candidate("OMIM:2").unwrap();
            if kind != RankerKind::Descriptions {
                assert!((all[untouched] - out[untouched]).abs() < 1e-5, "{kind:?}: PMID:1 says nothing of OMIM:2");
            }
        }
    }
}

//! What is done to a patient's signs to see how much a ranker depends on them.
use crate::phenotype::{Library, Patient, Signs};
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};

/// What is done to a patient's signs before they are ranked by: does a ranker still find the disease?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Every second observed sign, in random order, is left out.
    HalfTheSigns,
    /// Each observed sign is given by a broader term with probability one half.
    BroaderTerms,
    /// Three signs of other patients are added.
    ThreeForeignSigns,
    /// What was looked for and not found is not told.
    NoExcludedSigns,
}

impl Change {
    pub const ALL: [Change; 4] =
        [Self::HalfTheSigns, Self::BroaderTerms, Self::ThreeForeignSigns, Self::NoExcludedSigns];

    pub fn title(self) -> &'static str {
        match self {
            Self::HalfTheSigns => "half the signs",
            Self::BroaderTerms => "broader terms",
            Self::ThreeForeignSigns => "three foreign signs",
            Self::NoExcludedSigns => "no excluded signs",
        }
    }

    /// The changed signs; the same for the same patient each time.
    pub fn of(self, library: &Library, patient: &Patient) -> Signs {
        let seed = crate::io::seed_of(&format!("{}/{}", self.title(), patient.id));
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        let (hpo, mut signs) = (library.ontology(), patient.signs.clone());
        match self {
            Self::HalfTheSigns => {
                signs.observed.shuffle(&mut rng);
                signs.observed.truncate(signs.observed.len().div_ceil(2));
            }
            Self::BroaderTerms => {
                for term in &mut signs.observed {
                    let above = hpo.parents(*term).iter().copied().filter(|&one| !hpo.ancestors(one).is_empty());
                    let above: Vec<_> = above.collect();
                    if rng.random_bool(0.5) {
                        *term = above.choose(&mut rng).copied().unwrap_or(*term);
                    }
                }
            }
            Self::ThreeForeignSigns => {
                for _ in 0..3 {
                    let other = library.patients.choose(&mut rng).map_or(&[][..], |other| &other.signs.observed);
                    signs.observed.extend(other.choose(&mut rng));
                }
            }
            Self::NoExcludedSigns => signs.excluded.clear(),
        }
        signs.observed.sort_unstable();
        signs.observed.dedup();
        signs
    }
}

//! What the rankers of the study are given, and what is left out of it.
use crate::error::{Error, Result};
use crate::metric::RankedCase;
use crate::phenotype::features::{Features, of_all};
use crate::phenotype::open_data::OpenData;
use crate::phenotype::rank::{BayesSettings, Descriptions, Learned, Weights, worst_rank};
use crate::phenotype::{AtHand, Left, Library, Patient, Ranker, RankerKind, Unread};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Knowledge, published patients and descriptions: what the rankers of this study are given.
pub struct Bench {
    /// The annotation file as it is published.
    pub published: Library,
    /// Without any row that cites a paper of the published patients, for every disease: what is left was read elsewhere. Removing rows
    /// for the patient's own disease alone would mark that disease by the hole.
    pub library: Library,
    pub open: OpenData,
    /// True where the patients are synthetic ones: without `DXLAB_DATA`.
    pub synthetic: bool,
    /// Signs of the published patients that could not be read as they are.
    pub unread: Unread,
}

/// What is left out when a patient is ranked. In each, the patients of the same publication are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Rows that cite a paper of any published patient, for every disease.
    PublicationsOut,
    /// Nothing of the annotation file: most of it was read from the patients' own papers.
    FileAsPublished,
    /// Rows that cite the patient's own paper. A lower bound: holes are where the patient is.
    OwnRowsDeleted,
}

impl Protocol {
    pub fn title(self) -> &'static str {
        match self {
            Self::PublicationsOut => "publications out",
            Self::FileAsPublished => "file as published",
            Self::OwnRowsDeleted => "own rows deleted",
        }
    }

    pub(super) fn left(self, patient: &Patient) -> Left<'_> {
        match self {
            Self::OwnRowsDeleted => Left::out(&patient.group),
            Self::FileAsPublished | Self::PublicationsOut => Left::patients(&patient.group),
        }
    }
}

impl Bench {
    /// What is at hand; see [`AtHand::open`].
    pub fn installed() -> Result<Self> {
        let AtHand { library, open, synthetic, unread } = AtHand::open()?;
        let papers: BTreeSet<&str> = library.patients.iter().map(|one| one.group.as_str()).collect();
        let without = library.without_sources(&papers);
        Ok(Self { published: library, library: without, open, synthetic, unread })
    }

    /// What a protocol lets a ranker know.
    pub fn known(&self, protocol: Protocol) -> &Library {
        if protocol == Protocol::PublicationsOut { &self.library } else { &self.published }
    }

    /// SHA-256 of the patients: signs, diseases and publication of each.
    pub fn digest(&self) -> String {
        let patients: Vec<&Patient> = self.published.patients.iter().collect();
        super::benchmark::digest_of(&self.published, &patients)
    }

    /// What stands behind the scores, in a line.
    pub fn said(&self) -> String {
        let kind = if self.synthetic { "synthetic" } else { "published" };
        let (annotations, patients) = (&self.library.knowledge.version, self.library.patients.len());
        format!("{} diseases, annotations of {annotations}, {patients} {kind} patients", self.library.candidates.len())
    }

    /// The learned ranker with published patients; likelihood ratios without.
    pub fn default_ranker(&self) -> RankerKind {
        if self.synthetic { RankerKind::LikelihoodRatio } else { RankerKind::Learned }
    }

    /// A ranker by name over what a protocol lets it know; the learned one with the weights that come with dxlab.
    pub fn ranker(&self, kind: RankerKind, protocol: Protocol) -> Result<Box<dyn Ranker + '_>> {
        let library = self.known(protocol);
        match kind {
            RankerKind::Learned => Ok(Box::new(Learned::new(self.features(), Weights::embedded()?))),
            RankerKind::Descriptions => Ok(Box::new(Descriptions::of(library, &self.open.descriptions))),
            other => other.open(library).ok_or_else(|| Error::failed("a ranker without a file of its own")),
        }
    }

    pub fn features(&self) -> Features<'_> {
        Features::of(&self.library, BayesSettings::default(), &self.open.descriptions)
    }

    /// Patients with a sign and a disease: all, or every n-th in the order of their digests for a quick look.
    pub fn patients(&self, every: usize) -> Vec<&Patient> {
        let mut all: Vec<&Patient> =
            self.library.patients.iter().filter(|one| !one.signs.observed.is_empty()).collect();
        if every > 1 {
            all.sort_by_cached_key(|one| crate::io::digest_bytes(one.id.as_bytes()));
            all = all.into_iter().step_by(every).collect();
        }
        all
    }

    /// Where a ranker puts the disease of each patient.
    pub fn rank(&self, ranker: &dyn Ranker, patients: &[&Patient], protocol: Protocol) -> Vec<RankedCase> {
        of_all(patients, |patient| self.ranked_case(patient, &ranker.scores(&patient.signs, protocol.left(patient))))
    }

    /// Ranks by a score for each candidate; equal scores take the worst rank.
    pub fn ranked_case(&self, patient: &Patient, scores: &[f32]) -> RankedCase {
        let gold = |&at: &usize| (self.library.candidates[at].id.clone(), Some(worst_rank(scores, at)));
        RankedCase {
            case_id: patient.id.clone(),
            group: patient.group.clone(),
            gold: patient.diseases.iter().map(gold).collect(),
            listed: 10,
            unknown: 0,
            parsed: true,
        }
    }
}

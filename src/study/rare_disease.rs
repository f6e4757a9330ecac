//! Rankers of rare diseases on published patients: every patient is ranked with its own publication left out, and the part of a score that
//! comes from the annotation file having been written from the same paper is measured.
use crate::corpus::phenopacket::Packets;
use crate::error::{Error, Result};
use crate::metric::{Bootstrap, Estimate, RankedCase};
use crate::phenotype::features::{Features, of_all};
use crate::phenotype::open_data::OpenData;
use crate::phenotype::rank::{BayesSettings, Descriptions, Learned, Weights, worst_rank};
use crate::phenotype::synthetic::{Generator, PatientSettings};
use crate::phenotype::{Knowledge, Left, Library, Patient, Ranker, RankerKind, Signs, Unread};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

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

/// What the annotation file has of a patient's disease, by where it has it from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stratum {
    /// Rows of the disease cite the patient's own paper, and others.
    Leaky,
    /// All rows of the disease cite the patient's own paper.
    OwnPaperOnly,
    /// The disease has rows, none of the patient's paper.
    Clean,
    /// The disease has no rows.
    Unannotated,
}

impl Stratum {
    pub const ALL: [Stratum; 4] = [Self::Leaky, Self::OwnPaperOnly, Self::Clean, Self::Unannotated];

    pub fn title(self) -> &'static str {
        match self {
            Self::Leaky => "leaky",
            Self::OwnPaperOnly => "only own paper",
            Self::Clean => "clean",
            Self::Unannotated => "unannotated",
        }
    }

    /// Of a patient's first disease.
    pub fn of(library: &Library, patient: &Patient) -> Self {
        let Some(&disease) = patient.diseases.first() else { return Self::Unannotated };
        let rows = library.candidates[disease].known.map_or(&[][..], |at| &library.knowledge.diseases[at].annotations);
        let own = library.knowledge.source(&patient.group);
        let cited = rows.iter().filter(|row| Some(row.source) == own).count();
        match (rows.len(), cited) {
            (0, _) => Self::Unannotated,
            (_, 0) => Self::Clean,
            (all, cited) if all == cited => Self::OwnPaperOnly,
            _ => Self::Leaky,
        }
    }
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

    fn left(self, patient: &Patient) -> Left<'_> {
        match self {
            Self::OwnRowsDeleted => Left::out(&patient.group),
            Self::FileAsPublished | Self::PublicationsOut => Left::patients(&patient.group),
        }
    }
}

impl Bench {
    /// What `make tools` installed, and the published patients of `DXLAB_DATA`; without that synthetic patients.
    pub fn installed() -> Result<Self> {
        let data = std::env::var_os("DXLAB_DATA").filter(|path| !path.is_empty()).map(PathBuf::from);
        Self::open(Knowledge::installed()?, data.as_deref())
    }

    /// As [`Bench::installed`], of a knowledge base and a folder of open data that are at hand.
    pub fn open(knowledge: Knowledge, data: Option<&Path>) -> Result<Self> {
        let mut library = Library::of(knowledge);
        let open = data.map_or_else(|| Ok(OpenData::default()), OpenData::read)?;
        open.link(&mut library);
        let store = data.filter(|data| data.join("phenopacket-store").is_dir());
        let (patients, unread, synthetic) = match store {
            Some(data) => {
                let (patients, unread) = library.patients_of(&Packets::store(data)?.packets);
                (patients, unread, false)
            }
            None => (synthetic_patients(&library)?, Unread::default(), true),
        };
        library.patients = patients.into_iter().filter(|one| !one.diseases.is_empty()).collect();
        let papers: BTreeSet<&str> = library.patients.iter().map(|one| one.group.as_str()).collect();
        let without = library.without_sources(&papers);
        Ok(Self { published: library, library: without, open, synthetic, unread })
    }

    /// What a protocol lets a ranker know.
    pub fn known(&self, protocol: Protocol) -> &Library {
        if protocol == Protocol::PublicationsOut { &self.library } else { &self.published }
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
            RankerKind::Learned => Ok(Box::new(Learned::new(self.features(), Weights::embedded()?)?)),
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

    /// The stratum of each patient.
    pub fn strata(&self, patients: &[&Patient]) -> Vec<Stratum> {
        patients.iter().map(|patient| Stratum::of(&self.published, patient)).collect()
    }
}

/// Patients of 400 diseases drawn from the annotations; each is a publication of its own.
fn synthetic_patients(library: &Library) -> Result<Vec<Patient>> {
    let generator = Generator::new(library, PatientSettings::default())?;
    let mut diseases = generator.drawable();
    diseases.sort_by_cached_key(|&at| crate::io::digest_bytes(library.candidates[at].id.as_bytes()));
    diseases.truncate(400);
    Ok(diseases
        .into_iter()
        .flat_map(|at| (0..3).map(move |n| (at, n)))
        .map(|(at, n)| generator.patient(at, n))
        .collect())
}

/// Hit@k with its interval, by stratum or of all.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HitRow {
    pub cases: usize,
    pub publications: usize,
    /// Hit@1, Hit@3, Hit@10 with intervals by bootstrap over publications.
    pub hits: [Option<Estimate>; 3],
    /// Mean over publications of the publication's own Hit@1 and Hit@10: no large cohort decides.
    pub by_publication: [Option<f64>; 2],
}

/// Hit rates of these cases; intervals resample publications.
pub fn hit_row(cases: &[&RankedCase], bootstrap: &Bootstrap) -> HitRow {
    let groups: Vec<&str> = cases.iter().map(|case| case.group.as_str()).collect();
    let statistic =
        |k: usize| crate::metric::Statistic::Ratio(cases.iter().map(|case| (f64::from(case.hit(k)), 1.0)).collect());
    let statistics = [1, 3, 10].map(statistic);
    let mut estimates = bootstrap.of_groups(&statistics.iter().collect::<Vec<_>>(), &groups).into_iter();
    let publications: BTreeSet<&str> = groups.iter().copied().collect();
    let by_publication = [1, 10].map(|k| {
        let mut means: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
        for case in cases {
            let (hits, n) = means.entry(&case.group).or_default();
            *hits += f64::from(case.hit(k));
            *n += 1.0;
        }
        (!means.is_empty()).then(|| means.values().map(|(hits, n)| hits / n).sum::<f64>() / means.len() as f64)
    });
    HitRow {
        cases: cases.len(),
        publications: publications.len(),
        hits: std::array::from_fn(|_| estimates.next().flatten()),
        by_publication,
    }
}

/// The leak within diseases: of diseases that have both leaky and clean patients, the difference of their hit rates.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LeakSize {
    pub diseases: usize,
    pub leaky_patients: usize,
    pub clean_patients: usize,
    /// Mean over diseases of the hit rate of leaky patients, and of clean ones.
    pub leaky: f64,
    pub clean: f64,
    /// leaky − clean, with an interval by bootstrap over diseases.
    pub difference: Option<Estimate>,
}

/// See [`LeakSize`]; none where no disease has both kinds.
pub fn leak_size(cases: &[RankedCase], strata: &[Stratum], k: usize, bootstrap: &Bootstrap) -> Option<LeakSize> {
    let mut diseases: BTreeMap<&str, [(f64, f64); 2]> = BTreeMap::new();
    for (case, stratum) in cases.iter().zip(strata) {
        let side = match stratum {
            Stratum::Leaky => 0,
            Stratum::Clean => 1,
            _ => continue,
        };
        let Some((disease, _)) = case.gold.first() else { continue };
        let (hits, n) = &mut diseases.entry(disease).or_default()[side];
        *hits += f64::from(case.hit(k));
        *n += 1.0;
    }
    diseases.retain(|_, sides| sides.iter().all(|(_, n)| *n > 0.0));
    if diseases.is_empty() {
        return None;
    }
    let n = diseases.len() as f64;
    let rates: Vec<[f64; 2]> = diseases.values().map(|sides| sides.map(|(hits, n)| hits / n)).collect();
    let patients = |side: usize| diseases.values().map(|sides| sides[side].1 as usize).sum();
    let mean = |side: usize| rates.iter().map(|both| both[side]).sum::<f64>() / n;
    let names: Vec<&str> = diseases.keys().copied().collect();
    let draws = bootstrap.map_groups(&names, |weights| {
        let total: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
        rates.iter().zip(weights).map(|(both, &weight)| f64::from(weight) * (both[0] - both[1])).sum::<f64>() / total
    });
    let value = mean(0) - mean(1);
    let difference = bootstrap.interval(draws).map(|(low, high)| Estimate { value, low, high, n: diseases.len() });
    Some(LeakSize {
        diseases: diseases.len(),
        leaky_patients: patients(0),
        clean_patients: patients(1),
        leaky: mean(0),
        clean: mean(1),
        difference,
    })
}

/// Which part of a cross-validation a publication is in.
fn fold(group: &str, folds: usize, seed: u64) -> usize {
    let digest = crate::io::digest_bytes(format!("{seed}/{group}").as_bytes());
    usize::from_str_radix(&digest[..8], 16).unwrap_or_default() % folds
}

/// Settings of the learned ranker's cross-validation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folds {
    pub folds: usize,
    pub seed: u64,
}

impl Default for Folds {
    fn default() -> Self {
        Self { folds: 5, seed: 7 }
    }
}

/// The learned ranker by cross-validation: each patient is ranked by weights that no patient of the same publication has trained.
pub struct CrossValidated<'a> {
    bench: &'a Bench,
    features: Features<'a>,
    settings: Folds,
    weights: Vec<Weights>,
}

impl<'a> CrossValidated<'a> {
    /// Trains a network for each fold on the patients of all others; with the case of each patient and the share of its best candidate.
    pub fn train(bench: &'a Bench, patients: &[&Patient], settings: Folds) -> Result<(Self, Vec<(RankedCase, f64)>)> {
        let settings = Folds { folds: settings.folds.max(2), ..settings };
        let features = bench.features();
        let lists = features.lists(patients);
        let of: Vec<usize> = patients.iter().map(|one| fold(&one.group, settings.folds, settings.seed)).collect();
        let weights = (0..settings.folds)
            .map(|out| {
                let train: Vec<usize> = (0..patients.len()).filter(|&i| of[i] != out).collect();
                Weights::train(&lists, &train, settings.seed)
            })
            .collect::<Result<Vec<_>>>()?;
        let n = bench.library.candidates.len();
        let case = |i: usize| {
            let (list, weights) = (&lists[i], &weights[of[i]]);
            (bench.ranked_case(patients[i], &list.scores(weights, n)), list.confidence(weights))
        };
        let cases = (0..patients.len()).map(case).collect();
        Ok((Self { bench, features, settings, weights }, cases))
    }

    /// Where other signs would put the disease of a patient, by the weights of the patient's fold.
    pub fn rank(&self, patient: &Patient, signs: &Signs) -> RankedCase {
        let weights = &self.weights[fold(&patient.group, self.settings.folds, self.settings.seed)];
        let list = self.features.list(signs, Left::patients(&patient.group), &[]);
        self.bench.ranked_case(patient, &list.scores(weights, self.bench.library.candidates.len()))
    }
}

/// Weights trained on all patients, to be shipped.
pub fn train_all(bench: &Bench, seed: u64) -> Result<Weights> {
    let patients = bench.patients(1);
    let lists = bench.features().lists(&patients);
    Weights::train(&lists, &(0..lists.len()).collect::<Vec<_>>(), seed)
}

/// What a benchmark is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BenchmarkConfig {
    /// Every n-th patient.
    pub every: usize,
    pub folds: Folds,
    pub bayes: BayesSettings,
    /// Raised when a ranker changes what it says.
    pub version: u32,
}

impl Default for BenchmarkConfig {
    fn default() -> Self {
        Self { every: 1, folds: Folds::default(), bayes: BayesSettings::default(), version: 2 }
    }
}

/// A ranker under a protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RankerColumn {
    /// `resnik`; `learned, signs of another` is the control that must fail.
    pub ranker: String,
    pub protocol: Protocol,
}

impl RankerColumn {
    fn title(&self) -> String {
        format!("{} | {}", self.ranker, self.protocol.title())
    }
}

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
        use rand::seq::{IndexedRandom, SliceRandom};
        use rand::{Rng, SeedableRng};
        let digest = crate::io::digest_bytes(format!("{}/{}", self.title(), patient.id).as_bytes());
        let seed = u64::from_str_radix(&digest[..16], 16).unwrap_or_default(); // hex digits by construction
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

/// The learned ranker given the signs of another patient: if it still finds the disease, something but the signs gives it away.
pub const CONTROL: &str = "learned, signs of another";

/// A patient of a benchmark.
#[derive(Clone, Debug, PartialEq)]
pub struct BenchmarkPatient {
    pub stratum: Stratum,
    pub disease: String,
    /// Patients with the same disease in other publications.
    pub others: usize,
    /// Observed and excluded signs.
    pub signs: [usize; 2],
    /// Share of the learned ranker's best candidate under its softmax.
    pub confidence: f64,
}

/// Where every ranker put the disease of every patient.
#[derive(Clone, Debug)]
pub struct Benchmark {
    pub columns: Vec<RankerColumn>,
    pub patients: Vec<BenchmarkPatient>,
    /// Of each column a case for each patient; of changed signs and the control those of one fold.
    ranks: Vec<Vec<RankedCase>>,
    pub synthetic: bool,
    pub candidates: usize,
    pub run: crate::run::Run,
}

const FILE: &str = "ranks.csv";

impl Benchmark {
    /// From the run store; ranked anew where knowledge, patients or settings are others.
    pub fn open_or_rank(config: &BenchmarkConfig) -> Result<Self> {
        let bench = Bench::installed()?;
        let patients = bench.patients(config.every);
        let spec = serde_json::json!({
            "config": config,
            "ontology": bench.published.ontology().version,
            "annotations": bench.published.knowledge.version,
            "patients": digest_of(&bench.published, &patients),
            "cross_references": bench.open.cross_references.len(),
            "descriptions": bench.open.descriptions.len(),
        });
        let store = crate::run::Store::open(None);
        let run =
            store.open_or_make("ranking", if bench.synthetic { "synthetic" } else { "published" }, &spec, |dir| {
                let table = rank_all(&bench, &patients, config)?;
                crate::io::write(&dir.join(FILE), table.as_bytes())
            })?;
        Self::read(&bench, run)
    }

    fn read(bench: &Bench, run: crate::run::Run) -> Result<Self> {
        let path = run.path(FILE);
        let broken = |row: usize, what: &str| {
            Error::input(format!("{} row {row}: {what}: delete the run and rank anew", path.display()))
        };
        let text = crate::io::read_text(&path)?;
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let header = reader.headers().map_err(|e| broken(1, &e.to_string()))?.clone();
        let columns = header
            .iter()
            .skip(HEAD.len())
            .map(|title| column_of(title).ok_or_else(|| broken(1, title)))
            .collect::<Result<Vec<_>>>()?;
        let (mut patients, mut ranks) = (vec![], vec![vec![]; columns.len()]);
        for (i, record) in reader.records().enumerate() {
            let record = record.map_err(|e| broken(i + 2, &e.to_string()))?;
            let field = |at: usize| record.get(at).unwrap_or_default();
            let number = |at: usize| {
                field(at).parse::<usize>().map_err(|_| broken(i + 2, &format!("`{}` is no number", field(at))))
            };
            let stratum =
                Stratum::ALL.into_iter().find(|one| one.title() == field(3)).ok_or_else(|| broken(i + 2, field(3)))?;
            let confidence = field(7).parse().map_err(|_| broken(i + 2, &format!("`{}` is no number", field(7))))?;
            patients.push(BenchmarkPatient {
                stratum,
                disease: field(2).into(),
                others: number(4)?,
                signs: [number(5)?, number(6)?],
                confidence,
            });
            for (k, ranks) in ranks.iter_mut().enumerate().filter(|(k, _)| !field(HEAD.len() + k).is_empty()) {
                ranks.push(RankedCase {
                    case_id: field(0).into(),
                    group: field(1).into(),
                    gold: vec![(field(2).into(), Some(number(HEAD.len() + k)?))],
                    listed: 10,
                    unknown: 0,
                    parsed: true,
                });
            }
        }
        Ok(Self {
            columns,
            patients,
            ranks,
            synthetic: bench.synthetic,
            candidates: bench.published.candidates.len(),
            run,
        })
    }

    /// The cases of a column that has all patients, of one stratum or of all.
    pub fn cases(&self, column: &RankerColumn, stratum: Option<Stratum>) -> Vec<&RankedCase> {
        let Some(at) = self.columns.iter().position(|one| one == column) else { return vec![] };
        match stratum {
            None => self.ranks[at].iter().collect(),
            Some(stratum) => {
                let of = |one: &&BenchmarkPatient| one.stratum == stratum;
                self.patients.iter().zip(&self.ranks[at]).filter(|(one, _)| of(one)).map(|(_, case)| case).collect()
            }
        }
    }

    /// The cases of a ranker under a protocol, in the order of the patients; of changed signs and the control those of one fold.
    pub fn of(&self, ranker: &str, protocol: Protocol) -> Result<&[RankedCase]> {
        let at = self.columns.iter().position(|one| one.ranker == ranker && one.protocol == protocol);
        let known: Vec<String> = self.columns.iter().map(RankerColumn::title).collect();
        at.map(|at| self.ranks[at].as_slice()).ok_or_else(|| {
            Error::input(format!("no ranks of `{ranker}` ({}): there are {}", protocol.title(), known.join("; ")))
        })
    }

    /// The leak of a column; see [`leak_size`].
    pub fn leak(&self, ranker: &str, protocol: Protocol, k: usize, bootstrap: &Bootstrap) -> Result<Option<LeakSize>> {
        let strata: Vec<Stratum> = self.patients.iter().map(|one| one.stratum).collect();
        Ok(leak_size(self.of(ranker, protocol)?, &strata, k, bootstrap))
    }

    /// Score tables of several rankers under one protocol, for paired comparisons.
    pub fn tables(&self, rankers: &[&str], protocol: Protocol) -> Result<Vec<crate::metric::ScoreTable>> {
        let sets = rankers
            .iter()
            .map(|name| self.of(name, protocol).map(<[RankedCase]>::to_vec))
            .collect::<Result<Vec<_>>>()?;
        Ok(crate::metric::ranking_tables(&sets, self.candidates))
    }
}

const HEAD: [&str; 8] =
    ["patient", "publication", "disease", "stratum", "others", "observed", "excluded", "confidence"];

fn column_of(title: &str) -> Option<RankerColumn> {
    let (ranker, protocol) = title.rsplit_once(" | ")?;
    let all = [Protocol::PublicationsOut, Protocol::FileAsPublished, Protocol::OwnRowsDeleted];
    let protocol = all.into_iter().find(|one| one.title() == protocol)?;
    Some(RankerColumn { ranker: ranker.into(), protocol })
}

fn digest_of(library: &Library, patients: &[&Patient]) -> String {
    let hpo = library.ontology();
    let line = |one: &&Patient| {
        let ids =
            |terms: &[crate::phenotype::Term]| terms.iter().map(|&term| hpo.id(term)).collect::<Vec<_>>().join(" ");
        let diseases: Vec<&str> = one.diseases.iter().map(|&at| library.candidates[at].id.as_str()).collect();
        format!(
            "{}\t{}\t{}\t{}\t{}\n",
            one.id,
            one.group,
            ids(&one.signs.observed),
            ids(&one.signs.excluded),
            diseases.join(" ")
        )
    };
    crate::io::digest_bytes(patients.iter().map(line).collect::<String>().as_bytes())
}

/// Every patient by every ranker, as a table: a line a patient, a column a ranker and protocol.
fn rank_all(bench: &Bench, patients: &[&Patient], config: &BenchmarkConfig) -> Result<String> {
    let mut columns: Vec<(RankerColumn, Vec<RankedCase>)> = vec![];
    let told =
        |ranker: &str, protocol: Protocol| println!("… {ranker}, {}: {} patients", protocol.title(), patients.len());
    for protocol in [Protocol::FileAsPublished, Protocol::OwnRowsDeleted, Protocol::PublicationsOut] {
        for kind in RankerKind::SIMPLE {
            let by_file = matches!(kind, RankerKind::Resnik | RankerKind::LikelihoodRatio);
            if protocol != Protocol::PublicationsOut && !by_file {
                continue;
            }
            let ranker = bench.ranker(kind, protocol)?;
            told(ranker.name(), protocol);
            let cases = bench.rank(&*ranker, patients, protocol);
            columns.push((RankerColumn { ranker: ranker.name().into(), protocol }, cases));
        }
    }
    let protocol = Protocol::PublicationsOut;
    told("learned", protocol);
    let (learned, cases) = CrossValidated::train(bench, patients, config.folds)?;
    let (cases, confidence): (Vec<RankedCase>, Vec<f64>) = cases.into_iter().unzip();
    columns.push((RankerColumn { ranker: "learned".into(), protocol }, cases));
    // what is done to the signs is seen on one fold; the other patients' cells stay empty
    let some: Vec<usize> = (0..patients.len())
        .filter(|&i| fold(&patients[i].group, config.folds.folds.max(2), config.folds.seed) == 0)
        .collect();
    let of_some = |signs: &(dyn Fn(usize) -> Signs + Sync)| -> Vec<RankedCase> {
        use rayon::prelude::*;
        let ranked: Vec<RankedCase> = some.par_iter().map(|&i| learned.rank(patients[i], &signs(i))).collect();
        let mut cases: Vec<RankedCase> = patients.iter().copied().map(not_ranked).collect();
        some.iter().zip(ranked).for_each(|(&i, case)| cases[i] = case);
        cases
    };
    for change in Change::ALL {
        let ranker = format!("learned, {}", change.title());
        told(&ranker, protocol);
        let cases = of_some(&|i| change.of(&bench.published, patients[i]));
        columns.push((RankerColumn { ranker, protocol }, cases));
    }
    told(CONTROL, protocol);
    let n = patients.len();
    let another = |i: usize| {
        let other =
            (1..n).map(|step| patients[(i + step * 37) % n]).find(|other| other.diseases != patients[i].diseases);
        other.unwrap_or(patients[i]).signs.clone()
    };
    let control = of_some(&another);
    columns.push((RankerColumn { ranker: CONTROL.into(), protocol }, control));
    table(bench, patients, &confidence, &columns)
}

/// A patient that a column says nothing about.
fn not_ranked(patient: &Patient) -> RankedCase {
    RankedCase {
        case_id: patient.id.clone(),
        group: patient.group.clone(),
        gold: vec![],
        listed: 0,
        unknown: 0,
        parsed: true,
    }
}

fn table(
    bench: &Bench,
    patients: &[&Patient],
    confidence: &[f64],
    columns: &[(RankerColumn, Vec<RankedCase>)],
) -> Result<String> {
    let mut writer = csv::Writer::from_writer(vec![]);
    let failed = |e: csv::Error| Error::failed(format!("ranks as a table: {e}"));
    let titles = columns.iter().map(|(column, _)| column.title());
    writer.write_record(HEAD.map(String::from).into_iter().chain(titles)).map_err(failed)?;
    let mut carriers: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
    bench
        .published
        .patients
        .iter()
        .for_each(|one| one.diseases.iter().for_each(|&at| carriers.entry(at).or_default().push(&one.group)));
    for (i, patient) in patients.iter().enumerate() {
        let others = patient.diseases.first().and_then(|at| carriers.get(at));
        let others = others.map_or(0, |all| all.iter().filter(|group| **group != patient.group).count());
        let disease = patient.diseases.first().map_or(String::new(), |&at| bench.published.candidates[at].id.clone());
        let head = [
            patient.id.clone(),
            patient.group.clone(),
            disease,
            Stratum::of(&bench.published, patient).title().into(),
            others.to_string(),
            patient.signs.observed.len().to_string(),
            patient.signs.excluded.len().to_string(),
            format!("{:.4}", confidence[i]),
        ];
        let ranks = columns.iter().map(|(_, cases)| cases[i].best().map_or(String::new(), |rank| rank.to_string()));
        writer.write_record(head.into_iter().chain(ranks)).map_err(failed)?;
    }
    let bytes = writer.into_inner().map_err(|e| Error::failed(format!("ranks as a table: {e}")))?;
    String::from_utf8(bytes).map_err(|e| Error::failed(format!("ranks as a table: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phenotype::library::tests::library;

    #[test]
    fn strata_follow_from_the_references_of_the_rows() {
        let library = library();
        let stratum = |id: &str| Stratum::of(&library, library.patients.iter().find(|one| one.id == id).unwrap());
        assert_eq!(stratum("a"), Stratum::Leaky, "rows of PMID:1 and PMID:2");
        assert_eq!(stratum("c"), Stratum::Leaky);
        assert_eq!(stratum("d"), Stratum::Unannotated);
        let mut clean = library.patients[0].clone();
        clean.group = "PMID:77".into();
        assert_eq!(Stratum::of(&library, &clean), Stratum::Clean);
        let mut own = library.clone();
        own.knowledge.diseases[0].annotations.truncate(1);
        assert_eq!(Stratum::of(&own, &own.patients[0]), Stratum::OwnPaperOnly);
    }

    /// Two diseases with both kinds: (1 − 0) and (1/2 − 1/2), mean 0.5; the third has one kind only and does not count.
    #[test]
    fn the_leak_is_the_mean_difference_within_diseases() {
        let case = |disease: &str, rank: usize| RankedCase {
            case_id: format!("{disease}{rank}"),
            group: "g".into(),
            gold: vec![(disease.into(), Some(rank))],
            listed: 10,
            unknown: 0,
            parsed: true,
        };
        let cases =
            [case("A", 1), case("A", 40), case("B", 1), case("B", 50), case("B", 2), case("B", 60), case("C", 1)];
        use Stratum::{Clean, Leaky};
        let strata = [Leaky, Clean, Leaky, Leaky, Clean, Clean, Leaky];
        let leak = leak_size(&cases, &strata, 10, &Bootstrap::default()).unwrap();
        assert_eq!((leak.diseases, leak.leaky_patients, leak.clean_patients), (2, 3, 3));
        assert!((leak.difference.unwrap().value - 0.5).abs() < 1e-12);
        assert_eq!(leak_size(&cases[..1], &strata[..1], 10, &Bootstrap::default()), None);
    }
}

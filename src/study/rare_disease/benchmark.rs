//! Every patient by every ranker: a table in the run store.
use super::bench::{Bench, Protocol};
use super::change::Change;
use super::cross_validation::{CrossValidated, Folds, fold};
use super::leak::{LeakSize, Stratum, leak_size};
use crate::error::{Error, Result};
use crate::metric::{Bootstrap, RankedCase};
use crate::phenotype::rank::BayesSettings;
use crate::phenotype::{Library, Patient, RankerKind, Signs};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
        Self { every: 1, folds: Folds::default(), bayes: BayesSettings::default(), version: 4 }
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
/// Rankers that are tried with changed signs, besides the learned one.
const CHANGED: [RankerKind; 4] =
    [RankerKind::Resnik, RankerKind::LikelihoodRatio, RankerKind::Nearest, RankerKind::Bayes];

impl Benchmark {
    /// From the run store; ranked anew where knowledge, patients or settings are others.
    pub fn open_or_rank(config: &BenchmarkConfig) -> Result<Self> {
        let bench = Bench::installed()?;
        let (name, spec) = Self::spec(&bench, config);
        let run = crate::run::Store::open(None).open_or_make("ranking", name, &spec, |dir| {
            let table = rank_all(&bench, &bench.patients(config.every), config)?;
            crate::io::write(&dir.join(FILE), table.as_bytes())
        })?;
        Self::read(&bench, run)
    }

    /// From the run store, where it is there.
    pub fn stored(bench: &Bench, config: &BenchmarkConfig) -> Result<Option<Self>> {
        let (name, spec) = Self::spec(bench, config);
        let run = crate::run::Store::open(None).find("ranking", name, &spec)?;
        run.map(|run| Self::read(bench, run)).transpose()
    }

    fn spec(bench: &Bench, config: &BenchmarkConfig) -> (&'static str, serde_json::Value) {
        let spec = serde_json::json!({
            "config": config,
            "ontology": bench.published.ontology().version,
            "annotations": bench.published.knowledge.id(),
            "patients": digest_of(&bench.published, &bench.patients(config.every)),
            "cross_references": bench.open.cross_references.len(),
            "descriptions": bench.open.descriptions.len(),
            "rankers": RANKERS,
        });
        (if bench.synthetic { "synthetic" } else { "published" }, spec)
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

/// Raised whenever a ranker scores otherwise than before, so that ranks are not opened that no ranker gives any more.
const RANKERS: u32 = 2;

const HEAD: [&str; 8] =
    ["patient", "publication", "disease", "stratum", "others", "observed", "excluded", "confidence"];

fn column_of(title: &str) -> Option<RankerColumn> {
    let (ranker, protocol) = title.rsplit_once(" | ")?;
    let all = [Protocol::PublicationsOut, Protocol::FileAsPublished, Protocol::OwnRowsDeleted];
    let protocol = all.into_iter().find(|one| one.title() == protocol)?;
    Some(RankerColumn { ranker: ranker.into(), protocol })
}

pub(super) fn digest_of(library: &Library, patients: &[&Patient]) -> String {
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
            let by_file = matches!(kind, RankerKind::Resnik | RankerKind::ResnikSigns | RankerKind::LikelihoodRatio);
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
    let spread = |some: &[usize], ranked: Vec<RankedCase>| -> Vec<RankedCase> {
        let mut cases: Vec<RankedCase> = patients.iter().copied().map(not_ranked).collect();
        some.iter().zip(ranked).for_each(|(&i, case)| cases[i] = case);
        cases
    };
    let of_some = |signs: &(dyn Fn(usize) -> Signs + Sync)| -> Vec<RankedCase> {
        spread(&some, some.par_iter().map(|&i| learned.rank(patients[i], &signs(i))).collect())
    };
    for change in Change::ALL {
        let ranker = format!("learned, {}", change.title());
        told(&ranker, protocol);
        let cases = of_some(&|i| change.of(&bench.published, patients[i]));
        columns.push((RankerColumn { ranker, protocol }, cases));
    }
    for kind in CHANGED {
        let ranker = bench.ranker(kind, protocol)?;
        for change in Change::ALL {
            let title = format!("{}, {}", kind.name(), change.title());
            told(&title, protocol);
            let rank = |&i: &usize| {
                let scores = ranker.scores(&change.of(&bench.published, patients[i]), protocol.left(patients[i]));
                bench.ranked_case(patients[i], &scores)
            };
            let ranked: Vec<RankedCase> = some.par_iter().map(rank).collect();
            columns.push((RankerColumn { ranker: title, protocol }, spread(&some, ranked)));
        }
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

//! What every method made of the test patients, as ranks: small tables that can be kept with a project, while the answers themselves, which
//! quote published patients, stay in the run store.
//!
//! ```text
//! ranks.csv     method, patient, publication, disease, rank, listed, unknown, parsed, seconds     a line a patient's disease
//! names.csv     method, name, times, disease, way     the names most often written that are no disease's, and those read by nearness
//! chosen.json   of each re-ranking what its scores reach on validation patients
//! ```
use super::rerank::{Chosen, Mix, Reranked};
use crate::error::{Error, Result};
use crate::io;
use crate::metric::{RankedCase, ScoreTable, ranking_tables};
use crate::phenotype::grounding::Way;
use crate::run::Store;
use crate::study::Results;
use crate::task::RareDisease;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Names of no disease that are kept for each method.
const NAMES: usize = 15;

/// A method's answers to all test patients, in the order of the corpus.
#[derive(Clone, Debug, PartialEq)]
pub struct MethodRanks {
    pub name: String,
    pub cases: Vec<RankedCase>,
    /// Mean seconds a patient.
    pub seconds: f64,
}

/// A name that a method wrote.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WrittenName {
    pub method: String,
    pub name: String,
    pub times: usize,
    /// The disease that it was read as; empty where it is the name of none.
    pub disease: String,
    /// `none` or `near`.
    pub way: String,
}

/// See the file's header.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeptRanks {
    pub methods: Vec<MethodRanks>,
    pub names: Vec<WrittenName>,
    /// By the name of the re-ranking.
    pub chosen: BTreeMap<String, Chosen>,
    /// Diseases that can be ranked.
    pub candidates: usize,
}

#[derive(Serialize, Deserialize)]
struct Line {
    method: String,
    patient: String,
    publication: String,
    disease: String,
    rank: Option<usize>,
    listed: usize,
    unknown: usize,
    parsed: bool,
    seconds: f64,
}

#[derive(Serialize, Deserialize)]
struct ChosenFile {
    candidates: usize,
    chosen: BTreeMap<String, Chosen>,
}

impl KeptRanks {
    /// From all runs in the store that answered the test patients of these tasks (the same patients in several forms): rankers, then
    /// language models, then re-rankings by their orders.
    pub fn of(store: &Store, tasks: Vec<RareDisease>) -> Result<Self> {
        let mut all = Self::default();
        for task in tasks {
            all.candidates = task.library.candidates.len();
            let reranked = Reranked::in_store(store, &task)?;
            let results = Results::in_store(store, task)?;
            for model in results.models.iter().filter(|model| model.run.spec.kind != "rerank") {
                let cases = model.predictions.iter().map(|one| results.task.ranked_case(one)).collect();
                let seconds = model.predictions.iter().map(|one| one.seconds).sum::<f64>();
                let seconds = seconds / model.predictions.len().max(1) as f64;
                all.methods.push(MethodRanks { name: model.name.clone(), cases, seconds });
                let answers = model.predictions.iter().flat_map(|one| &one.answer);
                all.names.extend(written(&results.task, &model.name, answers));
            }
            for one in &reranked {
                all.add_reranked(&results.task, one)?;
            }
        }
        match all.methods.is_empty() {
            true => Err(Error::input(
                "no run answered the test patients of `rare-disease`: see docs/manual.md (Rare diseases) for the commands",
            )),
            false => Ok(all),
        }
    }

    fn add_reranked(&mut self, task: &RareDisease, one: &Reranked) -> Result<()> {
        let name = &one.run.spec.name;
        let tests = one.lists.iter().filter(|list| !list.validation);
        let seconds = tests.clone().map(|list| list.seconds).sum::<f64>() / tests.count().max(1) as f64;
        let orders = [
            (Mix::RANKER, "ranker alone"),
            (Mix::alone(false, false), "language model alone"),
            (Mix::alone(false, true), "language model alone, calibrated"),
            (one.chosen.mix, "both"),
        ];
        for (mix, order) in orders {
            let seconds = if mix == Mix::RANKER { 0.0 } else { seconds };
            self.methods.push(MethodRanks {
                name: format!("{name}: {order}"),
                cases: one.cases(task, &mix, false)?,
                seconds,
            });
        }
        self.chosen.insert(name.clone(), one.chosen.clone());
        Ok(())
    }

    /// These results with those of `older` that are not among them: methods keep the older order, new ones follow. An error where the two
    /// were made of other patients or candidates, as their methods could not stand in one table.
    pub fn beside(mut self, older: Self) -> Result<Self> {
        let ids = |method: &MethodRanks| method.cases.iter().map(|case| case.case_id.clone()).collect::<Vec<_>>();
        let (Some(first), Some(new)) = (older.methods.first().map(ids), self.methods.first().map(ids)) else {
            return Ok(self);
        };
        if older.candidates != self.candidates || first != new {
            return Err(Error::input(format!(
                "the kept results are of {} patients and {} diseases, the run store's of {} and {}, or of others: give another folder with --out, \
                 or remove the kept results",
                first.len(),
                older.candidates,
                new.len(),
                self.candidates
            )));
        }
        let gone = |name: &str, new: &[MethodRanks]| !new.iter().any(|one| one.name == name);
        let mut names: Vec<WrittenName> =
            older.names.into_iter().filter(|one| gone(&one.method, &self.methods)).collect();
        names.append(&mut self.names);
        let mut methods = vec![];
        for one in older.methods {
            let place = self.methods.iter().position(|new| new.name == one.name);
            methods.push(place.map_or(one, |place| self.methods.remove(place)));
        }
        methods.append(&mut self.methods);
        let place = |name: &str| methods.iter().position(|one| one.name == name);
        names.sort_by_key(|one| place(&one.method));
        let mut chosen = older.chosen;
        chosen.extend(self.chosen);
        Ok(Self { methods, names, chosen, candidates: self.candidates })
    }

    pub fn get(&self, name: &str) -> Option<&MethodRanks> {
        self.methods.iter().find(|one| one.name == name)
    }

    /// Score tables of two methods for a paired comparison; none where either is not there.
    pub fn pair(&self, a: &str, b: &str) -> Option<[ScoreTable; 2]> {
        let sets = [self.get(a)?.cases.clone(), self.get(b)?.cases.clone()];
        ranking_tables(&sets, self.candidates).try_into().ok()
    }

    pub fn write(&self, folder: &Path) -> Result<()> {
        let mut lines = vec![];
        for method in &self.methods {
            for case in &method.cases {
                lines.extend(case.gold.iter().map(|(disease, rank)| Line {
                    method: method.name.clone(),
                    patient: case.case_id.clone(),
                    publication: case.group.clone(),
                    disease: disease.clone(),
                    rank: *rank,
                    listed: case.listed,
                    unknown: case.unknown,
                    parsed: case.parsed,
                    seconds: (method.seconds * 1e3).round() / 1e3,
                }));
            }
        }
        io::write(&folder.join("ranks.csv"), &table(&lines)?)?;
        io::write(&folder.join("names.csv"), &table(&self.names)?)?;
        let chosen = ChosenFile { candidates: self.candidates, chosen: self.chosen.clone() };
        io::write_json(&folder.join("chosen.json"), &chosen)
    }

    /// What [`KeptRanks::write`] wrote; empty where the folder has no `ranks.csv`.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("ranks.csv");
        if !path.is_file() {
            return Ok(Self::default());
        }
        let ChosenFile { candidates, chosen } = io::read_json(&folder.join("chosen.json"))?;
        let mut all = Self { names: rows(&folder.join("names.csv"))?, chosen, candidates, ..Self::default() };
        for line in rows::<Line>(&path)? {
            if all.methods.last().is_none_or(|last| last.name != line.method) {
                all.methods.push(MethodRanks { name: line.method, cases: vec![], seconds: line.seconds });
            }
            let Some(method) = all.methods.last_mut() else { continue };
            let gold = (line.disease, line.rank);
            match method.cases.last_mut().filter(|case| case.case_id == line.patient) {
                Some(case) => case.gold.push(gold),
                None => method.cases.push(RankedCase {
                    case_id: line.patient,
                    group: line.publication,
                    gold: vec![gold],
                    listed: line.listed,
                    unknown: line.unknown,
                    parsed: line.parsed,
                }),
            }
        }
        Ok(all)
    }
}

/// The names that are no disease's, the most frequent first, and every name that was read by nearness.
fn written<'a>(task: &RareDisease, method: &str, names: impl Iterator<Item = &'a String>) -> Vec<WrittenName> {
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    names.for_each(|name| *times.entry(name).or_default() += 1);
    let (mut none, mut near) = (vec![], vec![]);
    for (name, times) in times {
        let line = |disease: &str, way: &str| WrittenName {
            method: method.into(),
            name: name.into(),
            times,
            disease: disease.into(),
            way: way.into(),
        };
        match task.grounded(name) {
            (found, Way::Near) if !found.is_empty() => near.push(line(&task.library.candidates[found[0]].name, "near")),
            (found, _) if found.is_empty() => none.push(line("", "none")),
            _ => {}
        }
    }
    none.sort_by(|a, b| b.times.cmp(&a.times).then(a.name.cmp(&b.name)));
    none.truncate(NAMES);
    none.extend(near);
    none
}

fn table<T: Serialize>(lines: &[T]) -> Result<Vec<u8>> {
    let failed = |e: String| Error::failed(format!("ranks as a table: {e}"));
    let mut writer = csv::Writer::from_writer(vec![]);
    lines.iter().try_for_each(|line| writer.serialize(line)).map_err(|e| failed(e.to_string()))?;
    writer.into_inner().map_err(|e| failed(e.to_string()))
}

fn rows<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let text = io::read_text(path)?;
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let row = |(i, row): (usize, csv::Result<T>)| {
        row.map_err(|e| {
            let (row, path) = (i + 2, path.display());
            Error::input(format!("{path} row {row}: {e}: make the file anew with `dxlab rare-disease results`"))
        })
    };
    reader.deserialize().enumerate().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_read_as_they_were_written_and_a_cut_file_is_named() {
        let case = |id: &str, gold: &[(&str, Option<usize>)]| RankedCase {
            case_id: id.into(),
            group: "PMID:1".into(),
            gold: gold.iter().map(|(disease, rank)| (disease.to_string(), *rank)).collect(),
            listed: 10,
            unknown: 3,
            parsed: true,
        };
        let cases = vec![case("a", &[("OMIM:1", Some(2)), ("OMIM:2", None)]), case("b", &[("OMIM:1", None)])];
        let method = |name: &str| MethodRanks { name: name.into(), cases: cases.clone(), seconds: 0.25 };
        let name = WrittenName {
            method: "one".into(),
            name: "A, B".into(),
            times: 2,
            disease: String::new(),
            way: "none".into(),
        };
        let kept = KeptRanks {
            methods: vec![method("one"), method("both: \"x\"")],
            names: vec![name],
            chosen: BTreeMap::new(),
            candidates: 9,
        };
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(KeptRanks::read(folder.path()).unwrap(), KeptRanks::default());
        kept.write(folder.path()).unwrap();
        assert_eq!(KeptRanks::read(folder.path()).unwrap(), kept);

        let new = KeptRanks {
            methods: vec![MethodRanks { seconds: 9.0, ..method("one") }, method("three")],
            names: vec![],
            ..kept.clone()
        };
        let both = new.clone().beside(kept.clone()).unwrap();
        let order: Vec<(&str, f64)> = both.methods.iter().map(|one| (one.name.as_str(), one.seconds)).collect();
        assert_eq!(
            order,
            [("one", 9.0), ("both: \"x\"", 0.25), ("three", 0.25)],
            "a method that the store lacks stays, one that it has is the store's"
        );
        assert_eq!(both.names, [], "names of `one` are the store's: none");
        assert_eq!(new.clone().beside(KeptRanks::default()).unwrap(), new);
        let fewer = KeptRanks { candidates: kept.candidates + 1, ..kept.clone() };
        assert!(new.beside(fewer).unwrap_err().to_string().contains("--out"));
        assert!(kept.pair("one", "two").is_none());
        assert_eq!(kept.pair("one", "both: \"x\"").unwrap()[0].value("hit_10").unwrap(), Some(0.5));
        let path = folder.path().join("ranks.csv");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 12]).unwrap();
        let error = KeptRanks::read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("ranks.csv row 7") && error.contains("rare-disease results"), "{error}");
    }
}

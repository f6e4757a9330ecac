//! The leak gate before training: what a config trains on, validates on and is tested on must not share texts or patients.
use super::config::TrainConfig;
use crate::corpus::leak::{Allowed, LIMIT, Leaks, Part, Role, find};
use crate::corpus::split::Split;
use crate::corpus::{Case, Example};
use crate::error::{Error, Result};
use crate::task::{self, AnyTask};
use serde_json::Value;
use std::path::Path;

/// The cases of a corpus and what its groups are ids of.
pub struct Source {
    pub name: String,
    /// Two sources of one space name their groups alike.
    space: String,
    pub train: Vec<Case>,
    pub test: Vec<Case>,
}

fn cases(examples: Vec<Example<Value>>) -> Vec<Case> {
    examples.into_iter().map(|one| one.case).collect()
}

impl Source {
    /// By the names that configs use, or a file or folder of findings.
    pub fn open(name: &str) -> Result<Self> {
        let task = task::open(name)?;
        let stem = Path::new(name).file_stem().map_or(name.into(), |stem| stem.to_string_lossy().into_owned());
        let space = task::group_space(name).into();
        Ok(Self { name: stem, space, train: cases(task.train()), test: cases(task.test()) })
    }

    /// As a benchmark set: its test cases, all cases where it has none.
    fn benchmark(&self) -> Option<Part<'_>> {
        match self.test.is_empty() {
            true => part(self, true, Role::Test, &self.train).map(|p| Part { name: self.name.clone(), ..p }),
            false => part(self, true, Role::Test, &self.test),
        }
    }
}

/// Leaks between the training and test cases of `sources`, and between their training cases and the test cases of `against`
/// (all cases of a set that has no test cases). Parts are called `train` and `test`, from the second source on with its name
/// in front.
pub fn leaks(sources: &[Source], against: &[Source], limit: f64) -> Result<Leaks> {
    let mut parts = Vec::new();
    for (i, source) in sources.iter().enumerate() {
        parts.extend(part(source, i > 0, Role::Train, &source.train));
        parts.extend(part(source, i > 0, Role::Test, &source.test));
    }
    parts.extend(against.iter().filter_map(Source::benchmark));
    find(&parts, limit)
}

fn part<'a>(source: &Source, named: bool, role: Role, cases: &'a [Case]) -> Option<Part<'a>> {
    let which = if role == Role::Train { "train" } else { "test" };
    let name = if named { format!("{} {which}", source.name) } else { which.to_string() };
    (!cases.is_empty()).then(|| Part { name, role, space: source.space.clone(), cases: cases.iter().collect() })
}

/// Leaks among what a run of `config` on `corpus` trains on, validates on and is tested on, its benchmark sets among the latter; what its
/// allow list names is marked, and what of the list does not leak is told on the terminal.
pub fn training_leaks(config: &TrainConfig, task: &dyn AnyTask) -> Result<Leaks> {
    let (train, valid) = task.split(&config.split())?;
    let (train, valid) = (cases(train), cases(valid));
    let test = cases(task.test());
    let benchmarks = config.benchmarks.iter().map(|name| Source::open(name)).collect::<Result<Vec<_>>>()?;
    let space = task::group_space(&config.corpus);
    fn of<'a>(name: &str, role: Role, space: &str, cases: &'a [Case]) -> Part<'a> {
        Part { name: name.into(), role, space: space.into(), cases: cases.iter().collect() }
    }
    let mut parts = vec![
        of("train", Role::Train, space, &train),
        of("train", Role::Validation, space, &valid),
        of("test", Role::Test, space, &test),
    ];
    parts.extend(benchmarks.iter().filter_map(Source::benchmark));
    let mut leaks = find(&parts, LIMIT)?;
    if let Some(path) = &config.allow_leaks {
        let list = Allowed::read(path)?;
        let known = |id: &String| {
            let of = |(part, case): (&str, &str)| {
                parts.iter().any(|one| one.name == part && one.cases.iter().any(|c| c.case_id == case))
            };
            id.split_once('/').is_some_and(of)
        };
        if let Some(id) = list.pairs.iter().flat_map(|pair| [&pair.a, &pair.b]).find(|id| !known(id)) {
            let parts: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
            let parts = parts.join(", ");
            return Err(Error::input(format!(
                "{}: `{id}` names no case: expected a part ({parts}), `/` and an id of it",
                path.display()
            )));
        }
        for entry in leaks.allow(&list) {
            println!("… {}: {entry} does not leak: remove the entry", path.display());
        }
    }
    Ok(leaks)
}

impl TrainConfig {
    /// Which training cases a run trains on and which it keeps for validation.
    pub fn split(&self) -> Split {
        Split { validation: self.validation, cases: self.cases, seed: self.training.seed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::{Corpus, Finding};
    use crate::task::LabelTask;

    fn embedded() -> LabelTask {
        LabelTask::findings(Corpus::embedded().unwrap()).unwrap()
    }

    #[test]
    fn the_committed_configs_train_on_nothing_that_they_are_tested_on() {
        let config = TrainConfig::named("lora-plain").unwrap();
        let leaks = training_leaks(&config, &embedded()).unwrap();
        assert_eq!(leaks.leaks, []);
        assert_eq!(leaks.parts.iter().map(|part| part.2).sum::<usize>(), 1236 + 236);
        if std::env::var_os("DXLAB_DATA").is_none() {
            println!("skipped: DXLAB_DATA is not set");
            return;
        }
        let config = TrainConfig::named("lora-bc5cdr").unwrap();
        training_leaks(&config, &*task::open(&config.corpus).unwrap()).unwrap().refuse().unwrap();
    }

    #[test]
    fn abstracts_that_one_corpus_trains_on_and_the_other_tests_on_are_found_by_text_and_id() {
        if std::env::var_os("DXLAB_DATA").is_none() {
            println!("skipped: DXLAB_DATA is not set");
            return;
        }
        let open = |name| [Source::open(name).unwrap()];
        let leaks = leaks(&open("bc5cdr"), &open("ncbi"), LIMIT).unwrap();
        let shared: Vec<_> = leaks.leaks.iter().filter(|leak| leak.b.part == "ncbi test").collect();
        assert!(shared.iter().all(|leak| leak.a.case_id == leak.b.case_id), "{leaks}");
    }

    #[test]
    fn a_benchmark_set_is_compared_and_a_config_without_one_is_written_as_before() {
        let task = embedded();
        let mut config = TrainConfig::named("lora-plain").unwrap();
        assert!(!toml::to_string(&config).unwrap().contains("benchmarks"), "the digests of its runs stay");
        let folder = tempfile::tempdir().unwrap();
        let cases = |name: &str, split: &str, copied: &Finding| {
            let case = |id: &str, text: &str| {
                let row =
                    serde_json::json!({"case_id": id, "input_finding": text, "output_disease": "cyst", "split": split});
                format!("{row}\n")
            };
            let path = folder.path().join(name);
            std::fs::write(&path, case("own", "A text that stands nowhere else.") + &case("copy", &copied.input))
                .unwrap();
            path.display().to_string()
        };
        let (train, valid) = config.split().of(&task.corpus.train).unwrap();
        config.benchmarks = vec![cases("bench.jsonl", "test", &train[7]), cases("set.jsonl", "train", &valid[0])];
        let leaks = training_leaks(&config, &task).unwrap();
        let said: Vec<String> = leaks.leaks.iter().map(ToString::to_string).collect();
        let (a, b) = (&train[7].case_id, &valid[0].case_id);
        let wanted =
            [format!("train/{a} and bench test/copy: exact"), format!("train/{b} (validation) and set/copy: exact")];
        assert_eq!(said, wanted);
        assert!(leaks.refuse().unwrap_err().to_string().contains("bench test/copy"));
        config.benchmarks = vec!["gone.csv".into()];
        assert!(training_leaks(&config, &task).unwrap_err().to_string().contains("gone.csv"));
    }
}

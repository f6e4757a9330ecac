//! Answers of several models on the test cases of one corpus, read and scored alike: what a results chapter shows.
use super::arm::ArmResult;
use super::detail::{Depth, Detail, detail};
use super::evaluation::{Comparison, Evaluation, correct, evaluate};
use crate::error::{Error, Result};
use crate::io;
use crate::label::Ontology;
use crate::metric::{self, Bootstrap, Credit, Metric, Outcome, Reading};
use crate::run::{Prediction, Run, Store};
use crate::task::{LabelTask, Task, typed_predictions};
use std::path::Path;
use std::sync::OnceLock;

/// One model's answers.
pub struct Answered<T: Task = LabelTask> {
    pub name: String,
    pub run: Run,
    pub predictions: Vec<Prediction<T::Answer, T::Gold>>,
    pub evaluation: Evaluation,
    /// Computed when it is first asked for; see [`Results::detail`].
    detail: OnceLock<Detail>,
}

/// A model on two sets of cases: see [`Results::moved`].
pub struct Moved {
    pub model: String,
    pub here: Option<metric::Estimate>,
    pub there: Option<metric::Estimate>,
    pub change: Option<metric::Difference>,
}

/// See the file's header.
pub struct Results<T: Task = LabelTask> {
    pub task: T,
    pub bootstrap: Bootstrap,
    /// In the order in which they are shown.
    pub models: Vec<Answered<T>>,
}

impl<T: Task> Results<T> {
    /// The runs' predictions under the names given, of an arm those of its first seed; every run must have answered all test cases of the
    /// task.
    pub fn of(task: T, runs: &[(&str, &Run)]) -> Result<Self> {
        let mut results = Self { task, bootstrap: Bootstrap::default(), models: Vec::new() };
        for (name, run) in runs {
            results.add(name, run)?;
        }
        Ok(results)
    }

    /// Every complete run in `store` that answered the test cases of the task, by the names of the runs: baselines, base models, adapters,
    /// then the arms of grids.
    pub fn in_store(store: &Store, task: T) -> Result<Self> {
        let (digest, name) = (task.corpus().digest(), Task::name(&task).to_string());
        let answers = |run: &Run| {
            let known = run.known();
            known.corpus.as_ref() == Some(&digest)
                && known.cases.is_none()
                && known.task.map_or(task.as_labels().is_some(), |of| of.split('@').next() == Some(&name))
                && (run.spec.kind == "arm" || run.path("preds.jsonl").is_file())
        };
        let mut runs: Vec<Run> = store.list()?.into_iter().filter(answers).collect();
        let tuned = |run: &Run| run.known().adapter.is_some();
        runs.sort_by_key(|run| (run.spec.kind == "arm", run.spec.kind != "baseline", tuned(run), run.folder()));
        let name = |run: &Run| match runs.iter().filter(|other| other.spec.name == run.spec.name).count() {
            1 => run.spec.name.clone(),
            _ => format!("{} ({})", run.spec.name, &run.short_digest()[..6]),
        };
        let named: Vec<(String, &Run)> = runs.iter().map(|run| (name(run), run)).collect();
        Self::of(task, &named.iter().map(|(name, run)| (name.as_str(), *run)).collect::<Vec<_>>())
    }

    /// The same without arms of grids and the runs of their seeds (`NAME-s7`), which tables of the grid show.
    pub fn without_arms(mut self) -> Self {
        let arms: std::collections::BTreeSet<String> = self
            .models
            .iter()
            .filter(|model| model.run.spec.kind == "arm")
            .map(|model| model.run.spec.name.clone())
            .collect();
        self.models.retain(|model| !arms.contains(without_seed(&model.run.spec.name)));
        self
    }

    fn add(&mut self, name: &str, run: &Run) -> Result<()> {
        let answers = match run.spec.kind.as_str() {
            "arm" => ArmResult::first_seed(run, &self.task)?,
            _ => run.answers(&self.task)?,
        };
        let answered: std::collections::BTreeSet<&str> = answers.iter().map(|p| p.case_id.as_str()).collect();
        let corpus = self.task.corpus();
        if let Some(case) = corpus.test.iter().find(|case| !answered.contains(case.case_id.as_str())) {
            return Err(Error::input(format!(
                "run {} did not answer test case {} of {}: give runs on the same cases",
                run.folder(),
                case.case_id,
                corpus.name
            )));
        }
        let evaluation = evaluate(&self.task, &answers, &self.bootstrap)?;
        let (predictions, detail) = (typed_predictions(&self.task, &answers)?, OnceLock::new());
        self.models.push(Answered { name: name.into(), run: run.clone(), predictions, evaluation, detail });
        Ok(())
    }

    pub fn get(&self, name: &str) -> Result<&Answered<T>> {
        self.models.iter().find(|model| model.name == name).ok_or_else(|| {
            let known: Vec<&str> = self.models.iter().map(|model| model.name.as_str()).collect();
            Error::input(format!("no results of `{name}`: there are {}", known.join(", ")))
        })
    }

    /// Of the models named, the one with the highest metric by the task's main reading; the first of equals.
    pub fn best(&self, among: &[&str], key: &str) -> Result<&Answered<T>> {
        let models = among.iter().map(|name| self.get(name)).collect::<Result<Vec<_>>>()?;
        let value = |model: &Answered<T>| {
            model.evaluation.get(self.reading(), key).map_or(f64::NEG_INFINITY, |estimate| estimate.value)
        };
        let best = models.into_iter().rev().max_by(|a, b| value(a).total_cmp(&value(b)));
        best.ok_or_else(|| Error::input("the best of no models: name at least one"))
    }

    /// How the task compares answers first of all.
    pub fn reading(&self) -> Reading {
        Task::readings(&self.task).first().copied().unwrap_or(Reading::Raw)
    }

    /// b − a of every pair given, by the task's main reading and on the same resamples, as many as so many pairs need; p after Holm over
    /// all of them.
    pub fn compare(&self, pairs: &[(&str, &str)], metric: &str) -> Result<Vec<Comparison>> {
        let (mut rows, bootstrap) = (Vec::new(), self.bootstrap.for_comparisons(pairs.len()));
        for (a, b) in pairs {
            let sets = [self.get(a)?.predictions.as_slice(), self.get(b)?.predictions.as_slice()];
            let tables = Task::score(&self.task, &sets, self.reading());
            let difference = metric::compare(&tables[0], &tables[1], &[metric], &bootstrap)?.remove(0);
            rows.push(Comparison::of(a, b, metric, self.reading(), difference));
        }
        correct(&mut rows);
        Ok(rows)
    }

    /// Every model that answered both the cases of this task and those of `other` (by name): the metric on both, and how much it changes from
    /// here to there, as of two independent sets of cases ([`metric::unpaired`]).
    pub fn moved(&self, other: &Self, key: &str) -> Result<Vec<Moved>> {
        let mut rows = Vec::new();
        for (here, there) in self.models.iter().filter_map(|here| Some((here, other.get(&here.name).ok()?))) {
            let table =
                |task: &T, model: &Answered<T>| Task::score(task, &[&model.predictions], self.reading()).remove(0);
            let (first, second) = (table(&self.task, here), table(&other.task, there));
            let of = |model: &Answered<T>| model.evaluation.get(self.reading(), key).cloned();
            let change = metric::unpaired(&first, &second, key, &self.bootstrap)?;
            rows.push(Moved { model: here.name.clone(), here: of(here), there: of(there), change });
        }
        Ok(rows)
    }

    /// Every model's answer where the other one was compared with `name`.
    pub fn against(&self, name: &str, metric: &str) -> Result<Vec<Comparison>> {
        self.get(name)?;
        let others = self.models.iter().map(|model| model.name.as_str()).filter(|other| *other != name);
        self.compare(&others.map(|other| (other, name)).collect::<Vec<_>>(), metric)
    }
}

impl Results {
    /// What the metrics do not say of a model's answers, by our own table of concepts, so that it does not depend on `DXLAB_DATA`.
    pub fn detail(&self, name: &str) -> Result<&Detail> {
        let model = self.get(name)?;
        if let Some(found) = model.detail.get() {
            return Ok(found);
        }
        let (training, ontology) = (self.task.corpus.vocabulary(), Ontology::own()?);
        let depth = Depth {
            names: &self.task.names,
            training: Some(&training),
            ontology: Some(&ontology),
            credit: Credit::default(),
        };
        let found = detail(&model.predictions, &depth, &self.bootstrap)?;
        Ok(model.detail.get_or_init(|| found))
    }

    /// What was right and wrong, in the order of the predictions.
    pub fn outcomes(&self, name: &str, reading: Reading) -> Result<Vec<Outcome>> {
        Ok(self.task.outcomes(&self.get(name)?.predictions, reading))
    }

    /// Estimates of one metric on part of the labels: gold and predicted ones for which `keep` holds, after normalisation.
    pub fn on_labels(
        &self,
        name: &str,
        metric: &Metric,
        keep: impl Fn(&str) -> bool,
    ) -> Result<Option<metric::Estimate>> {
        let mut part = self.outcomes(name, Reading::Normalised)?;
        for case in &mut part {
            case.gold.retain(|label| keep(label));
            case.predicted.retain(|label| keep(label));
        }
        Ok(self.bootstrap.estimates(&Metric::table(std::slice::from_ref(metric), &part)).remove(0))
    }
}

/// Evaluations kept as files (`<name>.json`, as `dxlab evaluate --out` writes them): scores of predictions that cannot be
/// kept themselves. One of every name asked for, none where there is no file; then those of other names.
pub fn kept(folder: &Path, names: &[&str]) -> Result<Vec<(String, Option<Evaluation>)>> {
    let read = |name: &&str| {
        let path = folder.join(format!("{name}.json"));
        let found = path.is_file().then(|| io::read_json::<Evaluation>(&path)).transpose()?;
        Ok((name.to_string(), found.map(Evaluation::with_exact_ends)))
    };
    let mut all = names.iter().map(read).collect::<Result<Vec<_>>>()?;
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut others: Vec<String> = files
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_string()))
        .filter(|name| !names.contains(&name.as_str()))
        .collect();
    others.sort();
    for name in &others {
        all.push(read(&name.as_str())?);
    }
    Ok(all)
}

/// Comparisons that `dxlab compare --out` wrote; none where the file is not there.
pub fn kept_comparisons(path: &Path) -> Result<Vec<Comparison>> {
    #[derive(serde::Deserialize)]
    struct Kept {
        comparisons: Vec<Comparison>,
    }
    if !path.is_file() {
        return Ok(vec![]);
    }
    Ok(io::read_json::<Kept>(path)?.comparisons)
}

/// The name of an arm in that of the run of one of its seeds: `dora` of `dora-s7`; a name without a seed as it is.
pub fn without_seed(name: &str) -> &str {
    match name.rsplit_once("-s") {
        Some((arm, seed)) if !seed.is_empty() && seed.bytes().all(|byte| byte.is_ascii_digit()) => arm,
        _ => name,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::corpus::{Corpus, Finding};
    use crate::run::Store;
    use crate::run::prediction::write_predictions;

    /// Twenty cases of two labels; `good` gets all of the first label, `bad` only a quarter of it, in the plural.
    pub(crate) fn toy(folder: &std::path::Path) -> Results {
        let case = |i: usize| {
            let labels = vec!["renal cyst".into(), if i.is_multiple_of(2) { "gallstone" } else { "ascites" }.into()];
            Finding::new(format!("c{i:02}"), format!("c{i:02}"), "Synthetic.", labels)
        };
        let cases: Vec<_> = (0..20).map(case).collect();
        let store = Store::open(Some(folder));
        let answers = |name: &str, right: usize| {
            let predict = |(i, case): (usize, &Finding)| {
                let label = if i < right { "renal cysts" } else { "liver cyst" };
                Prediction { model: format!("{name}@0"), ..Prediction::of(case, vec![label.into()], label) }
            };
            let rows: Vec<Prediction> = cases.iter().enumerate().map(predict).collect();
            let make = |dir: &std::path::Path| write_predictions(&dir.join("preds.jsonl"), &rows);
            store.open_or_make("predict", name, &right, make).unwrap()
        };
        let corpus = Corpus { name: "toy".into(), synthetic: true, train: cases.clone(), test: cases.clone() };
        let task = LabelTask::findings(corpus).unwrap();
        Results::of(task, &[("bad", &answers("bad", 5)), ("good", &answers("good", 20))]).unwrap()
    }

    #[test]
    fn models_are_scored_alike_and_compared_on_the_same_cases() {
        let folder = tempfile::tempdir().unwrap();
        let results = toy(folder.path());
        let f1 = |name: &str, reading| results.get(name).unwrap().evaluation.get(reading, "micro_f1").unwrap().value;
        assert!((f1("good", Reading::Normalised) - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(f1("good", Reading::Raw), 0.0);
        let row = &results.against("good", "micro_f1").unwrap()[0];
        assert_eq!((row.a.as_str(), row.b.as_str()), ("bad", "good"));
        assert!(row.difference.as_ref().unwrap().low > 0.0 && row.p_holm.unwrap() < 0.01);
        assert_eq!(results.best(&["bad", "good"], "micro_f1").unwrap().name, "good");
        let resamples = |pairs: &[(&str, &str)]| {
            results.compare(pairs, "micro_f1").unwrap()[0].difference.as_ref().unwrap().resamples
        };
        assert_eq!((resamples(&[("bad", "good")]), resamples(&[("bad", "good"); 3])), (2000, 2400));
        assert!(results.get("ugly").err().unwrap().to_string().contains("there are bad, good"));
    }

    #[test]
    fn part_of_the_labels_has_its_own_metric() {
        let folder = tempfile::tempdir().unwrap();
        let results = toy(folder.path());
        let recall = |label: &str| {
            let found = results.on_labels("good", &Metric::MicroRecall, |l| l == label).unwrap();
            found.map(|estimate| estimate.value)
        };
        assert_eq!((recall("renal cyst"), recall("gallstone"), recall("nothing")), (Some(1.0), Some(0.0), None));
    }

    #[test]
    fn the_store_knows_which_runs_answered_a_corpus_and_kept_scores_are_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let results = toy(folder.path());
        let found = Results::in_store(&Store::open(Some(folder.path())), results.task.clone()).unwrap();
        assert!(found.models.is_empty(), "their specifications do not name the corpus");
        io::write_json(&folder.path().join("good.json"), &results.get("good").unwrap().evaluation).unwrap();
        io::write_json(&folder.path().join("also.json"), &results.get("bad").unwrap().evaluation).unwrap();
        let kept = kept(folder.path(), &["good", "gone"]).unwrap();
        assert_eq!(kept[0].1.as_ref(), Some(&results.get("good").unwrap().evaluation));
        assert_eq!(kept[1], ("gone".to_string(), None));
        assert_eq!((kept[2].0.as_str(), kept.len()), ("also", 3));
    }

    #[test]
    fn a_run_that_left_cases_out_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut results = toy(folder.path());
        results.task.corpus.test.push(Finding::new("new", "new", "", vec![]));
        let run = results.models[0].run.clone();
        assert!(results.add("again", &run).unwrap_err().to_string().contains("did not answer test case new"));
    }

    #[test]
    fn a_model_on_two_sets_of_cases_is_shown_with_its_change() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (here, mut there) = (toy(folder.path()), toy(other.path()));
        for model in &mut there.models {
            for p in &mut model.predictions {
                (p.case_id, p.group) = (format!("other {}", p.case_id), format!("other {}", p.group));
            }
        }
        there.models.retain(|model| model.name == "bad");
        let rows = here.moved(&there, "micro_f1").unwrap();
        assert_eq!(rows.iter().map(|row| row.model.as_str()).collect::<Vec<_>>(), ["bad"], "answered both");
        let change = rows[0].change.as_ref().unwrap();
        assert!(change.value == 0.0 && change.low < 0.0 && change.high > 0.0, "{change:?}");
        assert!(here.moved(&here, "micro_f1").is_err(), "the same cases are compared in pairs");
    }

    #[test]
    fn kept_comparisons_are_those_that_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let rows = toy(folder.path()).compare(&[("bad", "good")], "micro_f1").unwrap();
        let path = folder.path().join("pairs.json");
        assert_eq!(kept_comparisons(&path).unwrap(), []);
        io::write_json(&path, &serde_json::json!({ "bootstrap": 1, "comparisons": rows })).unwrap();
        assert_eq!(kept_comparisons(&path).unwrap(), rows);
    }

    #[test]
    fn arms_and_the_runs_of_their_seeds_can_be_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let left = |kind: &str, other: &str| {
            let mut found = toy(folder.path());
            (found.models[0].run.spec.kind, found.models[0].run.spec.name) = (kind.into(), "dora".into());
            found.models[1].run.spec.name = other.into();
            found.without_arms().models.len()
        };
        assert_eq!([left("arm", "dora-s7"), left("arm", "lora-s7"), left("predict", "dora-s7")], [0, 1, 2]);
        assert_eq!(["dora-s7", "dora-s7x", "dora-s", "lora"].map(without_seed), ["dora", "dora-s7x", "dora-s", "lora"]);
    }

    #[test]
    fn a_run_is_found_by_its_name_and_the_cases_it_is_about() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(Some(folder.path()));
        let make = |corpus: &str, prompt: &str| {
            let spec = serde_json::json!({ "corpus": corpus, "prompt": prompt });
            store.open_or_make("predict", "vote", &spec, |_| Ok(())).unwrap()
        };
        let (ours, theirs) = (make("ours", "p"), make("theirs", "p"));
        assert_eq!(store.on_corpus("predict", "vote", "ours").unwrap(), Some(ours));
        assert_eq!(store.on_corpus("predict", "vote", "theirs").unwrap(), Some(theirs));
        assert_eq!(store.on_corpus("predict", "vote", "others").unwrap(), None);
        assert_eq!(store.on_corpus("train", "vote", "ours").unwrap(), None);
        make("ours", "q");
        let error = store.on_corpus("predict", "vote", "ours").unwrap_err().to_string();
        assert!(error.contains("fits more than one run"), "{error}");
    }
}

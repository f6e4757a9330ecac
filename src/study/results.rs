//! Answers of several models on the test cases of one corpus, read and scored alike: what a results chapter shows.
use super::arm::Tried;
use super::detail::{Depth, Detail, detail};
use super::evaluation::{Comparison, Evaluation, Reading, Scoring, correct, evaluate};
use crate::corpus::Corpus;
use crate::error::{Error, Result};
use crate::io;
use crate::label::{Normaliser, Ontology};
use crate::metric::{self, Bootstrap, Credit, Metric, Outcome};
use crate::run::prediction::{Prediction, outcomes};
use crate::run::{Run, Store};
use std::path::Path;
use std::sync::OnceLock;

/// One model's answers.
#[derive(Clone, Debug)]
pub struct Answered {
    pub name: String,
    pub run: Run,
    pub predictions: Vec<Prediction>,
    pub evaluation: Evaluation,
    /// Computed when it is first asked for; see [`Results::detail`].
    detail: OnceLock<Detail>,
}

/// See the file's header.
#[derive(Clone, Debug)]
pub struct Results {
    pub corpus: Corpus,
    /// Makes labels alike before they are compared; knows the training labels.
    pub names: Normaliser,
    pub bootstrap: Bootstrap,
    /// In the order in which they are shown.
    pub models: Vec<Answered>,
}

impl Results {
    /// The runs' predictions under the names given, of an arm those of its first seed; every run must have answered all test cases of
    /// `corpus`.
    pub fn of(corpus: Corpus, runs: &[(&str, &Run)]) -> Result<Self> {
        let names = Normaliser::new(corpus.vocabulary().keys())?;
        let mut results = Self { corpus, names, bootstrap: Bootstrap::default(), models: Vec::new() };
        for (name, run) in runs {
            results.add(name, run)?;
        }
        Ok(results)
    }

    /// Every complete run in `store` that answered the test cases of `corpus`, by the names of the runs: baselines, base
    /// models, adapters, then the arms of grids.
    pub fn in_store(store: &Store, corpus: Corpus) -> Result<Self> {
        let digest = corpus.digest();
        let answers = |run: &Run| {
            let asked_all = run.spec.spec.get("cases").is_none_or(|cases| cases.is_null());
            run.spec.spec.get("corpus").is_some_and(|of| *of == digest)
                && asked_all
                && (run.spec.kind == "arm" || run.path("preds.jsonl").is_file())
        };
        let mut runs: Vec<Run> = store.list()?.into_iter().filter(answers).collect();
        let tuned = |run: &Run| run.spec.spec.get("adapter").is_some_and(|adapter| !adapter.is_null());
        runs.sort_by_key(|run| (run.spec.kind == "arm", run.spec.kind != "baseline", tuned(run), run.folder()));
        let name = |run: &Run| match runs.iter().filter(|other| other.spec.name == run.spec.name).count() {
            1 => run.spec.name.clone(),
            _ => format!("{} ({})", run.spec.name, &run.short_digest()[..6]),
        };
        let named: Vec<(String, &Run)> = runs.iter().map(|run| (name(run), run)).collect();
        Self::of(corpus, &named.iter().map(|(name, run)| (name.as_str(), *run)).collect::<Vec<_>>())
    }

    fn add(&mut self, name: &str, run: &Run) -> Result<()> {
        let predictions = match run.spec.kind.as_str() {
            "arm" => Tried::first_seed(run, &self.corpus)?,
            _ => run.predictions()?,
        };
        let answered: std::collections::BTreeSet<&str> = predictions.iter().map(|p| p.case_id.as_str()).collect();
        if let Some(case) = self.corpus.test.iter().find(|case| !answered.contains(case.case_id.as_str())) {
            return Err(Error::input(format!(
                "run {} did not answer test case {} of {}: give runs on the same cases",
                run.folder(),
                case.case_id,
                self.corpus.name
            )));
        }
        let vocabulary: Vec<String> = self.corpus.vocabulary().into_keys().collect();
        let normalise = |label: &str| self.names.normalise(label);
        let scoring =
            Scoring { bootstrap: self.bootstrap.clone(), normalise: &normalise, vocabulary: Some(&vocabulary) };
        let evaluation = evaluate(&predictions, &scoring)?;
        let detail = OnceLock::new();
        self.models.push(Answered { name: name.into(), run: run.clone(), predictions, evaluation, detail });
        Ok(())
    }

    pub fn get(&self, name: &str) -> Result<&Answered> {
        self.models.iter().find(|model| model.name == name).ok_or_else(|| {
            let known: Vec<&str> = self.models.iter().map(|model| model.name.as_str()).collect();
            Error::input(format!("no results of `{name}`: there are {}", known.join(", ")))
        })
    }

    /// Of the models named, the one with the highest metric on normalised labels; the first of equals.
    pub fn best(&self, among: &[&str], key: &str) -> Result<&Answered> {
        let models = among.iter().map(|name| self.get(name)).collect::<Result<Vec<_>>>()?;
        let value = |model: &Answered| {
            model.evaluation.get(Reading::Normalised, key).map_or(f64::NEG_INFINITY, |estimate| estimate.value)
        };
        let best = models.into_iter().rev().max_by(|a, b| value(a).total_cmp(&value(b)));
        best.ok_or_else(|| Error::input("the best of no models: name at least one"))
    }

    /// What the metrics do not say of a model's answers, by our own table of concepts, so that it does not depend on `DXLAB_DATA`.
    pub fn detail(&self, name: &str) -> Result<&Detail> {
        let model = self.get(name)?;
        if let Some(found) = model.detail.get() {
            return Ok(found);
        }
        let (training, ontology) = (self.corpus.vocabulary(), Ontology::own()?);
        let depth = Depth {
            names: &self.names,
            training: Some(&training),
            ontology: Some(&ontology),
            credit: Credit::default(),
        };
        let found = detail(&model.predictions, &depth, &self.bootstrap)?;
        Ok(model.detail.get_or_init(|| found))
    }

    /// What was right and wrong, in the order of the predictions.
    pub fn outcomes(&self, name: &str, reading: Reading) -> Result<Vec<Outcome>> {
        let normalise = |label: &str| self.names.normalise(label);
        let normalise: Option<&dyn Fn(&str) -> String> = (reading == Reading::Normalised).then_some(&normalise);
        Ok(outcomes(&self.get(name)?.predictions, normalise))
    }

    /// b − a of every pair given, on normalised labels and the same resamples, as many as so many pairs need; p after Holm over all of
    /// them.
    pub fn compare(&self, pairs: &[(&str, &str)], metric: &str) -> Result<Vec<Comparison>> {
        let (mut rows, bootstrap) = (Vec::new(), self.bootstrap.for_comparisons(pairs.len()));
        for (a, b) in pairs {
            let (first, second) = (self.outcomes(a, Reading::Normalised)?, self.outcomes(b, Reading::Normalised)?);
            let [first, second] = [&first, &second].map(Vec::as_slice);
            let tables = Metric::tables(&[metric.parse()?], &[first, second]);
            let difference = metric::compare(&tables[0], &tables[1], &[metric], &bootstrap)?.remove(0);
            rows.push(Comparison::of(a, b, metric, Reading::Normalised, difference));
        }
        correct(&mut rows);
        Ok(rows)
    }

    /// Every model's answer where the other one was compared with `name`.
    pub fn against(&self, name: &str, metric: &str) -> Result<Vec<Comparison>> {
        self.get(name)?;
        let others = self.models.iter().map(|model| model.name.as_str()).filter(|other| *other != name);
        self.compare(&others.map(|other| (other, name)).collect::<Vec<_>>(), metric)
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::run::Store;
    use crate::run::prediction::write_predictions;

    /// Twenty cases of two labels; `good` gets all of the first label, `bad` only a quarter of it, in the plural.
    pub(crate) fn toy(folder: &std::path::Path) -> Results {
        let case = |i: usize| crate::corpus::Case {
            case_id: format!("c{i:02}"),
            group: format!("c{i:02}"),
            input: "Synthetic.".into(),
            labels: vec!["renal cyst".into(), if i % 2 == 0 { "gallstone" } else { "ascites" }.into()],
        };
        let cases: Vec<_> = (0..20).map(case).collect();
        let store = Store::open(Some(folder));
        let answers = |name: &str, right: usize| {
            let predict = |(i, case): (usize, &crate::corpus::Case)| {
                let label = if i < right { "renal cysts" } else { "liver cyst" };
                crate::baseline::prediction(case, &format!("{name}@0"), vec![label.into()])
            };
            let rows: Vec<Prediction> = cases.iter().enumerate().map(predict).collect();
            let make = |dir: &std::path::Path| write_predictions(&dir.join("preds.jsonl"), &rows);
            store.open_or_make("predict", name, &right, make).unwrap()
        };
        let corpus = Corpus { name: "toy".into(), synthetic: true, train: cases.clone(), test: cases.clone() };
        Results::of(corpus, &[("bad", &answers("bad", 5)), ("good", &answers("good", 20))]).unwrap()
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
        assert!(results.get("ugly").unwrap_err().to_string().contains("there are bad, good"));
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
        let found = Results::in_store(&Store::open(Some(folder.path())), results.corpus.clone()).unwrap();
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
        results.corpus.test.push(crate::corpus::Case {
            case_id: "new".into(),
            group: "new".into(),
            input: String::new(),
            labels: vec![],
        });
        let run = results.models[0].run.clone();
        assert!(results.add("again", &run).unwrap_err().to_string().contains("did not answer test case new"));
    }
}

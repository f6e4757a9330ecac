//! One line of `preds.jsonl`: a case, the raw answer and what was read from it.
use crate::corpus::findings::cell::is_nothing;
use crate::corpus::{Case, Example, Labels};
use crate::error::{Error, Result};
use crate::io;
use crate::metric::Outcome;
use crate::prompt::Constrain;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// One line of `preds.jsonl`. Answer and gold are of the task's types; as JSON of any.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction<A = Labels, G = Labels> {
    pub case_id: String,
    pub group: String,
    /// Name and version of the task, `findings@1`; empty in files of older versions.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub task: String,
    /// First 12 hex digits of the corpus's digest; empty as above.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub corpus: String,
    /// Folder of the run that made it; empty as above.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub run: String,
    /// The text that was asked about, as in the corpus; empty in the store, whose runs name their corpus.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub input: String,
    /// Name and digest of the prompt, `closed@1f3a…`; resolves in the run folder. Empty where no model was asked (a baseline).
    pub prompt: String,
    /// Name and digest of the base model, `embedded@9c2e…`.
    pub model: String,
    /// Name and digest of the adapter, none for the base model alone.
    pub adapter: Option<String>,
    /// What the answer was held to while it was made, none for a free answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constrain: Option<Constrain>,
    /// The answer, byte for byte; of a vote the list that won.
    pub raw: String,
    /// What was read from `raw` by the task's parser; labels before normalisation.
    #[serde(alias = "labels")]
    pub answer: A,
    /// False when nothing could be read from `raw`.
    pub parsed: bool,
    /// Of the corpus; labels before normalisation.
    pub gold: G,
    /// Sum of the log-probabilities of the answer's tokens and its end (natural logarithm), where the model gives them;
    /// not renormalised under a constraint.
    pub logprob: Option<f64>,
    pub prompt_tokens: usize,
    pub new_tokens: usize,
    /// Passes through the model that had to wait for the one before, where they are fewer than one a new token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
    pub seconds: f64,
    /// The sampled answers that were counted and what they named, where there was a vote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voted: Option<Voted>,
}

/// What the votes of one case were; kept with its prediction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Voted {
    /// Share of the samples that named each label, as written, also of those that lost.
    pub shares: BTreeMap<String, f64>,
    pub samples: Vec<Sample>,
}

/// One sampled answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Byte for byte.
    pub raw: String,
    /// Of the answer under the model's own distribution, before temperature; natural logarithm.
    pub logprob: Option<f64>,
    pub new_tokens: usize,
}

impl Prediction {
    /// What was right and wrong, on labels as written (`None`) or as `normalise` makes them.
    /// A label that normalises to nothing is dropped.
    pub fn outcome(&self, normalise: Option<&dyn Fn(&str) -> String>) -> Outcome {
        Outcome {
            case_id: self.case_id.clone(),
            group: self.group.clone(),
            gold: label_set(&self.gold, normalise),
            predicted: label_set(&self.answer, normalise),
            parsed: self.parsed,
        }
    }
}

impl<A, G: Clone> Prediction<A, G> {
    /// An answer to a case, read from `raw`, of which nothing else is known.
    pub fn of(example: &Example<G>, answer: A, raw: &str) -> Self {
        Self {
            case_id: example.case_id.clone(),
            group: example.group.clone(),
            task: String::new(),
            corpus: String::new(),
            run: String::new(),
            input: example.input.clone(),
            prompt: String::new(),
            model: String::new(),
            adapter: None,
            constrain: None,
            raw: raw.into(),
            answer,
            parsed: true,
            gold: example.gold.clone(),
            logprob: None,
            prompt_tokens: 0,
            new_tokens: 0,
            steps: None,
            seconds: 0.0,
            voted: None,
        }
    }
}

impl<A, G> Prediction<A, G> {
    /// The case that was asked about.
    pub fn case(&self) -> Case {
        Case { case_id: self.case_id.clone(), group: self.group.clone(), input: self.input.clone() }
    }

    /// The same with answer and gold in another form.
    pub fn with<B, H>(self, answer: B, gold: H) -> Prediction<B, H> {
        Prediction {
            answer,
            gold,
            case_id: self.case_id,
            group: self.group,
            task: self.task,
            corpus: self.corpus,
            run: self.run,
            input: self.input,
            prompt: self.prompt,
            model: self.model,
            adapter: self.adapter,
            constrain: self.constrain,
            raw: self.raw,
            parsed: self.parsed,
            logprob: self.logprob,
            prompt_tokens: self.prompt_tokens,
            new_tokens: self.new_tokens,
            steps: self.steps,
            seconds: self.seconds,
            voted: self.voted,
        }
    }

    /// Base model, adapter, prompt, constraint and vote in a few words, without digests:
    /// `embedded + lora · closed · only labels`.
    pub fn source(&self) -> String {
        let name = |text: &str| text.split('@').next().unwrap_or_default().to_string();
        let adapter = self.adapter.as_deref().map(|adapter| format!(" + {}", name(adapter))).unwrap_or_default();
        let prompt = name(&self.prompt);
        let prompt = if prompt.is_empty() { prompt } else { format!(" · {prompt}") };
        let constrain = self.constrain.map(|how| format!(" · only {how}")).unwrap_or_default();
        let vote = self.voted.as_ref().map(|v| format!(" · vote of {}", v.samples.len())).unwrap_or_default();
        format!("{}{adapter}{prompt}{constrain}{vote}", name(&self.model))
    }
}

/// Labels trimmed, normalised if asked, without empty ones and words for no label (gold labels of older files hold them).
pub fn label_set(labels: &[String], normalise: Option<&dyn Fn(&str) -> String>) -> BTreeSet<String> {
    let clean = |label: &String| match normalise {
        Some(normalise) => normalise(label),
        None => label.trim().to_string(),
    };
    labels.iter().map(clean).filter(|label| !label.is_empty() && !is_nothing(label)).collect()
}

/// Outcomes in the order of the predictions; see [`Prediction::outcome`].
pub fn outcomes(predictions: &[Prediction], normalise: Option<&dyn Fn(&str) -> String>) -> Vec<Outcome> {
    predictions.iter().map(|prediction| prediction.outcome(normalise)).collect()
}

/// Reads `preds.jsonl`. A line that is not a prediction, a file without lines and a case id given twice are errors.
pub fn read_predictions<A: DeserializeOwned, G: DeserializeOwned>(path: &Path) -> Result<Vec<Prediction<A, G>>> {
    let text = io::read_text(path)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let parse = |(i, line): (usize, &str)| {
        let row = i + 1;
        serde_json::from_str::<Prediction<A, G>>(line).map(|prediction| (row, prediction)).map_err(|error| {
            Error::input(format!("{} row {row}: expected a prediction as a JSON object: {error}", path.display()))
        })
    };
    let rows: Vec<(usize, Prediction<A, G>)> = lines.map(parse).collect::<Result<_>>()?;
    let mut seen = std::collections::BTreeMap::new();
    for (row, prediction) in &rows {
        if let Some(logprob) = prediction.logprob.filter(|logprob| *logprob > 1e-3) {
            let path = path.display();
            return Err(Error::input(format!(
                "{path} row {row}: `logprob` {logprob} is no logarithm of a probability: expected 0 or less, or null"
            )));
        }
        if let Some(first) = seen.insert(&prediction.case_id, row) {
            let (path, id) = (path.display(), &prediction.case_id);
            return Err(Error::input(format!(
                "{path} row {row}: case `{id}` was already answered in row {first}; keep one model and one prompt a file"
            )));
        }
    }
    if rows.is_empty() {
        return Err(Error::input(format!("{}: no predictions; run `dxlab predict` first", path.display())));
    }
    Ok(rows.into_iter().map(|(_, prediction)| prediction).collect())
}

/// Writes `preds.jsonl` of a run: without the texts, which the corpus has.
pub fn keep_predictions<A: Serialize + Clone, G: Serialize + Clone>(
    path: &Path,
    predictions: &[Prediction<A, G>],
) -> Result<()> {
    let bare = predictions.iter().map(|one| Prediction { input: String::new(), ..one.clone() });
    write_predictions(path, &bare.collect::<Vec<_>>())
}

/// Writes `preds.jsonl`, whole or not at all.
pub fn write_predictions<A: Serialize, G: Serialize>(path: &Path, predictions: &[Prediction<A, G>]) -> Result<()> {
    let mut text = String::new();
    for prediction in predictions {
        let line = serde_json::to_string(prediction).map_err(|error| {
            Error::failed(format!("case `{}` cannot be written as JSON: {error}", prediction.case_id))
        })?;
        text.push_str(&line);
        text.push('\n');
    }
    io::write(path, text.as_bytes())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A prediction with the given gold and predicted labels; everything else is synthetic.
    pub(crate) fn answer(case_id: &str, gold: &[&str], labels: &[&str]) -> Prediction {
        let owned = |labels: &[&str]| -> Labels { labels.iter().map(|label| label.to_string()).collect() };
        let case = Example::new(case_id, case_id, format!("Synthetic finding of {case_id}."), owned(gold));
        Prediction {
            prompt: "closed@1f3a".into(),
            model: "embedded@9c2e".into(),
            parsed: !labels.is_empty(),
            logprob: Some(-1.25),
            prompt_tokens: 120,
            new_tokens: 8,
            seconds: 0.5,
            ..Prediction::of(&case, owned(labels), &labels.join(", "))
        }
    }

    #[test]
    fn written_predictions_are_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("preds.jsonl");
        let rows = [answer("1", &["a"], &["a"]), Prediction { logprob: None, ..answer("2", &["b"], &[]) }];
        write_predictions(&path, &rows).unwrap();
        assert_eq!(read_predictions::<Labels, Labels>(&path).unwrap(), rows);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside the file");
    }

    #[test]
    fn a_bad_row_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("preds.jsonl");
        let good = serde_json::to_string(&answer("7", &["a"], &["a"])).unwrap();
        let message = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let error = read_predictions::<Labels, Labels>(&path).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            error.to_string()
        };
        assert!(message(&format!("{good}\n\n{{\"case_id\":\"8\"}}\n")).contains("row 3: expected a prediction"));
        assert!(message(&format!("{good}\n{good}\n")).contains("row 2: case `7` was already answered in row 1"));
        assert!(message("\n").contains("no predictions"));
        assert!(
            read_predictions::<Labels, Labels>(&folder.path().join("none.jsonl"))
                .unwrap_err()
                .to_string()
                .contains("no such file")
        );
    }

    #[test]
    fn normalisation_merges_labels_and_drops_empty_ones() {
        let lower = |label: &str| label.to_lowercase().replace('.', "");
        let row = answer("1", &["Renal cyst"], &["renal cyst", "Renal Cyst.", "."]);
        assert_eq!(row.outcome(None).predicted.len(), 3);
        let outcome = row.outcome(Some(&lower));
        assert_eq!(outcome.predicted, outcome.gold);
    }

    #[test]
    fn source_leaves_digests_out() {
        assert_eq!(answer("1", &[], &[]).source(), "embedded · closed");
        let tuned = Prediction { adapter: Some("lora@77".into()), ..answer("1", &[], &[]) };
        assert_eq!(tuned.source(), "embedded + lora · closed");
        let held = Prediction { constrain: Some(Constrain::Labels), ..tuned };
        assert_eq!(held.source(), "embedded + lora · closed · only labels");
        let line = serde_json::to_string(&held).unwrap();
        assert!(
            line.contains("\"constrain\":\"labels\"")
                && !serde_json::to_string(&answer("1", &[], &[])).unwrap().contains("constrain")
        );
        assert_eq!(serde_json::from_str::<Prediction>(&line).unwrap(), held);
    }
}

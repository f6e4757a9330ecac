//! The findings task as a [`Diagnoser`]: labels of a text, by how many of several drawn answers name them, or by the likelihood of a closed
//! list.
//!
//! ```text
//! text ─ prompt ─┬─ greedy answer ─ log p ─ Platt scaling on a run ─ confidence ─ below the threshold: abstain
//!                ├─ samples at a temperature ─ share that names a label = its probability        (Wang et al., ICLR 2023)
//!                └─ or log p of every training label ─ softmax over the list = its probability
//! label ─ the sentence of the text that mentions it (lexicon of the training cases)
//! ```
use super::diagnose::{Diagnoser, Diagnosis, Finding, Measured, Named, Oracle, Prompted, Told};
use super::models::Served;
use crate::corpus::Case;
use crate::error::{Error, Result};
use crate::generate::{Generated, MAX_NEW, Sampling};
use crate::label::Lexicon;
use crate::label::lexicon::Reading as Read;
use crate::metric::{Bootstrap, Metric, Platt, Scored, Signal, platt};
use crate::prompt::{Encoded, Overlong, Prompt};
use crate::run::Run;
use crate::study::evaluate;
use crate::task::{AnyTask, LabelTask, Task};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// How findings are answered.
#[derive(Clone, Debug, PartialEq)]
pub struct FindingsConfig {
    /// As `--task` of `dxlab predict`.
    pub corpus: String,
    pub prompt: String,
    /// Drawn answers; 0: the likelihood of the closed list instead.
    pub samples: usize,
    pub temperature: f64,
    pub seed: u64,
    pub max_new: usize,
    /// A predict run whose answers say how likely one is right ([`Platt`]); of validation cases.
    pub calibrated_on: Option<PathBuf>,
    /// A predict run whose score stands beside every answer.
    pub measured: Option<PathBuf>,
    /// Below this confidence the answer abstains.
    pub abstain_below: Option<f64>,
}

impl Default for FindingsConfig {
    fn default() -> Self {
        Self {
            corpus: "findings".into(),
            prompt: "instruct".into(),
            samples: 8,
            temperature: 0.7,
            seed: 0,
            max_new: MAX_NEW,
            calibrated_on: None,
            measured: None,
            abstain_below: None,
        }
    }
}

/// See the file's header.
pub struct Findings {
    config: FindingsConfig,
    task: LabelTask,
    prompt: Prompt,
    lexicon: Lexicon,
    calibration: Option<Fitted>,
    measured: Option<(Asked, Measured)>,
}

/// A scaling and what was asked in the run that it was fitted on.
struct Fitted {
    platt: Platt,
    asked: Asked,
    cases: usize,
}

/// Model, adapter and prompt by name and digest.
#[derive(Clone, Debug, PartialEq)]
struct Asked {
    model: String,
    adapter: Option<String>,
    prompt: String,
}

impl Asked {
    /// By digest: a model may be known by several names.
    fn same(&self, other: &Self) -> bool {
        let digests = |asked: &Self| {
            let of = |id: &String| id.rsplit('@').next().map(String::from);
            [of(&asked.model), asked.adapter.as_ref().and_then(of), of(&asked.prompt)]
        };
        digests(self) == digests(other)
    }
}

impl Findings {
    pub fn open(config: FindingsConfig) -> Result<Self> {
        let task = LabelTask::open(&config.corpus)?;
        let prompt = Prompt::named(&config.prompt, task.context())?;
        let lexicon = Lexicon::learn(&task.corpus.train, &|label| task.normalise(label));
        if config.abstain_below.is_some_and(|p| !(0.0..=1.0).contains(&p)) {
            return Err(Error::input("--abstain-below: expected a confidence between 0 and 1"));
        }
        Sampling { temperature: config.temperature, ..Sampling::default() }.check()?;
        let calibration = config.calibrated_on.as_deref().map(|run| calibrated(&Run::load(run)?, &task)).transpose()?;
        let measured = config.measured.as_deref().map(|run| measured(&Run::load(run)?, &task)).transpose()?;
        Ok(Self { config, task, prompt, lexicon, calibration, measured })
    }

    /// Says which of the runs given were asked otherwise than the served models will be: their numbers are then not shown.
    pub fn strangers(&self, served: &Served) -> Vec<String> {
        let known = |asked: &Asked| served.entries.iter().any(|entry| self.asked(entry).same(asked));
        let told = |what: &str, asked: &Asked| {
            let (model, prompt) = (asked.adapter.as_ref().unwrap_or(&asked.model), &asked.prompt);
            format!("{what} is of {model} asked with {prompt}, which is not served: it is not used")
        };
        let calibration = self.calibration.iter().map(|fitted| ("--calibrated-on", &fitted.asked));
        let all = calibration.chain(self.measured.iter().map(|(asked, _)| ("--measured", asked)));
        all.filter(|(_, asked)| !known(asked)).map(|(what, asked)| told(what, asked)).collect()
    }

    fn asked(&self, entry: &super::models::Entry) -> Asked {
        Asked { model: entry.base.clone(), adapter: entry.adapter.clone(), prompt: self.prompt.id() }
    }

    /// The prompt's ids; the end of a text that is too long is left out, and how many characters that were is said.
    fn encode(&self, finding: &Finding, served: &Served) -> Result<Encoded> {
        if finding.text.trim().is_empty() {
            return Err(Error::input("`text` is empty: expected the findings of a report"));
        }
        if !finding.terms.is_empty() || !finding.excluded.is_empty() {
            return Err(Error::input(
                "the findings task reads `text`; `terms` and `excluded` are for tasks on HPO terms",
            ));
        }
        let limit = served.positions().saturating_sub(self.config.max_new);
        let case = Case { case_id: "this".into(), group: String::new(), input: finding.text.clone() };
        served.encoder.clone().limit(limit, Overlong::Shorten).serve_case(&self.prompt, &case)
    }

    fn prompted(&self, finding: &Finding, ids: &[u32], samples: usize) -> Prompted {
        let FindingsConfig { temperature, seed, max_new, .. } = self.config;
        let drawn = Sampling { temperature, seed, ..Sampling::default() };
        let sampling = if samples == 0 { Sampling::default() } else { drawn };
        let prompt = ids.to_vec();
        Prompted { model: finding.model, prompt, sampling, samples: samples.max(1), max_new, constraint: None }
    }

    /// The likeliest answer, token by token; its text is told as it grows.
    fn single(&self, finding: &Finding, ids: &[u32], oracle: &Oracle, tell: &mut dyn FnMut(Told)) -> Result<Generated> {
        let mut so_far = Vec::new();
        let made = oracle.answers(self.prompted(finding, ids, 0), &mut |_, id| {
            so_far.extend(id);
            if let Ok(text) = oracle.served.tokenizer.decode(&so_far, true) {
                tell(Told::Text(text.trim_end_matches(char::REPLACEMENT_CHARACTER).into()));
            }
        })?;
        made.into_iter().next().ok_or_else(|| Error::failed("an answer was lost"))
    }

    /// The likeliest labels with their evidence.
    fn named(&self, finding: &Finding, mut shares: Vec<(String, f64)>) -> Vec<Named> {
        shares.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        shares.truncate(finding.top);
        let read = self.lexicon.read(&finding.text);
        let one = |(label, probability): (String, f64)| {
            let evidence = self.evidence(&read, &label);
            Named { label, probability, evidence }
        };
        shares.into_iter().map(one).collect()
    }

    /// Labels by the share of drawn answers that name them.
    fn sampled(
        &self,
        finding: &Finding,
        ids: &[u32],
        oracle: &Oracle,
        tell: &mut dyn FnMut(Told),
    ) -> Result<(Vec<(String, f64)>, usize)> {
        let (samples, mut over) = (self.config.samples, 0);
        let made = oracle.answers(self.prompted(finding, ids, samples), &mut |_, id| {
            if id.is_none() {
                over += 1;
                tell(Told::Samples(over, samples));
            }
        })?;
        let case = Case { case_id: String::new(), group: String::new(), input: finding.text.clone() };
        let mut counts = BTreeMap::<String, (usize, String)>::new();
        for one in &made {
            let raw = oracle.served.tokenizer.decode(&one.tokens, true)?;
            let labels = Task::parse(&self.task, &raw, &case).answer;
            let named: BTreeMap<String, String> = labels.into_iter().map(|l| (self.task.normalise(&l), l)).collect();
            for (key, written) in named.into_iter().filter(|(key, _)| !key.is_empty()) {
                counts.entry(key).or_insert((0, written)).0 += 1;
            }
        }
        let shares = counts.into_values().map(|(n, label)| (label, n as f64 / samples as f64)).collect();
        Ok((shares, made.iter().map(|one| one.logprobs.len()).sum()))
    }

    /// Labels by their likelihood among all training labels.
    fn ranked(&self, finding: &Finding, ids: &[u32], oracle: &Oracle) -> Result<(Vec<(String, f64)>, usize)> {
        let labels = AnyTask::closed_list(&self.task);
        let end = oracle.served.tokenizer.control().turn_end;
        let candidate = |label: &String| Ok([oracle.served.tokenizer.encode(label, false)?, vec![end]].concat());
        let candidates = labels.iter().map(candidate).collect::<Result<Vec<_>>>()?;
        let ranked = oracle.rank(finding.model, ids.to_vec(), &candidates)?;
        let most = ranked.first().map_or(0.0, |first| first.logprob);
        let total: f64 = ranked.iter().map(|one| (one.logprob - most).exp()).sum();
        let share = |one: &crate::generate::Ranked| (one.logprob - most).exp() / total;
        let shares = ranked.iter().map(|one| (labels[one.candidate].clone(), share(one))).collect();
        Ok((shares, candidates.iter().map(Vec::len).sum()))
    }

    /// The sentence that speaks of a label, in code points of the text.
    fn evidence(&self, read: &Read, label: &str) -> Option<Value> {
        let name = self.task.normalise(label);
        let mention = read.mention(&name);
        let mentions = mention.is_some();
        let found = mention.or_else(|| read.best(&name))?;
        let denied = read.denies(&found, &name);
        Some(json!({"start": found.start, "end": found.end, "text": found.text, "mentions": mentions,
            "cue": found.cue.map(|cue| cue.name()), "denied": denied}))
    }
}

/// Platt's scaling of the log-probabilities of a run's answers, against whether they were right as a whole.
fn calibrated(run: &Run, task: &LabelTask) -> Result<Fitted> {
    plainly_asked(run)?;
    if run.known().corpus.as_deref() == Some(&AnyTask::corpus_digest(task)) {
        return Err(Error::input(format!(
            "{}: asked about the test cases, which say how good a calibrated server is: calibrate on a run of `dxlab predict --part validation`",
            run.dir.display()
        )));
    }
    let answers = run.answers(task)?;
    let asked = asked_in(run, &answers)?;
    let typed = crate::task::typed_predictions(task, &answers)?;
    let scored: Vec<Scored> = typed
        .iter()
        .zip(task.outcomes(&typed, crate::metric::Reading::Normalised))
        .filter_map(|(prediction, outcome)| {
            let logprob = prediction.logprob.filter(|p| p.is_finite())?;
            let outcome = f64::from(outcome.gold == outcome.predicted);
            Some(Scored { group: prediction.group.clone(), logprob, tokens: prediction.new_tokens.max(1), outcome })
        })
        .collect();
    if scored.len() < 20 {
        return Err(Error::input(format!(
            "{}: {} answers with a log-probability: expected at least 20, of one greedy answer a case",
            run.dir.display(),
            scored.len()
        )));
    }
    let scores: Vec<f64> = scored.iter().map(|case| Signal::Sequence.of(case)).collect();
    let outcomes: Vec<f64> = scored.iter().map(|case| case.outcome).collect();
    Ok(Fitted { platt: platt(&scores, &outcomes), asked, cases: scored.len() })
}

/// Fails for a run whose answers were made otherwise than the single answer of this server: another number would stand beside it.
fn plainly_asked(run: &Run) -> Result<()> {
    match ["constrain", "vote", "ranking", "endpoint"].iter().find(|key| !run.spec.spec[**key].is_null()) {
        Some(key) => Err(Error::input(format!(
            "{}: its answers were made otherwise than this server makes them (`{key}` in its spec.json): expected one free greedy answer to \
             each case",
            run.dir.display()
        ))),
        None => Ok(()),
    }
}

fn asked_in(run: &Run, answers: &[crate::task::AnyPrediction]) -> Result<Asked> {
    let first = answers.first().ok_or_else(|| Error::input(format!("{}: no answers", run.dir.display())))?;
    Ok(Asked { model: first.model.clone(), adapter: first.adapter.clone(), prompt: first.prompt.clone() })
}

/// The task's main score of a run, with its interval.
fn measured(run: &Run, task: &LabelTask) -> Result<(Asked, Measured)> {
    plainly_asked(run)?;
    if !run.spec.spec["cases"].is_null() {
        return Err(Error::input(format!("{}: asked about some of the test cases only", run.dir.display())));
    }
    let answers = run.answers(task)?;
    let asked = asked_in(run, &answers)?;
    let metric = Metric::MicroF1.to_string();
    let evaluation = evaluate(task, &answers, &Bootstrap::default())?;
    let estimate = evaluation.get(crate::metric::Reading::Normalised, &metric).cloned();
    let estimate = estimate.ok_or_else(|| Error::input(format!("{}: {metric} is undefined", run.dir.display())))?;
    let (corpus, synthetic) = (task.corpus.name.clone(), task.corpus.synthetic);
    Ok((asked, Measured { run: run.folder(), metric, estimate, corpus, synthetic }))
}

impl Diagnoser for Findings {
    fn task(&self) -> &str {
        "findings"
    }

    fn title(&self) -> &str {
        "Findings of a report"
    }

    fn example(&self) -> Finding {
        let first = self.task.corpus.test.first().filter(|_| self.task.corpus.synthetic);
        // of a corpus that is not synthetic nothing is shown
        let text = first
            .map_or("Several stones in the gallbladder. A simple cyst of the left kidney. No free fluid.", |c| {
                &c.input
            });
        Finding { text: text.into(), ..Finding::default() }
    }

    fn most_tokens(&self, finding: &Finding, served: &Served) -> Result<usize> {
        // read for the single answer, and for the others
        let prompt = self.encode(finding, served)?.ids.len();
        let list = match self.config.samples {
            0 => {
                let tokens = |label: &String| Ok(served.tokenizer.encode(label, false)?.len() + 1);
                AnyTask::closed_list(&self.task).iter().map(tokens).sum::<Result<usize>>()?
            }
            samples => samples * self.config.max_new,
        };
        Ok(2 * prompt + self.config.max_new + list)
    }

    fn diagnose(&self, finding: &Finding, oracle: &Oracle, tell: &mut dyn FnMut(Told)) -> Result<Diagnosis> {
        let served = &oracle.served;
        let Encoded { ids, cut, .. } = self.encode(finding, served)?;
        let single = self.single(finding, &ids, oracle, tell)?;
        let raw = served.tokenizer.decode(&single.tokens, true)?;
        let (shares, more) = match self.config.samples {
            0 => self.ranked(finding, &ids, oracle)?,
            _ => self.sampled(finding, &ids, oracle, tell)?,
        };
        let labels = self.named(finding, shares);
        let entry = &served.entries[finding.model];
        let asked = self.asked(entry);
        let fitted = self.calibration.as_ref().filter(|fitted| fitted.asked.same(&asked));
        let most = labels.first().map_or(0.0, |first| first.probability);
        let confidence = fitted.map_or(most, |fitted| fitted.platt.probability(single.logprob()));
        let threshold = self.config.abstain_below.or(fitted.map(|_| 0.5));
        Ok(Diagnosis {
            task: <dyn AnyTask>::id(&self.task),
            model: entry.base.clone(),
            adapter: entry.adapter.clone(),
            measured: self.measured.as_ref().filter(|(of, _)| of.same(&asked)).map(|(_, measured)| measured.clone()),
            prompt: asked.prompt,
            corpus: AnyTask::corpus_digest(&self.task),
            labels,
            probabilities: self.probabilities(),
            warnings: self.warnings(cut, &raw, finding, single.ended()),
            raw: Some(raw),
            confidence: Some(confidence),
            confidence_is: confidence_is(fitted),
            threshold,
            abstained: threshold.is_some_and(|threshold| confidence < threshold),
            prompt_tokens: ids.len(),
            new_tokens: single.logprobs.len() + more,
        })
    }
}

fn confidence_is(fitted: Option<&Fitted>) -> String {
    match fitted {
        Some(fitted) => format!(
            "probability that the model's single answer is right as a whole, by Platt scaling of its log-probability, fitted on {} cases",
            fitted.cases
        ),
        None => "probability of the first label, not calibrated".into(),
    }
}

impl Findings {
    fn probabilities(&self) -> String {
        match self.config.samples {
            0 => "softmax of log-likelihood over the closed list of training labels".into(),
            n => format!("share of {n} answers drawn at temperature {} that name the label", self.config.temperature),
        }
    }

    fn warnings(&self, cut: usize, raw: &str, finding: &Finding, ended: bool) -> Vec<String> {
        let case = Case { case_id: String::new(), group: String::new(), input: finding.text.clone() };
        let told = [
            (cut > 0, format!("the last {cut} characters of the text did not fit and were not read")),
            (!ended, "the model's single answer was cut at the limit on new tokens".to_string()),
            (
                !Task::parse(&self.task, raw, &case).parsed,
                "no label could be read from the model's single answer".into(),
            ),
        ];
        told.into_iter().filter(|(said, _)| *said).map(|(_, what)| what).collect()
    }
}

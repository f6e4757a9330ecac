//! Tasks whose answers are sets of labels: diagnoses from findings, and the diseases that an abstract names (BC5CDR, NCBI).
use super::separated::Separated;
use super::{Cell, Column, Combined, Parsed, Task, TrainingText, TrainingTexts};
use crate::augment::Augmentation;
use crate::corpus::findings::cell::{NOTHING, json_list};
use crate::corpus::split::{Part, Split, validation_split};
use crate::corpus::{Case, Corpus, Finding, Labels};
use crate::ensemble::vote;
use crate::error::{Error, Result};
use crate::label::{Normaliser, parse_known};
use crate::metric::{Metric, Reading, ScoreTable};
use crate::prompt::{Exemplar, OpenEmbedder, PromptContext, USUAL_NONE};
use crate::run::{Prediction, label_set, outcomes};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Once;

/// Metrics of label sets, the main one first; the rate of labels unknown to training comes after them where training is known.
pub const LABEL_METRICS: [Metric; 18] = Metric::PLAIN;

/// A corpus whose answers are sets of labels.
#[derive(Clone, Debug)]
pub struct LabelTask {
    name: String,
    pub corpus: Corpus,
    context: PromptContext,
    /// Makes labels alike before they are compared; knows the training labels.
    pub names: Normaliser,
    /// Labels of training as written; none where predictions are scored without a corpus.
    vocabulary: Option<Vec<String>>,
    separated: Separated,
    /// Which part of the training cases the test cases are, where they are one.
    pub part: Option<Part>,
    /// Answers for nothing as [`Normaliser`] names them, where cases without a label are in the corpus: then they are no labels.
    nothing: Vec<String>,
}

impl LabelTask {
    /// By the name that configs and the command line use; see [`super::open`].
    pub fn open(corpus: &str) -> Result<Self> {
        match corpus {
            "findings" => Self::of(corpus, Corpus::from_env()?).inspect(|task| task.warn(&Corpus::path_from_env())),
            "findings-sealed" => Self::of("findings", Corpus::sealed()?),
            "bc5cdr" | "ncbi" => mentions(corpus),
            path => Self::of("findings", Corpus::open(Path::new(path))?).inspect(|task| task.warn(Path::new(path))),
        }
    }

    /// Says so, once, where labels of the user's file can be matched by no answer, and how many of its cases say that they have no label;
    /// `dxlab data check` says which.
    fn warn(&self, path: &Path) {
        static TOLD: Once = Once::new();
        let cases = || self.corpus.train.iter().chain(&self.corpus.test);
        let labels: BTreeSet<&String> = cases().flat_map(|c| &c.gold).collect();
        let lost: Vec<&&String> = labels.iter().filter(|label| super::check::lost(self, label)).collect();
        let (bare, all, path) = (cases().filter(|case| case.gold.is_empty()).count(), cases().count(), path.display());
        let mut told = Vec::new();
        if let Some(first) = lost.first() {
            told.push(format!(
                "{} of {} labels can be matched by no answer and count as missed, `{first}` first",
                lost.len(),
                labels.len()
            ));
        }
        if bare > 0 {
            let words = NOTHING.map(|word| format!("`{word}`")).join(", ");
            told.push(format!("{bare} of {all} cases are read as having no label, as their cells say so ({words})"));
        }
        if !told.is_empty() {
            let told = told.join("; ");
            TOLD.call_once(|| crate::process::tell(&format!("{path}: {told}: `dxlab data check {path}` says where")));
        }
    }

    /// Findings that are at hand.
    pub fn findings(corpus: Corpus) -> Result<Self> {
        Self::of("findings", corpus)
    }

    fn of(name: &str, corpus: Corpus) -> Result<Self> {
        let names = Normaliser::new(corpus.vocabulary().keys())?;
        let vocabulary: Vec<String> = corpus.vocabulary().into_keys().collect();
        let (separated, context) = (Separated::of(&vocabulary), context_of(&corpus));
        let nothing = corpus.train.iter().chain(&corpus.test).any(|case| case.gold.is_empty());
        // the words of the prompt, and the usual ones unless they are a label here
        let usual = Some(USUAL_NONE.to_string()).filter(|usual| !vocabulary.iter().any(|label| plain(label) == *usual));
        let answers = usual.iter().chain([&context.none]).filter(|_| nothing);
        let nothing = answers.map(|answer| names.normalise(answer)).collect();
        let vocabulary = Some(vocabulary);
        Ok(Self { name: name.into(), context, corpus, names, vocabulary, separated, part: None, nothing })
    }

    /// For predictions whose corpus is not at hand: labels are named alike without those of training, and none counts as unknown.
    pub fn without_corpus() -> Result<Self> {
        let corpus = Corpus { name: "unknown".into(), synthetic: false, train: vec![], test: vec![] };
        Ok(Self { vocabulary: None, ..Self::of("findings", corpus)? })
    }

    /// The same task with other training and test cases; words of prompts stay.
    pub fn with_corpus(&self, corpus: Corpus) -> Result<Self> {
        let mut task = Self::of(&self.name, corpus)?;
        task.context.document.clone_from(&self.context.document);
        task.context.target.clone_from(&self.context.target);
        task.speak_of_nothing(self.context.none.clone());
        task.nothing.clone_from(&self.nothing);
        Ok(task)
    }

    /// Makes `none` the answer where there is nothing to name, in prompts and in examples.
    fn speak_of_nothing(&mut self, none: String) {
        let before = std::mem::replace(&mut self.context.none, none);
        if before != self.context.none {
            self.context.examples = self.exemplars(&self.corpus.train);
        }
    }

    /// A share of the training cases (by group) in the place of the test cases, the rest as training cases: where prompts and settings are
    /// chosen. Fails where there are none.
    pub fn validation(&self, share: f64, seed: u64) -> Result<Self> {
        if !(share > 0.0 && share < 1.0) {
            return Err(Error::input(format!("validation is {share}, expected a share above 0 and less than 1")));
        }
        let (train, test) = validation_split(&self.corpus.train, share, seed);
        let name = &self.corpus.name;
        if test.is_empty() || train.is_empty() {
            return Err(Error::input(format!(
                "{name}: a share of {share} of its {} training cases leaves none to ask about, or none to learn from",
                self.corpus.train.len()
            )));
        }
        let name = format!("{name}, validation part");
        let task = self.with_corpus(Corpus { name, synthetic: self.corpus.synthetic, train, test })?;
        Ok(Self { part: Some(Part { validation: share, seed }), ..task })
    }

    /// Words, vocabulary and examples for prompts.
    pub fn context(&self) -> &PromptContext {
        &self.context
    }

    /// Cases with the answers that a model is to write.
    pub fn exemplars(&self, cases: &[Finding]) -> Vec<Exemplar> {
        cases.iter().map(|case| exemplar(case, &self.context.none, &self.separated)).collect()
    }

    /// Training labels as written; none without a corpus.
    pub fn vocabulary(&self) -> Option<&[String]> {
        self.vocabulary.as_deref()
    }

    /// The comparable name of a label.
    pub fn normalise(&self, label: &str) -> String {
        self.names.normalise(label)
    }

    fn texts(&self, cases: &[Finding]) -> Vec<TrainingText> {
        let text = |case: &Finding| TrainingText { case: case.case.clone(), answer: self.target(&case.gold) };
        cases.iter().map(text).collect()
    }

    /// What was right and wrong.
    pub fn outcomes(&self, predictions: &[Prediction], reading: Reading) -> Vec<crate::metric::Outcome> {
        let normalise = |label: &str| self.names.normalise(label);
        outcomes(predictions, (reading == Reading::Normalised).then_some(&normalise))
    }
}

/// Abstracts and the diseases that they name.
fn mentions(name: &str) -> Result<LabelTask> {
    let data = crate::corpus::open_data(name, if name == "ncbi" { "ncbi-disease" } else { name })?;
    let open = if name == "ncbi" { Corpus::ncbi } else { Corpus::bc5cdr };
    let mut task = LabelTask::of(name, open(&data)?)?;
    task.context.document = "abstract".into();
    task.context.target = "diseases that it names".into();
    // the scores that are kept (data/results) are of prompts with these words
    task.speak_of_nothing(USUAL_NONE.into());
    Ok(task)
}

/// Labels that say of a case that nothing was found; see [`word_for_nothing`].
const NORMAL: [&str; 14] = [
    USUAL_NONE,
    "no abnormality",
    "no acute finding",
    "no acute findings",
    "no acute disease",
    "no finding",
    "no findings",
    "no significant abnormality",
    "no significant finding",
    "no significant findings",
    "normal",
    "normal examination",
    "normal study",
    "unremarkable",
];

/// A label without case, blanks at its ends and a final full stop.
fn plain(label: &str) -> String {
    label.trim().trim_end_matches('.').to_lowercase()
}

/// What prompts ask for where there is nothing to name: the label that the corpus has for it, the most frequent of [`NORMAL`] in training. Where
/// cases have no label at all (test cases too: one word cannot be a label and no label), or no label says so, it is `none`.
fn word_for_nothing(corpus: &Corpus) -> String {
    let bare = corpus.train.iter().chain(&corpus.test).any(|case| case.gold.is_empty());
    let mut spellings: BTreeMap<String, Vec<(usize, String)>> = BTreeMap::new();
    for (label, count) in corpus.vocabulary().into_iter().filter(|_| !bare) {
        spellings.entry(plain(&label)).or_default().push((count, label));
    }
    spellings.retain(|name, _| NORMAL.contains(&name.as_str()));
    // of equally frequent ones the first in the alphabet
    let cases = |all: &[(usize, String)]| all.iter().map(|(count, _)| *count).sum::<usize>();
    let most = spellings.into_values().reduce(|most, other| if cases(&other) > cases(&most) { other } else { most });
    let spelt = most.and_then(|all| all.into_iter().reduce(|most, other| if other.0 > most.0 { other } else { most }));
    spelt.map_or("none".into(), |(_, label)| label)
}

/// Vocabulary and examples of a corpus's training cases, in the words of radiology reports.
pub fn context_of(corpus: &Corpus) -> PromptContext {
    let labels: BTreeSet<&String> = corpus.train.iter().flat_map(|case| &case.gold).collect();
    let (vocabulary, none) = (labels.into_iter().cloned().collect(), word_for_nothing(corpus));
    let mut context = PromptContext { vocabulary, none, ..PromptContext::default() };
    let separated = Separated::of(&context.vocabulary);
    let examples = corpus.train.iter().map(|case| exemplar(case, &context.none, &separated)).collect();
    let json = serde_json::to_string(&corpus.train).unwrap_or_default(); // strings always have a JSON form
    context.examples = examples;
    context.embedder = OpenEmbedder(Some(crate::model::encoder::minilm));
    context.pool = crate::io::hex(&Sha256::digest(json));
    context
}

fn exemplar(case: &Finding, none: &str, separated: &Separated) -> Exemplar {
    Exemplar { case: case.case.clone(), answer: written(&case.gold, none, separated), shows: case.gold.clone() }
}

/// Labels as written, joined by `, `; a JSON list where that would be read as other labels, and the list is not; without any, `none`.
fn written<S: AsRef<str>>(labels: &[S], none: &str, separated: &Separated) -> String {
    let labels: Vec<&str> = labels.iter().map(|l| l.as_ref().trim()).filter(|l| !l.is_empty()).collect();
    if labels.is_empty() {
        return none.to_string();
    }
    let read_back = |text: &str| separated.read(text, crate::label::parse).labels == labels;
    let (plain, list) = (labels.join(", "), json_list(&labels));
    if !read_back(&plain) && read_back(&list) { list } else { plain }
}

impl Task for LabelTask {
    type Gold = Labels;
    type Answer = Labels;

    fn name(&self) -> &str {
        &self.name
    }

    /// 2: JSON of every shape, tables, tags, states, codes; prose is no list; labels known to training are never taken apart.
    /// 3: several boxes, check boxes, what is struck out or opposed, normal organs, headings in other languages, entities as objects,
    /// empty objects, denials of any disease; nothing of what does not show.
    /// 4: numbers in circles, letters and Roman ones, tuples, parts of a map, JSON in JSON, columns without a rule, channels, arrows and
    /// signs of equality, entries that repeat their heading; more names for nothing at all.
    /// 5: sentences that lead to a list, sections of what is not there and of other things, lines of evidence, more phrases for nothing and
    /// for not knowing, tags in brackets.
    fn version(&self) -> u32 {
        5
    }

    fn corpus(&self) -> &Corpus {
        &self.corpus
    }

    fn context(&self) -> &PromptContext {
        &self.context
    }

    fn target(&self, gold: &Labels) -> String {
        written(gold, &self.context.none, &self.separated)
    }

    fn parse(&self, raw: &str, _case: &Case) -> Parsed<Labels> {
        let read = self.separated.read(raw, |text| parse_known(text, |label| !self.names.outside_vocabulary(label)));
        let mut answer = read.labels;
        if !self.nothing.is_empty() {
            answer.retain(|label| !self.nothing.contains(&self.names.normalise(label)));
        }
        Parsed { answer, parsed: read.parsed }
    }

    fn combine(&self, samples: &[Parsed<Labels>], threshold: f64) -> Combined<Labels> {
        // names that mean the same share their votes, under the spelling that came first
        let mut spelt = BTreeMap::<String, String>::new();
        let mut named = |label: &String| spelt.entry(self.names.normalise(label)).or_insert(label.clone()).clone();
        let shares = vote(&samples.iter().map(|one| one.answer.iter().map(&mut named).collect()).collect::<Vec<_>>());
        let won = shares.iter().filter(|(_, share)| *share >= threshold);
        let answer: Labels = won.map(|(label, _)| label.clone()).collect();
        let (raw, parsed) = (self.target(&answer), samples.iter().any(|one| one.parsed));
        Combined { answer, raw, parsed, shares: shares.into_iter().collect() }
    }

    /// Distinct training labels, with the answer for none if training has it. Those with a comma cannot be told from two and are left
    /// out.
    fn closed_list(&self) -> Vec<String> {
        let mut labels = self.corpus.vocabulary();
        if self.corpus.train.iter().any(|case| case.gold.is_empty()) {
            labels.insert(self.context.none.clone(), 0);
        }
        let all = labels.len();
        let labels: Vec<String> = labels.into_keys().filter(|label| !label.contains(',')).collect();
        if labels.len() < all {
            let lost = all - labels.len();
            crate::process::tell(&format!(
                "… {lost} of {all} training labels hold a comma and are not in the closed list"
            ));
        }
        labels
    }

    fn nested(&self, outer: f64, seed: u64) -> Result<Self> {
        let (train, test) = validation_split(&self.corpus.train, outer, seed);
        let name = format!("{}, training cases alone", self.corpus.name);
        self.with_corpus(Corpus { name, train, test, ..self.corpus.clone() })
    }

    fn readings(&self) -> &'static [Reading] {
        &[Reading::Normalised, Reading::Raw]
    }

    fn score(&self, sets: &[&[Prediction]], reading: Reading) -> Vec<ScoreTable> {
        let outcomes: Vec<_> = sets.iter().map(|set| self.outcomes(set, reading)).collect();
        let normalise = |label: &str| self.names.normalise(label);
        let normalise: Option<&dyn Fn(&str) -> String> = (reading == Reading::Normalised).then_some(&normalise);
        let known = self.vocabulary().map(|labels| Metric::Hallucinated(label_set(labels, normalise)));
        let metrics: Vec<Metric> = LABEL_METRICS.into_iter().chain(known).collect();
        Metric::tables(&metrics, &outcomes.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }

    /// Labels with at least one gold case (what `macro_f1_gold` is the mean over), labels gold or predicted (`macro_f1_union`, and L of the
    /// Hamming loss), and labels that count as known for the hallucinated-label rate.
    fn counts(&self, predictions: &[Prediction], reading: Reading) -> BTreeMap<String, Option<usize>> {
        let outcomes = self.outcomes(predictions, reading);
        let normalise = |label: &str| self.names.normalise(label);
        let normalise: Option<&dyn Fn(&str) -> String> = (reading == Reading::Normalised).then_some(&normalise);
        let known = self.vocabulary().map(|labels| label_set(labels, normalise).len());
        let distinct = |labels: Vec<&String>| Some(labels.into_iter().collect::<BTreeSet<_>>().len());
        let gold = distinct(outcomes.iter().flat_map(|case| &case.gold).collect());
        let union = distinct(outcomes.iter().flat_map(|case| case.gold.union(&case.predicted)).collect());
        [("gold_labels", gold), ("union_labels", union), ("vocabulary", known)]
            .map(|(key, count)| (key.to_string(), count))
            .into()
    }

    fn training(&self, split: &Split, augmentation: &Augmentation, epochs: usize) -> Result<TrainingTexts> {
        let (train, valid) = Task::split(self, split)?;
        let shown = augmentation.apply(train, epochs, split.seed)?;
        Ok(TrainingTexts { train: self.texts(&shown.cases), times: shown.times, valid: self.texts(&valid) })
    }

    fn input_title(&self) -> &'static str {
        if self.name == "findings" { "finding" } else { "abstract" }
    }

    fn columns(&self) -> Vec<Column> {
        let text = |title, width| Column { title, width };
        vec![
            text("labels", 32.0),
            text("right", 28.0),
            text("missed", 28.0),
            text("invented", 28.0),
            text("exact", 8.0),
        ]
    }

    fn cells(&self, prediction: &Prediction) -> Vec<Cell> {
        let outcome = prediction.outcome(Some(&|label: &str| self.names.normalise(label)));
        let listed = |labels: Vec<&str>| Cell::Text(labels.join(", "));
        vec![
            Cell::Text(prediction.answer.join(", ")),
            listed(outcome.true_positives().collect()),
            listed(outcome.false_negatives().collect()),
            listed(outcome.false_positives().collect()),
            Cell::Number(Some(f64::from(outcome.exact()))),
        ]
    }

    fn gold_text(&self, gold: &Labels) -> String {
        gold.join(", ")
    }

    fn as_labels(&self) -> Option<&LabelTask> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::Prompt;

    #[test]
    fn the_embedded_findings_keep_their_digest() {
        assert!(Corpus::embedded().unwrap().digest().starts_with("5c7d392d8d4b"), "runs are named by it");
    }

    /// Runs are named by these digests; what prompts learn to do must not move them.
    #[test]
    fn digests_of_prompts_are_what_they_were() {
        let context = context_of(&Corpus::embedded().unwrap());
        let id = |name: &str| Prompt::named(name, &context).unwrap().id();
        assert_eq!(id("plain"), "plain@fc51ab14ebb3");
        assert_eq!(id("closed"), "closed@2c23edf80010");
        assert_eq!(id("examples"), "examples@d9587d838771");
    }

    #[test]
    fn what_is_taught_is_read_back() {
        let task = LabelTask::findings(Corpus::embedded().unwrap()).unwrap();
        for case in task.corpus.train.iter().chain(&task.corpus.test) {
            let read = task.parse(&task.target(&case.gold), &case.case);
            let none = case.gold == [task.context.none.clone()];
            assert!(read.parsed && (read.answer == case.gold || none), "{}: {:?}", case.case_id, read.answer);
        }
    }

    #[test]
    fn a_right_answer_is_rewarded_more_than_half_of_it() {
        let task = LabelTask::findings(Corpus::embedded().unwrap()).unwrap();
        let two = task.corpus.test.iter().find(|case| case.gold.len() == 2).unwrap();
        let reward = |raw: &str| task.reward(two, raw);
        assert_eq!((reward(&two.gold.join(", ")), reward("nothing like it at all, whatever")), (1.0, 0.0));
        assert!((reward(&two.gold[0]) - 2.0 / 3.0).abs() < 1e-12);
    }
}

//! Rare diseases: the signs of a patient → diseases in order of likelihood, one on each line.
//!
//! Patients are those of phenopacket-store where `DXLAB_DATA` has it, split by publication; else synthetic ones drawn from the annotations
//! of HPO. Answers are names; each is grounded to a disease, and what cannot be grounded counts as wrong.
mod patients;

use super::{Cell, Column, Combined, Parsed, Task};
use crate::corpus::{Case, Corpus, Example};
use crate::error::{Error, Result};
use crate::metric::{RankedCase, Reading, ScoreTable, ranking_tables};
use crate::phenotype::grounding::{Grounding, Way};
use crate::phenotype::open_data::OpenData;
use crate::phenotype::{AtHand, Library, Patient};
use crate::prompt::{Exemplar, OpenEmbedder, PromptContext};
use crate::run::Prediction;
pub use patients::{Divided, TEST_PATIENTS, divide};
use patients::{differentials, further, narrative, signs_text};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Diseases on a list.
const LINES: usize = 10;
/// Letters of a line that can be a name.
const LONGEST: usize = 160;

/// A gold answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DiseaseName {
    /// `OMIM:154700`.
    pub id: String,
    pub name: String,
}

pub type Gold = Vec<DiseaseName>;
/// Names as written, the likeliest first.
pub type RankedNames = Vec<String>;

/// What is told of a patient, and who is trained on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `rare-disease`: the names of the observed signs.
    Signs,
    /// `rare-disease-balanced`: the same, with synthetic patients of diseases that have few in training.
    Balanced,
    /// `rare-disease-narrative`: age, sex, observed and excluded signs in sentences; the same patients.
    Narrative,
}

impl Form {
    pub const ALL: [Form; 3] = [Self::Signs, Self::Balanced, Self::Narrative];

    /// Of the corpus.
    pub fn name(self) -> &'static str {
        match self {
            Self::Signs => "rare-disease",
            Self::Balanced => "rare-disease-balanced",
            Self::Narrative => "rare-disease-narrative",
        }
    }

    fn remark(self) -> &'static str {
        match self {
            Self::Signs => "",
            Self::Balanced => ", rebalanced",
            Self::Narrative => ", as narratives",
        }
    }
}

/// See the file's header.
pub struct RareDisease {
    corpus: Corpus<Gold>,
    context: PromptContext,
    pub library: Library,
    /// The same without the rows that cite a paper of any patient: what further patients are drawn from, where there are any.
    elsewhere: Option<Library>,
    grounding: Grounding,
    form: Form,
    /// Lists that training teaches, by patient.
    taught: BTreeMap<String, String>,
}

impl RareDisease {
    /// By name; see [`Form`]. Patients are the published ones of `DXLAB_DATA`, else synthetic ones. Fails where the knowledge (`make tools`)
    /// is not installed.
    pub fn open(name: &str) -> Result<Self> {
        let AtHand { mut library, open, synthetic, .. } = AtHand::open()?;
        let patients = std::mem::take(&mut library.patients);
        let form = Form::ALL.into_iter().find(|form| form.name() == name);
        let form = form.ok_or_else(|| {
            Error::input(format!("no corpus `{name}`: there are {}", Form::ALL.map(Form::name).join(", ")))
        })?;
        Self::of(library, &open, patients, synthetic, form)
    }

    /// Whether a corpus of that name is of this task.
    pub fn knows(name: &str) -> bool {
        Form::ALL.iter().any(|form| form.name() == name)
    }

    /// Of patients that are at hand; their diseases are candidates of the library.
    pub fn of(library: Library, open: &OpenData, patients: Vec<Patient>, synthetic: bool, form: Form) -> Result<Self> {
        let divided = divide(&patients);
        if divided.train.is_empty() || divided.test.is_empty() {
            return Err(Error::input(format!(
                "{} patients with signs and a disease leave none to train on, or none to ask about: the same disease must occur in \
                 several publications",
                patients.len()
            )));
        }
        let test: Vec<Patient> = divided.test.into_iter().cloned().collect();
        // a patient with the very signs of a test patient, or of another training patient, would be a copy of its text
        let mut texts: BTreeSet<String> = test.iter().map(|one| signs_text(&library, one)).collect();
        let first = |one: &&Patient| texts.insert(signs_text(&library, one));
        let train: Vec<Patient> = divided.train.into_iter().filter(first).cloned().collect();
        let kind = if synthetic { "synthetic" } else { "published" };
        let name = format!("{kind} patients with a rare disease{}", form.remark());
        let grounding = Grounding::of(&library, &open.synonyms);
        let papers: BTreeSet<&str> = patients.iter().map(|one| one.group.as_str()).collect();
        let elsewhere = (form == Form::Balanced).then(|| library.without_sources(&papers));
        let corpus = Corpus { name, synthetic, train: vec![], test: vec![] };
        Self { corpus, context: PromptContext::default(), library, elsewhere, grounding, form, taught: BTreeMap::new() }
            .with_patients(train, &test)
    }

    /// The same task with these patients to learn from and to ask about.
    fn with_patients(mut self, mut train: Vec<Patient>, test: &[Patient]) -> Result<Self> {
        self.library.patients = train.clone();
        if self.form == Form::Balanced {
            train.extend(further(self.elsewhere.as_ref().unwrap_or(&self.library), &train)?);
        }
        let text = if self.form == Form::Narrative { narrative } else { signs_text };
        let example = |one: &Patient| {
            let gold = one.diseases.iter().map(|&at| named(&self.library, at)).collect();
            Example::new(&one.id, &one.group, text(&self.library, one), gold)
        };
        (self.corpus.train, self.corpus.test) =
            (train.iter().map(example).collect(), test.iter().map(example).collect());
        self.taught = differentials(&self.library, &train);
        self.context = context(&self.corpus, &self.taught);
        Ok(self)
    }

    /// The places of an answer's lines in the library; none for a line that names no disease.
    pub fn ground(&self, answer: &RankedNames) -> Vec<Vec<usize>> {
        answer.iter().map(|name| self.grounding.ground(name).0).collect()
    }

    /// The places of a name's diseases in the library, and how they were found.
    pub fn grounded(&self, name: &str) -> (Vec<usize>, Way) {
        self.grounding.ground(name)
    }

    /// The name that a line begins with: all of it where it is a name ("Glaucoma - sleep apnea"), else what stands before a dash or colon.
    fn line_name<'a>(&self, line: &'a str) -> &'a str {
        if self.is_name(line) { without_marks(line) } else { before_remark(without_marks(line)) }
    }

    fn is_name(&self, line: &str) -> bool {
        let (found, way) = self.grounding.ground(without_marks(line));
        !found.is_empty() && way == Way::Exact
    }

    /// Where the gold answers stand in a list of names.
    pub fn ranked_case(&self, prediction: &Prediction<RankedNames, Gold>) -> RankedCase {
        let grounded = self.ground(&prediction.answer);
        let place = |gold: &DiseaseName| {
            let at = self.library.candidate(&gold.id)?;
            grounded.iter().position(|line| line.contains(&at)).map(|i| i + 1)
        };
        RankedCase {
            case_id: prediction.case_id.clone(),
            group: prediction.group.clone(),
            gold: prediction.gold.iter().map(|gold| (gold.id.clone(), place(gold))).collect(),
            listed: grounded.len().min(LINES),
            unknown: grounded.iter().take(LINES).filter(|line| line.is_empty()).count(),
            parsed: prediction.parsed,
        }
    }
}

fn named(library: &Library, at: usize) -> DiseaseName {
    let candidate = &library.candidates[at];
    DiseaseName { id: candidate.id.clone(), name: candidate.name.clone() }
}

fn context(corpus: &Corpus<Gold>, differentials: &BTreeMap<String, String>) -> PromptContext {
    let names: BTreeSet<&String> = corpus.train.iter().flat_map(|case| &case.gold).map(|gold| &gold.name).collect();
    let exemplar = |case: &Example<Gold>| Exemplar {
        case: case.case.clone(),
        answer: differentials.get(&case.case_id).cloned().unwrap_or_else(|| lines(&case.gold)),
        shows: case.gold.iter().map(|gold| gold.name.clone()).collect(),
    };
    PromptContext {
        vocabulary: names.into_iter().cloned().collect(),
        examples: corpus.train.iter().map(exemplar).collect(),
        pool: corpus.digest(),
        document: "list of a patient's signs".into(),
        target: "rare diseases that explain them".into(),
        none: "no diagnosis".into(),
        thinking: None,
        embedder: OpenEmbedder(Some(crate::model::encoder::minilm)),
    }
}

fn lines(gold: &Gold) -> String {
    gold.iter().map(|one| one.name.as_str()).collect::<Vec<_>>().join("\n")
}

const MARKS: [char; 8] = ['*', '_', '"', '`', ' ', '.', ';', ','];

/// A line without its number, bullet and marks of emphasis.
fn without_marks(line: &str) -> &str {
    let line = line.trim().trim_start_matches(['-', '*', '•', '·', '+']).trim_start();
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    let rest = &line[digits..];
    let line =
        if digits > 0 && digits <= 2 && rest.starts_with(['.', ')', ':']) { rest[1..].trim_start() } else { line };
    line.trim_matches(MARKS)
}

/// What stands before the first dash between spaces or the first colon with a space behind: a remark may follow it.
fn before_remark(line: &str) -> &str {
    let remarks = [" - ", " – ", " — ", ": "].iter().filter_map(|mark| line.split_once(mark));
    remarks.map(|(name, _)| name).min_by_key(|name| name.len()).unwrap_or(line).trim_matches(MARKS)
}

impl Task for RareDisease {
    type Gold = Gold;
    type Answer = RankedNames;

    fn name(&self) -> &str {
        "rare-disease"
    }

    /// 2: a name that holds a dash is one name; a list in one line is read under a heading, too; a remark may stand behind a colon.
    fn version(&self) -> u32 {
        2
    }

    fn corpus(&self) -> &Corpus<Gold> {
        &self.corpus
    }

    fn context(&self) -> &PromptContext {
        &self.context
    }

    fn target(&self, gold: &Gold) -> String {
        lines(gold)
    }

    /// One name on each line. A line that ends in a colon is a heading. Of a single line that is no name the parts between semicolons, else
    /// commas, are names. What a model explains behind a dash or a colon is no part of a name; a longer line than [`LONGEST`] is prose.
    fn parse(&self, raw: &str, _case: &Case) -> Parsed<RankedNames> {
        let raw = raw.rsplit_once("</think>").map_or(raw, |(_, after)| after);
        let all = raw.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("```"));
        let all: Vec<&str> = all.filter(|line| !line.ends_with(':')).collect();
        let parts: Vec<&str> = match all.as_slice() {
            [line] if self.is_name(line) => all,
            [line] if line.contains(';') => line.split(';').collect(),
            [line] if line.contains(',') => line.split(',').collect(),
            _ => all,
        };
        let named = parts.into_iter().map(|line| self.line_name(line)).filter(|name| name.chars().count() <= LONGEST);
        let answer: RankedNames =
            named.filter(|name| name.chars().any(char::is_alphabetic)).map(String::from).collect();
        Parsed { parsed: !answer.is_empty(), answer }
    }

    /// By the mean of 1/rank over the samples. A disease counts where at least `threshold` of the samples list it; names of one disease are
    /// one, written as in the first sample that lists it.
    fn combine(&self, samples: &[Parsed<RankedNames>], threshold: f64) -> Combined<RankedNames> {
        let n = samples.len().max(1) as f64;
        let mut found: BTreeMap<String, (f64, f64, String)> = BTreeMap::new();
        for sample in samples {
            let mut seen = BTreeSet::new();
            for (i, name) in sample.answer.iter().enumerate() {
                let grounded = self.grounding.ground(name).0;
                let key =
                    grounded.first().map_or_else(|| name.to_lowercase(), |&at| self.library.candidates[at].id.clone());
                if seen.insert(key.clone()) {
                    let (value, share, _) = found.entry(key).or_insert((0.0, 0.0, name.clone()));
                    *value += 1.0 / (i + 1) as f64 / n;
                    *share += 1.0 / n;
                }
            }
        }
        let shares = found.values().map(|(_, share, name)| (name.clone(), *share)).collect();
        let mut won: Vec<(f64, f64, String)> = found.into_values().filter(|one| one.1 >= threshold).collect();
        won.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.2.cmp(&b.2)));
        let answer: RankedNames = won.into_iter().map(|one| one.2).collect();
        Combined { raw: answer.join("\n"), answer, parsed: samples.iter().any(|one| one.parsed), shares }
    }

    fn closed_list(&self) -> Vec<String> {
        self.context.vocabulary.clone()
    }

    fn score(&self, sets: &[&[Prediction<RankedNames, Gold>]], _reading: Reading) -> Vec<ScoreTable> {
        let cases: Vec<Vec<RankedCase>> =
            sets.iter().map(|set| set.iter().map(|one| self.ranked_case(one)).collect()).collect();
        ranking_tables(&cases, self.library.candidates.len())
    }

    /// Each text is answered by its disease and the diseases of the most similar training patients: a list of ten, as it is asked for.
    fn training(
        &self,
        split: &crate::corpus::split::Split,
        augmentation: &crate::augment::Augmentation,
        epochs: usize,
    ) -> Result<super::TrainingTexts> {
        if !augmentation.is_plain() {
            return Err(Error::input(
                "task `rare-disease` has no augmentation of its own: take the corpus `rare-disease-balanced` and remove [augmentation]",
            ));
        }
        let (train, valid) = Task::split(self, split)?;
        let text = |one: &Example<Gold>| super::TrainingText { case: one.case.clone(), answer: self.taught(one) };
        let train: Vec<super::TrainingText> = train.iter().map(text).collect();
        let times = vec![vec![1; train.len()]; epochs];
        Ok(super::TrainingTexts { train, times, valid: valid.iter().map(text).collect() })
    }

    fn taught(&self, example: &Example<Gold>) -> String {
        self.taught.get(&example.case_id).cloned().unwrap_or_else(|| lines(&example.gold))
    }

    fn nested(&self, outer: f64, seed: u64) -> Result<Self> {
        let (_, outer) = crate::corpus::split::validation_split(&self.corpus.train, outer, seed);
        let groups: BTreeSet<&str> = outer.iter().map(|case| case.group.as_str()).collect();
        let of_outer = |one: &Patient| groups.contains(one.group.as_str());
        let (test, train): (Vec<Patient>, Vec<Patient>) = self.library.patients.iter().cloned().partition(of_outer);
        let name = format!("{}, training patients alone", self.corpus.name);
        let corpus = Corpus { name, synthetic: self.corpus.synthetic, train: vec![], test: vec![] };
        let (context, library) = (PromptContext::default(), self.library.clone());
        let (grounding, taught, elsewhere) = (self.grounding.clone(), BTreeMap::new(), self.elsewhere.clone());
        let mut nested = Self { corpus, context, library, elsewhere, grounding, form: self.form, taught }
            .with_patients(train, &test)?;
        nested.taught.extend(differentials(&nested.library, &test));
        Ok(nested)
    }

    fn input_title(&self) -> &'static str {
        "signs"
    }

    fn columns(&self) -> Vec<Column> {
        let mut columns = vec![Column { title: "rank", width: 8.0 }];
        const TITLES: [&str; LINES] = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"];
        columns.extend(TITLES.map(|title| Column { title, width: 26.0 }));
        columns
    }

    fn cells(&self, prediction: &Prediction<RankedNames, Gold>) -> Vec<Cell> {
        let rank = self.ranked_case(prediction).best();
        let line = |i: usize| Cell::Text(prediction.answer.get(i).cloned().unwrap_or_default());
        std::iter::once(Cell::Number(rank.map(|rank| rank as f64))).chain((0..LINES).map(line)).collect()
    }

    fn gold_text(&self, gold: &Gold) -> String {
        gold.iter().map(|one| format!("{} ({})", one.name, one.id)).collect::<Vec<_>>().join("; ")
    }
}

#[cfg(test)]
mod tests;

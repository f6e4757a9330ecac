//! The committed corpus (`dxlab data make findings`), fresh cases of the same kind, and training text.
use super::report::{self, Truth};
use super::{dice::Dice, plan, plan::Planned, words::Words};
use crate::corpus::near::NearDuplicates;
use crate::corpus::{Corpus, Finding, findings};
use crate::error::{Error, Result};
use crate::io;
use std::path::Path;

/// Two reports with a larger share of common five-word runs count as copies of each other.
pub const TOO_ALIKE: f64 = 0.5;
/// The seed of the corpus in `data/findings`.
pub const SEED: u64 = 7;

/// Chance is split by use, so that the reports of one use never shift those of another.
const PLANS: u64 = 1 << 40;
const FRESH: u64 = 1 << 41;

/// The synthetic corpus of a seed and why each case carries its labels (training cases first).
pub fn make(seed: u64) -> Result<(Corpus, Vec<Truth>)> {
    let words = Words::load()?;
    let mut dice = Dice::new(seed, PLANS);
    let plans = [("train", plan::train(&words, &mut dice)?), ("test", plan::test(&words, &mut dice)?)];
    let mut seen = NearDuplicates::new(TOO_ALIKE);
    let (mut splits, mut truths) = ([Vec::new(), Vec::new()], Vec::new());
    let mut stream = 0;
    for (split, (name, planned)) in plans.iter().enumerate() {
        for (i, labels) in planned.iter().enumerate() {
            let case_id = format!("syn-{name}-{:04}", i + 1);
            let (case, truth) = unlike(&words, labels, case_id, &mut seen, || {
                stream += 1;
                Dice::new(seed, stream)
            })?;
            splits[split].push(case);
            truths.push(truth);
        }
    }
    let [train, test] = splits;
    Ok((Corpus { name: format!("synthetic abdominal CT findings, seed {seed}"), synthetic: true, train, test }, truths))
}

/// The seed of the sealed test split.
pub const SEALED_SEED: u64 = 2026;

/// A second test split that no choice has seen: the labels of the test split in other words ([`Words::sealed`]), from another seed. No
/// report is nearly one of the embedded corpus.
pub fn sealed(seed: u64) -> Result<(Vec<Finding>, Vec<Truth>)> {
    let words = Words::sealed()?;
    let (embedded, _) = make(SEED)?;
    let mut seen = NearDuplicates::new(TOO_ALIKE);
    embedded.train.iter().chain(&embedded.test).for_each(|case| seen.insert(&case.input));
    let planned = plan::test(&words, &mut Dice::new(seed, PLANS))?;
    let mut stream = 0;
    let one = |(i, labels): (usize, &Vec<Planned>)| {
        unlike(&words, labels, format!("syn-sealed-{:04}", i + 1), &mut seen, || {
            stream += 1;
            Dice::new(seed, stream)
        })
    };
    Ok(planned.iter().enumerate().map(one).collect::<Result<Vec<_>>>()?.into_iter().unzip())
}

/// A case unlike all before it; the next stream of chance is tried until one is.
fn unlike(
    words: &Words,
    labels: &[Planned],
    case_id: String,
    seen: &mut NearDuplicates,
    mut dice: impl FnMut() -> Dice,
) -> Result<(Finding, Truth)> {
    for _ in 0..200 {
        let mut report = report::write(words, labels, &mut dice())?;
        if seen.insert_unless_alike(&report.text) {
            report.truth.case_id.clone_from(&case_id);
            let labels = report.truth.causes.iter().map(|c| c.label.clone()).collect();
            return Ok((Finding::new(&case_id, &case_id, report.text, labels), report.truth));
        }
    }
    Err(Error::failed(format!("case {case_id}: 200 tries gave no report unlike the others; enlarge the vocabulary")))
}

/// `n` synthetic cases drawn as those of the training split are, for pretraining and learning curves. None equals or
/// nearly equals a test case of the embedded corpus; the same seed gives the same cases, the first `m` for every `n ≥ m`.
pub fn fresh_cases(seed: u64, n: usize) -> Result<Vec<Finding>> {
    let words = Words::load()?;
    let (embedded, _) = make(SEED)?;
    let mut test = NearDuplicates::new(TOO_ALIKE);
    embedded.test.iter().for_each(|case| test.insert(&case.input));
    let mut cases = Vec::with_capacity(n);
    let mut stream = FRESH;
    while cases.len() < n {
        stream += 1;
        let mut dice = Dice::new(seed, stream);
        let planned = plan::fresh(&words, &mut dice);
        let report = report::write(&words, &planned, &mut dice)?;
        if test.alike(&report.text) {
            continue;
        }
        let case_id = format!("syn-fresh-{seed}-{:06}", cases.len() + 1);
        let labels = report.truth.causes.iter().map(|c| c.label.clone()).collect();
        cases.push(Finding::new(&case_id, &case_id, report.text, labels));
    }
    Ok(cases)
}

/// The texts of [`fresh_cases`].
pub fn training_text(seed: u64, n: usize) -> Result<Vec<String>> {
    Ok(fresh_cases(seed, n)?.into_iter().map(|case| case.case.input).collect())
}

/// Writes `train.jsonl`, `test.jsonl`, `truth.jsonl` and a README, the data card; returns the corpus.
pub fn write(seed: u64, folder: &Path) -> Result<Corpus> {
    let (corpus, truths) = make(seed)?;
    std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    findings::write_jsonl(&folder.join("train.jsonl"), &corpus.train)?;
    findings::write_jsonl(&folder.join("test.jsonl"), &corpus.test)?;
    io::write(&folder.join("truth.jsonl"), lines(&truths)?.as_bytes())?;
    io::write(&folder.join("README.md"), readme(seed, &corpus).as_bytes())?;
    Ok(corpus)
}

/// Writes `test.jsonl` and `truth.jsonl` of the sealed split and a README.
pub fn write_sealed(seed: u64, folder: &Path) -> Result<usize> {
    if folder.is_file() {
        return Err(Error::input(format!("{}: this is a file, expected a folder to write to", folder.display())));
    }
    let (cases, truths) = sealed(seed)?;
    std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    findings::write_jsonl(&folder.join("test.jsonl"), &cases)?;
    io::write(&folder.join("truth.jsonl"), lines(&truths)?.as_bytes())?;
    let card = include_str!("sealed_card.md");
    let card = card.replace("{seed}", &seed.to_string()).replace("{test}", &cases.len().to_string());
    io::write(&folder.join("README.md"), card.as_bytes())?;
    Ok(cases.len())
}

fn lines(truths: &[Truth]) -> Result<String> {
    let json = |truth: &Truth| serde_json::to_string(truth).map_err(|e| Error::failed(format!("truth: {e}")));
    Ok(truths.iter().map(json).collect::<Result<Vec<_>>>()?.join("\n") + "\n")
}

/// The data card.
fn readme(seed: u64, corpus: &Corpus) -> String {
    let facts = [
        ("{seed}", seed.to_string()),
        ("{train}", corpus.train.len().to_string()),
        ("{test}", corpus.test.len().to_string()),
        ("{digest}", corpus.digest()),
    ];
    facts.iter().fold(include_str!("card.md").to_string(), |card, (mark, fact)| card.replace(mark, fact))
}

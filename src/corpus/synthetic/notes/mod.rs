//! Synthetic discharge summaries with clinical decisions, in the form and roughly with the statistics of MedDec's notes; everything in them
//! is invented. `words.toml` says what can be said, with the decisions tagged in place, so the spans are right by construction.
//!
//! A note draws lines section by section in proportion to their weights until it is long enough, writes the sections in the usual order and
//! wraps lines at 76 characters. Training and validation notes use other lines than test notes, which also name drugs and problems of their own.
//!
//! What differs from the real notes: they are short by default, the rare categories (2, 4, 8) are less rare, since no score of theirs could be
//! measured otherwise, and the language is a grammar's.
mod words;

use super::dice::Dice;
use super::grammar::{Slots, phrase};
use crate::corpus::decisions::lines::{Line, write_lines};
use crate::corpus::decisions::read::gold_json;
use crate::corpus::decisions::tags::{Literal, scan};
use crate::corpus::decisions::{Category, Span, Statistics};
use crate::corpus::near::NearDuplicates;
use crate::corpus::{Corpus, Example};
use crate::error::{Error, Result};
use crate::io;
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::Path;
use words::{Section, Style, Words};

/// A synthetic note.
type Note = Example<Vec<Span>>;

/// Two notes with a larger share of common five-word runs count as copies of each other.
const TOO_ALIKE: f64 = 0.5;
/// Width of a line of prose.
const WIDTH: usize = 76;
/// A patient has a further note of the same split this often.
const AGAIN: f64 = 0.15;

/// How many notes of each part, and how long each is in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub train: usize,
    pub validation: usize,
    pub test: usize,
    pub shortest: usize,
    pub longest: usize,
}

impl Default for Size {
    /// As in `data/decisions`: short enough for a model with 8,192 tokens, note and answer together.
    fn default() -> Self {
        Self { train: 160, validation: 24, test: 40, shortest: 600, longest: 1500 }
    }
}

/// How the notes are written to a folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// `train.jsonl`, `validation.jsonl`, `test.jsonl`.
    #[default]
    Lines,
    /// `gold/PART/NAME.json`, `text/NAME.txt`.
    MedDec,
}

/// A patient, in MIMIC's words.
#[derive(Clone, Debug, Serialize)]
struct Patient {
    #[serde(rename = "SUBJECT_ID")]
    subject: usize,
    #[serde(rename = "HADM_ID")]
    admission: usize,
    #[serde(rename = "ROW_ID")]
    row: usize,
    #[serde(rename = "GENDER")]
    gender: &'static str,
    #[serde(rename = "ETHNICITY")]
    ethnicity: &'static str,
    #[serde(rename = "LANGUAGE")]
    language: &'static str,
}

impl Patient {
    fn name(&self) -> String {
        format!("{}_{}_{}", self.subject, self.admission, self.row)
    }
}

/// Shares of a hundred patients; each part of the corpus has at least one of each kind where it has notes enough.
const GENDERS: [(&str, usize); 2] = [("F", 46), ("M", 54)];
const ETHNICITIES: [(&str, usize); 5] = [
    ("WHITE", 68),
    ("BLACK/AFRICAN AMERICAN", 11),
    ("HISPANIC OR LATINO", 8),
    ("ASIAN", 6),
    ("UNKNOWN/NOT SPECIFIED", 7),
];
const LANGUAGES: [(&str, usize); 3] = [("ENGL", 86), ("SPAN", 9), ("RUSS", 5)];

/// The synthetic notes of a seed.
#[derive(Clone, Debug)]
pub struct Notes {
    pub train: Vec<Note>,
    pub validation: Vec<Note>,
    pub test: Vec<Note>,
    patients: Vec<Patient>,
}

/// Notes of a part, and characters of a note, at most.
const MOST: usize = 1_000_000;

/// Notes by seed and size; the same seed and size give the same notes.
pub fn make(seed: u64, size: &Size) -> Result<Notes> {
    if [size.train, size.validation, size.test, size.longest].iter().any(|&n| n > MOST) {
        return Err(Error::input(format!("more than {MOST} notes of a part, or characters of a note")));
    }
    if size.shortest < 300 || size.longest < size.shortest + 200 {
        return Err(Error::input(format!(
            "notes of {} to {} characters: expected at least 300, and 200 between the shortest and the longest",
            size.shortest, size.longest
        )));
    }
    let words = Words::load()?;
    let mut maker = Maker { seed, size, words, seen: NearDuplicates::new(TOO_ALIKE), stream: 0, patients: Vec::new() };
    let train = maker.part(size.train, false)?;
    let validation = maker.part(size.validation, false)?;
    let test = maker.part(size.test, true)?;
    Ok(Notes { train, validation, test, patients: maker.patients })
}

struct Maker<'a> {
    seed: u64,
    size: &'a Size,
    words: Words,
    seen: NearDuplicates,
    stream: u64,
    patients: Vec<Patient>,
}

impl Maker<'_> {
    fn part(&mut self, count: usize, test: bool) -> Result<Vec<Note>> {
        let mut dice = self.dice();
        let genders = quotas(&GENDERS, count, &mut dice);
        let ethnicities = quotas(&ETHNICITIES, count, &mut dice);
        let languages = quotas(&LANGUAGES, count, &mut dice);
        let mut notes = Vec::with_capacity(count);
        for i in 0..count {
            let row = self.patients.len();
            let fresh = Patient {
                subject: 20_000 + 7 * row,
                admission: 150_000 + 13 * row,
                row: 1000 + row,
                gender: genders[i],
                ethnicity: ethnicities[i],
                language: languages[i],
            };
            let before = if i > 0 && dice.chance(AGAIN) { self.patients.last() } else { None };
            let patient = match before {
                Some(same) => Patient { admission: fresh.admission, row: fresh.row, ..same.clone() },
                None => fresh,
            };
            notes.push(self.note(&patient, test)?);
            self.patients.push(patient);
        }
        Ok(notes)
    }

    /// A note unlike all before it, of the right length; the next stream of chance is tried until there is one.
    fn note(&mut self, patient: &Patient, test: bool) -> Result<Note> {
        for _ in 0..500 {
            let mut dice = self.dice();
            let (text, spans) = written(&self.words, patient, test, self.size, &mut dice)?;
            let chars = text.chars().count();
            if (self.size.shortest..=self.size.longest).contains(&chars) && self.seen.insert_unless_alike(&text) {
                return Ok(Note::new(patient.name(), patient.subject.to_string(), text, spans));
            }
        }
        let name = patient.name();
        Err(Error::failed(format!("note {name}: 500 tries gave no note of the right length that is unlike the others")))
    }

    fn dice(&mut self) -> Dice {
        self.stream += 1;
        Dice::new(self.seed, self.stream)
    }
}

/// `count` draws in the given shares, at least one of each where there is room, in random order.
fn quotas(shares: &[(&'static str, usize)], count: usize, dice: &mut Dice) -> Vec<&'static str> {
    let mut all: Vec<&'static str> =
        shares.iter().flat_map(|(name, share)| std::iter::repeat_n(*name, (share * count / 100).max(1))).collect();
    let rest = count.saturating_sub(all.len());
    all.extend(std::iter::repeat_n(shares.iter().max_by_key(|(_, share)| *share).map_or("", |(name, _)| *name), rest));
    dice.shuffle(&mut all);
    all.truncate(count);
    all
}

/// Text and spans of one note.
fn written(words: &Words, patient: &Patient, test: bool, size: &Size, dice: &mut Dice) -> Result<(String, Vec<Span>)> {
    let mut tagged = heading(patient, dice);
    let wanted = size.shortest + 50 + dice.below(size.longest - size.shortest - 100);
    let (mut lines, mut seen) = (vec![Vec::new(); words.sections.len()], BTreeSet::new());
    let weights: Vec<f64> = words.sections.iter().map(|section| section.weight).collect();
    let mut chars = tagged.chars().count();
    let mut idle = 0;
    while chars < wanted && idle < 200 {
        let Some(at) = dice.weighted(&weights) else { break };
        let section = &words.sections[at];
        let full = section.style == Style::Line && !lines[at].is_empty();
        let line = dice.pick(section.lines(test)).cloned().unwrap_or_default();
        let line = phrase(&line, words.macros(test), slots(patient, dice), dice)?;
        if full || !seen.insert(line.clone()) {
            idle += 1;
            continue;
        }
        let heading = if lines[at].is_empty() { section.heading.chars().count() + 3 } else { 0 };
        chars += heading + 2 + scan(&line, &Literal::default()).plain.len();
        lines[at].push(line);
    }
    for (section, lines) in words.sections.iter().zip(&lines).filter(|(_, lines)| !lines.is_empty()) {
        tagged.push_str(&block(section, lines));
    }
    let scanned = scan(&tagged, &Literal::default());
    let mut spans = scanned.spans;
    spans.sort();
    Ok((wrapped(scanned.plain).into_iter().collect(), spans))
}

/// Dates, birth, sex and service: no decisions.
fn heading(patient: &Patient, dice: &mut Dice) -> String {
    let service = dice.pick(&["MEDICINE", "SURGERY", "CARDIOTHORACIC", "NEUROLOGY"]).copied().unwrap_or("MEDICINE");
    let (from, to, born) = (date(dice), date(dice), date(dice));
    let mut text = format!(
        "Admission Date:  {from}       Discharge Date:  {to}\n\nDate of Birth:  {born}       Sex:  {}\n\nService: {service}\n",
        patient.gender
    );
    if patient.language != "ENGL" {
        let language = if patient.language == "SPAN" { "Spanish" } else { "Russian" };
        text.push_str(&format!("Language: {language} speaking, interpreter used\n"));
    }
    text
}

/// A date as MIMIC hides it.
fn date(dice: &mut Dice) -> String {
    format!("[**{}-{}-{}**]", 2110 + dice.below(80), 1 + dice.below(12), 1 + dice.below(28))
}

fn slots(patient: &Patient, dice: &mut Dice) -> Slots {
    let (he, his) = if patient.gender == "F" { ("she", "her") } else { ("he", "his") };
    let mut slots = Slots::default();
    let given = [
        ("date", date(dice)),
        ("name", format!("[**Last Name (STitle) {}**]", 100 + dice.below(9000))),
        ("hospital", format!("[**Hospital {}**]", 1 + dice.below(90))),
        ("age", (35 + dice.below(55)).to_string()),
        ("he", he.to_string()),
        ("his", his.to_string()),
        ("He", super::grammar::capital(he)),
        ("His", super::grammar::capital(his)),
    ];
    slots.given.extend(given);
    slots
}

/// A section with its heading.
fn block(section: &Section, lines: &[String]) -> String {
    let numbered = |(i, line): (usize, &String)| format!("{}. {line}", i + 1);
    let body = match section.style {
        Style::Line | Style::Lines => lines.join("\n"),
        Style::Prose => lines.join(" "),
        Style::Numbered => lines.iter().enumerate().map(numbered).collect::<Vec<_>>().join("\n"),
    };
    format!("\n{}\n{body}\n", section.heading)
}

/// Long lines are broken at a space, which becomes the end of a line: every other character keeps its place.
fn wrapped(mut text: Vec<char>) -> Vec<char> {
    let (mut from, mut space) = (0, None);
    for at in 0..text.len() {
        match text[at] {
            '\n' => (from, space) = (at + 1, None),
            ' ' => space = Some(at),
            _ => {}
        }
        if at + 1 - from > WIDTH
            && let Some(place) = space.take()
        {
            text[place] = '\n';
            from = place + 1;
        }
    }
    text
}

/// Writes the notes, `stats.csv` and a README, the data card.
pub fn write(seed: u64, size: &Size, layout: Layout, folder: &Path) -> Result<Notes> {
    if folder.is_file() {
        return Err(Error::input(format!("{}: this is a file, expected a folder to write to", folder.display())));
    }
    let notes = make(seed, size)?;
    if layout == Layout::MedDec {
        refuse_others(&notes, folder)?;
    }
    for (part, all) in [("train", &notes.train), ("validation", &notes.validation), ("test", &notes.test)] {
        match layout {
            Layout::Lines => {
                let lines: Vec<Line> = all.iter().map(Line::of).collect();
                write_lines(&folder.join(format!("{part}.jsonl")), &lines)?;
            }
            Layout::MedDec => {
                for note in all {
                    let name = &note.case_id;
                    let gold = gold_json(name, &note.input, &note.gold);
                    io::write_json(&folder.join("gold").join(part).join(format!("{name}.json")), &gold)?;
                    io::write(&folder.join("text").join(format!("{name}.txt")), note.input.as_bytes())?;
                }
            }
        }
    }
    let mut table = csv::Writer::from_writer(Vec::new());
    let failed = |e: &dyn std::fmt::Display| Error::failed(format!("stats.csv: {e}"));
    notes.patients.iter().try_for_each(|patient| table.serialize(patient)).map_err(|e| failed(&e))?;
    io::write(&folder.join("stats.csv"), &table.into_inner().map_err(|e| failed(&e))?)?;
    io::write(&folder.join("README.md"), card(seed, size, layout, &notes).as_bytes())?;
    Ok(notes)
}

/// Refuses a folder that holds notes which would stay there beside these: counts and gold spans would be of two corpora.
fn refuse_others(notes: &Notes, folder: &Path) -> Result<()> {
    let parts = [("train", &notes.train), ("validation", &notes.validation), ("test", &notes.test)];
    let gold = parts.map(|(part, all)| (folder.join("gold").join(part), all.iter().collect::<Vec<_>>()));
    let all = parts.iter().flat_map(|(_, all)| all.iter()).collect();
    for (place, own) in gold.into_iter().chain([(folder.join("text"), all)]) {
        let own: BTreeSet<&str> = own.iter().map(|note| note.case_id.as_str()).collect();
        for entry in std::fs::read_dir(&place).into_iter().flatten().flatten() {
            let path = entry.path();
            if !path.extension().is_some_and(|ending| ending == "txt" || ending == "json") {
                continue;
            }
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            if !own.contains(name.as_str()) {
                let (folder, path) = (folder.display(), path.display());
                return Err(Error::input(format!("{folder}: holds other notes already ({path}): give a new folder")));
            }
        }
    }
    Ok(())
}

/// The data card.
fn card(seed: u64, size: &Size, layout: Layout, notes: &Notes) -> String {
    let corpus = Corpus { name: String::new(), synthetic: true, train: notes.train.clone(), test: notes.test.clone() };
    let found = Statistics::of(&notes.train);
    let all = || notes.train.iter().chain(&notes.validation).chain(&notes.test);
    let mean = all().map(|note| note.input.chars().count()).sum::<usize>() as f64 / all().count().max(1) as f64;
    let [low, median, high] = found.quartiles().unwrap_or_default();
    let mut shares: Vec<(Category, f64)> = Category::ALL.map(|one| (one, 100.0 * found.share(one))).to_vec();
    shares.sort_by(|a, b| b.1.total_cmp(&a.1));
    let share = |(category, share): &(Category, f64)| format!("{}: {share:.1} %", category.number());
    let layout = if layout == Layout::MedDec { " --layout meddec" } else { "" };
    let facts = [
        ("{seed}", seed.to_string()),
        ("{layout}", layout.to_string()),
        ("{train}", size.train.to_string()),
        ("{validation}", size.validation.to_string()),
        ("{test}", size.test.to_string()),
        ("{shortest}", size.shortest.to_string()),
        ("{longest}", size.longest.to_string()),
        ("{digest}", corpus.digest()),
        ("{mean}", format!("{mean:.0}")),
        ("{spans}", found.spans.to_string()),
        ("{shares}", shares.iter().map(share).collect::<Vec<_>>().join(", ")),
        ("{low}", low.to_string()),
        ("{median}", median.to_string()),
        ("{high}", high.to_string()),
        ("{density}", format!("{:.1}", found.density())),
        ("{crossing}", found.crossing.to_string()),
        ("{alike}", found.crossing_alike.to_string()),
        ("{nested}", found.nested.to_string()),
    ];
    facts.iter().fold(include_str!("card.md").to_string(), |card, (mark, fact)| card.replace(mark, fact))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_the_same_notes_of_the_asked_length_and_others_another() {
        let size = Size { train: 6, validation: 2, test: 3, ..Size::default() };
        let notes = make(7, &size).unwrap();
        assert_eq!(notes.train, make(7, &size).unwrap().train);
        assert_ne!(notes.train, make(8, &size).unwrap().train);
        for note in notes.train.iter().chain(&notes.validation).chain(&notes.test) {
            let chars = note.input.chars().count();
            assert!((600..=1500).contains(&chars) && note.gold.iter().all(|span| span.fits(chars)));
            assert!(!note.input.contains(['<', '{', '|']), "{}", note.input);
        }
        let long = Size { train: 1, validation: 0, test: 1, shortest: 6000, longest: 8000 };
        assert!(make(7, &long).unwrap().train[0].input.chars().count() >= 6000);
        assert_eq!(make(7, &Size { shortest: 10, ..size }).err().map(|e| e.exit_code()), Some(2));
    }

    /// Shares and lengths of §3.1's validation predictions, roughly: problems lead, then drugs, then results and procedures; the median
    /// span has about 25 characters.
    #[test]
    fn shares_and_lengths_are_roughly_those_of_meddec() {
        let notes = make(7, &Size::default()).unwrap();
        let found = Statistics::of(&notes.train);
        let [low, median, high] = found.quartiles().unwrap();
        use Category::*;
        let wanted = [
            (DefineProblem, 33.0..44.0),
            (DrugDecision, 22.0..31.0),
            (EvaluateResult, 9.0..17.0),
            (TherapeuticProcedure, 7.0..15.0),
            (ContactRelated, 4.0..9.0),
            (AdviceAndPrecaution, 2.0..6.0),
            (GatherInfo, 0.5..3.0),
            (TreatmentGoal, 0.5..3.0),
            (DeferDecision, 0.2..2.0),
        ];
        for (category, range) in wanted {
            let share = 100.0 * found.share(category);
            assert!(range.contains(&share), "{category:?} {share}");
        }
        assert!((9..=17).contains(&low) && (18..=32).contains(&median) && (30..=60).contains(&high));
        assert!((11.0..20.0).contains(&found.density()), "spans in 1,000 characters");
    }

    #[test]
    fn test_notes_use_lines_that_no_training_note_has_and_spans_cross_now_and_then() {
        let words = Words::load().unwrap();
        for section in &words.sections {
            assert!(section.lines(false).iter().all(|line| !section.lines(true).contains(line)), "{}", section.heading);
        }
        let notes = make(7, &Size::default()).unwrap();
        let crossing =
            |note: &&Note| note.gold.iter().any(|a| note.gold.iter().any(|b| a.category == b.category && a.crosses(b)));
        assert!(notes.train.iter().filter(crossing).count() > 3);
        let groups = |notes: &[Note]| notes.iter().map(|note| note.group.clone()).collect::<BTreeSet<_>>();
        assert!(groups(&notes.train).is_disjoint(&groups(&notes.test)) && groups(&notes.train).len() < 160);
    }

    #[test]
    fn both_layouts_are_read_back_alike() {
        use crate::corpus::decisions::Decisions;
        let size = Size { train: 4, validation: 2, test: 3, ..Size::default() };
        let read = |layout: Layout| {
            let folder = tempfile::tempdir().unwrap();
            write(7, &size, layout, folder.path()).unwrap();
            assert!(Decisions::is_at(folder.path()));
            Decisions::open(folder.path()).unwrap()
        };
        let (lines, meddec) = (read(Layout::Lines), read(Layout::MedDec));
        assert!(lines.corpus.synthetic && lines.warnings.is_empty() && meddec.warnings.is_empty());
        assert_eq!(lines.corpus.train, meddec.corpus.train);
        assert_eq!(
            (lines.corpus.test, lines.validation, lines.strata),
            (meddec.corpus.test, meddec.validation, meddec.strata)
        );
    }

    #[test]
    fn the_committed_notes_are_those_of_seed_7() {
        let folder = tempfile::tempdir().unwrap();
        write(7, &Size::default(), Layout::Lines, folder.path()).unwrap();
        for name in ["train.jsonl", "validation.jsonl", "test.jsonl", "stats.csv", "README.md"] {
            let committed = std::fs::read_to_string(crate::home().join("data/decisions").join(name)).unwrap();
            assert!(std::fs::read_to_string(folder.path().join(name)).unwrap() == committed, "{name}: make it anew");
        }
    }
}

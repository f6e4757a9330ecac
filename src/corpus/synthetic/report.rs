//! One report: sentences that imply the planned labels, sentences in the same words that imply nothing, unremarkable
//! sentences up to a drawn length, in the order of the organs; and the truth about every sentence.
use super::dice::Dice;
use super::grammar::{self, Slots};
use super::plan::Planned;
use super::words::{Label, ORGANS, Words};
use crate::error::Result;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The sentence that caused a label. `start..end` count code points of the input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cause {
    /// As written in the corpus.
    pub label: String,
    /// The name before naming shift, as in the training split.
    pub concept: String,
    pub sentence: usize,
    pub start: usize,
    pub end: usize,
}

/// A sentence in the words of `concept` that does not imply it, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Distractor {
    pub concept: String,
    /// negated, contrast, list, denied, resolved, history, threshold, elsewhere, indication
    pub why: String,
    pub sentence: usize,
    pub start: usize,
    pub end: usize,
}

/// One line of `truth.jsonl`: why a synthetic case carries its labels and no others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    pub case_id: String,
    pub causes: Vec<Cause>,
    pub distractors: Vec<Distractor>,
}

/// A sentence and what it is there for.
struct Sentence {
    organ: usize,
    text: String,
    causes: Vec<usize>,
    mimics: Vec<(usize, String)>,
}

/// Text, planned labels in order of appearance, and the truth about them (case id still empty).
pub struct Report {
    pub text: String,
    pub planned: Vec<Planned>,
    pub truth: Truth,
}

/// Words aimed at (sentences overshoot a little) at the quantiles 0, .05, .25, .5, .75, .95, .99, 1; the real ones have a median of 122 to 129
/// and a 95th percentile of 211 to 218.
const LENGTHS: [(f64, f64); 8] =
    [(0.0, 48.0), (0.05, 70.0), (0.25, 96.0), (0.5, 120.0), (0.75, 148.0), (0.95, 200.0), (0.99, 255.0), (1.0, 320.0)];
/// Share of the words left beside the labels' own sentences that go to distractors.
const DISTRACTING: f64 = 0.62;
/// How often a phrase is asserted next to a denial of something else.
const CONTRAST: f64 = 0.35;

struct Writer<'a> {
    words: &'a Words,
    dice: &'a mut Dice,
    present: BTreeSet<usize>,
    sentences: Vec<Sentence>,
    quiet: BTreeSet<usize>,
    /// Labels already imitated in a sentence of their own.
    mimicked: BTreeSet<usize>,
}

/// Writes the report of a case. The same words, plan and dice give the same report.
pub fn write(words: &Words, planned: &[Planned], dice: &mut Dice) -> Result<Report> {
    let present = planned.iter().map(|p| p.label).collect();
    let (sentences, quiet, mimicked) = Default::default();
    let mut writer = Writer { words, dice, present, sentences, quiet, mimicked };
    let target = writer.length();
    writer.positives(planned)?;
    let opening = writer.opening()?;
    let spoken = count(&opening) + writer.spoken();
    let distracting = target.saturating_sub(spoken) as f64 * DISTRACTING;
    writer.distract(writer.spoken() + distracting as usize)?;
    writer.fill(target.saturating_sub(count(&opening)))?;
    Ok(writer.assemble(planned, opening))
}

fn count(sentences: &[Sentence]) -> usize {
    sentences.iter().map(|s| s.text.split(' ').count()).sum()
}

impl Writer<'_> {
    fn spoken(&self) -> usize {
        count(&self.sentences)
    }

    fn length(&mut self) -> usize {
        let q = self.dice.unit();
        let above = LENGTHS.iter().position(|&(at, _)| q < at).unwrap_or(LENGTHS.len() - 1);
        let ((q0, w0), (q1, w1)) = (LENGTHS[above - 1], LENGTHS[above]);
        (w0 + (w1 - w0) * (q - q0) / (q1 - q0)) as usize
    }

    fn say(&mut self, line: &str, slots: Slots) -> Result<String> {
        grammar::sentence(line, &self.words.macros, slots, self.dice)
    }

    fn push(&mut self, organ: &str, text: String, causes: Vec<usize>, mimics: Vec<(usize, String)>) {
        let organ = ORGANS.iter().position(|o| *o == organ).unwrap_or(0); // organs were checked when the words were read
        self.sentences.push(Sentence { organ, text, causes, mimics });
    }

    fn positives(&mut self, planned: &[Planned]) -> Result<()> {
        let mut open: Vec<&Planned> = planned.iter().collect();
        for joint in &self.words.joints {
            let both: Vec<usize> = joint.labels.iter().filter_map(|name| self.words.index(name)).collect();
            let plain = |l: &usize| open.iter().any(|p| p.label == *l && p.alias.is_none());
            if both.iter().all(plain) && self.dice.chance(0.4) {
                let line = self.dice.pick(&joint.say).cloned().unwrap_or_default();
                let text = self.say(&line, Slots::default())?;
                self.push(&self.words.labels[both[0]].organ, text, both.clone(), Vec::new());
                open.retain(|p| !both.contains(&p.label));
            }
        }
        open.iter().try_for_each(|p| self.positive(p))
    }

    fn positive(&mut self, planned: &Planned) -> Result<()> {
        let label = &self.words.labels[planned.label];
        let doubt = planned.alias.as_ref().map_or_else(|| self.dice.chance(0.12), |name| name.contains("(possible)"));
        let phrased = !label.phrases.is_empty() && (label.says.is_empty() || self.dice.chance(0.55));
        let (text, mimics) = if doubt && !label.hedged.is_empty() {
            (self.line(&label.hedged)?, Vec::new())
        } else if phrased {
            self.asserted(planned.label)?
        } else {
            (self.line(&label.says)?, Vec::new())
        };
        self.push(&label.organ, text, vec![planned.label], mimics);
        Ok(())
    }

    fn line(&mut self, from: &[String]) -> Result<String> {
        let line = self.dice.pick(from).cloned().unwrap_or_default();
        self.say(&line, Slots::default())
    }

    /// A phrase of `label` in a frame that asserts it, perhaps beside a denial of absent labels.
    fn asserted(&mut self, label: usize) -> Result<(String, Vec<(usize, String)>)> {
        let (words, contrast) = (self.words, self.dice.chance(CONTRAST));
        let frames = if contrast { &words.frames.contrast } else { &words.frames.positive };
        let frame = self.dice.pick(frames).cloned().unwrap_or_default();
        let mut slots = self.phrase(&words.labels[label])?;
        let denied = self.deny(&frame, &mut slots);
        Ok((self.say(&frame, slots)?, denied.into_iter().map(|l| (l, "contrast".into())).collect()))
    }

    /// `{p}`, `{P}` and `{b}` from one phrase of the label.
    fn phrase(&mut self, label: &Label) -> Result<Slots> {
        let line = self.dice.pick(&label.phrases).cloned().unwrap_or_default();
        let bare = grammar::phrase(&line, &self.words.macros, Slots::default(), self.dice)?;
        let full = format!("{} {bare}", grammar::article(&bare));
        let mut slots = Slots::default();
        slots.given.insert("P", grammar::capital(&full));
        slots.given.insert("p", full);
        slots.given.insert("b", bare);
        Ok(slots)
    }

    /// Fills `{n}`, `{m}`, `{o}` of a frame with nouns of absent labels; returns the labels.
    fn deny(&mut self, frame: &str, slots: &mut Slots) -> Vec<usize> {
        let mut weights: Vec<f64> = (0..self.words.labels.len())
            .map(|l| if self.words.labels[l].nouns.is_empty() { 0.0 } else { self.mimic_weight(l) })
            .collect();
        let mut denied = Vec::new();
        for (slot, mark) in [("n", "{n}"), ("m", "{m}"), ("o", "{o}")] {
            if !frame.contains(mark) {
                continue;
            }
            if let Some(label) = self.dice.weighted(&weights) {
                // one breath, mostly one organ
                let near =
                    |l: usize| if self.words.labels[l].organ == self.words.labels[label].organ { 1.0 } else { 0.2 };
                weights.iter_mut().enumerate().for_each(|(l, w)| *w *= near(l));
                weights[label] = 0.0;
                let noun = self.dice.pick(&self.words.labels[label].nouns).cloned().unwrap_or_default();
                slots.given.insert(slot, noun);
                denied.push(label);
            }
        }
        denied
    }

    /// Common labels are imitated often; present ones, and those whose denial would be untrue, never.
    fn mimic_weight(&self, label: usize) -> f64 {
        let this = &self.words.labels[label];
        let barred = self.present.iter().any(|&p| p == label || this.mimic_unless.contains(&self.words.labels[p].name));
        if barred { 0.0 } else { (this.train.max(this.test) as f64 + 4.0).sqrt() }
    }

    fn opening(&mut self) -> Result<Vec<Sentence>> {
        let (words, mut opening) = (self.words, Vec::new());
        let parts =
            [(&words.opening.indication, 0.6), (&words.opening.technique, 0.35), (&words.opening.comparison, 0.4)];
        for (lines, often) in parts {
            if !self.dice.chance(often) {
                continue;
            }
            let line = self.dice.pick(lines).cloned().unwrap_or_default();
            let mut slots = Slots::default();
            let mut mimics: Vec<(usize, String)> =
                self.deny(&line, &mut slots).into_iter().map(|l| (l, "indication".into())).collect();
            // now and then the question is about something that is there: being asked for is no evidence either way
            let named: Vec<usize> =
                self.present.iter().copied().filter(|&l| !words.labels[l].nouns.is_empty()).collect();
            if line.contains("rule out {n}") && !named.is_empty() && self.dice.chance(0.3) {
                let label = named[self.dice.below(named.len())];
                let noun = self.dice.pick(&words.labels[label].nouns).cloned().unwrap_or_default();
                slots.given.insert("n", noun);
                mimics.clear();
            }
            let text = self.say(&line, slots)?;
            opening.push(Sentence { organ: 0, text, causes: Vec::new(), mimics });
        }
        Ok(opening)
    }

    /// Adds distractors until the report has `until` words.
    fn distract(&mut self, until: usize) -> Result<()> {
        for _ in 0..60 {
            if self.spoken() >= until {
                break;
            }
            match self.dice.unit() {
                u if u < 0.22 => self.list()?,
                u if u < 0.27 => self.removed()?,
                _ => self.imitate()?,
            }
        }
        Ok(())
    }

    /// "No A, B or C."
    fn list(&mut self) -> Result<()> {
        let frame = self.dice.pick(&self.words.frames.list).cloned().unwrap_or_default();
        let mut slots = Slots::default();
        let denied = self.deny(&frame, &mut slots);
        let text = self.say(&frame, slots)?;
        let organ = denied.first().map_or("liver", |&l| &self.words.labels[l].organ);
        self.push(organ, text, Vec::new(), denied.into_iter().map(|l| (l, "list".into())).collect());
        Ok(())
    }

    /// A sentence about a removed organ.
    fn removed(&mut self) -> Result<()> {
        let words = self.words;
        let Some(mimic) = self.dice.pick(&words.mimics) else { return Ok(()) };
        let untrue = self.present.iter().any(|&p| mimic.unless.contains(&words.labels[p].name));
        let organ = ORGANS.iter().position(|o| mimic.quiet.as_deref() == Some(*o));
        let spoken_of = organ.is_some_and(|o| self.quiet.contains(&o) || self.sentences.iter().any(|s| s.organ == o));
        let of = words.index(&mimic.of).unwrap_or(0); // names were checked when the words were read
        if untrue || spoken_of || self.mimicked.contains(&of) {
            return Ok(());
        }
        self.quiet.extend(organ);
        self.mimicked.insert(of);
        let text = self.line(&mimic.say)?;
        self.push(&mimic.organ, text, Vec::new(), vec![(of, mimic.why.clone())]);
        Ok(())
    }

    /// A sentence in the words of an absent label that does not imply it.
    fn imitate(&mut self) -> Result<()> {
        let words = self.words;
        let weights: Vec<f64> = (0..words.labels.len())
            .map(|l| {
                let this = &words.labels[l];
                let organ = ORGANS.iter().position(|o| *o == this.organ).unwrap_or(0); // checked when read
                let silent = this.mimics.is_empty() && this.phrases.is_empty();
                let barred = silent || self.quiet.contains(&organ) || self.mimicked.contains(&l);
                if barred { 0.0 } else { self.mimic_weight(l) }
            })
            .collect();
        let Some(label) = self.dice.weighted(&weights) else { return Ok(()) };
        self.mimicked.insert(label);
        let this = &words.labels[label];
        let (text, why) = if this.mimics.is_empty() || (!this.phrases.is_empty() && self.dice.chance(0.4)) {
            let slots = self.phrase(this)?;
            let frame = self.dice.pick(&words.frames.denied).cloned().unwrap_or_default();
            (self.say(&frame, slots)?, "denied".to_string())
        } else {
            let kinds: Vec<(&String, &Vec<String>)> = this.mimics.iter().collect();
            let (why, lines) = kinds[self.dice.below(kinds.len())];
            (self.line(lines)?, why.clone())
        };
        self.push(&this.organ, text, Vec::new(), vec![(label, why)]);
        Ok(())
    }

    /// Adds unremarkable sentences until the report has `until` words or nothing is left to say.
    fn fill(&mut self, until: usize) -> Result<()> {
        let words = self.words;
        let mut order: Vec<usize> = (0..words.normals.len()).filter(|&n| self.true_normal(n)).collect();
        self.dice.shuffle(&mut order);
        for n in order {
            if self.spoken() >= until {
                break;
            }
            let normal = &words.normals[n];
            let text = self.line(&normal.say)?;
            self.push(&normal.organ, text, Vec::new(), Vec::new());
        }
        Ok(())
    }

    fn true_normal(&self, n: usize) -> bool {
        let normal = &self.words.normals[n];
        let clear = self.present.iter().map(|&l| &self.words.labels[l]).all(|label| {
            if normal.clear_of.is_empty() {
                label.organ != normal.organ
            } else {
                !normal.clear_of.contains(&label.name)
            }
        });
        clear && !self.quiet.iter().any(|&o| ORGANS[o] == normal.organ)
    }

    /// Orders the sentences, joins them and counts where each one lies.
    fn assemble(mut self, planned: &[Planned], opening: Vec<Sentence>) -> Report {
        self.dice.shuffle(&mut self.sentences);
        let headed = self.dice.chance(0.35);
        if headed || !self.dice.chance(0.12) {
            self.sentences.sort_by_key(|s| s.organ); // stable: the order within an organ stays shuffled
        } else {
            self.sentences.sort_by_key(|s| (s.causes.is_empty(), s.organ)); // the abnormal first
        }
        let (mut text, mut order) = (String::new(), Vec::new());
        let mut truth = Truth { case_id: String::new(), causes: Vec::new(), distractors: Vec::new() };
        let (opened, mut organ) = (opening.len(), None);
        for (index, sentence) in opening.into_iter().chain(std::mem::take(&mut self.sentences)).enumerate() {
            if !text.is_empty() {
                text.push(' ');
            }
            if headed && index >= opened && organ != Some(sentence.organ) {
                organ = Some(sentence.organ);
                text.push_str(&self.words.headings[ORGANS[sentence.organ]]);
                text.push_str(": ");
            }
            let start = text.chars().count();
            text.push_str(&sentence.text);
            let (end, concept) = (text.chars().count(), |l: usize| self.words.labels[l].name.clone());
            for p in sentence.causes.iter().filter_map(|&l| planned.iter().find(|p| p.label == l)) {
                let label = p.alias.clone().unwrap_or_else(|| concept(p.label));
                truth.causes.push(Cause { label, concept: concept(p.label), sentence: index, start, end });
                order.push(p.clone());
            }
            let mimics = sentence.mimics.into_iter();
            let distractor = |(l, why)| Distractor { concept: concept(l), why, sentence: index, start, end };
            truth.distractors.extend(mimics.map(distractor));
        }
        Report { text, planned: order, truth }
    }
}

//! Which sentence an error hangs on, by words alone. From the training cases every label learns which words and word pairs
//! stand in its texts more often than chance, z = (k − nd/N) / √(nd/N·(1 − n/N)(1 − d/N) + ¼) for k of the label's n cases, d
//! cases with the term, N cases. A sentence scores for a label
//!
//! Σ max(0, z − 2) / √(terms + 1) + 3 · (share of the label's own words that it holds).
//!
//! A missed label hangs on its best sentence. An invented label is mentioned where its own score is best, if that reaches 2 and no
//! other training label scores higher there; else no sentence mentions it. How often that is right is measured on the
//! synthetic corpus ([`crate::failure::agreement`]). The constants were set by hand on synthetic cases; values near them do as well.
use crate::corpus::Finding;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// z from which on a term counts.
const CHANCE: f64 = 2.0;
/// Weight of the label's own words.
const NAME: f64 = 3.0;
/// Score from which on a sentence mentions a label.
const MENTIONED: f64 = 2.0;
/// Terms of fewer training cases say nothing.
const RARE: usize = 3;

/// A sentence; offsets count code points of the text, as in `truth.jsonl`.
#[derive(Clone, Debug, PartialEq)]
pub struct Sentence {
    pub start: usize,
    pub end: usize,
    pub text: String,
}

/// The text in sentences: ends at `.`, `!`, `?` before white space and a capital or digit, and at a line's end.
pub fn sentences(text: &str) -> Vec<Sentence> {
    let chars: Vec<char> = text.chars().collect();
    let begins = |c: &char| c.is_uppercase() || c.is_numeric() || matches!(c, '"' | '(' | '-' | '*');
    let ends = |i: usize| {
        let stop = matches!(chars[i], '.' | '!' | '?') && chars.get(i + 1).is_some_and(|c| c.is_whitespace());
        let next = chars[i + 1..].iter().find(|c| !c.is_whitespace());
        chars[i] == '\n' || stop && next.is_none_or(begins)
    };
    let (mut all, mut from) = (Vec::new(), 0);
    for at in 0..=chars.len() {
        if at < chars.len() && !ends(at) {
            continue;
        }
        let to = (at + 1).min(chars.len());
        let start = from + chars[from..to].iter().take_while(|c| c.is_whitespace()).count();
        let end = to - chars[start..to].iter().rev().take_while(|c| c.is_whitespace()).count();
        if end > start {
            all.push(Sentence { start, end, text: chars[start..end].iter().collect() });
        }
        from = to;
    }
    all
}

/// What a sentence says of what it mentions, by its cue words; the first that fits in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cue {
    /// Question of the referral.
    Asked,
    /// Former, gone or treated.
    Past,
    Denied,
}

impl Cue {
    pub fn name(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Past => "past",
            Self::Denied => "denied",
        }
    }
}

const ASKED: [&str; 11] = [
    "referred for",
    "referral",
    "indication",
    "concern for",
    "clinical question",
    "rule out",
    "evaluate",
    "evaluation for",
    "query",
    "clinical suspicion",
    "suspicion of",
];
const PAST: [&str; 14] = [
    "history of",
    "status post",
    "prior",
    "previous",
    "previously",
    "formerly",
    "former",
    "earlier",
    "ago",
    "resolved",
    "no longer",
    "removed",
    "resection",
    "not confirmed",
];
const DENIED: [&str; 14] = [
    "no",
    "not",
    "without",
    "neither",
    "nor",
    "none",
    "never",
    "free of",
    "absent",
    "absence of",
    "negative for",
    "excluded",
    "ruled out",
    "rather than",
];

/// The cue of a sentence, if it has one.
pub fn cue(sentence: &str) -> Option<Cue> {
    let text = format!(" {} ", words(sentence).join(" "));
    let has = |cues: &[&str]| cues.iter().any(|cue| text.contains(&format!(" {cue} ")));
    if has(&ASKED) {
        Some(Cue::Asked)
    } else if has(&PAST) {
        Some(Cue::Past)
    } else {
        has(&DENIED).then_some(Cue::Denied)
    }
}

/// What a denial before its object begins with, and what one after it ends with.
const BEFORE: [&str; 10] =
    ["no", "without", "neither", "nor", "none", "never", "free of", "absence of", "negative for", "rather than"];
const AFTER: [&str; 5] = ["not", "absent", "excluded", "ruled out", "negative"];
/// Words for one organ each; a denial that speaks of other organs than a label does not deny the label.
const ORGANS: [&[&str]; 19] = [
    &["kidney", "kidneys", "renal"],
    &["liver", "hepatic"],
    &["gallbladder", "gallstone", "gallstones", "cholecystitis", "cholelithiasis"],
    &["pancreas", "pancreatic", "pancreatitis"],
    &["spleen", "splenic", "splenomegaly"],
    &["bowel", "intestinal", "intestine", "ileum", "jejunum"],
    &["colon", "colonic", "colorectal", "sigmoid", "rectal", "rectum"],
    &["stomach", "gastric"],
    &["lung", "lungs", "pulmonary"],
    &["pleura", "pleural"],
    &["bladder"],
    &["uterus", "uterine"],
    &["ovary", "ovaries", "ovarian"],
    &["prostate", "prostatic"],
    &["adrenal", "adrenals"],
    &["ureter", "ureters", "ureteral", "ureteric"],
    &["aorta", "aortic"],
    &["appendix", "appendiceal", "appendicitis"],
    &["bile", "biliary"],
];

/// The words of a sentence that its denials reach. A denial reaches from its word to the end of the clause ("no", "without"), up to the first
/// comma where no "or" joins what follows, or back to the clause's beginning ("is not seen", "absent"). Clauses end at semicolons, "but",
/// "although", "with", "which" and "while".
fn denied(sentence: &str) -> String {
    let marked = format!(" {} ", sentence.to_lowercase());
    let ends = [";", " but ", " although ", " with ", " which ", " while "];
    let clauses = ends.iter().fold(marked, |text, end| text.replace(end, " \n "));
    clauses.lines().map(reached).collect::<Vec<_>>().join(" \n ")
}

fn reached(clause: &str) -> String {
    let place = |cue: &&str| {
        let whole = |at: &usize| {
            let open = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
            open(clause[..*at].chars().next_back()) && open(clause[at + cue.len()..].chars().next())
        };
        clause.match_indices(*cue).map(|(at, _)| at).find(whole).map(|at| (at, cue.len()))
    };
    if let Some((at, length)) = BEFORE.iter().filter_map(place).min() {
        let rest = &clause[at + length..];
        let joined = rest.contains(" or ") || rest.contains(" nor ");
        return rest.split(if joined { '\n' } else { ',' }).next().unwrap_or_default().to_string();
    }
    match AFTER.iter().filter_map(place).min() {
        Some((at, _)) => clause[..at].to_string(),
        None => String::new(),
    }
}

fn is_organ(term: &str) -> bool {
    let small = |word: &str| ["of", "the", "in", "both", "left", "right", "and", "a"].contains(&word);
    // "gallstone" tells of an organ, and is a finding
    let finding = |word: &str| ["stone", "stones", "itis", "iasis", "megaly"].iter().any(|end| word.ends_with(end));
    let organ = |word: &str| !finding(word) && ORGANS.iter().any(|organ| organ.contains(&word));
    term.split(' ').all(|word| small(word) || organ(word))
}

fn organs(text: &str) -> BTreeSet<usize> {
    let words = words(text);
    let has = |organ: &&[&str]| words.iter().any(|word| organ.contains(&word.as_str()));
    (0..ORGANS.len()).filter(|at| has(&ORGANS[*at])).collect()
}

/// The sentence that a label error hangs on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Number of the sentence in the text, from 0, and its code points.
    pub sentence: usize,
    pub start: usize,
    pub end: usize,
    pub text: String,
    pub score: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cue: Option<Cue>,
}

/// What words the training texts of every label (after normalisation) have more often than others.
#[derive(Clone, Debug, Default)]
pub struct Lexicon {
    labels: Vec<String>,
    /// Their own words.
    own: Vec<Vec<Forms>>,
    /// Term → (label, z − 2), only where positive.
    weights: BTreeMap<String, Vec<(usize, f64)>>,
}

impl Lexicon {
    /// `normalise` names labels alike. Without cases a label's own words are all that is known.
    pub fn learn(train: &[Finding], normalise: &dyn Fn(&str) -> String) -> Self {
        let (mut with_label, mut with_term) = (BTreeMap::<String, usize>::new(), BTreeMap::<String, usize>::new());
        let mut both = BTreeMap::<(String, String), usize>::new();
        for case in train {
            let labels: BTreeSet<String> = case.gold.iter().map(|l| normalise(l)).filter(|l| !l.is_empty()).collect();
            let terms = terms(&case.input);
            for label in &labels {
                *with_label.entry(label.clone()).or_default() += 1;
                terms.iter().for_each(|term| *both.entry((term.clone(), label.clone())).or_default() += 1);
            }
            terms.into_iter().for_each(|term| *with_term.entry(term).or_default() += 1);
        }
        let labels: Vec<String> = with_label.keys().cloned().collect();
        let place: BTreeMap<&String, usize> = labels.iter().zip(0..).collect();
        let all = train.len() as f64;
        let mut weights = BTreeMap::<String, Vec<(usize, f64)>>::new();
        for ((term, label), k) in both {
            let (n, d) = (with_label[&label] as f64, with_term[&term] as f64);
            let expected = n * d / all;
            let z = (k as f64 - expected) / (expected * (1.0 - n / all) * (1.0 - d / all) + 0.25).sqrt();
            if d as usize >= RARE && z > CHANCE {
                weights.entry(term).or_default().push((place[&label], z - CHANCE));
            }
        }
        let own = labels.iter().map(|label| forms(label)).collect();
        Self { labels, own, weights }
    }

    /// Every sentence of a text with the score of every training label.
    pub fn read(&self, text: &str) -> Reading<'_> {
        let score = |sentence: &Sentence| {
            let terms = terms(&sentence.text);
            let mut scores = vec![0.0; self.labels.len()];
            for (label, weight) in terms.iter().filter_map(|term| self.weights.get(term)).flatten() {
                scores[*label] += weight;
            }
            let scale = (terms.len() as f64 + 1.0).sqrt();
            let named = |(score, own): (f64, &Vec<Forms>)| score / scale + NAME * share(own, &terms);
            scores.into_iter().zip(&self.own).map(named).collect()
        };
        let sentences = sentences(text);
        let scores = sentences.iter().map(score).collect();
        Reading { lexicon: self, sentences, scores }
    }
}

/// A text read with a lexicon.
pub struct Reading<'a> {
    lexicon: &'a Lexicon,
    pub sentences: Vec<Sentence>,
    /// `[sentence][label]`.
    scores: Vec<Vec<f64>>,
}

impl Reading<'_> {
    /// The best sentence for a label (normalised); none where no sentence has any of its words.
    pub fn best(&self, label: &str) -> Option<Evidence> {
        self.first_best(|sentence| self.score(sentence, label)).filter(|evidence| evidence.score > 0.0)
    }

    /// The sentence that mentions a label, whether it denies it or not.
    pub fn mention(&self, label: &str) -> Option<Evidence> {
        let own = |sentence: usize| {
            let score = self.score(sentence, label);
            let highest = self.scores[sentence].iter().fold(0.0, |most: f64, other| most.max(*other));
            if score >= highest { score } else { 0.0 }
        };
        self.first_best(own).filter(|evidence| evidence.score >= MENTIONED)
    }

    /// Whether the sentence of some evidence denies this label (normalised), and not only something: what it denies holds a word of the
    /// label that is no organ, or most of the weight by which the sentence mentions it; and if both name organs, they share one.
    pub fn denies(&self, evidence: &Evidence, label: &str) -> bool {
        let (ours, theirs) = (organs(label), organs(&evidence.text));
        if !ours.is_empty() && !theirs.is_empty() && ours.is_disjoint(&theirs) {
            return false;
        }
        let (denied, all) = (terms(&denied(&evidence.text)), terms(&evidence.text));
        let found = |terms: &BTreeSet<String>, forms: &Forms| forms.iter().any(|form| terms.contains(form));
        let own: Vec<Forms> =
            forms(label).into_iter().filter(|forms| !forms.iter().any(|form| is_organ(form))).collect();
        if own.iter().any(|forms| found(&all, forms)) {
            return own.iter().any(|forms| found(&denied, forms));
        }
        let place = self.lexicon.labels.binary_search_by(|known| known.as_str().cmp(label)).ok();
        let weight = |term: &String| {
            let weights = self.lexicon.weights.get(term).into_iter().flatten();
            weights.filter(|(of, _)| Some(*of) == place).map(|(_, weight)| weight).sum::<f64>()
        };
        let reached: f64 = denied.iter().filter(|term| !is_organ(term)).map(weight).sum();
        reached > 0.0 && reached > all.iter().map(weight).sum::<f64>() / 2.0
    }

    fn score(&self, sentence: usize, label: &str) -> f64 {
        match self.lexicon.labels.binary_search_by(|known| known.as_str().cmp(label)) {
            Ok(at) => self.scores[sentence][at],
            Err(_) => NAME * share(&forms(label), &terms(&self.sentences[sentence].text)),
        }
    }

    fn first_best(&self, score: impl Fn(usize) -> f64) -> Option<Evidence> {
        let scored = (0..self.sentences.len()).map(|i| (i, score(i)));
        let better = |best: Option<(usize, f64)>, next: (usize, f64)| match best {
            Some(best) if best.1 >= next.1 => Some(best),
            _ => Some(next),
        };
        let (at, score) = scored.fold(None, better)?;
        let Sentence { start, end, text } = self.sentences[at].clone();
        Some(Evidence { sentence: at, start, end, cue: cue(&text), text, score })
    }
}

/// A word as it is, without and with a plural `s`.
type Forms = [String; 3];

fn forms(label: &str) -> Vec<Forms> {
    let forms = |word: String| {
        let one = word.strip_suffix('s').unwrap_or(&word).to_string();
        [format!("{one}s"), one, word]
    };
    words(label).into_iter().map(forms).collect()
}

/// Share of a label's own words that are among the terms in one of their forms.
fn share(own: &[Forms], terms: &BTreeSet<String>) -> f64 {
    let found = own.iter().filter(|forms| forms.iter().any(|form| terms.contains(form)));
    found.count() as f64 / own.len().max(1) as f64
}

fn words(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let word = |word: &&str| word.chars().nth(1).is_some() && !word.starts_with(|c: char| c.is_numeric());
    lower.split(|c: char| !c.is_alphanumeric()).filter(word).map(String::from).collect()
}

/// Words without numbers, and neighbouring pairs of them.
fn terms(text: &str) -> BTreeSet<String> {
    let words = words(text);
    let pairs: Vec<String> = words.windows(2).map(|pair| pair.join(" ")).collect();
    words.into_iter().chain(pairs).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_end_where_a_reader_would_end_them_and_cover_the_text() {
        let text = "Œdema of 1.6 cm. No stone!  Is it new? (Possibly.)\nAorta, approx. normal.";
        let found: Vec<String> = sentences(text).into_iter().map(|s| s.text).collect();
        assert_eq!(found, ["Œdema of 1.6 cm.", "No stone!", "Is it new?", "(Possibly.)", "Aorta, approx. normal."]);
        let chars: Vec<char> = text.chars().collect();
        for sentence in sentences(text) {
            assert_eq!(chars[sentence.start..sentence.end].iter().collect::<String>(), sentence.text);
        }
        assert!(sentences(" \n ").is_empty());
    }

    #[test]
    fn cues_are_words_and_the_question_of_the_referral_comes_first() {
        let pairs = [
            ("Referred for pain with concern for stones, none before.", Some(Cue::Asked)),
            ("The cyst seen 9 months ago is not confirmed.", Some(Cue::Past)),
            ("Neither kidney shows a cyst.", Some(Cue::Denied)),
            ("A notable node in the left kidney.", None),
        ];
        for (text, wanted) in pairs {
            assert_eq!(cue(text), wanted, "{text}");
        }
    }

    #[test]
    fn a_denial_reaches_its_clause_and_its_list_and_no_further() {
        let pairs = [
            ("No stones, cysts or masses.", vec!["stones", "cysts", "or", "masses"]),
            ("No free fluid, a stone in the calyx.", vec!["free", "fluid"]),
            ("Gallstone without wall thickening.", vec!["wall", "thickening"]),
            ("A cyst is not seen.", vec!["cyst", "is"]),
            ("There is no mass but a cyst.", vec!["mass"]),
            ("A notable node.", vec![]),
        ];
        for (text, wanted) in pairs {
            assert_eq!(words(&denied(text)), wanted, "{text}");
        }
    }

    #[test]
    fn a_label_is_denied_only_by_a_denial_of_its_own_finding_in_its_own_organ() {
        let lexicon = Lexicon::learn(&[], &|label| label.to_string());
        let denies = |text: &str, label: &str| {
            let reading = lexicon.read(text);
            reading.best(label).is_some_and(|evidence| reading.denies(&evidence, label))
        };
        assert!(denies("There is no stone in the kidney.", "kidney stone"));
        assert!(denies("A renal cyst is not seen.", "renal cyst"));
        assert!(denies("No gallstones.", "gallstone"));
        assert!(!denies("There is no stone in the gallbladder.", "kidney stone"), "another organ");
        assert!(!denies("Gallstone without wall thickening.", "gallstone"), "another property");
        assert!(!denies("The gallbladder shows no wall thickening.", "gallbladder polyp"), "another property");
    }

    #[test]
    fn a_label_hangs_on_the_sentence_with_the_words_it_came_with_in_training() {
        let texts = [
            ("Fluid-dense focus in the cortex. Lungs clear.", "renal cyst"),
            ("Bright concretion in the calyx. Lungs clear.", "kidney stone"),
            ("Lungs clear. Heart small.", "nothing"),
        ];
        let case = |i: usize| {
            let (input, label) = texts[i % 3];
            Finding::new(i.to_string(), i.to_string(), input, vec![label.into()])
        };
        let train: Vec<Finding> = (0..60).map(case).collect();
        let lexicon = Lexicon::learn(&train, &|label| label.to_string());
        let text = "Lungs clear. A new focus in the cortex is fluid-dense. There is no concretion in the calyx.";
        let reading = lexicon.read(text);
        assert_eq!(reading.best("renal cyst").unwrap().sentence, 1);
        let denied = reading.mention("kidney stone").unwrap();
        assert_eq!((denied.sentence, denied.cue), (2, Some(Cue::Denied)));
        // unknown to training: its own words must do
        assert!(reading.mention("gallstone").is_none() && reading.best("gallstone").is_none());
        assert_eq!(reading.best("clear lungs").unwrap().sentence, 0);
        // one term in 20 of 60 cases, all of them the label's: z = (20 − 20/3) / √(20/3 · 4/9 + 1/4)
        let z = (20.0 - 20.0 / 3.0) / (20.0 / 3.0 * 4.0 / 9.0 + 0.25_f64).sqrt();
        let score = lexicon.read("Cortex.").best("renal cyst").unwrap().score;
        assert!((score - (z - 2.0) / 2.0_f64.sqrt()).abs() < 1e-12 && (score - 3.84560).abs() < 1e-4, "{score}");
        // the cortex sentence is the renal cyst's, though it shares words with others
        assert!(reading.mention("nothing").is_none_or(|evidence| evidence.sentence == 0));
    }
}

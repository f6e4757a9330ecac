//! MedDec's official scores (`evaluate.py` of CLU-UML/MedDec, commit f4374cd), written anew from their description.
//!
//! ```text
//! span F1   sets of (note, category, refined text in lower case); precision, recall and F1 over all notes
//! token F1  a token's label is the category of the first span, in file order, that touches it; F1 of each label but "none" in gold or
//!           prediction, their mean for the note, the mean over notes
//! base = (span F1 + token F1) / 2     worst = the least base of a subgroup     final = (base + worst) / 2
//! ```
//!
//! **Span F1 is the identity of words, not of places**: of equal mentions in a note one counts, and the right words at a wrong place are
//! right. `score::table` has the scores by place.
use super::punkt::Punkt;
use super::tokens;
use crate::corpus::decisions::{Category, Span, Strata};
use crate::metric::{Bootstrap, Estimate};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use unicode_normalization::char::is_combining_mark;

/// A span moved to whole words without the marks around them, or None where no word is left. Offsets are code points.
///
/// First both ends move out of the word that they cut. Then Treebank tokens are dropped at both ends until one has a letter or digit or `**`
/// (an anonymised name); `[` stays before a token with `**`, `]` after one: "q.d." → "q.d", "neumoni" → "pneumonia", "..." → None.
pub fn refine_span(text: &[char], start: usize, end: usize) -> Option<(usize, usize)> {
    let (mut start, mut end) = (start.min(text.len()), end.min(text.len()));
    let joined = |at: usize| at > 0 && at < text.len() && alphanumeric(text[at - 1]) && alphanumeric(text[at]);
    while joined(start) {
        start -= 1;
    }
    while joined(end) {
        end += 1;
    }
    let slice = text.get(start..end)?;
    if slice.iter().all(|c| tokens::python_space(*c)) {
        return None;
    }
    let words = tokens::treebank_spans(slice);
    let masked = |&(from, to): &(usize, usize)| slice[from..to].windows(2).any(|two| two == ['*', '*']);
    let kept = |word: &(usize, usize)| slice[word.0..word.1].iter().any(|c| alphanumeric(*c)) || masked(word);
    let is = |&(from, to): &(usize, usize), mark: char| slice[from..to] == [mark];
    let first =
        (0..words.len()).find(|&i| kept(&words[i]) || (is(&words[i], '[') && words.get(i + 1).is_some_and(masked)))?;
    let last = (first..words.len())
        .rev()
        .find(|&i| kept(&words[i]) || (is(&words[i], ']') && i > first && masked(&words[i - 1])))?;
    Some((start + words[first].0, start + words[last].1))
}

/// `str.isalnum` of one character: letters and numbers; marks that combine with a letter and letters in circles, which Rust counts as
/// alphabetic, are none.
pub(super) fn alphanumeric(c: char) -> bool {
    c.is_alphanumeric() && !is_combining_mark(c) && !matches!(c, 'Ⓐ'..='ⓩ' | '\u{1F130}'..='\u{1F189}')
}

/// Where the tokens of a note stand: NLTK's words of each sentence, looked for one after the other; what cannot be found (a converted
/// quote) is passed over.
pub fn tokens(text: &[char], sentences: &Punkt) -> Vec<(usize, usize)> {
    let (mut found, mut from) = (Vec::new(), 0);
    for (start, end) in sentences.sentences(text) {
        let sentence: String = text[start..end].iter().collect();
        for token in tokens::nltk(&sentence) {
            let token: Vec<char> = token.chars().collect();
            if let Some(at) = tokens::find(text, &token, from) {
                from = at + token.len();
                found.push((at, from));
            }
        }
    }
    found
}

/// The category of each token; None where no span touches it.
pub fn token_labels(tokens: &[(usize, usize)], spans: &[Span]) -> Vec<Option<Category>> {
    let label = |&(start, end): &(usize, usize)| {
        spans.iter().find(|span| start < span.end && end > span.start).map(|span| span.category)
    };
    tokens.iter().map(label).collect()
}

/// Mean F1 of the labels that gold or prediction has in a note. Without any label: 1.
pub fn token_f1(tokens: &[(usize, usize)], gold: &[Span], predicted: &[Span]) -> f64 {
    let (gold, predicted) = (token_labels(tokens, gold), token_labels(tokens, predicted));
    let labels: BTreeSet<Category> = gold.iter().chain(&predicted).flatten().copied().collect();
    if labels.is_empty() {
        return 1.0;
    }
    let f1 = |label: Category| {
        let count = |right: bool, given: bool| {
            let same = |(g, p): &(&Option<Category>, &Option<Category>)| {
                (**g == Some(label)) == right && (**p == Some(label)) == given
            };
            gold.iter().zip(&predicted).filter(same).count() as f64
        };
        let (tp, fp, missed) = (count(true, true), count(false, true), count(true, false));
        if tp > 0.0 { 2.0 * tp / (2.0 * tp + fp + missed) } else { 0.0 }
    };
    labels.iter().map(|label| f1(*label)).sum::<f64>() / labels.len() as f64
}

/// What the official span F1 compares: category and refined text in lower case.
pub type Mention = (Category, String);

/// The set of mentions of a note.
pub fn mentions(text: &[char], spans: &[Span]) -> BTreeSet<Mention> {
    let mention = |span: &Span| {
        let (start, end) = refine_span(text, span.start, span.end)?;
        Some((span.category, text[start..end].iter().collect::<String>().to_lowercase()))
    };
    spans.iter().filter_map(mention).collect()
}

/// What one note adds to the scores.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NoteScore {
    pub file_name: String,
    pub tp: usize,
    pub fp: usize,
    #[serde(rename = "fn")]
    pub missed: usize,
    /// Spans of the gold file.
    pub spans: usize,
    pub token_f1: f64,
    pub strata: Option<Strata>,
}

impl NoteScore {
    /// The score of one note.
    pub fn of(name: &str, text: &str, gold: &[Span], predicted: &[Span], sentences: &Punkt) -> Self {
        GoldNote::new(name, text, gold, sentences).score(predicted)
    }
}

/// A note and its gold spans, taken apart once to score many predictions.
#[derive(Clone, Debug)]
pub struct GoldNote {
    pub name: String,
    pub gold: Vec<Span>,
    text: Vec<char>,
    tokens: Vec<(usize, usize)>,
    asked: BTreeSet<Mention>,
}

impl GoldNote {
    pub fn new(name: &str, text: &str, gold: &[Span], sentences: &Punkt) -> Self {
        let text: Vec<char> = text.chars().collect();
        let (tokens, asked) = (tokens(&text, sentences), mentions(&text, gold));
        Self { name: name.into(), gold: gold.to_vec(), text, tokens, asked }
    }

    /// What a prediction adds to the scores; its subgroups are not known here.
    pub fn score(&self, predicted: &[Span]) -> NoteScore {
        let given = mentions(&self.text, predicted);
        let tp = self.asked.intersection(&given).count();
        NoteScore {
            file_name: self.name.clone(),
            tp,
            fp: given.len() - tp,
            missed: self.asked.len() - tp,
            spans: self.gold.len(),
            token_f1: token_f1(&self.tokens, &self.gold, predicted),
            strata: None,
        }
    }
}

/// Counts with precision, recall and F1; 0 where they are 0/0, as the scorer has it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SpanScore {
    pub precision: f64,
    pub recall: f64,
    pub f1: f64,
    pub tp: usize,
    pub fp: usize,
    #[serde(rename = "fn")]
    pub missed: usize,
}

/// The scores of a subgroup.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupScore {
    pub n_files: usize,
    pub n_spans: usize,
    pub span_f1: f64,
    pub token_f1: f64,
    pub base_score: f64,
}

/// The official scores. Worst and final need to know the patients' subgroups.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Official {
    pub span: SpanScore,
    pub token_f1: f64,
    pub base_score: f64,
    pub worst_group_score: Option<f64>,
    pub final_score: Option<f64>,
    /// `sex`, `race`, `language` → subgroup → its scores; subgroups without a note are left out.
    pub subgroups: BTreeMap<String, BTreeMap<String, GroupScore>>,
}

/// The official scores of notes, note i counted `weights[i]` times (all once: [`official`]). None without notes.
pub fn weighted(notes: &[NoteScore], weights: &[u32]) -> Option<Official> {
    let all: Vec<(&NoteScore, u32)> = notes.iter().zip(weights.iter().copied()).filter(|(_, w)| *w > 0).collect();
    let whole = group(&all)?;
    let mut subgroups = BTreeMap::<String, BTreeMap<String, GroupScore>>::new();
    let kinds: [(&str, &[&str], fn(&Strata) -> &str); 3] = [
        ("sex", &Strata::SEXES, |s| s.sex.as_deref().unwrap_or_default()),
        ("race", &Strata::RACES, |s| &s.race),
        ("language", &Strata::LANGUAGES, |s| &s.language),
    ];
    for (kind, names, of) in kinds {
        for name in names {
            let inside = |(note, _): &&(&NoteScore, u32)| note.strata.as_ref().is_some_and(|s| of(s) == *name);
            if let Some(score) = group(&all.iter().filter(inside).copied().collect::<Vec<_>>()) {
                subgroups.entry(kind.into()).or_default().insert(name.to_string(), score);
            }
        }
    }
    let worst = subgroups.values().flat_map(BTreeMap::values).map(|group| group.base_score).min_by(f64::total_cmp);
    Some(Official {
        span: spans(&all),
        token_f1: whole.token_f1,
        base_score: whole.base_score,
        worst_group_score: worst,
        final_score: worst.map(|worst| (whole.base_score + worst) / 2.0),
        subgroups,
    })
}

/// The official scores of notes; None without notes.
pub fn official(notes: &[NoteScore]) -> Option<Official> {
    weighted(notes, &vec![1; notes.len()])
}

impl Official {
    /// What the published system chooses settings by: the final score where the patients' subgroups are known, else the base score.
    pub fn objective(&self) -> f64 {
        self.final_score.unwrap_or(self.base_score)
    }
}

/// The official scores with intervals: notes of a group are drawn together. The worst group of a resample is the least of several numbers that all
/// scatter, so the interval of `worst_group_score` lies low.
pub fn intervals(notes: &[NoteScore], groups: &[&str], bootstrap: &Bootstrap) -> BTreeMap<String, Estimate> {
    let values = |scores: Official| {
        let worst = scores.worst_group_score.zip(scores.final_score);
        let all = [
            Some(scores.span.f1),
            Some(scores.token_f1),
            Some(scores.base_score),
            worst.map(|w| w.0),
            worst.map(|w| w.1),
        ];
        ["span_f1", "token_f1", "base_score", "worst_group_score", "final_score"].into_iter().zip(all)
    };
    let draws: Vec<Official> =
        bootstrap.map_groups(groups, |weights| weighted(notes, weights)).into_iter().flatten().collect();
    let mut drawn = BTreeMap::<&str, Vec<f64>>::new();
    for (key, value) in draws.into_iter().flat_map(values) {
        drawn.entry(key).or_default().extend(value);
    }
    let estimate = |(key, value): (&str, Option<f64>)| {
        let (low, high) = bootstrap.interval(drawn.remove(key)?)?;
        Some((key.to_string(), Estimate { value: value?, low, high, n: notes.len() }))
    };
    official(notes).into_iter().flat_map(values).filter_map(estimate).collect()
}

fn spans(notes: &[(&NoteScore, u32)]) -> SpanScore {
    let sum =
        |of: fn(&NoteScore) -> usize| notes.iter().map(|(note, weight)| of(note) * *weight as usize).sum::<usize>();
    let (tp, fp, missed) = (sum(|n| n.tp), sum(|n| n.fp), sum(|n| n.missed));
    let share = |of: usize| if of > 0 { tp as f64 / of as f64 } else { 0.0 };
    let (precision, recall) = (share(tp + fp), share(tp + missed));
    let f1 = if tp > 0 { 2.0 * precision * recall / (precision + recall) } else { 0.0 };
    SpanScore { precision, recall, f1, tp, fp, missed }
}

fn group(notes: &[(&NoteScore, u32)]) -> Option<GroupScore> {
    let n_files: usize = notes.iter().map(|(_, weight)| *weight as usize).sum();
    let span_f1 = spans(notes).f1;
    let token_f1 = notes.iter().map(|(note, weight)| note.token_f1 * f64::from(*weight)).sum::<f64>() / n_files as f64;
    (n_files > 0).then(|| GroupScore {
        n_files,
        n_spans: notes.iter().map(|(note, weight)| note.spans * *weight as usize).sum(),
        span_f1,
        token_f1,
        base_score: (span_f1 + token_f1) / 2.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By Python 3.11: `[c.isalnum() for c in "aé½Ⅳ७中\u093e\u0345Ⓐ_-"]`.
    #[test]
    fn letters_and_numbers_are_those_of_python() {
        let said: Vec<bool> = "aé½Ⅳ७中\u{93e}\u{345}Ⓐ_-".chars().map(alphanumeric).collect();
        assert_eq!(said, [true, true, true, true, true, true, false, false, false, false, false]);
    }
    use std::path::Path;

    const FIRST: &str = "Admission Date:  [**2118-6-2**]       Discharge Date:  [**2118-6-14**]\n\nHistory of Present Illness:\nPt is an 81 yo F with \
        COPD (FEV1 0.9L), who was admitted for \"worsening\" dyspnea. She can't lie flat.\nCXR showed RLL pneumonia; started on levofloxacin \
        500 mg q.d. and prednisone.\nContinue warfarin for stroke prevention -- goal INR 2-3.\nDr. [**Last Name (STitle) **] will follow-up in \
        2 weeks. WBC 12.4, K+ 3.1.\nHold aspirin?  Return to ED if fever > 101 or chest pain...\n";
    const SECOND: &str = "Sex: M\nSocial History: Spanish speaking.\nHospital Course: Patient with acute renal failure. Started \
        hemodialysis. Repeat echo ordered. Defer surgery for now.\nDischarge: home with VNA. Take lasix 40 mg daily.\n";

    fn chars(text: &str) -> Vec<char> {
        text.chars().collect()
    }

    fn spans(all: &[(usize, usize, u8)]) -> Vec<Span> {
        let in_scope = all.iter().filter_map(|&(s, e, c)| Some(Span::new(s, e, Category::try_from(c).ok()?)));
        in_scope.collect()
    }

    /// The vector `refine_span` of the project's specification.
    #[test]
    fn refined_spans_are_those_of_the_official_scorer() {
        let text = chars(FIRST);
        let golden = [
            (17, 31, Some((17, 31))),
            (54, 71, Some((55, 70))),
            (122, 139, Some((122, 137))),
            (161, 181, Some((162, 180))),
            (218, 225, Some((217, 226))),
            (239, 263, Some((239, 262))),
            (320, 335, Some((323, 335))),
            (337, 366, Some((337, 366))),
            (412, 427, Some((412, 424))),
            (458, 472, Some((458, 468))),
            (449, 454, Some((451, 454))),
            (468, 471, None),
            (15, 17, None),
            (419, 421, Some((417, 424))),
        ];
        for (start, end, want) in golden {
            assert_eq!(refine_span(&text, start, end), want, "{start}..{end}");
        }
    }

    /// The vector `meddec_eval`: two notes, their gold and predicted spans, and what the official scorer makes of them with Punkt.
    #[test]
    fn scores_are_those_of_the_official_scorer() {
        let gold = [
            spans(&[
                (122, 138, 3),
                (213, 227, 3),
                (202, 226, 7),
                (239, 278, 5),
                (280, 319, 5),
                (323, 335, 4),
                (367, 392, 1),
                (412, 424, 5),
                (427, 468, 9),
                (109, 116, 10),
            ]),
            spans(&[(71, 90, 3), (92, 112, 6), (114, 134, 2), (135, 156, 8), (169, 182, 1), (189, 206, 5)]),
        ];
        let predicted = [
            spans(&[
                (122, 126, 3),
                (213, 226, 3),
                (202, 226, 7),
                (239, 263, 5),
                (268, 279, 5),
                (280, 319, 5),
                (302, 335, 4),
                (412, 425, 5),
                (427, 471, 9),
            ]),
            spans(&[(72, 89, 3), (92, 112, 6), (114, 133, 2), (135, 148, 8), (158, 182, 1), (184, 207, 5)]),
        ];
        let strata = [Strata::of("F", "WHITE", "ENGL"), Strata::of("M", "HISPANIC OR LATINO", "SPAN")];
        let texts = [("1_100_10", FIRST), ("2_200_20", SECOND)];
        let note = |i: usize| NoteScore {
            strata: Some(strata[i].clone()),
            ..NoteScore::of(texts[i].0, texts[i].1, &gold[i], &predicted[i], &Punkt::simple())
        };
        let found = official(&[note(0), note(1)]).unwrap();
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} is not {b}");
        assert_eq!((found.span.tp, found.span.fp, found.span.missed), (8, 7, 7));
        near(found.span.f1, 0.5333333333333333);
        near(found.token_f1, 0.7771116335771509);
        near(found.base_score, 0.655222483455242);
        near(found.worst_group_score.unwrap(), 0.6320719510374683);
        near(found.final_score.unwrap(), 0.6436472172463552);
        for (kind, name, files, n, span, token, base) in [
            ("sex", "Female", 1, 9, 0.5555555555555556, 0.708588346519381, 0.6320719510374683),
            ("race", "Hispanic", 1, 6, 0.5, 0.8456349206349206, 0.6728174603174604),
            ("language", "Non-English", 1, 6, 0.5, 0.8456349206349206, 0.6728174603174604),
        ] {
            let group = &found.subgroups[kind][name];
            assert_eq!((group.n_files, group.n_spans), (files, n), "{name}");
            near(group.span_f1, span);
            near(group.token_f1, token);
            near(group.base_score, base);
        }
        assert_eq!(found.subgroups.values().map(BTreeMap::len).sum::<usize>(), 6);
    }

    #[test]
    fn a_period_that_ends_a_sentence_is_a_token_of_its_own() {
        let text = chars(FIRST);
        let words: Vec<String> =
            tokens(&text, &Punkt::simple()).iter().map(|&(s, e)| text[s..e].iter().collect()).collect();
        let at = words.iter().position(|word| word == "q.d").unwrap();
        assert_eq!(words[at + 1], ".");
        assert!(words.contains(&"Dr.".to_string()) && words.contains(&"n't".to_string()));
        assert!(!words.contains(&"``".to_string()), "converted quotes are passed over");
    }

    #[test]
    fn notes_without_decisions_are_right_when_nothing_is_predicted() {
        let score = |predicted: &[Span]| NoteScore::of("a", "Doing well.", &[], predicted, &Punkt::simple()).token_f1;
        assert_eq!(score(&[]), 1.0);
        assert_eq!(score(&spans(&[(0, 5, 3)])), 0.0);
        assert_eq!(official(&[]), None);
    }

    /// Tokens of a hundred synthetic notes as NLTK has them: `tests/reference/nltk_tokens.py`.
    #[derive(serde::Deserialize)]
    struct Golden {
        notes: Vec<Note>,
    }

    #[derive(serde::Deserialize)]
    struct Note {
        text: String,
        treebank: Vec<(usize, usize)>,
        sentences: Vec<(usize, usize)>,
        nltk: Vec<String>,
        refined: Vec<(usize, usize, Option<(usize, usize)>)>,
        gold: Vec<(usize, usize, u8)>,
        predicted: Vec<(usize, usize, u8)>,
        token_f1: f64,
        english: English,
    }

    /// With the English parameters of NLTK.
    #[derive(serde::Deserialize)]
    struct English {
        sentences: Vec<(usize, usize)>,
        token_f1: f64,
    }

    fn golden() -> Vec<Note> {
        let golden: Golden = serde_json::from_str(include_str!("../../../tests/reference/nltk_tokens.json")).unwrap();
        assert_eq!(golden.notes.len(), 100);
        golden.notes
    }

    fn has_token_f1(note: &Note, punkt: &Punkt, want: f64) {
        let score = NoteScore::of("a", &note.text, &spans(&note.gold), &spans(&note.predicted), punkt).token_f1;
        assert!((score - want).abs() < 1e-12, "{score} is not {want}: {}", note.text);
    }

    /// Needs `dxlab models fetch punkt`.
    #[test]
    fn sentences_and_token_f1_with_the_english_parameters_are_those_of_nltk() {
        let Ok(folder) = crate::model::registry::knowledge("punkt").unwrap().file("punkt_tab/english") else { return };
        let (punkt, golden) = (Punkt::open(&folder).unwrap(), golden());
        for note in &golden {
            assert_eq!(punkt.sentences(&chars(&note.text)), note.english.sentences, "{}", note.text);
            has_token_f1(note, &punkt, note.english.token_f1);
        }
        assert!(golden.iter().any(|note| note.english.token_f1 != note.token_f1), "the parameters matter");
    }

    #[test]
    fn tokens_and_sentences_of_a_hundred_notes_are_those_of_nltk() {
        let punkt =
            Punkt::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/punkt_tab/english")).unwrap();
        for note in golden() {
            has_token_f1(&note, &punkt, note.token_f1);
            let text = chars(&note.text);
            assert_eq!(tokens::treebank_spans(&text), note.treebank, "{}", note.text);
            let sentences = punkt.sentences(&text);
            assert_eq!(sentences, note.sentences, "{}", note.text);
            let words = |&(s, e): &(usize, usize)| tokens::nltk(&text[s..e].iter().collect::<String>());
            assert_eq!(sentences.iter().flat_map(words).collect::<Vec<_>>(), note.nltk, "{}", note.text);
            for (start, end, refined) in note.refined {
                assert_eq!(refine_span(&text, start, end), refined, "{start}..{end} of {}", note.text);
            }
        }
    }
}

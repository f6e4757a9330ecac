//! Scores of spans as columns that enter a bootstrap by note: the official ones by words, and ours by place.
//!
//! | column | what counts as right |
//! |---|---|
//! | `span_f1` | the same words under the same category somewhere in the note (official) |
//! | `token_f1` | mean over notes of the mean F1 of the labels of tokens (official) |
//! | `exact_f1`, `exact_precision`, `exact_recall` | the same start, end and category |
//! | `iou_f1` | the same category and an intersection over union of at least 0.5, paired one to one, the highest first |
//! | `copied` | share of answers that are the note, tags aside |
//! | `kept_spans` | share of an answer's spans that have a place in the note |
//! | `drug_decision_f1`, … | `exact_f1` of one category |
//!
//! All but `token_f1` are ratios of sums over notes: long notes weigh more, and an interval draws whole notes.
use super::codec::Untagged;
use super::official::NoteScore;
use super::punkt::Punkt;
use super::windows::untag_windows;
use crate::corpus::decisions::{Category, Span};
use crate::metric::spans::paired;
use crate::metric::{MetricInfo, ScoreTable, Statistic};
use std::collections::BTreeSet;

/// IoU from which on two spans of one category are taken for the same.
pub const SAME: f64 = 0.5;

/// One answer to one note.
#[derive(Clone, Copy, Debug)]
pub struct Answered<'a> {
    pub case_id: &'a str,
    pub group: &'a str,
    pub text: &'a str,
    pub gold: &'a [Span],
    pub predicted: &'a [Span],
    /// The answer as tagged text, where there was one.
    pub raw: Option<&'a str>,
}

/// True positives, spans given, spans asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub tp: usize,
    pub given: usize,
    pub asked: usize,
}

impl Counts {
    fn f1(self) -> (f64, f64) {
        (2.0 * self.tp as f64, (self.given + self.asked) as f64)
    }

    fn precision(self) -> (f64, f64) {
        (self.tp as f64, self.given as f64)
    }

    fn recall(self) -> (f64, f64) {
        (self.tp as f64, self.asked as f64)
    }
}

/// Spans with the same start, end and category, each once; of one category or of all.
pub fn exact(gold: &[Span], predicted: &[Span], category: Option<Category>) -> Counts {
    let of = |spans: &[Span]| -> BTreeSet<Span> {
        spans.iter().filter(|span| category.is_none_or(|category| span.category == category)).copied().collect()
    };
    let (gold, predicted) = (of(gold), of(predicted));
    Counts { tp: gold.intersection(&predicted).count(), given: predicted.len(), asked: gold.len() }
}

/// Spans of one category with an IoU of at least `least`, paired one to one, the highest IoU first.
pub fn overlapping(gold: &[Span], predicted: &[Span], least: f64) -> Counts {
    let of = |spans: &[Span], category: Category| -> Vec<Span> {
        let once: BTreeSet<Span> = spans.iter().filter(|span| span.category == category).copied().collect();
        once.into_iter().collect()
    };
    Category::ALL.into_iter().fold(Counts::default(), |sum, category| {
        let (gold, given) = (of(gold, category), of(predicted, category));
        let tp = sum.tp + paired(&gold, &given, least).len();
        Counts { tp, given: sum.given + given.len(), asked: sum.asked + gold.len() }
    })
}

/// The columns of the file's header; `official`: what [`notes`] gives for the same answers.
pub fn table(answers: &[Answered], official: &[NoteScore]) -> ScoreTable {
    let ratio = |of: &dyn Fn(&Answered) -> (f64, f64)| Statistic::Ratio(answers.iter().map(of).collect());
    let exactly = |of: fn(Counts) -> (f64, f64)| ratio(&|a| of(exact(a.gold, a.predicted, None)));
    let words = |note: &NoteScore| Counts { tp: note.tp, given: note.tp + note.fp, asked: note.tp + note.missed }.f1();
    let read: Vec<Option<Untagged>> = answers.iter().map(|a| a.raw.map(|raw| untag_windows(raw, a.text))).collect();
    let read = |of: &dyn Fn(&Untagged) -> (f64, f64)| {
        Statistic::Ratio(read.iter().map(|one| one.as_ref().map_or((0.0, 0.0), of)).collect())
    };
    let kept = |one: &Untagged| (one.spans.len() as f64, (one.spans.len() + one.dropped.len()) as f64);
    let mut columns = vec![
        (MetricInfo::new("span_f1"), Statistic::Ratio(official.iter().map(words).collect())),
        (MetricInfo::new("token_f1"), Statistic::Ratio(official.iter().map(|note| (note.token_f1, 1.0)).collect())),
        (MetricInfo::new("exact_f1"), exactly(Counts::f1)),
        (MetricInfo::new("exact_precision"), exactly(Counts::precision)),
        (MetricInfo::new("exact_recall"), exactly(Counts::recall)),
        (MetricInfo::new("iou_f1"), ratio(&|a| overlapping(a.gold, a.predicted, SAME).f1())),
        (MetricInfo { counts_cases: true, ..MetricInfo::new("copied") }, read(&|one| (f64::from(one.copied), 1.0))),
        (MetricInfo::new("kept_spans"), read(&kept)),
    ];
    for category in Category::ALL {
        let of = |a: &Answered| exact(a.gold, a.predicted, Some(category)).f1();
        columns.push((MetricInfo::new(&format!("{}_f1", category.tag())), ratio(&of)));
    }
    ScoreTable {
        ids: answers.iter().map(|a| a.case_id.to_string()).collect(),
        groups: answers.iter().map(|a| a.group.to_string()).collect(),
        gold: answers.iter().map(|a| serde_json::to_string(a.gold).unwrap_or_default()).collect(), // spans have a JSON form
        columns,
        space: 0,
    }
}

/// What each answer adds to the official scores.
pub fn notes(answers: &[Answered], sentences: &Punkt) -> Vec<NoteScore> {
    answers.iter().map(|a| NoteScore::of(a.case_id, a.text, a.gold, a.predicted, sentences)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(all: &[(usize, usize, Category)]) -> Vec<Span> {
        all.iter().map(|&(start, end, category)| Span::new(start, end, category)).collect()
    }

    const TEXT: &str = "Hold aspirin. Later: hold aspirin. Stable angina.";

    #[test]
    fn the_right_words_at_a_wrong_place_are_right_by_words_only() {
        use Category::{DefineProblem, DrugDecision};
        let gold = spans(&[(5, 12, DrugDecision), (35, 48, DefineProblem)]);
        let predicted = spans(&[(26, 33, DrugDecision), (42, 48, DefineProblem)]);
        let one = Answered { case_id: "a", group: "g", text: TEXT, gold: &gold, predicted: &predicted, raw: None };
        let table = table(&[one], &notes(&[one], &Punkt::simple()));
        let value = |key: &str| table.value(key).unwrap();
        assert_eq!((value("span_f1"), value("exact_f1"), value("iou_f1")), (Some(0.5), Some(0.0), Some(0.0)));
        assert_eq!((value("copied"), value("kept_spans"), value("gather_info_f1")), (None, None, None));
        assert_eq!(value("drug_decision_f1"), Some(0.0));
    }

    #[test]
    fn overlap_is_paired_one_to_one_and_by_category() {
        use Category::{DefineProblem, DrugDecision};
        let gold = spans(&[(0, 10, DrugDecision)]);
        let twice = spans(&[(0, 8, DrugDecision), (0, 10, DrugDecision), (0, 10, DefineProblem)]);
        assert_eq!(overlapping(&gold, &twice, SAME), Counts { tp: 1, given: 3, asked: 1 });
        assert_eq!(overlapping(&gold, &spans(&[(5, 10, DrugDecision)]), SAME).tp, 1);
        assert_eq!(overlapping(&gold, &spans(&[(6, 10, DrugDecision)]), SAME).tp, 0);
    }

    #[test]
    fn official_columns_agree_with_the_official_scores() {
        use Category::{DefineProblem, DrugDecision};
        let gold = spans(&[(0, 12, DrugDecision), (35, 48, DefineProblem)]);
        let given = spans(&[(0, 13, DrugDecision)]);
        let one =
            |case_id, predicted| Answered { case_id, group: case_id, text: TEXT, gold: &gold, predicted, raw: None };
        let answers = [one("a", &given), one("b", &gold)];
        let by_note = notes(&answers, &Punkt::simple());
        let table = table(&answers, &by_note);
        let official = super::super::official::official(&by_note).unwrap();
        assert_eq!(table.value("span_f1").unwrap(), Some(official.span.f1));
        assert!((table.value("token_f1").unwrap().unwrap() - official.token_f1).abs() < 1e-15);
    }
}

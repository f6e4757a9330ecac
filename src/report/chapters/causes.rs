//! Why labels go wrong, counted: labels that training hardly has, in the corpus and in a model's answers, and every
//! label error by its cause.
use crate::corpus::Corpus;
use crate::error::{Error, Result};
use crate::failure::{CaseFailures, Class, LabelError, Where, ratio};
use crate::label::Normaliser;
use crate::metric::Reading;
use crate::report::kit::display::{Table, interval};
use crate::report::kit::tables::label_counts;
use crate::study::Analysis;
use crate::study::Results;
use std::collections::BTreeMap;

/// A gold label of the test (normalised) with its cases in both splits, and how the test writes it.
struct Gold {
    name: String,
    training: usize,
    test: usize,
    written: Vec<(String, usize)>,
}

/// Gold labels of the test with at most `at_most` training cases, the most frequent in the test first.
fn rare(corpus: &Corpus, names: &Normaliser, at_most: usize) -> Vec<Gold> {
    let normalise = |label: &str| names.normalise(label);
    let (training, test) =
        (label_counts(&corpus.train, Some(&normalise)), label_counts(&corpus.test, Some(&normalise)));
    let spelled = label_counts(&corpus.test, None);
    let gold = |(name, test): (String, usize)| {
        let mut written: Vec<(String, usize)> =
            spelled.iter().filter(|(label, _)| normalise(label) == name).map(|(l, n)| (l.clone(), *n)).collect();
        written.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
        Gold { training: training.get(&name).copied().unwrap_or(0), name, test, written }
    };
    let mut all: Vec<Gold> = test.into_iter().map(gold).filter(|label| label.training <= at_most).collect();
    all.sort_by(|a, b| b.test.cmp(&a.test).then(a.name.cmp(&b.name)));
    all
}

/// All gold labels of the test, each once a case after normalisation.
fn gold_labels(corpus: &Corpus, names: &Normaliser) -> usize {
    label_counts(&corpus.test, Some(&|label: &str| names.normalise(label))).values().sum()
}

fn percent(part: usize, of: usize) -> f64 {
    100.0 * part as f64 / of.max(1) as f64
}

fn times(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// The `most` labels of the test that at most `at_most` training cases carry (normalised), the most frequent in the
/// test first.
pub fn rare_labels(corpus: &Corpus, names: &Normaliser, at_most: usize, most: usize) -> Table {
    let all = gold_labels(corpus, names);
    let row = |label: &Gold| {
        let written = label.written.iter().map(|(written, n)| format!("{written} ({n})")).collect::<Vec<_>>();
        let share = format!("{:.1}", percent(label.test, all));
        vec![label.name.clone(), label.training.to_string(), label.test.to_string(), share, written.join(", ")]
    };
    let rows: Vec<_> = rare(corpus, names, at_most).iter().take(most).map(row).collect();
    Table::from_rows(
        &["label", "training cases", "test cases", "% of the test's labels", "as the test writes it (cases)"],
        &rows,
    )
}

/// How much of the test hangs on labels with at most `at_most` training cases, and on which most.
pub fn rare_in_words(corpus: &Corpus, names: &Normaliser, at_most: usize) -> String {
    let (found, all) = (rare(corpus, names, at_most), gold_labels(corpus, names));
    let sum: usize = found.iter().map(|label| label.test).sum();
    let Some(first) = found.first() else {
        return format!("Every gold label of the test has more than {} (normalised).", times(at_most, "training case"));
    };
    let written = first.written.iter().map(|(written, _)| format!("“{written}”")).collect::<Vec<_>>().join(", ");
    format!(
        "{} of the {all} gold labels of the test ({:.1} %) have at most {} (normalised). {} of them are one label, \
         {}: {} it, and the test writes {written}.",
        sum,
        percent(sum, all),
        times(at_most, "training case"),
        first.test,
        first.name,
        match first.training {
            0 => "no training case has".to_string(),
            1 => "one training case has".to_string(),
            n => format!("{n} training cases have"),
        },
    )
}

/// The label that `model` misses most often, how much of all it misses that is, and what the metric would be without
/// it.
pub fn most_missed(results: &Results, model: &str) -> Result<String> {
    let outcomes = results.outcomes(model, Reading::Normalised)?;
    let mut counts = BTreeMap::<&str, [usize; 3]>::new(); // gold, given, right
    for case in &outcomes {
        case.gold.iter().for_each(|label| counts.entry(label).or_default()[0] += 1);
        case.predicted.iter().for_each(|label| counts.entry(label).or_default()[1] += 1);
        case.true_positives().for_each(|label| counts.entry(label).or_default()[2] += 1);
    }
    let missed = |[gold, _, right]: &[usize; 3]| gold - right;
    let all = counts.values().fold([0; 3], |sum, one| [0, 1, 2].map(|i| sum[i] + one[i]));
    let Some((label, one)) = counts.iter().rev().max_by_key(|(_, one)| missed(one)).filter(|(_, one)| missed(one) > 0)
    else {
        return Ok(format!("{model} misses no label."));
    };
    let training = label_counts(&results.task.corpus.train, Some(&|label: &str| results.task.names.normalise(label)));
    let f1 = |more: usize| 2.0 * (all[2] + more) as f64 / (all[0] + all[1] + more).max(1) as f64;
    Ok(format!(
        "{model} misses no label as often as {label}: gold in {}, given in {}, right in {}; {} carr{} it. Its {} \
         {:.0} % of all that {model} misses; with them right and all else as it is, micro-F1 would be {:.3} in place \
         of {:.3}.",
        times(one[0], "test case"),
        one[1],
        one[2],
        times(training.get(*label).copied().unwrap_or(0), "training case"),
        if training.get(*label) == Some(&1) { "ies" } else { "y" },
        match missed(one) {
            1 => "one miss is".to_string(),
            n => format!("{n} misses are"),
        },
        percent(missed(one), missed(&all)),
        f1(missed(one)),
        f1(0),
    ))
}

/// What a label error comes from, as far as counts and rules tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The right label under another name, which the normaliser forgives.
    Name,
    /// Missed, and at most one training case carries it.
    OnceOrNever,
    /// Missed, with 2 to 9 training cases.
    Few,
    /// Missed, with 10 training cases and more.
    Known,
    /// Given, and the sentence that mentions it denies it, asks for it or looks back.
    Distractor,
    /// Given without such a sentence.
    Invented,
}

impl Cause {
    pub const ALL: [Cause; 6] =
        [Self::Name, Self::OnceOrNever, Self::Few, Self::Known, Self::Distractor, Self::Invented];

    pub fn name(self) -> &'static str {
        match self {
            Self::Name => "another name",
            Self::OnceOrNever => "missed, 0 or 1 training case",
            Self::Few => "missed, 2 to 9 training cases",
            Self::Known => "missed, 10 and more",
            Self::Distractor => "given where the text denies, asks or looks back",
            Self::Invented => "given without such a sentence",
        }
    }

    pub fn of(error: &LabelError) -> Self {
        match (error.forgiven, error.on, error.training_cases) {
            (true, ..) => Self::Name,
            (_, Where::Gold, 0..=1) => Self::OnceOrNever,
            (_, Where::Gold, 2..=9) => Self::Few,
            (_, Where::Gold, _) => Self::Known,
            (_, Where::Given, _) if matches!(error.class, Class::NegationMissed | Class::OtherDistractor) => {
                Self::Distractor
            }
            (_, Where::Given, _) => Self::Invented,
        }
    }

    fn among(self, case: &CaseFailures) -> impl Iterator<Item = &LabelError> {
        case.errors.iter().filter(move |error| Self::of(error) == self)
    }

    /// Errors a hundred cases.
    pub(super) fn rate(self, cases: &[CaseFailures], bootstrap: &crate::metric::Bootstrap) -> String {
        let counts: Vec<f64> = cases.iter().map(|case| 100.0 * self.among(case).count() as f64).collect();
        interval(ratio(cases, &counts, &vec![1.0; cases.len()], bootstrap).as_ref())
    }
}

/// Every label error of a model by its cause: how many, how many a hundred cases, and the labels that they are most
/// often of.
pub fn by_cause(analysis: &Analysis, model: &str) -> Result<Table> {
    let cases = analysis.get(model)?;
    let all: usize = cases.iter().map(|case| case.errors.len()).sum();
    let row = |cause: Cause| {
        let mut labels = BTreeMap::<&str, usize>::new();
        cases.iter().flat_map(|case| cause.among(case)).for_each(|e| *labels.entry(&e.name).or_default() += 1);
        let errors: usize = labels.values().sum();
        let mut labels: Vec<_> = labels.into_iter().collect();
        labels.sort_by_key(|(label, n)| (std::cmp::Reverse(*n), *label));
        let most = labels.iter().take(3).map(|(label, n)| format!("{label} ({n})")).collect::<Vec<_>>().join(", ");
        let share = format!("{:.1}", percent(errors, all));
        vec![cause.name().to_string(), errors.to_string(), share, cause.rate(cases, &analysis.bootstrap), most]
    };
    Ok(Table::from_rows(
        &["cause", "label errors", "% of all", "errors a hundred cases", "most often"],
        &Cause::ALL.map(row),
    ))
}

/// The causes of the errors that a model makes by any name, the largest first, in a sentence.
pub fn in_words(analysis: &Analysis, model: &str) -> Result<String> {
    let cases = analysis.get(model)?;
    let count = |cause: Cause| cases.iter().map(|case| cause.among(case).count()).sum::<usize>();
    let mut causes: Vec<(Cause, usize)> =
        Cause::ALL.into_iter().filter(|cause| *cause != Cause::Name).map(|cause| (cause, count(cause))).collect();
    let all: usize = causes.iter().map(|(_, n)| n).sum();
    causes.sort_by_key(|(cause, n)| (std::cmp::Reverse(*n), *cause));
    let said = causes
        .iter()
        .filter(|(_, n)| *n > 0)
        .map(|(cause, n)| format!("{} {n} ({:.0} %)", cause.name(), percent(*n, all)));
    let said: Vec<String> = said.collect();
    if said.is_empty() {
        return Err(Error::input(format!("{model} makes no error that a cause could be counted of")));
    }
    Ok(format!("Of the {all} label errors of {model} that no other name explains: {}.", said.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::results::tests::toy;

    #[test]
    fn the_embedded_test_names_a_label_often_that_training_hardly_has() {
        let corpus = Corpus::embedded().unwrap();
        let names = Normaliser::new(corpus.vocabulary().keys()).unwrap();
        let said = rare_in_words(&corpus, &names, 1);
        assert!(said.contains("are one label, liver calcification: one training case has it"), "{said}");
        assert!(said.contains("“liver calcifications”"), "{said}");
        let table = rare_labels(&corpus, &names, 1, 2);
        assert!(table.height() == 2 && table.to_text().contains("liver calcification"), "{table}");
        let none = Corpus { test: vec![], ..corpus };
        assert_eq!(rare_labels(&none, &names, 9, 5).height(), 0);
        assert!(rare_in_words(&none, &names, 1).starts_with("Every gold label"));
    }

    #[test]
    fn the_most_missed_label_is_told_with_what_it_costs() {
        let folder = tempfile::tempdir().unwrap();
        let results = toy(folder.path());
        // `bad` gives 5 of 20 renal cysts and liver cyst in the other 15; ascites and gallstone are missed 10 times
        let said = most_missed(&results, "bad").unwrap();
        assert!(
            said.starts_with("bad misses no label as often as renal cyst: gold in 20 test cases, given in 5"),
            "{said}"
        );
        assert!(said.contains("Its 15 misses are 43 % of all that bad misses"), "{said}");
        // right 5 of 40 gold and 20 given; with 15 more right and given: 2·20/(40 + 35)
        assert!(said.contains("would be 0.533 in place of 0.167"), "{said}");
        assert!(said.contains("20 training cases carry it"), "{said}");
    }

    #[test]
    fn every_error_has_one_cause_and_they_add_up() {
        let folder = tempfile::tempdir().unwrap();
        let results = toy(folder.path());
        let analysis = Analysis::of(&results, BTreeMap::new());
        let all: usize = analysis.get("bad").unwrap().iter().map(|case| case.errors.len()).sum();
        let text = by_cause(&analysis, "bad").unwrap().to_text();
        let counted = |name: &str| -> usize {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            line[name.len()..].split_whitespace().next().unwrap().parse().unwrap()
        };
        assert_eq!(Cause::ALL.iter().map(|cause| counted(cause.name())).sum::<usize>(), all, "{text}");
        // the plural that `bad` writes in five cases is an error on both sides, and forgiven
        assert_eq!((counted("another name"), counted("missed, 10 and more")), (10, 35), "{text}");
        let said = in_words(&analysis, "bad").unwrap();
        assert!(
            said.starts_with("Of the 50 label errors of bad") && said.contains("missed, 10 and more 35 (70 %)"),
            "{said}"
        );
    }
}

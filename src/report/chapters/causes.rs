//! Why labels go wrong, counted: labels that training hardly has, in the corpus and in a model's answers, and every
//! label error by its cause.
use crate::corpus::Corpus;
use crate::error::Result;
use crate::failure::{CaseFailures, Class, LabelError, Where, ratio};
use crate::label::Normaliser;
use crate::metric::Reading;
use crate::report::kit::display::{NONE, Table, interval, number};
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

/// How much of the test rests on labels with few training cases (labels normalised).
#[derive(Clone, Debug, PartialEq)]
pub struct RareShare {
    /// Gold labels of the test with few training cases, and all of them; a label counts once per case.
    pub rare: usize,
    pub all: usize,
    /// The rare label that most test cases have; None where every label has more training cases.
    pub most: Option<RareLabel>,
}

/// A rare label: its name, the cases that carry it in both splits, and how the test writes it.
#[derive(Clone, Debug, PartialEq)]
pub struct RareLabel {
    pub name: String,
    pub training: usize,
    pub test: usize,
    pub written: Vec<String>,
}

impl RareShare {
    /// Of labels with at most `at_most` training cases.
    pub fn of(corpus: &Corpus, names: &Normaliser, at_most: usize) -> Self {
        let found = rare(corpus, names, at_most);
        let most = found.first().map(|label| RareLabel {
            name: label.name.clone(),
            training: label.training,
            test: label.test,
            written: label.written.iter().map(|(written, _)| written.clone()).collect(),
        });
        Self { rare: found.iter().map(|label| label.test).sum(), all: gold_labels(corpus, names), most }
    }

    /// In percent.
    pub fn percent(&self) -> f64 {
        percent(self.rare, self.all)
    }
}

/// The label that a model misses most often, what that costs, and micro-F1 with and without these misses.
#[derive(Clone, Debug, PartialEq)]
pub struct MostMissed {
    pub label: String,
    /// Test cases that have the label, that were given it, and that were rightly given it.
    pub gold: usize,
    pub given: usize,
    pub right: usize,
    pub training_cases: usize,
    /// Its misses in percent of all labels that the model misses.
    pub percent: f64,
    pub micro_f1: f64,
    /// Micro-F1 if every miss of this label were right and all else as it is.
    pub micro_f1_without: f64,
}

impl MostMissed {
    pub fn misses(&self) -> usize {
        self.gold - self.right
    }

    /// None where the model misses no label.
    pub fn of(results: &Results, model: &str) -> Result<Option<Self>> {
        let outcomes = results.outcomes(model, Reading::Normalised)?;
        let mut counts = BTreeMap::<&str, [usize; 3]>::new(); // gold, given, right
        for case in &outcomes {
            case.gold.iter().for_each(|label| counts.entry(label).or_default()[0] += 1);
            case.predicted.iter().for_each(|label| counts.entry(label).or_default()[1] += 1);
            case.true_positives().for_each(|label| counts.entry(label).or_default()[2] += 1);
        }
        let missed = |[gold, _, right]: &[usize; 3]| gold - right;
        let all = counts.values().fold([0; 3], |sum, one| [0, 1, 2].map(|i| sum[i] + one[i]));
        let most = counts.iter().rev().max_by_key(|(_, one)| missed(one)).filter(|(_, one)| missed(one) > 0);
        let Some((label, one)) = most else { return Ok(None) };
        let task = &results.task;
        let training = label_counts(&task.corpus.train, Some(&|label: &str| task.names.normalise(label)));
        let f1 = |more: usize| 2.0 * (all[2] + more) as f64 / (all[0] + all[1] + more).max(1) as f64;
        Ok(Some(Self {
            label: label.to_string(),
            gold: one[0],
            given: one[1],
            right: one[2],
            training_cases: training.get(*label).copied().unwrap_or(0),
            percent: percent(missed(one), missed(&all)),
            micro_f1: f1(0),
            micro_f1_without: f1(missed(one)),
        }))
    }
}

/// One row a model: the label that it misses most often, how often, and what micro-F1 would be without these misses.
pub fn most_missed(results: &Results, models: &[&str]) -> Result<Table> {
    let row = |model: &&str| -> Result<Vec<String>> {
        let found = MostMissed::of(results, model)?;
        let Some(m) = found else { return Ok([vec![model.to_string()], vec![NONE.into(); 8]].concat()) };
        let counts = [m.training_cases, m.gold, m.given, m.right].map(|count| count.to_string());
        let costs = [format!("{:.0}", m.percent), number(m.micro_f1), number(m.micro_f1_without)];
        Ok([vec![model.to_string(), m.label], counts.to_vec(), costs.to_vec()].concat())
    };
    let rows = models.iter().map(row).collect::<Result<Vec<_>>>()?;
    let counts = ["model", "label", "training cases", "gold", "given", "right"];
    let names = [&counts[..], &["% of all misses", "micro-F1", "without these misses"]].concat();
    Ok(Table::from_rows(&names, &rows))
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

    /// Errors per 100 cases.
    pub(super) fn rate(self, cases: &[CaseFailures], bootstrap: &crate::metric::Bootstrap) -> String {
        let counts: Vec<f64> = cases.iter().map(|case| 100.0 * self.among(case).count() as f64).collect();
        interval(ratio(cases, &counts, &vec![1.0; cases.len()], bootstrap).as_ref())
    }
}

/// Every label error of a model by its cause: how many, how many per 100 cases, and the labels that they are most
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
        &["cause", "label errors", "% of all", "errors per 100 cases", "most often"],
        &Cause::ALL.map(row),
    ))
}

/// The label errors of a model by what they come from, in a sentence, the largest share first.
pub fn in_words(analysis: &Analysis, model: &str) -> Result<String> {
    let cases = analysis.get(model)?;
    let all: usize = cases.iter().map(|case| case.errors.len()).sum();
    let kinds: [(&[Cause], &str); 5] = [
        (&[Cause::Name], "the right label under another name"),
        (&[Cause::OnceOrNever, Cause::Few], "misses of labels with fewer than ten training cases"),
        (&[Cause::Known], "misses of labels with ten training cases and more"),
        (&[Cause::Distractor], "labels given where the text denies them, asks for them or looks back"),
        (&[Cause::Invented], "labels given where no sentence denies them or asks for them"),
    ];
    let count =
        |causes: &[Cause]| causes.iter().flat_map(|cause| cases.iter().map(|case| cause.among(case).count())).sum();
    let mut counted: Vec<(usize, &str)> = kinds.iter().map(|(causes, words)| (count(causes), *words)).collect();
    counted.sort_by_key(|(errors, _)| std::cmp::Reverse(*errors));
    let shares = counted.iter().filter(|(errors, _)| *errors > 0);
    let shares: Vec<String> =
        shares.map(|(errors, words)| format!("{:.0} % are {words}", percent(*errors, all))).collect();
    Ok(match shares.as_slice() {
        [] => format!("{model} makes no label error."),
        shares => format!("Of the {all} label errors of {model}, {}.", shares.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::results::tests::toy;

    #[test]
    fn the_embedded_test_names_a_label_often_that_training_hardly_has() {
        let corpus = Corpus::embedded().unwrap();
        let names = Normaliser::new(corpus.vocabulary().keys()).unwrap();
        let share = RareShare::of(&corpus, &names, 1);
        let most = share.most.clone().unwrap();
        assert_eq!((most.name.as_str(), most.training), ("liver calcification", 1));
        assert!(most.written.contains(&"liver calcifications".to_string()) && most.test <= share.rare, "{share:?}");
        assert!(share.percent() > 0.0 && share.rare < share.all, "{share:?}");
        let table = rare_labels(&corpus, &names, 1, 2);
        assert!(table.height() == 2 && table.to_text().contains("liver calcification"), "{table}");
        let none = Corpus { test: vec![], ..corpus };
        assert_eq!(rare_labels(&none, &names, 9, 5).height(), 0);
        assert_eq!(RareShare::of(&none, &names, 1), RareShare { rare: 0, all: 0, most: None });
    }

    #[test]
    fn the_most_missed_label_is_told_with_what_it_costs() {
        let folder = tempfile::tempdir().unwrap();
        let results = toy(folder.path());
        // `bad` gives 5 of 20 renal cysts and liver cyst in the other 15; ascites and gallstone are missed 10 times
        let found = MostMissed::of(&results, "bad").unwrap().unwrap();
        assert_eq!((found.label.as_str(), found.gold, found.given, found.misses()), ("renal cyst", 20, 5, 15));
        assert_eq!((found.training_cases, found.percent.round()), (20, 43.0));
        // right 5 of 40 gold and 20 given; with 15 more right and given: 2·20/(40 + 35)
        assert!((found.micro_f1 - 1.0 / 6.0).abs() < 1e-12 && (found.micro_f1_without - 40.0 / 75.0).abs() < 1e-12);
        assert!(most_missed(&results, &["bad", "good"]).unwrap().to_text().contains("0.533"));
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
        let words = in_words(&analysis, "bad").unwrap();
        let most = format!("{:.0} % are misses of labels with ten training cases and more", 3500.0 / all as f64);
        assert!(words.starts_with(&format!("Of the {all} label errors of bad, {most}")), "{words}");
        assert!(
            words.contains(&format!("{:.0} % are the right label under another name", 1000.0 / all as f64)),
            "{words}"
        );
        assert_eq!(
            in_words(&analysis, "good").unwrap().starts_with("Of the"),
            analysis.get("good").unwrap().iter().any(|c| !c.errors.is_empty())
        );
    }
}

//! The committed synthetic findings: made by the generator, in the measured shape, with a truth that holds.
use dxlab::corpus::near::NearDuplicates;
use dxlab::corpus::synthetic::{self, Truth, make};
use dxlab::corpus::{Corpus, Finding, check};
use dxlab::label::Normaliser;
use std::collections::{BTreeMap, BTreeSet};

fn counts(cases: &[Finding]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    cases.iter().flat_map(|case| &case.gold).for_each(|label| *counts.entry(label.as_str()).or_insert(0) += 1);
    counts
}

fn words(cases: &[Finding]) -> Vec<usize> {
    let mut words: Vec<usize> = cases.iter().map(|case| case.input.split_whitespace().count()).collect();
    words.sort();
    words
}

fn truths() -> Vec<Truth> {
    let path = dxlab::home().join("data/findings/truth.jsonl");
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn making_them_again_gives_the_committed_bytes() {
    let folder = tempfile::tempdir().unwrap();
    synthetic::write(make::SEED, folder.path()).unwrap();
    for name in ["train.jsonl", "test.jsonl", "truth.jsonl", "README.md"] {
        let committed = std::fs::read(dxlab::home().join("data/findings").join(name)).unwrap();
        assert!(
            committed == std::fs::read(folder.path().join(name)).unwrap(),
            "{name} differs: run `dxlab data make findings`"
        );
    }
    let other = make(8).unwrap().0;
    assert_ne!(other.digest(), Corpus::embedded().unwrap().digest());
}

#[test]
fn nothing_is_wrong_with_them_and_they_say_that_they_are_synthetic() {
    let folder = dxlab::home().join("data/findings");
    assert!(check::check(&folder).unwrap().problems.is_empty());
    let corpus = Corpus::embedded().unwrap();
    assert!(corpus.synthetic && corpus.name.contains("synthetic"));
    let readme = std::fs::read_to_string(folder.join("README.md")).unwrap();
    assert!(readme.contains("**synthetic**") && readme.contains(&corpus.digest()));
}

/// The counts of the private spreadsheet that the generator imitates.
#[test]
fn labels_are_as_frequent_as_in_the_real_findings() {
    let corpus = Corpus::embedded().unwrap();
    let (train, test) = (counts(&corpus.train), counts(&corpus.test));
    assert_eq!((corpus.train.len(), corpus.test.len()), (1236, 236));
    assert_eq!((train.len(), train.values().filter(|n| **n == 1).count()), (84, 29));
    assert_eq!((test.len(), test.values().filter(|n| **n == 1).count()), (68, 22));
    assert_eq!((train.values().sum::<usize>(), test.values().sum::<usize>()), (2819, 607));
    let mut head: Vec<(usize, &str)> = train.iter().map(|(label, n)| (*n, *label)).collect();
    head.sort_by(|a, b| b.cmp(a));
    let head: Vec<&str> = head.iter().take(10).map(|(_, label)| *label).collect();
    let wanted = [
        "renal cyst",
        "liver cyst",
        "kidney stone",
        "liver lesion",
        "gallstone",
        "fatty liver",
        "cholecystitis",
        "hydronephrosis",
        "colorectal cancer",
        "no acute abnormality",
    ];
    assert_eq!(head, wanted);
    let sizes =
        |cases: &[Finding]| (1..=9).map(|k| cases.iter().filter(|c| c.gold.len() == k).count()).collect::<Vec<_>>();
    assert_eq!(sizes(&corpus.train), [366, 456, 223, 123, 40, 19, 7, 1, 1]);
    let normal = |case: &&Finding| case.gold.iter().any(|l| l == "no acute abnormality");
    assert!(corpus.train.iter().chain(&corpus.test).filter(normal).all(|case| case.gold.len() == 1));
}

#[test]
fn an_eleventh_of_the_test_labels_is_new_and_most_of_it_is_naming() {
    let corpus = Corpus::embedded().unwrap();
    let (vocabulary, test) = (corpus.vocabulary(), counts(&corpus.test));
    let new: BTreeMap<_, _> = test.iter().filter(|(label, _)| !vocabulary.contains_key(**label)).collect();
    let share = new.values().copied().sum::<usize>() as f64 / 607.0;
    assert_eq!(new.len(), 19);
    assert!((0.08..0.09).contains(&share), "{share}");
    let normaliser = Normaliser::new(vocabulary.keys()).unwrap();
    let unknown: Vec<_> = new.keys().filter(|label| normaliser.outside_vocabulary(label)).collect();
    assert_eq!(unknown.len(), 3, "only these are new things: {unknown:?}");
}

#[test]
fn reports_are_as_long_as_real_ones_and_no_two_are_alike() {
    let corpus = Corpus::embedded().unwrap();
    for cases in [&corpus.train, &corpus.test] {
        let words = words(cases);
        let (median, p95) = (words[words.len() / 2], words[words.len() * 95 / 100]);
        assert!((118..=130).contains(&median) && (205..=220).contains(&p95), "median {median}, p95 {p95}");
        assert!(words[words.len() - 1] <= 362);
    }
    let mut seen = NearDuplicates::new(make::TOO_ALIKE);
    for case in corpus.train.iter().chain(&corpus.test) {
        assert!(seen.insert_unless_alike(&case.input), "{} is nearly a copy", case.case_id);
    }
}

#[test]
fn the_truth_names_a_sentence_for_every_label_and_no_distractor_for_any() {
    let corpus = Corpus::embedded().unwrap();
    let truths: BTreeMap<String, Truth> = truths().into_iter().map(|t| (t.case_id.clone(), t)).collect();
    let (mut spans, mut reasons) = (BTreeMap::<String, BTreeSet<String>>::new(), BTreeMap::<String, usize>::new());
    for case in corpus.train.iter().chain(&corpus.test) {
        let truth = &truths[&case.case_id];
        assert_eq!(case.gold, truth.causes.iter().map(|c| c.label.clone()).collect::<Vec<_>>(), "{}", case.case_id);
        let text: Vec<char> = case.input.chars().collect();
        let sentence = |start: usize, end: usize| text[start..end].iter().collect::<String>();
        for cause in &truth.causes {
            let said = sentence(cause.start, cause.end);
            assert!(
                said.ends_with('.') && said.starts_with(|c: char| c.is_uppercase() || c.is_ascii_digit()),
                "{said}"
            );
            spans.entry(cause.concept.clone()).or_default().insert(said);
        }
        for distractor in &truth.distractors {
            let present = truth.causes.iter().any(|c| c.concept == distractor.concept);
            assert!(!present, "{}: {distractor:?}", case.case_id);
            assert!(sentence(distractor.start, distractor.end).ends_with('.'));
            *reasons.entry(distractor.why.clone()).or_default() += 1;
        }
    }
    assert!(spans["renal cyst"].len() > 350, "{}", spans["renal cyst"].len());
    for why in ["negated", "list", "contrast", "denied", "resolved", "history", "threshold", "elsewhere", "indication"]
    {
        assert!(reasons.get(why).is_some_and(|n| *n > 100), "{why}: {reasons:?}");
    }
}

/// The words of a common label stand in reports without it about as often as in reports with it.
#[test]
fn distractors_use_the_words_of_the_labels() {
    let truths = truths();
    for label in ["renal cyst", "kidney stone", "gallstone", "hydronephrosis", "splenomegaly", "appendicitis"] {
        let caused = truths.iter().filter(|t| t.causes.iter().any(|c| c.concept == label)).count();
        let imitated = truths.iter().filter(|t| t.distractors.iter().any(|d| d.concept == label)).count();
        assert!(imitated as f64 > 0.8 * caused as f64, "{label}: {caused} caused, {imitated} imitated");
    }
}

#[test]
fn the_sealed_split_says_the_same_labels_in_other_words() {
    let folder = tempfile::tempdir().unwrap();
    synthetic::write_sealed(make::SEALED_SEED, folder.path()).unwrap();
    for name in ["test.jsonl", "truth.jsonl", "README.md"] {
        let committed = std::fs::read(dxlab::home().join("data/findings-sealed").join(name)).unwrap();
        let made = std::fs::read(folder.path().join(name)).unwrap();
        assert!(committed == made, "{name} differs: run `dxlab data make sealed`");
    }
    let (embedded, sealed) = (Corpus::embedded().unwrap(), Corpus::sealed().unwrap());
    assert_eq!(counts(&embedded.test), counts(&sealed.test), "the same labels, as often");
    assert_eq!(embedded.train, sealed.train);
    assert!(sealed.synthetic && sealed.digest() != embedded.digest());
    let runs = |cases: &[Finding]| -> BTreeSet<String> {
        let number =
            |word: &str| if word.contains(|c: char| c.is_ascii_digit()) { "0".into() } else { word.to_lowercase() };
        let of = |case: &Finding| {
            let words: Vec<String> = case.input.split_whitespace().map(number).collect();
            words.windows(5).map(|run| run.join(" ")).collect::<Vec<_>>()
        };
        cases.iter().flat_map(of).collect()
    };
    let (train, test, new) = (runs(&embedded.train), runs(&embedded.test), runs(&sealed.test));
    let known = |runs: &BTreeSet<String>| runs.intersection(&train).count() as f64 / runs.len() as f64;
    assert!(known(&test) > 0.3 && known(&new) < 0.05, "five-word runs known: {} and {}", known(&test), known(&new));
}

#[test]
fn fresh_reports_repeat_from_their_seed_and_are_no_test_cases() {
    let fresh = synthetic::fresh_cases(3, 60).unwrap();
    assert_eq!(fresh[..40], synthetic::fresh_cases(3, 40).unwrap()[..]);
    assert_ne!(fresh[0].input, synthetic::fresh_cases(4, 1).unwrap()[0].input);
    let test: BTreeSet<String> = Corpus::embedded().unwrap().test.into_iter().map(|c| c.case.input).collect();
    assert!(synthetic::training_text(3, 60).unwrap().iter().all(|text| !test.contains(text)));
    let labels: usize = fresh.iter().map(|case| case.gold.len()).sum();
    assert!((100..180).contains(&labels), "{labels}");
}

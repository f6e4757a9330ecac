//! The data chapter: what is in a corpus, how its labels are spread and named, and single cases with the reason for each label.
use crate::corpus::leak::{Kind, Leaks, Role};
use crate::corpus::shape::{Shape, Unseen};
use crate::corpus::synthetic::Truth;
use crate::corpus::{Corpus, Finding};
use crate::report::kit::display::{NONE, Table};
use std::collections::BTreeMap;

/// Sizes, labels and lengths of both splits, one row a property.
pub fn shape(corpus: &Corpus) -> Table {
    let (train, test) = (Shape::of(&corpus.train), Shape::of(&corpus.test));
    let row = |what: &str, of: &dyn Fn(&Shape) -> String| vec![what.to_string(), of(&train), of(&test)];
    let rows = [
        row("cases", &|s| s.cases.to_string()),
        row("groups (patients)", &|s| if s.groups == s.cases { "none known".into() } else { s.groups.to_string() }),
        row("distinct labels", &|s| s.labels.to_string()),
        row("… carried by one case only", &|s| s.singletons.to_string()),
        row("labels, all cases", &|s| s.instances.to_string()),
        row("labels a case, mean", &|s| format!("{:.2}", s.labels_per_case())),
        row("words a finding, median", &|s| s.words_at(0.5).to_string()),
        row("words a finding, 95th percentile", &|s| s.words_at(0.95).to_string()),
        row("words a finding, longest", &|s| s.words_at(1.0).to_string()),
    ];
    Table::from_rows(&["property", "training", "test"], &rows)
}

/// How many cases carry one, two, … labels, as counts and shares of each split.
pub fn labels_per_case(corpus: &Corpus) -> Table {
    let (train, test) = (Shape::of(&corpus.train), Shape::of(&corpus.test));
    let most = train.by_count.keys().chain(test.by_count.keys()).max().copied().unwrap_or(0);
    let cells = |shape: &Shape, count: usize| {
        let cases = shape.by_count.get(&count).copied().unwrap_or(0);
        [cases.to_string(), format!("{:.1}", 100.0 * cases as f64 / shape.cases.max(1) as f64)]
    };
    let row =
        |count: usize| [vec![count.to_string()], cells(&train, count).to_vec(), cells(&test, count).to_vec()].concat();
    let least = if train.by_count.contains_key(&0) || test.by_count.contains_key(&0) { 0 } else { 1 };
    let rows: Vec<_> = (least..=most).map(row).collect();
    Table::from_rows(&["labels", "training", "%", "test", "% of test"], &rows)
}

/// The `most` frequent labels that only the test has: what they are called after normalisation, and whether training knows that.
pub fn unseen(unseen: &Unseen, most: usize) -> Table {
    let row = |(label, count, usual, known): &(String, usize, String, bool)| {
        let known = if *known { "yes" } else { "no" };
        vec![label.clone(), count.to_string(), usual.clone(), known.into()]
    };
    let rows: Vec<_> = unseen.labels.iter().take(most).map(row).collect();
    Table::from_rows(&["label in the test", "test cases", "after normalisation", "then known"], &rows)
}

/// One finding in full, stretch by stretch: what each implies, and what it only speaks of and why that does not count.
/// Without a truth (real findings) the whole text stands beside its labels.
pub fn explained(case: &Finding, truths: &BTreeMap<String, Truth>) -> Table {
    let names = ["text", "implies", "speaks of, without implying"];
    let Some(truth) = truths.get(&case.case_id) else {
        return Table::from_rows(&names, &[vec![case.input.clone(), case.gold.join(", "), NONE.into()]]);
    };
    let row = |stretch: crate::corpus::synthetic::truth::Stretch| {
        let others = stretch.distracts.iter().map(|(label, why)| format!("{label} ({why})"));
        vec![stretch.text, stretch.causes.join(", "), others.collect::<Vec<_>>().join(", ")]
    };
    Table::from_rows(&names, &truth.stretches(case).into_iter().map(row).collect::<Vec<_>>())
}

/// Two test cases worth reading, the shortest of each kind: several labels; a label that training names differently or lacks. Where a
/// kind does not occur the shortest case left takes its place.
pub fn instructive(corpus: &Corpus) -> Vec<Finding> {
    let known = corpus.vocabulary();
    let kinds: [&dyn Fn(&Finding) -> bool; 2] =
        [&|case| case.gold.len() >= 3, &|case| case.gold.iter().any(|label| !known.contains_key(label))];
    let mut left: Vec<&Finding> = corpus.test.iter().collect();
    left.sort_by_key(|case| (case.input.len(), case.case_id.as_str()));
    let mut chosen = Vec::new();
    for kind in kinds.iter().filter(|_| !corpus.test.is_empty()) {
        let at = left.iter().position(|case| kind(case)).unwrap_or(0);
        if at < left.len() {
            chosen.push(left.remove(at).clone());
        }
    }
    chosen
}

/// Sentences that use a label's words without implying it, by the reason, over the given cases: how often, and in how many
/// cases. Empty for findings without a truth.
pub fn distractors(cases: &[Finding], truths: &BTreeMap<String, Truth>) -> Table {
    let mut counts = BTreeMap::<&str, (usize, std::collections::BTreeSet<&str>, &str)>::new();
    for truth in cases.iter().filter_map(|case| truths.get(&case.case_id)) {
        for other in &truth.distractors {
            let entry = counts.entry(&other.why).or_insert((0, Default::default(), &other.concept));
            entry.0 += 1;
            entry.1.insert(&truth.case_id);
        }
    }
    let mut rows: Vec<_> = counts.into_iter().collect();
    rows.sort_by_key(|(why, (count, ..))| (std::cmp::Reverse(*count), *why));
    let row = |(why, (count, cases, _)): (&str, (usize, std::collections::BTreeSet<&str>, &str))| {
        vec![why.to_string(), meaning(why).to_string(), count.to_string(), cases.len().to_string()]
    };
    Table::from_rows(&["reason", "the sentence", "mentions", "cases"], &rows.into_iter().map(row).collect::<Vec<_>>())
}

/// What the generator means by a reason.
fn meaning(why: &str) -> &'static str {
    match why {
        "negated" => "denies it: no, without, free of",
        "list" => "denies several in one list",
        "contrast" => "denies it beside something that is there",
        "denied" => "considers it and rules it out",
        "resolved" => "says that it is gone since an earlier study",
        "history" => "says that it was treated or removed",
        "threshold" => "measures what stays below the limit",
        "elsewhere" => "means another organ",
        "indication" => "is the question of the referral, not its answer",
        _ => "another reason",
    }
}

/// What the leak gate compared and found: a row a kind of leak, then a row a leak (the first `most`, and how many more there are).
pub fn leaks(leaks: &Leaks, most: usize) -> Table {
    let part = |(name, role, cases): &(String, Role, usize)| {
        let which = if *role == Role::Validation { " (validation)" } else { "" };
        format!("{cases} {name}{which}")
    };
    let parts: Vec<String> = leaks.parts.iter().map(part).collect();
    let count = |kind| leaks.leaks.iter().filter(|leak| leak.kind == kind).count().to_string();
    let mut rows = vec![
        vec!["cases".to_string(), parts.join(", ")],
        vec!["pairs compared, across roles".into(), leaks.pairs.to_string()],
        vec!["candidates verified exactly".into(), leaks.candidates.to_string()],
        vec!["bands and rows of MinHash".into(), format!("{} × {}", leaks.bands, leaks.rows)],
        vec!["near from a similarity of".into(), leaks.limit.to_string()],
        vec!["exact duplicates".into(), count(Kind::Exact)],
        vec!["near duplicates".into(), count(Kind::Near)],
        vec!["shared groups (patients)".into(), count(Kind::Group)],
    ];
    rows.extend(leaks.leaks.iter().take(most).map(|leak| vec!["leak".into(), leak.to_string()]));
    if leaks.leaks.len() > most {
        rows.push(vec!["leak".into(), format!("… and {} more", leaks.leaks.len() - most)]);
    }
    Table::from_rows(&["what", "value"], &rows)
}

/// Text as it is, for a page: every newline shown as ⏎, longer lines broken between words after `width` characters.
pub fn wrapped(text: &str, width: usize) -> String {
    let mut out = String::new();
    for (i, line) in text.split('\n').enumerate() {
        out += if i > 0 { "⏎\n" } else { "" };
        let mut column = 0;
        for word in line.split_inclusive(' ') {
            let length = word.chars().count();
            if column > 0 && column + length > width {
                out.push('\n');
                column = 0;
            }
            out += word;
            column += length;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::leak::{LIMIT, Part, find};
    use crate::corpus::synthetic::truth;

    #[test]
    fn the_embedded_corpus_has_its_measured_shape() {
        let corpus = Corpus::embedded().unwrap();
        let text = shape(&corpus).to_text();
        let row =
            |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap().split_whitespace().last().unwrap();
        assert_eq!(row("cases"), corpus.test.len().to_string());
        assert_eq!(labels_per_case(&corpus).height(), 9);
    }

    #[test]
    fn the_chosen_cases_differ_and_are_explained_in_full() {
        let corpus = Corpus::embedded().unwrap();
        let truths = truth::read(&crate::home().join("data/findings")).unwrap();
        let chosen = instructive(&corpus);
        assert_eq!(chosen.len(), 2);
        let known = corpus.vocabulary();
        assert!(chosen[0].gold.len() >= 3 && chosen[1].gold.iter().any(|label| !known.contains_key(label)));
        for case in &chosen {
            let table = explained(case, &truths).to_markdown();
            assert!(case.gold.iter().all(|label| table.contains(label.as_str())), "{table}");
        }
        let bare = explained(&chosen[0], &BTreeMap::new());
        assert_eq!(bare.height(), 1);
        assert!(distractors(&corpus.test, &truths).height() > 5);
    }

    #[test]
    fn leaks_that_are_not_shown_are_counted() {
        let cases = &Corpus::embedded().unwrap().train[..3];
        let part = |name: &str, role| {
            let cases = cases.iter().map(|one| &one.case).collect();
            Part { name: name.into(), role, space: name.into(), cases }
        };
        let found = find(&[part("train", Role::Train), part("test", Role::Test)], LIMIT).unwrap();
        let (cut, all) = (leaks(&found, 2).to_text(), leaks(&found, 3).to_text());
        assert!(cut.matches(": exact").count() == 2 && cut.contains("… and 1 more"), "{cut}");
        assert!(all.matches(": exact").count() == 3 && !all.contains(" more"), "{all}");
    }

    #[test]
    fn wrapping_changes_nothing_but_line_ends() {
        let text = "one two three four\nfive\n\nsix";
        let shown = wrapped(text, 9);
        assert_eq!(shown, "one two \nthree \nfour⏎\nfive⏎\n⏎\nsix");
        assert_eq!(shown.replace("⏎\n", "\u{1}").replace('\n', "").replace('\u{1}', "\n"), text);
    }
}

//! The chapter on failures: the taxonomy, the evidence sentences of errors, confusions, clusters, what would fix them, and cases
//! in full. Every number is counted from `study::failure`'s records.
use crate::error::Result;
use crate::failure;
use crate::failure::{CaseFailures, Class, Where, agreement, clusters, confusions, cues, fixed, fixed_by_class, tally};
use crate::label::sentences;
use crate::metric::Estimate;
use crate::report::kit::display::{Figure, NONE, Table, detectable, difference, interval, number};
use crate::report::kit::flow;
use crate::report::kit::flow::Outlet;
use crate::report::kit::passage::{Passage, Stretch};
use crate::study::{Analysis, BANDS, Results};
use std::collections::{BTreeMap, BTreeSet};

/// One row a class: label errors, how many a hundred cases, and the share of cases with any.
pub fn taxonomy(cases: &[CaseFailures], bootstrap: &crate::metric::Bootstrap) -> Table {
    let row = |tally: crate::failure::Tally| {
        let side = |on| {
            let all = cases.iter().flat_map(|case| &case.errors);
            all.filter(|error| error.class == tally.class && error.on == on).count().to_string()
        };
        vec![
            tally.class.name().into(),
            side(Where::Gold),
            side(Where::Given),
            interval(tally.rate.as_ref()),
            interval(tally.cases.as_ref()),
        ]
    };
    let rows: Vec<_> = tally(cases, bootstrap).into_iter().map(row).collect();
    Table::from_rows(&["class", "gold labels", "given labels", "errors a hundred cases", "share of cases"], &rows)
}

/// Errors a hundred cases of every class, one column a model.
pub fn by_model(analysis: &Analysis, models: &[&str]) -> Result<Table> {
    let tallies =
        models.iter().map(|model| Ok(tally(analysis.get(model)?, &analysis.bootstrap))).collect::<Result<Vec<_>>>()?;
    let row = |(i, class): (usize, &Class)| {
        let cells = tallies.iter().map(|tally| interval(tally[i].rate.as_ref()));
        [class.name().to_string()].into_iter().chain(cells).collect::<Vec<_>>()
    };
    let rows: Vec<_> = Class::ALL.iter().enumerate().map(row).collect();
    Ok(Table::from_rows(&[&["class"], models].concat(), &rows))
}

/// What is wrong with answers as a whole: cases of each model.
pub fn formats(analysis: &Analysis) -> Table {
    let row = |(name, cases): &(String, Vec<CaseFailures>)| {
        let count = |is: &dyn Fn(&CaseFailures) -> bool| cases.iter().filter(|case| is(case)).count().to_string();
        vec![
            name.clone(),
            cases.len().to_string(),
            count(&|case| case.format.unparsed),
            count(&|case| case.format.repeated),
            count(&|case| case.format.cut),
            count(&|case| case.format.reordered),
            count(&|case| case.errors.is_empty()),
        ]
    };
    let names =
        ["model", "n", "nothing read", "says a label twice", "never stops", "right in another order", "no error"];
    Table::from_rows(&names, &analysis.models.iter().map(row).collect::<Vec<_>>())
}

/// Where every gold and every given label of a model ended.
pub fn flows(analysis: &Analysis, model: &str) -> Result<Figure> {
    let cases = analysis.get(model)?;
    let right = cases.iter().map(|case| case.right.len()).sum::<usize>();
    let golds: usize = cases.iter().map(|case| case.gold.len()).sum();
    let mut outlets = vec![Outlet { name: "right".into(), gold: right, given: right, text: share(right, golds) }];
    for tally in tally(cases, &analysis.bootstrap).into_iter().filter(|tally| tally.errors > 0) {
        let side =
            |on| cases.iter().flat_map(|case| &case.errors).filter(|e| e.class == tally.class && e.on == on).count();
        let text = format!("{}, {} a 100 cases", tally.errors, interval(tally.rate.as_ref()));
        outlets.push(Outlet {
            name: tally.class.name().into(),
            gold: side(Where::Gold),
            given: side(Where::Given),
            text,
        });
    }
    flow::flow(&outlets)
}

fn share(part: usize, of: usize) -> String {
    format!("{part} ({} % of gold)", number(100.0 * part as f64 / of.max(1) as f64))
}

/// The labels most often missed against those given wrongly in the same cases (normalised), `most` of each; the last column counts
/// missed labels of cases where nothing was given wrongly.
pub fn confusion(analysis: &Analysis, model: &str, most: usize) -> Result<Figure> {
    let counts = confusions(analysis.get(model)?);
    let top = |pick: fn(&(String, String)) -> &String| {
        let mut sums = BTreeMap::<&String, usize>::new();
        counts.iter().for_each(|(pair, count)| *sums.entry(pick(pair)).or_default() += count);
        let mut sums: Vec<_> = sums.into_iter().filter(|(label, _)| !label.is_empty()).collect();
        sums.sort_by_key(|(label, count)| (std::cmp::Reverse(*count), *label));
        sums.into_iter().take(most).map(|(label, _)| label.clone()).collect::<Vec<String>>()
    };
    let (rows, columns) = (top(|pair| &pair.0), top(|pair| &pair.1));
    let count = |row: &String, column: &str| counts.get(&(row.clone(), column.to_string())).copied().unwrap_or(0);
    let cells = |row: &String| columns.iter().map(String::as_str).chain([""]).map(|c| count(row, c)).collect();
    let cells: Vec<Vec<usize>> = rows.iter().map(cells).collect();
    let columns: Vec<String> = columns.iter().cloned().chain(["(nothing)".to_string()]).collect();
    flow::matrix(("missed", &rows), ("given wrongly in the same case", &columns), &cells)
}

/// How often the evidence sentence of an error is the generator's; a row of dashes for findings without a truth.
pub fn attribution(analysis: &Analysis, models: &[&str]) -> Result<Table> {
    let name = |label: &str| analysis.names.normalise(label);
    let mut rows = Vec::new();
    for model in models {
        for found in agreement(analysis.get(model)?, &analysis.truths, &name, &analysis.bootstrap) {
            let counts = [found.errors, found.attributed, found.known, found.right].map(|count| count.to_string());
            let measured = [interval(found.precision.as_ref()), interval(found.recall.as_ref())];
            rows.push([vec![model.to_string(), found.what.into()], counts.to_vec(), measured.to_vec()].concat());
        }
    }
    let names = ["model", "labels", "errors", "attributed", "sentence known", "the same", "precision", "recall"];
    Ok(Table::from_rows(&names, &rows))
}

/// Invented labels by what the record of the cases says of them (rows; "not spoken of" without a record) and the class that the cue words of the sentence gave (columns).
pub fn reasons(analysis: &Analysis, model: &str) -> Result<Table> {
    let name = |label: &str| analysis.names.normalise(label);
    let counts = cues(analysis.get(model)?, &analysis.truths, &name);
    let reasons: BTreeSet<&String> = counts.keys().map(|(why, _)| why).collect();
    let classes = [Class::NegationMissed, Class::OtherDistractor, Class::Invented];
    let row = |why: &String| {
        let cells = classes.map(|class| counts.get(&(why.clone(), class)).copied().unwrap_or(0).to_string());
        [vec![why.clone()], cells.to_vec()].concat()
    };
    let names: Vec<&str> = ["in the record"].into_iter().chain(classes.map(Class::name)).collect();
    Ok(Table::from_rows(&names, &reasons.into_iter().map(row).collect::<Vec<_>>()))
}

/// Clusters of error sentences: size, commonest classes and labels, the words that tell them apart, and a typical sentence.
pub fn grouped(analysis: &Analysis, model: &str, most: usize) -> Result<Table> {
    let found = clusters(analysis.get(model)?, most, analysis.bootstrap.seed);
    let listed = |items: Vec<String>| items.into_iter().take(3).collect::<Vec<_>>().join(", ");
    let row = |cluster: &crate::failure::Cluster| {
        vec![
            cluster.errors.len().to_string(),
            listed(cluster.classes.iter().map(|(class, n)| format!("{} {n}", class.name())).collect()),
            listed(cluster.labels.iter().map(|(label, n)| format!("{label} {n}")).collect()),
            cluster.terms.join(", "),
            cluster.typical.clone(),
        ]
    };
    let names = ["errors", "classes", "labels", "words", "typical sentence"];
    Ok(Table::from_rows(&names, &found.iter().map(row).collect::<Vec<_>>()))
}

/// What other runs on the same cases do with the errors of `model`: what each changes, how many errors it fixes and makes, and the
/// difference in errors a hundred cases beside the smallest one that so many cases could show (80 % power, one comparison).
pub fn remedies(analysis: &Analysis, model: &str, others: &[(&str, &str)]) -> Result<Table> {
    let cases = analysis.get(model)?;
    let row = |(change, other): &(&str, &str)| -> Result<Vec<String>> {
        let found = fixed(cases, analysis.get(other)?, &analysis.bootstrap);
        let cells = [found.errors, found.fixed].map(|count| count.to_string());
        let balance = found.balance.as_ref();
        let tail = [interval(found.share.as_ref()), found.new.to_string(), difference(balance), detectable(balance)];
        Ok([vec![change.to_string(), other.to_string()], cells.to_vec(), tail.to_vec()].concat())
    };
    let rows = others.iter().map(row).collect::<Result<Vec<_>>>()?;
    let balance = "difference per 100 cases";
    let names = ["change", "run", "errors", "fixed", "share fixed", "new errors", balance, "detectable"];
    Ok(Table::from_rows(&names, &rows))
}

/// Of the errors of each class of `model`, how many every other run does not make: `fixed of errors`.
pub fn remedies_by_class(analysis: &Analysis, model: &str, others: &[&str]) -> Result<Table> {
    by_class(analysis, model, &others.iter().map(|other| (other.to_string(), Some(*other))).collect::<Vec<_>>())
}

/// As [`remedies_by_class`], of headings and runs; a column without a run has dashes.
pub(super) fn by_class(analysis: &Analysis, model: &str, columns: &[(String, Option<&str>)]) -> Result<Table> {
    let cases = analysis.get(model)?;
    let of = |(_, run): &(String, Option<&str>)| -> Result<_> {
        run.map(|run| Ok(fixed_by_class(cases, analysis.get(run)?))).transpose()
    };
    let found = columns.iter().map(of).collect::<Result<Vec<_>>>()?;
    let occurs = |class: &Class| found.iter().flatten().any(|counts| counts.contains_key(class));
    let row = |class: Class| {
        let cell = |counts: &Option<BTreeMap<Class, (usize, usize)>>| {
            let count = counts.as_ref().and_then(|counts| counts.get(&class));
            count.map_or(NONE.into(), |(errors, fixed)| format!("{fixed} of {errors}"))
        };
        [class.name().to_string()].into_iter().chain(found.iter().map(cell)).collect::<Vec<_>>()
    };
    let rows: Vec<_> = Class::ALL.into_iter().filter(occurs).map(row).collect();
    let heads: Vec<&str> = ["class"].into_iter().chain(columns.iter().map(|(head, _)| head.as_str())).collect();
    Ok(Table::from_rows(&heads, &rows))
}

/// Share of gold labels missed (forgiven ones aside) by how many training cases carry the label: what more data could fix.
pub fn missed_by_frequency(analysis: &Analysis, results: &Results, models: &[&str]) -> Result<Table> {
    let normalise = |label: &str| analysis.names.normalise(label);
    let counts = crate::report::kit::tables::label_counts(&results.task.corpus.train, Some(&normalise));
    let known = |label: &str| counts.get(&normalise(label)).copied().unwrap_or(0);
    let mut rows = Vec::new();
    for (name, fewest, most) in BANDS {
        let inside = |count: usize| (fewest..=most).contains(&count);
        let mut row = vec![crate::study::band(name, fewest, most)];
        for (i, model) in models.iter().enumerate() {
            let cases = analysis.get(model)?;
            let gold = |case: &CaseFailures| case.gold.iter().filter(|label| inside(known(label))).count() as f64;
            let missed = |case: &CaseFailures| {
                let lost =
                    case.errors.iter().filter(|e| e.on == Where::Gold && !e.forgiven && inside(e.training_cases));
                lost.count() as f64
            };
            let (missed, gold): (Vec<f64>, Vec<f64>) =
                (cases.iter().map(missed).collect(), cases.iter().map(gold).collect());
            if i == 0 {
                row.push((gold.iter().sum::<f64>() as usize).to_string());
            }
            row.push(interval(failure::share(cases, &missed, &gold, &analysis.bootstrap).as_ref()));
        }
        rows.push(row);
    }
    Ok(Table::from_rows(&[&["training cases", "gold labels"], models].concat(), &rows))
}

/// What the normaliser forgives of each model's errors: labels that are right under another name, on either side.
pub fn forgiven(analysis: &Analysis) -> Table {
    let row = |(name, cases): &(String, Vec<CaseFailures>)| {
        let all: Vec<_> = cases.iter().flat_map(|case| &case.errors).collect();
        let of = |class| all.iter().filter(|e| e.forgiven && e.class == class).count().to_string();
        let parts =
            |case: &CaseFailures, forgiven: bool| case.errors.iter().filter(|e| !forgiven || e.forgiven).count() as f64;
        let over: Vec<f64> = cases.iter().map(|case| parts(case, true)).collect();
        let under: Vec<f64> = cases.iter().map(|case| parts(case, false)).collect();
        let share: Option<Estimate> = failure::share(cases, &over, &under, &analysis.bootstrap);
        vec![
            name.clone(),
            all.len().to_string(),
            of(Class::NamingShift),
            of(Class::SynonymOnly),
            of(Class::WrongCertainty),
            interval(share.as_ref()),
        ]
    };
    let names =
        ["model", "label errors as written", "naming shift", "synonym only", "wrong certainty", "share forgiven"];
    Table::from_rows(&names, &analysis.models.iter().map(row).collect::<Vec<_>>())
}

/// The case that shows a class of `model`'s errors best, in full; says so where there is none.
pub fn example(analysis: &Analysis, results: &Results, model: &str, class: Class) -> Result<Passage> {
    match analysis.example(model, class)? {
        Some(failures) => case(analysis, results, model, failures),
        None => {
            let title = format!("{model} has no error of class `{}` with an evidence sentence", class.name());
            Ok(Passage { title, ..Passage::default() })
        }
    }
}

/// A case in full: its text with every evidence sentence of an error marked, and those that the truth names for the label.
pub fn case(analysis: &Analysis, results: &Results, model: &str, failures: &CaseFailures) -> Result<Passage> {
    let text = &results.task.corpus.case(&failures.case_id)?.input;
    let truth = analysis.truths.get(&failures.case_id);
    let name = |label: &str| analysis.names.normalise(label);
    let mut notes = BTreeMap::<usize, BTreeSet<String>>::new();
    let parts = sentences(text);
    let within = |from: usize, to: usize| {
        parts.iter().enumerate().filter(move |(_, part)| part.start < to && from < part.end).map(|(i, _)| i)
    };
    for error in &failures.errors {
        if let Some(evidence) = &error.evidence {
            notes.entry(evidence.sentence).or_default().insert(format!("{}: {}", error.class.name(), error.label));
        }
        let Some(truth) = truth else { continue };
        let causes = truth.causes.iter().filter(|c| error.on == Where::Gold && name(&c.label) == error.name);
        for (cause, i) in causes.flat_map(|cause| within(cause.start, cause.end).map(move |i| (cause, i))) {
            notes.entry(i).or_default().insert(format!("truth: implies {}", cause.label));
        }
        let others = truth.distractors.iter().filter(|o| error.on == Where::Given && name(&o.concept) == error.name);
        for (other, i) in others.flat_map(|other| within(other.start, other.end).map(move |i| (other, i))) {
            notes.entry(i).or_default().insert(format!("truth: {} {}", other.why, other.concept));
        }
    }
    let stretch = |(i, part): (usize, &crate::label::Sentence)| Stretch {
        text: part.text.clone(),
        notes: notes.get(&i).into_iter().flatten().cloned().collect(),
    };
    let list = |labels: &[String]| if labels.is_empty() { NONE.to_string() } else { labels.join(", ") };
    let without: Vec<String> = failures
        .errors
        .iter()
        .filter(|error| error.evidence.is_none())
        .map(|error| match &error.partner {
            Some(partner) => format!("{}: {} (for {partner})", error.class.name(), error.label),
            None => format!("{}: {}", error.class.name(), error.label),
        })
        .collect();
    let mut facts = vec![("gold".into(), list(&failures.gold)), (model.to_string(), list(&failures.given))];
    facts.extend((!without.is_empty()).then(|| ("errors without an evidence sentence".into(), without.join("; "))));
    let kind = if results.task.corpus.synthetic { "synthetic case" } else { "case" };
    Ok(Passage {
        title: format!("{kind} {}", failures.case_id),
        facts,
        stretches: parts.iter().enumerate().map(stretch).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::analysis::tests::analysis;

    #[test]
    fn every_table_and_figure_is_made_from_the_records_of_a_store() {
        let folder = tempfile::tempdir().unwrap();
        let (results, analysis) = analysis(folder.path());
        let text = by_model(&analysis, &["bad", "good"]).unwrap().to_text();
        // bad answers 15 of 20 cases with a liver cyst in place of a renal cyst, and never names the second label
        assert!(text.contains("missed"), "{text}");
        let bad = taxonomy(analysis.get("bad").unwrap(), &analysis.bootstrap).to_text();
        let row = |start: &str| bad.lines().find(|line| line.starts_with(start)).unwrap().to_string();
        assert!(row("missed").contains("35 ") && row("synonym only").contains('5'), "{bad}");
        assert!(flows(&analysis, "bad").unwrap().svg().contains("gold labels (40)"));
        assert!(confusion(&analysis, "bad", 5).unwrap().svg().contains("liver cyst"));
        let fixes = remedies(&analysis, "bad", &[("more right", "good")]).unwrap().to_text();
        let plain = fixes.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(plain.contains("more right good 50 30"), "{fixes}");
        assert!(fixes.lines().next().unwrap().ends_with("detectable") && !plain.ends_with('–'), "{fixes}");
        let same = remedies(&analysis, "bad", &[("nothing", "bad")]).unwrap().to_text();
        assert!(same.trim_end().ends_with("no case differs"), "{same}");
        assert!(remedies_by_class(&analysis, "bad", &["good"]).unwrap().to_text().contains("15 of 35"));
        let bands = missed_by_frequency(&analysis, &results, &["bad"]).unwrap().to_text();
        assert!(bands.lines().nth(2).unwrap().contains("40"), "{bands}");
        assert!(forgiven(&analysis).to_text().contains("good"));
        assert!(formats(&analysis).to_text().contains("bad    20"));
        assert_eq!(attribution(&analysis, &["bad"]).unwrap().height(), 2);
        let shown = example(&analysis, &results, "bad", Class::SynonymOnly).unwrap().to_text();
        assert!(
            shown.contains("synthetic case c") && shown.contains("synonym only: renal cysts (for renal cyst)"),
            "{shown}"
        );
        let none = example(&analysis, &results, "bad", Class::WrongSide).unwrap().to_text();
        assert!(none.contains("bad has no error of class `wrong side`"), "{none}");
        assert!(analysis.get("ugly").err().unwrap().to_string().contains("there are bad, good"));
    }
}

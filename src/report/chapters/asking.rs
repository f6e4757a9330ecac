//! How far asking gets: ways of asking beside each other on validation cases, and of each kind the best, beside what needs no language
//! model, on test cases.
use crate::baseline::NameSearch;
use crate::error::Result;
use crate::metric::Reading;
use crate::report::kit::Slider;
use crate::report::kit::display::{NONE, Table, difference, interval};
use crate::study::{Answered, Asked, Kind};
use std::collections::{BTreeMap, BTreeSet};

/// Asks what is missing.
const ASK: &str = "dxlab prompts configs/prompts.toml";

/// The ways of one axis that were asked, one row each: tokens per case, the study's metric on the validation cases, its
/// difference to the first way with p after Holm over the whole study, the share of answers that could be read, and the share of cases that got the
/// commonest answer: 1 for a model that says the same of every case.
pub fn axis(asked: &Asked, name: &str) -> Result<Table> {
    let ((axis, ways), metric) = (asked.axis(name)?, &asked.study.metric);
    if ways.is_empty() {
        let missing: Vec<_> = axis.ways.iter().map(|way| vec![way.name.clone(), way.about.clone()]).collect();
        return Ok(Table::from_rows(&["not asked yet", &format!("`{ASK}` asks it")], &missing));
    }
    let comparisons = asked.comparisons()?;
    let first = axis.ways.first().map_or("", |way| way.name.as_str());
    let mut rows = Vec::new();
    for way in axis.ways.iter().filter(|way| ways.contains(&way.name.as_str())) {
        let model = asked.results.get(&way.name)?;
        let ((prompt, new), read) = (tokens(model), &model.evaluation);
        let mut row = vec![way.name.clone(), format!("{prompt:.0}"), format!("{new:.0}")];
        let unread = read.get(Reading::Normalised, "parse_failure_rate").map(|e| format!("{:.2}", 1.0 - e.value));
        row.extend([unread.unwrap_or(NONE.into()), format!("{:.2}", commonest(model))]);
        row.push(interval(read.get(Reading::Normalised, metric)));
        match comparisons.iter().find(|row| row.a == first && row.b == way.name) {
            Some(row_) => {
                let d = row_.difference.as_ref();
                let p = row_.p_holm.map_or(NONE.into(), |p| format!("{p:.3}"));
                row.extend([difference(d), p]);
            }
            None => row.extend([NONE; 2].map(String::from)),
        }
        rows.push(row);
    }
    let to_first = format!("difference to {first}");
    let names = ["way", "prompt tokens", "new tokens", "read", "same answer", metric, &to_first, "p (Holm)"];
    Ok(Table::from_rows(&names, &rows))
}

/// F1 and the share of answers that could be read on the validation cases by the number of examples, the same for all (`shots-N`) and the
/// nearest (`near-N`): the numbers that were asked both ways.
pub fn examples(asked: &Asked) -> Result<Slider> {
    let (axis, ways) = asked.axis("number")?;
    let values = |way: &str| -> Option<[f64; 2]> {
        let read = &asked.results.get(way).ok()?.evaluation;
        let of = |key: &str| read.get(Reading::Normalised, key).map(|estimate| estimate.value);
        Some([of(&asked.study.metric)?, 1.0 - of("parse_failure_rate")?])
    };
    let none = axis.ways.first().map_or("", |way| way.name.as_str());
    let mut steps: Vec<(usize, Vec<f64>)> = values(none).into_iter().map(|v| (0, [v, v].concat())).collect();
    for way in &ways {
        let Some(number) = way.strip_prefix("shots-").and_then(|number| number.parse().ok()) else { continue };
        if let (Some(same), Some(near)) = (values(way), values(&format!("near-{number}"))) {
            steps.push((number, [same, near].concat()));
        }
    }
    if steps.len() < 2 {
        return Slider::new("not asked yet", &[], vec![(format!("`{ASK}` asks it"), vec![])]);
    }
    steps.sort_by_key(|(number, _)| *number);
    let names = ["F1, the same for all", "read, the same for all", "F1, nearest", "read, nearest"];
    Slider::new("examples", &names, steps.into_iter().map(|(number, values)| (number.to_string(), values)).collect())
}

/// The best way of each kind on the validation cases: its name, what it is, its metric there.
pub fn chosen(asked: &Asked) -> Result<Table> {
    let mut rows = Vec::new();
    for kind in Kind::ALL {
        if let Some(way) = asked.best(kind)? {
            let score = asked.results.get(&way.name)?.evaluation.get(Reading::Normalised, &asked.study.metric);
            rows.push(vec![kind.name().into(), way.name.clone(), way.about.clone(), interval(score)]);
        }
    }
    Ok(Table::from_rows(&["answers", "best way", "what it is", &asked.study.metric], &rows))
}

/// How many ways were asked, and which were not.
pub fn standing(asked: &Asked) -> Result<String> {
    let (all, missing) = (asked.study.ways()?.len(), asked.missing()?);
    let (cases, missed) = (asked.results.task.corpus.test.len(), missing.join(", "));
    Ok(match missing.is_empty() {
        true => format!("all {all} ways were asked about {cases} validation cases"),
        false => format!(
            "{} of {all} ways were asked about {cases} validation cases; not asked: {missed}",
            all - missing.len()
        ),
    })
}

/// How many answers of a way hold a training label anywhere in their words, and how many one of their case's own: an answer in sentences, which is
/// not read as a list, may still name diagnoses. None where it was not asked.
pub fn named(asked: &Asked, way: &str) -> Result<Option<String>> {
    let Ok(model) = asked.results.get(way) else { return Ok(None) };
    let search = NameSearch::fit(&asked.results.task.corpus.train)?;
    let (same, mut any, mut right) = (&asked.results.task.names, 0, 0);
    for one in &model.predictions {
        let found: BTreeSet<String> = search.labels(&one.raw).iter().map(|label| same.normalise(label)).collect();
        any += usize::from(!found.is_empty());
        right += usize::from(one.gold.iter().any(|label| found.contains(&same.normalise(label))));
    }
    let all = model.predictions.len();
    Ok(Some(format!(
        "of the {all} answers to {way}, {any} have a training label anywhere in their words, and {right} a label of their case"
    )))
}

/// Share of the cases that got the commonest answer, as it was read.
fn commonest(model: &Answered) -> f64 {
    let mut times = BTreeMap::<BTreeSet<&str>, usize>::new();
    for one in &model.predictions {
        *times.entry(one.answer.iter().map(String::as_str).collect()).or_default() += 1;
    }
    times.values().max().copied().unwrap_or_default() as f64 / model.predictions.len().max(1) as f64
}

/// Tokens per case: of the prompt, and of all answers to it.
fn tokens(model: &Answered) -> (f64, f64) {
    let n = model.predictions.len().max(1) as f64;
    let (asked, made) = model.predictions.iter().fold((0, 0), |(a, b), p| (a + p.prompt_tokens, b + p.new_tokens));
    (asked as f64 / n, made as f64 / n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::PromptStudy;

    #[test]
    fn a_model_that_says_the_same_of_most_cases_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let toy = crate::study::results::tests::toy(folder.path());
        let mut same = toy.models.into_iter().next().unwrap();
        for (i, one) in same.predictions.iter_mut().enumerate() {
            one.answer = if i % 4 == 0 { vec!["ascites".into()] } else { vec!["gallstone".into(), "ascites".into()] };
        }
        assert_eq!(commonest(&same), 0.75);
        same.predictions.clear();
        assert_eq!(commonest(&same), 0.0);
    }

    #[test]
    fn names_in_sentences_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let study = PromptStudy { model: "embedded-small".into(), ..PromptStudy::named("prompts").unwrap() };
        let mut asked = study.found(&crate::run::Store::open(Some(folder.path()))).unwrap();
        let mut one = crate::study::results::tests::toy(folder.path()).models.into_iter().next().unwrap();
        one.name = "instruct".into();
        one.predictions.truncate(3);
        let said = [
            ("It supports Renal Cysts, as reported.", "renal cyst"),
            ("A gallstone.", "ascites"),
            ("Normal.", "ascites"),
        ];
        for (prediction, (raw, gold)) in one.predictions.iter_mut().zip(said) {
            (prediction.raw, prediction.gold) = (raw.into(), vec![gold.into()]);
        }
        asked.results.models.push(one);
        let told = named(&asked, "instruct").unwrap().unwrap();
        assert!(
            told.starts_with("of the 3 answers to instruct, 2 have") && told.ends_with("and 1 a label of their case"),
            "{told}"
        );
    }

    /// Of a study that nobody asked: what is shown says so and names the command.
    #[test]
    fn what_was_not_asked_is_told_with_its_command() {
        let folder = tempfile::tempdir().unwrap();
        let study = PromptStudy { model: "embedded-small".into(), ..PromptStudy::named("prompts").unwrap() };
        let asked = study.found(&crate::run::Store::open(Some(folder.path()))).unwrap();
        let table = axis(&asked, "ingredients").unwrap().to_text();
        assert!(table.contains("not asked yet") && table.contains(ASK) && table.contains("near-5"), "{table}");
        assert!(examples(&asked).unwrap().table().to_text().contains(ASK));
        assert_eq!(chosen(&asked).unwrap().height(), 0);
        let all = study.ways().unwrap().len();
        assert!(standing(&asked).unwrap().starts_with(&format!("0 of {all} ways")));
        assert_eq!(named(&asked, "instruct").unwrap(), None);
    }
}

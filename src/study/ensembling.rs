//! One answer out of those of several runs: seeds of a training, methods, prompts.
use crate::ensemble::consensus;
use crate::error::{Error, Result};
use crate::run::{Prediction, Sample, Voted};
use crate::task::{AnyPrediction, AnyTask, Combined, LabelTask, Task, typed_predictions};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// How answers become one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// What at least this share of the answers names; above 0 and at most 1.
    Share(f64),
    /// The one answer that is on average nearest to all ([`crate::ensemble::consensus`]); of label sets.
    Consensus,
    /// Of labels that training cases have, those of the first answer; of others, those of any other answer. For a search for known names and a
    /// model that also finds new ones; of label sets.
    Known,
}

/// One prediction per case from those of several runs on the same cases, in the order of the first. Tokens and seconds are summed over the
/// runs, there is no log-probability, and `voted` keeps what every run answered. Fails for fewer than two runs and for cases that one lacks.
pub fn combine(task: &dyn AnyTask, runs: &[Vec<AnyPrediction>], rule: Rule) -> Result<Vec<AnyPrediction>> {
    let [first, others @ ..] = runs else { return Err(Error::input("a vote over no runs: give at least two")) };
    if others.is_empty() {
        return Err(Error::input("a vote over one run: give at least two"));
    }
    if let Rule::Share(share) = rule
        && !(share > 0.0 && share <= 1.0)
    {
        return Err(Error::input(format!("share {share}: expected above 0 and at most 1")));
    }
    let known: BTreeSet<String> = match rule {
        Rule::Known => {
            let labels = labels_of(task)?;
            labels.corpus.train.iter().flat_map(|case| &case.gold).map(|label| labels.normalise(label)).collect()
        }
        _ => BTreeSet::new(),
    };
    let names: BTreeSet<String> = runs.iter().filter_map(|run| run.first()).map(Prediction::source).collect();
    let model = match rule {
        // the order decides
        Rule::Known => {
            let sources = runs.iter().filter_map(|run| run.first()).map(Prediction::source).collect::<Vec<_>>();
            let (search, others) = sources.split_first().map_or(("", &[][..]), |(first, others)| (first, others));
            format!("known labels of {search}; new ones of {}", others.join("; "))
        }
        _ => format!("vote of {}: {}", runs.len(), names.into_iter().collect::<Vec<_>>().join("; ")),
    };
    let one = |own: &AnyPrediction| {
        let find = |run: &Vec<AnyPrediction>| {
            let found = run.iter().find(|p| p.case_id == own.case_id).cloned();
            let found =
                found.ok_or_else(|| Error::input(format!("case `{}` was not answered by every run", own.case_id)))?;
            match found.gold == own.gold {
                true => Ok(found),
                false => Err(Error::input(format!("case `{}` has other gold answers in another run", own.case_id))),
            }
        };
        let all = std::iter::once(Ok(own.clone())).chain(others.iter().map(find)).collect::<Result<Vec<_>>>()?;
        let texts = all.iter().map(|p| written(task, p)).collect::<Result<Vec<_>>>()?;
        let raw: Vec<&str> = texts.iter().map(String::as_str).collect();
        let threshold = if let Rule::Share(share) = rule { share } else { 1.0 };
        let voted = task.combine(&raw, &own.case(), threshold - 1e-9);
        let shares = voted.shares.clone();
        let Combined { answer, raw, parsed, .. } = match rule {
            Rule::Share(_) => voted,
            Rule::Consensus => {
                let nearest = &all[nearest(task, &all)?];
                Combined { answer: nearest.answer.clone(), raw: nearest.raw.clone(), parsed: nearest.parsed, ..voted }
            }
            Rule::Known => {
                let labels = labels_of(task)?;
                let answer = known_and_new(labels, &known, &all)?;
                let raw = labels.target(&answer);
                Combined { answer: crate::io::to_value(&answer)?, raw, ..voted }
            }
        };
        let sample = |p: &AnyPrediction| Sample { raw: p.raw.clone(), logprob: p.logprob, new_tokens: p.new_tokens };
        Ok(Prediction {
            answer,
            raw,
            parsed,
            model: model.clone(),
            adapter: None,
            run: String::new(),
            logprob: None,
            prompt_tokens: all.iter().map(|p| p.prompt_tokens).sum(),
            new_tokens: all.iter().map(|p| p.new_tokens).sum(),
            seconds: all.iter().map(|p| p.seconds).sum(),
            voted: Some(Voted { shares, samples: all.iter().map(sample).collect() }),
            ..own.clone()
        })
    };
    first.iter().map(one).collect()
}

/// The text whose labels count: a model's own; of a baseline that of its stored answer, which may not be read from its text.
fn written(task: &dyn AnyTask, answer: &AnyPrediction) -> Result<String> {
    match task.as_labels().filter(|_| answer.prompt.is_empty()) {
        Some(labels) => Ok(labels.target(&typed_predictions(labels, std::slice::from_ref(answer))?.remove(0).answer)),
        None => Ok(answer.raw.clone()),
    }
}

fn labels_of(task: &dyn AnyTask) -> Result<&LabelTask> {
    task.as_labels().ok_or_else(|| Error::input(format!("task `{}`: this rule is of sets of labels", task.name())))
}

/// The labels of the first answer that are `known` (normalised), then those of the other answers that are not, each once.
fn known_and_new(labels: &LabelTask, known: &BTreeSet<String>, answers: &[AnyPrediction]) -> Result<Vec<String>> {
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    for (at, answer) in typed_predictions(labels, answers)?.into_iter().enumerate() {
        for label in answer.answer {
            let normalised = labels.normalise(&label);
            if known.contains(&normalised) == (at == 0) && seen.insert(normalised) {
                found.push(label);
            }
        }
    }
    Ok(found)
}

/// Which of the answers to one case is on average nearest to all, labels normalised.
fn nearest(task: &dyn AnyTask, answers: &[AnyPrediction]) -> Result<usize> {
    let labels = labels_of(task)?;
    let set = |p: &Prediction| p.answer.iter().map(|label| labels.normalise(label)).collect::<BTreeSet<String>>();
    let sets: Vec<_> = typed_predictions(labels, answers)?.iter().map(set).collect();
    Ok(consensus(&sets).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::{Corpus, Finding};

    #[test]
    fn runs_vote_label_by_label_or_agree_on_one_answer() {
        let case = Finding::new("c", "c", "Synthetic.", vec!["cyst".into()]);
        let labels = ["cyst", "stone", "mass"].map(String::from).to_vec();
        let train = vec![Finding::new("t", "t", "Synthetic.", labels)];
        let corpus = Corpus { name: "toy".into(), synthetic: true, train, test: vec![case] };
        let task = LabelTask::findings(corpus).unwrap();
        let examples = AnyTask::test(&task);
        let answered = |raw: &str| {
            let read = AnyTask::parse(&task, raw, &examples[0].case);
            vec![Prediction {
                model: format!("{raw}@0"),
                prompt: "p@0".into(),
                new_tokens: 2,
                ..Prediction::of(&examples[0], read.answer, raw)
            }]
        };
        let search = ["cyst, abscess", "stone, gallstone ileus, abscess", "mass, Abscess"].map(answered);
        let made = combine(&task, &search, Rule::Known).unwrap().remove(0);
        assert_eq!(
            made.answer,
            serde_json::json!(["cyst", "gallstone ileus", "abscess"]),
            "known by the first, new by others"
        );
        assert_eq!(AnyTask::parse(&task, &made.raw, &examples[0].case).answer, made.answer);
        assert!(
            made.model.starts_with("known labels of cyst, abscess · p; ") && made.model.contains("new ones of stone"),
            "{}",
            made.model
        );
        let runs = ["cyst, stone", "cyst, mass", "stone, cyst"].map(answered);
        let labels = |rule| {
            let made = combine(&task, &runs, rule).unwrap().remove(0);
            let voted = made.voted.clone().unwrap();
            assert_eq!((voted.samples.len(), voted.shares["cyst"], made.new_tokens), (3, 1.0, 6));
            assert!(made.model.starts_with("vote of 3: "), "{}", made.model);
            serde_json::from_value::<Vec<String>>(made.answer).unwrap()
        };
        assert_eq!(labels(Rule::Share(0.5)), ["cyst", "stone"]);
        assert_eq!(labels(Rule::Share(1.0)), ["cyst"]);
        assert_eq!(labels(Rule::Share(1.0 / 3.0)).len(), 3);
        assert_eq!(labels(Rule::Consensus), ["cyst", "stone"]);
        assert!(combine(&task, &runs[..1], Rule::Consensus).is_err());
        assert!(combine(&task, &runs, Rule::Share(0.0)).is_err());
        let mut other = runs.clone();
        other[1][0].case_id = "d".into();
        let mut regilded = runs.clone();
        regilded[1][0].gold = serde_json::json!(["stone"]);
        assert!(combine(&task, &regilded, Rule::Consensus).unwrap_err().to_string().contains("other gold"));
        assert!(combine(&task, &other, Rule::Consensus).unwrap_err().to_string().contains("case `c`"));
    }
}

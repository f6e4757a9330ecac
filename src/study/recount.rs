//! Stored samples counted again: fewer of them, by another share, or by the one answer that is nearest to all. Samples cost time, counting
//! costs none, so a share is chosen on validation cases after they were drawn.
use super::ensembling::{Rule, combine};
use crate::error::{Error, Result};
use crate::run::Prediction;
use crate::task::{AnyPrediction, AnyTask};

/// The answers of a vote (`dxlab predict --samples`) as if only the first `samples` of each case had been drawn and `rule` had counted them.
/// New tokens are those of these samples; seconds are not known, and 0. Fails where a case has fewer samples, and for fewer than two.
pub fn recount(
    task: &dyn AnyTask,
    answers: &[AnyPrediction],
    samples: usize,
    rule: Rule,
) -> Result<Vec<AnyPrediction>> {
    let nth = |n: usize| answers.iter().map(|p| sample(task, p, n)).collect::<Result<Vec<_>>>();
    let runs = (0..samples).map(nth).collect::<Result<Vec<_>>>()?;
    let mut counted = combine(task, &runs, rule)?;
    for (one, drawn) in counted.iter_mut().zip(answers) {
        (one.model, one.adapter, one.run) = (drawn.model.clone(), drawn.adapter.clone(), drawn.run.clone());
        (one.prompt_tokens, one.seconds) = (drawn.prompt_tokens, 0.0);
    }
    Ok(counted)
}

/// The n-th sample of a case as an answer of its own.
fn sample(task: &dyn AnyTask, drawn: &AnyPrediction, n: usize) -> Result<AnyPrediction> {
    let samples = drawn.voted.as_ref().map_or(&[][..], |voted| &voted.samples);
    let one = samples.get(n).ok_or_else(|| {
        let (case, found) = (&drawn.case_id, samples.len());
        Error::input(format!("case `{case}` has {found} sampled answers and {} are to be counted", n + 1))
    })?;
    let read = task.parse(&one.raw, &drawn.case());
    let (raw, logprob, new_tokens) = (one.raw.clone(), one.logprob, one.new_tokens);
    Ok(Prediction { answer: read.answer, parsed: read.parsed, raw, logprob, new_tokens, voted: None, ..drawn.clone() })
}

/// The share k/n of the first n samples with the highest metric on these cases, and that metric; of equals the one nearest to a half. Choose it
/// on validation cases: on the cases that it is reported for it flatters.
pub fn best_share(task: &dyn AnyTask, answers: &[AnyPrediction], samples: usize, metric: &str) -> Result<(f64, f64)> {
    let mut best: Option<(f64, f64)> = None;
    let reading = *task.readings().first().ok_or_else(|| Error::input("the task reads no answers"))?;
    for least in 1..=samples {
        let share = least as f64 / samples as f64;
        let counted = recount(task, answers, samples, Rule::Share(share))?;
        let score = task.score(&[&counted], reading)?.remove(0).value(metric)?.unwrap_or(f64::NEG_INFINITY);
        let nearer = |other: f64| (share - 0.5).abs() < (other - 0.5).abs();
        if best.is_none_or(|(of, most)| score > most || (score == most && nearer(of))) {
            best = Some((share, score));
        }
    }
    best.ok_or_else(|| Error::input("no samples to count"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::{Corpus, Finding};
    use crate::run::{Sample, Voted};
    use crate::task::LabelTask;

    /// Two cases; of four samples the first three name what is right, "stone" only the first.
    fn drawn() -> (LabelTask, Vec<AnyPrediction>) {
        let case = |id: &str, labels: &[&str]| {
            Finding::new(id, id, "Synthetic.", labels.iter().map(|l| l.to_string()).collect())
        };
        let train = vec![case("t", &["cyst", "stone", "mass"])];
        let test = vec![case("a", &["cyst", "stone"]), case("b", &["mass"])];
        let task = LabelTask::findings(Corpus { name: "toy".into(), synthetic: true, train, test }).unwrap();
        let answers = [["cyst, stone", "cyst", "cyst", "mass"], ["mass", "mass", "mass, cyst", "cyst"]];
        let one = |(i, raws): (usize, &[&str; 4])| {
            let sample = |raw: &&str| Sample { raw: raw.to_string(), logprob: Some(-1.0), new_tokens: 3 };
            let voted = Voted { shares: Default::default(), samples: raws.iter().map(sample).collect() };
            let example = &AnyTask::test(&task)[i];
            Prediction { voted: Some(voted), ..Prediction::of(example, serde_json::json!([]), "") }
        };
        let all = answers.iter().enumerate().map(one).collect();
        (task, all)
    }

    #[test]
    fn fewer_samples_and_another_share_change_what_wins() {
        let (task, drawn) = drawn();
        let labels = |samples, rule| {
            let counted = recount(&task, &drawn, samples, rule).unwrap();
            counted.iter().map(|p| serde_json::from_value::<Vec<String>>(p.answer.clone()).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(labels(2, Rule::Share(0.5)), [vec!["cyst", "stone"], vec!["mass"]]);
        assert_eq!(labels(4, Rule::Share(0.5)), [vec!["cyst"], vec!["mass", "cyst"]]);
        assert_eq!(labels(4, Rule::Share(0.75)), [vec!["cyst"], vec!["mass"]]);
        assert_eq!(labels(4, Rule::Consensus), [vec!["cyst"], vec!["mass", "cyst"]], "mean F1 0.75 against 0.67");
        assert_eq!(recount(&task, &drawn, 3, Rule::Consensus).unwrap()[0].new_tokens, 9);
        for (samples, wanted) in [(5, "case `a` has 4 sampled answers and 5"), (1, "at least two")] {
            let error = recount(&task, &drawn, samples, Rule::Share(0.5)).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }

    #[test]
    fn the_share_with_the_best_score_is_found() {
        let (task, drawn) = drawn();
        // shares 1/4: 2·3/(3 + 5); 1/2: 2·2/(3 + 3); 3/4: 2·2/(3 + 2); 1: nothing wins, 0
        let (share, score) = best_share(&task, &drawn, 4, "micro_f1").unwrap();
        assert!(share == 0.75 && (score - 0.8).abs() < 1e-12, "{share} {score}");
        // of two samples both shares are right in one case each way: 1/2 gives 2·3/(3 + 3) = 1
        assert_eq!(best_share(&task, &drawn, 2, "micro_f1").unwrap(), (0.5, 1.0));
    }
}

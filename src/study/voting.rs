//! Self-consistency as a way of asking: several sampled answers to each case, and the labels that enough of them name.
use crate::corpus::{Case, Example};
use crate::error::{Error, Result};
use crate::generate::{Answer, Answers, Sampling};
use crate::prompt::Prompt;
use crate::run::{Prediction, Sample, Voted};
use crate::task::{AnyPrediction, AnyTask, Combined};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How answers are sampled and counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Voting {
    /// Answers a case.
    pub samples: usize,
    pub temperature: f64,
    /// A label is given if at least this share of the samples names it.
    pub threshold: f64,
    pub seed: u64,
}

impl Default for Voting {
    fn default() -> Self {
        Self { samples: 5, temperature: 0.7, threshold: 0.5, seed: 7 }
    }
}

impl Voting {
    /// Fails for what cannot be counted.
    pub fn check(&self) -> Result<()> {
        let bad = |what: String| Err(Error::input(what));
        match self {
            v if v.samples < 2 => bad(format!("{} sample to vote: expected at least 2", v.samples)),
            v if !(v.temperature > 0.0 && v.temperature.is_finite()) => {
                bad(format!("temperature {}: samples differ only above 0; 0.7 is usual", v.temperature))
            }
            v if !(v.threshold > 0.0 && v.threshold <= 1.0) => {
                bad(format!("vote {}: expected a share of the samples above 0 and at most 1", v.threshold))
            }
            _ => Ok(()),
        }
    }
}

/// Asks `model` for several answers to every case and counts them. In a prediction made so `raw` is the list that won, the
/// answers themselves are in `voted`, there is no log-probability, and new tokens and seconds are those of all samples.
pub fn ask_voting(
    model: &dyn Answers,
    prompt: &Prompt,
    task: &dyn AnyTask,
    examples: &[Example<Value>],
    voting: &Voting,
) -> Result<Vec<AnyPrediction>> {
    voting.check()?;
    let sampling = Sampling { temperature: voting.temperature, seed: voting.seed, ..Sampling::default() };
    let mut said = super::asking::Progress::new(examples.len() * voting.samples);
    let cases: Vec<Case> = examples.iter().map(|one| one.case.clone()).collect();
    let answers = model.sample(prompt, &cases, &sampling, voting.samples, &mut |done| said.update(done))?;
    let count = |(example, answers): (&Example<Value>, Vec<Answer>)| {
        let raw: Vec<&str> = answers.iter().map(|answer| answer.raw.as_str()).collect();
        let Combined { answer, raw, parsed, shares } = task.combine(&raw, &example.case, voting.threshold);
        let whole = together(raw, &answers);
        let sample = |a: Answer| Sample { raw: a.raw, logprob: a.logprob, new_tokens: a.new_tokens };
        let voted = Some(Voted { shares, samples: answers.into_iter().map(sample).collect() });
        Prediction { answer, parsed, voted, ..super::asking::read(model, prompt, task, example, whole) }
    };
    Ok(examples.iter().zip(answers).map(count).collect())
}

/// What all samples took, with the winning text.
fn together(raw: String, answers: &[Answer]) -> Answer {
    Answer {
        raw,
        logprob: None,
        prompt_tokens: answers.first().map_or(0, |first| first.prompt_tokens), // read once for all samples
        new_tokens: answers.iter().map(|answer| answer.new_tokens).sum(),
        steps: None,
        seconds: answers.iter().map(|answer| answer.seconds).sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::LabelTask;

    /// Answers "cyst" always and "stone" to every other sample.
    struct Toy;

    impl Answers for Toy {
        fn id(&self) -> &str {
            "toy@0"
        }
        fn adapter(&self) -> Option<&str> {
            None
        }
        fn answer(&self, _: &Prompt, _: &[Case], _: &mut dyn FnMut(usize)) -> Result<Vec<Answer>> {
            Ok(vec![])
        }
        fn sample(
            &self,
            _: &Prompt,
            cases: &[Case],
            sampling: &Sampling,
            samples: usize,
            done: &mut dyn FnMut(usize),
        ) -> Result<Vec<Vec<Answer>>> {
            assert_eq!((sampling.temperature, sampling.seed), (0.7, 7));
            done(cases.len() * samples);
            let one = |i: usize| Answer {
                raw: if i.is_multiple_of(2) { "cyst, stone" } else { "Cyst" }.into(),
                logprob: Some(-1.0),
                prompt_tokens: 10,
                new_tokens: 3,
                steps: None,
                seconds: 0.5,
            };
            Ok(cases.iter().map(|_| (0..samples).map(one).collect()).collect())
        }
    }

    #[test]
    fn labels_above_the_threshold_win_and_every_answer_is_kept() {
        let task = LabelTask::findings(crate::corpus::Corpus::embedded().unwrap()).unwrap();
        let prompt = Prompt::named("plain", AnyTask::context(&task)).unwrap();
        let cases = AnyTask::test(&task);
        let ask = |threshold: f64| {
            let voting = Voting { samples: 4, threshold, ..Voting::default() };
            ask_voting(&Toy, &prompt, &task, &cases[..2], &voting).unwrap().remove(1)
        };
        let half = ask(0.5);
        assert_eq!((&half.answer, half.raw.as_str()), (&serde_json::json!(["cyst", "stone"]), "cyst, stone"));
        let voted = half.voted.as_ref().unwrap();
        assert_eq!((voted.shares["cyst"], voted.shares["stone"], voted.samples.len()), (1.0, 0.5, 4));
        assert_eq!((half.prompt_tokens, half.new_tokens, half.seconds, half.logprob), (10, 12, 2.0, None));
        assert_eq!(ask(0.6).answer, serde_json::json!(["cyst"]));
        assert!(half.source().ends_with("vote of 4"), "{}", half.source());
    }

    #[test]
    fn what_cannot_be_counted_is_refused() {
        for (voting, wanted) in [
            (Voting { samples: 1, ..Voting::default() }, "at least 2"),
            (Voting { temperature: 0.0, ..Voting::default() }, "above 0"),
            (Voting { threshold: 1.5, ..Voting::default() }, "at most 1"),
        ] {
            let error = voting.check().unwrap_err();
            assert!(error.exit_code() == 2 && error.to_string().contains(wanted), "{error}");
        }
    }
}

//! A model that is asked about long texts window by window.
use crate::corpus::Case;
use crate::error::{Error, Result};
use crate::generate::{Answer, Answers, Sampling};
use crate::prompt::{Constrain, Prompt};
use crate::task::AnyTask;
use crate::task::decisions::windows::{NoteWindows, join};
use std::ops::Range;

/// Asks `model` about each window of a case, and gives the answers about a case as one, which the task reads.
pub struct Windowed<'a> {
    pub model: &'a dyn Answers,
    pub windows: NoteWindows,
}

/// Fails for a task that reads no answers in windows.
pub fn check(windows: &NoteWindows, task: &dyn AnyTask) -> Result<()> {
    windows.check()?;
    match task.reads_windows() {
        true => Ok(()),
        false => Err(Error::input(format!("task `{}` has no windows: they are for notes with decisions", task.name()))),
    }
}

/// Windows of all cases, one behind the other, and of each case where they lie in its text.
struct Cut {
    places: Vec<Vec<Range<usize>>>,
    cases: Vec<Case>,
}

impl Windowed<'_> {
    fn cut(&self, cases: &[Case]) -> Cut {
        let (mut places, mut all) = (vec![], vec![]);
        for case in cases {
            let (ranges, windows): (Vec<_>, Vec<_>) = self.windows.cases(case).into_iter().unzip();
            places.push(ranges);
            all.extend(windows);
        }
        Cut { places, cases: all }
    }
}

impl Cut {
    /// Of `done` windows' answers as many cases' answers.
    fn share(&self, done: usize) -> usize {
        done * self.places.len() / self.cases.len().max(1)
    }

    /// One answer a case of one a window.
    fn joined(&self, answers: Vec<Answer>) -> Vec<Answer> {
        let mut answers = answers.into_iter();
        self.places.iter().map(|ranges| one(ranges, answers.by_ref().take(ranges.len()).collect())).collect()
    }
}

/// Tokens, steps and seconds are those of all windows; the log-probability is their product's.
fn one(ranges: &[Range<usize>], answers: Vec<Answer>) -> Answer {
    Answer {
        logprob: answers.iter().map(|a| a.logprob).sum(),
        prompt_tokens: answers.iter().map(|a| a.prompt_tokens).sum(),
        new_tokens: answers.iter().map(|a| a.new_tokens).sum(),
        steps: answers.iter().map(|a| a.steps).sum(),
        seconds: answers.iter().map(|a| a.seconds).sum(),
        raw: join(ranges.iter().cloned().zip(answers.into_iter().map(|a| a.raw)).collect()),
    }
}

impl Answers for Windowed<'_> {
    fn id(&self) -> &str {
        self.model.id()
    }

    fn adapter(&self) -> Option<&str> {
        self.model.adapter()
    }

    fn constrain(&self) -> Option<Constrain> {
        self.model.constrain()
    }

    fn answer(&self, prompt: &Prompt, cases: &[Case], done: &mut dyn FnMut(usize)) -> Result<Vec<Answer>> {
        let cut = self.cut(cases);
        let answers = self.model.answer(prompt, &cut.cases, &mut |n| done(cut.share(n)))?;
        Ok(cut.joined(answers))
    }

    /// The n-th answer about a case is made of the n-th about each window.
    fn sample(
        &self,
        prompt: &Prompt,
        cases: &[Case],
        sampling: &Sampling,
        samples: usize,
        done: &mut dyn FnMut(usize),
    ) -> Result<Vec<Vec<Answer>>> {
        let cut = self.cut(cases);
        let answers = self.model.sample(prompt, &cut.cases, sampling, samples, &mut |n| done(cut.share(n)))?;
        let mut by_case: Vec<Vec<Answer>> = vec![vec![]; cases.len()];
        for sample in 0..samples {
            let nth = answers.iter().filter_map(|all| all.get(sample).cloned()).collect();
            by_case.iter_mut().zip(cut.joined(nth)).for_each(|(case, answer)| case.push(answer));
        }
        Ok(by_case)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::{Prompt, PromptContext};

    /// Gives a text back, with the sample's number behind it.
    struct Echo;

    impl Answers for Echo {
        fn id(&self) -> &str {
            "echo@0"
        }
        fn adapter(&self) -> Option<&str> {
            None
        }
        fn answer(&self, _: &Prompt, cases: &[Case], done: &mut dyn FnMut(usize)) -> Result<Vec<Answer>> {
            done(cases.len());
            Ok(cases.iter().map(|case| answer(&case.input, Some(-1.0))).collect())
        }
        fn sample(
            &self,
            _: &Prompt,
            cases: &[Case],
            _: &Sampling,
            samples: usize,
            done: &mut dyn FnMut(usize),
        ) -> Result<Vec<Vec<Answer>>> {
            done(cases.len() * samples);
            Ok(cases
                .iter()
                .map(|case| (0..samples).map(|n| answer(&format!("{n}{}", case.input), None)).collect())
                .collect())
        }
    }

    fn answer(raw: &str, logprob: Option<f64>) -> Answer {
        Answer { raw: raw.into(), logprob, prompt_tokens: 2, new_tokens: 3, steps: None, seconds: 0.5 }
    }

    #[test]
    fn answers_about_windows_come_back_as_one_a_case() {
        let case =
            |id: &str, n: usize| Case { case_id: id.into(), group: id.into(), input: "hold aspirin\n".repeat(n) };
        let cases = [case("short", 2), case("long", 20), case("other", 1)];
        let windows = NoteWindows { chars: 60, overlap: 20 };
        let model = Windowed { model: &Echo, windows };
        let prompt = Prompt::named("decisions", &PromptContext::default()).unwrap();
        let mut heard = 0;
        let answers = model.answer(&prompt, &cases, &mut |n| heard = n).unwrap();
        assert_eq!((answers.len(), heard), (3, 3));
        assert_eq!(
            (answers[0].raw.as_str(), answers[2].raw.as_str()),
            (cases[0].input.as_str(), cases[2].input.as_str())
        );
        let n = windows.cases(&cases[1]).len();
        assert!(n > 3 && answers[1].raw.starts_with("{\"windows\":[{\"start\":0,"));
        assert_eq!((answers[1].logprob, answers[1].new_tokens, answers[1].steps), (Some(-(n as f64)), 3 * n, None));
        let samples = model.sample(&prompt, &cases, &Sampling::default(), 2, &mut |n| heard = n).unwrap();
        assert_eq!((samples.len(), heard, samples[2][1].raw.as_str()), (3, 6, "1hold aspirin\n"));
        assert_eq!((samples[1][1].logprob, samples[1][0].new_tokens), (None, 3 * n));
    }
}

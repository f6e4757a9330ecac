//! A proof by looking: for every case the ids that a model is asked with are the ids that it was trained after.
use super::{Encoder, Exemplar, Prompt};
use crate::error::{Error, Result};
use rayon::prelude::*;

/// What was seen while encoding cases both ways. Lengths in tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    pub cases: usize,
    /// The longest prompt and the longest supervised answer.
    pub longest_prompt: usize,
    pub longest_answer: usize,
    /// Cases whose finding had to be shortened.
    pub shortened: usize,
}

impl Encoder {
    /// Encodes every case for training and for serving; an error names the first case whose ids differ, or whose answer
    /// does not end with the token that ends a turn.
    pub fn audit(&self, prompt: &Prompt, cases: &[Exemplar]) -> Result<Audit> {
        let end = self.end()?;
        let each = |Exemplar { case, answer, .. }: &Exemplar| {
            let (asked, learnt) = (self.serve_case(prompt, case)?, self.train_case(prompt, case, answer)?);
            let (given, answer) = learnt.ids.split_at(learnt.prompt_len);
            if given != asked.ids || answer.last() != Some(&end) {
                let (id, prompt) = (&case.case_id, prompt.id());
                return Err(Error::failed(format!(
                    "case {id}: training and serving encode prompt {prompt} differently"
                )));
            }
            Ok(Audit {
                cases: 1,
                longest_prompt: given.len(),
                longest_answer: answer.len(),
                shortened: usize::from(asked.cut > 0),
            })
        };
        let seen = cases.par_iter().map(each).collect::<Result<Vec<_>>>()?;
        Ok(seen.into_iter().fold(Audit::default(), |all, one| Audit {
            cases: all.cases + one.cases,
            longest_prompt: all.longest_prompt.max(one.longest_prompt),
            longest_answer: all.longest_answer.max(one.longest_answer),
            shortened: all.shortened + one.shortened,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::Corpus;
    use crate::model::Tokenizer;
    use crate::prompt::{Overlong, PromptContext};
    use std::sync::Arc;

    #[test]
    fn training_and_serving_agree_on_every_test_case_of_the_embedded_corpus() {
        let corpus = Corpus::embedded().unwrap();
        let texts = corpus.train.iter().map(|case| case.input.as_str()).take(50);
        let tokenizer = Arc::new(Tokenizer::train(texts, 400).unwrap());
        let prompt = Prompt::named("plain", &PromptContext::default()).unwrap();
        let exemplar = |one: &crate::corpus::Finding| Exemplar {
            case: one.case.clone(),
            answer: one.gold.join(", "),
            shows: vec![],
        };
        let test: Vec<Exemplar> = corpus.test.iter().map(exemplar).collect();
        let free = Encoder::new(tokenizer.clone()).audit(&prompt, &test).unwrap();
        assert_eq!((free.cases, free.shortened), (test.len(), 0));
        let tight = Encoder::new(tokenizer).limit(free.longest_prompt / 2, Overlong::Shorten);
        let tight = tight.audit(&prompt, &test).unwrap();
        assert!(tight.shortened > 0 && tight.longest_prompt <= free.longest_prompt / 2);
    }
}

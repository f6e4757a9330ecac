//! New training cases from the sentences of others (data recombination, Jia & Liang 2016): a report says less by heart and more by
//! what stands in it.
//!
//! Which sentence carries a label is not given; it is guessed from words alone ([`Lexicon`]), on the training cases and with their
//! labels known. A recombined case keeps most of its sentences, loses some with the labels whose evidence they are, and takes in sentences of
//! other cases with theirs. Guesses that are wrong become wrong labels; how many, the chapter *Fine-tuning* counts on the synthetic record.
//!
//! An excerpt is some sentences of a case with the labels whose evidence they are. It is shorter, so it costs less, and says more plainly which
//! words a label answers to; the distractors among its sentences stay distractors.
use crate::corpus::{Case, Finding, synthetic::Truth};
use crate::label::Lexicon;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;

/// Share of the sentences after the first that a recombined case keeps.
const KEPT: f64 = 0.7;
/// Labelled sentences taken in, at most.
const TAKEN: usize = 2;
/// Share of its sentences that an excerpt keeps, at most; drawn evenly from nothing to this.
const LONGEST: f64 = 0.6;

/// A sentence and the labels that it is evidence of.
#[derive(Clone, Debug, PartialEq)]
struct Part {
    text: String,
    labels: Vec<String>,
}

/// Cases taken apart.
pub struct Recombiner<'a> {
    cases: &'a [Finding],
    /// None where a label has no evidence sentence, or stands beside no other label: such a case stays as it is.
    parts: Vec<Option<Vec<Part>>>,
    /// (case, sentence) of parts with labels and without.
    labelled: Vec<(usize, usize)>,
    plain: Vec<(usize, usize)>,
}

impl<'a> Recombiner<'a> {
    pub fn new(cases: &'a [Finding]) -> Self {
        let lexicon = Lexicon::learn(cases, &|label| label.to_lowercase());
        let apart = |(case, may): (&Finding, bool)| may.then(|| parts(case, &lexicon)).flatten();
        let parts: Vec<_> = cases.iter().zip(joinable(cases)).map(apart).collect();
        let (mut labelled, mut plain) = (Vec::new(), Vec::new());
        for (case, parts) in parts.iter().enumerate() {
            for (at, part) in parts.iter().flatten().enumerate() {
                if part.labels.is_empty() { &mut plain } else { &mut labelled }.push((case, at));
            }
        }
        Self { cases, parts, labelled, plain }
    }

    /// Share of the cases that can be taken apart.
    pub fn share(&self) -> f64 {
        self.parts.iter().flatten().count() as f64 / self.parts.len().max(1) as f64
    }

    /// Labels attributed to the sentence that caused them, of all that are attributed to one, in cases of which `truths` knows; None without any.
    pub fn agreement(&self, truths: &BTreeMap<String, Truth>) -> Option<(usize, usize)> {
        let (mut right, mut all) = (0, 0);
        for (case, parts) in self.cases.iter().zip(&self.parts) {
            let (Some(parts), Some(truth)) = (parts, truths.get(&case.case_id)) else { continue };
            for (sentence, label) in parts.iter().enumerate().flat_map(|(at, p)| p.labels.iter().map(move |l| (at, l)))
            {
                all += 1;
                right += usize::from(truth.causes.iter().any(|c| &c.label == label && c.sentence == sentence));
            }
        }
        (all > 0).then_some((right, all))
    }

    /// Case `at` with some sentences exchanged for those of others; as it is where nothing would be left to name.
    pub fn draw(&self, at: usize, rng: &mut ChaCha8Rng) -> Finding {
        self.written(at, self.parts[at].as_ref().map(|parts| self.exchanged(parts, rng)))
    }

    /// Case `at` cut down to some of its sentences, one with a label among them; with `exchange` from the case that [`Self::draw`] makes.
    pub fn excerpt(&self, at: usize, exchange: bool, rng: &mut ChaCha8Rng) -> Finding {
        let Some(parts) = &self.parts[at] else { return self.cases[at].clone() };
        let made = if exchange { self.exchanged(parts, rng) } else { parts.clone() };
        let labelled: Vec<usize> = (0..made.len()).filter(|&i| !made[i].labels.is_empty()).collect();
        let Some(&one) = labelled.get(rng.random_range(0..labelled.len().max(1))) else {
            return self.cases[at].clone();
        };
        let share = rng.random::<f64>() * LONGEST;
        let kept = made.into_iter().enumerate().filter(|(i, _)| *i == one || rng.random::<f64>() < share);
        let kept = kept.map(|(_, part)| part).collect();
        self.written(at, Some(kept))
    }

    /// The parts as a case of the name of case `at`; without parts or labels that case itself.
    fn written(&self, at: usize, parts: Option<Vec<Part>>) -> Finding {
        let original = &self.cases[at];
        let parts = parts.unwrap_or_default();
        let labels: Vec<String> = parts.iter().flat_map(|part| part.labels.clone()).collect();
        if labels.is_empty() {
            return original.clone();
        }
        let input = parts.into_iter().map(|part| part.text).collect::<Vec<_>>().join(" ");
        Finding { case: Case { input, ..original.case.clone() }, gold: labels }
    }

    fn exchanged(&self, parts: &[Part], rng: &mut ChaCha8Rng) -> Vec<Part> {
        let mut made: Vec<Part> = Vec::with_capacity(parts.len());
        let mut lost = 0;
        for (i, part) in parts.iter().enumerate() {
            if i == 0 || rng.random::<f64>() < KEPT {
                made.push(part.clone());
            } else if part.labels.is_empty() {
                lost += 1;
            }
        }
        for from in [vec![&self.labelled; rng.random_range(0..=TAKEN)], vec![&self.plain; lost]].concat() {
            let Some(part) = self.pick(from, rng) else { continue };
            let known = |label: &String| made.iter().any(|p| p.labels.contains(label));
            if !part.labels.iter().any(known) {
                made.insert(rng.random_range(1..=made.len()), part.clone());
            }
        }
        made
    }

    fn pick(&self, from: &[(usize, usize)], rng: &mut ChaCha8Rng) -> Option<&Part> {
        let &(case, at) = from.get(rng.random_range(0..from.len().max(1)))?;
        self.parts[case].as_ref()?.get(at)
    }
}

/// The sentences of a case, every label at its best one; None where a label has none.
fn parts(case: &Finding, lexicon: &Lexicon) -> Option<Vec<Part>> {
    let reading = lexicon.read(&case.input);
    let mut parts: Vec<Part> =
        reading.sentences.iter().map(|s| Part { text: s.text.clone(), labels: vec![] }).collect();
    for label in &case.gold {
        let evidence = reading.best(&label.to_lowercase())?;
        parts[evidence.sentence].labels.push(label.clone());
    }
    (!parts.is_empty()).then_some(parts)
}

/// False for cases with a label of several cases that stands beside no other in any of them.
pub(super) fn joinable(cases: &[Finding]) -> Vec<bool> {
    let mut seen = BTreeMap::<&str, (usize, bool)>::new();
    for case in cases {
        for label in &case.gold {
            let (times, beside) = seen.entry(label).or_default();
            *times += 1;
            *beside |= case.gold.len() > 1;
        }
    }
    let alone = |label: &String| seen.get(label.as_str()).is_some_and(|(times, beside)| *times > 1 && !beside);
    cases.iter().map(|case| !case.gold.is_empty() && !case.gold.iter().any(alone)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::{Corpus, synthetic::truth};
    use rand::SeedableRng;
    use std::collections::BTreeSet;

    #[test]
    fn recombined_cases_are_made_of_sentences_with_their_labels() {
        let corpus = Corpus::embedded().unwrap();
        let cases = &corpus.train[..300];
        let recombiner = Recombiner::new(cases);
        assert!(recombiner.share() > 0.7, "{}", recombiner.share());
        let texts: Vec<&str> = cases.iter().map(|c| c.input.as_str()).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut changed = 0;
        for at in 0..cases.len() {
            let made = recombiner.draw(at, &mut rng);
            changed += usize::from(made.input != cases[at].input);
            assert!(!made.gold.is_empty());
            assert_eq!(made.gold.iter().collect::<BTreeSet<_>>().len(), made.gold.len(), "each once");
            for sentence in crate::label::sentences(&made.input) {
                assert!(texts.iter().any(|t| t.contains(&sentence.text)), "{}", sentence.text);
            }
        }
        assert!(changed > 200, "{changed}");
    }

    #[test]
    fn excerpts_are_shorter_and_name_what_their_sentences_do() {
        let corpus = Corpus::embedded().unwrap();
        let cases = &corpus.train[..300];
        let recombiner = Recombiner::new(cases);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let (mut before, mut after) = (0, 0);
        for at in (0..cases.len()).filter(|&at| recombiner.parts[at].is_some()) {
            let made = recombiner.excerpt(at, false, &mut rng);
            let parts = recombiner.parts[at].as_ref().unwrap();
            let there = parts.iter().filter(|part| made.input.contains(&part.text));
            let labels: Vec<&String> = there.flat_map(|part| &part.labels).collect();
            assert!(!made.gold.is_empty() && made.gold.iter().all(|label| labels.contains(&label)));
            assert!(made.gold.iter().all(|label| cases[at].gold.contains(label)));
            before += cases[at].input.len();
            after += made.input.len();
        }
        assert!(2 * after < before, "{after} of {before} bytes");
        let whole = (0..cases.len()).find(|&at| recombiner.parts[at].is_none()).unwrap();
        assert_eq!(recombiner.excerpt(whole, true, &mut rng), cases[whole], "what cannot be taken apart stays whole");
    }

    /// On the record that the generator kept; no training reads it.
    #[test]
    fn most_labels_are_guessed_to_hang_on_the_sentence_that_caused_them() {
        let corpus = Corpus::embedded().unwrap();
        let truths = truth::read(&Corpus::path_from_env()).unwrap();
        let recombiner = Recombiner::new(&corpus.train);
        let (right, all) = recombiner.agreement(&truths).unwrap();
        println!(
            "{right} of {all} labels are attributed to the sentence that caused them; {:.3} of the cases",
            recombiner.share()
        );
        assert_eq!(recombiner.agreement(&BTreeMap::new()), None);
        assert!(right as f64 > 0.85 * all as f64, "{right} of {all}");
    }
}

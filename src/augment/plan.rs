//! How training cases are shown to a model: labels as written or normalised, rare labels more often, sentences in another order or of
//! other cases, two cases as one, names exchanged, and beside them cases to learn copying from.
//!
//! Two cases joined are one text with the labels of both, in their order: what a sentence implies it implies beside any other, so the
//! labels stay right, while a text known by heart says less and less. Cases with a label that never stands beside another ("no acute
//! abnormality") are not joined.
//!
//! Oversampling follows the repeat factors of Gupta et al. 2019 (LVIS, §4): a case comes r times an epoch, r the largest of
//! max(1, √(t / f)) over its labels, f the share of training cases with the label. Fractions are drawn anew every epoch.
use super::copying::copying;
use super::entity_replacement::Names;
use super::recombine::{Recombiner, joinable};
use crate::corpus::Finding;
use crate::error::{Error, Result};
use crate::label::Normaliser;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Augmentation {
    /// Labels are learnt as the normaliser writes them, not as the file does.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub normalised: bool,
    /// t: labels of a smaller share of the training cases are shown more often; 0 for none.
    #[serde(skip_serializing_if = "is_zero")]
    pub oversample: f64,
    /// The first epoch shows every case once, repeats grow linearly to their full number in the last.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub curriculum: bool,
    /// Sentences of a finding stand in another order in every epoch; the first stays.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub shuffled: bool,
    /// Share of the cases of an epoch to which another is joined, drawn anew every epoch.
    #[serde(rename = "joined", alias = "concatenate", skip_serializing_if = "is_zero")]
    pub concatenate: f64,
    /// Share of the cases of an epoch that are recombined, anew every epoch; see [`super::recombine`].
    #[serde(rename = "recombined", alias = "recombine", skip_serializing_if = "is_zero")]
    pub recombine: f64,
    /// Share of the cases of the first epoch that are shown as excerpts of themselves; it falls evenly to none in the last epoch.
    #[serde(rename = "excerpts", alias = "sentence_subsets", skip_serializing_if = "is_zero")]
    pub sentence_subsets: f64,
    /// Share of the cases of an epoch in which labels that the text names are exchanged for others, in text and labels alike; see
    /// [`super::entity_replacement`].
    #[serde(rename = "renamed", alias = "entity_replacement", skip_serializing_if = "is_zero")]
    pub entity_replacement: f64,
    /// Cases to learn copying from, among those of the first epoch; see [`super::copying`].
    #[serde(skip_serializing_if = "is_none")]
    pub copying: usize,
}

fn is_zero(x: &f64) -> bool {
    *x == 0.0
}

fn is_none(n: &usize) -> bool {
    *n == 0
}

/// Cases for copying, at most: each is kept in memory.
const MOST_COPYING: usize = 1_000_000;

/// What a model is shown: cases, and how often each comes in each epoch.
pub struct Augmented {
    pub cases: Vec<Finding>,
    /// times[epoch][case]
    pub times: Vec<Vec<u32>>,
}

impl Augmentation {
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// Keys that are shares of the cases of an epoch.
    fn shares(&self) -> [(&'static str, f64); 4] {
        [
            ("concatenate", self.concatenate),
            ("recombine", self.recombine),
            ("sentence_subsets", self.sentence_subsets),
            ("entity_replacement", self.entity_replacement),
        ]
    }

    pub fn check(&self) -> Result<()> {
        if !(0.0..=1.0).contains(&self.oversample) {
            return Err(Error::input(format!(
                "augmentation.oversample is {}, expected a share from 0 to 1",
                self.oversample
            )));
        }
        for (key, share) in self.shares() {
            if !(0.0..=1.0).contains(&share) {
                return Err(Error::input(format!("augmentation.{key} is {share}, expected a share from 0 to 1")));
            }
        }
        if self.copying > MOST_COPYING {
            return Err(Error::input(format!(
                "augmentation.copying is {}, expected at most {MOST_COPYING}",
                self.copying
            )));
        }
        if self.curriculum && self.oversample == 0.0 {
            return Err(Error::input("augmentation.curriculum grows repeats: give augmentation.oversample too"));
        }
        Ok(())
    }

    /// The cases of `epochs` epochs. Chance comes from `seed`, apart from that of the batches.
    pub fn apply(&self, cases: Vec<Finding>, epochs: usize, seed: u64) -> Result<Augmented> {
        self.check()?;
        let cases = if self.normalised { normalised(cases)? } else { cases };
        let factors = repeat_factors(&cases, self.oversample);
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ (1 << 41));
        let times: Vec<Vec<u32>> = (0..epochs)
            .map(|epoch| {
                let share = if self.curriculum { epoch as f64 / (epochs - 1).max(1) as f64 } else { 1.0 };
                factors.iter().map(|r| drawn(1.0 + (r - 1.0) * share, &mut rng)).collect()
            })
            .collect();
        let copies = |rng: &mut ChaCha8Rng| copying(&cases, self.copying, rng);
        if !self.shuffled && self.shares().iter().all(|(_, share)| *share == 0.0) {
            let copies = copies(&mut rng);
            return Ok(Augmented { cases, times }.beginning_with(copies));
        }
        let (mut all, n) = (Vec::new(), cases.len());
        let joinable = joinable(&cases);
        let names = Names::of(&cases);
        let recombiner = (self.recombine > 0.0 || self.sentence_subsets > 0.0).then(|| Recombiner::new(&cases));
        for epoch in 0..epochs {
            let excerpts = self.sentence_subsets * (1.0 - epoch as f64 / (epochs - 1).max(1) as f64);
            for (at, (case, may)) in cases.iter().zip(&joinable).enumerate() {
                let exchange = self.recombine > 0.0 && rng.random::<f64>() < self.recombine;
                let mut shown = match &recombiner {
                    Some(cases) if excerpts > 0.0 && rng.random::<f64>() < excerpts => {
                        cases.excerpt(at, exchange, &mut rng)
                    }
                    Some(cases) if exchange => cases.draw(at, &mut rng),
                    _ => case.clone(),
                };
                if self.entity_replacement > 0.0 && rng.random::<f64>() < self.entity_replacement {
                    names.exchange(&mut shown, &mut rng);
                }
                if self.shuffled {
                    shown.input = shuffled(&shown.input, &mut rng);
                }
                if *may && rng.random::<f64>() < self.concatenate {
                    let at = rng.random_range(0..n);
                    if joinable[at] {
                        join(&mut shown, &cases[at]);
                    }
                }
                all.push(shown);
            }
        }
        let only = |(epoch, times): (usize, Vec<u32>)| {
            let mut all = vec![0; n * epochs];
            all[epoch * n..][..n].copy_from_slice(&times);
            all
        };
        let shown = Augmented { cases: all, times: times.into_iter().enumerate().map(only).collect() };
        Ok(shown.beginning_with(copies(&mut rng)))
    }
}

impl Augmented {
    /// With `more` cases in the first epoch.
    fn beginning_with(mut self, more: Vec<Finding>) -> Self {
        for (epoch, times) in self.times.iter_mut().enumerate() {
            times.extend(vec![u32::from(epoch == 0); more.len()]);
        }
        self.cases.extend(more);
        self
    }
}

/// Labels in normalised form, each once.
fn normalised(mut cases: Vec<Finding>) -> Result<Vec<Finding>> {
    let written: BTreeSet<String> = cases.iter().flat_map(|case| case.gold.iter().cloned()).collect();
    let names = Normaliser::new(written.iter())?;
    for case in &mut cases {
        let mut seen = BTreeSet::new();
        case.gold = case.gold.iter().map(|l| names.normalise(l)).filter(|l| seen.insert(l.clone())).collect();
    }
    Ok(cases)
}

fn repeat_factors(cases: &[Finding], threshold: f64) -> Vec<f64> {
    let mut share = BTreeMap::<&str, f64>::new();
    for case in cases {
        case.gold.iter().for_each(|label| *share.entry(label).or_default() += 1.0 / cases.len() as f64);
    }
    let factor =
        |case: &Finding| case.gold.iter().map(|label| (threshold / share[label.as_str()]).sqrt()).fold(1.0, f64::max);
    cases.iter().map(factor).collect()
}

/// `r` on average: its whole part, and one more as often as its fraction says.
fn drawn(r: f64, rng: &mut ChaCha8Rng) -> u32 {
    r.trunc() as u32 + u32::from(rng.random::<f64>() < r.fract())
}

/// Another case's text and labels after those of `case`, each label once.
fn join(case: &mut Finding, other: &Finding) {
    case.input = format!("{} {}", case.input, other.input);
    for label in &other.gold {
        if !case.gold.contains(label) {
            case.gold.push(label.clone());
        }
    }
}

fn shuffled(text: &str, rng: &mut ChaCha8Rng) -> String {
    let mut sentences: Vec<&str> = text.split_inclusive(". ").map(str::trim).collect();
    if let Some((_, rest)) = sentences.split_first_mut() {
        rest.shuffle(rng);
    }
    sentences.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(id: usize, labels: &[&str]) -> Finding {
        let id = format!("c{id}");
        let labels = labels.iter().map(|l| l.to_string()).collect();
        Finding::new(&id, &id, "History. One cyst. Two stones. Three ducts. Four.", labels)
    }

    /// 64 cases: 63 with a common label, one with a rare one besides.
    fn cases() -> Vec<Finding> {
        (0..64).map(|i| if i == 63 { case(i, &["Renal cysts", "rare"]) } else { case(i, &["Renal cysts"]) }).collect()
    }

    #[test]
    fn plain_showing_is_every_case_once_an_epoch() {
        let shown = Augmentation::default().apply(cases(), 3, 7).unwrap();
        assert_eq!((shown.cases, shown.times), (cases(), vec![vec![1; 64]; 3]));
    }

    #[test]
    fn rare_labels_come_as_often_as_their_repeat_factor_says() {
        // f = 1/64, t = 1/4: r = 4
        let plan = Augmentation { oversample: 0.25, ..Default::default() };
        let times = plan.apply(cases(), 2, 7).unwrap().times;
        assert!(times.iter().all(|epoch| epoch[63] == 4 && epoch[..63].iter().all(|&n| n == 1)));
        // t = 0.1: r = 2.53, drawn
        let plan = Augmentation { oversample: 0.1, ..Default::default() };
        let times = plan.apply(cases(), 400, 7).unwrap().times;
        let mean = times.iter().map(|epoch| epoch[63] as f64).sum::<f64>() / 400.0;
        assert!((mean - 6.4f64.sqrt()).abs() < 0.1, "{mean}");
        let plan = Augmentation { oversample: 0.25, curriculum: true, ..Default::default() };
        let times = plan.apply(cases(), 4, 7).unwrap().times;
        assert_eq!(times.iter().map(|epoch| epoch[63]).collect::<Vec<_>>(), [1, 2, 3, 4]);
    }

    #[test]
    fn shuffled_sentences_are_the_same_sentences() {
        let plan = Augmentation { shuffled: true, ..Default::default() };
        let shown = plan.apply(cases(), 2, 7).unwrap();
        assert_eq!((shown.cases.len(), shown.times.len()), (128, 2));
        assert!(shown.times[0][..64].iter().all(|&n| n == 1) && shown.times[0][64..].iter().all(|&n| n == 0));
        let sorted = |text: &str| {
            let mut s: Vec<String> = text.split_inclusive(". ").map(|s| s.trim().to_string()).collect();
            s.sort();
            s
        };
        let plain = sorted(&cases()[0].input);
        assert!(shown.cases.iter().all(|c| sorted(&c.input) == plain && c.input.starts_with("History. ")));
        assert!(shown.cases.iter().any(|c| c.input != cases()[0].input));
    }

    #[test]
    fn joined_cases_have_both_texts_and_the_labels_of_both() {
        let mut all = cases();
        all.extend((64..70).map(|i| case(i, &["nothing"])));
        all.extend((70..90).map(|i| case(i, &["stone", "Renal cysts"])));
        let shown = Augmentation { concatenate: 0.5, ..Default::default() }.apply(all.clone(), 2, 7).unwrap();
        assert_eq!(shown.cases.len(), 180);
        let joined = |c: &&Finding| c.input.matches("History.").count() == 2;
        let share = shown.cases.iter().filter(joined).count() as f64 / 180.0;
        assert!((0.3..0.6).contains(&share), "{share}");
        assert!(shown.cases.iter().filter(joined).all(|c| !c.gold.contains(&"nothing".to_string())));
        let both = shown.cases.iter().filter(joined).find(|c| c.gold == ["Renal cysts", "stone"]);
        assert!(both.is_some(), "labels of both, each once");
    }

    #[test]
    fn cases_for_copying_come_in_the_first_epoch_alone_and_change_no_other() {
        let cases: Vec<Finding> = (0..10).map(|i| case(i, &["stone"])).collect();
        for plain in [Augmentation::default(), Augmentation { shuffled: true, concatenate: 0.5, ..Default::default() }]
        {
            let without = plain.apply(cases.clone(), 3, 7).unwrap();
            let with = Augmentation { copying: 25, ..plain.clone() }.apply(cases.clone(), 3, 7).unwrap();
            let n = without.cases.len();
            assert_eq!((&with.cases[..n], with.cases.len()), (&without.cases[..], n + 25));
            assert!(with.cases[n..].iter().all(|case| case.case_id.starts_with("copying-")));
            for (epoch, (times, before)) in with.times.iter().zip(&without.times).enumerate() {
                assert_eq!(&times[..n], &before[..]);
                assert_eq!(times[n..], vec![u32::from(epoch == 0); 25]);
            }
        }
    }

    #[test]
    fn labels_are_normalised_and_settings_without_sense_refused() {
        let plan = Augmentation { normalised: true, ..Default::default() };
        assert_eq!(
            plan.apply(vec![case(0, &["Renal cysts", "renal cyst"])], 1, 7).unwrap().cases[0].gold,
            ["renal cyst"]
        );
        let refused = |augmentation: Augmentation| augmentation.check().unwrap_err().to_string();
        assert!(
            refused(Augmentation { oversample: 2.0, ..Default::default() }).contains("augmentation.oversample is 2")
        );
        assert!(refused(Augmentation { curriculum: true, ..Default::default() }).contains("augmentation.curriculum"));
        assert!(
            refused(Augmentation { concatenate: -0.1, ..Default::default() })
                .contains("augmentation.concatenate is -0.1")
        );
        assert!(
            refused(Augmentation { entity_replacement: 2.0, ..Default::default() })
                .contains("augmentation.entity_replacement is 2")
        );
        assert!(
            refused(Augmentation { copying: 2_000_000, ..Default::default() })
                .contains("augmentation.copying is 2000000")
        );
        assert!(
            refused(Augmentation { sentence_subsets: 1.1, ..Default::default() })
                .contains("augmentation.sentence_subsets is 1.1")
        );
    }
}

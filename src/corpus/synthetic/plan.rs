//! Which case carries which labels: exact quotas per label and an exact number of labels per case.
use super::{dice::Dice, words::Words};
use crate::error::{Error, Result};

/// Cases with 1, 2, … labels: 1,236 cases with 2,819 labels, 236 cases with 607.
pub const TRAIN_SIZES: [usize; 9] = [366, 456, 223, 123, 40, 19, 7, 1, 1];
pub const TEST_SIZES: [usize; 9] = [51, 81, 53, 32, 11, 5, 2, 1, 0];

/// A label of a case, and the name it goes by where that is not the training name.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    pub label: usize,
    pub alias: Option<String>,
}

/// One list of labels a case, in random case order. `quota[label]` cases carry a label, `aliases[label]` of them by
/// another name; `sizes[k]` cases carry `k + 1` labels.
fn assign(words: &Words, quota: &[usize], sizes: &[usize], dice: &mut Dice) -> Option<Vec<Vec<usize>>> {
    let mut room: Vec<usize> = sizes.iter().enumerate().flat_map(|(k, &n)| std::iter::repeat_n(k + 1, n)).collect();
    dice.shuffle(&mut room);
    let mut cases: Vec<Vec<usize>> = vec![Vec::new(); room.len()];
    let mut order: Vec<usize> = (0..quota.len()).collect();
    order.sort_by_key(|&l| (!words.labels[l].exclusive, std::cmp::Reverse(quota[l]), l));
    for label in order {
        let exclusive = words.labels[label].exclusive;
        let mut weights: Vec<f64> = (0..room.len())
            .map(|i| {
                if exclusive {
                    f64::from(u8::from(room[i] == 1))
                } else {
                    affinity(words, label, &cases[i]) * room[i] as f64
                }
            })
            .collect();
        for _ in 0..quota[label] {
            let case = dice.weighted(&weights)?;
            weights[case] = 0.0;
            cases[case].push(label);
            room[case] -= 1;
        }
    }
    Some(cases)
}

/// How much likelier `label` is beside the labels a case already has.
fn affinity(words: &Words, label: usize, present: &[usize]) -> f64 {
    let pull = |a: usize, b: usize| words.labels[a].with.get(&words.labels[b].name).copied().unwrap_or(1.0);
    present.iter().map(|&other| pull(label, other).max(pull(other, label))).product()
}

/// The labels of every training case.
pub fn train(words: &Words, dice: &mut Dice) -> Result<Vec<Vec<Planned>>> {
    let quota: Vec<usize> = words.labels.iter().map(|l| l.train).collect();
    let cases = retry(words, &quota, &TRAIN_SIZES, dice)?;
    let plain = |label| Planned { label, alias: None };
    Ok(cases.into_iter().map(|labels| labels.into_iter().map(plain).collect()).collect())
}

/// The labels of every test case, some under another name than in training (naming shift).
pub fn test(words: &Words, dice: &mut Dice) -> Result<Vec<Vec<Planned>>> {
    let quota: Vec<usize> = words.labels.iter().map(|l| l.test + l.shift.values().sum::<usize>()).collect();
    let mut names: Vec<Vec<Option<String>>> = words.labels.iter().map(|l| vec![None; l.test]).collect();
    for (names, label) in names.iter_mut().zip(&words.labels) {
        names.extend(label.shift.iter().flat_map(|(name, &n)| vec![Some(name.clone()); n]));
        dice.shuffle(names);
    }
    let cases = retry(words, &quota, &TEST_SIZES, dice)?;
    // each label has as many names as it has cases, so `pop` yields one for every case
    let mut name = |label: usize| Planned { label, alias: names[label].pop().flatten() };
    Ok(cases.into_iter().map(|labels| labels.into_iter().map(&mut name).collect()).collect())
}

/// A fresh case as likely as one of the training split.
pub fn fresh(words: &Words, dice: &mut Dice) -> Vec<Planned> {
    let sizes: Vec<f64> = TRAIN_SIZES.iter().map(|&n| n as f64).collect();
    let size = dice.weighted(&sizes).map_or(1, |k| k + 1);
    let mut present: Vec<usize> = Vec::new();
    while present.len() < size {
        let weights: Vec<f64> = (0..words.labels.len())
            .map(|l| {
                let label = &words.labels[l];
                let barred = present.contains(&l) || (label.exclusive && size > 1);
                // exclusive labels live in the one-label cases only, so they weigh more there
                let boost = if label.exclusive { 2819.0 / 366.0 } else { 1.0 };
                if barred { 0.0 } else { label.train as f64 * boost * affinity(words, l, &present) }
            })
            .collect();
        let Some(label) = dice.weighted(&weights) else { break };
        present.push(label);
    }
    present.into_iter().map(|label| Planned { label, alias: None }).collect()
}

fn retry(words: &Words, quota: &[usize], sizes: &[usize], dice: &mut Dice) -> Result<Vec<Vec<usize>>> {
    let wanted: usize = quota.iter().sum();
    let room: usize = sizes.iter().enumerate().map(|(k, n)| (k + 1) * n).sum();
    if wanted != room {
        return Err(Error::input(format!("vocabulary: label quotas sum to {wanted}, the cases hold {room}")));
    }
    // a random assignment can strand a common label late; 100 tries have never been needed
    (0..100).find_map(|_| assign(words, quota, sizes, dice)).ok_or_else(|| {
        Error::failed("no assignment of labels to cases meets the quotas; change the vocabulary's counts")
    })
}

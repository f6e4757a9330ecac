//! Training and validation cases: drawn by digest, so that they do not move when cases are added elsewhere.
use super::Case;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A part of the training cases that is asked about in the place of test cases.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// Share of the training cases (by group).
    pub validation: f64,
    pub seed: u64,
}

impl Part {
    /// What a config's `validation` and `training.seed` usually are.
    pub const USUAL: Self = Self { validation: 0.1, seed: 7 };
}

/// Which of the training cases a run trains on and which it keeps for validation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Split {
    /// Share of the training cases (by group) kept for validation.
    pub validation: f64,
    /// Maximum number of training cases, drawn after validation is taken.
    pub cases: Option<usize>,
    pub seed: u64,
}

impl Split {
    /// (training, validation), each in the order of `all`. An error where a share was asked for that leaves either without a case: a
    /// training without validation cases stops nowhere and has no best checkpoint.
    pub fn of<T: AsRef<Case> + Clone>(&self, all: &[T]) -> Result<(Vec<T>, Vec<T>)> {
        let (train, valid) = validation_split(all, self.validation, self.seed);
        if self.validation > 0.0 && (train.is_empty() || valid.is_empty()) {
            let (share, n, seed) = (self.validation, all.len(), self.seed);
            let lacks = if valid.is_empty() { "no validation case" } else { "no training case" };
            return Err(Error::input(format!(
                "validation = {share} with seed {seed} leaves {lacks} of {n} (groups stay together): choose another share, or 0 to train \
                 without validation"
            )));
        }
        Ok((drawn(train, self.cases.unwrap_or(usize::MAX), self.seed), valid))
    }
}

/// Training and validation cases: validation is the share of groups whose digest comes first.
pub fn validation_split<T: AsRef<Case> + Clone>(cases: &[T], share: f64, seed: u64) -> (Vec<T>, Vec<T>) {
    let taken = |case: &T| {
        let digest = Sha256::digest(format!("{seed}/{}", case.as_ref().group));
        let at = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]) as f64 / u32::MAX as f64;
        at < share
    };
    let (valid, train) = cases.iter().cloned().partition(taken);
    (train, valid)
}

/// At most `most` cases, those whose digest with the seed comes first, in their order: fewer are always among more.
pub fn drawn<T: AsRef<Case>>(mut cases: Vec<T>, most: usize, seed: u64) -> Vec<T> {
    let digest = |case: &T| Sha256::digest(format!("cases/{seed}/{}", case.as_ref().case_id));
    let mut digests: Vec<_> = cases.iter().map(digest).collect();
    digests.sort_unstable();
    if let Some(bound) = digests.get(most) {
        cases.retain(|case| digest(case) < *bound);
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_that_leaves_no_case_is_an_error_and_none_is_not() {
        let cases: Vec<Case> =
            (0..12).map(|i| Case { case_id: i.to_string(), group: format!("p{i}"), input: String::new() }).collect();
        let of =
            |validation: f64| Split { validation, cases: None, seed: 1 }.of(&cases).map(|(a, b)| (a.len(), b.len()));
        assert_eq!(of(0.0).unwrap(), (12, 0));
        assert_eq!(of(0.5).unwrap().0 + of(0.5).unwrap().1, 12);
        for (share, lacks) in [(0.001, "no validation case"), (0.9999, "no training case")] {
            let error = of(share).unwrap_err();
            assert!(error.exit_code() == 2 && error.to_string().contains(lacks), "{error}");
        }
    }
}

//! Minimum Bayes risk on sets: the answer that is on average nearest to all answers (Kumar and Byrne, NAACL 2004).
//!
//! Each answer is taken for as likely as any other, and the loss of giving $A$ where $B$ is right is $1 - F_1(A, B)$. The answer that wins was
//! really given, as a whole; a vote can put together labels that no answer has together.
use std::collections::BTreeSet;

/// F1 of two sets, 1 for two empty ones: `f1({a, b}, {a}) = 2/3`.
pub fn f1(a: &BTreeSet<String>, b: &BTreeSet<String>) -> f64 {
    match a.len() + b.len() {
        0 => 1.0,
        both => 2.0 * a.intersection(b).count() as f64 / both as f64,
    }
}

/// Which of `answers` has the highest mean F1 with all of them, the first of equals; None without answers.
pub fn consensus(answers: &[BTreeSet<String>]) -> Option<usize> {
    let gain = |i: usize| answers.iter().map(|other| f1(&answers[i], other)).sum::<f64>();
    (0..answers.len()).rev().max_by(|&i, &j| gain(i).total_cmp(&gain(j)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(labels: &[&str]) -> BTreeSet<String> {
        labels.iter().map(|label| label.to_string()).collect()
    }

    #[test]
    fn the_answer_nearest_to_all_wins_and_is_one_that_was_given() {
        let answers = [set(&["a"]), set(&["a", "b"]), set(&["a", "b", "c"]), set(&["d"])];
        // mean F1: (1 + 2/3 + 1/2 + 0)/4, (2/3 + 1 + 4/5 + 0)/4, (1/2 + 4/5 + 1 + 0)/4, 1/4
        assert_eq!(consensus(&answers), Some(1));
        assert_eq!(consensus(&[set(&[]), set(&[]), set(&["a"])]), Some(0));
        assert_eq!(consensus(&[set(&["x"]), set(&["y"])]), Some(0), "the first of equals");
        assert_eq!(consensus(&[]), None);
        assert!((f1(&set(&["a", "b"]), &set(&["a"])) - 2.0 / 3.0).abs() < 1e-12);
    }
}

//! Spearman's rank correlation (Spearman 1904).

/// Pearson's correlation of the ranks, equal values sharing the mean of theirs, as `scipy.stats.spearmanr`. None for fewer than two pairs, lists
/// of unequal length, a value that is no number, and where all values of a side are equal.
///
/// `spearman(&[1.0, 2.0, 3.0], &[10.0, 30.0, 20.0]) = 0.5`
pub fn spearman(x: &[f64], y: &[f64]) -> Option<f64> {
    if x.len() != y.len() || x.iter().chain(y).any(|value| value.is_nan()) {
        return None;
    }
    let (x, y) = (ranks(x), ranks(y));
    let mean = (x.len() as f64 + 1.0) / 2.0;
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - mean) * (b - mean)).sum::<f64>();
    let spread = (product(&x, &x) * product(&y, &y)).sqrt();
    (spread > 0.0).then(|| product(&x, &y) / spread)
}

/// From 1; equal values have the mean of the ranks that they take up.
fn ranks(values: &[f64]) -> Vec<f64> {
    let rank = |value: &f64| {
        let below = values.iter().filter(|other| *other < value).count();
        let equal = values.iter().filter(|other| *other == value).count();
        below as f64 + (equal as f64 + 1.0) / 2.0
    };
    values.iter().map(rank).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_of_equal_values_are_shared() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0]), [3.5, 1.0, 3.5, 2.0]);
    }

    /// Worked by hand: with ties Σ(dx·dy) = 4.5, Σdx² = 4.5, Σdy² = 5; without ties 1 − 6Σd²/(n(n² − 1)).
    #[test]
    fn correlations_are_those_worked_by_hand() {
        let near = |found: Option<f64>, want: f64| assert!((found.unwrap() - want).abs() < 1e-12, "{found:?} {want}");
        near(spearman(&[1.0, 2.0, 3.0], &[10.0, 30.0, 20.0]), 0.5);
        near(spearman(&[1.0, 2.0, 2.0, 3.0], &[1.0, 2.0, 3.0, 4.0]), 4.5 / (4.5f64 * 5.0).sqrt());
        near(spearman(&[1.0, 2.0, 3.0, 4.0, 5.0], &[5.0, 6.0, 7.0, 8.0, 7.5]), 1.0 - 6.0 * 2.0 / (5.0 * 24.0));
        near(spearman(&[0.1, 0.2, 0.9], &[3.0, 2.0, -8.0]), -1.0);
        for (x, y) in [
            (vec![1.0], vec![1.0]),
            (vec![1.0, 1.0], vec![1.0, 2.0]),
            (vec![1.0, f64::NAN], vec![1.0, 2.0]),
            (vec![1.0], vec![]),
        ] {
            assert_eq!(spearman(&x, &y), None);
        }
    }
}

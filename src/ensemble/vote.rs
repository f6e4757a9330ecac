//! Self-consistency (Wang et al., ICLR 2023) for sets of labels: a label's confidence is the share of the samples that name it.
use std::collections::BTreeMap;

/// Share of the samples that name each label, the largest first, of equals the one named first. Labels are equal up to letter
/// case and are spelt as they first were; one that a sample names twice counts once; an empty sample counts as one.
///
/// ```
/// let samples: [Vec<String>; 3] = [vec!["Cyst".into(), "stone".into()], vec!["cyst".into()], vec![]];
/// let shares = dxlab::ensemble::vote(&samples);
/// assert_eq!(shares[0], ("Cyst".to_string(), 2.0 / 3.0));
/// assert_eq!(shares[1], ("stone".to_string(), 1.0 / 3.0));
/// ```
pub fn vote(samples: &[Vec<String>]) -> Vec<(String, f64)> {
    // by lower case: place of the first naming, its spelling, the last sample that named it, how many did
    let mut named = BTreeMap::<String, (usize, &str, usize, usize)>::new();
    for (i, sample) in samples.iter().enumerate() {
        for label in sample {
            let place = named.len();
            let entry = named.entry(label.to_lowercase()).or_insert((place, label, usize::MAX, 0));
            if entry.2 != i {
                (entry.2, entry.3) = (i, entry.3 + 1);
            }
        }
    }
    let mut all: Vec<_> = named.into_values().collect();
    all.sort_by_key(|&(place, _, _, count)| (std::cmp::Reverse(count), place));
    all.into_iter().map(|(_, label, _, count)| (label.to_string(), count as f64 / samples.len() as f64)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_named_twice_by_one_sample_has_one_vote() {
        let samples =
            [vec!["b".to_string(), "B".into(), "a".into()], vec!["A".into()], vec!["a".into(), "c".into()], vec![]];
        let shares: Vec<(String, f64)> = vote(&samples);
        assert_eq!(shares, [("a".to_string(), 0.75), ("b".into(), 0.25), ("c".into(), 0.25)]);
        assert!(vote(&[]).is_empty());
    }
}
